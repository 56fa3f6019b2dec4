/* SPDX-License-Identifier: Apache-2.0 */
#include <safetensors/json.h>

#include "element_vectors.h"
#include "support/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static st_value float_value(double x)
{
    st_value value = {.kind = ST_KIND_FLOAT};
    value.as.f[0] = x;
    return value;
}

static double double_from(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Writes the little-endian element `code` by hand. */
static void code_store(st_dtype dtype, uint64_t code, unsigned char element[8])
{
    memset(element, 0, 8);
    for (uint32_t i = 0; i < (st_dtype_bits(dtype) + 7) / 8; i++)
        element[i] = (unsigned char)(code >> (8 * i));
}

static double code_decode(st_dtype dtype, uint64_t code)
{
    unsigned char element[8];
    code_store(dtype, code, element);
    st_value value = st_element_decode(dtype, element, 0);
    assert_int_equal(value.kind, ST_KIND_FLOAT);
    return value.as.f[0];
}

static uint64_t value_encode(st_dtype dtype, const st_value *value)
{
    unsigned char element[8] = {0};
    uint64_t code = 0;
    st_element_encode(dtype, element, 0, value);
    for (int i = 7; i >= 0; i--)
        code = code << 8 | element[i];
    return code;
}

static const struct values_table {
    st_dtype dtype;
    const uint32_t *values;
    uint32_t count;
} tables[] = {
    {ST_F8_E4M3, f8_e4m3_values, 256},         {ST_F8_E5M2, f8_e5m2_values, 256},
    {ST_F8_E8M0, f8_e8m0_values, 256},         {ST_F8_E4M3FNUZ, f8_e4m3fnuz_values, 256},
    {ST_F8_E5M2FNUZ, f8_e5m2fnuz_values, 256}, {ST_F6_E2M3, f6_e2m3_values, 64},
    {ST_F6_E3M2, f6_e3m2_values, 64},          {ST_F4, f4_values, 16},
};

static void every_small_code_decodes(void **state)
{
    (void)state;
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (uint32_t code = 0; code < tables[t].count; code++) {
            float expected;
            memcpy(&expected, &tables[t].values[code], sizeof expected);
            double got = code_decode(tables[t].dtype, code);
            if (isnan(expected) ? !isnan(got) : bits_of(got) != bits_of(expected))
                fail_msg("%s code 0x%02x: %.17g, not %.17g", st_dtype_code(tables[t].dtype), code,
                         got, (double)expected);
        }
    }
}

static void wide_floats_decode(void **state)
{
    (void)state;
    static const struct {
        st_dtype dtype;
        uint64_t code;
        double value;
    } cases[] = {
        {ST_F16, 0x3c00, 1},
        {ST_F16, 0x0001, 0x1p-24},
        {ST_F16, 0x83ff, -0x3ffp-24},
        {ST_F16, 0x7bff, 65504},
        {ST_F16, 0xfc00, -INFINITY},
        {ST_BF16, 0x3f80, 1},
        {ST_BF16, 0x0001, 0x1p-133},
        {ST_BF16, 0xff7f, -0xffp120},
        {ST_BF16, 0x7f80, INFINITY},
        {ST_BF16, 0x8000, -0.0},
        {ST_F32, 0x3dcccccd, 0x1.99999ap-4},
        {ST_F32, 0x00000001, 0x1p-149},
        {ST_F32, 0x807fffff, -0x7fffffp-149},
        {ST_F32, 0x7f7fffff, 0x1.fffffep127},
        {ST_F32, 0xff800000, -INFINITY},
        {ST_F64, 0x3fb999999999999a, 0.1},
        {ST_F64, 0x0000000000000001, 0x1p-1074},
        {ST_F64, 0x800fffffffffffff, -0x0.fffffffffffffp-1022},
        {ST_F64, 0x7fefffffffffffff, 0x1.fffffffffffffp1023},
        {ST_F64, 0x7ff0000000000000, INFINITY},
        {ST_F64, 0x8000000000000000, -0.0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (bits_of(code_decode(cases[i].dtype, cases[i].code)) != bits_of(cases[i].value))
            fail_msg("row %zu: %a", i, code_decode(cases[i].dtype, cases[i].code));
    static const st_dtype formats[] = {ST_F16, ST_BF16, ST_F32, ST_F64};
    static const uint64_t nans[] = {0x7c01, 0xffff, 0x7fc00000, 0xfff0000000000001};
    for (size_t i = 0; i < 4; i++)
        assert_true(isnan(code_decode(formats[i], nans[i])));
}

static void doubles_round_as_ml_dtypes_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof encode_cases / sizeof *encode_cases; i++) {
        const encode_case *c = &encode_cases[i];
        st_value value = float_value(double_from(c->value));
        uint64_t code = value_encode(c->dtype, &value);
        if (code != c->code)
            fail_msg("%s of %a: 0x%llx, not 0x%x", st_dtype_code(c->dtype), value.as.f[0],
                     (unsigned long long)code, c->code);
    }
}

