/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"
#include "measure.h"
#include "raw.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { POOL_SLOTS = 64, LIVE_SLOTS = 4096, ALIGN = 16, PAGE = 4096, REFRESH_THREADS = 4 };

/* A pooled block's capacity stands in front of it. */
static void *pool_alloc(void *ctx, size_t size)
{
    bench_pool *pool = ctx;
    size_t best = POOL_SLOTS;
    for (size_t i = 0; i < POOL_SLOTS; i++) {
        size_t capacity = pool->kept[i].capacity;
        bool fits = pool->kept[i].block && capacity >= size && capacity / 2 <= size + 4096;
        if (fits && (best == POOL_SLOTS || capacity < pool->kept[best].capacity))
            best = i;
    }
    if (best < POOL_SLOTS) {
        void *block = pool->kept[best].block;
        pool->kept[best].block = NULL;
        return block;
    }
    unsigned char *base = malloc(size + ALIGN);
    if (!base)
        return NULL;
    memcpy(base, &size, sizeof size);
    return base + ALIGN;
}

static size_t pool_capacity(const void *block)
{
    size_t capacity;
    memcpy(&capacity, (const unsigned char *)block - ALIGN, sizeof capacity);
    return capacity;
}

static void pool_free(void *ctx, void *block, size_t size)
{
    bench_pool *pool = ctx;
    (void)size;
    if (!block)
        return;
    for (size_t i = 0; i < POOL_SLOTS; i++) {
        if (!pool->kept[i].block) {
            pool->kept[i].block = block;
            pool->kept[i].capacity = pool_capacity(block);
            return;
        }
    }
    free((unsigned char *)block - ALIGN);
}

static void *pool_realloc(void *ctx, void *block, size_t old_size, size_t size)
{
    if (block && pool_capacity(block) >= size)
        return block;
    void *fresh = pool_alloc(ctx, size);
    if (fresh && block) {
        memcpy(fresh, block, old_size);
        pool_free(ctx, block, old_size);
    }
    return fresh;
}

st_allocator bench_pool_allocator(bench_pool *pool)
{
    return (st_allocator){pool_alloc, pool_realloc, pool_free, pool};
}

void bench_pool_release(bench_pool *pool)
{
    for (size_t i = 0; i < POOL_SLOTS; i++) {
        if (pool->kept[i].block)
            free((unsigned char *)pool->kept[i].block - ALIGN);
        pool->kept[i].block = NULL;
    }
}

static size_t whole_pages(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

static uint64_t resident_bytes(void *block, size_t size)
{
    static unsigned char seen[1 << 20]; /* a page each: 4 GiB at a time */
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t pages = 0;
    for (size_t at = 0; at < size; at += sizeof seen * page) {
        size_t part = size - at < sizeof seen * page ? size - at : sizeof seen * page;
        if (mincore((unsigned char *)block + at, part, seen))
            bench_fail("mincore refused");
        for (size_t i = 0; i < part / page; i++)
            pages += seen[i] & 1u;
    }
    return pages * page;
}

void bench_count_look(bench_count *count)
{
    count->touched = 0;
    for (size_t i = 0; i < LIVE_SLOTS; i++) {
        if (!count->live[i].block)
            continue;
        uint64_t resident = resident_bytes(count->live[i].block, whole_pages(count->live[i].size));
        count->touched += resident < count->live[i].size ? resident : count->live[i].size;
    }
    if (count->touched > count->touched_peak)
        count->touched_peak = count->touched;
}

static size_t live_slot(const bench_count *count, const void *block)
{
    for (size_t i = 0; i < LIVE_SLOTS; i++) {
        if (count->live[i].block == block)
            return i;
    }
    bench_fail("more than %d blocks at once", LIVE_SLOTS);
}

static void asked_add(bench_count *count, size_t size)
{
    count->calls++;
    count->asked += size;
    if (count->asked > count->asked_peak)
        count->asked_peak = count->asked;
}

static void *count_alloc(void *ctx, size_t size)
{
    bench_count *count = ctx;
    size_t slot = live_slot(count, NULL);
    void *block = mmap(NULL, whole_pages(size ? size : 1), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED)
        return NULL;
    count->live[slot].block = block;
    count->live[slot].size = size ? size : 1;
    asked_add(count, size);
    return block;
}

static void count_free(void *ctx, void *block, size_t size)
{
    bench_count *count = ctx;
    if (!block)
        return;
    bench_count_look(count);
    size_t slot = live_slot(count, block);
    if (size != count->live[slot].size && size)
        bench_fail("a block of %zu bytes was given back as %zu", count->live[slot].size, size);
    munmap(block, whole_pages(count->live[slot].size));
    count->live[slot].block = NULL;
    count->asked -= size;
}

/* As a large realloc does, this moves pages rather than bytes. */
static void *count_realloc(void *ctx, void *block, size_t old_size, size_t size)
{
    bench_count *count = ctx;
    if (!block)
        return count_alloc(ctx, size);
    bench_count_look(count);
    size_t slot = live_slot(count, block);
    void *moved =
        mremap(block, whole_pages(old_size), whole_pages(size ? size : 1), MREMAP_MAYMOVE);
    if (moved == MAP_FAILED)
        return NULL;
    count->live[slot].block = moved;
    count->live[slot].size = size ? size : 1;
    count->asked -= old_size;
    asked_add(count, size);
    return moved;
}

st_allocator bench_count_allocator(bench_count *count)
{
    return (st_allocator){count_alloc, count_realloc, count_free, count};
}

typedef struct touched_part {
    unsigned char *from;
    size_t size;
} touched_part;

static void *part_touch(void *ctx)
{
    const touched_part *part = ctx;
    for (size_t at = 0; at < part->size; at += PAGE)
        ((volatile unsigned char *)part->from)[at] = 1;
    return NULL;
}

void bench_memory_refresh(size_t size)
{
    pthread_t threads[REFRESH_THREADS];
    touched_part parts[REFRESH_THREADS];
    unsigned char *pages = bench_pages_new(size);
    for (size_t i = 0; i < REFRESH_THREADS; i++) {
        parts[i] = (touched_part){pages + size / REFRESH_THREADS * i, size / REFRESH_THREADS};
        if (pthread_create(&threads[i], NULL, part_touch, &parts[i]))
            bench_fail("no thread");
    }
    for (size_t i = 0; i < REFRESH_THREADS; i++)
        pthread_join(threads[i], NULL);
    bench_pages_free(pages, size);
}

uint64_t bench_status_bytes(const char *key)
{
    char line[256];
    uint64_t kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    if (!status)
        bench_fail("/proc/self/status cannot be read");
    while (fgets(line, sizeof line, status)) {
        if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ':')
            kib = strtoull(line + strlen(key) + 1, NULL, 10);
    }
    fclose(status);
    return kib * 1024;
}

void bench_peak_reset(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file || fputs("5", file) < 0 || fclose(file))
        bench_fail("/proc/self/clear_refs cannot be written");
}
