// SPDX-License-Identifier: Apache-2.0
// The kernels compiled for AVX-512 F, BW, DQ and VL.
#include "kernels/pack_avx512.hpp"
//
#include "kernels/cpu_kernels.inc"

namespace pathbound {

CpuKernels avx512_kernels() { return {run_block<f32x16>, run_block<f64x8>, merge_records<f64x8>}; }

}  // namespace pathbound
