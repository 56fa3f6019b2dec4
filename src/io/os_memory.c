/* SPDX-License-Identifier: Apache-2.0 */
/* Memory in large pieces, and how much of it there is. */
#include "io/os_system.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#if defined(MAP_NORESERVE)
# define TAKE_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)
#else
# define TAKE_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS)
#endif

#define HUGE_PAGE ((size_t)2 << 20)

static size_t pages_up(size_t size)
{
    size_t page = st__os_page_size();
    return (size + page - 1) / page * page;
}

int st__os_memory_take(size_t size, void **out)
{
    if (size > SIZE_MAX / 2)
        return ENOMEM;
    size_t wanted = pages_up(size), slack = HUGE_PAGE;
    unsigned char *at =
        OS_CALL(mmap)(NULL, wanted + slack, PROT_READ | PROT_WRITE, TAKE_FLAGS, -1, 0);
    if (at == MAP_FAILED)
        return errno;
    size_t before = (size_t)(-(uintptr_t)at & (HUGE_PAGE - 1));
    if (before > 0)
        st__os_unmap(at, before);
    if (slack > before)
        st__os_unmap(at + before + wanted, slack - before);
#if defined(MADV_HUGEPAGE)
    (void)OS_CALL(madvise)(at + before, wanted, MADV_HUGEPAGE);
#endif
    *out = at + before;
    return 0;
}

void st__os_memory_give(void *memory, size_t size)
{
    if (memory)
        st__os_unmap(memory, pages_up(size));
}

void st__os_populate(void *at, size_t size, bool write)
{
#if defined(__linux__)
    /* MADV_POPULATE_READ and _WRITE of Linux 5.14. Where they are unknown a mapping's pages are at least read
     * into the page cache; memory that is to be written gets its pages when it is. */
    size_t before = (size_t)((uintptr_t)at % st__os_page_size());
    unsigned char *from = (unsigned char *)at - before;
    if (size == 0 || OS_CALL(madvise)(from, size + before, write ? 23 : 22) == 0)
        return;
    if (errno == EINVAL && !write)
        (void)OS_CALL(madvise)(from, size + before, MADV_WILLNEED);
#else
    (void)at;
    (void)size;
    (void)write;
#endif
}

/* ----------------------------------------------------------------------------- available */

/* What the machine, the control groups of this process and its own limit leave: each is one number or a few
 * in a small file of the kernel's. */
#if defined(__linux__)

/* The longest of the files read is a group's memory.stat, with about 2 KiB. */
# define FIGURES_ROOM 8192

/* The start of a file, terminated; false if it cannot be read. */
static bool figures_read(const char *path, char out[FIGURES_ROOM])
{
    int fd = -1;
    size_t done = 0;
    st_segment room = {out, FIGURES_ROOM - 1};
    if (st__os_open(path, &fd) != 0)
        return false;
    int failed = st__os_read(fd, 0, &room, 1, &done);
    st__os_close(fd);
    out[done] = '\0';
    return !failed && done > 0;
}

/* Decimal digits; false where there are none or too many. */
static bool figure_parse(const char *text, uint64_t *out)
{
    uint64_t value = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        unsigned digit = (unsigned)(*at - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return at > text;
}

/* The number behind a name that begins a line. */
static bool figure_find(const char *text, const char *name, uint64_t *out)
{
    size_t length = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && (line[length] == ' ' || line[length] == ':'))
            return figure_parse(line + length + 1 + strspn(line + length + 1, " "), out);
    }
    return false;
}

static uint64_t machine_available(char text[FIGURES_ROOM])
{
    uint64_t kib;
    if (!figures_read("/proc/meminfo", text) || !figure_find(text, "MemAvailable", &kib) ||
        kib > UINT64_MAX / 1024)
        return UINT64_MAX;
    return kib * 1024;
}

/* The two generations: where groups lie, and what their files are called. */
typedef struct group_kind {
    const char *root;
    const char *limit;
    const char *usage;
    const char *cache; /* what the kernel would rather give up than run out, in memory.stat */
} group_kind;

static const group_kind group_unified = {"/sys/fs/cgroup", "memory.max", "memory.current",
                                         "inactive_file"};
static const group_kind group_old = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                     "memory.usage_in_bytes", "total_inactive_file"};

typedef struct group_path {
    const group_kind *kind;
    char name[ST__OS_PATH]; /* from the root on; empty for the root itself */
} group_path;

