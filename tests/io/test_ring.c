/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of reads and writes: with the kernel's own, where this machine has it, and where it or what leads
 * there is refused. */
#include "support/check.h"
#include "support/oom.h"
#include "support/watched.h"

#include "io/os_faults.h"
#include "io/ring.h"
#include "io/scratch_folder.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define SIZE  ((size_t)1 << 20)
#define CHUNK 5000u

static unsigned char sample[SIZE];
static unsigned char room[SIZE];

static int folder_make(void **state)
{
    for (size_t i = 0; i < SIZE; i++)
        sample[i] = (unsigned char)(i * 17 + i / 253);
    if (scratch_folder_make(state) != 0)
        return -1;
    put_file(in_scratch("sample"), sample, SIZE);
    return 0;
}

static int restore(void **state)
{
    (void)state;
    st__os_calls = os_calls_planted;
    os_plant(OS_NONE, 0);
    return 0;
}

static int sample_open(void)
{
    int fd = -1;
    assert_int_equal(st__os_open(in_scratch("sample"), &fd), 0);
    return fd;
}

/* A ring, or the end of the test where there is nothing of the kind: no library or no such kernel. */
static st__ring *ring_open(uint32_t depth)
{
    st__ring *ring = NULL;
    int failed = under_valgrind() ? ENOSYS : st__ring_open(depth, NULL, &ring);
    if (failed) {
        assert_true(failed == ENOSYS || failed == EPERM || failed == ENOMEM);
        skip();
    }
    return ring;
}

static st__ring_request reading(int fd, uint64_t offset, size_t size)
{
    return (st__ring_request){fd, false, offset, room + offset, size, offset + 1};
}

/* Reads the whole file, in chunks, `depth` at a time; shortened ones are gone on with, and what failed is
 * tried once more. */
static void read_all(st__ring *ring, int fd, unsigned depth)
{
    size_t next = 0, arrived = 0, flying = 0;
    st__ring_done done[8] = {{0}};
    while (arrived < SIZE) {
        for (; flying < depth && next < SIZE; flying++, next += CHUNK) {
            st__ring_request request = reading(fd, next, SIZE - next < CHUNK ? SIZE - next : CHUNK);
            st__ring_add(ring, &request);
        }
        size_t count = 0;
        if (st__ring_wait(ring, done, 8, &count) != 0)
            continue;
        assert_in_range(count, 1, 8);
        for (size_t i = 0; i < count; i++, flying--) {
            /* The rest of a chunk ends where the next begins. */
            size_t at = (size_t)done[i].tag - 1 + done[i].done;
            size_t end = ((size_t)done[i].tag - 1) / CHUNK * CHUNK + CHUNK;
            end = end < SIZE ? end : SIZE;
            assert_true(done[i].failed == 0 || done[i].done == 0);
            arrived += done[i].done;
            if (at < end) {
                st__ring_request rest = reading(fd, at, end - at);
                st__ring_add(ring, &rest);
                flying++;
            }
        }
    }
    assert_int_equal(flying, 0);
}

static void check_read_all(st__ring *ring, int fd, unsigned depth)
{
    memset(room, 0, SIZE);
    read_all(ring, fd, depth);
    assert_memory_equal(room, sample, SIZE);
    size_t count = 7;
    st__ring_done done = {0};
    assert_int_equal(st__ring_wait(ring, &done, 1, &count), 0);
    assert_int_equal(count, 0);
}

static void test_reading(void **state)
{
    (void)state;
    static const uint32_t depths[] = {0, 1, 3, 4, 16, 64};
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        st__ring *ring = ring_open(depths[i]);
        int fd = sample_open();
        check_read_all(ring, fd, depths[i] ? depths[i] : 1);
        check_read_all(ring, fd, 1);
        st__ring_close(ring);
        close(fd);
    }
    st__ring_close(NULL);
}

