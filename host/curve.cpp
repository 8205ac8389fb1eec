// SPDX-License-Identifier: Apache-2.0
#include "host/curve.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>

#include "host/average_bounds.hpp"
#include "host/bounds.hpp"
#include "host/laws.hpp"
#include "host/step_size.hpp"

namespace pathbound {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();

/// Mean and central moments of the average over workers of independent factors.
struct AverageMoments {
  double mean = 1.0, variance = 0.0, third = 0.0, fourth = 0.0;
  /// E(1 - z u)^4
  double fourth_of_step(double z) const {
    const double a = 1.0 - z * mean;
    return a * a * a * a + 6.0 * a * a * z * z * variance - 4.0 * a * z * z * z * third + z * z * z * z * fourth;
  }
  // Of u itself.
  double second() const { return mean * mean + variance; }
  double third_power() const { return mean * mean * mean + 3.0 * mean * variance + third; }
  double fourth_power() const {
    return mean * mean * mean * mean + 6.0 * mean * mean * variance + 4.0 * mean * third + fourth;
  }
};

/// What a compressor that keeps or drops coordinates does to one of them: times `value` with probability mean/value,
/// else 0 (rand_k, rand_k_plain and bernoulli have these marginals).
struct Keeping {
  double mean = 1.0, value = 1.0;
};
Keeping keeping(const CurveConfig& curve, int dim, int worker) {
  if (curve.compressor.kind == CompressorKind::rand_k || curve.compressor.kind == CompressorKind::bernoulli)
    return {1.0, 1.0 + compressor_omega(curve, dim, worker)};
  if (curve.compressor.kind != CompressorKind::rand_k_plain) return {};
  const auto i = static_cast<std::size_t>(worker);
  const int k = i < curve.workers.k.size() ? curve.workers.k[i] : curve.compressor.k;
  return {static_cast<double>(k) / dim, 1.0};
}

/// Moments of (1/N) sum_i c_i (1 + r_i zeta_i), c_i the factor of `keeping`: what a step does to one coordinate. r_i =
/// rho_i / sqrt(B_i) in one dimension, 0 for the compressor alone.
AverageMoments factor_moments(const CurveConfig& curve, int dim, double rho) {
  const double var = noise_variance(curve.noise.law);
  const double fourth = noise_fourth_moment(curve.noise.law);
  const double n = curve.workers.count;
  AverageMoments average;
  average.mean = 0.0;
  double sum_fourth_cumulant = 0.0;
  for (int i = 0; i < curve.workers.count; ++i) {
    const auto [m1, value] = keeping(curve, dim, i);
    const double r2 = rho > 0.0 ? rho * rho / curve.workers.batch[static_cast<std::size_t>(i)] : 0.0;
    const double noise2 = r2 > 0.0 ? r2 * var : 0.0, noise4 = r2 > 0.0 ? r2 * r2 * fourth : 0.0;
    const double m2 = m1 * value * (1.0 + noise2);
    const double m3 = m1 * value * value * (1.0 + 3.0 * noise2);
    const double m4 = m1 * value * value * value * (1.0 + 6.0 * noise2 + noise4);
    const double s = m1 * m1;
    const double c2 = m2 - s, c3 = m3 - 3.0 * m1 * m2 + 2.0 * s * m1,
                 c4 = m4 - 4.0 * m1 * m3 + 6.0 * s * m2 - 3.0 * s * s;
    average.mean += m1;
    average.variance += c2;
    average.third += c3;
    sum_fourth_cumulant += c4 - 3.0 * c2 * c2;
  }
  average.mean /= n;
  average.variance /= n * n;
  average.third /= n * n * n;
  average.fourth = sum_fourth_cumulant / (n * n * n * n) + 3.0 * average.variance * average.variance;
  return average;
}

/// The factors a compressor alone may have, of which the worst decides. natural turns v = 2^a (1 + f) into 2^a or, with
/// probability f, 2^(a + 1): for every f in [0, 1) one. (Where S is large all workers have nearly the same f.)
std::vector<AverageMoments> factor_cases(const CurveConfig& curve, int dim) {
  if (curve.compressor.kind != CompressorKind::natural) return {factor_moments(curve, dim, 0.0)};
  std::vector<AverageMoments> cases;
  constexpr int grid = 1024;
  const double n = curve.workers.count;
  for (int i = 0; i < grid; ++i) {
    const double f = static_cast<double>(i) / grid, low = -f / (1.0 + f), high = (1.0 - f) / (1.0 + f);
    const auto central = [&](int power) { return (1.0 - f) * std::pow(low, power) + f * std::pow(high, power); };
    AverageMoments u;
    u.variance = central(2) / n;
    u.third = central(3) / (n * n);
    u.fourth = (central(4) - 3.0 * central(2) * central(2)) / (n * n * n) + 3.0 * u.variance * u.variance;
    cases.push_back(u);
  }
  return cases;
}

/// sqrt(E w^4) of w = (1/N) sum_i c_i r_i zeta_i: the noise of one coordinate in units of |grad f| / sqrt(d).
double affine_noise_square(const CurveConfig& curve, int dim) {
  const double rho = curve.noise.affine;
  if (rho == 0.0) return 0.0;
  const double var = noise_variance(curve.noise.law);
  const double fourth = noise_fourth_moment(curve.noise.law);
  const double n = curve.workers.count;
  double sum2 = 0.0, sum22 = 0.0, sum4 = 0.0;
  for (int i = 0; i < curve.workers.count; ++i) {
    const auto [mean, value] = keeping(curve, dim, i);
    const double r2 = rho * rho / curve.workers.batch[static_cast<std::size_t>(i)];
    const double w2 = mean * value * r2 * var;
    sum2 += w2;
    sum22 += w2 * w2;
    sum4 += mean * value * value * value * r2 * r2 * fourth;
  }
  return std::sqrt((sum4 + 3.0 * (sum2 * sum2 - sum22)) / (n * n * n * n));
}

/// Whether the multiplicative part of a step can make E S^2 explode (O9): the growth factor of E S^2 a step, or an
/// upper bound of it. At most 1: it cannot.
struct Growth {
  double factor = 0.0;
  bool exact = false;
};

/// quadratic: x_j' = x_j (1 - eta h_j u) + additive noise, u the factor of factor_moments. Exact for rho = 0 and for
/// one dimension. Else by Minkowski: sqrt(E x_j'^4) <= sqrt(E(1 - eta h_j C)^4) x_j^2 + 3 eta^2 sqrt(E w^4) |grad f|^2
/// / d, summed with weights h_j / 2.
Growth quadratic_growth(const CurveConfig& curve, const std::vector<double>& h, double eta) {
  const int dim = static_cast<int>(h.size());
  Growth growth;
  if (curve.compressor.kind == CompressorKind::natural) {
    for (const auto& u : factor_cases(curve, dim))
      for (const double hj : h) growth.factor = std::max(growth.factor, u.fourth_of_step(eta * hj));
    return growth;
  }
  growth.exact = curve.noise.affine == 0.0 || dim == 1;
  if (growth.exact) {
    const auto moments = factor_moments(curve, dim, curve.noise.affine);
    for (const double hj : h) growth.factor = std::max(growth.factor, moments.fourth_of_step(eta * hj));
    return growth;
  }
  const auto moments = factor_moments(curve, dim, 0.0);
  double mean_h = 0.0;
  for (const double hj : h) mean_h += hj / dim;
  const double noise = 3.0 * eta * eta * affine_noise_square(curve, dim) * mean_h;
  for (const double hj : h) {
    const double root = std::sqrt(moments.fourth_of_step(eta * hj)) + noise * hj;
    growth.factor = std::max(growth.factor, root * root);
  }
  return growth;
}

/// Any L-smooth f, from the descent lemma: S' <= S - eta sum_j g_j^2 X_j + T + R with X = C(1 - eta L C/2), T the part
/// odd in the noise (so uncorrelated with the rest) and R = eta^2 L |w|^2 / 2. With |grad f|^2 = 2 lambda S,
/// 0 < lambda <= L: E S'^2 / S^2 <= (sqrt(1 - 4 eta lambda E X + 4 eta^2 lambda^2 E X^2) + eta^2 L lambda r)^2
/// + 4 eta^2 lambda^2 r sqrt(E(1 - eta L C)^4) / d, r = sqrt(E w^4).
Growth smooth_growth(const CurveConfig& curve, int dim, double L, double eta) {
  const double z = eta * L, r = affine_noise_square(curve, dim);
  double x1 = inf, x2 = 0.0, odd = 0.0;
  for (const auto& c : factor_cases(curve, dim)) {
    x1 = std::min(x1, c.mean - 0.5 * z * c.second());
    x2 = std::max(x2, c.second() - z * c.third_power() + 0.25 * z * z * c.fourth_power());
    if (r > 0.0) odd = std::max(odd, r * std::sqrt(c.fourth_of_step(z)) / dim);
  }
  // lambda -> 0: the factor tends to 1 with slope -4 eta x1 + 2 eta^2 L r; it must not rise above 1 there.
  Growth growth{2.0 * x1 - z * r > 0.0 ? 0.0 : inf, false};
  for (int i = 0; i <= 160; ++i) {
    const double y = z * std::exp2(-0.125 * i);  // eta lambda
    const double root = std::sqrt(std::max(0.0, 1.0 - 4.0 * y * x1 + 4.0 * y * y * x2)) + z * y * r;
    const double factor = root * root + 4.0 * y * y * odd;
    growth.factor = std::isnan(factor) ? inf : std::max(growth.factor, factor);
  }
  return growth;
}

/// qsgd, any L-smooth f, rho = 0. C(v) = v + e with mean-zero e_j, |e_j| <= |v|/s, so that E|e|^2 <= omega |v|^2 and
/// E|e|^4 <= (d/s^2) omega |v|^4; their average over workers has second <= omega/N and fourth <= ((d/s^2) omega + 3 (N
/// - 1) omega^2)/N^3. By the descent lemma S' <= (1 - 2 y (1 - z/2)) S - eta (1 - z) g.e + (eta z/2) |e|^2, y = eta
/// lambda as above, z = eta L; squared, with Cauchy-Schwarz for the product of the last two.
Growth qsgd_growth(const CurveConfig& curve, int dim, double L, double eta) {
  const double n = curve.workers.count, s = curve.compressor.s, z = eta * L;
  const double omega = compressor_omega(curve, dim, 0);
  const double second = omega / n, fourth = (dim / (s * s) * omega + 3.0 * (n - 1.0) * omega * omega) / (n * n * n);
  Growth growth{z * (1.0 + second) < 2.0 ? 0.0 : inf, false};  // lambda -> 0
  for (int i = 0; i <= 160; ++i) {
    const double y = z * std::exp2(-0.125 * i), stay = 1.0 - 2.0 * y * (1.0 - 0.5 * z), away = 2.0 * y * (1.0 - z);
    growth.factor = std::max(growth.factor, stay * stay + away * away * second + z * z * y * y * fourth +
                                                2.0 * std::max(stay, 0.0) * z * y * second +
                                                2.0 * std::fabs(away) * z * y * std::sqrt(second * fourth));
  }
  return growth;
}

// The same for models (theory section 3), a substep at a time. Their increments are Gaussian whatever the law, so only
// the part of Q that grows with the gradient matters: Q_jj = omega v_j^2 + affine |v|^2/d + constant, v = grad f.

/// The moving part of a model's Q / N, and what it is stepped with.
struct ModelFactors {
  ModelKind kind;
  IntegratorKind integrator;
  double n;              ///< substeps
  double eta;            ///< of the step that is judged
  double omega, affine;  ///< sum omega_i / N^2; sum (1 + omega_i) rho^2 Var zeta / B_i / N^2
  /// second_order with a schedule or an adaptive factor: on a quadratic its drift is h x (1 + eta h/2 + hurry - turn'),
  /// hurry = -(eta/2) s'(t)/s and 0 <= turn' <= turn.
  double hurry = 0.0, turn = 0.0;
};

ModelFactors model_step(const CurveConfig& curve, int dim, double largest_factor) {
  ModelFactors step{curve.model->kind,
                    curve.model->integrator,
                    static_cast<double>(curve.model->substeps),
                    largest_step(curve, curve.steps) * largest_factor,
                    0.0,
                    0.0};
  const double var = noise_variance(curve.noise.law), workers = curve.workers.count;
  for (int i = 0; i < curve.workers.count; ++i) {
    const double omega = compressor_omega(curve, dim, i), batch = curve.workers.batch[static_cast<std::size_t>(i)];
    step.omega += omega / (workers * workers);
    if (curve.noise.affine > 0.0)
      step.affine += (1.0 + omega) * curve.noise.affine * curve.noise.affine * var / batch / (workers * workers);
  }
  return step;
}

/// The steps whose growth is judged. That of a larger step counts for smaller ones, but where second_order's `hurry`
/// comes with it: there the first steps, and some of the others.
std::vector<ModelFactors> model_steps(const CurveConfig& curve, int dim, double largest_factor) {
  const ModelFactors step = model_step(curve, dim, largest_factor);
  if (step.kind != ModelKind::second_order || is_constant(curve.schedule)) return {step};
  std::vector<ModelFactors> all;
  for (std::uint64_t k = 0; k < std::max<std::uint64_t>(curve.steps, 1); k += 1 + k / 16) {
    ModelFactors now = step;
    const double eta = prescribed_step(curve, k);
    if (eta == 0.0) continue;
    now.eta = eta * largest_factor;
    now.hurry = -0.5 * portable::step_size_slope(curve.schedule, curve.eta, static_cast<double>(k)) / eta;
    all.push_back(now);
  }
  return all;
}

/// hessian_aware in a coordinate with f'' = z/eta: X' = X - eta drift m + eta m sqrt(square) xi + noise of variance
/// eta^2 rest times that of the method's step. (1 - z drift)^2 = u^2, z^2 square = r - u^2.
struct MomentFactors {
  double drift, square, rest;
  MomentFactors(const ModelFactors& step, double z) {
    const double off = z * (-2.0 + z * (1.0 + step.omega));         // A - 1
    const double all = (1.0 - z) * (1.0 - z) + z * z * step.omega;  // A
    const double log_a = off < -0.5 ? std::log(all) : std::log1p(off);
    const double grown = all > 0.0 ? std::expm1(log_a / step.n) : -1.0;                         // r - 1
    const double shrunk = z == 1.0 ? 1.0 : -std::expm1(std::log(std::fabs(1.0 - z)) / step.n);  // 1 - u
    const bool small = std::fabs(z) < 1e-6;
    drift = small ? 1.0 / step.n : shrunk / z;
    rest = std::fabs(off) < 1e-12 ? 1.0 / step.n : grown / off;
    // r - u^2 = (r - 1) + (1 - u)(1 + u)
    square = small ? step.omega / step.n : std::max(0.0, (grown + shrunk * (2.0 - shrunk)) / (z * z));
  }
};

/// E(c_0 + c_1 xi + c_2 xi^2)^4 of a standard normal xi.
double fourth_of_square(double c0, double c1, double c2) {
  const double moment[] = {1.0, 1.0, 3.0, 15.0, 105.0};  // E xi^(2i)
  const double p[] = {c0 * c0, 2.0 * c0 * c1, c1 * c1 + 2.0 * c0 * c2, 2.0 * c1 * c2, c2 * c2};
  double sum = 0.0;
  for (int i = 0; i < 5; ++i)
    for (int j = i % 2; j < 5; j += 2) sum += p[i] * p[j] * moment[(i + j) / 2];
  return sum;
}

/// quadratic: X' = a X + sqrt(beta X^2 + gamma) xi has E X'^4 = (a^4 + 6 a^2 beta + 3 beta^2) E X^4 + lower moments:
/// exact for euler_maruyama and moment, with rho = 0 or in one dimension. weak2: the largest of that, of the SDE's own
/// exp(int 4 drift + 6 beta) and of its second-order Taylor step X' = X (1 - y + y^2/2 + sqrt(beta) (1 - y) xi +
/// (beta/2) (xi^2 - 1)), which are closer to it. rand_k's off-diagonals do not enter E X_j^4. With rho > 0 in more
/// dimensions Minkowski as in quadratic_growth: sqrt(p^2 + 6 p V + 3 V^2) rises with V by at most 3, V the variance
/// kappa_j |v|^2.
Growth quadratic_growth(const ModelFactors& step, const std::vector<double>& h) {
  const bool one = h.size() == 1;
  Growth growth;
  growth.exact = (step.affine == 0.0 || one) && step.integrator != IntegratorKind::weak2;
  const double r = step.kind == ModelKind::second_order ? 0.5 : step.kind == ModelKind::curvature ? -0.5 : 0.0;
  std::vector<double> factor;
  double sum = 0.0;  // of h_j kappa_j
  for (const double hj : h) {
    const double z = step.eta * hj;
    double a, beta, kappa = step.eta * step.eta * step.affine / static_cast<double>(h.size());
    double other = 0.0;
    if (step.kind == ModelKind::hessian_aware) {
      const MomentFactors moment(step, z);
      a = 1.0 - z * moment.drift;
      beta = z * z * moment.square;
      kappa *= moment.rest;
    } else {
      kappa /= step.n;
      beta = z * z * step.omega / step.n;
    }
    if (one) {
      beta += kappa * hj * hj;
      kappa = 0.0;
    }
    if (step.kind != ModelKind::hessian_aware) {
      // What changes it need not be there.
      const double plain = z * (1.0 + r * z) / step.n;
      double y = plain;
      for (const double change : {step.hurry, -step.turn, step.hurry - step.turn})
        if (const double other_y = plain + z * change / step.n; std::fabs(1.0 - other_y) > std::fabs(1.0 - y))
          y = other_y;
      a = 1.0 - y;
      if (step.integrator == IntegratorKind::weak2)
        other = std::max(std::exp(-4.0 * y + 6.0 * beta),
                         fourth_of_square(1.0 - y + 0.5 * y * y - 0.5 * beta, std::sqrt(beta) * (1.0 - y), 0.5 * beta));
    }
    factor.push_back(std::max(other, a * a * a * a + 6.0 * a * a * beta + 3.0 * beta * beta));
    sum += hj * kappa;
  }
  for (std::size_t j = 0; j < h.size(); ++j) {
    const double root = std::sqrt(factor[j]) + 3.0 * h[j] * sum;
    growth.factor = std::max(growth.factor, sum > 0.0 ? root * root : factor[j]);
  }
  return growth;
}

/// Any L-smooth f. X' = X - b + G with b.g >= low |g|^2 and |b| <= high |g|, g = grad f, and G normal given X with
/// covariance Sigma, of which Tr Sigma <= trace |g|^2 and Sigma <= largest |g|^2. By the descent lemma S' <= S - q
/// |g|^2 + (g - L b).G + L |G|^2/2, q = low - L high^2/2. The middle term is odd in G, so uncorrelated with the rest;
/// |g - L b| <= across |g|; E|G|^4 <= (trace^2 + 2 largest trace)|g|^4. With |g|^2 = 2 lambda S, 0 < lambda <= L:
///   E S'^2/S^2 <= (1 - 2 lambda q)^2 + 4 lambda^2 largest across^2 + 2 (1 - 2 lambda q) lambda L trace
///                 + lambda^2 L^2 (trace^2 + 2 largest trace),
/// a convex function of lambda that is 1 at 0: it is at most 1 where it is at lambda = L. (q <= 1/(2L), so the factor
/// 1 - 2 lambda q is not negative.)
double descent_growth(double L, double q, double trace, double largest, double across) {
  const double w = 2.0 * q - L * trace;
  return 1.0 + L * (-2.0 * w + L * (w * w + 4.0 * largest * across * across + 2.0 * L * L * largest * trace));
}

/// For the models: b = (eta/n)(I + r eta H) g (but for hurry and turn, the latter of either sign where H is), Sigma =
/// (eta^2/n) Q/N with Tr Q/N <= (omega + affine)|g|^2 and Q/N <= (omega + affine/d)|g|^2, -L <= H <= L (0 <= H where f
/// is convex). As n grows the condition tends to that of the SDE, low - (eta L/2) (omega + affine) - eta L (omega +
/// affine/d) >= 0. weak2 stands between the two and is judged with across = 1, which implies both; the terms of its own
/// second order are left out. hessian_aware: f is separable, so that the extremes over -L <= f'' <= L of each
/// coordinate's moves do, here over a grid.
Growth smooth_growth(const ModelFactors& step, int dim, double L, bool convex) {
  const double eta = step.eta, z = eta * L;
  if (step.kind == ModelKind::hessian_aware) {
    double q = inf, square = 0.0, rest = 0.0, across = 0.0;
    constexpr int half = 256;
    for (int i = -half; i <= half + 1; ++i) {
      const double here = i <= half ? z * i / half : 1.0;  // u = 0 at 1
      if (here > z) continue;
      const MomentFactors moment(step, here);
      const double move = eta * moment.drift;
      q = std::min(q, move - 0.5 * L * move * move);
      across = std::max(across, std::fabs(1.0 - L * move));
      square = std::max(square, moment.square);
      rest = std::max(rest, moment.rest);
    }
    const double scale = eta * eta;
    return {descent_growth(L, q, scale * (square + step.affine * rest), scale * (square + step.affine * rest / dim),
                           across),
            false};
  }
  const bool curved = step.kind != ModelKind::first_order;
  double low = !curved || (convex && step.kind == ModelKind::second_order) ? 1.0 : 1.0 - 0.5 * z;
  double high = curved ? 1.0 + 0.5 * z : 1.0;
  if (convex && step.kind == ModelKind::curvature) high = std::max(1.0, 0.5 * z - 1.0);
  low += std::min(0.0, step.hurry) - step.turn;
  high += std::max(0.0, step.hurry) + (convex ? 0.0 : step.turn);
  const double h = eta / step.n, scale = eta * eta / step.n;
  const double across = step.integrator == IntegratorKind::weak2
                            ? 1.0
                            : std::max(std::fabs(1.0 - L * h * low), std::fabs(L * h * high - 1.0));
  return {descent_growth(L, h * low - 0.5 * L * h * h * high * high, scale * (step.omega + step.affine),
                         scale * (step.omega + step.affine / dim), across),
          false};
}

/// What is known of an adaptive factor over all x.
struct FactorRange {
  double largest = 1.0;
  bool constant = true;
  double steepness = 0.0;  ///< the largest |a'(r)| r/a
};
FactorRange factor_range(const CurveConfig& curve, const Objective& objective) {
  const AdaptiveSpec<double> spec = adaptive_spec(curve, objective);
  const auto kind = objective.config().kind;
  switch (spec.kind) {
    case AdaptiveKind::none:
      break;
    case AdaptiveKind::gradient_norm:
      return {1.0, curve.adaptive.q == 0.0, curve.adaptive.q};
    case AdaptiveKind::l0l1:
      return {portable::adaptive_factor(spec, 0.0), spec.L1 == 0.0, 1.0};
    case AdaptiveKind::hessian_norm:
      if (kind == ObjectiveKind::quadratic || kind == ObjectiveKind::least_squares)
        return {portable::adaptive_factor(spec, objective.constants().L.value.value()), true, 0.0};
      return {1.0, false, 0.0};
  }
  return {};
}

/// Super-quadratic objectives: whether a(x) keeps the moves of a model's Euler or moment step from x bounded (cosh), or
/// at most as large as a multiple of |x| (quartic, saddle), so that E S is finite after any number of steps. |grad f|
/// and |H| grow like e^|x|, or like |x|^3 and |x|^2.
bool factor_tames(const CurveConfig& curve, const Objective& objective) {
  switch (curve.adaptive.kind) {
    case AdaptiveKind::none:
      return false;
    case AdaptiveKind::gradient_norm:
      return curve.adaptive.q >= (objective.config().kind == ObjectiveKind::cosh ? 1.0 : 2.0 / 3.0);
    case AdaptiveKind::l0l1:
      return adaptive_spec(curve, objective).L1 > 0.0;
    case AdaptiveKind::hessian_norm:
      return true;
  }
  return false;
}

/// Student quantile of a two-sided interval at level 1 - alpha.
double two_sided_t(double alpha, double degrees) {
  return boost::math::quantile(boost::math::complement(boost::math::students_t(degrees), 0.5 * alpha));
}

/// How many of the outermost of n order statistics on each side an interval for the median at level 1 - alpha may leave
/// out: the largest r with P(Binomial(n, 1/2) < r) <= alpha/2. 0: n is too small.
std::size_t median_rank(std::size_t n, double alpha) {
  if (n == 0) return 0;
  const boost::math::binomial distribution(static_cast<double>(n), 0.5);
  std::size_t r = 0;
  while (r < n / 2 && boost::math::cdf(distribution, static_cast<double>(r)) <= 0.5 * alpha) ++r;
  return r;
}

/// regime at one checkpoint: 2 Xi(Y) / (l Y).
double linear_regime(const CurveConfig& config, double max_grad) {
  double inverse_scale = 0.0;
  for (std::size_t i = 0; i < config.workers.scale.size(); ++i) {
    if (!(config.workers.scale[i] > 0.0)) return nan;
    inverse_scale = std::max(inverse_scale, std::sqrt(config.workers.batch[i]) / config.workers.scale[i]);
  }
  const double y = max_grad * inverse_scale;
  if (std::isnan(y)) return nan;
  if (std::isinf(y)) return 0.0;
  const double l = noise_density_factor(config.noise.law);
  if (y * l < 1e-150) return 1.0;  // 1 - O(y^2)
  return std::min(1.0, 2.0 * noise_xi(config.noise.law, y) / (l * y));
}

}  // namespace

