// SPDX-License-Identifier: Apache-2.0
// The time loop of the models on the CPU: it takes the 32 paths of a block from x_0 to the last step. The step itself
// is model.hpp's.
#pragma once
#include "kernels/block.hpp"
#include "kernels/model.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// Rows of a model's working memory, in scalars of R: x, g, the step's noise and a substep's, two-point variables, the
/// model's own, and two rows for each row of a logistic objective.
template <class R>
PATHBOUND_HD std::int64_t model_workspace_rows(const SimSpec<R>& spec) {
  const std::int64_t rows = spec.objective.kind == ObjectiveKind::logistic ? spec.objective.n_rows : 0;
  return (5 + model_slots(spec.model)) * static_cast<std::int64_t>(spec.objective.dim) + 2 * rows;
}

/// One pack of paths as model.hpp's Space: coordinates are rows of `width` scalars.
template <class F, int width>
class PackSpace {
 public:
  using Real = F;
  using R = ScalarOf<F>;
  struct Vector {
    R* first;  ///< coordinate 0 of this pack
  };

  /// Everything points to this pack's part of the first row, which begins at `slot`.
  PATHBOUND_HD PackSpace(const SimSpec<R>& spec, R* slots, R* scratch, R* tracked, PathSums<F, width>& sums, int slot)
      : spec_(spec), slots_(slots), scratch_(scratch), tracked_(tracked), sums_(sums), slot_(slot) {}

  template <ModelSlot slot>
  PATHBOUND_HD Vector vector() const {
    return {slots_ + static_cast<std::int64_t>(slot) * spec_.objective.dim * width};
  }
  template <class Use>
  PATHBOUND_HD void each(Use&& use) const {
    for (int j = 0; j < spec_.objective.dim; ++j) use(j, j);
  }
  PATHBOUND_HD F get(const Vector& v, int i) const { return load<F>(v.first + static_cast<std::int64_t>(i) * width); }
  PATHBOUND_HD void set(const Vector& v, int i, F value) const {
    store(v.first + static_cast<std::int64_t>(i) * width, value);
  }
  template <class Term>
  PATHBOUND_HD F sum(Term&& term) const {
    return tree_sum<F>(spec_.objective.dim, [&](int j) { return term(j, j); });
  }
  template <class Term>
  PATHBOUND_HD F largest(Term&& term) const {
    F largest = real<F>(0.0);
    for (int j = 0; j < spec_.objective.dim; ++j) largest = max(term(j, j), largest);
    return largest;
  }
  PATHBOUND_HD void gradient(const Vector& x, const Vector& g) const {
    pathbound::gradient<F>(spec_.objective, x.first, width, g.first, scratch_);
  }
  PATHBOUND_HD void hessian_times(const Vector& x, const Vector& u, const Vector& out) const {
    hessian_product<F>(spec_.objective, x.first, u.first, width, out.first, scratch_,
                       scratch_ + static_cast<std::int64_t>(spec_.objective.n_rows) * width);
  }
  PATHBOUND_HD void hessian_diagonal(const Vector& x, const Vector& out) const {
    pathbound::hessian_diagonal<F>(spec_.objective, x.first, width, out.first, scratch_);
  }
  PATHBOUND_HD void track(const Vector& x, const Vector& g, F weight) const {
    if (spec_.sums != SumKind::none) sums_.add(spec_, slot_, g.first, weight);
    if (spec_.track_smoothness) sums_.track_smoothness(spec_, slot_, x.first, g.first);
    if (!spec_.track_gradient) return;
    F largest = load<F>(tracked_);
    each([&](int i, int) { largest = max(abs(get(g, i)), largest); });
    store(tracked_, largest);
  }

 private:
  const SimSpec<R>& spec_;
  R *slots_, *scratch_, *tracked_;
  PathSums<F, width>& sums_;
  const int slot_;
};

template <class F, int P>
class ModelRun : Block<F, P> {
  using Base = Block<F, P>;
  using Base::alive_;
  using Base::g_;
  using Base::lanes;
  using Base::note_steps;
  using Base::record;
  using Base::row;
  using Base::spec_;
  using Base::stopped;
  using Base::track_gradient;
  using Base::tracked_;
  using Base::width;
  using Base::x_;
  using typename Base::R;
  using typename Base::Word;
  using Space = PackSpace<F, width>;
  using Vector = typename Space::Vector;

