# SPDX-License-Identifier: Apache-2.0
# Every tests/<folder>/test_<name>.c is a program and the test <folder>.<name>; every test_<name>.py
# of tests/cli and tests/differential is a test run by pytest. Labels: c, python, threads (a name with
# "thread" or "transfer" in it), kill (a process for each of its system calls: AddressSanitizer, whose shadow every fork
# copies, sees no more in them than in the tests where calls fail), fuzz, memcheck (the C tests under valgrind), and
# tree for what looks at the source tree or the build itself and so is run once, not in every preset.

set(tests ${PROJECT_SOURCE_DIR}/tests)
set(oracle_python ${PROJECT_SOURCE_DIR}/build/oracle-0.8.0/bin/python)
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
find_path(CMOCKA_INCLUDE_DIR cmocka.h REQUIRED)
find_library(CMOCKA_LIBRARY cmocka REQUIRED)

# The sanitizers of clang 14 cannot map their shadow where the kernel randomises addresses widely.
if(CMAKE_C_FLAGS MATCHES "-fsanitize" AND NOT CMAKE_CROSSCOMPILING)
  execute_process(COMMAND setarch -R true RESULT_VARIABLE refused OUTPUT_QUIET ERROR_QUIET)
  if(NOT refused)
    set(CMAKE_CROSSCOMPILING_EMULATOR setarch -R)
  endif()
endif()

set(test_environment
  ST_SOURCE_DIR=${PROJECT_SOURCE_DIR}
  ST_TEST_CASES=${tests}/cases
  ST_BINARY=${PROJECT_BINARY_DIR}/safetensors
  ST_LIBRARY=${PROJECT_BINARY_DIR}/lib/libsafetensors.so
  ST_ORACLE_PYTHON=${oracle_python}
  ST_OPENSSL=$<BOOL:${ST_OPENSSL}>
  PYTHONDONTWRITEBYTECODE=1
  ASAN_OPTIONS=detect_stack_use_after_return=1:allocator_may_return_null=1
  UBSAN_OPTIONS=print_stacktrace=1
  TSAN_OPTIONS=halt_on_error=1)

# st_add_test(<name> LABELS <label>... COMMAND <command>...)
function(st_add_test name)
  cmake_parse_arguments(arg "" "" "LABELS;COMMAND" ${ARGN})
  add_test(NAME ${name} COMMAND ${arg_COMMAND})
  set_tests_properties(${name} PROPERTIES
    LABELS "${arg_LABELS}"
    ENVIRONMENT "${test_environment}"
    SKIP_RETURN_CODE 77
    TIMEOUT 900)
endfunction()

