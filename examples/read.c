/* SPDX-License-Identifier: Apache-2.0 */
/* Reads one tensor and a part of it: read FILE [TENSOR]. */
#include <safetensors/safetensors.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_elements(st_dtype dtype, const void *data, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        char text[ST_ELEMENT_TEXT_SIZE];
        st_value value = st_element_decode(dtype, data, i);
        st_element_format(dtype, &value, text, sizeof text);
        printf(" %s", text);
    }
    printf("\n");
}

static st_status print_whole(const st_file *file, const st_tensor *tensor, st_error *error)
{
    size_t size = (size_t)st_tensor_size(tensor);
    void *data = malloc(size ? size : 1);
    if (!data)
        return ST_ERR_NOMEM;
    st_status status = st_file_read(file, tensor, NULL, data, size, error);
    if (status == ST_OK)
        print_elements(tensor->dtype, data, st_tensor_count(tensor));
    free(data);
    return status;
}

static st_status print_part(const st_file *file, const st_tensor *tensor, const char *index,
                            st_error *error)
{
    st_region region;
    st_status status = st_region_parse(&region, NULL, tensor, index, strlen(index), error);
    if (status != ST_OK)
        return status;
    void *data = malloc((size_t)region.size + 1);
    status =
        data ? st_file_read(file, tensor, &region, data, (size_t)region.size, error) : ST_ERR_NOMEM;
    if (status == ST_OK)
        print_elements(tensor->dtype, data, region.count);
    free(data);
    st_region_release(&region);
    return status;
}

int main(int argc, char **argv)
{
    st_file *file;
    st_error error = {0};
    const char *name = argc > 2 ? argv[2] : "weight";
    if (argc < 2 || st_file_open(argv[1], NULL, &file, &error) != ST_OK) {
        fprintf(stderr, "%s\n", argc < 2 ? "usage: read FILE [TENSOR]" : error.message);
        return 1;
    }
    int failed = 1;
    const st_tensor *tensor = st_file_find(file, name, strlen(name));
    if (!tensor) {
        fprintf(stderr, "%s: no tensor \"%s\"\n", argv[1], name);
    } else if (print_whole(file, tensor, &error) != ST_OK ||
               print_part(file, tensor, "..., ::-1", &error) != ST_OK) {
        fprintf(stderr, "%s\n", error.message);
    } else {
        failed = 0;
    }
    st_file_close(file);
    return failed;
}
