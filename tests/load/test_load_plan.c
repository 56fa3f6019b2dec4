/* SPDX-License-Identifier: Apache-2.0 */
/* Planning of loads: whatever is asked for, each byte of each item is delivered by one unit to its place, nothing
 * else is overwritten, and units, blocks and gaps keep within what they may be. */
#include "support/check.h"
#include "support/oom.h"
#include "support/random.h"

#include "load/load_plan.h"

#include <stdlib.h>
#include <string.h>

#define FILES  3u
#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)

/* Stands for a byte of a file. */
static unsigned char byte_of(uint32_t file, uint64_t offset)
{
    return (unsigned char)(offset * 7 + offset / 251 + file * 101);
}

static const st__load_facts plain = {
    .size = UINT64_MAX / 4, .gap = KIB(8), .unit = MIB(1), .stage = KIB(512), .align = 1};

/* One plan, and a count of what was written where. */
typedef struct trial {
    st__load_plan plan;
    st__load_facts facts[FILES];
    st__load_entry entries[600];
    unsigned char *blocks[4096];
    unsigned char *written[4096];
    bool begun[4096];
} trial;

static void trial_begin(trial *t, const st__load_facts *facts)
{
    memset(t, 0, sizeof *t);
    for (uint32_t i = 0; i < FILES; i++)
        t->facts[i] = *facts;
    t->plan.entries = t->entries;
    t->plan.files = t->facts;
    t->plan.file_count = FILES;
    t->plan.block_size = MIB(64);
}

static st__load_entry *trial_add(trial *t, uint64_t offset, uint64_t size)
{
    st__load_entry *entry = &t->entries[t->plan.count++];
    *entry = (st__load_entry){
        .offset = offset, .size = size, .align = 1, .block = ST__LOAD_NONE, .piece = 64};
    return entry;
}

static void trial_make(trial *t)
{
    CHECK_OK(st__load_plan_sort(&t->plan, &error));
    CHECK_OK(st__load_plan_make(&t->plan, &error));
    assert_true(t->plan.block_count <= 4096);
    for (uint32_t i = 0; i < t->plan.block_count; i++) {
        t->blocks[i] = calloc(1, (size_t)t->plan.blocks[i].size);
        t->written[i] = calloc(1, (size_t)t->plan.blocks[i].size);
    }
}

static void trial_end(trial *t)
{
    for (uint32_t i = 0; i < t->plan.block_count; i++) {
        free(t->blocks[i]);
        free(t->written[i]);
    }
    st__load_plan_release(&t->plan);
}

/* ------------------------------------------------------------------------------- carrying out */

static void byte_write(trial *t, uint32_t block, uint64_t place, unsigned char byte)
{
    if (place >= t->plan.blocks[block].size || t->written[block][place]++)
        fail_msg("block %u: byte %llu is written twice, or not there", block,
                 (unsigned long long)place);
    t->blocks[block][place] = byte;
}

static void entry_write(trial *t, const st__load_entry *entry, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        unsigned char byte = byte_of(entry->file, entry->offset + i);
        if (entry->dst)
            entry->dst[i] = byte;
        else
            byte_write(t, entry->block, entry->place + i, byte);
    }
}

static void unit_extents(trial *t, const st__load_unit *unit)
{
    uint64_t size = 0, unit_size = t->facts[unit->file].unit;
    assert_in_range(unit->extents, 1, ST__LOAD_EXTENTS);
    for (uint32_t i = 0; i < unit->extents; i++) {
        const st__load_extent *extent = &t->plan.extents[unit->extent + i];
        assert_true(extent->offset + extent->size <= t->facts[unit->file].size);
        for (uint64_t k = 0; k < extent->size; k++) {
            unsigned char byte = byte_of(unit->file, extent->offset + k);
            if (extent->dst)
                extent->dst[k] = byte;
            else
                byte_write(t, unit->block, extent->place + k, byte);
        }
        size += extent->size;
    }
    assert_true(size <= unit_size + unit_size / 4 + 65536);
}

