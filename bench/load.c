/* SPDX-License-Identifier: Apache-2.0 */
/* Loading whole files with every byte touched: this library, the loaders people use, and the most that
 * the device and the memory give, all in turn.
 *
 * Before each turn, outside of what is timed, the files are dropped from the page cache, which is checked, or
 * read into it, and memory is taken and given back. What is loaded is given back after the clock was read. Peers run in one process of their
 * own, which has imported everything and loaded a small file before. */
#include "cache.h"
#include "load_ways.h"
#include "measure.h"
#include "memory.h"
#include "options.h"
#include "raw.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GIB          (UINT64_C(1) << 30)
#define REFRESH_SIZE ((size_t)(GIB + GIB / 4))
enum { SUBJECTS_MAX = 24, COPY_THREADS_MAX = 8, LINE_SIZE = LOAD_PATH_SIZE + 64 };

enum { COLD = 1, WARM = 2 };

/* Its words are those of peer_loaders.py. */
typedef struct load_peer {
    const char *who;
    const char *gives;
    unsigned states; /* of files in which it is measured in all cases, not in the first alone */
    bool torch;      /* reads files of its own, beside the others */
} load_peer;

static const load_peer load_peers[] = {
    {"upstream-mmap", "views", COLD | WARM, false},
    {"upstream-pread", "owned", 0, false},
    {"fastsafetensors-buffered", "owned", WARM, false},
    {"fastsafetensors-direct", "owned", COLD, false},
    {"runai-streamed", "streamed", COLD | WARM, false},
    {"runai-owned", "owned", COLD | WARM, false},
    {"torch-mmap", "views", 0, true},
};
enum { PEERS = sizeof load_peers / sizeof *load_peers };

typedef struct load_case {
    size_t tensors, files;
    unsigned cores; /* 0: all */
    bool peers;
    bool all; /* peers and ceilings; else those that matter most: a run is to take minutes */
} load_case;

static const load_case load_cases[] = {
    {1000, 1, 0, true, true}, /* the goals' */
    {10, 1, 0, true, false},   {20000, 1, 0, true, false},  {1000, 8, 0, true, false},
    {10, 8, 0, false, false},  {20000, 8, 0, false, false}, {1000, 1, 1, true, false},
    {1000, 1, 2, true, false},
};

typedef struct bench_load {
    const load_case *now;
    load_model model;
    bench_child *child;
    bool has[PEERS];
    bool cold;
    cpu_set_t cores; /* that there are */
    double stayed;   /* the largest share of a file that was cached before a cold turn */
} bench_load;

/* One way of loading in one case, and what it took in each turn. */
typedef struct load_turn {
    bench_load *b;
    const load_way *way; /* NULL: */
    const load_peer *peer;
    unsigned turns;
    st_explanation how;
    double cpu_ns[BENCH_RUNS_MAX];
    double memory[BENCH_RUNS_MAX];
} load_turn;

static const char *turn_gives(const load_turn *t)
{
    return t->way ? t->way->gives : t->peer->gives;
}

/* ----------------------------------------------------------------------------------- turns */

/* Lets this process run on the first so many of its cores. */
static unsigned cores_take(const bench_load *b, unsigned wanted)
{
    cpu_set_t some;
    unsigned taken = 0;
    CPU_ZERO(&some);
    for (size_t i = 0; i < CPU_SETSIZE && (!wanted || taken < wanted); i++) {
        if (CPU_ISSET(i, &b->cores)) {
            CPU_SET(i, &some);
            taken++;
        }
    }
    if (sched_setaffinity(0, sizeof some, &some))
        bench_fail("cannot choose the cores to run on");
    return taken;
}

static void cache_prepare(bench_load *b, const load_peer *peer)
{
    static char torch_names[LOAD_FILES_MAX][LOAD_PATH_SIZE];
    const char *paths[LOAD_FILES_MAX];
    for (size_t i = 0; i < b->model.files; i++) {
        paths[i] = b->model.paths[i];
        if (peer && peer->torch) {
            snprintf(torch_names[i], sizeof torch_names[i], "%.*s.pt",
                     (int)(strlen(paths[i]) - strlen(".safetensors")), paths[i]);
            paths[i] = torch_names[i];
        }
    }
    if (b->cold) {
        double stayed = bench_cache_drop(paths, b->model.files);
        b->stayed = stayed > b->stayed ? stayed : b->stayed;
    } else {
        bench_cache_fill(paths, b->model.files);
    }
}

