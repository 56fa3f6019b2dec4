/* SPDX-License-Identifier: Apache-2.0 */
/* Emitting headers and reading them back. */
#ifndef TESTS_FORMAT_EMISSION_H
#define TESTS_FORMAT_EMISSION_H

#include "support/check.h"

#include "base/alloc.h"
#include "format/header_emit.h"

#include <string.h>

#define SHAPE(...)  (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / 8
#define COUNT(list) (sizeof(list) / sizeof *(list))

static inline st_tensor tensor_of(const char *name, st_dtype dtype, const uint64_t *shape,
                                  size_t ndim)
{
    return (st_tensor){.name = name,
                       .name_len = (uint32_t)strlen(name),
                       .shape = shape,
                       .ndim = (uint32_t)ndim,
                       .dtype = dtype};
}

static inline st_metadata entry_of(const char *key, const char *value)
{
    return (st_metadata){key, (uint32_t)strlen(key), (uint32_t)strlen(value), value};
}

static inline st__emission emission_of(st_tensor *tensors, size_t count)
{
    return (st__emission){.name = "out.safetensors",
                          .tensors = tensors,
                          .count = count,
                          .alignment = 8,
                          .max_size = ST_HEADER_MAX};
}

/* The codes of unknown dtypes, as the tests number them. */
static const char *const unknown_codes[] = {"F8_X", "A1", "UX", "a\"b", "F8"};

static const char *unknown_code(void *ctx, st_dtype dtype, size_t *code_len)
{
    (void)ctx;
    const char *code = unknown_codes[(size_t)(dtype - ST_DTYPE_UNKNOWN) % COUNT(unknown_codes)];
    *code_len = strlen(code);
    return code;
}

/* Parses what was emitted and compares it with what it was made of. */
static inline void read_back(const st__emission *emission, const unsigned char *bytes, size_t size)
{
    uint64_t data_size = 0;
    for (size_t i = 0; i < emission->count; i++)
        if (emission->tensors[i].end > data_size)
            data_size = emission->tensors[i].end;
    st_open_options options = {.flags = ST_OPEN_UNKNOWN_DTYPES,
                               .max_header_size = emission->max_size};
    st_header *header = NULL;
    CHECK_OK(st_header_parse(bytes, size, size + data_size, &options, &header, &error));
    assert_int_equal(st_header_data_offset(header), size);
    assert_int_equal(st_header_count(header), emission->count);
    for (size_t i = 0; i < emission->count; i++) {
        const st_tensor *t = &emission->tensors[i];
        const st_tensor *u = st_header_find(header, t->name, t->name_len);
        assert_non_null(u);
        assert_int_equal(u->begin, t->begin);
        assert_int_equal(u->end, t->end);
        assert_int_equal(u->ndim, t->ndim);
        assert_memory_equal(u->shape, t->shape, t->ndim * sizeof *t->shape);
        if (t->dtype < ST_DTYPE_UNKNOWN)
            assert_int_equal(u->dtype, t->dtype);
        else
            assert_string_equal(st_header_dtype_code(header, u->dtype, NULL),
                                emission->dtype_code(emission->ctx, t->dtype, &(size_t){0}));
    }
    assert_int_equal(st_header_has_metadata(header),
                     emission->has_metadata || emission->metadata_count > 0);
    assert_int_equal(st_header_metadata_count(header), emission->metadata_count);
    for (size_t i = 0; i < emission->metadata_count; i++) {
        const st_metadata *m = &emission->metadata[i];
        const st_metadata *n = st_header_metadata_find(header, m->key, m->key_len);
        assert_non_null(n);
        assert_int_equal(n->value_len, m->value_len);
        assert_memory_equal(n->value, m->value, m->value_len);
    }
    st_header_release(header);
}

static inline size_t emit(const st__emission *emission, unsigned char **out)
{
    size_t size = 0;
    CHECK_OK(st__header_emit(emission, out, &size, &error));
    read_back(emission, *out, size);
    return size;
}

#endif