const char* name_of(Band band) {
  switch (band) {
    case Band::bonferroni_t:
      return "bonferroni_t";
    case Band::median_of_means:
      return "median_of_means";
    case Band::none:
      return "none";
    case Band::group_t:
      return "group_t";
  }
  return "";
}

const char* name_of(MeanIs mean_is) {
  switch (mean_is) {
    case MeanIs::expectation:
      return "expectation";
    case MeanIs::restricted:
      return "restricted";
    case MeanIs::does_not_exist:
      return "does_not_exist";
  }
  return "";
}

namespace {

std::string restricted_words(const std::string& noise) {
  return fmt::format(
      "the objective grows faster than a quadratic and {} is unbounded: E S is infinite or of no use, the mean is "
      "E[S_k "
      "| not diverged by k]",
      noise);
}

/// Models of DSignSGD have all moments. first_order: |m_j| <= 1 and Q_jj <= 1. second_order and curvature add (eta/2) J
/// m; J is the derivative of m, bounded where that of grad f is, and for the other objectives too: they are separable,
/// and the density F'(y) of every law falls fast enough for F'(f'/s) f''/s to stay bounded. hessian_aware: |1 - u| <=
/// |z| and r - 1 <= A - 1 in size, so that it moves by eta at most and adds a variance of eta^2/N at most. Bounded
/// drift and diffusion leave E e^{c|X|} finite, hence E S for cosh; but weak2 has squares of normals in its step.
MomentReport moments_of_sign_model(const CurveConfig& curve, const Objective& objective) {
  MomentReport report;
  if (objective.config().kind == ObjectiveKind::cosh && curve.model->integrator == IntegratorKind::weak2) {
    report.mean_is = MeanIs::restricted;
    report.reason =
        "S grows like exp|x| and weak2 moves x by squares of normals: E S may be infinite, the mean is E[S_k | not "
        "diverged by k]";
  }
  return report;
}

/// Models of DSGD and DCSGD: Gaussian increments, so no moment is infinite after a finite number of steps but through
/// the objective's growth. They can explode.
MomentReport moments_of_model(const CurveConfig& curve, const Objective& objective) {
  if (curve.method == MethodKind::dsignsgd) return moments_of_sign_model(curve, objective);
  MomentReport report;
  const auto& constants = objective.constants();
  const int dim = objective.config().dim;
  const FactorRange factor = factor_range(curve, objective);
  const ModelFactors step = model_step(curve, dim, factor.largest);
  const bool moves = constants.suboptimality_at_start > 0.0;
  const bool compressed = step.omega > 0.0 && moves, affine = step.affine > 0.0 && moves;
  const bool additive =
      std::any_of(curve.workers.scale.begin(), curve.workers.scale.end(), [](double s) { return s > 0.0; });
  if (constants.super_quadratic) {
    if (!additive && !compressed && !affine) return report;
    if (!factor_tames(curve, objective)) {
      report.mean_is = MeanIs::restricted;
      report.reason = restricted_words("Gaussian noise");
    } else if (compressed || affine) {
      report.variance_exists = false;
      report.reason =
          "the adaptive factor bounds the steps, so that E S is finite, but the diffusion grows with the gradient: E "
          "S^2 may explode, so the sampling variance cannot be trusted";
    }
    return report;
  }
  if (!(step.omega > 0.0) && !(step.affine > 0.0)) return report;
  const auto kind = objective.config().kind;
  const bool convex = kind != ObjectiveKind::sine_pl;
  const auto growth_of = [&](const ModelFactors& factors) {
    Growth g{inf, false};
    if (constants.L.value) g = smooth_growth(factors, dim, *constants.L.value, convex);
    if (kind == ObjectiveKind::quadratic) {
      const Growth own = quadratic_growth(factors, objective.config().eigenvalues);
      if (!(step.affine > 0.0) || dim == 1 || own.factor < g.factor) g = own;
    }
    return g;
  };
  Growth g{0.0, true};
  const auto judge = [&](const ModelFactors& factors) {
    const Growth own = growth_of(factors);
    g = {std::max(g.factor, own.factor), g.exact && own.exact};
  };
  for (ModelFactors now : model_steps(curve, dim, factor.largest)) {
    const double largest = now.eta;
    // With a(x) the step is anything up to the largest.
    constexpr int parts = 64;
    for (int i = factor.constant ? parts : 1; i <= parts; ++i) {
      now.eta = largest * i / parts;
      if (step.kind == ModelKind::second_order && !factor.constant && constants.L.value)
        now.turn = 0.5 * now.eta * *constants.L.value * factor.steepness;
      judge(now);
      if (step.kind == ModelKind::hessian_aware && step.affine > 0.0 && step.n > 1.0) {
        // The noise's s stays over a step, so that its substeps are not alike: the whole step in one counts too.
        ModelFactors whole = now;
        whole.n = 1.0;
        judge(whole);
        g.exact = false;
      }
    }
  }
  g.exact = g.exact && factor.constant;
  if (g.factor <= 1.0 + 1e-12) return report;
  report.variance_exists = false;
  const std::string from = step.omega > 0.0 && step.affine > 0.0 ? "of the compressor and of affine noise"
                           : step.omega > 0.0                    ? "of the compressor"
                                                                 : "of affine noise";
  report.reason = fmt::format(
      "the diffusion {} grows with the gradient, and {} {:.6g} > 1 a substep: E S^2 {}, so the "
      "sampling variance cannot be trusted",
      from, g.exact ? "E x_j^4 in one coordinate grows by the factor" : "the bound on the growth of E S^2 is", g.factor,
      g.exact ? "explodes" : "may explode");
  return report;
}

}  // namespace

