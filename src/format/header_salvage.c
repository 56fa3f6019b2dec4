/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what is left of a header. The parser is that of every reading, and the units are the same; what differs is
 * what a fault means: its place is told, and the parser is set to the next place where an entry can begin.
 *
 * Which bytes are the header is decided first, silently. The length in the file counts as long as a text of that length
 * can be read. Where it cannot, the text itself may tell: if it closes, and all of its entries can be read, the data
 * are the last bytes of the file, as many as the entries say; only if nothing but blanks is between the two that is
 * no guess, because then every byte of the file has its place, and every one is there. */
#include "format/header_salvage.h"
#include "format/attempt.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/error.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef enum extent {
    EXTENT_NONE,   /* there is no telling */
    EXTENT_STATED, /* by the length in the file */
    EXTENT_FOUND,  /* by where the text closes */
    EXTENT_CUT     /* the file ends before the header does */
} extent;

typedef struct salvaging {
    const st__header_input *input;
    st_open_options options;
    extent extent;
    uint64_t stated; /* N, as the file says */
    uint64_t size;   /* bytes of text to look at */
    uint64_t data;   /* offset of the data section */
    bool faulty;     /* the text has a fault of syntax */
    st__unit outcome;
} salvaging;

/* A text whose length is not known is read by blocks that grow by this factor from the least on. */
enum { FOUND_LEAST = 1 << 16, FOUND_GROWTH = 16 };

static bool deviation_ignore(void *ctx, const st__deviation *deviation)
{
    (void)ctx;
    (void)deviation;
    return true;
}

static const st__sink silent = {.report = deviation_ignore, .salvages = true};

/* ----------------------------------------------------------------------------------- the text */

/* Finds the next entry behind a fault: the name that follows a closed object. */
static const unsigned char *entry_next(const st__json *json)
{
    st__json at = *json;
    for (const unsigned char *p = json->at; p < json->end; p++) {
        if (*p != '}')
            continue;
        at.p = p + 1;
        st__json_space(&at);
        if (*at.p != ',')
            continue;
        at.p++;
        st__json_space(&at);
        if (*at.p == '"')
            return at.p;
    }
    return NULL;
}

/* Tells of a fault, and goes to where the parser can go on. False: nowhere, or the sink has stopped it. */
static bool fault_pass(salvaging *s, st__scan *scan)
{
    st__json *json = &scan->json;
    const unsigned char *next = entry_next(json);
    st__rule rule = json->fault == ST__JSON_TOO_DEEP ? ST__RULE_JSON_DEPTH
                    : json->fault == ST__JSON_UTF8   ? ST__RULE_HEADER_UTF8
                                                     : ST__RULE_JSON_SYNTAX;
    /* Behind the closing brace nothing was expected. */
    scan->incomplete = scan->incomplete || scan->phase != ST__PHASE_TAIL || next;
    s->faulty = true;
    s->outcome = ST__UNIT_END;
    if (!st__scan_deviates(scan, rule, st__scan_offset(scan, json->at), NULL, 0,
                           "%s; the header was not read from here to byte %" PRIu64, json->what,
                           st__scan_offset(scan, next ? next : json->end))) {
        s->outcome = scan->outcome;
        return false;
    }
    if (!next)
        return false;
    scan->phase = ST__PHASE_MEMBERS;
    json->p = next;
    json->fault = 0;
    return true;
}

/* Reads a text of known length to its end, past its faults. */
static void text_scan(salvaging *s, st__scan *scan)
{
    do
        s->outcome = st__attempt_scan(scan);
    while (s->outcome == ST__UNIT_FAULT && fault_pass(s, scan));
}

/* Reads a text up to where it closes. */
static void text_scan_closed(salvaging *s, st__scan *scan)
{
    s->outcome = ST__UNIT_OK;
    while (s->outcome == ST__UNIT_OK && scan->phase != ST__PHASE_TAIL)
        s->outcome = st__scan_unit(scan);
    if (s->outcome == ST__UNIT_OK)
        s->outcome = ST__UNIT_END;
}

