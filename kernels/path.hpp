// SPDX-License-Identifier: Apache-2.0
// The one time loop: it takes the 32 paths of a block from x_0 to the last step and leaves statistics at every
// checkpoint. P packs F hold the block (P * lanes = 32); slot t of a row belongs to path path_of_slot(t) of the block.
#pragma once
#include <atomic>

#include "kernels/compressors.hpp"
#include "kernels/objectives.hpp"
#include "kernels/sampling.hpp"
#include "kernels/schedules.hpp"
#include "kernels/statistics.hpp"

namespace pathbound {

/// The traced path of a block: called at every checkpoint with x (dim doubles), S and |grad f|.
struct Trace {
  int slot = 0;
  void* context = nullptr;
  void (*call)(void* context, std::uint64_t step, const double* x, double s, double grad_norm, bool diverged) = nullptr;
};

/// Where a block leaves its results.
struct BlockOutput {
  Record* records = nullptr;              ///< one a checkpoint
  std::uint32_t* histogram = nullptr;     ///< histogram_bins counts a checkpoint, added to
  std::int32_t* bin_range = nullptr;      ///< smallest and largest touched bin a checkpoint
  const Trace* trace = nullptr;           ///< may be null
  const std::atomic<bool>* stop = nullptr;         ///< may be null; when true the block is given up
  std::atomic<std::uint64_t>* steps_done = nullptr;  ///< may be null; counts steps of blocks for the progress line
};

inline namespace PATHBOUND_ISA {

/// Rows of a block's working memory, in scalars of R (mask rows have the width of R).
template <class R>
PATHBOUND_HD std::int64_t workspace_rows(const SimSpec<R>& spec) {
  const std::int64_t dim = spec.objective.dim;
  const std::int64_t scratch = spec.objective.kind == ObjectiveKind::logistic ? spec.objective.n_rows : 0;
  const std::int64_t mask = spec.compressor == CompressorKind::rand_k ? (dim + 31) / 32 : 0;
  return 3 * dim + scratch + 2 * mask + 2;
}
/// Doubles of a block's working memory: x or x - x* in double.
template <class R>
PATHBOUND_HD std::int64_t workspace_doubles(const SimSpec<R>& spec) {
  return static_cast<std::int64_t>(spec.objective.dim) * (block_paths + 1);
}

template <class F, int P>
class BlockRun {
 public:
  using R = ScalarOf<F>;
  using D = DoubleOf<F>;
  using Word = BitsOf<R>;
  static constexpr int width = Rows<F, P>::width;
  static constexpr int lanes = RealTraits<F>::lanes;
  static_assert(width == block_paths);

  PATHBOUND_HD BlockRun(const SimSpec<R>& spec, std::uint64_t block, R* rows, double* doubles, const BlockOutput& out)
      : spec_(spec), out_(out), step_sizes_(spec), doubles_(doubles) {
    const std::int64_t dim = spec.objective.dim;
    x_ = rows;
    g_ = x_ + dim * width;
    sum_ = g_ + dim * width;
    scratch_ = sum_ + dim * width;
    mask_ = reinterpret_cast<Word*>(scratch_ + (spec.objective.kind == ObjectiveKind::logistic ? spec.objective.n_rows : 0) * width);

    const std::uint64_t first = block * block_paths;
    alive_ = 0;
    BitsOf<F> low[P];
    for (int p = 0; p < P; ++p) {
      Word words[lanes];
      for (int l = 0; l < lanes; ++l) {
        const std::uint64_t path = first + static_cast<std::uint64_t>(path_of_slot(p * lanes + l));
        words[l] = static_cast<Word>(static_cast<std::uint32_t>(path));
        if (path < spec.n_paths) alive_ |= 1u << (p * lanes + l);
      }
      low[p] = load_bits(words, F());
    }
    const std::uint32_t high = static_cast<std::uint32_t>(first >> 32);
    noise_.init(spec.seed, low, high, spec.law, spec.nu, spec.objective.dim);
    if (spec.compressor_uniforms > 0) compressor_words_.init(spec.seed, low, high, Purpose::compressor);
    for (int j = 0; j < dim; ++j)
      for (int p = 0; p < P; ++p) store(row(x_, j, p), F(spec.start[j]));
  }

  /// False when it was stopped.
  PATHBOUND_HD_CALL bool run() {
    const ObjectiveSpec<R>& f = spec_.objective;
    if (f.dim == 1 && spec_.n_workers == 1 && !spec_.affine && !spec_.track_gradient && is_separable(f.kind) &&
        spec_.compressor == CompressorKind::identity && spec_.law != LawKind::multivariate_t)
      return run_scalar();
    return run_general();
  }

 private:
  static PATHBOUND_HD R* row(R* rows, int j, int p) { return rows + static_cast<std::int64_t>(j) * width + p * lanes; }

  // ------------------------------------------------------------------ the general step
  PATHBOUND_HD bool run_general() {
    const int dim = spec_.objective.dim;
    int next = 0;
    for (std::uint64_t k = 0;; ++k) {
      for (int p = 0; p < P; ++p) gradient<F>(spec_.objective, x_ + p * lanes, width, g_ + p * lanes, scratch_ + p * lanes);
      if (spec_.track_gradient) track_gradient();
      if (k == spec_.checkpoint_steps[next]) {
        record(k, next);
        if (++next == spec_.n_checkpoints) return true;
      }
      if (!keep_going(k)) return false;
      const double eta = step_sizes_.at(k);

      for (int p = 0; p < P; ++p) {
        if (spec_.affine) {
          const F square = tree_sum<F>(dim, [&](int j) {
            const F g = load<F>(row(g_, j, p));
            return g * g;
          });
          store(grad_square_ + p * lanes, square / real<F>(dim));
        }
        for (int j = 0; j < dim; ++j) store(row(sum_, j, p), real<F>(0.0));
      }
      for (int i = 0; i < spec_.n_workers; ++i) add_worker(spec_.workers[i]);
      const F factor(static_cast<R>(-(eta / spec_.n_workers)));
      for (int j = 0; j < dim; ++j)
        PATHBOUND_UNROLL
        for (int p = 0; p < P; ++p) store(row(x_, j, p), fma(factor, load<F>(row(sum_, j, p)), load<F>(row(x_, j, p))));
    }
  }

  /// Adds one worker's message, C(g + s zeta) or its sign, to the sum, coordinate by coordinate.
  PATHBOUND_HD void add_worker(const WorkerSpec<R>& worker) {
    const int dim = spec_.objective.dim;
    for (int p = 0; p < P; ++p) {
      F s(worker.scale);
      if (spec_.affine) s = sqrt(fma(F(worker.affine_sq), load<F>(grad_square_ + p * lanes), F(worker.scale_sq)));
      store(scale_ + p * lanes, s);
    }
    bool set_means_kept = false;
    if (spec_.compressor == CompressorKind::rand_k)
      set_means_kept = choose_subset<F, P>(dim, worker.keep, compressor_words_, mask_);

    int j = 0;
    while (j < dim) {
      int got;
      const R* z = noise_.take(dim - j, got);
      if (spec_.method == MethodKind::dsignsgd) {
        add_message(z, j, got, [&](int, int, F v) {
          const F zero = real<F>(0.0), one = real<F>(1.0);
          return zero_unless(lt(zero, v), one) - zero_unless(lt(v, zero), one);  // sign(0) = 0
        });
      } else if (spec_.compressor == CompressorKind::rand_k) {
        const F inverse(worker.inverse_keep);
        add_message(z, j, got, [&](int c, int p, F v) {
          constexpr int bits = bits_per_lane<F>;
          return inverse * keep_coordinate<F>(mask_ + (c / bits) * width + p * lanes, c % bits, set_means_kept, v);
        });
      } else if (spec_.compressor == CompressorKind::bernoulli) {
        const F inverse(worker.inverse_keep);
        for (int done = 0; done < got;) {
          int words_got;
          const Word* w = compressor_words_.take(got - done, words_got);
          add_message(z + done * width, j + done, words_got, [&, base = j + done](int c, int p, F v) {
            return inverse * keep_bernoulli<F>(w + (c - base) * width + p * lanes, worker.keep_below, v);
          });
          done += words_got;
        }
      } else {
        add_message(z, j, got, [](int, int, F v) { return v; });
      }
      j += got;
    }
    // multivariate_t hands out an even number of values a worker.
    if (spec_.law == LawKind::multivariate_t && (dim & 1) != 0) {
      int got;
      noise_.take(1, got);
    }
  }

  template <class Message>
  PATHBOUND_HD void add_message(const R* z, int first, int count, Message&& message) {
    F s[P];
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) s[p] = load<F>(scale_ + p * lanes);
    for (int i = 0; i < count; ++i)
      PATHBOUND_UNROLL
      for (int p = 0; p < P; ++p) {
        const F v = fma(s[p], load<F>(z + i * width + p * lanes), load<F>(row(g_, first + i, p)));
        R* sum = row(sum_, first + i, p);
        store(sum, load<F>(sum) + message(first + i, p, v));
      }
  }

  PATHBOUND_HD void track_gradient() {
    F largest = load<F>(tracked_);
    for (int j = 0; j < spec_.objective.dim; ++j)
      for (int p = 0; p < P; ++p) largest = max(abs(load<F>(row(g_, j, p))), largest);
    store(tracked_, largest);
  }

  PATHBOUND_HD bool keep_going(std::uint64_t k) {
#if !defined(__CUDA_ARCH__)
    if ((k & 255) != 255) return true;
    if (out_.steps_done != nullptr) out_.steps_done->fetch_add(256, std::memory_order_relaxed);
    return out_.stop == nullptr || !out_.stop->load(std::memory_order_relaxed);
#else
    return true;
#endif
  }

  // ------------------------------------------------------------------ one coordinate, one worker: x stays in registers
  PATHBOUND_HD bool run_scalar() {
    bool done = true;
    with_separable<F>(spec_.objective, [&](const auto& f) {
      if (spec_.method == MethodKind::dsignsgd)
        done = run_scalar(f, [](F v) {
          const F zero = real<F>(0.0), one = real<F>(1.0);
          return zero_unless(lt(zero, v), one) - zero_unless(lt(v, zero), one);
        });
      else
        done = run_scalar(f, [](F v) { return v; });
    });
    return done;
  }

  template <class Objective, class Message>
  PATHBOUND_HD_CALL bool run_scalar(const Objective& f, Message message) {
    F x[P];
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) x[p] = load<F>(x_ + p * lanes);
    const F s(spec_.workers[0].scale);
    const bool constant = spec_.schedule == ScheduleKind::constant;
    F factor(static_cast<R>(-spec_.eta));
    std::uint64_t k = 0;
    for (int next = 0; next < spec_.n_checkpoints; ++next) {
      const std::uint64_t target = spec_.checkpoint_steps[next];
      while (k < target) {
        const std::uint64_t left = target - k;
        int got;
        const R* z = noise_.take(left < 256 ? static_cast<int>(left) : 256, got);
        for (int i = 0; i < got; ++i, z += width) {
          if (!constant) factor = F(static_cast<R>(-step_sizes_.at(k + static_cast<std::uint64_t>(i))));
          PATHBOUND_UNROLL
          for (int p = 0; p < P; ++p) {
            const F v = fma(s, load<F>(z + p * lanes), f.gradient(x[p], 0));
            x[p] = fma(factor, message(v), x[p]);
          }
        }
        const std::uint64_t before = k;
        k += static_cast<std::uint64_t>(got);
        if ((before >> 8) != (k >> 8) && !keep_going(k | 255)) return false;
      }
      PATHBOUND_UNROLL
      for (int p = 0; p < P; ++p) {
        store(x_ + p * lanes, x[p]);
        store(g_ + p * lanes, f.gradient(x[p], 0));
      }
      record(target, next);
    }
    return true;
  }

