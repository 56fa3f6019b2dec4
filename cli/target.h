/* SPDX-License-Identifier: Apache-2.0 */
/* Where a verb writes a file, and how carefully. */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include <safetensors/safetensors.h>

#include "json.h"
#include "opt.h"

/* What the options of a verb that writes hold for it. */
struct target {
    const char *path; /* "-" is standard output */
    int durability;   /* index into target_durabilities */
    int cache;        /* ST_CACHE_… */
    bool no_clobber;
    bool dry_run; /* nothing is written */
};

/* What --durability takes, and what it means to the library: ST_DURABLE_…. */
extern const char *const target_durabilities[];
uint32_t target_durable(int durability);
#define TARGET_DURABILITY_DEFAULT 2

/* The rows of a table for a struct target that is the field `field` of `options`. */
#define TARGET_ROW_PATH(options, field)                                                     \
 {                                                                                          \
  OPT_FILE, 'o', "output", offsetof(struct options, field) + offsetof(struct target, path), \
      .arg = "OUT", .help = "Write this file; - is standard output."                        \
 }
#define TARGET_ROW_DURABILITY(options, field)                                                  \
 {                                                                                             \
  OPT_CHOICE, 'D', "durability",                                                               \
      offsetof(struct options, field) + offsetof(struct target, durability),                   \
      .arg = "WHAT", .choices = target_durabilities,                                           \
      .help = "What survives a power cut once the program has ended: each new file under its " \
              "name (name, the default); the old file or the new one, whole (file); or "       \
              "perhaps neither (none: nothing is waited for)."                                 \
 }
#define TARGET_ROW_CLOBBER(options, field, what)                                          \
 {                                                                                        \
  OPT_FLAG, 0, "no-clobber",                                                              \
      offsetof(struct options, field) + offsetof(struct target, no_clobber), .help = what \
 }

#define TARGET_ROW_DRY_RUN(options, field, what)                                                \
 {                                                                                              \
  OPT_FLAG, 'n', "dry-run", offsetof(struct options, field) + offsetof(struct target, dry_run), \
      .help = what                                                                              \
 }

/* Checks that what goes to standard output is welcome there. Gives OPT_GO, or the exit code. */
int target_check(const struct verb *verb, const struct target *target, const struct common *common);
/* Gives the sinks' options. */
st_sink_options target_options(const struct target *target);
/* Opens it. */
st_status target_open(const struct target *target, st_sink **out, st_error *error);

/* Refuses what opening would refuse: for a dry run. */
st_status target_look(const struct target *target, st_error *error);
/* The same where its path is to be a folder. */
st_status target_look_folder(const struct target *target, st_error *error);
/* The same of a name in that folder, which may be taken. */
st_status target_look_in(const struct target *target, const char *name, st_error *error);

/* What a verb that makes one new file, or one folder of them, says of it. */
struct made {
    uint64_t tensors;
    uint64_t size;
    double seconds;
};
/* Says it on a terminal; of a dry run to a pipe too: path, bytes, tensors, with tabs between. */
void target_print(const struct target *target, const struct made *made, struct out *out);
/* Says it as members of the file's object. */
void target_json(const struct target *target, const struct made *made, struct json *json);

#endif
