/* SPDX-License-Identifier: Apache-2.0 */
#include "format/dtype.h"
#include "base/checked.h"

#define DTYPE_ROW(name, number, code, bits, kind) [name] = {code, sizeof(code) - 1, bits, kind},
const st__dtype_info st__dtypes[ST_DTYPE_COUNT + 1] = {ST_DTYPE_MAP(DTYPE_ROW)};
#undef DTYPE_ROW

const uint8_t st__dtype_ranks[ST_DTYPE_COUNT + 1] = {
    [ST_BOOL] = 0,    [ST_F4] = 1,          [ST_F6_E2M3] = 2,      [ST_F6_E3M2] = 3,
    [ST_U8] = 4,      [ST_I8] = 5,          [ST_F8_E5M2] = 6,      [ST_F8_E4M3] = 7,
    [ST_F8_E8M0] = 8, [ST_F8_E4M3FNUZ] = 9, [ST_F8_E5M2FNUZ] = 10, [ST_I16] = 11,
    [ST_U16] = 12,    [ST_F16] = 13,        [ST_BF16] = 14,        [ST_I32] = 15,
    [ST_U32] = 16,    [ST_F32] = 17,        [ST_C64] = 18,         [ST_F64] = 19,
    [ST_I64] = 20,    [ST_U64] = 21,
};

const uint8_t st__dtype_slots[32] = {
    [1] = ST_I16,      [2] = ST_I64,          [5] = ST_BF16, [6] = ST_F8_E4M3,
    [7] = ST_F16,      [8] = ST_F64,          [9] = ST_U16,  [10] = ST_U64,
    [12] = ST_F4,      [13] = ST_I8,          [14] = ST_C64, [15] = ST_BOOL,
    [16] = ST_F6_E3M2, [20] = ST_I32,         [21] = ST_U8,  [22] = ST_F8_E5M2FNUZ,
    [24] = ST_F6_E2M3, [25] = ST_F8_E8M0,     [26] = ST_F32, [28] = ST_U32,
    [29] = ST_F8_E5M2, [30] = ST_F8_E4M3FNUZ,
};

st_dtype st_dtype_find(const char *code, size_t code_len)
{
    return st__dtype_find(code, code_len);
}

const char *st_dtype_code(st_dtype dtype)
{
    const st__dtype_info *info = st__dtype_info_of(dtype);
    return info->code_len ? info->code : NULL;
}

uint32_t st_dtype_bits(st_dtype dtype)
{
    return st__dtype_info_of(dtype)->bits;
}

st_kind st_dtype_kind(st_dtype dtype)
{
    return st__dtype_info_of(dtype)->kind;
}

uint64_t st_tensor_count(const st_tensor *tensor)
{
    uint64_t count = 1;
    /* Only a tensor of unknown dtype can have more than 2^64-1 elements; a later zero still
     * counts. */
    for (uint32_t i = 0; i < tensor->ndim; i++)
        if (!st__mul_u64(count, tensor->shape[i], &count))
            count = UINT64_MAX;
    return count;
}
