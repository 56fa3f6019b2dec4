/* SPDX-License-Identifier: Apache-2.0 */
/* Making the text of an index, as Python's json writes it. */
#ifndef ST_CHECKPOINT_INDEX_TEXT_H
#define ST_CHECKPOINT_INDEX_TEXT_H

#include "checkpoint/checkpoint.h"

/* A text that grows; once there is no memory for it, nothing more is put. */
typedef struct st__index_text {
    st_context *context;
    char *text;
    size_t len;
    size_t size;     /* of the memory */
    uint64_t wanted; /* that there was no memory for; 0: all is well */
} st__index_text;

void st__index_text_release(st__index_text *out);
void st__index_text_put(st__index_text *out, const char *text, size_t len);
/* Puts a terminated text as it is. */
void st__index_text_line(st__index_text *out, const char *text);
/* Puts a string of UTF-8 in quotes, in ASCII. */
void st__index_text_string(st__index_text *out, const char *text, size_t len);

/* What a new index says beside its metadata, which are the checkpoint's. */
typedef struct st__index_rows {
    size_t count;
    /* An old index, whose metadata go before those of the checkpoint, as they stand there; NULL: there is none. */
    const st__index *old;
    /* Gives the tensor of a row, and the shard that it is in; asked row by row. */
    const char *(*at)(void *ctx, size_t row, const st_tensor **tensor);
    void *ctx;
} st__index_rows;

/* Makes an index to the byte as huggingface_hub's json.dump(index, indent=2) does: in ASCII, with no newline at the
 * end; terminated behind that. ST_ERR_NOMEM; in both cases the text is to be released. */
st_status st__index_text_make(const st_checkpoint *checkpoint, const st__index_rows *rows,
                              st__index_text *out, st_error *error);

/* Makes one of all tensors of a checkpoint. As st__index_text_make. */
st_status st__index_text_of(const st_checkpoint *checkpoint, st__index_text *out, st_error *error);
/* Makes an index of all tensors of a checkpoint with the metadata of an old index, as far as these can be read and are
 * still true. ST_ERR_IO: that cannot be read at all. Otherwise as st__index_text_make. */
st_status st__index_text_renew(st_checkpoint *checkpoint, const char *old,
                               const st_open_options *options, st__index_text *out,
                               st_error *error);

/* Writes a text through a sink, whole. */
st_status st__index_text_write(const char *text, size_t len, st_sink *sink, st_error *error);

#endif
