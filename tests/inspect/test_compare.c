/* SPDX-License-Identifier: Apache-2.0 */
/* The values of two tensors: every dtype with itself and with every other one, against the slow way; and what can be
 * told without it. */
#include "inspect/compare_sample.h"
#include "inspect/image.h"

/* More than a block, and more than a chunk behind it. */
#define COUNT ((uint64_t)16384 + 2048 + 720)

static const st_compare_options nothing = {0};

/* As `from`, with the elements that `state` picks made others. */
static stats_sample sample_near(const stats_sample *from, uint64_t every, uint64_t seed)
{
    stats_sample sample = stats_sample_new(from->dtype, from->count);
    uint64_t state = seed;
    memcpy(sample.data, from->data, from->data_size);
    for (size_t i = 0; i < sample.data_size; i++)
        if (random_step(&state) % every == 0)
            sample.data[i] = (unsigned char)(sample.data[i] ^ (1u << random_step(&state) % 8));
    return sample;
}

static void test_every_dtype(void **state)
{
    (void)state;
    const st_compare_options options[] = {
        {0},
        {.flags = ST_COMPARE_EQUAL_NAN},
        {.flags = ST_COMPARE_CLOSE, .atol = 0.25, .rtol = 0.125},
        {.flags = ST_COMPARE_CLOSE | ST_COMPARE_EQUAL_NAN, .rtol = 2},
    };
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        stats_sample a = stats_sample_new(dtype, COUNT);
        stats_sample_bits(&a, (uint64_t)dtype);
        const uint64_t every[] = {1, 7, 3000};
        for (size_t e = 0; e < sizeof every / sizeof *every; e++) {
            stats_sample b = sample_near(&a, every[e], 5);
            for (size_t o = 0; o < sizeof options / sizeof *options; o++) {
                const st_deviation got = check_naive(&a, &b, &options[o]);
                assert_true(got.different > 0);
            }
            stats_sample_free(&b);
        }
        stats_sample_free(&a);
    }
}

/* Finite numbers only, which go another way. */
static void test_every_dtype_of_numbers(void **state)
{
    (void)state;
    const st_compare_options close = {.flags = ST_COMPARE_CLOSE, .atol = 0.01, .rtol = 0.5};
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        stats_sample a = stats_sample_new(dtype, COUNT), b = stats_sample_new(dtype, COUNT);
        stats_sample_normal(&a, 3);
        stats_sample_normal(&b, 5);
        check_naive(&a, &b, &nothing);
        check_naive(&a, &b, &close);
        stats_sample_free(&a);
        stats_sample_free(&b);
    }
}

static void test_two_dtypes(void **state)
{
    (void)state;
    const st_compare_options close = {.flags = ST_COMPARE_CLOSE, .atol = 1, .rtol = 0.01};
    for (st_dtype x = 1; x <= ST_DTYPE_COUNT; x++)
        for (st_dtype y = 1; y <= ST_DTYPE_COUNT; y++) {
            stats_sample a = stats_sample_new(x, 2400), b = stats_sample_new(y, 2400);
            stats_sample_bits(&a, 3);
            stats_sample_bits(&b, 4);
            check_naive(&a, &b, &nothing);
            stats_sample_normal(&a, 100);
            stats_sample_normal(&b, 100);
            check_naive(&a, &b, &close);
            stats_sample_free(&a);
            stats_sample_free(&b);
        }
}

/* ------------------------------------------------------------------------------ by hand */

static stats_sample sample_of(st_dtype dtype, const double *values, size_t count)
{
    stats_sample sample = stats_sample_new(dtype, count);
    for (size_t i = 0; i < count; i++) {
        const st_value value = {.kind = ST_KIND_FLOAT, .as = {.f = {values[i]}}};
        st_element_encode(dtype, sample.data, i, &value);
    }
    return sample;
}

static st_deviation compare_doubles(const double *a, const double *b, size_t count,
                                    const st_compare_options *options)
{
    stats_sample x = sample_of(ST_F64, a, count), y = sample_of(ST_F64, b, count);
    const st_deviation d = check_naive(&x, &y, options);
    stats_sample_free(&x);
    stats_sample_free(&y);
    return d;
}

static void test_same(void **state)
{
    (void)state;
    const double values[] = {NAN, INFINITY, -INFINITY, -0.0, 1};
    const st_deviation d = compare_doubles(values, values, 5, &nothing);
    assert_int_equal(d.same, 1);
    assert_int_equal(d.different, 0);
    assert_true(d.first == UINT64_MAX && d.max_absolute_at == UINT64_MAX);
    assert_true(d.mean_absolute == 0);
    const st_deviation empty = compare_doubles(values, values, 0, &nothing);
    assert_int_equal(empty.same, 1);
    assert_true(isnan(empty.mean_absolute));
}

