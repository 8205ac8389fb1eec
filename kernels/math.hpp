// SPDX-License-Identifier: Apache-2.0
// Elementary functions over a Real, built only from the operations of real.hpp, so that every form of Real (and the
// device) gives the same bits: no tables, no branches on data, fma written out. The accuracies stated are measured
// (tests/test_math.cpp) against libm in a wider type: for float over every float with a magnitude from 2^-32 to 2^32
// (every angle of a quarter turn) and each 251st beyond, for double over 3 * 10^7 random points and edges. An ulp is
// that of the correctly rounded result. A NaN argument gives a NaN; which of the NaNs is not specified, see
// canonical_nan. The coefficients come from scripts/fit_polynomials.py.
#pragma once
#include <cstdint>

#include "kernels/real.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

namespace math_detail {

template <class F>
inline constexpr bool is_single = sizeof(ScalarOf<F>) == 4;

template <class F>
PATHBOUND_HD BitsOf<F> bits(std::uint64_t pattern) {
  return BitsOf<F>(static_cast<BitsOf<ScalarOf<F>>>(pattern));
}
template <class F>
PATHBOUND_HD BitsOf<F> sign_bit() {
  if constexpr (is_single<F>) {
    return bits<F>(0x80000000u);
  } else {
    return bits<F>(0x8000000000000000u);
  }
}
template <class F>
PATHBOUND_HD F infinity() {
  return F(static_cast<ScalarOf<F>>(__builtin_huge_val()));
}
template <class F>
PATHBOUND_HD F quiet_nan() {
  if constexpr (is_single<F>) {
    return from_bits<F>(bits<F>(0x7fc00000u));
  } else {
    return from_bits<F>(bits<F>(0x7ff8000000000000u));
  }
}

/// c0 + c1 x + c2 x^2 + ..., by Horner's rule.
template <class F>
PATHBOUND_HD F polynomial(F, ScalarOf<F> c0) {
  return F(c0);
}
template <class F, class... C>
PATHBOUND_HD F polynomial(F x, ScalarOf<F> c0, C... higher) {
  return fma(polynomial(x, higher...), x, F(c0));
}

/// 1.5 * 2^23 or 2^52: x + magic is the integer nearest to x, in the low bits.
template <class F>
inline constexpr ScalarOf<F> magic = is_single<F> ? ScalarOf<F>(0x1.8p23) : ScalarOf<F>(0x1.8p52);

// ---- logarithm

/// The exponent k of u = 2^k m (u > 0, normal; m in [2/3, 4/3) for float, [sqrt(1/2), sqrt 2) for double), where u has
/// its exponent: subtract it from the bits of u to get m.
template <class F>
PATHBOUND_HD BitsOf<F> exponent_bits(F u) {
  if constexpr (is_single<F>) {
    return (as_bits(u) - bits<F>(0x3f2aaaabu)) & bits<F>(0xff800000u);
  } else {
    return (as_bits(u) - bits<F>(0x3fe6a09e667f3bcdu)) & bits<F>(0xfff0000000000000u);
  }
}
/// The exponent of exponent_bits as a Real, times exponent_unit (which saves float a multiplication).
template <class F>
inline constexpr ScalarOf<F> exponent_unit = is_single<F> ? ScalarOf<F>(0x1p23) : ScalarOf<F>(1);
template <class F>
PATHBOUND_HD F exponent_value(BitsOf<F> e) {
  if constexpr (is_single<F>) {
    return int_to_real(e);
  } else {
    // k + 1023 under the exponent of 2^52, then take away 2^52 + 1023.
    return from_bits<F>(shr(e + bits<F>(0x3ff0000000000000u), 52) | bits<F>(0x4330000000000000u)) -
           F(0x1.00000000003ffp52);
  }
}

inline constexpr float log_unit = 0x1.62e43p-24f;  // 2^-23 ln 2
inline constexpr float log_coefficients[8] = {0x1.555506p-2f, -0x1.fffefp-3f,  0x1.99d028p-3f, -0x1.559dcep-3f,
                                              0x1.1ed71ep-3f, -0x1.f310f4p-4f, 0x1.1e669cp-3f, -0x1.08062ep-3f};
template <int k>  // (device code may use such constants, not an array's)
inline constexpr float log_coefficient = log_coefficients[k];
/// float: P(t) in ln(1 + t) = t - t^2/2 + t^3 P(t). double: R(z) in ln(1 + t) = t - (h - s (h + z R(z))), where
/// h = t^2/2, s = t/(2 + t) and z = s^2.
template <class F>
PATHBOUND_HD F log_polynomial(F x) {
  if constexpr (is_single<F>) {
    return polynomial(x, log_coefficient<0>, log_coefficient<1>, log_coefficient<2>, log_coefficient<3>,
                      log_coefficient<4>, log_coefficient<5>, log_coefficient<6>, log_coefficient<7>);
  } else {
    return polynomial(x, 0x1.5555555555592p-1, 0x1.999999997ff1ap-2, 0x1.24924941e13f7p-2, 0x1.c71c521467682p-3,
                      0x1.74663ce835a9ap-3, 0x1.39a1e95ac30b2p-3, 0x1.2f03b423f2f17p-3);
  }
}
/// ln(1 + t) - (t - t^2/2) + more.
template <class F>
PATHBOUND_HD F log1p_tail(F t, F half_square, F more) {
  if constexpr (is_single<F>) {
    return fma((half_square + half_square) * t, log_polynomial(t), more);
  } else {
    const F s = t / (t + F(2.0)), z = s * s;
    return fma(s, fma(z, log_polynomial(z), half_square), more);
  }
}
/// ln(2^k (1 + t)), n = k exponent_unit.
template <class F>
PATHBOUND_HD F log_of_parts(F n, F t) {
  if constexpr (is_single<F>) {
    return fma(n, F(log_unit), fma(fma(log_polynomial(t), t, F(-0.5f)), t * t, t));
  } else {
    const F half_square = F(0.5) * t * t, tail = log1p_tail(t, half_square, n * F(0x1.abc9e3b39803fp-56));
    return fma(n, F(0x1.62e42fefa39efp-1), t + (tail - half_square));
  }
}

// ---- exponential

/// n = round(x / ln 2) and r = x - n ln 2, |r| <= 0.3467. Returns magic + bias + n, whose low bits are those of
/// bias + n.
template <class F>
PATHBOUND_HD F reduce_exp(F x, ScalarOf<F> bias, F& r) {
  const F shift(magic<F> + bias);
  if constexpr (is_single<F>) {
    const F shifted = fma(x, F(0x1.715476p0f), shift), n = shifted - shift;
    r = fma(n, F(0x1.05c61p-29f), fma(n, F(-0x1.62e43p-1f), x));
    return shifted;
  } else {
    const F shifted = fma(x, F(0x1.71547652b82fep0), shift), n = shifted - shift;
    r = fma(n, F(-0x1.abc9e3b39803fp-56), fma(n, F(-0x1.62e42fefa39efp-1), x));
    return shifted;
  }
}
template <class F>
inline constexpr int mantissa_bits = is_single<F> ? 23 : 52;
/// The exponent of 1 as it stands in a Real's bits.
template <class F>
inline constexpr ScalarOf<F> exponent_bias = is_single<F> ? ScalarOf<F>(127) : ScalarOf<F>(1023);

/// (e^r - 1 - r) / r^2 for |r| <= 0.3467.
template <class F>
PATHBOUND_HD F exp_tail(F r) {
  if constexpr (is_single<F>) {
    return polynomial(r, 0x1.fffffep-2f, 0x1.5554aap-3f, 0x1.55579ap-5f, 0x1.122c38p-7f, 0x1.6ac052p-10f);
  } else {
    return polynomial(r, 0x1.0000000000005p-1, 0x1.5555555555539p-3, 0x1.555555555228ep-5, 0x1.111111111901ap-7,
                      0x1.6c16c17ee73eap-10, 0x1.a01a0174f92f9p-13, 0x1.a019a74a2a784p-16, 0x1.71de88273c50fp-19,
                      0x1.28a206d7fea13p-22, 0x1.ae6baac84f804p-26);
  }
}
/// e^r for |r| <= 0.3467.
template <class F>
PATHBOUND_HD F exp_reduced(F r) {
  const F one(ScalarOf<F>(1));
  return fma(fma(exp_tail(r), r, one), r, one);
}
/// p 2^n, n from the bits of reduce_exp(x, 2 exponent_bias, r). In two steps: 2^n itself need not be a normal number.
template <class F>
PATHBOUND_HD F scale_exp(F p, BitsOf<F> n) {
  const BitsOf<F> half = shr(n, 1);
  return p * from_bits<F>(shl(half, mantissa_bits<F>)) * from_bits<F>(shl(n - half, mantissa_bits<F>));
}
/// x, brought to the range in which scale_exp works and beyond which e^x is 0 or infinite. Keeps NaN.
template <class F>
PATHBOUND_HD F clamp_exponent(F x) {
  if constexpr (is_single<F>) {
    return max(F(-105.0f), min(F(89.0f), x));
  } else {
    return max(F(-746.0), min(F(710.0), x));
  }
}

/// For a = n ln 2 + r >= 0 (clamped): r, sinh r - r, cosh r - 1, up = 2^n / 4 and down = 2^-n / 4. Quarters, because
/// 2^n itself may overflow.
template <class F>
PATHBOUND_HD void hyperbolic_parts(F a, F& r, F& sinh_tail, F& cosh_tail, F& up, F& down) {
  const BitsOf<F> n = as_bits(reduce_exp(a, ScalarOf<F>(0), r));
  const BitsOf<F> quarter = bits<F>(is_single<F> ? 125 : 1021);
  up = from_bits<F>(shl(quarter + n, mantissa_bits<F>));
  // For large n the exponent wraps around into the sign bit; max makes 0 of that.
  down = max(from_bits<F>(shl(quarter - n, mantissa_bits<F>)), F(ScalarOf<F>(0)));
  const F z = r * r;
  if constexpr (is_single<F>) {
    sinh_tail = r * z * polynomial(z, 0x1.555556p-3f, 0x1.110fbep-7f, 0x1.a2e31ep-13f);
    cosh_tail = z * polynomial(z, 0x1p-1f, 0x1.5554e6p-5f, 0x1.6d4f14p-10f);
  } else {
    sinh_tail = r * z *
                polynomial(z, 0x1.5555555555559p-3, 0x1.111111110f62ap-7, 0x1.a01a01b02055fp-13, 0x1.71ddf7afb279dp-19,
                           0x1.af5ff3f5ee867p-26);
    cosh_tail = z * polynomial(z, 0x1.000000000000cp-1, 0x1.555555554fd67p-5, 0x1.6c16c1863e1a2p-10,
                               0x1.a01994ffc4cd8p-16, 0x1.28b1bdb4ff14ap-22);
  }
}
template <class F>
PATHBOUND_HD F clamp_hyperbolic(F a) {
  return min(F(is_single<F> ? ScalarOf<F>(89.6) : ScalarOf<F>(710.6)), a);
}

// ---- circular functions

inline constexpr float sine_octants[4] = {0x1.921fb6p-1f, -0x1.4abc24p-4f, 0x1.4680a4p-9f, -0x1.33198ep-15f};
inline constexpr float cosine_octants[5] = {1.0f, -0x1.3bd3ccp-2f, 0x1.03c1bp-6f, -0x1.55b2b6p-12f, 0x1.d4f7eep-19f};
template <int k>
inline constexpr float sine_octant = sine_octants[k];
template <int k>
inline constexpr float cosine_octant = cosine_octants[k];
/// sin(r pi/4) and cos(r pi/4) for |r| <= 1.
template <class F>
PATHBOUND_HD void sincos_octant(F r, F& s, F& c) {
  const F z = r * r;
  if constexpr (is_single<F>) {
    s = r * polynomial(z, sine_octant<0>, sine_octant<1>, sine_octant<2>, sine_octant<3>);
    c = polynomial(z, cosine_octant<0>, cosine_octant<1>, cosine_octant<2>, cosine_octant<3>, cosine_octant<4>);
  } else {
    s = r * polynomial(z, 0x1.921fb54442d18p-1, -0x1.4abbce625bdaep-4, 0x1.466bc6774afcep-9, -0x1.32d2ccd46a411p-15,
                       0x1.507821d4df922p-22, -0x1.e2f3f0f19346bp-30, 0x1.dfc5b86a01989p-38);
    c = polynomial(z, 1.0, -0x1.3bd3cc9be45dep-2, 0x1.03c1f081b5a52p-6, -0x1.55d3c7e3bfe55p-12, 0x1.e1f50675b1d9p-19,
                   -0x1.a6d1e238b2aa3p-26, 0x1.f9c4ad8519adap-34, -0x1.b034493d48f59p-42);
  }
}
/// sin(r pi/2) for |r| <= 1.
template <class F>
PATHBOUND_HD F sin_quarter(F r) {
  const F z = r * r;
  if constexpr (is_single<F>) {
    return r * polynomial(z, 0x1.921fb6p0f, -0x1.4abbfp-1f, 0x1.466f3ep-4f, -0x1.32e974p-8f, 0x1.4701dep-13f);
  } else {
    return r * polynomial(z, 0x1.921fb54442d18p0, -0x1.4abbce625be0fp-1, 0x1.466bc67757ff5p-4, -0x1.32d2cce4ddc29p-8,
                          0x1.507833e74987p-13, -0x1.e306fb7627c7fp-19, 0x1.e8db755545b3bp-25, -0x1.6bda3c5d5e0ecp-31,
                          0x1.2ac264a506317p-38);
  }
}

/// r = x - n pi/2, |r| <= 0.79 or little more; returns a Real whose low bits are those of n. Arguments beyond
/// 2^21 (float) or 2^49 (double) are taken for 0, infinities for NaN.
template <class F>
PATHBOUND_HD F reduce_radians(F x, F& r) {
  const F limit(is_single<F> ? ScalarOf<F>(0x1p21) : ScalarOf<F>(0x1p49));
  x = select(le(abs(x), limit), x, x * F(ScalarOf<F>(0)));
  const F shift(magic<F>);
  if constexpr (is_single<F>) {
    const F shifted = fma(x, F(0x1.45f306p-1f), shift), n = shifted - shift;
    r = fma(n, F(-0x1.921fb6p0f), x);  // exact
    r = fma(n, F(0x1.777a5cp-25f), r);
    r = fma(n, F(0x1.ee59dap-50f), r);
    return shifted;
  } else {
    const F shifted = fma(x, F(0x1.45f306dc9c883p-1), shift), n = shifted - shift;
    r = fma(n, F(-0x1.921fb54442d18p0), x);  // exact
    r = fma(n, F(-0x1.1a62633145c07p-54), r);
    r = fma(n, F(0x1.f1976b7ed8fbcp-110), r);
    return shifted;
  }
}
/// sin r and cos r for |r| <= 0.8.
template <class F>
PATHBOUND_HD F sin_reduced(F r) {
  const F z = r * r;
  if constexpr (is_single<F>) {
    return fma(r * z, polynomial(z, -0x1.555546p-3f, 0x1.11077cp-7f, -0x1.9955aep-13f), r);
  } else {
    return fma(r * z,
               polynomial(z, -0x1.5555555555549p-3, 0x1.111111110f89cp-7, -0x1.a01a019c141b2p-13, 0x1.71de3578ed7aep-19,
                          -0x1.ae5e66a45f489p-26, 0x1.5d93013334986p-33),
               r);
  }
}
template <class F>
PATHBOUND_HD F cos_reduced(F r) {
  const F z = r * r;
  if constexpr (is_single<F>) {
    return polynomial(z, 1.0f, -0x1p-1f, 0x1.55554ap-5f, -0x1.6c0c28p-10f, 0x1.99e80cp-16f);
  } else {
    return polynomial(z, 1.0, -0x1p-1, 0x1.555555555554bp-5, -0x1.6c16c16c1500dp-10, 0x1.a01a019c8dd19p-16,
                      -0x1.27e4f7f04fb58p-22, 0x1.1ee9dacb2592fp-29, -0x1.8fa5ec4755a8fp-37);
  }
}

/// a with its sign turned where the top bit of `s` is set.
template <class F>
PATHBOUND_HD F flip_sign(F a, BitsOf<F> s) {
  return from_bits<F>(as_bits(a) ^ (s & sign_bit<F>()));
}

}  // namespace math_detail

