# SPDX-License-Identifier: Apache-2.0
# Every fuzz/<name>.c holds one LLVMFuzzerTestOneInput. With ST_FUZZ it becomes the libFuzzer program
# fuzz_<name>; with ST_TESTS, joined with fuzz/replay.c, the ordinary program replay_<name>.

file(GLOB fuzz_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/fuzz/*.c)
set(replay ${PROJECT_SOURCE_DIR}/fuzz/replay.c)
list(REMOVE_ITEM fuzz_sources ${replay})
set(ST_FUZZ_REPLAYS "")

function(st_fuzz_program target)
  add_executable(${target} ${ARGN})
  set_target_properties(${target} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(${target} PRIVATE st_warnings st_system)
  foreach(component IN LISTS ST_COMPONENTS)
    target_link_libraries(${target} PRIVATE ${component}_static)
  endforeach()
endfunction()

foreach(source IN LISTS fuzz_sources)
  cmake_path(GET source STEM stem)
  if(ST_FUZZ)
    st_fuzz_program(fuzz_${stem} ${source})
    target_link_options(fuzz_${stem} PRIVATE -fsanitize=fuzzer)
  endif()
  if(ST_TESTS)
    st_fuzz_program(replay_${stem} ${source} ${replay})
    list(APPEND ST_FUZZ_REPLAYS replay_${stem})
  endif()
endforeach()