namespace {

/// The L1 of l0l1.
double adaptive_L1(const CurveConfig& curve, const Objective& objective) {
  return curve.adaptive.L1.value_or(objective.constants().L1.value.value_or(0.0));
}
double adaptive_L0(const CurveConfig& curve, const Objective& objective) {
  return curve.adaptive.L0.value_or(objective.constants().L0.value.value_or(0.0));
}

/// How a step and its noise grow with |x| (O9): |drift| and the scale of the noise are at most a number times 1 +
/// |x|^order. And how S does: like |x|^of_s, like exp|x| for infinity.
struct GrowthOrders {
  double step, of_s;
  double noise = 1.0;  ///< a step goes like the noise to this power
};
GrowthOrders growth_orders(const CurveConfig& curve, const Objective& objective) {
  const auto kind = objective.config().kind;
  const bool exponential = kind == ObjectiveKind::cosh;
  const bool flat = kind == ObjectiveKind::logistic && objective.config().lam == 0.0;
  const bool quartic = kind == ObjectiveKind::quartic || kind == ObjectiveKind::saddle;
  GrowthOrders orders{exponential ? inf
                      : quartic   ? 3.0
                      : flat      ? 0.0
                                  : 1.0,
                      exponential ? inf
                      : quartic   ? 4.0
                      : flat      ? 1.0
                                  : 2.0};
  const AdaptiveConfig& a = curve.adaptive;
  if (curve.method == MethodKind::heavy_ball || curve.method == MethodKind::adam) return orders;
  switch (a.kind) {
    case AdaptiveKind::none:
      break;
    case AdaptiveKind::gradient_norm:
      if (a.q >= 1.0)
        orders.step = 0.0;
      else
        orders.step *= 1.0 - a.q;
      if (a.stochastic) orders.noise = 1.0 - a.q;
      break;
    case AdaptiveKind::l0l1:
      if (adaptive_L1(curve, objective) > 0.0) orders.step = 0.0;
      break;
    case AdaptiveKind::hessian_norm:  // |grad f| <= sqrt(d)/3 |x| |H| for large quartic x; <= sqrt(d) |H| for cosh
      orders.step = exponential ? 0.0 : std::min(orders.step, 1.0);
      break;
  }
  return orders;
}

/// The largest number that a step's noise in one coordinate is multiplied by, where the steps' order is 0: max_i of
/// sup eta a s_i times the compressor's factor, over N.
double largest_noise(const CurveConfig& curve, const Objective& objective) {
  const int dim = objective.config().dim;
  const double eta = largest_step(curve, curve.steps), K = second_moment_factor(curve, dim), n = curve.workers.count;
  const AdaptiveConfig& a = curve.adaptive;
  const double own = a.theta / K * (eta / curve.eta), rho = curve.noise.affine / std::sqrt(static_cast<double>(dim));
  double largest = 0.0;
  for (int i = 0; i < curve.workers.count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const double sigma = curve.workers.scale[at];
    double size = 0.0;  // of eta a s, by s <= sigma + rho |grad f|/sqrt(d)
    if (a.kind == AdaptiveKind::l0l1)
      size = own * std::max(sigma / adaptive_L0(curve, objective), rho / adaptive_L1(curve, objective));
    else if (a.kind == AdaptiveKind::gradient_norm)
      size = eta * std::max(sigma, rho * a.c);
    else  // cosh: |H| >= 1
      size = std::min(eta, own) * sigma + own * curve.noise.affine;
    const double factor = curve.compressor.kind == CompressorKind::natural ? 2.0 : keeping(curve, dim, i).value;
    largest = std::max(largest, size * factor / std::sqrt(curve.workers.batch[at]) / n);
  }
  return largest;
}

/// The largest step that a quadratic takes, with an adaptive factor that is the same everywhere.
double largest_effective_step(const CurveConfig& curve, const Objective& objective) {
  const double eta = largest_step(curve, curve.steps);
  const AdaptiveConfig& a = curve.adaptive;
  const double own = a.theta / second_moment_factor(curve, objective.config().dim) * (eta / curve.eta);
  if (a.kind == AdaptiveKind::l0l1) return own / adaptive_L0(curve, objective);
  if (a.kind == AdaptiveKind::hessian_norm && objective.config().kind == ObjectiveKind::quadratic)
    return std::min(
        eta, own / *std::max_element(objective.config().eigenvalues.begin(), objective.config().eigenvalues.end()));
  return eta;
}

std::string moment_words(double order) {
  if (order == 1.0) return "mean";
  if (order == 2.0) return "variance";
  if (order == 4.0) return "fourth moment";
  if (order == 8.0) return "eighth moment";
  return fmt::format("moment of order {:g}", order);
}

MomentReport no_mean(std::string reason) {
  MomentReport report;
  report.mean_exists = report.variance_exists = false;
  report.mean_is = MeanIs::does_not_exist;
  report.reason = std::move(reason);
  return report;
}
MomentReport no_variance(std::string reason) {
  MomentReport report;
  report.variance_exists = false;
  report.reason = std::move(reason);
  return report;
}

/// S grows like exp|x|, and |x| by bounded drifts and by noise times at most `reach` a step: E S is finite where E
/// e^(reach |zeta|) is.
MomentReport moments_of_bounded_drift(const CurveConfig& curve, const Objective& objective) {
  const std::string words = law_words(curve.noise.law);
  const double order = exponential_order(curve.noise.law), reach = largest_noise(curve, objective);
  if (order == 0.0)
    return no_mean(
        fmt::format("E S is infinite from step 1 on: S grows like exp|x|, and {} has no exponential moment", words));
  const char* const why =
      "S grows like exp|x|, a step moves x by up to {:.3g} times {}, and E e^(c |zeta|) is finite "
      "for c < {:g} only";
  const std::string because = fmt::format(fmt::runtime(why), reach, words, order);
  if (reach >= order) return no_mean("E S is infinite: " + because);
  if (2.0 * reach >= order) return no_variance("Var S is infinite: " + because);
  return {};
}

}  // namespace

