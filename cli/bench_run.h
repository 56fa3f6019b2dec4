/* SPDX-License-Identifier: Apache-2.0 */
/* The measurements of bench: a file, or all files of a checkpoint as one load, by each strategy, out of the page cache
 * and past it. */
#ifndef CLI_BENCH_RUN_H
#define CLI_BENCH_RUN_H

#include <safetensors/load.h>

#include "input.h"
#include "progress.h"

/* What is measured: the strategies by their numbers, ST_IO_…, and views of a mapping. */
enum { WAY_AUTO = ST_IO_AUTO, WAY_VIEWS = ST_IO_POPULATE + 1, WAYS };
enum { STATE_COLD, STATE_WARM, STATES };

/* Gives "auto", "pread" and so on, "views"; NULL from WAYS on. */
const char *bench_way_name(unsigned way);

/* The runs of one kind. */
struct bench_series {
    double *seconds; /* `count`, in the order of the runs */
    double *cpu;
    size_t count;
    uint64_t bytes; /* of one run */
    double median;  /* all of these of the runs' seconds */
    double low;
    double high;
    double cpu_median;
    double rate; /* bytes in a second: at the median, or of a ceiling in its best run */
};

struct bench_result {
    struct bench_series series;
    st_explanation said; /* how the last run was done */
};

/* One state of the page cache. */
struct bench_state {
    char reason[300]; /* why it was not measured; "" if it was */
    char note[300];   /* what is to be known of the figures, or "" */
    uint64_t
        resident; /* of the file when a run began: the most when cold, the least when warm; UINT64_MAX:
                          unknown */
    struct bench_series ceiling;
    char no_ceiling[300]; /* why there is none, or "" */
    struct bench_result results[WAYS];
};

struct bench {
    /* What is asked for. */
    const char *path; /* of a file or a checkpoint */
    const struct common *common;
    unsigned ways;   /* a bit for each */
    unsigned states; /* a bit for each */
    size_t runs;
    uint32_t threads; /* 0: the library's default */
    uint64_t
        ahead; /* bytes held in memory at once; 0: all, unless there is no room, which is told here */
    /* What comes of it. */
    struct input_paths files;
    uint64_t size;  /* of them all */
    uint64_t bytes; /* of the tensors */
    size_t tensors;
    uint32_t latency; /* ST_LATENCY_… */
    struct bench_state at[STATES];
};

/* Measures. */
st_status bench_run(struct bench *bench, st_error *error);
/* Frees what it made, after a failure too. */
void bench_release(struct bench *bench);
/* Tells whether the last run of a strategy was done by another one. */
bool bench_is_replaced(const struct bench_state *state, unsigned way);

#endif
