/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs, and the program's own options. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "help.h"
#include "nearest.h"
#include "opt.h"
#include "term.h"
#include "text.h"

static const struct verb *const verbs[] = {
    &verb_ls,          &verb_show,      &verb_view,        &verb_check,    &verb_stats,
    &verb_hash,        &verb_diff,      &verb_grep,        &verb_report,   &verb_copy,
    &verb_edit,        &verb_split,     &verb_merge,       &verb_cat,      &verb_repair,
    &verb_bench,       &verb_meta_get,  &verb_meta_export, &verb_meta_set, &verb_meta_rm,
    &verb_meta_import, &verb_meta_edit, &verb_help,        &verb_generate, NULL,
};

struct main_options {
    struct common common;
    bool version;
};

static const struct opt main_options[] = {
    {OPT_FLAG, 'V', "version", offsetof(struct main_options, version),
     .help = "Print the version."},
    {0},
};

const struct verb verb_main = {
    .name = "",
    .brief = "look into safetensors files, check them, and change them",
    .about =
        "Lists, shows, measures, checks, compares, copies, and changes the tensors of safetensors "
        "files. A FILE named - is standard input; a folder of shards, or an index, whose name ends "
        "in .json, stands for all files that belong to it. Text from a file is printed with "
        "control, invisible, and reordering characters escaped.\n\n"
        "The exit code is " EXIT_CODES,
    .args = (const struct arg[]){{ARG_VERB, "VERB", ARG_OPTIONAL | ARG_MANY, NULL}, {0}},
    .options = main_options,
};

const struct verb *const *verb_list(void)
{
    return verbs;
}

/* Tells whether a verb's name is `word`, or "word word2". */
static bool verb_is(const struct verb *verb, const char *word, const char *word2)
{
    size_t len = strlen(word);
    if (strncmp(verb->name, word, len) != 0)
        return false;
    if (!word2)
        return verb->name[len] == '\0';
    return verb->name[len] == ' ' && strcmp(verb->name + len + 1, word2) == 0;
}

const struct verb *verb_find(const char *word, const char *word2, int *words)
{
    for (const struct verb *const *each = verbs; *each; each++) {
        bool one = verb_is(*each, word, NULL);
        if (one || (word2 && verb_is(*each, word, word2))) {
            *words = one ? 1 : 2;
            return *each;
        }
    }
    return NULL;
}

bool verb_find_group(const char *word, struct verb *out)
{
    static const struct arg group_args[] = {
        {ARG_VERB, "VERB", 0, NULL},
        {ARG_WORD, "ARGUMENT", ARG_OPTIONAL | ARG_MANY, NULL},
        {0},
    };
    size_t len = strlen(word);
    for (const struct verb *const *each = verbs; *each; each++)
        if (strncmp((*each)->name, word, len) == 0 && (*each)->name[len] == ' ') {
            *out = (struct verb){.name = word, .args = group_args};
            return true;
        }
    return false;
}

static int unknown_verb(const char *name)
{
    char hint[512];
    struct nearest nearest;
    nearest_init(&nearest, name, strlen(name));
    for (const struct verb *const *each = verbs; *each; each++)
        if (!(*each)->hidden)
            nearest_offer(&nearest, (*each)->name, strlen((*each)->name));
    nearest_print(&nearest, hint, sizeof hint);
    return usage_error(&verb_main, "no verb %s%s", text_quote(name, strlen(name)).text, hint);
}

/* Runs what names a group but none of its verbs: "meta", "meta --help", "meta gte". */
static int group_run(const struct verb *group, int argc, char **argv)
{
    struct common options = {0};
    struct args args;
    int code = opt_parse(group, argc, argv, &options, &args);
    if (code == OPT_GO) {
        char full[64];
        snprintf(full, sizeof full, "%s %s", group->name, args.at[0]);
        code = unknown_verb(full);
    }
    free(args.at);
    return code;
}

static int version_print(void)
{
    struct out out;
    int version = st_version();
    out_open(&out, COLOR_NEVER);
    out_print(&out, "safetensors %d.%d.%d\n", version / 10000, version / 100 % 100, version % 100);
    return out_close(&out);
}

static int program_run(int argc, char **argv)
{
    struct main_options options = {{0}, false};
    struct args args;
    int code = opt_parse(&verb_main, argc, argv, &options, &args), words = 0;
    if (code == OPT_GO && options.version)
        code = version_print();
    else if (code == OPT_GO && args.count == 0)
        code = usage_error(&verb_main, "which verb?");
    if (code == OPT_GO) {
        struct verb group;
        const struct verb *verb = verb_find(args.at[0], args.at[1], &words);
        int rest = (int)args.count - words;
        if (verb)
            code = verb->run(verb, rest, args.at + words);
        else if (verb_find_group(args.at[0], &group))
            code = group_run(&group, rest - 1, args.at + 1);
        else
            code = unknown_verb(args.at[0]);
    }
    free(args.at);
    return code;
}

/* A file opened as descriptor 1 would receive what is meant for standard output. */
static void descriptors_hold(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDONLY);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    descriptors_hold();
    signal(SIGPIPE, SIG_IGN); /* out.c sees EPIPE, and knows the exit code so far */
    term_init();
    return program_run(argc > 0 ? argc - 1 : 0, argv + 1);
}