 public:
  PATHBOUND_HD ModelRun(const SimSpec<R>& spec, std::uint64_t block, R* rows, double* doubles, const BlockOutput& out)
      : Base(spec, block, rows, rows + static_cast<std::int64_t>(spec.objective.dim) * width, doubles, out) {
    const std::int64_t row_of_dim = static_cast<std::int64_t>(spec.objective.dim) * width;
    left_ = g_ + row_of_dim;
    increment_ = left_ + row_of_dim;
    signs_ = increment_ + row_of_dim;
    slots_ = signs_ + row_of_dim;
    scratch_ = slots_ + model_slots(spec.model) * row_of_dim;
    const bool gaussian = spec.law.kind == LawKind::gaussian;
    noise_.init(spec.seed, Base::path_low_, Base::path_high_, LawSpec(), spec.objective.dim,
                gaussian ? Purpose::gradient_noise : Purpose::model_noise);
    if (spec.model.substeps > 1)
      refinement_.init(spec.seed, Base::path_low_, Base::path_high_, LawSpec(), spec.objective.dim,
                       Purpose::refinement);
    if (spec.model.integrator == IntegratorKind::weak2)
      sign_words_.init(spec.seed, Base::path_low_, Base::path_high_, Purpose::signs);
  }

  /// False when it was stopped.
  PATHBOUND_HD_CALL bool run() {
    if (one_coordinate()) {
      bool done = true;
      with_separable<F>(spec_.objective, [&](const auto& f) { done = run_scalar(f); });
      return done;
    }
    const int n = spec_.model.substeps;
    int next = 0;
    for (std::uint64_t k = 0;; ++k) {
      if (k == spec_.checkpoint_steps[next]) {
        for (int p = 0; p < P; ++p)
          gradient<F>(spec_.objective, x_ + p * lanes, width, g_ + p * lanes, scratch_ + p * lanes);
        if (spec_.track_gradient) track_gradient();
        if (spec_.track_smoothness) Base::track_smoothness();
        record(k, next);
        if (++next == spec_.n_checkpoints) return true;
      }
      if ((k & 255) == 255) note_steps(256);
      if (spec_.law.kind == LawKind::gaussian)
        take_gradient_noise();
      else
        copy_normals(noise_, left_);
      for (int i = 0; i < n; ++i) {
        const int r = n - i;
        if (r > 1) copy_normals(refinement_, increment_);
        if (spec_.model.integrator == IntegratorKind::weak2) take_signs();
        for (int p = 0; p < P; ++p) {
          for (int j = 0; j < spec_.objective.dim; ++j) {
            F left = load<F>(row(left_, j, p));
            store(row(increment_, j, p), bridge_increment(left, load<F>(row(increment_, j, p)), r, n));
            store(row(left_, j, p), left);
          }
          Space space(spec_, slots_ + p * lanes, scratch_ + p * lanes, tracked_ + p * lanes, Base::sums_, p * lanes);
          ModelStep<Space>(spec_, space)
              .advance(Vector{x_ + p * lanes}, Vector{increment_ + p * lanes}, Vector{signs_ + p * lanes}, k, i);
        }
        if (stopped()) return false;
      }
    }
  }

 private:
  /// Whether the short loop with x in registers does it.
  PATHBOUND_HD bool one_coordinate() const {
    const ModelSpec<R>& m = spec_.model;
    return spec_.objective.dim == 1 && is_separable(spec_.objective.kind) && m.kind == ModelKind::first_order &&
           m.integrator == IntegratorKind::euler_maruyama && spec_.method != MethodKind::dsignsgd && !spec_.affine &&
           m.rank_one == R(0) && spec_.adaptive.kind == AdaptiveKind::none && !spec_.track_gradient &&
           !spec_.track_smoothness && spec_.sums == SumKind::none &&
           (spec_.n_workers == 1 || spec_.law.kind != LawKind::gaussian);
  }

