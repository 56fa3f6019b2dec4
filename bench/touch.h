/* SPDX-License-Identifier: Apache-2.0 */
/* What a consumer does to what it loaded. The peers' programs call the same code, so that everybody's
 * bytes are touched at the same speed. */
#ifndef BENCH_TOUCH_H
#define BENCH_TOUCH_H

#include <stddef.h>
#include <stdint.h>

/* The sum of all bytes as 64-bit words, those that are left over at the end one by one. */
__attribute__((visibility("default"))) uint64_t bench_touch(const void *data, size_t size);

#endif
