/* SPDX-License-Identifier: Apache-2.0 */
#include "format/dtype.h"
#include "format/float_text.h"

#include <string.h>

/* Real and imaginary part, the second with its sign: "1+2j". */
static size_t complex_print(uint64_t code, char *text)
{
    const st__float_format *format = &st__float_formats[ST_C64];
    char imaginary[ST__FLOAT_TEXT_SIZE];
    size_t len = st__float_print(format, code & UINT32_MAX, text);
    size_t n = st__float_print(format, code >> 32, imaginary);
    if (imaginary[0] != '-')
        text[len++] = '+';
    memcpy(text + len, imaginary, n);
    len += n;
    memcpy(text + len, "j", 2);
    return len + 1;
}

/* An element's text, in ST_ELEMENT_TEXT_SIZE bytes. */
static size_t element_print(st_dtype dtype, const unsigned char *element, char *text)
{
    st_value value = st_element_decode(dtype, element, 0);
    uint64_t low_bits = UINT64_MAX >> (64 - st_dtype_bits(dtype));
    switch (value.kind) {
    case ST_KIND_BOOL: memcpy(text, value.as.u ? "true\0" : "false", 6); return value.as.u ? 4 : 5;
    case ST_KIND_UINT: return st__integer_print(value.as.u, false, text);
    case ST_KIND_INT: {
        bool negative = value.as.i < 0;
        uint64_t bits = (uint64_t)value.as.i;
        return st__integer_print(negative ? 0 - bits : bits, negative, text);
    }
    case ST_KIND_FLOAT:
        return st__float_print(&st__float_formats[dtype], st__load_le64(element) & low_bits, text);
    default: return complex_print(st__load_le64(element), text);
    }
}

size_t st_element_format(st_dtype dtype, const st_value *value, char *text, size_t size)
{
    unsigned char element[8] = {0};
    char whole[ST_ELEMENT_TEXT_SIZE];
    /* What is printed is the element that the value becomes. */
    st_element_encode(dtype, element, 0, value);
    size_t len = element_print(dtype, element, whole);
    if (size) {
        size_t fits = len < size ? len : size - 1;
        memcpy(text, whole, fits);
        text[fits] = '\0';
    }
    return len;
}
