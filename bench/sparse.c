/* SPDX-License-Identifier: Apache-2.0 */
#include "sparse.h"
#include "contest.h"
#include "files.h"
#include "measure.h"
#include "weights.h"

#include <safetensors/edit.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PATH_SIZE = 4000,
    ENTRY_SIZE = 160,
    ROOM = 1024, /* blanks in the header */
    TENSORS = 1000
};

typedef struct bench_sparse {
    const char *folder;
    char path[PATH_SIZE];
    char journal[PATH_SIZE];
    unsigned char *header; /* 8 + N bytes of the file as it was made */
    size_t header_size;
    unsigned char *old; /* room for as many */
    unsigned turn;
} bench_sparse;

/* `data_size`: of all tensors, a multiple of their number. */
static void header_make(bench_sparse *c, uint64_t data_size)
{
    size_t room = TENSORS * ENTRY_SIZE + ROOM, len = 9;
    uint64_t each = data_size / TENSORS;
    char *text = malloc(room);
    c->old = malloc(room);
    if (!text || !c->old)
        bench_fail("no memory");
    memset(text, ' ', room);
    text[8] = '{';
    for (size_t i = 0; i < TENSORS; i++) {
        char name[BENCH_WEIGHTS_NAME];
        bench_weights_name(i, name);
        len += (size_t)snprintf(text + len, ENTRY_SIZE,
                                "%s\"%s\":{\"dtype\":\"U8\",\"shape\":[%" PRIu64
                                "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                                i ? "," : "", name, each, i * each, (i + 1) * each);
    }
    memcpy(text + len, "} ", 2);
    c->header = (unsigned char *)text;
    c->header_size = (len + ROOM) / 8 * 8;
    for (int i = 0; i < 8; i++)
        c->header[i] = (unsigned char)((uint64_t)(c->header_size - 8) >> 8 * i);
}

static void file_make(const bench_sparse *c, uint64_t data_size)
{
    int fd = bench_file_new(c->path, 0);
    bench_file_write(fd, c->header, c->header_size);
    if (ftruncate(fd, (off_t)(c->header_size + data_size)))
        bench_fail("cannot make %s as large as it is to be", c->path);
    bench_file_sync(fd);
    close(fd);
    bench_folder_sync(c->folder);
}

/* --------------------------------------------------------------------------------- ceilings */

static void header_overwrite(const bench_sparse *c, int fd)
{
    if (pwrite(fd, c->header, c->header_size, 0) != (ssize_t)c->header_size || fdatasync(fd))
        bench_fail("cannot overwrite a header");
}

/* Not to be done to a file that anybody needs: a crash leaves half of it. */
static void overwrite(void *ctx, uint32_t threads)
{
    const bench_sparse *c = ctx;
    (void)threads;
    int fd = bench_file_open_to_write(c->path);
    header_overwrite(c, fd);
    close(fd);
}

/* The fewest syncs after which a crash at any moment can be undone: the old bytes, and the name of the file that they
 * are in, before the first new byte; the new ones before that file goes. */
static void undo_least(void *ctx, uint32_t threads)
{
    const bench_sparse *c = ctx;
    (void)threads;
    int fd = bench_file_open_to_write(c->path), journal = bench_file_new(c->journal, 0);
    if (pread(fd, c->old, c->header_size, 0) != (ssize_t)c->header_size)
        bench_fail("cannot read a header");
    bench_file_write(journal, c->old, c->header_size);
    if (fdatasync(journal))
        bench_fail("cannot sync a journal");
    bench_folder_sync(c->folder);
    header_overwrite(c, fd);
    if (close(fd) || close(journal) || unlink(c->journal))
        bench_fail("cannot remove a journal");
}

/* ------------------------------------------------------------------------------------- ours */

/* Metadata stand first, so that another length moves all of the header. */
static void ours_edit(void *ctx, uint32_t threads)
{
    static const st_metadata notes[] = {{"note", 4, 3, "one"}, {"note", 4, 7, "another"}};
    bench_sparse *c = ctx;
    st_file *file;
    st_edit *edit;
    st_error error;
    (void)threads;
    bench_check(st_file_open(c->path, NULL, &file, &error), &error);
    bench_check(st_edit_new(file, NULL, &edit, &error), &error);
    bench_check(st_edit_set_metadata(edit, &notes[c->turn++ % 2], &error), &error);
    bench_check(st_edit_write_in_place(edit, c->path, NULL, &error), &error);
    st_edit_free(edit);
    st_file_close(file);
}

static void note_check(void *ctx)
{
    const bench_sparse *c = ctx;
    st_file *file;
    st_error error;
    bench_check(st_file_open(c->path, NULL, &file, &error), &error);
    if (!st_header_metadata_find(st_file_header(file), "note", 4) || st_file_count(file) != TENSORS)
        bench_fail("an edit in place came out wrong");
    st_file_close(file);
}

/* ------------------------------------------------------------------------------------ cases */

static const bench_way undo = {.who = "undo-least", .once = undo_least};
static const bench_way unsafe = {.who = "pwrite+fdatasync", .once = overwrite};
static const bench_way ours = {.who = "ours", .once = ours_edit, .check = note_check};

static void size_run(bench_sparse *c, const char *name, uint64_t size, unsigned runs)
{
    header_make(c, size);
    file_make(c, size);
    const bench_contest contest = {.name = name,
                                   .bytes = c->header_size + size,
                                   .tensors = TENSORS,
                                   .quick = true,
                                   .ctx = c,
                                   .ways = {&undo, &unsafe, &ours}};
    bench_contest_run(&contest, runs);
    unlink(c->path);
    free(c->header);
    free(c->old);
}

void bench_sparse_run(const char *folder, const char *only, unsigned runs)
{
    static const struct {
        const char *name;
        uint64_t size;
    } cases[] = {{"in-place-10MB", 10000000}, {"in-place-10GB", 10000000000}};
    bench_sparse c = {.folder = folder};
    snprintf(c.path, sizeof c.path, "%.3900s/sparse.safetensors", folder);
    snprintf(c.journal, sizeof c.journal, "%.3900s/sparse.journal", folder);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (!only || strcmp(only, cases[i].name) == 0)
            size_run(&c, cases[i].name, cases[i].size, runs);
    }
}
