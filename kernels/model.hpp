// SPDX-License-Identifier: Apache-2.0
// The SDE models of a method (theory section 3), one substep at a time: written once, over a Space that says where the
// coordinates of a path live (rows of packs on the CPU; registers or memory of the lanes that share a path on a GPU).
//
// A Space has the types Real and Vector and
//   each(use)                    use(i, j) for each coordinate j it holds; i is its place in a Vector
//   get(v, i), set(v, i, value)
//   vector<slot>()               working memory: a Vector for each ModelSlot
//   sum(term)                    the dyadic tree sum of term(i, j) over all coordinates of the path
//   largest(term)                the largest term(i, j), none of which is negative; not of those that are NaN
//   gradient(x, g)
//   hessian_times(x, u, out), hessian_diagonal(x, out)      after gradient at the same x; out is neither x nor u
//   track(x, g, weight)          g is the gradient at x, the beginning of a substep of that size
#pragma once
#include "kernels/adaptive.hpp"
#include "kernels/math.hpp"
#include "kernels/norm.hpp"
#include "kernels/objectives.hpp"
#include "kernels/schedules.hpp"
#include "kernels/spec.hpp"
#include "kernels/xi.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// A model's working vectors.
enum class ModelSlot : int {
  drift,     ///< m (DSGD, DCSGD: grad f)
  root,      ///< square root of the diagonal part of Q
  slope,     ///< DSignSGD: m_j by grad_j f
  hessian,   ///< H m; hessian_aware: the diagonal of H
  point,     ///< where the coefficients are evaluated
  step,      ///< the drift's increment; hessian_aware: the additive noise of the step, which stays
  noise,     ///< the noise's increment (not hessian_aware, as what follows)
  across,    ///< that of the two-point variables (weak2, as what follows)
  next,      ///< the new x
  diagonal,  ///< of H
  variance,  ///< DSignSGD: Q_jj by grad_j f
  count
};
/// Slots in use.
template <class R>
PATHBOUND_HD int model_slots(const ModelSpec<R>& model) {
  return static_cast<int>(model.integrator == IntegratorKind::weak2            ? ModelSlot::count
                          : model.integrator == IntegratorKind::euler_maruyama ? ModelSlot::across
                                                                               : ModelSlot::noise);
}

/// Whether every coordinate has noise of its own that depends on this coordinate alone.
template <class R>
PATHBOUND_HD bool has_separate_noise(const SimSpec<R>& spec) {
  return is_separable(spec.objective.kind) && !spec.affine && spec.model.rank_one == R(0);
}
/// Whether the noise does not depend on x.
template <class R>
PATHBOUND_HD bool has_constant_noise(const SimSpec<R>& spec) {
  return spec.method != MethodKind::dsignsgd && spec.model.square == R(0) && spec.model.affine == R(0);
}

/// eta s(t) and its derivative by the step number at one time.
template <class R>
struct StepSizeAt {
  R eta, slope;
};
template <class R>
PATHBOUND_HD StepSizeAt<R> step_size_at(const SimSpec<R>& spec, std::uint64_t step, double part) {
  if (is_constant(spec.schedule)) return {static_cast<R>(spec.eta), R(0)};
  const double whole = static_cast<double>(step), k = whole + part;
  const double eta = step_size<double>(spec.schedule, spec.eta, k, whole);
  const double slope = step_size_slope<double>(spec.schedule, spec.eta, k, eta);
  return {static_cast<R>(eta), static_cast<R>(slope)};
}

/// s_i of a worker in the noise that a model takes from its method, ...
template <class F>
PATHBOUND_HD F noise_scale(const WorkerSpec<ScalarOf<F>>& worker, bool affine, F mean_square) {
  return affine ? sqrt(fma(F(worker.affine_sq), mean_square, F(worker.scale_sq))) : F(worker.scale);
}
/// ... as a weight: 1 where `total`, the sum of all s_i^2, is 0, ...
template <class F>
PATHBOUND_HD F noise_weight(const WorkerSpec<ScalarOf<F>>& worker, bool affine, F mean_square, F total) {
  return select(lt(real<F>(0.0), total), noise_scale(worker, affine, mean_square), real<F>(1.0));
}
/// ... and what makes the sum a normal: the method moves against its noise.
template <class F>
PATHBOUND_HD F noise_normaliser(F total, int workers) {
  return real<F>(-1.0) / sqrt(select(lt(real<F>(0.0), total), total, real<F>(workers)));
}