static void unit_carry_out(trial *t, const st__load_unit *unit)
{
    const uint32_t *members = &t->plan.members[unit->member];
    assert_true(unit->count > 0);
    if (unit->kind == ST__LOAD_PLACED || unit->kind == ST__LOAD_SINGLE)
        unit_extents(t, unit);
    if (unit->kind == ST__LOAD_SMALL)
        assert_true(unit->to - unit->from <= t->facts[unit->file].stage);
    for (uint32_t i = 0; i < unit->count; i++) {
        st__load_entry *entry = &t->entries[members[i]];
        assert_int_equal(entry->kind, unit->kind);
        assert_int_equal(entry->file, unit->file);
        assert_true(entry->left-- > 0);
        if (!entry->dst && unit->kind != ST__LOAD_VIEW)
            assert_int_equal(entry->block, unit->block);
        if (unit->kind == ST__LOAD_SMALL) {
            assert_true(entry->offset >= unit->from && entry->offset + entry->size <= unit->to);
            entry_write(t, entry, 0, entry->size);
        } else if (unit->kind == ST__LOAD_STRIDED) {
            bool alone = unit->count == 1;
            entry_write(t, entry, alone ? unit->from : 0, alone ? unit->to : entry->size);
        }
    }
}

static void entry_check(const trial *t, const st__load_entry *entry)
{
    assert_int_equal(entry->left, 0);
    if (entry->size == 0 || entry->kind == ST__LOAD_VIEW)
        return;
    const unsigned char *data = entry->dst;
    if (!data) {
        assert_int_equal(entry->place % entry->align, 0);
        data = t->blocks[entry->block] + entry->place;
    }
    for (uint64_t i = 0; i < entry->size; i++)
        if (data[i] != byte_of(entry->file, entry->offset + i))
            fail_msg("byte %llu of %llu is wrong", (unsigned long long)i,
                     (unsigned long long)entry->size);
}

static void trial_check(trial *t)
{
    uint64_t at = 0;
    uint32_t file = 0, block = ST__LOAD_NONE;
    for (uint32_t i = 0; i < t->plan.unit_count; i++) {
        const st__load_unit *unit = &t->plan.units[i];
        assert_true(unit->file >= file); /* file by file, each from its start to its end */
        assert_true(unit->file > file || unit->at >= at || t->plan.bounded);
        file = unit->file;
        at = unit->at;
        if (t->plan.bounded && unit->block != ST__LOAD_NONE) { /* each block's in one go */
            assert_true(unit->block == block || !t->begun[unit->block]);
            block = unit->block;
            t->begun[block] = true;
        }
        unit_carry_out(t, unit);
    }
    for (uint32_t i = 0; i < t->plan.count; i++)
        entry_check(t, &t->entries[i]);
    for (uint32_t i = 0; i < t->plan.block_count; i++) {
        uint32_t items = 0;
        for (uint32_t k = 0; k < t->plan.count; k++)
            items += t->entries[k].block == i;
        assert_int_equal(t->plan.blocks[i].items, items);
        assert_true(items == 1 || t->plan.blocks[i].payload <= t->plan.block_size);
    }
}

/* ------------------------------------------------------------------------------------- tests */

static unsigned char dst_room[MIB(6)];

static void random_entries(trial *t, uint32_t count)
{
    uint64_t offset[FILES] = {64, 808, 65536};
    size_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t file = (uint32_t)random_below(FILES);
        uint64_t size = random_below(8) ? random_below(9000) : random_below(300000);
        uint64_t gap = random_below(4) ? random_below(2) * 3 : random_below(60000);
        st__load_entry *entry = trial_add(t, offset[file] + gap, size);
        entry->file = file;
        entry->align = (uint8_t)(1u << random_below(4));
        if (random_below(8) == 0)
            entry->kind = ST__LOAD_STRIDED;
        if (random_below(4) == 0 && used + size <= sizeof dst_room) {
            entry->dst = dst_room + used;
            used += (size_t)size;
        }
        if (random_below(16)) /* else the next begins where this one does */
            offset[file] += gap + size;
    }
}

