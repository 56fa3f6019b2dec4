/* SPDX-License-Identifier: Apache-2.0 */
#include "weights.h"
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>

enum { COUNT = BENCH_WEIGHTS_COUNT };

void bench_check(st_status status, const st_error *error)
{
    if (status)
        bench_fail("%s", error->message);
}

size_t bench_weights_name(size_t index, char *name)
{
    int len = snprintf(name, BENCH_WEIGHTS_NAME, "model.layers.%05zu.mlp.weight", index);
    return (size_t)len;
}

/* Sums of four uniform numbers: about a bell of a deviation of 0.02. */
static void weights_fill(float *values, bench_weights_change change)
{
    uint64_t state = 1;
    for (size_t i = 0; i < COUNT; i++) {
        double sum = -2;
        for (int k = 0; k < 4; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += (double)(state >> 11) * 0x1p-53;
        }
        float value = (float)(sum * 0.035);
        values[i] = change == BENCH_WEIGHTS_ALL ? value * (1 + 0x1p-12f) : value;
    }
}

static st_writer *weights_begin(const char *path, size_t tensors)
{
    static const uint64_t shape[] = {1024, COUNT / 1024};
    char name[BENCH_WEIGHTS_NAME];
    st_sink_options options = {.durability = ST_DURABLE_FILE, .cache = ST_CACHE_KEEP};
    st_tensor tensor = {.name = name, .dtype = ST_F32, .shape = shape, .ndim = 2};
    st_writer *writer;
    st_sink *sink;
    st_error error;
    bench_check(st_writer_new(NULL, &writer, &error), &error);
    for (size_t i = 0; i < tensors; i++) {
        tensor.name_len = (uint32_t)bench_weights_name(i, name);
        bench_check(st_writer_add(writer, &tensor, NULL, &error), &error);
    }
    bench_check(st_sink_open(path, &options, &sink, &error), &error);
    bench_check(st_writer_begin(writer, sink, &error), &error);
    st_sink_release(sink);
    return writer;
}

uint64_t bench_weights_make(const char *path, uint64_t bytes, bench_weights_change change)
{
    size_t tensors = (size_t)(bytes / BENCH_WEIGHTS_TENSOR);
    float *values = malloc(BENCH_WEIGHTS_TENSOR);
    st_error error;
    if (!values)
        bench_fail("no memory");
    weights_fill(values, change);
    const float kept = values[COUNT / 2];
    st_writer *writer = weights_begin(path, tensors);
    for (size_t i = 0; i < tensors; i++) {
        values[0] = (float)i * (change == BENCH_WEIGHTS_ALL ? 1 + 0x1p-12f : 1);
        values[COUNT / 2] =
            change == BENCH_WEIGHTS_FEW && i % BENCH_WEIGHTS_FEWER == 0 ? kept + 1 : kept;
        bench_check(st_writer_write(writer, i, 0, values, BENCH_WEIGHTS_TENSOR, &error), &error);
    }
    bench_check(st_writer_finish(writer, &error), &error);
    const uint64_t size = st_writer_data_offset(writer) + bytes;
    st_writer_free(writer);
    free(values);
    return size;
}
