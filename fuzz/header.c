/* SPDX-License-Identifier: Apache-2.0 */
/* Takes the input as a file. Under every flag, opening it from memory, opening it from a source and
 * checking it must agree, and a header that is accepted must keep what docs/format.md promises. Then
 * the same again with so much put in front of the text that the reader's window ends inside it. */
#include "target.h"

#include <safetensors/inspect.h>

#include "format/rule.h"

#include <string.h>

/* ---------------------------------------------------------------------------------- source */

typedef struct input_file {
    const uint8_t *data;
    size_t size;
} input_file;

static st_status file_info(void *self, st_source_info *out, st_error *error)
{
    const input_file *file = self;
    (void)error;
    *out = (st_source_info){.size = file->size, .mtime_ns = 1, .parallelism = 1};
    return ST_OK;
}

static st_status file_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                           st_error *error)
{
    const input_file *file = self;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        require(offset <= file->size && segments[i].size <= file->size - offset);
        memcpy(segments[i].data, file->data + offset, segments[i].size);
        offset += segments[i].size;
    }
    return ST_OK;
}

static void file_free(void *self)
{
    (void)self;
}

static st_source *source_of(input_file *file)
{
    static const st_source_vtable vtable = {
        .size = sizeof vtable, .info = file_info, .read = file_read, .free = file_free};
    st_source *source;
    require(st_source_new(&vtable, file, NULL, &source, NULL) == ST_OK);
    return source;
}

/* ------------------------------------------------------------------------------ invariants */

static void require_tensor(const st_header *header, size_t index, uint64_t *running)
{
    const st_tensor *t = st_header_at(header, index);
    uint64_t bits = st_tensor_count(t) * st_dtype_bits(t->dtype);
    require(t->begin == *running && t->end >= t->begin);
    *running = t->end;
    require(t->end <= st_header_data_size(header));
    require(t->dtype >= ST_DTYPE_UNKNOWN || (bits % 8 == 0 && bits / 8 == st_tensor_size(t)));
    require(t->name[t->name_len] == '\0' && t->shape != NULL);
    require(st_header_find(header, t->name, t->name_len) == t);
    require(st_header_index(header, t) == index);
    size_t code_len = 0;
    const char *code = st_header_dtype_code(header, t->dtype, &code_len);
    require(code != NULL && code[code_len] == '\0');
    require(t->dtype >= ST_DTYPE_UNKNOWN || st_dtype_find(code, code_len) == t->dtype);
}

