/* SPDX-License-Identifier: Apache-2.0 */
/* The header is measured to the byte before it is written, so that it is one allocation and its size is
 * known to be allowed. Both passes go over the same pieces of text, below. */
#include "format/header_emit.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/endian.h"
#include "base/error.h"
#include "format/dtype.h"
#include "format/float_text.h"
#include "format/json_escape.h"
#include "format/order.h"
#include "format/scan.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define TEXT_METADATA "\"__metadata__\":{"
#define TEXT_DTYPE    ":{\"dtype\":"
#define TEXT_SHAPE    ",\"shape\":["
#define TEXT_OFFSETS  "],\"data_offsets\":["
#define TEXT_END      "]}"
#define LENGTH(text)  (sizeof(text) - 1)

/* What an entry and a pair of metadata take at least, the comma included. */
enum { ENTRY_MIN = 48, PAIR_MIN = 6 };

/* Where tensors of each kind go: a bucket per known dtype, then one per unknown dtype. */
enum { BUCKETS = ST_DTYPE_COUNT + ST__UNKNOWN_DTYPES_MAX };

/* What the passes hand on. */
typedef struct emitting {
    const st__emission *emission;
    uint32_t *by_name;  /* indices of tensors */
    uint32_t *order;    /* the same, as they are placed */
    uint32_t *keys;     /* indices of metadata */
    uint64_t text_size; /* names first, then all else */
    uint64_t data_size;
} emitting;

/* Beyond 64 bits sums stay at the highest number, which is more than any limit. */
static void size_add(uint64_t *sum, uint64_t n)
{
    if (!st__add_u64(*sum, n, sum))
        *sum = UINT64_MAX;
}

/* In the order of names tensors lie anywhere in memory: what comes soon is fetched. A macro, since compilers
 * drop calls of functions that do no more. */
#if defined(__GNUC__)
# define FETCH_AHEAD(emission, order, i)                             \
  do {                                                               \
   if ((i) + 16 < (emission)->count)                                 \
    __builtin_prefetch(&(emission)->tensors[(order)[(i) + 16]]);     \
   if ((i) + 8 < (emission)->count) {                                \
    __builtin_prefetch((emission)->tensors[(order)[(i) + 8]].name);  \
    __builtin_prefetch((emission)->tensors[(order)[(i) + 8]].shape); \
   }                                                                 \
  } while (0)
#else
# define FETCH_AHEAD(emission, order, i) ((void)0)
#endif

/* -------------------------------------------------------------------------------- tensors */

#define FAIL_TENSOR(status, format, ...)                                    \
 st__fail(error, status, ST_NO_OFFSET, "%s: tensor %s: " format, file_name, \
          st__quote(t->name, t->name_len).text, __VA_ARGS__)

static st_status unknown_size(const st_tensor *t, const char *file_name, uint64_t *size,
                              st_error *error)
{
    if (t->dtype >= ST_DTYPE_UNKNOWN + ST__UNKNOWN_DTYPES_MAX)
        return FAIL_TENSOR(ST_ERR_DTYPE_UNKNOWN,
                           "%" PRId32 " is none of the %d unknown dtypes that a file may have",
                           t->dtype, ST__UNKNOWN_DTYPES_MAX);
    if (t->end < t->begin)
        return FAIL_TENSOR(ST_ERR_ARGUMENT, "it ends at %" PRIu64 ", before it begins at %" PRIu64,
                           t->end, t->begin);
    *size = t->end - t->begin;
    return ST_OK;
}

static st_status known_size(const st_tensor *t, const char *file_name, uint64_t *size,
                            st_error *error)
{
    uint32_t bits = st_dtype_bits(t->dtype);
    uint64_t bytes;
    if (!bits)
        return FAIL_TENSOR(ST_ERR_DTYPE_UNKNOWN, "%" PRId32 " is no dtype", t->dtype);
    switch (st__tensor_bytes(t->dtype, t->shape, t->ndim, &bytes)) {
    case ST_ERR_OVERFLOW:
        return FAIL_TENSOR(ST_ERR_OVERFLOW,
                           "the product of its %" PRIu32 " dimensions and %" PRIu32
                           " bits exceeds 64 bits",
                           t->ndim, bits);
    case ST_ERR_MISALIGNED:
        return FAIL_TENSOR(ST_ERR_MISALIGNED,
                           "its %" PRIu64 " elements of %" PRIu32
                           " bits do not fill whole bytes; make them a multiple of %d",
                           st_tensor_count(t), bits, bits % 4 ? 4 : 2);
    default: break;
    }
    *size = bytes;
    return ST_OK;
}

