/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of this processor against the portable code: the same to the last bit. Where it has none, both
 * are the same code. */
#include "inspect/stats_measure.h"

#include "inspect/stats_sample.h"

typedef struct numbers {
    st_dtype dtype;
    st__number number;
} numbers;

static const numbers all[] = {
    {ST_F32, ST__NUMBER_F32},   {ST_F64, ST__NUMBER_F64}, {ST_F16, ST__NUMBER_F16},
    {ST_BF16, ST__NUMBER_BF16}, {ST_I8, ST__NUMBER_I8},   {ST_U8, ST__NUMBER_U8},
    {ST_I32, ST__NUMBER_I32},   {ST_U32, ST__NUMBER_U32}, {ST_I64, ST__NUMBER_I64},
    {ST_U64, ST__NUMBER_U64},
};
enum { ALL = sizeof all / sizeof *all };

static double room[ST__CHUNK];

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void check_equal_bits(const char *what, double a, double b)
{
    if (bits_of(a) != bits_of(b) && !(isnan(a) && isnan(b)))
        fail_msg("%s: %a by kernels, %a by portable code", what, a, b);
}

static void check_chunk(st__number number, const unsigned char *data, size_t count)
{
    st__measure a, b;
    st__moments x = {0}, y = {0};
    st__measure_init(&a);
    st__measure_init(&b);
    const st__measuring here = {st__kernels_here(), number, room};
    const st__measuring portable = {&st__kernels_portable, number, room};
    st__chunk_measure(&here, data, count, &a, &x);
    st__chunk_measure(&portable, data, count, &b, &y);
    assert_int_equal(a.finite, b.finite);
    assert_int_equal(a.nan, b.nan);
    assert_int_equal(a.positive_infinity, b.positive_infinity);
    assert_int_equal(a.negative_infinity, b.negative_infinity);
    assert_int_equal(a.finite + a.nan + a.positive_infinity + a.negative_infinity, count);
    assert_int_equal(a.zeros, b.zeros);
    assert_int_equal(a.negatives, b.negatives);
    check_equal_bits("min", a.min, b.min);
    check_equal_bits("max", a.max, b.max);
    assert_int_equal(x.count, y.count);
    check_equal_bits("mean", x.mean, y.mean);
    check_equal_bits("squares", x.squares, y.squares);
}

static void check_sizes(st__number number, const stats_sample *sample)
{
    const uint32_t size = st__number_size(number);
    for (size_t count = 0; count <= 70; count++)
        check_chunk(number, sample->data + count % 3 * size, count);
    for (size_t first = 0; first + ST__CHUNK <= sample->count; first += ST__CHUNK - 1)
        check_chunk(number, sample->data + first * size, ST__CHUNK);
}

static void test_any_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < ALL; i++) {
        stats_sample sample = stats_sample_new(all[i].dtype, 20 * ST__CHUNK);
        for (uint64_t seed = 1; seed <= 4; seed++) {
            stats_sample_bits(&sample, seed);
            check_sizes(all[i].number, &sample);
            assert_int_equal(st__number_of(all[i].dtype), all[i].number);
        }
        stats_sample_free(&sample);
    }
}

/* Bits of any double: squares that overflow and vanish, infinite sums of finite values. */
static void test_any_double(void **state)
{
    (void)state;
    uint64_t random = 5;
    stats_sample sample = stats_sample_new(ST_F64, 20 * ST__CHUNK);
    for (int way = 0; way < 4; way++) {
        for (size_t i = 0; i < sample.data_size; i++)
            sample.data[i] = (unsigned char)random_step(&random);
        for (size_t i = 0; way && i < sample.data_size; i += 8) {
            static const unsigned char highest[] = {0, 0x00, 0x20, 0x7f};
            sample.data[i + 7] = (sample.data[i + 7] & 0x80) | highest[way];
            sample.data[i + 6] &= 0xef; /* finite */
        }
        check_sizes(ST__NUMBER_F64, &sample);
    }
    stats_sample_free(&sample);
}

