/* SPDX-License-Identifier: Apache-2.0 */
/* Takes the input as a damaged file and saves what can be saved of it. The new file is read and checked without an error;
 * each of its tensors is a stretch of the input, of the bytes that were told; and nothing is told to be wrong just where
 * the check finds nothing wrong. */
#include "target.h"

#include <safetensors/inspect.h>

#include <string.h>

/* A tensor that was told to be saved. */
typedef struct saved {
    uint64_t offset, size;
    char *name;
    size_t name_len;
} saved;

typedef struct told {
    saved *at;
    size_t count, room;
    size_t input_size;
} told;

static bool item_take(void *ctx, const st_salvage_item *item)
{
    told *all = ctx;
    require(item->message && *item->message && !strpbrk(item->message, "\n\r\x1b"));
    require((item->kind == ST_SALVAGE_SAVED) == (item->rule == NULL));
    if (item->kind != ST_SALVAGE_SAVED)
        return true;
    require(item->size == 0 ||
            (item->offset <= all->input_size && item->size <= all->input_size - item->offset));
    if (all->count == all->room) {
        all->room = all->room ? 2 * all->room : 64;
        all->at = realloc(all->at, all->room * sizeof *all->at);
        require(all->at != NULL);
    }
    char *name = malloc(item->new_name_len + 1);
    require(name != NULL);
    memcpy(name, item->new_name, item->new_name_len);
    all->at[all->count++] = (saved){item->offset, item->size, name, item->new_name_len};
    return true;
}

static bool error_find(void *ctx, const st_finding *finding)
{
    *(bool *)ctx |= finding->severity == ST_SEVERITY_ERROR;
    return true;
}

static void new_file_check(unsigned char *data, size_t size, const uint8_t *input, const told *all)
{
    st_memory memory = {.data = data, .size = size};
    st_file *file;
    bool wrong = false;
    require(st_file_open_memory(&memory, NULL, &file, NULL) == ST_OK);
    require(st_check(st_file_source(file), NULL, error_find, &wrong, NULL, NULL) == ST_OK);
    require(!wrong && st_file_count(file) == all->count);
    for (size_t i = 0; i < all->count; i++) {
        const saved *each = &all->at[i];
        const st_tensor *tensor = st_file_find(file, each->name, each->name_len);
        require(tensor && st_tensor_size(tensor) == each->size);
        require(each->size == 0 || memcmp(data + st_file_offset(file, tensor), input + each->offset,
                                          (size_t)each->size) == 0);
    }
    st_file_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    st_memory memory = {.data = (void *)(uintptr_t)data, .size = size};
    st_source *source;
    st_sink *sink;
    st_salvage_summary summary, again;
    told all = {.input_size = size};
    bool wrong = false;
    require(st_source_open_memory(&memory, NULL, &source, NULL) == ST_OK);
    require(st_salvage(source, NULL, NULL, NULL, &summary, NULL) == ST_OK);
    require(st_check(source, NULL, error_find, &wrong, NULL, NULL) == ST_OK);
    require(wrong == (summary.errors > 0));
    unsigned char *made = malloc((size_t)summary.size + 1);
    require(made != NULL);
    require(st_sink_open_memory(made, (size_t)summary.size, NULL, &sink, NULL) == ST_OK);
    st_salvage_options options = {.item = item_take, .ctx = &all};
    require(st_salvage(source, NULL, sink, &options, &again, NULL) == ST_OK);
    require(memcmp(&summary, &again, sizeof again) == 0 && all.count == summary.saved);
    st_sink_release(sink);
    if (summary.size)
        new_file_check(made, (size_t)summary.size, data, &all);
    else
        require(wrong);
    for (size_t i = 0; i < all.count; i++)
        free(all.at[i].name);
    free(all.at);
    free(made);
    st_source_release(source);
    return 0;
}
