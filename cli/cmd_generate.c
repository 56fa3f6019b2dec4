/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors generate: the manual pages and the shells' completions. The build runs it. */
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "completion.h"
#include "man.h"
#include "opt.h"
#include "text.h"

static const char *const kind_choices[] = {"man", "bash", "zsh", "fish", NULL};

/* Indices into kind_choices. */
enum { KIND_MAN, KIND_BASH, KIND_ZSH, KIND_FISH, KIND_NONE };

static void kind_write(struct out *out, int kind, const struct verb *verb)
{
    switch (kind) {
    case KIND_MAN: man_write(out, verb); break;
    case KIND_BASH: completion_write_bash(out); break;
    case KIND_ZSH: completion_write_zsh(out); break;
    default: completion_write_fish(out); break;
    }
}

static int file_write(const char *folder, const char *name, int kind, const struct verb *verb)
{
    struct out out;
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) {
        complain("%s: the name is too long", folder);
        return EXIT_UNREADABLE;
    }
    if (!out_create(&out, path))
        return EXIT_UNREADABLE;
    kind_write(&out, kind, verb);
    return out_close(&out);
}

/* Writes the program's page, and one for each verb. */
static int pages_write(const char *folder)
{
    char name[80];
    int code = file_write(folder, "safetensors.1", KIND_MAN, &verb_main);
    for (const struct verb *const *each = verb_list(); *each && code == EXIT_GOOD; each++) {
        if ((*each)->hidden)
            continue;
        man_name(*each, name, sizeof name);
        strcat(name, ".1");
        code = file_write(folder, name, KIND_MAN, *each);
    }
    return code;
}

static int generate_main(const struct verb *verb, const struct args *args)
{
    /* What each shell looks for in its folder of completions. */
    static const char *const names[] = {
        [KIND_BASH] = "safetensors", [KIND_ZSH] = "_safetensors", [KIND_FISH] = "safetensors.fish"};
    const char *folder = args->at[1];
    int kind = KIND_MAN;
    struct out out;
    while (kind_choices[kind] && strcmp(kind_choices[kind], args->at[0]) != 0)
        kind++;
    if (kind == KIND_NONE)
        return usage_error(verb, "no such kind: %s",
                           text_quote(args->at[0], strlen(args->at[0])).text);
    if (folder)
        return kind == KIND_MAN ? pages_write(folder) : file_write(folder, names[kind], kind, NULL);
    out_open(&out, COLOR_NEVER);
    kind_write(&out, kind, &verb_main);
    return out_close(&out);
}

static int generate_run(const struct verb *verb, int argc, char **argv)
{
    struct common options = {0};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = generate_main(verb, &args);
    free(args.at);
    return code;
}

const struct verb verb_generate = {
    .name = "generate",
    .brief = "Write the manual pages or a shell's completion",
    .about = "Writes the manual pages, or the completion for a shell, into a folder under the "
             "names they go by; without one prints the program's own page, or the completion. The "
             "pages bear the day of SOURCE_DATE_EPOCH, or today.",
    .args = (const struct arg[]){{ARG_WORD, "man|bash|zsh|fish", 0, kind_choices},
                                 {ARG_DIRECTORY, "FOLDER", ARG_OPTIONAL, NULL},
                                 {0}},
    .hidden = true,
    .run = generate_run,
};
