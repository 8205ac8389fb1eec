// SPDX-License-Identifier: Apache-2.0
// Xi and the density of a law from its table (spec.hpp: XiTable), over a Real, and the mean of the workers' signs.
#pragma once
#include "kernels/math.hpp"
#include "kernels/real.hpp"
#include "kernels/spec.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

template <class F>
struct XiValue {
  F xi, density;
};

namespace xi_detail {

/// Where a piece begins in the table. Packs of 64-bit lanes have no product, but both strides are 8 + a power of two.
template <class F>
PATHBOUND_HD BitsOf<F> piece_offset(BitsOf<F> piece) {
  if constexpr (math_detail::is_single<F>) {
    static_assert(XiTable<float>::stride == 8);
    return shl(piece, 3);
  } else {
    static_assert(XiTable<double>::stride == 12);
    return shl(piece, 3) + shl(piece, 2);
  }
}

}  // namespace xi_detail

/// Xi(y), odd and never beyond +-1/2, and F'(y), even. xi = +-1/2 and density = 0 for infinities, both NaN for NaN.
template <class F>
PATHBOUND_HD XiValue<F> xi_of(const XiTable<ScalarOf<F>>& table, F y) {
  using namespace math_detail;
  using S = ScalarOf<F>;
  using Table = XiTable<S>;
  // The exponent and the leading octave_bits of the mantissa count pieces.
  constexpr int shift = mantissa_bits<F> - Table::octave_bits;
  const auto low_bits = as_bits(table.low);
  const F low(table.low);
  const F end(from_bits<S>(low_bits + (static_cast<BitsOf<S>>(table.n_pieces - 2) << shift)));

  const F a = abs(y);
  const MaskOf<F> cut = le(low, a);  // not in piece 0; false for NaN, which then stays in t
  const BitsOf<F> u = as_bits(min(a, end));
  const BitsOf<F> piece = select(cut, shr(u, shift) - bits<F>((low_bits >> shift) - 1), bits<F>(0));
  // The other bits of the mantissa, moved up: 1 + t.
  const BitsOf<F> place = shl(u & bits<F>((std::uint64_t(1) << shift) - 1), Table::octave_bits);
  const F t = select(cut, from_bits<F>(place | as_bits(F(S(1)))) - F(S(1)), a * F(table.inverse_low));

  // Horner's rule for Q and, beside it, for Q'.
  const BitsOf<F> offset = xi_detail::piece_offset<F>(piece);
  const S* const c = table.pieces + 1;
  F d = gather<F>(c + Table::terms, offset);
  F q = fma(d, t, gather<F>(c + (Table::terms - 1), offset));
  PATHBOUND_UNROLL
  for (int i = Table::terms - 2; i >= 0; --i) {
    d = fma(d, t, q);
    q = fma(q, t, gather<F>(c + i, offset));
  }
  q = min(F(S(0.5)), q);  // rounded up, 1 - 4 Xi^2 could be negative
  return {copysign(q, y), d * gather<F>(table.pieces, offset)};
}

/// DSignSGD: what a coordinate's gradient says.
template <class F>
struct SignMoments {
  F drift, variance, slope, variance_slope;  ///< m_j, Q_jj and their derivatives by grad_j f
};
template <class F>
PATHBOUND_HD SignMoments<F> sign_moments(const SignSpec<ScalarOf<F>>& signs, bool affine, F v, F mean_square) {
  using R = ScalarOf<F>;
  const F zero = real<F>(0.0);
  SignMoments<F> moments{zero, zero, zero, zero};
  F square = zero;
  for (int i = 0; i < signs.n_groups; ++i) {
    const SignGroup<R>& w = signs.groups[i];
    F s(w.scale);
    if (affine) s = sqrt(fma(F(w.affine_sq), mean_square, F(w.scale_sq)));
    const auto noisy = lt(zero, s);
    const XiValue<F> at = xi_of(signs.xi, select(noisy, v / s, zero));
    // Without noise the mean of the sign is the sign.
    const F xi = select(noisy, at.xi, real<F>(0.5) * sign(v));
    const F density = zero_unless(noisy, at.density / s);
    const F weight(R(2) * w.weight);
    moments.drift = fma(weight, xi, moments.drift);
    moments.slope = fma(weight, density, moments.slope);
    // Without noise the sign is certain, also that of 0.
    const F size = select(noisy, at.xi, real<F>(0.5));
    square = fma(weight * size, real<F>(2.0) * size, square);
    moments.variance_slope = fma(weight * xi, real<F>(-4.0) * density, moments.variance_slope);
  }
  moments.variance = max(zero, real<F>(1.0) - square);
  return moments;
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
