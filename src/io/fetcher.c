/* SPDX-License-Identifier: Apache-2.0 */
#include "io/fetcher.h"
#include "base/error.h"

void st__fetcher_init(st__fetcher *fetcher, const st__transfer *transfer, size_t size)
{
    const size_t stage = st__transfer_stage(transfer, st__transfer_work(transfer));
    fetcher->transfer = transfer;
    fetcher->size = size;
    fetcher->block = (st__block_memory){.data = NULL};
    st__gather_init(&fetcher->gather, transfer, stage);
}

void st__fetcher_release(st__fetcher *fetcher)
{
    st__gather_release(&fetcher->gather);
    st__block_memory_release(&fetcher->block, fetcher->transfer->context);
}

st_status st__fetcher_range(st__fetcher *fetcher, uint64_t from, uint64_t to,
                            const unsigned char **data, st_error *error)
{
    const st__transfer *t = fetcher->transfer;
    const unsigned char *memory = st__transfer_memory(t);
    if (memory && t->runs->piece == t->runs->size) {
        *data = memory + (size_t)(t->runs->offset + from);
        st__transfer_populate(t, *data, (size_t)(to - from));
        return ST_OK;
    }
    if (!fetcher->block.data)
        ST_TRY(st__block_memory_init(&fetcher->block, t, fetcher->size, error));
    *data = fetcher->block.data;
    return st__gather_range(&fetcher->gather, from, to, fetcher->block.data, error);
}
