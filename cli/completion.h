/* SPDX-License-Identifier: Apache-2.0 */
/* Completions for shells, written from the verbs' tables. Tensors and keys are completed by asking
 * the program itself. */
#ifndef CLI_COMPLETION_H
#define CLI_COMPLETION_H

#include "out.h"

void completion_write_bash(struct out *out);
void completion_write_zsh(struct out *out);
void completion_write_fish(struct out *out);

#endif
