// SPDX-License-Identifier: Apache-2.0
// From random words to uniforms, normals and the variates of every law with a fixed number of words each (theory
// section 1; nothing is rejected), and the two windows through which a path reads its words in order.
#pragma once
#include "kernels/math.hpp"
#include "kernels/philox.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// Lanes of packs run through the 32 paths of a block in bit-reversed order: slot t holds path bit_reversed(t) of the
/// block. Then the dyadic tree over paths adds slots t and t + 16, t + 8, ... : whole packs, no shuffles.
PATHBOUND_HD int path_of_slot(int slot) {
  return ((slot & 1) << 4) | ((slot & 2) << 2) | (slot & 4) | ((slot & 8) >> 2) | ((slot & 16) >> 4);
}

/// Uniforms in a Philox block: 4 (float) or 2 (double).
template <class F>
inline constexpr int uniforms_per_block = static_cast<int>(16 / sizeof(ScalarOf<F>));

/// The integer a uniform and an angle are made of: the word itself (float); the top 53 bits of (second, first)
/// (double).
template <class F>
PATHBOUND_HD BitsOf<F> uniform_bits(const BitsOf<F> words[4], int i) {
  if constexpr (sizeof(ScalarOf<F>) == 4) {
    return words[i];
  } else {
    const BitsOf<F> low = words[2 * i] & BitsOf<F>(std::uint64_t(0xffffffffu));
    return shr(shl(words[2 * i + 1], 32) | low, 11);
  }
}

/// A uniform's 32-bit word, for decisions that 2^-32 is fine enough for: the word itself (float), the second of its two
/// (double), zero-extended to the width of the lanes.
template <class F>
PATHBOUND_HD BitsOf<F> word_of_uniform(const BitsOf<F> words[4], int i) {
  if constexpr (sizeof(ScalarOf<F>) == 4) {
    return words[i];
  } else {
    return words[2 * i + 1] & BitsOf<F>(std::uint64_t(0xffffffffu));
  }
}

/// Uniform in (0, 1): float min(w' 2^-31 + 2^-32, 1 - 2^-24), w' = w >> 1; double min((z + 1/2) 2^-53, 1 - 2^-53).
template <class F>
PATHBOUND_HD F uniform(BitsOf<F> bits) {
  if constexpr (sizeof(ScalarOf<F>) == 4) {
    return min(fma(int_to_real(shr(bits, 1)), real<F>(0x1p-31), real<F>(0x1p-32)), real<F>(1.0 - 0x1p-24));
  } else {
    return min((uint53_to_real(bits) + real<F>(0.5)) * real<F>(0x1p-53), real<F>(1.0 - 0x1p-53));
  }
}

/// sqrt(-2 ln u), the radius of Box and Muller.
template <class F>
PATHBOUND_HD F normal_radius(BitsOf<F> bits) {
  return sqrt(real<F>(-2.0) * log_normal(uniform<F>(bits)));
}

/// The normals of one Philox block: as many as it has uniforms. Even: r cos, odd: r sin of (radius, angle) pairs.
template <class F>
PATHBOUND_HD void normals_of_block(const BitsOf<F> words[4], F out[]) {
  constexpr int n = uniforms_per_block<F>;
  PATHBOUND_UNROLL
  for (int i = 0; i < n; i += 2) {
    F s, c;
    const F r = normal_radius<F>(uniform_bits<F>(words, i));
    sincos_turn<F>(uniform_bits<F>(words, i + 1), s, c);
    out[i] = r * c;
    out[i + 1] = r * s;
  }
}

/// sqrt(e^(2a) - 1), the radius of a t variate over sqrt(nu), without overflow where the result is finite.
template <class F>
PATHBOUND_HD F t_radius(F a, F exp_a) {
  return exp_a * sqrt(real<F>(0.0) - expm1(real<F>(-2.0) * a));
}

