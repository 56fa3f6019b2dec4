/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the input as an index, as opening does and as a check does. What is accepted holds each tensor once, in a file
 * whose name stays below the folder, and is the same after it was emitted and read again; the check finds no error in
 * it. What is refused is so for the first error that the check finds. What is left of the metadata after a check is the
 * same in a new index. */
#include "output.h"

#include "checkpoint/index_text.h"

#include <safetensors/json.h>

#include <string.h>

typedef struct parsed {
    st__arena kept;
    st__index index;
} parsed;

static st_status parse(parsed *p, const char *text, size_t len, st_error *error)
{
    memset(p, 0, sizeof *p);
    p->index.kept = &p->kept;
    return st__index_parse(&p->index, text, len,
                           &(st__index_judge){.name = "index", .error = error});
}

static void parsed_release(parsed *p)
{
    st__index_release(&p->index);
    st__arena_release(&p->kept);
}

/* What no file may be called on any system, found in another way than the reader's. */
static void name_check(const st__key *name)
{
    char text[4096];
    require(name->len >= 12 && strlen(name->text) == name->len);
    require(strcmp(name->text + name->len - 12, ".safetensors") == 0);
    require(!strchr(name->text, '\\') && name->text[0] != '/' && name->text[1] != ':');
    if (name->len + 3 > sizeof text)
        return;
    text[0] = text[name->len + 1] = '/';
    memcpy(text + 1, name->text, name->len);
    text[name->len + 2] = '\0';
    require(!strstr(text, "/../"));
}

static void index_check(const st__index *index)
{
    for (size_t i = 0; i < index->file_count; i++) {
        const st__key *name = &index->files[i].name;
        name_check(name);
        require(st__map_find(&index->file_names, name->text, name->len) == i);
    }
    for (size_t i = 0; i < index->count; i++) {
        const st__index_entry *entry = &index->entries[i];
        require(entry->file < index->file_count && !entry->found);
        require(st__map_find(&index->names, entry->tensor.text, entry->tensor.len) == i);
        require(i == 0 || entry->offset > index->entries[i - 1].offset);
    }
    for (size_t i = 0; i < index->pair_count; i++) {
        const st_metadata *pair = &index->pairs[i].pair;
        require(st__map_find(&index->keys, pair->key, pair->key_len) == i);
        require(pair->value[pair->value_len] == '\0');
    }
}

static output index_emit(const st__index *index)
{
    output out = {0};
    st_json_emitter *emitter;
    require(st_json_emitter_new(NULL, 0, output_write, &out, &emitter, NULL) == ST_OK);
    st_json_emit_object_begin(emitter);
    st_json_emit_key(emitter, "metadata", 8);
    st_json_emit_object_begin(emitter);
    for (size_t i = 0; i < index->pair_count; i++) {
        const st_metadata *pair = &index->pairs[i].pair;
        st_json_emit_key(emitter, pair->key, pair->key_len);
        st_json_emit_string(emitter, pair->value, pair->value_len);
    }
    st_json_emit_object_end(emitter);
    st_json_emit_key(emitter, "weight_map", 10);
    st_json_emit_object_begin(emitter);
    for (size_t i = 0; i < index->count; i++) {
        const st__key *tensor = &index->entries[i].tensor;
        const st__key *file = &index->files[index->entries[i].file].name;
        st_json_emit_key(emitter, tensor->text, tensor->len);
        st_json_emit_string(emitter, file->text, file->len);
    }
    st_json_emit_object_end(emitter);
    st_json_emit_object_end(emitter);
    require(st_json_emitter_finish(emitter, NULL) == ST_OK);
    st_json_emitter_free(emitter);
    return out;
}

