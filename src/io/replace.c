/* SPDX-License-Identifier: Apache-2.0 */
/* The sink over a path: a new file beside it, which takes its place when all is written.
 *
 * The order of the steps is what a power cut is survived by: the bytes reach the disk, then the name is
 * given, then the names of the directory reach the disk. Where the file system has files without a name
 * the new one has none until then, and goes by itself if the process is killed; only between the link and
 * the rename by which it replaces another file can it be left under its temporary name. */
#include "io/sink.h"
#include "io/output.h"
#include "io/takeover.h"
#include "base/alloc.h"
#include "base/error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct replacement {
    st__output output;
    st__location at;
    char temporary[ST__OS_NAME]; /* its name in the same directory; empty: none */
    int fd;                      /* -1: it has ended, well or badly */
    bool fresh;                  /* there was nothing to replace */
    bool only_new;               /* and there must not be */
    bool aside;                  /* it stays under its temporary name */
    bool stays;                  /* and has it for good */
    bool made_of_old;            /* what it replaces is: */
    st__os_info old;
    st_sink *sink; /* not counted: it owns this */
} replacement;

/* ---------------------------------------------------------------------- the new file */

/* ".NAME-part.RANDOM.tmp", with NAME cut to `longest` bytes. */
static void temporary_name(const char *name, size_t longest, char out[ST__OS_NAME])
{
    uint64_t number;
    size_t len = strlen(name);
    st__os_random(&number, sizeof number);
    if (len > longest)
        len = st__utf8_cut(name, longest);
    (void)snprintf(out, ST__OS_NAME, ".%.*s-part.%016" PRIx64 ".tmp", (int)len, name, number);
}

bool st__sink_is_aside_name(const char *name, size_t len)
{
    static const char before[] = "-part.", behind[] = ".tmp";
    const size_t ending = sizeof before - 1 + 16 + sizeof behind - 1;
    if (len < ending + 1 || len >= ST__OS_NAME || name[0] != '.' || memchr(name, '/', len) ||
        memchr(name, '\0', len))
        return false;
    const char *at = name + len - ending;
    if (memcmp(at, before, sizeof before - 1) != 0 ||
        memcmp(name + len - (sizeof behind - 1), behind, sizeof behind - 1) != 0)
        return false;
    at += sizeof before - 1;
    for (size_t i = 0; i < 16; i++)
        if (at[i] == '\0' || !strchr("0123456789abcdef", at[i]))
            return false;
    return true;
}

/* Tries names until one is free. */
static int temporary_give(replacement *r, int (*give)(replacement *r, void *ctx), void *ctx)
{
    size_t longest = ST__OS_NAME - 1 - sizeof ".-part.0123456789abcdef.tmp";
    int failed = EEXIST;
    for (int tries = 0; failed == EEXIST && tries < 64; tries++) {
        temporary_name(r->at.name, longest, r->temporary);
        failed = give(r, ctx);
        if (failed == ENAMETOOLONG && longest > 32) {
            longest = 32; /* file systems that encrypt names have shorter ones */
            failed = EEXIST;
        }
    }
    if (failed)
        r->temporary[0] = '\0';
    return failed;
}

static int create_named(replacement *r, void *ctx)
{
    return st__os_create(r->at.directory, r->temporary, *(const uint32_t *)ctx, &r->fd);
}

static int link_named(replacement *r, void *ctx)
{
    (void)ctx;
    return st__os_name(r->fd, r->at.directory, r->temporary);
}

/* A file that replaces another is nobody else's until it has that one's attributes. */
static int new_file_create(replacement *r, uint32_t durability)
{
    uint32_t mode = r->fresh ? 0666 : 0600;
    if (st__os_create_unnamed(r->at.directory, mode, durability != ST_DURABLE_NONE, &r->fd) == 0)
        return 0;
    return temporary_give(r, create_named, &mode);
}

/* Gives everything back; of an unfinished file nothing remains. */
static void replacement_end(replacement *r)
{
    if (r->fd < 0)
        return;
    st__output_release(&r->output);
    if (r->temporary[0] && !r->stays)
        (void)st__os_remove(r->at.directory, r->temporary);
    st__os_close(r->fd);
    st__location_leave(&r->at);
    r->fd = -1;
}

/* -------------------------------------------------------------------------- the calls */

static st_status replace_begin(void *self, uint64_t size, st_error *error)
{
    replacement *r = self;
    return st__output_begin(&r->output, size, 0, error);
}

