/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors help: the help of one verb, or of the program. */
#include "cmd.h"

#include <stdlib.h>
#include <string.h>

#include "help.h"
#include "opt.h"
#include "text.h"

static int help_args(const struct verb *verb, const struct args *args)
{
    int words = 0;
    struct verb group;
    if (args->count == 0)
        return help_verb(&verb_main);
    const struct verb *found = verb_find(args->at[0], args->at[1], &words);
    if (!found && verb_find_group(args->at[0], &group)) {
        found = &group;
        words = 1;
    }
    if (found && (size_t)words == args->count)
        return help_verb(found);
    const char *strange = args->at[found ? words : 0];
    return usage_error(verb, "no help for %s", text_quote(strange, strlen(strange)).text);
}

static int help_run(const struct verb *verb, int argc, char **argv)
{
    struct common options = {0};
    struct args args;
    int code = opt_parse(verb, argc, argv, &options, &args);
    if (code == OPT_GO)
        code = help_args(verb, &args);
    free(args.at);
    return code;
}

const struct verb verb_help = {
    .name = "help",
    .brief = "Show the help of a verb",
    .about =
        "Shows what a verb does, its options, and examples; without a verb, the list of verbs.",
    .args = (const struct arg[]){{ARG_VERB, "VERB", ARG_OPTIONAL | ARG_MANY, NULL}, {0}},
    .run = help_run,
};
