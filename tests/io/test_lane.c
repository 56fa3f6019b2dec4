/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes over a file, by every strategy that this machine grants: the same bytes arrive, and nothing beside
 * them; a file that was cut off is told where; memory that runs out is told. */
#include "io/lane_sample.h"
#include "support/oom.h"

#include "io/os.h"

static const char *io_text(const lane_trial *t)
{
    return st_io_name(atomic_load(&((lane_trial *)(uintptr_t)t)->route.io));
}

static void test_same_bytes(void **state)
{
    (void)state;
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++) {
        lane_trial t;
        CHECK_OK(lane_open(&t, "lane", io, NULL, &error));
        random_state = 17;
        for (int round = 0; round < 60; round++) {
            extent_list list;
            extents_make(&list);
            CHECK_OK(st__lane_read(&t.lane, list.at, list.count, &error));
            extents_check(&list);
            extents_drop(&list);
        }
        print_message("%s: by %s\n", st_io_name(io), io_text(&t));
        if (io == ST_IO_PREAD || io == ST_IO_MAP || io == ST_IO_POPULATE)
            assert_string_equal(io_text(&t), st_io_name(io));
        lane_close(&t);
    }
}

/* One large extent at every distance from the file's pages near an unlucky one, and the whole file. */
static void test_phases(void **state)
{
    (void)state;
    static const size_t aheads[] = {0, 1, 7, 15, 16, 512, 4080, 4095};
    for (uint32_t io = ST_IO_PREAD; io <= ST_IO_POPULATE; io++)
        for (size_t i = 0; i < sizeof aheads / sizeof *aheads; i++) {
            lane_trial t;
            extent_list list = {.count = 0};
            CHECK_OK(lane_open(&t, "lane", io, NULL, &error));
            extent_add(&list, 0, LANE_FILE, aheads[i]);
            extent_add(&list, 4097, 2 << 20, aheads[i]);
            CHECK_OK(st__lane_read(&t.lane, list.at, list.count, &error));
            extents_check(&list);
            extents_drop(&list);
            lane_close(&t);
        }
}

/* Reads past the page cache leave nothing in it. */
static void test_past_the_cache(void **state)
{
    (void)state;
    int fd = open(in_scratch("lane"), O_RDWR);
    assert_int_equal(fsync(fd), 0);
    for (uint32_t io = ST_IO_DIRECT; io <= ST_IO_URING; io++) {
        lane_trial t;
        extent_list list = {.count = 0};
        uint64_t resident = 0;
        st__os_drop(fd, 0, 0);
        bool told = st__os_resident(fd, 0, LANE_FILE, &resident) == 0 && resident == 0;
        CHECK_OK(lane_open(&t, "lane", io, NULL, &error));
        extent_add(&list, 99, LANE_FILE - 99, 0);
        extent_add(&list, 99, LANE_FILE - 99, 8);
        CHECK_OK(st__lane_read(&t.lane, list.at, list.count, &error));
        extents_check(&list);
        if (told && t.route.direct_fd >= 0 && atomic_load(&t.route.io) == io) {
            assert_int_equal(st__os_resident(fd, 0, LANE_FILE, &resident), 0);
            assert_int_equal(resident, 0);
        }
        extents_drop(&list);
        lane_close(&t);
    }
    close(fd);
}

static void test_nothing(void **state)
{
    (void)state;
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++) {
        lane_trial t;
        const st__extent none[2] = {{0, NULL, 0}, {LANE_FILE + 9, NULL, 0}};
        CHECK_OK(lane_open(&t, "lane", io, NULL, &error));
        CHECK_OK(st__lane_read(&t.lane, none, 0, &error));
        CHECK_OK(st__lane_read(&t.lane, none, 2, &error));
        lane_close(&t);
    }
}

