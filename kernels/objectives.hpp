// SPDX-License-Identifier: Apache-2.0
// Objectives: suboptimality S(x) = f(x) - f* without cancellation, and grad f (theory section 5).
//
// A separable objective f(x) = sum_j f_j(x_j) is a struct with the members value(x_j, j) = f_j(x_j) - min f_j,
// gradient(x_j, j) = f_j'(x_j) and second(x_j, j) = f_j''(x_j), built from an ObjectiveSpec; one line of
// `with_separable` makes it known. CONTRIBUTING walks through adding one. The dense objectives (least_squares,
// logistic) have functions of their own below.
#pragma once
#include "kernels/math.hpp"
#include "kernels/reduce.hpp"
#include "kernels/spec.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// f = 1/2 sum h_j x_j^2, h_j > 0.
template <class F>
struct Quadratic {
  const ScalarOf<F>* h;
  PATHBOUND_HD explicit Quadratic(const ObjectiveSpec<ScalarOf<F>>& spec) : h(spec.h) {}
  PATHBOUND_HD F value(F x, int j) const { return (F(h[j]) * x) * (real<F>(0.5) * x); }
  PATHBOUND_HD F gradient(F x, int j) const { return F(h[j]) * x; }
  PATHBOUND_HD F second(F, int j) const { return F(h[j]); }
};

/// f = sum x_j^4 / 4.
template <class F>
struct Quartic {
  PATHBOUND_HD explicit Quartic(const ObjectiveSpec<ScalarOf<F>>&) {}
  PATHBOUND_HD F value(F x, int) const {
    const F s = x * x;
    return (s * s) * real<F>(0.25);
  }
  PATHBOUND_HD F gradient(F x, int) const { return (x * x) * x; }
  PATHBOUND_HD F second(F x, int) const { return real<F>(3.0) * (x * x); }
};

/// f = sum cosh x_j - 1 = sum 2 sinh(x_j / 2)^2.
template <class F>
struct Cosh {
  PATHBOUND_HD explicit Cosh(const ObjectiveSpec<ScalarOf<F>>&) {}
  PATHBOUND_HD F value(F x, int) const {
    const F s = sinh(real<F>(0.5) * x);
    return real<F>(2.0) * (s * s);
  }
  PATHBOUND_HD F gradient(F x, int) const { return sinh(x); }
  PATHBOUND_HD F second(F x, int) const { return cosh(x); }
};

/// f = sum x_j^2 + 3 sin(x_j)^2: PL but not convex.
template <class F>
struct SinePl {
  PATHBOUND_HD explicit SinePl(const ObjectiveSpec<ScalarOf<F>>&) {}
  PATHBOUND_HD F value(F x, int) const {
    const F s = sin(x);
    return fma(x, x, real<F>(3.0) * (s * s));
  }
  PATHBOUND_HD F gradient(F x, int) const {
    const F y = real<F>(2.0) * x;
    return fma(real<F>(3.0), sin(y), y);
  }
  PATHBOUND_HD F second(F x, int) const { return fma(real<F>(6.0), cos(real<F>(2.0) * x), real<F>(2.0)); }
};

/// f = 1/2 sum h_j x_j^2 + (lam/4) sum x_j^4, some h_j < 0, for which f_j - min f_j = (lam/4)(x_j^2 + h_j/lam)^2.
template <class F>
struct Saddle {
  const ScalarOf<F>* h;
  ScalarOf<F> lam;
  PATHBOUND_HD explicit Saddle(const ObjectiveSpec<ScalarOf<F>>& spec) : h(spec.h), lam(spec.lam) {}
  PATHBOUND_HD F value(F x, int j) const {
    const F s = x * x;
    const F quarter = F(lam) * real<F>(0.25);
    if (h[j] < 0) {
      const F well = s + F(h[j] / lam);
      return quarter * (well * well);
    }
    return s * fma(quarter, s, real<F>(0.5) * F(h[j]));
  }
  PATHBOUND_HD F gradient(F x, int j) const { return x * fma(F(lam) * x, x, F(h[j])); }
  PATHBOUND_HD F second(F x, int j) const { return fma(real<F>(3.0) * F(lam), x * x, F(h[j])); }
};

/// Calls use(objective) with the separable objective of the spec (which must be one: is_separable).
template <class F, class Use>
PATHBOUND_HD void with_separable(const ObjectiveSpec<ScalarOf<F>>& spec, Use&& use) {
  switch (spec.kind) {
    case ObjectiveKind::quartic:
      return use(Quartic<F>(spec));
    case ObjectiveKind::cosh:
      return use(Cosh<F>(spec));
    case ObjectiveKind::sine_pl:
      return use(SinePl<F>(spec));
    case ObjectiveKind::saddle:
      return use(Saddle<F>(spec));
    default:
      return use(Quadratic<F>(spec));
  }
}