/* `*name_size` receives the size of the name as it is written. */
static st_status tensor_measure(const st_tensor *t, const char *file_name, uint64_t *size,
                                uint64_t *name_size, st_error *error)
{
    if (!st__json_quoted_size(t->name, t->name_len, name_size))
        return FAIL_TENSOR(ST_ERR_ARGUMENT, "the name is not UTF-8%s", "");
    if (t->name_len == LENGTH("__metadata__") && memcmp(t->name, "__metadata__", t->name_len) == 0)
        return FAIL_TENSOR(ST_ERR_ARGUMENT, "no tensor may have this name%s", "");
    return t->dtype >= ST_DTYPE_UNKNOWN ? unknown_size(t, file_name, size, error)
                                        : known_size(t, file_name, size, error);
}

st_status st__emission_check(const st_tensor *tensor, const char *file_name, uint64_t *size,
                             uint32_t *name_size, st_error *error)
{
    uint64_t quoted;
    ST_TRY(tensor_measure(tensor, file_name, size, &quoted, error));
    *name_size = quoted <= UINT32_MAX ? (uint32_t)quoted : 0;
    return ST_OK;
}

/* The size of the name as it is written, where that is known; 0: not. */
static uint32_t name_size_known(const st__emission *emission, const st_tensor *t)
{
    return emission->checked ? t->reserved : 0;
}

/* ---------------------------------------------------------------------------------- order */

static st_status tensors_by_name(const emitting *e, st_error *error)
{
    const st__emission *emission = e->emission;
    const st_tensor *tensors = emission->tensors;
    ST_TRY(st__order_by_text(emission->context, tensors, sizeof *tensors, emission->count,
                             e->by_name, error));
    for (size_t i = 1; i < emission->count; i++) {
        const st_tensor *a = &tensors[e->by_name[i - 1]], *b = &tensors[e->by_name[i]];
        FETCH_AHEAD(emission, e->by_name, i);
        if (a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0)
            return st__fail(error, ST_ERR_NAME_DUPLICATE, ST_NO_OFFSET,
                            "%s: tensor %s: two tensors have this name, number %" PRIu32
                            " and number %" PRIu32,
                            emission->name, st__quote(a->name, a->name_len).text, e->by_name[i - 1],
                            e->by_name[i]);
    }
    return ST_OK;
}

static st__key code_of(const st__emission *emission, st_dtype dtype)
{
    const st__dtype_info *info = st__dtype_info_of(dtype);
    st__key code = {info->code, info->code_len, 0};
    if (dtype >= ST_DTYPE_UNKNOWN) {
        size_t len = 0;
        code.text = emission->dtype_code(emission->ctx, dtype, &len);
        code.len = len < UINT32_MAX ? (uint32_t)len : UINT32_MAX; /* which no header holds */
    }
    return code;
}

/* Gives each unknown dtype that is in use its place among them, by code. */
static st_status unknown_places(const st__emission *emission, uint32_t *places, st_error *error)
{
    st__key codes[ST__UNKNOWN_DTYPES_MAX] = {{NULL, 0, 0}};
    uint32_t used[ST__UNKNOWN_DTYPES_MAX], order[ST__UNKNOWN_DTYPES_MAX], count = 0;
    for (size_t i = 0; i < emission->count; i++) {
        st_dtype dtype = emission->tensors[i].dtype;
        if (dtype >= ST_DTYPE_UNKNOWN && !codes[dtype - ST_DTYPE_UNKNOWN].text)
            codes[dtype - ST_DTYPE_UNKNOWN] = code_of(emission, dtype);
    }
    for (uint32_t i = 0; i < ST__UNKNOWN_DTYPES_MAX; i++) {
        if (!codes[i].text)
            continue;
        codes[count] = codes[i];
        used[count++] = i;
    }
    if (count == 0)
        return ST_OK;
    ST_TRY(st__order_by_text(emission->context, codes, sizeof *codes, count, order, error));
    for (uint32_t i = 0; i < count; i++)
        places[used[order[i]]] = i;
    return ST_OK;
}

