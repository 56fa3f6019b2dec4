/* SPDX-License-Identifier: Apache-2.0 */
#include "help.h"

#include <string.h>

#include "opt.h"
#include "term.h"

#define INDENT  2
#define COLUMN  28 /* where the options' texts begin */
#define MEASURE 78 /* the widest that text is set: longer lines read badly */

void help_usage(FILE *stream, const struct verb *verb)
{
    if (verb == &verb_main) {
        fprintf(stream, "usage: safetensors [OPTION]... VERB [ARGUMENT]...\n");
        return;
    }
    fprintf(stream, "usage: safetensors %s [OPTION]...", verb->name);
    for (const struct arg *arg = verb->args; arg->kind != ARG_NONE; arg++) {
        bool optional = (arg->flags & ARG_OPTIONAL) != 0;
        fprintf(stream, " %s%s%s%s", optional ? "[" : "", arg->name, optional ? "]" : "",
                arg->flags & ARG_MANY ? "..." : "");
    }
    fputc('\n', stream);
}

/* Prints text broken at blanks to fit `width` columns; the cursor stands at `column` already, and
 * later lines are indented to `indent`. Empty lines stay. */
static void wrap(struct out *out, const char *text, size_t column, size_t indent, size_t width)
{
    while (*text) {
        size_t len = strcspn(text, " \n");
        if (column > indent && column + len > width) {
            out_text(out, "\n");
            column = 0;
        }
        if (column < indent) {
            out_blanks(out, indent - column);
            column = indent;
        }
        out_write(out, text, len);
        column += len;
        text += len;
        if (*text == ' ') {
            text++;
            if (column + 1 + strcspn(text, " \n") <= width) {
                out_text(out, " ");
                column++;
            } else {
                column = width + 1;
            }
        }
        for (; *text == '\n'; text++) {
            out_text(out, "\n");
            column = 0;
        }
    }
    out_text(out, "\n");
}

static size_t measure(const struct out *out)
{
    return out->width < 40 ? 40 : out->width < MEASURE ? out->width : MEASURE;
}

static void option_print(struct out *out, const struct opt *opt)
{
    char head[80];
    if (opt->letter)
        snprintf(head, sizeof head, "  -%c, --%s", opt->letter, opt->name);
    else
        snprintf(head, sizeof head, "      --%s", opt->name);
    out_text(out, head);
    size_t column = strlen(head);
    if (opt_has_value(opt)) {
        out_print(out, " %s", opt->arg);
        column += 1 + strlen(opt->arg);
    }
    if (column + 2 > COLUMN) {
        out_text(out, "\n");
        column = 0;
    }
    wrap(out, opt->help, column, COLUMN, measure(out));
}

static void options_print(struct out *out, const struct verb *verb)
{
    const struct opt *opt;
    out_text(out, "\nOptions:\n");
    for (size_t i = 0; (opt = opt_at(verb, i)) != NULL; i++)
        option_print(out, opt);
}

static void verb_line(struct out *out, const struct verb *verb)
{
    out_print(out, "  %-13s", verb->name);
    wrap(out, verb->brief, 15, 15, measure(out));
}

/* Prints the verbs of a group. */
static int help_group(const struct verb *group)
{
    struct out out;
    size_t len = strlen(group->name);
    out_open(&out, COLOR_NEVER);
    help_usage(out.stream, group);
    out_text(&out, "\nVerbs:\n");
    for (const struct verb *const *each = verb_list(); *each; each++)
        if (strncmp((*each)->name, group->name, len) == 0 && (*each)->name[len] == ' ')
            verb_line(&out, *each);
    options_print(&out, group);
    return out_close(&out);
}

int help_verb(const struct verb *verb)
{
    struct out out;
    if (!verb->about)
        return help_group(verb);
    out_open(&out, COLOR_NEVER);
    help_usage(out.stream, verb);
    out_text(&out, "\n");
    wrap(&out, verb->about, 0, 0, measure(&out));
    if (verb == &verb_main) {
        out_text(&out, "\nVerbs:\n");
        for (const struct verb *const *each = verb_list(); *each; each++)
            if (!(*each)->hidden)
                verb_line(&out, *each);
    }
    options_print(&out, verb);
    if (verb->examples)
        out_text(&out, "\nExamples:\n");
    for (const struct example *each = verb->examples; each && each->command; each++) {
        out_print(&out, "  %s\n", each->command);
        wrap(&out, each->what, 0, 6, measure(&out));
    }
    return out_close(&out);
}
