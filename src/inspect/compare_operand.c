/* SPDX-License-Identifier: Apache-2.0 */
/* Elements as what they are compared by. */
#include "base/endian.h"
#include "inspect/compare_chunk.h"

#include <string.h>

/* ------------------------------------------------------------------------------- operands */

static bool operand_by_table(const st__operand *o)
{
    return o->bits <= 8;
}

static bool operand_wide(const st__operand *o)
{
    return o->number == ST__NUMBER_I64 || o->number == ST__NUMBER_U64;
}

static bool operand_integer(const st__operand *o)
{
    return o->kind == ST_KIND_BOOL || o->kind == ST_KIND_INT || o->kind == ST_KIND_UINT;
}

static double operand_decode(const st__operand *o, unsigned char code)
{
    const st_value value = st_element_decode(o->dtype, &code, 0);
    switch (value.kind) {
    case ST_KIND_BOOL: return value.as.u != 0;
    case ST_KIND_UINT: return (double)value.as.u;
    case ST_KIND_INT: return (double)value.as.i;
    default: return value.as.f[0];
    }
}

static void operand_init(st__operand *o, st_dtype dtype)
{
    o->dtype = dtype;
    o->kind = st_dtype_kind(dtype);
    o->bits = st_dtype_bits(dtype);
    o->number = ST__NUMBER_NONE;
    if (!o->bits)
        o->bits = 8; /* a byte, whatever it means */
    else if (operand_by_table(o))
        for (unsigned code = 0; code < 1u << o->bits; code++)
            o->table[code] = operand_decode(o, (unsigned char)code);
    else if (o->kind == ST_KIND_COMPLEX)
        o->number = ST__NUMBER_F32;
    else
        o->number = st__number_of(dtype);
}

const unsigned char *st__operand_unpack(const st__operand *o, const unsigned char *data,
                                        size_t count, unsigned char *codes)
{
    if (o->bits % 8 == 0)
        return data;
    const unsigned mask = (1u << o->bits) - 1;
    unsigned word = 0, held = 0;
    for (size_t i = 0; i < count; i++) {
        if (held < o->bits) {
            word |= (unsigned)*data++ << held;
            held += 8;
        }
        codes[i] = (unsigned char)(word & mask);
        word >>= o->bits;
        held -= o->bits;
    }
    return codes;
}

static void operand_values(const st__operand *o, const unsigned char *data, size_t count,
                           double *values)
{
    if (operand_by_table(o)) {
        for (size_t i = 0; i < count; i++)
            values[i] = o->table[data[i]];
    } else if (o->number == ST__NUMBER_NONE && o->kind == ST_KIND_INT) {
        for (size_t i = 0; i < count; i++)
            values[i] = (int16_t)st__load_le16(data + 2 * i);
    } else if (o->number == ST__NUMBER_NONE) {
        for (size_t i = 0; i < count; i++)
            values[i] = st__load_le16(data + 2 * i);
    } else {
        st__chunk_values(o->number, data, o->kind == ST_KIND_COMPLEX ? 2 * count : count, values);
    }
}

/* What rounding to a double took away from an integer: its upper half times 2^32 is a double, and so is the
 * distance of that from the rounded one. */
static double integer_rest(const st__operand *o, const unsigned char *data, double rounded)
{
    const uint64_t code = st__load_le64(data);
    const uint32_t high = (uint32_t)(code >> 32), low = (uint32_t)code;
    const double upper = o->number == ST__NUMBER_I64 ? (double)(int32_t)high : (double)high;
    const double distance = upper * 0x1p32 - rounded;
    return distance + low;
}

/* Puts a zero behind each, the imaginary part. */
static void values_spread(double *values, size_t count)
{
    for (size_t i = count; i-- > 0;) {
        values[2 * i] = values[i];
        values[2 * i + 1] = 0;
    }
}

void st__operand_values(const st__comparing *c, st__compare_room *room, int side,
                        const unsigned char *data, size_t count)
{
    const st__operand *o = &c->operands[side];
    double *values = room->values[side], *rests = room->rests[side];
    operand_values(o, data, count, values);
    if (c->form == ST__COMPARE_MIXED)
        for (size_t i = 0; i < count; i++)
            rests[i] = operand_wide(o) ? integer_rest(o, data + 8 * i, values[i]) : 0;
    if (c->parts == 1 || o->kind == ST_KIND_COMPLEX) {
        if (c->form == ST__COMPARE_MIXED && o->kind == ST_KIND_COMPLEX)
            memset(rests, 0, 2 * count * sizeof *rests);
        return;
    }
    values_spread(values, count);
    if (c->form == ST__COMPARE_MIXED)
        values_spread(rests, count);
}

/* -------------------------------------------------------------------------------- request */

static st__compare_form form_of(const st__comparing *c)
{
    const st__operand *a = &c->operands[0], *b = &c->operands[1];
    if (!a->kind || !b->kind)
        return ST__COMPARE_BYTES;
    if (!operand_wide(a) && !operand_wide(b))
        return ST__COMPARE_DOUBLES;
    return operand_integer(a) && operand_integer(b) ? ST__COMPARE_INTEGERS : ST__COMPARE_MIXED;
}

void st__comparing_init(st__comparing *comparing, st_dtype a, st_dtype b,
                        const st_compare_options *options)
{
    operand_init(&comparing->operands[0], a);
    operand_init(&comparing->operands[1], b);
    const bool has_parts = comparing->operands[0].kind == ST_KIND_COMPLEX ||
                           comparing->operands[1].kind == ST_KIND_COMPLEX;
    comparing->form = form_of(comparing);
    comparing->same_dtype = a == b;
    comparing->parts = has_parts ? 2 : 1;
    comparing->close = options->flags & ST_COMPARE_CLOSE;
    comparing->equal_nan = options->flags & ST_COMPARE_EQUAL_NAN;
    comparing->atol = options->atol;
    comparing->rtol = options->rtol;
}
