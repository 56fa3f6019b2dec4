/* SPDX-License-Identifier: Apache-2.0 */
/* Getting a header from bytes: the fast reading through a small window, and the second look.
 *
 * The window is page-phased: byte k of the file lies at an address equal to k modulo 4096, because
 * kernels copy several times slower between addresses that differ by a few bytes modulo a page, and it is
 * small enough to stay in the cache: new memory costs more than parsing. What a refill finds
 * unfinished moves into the headroom in front of it. A unit that does not fit there sends the whole header into
 * one block, so that no header is copied more than twice. */
#include "format/attempt.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/context.h"
#include "base/endian.h"
#include "base/error.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum { PAGE = 4096, HEADROOM = 8192, SMALL_CHUNK = ST__HEADER_BLOCK, LARGE_CHUNK = 65536 };

static const st_open_options default_options;

uint64_t st__header_limit(const st_open_options *options)
{
    return options->max_header_size ? options->max_header_size : ST_HEADER_MAX;
}

/* ------------------------------------------------------------------------------- framing */

typedef struct magic {
    const char *bytes;
    size_t len;
    const char *what;
} magic;

/* What files that are no safetensors files begin with; their first 8 bytes read as an absurd length. */
static const magic magics[] = {
    {"version https://git-lfs", 23,
     "this is a Git LFS pointer, not the file itself: run `git lfs pull`"},
    {"<!DOCTYPE", 9, "this is an HTML page, perhaps a login or error page saved by a download"},
    {"<!doctype", 9, "this is an HTML page, perhaps a login or error page saved by a download"},
    {"<html", 5, "this is an HTML page, perhaps a login or error page saved by a download"},
    {"<?xml", 5, "this is an XML document, perhaps a storage service's error message"},
    {"PK\x03\x04", 4,
     "this is a zip archive, perhaps a PyTorch checkpoint (.pt, .bin, .ckpt) or .npz"},
    {"\x80\x02", 2, "this is a Python pickle, perhaps an old PyTorch checkpoint"},
    {"\x80\x03", 2, "this is a Python pickle"},
    {"\x80\x04", 2, "this is a Python pickle"},
    {"\x80\x05", 2, "this is a Python pickle"},
    {"GGUF", 4, "this is a GGUF file"},
    {"\x93NUMPY", 6, "this is a NumPy .npy file"},
    {"\x89HDF\r\n\x1a\n", 8, "this is an HDF5 file"},
    {"\x1f\x8b", 2, "this is gzip-compressed: decompress it first"},
    {"\x28\xb5\x2f\xfd", 4, "this is zstd-compressed: decompress it first"},
    {"7z\xbc\xaf\x27\x1c", 6, "this is a 7z archive"},
    {"%PDF", 4, "this is a PDF document"},
    {"{\"", 2, "this is JSON text, perhaps an index or an error message"},
    {"Entry not found", 15, "this is a hub's error message saved by a download"},
};

static const char *hint_of(const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (len >= magics[i].len && memcmp(bytes, magics[i].bytes, magics[i].len) == 0)
            return magics[i].what;
    return "the file is damaged or in another format";
}

int st__frame_judge(st__frame *f)
{
    f->size = 0;
    if (f->file_size < 8 || f->len < 8) {
        st__fail(&f->verdict, ST_ERR_HEADER_TOO_SMALL, 0,
                 "the file has %" PRIu64 " bytes, a header's length alone takes 8%s", f->file_size,
                 f->file_size == 0 ? "; the file is empty" : "");
        return ST__RULE_FILE_TOO_SMALL;
    }
    f->size = st__load_le64(f->bytes);
    const char *hint = hint_of(f->bytes, f->len);
    if (f->size > f->limit) {
        st__fail(&f->verdict, ST_ERR_HEADER_TOO_LARGE, 0,
                 "header length %" PRIu64 " is above the limit of %" PRIu64
                 " (the file has %" PRIu64 " bytes); %s",
                 f->size, f->limit, f->file_size, hint);
        return ST__RULE_HEADER_TOO_LARGE;
    }
    if (f->size > f->file_size - 8) {
        if (f->len == 8 || f->bytes[8] == '{')
            hint = "the download or copy is incomplete, fetch it again";
        st__fail(&f->verdict, ST_ERR_HEADER_LENGTH, 0,
                 "header length %" PRIu64 " reaches past the end of a file of %" PRIu64
                 " bytes: at least %" PRIu64 " bytes are missing; %s",
                 f->size, f->file_size, f->size - (f->file_size - 8), hint);
        return ST__RULE_HEADER_LENGTH;
    }
    return -1;
}

