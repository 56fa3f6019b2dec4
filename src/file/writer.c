/* SPDX-License-Identifier: Apache-2.0 */
/* A file being written: what is added to it, its layout, its beginning and its end. */
#include "file/writer.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "base/room.h"
#include "format/header_emit.h"
#include "format/json_escape.h"

#include <inttypes.h>
#include <string.h>

#define ALIGNMENT_LEAST 8u
#define ALIGNMENT_MOST  4096u
#define NEW_FILE        "<new file>" /* before there is a sink with a name */
/* Page cache takes blocks of this size nearly as fast as larger ones (2.8 ms for 11 MB, where 1 MiB takes
 * 2.2); and the fewer the bytes of the windows, the fewer of them are touched for the first time, which
 * costs as much as writing them. */
#define WINDOW_SIZE ((size_t)64 << 10)
/* Windows of less than this combine too little to be worth their memory. */
#define WINDOW_LEAST ((size_t)512)
/* With fewer windows than this they are smaller. */
#define WINDOWS_FEW 16u

/* Copies text, terminated. */
static char *text_keep(char *at, const char *text, size_t len)
{
    if (len)
        memcpy(at, text, len);
    at[len] = '\0';
    return at;
}

/* --------------------------------------------------------------------------- making, freeing */

st_status st__writer_options_check(const st_writer_options *options, const char *name,
                                   st_error *error)
{
    const uint32_t largest = UINT32_MAX - 65536; /* as for reading */
    uint32_t alignment = options->alignment;
    if (options->order > ST_ORDER_ADDED)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "%s: unknown order %" PRIu32, name,
                        options->order);
    if (alignment && (alignment < ALIGNMENT_LEAST || alignment > ALIGNMENT_MOST ||
                      (alignment & (alignment - 1))))
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: alignment %" PRIu32 " is no power of 2 from %u to %u", name, alignment,
                        ALIGNMENT_LEAST, ALIGNMENT_MOST);
    if (options->max_header_size > largest)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: max_header_size %" PRIu64 " is above %" PRIu32, name,
                        options->max_header_size, largest);
    return st__reserved_check(options->reserved, 8, name, error);
}

st_status st_writer_new(const st_writer_options *options, st_writer **out, st_error *error)
{
    static const st_writer_options defaults;
    const st_writer_options *o = options ? options : &defaults;
    ST_TRY(st__writer_options_check(o, "st_writer_options", error));
    st_writer *writer = st__alloc_zeroed(o->context, 1, sizeof *writer);
    if (!writer)
        return st__error_locate(error, st__fail_nomem(error, sizeof *writer), NEW_FILE, NULL);
    bool locked = st__lock_init(&writer->lock);
    if (!locked || !st__signal_init(&writer->turn)) {
        if (locked)
            st__lock_release(&writer->lock);
        st__free(o->context, writer, sizeof *writer);
        return st__error_locate(error, st__fail_nomem(error, sizeof *writer), NEW_FILE, NULL);
    }
    writer->context = st_context_retain(o->context);
    writer->texts.context = o->context;
    writer->order = o->order;
    writer->alignment = o->alignment ? o->alignment : ALIGNMENT_LEAST;
    writer->reserve = o->reserve;
    writer->max_header_size = o->max_header_size ? o->max_header_size : ST_HEADER_MAX;
    writer->progress = o->progress;
    st__ranges_init(&writer->pieces, writer->context);
    *out = writer;
    return ST_OK;
}

static void layout_drop(st_writer *writer)
{
    st__free(writer->context, writer->header, writer->header_size);
    writer->header = NULL;
    writer->header_size = 0;
    writer->laid_out = false;
}

void st_writer_free(st_writer *writer)
{
    if (!writer)
        return;
    st_context *context = writer->context;
    st__windows_release(writer);
    st__stream_release(writer);
    st__ranges_release(&writer->pieces);
    st__free(context, writer->claims, writer->count);
    st_sink_release(writer->sink);
    st__free(context, writer->header, writer->header_size);
    st__arena_release(&writer->texts);
    st__free(context, writer->metadata, writer->metadata_room * sizeof *writer->metadata);
    st__free(context, writer->tensors, writer->room * sizeof *writer->tensors);
    st__signal_release(&writer->turn);
    st__lock_release(&writer->lock);
    st__free(context, writer, sizeof *writer);
    st_context_release(context);
}

