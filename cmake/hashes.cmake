# SPDX-License-Identifier: Apache-2.0
# What the hashes of the inspect library come from: xxHash's header, of which nothing is needed once
# it is compiled, and libcrypto, which can be done without (ST_OPENSSL).

find_path(XXHASH_INCLUDE_DIR xxhash.h)
if(NOT XXHASH_INCLUDE_DIR)
  message(FATAL_ERROR "xxhash.h is needed (Debian: libxxhash-dev)")
endif()
add_library(st_hash INTERFACE)
target_include_directories(st_hash SYSTEM INTERFACE ${XXHASH_INCLUDE_DIR})
target_compile_definitions(st_hash INTERFACE ST_OPENSSL=$<BOOL:${ST_OPENSSL}>)
set(ST_HASH_USES st_hash)
set(ST_HASH_LINKS "")
set(ST_HASH_PKGS "")
if(ST_OPENSSL)
  find_package(OpenSSL 3.0 REQUIRED COMPONENTS Crypto)
  list(APPEND ST_HASH_USES OpenSSL::Crypto)
  set(ST_HASH_LINKS OpenSSL::Crypto)
  set(ST_HASH_PKGS libcrypto)
endif()