static bool same_text(const char *a, size_t a_len, const char *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static void indices_compare(const st__index *a, const st__index *b)
{
    require(a->count == b->count && a->file_count == b->file_count &&
            a->pair_count == b->pair_count);
    for (size_t i = 0; i < a->count; i++) {
        const st__key *x = &a->entries[i].tensor, *y = &b->entries[i].tensor;
        require(same_text(x->text, x->len, y->text, y->len));
        require(a->entries[i].file == b->entries[i].file);
    }
    for (size_t i = 0; i < a->pair_count; i++) {
        const st_metadata *x = &a->pairs[i].pair, *y = &b->pairs[i].pair;
        require(same_text(x->key, x->key_len, y->key, y->key_len));
        require(same_text(x->value, x->value_len, y->value, y->value_len));
    }
}

/* The first error of a check. */
typedef struct found {
    size_t size; /* of the input */
    bool any;
    st_status status;
    uint64_t offset;
} found;

static bool found_take(void *ctx, const st_finding *finding)
{
    found *first = ctx;
    bool error = finding->severity == ST_SEVERITY_ERROR;
    require(error == (finding->status != ST_OK) && finding->offset <= first->size);
    require(strlen(finding->message) > 0 && !strchr(finding->message, '\n'));
    if (error && !first->any) {
        first->any = true;
        first->status = finding->status;
        first->offset = finding->offset;
    }
    return true;
}

/* What is left of the text after a check is as sound as what opening takes, but for the order of the entries. */
static void left_check(const st__index *index)
{
    size_t passed = 0, mapped = 0;
    for (size_t i = 0; i < index->file_count; i++)
        name_check(&index->files[i].name);
    for (size_t i = 0; i < index->count; i++) {
        const st__index_entry *entry = &index->entries[i];
        size_t at = st__map_find(&index->names, entry->tensor.text, entry->tensor.len);
        require(entry->file < index->file_count && at < index->count);
        require((at == i) == !entry->passed && index->entries[at].offset >= entry->offset);
        passed += entry->passed;
        mapped += at == i;
    }
    require(passed + mapped == index->count);
}

/* A new index, of no tensors, has the metadata of an old one, each key once. */
static void renewed_check(const st__index *old)
{
    static const st_checkpoint none;
    const st__index_rows rows = {.old = old};
    st__index_text text = {.context = NULL};
    parsed renewed;
    size_t at = 0;
    require(st__index_text_make(&none, &rows, &text, NULL) == ST_OK);
    require(parse(&renewed, text.text, text.len, NULL) == ST_OK);
    require(same_text(old->parameters.text, old->parameters.len, renewed.index.parameters.text,
                      renewed.index.parameters.len));
    for (size_t i = 0; i < old->pair_count; i++) {
        const st__index_pair *x = &old->pairs[i], *y = &renewed.index.pairs[at];
        if (x->passed)
            continue;
        require(at++ < renewed.index.pair_count && x->string == y->string);
        require(same_text(x->pair.key, x->pair.key_len, y->pair.key, y->pair.key_len));
        require(same_text(x->pair.value, x->pair.value_len, y->pair.value, y->pair.value_len));
    }
    require(at == renewed.index.pair_count);
    parsed_release(&renewed);
    st__index_text_release(&text);
}

static void check_compare(const char *text, size_t size, st_status status, const st_error *error)
{
    parsed checked;
    found first = {.size = size};
    const st__index_sink sink = {.report = found_take, .ctx = &first};
    memset(&checked, 0, sizeof checked);
    checked.index.kept = &checked.kept;
    require(st__index_parse(&checked.index, text, size,
                            &(st__index_judge){.name = "index", .sink = &sink}) == ST_OK);
    require(first.any == (status != ST_OK));
    require(status == ST_OK || (first.status == status && first.offset == error->offset));
    if (!checked.index.broken) {
        left_check(&checked.index);
        renewed_check(&checked.index);
    }
    parsed_release(&checked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parsed first, second;
    st_error error;
    st_status status = parse(&first, (const char *)data, size, &error);
    check_compare((const char *)data, size, status, &error);
    if (status != ST_OK) {
        require(status == ST_ERR_JSON || status == ST_ERR_SHARD_NAME ||
                status == ST_ERR_NAME_DUPLICATE || status == ST_ERR_METADATA_DUPLICATE);
        require(error.status == status && error.offset <= size);
        parsed_release(&first);
        return 0;
    }
    index_check(&first.index);
    output out = index_emit(&first.index);
    require(parse(&second, out.text, out.len, NULL) == ST_OK);
    indices_compare(&first.index, &second.index);
    parsed_release(&second);
    parsed_release(&first);
    free(out.text);
    return 0;
}
