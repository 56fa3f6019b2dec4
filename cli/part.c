/* SPDX-License-Identifier: Apache-2.0 */
#include "part.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "input.h"
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
        raw ? bytes_open(part, error) : input_open_file(part->path, common, &part->file, error);
    if (status != ST_OK)
        part_close(part);
    return status;
}

void part_close(struct part *part)
{
    if (part->bytes)
        munmap(part->bytes, part->size);
    st_buffer_release(part->map);
    st_file_close(part->file);
    free(part->path);
}

st_status part_array(struct part *part, const st_tensor *tensor, st_array *out, st_error *error)
{
    if (!part->map) {
        st_status status = st_file_map(part->file, ST_MAP_SHARED, &part->map, error);
        if (status != ST_OK)
            return status;
    }
    unsigned char *bytes = st_buffer_data(part->map);
    *out = (st_array){.data = bytes + (size_t)st_file_offset(part->file, tensor),
                      .shape = tensor->shape,
                      .ndim = tensor->ndim,
                      .dtype = tensor->dtype};
    return ST_OK;
}

st_status part_bytes(const struct part *part, const st_tensor *tensor, st_array *out,
                     st_error *error)
{
    static unsigned char none;
    if (part->size != st_tensor_size(tensor))
        return error_fill(error, ST_ERR_BUFFER_SIZE,
                          "%.200s: has %zu bytes, and tensor %s has %" PRIu64, part->path,
                          part->size, text_quote(tensor->name, tensor->name_len).text,
                          st_tensor_size(tensor));
    *out = (st_array){.data = part->bytes ? part->bytes : &none,
                      .shape = tensor->shape,
                      .ndim = tensor->ndim,
                      .dtype = tensor->dtype};
    return ST_OK;
}