static st_status replace_write(void *self, uint64_t offset, const st_bytes *pieces, size_t count,
                               st_error *error)
{
    replacement *r = self;
    return st__output_write(&r->output, offset, pieces, count, error);
}

static st_status replace_copy(void *self, uint64_t offset, const st__stretch *stretch,
                              uint64_t *done, st_error *error)
{
    replacement *r = self;
    return st__output_copy(&r->output, offset, stretch, done, error);
}

static int put_in_place(replacement *r)
{
    int failed;
    if (!r->temporary[0] && (r->only_new || r->fresh)) {
        failed = st__os_name(r->fd, r->at.directory, r->at.name);
        if (failed != EEXIST || r->only_new)
            return failed;
    }
    /* No link replaces a name, only a rename does. */
    failed = r->temporary[0] ? 0 : temporary_give(r, link_named, NULL);
    if (failed)
        return failed;
    /* The temporary name may be left after that; replacement_end sees to it. */
    if (r->only_new)
        return st__os_rename_new(r->at.directory, r->temporary, r->at.name);
    failed = st__os_rename(r->at.directory, r->temporary, r->at.name);
    if (!failed)
        r->temporary[0] = '\0';
    return failed;
}

static st__takeover takeover_of(const replacement *r)
{
    return (st__takeover){.at = &r->at,
                          .name = r->sink->name,
                          .context = r->sink->context,
                          .old = r->made_of_old ? &r->old : NULL,
                          .file = -1};
}

static st_status take_the_place(replacement *r, st_error *error)
{
    st__takeover place = takeover_of(r);
    ST_TRY(st__takeover_begin(&place, error));
    int failed = put_in_place(r);
    st__takeover_end(&place, failed == 0);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s: the new file cannot be put in place", r->sink->name);
    return ST_OK;
}

/* The name that it has to keep reaches the disk with it. */
static st_status replacement_leave(replacement *r, st_error *error)
{
    int failed = r->temporary[0] ? 0 : temporary_give(r, link_named, NULL);
    if (!failed && r->sink->durability != ST_DURABLE_NONE)
        failed = st__os_sync_directory(r->at.directory);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s: the new file cannot be kept beside it", r->sink->name);
    r->stays = true;
    return ST_OK;
}

static st_status replacement_finish(replacement *r, st_error *error)
{
    const char *name = r->sink->name;
    ST_TRY(st__output_finish(&r->output, error));
    if (r->aside)
        return replacement_leave(r, error);
    ST_TRY(take_the_place(r, error));
    int failed =
        r->sink->durability == ST_DURABLE_NAME ? st__os_sync_directory(r->at.directory) : 0;
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                              "%s: the new file is in place, but its directory cannot be made to "
                              "reach the disk",
                              name);
    return ST_OK;
}

static st_status replace_finish(void *self, st_error *error)
{
    replacement *r = self;
    st_status status = replacement_finish(r, error);
    replacement_end(r);
    return status;
}

static void replace_free(void *self)
{
    replacement *r = self;
    replacement_end(r);
    st__free(r->sink->context, r, sizeof *r);
}

static const st_sink_vtable replace_vtable = {
    .size = sizeof(st_sink_vtable),
    .begin = replace_begin,
    .write = replace_write,
    .finish = replace_finish,
    .free = replace_free,
};

st_status st__sink_made_of(st_sink *sink, const st_source *source, const st_source_info *identity,
                           st_error *error)
{
    st__os_info now;
    if (sink->vtable.finish != replace_finish)
        return ST_OK;
    replacement *r = sink->self;
    int failed = st__os_info_at(r->at.directory, r->at.name, true, &now);
    bool same = !failed && now.device == identity->device && now.inode == identity->inode;
    bool same_path = !sink->named && !source->named && strcmp(sink->name, source->name) == 0;
    if (same_path && !same && (!failed || failed == ENOENT))
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s: it was replaced since it was opened; open it again", sink->name);
    if (!same)
        return ST_OK;
    r->made_of_old = true;
    r->old = (st__os_info){.size = identity->size,
                           .device = identity->device,
                           .inode = identity->inode,
                           .mtime_ns = identity->mtime_ns};
    return ST_OK;
}

const char *st__sink_aside_name(const st_sink *sink)
{
    return ((const replacement *)sink->self)->temporary;
}

/* ----------------------------------------------------------------------------- opening */

static st_status cannot_open(int failed, const char *name, st_error *error)
{
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be written", name);
}

