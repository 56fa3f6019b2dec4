/* SPDX-License-Identifier: Apache-2.0 */
/* Files to load from, and loads that are checked against them. */
#ifndef TESTS_LOAD_FILES_H
#define TESTS_LOAD_FILES_H

#include "support/check.h"
#include "support/random.h"
#include "support/watched.h"

#include <safetensors/load.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct sample {
    char path[64];
    unsigned char *bytes; /* of the whole file */
    size_t size;
    size_t data_offset;
} sample;

/* What a tensor of a sample is: rows x columns of a dtype. */
typedef struct shape {
    const char *dtype;
    size_t bits;
    size_t rows;
    size_t columns;
} shape;

/* Makes a file of tensors t0, t1, ... whose header is padded so that the data begin at a multiple of 8, plus
 * `phase`. */
static inline void sample_make(sample *s, const shape *shapes, size_t count, size_t phase)
{
    size_t room = 256 * count + 64, len, at = 0;
    char *header = malloc(room);
    assert_non_null(header);
    len = (size_t)snprintf(header, room, "{");
    for (size_t i = 0; i < count; i++) {
        size_t size = shapes[i].rows * shapes[i].columns * shapes[i].bits / 8;
        len += (size_t)snprintf(header + len, room - len,
                                "%s\"t%zu\":{\"dtype\":\"%s\",\"shape\":[%zu,%zu],"
                                "\"data_offsets\":[%zu,%zu]}",
                                i ? "," : "", i, shapes[i].dtype, shapes[i].rows, shapes[i].columns,
                                at, at + size);
        at += size;
    }
    len += (size_t)snprintf(header + len, room - len, "}");
    while (len % 8 != phase)
        header[len++] = ' ';
    s->data_offset = 8 + len;
    s->size = s->data_offset + at;
    s->bytes = calloc(1, s->size);
    assert_non_null(s->bytes);
    for (size_t i = 0; i < 8; i++)
        s->bytes[i] = (unsigned char)((uint64_t)len >> (8 * i));
    memcpy(s->bytes + 8, header, len);
    free(header);
    for (size_t i = s->data_offset; i + 8 <= s->size; i += 8) {
        uint64_t word = random_next();
        memcpy(s->bytes + i, &word, 8);
    }
    snprintf(s->path, sizeof s->path, "/tmp/st_test_load.XXXXXX");
    int fd = mkstemp(s->path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(s->bytes, 1, s->size, f), s->size);
    assert_int_equal(fclose(f), 0);
}

static inline void sample_drop(sample *s)
{
    free(s->bytes);
    (void)unlink(s->path);
}

static inline st_file *sample_open(const sample *s, uint32_t io, st_context *context)
{
    st_open_options options = {.io = io_here(io), .context = context};
    st_file *file = NULL;
    CHECK_OK(st_file_open(s->path, &options, &file, &error));
    return file;
}

static inline st_file *sample_open_memory(const sample *s, uint32_t io)
{
    st_open_options options = {.io = io, .name = "memory"};
    st_memory memory = {s->bytes, s->size, NULL, NULL};
    st_file *file = NULL;
    CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
    return file;
}

static inline size_t item_bytes(const st_load_item *item)
{
    return (size_t)(item->region ? item->region->size : st_tensor_size(item->tensor));
}

/* Compares with what is in the sample, or, of a part, with what st_file_read of a memory file gives. */
static inline bool item_is_right(const st_load_item *item, const sample *s, const void *data)
{
    if (!item->region)
        return memcmp(data, s->bytes + s->data_offset + item->tensor->begin, item_bytes(item)) == 0;
    st_file *file = sample_open_memory(s, ST_IO_AUTO);
    unsigned char *expected = malloc(item_bytes(item) + 1);
    const st_tensor *tensor = st_file_find(file, item->tensor->name, item->tensor->name_len);
    CHECK_OK(st_file_read(file, tensor, item->region, expected, item_bytes(item), &error));
    bool same = memcmp(data, expected, item_bytes(item)) == 0;
    free(expected);
    st_file_close(file);
    return same;
}

#endif
