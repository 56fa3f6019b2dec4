/* SPDX-License-Identifier: Apache-2.0 */
/* Findings that are printed later than they were found. */
#ifndef CLI_FINDINGS_H
#define CLI_FINDINGS_H

#include <safetensors/finding.h>

/* Begins as zeros. */
struct findings {
    st_finding *at; /* whose texts are copies */
    size_t count;
    size_t room;
};

void findings_keep(struct findings *findings, const st_finding *finding);
/* Forgets all. */
void findings_clear(struct findings *findings);

#endif
