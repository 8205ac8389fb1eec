// SPDX-License-Identifier: Apache-2.0
// SIMD packs for AVX-512 (F, BW, DQ, VL): 16 floats or 8 doubles.
#pragma once
#include <immintrin.h>

#include "kernels/real.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// Truth values: one bit a lane.
struct m32x16 {
  __mmask16 v;
};
struct m64x8 {
  __mmask8 v;
};

struct f32x16 {
  __m512 v;
  f32x16() = default;
  PATHBOUND_HD f32x16(__m512 a) : v(a) {}
  PATHBOUND_HD explicit f32x16(float a) : v(_mm512_set1_ps(a)) {}
};

struct f64x8 {
  __m512d v;
  f64x8() = default;
  PATHBOUND_HD f64x8(__m512d a) : v(a) {}
  PATHBOUND_HD explicit f64x8(double a) : v(_mm512_set1_pd(a)) {}
};

struct u32x16 {
  __m512i v;
  u32x16() = default;
  PATHBOUND_HD u32x16(__m512i a) : v(a) {}
  PATHBOUND_HD explicit u32x16(std::uint32_t a) : v(_mm512_set1_epi32(static_cast<int>(a))) {}
};
struct u64x8 {
  __m512i v;
  u64x8() = default;
  PATHBOUND_HD u64x8(__m512i a) : v(a) {}
  PATHBOUND_HD explicit u64x8(std::uint64_t a) : v(_mm512_set1_epi64(static_cast<long long>(a))) {}
};

template <>
struct RealTraits<f32x16> {
  using Scalar = float;
  using Double = f64x8;
  using Bits = u32x16;
  using Mask = m32x16;
  static constexpr int lanes = 16;
};
template <>
struct RealTraits<f64x8> {
  using Scalar = double;
  using Double = f64x8;
  using Bits = u64x8;
  using Mask = m64x8;
  static constexpr int lanes = 8;
};

// ---- arithmetic
PATHBOUND_HD f32x16 operator+(f32x16 a, f32x16 b) { return _mm512_add_ps(a.v, b.v); }
PATHBOUND_HD f32x16 operator-(f32x16 a, f32x16 b) { return _mm512_sub_ps(a.v, b.v); }
PATHBOUND_HD f32x16 operator*(f32x16 a, f32x16 b) { return _mm512_mul_ps(a.v, b.v); }
PATHBOUND_HD f32x16 operator/(f32x16 a, f32x16 b) { return _mm512_div_ps(a.v, b.v); }
PATHBOUND_HD f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
PATHBOUND_HD f32x16 sqrt(f32x16 a) { return _mm512_sqrt_ps(a.v); }
PATHBOUND_HD f32x16 min(f32x16 a, f32x16 b) { return _mm512_min_ps(a.v, b.v); }
PATHBOUND_HD f32x16 max(f32x16 a, f32x16 b) { return _mm512_max_ps(a.v, b.v); }
PATHBOUND_HD f64x8 operator+(f64x8 a, f64x8 b) { return _mm512_add_pd(a.v, b.v); }
PATHBOUND_HD f64x8 operator-(f64x8 a, f64x8 b) { return _mm512_sub_pd(a.v, b.v); }
PATHBOUND_HD f64x8 operator*(f64x8 a, f64x8 b) { return _mm512_mul_pd(a.v, b.v); }
PATHBOUND_HD f64x8 operator/(f64x8 a, f64x8 b) { return _mm512_div_pd(a.v, b.v); }
PATHBOUND_HD f64x8 fma(f64x8 a, f64x8 b, f64x8 c) { return _mm512_fmadd_pd(a.v, b.v, c.v); }
PATHBOUND_HD f64x8 sqrt(f64x8 a) { return _mm512_sqrt_pd(a.v); }
PATHBOUND_HD f64x8 min(f64x8 a, f64x8 b) { return _mm512_min_pd(a.v, b.v); }
PATHBOUND_HD f64x8 max(f64x8 a, f64x8 b) { return _mm512_max_pd(a.v, b.v); }
PATHBOUND_HD u32x16 as_bits(f32x16 a) { return _mm512_castps_si512(a.v); }
template <>
PATHBOUND_HD f32x16 from_bits<f32x16>(u32x16 u) {
  return _mm512_castsi512_ps(u.v);
}
PATHBOUND_HD u64x8 as_bits(f64x8 a) { return _mm512_castpd_si512(a.v); }
template <>
PATHBOUND_HD f64x8 from_bits<f64x8>(u64x8 u) {
  return _mm512_castsi512_pd(u.v);
}
PATHBOUND_HD f32x16 abs(f32x16 a) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7fffffff)));
}
PATHBOUND_HD f64x8 abs(f64x8 a) {
  return _mm512_castsi512_pd(_mm512_and_si512(_mm512_castpd_si512(a.v), _mm512_set1_epi64(0x7fffffffffffffffll)));
}

