/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics and hashes of a file of 1 GiB that is in the page cache, on 1, 2 and 4 threads.
 *
 * The ceilings: pread of the same bytes by one core, and by four, in blocks that stay in its cache; the
 * same from the disk, past the page cache; the digests of the same bytes out of a warm mapping, by one
 * core; and for the fast digest, both one after the other. */
#include "measure.h"
#include "options.h"

#include <safetensors/inspect.h>

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>
#if ST_OPENSSL
# include <openssl/evp.h>
#endif

#define DATA_SIZE (UINT64_C(1) << 30)
#define BLOCK     ((size_t)256 << 10)
enum { HEADER_SIZE = 4096, SUBJECTS_MAX = 24, TENSORS = 16, THREADS_MAX = 4 };

extern char **environ;

/* What a dtype's random bits are made of: `mask` keeps sign and fraction, exponents are drawn from eight
 * about one. */
typedef struct stats_case {
    const char *dtype;
    unsigned bits;
    uint64_t mask;
    uint64_t exponent;
    unsigned shift;
    bool peer;
} stats_case;

static const stats_case stats_cases[] = {
    {"F32", 32, 0x807fffff, 120, 23, true},
    {"BF16", 16, 0x807f, 120, 7, false},
    {"F16", 16, 0x83ff, 8, 10, false},
    {"F64", 64, UINT64_C(0x800fffffffffffff), 1016, 52, false},
    {"I8", 8, 0xff, 0, 8, false},
    {"F8_E4M3", 8, 0x87, 2, 3, false},
};

typedef struct bench_inspect {
    const char *path;
    char cold[4096];
    bench_child *upstream;
    const unsigned char *mapping;
    uint64_t size; /* of the file */
    char asked[32];
} bench_inspect;

/* One way of looking at the file. */
typedef struct look {
    const bench_inspect *c;
    uint32_t threads;
    bool more;    /* quantiles and a histogram too */
    st_hash hash; /* 0: statistics */
    uint32_t parts;
    st_context *context;
    st_file *file;
} look;

static void check(st_status status, const st_error *error)
{
    if (status)
        bench_fail("%s", error->message);
}

/* -------------------------------------------------------------------------------- the file */

static void header_write(int fd, const char *dtype, unsigned bits, unsigned tensors)
{
    char header[HEADER_SIZE];
    uint64_t text = HEADER_SIZE - 8, size = DATA_SIZE / tensors;
    size_t at = 8;
    memset(header, ' ', sizeof header);
    for (unsigned i = 0; i < 8; i++)
        header[i] = (char)(text >> (8 * i) & 0xff);
    header[at++] = '{';
    for (unsigned i = 0; i < tensors; i++)
        at += (size_t)snprintf(header + at, sizeof header - at,
                               "%s\"w%02u\":{\"dtype\":\"%s\",\"shape\":[%" PRIu64
                               "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                               i ? "," : "", i, dtype, size * 8 / bits, i * size, (i + 1) * size);
    header[at++] = '}';
    header[at] = ' ';
    if (pwrite(fd, header, sizeof header, 0) != HEADER_SIZE)
        bench_fail("cannot write the header");
}

/* Random numbers of the dtype, a block of 16 MiB over and over; synced, so that nothing is written back
 * while we measure. */
static void file_make(const char *path, const stats_case *s, unsigned tensors)
{
    enum { WORDS = 2 << 20 };
    uint64_t *block = malloc(WORDS * sizeof *block), state = 1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || !block)
        bench_fail("cannot make %s", path);
    for (size_t i = 0; i < WORDS; i++) {
        uint64_t word = 0;
        for (unsigned bit = 0; bit < 64; bit += s->bits) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            uint64_t random = state ^ state >> 29, value = random & s->mask;
            if (s->shift < s->bits)
                value |= (s->exponent + (random >> 60 & 7)) << s->shift;
            word |= value << bit;
        }
        block[i] = word;
    }
    header_write(fd, s->dtype, s->bits, tensors);
    for (uint64_t at = 0; at < DATA_SIZE; at += WORDS * sizeof *block) {
        if (pwrite(fd, block, WORDS * sizeof *block, (off_t)(HEADER_SIZE + at)) !=
            (ssize_t)(WORDS * sizeof *block))
            bench_fail("cannot write %s", path);
    }
    if (ftruncate(fd, (off_t)(HEADER_SIZE + DATA_SIZE)) || fsync(fd) || close(fd))
        bench_fail("cannot write %s", path);
    free(block);
}

