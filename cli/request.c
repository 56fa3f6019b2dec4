/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "nearest.h"
#include "out.h"
#include "text.h"

/* Finds a name as it is, or as ls prints it, with escapes. */
static const st_tensor *name_find(const st_header *header, const char *name, size_t len)
{
    const st_tensor *tensor = st_header_find(header, name, len);
    if (tensor || !memchr(name, '\\', len))
        return tensor;
    char *plain = memory_new(len + 1, 1);
    memcpy(plain, name, len);
    tensor = st_header_find(header, plain, text_unescape(plain, len));
    free(plain);
    return tensor;
}

struct request request_of(const struct input *input, const st_tensor *tensor)
{
    struct input_place place = input_place(input, tensor);
    return (struct request){.file = place.file, .tensor = place.tensor, .shard = place.shard};
}

bool request_find(struct request *request, const struct input *input, const char *word,
                  const char *index)
{
    const st_header *header = input_header(input);
    size_t len = strlen(word), index_len = index ? strlen(index) : 0;
    const st_tensor *tensor = name_find(header, word, len);
    const char *bracket = strrchr(word, '[');
    if (!tensor && bracket && word[len - 1] == ']') {
        index = bracket + 1;
        index_len = (size_t)(word + len - 1 - index);
        tensor = name_find(header, word, (size_t)(bracket - word));
    }
    if (!tensor)
        return false;
    *request = request_of(input, tensor);
    request->index = index;
    request->index_len = index_len;
    return true;
}

void request_complain(const struct input *input, const char *word)
{
    const st_header *header = input_header(input);
    char hint[600];
    size_t len = strlen(word);
    const char *bracket = len && word[len - 1] == ']' ? strrchr(word, '[') : NULL;
    if (bracket && bracket > word)
        len = (size_t)(bracket - word);
    struct nearest nearest;
    nearest_init(&nearest, word, len);
    for (size_t i = 0; i < st_header_count(header); i++) {
        const st_tensor *tensor = st_header_at(header, i);
        nearest_offer(&nearest, tensor->name, tensor->name_len);
    }
    nearest_print(&nearest, hint, sizeof hint);
    complain("%s: no tensor %s%s", input->path, text_quote(word, strlen(word)).text, hint);
}

st_status request_resolve(struct request *request, st_error *error)
{
    if (!request->index)
        return st_region_init(&request->region, NULL, request->tensor, NULL, 0, error);
    return st_region_parse(&request->region, NULL, request->tensor, request->index,
                           request->index_len, error);
}
