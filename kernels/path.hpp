// SPDX-License-Identifier: Apache-2.0
// The time loop of the methods: it takes the 32 paths of a block from x_0 to the last step.
#pragma once
#include "kernels/adaptive.hpp"
#include "kernels/block.hpp"
#include "kernels/compressors.hpp"
#include "kernels/marginal_run.hpp"
#include "kernels/methods.hpp"
#include "kernels/schedules.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// Rows of a block's working memory, in scalars of R (mask rows have the width of R).
template <class R>
PATHBOUND_HD std::int64_t workspace_rows(const SimSpec<R>& spec) {
  const std::int64_t dim = spec.objective.dim;
  const std::int64_t scratch = spec.objective.kind == ObjectiveKind::logistic ? spec.objective.n_rows : 0;
  const std::int64_t mask = spec.compressor == CompressorKind::rand_k ? (dim + 31) / 32 : 0;
  const std::int64_t vectors = 3 + (is_general(spec) ? 1 + state_vectors(spec.method) : 0);
  return vectors * dim + scratch + 2 * mask + 2 + marginal_rows(spec);
}

template <class F, int P>
class MethodRun : Block<F, P> {
  using Base = Block<F, P>;
  using Base::alive_;
  using Base::g_;
  using Base::lanes;
  using Base::note_steps;
  using Base::out_;
  using Base::record;
  using Base::row;
  using Base::spec_;
  using Base::stopped;
  using Base::take_bins;
  using Base::track_gradient;
  using Base::width;
  using Base::x_;
  using typename Base::D;
  using typename Base::R;
  using typename Base::Word;

 public:
  PATHBOUND_HD MethodRun(const SimSpec<R>& spec, std::uint64_t block, R* rows, double* doubles, const BlockOutput& out)
      : Base(spec, block, rows, rows + static_cast<std::int64_t>(spec.objective.dim) * width, doubles, out),
        step_sizes_(spec) {
    const std::int64_t dim = spec.objective.dim;
    sum_ = g_ + dim * width;
    message_ = sum_ + dim * width;
    state_ = message_ + (is_general(spec) ? dim * width : 0);
    scratch_ = state_ + (is_general(spec) ? state_vectors(spec.method) * dim * width : 0);
    for (R* at = state_; at < scratch_; ++at) *at = R(0);
    mask_ = reinterpret_cast<Word*>(
        scratch_ + (spec.objective.kind == ObjectiveKind::logistic ? spec.objective.n_rows : 0) * width);
    if (spec.marginal.kind != MarginalKind::none) {
      R* rest = scratch_ + (spec.objective.kind == ObjectiveKind::logistic ? spec.objective.n_rows : 0) * width;
      marginal_.init(spec, block, Base::path_low_, Base::path_high_, rest);
    }
    noise_.init(spec.seed, Base::path_low_, Base::path_high_, spec.law, spec.objective.dim);
    if (spec.compressor != CompressorKind::identity)
      compressor_words_.init(spec.seed, Base::path_low_, Base::path_high_, Purpose::compressor);
  }

  /// False when it was stopped.
  PATHBOUND_HD_CALL bool run() {
    if (is_general(spec_)) return run_steps<true>();
    if (spec_.marginal.kind != MarginalKind::none) return run_marginal();
    return one_coordinate() ? run_scalar() : run_steps<false>();
  }

 private:
  /// Whether the short loop with x in registers does it.
  PATHBOUND_HD bool one_coordinate() const {
    return spec_.objective.dim == 1 && spec_.n_workers == 1 && !spec_.affine && !spec_.track_gradient &&
           is_separable(spec_.objective.kind) && spec_.compressor == CompressorKind::identity &&
           spec_.law.kind != LawKind::multivariate_t && spec_.marginal.kind == MarginalKind::none;
  }

