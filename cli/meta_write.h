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

/* One file whose metadata is changed. */
struct meta_write {
    const struct meta_write_options *options;
    const struct args *args;
    bool shards; /* FILE may be a checkpoint, each file of which is changed alike */
    const char *path;
    const st_file *file;
    struct meta_list list;
    /* Fills `list`, and resolves it. */
    st_status (*collect)(struct meta_write *write, st_error *error);
};

/* Finds a metadata entry; ST_ERR_NOT_FOUND with the names that are near. */
st_status meta_find(const struct meta_write *write, const char *key, const st_metadata **out,
                    st_error *error);
/* Opens the file, collects, writes, and prints. Of a checkpoint no file is written before all were seen to take the
 * change. Gives the exit code. */
int meta_write_main(struct meta_write *write);
/* Reads the options of a verb and checks them. Gives OPT_GO, or the exit code; `args->at` is to be freed. */
int meta_write_parse(const struct verb *verb, int argc, char **argv,
                     struct meta_write_options *options, struct args *args);

#endif
