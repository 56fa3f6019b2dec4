# SPDX-License-Identifier: Apache-2.0
# The safetensors program: public headers only, linked statically. All but main.c is a library of its
# own, for the tests in C. The verb `view` draws with ncurses, wide characters included, where there is one.

set(cli_view 0)
if(ST_VIEW)
  find_path(NCURSESW_INCLUDE_DIR curses.h PATH_SUFFIXES ncursesw)
  find_library(NCURSESW_LIBRARY ncursesw)
  if(NCURSESW_INCLUDE_DIR AND NCURSESW_LIBRARY)
    set(cli_view 1)
  else()
    message(STATUS "no view: it needs ncurses (Debian: libncurses-dev)")
  endif()
endif()

file(GLOB cli_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/*.c)
list(REMOVE_ITEM cli_sources ${PROJECT_SOURCE_DIR}/cli/main.c)
if(NOT cli_view)
  list(REMOVE_ITEM cli_sources ${PROJECT_SOURCE_DIR}/cli/view_screen.c)
endif()

# The page of the verb report: its sources are HTML, CSS and JavaScript.
set(report_page ${PROJECT_SOURCE_DIR}/cli/report)
set(report_assets ${PROJECT_BINARY_DIR}/report_assets.c)
add_custom_command(OUTPUT ${report_assets}
  COMMAND ${CMAKE_COMMAND} -D SOURCE=${report_page} -D OUTPUT=${report_assets}
          -P ${PROJECT_SOURCE_DIR}/cmake/report.cmake
  DEPENDS ${report_page}/report.html ${report_page}/report.css ${report_page}/report.js
          ${PROJECT_SOURCE_DIR}/cmake/report.cmake VERBATIM)
if(cli_sources)
  add_library(st_cli STATIC ${cli_sources} ${report_assets})
  target_include_directories(st_cli PUBLIC ${PROJECT_SOURCE_DIR}/cli)
  target_compile_definitions(st_cli PRIVATE ST_VIEW=${cli_view})
  target_link_libraries(st_cli PRIVATE st_warnings st_system PUBLIC m)
  if(cli_view)
    target_include_directories(st_cli SYSTEM PRIVATE ${NCURSESW_INCLUDE_DIR})
    target_link_libraries(st_cli PUBLIC ${NCURSESW_LIBRARY})
  endif()
  foreach(component IN LISTS ST_COMPONENTS)
    target_link_libraries(st_cli PUBLIC ${component}_static)
  endforeach()
  add_executable(safetensors_cli ${PROJECT_SOURCE_DIR}/cli/main.c)
  set_target_properties(safetensors_cli PROPERTIES
    OUTPUT_NAME safetensors
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  target_link_libraries(safetensors_cli PRIVATE st_warnings st_system st_cli)
endif()
