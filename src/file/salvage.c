/* SPDX-License-Identifier: Apache-2.0 */
/* A valid file out of a damaged one. The parser hands over what it could read of the header, having told what it could
 * not; each tensor is judged; those that are whole are written, under names that differ. */
#include <safetensors/salvage.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/error.h"
#include "base/map.h"
#include "file/file.h"
#include "format/header_salvage.h"
#include "io/os.h"
#include "io/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SUFFIX      ".duplicate-"
#define SUFFIX_SIZE 32u /* with a number of 64 bits and a terminator */

enum { FATE_LOST = 0, FATE_SAVED, FATE_REPEATED };

/* One tensor of the damaged file. Equal names are led by the first of them in data order. */
typedef struct salvage_piece {
    uint32_t leader;
    uint32_t keeper; /* of a leader: the one that keeps the name */
    uint32_t number; /* of a leader: the last one given to another */
    uint32_t fate;
} salvage_piece;

typedef struct salvage_run {
    st_source *source;
    st_context *context;
    uint32_t flags;
    const st_salvage_options *options;
    st_source_info info;
    st_error *error;
    st_salvage_summary summary;
    bool stopped;
    bool lost_tensors;
    st__deviation last; /* that concerned an entry */
    st__remains remains;
    size_t count;          /* of tensors in the remains */
    salvage_piece *pieces; /* of each */
    st__map names;         /* of those that are saved */
    st_copy *copies;
    size_t copy_count;
    st_writer *writer;
    char *renamed; /* room for a name, in which `renamed_size` bytes */
    size_t renamed_size;
} salvage_run;

/* ------------------------------------------------------------------------------------ telling */

static bool salvaged_tell(salvage_run *run, st_salvage_item *item)
{
    uint64_t *const counts[] = {
        [ST_SALVAGE_SAVED] = &run->summary.saved,
        [ST_SALVAGE_CHANGED] = &run->summary.changed,
        [ST_SALVAGE_LOST] = &run->summary.lost,
    };
    ++*counts[item->kind];
    run->summary.errors += item->severity == ST_SEVERITY_ERROR;
    if (run->options->item && !run->options->item(run->options->ctx, item))
        run->stopped = true;
    return !run->stopped;
}

static bool deviation_tell(salvage_run *run, int32_t kind, const st__deviation *deviation)
{
    /* A tensor of which nothing is there is lost whatever the flags accept. */
    bool tensor = kind == ST_SALVAGE_LOST && deviation->rule == ST__RULE_DTYPE_UNKNOWN;
    st_salvage_item item = {
        .kind = kind,
        .severity = tensor ? ST_SEVERITY_ERROR : st__rule_severity(deviation->rule, run->flags),
        .rule = st_rule_at((size_t)deviation->rule),
        .name = deviation->name,
        .name_len = deviation->name_len,
        .offset = deviation->offset,
        .message = deviation->message,
    };
    return salvaged_tell(run, &item);
}

/* What becomes of what the parser tells of; 0: it is told otherwise, or it is as it was. */
static const unsigned char salvage_fates[ST__RULE_COUNT] = {
    [ST__RULE_FILE_TOO_SMALL] = ST_SALVAGE_LOST,     [ST__RULE_HEADER_TOO_LARGE] = ST_SALVAGE_LOST,
    [ST__RULE_HEADER_LENGTH] = ST_SALVAGE_CHANGED,   [ST__RULE_HEADER_UTF8] = ST_SALVAGE_LOST,
    [ST__RULE_JSON_SYNTAX] = ST_SALVAGE_LOST,        [ST__RULE_JSON_DEPTH] = ST_SALVAGE_LOST,
    [ST__RULE_HEADER_TYPE] = ST_SALVAGE_LOST,        [ST__RULE_METADATA_TYPE] = ST_SALVAGE_CHANGED,
    [ST__RULE_METADATA_TWICE] = ST_SALVAGE_CHANGED,  [ST__RULE_ENTRY_ARRAY] = ST_SALVAGE_CHANGED,
    [ST__RULE_FIELD_DUPLICATE] = ST_SALVAGE_CHANGED, [ST__RULE_DTYPE_OBJECT] = ST_SALVAGE_CHANGED,
    [ST__RULE_METADATA_DUPLICATE] = ST_SALVAGE_LOST, [ST__RULE_FILE_TRUNCATED] = ST_SALVAGE_LOST,
    [ST__RULE_LEADING_SPACE] = ST_SALVAGE_CHANGED,   [ST__RULE_PADDING] = ST_SALVAGE_CHANGED,
    [ST__RULE_METADATA_NULL] = ST_SALVAGE_CHANGED,   [ST__RULE_FIELD_UNKNOWN] = ST_SALVAGE_LOST,
    [ST__RULE_HEADER_ORDER] = ST_SALVAGE_CHANGED,
};

