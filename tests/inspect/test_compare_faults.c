/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing where memory, a source, or a file's constancy fails. */
#include "inspect/asked.h"
#include "inspect/compare_sample.h"
#include "inspect/image.h"
#include "support/fault.h"
#include "support/oom.h"

/* Everything there is to do: names, values, and a pair that was renamed. */
static const st_compare_options everything = {.flags = ST_COMPARE_RENAMES | ST_COMPARE_CAST};

#define HEADER(metadata, last)                                          \
 "{\"__metadata__\":{\"k\":\"" metadata "\"},"                          \
 "\"w\":{\"dtype\":\"F32\",\"shape\":[500],\"data_offsets\":[0,2000]}," \
 "\"" last "\":{\"dtype\":\"U8\",\"shape\":[700],\"data_offsets\":[2000,2700]}}"

static image images[2];

static int images_make(void **state)
{
    (void)state;
    image_frame(&images[0], HEADER("1", "old"), 2700);
    image_frame(&images[1], HEADER("2", "new"), 2700);
    images[1].bytes[images[1].data_offset + 5] ^= 0x10;
    return 0;
}

static int images_free(void **state)
{
    (void)state;
    image_free(&images[0]);
    image_free(&images[1]);
    return 0;
}

static st_status files_compare(const st_file *a, const st_file *b, st_error *error)
{
    st_compare_summary s = {.same = 77};
    st_status status = st_files_compare(a, b, &everything, &s, error);
    if (status != ST_OK) {
        assert_int_equal(s.same, 77);
        return status;
    }
    assert_int_equal(s.changed, 1);
    assert_int_equal(s.renamed, 1);
    assert_int_equal(s.metadata_changed, 1);
    return ST_OK;
}

static st_status file_open(const image *im, st_context *context, st_file **out)
{
    const st_memory memory = {.data = im->bytes, .size = im->size};
    const st_open_options options = {.context = context, .io = ST_IO_PREAD, .name = "image"};
    return st_file_open_memory(&memory, &options, out, NULL);
}

static void test_no_memory(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        st_file *a, *b;
        status = file_open(&images[0], context, &a);
        if (status == ST_OK) {
            status = file_open(&images[1], context, &b);
            if (status == ST_OK) {
                status = files_compare(a, b, NULL);
                st_file_close(b);
            }
            st_file_close(a);
        }
    }
}

static void test_no_memory_for_two_tensors(void **state)
{
    (void)state;
    ST_OOM_LOOP(context, status)
    {
        st_file *a;
        st_deviation d = {.count = 77};
        status = file_open(&images[0], context, &a);
        if (status == ST_OK) {
            const st_side_tensor side = {a, st_file_find(a, "w", 1)};
            status = st_tensors_compare(&side, &side, NULL, &d, NULL);
            assert_int_equal(d.count, status == ST_OK ? 500 : 77);
            st_file_close(a);
        }
    }
}

/* The message tells how many bytes there were none of. */
static void test_no_memory_in_bytes(void **state)
{
    (void)state;
    uint64_t run = 0;
    bool more = true;
    for (; more; run++) {
        asked_allocator asked;
        st_context *context = asked_begin(&asked, 0);
        st_file *a, *b;
        st_error why = {.status = ST_OK};
        CHECK_OK(file_open(&images[0], context, &a));
        CHECK_OK(file_open(&images[1], context, &b));
        asked = (asked_allocator){.fail_at = run + 1};
        const st_status status = files_compare(a, b, &why);
        st_file_close(a);
        st_file_close(b);
        more = asked_end(&asked, context, status, &why);
    }
    assert_true(run > 15);
}

/* One of the two sides, a number, is what goes wrong; the other one is in memory. */
static void check_faults(fault_kind kind, st_status expected, int side)
{
    const st_context_options alone = {.max_threads = 1};
    st_context *context;
    CHECK_OK(st_context_new(&alone, &context, &error));
    const st_open_options options = {.context = context};
    uint64_t seen = 0;
    ST_FAULT_LOOP(source, status, kind, images[side].bytes, images[side].size)
    {
        st_file *files[2];
        st_error why = {.status = ST_OK};
        CHECK_OK(file_open(&images[!side], context, &files[!side]));
        status = st_file_open_source(source, &options, &files[side], NULL);
        if (status == ST_OK) {
            status = files_compare(files[0], files[1], &why);
            if (status != ST_OK)
                assert_memory_equal(why.message, "fault: ", 7);
            seen += status == expected;
            st_file_close(files[side]);
        }
        st_file_close(files[!side]);
    }
    assert_true(seen > 0);
    st_context_release(context);
}

static void test_read_fails(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++)
        check_faults(FAULT_EIO, ST_ERR_IO, side);
}

static void test_read_is_short(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++)
        check_faults(FAULT_SHORT, ST_ERR_SHORT_READ, side);
}

static void test_file_changes(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        check_faults(FAULT_SHRINK, ST_ERR_CHANGED, side);
        check_faults(FAULT_TOUCH, ST_ERR_CHANGED, side);
    }
}

