/* SPDX-License-Identifier: Apache-2.0 */
/* Readings: where bytes come from, whose failures are told how, and whether the file stayed what it was. */
#include "base/checked.h"
#include "base/error.h"
#include "file/file.h"
#include "io/lane.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* -------------------------------------------------------------------------------- messages */

/* Makes an error from below say which tensor of which file it is about. */
static st_status reading_locate(const st__reading *reading, st_status status, st_error *error)
{
    return st__error_locate(error, status, reading->file->source->name, reading->tensor);
}

/* ----------------------------------------------------------------------------------- opening */

/* The mapping that all reads with ST_IO_MAP share. `*out` stays NULL where the source cannot be mapped:
 * it is read instead. */
static st_status file_mapping(const st_file *file, const unsigned char **out, st_error *error)
{
    /* The one member that changes after the open; readers race for it without a lock. */
    _Atomic(st_buffer *) *slot = (_Atomic(st_buffer *) *)(uintptr_t)&file->mapping;
    st_buffer *buffer = atomic_load_explicit(slot, memory_order_acquire);
    if (!buffer) {
        st_error refused;
        st_status status = st_file_map(file, ST_MAP_SHARED, &buffer, &refused);
        if (status == ST_ERR_UNSUPPORTED || status == ST_ERR_TOO_BIG ||
            (status == ST_ERR_IO && refused.sys_errno))
            return ST_OK;
        if (status != ST_OK) {
            if (error)
                *error = refused;
            return status;
        }
        st_buffer *first = NULL;
        if (!atomic_compare_exchange_strong_explicit(slot, &first, buffer, memory_order_acq_rel,
                                                     memory_order_acquire)) {
            st_buffer_release(buffer);
            buffer = first;
        }
    }
    *out = st_buffer_data(buffer);
    return ST_OK;
}

/* The way along which the bytes come. `told`: it is to be explained. */
static st_status reading_route(st__reading *reading, uint64_t offset, const unsigned char *memory,
                               bool told, st_error *error)
{
    const st_file *file = reading->file;
    uint64_t low, high;
    st__runs_span(&reading->runs, &low, &high);
    const st__wanted wanted = {.offset = offset + low,
                               .span = high - low,
                               .size = reading->runs.size,
                               .piece = reading->runs.piece,
                               .io = file->io,
                               .told = told,
                               .memory = memory,
                               .info = &file->identity};
    ST_TRY(st__route_open(&reading->route, file->source, file->context, &wanted, error));
    reading->transfer = (st__transfer){.route = &reading->route,
                                       .runs = &reading->runs,
                                       .offset = offset,
                                       .context = file->context};
    return ST_OK;
}

/* Finds where the bytes come from. A mapping of a file that shrank would fault, so that is looked at
 * first; nothing can be done about one that shrinks while it is copied. */
static st_status reading_source(st__reading *reading, uint64_t offset, st_error *error)
{
    const st_file *file = reading->file;
    const st_source *source = file->source;
    const unsigned char *memory = NULL;
    reading->volatile_source = !source->memory.data;
    if (source->memory.data && file->io != ST_IO_PREAD) {
        memory = source->memory.data;
    } else if (file->io == ST_IO_MAP || file->io == ST_IO_POPULATE) {
        ST_TRY(file_mapping(file, &memory, error));
    }
    if (memory && reading->volatile_source)
        ST_TRY(st__file_unchanged(file, &reading->before, error));
    else if (reading->volatile_source && reading->runs.size)
        ST_TRY(st_source_query(file->source, &reading->before, error));
    return reading_route(reading, offset, memory, false, error);
}

static st_status reading_plan(st__reading *reading, const st_tensor *tensor,
                              const st_region *region, uint64_t offset, st_error *error)
{
    if (region)
        ST_TRY(st__region_check(region, tensor, error));
    ST_TRY(st__runs_init(&reading->runs, reading->file->context, tensor, region, error));
    st_status status = reading_source(reading, offset, error);
    if (status != ST_OK)
        st__runs_release(&reading->runs);
    return status;
}

st_status st__reading_open(st__reading *reading, const st_file *file, const st_tensor *tensor,
                           const st_region *region, st_error *error)
{
    reading->file = file;
    reading->tensor = tensor;
    st_status status = reading_plan(reading, tensor, region, st_file_offset(file, tensor), error);
    return reading_locate(reading, status, error);
}

