// SPDX-License-Identifier: Apache-2.0
// Step sizes on the host (theory section 2): the prescribed eta_k = eta s_k and the adaptive factors a(x).
#pragma once
#include <algorithm>
#include <cstdint>

#include "host/bounds.hpp"
#include "host/experiment.hpp"
#include "host/objective.hpp"
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

/// a(x) as the kernels take it.
inline AdaptiveSpec<double> adaptive_spec(const CurveConfig& curve, const Objective& objective) {
  const AdaptiveConfig& config = curve.adaptive;
  AdaptiveSpec<double> spec;
  spec.kind = config.kind;
  spec.stochastic = config.stochastic;
  switch (config.kind) {
    case AdaptiveKind::none:
      return spec;
    case AdaptiveKind::gradient_norm:
      spec.inverse_c = 1.0 / config.c;
      spec.minus_q = -config.q;
      return spec;
    case AdaptiveKind::l0l1:
      spec.L0 = config.L0 ? *config.L0 : objective.constants().L0.value.value();
      spec.L1 = config.L1 ? *config.L1 : objective.constants().L1.value.value();
      break;
    case AdaptiveKind::hessian_norm:
      if (!is_separable(objective.config().kind))
        spec.hessian = objective.constants().L.value.value();  // least_squares
      break;
  }
  spec.share = config.theta / (second_moment_factor(curve, objective.config().dim) * curve.eta);
  return spec;
}

}  // namespace pathbound
