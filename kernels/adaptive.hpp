// SPDX-License-Identifier: Apache-2.0
// Adaptive factors a(x) of the step size (theory section 2): eta_k = eta s_k a(x_k).
#pragma once
#include "kernels/math.hpp"
#include "kernels/spec.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// Whether a factor depends on x through the norm of a gradient.
PATHBOUND_HD constexpr bool is_of_gradient(AdaptiveKind kind) {
  return kind == AdaptiveKind::gradient_norm || kind == AdaptiveKind::l0l1;
}

namespace adaptive_detail {
/// 1 + r/c, kept finite so that its power exists; or L0 + L1 r.
template <class F>
PATHBOUND_HD F denominator(const AdaptiveSpec<ScalarOf<F>>& spec, F r) {
  using S = ScalarOf<F>;
  if (spec.kind == AdaptiveKind::l0l1) return fma(F(spec.L1), r, F(spec.L0));
  constexpr S greatest = sizeof(S) == 4 ? S(0x1.fffffep127) : S(0x1.fffffffffffffp1023);
  return min(F(greatest), fma(F(spec.inverse_c), r, real<F>(1.0)));
}
}  // namespace adaptive_detail

/// a of gradient_norm and l0l1 at r = |grad f| or |gbar|.
template <class F>
PATHBOUND_HD F adaptive_factor(const AdaptiveSpec<ScalarOf<F>>& spec, F r) {
  const F below = adaptive_detail::denominator(spec, r);
  return spec.kind == AdaptiveKind::l0l1 ? F(spec.share) / below : pow_positive(below, F(spec.minus_q));
}

/// Its derivative by r, given its value there.
template <class F>
PATHBOUND_HD F adaptive_factor_slope(const AdaptiveSpec<ScalarOf<F>>& spec, F r, F factor) {
  using S = ScalarOf<F>;
  const S rate = spec.kind == AdaptiveKind::l0l1 ? S(0) - spec.L1 : spec.minus_q * spec.inverse_c;
  return (F(rate) * factor) / adaptive_detail::denominator(spec, r);
}

/// a of hessian_norm, `size` = |H(x)|; 1 where that is 0.
template <class F>
PATHBOUND_HD F adaptive_factor_of_hessian(const AdaptiveSpec<ScalarOf<F>>& spec, F size) {
  return min(real<F>(1.0), F(spec.share) / size);
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
