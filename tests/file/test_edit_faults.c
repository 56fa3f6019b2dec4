/* SPDX-License-Identifier: Apache-2.0 */
/* What fails below an edit: each allocation, each call of the sink, each call of a source. No file is made then, and
 * an edit that could not take a change is as it was. */
#include "file/edited.h"
#include "support/fault.h"
#include "support/oom.h"

static sample_file sample, second;

typedef struct script {
    st_source *source; /* of the edited file; NULL: in memory */
    st_context *context;
    probe_sink *probe;
} script;

static st_status script_open(const script *s, st_file **out, st_error *error)
{
    st_open_options options = {.context = s->context, .name = s->source ? NULL : "sample"};
    st_memory memory = {sample.bytes, sample.size, NULL, NULL};
    return s->source ? st_file_open_source(s->source, &options, out, error)
                     : st_file_open_memory(&memory, &options, out, error);
}

/* Some of everything. */
static st_status changes_make(st_edit *edit, const st_file *file, const st_file *other,
                              st_error *error)
{
    static unsigned char bytes[40];
    uint64_t shape[2] = {4, 5};
    int64_t strides[2] = {1, 4};
    st_array array = {.data = bytes, .shape = shape, .strides = strides, .ndim = 2};
    array.dtype = ST_U8;
    st_name_rule *rule = NULL;
    st_metadata entry = {"key", 3, 5, "value"};
    st_status status = st_edit_rename(edit, sample_find(file, "x"), "y", 1, error);
    if (status == ST_OK)
        status = st_edit_cast(edit, sample_find(file, "m"), ST_F16, error);
    if (status == ST_OK)
        status = st_edit_replace(edit, sample_find(file, "s"), &array, error);
    if (status == ST_OK)
        status = st_edit_drop(edit, sample_find(file, "e"), error);
    if (status == ST_OK)
        status = st_edit_include(edit, other, st_file_at(other, 0), "n", 1, error);
    if (status == ST_OK)
        status = st_edit_add(edit, "o", 1, &array, error);
    for (int i = 0; i < 20 && status == ST_OK; i++) {
        entry.key_len = (uint32_t)i % 4;
        entry.value_len = (uint32_t)i % 6;
        status = st_edit_set_metadata(edit, &entry, error);
    }
    if (status == ST_OK)
        status = st_edit_remove_metadata(edit, "k", 1, error);
    if (status == ST_OK)
        status = st_name_rule_new("*", "a.*", ST_NAME_GLOB, NULL, &rule, error);
    if (status == ST_OK)
        status = st_edit_rename_all(edit, rule, NULL, error);
    st_name_rule_free(rule);
    return status;
}

static st_status script_run(const script *s, st_error *error)
{
    st_file *file = NULL, *other = bytes_open(second.bytes, second.size, "other");
    st_edit *edit = NULL;
    st_sink *sink = NULL;
    st_edit_options options = {.context = s->context, .order = ST_EDIT_ORDER_NAME};
    st_edit_summary summary;
    st_status status = script_open(s, &file, error);
    if (status == ST_OK)
        status = st_edit_new(file, &options, &edit, error);
    if (status == ST_OK)
        status = changes_make(edit, file, other, error);
    if (status == ST_OK)
        status = st_edit_look(edit, &summary, error);
    if (status == ST_OK) {
        sink = probe_sink_new(s->probe, s->context);
        status = sink ? st_edit_write(edit, sink, &summary, error) : ST_ERR_NOMEM;
    }
    assert_int_equal(s->probe->finished, status == ST_OK);
    if (status == ST_OK) {
        st_file *made = bytes_open(s->probe->data, (size_t)s->probe->size, "made");
        assert_int_equal(st_file_count(made), 6);
        assert_string_equal(st_file_at(made, 0)->name, "a.m");
        assert_string_equal(st_file_at(made, 5)->name, "a.y");
        st_file_close(made);
    }
    st_sink_release(sink);
    assert_true(!sink || s->probe->freed);
    free(s->probe->data);
    st_edit_free(edit);
    st_file_close(file);
    st_file_close(other);
    return status;
}