/// +1 or -1 by the top bit of a word.
template <class F>
PATHBOUND_HD F two_point(BitsOf<F> word) {
  return select_top_bit(shl(word, static_cast<int>(8 * sizeof(ScalarOf<F>)) - 32), real<F>(-1.0), real<F>(1.0));
}

/// Substep r = n, ..., 1 of the Brownian bridge: takes the noise increment (in units of sqrt(eta)) out of what is left
/// of the step's. z: a normal; not looked at for r = 1.
template <class F>
PATHBOUND_HD F bridge_increment(F& left, F z, int r, int n) {
  using R = ScalarOf<F>;
  if (r == 1) return left;
  const R whole = static_cast<R>(r), spread = sqrt((whole - R(1)) / (whole * static_cast<R>(n)));
  const F increment = fma(F(spread), z, left / F(whole));
  left = left - increment;
  return increment;
}

/// One coordinate of the moment step of hessian_aware: x moves by -eta m a1 + eta sqrt(m^2 a2 + q a3) xi.
template <class F>
struct MomentStep {
  F a1, a2, a3;
};
/// z = eta dm/dx; omega: over N.
template <class F>
PATHBOUND_HD MomentStep<F> moment_step(F z, ScalarOf<F> omega, ScalarOf<F> inverse_n) {
  const F one = real<F>(1.0), zero = real<F>(0.0), inverse(inverse_n);
  const F tiny = real<F>(0x1p-30);
  const F away = one - z;
  const F log_u = inverse * select(lt(z, real<F>(0.5)), log1p(zero - z), log(abs(away)));
  const F one_minus_u = zero - expm1(log_u);
  const F area = z * fma(z, F(ScalarOf<F>(1) + omega), real<F>(-2.0));  // A - 1
  // r - 1: of A itself where A - 1 would cancel.
  const F near_zero = fma(F(omega) * z, z, away * away);
  const F growth = expm1(inverse * select(lt(area, real<F>(-0.5)), log(near_zero), log1p(area)));
  const auto near = lt(abs(z), tiny);
  MomentStep<F> step;
  const F first = fma(real<F>(0.5) * z, one - inverse, one);  // of a1 n, to first order in z
  step.a1 = select(near, inverse * first, one_minus_u / z);
  step.a3 = select(lt(abs(area), tiny), inverse * fma(real<F>(0.5) * area, inverse - one, one), growth / area);
  // r - u^2: without cancellation where u is not small.
  step.a2 = zero;
  if (omega != ScalarOf<F>(0)) {
    const F u = one - one_minus_u, ratio = z / away;
    const F product = (u * u) * expm1(inverse * log1p(F(omega) * (ratio * ratio)));
    const F difference = max(zero, growth + one_minus_u * (real<F>(2.0) - one_minus_u));  // u^2 = 1 - (1 - u)(1 + u)
    step.a2 = select(near, inverse * F(omega), select(lt(z, real<F>(0.5)), product, difference) / (z * z));
  }
  return step;
}

template <class Space>
class ModelStep {
 public:
  using F = typename Space::Real;
  using R = ScalarOf<F>;
  using Vector = typename Space::Vector;

  PATHBOUND_HD ModelStep(const SimSpec<R>& spec, Space& space)
      : spec_(spec),
        model_(spec.model),
        space_(space),
        m_(space.template vector<ModelSlot::drift>()),
        root_(space.template vector<ModelSlot::root>()),
        slope_(space.template vector<ModelSlot::slope>()),
        hessian_(space.template vector<ModelSlot::hessian>()),
        point_(space.template vector<ModelSlot::point>()),
        signs_(spec.method == MethodKind::dsignsgd),
        inverse_n_(R(1) / static_cast<R>(spec.model.substeps)),
        inverse_root_workers_(R(1) / sqrt(static_cast<R>(spec.n_workers))) {}

