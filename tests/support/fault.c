/* SPDX-License-Identifier: Apache-2.0 */
#include "support/fault.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static st_status fault_fail(st_error *error, st_status status, int sys_errno, uint64_t offset)
{
    if (error) {
        error->status = status;
        error->sys_errno = sys_errno;
        error->offset = offset;
        snprintf(error->message, sizeof error->message, "fault: planted %s",
                 st_status_name(status));
    }
    return status;
}

/* Counts a call; true where it is the one to go wrong. */
static bool fault_strikes(fault_source *fault)
{
    fault->calls++;
    if (fault->calls != fault->at)
        return false;
    fault->hit = true;
    return true;
}

static bool is_changed(const fault_source *fault)
{
    return fault->hit && (fault->kind == FAULT_SHRINK || fault->kind == FAULT_TOUCH);
}

static uint64_t size_now(const fault_source *fault)
{
    return fault->hit && fault->kind == FAULT_SHRINK ? fault->size / 2 : fault->size;
}

static st_status fault_info(void *self, st_source_info *out, st_error *error)
{
    fault_source *fault = self;
    bool struck = fault->kind != FAULT_SHORT && fault_strikes(fault);
    if (struck && fault->kind == FAULT_EIO)
        return fault_fail(error, ST_ERR_IO, EIO, ST_NO_OFFSET);
    *out = (st_source_info){.size = size_now(fault),
                            .device = 1,
                            .inode = 1,
                            .mtime_ns = is_changed(fault) ? 2 : 1,
                            .ctime_ns = is_changed(fault) ? 2 : 1,
                            .latency = ST_LATENCY_LOCAL};
    return ST_OK;
}

static st_status fault_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                            st_error *error)
{
    fault_source *fault = self;
    bool struck = fault_strikes(fault);
    fault->reads++;
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += segments[i].size;
    if (offset + total > fault->end)
        fault->end = offset + total;
    if (struck && fault->kind == FAULT_EIO)
        return fault_fail(error, ST_ERR_IO, EIO, offset);
    if (struck && fault->kind == FAULT_SHORT)
        return fault_fail(error, ST_ERR_SHORT_READ, 0, offset + total / 2);
    uint64_t size = size_now(fault);
    if (offset > size || total > size - offset)
        return fault_fail(error, ST_ERR_SHORT_READ, 0, size);
    const unsigned char *from = (const unsigned char *)fault->data + offset;
    for (size_t i = 0; i < count; i++) {
        memcpy(segments[i].data, from, segments[i].size);
        from += segments[i].size;
    }
    return ST_OK;
}

static void fault_free(void *self)
{
    fault_source *fault = self;
    if (fault->freed)
        fail_msg("the source is freed twice");
    fault->freed = true;
}

st_source *fault_source_new(fault_source *fault)
{
    static const st_source_vtable vtable = {
        .size = sizeof vtable, .info = fault_info, .read = fault_read, .free = fault_free};
    st_open_options options = {.name = "fault"};
    st_source *source = NULL;
    CHECK_OK(st_source_new(&vtable, fault, &options, &source, &error));
    return source;
}

bool fault_loop_next(fault_loop *loop, const check_place *place)
{
    if (loop->run > 0 && !loop->fault.hit)
        return false;
    loop->run++;
    loop->place = place;
    loop->fault = (fault_source){.data = loop->fault.data,
                                 .size = loop->fault.size,
                                 .kind = loop->fault.kind,
                                 .at = loop->run};
    loop->source = fault_source_new(&loop->fault);
    loop->stage = 0;
    return true;
}

bool fault_loop_begin(fault_loop *loop)
{
    if (loop->stage != 0)
        return false;
    loop->stage = 1;
    return true;
}

static bool is_fitting(const fault_loop *loop, st_status status)
{
    if (!loop->fault.hit)
        return status == ST_OK;
    switch (loop->fault.kind) {
    case FAULT_EIO: return status == ST_ERR_IO;
    case FAULT_SHORT: return status == ST_ERR_SHORT_READ;
    /* The source may be half as long from the very first look on. */
    case FAULT_SHRINK:
        return status == ST_OK || status == ST_ERR_SHORT_READ || status == ST_ERR_CHANGED ||
               (loop->fault.at == 1 && status >= 20 && status < 50);
    case FAULT_TOUCH: return status == ST_OK || status == ST_ERR_CHANGED;
    }
    return false;
}

void fault_loop_end(fault_loop *loop, st_status status)
{
    st_source_release(loop->source);
    if (!is_fitting(loop, status)) {
        print_error("%s when call %" PRIu64 " of the source %s\n", st_status_name(status),
                    loop->fault.at, loop->fault.hit ? "goes wrong" : "is not reached");
        print_error("  in %s\n", loop->place->call);
        _fail(loop->place->file, loop->place->line);
    }
    if (!loop->fault.freed) {
        print_error("the source leaks when call %" PRIu64 " goes wrong\n", loop->fault.at);
        _fail(loop->place->file, loop->place->line);
    }
}
