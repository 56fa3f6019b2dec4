/* SPDX-License-Identifier: Apache-2.0 */
#include "bench_run.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache.h"
#include "ceiling.h"
#include "memory.h"
#include "out.h"
#include "text.h"

/* How much is held at once of a file that does not fit: enough for any strategy to be in its stride. */
#define AHEAD (UINT64_C(256) << 20)
/* Above this part of the spare memory a file is not held as a whole. */
#define MEMORY_PART 2
/* Pages that were just read sit in lists of the CPUs for a moment, and are not dropped from there. */
#define DROPS      5
#define DROP_PAUSE 20000000 /* nanoseconds */
/* What may stay of a file that counts as cold, and lack of one that counts as warm: a part in so many. */
#define STRAY_PART 100

/* What is loaded while it is measured. */
struct course {
    struct bench *bench;
    struct progress progress;
    st_progress told;
    unsigned threads; /* of the ceiling of memory */
};

/* What one run needs. */
struct run {
    st_context *context;
    st_checkpoint *checkpoint; /* a file is one of itself */
    st_load_item *items;
    size_t count;
    st_buffer **held;
    size_t held_count;
    st_load *load;
};

const char *bench_way_name(unsigned way)
{
    return way == WAY_VIEWS ? "views" : st_io_name(way);
}

bool bench_is_replaced(const struct bench_state *state, unsigned way)
{
    return way != WAY_AUTO && way != WAY_VIEWS && state->results[way].said.io != way;
}

static st_status stopped(const struct bench *bench, st_error *error)
{
    return error_fill(error, ST_ERR_STOPPED, "%.300s: stopped by a signal", bench->path);
}

/* -------------------------------------------------------------------------------- figures */

static int double_compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static double median_of(const double *sorted, size_t count)
{
    return (sorted[(count - 1) / 2] + sorted[count / 2]) / 2;
}

static void series_add(struct bench_series *series, const struct bench *bench,
                       const struct stopwatch *watch)
{
    if (!series->seconds) {
        series->seconds = memory_new(bench->runs, sizeof *series->seconds);
        series->cpu = memory_new(bench->runs, sizeof *series->cpu);
    }
    series->seconds[series->count] = watch->seconds;
    series->cpu[series->count++] = watch->cpu;
}

static double rate_of(const struct bench_series *series, double seconds)
{
    return (double)series->bytes / (seconds > 1e-9 ? seconds : 1e-9);
}

static void series_sum(struct bench_series *series)
{
    if (series->count == 0)
        return;
    double *sorted = memory_new(series->count, sizeof *sorted);
    memcpy(sorted, series->cpu, series->count * sizeof *sorted);
    qsort(sorted, series->count, sizeof *sorted, double_compare);
    series->cpu_median = median_of(sorted, series->count);
    memcpy(sorted, series->seconds, series->count * sizeof *sorted);
    qsort(sorted, series->count, sizeof *sorted, double_compare);
    series->median = median_of(sorted, series->count);
    series->low = sorted[0];
    series->high = sorted[series->count - 1];
    series->rate = rate_of(series, series->median);
    free(sorted);
}

static void series_release(struct bench_series *series)
{
    free(series->seconds);
    free(series->cpu);
}

/* --------------------------------------------------------------------------------- the load */

/* Reads every byte, so that every page is there. The sum goes where no compiler can tell that nobody wants
 * it. */
static void bytes_touch(const unsigned char *data, size_t size)
{
    uint64_t sum = 0, word;
    size_t at = 0;
    for (; size - at >= sizeof word; at += sizeof word) {
        memcpy(&word, data + at, sizeof word);
        sum += word;
    }
    for (; at < size; at++)
        sum += data[at];
    volatile uint64_t kept = sum;
    (void)kept;
}

/* Keeps what was loaded, as those do who want all of it, unless there is no room. */
static void loaded_take(const struct course *course, struct run *run, unsigned way,
                        const st_loaded *done)
{
    if (way == WAY_VIEWS)
        bytes_touch(done->data, done->size);
    if (course->bench->ahead)
        st_buffer_release(done->buffer);
    else
        run->held[run->held_count++] = done->buffer;
}

