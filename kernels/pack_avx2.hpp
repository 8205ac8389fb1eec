// SPDX-License-Identifier: Apache-2.0
// SIMD packs for AVX2 + FMA: 8 floats or 4 doubles.
#pragma once
#include <immintrin.h>

#include "kernels/real.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// Truth values: all bits of a lane set, or none.
struct m32x8 {
  __m256i v;
};
struct m64x4 {
  __m256i v;
};

struct f32x8 {
  __m256 v;
  f32x8() = default;
  PATHBOUND_HD f32x8(__m256 a) : v(a) {}
  PATHBOUND_HD explicit f32x8(float a) : v(_mm256_set1_ps(a)) {}
};

struct f64x4 {
  __m256d v;
  f64x4() = default;
  PATHBOUND_HD f64x4(__m256d a) : v(a) {}
  PATHBOUND_HD explicit f64x4(double a) : v(_mm256_set1_pd(a)) {}
};

struct u32x8 {
  __m256i v;
  u32x8() = default;
  PATHBOUND_HD u32x8(__m256i a) : v(a) {}
  PATHBOUND_HD explicit u32x8(std::uint32_t a) : v(_mm256_set1_epi32(static_cast<int>(a))) {}
};
struct u64x4 {
  __m256i v;
  u64x4() = default;
  PATHBOUND_HD u64x4(__m256i a) : v(a) {}
  PATHBOUND_HD explicit u64x4(std::uint64_t a) : v(_mm256_set1_epi64x(static_cast<long long>(a))) {}
};

template <>
struct RealTraits<f32x8> {
  using Scalar = float;
  using Double = f64x4;
  using Bits = u32x8;
  using Mask = m32x8;
  static constexpr int lanes = 8;
};
template <>
struct RealTraits<f64x4> {
  using Scalar = double;
  using Double = f64x4;
  using Bits = u64x4;
  using Mask = m64x4;
  static constexpr int lanes = 4;
};

