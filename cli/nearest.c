/* SPDX-License-Identifier: Apache-2.0 */
#include "nearest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* Longer names are not compared: the cost grows with the product of the lengths. */
#define LENGTH_MAX 200

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Gives the Levenshtein distance, or some number above `limit`. */
static size_t distance_between(const char *a, size_t a_len, const char *b, size_t b_len,
                               size_t limit)
{
    size_t row[LENGTH_MAX + 1];
    if ((a_len > b_len ? a_len - b_len : b_len - a_len) > limit)
        return limit + 1;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0], least = row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = smaller(replaced, smaller(row[j], row[j - 1]) + 1);
            least = smaller(least, row[j]);
        }
        if (least > limit)
            return limit + 1;
    }
    return row[b_len];
}

/* Tells whether the end of one name is the other, as in "0.weight" and "layers.0.weight". */
static bool is_tail(const char *name, size_t len, const char *tail, size_t tail_len)
{
    return tail_len >= 3 && tail_len < len && memcmp(name + len - tail_len, tail, tail_len) == 0;
}

/* Tells whether a name goes on where what was typed ends, as "dry-run" behind "dry". */
static bool is_begun(const char *name, size_t len, const char *typed, size_t typed_len)
{
    return typed_len >= 3 && typed_len < len && memcmp(name, typed, typed_len) == 0;
}

void nearest_init(struct nearest *nearest, const char *name, size_t len)
{
    *nearest = (struct nearest){.name = name, .len = len};
}

void nearest_offer(struct nearest *nearest, const char *name, size_t len)
{
    if (len > LENGTH_MAX || nearest->len > LENGTH_MAX)
        return;
    size_t limit = nearest->len < 6 ? 2 : nearest->len / 3;
    /* Of a name that has no character in common nothing can be learnt. */
    if (limit >= nearest->len)
        limit = nearest->len ? nearest->len - 1 : 0;
    if (nearest->count == NEAREST_COUNT)
        limit = smaller(limit, nearest->best[NEAREST_COUNT - 1].distance - 1);
    size_t distance = 1;
    if (!is_begun(name, len, nearest->name, nearest->len) &&
        !is_tail(name, len, nearest->name, nearest->len) &&
        !is_tail(nearest->name, nearest->len, name, len))
        distance = distance_between(nearest->name, nearest->len, name, len, limit);
    if (distance > limit)
        return;

    size_t at = nearest->count < NEAREST_COUNT ? nearest->count++ : NEAREST_COUNT - 1;
    for (; at > 0 && nearest->best[at - 1].distance > distance; at--)
        nearest->best[at] = nearest->best[at - 1];
    nearest->best[at].name = name;
    nearest->best[at].len = len;
    nearest->best[at].distance = distance;
}

void nearest_print(const struct nearest *nearest, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < nearest->count && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%s", i ? ", " : "; did you mean ",
                               text_quote(nearest->best[i].name, nearest->best[i].len).text);
    if (nearest->count && at < size)
        snprintf(text + at, size - at, "?");
}
