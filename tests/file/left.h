/* SPDX-License-Identifier: Apache-2.0 */
/* A file as an edit in place has left it that was interrupted, with its journal. */
#ifndef TESTS_FILE_LEFT_H
#define TESTS_FILE_LEFT_H

#include "file/in_place.h"

#include "io/journal.h"

/* The stretches that are overwritten: a few bytes, and more than one block of the player. */
enum { FIRST_AT = 30, FIRST_SIZE = 7, SECOND_AT = 1000, SECOND_SIZE = 70000, FILE_SIZE = 80000 };
enum { HOLDS_OLD, HOLDS_NEW, HOLDS_MIXED, HOLDS_OTHER };

static unsigned char was[FILE_SIZE], becomes[FILE_SIZE], holds[FILE_SIZE];

static inline int bytes_make(void **state)
{
    for (size_t i = 0; i < FILE_SIZE; i++)
        was[i] = becomes[i] = (unsigned char)(i * 13 + i / 256);
    for (size_t i = FIRST_AT; i < FIRST_AT + FIRST_SIZE; i++)
        becomes[i] = (unsigned char)~was[i];
    for (size_t i = SECOND_AT; i < SECOND_AT + SECOND_SIZE; i++)
        becomes[i] = (unsigned char)(was[i] + 1 + i % 200);
    return in_place_make(state);
}

static inline void holds_fill(int what)
{
    memcpy(holds, what == HOLDS_NEW ? becomes : was, sizeof holds);
    if (what == HOLDS_MIXED || what == HOLDS_OTHER) /* cut in the middle of a block */
        memcpy(holds + FIRST_AT, becomes + FIRST_AT, SECOND_AT - FIRST_AT + 300);
    if (what == HOLDS_OTHER)
        holds[SECOND_AT + SECOND_SIZE - 1] = (unsigned char)~was[SECOND_AT + SECOND_SIZE - 1];
}

static inline bool file_holds(const unsigned char *bytes)
{
    return file_is(edited_path(), bytes, FILE_SIZE);
}

static inline st_status make_new(void *ctx, st_block_fn block, void *block_ctx, st_error *error)
{
    const st__journal_stretch *stretch = ctx;
    const unsigned char *at = becomes + stretch->offset;
    size_t size = (size_t)stretch->size, half = size / 2;
    st_status status = block(block_ctx, at, half, error);
    return status == ST_OK ? block(block_ctx, at + half, size - half, error) : status;
}

static inline void stretch_add(st__journal *journal, int file, uint64_t offset, uint64_t size)
{
    st__journal_stretch stretch = {offset, size, make_new, NULL};
    stretch.ctx = &stretch;
    CHECK_OK(st__journal_add(journal, file, &stretch, &error));
}

/* A file that was to be edited, with its whole journal beside it, as if the edit had come to where it holds `what`. */
static inline void put_left(int what)
{
    st__os_info info;
    (void)unlink(journal_path());
    put_file(edited_path(), was, sizeof was);
    int file = open(edited_path(), O_RDWR);
    st__journal journal = {.name = "file",
                           .fd = open(journal_path(), O_RDWR | O_CREAT | O_EXCL, 0600)};
    assert_true(file >= 0 && journal.fd >= 0);
    assert_int_equal(st__os_info_fd(file, &info), 0);
    st__journal_begin(&journal, &info);
    stretch_add(&journal, file, FIRST_AT, FIRST_SIZE);
    stretch_add(&journal, file, SECOND_AT, SECOND_SIZE);
    CHECK_OK(st__journal_finish(&journal, &error));
    close(journal.fd);
    holds_fill(what);
    assert_int_equal(pwrite(file, holds, sizeof holds, 0), sizeof holds);
    close(file);
}

/* The same bytes in another inode. */
static inline void change_inode(void)
{
    struct stat before, after;
    assert_int_equal(stat(edited_path(), &before), 0);
    put_file(in_scratch("copy"), holds, sizeof holds);
    assert_int_equal(rename(in_scratch("copy"), edited_path()), 0);
    assert_int_equal(stat(edited_path(), &after), 0);
    assert_int_not_equal(before.st_ino, after.st_ino);
}

#endif
