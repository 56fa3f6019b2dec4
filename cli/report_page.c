/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <string.h>

#include "html.h"
#include "report_assets.h"

static const char *path_of(const struct report *report)
{
    return strcmp(report->path, "-") == 0 ? "standard input" : report->path;
}

static void title_write(const struct report *report)
{
    const char *title = report->title;
    if (!title || !*title) {
        const char *path = path_of(report), *slash = strrchr(path, '/');
        title = slash && slash[1] ? slash + 1 : path;
    }
    html_text(report->out, title, strlen(title), 0);
}

static void path_write(const struct report *report)
{
    html_text(report->out, path_of(report), strlen(path_of(report)), 0);
}

static void version_write(const struct report *report)
{
    int version = st_version();
    out_print(report->out, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}

static void style_write(const struct report *report)
{
    out_write(report->out, (const char *)report_css, report_css_size);
}

static void style_hash_write(const struct report *report)
{
    out_text(report->out, report_css_hash);
}

static void script_write(const struct report *report)
{
    out_write(report->out, (const char *)report_js, report_js_size);
}

static void script_hash_write(const struct report *report)
{
    out_text(report->out, report_js_hash);
}

/* The class of a list that has statistics. */
static void measured_write(const struct report *report)
{
    out_text(report->out, report->stats ? " measured" : "");
}

struct slot {
    const char *name;
    void (*write)(const struct report *report);
};

static const struct slot slots[] = {
    {"title", title_write},
    {"path", path_write},
    {"version", version_write},
    {"style", style_write},
    {"style-hash", style_hash_write},
    {"script", script_write},
    {"script-hash", script_hash_write},
    {"tiles", report_tiles},
    {"notices", report_notices},
    {"facts", report_facts},
    {"shards", report_shards},
    {"dtypes", report_dtypes},
    {"tensors", report_tensors},
    {"measured", measured_write},
    {"metadata", report_metadata},
    {"data", report_data},
};

static void slot_write(const struct report *report, const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++)
        if (strlen(slots[i].name) == len && memcmp(slots[i].name, name, len) == 0)
            slots[i].write(report);
}

void report_write(const struct report *report)
{
    const char *at = (const char *)report_html, *end = at + report_html_size;
    while (at < end) {
        const char *open = memmem(at, (size_t)(end - at), "{{", 2);
        const char *close = open ? memmem(open, (size_t)(end - open), "}}", 2) : NULL;
        if (!close)
            break;
        out_write(report->out, at, (size_t)(open - at));
        slot_write(report, open + 2, (size_t)(close - open - 2));
        at = close + 2;
    }
    out_write(report->out, at, (size_t)(end - at));
}