/// How a Student-t radius is computed: closed forms where nu makes u^(-2/nu) rational, one factor where e^(2a) cannot
/// overflow (2a <= 22.2 * 2/nu < 88), two otherwise.
enum class TForm : int { nu1, nu2, one_factor, two_factors };
PATHBOUND_HD TForm t_form(double nu) {
  return nu == 1.0 ? TForm::nu1 : nu == 2.0 ? TForm::nu2 : nu >= 0.6 ? TForm::one_factor : TForm::two_factors;
}

/// Student-t with nu degrees of freedom from two uniforms (Bailey 1994, polar form): sqrt(nu (u^(-2/nu) - 1)) cos(2 pi
/// v).
template <TForm form, class F>
PATHBOUND_HD F student_t(BitsOf<F> radius_bits, BitsOf<F> angle_bits, double nu) {
  const F u = uniform<F>(radius_bits);
  const F one = real<F>(1.0);
  F r;
  if constexpr (form == TForm::nu1) {
    r = sqrt((one - u) * (one + u)) / u;
  } else if constexpr (form == TForm::nu2) {
    r = sqrt((real<F>(2.0) * (one - u)) / u);
  } else if constexpr (form == TForm::one_factor) {
    r = sqrt(real<F>(nu) * expm1(real<F>(-2.0 / nu) * log_normal(u)));
  } else {
    const F a = real<F>(-1.0 / nu) * log_normal(u);
    r = sqrt(real<F>(nu)) * t_radius(a, exp(a));
  }
  return r * cos_turn<F>(angle_bits);
}

/// What one pair of coordinates of a multivariate t vector takes from its two uniforms (theory section 1): with p =
/// sqrt(nu) times the product of the e^a of the pairs before, the coordinates are p radius (cosine, sine), and p
/// becomes p exp_a.
template <class F>
struct MultivariateTPair {
  F exp_a, radius, cosine, sine;
};
/// n: nu plus the number of coordinates before the pair.
template <class F>
PATHBOUND_HD MultivariateTPair<F> multivariate_t_pair(BitsOf<F> radius_bits, BitsOf<F> angle_bits, double n) {
  MultivariateTPair<F> pair;
  const F a = real<F>(-1.0 / n) * log_normal(uniform<F>(radius_bits));
  pair.exp_a = exp(a);
  sincos_turn<F>(angle_bits, pair.sine, pair.cosine);
  pair.radius = t_radius(a, pair.exp_a);
  return pair;
}

/// v, turned negative where the top bit of what a uniform is made of is set.
template <class F>
PATHBOUND_HD F with_sign(F v, BitsOf<F> uniform_bits) {
  constexpr int unused = sizeof(ScalarOf<F>) == 4 ? 0 : 11;
  return math_detail::flip_sign(v, shl(uniform_bits, unused));
}

/// Laplace: -ln u, with a sign.
template <class F>
PATHBOUND_HD F laplace(BitsOf<F> magnitude_bits, BitsOf<F> sign_bits) {
  return with_sign(real<F>(0.0) - log_normal(uniform<F>(magnitude_bits)), sign_bits);
}

/// Logistic: ln((2 - u)/u), whose absolute value is beyond y with probability u = 2/(1 + e^y), with a sign.
template <class F>
PATHBOUND_HD F logistic(BitsOf<F> magnitude_bits, BitsOf<F> sign_bits) {
  const F u = uniform<F>(magnitude_bits);
  return with_sign(log1p(real<F>(2.0) * (real<F>(1.0) - u) / u), sign_bits);
}

/// contaminated_gaussian: a normal is a wide one where its selector word is below this.
PATHBOUND_HD std::uint32_t wide_below(double eps) {
  return static_cast<std::uint32_t>(min(eps * 0x1p32 + 0.5, 4294967295.0));
}
/// A normal, times k where it is a wide one. Selector: word_of_uniform.
template <class F>
PATHBOUND_HD F contaminate(F normal, BitsOf<F> selector, std::uint32_t below, F k) {
  return select(lt_unsigned(selector, math_detail::bits<F>(below)), k * normal, normal);
}