/// Adam: by Cauchy-Schwarz |m|^2 <= v sum_i (1 - beta1)^2 beta1^(2i)/((1 - beta2) beta2^i), at each k.
bool steps_are_bounded(const CurveConfig& curve, const Objective& objective) {
  switch (curve.method) {
    case MethodKind::dsignsgd:
    case MethodKind::dnsgd:
    case MethodKind::clipped_dsgd:
      return true;
    case MethodKind::adam:
      return curve.beta2 > 0.0 || curve.beta1 == 0.0;
    case MethodKind::heavy_ball:  // the factor is that of one gradient, the velocity that of many
      return false;
    case MethodKind::dsgd:
    case MethodKind::dcsgd:
      break;
  }
  const AdaptiveConfig& a = curve.adaptive;
  return a.stochastic && ((a.kind == AdaptiveKind::gradient_norm && a.q >= 1.0) ||
                          (a.kind == AdaptiveKind::l0l1 && adaptive_L1(curve, objective) > 0.0));
}

MomentReport moments_of(const CurveConfig& curve, const Objective& objective) {
  if (curve.model) return moments_of_model(curve, objective);
  if (steps_are_bounded(curve, objective)) return {};
  const auto& constants = objective.constants();
  const bool additive =
      std::any_of(curve.workers.scale.begin(), curve.workers.scale.end(), [](double s) { return s > 0.0; });
  const bool affine = curve.noise.affine > 0.0 && constants.suboptimality_at_start > 0.0;
  const bool noisy = additive || affine;
  const double tail = tail_order(curve.noise.law);
  const std::string words = law_words(curve.noise.law);
  const GrowthOrders orders = growth_orders(curve, objective);
  const double growth = orders.of_s;

  if (noisy && (orders.step > 1.0 || std::isinf(growth))) {
    if (orders.step == 0.0) return moments_of_bounded_drift(curve, objective);
    if (std::isfinite(tail))
      return no_mean(fmt::format(
          "E S is infinite: {} has moments below order {:g} only, and a step grows faster than |x|, so that every step "
          "multiplies the order that E S needs",
          words, tail));
    MomentReport report;
    report.mean_is = MeanIs::restricted;
    report.reason = restricted_words(words);
    return report;
  }
  if (noisy && tail <= growth * orders.noise)
    return no_mean(
        fmt::format("E S is infinite from step 1 on: {} has no finite {}", words, moment_words(growth * orders.noise)));
  if (noisy && tail <= 2.0 * growth * orders.noise)
    return no_variance(fmt::format("Var S is infinite from step 1 on: {} has no finite {}", words,
                                   moment_words(2.0 * growth * orders.noise)));

  // What multiplies x. Where steps grow more slowly than x they cannot make E S^2 explode.
  const auto kind = curve.compressor.kind;
  const int dim = objective.config().dim;
  bool compressed = kind == CompressorKind::top_k || (kind == CompressorKind::qsgd && dim > 1);
  for (int i = 0; i < curve.workers.count; ++i)
    compressed = compressed || (kind != CompressorKind::qsgd && compressor_omega(curve, dim, i) > 0.0) ||
                 keeping(curve, dim, i).mean < 1.0;
  if ((!compressed && !affine) || (curve.adaptive.kind != AdaptiveKind::none && orders.step < 1.0)) return {};
  if (constants.super_quadratic && (!noisy || orders.step > 1.0)) return {};  // finitely many values, or see above
  const double eta = largest_effective_step(curve, objective);
  Growth g{inf, false};
  const bool has_own_bound =
      kind == CompressorKind::top_k || kind == CompressorKind::qsgd || kind == CompressorKind::natural;
  const bool judged = curve.method != MethodKind::heavy_ball && !(affine && has_own_bound);
  if (judged && constants.L.value) {
    const double L = *constants.L.value;
    if (kind == CompressorKind::top_k)
      // |x_j'| <= |x_j| on a quadratic and S' <= S: it drops a part of the gradient's coordinates.
      g.factor = eta * L <= 2.0 ? 1.0 : inf;
    else
      g = kind == CompressorKind::qsgd ? qsgd_growth(curve, dim, L, eta) : smooth_growth(curve, dim, L, eta);
  }
  if (judged && objective.config().kind == ObjectiveKind::quadratic && kind != CompressorKind::qsgd &&
      kind != CompressorKind::top_k) {
    const Growth own = quadratic_growth(curve, objective.config().eigenvalues, eta);
    if (own.exact || own.factor < g.factor) g = own;
  }
  // A hundredth of the rounding that can matter: a factor of 1 + 1e-12 takes 1e12 steps to show.
  if (g.factor <= 1.0 + 1e-12) return {};
  const std::string from = compressed && affine ? "the compressor and affine noise multiply"
                           : compressed         ? "the compressor multiplies"
                                                : "affine noise multiplies";
  if (g.exact)
    return no_variance(
        fmt::format("{} the iterate by a random factor with max_j E(1 - eta h_j C)^4 = {:.6g} > 1: E S^2 "
                    "explodes, so the sampling variance cannot be trusted",
                    from, g.factor));
  if (std::isinf(g.factor))
    return no_variance(fmt::format(
        "{} the iterate by a random factor, and no bound on the growth of E S^2 is known: it may explode, so the "
        "sampling variance cannot be trusted",
        from));
  return no_variance(
      fmt::format("{} the iterate by a random factor, and the bound on the growth of E S^2 is {:.6g} > 1 a "
                  "step: E S^2 may explode, so the sampling variance cannot be trusted",
                  from, g.factor));
}

