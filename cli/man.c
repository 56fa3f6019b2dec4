/* SPDX-License-Identifier: Apache-2.0 */
#include "man.h"

#include <safetensors/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "opt.h"

/* Columns after which a line of the source is broken; escapes may add a few. */
#define MEASURE 70

/* Writes text without newlines as roff: backslashes, quotes, and what means a request at a line's
 * start mean themselves. */
static void roff_text(struct out *out, const char *text, bool line_start)
{
    if (line_start && (*text == '.' || *text == '\''))
        out_text(out, "\\&");
    for (; *text; text++) {
        switch (*text) {
        case '\\': out_text(out, "\\e"); break;
        case '"': out_text(out, "\\(dq"); break;
        case '\'': out_text(out, "\\(aq"); break;
        case '-': out_text(out, "\\-"); break;
        default: out_write(out, text, 1);
        }
    }
}

/* Writes an argument of a macro: one word, that is no macro's name. */
static void roff_word(struct out *out, const char *text)
{
    out_text(out, "\"");
    roff_text(out, text, false);
    out_text(out, "\"");
}

/* Writes running text: sentences on lines of their own, long ones broken, paragraphs parted by
 * .Pp. */
static void roff_paragraphs(struct out *out, const char *text)
{
    char word[256];
    size_t column = 0;
    while (*text) {
        size_t len = strcspn(text, " \n");
        size_t keep = len < sizeof word ? len : sizeof word - 1;
        memcpy(word, text, keep);
        word[keep] = '\0';
        if (column > 0 && column + keep > MEASURE) {
            out_text(out, "\n");
            column = 0;
        } else if (column > 0) {
            out_text(out, " ");
        }
        roff_text(out, word, column == 0);
        column += keep + 1;
        text += keep;
        bool paragraph = text[0] == '\n' && text[1] == '\n';
        if (word[keep - 1] == '.' || paragraph || text[strspn(text, " \n")] == '\0') {
            out_text(out, paragraph ? "\n.Pp\n" : "\n");
            column = 0;
        }
        text += strspn(text, " \n");
    }
}

void man_name(const struct verb *verb, char *name, size_t size)
{
    snprintf(name, size, "safetensors%s%s", *verb->name ? "-" : "", verb->name);
    for (char *at = name; *at; at++)
        if (*at == ' ')
            *at = '-';
}

/* Writes the day of SOURCE_DATE_EPOCH, so that a package can be built the same again, else today. */
static void date_write(struct out *out)
{
    static const char *const months[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    uint64_t seconds;
    time_t when = time(NULL);
    struct tm day;
    if (epoch && st_json_parse_u64(epoch, strlen(epoch), &seconds) && seconds <= INT32_MAX)
        when = (time_t)seconds;
    gmtime_r(&when, &day);
    out_print(out, ".Dd %s %d, %d\n", months[day.tm_mon], day.tm_mday, day.tm_year + 1900);
}

static void title_write(struct out *out, const struct verb *verb)
{
    char name[64], title[64];
    man_name(verb, name, sizeof name);
    for (size_t i = 0; i < sizeof title; i++)
        title[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i];
    date_write(out);
    out_print(out, ".Dt %s 1\n.Os\n.Sh NAME\n.Nm %s\n.Nd ", title, name);
    char first = verb->brief[0];
    out_print(out, "%c", first >= 'A' && first <= 'Z' ? first - 'A' + 'a' : first);
    roff_text(out, verb->brief + 1, false);
    out_text(out, "\n");
}

static void synopsis_write(struct out *out, const struct verb *verb)
{
    out_text(out, ".Sh SYNOPSIS\n.Nm safetensors\n");
    if (*verb->name)
        out_print(out, ".Cm %s\n", verb->name);
    out_text(out, ".Op Ar OPTION ...\n");
    for (const struct arg *arg = verb->args; arg->kind != ARG_NONE; arg++) {
        out_text(out, arg->flags & ARG_OPTIONAL ? ".Op Ar " : ".Ar ");
        roff_word(out, arg->name);
        out_text(out, arg->flags & ARG_MANY ? " ...\n" : "\n");
    }
    if (verb == &verb_main)
        out_text(out, ".Op Ar ARGUMENT ...\n");
}

static void options_write(struct out *out, const struct verb *verb)
{
    const struct opt *opt;
    out_text(out, ".Sh OPTIONS\n.Bl -tag -width Ds\n");
    for (size_t i = 0; (opt = opt_at(verb, i)) != NULL; i++) {
        out_text(out, ".It ");
        if (opt->letter)
            out_print(out, "Fl %c , ", opt->letter);
        out_print(out, "Fl \\-%s", opt->name);
        if (opt->arg)
            out_print(out, " Ar %s", opt->arg);
        out_text(out, "\n");
        roff_paragraphs(out, opt->help);
    }
    out_text(out, ".El\n");
}

static void verbs_write(struct out *out)
{
    char name[64];
    out_text(out, ".Sh VERBS\n.Bl -tag -width Ds\n");
    for (const struct verb *const *each = verb_list(); *each; each++) {
        if ((*each)->hidden)
            continue;
        man_name(*each, name, sizeof name);
        out_print(out, ".It Cm %s\n", (*each)->name);
        roff_text(out, (*each)->brief, true);
        out_print(out, ":\n.Xr %s 1 .\n", name);
    }
    out_text(out, ".El\n");
}

static void examples_write(struct out *out, const struct verb *verb)
{
    if (!verb->examples)
        return;
    out_text(out, ".Sh EXAMPLES\n");
    for (const struct example *each = verb->examples; each->command; each++) {
        roff_paragraphs(out, each->what);
        out_text(out, ".Bd -literal -offset indent\n");
        roff_text(out, each->command, true);
        out_text(out, "\n.Ed\n");
        if (each[1].command)
            out_text(out, ".Pp\n");
    }
}

static void environment_write(struct out *out)
{
    out_text(out, ".Sh ENVIRONMENT\n"
                  ".Bl -tag -width Ds\n"
                  ".It Ev NO_COLOR\n"
                  "If set and not empty, there are no colours by themselves.\n"
                  ".It Ev COLUMNS\n"
                  "The width of the terminal, where it is not the one to fill.\n"
                  ".It Ev TMPDIR\n"
                  "Where standard input is kept while it is read, if it is a pipe.\n"
                  ".El\n");
}

void man_write(struct out *out, const struct verb *verb)
{
    title_write(out, verb);
    synopsis_write(out, verb);
    out_text(out, ".Sh DESCRIPTION\n");
    roff_paragraphs(out, verb->about);
    if (verb == &verb_main)
        verbs_write(out);
    options_write(out, verb);
    if (verb == &verb_main)
        environment_write(out);
    out_text(out, ".Sh EXIT STATUS\n");
    roff_paragraphs(out, EXIT_CODES);
    examples_write(out, verb);
    if (verb != &verb_main)
        out_text(out, ".Sh SEE ALSO\n.Xr safetensors 1\n");
}
