/* SPDX-License-Identifier: Apache-2.0 */
#include "checkpoint/path.h"
#include "base/alloc.h"
#include "base/error.h"
#include "io/os.h"

#include <errno.h>
#include <string.h>

st_status st__path_join(st_context *context, const char *folder, const char *name, char **out,
                        st_error *error)
{
    size_t len = strlen(folder), name_len = strlen(name);
    bool ends = len == 0 || folder[len - 1] == '/';
    char *path = st__alloc(context, len + name_len + 2 - ends);
    if (!path)
        return st__error_locate(error, st__fail_nomem(error, len + name_len + 2), folder, NULL);
    memcpy(path, folder, len);
    if (!ends)
        path[len++] = '/';
    memcpy(path + len, name, name_len + 1);
    *out = path;
    return ST_OK;
}

void st__path_free(st_context *context, char *path)
{
    if (path)
        st__free(context, path, strlen(path) + 1);
}

bool st__folder_same(const char *one, const char *other)
{
    st__os_info a, b;
    return st__os_info_at(ST__OS_HERE, one[0] ? one : ".", true, &a) == 0 &&
           st__os_info_at(ST__OS_HERE, other[0] ? other : ".", true, &b) == 0 &&
           a.device == b.device && a.inode == b.inode;
}

static ST__COLD st_status folder_fail(const char *folder, int failed, const char *what,
                                      st_error *error)
{
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: %s", folder, what);
}

/* Makes the names of the directory that a path lies in reach the disk. */
static int parent_sync(const char *path, char *scratch)
{
    int directory = -1;
    size_t len = strlen(path);
    while (len && path[len - 1] == '/')
        len--;
    while (len && path[len - 1] != '/')
        len--;
    memcpy(scratch, path, len);
    memcpy(scratch + len, len ? "" : ".", len ? 1 : 2);
    int failed = st__os_open_directory(ST__OS_HERE, scratch, &directory);
    if (failed)
        return failed;
    failed = st__os_sync_directory(directory);
    st__os_close(directory);
    return failed;
}

st_status st__folder_make(st_context *context, const char *folder, bool durable, st_error *error)
{
    st__os_info info;
    int failed = st__os_info_at(ST__OS_HERE, folder, true, &info);
    if (!failed)
        return info.kind == ST__OS_DIRECTORY
                   ? ST_OK
                   : folder_fail(folder, ENOTDIR, "cannot be written to", error);
    if (failed == ENOENT)
        failed = st__os_make_directory(ST__OS_HERE, folder);
    if (failed)
        return folder_fail(folder, failed, "cannot be made", error);
    if (!durable)
        return ST_OK;
    size_t size = strlen(folder) + 2;
    char *scratch = st__alloc(context, size);
    if (!scratch)
        return st__error_locate(error, st__fail_nomem(error, size), folder, NULL);
    failed = parent_sync(folder, scratch);
    st__free(context, scratch, size);
    return failed ? folder_fail(folder, failed,
                                "was made, but its name cannot be made to reach the disk", error)
                  : ST_OK;
}