static bool deviation_take(void *ctx, const st__deviation *deviation)
{
    salvage_run *run = ctx;
    int32_t kind = salvage_fates[deviation->rule];
    if (kind)
        return deviation_tell(run, kind, deviation);
    run->last = *deviation;
    return true;
}

static bool entry_lose(void *ctx, const char *name, size_t name_len, uint64_t offset)
{
    salvage_run *run = ctx;
    st__deviation deviation = run->last;
    (void)offset;
    deviation.name = name;
    deviation.name_len = name_len;
    run->lost_tensors = true;
    return deviation_tell(run, ST_SALVAGE_LOST, &deviation);
}

/* -------------------------------------------------------------------------------------- names */

static const st_tensor *remains_at(const salvage_run *run, size_t index)
{
    return st_header_at(run->remains.header, index);
}

static bool tensors_alike(const st_tensor *a, const st_tensor *b)
{
    return a->dtype == b->dtype && a->begin == b->begin && a->end == b->end && a->ndim == b->ndim &&
           memcmp(a->shape, b->shape, a->ndim * sizeof *a->shape) == 0;
}

/* Judges every tensor, and finds out which of equal names keeps it: the last in the text of those that can be saved. */
static void names_divide(salvage_run *run, const st__hash_key *key)
{
    for (size_t i = 0; i < run->count; i++) {
        const st_tensor *tensor = remains_at(run, i);
        salvage_piece *piece = &run->pieces[i];
        st__deviation ignored;
        if (!st__remains_judge(&run->remains, i, run->flags, &ignored))
            continue;
        size_t first =
            st__map_insert(&run->names, i, st__hash(key, tensor->name, tensor->name_len));
        piece->fate = FATE_SAVED;
        piece->leader = (uint32_t)(first == ST__MAP_NONE ? i : first);
        salvage_piece *leader = &run->pieces[piece->leader];
        if (first == ST__MAP_NONE ||
            st__remains_place(&run->remains, i) > st__remains_place(&run->remains, leader->keeper))
            leader->keeper = (uint32_t)i;
    }
    for (size_t i = 0; i < run->count; i++) {
        salvage_piece *piece = &run->pieces[i];
        size_t keeper = run->pieces[piece->leader].keeper;
        if (piece->fate == FATE_SAVED && keeper != i &&
            tensors_alike(remains_at(run, i), remains_at(run, keeper)))
            piece->fate = FATE_REPEATED;
    }
}

static st_status names_begin(salvage_run *run)
{
    st__hash_key key;
    st__os_random(&key, sizeof key);
    run->count = st_header_count(run->remains.header);
    if (run->count == 0)
        return ST_OK;
    run->pieces = st__alloc_zeroed(run->context, run->count, sizeof *run->pieces);
    run->copies = st__alloc_zeroed(run->context, run->count, sizeof *run->copies);
    if (!run->pieces || !run->copies ||
        !st__map_init(&run->names, run->context, remains_at(run, 0), sizeof(st_tensor), run->count,
                      &key))
        return st__fail_nomem(run->error, (uint64_t)run->count * sizeof *run->copies);
    names_divide(run, &key);
    return ST_OK;
}

