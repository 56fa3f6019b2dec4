/* SPDX-License-Identifier: Apache-2.0 */
/* The files of report/ as the build puts them into the program (cmake/report.cmake). */
#ifndef CLI_REPORT_ASSETS_H
#define CLI_REPORT_ASSETS_H

#include <stddef.h>

extern const unsigned char report_html[], report_css[], report_js[];
extern const size_t report_html_size, report_css_size, report_js_size;
/* SHA-256 of the two in base64, as a Content-Security-Policy names them. */
extern const char report_css_hash[], report_js_hash[];

#endif