static void test_numbers(void **state)
{
    (void)state;
    const double a[] = {1, 2, 3, 4}, b[] = {1, 2.5, 3, 2};
    const st_deviation d = compare_doubles(a, b, 4, &nothing);
    assert_int_equal(d.same, 0);
    assert_int_equal(d.different, 2);
    assert_int_equal(d.first, 1);
    assert_true(d.max_absolute == 2 && d.max_absolute_at == 3);
    assert_true(d.max_relative == 1 && d.max_relative_at == 3);
    assert_true(d.mean_absolute == 0.625);
}

static void test_zeros_of_both_signs(void **state)
{
    (void)state;
    const double a[] = {0.0}, b[] = {-0.0};
    const st_compare_options close = {.flags = ST_COMPARE_CLOSE};
    const st_deviation exact = compare_doubles(a, b, 1, &nothing);
    assert_int_equal(exact.same, 0);
    assert_int_equal(exact.different, 1);
    assert_true(exact.max_absolute == 0 && exact.max_absolute_at == UINT64_MAX);
    assert_int_equal(compare_doubles(a, b, 1, &close).same, 1);
}

static void test_nan_and_infinity(void **state)
{
    (void)state;
    const double a[] = {NAN, 1, INFINITY, INFINITY, 7, 1}, b[] = {1, NAN, -INFINITY, 2, 7, 3};
    const st_deviation d = compare_doubles(a, b, 6, &nothing);
    assert_int_equal(d.nan_a, 1);
    assert_int_equal(d.nan_b, 1);
    assert_int_equal(d.infinite, 2);
    assert_int_equal(d.different, 5);
    assert_true(d.max_absolute == 2 && d.max_absolute_at == 5);
    assert_true(d.mean_absolute == 1);
}

/* Of other bits than the other side's. */
static void test_nan_of_other_bits(void **state)
{
    (void)state;
    const st_compare_options equal = {.flags = ST_COMPARE_EQUAL_NAN};
    const st_compare_options both = {.flags = ST_COMPARE_EQUAL_NAN | ST_COMPARE_CLOSE};
    const st_compare_options close = {.flags = ST_COMPARE_CLOSE, .rtol = 1};
    stats_sample a = stats_sample_new(ST_F32, 1), b = stats_sample_new(ST_F32, 1);
    memcpy(a.data, "\0\0\xc0\x7f", 4);
    memcpy(b.data, "\1\0\xc0\xff", 4);
    assert_int_equal(check_naive(&a, &b, &nothing).same, 0);
    assert_int_equal(check_naive(&a, &b, &close).same, 0);
    assert_int_equal(check_naive(&a, &b, &equal).same, 1);
    const st_deviation d = check_naive(&a, &b, &both);
    assert_int_equal(d.same, 1);
    assert_int_equal(d.nan_both, 1);
    assert_int_equal(d.different, 1);
    stats_sample_free(&a);
    stats_sample_free(&b);
}

static void test_tolerance_is_inclusive(void **state)
{
    (void)state;
    const double a[] = {1.5, 10}, b[] = {1, 8};
    st_compare_options o = {.flags = ST_COMPARE_CLOSE, .atol = 0.5, .rtol = 0.1875};
    assert_int_equal(compare_doubles(a, b, 2, &o).same, 1);
    o.rtol = 0.1874; /* 0.5 + 8 * 0.1874 < 2 */
    const st_deviation d = compare_doubles(a, b, 2, &o);
    assert_int_equal(d.same, 0);
    assert_int_equal(d.beyond, 1);
    o.atol = 0; /* of b, not of a */
    o.rtol = 0.25;
    assert_int_equal(compare_doubles(a, b, 2, &o).beyond, 1);
}

/* Finite values whose distance, and whose sum of distances, no double holds. */
static void test_beyond_doubles(void **state)
{
    (void)state;
    const double a[] = {DBL_MAX, 0}, b[] = {-DBL_MAX, 0};
    const st_deviation d = compare_doubles(a, b, 2, &nothing);
    assert_int_equal(d.infinite, 0);
    assert_true(isinf(d.max_absolute) && isinf(d.mean_absolute));
    const double c[] = {DBL_MAX, DBL_MAX}, zeros[] = {0, 0};
    const st_deviation sum = compare_doubles(c, zeros, 2, &nothing);
    assert_true(sum.max_absolute == DBL_MAX && isinf(sum.mean_absolute));
    assert_true(sum.max_relative == 0 && sum.max_relative_at == UINT64_MAX);
}

static stats_sample sample_u64(st_dtype dtype, const uint64_t *codes, size_t count)
{
    stats_sample sample = stats_sample_new(dtype, count);
    for (size_t i = 0; i < count; i++)
        for (int k = 0; k < 8; k++)
            sample.data[8 * i + (size_t)k] = (unsigned char)(codes[i] >> 8 * k);
    return sample;
}

