/* SPDX-License-Identifier: Apache-2.0 */
/* The load's own memory. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "io/os.h"
#include "io/pool.h"
#include "load/load.h"

/* Pages are made present in steps, so that a cancelled load ends soon. */
#define POPULATE_STEP ((size_t)16 << 20)
/* Blocks ahead of the reads. */
#define POPULATE_AHEAD 4u

/* -------------------------------------------------------------------------------------- gate */

st_status st__load_gate_new(st_context *context, st__load_gate **out, st_error *error)
{
    st__load_gate *gate = st__alloc_zeroed(context, 1, sizeof *gate);
    if (!gate)
        return st__fail_nomem(error, sizeof *gate);
    st__ref_init(&gate->ref);
    bool locked = st__lock_init(&gate->lock);
    if (locked && st__signal_init(&gate->signal)) {
        *out = gate;
        return ST_OK;
    }
    if (locked)
        st__lock_release(&gate->lock);
    st__free(context, gate, sizeof *gate);
    return st__fail(error, ST_ERR_NOMEM, ST_NO_OFFSET, "the system has no more locks");
}

void st__load_gate_release(st__load_gate *gate, st_context *context)
{
    if (!gate || !st__ref_release(&gate->ref))
        return;
    st__signal_release(&gate->signal);
    st__lock_release(&gate->lock);
    st__free(context, gate, sizeof *gate);
}

/* ------------------------------------------------------------------------------------- blocks */

/* What a block's buffer gives back when the last one lets it go. */
typedef struct block_owner {
    st_context *context; /* the buffer's, which keeps it */
    st__load_gate *gate;
    st__slab slab;
    uint64_t payload;
} block_owner;

static void live_drop(st__load_gate *gate, uint64_t payload)
{
    st__lock_take(&gate->lock);
    gate->live -= payload;
    st__signal_wake_all(&gate->signal);
    st__lock_drop(&gate->lock);
}

static void block_release(void *ctx, void *data, size_t size)
{
    block_owner *owner = ctx;
    st_context *context = owner->context;
    (void)data;
    (void)size;
    owner->slab.present = true;
    st__slab_give(context, &owner->slab);
    live_drop(owner->gate, owner->payload);
    st__load_gate_release(owner->gate, context);
    st__free(context, owner, sizeof *owner);
}

static st_status block_make(st_load *load, uint32_t number, st_buffer **out, bool *present,
                            st_error *error)
{
    const st__load_block *block = &load->plan.blocks[number];
    st_context *context = load->context;
    block_owner *owner = st__alloc(context, sizeof *owner);
    if (!owner)
        return st__fail_nomem(error, sizeof *owner);
    *owner = (block_owner){.context = context, .gate = load->gate, .payload = block->payload};
    st_status status = st__slab_take(context, (size_t)block->size, &owner->slab, error);
    if (status == ST_OK) {
        st_memory memory = {owner->slab.data, (size_t)block->size, block_release, owner};
        *present = owner->slab.present;
        status = st_buffer_new(context, &memory, out, error);
        if (status != ST_OK)
            st__slab_give(context, &owner->slab);
    }
    if (status != ST_OK)
        st__free(context, owner, sizeof *owner);
    else
        st__ref_retain(&load->gate->ref);
    return status;
}

/* Makes what is marked as being made; takes and drops the lock. */
static st_status block_finish(st_load *load, uint32_t number, st_error *error)
{
    st__load_memory *memory = &load->memory[number];
    st_buffer *buffer = NULL;
    bool present = false;
    st_status status = block_make(load, number, &buffer, &present, error);
    st__lock_take(&load->gate->lock);
    memory->buffer = buffer;
    memory->present = present;
    memory->state = status == ST_OK ? ST__LOAD_READY : ST__LOAD_ABSENT;
    if (status != ST_OK)
        load->gate->live -= load->plan.blocks[number].payload;
    st__signal_wake_all(&load->gate->signal);
    st__lock_drop(&load->gate->lock);
    return status;
}

