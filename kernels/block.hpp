// SPDX-License-Identifier: Apache-2.0
// What every process of a block of 32 paths has: the iterates and their gradients, who has diverged, and the statistics
// left at every checkpoint. P packs F hold the block (P * lanes = 32); slot t of a row belongs to path path_of_slot(t)
// of the block.
#pragma once
#include <atomic>

#include "kernels/bin_queue.hpp"
#include "kernels/objectives.hpp"
#include "kernels/record_rows.hpp"
#include "kernels/sampling.hpp"
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
  RecordRows records;                                ///< of every checkpoint; rows go on for RecordRows::padding more
  BinQueue* bins = nullptr;                          ///< may be null
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
    limit_ = D(spec.limit);
    lower_limit_ = D(-spec.limit);
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

  /// Bins of blocks before, to be counted between steps: a fixed number of them or none. (With short packs the steps
  /// leave no slots for it.)
  PATHBOUND_HD const std::uint16_t* take_bins(int n) const {
    if constexpr (double_lanes < 8) return nullptr;
    return out_.bins != nullptr ? out_.bins->take(n) : nullptr;
  }

  // ------------------------------------------------------------------ checkpoints
  static constexpr int double_lanes = RealTraits<D>::lanes;
  static constexpr int double_packs = block_paths / double_lanes;
  static constexpr std::uint32_t all_paths = 0xffffffffu;

  /// `record` without its rare cases: for one coordinate, when every path is alive and there are neither details nor a
  /// trace. False when it has done nothing.
  template <class Objective>
  PATHBOUND_HD_CALL bool record_one(const Objective& f, int index) {
    if (alive_ != all_paths || out_.records.detailed || out_.trace != nullptr || out_.bins == nullptr) return false;
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) {
      store(value_ + p * lanes, f.value(load<F>(x_ + p * lanes), 0));
      store(size_ + p * lanes, abs(load<F>(g_ + p * lanes)));
    }
#if defined(__GNUC__)
    asm volatile("" : : : "memory");  // conversions are half as many instructions from memory as from registers
