/* SPDX-License-Identifier: Apache-2.0 */
/* The units of a header but for tensors' entries, and reporting what is wrong with any. */
#include "format/scan.h"
#include "base/alloc.h"
#include "base/error.h"

#include <stdio.h>
#include <string.h>

bool st__scan_deviates(st__scan *scan, st__rule rule, uint64_t offset, const char *name,
                       size_t name_len, const char *format, ...)
{
    bool error = st__rule_severity(rule, scan->flags) == ST_SEVERITY_ERROR;
    if (!scan->sink)
        return error ? st__scan_stop(scan, ST__UNIT_DEVIATES) : true;
    if (!st__scan_wants(scan, rule))
        return true;
    st__deviation deviation = {.rule = rule, .offset = offset, .name = name, .name_len = name_len};
    size_t used = 0, room = sizeof deviation.message;
    if (name)
        used = (size_t)snprintf(deviation.message, room,
                                "tensor %s: ", st__quote(name, name_len).text);
    va_list args;
    va_start(args, format);
    vsnprintf(deviation.message + used, room - used, format, args);
    va_end(args);
    size_t len = strlen(deviation.message);
    deviation.message[st__utf8_cut(deviation.message, len)] = '\0';
    return scan->sink->report(scan->sink->ctx, &deviation) || st__scan_stop(scan, ST__UNIT_STOPPED);
}

/* ------------------------------------------------------------------------------- members */

bool st__scan_member_end(st__scan *scan)
{
    st__json *json = &scan->json;
    st__json_space(json);
    if (*json->p == ',') {
        json->p++;
        st__json_space(json);
        scan->phase = ST__PHASE_MEMBERS;
        return true;
    }
    if (!st__json_take(json, '}', "expected ',' or '}'"))
        return st__scan_fault(scan);
    scan->phase = ST__PHASE_TAIL;
    return true;
}

bool st__name_suspect(const char *text, size_t len)
{
    if (len == 0)
        return true;
    size_t plain = 0;
    while (plain < len && (unsigned char)text[plain] >= ' ' && (unsigned char)text[plain] < 0x7f)
        plain++;
    for (size_t i = plain; i < len;) {
        uint32_t c = 0;
        size_t n = st__utf8_decode((const unsigned char *)text + i, len - i, &c);
        if (n == 0 || st__char_hidden(c))
            return true;
        i += n;
    }
    return false;
}

/* ------------------------------------------------------------------------------ metadata */

/* Doubles the room for metadata. */
static bool metadata_grow(st__scan *scan)
{
    st_header *header = scan->header;
    size_t old = header->metadata_capacity, grown = old ? old * 2 : 16;
    void *moved = st__realloc(header->context, header->metadata, old * sizeof *header->metadata,
                              grown * sizeof *header->metadata);
    if (!moved)
        return false;
    header->metadata = moved;
    header->metadata_capacity = grown;
    if (!scan->sink)
        return true;
    uint32_t *places = st__realloc(header->context, scan->metadata_places, old * sizeof *places,
                                   grown * sizeof *places);
    if (!places)
        return false;
    scan->metadata_places = places;
    scan->metadata_places_capacity = grown;
    return true;
}

/* Repeated keys must not fill the memory before they are found out, so a large table is looked through before
 * it grows: once without a sink, where that ends the reading, and always with one, where it makes room. */
static bool metadata_room(st__scan *scan)
{
    enum { LARGE = 1 << 20 };
    st_header *header = scan->header;
    if (header->metadata_count < header->metadata_capacity)
        return true;
    if (header->metadata_count == LARGE || (header->metadata_count > LARGE && scan->sink)) {
        st__unit unit = st__metadata_unique(scan);
        if (unit != ST__UNIT_OK)
            return st__scan_stop(scan, unit);
        if (header->metadata_count < header->metadata_capacity / 2)
            return true;
    }
    return metadata_grow(scan) || st__scan_stop(scan, ST__UNIT_NOMEM);
}

static bool metadata_append(st__scan *scan, const st_metadata *entry, const unsigned char *key_at)
{
    st_header *header = scan->header;
    if (!metadata_room(scan))
        return false;
    if (scan->sink)
        scan->metadata_places[header->metadata_count] =
            (uint32_t)(st__scan_offset(scan, key_at) - 8);
    header->metadata[header->metadata_count++] = *entry;
    return true;
}

