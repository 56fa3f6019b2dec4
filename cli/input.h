/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening what the command line names as FILE: a safetensors file, "-" for standard input, or a checkpoint: a folder,
 * or an index, whose name ends in ".json".
 */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <safetensors/checkpoint.h>

#include "verb.h"

/* Opens the bytes. Standard input that is no regular file is first copied into a temporary one, in
 * TMPDIR or /tmp. Gives what st_source_open gives. */
st_status input_open_source(const char *path, const struct common *common, st_source **out,
                            st_error *error);
/* Opens the file on them. */
st_status input_open_file(const char *path, const struct common *common, st_file **out,
                          st_error *error);
/* Fills the library's options from the common ones. */
st_open_options input_options(const struct common *common);

/* Tells whether a path is that of a folder or of an index. */
bool input_is_checkpoint(const char *path);
/* Gives the bytes of a file; 0 for standard input, and for what is no file. */
uint64_t input_path_size(const char *path);

/* Files whose tensors are looked at as one. */
struct input {
    const char *path;
    st_file *file;             /* the only one, or NULL */
    st_checkpoint *checkpoint; /* NULL: there is one file, and it is named itself */
    st_header
        *joined; /* of a checkpoint: as if its tensors lay in one file, one behind the other */
};

/* A tensor where it lies. */
struct input_place {
    const st_file *file;
    const st_tensor *tensor;
    size_t index;      /* of the file */
    const char *shard; /* its name in its folder; NULL unless the input is a checkpoint */
};

/* Opens all, and says if an edit has been interrupted; `input` is to be closed whatever comes of it. Gives what
 * st_checkpoint_open gives. */
st_status input_open(struct input *input, const char *path, const struct common *common,
                     st_error *error);
void input_close(struct input *input);

/* Gives the header of all tensors. Their order is that of the files; offsets in it mean nothing for a checkpoint. */
const st_header *input_header(const struct input *input);
/* Finds where a tensor of that header lies. */
struct input_place input_place(const struct input *input, const st_tensor *tensor);
/* Gives the path for people, that of the index where there is one. */
const char *input_title(const struct input *input);

size_t input_file_count(const struct input *input);
const st_file *input_file(const struct input *input, size_t index);
/* Gives its name in its folder; NULL unless the input is a checkpoint. */
const char *input_shard(const struct input *input, size_t index);
/* Gives the bytes of all files, and of their headers. */
uint64_t input_size(const struct input *input);
uint64_t input_header_size(const struct input *input);

/* Paths, each to be freed as is the list. */
struct input_paths {
    char **at;
    size_t count;
    size_t room;
};

/* Lists the files of a checkpoint, having opened all and closed them again; or the path itself. */
st_status input_list(const char *path, const struct common *common, struct input_paths *out,
                     st_error *error);
/* Adds a copy. */
void input_paths_add(struct input_paths *paths, const char *path);
void input_paths_release(struct input_paths *paths);

#endif
