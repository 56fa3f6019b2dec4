# SPDX-License-Identifier: Apache-2.0
# The safetensors program: public headers only, linked statically.

file(GLOB cli_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cli/*.c)
if(cli_sources)
  add_executable(safetensors_cli ${cli_sources})
  set_target_properties(safetensors_cli PROPERTIES
    OUTPUT_NAME safetensors
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  target_link_libraries(safetensors_cli PRIVATE st_warnings st_system m)
  foreach(component IN LISTS ST_COMPONENTS)
    target_link_libraries(safetensors_cli PRIVATE ${component}_static)
  endforeach()
endif()
