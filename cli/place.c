/* SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "out.h"

static char *text_copy(const char *text, size_t len)
{
    char *copy = memory_new(len + 1, 1);
    memcpy(copy, text, len);
    return copy;
}

char *place_copy(const char *path)
{
    return text_copy(path, strlen(path));
}

char *place_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return text_copy(".", 1);
    return text_copy(path, slash == path ? 1 : (size_t)(slash - path));
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *place_join(const char *folder, const char *name)
{
    size_t folder_len = strlen(folder), name_len = strlen(name);
    /* "-" alone would be standard input. */
    if (strcmp(folder, ".") == 0 && strcmp(name, "-") != 0)
        return text_copy(name, name_len);
    char *path = memory_new(folder_len + name_len + 2, 1);
    memcpy(path, folder, folder_len);
    if (folder[folder_len - 1] != '/')
        path[folder_len++] = '/';
    memcpy(path + folder_len, name, name_len);
    return path;
}

/* Gives the path without links in its folder; the last part stays what it is called, be it a link or
 * not. */
static char *place_resolve(const char *path)
{
    char *folder = place_folder(path), *resolved = realpath(folder, NULL);
    char *whole = resolved ? place_join(resolved, last_part(path)) : NULL;
    free(folder);
    free(resolved);
    return whole;
}

/* Gives how much of both paths is the same folder: whole parts, with the slash behind them. */
static size_t common_len(const char *folder, const char *path)
{
    size_t len = 0;
    for (size_t i = 0; folder[i] && folder[i] == path[i]; i++)
        if (folder[i] == '/')
            len = i + 1;
    return len;
}

char *place_relative(const char *folder, const char *path)
{
    char *target = place_resolve(path), *start = realpath(folder, NULL), *relative = NULL;
    if (target && start) {
        /* With a slash at the end a folder's path begins those of what is in it. */
        char *base = place_join(start, "");
        size_t shared = common_len(base, target), ups = 0;
        for (const char *at = base + shared; (at = strchr(at, '/')) != NULL; at++)
            ups++;
        size_t rest = strlen(target + shared);
        relative = memory_new(3 * ups + rest + 1, 1);
        for (size_t i = 0; i < ups; i++)
            memcpy(relative + 3 * i, "../", 3);
        memcpy(relative + 3 * ups, target + shared, rest);
        free(base);
    }
    free(target);
    free(start);
    return relative;
}

bool place_is_below(const char *name, size_t len)
{
    if (len == 0 || name[0] == '/' || memchr(name, '\0', len))
        return false;
    for (size_t i = 0; i < len;) {
        const char *slash = memchr(name + i, '/', len - i);
        size_t part = slash ? (size_t)(slash - name) - i : len - i;
        if (part == 2 && memcmp(name + i, "..", 2) == 0)
            return false;
        i += part + 1;
    }
    return true;
}

static bool ends_with(const char *path, const char *end)
{
    size_t len = strlen(path), end_len = strlen(end);
    return len >= end_len && strcmp(path + len - end_len, end) == 0;
}

/* A header's length that can be, and the brace that a header begins with. */
static bool begins_as_model(const char *path)
{
    unsigned char first[9];
    uint64_t len = 0;
    FILE *file = fopen(path, "rb");
    bool read = file && fread(first, 1, sizeof first, file) == sizeof first;
    if (file)
        fclose(file);
    for (int i = 7; i >= 0 && read; i--)
        len = len << 8 | first[i];
    return read && len >= 2 && len <= ST_HEADER_MAX && first[8] == '{';
}

bool place_is_model(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) &&
           (ends_with(path, ".safetensors") || ends_with(path, ".index.json") ||
            begins_as_model(path));
}

/* Says, in the library's words, that what is to be made at a path cannot be. */
static st_status cannot_write(const char *path, int reason, st_error *error)
{
    if (reason == 0)
        return ST_OK;
    error_fill(error, ST_ERR_IO, "%.300s: cannot be written: %s", path, strerror(reason));
    error->sys_errno = reason;
    return ST_ERR_IO;
}

/* Gives the errno of making something in a folder, or 0. */
static int folder_refuses(const char *folder)
{
    struct stat info;
    if (stat(folder, &info) != 0)
        return errno;
    if (!S_ISDIR(info.st_mode))
        return ENOTDIR;
    return access(folder, W_OK | X_OK) == 0 ? 0 : errno;
}

/* The same of the folder that a path lies in. */
static int parent_refuses(const char *path)
{
    char *folder = place_folder(path);
    int reason = folder_refuses(folder);
    free(folder);
    return reason;
}

st_status place_check(const char *path, st_error *error)
{
    struct stat info;
    char *resolved = realpath(path, NULL); /* a link stays, and what it leads to is replaced */
    bool there = stat(path, &info) == 0;
    int reason = 0;
    if (there && S_ISDIR(info.st_mode))
        reason = EISDIR;
    else if (!there || S_ISREG(info.st_mode))
        reason = parent_refuses(resolved ? resolved : path);
    free(resolved);
    return cannot_write(path, reason, error);
}

st_status place_check_folder(const char *path, st_error *error)
{
    struct stat info;
    return cannot_write(path, stat(path, &info) == 0 ? folder_refuses(path) : parent_refuses(path),
                        error);
}

st_status place_check_name(const char *path, st_error *error)
{
    struct stat info;
    return cannot_write(path, lstat(path, &info) == 0 ? EEXIST : 0, error);
}
