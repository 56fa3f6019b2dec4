/* SPDX-License-Identifier: Apache-2.0 */
/* A process that forks while other threads use a context: what the child finds of it. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "file/sample.h"
#include "file/settled.h"

#include "base/context.h"
#include "base/team.h"
#include "file/header_cache.h"
#include "io/pool.h"
#include "io/source.h"
#include "support/random.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define FILES   4
#define WORKERS 2u
#define THREADS 6u
#define FORKS   200
#define SLAB    ((size_t)1 << 20)
/* A child that waits for a lock does so for ever: it is ended. */
#define HANGS_AFTER_S 20u

static sample_file samples[FILES];

static int samples_make(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; i++) {
        sample_frame(&samples[i], SAMPLE_HEADER);
        sample_store(&samples[i]);
    }
    calls_settle();
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

typedef struct readers {
    st_context *context;
    st_file *files[FILES];
    atomic_bool ends;
    atomic_uint rounds;
    atomic_uint faults;
} readers;

static bool reads_right(const st_file *file)
{
    unsigned char got[4000];
    const st_tensor *tensor = st_file_find(file, "x", 1);
    bool right = tensor && st_file_read(file, tensor, NULL, got, sizeof got, NULL) == ST_OK;
    for (size_t k = 0; right && k < sizeof got; k++)
        right = got[k] == sample_byte(256 + k);
    return right;
}

static bool slab_works(st_context *context)
{
    st__slab slab;
    if (st__slab_take(context, SLAB, &slab, NULL) != ST_OK)
        return false;
    slab.data[0] = 1;
    st__slab_give(context, &slab);
    return true;
}

static bool opens_right(st_context *context, const char *path)
{
    st_open_options options = {.context = context};
    st_file *file;
    if (st_file_open(path, &options, &file, NULL) != ST_OK)
        return false;
    bool right = reads_right(file);
    st_file_close(file);
    return right;
}

/* Uses everything that has a lock. */
static void readers_run(void *ctx, uint32_t worker)
{
    readers *r = ctx;
    uint64_t state = worker;
    while (!atomic_load(&r->ends)) {
        uint64_t n = random_step(&state);
        bool right = reads_right(r->files[n % FILES]);
        right = opens_right(r->context, samples[n / FILES % FILES].path) && right;
        right = slab_works(r->context) && right;
        st__context_give_threads(r->context, st__context_take_threads(r->context, 1));
        atomic_fetch_add(&r->faults, !right);
        atomic_fetch_add(&r->rounds, 1);
    }
}

/* The child does the same, except for what takes memory of malloc: with a sanitizer's that is no child's right. If
 * all is well it kills itself, as valgrind looks at whatever else ends, and what the threads had in hand is lost. */
static int child_run(readers *r)
{
    alarm(HANGS_AFTER_S);
    bool right = true;
    for (int i = 0; i < FILES; i++) {
        right = reads_right(r->files[i]) && right;
        right = st__header_cache_may_have(r->context, samples[i].path) && right;
    }
    right = slab_works(r->context) && right;
    /* Nobody else is at work here. */
    right = st__context_take_threads(r->context, UINT32_MAX) == THREADS - 1 && right;
    return right ? raise(SIGKILL) : 1;
}

static void forks_right(readers *r)
{
    int status = -1;
    st_context_fork_begin(r->context);
    pid_t child = fork();
    st_context_fork_end(r->context, child == 0);
    if (child == 0)
        _exit(child_run(r));
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, SIGKILL); /* SIGALRM: it hung */
}

static void test_forks_while_threads_read(void **state)
{
    (void)state;
    static readers r; /* of threads that outlive a test that fails */
    static st__crew crew;
    st_context_options budgets = {.max_threads = THREADS, .max_descriptors = 2};
    CHECK_OK(st_context_new(&budgets, &r.context, &error));
    st_open_options options = {.context = r.context, .io = ST_IO_PREAD};
    for (int i = 0; i < FILES; i++)
        CHECK_OK(st_file_open(samples[i].path, &options, &r.files[i], &error));
    assert_true(slab_works(r.context));
    CHECK_OK(st__crew_start(&crew, r.context, WORKERS, readers_run, &r, &error));
    for (int i = 0; i < FORKS; i++)
        forks_right(&r);
    /* The parent goes on as before. */
    unsigned before = atomic_load(&r.rounds);
    while (crew.count && atomic_load(&r.rounds) <= before)
        ;
    /* Of its threads those of the crew are lent, and one of each of them may be. */
    uint32_t taken = st__context_take_threads(r.context, UINT32_MAX);
    assert_in_range(taken, THREADS - 1 - 2 * WORKERS, THREADS - 1 - WORKERS);
    st__context_give_threads(r.context, taken);
    atomic_store(&r.ends, true);
    st__crew_join(&crew);
    assert_int_equal(r.faults, 0);
    for (int i = 0; i < FILES; i++)
        st_file_close(r.files[i]);
    st_context_release(r.context);
}

/* The child of a process of which a thread was reading `held`, by `fd`. */
static int holding_child_run(st_source *held, st_source *other, int fd)
{
    unsigned char got[2];
    alarm(HANGS_AFTER_S);
    bool right = st_source_read(other, 8, got, 2, NULL) == ST_OK &&
                 memcmp(got, samples[1].bytes + 8, 2) == 0;
    right = st_source_read(held, 8, got, 2, NULL) == ST_OK && right;
    right = fcntl(fd, F_GETFD) >= 0 && right;
    st_source_release(other);
    st_source_release(held);
    return right && fcntl(fd, F_GETFD) < 0 ? 0 : 1;
}

/* What a thread held that the child has not stays open there, and goes with its source. */
static void test_held_at_a_fork(void **state)
{
    (void)state;
    int fd, status = -1;
    st_context *context;
    st_source *held, *other;
    st_context_options budgets = {.max_descriptors = 1};
    CHECK_OK(st_context_new(&budgets, &context, &error));
    st_open_options options = {.context = context};
    CHECK_OK(st_source_open(samples[0].path, &options, &held, &error));
    CHECK_OK(st_source_open(samples[1].path, &options, &other, &error));
    CHECK_OK(st__source_hold(held, &fd, &error));
    st_context_fork_begin(context);
    pid_t child = fork();
    st_context_fork_end(context, child == 0);
    if (child == 0)
        _exit(holding_child_run(held, other, fd));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    st__source_let_go(held);
    st_source_release(held);
    st_source_release(other);
    st_context_release(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forks_while_threads_read),
        cmocka_unit_test(test_held_at_a_fork),
    };
    return cmocka_run_group_tests_name("context_fork_threads", tests, samples_make, samples_drop);
}
