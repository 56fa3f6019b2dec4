/* SPDX-License-Identifier: Apache-2.0 */
/* Hashing a file, its data section and its tensors.
 *
 * A digest is computed from its first byte to its last by one thread: several digests are what several
 * threads can work at. The work is cut into tasks, one for each range of the file that is read in one go: the
 * file, the data section, a large tensor, or neighbouring small ones together, so that what a reading
 * costs is paid per megabyte and not per tensor. Workers take the large tasks first. One that is longer
 * than a thread's share of the whole is what the call will wait for: it gets threads that read ahead. */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"
#include "base/team.h"
#include "file/file.h"
#include "inspect/digest.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

/* Small tensors are gathered up to this many bytes; also what makes another thread worth its start. */
#define TASK_SIZE   (UINT64_C(1) << 20)
#define WORKERS_MAX 64u
/* What a reading stages at least, by which the memory budget limits the workers. */
#define WORKER_MEMORY (UINT64_C(1) << 20)

/* One range of the file, and the digests of the pieces that it falls into. */
typedef struct hash_task {
    uint64_t offset; /* in the file */
    uint64_t size;
    size_t first; /* tensors, where the digests are those of tensors */
    size_t count;
    st_digest *digests;
    bool tensors;
} hash_task;

typedef struct hash_run {
    const st_file *file;
    st_hash hash;
    st_progress progress;
    hash_task *tasks; /* in the order in which failures are told */
    size_t *order;    /* in which they are taken */
    size_t count;
    uint64_t total;     /* bytes */
    uint64_t long_task; /* more bytes than this: a long task */
    uint32_t readers;   /* threads for a long one */
    uint64_t told;      /* to the progress callback */
    atomic_uint_fast64_t done;
    atomic_size_t next;
    atomic_bool ended; /* by a failure or the caller */
    struct hash_worker *workers;
} hash_run;

typedef struct hash_worker {
    hash_run *run;
    bool is_caller;
    bool interrupted; /* by another worker's failure */
    st_status status;
    size_t failed_task;
    st_error error;
    st__digester *digester;
    const hash_task *task;
    size_t piece;  /* of the task */
    uint64_t left; /* bytes of the piece */
    bool begun;
} hash_worker;

/* ------------------------------------------------------------------------------- one task */

static uint64_t piece_size(const hash_worker *w)
{
    const hash_task *task = w->task;
    return task->tensors ? st_tensor_size(st_file_at(w->run->file, task->first + w->piece))
                         : task->size;
}

static st_status piece_end(hash_worker *w, st_error *error)
{
    ST_TRY(st__digester_end(w->digester, &w->task->digests[w->piece], error));
    w->begun = false;
    return ST_OK;
}

/* Moves on to the next piece that has bytes; those without get their digests on the way. */
static st_status piece_next(hash_worker *w, st_error *error)
{
    for (w->piece++; w->piece < w->task->count; w->piece++) {
        w->left = piece_size(w);
        if (w->left)
            return ST_OK;
        ST_TRY(st__digester_whole(w->digester, "", 0, &w->task->digests[w->piece], error));
    }
    return ST_OK;
}

/* Hands bytes on to the pieces that they belong to. */
static st_status pieces_add(hash_worker *w, const unsigned char *data, size_t size, st_error *error)
{
    while (size > 0) {
        size_t take = (size_t)st__min_u64(size, w->left);
        bool whole = !w->begun && take == w->left;
        if (whole) {
            ST_TRY(st__digester_whole(w->digester, data, take, &w->task->digests[w->piece], error));
        } else {
            if (!w->begun)
                st__digester_begin(w->digester);
            w->begun = true;
            st__digester_add(w->digester, data, take);
        }
        data += take;
        size -= take;
        w->left -= take;
        if (w->left == 0) {
            if (!whole)
                ST_TRY(piece_end(w, error));
            ST_TRY(piece_next(w, error));
        }
    }
    return ST_OK;
}

