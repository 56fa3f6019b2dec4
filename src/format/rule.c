/* SPDX-License-Identifier: Apache-2.0 */
#include "format/rule.h"

const st__rule_info st__rules[ST__RULE_COUNT] = {
#define RULE_ROW(name, id, stage, severity, status, text) {{id, severity, status, text}, stage},
    ST_RULE_MAP(RULE_ROW)
#undef RULE_ROW
};

int32_t st__rule_severity(st__rule rule, uint32_t flags)
{
    bool accepted = false;
    if (flags & ST_OPEN_UPSTREAM)
        accepted = rule == ST__RULE_NAME_DUPLICATE || rule == ST__RULE_METADATA_DUPLICATE ||
                   rule == ST__RULE_ENTRY_ARRAY || rule == ST__RULE_DTYPE_OBJECT;
    if (flags & ST_OPEN_UNKNOWN_DTYPES)
        accepted = accepted || rule == ST__RULE_DTYPE_UNKNOWN;
    return accepted ? ST_SEVERITY_WARNING : st__rules[rule].rule.severity;
}
