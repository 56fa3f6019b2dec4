/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTML on a stream of output. Text from a file passes through html_text, whether it stands between tags or as
 * an attribute's value in double quotes; nothing of it goes anywhere else in a page.
 */
#ifndef CLI_HTML_H
#define CLI_HTML_H

#include "out.h"

/* Writes text, first escaped as text_escape does under `flags`, so that people see what there is, then as
 * HTML. */
void html_text(struct out *out, const char *text, size_t len, unsigned flags);
/* The same of a name; one without characters is written as "". */
void html_name(struct out *out, const char *name, size_t len);
/* The same as html_text of a terminated text of the program's own. */
void html_words(struct out *out, const char *text);
/* Writes a whole number with commas between thousands. */
void html_number(struct out *out, uint64_t number);
/* Writes "1 byte", "2,000 bytes". */
void html_count(struct out *out, uint64_t number, const char *noun);
/* Writes one term and its description, in words, of a list of such. */
void html_fact(struct out *out, const char *term, const char *description);
/* Begins and ends one whose description is more than words. */
void html_fact_begin(struct out *out, const char *term);
void html_fact_end(struct out *out);

#endif
