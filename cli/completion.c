/* SPDX-License-Identifier: Apache-2.0 */
#include "completion.h"

#include <string.h>

#include "opt.h"
#include "verb.h"

/* Gives the length of a text's first sentence, without the full stop: what a completion's line has
 * room for. */
static size_t sentence_len(const char *text)
{
    const char *stop = strstr(text, ". ");
    size_t len = stop ? (size_t)(stop - text) : strlen(text);
    return len > 0 && text[len - 1] == '.' ? len - 1 : len;
}

/* Writes the sentence with a backslash before each of `special`, and a single quote as `quote`. */
static void sentence_write(struct out *out, const char *text, const char *special,
                           const char *quote)
{
    size_t len = sentence_len(text);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\'') {
            out_text(out, quote);
            continue;
        }
        if (strchr(special, text[i]))
            out_text(out, "\\");
        out_write(out, text + i, 1);
    }
}

/* NULL: any word, of which nothing can be offered. */
static void choices_write(struct out *out, const char *const *choices)
{
    for (size_t i = 0; choices && choices[i]; i++)
        out_print(out, "%s%s", i ? " " : "", choices[i]);
}

/* Gives the length of the first word of a verb's name, if a second one follows; else 0. */
static size_t group_len(const struct verb *verb)
{
    const char *blank = strchr(verb->name, ' ');
    return blank ? (size_t)(blank - verb->name) : 0;
}

/* Tells whether a verb is the first of its group in the list. */
static bool is_group_start(const struct verb *const *verb)
{
    size_t len = group_len(*verb);
    return len > 0 && (verb == verb_list() || group_len(verb[-1]) != len ||
                       memcmp(verb[-1]->name, (*verb)->name, len) != 0);
}

static bool is_in_group(const struct verb *verb, const char *group, size_t len)
{
    return group_len(verb) == len && memcmp(verb->name, group, len) == 0;
}

/* --------------------------------------------------------------------------------- bash */

/* The function's head: finds verb, the option whose value is wanted, and the arguments so far. In
 * COMP_WORDS "=" is a word. */
static const char bash_head[] =
    "# bash completion of safetensors, made by: safetensors generate bash\n"
    "\n"
    "# Adds the lines that the command prints and that begin with $cur. They come from files: they "
    "are\n"
    "# quoted, and never expanded.\n"
    "_safetensors_lines()\n"
    "{\n"
    "    local line\n"
    "    while IFS= read -r line; do\n"
    "        if [[ $line == \"$cur\"* ]]; then\n"
    "            printf -v line %q \"$line\"\n"
    "            COMPREPLY+=(\"$line\")\n"
    "        fi\n"
    "    done < <(\"$@\" 2>/dev/null)\n"
    "}\n"
    "\n"
    "_safetensors_words()\n"
    "{\n"
    "    local word\n"
    "    for word; do\n"
    "        [[ $word == \"$cur\"* ]] && COMPREPLY+=(\"$word\")\n"
    "    done\n"
    "}\n"
    "\n"
    "_safetensors_files()\n"
    "{\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    mapfile -t COMPREPLY < <(compgen \"$1\" -- \"$cur\")\n"
    "}\n"
    "\n"
    "_safetensors_tensors() { \"$1\" ls --flat -- \"$2\" | cut -f 5; }\n"
    "_safetensors_keys() { \"$1\" meta get -- \"$2\" | cut -f 1; }\n"
    "\n"
    "_safetensors()\n"
    "{\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} verb= opt= file= count=0 over= word i\n"
    "    COMPREPLY=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ $word == = ]]; then\n"
    "            continue\n"
    "        elif [[ -n $opt ]]; then\n"
    "            opt=\n"
    "        elif [[ -z $over && $word == -- ]]; then\n"
    "            over=1\n"
    "        elif [[ -z $over && $word == -?* ]]; then\n"
    "            _safetensors_takes_value && opt=$word\n"
    "        elif [[ -z $verb ]]; then\n"
    "            verb=$word\n"
    "        elif _safetensors_is_group; then\n"
    "            verb=\"$verb $word\"\n"
    "        else\n"
    "            ((count++ == 0)) && file=$word\n"
    "        fi\n"
    "    done\n"
    "    [[ $cur == = ]] && cur=\n"
    "    if [[ -n $opt ]]; then\n"
    "        _safetensors_value\n"
    "    elif [[ -z $over && $cur == -* ]]; then\n"
    "        _safetensors_option\n"
    "    else\n"
    "        _safetensors_argument \"$1\"\n"
    "    fi\n"
    "}\n"
    "\n";

