/* SPDX-License-Identifier: Apache-2.0 */
/* Floats as the shortest text that reads back as the same element, whatever the locale. */
#ifndef ST_FORMAT_FLOAT_TEXT_H
#define ST_FORMAT_FLOAT_TEXT_H

#include "format/float.h"

/* Room for any float's text: "-2.2250738585072014e-308" and its terminator. */
#define ST__FLOAT_TEXT_SIZE 28

/* Prints a code: "-0", "0.1", "1e-40", "nan", "-inf". Returns the length; the text is
 * terminated. */
size_t st__float_print(const st__float_format *format, uint64_t code,
                       char text[ST__FLOAT_TEXT_SIZE]);
/* The same of a double. */
size_t st__double_print(double value, char text[ST__FLOAT_TEXT_SIZE]);
/* Gives the number of an integer's decimal digits. */
size_t st__integer_digits(uint64_t value);
/* Prints an integer; `text` has room for 21 bytes. */
size_t st__integer_print(uint64_t magnitude, bool negative, char text[21]);

#endif
