// SPDX-License-Identifier: Apache-2.0
// The prescribed step sizes eta_k = eta s_k on the host (theory section 1).
#pragma once
#include <cmath>
#include <cstdint>

#include "host/experiment.hpp"

namespace pathbound {

/// Whether every prescribed step is the same.
inline bool is_constant(const ScheduleConfig& schedule) {
  return schedule.kind == ScheduleKind::constant || schedule.p == 0.0;
}

/// eta_k, k = 0, 1, ...: constant eta, or polynomial eta (1 + k/k0)^-p.
inline double prescribed_step(const CurveConfig& curve, std::uint64_t k) {
  if (is_constant(curve.schedule)) return curve.eta;
  const double base = 1.0 + static_cast<double>(k) / curve.schedule.k0;
  return curve.schedule.p == 0.5 ? curve.eta / std::sqrt(base) : curve.eta * std::pow(base, -curve.schedule.p);
}

/// The largest prescribed step before step `steps`. The polynomial schedule is monotone, so it is the first or the
/// last.
inline double largest_step(const CurveConfig& curve, std::uint64_t steps) {
  const double first = prescribed_step(curve, 0), last = prescribed_step(curve, steps == 0 ? 0 : steps - 1);
  return first > last ? first : last;
}

}  // namespace pathbound