// ---- arithmetic
PATHBOUND_HD f32x8 operator+(f32x8 a, f32x8 b) { return _mm256_add_ps(a.v, b.v); }
PATHBOUND_HD f32x8 operator-(f32x8 a, f32x8 b) { return _mm256_sub_ps(a.v, b.v); }
PATHBOUND_HD f32x8 operator*(f32x8 a, f32x8 b) { return _mm256_mul_ps(a.v, b.v); }
PATHBOUND_HD f32x8 operator/(f32x8 a, f32x8 b) { return _mm256_div_ps(a.v, b.v); }
PATHBOUND_HD f32x8 fma(f32x8 a, f32x8 b, f32x8 c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
PATHBOUND_HD f32x8 sqrt(f32x8 a) { return _mm256_sqrt_ps(a.v); }
PATHBOUND_HD f32x8 min(f32x8 a, f32x8 b) { return _mm256_min_ps(a.v, b.v); }
PATHBOUND_HD f32x8 max(f32x8 a, f32x8 b) { return _mm256_max_ps(a.v, b.v); }
PATHBOUND_HD f64x4 operator+(f64x4 a, f64x4 b) { return _mm256_add_pd(a.v, b.v); }
PATHBOUND_HD f64x4 operator-(f64x4 a, f64x4 b) { return _mm256_sub_pd(a.v, b.v); }
PATHBOUND_HD f64x4 operator*(f64x4 a, f64x4 b) { return _mm256_mul_pd(a.v, b.v); }
PATHBOUND_HD f64x4 operator/(f64x4 a, f64x4 b) { return _mm256_div_pd(a.v, b.v); }
PATHBOUND_HD f64x4 fma(f64x4 a, f64x4 b, f64x4 c) { return _mm256_fmadd_pd(a.v, b.v, c.v); }
PATHBOUND_HD f64x4 sqrt(f64x4 a) { return _mm256_sqrt_pd(a.v); }
PATHBOUND_HD f64x4 min(f64x4 a, f64x4 b) { return _mm256_min_pd(a.v, b.v); }
PATHBOUND_HD f64x4 max(f64x4 a, f64x4 b) { return _mm256_max_pd(a.v, b.v); }
PATHBOUND_HD u32x8 as_bits(f32x8 a) { return _mm256_castps_si256(a.v); }
template <>
PATHBOUND_HD f32x8 from_bits<f32x8>(u32x8 u) {
  return _mm256_castsi256_ps(u.v);
}
PATHBOUND_HD u64x4 as_bits(f64x4 a) { return _mm256_castpd_si256(a.v); }
template <>
PATHBOUND_HD f64x4 from_bits<f64x4>(u64x4 u) {
  return _mm256_castsi256_pd(u.v);
}
PATHBOUND_HD f32x8 abs(f32x8 a) {
  return _mm256_castsi256_ps(_mm256_and_si256(_mm256_castps_si256(a.v), _mm256_set1_epi32(0x7fffffff)));
}
PATHBOUND_HD f64x4 abs(f64x4 a) {
  return _mm256_castsi256_pd(_mm256_and_si256(_mm256_castpd_si256(a.v), _mm256_set1_epi64x(0x7fffffffffffffffll)));
}

// ---- integers
PATHBOUND_HD u32x8 operator+(u32x8 a, u32x8 b) { return _mm256_add_epi32(a.v, b.v); }
PATHBOUND_HD u32x8 operator-(u32x8 a, u32x8 b) { return _mm256_sub_epi32(a.v, b.v); }
PATHBOUND_HD u32x8 operator&(u32x8 a, u32x8 b) { return _mm256_and_si256(a.v, b.v); }
PATHBOUND_HD u32x8 operator|(u32x8 a, u32x8 b) { return _mm256_or_si256(a.v, b.v); }
PATHBOUND_HD u32x8 operator^(u32x8 a, u32x8 b) { return _mm256_xor_si256(a.v, b.v); }
PATHBOUND_HD u32x8 shl(u32x8 a, int n) { return _mm256_slli_epi32(a.v, n); }
PATHBOUND_HD u32x8 shr(u32x8 a, int n) { return _mm256_srli_epi32(a.v, n); }
PATHBOUND_HD u32x8 shl_each(u32x8 a, u32x8 n) { return _mm256_sllv_epi32(a.v, n.v); }
PATHBOUND_HD u64x4 operator+(u64x4 a, u64x4 b) { return _mm256_add_epi64(a.v, b.v); }
PATHBOUND_HD u64x4 operator-(u64x4 a, u64x4 b) { return _mm256_sub_epi64(a.v, b.v); }
PATHBOUND_HD u64x4 operator&(u64x4 a, u64x4 b) { return _mm256_and_si256(a.v, b.v); }
PATHBOUND_HD u64x4 operator|(u64x4 a, u64x4 b) { return _mm256_or_si256(a.v, b.v); }
PATHBOUND_HD u64x4 operator^(u64x4 a, u64x4 b) { return _mm256_xor_si256(a.v, b.v); }
PATHBOUND_HD u64x4 shl(u64x4 a, int n) { return _mm256_slli_epi64(a.v, n); }
PATHBOUND_HD u64x4 shr(u64x4 a, int n) { return _mm256_srli_epi64(a.v, n); }
PATHBOUND_HD u64x4 shl_each(u64x4 a, u64x4 n) { return _mm256_sllv_epi64(a.v, n.v); }
PATHBOUND_HD u32x8 operator*(u32x8 a, u32x8 b) { return _mm256_mullo_epi32(a.v, b.v); }
PATHBOUND_HD f32x8 int_to_real(u32x8 a) { return _mm256_cvtepi32_ps(a.v); }
// 1.5 * 2^52 has the bits 0x4338...0: adding an integer below 2^51 to them is exact.
PATHBOUND_HD f64x4 int_to_real(u64x4 a) {
  const __m256i magic = _mm256_set1_epi64x(0x4338000000000000ll);
  return _mm256_sub_pd(_mm256_castsi256_pd(_mm256_add_epi64(a.v, magic)), _mm256_castsi256_pd(magic));
}
PATHBOUND_HD f64x4 uint53_to_real(u64x4 a) {
  const __m256i hi = _mm256_or_si256(_mm256_srli_epi64(a.v, 32), _mm256_set1_epi64x(0x4530000000000000ll));
  const __m256i lo = _mm256_blend_epi32(a.v, _mm256_set1_epi64x(0x4330000000000000ll), 0xAA);
  const __m256d h =
      _mm256_sub_pd(_mm256_castsi256_pd(hi), _mm256_castsi256_pd(_mm256_set1_epi64x(0x4530000000100000ll)));
  return _mm256_add_pd(h, _mm256_castsi256_pd(lo));
}
PATHBOUND_HD void mul_wide(u32x8 a, std::uint32_t m, u32x8& hi, u32x8& lo) {
  const __m256i mm = _mm256_set1_epi32(static_cast<int>(m));
  const __m256i even = _mm256_mul_epu32(a.v, mm);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a.v, 32), mm);
  lo = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
  hi = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
}
PATHBOUND_HD void mul_wide(u64x4 a, std::uint32_t m, u64x4& hi, u64x4& lo) {
  lo = _mm256_mul_epu32(a.v, _mm256_set1_epi64x(m));
  hi = _mm256_srli_epi64(lo.v, 32);
}
/// Products of the low words.
PATHBOUND_HD u64x4 mul_words(u64x4 a, u64x4 b) { return _mm256_mul_epu32(a.v, b.v); }
PATHBOUND_HD m64x4 no_common_bit(u64x4 a, u64x4 b) {
  return {_mm256_cmpeq_epi64(_mm256_and_si256(a.v, b.v), _mm256_setzero_si256())};
}
/// Zero-extended: lanes of the lower half of a, and of the upper half.
PATHBOUND_HD void widen(u32x8 a, u64x4& lower, u64x4& upper) {
  lower = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(a.v));
  upper = _mm256_cvtepu32_epi64(_mm256_extracti128_si256(a.v, 1));
}
/// The low and the high words of what widen() made.
PATHBOUND_HD void narrow(u64x4 lower, u64x4 upper, u32x8& low, u32x8& high) {
  const __m256 a = _mm256_castsi256_ps(lower.v), b = _mm256_castsi256_ps(upper.v);
  low = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)), 0xd8);
  high = _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd)), 0xd8);
}

