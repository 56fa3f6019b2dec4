/* SPDX-License-Identifier: Apache-2.0 */
#include "findings.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

static char *copy_make(const char *text, size_t len)
{
    char *copy = memory_new(len + 1, 1);
    memcpy(copy, text, len);
    return copy;
}

void findings_keep(struct findings *findings, const st_finding *finding)
{
    findings->at =
        memory_grow(findings->at, &findings->room, findings->count + 1, sizeof *findings->at);
    st_finding *kept = &findings->at[findings->count++];
    *kept = *finding;
    kept->message = copy_make(finding->message, strlen(finding->message));
    if (finding->name)
        kept->name = copy_make(finding->name, finding->name_len);
}

void findings_clear(struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        free((char *)(uintptr_t)findings->at[i].message);
        free((char *)(uintptr_t)findings->at[i].name);
    }
    free(findings->at);
    *findings = (struct findings){0};
}
