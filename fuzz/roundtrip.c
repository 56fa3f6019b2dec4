/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the input as a file. One that is accepted is written anew, in canonical order and in the file's own,
 * piece by piece and as a copy: it then holds the same tensors and metadata, and written once more it is
 * the same to the byte. */
#include "target.h"

#include <safetensors/safetensors.h>

#include <string.h>

/* A file larger than this says nothing more and is slow to copy. */
#define INPUT_MOST ((size_t)1 << 20)

/* A file in memory. */
typedef struct image {
    unsigned char *data;
    size_t size;
    st_file *file;
} image;

static bool image_open(image *out, void *data, size_t size)
{
    st_memory memory = {data, size, NULL, NULL};
    st_open_options options = {.flags = ST_OPEN_UNKNOWN_DTYPES};
    *out = (image){data, size, NULL};
    return st_file_open_memory(&memory, &options, &out->file, NULL) == ST_OK;
}

static const void *tensor_data(const image *in, const st_tensor *tensor)
{
    return in->data + st_file_offset(in->file, tensor);
}

static void writer_describe(st_writer *writer, const st_file *file)
{
    const st_header *header = st_file_header(file);
    for (size_t i = 0; i < st_file_count(file); i++) {
        st_tensor tensor = *st_file_at(file, i);
        size_t index, code_len;
        if (tensor.dtype >= ST_DTYPE_UNKNOWN) {
            const char *code = st_header_dtype_code(header, tensor.dtype, &code_len);
            /* A code may be empty, which the writer refuses; it may then be any other. */
            require(st_writer_add_dtype(writer, code_len ? code : "?", code_len ? code_len : 1,
                                        &tensor.dtype, NULL) == ST_OK);
        }
        require(st_writer_add(writer, &tensor, &index, NULL) == ST_OK && index == i);
    }
    for (size_t i = 0; i < st_header_metadata_count(header); i++)
        require(st_writer_add_metadata(writer, st_header_metadata_at(header, i), NULL) == ST_OK);
    if (st_header_has_metadata(header))
        require(st_writer_add_metadata(writer, NULL, NULL) == ST_OK);
}

/* The last tensor first, each in two pieces; or all as one copy. */
static void writer_fill(st_writer *writer, const image *from, bool copies)
{
    size_t count = st_file_count(from->file);
    st_copy *list = calloc(count + 1, sizeof *list);
    require(list != NULL);
    for (size_t i = count; i-- > 0;) {
        const st_tensor *tensor = st_file_at(from->file, i);
        const unsigned char *data = tensor_data(from, tensor);
        size_t size = (size_t)st_tensor_size(tensor), half = size / 2;
        list[i] = (st_copy){i, tensor, NULL};
        if (copies)
            continue;
        require(st_writer_write(writer, i, half, data + half, size - half, NULL) == ST_OK);
        require(st_writer_write(writer, i, 0, data, half, NULL) == ST_OK);
    }
    if (copies)
        require(st_writer_copy_from(writer, from->file, list, count, NULL) == ST_OK);
    free(list);
}

/* Writes what `from` holds into new memory. */
static image image_write(const image *from, uint32_t order, bool copies)
{
    st_writer_options options = {.order = order, .max_header_size = UINT32_MAX - 65536};
    st_writer *writer;
    st_sink *sink;
    uint64_t size;
    image out;
    require(st_writer_new(&options, &writer, NULL) == ST_OK);
    writer_describe(writer, from->file);
    require(st_writer_size(writer, &size, NULL) == ST_OK);
    unsigned char *data = malloc((size_t)size);
    require(data != NULL);
    require(st_sink_open_memory(data, (size_t)size, NULL, &sink, NULL) == ST_OK);
    require(st_writer_begin(writer, sink, NULL) == ST_OK);
    writer_fill(writer, from, copies);
    require(st_writer_finish(writer, NULL) == ST_OK);
    require(st_writer_data_offset(writer) % 8 == 0);
    st_writer_free(writer);
    st_sink_release(sink);
    require(image_open(&out, data, (size_t)size));
    return out;
}

static void image_drop(image *old)
{
    st_file_close(old->file);
    free(old->data);
}

static void same_tensor(const image *a, const st_tensor *x, const image *b, const st_tensor *y)
{
    require(y && x->ndim == y->ndim && st_tensor_size(x) == st_tensor_size(y));
    require(x->ndim == 0 || memcmp(x->shape, y->shape, x->ndim * sizeof *x->shape) == 0);
    require((x->dtype >= ST_DTYPE_UNKNOWN) == (y->dtype >= ST_DTYPE_UNKNOWN));
    require(x->dtype == y->dtype || x->dtype >= ST_DTYPE_UNKNOWN);
    require(memcmp(tensor_data(a, x), tensor_data(b, y), (size_t)st_tensor_size(x)) == 0);
}

static void same_contents(const image *a, const image *b)
{
    const st_header *x = st_file_header(a->file), *y = st_file_header(b->file);
    require(st_header_count(x) == st_header_count(y));
    for (size_t i = 0; i < st_header_count(x); i++) {
        const st_tensor *tensor = st_header_at(x, i);
        same_tensor(a, tensor, b, st_header_find(y, tensor->name, tensor->name_len));
    }
    require(st_header_has_metadata(x) == st_header_has_metadata(y));
    require(st_header_metadata_count(x) == st_header_metadata_count(y));
    for (size_t i = 0; i < st_header_metadata_count(x); i++) {
        const st_metadata *entry = st_header_metadata_at(x, i);
        const st_metadata *other = st_header_metadata_find(y, entry->key, entry->key_len);
        require(other && other->value_len == entry->value_len &&
                memcmp(other->value, entry->value, entry->value_len) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    image input;
    if (size > INPUT_MOST || !image_open(&input, (void *)(uintptr_t)data, size))
        return 0;
    for (uint32_t order = ST_ORDER_CANONICAL; order <= ST_ORDER_ADDED; order++) {
        image once = image_write(&input, order, false);
        same_contents(&input, &once);
        image twice = image_write(&once, order, true);
        require(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
        image_drop(&once);
        image_drop(&twice);
    }
    st_file_close(input.file);
    return 0;
}
