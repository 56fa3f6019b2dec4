/* SPDX-License-Identifier: Apache-2.0 */
/* A small file with a bit of everything, for the tests of this folder. */
#ifndef TESTS_FILE_SAMPLE_H
#define TESTS_FILE_SAMPLE_H

#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The data section: byte i is sample_byte(i). */
#define SAMPLE_HEADER                                                    \
 "{\"__metadata__\":{\"k\":\"v\"},"                                      \
 "\"m\":{\"dtype\":\"F32\",\"shape\":[10,6],\"data_offsets\":[0,240]},"  \
 "\"e\":{\"dtype\":\"F32\",\"shape\":[0,6],\"data_offsets\":[240,240]}," \
 "\"s\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[240,248]},"    \
 "\"q\":{\"dtype\":\"F4\",\"shape\":[4,4],\"data_offsets\":[248,256]},"  \
 "\"x\":{\"dtype\":\"U8\",\"shape\":[100,40],\"data_offsets\":[256,4256]}}"
#define SAMPLE_DATA 4256u

typedef struct sample_file {
    unsigned char bytes[8192];
    size_t size;
    size_t data_offset;
    char path[64];
} sample_file;

static inline unsigned char sample_byte(size_t i)
{
    return (unsigned char)(i * 31 + i / 256);
}

/* Frames any header text around the same data. */
static inline void sample_frame(sample_file *sample, const char *header)
{
    size_t len = strlen(header);
    memset(sample, 0, sizeof *sample);
    for (size_t i = 0; i < 8; i++)
        sample->bytes[i] = (unsigned char)((uint64_t)len >> (8 * i));
    memcpy(sample->bytes + 8, header, len);
    sample->data_offset = 8 + len;
    for (size_t i = 0; i < SAMPLE_DATA; i++)
        sample->bytes[8 + len + i] = sample_byte(i);
    sample->size = 8 + len + SAMPLE_DATA;
}

static inline void sample_store(sample_file *sample)
{
    snprintf(sample->path, sizeof sample->path, "/tmp/st_test_file.XXXXXX");
    int fd = mkstemp(sample->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, sample->bytes, sample->size), sample->size);
    close(fd);
}

static inline const st_tensor *sample_find(const st_file *file, const char *name)
{
    const st_tensor *tensor = st_file_find(file, name, strlen(name));
    assert_non_null(tensor);
    return tensor;
}

#endif
