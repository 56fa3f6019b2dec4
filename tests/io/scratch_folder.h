/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of a test's own, what it holds, and a save into it. */
#ifndef TESTS_IO_SCRATCH_FOLDER_H
#define TESTS_IO_SCRATCH_FOLDER_H

#include "support/check.h"

#include "io/os.h"
#include "io/sink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char scratch[128];

static inline int scratch_folder_make(void **state)
{
    (void)state;
    snprintf(scratch, sizeof scratch, "/tmp/st_test_sink.XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

/* Takes everything in the folder with it, as a test that failed half way leaves things. */
static inline int scratch_folder_drop(void **state)
{
    (void)state;
    char command[160];
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    return system(command);
}

/* Up to four paths in the folder at a time. */
static inline const char *in_scratch(const char *name)
{
    static char out[4][1024];
    static unsigned next;
    char *here = out[next++ % 4];
    snprintf(here, sizeof out[0], "%s/%s", scratch, name);
    return here;
}

/* Whether files of the scratch folder are written past the cache at all. */
static inline bool direct_works(void)
{
    int fd = open(in_scratch("probe"), O_RDWR | O_CREAT, 0644), direct = -1;
    uint32_t align;
    bool works = st__os_storage(fd) == ST_LATENCY_LOCAL &&
                 st__os_open_direct(fd, true, &direct, &align) == 0;
    if (works)
        close(direct);
    close(fd);
    unlink(in_scratch("probe"));
    return works;
}

static inline void put_file(const char *path, const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    close(fd);
}

/* Whether exactly these bytes come to the end of a file or stream, all of which is read. */
static inline bool reads_as(int fd, const void *data, size_t size)
{
    unsigned char got[3000];
    size_t at = 0;
    bool same = true;
    for (ssize_t n; (n = read(fd, got, sizeof got)) > 0; at += (size_t)n)
        same = same && (size_t)n <= size - at &&
               memcmp(got, (const unsigned char *)data + at, (size_t)n) == 0;
    return same && at == size;
}

/* Whether a file is there and holds exactly these bytes. */
static inline bool file_is(const char *path, const void *data, size_t size)
{
    int fd = open(path, O_RDONLY);
    bool same = fd >= 0 && reads_as(fd, data, size);
    if (fd >= 0)
        close(fd);
    return same;
}

/* Names in a folder, and how many of them are temporary files. */
static inline unsigned count_names(const char *path, unsigned *temporary)
{
    unsigned count = 0;
    DIR *folder = opendir(path);
    assert_non_null(folder);
    *temporary = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        *temporary += strstr(entry->d_name, "-part.") && strstr(entry->d_name, ".tmp");
    }
    closedir(folder);
    return count;
}

static inline unsigned count_in_scratch(void)
{
    unsigned temporary, count = count_names(scratch, &temporary);
    assert_int_equal(temporary, 0);
    return count;
}

static inline unsigned count_descriptors(void)
{
    unsigned temporary;
    return count_names("/proc/self/fd", &temporary);
}

/* Writes bytes through a sink, in three calls that are not in order. */
static inline st_status sink_fill(st_sink *sink, const void *data, size_t size, st_error *error)
{
    const unsigned char *at = data;
    size_t a = size / 5, b = size / 2;
    st_bytes parts[] = {{at, a}, {at + a, b - a}}, rest = {at + b, size - b};
    st_status status = st__sink_begin(sink, size, error);
    if (!status)
        status = st__sink_write(sink, b, &rest, 1, error);
    if (!status)
        status = st__sink_write(sink, 0, parts, 2, error);
    return status;
}

static inline st_status save(const char *path, const st_sink_options *options, const void *data,
                             size_t size, st_error *error)
{
    st_sink *sink = NULL;
    st_status status = st_sink_open(path, options, &sink, error);
    if (!status)
        status = sink_fill(sink, data, size, error);
    if (!status)
        status = st__sink_finish(sink, error);
    st_sink_release(sink);
    return status;
}

#endif