/// Any NaN as the one positive quiet NaN without payload; other values unchanged.
template <class F>
PATHBOUND_HD F canonical_nan(F x) {
  return select(eq(x, x), x, math_detail::quiet_nan<F>());
}

/// Natural logarithm of a normal, finite u > 0; anything else gives no meaningful value. The lean form for
/// Box-Muller. log_normal(1) = +0.
/// Max error: float 0.95 ulp, double 0.86 ulp.
template <class F>
PATHBOUND_HD F log_normal(F u) {
  using namespace math_detail;
  const BitsOf<F> e = exponent_bits(u);
  return log_of_parts(exponent_value<F>(e), from_bits<F>(as_bits(u) - e) - F(ScalarOf<F>(1)));
}

/// Natural logarithm. log(+-0) = -inf, log(x < 0) = NaN, log(inf) = inf; denormal x too.
/// Max error: float 0.95 ulp, double 0.86 ulp.
template <class F>
PATHBOUND_HD F log(F x) {
  using namespace math_detail;
  using S = ScalarOf<F>;
  const F least_normal(is_single<F> ? S(0x1p-126) : S(0x1p-1022));
  const MaskOf<F> small = lt(x, least_normal);
  const F u = select(small, x * F(S(0x1p60)), x);
  const BitsOf<F> e = exponent_bits(u);
  const F n = exponent_value<F>(e) - zero_unless(small, F(S(60) * exponent_unit<F>));
  const F r = log_of_parts(n, from_bits<F>(as_bits(u) - e) - F(S(1)));
  const F outside = select(eq(x, F(S(0))), F(S(0)) - infinity<F>(), quiet_nan<F>());
  return select(lt(F(S(0)), x), select(eq(x, infinity<F>()), x, r), outside);
}

