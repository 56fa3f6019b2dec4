/* SPDX-License-Identifier: Apache-2.0 */
/* How each file is read, and whether it stays what it is. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "load/load.h"

#include <string.h>

/* Up to so many files keep what they were asked about open until they are read. */
#define FILES_OPEN 16u
/* A unit, and what is read together of small items. */
#define UNIT_GRAIN  (UINT64_C(64) << 10)
#define UNIT_LEAST  (UINT64_C(1) << 20)
#define UNIT_CACHE  (UINT64_C(4) << 20)
#define UNIT_QUEUE  (UINT64_C(64) << 20)
#define STAGE_CACHE (UINT64_C(512) << 10)
#define STAGE_QUEUE (UINT64_C(8) << 20)
#define STAGE_LEAST (UINT64_C(4) << 10)

/* ------------------------------------------------------------------------------------ facts */

static uint64_t unit_of(const st__choice *choice, uint64_t span)
{
    uint64_t most = choice->io == ST_IO_URING ? UNIT_QUEUE : UNIT_CACHE;
    uint64_t least = choice->unit > UNIT_LEAST ? choice->unit : UNIT_LEAST;
    uint64_t unit = choice->io == ST_IO_URING ? span / choice->threads : span / choice->threads / 4;
    unit = unit > most ? most : unit;
    unit = unit < least ? least : unit;
    return (unit + UNIT_GRAIN - 1) / UNIT_GRAIN * UNIT_GRAIN;
}

/* What is copied out of staging memory is to be in the cache still, unless a device or a network is slower than
 * the copy anyway. */
static uint64_t stage_of(const st_load *load, const st__route *route, uint64_t max_ahead)
{
    uint64_t stage = STAGE_CACHE;
    if (st__strategy_is_direct(route->choice.io) || route->facts.latency == ST_LATENCY_NETWORK)
        stage = STAGE_QUEUE;
    stage = st__min_u64(stage, st__context_memory(load->context) / 2 / route->choice.threads);
    if (max_ahead)
        stage = st__min_u64(stage, max_ahead / 4);
    return stage < STAGE_LEAST ? STAGE_LEAST : stage;
}

static void facts_fill(st_load *load, uint32_t number, uint64_t max_ahead)
{
    const st__load_file *file = &load->files[number];
    const st__choice *choice = &file->route.choice;
    bool direct = st__strategy_is_direct(choice->io);
    load->facts[number] =
        (st__load_facts){.size = file->file->identity.size,
                         .gap = choice->gap,
                         .unit = unit_of(choice, file->wanted.span),
                         .stage = stage_of(load, &file->route, max_ahead),
                         .align = direct && file->route.align ? file->route.align : 1,
                         .views = file->view != NULL,
                         .populates = choice->io == ST_IO_POPULATE,
                         .fresh = direct};
}

/* ------------------------------------------------------------------------------------- views */

/* Whether a mapping cannot be had, though nothing is wrong with the file. */
static bool is_unmappable(st_status status)
{
    return status == ST_ERR_UNSUPPORTED || status == ST_ERR_TOO_BIG || status == ST_ERR_IO;
}

/* Maps the file; `*out` stays NULL where that cannot be had. */
static st_status map_try(const st_file *file, uint32_t mode, st_buffer **out, st_error *error)
{
    st_error refused;
    st_status status = st_file_map(file, mode, out, &refused);
    if (status == ST_OK || is_unmappable(status))
        return ST_OK;
    if (error)
        *error = refused;
    return status;
}

/* Maps what is to be shown. Where that cannot be had the file is read, by another route. */
static st_status view_open(st_load *load, st__load_file *file, st_error *error)
{
    uint32_t io = file->route.choice.io;
    if (!file->wanted.views || (io != ST_IO_MAP && io != ST_IO_POPULATE))
        return ST_OK;
    ST_TRY(map_try(file->file, ST_MAP_PRIVATE, &file->view, error));
    if (file->view)
        return ST_OK;
    st__route_close(&file->route);
    file->wanted.views = false;
    return st__route_open(&file->route, file->file->source, load->context, &file->wanted, error);
}

/* ------------------------------------------------------------------------------------- routes */

