/* SPDX-License-Identifier: Apache-2.0 */
#include "inspect/stats_chunk.h"
#include "base/endian.h"
#include "inspect/stats.h"

#include <string.h>

#if defined(__SSE2__)
# include <emmintrin.h>
#endif

#define SIGN32 UINT32_C(0x80000000)
#define SIGN64 UINT64_C(0x8000000000000000)

static st__number float_number(st_dtype dtype, uint32_t bits)
{
    if (bits == 16)
        return dtype == ST_BF16 ? ST__NUMBER_BF16 : ST__NUMBER_F16;
    return bits == 64 ? ST__NUMBER_F64 : bits == 32 ? ST__NUMBER_F32 : ST__NUMBER_NONE;
}

st__number st__number_of(st_dtype dtype)
{
    const uint32_t bits = st_dtype_bits(dtype);
    const st_kind kind = st_dtype_kind(dtype);
    if (kind == ST_KIND_COMPLEX)
        return ST__NUMBER_F64;
    if (kind == ST_KIND_FLOAT)
        return float_number(dtype, bits);
    if (kind == ST_KIND_BOOL || bits == 16)
        return ST__NUMBER_NONE;
    if (bits == 64)
        return kind == ST_KIND_INT ? ST__NUMBER_I64 : ST__NUMBER_U64;
    if (bits == 32)
        return kind == ST_KIND_INT ? ST__NUMBER_I32 : ST__NUMBER_U32;
    return kind == ST_KIND_INT ? ST__NUMBER_I8 : ST__NUMBER_U8;
}

uint32_t st__number_size(st__number number)
{
    switch (number) {
    case ST__NUMBER_F64:
    case ST__NUMBER_I64:
    case ST__NUMBER_U64: return 8;
    case ST__NUMBER_F16:
    case ST__NUMBER_BF16: return 2;
    case ST__NUMBER_I8:
    case ST__NUMBER_U8: return 1;
    default: return 4;
    }
}

