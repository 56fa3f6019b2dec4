/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a file: this library, simdjson and upstream beside the ceilings, all in turn.
 *
 * The ceilings: open, fstat and close; pread of the same bytes into memory that is warm, and into
 * fresh memory (mapped, filled, unmapped), both with the file's page phase. */
#include "measure.h"
#include "memory.h"
#include "options.h"
#ifdef BENCH_SIMDJSON
# include "peer_simdjson.h"
#endif

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct name_copy {
    const char *at;
    size_t len;
} name_copy;

typedef struct open_case {
    const char *path;
    char name[64];
    int fd;
    size_t size;   /* 8 + N */
    size_t mapped; /* the same in whole pages */
    uint64_t file_size;
    uint64_t tensors;
    unsigned char *bytes; /* the file's first `size`, warm, with its page phase */
    bench_pool pool;
    st_context *pooled;
    st_file *file; /* to find names in */
    name_copy *names;
    char *names_text;
    bench_child *upstream;
    const char *python, *script, *once;
#ifdef BENCH_SIMDJSON
    peer_simdjson *simdjson;
#endif
} open_case;

static void fill(int fd, unsigned char *to, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(fd, to + done, size - done, (off_t)done);
        if (got <= 0)
            bench_fail("the file got shorter");
        done += (size_t)got;
    }
}

static unsigned char *fresh_pages(size_t size)
{
    unsigned char *pages =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        bench_fail("no memory");
    return pages;
}

static void floor_once(void *ctx)
{
    struct stat facts;
    int fd = open(((open_case *)ctx)->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &facts) || close(fd))
        bench_fail("cannot open");
}

static void read_warm_once(void *ctx)
{
    open_case *c = ctx;
    fill(c->fd, c->bytes, c->size);
}

static void read_fresh_once(void *ctx)
{
    open_case *c = ctx;
    unsigned char *pages = fresh_pages(c->mapped);
    fill(c->fd, pages, c->size);
    munmap(pages, c->mapped);
}

static st_file *opened(const char *path)
{
    st_error error;
    st_file *file;
    if (st_file_open(path, NULL, &file, &error))
        bench_fail("%s", error.message);
    return file;
}

static void open_once(void *ctx)
{
    st_file_close(opened(((open_case *)ctx)->path));
}

static void names_once(void *ctx)
{
    st_file *file = opened(((open_case *)ctx)->path);
    const st_header *header = st_file_header(file);
    size_t count = st_header_count(header), bytes = 0;
    uint32_t *order = malloc(count * sizeof *order + 1);
    if (!order || st_header_sort(header, order, NULL))
        bench_fail("cannot sort");
    for (size_t i = 0; i < count; i++)
        bytes += st_header_at(header, order[i])->name_len;
    if (count && !bytes)
        bench_fail("no names");
    free(order);
    st_file_close(file);
}

static void parse(const open_case *c, st_context *context)
{
    st_open_options options = {.context = context};
    st_error error;
    st_header *header;
    if (st_header_parse(c->bytes, c->size, c->file_size, &options, &header, &error))
        bench_fail("%s", error.message);
    st_header_release(header);
}

static void parse_reused_once(void *ctx)
{
    parse(ctx, ((open_case *)ctx)->pooled);
}

static void parse_fresh_once(void *ctx)
{
    parse(ctx, NULL);
}

static void find_all_once(void *ctx)
{
    open_case *c = ctx;
    for (uint64_t i = 0; i < c->tensors; i++) {
        if (!st_file_find(c->file, c->names[i].at, c->names[i].len))
            bench_fail("a name was not found");
    }
}

#ifdef BENCH_SIMDJSON
static void dom_reused_once(void *ctx)
{
    if (!peer_simdjson_reused(((open_case *)ctx)->simdjson))
        bench_fail("simdjson refused the header");
}

static void dom_fresh_once(void *ctx)
{
    if (!peer_simdjson_fresh(((open_case *)ctx)->simdjson))
        bench_fail("simdjson refused the header");
}
#endif

