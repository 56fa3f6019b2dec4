/* SPDX-License-Identifier: Apache-2.0 */
/* The ways of loading that run in bench_load itself: this library's, and the ceilings. */
#ifndef BENCH_LOAD_WAYS_H
#define BENCH_LOAD_WAYS_H

#include "load_model.h"

#include <safetensors/load.h>

/* What one load takes. */
typedef struct load_cost {
    double ns;
    double cpu_ns; /* of all threads, in the kernel too */
    double memory; /* bytes of the process's own, pages of files not counted, at their highest */
} load_cost;

/* What is there when all is loaded, and given back after the clock was read. */
typedef struct load_held {
    st_context *context;
    st_load *load;
    st_file *files[LOAD_FILES_MAX];
    st_load_item *items;
    st_buffer **buffers; /* one per tensor */
    size_t count;        /* of buffers */
    void *maps[LOAD_FILES_MAX];
    size_t map_sizes[LOAD_FILES_MAX];
    unsigned char *copy;
    size_t copy_size;
    st_explanation how; /* of the first file, where this library loads */
} load_held;

typedef struct load_way {
    const char *who;
    /* What a consumer has at the end: "views", tensors that are the file's pages; "owned", memory of their
     * own; "streamed", nothing: each was touched as it came; "untouched": owned, and not touched;
     * "ceiling". */
    const char *gives;
    /* Gives the sum of all words, or that of the model where nothing is summed up. */
    uint64_t (*run)(const struct load_way *way, const load_model *model, load_held *held);
    /* Done before the clock starts; may be NULL. */
    void (*prepare)(const load_model *model, load_held *held);
    uint32_t flags;     /* ours: ST_LOAD_… */
    uint64_t max_ahead; /* ours: 0, or all is given back at once */
    unsigned threads;   /* ceilings: of memcpy */
} load_way;

extern const load_way load_ours[];
extern const size_t load_ours_count;
extern const load_way load_ceilings[];
extern const size_t load_ceilings_count;

/* Runs it, checks what came, and gives everything back. `how` receives how it was done, where that is known. */
load_cost load_way_run(const load_way *way, const load_model *model, st_explanation *how);

#endif
