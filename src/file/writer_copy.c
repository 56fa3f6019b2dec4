/* SPDX-License-Identifier: Apache-2.0 */
/* Copying tensors out of another file: neighbours together, through the kernel where it can. */
#include "file/file.h"
#include "file/writer.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"

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
    copy_run *runs; /* `count`, in the order of `to` */
    size_t count;
    size_t room;
    st__reading span; /* the whole file, so that it is looked at before and after */
    unsigned char *stage;
    uint64_t at; /* of the new file: where the next block goes */
    bool kernel; /* the sink may be able to copy by itself */
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

static st_status run_plan(copying *c, const st_copy *copy, st_error *error)
{
    const st_tensor *to = &c->writer->tensors[copy->index];
    copy_run run = {to->begin, st_file_offset(c->file, copy->tensor), st_tensor_size(to), NULL};
    if (run.size == 0)
        return ST_OK;
    if (copy->region) {
        st__runs runs;
        ST_TRY(st__runs_init(&runs, c->writer->context, copy->tensor, copy->region, error));
        if (runs.piece == runs.size)
            run.from += runs.offset;
        else
            run.scattered = copy;
        st__runs_release(&runs);
    }
    c->runs[c->count++] = run;
    return ST_OK;
}

/* Lets runs[at] sink to its place in a heap of `count`, the highest on top. */
static void runs_sink(copy_run *runs, size_t at, size_t count)
{
    copy_run run = runs[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && runs[child + 1].to > runs[child].to)
            child++;
        if (run.to >= runs[child].to)
            break;
        runs[at] = runs[child];
    }
    runs[at] = run;
}

static bool runs_sorted(const copy_run *runs, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (runs[i].to < runs[i - 1].to)
            return false;
    return true;
}

/* Into the order of the new file, which most copies come in. */
static void runs_sort(copy_run *runs, size_t count)
{
    if (runs_sorted(runs, count))
        return;
    for (size_t i = count / 2; i-- > 0;)
        runs_sink(runs, i, count);
    for (size_t last = count; last-- > 1;) {
        copy_run highest = runs[0];
        runs[0] = runs[last];
        runs[last] = highest;
        runs_sink(runs, 0, last);
    }
}

/* Makes one run of those that follow each other in both files. */
static size_t runs_join(copy_run *runs, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        copy_run *last = kept ? &runs[kept - 1] : NULL;
        if (last && !last->scattered && !runs[i].scattered && last->to + last->size == runs[i].to &&
            last->from + last->size == runs[i].from)
            last->size += runs[i].size;
        else
            runs[kept++] = runs[i];
    }
    return kept;
}

static st_status copies_plan(copying *c, const st_copy *copies, size_t count, st_error *error)
{
    for (size_t i = 0; i < count; i++)
        ST_TRY(copy_check(c, &copies[i], error));
    c->runs = st__alloc_zeroed(c->writer->context, count, sizeof *c->runs);
    if (!c->runs)
        return st__fail_nomem(error, (uint64_t)count * sizeof *c->runs);
    c->room = count;
    for (size_t i = 0; i < count; i++)
        ST_TRY(run_plan(c, &copies[i], error));
    runs_sort(c->runs, c->count);
    c->count = runs_join(c->runs, c->count);
    return ST_OK;
}

/* ---------------------------------------------------------------------------------- moving */

static st_status copy_block(void *ctx, const void *data, size_t size, st_error *error)
{
    copying *c = ctx;
    uint64_t at = c->at;
    c->at += size;
    return st__writer_put(c->writer, at, data, size, error);
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
        return st__fail_nomem(error, ST__WRITER_SMALL);
    ST_TRY(st_source_read(c->file->source, run->from, c->stage, (size_t)run->size, error));
    return copy_block(c, c->stage, (size_t)run->size, error);
}

static st_status stretch_copy(copying *c, copy_run run, st_error *error)
{
    const unsigned char *memory = c->span.transfer.memory;
    ST_TRY(kernel_copy(c, &run, error));
    c->at = c->writer->header_size + run.to;
    if (run.size == 0)
        return ST_OK;
    if (memory)
        return copy_block(c, memory + (size_t)run.from, (size_t)run.size, error);
    if (run.size <= ST__WRITER_SMALL)
        return stage_copy(c, &run, error);
    st__reading reading;
    ST_TRY(st__reading_open_range(&reading, c->file, run.from, run.size, error));
    return reading_copy(c, &reading, error);
}

static st_status scattered_copy(copying *c, const copy_run *run, st_error *error)
{
    st__reading reading;
    c->at = c->writer->header_size + run->to;
    ST_TRY(
        st__reading_open(&reading, c->file, run->scattered->tensor, run->scattered->region, error));
    return reading_copy(c, &reading, error);
}

/* What fails once bytes are claimed leaves a hole, and so spoils the writer. */
static st_status runs_copy(copying *c, st_error *error)
{
    for (size_t i = 0; i < c->count; i++) {
        const copy_run *run = &c->runs[i];
        ST_TRY(st__writer_claim(c->writer, run->to, run->size, error));
        st_status status =
            run->scattered ? scattered_copy(c, run, error) : stretch_copy(c, *run, error);
        if (status != ST_OK)
            return st__writer_spoil(c->writer, status, error);
    }
    return ST_OK;
}

static st_status copies_make(copying *c, st_error *error)
{
    ST_TRY(st__reading_open_range(&c->span, c->file, 0, st_file_size(c->file), error));
    st_status status = runs_copy(c, error);
    bool moved = status == ST_OK;
    status = st__reading_close(&c->span, status, error);
    return moved && status != ST_OK ? st__writer_spoil(c->writer, status, error) : status;
}

st_status st_writer_copy_from(st_writer *writer, const st_file *file, const st_copy *copies,
                              size_t count, st_error *error)
{
    st_error said = {.status = ST_OK};
    copying c = {.writer = writer, .file = file};
    ST_TRY(st__writer_enter(writer, error));
    c.kernel = !writer->sequential;
    st_status status = copies_plan(&c, copies, count, &said);
    if (status == ST_OK && c.count)
        status = copies_make(&c, &said);
    st__free(writer->context, c.stage, ST__WRITER_SMALL);
    st__free(writer->context, c.runs, c.room * sizeof *c.runs);
    return st__writer_leave(writer, status, &said, error);
}
