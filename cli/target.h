/* SPDX-License-Identifier: Apache-2.0 */
/* Where a verb writes a file, and how carefully. */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include <safetensors/safetensors.h>

#include "verb.h"

/* What the options of a verb that writes hold for it. */
struct target {
    const char *path; /* "-" is standard output */
    int durability;   /* index into target_durabilities */
    int cache;        /* ST_CACHE_… */
    bool no_clobber;
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
  OPT_FLAG, 'n', "no-clobber",                                                            \
      offsetof(struct options, field) + offsetof(struct target, no_clobber), .help = what \
 }

/* Opens it. */
st_status target_open(const struct target *target, st_sink **out, st_error *error);

#endif
