/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint of three shards, and changes to it in a line: "r:a=aa" renames, "d:a" drops, "n:x" adds a tensor of four
 * bytes to the first file, "m:v" sets the first file's metadata key "k", "p:a" replaces a's bytes by as many "!",
 * "v:c" moves a tensor into the first file. */
#ifndef TESTS_CHECKPOINT_CHANGES_H
#define TESTS_CHECKPOINT_CHANGES_H

#include "checkpoint/model.h"

#define CHANGES_INDEX "m.safetensors.index.json"
#define CHANGES_TEXT                 \
 "{\n"                               \
 "  \"metadata\": {\n"               \
 "    \"total_size\": 14,\n"         \
 "    \"total_parameters\": 100,\n"  \
 "    \"x\": 1.50\n"                 \
 "  },\n"                            \
 "  \"weight_map\": {\n"             \
 "    \"d\": \"m-3.safetensors\",\n" \
 "    \"a\": \"m-1.safetensors\",\n" \
 "    \"c\": \"m-2.safetensors\",\n" \
 "    \"b\": \"m-1.safetensors\"\n"  \
 "  },\n"                            \
 "  \"other\": [1, {\"y\": 2}]\n"    \
 "}\n"

static inline void changes_shards(void)
{
    model_tensors("m-1.safetensors", "a:3 b:5", "{\"format\":\"pt\"}");
    model_tensors("m-2.safetensors", "c:4", NULL);
    model_tensors("m-3.safetensors", "d:2", NULL);
}

static inline void changes_model(void)
{
    changes_shards();
    model_text(CHANGES_INDEX, CHANGES_TEXT);
}

static inline st_checkpoint_tensor tensor_of(const st_checkpoint *checkpoint, const char *name,
                                             size_t len)
{
    st_checkpoint_tensor found;
    assert_true(st_checkpoint_find(checkpoint, name, len, &found));
    return found;
}

static inline st_status change_move(st_checkpoint_edit *edit, st_checkpoint_tensor found,
                                    st_error *error)
{
    st_status status =
        st_edit_drop(st_checkpoint_edit_at(edit, found.file_index), found.tensor, error);
    if (status != ST_OK)
        return status;
    return st_edit_include(st_checkpoint_edit_at(edit, 0), found.file, found.tensor, NULL, 0,
                           error);
}

static inline st_status change_array(st_edit *edit, const st_tensor *tensor, const char *name,
                                     size_t len, st_error *error)
{
    static const char bytes[] = "!!!!!!!!";
    uint64_t count = tensor ? tensor->end - tensor->begin : 4;
    st_array array = {.data = (void *)(uintptr_t)bytes, .shape = &count, .ndim = 1, .dtype = ST_U8};
    return tensor ? st_edit_replace(edit, tensor, &array, error)
                  : st_edit_add(edit, name, len, &array, error);
}

/* One change: its letter, and what stands behind the colon. */
static inline st_status change_one(st_checkpoint_edit *edit, const st_checkpoint *checkpoint,
                                   const char *text, size_t len, st_error *error)
{
    const char *name = text + 2, *equals = memchr(text, '=', len);
    size_t name_len = equals ? (size_t)(equals - name) : len - 2;
    st_edit *first = st_checkpoint_edit_at(edit, 0);
    if (text[0] == 'n')
        return change_array(first, NULL, name, name_len, error);
    if (text[0] == 'm')
        return st_edit_set_metadata(first, &(st_metadata){"k", 1, (uint32_t)name_len, name}, error);
    st_checkpoint_tensor found = tensor_of(checkpoint, name, name_len);
    st_edit *one = st_checkpoint_edit_at(edit, found.file_index);
    switch (text[0]) {
    case 'r':
        return st_edit_rename(one, found.tensor, equals + 1, (size_t)(text + len - equals) - 1,
                              error);
    case 'd': return st_edit_drop(one, found.tensor, error);
    case 'p': return change_array(one, found.tensor, NULL, 0, error);
    case 'v': return change_move(edit, found, error);
    default: fail_msg("no change: %s", text); return ST_ERR_ARGUMENT;
    }
}

static inline st_status changes_list(st_checkpoint_edit *edit, const st_checkpoint *checkpoint,
                                     const char *changes, st_error *error)
{
    st_status status = ST_OK;
    for (const char *at = changes; *at && status == ST_OK;) {
        size_t len = strcspn(at, " ");
        status = change_one(edit, checkpoint, at, len, error);
        at += len;
        at += strspn(at, " ");
    }
    return status;
}