/* A file that was cut off after the opening: the byte where it ends is told, wherever that is. */
static void test_cut_off(void **state)
{
    (void)state;
    static const size_t ends[] = {
        0, 1, 512, 4095, 4096, 70000, 1 << 20, (3 << 20) + 5, LANE_FILE - 778, LANE_FILE - 1};
    static const uint32_t ios[] = {ST_IO_PREAD, ST_IO_DIRECT, ST_IO_URING, ST_IO_DONTCACHE};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
            for (size_t ahead = 0; ahead < 16; ahead += 8) {
                lane_trial t;
                extent_list list = {.count = 0};
                put_file(in_scratch("cut"), lane_bytes, LANE_FILE);
                CHECK_OK(lane_open(&t, "cut", ios[i], NULL, &error));
                assert_int_equal(truncate(in_scratch("cut"), (off_t)ends[k]), 0);
                extent_add(&list, 0, LANE_FILE, ahead);
                CHECK_ERR(st__lane_read(&t.lane, list.at, 1, &error), ST_ERR_SHORT_READ, ends[k]);
                assert_int_equal(st__lane_read(&t.lane, list.at, 1, NULL), ST_ERR_SHORT_READ);
                extents_drop(&list);
                lane_close(&t);
            }
}

static st_status read_with(st_context *context, uint32_t io, size_t ahead)
{
    lane_trial t;
    extent_list list = {.count = 0};
    extent_add(&list, 4096, 3000000, ahead);
    st_status status = lane_open(&t, "lane", io, context, NULL);
    if (status == ST_OK) {
        status = st__lane_read(&t.lane, list.at, 1, NULL);
        if (status == ST_OK)
            extents_check(&list);
        lane_close(&t);
    }
    extents_drop(&list);
    return status;
}

/* The lane's own memory: told where there is none. */
static void test_out_of_memory(void **state)
{
    (void)state;
    static const uint32_t ios[] = {ST_IO_PREAD, ST_IO_MAP, ST_IO_DONTCACHE, ST_IO_POPULATE};
    for (size_t i = 0; i < 4; i++)
        for (size_t ahead = 0; ahead < 16; ahead += 8) {
            ST_OOM_LOOP(context, status)
            {
                status = read_with(context, ios[i], ahead);
            }
        }
}

/* A ring for which there is no memory is replaced by something that takes less, and large blocks are then not kept
 * for the next lane; what cannot be done without is told. */
static void test_out_of_memory_direct(void **state)
{
    (void)state;
    for (uint32_t io = ST_IO_DIRECT; io <= ST_IO_URING; io++) {
        bool refused = true;
        for (uint64_t n = 1; refused; n++) {
            oom_allocator oom = {.fail_at = 0};
            st_context *context = oom_context_new(&oom);
            oom.fail_at = oom.calls + n;
            st_status status = read_with(context, io, 8);
            refused = oom.calls >= oom.fail_at;
            assert_true(status == ST_OK || (refused && status == ST_ERR_NOMEM));
            st_context_release(context);
            assert_int_equal(oom.outstanding, 0);
        }
    }
}

/* Whatever little may be taken: the block is the smaller, and the bytes are the same. */
static void test_little_memory(void **state)
{
    (void)state;
    static const uint64_t budgets[] = {1, 4096, 100000, 1 << 20, 3 << 20};
    for (uint32_t io = ST_IO_PREAD; io <= ST_IO_POPULATE; io++)
        for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
            const st_context_options options = {.max_memory = budgets[i], .max_threads = 4};
            st_context *context;
            lane_trial t;
            extent_list list = {.count = 0};
            CHECK_OK(st_context_new(&options, &context, &error));
            CHECK_OK(lane_open(&t, "lane", io, context, &error));
            extent_add(&list, 5, 2 << 20, 8);
            extent_add(&list, 99999, 99999, 99);
            CHECK_OK(st__lane_read(&t.lane, list.at, list.count, &error));
            extents_check(&list);
            assert_true(t.lane.block_size <= budgets[i] / 4 + (128u << 10));
            extents_drop(&list);
            lane_close(&t);
            st_context_release(context);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_past_the_cache),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_out_of_memory_direct),
        cmocka_unit_test(test_little_memory),
    };
    return cmocka_run_group_tests_name("lane", tests, lane_make, lane_drop);
}