/* -------------------------------------------------------------------------------- ceilings */

typedef struct pread_part {
    const look *look;
    uint64_t from, to;
} pread_part;

static void *part_pread(void *ctx)
{
    const pread_part *part = ctx;
    unsigned char *block = malloc(BLOCK);
    int fd = open(part->look->c->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || !block)
        bench_fail("cannot read");
    memset(block, 1, BLOCK);
    for (uint64_t at = part->from; at < part->to; at += BLOCK) {
        if (pread(fd, block, BLOCK, (off_t)at) <= 0)
            bench_fail("the file got shorter");
    }
    close(fd);
    free(block);
    return NULL;
}

static void pread_once(void *ctx)
{
    const look *l = ctx;
    pread_part parts[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    uint64_t share = DATA_SIZE / l->threads;
    for (uint32_t i = 0; i < l->threads; i++) {
        parts[i] = (pread_part){l, i * share, (i + 1) * share};
        if (i && pthread_create(&threads[i], NULL, part_pread, &parts[i]))
            bench_fail("no thread");
    }
    part_pread(&parts[0]);
    for (uint32_t i = 1; i < l->threads; i++)
        pthread_join(threads[i], NULL);
}

/* Of another file, which is not in the page cache, in blocks of 16 MiB, which keep a disk busy. */
static void disk_once(void *ctx)
{
    const look *l = ctx;
    enum { DISK_BLOCK = 16 << 20 };
    int fd = open(l->c->cold, O_RDONLY | O_DIRECT | O_CLOEXEC);
    void *block = mmap(NULL, DISK_BLOCK, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (fd < 0 || block == MAP_FAILED)
        bench_fail("cannot read past the page cache");
    for (uint64_t at = 0; at < DATA_SIZE; at += DISK_BLOCK) {
        if (pread(fd, block, DISK_BLOCK, (off_t)at) <= 0)
            bench_fail("the file got shorter");
    }
    close(fd);
    munmap(block, DISK_BLOCK);
}

/* A file system in memory may have no disk to read from. */
static bool has_disk(const bench_inspect *c)
{
    int fd = open(c->cold, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void pread_xxh3_once(void *ctx)
{
    const look *l = ctx;
    static XXH3_state_t state;
    static unsigned char block[BLOCK];
    static volatile uint64_t sink;
    int fd = open(l->c->path, O_RDONLY | O_CLOEXEC);
    XXH3_64bits_reset(&state);
    for (uint64_t at = 0; at < DATA_SIZE; at += BLOCK) {
        if (pread(fd, block, BLOCK, (off_t)at) <= 0)
            bench_fail("the file got shorter");
        XXH3_64bits_update(&state, block, BLOCK);
    }
    sink = XXH3_64bits_digest(&state);
    (void)sink;
    close(fd);
}

static void xxh3_once(void *ctx)
{
    const look *l = ctx;
    static volatile uint64_t sink;
    sink = XXH3_64bits(l->c->mapping, (size_t)l->c->size);
    (void)sink;
}

#if ST_OPENSSL
static void sha256_once(void *ctx)
{
    const look *l = ctx;
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (!EVP_Digest(l->c->mapping, (size_t)l->c->size, digest, NULL, EVP_sha256(), NULL))
        bench_fail("no SHA-256");
}
#endif

static void sha256sum_once(void *ctx)
{
    const look *l = ctx;
    const char *const argv[] = {"sha256sum", l->c->path, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    if (posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ) ||
        waitpid(pid, &status, 0) != pid || status)
        bench_fail("sha256sum failed");
    posix_spawn_file_actions_destroy(&actions);
}

static double peer_asked(void *ctx, uint64_t loops)
{
    const look *l = ctx;
    char line[4200];
    snprintf(line, sizeof line, "%s %" PRIu64 " %s", l->c->asked, loops, l->c->path);
    return bench_child_ask(l->c->upstream, line);
}

/* ------------------------------------------------------------------------------------ ours */

static void look_open(look *l)
{
    st_context_options options = {.max_threads = l->threads};
    st_error error;
    check(st_context_new(&options, &l->context, &error), &error);
    st_open_options open_options = {.context = l->context};
    check(st_file_open(l->c->path, &open_options, &l->file, &error), &error);
}

static void look_close(look *l)
{
    st_file_close(l->file);
    st_context_release(l->context);
}

static void stats_once(void *ctx)
{
    static const double quantiles[] = {0.01, 0.5, 0.99};
    const look *l = ctx;
    st_stats_options options = {.quantiles = quantiles, .quantile_count = 3, .bin_count = 64};
    st_stats stats;
    st_error error;
    check(st_stats_read(l->file, st_file_at(l->file, 0), NULL, l->more ? &options : NULL, &stats,
                        &error),
          &error);
    if (stats.count != st_tensor_count(st_file_at(l->file, 0)) || stats.nan || isnan(stats.mean))
        bench_fail("statistics came out wrong");
    st_stats_release(&stats);
}

static void hash_once(void *ctx)
{
    const look *l = ctx;
    st_hash_options options = {.hash = l->hash, .parts = l->parts};
    st_hashes hashes;
    st_error error;
    check(st_hashes_read(l->file, &options, &hashes, &error), &error);
    if (l->parts == ST_HASH_FILE ? !hashes.file.size : hashes.count != TENSORS)
        bench_fail("hashes came out wrong");
    st_hashes_release(&hashes);
}

/* ----------------------------------------------------------------------------------- cases */

typedef struct subjects {
    const char *name;
    bench_subject list[SUBJECTS_MAX];
    char who[SUBJECTS_MAX][24];
    look looks[SUBJECTS_MAX];
    size_t count;
} subjects;

/* `who` gets the number of threads behind it. */
static look *subject_add(subjects *s, const bench_inspect *c, const char *who, uint32_t threads,
                         void (*once)(void *))
{
    look *l = &s->looks[s->count];
    snprintf(s->who[s->count], sizeof *s->who, "%s-%u", who, threads);
    *l = (look){.c = c, .threads = threads};
    s->list[s->count] = (bench_subject){
        .what = s->name, .who = s->who[s->count], .once = once, .ctx = l, .single = true};
    s->count++;
    return l;
}

static void peer_add(subjects *s, const bench_inspect *c, const char *who)
{
    if (!c->upstream)
        return;
    (void)subject_add(s, c, who, 1, NULL);
    s->list[s->count - 1].asked = peer_asked;
}

/* The same way on one thread, to see how it scales. */
static const bench_subject *on_one_thread(const subjects *s, const bench_subject *of)
{
    char who[24];
    snprintf(who, sizeof who, "%.*s1", (int)strlen(of->who) - 1, of->who);
    return bench_find(s->list, s->count, s->name, who);
}

/* The first subject is the ceiling of the case. */
static void case_measure(subjects *s, unsigned runs)
{
    for (size_t i = 0; i < s->count; i++) {
        look *l = &s->looks[i];
        if (strncmp(s->who[i], "ours", 4) == 0)
            look_open(l);
        if (s->list[i].once)
            s->list[i].once(l);
    }
    bench_measure(s->list, s->count, runs);
    for (size_t i = 0; i < s->count; i++) {
        const bench_subject *subject = &s->list[i];
        double ns = bench_median(subject, runs);
        printf("%s,%s,%u,%" PRIu64 ",%u,%.0f,%.0f,%.3f", s->name, subject->who, s->looks[i].threads,
               DATA_SIZE, runs, ns, bench_min(subject, runs), (double)DATA_SIZE / ns);
        bench_print_ratio(subject, &s->list[0], runs);
        bench_print_ratio(subject, on_one_thread(s, subject), runs);
        putchar('\n');
        if (s->looks[i].file)
            look_close(&s->looks[i]);
    }
    fflush(stdout);
}

static const uint32_t thread_counts[] = {1, 2, 4};

/* A file that only the disk has. */
static void cold_make(bench_inspect *c)
{
    snprintf(c->cold, sizeof c->cold, "%.4000s.cold", c->path);
    file_make(c->cold, &stats_cases[0], 1);
    int fd = open(c->cold, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) || close(fd))
        bench_fail("cannot drop %s from the page cache", c->cold);
}

static void stats_run(bench_inspect *c, const stats_case *now, unsigned runs)
{
    static subjects s;
    char name[32];
    file_make(c->path, now, 1);
    snprintf(name, sizeof name, "stats-%s", now->dtype);
    snprintf(c->asked, sizeof c->asked, "stats-%s", now->dtype);
    s = (subjects){.name = name};
    (void)subject_add(&s, c, "pread", 1, pread_once);
    (void)subject_add(&s, c, "pread", 4, pread_once);
    if (has_disk(c))
        (void)subject_add(&s, c, "disk", 1, disk_once);
    for (size_t i = 0; i < sizeof thread_counts / sizeof *thread_counts; i++)
        (void)subject_add(&s, c, "ours", thread_counts[i], stats_once);
    for (size_t i = 0; i < sizeof thread_counts / sizeof *thread_counts; i += 2)
        subject_add(&s, c, "ours-quantiles", thread_counts[i], stats_once)->more = true;
    if (now->peer)
        peer_add(&s, c, "numpy");
    case_measure(&s, runs);
}

static void hash_run(bench_inspect *c, st_hash hash, uint32_t parts, unsigned runs)
{
    static subjects s;
    char name[40];
    bool sha256 = hash == ST_HASH_SHA256, whole = parts == ST_HASH_FILE;
    snprintf(name, sizeof name, "hash-%s-%s", st_hash_name(hash), whole ? "file" : "tensors");
    snprintf(c->asked, sizeof c->asked, "sha256");
    s = (subjects){.name = name};
#if ST_OPENSSL
    if (sha256)
        (void)subject_add(&s, c, "libcrypto", 1, sha256_once);
#endif
    (void)subject_add(&s, c, "pread", 1, pread_once);
    (void)subject_add(&s, c, "pread", 4, pread_once);
    if (has_disk(c))
        (void)subject_add(&s, c, "disk", 1, disk_once);
    if (!sha256) {
        (void)subject_add(&s, c, "xxh3", 1, xxh3_once);
        (void)subject_add(&s, c, "pread+xxh3", 1, pread_xxh3_once);
    }
    for (size_t i = 0; i < sizeof thread_counts / sizeof *thread_counts; i++) {
        look *l = subject_add(&s, c, "ours", thread_counts[i], hash_once);
        l->hash = hash;
        l->parts = parts;
    }
    if (sha256 && whole) {
        (void)subject_add(&s, c, "sha256sum", 1, sha256sum_once);
        peer_add(&s, c, "hashlib");
    }
    case_measure(&s, runs);
}

static void hashes_run(bench_inspect *c, unsigned runs)
{
    file_make(c->path, &stats_cases[0], TENSORS);
    int fd = open(c->path, O_RDONLY | O_CLOEXEC);
    void *bytes = mmap(NULL, (size_t)c->size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (fd < 0 || bytes == MAP_FAILED)
        bench_fail("cannot map %s", c->path);
    close(fd);
    c->mapping = bytes;
#if ST_OPENSSL
    hash_run(c, ST_HASH_SHA256, ST_HASH_FILE, runs);
    hash_run(c, ST_HASH_SHA256, ST_HASH_TENSORS, runs);
#endif
    hash_run(c, ST_HASH_XXH3, ST_HASH_FILE, runs);
    hash_run(c, ST_HASH_XXH3, ST_HASH_TENSORS, runs);
    munmap(bytes, (size_t)c->size);
}

int main(int argc, char **argv)
{
    bench_inspect c = {.size = HEADER_SIZE + DATA_SIZE};
    bench_options options = {.runs = 5};
    bench_options_read(&options, argc, argv, "n:p:s:", 1,
                       "bench_inspect [-n RUNS] [-p PYTHON -s PEER] FILE (made)");
    c.upstream = options.upstream;
    c.path = argv[optind];
    cold_make(&c);
    puts("case,who,threads,bytes,runs,ns_median,ns_min,gb_per_s,x_ceiling,x_one_thread");
    for (size_t i = 0; i < sizeof stats_cases / sizeof *stats_cases; i++)
        stats_run(&c, &stats_cases[i], options.runs);
    hashes_run(&c, options.runs);
    bench_options_end(&options);
    unlink(c.path);
    unlink(c.cold);
    return 0;
}
