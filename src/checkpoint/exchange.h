/* SPDX-License-Identifier: Apache-2.0 */
/* The list of an edit over several files: which new file takes whose place, and which file goes. What stands in it is
 * docs/journal.md. It lies in the folder of the files and is what the one who makes the edit works by too, so that
 * going on after a crash is not another way of doing it.
 *
 * exchange.c knows its bytes, exchange_apply.c the files that it speaks of, exchange_write.c how it comes to be,
 * exchange_recover.c what becomes of one that was left. */
#ifndef ST_CHECKPOINT_EXCHANGE_H
#define ST_CHECKPOINT_EXCHANGE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/map.h"
#include "io/location.h"
#include "io/sink.h"

#include <safetensors/checkpoint.h>

/* Sizes in the list, in bytes: all that stands in it begins at a multiple of the first. */
enum {
    ST__EXCHANGE_UNIT = 32,
    ST__EXCHANGE_HEAD = 32,
    ST__EXCHANGE_FIXED = 80, /* of a record, before its names */
    ST__EXCHANGE_MARK = 32
};
/* A list has no more bytes. */
#define ST__EXCHANGE_MAX UINT64_C(0x10000000)

/* What becomes of a place; in the list there is none that stays. */
enum { ST__EXCHANGE_STAYS = 0, ST__EXCHANGE_TAKES = 1, ST__EXCHANGE_GOES = 2 };

/* What a file is known by: its size, and the sum of its first bytes, in which its header is. */
typedef struct st__known {
    uint64_t size;
    uint64_t sum;
    int64_t mtime_ns;
    bool there; /* false: nothing is */
} st__known;

/* A place in the folder, and what becomes of it. */
typedef struct st__exchange_record {
    st__key name;  /* of the place; first */
    st__key aside; /* of the new file, beside where that place is */
    uint32_t kind; /* ST__EXCHANGE_… */
    bool done;     /* as it was found */
    st__known old;
    st__known fresh;
} st__exchange_record;

/* Where a file is to take a place, or to go: no two may be in the same one. */
typedef struct st__exchange_place {
    st__key key;      /* first; its directory's numbers, and its name there */
    const char *name; /* that leads to it */
} st__exchange_place;

typedef struct st__exchange {
    st_context *context;
    st_sink_options options; /* of the new files; the name is not looked at */
    const char *folder;      /* that the names are in; ends in a slash, or is empty */
    const char *index;       /* the name of its index; NULL: there is none */
    char name[ST__OS_NAME];  /* of the list */
    int directory;           /* the folder; -1: not open */
    int fd;                  /* the list; -1: not open */
    bool durable;
    st__arena texts;
    st__exchange_record *records; /* `count` of `room` */
    size_t count;
    size_t room;
    st__exchange_place
        *places; /* `place_count` of `place_room`, of what was planned or looked at */
    size_t place_count;
    size_t place_room;
    uint64_t size;  /* of what was written, or read */
    uint64_t chain; /* its sum */
    bool finished;  /* the mark is there */
} st__exchange;

/* -------------------------------------------------------------------------------- exchange.c */

/* What the name of a list is made of: the index's, or, where there is none, this. */
#define ST__EXCHANGE_NO_INDEX "checkpoint"

/* Reads a list out of memory into an exchange of which context, folder, index and name are set. What is damaged is
 * ST_ERR_JOURNAL with the offset; one that was not finished has the records that came to be. ST_ERR_NOMEM. */
st_status st__exchange_parse(st__exchange *exchange, const unsigned char *bytes, size_t size,
                             st_error *error);
/* Adds a record with copies of its names. */
st_status st__exchange_add(st__exchange *exchange, const st__exchange_record *record,
                           st_error *error);
/* Frees what it holds in memory. */
void st__exchange_release(st__exchange *exchange);

void st__exchange_head_emit(unsigned char out[ST__EXCHANGE_HEAD]);
/* The bytes of a record, and they themselves. */
size_t st__exchange_record_size(const st__exchange_record *record);
void st__exchange_record_emit(const st__exchange_record *record, unsigned char *out);
/* Of a list whose bytes before it have this sum. */
void st__exchange_mark_emit(uint64_t count, uint64_t chain, unsigned char out[ST__EXCHANGE_MARK]);

/* ST_ERR_JOURNAL, of a list that is damaged at a byte. */
st_status st__exchange_damaged(const st__exchange *exchange, uint64_t at, const char *what,
                               st_error *error) ST__COLD;
/* ST_ERR_JOURNAL, of one that is not carried out. */
st_status st__exchange_refuse(const st__exchange *exchange, const char *what,
                              st_error *error) ST__COLD;
/* ST_ERR_IO, of the list. */
st_status st__exchange_fail(const st__exchange *exchange, int failed, const char *what,
                            st_error *error) ST__COLD;

/* -------------------------------------------------------------------------- exchange_apply.c */

/* Opens the folder, and makes the list's name. Closed with st__exchange_close, also after a failure. */
st_status st__exchange_open(st__exchange *exchange, const char *folder, const char *index,
                            st_error *error);
/* Closes all, and frees. */
void st__exchange_close(st__exchange *exchange);

