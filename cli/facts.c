/* SPDX-License-Identifier: Apache-2.0 */
#include "facts.h"

#include <inttypes.h>
#include <string.h>

#include "listing.h"

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

void facts_print(const struct request *request, struct out *out)
{
    const st_file *file = request->file;
    const st_tensor *tensor = request->tensor;
    const st_region *region = &request->region;
    uint64_t offset = st_file_offset(file, tensor);
    size_t code_len;
    const char *code = st_header_dtype_code(st_file_header(file), tensor->dtype, &code_len);
    out_style(out, STYLE_HEAD);
    out_escaped(out, tensor->name, tensor->name_len);
    out_style(out, STYLE_PLAIN);
    out_text(out, "\n");
    if (request->shard) {
        fact_begin(out, "shard");
        out_escaped(out, request->shard, strlen(request->shard));
        out_text(out, "\n");
    }
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

void facts_json(const struct request *request, struct json *json)
{
    json_tensor(json, st_file_header(request->file), request->tensor);
    if (request->shard)
        json_text(json, "shard", request->shard);
    json_u64(json, "alignment", alignment_of(st_file_offset(request->file, request->tensor)));
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
