/* SPDX-License-Identifier: Apache-2.0 */
/* Sources, as io/ and file/ see them. */
#ifndef ST_IO_SOURCE_H
#define ST_IO_SOURCE_H

#include "base/ref.h"
#include "io/descriptors.h"

struct st_source {
    st__ref ref;
    st_context *context;
    st_source_vtable vtable;
    void *self;
    bool foreign;              /* the caller's own: what it says is looked at twice */
    bool named;                /* the name is the caller's; else it is the path */
    bool is_file;              /* has a descriptor */
    st__descriptor descriptor; /* of a file source */
    uint32_t latency;          /* of a file source: ST_LATENCY_… */
    st_memory memory;          /* of a memory source; data NULL otherwise */
    char *name;
    size_t name_size;
};

/* Wraps a vtable without judging it; `name` is used where the options say none. */
st_status st__source_wrap(const st_source_vtable *vtable, void *self, const char *name,
                          const st_open_options *options, st_source **out, st_error *error);

/* A source of memory that stays the caller's until st__source_own. */
st_status st__source_borrow(const st_memory *memory, const st_open_options *options,
                            st_source **out, st_error *error);
/* From now on `release` is called for the memory with the last reference. */
void st__source_own(st_source *source, void (*release)(void *ctx, void *data, size_t size));

/* As st_source_open, of a file that is known, and opened when it is read: `first` and `latency` are what it was when
 * it was open. ST_ERR_UNSUPPORTED where it has to be opened now; without a context, ST_ERR_NOMEM. */
st_status st__source_open_later(const char *path, const st_open_options *options,
                                const st__os_info *first, uint32_t latency, st_source **out,
                                st_error *error);

/* What a file source says of itself when its file is `info`. */
void st__source_info_fill(const st_source *source, const st__os_info *info, st_source_info *out);

/* Gives the descriptor behind a source, open until it is let go: a file source may otherwise close it between two
 * reads. -1 for a source that has none; nothing is to be let go then. Fails as a read does. */
st_status st__source_hold(st_source *source, int *fd, st_error *error);
void st__source_let_go(st_source *source);

/* Reads into several pieces of memory. */
st_status st__source_readv(st_source *source, uint64_t offset, const st_segment *segments,
                           size_t count, st_error *error);

/* Maps the whole source; ST_ERR_UNSUPPORTED where it cannot be. */
st_status st__source_map(st_source *source, uint32_t mode, st_buffer **out, st_error *error);

/* Copies a name as it may stand in one line of UTF-8, terminated: what is no character, and controls,
 * become "?". `to` has room for len + 1 bytes. */
void st__name_copy(char *to, const char *name, size_t len);

/* What a caller's own source or sink said of its failure, or, where that was nothing, or an error from
 * before, what the status says. */
st_status st__foreign_settle(const char *name, st_status status, const st_error *said,
                             st_error *error);

/* Duplicates a caller's descriptor. `name` receives what stands for it in messages where the caller says no
 * name (`shown` NULL). ST_ERR_IO with the errno. */
st_status st__descriptor_duplicate(int fd, const char *shown, char name[32], int *out,
                                   st_error *error);

/* "a directory", "a pipe", ... */
const char *st__kind_text(int kind);

/* Tells whether a file that was looked at twice is the same, and was not written to meanwhile. */
static inline bool st__identity_same(const st_source_info *then, const st_source_info *now)
{
    return now->device == then->device && now->inode == then->inode && now->size == then->size &&
           now->mtime_ns == then->mtime_ns;
}

#endif
