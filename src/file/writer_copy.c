/* SPDX-License-Identifier: Apache-2.0 */
/* Copying tensors out of another file: neighbours together, through the kernel where it can. */
#include "file/file.h"
#include "file/writer.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "io/takeover.h"

#include <inttypes.h>
#include <string.h>

/* What is moved in one go: a stretch of the file, or a region that lies scattered in it. */
typedef struct copy_run {
    uint64_t to;   /* in the data section */
    uint64_t from; /* in the file, of a stretch */
    uint64_t size;
    const st_copy *scattered; /* NULL: a stretch */
} copy_run;

typedef struct copying {
    st_writer *writer;
    const st_file *file;
    const st_copy *copies;
    size_t copy_count;
    st__heap_item *order; /* the copies that have bytes, by their place in the new file */
    copy_run *runs;       /* `count`, in the order of `to` */
    size_t count;
    st__reading span; /* the whole file, so that it is looked at before and after */
    unsigned char *stage;
    uint64_t at;  /* of the new file: where the next block goes */
    bool kernel;  /* the sink may be able to copy by itself */
    bool refused; /* what failed is the writer or its sink, not the source */
} copying;

/* ------------------------------------------------------------------------------- judging */

static st_status copy_fail(const copying *c, const st_copy *copy, st_status status,
                           const char *what, st_error *error)
{
    const st_tensor *tensor = copy->tensor;
    return st__fail(error, status, ST_NO_OFFSET, "%s: tensor %s of %s %s",
                    st__writer_name(c->writer), st__quote(tensor->name, tensor->name_len).text,
                    st_file_name(c->file), what);
}

static st_status copy_check(const copying *c, const st_copy *copy, st_error *error)
{
    const st_writer *writer = c->writer;
    const st_tensor *tensor = copy->tensor;
    if (copy->index >= writer->count)
        return copy_fail(c, copy, ST_ERR_ARGUMENT, "is to fill a tensor that was not added", error);
    if (tensor->begin > tensor->end || tensor->end > st_header_data_size(st_file_header(c->file)))
        return copy_fail(c, copy, ST_ERR_ARGUMENT, "does not lie in that file", error);
    const st_tensor *to = &writer->tensors[copy->index];
    if (copy->region)
        ST_TRY(st__writer_locate(writer, to, st__region_check(copy->region, tensor, error), error));
    uint64_t size = copy->region ? copy->region->size : st_tensor_size(tensor);
    if (size != st_tensor_size(to))
        return st__fail(error, ST_ERR_BUFFER_SIZE, ST_NO_OFFSET,
                        "%s: tensor %s has %" PRIu64 " bytes, and %" PRIu64
                        " of %s are to be copied to it",
                        st__writer_name(writer), st__quote(to->name, to->name_len).text,
                        st_tensor_size(to), size, st_file_name(c->file));
    return ST_OK;
}

/* --------------------------------------------------------------------------------- planning */

/* Adds a run, or makes the last one longer that this one follows in both files. */
static st_status run_plan(copying *c, const st_copy *copy, st_error *error)
{
    const st_tensor *to = &c->writer->tensors[copy->index];
    copy_run *last = c->count ? &c->runs[c->count - 1] : NULL;
    copy_run run = {to->begin, st_file_offset(c->file, copy->tensor), st_tensor_size(to), NULL};
    if (copy->region) {
        st__runs runs;
        ST_TRY(st__runs_init(&runs, c->writer->context, copy->tensor, copy->region, error));
        if (runs.piece == runs.size)
            run.from += runs.offset;
        else
            run.scattered = copy;
        st__runs_release(&runs);
    }
    if (last && !last->scattered && !run.scattered && last->to + last->size == run.to &&
        last->from + last->size == run.from)
        last->size += run.size;
    else
        c->runs[c->count++] = run;
    return ST_OK;
}

/* Memory for `copy_count` of each. */
static st_status plan_begin(copying *c, st_error *error)
{
    c->order = st__alloc_zeroed(c->writer->context, c->copy_count, sizeof *c->order);
    if (c->order)
        c->runs = st__alloc_zeroed(c->writer->context, c->copy_count, sizeof *c->runs);
    if (c->runs)
        return ST_OK;
    return st__writer_nomem(c->writer, NULL, (uint64_t)c->copy_count * sizeof *c->runs, error);
}

static st_status copies_plan(copying *c, st_error *error)
{
    size_t left = 0;
    for (size_t i = 0; i < c->copy_count; i++)
        ST_TRY(copy_check(c, &c->copies[i], error));
    ST_TRY(plan_begin(c, error));
    for (size_t i = 0; i < c->copy_count; i++) {
        const st_tensor *to = &c->writer->tensors[c->copies[i].index];
        if (st_tensor_size(to) > 0)
            st__heap_push(c->order, left++, (st__heap_item){to->begin, &c->copies[i], 0});
    }
    while (left > 0) {
        const st_copy *copy = st__heap_pop(c->order, left--).data;
        st_status status = run_plan(c, copy, error);
        if (status != ST_OK)
            return st__writer_locate(c->writer, &c->writer->tensors[copy->index], status, error);
    }
    return ST_OK;
}

/* All of them or none. */
static st_status copies_claim(const copying *c, st_error *error)
{
    st_writer *writer = c->writer;
    st_status status = ST_OK;
    size_t claimed = 0;
    st__lock_take(&writer->lock);
    for (; claimed < c->copy_count; claimed++) {
        size_t index = c->copies[claimed].index;
        status = st__writer_claim(writer, index, 0, st_tensor_size(&writer->tensors[index]), error);
        if (status != ST_OK)
            break;
    }
    while (status != ST_OK && claimed > 0)
        st__writer_unclaim(writer, c->copies[--claimed].index);
    st__lock_drop(&writer->lock);
    return status;
}