/// ln(1 + x), accurate for small x. log1p(+-0) = +-0, log1p(-1) = -inf, log1p(x < -1) = NaN, log1p(inf) = inf.
/// Max error: float 1.55 ulp, double 1.38 ulp.
template <class F>
PATHBOUND_HD F log1p(F x) {
  using namespace math_detail;
  using S = ScalarOf<F>;
  // 1 + x = 2^k (1 + t), k from the rounded sum: t = 2^-k x + (2^-k - 1) takes one rounding.
  const BitsOf<F> e = exponent_bits(x + F(S(1)));
  const F scale = max(from_bits<F>(as_bits(F(S(1))) - e), F(S(0)));  // 2^-k, or 0 where that is no normal number
  const F t = from_bits<F>(as_bits(x) - e) + (scale - F(S(1)));
  F r = log_of_parts(exponent_value<F>(e), t);
  r = from_bits<F>(as_bits(r) | (as_bits(x) & sign_bit<F>()));  // -0
  const F outside = select(eq(x, F(S(-1))), F(S(0)) - infinity<F>(), quiet_nan<F>());
  return select(lt(F(S(-1)), x), select(eq(x, infinity<F>()), x, r), outside);
}

/// e^x. exp(-inf) = 0, exp(inf) = inf; overflows and underflows where e^x does, denormal results too.
/// Max error: float 0.92 ulp, double 1.0 ulp.
template <class F>
PATHBOUND_HD F exp(F x) {
  using namespace math_detail;
  using S = ScalarOf<F>;
  F r;
  const F n = reduce_exp(clamp_exponent(x), S(2) * exponent_bias<F>, r);
  return scale_exp(exp_reduced(r), as_bits(n));
}