/* Descriptors that do not wait for terminals and the like still wait for the disk. */
static void test_cold(void **state)
{
    (void)state;
    st__ring *ring = ring_open(16);
    int fd = open(in_scratch("sample"), O_RDWR | O_CLOEXEC);
    assert_int_equal(fsync(fd), 0);
    st__os_drop(fd, 0, 0);
    close(fd);
    fd = sample_open();
    check_read_all(ring, fd, 16);
    st__ring_close(ring);
    close(fd);
}

static void test_direct(void **state)
{
    (void)state;
    st__ring *ring = ring_open(4);
    static _Alignas(65536) unsigned char aligned[65536];
    int fd = sample_open(), direct = -1;
    uint32_t align = 0;
    size_t count = 0;
    st__ring_done done = {0};
    if (st__os_open_direct(fd, false, &direct, &align) == 0) {
        st__ring_request request = {direct, false, SIZE - 65536, aligned, 65536, 1};
        st__ring_add(ring, &request);
        assert_int_equal(st__ring_wait(ring, &done, 1, &count), 0);
        assert_int_equal(done.failed, 0);
        assert_int_equal(done.done, 65536);
        assert_memory_equal(aligned, sample + SIZE - 65536, 65536);
        /* What is not aligned is refused, and no more than that. */
        request = (st__ring_request){direct, false, 1, aligned + 1, 100, 2};
        st__ring_add(ring, &request);
        assert_int_equal(st__ring_wait(ring, &done, 1, &count), 0);
        assert_int_equal(done.tag, 2);
        assert_true(done.failed == EINVAL || (done.failed == 0 && done.done == 100));
        close(direct);
    }
    st__ring_close(ring);
    close(fd);
}

/* One request, and what became of it. */
static st__ring_done carry_out(st__ring *ring, const st__ring_request *request)
{
    st__ring_done done[2] = {{0}};
    size_t count = 0;
    st__ring_add(ring, request);
    assert_int_equal(st__ring_wait(ring, done, 2, &count), 0);
    assert_int_equal(count, 1);
    assert_true(done[0].tag == request->tag);
    return done[0];
}

static void check_done(st__ring *ring, const st__ring_request *request, int failed, size_t size)
{
    st__ring_done done = carry_out(ring, request);
    assert_int_equal(done.failed, failed);
    assert_int_equal(done.done, size);
}

static void test_ends_and_errors(void **state)
{
    (void)state;
    st__ring *ring = ring_open(2);
    int fd = sample_open();
    st__ring_request request = {fd, false, SIZE - 10, room, 100, UINT64_MAX};
    memset(room, 0, 100);
    check_done(ring, &request, 0, 10);
    assert_memory_equal(room, sample + SIZE - 10, 10);
    assert_int_equal(room[10], 0);
    request.offset = SIZE;
    check_done(ring, &request, 0, 0);
    request.offset = SIZE * 5;
    check_done(ring, &request, 0, 0);
    request.offset = 0;
    request.size = 0;
    check_done(ring, &request, 0, 0);
    request.size = 100;
    request.tag = 0;
    /* Not, as the kernel takes -1, from the descriptor's position. */
    request.offset = UINT64_MAX;
    st__ring_done done = carry_out(ring, &request);
    assert_int_equal(done.done, 0);
    request.offset = 0;
    request.write = true; /* it is open for reading */
    check_done(ring, &request, EBADF, 0);
    request.write = false;
    request.data = NULL;
    check_done(ring, &request, EFAULT, 0);
    request.data = room;
    close(fd);
    check_done(ring, &request, EBADF, 0);
    request.fd = -1;
    check_done(ring, &request, EBADF, 0);
    st__ring_close(ring);
}

