// SPDX-License-Identifier: Apache-2.0
// What bench_adaptivity predicts and diagnoses (docs/adaptivity.md): where descent on x^4/4 and cosh x - 1 leaves, the
// degree of normalisation that keeps it, and the two failure signatures, explosion and oscillation, of one path.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <optional>
#include <utility>
#include <vector>

#include "bench/stability.hpp"

namespace pathbound::adaptivity {

// ---------------------------------------------------------------------- where descent leaves
enum class Shape { quartic, cosh };

inline double slope(Shape f, double x) { return f == Shape::quartic ? x * x * x : std::sinh(x); }

/// eta a(x) |f'(x)|/|x|, a = (1 + |f'|/c)^-q: a noiseless step multiplies x by one minus this. q = 0: no normalisation.
inline double relative_step(Shape f, double eta, double c, double q, double x) {
  const double g = std::abs(slope(f, x));
  return eta * g / std::abs(x) * std::pow(1.0 + g / c, -q);
}

/// From which |x| on a noiseless step makes |x| larger: the relative step is above 2. None up to `high`.
inline std::optional<double> escape_radius(Shape f, double eta, double c, double q, double high) {
  const auto excess = [&](double log_x) { return relative_step(f, eta, c, q, std::exp(log_x)) - 2.0; };
  const std::optional<double> log_x = stability::first_crossing(excess, std::log(1e-2), std::log(high), 2000);
  if (!log_x) return std::nullopt;
  return std::exp(*log_x);
}

/// The degree q from which on the relative step stays bounded as |x| grows, where |f'| grows like |x|^power: 1 -
/// 1/power. (power = infinity, faster than any power: 1.)
inline double required_degree(double power) { return std::max(0.0, 1.0 - 1.0 / power); }

/// x^4/4 under eta_k = eta s_k: every start with eta s_0 x_0^2 above this leaves, r^2 the smallest s_{k+1}/s_k. (With
/// v = sqrt(eta_k)|x_k| a step is v' = sqrt(s_{k+1}/s_k) v (v^2 - 1) >= r v (v^2 - 1) > v.)
inline double scheduled_limit(double smallest_ratio) { return 1.0 + 1.0 / std::sqrt(smallest_ratio); }

/// Bounds of a probability.
struct Bracket {
  double lower = 0.0, upper = 1.0;
};

/// The probability that DCSGD on x^4/4 without noise never leaves, u2 = eta x_0^2: each of N workers keeps its message
/// with probability p (bernoulli), a step is u' = u (1 - C u^2) with C = m/(N p), m binomial. Up to u2 = 2p no C makes
/// |u| larger, from u2 = 2 N p on every C > 0 does. Between, the tree of all C to this depth.
inline Bracket compressed_quartic_survival(double u2, double keep, int workers, int depth) {
  const double n = workers;
  if (u2 <= 2.0 * keep) return {1.0, 1.0};
  if (u2 >= 2.0 * n * keep) return {0.0, 0.0};
  if (depth == 0) return {0.0, 1.0};
  Bracket sum{0.0, 0.0};
  const double nothing = std::pow(1.0 - keep, n);  // C = 0 only waits
  double weight = nothing;
  for (int m = 1; m <= workers; ++m) {
    weight *= (n - m + 1.0) / m * keep / (1.0 - keep);
    const double factor = 1.0 - m / (n * keep) * u2;
    const Bracket next = compressed_quartic_survival(u2 * factor * factor, keep, workers, depth - 1);
    sum.lower += weight / (1.0 - nothing) * next.lower;
    sum.upper += weight / (1.0 - nothing) * next.upper;
  }
  return sum;
}

/// Of DSGD on x^4/4 under Cauchy noise of this scale: an upper bound of the probability that a path is still there
/// after steps of these sizes, none more than four times the next. From any x the noise of step k takes it beyond rho_k
/// = sqrt(6/eta_k) with at least the probability that it exceeds rho_k by itself (Anderson 1955: its law is symmetric
/// and unimodal). From there a step multiplies |x| by 5 at least, so that |x| doubles unless a jump exceeds 3 rho_k
/// 2^j, j = 0, 1, ...; as P(|z| > y) <= 2/(pi y), one of these comes with probability at most (4/(3 pi)) eta_k
/// scale/rho_k.
inline double cauchy_survival_bound(const std::vector<double>& step_sizes, double scale) {
  double below = 1.0, comes_back = 0.0;
  for (const double eta : step_sizes) {
    const double rho = std::sqrt(6.0 / eta), unit = eta * scale / rho;
    below *= 2.0 / std::numbers::pi * std::atan(1.0 / unit);
    comes_back = std::max(comes_back, 4.0 / (3.0 * std::numbers::pi) * unit);
  }
  return std::min(1.0, below + comes_back);
}

/// Of DSGD on x^2/2 under Cauchy noise, eta_k <= 1: x_k - x_0 prod(1 - eta_j) is Cauchy with this scale times that of
/// the noise, because weights and scales add up: 1 - prod(1 - eta_j), whatever the schedule.
inline double cauchy_share(const std::vector<double>& step_sizes) {
  double rest = 1.0;
  for (const double eta : step_sizes) rest *= 1.0 - eta;
  return 1.0 - rest;
}

// ---------------------------------------------------------------------- failure signatures
/// Gradient-norm explosion of one path. With y_k = log|grad f(x_k)| it begins at the last k at which y_k <= y_0 and
/// goes on to the last finite y_k; it is one when y has grown by log 1000 at least.
struct Explosion {
  bool found = false;
  std::size_t first = 0, steps = 0;
  double rate = 0.0;   ///< least-squares slope of y over it: growth of log|grad f| per step
  double order = 0.0;  ///< regression of an increment of y on the one before: 1 for exponential growth, b when y' = b y
  /// |grad f| doubles in log 2/rate steps.
  double doubling() const { return std::log(2.0) / rate; }
  /// Super-exponential: log|grad f| doubles in log 2/log order steps.
  bool super_exponential() const { return order > 1.25; }
  double log_doubling() const { return std::log(2.0) / std::log(order); }
};

inline Explosion explosion_of(const std::vector<double>& log_gradient) {
  Explosion out;
  std::size_t last = 0;
  while (last + 1 < log_gradient.size() && std::isfinite(log_gradient[last + 1])) ++last;
  for (std::size_t k = 0; k <= last && !log_gradient.empty(); ++k)
    if (log_gradient[k] <= log_gradient[0]) out.first = k;
  out.steps = last - out.first;
  if (out.steps < 1 || log_gradient[last] - log_gradient[out.first] < std::log(1000.0)) return out;
  out.found = true;
  const double n = static_cast<double>(out.steps) + 1.0, middle = 0.5 * static_cast<double>(out.steps);
  double sxy = 0.0, products = 0.0, squares = 0.0;
  for (std::size_t i = 0; i <= out.steps; ++i) {
    sxy += (static_cast<double>(i) - middle) * log_gradient[out.first + i];
    if (i < 2) continue;
    const double before = log_gradient[out.first + i - 1] - log_gradient[out.first + i - 2];
    products += before * (log_gradient[out.first + i] - log_gradient[out.first + i - 1]);
    squares += before * before;
  }
  out.rate = sxy / (n * (n * n - 1.0) / 12.0);
  out.order = squares > 0.0 ? products / squares : std::numeric_limits<double>::quiet_NaN();
  return out;
}

/// Oscillation of one coordinate of one path: the share of the steps in which x - x* changes its sign. Steps from or to
/// x* itself do not count.
struct Oscillation {
  std::size_t changes = 0, steps = 0;
  double share() const {
    return steps > 0 ? static_cast<double>(changes) / static_cast<double>(steps)
                     : std::numeric_limits<double>::quiet_NaN();
  }
};

inline Oscillation oscillation_of(const std::vector<double>& offset) {
  Oscillation out;
  for (std::size_t k = 0; k + 1 < offset.size(); ++k) {
    if (offset[k] == 0.0 || offset[k + 1] == 0.0 || !std::isfinite(offset[k + 1])) continue;
    ++out.steps;
    out.changes += (offset[k] > 0.0) != (offset[k + 1] > 0.0) ? 1 : 0;
  }
  return out;
}

/// Its mean for DSGD on h x^2/2 under Gaussian noise once x is stationary, z = eta h: two consecutive x are normal with
/// correlation 1 - z.
inline double floor_oscillation(double z) { return std::acos(1.0 - z) / std::numbers::pi; }

/// The same for DCSGD without noise: the probability that z C > 1.
inline double compressed_oscillation(const stability::Linear& c, double z) {
  const double n = c.workers;
  double sum = 0.0, weight = std::pow(1.0 - c.keep, n);
  for (int m = 1; m <= c.workers; ++m) {
    weight *= (n - m + 1.0) / m * c.keep / (1.0 - c.keep);
    if (z * m / (n * c.keep) > 1.0) sum += weight;
  }
  return sum;
}

// ---------------------------------------------------------------------- speed
/// Steps that DSignSGD takes for one of DSGD at the same level on a quadratic, in the linear regime: 1/(l^2 Var zeta),
/// the inverse of the efficiency of the sign test.
inline double sign_slowdown(double density_factor, double variance) {
  return 1.0 / (density_factor * density_factor * variance);
}

/// When the curve first falls to `level`, by straight lines in log y; NaN: never.
inline double reached_at(const std::vector<double>& k, const std::vector<double>& y, double level) {
  for (std::size_t i = 1; i < y.size(); ++i) {
    if (y[i] > level) continue;
    const double share = std::log(y[i - 1] / level) / std::log(y[i - 1] / y[i]);
    return k[i - 1] + share * (k[i] - k[i - 1]);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace pathbound::adaptivity
