/* SPDX-License-Identifier: Apache-2.0 */
/* Reading tensors of an open file, whole or in part, and mapping it. */
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "file/file.h"

#include <inttypes.h>

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
    st__reading reading;
    ST_TRY(size_check(file, tensor, region ? region->size : st_tensor_size(tensor), size, error));
    ST_TRY(st__reading_open(&reading, file, tensor, region, error));
    return st__reading_close(&reading, st__reading_read(&reading, dst, error), error);
}

st_status st_file_read_blocks(const st_file *file, const st_tensor *tensor, const st_region *region,
                              st_block_fn block, void *ctx, st_error *error)
{
    st__reading reading;
    ST_TRY(st__reading_open(&reading, file, tensor, region, error));
    uint32_t threads = st__context_threads(file->context);
    st_status status = st__reading_blocks(&reading, threads, block, ctx, error);
    return st__reading_close(&reading, status, error);
}

/* The range that all tensors lie in. */
static st_status all_open(st__reading *reading, const st_file *file, st_error *error)
{
    return st__reading_open_range(reading, file, st_header_size(file->header),
                                  st_header_data_size(file->header), error);
}

st_status st_file_explain(const st_file *file, const st_tensor *tensor, const st_region *region,
                          st_explanation *out, st_error *error)
{
    st__reading reading;
    if (!tensor && region)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: a region needs the tensor that it is a part of", file->source->name);
    if (tensor)
        ST_TRY(st__reading_open(&reading, file, tensor, region, error));
    else
        ST_TRY(all_open(&reading, file, error));
    st_explanation said;
    st_status status = st__reading_explain(&reading, &said, error);
    status = st__reading_close(&reading, status, error);
    if (status == ST_OK)
        *out = said;
    return status;
}