/// grad f of one pack of paths. x and g are dim rows, `stride` scalars apart. scratch: n_rows rows (logistic), also
/// `stride` apart.
template <class F>
PATHBOUND_HD void gradient(const ObjectiveSpec<ScalarOf<F>>& spec, const ScalarOf<F>* x, int stride, ScalarOf<F>* g,
                           ScalarOf<F>* scratch) {
  const int dim = spec.dim;
  if (spec.kind == ObjectiveKind::least_squares) {
    // grad f = (A^T A / n)(x - x*)
    for (int i = 0; i < dim; ++i) {
      const ScalarOf<F>* row = spec.gram + static_cast<std::int64_t>(i) * dim;
      store(g + i * stride,
            tree_sum<F>(dim, [&](int j) { return F(row[j]) * (load<F>(x + j * stride) - F(spec.x_star[j])); }));
    }
  } else if (spec.kind == ObjectiveKind::logistic) {
    // grad f = -(1/n) sum_r y_r a_r / (1 + e^{m_r}) + lam x, m_r = y_r a_r . x
    for (int r = 0; r < spec.n_rows; ++r) {
      const ScalarOf<F>* row = spec.rows + static_cast<std::int64_t>(r) * dim;
      const F margin = tree_sum<F>(dim, [&](int j) { return F(row[j]) * load<F>(x + j * stride); });
      store(scratch + r * stride, real<F>(-1.0) / (real<F>(1.0) + exp(margin)));
    }
    const F n = real<F>(spec.n_rows);
    for (int j = 0; j < dim; ++j) {
      const F sum = tree_sum<F>(spec.n_rows, [&](int r) {
        return F(spec.rows[static_cast<std::int64_t>(r) * dim + j]) * load<F>(scratch + r * stride);
      });
      store(g + j * stride, fma(F(spec.lam), load<F>(x + j * stride), sum / n));
    }
  } else {
    with_separable<F>(spec, [&](const auto& f) {
      for (int j = 0; j < dim; ++j) store(g + j * stride, f.gradient(load<F>(x + j * stride), j));
    });
  }
}

/// What one row of the logistic loss adds to the Hessian, p (1 - p), from what `gradient` left in its scratch row, -p.
template <class F>
PATHBOUND_HD F logistic_weight(F minus_p) {
  return (real<F>(0.0) - minus_p) * (real<F>(1.0) + minus_p);
}

/// H(x) u of one pack of paths, to be called after `gradient` at the same x with the same scratch, which is only read.
/// `products`: n_rows rows (logistic). out must not be u.
template <class F>
PATHBOUND_HD void hessian_product(const ObjectiveSpec<ScalarOf<F>>& spec, const ScalarOf<F>* x, const ScalarOf<F>* u,
                                  int stride, ScalarOf<F>* out, const ScalarOf<F>* scratch, ScalarOf<F>* products) {
  const int dim = spec.dim;
  if (spec.kind == ObjectiveKind::least_squares) {
    for (int i = 0; i < dim; ++i) {
      const ScalarOf<F>* row = spec.gram + static_cast<std::int64_t>(i) * dim;
      store(out + i * stride, tree_sum<F>(dim, [&](int j) { return F(row[j]) * load<F>(u + j * stride); }));
    }
  } else if (spec.kind == ObjectiveKind::logistic) {
    for (int r = 0; r < spec.n_rows; ++r) {
      const ScalarOf<F>* row = spec.rows + static_cast<std::int64_t>(r) * dim;
      const F along = tree_sum<F>(dim, [&](int j) { return F(row[j]) * load<F>(u + j * stride); });
      store(products + r * stride, logistic_weight(load<F>(scratch + r * stride)) * along);
    }
    const F n = real<F>(spec.n_rows);
    for (int j = 0; j < dim; ++j) {
      const F sum = tree_sum<F>(spec.n_rows, [&](int r) {
        return F(spec.rows[static_cast<std::int64_t>(r) * dim + j]) * load<F>(products + r * stride);
      });
      store(out + j * stride, fma(F(spec.lam), load<F>(u + j * stride), sum / n));
    }
  } else {
    with_separable<F>(spec, [&](const auto& f) {
      for (int j = 0; j < dim; ++j)
        store(out + j * stride, f.second(load<F>(x + j * stride), j) * load<F>(u + j * stride));
    });
  }
}

