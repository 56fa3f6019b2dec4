/* SPDX-License-Identifier: Apache-2.0 */
#include "io/descriptors.h"
#include "base/alloc.h"
#include "base/context.h"
#include "base/error.h"
#include "base/thread.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct st__descriptors {
    st__attachment attachment;
    st_context *context; /* not retained: it owns this */
    uint32_t limit;
    st__lock
        lock; /* over what follows, and over all but `path`, `name` and `first` of its descriptors */
    uint64_t open;
    st__descriptor *oldest, *newest; /* open and held by nobody, by the time of their last use */
};

/* ------------------------------------------------------------------------------- a context's */

static void descriptors_free(void *self)
{
    st__descriptors *all = self;
    assert(all->open == 0);
    st__lock_release(&all->lock);
    st__free(all->context, all, sizeof *all);
}

static uint32_t limit_of(const st_context *context)
{
    uint32_t said = st__context_descriptors(context);
    if (said)
        return said;
    uint64_t half = st__os_descriptor_limit() / 2;
    if (half > UINT32_MAX)
        return UINT32_MAX;
    return half ? (uint32_t)half : 1;
}

static st__attachment *descriptors_make(st_context *context)
{
    st__descriptors *all = st__alloc_zeroed(context, 1, sizeof *all);
    if (!all)
        return NULL;
    if (!st__lock_init(&all->lock)) {
        st__free(context, all, sizeof *all);
        return NULL;
    }
    all->attachment = (st__attachment){descriptors_free, &all->lock};
    all->context = context;
    all->limit = limit_of(context);
    return &all->attachment;
}

st__descriptors *st__descriptors_of(st_context *context)
{
    return (st__descriptors *)(void *)st__context_attached(context, ST__ATTACHED_DESCRIPTORS,
                                                           descriptors_make);
}

/* -------------------------------------------------------------------- what nobody holds */

/* These want the lock. */

static void idle_add(st__descriptors *all, st__descriptor *d)
{
    d->older = all->newest;
    d->newer = NULL;
    *(all->newest ? &all->newest->newer : &all->oldest) = d;
    all->newest = d;
}

static void idle_remove(st__descriptors *all, st__descriptor *d)
{
    *(d->older ? &d->older->newer : &all->oldest) = d->newer;
    *(d->newer ? &d->newer->older : &all->newest) = d->older;
    d->older = d->newer = NULL;
}

/* Gives the one used longest ago, to be closed without the lock; -1 if there is none. */
static int idle_take(st__descriptors *all)
{
    st__descriptor *d = all->oldest;
    if (!d)
        return -1;
    int fd = d->fd;
    idle_remove(all, d);
    d->fd = -1;
    all->open--;
    return fd;
}

/* Closes those beyond the budget, which is to leave room for `more`. */
static void surplus_close(st__descriptors *all, uint32_t more)
{
    for (;;) {
        st__lock_take(&all->lock);
        int fd = all->open + more > all->limit ? idle_take(all) : -1;
        if (fd < 0)
            all->open += more;
        st__lock_drop(&all->lock);
        if (fd < 0)
            return;
        st__os_close(fd);
    }
}

static bool any_close(st__descriptors *all)
{
    st__lock_take(&all->lock);
    int fd = idle_take(all);
    st__lock_drop(&all->lock);
    if (fd < 0)
        return false;
    st__os_close(fd);
    return true;
}

/* -------------------------------------------------------------------- opening and closing */

int st__descriptors_open(st__descriptors *all, const char *path, int *out)
{
    surplus_close(all, 1);
    int failed = st__os_open(path, out);
    if ((failed == EMFILE || failed == ENFILE) && any_close(all))
        failed = st__os_open(path, out);
    if (failed) {
        st__lock_take(&all->lock);
        all->open--;
        st__lock_drop(&all->lock);
    }
    return failed;
}

void st__descriptors_close(st__descriptors *all, int fd)
{
    st__lock_take(&all->lock);
    all->open--;
    st__lock_drop(&all->lock);
    st__os_close(fd);
}

/* Copies a path, made absolute. An errno. */
static int path_keep(st__descriptor *d, st_context *context, const char *path)
{
    char base[ST__OS_PATH];
    size_t base_len = 0, len = strlen(path);
    if (path[0] != '/') {
        int failed = st__os_working_directory(base);
        if (failed)
            return failed;
        base_len = strlen(base);
        base[base_len++] = '/'; /* in place of its end */
    }
    d->path_size = base_len + len + 1;
    d->path = st__alloc(context, d->path_size);
    if (!d->path)
        return ENOMEM;
    memcpy(d->path, base, base_len);
    memcpy(d->path + base_len, path, len + 1);
    return 0;
}