static st_status load_finish(struct course *course, struct run *run, unsigned way, st_error *error)
{
    st_loaded done;
    for (;;) {
        st_status status = st_load_next(run->load, &done, error);
        if (status != ST_OK)
            return status;
        if (done.item == ST_LOAD_END)
            return ST_OK;
        loaded_take(course, run, way, &done);
        if (!course->told.fn(course->told.ctx, done.done, done.total))
            return stopped(course->bench, error);
    }
}

static st_status load_time(struct course *course, struct run *run, unsigned way,
                           struct stopwatch *watch, st_error *error)
{
    st_load_options options = {.io = way == WAY_VIEWS ? ST_IO_AUTO : way,
                               .flags = way == WAY_VIEWS ? ST_LOAD_VIEWS : 0,
                               .context = run->context,
                               .max_ahead = course->bench->ahead};
    stopwatch_start(watch);
    st_status status = st_load_start(run->items, run->count, &options, &run->load, error);
    if (status == ST_OK)
        status = load_finish(course, run, way, error);
    stopwatch_stop(watch);
    return status;
}

/* Opens the files in a context of their own: nothing is known yet, and no memory is there to be used again. */
static st_status run_open(const struct bench *bench, struct run *run, st_error *error)
{
    st_context_options limits = {.max_threads = bench->threads};
    st_open_options options = input_options(bench->common);
    *run = (struct run){.context = NULL};
    st_status status = st_context_new(&limits, &run->context, error);
    if (status != ST_OK)
        return status;
    options.context = run->context;
    status = st_checkpoint_open(bench->path, &options, &run->checkpoint, error);
    if (status != ST_OK)
        return status;
    run->count = st_checkpoint_count(run->checkpoint);
    run->items = memory_new(run->count, sizeof *run->items);
    run->held = memory_new(run->count, sizeof *run->held);
    for (size_t i = 0; i < run->count; i++) {
        st_checkpoint_tensor found = st_checkpoint_at(run->checkpoint, i);
        run->items[i] = (st_load_item){.file = found.file, .tensor = found.tensor};
    }
    return ST_OK;
}

static void run_close(struct run *run)
{
    st_load_free(run->load);
    for (size_t i = 0; i < run->held_count; i++)
        st_buffer_release(run->held[i]);
    free(run->held);
    free(run->items);
    st_checkpoint_close(run->checkpoint);
    st_context_release(run->context);
}

/* --------------------------------------------------------------------------- the page cache */

static st_status resident_ask(const struct run *run, uint64_t *resident, uint64_t *all,
                              st_error *error)
{
    *resident = *all = 0;
    for (size_t i = 0; i < st_checkpoint_file_count(run->checkpoint); i++) {
        st_explanation said;
        const st_file *file = st_checkpoint_file(run->checkpoint, i);
        st_status status = st_file_explain(file, NULL, NULL, &said, error);
        if (status != ST_OK)
            return status;
        bool known = *resident != UINT64_MAX && said.resident != UINT64_MAX;
        *resident = known ? *resident + said.resident : UINT64_MAX;
        *all += said.read;
    }
    return ST_OK;
}

static void note_set(struct bench_state *state, uint64_t resident, uint64_t all, const char *why)
{
    snprintf(state->note, sizeof state->note, "%s of %s %s", text_bytes(resident).text,
             text_bytes(all).text, why);
}

static st_status files_do(const struct bench *bench,
                          st_status (*what)(const char *path, st_error *error), st_error *error)
{
    st_status status = ST_OK;
    for (size_t i = 0; i < bench->files.count && status == ST_OK; i++)
        status = what(bench->files.at[i], error);
    return status;
}