/// The diagonal of H(x), under the same conditions.
template <class F>
PATHBOUND_HD void hessian_diagonal(const ObjectiveSpec<ScalarOf<F>>& spec, const ScalarOf<F>* x, int stride,
                                   ScalarOf<F>* out, const ScalarOf<F>* scratch) {
  const int dim = spec.dim;
  if (spec.kind == ObjectiveKind::least_squares) {
    for (int j = 0; j < dim; ++j) store(out + j * stride, F(spec.gram[static_cast<std::int64_t>(j) * dim + j]));
  } else if (spec.kind == ObjectiveKind::logistic) {
    const F n = real<F>(spec.n_rows);
    for (int j = 0; j < dim; ++j) {
      const F sum = tree_sum<F>(spec.n_rows, [&](int r) {
        const F a(spec.rows[static_cast<std::int64_t>(r) * dim + j]);
        return (a * a) * logistic_weight(load<F>(scratch + r * stride));
      });
      store(out + j * stride, F(spec.lam) + sum / n);
    }
  } else {
    with_separable<F>(spec, [&](const auto& f) {
      for (int j = 0; j < dim; ++j) store(out + j * stride, f.second(load<F>(x + j * stride), j));
    });
  }
}

/// S of one pack of paths of a separable objective.
template <class F, class Objective>
PATHBOUND_HD F separable_suboptimality(const Objective& f, int dim, const ScalarOf<F>* x, int stride) {
  return tree_sum<F>(dim, [&](int j) { return f.value(load<F>(x + j * stride), j); });
}

/// max(t, 0) + log1p(e^-|t|)
template <class D>
PATHBOUND_HD D softplus(D t) {
  return max(t, real<D>(0.0)) + log1p(exp(real<D>(0.0) - abs(t)));
}

/// One row's term of the logistic S: log1p(p* expm1(-t)) + p* t with t = y a.(x - x*) and p* = 1 / (1 + e^{m*}).
template <class D>
PATHBOUND_HD D logistic_term(double margin_star, D along) {
  const D one = real<D>(1.0);
  // The term is the same for (m*, t) and (-m*, -t): with m* >= 0, so p* <= 1/2, nothing cancels in 1 - p*.
  const D t = margin_star < 0.0 ? real<D>(0.0) - along : along;
  const D margin = abs(D(margin_star));
  const D p = one / (one + exp(margin));
  const D middle = fma(p, t, log1p(p * expm1(real<D>(0.0) - t)));
  const D far = fma(p, t, softplus(real<D>(0.0) - (margin + t)) - softplus(real<D>(0.0) - margin));
  // Near 0 the two terms cancel to first order: there the cumulants of a Bernoulli(p*) variable, pq = p*(1 - p*).
  const D pq = p * (one - p), odd = one - (p + p);
  D near = fma(fma(real<D>(120.0), pq, real<D>(-30.0)), pq, one) * real<D>(1.0 / 720.0);
  near = fma(near, t, odd * fma(real<D>(-12.0), pq, one) * real<D>(-1.0 / 120.0));
  near = fma(near, t, fma(real<D>(-6.0), pq, one) * real<D>(1.0 / 24.0));
  near = fma(near, t, odd * real<D>(-1.0 / 6.0));
  near = fma(near, t, real<D>(0.5)) * (pq * (t * t));
  const D value = select(lt(abs(t), real<D>(0x1p-6)), near, middle);
  return select(lt(t, real<D>(-30.0)), far, value);
}

/// S of one pack of paths of a dense objective in double, from e = x - x* (dim rows, `stride` doubles apart).
template <class D, class R>
PATHBOUND_HD D dense_suboptimality(const ObjectiveSpec<R>& spec, const double* e, int stride) {
  const int dim = spec.dim;
  auto times_row = [&](int r) {
    const double* row = spec.rows_double + static_cast<std::int64_t>(r) * dim;
    return tree_sum<D>(dim, [&](int j) { return D(row[j]) * load<D>(e + j * stride); });
  };
  const D n = real<D>(spec.n_rows);
  if (spec.kind == ObjectiveKind::least_squares) {
    // |A (x - x*)|^2 / (2 n)
    const D sum = tree_sum<D>(spec.n_rows, [&](int r) {
      const D residual = times_row(r);
      return residual * residual;
    });
    return real<D>(0.5) * sum / n;
  }
  // logistic: the mean of the rows' terms + (lam/2)|x - x*|^2
  const D sum = tree_sum<D>(spec.n_rows, [&](int r) { return logistic_term<D>(spec.margin_star[r], times_row(r)); });
  const D square = tree_sum<D>(dim, [&](int j) {
    const D d = load<D>(e + j * stride);
    return d * d;
  });
  return fma(real<D>(0.5 * static_cast<double>(spec.lam)), square, sum / n);
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
