// SPDX-License-Identifier: Apache-2.0
// Real: what the numerics are written over. `float` and `double` themselves (on the device, and as the scalar form on
// any CPU), or a SIMD pack of them (pack_avx2.hpp, pack_avx512.hpp). Every operation is exactly rounded IEEE
// arithmetic or integer arithmetic, so every form gives the same bits in each lane. Build with -ffp-contract=off.
#pragma once
#include <cstdint>

#include "kernels/hd.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// What a Real is made of. `Scalar`: float or double. `Double`: the double form of the same instruction set. `Bits`:
/// unsigned integers of the same width, lane by lane. `Mask`: one truth value a lane. `lanes`: how many scalars. Random
/// words are held one a lane in `Bits` (for double the low half of each 64-bit lane; the high half is undefined until
/// it is masked).
template <class F>
struct RealTraits;

template <>
struct RealTraits<float> {
  using Scalar = float;
  using Double = double;
  using Bits = std::uint32_t;
  using Mask = bool;
  static constexpr int lanes = 1;
};
template <>
struct RealTraits<double> {
  using Scalar = double;
  using Double = double;
  using Bits = std::uint64_t;
  using Mask = bool;
  static constexpr int lanes = 1;
};

template <class F>
using ScalarOf = typename RealTraits<F>::Scalar;
template <class F>
using DoubleOf = typename RealTraits<F>::Double;
template <class F>
using BitsOf = typename RealTraits<F>::Bits;
template <class F>
using MaskOf = typename RealTraits<F>::Mask;

// ---- arithmetic that C++ spells with functions; + - * / are the operators (build device code with -fmad=false).
#if defined(__CUDA_ARCH__)
PATHBOUND_HD float fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
PATHBOUND_HD double fma(double a, double b, double c) { return __fma_rn(a, b, c); }
PATHBOUND_HD float sqrt(float a) { return __fsqrt_rn(a); }
PATHBOUND_HD double sqrt(double a) { return __dsqrt_rn(a); }
PATHBOUND_HD std::uint32_t as_bits(float a) { return __float_as_uint(a); }
PATHBOUND_HD std::uint64_t as_bits(double a) { return static_cast<std::uint64_t>(__double_as_longlong(a)); }
#else
PATHBOUND_HD float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
PATHBOUND_HD double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
PATHBOUND_HD float sqrt(float a) { return __builtin_sqrtf(a); }
PATHBOUND_HD double sqrt(double a) { return __builtin_sqrt(a); }
PATHBOUND_HD std::uint32_t as_bits(float a) {
  std::uint32_t u;
  __builtin_memcpy(&u, &a, sizeof u);
  return u;
}
PATHBOUND_HD std::uint64_t as_bits(double a) {
  std::uint64_t u;
  __builtin_memcpy(&u, &a, sizeof u);
  return u;
}
#endif

/// The Real with these bits.
template <class F>
PATHBOUND_HD F from_bits(BitsOf<F> u);
#if defined(__CUDA_ARCH__)
template <>
PATHBOUND_HD float from_bits<float>(std::uint32_t u) {
  return __uint_as_float(u);
}
template <>
PATHBOUND_HD double from_bits<double>(std::uint64_t u) {
  return __longlong_as_double(static_cast<long long>(u));
}
#else
template <>
PATHBOUND_HD float from_bits<float>(std::uint32_t u) {
  float f;
  __builtin_memcpy(&f, &u, sizeof f);
  return f;
}
template <>
PATHBOUND_HD double from_bits<double>(std::uint64_t u) {
  double f;
  __builtin_memcpy(&f, &u, sizeof f);
  return f;
}
#endif

PATHBOUND_HD float abs(float a) { return from_bits<float>(as_bits(a) & 0x7fffffffu); }
PATHBOUND_HD double abs(double a) { return from_bits<double>(as_bits(a) & 0x7fffffffffffffffull); }
/// a < b ? a : b, so b when either is NaN or both are zeros (what the SIMD instructions do).
PATHBOUND_HD float min(float a, float b) { return a < b ? a : b; }
PATHBOUND_HD double min(double a, double b) { return a < b ? a : b; }
/// a > b ? a : b, so b when either is NaN or both are zeros.
PATHBOUND_HD float max(float a, float b) { return a > b ? a : b; }
PATHBOUND_HD double max(double a, double b) { return a > b ? a : b; }

