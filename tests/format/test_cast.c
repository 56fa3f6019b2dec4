/* SPDX-License-Identifier: Apache-2.0 */
/* Casts against the codec of single elements, and their counts against the limits of the dtypes in decimal. */
#include "base/endian.h"
#include "support/check.h"
#include "support/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is counted, by the new dtype: a magnitude of at least `over` (or above it), and one of at most `under`. */
static const struct cast_limit {
    st_dtype dtype;
    double over;
    bool above;
    double under;
} limits[] = {
    {ST_F64, INFINITY, false, 0},
    {ST_F32, 0x1.ffffffp127, false, 0x1p-150},
    {ST_BF16, 0x1.ffp127, false, 0x1p-134},
    {ST_F16, 65520, false, 0x1p-25},
    {ST_F8_E4M3, 464, true, 0x1p-10},
    {ST_F8_E5M2, 61440, false, 0x1p-17},
    {ST_F8_E8M0, 0x1.8p127, false, 0},
    {ST_F8_E4M3FNUZ, 248, false, 0x1p-11},
    {ST_F8_E5M2FNUZ, 61440, false, 0x1p-18},
    {ST_F6_E2M3, 7.75, false, 0x1p-4},
    {ST_F6_E3M2, 30, false, 0x1p-5},
    {ST_F4, 7, false, 0.25},
};
enum { LIMITS = sizeof limits / sizeof *limits };

static void value_count(const struct cast_limit *limit, double x, st_cast_report *report)
{
    double magnitude = fabs(x);
    if (!isfinite(x))
        return;
    bool over = limit->above ? magnitude > limit->over : magnitude >= limit->over;
    if (over || (limit->dtype == ST_F8_E8M0 && x <= 0))
        report->overflowed++;
    if (x != 0 && magnitude <= limit->under)
        report->underflowed++;
}

static size_t size_of(st_dtype dtype, size_t count)
{
    return (count * st_dtype_bits(dtype) + 7) / 8;
}

/* Memory of just this size, so that the address sanitizer sees what goes beyond. */
static void *bytes_new(size_t size)
{
    void *bytes = malloc(size ? size : 1);
    assert_non_null(bytes);
    memset(bytes, 0xa5, size);
    return bytes;
}

/* Casts to one dtype, and compares with what the codec makes of each element. */
static void cast_compare(st_dtype from, const void *src, const struct cast_limit *limit,
                         size_t count)
{
    st_dtype to = limit->dtype;
    size_t size = size_of(to, count);
    unsigned char *got = bytes_new(size), *expected = bytes_new(size);
    st_cast_report report = {.overflowed = 1000, .underflowed = 2000}, wanted = report;
    memset(expected, 0, size);
    for (size_t i = 0; i < count; i++) {
        st_value value = st_element_decode(from, src, i);
        st_element_encode(to, expected, i, &value);
        value_count(limit, value.as.f[0], &wanted);
    }
    assert_int_equal(st_elements_cast(from, src, to, got, count, &report), ST_OK);
    for (size_t i = 0; memcmp(got, expected, size) != 0 && i < count; i++) {
        st_value value = st_element_decode(from, src, i), a = st_element_decode(to, got, i);
        st_value b = st_element_decode(to, expected, i);
        if (memcmp(&a.as.f[0], &b.as.f[0], sizeof(double)) != 0)
            fail_msg("%s of %s %a: %a, not %a", st_dtype_code(to), st_dtype_code(from),
                     value.as.f[0], a.as.f[0], b.as.f[0]);
    }
    assert_memory_equal(got, expected, size);
    if (report.overflowed != wanted.overflowed || report.underflowed != wanted.underflowed)
        fail_msg("%s to %s: %u over and %u under, not %u and %u", st_dtype_code(from),
                 st_dtype_code(to), (unsigned)report.overflowed, (unsigned)report.underflowed,
                 (unsigned)wanted.overflowed, (unsigned)wanted.underflowed);
    free(got);
    free(expected);
}

static void cast_to_all(st_dtype from, const void *src, size_t count)
{
    for (size_t t = 0; t < LIMITS; t++)
        if (limits[t].dtype != from)
            cast_compare(from, src, &limits[t], count);
}

/* ------------------------------------------------------------------------------ every code */

static void code_put(st_dtype dtype, unsigned char *data, size_t index, uint64_t code)
{
    uint32_t bits = st_dtype_bits(dtype);
    for (uint32_t bit = 0; bit < bits; bit++) {
        size_t at = index * bits + bit;
        unsigned char mask = (unsigned char)(1u << at % 8);
        data[at / 8] =
            (unsigned char)(code >> bit & 1 ? data[at / 8] | mask : data[at / 8] & ~mask);
    }
}

