# SPDX-License-Identifier: Apache-2.0
# st_library(<component> <output> FOLDERS <src folder>... HEADERS <public header>... [REQUIRES <component>...]
#            [USES <target to compile with>...] [LINKS <foreign target>...] [PKGS <its pkg-config module>...]
#            [WITHOUT <regex of source files to leave out>])
#
# Makes safetensors::<component>_static and, with ST_SHARED, safetensors::<component>_shared from one
# set of position-independent objects. What the shared one exports stands in
# tests/abi/exports-<component>.txt and, for other libraries of this project only, in
# tests/abi/exports-<component>-private.txt; the version script is made from these lists.
# A component without sources is left out.
#
# Everything is compiled with hidden visibility but the public functions, and the files that define one
# of the functions for other libraries of this project; of these files the version script hides the rest.

set(ST_COMPONENTS "")

function(st_version_script component output)
  set(lists ${PROJECT_SOURCE_DIR}/tests/abi/exports-${component}.txt)
  set(private ${PROJECT_SOURCE_DIR}/tests/abi/exports-${component}-private.txt)
  string(TOUPPER "${component}" upper)
  string(REPLACE "CORE" "" upper "${upper}")
  string(REGEX REPLACE "(.+)" "_\\1" upper "${upper}")
  set(node "SAFETENSORS${upper}_${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}")

  file(STRINGS ${lists} symbols REGEX "^st_")
  list(TRANSFORM symbols APPEND ";" OUTPUT_VARIABLE lines)
  string(REPLACE ";;" ";\n    " lines "${lines}")
  set(text "${node} {\n  global:\n    ${lines}\n  local: *;\n};\n")
  if(EXISTS ${private})
    file(STRINGS ${private} symbols REGEX "^st__")
    list(TRANSFORM symbols APPEND ";" OUTPUT_VARIABLE lines)
    string(REPLACE ";;" ";\n    " lines "${lines}")
    string(APPEND text "SAFETENSORS${upper}_PRIVATE {\n  global:\n    ${lines}\n};\n")
    list(APPEND lists ${private})
  endif()
  set_property(DIRECTORY ${PROJECT_SOURCE_DIR} APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${lists})
  file(CONFIGURE OUTPUT ${output} CONTENT "${text}" @ONLY)
endfunction()

function(st_show_private component)
  set(private ${PROJECT_SOURCE_DIR}/tests/abi/exports-${component}-private.txt)
  if(EXISTS ${private})
    file(STRINGS ${private} symbols REGEX "^st__")
    list(JOIN symbols "|" symbols)
    foreach(source IN LISTS ARGN)
      file(STRINGS ${source} definitions REGEX "^[a-z].*[ *](${symbols})[(]")
      if(definitions)
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS -fvisibility=default)
      endif()
    endforeach()
  endif()
endfunction()

function(st_library component output)
  cmake_parse_arguments(arg "" "WITHOUT" "FOLDERS;HEADERS;REQUIRES;USES;LINKS;PKGS" ${ARGN})
  list(TRANSFORM arg_FOLDERS REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/src/\\1/*.c" OUTPUT_VARIABLE globs)
  file(GLOB sources CONFIGURE_DEPENDS ${globs})
  if(arg_WITHOUT)
    list(FILTER sources EXCLUDE REGEX "${arg_WITHOUT}")
  endif()
  if(NOT sources)
    return()
  endif()

  set(objects st_${component}_objects)
  add_library(${objects} OBJECT ${sources})
  set_target_properties(${objects} PROPERTIES
    C_VISIBILITY_PRESET hidden
    POSITION_INDEPENDENT_CODE ON)
  target_include_directories(${objects} PRIVATE
    ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(${objects} PRIVATE st_warnings st_system ${arg_USES})
  st_show_private(${component} ${sources})

  set(kinds static)
  if(ST_SHARED)
    list(APPEND kinds shared)
  endif()
  foreach(kind IN LISTS kinds)
    set(target ${component}_${kind})
    string(TOUPPER ${kind} type)
    add_library(${target} ${type} $<TARGET_OBJECTS:${objects}>)
    add_library(safetensors::${target} ALIAS ${target})
    set_target_properties(${target} PROPERTIES
      OUTPUT_NAME ${output}
      VERSION ${PROJECT_VERSION}
      SOVERSION ${PROJECT_VERSION_MAJOR}
      ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib
      LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
    target_include_directories(${target} PUBLIC
      $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
    foreach(required IN LISTS arg_REQUIRES)
      target_link_libraries(${target} PUBLIC safetensors::${required}_${kind})
    endforeach()
    target_link_libraries(${target} PRIVATE ${arg_LINKS})
  endforeach()
  target_link_libraries(${component}_static PUBLIC Threads::Threads)
  if(ST_SHARED)
    set(script ${PROJECT_BINARY_DIR}/lib${output}.map)
    st_version_script(${component} ${script})
    target_link_libraries(${component}_shared PRIVATE Threads::Threads)
    target_link_options(${component}_shared PRIVATE
      -Wl,--version-script=${script} -Wl,--no-undefined)
    set_target_properties(${component}_shared PROPERTIES LINK_DEPENDS ${script})
  endif()

  add_library(${component} INTERFACE)
  add_library(safetensors::${component} ALIAS ${component})
  list(GET kinds -1 preferred)
  if(NOT PROJECT_IS_TOP_LEVEL AND NOT BUILD_SHARED_LIBS)
    set(preferred static)
  endif()
  target_link_libraries(${component} INTERFACE ${component}_${preferred})

  list(TRANSFORM arg_HEADERS PREPEND ${PROJECT_SOURCE_DIR}/include/safetensors/)
  set_property(GLOBAL PROPERTY ST_${component}_HEADERS ${arg_HEADERS})
  set_property(GLOBAL PROPERTY ST_${component}_REQUIRES ${arg_REQUIRES})
  set_property(GLOBAL PROPERTY ST_${component}_OUTPUT ${output})
  set_property(GLOBAL PROPERTY ST_${component}_PKGS ${arg_PKGS})
  set(ST_COMPONENTS ${ST_COMPONENTS} ${component} PARENT_SCOPE)
endfunction()
