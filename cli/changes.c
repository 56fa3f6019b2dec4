/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns see the names that the file has; --rename and --rename-regex those that earlier ones gave. What is added
 * comes last, under the name it was given. */
#include "changes.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "memory.h"
#include "nearest.h"
#include "out.h"
#include "part.h"
#include "text.h"

bool changes_any(const struct change_options *options)
{
    return options->renames.count || options->drops.count || options->keeps.count ||
           options->casts.count || options->replacements.count || options->additions.count;
}

void change_options_release(struct change_options *options)
{
    free(options->renames.at);
    free(options->drops.at);
    free(options->keeps.at);
    free(options->casts.at);
    free(options->replacements.at);
    free(options->additions.at);
}

/* -------------------------------------------------------------------------------- messages */

/* Names what is near `name` among the tensors, as a hint behind a message. */
static void names_near(const st_header *header, const char *name, char *hint, size_t size)
{
    struct nearest nearest;
    nearest_init(&nearest, name, strlen(name));
    for (size_t i = 0; i < st_header_count(header); i++)
        nearest_offer(&nearest, st_header_at(header, i)->name, st_header_at(header, i)->name_len);
    nearest_print(&nearest, hint, size);
}

static st_status unmatched(const struct changes *changes, const char *option, const char *pattern,
                           st_error *error)
{
    char hint[600];
    const struct input *input = changes->rewrite->input;
    names_near(input_header(input), pattern, hint, sizeof hint);
    return error_fill(error, ST_ERR_NOT_FOUND, "%.150s: --%s %s: no tensor matches%s", input->path,
                      option, text_quote(pattern, strlen(pattern)).text, hint);
}

/* Says which option an error of the library is about. */
static st_status option_fail(const char *option, const char *value, st_status status,
                             st_error *error)
{
    st_error said = *error;
    if (status == ST_OK)
        return ST_OK;
    error_fill(error, status, "--%s %s: %.300s", option, text_quote(value, strlen(value)).text,
               said.message);
    error->sys_errno = said.sys_errno;
    return status;
}

/* ------------------------------------------------------------------------------- "NAME=VALUE" */

/* Splits at the first "=" that no backslash is before; \= is the character itself. Both are freed with
 * free(first). False: there is none. */
static bool pair_split(const char *text, char **first, char **second)
{
    char *copy = memory_new(strlen(text) + 1, 1), *to = copy;
    *first = copy;
    *second = NULL;
    for (const char *at = text; *at; at++) {
        if (*at == '=' && !*second) {
            *to++ = '\0';
            *second = to;
            continue;
        }
        if (at[0] == '\\' && at[1] == '=')
            at++;
        else if (at[0] == '\\' && at[1])
            *to++ = *at++;
        *to++ = *at;
    }
    *to = '\0';
    if (*second)
        return true;
    free(copy);
    return false;
}

static st_status pair_refuse(const char *option, const char *value, const char *form,
                             st_error *error)
{
    return error_fill(error, ST_ERR_ARGUMENT, "--%s takes %s, not %s", option, form,
                      text_quote(value, strlen(value)).text);
}

/* ---------------------------------------------------------------------------- by patterns */

/* A tensor of one of the files. */
struct spot {
    size_t file;
    const st_tensor *tensor;
    struct change *change;
    st_edit *edit;
};

struct change *changes_of(const struct changes *changes, size_t index, const st_tensor *tensor)
{
    const st_header *header = st_file_header(input_file(changes->rewrite->input, index));
    return &changes->of[index][st_header_index(header, tensor)];
}

static struct spot spot_of(const struct changes *changes, size_t file, const st_tensor *tensor)
{
    return (struct spot){.file = file,
                         .tensor = tensor,
                         .change = changes_of(changes, file, tensor),
                         .edit = rewrite_edit(changes->rewrite, file)};
}

/* Calls `take` for every tensor, until it fails. */
static st_status each_take(const struct changes *changes,
                           st_status (*take)(const struct spot *spot, void *ctx, st_error *error),
                           void *ctx, st_error *error)
{
    const struct input *input = changes->rewrite->input;
    st_status status = ST_OK;
    for (size_t f = 0; f < input_file_count(input) && status == ST_OK; f++) {
        const st_file *file = input_file(input, f);
        for (size_t i = 0; i < st_file_count(file) && status == ST_OK; i++) {
            struct spot spot = spot_of(changes, f, st_file_at(file, i));
            status = take(&spot, ctx, error);
        }
    }
    return status;
}