  /// Moves x over substep i of step k. increment: the noise's, of variance 1/n. signs: weak2's two-point variables,
  /// +-1.
  ///
  /// euler_maruyama: X' = X + b(X) + G(X) w, with b the drift over the substep, G the diffusion and w the increment.
  ///
  /// weak2, of weak order 2 (docs/models.md): with e = signs/sqrt(n), D_y the derivative of G along y,
  ///   X' = X + (b(X) + b(X + b + G w))/2 + (G(X + b/2 + G e/sqrt(2)) + G(X + b/2 - G e/sqrt(2))) w/2
  ///        + (D_[G w] w - sum_r D_[G e_r] e_r/n)/2 + (D_[G w] e - D_[G e] w)/(2 sqrt(2)).
  /// The derivatives are central differences over `delta` of G w and G e, the sum a closed form.
  ///
  /// moment: theory section 3; the step size, a(x) included, is that of the substep's beginning.
  ///
  /// An adaptive factor a(x) is part of b and of G; weak2 has none, its derivatives of G would need those of a.
  ///
  /// There is one place for each evaluation of the coefficients, so that the code stays small.
  PATHBOUND_HD void advance(const Vector& x, const Vector& increment, const Vector& signs, std::uint64_t k, int i) {
    const Vector step = space_.template vector<ModelSlot::step>(), noise = space_.template vector<ModelSlot::noise>(),
                 across = space_.template vector<ModelSlot::across>(), next = space_.template vector<ModelSlot::next>();
    const bool weak2 = model_.integrator == IntegratorKind::weak2, constant = has_constant_noise(spec_);
    const bool separate = has_separate_noise(spec_);
    const double length = 1.0 / model_.substeps, begin = static_cast<double>(i) * length;
    const StepSizeAt<R> now = step_size_at(spec_, k, begin);
    const R quarter = R(0.25) / model_.delta, mixed = quarter / sqrt(R(2));
    const F root_n(sqrt(inverse_n_)), half = real<F>(0.5);
    const auto of_signs = [&](int c) { return root_n * get(signs, c); };
    constexpr int last = 7;

    PATHBOUND_NO_UNROLL
    for (int stage = 0; stage <= last; ++stage) {
      if ((constant && stage > 0 && stage < last) || (separate && (stage == 3 || stage == 4))) continue;
      // Where: X, X +- delta G w, X +- delta G e, X + b/2 +- G e/sqrt(2), X + b + G w.
      const R side = (stage & 1) != 0 ? R(1) : R(-1);
      const R along_step = stage == last ? R(1) : stage >= 5 ? R(0.5) : R(0);
      const R along_noise = stage == last ? R(1) : stage == 1 || stage == 2 ? side * model_.delta : R(0);
      const R along_across = stage == 3 || stage == 4   ? side * model_.delta
                             : stage == 5 || stage == 6 ? side * static_cast<R>(0.70710678118654752)
                                                        : R(0);
      space_.each([&](int c, int) {
        F at = get(x, c);
        if (along_step != R(0)) at = fma(F(along_step), get(step, c), at);
        if (along_noise != R(0)) at = fma(F(along_noise), get(noise, c), at);
        if (along_across != R(0)) at = fma(F(along_across), get(across, c), at);
        set(point_, c, at);
      });
      prepare(stage == 0, now.eta);
      if (model_.integrator == IntegratorKind::moment) return moment(x, increment, now, i == 0);
      if (stage == 0 || stage == last) {
        drift(stage == 0 ? now : step_size_at(spec_, k, begin + length), [&](int c, F value) {
          if (stage == 0)
            set(step, c, value);
          else
            set(x, c, fma(half, value, get(next, c)));
        });
        if (stage == last) return;
      }
      // What the noise becomes here.
      StepSizeAt<R> at = now;
      if (stage >= 5 || (stage == 0 && weak2 && constant)) at = step_size_at(spec_, k, begin + 0.5 * length);
      const R factor = stage == 0 ? R(1) : stage <= 2 ? side * quarter : stage <= 4 ? -(side * mixed) : R(0.5);
      const bool with_signs = (stage == 1 || stage == 2) && !separate;
      diffuse(
          diffusion(at.eta * factor),
          [&](int c) {
            const F w = get(increment, c);
            return with_signs ? fma(real<F>(0.70710678118654752), of_signs(c), w) : w;
          },
          [&](int c, F value) {
            if (stage == 0)
              set(noise, c, value);
            else
              set(next, c, get(next, c) + value);
          });
      if (stage > 0) continue;
      if (!weak2) {
        space_.each([&](int c, int) { set(x, c, get(x, c) + (get(step, c) + get(noise, c))); });
        return;
      }
      space_.each([&](int c, int) {
        const F moved = fma(half, get(step, c), get(x, c));
        set(next, c, constant ? moved + get(noise, c) : moved);
      });
      if (constant) continue;
      diffuse(diffusion(now.eta), of_signs, [&](int c, F value) { set(across, c, value); });
      subtract_correction(next, now);
    }
  }

