/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the door that knows folders: what is in one, making one, and removing it. */
#include "io/os_system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int st__os_make_directory(int at, const char *path)
{
    if (at == ST__OS_HERE)
        at = AT_FDCWD;
    return OS_CALL(mkdirat)(at, path, 0777) == 0 ? 0 : errno;
}

int st__os_remove_directory(int at, const char *path)
{
    if (at == ST__OS_HERE)
        at = AT_FDCWD;
    return OS_CALL(unlinkat)(at, path, AT_REMOVEDIR) == 0 ? 0 : errno;
}

static int names_tell(DIR *folder, int (*each)(void *ctx, const char *name), void *ctx)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = OS_CALL(readdir)(folder);
        if (!entry && errno == EINTR)
            continue;
        if (!entry)
            return errno;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int ended = each(ctx, entry->d_name);
        if (ended)
            return ended;
    }
}

int st__os_list(const char *path, int (*each)(void *ctx, const char *name), void *ctx)
{
    int fd = -1;
    int failed = st__os_open_at(ST__OS_HERE, path, O_RDONLY | O_DIRECTORY, 0, &fd);
    if (failed)
        return failed;
    DIR *folder = fdopendir(fd);
    if (!folder) {
        failed = errno;
        st__os_close(fd);
        return failed;
    }
    failed = names_tell(folder, each, ctx);
    (void)closedir(folder);
    return failed;
}
