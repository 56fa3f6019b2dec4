/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of strided runs within memory. */
#ifndef ST_IO_COPY_H
#define ST_IO_COPY_H

#include "format/region.h"

/* Packs a run's pieces into `dst`; `src` is where its first piece lies. */
void st__copy_run(void *dst, const unsigned char *src, const st__run *run);

#endif