/* Writes `    "ls -g" | "ls --glob") `. */
static void bash_pattern(struct out *out, const struct verb *verb, const struct opt *opt)
{
    out_text(out, "    ");
    if (opt->letter)
        out_print(out, "\"%s -%c\" | ", verb->name, opt->letter);
    out_print(out, "\"%s --%s\") ", verb->name, opt->name);
}

static void bash_values(struct out *out)
{
    const struct opt *opt;
    out_text(out, "_safetensors_takes_value()\n{\n    case \"$verb $word\" in\n");
    for (const struct verb *const *each = verb_list(); *each; each++)
        for (size_t i = 0; (opt = opt_at(*each, i)) != NULL; i++)
            if (opt_has_value(opt)) {
                bash_pattern(out, *each, opt);
                out_text(out, "return 0 ;;\n");
            }
    out_text(out, "    *) return 1 ;;\n    esac\n}\n\n"
                  "_safetensors_value()\n{\n    case \"$verb $opt\" in\n");
    for (const struct verb *const *each = verb_list(); *each; each++)
        for (size_t i = 0; (opt = opt_at(*each, i)) != NULL; i++) {
            if (opt->kind != OPT_CHOICE && opt->kind != OPT_FILE)
                continue;
            bash_pattern(out, *each, opt);
            out_text(out, opt->choices ? "_safetensors_words " : "_safetensors_files -f");
            if (opt->choices)
                choices_write(out, opt->choices);
            out_text(out, " ;;\n");
        }
    out_text(out, "    esac\n}\n\n");
}

static void bash_option_names(struct out *out, const struct verb *verb)
{
    const struct opt *opt;
    out_print(out, "    \"%s\") _safetensors_words", verb->name);
    for (size_t i = 0; (opt = opt_at(verb, i)) != NULL; i++) {
        out_print(out, " --%s", opt->name);
        if (opt->letter)
            out_print(out, " -%c", opt->letter);
    }
    out_text(out, " ;;\n");
}

/* What completes the argument number `index`, or from there on. */
static void bash_argument(struct out *out, const struct verb *verb, const struct arg *arg,
                          size_t index)
{
    if (arg->flags & ARG_MANY)
        out_print(out, "    \"%s \"*) ", verb->name);
    else
        out_print(out, "    \"%s %zu\") ", verb->name, index);
    switch (arg->kind) {
    case ARG_FILE: out_text(out, "_safetensors_files -f"); break;
    case ARG_DIRECTORY: out_text(out, "_safetensors_files -d"); break;
    case ARG_TENSOR:
        out_text(out, "_safetensors_lines _safetensors_tensors \"$1\" \"$file\"");
        break;
    case ARG_KEY: out_text(out, "_safetensors_lines _safetensors_keys \"$1\" \"$file\""); break;
    case ARG_WORD:
        out_text(out, "_safetensors_words ");
        choices_write(out, arg->choices);
        break;
    case ARG_VERB: out_text(out, "verb= _safetensors_argument \"$1\""); break;
    case ARG_NONE: break;
    }
    out_text(out, " ;;\n");
}

/* The verbs that can come first, then those of each group. */
static void bash_verbs(struct out *out)
{
    out_text(out, "    \" 0\") _safetensors_words");
    for (const struct verb *const *each = verb_list(); *each; each++)
        if (!(*each)->hidden && (group_len(*each) == 0 || is_group_start(each)))
            out_print(out, " %.*s",
                      (int)(group_len(*each) ? group_len(*each) : strlen((*each)->name)),
                      (*each)->name);
    out_text(out, " ;;\n");
    for (const struct verb *const *each = verb_list(); *each; each++) {
        size_t len = group_len(*each);
        if (!is_group_start(each))
            continue;
        out_print(out, "    \"%.*s 0\") _safetensors_words", (int)len, (*each)->name);
        for (const struct verb *const *other = verb_list(); *other; other++)
            if (is_in_group(*other, (*each)->name, len))
                out_print(out, " %s", (*other)->name + len + 1);
        out_text(out, " ;;\n");
    }
}