file(GLOB support_sources CONFIGURE_DEPENDS ${tests}/support/*.c)
add_library(test_support STATIC ${support_sources})
target_include_directories(test_support PUBLIC ${PROJECT_SOURCE_DIR}/src ${tests})
target_include_directories(test_support SYSTEM PUBLIC ${CMOCKA_INCLUDE_DIR})
target_compile_definitions(test_support PUBLIC ST_OPENSSL=$<BOOL:${ST_OPENSSL}>)
if(ST_OPENSSL)
  find_package(OpenSSL 3.0 REQUIRED COMPONENTS Crypto)
  target_link_libraries(test_support PUBLIC OpenSSL::Crypto)
endif()
foreach(component IN LISTS ST_COMPONENTS)
  target_link_libraries(test_support PUBLIC ${component}_static)
endforeach()
target_link_libraries(test_support PUBLIC ${CMOCKA_LIBRARY} st_liburing m PRIVATE st_warnings st_system)
# Tests know their sizes to be small; the library is held to -Wconversion on 32 bits too.
if(CMAKE_SIZEOF_VOID_P EQUAL 4)
  target_compile_options(test_support PUBLIC -Wno-conversion)
endif()

find_program(VALGRIND valgrind)
file(GLOB c_tests CONFIGURE_DEPENDS ${tests}/*/test_*.c)
foreach(source IN LISTS c_tests)
  cmake_path(GET source STEM stem)
  cmake_path(GET source PARENT_PATH folder)
  cmake_path(GET folder FILENAME folder)
  if(folder STREQUAL "cli" AND NOT TARGET st_cli)
    continue()
  endif()
  string(REGEX REPLACE "^test_" "" stem ${stem})
  set(target test_${folder}_${stem})
  add_executable(${target} ${source})
  set_target_properties(${target} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_link_libraries(${target} PRIVATE st_warnings st_system test_support)
  if(folder STREQUAL "cli")
    target_link_libraries(${target} PRIVATE st_cli)
  endif()
  set(labels c)
  if(stem MATCHES "thread|transfer")
    list(APPEND labels threads)
  endif()
  if(stem MATCHES "_kill$")
    list(APPEND labels kill)
  endif()
  st_add_test(${folder}.${stem} LABELS ${labels} COMMAND ${target})
  # What repeats a thing for each of its n-th calls, over many megabytes, or by every number of threads, tells valgrind
  # no more than once, and takes it minutes; the sanitizers see all of it.
  if(VALGRIND AND NOT CMAKE_CROSSCOMPILING AND NOT CMAKE_C_FLAGS MATCHES "-fsanitize" AND NOT stem MATCHES
     "^(hostile|stats|.+_kill|replace_power|edit_in_place_.+|(lane|load|output_direct)_faults|load_plan|transfer_(blocks|scan)|compare|(compare|context_fork|edit|hashes|load|reading|stats)_threads|stats_carry)$")
    st_add_test(memcheck.${folder}.${stem} LABELS memcheck tree COMMAND
      ${VALGRIND} --quiet --leak-check=full --error-exitcode=99 $<TARGET_FILE:${target}>)
  endif()
endforeach()

# The replay of the fuzz corpora.
foreach(target IN LISTS ST_FUZZ_REPLAYS)
  string(REGEX REPLACE "^replay_" "" stem ${target})
  st_add_test(fuzz.${stem} LABELS c fuzz
    COMMAND ${target} ${PROJECT_SOURCE_DIR}/fuzz/corpus/${stem})
endforeach()

if(NOT CMAKE_CROSSCOMPILING)
  enable_language(CXX)
endif()
set(example_globs ${PROJECT_SOURCE_DIR}/examples/*.c)
if(CMAKE_CXX_COMPILER)
  list(APPEND example_globs ${PROJECT_SOURCE_DIR}/examples/*.cpp)
endif()
file(GLOB examples CONFIGURE_DEPENDS ${example_globs})
# An argument that is a list would be split on its way to the script.
list(JOIN CMAKE_CROSSCOMPILING_EMULATOR "," example_launcher)
foreach(source IN LISTS examples)
  cmake_path(GET source STEM stem)
  cmake_path(GET source EXTENSION LAST_ONLY extension)
  set(target example_${stem})
  add_executable(${target} ${source})
  set_target_properties(${target} PROPERTIES
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/examples)
  target_link_libraries(${target} PRIVATE inspect_static st_warnings)
  st_add_test(example.${stem} LABELS c COMMAND ${CMAKE_COMMAND}
    -D LAUNCHER=${example_launcher} -D PROGRAM=$<TARGET_FILE:${target}>
    -D SAMPLE=${tests}/package/sample.safetensors
    -D EXPECTED=${PROJECT_SOURCE_DIR}/examples/${stem}.txt
    -P ${tests}/package/run_example.cmake)
endforeach()

if(NOT CMAKE_CROSSCOMPILING OR CMAKE_SYSTEM_PROCESSOR STREQUAL "i686")
  file(GLOB python_tests CONFIGURE_DEPENDS ${tests}/cli/test_*.py ${tests}/differential/test_*.py)
  foreach(source IN LISTS python_tests)
    cmake_path(GET source STEM stem)
    cmake_path(GET source PARENT_PATH folder)
    cmake_path(GET folder FILENAME folder)
    string(REGEX REPLACE "^test_" "" stem ${stem})
    set(labels python)
    # What a browser makes of a page, and a type checker of the stubs, is the same whatever the build.
    if(folder STREQUAL "differential" OR stem MATCHES "_browser$|^stubs$")
      list(APPEND labels tree)
    endif()
    st_add_test(${folder}.${stem} LABELS ${labels}
      COMMAND sh ${tests}/support/pytest.sh ${oracle_python} ${source})
  endforeach()
endif()

# The Python package, out of the build, with the frameworks of a virtual environment. With sanitizers their
# runtime has to be there before Python, and before torch's libstdc++; what Python itself leaks is its own.
if(ST_PYTHON)
  set(venv_python ${PROJECT_SOURCE_DIR}/build/venv-python/bin/python)
  set(python_environment PYTHONPATH=${PROJECT_BINARY_DIR}/python)
  if(CMAKE_C_FLAGS MATCHES "-fsanitize=address")
    execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=libclang_rt.asan-x86_64.so
                    OUTPUT_VARIABLE asan_runtime OUTPUT_STRIP_TRAILING_WHITESPACE)
    execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=libstdc++.so.6
                    OUTPUT_VARIABLE cxx_runtime OUTPUT_STRIP_TRAILING_WHITESPACE)
    list(APPEND python_environment "LD_PRELOAD=${asan_runtime} ${cxx_runtime}"
         ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1)
  endif()
  file(GLOB python_tests CONFIGURE_DEPENDS ${tests}/python/test_*.py)
  foreach(source IN LISTS python_tests)
    cmake_path(GET source STEM stem)
    string(REGEX REPLACE "^test_" "" stem ${stem})
    st_add_test(python.${stem} LABELS python COMMAND
      ${CMAKE_CROSSCOMPILING_EMULATOR} ${CMAKE_COMMAND} -E env ${python_environment}
      sh ${tests}/support/pytest.sh ${venv_python} ${source})
  endforeach()
endif()

if(CMAKE_CROSSCOMPILING OR NOT ST_SHARED)
  return()
endif()

# What follows looks at the tree or at the libraries as they would be installed.
file(GLOB lints CONFIGURE_DEPENDS ${tests}/lint/lint_*.py)
foreach(source IN LISTS lints)
  cmake_path(GET source STEM stem)
  string(REGEX REPLACE "^lint_" "" stem ${stem})
  st_add_test(lint.${stem} LABELS lint tree
    COMMAND ${Python3_EXECUTABLE} ${source} ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
endforeach()

file(GLOB packages CONFIGURE_DEPENDS ${tests}/package/test_*.sh)
foreach(source IN LISTS packages)
  cmake_path(GET source STEM stem)
  string(REGEX REPLACE "^test_" "" stem ${stem})
  st_add_test(package.${stem} LABELS package tree COMMAND
    sh ${source} ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR} ${CMAKE_COMMAND} ${Python3_EXECUTABLE})
endforeach()
