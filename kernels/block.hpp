// SPDX-License-Identifier: Apache-2.0
// What every process of a block of 32 paths has: the iterates and their gradients, who has diverged, and the statistics
// left at every checkpoint. P packs F hold the block (P * lanes = 32); slot t of a row belongs to path path_of_slot(t)
// of the block.
#pragma once
#include <atomic>

#include "kernels/objectives.hpp"
#include "kernels/sampling.hpp"
#include "kernels/statistics.hpp"
#include "kernels/sums.hpp"

namespace pathbound {

/// The traced path of a block: called at every checkpoint with x (dim doubles), S and |grad f|.
struct Trace {
  int slot = 0;
  void* context = nullptr;
  void (*call)(void* context, std::uint64_t step, const double* x, double s, double grad_norm, bool diverged) = nullptr;
};

/// Where a block leaves its results.
struct BlockOutput {
  Record* records = nullptr;  ///< one a checkpoint
  /// One more than the histogram bin of each path at each checkpoint, 0 for paths that are missing or diverged: 32
  /// numbers, bins_stride apart. May be null.
  std::uint16_t* bins = nullptr;
  std::int64_t bins_stride = 0;
  const Trace* trace = nullptr;                      ///< may be null
  const std::atomic<bool>* stop = nullptr;           ///< may be null; when true the block is given up
  std::atomic<std::uint64_t>* steps_done = nullptr;  ///< may be null; counts steps of blocks for the progress line
};

inline namespace PATHBOUND_ISA {

/// Doubles of a block's working memory: x or x - x* in double.
template <class R>
PATHBOUND_HD std::int64_t workspace_doubles(const SimSpec<R>& spec) {
  return static_cast<std::int64_t>(spec.objective.dim) * (block_paths + 1);
}

template <class F, int P>
class Block {
 public:
  using R = ScalarOf<F>;
  using D = DoubleOf<F>;
  using Word = BitsOf<R>;
  static constexpr int width = Rows<F, P>::width;
  static constexpr int lanes = RealTraits<F>::lanes;
  static_assert(width == block_paths);

 protected:
  /// x, g: dim rows each. doubles: workspace_doubles().
  PATHBOUND_HD Block(const SimSpec<R>& spec, std::uint64_t block, R* x, R* g, double* doubles, const BlockOutput& out)
      : spec_(spec), out_(out), x_(x), g_(g), doubles_(doubles) {
    const std::uint64_t first = block * block_paths;
    for (int p = 0; p < P; ++p) {
      Word words[lanes];
      for (int l = 0; l < lanes; ++l) {
        const std::uint64_t path = first + static_cast<std::uint64_t>(path_of_slot(p * lanes + l));
        words[l] = static_cast<Word>(static_cast<std::uint32_t>(path));
        if (path < spec.n_paths) alive_ |= 1u << (p * lanes + l);
      }
      path_low_[p] = load_bits(words, F());
    }
    present_ = alive_;
    path_high_ = static_cast<std::uint32_t>(first >> 32);
    for (int j = 0; j < spec.objective.dim; ++j)
      for (int p = 0; p < P; ++p) store(row(x_, j, p), F(spec.start[j]));
  }

  static PATHBOUND_HD R* row(R* rows, int j, int p) { return rows + static_cast<std::int64_t>(j) * width + p * lanes; }

  PATHBOUND_HD void track_gradient() {
    for (int p = 0; p < P; ++p) {
      F largest = load<F>(tracked_ + p * lanes);
      for (int j = 0; j < spec_.objective.dim; ++j) largest = max(abs(load<F>(row(g_, j, p))), largest);
      store(tracked_ + p * lanes, largest);
    }
  }

  /// max_j |f_j''(x_j)| of pack p; separable objectives.
  PATHBOUND_HD F largest_second(int p) const {
    F largest = real<F>(0.0);
    with_separable<F>(spec_.objective, [&](const auto& f) {
      for (int j = 0; j < spec_.objective.dim; ++j) largest = max(abs(f.second(load<F>(row(x_, j, p)), j)), largest);
    });
    return largest;
  }

  /// What the step of size `weight` adds to the sums of pack p (SimSpec::sums), before it is taken.
  PATHBOUND_HD void add_sums(int p, F weight) { sums_.add(spec_, p * lanes, row(g_, 0, p), weight); }
  PATHBOUND_HD void track_smoothness() {
    for (int p = 0; p < P; ++p) sums_.track_smoothness(spec_, p * lanes, row(x_, 0, p), row(g_, 0, p));
  }

  PATHBOUND_HD bool stopped() const {
#if !defined(__CUDA_ARCH__)
    return out_.stop != nullptr && out_.stop->load(std::memory_order_relaxed);
#else
    return false;
#endif
  }
  PATHBOUND_HD void note_steps(std::uint64_t n) const {
#if !defined(__CUDA_ARCH__)
    if (out_.steps_done != nullptr) out_.steps_done->fetch_add(n, std::memory_order_relaxed);
#endif
  }

  // ------------------------------------------------------------------ checkpoints
  static constexpr int double_lanes = RealTraits<D>::lanes;
  static constexpr int double_packs = block_paths / double_lanes;
  static constexpr std::uint32_t all_paths = 0xffffffffu;

  /// Takes the statistics of one checkpoint; x and g hold the iterate and its gradient.
  PATHBOUND_HD_CALL void record(std::uint64_t step, int index) {
    const int dim = spec_.objective.dim;
    D s[double_packs], norm[double_packs];
    F largest[P];
    evaluate(s, norm, largest);

    // A path has diverged when S or x is not finite or S > limit, and stays so. (An x_j that is not finite makes S so:
    // every objective depends on every coordinate.)
    const D limit(spec_.limit);
    auto all_within = le(abs(s[0]), limit);
    PATHBOUND_UNROLL
    for (int i = 1; i < double_packs; ++i) all_within = mask_and(all_within, le(abs(s[i]), limit));
    std::uint32_t within = all_paths;
    if (mask_bits(all_within) != (1u << double_lanes) - 1u) {
      within = 0;
      for (int i = 0; i < double_packs; ++i) within |= mask_bits(le(abs(s[i]), limit)) << (i * double_lanes);
    }
    alive_ &= within;

    Record& r = out_.records[index];
    if (alive_ == all_paths) {
      summarise(r, s, norm, largest);
    } else {
      summarise_some(r, s, norm, largest);
    }
    if (spec_.track_pl) add_pl_ratios(r, s, norm);
    r.max_grad_so_far = r.max_grad;
    r.sum_y = r.m2_y = r.m3_y = r.sum_t = r.smoothness = 0.0;
    if (spec_.track_gradient) {
      r.max_grad_so_far = 0.0;
      for (int t = 0; t < block_paths; ++t)
        if (((present_ >> t) & 1) != 0) r.max_grad_so_far = max(static_cast<double>(tracked_[t]), r.max_grad_so_far);
    }
    if (spec_.sums != SumKind::none) add_sum_moments(r);
    if (spec_.track_smoothness) {
      for (int t = 0; t < block_paths; ++t)
        if (((present_ >> t) & 1) != 0) r.smoothness = max(sums_.smoothness()[t], r.smoothness);
    }
    if (out_.bins != nullptr) note_bins(index, s);
    if (out_.trace != nullptr) {
      const int t = out_.trace->slot;
      double* x = doubles_ + static_cast<std::int64_t>(dim) * block_paths;
      for (int j = 0; j < dim; ++j) x[j] = static_cast<double>(x_[j * width + t]);
      alignas(64) double value[block_paths], gradient_norm[block_paths];
      to_array(s, value);
      to_array(norm, gradient_norm);
      out_.trace->call(out_.trace->context, step, x, value[t], gradient_norm[t], ((alive_ >> t) & 1) == 0);
    }
  }

  static PATHBOUND_HD void to_array(const D v[double_packs], double* out) {
    for (int i = 0; i < double_packs; ++i) store(out + i * double_lanes, v[i]);
  }

  /// S, |grad f| (in double: its square would overflow a float long before S does) and max_j |grad_j f| of each path.
  PATHBOUND_HD void evaluate(D s[double_packs], D norm[double_packs], F largest[P]) {
    const ObjectiveSpec<R>& f = spec_.objective;
    const int dim = f.dim;
    if (dim == 1 && is_separable(f.kind)) return evaluate_one(s, norm, largest);
    for (int p = 0; p < P; ++p) {
      largest[p] = abs(load<F>(row(g_, 0, p)));
      for (int j = 1; j < dim; ++j) largest[p] = max(abs(load<F>(row(g_, j, p))), largest[p]);
    }
    for (int i = 0; i < double_packs; ++i) {
      const R* g = g_ + i * double_lanes;
      norm[i] = sqrt(tree_sum<D>(dim, [&](int j) {
        const D component = load_as_double<D>(g + static_cast<std::int64_t>(j) * width);
        return component * component;
      }));
    }
    if (is_separable(f.kind)) {
      with_separable<F>(f, [&](const auto& objective) {
        for (int p = 0; p < P; ++p)
          store(value_ + p * lanes, separable_suboptimality<F>(objective, dim, x_ + p * lanes, width));
      });
      for (int i = 0; i < double_packs; ++i) s[i] = load_as_double<D>(value_ + i * double_lanes);
    } else {
      for (int j = 0; j < dim; ++j)
        for (int i = 0; i < double_packs; ++i)
          store(
              doubles_ + static_cast<std::int64_t>(j) * block_paths + i * double_lanes,
              load_as_double<D>(x_ + static_cast<std::int64_t>(j) * width + i * double_lanes) - D(f.x_star_double[j]));
      for (int i = 0; i < double_packs; ++i) s[i] = dense_suboptimality<D>(f, doubles_ + i * double_lanes, block_paths);
    }
  }

  /// The same for one coordinate, without loops over coordinates.
  PATHBOUND_HD void evaluate_one(D s[double_packs], D norm[double_packs], F largest[P]) {
    with_separable<F>(spec_.objective, [&](const auto& objective) {
      PATHBOUND_UNROLL
      for (int p = 0; p < P; ++p) store(value_ + p * lanes, objective.value(load<F>(x_ + p * lanes), 0));
    });
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) largest[p] = abs(load<F>(g_ + p * lanes));
    PATHBOUND_UNROLL
    for (int i = 0; i < double_packs; ++i) {
      s[i] = load_as_double<D>(value_ + i * double_lanes);
      norm[i] = abs(load_as_double<D>(g_ + i * double_lanes));
    }
  }

  /// Statistics of a block in which every path is alive.
  PATHBOUND_HD void summarise(Record& r, const D s[double_packs], const D norm[double_packs],
                              const F largest[P]) const {
    D a[double_packs], b[double_packs];
    PATHBOUND_UNROLL
    for (int i = 0; i < double_packs; ++i) a[i] = s[i];
    r.finite = block_paths;
    r.sum = tree_sum_of_block<D>(a);
    const D mean(r.sum / block_paths);
    PATHBOUND_UNROLL
    for (int i = 0; i < double_packs; ++i) {
      const D d = s[i] - mean;
      a[i] = d * d;
      b[i] = a[i] * d;
    }
    r.m2 = tree_sum_of_block<D>(a);
    r.m3 = tree_sum_of_block<D>(b);
    PATHBOUND_UNROLL
    for (int i = 0; i < double_packs; ++i) a[i] = norm[i];
    r.grad_norm_sum = tree_sum_of_block<D>(a);
    r.min = fold_lanes<D, double_packs>(s, [](auto x, auto y) { return min(x, y); });
    r.max = fold_lanes<D, double_packs>(s, [](auto x, auto y) { return max(x, y); });
    r.max_grad = static_cast<double>(fold_lanes<F, P>(largest, [](auto x, auto y) { return max(x, y); }));
    r.pl_min = r.pl_max = 0.0;
  }

  /// Statistics of a block with some paths missing or diverged: they count as zeros in the sums.
  PATHBOUND_HD_CALL void summarise_some(Record& r, const D s[double_packs], const D norm[double_packs],
                                        const F largest[P]) const {
    alignas(64) double value[block_paths], gradient_norm[block_paths];
    alignas(64) R big[block_paths];
    to_array(s, value);
    to_array(norm, gradient_norm);
    for (int p = 0; p < P; ++p) store(big + p * lanes, largest[p]);
    r = Record();
    for (int t = 0; t < block_paths; ++t) {
      if (((alive_ >> t) & 1) == 0) {
        value[t] = gradient_norm[t] = 0.0;
        continue;
      }
      const double g = static_cast<double>(big[t]);
      r.min = r.finite == 0 ? value[t] : min(value[t], r.min);
      r.max = r.finite == 0 ? value[t] : max(value[t], r.max);
      r.max_grad = r.finite == 0 ? g : max(g, r.max_grad);
      ++r.finite;
    }
    if (r.finite == 0) return;
    r.sum = sum_of_array(value);
    r.grad_norm_sum = sum_of_array(gradient_norm);
    const double mean = r.sum / static_cast<double>(r.finite);
    alignas(64) double second[block_paths], third[block_paths];
    for (int t = 0; t < block_paths; ++t) {
      const double d = ((alive_ >> t) & 1) != 0 ? value[t] - mean : 0.0;
      second[t] = d * d;
      third[t] = second[t] * d;
    }
    r.m2 = sum_of_array(second);
    r.m3 = sum_of_array(third);
  }

  /// Moments over the paths that are alive.
  PATHBOUND_HD_CALL void add_sum_moments(Record& r) const {
    if (r.finite == 0) return;
    alignas(64) double y[block_paths], second[block_paths], third[block_paths];
    const auto of_alive = [&](int t, double v) { return ((alive_ >> t) & 1) != 0 ? v : 0.0; };
    for (int t = 0; t < block_paths; ++t) y[t] = of_alive(t, sums_.y()[t]);
    r.sum_y = sum_of_array(y);
    const double mean = r.sum_y / static_cast<double>(r.finite);
    for (int t = 0; t < block_paths; ++t) {
      const double d = of_alive(t, y[t] - mean);
      second[t] = d * d;
      third[t] = second[t] * d;
    }
    r.m2_y = sum_of_array(second);
    r.m3_y = sum_of_array(third);
    for (int t = 0; t < block_paths; ++t) y[t] = of_alive(t, sums_.t()[t]);
    r.sum_t = sum_of_array(y);
  }

  static PATHBOUND_HD double sum_of_array(const double* v) {
    D packs[double_packs];
    for (int i = 0; i < double_packs; ++i) packs[i] = load<D>(v + i * double_lanes);
    return tree_sum_of_block<D>(packs);
  }

  /// S below 2^-100 (the histogram's floor, denormal floats among them) says nothing about the ratio.
  PATHBOUND_HD_CALL void add_pl_ratios(Record& r, const D s[double_packs], const D norm[double_packs]) const {
    alignas(64) double ratio[block_paths];
    for (int i = 0; i < double_packs; ++i)
      store(ratio + i * double_lanes,
            select(lt(real<D>(0x1p-100), s[i]), norm[i] * norm[i] / (real<D>(2.0) * s[i]), real<D>(-1.0)));
    bool any = false;
    for (int t = 0; t < block_paths; ++t) {
      if (((alive_ >> t) & 1) == 0 || !(ratio[t] >= 0.0 && ratio[t] <= 1e300)) continue;
      r.pl_min = any ? min(ratio[t], r.pl_min) : ratio[t];
      r.pl_max = any ? max(ratio[t], r.pl_max) : ratio[t];
      any = true;
    }
  }

  /// Notes the histogram bin of each path that is alive. Counting them is left to the caller, who does it for several
  /// blocks at once, so that one checkpoint's counts stay in the first-level cache meanwhile.
  PATHBOUND_HD void note_bins(int index, const D s[double_packs]) const {
    std::uint16_t* bins = out_.bins + static_cast<std::int64_t>(index) * out_.bins_stride;
    if constexpr (sizeof(R) == 4) {
      if (alive_ == all_paths && is_separable(spec_.objective.kind)) {  // histogram_bin, a pack at a time
        alignas(64) std::uint32_t wide[block_paths];
        PATHBOUND_UNROLL
        for (int p = 0; p < P; ++p) {
          const F v = min(max(load<F>(value_ + p * lanes), real<F>(0x1p-100)), real<F>(0x1p100));
          store_bits(wide + p * lanes, shr(as_bits(v), 17) - BitsOf<F>(histogram_first - 1u));
        }
        for (int t = 0; t < block_paths; ++t) bins[t] = static_cast<std::uint16_t>(wide[t]);
        return;
      }
    }
    alignas(64) double value[block_paths];
    to_array(s, value);
    for (int t = 0; t < block_paths; ++t)
      bins[t] = static_cast<std::uint16_t>(histogram_bin(static_cast<float>(value[t])) + 1);
    if (alive_ != all_paths)
      for (int t = 0; t < block_paths; ++t)
        if (((alive_ >> t) & 1) == 0) bins[t] = 0;
  }

  const SimSpec<R>& spec_;
  const BlockOutput& out_;
  BitsOf<F> path_low_[P];
  std::uint32_t path_high_ = 0;
  R *x_, *g_;
  double* doubles_;
  std::uint32_t alive_ = 0;            // slots whose path has not diverged
  std::uint32_t present_ = 0;          // slots with a path: the last block may have fewer than 32
  alignas(64) R value_[width] = {};    // S at the checkpoint, separable objectives only
  alignas(64) R tracked_[width] = {};  // largest |grad_j f| of each path so far
  PathSums<F, width> sums_;
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
