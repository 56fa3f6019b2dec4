/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target once on every file of the folders and on every file named, without a fuzzing
 * engine. */
#include "target.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int replay_file(const char *path)
{
    FILE *stream = fopen(path, "rb");
    if (!stream) {
        perror(path);
        return 1;
    }
    size_t size = 0, room = 4096, got;
    uint8_t *data = malloc(room);
    while (data && (got = fread(data + size, 1, room - size, stream)) > 0) {
        size += got;
        if (size == room) {
            uint8_t *grown = realloc(data, room *= 2);
            if (!grown)
                free(data);
            data = grown;
        }
    }
    fclose(stream);
    /* A block of just this size, so that a checker sees what is read beyond it. */
    uint8_t *exact = data ? malloc(size ? size : 1) : NULL;
    if (!exact) {
        fprintf(stderr, "%s: out of memory\n", path);
        return 1;
    }
    memcpy(exact, data, size);
    free(data);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 0;
}

static int replay_folder(const char *path, size_t *count)
{
    DIR *folder = opendir(path);
    if (!folder) {
        perror(path);
        return 1;
    }
    int failed = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char file[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        failed |= replay_file(file);
        ++*count;
    }
    closedir(folder);
    return failed;
}

int main(int argc, char **argv)
{
    size_t count = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        struct stat info;
        if (stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode)) {
            failed |= replay_folder(argv[i], &count);
        } else {
            failed |= replay_file(argv[i]);
            count++;
        }
    }
    printf("%zu inputs\n", count);
    return failed || count == 0;
}