static void test_writing(void **state)
{
    (void)state;
    st__ring *ring = ring_open(4);
    int fd = open(in_scratch("written"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t count = 0, arrived = 0;
    st__ring_done done[4] = {{0}};
    for (unsigned i = 0; i < 4; i++) {
        st__ring_request request = {fd, true, i * 3000u, sample + i * 3000u, 3000, i};
        st__ring_add(ring, &request);
    }
    assert_int_equal(st__ring_submit(ring), 0);
    assert_int_equal(st__ring_submit(ring), 0);
    for (; arrived < 4; arrived += count) {
        assert_int_equal(st__ring_wait(ring, done, 4, &count), 0);
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++)
            assert_true(done[i].failed == 0 && done[i].done == 3000);
    }
    st__ring_close(ring);
    close(fd);
    assert_true(file_is(in_scratch("written"), sample, 12000));
}

/* -------------------------------------------------------------------------- while it runs */

typedef struct pipe_writer {
    int waits_for, writes_to;
} pipe_writer;

static void *pipe_write(void *arg)
{
    pipe_writer *writer = arg;
    char byte;
    assert_int_equal(read(writer->waits_for, &byte, 1), 1);
    assert_int_equal(write(writer->writes_to, sample, 4), 4);
    return NULL;
}

/* The memory is the caller's again once the ring is closed: nothing may be on its way there. */
static void test_closing_waits(void **state)
{
    (void)state;
    st__ring *ring = ring_open(4);
    int ends[2], told[2];
    pthread_t thread;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pipe(told), 0);
    pipe_writer writer = {told[0], ends[1]};
    assert_int_equal(pthread_create(&thread, NULL, pipe_write, &writer), 0);
    st__ring_request request = {ends[0], false, 0, room, 4, 1};
    memset(room, 0, 4);
    st__ring_add(ring, &request);
    assert_int_equal(st__ring_submit(ring), 0);
    /* What is only added has not begun, and never will. */
    request.data = room + 4;
    st__ring_add(ring, &request);
    assert_int_equal(write(told[1], "x", 1), 1);
    st__ring_close(ring);
    assert_memory_equal(room, sample, 4);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(told[i]);
    }
}

static void test_closing_unsubmitted(void **state)
{
    (void)state;
    st__ring *ring = ring_open(4);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    st__ring_request request = {ends[0], false, 0, room, 4, 1};
    st__ring_add(ring, &request);
    st__ring_close(ring); /* and does not wait for a writer */
    close(ends[0]);
    close(ends[1]);
}

/* Room for fewer than are done. */
static void test_small_room(void **state)
{
    (void)state;
    st__ring *ring = ring_open(32);
    int fd = sample_open();
    uint64_t seen = 0;
    st__ring_done done[3] = {{0}};
    for (unsigned i = 0; i < 32; i++) {
        st__ring_request request = {fd, false, i, room + i, 1, i};
        st__ring_add(ring, &request);
    }
    for (size_t count = 0, arrived = 0; arrived < 32; arrived += count) {
        assert_int_equal(st__ring_wait(ring, done, 3, &count), 0);
        assert_in_range(count, 1, 3);
        for (size_t i = 0; i < count; i++)
            seen |= (uint64_t)1 << done[i].tag;
    }
    assert_int_equal(seen, UINT32_MAX);
    assert_memory_equal(room, sample, 32);
    size_t count = 7;
    assert_int_equal(st__ring_wait(ring, done, 0, &count), 0);
    assert_int_equal(count, 0);
    st__ring_close(ring);
    close(fd);
}

/* ------------------------------------------------------------------------------- refusals */

static void test_too_deep(void **state)
{
    (void)state;
    st__ring_close(ring_open(1));
    st__ring *ring = NULL;
    assert_int_equal(st__ring_open(1u << 20, NULL, &ring), EINVAL);
    assert_null(ring);
}

