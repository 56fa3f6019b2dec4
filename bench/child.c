/* SPDX-License-Identifier: Apache-2.0 */
#include "child.h"
#include "measure.h"

#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

void bench_child_start(bench_child *child, const char *const *argv)
{
    int down[2], up[2];
    posix_spawn_file_actions_t actions;
    if (pipe(down) || pipe(up))
        bench_fail("no pipe to %s", argv[0]);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, down[0], 0);
    posix_spawn_file_actions_adddup2(&actions, up[1], 1);
    posix_spawn_file_actions_addclose(&actions, down[1]);
    posix_spawn_file_actions_addclose(&actions, up[0]);
    /* posix_spawnp takes non-const strings and does not change them. */
    if (posix_spawnp(&child->pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ))
        bench_fail("cannot start %s", argv[0]);
    posix_spawn_file_actions_destroy(&actions);
    close(down[0]);
    close(up[1]);
    child->to = fdopen(down[1], "w");
    child->from = fdopen(up[0], "r");
    if (!child->to || !child->from)
        bench_fail("no stream to %s", argv[0]);
}

static void line_read(bench_child *child, const char *asked, char *line, size_t size)
{
    if (!fgets(line, (int)size, child->from))
        bench_fail("no answer to: %s", asked);
    size_t len = strlen(line);
    if (!len || line[len - 1] != '\n')
        bench_fail("answered \"%s\" to: %s", line, asked);
    line[len - 1] = '\0';
}

static double number_read(bench_child *child, const char *asked)
{
    char line[128], *end;
    line_read(child, asked, line, sizeof line);
    double value = strtod(line, &end);
    if (end == line || *end || value < 0)
        bench_fail("answered \"%s\" to: %s", line, asked);
    return value;
}

static void line_send(bench_child *child, const char *line)
{
    if (fprintf(child->to, "%s\n", line) < 0 || fflush(child->to))
        bench_fail("nobody listens to: %s", line);
}

double bench_child_ask(bench_child *child, const char *line)
{
    line_send(child, line);
    return number_read(child, line);
}

void bench_child_tell(bench_child *child, const char *line, char *answer, size_t size)
{
    line_send(child, line);
    line_read(child, line, answer, size);
}

void bench_child_end(bench_child *child)
{
    int status;
    fclose(child->to);
    fclose(child->from);
    if (waitpid(child->pid, &status, 0) != child->pid || status)
        bench_fail("a peer ended badly");
}

double bench_child_number(const char *const *argv)
{
    bench_child child;
    bench_child_start(&child, argv);
    double value = number_read(&child, argv[0]);
    bench_child_end(&child);
    return value;
}
