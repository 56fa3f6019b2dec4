/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints as inputs: the tensors of many files below one header. */
#include <safetensors/json.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "leftover.h"
#include "memory.h"
#include "place.h"
#include "walk.h"

#define ENDING ".json"
/* Of the length before a header's text. */
#define PREFIX 8
/* The most that st_header_parse takes: every name and shape in it stood in a header that was taken. */
#define JOINED_MAX UINT64_C(4294901759)

bool input_is_checkpoint(const char *path)
{
    size_t len = strlen(path), ending = strlen(ENDING);
    if (strcmp(path, "-") == 0)
        return false;
    return (len >= ending && strcmp(path + len - ending, ENDING) == 0) || walk_is_folder(path);
}

/* ------------------------------------------------------------------------------ joining */

/* The header's bytes, as they grow. */
struct joined {
    char *at;
    size_t len;
    size_t room;
};

static st_status joined_take(void *ctx, const char *text, size_t len, st_error *error)
{
    struct joined *joined = ctx;
    (void)error;
    joined->at = memory_grow(joined->at, &joined->room, joined->len + len, 1);
    memcpy(joined->at + joined->len, text, len);
    joined->len += len;
    return ST_OK;
}

static void metadata_emit(st_json_emitter *emitter, const st_checkpoint *checkpoint)
{
    size_t count = st_checkpoint_metadata_count(checkpoint);
    if (count == 0)
        return;
    st_json_emit_key(emitter, "__metadata__", strlen("__metadata__"));
    st_json_emit_object_begin(emitter);
    for (size_t i = 0; i < count; i++) {
        const st_metadata *entry = st_checkpoint_metadata_at(checkpoint, i);
        st_json_emit_key(emitter, entry->key, entry->key_len);
        st_json_emit_string(emitter, entry->value, entry->value_len);
    }
    st_json_emit_object_end(emitter);
}

static void tensor_emit(st_json_emitter *emitter, const st_checkpoint_tensor *found, uint64_t begin)
{
    size_t len;
    const st_tensor *tensor = found->tensor;
    const char *code = st_header_dtype_code(st_file_header(found->file), tensor->dtype, &len);
    st_json_emit_key(emitter, tensor->name, tensor->name_len);
    st_json_emit_object_begin(emitter);
    st_json_emit_key(emitter, "dtype", strlen("dtype"));
    st_json_emit_string(emitter, code, len);
    st_json_emit_key(emitter, "shape", strlen("shape"));
    st_json_emit_array_begin(emitter);
    for (uint32_t i = 0; i < tensor->ndim; i++)
        st_json_emit_u64(emitter, tensor->shape[i]);
    st_json_emit_array_end(emitter);
    st_json_emit_key(emitter, "data_offsets", strlen("data_offsets"));
    st_json_emit_array_begin(emitter);
    st_json_emit_u64(emitter, begin);
    st_json_emit_u64(emitter, begin + st_tensor_size(tensor));
    st_json_emit_array_end(emitter);
    st_json_emit_object_end(emitter);
}

/* Writes the text behind room for its length. The sizes add up to no more than st_checkpoint_open has added up. */
static st_status text_make(struct joined *joined, const st_checkpoint *checkpoint, st_error *error)
{
    static const char none[PREFIX];
    st_json_emitter *emitter;
    uint64_t begin = 0;
    joined_take(joined, none, PREFIX, error);
    st_status status = st_json_emitter_new(NULL, 0, joined_take, joined, &emitter, error);
    if (status != ST_OK)
        return status;
    st_json_emit_object_begin(emitter);
    metadata_emit(emitter, checkpoint);
    for (size_t i = 0; i < st_checkpoint_count(checkpoint); i++) {
        st_checkpoint_tensor found = st_checkpoint_at(checkpoint, i);
        tensor_emit(emitter, &found, begin);
        begin += st_tensor_size(found.tensor);
    }
    st_json_emit_object_end(emitter);
    status = st_json_emitter_finish(emitter, error);
    st_json_emitter_free(emitter);
    uint64_t len = joined->len - PREFIX;
    for (size_t i = 0; i < PREFIX; i++)
        joined->at[i] = (char)(len >> (8 * i) & 0xff);
    return status;
}

