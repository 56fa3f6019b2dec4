/* SPDX-License-Identifier: Apache-2.0 */
/* Laying out tensors and emitting the header that describes them; no I/O. docs/format.md section 8. */
#ifndef ST_FORMAT_HEADER_EMIT_H
#define ST_FORMAT_HEADER_EMIT_H

#include <safetensors/safetensors.h>

typedef struct st__emission {
    st_context *context;
    const char *name;   /* the file's, for messages */
    st_tensor *tensors; /* `count`; begin and end are written */
    size_t count;
    bool
        checked; /* each was, by st__emission_check: its name's size is in `reserved`, its own in `end` */
    uint32_t order;     /* ST_ORDER_… */
    uint32_t alignment; /* of 8 + N; a power of 2 from 8 to 4096 */
    uint32_t page; /* a power of 2, of which 8 + N is to lie `page_offset` behind a multiple, */
    uint32_t
        page_offset;   /* itself a multiple of the alignment, where max_size lets it; 0: anywhere */
    uint64_t reserve;  /* blanks at least */
    uint64_t max_size; /* of N; at most 4,294,901,759, which is what a reader can be told to take */
    const st_metadata *metadata;
    size_t metadata_count;
    bool has_metadata; /* emit `__metadata__` even if it is empty */
    uint32_t *
        placed; /* receives the numbers of the tensors in the order of their data; NULL: nobody asks */
    /* The code of a dtype from ST_DTYPE_UNKNOWN on; such tensors come with their size in begin and end. */
    const char *(*dtype_code)(void *ctx, st_dtype dtype, size_t *code_len);
    void *ctx;
} st__emission;

/* Judges one tensor that is to be written, and gives its size in bytes and that of its name as it is
 * written, 0 for one that does not count in 32 bits: ST_ERR_ARGUMENT for its name,
 * ST_ERR_DTYPE_UNKNOWN, also for more unknown dtypes than a reader takes (ST__UNKNOWN_DTYPES_MAX),
 * ST_ERR_OVERFLOW, ST_ERR_MISALIGNED. `file_name` is for messages. */
st_status st__emission_check(const st_tensor *tensor, const char *file_name, uint64_t *size,
                             uint32_t *name_size, st_error *error);

/* Places the tensors and makes the file's first bytes: the length, the JSON text, the padding. `*out` is
 * st__alloc'ed and `*size` bytes long, a multiple of the alignment. What it makes st_header_parse reads.
 * ST_ERR_NAME_DUPLICATE, ST_ERR_METADATA_DUPLICATE, ST_ERR_OVERFLOW, ST_ERR_HEADER_TOO_LARGE,
 * ST_ERR_ARGUMENT for metadata or a dtype's code that is not UTF-8, ST_ERR_NOMEM, and st__emission_check's
 * own. A failure may leave tensors at other places, but never of another size. */
st_status st__header_emit(const st__emission *emission, unsigned char **out, size_t *size,
                          st_error *error);

#endif
