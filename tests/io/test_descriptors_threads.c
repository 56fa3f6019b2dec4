/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that read more files than may be open. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "base/team.h"
#include "io/scratch_folder.h"
#include "io/source.h"
#include "support/random.h"

#include <stdatomic.h>
#include <unistd.h>

#define FILES   6
#define THREADS 4u
#define ROUNDS  400

typedef struct readers {
    st_context *context;
    st_source *sources[FILES];
    atomic_uint faults;
    atomic_uint workers;
} readers;

static bool reads_right(readers *r, int file)
{
    char got[8] = {0};
    return st_source_read(r->sources[file], 0, got, 8, NULL) == ST_OK && got[0] == 'a' + file &&
           got[7] == 'a' + file;
}

/* The descriptor is still this file's after others were opened. */
static bool holds_right(readers *r, int file, int other)
{
    int fd;
    char got = 0;
    if (st__source_hold(r->sources[file], &fd, NULL) != ST_OK)
        return false;
    bool right = reads_right(r, other);
    right = pread(fd, &got, 1, 3) == 1 && got == 'a' + file && right;
    st__source_let_go(r->sources[file]);
    return right;
}

static bool opens_right(readers *r, int file)
{
    char name[2] = {(char)('a' + file), '\0'}, path[256], got = 0;
    st_open_options options = {.context = r->context};
    st_source *source;
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    if (st_source_open(path, &options, &source, NULL) != ST_OK)
        return false;
    bool right = st_source_read(source, 2, &got, 1, NULL) == ST_OK && got == name[0];
    st_source_release(source);
    return right;
}

static void readers_run(void *ctx, uint32_t worker)
{
    readers *r = ctx;
    uint64_t state = worker;
    atomic_fetch_add(&r->workers, 1);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t n = random_step(&state);
        int file = (int)(n % FILES), other = (int)(n / FILES % FILES);
        bool right;
        switch (n >> 60) {
        case 0: right = opens_right(r, file); break;
        case 1:
        case 2: right = holds_right(r, file, other); break;
        default: right = reads_right(r, file); break;
        }
        if (!right)
            atomic_fetch_add(&r->faults, 1);
    }
}

static void test_threads(void **state)
{
    (void)state;
    unsigned before = count_descriptors();
    for (uint32_t limit = 1; limit <= FILES + 1; limit += 2) {
        readers r = {.faults = 0};
        st_context_options budgets = {.max_descriptors = limit, .max_threads = THREADS};
        CHECK_OK(st_context_new(&budgets, &r.context, &error));
        st_open_options options = {.context = r.context};
        for (int i = 0; i < FILES; i++) {
            char name[2] = {(char)('a' + i), '\0'}, text[9];
            memset(text, 'a' + i, 8);
            put_file(in_scratch(name), text, 8);
            CHECK_OK(st_source_open(in_scratch(name), &options, &r.sources[i], &error));
        }
        CHECK_OK(st__team_run(r.context, THREADS, readers_run, &r, &error));
        assert_int_equal(r.workers, THREADS);
        assert_int_equal(r.faults, 0);
        assert_in_range(count_descriptors(), before, before + limit);
        for (int i = 0; i < FILES; i++)
            st_source_release(r.sources[i]);
        assert_int_equal(count_descriptors(), before);
        st_context_release(r.context);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests_name("descriptors_threads", tests, scratch_folder_make,
                                       scratch_folder_drop);
}
