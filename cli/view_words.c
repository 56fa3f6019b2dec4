/* SPDX-License-Identifier: Apache-2.0 */
#include "view_words.h"

#include <string.h>

char view_letter_fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Tells whether a word holds no capital, of ASCII: others are compared as they are. */
static bool word_is_small(const char *word, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (view_letter_fold(word[i]) != word[i])
            return false;
    return true;
}

bool view_typed_is_small(const struct view_typed *typed)
{
    return word_is_small(typed->text, typed->len);
}

void view_words_init(struct view_words *words, const char *text, size_t len)
{
    *words = (struct view_words){.len = len < VIEW_FILTER_MAX ? len : VIEW_FILTER_MAX};
    if (words->len)
        memcpy(words->text, text, words->len);
    for (size_t i = 0; i < words->len && words->count < VIEW_WORDS_MAX;) {
        size_t start = i;
        while (i < words->len && words->text[i] != ' ')
            i++;
        if (i > start)
            words->words[words->count++] =
                (struct view_word){start, i - start, word_is_small(words->text + start, i - start)};
        else
            i++;
    }
}

/* Finds a word of small letters in a name of any. */
static bool word_is_in(const char *word, size_t word_len, const char *name, size_t len)
{
    if (word_len > len)
        return false;
    const char *last = name + (len - word_len);
    for (const char *at = name; at <= last; at++) {
        size_t i = 0;
        while (i < word_len && view_letter_fold(at[i]) == word[i])
            i++;
        if (i == word_len)
            return true;
    }
    return false;
}

bool view_words_match(const struct view_words *words, const char *name, size_t len)
{
    for (size_t i = 0; i < words->count; i++) {
        const struct view_word *word = &words->words[i];
        const char *text = words->text + word->at;
        bool found = word->fold ? word_is_in(text, word->len, name, len)
                                : memmem(name, len, text, word->len) != NULL;
        if (!found)
            return false;
    }
    return true;
}

bool view_words_narrow(const struct view_words *before, const struct view_words *now)
{
    return now->len >= before->len && memcmp(now->text, before->text, before->len) == 0;
}
