/* SPDX-License-Identifier: Apache-2.0 */
#include "opt.h"

#include <inttypes.h>
#include <safetensors/json.h>
#include <stdlib.h>
#include <string.h>

#include "help.h"
#include "memory.h"
#include "nearest.h"
#include "text.h"

static const char *const color_choices[] = {"auto", "always", "never", NULL};

static const struct opt help_options[] = {
    {OPT_FLAG, 'h', "help", offsetof(struct common, help), .help = "Show this help."},
    {0},
};

static const struct opt common_options[] = {
    {OPT_FLAG, 0, "json", offsetof(struct common, json),
     .help = "Print one JSON document, described in docs/json.md, instead of text."},
    {OPT_CHOICE, 0, "color", offsetof(struct common, color), .arg = "WHEN",
     .choices = color_choices,
     .help = "Use colours auto (the default: on a terminal, unless NO_COLOR is set), always, or "
             "never."},
    {OPT_FLAG, 0, "upstream", offsetof(struct common, upstream),
     .help = "Judge files by the rules of the upstream reader, which are more lenient: of a name "
             "given twice the last one counts."},
    {OPT_FLAG, 0, "unknown-dtypes", offsetof(struct common, unknown_dtypes),
     .help = "Accept tensors of a dtype that this program does not know."},
    {0},
};

/* By their numbers, ST_IO_…. */
static const char *const io_choices[] = {"auto",  "pread",     "map",      "direct",
                                         "uring", "dontcache", "populate", NULL};

static const struct opt data_options[] = {
    {OPT_CHOICE, 0, "io", offsetof(struct common, io), .arg = "NAME", .choices = io_choices,
     .help =
         "Read by this strategy: auto (the default: by where the file lies and what of it is in "
         "the page cache), pread, map, direct, uring, dontcache, or populate. The result is the "
         "same. What the system refuses is replaced by the next best."},
    {OPT_FLAG, 0, "explain", offsetof(struct common, explain),
     .help = "Print how the data would be read, and why, and do nothing else."},
    {0},
};

const struct opt *opt_at(const struct verb *verb, size_t index)
{
    const struct opt *const tables[] = {
        verb->options,
        verb->picks,
        verb->reads_data ? data_options : NULL,
        verb->reads_files ? common_options : NULL,
        help_options,
    };
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++) {
        for (const struct opt *opt = tables[t]; opt && opt->kind != OPT_NONE; opt++)
            if (index-- == 0)
                return opt;
    }
    return NULL;
}

bool opt_has_value(const struct opt *opt)
{
    return opt->kind != OPT_FLAG && opt->kind != OPT_SET;
}

int usage_error(const struct verb *verb, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    complain("%s", message);
    help_usage(stderr, verb);
    if (*verb->name)
        fprintf(stderr, "Try 'safetensors help %s'.\n", verb->name);
    else
        fprintf(stderr, "Try 'safetensors --help'.\n");
    return EXIT_USAGE;
}

static const struct opt *opt_find_name(const struct verb *verb, const char *name, size_t len)
{
    const struct opt *opt;
    for (size_t i = 0; (opt = opt_at(verb, i)) != NULL; i++)
        if (strlen(opt->name) == len && memcmp(opt->name, name, len) == 0)
            return opt;
    return NULL;
}

static const struct opt *opt_find_letter(const struct verb *verb, char letter)
{
    const struct opt *opt;
    for (size_t i = 0; (opt = opt_at(verb, i)) != NULL; i++)
        if (opt->letter == letter)
            return opt;
    return NULL;
}

static int unknown_option(const struct verb *verb, const char *name, size_t len)
{
    const struct opt *opt;
    struct nearest nearest;
    nearest_init(&nearest, name, len);
    for (size_t i = 0; (opt = opt_at(verb, i)) != NULL; i++)
        nearest_offer(&nearest, opt->name, strlen(opt->name));
    if (nearest.count == 0)
        return usage_error(verb, "unknown option --%.*s", (int)len, name);
    return usage_error(verb, "unknown option --%.*s; did you mean --%s?", (int)len, name,
                       nearest.best[0].name);
}

static int choice_store(const struct verb *verb, const struct opt *opt, int *field,
                        const char *value)
{
    char all[128] = "", hint[512];
    struct nearest nearest;
    nearest_init(&nearest, value, strlen(value));
    for (int i = 0; opt->choices[i]; i++) {
        if (strcmp(opt->choices[i], value) == 0) {
            *field = i;
            return OPT_GO;
        }
        size_t len = strlen(all);
        snprintf(all + len, sizeof all - len, "%s%s", i ? ", " : "", opt->choices[i]);
        nearest_offer(&nearest, opt->choices[i], strlen(opt->choices[i]));
    }
    nearest_print(&nearest, hint, sizeof hint);
    return usage_error(verb, "--%s is one of %s, not %s%s", opt->name, all,
                       text_quote(value, strlen(value)).text, hint);
}

