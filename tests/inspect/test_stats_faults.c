/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics where memory, the source, or the file's constancy fails. */
#include "inspect/asked.h"
#include "inspect/stats_sample.h"
#include "support/fault.h"
#include "support/oom.h"

static const double probabilities[] = {0.1, 0.5, 0.9};

static const st_stats_options everything = {
    .quantiles = probabilities, .quantile_count = 3, .bin_count = 5};

/* Of each of the ways there are: sorted, counted, and read several times. */
static const struct {
    st_dtype dtype;
    uint64_t count;
} ways[] = {{ST_BF16, 100}, {ST_F16, 20000}, {ST_F4, 1000},
            {ST_I64, 100},  {ST_F32, 60000}, {ST_F64, 20000}};
enum { WAYS = sizeof ways / sizeof *ways };

static stats_sample way_sample(size_t way)
{
    stats_sample sample = stats_sample_new(ways[way].dtype, ways[way].count);
    stats_sample_bits(&sample, way);
    return sample;
}

static void test_no_memory(void **state)
{
    (void)state;
    for (size_t way = 0; way < WAYS; way++) {
        stats_sample sample = way_sample(way);
        st_memory memory = {.data = sample.bytes, .size = sample.size};
        ST_OOM_LOOP(context, status)
        {
            st_file *file;
            st_stats stats;
            st_open_options options = {.context = context, .io = ST_IO_PREAD, .name = "sample"};
            st_error error = {.status = ST_OK};
            status = st_file_open_memory(&memory, &options, &file, NULL);
            if (status == ST_OK) {
                status = st_stats_read(file, stats_sample_tensor(file), NULL, &everything, &stats,
                                       &error);
                if (status == ST_OK)
                    st_stats_release(&stats);
                else
                    check_error(CHECK_PLACE("st_stats_read"), status, &error, ST_ERR_NOMEM,
                                ST_NO_OFFSET, "sample: tensor \"t\": out of memory: ");
                st_file_close(file);
            }
        }
        stats_sample_free(&sample);
    }
}

/* The message tells how many bytes there were none of. */
static void test_no_memory_in_bytes(void **state)
{
    (void)state;
    for (size_t way = 0; way < WAYS; way++) {
        stats_sample sample = way_sample(way);
        const st_memory memory = {.data = sample.bytes, .size = sample.size};
        uint64_t run = 0;
        bool more = true;
        for (; more; run++) {
            asked_allocator asked;
            st_context *context = asked_begin(&asked, 0);
            st_file *file;
            st_stats stats;
            st_error why = {.status = ST_OK};
            CHECK_OK(st_file_open_memory(&memory, &(st_open_options){.context = context}, &file,
                                         &error));
            asked = (asked_allocator){.fail_at = run + 1};
            st_status status =
                st_stats_read(file, stats_sample_tensor(file), NULL, &everything, &stats, &why);
            if (status == ST_OK)
                st_stats_release(&stats);
            st_file_close(file);
            more = asked_end(&asked, context, status, &why);
        }
        assert_true(run > 3);
        stats_sample_free(&sample);
    }
}

/* The same without quantiles and bins, and with nothing finite. */
static void test_no_memory_for_little(void **state)
{
    (void)state;
    stats_sample sample = stats_sample_new(ST_F32, 20000);
    memset(sample.data, 0xff, sample.data_size);
    st_memory memory = {.data = sample.bytes, .size = sample.size};
    for (int all = 0; all < 2; all++) {
        ST_OOM_LOOP(context, status)
        {
            st_file *file;
            st_stats stats;
            st_open_options options = {.context = context};
            status = st_file_open_memory(&memory, &options, &file, NULL);
            if (status == ST_OK) {
                status = st_stats_read(file, stats_sample_tensor(file), NULL,
                                       all ? &everything : NULL, &stats, NULL);
                if (status == ST_OK)
                    st_stats_release(&stats);
                st_file_close(file);
            }
        }
    }
    stats_sample_free(&sample);
}

static void check_faults(fault_kind kind, st_status expected)
{
    st_context *context = stats_context(1, 0);
    st_open_options options = {.context = context};
    for (size_t way = 0; way < WAYS; way++) {
        stats_sample sample = way_sample(way);
        uint64_t seen = 0;
        ST_FAULT_LOOP(source, status, kind, sample.bytes, sample.size)
        {
            st_file *file;
            st_stats stats;
            status = st_file_open_source(source, &options, &file, NULL);
            if (status == ST_OK) {
                status =
                    st_stats_read(file, stats_sample_tensor(file), NULL, &everything, &stats, NULL);
                if (status == ST_OK)
                    st_stats_release(&stats);
                seen += status == expected;
                st_file_close(file);
            }
        }
        assert_true(seen > 0);
        stats_sample_free(&sample);
    }
    st_context_release(context);
}