static st_status cache_clear(const struct course *course, const struct run *run,
                             struct bench_state *state, st_error *error)
{
    const struct timespec pause = {0, DROP_PAUSE};
    uint64_t resident = UINT64_MAX, all = 0;
    for (int i = 0; i < DROPS; i++) {
        if (i)
            nanosleep(&pause, NULL);
        st_status status = files_do(course->bench, cache_drop, error);
        if (status == ST_OK)
            status = resident_ask(run, &resident, &all, error);
        if (status != ST_OK)
            return status;
        if (resident == UINT64_MAX || resident <= all / STRAY_PART)
            break;
    }
    if (resident == UINT64_MAX)
        snprintf(state->note, sizeof state->note,
                 "whether the file left the page cache cannot be told here");
    else if (resident > all / STRAY_PART && (!*state->note || resident > state->resident))
        note_set(state, resident, all,
                 "stayed in the page cache, because they are mapped, or cannot be written back");
    if (state->resident == UINT64_MAX || resident > state->resident)
        state->resident = resident;
    return ST_OK;
}

static st_status cache_warm(const struct course *course, const struct run *run,
                            struct bench_state *state, st_error *error)
{
    uint64_t resident, all;
    st_status status = resident_ask(run, &resident, &all, error);
    bool known = resident != UINT64_MAX;
    if (status == ST_OK && (!known || resident < all)) {
        status = files_do(course->bench, cache_fill, error);
        if (status == ST_OK)
            status = resident_ask(run, &resident, &all, error);
    }
    if (status != ST_OK)
        return status;
    if (resident != UINT64_MAX && all - resident > all / STRAY_PART &&
        (!*state->note || resident < state->resident))
        note_set(state, resident, all, "is what the page cache keeps of the file");
    if (resident < state->resident)
        state->resident = resident;
    return ST_OK;
}

static st_status cache_prepare(const struct course *course, const struct run *run, int number,
                               st_error *error)
{
    struct bench_state *state = &course->bench->at[number];
    if (course->bench->latency == ST_LATENCY_MEMORY)
        return ST_OK;
    if (number == STATE_COLD)
        return cache_clear(course, run, state, error);
    return cache_warm(course, run, state, error);
}

/* ------------------------------------------------------------------------------- the course */

static st_status way_run(struct course *course, int number, unsigned way, st_error *error)
{
    struct run run;
    struct stopwatch watch;
    struct bench_result *result = &course->bench->at[number].results[way];
    progress_part(&course->progress, course->bench->bytes);
    st_status status = run_open(course->bench, &run, error);
    if (status == ST_OK)
        status = cache_prepare(course, &run, number, error);
    if (status == ST_OK)
        status = load_time(course, &run, way, &watch, error);
    if (status == ST_OK) {
        st_load_explain(run.load, 0, &result->said);
        result->series.bytes = course->bench->bytes;
        series_add(&result->series, course->bench, &watch);
    }
    run_close(&run);
    return status;
}

/* Reads one file after the other. */
static st_status disk_run(const struct bench *bench, struct ceiling *all, st_error *error)
{
    st_status status = ST_OK;
    struct stopwatch watch = {.seconds = 0};
    for (size_t i = 0; i < bench->files.count && status == ST_OK; i++) {
        status = ceiling_disk(all, bench->files.at[i], error);
        watch.seconds += all->watch.seconds;
        watch.cpu += all->watch.cpu;
        all->before += all->bytes;
    }
    all->watch = watch;
    all->bytes = all->before;
    return status;
}

/* The disk's when cold, the memory's when warm. */
static st_status ceiling_run(struct course *course, int number, st_error *error)
{
    st_error why;
    const struct bench *bench = course->bench;
    struct bench_state *state = &course->bench->at[number];
    struct ceiling ceiling = {.bytes = bench->bytes, .progress = &course->told};
    progress_part(&course->progress, bench->bytes);
    if (*state->no_ceiling)
        return ST_OK;
    st_status status = number == STATE_COLD
                           ? disk_run(bench, &ceiling, &why)
                           : ceiling_memory(&ceiling, bench->ahead ? bench->ahead : bench->bytes,
                                            course->threads, &why);
    if (status == ST_ERR_STOPPED)
        return stopped(bench, error);
    if (status != ST_OK) {
        snprintf(state->no_ceiling, sizeof state->no_ceiling, "%.290s", why.message);
        return ST_OK;
    }
    state->ceiling.bytes = ceiling.bytes;
    series_add(&state->ceiling, bench, &ceiling.watch);
    return ST_OK;
}

