# SPDX-License-Identifier: Apache-2.0
# What the hashes of the inspect library come from: xxHash's header, of which nothing is needed once
# it is compiled, and libcrypto, which is looked for when SHA-256 is asked for, or never (ST_OPENSSL). Only tests and
# benchmarks are compiled with OpenSSL's headers, which compare with it.

find_path(XXHASH_INCLUDE_DIR xxhash.h)

# Of the Python package only safetensors.hash and the program that it brings along need them: where pip builds on a
# machine without, the package comes without these two.
set(ST_HASH_FILES "")
set(ST_HASH_USES "")
if(SKBUILD AND NOT XXHASH_INCLUDE_DIR)
  message(WARNING "no command line and no safetensors.hash: they need xxhash.h (Debian: libxxhash-dev)")
  set(ST_CLI OFF)
  set(ST_HASH_FILES "/(digest|hashes|manifest[a-z_]*)[.]c$")
  return()
endif()
if(NOT XXHASH_INCLUDE_DIR)
  message(FATAL_ERROR "xxhash.h is needed (Debian: libxxhash-dev)")
endif()
add_library(st_hash INTERFACE)
target_include_directories(st_hash SYSTEM INTERFACE ${XXHASH_INCLUDE_DIR})
target_compile_definitions(st_hash INTERFACE ST_OPENSSL=$<BOOL:${ST_OPENSSL}>)
set(ST_HASH_USES st_hash)
