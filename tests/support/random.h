/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers that look random and are the same in every run: splitmix64. */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <stdint.h>

static inline uint64_t random_step(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Set by a test before it begins. */
static uint64_t random_state;

static inline uint64_t random_next(void)
{
    return random_step(&random_state);
}

static inline uint64_t random_below(uint64_t n)
{
    return random_next() % n;
}

#endif
