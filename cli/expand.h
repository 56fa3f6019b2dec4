/* SPDX-License-Identifier: Apache-2.0 */
/* Values of metadata that are JSON inside a string. */
#ifndef CLI_EXPAND_H
#define CLI_EXPAND_H

#include "json.h"

/* Tells whether a value is a JSON object or array, whole and valid. */
bool expand_is_json(const st_metadata *entry);
/* Emits a value; with `expand`, one that is JSON as what it is. */
void expand_emit(st_json_emitter *emitter, const st_metadata *entry, bool expand);
/* Prints one that is, indented, over several lines. */
void expand_print(struct out *out, const st_metadata *entry);

#endif