static int samples_make(void **state)
{
    (void)state;
    sample_frame(&sample, SAMPLE_HEADER);
    sample_frame(&second, "{\"n\":{\"dtype\":\"U8\",\"shape\":[4256],\"data_offsets\":[0,4256]}}");
    return 0;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        ST_OOM_LOOP(context, status)
        {
            probe_sink probe = {.sequential = stream};
            st_error error = {.status = ST_OK};
            status = script_run(&(script){.context = context, .probe = &probe}, &error);
            if (error.status != ST_OK) /* of which file, whoever tells it */
                assert_true(strncmp(error.message, "sample: ", 8) == 0 ||
                            strncmp(error.message, "probe: ", 7) == 0 ||
                            strncmp(error.message, "other: ", 7) == 0 ||
                            strncmp(error.message, "<", 1) == 0 ||
                            strncmp(error.message, "out of memory", 13) == 0);
        }
    }
}

/* What lacked memory can be asked for again. */
static void test_again(void **state)
{
    oom_allocator oom = {0};
    st_context *context = oom_context_new(&oom);
    st_file *file = sample_open(&sample);
    st_edit *edit;
    (void)state;
    CHECK_OK(st_edit_new(file, &(st_edit_options){.context = context}, &edit, &error));
    for (int i = 0; i < 200; i++) {
        char key[20];
        st_metadata entry = {key, (uint32_t)sprintf(key, "key%d", i), 1, "v"};
        st_status status = ST_ERR_NOMEM;
        for (uint64_t n = 1; status != ST_OK; n++) {
            oom.fail_at = oom.calls + n;
            status = st_edit_set_metadata(edit, &entry, NULL);
            assert_true(status == ST_OK || status == ST_ERR_NOMEM);
        }
        oom.fail_at = 0;
    }
    for (int i = 0; i < 200; i++) {
        char key[20];
        int len = sprintf(key, "key%d", i);
        CHECK_OK(st_edit_remove_metadata(edit, key, (size_t)len, &error));
    }
    st_status status = ST_ERR_NOMEM;
    st_edit_summary summary;
    for (uint64_t n = 1; status != ST_OK; n++) {
        oom.fail_at = oom.calls + n;
        status = st_edit_rename(edit, st_file_at(file, 0), "again", 5, NULL);
        if (status != ST_OK) {
            oom.fail_at = 0;
            CHECK_OK(st_edit_look(edit, &summary, &error));
            assert_string_equal(st_edit_at(edit, 0)->name, "m");
        }
    }
    st_edit_free(edit);
    st_file_close(file);
    st_context_release(context);
    assert_int_equal(oom.blocks, 0);
}

static void test_every_call_of_the_sink(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        unsigned n = 0, calls;
        do {
            probe_sink probe = {.sequential = stream, .fail_at = ++n};
            st_error error = {.status = ST_OK};
            st_status status = script_run(&(script){.probe = &probe}, &error);
            calls = probe.calls;
            if (calls < n) {
                assert_int_equal(status, ST_OK);
                break;
            }
            assert_int_equal(status, ST_ERR_IO);
            assert_int_equal(error.sys_errno, EIO);
            assert_int_equal(strncmp(error.message, "probe: ", 7), 0);
            assert_int_equal(calls, n); /* nothing is tried after a failure */
        } while (true);
        assert_true(n > 3);
    }
}

static void test_every_call_of_the_source(void **state)
{
    (void)state;
    static const fault_kind kinds[] = {FAULT_EIO, FAULT_SHORT, FAULT_SHRINK, FAULT_TOUCH};
    st_context *context;
    CHECK_OK(st_context_new(&(st_context_options){.max_threads = 1}, &context, &error));
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        unsigned changed = 0;
        ST_FAULT_LOOP(source, status, kinds[k], sample.bytes, sample.size)
        {
            probe_sink probe = {0};
            status =
                script_run(&(script){.source = source, .context = context, .probe = &probe}, NULL);
            changed += status == ST_ERR_CHANGED;
        }
        assert_true(kinds[k] != FAULT_TOUCH || changed > 2);
    }
    st_context_release(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_again),
        cmocka_unit_test(test_every_call_of_the_sink),
        cmocka_unit_test(test_every_call_of_the_source),
    };
    return cmocka_run_group_tests_name("edit_faults", tests, samples_make, NULL);
}
