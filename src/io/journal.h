/* SPDX-License-Identifier: Apache-2.0 */
/* The journal of an edit in place: the bytes that are overwritten, and those that take their place. What stands in
 * it is docs/journal.md. These functions work on descriptors, and know no names of files. */
#ifndef ST_IO_JOURNAL_H
#define ST_IO_JOURNAL_H

#include "io/os.h"

/* Sizes in the journal, in bytes. */
enum { ST__JOURNAL_HEAD = 64, ST__JOURNAL_RECORD = 40, ST__JOURNAL_MARK = 32 };

typedef struct st__journal {
    st_context *context;
    const char *name;          /* of the file that it is of, for messages */
    int fd;                    /* not its own */
    uint64_t size;             /* of the journal; of one being written: so far */
    uint64_t count;            /* stretches of the file */
    uint64_t bytes;            /* in all of them */
    uint64_t chain;            /* the sum of what describes them */
    uint64_t file_size, inode; /* of the file, as it was */
} st__journal;

/* A stretch of the file that will be overwritten. */
typedef struct st__journal_stretch {
    uint64_t offset;
    uint64_t size; /* > 0 */
    /* Hands all of the new bytes on, in order. */
    st_status (*make)(void *ctx, st_block_fn block, void *block_ctx, st_error *error);
    void *ctx;
} st__journal_stretch;

/* -------------------------------------------------------------------------- journal_write.c */

/* Begins a journal in an empty file of `fd`, of the file that `info` is of. */
void st__journal_begin(st__journal *journal, const st__os_info *info);
/* Adds what the file holds in a stretch, and what it will hold. Stretches come in the order of their offsets and do
 * not overlap. ST_ERR_CHANGED where the file ends within it; what `make` says. */
st_status st__journal_add(st__journal *journal, int file, const st__journal_stretch *stretch,
                          st_error *error);
/* Makes it reach the disk, first without the mark that says that it is whole, then with it. Its name is not its
 * business. */
st_status st__journal_finish(st__journal *journal, st_error *error);

/* -------------------------------------------------------------------------------- journal.c */

/* Tells whether a file begins as a journal does, or one that was not finished; false: it is something else, of whose
 * name a journal would be. An errno. */
int st__journal_begins(int fd, bool *out);
/* Reads what a journal says of itself. `*finished` is false, and the rest unknown, of one that has no mark: nothing
 * was overwritten then. ST_ERR_JOURNAL for what is damaged, of another version, or no journal. */
st_status st__journal_read(st__journal *journal, bool *finished, st_error *error);

/* What a file holds where the journal knows its bytes. */
enum {
    ST__FILE_OLD,   /* the old ones */
    ST__FILE_NEW,   /* the new ones */
    ST__FILE_MIXED, /* each byte is an old one or a new one */
    ST__FILE_OTHER  /* something else */
};
/* Checks all of a finished journal, and compares the file, whose size is the journal's. ST_ERR_JOURNAL. */
st_status st__journal_compare(st__journal *journal, int file, int *out, st_error *error);

/* Overwrites the stretches: with the new bytes if `forward`, with the old ones otherwise. It was compared, or has just
 * been written. */
st_status st__journal_play(const st__journal *journal, int file, bool forward, st_error *error);

/* What both need: bytes in one piece. */
enum { ST__JOURNAL_BLOCK = 65536 };
extern const unsigned char st__journal_magic[8], st__journal_done[8];

#endif
