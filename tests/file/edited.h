/* SPDX-License-Identifier: Apache-2.0 */
/* What an edit of the sample comes to: written through a sink of the tests' own, and opened again. */
#ifndef TESTS_FILE_EDITED_H
#define TESTS_FILE_EDITED_H

#include "file/probe_sink.h"
#include "file/sample.h"

#include <safetensors/edit.h>

/* Opens bytes that stay the caller's. */
static inline st_file *bytes_open(const void *bytes, size_t size, const char *name)
{
    st_memory memory = {(void *)(uintptr_t)bytes, size, NULL, NULL};
    st_open_options options = {.name = name, .flags = ST_OPEN_UNKNOWN_DTYPES};
    st_file *file = NULL;
    CHECK_OK(st_file_open_memory(&memory, &options, &file, &error));
    return file;
}

/* Gives the sample as a file named "sample". */
static inline st_file *sample_open(sample_file *sample)
{
    sample_frame(sample, SAMPLE_HEADER);
    return bytes_open(sample->bytes, sample->size, "sample");
}

/* The new file; `probe.data` is freed by edited_close. */
typedef struct edited {
    probe_sink probe;
    st_edit_summary summary;
    st_file *file;
} edited;

/* Writes an edit, to a stream if asked, and reads it again. */
static inline void edited_make(edited *out, st_edit *edit, bool sequential)
{
    *out = (edited){.probe = {.sequential = sequential}};
    st_sink *sink = probe_sink_new(&out->probe, NULL);
    assert_non_null(sink);
    CHECK_OK(st_edit_write(edit, sink, &out->summary, &error));
    st_sink_release(sink);
    assert_true(out->probe.finished);
    assert_int_equal(out->probe.size, out->summary.size);
    out->file = bytes_open(out->probe.data, (size_t)out->probe.size, "edited");
    assert_int_equal(st_file_count(out->file), out->summary.count);
}

static inline void edited_close(edited *made)
{
    st_file_close(made->file);
    free(made->probe.data);
}

/* The bytes of a tensor of the new file, which has to be of this dtype and size. */
static inline const unsigned char *edited_bytes(const edited *made, const char *name,
                                                st_dtype dtype, uint64_t size)
{
    const st_tensor *tensor = sample_find(made->file, name);
    assert_int_equal(tensor->dtype, dtype);
    assert_int_equal(st_tensor_size(tensor), size);
    return made->probe.data + st_file_offset(made->file, tensor);
}

/* Whether a tensor holds what one of the sample did. */
static inline void check_unchanged(const edited *made, const char *name, const sample_file *from,
                                   const st_tensor *tensor)
{
    const unsigned char *bytes = edited_bytes(made, name, tensor->dtype, st_tensor_size(tensor));
    const st_tensor *now = sample_find(made->file, name);
    assert_memory_equal(bytes, from->bytes + from->data_offset + tensor->begin,
                        st_tensor_size(tensor));
    assert_int_equal(now->ndim, tensor->ndim);
    assert_memory_equal(now->shape, tensor->shape, tensor->ndim * sizeof *now->shape);
}

/* The names of the new file in the order of their data, each with a blank behind it. */
static inline const char *edited_names(const edited *made)
{
    static char names[200];
    names[0] = '\0';
    for (size_t i = 0; i < st_file_count(made->file); i++) {
        strcat(names, st_file_at(made->file, i)->name);
        strcat(names, " ");
    }
    return names;
}

#endif
