# SPDX-License-Identifier: Apache-2.0
# What every translation unit of the project is compiled with.

add_library(st_warnings INTERFACE)
target_compile_options(st_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Wwrite-strings -Wundef -Wformat=2
  $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes -Wmissing-prototypes>
  # gcc's takes va_list functions for what they are; clang's asks for attributes on each.
  $<$<C_COMPILER_ID:Clang>:-Wno-format-nonliteral>
  $<$<BOOL:${ST_WERROR}>:-Werror>)

# POSIX and 64-bit file offsets, on 32-bit systems too; no public header needs either.
add_library(st_system INTERFACE)
target_compile_definitions(st_system INTERFACE _GNU_SOURCE _FILE_OFFSET_BITS=64)