/* Refuses io_uring_setup to this process, as container engines do. */
static bool sandbox_enter(int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 425, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void test_sandbox(void **state)
{
    (void)state;
    static const int errors[] = {EPERM, ENOSYS, EACCES};
    st__ring_close(ring_open(1));
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        int status = -1;
        pid_t pid = fork();
        if (pid == 0) {
            st__ring *ring = NULL;
            if (!sandbox_enter(errors[i]))
                _exit(2);
            int failed = st__ring_open(16, NULL, &ring);
            _exit(failed == errors[i] && !ring ? 0 : 1);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 2)
            skip();
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

#if defined(ST_LIBURING)

static void *no_dlopen(const char *library, int flags)
{
    (void)flags;
    assert_string_equal(library, "liburing.so.2");
    return NULL;
}

static void test_no_library(void **state)
{
    (void)state;
    st__ring *ring = NULL;
    st__os_calls.dlopen = no_dlopen;
    assert_int_equal(st__ring_open(16, NULL, &ring), ENOSYS);
    assert_null(ring);
}

/* Flags that this kernel is too old for, and a kernel too old for the reads. */
static unsigned told_calls, told_features;

static int choosy_init(unsigned entries, struct io_uring *ring, struct io_uring_params *params)
{
    told_calls++;
    if (params->flags != 0)
        return -EINVAL;
    int result = os_uring.init(entries, ring, params);
    params->features &= told_features;
    return result;
}

static void *choosy_dlsym(void *library, const char *name)
{
    void *found = os_calls_planted.dlsym(library, name);
    return strcmp(name, "io_uring_queue_init_params") ? found : (void *)(uintptr_t)choosy_init;
}

static void test_old_kernels(void **state)
{
    (void)state;
    st__ring_close(ring_open(1));
    st__os_calls.dlsym = choosy_dlsym;
    told_calls = 0;
    told_features = ~0u;
    st__ring *ring = ring_open(4);
    assert_int_equal(told_calls, 2);
    int fd = sample_open();
    check_read_all(ring, fd, 4);
    st__ring_close(ring);
    close(fd);
    unsigned before = count_descriptors();
    told_features = ~(unsigned)IORING_FEAT_EXT_ARG;
    assert_int_equal(st__ring_open(4, NULL, &ring), ENOSYS);
    assert_int_equal(count_descriptors(), before);
}

/* Each call in turn fails: opening tells, and all else can be gone on with. */
static void test_faults(void **state)
{
    (void)state;
    static const struct {
        os_fault fault;
        int error;
    } kinds[] = {{OS_EIO, EIO},    {OS_EIO, EAGAIN}, {OS_EIO, EBUSY},
                 {OS_EIO, ENOMEM}, {OS_EINTR, 0},    {OS_SHORT, 0}};
    st__ring_close(ring_open(1));
    int fd = sample_open();
    unsigned before = count_descriptors();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bool hit = true;
        for (unsigned at = 1; hit && at < 40; at++) {
            st__ring *ring = NULL;
            os_plant(kinds[i].fault, at);
            os_state.error = kinds[i].error;
            int failed = st__ring_open(16, NULL, &ring);
            if (failed) {
                assert_true(os_state.hit && kinds[i].fault == OS_EIO);
                assert_true(failed == ENOSYS || failed == kinds[i].error);
                assert_null(ring);
            } else {
                check_read_all(ring, fd, 16);
                st__ring_close(ring);
            }
            hit = os_state.hit;
            assert_int_equal(count_descriptors(), before);
        }
    }
    close(fd);
}

/* What failed to be waited for is still on its way. */
static void test_wait_fails(void **state)
{
    (void)state;
    st__ring *ring = ring_open(4);
    int fd = sample_open();
    size_t count = 7;
    st__ring_done done = {0};
    st__ring_request request = reading(fd, 0, 100);
    memset(room, 0, 100);
    st__ring_add(ring, &request);
    os_plant(OS_EIO, 1);
    assert_int_equal(st__ring_submit(ring), EIO);
    os_plant_errno(ENOMEM, 1);
    assert_int_equal(st__ring_wait(ring, &done, 1, &count), ENOMEM);
    assert_int_equal(count, 0);
    os_plant(OS_EINTR, 1);
    assert_int_equal(st__ring_submit(ring), 0);
    assert_true(os_state.hit);
    os_plant(OS_NONE, 0);
    assert_int_equal(st__ring_wait(ring, &done, 1, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(done.done, 100);
    assert_memory_equal(room, sample, 100);
    st__ring_close(ring);
    close(fd);
}

# define LARGE ((size_t)1 << 20)

/* Reads as much past the page cache, behind whatever is still on its way from the same disk. */
static void large_read(int fd, unsigned count)
{
    void *memory = NULL;
    assert_int_equal(posix_memalign(&memory, 4096, LARGE), 0);
    for (unsigned i = 0; i < count; i++)
        assert_true(pread(fd, memory, LARGE, (off_t)(i * LARGE)) == (ssize_t)LARGE);
    free(memory);
}

/* A ring that cannot be waited for, with reads that the disk has begun: once it is closed, however that comes about,
 * nothing arrives any more where they were to land. */
static void test_closing_settles(void **state)
{
    (void)state;
    enum { READS = 16 };
    unsigned char *memory = NULL;
    int fd = open(in_scratch("large"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), direct = -1;
    uint32_t align = 0;
    st__ring_close(ring_open(1));
    for (unsigned i = 0; i < READS; i++)
        assert_int_equal(pwrite(fd, sample, LARGE, (off_t)(i * LARGE)), LARGE);
    assert_int_equal(fsync(fd), 0);
    if (st__os_open_direct(fd, false, &direct, &align) != 0)
        skip();
    assert_int_equal(posix_memalign((void **)&memory, 65536, READS * LARGE), 0);
    unsigned before = count_descriptors();
    static const int errors[] = {ETIME, EIO, EBADF, EBADR};
    for (size_t k = 0; k < sizeof errors / sizeof *errors; k++) {
        st__ring_done done;
        size_t count = 7;
        os_plant_stall(errors[k]);
        st__ring *ring = ring_open(READS);
        for (unsigned i = 0; i < READS; i++) {
            st__ring_request request = {direct, false, i * LARGE, memory + i * LARGE, LARGE, i};
            st__ring_add(ring, &request);
        }
        int failed = st__ring_wait(ring, &done, 1, &count);
        int expected = errors[k] == ETIME ? ETIMEDOUT : errors[k];
        assert_int_equal(failed, os_state.hit ? expected : 0);
        assert_int_equal(count, os_state.hit ? 0 : 1);
        st__ring_close(ring);
        memset(memory, 0x5a, READS * LARGE);
        large_read(direct, READS);
        for (size_t i = 0; i < READS * LARGE; i++)
            assert_int_equal(memory[i], 0x5a);
        assert_int_equal(count_descriptors(), before);
    }
    free(memory);
    close(direct);
    close(fd);
}

/* What nothing has begun yet is given up, and not waited for. */
static void test_closing_gives_up(void **state)
{
    (void)state;
    int ends[2], waiting = 0;
    size_t count = 7;
    st__ring_done done;
    st__ring_close(ring_open(1));
    assert_int_equal(pipe(ends), 0);
    os_plant_stall(ETIME);
    st__ring *ring = ring_open(4);
    st__ring_request request = {ends[0], false, 0, room, 4, 1};
    memset(room, 0, 4);
    st__ring_add(ring, &request);
    assert_int_equal(st__ring_wait(ring, &done, 1, &count), ETIMEDOUT);
    assert_int_equal(count, 0);
    st__ring_close(ring);
    assert_int_equal(write(ends[1], sample, 4), 4);
    assert_int_equal(ioctl(ends[0], FIONREAD, &waiting), 0);
    assert_int_equal(waiting, 4);
    assert_int_equal(room[0] | room[1] | room[2] | room[3], 0);
    close(ends[0]);
    close(ends[1]);
}

/* No more can be started while a read of an empty pipe is out: the wait is for that one. */
static void test_wait_while_short(void **state)
{
    (void)state;
    st__ring *ring = ring_open(4);
    int ends[2], told[2];
    size_t count = 0;
    pthread_t thread;
    st__ring_done done = {0};
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pipe(told), 0);
    pipe_writer writer = {told[0], ends[1]};
    assert_int_equal(pthread_create(&thread, NULL, pipe_write, &writer), 0);
    st__ring_request request = {ends[0], false, 0, room, 4, 1};
    st__ring_add(ring, &request);
    assert_int_equal(st__ring_submit(ring), 0);
    request = (st__ring_request){ends[0], false, 0, room + 4, 4, 2};
    st__ring_add(ring, &request);
    os_plant_errno(EBUSY, 1);
    assert_int_equal(write(told[1], "x", 1), 1);
    assert_int_equal(st__ring_wait(ring, &done, 1, &count), 0);
    assert_true(os_state.hit);
    assert_int_equal(count, 1);
    assert_int_equal(done.tag, 1);
    assert_memory_equal(room, sample, 4);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(write(ends[1], sample + 4, 4), 4);
    assert_int_equal(st__ring_wait(ring, &done, 1, &count), 0);
    assert_int_equal(done.tag, 2);
    assert_memory_equal(room, sample, 8);
    st__ring_close(ring);
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(told[i]);
    }
}

#endif

static void test_memory(void **state)
{
    (void)state;
    st__ring_close(ring_open(1));
    ST_OOM_LOOP(context, status)
    {
        st__ring *ring = NULL;
        int failed = st__ring_open(8, context, &ring);
        assert_true(failed == 0 || failed == ENOMEM);
        status = failed ? ST_ERR_NOMEM : ST_OK;
        st__ring_close(ring);
    }
}

/* Without the header, a library or a kernel for it. */
static void test_absent(void **state)
{
    (void)state;
#if !defined(ST_LIBURING)
    st__ring *ring = NULL;
    st__ring_done done = {0};
    size_t count = 7;
    assert_int_equal(st__ring_open(8, NULL, &ring), ENOSYS);
    assert_null(ring);
    st__ring_add(ring, &(st__ring_request){0});
    assert_int_equal(st__ring_submit(ring), ENOSYS);
    assert_int_equal(st__ring_wait(ring, &done, 1, &count), ENOSYS);
    assert_int_equal(count, 0);
    st__ring_close(ring);
#else
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_reading, restore),
        cmocka_unit_test_teardown(test_cold, restore),
        cmocka_unit_test_teardown(test_direct, restore),
        cmocka_unit_test_teardown(test_ends_and_errors, restore),
        cmocka_unit_test_teardown(test_writing, restore),
        cmocka_unit_test_teardown(test_closing_waits, restore),
        cmocka_unit_test_teardown(test_closing_unsubmitted, restore),
        cmocka_unit_test_teardown(test_small_room, restore),
        cmocka_unit_test_teardown(test_too_deep, restore),
        cmocka_unit_test_teardown(test_sandbox, restore),
#if defined(ST_LIBURING)
        cmocka_unit_test_teardown(test_no_library, restore),
        cmocka_unit_test_teardown(test_old_kernels, restore),
        cmocka_unit_test_teardown(test_faults, restore),
        cmocka_unit_test_teardown(test_wait_fails, restore),
        cmocka_unit_test_teardown(test_wait_while_short, restore),
        cmocka_unit_test_teardown(test_closing_settles, restore),
        cmocka_unit_test_teardown(test_closing_gives_up, restore),
#endif
        cmocka_unit_test_teardown(test_memory, restore),
        cmocka_unit_test_teardown(test_absent, restore),
    };
    return cmocka_run_group_tests(tests, folder_make, scratch_folder_drop);
}
