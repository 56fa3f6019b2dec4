/* SPDX-License-Identifier: Apache-2.0 */
/* Sinks, as io/ and file/ see them. */
#ifndef ST_IO_SINK_H
#define ST_IO_SINK_H

#include "base/ref.h"
#include "io/source.h"

/* A stretch of a source. */
typedef struct st__stretch {
    st_source *source;
    uint64_t from;
    uint64_t size;
} st__stretch;

struct st_sink {
    st__ref ref;
    st_context *context;
    st_sink_vtable vtable;
    /* Moves bytes out of a source without their passing through this process. `*done` is how many were
     * moved, 0 where that cannot be done for these two: the caller reads and writes the rest. NULL: never. */
    st_status (*copy)(void *self, uint64_t offset, const st__stretch *stretch, uint64_t *done,
                      st_error *error);
    void *self;
    bool foreign;
    bool named; /* the name is the caller's; else it is the path */
    bool begun;
    uint32_t durability; /* ST_DURABLE_… */
    uint32_t cache;      /* ST_CACHE_… */
    char *name;
    size_t name_size;
};

/* Wraps a vtable without judging it; `name` is used where the options say none. `self` is the sink's own
 * from then on, on success. */
st_status st__sink_wrap(const st_sink_vtable *vtable, void *self, const char *name,
                        const st_sink_options *options, st_sink **out, st_error *error);

/* ST_ERR_ARGUMENT for options of unknown durability, flags or cache, or reserved words set; NULL is fine. */
st_status st__sink_options_check(const st_sink_options *options, st_error *error);

/* The calls of the vtable, with an error's message made where a foreign sink gave none. `begin` is
 * ST_ERR_ARGUMENT the second time. */
st_status st__sink_begin(st_sink *sink, uint64_t size, st_error *error);
st_status st__sink_write(st_sink *sink, uint64_t offset, const st_bytes *pieces, size_t count,
                         st_error *error);
st_status st__sink_copy(st_sink *sink, uint64_t offset, const st__stretch *stretch, uint64_t *done,
                        st_error *error);
st_status st__sink_finish(st_sink *sink, st_error *error);

/* Nothing more will be written to the sink's descriptor: hears what the file system has kept to itself, and
 * waits for the disk unless that was not asked for. */
st_status st__sink_settle(const st_sink *sink, int fd, st_error *error);

/* Says that what is written is made of a source, which was `identity` when it was opened: where that is the file whose
 * place the sink takes, it has to be there still, and as it was then. ST_ERR_CHANGED, now or from st__sink_finish. */
st_status st__sink_made_of(st_sink *sink, const st_source *source, const st_source_info *identity,
                           st_error *error);

/* Opens a sink of a path that begins in a directory, of which what it is finished with is not to take the place of what
 * is there: it stays beside it, in the directory where it would go and as durable as was asked for, under a name of its
 * own. As st_sink_open; ST_ERR_UNSUPPORTED where something else than a file is there. */
st_status st__sink_open_aside(int directory, const char *path, const st_sink_options *options,
                              st_sink **out, st_error *error);
/* Gives that name, once it was finished; the file is the caller's from then on. */
const char *st__sink_aside_name(const st_sink *sink);
/* Tells whether a name can be one of those. */
bool st__sink_is_aside_name(const char *name, size_t len);

static inline bool st__sink_is_sequential(const st_sink *sink)
{
    return (sink->vtable.flags & ST_SINK_SEQUENTIAL) != 0;
}

/* A sink over a stream's descriptor, which is taken over on success. */
st_status st__sink_stream(int fd, int kind, const char *name, const st_sink_options *options,
                          st_sink **out, st_error *error);

#endif
