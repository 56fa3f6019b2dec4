/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a journal, which may hold anything, and playing it. Nothing is played before all of it was checked. */
#include "io/journal.h"
#include "base/alloc.h"
#include "base/checksum.h"
#include "base/endian.h"
#include "base/error.h"
#include "io/location.h"

#include <inttypes.h>

/* The first byte is no text, and the line ends tell a transfer as text. */
const unsigned char st__journal_magic[8] = {0x89, 'S', 'T', 'J', '\r', '\n', 0x1a, '\n'};
const unsigned char st__journal_done[8] = {'S', 'T', 'J', '-', 'D', 'O', 'N', 'E'};

static st_status damaged(const st__journal *journal, uint64_t at, const char *what, st_error *error)
{
    return st__fail(error, ST_ERR_JOURNAL, at,
                    "%s" ST__JOURNAL_ENDING ": %s, at byte %" PRIu64
                    "; it is left as it is, and so is the file",
                    journal->name, what, at);
}

static st_status journal_get(const st__journal *journal, uint64_t at, void *to, size_t size,
                             st_error *error)
{
    size_t done;
    st_segment segment = {to, size};
    int failed = st__os_read(journal->fd, at, &segment, 1, &done);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, at + done,
                              "%s" ST__JOURNAL_ENDING ": cannot be read at byte %" PRIu64,
                              journal->name, at + done);
    return done < size ? damaged(journal, at + done, "it ends too early", error) : ST_OK;
}

static bool is_zero(const unsigned char *at, size_t size)
{
    size_t i = 0;
    while (i < size && at[i] == 0)
        i++;
    return i == size;
}

/* ---------------------------------------------------------------------------- head and mark */

/* The sum behind `size` bytes is that of the bytes. */
static bool sum_matches(const unsigned char *at, size_t size)
{
    return st__load_le64(at + size) == st__checksum(ST__CHECKSUM_NONE, at, size);
}

static bool head_is_whole(const unsigned char head[ST__JOURNAL_HEAD])
{
    return memcmp(head, st__journal_magic, 8) == 0 && sum_matches(head, ST__JOURNAL_HEAD - 8);
}

static bool mark_is_whole(const unsigned char mark[ST__JOURNAL_MARK], uint64_t size)
{
    return memcmp(mark, st__journal_done, 8) == 0 && sum_matches(mark, ST__JOURNAL_MARK - 8) &&
           st__load_le64(mark + 8) == size;
}

/* Nothing stands there, or what a journal begins with, or as much of it as came to be written. */
static bool begins_as_journal(const unsigned char *head, size_t size)
{
    size_t i = 0, known = size < 8 ? size : 8;
    while (i < known && head[i] == st__journal_magic[i])
        i++;
    return is_zero(head + i, known - i);
}

int st__journal_begins(int fd, bool *out)
{
    unsigned char head[8];
    st_segment segment = {head, sizeof head};
    size_t done = 0;
    int failed = st__os_read(fd, 0, &segment, 1, &done);
    *out = !failed && begins_as_journal(head, done);
    return failed;
}

/* One whose mark is not there, or not all of it. */
static st_status unmarked(const st__journal *journal, const unsigned char *head,
                          const unsigned char *mark, st_error *error)
{
    uint64_t have = journal->size;
    if (!begins_as_journal(head, have < 8 ? (size_t)have : 8))
        return damaged(journal, 0, "it is no journal of an edit", error);
    if (!head_is_whole(head))
        return ST_OK;
    uint64_t size = st__load_le64(head + 16);
    if (have > size)
        return damaged(journal, size, "there are bytes behind its end", error);
    if (have == size && !is_zero(mark, ST__JOURNAL_MARK))
        return damaged(journal, size - ST__JOURNAL_MARK, "its mark is damaged", error);
    return ST_OK;
}

