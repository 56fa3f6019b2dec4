/* SPDX-License-Identifier: Apache-2.0 */
/* Reading tensors of a file by each strategy, by one thread and by several: whatever is asked for, at whatever odd
 * place, the bytes are those that a naive copy gives. What st_file_explain says of it. */
#include "support/check.h"
#include "support/random.h"
#include "support/watched.h"

#include <safetensors/safetensors.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Odd offsets, and one large enough for residency to be asked for. */
#define HEADER                                                                            \
 "{\"a\":{\"dtype\":\"U8\",\"shape\":[4097],\"data_offsets\":[0,4097]},"                  \
 "\"big\":{\"dtype\":\"U8\",\"shape\":[1031,17000],\"data_offsets\":[4097,17531097]},"    \
 "\"c\":{\"dtype\":\"I16\",\"shape\":[7,50,33,20],\"data_offsets\":[17531097,17993097]}," \
 "\"e\":{\"dtype\":\"F32\",\"shape\":[0,6],\"data_offsets\":[17993097,17993097]}}"
#define DATA_SIZE ((size_t)17993097)

static unsigned char *bytes; /* of the data section */
static char path[64] = "/tmp/st_test_read.XXXXXX";
static size_t header_size;

static int file_make(void **state)
{
    (void)state;
    const size_t len = strlen(HEADER);
    unsigned char prefix[8] = {(unsigned char)len, (unsigned char)(len >> 8)};
    bytes = malloc(DATA_SIZE);
    int fd = mkstemp(path);
    if (!bytes || fd < 0)
        return -1;
    for (size_t i = 0; i < DATA_SIZE; i++)
        bytes[i] = (unsigned char)(i * 31 + i / 251 + i / 65521);
    header_size = 8 + len;
    bool put = write(fd, prefix, 8) == 8 && write(fd, HEADER, len) == (ssize_t)len &&
               write(fd, bytes, DATA_SIZE) == (ssize_t)DATA_SIZE && fsync(fd) == 0;
    close(fd);
    return put ? 0 : -1;
}

static int file_drop(void **state)
{
    (void)state;
    free(bytes);
    return unlink(path);
}

/* Out of the page cache, if the system likes. */
static void cool_down(void)
{
    int fd = open(path, O_RDONLY);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
}

static st_file *file_open(uint32_t io, uint32_t threads)
{
    const st_context_options options = {.max_threads = threads};
    st_context *context;
    st_file *file = NULL;
    CHECK_OK(st_context_new(&options, &context, &error));
    const st_open_options how = {.io = io_here(io), .context = context, .name = "sample"};
    CHECK_OK(st_file_open(path, &how, &file, &error));
    st_context_release(context);
    return file;
}

/* ------------------------------------------------------------------------------- naive copies */

/* What a region of a tensor of up to 4 dimensions holds, element by element. */
static void naive_copy(const st_tensor *tensor, const st_region *region, unsigned char *to)
{
    const size_t element = st_dtype_bits(tensor->dtype) / 8;
    uint64_t at[4] = {0};
    for (uint64_t n = region->size / element; n > 0; n--) {
        uint64_t index = 0;
        for (uint32_t d = 0; d < tensor->ndim; d++) {
            const st_slice *s = &region->dims[d].at[0];
            index = index * tensor->shape[d] + s->start + at[d] * (uint64_t)s->step;
        }
        memcpy(to, bytes + tensor->begin + index * element, element);
        to += element;
        for (uint32_t d = tensor->ndim; d-- > 0;) {
            if (++at[d] < region->dims[d].at[0].count)
                break;
            at[d] = 0;
        }
    }
}

/* "a:b:c" of a dimension, or its reverse, or one of it. */
static size_t random_slice(char *text, size_t room, uint64_t dim)
{
    uint64_t low = random_below(dim), high = low + 1 + random_below(dim - low);
    if (random_below(3) == 0)
        low = 0, high = dim;
    unsigned step = random_below(2) ? 1 : 1 + (unsigned)random_below(40);
    if (random_below(4) == 0 && low > 0)
        return (size_t)snprintf(text, room, "%llu:%llu:-%u", (unsigned long long)high - 1,
                                (unsigned long long)low - 1, step);
    return (size_t)snprintf(text, room, "%llu:%llu:%u", (unsigned long long)low,
                            (unsigned long long)high, step);
}

static void random_region(const st_tensor *tensor, st_region *region)
{
    char text[200];
    size_t used = 0;
    for (uint32_t d = 0; d < tensor->ndim; d++) {
        used += random_slice(text + used, sizeof text - used, tensor->shape[d]);
        used += (size_t)snprintf(text + used, sizeof text - used, d + 1 < tensor->ndim ? "," : "");
    }
    CHECK_OK(st_region_parse(region, NULL, tensor, text, used, &error));
}

/* ------------------------------------------------------------------------------------- reading */

typedef struct gathered {
    unsigned char *at;
} gathered;

static st_status block_take(void *ctx, const void *data, size_t size, st_error *error)
{
    gathered *g = ctx;
    (void)error;
    memcpy(g->at, data, size);
    g->at += size;
    return ST_OK;
}