static int compare_names(const st_tensor *a, const st_tensor *b)
{
    int order = memcmp(a->name, b->name, a->name_len < b->name_len ? a->name_len : b->name_len);
    return order ? order : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

static void require_header(const st_header *header, size_t file_size)
{
    size_t count = st_header_count(header);
    uint64_t running = 0;
    require(8 + st_header_size(header) == st_header_data_offset(header));
    require(st_header_data_offset(header) + st_header_data_size(header) == file_size);
    for (size_t i = 0; i < count; i++)
        require_tensor(header, i, &running);
    require(running == st_header_data_size(header));
    uint32_t *order = malloc((count + 1) * sizeof *order);
    require(order != NULL);
    require(st_header_sort(header, order, NULL) == ST_OK);
    for (size_t i = 1; i < count; i++)
        require(compare_names(st_header_at(header, order[i - 1]), st_header_at(header, order[i])) <
                0);
    free(order);
    require(st_header_has_metadata(header) || st_header_metadata_count(header) == 0);
    for (size_t i = 0; i < st_header_metadata_count(header); i++) {
        const st_metadata *m = st_header_metadata_at(header, i);
        require(st_header_metadata_find(header, m->key, m->key_len) == m);
        require(m->key[m->key_len] == '\0' && m->value[m->value_len] == '\0');
    }
}

static void require_equal(const st_header *a, const st_header *b)
{
    require(st_header_count(a) == st_header_count(b));
    for (size_t i = 0; i < st_header_count(a); i++) {
        const st_tensor *s = st_header_at(a, i), *t = st_header_at(b, i);
        require(compare_names(s, t) == 0 && s->dtype == t->dtype && s->ndim == t->ndim);
        require(s->begin == t->begin && s->end == t->end);
        require(memcmp(s->shape, t->shape, s->ndim * sizeof *s->shape) == 0);
    }
    require(st_header_has_metadata(a) == st_header_has_metadata(b));
    require(st_header_metadata_count(a) == st_header_metadata_count(b));
    for (size_t i = 0; i < st_header_metadata_count(a); i++) {
        const st_metadata *m = st_header_metadata_at(a, i), *n = st_header_metadata_at(b, i);
        require(m->key_len == n->key_len && memcmp(m->key, n->key, m->key_len) == 0);
        require(m->value_len == n->value_len && memcmp(m->value, n->value, m->value_len) == 0);
    }
}

/* ---------------------------------------------------------------------------------- check */

/* The error that counts among those reported: the first of the lowest stage. */
typedef struct first_error {
    uint64_t errors;
    int stage;
    st_status status;
    uint64_t offset;
} first_error;

static int stage_of(const st_rule *rule)
{
    for (size_t i = 0; i < ST__RULE_COUNT; i++)
        if (strcmp(st__rules[i].rule.id, rule->id) == 0)
            return st__rules[i].stage;
    abort();
}

static bool keep_first(void *ctx, const st_finding *finding)
{
    first_error *first = ctx;
    require(finding->message != NULL && finding->message[0] != '\0');
    require(!strpbrk(finding->message, "\n\r\x1b"));
    require((finding->severity == ST_SEVERITY_ERROR) == (finding->status != ST_OK));
    if (finding->severity != ST_SEVERITY_ERROR)
        return true;
    int stage = stage_of(finding->rule);
    if (first->errors++ == 0 || stage < first->stage) {
        first->stage = stage;
        first->status = finding->status;
        first->offset = finding->offset;
    }
    return true;
}

static void require_agreement(const uint8_t *data, size_t size, uint32_t flags)
{
    st_open_options options = {.flags = flags};
    st_error error = {0};
    st_header *header = NULL;
    st_status status = st_header_parse(data, size, size, &options, &header, &error);
    require((status == ST_OK) == (header != NULL));
    require(status == ST_OK || (status >= 20 && status < 50 && error.offset <= size));

    input_file input = {data, size};
    st_source *source = source_of(&input);
    st_error opened = {0};
    st_file *file = NULL;
    require(st_file_open_source(source, &options, &file, &opened) == status);
    require(opened.offset == error.offset);

    first_error first = {0};
    st_check_summary summary;
    require(st_check(source, &options, keep_first, &first, &summary, NULL) == ST_OK);
    require(first.errors == summary.errors && (status == ST_OK) == (first.errors == 0));
    require(first.status == status && (status == ST_OK || first.offset == error.offset));

    if (status == ST_OK) {
        require_header(header, size);
        require_equal(header, st_file_header(file));
        require(summary.tensors >= st_header_count(header));
    }
    st_file_close(file);
    st_header_release(header);
    st_source_release(source);
}

/* --------------------------------------------------------------------------------- shifted */

/* Where the window of the reader ends, for the first and the second time. */
static const size_t window_ends[] = {16384, 2 * 16384};

/* Fills [at, end) with entries of no bytes, and blanks where no more of them fit. */
static void filler(uint8_t *text, size_t at, size_t end)
{
    static const char entry[] =
        "\"~0000\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},";
    const size_t len = sizeof entry - 1;
    for (unsigned n = 0; at + 2 * len < end; n++, at += len) {
        memcpy(text + at, entry, len);
        for (unsigned digit = 0, rest = n; digit < 4; digit++, rest /= 10)
            text[at + 5 - digit] = (uint8_t)('0' + rest % 10);
    }
    memset(text + at, ' ', end - at);
}

/* The same file with members in front, so that some byte of the text stands at a window's end. Which
 * one follows from the input: one choice for each keeps the fuzzer fast. */
static void require_shifted(const uint8_t *data, size_t size)
{
    if (size < 11 || size > 8192)
        return;
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + data[i];
    size_t inside = sum % (size - 8), window_end = window_ends[(sum >> 16) % 8 == 0];
    uint64_t n = 0;
    for (int i = 8; i-- > 0;)
        n = n << 8 | data[i];
    if (n > size - 8 || data[8] != '{')
        return;
    size_t shift = window_end - 8 - inside;
    uint8_t *moved = malloc(size + shift);
    require(moved != NULL);
    memcpy(moved, data, 9);
    filler(moved, 9, 9 + shift);
    memcpy(moved + 9 + shift, data + 9, size - 9);
    n += shift;
    for (int i = 0; i < 8; i++)
        moved[i] = (uint8_t)(n >> (8 * i));
    require_agreement(moved, size + shift, sum >> 24 & 3);
    free(moved);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (uint32_t flags = 0; flags < 4; flags++)
        require_agreement(data, size, flags);
    require_shifted(data, size);
    return 0;
}
