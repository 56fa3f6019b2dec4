/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "listing.h"
#include "memory.h"
#include "nearest.h"
#include "text.h"

/* Finds a name as it is, or as ls prints it, with escapes. */
static const st_tensor *name_find(const st_file *file, const char *name, size_t len)
{
    const st_tensor *tensor = st_file_find(file, name, len);
    if (tensor || !memchr(name, '\\', len))
        return tensor;
    char *plain = memory_new(len + 1, 1);
    memcpy(plain, name, len);
    tensor = st_file_find(file, plain, text_unescape(plain, len));
    free(plain);
    return tensor;
}

bool request_find(struct request *request, const st_file *file, const char *word, const char *index)
{
    size_t len = strlen(word);
    *request = (struct request){.index = index, .index_len = index ? strlen(index) : 0};
    request->tensor = name_find(file, word, len);
    const char *bracket = strrchr(word, '[');
    if (request->tensor || !bracket || word[len - 1] != ']')
        return request->tensor != NULL;
    request->index = bracket + 1;
    request->index_len = (size_t)(word + len - 1 - request->index);
    request->tensor = name_find(file, word, (size_t)(bracket - word));
    return request->tensor != NULL;
}

void request_complain(const st_file *file, const char *path, const char *word)
{
    char hint[600];
    size_t len = strlen(word);
    const char *bracket = len && word[len - 1] == ']' ? strrchr(word, '[') : NULL;
    if (bracket && bracket > word)
        len = (size_t)(bracket - word);
    struct nearest nearest;
    nearest_init(&nearest, word, len);
    for (size_t i = 0; i < st_file_count(file); i++) {
        const st_tensor *tensor = st_file_at(file, i);
        nearest_offer(&nearest, tensor->name, tensor->name_len);
    }
    nearest_print(&nearest, hint, sizeof hint);
    complain("%s: no tensor %s%s", path, text_quote(word, strlen(word)).text, hint);
}

st_status request_resolve(struct request *request, st_error *error)
{
    if (!request->index)
        return st_region_init(&request->region, NULL, request->tensor, NULL, 0, error);
    return st_region_parse(&request->region, NULL, request->tensor, request->index,
                           request->index_len, error);
}

/* -------------------------------------------------------------------------------- facts */

/* Gives the largest power of two that divides the offset. */
static uint64_t alignment_of(uint64_t offset)
{
    return offset & (0 - offset);
}

void fact_begin(struct out *out, const char *name)
{
    out_style(out, STYLE_DIM);
    out_print(out, "  %-9s ", name);
    out_style(out, STYLE_PLAIN);
}

void fact_number(struct out *out, const char *name, uint64_t number)
{
    fact_begin(out, name);
    out_print(out, "%" PRIu64 "\n", number);
}

void request_print(const struct request *request, const st_file *file, struct out *out)
{
    const st_tensor *tensor = request->tensor;
    const st_region *region = &request->region;
    uint64_t offset = st_file_offset(file, tensor);
    size_t code_len;
    const char *code = st_header_dtype_code(st_file_header(file), tensor->dtype, &code_len);
    out_style(out, STYLE_HEAD);
    out_escaped(out, tensor->name, tensor->name_len);
    out_style(out, STYLE_PLAIN);
    out_text(out, "\n");
    fact_begin(out, "dtype");
    out_escaped(out, code, code_len);
    out_text(out, "\n");
    fact_begin(out, "shape");
    listing_print_shape(out, tensor->shape, tensor->ndim);
    out_text(out, "\n");
    fact_number(out, "elements", st_tensor_count(tensor));
    fact_number(out, "bytes", st_tensor_size(tensor));
    fact_begin(out, "offset");
    out_print(out, "%" PRIu64 ", a multiple of %" PRIu64 "\n", offset, alignment_of(offset));
    if (!request->index)
        return;
    fact_begin(out, "slice");
    out_text(out, "[");
    out_escaped(out, request->index, request->index_len);
    out_text(out, "] of shape ");
    listing_print_shape(out, region->shape, region->out_ndim);
    out_print(out, ", %" PRIu64 " elements, %" PRIu64 " bytes\n", region->count, region->size);
}

void request_json(const struct request *request, const st_file *file, struct json *json)
{
    json_tensor(json, st_file_header(file), request->tensor);
    json_u64(json, "alignment", alignment_of(st_file_offset(file, request->tensor)));
    json_key(json, "slice");
    if (!request->index) {
        st_json_emit_null(json->emitter);
        return;
    }
    st_json_emit_object_begin(json->emitter);
    json_string(json, "index", request->index, request->index_len);
    json_shape(json, "shape", request->region.shape, request->region.out_ndim);
    json_u64(json, "elements", request->region.count);
    json_u64(json, "bytes", request->region.size);
    st_json_emit_object_end(json->emitter);
}
