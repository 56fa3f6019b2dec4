/* SPDX-License-Identifier: Apache-2.0 */
/* The only door to libcrypto and to xxHash.
 *
 * A digester is used for one digest after another, by one thread at a time. What libcrypto refuses while
 * bytes are added is kept, and told at the end. libcrypto takes its own memory past the context's
 * allocator, and reads its own configuration when a process first asks it for an algorithm. */
#ifndef ST_INSPECT_DIGEST_H
#define ST_INSPECT_DIGEST_H

#include <safetensors/inspect.h>

#include <stdalign.h>

#define ST__DIGEST_STATE 576 /* of XXH3, aligned to cache lines */

/* What of libcrypto is called, EVP_…: it is looked for when SHA-256 is first asked for, since many who have this
 * library in their process never do. */
typedef struct st__crypto {
    void *library;
    void *(*fetch)(void *context, const char *algorithm, const char *properties);
    void (*method_free)(void *method);
    void *(*running_new)(void);
    void (*running_free)(void *running);
    int (*init)(void *running, const void *method, const void *parameters);
    int (*update)(void *running, const void *data, size_t size);
    int (*final)(void *running, unsigned char *out, unsigned *size);
} st__crypto;

typedef struct st__digester {
    alignas(64) unsigned char state[ST__DIGEST_STATE];
    st_hash hash;
    bool failed;
    st__crypto crypto;
    void *method; /* libcrypto's algorithm, and its running digest */
    void *running;
} st__digester;

/* ST_ERR_ARGUMENT for a number that is no algorithm; ST_ERR_UNSUPPORTED for one that this build has not. */
st_status st__hash_check(st_hash hash, st_error *error);
/* Bytes of a digest; 0 for a number that is no algorithm. */
uint32_t st__hash_size(st_hash hash);

/* `hash` has passed st__hash_check. ST_ERR_UNSUPPORTED where there is no libcrypto, or its configuration has no such
 * algorithm. */
st_status st__digester_init(st__digester *digester, st_hash hash, st_error *error);
void st__digester_release(st__digester *digester);

void st__digester_begin(st__digester *digester);
void st__digester_add(st__digester *digester, const void *data, size_t size);
st_status st__digester_end(st__digester *digester, st_digest *out, st_error *error);
/* The three in one, for bytes that are all there. */
st_status st__digester_whole(st__digester *digester, const void *data, size_t size, st_digest *out,
                             st_error *error);

bool st__digest_equal(const st_digest *a, const st_digest *b);
/* Reads what st_digest_format prints, digits of either case; false for anything else. */
bool st__digest_parse(const char *text, size_t len, st_digest *out);

#endif