static st_status progress_tell(hash_run *run, uint64_t done, st_error *error)
{
    run->told = done;
    if (run->progress.fn && !run->progress.fn(run->progress.ctx, done, run->total))
        return st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the hashing was stopped",
                        st_file_name(run->file));
    return ST_OK;
}

static st_status hash_block(void *ctx, const void *data, size_t size, st_error *error)
{
    hash_worker *w = ctx;
    hash_run *run = w->run;
    if (atomic_load_explicit(&run->ended, memory_order_relaxed)) {
        w->interrupted = true;
        return st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET, "stopped");
    }
    ST_TRY(pieces_add(w, data, size, error));
    uint64_t done = atomic_fetch_add_explicit(&run->done, size, memory_order_relaxed) + size;
    return w->is_caller ? progress_tell(run, done, error) : ST_OK;
}

/* Which tensor of a task a failure is about: the one at hand, or a later one at the error's offset, for what is
 * read at once may be more than one. NULL: none. */
static const st_tensor *failed_tensor(const hash_worker *w, st_status status, const st_error *error)
{
    const hash_task *task = w->task;
    const st_file *file = w->run->file;
    size_t piece = w->piece;
    if (!error || !task->tensors || piece >= task->count || status == ST_ERR_STOPPED)
        return NULL;
    while (error->offset != ST_NO_OFFSET && piece + 1 < task->count &&
           error->offset >= st_file_offset(file, st_file_at(file, task->first + piece + 1)))
        piece++;
    return st_file_at(file, task->first + piece);
}

static st_status task_run(hash_worker *w, const hash_task *task, st_error *error)
{
    const hash_run *run = w->run;
    st__reading reading;
    w->task = task;
    w->piece = SIZE_MAX; /* before the first */
    w->begun = false;
    ST_TRY(piece_next(w, error));
    if (task->size == 0)
        return ST_OK;
    /* A tensor of its own is named where its reading fails. */
    if (task->tensors && task->count == 1)
        ST_TRY(
            st__reading_open(&reading, run->file, st_file_at(run->file, task->first), NULL, error));
    else
        ST_TRY(st__reading_open_range(&reading, run->file, task->offset, task->size, error));
    uint32_t threads = task->size > run->long_task ? run->readers : 1;
    st_status status = st__reading_blocks(&reading, threads, hash_block, w, error);
    (void)st__error_locate(error, status, st_file_name(run->file), failed_tensor(w, status, error));
    return st__reading_close(&reading, status, error);
}

/* ------------------------------------------------------------------------------- the tasks */

static void task_add(hash_run *run, const hash_task *task)
{
    if (run->tasks)
        run->tasks[run->count] = *task;
    run->count++;
    run->total += task->size;
}

/* Neighbours in the data section, as many as make TASK_SIZE; a large one alone. */
static void tensor_tasks(hash_run *run, st_digest *digests)
{
    const st_file *file = run->file;
    size_t count = st_file_count(file);
    hash_task task = {.tensors = true};
    for (size_t i = 0; i < count; i++) {
        const st_tensor *tensor = st_file_at(file, i);
        uint64_t size = st_tensor_size(tensor);
        uint64_t offset = st_file_offset(file, tensor);
        bool fits = size <= TASK_SIZE - st__min_u64(task.size, TASK_SIZE);
        if (task.count && (!fits || offset != task.offset + task.size)) {
            task_add(run, &task);
            task = (hash_task){.tensors = true};
        }
        if (task.count == 0) {
            task.offset = offset;
            task.first = i;
            task.digests = digests + i;
        }
        task.size += size;
        task.count++;
    }
    if (task.count)
        task_add(run, &task);
}

/* Counts the tasks while `tasks` is NULL, and fills it in afterwards. */
static void tasks_list(hash_run *run, st_hashes *out)
{
    const st_file *file = run->file;
    uint64_t offset = st_header_data_offset(st_file_header(file));
    run->count = 0;
    run->total = 0;
    if (out->parts & ST_HASH_FILE)
        task_add(run, &(hash_task){.size = st_file_size(file), .count = 1, .digests = &out->file});
    if (out->parts & ST_HASH_DATA)
        task_add(run, &(hash_task){.offset = offset,
                                   .size = st_file_size(file) - offset,
                                   .count = 1,
                                   .digests = &out->data});
    if (out->parts & ST_HASH_TENSORS)
        tensor_tasks(run, out->memory);
}

