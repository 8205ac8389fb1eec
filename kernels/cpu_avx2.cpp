// SPDX-License-Identifier: Apache-2.0
// The kernels compiled for AVX2 and FMA.
#include "kernels/pack_avx2.hpp"
//
#include "kernels/cpu_kernels.inc"

namespace pathbound {

CpuKernels avx2_kernels() { return {run_block<f32x8>, run_block<f64x4>, merge_records<f64x4>}; }

}  // namespace pathbound
