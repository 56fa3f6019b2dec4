/* SPDX-License-Identifier: Apache-2.0 */
#include "file/header_cache.h"
#include "base/alloc.h"
#include "base/context.h"
#include "base/error.h"
#include "base/map.h"
#include "base/thread.h"
#include "format/header.h"

#include <string.h>

/* A file whose times lie this close before the clock may change once more and keep them: FAT counts seconds by
 * twos, and no file system is coarser. */
#define GRAIN_NS INT64_C(2000000000)
/* Powers of 2. A header takes 4 KiB or more, so that 64 MiB hold 16384 of them at most. */
#define CHAINS 512u
#define PATHS  1024u

typedef struct cached_header {
    st__header_key key;
    st_header *header; /* kept, not retained */
    uint32_t latency;
    uint32_t path; /* its place in `paths`; PATHS: none */
    uint64_t bytes;
    struct cached_header *next; /* in its chain */
    struct cached_header *older, *newer;
} cached_header;

typedef struct header_cache {
    st__attachment attachment;
    st_context *context; /* not retained: it owns this */
    uint64_t limit;
    st__lock lock; /* over all that follows */
    uint64_t bytes;
    cached_header *oldest, *newest;
    cached_header *chains[CHAINS];
    uint32_t paths[PATHS]; /* entries that were opened by a path with this hash */
} header_cache;

/* ------------------------------------------------------------------------------- a context's */

/* Frees what was taken out, a list by `next`; without the lock. */
static void cached_free(st_context *context, cached_header *list)
{
    for (cached_header *next; list; list = next) {
        next = list->next;
        st__header_drop(list->header);
        st__free(context, list, sizeof *list);
    }
}

static void header_cache_free(void *self)
{
    header_cache *cache = self;
    for (size_t i = 0; i < CHAINS; i++)
        cached_free(cache->context, cache->chains[i]);
    st__lock_release(&cache->lock);
    st__free(cache->context, cache, sizeof *cache);
}

static st__attachment *header_cache_make(st_context *context)
{
    header_cache *cache = st__alloc_zeroed(context, 1, sizeof *cache);
    if (!cache)
        return NULL;
    if (!st__lock_init(&cache->lock)) {
        st__free(context, cache, sizeof *cache);
        return NULL;
    }
    cache->attachment = (st__attachment){header_cache_free, &cache->lock};
    cache->context = context;
    cache->limit = st__context_header_memory(context);
    return &cache->attachment;
}

static st__attachment *make_nothing(st_context *context)
{
    (void)context;
    return NULL;
}

/* Gives NULL where nothing was kept yet. */
static header_cache *cache_there(st_context *context)
{
    return (header_cache *)(void *)st__context_attached(context, ST__ATTACHED_HEADERS,
                                                        make_nothing);
}

/* ------------------------------------------------------------------------------------ keys */

void st__header_key_fill(st__header_key *key, const st__os_info *file,
                         const st_open_options *options)
{
    *key = (st__header_key){.file = *file};
    if (options) {
        key->flags = options->flags;
        key->max_header_size = options->max_header_size;
    }
}

static bool same_file(const st__header_key *a, const st__header_key *b)
{
    return a->file.device == b->file.device && a->file.inode == b->file.inode &&
           a->flags == b->flags && a->max_header_size == b->max_header_size;
}

static bool same_state(const st__header_key *a, const st__header_key *b)
{
    return a->file.size == b->file.size && a->file.mtime_ns == b->file.mtime_ns &&
           a->file.ctime_ns == b->file.ctime_ns;
}

static uint32_t path_place(const char *path)
{
    static const st__hash_key key = {{1, 2, 3}};
    return path ? st__hash(&key, path, strlen(path)) % PATHS : PATHS;
}

static cached_header **chain_of(header_cache *cache, const st__header_key *key)
{
    uint64_t hash = (key->file.inode ^ (key->file.device << 32)) * UINT64_C(0x9e3779b97f4a7c15);
    return &cache->chains[(hash >> 40) % CHAINS];
}

