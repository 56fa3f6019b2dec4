/* SPDX-License-Identifier: Apache-2.0 */
#include "part.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "out.h"
#include "text.h"

/* Maps a file of plain bytes. */
static st_status bytes_map(struct part *part, int fd, st_error *error)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return io_error(part->path, error);
    if (!S_ISREG(info.st_mode))
        return error_fill(error, ST_ERR_NOT_REGULAR, "%.300s: not a regular file", part->path);
    if ((uintmax_t)info.st_size > SIZE_MAX)
        return error_fill(error, ST_ERR_TOO_BIG, "%.300s: does not fit into memory's addresses",
                          part->path);
    part->size = (size_t)info.st_size;
    if (part->size == 0)
        return ST_OK;
    void *bytes = mmap(NULL, part->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return io_error(part->path, error);
    part->bytes = bytes;
    return ST_OK;
}

static st_status bytes_open(struct part *part, st_error *error)
{
    int fd = open(part->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return io_error(part->path, error);
    st_status status = bytes_map(part, fd, error);
    close(fd);
    return status;
}

st_status part_open(struct part *part, const char *path, bool raw, const struct common *common,
                    st_error *error)
{
    *part = (struct part){.raw = raw};
    part->path = memory_new(strlen(path) + 1, 1);
    strcpy(part->path, path);
    st_status status =
        raw ? bytes_open(part, error) : input_open(&part->input, part->path, common, error);
    if (status == ST_OK && !raw)
        part->maps = memory_new(input_file_count(&part->input), sizeof(st_buffer *));
    if (status != ST_OK)
        part_close(part);
    return status;
}

void part_close(struct part *part)
{
    if (part->bytes)
        munmap(part->bytes, part->size);
    for (size_t i = 0; part->maps && i < input_file_count(&part->input); i++)
        st_buffer_release(part->maps[i]);
    free(part->maps);
    input_close(&part->input);
    free(part->path);
}

st_status part_array(struct part *part, const struct input_place *place, st_array *out,
                     st_error *error)
{
    const st_tensor *tensor = place->tensor;
    st_buffer **map = &part->maps[place->index];
    if (!*map) {
        st_status status = st_file_map(place->file, ST_MAP_SHARED, map, error);
        if (status != ST_OK)
            return status;
    }
    unsigned char *bytes = st_buffer_data(*map);
    *out = (st_array){.data = bytes + (size_t)st_file_offset(place->file, tensor),
                      .shape = tensor->shape,
                      .ndim = tensor->ndim,
                      .dtype = tensor->dtype};
    return ST_OK;
}

st_status part_bytes(const struct part *part, const st_tensor *tensor, st_array *out,
                     st_error *error)
{
    static unsigned char none;
    static const char ending[] = ".safetensors";
    size_t len = strlen(part->path);
    bool named =
        len >= sizeof ending - 1 && strcmp(part->path + len - (sizeof ending - 1), ending) == 0;
    if (part->size != st_tensor_size(tensor))
        return error_fill(
            error, ST_ERR_BUFFER_SIZE, "%.200s: has %zu bytes, and tensor %s has %" PRIu64 "%s",
            part->path, part->size, text_quote(tensor->name, tensor->name_len).text,
            st_tensor_size(tensor), named ? "; one of its tensors is NAME=FILE:TENSOR" : "");
    *out = (st_array){.data = part->bytes ? part->bytes : &none,
                      .shape = tensor->shape,
                      .ndim = tensor->ndim,
                      .dtype = tensor->dtype};
    return ST_OK;
}
