// SPDX-License-Identifier: Apache-2.0
// A lane's random numbers, by address: the words come from cuRAND's Philox4x32-10, the variates from sampling.hpp.
#pragma once
#include <curand_kernel.h>

#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/law_family.cuh"
#include "kernels/cuda/root.hpp"
#include "kernels/cuda/segment.cuh"
#include "kernels/sampling.hpp"

namespace pathbound::cuda {

/// Whether a bit is set. (The compiler would shift it down and look at it there, which takes two instructions more.)
template <int bit>
__device__ __forceinline__ bool has_bit(std::uint32_t word) {
  int set;
  asm("{\n .reg .pred p;\n .reg .b32 b;\n and.b32 b, %1, %2;\n setp.ne.u32 p, b, 0;\n selp.s32 %0, 1, 0, p;\n}"
      : "=r"(set)
      : "r"(word), "n"(1u << bit));
  return set != 0;
}

/// v[i] of a few values in registers.
template <int n, class T>
__device__ __forceinline__ T pick(const T (&v)[n], int i) {
  T r = v[0];
#pragma unroll
  for (int k = 1; k < n; ++k) r = i == k ? v[k] : r;
  return r;
}

/// The words of one path, block by block: words 4 b .. 4 b + 3 of curand_init(seed, path, 0).
struct PathWords {
  uint2 key;
  std::uint32_t path_low, path_high;

  __device__ __forceinline__ PathWords(std::uint64_t seed, std::uint64_t path)
      : key(make_uint2(static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32))),
        path_low(static_cast<std::uint32_t>(path)),
        path_high(static_cast<std::uint32_t>(path >> 32)) {}

  template <class R>
  __device__ __forceinline__ void block(std::uint64_t b, BitsOf<R> (&out)[4]) const {
    const uint4 words = curand_Philox4x32_10(
        make_uint4(static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(b >> 32), path_low, path_high), key);
    out[0] = words.x;
    out[1] = words.y;
    out[2] = words.z;
    out[3] = words.w;
  }
};

/// The words of one path for a lane that takes block after block, the same as PathWords makes. Only the low word of the
/// block number changes from one block to the next, and it is the same for all lanes. So the products of the first two
/// rounds that depend on the path are kept, with the keys that come to them. The paths of all lanes have one high word.
class OrderedWords {
 public:
  __device__ __forceinline__ OrderedWords(const RoundKeys& keys, std::uint64_t first_path, std::uint32_t offset)
      : keys_(keys),
        path_low_(static_cast<std::uint32_t>(first_path) + offset),
        path_high_(static_cast<std::uint32_t>(first_path >> 32) ^ keys.word[1]) {}

  /// To be called before the first block, and when the high word of the block number changes.
  __device__ __forceinline__ void seek(std::uint32_t block_high) {
    std::uint32_t high, low;
    mul_wide(path_low_, philox_m1, high, low);
    round1_ = low ^ keys_.word[2];
    mul_wide(high ^ block_high ^ keys_.word[0], philox_m0, high, low);
    round2_high_ = high ^ keys_.word[3];
    round2_low_ = low ^ keys_.word[5];
  }

  /// What the last round is made of: words (m1 x2's high half ^ x1 ^ key, its low half, m0 x0's high half ^ x3 ^ key,
  /// its low half).
  __device__ __forceinline__ void nine_rounds(std::uint32_t block_low, std::uint32_t (&x)[4]) const {
    std::uint32_t h0, l0, h1, l1;
    mul_wide(block_low, philox_m0, h0, l0);
    mul_wide(h0 ^ path_high_, philox_m1, h1, l1);
    x[0] = round1_ ^ h1;
    x[1] = l1;
    x[2] = round2_high_ ^ l0;
#pragma unroll
    for (int round = 2; round < 9; ++round) {
      mul_wide(x[0], philox_m0, h0, l0);
      mul_wide(x[2], philox_m1, h1, l1);
      x[0] = h1 ^ x[1] ^ keys_.word[2 * round];
      x[1] = l1;
      x[2] = round == 2 ? h0 ^ round2_low_ : h0 ^ x[3] ^ keys_.word[2 * round + 1];
      x[3] = l0;
    }
  }
  __device__ __forceinline__ std::uint32_t first_word(const std::uint32_t (&x)[4]) const {
    return __umulhi(x[2], philox_m1) ^ x[1] ^ keys_.word[18];
  }
  __device__ __forceinline__ std::uint32_t third_word(const std::uint32_t (&x)[4]) const {
    return __umulhi(x[0], philox_m0) ^ x[3] ^ keys_.word[19];
  }

