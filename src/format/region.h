/* SPDX-License-Identifier: Apache-2.0 */
/* Regions, and the one iterator that turns a region of a tensor into runs of bytes.
 *
 * A plan (st__runs) is made once and then immutable: dimensions that lie densely behind each other are
 * merged into one level, so that the columns of a matrix are a single strided run, whatever the number
 * of rows. Each thread walks it with a cursor of its own, in the order of the destination, from any
 * byte of the destination on. Memory is O(ndim), and none is taken for up to ST__RUNS_INLINE levels. */
#ifndef ST_FORMAT_REGION_H
#define ST_FORMAT_REGION_H

#include <safetensors/safetensors.h>

/* `pieces` pieces of `length` bytes each, the first at byte `offset` of the tensor, their starts `stride`
 * bytes apart. In the destination they are packed. */
typedef struct st__run {
    uint64_t offset;
    uint64_t length;
    uint64_t pieces;
    int64_t stride; /* 0 for a single piece, and where an array repeats one */
} st__run;

/* One loop around the pieces. */
typedef struct st__level {
    uint64_t count;
    int64_t stride;          /* bytes, where `slices` is NULL */
    const st_slices *slices; /* or the positions, `unit` bits apart */
    uint64_t unit;
    uint64_t first; /* the first position of `slices` */
} st__level;

#define ST__RUNS_INLINE 6u

typedef struct st__runs {
    uint64_t size;   /* bytes of the destination */
    uint64_t offset; /* byte of the tensor at which the first piece starts */
    uint64_t piece; /* bytes of a piece: what is contiguous in tensor and destination; at least 1 */
    uint64_t piece_bits; /* the same where there are levels, exactly, as start_bits is `offset` */
    uint64_t start_bits;
    uint32_t depth; /* levels, the innermost first; 0: one piece is all */
    st__level *levels;
    st__level room[ST__RUNS_INLINE];
    st_context *context;
    size_t memory_size;
} st__runs;

/* Where a level stands. */
typedef struct st__place {
    uint64_t index; /* within the level, or within the slice */
    uint32_t slice;
} st__place;

typedef struct st__cursor {
    const st__runs *runs;
    uint64_t at;          /* byte of the destination that comes next */
    uint64_t offset_bits; /* bit of the tensor at which the current piece starts */
    uint64_t within_bits; /* of the current piece already delivered */
    st__place *places;
    st__place room[ST__RUNS_INLINE];
} st__cursor;

/* Judges a region that somebody else filled: ST_ERR_ARGUMENT unless it lies within the tensor and
 * counts right; ST_ERR_INDEX_MISALIGNED. */
st_status st__region_check(const st_region *region, const st_tensor *tensor, st_error *error);

/* Plans a whole tensor (region NULL) or a region that st__region_check accepts. Refers to `region`. */
st_status st__runs_init(st__runs *runs, st_context *context, const st_tensor *tensor,
                        const st_region *region, st_error *error);
/* Plans the elements of an array in row-major order. Offsets count from the array's lowest byte, whose distance
 * below array->data is stored in `*below`. ST_ERR_OVERFLOW where the array reaches further than memory does;
 * ST_ERR_INDEX_MISALIGNED for sub-byte rows that do not end at byte boundaries, and a sub-byte total that does
 * not; ST_ERR_DTYPE_UNKNOWN; ST_ERR_NOMEM. Pieces may overlap, and their stride be 0. `array` may go after. */
st_status st__runs_init_array(st__runs *runs, st_context *context, const st_array *array,
                              uint64_t *below, st_error *error);
void st__runs_release(st__runs *runs);
/* For planning: wraps what there is into `count` > 1 repetitions `stride` bytes apart. There is room for it. */
void st__runs_repeat(st__runs *runs, uint64_t count, int64_t stride);

/* The first byte of the tensor that any piece covers, and the one behind the last. */
void st__runs_span(const st__runs *runs, uint64_t *low, uint64_t *high);

/* Starts at byte `at` of the destination, 0 .. size. */
st_status st__cursor_init(st__cursor *cursor, const st__runs *runs, uint64_t at, st_error *error);
void st__cursor_release(st__cursor *cursor);
void st__cursor_seek(st__cursor *cursor, uint64_t at);
/* Gives the next run, of at most `limit` bytes in all (> 0); false at the end. */
bool st__cursor_next(st__cursor *cursor, uint64_t limit, st__run *out);

/* Gives the next slice of a list, with all that follow seamlessly joined to it; empty ones are skipped.
 * `*i` starts at 0. */
bool st__slices_next(const st_slices *slices, uint32_t *i, st_slice *out);

#endif
