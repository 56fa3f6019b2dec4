/* SPDX-License-Identifier: Apache-2.0 */
#include "check_index.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "content.h"
#include "index_text.h"
#include "input.h"
#include "memory.h"
#include "out.h"
#include "place.h"
#include "text.h"
#include "walk.h"

enum {
    RULE_JSON,
    RULE_DUPLICATE,
    RULE_SHARD_NAME,
    RULE_SHARD_MISSING,
    RULE_TENSOR_MISSING,
    RULE_TENSOR_UNLISTED,
    RULE_TOTAL_SIZE,
    RULE_COUNT
};

static const st_rule rules[RULE_COUNT] = {
    {"index-json", ST_SEVERITY_ERROR, ST_ERR_JSON,
     "an index is a JSON object that names the file of each tensor"},
    {"index-duplicate", ST_SEVERITY_ERROR, ST_ERR_NAME_DUPLICATE,
     "a tensor is in one file, and stands in an index once"},
    {"index-shard-name", ST_SEVERITY_ERROR, ST_ERR_SHARD_NAME,
     "an index names .safetensors files in its own folder or below"},
    {"index-shard-missing", ST_SEVERITY_ERROR, ST_ERR_IO, "a file that an index names is there"},
    {"index-tensor-missing", ST_SEVERITY_ERROR, ST_ERR_SHARD_TENSOR,
     "a file holds the tensors that an index says it holds"},
    {"index-tensor-unlisted", ST_SEVERITY_WARNING, ST_OK,
     "an index names every tensor in its files: readers pass over the others"},
    {"index-total-size", ST_SEVERITY_WARNING, ST_OK,
     "total_size is the bytes of all tensors that an index names"},
};

size_t index_rule_count(void)
{
    return RULE_COUNT;
}

const st_rule *index_rule_at(size_t at)
{
    return &rules[at];
}

/* ------------------------------------------------------------------------------ findings */

CLI_PRINTF(4, 5)
static void finding_add(struct index_check *check, int rule, uint64_t offset, const char *format,
                        ...)
{
    char text[sizeof((st_error *)NULL)->message];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    check->findings =
        memory_grow(check->findings, &check->room, check->count + 1, sizeof *check->findings);
    char *copy = memory_new(strlen(text) + 1, 1);
    memcpy(copy, text, strlen(text));
    check->findings[check->count++] = (struct index_finding){&rules[rule], offset, copy};
}

/* Gives a message of the library's without the name that it begins with. */
static const char *message_of(const st_error *error, const char *path)
{
    size_t len = strlen(path);
    bool named =
        strncmp(error->message, path, len) == 0 && strncmp(error->message + len, ": ", 2) == 0;
    return error->message + (named ? len + 2 : 0);
}

/* ------------------------------------------------------------------------- index and files */

/* Compares what the index says of one file with what is in it. */
static uint64_t shard_compare(struct index_check *check, const struct index_entry *entries,
                              size_t count, const st_file *file)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const struct index_entry *entry = &entries[i];
        const st_tensor *tensor = st_file_find(file, entry->name, entry->name_len);
        if (tensor)
            bytes += st_tensor_size(tensor);
        else
            finding_add(check, RULE_TENSOR_MISSING, entry->offset,
                        "tensor %s: is not in %.150s, where the index puts it",
                        text_quote(entry->name, entry->name_len).text,
                        text_quote(entry->shard, strlen(entry->shard)).text);
    }
    for (size_t i = 0; i < st_file_count(file); i++) {
        const st_tensor *tensor = st_file_at(file, i);
        if (!index_text_has(entries, count, tensor->name, tensor->name_len))
            finding_add(check, RULE_TENSOR_UNLISTED, ST_NO_OFFSET,
                        "tensor %s: is in %.150s, and the index does not say so",
                        text_quote(tensor->name, tensor->name_len).text,
                        text_quote(entries->shard, strlen(entries->shard)).text);
    }
    return bytes;
}

