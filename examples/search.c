/* SPDX-License-Identifier: Apache-2.0 */
/* Tells what tensors and metadata of a file match a glob, or hold a text: search FILE PATTERN. */
#include <safetensors/inspect.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool print_found(void *ctx, const st_found *found)
{
    (void)ctx;
    if (found->tensor) {
        printf("tensor %.*s\n", (int)found->tensor->name_len, found->tensor->name);
        return true;
    }
    printf("metadata %.*s", (int)found->metadata->key_len, found->metadata->key);
    if (found->parts & ST_SEARCH_VALUES)
        printf(", bytes %" PRIu64 " to %" PRIu64 " of its value", found->value.begin,
               found->value.end);
    printf("\n");
    return true;
}

int main(int argc, char **argv)
{
    st_file *file = NULL;
    st_name_rule *rule = NULL;
    st_error error;
    uint64_t count = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: search FILE [PATTERN]\n");
        return 2;
    }
    const char *pattern = argc > 2 ? argv[2] : "P";
    const uint32_t kind = strpbrk(pattern, "*?[") ? ST_NAME_GLOB : ST_NAME_TEXT;
    const st_search_options options = {.found = print_found};
    st_status status =
        st_name_rule_new(pattern, NULL, kind | ST_NAME_IGNORE_CASE, NULL, &rule, &error);
    if (status == ST_OK)
        status = st_file_open(argv[1], NULL, &file, &error);
    if (status == ST_OK)
        status = st_header_search(st_file_header(file), rule, &options, &count, &error);
    if (status == ST_OK)
        printf("%" PRIu64 " found\n", count);
    else
        fprintf(stderr, "%s\n", error.message);
    st_file_close(file);
    st_name_rule_free(rule);
    return status != ST_OK;
}