/// How a symmetric alpha-stable variate is computed: closed forms (Cauchy, normal of variance 2), or the general one.
enum class StableForm : int { alpha1, alpha2, general };
PATHBOUND_HD StableForm stable_form(double alpha) {
  return alpha == 1.0 ? StableForm::alpha1 : alpha == 2.0 ? StableForm::alpha2 : StableForm::general;
}

/// Symmetric alpha-stable, characteristic function exp(-|t|^alpha), from two uniforms (Chambers, Mallows and Stuck
/// 1976; theory section 1): an angle V in (-pi/2, pi/2) and W = -ln(1 - u). |V|/pi = middle and 1/2 - |V|/pi = edge are
/// both made of the angle's integer, without cancellation, and of every difference that may cancel the form is taken
/// that does not; so both tails are cut alike, at edge = 2^-33 (double 2^-54). A variate that would overflow (alpha <
/// 0.42, both uniforms extreme at once) is brought back to e^88.7 (e^709.7).
template <StableForm form, class F>
PATHBOUND_HD F alpha_stable(BitsOf<F> angle_bits, BitsOf<F> exponential_bits, double alpha) {
  constexpr bool single = sizeof(ScalarOf<F>) == 4;
  constexpr int width = single ? 32 : 53;
  constexpr std::uint64_t ones = (std::uint64_t(1) << width) - 1;
  constexpr double unit = single ? 0x1p-32 : 0x1p-53;
  const BitsOf<F> zero = math_detail::bits<F>(0), all = math_detail::bits<F>(ones);
  const BitsOf<F> upper = (zero - shr(angle_bits, width - 1)) & all;  // all ones: V > 0
  const BitsOf<F> from_edge = angle_bits ^ upper, from_middle = from_edge ^ math_detail::bits<F>(ones >> 1);
  F edge, middle;
  if constexpr (single) {
    edge = int_to_real(from_edge);
    middle = int_to_real(from_middle);
  } else {
    edge = uint53_to_real(from_edge);
    middle = uint53_to_real(from_middle);
  }
  edge = fma(edge, real<F>(unit), real<F>(0.5 * unit));
  middle = fma(middle, real<F>(unit), real<F>(0.5 * unit));
  const F cosine = sin_pi(edge);
  F x;
  if constexpr (form == StableForm::alpha1) {
    x = sin_pi(middle) / cosine;
  } else {
    const F w = real<F>(0.0) - log1p(real<F>(0.0) - uniform<F>(exponential_bits));
    if constexpr (form == StableForm::alpha2) {
      x = real<F>(2.0) * sqrt(w) * sin_pi(middle);
    } else {
      const double c = alpha < 1.0 ? 1.0 - alpha : alpha - 1.0;
      // sin(alpha |V|) and cos((1 - alpha) V)
      const F sine = sin_pi(min(real<F>(alpha) * middle, fma(real<F>(alpha), edge, real<F>(0.5 * (2.0 - alpha)))));
      const F other = sin_pi(fma(real<F>(c), edge, real<F>(0.5 * (1.0 - c))));
      F exponent = fma(real<F>((1.0 - alpha) / alpha), log_normal(other) - log_normal(w), log_normal(sine));
      exponent = fma(real<F>(-1.0 / alpha), log_normal(cosine), exponent);
      x = exp(min(exponent, real<F>(single ? 88.7 : 709.7)));
    }
  }
  return with_sign(x, angle_bits ^ all);
}

/// Packs whose generators run side by side: one alone would wait for its own products.
template <int P>
inline constexpr int packs_together = P % 2 == 0 ? 2 : 1;

/// P packs that hold one quantity of the 32 paths of a block (P = 1 with F = float is a single path).
template <class F, int P>
struct Rows {
  static constexpr int width = P * RealTraits<F>::lanes;
};