static void test_everything_arrives(void **state)
{
    (void)state;
    static trial t;
    for (uint64_t seed = 1; seed <= 42; seed++) {
        random_state = seed;
        st__load_facts facts = plain;
        facts.gap = seed % 3 ? KIB(8) : KIB(100);
        facts.unit = seed % 2 ? KIB(64) : MIB(1);
        facts.stage = seed % 5 ? KIB(512) : KIB(4);
        facts.align = seed % 4 ? 1 : 512u << random_below(5);
        facts.views = seed % 7 == 0;
        facts.populates = seed % 14 == 0;
        trial_begin(&t, &facts);
        t.plan.bounded = seed % 6 == 0;
        t.plan.block_size = seed % 6 ? MIB(64) : 100 + random_below(100000);
        random_entries(&t, 120);
        trial_make(&t);
        trial_check(&t);
        trial_end(&t);
    }
}

/* Neighbours that are asked for in any order become one stretch of one block, cut at whole pages. */
static void test_neighbours_are_one(void **state)
{
    (void)state;
    static trial t;
    trial_begin(&t, &plain);
    for (uint32_t i = 0; i < 512; i++)
        trial_add(&t, 1000 + KIB(8) * ((i * 37) % 512), KIB(8))->align = 8;
    trial_make(&t);
    assert_int_equal(t.plan.block_count, 1);
    assert_int_equal(t.plan.unit_count, 4);
    assert_int_equal(t.plan.extent_count, 4);
    for (uint32_t i = 1; i < 4; i++) {
        assert_int_equal(t.plan.extents[i].offset % 65536, 0);
        assert_int_equal(t.plan.extents[i].offset,
                         t.plan.extents[i - 1].offset + t.plan.extents[i - 1].size);
    }
    /* In memory as in the file, so that pages and device blocks fall together. */
    assert_int_equal(t.plan.extents[0].place % 4096, 1000);
    trial_check(&t);
    trial_end(&t);
}

/* Direct reads begin and end at blocks of the device, inside the block of memory, and of the file. */
static void test_direct_takes_whole_blocks(void **state)
{
    (void)state;
    static trial t;
    st__load_facts facts = plain;
    facts.align = 4096;
    facts.size = 5000 + KIB(300) + 100;
    trial_begin(&t, &facts);
    trial_add(&t, 5000, KIB(300));
    trial_make(&t);
    assert_int_equal(t.plan.extent_count, 1);
    assert_int_equal(t.plan.extents[0].offset, 4096);
    assert_int_equal(t.plan.extents[0].size, facts.size - 4096);
    assert_int_equal(t.plan.extents[0].place % 4096, 0);
    trial_check(&t);
    trial_end(&t);
}

/* Gaps: small ones are read over in place, larger ones through staging, the largest not at all. */
static void test_gaps(void **state)
{
    (void)state;
    static trial t;
    st__load_facts facts = plain;
    facts.gap = KIB(64);
    trial_begin(&t, &facts);
    trial_add(&t, 0, KIB(4));
    trial_add(&t, KIB(6), KIB(4));   /* 2 KiB further */
    trial_add(&t, KIB(40), KIB(4));  /* 30 KiB */
    trial_add(&t, KIB(80), KIB(4));  /* 36 KiB */
    trial_add(&t, KIB(500), KIB(4)); /* 416 KiB */
    trial_make(&t);
    assert_int_equal(t.entries[1].kind, ST__LOAD_PLACED);
    assert_int_equal(t.entries[2].kind, ST__LOAD_SMALL);
    assert_int_equal(t.entries[3].kind, ST__LOAD_SMALL);
    assert_int_equal(t.entries[4].kind, ST__LOAD_PLACED);
    assert_int_equal(t.entries[1].place - t.entries[0].place, KIB(6));
    assert_int_equal(t.plan.extent_count, 2);
    trial_check(&t);
    trial_end(&t);
}