static load_cost peer_run(const bench_load *b, const load_peer *peer)
{
    char line[LINE_SIZE], answer[256];
    load_cost cost;
    uint64_t sum;
    snprintf(line, sizeof line, "%s %u %s", peer->who, b->now ? b->now->cores : 0, b->model.folder);
    bench_child_tell(b->child, line, answer, sizeof answer);
    if (sscanf(answer, "%lf %lf %lf %" SCNu64, &cost.ns, &cost.cpu_ns, &cost.memory, &sum) != 4)
        bench_fail("%s answered \"%s\"", peer->who, answer);
    if (sum != b->model.sum)
        bench_fail("%s gave other bytes of %s", peer->who, b->model.folder);
    return cost;
}

static double turn_asked(void *ctx, uint64_t loops)
{
    load_turn *t = ctx;
    (void)loops;
    cache_prepare(t->b, t->peer);
    bench_memory_refresh(REFRESH_SIZE);
    load_cost cost = t->way ? load_way_run(t->way, &t->b->model, &t->how) : peer_run(t->b, t->peer);
    t->cpu_ns[t->turns] = cost.cpu_ns;
    t->memory[t->turns++] = cost.memory;
    return cost.ns;
}

/* ------------------------------------------------------------------------------------ rows */

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(const double *values, unsigned count)
{
    double sorted[BENCH_RUNS_MAX];
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, compare_doubles);
    return (sorted[count / 2] + sorted[(count - 1) / 2]) / 2;
}

/* The fastest of those whose names begin so; NULL if there is none. */
static const bench_subject *best_find(const bench_subject *list, size_t n, const char *prefix,
                                      unsigned runs)
{
    const bench_subject *best = NULL;
    for (size_t i = 0; i < n; i++) {
        if (strncmp(list[i].who, prefix, strlen(prefix)) == 0 &&
            (!best || bench_median(&list[i], runs) < bench_median(best, runs)))
            best = &list[i];
    }
    return best;
}

static const bench_subject *ours_find(const bench_subject *list, size_t n, const char *gives)
{
    for (size_t i = 0; i < n; i++) {
        if (strncmp(list[i].who, "ours", 4) == 0 && strcmp(turn_gives(list[i].ctx), gives) == 0)
            return &list[i];
    }
    return NULL;
}

static void cpu_ratio_print(const load_turn *t, const bench_subject *ours, unsigned runs)
{
    double values[BENCH_RUNS_MAX];
    if (!ours) {
        putchar(',');
        return;
    }
    const load_turn *base = ours->ctx;
    for (unsigned i = 0; i < runs; i++)
        values[i] = t->cpu_ns[i] / base->cpu_ns[i];
    printf(",%.4f", median(values, runs));
}

static void row_print(const bench_subject *s, const bench_subject *list, size_t n, unsigned runs)
{
    const load_turn *t = s->ctx;
    const bench_load *b = t->b;
    const bench_subject *ours = ours_find(list, n, turn_gives(t));
    const char *io = t->how.io ? st_io_name(t->how.io) : "";
    double ns = bench_median(s, runs);
    printf("%s,%s,%s,%s,%" PRIu64 ",%u,%.0f,%.0f,%.0f,%.3f,%.0f,%.0f", s->what, s->who,
           turn_gives(t), io, b->model.bytes, runs, ns, bench_min(s, runs), bench_max(s, runs),
           (double)b->model.bytes / ns, median(t->cpu_ns, runs), median(t->memory, runs));
    bench_print_ratio(s, best_find(list, n, "raw-", runs), runs);
    bench_print_ratio(s, best_find(list, n, "mmap-sum", runs), runs);
    bench_print_ratio(s, best_find(list, n, "memcpy-", runs), runs);
    bench_print_ratio(s, ours, runs);
    cpu_ratio_print(t, ours, runs);
    putchar('\n');
}

/* ----------------------------------------------------------------------------------- cases */

static bool way_applies(const bench_load *b, const load_way *way, unsigned cores)
{
    if (strcmp(way->who, "raw-uring") == 0 && !bench_raw_ring())
        return false;
    if (strncmp(way->who, "raw-", 4) == 0)
        return b->cold;
    if (way->threads)
        return !b->cold && way->threads <= cores &&
               (b->now->all || 2 * way->threads > cores || way->threads == COPY_THREADS_MAX);
    if (strcmp(way->who, "mmap-sum") == 0 || strcmp(way->gives, "untouched") == 0)
        return !b->cold || b->now->all;
    return true;
}

static void turn_add(bench_load *b, bench_subject *list, load_turn *turns, size_t *n,
                     const char *what, const load_way *way, const load_peer *peer)
{
    load_turn *t = &turns[*n];
    *t = (load_turn){.b = b, .way = way, .peer = peer};
    list[(*n)++] = (bench_subject){.what = what,
                                   .who = way ? way->who : peer->who,
                                   .asked = turn_asked,
                                   .ctx = t,
                                   .single = true};
}

