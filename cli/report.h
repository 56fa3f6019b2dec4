/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page that report writes. Its skeleton is report/report.html, whose slots, names in double braces, are
 * filled by the functions below; report.css and report.js stand in it as they are. The page tells what it may
 * load and run, nothing but these two, by a Content-Security-Policy with their hashes.
 *
 * The tensors stand in it twice: as HTML, readable without scripts, and as JSON for the map, the filter, and
 * the order. From REPORT_ROWS tensors on only as JSON, and the script makes rows where they are looked at.
 */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include <safetensors/inspect.h>

#include "input.h"
#include "listing.h"
#include "out.h"
#include "tree.h"

/* The most tensors that have rows of HTML, each about 2 KB, and the most shards. */
#define REPORT_ROWS 2000
/* Bars of a histogram. */
#define REPORT_BINS 32

struct report {
    const char *path;
    const char *title; /* NULL: the file's name */
    const struct input *input;
    const st_tensor **tensors; /* those picked, by offset */
    size_t count;
    const st_stats *stats; /* of each; all zero where the dtype is unknown. NULL: not wanted */
    struct tree tree;
    struct totals *dtypes; /* the one with the most bytes first */
    size_t dtype_count;
    struct totals all;
    bool filtered;
    struct out *out;
};

/* Writes the whole page. */
void report_write(const struct report *report);

/* What fills the slots. */
void report_tiles(const struct report *report);
void report_facts(const struct report *report);
void report_shards(const struct report *report);
void report_dtypes(const struct report *report);
void report_notices(const struct report *report);
void report_metadata(const struct report *report);
void report_tensors(const struct report *report);
void report_data(const struct report *report);

/* Gives the place of a tensor in `tensors`. */
size_t report_index(const struct report *report, const st_tensor *tensor);
/* Gives where a tensor lies in its file. */
uint64_t report_offset(const struct report *report, const st_tensor *tensor);
/* Gives the place of a dtype in `dtypes`, which is also that of its colour. */
size_t report_dtype(const struct report *report, st_dtype dtype);
/* Tells whether there are statistics of a tensor. */
bool report_measured(const struct report *report, size_t index);

#endif
