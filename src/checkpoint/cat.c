/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints, one behind the other, as an edit of one file. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "checkpoint/checkpoint.h"
#include "io/os.h"

#include <inttypes.h>
#include <string.h>

/* A map counts to 2^30. */
#define CAT_MOST (UINT32_MAX / 8)
/* Bytes of a path in a message that has two of them: both, a name, and what to do are to fit. */
#define CAT_PATH 140

/* A name in the new file, or a key of its metadata, and who has it first. */
typedef struct cat_owner {
    st__key text;             /* first */
    const st_metadata *entry; /* of a key */
    size_t input;
} cat_owner;

/* Those that are there so far. */
typedef struct cat_owners {
    cat_owner *all; /* `count` of `room` */
    size_t count;
    size_t room;
    st__map map;
} cat_owners;

typedef struct cat {
    st_context *context;
    const st_cat_input *inputs;
    size_t count;
    uint32_t metadata; /* ST_CAT_METADATA_… */
    st__arena names;   /* those with a prefix */
    st_edit *edit;
} cat;

/* ---------------------------------------------------------------------------------- owners */

static st_status owners_nomem(const cat *self, uint64_t size, st_error *error)
{
    return st__checkpoint_nomem(self->inputs[0].checkpoint, size, error);
}

/* Makes room for as many as all inputs have, by the getter of their number. */
static st_status owners_init(const cat *self, size_t (*number)(const st_checkpoint *),
                             cat_owners *owners, st_error *error)
{
    st__hash_key key;
    size_t room = 0;
    for (size_t i = 0; i < self->count; i++)
        if (!st__add_size(room, number(self->inputs[i].checkpoint), &room) || room > CAT_MOST)
            return owners_nomem(self, UINT64_MAX, error);
    if (room == 0)
        return ST_OK;
    owners->all = st__alloc_zeroed(self->context, room, sizeof *owners->all);
    if (!owners->all)
        return owners_nomem(self, (uint64_t)room * sizeof *owners->all, error);
    owners->room = room;
    st__os_random(&key, sizeof key);
    if (!st__map_init(&owners->map, self->context, owners->all, sizeof *owners->all, room, &key))
        return owners_nomem(self, (uint64_t)room * sizeof(uint32_t), error);
    return ST_OK;
}

static void owners_release(const cat *self, cat_owners *owners)
{
    st__map_release(&owners->map, self->context);
    st__free(self->context, owners->all, owners->room * sizeof *owners->all);
}

/* Adds one, unless its text is there: then gives who has it. */
static const cat_owner *owner_add(cat_owners *owners, const cat_owner *owner)
{
    const st__key *text = &owner->text;
    owners->all[owners->count] = *owner;
    size_t first = st__map_insert(&owners->map, owners->count,
                                  st__hash(&owners->map.key, text->text, text->len));
    if (first != ST__MAP_NONE)
        return &owners->all[first];
    owners->count++;
    return NULL;
}

/* A path as far as it fits into a message beside another. */
typedef struct cat_path {
    char text[CAT_PATH + 1];
} cat_path;

static cat_path path_cut(const cat *self, const cat_owner *owner)
{
    cat_path out;
    const char *path = st_checkpoint_name(self->inputs[owner->input].checkpoint);
    size_t len = strlen(path);
    len = len > CAT_PATH ? st__utf8_cut(path, CAT_PATH) : len;
    memcpy(out.text, path, len);
    out.text[len] = '\0';
    return out;
}

/* --------------------------------------------------------------------------------- tensors */

static ST__COLD st_status name_clash(const cat *self, const cat_owner *first,
                                     const cat_owner *again, st_error *error)
{
    return st__fail(error, ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET,
                    "%s: tensor %s: stands in %s too; prefixes make two names of it",
                    path_cut(self, again).text, st__quote(again->text.text, again->text.len).text,
                    path_cut(self, first).text);
}

/* Gives the name that a tensor will have. */
static st_status name_join(cat *self, const st_cat_input *input, const st_tensor *tensor,
                           st__key *out, st_error *error)
{
    if (input->prefix_len == 0) {
        *out = (st__key){tensor->name, tensor->name_len, 0};
        return ST_OK;
    }
    if (input->prefix_len >= UINT32_MAX - tensor->name_len)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: tensor %s: a prefix of %zu bytes is too long",
                        st_checkpoint_name(input->checkpoint),
                        st__quote(tensor->name, tensor->name_len).text, input->prefix_len);
    size_t len = input->prefix_len + tensor->name_len;
    char *text = st__arena_take(&self->names, len);
    if (!text)
        return st__checkpoint_nomem(input->checkpoint, len, error);
    memcpy(text, input->prefix, input->prefix_len);
    memcpy(text + input->prefix_len, tensor->name, tensor->name_len);
    *out = (st__key){text, (uint32_t)len, 0};
    return ST_OK;
}