// ---- integers
PATHBOUND_HD u32x16 operator+(u32x16 a, u32x16 b) { return _mm512_add_epi32(a.v, b.v); }
PATHBOUND_HD u32x16 operator-(u32x16 a, u32x16 b) { return _mm512_sub_epi32(a.v, b.v); }
PATHBOUND_HD u32x16 operator&(u32x16 a, u32x16 b) { return _mm512_and_si512(a.v, b.v); }
PATHBOUND_HD u32x16 operator|(u32x16 a, u32x16 b) { return _mm512_or_si512(a.v, b.v); }
PATHBOUND_HD u32x16 operator^(u32x16 a, u32x16 b) { return _mm512_xor_si512(a.v, b.v); }
PATHBOUND_HD u32x16 shl(u32x16 a, int n) { return _mm512_slli_epi32(a.v, static_cast<unsigned>(n)); }
PATHBOUND_HD u32x16 shr(u32x16 a, int n) { return _mm512_srli_epi32(a.v, static_cast<unsigned>(n)); }
PATHBOUND_HD u32x16 shl_each(u32x16 a, u32x16 n) { return _mm512_sllv_epi32(a.v, n.v); }
PATHBOUND_HD u64x8 operator+(u64x8 a, u64x8 b) { return _mm512_add_epi64(a.v, b.v); }
PATHBOUND_HD u64x8 operator-(u64x8 a, u64x8 b) { return _mm512_sub_epi64(a.v, b.v); }
PATHBOUND_HD u64x8 operator&(u64x8 a, u64x8 b) { return _mm512_and_si512(a.v, b.v); }
PATHBOUND_HD u64x8 operator|(u64x8 a, u64x8 b) { return _mm512_or_si512(a.v, b.v); }
PATHBOUND_HD u64x8 operator^(u64x8 a, u64x8 b) { return _mm512_xor_si512(a.v, b.v); }
PATHBOUND_HD u64x8 shl(u64x8 a, int n) { return _mm512_slli_epi64(a.v, static_cast<unsigned>(n)); }
PATHBOUND_HD u64x8 shr(u64x8 a, int n) { return _mm512_srli_epi64(a.v, static_cast<unsigned>(n)); }
PATHBOUND_HD u64x8 shl_each(u64x8 a, u64x8 n) { return _mm512_sllv_epi64(a.v, n.v); }
PATHBOUND_HD u32x16 operator*(u32x16 a, u32x16 b) { return _mm512_mullo_epi32(a.v, b.v); }
PATHBOUND_HD f32x16 int_to_real(u32x16 a) { return _mm512_cvtepi32_ps(a.v); }
PATHBOUND_HD f64x8 int_to_real(u64x8 a) { return _mm512_cvtepi64_pd(a.v); }
PATHBOUND_HD f64x8 uint53_to_real(u64x8 a) { return _mm512_cvtepi64_pd(a.v); }
PATHBOUND_HD void mul_wide(u32x16 a, std::uint32_t m, u32x16& hi, u32x16& lo) {
  const __m512i mm = _mm512_set1_epi32(static_cast<int>(m));
  const __m512i even = _mm512_mul_epu32(a.v, mm);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), mm);
  lo = _mm512_mask_shuffle_epi32(even, 0xAAAA, odd, static_cast<_MM_PERM_ENUM>(0xA0));
  hi = _mm512_mask_shuffle_epi32(odd, 0x5555, even, static_cast<_MM_PERM_ENUM>(0xF5));
}
PATHBOUND_HD void mul_wide(u64x8 a, std::uint32_t m, u64x8& hi, u64x8& lo) {
  lo = _mm512_mul_epu32(a.v, _mm512_set1_epi64(static_cast<long long>(m)));
  hi = _mm512_srli_epi64(lo.v, 32);
}
/// Products of the low words.
PATHBOUND_HD u64x8 mul_words(u64x8 a, u64x8 b) { return _mm512_mul_epu32(a.v, b.v); }
PATHBOUND_HD m64x8 no_common_bit(u64x8 a, u64x8 b) { return {_mm512_testn_epi64_mask(a.v, b.v)}; }
/// Zero-extended: lanes of the lower half of a, and of the upper half.
PATHBOUND_HD void widen(u32x16 a, u64x8& lower, u64x8& upper) {
  lower = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(a.v));
  upper = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(a.v, 1));
}
/// The low and the high words of what widen() made.
PATHBOUND_HD void narrow(u64x8 lower, u64x8 upper, u32x16& low, u32x16& high) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  low = _mm512_permutex2var_epi32(lower.v, even, upper.v);
  high = _mm512_permutex2var_epi32(lower.v, _mm512_add_epi32(even, _mm512_set1_epi32(1)), upper.v);
}