static double upstream_asked(open_case *c, const char *what, uint64_t loops)
{
    char line[4200];
    snprintf(line, sizeof line, "%s %" PRIu64 " %s", what, loops, c->path);
    return bench_child_ask(c->upstream, line);
}

static double upstream_open(void *ctx, uint64_t loops)
{
    return upstream_asked(ctx, "open", loops);
}

static double upstream_names(void *ctx, uint64_t loops)
{
    return upstream_asked(ctx, "names", loops);
}

static double upstream_first(void *ctx, uint64_t loops)
{
    open_case *c = ctx;
    (void)loops;
    return bench_child_number(
        (const char *[]){c->python, c->script, "first", "names", c->path, NULL});
}

static double ours_first(void *ctx, uint64_t loops)
{
    open_case *c = ctx;
    (void)loops;
    return bench_child_number((const char *[]){c->once, "first", "names", c->path, NULL});
}

/* The names in random order, copied behind one another, as in a caller's own list of names. */
static void names_copy(open_case *c)
{
    uint64_t state = 88172645463325252u;
    size_t size = 0;
    char *to;
    c->names = calloc(c->tensors + 1, sizeof *c->names);
    for (uint64_t i = 0; c->names && i < c->tensors; i++) {
        const st_tensor *tensor = st_file_at(c->file, i);
        c->names[i] = (name_copy){tensor->name, tensor->name_len};
        size += tensor->name_len;
    }
    c->names_text = to = malloc(size + 1);
    if (!c->names || !to)
        bench_fail("no memory");
    for (uint64_t i = c->tensors; i-- > 1;) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        name_copy other = c->names[state % (i + 1)];
        c->names[state % (i + 1)] = c->names[i];
        c->names[i] = other;
    }
    for (uint64_t i = 0; i < c->tensors; i++) {
        memcpy(to, c->names[i].at, c->names[i].len);
        c->names[i].at = to;
        to += c->names[i].len;
    }
}

static void case_open(open_case *c)
{
    struct stat facts;
    const char *base = strrchr(c->path, '/') ? strrchr(c->path, '/') + 1 : c->path;
    snprintf(c->name, sizeof c->name, "%.*s", (int)strcspn(base, "."), base);
    c->fd = open(c->path, O_RDONLY | O_CLOEXEC);
    if (c->fd < 0 || fstat(c->fd, &facts))
        bench_fail("cannot open %s", c->path);
    c->file_size = (uint64_t)facts.st_size;
    c->file = opened(c->path);
    c->tensors = st_file_count(c->file);
    c->size = (size_t)st_header_data_offset(st_file_header(c->file));
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    c->mapped = (c->size + page - 1) / page * page;
    c->bytes = fresh_pages(c->mapped);
    fill(c->fd, c->bytes, c->size);
    st_allocator pool = bench_pool_allocator(&c->pool);
    st_context_options options = {.allocator = &pool};
    if (st_context_new(&options, &c->pooled, NULL))
        bench_fail("no context");
    names_copy(c);
#ifdef BENCH_SIMDJSON
    c->simdjson = peer_simdjson_new((const char *)c->bytes + 8, c->size - 8);
#endif
}

static void case_close(open_case *c)
{
#ifdef BENCH_SIMDJSON
    peer_simdjson_free(c->simdjson);
#endif
    free(c->names);
    free(c->names_text);
    st_context_release(c->pooled);
    bench_pool_release(&c->pool);
    munmap(c->bytes, c->mapped);
    st_file_close(c->file);
    close(c->fd);
}

enum { SUBJECTS_MAX = 16 };

