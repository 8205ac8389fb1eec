// SPDX-License-Identifier: Apache-2.0
// Growth of S per step on quadratics, exactly, for a method, its models and the integrators of these (theory O2, O3,
// O8); and what bench_stability reads out of simulations. One coordinate at a time: z = eta h.
#pragma once
#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "kernels/simulate.hpp"
#include "kernels/spec.hpp"

namespace pathbound::stability {

inline constexpr double infinity = std::numeric_limits<double>::infinity();

/// Growth per step: `square` of log E S, `path` of log S along almost every path (twice the Lyapunov exponent).
struct Growth {
  double square = 0.0, path = 0.0;
};

/// E log|m + s xi|, xi standard normal: (m/s + xi)^2 is noncentral chi^2_1, a Poisson mixture of chi^2_{1+2j}, and
/// E log chi^2_k = digamma(k/2) + log 2. For small s/m the expansion of log(1 + (s/m) xi), which the mixture's many
/// terms would reach with fewer digits.
inline double mean_log_abs_normal(double m, double s) {
  if (s <= 0.02 * std::abs(m)) {
    const double e = (s / m) * (s / m);
    return std::log(std::abs(m)) - e * (0.5 + e * (0.75 + e * (2.5 + e * 13.125)));
  }
  const double mu = 0.5 * (m / s) * (m / s);
  const int last = static_cast<int>(mu + 14.0 * std::sqrt(mu) + 60.0);
  double digamma = -0.57721566490153286 - 2.0 * std::log(2.0), sum = 0.0;  // at 1/2
  for (int j = 0; j <= last; ++j) {
    const double log_weight = j == 0 ? -mu : mu > 0.0 ? j * std::log(mu) - mu - std::lgamma(j + 1.0) : -infinity;
    sum += std::exp(log_weight) * digamma;
    digamma += 1.0 / (j + 0.5);
  }
  return std::log(s) + 0.5 * (sum + std::log(2.0));
}

/// DCSGD on a quadratic: each worker keeps a coordinate with probability `keep` (bernoulli; rand_k: k/d) and sends it
/// times 1/keep; affine noise of one coordinate.
struct Linear {
  double keep = 1.0, affine = 0.0;
  int workers = 1;

  double omega() const { return 1.0 / keep - 1.0; }
  /// The variance of the averaged message over the gradient squared: z^2 kappa is what (1 - z)^2 lacks.
  double kappa() const { return (omega() + (1.0 + omega()) * affine * affine) / workers; }
};

/// O8, and E log of the factor over the binomial number of messages that hold the coordinate.
inline Growth method_growth(const Linear& c, double z) {
  Growth g;
  g.square = std::log((1.0 - z) * (1.0 - z) + z * z * c.kappa());
  const double n = c.workers, unit = z / (n * c.keep);
  for (int k = 0; k <= c.workers; ++k) {
    if (c.keep >= 1.0 && k < c.workers) continue;
    const double log_choose = std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0);
    const double tails = k < c.workers ? (n - k) * std::log1p(-c.keep) : 0.0;
    const double weight = std::exp(log_choose + k * std::log(c.keep) + tails);
    g.path += 2.0 * weight * mean_log_abs_normal(1.0 - unit * k, unit * c.affine * std::sqrt(k));
  }
  return g;
}

/// first_order, second_order, curvature: dX = -a X dt + b |X| dW with t in steps.
struct Sde {
  double a = 0.0, variance = 0.0;  ///< variance: b^2
};
inline Sde sde_of(ModelKind kind, const Linear& c, double z) {
  const double r = kind == ModelKind::second_order ? 0.5 : kind == ModelKind::curvature ? -0.5 : 0.0;
  return {z * (1.0 + r * z), z * z * c.kappa()};
}
/// (1 - z)^2 + z^2 omega/N
inline double moment_area(const Linear& c, double z) { return (1.0 - z) * (1.0 - z) + z * z * c.omega() / c.workers; }

/// O3's rate and Ito's for log X^2. hessian_aware (affine = 0): of its SDE.
inline Growth model_growth(ModelKind kind, const Linear& c, double z) {
  if (kind == ModelKind::hessian_aware) {
    const double area = moment_area(c, z);
    return {std::log(area), 4.0 * std::log(std::abs(1.0 - z)) - std::log(area)};
  }
  const Sde sde = sde_of(kind, c, z);
  return {-2.0 * sde.a + sde.variance, -2.0 * sde.a - sde.variance};
}