static unsigned size_class(uint64_t size)
{
    unsigned bits = 0;
    for (; size; size >>= 1)
        bits++;
    return bits;
}

/* The large ones first, by powers of two: a long task begun last would be waited for. */
static void tasks_order(hash_run *run)
{
    size_t places[65] = {0}; /* of the tasks of each class */
    for (size_t i = 0; i < run->count; i++)
        places[64 - size_class(run->tasks[i].size)]++;
    size_t at = 0;
    for (size_t c = 0; c < 65; c++) {
        size_t here = places[c];
        places[c] = at;
        at += here;
    }
    for (size_t i = 0; i < run->count; i++)
        run->order[places[64 - size_class(run->tasks[i].size)]++] = i;
}

static uint32_t threads_limit(const hash_run *run)
{
    uint64_t threads = st__context_threads(run->file->context);
    threads = st__min_u64(threads, WORKERS_MAX);
    threads = st__min_u64(threads, run->total / TASK_SIZE + 1);
    threads = st__min_u64(threads, st__context_memory(run->file->context) / WORKER_MEMORY);
    return threads ? (uint32_t)threads : 1;
}

/* Divides the threads: one for each long task, so many for the others as their part of the whole takes, and
 * the rest reads ahead of the long ones. Gives the number of workers. */
static uint32_t threads_divide(hash_run *run)
{
    uint32_t threads = threads_limit(run), long_count = 0, workers = 0;
    uint32_t parallelism = run->file->identity.parallelism;
    uint64_t rest = 0;
    size_t rest_count = 0;
    run->long_task = run->total / threads;
    for (size_t i = 0; i < run->count; i++) {
        if (run->tasks[i].size > run->long_task) {
            long_count++; /* fewer than there are threads, or the only one */
        } else {
            rest += run->tasks[i].size;
            rest_count++;
        }
    }
    if (rest_count && run->total) {
        workers = (uint32_t)st__min_u64(rest_count, rest / (run->total / threads + 1) + 1);
        workers = (uint32_t)st__min_u64(workers, threads - long_count);
    }
    run->readers = long_count ? (threads - workers) / long_count : 1;
    workers += long_count;
    if (parallelism && workers > parallelism)
        workers = parallelism;
    return workers ? workers : 1;
}

/* -------------------------------------------------------------------------------- workers */

static void worker_tasks(hash_worker *w)
{
    hash_run *run = w->run;
    /* The caller's thread has the largest one, so that it is there to tell of the progress to the end;
     * st__team_share would give it to whoever comes first. */
    size_t i = w->is_caller ? 0 : atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
    while (i < run->count && !atomic_load_explicit(&run->ended, memory_order_relaxed)) {
        st_status status = task_run(w, &run->tasks[run->order[i]], &w->error);
        if (status != ST_OK && !w->interrupted) {
            w->status = status;
            w->failed_task = run->order[i];
        }
        if (status != ST_OK)
            return;
        i = atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
    }
}

static void worker_run(void *ctx, uint32_t number)
{
    hash_run *run = ctx;
    hash_worker *w = &run->workers[number];
    st__digester digester;
    w->run = run;
    w->is_caller = number == 0;
    w->digester = &digester;
    w->status = st__digester_init(w->digester, run->hash, &w->error);
    if (w->status == ST_OK) {
        worker_tasks(w);
        st__digester_release(w->digester);
    }
    if (w->status != ST_OK)
        atomic_store_explicit(&run->ended, true, memory_order_relaxed);
}

static st_status workers_result(hash_run *run, uint32_t count, st_error *error)
{
    const hash_worker *lowest = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const hash_worker *w = &run->workers[i];
        if (w->status != ST_OK && (!lowest || w->failed_task < lowest->failed_task))
            lowest = w;
    }
    if (!lowest) {
        uint64_t done = atomic_load_explicit(&run->done, memory_order_relaxed);
        return run->told == done && done ? ST_OK : progress_tell(run, done, error);
    }
    if (error)
        *error = lowest->error;
    return lowest->status;
}

