/* SPDX-License-Identifier: Apache-2.0 */
/* What a cast of a file cannot take less than: read, convert, and write, and nothing else. */
#ifndef BENCH_CAST_PLAIN_H
#define BENCH_CAST_PLAIN_H

#include <stdint.h>

/* Converts so many F32, from byte `at` of a file, to BF16, and writes them to where `to` stands behind as many bytes of
 * header; without NaN. The source is mapped, the result goes out of a block that stays in the core's cache. */
void bench_cast_plain(int from, uint64_t at, uint64_t count, int to);

#endif