/* Gives a tensor of a name that another one keeps a name of its own, in `run->renamed`. */
static st_status name_another(salvage_run *run, const st_tensor *tensor, uint32_t *number,
                              size_t *len)
{
    size_t size = (size_t)tensor->name_len + SUFFIX_SIZE;
    if (run->renamed_size < size) {
        char *grown = st__realloc(run->context, run->renamed, run->renamed_size, size);
        if (!grown)
            return st__fail_nomem(run->error, size);
        run->renamed = grown;
        run->renamed_size = size;
    }
    memcpy(run->renamed, tensor->name, tensor->name_len);
    do
        *len = tensor->name_len + (size_t)snprintf(run->renamed + tensor->name_len, SUFFIX_SIZE,
                                                   SUFFIX "%" PRIu32, ++*number);
    while (st__map_find(&run->names, run->renamed, *len) != ST__MAP_NONE);
    return ST_OK;
}

/* ------------------------------------------------------------------------------------ tensors */

static bool bytes_dropped(salvage_run *run, uint64_t from, uint64_t to)
{
    bool trailing = to == st_header_data_size(run->remains.header);
    uint64_t offset = st_header_data_offset(run->remains.header) + from;
    st__rule rule = trailing ? ST__RULE_TRAILING_BYTES : ST__RULE_LAYOUT_HOLE;
    char message[192];
    snprintf(message, sizeof message,
             "%" PRIu64 " bytes from byte %" PRIu64 " on belong to no tensor%s: they are left out",
             to - from, offset, run->remains.incomplete ? " whose entry can be read" : "");
    st_salvage_item item = {
        .kind = run->remains.incomplete ? ST_SALVAGE_LOST : ST_SALVAGE_CHANGED,
        .severity = ST_SEVERITY_ERROR,
        .rule = st_rule_at((size_t)rule),
        .offset = offset,
        .size = to - from,
        .message = message,
    };
    return salvaged_tell(run, &item);
}

static bool tensor_changed(salvage_run *run, size_t index, st__rule rule, const char *what)
{
    const st_tensor *tensor = remains_at(run, index);
    st__deviation deviation = {.rule = rule,
                               .offset = st__remains_place(&run->remains, index),
                               .name = tensor->name,
                               .name_len = tensor->name_len};
    int used = snprintf(deviation.message, sizeof deviation.message, "tensor %s: %s",
                        st__quote(tensor->name, tensor->name_len).text, what);
    (void)used; /* both parts are of bounded length */
    return deviation_tell(run, ST_SALVAGE_CHANGED, &deviation);
}

/* Adds a tensor to the new file, under a name that no other one has. */
static st_status tensor_add(salvage_run *run, size_t index, const char *name, size_t name_len)
{
    const st_tensor *from = remains_at(run, index);
    st_tensor tensor = *from;
    size_t code_len;
    const char *code = st_header_dtype_code(run->remains.header, tensor.dtype, &code_len);
    st_copy *copy = &run->copies[run->copy_count];
    if (tensor.dtype >= ST_DTYPE_UNKNOWN)
        ST_TRY(st_writer_add_dtype(run->writer, code, code_len, &tensor.dtype, run->error));
    tensor.name = name;
    tensor.name_len = (uint32_t)name_len;
    ST_TRY(st_writer_add(run->writer, &tensor, &copy->index, run->error));
    copy->tensor = from;
    /* One of no bytes may lie anywhere; there is nothing to copy. */
    run->copy_count += st_tensor_size(from) > 0;
    run->summary.bytes += st_tensor_size(from);
    return ST_OK;
}

