/* SPDX-License-Identifier: Apache-2.0 */
#include "term.h"

#include <langinfo.h>
#include <locale.h>
#include <safetensors/json.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool has_utf8; /* set once, by term_init */

void term_init(void)
{
    has_utf8 = setlocale(LC_CTYPE, "") && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    /* Names are UTF-8 in every locale: patterns match their characters, and widths are counted. */
    if (!has_utf8)
        setlocale(LC_CTYPE, "C.UTF-8");
}

bool term_is(FILE *stream)
{
    return isatty(fileno(stream)) == 1;
}

bool term_has_utf8(void)
{
    return has_utf8;
}

bool term_wants_color(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return (!no_color || !*no_color) && term && *term && strcmp(term, "dumb") != 0;
}

size_t term_width(FILE *stream)
{
    const char *columns = getenv("COLUMNS");
    uint64_t width = 0;
    struct winsize size;
    if (columns && st_json_parse_u64(columns, strlen(columns), &width) && width > 0 &&
        width < 10000)
        return (size_t)width;
    if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}
