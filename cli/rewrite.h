/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs that change a file have in common: where the new one goes, and how it is written. */
#ifndef CLI_REWRITE_H
#define CLI_REWRITE_H

#include <safetensors/checkpoint.h>

#include "input.h"
#include "layout.h"
#include "progress.h"
#include "target.h"

struct rewrite_options {
    struct target target; /* its path NULL: FILE itself */
    struct layout layout; /* no alignment: as st_edit_options has it */
    uint32_t order;       /* ST_EDIT_ORDER_… */
    bool in_place;
};

/* The rows of a verb whose options have the field `field`, a struct rewrite_options. */
#define REWRITE_ROWS(options, field)                                                               \
 {OPT_FILE,                                                                                        \
  'o',                                                                                             \
  "output",                                                                                        \
  offsetof(struct options, field.target.path),                                                     \
  .arg = "OUT",                                                                                    \
  .help = "Write the new file here, and leave FILE as it is; - is standard output. Of a "          \
          "folder or an index OUT is a folder, which is made if it is not there."},                \
     {OPT_FLAG, 'i', "in-place", offsetof(struct options, field.in_place),                         \
      .help = "Change the bytes where they are, for a file that is too large to be written anew: " \
              "milliseconds, if the header has room (copy --reserve). Who reads the file "         \
              "meanwhile may see some of the new bytes and not others; after a crash the next "    \
              "verb that writes, or safetensors repair, puts the old ones back."},                 \
     TARGET_ROW_CLOBBER(options, field.target, "With --output: fail if OUT is there already."),    \
     TARGET_ROW_DRY_RUN(options, field.target,                                                     \
                        "Print what would be changed, and change nothing."),                       \
     TARGET_ROW_DURABILITY(options, field.target), LAYOUT_ROW_RESERVE(options, field.layout)

/* Checks what the options ask for of `path`. Gives OPT_GO, or the exit code. */
int rewrite_check(const struct verb *verb, const struct rewrite_options *options,
                  const struct common *common, const char *path);

/* Writes a changed file, or the files of a changed checkpoint: all of them or none. */
struct rewrite {
    const struct rewrite_options *options;
    const struct input *input;
    /* Lists the changes in rewrite_edit; sets `changed` if there are any. */
    st_status (*fill)(struct rewrite *rewrite, st_error *error);
    void *ctx;
    bool changed;
    struct progress
        *progress; /* of many such; NULL: rewrite_run has one of its own, set for `fill` */
    bool written;  /* set by rewrite_run, as is all below */
    st_edit_summary summary;
    double seconds;
    st_edit *edit;             /* while it runs, of a file */
    st_checkpoint_edit *edits; /* of a checkpoint */
};

/* Opens the input, as input_open does, put right first, if an edit of it was interrupted: nothing is made of half of
 * one. */
st_status rewrite_open(const struct rewrite_options *options, struct input *input, const char *path,
                       const struct common *common, st_error *error);
/* Makes the edit, and writes it, unless it is a dry run, or the file would be written over itself for nothing. */
st_status rewrite_run(struct rewrite *rewrite, st_error *error);
/* Gives the changes to file `index` of the input, while it runs. */
st_edit *rewrite_edit(const struct rewrite *rewrite, size_t index);
/* Tells in `summary` what the changes so far come to. */
st_status rewrite_look(struct rewrite *rewrite, st_error *error);
/* Gives the path that is written to. */
const char *rewrite_target(const struct rewrite *rewrite);
/* Says for people what was done, or would be. */
void rewrite_print(const struct rewrite *rewrite, struct out *out);
/* Says it as members of the file's object. */
void rewrite_json(const struct rewrite *rewrite, struct json *json);

#endif
