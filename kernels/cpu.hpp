// SPDX-License-Identifier: Apache-2.0
// Between simulate.cpp and the translation units compiled for one instruction set each.
#pragma once
#include <cstdint>

#include "kernels/spec.hpp"

namespace pathbound {

struct BlockOutput;
struct RecordRows;

/// The kernels of one instruction set. Each function is free of state.
struct CpuKernels {
  /// Simulates one block of 32 paths; false when it was stopped. `rows` and `doubles`: working memory.
  bool (*run_float)(const SimSpec<float>&, std::uint64_t block, float* rows, double* doubles, const BlockOutput&);
  bool (*run_double)(const SimSpec<double>&, std::uint64_t block, double* rows, double* doubles, const BlockOutput&);
  /// merge_whole_rows
  void (*merge)(std::int64_t n, double paths, const RecordRows& a, const RecordRows& b);
};

CpuKernels scalar_kernels();
CpuKernels avx2_kernels();
CpuKernels avx512_kernels();

}  // namespace pathbound
