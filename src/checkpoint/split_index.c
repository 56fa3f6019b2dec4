/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a split. */
#include "checkpoint/index_text.h"
#include "checkpoint/split.h"

/* Which shard a row is of: rows are asked for in order. */
typedef struct split_rows {
    const st_split *split;
    size_t shard;
} split_rows;

static const char *split_row(void *ctx, size_t row, const st_tensor **tensor)
{
    split_rows *rows = ctx;
    const st_split *split = rows->split;
    while (row >= split->shards[rows->shard].first + split->shards[rows->shard].count)
        rows->shard++;
    *tensor = split->checkpoint->entries[split->order[row]].tensor;
    return split->shards[rows->shard].name;
}

st_status st__split_index_make(st_split *split, st_error *error)
{
    split_rows of = {split, 0};
    st__index_rows rows = {.count = split->tensor_count, .at = split_row, .ctx = &of};
    st__index_text out = {.context = split->context};
    st_status status = st__index_text_make(split->checkpoint, &rows, &out, error);
    split->index = out.text;
    split->index_size = out.size;
    split->index_len = out.len;
    return status;
}