namespace {

/// A coordinate moves as the method says when its moves are at least this many half ulps: those are whole numbers of
/// ulps, and the error of one is at most a half. Below, they are lost or distorted by more than 1/64.
constexpr double resolved_moves = 64.0;
/// Random moves of this many half ulps (2 to 4 ulps) dither the rounding: its bias is below e^-12 of an ulp.
constexpr double dithered_moves = 4.0;

double smallest_step(const CurveConfig& curve) {
  return std::min(prescribed_step(curve, 0), prescribed_step(curve, curve.steps == 0 ? 0 : curve.steps - 1));
}

/// The smaller of a(x0) and a(x*): paths go from the one to the other.
double smallest_factor(const CurveConfig& curve, const Objective& objective) {
  const auto& constants = objective.constants();
  const AdaptiveSpec<double> spec = adaptive_spec(curve, objective);
  switch (spec.kind) {
    case AdaptiveKind::none:
      break;
    case AdaptiveKind::gradient_norm:
    case AdaptiveKind::l0l1: {
      double square = 0.0;
      for (const double g : constants.gradient_at_start) square += g * g;
      return std::min(portable::adaptive_factor(spec, std::sqrt(square)), portable::adaptive_factor(spec, 0.0));
    }
    case AdaptiveKind::hessian_norm: {
      if (!is_separable(objective.config().kind)) return portable::adaptive_factor(spec, spec.hessian);
      const auto f = objective.spec<double>();
      return std::min(portable::adaptive_factor(spec, portable::largest_second(f, objective.config().start.data())),
                      portable::adaptive_factor(spec, portable::largest_second(f, objective.x_star().data())));
    }
  }
  return 1.0;
}

/// Half of |error of the computed gradient|^2 at x* of a logistic loss, where its terms cancel: exp and the quotient
/// of each row's weight p (about 4 eps), the margin y a.x in it, and lam x. 0 for the other objectives, which are
/// computed as (A^T A/n)(x - x*) or vanish with x.
double gradient_rounding(const Objective& objective, double eps) {
  if (objective.config().kind != ObjectiveKind::logistic) return 0.0;
  const auto spec = objective.spec<double>();
  const auto dim = static_cast<std::size_t>(spec.dim);
  const double n = spec.n_rows, lam = objective.config().lam;
  const auto& x_star = objective.x_star();
  std::vector<double> error(dim, 0.0);
  for (int r = 0; r < spec.n_rows; ++r) {
    const double* row = spec.rows_double + static_cast<std::size_t>(r) * dim;
    const double q = 1.0 / (1.0 + std::exp(-spec.margin_star[r])), p = 1.0 / (1.0 + std::exp(spec.margin_star[r]));
    double terms = 0.0;
    for (std::size_t j = 0; j < dim; ++j) terms += std::fabs(row[j] * x_star[j]);
    for (std::size_t j = 0; j < dim; ++j) error[j] += std::fabs(row[j]) * p * (4.0 + 2.0 * q * terms) / n;
  }
  double half_square = 0.0;
  for (std::size_t j = 0; j < dim; ++j) {
    error[j] = eps * (error[j] + lam * std::fabs(x_star[j]));
    half_square += 0.5 * error[j] * error[j];
  }
  return half_square;
}

/// mean l sqrt(B_i)/sigma_i: the slope of m_j in grad_j f at the optimum. Infinite without noise.
double sign_slope(const CurveConfig& curve) {
  const double l = noise_density_factor(curve.noise.law);
  double slope = 0.0;
  for (std::size_t i = 0; i < curve.workers.scale.size(); ++i)
    slope += l * std::sqrt(curve.workers.batch[i]) / curve.workers.scale[i] / curve.workers.count;
  return slope;
}

/// |m_j| and Q_jj of a DSignSGD model at the start (theory section 3).
struct SignAtStart {
  double mean = 0.0, variance = 0.0;
};
SignAtStart sign_at_start(const CurveConfig& curve, const Objective& objective, std::size_t j) {
  const auto& gradient = objective.constants().gradient_at_start;
  double square = 0.0;
  for (const double g : gradient) square += g * g / static_cast<double>(gradient.size());
  const double rho = curve.noise.affine, size = std::fabs(gradient[j]);
  SignAtStart moments;
  for (std::size_t i = 0; i < curve.workers.scale.size(); ++i) {
    const double sigma = curve.workers.scale[i];
    const double s = std::sqrt((sigma * sigma + rho * rho * square) / curve.workers.batch[i]);
    const double sign = size > 0.0 ? 2.0 * noise_xi(curve.noise.law, size / s) : 0.0;
    moments.mean += sign / curve.workers.count;
    if (s > 0.0) moments.variance += (1.0 - sign * sign) / curve.workers.count;
  }
  return moments;
}

}  // namespace