static void check_read(const st_file *file, const st_tensor *tensor, const st_region *region,
                       const unsigned char *want, size_t size)
{
    size_t ahead = random_below(2) ? random_below(64) : 0;
    unsigned char *got = malloc(size + 128);
    memset(got, 0xa5, size + 128);
    CHECK_OK(st_file_read(file, tensor, region, got + ahead, size, &error));
    assert_memory_equal(got + ahead, want, size);
    assert_int_equal(got[ahead + size], 0xa5);
    memset(got, 0, size);
    gathered g = {got};
    CHECK_OK(st_file_read_blocks(file, tensor, region, block_take, &g, &error));
    assert_ptr_equal(g.at, got + size);
    assert_memory_equal(got, want, size);
    free(got);
}

static void check_regions(const st_file *file, const char *name, int rounds)
{
    const st_tensor *tensor = st_file_find(file, name, strlen(name));
    for (int i = 0; i < rounds; i++) {
        st_region region;
        random_region(tensor, &region);
        unsigned char *want = malloc(region.size + 1);
        naive_copy(tensor, &region, want);
        check_read(file, tensor, &region, want, region.size);
        free(want);
        st_region_release(&region);
    }
}

static void test_regions(void **state)
{
    (void)state;
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++)
        for (uint32_t threads = 1; threads <= 4; threads += 3) {
            st_file *file = file_open(io, threads);
            random_state = 5;
            cool_down();
            check_regions(file, "a", 4);
            check_regions(file, "c", 8);
            check_regions(file, "big", 5);
            st_file_close(file);
        }
}

static void test_whole(void **state)
{
    (void)state;
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++)
        for (uint32_t threads = 1; threads <= 4; threads += 3) {
            st_file *file = file_open(io, threads);
            random_state = 6;
            for (size_t i = 0; i < st_file_count(file); i++) {
                const st_tensor *tensor = st_file_at(file, i);
                cool_down();
                check_read(file, tensor, NULL, bytes + tensor->begin,
                           (size_t)(tensor->end - tensor->begin));
            }
            st_file_close(file);
        }
}

/* ---------------------------------------------------------------------------------- explaining */

static void check_explained(const st_file *file, const st_tensor *tensor, const st_region *region,
                            uint64_t size)
{
    st_explanation said;
    CHECK_OK(st_file_explain(file, tensor, region, &said, &error));
    assert_in_range(said.io, ST_IO_PREAD, ST_IO_POPULATE);
    assert_int_equal(said.bytes, size);
    assert_true(said.read >= size);
    assert_in_range(said.threads, 1, 4);
    assert_in_range(said.depth, 1, 64);
    assert_true(said.unit >= 4096);
    assert_true(said.resident == UINT64_MAX || said.resident <= DATA_SIZE + 8192);
    assert_true(said.memory >= 1 << 20); /* or unknown */
    assert_int_equal(strncmp(said.text, st_io_name(said.io), strlen(st_io_name(said.io))), 0);
    assert_null(strchr(said.text, '\n'));
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(said.reserved[i], 0);
}

static void test_explain(void **state)
{
    (void)state;
    for (uint32_t io = ST_IO_AUTO; io <= ST_IO_POPULATE; io++) {
        st_file *file = file_open(io, 4);
        const st_tensor *big = st_file_find(file, "big", 3);
        st_region region;
        st_explanation said;
        CHECK_OK(st_region_parse(&region, NULL, big, ":, 5:50", 7, &error));
        check_explained(file, NULL, NULL, DATA_SIZE);
        check_explained(file, big, NULL, big->end - big->begin);
        check_explained(file, big, &region, region.size);
        check_explained(file, st_file_find(file, "e", 1), NULL, 0);
        CHECK_OK(st_file_explain(file, big, NULL, &said, &error));
        if (io == ST_IO_PREAD || io == ST_IO_MAP || io == ST_IO_POPULATE)
            assert_int_equal(said.io, io);
        CHECK_ERR(st_file_explain(file, NULL, &region, &said, &error), ST_ERR_ARGUMENT,
                  ST_NO_OFFSET);
        region.size++;
        CHECK_ERR(st_file_explain(file, big, &region, &said, &error), ST_ERR_ARGUMENT,
                  ST_NO_OFFSET);
        region.size--;
        st_region_release(&region);
        st_file_close(file);
    }
}

/* A file that shrank under each strategy: the byte where it ends, and which tensor lacks it. */
static void test_cut_off(void **state)
{
    (void)state;
    static const uint32_t ios[] = {ST_IO_AUTO, ST_IO_PREAD, ST_IO_DIRECT, ST_IO_URING,
                                   ST_IO_DONTCACHE};
    unsigned char *room = malloc(DATA_SIZE);
    for (size_t i = 0; i < 5; i++) {
        st_file *file = file_open(ios[i], 4);
        const st_tensor *big = st_file_find(file, "big", 3);
        const size_t size = (size_t)(big->end - big->begin), end = header_size + 9000001;
        assert_int_equal(truncate(path, (off_t)end), 0);
        CHECK_ERR_TEXT(st_file_read(file, big, NULL, room, size, &error), ST_ERR_SHORT_READ, end,
                       "sample: tensor \"big\": ");
        gathered g = {room};
        CHECK_ERR_TEXT(st_file_read_blocks(file, big, NULL, block_take, &g, &error),
                       ST_ERR_SHORT_READ, end, "sample: tensor \"big\": ");
        st_file_close(file);
        int fd = open(path, O_WRONLY);
        assert_int_equal(pwrite(fd, bytes + 9000001, DATA_SIZE - 9000001, (off_t)end),
                         DATA_SIZE - 9000001);
        close(fd);
    }
    free(room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regions),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_cut_off),
    };
    return cmocka_run_group_tests_name("read", tests, file_make, file_drop);
}