static size_t case_subjects(open_case *c, bench_subject *list)
{
    size_t n = 0;
    list[n++] = (bench_subject){.what = "floor", .who = "open+fstat+close", .once = floor_once};
    list[n++] = (bench_subject){.what = "read", .who = "pread-warm", .once = read_warm_once};
    list[n++] = (bench_subject){.what = "read", .who = "pread-fresh", .once = read_fresh_once};
    list[n++] = (bench_subject){.what = "parse", .who = "ours-reused", .once = parse_reused_once};
    list[n++] = (bench_subject){.what = "parse", .who = "ours-fresh", .once = parse_fresh_once};
#ifdef BENCH_SIMDJSON
    list[n++] = (bench_subject){.what = "parse", .who = "simdjson-reused", .once = dom_reused_once};
    list[n++] = (bench_subject){.what = "parse", .who = "simdjson-fresh", .once = dom_fresh_once};
#endif
    list[n++] = (bench_subject){.what = "open", .who = "ours", .once = open_once};
    list[n++] = (bench_subject){.what = "open+names", .who = "ours", .once = names_once};
    if (c->once)
        list[n++] = (bench_subject){
            .what = "first-open+names", .who = "ours", .asked = ours_first, .single = true};
    if (c->tensors)
        list[n++] = (bench_subject){
            .what = "find", .who = "ours", .once = find_all_once, .parts = (double)c->tensors};
    if (c->upstream) {
        list[n++] = (bench_subject){.what = "open", .who = "upstream", .asked = upstream_open};
        list[n++] =
            (bench_subject){.what = "open+names", .who = "upstream", .asked = upstream_names};
        list[n++] = (bench_subject){
            .what = "first-open+names", .who = "upstream", .asked = upstream_first, .single = true};
    }
    for (size_t i = 0; i < n; i++)
        list[i].ctx = c;
    return n;
}

static void rows_print(const open_case *c, const bench_subject *list, size_t n, unsigned runs)
{
    for (size_t i = 0; i < n; i++) {
        const bench_subject *s = &list[i];
        bool whole = strcmp(s->what, "find") != 0 && strcmp(s->what, "floor") != 0;
        printf("%s,%s,%s,%zu,%" PRIu64 ",%u,%.1f,%.1f", c->name, s->what, s->who, c->size,
               c->tensors, runs, bench_median(s, runs), bench_min(s, runs));
        bench_print_ratio(s, whole ? bench_find(list, n, "read", "pread-fresh") : NULL, runs);
        bench_print_ratio(s, whole ? bench_find(list, n, "parse", "simdjson-reused") : NULL, runs);
        bench_print_ratio(s, whole ? bench_find(list, n, "parse", "simdjson-fresh") : NULL, runs);
        bench_print_ratio(s, bench_find(list, n, s->what, "upstream"), runs);
        putchar('\n');
    }
    fflush(stdout);
}

static void case_run(open_case *settings, const char *path, unsigned runs)
{
    bench_subject list[SUBJECTS_MAX];
    open_case c = *settings;
    c.path = path;
    case_open(&c);
    size_t n = case_subjects(&c, list);
    bench_measure(list, n, runs);
    rows_print(&c, list, n, runs);
    case_close(&c);
}

int main(int argc, char **argv)
{
    bench_options options = {.runs = 15};
    bench_options_read(&options, argc, argv, "n:p:s:o:", INT_MAX,
                       "bench_open [-n RUNS] [-o BENCH_ONCE] [-p PYTHON -s PEER] FILE...");
    open_case settings = {.python = options.python,
                          .script = options.script,
                          .once = options.once,
                          .upstream = options.upstream};
    /* Pinned: glibc would raise it after the first free, and large blocks would be old memory. */
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
#ifdef BENCH_SIMDJSON
    printf("# %s\n", peer_simdjson_name());
#endif
    puts("case,what,who,bytes,tensors,runs,ns_median,ns_min,x_read_fresh,x_simdjson_reused,"
         "x_simdjson_fresh,x_upstream");
    for (int i = optind; i < argc; i++)
        case_run(&settings, argv[i], options.runs);
    bench_options_end(&options);
    return 0;
}
