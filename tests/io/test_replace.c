/* SPDX-License-Identifier: Apache-2.0 */
/* Saving to a path: what is there afterwards, whatever was there before. */
#include "io/replacing.h"

#include <pthread.h>
#include <sys/un.h>

/* ------------------------------------------------------------------------ what is there */

static void test_fresh_and_over(void **state)
{
    (void)state;
    for (uint32_t durability = ST_DURABLE_NAME; durability <= ST_DURABLE_NONE; durability++) {
        for (int unnamed = 0; unnamed < 2; unnamed++) {
            st_sink_options options = {.durability = durability};
            const char *path = in_scratch("file");
            unsigned before = count_descriptors();
            unnamed_allow(unnamed);
            CHECK_OK(save_new(path, &options, &error));
            assert_true(is_new(path));
            put_old(path);
            CHECK_OK(save_new(path, &options, &error));
            assert_true(is_new(path));
            assert_int_equal(count_in_scratch(), 1);
            assert_int_equal(count_descriptors(), before);
            unlink(path);
        }
    }
}

/* Nothing is to be seen of it before the end, and nothing stays of what was given up. */
static void test_discarded(void **state)
{
    (void)state;
    for (int unnamed = 0; unnamed < 2; unnamed++) {
        st_sink *sink;
        unsigned before = count_descriptors();
        const char *path = in_scratch("file");
        unnamed_allow(unnamed);
        put_old(path);
        for (int stage = 0; stage < 2; stage++) {
            CHECK_OK(st_sink_open(path, NULL, &sink, &error));
            assert_string_equal(st_sink_name(sink), path);
            if (stage)
                CHECK_OK(sink_fill(sink, new_bytes, new_size, &error));
            assert_true(is_old(path));
            st_sink_release(sink);
            assert_true(is_old(path));
            assert_int_equal(count_in_scratch(), 1);
        }
        unlink(path);
        CHECK_OK(st_sink_open(path, NULL, &sink, &error));
        st_sink_release(sink);
        assert_int_equal(count_in_scratch(), 0);
        assert_int_equal(count_descriptors(), before);
    }
}

static void test_mapped(void **state)
{
    (void)state;
    const char *path = in_scratch("file"), *link_path = in_scratch("hard");
    put_old(path);
    assert_int_equal(link(path, link_path), 0);
    int fd = open(path, O_RDONLY);
    void *map = mmap(NULL, sizeof old_bytes, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED);
    CHECK_OK(save_new(path, NULL, &error));
    assert_memory_equal(map, old_bytes, sizeof old_bytes);
    munmap(map, sizeof old_bytes);
    close(fd);
    assert_true(is_new(path));
    assert_true(is_old(link_path));
}

/* The directory is held: neither a change of the working directory nor another name for it matters. */
static void test_relative(void **state)
{
    (void)state;
    st_sink *sink;
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(mkdir(in_scratch("a"), 0755), 0);
    assert_int_equal(chdir(in_scratch("a")), 0);
    CHECK_OK(st_sink_open("file", NULL, &sink, &error));
    assert_int_equal(chdir(here), 0);
    assert_int_equal(rename(in_scratch("a"), in_scratch("b")), 0);
    CHECK_OK(sink_fill(sink, new_bytes, new_size, &error));
    CHECK_OK(st__sink_finish(sink, &error));
    st_sink_release(sink);
    assert_true(is_new(in_scratch("b/file")));
}