/* Without NaN and infinities; near zero, and so far from it that squares alone would not do. */
static void test_normal(void **state)
{
    (void)state;
    const double scales[] = {0, 1e-3, 1, 30, 1e4};
    for (size_t i = 0; i < ALL; i++) {
        stats_sample sample = stats_sample_new(all[i].dtype, 3 * ST__CHUNK);
        for (size_t s = 0; s < sizeof scales / sizeof *scales; s++) {
            stats_sample_normal(&sample, scales[s]);
            check_sizes(all[i].number, &sample);
            for (uint64_t k = 0; k < sample.count; k++) {
                st_value value = {.kind = ST_KIND_FLOAT};
                value.as.f[0] = 100 + (double)(k % 5) * scales[s] * 1e-3;
                st_element_encode(all[i].dtype, sample.data, k, &value);
            }
            check_sizes(all[i].number, &sample);
        }
        stats_sample_free(&sample);
    }
}

/* Every code of the narrow ones, one NaN or infinity among other values at each place. */
static void test_every_code(void **state)
{
    (void)state;
    for (size_t i = 2; i < 6; i++) {
        const bool two = st__number_size(all[i].number) == 2;
        stats_sample sample = stats_sample_new(all[i].dtype, 64);
        for (uint32_t code = 0; code < (two ? 0x10000u : 0x100u); code++) {
            size_t at = code % 64;
            stats_sample_normal(&sample, 40);
            sample.data[two ? 2 * at : at] = (unsigned char)code;
            if (two)
                sample.data[2 * at + 1] = (unsigned char)(code >> 8);
            check_chunk(all[i].number, sample.data, 64);
        }
        stats_sample_free(&sample);
    }
}

/* Bins, of values in and out of range, on edges, and not finite. */
static void test_bins(void **state)
{
    (void)state;
    enum { BINS = 50, VALUES = 5003 };
    static double edges[BINS + 1], values[VALUES];
    st__bins bins = {.count = BINS, .low = -1, .high = 4, .edges = edges, .width = 5};
    for (int i = 0; i <= BINS; i++)
        edges[i] = i * 0.1 - 1;
    edges[BINS] = 4;
    uint64_t random = 9;
    for (size_t i = 0; i < VALUES; i++) {
        const double places[] = {edges[i % (BINS + 1)],
                                 nextafter(edges[i % (BINS + 1)], -INFINITY),
                                 1e300,
                                 -INFINITY,
                                 NAN,
                                 -1e12,
                                 0.0,
                                 4.0000001};
        values[i] = (double)(random_step(&random) >> 11) * 0x1p-53 * 7 - 2;
        if (i % 3 == 0)
            values[i] = places[i / 3 % 8];
    }
    for (int plain = 0; plain < 2; plain++) {
        bins.scale = plain ? BINS / bins.width : 0;
        for (size_t count = VALUES - 9; count <= VALUES; count++) {
            uint64_t counts[2][BINS * ST__BIN_LANES] = {{0}}, sums[2][BINS] = {{0}}, sum = 0;
            st__histogram a = {.counts = counts[0]}, b = {.counts = counts[1]};
            st__histogram_add_all(&a, &bins, st__kernels_here(), values, count);
            st__histogram_add_all(&b, &bins, &st__kernels_portable, values, count);
            for (size_t k = 0; k < BINS * ST__BIN_LANES; k++) {
                sums[0][k % BINS] += counts[0][k];
                sums[1][k % BINS] += counts[1][k];
                sum += counts[0][k];
            }
            assert_memory_equal(sums[0], sums[1], sizeof sums[0]);
            assert_int_equal(a.below, b.below);
            assert_int_equal(a.above, b.above);
            assert_true(sum > count / 2 && a.below > 0 && a.above > 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_bits), cmocka_unit_test(test_any_double),
        cmocka_unit_test(test_normal),   cmocka_unit_test(test_every_code),
        cmocka_unit_test(test_bins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