  // ------------------------------------------------------------------ checkpoints
  /// x and g hold the iterate and its gradient.
  PATHBOUND_HD_CALL void record(std::uint64_t step, int index) {
    const ObjectiveSpec<R>& f = spec_.objective;
    const int dim = f.dim;
    alignas(64) double s[block_paths];
    alignas(64) double norm[block_paths];
    alignas(64) R largest[block_paths];
    alignas(64) R finite_x[block_paths];
    for (int p = 0; p < P; ++p) {
      F big = real<F>(0.0), zero = real<F>(0.0);
      for (int j = 0; j < dim; ++j) {
        big = max(abs(load<F>(row(g_, j, p))), big);
        zero = fma(load<F>(row(x_, j, p)), real<F>(0.0), zero);  // NaN once some x_j is not finite
      }
      store(largest + p * lanes, big);
      store(finite_x + p * lanes, zero);
    }
    if (dim == 1) {
      for (int t = 0; t < block_paths; ++t) norm[t] = static_cast<double>(abs(g_[t]));
    } else {
      // |grad f| in double: its square would overflow a float long before S does.
      for (int p = 0; p < P; ++p)
        for (int half = 0; half < lanes; half += RealTraits<D>::lanes)
          store(norm + p * lanes + half, sqrt(tree_sum<D>(dim, [&](int j) {
                  const D g = load_as_double(row(g_, j, p) + half);
                  return g * g;
                })));
    }
    if (is_separable(f.kind)) {
      alignas(64) R value[block_paths];
      for (int p = 0; p < P; ++p) store(value + p * lanes, separable_suboptimality<F>(f, x_ + p * lanes, width));
      for (int t = 0; t < block_paths; ++t) s[t] = static_cast<double>(value[t]);
    } else {
      for (int j = 0; j < dim; ++j)
        for (int t = 0; t < block_paths; ++t)
          doubles_[j * block_paths + t] = static_cast<double>(x_[j * width + t]) - f.x_star_double[j];
      for (int t = 0; t < block_paths; t += RealTraits<D>::lanes)
        store(s + t, dense_suboptimality<D>(f, doubles_ + t, block_paths));
    }

    // A path has diverged when S or x is not finite or S > limit, and stays so.
    std::uint32_t diverged = 0;
    for (int t = 0; t < block_paths; ++t)
      diverged |= static_cast<std::uint32_t>(!(abs(s[t]) <= spec_.limit) || finite_x[t] != finite_x[t]) << t;
    alive_ &= ~diverged;

    Record r;
    if (alive_ == 0xffffffffu) {
      r = summarise(s, norm, largest);
    } else {
      r = summarise_some(s, norm, largest);
    }
    if (spec_.track_gradient) {
      double so_far = 0.0;
      for (int l = 0; l < lanes; ++l) so_far = max(static_cast<double>(tracked_[l]), so_far);
      r.max_grad_so_far = so_far;
    } else {
      r.max_grad_so_far = r.max_grad;
    }
    out_.records[index] = r;

    if (r.finite > 0 && out_.histogram != nullptr) {
      std::uint32_t* counts = out_.histogram + static_cast<std::int64_t>(index) * histogram_bins;
      std::int32_t* range = out_.bin_range + 2 * index;
      const std::int32_t lowest = histogram_bin(static_cast<float>(r.min));
      const std::int32_t highest = histogram_bin(static_cast<float>(r.max));
      if (lowest < range[0]) range[0] = lowest;
      if (highest > range[1]) range[1] = highest;
      if (alive_ == 0xffffffffu) {
        std::int32_t bins[block_paths];
        for (int t = 0; t < block_paths; ++t) bins[t] = histogram_bin(static_cast<float>(s[t]));
        for (int t = 0; t < block_paths; ++t) ++counts[bins[t]];
      } else {
        for (int t = 0; t < block_paths; ++t)
          if (((alive_ >> t) & 1) != 0) ++counts[histogram_bin(static_cast<float>(s[t]))];
      }
    }
    if (out_.trace != nullptr) {
      const int t = out_.trace->slot;
      double* x = doubles_ + static_cast<std::int64_t>(dim) * block_paths;
      for (int j = 0; j < dim; ++j) x[j] = static_cast<double>(x_[j * width + t]);
      out_.trace->call(out_.trace->context, step, x, s[t], norm[t], ((alive_ >> t) & 1) == 0);
    }
  }

