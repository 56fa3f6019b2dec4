/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a journal. Its head comes last but one, its mark last: whatever a crash leaves of it before that is no
 * journal that anything is put back from. */
#include "io/journal.h"
#include "base/alloc.h"
#include "base/checksum.h"
#include "base/endian.h"
#include "base/error.h"
#include "io/location.h"

#include <assert.h>
#include <inttypes.h>

static st_status journal_fail(const st__journal *journal, int failed, st_error *error)
{
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                          "%s" ST__JOURNAL_ENDING ": cannot be written; %s is unchanged",
                          journal->name, journal->name);
}

static st_status journal_put(const st__journal *journal, uint64_t at, const void *data, size_t size,
                             st_error *error)
{
    st_bytes piece = {data, size};
    size_t done;
    int failed = st__os_write(journal->fd, at, &piece, 1, &done);
    return failed ? journal_fail(journal, failed, error) : ST_OK;
}

void st__journal_begin(st__journal *journal, const st__os_info *info)
{
    journal->size = ST__JOURNAL_HEAD;
    journal->count = 0;
    journal->bytes = 0;
    journal->chain = ST__CHECKSUM_NONE;
    journal->file_size = info->size;
    journal->inode = info->inode;
}

/* -------------------------------------------------------------------------------- stretches */

/* Bytes on their way into the journal. */
typedef struct journal_input {
    const st__journal *journal;
    uint64_t at;   /* where the next one goes */
    uint64_t left; /* that are yet to come */
    uint64_t sum;
} journal_input;

static st_status input_take(void *ctx, const void *data, size_t size, st_error *error)
{
    journal_input *input = ctx;
    assert(size <= input->left);
    ST_TRY(journal_put(input->journal, input->at, data, size, error));
    input->at += size;
    input->left -= size;
    input->sum = st__checksum(input->sum, data, size);
    return ST_OK;
}

static st_status old_bytes_take(journal_input *input, int file, uint64_t offset,
                                unsigned char *block, st_error *error)
{
    while (input->left > 0) {
        size_t done,
            size = (size_t)(input->left < ST__JOURNAL_BLOCK ? input->left : ST__JOURNAL_BLOCK);
        st_segment segment = {block, size};
        int failed = st__os_read(file, offset, &segment, 1, &done);
        if (failed)
            return st__fail_errno(error, ST_ERR_IO, failed, offset + done,
                                  "%s: cannot be read at byte %" PRIu64, input->journal->name,
                                  offset + done);
        if (done < size)
            return st__fail(error, ST_ERR_CHANGED, offset + done,
                            "%s: it ends at byte %" PRIu64 " now; open it again",
                            input->journal->name, offset + done);
        offset += size;
        ST_TRY(input_take(input, block, size, error));
    }
    return ST_OK;
}

st_status st__journal_add(st__journal *journal, int file, const st__journal_stretch *stretch,
                          st_error *error)
{
    unsigned char record[ST__JOURNAL_RECORD];
    journal_input old = {journal, journal->size + sizeof record, stretch->size, ST__CHECKSUM_NONE};
    journal_input fresh = {journal, old.at + stretch->size, stretch->size, ST__CHECKSUM_NONE};
    unsigned char *block = st__alloc(journal->context, ST__JOURNAL_BLOCK);
    if (!block)
        return st__fail_nomem(error, ST__JOURNAL_BLOCK);
    st_status status = old_bytes_take(&old, file, stretch->offset, block, error);
    st__free(journal->context, block, ST__JOURNAL_BLOCK);
    if (status == ST_OK)
        status = stretch->make(stretch->ctx, input_take, &fresh, error);
    ST_TRY(status);
    assert(fresh.left == 0);
    st__store_le64(record, stretch->offset);
    st__store_le64(record + 8, stretch->size);
    st__store_le64(record + 16, old.sum);
    st__store_le64(record + 24, fresh.sum);
    st__store_le64(record + 32, st__checksum(ST__CHECKSUM_NONE, record, 32));
    ST_TRY(journal_put(journal, journal->size, record, sizeof record, error));
    journal->size = fresh.at;
    journal->count++;
    journal->bytes += stretch->size;
    journal->chain = st__checksum(journal->chain, record, sizeof record);
    return ST_OK;
}

/* ---------------------------------------------------------------------------------- the end */

static st_status head_put(const st__journal *journal, st_error *error)
{
    unsigned char head[ST__JOURNAL_HEAD];
    memcpy(head, st__journal_magic, 8);
    st__store_le32(head + 8, 1);
    st__store_le32(head + 12, 0);
    st__store_le64(head + 16, journal->size);
    st__store_le64(head + 24, journal->count);
    st__store_le64(head + 32, journal->file_size);
    st__store_le64(head + 40, 0);
    st__store_le64(head + 48, journal->inode);
    st__store_le64(head + 56, st__checksum(ST__CHECKSUM_NONE, head, 56));
    return journal_put(journal, 0, head, sizeof head, error);
}

static st_status mark_put(const st__journal *journal, st_error *error)
{
    unsigned char mark[ST__JOURNAL_MARK];
    memcpy(mark, st__journal_done, 8);
    st__store_le64(mark + 8, journal->size);
    st__store_le64(mark + 16, journal->chain);
    st__store_le64(mark + 24, st__checksum(ST__CHECKSUM_NONE, mark, 24));
    return journal_put(journal, journal->size - sizeof mark, mark, sizeof mark, error);
}

st_status st__journal_finish(st__journal *journal, st_error *error)
{
    /* No mark lies across two sectors, of which a power cut may let one reach the disk. Nothing is written to what
     * fills the space before it: it reads as zeros. */
    journal->size += (0 - journal->size) % ST__JOURNAL_MARK + ST__JOURNAL_MARK;
    ST_TRY(head_put(journal, error));
    int failed = st__os_sync(journal->fd);
    if (failed)
        return journal_fail(journal, failed, error);
    ST_TRY(mark_put(journal, error));
    failed = st__os_sync(journal->fd);
    return failed ? journal_fail(journal, failed, error) : ST_OK;
}