/* Reads `s->size` bytes of text. The attempt is to be released after any outcome. */
static st_status attempt_make(salvaging *s, st__attempt *a, const st__sink *sink, st_error *error)
{
    *a = (st__attempt){.input = s->input, .options = &s->options, .size = s->size};
    ST_TRY(st__attempt_read(a, error));
    if (!st__attempt_begin(a, sink))
        return st__fail_nomem(error, s->size);
    s->faulty = false;
    if (s->extent == EXTENT_FOUND)
        text_scan_closed(s, &a->scan);
    else
        text_scan(s, &a->scan);
    /* A text that is no object has no entries. */
    a->scan.incomplete = a->scan.incomplete || s->outcome == ST__UNIT_FATAL;
    return s->outcome == ST__UNIT_NOMEM ? st__fail_nomem(error, s->size) : ST_OK;
}

/* ---------------------------------------------------------------------------------- the extent */

/* One past the last byte of data that an entry names. */
static uint64_t data_end(const st_header *header)
{
    uint64_t end = 0;
    for (size_t i = 0; i < header->count; i++)
        if (header->tensors[i].end > end)
            end = header->tensors[i].end;
    return end;
}

static bool all_blank(const unsigned char *p, const unsigned char *end)
{
    while (p < end && *p == ' ')
        p++;
    return p == end;
}

/* Whether the length is a little too small: then blanks of the padding seem to be data, and as many bytes of data seem
 * to stand behind the last tensor. What writers pad to a multiple of 8 tells one from the other. */
static st_status extent_shift(salvaging *s, const st__scan *scan, st_error *error)
{
    unsigned char first[8];
    uint64_t file_size = s->input->file_size, end = data_end(scan->header);
    if (scan->incomplete || end > file_size - s->data || s->data % 8 == 0)
        return ST_OK;
    uint64_t data = file_size - end, shift = data - s->data;
    if (shift == 0 || shift >= sizeof first || data % 8 != 0)
        return ST_OK;
    ST_TRY(s->input->read(s->input->ctx, s->data, first, (size_t)shift, error));
    if (all_blank(first, first + shift))
        s->data = data;
    return ST_OK;
}

/* Whether a text of the stated length can be read. */
static st_status extent_try_stated(salvaging *s, st_error *error)
{
    st__attempt a;
    s->extent = EXTENT_STATED;
    s->size = s->stated;
    s->data = 8 + s->stated;
    st_status status = attempt_make(s, &a, &silent, error);
    if (status == ST_OK && !s->faulty)
        status = extent_shift(s, &a.scan, error);
    st__attempt_release(&a);
    return status;
}

/* What a text that was read up to its closing brace tells. `*larger`: that a longer one may tell more. */
static bool extent_settle(salvaging *s, const st__scan *scan, bool *larger)
{
    const st__json *json = &scan->json;
    uint64_t file_size = s->input->file_size, end = data_end(scan->header);
    uint64_t closes = st__json_offset(json, json->p);
    *larger = s->outcome == ST__UNIT_FAULT && json->end - json->at < ST__JSON_EDGE;
    if (s->outcome != ST__UNIT_END || scan->incomplete || end > file_size - closes)
        return false;
    uint64_t data = file_size - end;
    *larger = data > st__json_offset(json, json->end);
    if (*larger || !all_blank(json->p, json->p + (data - closes)))
        return false;
    /* Blanks that are no writer's padding: the file may lack bytes as well. */
    if (data != closes && data % 8 != 0)
        return false;
    s->data = data;
    return true;
}

/* Whether the text tells by itself where it ends and the data begin. */
static st_status extent_try_found(salvaging *s, bool *found, st_error *error)
{
    uint64_t most = st__min_u64(s->input->file_size - 8, st__header_limit(&s->options));
    bool larger = true;
    s->extent = EXTENT_FOUND;
    *found = false;
    for (uint64_t size = FOUND_LEAST; larger && !*found; size *= FOUND_GROWTH) {
        st__attempt a;
        s->size = st__min_u64(size, most);
        st_status status = attempt_make(s, &a, &silent, error);
        if (status == ST_OK)
            *found = extent_settle(s, &a.scan, &larger);
        st__attempt_release(&a);
        if (status != ST_OK)
            return status;
        larger = larger && s->size < most;
    }
    return ST_OK;
}