  static PATHBOUND_HD D load_as_double(const R* p) {
    alignas(64) double v[RealTraits<D>::lanes];
    for (int l = 0; l < RealTraits<D>::lanes; ++l) v[l] = static_cast<double>(p[l]);
    return load<D>(v);
  }

  /// Statistics of a block in which every path is alive.
  PATHBOUND_HD Record summarise(const double* s, const double* norm, const R* largest) const {
    Record r;
    r.finite = block_paths;
    alignas(64) double a[block_paths], b[block_paths];
    for (int t = 0; t < block_paths; ++t) a[t] = s[t];
    r.sum = tree_sum_of_block(a);
    const double mean = r.sum / block_paths;
    for (int t = 0; t < block_paths; ++t) {
      const double d = s[t] - mean, d2 = d * d;
      a[t] = d2;
      b[t] = d2 * d;
    }
    r.m2 = tree_sum_of_block(a);
    r.m3 = tree_sum_of_block(b);
    for (int t = 0; t < block_paths; ++t) a[t] = norm[t];
    r.grad_norm_sum = tree_sum_of_block(a);
    r.min = r.max = s[0];
    R big = largest[0];
    for (int t = 1; t < block_paths; ++t) {
      r.min = min(s[t], r.min);
      r.max = max(s[t], r.max);
      big = max(largest[t], big);
    }
    r.max_grad = static_cast<double>(big);
    if (spec_.track_pl) add_pl_ratios(r, s, norm);
    return r;
  }