/* Every code of up to 16 bits, and as many of the wider ones spread over their range. */
static void decoding_and_encoding_is_identity(void **state)
{
    (void)state;
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        uint32_t bits = st_dtype_bits(dtype);
        uint64_t count = bits < 16 ? UINT64_C(1) << bits : 65536;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t spread = i * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits);
            uint64_t code = bits > 16 ? spread : i;
            unsigned char element[8];
            code_store(dtype, code, element);
            st_value value = st_element_decode(dtype, element, 0);
            bool is_float = value.kind == ST_KIND_FLOAT || value.kind == ST_KIND_COMPLEX;
            if (is_float &&
                (isnan(value.as.f[0]) || (value.kind == ST_KIND_COMPLEX && isnan(value.as.f[1]))))
                continue;
            uint64_t again = value_encode(dtype, &value);
            if (again != code)
                fail_msg("%s 0x%llx becomes 0x%llx", st_dtype_code(dtype), (unsigned long long)code,
                         (unsigned long long)again);
        }
    }
}

static void integers_decode_with_their_sign(void **state)
{
    (void)state;
    static const unsigned char bytes[16] = {0xff, 0x80, 0x7f, 0x01, 0x00, 0x00, 0x00, 0x80,
                                            0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    assert_true(st_element_decode(ST_U8, bytes, 1).as.u == 0x80);
    assert_true(st_element_decode(ST_I8, bytes, 1).as.i == -128);
    assert_true(st_element_decode(ST_U16, bytes, 1).as.u == 0x017f);
    assert_true(st_element_decode(ST_I16, bytes, 0).as.i == -32513);
    assert_true(st_element_decode(ST_U32, bytes, 1).as.u == 0x80000000);
    assert_true(st_element_decode(ST_I32, bytes, 1).as.i == INT32_MIN);
    assert_true(st_element_decode(ST_U64, bytes, 1).as.u == UINT64_MAX - 1);
    assert_true(st_element_decode(ST_I64, bytes, 1).as.i == -2);
    assert_true(st_element_decode(ST_BOOL, bytes, 0).as.u == 0xff);
    static const unsigned char complex[8] = {0, 0, 0x80, 0x3f, 0, 0, 0x00, 0xc0};
    st_value value = st_element_decode(ST_C64, complex, 0);
    assert_int_equal(value.kind, ST_KIND_COMPLEX);
    assert_true(value.as.f[0] == 1.0 && value.as.f[1] == -2.0);
}

/* The packing: a little-endian stream of bits. */
static void sub_byte_elements_cross_bytes(void **state)
{
    (void)state;
    /* F6_E2M3 codes 8, 9, 10, 11 are 1, 1.125, 1.25, 1.375: 8 | 9 << 6 | 10 << 12 | 11 << 18. */
    static const unsigned char sixes[3] = {0x48, 0xa2, 0x2c};
    static const double values[4] = {1, 1.125, 1.25, 1.375};
    unsigned char packed[3] = {0};
    for (uint64_t i = 0; i < 4; i++) {
        assert_true(st_element_decode(ST_F6_E2M3, sixes, i).as.f[0] == values[i]);
        st_element_encode(ST_F6_E2M3, packed, i,
                          &(st_value){.kind = ST_KIND_FLOAT, .as.f = {values[i], 0}});
    }
    assert_memory_equal(packed, sixes, 3);

    static const unsigned char fours[2] = {0x72, 0xf0};
    assert_true(st_element_decode(ST_F4, fours, 0).as.f[0] == 1);
    assert_true(st_element_decode(ST_F4, fours, 1).as.f[0] == 6);
    assert_true(st_element_decode(ST_F4, fours, 3).as.f[0] == -6);
}

/* Encodes into each place of a block of the very size, once with all other bits set and once
 * with none. */
static void encoding_leaves_neighbours_alone(void **state)
{
    (void)state;
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        uint32_t bits = st_dtype_bits(dtype), size = bits; /* 8 elements */
        for (uint64_t index = 0; index < 8; index++) {
            for (int fill = 0; fill <= 0xff; fill += 0xff) {
                unsigned char *block = malloc(size);
                assert_non_null(block);
                memset(block, fill, size);
                st_element_encode(dtype, block, index,
                                  &(st_value){.kind = ST_KIND_UINT, .as.u = 1});
                st_value read = st_element_decode(dtype, block, index);
                assert_true(read.kind >= ST_KIND_FLOAT ? read.as.f[0] == 1 : read.as.u == 1);
                for (uint32_t bit = 0; bit < size * 8; bit++) {
                    bool ours = bit / bits == index;
                    bool set = block[bit / 8] >> (bit % 8) & 1;
                    assert_true(ours || set == (fill != 0));
                }
                free(block);
            }
        }
    }
}

