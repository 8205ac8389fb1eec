// SPDX-License-Identifier: Apache-2.0
// The marginal forms (marginal.hpp) on the packs of a block of 32 paths.
#pragma once
#include "kernels/marginal.hpp"
#include "kernels/sampling.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// What a digit t in 0 .. j of a subset needs of j < 64, in memory, from where it is in all lanes at no cost.
struct DigitConstants {
  std::uint64_t values, bit;  ///< j + 1, 2^j
};
struct DigitTable {
  DigitConstants of[64];
};
constexpr DigitTable make_digit_table() {
  DigitTable table{};
  for (unsigned j = 0; j < 64; ++j) table.of[j] = {j + 1u, std::uint64_t{1} << j};
  return table;
}
inline constexpr DigitTable digit_constants = make_digit_table();

/// Rows of working memory (as workspace_rows): bit planes of the counts and, for several groups, the coefficients of
/// gradient and noise.
template <class R>
PATHBOUND_HD std::int64_t marginal_rows(const SimSpec<R>& spec) {
  if (spec.marginal.kind != MarginalKind::counts) return 0;
  const std::int64_t dim = spec.objective.dim, masks = (dim + 31) / 32;
  return 5 * masks + (spec.marginal.n_groups > 1 ? 2 * dim : 0);
}

template <class F, int P>
class MarginalRun {
 public:
  using R = ScalarOf<F>;
  using Word = BitsOf<R>;
  using Bits = BitsOf<F>;
  static constexpr int width = Rows<F, P>::width;
  static constexpr int lanes = RealTraits<F>::lanes;

  /// rows: marginal_rows().
  PATHBOUND_HD void init(const SimSpec<R>& spec, std::uint64_t block, const Bits path_low[P], std::uint32_t path_high,
                         R* rows) {
    spec_ = &spec;
    first_path_ = block * static_cast<std::uint64_t>(width);
    const bool signs = spec.marginal.kind == MarginalKind::signs;
    words_.init(spec.seed, path_low, path_high, signs ? Purpose::gradient_noise : Purpose::compressor);
    const std::int64_t masks = (spec.objective.dim + 31) / 32;
    planes_ = reinterpret_cast<Word*>(rows);
    mask_ = planes_ + 4 * masks * width;
    slope_ = rows + 5 * masks * width;
    variance_ = slope_ + static_cast<std::int64_t>(spec.objective.dim) * width;
  }

  // ------------------------------------------------------------------ signs
  /// use(j, p, s): s the sum of the signs of the group's workers of coordinate j, pack p; then, where the table
  /// left it open and s was 0, correct(j, slot, s). mean_square: |grad f|^2 / dim of each path, affine noise
  /// only.
  template <class Use, class Correct>
  PATHBOUND_HD void signs(const R* g, const R* mean_square, Use&& use, Correct&& correct) {
    for (int i = 0; i < spec_->marginal.n_groups; ++i) {
      const MarginalGroup<R>& group = spec_->marginal.groups[i];
      for (int p = 0; p < P; ++p) {
        F inverse(group.inverse);
        if (spec_->affine)
          inverse = F(group.unit) / sqrt(fma(F(group.affine_sq), load<F>(mean_square + p * lanes), F(group.scale_sq)));
        store(inverse_ + p * lanes, inverse);
      }
      if (group.bits == 4)
        signs_of_group<4>(group, g, use, correct);
      else if (group.bits == 5)
        signs_of_group<5>(group, g, use, correct);
      else
        signs_of_group<6>(group, g, use, correct);
      number_ += static_cast<std::uint64_t>(spec_->objective.dim);
    }
  }

