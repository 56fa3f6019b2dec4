/* SPDX-License-Identifier: Apache-2.0 */
/* FNV-1a with 64 bits (Fowler, Noll and Vo): tells damage, not forgery. */
#ifndef ST_BASE_CHECKSUM_H
#define ST_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* The sum of no bytes. */
#define ST__CHECKSUM_NONE UINT64_C(0xcbf29ce484222325)

/* Gives the sum of some bytes with more behind them. */
static inline uint64_t st__checksum(uint64_t sum, const void *data, size_t size)
{
    const unsigned char *at = data;
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ at[i]) * UINT64_C(0x100000001b3);
    return sum;
}

#endif