/* Checks one file and compares. False where its tensors cannot be known. */
static bool shard_check(struct index_check *check, const char *folder,
                        const struct index_entry *entries, size_t count, uint64_t *bytes)
{
    st_file *file = NULL;
    char *path = place_join(folder, entries->shard);
    bool there = access(path, F_OK) == 0, opened = false;
    check->files++;
    if (!there) {
        finding_add(check, RULE_SHARD_MISSING, entries->offset,
                    "%.150s is not there, which should hold %zu tensor%s",
                    text_quote(entries->shard, strlen(entries->shard)).text, count,
                    count == 1 ? "" : "s");
    } else {
        check->file(check->ctx, path);
        opened = input_open_file(path, check->common, &file, NULL) == ST_OK;
    }
    if (opened)
        *bytes += shard_compare(check, entries, count, file);
    st_file_close(file);
    free(path);
    return opened;
}

/* Goes through the files in the order of their names. */
static void shards_check(struct index_check *check, const struct index_text *text)
{
    bool known = true;
    uint64_t bytes = 0;
    char *folder = place_folder(check->index);
    for (size_t i = 0, end; i < text->count; i = end) {
        for (end = i + 1; end < text->count; end++)
            if (strcmp(text->entries[end].shard, text->entries[i].shard) != 0)
                break;
        known = shard_check(check, folder, &text->entries[i], end - i, &bytes) && known;
    }
    if (known && text->has_total && text->total != bytes)
        finding_add(check, RULE_TOTAL_SIZE, text->total_offset,
                    "total_size is %" PRIu64 ", and the tensors come to %" PRIu64 " bytes",
                    text->total, bytes);
    check->tensors = text->count;
    free(folder);
}

/* --------------------------------------------------------------------------------- folders */

static void entry_check(void *ctx, const char *path)
{
    struct index_check *check = ctx;
    const char *slash = strrchr(path, '/');
    if ((slash ? slash + 1 : path)[0] == '.')
        return; /* as st_checkpoint_open does */
    check->files++;
    check->file(check->ctx, path);
}

/* The library has just read the folder: one that cannot be read was refused. */
static void entry_skip(void *ctx, const char *path)
{
    (void)ctx;
    (void)path;
}

/* ---------------------------------------------------------------------------------- all */

/* Gives the rule for what the library says of an index; RULE_COUNT: it is said of a file, which is checked itself. */
static int rule_of(st_status status)
{
    switch (status) {
    case ST_ERR_JSON: return RULE_JSON;
    case ST_ERR_SHARD_NAME: return RULE_SHARD_NAME;
    default: return RULE_COUNT;
    }
}

static bool is_duplicate(st_status status)
{
    return status == ST_ERR_NAME_DUPLICATE || status == ST_ERR_METADATA_DUPLICATE;
}

static st_status index_compare(struct index_check *check, st_status opened, const st_error *why,
                               st_error *error)
{
    struct content content = {0};
    struct index_text text = {0};
    st_status status = content_read(check->index, &content, error);
    if (status != ST_OK)
        return status;
    check->size = content.len;
    if (rule_of(opened) != RULE_COUNT) {
        finding_add(check, rule_of(opened), why->offset, "%s", message_of(why, check->index));
    } else {
        if (is_duplicate(opened))
            finding_add(check, RULE_DUPLICATE, why->offset, "%s", message_of(why, check->index));
        status = index_text_read(&text, content.text, content.len, check->index, error);
        if (status == ST_OK)
            shards_check(check, &text);
    }
    index_text_release(&text);
    free(content.text);
    return status;
}

st_status index_check_run(struct index_check *check, st_error *error)
{
    st_error why;
    st_checkpoint *checkpoint = NULL;
    st_open_options options = input_options(check->common);
    st_status opened = st_checkpoint_open(check->path, &options, &checkpoint, &why);
    if (opened == ST_OK)
        check->tensors = st_checkpoint_count(checkpoint);
    st_checkpoint_close(checkpoint);
    if (opened == ST_ERR_NOT_FOUND || opened == ST_ERR_ARGUMENT || opened == ST_ERR_NOMEM) {
        *error = why;
        return opened;
    }
    st_status status = index_text_find(check->path, &check->index, error);
    if (status != ST_OK)
        return status;
    if (check->index)
        return index_compare(check, opened, &why, error);
    struct walk walk = {.file = entry_check, .fail = entry_skip, .ctx = check};
    walk_folder(&walk, check->path);
    if (is_duplicate(opened))
        finding_add(check, RULE_DUPLICATE, ST_NO_OFFSET, "%s", message_of(&why, check->path));
    return ST_OK;
}

void index_check_release(struct index_check *check)
{
    for (size_t i = 0; i < check->count; i++)
        free(check->findings[i].message);
    free(check->findings);
    free(check->index);
}
