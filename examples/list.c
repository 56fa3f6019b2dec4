/* SPDX-License-Identifier: Apache-2.0 */
/* Lists a file's tensors in the order of their data: list FILE. */
#include <safetensors/safetensors.h>

#include <inttypes.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    st_file *file;
    st_error error;
    if (argc != 2) {
        fprintf(stderr, "usage: list FILE\n");
        return 2;
    }
    if (st_file_open(argv[1], NULL, &file, &error) != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    for (size_t i = 0; i < st_file_count(file); i++) {
        const st_tensor *tensor = st_file_at(file, i);
        fwrite(tensor->name, 1, tensor->name_len, stdout);
        printf(" %s [", st_dtype_code(tensor->dtype));
        for (uint32_t d = 0; d < tensor->ndim; d++)
            printf("%s%" PRIu64, d ? ", " : "", tensor->shape[d]);
        printf("] %" PRIu64 " bytes\n", st_tensor_size(tensor));
    }
    st_file_close(file);
    return 0;
}
