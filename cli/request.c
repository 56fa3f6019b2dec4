/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "nearest.h"
#include "out.h"
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