st_status st_header_length(const void *prefix, size_t size, uint64_t file_size,
                           const st_open_options *options, uint64_t *out, st_error *error)
{
    const st_open_options *o = options ? options : &default_options;
    ST_TRY(st__options_check(o, error));
    if (size < 8 && file_size >= 8)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "%zu bytes given, the length takes 8",
                        size);
    st__frame f = {
        .bytes = prefix, .len = size, .file_size = file_size, .limit = st__header_limit(o)};
    if (st__frame_judge(&f) >= 0)
        return st__fail(error, f.verdict.status, 0, "%s: %s", o->name ? o->name : "<memory>",
                        f.verdict.message);
    *out = f.size;
    return ST_OK;
}

/* --------------------------------------------------------------------------- preparation */

/* Up to this size a header's memory is asked for by what headers usually hold, and grows; above it, by the most
 * they can hold, because there untouched memory costs nothing and moving it does. */
enum { SMALL_HEADER = 1 << 20 };

/* The header under construction. With a sink every form of entry is kept, without one only those that the
 * flags accept; `window`: the bytes of text that the first window holds. */
static st_header *header_new(const st__attempt *a, bool sink, size_t window)
{
    st_context *context = a->options->context;
    st_header *header = st__alloc_zeroed(context, 1, sizeof *header);
    if (!header)
        return NULL;
    st__ref_init(&header->ref);
    header->context = st_context_retain(context);
    header->size = a->size;
    header->data_size = a->input->file_size - 8 - a->size;
    memcpy(header->hash_key.words, a->input->hash_key, sizeof header->hash_key.words);
    if (!(header->hash_key.words[0] | header->hash_key.words[1] | header->hash_key.words[2])) {
        /* Addresses are random enough where nothing better was given. */
        header->hash_key.words[0] = (uint64_t)(uintptr_t)header * UINT64_C(0x9e3779b97f4a7c15);
        header->hash_key.words[1] = (uint64_t)(uintptr_t)a * UINT64_C(0xd6e8feb86659fd93);
        header->hash_key.words[2] =
            (uint64_t)(uintptr_t)&default_options * UINT64_C(0xa0761d6478bd642f);
    }
    /* Shortest entries: `"":{"dtype":"U8","shape":[],"data_offsets":[0,0]},` and `"":["U8",[],[0,0]],`. */
    size_t entry = sink || (a->options->flags & ST_OPEN_UPSTREAM) ? 18 : 50, bytes;
    if (!sink && a->size < SMALL_HEADER)
        entry = 112;
    header->tensor_capacity = (size_t)a->size / entry + 2;
    header->text_size = (a->size < SMALL_HEADER ? window : (size_t)a->size) + ST__JSON_PAD;
    if (st__mul_size(header->tensor_capacity, sizeof *header->tensors, &bytes) &&
        st__dims_alloc(header, 0)) {
        header->tensors = st__alloc(context, bytes);
        /* Last, so that it may grow where it is. */
        header->text = st__alloc(context, header->text_size);
    }
    if (header->tensors && header->text)
        return header;
    if (!header->tensors)
        header->tensor_capacity = 0;
    st_header_release(header);
    return NULL;
}

void st__attempt_release(st__attempt *a)
{
    st_context *context = a->options->context;
    st__free(context, a->scan.places, a->scan.places_size);
    st__free(context, a->scan.metadata_places,
             a->scan.metadata_places_capacity * sizeof *a->scan.metadata_places);
    st__free(context, a->block, a->block_size);
    st_header_release(a->scan.header);
    a->scan.header = NULL;
}