/// Rows of values that are made a window at a time and handed out in order.
template <class T, int width, int window_rows>
class RowWindow {
 public:
  /// Up to `want` consecutive rows; `got` says how many. `fill(rows)` makes the next window.
  template <class Fill>
  PATHBOUND_HD const T* take(int want, int& got, Fill&& fill) {
    if (used_ == window_rows) {
      fill(rows_);
      used_ = 0;
    }
    const int left = window_rows - used_;
    got = want < left ? want : left;
    const T* rows = rows_ + used_ * width;
    used_ += got;
    return rows;
  }

 private:
  int used_ = window_rows;
  alignas(64) T rows_[window_rows * width];
};

/// The unit-scale gradient noise of a block, in stream order: for each step, for each worker, for each coordinate
/// (multivariate_t: of an even number of coordinates). `take` hands out consecutive rows, one row the values of all
/// paths of the block. Nothing is computed twice: the order of consumption is the order of the stream.
template <class F, int P, int window_rows>
class NoiseWindow {
 public:
  using Scalar = ScalarOf<F>;
  static constexpr int width = Rows<F, P>::width;
  static constexpr int lanes = RealTraits<F>::lanes;
  static_assert(window_rows % 4 == 0);

  PATHBOUND_HD void init(std::uint64_t seed, const BitsOf<F> path_low[P], std::uint32_t path_high, const LawSpec& law,
                         int dim, Purpose purpose = Purpose::gradient_noise) {
    for (int p = 0; p < P; ++p) stream_[p].init(seed, path_low[p], path_high, purpose);
    if (law.kind == LawKind::contaminated_gaussian)
      for (int p = 0; p < P; ++p) selector_[p].init(seed, path_low[p], path_high, Purpose::selector);
    law_ = law;
    row_length_ = dim + (dim & 1);
    row_position_ = 0;
    next_block_ = first_block(purpose);
  }

  /// Up to `want` consecutive rows; `got` says how many.
  PATHBOUND_HD const Scalar* take(int want, int& got) {
    return window_.take(want, got, [this](Scalar* rows) { fill(rows); });
  }

  /// For callers that read Gaussian noise block by block: makes `block` current and returns its low word.
  PATHBOUND_HD std::uint32_t seek_block(std::uint64_t block) {
    next_block_ = block;
    return advance();
  }
  /// The normals of the current block for packs p to p + packs_together - 1: `uniforms_per_block` rows.
  PATHBOUND_HD void normals_of(int p, std::uint32_t block_low, Scalar* rows) const {
    constexpr int n = uniforms_per_block<F>;
    F z[packs_together<P>][n];
    PATHBOUND_UNROLL
    for (int q = 0; q < packs_together<P>; ++q) {
      BitsOf<F> words[4];
      stream_[p + q].block(block_low, words);
      normals_of_block<F>(words, z[q]);
    }
    PATHBOUND_UNROLL
    for (int q = 0; q < packs_together<P>; ++q) {
      PATHBOUND_UNROLL
      for (int i = 0; i < n; ++i) store(rows + i * width + (p + q) * lanes, z[q][i]);
    }
  }

 private:
  /// Moves to the next block and returns its low word.
  PATHBOUND_HD std::uint32_t advance() {
    const std::uint64_t block = next_block_++;
    const std::uint32_t high = static_cast<std::uint32_t>(block >> 32);
    if (high != stream_[0].block_hi)
      for (int p = 0; p < P; ++p) stream_[p].seek_high(high);
    return static_cast<std::uint32_t>(block);
  }

