/* SPDX-License-Identifier: Apache-2.0 */
/* Edits: a file written anew with a tensor renamed, with metadata set, and cast, beside copies by the kernel and what
 * people do with upstream's package; and headers changed in place, beside the writes and syncs that takes.
 *
 * Source in the page cache, on a disk. Outside of what is timed, each turn removes the last turn's file. */
#include "cast_plain.h"
#include "contest.h"
#include "files.h"
#include "measure.h"
#include "options.h"
#include "sparse.h"
#include "weights.h"

#include <safetensors/edit.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
enum { PATH_SIZE = 4000, HEADER_MAX = 1 << 20 };

typedef struct bench_edit {
    char folder[PATH_SIZE];
    char source[PATH_SIZE + 32];
    char target[PATH_SIZE + 32];
    char temporary[PATH_SIZE + 40];
    char paths[2 * PATH_SIZE + 80];
    uint64_t size;
    uint64_t header; /* bytes before the data of the source */
    uint64_t longer; /* the same, once metadata are set */
    st_file *file;   /* source */
} bench_edit;

static const char renamed[] = "model.layers.00000.mlp.wEIGHT"; /* as long as it was */
static const st_metadata note = {"note", 4, 13, "edited by one"};

static void target_remove(void *ctx)
{
    const bench_edit *c = ctx;
    unlink(c->target);
}

/* --------------------------------------------------------------------------------- ceilings */

/* The data, behind a header of so many bytes. */
static void plain_copy(const bench_edit *c, uint64_t header, bool durable)
{
    static const unsigned char zeros[HEADER_MAX];
    uint64_t data = st_header_data_size(st_file_header(c->file));
    int from = bench_file_open(c->source), to = bench_file_new(c->temporary, header + data);
    bench_file_write(to, zeros, header);
    bench_file_copy(from, c->size - data, to, data);
    if (durable)
        bench_file_sync(to);
    close(from);
    if (close(to) || rename(c->temporary, c->target))
        bench_fail("cannot rename %s", c->temporary);
    if (durable)
        bench_folder_sync(c->folder);
}

static void copy_kernel(void *ctx, uint32_t threads)
{
    const bench_edit *c = ctx;
    (void)threads;
    plain_copy(c, c->header, false);
}

/* To where the data lie behind a header that has become longer. */
static void copy_shifted(void *ctx, uint32_t threads)
{
    const bench_edit *c = ctx;
    (void)threads;
    plain_copy(c, c->longer, false);
}

static void copy_durable(void *ctx, uint32_t threads)
{
    const bench_edit *c = ctx;
    (void)threads;
    plain_copy(c, c->longer, true);
}

static void copy_cp(void *ctx, uint32_t threads)
{
    const bench_edit *c = ctx;
    (void)threads;
    if (bench_program_run((const char *[]){"cp", "--reflink=auto", c->source, c->target, NULL}))
        bench_fail("cp failed");
}

static void convert_plain(void *ctx, uint32_t threads)
{
    const bench_edit *c = ctx;
    (void)threads;
    uint64_t data = st_header_data_size(st_file_header(c->file));
    int to = bench_file_new(c->temporary, c->size - data / 2);
    int from = bench_file_open(c->source);
    bench_cast_plain(from, c->size - data, data / sizeof(float), to);
    close(from);
    if (close(to) || rename(c->temporary, c->target))
        bench_fail("cannot rename %s", c->temporary);
}

/* ------------------------------------------------------------------------------------- ours */

/* Opens the file anew, as a program does. */
static void ours_edit(const bench_edit *c, st_status (*change)(st_edit *, const st_file *),
                      uint32_t threads, uint32_t durability)
{
    st_sink_options options = {.durability = durability};
    st_context_options budgets = {.max_threads = threads};
    st_context *context;
    st_file *file;
    st_edit *edit;
    st_sink *sink;
    st_error error;
    bench_check(st_context_new(&budgets, &context, &error), &error);
    const st_open_options how = {.context = context};
    const st_edit_options made = {.context = context};
    bench_check(st_file_open(c->source, &how, &file, &error), &error);
    bench_check(st_edit_new(file, &made, &edit, &error), &error);
    if (change(edit, file))
        bench_fail("an edit is refused");
    bench_check(st_sink_open(c->target, &options, &sink, &error), &error);
    bench_check(st_edit_write(edit, sink, NULL, &error), &error);
    st_sink_release(sink);
    st_edit_free(edit);
    st_file_close(file);
    st_context_release(context);
}

