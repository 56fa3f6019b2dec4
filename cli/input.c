/* SPDX-License-Identifier: Apache-2.0 */
#include "input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "out.h"
#include "progress.h"

#define STDIN_NAME "standard input"

/* Standard input as a file, so that "-" may be named twice; -1 until it is. */
static int spool_fd = -1;

st_open_options input_options(const struct common *common)
{
    st_open_options options = {.io = (uint32_t)common->io};
    if (common->upstream)
        options.flags |= ST_OPEN_UPSTREAM;
    if (common->unknown_dtypes)
        options.flags |= ST_OPEN_UNKNOWN_DTYPES;
    return options;
}

uint64_t input_path_size(const char *path)
{
    struct stat info;
    bool is = strcmp(path, "-") != 0 && stat(path, &info) == 0 && S_ISREG(info.st_mode);
    return is ? (uint64_t)info.st_size : 0;
}

static st_status spool_fail(st_error *error, const char *what, const char *path)
{
    int reason = errno;
    char where[300];
    snprintf(where, sizeof where, STDIN_NAME ": %s%s%.200s", what, *path ? " " : "", path);
    errno = reason;
    return io_error(where, error);
}

static bool write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t wrote = write(fd, data, size);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return false;
        data += wrote;
        size -= (size_t)wrote;
    }
    return true;
}

static st_status spool_copy(int fd, st_error *error)
{
    static char block[1 << 16];
    for (;;) {
        ssize_t got = read(STDIN_FILENO, block, sizeof block);
        if (progress_signal())
            return error_fill(error, ST_ERR_STOPPED, STDIN_NAME ": the reading was stopped");
        if (got == 0)
            return ST_OK;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return spool_fail(error, "cannot be read", "");
        if (!write_all(fd, block, (size_t)got))
            return spool_fail(error, "cannot be copied into a temporary file", "");
    }
}

/* Copies standard input into a temporary file that has no name any more. */
static st_status spool(int *out, st_error *error)
{
    char path[4096];
    const char *folder = getenv("TMPDIR");
    int len =
        snprintf(path, sizeof path, "%s/safetensors-XXXXXX", folder && *folder ? folder : "/tmp");
    if ((size_t)len >= sizeof path) {
        errno = ENAMETOOLONG;
        return spool_fail(error, "no temporary file in", folder);
    }
    int fd = mkstemp(path);
    if (fd < 0)
        return spool_fail(error, "no temporary file", path);
    unlink(path);
    st_status status = spool_copy(fd, error);
    if (status != ST_OK) {
        close(fd);
        return status;
    }
    *out = fd;
    return ST_OK;
}

static st_status stdin_open(const st_open_options *options, st_source **out, st_error *error)
{
    struct stat info;
    if (fstat(STDIN_FILENO, &info) == 0 && S_ISREG(info.st_mode))
        return st_source_open_fd(STDIN_FILENO, options, out, error);
    if (spool_fd < 0) {
        st_status status = spool(&spool_fd, error);
        if (status != ST_OK)
            return status;
    }
    return st_source_open_fd(spool_fd, options, out, error);
}

st_status input_open_source(const char *path, const struct common *common, st_source **out,
                            st_error *error)
{
    st_open_options options = input_options(common);
    if (strcmp(path, "-") != 0)
        return st_source_open(path, &options, out, error);
    options.name = STDIN_NAME;
    return stdin_open(&options, out, error);
}

st_status input_open_file(const char *path, const struct common *common, st_file **out,
                          st_error *error)
{
    st_open_options options = input_options(common);
    st_source *source = NULL;
    st_status status = input_open_source(path, common, &source, error);
    if (status != ST_OK)
        return status;
    status = st_file_open_source(source, &options, out, error);
    st_source_release(source);
    return status;
}
