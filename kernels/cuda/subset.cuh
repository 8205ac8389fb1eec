// SPDX-License-Identifier: Apache-2.0
// rand_k on the lanes of a path: the subsets of as many messages as there are lanes are chosen at once, one a lane.
#pragma once
#include "kernels/compressors.hpp"
#include "kernels/cuda/noise.cuh"
#include "kernels/cuda/segment.cuh"
#include "kernels/marginal.hpp"

namespace pathbound::cuda {

/// Calls use(t, j) for the digits of the message's subset in order, j = dim - m .. dim - 1 and t in 0 .. j (Floyd's
/// algorithm, compressors.hpp). A word a digit.
template <class R, class Use>
__device__ __forceinline__ void for_subset_digits(const SimSpec<R>& spec, const Segment<R>& segment,
                                                  const PathWords& words, std::uint64_t message, Use&& use) {
  const std::uint64_t step = message / static_cast<std::uint32_t>(spec.n_workers);
  const int worker = static_cast<int>(message - step * static_cast<std::uint32_t>(spec.n_workers));
  const std::uint32_t before = segment.subset_words[worker];
  const int count = static_cast<int>(segment.subset_words[worker + 1] - before);
  constexpr int per_block = uniforms_per_block<R>;
  const std::uint64_t first = step * segment.subset_words[spec.n_workers] + before;
  const int blocks = static_cast<int>((first % per_block + count + per_block - 1) / per_block);
  int number = -static_cast<int>(first % per_block);  // of the block's first word among the message's
#pragma unroll 1
  for (int b = 0; b < blocks; ++b) {
    BitsOf<R> block[4];
    words.template block<R>(first_block(Purpose::compressor) + first / per_block + b, block);
#pragma unroll
    for (int i = 0; i < per_block; ++i, ++number) {
      const std::uint32_t word = static_cast<std::uint32_t>(block[sizeof(R) == 4 ? i : 2 * i + 1]);
      const int j = spec.objective.dim - count + number;
      if (number >= 0 && number < count) use(__umulhi(word, static_cast<std::uint32_t>(j + 1)), j);
    }
  }
}

/// The same for workers drawn together (marginal.hpp), message i of a step being worker i of the groups in order.
template <class R, class Use>
__device__ __forceinline__ void for_marginal_subset_digits(const SimSpec<R>& spec, const PathWords& words,
                                                           std::uint64_t path, std::uint64_t message, Use&& use) {
  const MarginalSpec<R>& marginal = spec.marginal;
  const std::uint64_t step = message / static_cast<std::uint32_t>(spec.n_workers);
  int worker = static_cast<int>(message - step * static_cast<std::uint32_t>(spec.n_workers)), g = 0;
  std::uint64_t first = step * static_cast<std::uint32_t>(marginal.subset_words);
  for (; worker >= marginal.groups[g].workers; ++g) {
    worker -= marginal.groups[g].workers;
    first += static_cast<std::uint64_t>(marginal.groups[g].workers) * marginal.groups[g].subset_words;
  }
  const MarginalGroup<R>& group = marginal.groups[g];
  first += static_cast<std::uint64_t>(worker) * group.subset_words;
  constexpr int per_block = uniforms_per_block<R>;
  std::uint64_t made = ~std::uint64_t{0};
  BitsOf<R> block[4];
#pragma unroll 1
  for (int i = 0; i < group.subset_words; ++i) {
    const std::uint64_t number = first + i;
    if (number / per_block != made) {
      made = number / per_block;
      words.template block<R>(first_block(Purpose::compressor) + made, block);
    }
    std::uint32_t drawn[per_block];
#pragma unroll
    for (int w = 0; w < per_block; ++w) drawn[w] = static_cast<std::uint32_t>(block[sizeof(R) == 4 ? w : 2 * w + 1]);
    std::uint32_t word = pick(drawn, static_cast<int>(number % per_block));
    const SubsetWord digits = marginal.subsets[group.first_subset + i];
    if (subset_word_is_open(word * digits.bound, digits.bound))
      word = extended_subset_word(word, digits.bound, spec.seed, path, number);
#pragma unroll 1
    for (int j = digits.first; j < digits.first + digits.count; ++j) {
      use(__umulhi(word, static_cast<std::uint32_t>(j + 1)), j);
      word *= static_cast<std::uint32_t>(j + 1);
    }
  }
}

/// Whether workers are drawn together.
enum class Together { never, always };

template <Together marginal, class R, class Use>
__device__ __forceinline__ void for_digits(const SimSpec<R>& spec, const Segment<R>& segment, const PathWords& words,
                                           std::uint64_t path, std::uint64_t message, Use&& use) {
  if constexpr (marginal == Together::always) {
    for_marginal_subset_digits(spec, words, path, message, use);
  } else {
    for_subset_digits(spec, segment, words, message, use);
  }
}

/// A set of up to 32, 64 or 128 coordinates in registers. Written with bits, not with an index into words: that would
/// put the words into memory.
struct Set32 {
  std::uint32_t bits = 0;
  __device__ __forceinline__ bool has(std::uint32_t j) const { return ((bits >> j) & 1u) != 0; }
  __device__ __forceinline__ void insert(std::uint32_t j) { bits |= 1u << j; }
};
struct Set64 {
  std::uint64_t bits = 0;
  __device__ __forceinline__ bool has(std::uint32_t j) const { return ((bits >> j) & 1u) != 0; }
  __device__ __forceinline__ void insert(std::uint32_t j) { bits |= std::uint64_t{1} << j; }
};
struct Set128 {
  std::uint64_t low = 0, high = 0;
  __device__ __forceinline__ bool has(std::uint32_t j) const { return (((j < 64 ? low : high) >> (j & 63)) & 1u) != 0; }
  __device__ __forceinline__ void insert(std::uint32_t j) {
    const std::uint64_t bit = std::uint64_t{1} << (j & 63);
    low |= j < 64 ? bit : 0;
    high |= j < 64 ? 0 : bit;
  }
};

/// Subsets of up to 32 E coordinates.
template <class R, int E, Together marginal>
class RegisterSubsets {
 public:
  __device__ __forceinline__ RegisterSubsets(const SimSpec<R>& spec, const Segment<R>& segment, std::uint64_t path,
                                             const Lanes& lanes)
      : spec_(spec), segment_(segment), words_(spec.seed, path), path_(path), lanes_(lanes) {}