/* ---------------------------------------------------------------------------------- calls */

static st_status run_with(hash_run *run, uint32_t workers, st_error *error)
{
    st_context *context = run->file->context;
    size_t size = workers * sizeof *run->workers;
    run->workers = st__alloc_zeroed(context, workers, sizeof *run->workers);
    if (!run->workers)
        return st__fail_nomem(error, size);
    atomic_init(&run->done, 0);
    atomic_init(&run->next, 1);
    atomic_init(&run->ended, false);
    st_status status = st__team_run(context, workers, worker_run, run, error);
    if (status == ST_OK)
        status = workers_result(run, workers, error);
    st__free(context, run->workers, size);
    return status;
}

/* Those of the tensors, which are the result's own memory. */
static st_status digests_make(const st_file *file, st_hashes *out, st_error *error)
{
    out->count = st_file_count(file);
    if (!st__mul_size(out->count, sizeof *out->tensors, &out->memory_size))
        return st__fail_nomem(error, UINT64_MAX);
    out->memory = st__alloc_zeroed(file->context, out->count, sizeof *out->tensors);
    if (!out->memory)
        return st__fail_nomem(error, out->memory_size);
    out->tensors = out->memory;
    return ST_OK;
}

static st_status run_all(hash_run *run, st_hashes *out, st_error *error)
{
    st_context *context = run->file->context;
    size_t task_bytes, order_bytes;
    if (out->parts & ST_HASH_TENSORS)
        ST_TRY(digests_make(run->file, out, error));
    tasks_list(run, out);
    if (!st__mul_size(run->count, sizeof *run->tasks, &task_bytes) ||
        !st__mul_size(run->count, sizeof *run->order, &order_bytes))
        return st__fail_nomem(error, UINT64_MAX);
    run->tasks = st__alloc(context, task_bytes);
    if (!run->tasks)
        return st__fail_nomem(error, task_bytes);
    run->order = st__alloc(context, order_bytes);
    st_status status = ST_OK;
    if (!run->order) {
        status = st__fail_nomem(error, order_bytes);
    } else {
        tasks_list(run, out);
        tasks_order(run);
        status = run_with(run, threads_divide(run), error);
    }
    st__free(context, run->order, order_bytes);
    st__free(context, run->tasks, task_bytes);
    return status;
}

static st_status options_take(const st_hash_options *options, hash_run *run, uint32_t *parts,
                              st_error *error)
{
    const uint32_t known = ST_HASH_FILE | ST_HASH_DATA | ST_HASH_TENSORS;
    run->hash = ST_HASH_SHA256;
    *parts = ST_HASH_FILE;
    if (options) {
        ST_TRY(st__reserved_check(options->reserved, 8, "st_hash_options", error));
        if (options->parts & ~known)
            return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                            "st_hash_options: unknown parts 0x%" PRIx32, options->parts & ~known);
        if (options->hash)
            run->hash = options->hash;
        if (options->parts)
            *parts = options->parts;
        run->progress = options->progress;
    }
    return st__hash_check(run->hash, error);
}

st_status st_hashes_read(const st_file *file, const st_hash_options *options, st_hashes *out,
                         st_error *error)
{
    hash_run run = {.file = file};
    st_hashes hashes = {0};
    ST_TRY(options_take(options, &run, &hashes.parts, error));
    hashes.hash = run.hash;
    st_status status = run_all(&run, &hashes, error);
    if (status != ST_OK) {
        st__free(file->context, hashes.memory, hashes.memory_size);
        return st__error_locate(error, status, st_file_name(file), NULL);
    }
    hashes.context = st_context_retain(file->context);
    *out = hashes;
    return ST_OK;
}

void st_hashes_release(st_hashes *hashes)
{
    if (!hashes)
        return;
    st_context *context = hashes->context;
    st__free(context, hashes->memory, hashes->memory_size);
    memset(hashes, 0, sizeof *hashes);
    st_context_release(context);
}
