/* SPDX-License-Identifier: Apache-2.0 */
/* One file in a process of its own: what a first open takes in time and in memory, and a fixed
 * amount of work to count instructions of. */
#include "measure.h"
#include "memory.h"

#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench_once first names|open FILE    ns of the first open in this process\n"
    "       bench_once memory FILE...           a CSV row each\n"
    "       bench_once count WHAT LOOPS FILE    WHAT: parse or open";

static void names_walk(const st_file *file)
{
    size_t count = st_file_count(file), bytes = 0;
    uint32_t *order = malloc(count * sizeof *order + 1);
    if (!order || st_header_sort(st_file_header(file), order, NULL))
        bench_fail("cannot sort");
    for (size_t i = 0; i < count; i++)
        bytes += st_file_at(file, order[i])->name_len;
    if (count && !bytes)
        bench_fail("no names");
    free(order);
}

static int first(const char *what, const char *path)
{
    st_file *file;
    st_error error;
    uint64_t start = bench_now();
    if (st_file_open(path, NULL, &file, &error))
        bench_fail("%s", error.message);
    if (!strcmp(what, "names"))
        names_walk(file);
    st_file_close(file);
    printf("%" PRIu64 "\n", bench_now() - start);
    return 0;
}

/* A file as a caller's own source, so that what is read of it can be seen. */
typedef struct watched_file {
    int fd;
    uint64_t size;
    uint64_t read;     /* bytes, all reads together */
    uint64_t furthest; /* one past the last byte read */
} watched_file;

static st_status watched_info(void *self, st_source_info *out, st_error *error)
{
    (void)error;
    memset(out, 0, sizeof *out);
    out->size = ((watched_file *)self)->size;
    return ST_OK;
}

static st_status watched_read(void *self, uint64_t offset, const st_segment *segments, size_t count,
                              st_error *error)
{
    watched_file *file = self;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        for (size_t done = 0; done < segments[i].size;) {
            ssize_t got = pread(file->fd, (char *)segments[i].data + done, segments[i].size - done,
                                (off_t)(offset + done));
            if (got <= 0)
                return ST_ERR_SHORT_READ;
            done += (size_t)got;
        }
        offset += segments[i].size;
        file->read += segments[i].size;
        file->furthest = offset > file->furthest ? offset : file->furthest;
    }
    return ST_OK;
}

static void watched_free(void *self)
{
    close(((watched_file *)self)->fd);
}

static const st_source_vtable watched = {
    .size = sizeof watched, .info = watched_info, .read = watched_read, .free = watched_free};

/* Bytes read of the file, and bytes read beyond its header. */
static void reads_count(const char *path, uint64_t header, uint64_t *total, uint64_t *beyond)
{
    static watched_file file;
    struct stat facts;
    st_source *source;
    st_file *opened;
    file = (watched_file){.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (file.fd < 0 || fstat(file.fd, &facts))
        bench_fail("cannot open %s", path);
    file.size = (uint64_t)facts.st_size;
    if (st_source_new(&watched, &file, NULL, &source, NULL))
        bench_fail("no source");
    if (!st_file_open_source(source, NULL, &opened, NULL))
        st_file_close(opened);
    st_source_release(source);
    *total = file.read;
    *beyond = file.furthest > header ? file.furthest - header : 0;
}

static uint64_t header_end(const char *path)
{
    unsigned char prefix[8];
    uint64_t size = 8;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, prefix, 8, 0) != 8 || close(fd))
        bench_fail("cannot read %s", path);
    for (unsigned i = 0; i < 8; i++)
        size += (uint64_t)prefix[i] << (8 * i);
    return size;
}

/* Pages of the file that are not in memory would be timed as the disk's. */
static void cache_warm(const char *path, uint64_t size)
{
    static char block[1 << 20];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (uint64_t at = 0; at < size; at += sizeof block) {
        if (pread(fd, block, sizeof block, (off_t)at) <= 0)
            break;
    }
    close(fd);
}

