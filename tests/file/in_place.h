/* SPDX-License-Identifier: Apache-2.0 */
/* A small file with room in its header, in a folder of the test's own, and an edit in place of its metadata, a name
 * and two tensors. */
#ifndef TESTS_FILE_IN_PLACE_H
#define TESTS_FILE_IN_PLACE_H

#include "io/os_faults.h"
#include "io/scratch_folder.h"

#include <safetensors/edit.h>

#include <sys/stat.h>
#include <time.h>

#define IN_PLACE_TEXT                                                     \
 "{\"__metadata__\":{\"k\":\"v\"},"                                       \
 "\"a\":{\"dtype\":\"U8\",\"shape\":[1000],\"data_offsets\":[0,1000]},"   \
 "\"b\":{\"dtype\":\"F16\",\"shape\":[50],\"data_offsets\":[1000,1100]}," \
 "\"c\":{\"dtype\":\"U8\",\"shape\":[400],\"data_offsets\":[1100,1500]}}"
#define IN_PLACE_HEADER 400u /* N: the text and the blanks behind it */
#define IN_PLACE_DATA   1500u
#define IN_PLACE_SIZE   (8u + IN_PLACE_HEADER + IN_PLACE_DATA)

static unsigned char old_file[IN_PLACE_SIZE], new_file[IN_PLACE_SIZE];
static unsigned char new_a[1000], new_c[400];

static inline const char *edited_path(void)
{
    return in_scratch("model.safetensors");
}

static inline const char *journal_path(void)
{
    return in_scratch("model.safetensors.st-journal");
}

static inline bool is_old(void)
{
    return file_is(edited_path(), old_file, sizeof old_file);
}

static inline bool is_new(void)
{
    return file_is(edited_path(), new_file, sizeof new_file);
}

static inline bool journal_exists(void)
{
    struct stat s;
    return lstat(journal_path(), &s) == 0;
}

/* A fresh file, written long ago, so that every change of it shows in its times; and no journal. */
static inline void put_edited(void)
{
    const struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
    (void)unlink(edited_path());
    (void)unlink(journal_path());
    put_file(edited_path(), old_file, sizeof old_file);
    assert_int_equal(utimensat(AT_FDCWD, edited_path(), times, 0), 0);
}

static inline st_status edit_make(const st_file *file, st_context *context, st_edit **out,
                                  st_error *error)
{
    static const uint64_t shape_a[] = {1000}, shape_c[] = {20, 10};
    st_edit *edit;
    st_edit_options options = {.context = context};
    st_metadata pair = {.key = "long", .key_len = 4, .value = "a value", .value_len = 7};
    st_array a = {.data = new_a, .shape = shape_a, .ndim = 1, .dtype = ST_U8};
    st_array c = {.data = new_c, .shape = shape_c, .ndim = 2, .dtype = ST_F16};
    st_status status = st_edit_new(file, &options, &edit, error);
    if (status != ST_OK)
        return status;
    status = st_edit_set_metadata(edit, &pair, error);
    if (status == ST_OK)
        status = st_edit_rename(edit, st_file_find(file, "b", 1), "bias", 4, error);
    if (status == ST_OK)
        status = st_edit_replace(edit, st_file_find(file, "a", 1), &a, error);
    if (status == ST_OK)
        status = st_edit_replace(edit, st_file_find(file, "c", 1), &c, error);
    if (status == ST_OK)
        *out = edit;
    else
        st_edit_free(edit);
    return status;
}

/* Opens the file, edits it in place, and closes it. */
static inline st_status edit_all(st_context *context, st_error *error)
{
    st_file *file;
    st_edit *edit;
    st_open_options options = {.context = context};
    st_status status = st_file_open(edited_path(), &options, &file, error);
    if (status != ST_OK)
        return status;
    status = edit_make(file, context, &edit, error);
    if (status == ST_OK) {
        status = st_edit_write_in_place(edit, edited_path(), NULL, error);
        st_edit_free(edit);
    }
    st_file_close(file);
    return status;
}

/* Some bytes are new and some old, the header among those that are new, with a journal beside them. */
static inline void put_torn(void)
{
    st_error error = {.status = ST_OK};
    unsigned n = 0;
    do {
        put_edited();
        os_plant(OS_EIO, ++n);
        os_state.stays = true;
        assert_int_not_equal(edit_all(NULL, &error), ST_OK);
    } while (!journal_exists() || is_old());
    os_plant(OS_NONE, 0);
    assert_false(is_new());
}

static inline void file_frame(unsigned char out[IN_PLACE_SIZE], const char *text)
{
    size_t len = strlen(text);
    assert_true(len <= IN_PLACE_HEADER);
    memset(out, ' ', 8 + IN_PLACE_HEADER);
    memset(out, 0, 8);
    out[0] = IN_PLACE_HEADER & 255;
    out[1] = IN_PLACE_HEADER >> 8;
    memcpy(out + 8, text, len);
    for (size_t i = 0; i < IN_PLACE_DATA; i++)
        out[8 + IN_PLACE_HEADER + i] = (unsigned char)(i * 7 + i / 256);
}

static inline int in_place_make(void **state)
{
    for (size_t i = 0; i < sizeof new_a; i++)
        new_a[i] = (unsigned char)(200 - i);
    for (size_t i = 0; i < sizeof new_c; i++)
        new_c[i] = (unsigned char)(i * i);
    file_frame(old_file, IN_PLACE_TEXT);
    file_frame(new_file,
               "{\"__metadata__\":{\"k\":\"v\",\"long\":\"a value\"},"
               "\"a\":{\"dtype\":\"U8\",\"shape\":[1000],\"data_offsets\":[0,1000]},"
               "\"bias\":{\"dtype\":\"F16\",\"shape\":[50],\"data_offsets\":[1000,1100]},"
               "\"c\":{\"dtype\":\"F16\",\"shape\":[20,10],\"data_offsets\":[1100,1500]}}");
    memcpy(new_file + 8 + IN_PLACE_HEADER, new_a, sizeof new_a);
    memcpy(new_file + 8 + IN_PLACE_HEADER + 1100, new_c, sizeof new_c);
    os_plant(OS_NONE, 0);
    return scratch_folder_make(state);
}

/* What a test leaves when it fails half way does not meet the next one. */
static inline int in_place_clean(void **state)
{
    os_plant(OS_NONE, 0);
    os_calls_restore();
    return scratch_folder_drop(state) || mkdir(scratch, 0755);
}

#define CLEANED(test) cmocka_unit_test_teardown(test, in_place_clean)

/* Puts the file right, by whatever was left; tells what that was. The file holds the one or the other then, and
 * nothing is left beside it. */
static inline uint32_t recover_fully(void)
{
    st_recovery found = {.action = 99};
    bool recovered = false, again = true;
    os_plant(OS_NONE, 0);
    CHECK_OK(st_recovery_look(edited_path(), NULL, &found, &error));
    CHECK_OK(st_edit_recover(edited_path(), NULL, &recovered, &error));
    assert_int_equal(recovered, found.action == ST_RECOVERY_BACK);
    assert_false(journal_exists());
    assert_true(is_old() != is_new());
    if (found.action == ST_RECOVERY_BACK || found.action == ST_RECOVERY_UNFINISHED)
        assert_true(is_old());
    if (found.action == ST_RECOVERY_FORWARD)
        assert_true(is_new());
    bool was_old = is_old();
    CHECK_OK(st_edit_recover(edited_path(), NULL, &again, &error));
    assert_false(again);
    assert_int_equal(is_old(), was_old);
    return found.action;
}

#endif
