/* SPDX-License-Identifier: Apache-2.0 */
/* Saves of new bytes over old ones, and what the path then holds. */
#ifndef TESTS_IO_REPLACING_H
#define TESTS_IO_REPLACING_H

#include "io/os_faults.h"
#include "io/scratch_folder.h"

static unsigned char old_bytes[5000], new_bytes[70001];

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
    os_calls_restore();
    os_plant(OS_NONE, 0);
    return scratch_folder_drop(state) || mkdir(scratch, 0755);
}

static inline st_status save_new(const char *path, const st_sink_options *options, st_error *error)
{
    return save(path, options, new_bytes, sizeof new_bytes, error);
}

static inline bool is_new(const char *path)
{
    return file_is(path, new_bytes, sizeof new_bytes);
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

static inline int no_unnamed(int directory, const char *path, int flags, mode_t mode)
{
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return fault_openat(directory, path, flags, mode);
}

static inline void unnamed_allow(int allow)
{
    st__os_calls.openat = allow ? fault_openat : no_unnamed;
}

#define CLEANED(test) cmocka_unit_test_teardown(test, test_clean)

#endif
