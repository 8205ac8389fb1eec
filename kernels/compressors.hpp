// SPDX-License-Identifier: Apache-2.0
// Compressors C(g) with E C(g) = g (theory section 2). Each decides, for one worker and step, which coordinates of
// which paths are kept; the factor of a kept coordinate stands in WorkerSpec::inverse_keep.
#pragma once
#include "kernels/sampling.hpp"
#include "kernels/spec.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// Coordinates a lane's integer can hold.
template <class F>
inline constexpr int bits_per_lane = static_cast<int>(8 * sizeof(ScalarOf<F>));

/// Uniforms a rand_k worker draws in a step: Floyd's algorithm chooses the smaller of the kept and the dropped set.
PATHBOUND_HD int rand_k_uniforms(int dim, int keep) { return keep < dim - keep ? keep : dim - keep; }

/// rand_k: a uniformly distributed subset of `keep` of dim coordinates as bit masks, one word of randomness for each
/// member of the smaller side. Floyd's algorithm (Bentley and Floyd 1987): for j = dim - m .. dim - 1 take
/// t = floor(w (j+1) / 2^32), insert t, or j if t is in. A digit t is uniform on 0..j up to a total variation of at
/// most (j+1) / 2^34.
///
/// mask: rows of lane-wide integers, bit b of row r belongs to coordinate r * bits_per_lane + b.
/// Returns whether a set bit means "kept" (else it means "dropped").
template <class F, int P, class Words>
PATHBOUND_HD bool choose_subset(int dim, int keep, Words& words, BitsOf<ScalarOf<F>>* mask) {
  using Bits = BitsOf<F>;
  using Word = BitsOf<ScalarOf<F>>;
  constexpr int width = Rows<F, P>::width;
  constexpr int lanes = RealTraits<F>::lanes;
  constexpr int bits = bits_per_lane<F>;
  const bool inverted = keep > dim - keep;
  const int m = rand_k_uniforms(dim, keep);
  const int rows = (dim + bits - 1) / bits;
  for (int i = 0; i < rows * width; ++i) mask[i] = Word(0);
  int j = dim - m;
  while (j < dim) {
    int got;
    const Word* w = words.take(dim - j, got);
    if (rows <= 2) {
      for (int i = 0; i < got; ++i, ++j) {
        const Bits j_low(j < bits ? Word(Word(1) << (j % bits)) : Word(0));
        const Bits j_high(j < bits ? Word(0) : Word(Word(1) << (j % bits)));
        PATHBOUND_UNROLL
        for (int p = 0; p < P; ++p) {
          Word* low = mask + p * lanes;
          Word* high = mask + width + p * lanes;
          Bits t, rest;
          mul_wide(load_bits(w + i * width + p * lanes, F()), static_cast<std::uint32_t>(j + 1), t, rest);
          const Bits t_low = shl_each(Bits(Word(1)), t);
          Bits m_low = load_bits(low, F());
          if (rows == 1) {
            const auto is_new = eq(m_low & t_low, Bits(Word(0)));
            store_bits(low, m_low | select(is_new, t_low, j_low));
          } else {
            const Bits t_high = shl_each(Bits(Word(1)), t - Bits(Word(bits)));
            Bits m_high = load_bits(high, F());
            const auto is_new = eq((m_low & t_low) | (m_high & t_high), Bits(Word(0)));
            store_bits(low, m_low | select(is_new, t_low, j_low));
            store_bits(high, m_high | select(is_new, t_high, j_high));
          }
        }
      }
    } else {
      // Many mask rows: each path looks into its own row, so lane by lane.
      for (int i = 0; i < got; ++i, ++j) {
        for (int lane = 0; lane < width; ++lane) {
          const std::uint64_t product =
              static_cast<std::uint64_t>(w[i * width + lane]) * static_cast<std::uint32_t>(j + 1);
          int t = static_cast<int>(product >> 32);
          if (((mask[(t / bits) * width + lane] >> (t % bits)) & 1) != 0) t = j;
          mask[(t / bits) * width + lane] |= Word(Word(1) << (t % bits));
        }
      }
    }
  }
  return !inverted;
}

/// `value` where coordinate j's bit of the mask is set (or, with set_means_kept = false, is not set), else +0.
template <class F>
PATHBOUND_HD F keep_coordinate(const BitsOf<ScalarOf<F>>* mask_row, int bit, bool set_means_kept, F value) {
  const BitsOf<F> top = shl(load_bits(mask_row, F()), bits_per_lane<F> - 1 - bit);
  const F zero = real<F>(0.0);
  return set_means_kept ? select_top_bit(top, value, zero) : select_top_bit(top, zero, value);
}

/// bernoulli: kept when the word is at most keep_below, with probability (keep_below + 1) / 2^32.
template <class F>
PATHBOUND_HD F keep_bernoulli(const BitsOf<ScalarOf<F>>* words, std::uint32_t keep_below, F value) {
  using Word = BitsOf<ScalarOf<F>>;
  const auto dropped = lt_unsigned(BitsOf<F>(Word(keep_below)), load_bits(words, F()));
  return zero_unless(mask_not(dropped), value);
}

/// The uniform in (0, 1) of a compressor's word: as `uniform` in float; (w + 1/2) 2^-32 in double.
template <class F>
PATHBOUND_HD F word_uniform(BitsOf<F> word) {
  if constexpr (sizeof(ScalarOf<F>) == 4) {
    return uniform<F>(word);
  } else {
    return (uint53_to_real(word) + real<F>(0.5)) * real<F>(0x1p-32);
  }
}

/// The keys that top_k orders by: the bits of |v|.
template <class F>
PATHBOUND_HD BitsOf<F> size_bits(F v) {
  return as_bits(abs(v));
}

/// top_k: calls use(j, v) with v = get(j) for the k coordinates that are largest in size, of equal ones those with the
/// smallest j, and with 0 for the others. The k-th largest size is found bit by bit, so that every lane of a pack takes
/// the same steps.
template <class F, class Get, class Use>
PATHBOUND_HD void keep_largest(int dim, int k, Get&& get, Use&& use) {
  using Word = BitsOf<ScalarOf<F>>;
  const BitsOf<F> zero(Word(0)), one(Word(1)), wanted(static_cast<Word>(k));
  const auto count = [&](BitsOf<F> least) {
    BitsOf<F> n = zero;
    for (int j = 0; j < dim; ++j) n = n + select(lt_unsigned(size_bits(get(j)), least), zero, one);
    return n;
  };
  BitsOf<F> kth = zero;
  for (int bit = bits_per_lane<F> - 2; bit >= 0; --bit) {
    const BitsOf<F> least = kth | BitsOf<F>(static_cast<Word>(Word(1) << bit));
    kth = select(lt_unsigned(count(least), wanted), kth, least);
  }
  BitsOf<F> left = wanted - count(kth + one);  // of those equal to the k-th
  for (int j = 0; j < dim; ++j) {
    const F v = get(j);
    const BitsOf<F> key = size_bits(v);
    const auto equal = mask_and(eq(key, kth), lt_unsigned(zero, left));
    const auto kept = mask_or(lt_unsigned(kth, key), equal);
    left = left - select(equal, one, zero);
    use(j, zero_unless(kept, v));
  }
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
