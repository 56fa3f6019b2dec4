/* SPDX-License-Identifier: Apache-2.0 */
/* Exact order statistics of keys that are seen several times, in bounded memory.
 *
 * All keys are counted by their highest 16 bits first. What is wanted then lies in a few intervals of keys, and
 * each further reading divides these, until each holds a single key, or all of them hold so few that the next
 * reading keeps and sorts them. */
#ifndef ST_INSPECT_STATS_ORDER_H
#define ST_INSPECT_STATS_ORDER_H

#include "inspect/stats.h"
#include "inspect/stats_chunk.h"

/* Keys from low to high; key k is counted in counter start + ((k - low) >> shift). */
typedef struct st__interval {
    uint64_t low;
    uint64_t high;
    uint64_t below; /* how many of the keys that count come before */
    uint64_t count; /* how many lie in it */
    uint32_t shift;
    uint32_t start;
} st__interval;

typedef struct st__order {
    const st__stats_run *run;
    st_context *context;
    st__number number;
    uint32_t key_bits;
    uint32_t workers;
    uint32_t bits;          /* by which an interval is divided at once */
    size_t limit;           /* counters a worker may have */
    st__counters *counters; /* per worker */
    st__interval *open;     /* in rising order */
    st__interval *spare;    /* room for the next ones */
    size_t open_count;
    uint64_t *ranks;   /* wanted, in rising order, each once */
    uint64_t *keys;    /* found */
    size_t rank_count; /* 0 before the first reading ended */
    size_t capacity;   /* of open, spare, ranks and keys */
    uint64_t least;    /* of the keys that count */
    uint64_t most;
    uint16_t *slots; /* by (key - lowest) >> slot_shift: the first interval that reaches there */
    uint64_t span;   /* from the lowest key of an open interval to the highest */
    uint32_t slot_shift;
    unsigned char *marks; /* by the top of an element: whether an open interval may hold it */
    uint64_t *kept;   /* keys in open intervals, and room to sort them; NULL: they are counted */
    size_t kept_size; /* how many there must be */
    atomic_size_t kept_count;
    bool first; /* the first reading: counters are by the tops of elements */
} st__order;

/* Wants the statistics next to the probabilities of `run`. */
st_status st__order_init(st__order *order, const st__stats_run *run, st__number number,
                         uint32_t workers, st_error *error);
void st__order_release(st__order *order);

/* Takes up to ST__CHUNK elements of a reading. Each reading takes all of them. */
void st__order_count(st__order *order, uint32_t worker, const unsigned char *data, size_t count);
/* Ends the first reading, of which run->out->finite keys count, those from `least` to `most`, and at least
 * one. ST_ERR_CHANGED, here and below, where the counts contradict each other. */
st_status st__order_start(st__order *order, uint64_t least, uint64_t most, st_error *error);
/* Ends another one. */
st_status st__order_go_on(st__order *order, st_error *error);
/* How many readings will be needed still; 0: all is found. */
uint32_t st__order_readings(const st__order *order);
/* The key of a rank that was wanted. */
uint64_t st__order_key(const st__order *order, uint64_t rank);

#endif
