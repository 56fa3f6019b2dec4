/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs: each is defined by the cmd_*.c of its name, and listed in main.c. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include "verb.h"

extern const struct verb verb_ls;
extern const struct verb verb_show;
extern const struct verb verb_view;
extern const struct verb verb_check;
extern const struct verb verb_stats;
extern const struct verb verb_hash;
extern const struct verb verb_diff;
extern const struct verb verb_grep;
extern const struct verb verb_report;
extern const struct verb verb_copy;
extern const struct verb verb_edit;
extern const struct verb verb_split;
extern const struct verb verb_merge;
extern const struct verb verb_cat;
extern const struct verb verb_repair;
extern const struct verb verb_bench;
extern const struct verb verb_meta_get;
extern const struct verb verb_meta_export;
extern const struct verb verb_meta_set;
extern const struct verb verb_meta_rm;
extern const struct verb verb_meta_import;
extern const struct verb verb_meta_edit;
extern const struct verb verb_help;
extern const struct verb verb_generate;

#endif
