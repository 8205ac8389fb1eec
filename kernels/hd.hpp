// SPDX-License-Identifier: Apache-2.0
// The one host/device macro, and the namespace that keeps builds for different instruction sets apart.
#pragma once

#if defined(__CUDACC__)
#define PATHBOUND_HD __host__ __device__ __forceinline__
#else
#define PATHBOUND_HD inline __attribute__((always_inline))
#endif

/// For functions too large to be inlined at every call.
#if defined(__CUDACC__)
#define PATHBOUND_HD_CALL __host__ __device__
#else
#define PATHBOUND_HD_CALL __attribute__((noinline))
#endif

/// For what is rarely needed inside what is often: a call, so that it takes none of its registers.
#if defined(__CUDACC__)
#define PATHBOUND_HD_RARE __host__ __device__ __noinline__ inline
#else
#define PATHBOUND_HD_RARE PATHBOUND_HD_CALL inline
#endif

#if defined(__CUDACC__)
#define PATHBOUND_UNROLL _Pragma("unroll")
#elif defined(__clang__)
#define PATHBOUND_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PATHBOUND_UNROLL _Pragma("GCC unroll 8")
#endif

/// For loops whose body is large.
#if defined(__CUDACC__)
#define PATHBOUND_NO_UNROLL _Pragma("unroll 1")
#else
#define PATHBOUND_NO_UNROLL
#endif

/// Every file of kernels/ that holds code puts it into this inline namespace. A translation unit compiled for a
/// special instruction set defines the name on its command line, so that the linker can never take a function
/// compiled for AVX-512 and run it on a machine without.
#ifndef PATHBOUND_ISA
#define PATHBOUND_ISA generic
#endif