struct matching {
    st_name_rule *rule;
    size_t count;
    st_status (*take)(const struct spot *spot, void *ctx, st_error *error);
    void *ctx;
};

static st_status match_take(const struct spot *spot, void *ctx, st_error *error)
{
    struct matching *matching = ctx;
    bool matches = false;
    st_status status = st_name_rule_match(matching->rule, spot->tensor->name,
                                          spot->tensor->name_len, &matches, error);
    if (status != ST_OK || !matches)
        return status;
    matching->count++;
    return spot->change->dropped ? ST_OK : matching->take(spot, matching->ctx, error);
}

/* Calls `take` for every tensor that matches and is still in. */
static st_status
matching_take(const struct changes *changes, const char *option, const char *pattern,
              st_status (*take)(const struct spot *spot, void *ctx, st_error *error), void *ctx,
              st_error *error)
{
    struct matching matching = {.take = take, .ctx = ctx};
    st_status status = st_name_rule_new(pattern, NULL, ST_NAME_GLOB, NULL, &matching.rule, error);
    if (status != ST_OK)
        return option_fail(option, pattern, status, error);
    status = each_take(changes, match_take, &matching, error);
    st_name_rule_free(matching.rule);
    if (status == ST_OK && matching.count == 0)
        return unmatched(changes, option, pattern, error);
    return status;
}

static st_status keep_take(const struct spot *spot, void *ctx, st_error *error)
{
    (void)ctx;
    (void)error;
    spot->change->kept = true;
    return ST_OK;
}

static st_status drop_take(const struct spot *spot, void *ctx, st_error *error)
{
    (void)ctx;
    spot->change->dropped = true;
    return st_edit_drop(spot->edit, spot->tensor, error);
}

static st_status rest_drop(const struct spot *spot, void *ctx, st_error *error)
{
    return spot->change->kept ? ST_OK : drop_take(spot, ctx, error);
}

static st_status keeps_make(const struct changes *changes, st_error *error)
{
    const struct opt_list *keeps = &changes->options->keeps;
    st_status status = ST_OK;
    if (keeps->count == 0)
        return ST_OK;
    for (size_t i = 0; i < keeps->count && status == ST_OK; i++)
        status = matching_take(changes, "keep", keeps->at[i], keep_take, NULL, error);
    return status == ST_OK ? each_take(changes, rest_drop, NULL, error) : status;
}

static st_status drops_make(const struct changes *changes, st_error *error)
{
    const struct opt_list *drops = &changes->options->drops;
    st_status status = ST_OK;
    for (size_t i = 0; i < drops->count && status == ST_OK; i++)
        status = matching_take(changes, "drop", drops->at[i], drop_take, NULL, error);
    return status;
}

/* ------------------------------------------------------------------------------------- casts */

struct casting {
    st_dtype to;
    size_t floats; /* that matched */
};

static st_status cast_take(const struct spot *spot, void *ctx, st_error *error)
{
    struct casting *casting = ctx;
    if (st_dtype_kind(spot->tensor->dtype) != ST_KIND_FLOAT)
        return ST_OK;
    st_status status = st_edit_cast(spot->edit, spot->tensor, casting->to, error);
    spot->change->cast = spot->tensor->dtype == casting->to ? 0 : casting->to;
    casting->floats++;
    return status;
}

/* Finds a dtype by its code in either case; floats only. */
static st_status cast_dtype(const char *value, size_t len, st_dtype *out, st_error *error)
{
    char hint[600], known[300] = "; known are ";
    size_t used = strlen(known);
    struct nearest nearest;
    nearest_init(&nearest, value, len);
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        const char *code = st_dtype_code(dtype);
        if (st_dtype_kind(dtype) != ST_KIND_FLOAT)
            continue;
        nearest_offer(&nearest, code, strlen(code));
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s",
                                 known[used - 1] == ' ' ? "" : ", ", code);
        if (strlen(code) == len && strncasecmp(code, value, len) == 0) {
            *out = dtype;
            return ST_OK;
        }
    }
    nearest_print(&nearest, hint, sizeof hint);
    return error_fill(error, ST_ERR_ARGUMENT, "--cast %s: no such dtype of floats%s",
                      text_quote(value, len).text, *hint ? hint : known);
}

