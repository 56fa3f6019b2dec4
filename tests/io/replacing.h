/* SPDX-License-Identifier: Apache-2.0 */
/* Saves of new bytes over old ones, and what the path then holds. */
#ifndef TESTS_IO_REPLACING_H
#define TESTS_IO_REPLACING_H

#include "io/os_faults.h"
#include "io/scratch_folder.h"

#define NEW_SIZE ((size_t)70001)

static unsigned char old_bytes[5000], new_bytes[((size_t)1 << 20) + NEW_SIZE];
static size_t new_size = NEW_SIZE; /* of a save: all of them are enough to go past the page cache */
static bool unnamed_refused;       /* files without names, as by a file system that has none */

static inline int group_make(void **state)
{
    for (size_t i = 0; i < sizeof new_bytes; i++)
        new_bytes[i] = (unsigned char)(i * 7 + i / 256);
    memset(old_bytes, 'o', sizeof old_bytes);
    return scratch_folder_make(state);
}

static inline int test_clean(void **state)
{
    (void)state;
    unnamed_refused = false;
    new_size = NEW_SIZE;
    os_calls_restore();
    os_plant(OS_NONE, 0);
    return scratch_folder_drop(state) || mkdir(scratch, 0755);
}

static inline st_status save_new(const char *path, const st_sink_options *options, st_error *error)
{
    return save(path, options, new_bytes, new_size, error);
}

static inline bool is_new(const char *path)
{
    return file_is(path, new_bytes, new_size);
}

static inline bool is_old(const char *path)
{
    return file_is(path, old_bytes, sizeof old_bytes);
}

static inline void put_old(const char *path)
{
    put_file(path, old_bytes, sizeof old_bytes);
}

static inline struct stat stat_of(const char *path)
{
    struct stat s;
    assert_int_equal(lstat(path, &s), 0);
    return s;
}

#define CHECK_REFUSED(path, options, errno_) \
 check_refused(CHECK_PLACE("st_sink_open"), (path), (options), (errno_))

static inline void check_refused(const check_place *place, const char *path,
                                 const st_sink_options *options, int wanted)
{
    st_sink *sink = NULL;
    st_error error = {.status = ST_OK};
    unsigned before = count_descriptors();
    st_status status = st_sink_open(path, options, &sink, &error);
    check_error(place, status, &error, ST_ERR_IO, ST_NO_OFFSET, NULL);
    assert_int_equal(error.sys_errno, wanted);
    assert_null(sink);
    assert_int_equal(count_descriptors(), before);
}

/* True, with errno set, where the file asked for would have no name and that is refused. */
static inline bool refuses_open(int flags)
{
    bool refused = unnamed_refused && (flags & O_TMPFILE) == O_TMPFILE;
    if (refused)
        errno = EOPNOTSUPP;
    return refused;
}

static inline int picky_openat(int directory, const char *path, int flags, mode_t mode)
{
    return refuses_open(flags) ? -1 : fault_openat(directory, path, flags, mode);
}

static inline void unnamed_allow(int allow)
{
    unnamed_refused = !allow;
    st__os_calls.openat = picky_openat;
}

/* Through the page cache, or past it; there the caller writes, so that the calls are the same every time. */
enum { SAVE_CACHED, SAVE_BY_CALLER };

static inline void check_each(void (*check)(bool existed, const st_sink_options *options),
                              const st_sink_options *common)
{
    for (uint32_t durability = ST_DURABLE_NAME; durability <= ST_DURABLE_NONE; durability++) {
        st_sink_options options = *common;
        options.durability = durability;
        check(false, &options);
        check(true, &options);
        options.flags = ST_SINK_NEW;
        check(false, &options);
    }
}

/* Every kind of save that may be cut short: to a path that is free, that is taken and that has to be free, with
 * each durability, with files without names and without. */
static inline void check_saves(void (*check)(bool existed, const st_sink_options *options), int way)
{
    st_sink_options options = {.cache = way == SAVE_CACHED ? ST_CACHE_AUTO : ST_CACHE_DROP};
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &options.context, &error));
    new_size = way == SAVE_CACHED ? NEW_SIZE : sizeof new_bytes;
    for (int refused = 0; refused < 2; refused++) {
        unnamed_refused = refused;
        check_each(check, &options);
    }
    unnamed_refused = false;
    new_size = NEW_SIZE;
    st_context_release(options.context);
}

#define CLEANED(test) cmocka_unit_test_teardown(test, test_clean)

#endif
