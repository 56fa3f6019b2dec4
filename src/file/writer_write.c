/* SPDX-License-Identifier: Apache-2.0 */
/* Writing tensors' bytes: from any thread, in any order, each once. */
#include "file/writer.h"
#include "base/context.h"
#include "base/error.h"
#include "io/transfer.h"

#include <inttypes.h>
#include <string.h>

/* -------------------------------------------------------------------------------- messages */

static const st_tensor *tensor_at_offset(const st_writer *writer, uint64_t offset)
{
    if (offset == ST_NO_OFFSET || offset < writer->header_size)
        return NULL;
    offset -= writer->header_size;
    for (size_t i = 0; i < writer->count; i++)
        if (offset >= writer->tensors[i].begin && offset < writer->tensors[i].end)
            return &writer->tensors[i];
    return NULL;
}

st_status st__writer_locate(const st_writer *writer, const st_tensor *tensor, st_status status,
                            st_error *error)
{
    if (status != ST_OK && error && !tensor)
        tensor = tensor_at_offset(writer, error->offset);
    return st__error_locate(error, status, st__writer_name(writer), tensor);
}

st_status st__writer_nomem(const st_writer *writer, const st_tensor *tensor, uint64_t size,
                           st_error *error)
{
    return st__writer_locate(writer, tensor, st__fail_nomem(error, size), error);
}

/* --------------------------------------------------------------------- entering and leaving */

static st_status state_check(const st_writer *writer, st_error *error)
{
    if (writer->state == ST__WRITER_ADDING)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: nothing can be written before st_writer_begin",
                        st__writer_name(writer));
    if (writer->state == ST__WRITER_FINISHED)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "%s: the file is finished",
                        st__writer_name(writer));
    if (writer->failure.status != ST_OK && error)
        *error = writer->failure;
    return writer->failure.status;
}

st_status st__writer_enter(st_writer *writer, st_error *error)
{
    st__lock_take(&writer->lock);
    st_status status = state_check(writer, error);
    if (status == ST_OK)
        writer->in_flight++;
    else
        st__lock_drop(&writer->lock);
    return status;
}

st_status st__writer_leave(st_writer *writer, st_status status, const st_error *said,
                           st_error *error)
{
    writer->in_flight--;
    st__lock_drop(&writer->lock);
    if (status != ST_OK && error)
        *error = *said;
    return status;
}

/* -------------------------------------------------------------------------------- claiming */

/* Claims a part of a tensor, or all of one of which there may be parts. */
static st_status piece_claim(st_writer *writer, size_t index, uint64_t begin, uint64_t end,
                             st_error *error)
{
    const st_tensor *tensor = &writer->tensors[index];
    uint64_t at = begin;
    st_status status = ST_ERR_WRITTEN_TWICE;
    if (writer->claims[index] != ST__CLAIMED_WHOLE)
        status = st__ranges_add(&writer->pieces, begin, end, &at);
    if (status == ST_ERR_NOMEM)
        return st__fail(error, status, ST_NO_OFFSET,
                        "%s: tensor %s: out of memory for the list of what is written",
                        st__writer_name(writer), st__quote(tensor->name, tensor->name_len).text);
    if (status == ST_ERR_WRITTEN_TWICE)
        return st__fail(error, status, writer->header_size + at,
                        "%s: tensor %s: its byte %" PRIu64 " was written before",
                        st__writer_name(writer), st__quote(tensor->name, tensor->name_len).text,
                        at - tensor->begin);
    writer->claims[index] = ST__CLAIMED_PIECES;
    return ST_OK;
}

st_status st__writer_claim(st_writer *writer, size_t index, uint64_t offset, uint64_t size,
                           st_error *error)
{
    const st_tensor *tensor = &writer->tensors[index];
    uint64_t begin = tensor->begin + offset;
    if (size == 0)
        return ST_OK;
    if (size == st_tensor_size(tensor) && writer->claims[index] == ST__CLAIMED_NONE)
        writer->claims[index] = ST__CLAIMED_WHOLE;
    else
        ST_TRY(piece_claim(writer, index, begin, begin + size, error));
    writer->claimed += size;
    return ST_OK;
}

void st__writer_unclaim(st_writer *writer, size_t index)
{
    writer->claims[index] = ST__CLAIMED_NONE;
    writer->claimed -= st_tensor_size(&writer->tensors[index]);
}

/* ----------------------------------------------------------------------------- whole calls */

static st_status tensor_check(const st_writer *writer, size_t index, st_error *error)
{
    if (index < writer->count)
        return ST_OK;
    return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                    "%s: there is no tensor %zu; %zu were added", st__writer_name(writer), index,
                    writer->count);
}

