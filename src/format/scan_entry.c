/* SPDX-License-Identifier: Apache-2.0 */
/* The general parser of one entry: its fields in any legal form and order, and what is wrong with others. */
#include "format/scan.h"
#include "base/alloc.h"
#include "base/error.h"

#include <string.h>

/* One field's value being read, and what the whole entry has so far. */
typedef struct parsed {
    st__entry entry;
    unsigned seen;        /* 1 << ST__FIELD_… met */
    unsigned valid;       /* … with a value that can be used */
    unsigned fields;      /* of any name */
    st__key unknown_code; /* the dtype's, if it is unknown but accepted */
    bool dims_stored;
    bool plain;                         /* fit to be a pattern */
    const unsigned char *value_from[3]; /* by place in the text: the value's own bytes */
    const unsigned char *value_to[3];
    unsigned char order[3];
    uint64_t local_dims[64];
} parsed;

#define DEVIATES(scan, rule, at, parsed, ...)                                   \
 st__scan_deviates(scan, rule, st__scan_offset(scan, at), (parsed)->entry.name, \
                   (parsed)->entry.name_len, __VA_ARGS__)

static void value_span(parsed *e, int field, const unsigned char *from, const unsigned char *to)
{
    if (e->fields <= 3) {
        e->order[e->fields - 1] = (unsigned char)field;
        e->value_from[e->fields - 1] = from;
        e->value_to[e->fields - 1] = to;
    }
}

static bool dtype_named(st__scan *scan, parsed *e, const unsigned char *at, const char *code,
                        size_t len)
{
    e->entry.dtype = st_dtype_find(code, len);
    if (e->entry.dtype) {
        e->valid |= 1u << ST__FIELD_DTYPE;
        return true;
    }
    if (!DEVIATES(scan, ST__RULE_DTYPE_UNKNOWN, at, e,
                  "unknown dtype %s; known are BOOL, U8-U64, "
                  "I8-I64, F16, BF16, F32, F64, C64, F8_*, F6_*, F4",
                  st__quote(code, len).text))
        return false;
    e->unknown_code = (st__key){code, (uint32_t)len, 0};
    e->entry.dtype = ST_DTYPE_UNKNOWN;
    e->valid |= 1u << ST__FIELD_DTYPE;
    return true;
}

/* `{"U8":null}`, which upstream's reader takes for "U8". */
static bool dtype_object(st__scan *scan, parsed *e)
{
    st__json *json = &scan->json;
    const unsigned char *at = json->p;
    size_t len = 0;
    if (!st__json_skip(json, 2))
        return st__scan_fault(scan);
    const unsigned char *behind = json->p;
    char *code = scan->text;
    bool form = false;
    json->p = at + 1;
    st__json_space(json);
    if (*json->p == '"' && st__json_string(json, (unsigned char *)code, &len)) {
        st__json_space(json);
        json->p++; /* the colon: the object was checked whole */
        st__json_space(json);
        form = *json->p == 'n' && st__json_literal(json, "null");
        st__json_space(json);
        form = form && *json->p == '}';
    }
    json->p = behind;
    if (!form)
        return DEVIATES(scan, ST__RULE_DTYPE_TYPE, at, e, "dtype is an object, not a string");
    code[len] = '\0';
    scan->text += len + 1;
    if (!DEVIATES(scan, ST__RULE_DTYPE_OBJECT, at, e, "dtype is an object {%s:null}, not a string",
                  st__quote(code, len).text))
        return false;
    if (!(scan->flags & ST_OPEN_UPSTREAM) && !st__scan_salvages(scan) &&
        !st_dtype_find(code, len)) {
        e->entry.dtype = ST_DTYPE_UNKNOWN; /* one fault is enough */
        e->valid |= 1u << ST__FIELD_DTYPE;
        return true;
    }
    return dtype_named(scan, e, at, code, len);
}

static bool field_dtype(st__scan *scan, parsed *e)
{
    st__json *json = &scan->json;
    const unsigned char *at = json->p;
    if (*at == '{')
        return dtype_object(scan, e);
    if (*at != '"') {
        if (!st__json_skip(json, 2))
            return st__scan_fault(scan);
        return DEVIATES(scan, ST__RULE_DTYPE_TYPE, at, e, "dtype is not a string");
    }
    char *code = scan->text;
    size_t len;
    if (!st__json_string(json, (unsigned char *)code, &len))
        return st__scan_fault(scan);
    code[len] = '\0';
    value_span(e, ST__FIELD_DTYPE, at + 1, json->p - 1);
    e->plain = e->plain && (size_t)(json->p - at) == len + 2;
    if (!dtype_named(scan, e, at, code, len))
        return false;
    if (e->entry.dtype == ST_DTYPE_UNKNOWN)
        scan->text += len + 1;
    return true;
}