static st_status checkpoint_join(struct input *input, const struct common *common, st_error *error)
{
    struct joined joined = {0};
    st_open_options options = input_options(common);
    options.name = input->path;
    options.max_header_size = JOINED_MAX;
    st_status status = text_make(&joined, input->checkpoint, error);
    if (status == ST_OK)
        status = st_header_parse(joined.at, joined.len,
                                 joined.len + st_checkpoint_data_size(input->checkpoint), &options,
                                 &input->joined, error);
    free(joined.at);
    return status;
}

/* ------------------------------------------------------------------------------ opening */

st_status input_open(struct input *input, const char *path, const struct common *common,
                     st_error *error)
{
    *input = (struct input){.path = path};
    leftover_mention(path, NULL);
    if (!input_is_checkpoint(path))
        return input_open_file(path, common, &input->file, error);
    st_open_options options = input_options(common);
    st_status status = st_checkpoint_open(path, &options, &input->checkpoint, error);
    return status == ST_OK ? checkpoint_join(input, common, error) : status;
}

void input_close(struct input *input)
{
    st_header_release(input->joined);
    st_checkpoint_close(input->checkpoint);
    st_file_close(input->file);
}

const st_header *input_header(const struct input *input)
{
    return input->checkpoint ? input->joined : st_file_header(input->file);
}

struct input_place input_place(const struct input *input, const st_tensor *tensor)
{
    st_checkpoint_tensor found;
    if (!input->checkpoint)
        return (struct input_place){.file = input->file, .tensor = tensor};
    if (!st_checkpoint_find(input->checkpoint, tensor->name, tensor->name_len, &found))
        abort(); /* the header was made of what is in the checkpoint */
    return (struct input_place){found.file, found.tensor, found.file_index,
                                input_shard(input, found.file_index)};
}

const char *input_title(const struct input *input)
{
    const char *index = input->checkpoint ? st_checkpoint_index(input->checkpoint) : NULL;
    return index ? index : input->path;
}

size_t input_file_count(const struct input *input)
{
    return input->checkpoint ? st_checkpoint_file_count(input->checkpoint) : 1;
}

const st_file *input_file(const struct input *input, size_t index)
{
    return input->checkpoint ? st_checkpoint_file(input->checkpoint, index) : input->file;
}

const char *input_shard(const struct input *input, size_t index)
{
    return input->checkpoint ? st_checkpoint_file_name(input->checkpoint, index) : NULL;
}

uint64_t input_size(const struct input *input)
{
    uint64_t size = 0;
    for (size_t i = 0; i < input_file_count(input); i++)
        size += st_file_size(input_file(input, i));
    return size;
}

uint64_t input_header_size(const struct input *input)
{
    uint64_t size = 0;
    for (size_t i = 0; i < input_file_count(input); i++)
        size += st_header_size(st_file_header(input_file(input, i)));
    return size;
}

/* ------------------------------------------------------------------------------ listing */

static void path_take(struct input_paths *paths, char *path)
{
    paths->at = memory_grow(paths->at, &paths->room, paths->count + 1, sizeof *paths->at);
    paths->at[paths->count++] = path;
}

void input_paths_add(struct input_paths *paths, const char *path)
{
    path_take(paths, place_copy(path));
}

st_status input_list(const char *path, const struct common *common, struct input_paths *out,
                     st_error *error)
{
    st_checkpoint *checkpoint;
    st_open_options options = input_options(common);
    if (!input_is_checkpoint(path)) {
        input_paths_add(out, path);
        return ST_OK;
    }
    st_status status = st_checkpoint_open(path, &options, &checkpoint, error);
    if (status != ST_OK)
        return status;
    char *above = walk_is_folder(path) ? NULL : place_folder(path);
    for (size_t i = 0; i < st_checkpoint_file_count(checkpoint); i++)
        path_take(out, place_join(above ? above : path, st_checkpoint_file_name(checkpoint, i)));
    free(above);
    st_checkpoint_close(checkpoint);
    return ST_OK;
}

void input_paths_release(struct input_paths *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        free(paths->at[i]);
    free(paths->at);
}
