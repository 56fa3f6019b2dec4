/* SPDX-License-Identifier: Apache-2.0 */
/* Where the system has no more locks: nothing is left behind, and nothing goes on without one. */
#include "file/sample.h"
#include "file/settled.h"

#include "support/oom.h"

#include <pthread.h>

static unsigned locks_left;

/* In place of the C library's. */
int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    (void)attributes;
    if (locks_left == 0)
        return EAGAIN;
    locks_left--;
    *mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    return 0;
}

static void test_context(void **state)
{
    (void)state;
    st_context *context = NULL;
    locks_left = 0;
    CHECK_ERR_TEXT(st_context_new(NULL, &context, &error), ST_ERR_NOMEM, ST_NO_OFFSET,
                   "no more locks");
    assert_null(context);
}

/* The context's own, that of its descriptors, and that of its headers. */
static void test_open(void **state)
{
    (void)state;
    sample_file sample;
    sample_frame(&sample, SAMPLE_HEADER);
    sample_store(&sample);
    st__os_calls.fstat = settled_fstat;
    for (unsigned locks = 1; locks <= 3; locks++) {
        oom_allocator oom = {0};
        locks_left = locks;
        st_context *context = oom_context_new(&oom);
        st_open_options options = {.context = context};
        st_file *file = NULL;
        if (locks == 3)
            CHECK_OK(st_file_open(sample.path, &options, &file, &error));
        else
            CHECK_ERR(st_file_open(sample.path, &options, &file, &error), ST_ERR_NOMEM,
                      ST_NO_OFFSET);
        assert_int_equal(locks_left, 0);
        st_file_close(file);
        st_context_release(context);
        assert_int_equal(oom.blocks, 0);
    }
    assert_int_equal(unlink(sample.path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_open),
    };
    return cmocka_run_group_tests_name("locks", tests, NULL, NULL);
}
