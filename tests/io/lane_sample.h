/* SPDX-License-Identifier: Apache-2.0 */
/* A file, mapped too, and extents of it into memory that is looked at beyond them, for the tests of lanes. */
#ifndef TESTS_IO_LANE_SAMPLE_H
#define TESTS_IO_LANE_SAMPLE_H

#include "support/random.h"
#include "support/watched.h"

#include "io/lane.h"
#include "io/scratch_folder.h"

#include <sys/mman.h>

/* Ends within a block, whatever its size. */
#define LANE_FILE  (((size_t)3 << 20) + 777)
#define EXTENT_MAX 24
#define GUARD      64u

static unsigned char *lane_bytes; /* what the file holds */

static int lane_make(void **state)
{
    if (scratch_folder_make(state))
        return -1;
    lane_bytes = malloc(LANE_FILE);
    random_state = 3;
    for (size_t i = 0; lane_bytes && i < LANE_FILE; i++)
        lane_bytes[i] = (unsigned char)(i % 4096 ? lane_bytes[i - 1] * 5 + i : random_next());
    if (!lane_bytes)
        return -1;
    put_file(in_scratch("lane"), lane_bytes, LANE_FILE);
    return 0;
}

static int lane_drop(void **state)
{
    free(lane_bytes);
    return scratch_folder_drop(state);
}

/* A file opened, and a lane to read it by. Stays where it was opened. */
typedef struct lane_trial {
    st_source *source;
    st_source_info info;
    void *mapping;
    st__route route;
    st__lane lane;
} lane_trial;

static inline st_status lane_open(lane_trial *t, const char *name, uint32_t io, st_context *context,
                                  st_error *error)
{
    const st_open_options options = {.context = context, .name = "lane"};
    io = io_here(io);
    st_status status = st_source_open(in_scratch(name), &options, &t->source, error);
    if (status != ST_OK)
        return status;
    t->mapping = NULL;
    if (io == ST_IO_MAP || io == ST_IO_POPULATE) {
        int fd = open(in_scratch(name), O_RDONLY);
        t->mapping = mmap(NULL, LANE_FILE, PROT_READ, MAP_SHARED, fd, 0);
        close(fd);
        assert_true(t->mapping != MAP_FAILED);
    }
    const st__wanted wanted = {
        .span = LANE_FILE, .size = LANE_FILE, .piece = LANE_FILE, .io = io, .memory = t->mapping};
    status = st__route_open(&t->route, t->source, context, &wanted, error);
    if (status == ST_OK)
        st__lane_init(&t->lane, &t->route);
    else
        st_source_release(t->source);
    return status;
}

static inline void lane_close(lane_trial *t)
{
    st__lane_release(&t->lane);
    st__route_close(&t->route);
    if (t->mapping)
        munmap(t->mapping, LANE_FILE);
    st_source_release(t->source);
}

/* ----------------------------------------------------------------------------------- extents */

typedef struct extent_list {
    size_t count;
    st__extent at[EXTENT_MAX];
    unsigned char *memory[EXTENT_MAX]; /* where each lies, with a guard to either side */
} extent_list;

/* Room for one, `ahead` bytes further than its offset modulo 4096. */
static inline void extent_add(extent_list *list, uint64_t offset, size_t size, size_t ahead)
{
    unsigned char *memory = malloc(size + 8192 + 2 * GUARD);
    assert_non_null(memory);
    size_t at = GUARD + (size_t)(offset + ahead - (uintptr_t)memory - GUARD) % 4096;
    memset(memory + at - GUARD, 0x5a, size + 2 * GUARD);
    list->memory[list->count] = memory;
    list->at[list->count++] = (st__extent){offset, memory + at, size};
}

/* Small and large ones, anywhere, of which about half lie as the file's pages do. */
static inline void extents_make(extent_list *list)
{
    static const size_t sizes[] = {2, 600, 5000, 70000, 300000, 2 << 20};
    list->count = 0;
    for (size_t i = 1 + random_below(EXTENT_MAX); i > 0; i--) {
        size_t size = (size_t)random_below(sizes[random_below(6)]);
        uint64_t offset = random_below(LANE_FILE - size + 1);
        if (random_below(3) == 0)
            offset &= ~UINT64_C(4095);
        if (random_below(5) == 0)
            offset = LANE_FILE - size;
        extent_add(list, offset, size, random_below(2) ? 0 : random_below(4096));
    }
}

static inline void extents_check(const extent_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const st__extent *e = &list->at[i];
        const unsigned char *data = e->data;
        assert_memory_equal(data, lane_bytes + e->offset, e->size);
        for (size_t k = 0; k < GUARD; k++) {
            assert_int_equal(data[-1 - (ptrdiff_t)k], 0x5a);
            assert_int_equal(data[e->size + k], 0x5a);
        }
    }
}

static inline void extents_drop(extent_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->memory[i]);
}

#endif
