/* SPDX-License-Identifier: Apache-2.0 */
/* Little-endian loads and stores at any address. Compilers turn each into one move. */
#ifndef ST_BASE_ENDIAN_H
#define ST_BASE_ENDIAN_H

#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
# define ST__BIG_ENDIAN 1
#else
# define ST__BIG_ENDIAN 0
#endif

static inline uint16_t st__swap16(uint16_t v)
{
    return (uint16_t)((v << 8) | (v >> 8));
}

static inline uint32_t st__swap32(uint32_t v)
{
    return (v << 24) | ((v & 0xff00u) << 8) | ((v >> 8) & 0xff00u) | (v >> 24);
}

static inline uint64_t st__swap64(uint64_t v)
{
    return ((uint64_t)st__swap32((uint32_t)v) << 32) | st__swap32((uint32_t)(v >> 32));
}

/* The number of the lowest set bit of a value that is not 0. */
static inline unsigned st__ctz64(uint64_t v)
{
#if defined(__GNUC__)
    return (unsigned)__builtin_ctzll(v);
#else
    unsigned n = 0;
    for (; !(v & 1); v >>= 1)
        n++;
    return n;
#endif
}

static inline uint16_t st__load_le16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return ST__BIG_ENDIAN ? st__swap16(v) : v;
}

static inline uint32_t st__load_le32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return ST__BIG_ENDIAN ? st__swap32(v) : v;
}

static inline uint64_t st__load_le64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return ST__BIG_ENDIAN ? st__swap64(v) : v;
}

static inline void st__store_le16(void *p, uint16_t v)
{
    v = ST__BIG_ENDIAN ? st__swap16(v) : v;
    memcpy(p, &v, sizeof v);
}

static inline void st__store_le32(void *p, uint32_t v)
{
    v = ST__BIG_ENDIAN ? st__swap32(v) : v;
    memcpy(p, &v, sizeof v);
}

static inline void st__store_le64(void *p, uint64_t v)
{
    v = ST__BIG_ENDIAN ? st__swap64(v) : v;
    memcpy(p, &v, sizeof v);
}

#endif
