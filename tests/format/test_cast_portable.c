/* SPDX-License-Identifier: Apache-2.0 */
/* The same casts by the loops that every processor has. */
#undef ST_NO_SIMD
#define ST_NO_SIMD
#include "format/cast_kernels.c"

#include "test_cast.c"
