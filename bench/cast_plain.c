/* SPDX-License-Identifier: Apache-2.0 */
#include "cast_plain.h"
#include "files.h"
#include "measure.h"

#include <string.h>
#include <sys/mman.h>

enum { BLOCK = 128 << 10 }; /* elements */

/* To the nearest, of two as near to the even one. In 32-bit steps, which compilers make vectors of. */
static void block_convert(const unsigned char *from, uint16_t *to, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, from + i * sizeof bits, sizeof bits);
        to[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

void bench_cast_plain(int from, uint64_t at, uint64_t count, int to)
{
    static uint16_t block[BLOCK];
    size_t size = (size_t)(at + count * sizeof(float));
    unsigned char *map = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, from, 0);
    if (map == MAP_FAILED)
        bench_fail("cannot map what is to be converted");
    bench_file_write(to, map, at);
    for (uint64_t done = 0; done < count; done += BLOCK) {
        size_t part = count - done < BLOCK ? (size_t)(count - done) : BLOCK;
        block_convert(map + at + done * sizeof(float), block, part);
        bench_file_write(to, block, part * sizeof *block);
    }
    munmap(map, size);
}
