/* SPDX-License-Identifier: Apache-2.0 */
/* Loads all tensors of a file at once, and adds up the bytes of each as it arrives: load FILE. */
#include <safetensors/load.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t sum(const unsigned char *data, size_t size)
{
    uint64_t total = 0;
    for (size_t i = 0; i < size; i++)
        total += data[i];
    return total;
}

/* Takes each tensor when it is complete, in whatever order that is. */
static st_status take_all(st_load *load, uint64_t *sums, st_error *error)
{
    st_loaded done;
    for (;;) {
        st_status status = st_load_next(load, &done, error);
        if (status != ST_OK || done.item == ST_LOAD_END)
            return status;
        sums[done.item] = sum(done.data, done.size);
        st_buffer_release(done.buffer);
    }
}

static st_status load_all(const st_file *file, uint64_t *sums, st_error *error)
{
    size_t count = st_file_count(file);
    st_load_item *items = calloc(count + 1, sizeof *items);
    if (!items)
        return ST_ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        items[i].file = file;
        items[i].tensor = st_file_at(file, i);
    }
    st_load *load;
    st_status status = st_load_start(items, count, NULL, &load, error);
    if (status == ST_OK) {
        status = take_all(load, sums, error);
        st_load_free(load);
    }
    free(items);
    return status;
}

int main(int argc, char **argv)
{
    st_file *file;
    st_error error = {.message = "out of memory"};
    if (argc != 2 || st_file_open(argv[1], NULL, &file, &error) != ST_OK) {
        fprintf(stderr, "%s\n", argc != 2 ? "usage: load FILE" : error.message);
        return 1;
    }
    int failed = 1;
    uint64_t *sums = calloc(st_file_count(file) + 1, sizeof *sums);
    if (!sums || load_all(file, sums, &error) != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
    } else {
        for (size_t i = 0; i < st_file_count(file); i++)
            printf("%" PRIu64 " %.*s\n", sums[i], (int)st_file_at(file, i)->name_len,
                   st_file_at(file, i)->name);
        failed = 0;
    }
    free(sums);
    st_file_close(file);
    return failed;
}