static void test_integers_of_64_bits(void **state)
{
    (void)state;
    const uint64_t low = (uint64_t)INT64_MIN, high = INT64_MAX, far = UINT64_C(1) << 53;
    const uint64_t a[] = {high, far, 5}, b[] = {low, far + 1, 5};
    const st_compare_options one = {.flags = ST_COMPARE_CLOSE, .atol = 1};
    const st_compare_options most = {.flags = ST_COMPARE_CLOSE, .atol = 0x1p64};
    stats_sample x = sample_u64(ST_I64, a, 3), y = sample_u64(ST_I64, b, 3);
    const st_deviation d = check_naive(&x, &y, &one);
    assert_true(d.max_integer == UINT64_MAX);
    assert_int_equal(d.max_absolute_at, 0);
    assert_int_equal(d.different, 2);
    assert_int_equal(d.beyond, 1);
    assert_int_equal(check_naive(&x, &y, &most).beyond, 0);
    stats_sample_free(&x);
    stats_sample_free(&y);
    x = sample_u64(ST_U64, (const uint64_t[]){far + 1, UINT64_MAX, 1}, 3);
    y = sample_u64(ST_I64, (const uint64_t[]){far, low, UINT64_MAX}, 3);
    const st_deviation mixed = check_naive(&x, &y, &nothing);
    assert_int_equal(mixed.different, 3);
    assert_true(mixed.max_integer == UINT64_MAX); /* it would be more */
    assert_int_equal(mixed.max_absolute_at, 1);
    stats_sample_free(&x);
    stats_sample_free(&y);
}

/* The least difference that there is, where a double has no room for it. */
static void test_integers_beside_floats(void **state)
{
    (void)state;
    const uint64_t far = UINT64_C(1) << 53;
    const double floats[] = {0x1p53, 0x1p53, 0x1p63, 0x1p64};
    stats_sample x = sample_u64(ST_U64, (const uint64_t[]){far, far + 1, far << 10, UINT64_MAX}, 4);
    stats_sample y = sample_of(ST_F64, floats, 4);
    const st_deviation d = check_naive(&x, &y, &nothing);
    assert_int_equal(d.different, 2);
    assert_int_equal(d.first, 1);
    assert_true(d.max_absolute == 1);
    assert_int_equal(d.max_integer, 0); /* not two integers */
    stats_sample_free(&x);
    stats_sample_free(&y);
}

static void test_max_integer_of_narrow_ones(void **state)
{
    (void)state;
    stats_sample x = stats_sample_new(ST_I8, 2), y = stats_sample_new(ST_I8, 2);
    memcpy(x.data, "\x80\x01", 2);
    memcpy(y.data, "\x7f\x01", 2);
    assert_int_equal(check_naive(&x, &y, &nothing).max_integer, 255);
    stats_sample_free(&x);
    stats_sample_free(&y);
}

/* By its parts: the imaginary one is out of tolerance, and infinite beside a number. */
static void test_complex(void **state)
{
    (void)state;
    const float a[] = {1, 2, INFINITY, 1, NAN, 0, 1, 1}, b[] = {1, 4, INFINITY, 2, 1, NAN, 1, 1};
    const st_compare_options close = {.flags = ST_COMPARE_CLOSE, .atol = 1.5};
    stats_sample x = stats_sample_new(ST_C64, 4), y = stats_sample_new(ST_C64, 4);
    for (size_t i = 0; i < 8; i++) {
        const st_value from = {.kind = ST_KIND_FLOAT, .as = {.f = {a[i]}}};
        const st_value to = {.kind = ST_KIND_FLOAT, .as = {.f = {b[i]}}};
        st_element_encode(ST_F32, x.data, i, &from);
        st_element_encode(ST_F32, y.data, i, &to);
    }
    const st_deviation d = check_naive(&x, &y, &close);
    assert_int_equal(d.different, 3);
    assert_int_equal(d.nan_both, 1);
    assert_int_equal(d.infinite, 0);
    assert_true(d.max_absolute == 2 && d.max_relative == 0.5);
    assert_int_equal(d.beyond, 2);
    stats_sample_free(&x);
    stats_sample_free(&y);
}

/* Where the same largest error is several times, the first one is told. */
static void test_first_of_many(void **state)
{
    (void)state;
    stats_sample x = stats_sample_new(ST_U8, COUNT * 8), y = stats_sample_new(ST_U8, COUNT * 8);
    for (uint64_t i = 30000; i < COUNT * 8; i += 10000)
        y.data[i] = 9;
    const st_deviation d = check_naive(&x, &y, &nothing);
    assert_int_equal(d.first, 30000);
    assert_int_equal(d.max_absolute_at, 30000);
    assert_int_equal(d.max_relative_at, 30000);
    stats_sample_free(&x);
    stats_sample_free(&y);
}

