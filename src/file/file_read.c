/* SPDX-License-Identifier: Apache-2.0 */
/* Reading tensors of an open file, whole or in part, and mapping it. */
#include "file/file.h"
#include "base/checked.h"
#include "base/error.h"
#include "io/transfer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* -------------------------------------------------------------------------------- messages */

/* Makes an error from below say which tensor of which file it is about. */
static st_status error_locate(const st_file *file, const st_tensor *tensor, st_status status,
                              st_error *error)
{
    if (status == ST_OK || !error)
        return status;
    char said[sizeof error->message];
    memcpy(said, error->message, sizeof said);
    size_t name_len = strlen(file->source->name);
    const char *rest = said;
    if (strncmp(said, file->source->name, name_len) == 0 && said[name_len] == ':' &&
        said[name_len + 1] == ' ')
        rest = said + name_len + 2;
    int32_t sys_errno = error->sys_errno;
    if (strncmp(rest, "tensor ", 7) == 0)
        (void)st__fail(error, status, error->offset, "%s: %s", file->source->name, rest);
    else
        (void)st__fail(error, status, error->offset, "%s: tensor %s: %s", file->source->name,
                       st__quote(tensor->name, tensor->name_len).text, rest);
    error->sys_errno = sys_errno;
    return status;
}

/* --------------------------------------------------------------------------------- mapping */

st_status st_file_map(const st_file *file, uint32_t mode, st_buffer **out, st_error *error)
{
    if (mode != ST_MAP_SHARED && mode != ST_MAP_PRIVATE)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "%s: unknown map mode %" PRIu32,
                        file->source->name, mode);
    size_t size;
    if (!st__u64_to_size(file->identity.size, &size))
        return st__fail(error, ST_ERR_TOO_BIG, ST_NO_OFFSET,
                        "%s: %" PRIu64 " bytes do not fit this process's address space",
                        file->source->name, file->identity.size);
    st_source_info now;
    st_buffer *buffer;
    ST_TRY(st_source_query(file->source, &now, error));
    if (now.size == size) {
        ST_TRY(st__source_map(file->source, mode, &buffer, error));
        if (st_buffer_size(buffer) == size) {
            *out = buffer;
            return ST_OK;
        }
        now.size = st_buffer_size(buffer);
        st_buffer_release(buffer);
    }
    return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                    "%s: its size went from %zu to %" PRIu64
                    " bytes since it was opened; open it again",
                    file->source->name, size, now.size);
}

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

/* --------------------------------------------------------------------------------- reading */

/* One read: what to move, and whether what it came from must be looked at again afterwards. */
typedef struct file_reading {
    st__runs runs;
    st__transfer transfer;
    bool volatile_source;
    st_source_info before;
} file_reading;

/* Finds where the bytes come from. A mapping of a file that shrank would fault, so that is looked at
 * first; nothing can be done about one that shrinks while it is copied. */
static st_status reading_source(file_reading *reading, const st_file *file, const st_tensor *tensor,
                                st_error *error)
{
    const st_source *source = file->source;
    const unsigned char *memory = NULL;
    uint64_t offset = st_file_offset(file, tensor);
    reading->volatile_source = !source->memory.data;
    if (source->memory.data && file->io != ST_IO_PREAD) {
        memory = source->memory.data;
    } else if (file->io == ST_IO_MAP) {
        ST_TRY(file_mapping(file, &memory, error));
    }
    if (memory && reading->volatile_source)
        ST_TRY(st__file_unchanged(file, &reading->before, error));
    else if (reading->volatile_source && reading->runs.size)
        ST_TRY(st_source_query(file->source, &reading->before, error));
    reading->transfer = (st__transfer){.source = file->source,
                                       .runs = &reading->runs,
                                       .offset = offset,
                                       .memory = memory ? memory + (size_t)offset : NULL,
                                       .context = file->context,
                                       .latency = file->identity.latency,
                                       .parallelism = file->identity.parallelism};
    return ST_OK;
}

static st_status reading_open(file_reading *reading, const st_file *file, const st_tensor *tensor,
                              const st_region *region, st_error *error)
{
    if (region)
        ST_TRY(st__region_check(region, tensor, error));
    ST_TRY(st__runs_init(&reading->runs, file->context, tensor, region, error));
    st_status status = reading_source(reading, file, tensor, error);
    if (status != ST_OK)
        st__runs_release(&reading->runs);
    return status;
}

/* Ends a reading: its own status, or what has become of the source meanwhile. */
static st_status reading_close(file_reading *reading, const st_file *file, st_status status,
                               st_error *error)
{
    st_source_info now;
    if (status == ST_OK && reading->volatile_source && reading->runs.size) {
        status = st__file_unchanged(file, &now, error);
        if (status == ST_OK && now.ctime_ns != reading->before.ctime_ns)
            status =
                st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                         "%s: it was changed while it was read; read it again", file->source->name);
    }
    st__runs_release(&reading->runs);
    return status;
}

static st_status size_check(const st_file *file, const st_tensor *tensor, uint64_t needed,
                            size_t size, st_error *error)
{
    size_t fits;
    if (!st__u64_to_size(needed, &fits))
        return st__fail(error, ST_ERR_TOO_BIG, ST_NO_OFFSET,
                        "%s: tensor %s: %" PRIu64 " bytes do not fit this process's address "
                        "space; read it in parts",
                        file->source->name, st__quote(tensor->name, tensor->name_len).text, needed);
    if (fits != size)
        return st__fail(error, ST_ERR_BUFFER_SIZE, ST_NO_OFFSET,
                        "%s: tensor %s: the buffer has %zu bytes, and %zu are to be read",
                        file->source->name, st__quote(tensor->name, tensor->name_len).text, size,
                        fits);
    return ST_OK;
}

st_status st_file_read(const st_file *file, const st_tensor *tensor, const st_region *region,
                       void *dst, size_t size, st_error *error)
{
    file_reading reading;
    ST_TRY(size_check(file, tensor, region ? region->size : st_tensor_size(tensor), size, error));
    st_status status = reading_open(&reading, file, tensor, region, error);
    if (status == ST_OK) {
        status = st__transfer_read(&reading.transfer, dst, error);
        status = reading_close(&reading, file, status, error);
    }
    return error_locate(file, tensor, status, error);
}

/* The consumer's own failures pass through as they are. */
typedef struct block_consumer {
    st_block_fn block;
    void *ctx;
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
    if (said.status != status)
        return st__fail(error, status, ST_NO_OFFSET, "%s", st_status_text(status));
    if (error)
        *error = said;
    return status;
}

st_status st_file_read_blocks(const st_file *file, const st_tensor *tensor, const st_region *region,
                              st_block_fn block, void *ctx, st_error *error)
{
    file_reading reading;
    block_consumer consumer = {block, ctx, false};
    st_status status = reading_open(&reading, file, tensor, region, error);
    if (status == ST_OK) {
        status = st__transfer_blocks(&reading.transfer, consumer_block, &consumer, error);
        status = reading_close(&reading, file, status, error);
    }
    return consumer.stopped ? status : error_locate(file, tensor, status, error);
}