/* ---------------------------------------------------------------------------------- adding */

const char *st__writer_name(const st_writer *writer)
{
    const char *name = writer->name ? writer->name : NEW_FILE;
    return writer->sink ? st_sink_name(writer->sink) : name;
}

static st_status adding_check(const st_writer *writer, const char *what, st_error *error)
{
    if (writer->state == ST__WRITER_ADDING)
        return ST_OK;
    return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                    "%s: %s comes before st_writer_begin, which has been called",
                    st__writer_name(writer), what);
}

st_status st_writer_add(st_writer *writer, const st_tensor *tensor, size_t *index, st_error *error)
{
    uint64_t size;
    uint32_t name_size;
    size_t shape_size, whole, wanted = SIZE_MAX;
    void *tensors = writer->tensors;
    ST_TRY(adding_check(writer, "st_writer_add", error));
    if (tensor->dtype >= ST_DTYPE_UNKNOWN &&
        (size_t)(tensor->dtype - ST_DTYPE_UNKNOWN) >= writer->code_count)
        return st__fail(error, ST_ERR_DTYPE_UNKNOWN, ST_NO_OFFSET,
                        "%s: tensor %s: dtype %" PRId32 " is none that st_writer_add_dtype gave",
                        st__writer_name(writer), st__quote(tensor->name, tensor->name_len).text,
                        tensor->dtype);
    ST_TRY(st__emission_check(tensor, st__writer_name(writer), &size, &name_size, error));
    if (!st__mul_size(tensor->ndim, sizeof *tensor->shape, &shape_size) ||
        !st__add_size(shape_size, (size_t)tensor->name_len + 1, &whole) ||
        !st__room_make(writer->context, &tensors, sizeof *writer->tensors, writer->count,
                       &writer->room, &wanted))
        return st__writer_nomem(writer, tensor, wanted, error);
    writer->tensors = tensors;
    uint64_t *shape = st__arena_take(&writer->texts, whole);
    if (!shape)
        return st__writer_nomem(writer, tensor, whole, error);
    if (shape_size)
        memcpy(shape, tensor->shape, shape_size);
    char *name = text_keep((char *)shape + shape_size, tensor->name, tensor->name_len);
    writer->tensors[writer->count] = (st_tensor){.name = name,
                                                 .name_len = tensor->name_len,
                                                 .reserved = name_size,
                                                 .shape = shape,
                                                 .ndim = tensor->ndim,
                                                 .dtype = tensor->dtype,
                                                 .end = size};
    layout_drop(writer);
    if (index)
        *index = writer->count;
    writer->count++;
    return ST_OK;
}

st_status st_writer_add_dtype(st_writer *writer, const char *code, size_t code_len, st_dtype *out,
                              st_error *error)
{
    uint64_t quoted;
    ST_TRY(adding_check(writer, "st_writer_add_dtype", error));
    const char *fault = st_dtype_find(code, code_len)                    ? "is known: use its dtype"
                        : code_len == 0                                  ? "is empty"
                        : !st__json_quoted_size(code, code_len, &quoted) ? "is not UTF-8"
                                                                         : NULL;
    if (fault)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "%s: the dtype code %s %s",
                        st__writer_name(writer), st__quote(code, code_len).text, fault);
    size_t i = 0;
    while (i < writer->code_count &&
           (writer->codes[i].len != code_len || memcmp(writer->codes[i].text, code, code_len) != 0))
        i++;
    if (i == ST__UNKNOWN_DTYPES_MAX)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: the dtype code %s is one more than the %d unknown ones of a file",
                        st__writer_name(writer), st__quote(code, code_len).text,
                        ST__UNKNOWN_DTYPES_MAX);
    if (i == writer->code_count) {
        char *text = st__arena_text(&writer->texts, code, code_len);
        if (!text)
            return st__writer_nomem(writer, NULL, code_len, error);
        writer->codes[i] = (st__writer_code){text, code_len};
        writer->code_count++;
    }
    *out = ST_DTYPE_UNKNOWN + (st_dtype)i;
    return ST_OK;
}

