// SPDX-License-Identifier: Apache-2.0
// What the paths of a block keep over their steps for bounds on averages (SimSpec::sums, track_smoothness), a pack of
// paths at a time.
#pragma once
#include "kernels/math.hpp"
#include "kernels/objectives.hpp"
#include "kernels/reduce.hpp"
#include "kernels/spec.hpp"
#include "kernels/xi.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// One double for each lane of F.
template <class F>
struct Doubles {
  using D = DoubleOf<F>;
  static constexpr int lanes = RealTraits<D>::lanes;
  static constexpr int packs = RealTraits<F>::lanes / lanes;
  D pack[packs];
};
template <class F>
PATHBOUND_HD Doubles<F> operator+(const Doubles<F>& a, const Doubles<F>& b) {
  Doubles<F> sum;
  for (int i = 0; i < Doubles<F>::packs; ++i) sum.pack[i] = a.pack[i] + b.pack[i];
  return sum;
}
template <class F>
PATHBOUND_HD Doubles<F> to_doubles(const ScalarOf<F>* v) {
  using D = DoubleOf<F>;
  Doubles<F> all;
  for (int i = 0; i < Doubles<F>::packs; ++i) all.pack[i] = load_as_double<D>(v + i * Doubles<F>::lanes);
  return all;
}
template <class F>
PATHBOUND_HD Doubles<F> to_doubles(F v) {
  alignas(64) ScalarOf<F> lane[RealTraits<F>::lanes];
  store(lane, v);
  return to_doubles<F>(lane);
}

template <class F, int width>
class PathSums {
  using R = ScalarOf<F>;
  using D = DoubleOf<F>;
  static constexpr int lanes = RealTraits<F>::lanes, double_lanes = RealTraits<D>::lanes, packs = lanes / double_lanes;

 public:
  /// What the step (or substep) of size `weight` adds for the pack of paths that begins at slot `first`. x and g hold
  /// the iterate and its gradient before the step: dim rows, width apart.
  PATHBOUND_HD_CALL void add(const SimSpec<R>& spec, int first, const R* g, F weight) {
    const Doubles<F> value = spec.sums == SumKind::psi ? psi(spec, g) : square(spec.objective.dim, g);
    const Doubles<F> w = to_doubles(weight);
    for (int i = 0; i < packs; ++i) {
      const int at = first + i * double_lanes;
      store(y_ + at, fma(w.pack[i], value.pack[i] - D(spec.sums_level), load<D>(y_ + at)));
      store(t_ + at, load<D>(t_ + at) + w.pack[i]);
    }
  }
  /// Keeps the largest |H|/(L0 + L1 |grad f|). Separable objectives.
  PATHBOUND_HD_CALL void track_smoothness(const SimSpec<R>& spec, int first, const R* x, const R* g) {
    F largest = real<F>(0.0);
    with_separable<F>(spec.objective, [&](const auto& f) {
      for (int j = 0; j < spec.objective.dim; ++j) largest = max(abs(f.second(load<F>(x + j * width), j)), largest);
    });
    const Doubles<F> size = to_doubles(largest), squares = square(spec.objective.dim, g);
    const D L0(static_cast<double>(spec.smooth_L0)), L1(static_cast<double>(spec.smooth_L1));
    for (int i = 0; i < packs; ++i) {
      double* kept = smoothness_ + first + i * double_lanes;
      store(kept, max(size.pack[i] / (L0 + L1 * sqrt(squares.pack[i])), load<D>(kept)));
    }
  }

  PATHBOUND_HD const double* y() const { return y_; }
  PATHBOUND_HD const double* t() const { return t_; }
  PATHBOUND_HD const double* smoothness() const { return smoothness_; }

 private:
  /// |g|^2
  static PATHBOUND_HD Doubles<F> square(int dim, const R* g) {
    return tree_sum<Doubles<F>>(dim, [&](int j) {
      Doubles<F> v = to_doubles<F>(g + static_cast<std::int64_t>(j) * width);
      for (int i = 0; i < packs; ++i) v.pack[i] = v.pack[i] * v.pack[i];
      return v;
    });
  }
  /// m . g, m the mean of the workers' signs.
  static PATHBOUND_HD Doubles<F> psi(const SimSpec<R>& spec, const R* g) {
    const int dim = spec.objective.dim;
    const auto at = [&](int j) { return g + static_cast<std::int64_t>(j) * width; };
    F mean_square = real<F>(0.0);
    if (spec.affine)
      mean_square = tree_sum<F>(dim,
                                [&](int j) {
                                  const F v = load<F>(at(j));
                                  return v * v;
                                }) /
                    real<F>(dim);
    return tree_sum<Doubles<F>>(dim, [&](int j) {
      Doubles<F> v = to_doubles<F>(at(j));
      const Doubles<F> m = to_doubles(sign_moments(spec.signs, spec.affine, load<F>(at(j)), mean_square).drift);
      for (int i = 0; i < packs; ++i) v.pack[i] = m.pack[i] * v.pack[i];
      return v;
    });
  }

  alignas(64) double y_[width] = {}, t_[width] = {}, smoothness_[width] = {};
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