/* Allocates the block and gives the first address in it that is a page's. */
static unsigned char *block_new(st__attempt *a, size_t size)
{
    a->block_size = size + PAGE;
    a->block = st__alloc(a->options->context, a->block_size);
    if (!a->block)
        return NULL;
    return a->block + (PAGE - (uintptr_t)a->block % PAGE) % PAGE;
}

/* Allocates the block of a window. */
static bool chunk_new(st__attempt *a, size_t size)
{
    unsigned char *pages = block_new(a, HEADROOM + size + ST__JSON_PAD);
    if (!pages)
        return false;
    a->chunk = pages + HEADROOM;
    a->chunk_size = size;
    return true;
}

/* Sets the window to [from, to) of the block, `from` being byte `offset` of the file. */
static void window_set(st__scan *scan, const unsigned char *from, unsigned char *to,
                       uint64_t offset)
{
    st__json *json = &scan->json;
    memset(to, 0, ST__JSON_PAD);
    scan->limit = to;
    json->start = json->p = from;
    json->end = to;
    json->base = offset;
    json->fault = 0;
}

bool st__attempt_begin(st__attempt *a, const st__sink *sink)
{
    st__scan *scan = &a->scan;
    scan->header = header_new(a, sink != NULL, (size_t)(scan->json.end - scan->json.p));
    if (!scan->header)
        return false;
    scan->flags = a->options->flags;
    scan->sink = sink;
    scan->text = scan->header->text;
    if (sink) {
        scan->places_size = scan->header->tensor_capacity * sizeof *scan->places;
        scan->places = st__alloc(a->options->context, scan->places_size);
    }
    return !sink || scan->places;
}

st__unit st__attempt_scan(st__scan *scan)
{
    for (;;) {
        if (scan->pattern.learned && scan->phase == ST__PHASE_MEMBERS && !scan->sink)
            st__scan_learned(scan);
        const unsigned char *unit = scan->json.p;
        char *text = scan->text;
        st__unit outcome = st__scan_unit(scan);
        if (outcome == ST__UNIT_OK)
            continue;
        if (outcome == ST__UNIT_FAULT && !scan->final &&
            scan->json.end - scan->json.at < ST__JSON_EDGE) {
            if (scan->phase != ST__PHASE_TAIL)
                st__scan_rewind(scan, unit, text);
            scan->json.fault = 0;
        }
        return outcome;
    }
}

/* ------------------------------------------------------------------------------ fast path */

/* Makes sure that the text can take all that a window holds. */
static bool text_room(st__scan *scan, size_t window)
{
    size_t used = (size_t)(scan->text - scan->header->text), size = scan->header->text_size;
    size_t needed = used + window + ST__JSON_PAD;
    return needed <= size ||
           st__text_resize(scan, needed < size + size / 8 ? size + size / 8 : needed);
}

/* Takes entries from `offset` on where the file lies in memory, without copying them into the window. Gives
 * the offset of the first that the fast path leaves. */
static uint64_t memory_pass(st__attempt *a, uint64_t offset)
{
    st__scan *scan = &a->scan;
    const unsigned char *memory = a->input->memory;
    uint64_t end = 8 + a->size;
    if (!memory || a->size < SMALL_HEADER || a->input->memory_size < end ||
        !scan->pattern.learned || scan->phase != ST__PHASE_MEMBERS)
        return offset;
    st__json window = scan->json;
    scan->json.p = memory + offset;
    scan->limit = memory + end - ST__SCAN_AHEAD;
    st__scan_learned(scan);
    offset = (uint64_t)(scan->json.p - memory);
    scan->json = window;
    return offset;
}

/* Moves the last `left` bytes of the window in front of where the next ones go: into a larger window once, where
 * the header is large. */