/* ---------------------------------------------------------------------------------- values */

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double double_of(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* As a float whose exponent is too small by 112, which is exact for subnormals too. */
static float half_of(uint32_t bits)
{
    float small = float_of((bits & 0x7fff) << 13 | (bits & 0x8000) << 16);
    if ((bits & 0x7c00) == 0x7c00)
        return float_of((bits & 0x3ff) << 13 | UINT32_C(0x7f800000) | (bits & 0x8000) << 16);
    return small * 0x1p112f;
}

static void values_f32(const unsigned char *data, size_t count, double *values)
{
    size_t i = 0;
#if defined(__SSE2__)
    for (; count - i >= 4; i += 4) {
        __m128 x = _mm_loadu_ps((const float *)(const void *)(data + 4 * i));
        _mm_storeu_pd(values + i, _mm_cvtps_pd(x));
        _mm_storeu_pd(values + i + 2, _mm_cvtps_pd(_mm_movehl_ps(x, x)));
    }
#endif
    for (; i < count; i++)
        values[i] = float_of(st__load_le32(data + 4 * i));
}

static void values_f64(const unsigned char *data, size_t count, double *values)
{
    if (!ST__BIG_ENDIAN) {
        memcpy(values, data, count * sizeof *values);
        return;
    }
    for (size_t i = 0; i < count; i++)
        values[i] = double_of(st__load_le64(data + 8 * i));
}

void st__chunk_values(st__number number, const unsigned char *data, size_t count, double *values)
{
    switch (number) {
    case ST__NUMBER_F32: values_f32(data, count, values); break;
    case ST__NUMBER_F64: values_f64(data, count, values); break;
    case ST__NUMBER_F16:
        for (size_t i = 0; i < count; i++)
            values[i] = half_of(st__load_le16(data + 2 * i));
        break;
    case ST__NUMBER_BF16:
        for (size_t i = 0; i < count; i++)
            values[i] = float_of((uint32_t)st__load_le16(data + 2 * i) << 16);
        break;
    case ST__NUMBER_I32:
        for (size_t i = 0; i < count; i++)
            values[i] = (int32_t)st__load_le32(data + 4 * i);
        break;
    case ST__NUMBER_U32:
        for (size_t i = 0; i < count; i++)
            values[i] = st__load_le32(data + 4 * i);
        break;
    case ST__NUMBER_I64:
        for (size_t i = 0; i < count; i++)
            values[i] = (double)(int64_t)st__load_le64(data + 8 * i);
        break;
    case ST__NUMBER_U64:
        for (size_t i = 0; i < count; i++)
            values[i] = (double)st__load_le64(data + 8 * i);
        break;
    case ST__NUMBER_I8:
        for (size_t i = 0; i < count; i++)
            values[i] = (int8_t)data[i];
        break;
    default:
        for (size_t i = 0; i < count; i++)
            values[i] = data[i];
    }
}

/* Squares of floats neither overflow nor vanish in a double. An infinite part beside a NaN makes NaN. */
void st__chunk_absolutes(const unsigned char *data, size_t count, double *absolutes)
{
    size_t i = 0;
#if defined(__SSE2__)
    for (; count - i >= 2; i += 2) {
        __m128 x = _mm_loadu_ps((const float *)(const void *)(data + 8 * i));
        __m128d a = _mm_cvtps_pd(x), b = _mm_cvtps_pd(_mm_movehl_ps(x, x));
        a = _mm_mul_pd(a, a);
        b = _mm_mul_pd(b, b);
        a = _mm_add_pd(_mm_unpacklo_pd(a, b), _mm_unpackhi_pd(a, b));
        _mm_storeu_pd(absolutes + i, _mm_sqrt_pd(a));
    }
#endif
    for (; i < count; i++) {
        double re = float_of(st__load_le32(data + 8 * i));
        double im = float_of(st__load_le32(data + 8 * i + 4));
        uint64_t bits = bits_of(st__square_root(re * re + im * im));
        absolutes[i] = double_of(st__load_le64(&bits));
    }
}

/* ------------------------------------------------------------------------------------ keys */

/* Turns all bits of negative numbers round, of others the sign. */
static uint32_t key_f32(uint32_t bits)
{
    return bits ^ (SIGN32 | (0 - (bits >> 31)));
}

static uint64_t key_f64(uint64_t bits)
{
    return bits ^ (SIGN64 | (0 - (bits >> 63)));
}

uint64_t st__key_at(st__number number, const unsigned char *data, size_t i)
{
    switch (number) {
    case ST__NUMBER_F32: return key_f32(st__load_le32(data + 4 * i));
    case ST__NUMBER_F64: return key_f64(st__load_le64(data + 8 * i));
    case ST__NUMBER_I32: return st__load_le32(data + 4 * i) ^ SIGN32;
    case ST__NUMBER_I64: return st__load_le64(data + 8 * i) ^ SIGN64;
    case ST__NUMBER_U64: return st__load_le64(data + 8 * i);
    default: return st__load_le32(data + 4 * i);
    }
}

void st__chunk_keys(st__number number, const unsigned char *data, size_t count, uint64_t *keys)
{
    for (size_t i = 0; i < count; i++)
        keys[i] = st__key_at(number, data, i);
}

double st__key_value(st__number number, uint64_t key)
{
    switch (number) {
    case ST__NUMBER_F32: return float_of((uint32_t)key ^ (key & SIGN32 ? SIGN32 : UINT32_MAX));
    case ST__NUMBER_I32: return (double)((int64_t)key - (int64_t)SIGN32);
    case ST__NUMBER_I64: return (double)(int64_t)(key ^ SIGN64);
    case ST__NUMBER_U32:
    case ST__NUMBER_U64: return (double)key;
    default: return double_of(key ^ (key & SIGN64 ? SIGN64 : UINT64_MAX));
    }
}

uint64_t st__key_of(st__number number, double value)
{
    float narrow;
    uint32_t bits;
    switch (number) {
    case ST__NUMBER_F32:
        narrow = (float)value;
        memcpy(&bits, &narrow, sizeof bits);
        return key_f32(bits);
    case ST__NUMBER_I32: return (uint64_t)((int64_t)value + (int64_t)SIGN32);
    case ST__NUMBER_I64: return (uint64_t)(int64_t)value ^ SIGN64;
    case ST__NUMBER_U32:
    case ST__NUMBER_U64: return (uint64_t)value;
    default: return key_f64(bits_of(value));
    }
}

/* ------------------------------------------------------------------------------------ tops */

/* `size`: known where this is put, which makes all distances constant. */
static inline void count_tops(const unsigned char *data, size_t count, size_t size,
                              uint32_t *counts)
{
    const unsigned char *top = data + size - 2;
    size_t i = 0;
    for (; count - i >= 4; i += 4, top += 4 * size) {
        counts[st__load_le16(top)]++;
        counts[st__load_le16(top + size)]++;
        counts[st__load_le16(top + 2 * size)]++;
        counts[st__load_le16(top + 3 * size)]++;
    }
    for (; i < count; i++, top += size)
        counts[st__load_le16(top)]++;
}

void st__chunk_count_tops(st__number number, const unsigned char *data, size_t count,
                          uint32_t *counts)
{
    if (st__number_size(number) == 4)
        count_tops(data, count, 4, counts);
    else
        count_tops(data, count, 8, counts);
}

/* Without branches, which no processor could foretell. */
static inline size_t list_tops(const unsigned char *data, size_t count, size_t size,
                               const unsigned char *marks, uint16_t *list)
{
    const unsigned char *top = data + size - 2;
    size_t listed = 0, i = 0;
    for (; count - i >= 4; i += 4, top += 4 * size) {
        list[listed] = (uint16_t)i;
        listed += marks[st__load_le16(top)];
        list[listed] = (uint16_t)(i + 1);
        listed += marks[st__load_le16(top + size)];
        list[listed] = (uint16_t)(i + 2);
        listed += marks[st__load_le16(top + 2 * size)];
        list[listed] = (uint16_t)(i + 3);
        listed += marks[st__load_le16(top + 3 * size)];
    }
    for (; i < count; i++, top += size) {
        list[listed] = (uint16_t)i;
        listed += marks[st__load_le16(top)];
    }
    return listed;
}

size_t st__chunk_list_tops(st__number number, const unsigned char *data, size_t count,
                           const unsigned char *marks, uint16_t *list)
{
    return st__number_size(number) == 4 ? list_tops(data, count, 4, marks, list)
                                        : list_tops(data, count, 8, marks, list);
}

/* Turning bits round works on the highest ones as on all. */
uint32_t st__top_of_key(st__number number, uint32_t high)
{
    switch (number) {
    case ST__NUMBER_F32:
    case ST__NUMBER_F64: return high ^ (high & 0x8000 ? 0x8000u : 0xffffu);
    case ST__NUMBER_I32:
    case ST__NUMBER_I64: return high ^ 0x8000u;
    default: return high;
    }
}
