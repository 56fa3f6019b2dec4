/* SPDX-License-Identifier: Apache-2.0 */
/* Tells what two files have not in common: compare FILE [OTHER]. Of one file alone, with all of it but its first
 * tensor, as one side of two may be any list of tensors. */
#include <safetensors/inspect.h>

#include <inttypes.h>
#include <stdio.h>

static bool print_change(void *ctx, const st_change *change)
{
    static const char *const kinds[] = {[ST_CHANGE_REMOVED] = "only in the first",
                                        [ST_CHANGE_ADDED] = "only in the second",
                                        [ST_CHANGE_RENAMED] = "renamed",
                                        [ST_CHANGE_CHANGED] = "changed"};
    const st_side_tensor *side = change->a ? change->a : change->b;
    (void)ctx;
    if (!side || !change->differs) /* metadata, or nothing but another place */
        return true;
    printf("%.*s: %s", (int)side->tensor->name_len, side->tensor->name, kinds[change->kind]);
    if (change->values)
        printf(", %" PRIu64 " of %" PRIu64 " elements by up to %g", change->values->different,
               change->values->count, change->values->max_absolute);
    printf("\n");
    return true;
}

/* Compares a file with a part of itself. */
static st_status compare_part(const st_file *file, const st_compare_options *options,
                              st_compare_summary *summary, st_error *error)
{
    enum { MOST = 16 };
    st_side_tensor tensors[MOST];
    size_t count = 0;
    for (; count < MOST && count < st_file_count(file); count++)
        tensors[count] = (st_side_tensor){file, st_file_at(file, count)};
    const st_side whole = {.name = "the file", .tensors = tensors, .tensor_count = count};
    const st_side part = {
        .name = "its part", .tensors = tensors + 1, .tensor_count = count ? count - 1 : 0};
    return st_sides_compare(&whole, &part, options, summary, error);
}

int main(int argc, char **argv)
{
    st_file *a = NULL, *b = NULL;
    st_error error = {0};
    st_compare_summary summary = {0};
    const st_compare_options options = {
        .flags = ST_COMPARE_CLOSE, .rtol = 1e-5, .change = print_change};
    if (argc < 2) {
        fprintf(stderr, "usage: compare FILE [OTHER]\n");
        return 2;
    }
    st_status status = st_file_open(argv[1], NULL, &a, &error);
    if (status == ST_OK && argc > 2)
        status = st_file_open(argv[2], NULL, &b, &error);
    if (status == ST_OK)
        status = b ? st_files_compare(a, b, &options, &summary, &error)
                   : compare_part(a, &options, &summary, &error);
    if (status == ST_OK)
        printf("%" PRIu64 " differences, %" PRIu64 " the same\n", summary.differences,
               summary.same);
    else
        fprintf(stderr, "%s\n", error.message);
    st_file_close(a);
    st_file_close(b);
    return status != ST_OK;
}
