/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs that change metadata have in common. */
#ifndef CLI_META_WRITE_H
#define CLI_META_WRITE_H

#include "meta_list.h"
#include "rewrite.h"

struct meta_write_options {
    struct common common;
    struct rewrite_options rewrite;
    const char *from;
    bool all;
    bool replace;
};

/* A file, or files, whose metadata is changed. */
struct meta_write {
    const struct meta_write_options *options;
    const struct args *args;
    const struct input *input;
    struct meta_list list;
    /* Fills `list` with what is to be set. */
    st_status (*collect)(struct meta_write *write, st_error *error);
    /* Resolves it for one of the files. */
    void (*resolve)(struct meta_write *write, const st_header *header);
};

/* Opens the file, or all of a checkpoint, collects, writes, and prints. Gives the exit code. */
int meta_write_main(struct meta_write *write);
/* Reads the options of a verb and checks them. Gives OPT_GO, or the exit code; `args->at` is to be freed. */
int meta_write_parse(const struct verb *verb, int argc, char **argv,
                     struct meta_write_options *options, struct args *args);

#endif
