/* SPDX-License-Identifier: Apache-2.0 */
/* Rules for names, as the search in other texts uses them. */
#ifndef ST_FORMAT_NAME_RULE_H
#define ST_FORMAT_NAME_RULE_H

#include "format/glob.h"

#include <safetensors/edit.h>

/* What a text is of a longer one: its beginning, and its end. */
enum { ST__TEXT_BEGINS = 1, ST__TEXT_ENDS = 2 };

/* Tells whether a part of a text may match, and not only all of it. */
bool st__name_rule_is_partial(const st_name_rule *rule);

/* Finds what matches in a text: all of it, or the first part and there the longest. `where->at` is NULL where
 * nothing does. `place` is of ST__TEXT_…, for regular expressions. ST_OK; ST_ERR_NOMEM. */
st_status st__name_rule_find(const st_name_rule *rule, st__span text, uint32_t place,
                             st__span *where, st_error *error);

#endif
