/* SPDX-License-Identifier: Apache-2.0 */
/* Files by plain system calls: what the ceilings are made of, and what is made and cleared around them. Every
 * function ends the program where it fails. */
#ifndef BENCH_FILES_H
#define BENCH_FILES_H

#include <stddef.h>
#include <stdint.h>

int bench_file_open(const char *path);
int bench_file_open_to_write(const char *path);
/* Makes a file that is not there, and sets its space aside unless `size` is 0. */
int bench_file_new(const char *path, uint64_t size);
void bench_file_write(int fd, const void *data, uint64_t size);
/* Copies bytes of `from` to where `to` stands, by the kernel. */
void bench_file_copy(int from, uint64_t offset, int to, uint64_t size);
void bench_file_sync(int fd);
/* Makes the names in a folder durable. */
void bench_folder_sync(const char *folder);
/* Removes all files of a folder, which is made if it is not there. */
void bench_folder_clear(const char *folder);

/* Runs a program to its end. Gives its exit status. */
int bench_program_run(const char *const *argv);

/* The size of what is worked on, in MiB: the environment's BENCH_MIB, or 1024. A multiple of 32. */
uint64_t bench_mib(void);

#endif