st_status st__reading_open_range(st__reading *reading, const st_file *file, uint64_t offset,
                                 uint64_t size, st_error *error)
{
    uint64_t file_size = file->identity.size;
    if (offset > file_size || size > file_size - offset)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: %" PRIu64 " bytes at byte %" PRIu64 " do not lie in a file of %" PRIu64
                        " bytes",
                        file->source->name, size, offset, file_size);
    reading->file = file;
    reading->tensor = NULL;
    reading->range_shape[0] = size;
    reading->range = (st_tensor){
        .name = "", .shape = reading->range_shape, .ndim = 1, .dtype = ST_U8, .end = size};
    st_status status = reading_plan(reading, &reading->range, NULL, offset, error);
    return reading_locate(reading, status, error);
}

/* -------------------------------------------------------------------------------- delivering */

st_status st__reading_read(st__reading *reading, void *dst, st_error *error)
{
    return reading_locate(reading, st__transfer_read(&reading->transfer, dst, error), error);
}

/* A consumer's own failures pass through as they are; one without a message is told of the file. */
typedef struct block_consumer {
    st_block_fn block;
    void *ctx;
    const char *name;
    bool stopped;
} block_consumer;

static st_status consumer_block(void *ctx, const void *data, size_t size, st_error *error)
{
    block_consumer *consumer = ctx;
    st_error said = {.status = ST_OK};
    st_status status = consumer->block(consumer->ctx, data, size, &said);
    if (status == ST_OK)
        return ST_OK;
    consumer->stopped = true;
    return st__foreign_settle(consumer->name, status, &said, error);
}

st_status st__reading_blocks(st__reading *reading, uint32_t threads, st_block_fn block, void *ctx,
                             st_error *error)
{
    block_consumer consumer = {block, ctx, reading->file->source->name, false};
    st_status status =
        st__transfer_blocks(&reading->transfer, threads, consumer_block, &consumer, error);
    return consumer.stopped ? status : reading_locate(reading, status, error);
}

uint32_t st__reading_workers(const st__reading *reading)
{
    return st__transfer_workers(&reading->transfer);
}

typedef struct scan_consumer {
    st__consumer to;
    const char *name;
} scan_consumer;

static st_status scanner_block(void *ctx, uint32_t worker, uint64_t offset, const void *data,
                               size_t size, st_error *error)
{
    const scan_consumer *consumer = ctx;
    st_error said = {.status = ST_OK};
    st_status status = consumer->to.block(consumer->to.ctx, worker, offset, data, size, &said);
    return st__foreign_settle(consumer->name, status, &said, error);
}

st_status st__reading_scan(st__reading *reading, const st__consumer *consumer, st_error *error)
{
    scan_consumer taker = {*consumer, reading->file->source->name};
    const st__consumer scanner = {scanner_block, &taker, consumer->workers};
    bool stopped;
    st_status status = st__transfer_scan(&reading->transfer, &scanner, &stopped, error);
    return stopped ? status : reading_locate(reading, status, error);
}

st_status st__reading_explain(st__reading *reading, st_explanation *out, st_error *error)
{
    st__lane lane;
    const unsigned char *memory = reading->route.memory;
    st__route_close(&reading->route);
    st_status status = reading_route(reading, reading->transfer.offset, memory, true, error);
    if (status != ST_OK)
        return reading_locate(reading, status, error);
    st__lane_init(&lane, &reading->route);
    st__lane_prepare(&lane);
    st__lane_release(&lane);
    st__route_explain(&reading->route, out);
    return ST_OK;
}

st_status st__reading_close(st__reading *reading, st_status status, st_error *error)
{
    const st_file *file = reading->file;
    st_source_info now;
    if (status == ST_OK && reading->volatile_source && reading->runs.size) {
        status = st__file_unchanged(file, &now, error);
        if (status == ST_OK && now.ctime_ns != reading->before.ctime_ns)
            status =
                st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                         "%s: it was changed while it was read; read it again", file->source->name);
        (void)reading_locate(reading, status, error);
    }
    st__route_close(&reading->route);
    st__runs_release(&reading->runs);
    return status;
}