static void test_read_fails(void **state)
{
    (void)state;
    check_faults(FAULT_EIO, ST_ERR_IO);
}

static void test_read_is_short(void **state)
{
    (void)state;
    check_faults(FAULT_SHORT, ST_ERR_SHORT_READ);
}

static void test_file_changes(void **state)
{
    (void)state;
    check_faults(FAULT_SHRINK, ST_ERR_CHANGED);
    check_faults(FAULT_TOUCH, ST_ERR_CHANGED);
}

/* ------------------------------------------------------------- a source that does not say so */

/* Gives other bytes of the tensor at its second reading and later ones, and the same times. */
typedef struct turning_source {
    const stats_sample *sample;
    const unsigned char *later;
    uint64_t delivered; /* bytes of the tensor so far */
} turning_source;

static st_status turning_info(void *self, st_source_info *out, st_error *error)
{
    const turning_source *turning = self;
    (void)error;
    *out = (st_source_info){.size = turning->sample->size};
    return ST_OK;
}

static st_status turning_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                              st_error *error)
{
    turning_source *turning = self;
    const stats_sample *sample = turning->sample;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        unsigned char *to = segments[i].data;
        for (size_t k = 0; k < segments[i].size; k++, offset++) {
            bool in_data = offset >= sample->size - sample->data_size;
            turning->delivered += in_data;
            bool turned = in_data && turning->delivered > sample->data_size;
            to[k] = turned ? turning->later[offset - (sample->size - sample->data_size)]
                           : sample->bytes[offset];
        }
    }
    return ST_OK;
}

static void turning_free(void *self)
{
    (void)self;
}

/* `later`: the bytes of the tensor at later readings. */
static void check_turning(const stats_sample *sample, const unsigned char *later,
                          const st_stats_options *options, uint64_t memory)
{
    const st_source_vtable vtable = {
        .size = sizeof vtable, .info = turning_info, .read = turning_read, .free = turning_free};
    st_context *context = stats_context(1, memory);
    const st_open_options open_options = {.context = context};
    turning_source turning = {.sample = sample, .later = later};
    st_source *source;
    st_file *file;
    st_stats stats;
    CHECK_OK(st_source_new(&vtable, &turning, &open_options, &source, &error));
    CHECK_OK(st_file_open_source(source, &open_options, &file, &error));
    turning.delivered = 0;
    CHECK_ERR_TEXT(st_stats_read(file, stats_sample_tensor(file), NULL, options, &stats, &error),
                   ST_ERR_CHANGED, ST_NO_OFFSET, "tensor \"t\"");
    st_file_close(file);
    st_source_release(source);
    st_context_release(context);
}

/* Counts that contradict each other are told, and nothing out of bounds is touched: where the second reading
 * keeps keys, and where there are too many for the memory, and it counts them. */
static void test_contents_turn_between_readings(void **state)
{
    (void)state;
    const unsigned char fills[] = {0, 0x3f, 0xff};
    const struct {
        uint64_t count;
        uint64_t memory;
    } turns[] = {{40000, 0}, {400000, 1}};
    for (size_t w = 0; w < 2; w++) {
        stats_sample sample = stats_sample_new(ST_F64, turns[w].count);
        unsigned char *later = malloc(sample.data_size);
        assert_non_null(later);
        stats_sample_normal(&sample, 1);
        for (size_t f = 0; f < sizeof fills; f++) {
            memset(later, fills[f], sample.data_size);
            check_turning(&sample, later, &everything, turns[w].memory);
        }
        free(later);
        stats_sample_free(&sample);
    }
}

/* As many keys in the intervals as there were, but more of them in the first or in the second. */
static void test_keys_turn_between_readings(void **state)
{
    (void)state;
    enum { COUNT = 40000 };
    const double quarters[] = {0.25, 0.75};
    const st_stats_options options = {.quantiles = quarters, .quantile_count = 2};
    stats_sample sample = stats_sample_new(ST_F64, COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        st_value value = {.kind = ST_KIND_FLOAT, .as = {.f = {(double)i}}};
        st_element_encode(ST_F64, sample.data, i, &value);
    }
    unsigned char *later = malloc(sample.data_size);
    assert_non_null(later);
    for (uint64_t k = 0; k < 2; k++) {
        const uint64_t to = k ? COUNT / 4 : COUNT / 4 * 3, from = COUNT - to;
        memcpy(later, sample.data, sample.data_size);
        memcpy(later + 8 * to, sample.data + 8 * from, 8);
        check_turning(&sample, later, &options, 0);
    }
    free(later);
    stats_sample_free(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_memory_in_bytes),
        cmocka_unit_test(test_no_memory_for_little),
        cmocka_unit_test(test_read_fails),
        cmocka_unit_test(test_read_is_short),
        cmocka_unit_test(test_file_changes),
        cmocka_unit_test(test_contents_turn_between_readings),
        cmocka_unit_test(test_keys_turn_between_readings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
