/* SPDX-License-Identifier: Apache-2.0 */
#include "checkpoint/rule.h"
#include "checkpoint/path.h"

#include <safetensors/checkpoint.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const st_rule index_rules[ST__INDEX_RULE_COUNT] = {
#define INDEX_RULE_ROW(name, id, severity, status, text) {id, severity, status, text},
    ST_INDEX_RULE_MAP(INDEX_RULE_ROW)
#undef INDEX_RULE_ROW
};

size_t st_checkpoint_rule_count(void)
{
    return ST__INDEX_RULE_COUNT;
}

const st_rule *st_checkpoint_rule_at(size_t index)
{
    return index < ST__INDEX_RULE_COUNT ? &index_rules[index] : NULL;
}

static st_status deviation_hand(const st__index_judge *judge, st__index_rule rule,
                                const st__index_place *place, const char *message)
{
    const st_rule *broken = &index_rules[rule];
    st_finding finding = {
        .rule = broken,
        .severity = broken->severity,
        .status = broken->status,
        .offset = place->offset,
        .name = place->name,
        .name_len = place->name_len,
        .message = message,
    };
    if (judge->sink->report(judge->sink->ctx, &finding))
        return ST_OK;
    return st__fail(judge->error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the check was stopped",
                    judge->name);
}

st_status st__index_deviate(const st__index_judge *judge, st__index_rule rule,
                            const st__index_place *place, const char *format, ...)
{
    char message[sizeof judge->error->message];
    size_t len = 0;
    va_list values;
    if (!judge->sink && index_rules[rule].severity != ST_SEVERITY_ERROR)
        return ST_OK;
    if (place->name)
        len = (size_t)snprintf(message, sizeof message,
                               "tensor %s: ", st__quote(place->name, place->name_len).text);
    va_start(values, format);
    if ((size_t)vsnprintf(message + len, sizeof message - len, format, values) >=
        sizeof message - len)
        message[st__utf8_cut(message, sizeof message - 1)] = '\0';
    va_end(values);
    if (judge->sink)
        return deviation_hand(judge, rule, place, message);
    if (place->offset == ST_NO_OFFSET)
        return st__fail(judge->error, index_rules[rule].status, ST_NO_OFFSET, "%s: %s", judge->name,
                        message);
    return st__fail(judge->error, index_rules[rule].status, place->offset,
                    "%s: %s, at byte %" PRIu64, judge->name, message, place->offset);
}

st_status st__index_deviate_by(const st__index_judge *judge, st__index_rule rule,
                               const st_error *error)
{
    size_t len = strlen(judge->name);
    const char *message = error->message;
    if (strncmp(message, judge->name, len) == 0 && strncmp(message + len, ": ", 2) == 0)
        message += len + 2;
    return deviation_hand(judge, rule, &(st__index_place){.offset = error->offset}, message);
}

/* ---------------------------------------------------------------------------- shards' names */

static bool climbs(const char *name, size_t len)
{
    for (size_t at = 0; at < len;) {
        const char *slash = memchr(name + at, '/', len - at);
        size_t part = slash ? (size_t)(slash - name) - at : len - at;
        if (part == 2 && memcmp(name + at, "..", 2) == 0)
            return true;
        at += part + 1;
    }
    return false;
}

const char *st__shard_name_fault(const char *name, size_t len)
{
    if (len == 0)
        return "is empty";
    if (memchr(name, '\0', len))
        return "holds a NUL";
    if (memchr(name, '\\', len))
        return "holds a backslash";
    if (name[0] == '/')
        return "is absolute";
    if (len > 1 && name[1] == ':')
        return "names a drive";
    if (climbs(name, len))
        return "climbs out of the folder";
    return st__name_ends(name, len, ".safetensors") ? NULL : "does not end in .safetensors";
}