double rounding_level(const CurveConfig& curve, const Objective& objective, double eps) {
  const auto& config = objective.config();
  const auto& constants = objective.constants();
  const auto& x_star = objective.x_star();
  const auto dim = static_cast<std::size_t>(config.dim);
  // A model moves once a substep, by a drift of length eta/n and a normal of standard deviation sqrt(eta/N Q eta/n).
  const double substeps = curve.model ? curve.model->substeps : 1.0;
  const double step = smallest_step(curve) * smallest_factor(curve, objective), eta = step / substeps,
               n_workers = curve.workers.count;
  const double mu = constants.mu.value.value_or(0.0);
  const double smoothness = constants.L.value ? *constants.L.value : constants.L0.value.value_or(0.0);
  // Scale of the noise of a step in one coordinate, without its affine part, which vanishes at the optimum.
  double scale2 = 0.0;
  for (std::size_t i = 0; i < curve.workers.scale.size(); ++i)
    scale2 += curve.workers.scale[i] * curve.workers.scale[i] / curve.workers.batch[i];
  const bool noisy = scale2 > 0.0, sign_model = curve.method == MethodKind::dsignsgd && curve.model;
  const bool signs = curve.method == MethodKind::dsignsgd && !curve.model;  // on a lattice
  const double noise_move = step * std::sqrt(scale2) / (n_workers * std::sqrt(substeps));
  const double sign_move = noisy ? eta / n_workers : eta;
  // The drift of a step near the optimum is at least this times the gradient.
  const double slope = sign_model ? sign_slope(curve) : 1.0;
  double drift = eta * slope;
  if (curve.model && curve.model->kind == ModelKind::curvature)
    drift *= std::max(0.25, 1.0 - 0.5 * step * slope * smoothness);

  // S of the coordinates whose moves are lost; all of S(x0) where coordinates do not stand alone.
  double lost = 0.0;
  // Near x* != 0: no move below half an ulp of x* (stuck), or a random walk of roundings (walk), and x* itself.
  double stuck = 0.0, walk = 0.0, resolution = 0.0;
  for (std::size_t j = 0; j < dim; ++j) {
    const double start = std::fabs(config.start[j]), star = std::fabs(x_star[j]);
    const double farthest = eps * std::max(start, star), near = eps * star;
    // DSignSGD models: as x falls m(x)/x and Q rise, so the start is where moves are smallest.
    const SignAtStart at_start = sign_model ? sign_at_start(curve, objective, j) : SignAtStart{};
    const double random_move = sign_model ? step * std::sqrt(at_start.variance / (n_workers * substeps)) : noise_move;
    const bool dithered = !signs && random_move >= dithered_moves * farthest;
    const bool quadratic = config.kind == ObjectiveKind::quadratic;
    const double curvature = quadratic ? config.eigenvalues[j] : mu;
    // Beside an x* != 0 moves may be few ulps: what that does is in `stuck`, which grows as they approach a half ulp.
    const double wanted = star > 0.0 ? 4.0 : resolved_moves;
    const bool is_lost = signs        ? sign_move < resolved_moves * farthest
                         : sign_model ? !dithered && eta * at_start.mean < wanted * farthest
                                      : !dithered && curvature > 0.0 && eta * curvature < wanted * eps;
    if (is_lost && farthest > 0.0) {
      if (quadratic)
        lost += 0.5 * curvature * start * start;
      else
        lost = constants.suboptimality_at_start;
    }
    resolution += 0.5 * smoothness * near * near;
    if (signs || near == 0.0) continue;
    if (dithered)
      walk += near * near / (12.0 * drift);
    else if (mu > 0.0) {
      const double move = drift - std::min(0.75 * drift, eps / mu);  // |x| <= |x*| + |g|/mu
      stuck += near * near / (2.0 * mu * move * move);
    }
  }
  const double gradient = mu > 0.0 && !signs ? gradient_rounding(objective, eps) / mu : 0.0;
  const double root = std::sqrt(stuck) + 2.0 * std::sqrt(walk) + 2.0 * std::sqrt(resolution) + std::sqrt(gradient);
  // S of separable objectives is computed in the precision of x: below its smallest normal number digits are missing.
  const double smallest =
      eps > 1e-10 ? static_cast<double>(std::numeric_limits<float>::min()) : std::numeric_limits<double>::min();
  return std::max({4.0 * lost, root * root, static_cast<double>(dim) * smallest});
}