  template <class R>
  __device__ __forceinline__ void block(std::uint32_t block_low, BitsOf<R> (&out)[4]) const {
    std::uint32_t x[4];
    nine_rounds(block_low, x);
    out[0] = first_word(x);
    out[1] = x[2] * philox_m1;
    out[2] = third_word(x);
    out[3] = x[0] * philox_m0;
  }

 private:
  const RoundKeys& keys_;
  const std::uint32_t path_low_, path_high_;  // high: with the key of its round
  std::uint32_t round1_, round2_high_, round2_low_;
};

/// Reads values that are made V at a time, at rising indices. Those of the last block are kept, so that a lane that
/// reads a few values after the other makes no block twice.
template <class T, int V>
class BlockReader {
 public:
  /// Values first .. first + E - 1. `make(block, values)` makes V values.
  template <int E, class Make>
  __device__ __forceinline__ void read(std::uint64_t first, T (&out)[E], Make&& make) {
    if constexpr (E % V == 0) {
      if (first % V == 0) {
#pragma unroll
        for (int b = 0; b < E / V; ++b) {
          T values[V];
          make(first / V + b, values);
#pragma unroll
          for (int i = 0; i < V; ++i) out[b * V + i] = values[i];
        }
        return;
      }
    }
    // The values lie in at most this many blocks. One loop, so that `make` is there once.
    constexpr int blocks = (E + V - 2) / V + 1;
#pragma unroll 1
    for (int b = 0; b < blocks; ++b) {
      const std::uint64_t block = first / V + b;
      const int offset = static_cast<int>(block * V - first);  // of the block's first value, from -(V - 1)
      if (blocks > 1 && offset >= E) break;
      if (block != made_) {
        make(block, values_);
        made_ = block;
      }
#pragma unroll
      for (int e = 0; e < E; ++e)
        if (E == 1 || (e >= offset && e < offset + V)) out[e] = pick(values_, e - offset);
    }
  }

 private:
  std::uint64_t made_ = ~std::uint64_t{0};
  T values_[V];
};

/// How many values of one Philox block a law's variates are.
template <class R>
inline constexpr int normals_per_block = uniforms_per_block<R>;
template <class R>
inline constexpr int pairs_per_block = uniforms_per_block<R> / 2;

/// Makes the normals of a block, for a lane that takes block after block.
template <class R>
struct BlockNormals {
  __device__ __forceinline__ explicit BlockNormals(std::uint32_t) {}
  __device__ __forceinline__ void operator()(const OrderedWords& words, std::uint32_t block,
                                             R (&z)[normals_per_block<R>]) const {
    BitsOf<R> w[4];
    words.block<R>(block, w);
    normals_of_block<R>(w, z);
  }
};

constexpr float scale_log_coefficient(int k) {
  float c = math_detail::log_coefficients[k] / 4;
  for (int i = 0; i < k; ++i) c /= -2;
  return c;
}
template <int k>
inline constexpr float scaled_log_coefficient = scale_log_coefficient(k);

/// For float: the bits of normals_of_block in the fewest machine instructions. Against its text, factors that are
/// powers of two stand elsewhere (v = 2^31 u, t = -2 (m - 1), the polynomial's coefficients to suit), which changes no
/// rounding; an angle's distance from the nearest quarter turn is its lower 30 bits with their sign; and signs are
/// turned on the way.
template <>
class BlockNormals<float> {
 public:
  /// An instruction takes one constant. Where one needs two, the other has to be kept in a register, and so that the
  /// compiler does not move it there anew for every block, it may not know it: `zero` is a 0 it cannot see.
  __device__ __forceinline__ explicit BlockNormals(std::uint32_t zero)
      : highest_log_(from_bits<float>(as_bits(scaled_log_coefficient<7>) ^ zero)),
        highest_sine_(from_bits<float>(as_bits(math_detail::sine_octant<3>) ^ zero)),
        highest_cosine_(from_bits<float>(as_bits(math_detail::cosine_octant<4>) ^ zero)),
        m0_(philox_m0 ^ zero),
        m1_(philox_m1 ^ zero) {}