static uint32_t bucket_of(const uint32_t *places, st_dtype dtype)
{
    return dtype >= ST_DTYPE_UNKNOWN ? ST_DTYPE_COUNT + places[dtype - ST_DTYPE_UNKNOWN]
                                     : ST_DTYPE_COUNT - 1u - st__dtype_ranks[dtype];
}

/* Upstream's order. Names are sorted already: dealing the tensors out by dtype is all that is left. */
static st_status order_canonical(const emitting *e, st_error *error)
{
    const st__emission *emission = e->emission;
    uint32_t starts[BUCKETS + 1] = {0}, places[ST__UNKNOWN_DTYPES_MAX] = {0};
    ST_TRY(unknown_places(emission, places, error));
    for (size_t i = 0; i < emission->count; i++)
        starts[bucket_of(places, emission->tensors[i].dtype) + 1]++;
    for (uint32_t b = 1; b < BUCKETS; b++)
        starts[b] += starts[b - 1];
    for (size_t i = 0; i < emission->count; i++) {
        FETCH_AHEAD(emission, e->by_name, i);
        e->order[starts[bucket_of(places, emission->tensors[e->by_name[i]].dtype)]++] =
            e->by_name[i];
    }
    return ST_OK;
}

static st_status tensors_place(emitting *e, st_error *error)
{
    const st__emission *emission = e->emission;
    for (size_t i = 0; i < emission->count; i++) {
        st_tensor *t = &emission->tensors[i];
        uint64_t size = t->end - t->begin, name_size = name_size_known(emission, t);
        if (name_size == 0)
            ST_TRY(tensor_measure(t, emission->name, &size, &name_size, error));
        size_add(&e->text_size, name_size);
        t->begin = 0;
        t->end = size;
        e->order[i] = (uint32_t)i;
    }
    ST_TRY(tensors_by_name(e, error));
    if (emission->order == ST_ORDER_CANONICAL)
        ST_TRY(order_canonical(e, error));
    for (size_t i = 0; i < emission->count; i++) {
        st_tensor *t = &emission->tensors[e->order[i]];
        uint64_t begin = e->data_size;
        FETCH_AHEAD(emission, e->order, i);
        if (!st__add_u64(begin, t->end, &e->data_size))
            return st__fail(error, ST_ERR_OVERFLOW, ST_NO_OFFSET,
                            "%s: tensor %s: its %" PRIu64 " bytes, behind %" PRIu64
                            " of others, exceed 64 bits",
                            emission->name, st__quote(t->name, t->name_len).text, t->end, begin);
        t->begin = begin;
        t->end = e->data_size;
    }
    return ST_OK;
}

static st_status metadata_sort(const emitting *e, st_error *error)
{
    const st__emission *emission = e->emission;
    const st_metadata *all = emission->metadata;
    ST_TRY(st__order_by_text(emission->context, all, sizeof *all, emission->metadata_count, e->keys,
                             error));
    for (size_t i = 1; i < emission->metadata_count; i++) {
        const st_metadata *a = &all[e->keys[i - 1]], *b = &all[e->keys[i]];
        if (a->key_len == b->key_len && memcmp(a->key, b->key, a->key_len) == 0)
            return st__fail(error, ST_ERR_METADATA_DUPLICATE, ST_NO_OFFSET,
                            "%s: metadata key %s is given twice", emission->name,
                            st__quote(a->key, a->key_len).text);
    }
    return ST_OK;
}

/* ----------------------------------------------------------------------------------- size */

static st_status too_large(const st__emission *emission, const char *at_least, uint64_t size,
                           st_error *error)
{
    return st__fail(error, ST_ERR_HEADER_TOO_LARGE, ST_NO_OFFSET,
                    "%s: the header would take %s%" PRIu64
                    " bytes, more than the limit of %" PRIu64,
                    emission->name, at_least, size, emission->max_size);
}

/* So many that no header holds them; below, 32 bits number them and no product overflows. */
static st_status counts_check(const st__emission *emission, st_error *error)
{
    if (emission->count <= UINT32_MAX / ENTRY_MIN &&
        emission->metadata_count <= UINT32_MAX / PAIR_MIN)
        return ST_OK;
    uint64_t least = 0;
    for (int i = 0; i < ENTRY_MIN; i++)
        size_add(&least, emission->count);
    for (int i = 0; i < PAIR_MIN; i++)
        size_add(&least, emission->metadata_count);
    return too_large(emission, "at least ", least, error);
}