static void test_only_new(void **state)
{
    (void)state;
    const st_sink_options only_new = {.flags = ST_SINK_NEW};
    const char *path = in_scratch("file");
    for (int unnamed = 0; unnamed < 2; unnamed++) {
        st_sink *sink;
        unnamed_allow(unnamed);
        CHECK_OK(save_new(path, &only_new, &error));
        assert_true(is_new(path));
        CHECK_REFUSED(path, &only_new, EEXIST);
        unlink(path);
        assert_int_equal(symlink("nowhere", path), 0);
        CHECK_REFUSED(path, &only_new, EEXIST);
        unlink(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        CHECK_REFUSED(path, &only_new, EEXIST);
        unlink(path);
        /* Somebody else is quicker. */
        CHECK_OK(st_sink_open(path, &only_new, &sink, &error));
        CHECK_OK(sink_fill(sink, new_bytes, new_size, &error));
        put_old(path);
        st_error said = {0};
        assert_int_equal(st__sink_finish(sink, &said), ST_ERR_IO);
        assert_int_equal(said.sys_errno, EEXIST);
        st_sink_release(sink);
        assert_true(is_old(path));
        assert_int_equal(count_in_scratch(), 1);
        /* Without the flag the last one stays. */
        unlink(path);
        CHECK_OK(st_sink_open(path, NULL, &sink, &error));
        CHECK_OK(sink_fill(sink, new_bytes, new_size, &error));
        put_old(path);
        CHECK_OK(st__sink_finish(sink, &error));
        st_sink_release(sink);
        assert_true(is_new(path));
        assert_int_equal(count_in_scratch(), 1);
        unlink(path);
    }
}

/* Only the last component may be missing; and a file takes no directory's place. */
static void test_refused(void **state)
{
    (void)state;
    char name[400];
    put_old(in_scratch("file"));
    CHECK_REFUSED(scratch, NULL, EISDIR);
    CHECK_REFUSED(in_scratch("."), NULL, EISDIR);
    CHECK_REFUSED(in_scratch("new/"), NULL, EISDIR);
    CHECK_REFUSED(in_scratch("file/"), NULL, ENOTDIR);
    CHECK_REFUSED(in_scratch("file/new"), NULL, ENOTDIR);
    CHECK_REFUSED(in_scratch("none/new"), NULL, ENOENT);
    CHECK_REFUSED("", NULL, ENOENT);
    memset(name, 'n', sizeof name);
    name[300] = '\0';
    CHECK_REFUSED(in_scratch(name), NULL, ENAMETOOLONG);
    CHECK_REFUSED(in_scratch("none/new"), &(st_sink_options){.name = "given"}, ENOENT);

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    st_sink *sink;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", in_scratch("socket"));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_ERR_TEXT(st_sink_open(in_scratch("socket"), NULL, &sink, &error), ST_ERR_NOT_REGULAR,
                   ST_NO_OFFSET, "is a socket");
    close(s);
}

/* Names up to the file system's limit, cut where a character ends. */
static void test_long_names(void **state)
{
    (void)state;
    char name[256];
    for (size_t len = 225; len <= 255; len += 2) {
        memset(name, 'x', sizeof name);
        for (size_t i = len % 3; i + 1 < len; i += 2)
            memcpy(name + i, "\xc3\xa4", 2);
        name[len] = '\0';
        for (int unnamed = 0; unnamed < 2; unnamed++) {
            unnamed_allow(unnamed);
            put_old(in_scratch(name));
            CHECK_OK(save_new(in_scratch(name), NULL, &error));
            assert_true(is_new(in_scratch(name)));
        }
        unlink(in_scratch(name));
    }
    assert_int_equal(count_in_scratch(), 0);
}

static char seen_names[4][300];
static unsigned seen_count;

/* The first two names are taken, and the system has no room for the third. */
static int taken(int directory, const char *path, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) != O_TMPFILE && (flags & O_CREAT) && seen_count < 4) {
        snprintf(seen_names[seen_count++], sizeof seen_names[0], "%s", path);
        if (seen_count < 4) {
            errno = seen_count < 3 ? EEXIST : ENAMETOOLONG;
            return -1;
        }
    }
    return picky_openat(directory, path, flags, mode);
}

static void test_temporary_names(void **state)
{
    (void)state;
    const char *name = "a-name-of-more-than-32-bytes-in-all.safetensors";
    seen_count = 0;
    unnamed_refused = true;
    st__os_calls.openat = taken;
    CHECK_OK(save_new(in_scratch(name), NULL, &error));
    assert_int_equal(seen_count, 4);
    assert_string_not_equal(seen_names[0], seen_names[1]);
    assert_true(strncmp(seen_names[0] + 1, name, strlen(name)) == 0 && seen_names[0][0] == '.');
    assert_int_equal(strlen(seen_names[3]), strlen(seen_names[0]) - strlen(name) + 32);
    assert_true(is_new(in_scratch(name)));
    assert_int_equal(count_in_scratch(), 1);
}

/* ------------------------------------------------------------------------------- links */

static void test_links(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_scratch("a"), 0755), 0);
    assert_int_equal(mkdir(in_scratch("b"), 0755), 0);
    put_old(in_scratch("b/target"));
    assert_int_equal(symlink("../b/target", in_scratch("a/second")), 0);
    assert_int_equal(symlink(in_scratch("a/second"), in_scratch("first")), 0);
    CHECK_OK(save_new(in_scratch("first"), NULL, &error));
    assert_true(is_new(in_scratch("b/target")));
    assert_true(S_ISREG(stat_of(in_scratch("b/target")).st_mode));
    assert_true(S_ISLNK(stat_of(in_scratch("a/second")).st_mode));
    assert_true(S_ISLNK(stat_of(in_scratch("first")).st_mode));
    /* Nothing there yet. */
    assert_int_equal(symlink("b/new", in_scratch("dangling")), 0);
    CHECK_OK(save_new(in_scratch("dangling"), NULL, &error));
    assert_true(is_new(in_scratch("b/new")));
    assert_true(S_ISLNK(stat_of(in_scratch("dangling")).st_mode));
    assert_int_equal(symlink("none/new", in_scratch("lost")), 0);
    CHECK_REFUSED(in_scratch("lost"), NULL, ENOENT);
    assert_int_equal(symlink("round", in_scratch("about")), 0);
    assert_int_equal(symlink("about", in_scratch("round")), 0);
    CHECK_REFUSED(in_scratch("about"), NULL, ELOOP);
    assert_int_equal(symlink("a", in_scratch("folder")), 0);
    CHECK_REFUSED(in_scratch("folder"), NULL, EISDIR);
}