static st_status cat_tensor(cat *self, cat_owners *owners, size_t input,
                            const st_checkpoint_tensor *found, st_error *error)
{
    cat_owner owner = {.input = input};
    ST_TRY(name_join(self, &self->inputs[input], found->tensor, &owner.text, error));
    const cat_owner *first = owner_add(owners, &owner);
    if (first)
        return name_clash(self, first, &owner, error);
    const char *name = self->inputs[input].prefix_len ? owner.text.text : NULL; /* as it is */
    return st_edit_include(self->edit, found->file, found->tensor, name, owner.text.len, error);
}

static st_status cat_tensors(cat *self, cat_owners *owners, st_error *error)
{
    ST_TRY(owners_init(self, st_checkpoint_count, owners, error));
    for (size_t i = 0; i < self->count; i++)
        for (size_t t = 0; t < st_checkpoint_count(self->inputs[i].checkpoint); t++) {
            st_checkpoint_tensor found = st_checkpoint_at(self->inputs[i].checkpoint, t);
            ST_TRY(cat_tensor(self, owners, i, &found, error));
        }
    return ST_OK;
}

/* -------------------------------------------------------------------------------- metadata */

static ST__COLD st_status value_clash(const cat *self, const cat_owner *first,
                                      const cat_owner *again, st_error *error)
{
    return st__fail(error, ST_ERR_METADATA_DUPLICATE, ST_NO_OFFSET,
                    "%s: the metadata have another %s than those of %s; metadata \"first\" takes "
                    "the first",
                    path_cut(self, again).text, st__quote(again->text.text, again->text.len).text,
                    path_cut(self, first).text);
}

static bool cat_values_equal(const st_metadata *a, const st_metadata *b)
{
    return a->value_len == b->value_len && memcmp(a->value, b->value, a->value_len) == 0;
}

static st_status cat_entry(cat *self, cat_owners *owners, size_t input, const st_metadata *entry,
                           st_error *error)
{
    cat_owner owner = {{entry->key, entry->key_len, 0}, entry, input};
    const cat_owner *first = owner_add(owners, &owner);
    if (!first)
        return st_edit_set_metadata(self->edit, entry, error);
    if (self->metadata == ST_CAT_METADATA_SAME && !cat_values_equal(first->entry, entry))
        return value_clash(self, first, &owner, error);
    return ST_OK;
}

static st_status cat_metadata(cat *self, cat_owners *owners, st_error *error)
{
    if (self->metadata == ST_CAT_METADATA_NONE)
        return ST_OK;
    ST_TRY(owners_init(self, st_checkpoint_metadata_count, owners, error));
    for (size_t i = 0; i < self->count; i++) {
        const st_checkpoint *checkpoint = self->inputs[i].checkpoint;
        for (size_t m = 0; m < st_checkpoint_metadata_count(checkpoint); m++)
            ST_TRY(cat_entry(self, owners, i, st_checkpoint_metadata_at(checkpoint, m), error));
    }
    return ST_OK;
}

/* ------------------------------------------------------------------------------- the call */

static st_status cat_check(const st_cat_input *inputs, size_t count, const st_cat_options *options,
                           st_error *error)
{
    if (options->metadata > ST_CAT_METADATA_NONE)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_cat_options: unknown metadata rule %" PRIu32, options->metadata);
    ST_TRY(st__reserved_check(options->reserved, 8, "st_cat_options", error));
    for (size_t i = 0; i < count; i++)
        ST_TRY(st__reserved_check(inputs[i].reserved, 2, "st_cat_input", error));
    return ST_OK;
}

static st_status cat_fill(cat *self, st_error *error)
{
    cat_owners names = {0}, keys = {0};
    st_status status = cat_tensors(self, &names, error);
    owners_release(self, &names);
    if (status == ST_OK)
        status = cat_metadata(self, &keys, error);
    owners_release(self, &keys);
    return status;
}

st_status st_checkpoint_cat(const st_cat_input *inputs, size_t count, const st_cat_options *options,
                            const st_edit_options *edit_options, st_edit **out, st_error *error)
{
    static const st_cat_options defaults;
    const st_cat_options *o = options ? options : &defaults;
    st_context *context = edit_options ? edit_options->context : NULL;
    cat self = {.context = context,
                .inputs = inputs,
                .count = count,
                .metadata = o->metadata,
                .names = {.context = context}};
    ST_TRY(cat_check(inputs, count, o, error));
    ST_TRY(st_edit_new(NULL, edit_options, &self.edit, error));
    st_status status = cat_fill(&self, error);
    st__arena_release(&self.names);
    if (status == ST_OK)
        *out = self.edit;
    else
        st_edit_free(self.edit);
    return status;
}