/* Under the lock. */
static void memory_claim(st_load *load, uint32_t number)
{
    load->memory[number].state = ST__LOAD_MAKING;
    load->gate->live += load->plan.blocks[number].payload;
}

st_status st__load_block_need(st_load *load, uint32_t number, st_error *error)
{
    st__load_memory *memory = &load->memory[number];
    st__load_gate *gate = load->gate;
    st__lock_take(&gate->lock);
    if (number >= load->front) {
        load->front = number + 1;
        st__signal_wake_all(&gate->signal);
    }
    while (memory->state == ST__LOAD_MAKING)
        st__signal_wait(&gate->signal, &gate->lock);
    bool absent = memory->state == ST__LOAD_ABSENT;
    if (absent)
        memory_claim(load, number);
    st__lock_drop(&gate->lock);
    return absent ? block_finish(load, number, error) : ST_OK;
}

bool st__load_block_fits(const st_load *load, uint32_t number)
{
    uint64_t live = load->gate->live, payload = load->plan.blocks[number].payload;
    if (load->memory[number].state != ST__LOAD_ABSENT || load->max_ahead == 0 || live == 0)
        return true;
    return live <= load->max_ahead && payload <= load->max_ahead - live;
}

st_buffer *st__load_block_leave(st_load *load, uint32_t number)
{
    st__load_memory *memory = &load->memory[number];
    if (--memory->items)
        return NULL;
    st_buffer *buffer = memory->buffer;
    memory->buffer = NULL;
    memory->state = ST__LOAD_OVER;
    return buffer;
}

/* ---------------------------------------------------------------------------------- populating */

static bool is_over(const st_load *load)
{
    return load->cancelled || load->status != ST_OK ||
           (load->next_unit == load->plan.unit_count && load->running == 0);
}

/* Under the lock: waits until block `number` may be populated, and makes it the caller's to make where it is not there.
 * Gives a reference to what is there, or NULL; `*make` tells which. */
static st_buffer *populate_wait(st_load *load, uint32_t number, bool *make)
{
    const st__load_memory *memory = &load->memory[number];
    *make = false;
    while (!is_over(load)) {
        bool near = number < load->front + POPULATE_AHEAD;
        if (memory->state >= ST__LOAD_READY)
            return memory->present ? NULL : st_buffer_retain(memory->buffer);
        if (near && memory->state == ST__LOAD_ABSENT && st__load_block_fits(load, number)) {
            memory_claim(load, number);
            *make = true;
            return NULL;
        }
        st__signal_wait(&load->gate->signal, &load->gate->lock);
    }
    return NULL;
}

static bool populate_goes_on(st_load *load)
{
    st__lock_take(&load->gate->lock);
    bool over = is_over(load);
    st__lock_drop(&load->gate->lock);
    return !over;
}

static void buffer_populate(st_load *load, const st_buffer *buffer)
{
    unsigned char *data = st_buffer_data(buffer);
    size_t size = st_buffer_size(buffer);
    for (size_t at = 0; at < size && populate_goes_on(load); at += POPULATE_STEP)
        st__os_populate(data + at, (size_t)st__min_u64(POPULATE_STEP, size - at), true);
}

void st__load_populate(st_load *load)
{
    for (uint32_t i = 0; i < load->plan.block_count && populate_goes_on(load); i++) {
        bool make;
        if (!load->plan.blocks[i].fresh)
            continue;
        st__lock_take(&load->gate->lock);
        st_buffer *buffer = populate_wait(load, i, &make);
        st__lock_drop(&load->gate->lock);
        if (make) {
            if (block_finish(load, i, NULL) != ST_OK)
                return; /* whoever reads into it finds out for himself */
            st__lock_take(&load->gate->lock);
            buffer = populate_wait(load, i, &make);
            st__lock_drop(&load->gate->lock);
        }
        if (buffer)
            buffer_populate(load, buffer);
        st_buffer_release(buffer);
    }
}
