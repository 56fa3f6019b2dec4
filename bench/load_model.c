/* SPDX-License-Identifier: Apache-2.0 */
#include "load_model.h"
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of tensors, so that data does not begin at pages, as in most files there are. */
#define GRAIN 64u
enum { ENTRY_SIZE = 160, WORDS = 1 << 17 };

static void folder_make(const char *path)
{
    if (mkdir(path, 0777) && errno != EEXIST)
        bench_fail("cannot make %s: %s", path, strerror(errno));
}

/* Gives the header of tensors `first` to `last`, its length in front, and its size. */
static unsigned char *header_new(const load_model *model, size_t first, size_t last, size_t *size)
{
    char *text = malloc((last - first) * ENTRY_SIZE + 16);
    if (!text)
        bench_fail("no memory");
    size_t at = 8;
    uint64_t begin = 0;
    text[at++] = '{';
    for (size_t i = first; i < last; i++, begin += model->tensor_size)
        at += (size_t)snprintf(text + at, ENTRY_SIZE,
                               "%s\"model.layers.%zu.mlp.experts.%zu.weight\":{\"dtype\":\"F32\","
                               "\"shape\":[%zu,16],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                               i > first ? "," : "", i / 100, i % 100, model->tensor_size / GRAIN,
                               begin, begin + model->tensor_size);
    text[at++] = '}';
    while (at % 8)
        text[at++] = ' ';
    for (unsigned i = 0; i < 8; i++)
        text[i] = (char)(unsigned char)((uint64_t)(at - 8) >> (8 * i));
    *size = at;
    return (unsigned char *)text;
}

static void bytes_write(int fd, const void *from, size_t size)
{
    if (write(fd, from, size) != (ssize_t)size)
        bench_fail("cannot write: %s", strerror(errno));
}

/* Writes so many bytes of the noise that goes on from `*state`, and adds them up; `fd` -1: only the latter. */
static uint64_t noise_write(int fd, uint64_t size, uint64_t *state)
{
    static uint64_t words[WORDS];
    uint64_t sum = 0;
    while (size) {
        size_t part = size < sizeof words ? (size_t)size : sizeof words;
        for (size_t i = 0; i < part / sizeof *words; i++)
            sum += words[i] = *state = *state * 6364136223846793005u + 1442695040888963407u;
        if (fd >= 0)
            bytes_write(fd, words, part);
        size -= part;
    }
    return sum;
}

static bool is_there(const char *path, uint64_t size)
{
    struct stat facts;
    return stat(path, &facts) == 0 && (uint64_t)facts.st_size == size;
}

/* Gives the sum of its tensors. */
static uint64_t file_make(const load_model *model, size_t index, uint64_t *state)
{
    size_t first = model->tensors * index / model->files;
    size_t last = model->tensors * (index + 1) / model->files;
    uint64_t data = (last - first) * model->tensor_size;
    const char *path = model->names[index];
    char temporary[LOAD_PATH_SIZE + 8];
    size_t size;
    unsigned char *header = header_new(model, first, last, &size);
    uint64_t sum;
    if (is_there(path, size + data)) {
        sum = noise_write(-1, data, state);
    } else {
        snprintf(temporary, sizeof temporary, "%s.new", path);
        int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd < 0)
            bench_fail("cannot make %s: %s", temporary, strerror(errno));
        bytes_write(fd, header, size);
        sum = noise_write(fd, data, state);
        if (fsync(fd) || close(fd) || rename(temporary, path))
            bench_fail("cannot write %s: %s", path, strerror(errno));
    }
    free(header);
    return sum;
}

void load_model_make(load_model *model, const char *root, size_t tensors, size_t files,
                     uint64_t bytes)
{
    uint64_t state = 1;
    model->tensors = tensors;
    model->files = files;
    model->tensor_size = (size_t)(bytes / tensors / GRAIN * GRAIN);
    model->bytes = tensors * model->tensor_size;
    model->sum = 0;
    snprintf(model->folder, sizeof model->folder, "%.3800s/%zux%zu-%zu", root, tensors, files,
             model->tensor_size);
    folder_make(root);
    folder_make(model->folder);
    for (size_t i = 0; i < files; i++) {
        snprintf(model->names[i], sizeof model->names[i], "%s/model-%05zu-of-%05zu.safetensors",
                 model->folder, i + 1, files);
        model->paths[i] = model->names[i];
        model->sum += file_make(model, i, &state);
    }
}
