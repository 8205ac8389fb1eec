// SPDX-License-Identifier: Apache-2.0
// A square root without a test of its argument's range.
#pragma once
#include "kernels/real.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// sqrt(x), correctly rounded, for 2^-101 <= x < infinity, from an estimate of 1/sqrt(x). Those are the instructions
/// that sqrt.rn.f32 is made of in this range (scripts/gpu_figures.py looks). By exhaustion (tests/test_root.cpp), for
/// all but two of the 2^24 significands with an even or odd exponent any estimate within the 2^-22.9 that PTX promises
/// of rsqrt.approx.ftz.f32 will do; for those two, one of the possible estimates will not, and the device does not give
/// it, or its own sqrt.rn would be wrong (pathbound verify looks there too).
PATHBOUND_HD float root_from_estimate(float x, float estimate) {
  const float s = x * estimate, h = estimate * 0.5f;
  return fma(fma(-s, s, x), h, s);
}

#if defined(__CUDACC__)
__device__ __forceinline__ float sqrt_in_range(float x) {
  float estimate;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(estimate) : "f"(x));
  return root_from_estimate(x, estimate);
}
#endif

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