/* ------------------------------------------------------------------------------- refusals */

static st_file *file_of(const char *header, size_t data_size, image *im, uint32_t flags)
{
    st_file *file = NULL;
    image_frame(im, header, data_size);
    st_memory memory = {.data = im->bytes, .size = im->size};
    const st_open_options options = {.flags = flags, .name = "image"};
    CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
    return file;
}

static void test_refused(void **state)
{
    (void)state;
    image im;
    st_deviation d = {.count = 77};
    st_file *file = file_of("{\"a\":{\"dtype\":\"U8\",\"shape\":[2,3],\"data_offsets\":[0,6]},"
                            "\"b\":{\"dtype\":\"U8\",\"shape\":[3,2],\"data_offsets\":[6,12]},"
                            "\"c\":{\"dtype\":\"X9\",\"shape\":[2,3],\"data_offsets\":[12,18]},"
                            "\"d\":{\"dtype\":\"X9\",\"shape\":[2,3],\"data_offsets\":[18,25]}}",
                            25, &im, ST_OPEN_UNKNOWN_DTYPES);
    const st_side_tensor a = {file, st_file_find(file, "a", 1)};
    const st_side_tensor b = {file, st_file_find(file, "b", 1)};
    const st_side_tensor c = {file, st_file_find(file, "c", 1)};
    const st_side_tensor e = {file, st_file_find(file, "d", 1)};
    CHECK_ERR_TEXT(st_tensors_compare(&a, &b, NULL, &d, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "image: tensor \"a\", and \"b\" of image: the shapes differ");
    CHECK_ERR_TEXT(st_tensors_compare(&c, &e, NULL, &d, &error), ST_ERR_ARGUMENT, ST_NO_OFFSET,
                   "the shapes differ");
    CHECK_ERR_TEXT(st_tensors_compare(&a, &c, NULL, &d, &error), ST_ERR_DTYPE_UNKNOWN, ST_NO_OFFSET,
                   "tensor \"a\", and \"c\" of image");
    const st_compare_options bad[] = {
        {.flags = 64},           {.parts = 8},       {.atol = -1},
        {.rtol = NAN},           {.atol = HUGE_VAL}, {.reserved = {1}},
        {.reserved = {[7] = 1}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        st_compare_summary summary;
        CHECK_ERR_TEXT(st_tensors_compare(&a, &a, &bad[i], &d, &error), ST_ERR_ARGUMENT,
                       ST_NO_OFFSET, "st_compare_options");
        CHECK_ERR_TEXT(st_files_compare(file, file, &bad[i], &summary, &error), ST_ERR_ARGUMENT,
                       ST_NO_OFFSET, "st_compare_options");
    }
    assert_int_equal(d.count, 77);
    st_file_close(file);
    image_free(&im);
}

/* Nothing is known of these but their bytes. */
static void test_unknown_dtype(void **state)
{
    (void)state;
    image im;
    st_deviation d;
    const st_compare_options close = {.flags = ST_COMPARE_CLOSE, .atol = 1e9};
    st_file *file = file_of("{\"a\":{\"dtype\":\"X9\",\"shape\":[2,3],\"data_offsets\":[0,7]},"
                            "\"b\":{\"dtype\":\"X9\",\"shape\":[2,3],\"data_offsets\":[7,14]}}",
                            14, &im, ST_OPEN_UNKNOWN_DTYPES);
    const st_side_tensor a = {file, st_file_find(file, "a", 1)};
    const st_side_tensor b = {file, st_file_find(file, "b", 1)};
    CHECK_OK(st_tensors_compare(&a, &b, &close, &d, &error));
    assert_int_equal(d.flags, ST_DEVIATION_BYTES);
    assert_int_equal(d.count, 7);
    assert_int_equal(d.different, 7);
    assert_int_equal(d.same, 0);
    assert_true(isnan(d.mean_absolute));
    CHECK_OK(st_tensors_compare(&a, &a, &close, &d, &error));
    assert_int_equal(d.same, 1);
    st_file_close(file);
    image_free(&im);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_dtype),
        cmocka_unit_test(test_every_dtype_of_numbers),
        cmocka_unit_test(test_two_dtypes),
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_zeros_of_both_signs),
        cmocka_unit_test(test_nan_and_infinity),
        cmocka_unit_test(test_nan_of_other_bits),
        cmocka_unit_test(test_tolerance_is_inclusive),
        cmocka_unit_test(test_beyond_doubles),
        cmocka_unit_test(test_integers_of_64_bits),
        cmocka_unit_test(test_integers_beside_floats),
        cmocka_unit_test(test_max_integer_of_narrow_ones),
        cmocka_unit_test(test_complex),
        cmocka_unit_test(test_first_of_many),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_unknown_dtype),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