  /// ModelStep's Euler-Maruyama of first_order, operation by operation, for one coordinate and what else
  /// one_coordinate() asks for.
  template <class Objective>
  PATHBOUND_HD_CALL bool run_scalar(const Objective& f) {
    const int n = spec_.model.substeps;
    const R inverse_n = R(1) / static_cast<R>(n), inverse_root = R(1) / sqrt(static_cast<R>(spec_.n_workers));
    const bool gaussian = spec_.law.kind == LawKind::gaussian, multiplicative = spec_.model.square != R(0);
    const F zero = real<F>(0.0), s(spec_.workers[0].scale), total = fma(s, s, zero);
    const F weight = noise_weight(spec_.workers[0], false, zero, total);
    const F normaliser = noise_normaliser(total, spec_.n_workers);
    const F square(spec_.model.square), noise_square(spec_.model.noise), root = sqrt(noise_square);
    StepSizeAt<R> now = step_size_at(spec_, 0, 0.0);
    const bool constant = is_constant(spec_.schedule);
    F x[P];
    PATHBOUND_UNROLL
    for (int p = 0; p < P; ++p) x[p] = load<F>(x_ + p * lanes);
    std::uint64_t k = 0;
    for (int next = 0; next < spec_.n_checkpoints; ++next) {
      const std::uint64_t target = spec_.checkpoint_steps[next];
      while (k < target) {
        const std::uint64_t left = target - k;
        int got;
        const R* z = noise_.take(left < 256 ? static_cast<int>(left) : 256, got);
        for (int step = 0; step < got; ++step, z += width) {
          F rest[P];
          PATHBOUND_UNROLL
          for (int p = 0; p < P; ++p) {
            const F v = load<F>(z + p * lanes);
            rest[p] = gaussian ? normaliser * fma(weight, v, zero) : v;
          }
          for (int i = 0; i < n; ++i) {
            if (!constant)
              now = step_size_at(spec_, k + static_cast<std::uint64_t>(step), static_cast<double>(i) * (1.0 / n));
            int one;
            const R* bridge = i + 1 < n ? refinement_.take(1, one) : z;
            const F drift = F(now.eta) * F(-inverse_n), spread(now.eta * inverse_root);
            PATHBOUND_UNROLL
            for (int p = 0; p < P; ++p) {
              const F increment = bridge_increment(rest[p], load<F>(bridge + p * lanes), n - i, n);
              const F v = f.gradient(x[p], 0);
              const F size = multiplicative ? sqrt(fma(square * v, v, noise_square)) : root;
              x[p] = x[p] + (drift * v + spread * (size * increment));
            }
          }
        }
        const std::uint64_t before = k;
        k += static_cast<std::uint64_t>(got);
        if ((before >> 8) != (k >> 8)) note_steps(256);
        if (stopped()) return false;
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

  /// The step's noise is minus the method's own, scaled to variance 1: -sum_i s_i zeta_ij / sqrt(sum_i s_i^2); all s_i
  /// = 1 where they are all 0.
  PATHBOUND_HD void take_gradient_noise() {
    const int dim = spec_.objective.dim, workers = spec_.n_workers;
    for (int p = 0; p < P; ++p) {
      F mean_square = real<F>(0.0);
      if (spec_.affine) {
        gradient<F>(spec_.objective, x_ + p * lanes, width, g_ + p * lanes, scratch_ + p * lanes);
        mean_square = tree_sum<F>(dim,
                                  [&](int j) {
                                    const F g = load<F>(row(g_, j, p));
                                    return g * g;
                                  }) /
                      real<F>(dim);
      }
      store(mean_square_ + p * lanes, mean_square);
      F total = real<F>(0.0);
      for (int i = 0; i < workers; ++i) {
        const F s = noise_scale(spec_.workers[i], spec_.affine, mean_square);
        total = fma(s, s, total);
      }
      store(total_ + p * lanes, total);
      for (int j = 0; j < dim; ++j) store(row(left_, j, p), real<F>(0.0));
    }
    for (int i = 0; i < workers; ++i) {
      for (int j = 0; j < dim;) {
        int got;
        const R* z = noise_.take(dim - j, got);
        for (int c = 0; c < got; ++c, ++j) {
          for (int p = 0; p < P; ++p) {
            const F s = noise_weight(spec_.workers[i], spec_.affine, load<F>(mean_square_ + p * lanes),
                                     load<F>(total_ + p * lanes));
            R* sum = row(left_, j, p);
            store(sum, fma(s, load<F>(z + c * width + p * lanes), load<F>(sum)));
          }
        }
      }
    }
    for (int p = 0; p < P; ++p) {
      const F scale = noise_normaliser(load<F>(total_ + p * lanes), workers);
      for (int j = 0; j < dim; ++j) store(row(left_, j, p), scale * load<F>(row(left_, j, p)));
    }
  }

  template <class Window>
  PATHBOUND_HD void copy_normals(Window& window, R* out) {
    const int dim = spec_.objective.dim;
    for (int j = 0; j < dim;) {
      int got;
      const R* z = window.take(dim - j, got);
      for (int i = 0; i < got * width; i += lanes) store(out + j * width + i, load<F>(z + i));
      j += got;
    }
  }

  PATHBOUND_HD void take_signs() {
    const int dim = spec_.objective.dim;
    for (int j = 0; j < dim;) {
      int got;
      const Word* words = sign_words_.take(dim - j, got);
      for (int i = 0; i < got * width; i += lanes)
        store(signs_ + j * width + i, two_point<F>(load_bits(words + i, F())));
      j += got;
    }
  }

  NoiseWindow<F, P, 32> noise_, refinement_;
  WordWindow<F, P, 32> sign_words_;
  R *left_, *increment_, *signs_, *slots_, *scratch_;
  alignas(64) R mean_square_[width], total_[width];
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