static void case_run(bench_load *b, const char *name, unsigned cores, unsigned runs)
{
    static bench_subject list[SUBJECTS_MAX];
    static load_turn turns[SUBJECTS_MAX];
    unsigned state = b->cold ? COLD : WARM;
    size_t n = 0;
    for (size_t i = 0; i < load_ceilings_count; i++) {
        if (way_applies(b, &load_ceilings[i], cores))
            turn_add(b, list, turns, &n, name, &load_ceilings[i], NULL);
    }
    for (size_t i = 0; i < load_ours_count; i++) {
        if (way_applies(b, &load_ours[i], cores))
            turn_add(b, list, turns, &n, name, &load_ours[i], NULL);
    }
    for (size_t i = 0; i < PEERS && b->now->peers; i++) {
        if (b->has[i] && (b->now->all || load_peers[i].states & state))
            turn_add(b, list, turns, &n, name, NULL, &load_peers[i]);
    }
    bench_measure(list, n, runs);
    for (size_t i = 0; i < n; i++)
        row_print(&list[i], list, n, runs);
    fflush(stdout);
}

static void torch_files_make(const bench_load *b)
{
    char line[LINE_SIZE], answer[256];
    snprintf(line, sizeof line, "make 0 %s", b->model.folder);
    if (b->child)
        bench_child_tell(b->child, line, answer, sizeof answer);
}

static void load_case_run(bench_load *b, const char *folder, const char *only, unsigned runs)
{
    char name[64], cores_name[16] = "all";
    const load_case *now = b->now;
    bool made = false;
    if (now->cores)
        snprintf(cores_name, sizeof cores_name, "%u", now->cores);
    for (int cold = 1; cold >= 0; cold--) {
        snprintf(name, sizeof name, "%s-%zux%zu-%s", cold ? "cold" : "warm", now->tensors,
                 now->files, cores_name);
        if (only && strncmp(only, name, strlen(only)) != 0)
            continue;
        unsigned cores = cores_take(b, 0);
        if (!made)
            load_model_make(&b->model, folder, now->tensors, now->files, GIB);
        if (!made && now->all)
            torch_files_make(b);
        made = true;
        if (now->cores)
            cores = cores_take(b, now->cores);
        if (cores < now->cores)
            continue;
        b->cold = cold;
        case_run(b, name, cores, runs);
    }
}

/* Which peers there are; each loads a small file, which is what a first load takes once in a process. */
static void peers_begin(bench_load *b, const char *folder)
{
    char ways[1024], word[64];
    load_model_make(&b->model, folder, 10, 1, 1 << 20);
    if (!b->child)
        return;
    bench_child_tell(b->child, "ways", ways + 1, sizeof ways - 2);
    ways[0] = ' ';
    strcat(ways, " ");
    torch_files_make(b);
    for (size_t i = 0; i < PEERS; i++) {
        snprintf(word, sizeof word, " %s ", load_peers[i].who);
        b->has[i] = strstr(ways, word) != NULL;
        if (b->has[i])
            (void)peer_run(b, &load_peers[i]);
        else
            fprintf(stderr, "bench: no %s: its rows are left out\n", load_peers[i].who);
    }
}

/* Tells the peers' program where the library is that they touch bytes with: beside this program. */
static void touch_name(void)
{
    char path[LOAD_PATH_SIZE];
    ssize_t len = readlink("/proc/self/exe", path, sizeof path - 64);
    if (len <= 0)
        bench_fail("cannot tell where this program is");
    path[len] = '\0';
    snprintf(strrchr(path, '/'), 64, "/libbench_touch.so");
    if (setenv("BENCH_TOUCH", path, 1))
        bench_fail("no memory");
}

int main(int argc, char **argv)
{
    static bench_load b;
    st_explanation how;
    bench_options options = {.runs = 7};
    touch_name();
    bench_options_read(&options, argc, argv, "c:n:p:s:", 1,
                       "bench_load [-c CASE] [-n RUNS] [-p PYTHON -s PEERS] FOLDER\n"
                       "CASE: the beginning of a name such as cold-1000x1-all");
    const char *folder = argv[optind];
    b.child = options.upstream;
    if (sched_getaffinity(0, sizeof b.cores, &b.cores))
        bench_fail("cannot tell the cores");
    peers_begin(&b, folder);
    for (size_t i = 0; i < load_ours_count; i++)
        (void)load_way_run(&load_ours[i], &b.model, &how);
    puts("case,who,gives,io,bytes,runs,ns_median,ns_min,ns_max,gb_per_s,cpu_ns,memory,x_raw,x_sum,"
         "x_memcpy,x_ours,x_ours_cpu");
    for (size_t i = 0; i < sizeof load_cases / sizeof *load_cases; i++) {
        b.now = &load_cases[i];
        load_case_run(&b, folder, options.only, options.runs);
    }
    printf("# cold: at most %.2f %% of the files were in the page cache\n", b.stayed * 100);
    bench_options_end(&options);
    return 0;
}