 private:
  PATHBOUND_HD F get(const Vector& v, int i) const { return space_.get(v, i); }
  PATHBOUND_HD void set(const Vector& v, int i, F value) const { space_.set(v, i, value); }
  PATHBOUND_HD F diffusion(R eta) const { return F(eta * inverse_root_workers_) * factor_; }
  PATHBOUND_HD bool needs_slope() const { return model_.kind != ModelKind::first_order; }

  /// m and the square root of Q at the point; `eta`: eta s(t) where a substep begins.
  PATHBOUND_HD void prepare(bool begins, R eta) {
    space_.gradient(point_, m_);
    mean_square_ = real<F>(0.0);
    if (spec_.affine) {
      mean_square_ = space_.sum([&](int i, int) {
        const F v = get(m_, i);
        return v * v;
      }) / real<F>(spec_.objective.dim);
    }
    if (spec_.adaptive.kind != AdaptiveKind::none) adapt();
    if (begins) space_.track(point_, m_, (F(eta) * factor_) * F(inverse_n_));
    if (signs_) {
      const Vector variance_slope = space_.template vector<ModelSlot::variance>();
      const bool weak2 = model_.integrator == IntegratorKind::weak2;
      space_.each([&](int i, int) {
        const SignMoments<F> moments = sign_moments(spec_.signs, spec_.affine, get(m_, i), mean_square_);
        set(m_, i, moments.drift);
        set(root_, i, sqrt(moments.variance));
        if (needs_slope()) set(slope_, i, moments.slope);
        if (weak2) set(variance_slope, i, moments.variance_slope);
      });
      return;
    }
    noise_square_ = fma(F(model_.affine), mean_square_, F(model_.noise));
    space_.each([&](int i, int) {
      const F v = get(m_, i);
      set(root_, i, sqrt(fma(F(model_.square) * v, v, noise_square_)));
    });
    if (model_.rank_one == R(0)) return;
    unit_square_ = space_.sum([&](int i, int) {
      const F u = unit(i);
      return u * u;
    });
    const F one = real<F>(1.0), c(model_.rank_one);
    remainder_ = sqrt(max(real<F>(0.0), one - c * unit_square_));
    bend_ = c / (one + remainder_);
  }
  /// a(x) at the point, where m_ still is grad f; changes hessian_.
  PATHBOUND_HD void adapt() {
    if (is_of_gradient(spec_.adaptive.kind)) {
      norm_.scale = norm_scale(space_.largest([&](int i, int) { return abs(get(m_, i)); }));
      norm_.root = sqrt(space_.sum([&](int i, int) {
        const F v = get(m_, i) * norm_.scale;
        return v * v;
      }));
      factor_ = adaptive_factor(spec_.adaptive, norm_.norm());
      return;
    }
    F size(spec_.adaptive.hessian);
    if (is_separable(spec_.objective.kind)) {
      space_.hessian_diagonal(point_, hessian_);
      size = space_.largest([&](int i, int) { return abs(get(hessian_, i)); });
    }
    factor_ = adaptive_factor_of_hessian(spec_.adaptive, size);
  }
  /// What grad w adds to second_order's drift, as a factor of m = grad f: half of eta s a times eta s (grad a . m),
  /// with grad a = a'(r) H m/r. To be called with H m in hessian_.
  PATHBOUND_HD F turn(F size, R eta) const {
    const F slope = adaptive_factor_slope(spec_.adaptive, norm_.norm(), factor_);
    const F along = space_.sum([&](int i, int) { return (get(m_, i) * norm_.scale) * get(hessian_, i); });
    const F change = zero_unless(lt(real<F>(0.0), norm_.root), slope * (along / norm_.root));
    return (real<F>(0.5) * size) * (F(eta) * change);
  }

