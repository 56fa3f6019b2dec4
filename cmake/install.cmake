# SPDX-License-Identifier: Apache-2.0
# Headers, libraries, CMake package, pkg-config files, program, manual and completions.

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/safetensors)

# pkg-config finds the tree from where its own file lies, so that the tree may be moved.
cmake_path(SET pc_dir NORMALIZE "/${CMAKE_INSTALL_LIBDIR}/pkgconfig")
file(RELATIVE_PATH pc_prefix "${pc_dir}" "/")

foreach(component IN LISTS ST_COMPONENTS)
  foreach(property HEADERS REQUIRES OUTPUT PKGS)
    get_property(component_${property} GLOBAL PROPERTY ST_${component}_${property})
  endforeach()

  install(FILES ${component_HEADERS}
          DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/safetensors COMPONENT ${component})
  set(targets ${component}_static)
  if(ST_SHARED)
    list(APPEND targets ${component}_shared)
  endif()
  install(TARGETS ${targets} EXPORT safetensors-${component}-targets COMPONENT ${component}
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT safetensors-${component}-targets NAMESPACE safetensors::
          DESTINATION ${package_dir} COMPONENT ${component})

  set(pc_name ${component_OUTPUT})
  set(pc_requires "")
  foreach(required IN LISTS component_REQUIRES)
    get_property(required_output GLOBAL PROPERTY ST_${required}_OUTPUT)
    list(APPEND pc_requires ${required_output})
  endforeach()
  list(JOIN pc_requires ", " pc_requires)
  list(JOIN component_PKGS ", " pc_private)
  configure_file(${PROJECT_SOURCE_DIR}/cmake/safetensors.pc.in
                 ${PROJECT_BINARY_DIR}/${pc_name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${pc_name}.pc
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT ${component})
endforeach()

configure_package_config_file(cmake/safetensorsConfig.cmake.in
  ${PROJECT_BINARY_DIR}/safetensorsConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/safetensorsConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/safetensorsConfig.cmake
              ${PROJECT_BINARY_DIR}/safetensorsConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT core)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT core)

# The program writes its own manual and completions, where the build can run it.
if(TARGET safetensors_cli)
  install(TARGETS safetensors_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT cli)
endif()
if(TARGET safetensors_cli AND NOT CMAKE_CROSSCOMPILING AND NOT CMAKE_C_FLAGS MATCHES "-fsanitize")
  set(generated ${PROJECT_BINARY_DIR}/generated)
  set(kinds man bash zsh fish)
  set(places ${CMAKE_INSTALL_MANDIR}/man1
             ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
             ${CMAKE_INSTALL_DATADIR}/zsh/site-functions
             ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
  set(commands COMMAND ${CMAKE_COMMAND} -E rm -rf ${generated})
  foreach(kind place IN ZIP_LISTS kinds places)
    list(APPEND commands COMMAND ${CMAKE_COMMAND} -E make_directory ${generated}/${kind}
                         COMMAND safetensors_cli generate ${kind} ${generated}/${kind})
    install(DIRECTORY ${generated}/${kind}/ DESTINATION ${place} COMPONENT cli)
  endforeach()
  add_custom_command(OUTPUT ${generated}/stamp ${commands}
                     COMMAND ${CMAKE_COMMAND} -E touch ${generated}/stamp
                     DEPENDS safetensors_cli VERBATIM)
  add_custom_target(generated ALL DEPENDS ${generated}/stamp)
endif()