/* Where the changes of changes_apply go, and by what. */
typedef struct changes_way {
    const char *folder;
    bool in_place;
    st_sink_options sink;
    st_edit_options edit;
    st_edit_summary done;
} changes_way;

/* What is told of the changes beforehand is what comes of them, unless the files themselves are in the way. */
static inline st_status in_place_apply(st_checkpoint_edit *edit, st_edit_summary *out,
                                       st_error *error)
{
    st_edit_summary looked;
    st_error said = {.status = ST_OK}, why = {.status = ST_OK};
    st_status status = st_checkpoint_edit_look_in_place(edit, &looked, &said);
    if (status != ST_ERR_NOMEM) {
        st_status written = st_checkpoint_edit_write_in_place(edit, out, &why);
        if (status != ST_OK) {
            assert_int_equal(written, status);
            assert_string_equal(why.message, said.message);
        } else if (written == ST_OK) {
            assert_memory_equal(out, &looked, sizeof looked);
        }
        status = written;
        said = why;
    }
    if (error && status != ST_OK)
        *error = said;
    return status;
}

static inline st_status changes_apply(const char *name, const char *changes, changes_way *way,
                                      st_error *error)
{
    st_open_options options = {.context = way->edit.context};
    st_checkpoint *checkpoint;
    st_checkpoint_edit *edit = NULL;
    st_status status = st_checkpoint_open(model_path(name), &options, &checkpoint, error);
    if (status != ST_OK)
        return status;
    status = st_checkpoint_edit_new(checkpoint, &way->edit, &edit, error);
    if (status == ST_OK)
        status = changes_list(edit, checkpoint, changes, error);
    if (status == ST_OK && way->in_place)
        status = in_place_apply(edit, &way->done, error);
    else if (status == ST_OK)
        status = st_checkpoint_edit_write(edit, way->folder, &way->sink, &way->done, error);
    st_checkpoint_edit_free(edit);
    st_checkpoint_close(checkpoint);
    return status;
}

/* Applies them to the checkpoint of a path, in place of the old files. */
static inline void changes_do(const char *name, const char *changes)
{
    changes_way way = {.in_place = false};
    CHECK_OK(changes_apply(name, changes, &way, &error));
}

static inline void check_text(const char *name, const char *text)
{
    size_t size;
    char *got = model_read(name, &size);
    assert_string_equal(got, text);
    free(got);
}

/* Tells the names in the test's folder, ordered. */
static inline const char *model_names(const char *folder)
{
    static char text[2048];
    struct dirent **entries;
    size_t at = 0;
    int count = scandir(model_path(folder), &entries, NULL, alphasort);
    assert_true(count >= 2);
    text[0] = '\0';
    for (int i = 0; i < count; i++) {
        if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", at ? " " : "",
                                   entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return text;
}

static inline void check_list(const char *name, const char *list)
{
    st_checkpoint *checkpoint = model_open(name);
    assert_string_equal(model_list(checkpoint), list);
    st_checkpoint_close(checkpoint);
}

/* All bytes of a tensor are this one. */
static inline void check_bytes(const char *model, const char *name, char byte, uint64_t size)
{
    char got[16];
    st_checkpoint *checkpoint = model_open(model);
    st_checkpoint_tensor found = tensor_of(checkpoint, name, strlen(name));
    assert_int_equal(st_tensor_size(found.tensor), size);
    CHECK_OK(st_file_read(found.file, found.tensor, NULL, got, size, &error));
    for (uint64_t i = 0; i < size; i++)
        assert_int_equal(got[i], byte);
    st_checkpoint_close(checkpoint);
}

static inline ino_t inode_of(const char *name)
{
    struct stat info;
    assert_int_equal(lstat(model_path(name), &info), 0);
    return info.st_ino;
}

/* What a progress callback was told, and when it ends it. */
typedef struct told {
    unsigned calls, stop_at;
    uint64_t done, total;
} told;

static inline bool tell(void *ctx, uint64_t done, uint64_t total)
{
    told *t = ctx;
    assert_true(done >= t->done && done <= total);
    assert_true(t->calls == 0 || total == t->total);
    t->done = done;
    t->total = total;
    return ++t->calls != t->stop_at;
}

#define CHANGES_NAMES "m-1.safetensors m-2.safetensors m-3.safetensors " CHANGES_INDEX

#endif
