/* SPDX-License-Identifier: Apache-2.0 */
/* From each float dtype to each, in blocks: elements are read as codes of F32, rounded to the new dtype, and
 * written. F32 holds all dtypes but F64, which is rounded to F32 in such a way that the second rounding does not tell. */
#include "base/endian.h"
#include "format/cast.h"
#include "format/dtype.h"

#include <string.h>

static size_t packed_size(size_t count, uint32_t bits)
{
    return (count * bits + 7) / 8;
}

/* Reverses the bytes of elements that lie in memory as numbers of the host, or are to. */
static void host_order(st_dtype dtype, void *data, size_t count)
{
    if (ST__BIG_ENDIAN)
        st_elements_swap(dtype, data, count);
}

/* --------------------------------------------------------------------------------- reading */

/* Six bits cross bytes, but four of them end where three bytes do. */
static void sixes_unpack(const unsigned char *bytes, unsigned char *codes)
{
    for (int i = 0; i < ST__CAST_BLOCK / 4; i++) {
        const unsigned char *p = bytes + 3 * i;
        unsigned char *code = codes + 4 * i;
        code[0] = p[0] & 0x3f;
        code[1] = (unsigned char)((p[0] >> 6 | p[1] << 2) & 0x3f);
        code[2] = (unsigned char)((p[1] >> 4 | p[2] << 4) & 0x3f);
        code[3] = p[2] >> 2;
    }
}

static void fours_unpack(const unsigned char *bytes, unsigned char *codes)
{
    for (int i = 0; i < ST__CAST_BLOCK / 2; i++) {
        codes[2 * i] = bytes[i] & 0xf;
        codes[2 * i + 1] = bytes[i] >> 4;
    }
}

/* Gives a block of codes of at most 8 bits, each in a byte. */
static void codes_unpack(const st__cast *c, const unsigned char *src, size_t count,
                         unsigned char *codes)
{
    unsigned char bytes[ST__CAST_BLOCK] = {0};
    memcpy(bytes, src, packed_size(count, c->from_bits));
    switch (c->from_bits) {
    case 8: memcpy(codes, bytes, sizeof bytes); break;
    case 6: sixes_unpack(bytes, codes); break;
    default: fours_unpack(bytes, codes);
    }
}

static void small_load(const st__cast *c, const unsigned char *src, size_t count, uint32_t *words)
{
    unsigned char codes[ST__CAST_BLOCK];
    codes_unpack(c, src, count, codes);
    for (int i = 0; i < ST__CAST_BLOCK; i++)
        words[i] = c->table[codes[i]];
}

static void half_load(const st__cast *c, const unsigned char *src, size_t count, uint32_t *words)
{
    uint16_t halves[ST__CAST_BLOCK] = {0};
    memcpy(halves, src, count * sizeof *halves);
    host_order(c->from, halves, count);
    if (c->from == ST_F16)
        st__block_widen_f16(halves, words);
    else
        st__block_widen_bf16(halves, words);
}

static void double_load(const st__cast *c, const unsigned char *src, size_t count, uint32_t *words,
                        st_cast_report *report)
{
    uint64_t doubles[ST__CAST_BLOCK] = {0};
    memcpy(doubles, src, count * sizeof *doubles);
    host_order(c->from, doubles, count);
    if (c->to == ST_F32)
        st__block_round_f64(doubles, words, report);
    else
        st__block_odd_f64(doubles, words);
}

/* Reads `count` elements as codes of F32, or of `to` if `direct`, and fills the block up. */
static void block_load(const st__cast *c, const unsigned char *src, size_t count, uint32_t *words,
                       st_cast_report *report)
{
    switch (c->from_bits) {
    case 64: double_load(c, src, count, words, report); break;
    case 32:
        memcpy(words, src, count * sizeof *words);
        host_order(c->from, words, count);
        break;
    case 16: half_load(c, src, count, words); break;
    default: small_load(c, src, count, words);
    }
    for (size_t i = count; i < ST__CAST_BLOCK; i++)
        words[i] = ST__CAST_FILLER;
}

