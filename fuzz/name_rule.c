/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the input as a kind, a pattern, a replacement and a name, by lines. What matches is rewritten and nothing
 * else; the size that is told is that of the name that is made; each star of a pattern stands for a part of the
 * name. */
#include "target.h"

#include "format/glob.h"

#include <safetensors/edit.h>
#include <stdlib.h>
#include <string.h>

/* Longer patterns only take longer: the cost grows with the product of the lengths. */
#define LINE_MOST 200u

/* Takes a line off the input, terminated; bytes that are 0 end it too. */
static void line_take(const uint8_t **data, size_t *size, char *out)
{
    size_t len = 0;
    while (len < *size && len < LINE_MOST && (*data)[len] != '\n' && (*data)[len] != 0) {
        out[len] = (char)(*data)[len];
        len++;
    }
    out[len] = '\0';
    len += len < *size;
    *data += len;
    *size -= len;
}

static void stars_check(const char *pattern, const char *name, size_t len, bool fold)
{
    st__span stars[ST__GLOB_STARS_MAX];
    size_t count = st__glob_stars(pattern);
    const char *at = name;
    if (count > ST__GLOB_STARS_MAX || !st__glob_match(pattern, name, len, fold, stars))
        return;
    for (size_t i = 0; i < count; i++) {
        require(stars[i].at >= at && stars[i].at <= name + len);
        at = stars[i].at + stars[i].len;
        require(at <= name + len);
    }
}

static void apply_check(const st_name_rule *rule, const char *name, size_t len)
{
    size_t size = 0, again;
    bool matches = false;
    require(st_name_rule_match(rule, name, len, &matches, NULL) == ST_OK);
    st_status status = st_name_rule_apply(rule, name, len, NULL, &size, NULL);
    require(status == (matches ? ST_ERR_BUFFER_SIZE : ST_ERR_NOT_FOUND));
    if (!matches)
        return;
    again = size + 1;
    char *text = malloc(again);
    require(text != NULL);
    require(st_name_rule_apply(rule, name, len, text, &again, NULL) == ST_OK);
    require(again == size && text[size] == '\0');
    free(text);
}

/* Counts, references back and repeats of repeats make the C library take all memory or time there is: such an
 * expression is the fault of the user, whose own it is. */
static bool is_cheap(const char *pattern)
{
    unsigned repeats = 0;
    for (const char *at = pattern; *at; at++)
        repeats += *at == '*' || *at == '+' || *at == '?';
    return repeats < 4 && strpbrk(pattern, "{\\") == NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char pattern[LINE_MOST + 1], replacement[LINE_MOST + 1];
    st_name_rule *rule;
    if (size == 0)
        return 0;
    uint32_t kind = *data % 4;
    bool fold = *data / 4 % 2;
    data++;
    size--;
    line_take(&data, &size, pattern);
    line_take(&data, &size, replacement);
    size = size < LINE_MOST ? size : LINE_MOST;
    if (kind == ST_NAME_REGEX && !is_cheap(pattern))
        return 0;
    char *name = malloc(size + 1); /* of its own, so that a byte too many is seen */
    require(name != NULL);
    memcpy(name, data, size);
    if (kind == ST_NAME_GLOB)
        stars_check(pattern, name, size, fold);
    kind |= fold ? ST_NAME_IGNORE_CASE : 0;
    if (st_name_rule_new(pattern, replacement, kind, NULL, &rule, NULL) == ST_OK) {
        apply_check(rule, name, size);
        st_name_rule_free(rule);
    }
    free(name);
    return 0;
}
