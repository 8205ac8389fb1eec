// SPDX-License-Identifier: Apache-2.0
#include "kernels/real.hpp"
//
#include "bench/floor.inc"

namespace pathbound {

FloorKernels scalar_floor() { return {floor_bits<float>, floor_normals<float>}; }

}  // namespace pathbound