static uint64_t shape_size(const st_tensor *t)
{
    uint64_t size = t->ndim ? t->ndim - 1u : 0;
    for (uint32_t i = 0; i < t->ndim; i++)
        size += st__integer_digits(t->shape[i]);
    return size;
}

static st_status entries_size(emitting *e, st_error *error)
{
    const st__emission *emission = e->emission;
    const uint64_t fixed =
        LENGTH(TEXT_DTYPE) + LENGTH(TEXT_SHAPE) + LENGTH(TEXT_OFFSETS) + LENGTH(TEXT_END) + 1;
    for (size_t i = 0; i < emission->count; i++) {
        const st_tensor *t = &emission->tensors[i];
        st__key code = code_of(emission, t->dtype);
        uint64_t code_size = code.len + 2u;
        if (t->dtype >= ST_DTYPE_UNKNOWN && !st__json_quoted_size(code.text, code.len, &code_size))
            return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                            "%s: tensor %s: the code of its dtype, %s, is not UTF-8",
                            emission->name, st__quote(t->name, t->name_len).text,
                            st__quote(code.text, code.len).text);
        size_add(&e->text_size, fixed + code_size + shape_size(t) + st__integer_digits(t->begin) +
                                    st__integer_digits(t->end) + (i > 0));
    }
    return ST_OK;
}

static bool metadata_wanted(const st__emission *emission)
{
    return emission->has_metadata || emission->metadata_count > 0;
}

static st_status metadata_size(emitting *e, st_error *error)
{
    const st__emission *emission = e->emission;
    if (!metadata_wanted(emission))
        return ST_OK;
    size_add(&e->text_size, LENGTH(TEXT_METADATA) + 1 + (emission->count > 0));
    for (size_t i = 0; i < emission->metadata_count; i++) {
        const st_metadata *m = &emission->metadata[i];
        uint64_t key_size, value_size = 0;
        bool key_good = st__json_quoted_size(m->key, m->key_len, &key_size);
        if (!key_good || !st__json_quoted_size(m->value, m->value_len, &value_size))
            return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                            "%s: %smetadata key %s is not UTF-8", emission->name,
                            key_good ? "the value of " : "", st__quote(m->key, m->key_len).text);
        size_add(&e->text_size, key_size + 1 + value_size + (i > 0));
    }
    return ST_OK;
}

/* Gives N for a text of so many bytes, reserve and all. */
static uint64_t padded_size(const st__emission *emission, uint64_t size)
{
    uint64_t mask = emission->alignment - 1u;
    uint64_t padded = ((8 + size + mask) & ~mask) - 8, more;
    if (!emission->page)
        return padded;
    more = (emission->page_offset - (8 + padded)) & (emission->page - 1u);
    return padded + more <= emission->max_size ? padded + more : padded;
}

/* Gives 8 + N: the text and the blanks behind it, which make it a multiple of the alignment. */
static st_status header_size(emitting *e, uint64_t *out, st_error *error)
{
    const st__emission *emission = e->emission;
    size_add(&e->text_size, LENGTH("{}"));
    ST_TRY(metadata_size(e, error));
    ST_TRY(entries_size(e, error));
    uint64_t size = e->text_size, whole;
    size_add(&size, emission->reserve);
    if (size > emission->max_size)
        return too_large(emission, "", size, error);
    size = padded_size(emission, size);
    if (size > emission->max_size)
        return too_large(emission, "", size, error);
    if (!st__add_u64(8 + size, e->data_size, &whole))
        return st__fail(error, ST_ERR_OVERFLOW, ST_NO_OFFSET,
                        "%s: %" PRIu64 " bytes of header and %" PRIu64 " of data exceed 64 bits",
                        emission->name, 8 + size, e->data_size);
    *out = 8 + size;
    return ST_OK;
}

/* --------------------------------------------------------------------------------- writing */

#define PUT(at, text) put_text(at, text, LENGTH(text))

static inline char *put_text(char *at, const char *text, size_t len)
{
    memcpy(at, text, len);
    return at + len;
}

