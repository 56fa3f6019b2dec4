/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"
#include "base/alloc.h"
#include "base/endian.h"

#include <string.h>

/* Multiplies to 128 bits and folds the halves together. */
static inline uint64_t fold(uint64_t a, uint64_t b)
{
#if defined(__SIZEOF_INT128__)
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t low = a0 * b0, mid1 = a1 * b0, mid2 = a0 * b1, high = a1 * b1;
    uint64_t carry = (low >> 32) + (uint32_t)mid1 + (uint32_t)mid2;
    high += (mid1 >> 32) + (mid2 >> 32) + (carry >> 32);
    return (low & UINT32_MAX) ^ (carry << 32) ^ high;
#endif
}

/* Both factors of every product are keyed, so that no one can choose one of them to be 0. */
uint32_t st__hash(const st__hash_key *key, const char *text, size_t len)
{
    const uint64_t *k = key->words;
    const char *p = text;
    uint64_t h = k[0] ^ len, a = 0, b = 0;
    size_t left = len;
    for (; left > 16; p += 16, left -= 16)
        h = fold(st__load_le64(p) ^ k[1], st__load_le64(p + 8) ^ h ^ k[2]);
    if (left >= 8) {
        a = st__load_le64(p);
        b = st__load_le64(p + left - 8);
    } else if (left >= 4) {
        a = st__load_le32(p);
        b = st__load_le32(p + left - 4);
    } else if (left > 0) {
        a = (uint64_t)(unsigned char)p[0] << 16 | (uint64_t)(unsigned char)p[left / 2] << 8 |
            (unsigned char)p[left - 1];
    }
    h = fold(a ^ k[1], b ^ h ^ k[2]);
    return (uint32_t)(h ^ h >> 32);
}

bool st__map_init(st__map *map, st_context *context, const void *records, size_t stride,
                  size_t count, const st__hash_key *key)
{
    uint32_t slots = 4, index_mask = 1;
    while (slots <= count + count / 4) /* one stays free, so that every search ends */
        slots *= 2;
    while (index_mask < count)
        index_mask = index_mask * 2 + 1;
    map->slots = st__alloc_zeroed(context, slots, sizeof *map->slots);
    if (!map->slots)
        return false;
    map->mask = slots - 1;
    map->index_mask = index_mask;
    map->records = records;
    map->stride = stride;
    map->key = *key;
    return true;
}

void st__map_release(st__map *map, st_context *context)
{
    if (map->slots)
        st__free(context, map->slots, ((size_t)map->mask + 1) * sizeof *map->slots);
    map->slots = NULL;
}

static inline st__key record(const st__map *map, size_t index)
{
    st__key key;
    memcpy(&key, map->records + index * map->stride, sizeof key);
    return key;
}

size_t st__map_insert(st__map *map, size_t index, uint32_t hash)
{
    uint32_t tag = hash & ~map->index_mask;
    uint32_t at = hash & map->mask;
    for (uint32_t slot; (slot = map->slots[at]) != 0; at = (at + 1) & map->mask) {
        if ((slot & ~map->index_mask) != tag)
            continue;
        size_t other = (slot & map->index_mask) - 1;
        st__key a = record(map, other), b = record(map, index);
        if (a.len == b.len && memcmp(a.text, b.text, a.len) == 0)
            return other;
    }
    map->slots[at] = tag | (uint32_t)(index + 1);
    return ST__MAP_NONE;
}

size_t st__map_insert_all(st__map *map, size_t count, bool hashed)
{
    enum { AHEAD = 16 }; /* slots fetched before they are needed: each is a cache miss */
    uint32_t hashes[AHEAD] = {0};
    for (size_t i = 0; i < count + AHEAD; i++) {
        if (i >= AHEAD && st__map_insert(map, i - AHEAD, hashes[i % AHEAD]) != ST__MAP_NONE)
            return i - AHEAD;
        if (i < count) {
            st__key key = record(map, i);
            uint32_t hash = hashed ? key.other : st__hash(&map->key, key.text, key.len);
            hashes[i % AHEAD] = hash;
#if defined(__GNUC__)
            __builtin_prefetch(&map->slots[hash & map->mask], 1);
#endif
        }
    }
    return ST__MAP_NONE;
}

size_t st__map_find(const st__map *map, const char *text, size_t len)
{
    if (!map->slots)
        return ST__MAP_NONE;
    uint32_t hash = st__hash(&map->key, text, len);
    uint32_t tag = hash & ~map->index_mask;
    uint32_t at = hash & map->mask;
    for (uint32_t slot; (slot = map->slots[at]) != 0; at = (at + 1) & map->mask) {
        if ((slot & ~map->index_mask) != tag)
            continue;
        size_t index = (slot & map->index_mask) - 1;
        st__key key = record(map, index);
        if (key.len == len && memcmp(key.text, text, len) == 0)
            return index;
    }
    return ST__MAP_NONE;
}
