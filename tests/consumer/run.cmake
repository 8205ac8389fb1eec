# SPDX-License-Identifier: Apache-2.0
# Installs a build into a fresh prefix, builds the consumer project against it, runs that and the installed program.
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output
    WORKING_DIRECTORY ${SCRATCH_DIR})
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "failed (${status}): ${ARGN}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(expect pattern)
  if(NOT output MATCHES "${pattern}")
    message(FATAL_ERROR "expected \"${pattern}\" in:\n${output}")
  endif()
endfunction()

set(prefix ${SCRATCH_DIR}/prefix)
file(REMOVE_RECURSE ${SCRATCH_DIR})
file(MAKE_DIRECTORY ${SCRATCH_DIR})
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${prefix})
run(${CMAKE_COMMAND} -S ${CONSUMER_DIR} -B ${SCRATCH_DIR}/build -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${CXX}
  -DCMAKE_BUILD_TYPE=${BUILD_TYPE} -DCMAKE_CXX_FLAGS_DEBUG=${CXX_FLAGS_DEBUG} -DCMAKE_PREFIX_PATH=${prefix})
run(${CMAKE_COMMAND} --build ${SCRATCH_DIR}/build)

run(${SCRATCH_DIR}/build/consumer)
expect("pathbound ${VERSION}")
expect("consumer ok")

# A moved prefix keeps working: nothing installed may depend on where it was put.
file(RENAME ${prefix} ${SCRATCH_DIR}/moved)
set(program ${SCRATCH_DIR}/moved/${BINDIR}/pathbound)
run(${program} --version)
expect("${VERSION}")
run(${program} list experiments)
file(GLOB experiments ${SCRATCH_DIR}/moved/share/pathbound/experiments/*.toml)
if(NOT experiments)
  message(FATAL_ERROR "no experiments were installed")
endif()
foreach(experiment ${experiments})
  cmake_path(GET experiment STEM LAST_ONLY name)
  expect("${name}")
endforeach()