static int link_depth;

/* Links that the kernel said nothing of, for ever. */
static ssize_t endless(int directory, const char *path, char *out, size_t size)
{
    (void)directory;
    (void)path;
    (void)size;
    link_depth++;
    out[0] = 'x';
    return 1;
}

static ssize_t too_long(int directory, const char *path, char *out, size_t size)
{
    (void)directory;
    (void)path;
    memset(out, 'x', size);
    return (ssize_t)size;
}

/* The kernel follows links to a file that following them by hand does not lead to. */
static void test_odd_links(void **state)
{
    (void)state;
    char path[64];
    st__os_calls.readlinkat = endless;
    link_depth = 0;
    CHECK_REFUSED(in_scratch("file"), NULL, ELOOP);
    assert_int_equal(link_depth, 41);
    st__os_calls.readlinkat = too_long;
    CHECK_REFUSED(in_scratch("file"), NULL, ENAMETOOLONG);
    os_calls_restore();
    put_old(in_scratch("file"));
    int fd = open(in_scratch("file"), O_RDWR);
    unlink(in_scratch("file"));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CHECK_REFUSED(path, NULL, ESTALE);
    put_old(in_scratch("file (deleted)"));
    CHECK_REFUSED(path, NULL, ESTALE);
    assert_true(is_old(in_scratch("file (deleted)")));
    close(fd);
}

/* models--x/snapshots/REVISION/file -> ../../blobs/DIGEST */
static void test_hub_cache(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_scratch("blobs"), 0755), 0);
    put_old(in_scratch("blobs/digest"));
    assert_int_equal(mkdir(in_scratch("versions"), 0755), 0);
    assert_int_equal(symlink("../blobs/digest", in_scratch("versions/file")), 0);
    /* A folder of that name alone is no store. */
    CHECK_OK(save_new(in_scratch("versions/file"), NULL, &error));
    assert_true(S_ISLNK(stat_of(in_scratch("versions/file")).st_mode));
    assert_true(is_new(in_scratch("blobs/digest")));

    put_old(in_scratch("blobs/digest"));
    assert_int_equal(chmod(in_scratch("blobs/digest"), 0604), 0);
    assert_int_equal(mkdir(in_scratch("snapshots"), 0755), 0);
    assert_int_equal(mkdir(in_scratch("snapshots/r"), 0755), 0);
    assert_int_equal(symlink("../../blobs/digest", in_scratch("snapshots/r/file")), 0);
    assert_int_equal(symlink("snapshots/r/file", in_scratch("mine")), 0);
    CHECK_OK(save_new(in_scratch("mine"), NULL, &error));
    assert_true(is_old(in_scratch("blobs/digest")));
    assert_true(is_new(in_scratch("snapshots/r/file")));
    assert_true(S_ISLNK(stat_of(in_scratch("mine")).st_mode));
    assert_int_equal(stat_of(in_scratch("snapshots/r/file")).st_mode, S_IFREG | 0604);
    /* Named itself, a blob is a file like any other. */
    CHECK_OK(save_new(in_scratch("blobs/digest"), NULL, &error));
    assert_true(is_new(in_scratch("blobs/digest")));
    /* Also where it is missing. */
    assert_int_equal(symlink("../../blobs/none", in_scratch("snapshots/r/other")), 0);
    CHECK_OK(save_new(in_scratch("snapshots/r/other"), NULL, &error));
    assert_true(S_ISREG(stat_of(in_scratch("snapshots/r/other")).st_mode));
    assert_int_equal(access(in_scratch("blobs/none"), F_OK), -1);
}

/* ------------------------------------------------------------------------------ streams */

typedef struct reader {
    char path[1024];
    bool same;
} reader;

static void *fifo_read(void *arg)
{
    reader *r = arg;
    r->same = is_new(r->path);
    return NULL;
}

static st_status save_in_order(const char *path, st_error *error)
{
    st_sink *sink = NULL;
    st_bytes all = {new_bytes, new_size};
    st_status status = st_sink_open(path, NULL, &sink, error);
    if (!status)
        status = st__sink_begin(sink, new_size, error);
    if (!status)
        status = st__sink_write(sink, 0, &all, 1, error);
    if (!status)
        status = st__sink_finish(sink, error);
    st_sink_release(sink);
    return status;
}

