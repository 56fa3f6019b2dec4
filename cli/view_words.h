/* SPDX-License-Identifier: Apache-2.0 */
/* What is typed to filter names: words, all of which a name has to hold, in any order. */
#ifndef CLI_VIEW_WORDS_H
#define CLI_VIEW_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of a filter, and its words; more are not taken. */
#define VIEW_FILTER_MAX 256
#define VIEW_WORDS_MAX  32

struct view_word {
    size_t at; /* in the text */
    size_t len;
    bool fold; /* without a capital, capitals in names count as small letters */
};

struct view_words {
    char text[VIEW_FILTER_MAX];
    size_t len;
    struct view_word words[VIEW_WORDS_MAX];
    size_t count;
};

/* Text as it is typed. */
struct view_typed {
    char text[VIEW_FILTER_MAX];
    size_t len;
};
/* Tells whether it holds no capital, of ASCII: others are compared as they are. */
bool view_typed_is_small(const struct view_typed *typed);
/* Gives the small letter of a capital, of ASCII, and anything else as it is. */
char view_letter_fold(char c);

/* Takes as much of a text as there is room for, and finds its words, which blanks part. */
void view_words_init(struct view_words *words, const char *text, size_t len);
/* Tells whether a name holds all of them; where there is none, every name does. */
bool view_words_match(const struct view_words *words, const char *name, size_t len);
/* Tells whether whatever matches `now` matched `before`: more was typed behind it. */
bool view_words_narrow(const struct view_words *before, const struct view_words *now);

#endif