// ---- comparisons (ordered, quiet: false when an operand is NaN) and selection
PATHBOUND_HD bool lt(float a, float b) { return a < b; }
PATHBOUND_HD bool lt(double a, double b) { return a < b; }
PATHBOUND_HD bool le(float a, float b) { return a <= b; }
PATHBOUND_HD bool le(double a, double b) { return a <= b; }
PATHBOUND_HD bool eq(float a, float b) { return a == b; }
PATHBOUND_HD bool eq(double a, double b) { return a == b; }
PATHBOUND_HD bool eq(std::uint32_t a, std::uint32_t b) { return a == b; }
PATHBOUND_HD bool eq(std::uint64_t a, std::uint64_t b) { return a == b; }
/// Unsigned a < b. For 64-bit lanes both operands must be below 2^63.
PATHBOUND_HD bool lt_unsigned(std::uint32_t a, std::uint32_t b) { return a < b; }
PATHBOUND_HD bool lt_unsigned(std::uint64_t a, std::uint64_t b) { return a < b; }
PATHBOUND_HD float select(bool m, float a, float b) { return m ? a : b; }
PATHBOUND_HD double select(bool m, double a, double b) { return m ? a : b; }
PATHBOUND_HD std::uint32_t select(bool m, std::uint32_t a, std::uint32_t b) { return m ? a : b; }
PATHBOUND_HD std::uint64_t select(bool m, std::uint64_t a, std::uint64_t b) { return m ? a : b; }
/// a where the mask is set, else +0.
PATHBOUND_HD float zero_unless(bool m, float a) { return m ? a : 0.0f; }
PATHBOUND_HD double zero_unless(bool m, double a) { return m ? a : 0.0; }
PATHBOUND_HD bool mask_and(bool a, bool b) { return a && b; }
PATHBOUND_HD bool mask_or(bool a, bool b) { return a || b; }
PATHBOUND_HD bool mask_not(bool a) { return !a; }
PATHBOUND_HD bool any(bool m) { return m; }
/// Lane l's truth value as bit l.
PATHBOUND_HD std::uint32_t mask_bits(bool m) { return m ? 1u : 0u; }
/// Of packs of doubles, so that their lanes can be folded: `first` has the lanes l of a where l & half is 0, and of b
/// where it is not; `second` the lanes l ^ half of the same packs.
template <int half, class D>
PATHBOUND_HD void exchange_lanes(D a, D b, D& first, D& second);
/// a where the top bit of `s` is set, else b (one blend on AVX2).
PATHBOUND_HD float select_top_bit(std::uint32_t s, float a, float b) { return (s >> 31) != 0 ? a : b; }
PATHBOUND_HD double select_top_bit(std::uint64_t s, double a, double b) { return (s >> 63) != 0 ? a : b; }

// ---- integers
/// A signed integer, held two's complement in Bits, as a Real. 32-bit lanes: any value, rounded to nearest.
/// 64-bit lanes: |value| <= 2^51.
PATHBOUND_HD float int_to_real(std::uint32_t a) { return static_cast<float>(static_cast<std::int32_t>(a)); }
PATHBOUND_HD double int_to_real(std::uint64_t a) { return static_cast<double>(static_cast<std::int64_t>(a)); }
/// An unsigned 53-bit integer as a double, exactly.
PATHBOUND_HD double uint53_to_real(std::uint64_t a) { return static_cast<double>(static_cast<std::int64_t>(a)); }
PATHBOUND_HD std::uint32_t shl(std::uint32_t a, int n) { return a << n; }
PATHBOUND_HD std::uint64_t shl(std::uint64_t a, int n) { return a << n; }
PATHBOUND_HD std::uint32_t shr(std::uint32_t a, int n) { return a >> n; }
PATHBOUND_HD std::uint64_t shr(std::uint64_t a, int n) { return a >> n; }
/// a << n lane by lane; 0 where n is the width or more.
PATHBOUND_HD std::uint32_t shl_each(std::uint32_t a, std::uint32_t n) { return n > 31 ? 0u : a << n; }
PATHBOUND_HD std::uint64_t shl_each(std::uint64_t a, std::uint64_t n) { return n > 63 ? 0ull : a << n; }
/// High and low half of the 32 x 32 bit product with a constant. 64-bit lanes: only the low halves of `a` count, and
/// the high halves of `lo` are undefined.
PATHBOUND_HD void mul_wide(std::uint32_t a, std::uint32_t m, std::uint32_t& hi, std::uint32_t& lo) {
  const std::uint64_t p = static_cast<std::uint64_t>(a) * m;
  hi = static_cast<std::uint32_t>(p >> 32);
  lo = static_cast<std::uint32_t>(p);
}
PATHBOUND_HD void mul_wide(std::uint64_t a, std::uint32_t m, std::uint64_t& hi, std::uint64_t& lo) {
  const std::uint64_t p = (a & 0xffffffffull) * m;
  hi = p >> 32;
  lo = p;
}