static void every_code_of_16_bits_and_less(void **state)
{
    (void)state;
    for (size_t t = 0; t < LIMITS; t++) {
        st_dtype from = limits[t].dtype;
        uint32_t bits = st_dtype_bits(from);
        if (bits > 16)
            continue;
        size_t count = (size_t)1 << bits;
        unsigned char *src = bytes_new(size_of(from, count));
        for (size_t code = 0; code < count; code++)
            code_put(from, src, code, code);
        cast_to_all(from, src, count);
        free(src);
    }
}

/* ---------------------------------------------------------------------------- wide sources */

enum { ROOM = 400000 };

typedef struct numbers {
    st_dtype dtype; /* F32 or F64 */
    unsigned char *data;
    size_t count;
} numbers;

static void number_add(numbers *n, double x)
{
    float narrow = (float)x;
    uint32_t word;
    uint64_t code;
    memcpy(&word, &narrow, sizeof word);
    memcpy(&code, &x, sizeof code);
    assert_true(n->count < ROOM);
    if (n->dtype == ST_F32)
        st__store_le32(n->data + 4 * n->count++, word);
    else
        st__store_le64(n->data + 8 * n->count++, code);
}

/* A number of both signs, and its neighbours. */
static void number_add_around(numbers *n, double x)
{
    for (int sign = 1; sign >= -1; sign -= 2) {
        double y = sign * x;
        bool narrow = n->dtype == ST_F32;
        number_add(n, y);
        number_add(n, narrow ? (double)nextafterf((float)y, INFINITY) : nextafter(y, INFINITY));
        number_add(n, narrow ? (double)nextafterf((float)y, -INFINITY) : nextafter(y, -INFINITY));
    }
}

static double code_value(st_dtype dtype, uint64_t code)
{
    unsigned char element[8];
    st__store_le64(element, code);
    return st_element_decode(dtype, element, 0).as.f[0];
}

/* Rounding is monotonic: it is right everywhere if it is right around each number at which the result changes. */
static void every_bound_between_two_codes(void **state)
{
    (void)state;
    static const st_dtype sources[] = {ST_F32, ST_F64};
    for (size_t s = 0; s < 2; s++) {
        numbers n = {.dtype = sources[s], .data = bytes_new((size_t)ROOM * 8)};
        for (size_t t = 0; t < LIMITS; t++) {
            st_dtype to = limits[t].dtype;
            uint32_t bits = st_dtype_bits(to);
            if (bits > 16)
                continue;
            n.count = 0;
            uint64_t codes = UINT64_C(1) << (bits - (to != ST_F8_E8M0));
            for (uint64_t code = 0; code + 1 < codes; code++) {
                double low = code_value(to, code), high = code_value(to, code + 1);
                number_add_around(&n, low); /* a bound of E8M0, if it is the least */
                if (isfinite(low) && isfinite(high))
                    number_add_around(&n, low / 2 + high / 2);
            }
            number_add_around(&n, limits[t].over);
            number_add_around(&n, limits[t].under);
            number_add_around(&n, 0);
            cast_compare(n.dtype, n.data, &limits[t], n.count);
        }
        free(n.data);
    }
}

/* The bounds between codes of F32, for F64: some of each exponent, and the ends. */
static void doubles_round_to_f32(void **state)
{
    (void)state;
    numbers n = {.dtype = ST_F64, .data = bytes_new((size_t)ROOM * 8)};
    random_state = 11;
    for (uint64_t exponent = 0; exponent < 255; exponent++) {
        for (int i = 0; i < 40; i++) {
            uint64_t code = exponent << 23 | random_below(1 << 23);
            code = i == 0 ? exponent << 23 : i == 1 ? (exponent << 23) + 0x7ffffe : code;
            double low = code_value(ST_F32, code), high = code_value(ST_F32, code + 1);
            number_add_around(&n, low);
            number_add_around(&n, low / 2 + high / 2);
        }
    }
    number_add_around(&n, 0x1.ffffffp127);
    number_add_around(&n, 0x1p-150);
    number_add_around(&n, 0x1p-1074);
    number_add_around(&n, 0x1p-1022);
    number_add_around(&n, 0x1.fffffffffffffp1023);
    cast_to_all(ST_F64, n.data, n.count);
    free(n.data);
}

