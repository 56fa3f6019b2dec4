/* SPDX-License-Identifier: Apache-2.0 */
#include "severity.h"

#include <safetensors/inspect.h>

const char *severity_name(int32_t severity)
{
    return severity == ST_SEVERITY_ERROR     ? "error"
           : severity == ST_SEVERITY_WARNING ? "warning"
                                             : "note";
}

static enum style severity_style(int32_t severity)
{
    return severity == ST_SEVERITY_ERROR     ? STYLE_ERROR
           : severity == ST_SEVERITY_WARNING ? STYLE_WARNING
                                             : STYLE_NOTE;
}

void severity_print(struct out *out, int32_t severity)
{
    out_style(out, severity_style(severity));
    out_text(out, severity_name(severity));
    out_style(out, STYLE_PLAIN);
}