  // ------------------------------------------------------------------ any number of coordinates and workers
  /// general: also the methods, compressors, laws and sums of is_general.
  template <bool general>
  PATHBOUND_HD_CALL bool run_steps() {
    const int dim = spec_.objective.dim;
    int next = 0;
    for (std::uint64_t k = 0;; ++k) {
      for (int p = 0; p < P; ++p)
        gradient<F>(spec_.objective, x_ + p * lanes, width, g_ + p * lanes, scratch_ + p * lanes);
      if (spec_.track_gradient) track_gradient();
      if constexpr (general) {
        if (spec_.track_smoothness) Base::track_smoothness();
      }
      if (k == spec_.checkpoint_steps[next]) {
        record(k, next);
        if (++next == spec_.n_checkpoints) return true;
      }
      if ((k & 255) == 255) note_steps(256);
      const double eta = step_sizes_.at(k);

      if (spec_.affine) find_mean_square();
      clear_sum();
      for (int i = 0; i < spec_.n_workers; ++i) {
        add_worker<general>(spec_.workers[i]);
        if (stopped()) return false;
      }
      if constexpr (general) {
        for (int p = 0; p < P; ++p) move(p, k, eta);
        continue;
      }
      const F factor(static_cast<R>(-(eta / spec_.n_workers)));
      for (int j = 0; j < dim; ++j) {
        PATHBOUND_UNROLL
        for (int p = 0; p < P; ++p) store(row(x_, j, p), fma(factor, load<F>(row(sum_, j, p)), load<F>(row(x_, j, p))));
      }
    }
  }

  /// |grad f|^2 / dim, for affine noise.
  PATHBOUND_HD void find_mean_square() {
    for (int p = 0; p < P; ++p) {
      const F square = tree_sum<F>(spec_.objective.dim, [&](int j) {
        const F g = load<F>(row(g_, j, p));
        return g * g;
      });
      store(grad_square_ + p * lanes, square / real<F>(spec_.objective.dim));
    }
  }
  PATHBOUND_HD void clear_sum() {
    for (R* at = sum_; at < sum_ + static_cast<std::int64_t>(spec_.objective.dim) * width; at += lanes)
      store(at, real<F>(0.0));
  }

  // ------------------------------------------------------------------ the workers' messages in one draw
  PATHBOUND_HD_CALL bool run_marginal() {
    const int dim = spec_.objective.dim;
    const bool counts = spec_.marginal.kind == MarginalKind::counts, one_group = spec_.marginal.n_groups == 1;
    int next = 0;
    for (std::uint64_t k = 0;; ++k) {
      for (int p = 0; p < P; ++p)
        gradient<F>(spec_.objective, x_ + p * lanes, width, g_ + p * lanes, scratch_ + p * lanes);
      if (spec_.track_gradient) track_gradient();
      if (k == spec_.checkpoint_steps[next]) {
        record(k, next);
        if (++next == spec_.n_checkpoints) return true;
      }
      if ((k & 255) == 255) note_steps(256);
      if (stopped()) return false;
      if (spec_.affine) find_mean_square();
      const R step = static_cast<R>(-(step_sizes_.at(k) / spec_.n_workers));
      const F factor(step);
      const auto move = [&](int j, int p, F sum) { store(row(x_, j, p), fma(factor, sum, load<F>(row(x_, j, p)))); };
      if (counts) {
        marginal_.counts(g_, grad_square_, noise_, move);
      } else if (one_group) {
        marginal_.signs(g_, grad_square_, move,
                        [&](int j, int slot, R s) { x_[j * width + slot] = fma(step, s, x_[j * width + slot]); });
      } else {
        clear_sum();
        marginal_.signs(
            g_, grad_square_, [&](int j, int p, F s) { store(row(sum_, j, p), load<F>(row(sum_, j, p)) + s); },
            [&](int j, int slot, R s) { sum_[j * width + slot] = sum_[j * width + slot] + s; });
        for (int j = 0; j < dim; ++j) {
          PATHBOUND_UNROLL
          for (int p = 0; p < P; ++p) move(j, p, load<F>(row(sum_, j, p)));
        }
      }
    }
  }