/* --------------------------------------------------------------------------------- writing */

static void words_to_bytes(const uint32_t *words, unsigned char *bytes)
{
    for (int i = 0; i < ST__CAST_BLOCK; i++)
        bytes[i] = (unsigned char)words[i];
}

static void sixes_pack(const uint32_t *words, unsigned char *bytes)
{
    for (int i = 0; i < ST__CAST_BLOCK / 4; i++) {
        const uint32_t *code = words + 4 * i;
        uint32_t four = code[0] | code[1] << 6 | code[2] << 12 | code[3] << 18;
        bytes[3 * i] = (unsigned char)four;
        bytes[3 * i + 1] = (unsigned char)(four >> 8);
        bytes[3 * i + 2] = (unsigned char)(four >> 16);
    }
}

static void fours_pack(const uint32_t *words, unsigned char *bytes)
{
    for (int i = 0; i < ST__CAST_BLOCK / 2; i++)
        bytes[i] = (unsigned char)(words[2 * i] | words[2 * i + 1] << 4);
}

/* Writes codes of at most 8 bits; what is left of the last byte becomes 0. */
static void small_store(const st__cast *c, uint32_t *words, size_t count, unsigned char *dst)
{
    unsigned char bytes[ST__CAST_BLOCK];
    for (size_t i = count; i < ST__CAST_BLOCK; i++)
        words[i] = 0;
    switch (c->to_bits) {
    case 8: words_to_bytes(words, bytes); break;
    case 6: sixes_pack(words, bytes); break;
    default: fours_pack(words, bytes);
    }
    memcpy(dst, bytes, packed_size(count, c->to_bits));
}

static void half_store(const st__cast *c, const uint32_t *words, size_t count, unsigned char *dst)
{
    uint16_t halves[ST__CAST_BLOCK];
    st__block_halve(words, halves);
    host_order(c->to, halves, count);
    memcpy(dst, halves, count * sizeof *halves);
}

static void double_store(const st__cast *c, const uint32_t *words, size_t count, unsigned char *dst)
{
    uint64_t doubles[ST__CAST_BLOCK];
    st__block_widen_f32(words, doubles);
    host_order(c->to, doubles, count);
    memcpy(dst, doubles, count * sizeof *doubles);
}

/* Writes `count` codes of `to`; for F64, of F32. */
static void block_store(const st__cast *c, uint32_t *words, size_t count, unsigned char *dst)
{
    switch (c->to_bits) {
    case 64: double_store(c, words, count, dst); break;
    case 32:
        host_order(c->to, words, count);
        memcpy(dst, words, count * sizeof *words);
        break;
    case 16: half_store(c, words, count, dst); break;
    default: small_store(c, words, count, dst);
    }
}

/* ------------------------------------------------------------------------------- converting */

static void block_convert(const st__cast *c, uint32_t *words, st_cast_report *report)
{
    switch (c->to) {
    case ST_F64: break;
    case ST_F32: st__block_settle(words); break;
    case ST_BF16: st__block_narrow_bf16(words, report); break;
    case ST_F8_E8M0: st__block_narrow_e8m0(words, report); break;
    default: st__block_narrow(&c->narrowing, words, report);
    }
}

/* Codes of at most 8 bits to whole bytes, each by one look into the table, which holds codes of `to`. */
static void codes_look_up(const st__cast *c, const unsigned char *codes, size_t count,
                          unsigned char *dst)
{
    switch (c->to_bits) {
    case 32:
        for (size_t i = 0; i < count; i++)
            st__store_le32(dst + 4 * i, c->table[codes[i]]);
        break;
    case 16:
        for (size_t i = 0; i < count; i++)
            st__store_le16(dst + 2 * i, (uint16_t)c->table[codes[i]]);
        break;
    default:
        for (size_t i = 0; i < count; i++)
            dst[i] = (unsigned char)c->table[codes[i]];
    }
}

