/* SPDX-License-Identifier: Apache-2.0 */
#include "progress.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "chart.h"
#include "term.h"
#include "text.h"

#define SECOND   UINT64_C(1000000000)
#define INTERVAL (SECOND / 10)
/* Columns of a bar: fewer say nothing, more say no more. */
#define BAR_MIN 10
#define BAR_MAX 30

/* ------------------------------------------------------------------------------ signals */

static const int signals[] = {SIGINT, SIGTERM};
enum { SIGNALS = sizeof signals / sizeof signals[0] };

/* A signal has nowhere else to leave word. */
static volatile sig_atomic_t caught;
static struct sigaction before[SIGNALS];

static void catch (int number)
{
    caught = number;
}

static void signals_catch(void)
{
    struct sigaction action = {.sa_handler = catch, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < SIGNALS; i++) {
        sigaction(signals[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN) /* as in a job that runs in the background */
            sigaction(signals[i], &action, NULL);
    }
}

static void signals_restore(void)
{
    for (int i = 0; i < SIGNALS; i++)
        sigaction(signals[i], &before[i], NULL);
}

int progress_signal(void)
{
    return caught;
}

/* ------------------------------------------------------------------------------ drawing */

uint64_t progress_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* Prints "12 s", "3 min 05 s", "1 h 02 min". */
static void duration_print(char *text, size_t size, double seconds)
{
    uint64_t s = seconds < 1e9 ? (uint64_t)ceil(seconds) : UINT64_C(1000000000);
    unsigned rest = (unsigned)(s % 60), minutes = (unsigned)(s / 60 % 60);
    unsigned hours = (unsigned)(s / 3600);
    if (hours)
        snprintf(text, size, "%u h %02u min", hours, minutes);
    else if (minutes)
        snprintf(text, size, "%u min %02u s", minutes, rest);
    else
        snprintf(text, size, "%u s", rest);
}

/* One line: percentage, bar, bytes and rate, or files, time left, as far as they fit. */
struct line {
    char text[512];
    size_t columns;
    size_t room;
};

static void line_add(struct line *line, const char *part, size_t columns)
{
    size_t gap = line->columns ? 2 : 0;
    if (line->columns + gap + columns > line->room)
        return;
    strcat(line->text, gap ? "  " : "");
    strcat(line->text, part);
    line->columns += gap + columns;
}

static void line_make(struct line *line, const struct progress *progress, uint64_t done,
                      double seconds)
{
    if (progress->open) {
        char known[40];
        snprintf(known, sizeof known, "%" PRIu64 " %s", done, progress->unit);
        line_add(line, known, strlen(known));
        return;
    }
    double part = (double)done / (double)progress->total, rate = (double)done / seconds;
    char percent[16], count[64], speed[40] = "", left[48] = "", bar[CHART_BAR] = "";
    snprintf(percent, sizeof percent, "%3d%%", (int)(part * 100));
    if (progress->unit) {
        snprintf(count, sizeof count, "%" PRIu64 " of %" PRIu64 " %s", done, progress->total,
                 progress->unit);
    } else {
        snprintf(count, sizeof count, "%s of %s", text_bytes(done).text,
                 text_bytes(progress->total).text);
        snprintf(speed, sizeof speed, "%s/s", text_bytes((uint64_t)rate).text);
    }
    if (done) {
        duration_print(left, sizeof left - 6, (double)(progress->total - done) / rate);
        strcat(left, " left");
    }
    size_t others = strlen(percent) + 2 + strlen(count) + 2 + strlen(speed) + 2 + strlen(left) + 2;
    line_add(line, percent, strlen(percent));
    if (line->room >= others + BAR_MIN) {
        size_t columns = line->room - others < BAR_MAX ? line->room - others : BAR_MAX;
        for (size_t used = chart_bar(bar, part, columns, progress->utf8); used < columns; used++)
            strcat(bar, progress->utf8 ? "\u2591" : ".");
        line_add(line, bar, columns);
    }
    line_add(line, count, strlen(count));
    if (*speed)
        line_add(line, speed, strlen(speed));
    if (*left)
        line_add(line, left, strlen(left));
}

static void draw(struct progress *progress, uint64_t done, uint64_t now)
{
    struct line line = {.columns = 0};
    size_t width = progress->width ? progress->width : term_width(progress->stream);
    line.room = width > 1 ? width - 1 : 1; /* the last column would move some to the next line */
    if (line.room > 200)
        line.room = 200;
    line_make(&line, progress, done, (double)(now - progress->start) / (double)SECOND);
    fprintf(progress->stream, "\r%s", line.text);
    for (size_t i = line.columns; i < progress->drawn; i++)
        fputc(' ', progress->stream);
    fflush(progress->stream);
    progress->drawn = line.columns;
    progress->drawn_at = now;
}

static void tick(struct progress *progress, uint64_t done, uint64_t total)
{
    uint64_t now = progress->clock();
    if (now - progress->start < progress->delay ||
        (progress->drawn_at && now - progress->drawn_at < INTERVAL))
        return;
    /* Where bytes are read more than once, `total` is more than the part has. */
    if (total != progress->part)
        done = total ? (uint64_t)((double)done / (double)total * (double)progress->part + 0.5) : 0;
    done += progress->before;
    draw(progress, done < progress->total || progress->open ? done : progress->total, now);
}

static bool told(void *ctx, uint64_t done, uint64_t total)
{
    struct progress *progress = ctx;
    if (progress->stream && progress->total)
        tick(progress, done, total);
    return progress_signal() == 0;
}

/* --------------------------------------------------------------------------- the object */

void progress_start(struct progress *progress, uint64_t total)
{
    *progress = (struct progress){.stream = term_is(stderr) ? stderr : NULL,
                                  .utf8 = term_has_utf8(),
                                  .clock = progress_now,
                                  .delay = SECOND,
                                  .total = total};
    progress->start = progress->clock();
    signals_catch();
}

void progress_start_files(struct progress *progress, uint64_t total)
{
    progress_start(progress, total);
    progress->unit = "files";
}

void progress_end(struct progress *progress)
{
    progress_hide(progress);
    signals_restore();
}

void progress_part(struct progress *progress, uint64_t size)
{
    progress->before += progress->part;
    progress->part = size;
}

bool progress_file(struct progress *progress)
{
    progress_part(progress, 1);
    return told(progress, 0, 1);
}

st_progress progress_callback(struct progress *progress)
{
    return (st_progress){told, progress};
}

void progress_hide(struct progress *progress)
{
    if (progress->drawn == 0)
        return;
    fputc('\r', progress->stream);
    for (size_t i = 0; i < progress->drawn; i++)
        fputc(' ', progress->stream);
    fputc('\r', progress->stream);
    fflush(progress->stream);
    progress->drawn = 0;
}