/* -------------------------------------------------------------------------------- entries */

/* These want the lock. */

static void order_add(header_cache *cache, cached_header *entry)
{
    entry->older = cache->newest;
    entry->newer = NULL;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = entry;
    cache->newest = entry;
}

static void order_remove(header_cache *cache, cached_header *entry)
{
    *(entry->older ? &entry->older->newer : &cache->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &cache->newest) = entry->older;
}

static cached_header *entry_find(header_cache *cache, const st__header_key *key)
{
    cached_header *entry = *chain_of(cache, key);
    while (entry && !same_file(&entry->key, key))
        entry = entry->next;
    return entry;
}

/* Moves an entry to the list of what will be freed. */
static void entry_take(header_cache *cache, cached_header *entry, cached_header **taken)
{
    cached_header **link = chain_of(cache, &entry->key);
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    order_remove(cache, entry);
    cache->bytes -= entry->bytes;
    if (entry->path < PATHS)
        cache->paths[entry->path]--;
    entry->next = *taken;
    *taken = entry;
}

static void entry_add(header_cache *cache, cached_header *entry)
{
    cached_header **chain = chain_of(cache, &entry->key);
    entry->next = *chain;
    *chain = entry;
    order_add(cache, entry);
    cache->bytes += entry->bytes;
    if (entry->path < PATHS)
        cache->paths[entry->path]++;
}

/* ---------------------------------------------------------------------------------- calls */

bool st__header_cache_may_have(st_context *context, const char *path)
{
    header_cache *cache = cache_there(context);
    if (!cache)
        return false;
    uint32_t place = path_place(path);
    st__lock_take(&cache->lock);
    bool may = cache->paths[place] > 0;
    st__lock_drop(&cache->lock);
    return may;
}

st__header_found st__header_cache_find(st_context *context, const st__header_key *key)
{
    st__header_found found = {NULL, ST_LATENCY_UNKNOWN};
    header_cache *cache = cache_there(context);
    if (!cache)
        return found;
    st__lock_take(&cache->lock);
    cached_header *entry = entry_find(cache, key);
    if (entry && same_state(&entry->key, key)) {
        found = (st__header_found){st_header_retain(entry->header), entry->latency};
        order_remove(cache, entry);
        order_add(cache, entry);
    }
    st__lock_drop(&cache->lock);
    return found;
}

static bool is_settled(const st__os_info *file, int64_t now)
{
    int64_t before = now > INT64_MIN + GRAIN_NS ? now - GRAIN_NS : INT64_MIN;
    return file->mtime_ns < before && file->ctime_ns < before;
}

st_status st__header_cache_put(st_context *context, const st__header_key *key, const char *path,
                               const st__header_found *found, int64_t now, st_error *error)
{
    uint64_t bytes = sizeof(cached_header) + st__header_memory(found->header);
    if (bytes > st__context_header_memory(context) || !is_settled(&key->file, now))
        return ST_OK;
    header_cache *cache = (header_cache *)(void *)st__context_attached(
        context, ST__ATTACHED_HEADERS, header_cache_make);
    if (!cache)
        return st__fail_nomem(error, sizeof *cache);
    cached_header *entry = st__alloc(context, sizeof *entry), *taken = NULL;
    if (!entry)
        return st__fail_nomem(error, sizeof *entry);
    *entry = (cached_header){.key = *key, .header = found->header, .latency = found->latency};
    entry->path = path_place(path);
    entry->bytes = bytes;
    st__header_keep(found->header);
    st__lock_take(&cache->lock);
    cached_header *stale = entry_find(cache, key);
    if (stale)
        entry_take(cache, stale, &taken);
    while (cache->oldest && cache->bytes + bytes > cache->limit)
        entry_take(cache, cache->oldest, &taken);
    entry_add(cache, entry);
    st__lock_drop(&cache->lock);
    cached_free(context, taken);
    return ST_OK;
}
