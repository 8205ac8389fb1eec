// SPDX-License-Identifier: Apache-2.0
// The sum of the workers' messages in one draw (theory O10), for workers that are alike. Both forms are exact in law up
// to the rounding of a double.
//
// Signs. With p = 1/2 - Xi(|g|/s) <= 1/2 the chance that a worker's sign differs from the gradient's, the number K of
// those that do is Binomial(N, p). |g|/s falls into one of many narrow cells; for each the host has an alias table
// (Walker 1977) of the largest masses m(K), whole numbers of 2^-16, that lie below the binomial's everywhere in the
// cell. 16 random bits look K up there. What is missing, a chance of some 0.1%, is drawn from the rest, Binomial(N, p)
// - m, whose p is that of the path: so K has the law it should have for every p, though the usual draw needs neither p
// nor its law's distribution function, and costs the same for every law and every N.
//
// Counts. How many workers keep a coordinate is a sum of memberships in random subsets (rand_k), or Binomial(N, p) with
// one p (bernoulli); the sum of the Gaussian noise of c workers is sqrt(c) times that of one.
#pragma once
#include "kernels/compressors.hpp"
#include "kernels/math.hpp"
#include "kernels/spec.hpp"
#include "kernels/xi.hpp"

namespace pathbound {

inline namespace PATHBOUND_ISA {

/// Which row of a table of 2^bits columns |g| falls into, scaled = |g| unit / s. NaN goes to the last.
template <class F>
PATHBOUND_HD BitsOf<F> sign_row(int bits, F scaled, ScalarOf<F> cap) {
  using S = ScalarOf<F>;
  const int shift = math_detail::mantissa_bits<F> - sign_octave_bits(bits);
  const F t = min(scaled + F(S(1)), F(cap));
  return shr(as_bits(t) - as_bits(F(S(1))), shift);
}

/// What 16 random bits of the table's row stand for: a number of rare signs, or rare_code(bits).
template <class F>
PATHBOUND_HD BitsOf<F> sign_code(int bits, const std::uint16_t* entries, BitsOf<F> row, BitsOf<F> sixteen) {
  const int below = 16 - bits;
  const BitsOf<F> column = shr(sixteen, below);
  const BitsOf<F> entry = gather_short(entries, shl(row, bits) + column, F());
  const BitsOf<F> place = sixteen & math_detail::bits<F>((1u << below) - 1u);
  return select(lt_unsigned(place, shr(entry, bits)), column, entry & math_detail::bits<F>((1u << bits) - 1u));
}

/// N - 2 K with the sign of g; 0 for rare_code.
template <class F>
PATHBOUND_HD F sign_sum(BitsOf<F> code, MaskOf<F> rare, int workers, F g) {
  const F sum = fma(real<F>(-2.0), int_to_real(code), real<F>(workers));
  return zero_unless(mask_not(rare), math_detail::flip_sign(sum, as_bits(g)));
}

namespace marginal_detail {

/// x^n for n >= 0.
PATHBOUND_HD double whole_power(double x, int n) {
  double r = 1.0;
  for (; n > 0; n >>= 1) {
    if ((n & 1) != 0) r = r * x;
    x = x * x;
  }
  return r;
}

}  // namespace marginal_detail

/// K from the rest, Binomial(N, p(y)) - m: by inversion, in the order mode, mode + 1, mode - 1, mode + 2, ...
/// masses: of the row, 2^bits numbers, the last the mass of the rest. word: a random word of its own.
PATHBOUND_HD_RARE int rare_signs(const XiTable<double>& xi, double y, int workers, const std::uint16_t* masses,
                                 int bits, const double* binomials, std::uint32_t word) {
  const double p = max(0.5 - xi_of<double>(xi, y).xi, 0.0), q = 1.0 - p;
  const auto rest = [&](int k, double chance) {
    const double m = k < rare_code(bits) ? static_cast<double>(masses[k]) * 0x1p-16 : 0.0;
    return max(chance - m, 0.0);
  };
  double left = (static_cast<double>(word) + 0.5) * 0x1p-32 * (static_cast<double>(masses[rare_code(bits)]) * 0x1p-16);
  const int mode = static_cast<int>(static_cast<double>(workers + 1) * p);
  // Of p^k q^(N - k), going up and down from the mode. (p = 0 has the mode 0, from where nothing goes down.)
  double up = marginal_detail::whole_power(p, mode) * marginal_detail::whole_power(q, workers - mode), down = up;
  const double odds = p / q, against = q / p;
  double r = rest(mode, binomials[mode] * up);
  if (left < r) return mode;
  left = left - r;
  int last = mode;  // with any rest, should rounding leave something over
  for (int i = 1; i <= workers; ++i) {
    const int above = mode + i, below = mode - i;
    if (above <= workers) {
      up = up * odds;
      r = rest(above, binomials[above] * up);
      if (left < r) return above;
      if (r > 0.0) last = above;
      left = left - r;
    }
    if (below >= 0) {
      down = down * against;
      r = rest(below, binomials[below] * down);
      if (left < r) return below;
      if (r > 0.0) last = below;
      left = left - r;
    }
  }
  return last;
}

/// A single word of a purpose. (Chosen without an index: on a device that would need an array in memory.)
PATHBOUND_HD_RARE std::uint32_t random_word(std::uint64_t seed, std::uint64_t path, Purpose purpose,
                                            std::uint64_t number) {
  std::uint32_t words[4];
  philox_block(seed, path, first_block(purpose) + number / 4, words);
  const bool upper = (number & 2) != 0, odd = (number & 1) != 0;
  return odd ? (upper ? words[3] : words[1]) : (upper ? words[2] : words[0]);
}

/// A coordinate's sum of signs where the table leaves it open. scaled: |g| unit / s, as for its row; number: of the
/// coordinate among those of all steps and groups of the path.
template <class R>
PATHBOUND_HD R rare_sign_sum(const MarginalSpec<R>& spec, const MarginalGroup<R>& group, std::uint64_t seed,
                             std::uint64_t path, std::uint64_t number, R scaled, R g) {
  const std::int64_t row = static_cast<std::int64_t>(sign_row<R>(group.bits, scaled, group.cap)) << group.bits;
  const double y = static_cast<double>(scaled) / static_cast<double>(group.unit);
  const int k = rare_signs(spec.xi, y, group.workers, spec.masses + group.entries + row, group.bits,
                           spec.binomials + group.binomials, random_word(seed, path, Purpose::rare_signs, number));
  return sign_sum<R>(static_cast<BitsOf<R>>(k), false, group.workers, g);
}

/// Binomial(N, p) with one p: the entry of 32 random bits in an alias table of 64 (the upper 26 bits: how much of the
/// column is its own), total variation at most 2^-26.
template <class F>
PATHBOUND_HD BitsOf<F> count_of(const std::uint32_t* entries, BitsOf<F> word) {
  const BitsOf<F> column = shr(word, 26);
  const BitsOf<F> entry = gather_word(entries, column, F());
  const BitsOf<F> place = word & math_detail::bits<F>((1u << 26) - 1u);
  return select(lt_unsigned(place, shr(entry, 6)), column, entry & math_detail::bits<F>(63u));
}

/// The word that a subset's digits are made of. floor(w bound / 2^32) is what they hold together; where the bits after
/// it, low, leave it open whether 32 bits more would carry, those are looked at. So the digits are uniform to a total
/// variation of bound 2^-64.
PATHBOUND_HD bool subset_word_is_open(std::uint32_t low, std::uint32_t bound) { return low >= 0u - bound; }
PATHBOUND_HD_RARE std::uint32_t extended_subset_word(std::uint32_t word, std::uint32_t bound, std::uint64_t seed,
                                                     std::uint64_t path, std::uint64_t number) {
  const std::uint64_t more = random_word(seed, path, Purpose::subset_extension, number);
  const std::uint64_t carried = (more * bound) >> 32;
  return word + static_cast<std::uint32_t>((static_cast<std::uint64_t>(word * bound) + carried) >> 32);
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
