/* SPDX-License-Identifier: Apache-2.0 */
#include "format/rule.h"

#include <string.h>

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

size_t st_rule_count(void)
{
    return ST__RULE_COUNT;
}

const st_rule *st_rule_at(size_t index)
{
    return index < ST__RULE_COUNT ? &st__rules[index].rule : NULL;
}

const st_rule *st_rule_find(const char *id, size_t id_len)
{
    for (size_t i = 0; i < ST__RULE_COUNT; i++) {
        const st_rule *rule = &st__rules[i].rule;
        if (strlen(rule->id) == id_len && memcmp(rule->id, id, id_len) == 0)
            return rule;
    }
    return NULL;
}