st_status st__descriptor_join(st__descriptor *descriptor, st__descriptors *all, const char *path,
                              st_error *error)
{
    int failed = path_keep(descriptor, all->context, path);
    if (failed == ENOMEM)
        return st__fail_nomem(error, descriptor->path_size);
    if (failed && descriptor->fd < 0)
        return st__fail_errno(error, ST_ERR_UNSUPPORTED, failed, ST_NO_OFFSET,
                              "%s: the working directory cannot be told", descriptor->name);
    descriptor->among = all;
    st__lock_take(&all->lock);
    descriptor->holders = failed ? 1 : 0; /* which never lets go */
    if (!failed && descriptor->fd >= 0)
        idle_add(all, descriptor);
    st__lock_drop(&all->lock);
    surplus_close(all, 0); /* there may have been nothing to close before it was opened */
    return ST_OK;
}

void st__descriptor_leave(st__descriptor *descriptor)
{
    st__descriptors *all = descriptor->among;
    if (!all) {
        if (descriptor->fd >= 0)
            st__os_close(descriptor->fd);
        return;
    }
    st__lock_take(&all->lock);
    int fd = descriptor->fd;
    if (fd >= 0) {
        all->open--;
        if (descriptor->holders == 0)
            idle_remove(all, descriptor);
    }
    st__lock_drop(&all->lock);
    if (fd >= 0)
        st__os_close(fd);
    st__free(all->context, descriptor->path, descriptor->path_size);
}

/* --------------------------------------------------------------------------------- use */

static st_status same_check(const st__descriptor *d, int fd, st_error *error)
{
    const st__os_info *then = &d->first;
    st__os_info now;
    int failed = st__os_info_fd(fd, &now);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be examined",
                              d->name);
    if (now.device != then->device || now.inode != then->inode)
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s: is another file now than when it was opened; open it again", d->name);
    /* The change time too: the number of a file that is gone, and its size and times, may be those of the file
     * that has its name now. */
    if (now.size != then->size || now.mtime_ns != then->mtime_ns || now.ctime_ns != then->ctime_ns)
        return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                        "%s: it was changed since it was opened; open it again", d->name);
    return ST_OK;
}

/* Opens what is closed; counted. */
static st_status again_open(const st__descriptor *d, int *out, st_error *error)
{
    int fd = -1;
    int failed = st__descriptors_open(d->among, d->path, &fd);
    if (failed)
        return st__fail_errno(error, ST_ERR_IO, failed, ST_NO_OFFSET, "%s: cannot be opened again",
                              d->name);
    st_status status = same_check(d, fd, error);
    if (status == ST_OK)
        *out = fd;
    else
        st__descriptors_close(d->among, fd);
    return status;
}

/* Counts a holder of what is open. False: it is closed. */
static bool open_hold(st__descriptor *d, int *fd)
{
    if (d->fd < 0)
        return false;
    if (d->holders++ == 0)
        idle_remove(d->among, d);
    *fd = d->fd;
    return true;
}

st_status st__descriptor_hold(st__descriptor *descriptor, int *fd, st_error *error)
{
    st__descriptors *all = descriptor->among;
    if (!all) {
        *fd = descriptor->fd;
        return ST_OK;
    }
    st__lock_take(&all->lock);
    bool held = open_hold(descriptor, fd);
    st__lock_drop(&all->lock);
    if (held)
        return ST_OK;
    int mine = -1;
    ST_TRY(again_open(descriptor, &mine, error));
    st__lock_take(&all->lock);
    /* Another thread may have been first. */
    held = open_hold(descriptor, fd);
    if (!held) {
        descriptor->holders = 1;
        *fd = descriptor->fd = mine;
    }
    st__lock_drop(&all->lock);
    if (held)
        st__descriptors_close(all, mine);
    return ST_OK;
}

void st__descriptor_let_go(st__descriptor *descriptor)
{
    st__descriptors *all = descriptor->among;
    if (!all)
        return;
    st__lock_take(&all->lock);
    assert(descriptor->holders > 0);
    bool idle = --descriptor->holders == 0, surplus = idle && all->open > all->limit;
    if (idle)
        idle_add(all, descriptor);
    st__lock_drop(&all->lock);
    if (surplus)
        surplus_close(all, 0);
}
