/* SPDX-License-Identifier: Apache-2.0 */
/* The budgets of a context; NULL gives the defaults. */
#ifndef ST_BASE_CONTEXT_H
#define ST_BASE_CONTEXT_H

#include <safetensors/safetensors.h>

/* Threads that one read may use, the caller's own included; at least 1. */
uint32_t st__context_threads(const st_context *context);
/* Bytes that one read may stage. */
uint64_t st__context_memory(const st_context *context);

/* ST_ERR_ARGUMENT if any word of a reserved tail is set. */
st_status st__reserved_check(const uint64_t *words, size_t count, const char *options_name,
                             st_error *error);

/* ST_ERR_ARGUMENT for options of unknown flags or strategy, too large a header limit, or reserved words set;
 * NULL is fine. */
st_status st__options_check(const st_open_options *options, st_error *error);

#endif