/// e^x - 1, accurate for small x. expm1(+-0) = +-0, expm1(-inf) = -1, expm1(inf) = inf.
/// Max error: float 1.28 ulp, double 1.65 ulp.
template <class F>
PATHBOUND_HD F expm1(F x) {
  using namespace math_detail;
  using S = ScalarOf<F>;
  const F y = max(F(is_single<F> ? S(-20) : S(-40)), min(F(is_single<F> ? S(89) : S(710)), x));
  F r;
  // Half the result, because 2^n itself may overflow.
  const F shifted = reduce_exp(y, exponent_bias<F> - S(1), r);
  const F half = from_bits<F>(shl(as_bits(shifted), mantissa_bits<F>));
  // In this order the rounding of the large terms weighs least.
  const F h = fma(half * (r * r), exp_tail(r), fma(half, r, half - F(S(0.5))));
  return select(lt(abs(x), F(S(0x1p-60))), x, h + h);
}

/// Hyperbolic sine. sinh(+-0) = +-0, sinh(+-inf) = +-inf; overflows where sinh x does.
/// Max error: float 1.55 ulp, double 1.88 ulp.
template <class F>
PATHBOUND_HD F sinh(F x) {
  using namespace math_detail;
  const F a = clamp_hyperbolic(abs(x));
  F r, sinh_tail, cosh_tail, up, down;
  hyperbolic_parts(a, r, sinh_tail, cosh_tail, up, down);
  const F c = up + down, s = up - down;  // cosh(n ln 2) / 2, sinh(n ln 2) / 2
  const F h = fma(r, c, s) + fma(sinh_tail, c, cosh_tail * s);
  return copysign(select(lt(a, F(ScalarOf<F>(0x1p-60))), a, h + h), x);
}

