/* SPDX-License-Identifier: Apache-2.0 */
/* What a device gives and takes at most: whole files past the page cache (O_DIRECT), nothing else done. */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the programs were built with liburing and this system lets us use it. */
bool bench_raw_ring(void);

/* Memory in huge pages, at a multiple of 2 MiB, of which nothing was touched yet. */
unsigned char *bench_pages_new(size_t size);
void bench_pages_free(unsigned char *pages, size_t size);

/* Read all files, into memory that is used over and over: 16 MiB at a time by one thread, or with 32
 * requests of 1 MiB in flight. */
void bench_raw_read(const char *const *paths, size_t count);
void bench_raw_read_ring(const char *const *paths, size_t count);

/* Write memory at a multiple of 4096 to the start of a file opened with O_DIRECT: likewise, the second with
 * 16 requests. `size` is a multiple of 4096. */
void bench_raw_write(int fd, const unsigned char *data, uint64_t size);
void bench_raw_write_ring(int fd, const unsigned char *data, uint64_t size);

#endif
