// SPDX-License-Identifier: Apache-2.0
// The prescribed step sizes eta_k = eta s_k on the host (theory section 2).
#pragma once
#include <algorithm>
#include <cstdint>

#include "host/experiment.hpp"
#include "kernels/portable.hpp"

namespace pathbound {

/// eta_k, k = 0, 1, ...
inline double prescribed_step(const CurveConfig& curve, std::uint64_t k) {
  return portable::step_size(curve.schedule, curve.eta, static_cast<double>(k));
}

/// The largest prescribed step before step `steps`. Every schedule falls, but for its warm-up: it is one of the first
/// `warmup` steps.
inline double largest_step(const CurveConfig& curve, std::uint64_t steps) {
  const std::uint64_t last = steps == 0 ? 0 : steps - 1;
  double largest = prescribed_step(curve, 0);
  for (std::uint64_t k = 1; k <= last && static_cast<double>(k) <= curve.schedule.warmup; ++k)
    largest = std::max(largest, prescribed_step(curve, k));
  return largest;
}

}  // namespace pathbound
