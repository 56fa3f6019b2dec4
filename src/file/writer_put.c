/* SPDX-License-Identifier: Apache-2.0 */
/* Putting bytes that were claimed, and what comes of it: progress, a failure. */
#include "file/writer.h"

#include <inttypes.h>

st_status st__writer_spoil(st_writer *writer, st_status status, const st_error *said)
{
    if (writer->failure.status == ST_OK) {
        writer->failure = *said;
        writer->failure.status = status;
    }
    return status;
}

st_status st__writer_told(const st_writer *writer, st_error *error)
{
    *error = writer->failure;
    return writer->failure.status;
}

st_status st__writer_count(st_writer *writer, uint64_t size, bool tell, st_error *error)
{
    writer->done += size;
    if (!tell || !writer->progress.fn)
        return ST_OK;
    uint64_t done = writer->done;
    st__lock_drop(&writer->lock);
    bool goes_on = writer->progress.fn(writer->progress.ctx, done, writer->data_size);
    st__lock_take(&writer->lock);
    if (goes_on)
        return ST_OK;
    return st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET,
                    "%s: stopped by the caller after %" PRIu64 " of %" PRIu64 " bytes",
                    st__writer_name(writer), done, writer->data_size);
}

st_status st__writer_count_moved(st_writer *writer, uint64_t size, st_error *error)
{
    st__lock_take(&writer->lock);
    st_status status = st__writer_count(writer, size, true, error);
    st__lock_drop(&writer->lock);
    return status;
}

static st_status piece_put(st_writer *writer, uint64_t offset, st_bytes piece, st_error *error)
{
    bool moved = false;
    st_status status = writer->sequential ? st__stream_put(writer, offset, piece, &moved, error)
                                          : st__windows_put(writer, offset, piece, &moved, error);
    /* Another call failed first, and its words say of which tensor, or of which other file. */
    if (status != ST_OK && writer->failure.status != ST_OK)
        return st__writer_told(writer, error);
    if (status == ST_ERR_NOMEM && error->offset == ST_NO_OFFSET)
        error->offset = offset; /* for the tensor's name */
    if (status != ST_OK)
        return st__writer_locate(writer, NULL, status, error);
    return offset < writer->header_size ? ST_OK
                                        : st__writer_count(writer, piece.size, moved, error);
}

st_status st__writer_put(st_writer *writer, uint64_t offset, const void *data, size_t size,
                         st_error *error)
{
    for (size_t at = 0, part; at < size; at += part) {
        part = size - at < ST__WRITER_PIECE ? size - at : ST__WRITER_PIECE;
        st_bytes piece = {(const unsigned char *)data + at, part};
        st_status status = piece_put(writer, offset + at, piece, error);
        if (status != ST_OK)
            return st__writer_spoil(writer, status, error);
    }
    return ST_OK;
}

st_status st__writer_put_next(st_writer *writer, uint64_t *at, const void *data, size_t size,
                              st_error *error)
{
    uint64_t offset = *at;
    *at += size;
    st__lock_take(&writer->lock);
    st_status status = st__writer_put(writer, offset, data, size, error);
    st__lock_drop(&writer->lock);
    return status;
}

st_status st__writer_flush(st_writer *writer, st_error *error)
{
    bool moved = false;
    st_status status = writer->sequential ? st__stream_flush(writer, &moved, error)
                                          : st__windows_flush(writer, &moved, error);
    if (status != ST_OK)
        return st__writer_locate(writer, NULL, status, error);
    return st__writer_count(writer, 0, moved, error);
}
