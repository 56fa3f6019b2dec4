# SPDX-License-Identifier: Apache-2.0
# What the hashes of the inspect library come from: xxHash's header, of which nothing is needed once
# it is compiled, and libcrypto, which can be done without (ST_OPENSSL).

find_path(XXHASH_INCLUDE_DIR xxhash.h)
find_package(OpenSSL 3.0 QUIET COMPONENTS Crypto)

# Of the Python package only safetensors.hash and the program that it brings along need them: where pip builds on a
# machine without them, the package comes without these two.
set(ST_HASH_FILES "")
if(SKBUILD AND NOT (XXHASH_INCLUDE_DIR AND OpenSSL_FOUND))
  message(WARNING "no command line and no safetensors.hash: they need xxhash.h and OpenSSL 3 (Debian: libxxhash-dev libssl-dev)")
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
set(ST_HASH_LINKS "")
set(ST_HASH_PKGS "")
if(ST_OPENSSL)
  if(NOT OpenSSL_FOUND)
    message(FATAL_ERROR "OpenSSL 3 is needed (Debian: libssl-dev), or ST_OPENSSL=OFF")
  endif()
  list(APPEND ST_HASH_USES OpenSSL::Crypto)
  set(ST_HASH_LINKS OpenSSL::Crypto)
  set(ST_HASH_PKGS libcrypto)
endif()