// ---- comparisons and selection
PATHBOUND_HD m32x16 lt(f32x16 a, f32x16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
PATHBOUND_HD m32x16 le(f32x16 a, f32x16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
PATHBOUND_HD m32x16 eq(f32x16 a, f32x16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
PATHBOUND_HD m32x16 eq(u32x16 a, u32x16 b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
PATHBOUND_HD m32x16 lt_unsigned(u32x16 a, u32x16 b) { return {_mm512_cmplt_epu32_mask(a.v, b.v)}; }
PATHBOUND_HD m64x8 lt(f64x8 a, f64x8 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ)}; }
PATHBOUND_HD m64x8 le(f64x8 a, f64x8 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ)}; }
PATHBOUND_HD m64x8 eq(f64x8 a, f64x8 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)}; }
PATHBOUND_HD m64x8 eq(u64x8 a, u64x8 b) { return {_mm512_cmpeq_epi64_mask(a.v, b.v)}; }
PATHBOUND_HD m64x8 lt_unsigned(u64x8 a, u64x8 b) { return {_mm512_cmplt_epu64_mask(a.v, b.v)}; }
PATHBOUND_HD f32x16 select(m32x16 m, f32x16 a, f32x16 b) { return _mm512_mask_blend_ps(m.v, b.v, a.v); }
PATHBOUND_HD u32x16 select(m32x16 m, u32x16 a, u32x16 b) { return _mm512_mask_blend_epi32(m.v, b.v, a.v); }
PATHBOUND_HD f64x8 select(m64x8 m, f64x8 a, f64x8 b) { return _mm512_mask_blend_pd(m.v, b.v, a.v); }
PATHBOUND_HD u64x8 select(m64x8 m, u64x8 a, u64x8 b) { return _mm512_mask_blend_epi64(m.v, b.v, a.v); }
PATHBOUND_HD f32x16 zero_unless(m32x16 m, f32x16 a) { return _mm512_maskz_mov_ps(m.v, a.v); }
PATHBOUND_HD f64x8 zero_unless(m64x8 m, f64x8 a) { return _mm512_maskz_mov_pd(m.v, a.v); }
PATHBOUND_HD m32x16 mask_and(m32x16 a, m32x16 b) { return {static_cast<__mmask16>(a.v & b.v)}; }
PATHBOUND_HD m64x8 mask_and(m64x8 a, m64x8 b) { return {static_cast<__mmask8>(a.v & b.v)}; }
PATHBOUND_HD m32x16 mask_or(m32x16 a, m32x16 b) { return {static_cast<__mmask16>(a.v | b.v)}; }
PATHBOUND_HD m64x8 mask_or(m64x8 a, m64x8 b) { return {static_cast<__mmask8>(a.v | b.v)}; }
PATHBOUND_HD m32x16 mask_not(m32x16 a) { return {static_cast<__mmask16>(~a.v)}; }
PATHBOUND_HD m64x8 mask_not(m64x8 a) { return {static_cast<__mmask8>(~a.v)}; }
PATHBOUND_HD bool any(m32x16 m) { return m.v != 0; }
PATHBOUND_HD bool any(m64x8 m) { return m.v != 0; }
PATHBOUND_HD f32x16 select_top_bit(u32x16 s, f32x16 a, f32x16 b) {
  return _mm512_mask_blend_ps(_mm512_movepi32_mask(s.v), b.v, a.v);
}
PATHBOUND_HD f64x8 select_top_bit(u64x8 s, f64x8 a, f64x8 b) {
  return _mm512_mask_blend_pd(_mm512_movepi64_mask(s.v), b.v, a.v);
}