static st_status cast_make(const struct changes *changes, const char *value, st_error *error)
{
    const char *colon = strchr(value, ':');
    struct casting casting = {.floats = 0};
    size_t len = colon ? (size_t)(colon - value) : strlen(value);
    st_status status = cast_dtype(value, len, &casting.to, error);
    if (status == ST_OK)
        status =
            matching_take(changes, "cast", colon ? colon + 1 : "*", cast_take, &casting, error);
    if (status == ST_OK && casting.floats == 0)
        status = error_fill(error, ST_ERR_NOT_FOUND, "%.150s: --cast %s: no tensor of floats %s",
                            changes->rewrite->input->path, text_quote(value, strlen(value)).text,
                            colon ? "matches" : "is there");
    return status;
}

/* ------------------------------------------------------------------------ out of other files */

static st_status tensor_find(const char *path, const st_header *header, const char *name,
                             const st_tensor **out, st_error *error)
{
    char hint[600];
    *out = st_header_find(header, name, strlen(name));
    if (*out)
        return ST_OK;
    names_near(header, name, hint, sizeof hint);
    return error_fill(error, ST_ERR_NOT_FOUND, "%.150s: no tensor %s%s", path,
                      text_quote(name, strlen(name)).text, hint);
}

static st_status place_find(const struct input *input, const char *name, struct input_place *out,
                            st_error *error)
{
    const st_tensor *tensor;
    st_status status = tensor_find(input->path, input_header(input), name, &tensor, error);
    if (status == ST_OK)
        *out = input_place(input, tensor);
    return status;
}

static st_status part_get(struct changes *changes, const char *path, bool raw, struct part **out,
                          st_error *error)
{
    for (size_t i = 0; i < changes->part_count; i++) {
        *out = &changes->parts[i];
        if ((*out)->raw == raw && strcmp((*out)->path, path) == 0)
            return ST_OK;
    }
    struct part part;
    st_status status = part_open(&part, path, raw, changes->common, error);
    if (status != ST_OK)
        return status;
    changes->parts = memory_grow(changes->parts, &changes->part_room, changes->part_count + 1,
                                 sizeof *changes->parts);
    *out = &changes->parts[changes->part_count++];
    **out = part;
    return ST_OK;
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

/* Parts at the first colon that has the path of a file before it, where the whole is none. */
static char *colon_part(char *source)
{
    if (is_there(source))
        return NULL;
    for (char *colon = strchr(source, ':'); colon; colon = strchr(colon + 1, ':')) {
        *colon = '\0';
        if (is_there(source))
            return colon + 1;
        *colon = ':';
    }
    return NULL;
}

/* Parts "OTHER.safetensors:TENSOR" in place, "INDEX.json:TENSOR", "FOLDER/:TENSOR", or what is there before a colon;
 * NULL where no tensor is named. */
static char *tensor_part(char *source)
{
    static const char *const endings[] = {".safetensors:", ".json:", "/:"};
    char *colon = NULL;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        char *at = strstr(source, endings[i]);
        if (at && (!colon || at < colon))
            colon = at + strlen(endings[i]) - 1;
    }
    if (!colon)
        return colon_part(source);
    *colon = '\0';
    return colon + 1;
}

static st_status replacement_make(struct changes *changes, const char *name, char *source,
                                  st_error *error)
{
    struct input_place place, from;
    struct part *part;
    st_array array = {0};
    char *named = tensor_part(source);
    st_status status = place_find(changes->rewrite->input, name, &place, error);
    if (status == ST_OK)
        status = part_get(changes, source, !named, &part, error);
    if (status == ST_OK && named)
        status = place_find(&part->input, named, &from, error);
    if (status == ST_OK)
        status = named ? part_array(part, &from, &array, error)
                       : part_bytes(part, place.tensor, &array, error);
    if (status != ST_OK)
        return status;
    struct spot spot = spot_of(changes, place.index, place.tensor);
    status = st_edit_replace(spot.edit, spot.tensor, &array, error);
    if (status == ST_OK) {
        spot.change->replaced = true;
        spot.change->cast = 0;
    }
    return status;
}