/* A file that is touched at any moment between the opening and the last look at it. */
static void check_touched(int side)
{
    st_context *context;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &context, &error));
    uint64_t seen = 0;
    for (uint64_t at = 1;; at++) {
        fault_source fault = {
            .data = images[side].bytes, .size = images[side].size, .kind = FAULT_TOUCH};
        st_source *source = fault_source_new(&fault);
        st_file *files[2];
        st_deviation d = {.count = 77};
        CHECK_OK(file_open(&images[!side], context, &files[!side]));
        CHECK_OK(st_file_open_source(source, &(st_open_options){.context = context}, &files[side],
                                     &error));
        const st_side_tensor a = {files[0], st_file_find(files[0], "w", 1)};
        const st_side_tensor b = {files[1], st_file_find(files[1], "w", 1)};
        fault.at = fault.calls + at;
        st_error why = {.status = ST_OK};
        const st_status status = st_tensors_compare(&a, &b, NULL, &d, &why);
        st_file_close(files[0]);
        st_file_close(files[1]);
        st_source_release(source);
        if (!fault.hit) {
            assert_int_equal(status, ST_OK);
            break;
        }
        check_error(CHECK_PLACE("st_tensors_compare"), status, &why, ST_ERR_CHANGED, ST_NO_OFFSET,
                    "fault");
        assert_int_equal(d.count, 77);
        seen++;
    }
    assert_true(seen >= 3); /* before, reading, after */
    st_context_release(context);
}

static void test_file_is_touched(void **state)
{
    (void)state;
    check_touched(0);
    check_touched(1);
}

/* ------------------------------------------------------------- a source that does not say so */

/* Gives another first byte of the data from its second reading of that on, and the same times. */
typedef struct turning_source {
    const image *im;
    uint64_t readings;
} turning_source;

static st_status turning_info(void *self, st_source_info *out, st_error *error)
{
    const turning_source *turning = self;
    (void)error;
    *out = (st_source_info){.size = turning->im->size};
    return ST_OK;
}

static st_status turning_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                              st_error *error)
{
    turning_source *turning = self;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        unsigned char *to = segments[i].data;
        for (size_t k = 0; k < segments[i].size; k++, offset++) {
            to[k] = turning->im->bytes[offset];
            if (offset == turning->im->data_offset && turning->readings++ > 0)
                to[k] ^= 1;
        }
    }
    return ST_OK;
}

static void turning_free(void *self)
{
    (void)self;
}

/* What was hashed alike, and then is not the same, is not taken for renamed. */
static void test_bytes_decide_and_no_hash(void **state)
{
    (void)state;
    const st_source_vtable vtable = {
        .size = sizeof vtable, .info = turning_info, .read = turning_read, .free = turning_free};
    const size_t size = 100;
    image a, b;
    image_frame(&a, "{\"old\":{\"dtype\":\"U8\",\"shape\":[100],\"data_offsets\":[0,100]}}", size);
    image_frame(&b, "{\"new\":{\"dtype\":\"U8\",\"shape\":[100],\"data_offsets\":[0,100]}}", size);
    turning_source turning = {.im = &b};
    st_source *source;
    st_file *x, *y;
    st_compare_summary s;
    const st_compare_options o = {.flags = ST_COMPARE_RENAMES};
    CHECK_OK(st_source_new(&vtable, &turning, NULL, &source, &error));
    CHECK_OK(file_open(&a, NULL, &x));
    CHECK_OK(st_file_open_source(source, NULL, &y, &error));
    turning.readings = 0;
    CHECK_OK(st_files_compare(x, y, &o, &s, &error));
    assert_int_equal(s.renamed, 0);
    assert_int_equal(s.added, 1);
    assert_int_equal(turning.readings, 2); /* hashed, and compared */
    st_file_close(x);
    st_file_close(y);
    st_source_release(source);
    image_free(&a);
    image_free(&b);
}

/* Which tensor could not be read, and where. */
static void test_message(void **state)
{
    (void)state;
    fault_source fault = {.data = images[1].bytes, .size = images[1].size};
    st_source *source = fault_source_new(&fault);
    st_file *a, *b;
    st_context *context;
    st_deviation d = {.count = 77};
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &context, &error));
    CHECK_OK(file_open(&images[0], context, &a));
    CHECK_OK(st_file_open_source(source, &(st_open_options){.context = context}, &b, &error));
    const st_side_tensor sides[2] = {{a, st_file_find(a, "old", 3)},
                                     {b, st_file_find(b, "new", 3)}};
    fault.kind = FAULT_SHORT;
    fault.at = fault.calls + 1;
    CHECK_ERR_TEXT(st_tensors_compare(&sides[0], &sides[1], NULL, &d, &error), ST_ERR_SHORT_READ,
                   images[1].data_offset + 2000 + 350, "fault: tensor \"new\"");
    assert_int_equal(d.count, 77);
    st_file_close(a);
    st_file_close(b);
    st_source_release(source);
    st_context_release(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_memory_for_two_tensors),
        cmocka_unit_test(test_no_memory_in_bytes),
        cmocka_unit_test(test_read_fails),
        cmocka_unit_test(test_read_is_short),
        cmocka_unit_test(test_file_changes),
        cmocka_unit_test(test_file_is_touched),
        cmocka_unit_test(test_bytes_decide_and_no_hash),
        cmocka_unit_test(test_message),
    };
    return cmocka_run_group_tests(tests, images_make, images_free);
}
