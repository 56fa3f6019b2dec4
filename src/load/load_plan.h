/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a load, pure: which bytes of which file are read together, in which order, and where each item's
 * go. Linear in the items but for one sort, which costs nothing where they come in the order of the files.
 *
 * Items become *units*, each done by one thread in one go; a large item has several, and many small
 * ones share one. Items without a destination of the caller's are placed in *blocks* of memory. */
#ifndef ST_LOAD_LOAD_PLAN_H
#define ST_LOAD_LOAD_PLAN_H

#include <safetensors/load.h>

#define ST__LOAD_NONE UINT32_MAX
/* Extents of a unit, at most. */
#define ST__LOAD_EXTENTS 256u

/* How an item's bytes come. */
enum {
    ST__LOAD_EMPTY = 0, /* none to come */
    ST__LOAD_VIEW,      /* shown in the file's mapping */
    ST__LOAD_PLACED,    /* in a block, beside its neighbours in the file */
    ST__LOAD_SMALL,     /* with its neighbours, through staging memory */
    ST__LOAD_SINGLE,    /* by itself, straight into place */
    ST__LOAD_STRIDED    /* gathered piece by piece */
};

typedef struct st__load_entry {
    const st_tensor *tensor;
    const st_region *region; /* of strided ones */
    uint64_t offset;         /* in the file, of the first byte; of a strided one, of the tensor */
    uint64_t size;
    unsigned char *dst; /* the caller's; NULL: in a block, or in the mapping */
    uint64_t place;     /* in the block */
    uint32_t block;     /* ST__LOAD_NONE: in none */
    uint32_t file;
    uint32_t left; /* units that are to come */
    uint32_t
        piece; /* of a strided one: bytes of a piece, or 4096 where that is more than 32 bits tell */
    uint8_t align; /* of the element, 1 to 16 */
    uint8_t kind;  /* ST__LOAD_… */
} st__load_entry;

/* What is known of a file. */
typedef struct st__load_facts {
    uint64_t size;  /* of the file */
    uint64_t gap;   /* bytes between two pieces, up to which they are read together */
    uint64_t unit;  /* bytes of a unit, about: a multiple of 65536 */
    uint64_t stage; /* bytes of small items and the gaps between, that are read together */
    uint32_t align; /* of direct reads; 1: none */
    bool views;     /* contiguous items are shown in a mapping */
    bool populates; /* which is filled ahead, in units */
    bool fresh;     /* blocks are best populated ahead of the reads */
} st__load_facts;

/* Bytes of the file, to be read to one place. */
typedef struct st__load_extent {
    uint64_t offset;
    uint64_t size;
    unsigned char *dst; /* NULL: in the unit's block */
    uint64_t place;
} st__load_extent;

typedef struct st__load_unit {
    uint64_t at;   /* in the file, about: by which units are ordered */
    uint64_t from; /* small, view: of the file; strided and alone: of the destination */
    uint64_t to;
    uint32_t member; /* the first of `count` in the plan's list */
    uint32_t count;
    uint32_t extent; /* the first of `extents`; of placed and single ones */
    uint32_t extents;
    uint32_t file;
    uint32_t block; /* that it fills; ST__LOAD_NONE: none */
    uint8_t kind;
} st__load_unit;

typedef struct st__load_block {
    uint64_t size;    /* bytes of memory */
    uint64_t payload; /* bytes that are read into it */
    uint64_t at; /* in its first file, of the first unit that fills it, where blocks are bounded */
    uint32_t items; /* that lie in it */
    bool fresh;
} st__load_block;

typedef struct st__load_plan {
    st_context *context;
    st__load_entry *entries;
    const st__load_facts *files;
    uint32_t count;
    uint32_t file_count;
    uint64_t block_size; /* at most, but for a single item that is larger */
    bool bounded;        /* blocks are filled one after the other */
    uint32_t *order;     /* items that are to be read, by file and offset */
    uint32_t order_count;
    st__load_unit *units;
    st__load_block *blocks;
    st__load_extent *extents;
    uint32_t *members;
    uint32_t unit_count, unit_room;
    uint32_t block_count, block_room;
    uint32_t extent_count, extent_room;
    uint32_t member_count, member_room;
    uint32_t open[2]; /* blocks that take more: of stretches, and of what is placed apart */
} st__load_plan;

/* Orders what is not empty. Entries have tensor, region, offset, size, dst, file, piece, align; kind
 * ST__LOAD_STRIDED where it is, else 0. */
st_status st__load_plan_sort(st__load_plan *plan, st_error *error);
/* Makes units and blocks of it; `files` is filled then. */
st_status st__load_plan_make(st__load_plan *plan, st_error *error);
/* Frees all that it made; not the entries. */
void st__load_plan_release(st__load_plan *plan);

#endif