/* One item of shape or data_offsets. `good` says whether it is an integer. */
static bool integer_item(st__scan *scan, parsed *e, st__rule rule, const char *field, uint64_t *out,
                         bool *good)
{
    st__json *json = &scan->json;
    const unsigned char *at = json->p;
    *good = st__json_u64(json, out);
    if (*good)
        return true;
    if (!st__json_skip(json, 3))
        return st__scan_fault(scan);
    size_t len = (size_t)(json->p - at);
    return DEVIATES(scan, rule, at, e, "%s holds %s, not an integer from 0 to 2^64-1", field,
                    st__quote((const char *)at, len < 40 ? len : 40).text);
}

/* Behind an item: a comma (true in `more`) or the closing bracket. */
static bool item_end(st__scan *scan, bool *more)
{
    st__json *json = &scan->json;
    st__json_space(json);
    *more = *json->p == ',';
    if (*more) {
        json->p++;
        st__json_space(json);
        return true;
    }
    return st__json_take(json, ']', "expected ',' or ']'") || st__scan_fault(scan);
}

/* Finds room for one dim more than `count`: in the entry itself, then, by the commas that are left, in the arena. */
static bool dims_room(st__scan *scan, parsed *e, uint64_t **dims, uint64_t count)
{
    enum { LOCAL = sizeof e->local_dims / sizeof *e->local_dims };
    if (count != LOCAL || e->dims_stored)
        return true;
    size_t total = LOCAL + 1;
    for (const unsigned char *p = scan->json.p; p < scan->json.end && *p != ']'; p++)
        total += *p == ',';
    uint64_t *stored = st__dims_alloc(scan->header, total);
    if (!stored)
        return st__scan_stop(scan, ST__UNIT_NOMEM);
    memcpy(stored, *dims, sizeof e->local_dims);
    e->dims_stored = true;
    *dims = stored;
    return true;
}

static bool field_shape(st__scan *scan, parsed *e)
{
    st__json *json = &scan->json;
    const unsigned char *at = json->p;
    if (*at != '[') {
        if (!st__json_skip(json, 2))
            return st__scan_fault(scan);
        return DEVIATES(scan, ST__RULE_SHAPE_TYPE, at, e, "shape is not an array");
    }
    json->p++;
    st__json_space(json);
    const unsigned char *from = json->p, *to = from;
    uint64_t *dims = e->local_dims, count = 0;
    bool all_good = true, more = *json->p != ']';
    if (!more)
        json->p++;
    while (more) {
        bool good;
        if (!dims_room(scan, e, &dims, count) ||
            !integer_item(scan, e, ST__RULE_SHAPE_TYPE, "shape", &dims[all_good ? count : 0],
                          &good))
            return false;
        all_good = all_good && good;
        count += all_good;
        to = json->p;
        if (!item_end(scan, &more))
            return false;
    }
    e->plain = e->plain && count > 0 && count <= 8;
    value_span(e, ST__FIELD_SHAPE, from, to);
    e->entry.shape = dims;
    e->entry.ndim = (uint32_t)count;
    if (all_good)
        e->valid |= 1u << ST__FIELD_SHAPE;
    return true;
}

static bool field_offsets(st__scan *scan, parsed *e)
{
    st__json *json = &scan->json;
    const unsigned char *at = json->p;
    if (*at != '[') {
        if (!st__json_skip(json, 2))
            return st__scan_fault(scan);
        return DEVIATES(scan, ST__RULE_OFFSETS_TYPE, at, e, "data_offsets is not an array");
    }
    e->entry.offsets_at = at;
    json->p++;
    st__json_space(json);
    const unsigned char *from = json->p, *to = from;
    uint64_t values[3] = {0, 0, 0}, count = 0;
    bool all_good = true, more = *json->p != ']';
    if (!more)
        json->p++;
    while (more) {
        bool good;
        if (count >= 2) { /* wrong whatever it is: only its syntax matters */
            good = true;
            if (!st__json_skip(json, 3))
                return st__scan_fault(scan);
        } else if (!integer_item(scan, e, ST__RULE_OFFSETS_TYPE, "data_offsets", &values[count],
                                 &good)) {
            return false;
        }
        all_good = all_good && good;
        count++;
        to = json->p;
        if (!item_end(scan, &more))
            return false;
    }
    if (count != 2)
        return DEVIATES(scan, ST__RULE_OFFSETS_TYPE, at, e,
                        "data_offsets has %llu items, not [begin, end]", (unsigned long long)count);
    value_span(e, ST__FIELD_OFFSETS, from, to);
    e->entry.begin = values[0];
    e->entry.end = values[1];
    if (all_good)
        e->valid |= 1u << ST__FIELD_OFFSETS;
    return true;
}