// ---- memory
template <class F>
PATHBOUND_HD F load(const ScalarOf<F>* p);
template <>
PATHBOUND_HD float load<float>(const float* p) {
  return *p;
}
template <>
PATHBOUND_HD double load<double>(const double* p) {
  return *p;
}
/// base[index] lane by lane; every index below 2^31.
template <class F>
PATHBOUND_HD F gather(const ScalarOf<F>* base, BitsOf<F> index);
template <>
PATHBOUND_HD float gather<float>(const float* base, std::uint32_t index) {
  return base[index];
}
template <>
PATHBOUND_HD double gather<double>(const double* base, std::uint64_t index) {
  return base[index];
}
/// base[index] lane by lane, zero-extended; every index below 2^31. Packs read 8 bytes from base + index on.
PATHBOUND_HD std::uint32_t gather_short(const std::uint16_t* base, std::uint32_t index, float) { return base[index]; }
PATHBOUND_HD std::uint64_t gather_short(const std::uint16_t* base, std::uint64_t index, double) { return base[index]; }
PATHBOUND_HD std::uint32_t gather_word(const std::uint32_t* base, std::uint32_t index, float) { return base[index]; }
PATHBOUND_HD std::uint64_t gather_word(const std::uint32_t* base, std::uint64_t index, double) { return base[index]; }
/// table[index] lane by lane, of 16 numbers aligned to 64 bytes.
PATHBOUND_HD float lookup_sixteen(const float* table, std::uint32_t index, float) { return table[index]; }
PATHBOUND_HD double lookup_sixteen(const double* table, std::uint64_t index, double) { return table[index]; }
/// Consecutive scalars as doubles, exactly.
template <class D>
PATHBOUND_HD D load_as_double(const float* p);
template <class D>
PATHBOUND_HD D load_as_double(const double* p);
template <>
PATHBOUND_HD double load_as_double<double>(const float* p) {
  return static_cast<double>(*p);
}
template <>
PATHBOUND_HD double load_as_double<double>(const double* p) {
  return *p;
}
PATHBOUND_HD void store(float* p, float a) { *p = a; }
PATHBOUND_HD void store(double* p, double a) { *p = a; }
PATHBOUND_HD std::uint32_t load_bits(const std::uint32_t* p, float) { return *p; }
PATHBOUND_HD std::uint64_t load_bits(const std::uint64_t* p, double) { return *p; }
PATHBOUND_HD void store_bits(std::uint32_t* p, std::uint32_t a) { *p = a; }
PATHBOUND_HD void store_bits(std::uint64_t* p, std::uint64_t a) { *p = a; }
/// The numbers below 2^16 in both packs of 32-bit lanes, as 16 bits each, in some order.
PATHBOUND_HD void store_narrow(std::uint16_t* p, std::uint32_t a, std::uint32_t b) {
  p[0] = static_cast<std::uint16_t>(a);
  p[1] = static_cast<std::uint16_t>(b);
}

// ---- derived, the same for every form
/// A constant, rounded to the Real's precision, in every lane.
template <class F>
PATHBOUND_HD F real(double c) {
  return F(static_cast<ScalarOf<F>>(c));
}

template <class F>
PATHBOUND_HD F copysign(F magnitude, F sign) {
  constexpr int top = static_cast<int>(sizeof(ScalarOf<F>)) * 8 - 1;
  using UnsignedScalar = BitsOf<ScalarOf<F>>;
  const BitsOf<F> m(static_cast<UnsignedScalar>(UnsignedScalar(1) << top));
  return from_bits<F>((as_bits(magnitude) & BitsOf<F>(static_cast<UnsignedScalar>(~(UnsignedScalar(1) << top)))) |
                      (as_bits(sign) & m));
}

/// 1, -1, or 0 for zeros and NaN.
template <class F>
PATHBOUND_HD F sign(F v) {
  const F zero = real<F>(0.0), one = real<F>(1.0);
  return zero_unless(lt(zero, v), one) - zero_unless(lt(v, zero), one);
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
