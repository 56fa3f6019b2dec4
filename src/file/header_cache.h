/* SPDX-License-Identifier: Apache-2.0 */
/* The headers of files that were opened before, kept by their context. */
#ifndef ST_FILE_HEADER_CACHE_H
#define ST_FILE_HEADER_CACHE_H

#include "io/os.h"

/* Which header it is: of which file, as it was at a moment, and how it was parsed. */
typedef struct st__header_key {
    st__os_info file;
    uint32_t flags;
    uint64_t max_header_size;
} st__header_key;

/* What comes with it. */
typedef struct st__header_found {
    st_header *header; /* retained; NULL: not there */
    uint32_t latency;  /* ST_LATENCY_… of where the file lies */
} st__header_found;

void st__header_key_fill(st__header_key *key, const st__os_info *file,
                         const st_open_options *options);

/* Tells whether a header may be there of the file of this path: where not, its identity need not be asked for. */
bool st__header_cache_may_have(st_context *context, const char *path);
st__header_found st__header_cache_find(st_context *context, const st__header_key *key);

/* Keeps a header of the context's own memory, unless the file may change, by the clock `now`, without its times
 * telling, or the header is too large. `path`, by which it was opened, may be NULL. ST_ERR_NOMEM. */
st_status st__header_cache_put(st_context *context, const st__header_key *key, const char *path,
                               const st__header_found *found, int64_t now, st_error *error);

#endif
