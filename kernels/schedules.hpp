// SPDX-License-Identifier: Apache-2.0
// Prescribed schedules s_k (theory section 2): eta_k = eta s_k, in double on every backend.
#pragma once
#include "kernels/math.hpp"
#include "kernels/spec.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// The largest whole number that is not above k >= 0 (and k itself from 2^51 on).
template <class D>
PATHBOUND_HD D whole_part(D k) {
  static_assert(sizeof(ScalarOf<D>) == 8);
  const D shift = real<D>(0x1p52), nearest = (k + shift) - shift;
  const D down = nearest - zero_unless(lt(k, nearest), real<D>(1.0));
  return select(lt(k, real<D>(0x1p51)), down, k);
}

/// eta s at the steps k, whole numbers or (models) times in a step; `whole`: the number of the step that k lies in, so
/// that a jump comes at its beginning.
template <class D>
PATHBOUND_HD D step_size(const ScheduleSpec& schedule, double eta, D k, D whole) {
  const D one = real<D>(1.0);
  D size(eta);
  switch (schedule.kind) {
    case ScheduleKind::constant:
      break;
    case ScheduleKind::polynomial:  // (1 + k/k0)^-p
      size = size * pow_positive(one + k / D(schedule.k0), D(-schedule.p));
      break;
    case ScheduleKind::exponential:
      size = size * exp(D(-schedule.rate) * k);
      break;
    case ScheduleKind::step:
      size = size * pow_positive(D(schedule.factor), whole_part(whole / D(schedule.every)));
      break;
    case ScheduleKind::cosine:
      size = size * fma(real<D>(0.5), cos_pi(k / D(schedule.steps)), real<D>(0.5));
      break;
  }
  if (schedule.warmup > 0.0) size = size * min(one, (k + one) / D(schedule.warmup));
  return size;
}

/// The derivative of step_size by k, given its value there; between the jumps of `step`, and to the right of kinks.
template <class D>
PATHBOUND_HD D step_size_slope(const ScheduleSpec& schedule, double eta, D k, D step_size) {
  const D zero = real<D>(0.0), one = real<D>(1.0);
  D slope = zero;
  switch (schedule.kind) {
    case ScheduleKind::constant:
    case ScheduleKind::step:
      break;
    case ScheduleKind::polynomial:
      slope = (zero - D(schedule.p) * step_size) / (D(schedule.k0) + k);
      break;
    case ScheduleKind::exponential:
      slope = D(-schedule.rate) * step_size;
      break;
    case ScheduleKind::cosine: {
      constexpr double half_pi = 1.5707963267948966;
      slope = D(eta * (-half_pi / schedule.steps)) * sin_pi(k / D(schedule.steps));
      if (schedule.warmup > 0.0) slope = slope * min(one, (k + one) / D(schedule.warmup));
      break;
    }
  }
  // While it warms up, s = r (k + 1)/warmup: s' = r' (k + 1)/warmup + s/(k + 1).
  if (schedule.warmup > 0.0) slope = slope + zero_unless(lt(k + one, D(schedule.warmup)), step_size / (k + one));
  return slope;
}

/// The step sizes of consecutive steps, computed a pack at a time.
template <class D>
class StepSizes {
 public:
  template <class R>
  PATHBOUND_HD explicit StepSizes(const SimSpec<R>& spec) : schedule_(spec.schedule), eta_(spec.eta) {
    for (int i = 0; i < lanes; ++i) value_[i] = eta_;
  }
  /// eta_k; to be called with k = 0, 1, 2, ...
  PATHBOUND_HD double at(std::uint64_t k) {
    const int lane = static_cast<int>(k % lanes);
    if (!is_constant(schedule_) && lane == 0) {
      double steps[lanes];
      for (int i = 0; i < lanes; ++i) steps[i] = static_cast<double>(k + static_cast<std::uint64_t>(i));
      store(value_, step_size<D>(schedule_, eta_, load<D>(steps), load<D>(steps)));
    }
    return value_[lane];
  }

 private:
  static constexpr int lanes = RealTraits<D>::lanes;
  ScheduleSpec schedule_;
  double eta_;
  double value_[lanes];
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