static bool tensor_saved(salvage_run *run, const st_tensor *tensor, const char *name, size_t len)
{
    char message[352];
    uint64_t offset = st_header_data_offset(run->remains.header) + tensor->begin;
    snprintf(message, sizeof message, "tensor %s: %" PRIu64 " bytes from byte %" PRIu64 " on",
             st__quote(name, len).text, st_tensor_size(tensor), offset);
    st_salvage_item item = {
        .kind = ST_SALVAGE_SAVED,
        .name = tensor->name,
        .name_len = tensor->name_len,
        .new_name = name,
        .new_name_len = len,
        .offset = offset,
        .size = st_tensor_size(tensor),
        .message = message,
    };
    return salvaged_tell(run, &item);
}

static st_status salvage_stopped(const salvage_run *run)
{
    return st__fail(run->error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the salvage was stopped",
                    st_source_name(run->source));
}

/* Saves one tensor that is whole. */
static st_status tensor_save(salvage_run *run, size_t index)
{
    const st_tensor *tensor = remains_at(run, index);
    salvage_piece *leader = &run->pieces[run->pieces[index].leader];
    const char *name = tensor->name;
    size_t len = tensor->name_len;
    bool renamed = leader->keeper != index;
    if (renamed) {
        ST_TRY(name_another(run, tensor, &leader->number, &len));
        name = run->renamed;
    }
    ST_TRY(tensor_add(run, index, name, len));
    if (!tensor_saved(run, tensor, name, len))
        return salvage_stopped(run);
    char what[192];
    snprintf(what, sizeof what, "a later entry has the same name: this one is %s now",
             st__quote(name, len).text);
    if (renamed && !tensor_changed(run, index, ST__RULE_NAME_DUPLICATE, what))
        return salvage_stopped(run);
    return ST_OK;
}

/* What is not saved, or not at its place, of tensor `index`; `running` is the end of those before it, `last` the one that
 * reaches there. */
static bool piece_tell(salvage_run *run, size_t index, uint64_t running, size_t last)
{
    const st_tensor *tensor = remains_at(run, index), *before = remains_at(run, last);
    st__deviation deviation = {.rule = ST__RULE_COUNT};
    char what[192];
    switch (run->pieces[index].fate) {
    case FATE_LOST:
        run->lost_tensors = true;
        (void)st__remains_judge(&run->remains, index, run->flags, &deviation);
        return deviation_tell(run, ST_SALVAGE_LOST, &deviation);
    case FATE_REPEATED:
        return tensor_changed(run, index, ST__RULE_NAME_DUPLICATE,
                              "a later entry is the same in all: the tensor is there once");
    default: break;
    }
    if (tensor->begin > st_header_data_size(run->remains.header))
        return tensor_changed(run, index, ST__RULE_LAYOUT_HOLE,
                              "it has no bytes, but begins behind the end of the file: it is at "
                              "the end of the data now");
    if (tensor->begin >= running)
        return true;
    snprintf(what, sizeof what,
             st_tensor_size(tensor) > 0
                 ? "it shares bytes with tensor %s: each has a copy of its own now"
                 : "it has no bytes, but lies among those of tensor %s: it is behind them now",
             st__quote(before->name, before->name_len).text);
    return tensor_changed(run, index, ST__RULE_LAYOUT_OVERLAP, what);
}

/* In the order of the data. */
static st_status tensors_save(salvage_run *run)
{
    uint64_t running = 0, have = st_header_data_size(run->remains.header);
    size_t last = 0;
    for (size_t i = 0; i < run->count; i++) {
        const st_tensor *tensor = remains_at(run, i);
        uint64_t begin = tensor->begin < have ? tensor->begin : have;
        uint64_t end = tensor->end < have ? tensor->end : have;
        if (tensor->begin <= tensor->end && begin > running && !bytes_dropped(run, running, begin))
            return salvage_stopped(run);
        if (run->pieces[i].fate == FATE_SAVED)
            ST_TRY(tensor_save(run, i));
        if (!piece_tell(run, i, running, last))
            return salvage_stopped(run);
        if (tensor->begin <= tensor->end && end >= running) {
            running = end;
            last = i;
        }
    }
    return running == have || bytes_dropped(run, running, have) ? ST_OK : salvage_stopped(run);
}

/* ------------------------------------------------------------------------------------ writing */

