/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files in memory with U8 tensors "t0", "t1", ... of given sizes, for the tests of this folder. */
#ifndef TESTS_INSPECT_IMAGE_H
#define TESTS_INSPECT_IMAGE_H

#include "support/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct image {
    unsigned char *bytes;
    size_t size;
    size_t data_offset;
} image;

static inline unsigned char image_byte(size_t i)
{
    return (unsigned char)(i * 7 + i / 251 + i / 65536);
}

/* Frames a header text and `data_size` bytes of the pattern. */
static inline void image_frame(image *im, const char *header, size_t data_size)
{
    size_t len = strlen(header);
    im->data_offset = 8 + len;
    im->size = im->data_offset + data_size;
    im->bytes = malloc(im->size);
    assert_non_null(im->bytes);
    for (size_t i = 0; i < 8; i++)
        im->bytes[i] = (unsigned char)((uint64_t)len >> (8 * i));
    memcpy(im->bytes + 8, header, len);
    for (size_t i = 0; i < data_size; i++)
        im->bytes[im->data_offset + i] = image_byte(i);
}

static inline void image_make(image *im, const size_t *sizes, size_t count)
{
    size_t at = 0, used = 1;
    char *header = malloc(2 + count * 96);
    assert_non_null(header);
    header[0] = '{';
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(header + used, 96,
                                 "%s\"t%zu\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":"
                                 "[%zu,%zu]}",
                                 i ? "," : "", i, sizes[i], at, at + sizes[i]);
        at += sizes[i];
    }
    memcpy(header + used, "}", 2);
    image_frame(im, header, at);
    free(header);
}

static inline void image_free(image *im)
{
    free(im->bytes);
    im->bytes = NULL;
}

/* Opens it in place; it must outlive the file. */
static inline st_file *image_open(const image *im, st_context *context)
{
    st_memory memory = {.data = im->bytes, .size = im->size};
    st_open_options options = {.context = context, .name = "image"};
    st_file *file = NULL;
    CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
    return file;
}

/* Stores it as a file of its own; `path` has room for 64. */
static inline void image_store(const image *im, char *path)
{
    snprintf(path, 64, "/tmp/st_test_image.XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t done = 0; done < im->size;) {
        ssize_t n = write(fd, im->bytes + done, im->size - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
    close(fd);
}

#endif