  // ------------------------------------------------------------------ counts
  /// use(j, p, sum): sum of the workers' messages; noise: hands out the rows of normals.
  template <class Noise, class Use>
  PATHBOUND_HD void counts(const R* g, const R* mean_square, Noise& noise, Use&& use) {
    const int n = spec_->marginal.n_groups;
    for (int i = 0; i < n; ++i) {
      const MarginalGroup<R>& group = spec_->marginal.groups[i];
      if (spec_->compressor == CompressorKind::rand_k) choose_subsets(group);
      const bool first = i == 0, last = i + 1 == n;
      if (first && last)
        counts_of_group<true, true>(group, g, mean_square, noise, use);
      else if (first)
        counts_of_group<true, false>(group, g, mean_square, noise, use);
      else if (last)
        counts_of_group<false, true>(group, g, mean_square, noise, use);
      else
        counts_of_group<false, false>(group, g, mean_square, noise, use);
    }
  }

 private:
  template <int bits, class Use, class Correct>
  PATHBOUND_HD_CALL void signs_of_group(const MarginalGroup<R>& group, const R* g, Use&& use, Correct&& correct) {
    const int dim = spec_->objective.dim;
    const std::uint16_t* entries = spec_->marginal.entries + group.entries;
    F inverse[P];
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) inverse[p] = load<F>(inverse_ + p * lanes);
    const Bits low_half(Word(0xffffu));
    const auto one = [&](int j, int p, Bits sixteen, F& sum) {
      const F v = load<F>(g + j * width + p * lanes);
      const Bits code = sign_code<F>(bits, entries, sign_row<F>(bits, abs(v) * inverse[p], group.cap), sixteen);
      const MaskOf<F> rare = eq(code, math_detail::bits<F>(rare_code(bits)));
      sum = sign_sum<F>(code, rare, group.workers, v);
      return mask_bits(rare) << (p * lanes);
    };
    for (int j = 0; j < dim;) {
      int got;
      const Word* w = words_.take((dim - j + 1) / 2, got);
      for (int row = 0; row < got; ++row, w += width) {
        for (int half = 0; half < 2 && j < dim; ++half, ++j) {
          std::uint32_t open = 0;
          PATHBOUND_UNROLL
          for (int p = 0; p < P; ++p) {
            const Bits word = load_bits(w + p * lanes, F());
            F sum;
            open |= one(j, p, half == 0 ? word & low_half : shr(word, 16), sum);
            use(j, p, sum);
          }
          if (open != 0) draw_rest(group, j, open, g, correct);
        }
      }
    }
  }

  template <class Correct>
  PATHBOUND_HD_CALL void draw_rest(const MarginalGroup<R>& group, int j, std::uint32_t open, const R* g,
                                   Correct&& correct) {
    for (; open != 0; open &= open - 1) {
      const int slot = __builtin_ctz(open);
      const R v = g[j * width + slot];
      const std::uint64_t path = first_path_ + static_cast<std::uint64_t>(path_of_slot(slot));
      correct(j, slot,
              rare_sign_sum<R>(spec_->marginal, group, spec_->seed, path, number_ + static_cast<std::uint64_t>(j),
                               abs(v) * inverse_[slot], v));
    }
  }

  // ---- rand_k: how often each coordinate is in the subsets of the group's workers, in bit planes
  PATHBOUND_HD void choose_subsets(const MarginalGroup<R>& group) {
    const int rows = (spec_->objective.dim + bits_per_lane<F> - 1) / bits_per_lane<F>;
    for (int i = 0; i < 4 * rows * width; ++i) planes_[i] = Word(0);
    for (int worker = 0; worker < group.workers; ++worker) {
      if (rows == 1)
        choose_subset<1>(group);
      else if (rows == 2 && lanes > 1 && sizeof(R) == 4)
        choose_wide_subset(group);
      else if (rows == 2)
        choose_subset<2>(group);
      else
        choose_large_subset(group, rows);
    }
  }

  /// One worker's subset by Floyd's algorithm (compressors.hpp), in registers.
  template <int rows>
  PATHBOUND_HD_CALL void choose_subset(const MarginalGroup<R>& group) {
    constexpr int bits = bits_per_lane<F>;
    const SubsetWord* digits = spec_->marginal.subsets + group.first_subset;
    Bits mask[rows][P];
    PATHBOUND_UNROLL
    for (int r = 0; r < rows; ++r) {
      PATHBOUND_UNROLL
      for (int p = 0; p < P; ++p) mask[r][p] = Bits(Word(0));
    }
    for (int i = 0; i < group.subset_words; ++i) {
      Bits v[P];
      take_subset_word(digits[i], v);
      const int count = digits[i].count;
      for (int digit = 0; digit < count; ++digit) {
        const int j = digits[i].first + digit;
        const Bits j_low(j < bits ? Word(Word(1) << (j % bits)) : Word(0));
        const Bits j_high(j < bits ? Word(0) : Word(Word(1) << (j % bits)));
        PATHBOUND_UNROLL
        for (int p = 0; p < P; ++p) {
          Bits t;
          mul_wide(v[p], static_cast<std::uint32_t>(j + 1), t, v[p]);
          const Bits t_low = shl_each(Bits(Word(1)), t);
          if constexpr (rows == 1) {
            const auto is_new = eq(mask[0][p] & t_low, Bits(Word(0)));
            mask[0][p] = mask[0][p] | select(is_new, t_low, j_low);
          } else {
            const Bits t_high = shl_each(Bits(Word(1)), t - Bits(Word(bits)));
            const auto is_new = eq((mask[0][p] & t_low) | (mask[1][p] & t_high), Bits(Word(0)));
            mask[0][p] = mask[0][p] | select(is_new, t_low, j_low);
            mask[1][p] = mask[1][p] | select(is_new, t_high, j_high);
          }
        }
      }
    }
    PATHBOUND_UNROLL
    for (int r = 0; r < rows; ++r) {
      PATHBOUND_UNROLL
      for (int p = 0; p < P; ++p) add_to_planes(rows, r, p, mask[r][p]);
    }
  }
  /// The same for up to 64 coordinates in float, with masks and products in lanes of 64 bits.
  PATHBOUND_HD_CALL void choose_wide_subset(const MarginalGroup<R>& group) {
    if constexpr (lanes > 1 && sizeof(R) == 4) {
      using Wide = BitsOf<DoubleOf<F>>;
      const SubsetWord* digits = spec_->marginal.subsets + group.first_subset;
      const Wide zero(std::uint64_t{0}), one(std::uint64_t{1});
      Wide mask[P][2];
      PATHBOUND_UNROLL
      for (int p = 0; p < P; ++p) mask[p][0] = mask[p][1] = zero;
      for (int i = 0; i < group.subset_words; ++i) {
        Bits word[P];
        take_subset_word(digits[i], word);
        Wide v[P][2];
        PATHBOUND_UNROLL
        for (int p = 0; p < P; ++p) widen(word[p], v[p][0], v[p][1]);
        const int count = digits[i].count;
        for (int digit = 0; digit < count; ++digit) {
          const DigitConstants& c = digit_constants.of[digits[i].first + digit];
          const Wide values(c.values), j_bit(c.bit);
          PATHBOUND_UNROLL
          for (int p = 0; p < P; ++p) {
            PATHBOUND_UNROLL
            for (int h = 0; h < 2; ++h) {
              v[p][h] = mul_words(v[p][h], values);
              const Wide bit = shl_each(one, shr(v[p][h], 32));
              mask[p][h] = mask[p][h] | select(no_common_bit(mask[p][h], bit), bit, j_bit);
            }
          }
        }
      }
      PATHBOUND_UNROLL
      for (int p = 0; p < P; ++p) {
        Bits low, high;
        narrow(mask[p][0], mask[p][1], low, high);
        add_to_planes(2, 0, p, low);
        add_to_planes(2, 1, p, high);
      }
    }
  }
  /// The same for any number of coordinates: each path looks into its own row, so lane by lane.
  PATHBOUND_HD_CALL void choose_large_subset(const MarginalGroup<R>& group, int rows) {
    constexpr int bits = bits_per_lane<F>;
    const SubsetWord* digits = spec_->marginal.subsets + group.first_subset;
    for (int i = 0; i < rows * width; ++i) mask_[i] = Word(0);
    for (int i = 0; i < group.subset_words; ++i) {
      Bits v[P];
      take_subset_word(digits[i], v);
      alignas(64) Word word[width];
      for (int p = 0; p < P; ++p) store_bits(word + p * lanes, v[p]);
      for (int digit = 0; digit < digits[i].count; ++digit) {
        const int j = digits[i].first + digit;
        for (int slot = 0; slot < width; ++slot) {
          const std::uint64_t product =
              static_cast<std::uint64_t>(static_cast<std::uint32_t>(word[slot])) * static_cast<std::uint32_t>(j + 1);
          word[slot] = static_cast<Word>(static_cast<std::uint32_t>(product));
          int t = static_cast<int>(product >> 32);
          if (((mask_[(t / bits) * width + slot] >> (t % bits)) & 1) != 0) t = j;
          mask_[(t / bits) * width + slot] |= Word(Word(1) << (t % bits));
        }
      }
    }
    for (int r = 0; r < rows; ++r)
      for (int p = 0; p < P; ++p) add_to_planes(rows, r, p, load_bits(mask_ + r * width + p * lanes, F()));
  }

  PATHBOUND_HD void take_subset_word(const SubsetWord& digits, Bits v[P]) {
    int got;
    const Word* w = words_.take(1, got);
    const Bits open_from(Word(0u - digits.bound));
    std::uint32_t open = 0;
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) {
      v[p] = load_bits(w + p * lanes, F());
      Bits high, low;
      mul_wide(v[p], digits.bound, high, low);
      low = low & math_detail::bits<F>(0xffffffffu);
      open |= mask_bits(mask_not(lt_unsigned(low, open_from))) << (p * lanes);
    }
    if (open != 0) extend_subset_word(digits, open, w, v);
    ++number_;
  }
  PATHBOUND_HD_CALL void extend_subset_word(const SubsetWord& digits, std::uint32_t open, const Word* w, Bits v[P]) {
    alignas(64) Word word[width];
    for (int p = 0; p < P; ++p) store_bits(word + p * lanes, v[p]);
    for (; open != 0; open &= open - 1) {
      const int slot = __builtin_ctz(open);
      const std::uint64_t path = first_path_ + static_cast<std::uint64_t>(path_of_slot(slot));
      word[slot] = static_cast<Word>(
          extended_subset_word(static_cast<std::uint32_t>(w[slot]), digits.bound, spec_->seed, path, number_));
    }
    for (int p = 0; p < P; ++p) v[p] = load_bits(word + p * lanes, F());
  }

  PATHBOUND_HD void add_to_planes(int rows, int r, int p, Bits carry) {
    PATHBOUND_UNROLL
    for (int plane = 0; plane < 4; ++plane) {
      Word* at = planes_ + (plane * rows + r) * width + p * lanes;
      const Bits before = load_bits(at, F());
      store_bits(at, before ^ carry);
      carry = before & carry;
    }
  }

  /// What the group's workers add to the coefficients of gradient and noise; after the last group the sums.
  template <bool first, bool last, class Noise, class Use>
  PATHBOUND_HD void counts_of_group(const MarginalGroup<R>& group, const R* g, const R* mean_square, Noise& noise,
                                    Use&& use) {
    if (first && last && !spec_->affine) {
      // Of one group the standard deviation is one of 16 numbers.
      alignas(64) R root[16];
      for (int c = 0; c < 16; ++c) root[c] = sqrt(group.variance * static_cast<R>(c));
      const F factor(group.factor);
      for_counts<true>(group, noise, [&](int j, int p, Bits count, const R* z) {
        const F a = factor * int_to_real(count), b = lookup_sixteen(root, count, F());
        use(j, p, fma(a, load<F>(g + j * width + p * lanes), b * load<F>(z + p * lanes)));
      });
      return;
    }
    F variance[P];
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) {
      variance[p] = F(group.variance);
      if (spec_->affine) variance[p] = fma(F(group.variance_affine), load<F>(mean_square + p * lanes), variance[p]);
    }
    const F factor(group.factor);
    for_counts<last>(group, noise, [&](int j, int p, Bits whole, const R* z) {
      const F count = int_to_real(whole);
      R* slope_at = slope_ + static_cast<std::int64_t>(j) * width + p * lanes;
      R* variance_at = variance_ + static_cast<std::int64_t>(j) * width + p * lanes;
      F a, b;
      if constexpr (first) {
        a = factor * count;
        b = variance[p] * count;
      } else {
        a = fma(factor, count, load<F>(slope_at));
        b = fma(variance[p], count, load<F>(variance_at));
      }
      if constexpr (last) {
        use(j, p, fma(a, load<F>(g + j * width + p * lanes), sqrt(b) * load<F>(z + p * lanes)));
      } else {
        store(slope_at, a);
        store(variance_at, b);
      }
    });
  }

  /// add(j, p, count, z): how many of the group's workers keep coordinate j, and (with_noise) the row of its normals.
  template <bool with_noise, class Noise, class Add>
  PATHBOUND_HD_CALL void for_counts(const MarginalGroup<R>& group, Noise& noise, Add&& add) {
    const int dim = spec_->objective.dim;
    const R* z = nullptr;
    int left = 0;
    const auto next_noise = [&](int j) {
      if constexpr (with_noise) {
        if (left == 0) {
          z = noise.take(dim - j, left);
        } else {
          z += width;
        }
        --left;
      }
    };
    if (spec_->compressor == CompressorKind::rand_k) return for_subset_counts(group, next_noise, z, add);
    const std::uint32_t* entries = spec_->marginal.counts + group.first_count;
    for (int j = 0; j < dim;) {
      int got;
      const Word* w = words_.take(dim - j, got);
      for (int i = 0; i < got; ++i, ++j, w += width) {
        next_noise(j);
        PATHBOUND_UNROLL
        for (int p = 0; p < P; ++p) add(j, p, count_of<F>(entries, load_bits(w + p * lanes, F())), z);
      }
    }
  }

  /// Counts from the bit planes: four coordinates of every row at a time are brought together in nibbles.
  template <class NextNoise, class Add>
  PATHBOUND_HD void for_subset_counts(const MarginalGroup<R>& group, NextNoise&& next_noise, const R*& z, Add&& add) {
    constexpr int bits = bits_per_lane<F>;
    const int dim = spec_->objective.dim, rows = (dim + bits - 1) / bits;
    const bool set_means_kept = group.keep <= dim - group.keep;
    const Bits every(static_cast<Word>(static_cast<std::uint64_t>(group.workers) * 0x1111111111111111ull));
    const Bits every_fourth = math_detail::bits<F>(0x1111111111111111ull), nibble = math_detail::bits<F>(15);
    for (int r = 0; r < rows; ++r) {
      Bits counts[4][P];
      PATHBOUND_UNROLL
      for (int i = 0; i < 4; ++i) {
        PATHBOUND_UNROLL
        for (int p = 0; p < P; ++p) {
          Bits n(Word(0));
          PATHBOUND_UNROLL
          for (int plane = 0; plane < 4; ++plane) {
            const Bits bit = shr(load_bits(planes_ + (plane * rows + r) * width + p * lanes, F()), i) & every_fourth;
            n = n | shl(bit, plane);
          }
          counts[i][p] = set_means_kept ? n : every - n;
        }
      }
      const int end = dim - r * bits < bits ? dim - r * bits : bits;
      for (int c = 0; c < end; c += 4) {
        PATHBOUND_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int j = r * bits + c + i;
          if (j >= dim) break;
          next_noise(j);
          PATHBOUND_UNROLL
          for (int p = 0; p < P; ++p) {
            const Bits count = counts[i][p] & nibble;
            counts[i][p] = shr(counts[i][p], 4);
            add(j, p, count, z);
          }
        }
      }
    }
  }

  const SimSpec<R>* spec_ = nullptr;
  std::uint64_t first_path_ = 0;
  /// signs: coordinates drawn so far; counts: words of subsets taken so far.
  std::uint64_t number_ = 0;
  Word *planes_ = nullptr, *mask_ = nullptr;
  R *slope_ = nullptr, *variance_ = nullptr;
  WordWindow<F, P, 32> words_;
  alignas(64) R inverse_[width];
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
