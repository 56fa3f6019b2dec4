/* SPDX-License-Identifier: Apache-2.0 */
/* The table of dtypes: the one place that knows codes, sizes and kinds. */
#ifndef ST_FORMAT_DTYPE_H
#define ST_FORMAT_DTYPE_H

#include "base/endian.h"

#include <safetensors/safetensors.h>

typedef struct st__dtype_info {
    char code[16]; /* padded with NUL */
    uint8_t code_len;
    uint8_t bits;
    uint8_t kind;
} st__dtype_info;

/* By dtype; row 0 is empty. */
extern const st__dtype_info st__dtypes[ST_DTYPE_COUNT + 1];

/* The rank of docs/format.md section 3, by which a writer orders tensors: by dtype, 0 .. ST_DTYPE_COUNT-1. */
extern const uint8_t st__dtype_ranks[ST_DTYPE_COUNT + 1];

/* A perfect hash of the codes' first eight bytes, which tell all codes apart: the slot of `word` is
 * word * ST__DTYPE_HASH >> ST__DTYPE_SHIFT. Found by trying random multipliers. */
#define ST__DTYPE_HASH  UINT64_C(0x9acf01446821acab)
#define ST__DTYPE_SHIFT 59
extern const uint8_t st__dtype_slots[32];

/* The row of a dtype, the empty one for a number that is no known dtype. */
static inline const st__dtype_info *st__dtype_info_of(st_dtype dtype)
{
    return &st__dtypes[dtype > 0 && dtype <= ST_DTYPE_COUNT ? dtype : 0];
}

/* st_dtype_find for the header parser: no calls, no byte beyond `len` read. */
static inline st_dtype st__dtype_find(const char *code, size_t len)
{
    uint64_t low, high = 0;
    const unsigned char *p = (const unsigned char *)code;
    switch (len) {
    case 2: low = st__load_le16(p); break;
    case 3: low = st__load_le16(p) | (uint64_t)p[2] << 16; break;
    case 4: low = st__load_le32(p); break;
    case 7: low = st__load_le32(p) | (uint64_t)st__load_le32(p + 3) << 24; break;
    case 11:
        low = st__load_le64(p);
        high = st__load_le32(p + 7) >> 8;
        break;
    default: return 0;
    }
    st_dtype dtype = st__dtype_slots[low * ST__DTYPE_HASH >> ST__DTYPE_SHIFT];
    const st__dtype_info *info = &st__dtypes[dtype];
    bool same = info->code_len == len && st__load_le64(info->code) == low &&
                st__load_le64(info->code + 8) == high;
    return same ? dtype : 0;
}

#endif