static st_status change_name(st_edit *edit, const st_file *file)
{
    return st_edit_rename(edit, st_file_at(file, 0), renamed, sizeof renamed - 1, NULL);
}

static st_status change_metadata(st_edit *edit, const st_file *file)
{
    (void)file;
    return st_edit_set_metadata(edit, &note, NULL);
}

static st_status dtype_change(st_edit *edit, const st_file *file, st_dtype to)
{
    st_status status = ST_OK;
    for (size_t i = 0; i < st_file_count(file) && status == ST_OK; i++)
        status = st_edit_cast(edit, st_file_at(file, i), to, NULL);
    return status;
}

static st_status change_dtype(st_edit *edit, const st_file *file)
{
    return dtype_change(edit, file, ST_BF16);
}

static st_status change_dtype_8(st_edit *edit, const st_file *file)
{
    return dtype_change(edit, file, ST_F8_E4M3);
}

static void ours_rename(void *ctx, uint32_t threads)
{
    ours_edit(ctx, change_name, threads, ST_DURABLE_NONE);
}

static void ours_metadata(void *ctx, uint32_t threads)
{
    ours_edit(ctx, change_metadata, threads, ST_DURABLE_NONE);
}

static void ours_durable(void *ctx, uint32_t threads)
{
    ours_edit(ctx, change_metadata, threads, ST_DURABLE_NAME);
}

static void ours_cast(void *ctx, uint32_t threads)
{
    ours_edit(ctx, change_dtype, threads, ST_DURABLE_NONE);
}

static void ours_cast_8(void *ctx, uint32_t threads)
{
    ours_edit(ctx, change_dtype_8, threads, ST_DURABLE_NONE);
}

/* ----------------------------------------------------------------------------------- checks */

static void bytes_check(const unsigned char *got, const unsigned char *want, uint64_t size)
{
    if (memcmp(got, want, (size_t)size) != 0)
        bench_fail("a tensor came out wrong");
}

static void floats_check(const unsigned char *got, const unsigned char *want, uint64_t size,
                         st_dtype to)
{
    const size_t bytes = st_dtype_bits(to) / 8;
    for (uint64_t i = 0; i < size / sizeof(float); i += 4099) {
        unsigned char expected[2];
        st_value value = st_element_decode(ST_F32, want, i);
        st_element_encode(to, expected, 0, &value);
        bytes_check(got + bytes * i, expected, bytes);
    }
}

static void halves_check(const unsigned char *got, const unsigned char *want, uint64_t size)
{
    floats_check(got, want, size, ST_BF16);
}

static void eighths_check(const unsigned char *got, const unsigned char *want, uint64_t size)
{
    floats_check(got, want, size, ST_F8_E4M3);
}

static void result_check(const bench_edit *c, const char *first,
                         void (*check)(const unsigned char *, const unsigned char *, uint64_t))
{
    st_file *file;
    st_buffer *from, *to;
    st_error error;
    bench_check(st_file_open(c->target, NULL, &file, &error), &error);
    bench_check(st_file_map(c->file, ST_MAP_SHARED, &from, &error), &error);
    bench_check(st_file_map(file, ST_MAP_SHARED, &to, &error), &error);
    const unsigned char *want = st_buffer_data(from), *got = st_buffer_data(to);
    for (size_t i = 0; i < st_file_count(c->file); i++) {
        const st_tensor *tensor = st_file_at(c->file, i);
        const char *name = i == 0 && first ? first : tensor->name;
        const st_tensor *found = st_file_find(file, name, strlen(name));
        if (!found)
            bench_fail("a tensor is gone");
        check(got + st_file_offset(file, found), want + st_file_offset(c->file, tensor),
              st_tensor_size(tensor));
    }
    st_buffer_release(from);
    st_buffer_release(to);
    st_file_close(file);
}

static void rename_check(void *ctx)
{
    result_check(ctx, renamed, bytes_check);
}

static void metadata_check(void *ctx)
{
    const bench_edit *c = ctx;
    st_file *file;
    st_error error;
    bench_check(st_file_open(c->target, NULL, &file, &error), &error);
    const st_metadata *found =
        st_header_metadata_find(st_file_header(file), note.key, note.key_len);
    if (!found || found->value_len != note.value_len)
        bench_fail("the metadata did not come out");
    st_file_close(file);
    result_check(c, NULL, bytes_check);
}

static void cast_check(void *ctx)
{
    result_check(ctx, NULL, halves_check);
}

static void cast_8_check(void *ctx)
{
    result_check(ctx, NULL, eighths_check);
}

/* ------------------------------------------------------------------------------------ cases */