static bool window_shift(st__attempt *a, size_t left)
{
    const unsigned char *end = a->scan.json.end;
    if (a->size < SMALL_HEADER || a->chunk_size == LARGE_CHUNK) {
        memmove(a->chunk - left, end - left, left);
        return true;
    }
    unsigned char *block = a->block;
    size_t block_size = a->block_size;
    bool moved = chunk_new(a, LARGE_CHUNK);
    if (moved)
        memcpy(a->chunk - left, end - left, left);
    st__free(a->options->context, block, block_size);
    return moved;
}

/* Moves the window on. False: the unfinished unit is too long for it, or NOMEM and errors in `status`. */
static bool window_move(st__attempt *a, st_status *status, st_error *error)
{
    const st__json *json = &a->scan.json;
    uint64_t at = memory_pass(a, st__json_offset(json, json->p));
    size_t left = at < a->offset ? (size_t)(a->offset - at) : 0;
    if (left > HEADROOM)
        return false;
    if (at > a->offset)
        a->offset = at;
    bool room = window_shift(a, left);
    size_t take = (size_t)st__min_u64(8 + a->size - a->offset, a->chunk_size);
    if (!room || !text_room(&a->scan, left + take)) {
        *status = st__fail_nomem(error, left + take);
        return false;
    }
    *status = a->input->read(a->input->ctx, a->offset, a->chunk, take, error);
    if (*status != ST_OK)
        return false;
    window_set(&a->scan, a->chunk - left, a->chunk + take, at);
    a->offset += take;
    a->scan.final = a->offset == 8 + a->size;
    return true;
}

/* For units longer than the window, and for the second look. */
st_status st__attempt_read(st__attempt *a, st_error *error)
{
    size_t size;
    if (!st__add_size((size_t)a->size, 8 + ST__JSON_PAD, &size))
        return st__fail_nomem(error, a->size);
    unsigned char *file = block_new(a, size);
    if (!file)
        return st__fail_nomem(error, size);
    ST_TRY(a->input->read(a->input->ctx, 0, file, (size_t)a->size + 8, error));
    window_set(&a->scan, file + 8, file + 8 + a->size, 8);
    a->scan.final = true;
    return ST_OK;
}

/* What an attempt without a sink came to. ST_ERR_HEADER_JSON, without a message, stands for anything that
 * the second look must explain. */
static st_status fast_status(st__attempt *a, st__unit outcome, st_header **out, st_error *error)
{
    if (outcome == ST__UNIT_END)
        outcome = st__layout_finish(&a->scan, a->input->file_size);
    if (outcome == ST__UNIT_NOMEM)
        return st__fail_nomem(error, a->size);
    if (outcome != ST__UNIT_OK)
        return ST_ERR_HEADER_JSON;
    *out = a->scan.header;
    a->scan.header = NULL;
    return ST_OK;
}

static st_status fast_block(const st__header_input *input, const st_open_options *options,
                            uint64_t size, st_header **out, st_error *error)
{
    st__attempt a = {.input = input, .options = options, .size = size};
    st_status status = st__attempt_read(&a, error);
    if (status == ST_OK)
        status = st__attempt_begin(&a, NULL)
                     ? fast_status(&a, st__attempt_scan(&a.scan), out, error)
                     : st__fail_nomem(error, size);
    st__attempt_release(&a);
    return status;
}

/* Reads through the window. `too_long`: a unit did not fit. */
static st_status fast_stream(st__attempt *a, bool *too_long, st_header **out, st_error *error)
{
    uint64_t first = a->input->first ? a->input->first : ST__HEADER_BLOCK;
    uint64_t offset = st__min_u64(a->input->file_size, st__min_u64(first, ST__HEADER_BLOCK));
    ST_TRY(a->input->read(a->input->ctx, 0, a->chunk, (size_t)offset, error));
    st__frame f = {.bytes = a->chunk,
                   .len = (size_t)offset,
                   .file_size = a->input->file_size,
                   .limit = st__header_limit(a->options)};
    if (st__frame_judge(&f) >= 0)
        return ST_ERR_HEADER_JSON;
    a->size = f.size;
    a->offset = st__min_u64(offset, 8 + a->size);
    window_set(&a->scan, a->chunk + 8, a->chunk + a->offset, 8);
    a->scan.final = a->offset == 8 + a->size;
    if (!st__attempt_begin(a, NULL))
        return st__fail_nomem(error, a->size);
    for (;;) {
        st__unit outcome = st__attempt_scan(&a->scan);
        /* The fault is gone where it only meant the window's end. */
        if (outcome != ST__UNIT_FAULT || a->scan.json.fault)
            return fast_status(a, outcome, out, error);
        st_status status = ST_OK;
        if (!window_move(a, &status, error)) {
            *too_long = status == ST_OK;
            return status;
        }
    }
}

