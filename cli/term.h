/* SPDX-License-Identifier: Apache-2.0 */
/* What the terminal and the environment say of themselves. */
#ifndef CLI_TERM_H
#define CLI_TERM_H

#include <stdbool.h>
#include <stdio.h>

/* Reads the locale; call it once, before anything is printed. */
void term_init(void);
bool term_is(FILE *stream);
/* Tells whether text is shown as UTF-8, by the locale that term_init found. */
bool term_has_utf8(void);
/* Tells whether NO_COLOR and TERM leave colours be. */
bool term_wants_color(void);
/* Gives the columns: of COLUMNS, else of the terminal, else 80. */
size_t term_width(FILE *stream);

#endif
