/* SPDX-License-Identifier: Apache-2.0 */
/* A file split into four shards, and four shards merged into a file, beside copies by the kernel and what people do
 * with upstream's package and huggingface_hub.
 *
 * Source in the page cache, on a disk. Outside of what is timed, each turn removes the last turn's files. */
#include "contest.h"
#include "files.h"
#include "measure.h"
#include "options.h"
#include "weights.h"

#include <safetensors/checkpoint.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
enum { PATH_SIZE = 4000, SHARDS = 4 };

typedef struct bench_split {
    char whole[PATH_SIZE];   /* the file to be split */
    char shards[PATH_SIZE];  /* the folder to be merged */
    char outputs[PATH_SIZE]; /* the folder that ways write to */
    char merged[PATH_SIZE];  /* a file in it */
    char paths[3 * PATH_SIZE];
    uint64_t size; /* of the whole file */
    uint64_t data;
    uint64_t shard; /* bytes of tensors at most */
} bench_split;

static void outputs_remove(void *ctx)
{
    const bench_split *c = ctx;
    bench_folder_clear(c->outputs);
}

/* --------------------------------------------------------------------------------- ceilings */

static int output_new(const bench_split *c, int number, uint64_t size)
{
    char path[PATH_SIZE + 32];
    snprintf(path, sizeof path, "%s/%d.new", c->outputs, number);
    return bench_file_new(path, size);
}

static void output_end(const bench_split *c, int number, int fd)
{
    char from[PATH_SIZE + 32], to[PATH_SIZE + 32];
    snprintf(from, sizeof from, "%s/%d.new", c->outputs, number);
    snprintf(to, sizeof to, "%s/%d.safetensors", c->outputs, number);
    if (close(fd) || rename(from, to))
        bench_fail("cannot rename %s", from);
}

static void split_kernel(void *ctx, uint32_t threads)
{
    const bench_split *c = ctx;
    int from = bench_file_open(c->whole);
    (void)threads;
    for (int i = 0; i < SHARDS; i++) {
        int to = output_new(c, i, c->shard);
        bench_file_copy(from, c->size - c->data + (uint64_t)i * c->shard, to, c->shard);
        output_end(c, i, to);
    }
    close(from);
}

static void merge_kernel(void *ctx, uint32_t threads)
{
    const bench_split *c = ctx;
    int to = output_new(c, 0, c->data);
    (void)threads;
    for (int i = 0; i < SHARDS; i++) {
        char path[PATH_SIZE + 64];
        snprintf(path, sizeof path, "%s/model-%05d-of-%05d.safetensors", c->shards, i + 1, SHARDS);
        int from = bench_file_open(path);
        off_t size = lseek(from, 0, SEEK_END);
        if (size < (off_t)c->shard)
            bench_fail("%s is not what it is to be", path);
        bench_file_copy(from, (uint64_t)size - c->shard, to, c->shard);
        close(from);
    }
    output_end(c, 0, to);
}

/* ------------------------------------------------------------------------------------- ours */

static void split_into(const bench_split *c, const char *folder, uint32_t durability)
{
    st_split_options options = {.max_shard_size = c->shard, .durability = durability};
    st_checkpoint *checkpoint;
    st_split *split;
    st_error error;
    bench_check(st_checkpoint_open(c->whole, NULL, &checkpoint, &error), &error);
    bench_check(st_split_new(checkpoint, &options, &split, &error), &error);
    bench_check(st_split_write(split, folder, &error), &error);
    if (st_split_count(split) != SHARDS)
        bench_fail("%zu shards", st_split_count(split));
    st_split_free(split);
    st_checkpoint_close(checkpoint);
}

static void split_ours(void *ctx, uint32_t threads)
{
    const bench_split *c = ctx;
    (void)threads;
    split_into(c, c->outputs, ST_DURABLE_NONE);
}

static void merge_ours(void *ctx, uint32_t threads)
{
    const bench_split *c = ctx;
    st_sink_options options = {.durability = ST_DURABLE_NONE};
    st_checkpoint *checkpoint;
    st_edit *edit;
    st_sink *sink;
    st_error error;
    (void)threads;
    bench_check(st_checkpoint_open(c->shards, NULL, &checkpoint, &error), &error);
    bench_check(st_checkpoint_merge(checkpoint, NULL, &edit, &error), &error);
    bench_check(st_sink_open(c->merged, &options, &sink, &error), &error);
    bench_check(st_edit_write(edit, sink, NULL, &error), &error);
    st_sink_release(sink);
    st_edit_free(edit);
    st_checkpoint_close(checkpoint);
}

/* ----------------------------------------------------------------------------------- checks */