/* `"__metadata__"` with an object: its opening brace, and the closing one where it is empty. */
static bool metadata_object(st__scan *scan)
{
    st__json *json = &scan->json;
    json->p++;
    st__json_space(json);
    if (json->p == json->end)
        return st__json_fail(json, ST__JSON_SYNTAX, json->p, "expected a key") ||
               st__scan_fault(scan);
    bool empty = *json->p == '}';
    json->p += empty;
    scan->phase = ST__PHASE_METADATA;
    if (empty && !st__scan_member_end(scan))
        return false;
    scan->header->has_metadata = scan->metadata_seen = true;
    return true;
}

/* Takes what stands from `at` to the cursor as the text of an entry. */
static void metadata_text(st__scan *scan, st_metadata *entry, const unsigned char *at)
{
    size_t len = (size_t)(scan->json.p - at);
    memcpy(scan->text, at, len);
    scan->text[len] = '\0';
    entry->value = scan->text;
    entry->value_len = (uint32_t)len;
    scan->text += len + 1;
}

/* The same of a `"__metadata__"` that is none: under that key it is kept. */
static bool metadata_wrap(st__scan *scan, const unsigned char *name_at, const unsigned char *at)
{
    static const char key[] = "__metadata__";
    st_metadata entry = {.key = scan->text, .key_len = sizeof key - 1};
    memcpy(scan->text, key, sizeof key);
    scan->text += sizeof key;
    scan->header->has_metadata = true;
    metadata_text(scan, &entry, at);
    return metadata_append(scan, &entry, name_at);
}

/* `"__metadata__":` and its value, or its opening brace. */
static bool metadata_member(st__scan *scan, const unsigned char *name_at)
{
    st__json *json = &scan->json;
    const unsigned char *at = json->p;
    if (scan->metadata_seen) {
        if (!st__scan_deviates(scan, ST__RULE_METADATA_TWICE, st__scan_offset(scan, name_at), NULL,
                               0, "__metadata__ appears twice"))
            return false;
        if (!st__scan_salvages(scan))
            return (st__json_skip(json, 1) || st__scan_fault(scan)) && st__scan_member_end(scan);
    }
    if (*at == '{')
        return metadata_object(scan);
    bool null = *at == 'n', array = *at == '[';
    st__rule rule = null ? ST__RULE_METADATA_NULL : ST__RULE_METADATA_TYPE;
    const char *text = null ? "__metadata__ is null" : "__metadata__ is not an object of strings";
    uint64_t offset = st__scan_offset(scan, at);
    if (array && !st__scan_deviates(scan, rule, offset, NULL, 0, "%s", text))
        return false;
    if (!st__json_skip(json, 1))
        return st__scan_fault(scan);
    if (!array && !st__scan_deviates(scan, rule, offset, NULL, 0, "%s", text))
        return false;
    if (!null && st__scan_salvages(scan) && !metadata_wrap(scan, name_at, at))
        return false;
    if (!st__scan_member_end(scan))
        return false;
    scan->metadata_seen = true;
    return true;
}

/* A string at the cursor, decoded into the arena and terminated there. */
static bool arena_string(st__scan *scan, char **out, size_t *len)
{
    *out = scan->text;
    if (!st__json_string(&scan->json, (unsigned char *)scan->text, len))
        return st__scan_fault(scan);
    scan->text[*len] = '\0';
    scan->text += *len + 1;
    return true;
}

/* One `"key": "value"` and what follows it. */
static bool metadata_entry(st__scan *scan)
{
    st__json *json = &scan->json;
    st__json_space(json);
    const unsigned char *key_at = json->p;
    char *key, *value = NULL;
    size_t key_len, value_len = 0;
    if (*key_at != '"')
        return st__json_fail(json, ST__JSON_SYNTAX, key_at, "expected a key") ||
               st__scan_fault(scan);
    if (!arena_string(scan, &key, &key_len))
        return false;
    st__json_space(json);
    if (!st__json_take(json, ':', "expected ':'"))
        return st__scan_fault(scan);
    st__json_space(json);
    const unsigned char *at = json->p;
    if (*at == '"') {
        if (!arena_string(scan, &value, &value_len))
            return false;
    } else {
        bool container = *at == '{' || *at == '[';
        for (int pass = 0; pass < 2;
             pass++) { /* a container is judged before, a scalar behind its text */
            if (pass == container
                    ? !(st__json_skip(json, 2) || st__scan_fault(scan))
                    : !st__scan_deviates(scan, ST__RULE_METADATA_TYPE, st__scan_offset(scan, at),
                                         NULL, 0, "metadata %s is not a string",
                                         st__quote(key, key_len).text))
                return false;
        }
    }
    st_metadata entry = {key, (uint32_t)key_len, (uint32_t)value_len, value};
    if (!value && st__scan_salvages(scan))
        metadata_text(scan, &entry, at);
    if (value && scan->sink && key_len && st__name_suspect(key, key_len) &&
        !st__scan_deviates(scan, ST__RULE_METADATA_SUSPECT, st__scan_offset(scan, key_at), NULL, 0,
                           "metadata key %s holds control or invisible characters",
                           st__quote(key, key_len).text))
        return false;
    st__json_space(json);
    bool more = *json->p == ',';
    if (more) {
        json->p++;
        st__json_space(json);
    } else if (!st__json_take(json, '}', "expected ',' or '}'")) {
        return st__scan_fault(scan);
    } else if (!st__scan_member_end(scan)) {
        return false;
    }
    if (entry.value && !metadata_append(scan, &entry, key_at)) {
        scan->phase = ST__PHASE_METADATA;
        return false;
    }
    return true;
}