/* Of several files the last one gets it. */
static st_status addition_make(struct changes *changes, const char *name, char *source,
                               st_error *error)
{
    struct input_place place;
    struct part *part;
    const char *named = tensor_part(source);
    size_t count = input_file_count(changes->rewrite->input);
    if (count == 0)
        return error_fill(error, ST_ERR_NOT_FOUND, "%.150s: --add %s: there is no file to add to",
                          changes->rewrite->input->path, text_quote(name, strlen(name)).text);
    st_status status = part_get(changes, source, false, &part, error);
    if (status == ST_OK)
        status = place_find(&part->input, named ? named : name, &place, error);
    if (status == ST_OK)
        status = st_edit_include(rewrite_edit(changes->rewrite, count - 1), place.file,
                                 place.tensor, name, strlen(name), error);
    return status;
}

static st_status pairs_make(struct changes *changes, const struct opt_list *list,
                            st_status (*make)(struct changes *changes, const char *name,
                                              char *source, st_error *error),
                            st_error *error)
{
    bool adds = list == &changes->options->additions;
    st_status status = ST_OK;
    for (size_t i = 0; i < list->count && status == ST_OK; i++) {
        char *name, *source;
        if (!pair_split(list->at[i], &name, &source))
            return pair_refuse(adds ? "add" : "replace", list->at[i],
                               adds ? "NAME=FILE.safetensors[:TENSOR]"
                                    : "NAME=FILE.safetensors:TENSOR or NAME=FILE",
                               error);
        status = make(changes, name, source, error);
        free(name);
    }
    return status;
}

/* ----------------------------------------------------------------------------------- renames */

static st_status rule_rename(const struct changes *changes, const st_name_rule *rule,
                             uint64_t *matched, st_error *error)
{
    st_status status = ST_OK;
    for (size_t i = 0; i < input_file_count(changes->rewrite->input) && status == ST_OK; i++) {
        uint64_t count = 0;
        status = st_edit_rename_all(rewrite_edit(changes->rewrite, i), rule, &count, error);
        *matched += count;
    }
    return status;
}

static st_status rename_make(const struct changes *changes, const char *option, const char *value,
                             st_error *error)
{
    char *pattern, *replacement;
    uint64_t matched = 0;
    bool regex = strcmp(option, "rename") != 0;
    st_name_rule *rule = NULL;
    if (!pair_split(value, &pattern, &replacement))
        return pair_refuse(option, value, regex ? "RE=REPLACEMENT" : "OLD=NEW", error);
    st_status status = st_name_rule_new(pattern, replacement, regex ? ST_NAME_REGEX : ST_NAME_GLOB,
                                        NULL, &rule, error);
    if (status == ST_OK)
        status = rule_rename(changes, rule, &matched, error);
    status = option_fail(option, value, status, error);
    if (status == ST_OK && matched == 0)
        status = unmatched(changes, option, pattern, error);
    st_name_rule_free(rule);
    free(pattern);
    return status;
}

static st_status renames_make(const struct changes *changes, st_error *error)
{
    const struct opt_list *renames = &changes->options->renames;
    st_status status = ST_OK;
    for (size_t i = 0; i + 1 < renames->count && status == ST_OK; i += 2)
        status = rename_make(changes, renames->at[i], renames->at[i + 1], error);
    return status;
}

/* --------------------------------------------------------------------------------- all of them */

static void changes_begin(struct changes *changes)
{
    const struct input *input = changes->rewrite->input;
    changes->of = memory_new(input_file_count(input), sizeof *changes->of);
    for (size_t i = 0; i < input_file_count(input); i++)
        changes->of[i] = memory_new(st_file_count(input_file(input, i)), sizeof **changes->of);
}

st_status changes_make(struct changes *changes, st_error *error)
{
    const struct change_options *options = changes->options;
    changes_begin(changes);
    st_status status = keeps_make(changes, error);
    if (status == ST_OK)
        status = drops_make(changes, error);
    for (size_t i = 0; i < options->casts.count && status == ST_OK; i++)
        status = cast_make(changes, options->casts.at[i], error);
    if (status == ST_OK)
        status = pairs_make(changes, &options->replacements, replacement_make, error);
    if (status == ST_OK)
        status = renames_make(changes, error);
    if (status == ST_OK)
        status = pairs_make(changes, &options->additions, addition_make, error);
    return status;
}

void changes_release(struct changes *changes)
{
    size_t files = changes->of ? input_file_count(changes->rewrite->input) : 0;
    for (size_t i = 0; i < changes->part_count; i++)
        part_close(&changes->parts[i]);
    for (size_t i = 0; i < files; i++)
        free(changes->of[i]);
    free(changes->parts);
    free(changes->of);
}