/* Keeps an option's value; `value` is NULL for those that have none. */
static int opt_store(const struct verb *verb, const struct opt *opt, void *values,
                     const char *value)
{
    void *field = (char *)values + opt->field;
    switch (opt->kind) {
    case OPT_FLAG: *(bool *)field = true; return OPT_GO;
    case OPT_SET: *(int *)field = opt->value; return OPT_GO;
    case OPT_TEXT:
    case OPT_FILE: *(const char **)field = value; return OPT_GO;
    case OPT_CHOICE: return choice_store(verb, opt, field, value);
    case OPT_NUMBER:
        if (st_json_parse_u64(value, strlen(value), field))
            return OPT_GO;
        return usage_error(verb, "--%s takes a whole number, not %s", opt->name,
                           text_quote(value, strlen(value)).text);
    case OPT_SIZE:
        if (text_read_bytes(value, field))
            return OPT_GO;
        return usage_error(verb, "--%s takes a number of bytes, as 4096, 16K or 2MiB, not %s",
                           opt->name, text_quote(value, strlen(value)).text);
    case OPT_LIST:
    case OPT_STEP: {
        struct opt_list *list = field;
        list->at = memory_grow(list->at, &list->room, list->count + 2, sizeof *list->at);
        if (opt->kind == OPT_STEP)
            list->at[list->count++] = opt->name;
        list->at[list->count++] = value;
        return OPT_GO;
    }
    case OPT_NONE: break;
    }
    return OPT_GO;
}

/* The command line being read: `next` is the word after the one at hand. */
struct words {
    int argc;
    char **argv;
    int next;
};

static int long_parse(const struct verb *verb, struct words *words, const char *word, void *values)
{
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct opt *opt = opt_find_name(verb, name, len);
    if (!opt)
        return unknown_option(verb, name, len);
    if (!opt_has_value(opt)) {
        if (equals)
            return usage_error(verb, "--%s takes no value", opt->name);
        return opt_store(verb, opt, values, NULL);
    }
    if (equals)
        return opt_store(verb, opt, values, equals + 1);
    if (words->next == words->argc)
        return usage_error(verb, "--%s needs a value: --%s %s", opt->name, opt->name, opt->arg);
    return opt_store(verb, opt, values, words->argv[words->next++]);
}

/* Reads "-x", "-xyz" of several letters, "-xVALUE", and "-x VALUE". */
static int short_parse(const struct verb *verb, struct words *words, const char *word, void *values)
{
    for (const char *at = word + 1; *at; at++) {
        const struct opt *opt = opt_find_letter(verb, *at);
        if (!opt)
            return usage_error(verb, "unknown option -%c", *at);
        if (!opt_has_value(opt)) {
            opt_store(verb, opt, values, NULL);
            continue;
        }
        if (at[1])
            return opt_store(verb, opt, values, at + 1);
        if (words->next == words->argc)
            return usage_error(verb, "-%c needs a value: -%c %s", *at, *at, opt->arg);
        return opt_store(verb, opt, values, words->argv[words->next++]);
    }
    return OPT_GO;
}

/* Checks the number of arguments against the verb's table. */
static int args_check(const struct verb *verb, const struct args *args)
{
    size_t most = 0;
    for (const struct arg *arg = verb->args; arg->kind != ARG_NONE; arg++) {
        if (!(arg->flags & ARG_OPTIONAL) && args->count <= most)
            return usage_error(verb, "%s is missing", arg->name);
        most++;
        if (arg->flags & ARG_MANY)
            return OPT_GO;
    }
    if (args->count > most)
        return usage_error(verb, "one argument too many: %s",
                           text_quote(args->at[most], strlen(args->at[most])).text);
    return OPT_GO;
}

/* The options of the program, and of a group, end where the verb begins. */
static bool stops_at_first_argument(const struct verb *verb)
{
    return verb->run == NULL;
}

int opt_parse(const struct verb *verb, int argc, char **argv, void *values, struct args *args)
{
    struct words words = {argc, argv, 0};
    const struct common *common = values;
    bool options_over = false;
    args->at = memory_new((size_t)argc + 1, sizeof *args->at);
    args->count = 0;
    while (words.next < argc) {
        char *word = argv[words.next++];
        int code = OPT_GO;
        if (options_over || word[0] != '-' || word[1] == '\0') {
            args->at[args->count++] = word;
            options_over = options_over || stops_at_first_argument(verb);
        } else if (word[1] != '-') {
            code = short_parse(verb, &words, word, values);
        } else if (word[2] == '\0') {
            options_over = true;
        } else {
            code = long_parse(verb, &words, word, values);
        }
        if (code == OPT_GO && common->help)
            code = help_verb(verb);
        if (code != OPT_GO)
            return code;
    }
    return args_check(verb, args);
}
