// SPDX-License-Identifier: Apache-2.0
// Prescribed schedules s_k (theory section 2): eta_k = eta s_k, in double on every backend.
#pragma once
#include "kernels/math.hpp"
#include "kernels/spec.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// eta_k for a pack of steps k (whole numbers as doubles).
template <class D>
PATHBOUND_HD D step_size(ScheduleKind kind, double eta, double k0, double p, D k) {
  switch (kind) {
    case ScheduleKind::constant:
      break;
    case ScheduleKind::polynomial:  // (1 + k/k0)^-p
      return D(eta) * pow_positive(real<D>(1.0) + k / D(k0), D(-p));
  }
  return D(eta);
}

/// The derivative of step_size by k, given its value there.
template <class D>
PATHBOUND_HD D step_size_slope(ScheduleKind kind, double k0, double p, D k, D step_size) {
  switch (kind) {
    case ScheduleKind::constant:
      break;
    case ScheduleKind::polynomial:
      return (real<D>(0.0) - D(p) * step_size) / (D(k0) + k);
  }
  return real<D>(0.0);
}

/// The step sizes of consecutive steps, computed a pack at a time.
template <class D>
class StepSizes {
 public:
  template <class R>
  PATHBOUND_HD explicit StepSizes(const SimSpec<R>& spec)
      : kind_(spec.schedule), eta_(spec.eta), k0_(spec.schedule_k0), p_(spec.schedule_p) {
    for (int i = 0; i < lanes; ++i) value_[i] = eta_;
  }
  /// eta_k; to be called with k = 0, 1, 2, ...
  PATHBOUND_HD double at(std::uint64_t k) {
    const int lane = static_cast<int>(k % lanes);
    if (kind_ != ScheduleKind::constant && lane == 0) {
      double steps[lanes];
      for (int i = 0; i < lanes; ++i) steps[i] = static_cast<double>(k + static_cast<std::uint64_t>(i));
      store(value_, step_size<D>(kind_, eta_, k0_, p_, load<D>(steps)));
    }
    return value_[lane];
  }

 private:
  static constexpr int lanes = RealTraits<D>::lanes;
  ScheduleKind kind_;
  double eta_, k0_, p_;
  double value_[lanes];
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