  /// u_j of Q^(1/2) = D^(1/2) (I - b u u^T).
  PATHBOUND_HD F unit(int i) const {
    const F root = get(root_, i);
    return zero_unless(lt(real<F>(0.0), root), get(m_, i) / root);
  }

  /// use(i, value) with value_j = (scale Q^(1/2) w)_j at the point prepared, w_j = w(i).
  template <class W, class Use>
  PATHBOUND_HD void diffuse(F scale, W&& w, Use&& use) const {
    F along = real<F>(0.0);
    if (model_.rank_one != R(0)) along = bend_ * space_.sum([&](int i, int) { return unit(i) * w(i); });
    space_.each([&](int i, int) {
      F value = get(root_, i) * w(i);
      if (model_.rank_one != R(0)) value = value - get(m_, i) * along;
      use(i, scale * value);
    });
  }

  /// use(i, value) with the drift times the substep's length at the point prepared.
  template <class Use>
  PATHBOUND_HD void drift(StepSizeAt<R> at, Use&& use) {
    const F size = F(at.eta) * factor_;
    F direct = size, bent = real<F>(0.0);
    if (needs_slope()) {
      space_.hessian_times(point_, m_, hessian_);
      const bool second = model_.kind == ModelKind::second_order;
      bent = F(second ? R(0.5) : R(-0.5)) * (size * size);
      if (second) direct = F(at.eta - R(0.5) * at.slope) * factor_;
      if (second && is_of_gradient(spec_.adaptive.kind)) direct = direct + turn(size, at.eta);
    }
    const F a = direct * F(-inverse_n_), b = bent * F(-inverse_n_);
    space_.each([&](int i, int) {
      F increment = a * get(m_, i);
      if (needs_slope()) {
        F bend = get(hessian_, i);
        if (signs_) bend = get(slope_, i) * bend;
        increment = fma(b, bend, increment);
      }
      use(i, increment);
    });
  }