void completion_write_bash(struct out *out)
{
    out_text(out, bash_head);
    out_text(out, "_safetensors_is_group()\n{\n    case $verb in\n");
    for (const struct verb *const *each = verb_list(); *each; each++)
        if (is_group_start(each))
            out_print(out, "    %.*s) return 0 ;;\n", (int)group_len(*each), (*each)->name);
    out_text(out, "    *) return 1 ;;\n    esac\n}\n\n");
    bash_values(out);
    out_text(out, "_safetensors_option()\n{\n    case $verb in\n");
    bash_option_names(out, &verb_main);
    for (const struct verb *const *each = verb_list(); *each; each++)
        bash_option_names(out, *each);
    out_text(out, "    esac\n}\n\n_safetensors_argument()\n{\n    case \"$verb $count\" in\n");
    bash_verbs(out);
    for (const struct verb *const *each = verb_list(); *each; each++) {
        size_t index = 0;
        for (const struct arg *arg = (*each)->args; arg->kind != ARG_NONE; arg++)
            bash_argument(out, *each, arg, index++);
    }
    out_text(out, "    esac\n}\n\ncomplete -F _safetensors safetensors\n");
}

/* ---------------------------------------------------------------------------------- zsh */

static void zsh_value(struct out *out, const struct opt *opt)
{
    if (!opt_has_value(opt))
        return;
    out_print(out, ":%s:", opt->arg);
    if (opt->kind == OPT_FILE)
        out_text(out, "_files");
    else if (opt->choices) {
        out_text(out, "(");
        choices_write(out, opt->choices);
        out_text(out, ")");
    } else {
        out_text(out, " ");
    }
}

/* Writes one spelling of an option: "'(-g --glob)--glob=[List …]:PATTERN: '". */
static void zsh_option(struct out *out, const struct opt *opt, bool is_long)
{
    out_text(out, " \\\n        '");
    if (opt->kind == OPT_LIST || opt->kind == OPT_STEP)
        out_text(out, "*");
    else if (opt->letter)
        out_print(out, "(-%c --%s)", opt->letter, opt->name);
    if (is_long)
        out_print(out, "--%s%s", opt->name, opt_has_value(opt) ? "=" : "");
    else
        out_print(out, "-%c%s", opt->letter, opt_has_value(opt) ? "+" : "");
    out_text(out, "[");
    sentence_write(out, opt->help, "[]:\\", "'\\''");
    out_text(out, "]");
    zsh_value(out, opt);
    out_text(out, "'");
}

static void zsh_options(struct out *out, const struct verb *verb)
{
    const struct opt *opt;
    out_text(out, "_arguments -s -S");
    for (size_t i = 0; (opt = opt_at(verb, i)) != NULL; i++) {
        if (opt->letter)
            zsh_option(out, opt, false);
        zsh_option(out, opt, true);
    }
}

static void zsh_arguments(struct out *out, const struct verb *verb)
{
    size_t index = 1;
    for (const struct arg *arg = verb->args; arg->kind != ARG_NONE; arg++, index++) {
        if (arg->flags & ARG_MANY)
            out_text(out, " \\\n        '*");
        else
            out_print(out, " \\\n        '%zu", index);
        out_print(out, ":%.*s:", (int)strcspn(arg->name, "["), arg->name);
        switch (arg->kind) {
        case ARG_FILE: out_text(out, "_files"); break;
        case ARG_DIRECTORY: out_text(out, "_files -/"); break;
        case ARG_TENSOR: out_text(out, "_safetensors_tensors"); break;
        case ARG_KEY: out_text(out, "_safetensors_keys"); break;
        case ARG_WORD:
            out_text(out, "(");
            choices_write(out, arg->choices);
            out_text(out, ")");
            break;
        case ARG_VERB: out_text(out, "_safetensors_verbs"); break;
        case ARG_NONE: break;
        }
        out_text(out, "'");
    }
}

