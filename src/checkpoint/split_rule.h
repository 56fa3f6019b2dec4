/* SPDX-License-Identifier: Apache-2.0 */
/* Which tensors go together, from nothing but their sizes: huggingface_hub's rule. Pure. */
#ifndef ST_CHECKPOINT_SPLIT_RULE_H
#define ST_CHECKPOINT_SPLIT_RULE_H

#include <safetensors/safetensors.h>

/* Tensors without bytes: to PyTorch all of them share one storage, none, and what shares a storage stays
 * together, behind the other tensors of its shard. The first one is treated as any tensor. */

/* Gives each tensor the number of its shard, unless `shard` is NULL; gives the number of shards. */
size_t st__split_assign(const uint64_t *sizes, size_t count, uint64_t limit, uint32_t *shard);

/* Finds the least limit, 1 or more, by which there are at most `shards` of them, at least 1. ST_ERR_NOMEM. */
st_status st__split_limit_find(st_context *context, const uint64_t *sizes, size_t count,
                               uint64_t shards, uint64_t *out, st_error *error);

#endif
