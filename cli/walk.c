/* SPDX-License-Identifier: Apache-2.0 */
#include "walk.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "memory.h"
#include "place.h"
#include "progress.h"

#define ENDING ".safetensors"

/* The names in one folder. */
struct names {
    char **at;
    size_t count;
    size_t room;
};

static int names_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_release(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->at[i]);
    free(names->at);
}

/* Reads and sorts them. False with the errno. */
static bool names_read(struct names *names, const char *path)
{
    DIR *folder = opendir(path);
    if (!folder)
        return false;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        size_t size = strlen(entry->d_name) + 1;
        names->at = memory_grow(names->at, &names->room, names->count + 1, sizeof *names->at);
        names->at[names->count] = memory_new(size, 1);
        memcpy(names->at[names->count++], entry->d_name, size);
    }
    int reason = errno;
    closedir(folder);
    errno = reason;
    if (names->count > 0)
        qsort(names->at, names->count, sizeof *names->at, names_compare);
    return reason == 0;
}

static bool ends_right(const char *name)
{
    size_t len = strlen(name), ending = strlen(ENDING);
    return len >= ending && strcmp(name + len - ending, ENDING) == 0;
}

static void entry_visit(const struct walk *walk, const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0)
        return; /* gone by now */
    if (S_ISDIR(info.st_mode)) {
        if (walk->deep)
            walk_folder(walk, path);
        return;
    }
    /* A link that leads nowhere is reported by whoever opens it. */
    if (ends_right(path) && !(S_ISLNK(info.st_mode) && walk_is_folder(path)))
        walk->file(walk->ctx, path);
}

void walk_folder(const struct walk *walk, const char *path)
{
    struct names names = {0};
    if (!names_read(&names, path))
        walk->fail(walk->ctx, path);
    for (size_t i = 0; i < names.count && !progress_signal(); i++) {
        char *inside = place_join(path, names.at[i]);
        entry_visit(walk, inside);
        free(inside);
    }
    names_release(&names);
}

bool walk_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}
