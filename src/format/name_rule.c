/* SPDX-License-Identifier: Apache-2.0 */
/* Rules by which names are matched and rewritten: patterns, and POSIX regular expressions. A plain text is an
 * expression whose every special character stands for itself. */
#include "format/name_rule.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

#include <inttypes.h>
#include <regex.h>
#include <string.h>

/* What `\0` to `\9` stand for. */
#define RULE_GROUPS 10
/* Names of fewer bytes are terminated for the expression on the stack. */
#define RULE_NAME_SHORT 512

struct st_name_rule {
    st_context *context;
    uint32_t kind; /* without flags */
    bool fold;     /* ST_NAME_IGNORE_CASE */
    char *pattern;
    char *replacement; /* NULL: none; behind the pattern */
    size_t text_size;  /* of both */
    regex_t regex;     /* unless ST_NAME_GLOB */
};

/* --------------------------------------------------------------------------------------- making */

static st_status rule_refuse(const char *what, const char *text, const char *fault, st_error *error)
{
    return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET, "%s %s: %s", what,
                    st__quote(text, strlen(text)).text, fault);
}

/* The stars of a replacement, in which brackets are nothing special. */
static size_t replacement_stars(const char *text)
{
    size_t stars = 0;
    for (; *text; text += text[0] == '\\' && text[1] ? 2 : 1)
        stars += *text == '*';
    return stars;
}

static st_status glob_check(const st_name_rule *rule, st_error *error)
{
    size_t stars = st__glob_stars(rule->pattern);
    if (stars > ST__GLOB_STARS_MAX)
        return rule_refuse("the pattern", rule->pattern, "it has more than 32 *", error);
    if (rule->replacement && replacement_stars(rule->replacement) > stars)
        return rule_refuse("the replacement", rule->replacement, "it has more * than the pattern",
                           error);
    return ST_OK;
}

static st_status regex_check(const st_name_rule *rule, st_error *error)
{
    const char *at = rule->replacement ? rule->replacement : "";
    for (; *at; at += at[0] == '\\' && at[1] ? 2 : 1)
        if (at[0] == '\\' && at[1] >= '0' && at[1] <= '9' &&
            (size_t)(at[1] - '0') > rule->regex.re_nsub)
            return rule_refuse("the replacement", rule->replacement,
                               "it refers to a group that the expression does not have", error);
    return ST_OK;
}

static st_status regex_compile(st_name_rule *rule, const char *pattern, st_error *error)
{
    int fault = regcomp(&rule->regex, pattern, REG_EXTENDED | (rule->fold ? REG_ICASE : 0));
    char reason[128];
    if (fault == 0)
        return ST_OK;
    (void)regerror(fault, &rule->regex, reason, sizeof reason);
    if (fault == REG_ESPACE)
        return st__fail_nomem(error, 0);
    return rule_refuse("the expression", rule->pattern, reason, error);
}

/* Gives the expression that matches just this text. Of two bytes in it one is the text's at least. */
static st_status text_compile(st_name_rule *rule, st_error *error)
{
    size_t size;
    char *quoted = NULL;
    if (st__mul_size(strlen(rule->pattern) + 1, 2, &size))
        quoted = st__alloc(rule->context, size);
    if (!quoted)
        return st__fail_nomem(error, size);
    char *out = quoted;
    for (const char *at = rule->pattern; *at; at++) {
        if (strchr("\\.[]()*+?{}^$|", *at))
            *out++ = '\\';
        *out++ = *at;
    }
    *out = '\0';
    st_status status = regex_compile(rule, quoted, error);
    st__free(rule->context, quoted, size);
    return status;
}

/* Makes what the rule's kind needs of its pattern, and sees whether the replacement goes with it. */
static st_status rule_compile(st_name_rule *rule, st_error *error)
{
    if (rule->kind == ST_NAME_GLOB)
        return glob_check(rule, error);
    ST_TRY(rule->kind == ST_NAME_TEXT ? text_compile(rule, error)
                                      : regex_compile(rule, rule->pattern, error));
    st_status status = regex_check(rule, error);
    if (status != ST_OK)
        regfree(&rule->regex);
    return status;
}

static void rule_free(st_name_rule *rule)
{
    st_context *context = rule->context;
    st__free(context, rule->pattern, rule->text_size);
    st__free(context, rule, sizeof *rule);
    st_context_release(context);
}

static st_status rule_texts(st_name_rule *rule, const char *pattern, const char *replacement,
                            st_error *error)
{
    size_t first = strlen(pattern) + 1, second = replacement ? strlen(replacement) + 1 : 0;
    if (st__add_size(first, second, &rule->text_size))
        rule->pattern = st__alloc(rule->context, rule->text_size);
    if (!rule->pattern) {
        st_status status = st__fail_nomem(error, rule->text_size);
        rule->text_size = 0;
        return status;
    }
    memcpy(rule->pattern, pattern, first);
    if (replacement)
        rule->replacement = memcpy(rule->pattern + first, replacement, second);
    return ST_OK;
}

