# SPDX-License-Identifier: Apache-2.0
# The cuda backend. Decides whether it is built, from PATHBOUND_CUDA, and sets
#   PATHBOUND_WITH_CUDA      whether it is
#   PATHBOUND_CUDA_SOURCES   kernels/cuda/*.cu, or kernels/no_cuda.cpp, which refuses
#   PATHBOUND_CUDART         the CUDA runtime to link with; empty without the backend
# and adds the device compiler's flags to pathbound_flags. Include it at top level, after pathbound_flags.
set(PATHBOUND_CUDA AUTO CACHE STRING "Build the cuda backend: ON, OFF, or AUTO (when nvcc is found)")
set_property(CACHE PATHBOUND_CUDA PROPERTY STRINGS AUTO ON OFF)
option(PATHBOUND_CUDA_PTX_ONLY "Only PTX for compute_80 and the shared CUDA runtime, for emulators" OFF)
option(PATHBOUND_CUDA_LINEINFO "Source lines in device code, for profilers" OFF)
set(PATHBOUND_WITH_CUDA OFF)
set(PATHBOUND_CUDA_SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/kernels/no_cuda.cpp)
set(PATHBOUND_CUDART "")
set(oldest_cuda 12.0)  # the first with C++20

if(NOT PATHBOUND_CUDA)
  return()
endif()

# ---- nvcc, and whether it works; cuda_missing says what is wrong
set(cuda_missing "")
if(DEFINED CMAKE_CUDA_COMPILER AND NOT CMAKE_CUDA_COMPILER)
  unset(CMAKE_CUDA_COMPILER CACHE)  # look again
endif()
find_program(PATHBOUND_NVCC nvcc HINTS ENV CUDA_PATH ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
mark_as_advanced(PATHBOUND_NVCC)
if(NOT DEFINED CMAKE_CUDA_COMPILER AND "$ENV{CUDACXX}" STREQUAL "" AND PATHBOUND_NVCC)
  set(ENV{CUDACXX} ${PATHBOUND_NVCC})
endif()
# One host compiler for everything, unless the user names another.
if(NOT DEFINED CMAKE_CUDA_HOST_COMPILER AND "$ENV{CUDAHOSTCXX}" STREQUAL "")
  set(ENV{CUDAHOSTCXX} ${CMAKE_CXX_COMPILER})
endif()

if(DEFINED CMAKE_CUDA_COMPILER)
  set(nvcc ${CMAKE_CUDA_COMPILER})
else()
  set(nvcc $ENV{CUDACXX})
endif()
set(nvcc_version "")
if(nvcc)
  execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE output ERROR_QUIET)
  if(output MATCHES "release ([0-9]+\\.[0-9]+)")
    set(nvcc_version ${CMAKE_MATCH_1})
  endif()
endif()
if(NOT nvcc)
  set(cuda_missing "no nvcc on PATH, in CUDA_PATH, in CUDA_HOME or in /usr/local/cuda")
elseif(NOT nvcc_version)
  set(cuda_missing "${nvcc} is not NVIDIA's nvcc, or does not run")
elseif(nvcc_version VERSION_LESS oldest_cuda)
  set(cuda_missing "${nvcc} is of CUDA ${nvcc_version}, older than ${oldest_cuda}")
elseif(PATHBOUND_CUDA STREQUAL "AUTO")
  include(CheckLanguage)
  check_language(CUDA)  # with ON, enable_language says better what does not work
  if(NOT CMAKE_CUDA_COMPILER)
    set(cuda_missing "${nvcc} does not work with the host compiler $ENV{CUDAHOSTCXX}")
    string(APPEND cuda_missing " (log: ${CMAKE_BINARY_DIR}/CMakeFiles/CMakeError.log)")
  endif()
endif()
if(cuda_missing)
  if(PATHBOUND_CUDA STREQUAL "AUTO")
    message(STATUS "Without the cuda backend: ${cuda_missing}")
    return()
  endif()
  message(FATAL_ERROR "PATHBOUND_CUDA=${PATHBOUND_CUDA}, but ${cuda_missing}. Install the CUDA toolkit "
    "(${oldest_cuda} or later) or set CMAKE_CUDA_COMPILER to its nvcc; with PATHBOUND_CUDA=OFF no GPU is used.")
endif()

# ---- architectures: machine code for each generation, and PTX of the newest for cards to come
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND "$ENV{CUDAARCHS}" STREQUAL "")
  if(PATHBOUND_CUDA_PTX_ONLY)
    set(CMAKE_CUDA_ARCHITECTURES 80-virtual)
  else()
    set(CMAKE_CUDA_ARCHITECTURES 75 80 86 89 90)
    if(nvcc_version VERSION_GREATER_EQUAL 12.8)
      list(APPEND CMAKE_CUDA_ARCHITECTURES 100 120)
    endif()
    list(GET CMAKE_CUDA_ARCHITECTURES -1 newest)
    list(TRANSFORM CMAKE_CUDA_ARCHITECTURES APPEND "-real")
    list(APPEND CMAKE_CUDA_ARCHITECTURES ${newest}-virtual)
  endif()
endif()

enable_language(CUDA)
if(PATHBOUND_CCACHE AND NOT DEFINED CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${PATHBOUND_CCACHE})
endif()
find_package(CUDAToolkit REQUIRED)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25.1 does not know that nvcc has C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()

set(PATHBOUND_WITH_CUDA ON)
file(GLOB PATHBOUND_CUDA_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/kernels/cuda/*.cu)
if(PATHBOUND_CUDA_PTX_ONLY)
  set(PATHBOUND_CUDART CUDA::cudart)
  add_link_options(LINKER:--enable-new-dtags)  # RUNPATH: LD_LIBRARY_PATH goes first
else()
  set(PATHBOUND_CUDART CUDA::cudart_static)  # the program starts where there is no driver and no toolkit
endif()
message(STATUS "With the cuda backend: CUDA ${nvcc_version}, architectures ${CMAKE_CUDA_ARCHITECTURES}")

# ---- flags. The numerics contract (docs/numerics.md) for the device, and for host code in .cu files.
# The host compiler sees the device's "#pragma unroll" too, which only nvcc knows.
string(JOIN "," host_flags ${PATHBOUND_NUMERICS_FLAGS} -Wall -Wextra -Wno-unknown-pragmas)
set(cuda_flags -fmad=false -Xcompiler=${host_flags})
if(PATHBOUND_WERROR)
  list(APPEND cuda_flags -Werror=all-warnings)
endif()
if(PATHBOUND_CUDA_LINEINFO)
  list(APPEND cuda_flags -lineinfo)
endif()
if(PATHBOUND_CUDA_PTX_ONLY)
  include(CheckCompilerFlag)
  check_compiler_flag(CUDA --no-compress PATHBOUND_NVCC_NO_COMPRESS)
  if(PATHBOUND_NVCC_NO_COMPRESS)
    list(APPEND cuda_flags --no-compress)
  endif()
endif()
target_compile_options(pathbound_flags INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:${cuda_flags}>")

# For all targets from here on; a try_compile (above) would know neither.
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_RUNTIME_LIBRARY NONE)  # PATHBOUND_CUDART instead: what links pathbound needs no CUDA compiler