/* Decides which bytes are the header. `rule`: what is wrong with its length, or -1. */
static st_status extent_choose(salvaging *s, int rule, st_error *error)
{
    bool found;
    if (rule == ST__RULE_FILE_TOO_SMALL)
        return ST_OK;
    if (rule < 0) {
        ST_TRY(extent_try_stated(s, error));
        if (!s->faulty)
            return ST_OK;
    }
    ST_TRY(extent_try_found(s, &found, error));
    if (found)
        return ST_OK;
    s->extent = rule < 0                         ? EXTENT_STATED
                : rule == ST__RULE_HEADER_LENGTH ? EXTENT_CUT
                                                 : EXTENT_NONE;
    s->size = rule < 0 ? s->stated : s->input->file_size - 8;
    s->data = 8 + s->stated;
    return ST_OK;
}

/* ------------------------------------------------------------------------------------- reading */

static bool extent_report(salvaging *s, st__scan *scan, const st__frame *frame, int rule)
{
    if (s->extent == EXTENT_NONE)
        return st__scan_deviates(scan, (st__rule)rule, 0, NULL, 0, "%s", frame->verdict.message);
    if (s->extent == EXTENT_CUT)
        return st__scan_deviates(scan, ST__RULE_FILE_TRUNCATED, s->input->file_size, NULL, 0,
                                 "the file has %" PRIu64 " bytes, its header alone takes %" PRIu64
                                 ": at least %" PRIu64 " bytes are missing",
                                 s->input->file_size, s->data, s->data - s->input->file_size);
    if (s->data == 8 + s->stated)
        return true;
    return st__scan_deviates(scan, ST__RULE_HEADER_LENGTH, 0, NULL, 0,
                             "the header length is %" PRIu64 ", but %" PRIu64
                             " by the header's text and the data that it describes",
                             s->stated, s->data - 8);
}

/* Hands over what was read. */
static st_status remains_take(salvaging *s, st__attempt *a, st__remains *out, st_error *error)
{
    st__scan *scan = &a->scan;
    uint64_t file_size = s->input->file_size;
    st__unit unit = st__layout_salvage(scan);
    if (unit == ST__UNIT_NOMEM)
        return st__fail_nomem(error, s->size);
    s->outcome = unit;
    scan->header->size = s->data - 8;
    scan->header->data_size = file_size > s->data ? file_size - s->data : 0;
    *out = (st__remains){scan->header, scan->places, scan->places_size, scan->incomplete};
    scan->header = NULL;
    scan->places = NULL;
    scan->places_size = 0;
    return ST_OK;
}

/* Reads the text that was decided on, and tells of it. */
static st_status remains_read(salvaging *s, const st__frame *frame, int rule, const st__sink *sink,
                              st__remains *out, st_error *error)
{
    st__attempt a = {.input = s->input, .options = &s->options};
    a.scan.sink = sink;
    a.scan.flags = s->options.flags;
    st_status status = ST_OK;
    *out = (st__remains){.incomplete = true};
    if (!extent_report(s, &a.scan, frame, rule)) {
        s->outcome = a.scan.outcome;
    } else if (s->extent != EXTENT_NONE) {
        status = attempt_make(s, &a, sink, error);
        if (status == ST_OK && s->outcome != ST__UNIT_STOPPED)
            status = remains_take(s, &a, out, error);
        st__attempt_release(&a);
    }
    if (status == ST_OK && s->outcome == ST__UNIT_STOPPED)
        status = st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the salvage was stopped",
                          s->input->name);
    if (status != ST_OK)
        st__remains_release(out);
    return status;
}

