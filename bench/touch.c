/* SPDX-License-Identifier: Apache-2.0 */
#include "touch.h"

#include <string.h>

enum { WORDS = 8 }; /* a cache line at a time, in sums that do not wait for each other */

uint64_t bench_touch(const void *data, size_t size)
{
    const unsigned char *at = data;
    uint64_t sums[WORDS] = {0}, total = 0;
    for (; size >= sizeof sums; at += sizeof sums, size -= sizeof sums) {
        uint64_t words[WORDS];
        memcpy(words, at, sizeof words);
        for (size_t i = 0; i < WORDS; i++)
            sums[i] += words[i];
    }
    for (size_t i = 0; i < WORDS; i++)
        total += sums[i];
    for (uint64_t word; size >= sizeof word; at += sizeof word, size -= sizeof word) {
        memcpy(&word, at, sizeof word);
        total += word;
    }
    for (; size; size--)
        total += *at++;
    return total;
}