static st_status fast_read(const st__header_input *input, const st_open_options *options,
                           st_header **out, st_error *error)
{
    st__attempt a = {.input = input, .options = options};
    bool too_long = false;
    if (!chunk_new(&a, SMALL_CHUNK))
        return st__fail_nomem(error, a.block_size);
    st_status status = fast_stream(&a, &too_long, out, error);
    st__attempt_release(&a);
    return too_long ? fast_block(input, options, a.size, out, error) : status;
}

/* ----------------------------------------------------------------------------- second look */

/* Reports what concerns no tensor. */
static st__unit report(st__attempt *a, st__rule rule, uint64_t offset, const char *message)
{
    bool go_on = st__scan_deviates(&a->scan, rule, offset, NULL, 0, "%s", message);
    return go_on ? ST__UNIT_FATAL : a->scan.outcome;
}

/* The first byte that is not UTF-8, or NULL. */
static const unsigned char *utf8_fault(const unsigned char *p, const unsigned char *end)
{
    while (p < end) {
        if (end - p >= 8 && !(st__load_le64(p) & UINT64_C(0x8080808080808080))) {
            p += 8;
            continue;
        }
        uint32_t c;
        size_t n = st__utf8_decode(p, (size_t)(end - p), &c);
        if (n == 0)
            return p;
        p += n;
    }
    return NULL;
}

static st__unit report_fault(st__attempt *a)
{
    const st__json *json = &a->scan.json;
    st__rule rule = json->fault == ST__JSON_TOO_DEEP ? ST__RULE_JSON_DEPTH : ST__RULE_JSON_SYNTAX;
    return report(a, rule, st__json_offset(json, json->at), json->what);
}

/* Reads and judges the whole header. ST__UNIT_OK: a header was made, though maybe one that the sink refuses;
 * ST__UNIT_FATAL: none could be. */
static st_status look(st__attempt *a, const st__sink *sink, st__unit *outcome, st_error *error)
{
    unsigned char first[64];
    size_t len = (size_t)st__min_u64(a->input->file_size, sizeof first);
    if (a->input->first && a->input->first < len)
        len = (size_t)a->input->first;
    a->scan.sink = sink;
    a->scan.flags = a->options->flags;
    ST_TRY(a->input->read(a->input->ctx, 0, first, len, error));
    st__frame f = {.bytes = first,
                   .len = len,
                   .file_size = a->input->file_size,
                   .limit = st__header_limit(a->options)};
    int rule = st__frame_judge(&f);
    a->size = f.size;
    if (rule >= 0) {
        *outcome = report(a, (st__rule)rule, 0, f.verdict.message);
        return ST_OK;
    }
    ST_TRY(st__attempt_read(a, error));
    const unsigned char *bad = utf8_fault(a->scan.json.p, a->scan.json.end);
    if (bad) {
        *outcome = report(a, ST__RULE_HEADER_UTF8, st__json_offset(&a->scan.json, bad),
                          "the header is not UTF-8 here");
        return ST_OK;
    }
    if (!st__attempt_begin(a, sink))
        return st__fail_nomem(error, a->size);
    *outcome = st__attempt_scan(&a->scan);
    if (*outcome == ST__UNIT_FAULT)
        *outcome = report_fault(a);
    else if (*outcome == ST__UNIT_END)
        *outcome = st__layout_finish(&a->scan, a->input->file_size);
    return *outcome == ST__UNIT_NOMEM ? st__fail_nomem(error, a->size) : ST_OK;
}

