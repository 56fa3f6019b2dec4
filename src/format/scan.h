/* SPDX-License-Identifier: Apache-2.0 */
/* The header under construction, and the parser that fills it unit by unit.
 *
 * A unit is what is parsed whole or again: the opening brace, one member with the separator behind it, one
 * metadata entry, the padding. header_read.c moves a window over the header and calls
 * st__scan_unit; where a unit runs into the window's end, it is parsed again after a refill, so a unit
 * changes nothing that matters before it is complete.
 *
 * Without a sink the parser is fast: the first deviation that counts ends it, unreported. With a sink it
 * reports each and goes on; the window must then hold the whole header. */
#ifndef ST_FORMAT_SCAN_H
#define ST_FORMAT_SCAN_H

#include "base/map.h"
#include "base/ref.h"
#include "format/json.h"
#include "format/rule.h"

/* Shapes lie in chunks that never move; equal shapes share one place. */
typedef struct st__dims {
    struct st__dims *next;
    size_t used;
    size_t capacity;
    uint64_t at[];
} st__dims;

enum { ST__UNKNOWN_DTYPES_MAX = 64 };

struct st_header {
    st__ref ref;
    st_context *context;
    st_tensor *tensors;
    size_t count;
    size_t tensor_capacity;
    char *text; /* names, metadata and unknown dtype codes, each terminated */
    size_t text_size;
    st__dims *dims; /* the newest chunk first */
    st__map by_name;
    st_metadata *metadata;
    size_t metadata_count;
    size_t metadata_capacity;
    bool has_metadata;
    st__map by_key;
    st__key *unknown_dtypes; /* ST__UNKNOWN_DTYPES_MAX of them, or NULL */
    size_t unknown_count;
    uint64_t size; /* N */
    uint64_t data_size;
    st__hash_key hash_key;
};

/* Where an entry stands, relative to the header's first byte. */
typedef struct st__entry_place {
    uint32_t name;    /* its opening quote */
    uint32_t offsets; /* the bracket of data_offsets */
} st__entry_place;

/* A run of bytes between two values, compared in words with the last one masked. */
typedef struct st__literal {
    uint64_t words[8];
    uint64_t last_mask;
    uint32_t count; /* words */
    uint32_t size;  /* bytes */
} st__literal;

/* What the last entry looked like around its values: the next one most likely looks the same. */
typedef struct st__pattern {
    bool learned;
    unsigned char order[3]; /* ST__FIELD_… in the order of the text */
    st__literal before
        [3]; /* each up to the first byte of a value; the first from the name's closing quote */
    st__literal after; /* from the last value up to and with the next name's opening quote */
    bool brackets;     /* the shape's last digit and its bracket stand together */
} st__pattern;

/* A shape as it was written, to know it again without reading its numbers. */
typedef struct st__shape_text {
    uint64_t words[2]; /* the text, zeros behind it */
    const uint64_t *at;
    uint64_t count; /* elements, few enough to count their bits */
    uint32_t ndim;
    uint32_t size; /* of the text; 0: empty */
} st__shape_text;

/* The last end as it was written: the next begin most likely is the same. */
typedef struct st__end_text {
    uint64_t words[2];
    uint64_t value;
    uint32_t size; /* 0: empty */
} st__end_text;

enum { ST__FIELD_DTYPE, ST__FIELD_SHAPE, ST__FIELD_OFFSETS };

typedef enum st__phase {
    ST__PHASE_START,
    ST__PHASE_MEMBERS,
    ST__PHASE_METADATA,
    ST__PHASE_TAIL
} st__phase;

typedef enum st__unit {
    ST__UNIT_OK,
    ST__UNIT_END,      /* the header is over */
    ST__UNIT_FAULT,    /* json.fault: maybe only the window's end */
    ST__UNIT_DEVIATES, /* no sink: a second look must tell what is wrong */
    ST__UNIT_FATAL,    /* reported; cannot go on */
    ST__UNIT_STOPPED,  /* by the sink */
    ST__UNIT_NOMEM
} st__unit;

typedef struct st__scan {
    st__json json;
    const unsigned char
        *limit; /* the fast path stops here; it looks up to ST__SCAN_AHEAD bytes ahead */
    bool final; /* the window ends where the header does */
    st__phase phase;
    uint32_t flags;
    const st__sink *sink;
    st_header *header;
    st__unit outcome; /* of the unit in hand, once something failed */
    char *text;       /* the next free byte */
    uint64_t running; /* the end of the last entry */
    bool unordered;   /* some entry does not begin where the one before it ends */
    bool metadata_seen;
    bool padding_reported;
    bool incomplete; /* an entry could not be placed: holes prove nothing */
    st__pattern pattern;
    st__dims *rewind_chunk; /* where the unit in hand found the dims */
    size_t rewind_used;
    struct {
        uint64_t code; /* up to 8 bytes; 0: empty */
        st_dtype dtype;
    } dtypes[8]; /* codes met, by hash */
    struct {
        const uint64_t *at;
        uint32_t ndim;
    } shapes[64];                   /* shapes met, by hash */
    st__shape_text shape_texts[16]; /* the same by text */
    st__end_text end_text;
    st__entry_place *places; /* with a sink: one per tensor */
    size_t places_size;
    uint32_t *metadata_places; /* with a sink: of each key */
    size_t metadata_places_capacity;
} st__scan;