  // ------------------------------------------------------------------ worker by worker
  /// Adds one worker's message, C(g + s zeta) or its sign, to the sum, coordinate by coordinate.
  template <bool general>
  PATHBOUND_HD void add_worker(const WorkerSpec<R>& worker) {
    const int dim = spec_.objective.dim;
    const bool whole = general && sends_whole_vectors(spec_);
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
      if (whole) {
        keep_message(z, j, got);
      } else if (spec_.method == MethodKind::dsignsgd) {
        add_message(z, j, got, [](int, int, F v) { return sign(v); });
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
      } else if (general && spec_.compressor == CompressorKind::natural) {
        for (int done = 0; done < got;) {
          int words_got;
          const Word* w = compressor_words_.take(got - done, words_got);
          add_message(z + done * width, j + done, words_got, [&, base = j + done](int c, int p, F v) {
            return rounded_to_power(v, load_bits(w + (c - base) * width + p * lanes, F()));
          });
          done += words_got;
        }
      } else {
        add_message(z, j, got, [](int, int, F v) { return v; });
      }
      j += got;
    }
    // multivariate_t hands out an even number of values a worker.
    if (spec_.law.kind == LawKind::multivariate_t && (dim & 1) != 0) {
      int got;
      noise_.take(1, got);
    }
    if constexpr (general) {
      if (whole) add_whole(worker);
    }
  }

  /// Keeps g + s zeta, some coordinates of it.
  PATHBOUND_HD void keep_message(const R* z, int first, int count) {
    for (int p = 0; p < P; ++p) {
      const F s = load<F>(scale_ + p * lanes);
      for (int i = 0; i < count; ++i)
        store(row(message_, first + i, p), fma(s, load<F>(z + i * width + p * lanes), load<F>(row(g_, first + i, p))));
    }
  }
  /// Adds to the sum what becomes of the vector kept.
  PATHBOUND_HD_CALL void add_whole(const WorkerSpec<R>& worker) {
    const int dim = spec_.objective.dim;
    if (spec_.compressor == CompressorKind::top_k) {
      for (int p = 0; p < P; ++p)
        keep_largest<F>(
            dim, worker.keep, [&](int j) { return load<F>(row(message_, j, p)); },
            [&](int j, F v) { store(row(sum_, j, p), load<F>(row(sum_, j, p)) + v); });
      return;
    }
    ScaledNorm<F> norm[P];
    for (int p = 0; p < P; ++p) norm[p] = norm_of(message_, p);
    if (spec_.compressor == CompressorKind::qsgd) {
      for (int j = 0; j < dim;) {
        int got;
        const Word* w = compressor_words_.take(dim - j, got);
        for (int i = 0; i < got; ++i, ++j)
          for (int p = 0; p < P; ++p)
            add_to_sum(j, p,
                       quantised(load<F>(row(message_, j, p)), norm[p], spec_.levels,
                                 word_uniform<F>(load_bits(w + i * width + p * lanes, F()))));
      }
      return;
    }
    const bool clips = spec_.method == MethodKind::clipped_dsgd;
    for (int p = 0; p < P; ++p)
      for (int j = 0; j < dim; ++j) {
        const F v = load<F>(row(message_, j, p));
        add_to_sum(j, p, clips ? clipped(v, norm[p], spec_.clip) : normalised(v, norm[p]));
      }
  }
  PATHBOUND_HD void add_to_sum(int j, int p, F v) { store(row(sum_, j, p), load<F>(row(sum_, j, p)) + v); }

  /// |v| of pack p of a vector's rows.
  PATHBOUND_HD ScaledNorm<F> norm_of(R* rows, int p) const {
    return scaled_norm<F>(spec_.objective.dim, [&](int j) { return load<F>(row(rows, j, p)); });
  }

  /// a(x) of pack p; the sum of the workers' messages is complete.
  PATHBOUND_HD F factor_of(int p) {
    const AdaptiveSpec<R>& a = spec_.adaptive;
    if (a.kind == AdaptiveKind::none) return real<F>(1.0);
    if (a.kind == AdaptiveKind::hessian_norm)
      return adaptive_factor_of_hessian<F>(a,
                                           is_separable(spec_.objective.kind) ? Base::largest_second(p) : F(a.hessian));
    const ScaledNorm<F> norm = norm_of(a.stochastic ? sum_ : g_, p);
    const F size = norm.root / norm.scale;
    return adaptive_factor<F>(a, a.stochastic ? size * F(R(1) / static_cast<R>(spec_.n_workers)) : size);
  }

  /// The step itself, from the sum of the workers' messages.
  PATHBOUND_HD_CALL void move(int p, std::uint64_t k, double eta) {
    const int dim = spec_.objective.dim;
    const R workers = static_cast<R>(spec_.n_workers), part = R(1) / workers;
    const F a = factor_of(p);
    // The step of the sum of messages, and of their mean.
    const R of_sum = static_cast<R>(-(eta / spec_.n_workers));
    const F factor = F(of_sum) * a, whole = F(of_sum * workers) * a;
    if (spec_.sums != SumKind::none) Base::add_sums(p, real<F>(0.0) - whole);
    const auto add = [&](int j, F by, F v) { store(row(x_, j, p), fma(by, v, load<F>(row(x_, j, p)))); };
    if (spec_.method == MethodKind::heavy_ball) {
      for (int j = 0; j < dim; ++j) {
        R* velocity = row(state_, j, p);
        const F v = fma(F(spec_.momentum), load<F>(velocity), F(part) * load<F>(row(sum_, j, p)));
        store(velocity, v);
        add(j, whole, v);
      }
    } else if (spec_.method == MethodKind::adam) {
      const double n = static_cast<double>(k + 1);
      const R correct_m = static_cast<R>(bias_correction(spec_.log_beta1, n));
      const R correct_u = static_cast<R>(sqrt(bias_correction(spec_.log_beta2, n)));
      R* roots = state_ + static_cast<std::int64_t>(dim) * width;
      for (int j = 0; j < dim; ++j) {
        F m = load<F>(row(state_, j, p)), u = load<F>(row(roots, j, p));
        const F moved = adam_move<F>(spec_, F(part) * load<F>(row(sum_, j, p)), correct_m, correct_u, m, u);
        store(row(state_, j, p), m);
        store(row(roots, j, p), u);
        add(j, whole, moved);
      }
    } else if (spec_.method == MethodKind::dnsgd && !spec_.each_worker) {
      const ScaledNorm<F> norm = norm_of(sum_, p);
      for (int j = 0; j < dim; ++j) add(j, whole, normalised(load<F>(row(sum_, j, p)), norm));
    } else {
      for (int j = 0; j < dim; ++j) add(j, factor, load<F>(row(sum_, j, p)));
    }
  }

  template <class Message>
  PATHBOUND_HD void add_message(const R* z, int first, int count, Message&& message) {
    F s[P];
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) s[p] = load<F>(scale_ + p * lanes);
    for (int i = 0; i < count; ++i) {
      PATHBOUND_UNROLL
      for (int p = 0; p < P; ++p) {
        const F v = fma(s[p], load<F>(z + i * width + p * lanes), load<F>(row(g_, first + i, p)));
        R* sum = row(sum_, first + i, p);
        store(sum, load<F>(sum) + message(first + i, p, v));
      }
    }
  }

  // ------------------------------------------------------------------ one coordinate, one worker: x stays in registers
  PATHBOUND_HD bool run_scalar() {
    bool done = true;
    with_separable<F>(spec_.objective, [&](const auto& f) {
      if (spec_.method == MethodKind::dsignsgd)
        done = run_scalar(f, [](F v) { return sign(v); });
      else
        done = run_scalar(f, [](F v) { return v; });
    });
    return done;
  }

  template <class Objective, class Message>
  PATHBOUND_HD_CALL bool run_scalar(const Objective& f, Message message) {
    return spec_.law.kind == LawKind::gaussian ? run_scalar_gaussian(f, message) : run_scalar_any_law(f, message);
  }

  /// Moves all packs by one step with the noise row z.
  template <class Objective, class Message>
  PATHBOUND_HD void step_scalar(const Objective& f, Message& message, F x[P], const R* z, F s, F factor) const {
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) {
      const F v = fma(s, load<F>(z + p * lanes), f.gradient(x[p], 0));
      x[p] = fma(factor, message(v), x[p]);
    }
  }
  template <class Objective>
  PATHBOUND_HD void record_scalar(const Objective& f, const F x[P], std::uint64_t step, int index) {
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) {
      store(x_ + p * lanes, x[p]);
      store(g_ + p * lanes, f.gradient(x[p], 0));
    }
    if (!Base::record_one(f, index)) record(step, index);
  }

  /// The normals of one Philox block serve n steps. While the packs take the steps of one block, the normals of the
  /// next are computed, some packs between two steps: the short dependent chains of the steps hide behind them.
  template <class Objective, class Message>
  PATHBOUND_HD bool run_scalar_gaussian(const Objective& f, Message& message) {
    constexpr int n = uniforms_per_block<F>;
    constexpr int together = packs_together<P>;
    F x[P];
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) x[p] = load<F>(x_ + p * lanes);
    const F s(spec_.workers[0].scale);
    const bool constant = is_constant(spec_.schedule);
    F factor(static_cast<R>(-spec_.eta));
    alignas(64) R normals[2][n * width];
    std::uint32_t block = noise_.seek_block(0);
    for (int p = 0; p < P; p += together) noise_.normals_of(p, block, normals[0]);
    int next = 0;
    std::uint64_t target = spec_.checkpoint_steps[0];
    if (target == 0) {
      record_scalar(f, x, 0, 0);
      if (++next == spec_.n_checkpoints) return true;
      target = spec_.checkpoint_steps[next];
    }
    std::uint64_t k = 0;
    for (std::uint64_t b = 1;; ++b) {
      const R* z = normals[(b + 1) & 1];
      R* ahead = normals[b & 1];
      block = noise_.seek_block(b);
      const std::uint16_t* bins = take_bins(4 * n);
      PATHBOUND_UNROLL
      for (int p = 0; p < P; p += together) {
        noise_.normals_of(p, block, ahead);
        PATHBOUND_UNROLL
        for (int i = p * n / P; i < (p + together) * n / P; ++i) {
          if (!constant) factor = F(static_cast<R>(-step_sizes_.at(k)));
          step_scalar(f, message, x, z + i * width, s, factor);
          if (bins != nullptr) out_.bins->count(bins + 4 * i);
          if (++k == target) {
            record_scalar(f, x, k, next);
            if (++next == spec_.n_checkpoints) {
              for (int left = i + 1; bins != nullptr && left < n; ++left) out_.bins->count(bins + 4 * left);
              return true;
            }
            target = spec_.checkpoint_steps[next];
          }
        }
      }
      if ((b & (256 / n - 1)) == 0) {
        note_steps(256);
        if (stopped()) return false;
      }
    }
  }

  template <class Objective, class Message>
  PATHBOUND_HD bool run_scalar_any_law(const Objective& f, Message& message) {
    F x[P];
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) x[p] = load<F>(x_ + p * lanes);
    const F s(spec_.workers[0].scale);
    const bool constant = is_constant(spec_.schedule);
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
          step_scalar(f, message, x, z, s, factor);
          if (const std::uint16_t* bins = take_bins(4)) out_.bins->count(bins);
        }
        const std::uint64_t before = k;
        k += static_cast<std::uint64_t>(got);
        if ((before >> 8) != (k >> 8)) {
          note_steps(256);
          if (stopped()) return false;
        }
      }
      record_scalar(f, x, target, next);
    }
    return true;
  }

  NoiseWindow<F, P, 32> noise_;
  WordWindow<F, P, 32> compressor_words_;
  MarginalRun<F, P> marginal_;
  StepSizes<D> step_sizes_;
  R *sum_, *message_, *state_, *scratch_;  // message_, state_: general only
  Word* mask_;
  alignas(64) R scale_[width];        // s_i of the worker at hand
  alignas(64) R grad_square_[width];  // |grad f|^2 / dim, affine noise only
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
