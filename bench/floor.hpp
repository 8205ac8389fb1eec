// SPDX-License-Identifier: Apache-2.0
// The floors under job J1: what the random words alone cost, and the words with Box and Muller's normals.
#pragma once
#include <cstdint>

namespace pathbound {

struct FloorKernels {
  /// `n_blocks` Philox blocks for each of 32 paths; the result keeps the work from being dropped.
  std::uint32_t (*bits)(std::uint64_t seed, std::uint64_t first_path, std::uint32_t n_blocks);
  /// The same words turned into float normals and summed.
  float (*normals)(std::uint64_t seed, std::uint64_t first_path, std::uint32_t n_blocks);
};
FloorKernels scalar_floor();
FloorKernels avx2_floor();
FloorKernels avx512_floor();

}  // namespace pathbound
