// SPDX-License-Identifier: Apache-2.0
#include "kernels/pack_avx512.hpp"
//
#include "bench/floor.inc"

namespace pathbound {

FloorKernels avx512_floor() { return {floor_bits<f32x16>, floor_normals<f32x16>}; }

}  // namespace pathbound