/* Keeps the fault of the lowest stage, the first of them. */
typedef struct first_fault {
    st__sink sink;
    uint32_t flags;
    bool found;
    st__deviation deviation;
} first_fault;

static bool fault_report(void *ctx, const st__deviation *deviation)
{
    first_fault *first = ctx;
    if (st__rule_severity(deviation->rule, first->flags) == ST_SEVERITY_ERROR) {
        first->found = true;
        first->deviation = *deviation;
        first->sink.below = st__rules[deviation->rule].stage;
    }
    return true;
}

static st_status second_look(const st__header_input *input, const st_open_options *options,
                             st_header **out, st_error *error)
{
    st__attempt a = {.input = input, .options = options};
    first_fault first = {.flags = options->flags};
    first.sink = (st__sink){.report = fault_report, .ctx = &first, .below = ST__STAGES - 1};
    st__unit outcome = ST__UNIT_OK;
    st_status status = look(&a, &first.sink, &outcome, error);
    if (status == ST_OK && first.found) {
        const st__deviation *d = &first.deviation;
        status = st__fail(error, st__rules[d->rule].rule.status, d->offset, "%s: %s", input->name,
                          d->message);
    } else if (status == ST_OK) {
        assert(outcome == ST__UNIT_OK);
        *out = a.scan.header;
        a.scan.header = NULL;
    }
    st__attempt_release(&a);
    return status;
}

st_status st__header_read(const st__header_input *input, const st_open_options *options,
                          st_header **out, st_error *error)
{
    const st_open_options *o = options ? options : &default_options;
    ST_TRY(st__options_check(o, error));
    st_status status = fast_read(input, o, out, error);
    return status == ST_ERR_HEADER_JSON ? second_look(input, o, out, error) : status;
}

st_status st__header_check(const st__header_input *input, const st_open_options *options,
                           const st__sink *sink, st_check_summary *summary, st_error *error)
{
    const st_open_options *o = options ? options : &default_options;
    ST_TRY(st__options_check(o, error));
    st__attempt a = {.input = input, .options = o};
    st__unit outcome = ST__UNIT_OK;
    st_status status = look(&a, sink, &outcome, error);
    if (status == ST_OK) {
        const st_header *header = a.scan.header;
        summary->file_size = input->file_size;
        summary->header_size = a.size;
        summary->data_size = header ? header->data_size : 0;
        summary->tensors = header ? header->count : 0;
        summary->metadata = header ? header->metadata_count : 0;
        if (outcome == ST__UNIT_STOPPED)
            status = st__fail(error, ST_ERR_STOPPED, ST_NO_OFFSET, "%s: the check was stopped",
                              input->name);
    }
    st__attempt_release(&a);
    return status;
}

/* ---------------------------------------------------------------------------- from memory */

typedef struct memory_prefix {
    const unsigned char *bytes;
    size_t size;
} memory_prefix;

static st_status prefix_read(void *ctx, uint64_t offset, void *dst, size_t size, st_error *error)
{
    const memory_prefix *prefix = ctx;
    if (offset > prefix->size || size > prefix->size - offset)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%zu bytes given, but the header ends at byte %" PRIu64 " or later",
                        prefix->size, offset + size);
    memcpy(dst, prefix->bytes + offset, size);
    return ST_OK;
}

st_status st_header_parse(const void *prefix, size_t size, uint64_t file_size,
                          const st_open_options *options, st_header **out, st_error *error)
{
    const st_open_options *o = options ? options : &default_options;
    memory_prefix memory = {prefix, (size_t)st__min_u64(size, file_size)};
    st__header_input input = {.read = prefix_read,
                              .ctx = &memory,
                              .file_size = file_size,
                              .memory = memory.bytes,
                              .memory_size = memory.size,
                              .first = st__min_u64(size, ST__HEADER_BLOCK),
                              .name = o->name ? o->name : "<memory>"};
    if (size < 8 && size < file_size)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "%zu bytes given, a header takes 8 or more", size);
    return st__header_read(&input, o, out, error);
}
