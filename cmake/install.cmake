# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where, and the CMake package: find_package(pathbound), target pathbound::pathbound.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pathbound)

install(TARGETS pathbound EXPORT pathboundTargets)
install(TARGETS pathbound_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY kernels host DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/pathbound
  FILES_MATCHING PATTERN "*.hpp" PATTERN "*.def" PATTERN "kernels/cuda" EXCLUDE PATTERN "program.hpp" EXCLUDE)
install(DIRECTORY bench/experiments/ DESTINATION ${PATHBOUND_INSTALL_EXPERIMENTS})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

install(EXPORT pathboundTargets NAMESPACE pathbound:: DESTINATION ${package_dir})
configure_package_config_file(cmake/pathboundConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/generated/pathboundConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/generated/pathboundConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/generated/pathboundConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/generated/pathboundConfigVersion.cmake DESTINATION ${package_dir})