  __device__ __forceinline__ void operator()(const OrderedWords& words, std::uint32_t block, float (&z)[4]) const {
    std::uint32_t x[4];
    words.nine_rounds(block, x);
    pair<philox_m1>(radius(words.first_word(x)), x[2], m1_, z[0], z[1]);
    pair<philox_m0>(radius(words.third_word(x)), x[0], m0_, z[2], z[3]);
  }

 private:
  /// normal_radius.
  __device__ __forceinline__ float radius(std::uint32_t word) const {
    constexpr std::uint32_t one = 0x00800000u;  // in the exponent
    const float v = min(int_to_real(word >> 1) + 0.5f, 0x1p31f - 0x1p7f);
    const std::uint32_t e = (as_bits(v) - (0x3f2aaaabu + 31 * one)) & 0xff800000u;
    const float t = 2.0f - from_bits<float>(as_bits(v) - e - 30 * one);
    float p = fma(highest_log_, t, scaled_log_coefficient<6>);
    p = fma(p, t, scaled_log_coefficient<5>);
    p = fma(p, t, scaled_log_coefficient<4>);
    p = fma(p, t, scaled_log_coefficient<3>);
    p = fma(p, t, scaled_log_coefficient<2>);
    p = fma(p, t, scaled_log_coefficient<1>);
    p = fma(p, t, scaled_log_coefficient<0>);
    p = fma(p, t, 0.25f);
    return sqrt_in_range(fma(int_to_real(e), -2 * math_detail::log_unit, fma(p, t * t, t)));
  }

  /// The normals whose angle is m x. `same_m`: m.
  template <std::uint32_t m>
  __device__ __forceinline__ void pair(float radius, std::uint32_t x, std::uint32_t same_m, float& first,
                                       float& second) const {
    const float r = int_to_real(x * (4 * m)) * 0x1p-31f, z = r * r;
    using math_detail::sine_octant, math_detail::cosine_octant;
    float s = fma(highest_sine_, z, sine_octant<2>), c = fma(highest_cosine_, z, cosine_octant<3>);
    s = r * fma(fma(s, z, sine_octant<1>), z, sine_octant<0>);
    c = fma(fma(fma(c, z, cosine_octant<2>), z, cosine_octant<1>), z, cosine_octant<0>);
    const std::uint32_t turned = x * same_m + 0x20000000u;
    const bool swap = has_bit<30>(turned);
    radius = from_bits<float>(as_bits(radius) ^ (turned & 0x80000000u));
    first = radius * (swap ? -s : c);
    second = radius * (swap ? c : s);
  }

  const float highest_log_, highest_sine_, highest_cosine_;
  const std::uint32_t m0_, m1_;
};

/// The variates of one block that take two uniforms each: variate(first, second), of their integers.
template <class R, class Variate>
__device__ __forceinline__ void pairs_of_block(const BitsOf<R> (&words)[4], R (&out)[pairs_per_block<R>],
                                               Variate&& variate) {
#pragma unroll
  for (int i = 0; i < pairs_per_block<R>; ++i)
    out[i] = variate(uniform_bits<R>(words, 2 * i), uniform_bits<R>(words, 2 * i + 1));
}
/// The Student-t variates of one block.
template <TForm form, class R>
__device__ __forceinline__ void student_t_of_block(const BitsOf<R> (&words)[4], double nu,
                                                   R (&out)[pairs_per_block<R>]) {
  pairs_of_block<R>(words, out,
                    [nu](BitsOf<R> radius, BitsOf<R> angle) { return student_t<form, R>(radius, angle, nu); });
}

/// The unit-scale gradient noise of a lane's coordinates. LawFamily::gaussian: for other purposes too.
template <class R, LawFamily family>
class LaneNoise {
 public:
  __device__ __forceinline__ LaneNoise(const SimSpec<R>& spec, std::uint64_t path,
                                       Purpose purpose = Purpose::gradient_noise)
      : words_(spec.seed, path), spec_(spec), row_(spec.objective.dim), first_block_(first_block(purpose)) {
    if (family != LawFamily::gaussian && spec.law.kind == LawKind::multivariate_t) row_ += row_ & 1;
  }

