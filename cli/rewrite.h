/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs that change a file have in common: where the new one goes, and how it is written. */
#ifndef CLI_REWRITE_H
#define CLI_REWRITE_H

#include <safetensors/edit.h>

#include "json.h"
#include "opt.h"
#include "target.h"

struct rewrite_options {
    const char *output; /* NULL: FILE itself */
    uint64_t reserve;
    uint64_t alignment; /* 0: 4096 where the data section begins at a page, else 8 */
    uint32_t order;     /* ST_EDIT_ORDER_… */
    int durability;     /* index into target_durabilities */
    bool in_place;
    bool dry_run;
};

/* The rows of a verb whose options have the field `field`, a struct rewrite_options. */
#define REWRITE_ROWS(options, field)                                                               \
 {                                                                                                 \
     OPT_FILE,                                                                                     \
     'o',                                                                                          \
     "output",                                                                                     \
     offsetof(struct options, field.output),                                                       \
     .arg = "OUT",                                                                                 \
     .help = "Write the new file here, and leave FILE as it is. - is standard output."},           \
     {OPT_FLAG, 'i', "in-place", offsetof(struct options, field.in_place),                         \
      .help = "Change the bytes where they are, for a file that is too large to be written anew: " \
              "milliseconds, if the header has room (copy --reserve). Who reads the file "         \
              "meanwhile may see some of the new bytes and not others; after a crash the next "    \
              "edit in place, or safetensors repair, puts the old ones back."},                    \
     {OPT_FLAG, 'n', "dry-run", offsetof(struct options, field.dry_run),                           \
      .help = "Print what would be changed, and change nothing."},                                 \
     {OPT_CHOICE,                                                                                  \
      'D',                                                                                         \
      "durability",                                                                                \
      offsetof(struct options, field.durability),                                                  \
      .arg = "WHAT",                                                                               \
      .choices = target_durabilities,                                                              \
      .help =                                                                                      \
          "What survives a power cut once the program has ended: the new file under its name "     \
          "(name, the default); the old file or the new one, whole (file); or perhaps neither "    \
          "(none: nothing is waited for)."},                                                       \
 {                                                                                                 \
  OPT_SIZE, 'R', "reserve", offsetof(struct options, field.reserve),                               \
      .arg = "BYTES",                                                                              \
      .help = "Leave so much room in the header for later edits in place. K, M, and KiB, MiB "     \
              "count by 1024; KB, MB by 1000."                                                     \
 }

/* Checks what the options ask for of `path`. Gives OPT_GO, or the exit code. */
int rewrite_check(const struct verb *verb, const struct rewrite_options *options,
                  const struct common *common, const char *path);

/* Writes a changed file. */
struct rewrite {
    const struct rewrite_options *options;
    const char *path;
    const st_file *file;
    /* Lists the changes; sets `changed` if there are any. */
    st_status (*fill)(struct rewrite *rewrite, st_edit *edit, st_error *error);
    void *ctx;
    bool changed;
    bool written; /* set by rewrite_run, as is all below */
    st_edit_summary summary;
    double seconds;
};

/* Makes the edit, and writes it, unless it is a dry run, or the file would be written over itself for nothing. */
st_status rewrite_run(struct rewrite *rewrite, st_error *error);
/* Gives the path that is written to. */
const char *rewrite_target(const struct rewrite *rewrite);
/* Says for people what was done, or would be. */
void rewrite_print(const struct rewrite *rewrite, struct out *out);
/* Says it as members of the file's object. */
void rewrite_json(const struct rewrite *rewrite, struct json *json);

#endif