  /// Statistics of a block with some paths missing or diverged: they count as zeros in the sums.
  PATHBOUND_HD Record summarise_some(const double* s, const double* norm, const R* largest) const {
    Record r;
    double a[block_paths], b[block_paths];
    for (int t = 0; t < block_paths; ++t) {
      const bool in = ((alive_ >> t) & 1) != 0;
      a[t] = in ? s[t] : 0.0;
      b[t] = in ? norm[t] : 0.0;
      if (!in) continue;
      const double big = static_cast<double>(largest[t]);
      r.min = r.finite == 0 ? s[t] : min(s[t], r.min);
      r.max = r.finite == 0 ? s[t] : max(s[t], r.max);
      r.max_grad = r.finite == 0 ? big : max(big, r.max_grad);
      ++r.finite;
    }
    if (r.finite == 0) return r;
    r.sum = tree_sum_of_block(a);
    r.grad_norm_sum = tree_sum_of_block(b);
    const double mean = r.sum / static_cast<double>(r.finite);
    for (int t = 0; t < block_paths; ++t) {
      const double d = ((alive_ >> t) & 1) != 0 ? s[t] - mean : 0.0, d2 = d * d;
      a[t] = d2;
      b[t] = d2 * d;
    }
    r.m2 = tree_sum_of_block(a);
    r.m3 = tree_sum_of_block(b);
    if (spec_.track_pl) add_pl_ratios(r, s, norm);
    return r;
  }

  PATHBOUND_HD void add_pl_ratios(Record& r, const double* s, const double* norm) const {
    bool any = false;
    for (int t = 0; t < block_paths; ++t) {
      if (((alive_ >> t) & 1) == 0 || !(s[t] > 0.0)) continue;
      const double ratio = norm[t] * norm[t] / (2.0 * s[t]);
      if (!(ratio <= 1e300)) continue;
      r.pl_min = any ? min(ratio, r.pl_min) : ratio;
      r.pl_max = any ? max(ratio, r.pl_max) : ratio;
      any = true;
    }
  }

  const SimSpec<R>& spec_;
  const BlockOutput& out_;
  NoiseWindow<F, P, 32> noise_;
  WordWindow<F, P, 32> compressor_words_;
  StepSizes<D> step_sizes_;
  R *x_, *g_, *sum_, *scratch_;
  Word* mask_;
  double* doubles_;
  std::uint32_t alive_ = 0;
  alignas(64) R scale_[width];        // s_i of the worker at hand
  alignas(64) R grad_square_[width];  // |grad f|^2 / dim, affine noise only
  alignas(64) R tracked_[lanes] = {};  // largest |grad_j f| so far
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
