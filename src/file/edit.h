/* SPDX-License-Identifier: Apache-2.0 */
/* An edit, as its own files see it.
 *
 * edit.c lists the changes: an entry for every tensor that is or was in, in the order in which they are to stand if
 * no other is asked for, and the metadata. edit_plan.c lays the new file out, in a st_writer: st_edit.plan's is never
 * begun and serves st_edit_look, the question of whether an edit can be made in place (st__edit_in_place) and
 * the header for that (st__edit_header_emit); edit_write.c writes through another one. edit_blocks.c makes the new
 * bytes of one tensor. */
#ifndef ST_FILE_EDIT_H
#define ST_FILE_EDIT_H

#include "base/map.h"
#include "file/writer.h"

#include <safetensors/edit.h>

/* A file that tensors are taken from. */
typedef struct st__edit_source {
    const st_file *file;
    const st_tensor *tensors; /* of its header, `count`: by their addresses a tensor is found */
    size_t count;
    uint32_t *entries; /* by the tensor's index: its entry's number + 1; 0: none */
    size_t copies;     /* scratch of edit_write.c */
} st__edit_source;

/* One tensor of the new file, or one that is left out. */
typedef struct st__edit_entry {
    const st_tensor *tensor; /* as it is in its file; NULL: out of memory */
    st__edit_source *source; /* NULL: out of memory */
    char *name;              /* the edit's own, terminated; NULL: the tensor's */
    uint32_t name_len;
    st_dtype cast; /* the dtype to convert to; 0: none */
    st_array
        *array; /* the edit's own copy, shape and strides behind it; NULL: the bytes of `tensor` */
    size_t array_size;
    bool dropped;
    bool added; /* none of the edited file's own */
} st__edit_entry;

/* One pair of metadata; begins as a st__key does. */
typedef struct st__edit_pair {
    st_metadata pair; /* the strings are the edited file's, or behind `memory` */
    char *memory;     /* NULL: the file's */
    size_t memory_size;
    bool removed;
} st__edit_pair;

/* The new file. */
typedef struct st__edit_plan {
    st_writer *writer; /* laid out, not begun; NULL: there is none */
    uint32_t *placed;  /* the number of the entry that each of the writer's tensors is of */
    uint32_t *order;   /* the numbers of the writer's tensors as they stand in the file */
    size_t count;
    size_t room; /* of both */
} st__edit_plan;

struct st_edit {
    st_context *context;
    st_edit_options options;
    const st_file *file; /* that is edited; NULL: none */
    const char *name;    /* for messages: the file's */
    st_edit_cast_fn on_cast;
    void *on_cast_ctx;

    st__edit_entry
        *entries; /* `count`: the file's in the order of their data, then what was added */
    size_t count;
    size_t room;
    st__edit_source **sources; /* `source_count`, by the address of their tensors */
    size_t source_count;
    size_t source_room;

    st__edit_pair *pairs; /* `pair_count`, removed ones among them */
    size_t pair_count;
    size_t pair_room;
    st__map by_key;     /* of the pairs */
    size_t pair_mapped; /* how many it has places for */
    st__hash_key hash_key;
    bool has_metadata;

    st__edit_plan plan; /* once it is laid out, until the next change; else without a writer */
    size_t header_text; /* bytes of the JSON text, without the blanks behind it */
};

/* ------------------------------------------------------------------------------------ for edit.c and its like */

/* The name that a tensor will have. */
static inline st__key st__edit_name(const st__edit_entry *entry)
{
    return entry->name ? (st__key){entry->name, entry->name_len, 0}
                       : (st__key){entry->tensor->name, entry->tensor->name_len, 0};
}

/* Its bytes are those that lie in its file. */
static inline bool st__edit_moves(const st__edit_entry *entry)
{
    return !entry->array && entry->cast == 0;
}

/* All metadata of the edited file; gives them back. */
st_status st__edit_pairs_take(st_edit *edit, st_error *error);
void st__edit_pairs_release(st_edit *edit);
/* What was laid out is so no more. */
void st__edit_layout_drop(st_edit *edit);
/* Fills a new writer and lays it out. */
st_status st__edit_plan_make(const st_edit *edit, st__edit_plan *out, st_error *error);
void st__edit_plan_release(const st_edit *edit, st__edit_plan *plan);

/* The new bytes of an entry with an array, of any strides, block by block in order, on the caller's thread and in
 * bounded memory. */
st_status st__edit_blocks(const st_edit *edit, const st__edit_entry *entry, st_block_fn block,
                          void *ctx, st_error *error);

/* Where what was cast goes. */
typedef struct st__edit_place {
    /* `offset` counts from the tensor's first byte. */
    st_status (*block)(void *ctx, uint64_t offset, const void *data, size_t size, st_error *error);
    void *ctx;
    bool
        in_order; /* block behind block, on the caller's thread; else in any order, from several at once */
} st__edit_place;

/* The new bytes of an entry that is cast, in bounded memory. They, the failure that is told of the reading, and what
 * `report` is added are the same for any number of threads. */
st_status st__edit_cast(const st_edit *edit, const st__edit_entry *entry, const st__edit_place *to,
                        st_cast_report *report, st_error *error);

/* ------------------------------------------------------------------------------------ for the edit in place */

/* Lays the new file out, unless it is. Statuses as st_edit_look. */
st_status st__edit_lay_out(st_edit *edit, st_error *error);

/* Tells whether the changes can be made where the bytes are: every tensor that stays keeps its place, what is new
 * comes out of memory, and the header's text fits. It is laid out. @return ST_OK; ST_ERR_NO_ROOM with the
 * numbers. */
st_status st__edit_in_place(const st_edit *edit, st_error *error);

/* The first bytes of the file for the same data section: 8 + N of them, N being st_header_size of the file that is
 * edited; the length, the text, the blanks. `*out` is st__alloc'ed with the edit's context. st__edit_in_place
 * said ST_OK. */
st_status st__edit_header_emit(const st_edit *edit, unsigned char **out, size_t *size,
                               st_error *error);

/* The bytes that change behind the header are those of all i < edit->plan.count with
 * edit->entries[edit->plan.placed[i]].array set: st_writer_at(edit->plan.writer, i) tells begin and end within the
 * data section, st__edit_blocks makes them. */

/* Tells whether the new file would be another one than that which is edited, but for how its header is written: it has
 * other tensors or metadata, or not what the options ask for. It is laid out. */
bool st__edit_changes(const st_edit *edit);

/* Tells whether a header that has to describe the same bytes says anything else than that of the file. */
bool st__edit_describes_anew(const st_edit *edit);

/* What st_edit_look tells; it is laid out. */
void st__edit_sum_up(const st_edit *edit, st_edit_summary *out);

#endif