st_status st__journal_read(st__journal *journal, bool *finished, st_error *error)
{
    unsigned char head[ST__JOURNAL_HEAD] = {0}, mark[ST__JOURNAL_MARK] = {0};
    const uint64_t least = ST__JOURNAL_HEAD + ST__JOURNAL_MARK;
    st__os_info info;
    int failed = st__os_info_fd(journal->fd, &info);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s" ST__JOURNAL_ENDING ": cannot be examined", journal->name);
    uint64_t size = journal->size = info.size;
    *finished = false;
    ST_TRY(journal_get(journal, 0, head, size < sizeof head ? (size_t)size : sizeof head, error));
    if (size >= least)
        ST_TRY(journal_get(journal, size - sizeof mark, mark, sizeof mark, error));
    if (!mark_is_whole(mark, size))
        return unmarked(journal, head, mark, error);
    if (!head_is_whole(head) || st__load_le64(head + 16) != size || size % sizeof mark)
        return damaged(journal, 0, "its head is damaged", error);
    if (st__load_le32(head + 8) != 1)
        return st__fail(error, ST_ERR_JOURNAL, 8,
                        "%s" ST__JOURNAL_ENDING ": is of version %" PRIu32
                        ", and this library knows version 1; it is left as it is",
                        journal->name, st__load_le32(head + 8));
    journal->count = st__load_le64(head + 24);
    journal->file_size = st__load_le64(head + 32);
    journal->inode = st__load_le64(head + 48);
    journal->chain = st__load_le64(mark + 16);
    *finished = true;
    return ST_OK;
}

/* ---------------------------------------------------------------------------------- records */

typedef struct journal_record {
    uint64_t offset, size; /* of the stretch in the file */
    uint64_t old_sum, new_sum;
    uint64_t at; /* of the old bytes in the journal; the new ones follow them */
} journal_record;

/* Goes over the records. */
typedef struct journal_walk {
    const st__journal *journal;
    uint64_t index;
    uint64_t at;    /* of the next record */
    uint64_t above; /* in the file, behind the last stretch */
    uint64_t chain;
} journal_walk;

static journal_walk walk_of(const st__journal *journal)
{
    return (journal_walk){journal, 0, ST__JOURNAL_HEAD, 0, ST__CHECKSUM_NONE};
}

static bool walk_ends(const journal_walk *walk)
{
    return walk->index == walk->journal->count;
}

static st_status walk_next(journal_walk *walk, journal_record *out, st_error *error)
{
    const st__journal *journal = walk->journal;
    unsigned char bytes[ST__JOURNAL_RECORD];
    uint64_t at = walk->at, room = journal->size - ST__JOURNAL_MARK - at;
    if (room < sizeof bytes)
        return damaged(journal, at, "a record is missing", error);
    ST_TRY(journal_get(journal, at, bytes, sizeof bytes, error));
    if (!sum_matches(bytes, sizeof bytes - 8))
        return damaged(journal, at, "a record is damaged", error);
    *out =
        (journal_record){st__load_le64(bytes), st__load_le64(bytes + 8), st__load_le64(bytes + 16),
                         st__load_le64(bytes + 24), at + sizeof bytes};
    room -= sizeof bytes;
    if (out->size == 0 || out->size > room / 2)
        return damaged(journal, at, "a record is longer than the journal", error);
    if (out->offset < walk->above || out->offset > journal->file_size ||
        out->size > journal->file_size - out->offset)
        return damaged(journal, at, "a record is not of the file", error);
    walk->index++;
    walk->at = out->at + 2 * out->size;
    walk->above = out->offset + out->size;
    walk->chain = st__checksum(walk->chain, bytes, sizeof bytes);
    return ST_OK;
}

static st_status walk_close(const journal_walk *walk, st_error *error)
{
    const st__journal *journal = walk->journal;
    unsigned char filling[ST__JOURNAL_MARK];
    uint64_t left = journal->size - ST__JOURNAL_MARK - walk->at;
    size_t size = left < sizeof filling ? (size_t)left : 0;
    ST_TRY(journal_get(journal, walk->at, filling, size, error));
    if (left > size || !is_zero(filling, size))
        return damaged(journal, walk->at, "there is more than its records", error);
    if (walk->chain != journal->chain)
        return damaged(journal, walk->at, "its mark is not of its records", error);
    return ST_OK;
}

/* -------------------------------------------------------------------------------- comparing */

typedef struct comparison {
    unsigned char *old, *fresh, *now; /* a block of each */
    bool is_old, is_new, is_mixed;    /* so far */
} comparison;

static void block_compare(comparison *c, size_t size)
{
    bool is_old = memcmp(c->now, c->old, size) == 0, is_new = memcmp(c->now, c->fresh, size) == 0;
    c->is_old = c->is_old && is_old;
    c->is_new = c->is_new && is_new;
    if (is_old || is_new)
        return;
    for (size_t i = 0; i < size && c->is_mixed; i++)
        c->is_mixed = c->now[i] == c->old[i] || c->now[i] == c->fresh[i];
}

