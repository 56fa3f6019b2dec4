/* SPDX-License-Identifier: Apache-2.0 */
/* Files in the page cache, and not. */
#ifndef BENCH_CACHE_H
#define BENCH_CACHE_H

#include <stddef.h>

/* Gives the share of the files' bytes that is in the page cache, 0 to 1. */
double bench_cache_share(const char *const *paths, size_t count);
/* Drops the files from the page cache, and ends the program where more than a hundredth stays: pages that
 * anybody has mapped do. Gives the share that stayed. */
double bench_cache_drop(const char *const *paths, size_t count);
/* Reads into the page cache what is not in it. */
void bench_cache_fill(const char *const *paths, size_t count);

#endif
