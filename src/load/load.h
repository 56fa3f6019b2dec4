/* SPDX-License-Identifier: Apache-2.0 */
/* A load at work: what its threads share, and what each has for itself. */
#ifndef ST_LOAD_LOAD_H
#define ST_LOAD_LOAD_H

#include "base/ref.h"
#include "base/team.h"
#include "base/thread.h"
#include "file/file.h"
#include "io/gather.h"
#include "io/lane.h"
#include "load/load_plan.h"

/* What buffers that outlive their load share with it. */
typedef struct st__load_gate {
    st__ref ref;
    st__lock lock;     /* of all that changes in a load */
    st__signal signal; /* something did */
    uint64_t live;     /* bytes of blocks that nobody gave back yet */
} st__load_gate;

/* Of a file's route, and of a block's memory. */
enum { ST__LOAD_ABSENT = 0, ST__LOAD_MAKING, ST__LOAD_READY, ST__LOAD_OVER };

typedef struct st__load_file {
    const st_file *file;
    st__wanted wanted;
    st__route route;
    st_source_info before; /* identity when the load began */
    st_explanation explanation;
    st_buffer *view;    /* the mapping that items are shown in; or */
    st_buffer *mapping; /* the one that they are copied out of */
    bool changes;       /* it may change meanwhile: it is not memory */
    uint8_t state;      /* of the route */
    uint32_t users;     /* workers that are at it */
    uint32_t units;     /* that are not done */
    uint64_t viewable;  /* bytes of items that a mapping could show */
} st__load_file;

typedef struct st__load_memory {
    st_buffer *buffer;
    uint32_t items; /* not handed out yet */
    uint8_t state;
    bool present; /* its pages are there */
} st__load_memory;

/* One thread's. */
typedef struct st__load_worker {
    st_load *load;
    uint32_t file; /* whose route the lane goes; ST__LOAD_NONE: none */
    uint32_t item; /* that is gathered; ST__LOAD_NONE: none */
    st__lane lane;
    st__runs runs;
    st__transfer transfer;
    st__gather gather;
    unsigned char *stage;
    void *stage_memory;
    size_t stage_memory_size;
    st__extent extents[ST__LOAD_EXTENTS];
} st__load_worker;

struct st_load {
    st_context *context;
    st__load_gate *gate;
    st__load_plan plan;
    st__load_facts *facts; /* one per file, as are: */
    st__load_file *files;
    st__load_memory *memory; /* one per block */
    st__load_worker *workers;
    st__crew crew;
    uint32_t worker_count; /* the caller's thread counts where no other reads */
    uint32_t readers;      /* threads that read */
    uint64_t max_ahead;
    uint64_t total;
    /* Under the gate's lock: */
    uint32_t *ready; /* items, in the order in which they became complete */
    uint32_t ready_first;
    uint32_t ready_end;
    uint32_t next_unit;
    uint32_t running; /* units */
    uint32_t front;   /* block behind the last that was begun */
    uint64_t done;
    bool waiting; /* the caller does */
    bool cancelled;
    st_status status;
    st_error failure;
};

/* Fills entries, files and what the load wants of each out of the items; judges them. `load` has its plan's
 * context and nothing else. */
st_status st__load_list(st_load *load, const st_load_item *items, size_t count, uint32_t io,
                        st_error *error);
/* Asks how each file is best read, and shows what may be shown. */
st_status st__load_routes(st_load *load, const st_load_options *options, st_error *error);
/* Drops what is left of it. */
void st__load_routes_release(st_load *load);

/* A route that is open while a worker uses it. */
st_status st__load_route_join(st_load *load, uint32_t file, st_error *error);
void st__load_route_part(st_load *load, uint32_t file);
/* ST_ERR_CHANGED where the file is not what it was. */
st_status st__load_file_check(const st__load_file *file, st_error *error);

st_status st__load_gate_new(st_context *context, st__load_gate **out, st_error *error);
void st__load_gate_release(st__load_gate *gate, st_context *context);

/* Makes a block's memory, or waits until another thread has. */
st_status st__load_block_need(st_load *load, uint32_t block, st_error *error);
/* Under the lock: whether there is room for a block. */
bool st__load_block_fits(const st_load *load, uint32_t block);
/* Under the lock: the load itself is done with an item's block; gives the reference to drop without it, or
 * NULL. */
st_buffer *st__load_block_leave(st_load *load, uint32_t block);
/* A thread's work: makes memory and its pages ahead of the reads. */
void st__load_populate(st_load *load);

/* A thread's work: units until there are none. */
void st__load_work(st__load_worker *worker);
/* Does one unit on the caller's thread. */
void st__load_step(st__load_worker *worker);
void st__load_worker_release(st__load_worker *worker);

#endif