static int opens_a_file(int directory, const char *path, int flags, mode_t mode)
{
    if ((flags & O_ACCMODE) == O_WRONLY)
        path = in_scratch("file");
    return fault_openat(directory, path, flags, mode);
}

static void test_streams(void **state)
{
    (void)state;
    pthread_t thread;
    reader r = {.same = false};
    snprintf(r.path, sizeof r.path, "%s", in_scratch("fifo"));
    assert_int_equal(mkfifo(r.path, 0600), 0);
    assert_int_equal(symlink("fifo", in_scratch("link")), 0);
    assert_int_equal(pthread_create(&thread, NULL, fifo_read, &r), 0);
    CHECK_OK(save_in_order(in_scratch("link"), &error));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(r.same);
    assert_true(S_ISFIFO(stat_of(r.path).st_mode));

    CHECK_OK(save_in_order("/dev/null", &error));
    st_error said = {0};
    assert_int_equal(save_in_order("/dev/full", &said), ST_ERR_IO);
    assert_int_equal(said.sys_errno, ENOSPC);
    assert_int_equal(said.offset, 0);
    /* A pipe that turns into a file between two looks is left alone. */
    put_old(in_scratch("file"));
    st__os_calls.openat = opens_a_file;
    CHECK_REFUSED(r.path, NULL, ESTALE);
    os_calls_restore();
    os_plant(OS_EIO, 2);
    CHECK_REFUSED("/dev/null", NULL, EIO);
    os_plant(OS_NONE, 0);
    assert_true(is_old(in_scratch("file")));
}

/* ------------------------------------------------------------------------------- copying */

/* Blocks that file systems of this kind share, as far as the caller can tell. */
static int shares_blocks(int fd, unsigned long request, void *arg)
{
    const struct file_clone_range *range = arg;
    unsigned char got[4096];
    assert_int_equal(request, FICLONERANGE);
    assert_true(range->src_offset % 4096 == 0 && range->dest_offset % 4096 == 0 &&
                range->src_length % 4096 == 0 && range->src_length > 0);
    for (uint64_t at = 0; at < range->src_length; at += sizeof got) {
        ssize_t n = pread((int)range->src_fd, got, sizeof got, (off_t)(range->src_offset + at));
        assert_int_equal(pwrite(fd, got, (size_t)n, (off_t)(range->dest_offset + at)), n);
    }
    os_state.calls += 1000;
    return 0;
}

static void copy_with(uint64_t from, uint64_t to, bool shares)
{
    st_sink *sink;
    st_source *source;
    uint64_t done = 0, size = 50000;
    static unsigned char wanted[60000];
    put_file(in_scratch("source"), new_bytes, new_size);
    CHECK_OK(st_source_open(in_scratch("source"), NULL, &source, &error));
    CHECK_OK(st_sink_open(in_scratch("file"), NULL, &sink, &error));
    CHECK_OK(st__sink_begin(sink, to + size, &error));
    os_plant(OS_NONE, 0);
    CHECK_OK(st__sink_copy(sink, to, &(st__stretch){source, from, size}, &done, &error));
    assert_int_equal(os_state.calls >= 1000, shares);
    if (done < size)
        CHECK_OK(st__sink_write(sink, to + done,
                                &(st_bytes){new_bytes + from + done, (size_t)(size - done)}, 1,
                                &error));
    if (to > 0)
        CHECK_OK(st__sink_write(sink, 0, &(st_bytes){old_bytes, (size_t)to}, 1, &error));
    CHECK_OK(st__sink_finish(sink, &error));
    st_sink_release(sink);
    st_source_release(source);
    memcpy(wanted, old_bytes, (size_t)to);
    memcpy(wanted + to, new_bytes + from, (size_t)size);
    assert_true(file_is(in_scratch("file"), wanted, (size_t)(to + size)));
}

static void test_copy(void **state)
{
    (void)state;
    struct stat s;
    put_old(in_scratch("source"));
    s = stat_of(in_scratch("source"));
    copy_with(100, 1000, false);
    copy_with(100, 100, false);
    if (s.st_blksize != 4096) {
        print_message("blocks of %ld bytes, not 4096\n", (long)s.st_blksize);
        skip();
    }
    st__os_calls.ioctl = shares_blocks;
    copy_with(100, 100, true);
    copy_with(100, 100 + 4096, true);
    copy_with(4096, 0, true);
    copy_with(4096, 8, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLEANED(test_fresh_and_over), CLEANED(test_discarded),       CLEANED(test_mapped),
        CLEANED(test_relative),       CLEANED(test_only_new),        CLEANED(test_refused),
        CLEANED(test_long_names),     CLEANED(test_temporary_names), CLEANED(test_links),
        CLEANED(test_odd_links),      CLEANED(test_hub_cache),       CLEANED(test_streams),
        CLEANED(test_copy),
    };
    return cmocka_run_group_tests_name("replace", tests, group_make, scratch_folder_drop);
}
