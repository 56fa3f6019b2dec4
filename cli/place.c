/* SPDX-License-Identifier: Apache-2.0 */
#include "place.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

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