/// Hyperbolic cosine. cosh(+-inf) = inf; overflows where cosh x does.
/// Max error: float 1.67 ulp, double 1.61 ulp.
template <class F>
PATHBOUND_HD F cosh(F x) {
  using namespace math_detail;
  F r, sinh_tail, cosh_tail, up, down;
  hyperbolic_parts(clamp_hyperbolic(abs(x)), r, sinh_tail, cosh_tail, up, down);
  const F one(ScalarOf<F>(1)), sinh_r = r + sinh_tail;
  const F h = fma(up, (cosh_tail + sinh_r) + one, down * ((cosh_tail - sinh_r) + one));
  return h + h;
}

/// sin and cos of 2 pi v for a random angle v in [0, 1), given as the integer v 2^32 (float: all 32 bits of `angle`)
/// or v 2^53 (double: a 53-bit number in a 64-bit lane). Reduced to an octant in integers, so without error.
/// Max error: float 2.38 ulp (9.8e-8 absolute), double 1.5 ulp (1.5e-16 absolute).
/// Never beyond [-1, 1], and exact at the quarters of a turn.
template <class F>
PATHBOUND_HD void sincos_turn(BitsOf<F> angle, F& s, F& c) {
  using namespace math_detail;
  F sine, cosine;
  BitsOf<F> swap, sign;  // top bits: odd quarter turn; beyond half a turn
  if constexpr (is_single<F>) {
    const BitsOf<F> quarter = (angle + bits<F>(0x20000000u)) & bits<F>(0xc0000000u);
    sincos_octant(int_to_real(angle - quarter) * F(0x1p-29f), sine, cosine);
    swap = shl(quarter, 1);
    sign = quarter;
  } else {
    const BitsOf<F> quarter = (angle + bits<F>(std::uint64_t(1) << 50)) & bits<F>(std::uint64_t(7) << 51);
    sincos_octant(int_to_real(angle - quarter) * F(0x1p-50), sine, cosine);
    swap = shl(quarter, 12);
    sign = shl(quarter, 11);
  }
  s = flip_sign(select_top_bit(swap, cosine, sine), sign);
  c = flip_sign(select_top_bit(swap, sine, cosine), sign ^ swap);
}

