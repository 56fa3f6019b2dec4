/* SPDX-License-Identifier: Apache-2.0 */
/* Two readings in lockstep: every block of both once, each beside the one that belongs to it, whatever the number of
 * threads, the memory, and the ways of reading. */
#include "base/error.h"
#include "file/file.h"
#include "support/check.h"
#include "support/oom.h"
#include "support/watched.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Elements of one byte in the first file, of two in the second: no whole number of blocks. */
#define COUNT  ((size_t)3 * 1000 * 1000 + 777)
#define BLOCK  ((uint64_t)16384)
#define BLOCKS (COUNT / BLOCK + 1)

static char paths[2][64];

static unsigned char byte_of(int side, size_t i)
{
    return (unsigned char)(i * 31 + i / 251 + i / 65521 + (size_t)side * 7);
}

static int files_make(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        char header[128];
        const size_t size = COUNT * (size_t)(side + 1);
        const int len =
            snprintf(header, sizeof header,
                     "{\"t\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}",
                     side ? "I16" : "U8", COUNT, size);
        const unsigned char prefix[8] = {(unsigned char)len};
        unsigned char *bytes = malloc(size);
        strcpy(paths[side], "/tmp/st_test_pair.XXXXXX");
        int fd = mkstemp(paths[side]);
        if (fd < 0 || !bytes)
            return -1;
        for (size_t i = 0; i < size; i++)
            bytes[i] = byte_of(side, i);
        bool put = write(fd, prefix, 8) == 8 && write(fd, header, (size_t)len) == len &&
                   write(fd, bytes, size) == (ssize_t)size;
        close(fd);
        free(bytes);
        if (!put)
            return -1;
    }
    return 0;
}

static int files_drop(void **state)
{
    (void)state;
    return unlink(paths[0]) | unlink(paths[1]);
}

typedef struct taken {
    atomic_uint seen[BLOCKS];
    atomic_uint wrong;
    uint64_t fail_at; /* a block; UINT64_MAX: none */
} taken;

static st_status take(void *ctx, uint32_t worker, uint64_t number, const st_bytes sides[2],
                      st_error *error)
{
    taken *t = ctx;
    (void)worker;
    const size_t rest = COUNT - number * BLOCK, count = rest < BLOCK ? rest : BLOCK;
    bool right = number < BLOCKS && sides[0].size == count && sides[1].size == 2 * count;
    for (int side = 0; right && side < 2; side++)
        for (size_t i = 0; i < sides[side].size; i++)
            right &= ((const unsigned char *)sides[side].data)[i] ==
                     byte_of(side, number * BLOCK * (size_t)(side + 1) + i);
    atomic_fetch_add(&t->wrong, !right);
    if (right)
        atomic_fetch_add(&t->seen[number], 1);
    if (number != t->fail_at)
        return ST_OK;
    if (error)
        *error = (st_error){.status = ST_ERR_INDEX, .offset = 5, .message = "my own"};
    return ST_ERR_INDEX;
}

static st_status scan(st_context *context, const uint32_t io[2], uint32_t threads, taken *t,
                      st_error *error)
{
    st_file *files[2];
    st__reading readings[2];
    st__reading *const both[2] = {&readings[0], &readings[1]};
    const st__pair_consumer consumer = {{BLOCK, 2 * BLOCK}, take, t};
    for (int side = 0; side < 2; side++) {
        const st_open_options options = {.context = context, .io = io_here(io[side])};
        ST_TRY(st_file_open(paths[side], &options, &files[side], NULL));
    }
    st_status status =
        st__reading_open(&readings[0], files[0], st_file_at(files[0], 0), NULL, error);
    if (status == ST_OK) {
        status = st__reading_open(&readings[1], files[1], st_file_at(files[1], 0), NULL, error);
        if (status == ST_OK) {
            const uint64_t sizes[2] = {BLOCK, 2 * BLOCK};
            assert_true(st__reading_pair_workers(both, sizes, 1000) >= 1);
            status = st__reading_scan_pair(both, threads, &consumer, error);
            status = st__reading_close(&readings[1], status, error);
        }
        status = st__reading_close(&readings[0], status, error);
    }
    st_file_close(files[0]);
    st_file_close(files[1]);
    return status;
}

static st_context *context_of(uint32_t threads, uint64_t memory)
{
    st_context *context;
    const st_context_options options = {.max_threads = threads, .max_memory = memory};
    CHECK_OK(st_context_new(&options, &context, &error));
    return context;
}

static void test_every_block_once(void **state)
{
    (void)state;
    static const uint32_t ways[][2] = {{ST_IO_PREAD, ST_IO_PREAD},
                                       {ST_IO_MAP, ST_IO_DIRECT},
                                       {ST_IO_DIRECT, ST_IO_URING},
                                       {ST_IO_POPULATE, ST_IO_DONTCACHE}};
    static const uint32_t threads[] = {1, 2, 7, 100};
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
        for (size_t k = 0; k < sizeof threads / sizeof *threads; k++) {
            static taken t;
            memset(&t, 0, sizeof t);
            t.fail_at = UINT64_MAX;
            st_context *context = context_of(8, k % 2 ? 1 : 0);
            CHECK_OK(scan(context, ways[w], threads[k], &t, &error));
            assert_int_equal(t.wrong, 0);
            for (size_t i = 0; i < BLOCKS; i++)
                assert_int_equal(t.seen[i], 1);
            st_context_release(context);
        }
}

/* The consumer's own failure comes through as it is, the lowest one. */
static void test_consumer_fails(void **state)
{
    (void)state;
    static const uint32_t way[2] = {ST_IO_PREAD, ST_IO_PREAD};
    static taken t;
    st_context *context = context_of(4, 0);
    for (uint32_t threads = 1; threads <= 4; threads += 3) {
        t.fail_at = 100;
        CHECK_ERR_TEXT(scan(context, way, threads, &t, &error), ST_ERR_INDEX, 5, "my own");
    }
    st_context_release(context);
}

static void test_no_memory(void **state)
{
    (void)state;
    static taken t;
    t.fail_at = UINT64_MAX;
    ST_OOM_LOOP(context, status)
    {
        st_file *probe;
        status = st_file_open(paths[0], &(st_open_options){.context = context}, &probe, NULL);
        if (status == ST_OK) {
            st__reading a, b;
            st__reading *const both[2] = {&a, &b};
            const st__pair_consumer consumer = {{BLOCK, BLOCK}, take, &t};
            status = st__reading_open(&a, probe, st_file_at(probe, 0), NULL, NULL);
            if (status == ST_OK) {
                status = st__reading_open(&b, probe, st_file_at(probe, 0), NULL, NULL);
                if (status == ST_OK) {
                    status = st__reading_scan_pair(both, 1, &consumer, NULL);
                    status = st__reading_close(&b, status, NULL);
                }
                status = st__reading_close(&a, status, NULL);
            }
            st_file_close(probe);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_block_once),
        cmocka_unit_test(test_consumer_fails),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, files_make, files_drop);
}