Curve make_curve(const CurveConfig& config, const Objective& objective, const SimResult& result, double confidence) {
  const std::size_t n_records = result.records.size();
  Curve curve;
  curve.name = config.name;
  curve.paths = config.paths;
  curve.seconds = result.seconds;
  curve.step.assign(config.checkpoint_steps.begin(), config.checkpoint_steps.end());
  curve.step.resize(n_records);

  const MomentReport moments = moments_of(config, objective);
  curve.mean_is = moments.mean_is;
  curve.variance_doubtful = !moments.variance_exists;
  if (curve.variance_doubtful) curve.variance_reason = moments.reason;
  if (!moments.reason.empty()) curve.notes.push_back(moments.reason);
  if (const std::string note = guarantee_note(config, objective); !note.empty()) curve.notes.push_back(note);

  // time: one pass over the steps, with a compensated sum.
  if (is_constant(config.schedule)) {
    for (const auto k : curve.step) curve.time.push_back(static_cast<double>(k) * config.eta);
  } else {
    double sum = 0.0, carry = 0.0;
    std::uint64_t k = 0;
    for (const auto stop : curve.step) {
      for (; k < stop; ++k) {
        const double term = prescribed_step(config, k) - carry, next = sum + term;
        carry = (next - sum) - term;
        sum = next;
      }
      curve.time.push_back(sum);
    }
  }

  const double alpha = (1.0 - confidence) / static_cast<double>(std::max<std::size_t>(n_records, 1));
  const std::size_t n_groups = result.group_means.empty() ? 0 : result.group_means.front().size();
  const std::size_t rank = median_rank(n_groups, alpha);
  if (!moments.mean_exists) {
    curve.band = Band::none;
    curve.notes.push_back("mean, standard error and band do not exist after step 0; quantiles and extremes do");
  } else if (curve.variance_doubtful && rank == 0) {
    curve.band = Band::none;
    curve.notes.push_back(fmt::format(
        "no band: {} groups of paths are too few for a median-of-means band at confidence {:g} over {} checkpoints",
        n_groups, confidence, n_records));
  } else if (curve.variance_doubtful) {
    curve.band = Band::median_of_means;
    curve.notes.push_back(fmt::format(
        "the band is an interval for the median of the means of {} groups of paths; there is no standard error",
        n_groups));
  } else {
    curve.band = Band::bonferroni_t;
  }

  curve.quantiles = result.quantiles;
  const bool has_sums = n_records > 0 && result.records.back().sum_t > 0.0,
             tracks_smoothness = n_records > 0 && result.records.back().smoothness > 0.0;
  bool seen_ratio = false;
  double quantile = nan, quantile_n = nan;  // n is mostly the same at every checkpoint
  std::uint64_t diverged = 0, diverged_step = 0;
  for (std::size_t c = 0; c < n_records; ++c) {
    const Record& record = result.records[c];
    const bool start = curve.step[c] == 0;  // deterministic: everything about it exists
    const double n = static_cast<double>(record.finite);
    const bool mean_exists = record.finite > 0 && (start || moments.mean_exists);
    const bool variance_exists = record.finite > 1 && (start || moments.variance_exists);
    const double mean = mean_exists ? record.sum / n : nan;
    const double error = variance_exists ? std::sqrt(record.m2 / (n * (n - 1.0))) : nan;
    curve.finite.push_back(record.finite);
    curve.mean.push_back(mean);
    curve.standard_error.push_back(error);
    curve.variance.push_back(variance_exists ? record.m2 / (n - 1.0) : nan);
    curve.skew.push_back(!variance_exists  ? nan
                         : record.m2 > 0.0 ? std::sqrt(n) * record.m3 / (record.m2 * std::sqrt(record.m2))
                                           : 0.0);
    double lower = nan, upper = nan;
    if (curve.band == Band::bonferroni_t || start) {
      if (variance_exists) {
        if (error > 0.0 && n != quantile_n) {
          quantile_n = n;
          quantile = two_sided_t(alpha, n - 1.0);
        }
        const double half = error > 0.0 ? quantile * error : error;
        lower = mean - half;
        upper = mean + half;
      }
    } else if (curve.band == Band::median_of_means) {
      std::vector<double> groups = result.group_means[c];
      for (double& value : groups) value = std::isnan(value) ? inf : value;  // a diverged path: the largest
      std::sort(groups.begin(), groups.end());
      const std::size_t r = median_rank(groups.size(), alpha);
      if (r > 0) {
        lower = groups[r - 1];
        upper = groups[groups.size() - r];
      }
      if (std::isinf(lower)) lower = nan;
      if (std::isinf(upper)) upper = nan;
    }
    curve.lower.push_back(lower);
    curve.upper.push_back(upper);
    curve.min.push_back(record.finite > 0 ? record.min : nan);
    curve.max.push_back(record.finite > 0 ? record.max : nan);
    // |grad f| grows no faster than |x| on quadratics, so its mean needs a mean of the noise where that of S needs a
    // variance.
    const bool grad_exists =
        mean_exists || start ||
        (!objective.constants().super_quadratic && tail_order(config.noise.law) > 1.0 && record.finite > 0);
    curve.grad_norm.push_back(grad_exists && record.finite > 0 ? record.grad_norm_sum / n : nan);
    curve.regime.push_back(record.finite > 0 ? linear_regime(config, record.max_grad) : nan);
    curve.max_grad.push_back(record.max_grad);
    curve.max_grad_so_far.push_back(record.max_grad_so_far);
    if (has_sums) {
      const bool known = record.finite > 1 && (start || moments.variance_exists);
      curve.sums.mean.push_back(record.finite > 0 && mean_exists ? record.sum_y / n : nan);
      curve.sums.standard_error.push_back(known ? std::sqrt(record.m2_y / (n * (n - 1.0))) : nan);
      curve.sums.variance.push_back(known ? record.m2_y / (n - 1.0) : nan);
      curve.sums.skew.push_back(!known ? nan
                                : record.m2_y > 0.0
                                    ? std::sqrt(n) * record.m3_y / (record.m2_y * std::sqrt(record.m2_y))
                                    : 0.0);
      curve.sums.weight.push_back(record.finite > 0 ? record.sum_t / n : nan);
    }
    if (tracks_smoothness) curve.smoothness.push_back(record.smoothness);
    if (record.pl_max > 0.0) {
      curve.pl_min = seen_ratio ? std::min(curve.pl_min, record.pl_min) : record.pl_min;
      curve.pl_max = std::max(curve.pl_max, record.pl_max);
      seen_ratio = true;
    }
    if (record.finite < config.paths && config.paths - record.finite > diverged) {
      if (diverged == 0) diverged_step = curve.step[c];
      diverged = config.paths - record.finite;
    }
  }
  if (diverged > 0) {
    curve.notes.push_back(
        fmt::format("{} of {} paths diverged, the first by step {}", diverged, config.paths, diverged_step));
    if (curve.mean_is == MeanIs::expectation) curve.mean_is = MeanIs::restricted;
    if (moments.mean_is == MeanIs::expectation) curve.notes.push_back("the mean is E[S_k | not diverged by k]");
  }
  return curve;
}

}  // namespace pathbound