static bool group_figure(const group_path *group, const char *file, char text[FIGURES_ROOM])
{
    char path[ST__OS_PATH + 64];
    (void)snprintf(path, sizeof path, "%s%s/%s", group->kind->root, group->name, file);
    return figures_read(path, text);
}

/* Of one group alone; a limit of "max", or one that cannot be read, is none. */
static uint64_t group_available(const group_path *group, char text[FIGURES_ROOM])
{
    uint64_t limit, usage, cache;
    if (!group_figure(group, group->kind->limit, text) || !figure_parse(text, &limit) ||
        !group_figure(group, group->kind->usage, text) || !figure_parse(text, &usage))
        return UINT64_MAX;
    if (!group_figure(group, "memory.stat", text) || !figure_find(text, group->kind->cache, &cache))
        cache = 0;
    usage = usage > cache ? usage - cache : 0;
    return limit > usage ? limit - usage : 0;
}

/* Takes over the path of a line "0::/path", or "N:…memory…:/path" of the old kind. */
static bool group_line(const char *line, size_t length, group_path *out)
{
    const char *controllers = memchr(line, ':', length);
    const char *end = line + length;
    const char *name =
        controllers ? memchr(controllers + 1, ':', (size_t)(end - controllers - 1)) : NULL;
    if (!name)
        return false;
    controllers++;
    bool unified = name == controllers;
    bool memory = false;
    for (const char *at = controllers; at < name; at += strcspn(at, ",:") + 1)
        memory |= strcspn(at, ",:") == 6 && memcmp(at, "memory", 6) == 0;
    name++;
    if ((!unified && !memory) || (size_t)(end - name) >= sizeof out->name)
        return false;
    out->kind = unified ? &group_unified : &group_old;
    if (end - name == 1)
        name = end; /* "/" is the root itself */
    memcpy(out->name, name, (size_t)(end - name));
    out->name[end - name] = '\0';
    return true;
}

/* The least of a group and all above it. Where the path is not to be found, as in a container that sees its
 * own group as the root, the root still says. */
static uint64_t group_and_above(group_path *group, char text[FIGURES_ROOM])
{
    uint64_t least = UINT64_MAX;
    for (char *slash = group->name + strlen(group->name); slash;
         slash = strrchr(group->name, '/')) {
        *slash = '\0';
        uint64_t available = group_available(group, text);
        least = available < least ? available : least;
    }
    return least;
}

static uint64_t groups_available(char text[FIGURES_ROOM])
{
    char lines[FIGURES_ROOM];
    group_path group;
    uint64_t least = UINT64_MAX;
    if (!figures_read("/proc/self/cgroup", lines))
        return least;
    for (const char *line = lines; *line;) {
        size_t length = strcspn(line, "\n");
        if (group_line(line, length, &group)) {
            uint64_t available = group_and_above(&group, text);
            least = available < least ? available : least;
        }
        line += length + (line[length] == '\n');
    }
    return least;
}

static uint64_t address_space_left(char text[FIGURES_ROOM])
{
    struct rlimit limit;
    uint64_t pages;
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
        !figures_read("/proc/self/statm", text) || !figure_parse(text, &pages))
        return UINT64_MAX;
    uint64_t taken = pages * st__os_page_size();
    return limit.rlim_cur > taken ? limit.rlim_cur - taken : 0;
}

uint64_t st__os_memory_available(void)
{
    char text[FIGURES_ROOM];
    uint64_t least = machine_available(text);
    uint64_t groups = groups_available(text);
    uint64_t own = address_space_left(text);
    least = groups < least ? groups : least;
    return own < least ? own : least;
}

#else

uint64_t st__os_memory_available(void)
{
    return UINT64_MAX;
}

#endif

/* ------------------------------------------------------------------------------- process */

int64_t st__os_clock_ns(void)
{
    struct timespec now = {0, 0};
#if defined(CLOCK_REALTIME_COARSE)
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
#else
    (void)clock_gettime(CLOCK_REALTIME, &now);
#endif
    return (int64_t)now.tv_sec * 1000000000 + (int64_t)now.tv_nsec;
}

uint64_t st__os_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 256; /* the smallest default among the systems we know, of macOS */
    return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : (uint64_t)limit.rlim_cur;
}

int st__os_working_directory(char out[ST__OS_PATH])
{
    return getcwd(out, ST__OS_PATH) ? 0 : errno;
}