static st_status file_get(const st__journal *journal, int file, uint64_t at, void *to, size_t size,
                          st_error *error)
{
    size_t done;
    st_segment segment = {to, size};
    int failed = st__os_read(file, at, &segment, 1, &done);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, at + done,
                              "%s: cannot be read at byte %" PRIu64, journal->name, at + done);
    if (done < size)
        return st__fail(error, ST_ERR_CHANGED, at + done, "%s: it ends at byte %" PRIu64 " now",
                        journal->name, at + done);
    return ST_OK;
}

static st_status record_compare(const st__journal *journal, int file, const journal_record *record,
                                comparison *c, st_error *error)
{
    uint64_t old_sum = ST__CHECKSUM_NONE, new_sum = ST__CHECKSUM_NONE;
    for (uint64_t at = 0; at < record->size; at += ST__JOURNAL_BLOCK) {
        uint64_t left = record->size - at;
        size_t size = (size_t)(left < ST__JOURNAL_BLOCK ? left : ST__JOURNAL_BLOCK);
        ST_TRY(journal_get(journal, record->at + at, c->old, size, error));
        ST_TRY(journal_get(journal, record->at + record->size + at, c->fresh, size, error));
        ST_TRY(file_get(journal, file, record->offset + at, c->now, size, error));
        old_sum = st__checksum(old_sum, c->old, size);
        new_sum = st__checksum(new_sum, c->fresh, size);
        block_compare(c, size);
    }
    if (old_sum != record->old_sum || new_sum != record->new_sum)
        return damaged(journal, record->at, "the bytes of a record are damaged", error);
    return ST_OK;
}

static st_status records_compare(st__journal *journal, int file, comparison *c, st_error *error)
{
    journal_record record;
    journal_walk walk = walk_of(journal);
    journal->bytes = 0;
    while (!walk_ends(&walk)) {
        ST_TRY(walk_next(&walk, &record, error));
        ST_TRY(record_compare(journal, file, &record, c, error));
        journal->bytes += record.size;
    }
    return walk_close(&walk, error);
}

st_status st__journal_compare(st__journal *journal, int file, int *out, st_error *error)
{
    const size_t size = 3 * (size_t)ST__JOURNAL_BLOCK;
    unsigned char *blocks = st__alloc(journal->context, size);
    if (!blocks)
        return st__fail_nomem(error, size);
    comparison c = {
        blocks, blocks + ST__JOURNAL_BLOCK, blocks + 2 * (size_t)ST__JOURNAL_BLOCK, true, true,
        true};
    st_status status = records_compare(journal, file, &c, error);
    st__free(journal->context, blocks, size);
    ST_TRY(status);
    *out = c.is_new     ? ST__FILE_NEW
           : c.is_old   ? ST__FILE_OLD
           : c.is_mixed ? ST__FILE_MIXED
                        : ST__FILE_OTHER;
    return ST_OK;
}

/* ---------------------------------------------------------------------------------- playing */

static st_status record_play(const st__journal *journal, int file, const journal_record *record,
                             bool forward, unsigned char *block, st_error *error)
{
    uint64_t from = record->at + (forward ? record->size : 0);
    for (uint64_t at = 0; at < record->size; at += ST__JOURNAL_BLOCK) {
        uint64_t left = record->size - at;
        size_t done, size = (size_t)(left < ST__JOURNAL_BLOCK ? left : ST__JOURNAL_BLOCK);
        ST_TRY(journal_get(journal, from + at, block, size, error));
        st_bytes piece = {block, size};
        int failed = st__os_write(file, record->offset + at, &piece, 1, &done);
        if (failed)
            return st__fail_errno(error, ST_ERR_IO, failed, record->offset + at + done,
                                  "%s: cannot be written at byte %" PRIu64, journal->name,
                                  record->offset + at + done);
    }
    return ST_OK;
}

static st_status records_play(const st__journal *journal, int file, bool forward,
                              unsigned char *block, st_error *error)
{
    journal_record record;
    journal_walk walk = walk_of(journal);
    while (!walk_ends(&walk)) {
        ST_TRY(walk_next(&walk, &record, error));
        ST_TRY(record_play(journal, file, &record, forward, block, error));
    }
    return ST_OK;
}

st_status st__journal_play(const st__journal *journal, int file, bool forward, st_error *error)
{
    unsigned char *block = st__alloc(journal->context, ST__JOURNAL_BLOCK);
    if (!block)
        return st__fail_nomem(error, ST__JOURNAL_BLOCK);
    st_status status = records_play(journal, file, forward, block, error);
    st__free(journal->context, block, ST__JOURNAL_BLOCK);
    return status;
}