/// cos(2 pi v), angle as for sincos_turn. One polynomial instead of two: the last bits may differ from sincos_turn's,
/// and next to +-1 the result may be one ulp beyond. Max error: float 2.73 ulp (1.7e-7 absolute), double 2.65 ulp
/// (3.0e-16 absolute).
template <class F>
PATHBOUND_HD F cos_turn(BitsOf<F> angle) {
  using namespace math_detail;
  // With half turns taken off: cos(2 pi v) = sin(2 pi (1/4 - v)).
  if constexpr (is_single<F>) {
    const F r = int_to_real(bits<F>(0x40000000u) - (angle & bits<F>(0x7fffffffu))) * F(0x1p-30f);
    return flip_sign(sin_quarter(r), angle);
  } else {
    constexpr std::uint64_t quarter = std::uint64_t(1) << 51;
    const F r = int_to_real(bits<F>(quarter) - (angle & bits<F>(2 * quarter - 1))) * F(0x1p-51);
    return flip_sign(sin_quarter(r), shl(angle, 11));
  }
}

/// sin(2 pi v), angle as for sincos_turn. Max error: that of cos_turn.
template <class F>
PATHBOUND_HD F sin_turn(BitsOf<F> angle) {
  using namespace math_detail;
  if constexpr (is_single<F>) {
    return cos_turn<F>(angle - bits<F>(0x40000000u));
  } else {
    return cos_turn<F>(angle - bits<F>(std::uint64_t(1) << 51));
  }
}

