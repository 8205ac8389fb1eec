// SPDX-License-Identifier: Apache-2.0
#include "kernels/pack_avx2.hpp"
//
#include "bench/floor.inc"

namespace pathbound {

FloorKernels avx2_floor() { return {floor_bits<f32x8>, floor_normals<f32x8>}; }

}  // namespace pathbound
