/* SPDX-License-Identifier: Apache-2.0 */
/* An index from strings to records that lie in one array, built once when all are there.
 *
 * Slots are 4 bytes: the low bits hold index + 1, the others bits of the hash, so that a lookup
 * touches a record only when it very likely is the one. The hash is keyed: names come from strangers,
 * and an unkeyed one lets them make every lookup linear. */
#ifndef ST_BASE_MAP_H
#define ST_BASE_MAP_H

#include <safetensors/safetensors.h>

/* What every record starts with; st_tensor and st_metadata do. */
typedef struct st__key {
    const char *text;
    uint32_t len;
    uint32_t other;
} st__key;

typedef struct st__hash_key {
    uint64_t words[3];
} st__hash_key;

typedef struct st__map {
    uint32_t *slots; /* NULL while empty */
    uint32_t mask;   /* slots - 1 */
    uint32_t index_mask;
    const unsigned char *records;
    size_t stride;
    st__hash_key key;
} st__map;

#define ST__MAP_NONE SIZE_MAX

uint32_t st__hash(const st__hash_key *key, const char *text, size_t len);

/* Allocates slots for `count` records, which must be fewer than 2^30. False: out of memory. */
bool st__map_init(st__map *map, st_context *context, const void *records, size_t stride,
                  size_t count, const st__hash_key *key);
void st__map_release(st__map *map, st_context *context);

/* Adds record `index`, unless its text is there already: then gives the index of that one. */
size_t st__map_insert(st__map *map, size_t index, uint32_t hash);

/* Adds records 0 .. count-1. `hashed`: each one's hash stands in st__key.other. Gives the first
 * index whose text was there before, or ST__MAP_NONE. */
size_t st__map_insert_all(st__map *map, size_t count, bool hashed);

/* Gives the index of the record with this text, or ST__MAP_NONE. */
size_t st__map_find(const st__map *map, const char *text, size_t len);

#endif