/* Learns what a name stands for; an errno. */
int st__known_read(int directory, const char *name, st__known *out);
static inline bool st__known_same(const st__known *a, const st__known *b)
{
    return a->there == b->there && (!a->there || (a->size == b->size && a->sum == b->sum));
}
/* Finds the place of a record: that at the end of a chain of links; or, of a file that is to go, only what no link leads
 * to, as a list may come from anybody. Left by st__location_leave. An errno. */
int st__exchange_locate(const st__exchange *exchange, const st__exchange_record *record,
                        st__location *out);
/* ST_ERR_IO, of the place of a record. */
st_status st__exchange_place_fail(const st__exchange *exchange, const st__exchange_record *record,
                                  int failed, const char *what, st_error *error) ST__COLD;
/* Notes that there will be something of a record in a place. ST_ERR_NOMEM. */
st_status st__exchange_place_note(st__exchange *exchange, const st__exchange_record *record,
                                  const st__location *at, st_error *error);
/* Gives two of the places that were noted that are the same; `*two` is NULL where there are none. `folds`: names that
 * differ in case only are the same, which the places are not to be used after. ST_ERR_NOMEM. */
st_status st__exchange_places_compare(const st__exchange *exchange, bool folds, const char **one,
                                      const char **two, st_error *error);

/* How all of its files are found. */
enum {
    ST__EXCHANGE_READY,    /* to be carried out, as far as that was not done */
    ST__EXCHANGE_UNTOUCHED /* all old files are where they were, and no new one is there */
};
/* Looks at all files of it, and changes none. ST_ERR_JOURNAL where one is not what the list knows. */
st_status st__exchange_judge(st__exchange *exchange, int *out, st_error *error);
/* Does what was not done yet; the list stays. `*changed` is whether there was anything. */
st_status st__exchange_carry_out(const st__exchange *exchange, bool *changed, st_error *error);
/* Removes the new files of a list that was not finished, as far as they are those that it knows. */
void st__exchange_clear(const st__exchange *exchange);
/* Removes the list, for good if it is durable; an errno. */
int st__exchange_settle(const st__exchange *exchange);
/* What stands in the place of a record, and beside it; notes the place. ST_ERR_IO; ST_ERR_NOMEM. */
st_status st__exchange_record_look(st__exchange *exchange, const st__exchange_record *record,
                                   st__known *here, st__known *aside, st_error *error);
/* Tells whether what is in the place of a record is what it is to have. */
bool st__exchange_record_is_done(const st__exchange_record *record, const st__known *here,
                                 const st__known *aside);

/* ------------------------------------------------------------------------ exchange_recover.c */

/* Tells whether there is a list, by what it begins with: an edit in place has journals of such names too. An errno. */
int st__exchange_is_there(const st__exchange *exchange, bool *out);
/* Ends what a list that is there was made for, or gives it up where it was not finished. ST_ERR_IO, with EAGAIN while
 * its edit is under way; ST_ERR_JOURNAL; ST_ERR_NOMEM. */
st_status st__exchange_recover(st__exchange *exchange, bool *changed, st_error *error);
/* Tells what st__exchange_recover would do: what there is to say of several files. Keeps nobody out, unless the files
 * look as if the list could not be used: an edit that is under way may be why. As st__exchange_recover. */
st_status st__exchange_look(st__exchange *exchange, st_checkpoint_recovery *out, st_error *error);

/* -------------------------------------------------------------------------- exchange_write.c */

/* The calls of an edit, in their order. Ends what edits before have left in the folder: of this list, and of others, which
 * may be of the same files. `*changed` is whether that changed any. As st__exchange_recover. */
st_status st__exchange_start(st__exchange *exchange, bool *changed, st_error *error);
/* Prepares the place of a file: one that is to take it gets the folders that it is in. ST_ERR_IO, with EEXIST for a name
 * that is taken and has to be free; ST_ERR_UNSUPPORTED for one that is to go and lies behind a link; ST_ERR_NOMEM. */
st_status st__exchange_plan(st__exchange *exchange, const char *name, uint32_t kind,
                            st_error *error);
/* Makes an empty list, locked. ST_ERR_IO, with EAGAIN where there is one, or another in the folder; ST_ERR_UNSUPPORTED
 * where two places that were planned are the same; ST_ERR_NOMEM. */
st_status st__exchange_begin(st__exchange *exchange, st_error *error);
/* Opens the sink of a new file. */
st_status st__exchange_sink_open(const st__exchange *exchange, const char *name, st_sink **out,
                                 st_error *error);
/* Puts into the list what a sink was finished with. */
st_status st__exchange_put(st__exchange *exchange, const char *name, const st_sink *sink,
                           st_error *error);
/* Makes a new file of a text, and puts it into the list. */
st_status st__exchange_put_text(st__exchange *exchange, const char *name, const char *text,
                                size_t len, st_error *error);
/* Puts a file that is to go. */
st_status st__exchange_put_going(st__exchange *exchange, const char *name, st_error *error);
/* Nothing changed meanwhile, and all is on the disk: the list holds from now on, and is carried out. ST_ERR_CHANGED;
 * ST_ERR_IO, of which the message says whether the list is left. */
st_status st__exchange_finish(st__exchange *exchange, st_error *error);
/* Removes a list that was not finished, and the new files. */
void st__exchange_give_up(st__exchange *exchange);

#endif
