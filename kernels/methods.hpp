// SPDX-License-Identifier: Apache-2.0
// What the methods beyond plain averaging do with a gradient, coordinate by coordinate (theory section 2): once for the
// CPU's packs and for a GPU's lanes.
#pragma once
#include "kernels/math.hpp"
#include "kernels/norm.hpp"
#include "kernels/spec.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// Numbers by coordinate that a method keeps from step to step beside x.
PATHBOUND_HD constexpr int state_vectors(MethodKind method) {
  return method == MethodKind::heavy_ball ? 1 : method == MethodKind::adam ? 2 : 0;
}

/// Whether what a worker sends depends on its whole gradient, so that this must be there before the first coordinate
/// is sent.
template <class R>
PATHBOUND_HD constexpr bool sends_whole_vectors(const SimSpec<R>& spec) {
  return spec.method == MethodKind::clipped_dsgd || (spec.method == MethodKind::dnsgd && spec.each_worker) ||
         spec.compressor == CompressorKind::qsgd || spec.compressor == CompressorKind::top_k;
}

/// v_j / |v|, 0 for the zero vector.
template <class F>
PATHBOUND_HD F normalised(F v, const ScaledNorm<F>& norm) {
  return zero_unless(lt(real<F>(0.0), norm.root), (v * norm.scale) / norm.root);
}

/// v_j min(1, c/|v|).
template <class F>
PATHBOUND_HD F clipped(F v, const ScaledNorm<F>& norm, ScalarOf<F> c) {
  return select(le(norm.root, F(c) * norm.scale), v, F(c) * normalised(v, norm));
}

/// qsgd of one coordinate (Alistarh et al. 2017): |v| sign(v_j) xi/s, xi one of the two whole numbers next to s
/// |v_j|/|v| with that mean. uniform: in (0, 1), of the compressor's stream.
template <class F>
PATHBOUND_HD F quantised(F v, const ScaledNorm<F>& norm, ScalarOf<F> levels, F uniform) {
  constexpr double whole = sizeof(ScalarOf<F>) == 4 ? 0x1p23 : 0x1p52;
  const F zero = real<F>(0.0), one = real<F>(1.0), s(levels), size = abs(v);
  const F level = s * min(zero_unless(lt(zero, norm.root), (size * norm.scale) / norm.root), one);
  const F nearest = (level + real<F>(whole)) - real<F>(whole);
  const F below = nearest - zero_unless(lt(level, nearest), one);
  const F xi = below + zero_unless(lt(uniform, level - below), one);
  return copysign(((xi / s) * norm.root) / norm.scale, v);
}

/// Natural compression of one coordinate (Horvath et al. 2022): one of the two powers of two next to |v|, with mean
/// |v|; below the smallest normal number 0 or that. word: of the compressor's stream. In float the mean is exact; in
/// double the chance has 32 bits. Infinities and NaN stay.
template <class F>
PATHBOUND_HD F rounded_to_power(F v, BitsOf<F> word) {
  using S = ScalarOf<F>;
  constexpr int mantissa = sizeof(S) == 4 ? 23 : 52;
  using Word = BitsOf<S>;
  const BitsOf<F> size = as_bits(abs(v)), unit(static_cast<Word>(Word(1) << mantissa));
  const BitsOf<F> rest = size & BitsOf<F>(static_cast<Word>((Word(1) << mantissa) - 1));
  BitsOf<F> chance = rest, drawn = word;
  if constexpr (sizeof(S) == 4) {
    drawn = shr(word, 9);
  } else {
    chance = shr(rest, 20);
  }
  const BitsOf<F> power = (size - rest) + select(lt_unsigned(drawn, chance), unit, BitsOf<F>(Word(0)));
  return select(lt(abs(v), math_detail::infinity<F>()), copysign(from_bits<F>(power), v), v);
}

/// 1/(1 - beta^n), n >= 1: Adam's correction of a mean that began at 0. log_beta: ln beta; -infinity for beta = 0.
PATHBOUND_HD double bias_correction(double log_beta, double n) {
  return real<double>(-1.0) / expm1<double>(n * log_beta);
}

/// What Adam (Kingma and Ba 2015) moves a coordinate by, over the step size; m and u, the square root of v, go on.
/// Roots in place of squares: heavy-tailed gradients would overflow.
template <class F>
PATHBOUND_HD F adam_move(const SimSpec<ScalarOf<F>>& spec, F g, ScalarOf<F> correct_m, ScalarOf<F> correct_u, F& m,
                         F& u) {
  using R = ScalarOf<F>;
  m = fma(F(spec.beta1), m, F(R(1) - spec.beta1) * g);
  const F old = F(spec.root_beta2) * u, add = F(spec.root_rest2) * abs(g);
  const F scale = norm_scale(max(old, add));
  const F a = old * scale, b = add * scale;
  u = sqrt(fma(a, a, b * b)) / scale;
  return (m * F(correct_m)) / fma(u, F(correct_u), F(spec.epsilon));
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