static bool field_value(st__scan *scan, parsed *e, int field)
{
    e->seen |= 1u << field;
    switch (field) {
    case ST__FIELD_DTYPE: return field_dtype(scan, e);
    case ST__FIELD_SHAPE: return field_shape(scan, e);
    default: return field_offsets(scan, e);
    }
}

static const char *const field_names[3] = {"dtype", "shape", "data_offsets"};

/* One `"field": value` of an entry. */
static bool entry_field(st__scan *scan, parsed *e)
{
    st__json *json = &scan->json;
    const unsigned char *at = json->p;
    char *key = scan->text;
    size_t len;
    if (*at != '"')
        return st__json_fail(json, ST__JSON_SYNTAX, at, "expected a key") || st__scan_fault(scan);
    if (!st__json_string(json, (unsigned char *)key, &len))
        return st__scan_fault(scan);
    st__json_space(json);
    if (!st__json_take(json, ':', "expected ':'"))
        return st__scan_fault(scan);
    st__json_space(json);
    e->fields++;
    for (int field = 0; field < 3; field++) {
        if (len != strlen(field_names[field]) || memcmp(key, field_names[field], len) != 0)
            continue;
        if (!(e->seen & 1u << field))
            return field_value(scan, e, field);
        if (!DEVIATES(scan, ST__RULE_FIELD_DUPLICATE, at, e, "%s appears twice",
                      field_names[field]))
            return false;
        return st__json_skip(json, 2) || st__scan_fault(scan);
    }
    if (!DEVIATES(scan, ST__RULE_FIELD_UNKNOWN, at, e, "unknown field %s is ignored",
                  scan->sink ? st__quote(key, len).text : ""))
        return false;
    return st__json_skip(json, 2) || st__scan_fault(scan);
}

static bool entry_object(st__scan *scan, parsed *e)
{
    st__json *json = &scan->json;
    const unsigned char *at = json->p++;
    st__json_space(json);
    bool more = *json->p != '}';
    if (!more)
        json->p++;
    while (more) {
        if (!entry_field(scan, e))
            return false;
        st__json_space(json);
        more = *json->p == ',';
        if (!more && !st__json_take(json, '}', "expected ',' or '}'"))
            return st__scan_fault(scan);
        if (more) {
            json->p++;
            st__json_space(json);
        }
    }
    for (int field = 0; field < 3; field++)
        if (!(e->seen & 1u << field))
            return DEVIATES(scan, ST__RULE_FIELD_MISSING, at, e, "%s is missing",
                            field_names[field]);
    return true;
}

/* `["U8",[4],[0,4]]`, which upstream's reader takes for an object of these three. */
static bool entry_array(st__scan *scan, parsed *e)
{
    st__json *json = &scan->json;
    const unsigned char *at = json->p;
    e->plain = false;
    if (!DEVIATES(scan, ST__RULE_ENTRY_ARRAY, at, e, "the entry is an array, not an object"))
        return false;
    json->p++;
    st__json_space(json);
    uint64_t count = 0;
    bool more = *json->p != ']';
    if (!more)
        json->p++;
    while (more) {
        e->fields++;
        if (count < 3 ? !field_value(scan, e, (int)count)
                      : !(st__json_skip(json, 2) || st__scan_fault(scan)))
            return false;
        count++;
        if (!item_end(scan, &more))
            return false;
    }
    if (count < 3)
        return DEVIATES(scan, ST__RULE_FIELD_MISSING, at, e, "%s is missing", field_names[count]);
    if (count > 3) {
        e->valid = 0;
        return DEVIATES(scan, ST__RULE_ENTRY_TYPE, at, e, "the entry is an array of %llu items",
                        (unsigned long long)count);
    }
    return true;
}

static bool entry_value(st__scan *scan, parsed *e)
{
    st__json *json = &scan->json;
    const unsigned char *at = json->p;
    if (*at == '{')
        return entry_object(scan, e);
    if (*at == '[')
        return entry_array(scan, e);
    if (!st__json_skip(json, 1))
        return st__scan_fault(scan);
    return DEVIATES(scan, ST__RULE_ENTRY_TYPE, at, e, "the entry is not an object");
}