st_status st_name_rule_new(const char *pattern, const char *replacement, uint32_t kind,
                           st_context *context, st_name_rule **out, st_error *error)
{
    if ((kind & ~(uint32_t)ST_NAME_IGNORE_CASE) > ST_NAME_TEXT)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "st_name_rule_new: unknown kind %" PRIu32, kind);
    st_name_rule *rule = st__alloc_zeroed(context, 1, sizeof *rule);
    if (!rule)
        return st__fail_nomem(error, sizeof *rule);
    rule->context = st_context_retain(context);
    rule->kind = kind & ~(uint32_t)ST_NAME_IGNORE_CASE;
    rule->fold = kind & ST_NAME_IGNORE_CASE;
    st_status status = rule_texts(rule, pattern, replacement, error);
    if (status == ST_OK)
        status = rule_compile(rule, error);
    if (status != ST_OK) {
        rule_free(rule);
        return status;
    }
    *out = rule;
    return ST_OK;
}

void st_name_rule_free(st_name_rule *rule)
{
    if (!rule)
        return;
    if (rule->kind != ST_NAME_GLOB)
        regfree(&rule->regex);
    rule_free(rule);
}

/* ----------------------------------------------------------------------------------- a new name */

/* Text that is measured, and written as far as there is room. */
typedef struct new_text {
    char *at;
    size_t room;
    size_t len; /* SIZE_MAX: more than can be counted */
} new_text;

static void new_text_add(new_text *text, const char *from, size_t len)
{
    if (len && text->len < text->room && len <= text->room - text->len)
        memcpy(text->at + text->len, from, len);
    if (!st__add_size(text->len, len, &text->len))
        text->len = SIZE_MAX;
}

/* ---------------------------------------------------------------------------------------- globs */

static bool text_equal(const char *a, const char *b, size_t len, bool fold)
{
    for (size_t i = 0; i < len; i++) {
        bool letter = fold && (a[i] | 0x20) >= 'a' && (a[i] | 0x20) <= 'z';
        if (a[i] != b[i] && !(letter && (a[i] ^ b[i]) == 0x20))
            return false;
    }
    return true;
}

/* A name that is the very text of a pattern matches, though brackets in it may say otherwise; each star stands for
 * itself then. */
static bool glob_find(const st_name_rule *rule, const char *name, size_t len, st__span *stars)
{
    if (st__glob_match(rule->pattern, name, len, rule->fold, stars))
        return true;
    if (strlen(rule->pattern) != len || !text_equal(rule->pattern, name, len, rule->fold))
        return false;
    for (size_t i = 0; i < ST__GLOB_STARS_MAX; i++)
        stars[i] = (st__span){"*", 1};
    return true;
}

static void glob_rewrite(const st_name_rule *rule, const st__span *stars, new_text *out)
{
    for (const char *at = rule->replacement; *at; at++) {
        if (*at == '*') {
            new_text_add(out, stars->at, stars->len);
            stars++;
            continue;
        }
        if (at[0] == '\\' && at[1])
            at++;
        new_text_add(out, at, 1);
    }
}

/* -------------------------------------------------------------------------- regular expressions */

/* A name as the expression takes it: terminated, U+0001 for each NUL. */
typedef struct regex_name {
    char *text;
    size_t size;
    char small[RULE_NAME_SHORT];
} regex_name;

static st_status regex_name_make(const st_name_rule *rule, const char *name, size_t len,
                                 regex_name *out, st_error *error)
{
    out->text = out->small;
    out->size = sizeof out->small;
    if (len >= sizeof out->small) {
        out->size = len + 1; /* a name in memory: it does not wrap */
        out->text = st__alloc(rule->context, out->size);
        if (!out->text)
            return st__fail_nomem(error, out->size);
    }
    for (size_t i = 0; i < len; i++)
        out->text[i] = name[i] ? name[i] : '\1';
    out->text[len] = '\0';
    return ST_OK;
}

static void regex_name_release(const st_name_rule *rule, regex_name *name)
{
    if (name->text != name->small)
        st__free(rule->context, name->text, name->size);
}

/* Finds the next match from `at` on; `matches` count from there. */
static st_status regex_find(const st_name_rule *rule, const regex_name *name, size_t at,
                            regmatch_t *matches, st_error *error)
{
    int fault = regexec(&rule->regex, name->text + at, RULE_GROUPS, matches, at ? REG_NOTBOL : 0);
    if (fault == 0)
        return ST_OK;
    return fault == REG_NOMATCH
               ? st__fail(error, ST_ERR_NOT_FOUND, ST_NO_OFFSET, "the name does not match")
               : st__fail_nomem(error, 0);
}

/* Puts the replacement of one match; `from` is where the matches count from. */
static void regex_replace(const st_name_rule *rule, const char *from, const regmatch_t *matches,
                          new_text *out)
{
    for (const char *at = rule->replacement; *at; at++) {
        bool escaped = at[0] == '\\' && at[1];
        at += escaped;
        if (!escaped || *at < '0' || *at > '9') {
            new_text_add(out, at, 1);
            continue;
        }
        const regmatch_t *group = &matches[*at - '0'];
        if (group->rm_so >= 0)
            new_text_add(out, from + group->rm_so, (size_t)(group->rm_eo - group->rm_so));
    }
}

