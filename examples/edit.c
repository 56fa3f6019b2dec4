/* SPDX-License-Identifier: Apache-2.0 */
/* Edits a file onto its own path: edit FILE. A tensor is renamed and cast, another one replaced, a third added. */
#include <safetensors/edit.h>

#include <inttypes.h>
#include <stdio.h>

static const int64_t steps[2] = {10, 20};
static const uint64_t two[] = {2};
static const st_array vector = {
    .data = (void *)(uintptr_t)steps, .shape = two, .ndim = 1, .dtype = ST_I64};

/* Told of every tensor that was cast; false would end it, and leave the file as it is. */
static bool cast_print(void *ctx, const st_tensor *tensor, uint64_t overflowed,
                       uint64_t underflowed)
{
    (void)ctx;
    printf("%s: %" PRIu64 " out of range, %" PRIu64 " became 0\n", tensor->name, overflowed,
           underflowed);
    return true;
}

/* Nothing is read or written here. */
static st_status changes_make(st_edit *edit, const st_file *file, st_error *error)
{
    static const st_metadata note = {"note", 4, 6, "edited"};
    const st_tensor *weight = st_file_find(file, "weight", 6);
    st_status status = st_edit_rename(edit, weight, "model.weight", 12, error);
    if (status == ST_OK)
        status = st_edit_cast(edit, weight, ST_BF16, error);
    if (status == ST_OK)
        status = st_edit_replace(edit, st_file_find(file, "steps", 5), &vector, error);
    if (status == ST_OK)
        status = st_edit_add(edit, "more", 4, &vector, error);
    if (status == ST_OK)
        status = st_edit_set_metadata(edit, &note, error);
    return status;
}

/* The old file stays at its path until the new one is whole. */
static st_status file_edit(const char *path, const st_file *file, st_edit_summary *summary,
                           st_error *error)
{
    st_edit *edit = NULL;
    st_sink *sink = NULL;
    st_status status = st_edit_new(file, NULL, &edit, error);
    if (status == ST_OK)
        status = changes_make(edit, file, error);
    if (status == ST_OK)
        status = st_sink_open(path, NULL, &sink, error);
    if (status == ST_OK) {
        st_edit_on_cast(edit, cast_print, NULL);
        status = st_edit_write(edit, sink, summary, error);
    }
    st_sink_release(sink);
    st_edit_free(edit);
    return status;
}

int main(int argc, char **argv)
{
    st_file *file;
    st_error error = {0};
    st_edit_summary summary;
    if (argc != 2 || st_file_open(argv[1], NULL, &file, &error) != ST_OK) {
        fprintf(stderr, "%s\n", argc == 2 ? error.message : "usage: edit FILE");
        return 1;
    }
    st_status status = file_edit(argv[1], file, &summary, &error);
    st_file_close(file);
    if (status != ST_OK || st_file_open(argv[1], NULL, &file, &error) != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    printf("%" PRIu64 " renamed, %" PRIu64 " cast, %" PRIu64 " replaced, %" PRIu64 " added\n",
           summary.renamed, summary.cast, summary.replaced, summary.added);
    for (size_t i = 0; i < st_file_count(file); i++)
        printf("%s %s %" PRIu64 "\n", st_file_at(file, i)->name,
               st_dtype_code(st_file_at(file, i)->dtype), st_tensor_size(st_file_at(file, i)));
    st_file_close(file);
    return 0;
}