st_status st_writer_add_metadata(st_writer *writer, const st_metadata *entry, st_error *error)
{
    ST_TRY(adding_check(writer, "st_writer_add_metadata", error));
    if (entry) {
        size_t key_size = (size_t)entry->key_len + 1, whole, wanted = SIZE_MAX;
        void *metadata = writer->metadata;
        if (!st__add_size(key_size, (size_t)entry->value_len + 1, &whole) ||
            !st__room_make(writer->context, &metadata, sizeof *writer->metadata,
                           writer->metadata_count, &writer->metadata_room, &wanted))
            return st__writer_nomem(writer, NULL, wanted, error);
        writer->metadata = metadata;
        char *key = st__arena_take(&writer->texts, whole);
        if (!key)
            return st__writer_nomem(writer, NULL, whole, error);
        char *value = text_keep(key + key_size, entry->value, entry->value_len);
        writer->metadata[writer->metadata_count++] =
            (st_metadata){.key = text_keep(key, entry->key, entry->key_len),
                          .key_len = entry->key_len,
                          .value_len = entry->value_len,
                          .value = value};
    }
    writer->has_metadata = true;
    layout_drop(writer);
    return ST_OK;
}

/* ---------------------------------------------------------------------------------- layout */

static const char *writer_code(void *ctx, st_dtype dtype, size_t *code_len)
{
    const st__writer_code *code = &((st_writer *)ctx)->codes[dtype - ST_DTYPE_UNKNOWN];
    *code_len = code->len;
    return code->text;
}

static st_status writer_layout(st_writer *writer, const char *name, st_error *error)
{
    if (writer->laid_out)
        return ST_OK;
    st__emission emission = {.context = writer->context,
                             .name = name,
                             .tensors = writer->tensors,
                             .count = writer->count,
                             .checked = true,
                             .order = writer->order,
                             .alignment = writer->alignment,
                             .page = writer->page,
                             .page_offset = writer->page_offset,
                             .reserve = writer->reserve,
                             .max_size = writer->max_header_size,
                             .metadata = writer->metadata,
                             .metadata_count = writer->metadata_count,
                             .has_metadata = writer->has_metadata,
                             .placed = writer->placed,
                             .dtype_code = writer_code,
                             .ctx = writer};
    uint64_t end = 0; /* with the header it counts in 64 bits: that was judged */
    st_status status = st__header_emit(&emission, &writer->header, &writer->header_size, error);
    if (status != ST_OK)
        return st__error_locate(error, status, name, NULL);
    for (size_t i = 0; i < writer->count; i++)
        end = writer->tensors[i].end > end ? writer->tensors[i].end : end;
    writer->data_size = end;
    writer->laid_out = true;
    return ST_OK;
}

st_status st_writer_size(st_writer *writer, uint64_t *out, st_error *error)
{
    ST_TRY(writer_layout(writer, st__writer_name(writer), error));
    *out = writer->header_size + writer->data_size;
    return ST_OK;
}

size_t st_writer_count(const st_writer *writer)
{
    return writer->count;
}

const st_tensor *st_writer_at(const st_writer *writer, size_t index)
{
    return &writer->tensors[index];
}

uint64_t st_writer_data_offset(const st_writer *writer)
{
    return writer->header_size;
}

/* --------------------------------------------------------------------------- begin and end */

/* Shares out the memory budget: windows, of no more than a small file's size, and bytes for a stream. */
static void budget_divide(st_writer *writer, uint64_t total)
{
    uint64_t memory = st__context_memory(writer->context);
    uint64_t few = writer->sequential ? 2 : WINDOWS_FEW;
    size_t size = WINDOW_SIZE;
    while (size > WINDOW_LEAST && (size / 2 >= total || memory / size < few))
        size /= 2;
    uint64_t count = st__min_u64(memory / (size + size / 8), ST__WRITER_WINDOWS);
    writer->window_size = count ? size : 0;
    writer->budget = memory - writer->window_size;
    if (!writer->sequential)
        st__windows_init(writer, (size_t)count);
}