/* Takes turns, so that what else goes on strikes all alike. */
static st_status state_run(struct course *course, int number, st_error *error)
{
    const struct bench *bench = course->bench;
    struct bench_state *state = &course->bench->at[number];
    st_status status = ST_OK;
    if (*state->reason)
        return ST_OK;
    for (size_t i = 0; i < bench->runs && status == ST_OK; i++) {
        status = ceiling_run(course, number, error);
        for (unsigned way = 0; way < WAYS && status == ST_OK; way++)
            if (bench->ways & 1u << way)
                status = way_run(course, number, way, error);
    }
    series_sum(&state->ceiling);
    state->ceiling.rate = rate_of(&state->ceiling, state->ceiling.low);
    for (unsigned way = 0; way < WAYS; way++)
        series_sum(&state->results[way].series);
    return status;
}

/* Looks at what was opened: how large it is, where it lies, and whether there is room for it. */
static st_status run_look(const struct run *run, struct bench *bench, st_error *error)
{
    st_explanation said;
    bench->tensors = run->count;
    bench->bytes = st_checkpoint_data_size(run->checkpoint);
    if (bench->bytes == 0)
        return error_fill(error, ST_ERR_NOT_FOUND, "%.300s: it has no bytes to load", bench->path);
    for (size_t i = 0; i < st_checkpoint_file_count(run->checkpoint); i++)
        bench->size += st_file_size(st_checkpoint_file(run->checkpoint, i));
    st_status status =
        st_file_explain(st_checkpoint_file(run->checkpoint, 0), NULL, NULL, &said, error);
    if (status != ST_OK)
        return status;
    bench->latency = said.latency;
    if (!bench->ahead && bench->bytes > said.memory / MEMORY_PART)
        bench->ahead = AHEAD;
    return ST_OK;
}

static st_status files_look(struct bench *bench, st_error *error)
{
    struct run run;
    st_status status = run_open(bench, &run, error);
    if (status == ST_OK)
        status = run_look(&run, bench, error);
    run_close(&run);
    if (status == ST_OK)
        status = input_list(bench->path, bench->common, &bench->files, error);
    return status;
}

static unsigned cpu_count(void)
{
    /* As many as the library takes by itself. */
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > 8 ? 8 : (unsigned)count;
}

static uint64_t work_of(const struct bench *bench)
{
    uint64_t kinds = 0;
    for (int i = 0; i < STATES; i++) {
        if (*bench->at[i].reason)
            continue;
        kinds++;
        for (unsigned way = 0; way < WAYS; way++)
            kinds += bench->ways >> way & 1u;
    }
    return kinds * bench->runs * bench->bytes;
}

static void states_prepare(struct bench *bench)
{
    for (int i = 0; i < STATES; i++) {
        bench->at[i].resident = UINT64_MAX;
        if (!(bench->states & 1u << i))
            snprintf(bench->at[i].reason, sizeof bench->at[i].reason, "not asked for");
    }
    if (bench->latency == ST_LATENCY_MEMORY && bench->states & 1u << STATE_COLD)
        snprintf(bench->at[STATE_COLD].reason, sizeof bench->at[STATE_COLD].reason,
                 "the file lies in memory");
}

st_status bench_run(struct bench *bench, st_error *error)
{
    struct course course = {.bench = bench,
                            .threads = bench->threads ? bench->threads : cpu_count()};
    st_status status = files_look(bench, error);
    if (status != ST_OK)
        return status;
    states_prepare(bench);
    progress_start(&course.progress, work_of(bench));
    course.told = progress_callback(&course.progress);
    for (int i = 0; i < STATES && status == ST_OK; i++)
        status = state_run(&course, i, error);
    progress_end(&course.progress);
    return status;
}

void bench_release(struct bench *bench)
{
    input_paths_release(&bench->files);
    for (int i = 0; i < STATES; i++) {
        series_release(&bench->at[i].ceiling);
        for (unsigned way = 0; way < WAYS; way++)
            series_release(&bench->at[i].results[way].series);
    }
}
