/* SPDX-License-Identifier: Apache-2.0 */
/* The budgets of a context; NULL gives the defaults. */
#ifndef ST_BASE_CONTEXT_H
#define ST_BASE_CONTEXT_H

#include "base/thread.h"

#include <safetensors/safetensors.h>

/* Threads that one read may use, the caller's own included; at least 1. */
uint32_t st__context_threads(const st_context *context);
/* Bytes that one read may stage. */
uint64_t st__context_memory(const st_context *context);
/* Bytes of headers to keep for the next open; 0 without a context. */
uint64_t st__context_header_memory(const st_context *context);
/* Files that sources may hold open, as the options say; 0: they say nothing. */
uint32_t st__context_descriptors(const st_context *context);

/* Takes up to `wanted` threads beside the caller's own out of what all calls of the context share, without
 * waiting: 0 .. wanted of them, to be given back. Without a context nothing is shared: all of them. */
uint32_t st__context_take_threads(st_context *context, uint32_t wanted);
void st__context_give_threads(st_context *context, uint32_t count);

/* What was learned of a mount, a bit for each strategy: 0 for one that nothing is known of, and without a
 * context. Remembering is best effort. */
uint32_t st__context_refused(st_context *context, uint64_t device);
void st__context_refuse(st_context *context, uint64_t device, uint32_t bits);
/* ST_LATENCY_… of a mount as it was learned, ST_LATENCY_UNKNOWN before. */
uint32_t st__context_latency(st_context *context, uint64_t device);
void st__context_latency_learn(st_context *context, uint64_t device, uint32_t latency);

/* What other folders keep in a context: made by the first who asks, freed with the context. */
typedef struct st__attachment {
    void (*free)(void *self);
    /* Over what it keeps, taken for a fork; NULL: it has none. Whoever has this one, or the context's own, takes
     * no other lock of the context. */
    st__lock *lock;
} st__attachment; /* begins what is attached */
enum {
    ST__ATTACHED_HEADERS = 0,
    ST__ATTACHED_DESCRIPTORS,
    ST__ATTACHED_MEMORY,
    ST__ATTACHED_COUNT
};
/* Gives what is attached at `slot`, made by `make` if it is not there yet; NULL without a context, or where
 * `make` gave none. What is attached may not retain the context. */
st__attachment *st__context_attached(st_context *context, uint32_t slot,
                                     st__attachment *(*make)(st_context *context));

/* ST_ERR_ARGUMENT if any word of a reserved tail is set. */
st_status st__reserved_check(const uint64_t *words, size_t count, const char *options_name,
                             st_error *error);

/* ST_ERR_ARGUMENT for options of unknown flags or strategy, too large a header limit, or reserved words set;
 * NULL is fine. */
st_status st__options_check(const st_open_options *options, st_error *error);

#endif