// ---- comparisons and selection
PATHBOUND_HD m32x8 lt(f32x8 a, f32x8 b) { return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ))}; }
PATHBOUND_HD m32x8 le(f32x8 a, f32x8 b) { return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ))}; }
PATHBOUND_HD m32x8 eq(f32x8 a, f32x8 b) { return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ))}; }
PATHBOUND_HD m32x8 eq(u32x8 a, u32x8 b) { return {_mm256_cmpeq_epi32(a.v, b.v)}; }
PATHBOUND_HD m32x8 lt_unsigned(u32x8 a, u32x8 b) {
  const __m256i top = _mm256_set1_epi32(static_cast<int>(0x80000000u));
  return {_mm256_cmpgt_epi32(_mm256_xor_si256(b.v, top), _mm256_xor_si256(a.v, top))};
}
PATHBOUND_HD m64x4 lt(f64x4 a, f64x4 b) { return {_mm256_castpd_si256(_mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ))}; }
PATHBOUND_HD m64x4 le(f64x4 a, f64x4 b) { return {_mm256_castpd_si256(_mm256_cmp_pd(a.v, b.v, _CMP_LE_OQ))}; }
PATHBOUND_HD m64x4 eq(f64x4 a, f64x4 b) { return {_mm256_castpd_si256(_mm256_cmp_pd(a.v, b.v, _CMP_EQ_OQ))}; }
PATHBOUND_HD m64x4 eq(u64x4 a, u64x4 b) { return {_mm256_cmpeq_epi64(a.v, b.v)}; }
PATHBOUND_HD m64x4 lt_unsigned(u64x4 a, u64x4 b) { return {_mm256_cmpgt_epi64(b.v, a.v)}; }
PATHBOUND_HD f32x8 select(m32x8 m, f32x8 a, f32x8 b) { return _mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(m.v)); }
PATHBOUND_HD u32x8 select(m32x8 m, u32x8 a, u32x8 b) { return _mm256_blendv_epi8(b.v, a.v, m.v); }
PATHBOUND_HD f64x4 select(m64x4 m, f64x4 a, f64x4 b) { return _mm256_blendv_pd(b.v, a.v, _mm256_castsi256_pd(m.v)); }
PATHBOUND_HD u64x4 select(m64x4 m, u64x4 a, u64x4 b) { return _mm256_blendv_epi8(b.v, a.v, m.v); }
PATHBOUND_HD f32x8 zero_unless(m32x8 m, f32x8 a) { return _mm256_and_ps(a.v, _mm256_castsi256_ps(m.v)); }
PATHBOUND_HD f64x4 zero_unless(m64x4 m, f64x4 a) { return _mm256_and_pd(a.v, _mm256_castsi256_pd(m.v)); }
PATHBOUND_HD m32x8 mask_and(m32x8 a, m32x8 b) { return {_mm256_and_si256(a.v, b.v)}; }
PATHBOUND_HD m64x4 mask_and(m64x4 a, m64x4 b) { return {_mm256_and_si256(a.v, b.v)}; }
PATHBOUND_HD m32x8 mask_or(m32x8 a, m32x8 b) { return {_mm256_or_si256(a.v, b.v)}; }
PATHBOUND_HD m64x4 mask_or(m64x4 a, m64x4 b) { return {_mm256_or_si256(a.v, b.v)}; }
PATHBOUND_HD m32x8 mask_not(m32x8 a) { return {_mm256_xor_si256(a.v, _mm256_set1_epi32(-1))}; }
PATHBOUND_HD m64x4 mask_not(m64x4 a) { return {_mm256_xor_si256(a.v, _mm256_set1_epi32(-1))}; }
PATHBOUND_HD bool any(m32x8 m) { return _mm256_testz_si256(m.v, m.v) == 0; }
PATHBOUND_HD bool any(m64x4 m) { return _mm256_testz_si256(m.v, m.v) == 0; }
PATHBOUND_HD f32x8 select_top_bit(u32x8 s, f32x8 a, f32x8 b) {
  return _mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(s.v));
}
PATHBOUND_HD f64x4 select_top_bit(u64x4 s, f64x4 a, f64x4 b) {
  return _mm256_blendv_pd(b.v, a.v, _mm256_castsi256_pd(s.v));
}