/* Text in which nothing needs to be escaped. */
static inline char *put_plain(char *at, const char *text, size_t len)
{
    *at++ = '"';
    at = put_text(at, text, len);
    *at++ = '"';
    return at;
}

static inline char *put_integer(char *at, uint64_t value)
{
    char text[21];
    return put_text(at, text, st__integer_print(value, false, text));
}

static char *put_metadata(char *at, const emitting *e)
{
    const st__emission *emission = e->emission;
    at = PUT(at, TEXT_METADATA);
    for (size_t i = 0; i < emission->metadata_count; i++) {
        const st_metadata *m = &emission->metadata[e->keys[i]];
        if (i > 0)
            *at++ = ',';
        at = st__json_quote(at, m->key, m->key_len);
        *at++ = ':';
        at = st__json_quote(at, m->value, m->value_len);
    }
    *at++ = '}';
    if (emission->count > 0)
        *at++ = ',';
    return at;
}

static char *put_entry(char *at, const st__emission *emission, const st_tensor *t)
{
    st__key code = code_of(emission, t->dtype);
    at = name_size_known(emission, t) == (uint64_t)t->name_len + 2
             ? put_plain(at, t->name, t->name_len)
             : st__json_quote(at, t->name, t->name_len);
    at = PUT(at, TEXT_DTYPE);
    at = t->dtype < ST_DTYPE_UNKNOWN ? put_plain(at, code.text, code.len)
                                     : st__json_quote(at, code.text, code.len);
    at = PUT(at, TEXT_SHAPE);
    for (uint32_t i = 0; i < t->ndim; i++) {
        if (i > 0)
            *at++ = ',';
        at = put_integer(at, t->shape[i]);
    }
    at = PUT(at, TEXT_OFFSETS);
    at = put_integer(at, t->begin);
    *at++ = ',';
    at = put_integer(at, t->end);
    return PUT(at, TEXT_END);
}

static void header_write(const emitting *e, unsigned char *out, size_t size)
{
    const st__emission *emission = e->emission;
    char *text = (char *)out + 8, *at = text;
    st__store_le64(out, size - 8);
    *at++ = '{';
    if (metadata_wanted(emission))
        at = put_metadata(at, e);
    for (size_t i = 0; i < emission->count; i++) {
        FETCH_AHEAD(emission, e->order, i);
        if (i > 0)
            *at++ = ',';
        at = put_entry(at, emission, &emission->tensors[e->order[i]]);
    }
    *at++ = '}';
    assert((uint64_t)(at - text) == e->text_size);
    memset(at, ' ', (size_t)((char *)out + size - at));
}

static st_status header_make(emitting *e, unsigned char **out, size_t *size, st_error *error)
{
    uint64_t bytes = 0;
    size_t memory_size;
    ST_TRY(tensors_place(e, error));
    ST_TRY(metadata_sort(e, error));
    ST_TRY(header_size(e, &bytes, error));
    if (!st__u64_to_size(bytes, &memory_size))
        return st__fail_nomem(error, bytes);
    unsigned char *memory = st__alloc(e->emission->context, memory_size);
    if (!memory)
        return st__fail_nomem(error, bytes);
    header_write(e, memory, memory_size);
    if (e->emission->placed && e->emission->count)
        memcpy(e->emission->placed, e->order, e->emission->count * sizeof *e->order);
    *out = memory;
    *size = memory_size;
    return ST_OK;
}

st_status st__header_emit(const st__emission *emission, unsigned char **out, size_t *size,
                          st_error *error)
{
    emitting e = {.emission = emission};
    size_t numbers, bytes;
    ST_TRY(counts_check(emission, error));
    if (!st__mul_size(emission->count, 2, &numbers) ||
        !st__add_size(numbers, emission->metadata_count, &numbers) ||
        !st__mul_size(numbers, sizeof *e.order, &bytes))
        return st__fail_nomem(error, UINT64_MAX);
    e.order = st__alloc(emission->context, bytes);
    if (!e.order)
        return st__fail_nomem(error, bytes);
    e.by_name = e.order + emission->count;
    e.keys = e.by_name + emission->count;
    st_status status = header_make(&e, out, size, error);
    st__free(emission->context, e.order, bytes);
    return status;
}
