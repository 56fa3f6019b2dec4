/* SPDX-License-Identifier: Apache-2.0 */
#include "io/copy.h"

#include <string.h>

/* One loop per size of piece: with a constant size memcpy becomes a move or two. `n` pieces; the
 * pointer is not moved past the last, which need not have a neighbour. */
#define COPY_LOOP(size)    \
 for (uint64_t i = 0;;) {  \
  memcpy(to, src, (size)); \
  to += (size);            \
  if (++i == run->pieces)  \
   return;                 \
  src += stride;           \
 }

void st__copy_run(void *dst, const unsigned char *src, const st__run *run)
{
    unsigned char *to = dst;
    size_t length = (size_t)run->length;
    ptrdiff_t stride = (ptrdiff_t)run->stride;
    if (run->pieces == 0)
        return;
    switch (length) {
    case 1: COPY_LOOP(1)
    case 2: COPY_LOOP(2)
    case 4: COPY_LOOP(4)
    case 8: COPY_LOOP(8)
    case 16: COPY_LOOP(16)
    case 32: COPY_LOOP(32)
    case 64: COPY_LOOP(64)
    case 128: COPY_LOOP(128)
    default: COPY_LOOP(length)
    }
}
