/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors files in folders. */
#ifndef CLI_WALK_H
#define CLI_WALK_H

#include <stdbool.h>

struct walk {
    bool deep; /* folders in the folder too */
    /* Receives each file whose name ends in ".safetensors", in the order of their names, folder by folder. */
    void (*file)(void *ctx, const char *path);
    /* Receives a folder that cannot be read; errno says why. */
    void (*fail)(void *ctx, const char *path);
    void *ctx;
};

/* Walks through a folder, or until a signal asks to stop. Links to files are followed, links to folders are not, so that
 * there is an end. */
void walk_folder(const struct walk *walk, const char *path);
/* Tells whether a path is a folder's, or a link's to one. */
bool walk_is_folder(const char *path);

#endif