/* Writes what a level of verbs offers: all first words, or the second ones of a group. */
static void zsh_verbs(struct out *out, const char *group, size_t len)
{
    out_text(out, "    local -a verbs=(\n");
    for (const struct verb *const *each = verb_list(); *each; each++) {
        bool start = is_group_start(each);
        size_t each_len = group_len(*each);
        if ((*each)->hidden || (len ? !is_in_group(*each, group, len) : each_len && !start))
            continue;
        out_text(out, "        '");
        if (!len && start)
            out_print(out, "%.*s:Verbs of %.*s", (int)each_len, (*each)->name, (int)each_len,
                      (*each)->name);
        else {
            out_print(out, "%s:", (*each)->name + (len ? len + 1 : 0));
            sentence_write(out, (*each)->brief, "[]:\\", "'\\''");
        }
        out_text(out, "'\n");
    }
    out_text(out, "    )\n    _describe verb verbs\n");
}

/* Writes one level's choice of what completes the rest of the line. */
static void zsh_cases(struct out *out, const char *group, size_t len)
{
    for (const struct verb *const *each = verb_list(); *each; each++) {
        size_t each_len = group_len(*each);
        if (len ? !is_in_group(*each, group, len) : each_len && !is_group_start(each))
            continue;
        if (!len && each_len) {
            out_print(out, "    %.*s) _safetensors_%.*s ;;\n", (int)each_len, (*each)->name,
                      (int)each_len, (*each)->name);
            continue;
        }
        out_print(out, "    %s) ", (*each)->name + (len ? len + 1 : 0));
        zsh_options(out, *each);
        zsh_arguments(out, *each);
        out_text(out, " ;;\n");
    }
}

static void zsh_level(struct out *out, const char *group, size_t len)
{
    const char *under = len ? "_" : "";
    out_print(out, "_safetensors%s%.*s_verbs()\n{\n", under, (int)len, group);
    zsh_verbs(out, group, len);
    out_print(out,
              "}\n\n"
              "_safetensors%s%.*s()\n{\n"
              "    local curcontext=$curcontext state line\n"
              "    typeset -A opt_args\n    ",
              under, (int)len, group);
    zsh_options(out, len ? &(const struct verb){.name = ""} : &verb_main);
    out_print(out,
              " -C \\\n        '1:verb:_safetensors%s%.*s_verbs' \\\n        '*::argument:->rest'\n"
              "    [[ $state == rest ]] || return\n"
              "    case $line[1] in\n",
              under, (int)len, group);
    zsh_cases(out, group, len);
    out_text(out, "    esac\n}\n\n");
}

void completion_write_zsh(struct out *out)
{
    out_text(out, "#compdef safetensors\n"
                  "# zsh completion of safetensors, made by: safetensors generate zsh\n"
                  "\n"
                  "# The first argument is the file; words[1] is the verb.\n"
                  "_safetensors_tensors()\n"
                  "{\n"
                  "    local -a names=(${(f)\"$(safetensors ls --flat -- $line[1] 2>/dev/null | "
                  "cut -f 5)\"})\n"
                  "    compadd -a names\n"
                  "}\n"
                  "\n"
                  "_safetensors_keys()\n"
                  "{\n"
                  "    local -a names=(${(f)\"$(safetensors meta get -- $line[1] 2>/dev/null | "
                  "cut -f 1)\"})\n"
                  "    compadd -a names\n"
                  "}\n\n");
    for (const struct verb *const *each = verb_list(); *each; each++)
        if (is_group_start(each))
            zsh_level(out, (*each)->name, group_len(*each));
    zsh_level(out, "", 0);
    out_text(out, "if [[ $funcstack[1] == _safetensors ]]; then\n"
                  "    _safetensors \"$@\"\n"
                  "else\n"
                  "    compdef _safetensors safetensors\n"
                  "fi\n");
}

/* --------------------------------------------------------------------------------- fish */

