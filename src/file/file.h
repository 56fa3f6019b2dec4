/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ST_FILE_FILE_H
#define ST_FILE_FILE_H

#include "io/transfer.h"

#include <stdatomic.h>

struct st_file {
    st_context *context;
    st_source *source;
    st_header *header;
    uint32_t io;             /* ST_IO_… */
    st_source_info identity; /* at the open; `etag` is the file's own copy */
    size_t etag_size;
    _Atomic(st_buffer *) mapping; /* of ST_IO_MAP, made by the first read */
};

/* Makes a file of a source, whose identity is `info`, and a header that was not read by opening it. References to both are
 * added. */
st_status st__file_over(st_source *source, const st_source_info *info, st_header *header,
                        const st_open_options *options, st_file **out, st_error *error);

/* ST_ERR_CHANGED unless the source is what it was at the open, as far as size, times of its contents and
 * identity tell. The change time may differ: it also moves when the file is renamed over, linked or given
 * another mode, and its bytes are still those that the header describes. `now` receives all of it. */
st_status st__file_unchanged(const st_file *file, st_source_info *now, st_error *error);

/* One reading of bytes: a tensor, a region of it, or any range of the file. Opened once, delivered as often as
 * needed, closed with what has become of the source meanwhile. */
typedef struct st__reading { /* points into itself: stays where it was opened */
    const st_file *file;
    const st_tensor *tensor; /* NULL: a range of the file */
    st__runs runs;
    st__route route;
    st__transfer transfer;
    bool volatile_source;
    st_source_info before;
    st_tensor range; /* what stands for a range */
    uint64_t range_shape[1];
} st__reading;

st_status st__reading_open(st__reading *reading, const st_file *file, const st_tensor *tensor,
                           const st_region *region, st_error *error);
/* `size` bytes of the file from its byte `offset` on, header included. */
st_status st__reading_open_range(st__reading *reading, const st_file *file, uint64_t offset,
                                 uint64_t size, st_error *error);
/* As st__transfer_read, st__transfer_blocks and st__transfer_scan; failures name file and tensor, the consumer's
 * own pass as they are. */
st_status st__reading_read(st__reading *reading, void *dst, st_error *error);
st_status st__reading_blocks(st__reading *reading, uint32_t threads, st_block_fn block, void *ctx,
                             st_error *error);
uint32_t st__reading_workers(const st__reading *reading);
st_status st__reading_scan(st__reading *reading, const st__consumer *consumer, st_error *error);
/* Who takes two readings in lockstep, on several threads at once. */
typedef struct st__pair_consumer {
    uint64_t sizes[2]; /* bytes of a block of each; as many blocks in the one as in the other */
    /* Block `number` of both; the last one has what is left. `worker` is 0 on the caller's thread. A failure ends
     * the scan, and passes as it is. */
    st_status (*block)(void *ctx, uint32_t worker, uint64_t number, const st_bytes sides[2],
                       st_error *error);
    void *ctx;
} st__pair_consumer;

/* How many workers a scan of two can have if each needs `memory` bytes of its own. */
uint32_t st__reading_pair_workers(st__reading *const readings[2], const uint64_t sizes[2],
                                  uint64_t memory);
/* Delivers blocks of two readings, in any order, from up to `threads` threads; the threads are out of the first
 * one's context. */
st_status st__reading_scan_pair(st__reading *const readings[2], uint32_t threads,
                                const st__pair_consumer *consumer, st_error *error);
/* How st__reading_read would go. */
st_status st__reading_explain(st__reading *reading, st_explanation *out, st_error *error);
/* Ends it: `status` itself where it is a failure, else ST_ERR_CHANGED if the file changed since the opening. */
st_status st__reading_close(st__reading *reading, st_status status, st_error *error);

#endif