  /// The noise of coordinates c .. c + E - 1 of message number `message` (step * N + worker). `carry`: multivariate_t
  /// only; sqrt(nu) for a message's first coordinates, then what the lanes before (of the chunk before) left.
  template <int E>
  __device__ __forceinline__ void read(std::uint64_t message, int c, const Lanes& lanes, R (&z)[E], R& carry) {
    const std::uint64_t first = message * static_cast<std::uint64_t>(row_) + static_cast<std::uint64_t>(c);
    if constexpr (family != LawFamily::gaussian) {
      if (spec_.law.kind == LawKind::student_t) return read_t(first, z);
      if (spec_.law.kind == LawKind::multivariate_t) return read_multivariate_t(first, c, lanes, z, carry);
    }
    if constexpr (family == LawFamily::all) {
      if (spec_.law.kind == LawKind::contaminated_gaussian) return read_contaminated(first, lanes, z);
      if (spec_.law.kind != LawKind::gaussian) return read_other(first, z);
    }
    read_normals(first, lanes, z);
  }

 private:
  static constexpr std::uint64_t pairs = pairs_per_block<R>;

  template <int E>
  __device__ __forceinline__ void read_normals(std::uint64_t first, const Lanes& lanes, R (&z)[E]) {
    if constexpr (E < normals_per_block<R>) {
      // A lane that needs one pair of a block, and next time one of another block, makes no more than that pair.
      if (lanes.count > 1 && (E == 1 || first % 2 == 0)) return read_pair(first, z);
    }
    normals_.read(first, z, [&](std::uint64_t block, R(&values)[normals_per_block<R>]) {
      BitsOf<R> words[4];
      words_.template block<R>(family != LawFamily::gaussian ? block : first_block_ + block, words);
      normals_of_block<R>(words, values);
    });
  }

  /// The two uniforms of pair `number`, from its block's words.
  static __device__ __forceinline__ void uniforms_of_pair(const BitsOf<R> (&words)[4], std::uint64_t number,
                                                          BitsOf<R>& radius, BitsOf<R>& angle) {
    if constexpr (pairs == 2) {
      radius = (number & 1) != 0 ? words[2] : words[0];
      angle = (number & 1) != 0 ? words[3] : words[1];
    } else {
      radius = uniform_bits<R>(words, 0);
      angle = uniform_bits<R>(words, 1);
    }
  }

  template <int E>
  __device__ __forceinline__ void read_pair(std::uint64_t first, R (&z)[E]) const {
    BitsOf<R> words[4], radius, angle;
    const std::uint64_t block = first / 2 / pairs;
    words_.template block<R>(family != LawFamily::gaussian ? block : first_block_ + block, words);
    uniforms_of_pair(words, first / 2, radius, angle);
    R s, c;
    const R r = normal_radius<R>(radius);
    sincos_turn<R>(angle, s, c);
    if constexpr (E == 1) {
      z[0] = r * ((first & 1) != 0 ? s : c);
    } else {
      z[0] = r * c;
      z[1] = r * s;
    }
  }

  template <int E>
  __device__ __forceinline__ void read_t(std::uint64_t first, R (&z)[E]) {
    const TForm form = t_form(spec_.law.nu);
    pairs_.read(first, z, [&](std::uint64_t block, R(&values)[pairs_per_block<R>]) {
      BitsOf<R> words[4];
      words_.template block<R>(block, words);
      switch (form) {
        case TForm::nu1:
          return student_t_of_block<TForm::nu1, R>(words, spec_.law.nu, values);
        case TForm::nu2:
          return student_t_of_block<TForm::nu2, R>(words, spec_.law.nu, values);
        case TForm::one_factor:
          return student_t_of_block<TForm::one_factor, R>(words, spec_.law.nu, values);
        default:
          return student_t_of_block<TForm::two_factors, R>(words, spec_.law.nu, values);
      }
    });
  }