/* Creates the new file in its directory, with the old one's attributes. */
static st_status new_file_open(replacement *r, const st_sink_options *options, st_error *error)
{
    st_context *context = r->sink->context;
    uint32_t durability = r->sink->durability;
    st__takeover place = takeover_of(r);
    st_status status = r->fresh ? ST_OK : st__takeover_recover(&place, error);
    int failed = status == ST_OK ? new_file_create(r, durability) : 0;
    if (failed)
        status = cannot_open(failed, r->sink->name, error);
    if (status != ST_OK) {
        st__location_leave(&r->at);
        return status;
    }
    r->only_new = options && (options->flags & ST_SINK_NEW) != 0;
    st__output_init(&r->output, r->fd, 0, r->sink);
    if (!r->fresh)
        failed = st__os_copy_attributes(r->at.directory, r->at.name, r->fd, context);
    if (!failed)
        return ST_OK;
    replacement_end(r);
    if (failed == ENOMEM)
        return st__fail_nomem(error, sizeof *r);
    return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET,
                          "%s: its access rights cannot be handed on", r->sink->name);
}

/* `path` begins in `directory`; the new file takes its place, unless it is to stay aside. */
static st_status replace_open(int directory, const char *path, bool aside,
                              const st_sink_options *options, st_sink **out, st_error *error)
{
    st_context *context = options ? options->context : NULL;
    bool there = false;
    replacement *r = st__alloc_zeroed(context, 1, sizeof *r);
    if (!r)
        return st__fail_nomem(error, sizeof *r);
    r->fd = -1;
    st_status status = st__sink_wrap(&replace_vtable, r, path, options, &r->sink, error);
    if (status != ST_OK) {
        st__free(context, r, sizeof *r);
        return status;
    }
    int failed = st__location_find_at(directory, path, &r->at, &there);
    r->fresh = !there;
    r->aside = aside;
    status = failed ? cannot_open(failed, r->sink->name, error) : new_file_open(r, options, error);
    if (status != ST_OK) {
        st_sink_release(r->sink);
        return status;
    }
    r->sink->copy = replace_copy;
    *out = r->sink;
    return ST_OK;
}

static st_status stream_open(const char *path, const char *name, const st_sink_options *options,
                             st_sink **out, st_error *error)
{
    int fd = -1;
    st__os_info info;
    int failed = st__os_open_stream(path, &fd);
    if (failed)
        return cannot_open(failed, name, error);
    failed = st__os_info_fd(fd, &info);
    if (!failed && info.kind == ST__OS_REGULAR) /* it was a pipe a moment ago */
        failed = ESTALE;
    st_status status = failed ? cannot_open(failed, name, error)
                              : st__sink_stream(fd, info.kind, path, options, out, error);
    if (status != ST_OK)
        st__os_close(fd);
    return status;
}

st_status st_sink_open(const char *path, const st_sink_options *options, st_sink **out,
                       st_error *error)
{
    ST_TRY(st__sink_options_check(options, error));
    const char *name = options && options->name ? options->name : path;
    st__os_info info;
    if (options && (options->flags & ST_SINK_NEW) &&
        st__os_info_at(ST__OS_HERE, path, false, &info) == 0)
        return cannot_open(EEXIST, name, error);
    int failed = st__os_info_at(ST__OS_HERE, path, true, &info);
    if (failed == ENOENT)
        return replace_open(ST__OS_HERE, path, false, options, out, error);
    if (failed)
        return cannot_open(failed, name, error);
    switch (info.kind) {
    case ST__OS_REGULAR: return replace_open(ST__OS_HERE, path, false, options, out, error);
    case ST__OS_FIFO:
    case ST__OS_CHARACTER: return stream_open(path, name, options, out, error);
    case ST__OS_DIRECTORY: return cannot_open(EISDIR, name, error);
    default:
        return st__fail(error, ST_ERR_NOT_REGULAR, ST_NO_OFFSET,
                        "%s: is %s, and cannot be replaced by a file", name,
                        st__kind_text(info.kind));
    }
}

st_status st__sink_open_aside(int directory, const char *path, const st_sink_options *options,
                              st_sink **out, st_error *error)
{
    const char *name = options && options->name ? options->name : path;
    st__os_info info = {.kind = ST__OS_REGULAR};
    int failed = st__os_info_at(directory, path, true, &info);
    if (failed && failed != ENOENT)
        return cannot_open(failed, name, error);
    if (info.kind != ST__OS_REGULAR)
        return st__fail(error, ST_ERR_UNSUPPORTED, ST_NO_OFFSET,
                        "%s: is %s, and no regular file, in whose place another could come", name,
                        st__kind_text(info.kind));
    return replace_open(directory, path, true, options, out, error);
}
