/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that open and close the same few files, of whose headers two are kept. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "file/sample.h"
#include "file/settled.h"

#include "base/team.h"
#include "format/header.h"
#include "support/random.h"

#include <stdatomic.h>

#define FILES   4
#define THREADS 4u
#define ROUNDS  200

static sample_file samples[FILES];
static atomic_uint reads;

static ssize_t counted_preadv(int fd, const struct iovec *segments, int count, off_t offset)
{
    atomic_fetch_add(&reads, 1);
    return plain_preadv(fd, segments, count, offset);
}

static int samples_make(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; i++) {
        char header[128];
        snprintf(header, sizeof header,
                 "{\"n%d\":{\"dtype\":\"U8\",\"shape\":[4256],\"data_offsets\":[0,4256]}}", i);
        sample_frame(&samples[i], header);
        sample_store(&samples[i]);
    }
    calls_settle();
    st__os_calls.preadv = counted_preadv;
    return 0;
}

static int samples_drop(void **state)
{
    int failed = 0;
    (void)state;
    for (int i = 0; i < FILES; i++)
        failed |= unlink(samples[i].path);
    return failed;
}

typedef struct openers {
    st_context *context;
    atomic_uint faults;
} openers;

static bool opens_right(openers *o, int i, bool by_fd, bool keeps)
{
    char name[3] = {'n', (char)('0' + i), '\0'};
    unsigned char got[4256];
    st_open_options options = {.context = o->context};
    st_file *file;
    int fd = by_fd ? open(samples[i].path, O_RDONLY | O_CLOEXEC) : -1;
    st_status status = by_fd ? st_file_open_fd(fd, &options, &file, NULL)
                             : st_file_open(samples[i].path, &options, &file, NULL);
    if (by_fd)
        close(fd);
    if (status != ST_OK)
        return false;
    const st_tensor *tensor = st_file_find(file, name, 2);
    bool right = tensor && st_file_read(file, tensor, NULL, got, sizeof got, NULL) == ST_OK;
    for (size_t k = 0; right && k < sizeof got; k++)
        right = got[k] == sample_byte(k);
    st_header *header =
        keeps ? st_header_retain((st_header *)(uintptr_t)st_file_header(file)) : NULL;
    st_file_close(file);
    right = right && (!header || st_header_find(header, name, 2));
    st_header_release(header);
    return right;
}

static void openers_run(void *ctx, uint32_t worker)
{
    openers *o = ctx;
    uint64_t state = worker;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t n = random_step(&state);
        if (!opens_right(o, (int)(n % FILES), n >> 62 == 0, n >> 61 & 1))
            atomic_fetch_add(&o->faults, 1);
    }
}

static void test_threads(void **state)
{
    (void)state;
    st_file *file;
    CHECK_OK(st_file_open(samples[0].path, NULL, &file, &error));
    uint64_t one = st__header_memory(st_file_header(file));
    st_file_close(file);
    for (uint64_t kept = 0; kept <= 2; kept++) {
        openers o = {.faults = 0};
        st_context_options budgets = {.max_threads = THREADS,
                                      .max_descriptors = 2,
                                      .max_header_memory = kept ? one * (2 * kept + 1) / 2 : 0};
        CHECK_OK(st_context_new(&budgets, &o.context, &error));
        reads = 0;
        CHECK_OK(st__team_run(o.context, THREADS, openers_run, &o, &error));
        assert_int_equal(o.faults, 0);
        /* One read of each tensor, and of headers fewer, where all are kept few. */
        assert_true(reads >= THREADS * ROUNDS);
        if (kept == 0)
            assert_true(reads <= THREADS * ROUNDS + 2 * THREADS * FILES);
        st_context_release(o.context);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("header_cache_threads", tests, samples_make, samples_drop);
}