st_status st__header_salvage(const st__header_input *input, const st_open_options *options,
                             const st__sink *sink, st__remains *out, st_error *error)
{
    salvaging s = {.input = input};
    unsigned char first[64];
    ST_TRY(st__options_check(options, error));
    if (options)
        s.options = *options;
    s.options.flags |= ST_OPEN_UNKNOWN_DTYPES; /* so that their codes are kept */
    size_t len = (size_t)st__min_u64(input->file_size, sizeof first);
    ST_TRY(input->read(input->ctx, 0, first, len, error));
    st__frame frame = {.bytes = first,
                       .len = len,
                       .file_size = input->file_size,
                       .limit = st__header_limit(&s.options)};
    int rule = st__frame_judge(&frame);
    s.stated = frame.size;
    ST_TRY(extent_choose(&s, rule, error));
    return remains_read(&s, &frame, rule, sink, out, error);
}

void st__remains_release(st__remains *remains)
{
    if (remains->header)
        st__free(remains->header->context, remains->places, remains->places_size);
    st_header_release(remains->header);
    *remains = (st__remains){.header = NULL};
}

/* ------------------------------------------------------------------------------------- judging */

uint64_t st__remains_place(const st__remains *remains, size_t index)
{
    return UINT64_C(8) + remains->places[index].name;
}

static bool judged_bad(st__deviation *out, st__rule rule, const char *format, ...) ST__PRINTF(3, 4);

static bool judged_bad(st__deviation *out, st__rule rule, const char *format, ...)
{
    size_t used = (size_t)snprintf(out->message, sizeof out->message,
                                   "tensor %s: ", st__quote(out->name, out->name_len).text);
    va_list args;
    out->rule = rule;
    va_start(args, format);
    vsnprintf(out->message + used, sizeof out->message - used, format, args);
    va_end(args);
    out->message[st__utf8_cut(out->message, strlen(out->message))] = '\0';
    return false;
}

/* Whether the bytes that dtype and shape imply are those between begin and end. */
static bool size_judge(const st_tensor *t, st__deviation *out)
{
    uint64_t bytes = 0;
    switch (st__tensor_bytes(t->dtype, t->shape, t->ndim, &bytes)) {
    case ST_ERR_OVERFLOW:
        return judged_bad(out, ST__RULE_SIZE_OVERFLOW,
                          "its shape has more elements than 64 bits count");
    case ST_ERR_MISALIGNED:
        return judged_bad(out, ST__RULE_SIZE_BITS,
                          "its elements of %" PRIu32 " bits do not fill whole bytes",
                          st_dtype_bits(t->dtype));
    default: break;
    }
    if (bytes == t->end - t->begin)
        return true;
    return judged_bad(out, ST__RULE_SIZE_MISMATCH,
                      "data_offsets [%" PRIu64 ", %" PRIu64 "] span %" PRIu64
                      " bytes, but %s and its shape take %" PRIu64,
                      t->begin, t->end, t->end - t->begin, st_dtype_code(t->dtype), bytes);
}

bool st__remains_judge(const st__remains *remains, size_t index, uint32_t flags, st__deviation *out)
{
    const st_header *header = remains->header;
    const st_tensor *t = &header->tensors[index];
    out->name = t->name;
    out->name_len = t->name_len;
    out->offset = UINT64_C(8) + remains->places[index].offsets;
    if (t->end < t->begin)
        return judged_bad(out, ST__RULE_LAYOUT_REVERSED,
                          "it ends at %" PRIu64 ", before it begins at %" PRIu64, t->end, t->begin);
    if (t->dtype >= ST_DTYPE_UNKNOWN) {
        size_t len;
        const char *code = st_header_dtype_code(header, t->dtype, &len);
        if (!(flags & ST_OPEN_UNKNOWN_DTYPES) || len == 0)
            return judged_bad(out, ST__RULE_DTYPE_UNKNOWN, "unknown dtype %s",
                              st__quote(code, len).text);
    } else if (!size_judge(t, out)) {
        return false;
    }
    uint64_t size = t->end - t->begin, have = 0;
    if (size == 0 || t->end <= header->data_size)
        return true;
    if (t->begin < header->data_size)
        have = header->data_size - t->begin;
    out->offset = 8 + header->size + header->data_size;
    return judged_bad(out, ST__RULE_FILE_TRUNCATED,
                      "the file has %" PRIu64 " of its %" PRIu64 " bytes; missing: %" PRIu64, have,
                      size, size - have);
}