static void part_cast(const st__cast *c, const unsigned char *src, size_t count, unsigned char *dst,
                      st_cast_report *report)
{
    uint32_t words[ST__CAST_BLOCK];
    unsigned char codes[ST__CAST_BLOCK];
    if (c->direct && c->to_bits >= 8 && c->to_bits <= 32) {
        if (c->from_bits < 8)
            codes_unpack(c, src, count, codes);
        codes_look_up(c, c->from_bits < 8 ? codes : src, count, dst);
        return;
    }
    block_load(c, src, count, words, report);
    if (!c->direct)
        block_convert(c, words, report);
    block_store(c, words, count, dst);
}

/* Fills the table of a dtype of at most 8 bits. Where the new dtype holds all of its elements, with their codes there:
 * then nothing remains to be counted. */
static void table_fill(st__cast *c)
{
    uint64_t doubles[ST__CAST_BLOCK];
    uint32_t converted[ST__CAST_BLOCK];
    st_cast_report report = {0};
    for (uint32_t code = 0; code < ST__CAST_BLOCK; code++) {
        unsigned char element = (unsigned char)code;
        double value = 1; /* of what is no code: counts as nothing */
        if (code >> c->from_bits == 0)
            value = st_element_decode(c->from, &element, 0).as.f[0];
        memcpy(&doubles[code], &value, sizeof value);
    }
    st__block_round_f64(doubles, c->table, &report);
    memcpy(converted, c->table, sizeof converted);
    block_convert(c, converted, &report);
    c->direct = report.overflowed == 0 && report.underflowed == 0;
    if (c->direct)
        memcpy(c->table, converted, sizeof converted);
}

void st__cast_init(st__cast *c, st_dtype from, st_dtype to)
{
    *c = (st__cast){.from = from, .to = to};
    c->from_bits = st_dtype_bits(from);
    c->to_bits = st_dtype_bits(to);
    if (to != ST_F8_E8M0 && c->to_bits <= 16)
        c->narrowing = st__narrowing_of(to);
    if (c->from_bits <= 8)
        table_fill(c);
}

void st__cast_elements(const st__cast *c, const void *src, void *dst, uint64_t count,
                       st_cast_report *report)
{
    const unsigned char *in = src;
    unsigned char *out = dst;
    while (count) {
        size_t part = count < ST__CAST_BLOCK ? (size_t)count : ST__CAST_BLOCK;
        part_cast(c, in, part, out, report);
        in += packed_size(part, c->from_bits);
        out += packed_size(part, c->to_bits);
        count -= part;
    }
}

static void elements_copy(uint32_t bits, const unsigned char *src, unsigned char *dst,
                          uint64_t count)
{
    size_t size = (size_t)(count / 8 * bits) + packed_size(count % 8, bits);
    memcpy(dst, src, size);
    if (count * bits % 8)
        dst[size - 1] &= (unsigned char)((1u << (count * bits % 8)) - 1);
}

bool st_dtype_casts(st_dtype from, st_dtype to)
{
    return st_dtype_kind(from) == ST_KIND_FLOAT && st_dtype_kind(to) == ST_KIND_FLOAT;
}

st_status st_elements_cast(st_dtype from, const void *src, st_dtype to, void *dst, uint64_t count,
                           st_cast_report *report)
{
    st_cast_report unasked = {0};
    st__cast cast;
    if (!st_dtype_casts(from, to))
        return ST_ERR_UNSUPPORTED;
    if (from == to) {
        if (count)
            elements_copy(st_dtype_bits(from), src, dst, count);
        return ST_OK;
    }
    st__cast_init(&cast, from, to);
    st__cast_elements(&cast, src, dst, count, report ? report : &unasked);
    return ST_OK;
}