/// The same for n substeps of an integrator. weak2 multiplies X by 1 - a + a^2/2 - v/2 + (1 - a) w + w^2/2, where a and
/// v are a substep's and w = sqrt(v) xi; v < 1 (its zeros are complex then).
inline Growth integrated_growth(ModelKind kind, IntegratorKind integrator, int n, const Linear& c, double z) {
  double mean = 0.0, variance = 0.0;  // of the factor of one substep, where it is normal
  if (kind == ModelKind::hessian_aware) {
    const double area = moment_area(c, z), u = std::pow(std::abs(1.0 - z), 1.0 / n), r = std::pow(area, 1.0 / n);
    const double part = std::abs(area - 1.0) > 1e-12 ? (r - 1.0) / (area - 1.0) : 1.0 / n;
    mean = u;
    variance = std::max(0.0, r - u * u) + z * z * (1.0 + c.omega()) * c.affine * c.affine / c.workers * part;
  } else {
    const Sde sde = sde_of(kind, c, z);
    const double a = sde.a / n, v = sde.variance / n;
    if (integrator == IntegratorKind::weak2) {
      const double c0 = 1.0 - a + 0.5 * a * a - 0.5 * v, c1 = std::sqrt(v) * (1.0 - a), c2 = 0.5 * v;
      Growth g;
      g.square = n * std::log(c0 * c0 + c1 * c1 + 3.0 * c2 * c2 + 2.0 * c0 * c2);
      // The trapezoidal rule is exact to rounding for a smooth function times a normal density.
      constexpr double reach = 9.0, width = 0.002;
      double sum = 0.0, weight = 0.0;
      for (int i = 0; i <= static_cast<int>(2.0 * reach / width); ++i) {
        const double x = -reach + width * i, density = std::exp(-0.5 * x * x);
        weight += density;
        sum += density * std::log(std::abs(c0 + (c1 + c2 * x) * x));
      }
      g.path = 2.0 * n * sum / weight;
      return g;
    }
    mean = 1.0 - a;
    variance = v;
  }
  return {n * std::log(mean * mean + variance), 2.0 * n * mean_log_abs_normal(mean, std::sqrt(variance))};
}

/// The smallest z in (low, high] from which on f > 0 within its grid cell, by bisection; none: f <= 0 on the grid.
template <class F>
std::optional<double> first_crossing(const F& f, double low, double high, int cells = 400) {
  double a = low;
  for (int i = 1; i <= cells; ++i) {
    double b = low + (high - low) * i / cells;
    if (f(b) <= 0.0) {
      a = b;
      continue;
    }
    while (b - a > 1e-12 * b) {
      const double middle = 0.5 * (a + b);
      if (middle <= a || middle >= b) break;
      (f(middle) > 0.0 ? b : a) = middle;
    }
    return 0.5 * (a + b);
  }
  return std::nullopt;
}

/// No single path may carry more than this part of a sum from which growth is read.
inline constexpr double largest_share = 0.1;

struct Fit {
  double growth = 0.0;
  int steps = 0;  ///< records after the first that the rule leaves; 0: nothing can be said
};

/// Growth of log(mean S) per step: the least-squares slope over the first records, as long as no path has diverged and
/// none carries more than a tenth of the sum. Infinite when every path has diverged at the first step.
inline Fit mean_growth(const std::vector<Record>& records, std::uint64_t paths) {
  Fit fit;
  if (records.size() > 1 && records[1].finite == 0) return {infinity, 1};
  double sum_t = 0.0, sum_y = 0.0, sum_tt = 0.0, sum_ty = 0.0;
  int n = 0;
  for (const Record& r : records) {
    if (r.finite < paths || !(r.sum > 0.0) || r.max > largest_share * r.sum) break;
    const double t = n, y = std::log(r.sum / static_cast<double>(paths));
    sum_t += t, sum_y += y, sum_tt += t * t, sum_ty += t * y;
    ++n;
  }
  if (n < 2) return fit;
  fit.steps = n - 1;
  fit.growth = (n * sum_ty - sum_t * sum_y) / (n * sum_tt - sum_t * sum_t);
  return fit;
}

/// Growth of the median of log S from one record to another: positive when half of the paths grow. A median below the
/// histogram's range has fallen, one that has diverged has grown.
inline double median_growth(const std::vector<double>& median, std::size_t first, std::size_t last) {
  if (!(median[last] <= std::numeric_limits<double>::max())) return infinity;
  if (median[last] <= 0x1p-99) return -infinity;
  return std::log(median[last] / median[first]);
}

/// Student t over replicates.
struct Interval {
  double mean = 0.0, error = 0.0;  ///< error: standard error of the mean
  int n = 0;
  /// Half the width at confidence 1 - alpha.
  double half(double alpha) const {
    if (n < 2) return 0.0;
    return error * boost::math::quantile(boost::math::complement(boost::math::students_t(n - 1.0), 0.5 * alpha));
  }
};
inline Interval interval_of(const std::vector<double>& values) {
  Interval out;
  out.n = static_cast<int>(values.size());
  for (const double v : values) out.mean += v / out.n;
  double square = 0.0;
  for (const double v : values) square += (v - out.mean) * (v - out.mean);
  if (out.n > 1) out.error = std::sqrt(square / (out.n * (out.n - 1.0)));
  return out;
}

}  // namespace pathbound::stability
