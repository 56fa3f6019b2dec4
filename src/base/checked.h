/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on sizes that come from outside: every function says false instead of wrapping. */
#ifndef ST_BASE_CHECKED_H
#define ST_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool st__add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    *out = a + b;
    return *out >= a;
}

static inline bool st__mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
#if defined(__GNUC__)
    return !__builtin_mul_overflow(a, b, out);
#else
    *out = a * b;
    return a == 0 || *out / a == b;
#endif
}

static inline bool st__add_size(size_t a, size_t b, size_t *out)
{
    *out = a + b;
    return *out >= a;
}

static inline bool st__mul_size(size_t a, size_t b, size_t *out)
{
#if defined(__GNUC__)
    return !__builtin_mul_overflow(a, b, out);
#else
    *out = a * b;
    return a == 0 || *out / a == b;
#endif
}

/* The only way from a size on disk to a size in memory. */
static inline bool st__u64_to_size(uint64_t value, size_t *out)
{
    *out = (size_t)value;
    return *out == value;
}

static inline uint64_t st__min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
