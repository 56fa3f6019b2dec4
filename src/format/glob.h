/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns of names, as a shell's: `*`, `?`, `[a-z]`, `[!a-z]`, `\` before what stands for itself. */
#ifndef ST_FORMAT_GLOB_H
#define ST_FORMAT_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Stars that a pattern may have. */
enum { ST__GLOB_STARS_MAX = 32 };

/* A part of a name. */
typedef struct st__span {
    const char *at;
    size_t len;
} st__span;

/* Gives the number of stars, which may be more than ST__GLOB_STARS_MAX. */
size_t st__glob_stars(const char *pattern);

/* Tells whether the whole name matches, with `fold` whichever case the letters of ASCII have; `stars` receives what
 * each star matched, which is as little as there can be from left to right. */
bool st__glob_match(const char *pattern, const char *name, size_t len, bool fold,
                    st__span stars[ST__GLOB_STARS_MAX]);

#endif
