/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the input as the index of a folder of small files, one of them no valid one, and opens and checks it. The check
 * ends well and finds an error, or a file that is refused, just where opening gives an error, and that one is among
 * them; it looks at no file outside of the folder. What is saved of it is opened without an error, or nothing is left. */
#if !defined(_GNU_SOURCE)
# define _GNU_SOURCE
#endif
#include "target.h"

#include <safetensors/checkpoint.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTRY(name, end) \
 "\"" name "\":{\"dtype\":\"U8\",\"shape\":[" end "],\"data_offsets\":[0," end "]}"

static char folder[256];
static char real_folder[4096];

static const struct {
    const char *name;
    const char *header; /* NULL: the file is cut off */
    size_t data;
} files[] = {
    {"a.safetensors", "{" ENTRY("a", "1") "}", 1},
    {"b.safetensors",
     "{" ENTRY("b", "2") ",\"c\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]}}", 2},
    {"x/a.safetensors", "{" ENTRY("a", "3") "}", 3},
    {"bad.safetensors", NULL, 4},
};

enum { FILES = sizeof files / sizeof *files };

static const char *path_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void store(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(path_of(name), "wb");
    require(file && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

static void folder_remove(void)
{
    for (size_t i = 0; i < FILES; i++)
        unlink(path_of(files[i].name));
    unlink(path_of("i.json"));
    rmdir(path_of("x"));
    rmdir(folder);
}

static void folder_make(void)
{
    const char *above = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/st_fuzz.XXXXXX", above ? above : "/tmp");
    require(mkdtemp(folder) && realpath(folder, real_folder) && atexit(folder_remove) == 0);
    require(mkdir(path_of("x"), 0700) == 0);
    for (size_t i = 0; i < FILES; i++) {
        unsigned char bytes[256] = {0};
        size_t len = files[i].header ? strlen(files[i].header) : 0;
        bytes[0] = (unsigned char)len;
        memcpy(bytes + 8, files[i].header ? files[i].header : "", len);
        store(files[i].name, bytes, files[i].header ? 8 + len + files[i].data : files[i].data);
    }
}

/* What was told. */
typedef struct told {
    size_t size; /* of the input */
    st_status status;
    bool held; /* it was told */
    uint64_t errors, warnings, refused;
} told;

static bool finding_take(void *ctx, const char *path, const st_finding *finding)
{
    told *log = ctx;
    require(strcmp(path, path_of("i.json")) == 0 && finding->message[0] != '\0');
    require(finding->offset == ST_NO_OFFSET || finding->offset <= log->size);
    log->errors += finding->severity == ST_SEVERITY_ERROR;
    log->warnings += finding->severity == ST_SEVERITY_WARNING;
    log->held |= finding->status != ST_OK && finding->status == log->status;
    return true;
}

static bool shard_take(void *ctx, const st_checkpoint_shard *shard)
{
    told *log = ctx;
    char real[4096];
    require(shard->source && realpath(shard->path, real));
    require(strncmp(real, real_folder, strlen(real_folder)) == 0);
    log->refused += shard->why != NULL;
    log->held |= shard->why && shard->why->status == log->status;
    return true;
}

static bool part_pass(void *ctx, const st_checkpoint_salvage_part *part)
{
    bool *indexed = ctx;
    const char *name = part->target ? strrchr(part->target, '/') : NULL;
    require(name && strncmp(part->target, path_of("out"), (size_t)(name - part->target)) == 0);
    *indexed |= part->index && !part->summary && !part->why;
    return true;
}

/* Removes what was saved; gives how many files that was. */
static uint64_t saved_remove(void)
{
    static const char *const names[] = {"out/a.safetensors", "out/b.safetensors",
                                        "out/bad.safetensors", "out/i.json"};
    uint64_t count = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        count += unlink(path_of(names[i])) == 0 && i < 3;
    require(rmdir(path_of("out")) == 0 || count == 0);
    return count;
}

static void salvage_check(const st_open_options *options)
{
    st_checkpoint *saved;
    st_checkpoint_salvage_summary summary;
    bool indexed = false;
    const st_checkpoint_salvage_options how = {
        .begin = part_pass, .end = part_pass, .ctx = &indexed, .durability = ST_DURABLE_NONE};
    char out[512];
    snprintf(out, sizeof out, "%s/out", folder);
    st_status status = st_checkpoint_salvage(path_of("i.json"), options, out, &how, &summary, NULL);
    if (status != ST_OK) {
        require(status == ST_ERR_NOT_FOUND || status == ST_ERR_ARGUMENT);
        require(rmdir(out) != 0);
        return;
    }
    require(indexed == (summary.files > 0));
    if (summary.index) {
        char index[600];
        snprintf(index, sizeof index, "%s/i.json", out);
        require(st_checkpoint_open(index, options, &saved, NULL) == ST_OK);
        require(st_checkpoint_count(saved) == summary.sum.saved);
        st_checkpoint_close(saved);
    }
    require(saved_remove() == summary.files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static st_context *context;
    st_checkpoint *checkpoint = NULL;
    st_checkpoint_summary summary;
    told log = {.size = size};
    if (!context) {
        folder_make();
        require(st_context_new(NULL, &context, NULL) == ST_OK);
    }
    const st_open_options options = {.context = context};
    const st_checkpoint_observer observer = {
        .finding = finding_take, .shard = shard_take, .ctx = &log};
    store("i.json", data, size);
    log.status = st_checkpoint_open(path_of("i.json"), &options, &checkpoint, NULL);
    st_checkpoint_close(checkpoint);
    require(st_checkpoint_check(path_of("i.json"), &options, &observer, &summary, NULL) == ST_OK);
    require(summary.errors == log.errors && summary.warnings == log.warnings &&
            summary.files_refused == log.refused);
    require((summary.errors == 0 && summary.files_refused == 0) == (log.status == ST_OK));
    require(log.held == (log.status != ST_OK));
    salvage_check(&options);
    return 0;
}