/* Parses the next unit; after ST__UNIT_OK the cursor stands behind it. */
st__unit st__scan_unit(st__scan *scan);

/* Forgets what the unit in hand took from the arenas. */
void st__scan_rewind(st__scan *scan, const unsigned char *unit, char *text);

/* Behind the limit the fast path still reads at most the rest of one entry: four literals, a dtype, ten
 * numbers, each of bounded length. */
enum { ST__SCAN_AHEAD = 1024 };

/* The fast path: takes entries from the cursor on as long as each matches the pattern of the one before; one
 * that differs in any way is left for the general path. */
void st__scan_learned(st__scan *scan);

/* Learns a literal; false if it is too long. */
bool st__literal_learn(st__literal *literal, const unsigned char *from, const unsigned char *to);

/* Reports a deviation of the tensor `name` (NULL: none). False: the unit is over, scan->outcome says why. */
bool st__scan_deviates(st__scan *scan, st__rule rule, uint64_t offset, const char *name,
                       size_t name_len, const char *format, ...)
    __attribute__((format(printf, 6, 7), cold));

/* Ends the unit in hand; always false. */
static inline bool st__scan_stop(st__scan *scan, st__unit outcome)
{
    scan->outcome = outcome;
    return false;
}

/* The same for what the lexer has recorded. */
static inline bool st__scan_fault(st__scan *scan)
{
    return st__scan_stop(scan, ST__UNIT_FAULT);
}

/* The offset in the file of a byte of the window. */
static inline uint64_t st__scan_offset(const st__scan *scan, const unsigned char *p)
{
    return st__json_offset(&scan->json, p);
}

/* Passes what follows a member of the top object: a comma, or the closing brace. */
bool st__scan_member_end(st__scan *scan);

/* Tells whether a name is empty or shows something else than it is. */
bool st__name_suspect(const char *name, size_t len);

/* Parses the value behind a tensor's name, up to the next member, and takes the tensor. The cursor stands at the
 * value; the name lies decoded in the arena, in the text from its opening to its closing quote. */
bool st__scan_entry(st__scan *scan, const unsigned char *name_at, char *name, size_t len,
                    const unsigned char *name_end);

/* Tells whether a deviation from this rule would be reported: what its message takes to make may be
 * dear. */
static inline bool st__scan_wants(const st__scan *scan, st__rule rule)
{
    return !scan->sink || st__rules[rule].stage < scan->sink->below;
}

/* Tells whether all that can be read is to be kept. */
static inline bool st__scan_salvages(const st__scan *scan)
{
    return scan->sink && scan->sink->salvages;
}

/* An entry's values, all valid. */
typedef struct st__entry {
    const unsigned char *name_at; /* its opening quote */
    const unsigned char *offsets_at;
    char *name;
    size_t name_len;
    const uint64_t *shape;
    uint32_t ndim;
    st_dtype dtype;
    uint64_t begin;
    uint64_t end;
} st__entry;

/* Gives the text `size` bytes, which hold what is used; whatever points into it follows where it moved. */
bool st__text_resize(st__scan *scan, size_t size);

/* Room for dims that stay where they are; NULL: out of memory. */
uint64_t *st__dims_alloc(st_header *header, size_t count);

/* Gives the stored copy of a shape, shared where it was met before; NULL: out of memory. `stored`: the dims
 * already lie in the arena. */
const uint64_t *st__shape_store(st__scan *scan, const uint64_t *dims, uint32_t ndim, bool stored);

/* Of equal metadata keys keeps the first place and the last value, reporting each repetition. Without a sink
 * any repetition deviates. */
st__unit st__metadata_unique(st__scan *scan);

/* Appends a tensor, whose name ends at scan->text. Without a sink the layout is checked on the way. */
st__unit st__entry_commit(st__scan *scan, const st__entry *entry);

/* Bytes that dtype and shape imply. ST_OK; ST_ERR_OVERFLOW; ST_ERR_MISALIGNED. */
st_status st__tensor_bytes(st_dtype dtype, const uint64_t *shape, uint32_t ndim, uint64_t *out);

/* After the last unit: puts the tensors into data order, checks the layout and builds the indices. */
st__unit st__layout_finish(st__scan *scan, uint64_t file_size);

/* The same where it salvages: the order of data and no more. Equal names stay, there are no indices. */
st__unit st__layout_salvage(st__scan *scan);

#endif