/* Remembers the entry's surroundings, if the next one follows within the window. */
static void pattern_learn(st__scan *scan, const parsed *e, const unsigned char *name_end)
{
    st__pattern *pattern = &scan->pattern;
    pattern->learned = false;
    if (!e->plain || e->fields != 3 || scan->phase != ST__PHASE_MEMBERS || *scan->json.p != '"')
        return;
    const unsigned char *from = name_end;
    for (int i = 0; i < 3; i++) {
        if (!st__literal_learn(&pattern->before[i], from, e->value_from[i]))
            return;
        pattern->order[i] = e->order[i];
        if (e->order[i] == ST__FIELD_SHAPE)
            pattern->brackets = *e->value_to[i] == ']';
        from = e->value_to[i];
    }
    pattern->learned = st__literal_learn(&pattern->after, from, scan->json.p + 1);
}

/* Gives an unknown dtype its number in this header. */
static bool dtype_intern(st__scan *scan, parsed *e)
{
    st_header *header = scan->header;
    if (!header->unknown_dtypes) {
        header->unknown_dtypes = st__alloc_zeroed(header->context, ST__UNKNOWN_DTYPES_MAX,
                                                  sizeof *header->unknown_dtypes);
        if (!header->unknown_dtypes)
            return st__scan_stop(scan, ST__UNIT_NOMEM);
    }
    size_t i = 0;
    for (; i < header->unknown_count; i++) {
        const st__key *known = &header->unknown_dtypes[i];
        if (known->len == e->unknown_code.len &&
            memcmp(known->text, e->unknown_code.text, known->len) == 0)
            break;
    }
    if (i == ST__UNKNOWN_DTYPES_MAX)
        return st__scan_stop(scan, ST__UNIT_DEVIATES);
    if (i == header->unknown_count)
        header->unknown_dtypes[header->unknown_count++] = e->unknown_code;
    e->entry.dtype = ST_DTYPE_UNKNOWN + (st_dtype)i;
    return true;
}

/* An entry that cannot be used is left out; what bytes it means is unknown. */
static bool entry_lost(st__scan *scan, const parsed *e)
{
    const st__entry *entry = &e->entry;
    scan->incomplete = true;
    if (!st__scan_salvages(scan) || !scan->sink->lost)
        return true;
    return scan->sink->lost(scan->sink->ctx, entry->name, entry->name_len,
                            st__scan_offset(scan, entry->name_at)) ||
           st__scan_stop(scan, ST__UNIT_STOPPED);
}

/* A complete entry becomes a tensor, or with a sink is left out. */
static bool entry_finish(st__scan *scan, parsed *e)
{
    unsigned all = 1u << ST__FIELD_DTYPE | 1u << ST__FIELD_SHAPE | 1u << ST__FIELD_OFFSETS;
    if (e->valid != all)
        return entry_lost(scan, e);
    if (e->unknown_code.text && (scan->flags & ST_OPEN_UNKNOWN_DTYPES) && !dtype_intern(scan, e)) {
        if (scan->outcome == ST__UNIT_DEVIATES && scan->sink)
            return DEVIATES(scan, ST__RULE_ENTRY_TYPE, e->entry.name_at, e,
                            "more than %d different unknown dtypes", ST__UNKNOWN_DTYPES_MAX) &&
                   entry_lost(scan, e);
        return false;
    }
    e->entry.shape = st__shape_store(scan, e->entry.shape, e->entry.ndim, e->dims_stored);
    if (!e->entry.shape)
        return st__scan_stop(scan, ST__UNIT_NOMEM);
    st__unit unit = st__entry_commit(scan, &e->entry);
    return unit == ST__UNIT_OK || st__scan_stop(scan, unit);
}

bool st__scan_entry(st__scan *scan, const unsigned char *name_at, char *name, size_t len,
                    const unsigned char *name_end)
{
    parsed e;
    memset(&e, 0, offsetof(parsed, local_dims));
    e.entry.name_at = name_at;
    e.entry.name = name;
    e.entry.name_len = len;
    e.plain = true;
    if (scan->sink && st__name_suspect(name, len) &&
        !DEVIATES(scan, ST__RULE_NAME_SUSPECT, name_at, &e,
                  len ? "the name holds control or invisible characters" : "the name is empty"))
        return false;
    if (!entry_value(scan, &e))
        return false;
    /* What follows an entry does not matter to it where it is to be saved. */
    bool ends = st__scan_member_end(scan);
    if (!(ends || st__scan_salvages(scan)) || !entry_finish(scan, &e) || !ends)
        return false;
    pattern_learn(scan, &e, name_end);
    return true;
}
