/* SPDX-License-Identifier: Apache-2.0 */
#include "format/dtype.h"
#include "format/float.h"

#include <assert.h>

/* The bits of an element, from the low end of the result. */
static uint64_t element_load(uint32_t bits, const unsigned char *data, uint64_t index)
{
    if (bits % 8) {
        uint64_t bit = index * bits;
        const unsigned char *p = data + (size_t)(bit / 8);
        unsigned shift = (unsigned)(bit % 8), word = p[0];
        if (shift + bits > 8) /* else the next byte need not be there */
            word |= (unsigned)p[1] << 8;
        return word >> shift & ((1u << bits) - 1);
    }
    const unsigned char *p = data + (size_t)index * (bits / 8);
    switch (bits) {
    case 8: return *p;
    case 16: return st__load_le16(p);
    case 32: return st__load_le32(p);
    default: return st__load_le64(p);
    }
}

static void element_store(uint32_t bits, unsigned char *data, uint64_t index, uint64_t code)
{
    if (bits % 8) {
        uint64_t bit = index * bits;
        unsigned char *p = data + (size_t)(bit / 8);
        unsigned shift = (unsigned)(bit % 8), mask = ((1u << bits) - 1) << shift;
        unsigned word = (unsigned)code << shift;
        p[0] = (unsigned char)((p[0] & ~mask) | word);
        if (shift + bits > 8)
            p[1] = (unsigned char)((p[1] & ~(mask >> 8)) | word >> 8);
        return;
    }
    unsigned char *p = data + (size_t)index * (bits / 8);
    switch (bits) {
    case 8: *p = (unsigned char)code; break;
    case 16: st__store_le16(p, (uint16_t)code); break;
    case 32: st__store_le32(p, (uint32_t)code); break;
    default: st__store_le64(p, code);
    }
}

/* Two's complement of 8 .. 64 bits. */
static int64_t sign_extend(uint64_t code, uint32_t bits)
{
    uint64_t sign = UINT64_C(1) << (bits - 1);
    return (int64_t)((code ^ sign) - sign);
}

st_value st_element_decode(st_dtype dtype, const void *data, uint64_t index)
{
    const st__dtype_info *info = st__dtype_info_of(dtype);
    assert(info->bits);
    const st__float_format *format = &st__float_formats[dtype];
    uint64_t code = element_load(info->bits, data, index);
    st_value value = {.kind = info->kind};
    switch (info->kind) {
    case ST_KIND_BOOL:
    case ST_KIND_UINT: value.as.u = code; break;
    case ST_KIND_INT: value.as.i = sign_extend(code, info->bits); break;
    case ST_KIND_FLOAT: value.as.f[0] = st__float_decode(format, code); break;
    default:
        value.as.f[0] = st__float_decode(format, code & UINT32_MAX);
        value.as.f[1] = st__float_decode(format, code >> 32);
    }
    return value;
}

/* The real or imaginary part (0 or 1) of a value of any kind. */
static st__binary value_part(const st_value *value, int part)
{
    st__binary binary = {0};
    switch (value->kind) {
    case ST_KIND_COMPLEX: return st__double_split(value->as.f[part]);
    case ST_KIND_FLOAT: return part ? binary : st__double_split(value->as.f[0]);
    case ST_KIND_INT:
        binary.negative = !part && value->as.i < 0;
        binary.significand = binary.negative ? 0 - (uint64_t)value->as.i : (uint64_t)value->as.i;
        break;
    case ST_KIND_BOOL: binary.significand = value->as.u != 0; break;
    default: binary.significand = value->as.u;
    }
    if (part)
        binary.significand = 0;
    return binary;
}

/* Towards zero, as C, NumPy and torch convert, and then to the nearest end of the range. */
static uint64_t integer_encode(st__binary value, uint32_t bits, bool has_sign)
{
    uint64_t most = UINT64_MAX >> (64 - bits), magnitude = value.significand;
    uint64_t limit = has_sign ? most / 2 + value.negative : value.negative ? 0 : most;
    if (value.what == ST__BINARY_NAN)
        return 0;
    if (value.what == ST__BINARY_INFINITE)
        magnitude = limit;
    else if (value.exponent < 0)
        magnitude = value.exponent > -64 ? magnitude >> -value.exponent : 0;
    else if (magnitude)
        magnitude = value.exponent < 64 && magnitude <= limit >> value.exponent
                        ? magnitude << value.exponent
                        : limit;
    if (magnitude > limit)
        magnitude = limit;
    return (value.negative ? 0 - magnitude : magnitude) & most;
}

static bool is_true(st__binary value)
{
    return value.what != ST__BINARY_FINITE || value.significand;
}

/* A byte that is neither 0 nor 1 survives decoding and encoding. */
static uint64_t bool_encode(const st_value *value)
{
    if (value->kind == ST_KIND_BOOL && value->as.u <= 0xff)
        return value->as.u;
    return is_true(value_part(value, 0)) || is_true(value_part(value, 1));
}

void st_element_encode(st_dtype dtype, void *data, uint64_t index, const st_value *value)
{
    const st__dtype_info *info = st__dtype_info_of(dtype);
    assert(info->bits);
    const st__float_format *format = &st__float_formats[dtype];
    uint64_t code;
    switch (info->kind) {
    case ST_KIND_BOOL: code = bool_encode(value); break;
    case ST_KIND_UINT: code = integer_encode(value_part(value, 0), info->bits, false); break;
    case ST_KIND_INT: code = integer_encode(value_part(value, 0), info->bits, true); break;
    case ST_KIND_FLOAT: code = st__float_encode(format, value_part(value, 0)); break;
    default:
        code = st__float_encode(format, value_part(value, 0)) |
               st__float_encode(format, value_part(value, 1)) << 32;
    }
    element_store(info->bits, data, index, code);
}

void st_elements_swap(st_dtype dtype, void *data, uint64_t count)
{
    /* A complex number is two floats, each of which is turned round by itself. */
    bool halves = st_dtype_kind(dtype) == ST_KIND_COMPLEX;
    uint32_t bytes = st_dtype_bits(dtype) / (halves ? 16 : 8);
    unsigned char *p = data, *end = p + (size_t)count * bytes * (halves ? 2 : 1);
    if (bytes < 2)
        return;
    for (; p < end; p += bytes) {
        for (uint32_t i = 0; i < bytes / 2; i++) {
            unsigned char byte = p[i];
            p[i] = p[bytes - 1 - i];
            p[bytes - 1 - i] = byte;
        }
    }
}