  /// Takes half of weak2's sum over r, at the point prepared, from `next`. With W = D^(1/2) - b v u^T (u, b: unit,
  /// bend) the sum is eta^2/(N n) sum_j (dW)_ij [H W e_j].
  PATHBOUND_HD void subtract_correction(const Vector& next, StepSizeAt<R> now) {
    const Vector diagonal = space_.template vector<ModelSlot::diagonal>();
    const F scale(R(0.5) * ((now.eta * now.eta) * (inverse_n_ / static_cast<R>(spec_.n_workers))));
    const F half = real<F>(0.5), zero = real<F>(0.0);
    space_.hessian_diagonal(point_, diagonal);
    if (signs_) {
      const Vector variance = space_.template vector<ModelSlot::variance>();
      space_.each([&](int i, int) {
        const F sum = half * get(variance, i) * get(diagonal, i);
        set(next, i, get(next, i) - scale * sum);
      });
      return;
    }
    const bool rank_one = model_.rank_one != R(0);
    const F square(model_.square), affine(model_.affine / static_cast<R>(spec_.objective.dim));
    if (spec_.affine || rank_one) space_.hessian_times(point_, m_, hessian_);
    if (!rank_one) {
      space_.each([&](int i, int) {
        F sum = square * get(m_, i) * get(diagonal, i);
        if (spec_.affine) sum = fma(affine, get(hessian_, i), sum);
        set(next, i, get(next, i) - scale * sum);
      });
      return;
    }
    const F curvature = space_.sum([&](int i, int) { return get(m_, i) * get(hessian_, i); });  // v^T H v
    const F two = real<F>(2.0), lambda = fma(zero - bend_, unit_square_, real<F>(1.0));         // W u = lambda v
    // Along H W u: the derivative of |u|^2, and of b.
    const F unit_slope = space_.sum([&](int i, int) {
      const F u = unit(i), root = get(root_, i);
      const F y = lambda * get(hessian_, i), v = get(m_, i);
      const F square_slope = two * fma(square * v, y, affine * (lambda * curvature));
      const F inner = two * y - u * square_slope / root;
      return zero_unless(lt(zero, root), u * inner / root);
    });
    const F bend_slope = zero_unless(lt(zero, remainder_), bend_ * bend_ * unit_slope / (two * remainder_));
    // sum_j of the derivative of u_j along H W e_j.
    const F turning = space_.sum([&](int i, int) {
      const F root = get(root_, i);
      const Along a = along(i, get(diagonal, i), curvature, square, affine);
      const F inner = a.own - half * get(m_, i) * a.square_slope / (root * root);
      return zero_unless(lt(zero, root), inner / root);
    });
    space_.each([&](int i, int) {
      const F root = get(root_, i), v = get(m_, i);
      const Along a = along(i, get(diagonal, i), curvature, square, affine);
      F sum = zero_unless(lt(zero, root), half * a.square_slope / root);
      sum = sum - v * (bend_slope + bend_ * turning);
      sum = sum - bend_ * (lambda * get(hessian_, i));
      set(next, i, get(next, i) - scale * sum);
    });
  }
  /// Along H W e_i: the change of v_i, and of D_i.
  struct Along {
    F own, square_slope;
  };
  PATHBOUND_HD Along along(int i, F diagonal, F curvature, F square, F affine) const {
    const F root = get(root_, i), bent = bend_ * unit(i), two = real<F>(2.0);
    const F own = root * diagonal - bent * get(hessian_, i);
    const F inner = root * get(hessian_, i) - bent * curvature;
    return {own, two * fma(square * get(m_, i), own, affine * inner)};
  }

  /// `first`: of the substeps. The noise's s is that of the step's beginning (theory section 3).
  PATHBOUND_HD void moment(const Vector& x, const Vector& increment, StepSizeAt<R> now, bool first) {
    const Vector kept = space_.template vector<ModelSlot::step>();
    space_.hessian_diagonal(point_, hessian_);
    const R omega = signs_ ? R(0) : model_.omega / static_cast<R>(spec_.n_workers);
    const F eta = F(now.eta) * factor_, workers(inverse_root_workers_ * inverse_root_workers_);
    const F root_n(sqrt(static_cast<R>(model_.substeps)));
    space_.each([&](int i, int) {
      const F m = get(m_, i);
      F slope = get(hessian_, i), noise;
      if (signs_) {
        slope = get(slope_, i) * slope;
        noise = get(root_, i) * get(root_, i);
      } else {
        if (first) set(kept, i, noise_square_);
        noise = get(kept, i);
      }
      const MomentStep<F> step = moment_step(eta * slope, omega, inverse_n_);
      const F spread = sqrt(fma(m * m, step.a2, (noise * workers) * step.a3));
      const F move = fma(spread, root_n * get(increment, i), real<F>(0.0) - m * step.a1);
      set(x, i, fma(eta, move, get(x, i)));
    });
  }

  const SimSpec<R>& spec_;
  const ModelSpec<R>& model_;
  Space& space_;
  const Vector m_, root_, slope_, hessian_, point_;
  const bool signs_;
  const R inverse_n_, inverse_root_workers_;
  F factor_ = real<F>(1.0);           // a(x)
  ScaledNorm<F> norm_;                // |grad f|, where a(x) takes it
  F mean_square_, noise_square_;      // |grad f|^2/d; the part of D_j that is the same for all j
  F unit_square_, remainder_, bend_;  // |u|^2, sqrt(1 - c |u|^2), b
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
