/* SPDX-License-Identifier: Apache-2.0 */
/* Only the last star that was passed can have to take more than it did: what comes before it matched as early as
 * it could, and would match no better later. So the cost is at most the product of the two lengths. */
#include "format/glob.h"
#include "base/error.h"

#include <string.h>

/* One character, or a byte that is of none; gives its size. */
static size_t glob_char(const char *text, size_t len, uint32_t *out)
{
    size_t size = st__utf8_decode((const unsigned char *)text, len, out);
    if (size)
        return size;
    *out = UINT32_C(0x80000000) | (unsigned char)*text; /* equal to no character */
    return 1;
}

/* A letter of ASCII in the other case; any other character as it is. */
static uint32_t other_case(uint32_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? c ^ 0x20 : c;
}

/* One character of a class, behind a backslash or not; gives where the next one is. */
static const char *class_char(const char *at, uint32_t *out)
{
    if (at[0] == '\\' && at[1])
        at++;
    return at + glob_char(at, strlen(at), out);
}

/* Where a class ends, behind its bracket; NULL: it does not, and the bracket that begins it is one like any other
 * character. `at` is behind that. */
static const char *class_end(const char *at)
{
    if (*at == '!' || *at == '^')
        at++;
    if (*at == ']')
        at++;
    while (*at && *at != ']')
        at += at[0] == '\\' && at[1] ? 2 : 1;
    return *at ? at + 1 : NULL;
}

static bool class_match(const char *at, uint32_t c)
{
    bool inverted = *at == '!' || *at == '^', matches = false, first = true;
    uint32_t low, high;
    for (at += inverted; first || *at != ']'; first = false) {
        at = class_char(at, &low);
        high = low;
        if (at[0] == '-' && at[1] != ']')
            at = class_char(at + 1, &high);
        matches = matches || (c >= low && c <= high);
    }
    return matches != inverted;
}

/* The same, with `fold` whichever case a letter has. */
static bool class_match_case(const char *at, uint32_t c, bool fold)
{
    bool inverted = *at == '!' || *at == '^';
    if (!fold || other_case(c) == c)
        return class_match(at, c);
    /* Inverted, it is in when neither is listed. */
    return inverted ? class_match(at, c) && class_match(at, other_case(c))
                    : class_match(at, c) || class_match(at, other_case(c));
}

/* Matches one character with what the pattern has for it, which is no star; both move on. */
static bool glob_step(const char **pattern, const char **name, const char *end, bool fold)
{
    const char *p = *pattern, *behind = *p == '[' ? class_end(p + 1) : NULL;
    uint32_t c, wanted;
    if (*name == end || *p == '\0')
        return false;
    size_t size = glob_char(*name, (size_t)(end - *name), &c);
    bool matches = true;
    if (behind)
        matches = class_match_case(p + 1, c, fold);
    else if (*p == '?')
        behind = p + 1;
    else {
        behind = class_char(p, &wanted);
        matches = c == wanted || (fold && other_case(c) == wanted);
    }
    if (!matches)
        return false;
    *pattern = behind;
    *name += size;
    return true;
}

size_t st__glob_stars(const char *pattern)
{
    size_t stars = 0;
    while (*pattern) {
        const char *behind = *pattern == '[' ? class_end(pattern + 1) : NULL;
        stars += *pattern == '*';
        if (behind)
            pattern = behind;
        else
            pattern += pattern[0] == '\\' && pattern[1] ? 2 : 1;
    }
    return stars;
}

bool st__glob_match(const char *pattern, const char *name, size_t len, bool fold,
                    st__span stars[ST__GLOB_STARS_MAX])
{
    const char *end = name + len, *behind_star = NULL;
    st__span *star = stars;
    while (*pattern || name < end) {
        uint32_t c;
        if (*pattern == '*') {
            if (behind_star)
                star++;
            *star = (st__span){name, 0};
            behind_star = ++pattern;
            continue;
        }
        if (glob_step(&pattern, &name, end, fold))
            continue;
        const char *last = behind_star ? star->at + star->len : end;
        if (last == end)
            return false;
        star->len += glob_char(last, (size_t)(end - last), &c);
        pattern = behind_star;
        name = star->at + star->len;
    }
    return true;
}
