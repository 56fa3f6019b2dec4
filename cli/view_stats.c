/* SPDX-License-Identifier: Apache-2.0 */
/* The statistics and the histogram of a tensor, measured when they are asked for. */
#include "facts.h"
#include "figures.h"
#include "progress.h"
#include "text.h"
#include "view.h"

/* Nanoseconds between two drawings of how far it is. */
#define INTERVAL UINT64_C(100000000)
/* Bins of the histogram: as many as fit below the counts and moments, which take so many rows. */
#define BINS_MIN    8
#define BINS_MAX    20
#define ROWS_BEFORE 10

static const double quantiles[] = {0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1};
#define QUANTILES (sizeof quantiles / sizeof quantiles[0])

/* Draws what is measured and nothing else, as what was drawn before fits the screen no longer. */
static void measuring_draw(const struct view *view)
{
    screen_begin();
    view_tensor_title(view, "statistics");
}

/* Tells whether a key that was typed meanwhile, or a signal, ends the measuring. */
static bool is_stopped(struct view *view)
{
    for (;;) {
        switch (screen_key(&view->screen, false)) {
        case SCREEN_NONE: return false;
        case SCREEN_RESIZE:
            measuring_draw(view);
            view->progress_drawn = 0;
            break;
        case SCREEN_END:
        case SCREEN_ESCAPE:
        case 'q':
        case 'Q': return true;
        default: break;
        }
    }
}

/* The bytes that are to be read are not the tensor's: for a histogram it is read twice. */
static void progress_show(struct view *view, uint64_t done, uint64_t total)
{
    int percent = total ? (int)(100.0 * (double)done / (double)total) : 0;
    view_say(view, STYLE_NOTE, "measuring: %d%% of %s   q or Esc: stop", percent,
             text_bytes(st_tensor_size(view_model_here(&view->model)->tensor)).text);
    view_last_row(view, "");
    screen_show();
    view->progress_drawn = progress_now();
}

static bool measured(void *ctx, uint64_t done, uint64_t total)
{
    struct view *view = ctx;
    if (is_stopped(view))
        return false;
    if (progress_now() - view->progress_drawn >= INTERVAL)
        progress_show(view, done, total);
    return true;
}

static uint32_t bins_choose(const struct view *view)
{
    int rows = view_body(view).rows - ROWS_BEFORE;
    return (uint32_t)(rows < BINS_MIN ? BINS_MIN : rows > BINS_MAX ? BINS_MAX : rows);
}

bool view_stats_open(struct view *view)
{
    st_error error;
    const st_file *file;
    const st_tensor *tensor = view_tensor(view, &file);
    st_stats_options options = {.quantiles = quantiles,
                                .quantile_count = QUANTILES,
                                .bin_count = bins_choose(view),
                                .progress = {measured, view}};
    st_stats stats;
    if (!tensor)
        return false;
    progress_show(view, 0, st_tensor_size(tensor));
    st_status status = st_stats_read(file, tensor, NULL, &options, &stats, &error);
    *view->message = '\0';
    if (status == ST_ERR_STOPPED)
        view_say(view, STYLE_WARNING, "stopped");
    else if (status != ST_OK)
        view_say(view, STYLE_ERROR, "%s", error.message);
    if (status != ST_OK)
        return false;
    st_stats_release(&view->stats);
    view->stats = stats;
    view_stats_print(view, false);
    return true;
}

bool view_stats_key(struct view *view, int key)
{
    if (view->pane != VIEW_STATS || key != 'L')
        return false;
    view->log = !view->log;
    view_stats_print(view, true);
    view_say(view, STYLE_NOTE, "bars as long as %s", view->log ? "logarithms" : "counts");
    return true;
}

void view_stats_print(struct view *view, bool again)
{
    struct out out;
    const struct view_node *node = view_model_here(&view->model);
    struct request request = {.file = input_file(view->input, node->file),
                              .tensor = node->tensor,
                              .shard = input_shard(view->input, node->file)};
    struct figures figures = {.quantiles = quantiles, .quantile_count = QUANTILES};
    view_text_begin(&view->text, &view->screen, &out);
    figures_print_counts(&view->stats, &out);
    if (view->stats.finite) {
        figures_print_moments(&view->stats, &out);
        out_text(&out, "\n");
        figures_print_chart(&view->stats, view->log, &out);
        out_text(&out, "\n");
        figures_print_quantiles(&figures, &view->stats, &out);
    }
    out_text(&out, "\n");
    facts_print(&request, &out);
    view_text_end(&view->text, &out, again);
}