  /// The other laws of two uniforms a variate.
  template <int E>
  __device__ __forceinline__ void read_other(std::uint64_t first, R (&z)[E]) {
    const LawKind kind = spec_.law.kind;
    const double alpha = spec_.law.alpha;
    const StableForm form = stable_form(alpha);
    pairs_.read(first, z, [&](std::uint64_t block, R(&values)[pairs_per_block<R>]) {
      BitsOf<R> words[4];
      words_.template block<R>(block, words);
      pairs_of_block<R>(words, values, [&](BitsOf<R> a, BitsOf<R> b) {
        if (kind == LawKind::laplace) return laplace<R>(a, b);
        if (kind == LawKind::logistic) return logistic<R>(a, b);
        if (form == StableForm::alpha1) return alpha_stable<StableForm::alpha1, R>(a, b, alpha);
        if (form == StableForm::alpha2) return alpha_stable<StableForm::alpha2, R>(a, b, alpha);
        return alpha_stable<StableForm::general, R>(a, b, alpha);
      });
    });
  }

  template <int E>
  __device__ __forceinline__ void read_contaminated(std::uint64_t first, const Lanes& lanes, R (&z)[E]) {
    read_normals(first, lanes, z);
    BitsOf<R> selector[E];
    selectors_.read(first, selector, [&](std::uint64_t block, BitsOf<R>(&out)[uniforms_per_block<R>]) {
      BitsOf<R> words[4];
      words_.template block<R>(first_block(Purpose::selector) + block, words);
#pragma unroll
      for (int i = 0; i < uniforms_per_block<R>; ++i) out[i] = word_of_uniform<R>(words, i);
    });
    const std::uint32_t below = wide_below(spec_.law.eps);
#pragma unroll
    for (int e = 0; e < E; ++e) z[e] = contaminate<R>(z[e], selector[e], below, static_cast<R>(spec_.law.k));
  }

  /// The chain p over the pairs of a vector goes from lane to lane: after i rounds the first i + 1 lanes are right.
  template <int E>
  __device__ __forceinline__ void read_multivariate_t(std::uint64_t first, int c, const Lanes& lanes, R (&z)[E],
                                                      R& carry) {
    constexpr int pairs_here = (E + 1) / 2;
    MultivariateTPair<R> pair[pairs_here];
    BitsOf<R> words[4];
#pragma unroll
    for (int i = 0; i < pairs_here; ++i) {
      const std::uint64_t number = first / 2 + i;
      if (i == 0 || number % pairs == 0) words_.template block<R>(number / pairs, words);
      BitsOf<R> radius, angle;
      uniforms_of_pair(words, number, radius, angle);
      pair[i] = multivariate_t_pair<R>(radius, angle, spec_.law.nu + static_cast<double>((c & ~1) + 2 * i));
    }
    const int distance = E == 1 ? 2 : 1;  // with E = 1 two lanes hold the same pair
    R p = carry, after;
    for (int round = 0;; ++round) {
      after = p;
#pragma unroll
      for (int i = 0; i < pairs_here; ++i) after = after * pair[i].exp_a;
      if ((round + 1) * distance >= lanes.count) break;
      const R before = __shfl_up_sync(whole_warp, after, distance, lanes.count);
      p = lanes.lane >= distance ? before : carry;
    }
#pragma unroll
    for (int i = 0; i < pairs_here; ++i) {
      const R r = p * pair[i].radius;
      if constexpr (E == 1) {
        z[0] = r * ((c & 1) != 0 ? pair[0].sine : pair[0].cosine);
      } else {
        z[2 * i] = r * pair[i].cosine;
        z[2 * i + 1] = r * pair[i].sine;
      }
      p = p * pair[i].exp_a;
    }
    carry = lanes.from(after, lanes.count - 1);
  }

  PathWords words_;
  const SimSpec<R>& spec_;
  int row_;  // numbers a message takes from the stream
  std::uint64_t first_block_;
  BlockReader<R, normals_per_block<R>> normals_;
  BlockReader<R, pairs_per_block<R>> pairs_;
  struct Nothing {};
  std::conditional_t<family == LawFamily::all, BlockReader<BitsOf<R>, uniforms_per_block<R>>, Nothing> selectors_;
};

}  // namespace pathbound::cuda