  PATHBOUND_HD void fill(Scalar* rows) {
    switch (law_.kind) {
      case LawKind::gaussian:
        fill_normals(rows);
        break;
      case LawKind::student_t:
        switch (t_form(law_.nu)) {
          case TForm::nu1:
            fill_t<TForm::nu1>(rows);
            break;
          case TForm::nu2:
            fill_t<TForm::nu2>(rows);
            break;
          case TForm::one_factor:
            fill_t<TForm::one_factor>(rows);
            break;
          case TForm::two_factors:
            fill_t<TForm::two_factors>(rows);
            break;
        }
        break;
      case LawKind::multivariate_t:
        fill_multivariate_t(rows);
        break;
      case LawKind::laplace:
        fill_pairs(rows, [](BitsOf<F> first, BitsOf<F> second) { return laplace<F>(first, second); });
        break;
      case LawKind::logistic:
        fill_pairs(rows, [](BitsOf<F> first, BitsOf<F> second) { return logistic<F>(first, second); });
        break;
      case LawKind::contaminated_gaussian:
        fill_contaminated(rows);
        break;
      case LawKind::alpha_stable:
        switch (stable_form(law_.alpha)) {
          case StableForm::alpha1:
            fill_stable<StableForm::alpha1>(rows);
            break;
          case StableForm::alpha2:
            fill_stable<StableForm::alpha2>(rows);
            break;
          case StableForm::general:
            fill_stable<StableForm::general>(rows);
            break;
        }
        break;
    }
  }

  PATHBOUND_HD_CALL void fill_normals(Scalar* rows) {
    constexpr int n = uniforms_per_block<F>;
    for (int row = 0; row < window_rows; row += n) {
      const std::uint32_t block = advance();
      for (int p = 0; p < P; p += packs_together<P>) normals_of(p, block, rows + row * width);
    }
  }

  template <TForm form>
  PATHBOUND_HD_CALL void fill_t(Scalar* rows) {
    constexpr int n = uniforms_per_block<F> / 2;
    for (int row = 0; row < window_rows; row += n) {
      const std::uint32_t block = advance();
      for (int p = 0; p < P; p += packs_together<P>) {
        PATHBOUND_UNROLL
        for (int q = p; q < p + packs_together<P>; ++q) {
          BitsOf<F> words[4];
          stream_[q].block(block, words);
          PATHBOUND_UNROLL
          for (int i = 0; i < n; ++i)
            store(rows + (row + i) * width + q * lanes,
                  student_t<form, F>(uniform_bits<F>(words, 2 * i), uniform_bits<F>(words, 2 * i + 1), law_.nu));
        }
      }
    }
  }

  /// Variates of two uniforms each.
  template <class Variate>
  PATHBOUND_HD_CALL void fill_pairs(Scalar* rows, Variate variate) {
    constexpr int n = uniforms_per_block<F> / 2;
    for (int row = 0; row < window_rows; row += n) {
      const std::uint32_t block = advance();
      for (int p = 0; p < P; ++p) {
        BitsOf<F> words[4];
        stream_[p].block(block, words);
        PATHBOUND_UNROLL
        for (int i = 0; i < n; ++i)
          store(rows + (row + i) * width + p * lanes,
                variate(uniform_bits<F>(words, 2 * i), uniform_bits<F>(words, 2 * i + 1)));
      }
    }
  }

  template <StableForm form>
  PATHBOUND_HD void fill_stable(Scalar* rows) {
    const double alpha = law_.alpha;
    fill_pairs(rows,
               [alpha](BitsOf<F> first, BitsOf<F> second) { return alpha_stable<form, F>(first, second, alpha); });
  }

  /// A block of selectors has the number of its block of normals, counted from the first of its purpose.
  PATHBOUND_HD_CALL void fill_contaminated(Scalar* rows) {
    constexpr int n = uniforms_per_block<F>;
    const std::uint32_t below = wide_below(law_.eps);
    const F k = real<F>(law_.k);
    for (int row = 0; row < window_rows; row += n) {
      const std::uint64_t number = first_block(Purpose::selector) + next_block_;
      const auto high = static_cast<std::uint32_t>(number >> 32);
      const std::uint32_t block = advance();
      for (int p = 0; p < P; p += packs_together<P>) normals_of(p, block, rows + row * width);
      for (int p = 0; p < P; ++p) {
        if (high != selector_[p].block_hi) selector_[p].seek_high(high);
        BitsOf<F> words[4];
        selector_[p].block(static_cast<std::uint32_t>(number), words);
        PATHBOUND_UNROLL
        for (int i = 0; i < n; ++i) {
          Scalar* at = rows + (row + i) * width + p * lanes;
          store(at, contaminate<F>(load<F>(at), word_of_uniform<F>(words, i), below, k));
        }
      }
    }
  }

