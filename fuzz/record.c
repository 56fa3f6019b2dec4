/* SPDX-License-Identifier: Apache-2.0 */
/* Takes the input as the digests recorded in a file's metadata. What is accepted is compared; no tensor of it makes more than two differences, and each of the file's at most one more. Recorded
 * anew, the file has none. */
#include "target.h"

#include <safetensors/inspect.h>

#include <string.h>

typedef struct memory_file {
    unsigned char bytes[1 << 18];
    size_t size;
    st_file *file;
} memory_file;

/* Makes a file of the tensors "a" and "b" whose metadata are one entry; false where it is no metadata. */
static bool file_make(memory_file *out, const st_metadata *entry)
{
    static const uint64_t two[] = {2};
    static const st_tensor tensors[] = {
        {.name = "a", .name_len = 1, .shape = two, .ndim = 1, .dtype = ST_U8},
        {.name = "b", .name_len = 1, .shape = two, .ndim = 1, .dtype = ST_F4}};
    st_writer *writer;
    st_sink *sink;
    uint64_t size;
    require(st_writer_new(NULL, &writer, NULL) == ST_OK);
    for (size_t i = 0; i < 2; i++)
        require(st_writer_add(writer, &tensors[i], NULL, NULL) == ST_OK);
    if (entry)
        require(st_writer_add_metadata(writer, entry, NULL) == ST_OK);
    bool made = st_writer_size(writer, &size, NULL) == ST_OK && size <= sizeof out->bytes;
    if (made) {
        out->size = (size_t)size;
        require(st_sink_open_memory(out->bytes, out->size, NULL, &sink, NULL) == ST_OK);
        require(st_writer_begin(writer, sink, NULL) == ST_OK);
        require(st_writer_write(writer, 0, 0, "xy", 2, NULL) == ST_OK);
        require(st_writer_write(writer, 1, 0, "z", 1, NULL) == ST_OK);
        require(st_writer_finish(writer, NULL) == ST_OK);
        st_sink_release(sink);
        st_memory memory = {.data = out->bytes, .size = out->size};
        require(st_file_open_memory(&memory, NULL, &out->file, NULL) == ST_OK);
    }
    st_writer_free(writer);
    return made;
}

/* Records the digests of a file, and verifies a file with them. */
static void record_anew(const st_file *file)
{
    static memory_file again;
    st_hash_options options = {.hash = ST_HASH_XXH128, .parts = ST_HASH_TENSORS};
    st_hashes hashes;
    st_hash_record record;
    uint64_t records, differences;
    require(st_hashes_read(file, &options, &hashes, NULL) == ST_OK);
    require(st_hash_record_init(&record, file, &hashes, NULL) == ST_OK);
    require(st_hash_record_is(record.entry.key, record.entry.key_len));
    require(file_make(&again, &record.entry));
    require(st_hash_record_verify(again.file, NULL, &records, &differences, NULL) == ST_OK);
    require(records == 1 && differences == 0);
    st_file_close(again.file);
    st_hash_record_release(&record);
    st_hashes_release(&hashes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static memory_file file;
    st_metadata entry = {"st.hash.xxh3", 12, (uint32_t)size, (const char *)data};
    st_error error = {.status = ST_OK};
    uint64_t records = 7, differences = 7;
    if (size > sizeof file.bytes / 8 || !file_make(&file, &entry))
        return 0;
    st_status status = st_hash_record_verify(file.file, NULL, &records, &differences, &error);
    require(status == ST_OK || (status == ST_ERR_JSON && error.offset <= size));
    require(status == ST_OK ? records == 1 && differences <= 2 + 2 * size : records == 7);
    record_anew(file.file);
    st_file_close(file.file);
    return 0;
}