#endif
    D s[double_packs], norm[double_packs];
    PATHBOUND_UNROLL
    for (int i = 0; i < double_packs; ++i) {
      s[i] = load_as_double<D>(value_ + i * double_lanes);
      norm[i] = load_as_double<D>(size_ + i * double_lanes);
    }
    const D sum = add_packs(s);
    const D least = fold_packs<D, double_packs>(s, smaller), most = fold_packs<D, double_packs>(s, larger);
    if (!within_limit(sum, least, most)) return false;
    hold(index, s, sum, least, most, add_packs(norm), fold_packs<D, double_packs>(norm, larger));
    note_bins(index, s);
    if (held_ == held_together || index + 1 == spec_.n_checkpoints) summarise_held();
    return true;
  }

  /// Whether no path diverges here, from the sum and the extremes of S: the sum is NaN when a term is.
  PATHBOUND_HD bool within_limit(D sum, D least, D most) const {
    const auto within = mask_and(eq(sum, sum), mask_and(le(most, limit_), le(lower_limit_, least)));
    return mask_bits(within) == (1u << double_lanes) - 1u;
  }

  /// Takes the statistics of one checkpoint; x and g hold the iterate and its gradient.
  PATHBOUND_HD_CALL void record(std::uint64_t step, int index) {
    const int dim = spec_.objective.dim;
    D s[double_packs], norm[double_packs];
    F largest[P];
    evaluate(s, norm, largest);

    // A path has diverged when S or x is not finite or S > limit, and stays so. (An x_j that is not finite makes S so:
    // every objective depends on every coordinate.)
    const D sum = add_packs(s);
    const D least = fold_packs<D, double_packs>(s, smaller), most = fold_packs<D, double_packs>(s, larger);
    if (!within_limit(sum, least, most)) {
      std::uint32_t paths = 0;
      for (int i = 0; i < double_packs; ++i) paths |= mask_bits(le(abs(s[i]), limit_)) << (i * double_lanes);
      alive_ &= paths;
    }
    if (alive_ == all_paths) {
      alignas(64) R big[lanes];
      store(big, fold_packs<F, P>(largest, larger));
      D packs[lanes / double_lanes];
      for (int i = 0; i < lanes / double_lanes; ++i) packs[i] = load_as_double<D>(big + i * double_lanes);
      hold(index, s, sum, least, most, add_packs(norm), fold_packs<D, lanes / double_lanes>(packs, larger));
    } else {
      if (held_ > 0) summarise_held();
      out_.records.set(index, summarise_some(s, norm, largest));
    }
    if (held_ > 0 && (held_ == held_together || out_.records.detailed || index + 1 == spec_.n_checkpoints))
      summarise_held();
    if (out_.records.detailed) add_details(index, s, norm);
    if (out_.bins != nullptr) {
      note_bins(index, s);
    }
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

  static constexpr auto plus = [](D a, D b) { return a + b; };
  static constexpr auto smaller = [](auto a, auto b) { return min(a, b); };
  static constexpr auto larger = [](auto a, auto b) { return max(a, b); };
  static PATHBOUND_HD D add_packs(const D v[double_packs]) { return fold_packs<D, double_packs>(v, plus); }

  // A checkpoint in which every path is alive is not summarised at once: the lanes of as many checkpoints as a pack has
  // are folded together, which takes a third of the shuffles and leaves each statistic of all of them in one pack.
  static constexpr int held_together = double_lanes;

  PATHBOUND_HD void hold(int index, const D s[double_packs], D sum, D least, D most, D norm_sum, D max_grad) {
    if (held_ == 0) first_held_ = index;
    const int at = held_++;
    PATHBOUND_UNROLL
    for (int i = 0; i < double_packs; ++i) store(held_s_ + at * block_paths + i * double_lanes, s[i]);
    held_sum_[at] = sum;
    held_min_[at] = least;
    held_max_[at] = most;
    held_norm_[at] = norm_sum;
    held_grad_[at] = max_grad;
  }

  /// Writes the records of the checkpoints held back, and beyond them in the rows what does not count.
  PATHBOUND_HD_CALL void summarise_held() {
    const auto row = [&](int field) { return out_.records.row(field) + first_held_; };
    for (int i = held_; i < held_together; ++i)
      held_sum_[i] = held_min_[i] = held_max_[i] = held_norm_[i] = held_grad_[i] = held_sum_[0];
    store(row(RecordRows::finite), real<D>(block_paths));
    store(row(RecordRows::min), fold_lanes<D>(held_min_, smaller));
    store(row(RecordRows::max), fold_lanes<D>(held_max_, larger));
    store(row(RecordRows::grad_norm_sum), fold_lanes<D>(held_norm_, plus));
    store(row(RecordRows::max_grad), fold_lanes<D>(held_grad_, larger));
    const D sum = fold_lanes<D>(held_sum_, plus);
    store(row(RecordRows::sum), sum);
    alignas(64) double mean[held_together];
    store(mean, sum * real<D>(1.0 / block_paths));
    D second[held_together], third[held_together];
    int c = 0;
    do {
      const D m(mean[c]);
      D a[double_packs], b[double_packs];
      PATHBOUND_UNROLL
      for (int i = 0; i < double_packs; ++i) {
        const D d = load<D>(held_s_ + c * block_paths + i * double_lanes) - m;
        a[i] = d * d;
        b[i] = a[i] * d;
      }
      second[c] = add_packs(a);
      third[c] = add_packs(b);
    } while (++c < held_);
    for (; c < held_together; ++c) second[c] = third[c] = second[0];
    store(row(RecordRows::m2), fold_lanes<D>(second, plus));
    store(row(RecordRows::m3), fold_lanes<D>(third, plus));
    held_ = 0;
  }

  /// The details of a record; its other fields are there.
  PATHBOUND_HD_CALL void add_details(int index, const D s[double_packs], const D norm[double_packs]) const {
    const RecordRows& rows = out_.records;
    for (int field = RecordRows::n_plain; field < RecordRows::n_fields; ++field) rows.row(field)[index] = 0.0;
    rows.row(RecordRows::max_grad_so_far)[index] = rows.row(RecordRows::max_grad)[index];
    Record r = rows.get(index);
    if (spec_.track_pl) add_pl_ratios(r, s, norm);
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
    rows.set(index, r);
  }

  /// Statistics of a block with some paths missing or diverged: they count as zeros in the sums.
  PATHBOUND_HD_CALL Record summarise_some(const D s[double_packs], const D norm[double_packs],
                                          const F largest[P]) const {
    alignas(64) double value[block_paths], gradient_norm[block_paths];
    alignas(64) R big[block_paths];
    to_array(s, value);
    to_array(norm, gradient_norm);
    for (int p = 0; p < P; ++p) store(big + p * lanes, largest[p]);
    Record r;
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
    if (r.finite == 0) return r;
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
    return r;
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

  /// Notes the histogram bin of each path that is alive.
  PATHBOUND_HD void note_bins(int index, const D s[double_packs]) const {
    std::uint16_t* bins = out_.bins->place(index);
    if constexpr (sizeof(R) == 4) {
      if (alive_ == all_paths && is_separable(spec_.objective.kind)) {  // histogram_bin, a pack at a time
        const auto bin = [&](int p) {
          const F v = min(max(load<F>(value_ + p * lanes), real<F>(0x1p-100)), real<F>(0x1p100));
          return shr(as_bits(v), 17) - BitsOf<F>(histogram_first - 1u);
        };
        PATHBOUND_UNROLL
        for (int p = 0; p < P; p += 2) store_narrow(bins + p * lanes, bin(p), bin(p + 1));
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
  alignas(64) R size_[width];          // record_one: |grad f|
  alignas(64) R tracked_[width] = {};  // largest |grad_j f| of each path so far
  PathSums<F, width> sums_;
  D limit_, lower_limit_;          // of S in a path that has not diverged
  int held_ = 0, first_held_ = 0;  // checkpoints held back
  alignas(64) double held_s_[held_together * block_paths];
  D held_sum_[held_together], held_min_[held_together], held_max_[held_together];
  D held_norm_[held_together], held_grad_[held_together];
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