static st_status bytes_write(st_writer *writer, size_t index, uint64_t offset, st_bytes bytes,
                             st_error *error)
{
    ST_TRY(tensor_check(writer, index, error));
    const st_tensor *tensor = &writer->tensors[index];
    uint64_t size = st_tensor_size(tensor);
    if (offset > size || bytes.size > size - offset)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%s: tensor %s: %zu bytes from its byte %" PRIu64
                        " on reach past its %" PRIu64,
                        st__writer_name(writer), st__quote(tensor->name, tensor->name_len).text,
                        bytes.size, offset, size);
    ST_TRY(st__writer_claim(writer, index, offset, bytes.size, error));
    return st__writer_put(writer, writer->header_size + tensor->begin + offset, bytes.data,
                          bytes.size, error);
}

st_status st_writer_write(st_writer *writer, size_t index, uint64_t offset, const void *data,
                          size_t size, st_error *error)
{
    st_error said; /* half a kilobyte, which only a failure fills */
    ST_TRY(st__writer_enter(writer, error));
    st_status status = bytes_write(writer, index, offset, (st_bytes){data, size}, &said);
    return st__writer_leave(writer, status, &said, error);
}

static st_status array_check(const st_tensor *tensor, const st_array *array, st_error *error)
{
    uint32_t d = 0;
    if (array->device != 0)
        return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                        "the array lies on device %" PRId32 "; copy it to the host's memory first",
                        array->device);
    if (tensor->dtype >= ST_DTYPE_UNKNOWN)
        return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                        "its dtype is unknown; write its bytes with st_writer_write");
    if (array->dtype != tensor->dtype) {
        const char *code = st_dtype_code(array->dtype);
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "the array's dtype is %s, and %s was added", code ? code : "unknown",
                        st_dtype_code(tensor->dtype));
    }
    if (array->ndim != tensor->ndim)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "the array has %" PRIu32 " dimensions, and %" PRIu32 " were added",
                        array->ndim, tensor->ndim);
    while (d < tensor->ndim && array->shape[d] == tensor->shape[d])
        d++;
    if (d < tensor->ndim)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "the array's dimension %" PRIu32 " has %" PRIu64 " elements, and %" PRIu64
                        " were added",
                        d, array->shape[d], tensor->shape[d]);
    return ST_OK;
}

/* Where the next block goes. */
typedef struct array_place {
    st_writer *writer;
    uint64_t offset;
} array_place;

static st_status array_block(void *ctx, const void *data, size_t size, st_error *error)
{
    array_place *place = ctx;
    return st__writer_put_next(place->writer, &place->offset, data, size, error);
}

/* The lock is held, but while blocks are made. */
static st_status packed_write(st_writer *writer, size_t index, const st__runs *runs,
                              const unsigned char *lowest, st_error *error)
{
    uint64_t offset = writer->header_size + writer->tensors[index].begin;
    array_place place = {writer, offset};
    st__route route;
    st__transfer transfer = {.route = &route, .runs = runs, .context = writer->context};
    st__route_memory(&route, lowest, runs->size, writer->context);
    ST_TRY(st__writer_claim(writer, index, 0, runs->size, error));
    if (runs->size && runs->piece == runs->size)
        return st__writer_put(writer, offset, lowest + (size_t)runs->offset, (size_t)runs->size,
                              error);
    st__lock_drop(&writer->lock);
    st_status status = st__transfer_blocks(&transfer, st__context_threads(writer->context),
                                           array_block, &place, error);
    st__lock_take(&writer->lock);
    if (status == ST_OK)
        return ST_OK;
    if (writer->failure.status != ST_OK)
        return st__writer_told(writer, error);
    (void)st__writer_locate(writer, &writer->tensors[index], status, error);
    return st__writer_spoil(writer, status, error);
}

static st_status array_write(st_writer *writer, size_t index, const st_array *array,
                             st_error *error)
{
    st__runs runs;
    uint64_t below = 0;
    ST_TRY(tensor_check(writer, index, error));
    const st_tensor *tensor = &writer->tensors[index];
    st_status status = array_check(tensor, array, error);
    if (status == ST_OK)
        status = st__runs_init_array(&runs, writer->context, array, &below, error);
    if (status == ST_OK) {
        const unsigned char *data = array->data;
        status = packed_write(writer, index, &runs, runs.size ? data - (size_t)below : data, error);
        st__runs_release(&runs);
    }
    /* What the writer has for a failure says already what it is about. */
    return writer->failure.status != ST_OK ? status
                                           : st__writer_locate(writer, tensor, status, error);
}

st_status st_writer_write_array(st_writer *writer, size_t index, const st_array *array,
                                st_error *error)
{
    st_error said = {.status = ST_OK};
    ST_TRY(st__writer_enter(writer, error));
    st_status status = array_write(writer, index, array, &said);
    return st__writer_leave(writer, status, &said, error);
}
