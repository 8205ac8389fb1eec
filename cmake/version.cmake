# SPDX-License-Identifier: Apache-2.0
# The version (from project()) and the git commit, in one small generated source. The commit is looked up at every
# build, but the source is only touched when it changed: a new commit recompiles this one file.
set(PATHBOUND_VERSION_SOURCE ${CMAKE_CURRENT_BINARY_DIR}/generated/version.cpp)
find_package(Git QUIET)
add_custom_target(pathbound_version
  COMMAND ${CMAKE_COMMAND} -DGIT=${GIT_EXECUTABLE} -DSOURCE_DIR=${CMAKE_CURRENT_SOURCE_DIR}
    -DPROJECT_VERSION=${PROJECT_VERSION} -DOUTPUT=${PATHBOUND_VERSION_SOURCE}
    -P ${CMAKE_CURRENT_SOURCE_DIR}/cmake/write_version.cmake
  BYPRODUCTS ${PATHBOUND_VERSION_SOURCE}
  COMMENT "Looking up the git commit" VERBATIM)
