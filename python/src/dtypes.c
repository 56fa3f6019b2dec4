/* SPDX-License-Identifier: Apache-2.0 */
/* What each dtype is called elsewhere. */
#include "dlpack.h"

/* X(dtype, name, DLPack code, bits, lanes, in TensorSpec, in torch, in NumPy itself). DLPack's F4 is given as
 * torch takes it, two to the element. */
#define DTYPE_NAME_MAP(X)                                                          \
 X(ST_BOOL, "bool", DL_BOOL, 8, 1, true, true, true)                               \
 X(ST_U8, "uint8", DL_UINT, 8, 1, true, true, true)                                \
 X(ST_I8, "int8", DL_INT, 8, 1, true, true, true)                                  \
 X(ST_U16, "uint16", DL_UINT, 16, 1, true, true, true)                             \
 X(ST_I16, "int16", DL_INT, 16, 1, true, true, true)                               \
 X(ST_U32, "uint32", DL_UINT, 32, 1, true, true, true)                             \
 X(ST_I32, "int32", DL_INT, 32, 1, true, true, true)                               \
 X(ST_U64, "uint64", DL_UINT, 64, 1, true, true, true)                             \
 X(ST_I64, "int64", DL_INT, 64, 1, true, true, true)                               \
 X(ST_F16, "float16", DL_FLOAT, 16, 1, true, true, true)                           \
 X(ST_BF16, "bfloat16", DL_BFLOAT, 16, 1, true, true, false)                       \
 X(ST_F32, "float32", DL_FLOAT, 32, 1, true, true, true)                           \
 X(ST_F64, "float64", DL_FLOAT, 64, 1, true, true, true)                           \
 X(ST_C64, "complex64", DL_COMPLEX, 64, 1, true, true, true)                       \
 X(ST_F8_E4M3, "float8_e4m3fn", DL_FLOAT8_E4M3FN, 8, 1, true, true, false)         \
 X(ST_F8_E5M2, "float8_e5m2", DL_FLOAT8_E5M2, 8, 1, true, true, false)             \
 X(ST_F8_E8M0, "float8_e8m0fnu", DL_FLOAT8_E8M0FNU, 8, 1, true, true, false)       \
 X(ST_F8_E4M3FNUZ, "float8_e4m3fnuz", DL_FLOAT8_E4M3FNUZ, 8, 1, true, true, false) \
 X(ST_F8_E5M2FNUZ, "float8_e5m2fnuz", DL_FLOAT8_E5M2FNUZ, 8, 1, true, true, false) \
 X(ST_F6_E2M3, "float6_e2m3fn", DL_FLOAT6_E2M3FN, 6, 1, false, false, false)       \
 X(ST_F6_E3M2, "float6_e3m2fn", DL_FLOAT6_E3M2FN, 6, 1, false, false, false)       \
 X(ST_F4, "float4_e2m1fn_x2", DL_FLOAT4_E2M1FN, 4, 2, true, true, false)

#define DTYPE_ROW(dtype, name, code, bits, lanes, spec, torch, numpy) \
 [dtype] = {name, code, bits, lanes, spec, torch, numpy},
static const stpy_dtype dtype_table[ST_DTYPE_COUNT + 1] = {DTYPE_NAME_MAP(DTYPE_ROW)};
#undef DTYPE_ROW

const stpy_dtype *stpy_dtype_of(st_dtype dtype)
{
    return &dtype_table[dtype];
}

st_dtype stpy_dtype_find(const char *name, size_t name_len)
{
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++) {
        const char *own = dtype_table[dtype].name;
        if (strlen(own) == name_len && memcmp(own, name, name_len) == 0)
            return dtype;
    }
    return 0;
}

st_dtype stpy_dtype_named(const char *text)
{
    for (st_dtype dtype = 1; dtype <= ST_DTYPE_COUNT; dtype++)
        if (PyOS_stricmp(st_dtype_code(dtype), text) == 0)
            return dtype;
    return stpy_dtype_find(text, strlen(text));
}