static st_status metadata_save(salvage_run *run)
{
    const st_header *header = run->remains.header;
    if (st_header_has_metadata(header))
        ST_TRY(st_writer_add_metadata(run->writer, NULL, run->error));
    for (size_t i = 0; i < st_header_metadata_count(header); i++)
        ST_TRY(st_writer_add_metadata(run->writer, st_header_metadata_at(header, i), run->error));
    run->summary.metadata = st_header_metadata_count(header);
    return ST_OK;
}

static st_status remains_write(salvage_run *run, const st_open_options *options, st_sink *sink)
{
    st_file *file;
    ST_TRY(st__file_over(run->source, &run->info, run->remains.header, options, &file, run->error));
    st_status status = st_writer_begin(run->writer, sink, run->error);
    if (status == ST_OK)
        status = st_writer_copy_from(run->writer, file, run->copies, run->copy_count, run->error);
    if (status == ST_OK)
        status = st_writer_finish(run->writer, run->error);
    st_file_close(file);
    return status;
}

/* Writes what the parser handed over, unless that is nothing. */
static st_status remains_save(salvage_run *run, const st_open_options *options, st_sink *sink)
{
    st_writer_options writer = {
        .order = ST_ORDER_ADDED,
        .max_header_size = options ? options->max_header_size : 0,
        .context = run->context,
        .progress = run->options->progress,
    };
    ST_TRY(names_begin(run));
    ST_TRY(st_writer_new(&writer, &run->writer, run->error));
    ST_TRY(tensors_save(run));
    ST_TRY(metadata_save(run));
    if (run->summary.saved == 0 && (run->lost_tensors || run->remains.incomplete))
        return ST_OK;
    ST_TRY(st_writer_size(run->writer, &run->summary.size, run->error));
    return sink ? remains_write(run, options, sink) : ST_OK;
}

static st_status salvage_read(void *ctx, uint64_t offset, void *dst, size_t size, st_error *error)
{
    const salvage_run *run = ctx;
    return st_source_read(run->source, offset, dst, size, error);
}

static st_status salvage_all(salvage_run *run, const st_open_options *options, st_sink *sink)
{
    st__header_input input = {
        .read = salvage_read,
        .ctx = run,
        .file_size = run->info.size,
        .name = st_source_name(run->source),
    };
    st__sink parse = {.report = deviation_take,
                      .ctx = run,
                      .below = ST__STAGES,
                      .salvages = true,
                      .lost = entry_lose};
    st__os_random(input.hash_key, sizeof input.hash_key);
    ST_TRY(st__header_salvage(&input, options, &parse, &run->remains, run->error));
    st_status status = run->remains.header ? remains_save(run, options, sink) : ST_OK;
    st_writer_free(run->writer);
    st__free(run->context, run->renamed, run->renamed_size);
    st__map_release(&run->names, run->context);
    st__free(run->context, run->copies, run->count * sizeof *run->copies);
    st__free(run->context, run->pieces, run->count * sizeof *run->pieces);
    st__remains_release(&run->remains);
    return status;
}

st_status st_salvage(st_source *source, const st_open_options *options, st_sink *sink,
                     const st_salvage_options *salvage, st_salvage_summary *out, st_error *error)
{
    static const st_salvage_options defaults;
    st_error said = {.status = ST_OK};
    salvage_run run = {.source = source,
                       .context = options ? options->context : NULL,
                       .flags = options ? options->flags : 0,
                       .options = salvage ? salvage : &defaults,
                       .error = &said};
    ST_TRY(st__options_check(options, error));
    ST_TRY(st__reserved_check(run.options->reserved, 8, "st_salvage_options", error));
    ST_TRY(st_source_query(source, &run.info, error));
    st_status status = salvage_all(&run, options, sink);
    if (status == ST_OK && out)
        *out = run.summary;
    if (status != ST_OK && error)
        *error = said;
    return status == ST_ERR_NOMEM ? st__error_locate(error, status, st_source_name(source), NULL)
                                  : status;
}
