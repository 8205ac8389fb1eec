# SPDX-License-Identifier: Apache-2.0
# cmake -DGIT= -DSOURCE_DIR= -DPROJECT_VERSION= -DOUTPUT= -P write_version.cmake
cmake_minimum_required(VERSION 3.25)
set(PROJECT_COMMIT unknown)
if(GIT)
  # Only our own repository counts, not one that this source happens to lie in.
  execute_process(COMMAND ${GIT} --no-optional-locks rev-parse --show-prefix WORKING_DIRECTORY ${SOURCE_DIR}
    OUTPUT_VARIABLE prefix ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE status)
  if(status EQUAL 0 AND prefix STREQUAL "")
    execute_process(COMMAND ${GIT} --no-optional-locks describe --always --dirty --exclude=* --abbrev=12 WORKING_DIRECTORY ${SOURCE_DIR}
      OUTPUT_VARIABLE described ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE status)
    if(status EQUAL 0 AND described MATCHES "^[0-9a-f]+(-dirty)?$")
      set(PROJECT_COMMIT ${described})
    endif()
  endif()
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/version.cpp.in ${OUTPUT} @ONLY)
