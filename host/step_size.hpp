// SPDX-License-Identifier: Apache-2.0
// The prescribed step sizes eta_k = eta s_k on the host (theory section 1).
#pragma once
#include <cstdint>

#include "host/experiment.hpp"
#include "kernels/portable.hpp"

namespace pathbound {

/// Whether every prescribed step is the same.
inline bool is_constant(const ScheduleConfig& schedule) {
  return schedule.kind == ScheduleKind::constant || schedule.p == 0.0;
}

/// eta_k, k = 0, 1, ...: constant eta, or polynomial eta (1 + k/k0)^-p.
inline double prescribed_step(const CurveConfig& curve, std::uint64_t k) {
  return portable::step_size(curve.schedule.kind, curve.eta, curve.schedule.k0, curve.schedule.p,
                             static_cast<double>(k));
}

/// The largest prescribed step before step `steps`. The polynomial schedule is monotone, so it is the first or the
/// last.
inline double largest_step(const CurveConfig& curve, std::uint64_t steps) {
  const double first = prescribed_step(curve, 0), last = prescribed_step(curve, steps == 0 ? 0 : steps - 1);
  return first > last ? first : last;
}

}  // namespace pathbound