static void values_of_other_kinds_convert(void **state)
{
    (void)state;
    static const struct {
        st_dtype dtype;
        st_value value;
        uint64_t code;
    } cases[] = {
#define UINT_VALUE(x) {.kind = ST_KIND_UINT, .as.u = (x)}
#define INT_VALUE(x)               \
 {                                 \
  .kind = ST_KIND_INT, .as.i = (x) \
 }
#define FLOAT_VALUE(x)                     \
 {                                         \
  .kind = ST_KIND_FLOAT, .as.f = {(x), 9 } \
 }
#define COMPLEX_VALUE(x, y)                    \
 {                                             \
  .kind = ST_KIND_COMPLEX, .as.f = {(x), (y) } \
 }
#define BOOL_VALUE(x)               \
 {                                  \
  .kind = ST_KIND_BOOL, .as.u = (x) \
 }
        {ST_U8, UINT_VALUE(255), 0xff},
        {ST_U8, UINT_VALUE(256), 0xff},
        {ST_U8, INT_VALUE(-1), 0},
        {ST_U8, FLOAT_VALUE(255.9), 255},
        {ST_U8, FLOAT_VALUE(1e300), 255},
        {ST_U8, FLOAT_VALUE(-1e300), 0},
        {ST_U8, FLOAT_VALUE(-0.9), 0},
        {ST_U8, FLOAT_VALUE(NAN), 0},
        {ST_U8, FLOAT_VALUE(INFINITY), 255},
        {ST_U8, COMPLEX_VALUE(7, 8), 7},
        {ST_U8, BOOL_VALUE(2), 1},
        {ST_I8, UINT_VALUE(128), 0x7f},
        {ST_I8, INT_VALUE(-129), 0x80},
        {ST_I8, FLOAT_VALUE(-2.9), 0xfe},
        {ST_I8, FLOAT_VALUE(-INFINITY), 0x80},
        {ST_I16, INT_VALUE(INT64_MIN), 0x8000},
        {ST_I32, FLOAT_VALUE(2147483648.0), 0x7fffffff},
        {ST_I64, UINT_VALUE(UINT64_MAX), INT64_MAX},
        {ST_I64, FLOAT_VALUE(-0x1p63), UINT64_C(1) << 63},
        {ST_I64, FLOAT_VALUE(0x1p63), INT64_MAX},
        {ST_I64, FLOAT_VALUE(0x1p62), UINT64_C(1) << 62},
        {ST_U64, FLOAT_VALUE(0x1p64), UINT64_MAX},
        {ST_U64, FLOAT_VALUE(0x1.fffffffffffffp63), UINT64_C(0xfffffffffffff800)},
        {ST_U64, FLOAT_VALUE(5e-324), 0},
        {ST_BOOL, UINT_VALUE(256), 1},
        {ST_BOOL, BOOL_VALUE(2), 2},
        {ST_BOOL, BOOL_VALUE(256), 1},
        {ST_BOOL, FLOAT_VALUE(-0.0), 0},
        {ST_BOOL, FLOAT_VALUE(0.1), 1},
        {ST_BOOL, FLOAT_VALUE(NAN), 1},
        {ST_BOOL, COMPLEX_VALUE(0, 1), 1},
        /* 2^24 + 1 lies half way; 2^60 + 2^36 + 1 just above half way, but not after rounding to
         * a double. */
        {ST_F32, UINT_VALUE(16777217), 0x4b800000},
        {ST_F32, UINT_VALUE((UINT64_C(1) << 60) + (UINT64_C(1) << 36) + 1), 0x5d800001},
        {ST_F64, UINT_VALUE((UINT64_C(1) << 53) + 1), UINT64_C(0x4340000000000000)},
        {ST_F64, INT_VALUE(INT64_MIN), UINT64_C(0xc3e0000000000000)},
        {ST_F16, INT_VALUE(-65520), 0xfc00},
        {ST_F16, BOOL_VALUE(7), 0x3c00},
        {ST_F32, COMPLEX_VALUE(1, 2), 0x3f800000},
        {ST_C64, FLOAT_VALUE(1), 0x3f800000},
        {ST_C64, INT_VALUE(-1), 0xbf800000},
        {ST_C64, COMPLEX_VALUE(1, -2), UINT64_C(0xc00000003f800000)},
        {ST_F8_E8M0, INT_VALUE(-4), 0xff},
        {ST_F8_E8M0, UINT_VALUE(4), 129},
        {ST_F4, UINT_VALUE(UINT64_MAX), 7},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t code = value_encode(cases[i].dtype, &cases[i].value);
        if (code != cases[i].code)
            fail_msg("row %zu: %s 0x%llx", i, st_dtype_code(cases[i].dtype),
                     (unsigned long long)code);
    }
}