/* --------------------------------------------------------------------------------- units */

static bool member(st__scan *scan)
{
    st__json *json = &scan->json;
    st__json_space(json);
    const unsigned char *name_at = json->p;
    char *name;
    size_t len;
    if (*name_at != '"')
        return st__json_fail(json, ST__JSON_SYNTAX, name_at, "expected a key") ||
               st__scan_fault(scan);
    if (!arena_string(scan, &name, &len))
        return false;
    const unsigned char *name_end = json->p - 1;
    st__json_space(json);
    if (!st__json_take(json, ':', "expected ':'"))
        return st__scan_fault(scan);
    st__json_space(json);
    if (len == 12 && memcmp(name, "__metadata__", 12) == 0) {
        scan->text = name;
        return metadata_member(scan, name_at);
    }
    return st__scan_entry(scan, name_at, name, len, name_end);
}

/* The top object's opening brace. */
static bool start(st__scan *scan)
{
    st__json *json = &scan->json;
    const unsigned char *first = json->p;
    st__json_space(json);
    const unsigned char *at = json->p;
    if (*at != '{') {
        if (*at != '[' && !st__json_skip(json, 0))
            return st__scan_fault(scan);
        return st__scan_deviates(scan, ST__RULE_HEADER_TYPE, st__scan_offset(scan, at), NULL, 0,
                                 "the header is not an object") &&
               st__scan_stop(scan, ST__UNIT_FATAL);
    }
    json->p++;
    st__json_space(json);
    if (json->p == json->end)
        return st__json_fail(json, ST__JSON_SYNTAX, json->p, "expected a key") ||
               st__scan_fault(scan);
    if (at != first &&
        !st__scan_deviates(scan, ST__RULE_LEADING_SPACE, st__scan_offset(scan, first), NULL, 0,
                           "%llu blanks stand before the header's {",
                           (unsigned long long)(at - first)))
        return false;
    bool empty = *json->p == '}';
    json->p += empty;
    scan->phase = empty ? ST__PHASE_TAIL : ST__PHASE_MEMBERS;
    return true;
}

/* Everything behind the top object's closing brace, as far as the window goes. */
static bool tail(st__scan *scan)
{
    st__json *json = &scan->json;
    for (; json->p < json->end; json->p++) {
        unsigned char c = *json->p;
        if (c == ' ')
            continue;
        if (c != '\t' && c != '\n' && c != '\r')
            return st__json_fail(json, ST__JSON_SYNTAX, json->p,
                                 "something stands behind the header's object") ||
                   st__scan_fault(scan);
        if (!scan->padding_reported &&
            !st__scan_deviates(scan, ST__RULE_PADDING, st__scan_offset(scan, json->p), NULL, 0,
                               "byte 0x%02x in the padding, which should be spaces", c))
            return false;
        scan->padding_reported = true;
    }
    if (!scan->final)
        return st__json_fail(json, ST__JSON_SYNTAX, json->p, "") || st__scan_fault(scan);
    return st__scan_stop(scan, ST__UNIT_END);
}

void st__scan_rewind(st__scan *scan, const unsigned char *unit, char *text)
{
    st__dims *chunk = scan->header->dims;
    if (chunk)
        chunk->used = chunk == scan->rewind_chunk ? scan->rewind_used : 0;
    scan->json.p = unit;
    scan->json.fault = 0;
    scan->text = text;
}

st__unit st__scan_unit(st__scan *scan)
{
    st__dims *chunk = scan->header->dims;
    scan->rewind_chunk = chunk;
    scan->rewind_used = chunk ? chunk->used : 0;
    bool ok = false;
    switch (scan->phase) {
    case ST__PHASE_START: ok = start(scan); break;
    case ST__PHASE_MEMBERS: ok = member(scan); break;
    case ST__PHASE_METADATA: ok = metadata_entry(scan); break;
    case ST__PHASE_TAIL: ok = tail(scan); break;
    }
    return ok ? ST__UNIT_OK : scan->outcome;
}
