/* SPDX-License-Identifier: Apache-2.0 */
/* Usage lines and help, from the verbs' tables. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stdio.h>

#include "verb.h"

/* Prints "usage: …". */
void help_usage(FILE *stream, const struct verb *verb);
/* Prints the help of a verb, of the program for &verb_main, or of a group of verbs, which has a
 * name and nothing to say about it; gives the exit code. */
int help_verb(const struct verb *verb);

#endif