template <>
PATHBOUND_HD void exchange_lanes<4>(f64x8 a, f64x8 b, f64x8& first, f64x8& second) {
  first = _mm512_mask_blend_pd(0xF0, a.v, b.v);
  second = _mm512_shuffle_f64x2(a.v, b.v, 0x4E);
}
template <>
PATHBOUND_HD void exchange_lanes<2>(f64x8 a, f64x8 b, f64x8& first, f64x8& second) {
  first = _mm512_mask_blend_pd(0xCC, a.v, b.v);
  second = _mm512_permutex2var_pd(a.v, _mm512_setr_epi64(2, 3, 8, 9, 6, 7, 12, 13), b.v);
}
template <>
PATHBOUND_HD void exchange_lanes<1>(f64x8 a, f64x8 b, f64x8& first, f64x8& second) {
  first = _mm512_mask_blend_pd(0xAA, a.v, b.v);
  second = _mm512_shuffle_pd(a.v, b.v, 0x55);
}

PATHBOUND_HD std::uint32_t mask_bits(m32x16 m) { return m.v; }
PATHBOUND_HD std::uint32_t mask_bits(m64x8 m) { return m.v; }

// ---- memory (no alignment needed)
template <>
PATHBOUND_HD f64x8 load_as_double<f64x8>(const float* p) {
  return _mm512_cvtps_pd(_mm256_loadu_ps(p));
}
template <>
PATHBOUND_HD f64x8 load_as_double<f64x8>(const double* p) {
  return _mm512_loadu_pd(p);
}
template <>
PATHBOUND_HD f32x16 load<f32x16>(const float* p) {
  return _mm512_loadu_ps(p);
}
template <>
PATHBOUND_HD f32x16 gather<f32x16>(const float* base, u32x16 index) {
  return _mm512_i32gather_ps(index.v, base, 4);
}
template <>
PATHBOUND_HD f64x8 gather<f64x8>(const double* base, u64x8 index) {
  return _mm512_i64gather_pd(index.v, base, 8);
}
PATHBOUND_HD u32x16 gather_short(const std::uint16_t* base, u32x16 index, f32x16) {
  return _mm512_and_si512(_mm512_i32gather_epi32(index.v, base, 2), _mm512_set1_epi32(0xffff));
}
PATHBOUND_HD u64x8 gather_short(const std::uint16_t* base, u64x8 index, f64x8) {
  return _mm512_and_si512(_mm512_i64gather_epi64(index.v, base, 2), _mm512_set1_epi64(0xffff));
}
PATHBOUND_HD f32x16 lookup_sixteen(const float* table, u32x16 index, f32x16) {
  return _mm512_permutexvar_ps(index.v, _mm512_load_ps(table));
}
PATHBOUND_HD f64x8 lookup_sixteen(const double* table, u64x8 index, f64x8) {
  return _mm512_permutex2var_pd(_mm512_load_pd(table), index.v, _mm512_load_pd(table + 8));
}
PATHBOUND_HD u32x16 gather_word(const std::uint32_t* base, u32x16 index, f32x16) {
  return _mm512_i32gather_epi32(index.v, base, 4);
}
PATHBOUND_HD u64x8 gather_word(const std::uint32_t* base, u64x8 index, f64x8) {
  return _mm512_cvtepu32_epi64(_mm512_i64gather_epi32(index.v, base, 4));
}
PATHBOUND_HD void store(float* p, f32x16 a) { _mm512_storeu_ps(p, a.v); }
PATHBOUND_HD u32x16 load_bits(const std::uint32_t* p, f32x16) { return _mm512_loadu_si512(p); }
PATHBOUND_HD void store_bits(std::uint32_t* p, u32x16 a) { _mm512_storeu_si512(p, a.v); }
PATHBOUND_HD void store_narrow(std::uint16_t* p, u32x16 a, u32x16 b) {
  _mm512_storeu_si512(p, _mm512_packus_epi32(a.v, b.v));
}
template <>
PATHBOUND_HD f64x8 load<f64x8>(const double* p) {
  return _mm512_loadu_pd(p);
}
PATHBOUND_HD void store(double* p, f64x8 a) { _mm512_storeu_pd(p, a.v); }
PATHBOUND_HD u64x8 load_bits(const std::uint64_t* p, f64x8) { return _mm512_loadu_si512(p); }
PATHBOUND_HD void store_bits(std::uint64_t* p, u64x8 a) { _mm512_storeu_si512(p, a.v); }
}  // namespace PATHBOUND_ISA
}  // namespace pathbound