static const bench_way kernel = {.who = "copy_file_range", .once = copy_kernel};
static const bench_way shifted = {.who = "copy_file_range-shifted", .once = copy_shifted};
static const bench_way shifted_durable = {.who = "copy_file_range-shifted+fsync+folder",
                                          .once = copy_durable};
static const bench_way cp = {.who = "cp", .once = copy_cp};
static const bench_way converted = {.who = "convert+write", .once = convert_plain};
static const bench_way renames = {.who = "ours", .once = ours_rename, .check = rename_check};
static const bench_way sets = {.who = "ours", .once = ours_metadata, .check = metadata_check};
static const bench_way lasts = {.who = "ours", .once = ours_durable, .check = metadata_check};
static const bench_way casts_1 = {
    .who = "ours-1", .once = ours_cast, .threads = 1, .check = cast_check};
static const bench_way casts_4 = {
    .who = "ours-4", .once = ours_cast, .threads = 4, .check = cast_check};
static const bench_way casts_8_1 = {
    .who = "ours-1", .once = ours_cast_8, .threads = 1, .check = cast_8_check};
static const bench_way casts_8_4 = {
    .who = "ours-4", .once = ours_cast_8, .threads = 4, .check = cast_8_check};
static const bench_way torch_renames = {.who = "torch", .asked = "rename", .check = rename_check};
static const bench_way torch_sets = {.who = "torch", .asked = "metadata", .check = metadata_check};
static const bench_way torch_casts = {.who = "torch", .asked = "cast", .check = cast_check};

/* `torch` is not durable in any of them: it is what people use now. */
static const bench_contest contests[] = {
    {.name = "rename", .ways = {&kernel, &cp, &renames, &torch_renames}},
    {.name = "metadata", .ways = {&shifted, &kernel, &cp, &sets, &torch_sets}},
    {.name = "metadata-durable", .ways = {&shifted_durable, &lasts, &torch_sets}},
    {.name = "cast-F32-BF16", .ways = {&converted, &casts_1, &casts_4, &torch_casts}},
    {.name = "cast-F32-F8_E4M3", .ways = {&casts_8_1, &casts_8_4}},
};

/* Looks at the edit that sets metadata. */
static void headers_measure(bench_edit *c)
{
    st_edit *edit;
    st_edit_summary summary;
    st_error error;
    uint64_t data = st_header_data_size(st_file_header(c->file));
    bench_check(st_edit_new(c->file, NULL, &edit, &error), &error);
    if (change_metadata(edit, c->file))
        bench_fail("an edit is refused");
    bench_check(st_edit_look(edit, &summary, &error), &error);
    c->header = c->size - data;
    c->longer = summary.size - data;
    if (c->longer <= c->header || c->longer > HEADER_MAX)
        bench_fail("a header of %" PRIu64 " bytes", c->longer);
    st_edit_free(edit);
}

static void anew_run(bench_edit *c, const bench_options *options)
{
    st_error error;
    c->size = bench_weights_make(c->source, bench_mib() * MIB, BENCH_WEIGHTS_SAME);
    bench_check(st_file_open(c->source, NULL, &c->file, &error), &error);
    headers_measure(c);
    for (size_t i = 0; i < sizeof contests / sizeof *contests; i++) {
        bench_contest contest = contests[i];
        contest.bytes = c->size;
        contest.tensors = st_file_count(c->file);
        contest.before = target_remove;
        contest.ctx = c;
        contest.peer = options->upstream;
        contest.paths = c->paths;
        if (!options->only || strcmp(options->only, contest.name) == 0)
            bench_contest_run(&contest, options->runs);
        unlink(c->target);
    }
    st_file_close(c->file);
    unlink(c->source);
}

int main(int argc, char **argv)
{
    static bench_edit c;
    bench_options options = {.runs = 9};
    bench_options_read(&options, argc, argv, "c:n:p:s:", 1,
                       "bench_edit [-c CASE] [-n RUNS] [-p PYTHON -s PEER] FOLDER");
    snprintf(c.folder, sizeof c.folder, "%.3900s", argv[optind]);
    snprintf(c.source, sizeof c.source, "%s/source.safetensors", c.folder);
    snprintf(c.target, sizeof c.target, "%s/target.safetensors", c.folder);
    snprintf(c.temporary, sizeof c.temporary, "%s.new", c.target);
    snprintf(c.paths, sizeof c.paths, "%s\t%s", c.source, c.target);
    bench_folder_clear(c.folder);
    bench_contest_head();
    anew_run(&c, &options);
    bench_sparse_run(c.folder, options.only, options.runs);
    bench_options_end(&options);
    return 0;
}