static const unsigned char *bytes_map(const st_file *file, const st_tensor *tensor, st_buffer **map)
{
    st_error error;
    bench_check(st_file_map(file, ST_MAP_SHARED, map, &error), &error);
    return (const unsigned char *)st_buffer_data(*map) + st_file_offset(file, tensor);
}

static void tensor_check(const st_checkpoint_tensor *want, const st_checkpoint_tensor *got)
{
    st_buffer *maps[2];
    const unsigned char *wanted = bytes_map(want->file, want->tensor, &maps[0]);
    const unsigned char *found = bytes_map(got->file, got->tensor, &maps[1]);
    uint64_t size = st_tensor_size(want->tensor);
    if (size != st_tensor_size(got->tensor) || memcmp(wanted, found, (size_t)size) != 0)
        bench_fail("a tensor came out wrong");
    st_buffer_release(maps[0]);
    st_buffer_release(maps[1]);
}

static void result_check(const bench_split *c, size_t files)
{
    st_checkpoint *whole, *result;
    st_error error;
    bench_check(st_checkpoint_open(c->whole, NULL, &whole, &error), &error);
    bench_check(st_checkpoint_open(c->outputs, NULL, &result, &error), &error);
    if (st_checkpoint_file_count(result) != files ||
        st_checkpoint_count(result) != st_checkpoint_count(whole))
        bench_fail("other files than those there are to be");
    for (size_t i = 0; i < st_checkpoint_count(whole); i++) {
        st_checkpoint_tensor want = st_checkpoint_at(whole, i), got;
        if (!st_checkpoint_find(result, want.tensor->name, want.tensor->name_len, &got))
            bench_fail("a tensor is gone");
        tensor_check(&want, &got);
    }
    st_checkpoint_close(whole);
    st_checkpoint_close(result);
}

static void split_check(void *ctx)
{
    result_check(ctx, SHARDS);
}

static void merge_check(void *ctx)
{
    result_check(ctx, 1);
}

/* ------------------------------------------------------------------------------------ cases */

static const bench_way kernel_splits = {.who = "copy_file_range", .once = split_kernel};
static const bench_way kernel_merges = {.who = "copy_file_range", .once = merge_kernel};
static const bench_way ours_splits = {.who = "ours", .once = split_ours, .check = split_check};
static const bench_way ours_merges = {.who = "ours", .once = merge_ours, .check = merge_check};
static const bench_way hub_splits = {.who = "hub", .asked = "split", .check = split_check};
static const bench_way torch_merges = {.who = "torch", .asked = "merge", .check = merge_check};

static const bench_contest contests[] = {
    {.name = "split", .ways = {&kernel_splits, &ours_splits, &hub_splits}},
    {.name = "merge", .ways = {&kernel_merges, &ours_merges, &torch_merges}},
};

static void contests_run(bench_split *c, const bench_options *options)
{
    for (size_t i = 0; i < sizeof contests / sizeof *contests; i++) {
        bench_contest contest = contests[i];
        bool splits = contest.ways[0] == &kernel_splits;
        contest.bytes = c->size;
        contest.tensors = (size_t)(c->data / BENCH_WEIGHTS_TENSOR);
        contest.before = outputs_remove;
        contest.ctx = c;
        contest.peer = options->upstream;
        contest.paths = c->paths;
        snprintf(c->paths, sizeof c->paths, "%s\t%s", splits ? c->whole : c->shards,
                 splits ? c->outputs : c->merged);
        if (!options->only || strcmp(options->only, contest.name) == 0)
            bench_contest_run(&contest, options->runs);
    }
}

int main(int argc, char **argv)
{
    static bench_split c;
    bench_options options = {.runs = 9};
    bench_options_read(&options, argc, argv, "c:n:p:s:", 1,
                       "bench_split [-c CASE] [-n RUNS] [-p PYTHON -s PEER] FOLDER");
    const char *folder = argv[optind];
    snprintf(c.whole, sizeof c.whole, "%.3900s/whole.safetensors", folder);
    snprintf(c.shards, sizeof c.shards, "%.3900s/shards", folder);
    snprintf(c.outputs, sizeof c.outputs, "%.3900s/outputs", folder);
    snprintf(c.merged, sizeof c.merged, "%.3900s/outputs/merged.safetensors", folder);
    c.data = bench_mib() * MIB;
    c.shard = c.data / SHARDS;
    c.size = bench_weights_make(c.whole, c.data, BENCH_WEIGHTS_SAME);
    bench_folder_clear(c.shards);
    split_into(&c, c.shards, ST_DURABLE_FILE);
    bench_contest_head();
    contests_run(&c, &options);
    bench_options_end(&options);
    bench_folder_clear(c.outputs);
    bench_folder_clear(c.shards);
    unlink(c.whole);
    return 0;
}