/* What would lie at a bad place for its type, and what shares bytes, is placed apart. */
static void test_apart(void **state)
{
    (void)state;
    static trial t;
    trial_begin(&t, &plain);
    trial_add(&t, 100, KIB(200))->align = 4;
    trial_add(&t, 100 + KIB(200), KIB(200))->align = 8; /* 204900 is no multiple of 8 */
    trial_add(&t, 100, KIB(200))->align = 4;
    trial_make(&t);
    assert_int_equal(t.entries[0].kind, ST__LOAD_PLACED);
    assert_int_equal(t.entries[1].kind, ST__LOAD_SINGLE);
    assert_int_equal(t.entries[2].kind, ST__LOAD_SINGLE);
    assert_int_equal(t.entries[1].place % 64, 0);
    assert_int_not_equal(t.entries[0].block, t.entries[1].block);
    trial_check(&t);
    trial_end(&t);
}

/* Blocks end where items do, and hold no more than they may, but for an item that is larger itself. */
static void test_blocks_are_bounded(void **state)
{
    (void)state;
    static trial t;
    trial_begin(&t, &plain);
    t.plan.block_size = KIB(100);
    for (uint32_t i = 0; i < 10; i++)
        trial_add(&t, i * KIB(40), KIB(40));
    trial_add(&t, KIB(400), KIB(900));
    trial_add(&t, KIB(1300), KIB(40));
    trial_make(&t);
    assert_int_equal(t.plan.block_count, 7);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(t.plan.blocks[i].payload, KIB(80));
    assert_int_equal(t.plan.blocks[5].payload, KIB(900));
    trial_check(&t);
    trial_end(&t);
}

static void test_nothing(void **state)
{
    (void)state;
    static trial t;
    trial_begin(&t, &plain);
    trial_make(&t);
    assert_int_equal(t.plan.unit_count, 0);
    trial_end(&t);
    trial_begin(&t, &plain);
    trial_add(&t, 0, 0);
    trial_make(&t);
    assert_int_equal(t.plan.unit_count + t.plan.block_count, 0);
    trial_end(&t);
}

/* Anything worse than n log n would show as a test that does not end. */
static void test_a_million(void **state)
{
    (void)state;
    enum { MANY = 1000000 };
    st__load_entry *entries = calloc(MANY, sizeof *entries);
    for (int scattered = 0; scattered < 3; scattered++) {
        st__load_plan plan = {.entries = entries,
                              .files = &plain,
                              .count = MANY,
                              .file_count = 1,
                              .block_size = MIB(64)};
        uint64_t distance = scattered == 2 ? KIB(512) : KIB(1);
        for (uint64_t i = 0; i < MANY; i++)
            entries[i] = (st__load_entry){.offset = (scattered ? i * 7919 % MANY : i) * distance,
                                          .size = KIB(1),
                                          .align = 4,
                                          .block = ST__LOAD_NONE};
        CHECK_OK(st__load_plan_sort(&plan, &error));
        CHECK_OK(st__load_plan_make(&plan, &error));
        assert_int_equal(plan.block_count, 16);
        uint32_t units = scattered == 2 ? (MANY + ST__LOAD_EXTENTS - 1) / ST__LOAD_EXTENTS : 976;
        assert_in_range(plan.unit_count, units, units + 16);
        for (uint32_t i = 0; i < MANY; i++)
            assert_in_range(entries[i].left, 1, 2);
        st__load_plan_release(&plan);
    }
    free(entries);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static trial t;
    ST_OOM_LOOP(context, status)
    {
        random_state = 5;
        trial_begin(&t, &plain);
        t.plan.context = context;
        random_entries(&t, 100);
        status = st__load_plan_sort(&t.plan, NULL);
        if (status == ST_OK)
            status = st__load_plan_make(&t.plan, NULL);
        st__load_plan_release(&t.plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_arrives),
        cmocka_unit_test(test_neighbours_are_one),
        cmocka_unit_test(test_direct_takes_whole_blocks),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_apart),
        cmocka_unit_test(test_blocks_are_bounded),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_a_million),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