/* Starts the sink; until that succeeds nothing has changed. */
static st_status sink_start(st_writer *writer, st_sink *sink, st_error *error)
{
    uint64_t total = writer->header_size + writer->data_size;
    unsigned char *claims = st__alloc_zeroed(writer->context, writer->count, sizeof *claims);
    if (!claims)
        return st__error_locate(error, st__fail_nomem(error, writer->count), st_sink_name(sink),
                                NULL);
    st_status status = st__sink_begin(sink, total, error);
    if (status != ST_OK) {
        st__free(writer->context, claims, writer->count);
        return status;
    }
    writer->claims = claims;
    writer->sink = st_sink_retain(sink);
    writer->sequential = st__sink_is_sequential(sink);
    budget_divide(writer, total);
    writer->state = ST__WRITER_WRITING;
    return ST_OK;
}

st_status st_writer_begin(st_writer *writer, st_sink *sink, st_error *error)
{
    st_error said = {.status = ST_OK};
    ST_TRY(adding_check(writer, "the first st_writer_begin", error));
    ST_TRY(writer_layout(writer, st_sink_name(sink), error));
    ST_TRY(sink_start(writer, sink, error));
    st__lock_take(&writer->lock);
    st_status status = st__writer_put(writer, 0, writer->header, writer->header_size, &said);
    st__lock_drop(&writer->lock);
    st__free(writer->context, writer->header, writer->header_size);
    writer->header = NULL;
    if (status != ST_OK && error)
        *error = said;
    return status;
}

/* Tells of the first tensor that lacks bytes, and how much is missing in all. */
static st_status incomplete(const st_writer *writer, st_error *error)
{
    const st_tensor *first = NULL;
    uint64_t begin = 0, end = 0;
    size_t tensors = 0;
    for (size_t i = 0; i < writer->count; i++) {
        const st_tensor *t = &writer->tensors[i];
        uint64_t from = t->begin, to = t->end;
        if (writer->claims[i] == ST__CLAIMED_WHOLE || from == to ||
            (writer->claims[i] == ST__CLAIMED_PIECES &&
             !st__ranges_gap(&writer->pieces, from, to, &from, &to)))
            continue;
        tensors++;
        if (first && first->begin < t->begin)
            continue;
        first = t;
        begin = from;
        end = to;
    }
    if (!first)
        return ST_OK;
    return st__fail(error, ST_ERR_INCOMPLETE, writer->header_size + begin,
                    "%s: tensor %s: bytes %" PRIu64 " to %" PRIu64 " of its %" PRIu64
                    " were not written; %" PRIu64 " bytes of %zu tensors are missing in all",
                    st__writer_name(writer), st__quote(first->name, first->name_len).text,
                    begin - first->begin, end - first->begin, st_tensor_size(first),
                    writer->data_size - writer->claimed, tensors);
}

static st_status finish_ready(st_writer *writer, st_error *error)
{
    if (writer->in_flight > 1) /* its own is one */
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: st_writer_finish while %" PRIu32 " writing calls go on",
                        st__writer_name(writer), writer->in_flight - 1);
    return writer->claimed == writer->data_size ? ST_OK : incomplete(writer, error);
}

st_status st_writer_finish(st_writer *writer, st_error *error)
{
    st_error said = {.status = ST_OK};
    ST_TRY(st__writer_enter(writer, error));
    st_status status = finish_ready(writer, &said);
    if (status == ST_OK) {
        status = st__writer_flush(writer, &said);
        if (status == ST_OK) {
            st__lock_drop(&writer->lock);
            status = st__sink_finish(writer->sink, &said);
            st__lock_take(&writer->lock);
            /* Of what was still on its way it may only now be heard that it could not be written. */
            (void)st__writer_locate(writer, NULL, status, &said);
        }
        if (status != ST_OK)
            (void)st__writer_spoil(writer, status, &said);
        else
            writer->state = ST__WRITER_FINISHED;
    }
    return st__writer_leave(writer, status, &said, error);
}