static bool is_within_character(const char *name, size_t len, size_t at)
{
    return at < len && ((unsigned char)name[at] & 0xc0) == 0x80;
}

/* Replaces every match, but for an empty one where the last one ended, or within a character, of which the process's
 * locale may know nothing. The name's own bytes are taken, those of the terminated copy only looked at. */
static st_status regex_rewrite(const st_name_rule *rule, const char *name, size_t len,
                               const regex_name *terminated, new_text *out, st_error *error)
{
    regmatch_t matches[RULE_GROUPS];
    size_t at = 0, last = SIZE_MAX; /* where the last match ended */
    bool any = false;
    while (at <= len) {
        st_status status = regex_find(rule, terminated, at, matches, any ? NULL : error);
        if (status == ST_ERR_NOT_FOUND && any)
            break;
        if (status != ST_OK)
            return status;
        size_t begin = at + (size_t)matches[0].rm_so, end = at + (size_t)matches[0].rm_eo;
        any = true;
        new_text_add(out, name + at, begin - at);
        if (begin < end || (begin != last && !is_within_character(name, len, begin)))
            regex_replace(rule, name + at, matches, out);
        last = end;
        at = end;
        if (begin < end)
            continue;
        do
            at++;
        while (is_within_character(name, len, at));
        if (begin < len)
            new_text_add(out, name + begin, at - begin);
    }
    if (at < len)
        new_text_add(out, name + at, len - at);
    return ST_OK;
}

/* ------------------------------------------------------------------------------------- both kinds */

bool st__name_rule_is_partial(const st_name_rule *rule)
{
    return rule->kind != ST_NAME_GLOB;
}

/* One match is all that is asked for: with groups the C library would take many times the text's memory. */
static st_status regex_locate(const st_name_rule *rule, st__span text, uint32_t place,
                              st__span *where, st_error *error)
{
    regmatch_t match;
    regex_name terminated;
    int flags =
        (place & ST__TEXT_BEGINS ? 0 : REG_NOTBOL) | (place & ST__TEXT_ENDS ? 0 : REG_NOTEOL);
    ST_TRY(regex_name_make(rule, text.at, text.len, &terminated, error));
    int fault = regexec(&rule->regex, terminated.text, 1, &match, flags);
    regex_name_release(rule, &terminated);
    if (fault == 0)
        *where = (st__span){text.at + match.rm_so, (size_t)(match.rm_eo - match.rm_so)};
    else if (fault == REG_NOMATCH)
        *where = (st__span){NULL, 0};
    else
        return st__fail_nomem(error, 0);
    return ST_OK;
}

st_status st__name_rule_find(const st_name_rule *rule, st__span text, uint32_t place,
                             st__span *where, st_error *error)
{
    st__span stars[ST__GLOB_STARS_MAX];
    if (rule->kind != ST_NAME_GLOB)
        return regex_locate(rule, text, place, where, error);
    *where = glob_find(rule, text.at, text.len, stars) ? text : (st__span){NULL, 0};
    return ST_OK;
}

st_status st_name_rule_match(const st_name_rule *rule, const char *name, size_t len, bool *out,
                             st_error *error)
{
    st__span where, text = {len ? name : "", len};
    ST_TRY(st__name_rule_find(rule, text, ST__TEXT_BEGINS | ST__TEXT_ENDS, &where, error));
    *out = where.at != NULL;
    return ST_OK;
}

static st_status rule_rewrite(const st_name_rule *rule, const char *name, size_t len, new_text *out,
                              st_error *error)
{
    if (rule->kind == ST_NAME_GLOB) {
        st__span stars[ST__GLOB_STARS_MAX];
        if (!glob_find(rule, name, len, stars))
            return st__fail(error, ST_ERR_NOT_FOUND, ST_NO_OFFSET, "the name does not match");
        glob_rewrite(rule, stars, out);
        return ST_OK;
    }
    regex_name terminated;
    ST_TRY(regex_name_make(rule, name, len, &terminated, error));
    st_status status = regex_rewrite(rule, name, len, &terminated, out, error);
    regex_name_release(rule, &terminated);
    return status;
}

st_status st_name_rule_apply(const st_name_rule *rule, const char *name, size_t len, char *text,
                             size_t *size, st_error *error)
{
    new_text out = {text, *size, 0};
    if (!rule->replacement)
        return st__fail(error, ST_ERR_ARGUMENT, ST_NO_OFFSET,
                        "the rule was made without a replacement: it only matches");
    ST_TRY(rule_rewrite(rule, name, len, &out, error));
    size_t room = *size;
    *size = out.len;
    if (out.len >= room)
        return st__fail(error, ST_ERR_BUFFER_SIZE, ST_NO_OFFSET,
                        "the new name has %zu bytes, and there is room for %zu", out.len,
                        room ? room - 1 : 0);
    text[out.len] = '\0';
    return ST_OK;
}