  PATHBOUND_HD_CALL void fill_multivariate_t(Scalar* rows) {
    constexpr int n = uniforms_per_block<F>;
    const F root_nu = sqrt(real<F>(law_.nu));
    for (int row = 0; row < window_rows; row += n) {
      const std::uint32_t block = advance();
      int position = row_position_;
      for (int p = 0; p < P; ++p) {
        BitsOf<F> words[4];
        stream_[p].block(block, words);
        position = row_position_;
        for (int i = 0; i < n; i += 2) {
          const F scale = position == 0 ? root_nu : load<F>(chain_ + p * lanes);
          const MultivariateTPair<F> pair =
              multivariate_t_pair<F>(uniform_bits<F>(words, i), uniform_bits<F>(words, i + 1), law_.nu + position);
          const F r = scale * pair.radius;
          store(chain_ + p * lanes, scale * pair.exp_a);
          store(rows + (row + i) * width + p * lanes, r * pair.cosine);
          store(rows + (row + i + 1) * width + p * lanes, r * pair.sine);
          position += 2;
          if (position == row_length_) position = 0;
        }
      }
      row_position_ = position;
    }
  }

  PathStream<F> stream_[P];
  LawSpec law_;
  int row_length_ = 0;    // multivariate_t: values a worker
  int row_position_ = 0;  // multivariate_t: where in its worker's vector the next value stands
  std::uint64_t next_block_ = 0;
  Scalar chain_[width];  // multivariate_t: p of the pair before
  RowWindow<Scalar, width, window_rows> window_;
  PathStream<F> selector_[P];  // contaminated_gaussian
};

/// The uniforms of the compressors as 32-bit words (word_of_uniform), in stream order.
template <class F, int P, int window_rows>
class WordWindow {
 public:
  using Word = BitsOf<ScalarOf<F>>;
  static constexpr int width = Rows<F, P>::width;
  static constexpr int lanes = RealTraits<F>::lanes;

  PATHBOUND_HD void init(std::uint64_t seed, const BitsOf<F> path_low[P], std::uint32_t path_high, Purpose purpose) {
    for (int p = 0; p < P; ++p) stream_[p].init(seed, path_low[p], path_high, purpose);
    next_block_ = first_block(purpose);
  }

  PATHBOUND_HD const Word* take(int want, int& got) {
    return window_.take(want, got, [this](Word* rows) { fill(rows); });
  }

 private:
  PATHBOUND_HD_CALL void fill(Word* rows) {
    constexpr int n = uniforms_per_block<F>;
    for (int row = 0; row < window_rows; row += n) {
      const std::uint64_t block = next_block_++;
      const std::uint32_t high = static_cast<std::uint32_t>(block >> 32);
      if (high != stream_[0].block_hi)
        for (int p = 0; p < P; ++p) stream_[p].seek_high(high);
      for (int p = 0; p < P; p += packs_together<P>) {
        PATHBOUND_UNROLL
        for (int q = p; q < p + packs_together<P>; ++q) {
          BitsOf<F> words[4];
          stream_[q].block(static_cast<std::uint32_t>(block), words);
          PATHBOUND_UNROLL
          for (int i = 0; i < n; ++i) store_bits(rows + (row + i) * width + q * lanes, word_of_uniform<F>(words, i));
        }
      }
    }
  }

  PathStream<F> stream_[P];
  std::uint64_t next_block_ = 0;
  RowWindow<Word, width, window_rows> window_;
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