  /// Bit e: whether coordinate c + e is in the set of this message. To be called with rising messages by all lanes.
  __device__ __forceinline__ std::uint32_t members(std::uint64_t message, int c) {
    const std::uint64_t batch = message & ~static_cast<std::uint64_t>(lanes_.count - 1);
    if (batch != batch_) {
      batch_ = batch;
      choose(batch + static_cast<std::uint64_t>(lanes_.lane));
    }
    const int source = static_cast<int>(message - batch);
    std::uint64_t bits = lanes_.from(low_, source);
    if constexpr (E > 2) {
      if (spec_.objective.dim > 64) {
        const std::uint64_t high = lanes_.from(high_, source);
        if (c >= 64) bits = high;
      }
    }
    return static_cast<std::uint32_t>(bits >> (c & 63));
  }

 private:
  using Low = std::conditional_t<E == 1, std::uint32_t, std::uint64_t>;

  __device__ __forceinline__ void choose(std::uint64_t message) {
    if constexpr (E == 1) {
      low_ = chosen<Set32>(message).bits;
    } else {
      if constexpr (E > 2) {
        if (spec_.objective.dim > 64) {
          const Set128 set = chosen<Set128>(message);
          low_ = set.low;
          high_ = set.high;
          return;
        }
      }
      low_ = chosen<Set64>(message).bits;
    }
  }
  template <class Set>
  __device__ __forceinline__ Set chosen(std::uint64_t message) {
    Set set;
    for_digits<marginal>(spec_, segment_, words_, path_, message,
                         [&](std::uint32_t t, int j) { set.insert(set.has(t) ? static_cast<std::uint32_t>(j) : t); });
    return set;
  }

  const SimSpec<R>& spec_;
  const Segment<R>& segment_;
  PathWords words_;
  std::uint64_t path_;
  Lanes lanes_;
  std::uint64_t batch_ = ~std::uint64_t{0};
  Low low_;
  std::uint64_t high_;
};

/// Subsets of any size, in the segment's working memory.
template <class R, Together marginal>
class MemorySubsets {
 public:
  __device__ __forceinline__ MemorySubsets(const SimSpec<R>& spec, const Segment<R>& segment, std::uint64_t path,
                                           const Lanes& lanes, std::uint32_t local_path)
      : spec_(spec),
        segment_(segment),
        words_(spec.seed, path),
        path_(path),
        lanes_(lanes),
        rows_((spec.objective.dim + 31) / 32),
        masks_(segment.masks + static_cast<std::int64_t>(local_path) * lanes.count * rows_) {}

  __device__ __forceinline__ std::uint32_t members(std::uint64_t message, int c) {
    const std::uint64_t batch = message & ~static_cast<std::uint64_t>(lanes_.count - 1);
    if (batch != batch_) {
      batch_ = batch;
      __syncwarp();  // nobody reads the sets of the last batch any more
      std::uint32_t* mask = masks_ + static_cast<std::int64_t>(lanes_.lane) * rows_;
      for (int r = 0; r < rows_; ++r) mask[r] = 0;
      for_digits<marginal>(spec_, segment_, words_, path_, batch + static_cast<std::uint64_t>(lanes_.lane),
                           [&](std::uint32_t t, int j) {
                             if (((mask[t >> 5] >> (t & 31)) & 1u) != 0) t = static_cast<std::uint32_t>(j);
                             mask[t >> 5] |= 1u << (t & 31);
                           });
      __syncwarp();
    }
    if (c >= spec_.objective.dim) return 0u;
    return masks_[(message - batch) * static_cast<std::uint64_t>(rows_) + c / 32] >> (c & 31);
  }

 private:
  const SimSpec<R>& spec_;
  const Segment<R>& segment_;
  PathWords words_;
  std::uint64_t path_;
  Lanes lanes_;
  int rows_;
  std::uint32_t* masks_;
  std::uint64_t batch_ = ~std::uint64_t{0};
};

}  // namespace pathbound::cuda
