/* SPDX-License-Identifier: Apache-2.0 */
#include "hex.h"

#include <inttypes.h>
#include <string.h>

/* Where in a line, behind the offset, the characters begin: after two blanks, sixteen cells of three
 * columns, a blank between the halves, a blank, and a bar. */
#define TEXT_AT (2 + 16 * 3 + 1 + 1 + 1)

static void hex_line(struct hex *hex)
{
    bool same = hex->has_before && hex->fill == 16 && memcmp(hex->line, hex->before, 16) == 0;
    if (same) {
        if (!hex->squeezed)
            out_text(hex->out, "*\n");
        hex->squeezed = true;
        return;
    }
    hex->squeezed = false;
    hex->has_before = true;
    memcpy(hex->before, hex->line, 16);
    static const char digits[] = "0123456789abcdef";
    char cells[TEXT_AT + 17], *text = cells + TEXT_AT;
    memset(cells, ' ', TEXT_AT);
    text[-1] = '|';
    for (size_t i = 0; i < hex->fill; i++) {
        unsigned char byte = hex->line[i];
        char *cell = cells + 2 + 3 * i + i / 8;
        cell[0] = digits[byte >> 4];
        cell[1] = digits[byte & 15];
        text[i] = byte >= 0x20 && byte < 0x7f ? (char)byte : '.';
    }
    text[hex->fill] = '\0';
    out_style(hex->out, STYLE_DIM);
    out_print(hex->out, "%08" PRIx64, hex->offset);
    out_style(hex->out, STYLE_PLAIN);
    out_text(hex->out, cells);
    out_text(hex->out, "|\n");
}

st_status hex_block(void *ctx, const void *data, size_t size, st_error *error)
{
    struct hex *hex = ctx;
    const unsigned char *at = data;
    (void)error;
    for (size_t take; size > 0; size -= take, at += take) {
        take = 16 - hex->fill < size ? 16 - hex->fill : size;
        memcpy(hex->line + hex->fill, at, take);
        hex->fill += take;
        if (hex->fill == 16) {
            hex_line(hex);
            hex->offset += 16;
            hex->fill = 0;
        }
    }
    return ST_OK;
}

void hex_end(struct hex *hex)
{
    uint64_t end = hex->offset + hex->fill;
    if (hex->fill)
        hex_line(hex);
    if (end)
        out_print(hex->out, "%08" PRIx64 "\n", end);
}