static void values_print_in_the_fewest_digits(void **state)
{
    (void)state;
    static const struct {
        st_dtype dtype;
        st_value value;
        const char *text;
    } cases[] = {
        {ST_BOOL, BOOL_VALUE(0), "false"},
        {ST_BOOL, BOOL_VALUE(2), "true"},
        {ST_U64, UINT_VALUE(UINT64_MAX), "18446744073709551615"},
        {ST_I64, INT_VALUE(INT64_MIN), "-9223372036854775808"},
        {ST_I8, INT_VALUE(-7), "-7"},
        {ST_U8, FLOAT_VALUE(300), "255"},
        {ST_F32, FLOAT_VALUE(0.0), "0"},
        {ST_F32, FLOAT_VALUE(-0.0), "-0"},
        {ST_F32, FLOAT_VALUE(0.1), "0.1"},
        {ST_F32, FLOAT_VALUE(-1.0 / 3), "-0.33333334"},
        {ST_F32, FLOAT_VALUE(1e-40), "1e-40"},
        {ST_F32, FLOAT_VALUE(0x1p-149), "1e-45"},
        {ST_F32, FLOAT_VALUE(0x1.fffffep127), "3.4028235e38"},
        {ST_F32, FLOAT_VALUE(0x1p-126), "1.1754944e-38"},
        {ST_F32, FLOAT_VALUE(16777216), "16777216"},
        {ST_F32, FLOAT_VALUE(1e6), "1000000"},
        {ST_F32, FLOAT_VALUE(1e7), "1e7"},
        {ST_F32, FLOAT_VALUE(123456789), "1.2345679e8"},
        {ST_F32, FLOAT_VALUE(0.0001), "0.0001"},
        {ST_F32, FLOAT_VALUE(0.00012), "0.00012"},
        {ST_F32, FLOAT_VALUE(0.00001), "1e-5"},
        {ST_F32, FLOAT_VALUE(0x1p-44), "5.684342e-14"},
        {ST_F32, FLOAT_VALUE(NAN), "nan"},
        {ST_F32, FLOAT_VALUE(-NAN), "nan"},
        {ST_F32, FLOAT_VALUE(1e300), "inf"},
        {ST_F32, FLOAT_VALUE(-INFINITY), "-inf"},
        {ST_F64, FLOAT_VALUE(0x1.3333333333334p-2), "0.30000000000000004"},
        {ST_F64, FLOAT_VALUE(5e-324), "5e-324"},
        {ST_F64, FLOAT_VALUE(-2.2250738585072014e-308), "-2.2250738585072014e-308"},
        {ST_F64, FLOAT_VALUE(1.7976931348623157e308), "1.7976931348623157e308"},
        {ST_F64, FLOAT_VALUE(9007199254740993.0), "9007199254740992"},
        {ST_F64, FLOAT_VALUE(0x1p-44), "5.684341886080802e-14"},
        {ST_F64, FLOAT_VALUE(9.5e-5), "9.5e-5"},
        {ST_F16, FLOAT_VALUE(65504), "65504"},
        {ST_F16, FLOAT_VALUE(0.1), "0.1"},
        {ST_F16, FLOAT_VALUE(0x1p-24), "6e-8"},
        {ST_BF16, FLOAT_VALUE(3.14159), "3.14"},
        {ST_BF16, FLOAT_VALUE(16777216), "1.68e7"},
        {ST_F8_E4M3, FLOAT_VALUE(448), "448"},
        {ST_F8_E4M3, FLOAT_VALUE(1000), "nan"},
        {ST_F8_E5M2, FLOAT_VALUE(1e9), "inf"},
        {ST_F8_E8M0, FLOAT_VALUE(1024), "1024"},
        {ST_F8_E8M0, FLOAT_VALUE(0x1p-127), "5e-39"},
        {ST_F6_E3M2, FLOAT_VALUE(-0.0625), "-0.06"},
        {ST_F6_E2M3, FLOAT_VALUE(0.25), "0.2"},
        {ST_F6_E2M3, FLOAT_VALUE(2.25), "2.2"},
        {ST_F6_E2M3, FLOAT_VALUE(2.75), "2.8"},
        {ST_F4, FLOAT_VALUE(1.5), "1.5"},
        {ST_F4, FLOAT_VALUE(-0.0), "-0"},
        {ST_C64, COMPLEX_VALUE(1, 2), "1+2j"},
        {ST_C64, COMPLEX_VALUE(1, -0.5), "1-0.5j"},
        {ST_C64, COMPLEX_VALUE(-0.0, -0.0), "-0-0j"},
        {ST_C64, COMPLEX_VALUE(NAN, -INFINITY), "nan-infj"},
        {ST_C64, COMPLEX_VALUE(-INFINITY, NAN), "-inf+nanj"},
        {ST_C64, COMPLEX_VALUE(-1.17549435e-38, -3.40282347e38), "-1.1754944e-38-3.4028235e38j"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[ST_ELEMENT_TEXT_SIZE];
        size_t len = st_element_format(cases[i].dtype, &cases[i].value, text, sizeof text);
        assert_string_equal(text, cases[i].text);
        assert_int_equal(len, strlen(text));
    }
}

/* strtod is the judge here: the tests run in the C locale. */
static void printed_floats_read_back(void **state)
{
    (void)state;
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        uint32_t bits = st_dtype_bits(dtype);
        if (st_dtype_kind(dtype) != ST_KIND_FLOAT)
            continue;
        uint64_t count = bits < 16 ? UINT64_C(1) << bits : 65536;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t spread = i * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits);
            st_value value = float_value(code_decode(dtype, bits > 16 ? spread : i));
            char text[ST_ELEMENT_TEXT_SIZE];
            st_element_format(dtype, &value, text, sizeof text);
            st_value read = float_value(strtod(text, NULL));
            if (isnan(value.as.f[0]) ? !isnan(read.as.f[0])
                                     : value_encode(dtype, &read) != value_encode(dtype, &value))
                fail_msg("%s: %a prints as %s", st_dtype_code(dtype), value.as.f[0], text);
        }
    }
}