/* Bits of any kind, and numbers near 1, where most of those of models are. */
static void random_bits(void **state)
{
    (void)state;
    enum { COUNT = 50000 };
    unsigned char *src = bytes_new((size_t)COUNT * 8);
    random_state = 5;
    for (size_t i = 0; i < COUNT; i++)
        st__store_le32(src + 4 * i, (uint32_t)random_next());
    cast_to_all(ST_F32, src, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        uint32_t exponent = (uint32_t)(90 + random_below(60));
        st__store_le32(src + 4 * i, (uint32_t)(random_next() & 0x807fffff) | exponent << 23);
    }
    cast_to_all(ST_F32, src, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        st__store_le64(src + 8 * i, random_next());
    cast_to_all(ST_F64, src, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        uint64_t exponent = 860 + random_below(300), bits = random_next();
        st__store_le64(src + 8 * i, (bits & UINT64_C(0x800fffffffffffff)) | exponent << 52);
    }
    cast_to_all(ST_F64, src, COUNT);
    free(src);
}

static void infinities_and_nan(void **state)
{
    (void)state;
    static const uint64_t codes[] = {0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000, 0x7f800001,
                                     0xffffffff, 0x7fbfffff, 0,          0x80000000};
    static const uint64_t wide[] = {UINT64_C(0x7ff) << 52,
                                    UINT64_C(0xfff) << 52,
                                    UINT64_C(0x7ff8) << 48,
                                    (UINT64_C(0x7ff) << 52) + 1,
                                    UINT64_MAX,
                                    UINT64_C(1) << 63,
                                    (UINT64_C(0xfff) << 52) + 1,
                                    0};
    unsigned char src[128];
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        st__store_le32(src + 4 * i, (uint32_t)codes[i]);
    cast_to_all(ST_F32, src, sizeof codes / sizeof *codes);
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        st__store_le64(src + 8 * i, wide[i]);
    cast_to_all(ST_F64, src, sizeof wide / sizeof *wide);
}

/* -------------------------------------------------------------------------------- lengths */

/* Sources and results of just the size; what is left of the last byte is 0 (cast_compare). Elements beyond the end would
 * be counted. */
static void every_length(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257, 258, 259, 511, 513};
    for (size_t f = 0; f < LIMITS; f++) {
        st_dtype from = limits[f].dtype;
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            unsigned char *src = bytes_new(size_of(from, lengths[l]));
            random_state = l;
            for (size_t i = 0; i < size_of(from, lengths[l]); i++)
                src[i] = (unsigned char)random_next();
            cast_to_all(from, src, lengths[l]);
            free(src);
        }
    }
}

/* At an address that is a multiple of nothing. */
static void any_address(void **state)
{
    (void)state;
    unsigned char src[1 + 300 * 4], dst[1 + 300 * 2], expected[300 * 2];
    random_state = 3;
    for (size_t i = 0; i < sizeof src; i++)
        src[i] = (unsigned char)random_next();
    unsigned char *aligned = bytes_new(300 * 4);
    memcpy(aligned, src + 1, 300 * 4);
    assert_int_equal(st_elements_cast(ST_F32, aligned, ST_BF16, expected, 300, NULL), ST_OK);
    assert_int_equal(st_elements_cast(ST_F32, src + 1, ST_BF16, dst + 1, 300, NULL), ST_OK);
    assert_memory_equal(dst + 1, expected, sizeof expected);
    free(aligned);
}

static void the_same_dtype_is_a_copy(void **state)
{
    (void)state;
    for (size_t t = 0; t < LIMITS; t++) {
        st_dtype dtype = limits[t].dtype;
        for (size_t count = 0; count < 10; count++) {
            size_t size = size_of(dtype, count), rest = count * st_dtype_bits(dtype) % 8;
            unsigned char *src = bytes_new(size), *dst = bytes_new(size);
            st_cast_report report = {0};
            memset(src, 0xff, size); /* NaN of a payload of its own, where there is NaN */
            assert_int_equal(st_elements_cast(dtype, src, dtype, dst, count, &report), ST_OK);
            if (rest)
                src[size - 1] = (unsigned char)((1u << rest) - 1);
            assert_memory_equal(dst, src, size);
            assert_true(report.overflowed == 0 && report.underflowed == 0);
            free(src);
            free(dst);
        }
    }
}

static void what_is_no_float_is_refused(void **state)
{
    (void)state;
    unsigned char src[8] = {0}, dst[8] = {0};
    st_cast_report report = {0};
    for (st_dtype from = -1; from <= ST_DTYPE_COUNT + 1; from++) {
        for (st_dtype to = -1; to <= ST_DTYPE_COUNT + 1; to++) {
            bool floats =
                st_dtype_kind(from) == ST_KIND_FLOAT && st_dtype_kind(to) == ST_KIND_FLOAT;
            assert_true(st_dtype_casts(from, to) == floats);
            assert_int_equal(st_elements_cast(from, src, to, dst, 1, &report),
                             floats ? ST_OK : ST_ERR_UNSUPPORTED);
        }
    }
    assert_false(st_dtype_casts(ST_DTYPE_UNKNOWN, ST_F32));
    assert_false(st_dtype_casts(ST_F32, ST_I32));
    assert_false(st_dtype_casts(ST_C64, ST_F32));
    assert_true(st_dtype_casts(ST_F4, ST_F64));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_of_16_bits_and_less),
        cmocka_unit_test(every_bound_between_two_codes),
        cmocka_unit_test(doubles_round_to_f32),
        cmocka_unit_test(random_bits),
        cmocka_unit_test(infinities_and_nan),
        cmocka_unit_test(every_length),
        cmocka_unit_test(any_address),
        cmocka_unit_test(the_same_dtype_is_a_copy),
        cmocka_unit_test(what_is_no_float_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