/* Opens `{}`, so that code and the allocator's own pages are not taken for the header's. */
static void code_warm(void)
{
    static unsigned char empty[] = "\2\0\0\0\0\0\0\0{}";
    st_memory memory = {.data = empty, .size = sizeof empty - 1};
    st_file *file;
    if (st_file_open_memory(&memory, NULL, &file, NULL))
        bench_fail("{} was refused");
    st_file_close(file);
}

static void counted_open(const char *path, bench_count *count)
{
    st_allocator allocator = bench_count_allocator(count);
    st_context_options options = {.allocator = &allocator};
    st_open_options open_options = {.context = NULL};
    st_file *file = NULL;
    if (st_context_new(&options, &open_options.context, NULL))
        bench_fail("no context");
    if (st_file_open(path, &open_options, &file, NULL))
        file = NULL;
    bench_count_look(count);
    bench_count kept = *count;
    st_file_close(file);
    st_context_release(open_options.context);
    if (count->asked)
        bench_fail("%" PRIu64 " bytes were never given back", count->asked);
    *count = kept;
}

static void memory_row(const char *path)
{
    static bench_count count;
    st_file *file = NULL;
    st_error error;
    uint64_t header = header_end(path), total, beyond;
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    cache_warm(path, header);
    code_warm();
    bench_peak_reset();
    uint64_t before = bench_status_bytes("VmRSS");
    uint64_t start = bench_now();
    st_status status = st_file_open(path, NULL, &file, &error);
    uint64_t ns = bench_now() - start;
    uint64_t kept = bench_status_bytes("VmRSS"), peak = bench_status_bytes("VmHWM");
    uint64_t tensors = status ? 0 : st_file_count(file);
    if (!status)
        st_file_close(file);
    memset(&count, 0, sizeof count);
    counted_open(path, &count);
    reads_count(path, header, &total, &beyond);
    printf("%.*s,ours,%" PRIu64 ",%" PRIu64 ",%s,%" PRIu64, (int)strcspn(base, "."), base, header,
           tensors, st_status_name(status), ns);
    printf(",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, kept > before ? kept - before : 0,
           peak > before ? peak - before : 0, count.touched, count.touched_peak);
    printf(",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", count.asked,
           count.asked_peak, count.calls, total, beyond);
}

/* Each file in a process of its own. */
static int memory(char **paths, int count)
{
    puts("case,who,bytes,tensors,status,ns,rss_kept,rss_peak,touched_kept,touched_peak,asked_kept,"
         "asked_peak,allocations,read_bytes,read_beyond");
    for (int i = 0; i < count; i++) {
        fflush(stdout);
        pid_t child = fork();
        if (!child) {
            memory_row(paths[i]);
            exit(0);
        }
        int status;
        if (child < 0 || waitpid(child, &status, 0) != child || status)
            bench_fail("%s ended badly", paths[i]);
    }
    return 0;
}

static int count(const char *what, const char *loops_text, const char *path)
{
    uint64_t loops = strtoull(loops_text, NULL, 10), size = header_end(path);
    struct stat facts;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &facts))
        bench_fail("cannot open %s", path);
    void *bytes = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        bench_fail("cannot map %s", path);
    for (uint64_t i = 0; i < loops; i++) {
        st_header *header;
        st_file *file;
        if (!strcmp(what, "open")) {
            if (st_file_open(path, NULL, &file, NULL))
                bench_fail("refused");
            st_file_close(file);
        } else {
            if (st_header_parse(bytes, (size_t)size, (uint64_t)facts.st_size, NULL, &header, NULL))
                bench_fail("refused");
            st_header_release(header);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    if (argc == 4 && !strcmp(argv[1], "first"))
        return first(argv[2], argv[3]);
    if (argc > 2 && !strcmp(argv[1], "memory"))
        return memory(argv + 2, argc - 2);
    if (argc == 5 && !strcmp(argv[1], "count"))
        return count(argv[2], argv[3], argv[4]);
    bench_fail("%s", usage);
}