/* No text of one digit less reads back as the same F32. */
static void printed_floats_are_shortest(void **state)
{
    (void)state;
    for (uint32_t i = 1; i < 20000; i++) {
        uint32_t bits = i * UINT32_C(0x9e3779b9) & 0x7fffffff;
        float x;
        memcpy(&x, &bits, sizeof x);
        if (!isfinite(x))
            continue;
        st_value value = float_value(x);
        char text[ST_ELEMENT_TEXT_SIZE], shorter[64];
        st_element_format(ST_F32, &value, text, sizeof text);
        int digits = 0;
        for (const char *p = text; *p && *p != 'e'; p++)
            digits += *p >= '0' && *p <= '9' && (digits || *p != '0');
        snprintf(shorter, sizeof shorter, "%.*e", digits > 1 ? digits - 2 : 0, (double)x);
        bool all_count = strpbrk(text, ".e") != NULL; /* else zeros at the end may be filling */
        if (all_count && digits > 1 && strtof(shorter, NULL) == x)
            fail_msg("%s, though %s would do", text, shorter);
    }
}

static void text_is_cut_to_its_room(void **state)
{
    (void)state;
    st_value value = float_value(0.125);
    for (size_t size = 0; size <= 8; size++) {
        char text[9];
        memset(text, '#', sizeof text);
        assert_int_equal(st_element_format(ST_F64, &value, text, size), 5);
        if (size)
            assert_int_equal(strlen(text), size <= 5 ? size - 1 : 5);
        assert_memory_equal(text, "0.125", size ? strlen(text) : 0);
        assert_int_equal(text[size < 6 ? size : 6], '#');
    }
}

