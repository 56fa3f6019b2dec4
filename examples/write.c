/* SPDX-License-Identifier: Apache-2.0 */
/* Writes a file of two tensors and reads one of them back: write FILE. */
#include <safetensors/safetensors.h>

#include <inttypes.h>
#include <stdio.h>

static const float weight[2][3] = {{0, 1, 2}, {3, 4, 5}};
static const int64_t steps[2] = {10, 20};

/* What is to be written is told first, then come the bytes. On a big-endian host they would have to be
 * turned round: the file's are little-endian. */
static st_status model_write(st_writer *writer, st_sink *sink, st_error *error)
{
    static const uint64_t shape[] = {3, 2}, count[] = {2};
    static const st_metadata format = {"format", 6, 2, "pt"};
    st_tensor transposed = {
        .name = "weight.T", .name_len = 8, .dtype = ST_F32, .shape = shape, .ndim = 2};
    st_tensor vector = {.name = "steps", .name_len = 5, .dtype = ST_I64, .shape = count, .ndim = 1};
    size_t w, s;
    st_status status = st_writer_add(writer, &transposed, &w, error);
    if (status == ST_OK)
        status = st_writer_add(writer, &vector, &s, error);
    if (status == ST_OK)
        status = st_writer_add_metadata(writer, &format, error);
    if (status == ST_OK)
        status = st_writer_begin(writer, sink, error);

    /* An array of any strides, here a matrix seen from the side, and plain bytes. */
    st_array array = {.data = (void *)(uintptr_t)weight,
                      .shape = shape,
                      .strides = (int64_t[]){4, 12},
                      .ndim = 2,
                      .dtype = ST_F32};
    if (status == ST_OK)
        status = st_writer_write_array(writer, w, &array, error);
    if (status == ST_OK)
        status = st_writer_write(writer, s, 0, steps, sizeof steps, error);
    return status == ST_OK ? st_writer_finish(writer, error) : status;
}

static st_status model_save(const char *path, st_error *error)
{
    st_writer *writer = NULL;
    st_sink *sink = NULL;
    st_status status = st_writer_new(NULL, &writer, error);
    if (status == ST_OK)
        status = st_sink_open(path, NULL, &sink, error);
    if (status == ST_OK)
        status = model_write(writer, sink, error);
    /* Whatever failed, nothing but the file that was there before is left. */
    st_writer_free(writer);
    st_sink_release(sink);
    return status;
}

int main(int argc, char **argv)
{
    st_file *file;
    st_error error = {0};
    float got[6];
    if (argc != 2 || model_save(argv[1], &error) != ST_OK ||
        st_file_open(argv[1], NULL, &file, &error) != ST_OK) {
        fprintf(stderr, "%s\n", argc == 2 ? error.message : "usage: write FILE");
        return 1;
    }
    for (size_t i = 0; i < st_file_count(file); i++)
        printf("%s at %" PRIu64 "\n", st_file_at(file, i)->name,
               st_file_offset(file, st_file_at(file, i)));
    st_status status =
        st_file_read(file, st_file_find(file, "weight.T", 8), NULL, got, sizeof got, &error);
    for (int i = 0; i < 6 && status == ST_OK; i++)
        printf(" %g", got[i]);
    printf("\n");
    st_file_close(file);
    return status != ST_OK;
}