/* What the bytes are copied out of, where that is memory or, on request, a mapping. */
static st_status memory_find(st__load_file *file, st_error *error)
{
    const st_file *of = file->file;
    st__wanted *w = &file->wanted;
    if (of->source->memory.data && w->io != ST_IO_PREAD)
        w->memory = of->source->memory.data;
    if (w->memory || w->views || (w->io != ST_IO_MAP && w->io != ST_IO_POPULATE))
        return ST_OK;
    ST_TRY(map_try(of, ST_MAP_SHARED, &file->mapping, error));
    if (file->mapping)
        w->memory = st_buffer_data(file->mapping);
    return ST_OK;
}

static st_status route_begin(st_load *load, uint32_t number, const st_load_options *options,
                             st_error *error)
{
    st__load_file *file = &load->files[number];
    const st_file *of = file->file;
    st__wanted *w = &file->wanted;
    if (file->changes)
        ST_TRY(st__file_unchanged(of, &file->before, error));
    w->info = &of->identity;
    w->views = options && options->flags & ST_LOAD_VIEWS && file->changes && file->viewable &&
               file->viewable >= w->size / 2;
    ST_TRY(memory_find(file, error));
    ST_TRY(st__route_open(&file->route, of->source, load->context, w, error));
    file->state = ST__LOAD_READY;
    ST_TRY(view_open(load, file, error));
    st__route_explain(&file->route, &file->explanation);
    facts_fill(load, number, options ? options->max_ahead : 0);
    if (load->plan.file_count > FILES_OPEN) {
        w->io = file->route.choice.io;
        st__route_close(&file->route);
        file->state = ST__LOAD_ABSENT;
    }
    return ST_OK;
}

st_status st__load_routes(st_load *load, const st_load_options *options, st_error *error)
{
    for (uint32_t i = 0; i < load->plan.file_count; i++) {
        st_status status = route_begin(load, i, options, error);
        if (status != ST_OK)
            return st__error_locate(error, status, st_file_name(load->files[i].file), NULL);
    }
    return ST_OK;
}

void st__load_routes_release(st_load *load)
{
    for (uint32_t i = 0; load->files && i < load->plan.file_count; i++) {
        if (load->files[i].state == ST__LOAD_READY)
            st__route_close(&load->files[i].route);
        st_buffer_release(load->files[i].view);
        st_buffer_release(load->files[i].mapping);
    }
}

st_status st__load_route_join(st_load *load, uint32_t number, st_error *error)
{
    st__load_file *file = &load->files[number];
    st__load_gate *gate = load->gate;
    st_status status = ST_OK;
    st__lock_take(&gate->lock);
    while (file->state == ST__LOAD_MAKING)
        st__signal_wait(&gate->signal, &gate->lock);
    if (file->state == ST__LOAD_ABSENT) {
        file->state = ST__LOAD_MAKING;
        st__lock_drop(&gate->lock);
        status =
            st__route_open(&file->route, file->file->source, load->context, &file->wanted, error);
        st__lock_take(&gate->lock);
        file->state = status == ST_OK ? ST__LOAD_READY : ST__LOAD_ABSENT;
        st__signal_wake_all(&gate->signal);
    }
    file->users += status == ST_OK;
    st__lock_drop(&gate->lock);
    return status;
}

void st__load_route_part(st_load *load, uint32_t number)
{
    st__load_file *file = &load->files[number];
    st__lock_take(&load->gate->lock);
    bool last = --file->users == 0 && file->units == 0;
    if (last) {
        file->state = ST__LOAD_OVER;
        st__route_explain(&file->route, &file->explanation);
    }
    st__lock_drop(&load->gate->lock);
    if (last)
        st__route_close(&file->route);
}

/* ----------------------------------------------------------------------------------- identity */

st_status st__load_file_check(const st__load_file *file, st_error *error)
{
    st_source_info now;
    if (!file->changes)
        return ST_OK;
    ST_TRY(st__file_unchanged(file->file, &now, error));
    if (now.ctime_ns == file->before.ctime_ns)
        return ST_OK;
    return st__fail(error, ST_ERR_CHANGED, ST_NO_OFFSET,
                    "%s: it was changed while it was read; read it again",
                    st_file_name(file->file));
}