template <>
PATHBOUND_HD void exchange_lanes<2>(f64x4 a, f64x4 b, f64x4& first, f64x4& second) {
  first = _mm256_blend_pd(a.v, b.v, 0xC);
  second = _mm256_permute2f128_pd(a.v, b.v, 0x21);
}
template <>
PATHBOUND_HD void exchange_lanes<1>(f64x4 a, f64x4 b, f64x4& first, f64x4& second) {
  first = _mm256_blend_pd(a.v, b.v, 0xA);
  second = _mm256_shuffle_pd(a.v, b.v, 0x5);
}

PATHBOUND_HD std::uint32_t mask_bits(m32x8 m) {
  return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(m.v)));
}
PATHBOUND_HD std::uint32_t mask_bits(m64x4 m) {
  return static_cast<std::uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(m.v)));
}

// ---- memory (no alignment needed)
template <>
PATHBOUND_HD f64x4 load_as_double<f64x4>(const float* p) {
  return _mm256_cvtps_pd(_mm_loadu_ps(p));
}
template <>
PATHBOUND_HD f64x4 load_as_double<f64x4>(const double* p) {
  return _mm256_loadu_pd(p);
}
template <>
PATHBOUND_HD f32x8 load<f32x8>(const float* p) {
  return _mm256_loadu_ps(p);
}
template <>
PATHBOUND_HD f32x8 gather<f32x8>(const float* base, u32x8 index) {
  return _mm256_i32gather_ps(base, index.v, 4);
}
template <>
PATHBOUND_HD f64x4 gather<f64x4>(const double* base, u64x4 index) {
  return _mm256_i64gather_pd(base, index.v, 8);
}
PATHBOUND_HD u32x8 gather_short(const std::uint16_t* base, u32x8 index, f32x8) {
  return _mm256_and_si256(_mm256_i32gather_epi32(reinterpret_cast<const int*>(base), index.v, 2),
                          _mm256_set1_epi32(0xffff));
}
PATHBOUND_HD u64x4 gather_short(const std::uint16_t* base, u64x4 index, f64x4) {
  return _mm256_and_si256(_mm256_i64gather_epi64(reinterpret_cast<const long long*>(base), index.v, 2),
                          _mm256_set1_epi64x(0xffff));
}
PATHBOUND_HD f32x8 lookup_sixteen(const float* table, u32x8 index, f32x8) {
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_load_ps(table), index.v);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_load_ps(table + 8), index.v);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index.v, 28)));
}
PATHBOUND_HD f64x4 lookup_sixteen(const double* table, u64x4 index, f64x4) {
  return _mm256_i64gather_pd(table, index.v, 8);
}
PATHBOUND_HD u32x8 gather_word(const std::uint32_t* base, u32x8 index, f32x8) {
  return _mm256_i32gather_epi32(reinterpret_cast<const int*>(base), index.v, 4);
}
PATHBOUND_HD u64x4 gather_word(const std::uint32_t* base, u64x4 index, f64x4) {
  return _mm256_cvtepu32_epi64(_mm256_i64gather_epi32(reinterpret_cast<const int*>(base), index.v, 4));
}
PATHBOUND_HD void store(float* p, f32x8 a) { _mm256_storeu_ps(p, a.v); }
PATHBOUND_HD u32x8 load_bits(const std::uint32_t* p, f32x8) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
PATHBOUND_HD void store_bits(std::uint32_t* p, u32x8 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
PATHBOUND_HD void store_narrow(std::uint16_t* p, u32x8 a, u32x8 b) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_packus_epi32(a.v, b.v));
}
template <>
PATHBOUND_HD f64x4 load<f64x4>(const double* p) {
  return _mm256_loadu_pd(p);
}
PATHBOUND_HD void store(double* p, f64x4 a) { _mm256_storeu_pd(p, a.v); }
PATHBOUND_HD u64x4 load_bits(const std::uint64_t* p, f64x4) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
PATHBOUND_HD void store_bits(std::uint64_t* p, u64x4 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v); }
}  // namespace PATHBOUND_ISA
}  // namespace pathbound
