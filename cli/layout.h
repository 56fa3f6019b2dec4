/* SPDX-License-Identifier: Apache-2.0 */
/* How a verb lays out the files that it writes: the rows of its table, and what they mean to the library. */
#ifndef CLI_LAYOUT_H
#define CLI_LAYOUT_H

#include "verb.h"

struct layout {
    int order;          /* index into the choices of the row */
    uint64_t alignment; /* 0: not said */
    uint64_t reserve;
};

/* The choices of --order: the first one is the default. */
extern const char *const layout_canonical_choices[];
extern const char *const layout_file_choices[];
/* Give the ST_EDIT_ORDER_… of a choice of either. */
uint32_t layout_canonical_order(const struct layout *layout);
uint32_t layout_file_order(const struct layout *layout);

#define LAYOUT_FIELD(options, field, member) \
 offsetof(struct options, field) + offsetof(struct layout, member)

/* The rows for a struct layout that is the field `field` of `options`. */
#define LAYOUT_ROW_CANONICAL(options, field)                                                      \
 {                                                                                                \
  OPT_CHOICE, 'O', "order", LAYOUT_FIELD(options, field, order),                                  \
      .arg = "ORDER", .choices = layout_canonical_choices,                                        \
      .help = "Lay the tensors out in canonical order (the default: by dtype, the wide ones "     \
              "first, then by name, as the upstream writer does), in the order of the file they " \
              "come from, or by name."                                                            \
 }
#define LAYOUT_ROW_FILE(options, field)                                                        \
 {                                                                                             \
  OPT_CHOICE, 'O', "order", LAYOUT_FIELD(options, field, order),                               \
      .arg = "ORDER", .choices = layout_file_choices,                                          \
      .help = "Lay the tensors out in the order of the file they come from (the default), in " \
              "canonical order (by dtype, the wide ones first, then by name, as the upstream " \
              "writer does), or by name."                                                      \
 }
#define LAYOUT_ROW_ALIGN(options, field, unless)                                               \
 {                                                                                             \
  OPT_SIZE, 'A', "align", LAYOUT_FIELD(options, field, alignment),                             \
      .arg = "BYTES",                                                                          \
      .help = "Let the data start at a multiple of this: a power of 2 from 8 to 4096; " unless \
              " unless given."                                                                 \
 }
#define LAYOUT_ROW_RESERVE(options, field)                                                     \
 {                                                                                             \
  OPT_SIZE, 'R', "reserve", LAYOUT_FIELD(options, field, reserve),                             \
      .arg = "BYTES",                                                                          \
      .help = "Leave so much room in the header for later edits in place. K, M, and KiB, MiB " \
              "count by 1024; KB, MB by 1000."                                                 \
 }

/* Checks the alignment. Gives OPT_GO, or the exit code. */
int layout_check(const struct verb *verb, const struct layout *layout);

#endif