static const char fish_head[] =
    "# fish completion of safetensors, made by: safetensors generate fish\n"
    "\n"
    "function __safetensors_words\n"
    "    set -l tokens (commandline -opc)\n"
    "    string match -v -- '-*' $tokens[2..-1]\n"
    "end\n"
    "\n"
    "# Tells whether the words before the cursor are just these.\n"
    "function __safetensors_at\n"
    "    set -l words (__safetensors_words)\n"
    "    test \"$words\" = \"$argv\"\n"
    "end\n"
    "\n"
    "# Tells whether they begin with these.\n"
    "function __safetensors_in\n"
    "    set -l words (__safetensors_words)\n"
    "    set -l n (count $argv)\n"
    "    test (count $words) -ge $n; and test \"$words[1..$n]\" = \"$argv\"\n"
    "end\n"
    "\n"
    "function __safetensors_tensors\n"
    "    set -l words (__safetensors_words)\n"
    "    safetensors ls --flat -- $words[2] 2>/dev/null | cut -f 5\n"
    "end\n"
    "\n"
    "function __safetensors_keys\n"
    "    set -l words (__safetensors_words)\n"
    "    safetensors meta get -- $words[3] 2>/dev/null | cut -f 1\n"
    "end\n"
    "\n"
    "complete -c safetensors -f\n";

static void fish_option(struct out *out, const char *condition, const struct opt *opt)
{
    out_print(out, "complete -c safetensors -n '%s'", condition);
    if (opt->letter)
        out_print(out, " -s %c", opt->letter);
    out_print(out, " -l %s", opt->name);
    if (opt->kind == OPT_FILE)
        out_text(out, " -r -F");
    else if (opt_has_value(opt))
        out_text(out, " -x");
    if (opt->choices) {
        out_text(out, " -a '");
        choices_write(out, opt->choices);
        out_text(out, "'");
    }
    out_text(out, " -d '");
    sentence_write(out, opt->help, "\\", "\\'");
    out_text(out, "'\n");
}

/* Writes what completes the argument number `index`: the first one stands where the verb has just
 * been named. */
static void fish_argument(struct out *out, const struct verb *verb, const struct arg *arg,
                          size_t index)
{
    bool first_only = index == 0 && !(arg->flags & ARG_MANY);
    out_print(out, "complete -c safetensors -n '__safetensors_%s %s", first_only ? "at" : "in",
              verb->name);
    if (index > 0)
        out_print(out, "; and not __safetensors_at %s", verb->name);
    out_text(out, "'");
    switch (arg->kind) {
    case ARG_FILE: out_text(out, " -F"); break;
    case ARG_DIRECTORY: out_text(out, " -a '(__fish_complete_directories)'"); break;
    case ARG_TENSOR: out_text(out, " -a '(__safetensors_tensors)'"); break;
    case ARG_KEY: out_text(out, " -a '(__safetensors_keys)'"); break;
    case ARG_WORD:
        out_text(out, " -a '");
        choices_write(out, arg->choices);
        out_text(out, "'");
        break;
    case ARG_VERB:
        out_text(out, " -a '");
        for (const struct verb *const *each = verb_list(); *each; each++)
            if (!(*each)->hidden && group_len(*each) == 0)
                out_print(out, "%s ", (*each)->name);
        out_text(out, "'");
        break;
    case ARG_NONE: break;
    }
    out_text(out, "\n");
}

/* Offers a verb where its turn is: first, or after its group's name. */
static void fish_verb(struct out *out, const struct verb *const *verb)
{
    size_t len = group_len(*verb);
    if ((*verb)->hidden)
        return;
    if (is_group_start(verb))
        out_print(out, "complete -c safetensors -n '__safetensors_at' -a %.*s\n", (int)len,
                  (*verb)->name);
    out_print(out, "complete -c safetensors -n '__safetensors_at%s%.*s' -a %s -d '", len ? " " : "",
              (int)len, (*verb)->name, (*verb)->name + (len ? len + 1 : 0));
    sentence_write(out, (*verb)->brief, "\\", "\\'");
    out_text(out, "'\n");
}

void completion_write_fish(struct out *out)
{
    const struct opt *opt;
    char condition[80];
    out_text(out, fish_head);
    for (size_t i = 0; (opt = opt_at(&verb_main, i)) != NULL; i++)
        fish_option(out, "__safetensors_at", opt);
    for (const struct verb *const *each = verb_list(); *each; each++) {
        fish_verb(out, each);
        snprintf(condition, sizeof condition, "__safetensors_in %s", (*each)->name);
        for (size_t i = 0; (opt = opt_at(*each, i)) != NULL; i++)
            fish_option(out, condition, opt);
        size_t index = 0;
        for (const struct arg *arg = (*each)->args; arg->kind != ARG_NONE; arg++)
            fish_argument(out, *each, arg, index++);
    }
}
