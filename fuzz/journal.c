/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the input as a journal of a small file, and plays it. The first byte of the input says what is put right before,
 * so that not every input fails at its first sum. Whatever it holds: the file keeps its size, nothing outside of the
 * stretches changes, and what is played is what the journal holds of them. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "target.h"

#include "base/checksum.h"
#include "base/endian.h"
#include "io/journal.h"

#include <sys/mman.h>
#include <unistd.h>

enum { FILE_SIZE = 600, JOURNAL_MAX = 8192 };
/* Of the first byte. */
enum { SEALED = 1, LENGTHS_FIT = 2, OFFSETS_FIT = 4, FILE_NEW = 8 };

static uint8_t journal[JOURNAL_MAX + 2 * ST__JOURNAL_MARK];
static size_t journal_size;
static uint8_t before[FILE_SIZE], known[FILE_SIZE], after[FILE_SIZE + 1];
static bool covered[FILE_SIZE];

static void sum_put(size_t at, size_t size)
{
    st__store_le64(journal + at + size, st__checksum(ST__CHECKSUM_NONE, journal + at, size));
}

/* Makes lengths and offsets fit, and all sums right. */
static void journal_seal(unsigned flags)
{
    const size_t least = ST__JOURNAL_HEAD + ST__JOURNAL_MARK;
    uint64_t count = 0, chain = ST__CHECKSUM_NONE, above = 0;
    if (journal_size < least)
        return;
    size_t at = ST__JOURNAL_HEAD, mark = journal_size - ST__JOURNAL_MARK;
    while (mark - at > ST__JOURNAL_RECORD) {
        uint8_t *record = journal + at;
        uint64_t room = (mark - at - ST__JOURNAL_RECORD) / 2, left = FILE_SIZE - above;
        uint64_t offset = st__load_le64(record), size = st__load_le64(record + 8);
        if (room == 0 || ((flags & OFFSETS_FIT) && left == 0))
            break;
        if (flags & OFFSETS_FIT)
            st__store_le64(record, offset = above + offset % left);
        if (flags & LENGTHS_FIT)
            st__store_le64(record + 8, size = 1 + size % room);
        if (size == 0 || size > room)
            break;
        const uint8_t *bytes = record + ST__JOURNAL_RECORD;
        st__store_le64(record + 16, st__checksum(ST__CHECKSUM_NONE, bytes, (size_t)size));
        st__store_le64(record + 24, st__checksum(ST__CHECKSUM_NONE, bytes + size, (size_t)size));
        sum_put(at, 32);
        chain = st__checksum(chain, record, ST__JOURNAL_RECORD);
        above = offset + size < FILE_SIZE ? offset + size : FILE_SIZE;
        at += ST__JOURNAL_RECORD + 2 * (size_t)size;
        count++;
    }
    /* What is left over belongs to no record. */
    for (mark = at; mark % ST__JOURNAL_MARK; mark++)
        journal[mark] = 0;
    journal_size = mark + ST__JOURNAL_MARK;
    memcpy(journal, st__journal_magic, 8);
    st__store_le32(journal + 8, 1);
    st__store_le64(journal + 16, journal_size);
    st__store_le64(journal + 24, count);
    st__store_le64(journal + 32, FILE_SIZE);
    sum_put(0, 56);
    memcpy(journal + mark, st__journal_done, 8);
    st__store_le64(journal + mark + 8, journal_size);
    st__store_le64(journal + mark + 16, chain);
    sum_put(mark, 24);
}

/* What the file has to hold after a journal that was found good was played: by a reading of its own. */
static void expect(bool forward, uint64_t count)
{
    memcpy(known, before, sizeof known);
    memset(covered, 0, sizeof covered);
    for (size_t at = ST__JOURNAL_HEAD; count > 0; count--) {
        uint64_t offset = st__load_le64(journal + at), size = st__load_le64(journal + at + 8);
        require(size > 0 && size <= FILE_SIZE && offset <= FILE_SIZE - size);
        const uint8_t *bytes = journal + at + ST__JOURNAL_RECORD + (forward ? size : 0);
        for (size_t i = 0; i < size; i++) {
            require(!covered[offset + i]);
            covered[offset + i] = true;
            known[offset + i] = bytes[i];
        }
        at += ST__JOURNAL_RECORD + 2 * (size_t)size;
    }
}

static void play(const st__journal *read, int file, bool forward)
{
    require(st__journal_play(read, file, forward, NULL) == ST_OK);
    expect(forward, read->count);
    require(pread(file, after, sizeof after, 0) == FILE_SIZE);
    require(memcmp(after, known, FILE_SIZE) == 0);
}

static void journal_try(int fd, int file)
{
    bool finished = false;
    int holds = -1;
    st_error error = {.status = ST_OK};
    st__journal read = {.name = "file", .fd = fd};
    st_status status = st__journal_read(&read, &finished, &error);
    require(status == ST_OK || (status == ST_ERR_JOURNAL && error.status == status));
    if (status != ST_OK || !finished || read.file_size != FILE_SIZE)
        return;
    status = st__journal_compare(&read, file, &holds, &error);
    require(status == ST_OK || (status == ST_ERR_JOURNAL && error.offset <= journal_size));
    if (status != ST_OK)
        return;
    require(holds >= ST__FILE_OLD && holds <= ST__FILE_OTHER);
    play(&read, file, true);
    require(st__journal_compare(&read, file, &holds, NULL) == ST_OK && holds == ST__FILE_NEW);
    play(&read, file, false);
    play(&read, file, false);
    require(st__journal_compare(&read, file, &holds, NULL) == ST_OK);
    require(holds == ST__FILE_OLD || holds == ST__FILE_NEW); /* where both are the same */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned flags = size > 0 ? data[0] : 0;
    journal_size = size > JOURNAL_MAX ? JOURNAL_MAX : size - (size > 0);
    memcpy(journal, data + (size > 0), journal_size);
    if (flags & SEALED)
        journal_seal(flags);
    for (size_t i = 0; i < FILE_SIZE; i++)
        before[i] = (uint8_t)(flags & FILE_NEW ? i : 255 - i % 251);
    int file = memfd_create("file", 0), fd = memfd_create("journal", 0);
    require(file >= 0 && fd >= 0);
    require(write(file, before, FILE_SIZE) == FILE_SIZE);
    require(write(fd, journal, journal_size) == (ssize_t)journal_size);
    journal_try(fd, file);
    close(file);
    close(fd);
    return 0;
}
