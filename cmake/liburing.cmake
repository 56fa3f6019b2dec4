# SPDX-License-Identifier: Apache-2.0
# io_uring, by the header of liburing at build and its library, where there is one, at run time: nothing
# links to it. Without the header direct reads go without a queue.

add_library(st_liburing INTERFACE)
if(ST_LIBURING AND CMAKE_SYSTEM_NAME STREQUAL "Linux")
  find_path(LIBURING_INCLUDE_DIR liburing.h)
  if(LIBURING_INCLUDE_DIR)
    target_include_directories(st_liburing SYSTEM INTERFACE ${LIBURING_INCLUDE_DIR})
    target_compile_definitions(st_liburing INTERFACE ST_LIBURING)
  else()
    message(STATUS "no io_uring: it needs liburing.h (Debian: liburing-dev)")
  endif()
endif()
