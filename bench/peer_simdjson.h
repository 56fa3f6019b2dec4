/* SPDX-License-Identifier: Apache-2.0 */
/* simdjson's DOM parse of a header's text, from C. */
#ifndef BENCH_PEER_SIMDJSON_H
#define BENCH_PEER_SIMDJSON_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct peer_simdjson peer_simdjson;

peer_simdjson *peer_simdjson_new(const char *text, size_t len);
void peer_simdjson_free(peer_simdjson *peer);
/* Gives the number of members, or 0 when the text was refused. */
size_t peer_simdjson_reused(peer_simdjson *peer); /* with the parser of the last time */
size_t peer_simdjson_fresh(peer_simdjson *peer);  /* with a new parser */
const char *peer_simdjson_name(void);             /* version and kernel */

#ifdef __cplusplus
}
#endif

#endif