static void swap_turns_elements_round(void **state)
{
    (void)state;
    static const unsigned char bytes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        uint32_t bits = st_dtype_bits(dtype);
        uint32_t unit = dtype == ST_C64 ? 4 : bits < 8 ? 1 : bits / 8;
        uint64_t count = 16 * 8 / bits / 2; /* the first half of the bytes, at most */
        uint64_t swapped = bits < 8 ? 0 : count * bits / 8;
        unsigned char got[16];
        memcpy(got, bytes, sizeof got);
        st_elements_swap(dtype, got, count);
        for (uint32_t i = 0; i < 16; i++) {
            uint32_t from = i < swapped ? i / unit * unit + (unit - 1 - i % unit) : i;
            assert_int_equal(got[i], bytes[from]);
        }
        st_elements_swap(dtype, got, count);
        assert_memory_equal(got, bytes, sizeof got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_small_code_decodes),
        cmocka_unit_test(wide_floats_decode),
        cmocka_unit_test(doubles_round_as_ml_dtypes_does),
        cmocka_unit_test(decoding_and_encoding_is_identity),
        cmocka_unit_test(integers_decode_with_their_sign),
        cmocka_unit_test(sub_byte_elements_cross_bytes),
        cmocka_unit_test(encoding_leaves_neighbours_alone),
        cmocka_unit_test(values_of_other_kinds_convert),
        cmocka_unit_test(values_print_in_the_fewest_digits),
        cmocka_unit_test(printed_floats_read_back),
        cmocka_unit_test(printed_floats_are_shortest),
        cmocka_unit_test(text_is_cut_to_its_room),
        cmocka_unit_test(swap_turns_elements_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
