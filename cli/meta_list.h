/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata as it is to be: entries from the command line or a JSON text, and what they change in a file. */
#ifndef CLI_META_LIST_H
#define CLI_META_LIST_H

#include <safetensors/edit.h>

#include "json.h"

struct meta_item {
    char *key;
    size_t key_len;
    char *value;
    size_t value_len;
    uint64_t offset;        /* of the key in its text */
    const st_metadata *old; /* the file's entry of the same key, or NULL; set by meta_resolve */
    bool same;              /* which has the same value */
};

/* Zero-initialise. */
struct meta_list {
    struct meta_item *at;
    size_t count;
    size_t room;
    const struct meta_item **sorted; /* by key, after meta_sort */
    const st_metadata **removed;     /* of the file; likewise set by meta_resolve */
    size_t removed_count;
    bool cleared; /* all of it, and __metadata__ itself */
};

/* Adds an entry, copied. */
void meta_add(struct meta_list *list, const st_metadata *entry, uint64_t offset);
/* Orders the entries by key. Gives the second one of a key that is there twice, or NULL. */
const struct meta_item *meta_sort(struct meta_list *list);
/* Reads a JSON object of strings. `name` is for messages, which say line and column. */
st_status meta_read(struct meta_list *list, const char *text, size_t len, const char *name,
                    st_error *error);
void meta_release(struct meta_list *list);

/* Tells whether an entry of this key is in the list, once it is sorted. */
bool meta_has(const struct meta_list *list, const st_metadata *entry);
/* Finds what the entries, of which none is there twice, change in a file's metadata, and forgets what they changed in
 * another's. With `replace` what is not among them is removed. */
void meta_resolve(struct meta_list *list, const st_header *header, bool replace);
/* Adds a file's entry to those that are removed, once. */
void meta_remove(struct meta_list *list, const st_metadata *entry);
/* Tells whether anything changes. */
bool meta_is_change(const struct meta_list *list, const st_header *header);
st_status meta_apply(const struct meta_list *list, st_edit *edit, st_error *error);
/* Prints a line for each change, with the file's name unless `shard` is NULL. */
void meta_print(const struct meta_list *list, const char *shard, struct out *out);
/* Prints the elements of arrays: what is set, and what is removed. */
void meta_json_set(const struct meta_list *list, const char *shard, struct json *json);
void meta_json_removed(const struct meta_list *list, const char *shard, struct json *json);

#endif
