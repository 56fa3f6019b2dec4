/* SPDX-License-Identifier: Apache-2.0 */
/* How grave a deviation from the rules of the format is, in words and colours. */
#ifndef CLI_SEVERITY_H
#define CLI_SEVERITY_H

#include "out.h"

/* Gives "error", "warning" or "note". */
const char *severity_name(int32_t severity);
/* Prints it in its colour. */
void severity_print(struct out *out, int32_t severity);

#endif
