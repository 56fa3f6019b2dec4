/* SPDX-License-Identifier: Apache-2.0 */
#include "html.h"

#include <inttypes.h>
#include <string.h>

#include "text.h"

/* Gives how a character is written where it might mean markup or end an attribute, or NULL. */
static const char *entity_of(char c)
{
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

/* Writes bytes that are escaped already but for their markup. */
static void markup_write(struct out *out, const char *text, size_t len)
{
    size_t start = 0;
    for (size_t i = 0; i < len; i++) {
        const char *entity = entity_of(text[i]);
        if (!entity)
            continue;
        out_write(out, text + start, i - start);
        out_text(out, entity);
        start = i + 1;
    }
    out_write(out, text + start, len - start);
}

void html_text(struct out *out, const char *text, size_t len, unsigned flags)
{
    struct text_piece piece;
    for (size_t i = 0; i < len;) {
        size_t plain = text_plain_len(text + i, len - i);
        markup_write(out, text + i, plain);
        i += plain;
        if (i < len) {
            i += text_escape(text + i, len - i, flags, &piece);
            markup_write(out, piece.text, piece.len);
        }
    }
}

void html_words(struct out *out, const char *text)
{
    markup_write(out, text, strlen(text));
}

void html_name(struct out *out, const char *name, size_t len)
{
    html_text(out, len ? name : "\"\"", len ? len : 2, 0);
}

void html_number(struct out *out, uint64_t number)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, number);
    for (int i = 0; i < len; i++)
        out_print(out, "%s%c", i && (len - i) % 3 == 0 ? "," : "", digits[i]);
}

void html_count(struct out *out, uint64_t number, const char *noun)
{
    html_number(out, number);
    out_print(out, " %s%s", noun, number == 1 ? "" : "s");
}

void html_fact_begin(struct out *out, const char *term)
{
    out_text(out, "<div><dt>");
    html_words(out, term);
    out_text(out, "</dt><dd>");
}

void html_fact_end(struct out *out)
{
    out_text(out, "</dd></div>\n");
}

void html_fact(struct out *out, const char *term, const char *description)
{
    html_fact_begin(out, term);
    html_words(out, description);
    html_fact_end(out);
}