/* ---------------------------------------------------------------------------------- moving */

static st_status copy_block(void *ctx, const void *data, size_t size, st_error *error)
{
    copying *c = ctx;
    st_status status = st__writer_put_next(c->writer, &c->at, data, size, error);
    c->refused = status != ST_OK;
    return status;
}

/* Makes a failure of the source say which tensor of it was to be read. */
static st_status source_locate(const copying *c, const copy_run *run, st_status status,
                               st_error *error)
{
    const st_tensor *tensor = NULL;
    if (status == ST_OK || c->refused)
        return status;
    /* A file that was cut off may end before what is missing. */
    uint64_t at = error->offset < run->from ? run->from : error->offset;
    for (size_t i = 0; i < c->copy_count && !tensor; i++) {
        const st_tensor *from = c->copies[i].tensor;
        uint64_t begin = st_file_offset(c->file, from);
        if (at >= begin && at - begin < st_tensor_size(from))
            tensor = from;
    }
    return st__error_locate(error, status, st_file_name(c->file), tensor);
}

static st_status reading_copy(copying *c, st__reading *reading, st_error *error)
{
    st_status status =
        st__reading_blocks(reading, st__context_threads(c->file->context), copy_block, c, error);
    return st__reading_close(reading, status, error);
}

/* Without the bytes passing through this process, as far as that goes. */
static st_status kernel_copy(copying *c, copy_run *run, st_error *error)
{
    st_writer *writer = c->writer;
    while (c->kernel && run->size >= ST__WRITER_SMALL) {
        st__stretch stretch = {c->file->source, run->from,
                               st__min_u64(run->size, ST__WRITER_PIECE)};
        uint64_t done = 0;
        st_status status =
            st__sink_copy(writer->sink, writer->header_size + run->to, &stretch, &done, error);
        if (status != ST_OK)
            return st__writer_locate(writer, NULL, status, error);
        if (done == 0)
            c->kernel = false;
        else
            ST_TRY(st__writer_count_moved(writer, done, error));
        run->to += done;
        run->from += done;
        run->size -= done;
    }
    return ST_OK;
}

/* A short stretch by itself costs one read and no more. */
static st_status stage_copy(copying *c, const copy_run *run, st_error *error)
{
    st_context *context = c->writer->context;
    if (!c->stage)
        c->stage = st__alloc(context, ST__WRITER_SMALL);
    if (!c->stage)
        return st__writer_nomem(c->writer, NULL, ST__WRITER_SMALL, error);
    st_status status =
        st_source_read(c->file->source, run->from, c->stage, (size_t)run->size, error);
    if (status != ST_OK)
        return source_locate(c, run, status, error);
    return copy_block(c, c->stage, (size_t)run->size, error);
}

static st_status stretch_copy(copying *c, copy_run run, st_error *error)
{
    const unsigned char *memory = st__transfer_memory(&c->span.transfer);
    ST_TRY(kernel_copy(c, &run, error));
    c->at = c->writer->header_size + run.to;
    if (run.size == 0)
        return ST_OK;
    if (memory)
        return copy_block(c, memory + (size_t)run.from, (size_t)run.size, error);
    if (run.size <= ST__WRITER_SMALL)
        return stage_copy(c, &run, error);
    st__reading reading;
    st_status status = st__reading_open_range(&reading, c->file, run.from, run.size, error);
    if (status == ST_OK)
        status = reading_copy(c, &reading, error);
    return source_locate(c, &run, status, error);
}

static st_status scattered_copy(copying *c, const copy_run *run, st_error *error)
{
    st__reading reading;
    c->at = c->writer->header_size + run->to;
    ST_TRY(
        st__reading_open(&reading, c->file, run->scattered->tensor, run->scattered->region, error));
    return reading_copy(c, &reading, error);
}

static st_status runs_copy(copying *c, st_error *error)
{
    for (size_t i = 0; i < c->count; i++)
        ST_TRY(c->runs[i].scattered ? scattered_copy(c, &c->runs[i], error)
                                    : stretch_copy(c, c->runs[i], error));
    return ST_OK;
}

/* What fails once bytes are claimed leaves a hole, and so spoils the writer. */
static st_status copies_make(copying *c, st_error *error)
{
    ST_TRY(st__reading_open_range(&c->span, c->file, 0, st_file_size(c->file), error));
    st_status status = copies_claim(c, error);
    bool claimed = status == ST_OK;
    if (claimed)
        status = runs_copy(c, error);
    status = st__reading_close(&c->span, status, error);
    if (status == ST_OK || !claimed)
        return status;
    st__lock_take(&c->writer->lock);
    (void)st__writer_spoil(c->writer, status, error);
    st__lock_drop(&c->writer->lock);
    return status;
}

st_status st_writer_copy_from(st_writer *writer, const st_file *file, const st_copy *copies,
                              size_t count, st_error *error)
{
    st_error said = {.status = ST_OK};
    copying c = {.writer = writer, .file = file, .copies = copies, .copy_count = count};
    ST_TRY(st__writer_enter(writer, error));
    st__lock_drop(&writer->lock);
    c.kernel = !writer->sequential;
    st_status status = st__source_settled(file->source, &said);
    if (status == ST_OK)
        status = copies_plan(&c, &said);
    if (status == ST_OK && c.count)
        status = copies_make(&c, &said);
    st__free(writer->context, c.stage, ST__WRITER_SMALL);
    st__free(writer->context, c.order, count * sizeof *c.order);
    st__free(writer->context, c.runs, count * sizeof *c.runs);
    st__lock_take(&writer->lock);
    return st__writer_leave(writer, status, &said, error);
}