/// sin and cos of x radians. NaN for infinities.
/// Max error: float 1.53 ulp for |x| <= 2^13, double 1.52 ulp for |x| <= 2^20; absolute error 1.1e-7 for |x| <= 2^21
/// (float), 1.6e-16 for |x| <= 2^49 (double). Beyond that nothing is right: sin x = +-0 and cos x = 1. sin(+-0) = +-0.
template <class F>
PATHBOUND_HD void sincos(F x, F& s, F& c) {
  using namespace math_detail;
  F r;
  const BitsOf<F> n = as_bits(reduce_radians(x, r));
  const F sine = sin_reduced(r), cosine = cos_reduced(r);
  constexpr int top = static_cast<int>(sizeof(ScalarOf<F>)) * 8 - 1;
  const BitsOf<F> swap = shl(n, top), sign = shl(n, top - 1);
  s = flip_sign(select_top_bit(swap, cosine, sine), sign);
  s = select(eq(x, F(ScalarOf<F>(0))), x, s);  // -0
  c = flip_sign(select_top_bit(swap, sine, cosine), sign ^ swap);
}
/// The first result of sincos.
template <class F>
PATHBOUND_HD F sin(F x) {
  F s, c;
  sincos(x, s, c);
  return s;
}
/// The second result of sincos.
template <class F>
PATHBOUND_HD F cos(F x) {
  F s, c;
  sincos(x, s, c);
  return c;
}

namespace math_detail {
/// sin(pi a) and cos(pi a) for a >= 0; +0 instead of -0, NaN for infinity.
template <class F>
PATHBOUND_HD void sincos_pi(F a, F& s, F& c) {
  using S = ScalarOf<F>;
  // y = a modulo 2, in [-1, 1], exactly: from 2^24 (2^53) on there are only even numbers, and below that the sum
  // a + even rounds to an even number.
  const F even(is_single<F> ? S(0x1p24) : S(0x1p53)), zero(S(0)), shift(magic<F>);
  a = select(lt(a, even), a, a * zero);
  const F y = a - ((a + even) - even);
  const F shifted = fma(y, F(S(2)), shift);
  F sine, cosine;
  sincos_octant(fma(y, F(S(4)), (shift - shifted) * F(S(2))), sine, cosine);
  constexpr int top = static_cast<int>(sizeof(S)) * 8 - 1;
  const BitsOf<F> swap = shl(as_bits(shifted), top), sign = shl(as_bits(shifted), top - 1);
  s = flip_sign(select_top_bit(swap, cosine, sine), sign) + zero;
  c = flip_sign(select_top_bit(swap, sine, cosine), sign ^ swap) + zero;
}
}  // namespace math_detail

/// sin(pi x), for all x: the reduction is exact. +-0 where x is an integer, with the sign of x; NaN for infinities.
/// Max error: float 1.61 ulp, double 1.5 ulp; never beyond [-1, 1].
template <class F>
PATHBOUND_HD F sin_pi(F x) {
  F s, c;
  math_detail::sincos_pi(abs(x), s, c);
  return math_detail::flip_sign(s, as_bits(x));
}

/// cos(pi x), for all x: the reduction is exact. +0 where x is half an odd integer; NaN for infinities.
/// Max error: float 1.58 ulp, double 1.5 ulp; never beyond [-1, 1].
template <class F>
PATHBOUND_HD F cos_pi(F x) {
  F s, c;
  math_detail::sincos_pi(abs(x), s, c);
  return c;
}

/// x^y for x > 0 and finite (denormal x too), y finite; NaN for other x or a NaN y. x^0 = 1^y = 1; overflows to inf and
/// underflows to 0. The logarithm is carried to a few bits more than a Real holds, so that the error stays small
/// where |y ln x| is large. For step-size schedules such as (1 + k/k0)^-p.
/// Max error: for |y ln x| <= 40 float 7.8 ulp, double 3.5 ulp; for all results that are normal numbers float 15 ulp,
/// double 55 ulp.
template <class F>
PATHBOUND_HD F pow_positive(F x, F y) {
  using namespace math_detail;
  using S = ScalarOf<F>;
  const F least_normal(is_single<F> ? S(0x1p-126) : S(0x1p-1022));
  const MaskOf<F> small = lt(x, least_normal);
  const F u = select(small, x * F(S(0x1p60)), x);
  const BitsOf<F> e = exponent_bits(u);
  const F n = exponent_value<F>(e) - zero_unless(small, F(S(60) * exponent_unit<F>));
  const F t = from_bits<F>(as_bits(u) - e) - F(S(1));

  // ln x = high + low. The leading parts k ln 2 (shortened: exact), t and -t^2/2 fall in magnitude, so each sum's
  // rounding error comes out exactly (Dekker).
  F a, low;
  if constexpr (is_single<F>) {
    a = n * F(0x1.62ep-24f);
    low = n * F(0x1.0bfbe8p-38f);
  } else {
    a = n * F(0x1.62e42fefa4p-1);
    low = n * F(-0x1.8432a1b0e2634p-43);
  }
  const F square = t * t, half_square = F(S(0.5)) * square, square_low = fma(t, t, F(S(0)) - square);
  const F b = a + t, b_low = t - (b - a);
  const F c = b - half_square, c_low = (b - c) - half_square;
  low = low + (b_low + c_low + log1p_tail(t, half_square, square_low * F(S(-0.5))));
  const F high = c + low;
  low = low - (high - c);

  const F product = y * high;
  const F clamped = clamp_exponent(product);
  const F product_low = fma(y, low, fma(y, high, F(S(0)) - product));
  F r;
  const F shifted = reduce_exp(clamped, S(2) * exponent_bias<F>, r);
  r = r + zero_unless(eq(clamped, product), product_low);
  const F power = scale_exp(exp_reduced(r), as_bits(shifted));
  const MaskOf<F> inside = mask_and(lt(F(S(0)), x), lt(x, infinity<F>()));
  return select(inside, power, quiet_nan<F>());
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
