// SPDX-License-Identifier: Apache-2.0
#include "host/curve.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>

#include "host/bounds.hpp"
#include "host/step_size.hpp"

namespace pathbound {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();

/// E zeta^4 of a unit-scale law.
double noise_fourth_moment(LawKind law, double nu) {
  if (law == LawKind::gaussian) return 3.0;
  return nu > 4.0 ? 3.0 * nu * nu / ((nu - 2.0) * (nu - 4.0)) : inf;
}

/// Mean and central moments of the average over workers of independent factors of mean 1.
struct AverageMoments {
  double variance = 0.0, third = 0.0, fourth = 0.0;
  /// E(1 - z u)^4
  double fourth_of_step(double z) const {
    const double a = 1.0 - z;
    return a * a * a * a + 6.0 * a * a * z * z * variance - 4.0 * a * z * z * z * third + z * z * z * z * fourth;
  }
};

/// Moments of (1/N) sum_i c_i (1 + r_i zeta_i), c_i = 1/p_i with probability p_i = 1/(1 + omega_i), else 0: what a step
/// does to one coordinate (rand_k and bernoulli have these marginals). r_i = rho_i / sqrt(B_i) in one dimension, 0 for
/// the compressor alone.
AverageMoments factor_moments(const CurveConfig& curve, int dim, double rho) {
  const double var = noise_variance(curve.noise.law, curve.noise.nu);
  const double fourth = noise_fourth_moment(curve.noise.law, curve.noise.nu);
  const double n = curve.workers.count;
  AverageMoments average;
  double sum_fourth_cumulant = 0.0;
  for (int i = 0; i < curve.workers.count; ++i) {
    const double inverse_p = 1.0 + compressor_omega(curve, dim, i);
    const double r2 = rho > 0.0 ? rho * rho / curve.workers.batch[static_cast<std::size_t>(i)] : 0.0;
    const double noise2 = r2 > 0.0 ? r2 * var : 0.0, noise4 = r2 > 0.0 ? r2 * r2 * fourth : 0.0;
    const double m2 = inverse_p * (1.0 + noise2);
    const double m3 = inverse_p * inverse_p * (1.0 + 3.0 * noise2);
    const double m4 = inverse_p * inverse_p * inverse_p * (1.0 + 6.0 * noise2 + noise4);
    const double c2 = m2 - 1.0, c3 = m3 - 3.0 * m2 + 2.0, c4 = m4 - 4.0 * m3 + 6.0 * m2 - 3.0;
    average.variance += c2;
    average.third += c3;
    sum_fourth_cumulant += c4 - 3.0 * c2 * c2;
  }
  average.variance /= n * n;
  average.third /= n * n * n;
  average.fourth = sum_fourth_cumulant / (n * n * n * n) + 3.0 * average.variance * average.variance;
  return average;
}

/// sqrt(E w^4) of w = (1/N) sum_i c_i r_i zeta_i: the noise of one coordinate in units of |grad f| / sqrt(d).
double affine_noise_square(const CurveConfig& curve, int dim) {
  const double rho = curve.noise.affine;
  if (rho == 0.0) return 0.0;
  const double var = noise_variance(curve.noise.law, curve.noise.nu);
  const double fourth = noise_fourth_moment(curve.noise.law, curve.noise.nu);
  const double n = curve.workers.count;
  double sum2 = 0.0, sum22 = 0.0, sum4 = 0.0;
  for (int i = 0; i < curve.workers.count; ++i) {
    const double inverse_p = 1.0 + compressor_omega(curve, dim, i);
    const double r2 = rho * rho / curve.workers.batch[static_cast<std::size_t>(i)];
    const double w2 = inverse_p * r2 * var;
    sum2 += w2;
    sum22 += w2 * w2;
    sum4 += inverse_p * inverse_p * inverse_p * r2 * r2 * fourth;
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
  const auto c = factor_moments(curve, dim, 0.0);
  const double z = eta * L, r = affine_noise_square(curve, dim);
  const double m2 = 1.0 + c.variance, m3 = 1.0 + 3.0 * c.variance + c.third;
  const double m4 = 1.0 + 6.0 * c.variance + 4.0 * c.third + c.fourth;
  const double x1 = 1.0 - 0.5 * z * m2, x2 = m2 - z * m3 + 0.25 * z * z * m4;
  const double odd = r > 0.0 ? r * std::sqrt(c.fourth_of_step(z)) / dim : 0.0;
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
  const double l = noise_density_factor(config.noise.law, config.noise.nu);
  if (y * l < 1e-150) return 1.0;  // 1 - O(y^2)
  return std::min(1.0, 2.0 * noise_xi(config.noise.law, config.noise.nu, y) / (l * y));
}

const char* law_words(LawKind law) {
  switch (law) {
    case LawKind::gaussian:
      return "Gaussian";
    case LawKind::student_t:
      return "Student-t";
    case LawKind::multivariate_t:
      return "multivariate t";
  }
  return "";
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

MomentReport moments_of(const CurveConfig& curve, const Objective& objective) {
  MomentReport report;
  if (curve.method == MethodKind::dsignsgd) return report;  // every step is bounded: all moments, any law
  const auto& constants = objective.constants();
  const bool additive =
      std::any_of(curve.workers.scale.begin(), curve.workers.scale.end(), [](double s) { return s > 0.0; });
  const bool affine = curve.noise.affine > 0.0 && constants.suboptimality_at_start > 0.0;
  const bool noisy = additive || affine;
  const bool heavy = curve.noise.law != LawKind::gaussian;
  const double nu = curve.noise.nu;
  const std::string words = fmt::format("{} noise with nu = {:g}", law_words(curve.noise.law), nu);

  if (constants.super_quadratic) {
    if (!noisy) return report;
    if (heavy) {
      report.mean_exists = report.variance_exists = false;
      report.mean_is = MeanIs::does_not_exist;
      report.reason = fmt::format(
          "E S is infinite: {} has no moments of order nu, and the objective grows faster than a quadratic, so that "
          "every "
          "step multiplies the order that E S needs",
          words);
      return report;
    }
    report.mean_is = MeanIs::restricted;
    report.reason =
        "the objective grows faster than a quadratic and Gaussian noise is unbounded: E S is infinite or of no use, "
        "the "
        "mean is E[S_k | not diverged by k]";
    return report;
  }

  // S grows like |x|^2, but like |x| for the logistic loss without regularisation.
  const double growth = objective.config().kind == ObjectiveKind::logistic && objective.config().lam == 0.0 ? 1.0 : 2.0;
  if (noisy && heavy && nu <= growth) {
    report.mean_exists = report.variance_exists = false;
    report.mean_is = MeanIs::does_not_exist;
    report.reason = fmt::format("E S is infinite from step 1 on: {} has no finite {}", words,
                                growth == 2.0 ? "variance (nu <= 2)" : "mean (nu <= 1)");
    return report;
  }
  if (noisy && heavy && nu <= 2.0 * growth) {
    report.variance_exists = false;
    report.reason = fmt::format("Var S is infinite from step 1 on: {} has no finite {}", words,
                                growth == 2.0 ? "fourth moment (nu <= 4)" : "variance (nu <= 2)");
    return report;
  }

  bool compressed = false;
  const int dim = objective.config().dim;
  for (int i = 0; i < curve.workers.count; ++i) compressed = compressed || compressor_omega(curve, dim, i) > 0.0;
  if (!compressed && !affine) return report;
  const double eta = largest_step(curve, curve.steps);
  Growth g{inf, false};
  if (constants.L.value) g = smooth_growth(curve, dim, *constants.L.value, eta);
  if (objective.config().kind == ObjectiveKind::quadratic) {
    const Growth own = quadratic_growth(curve, objective.config().eigenvalues, eta);
    if (own.exact || own.factor < g.factor) g = own;
  }
  // A hundredth of the rounding that can matter: a factor of 1 + 1e-12 takes 1e12 steps to show.
  if (g.factor <= 1.0 + 1e-12) return report;
  report.variance_exists = false;
  const std::string from = compressed && affine ? "the compressor and affine noise multiply"
                           : compressed         ? "the compressor multiplies"
                                                : "affine noise multiplies";
  if (g.exact) {
    report.reason = fmt::format(
        "{} the iterate by a random factor with max_j E(1 - eta h_j C)^4 = {:.6g} > 1: E S^2 "
        "explodes, so the sampling variance cannot be trusted",
        from, g.factor);
  } else {
    report.reason = fmt::format(
        "{} the iterate by a random factor, and the bound on the growth of E S^2 is {:.6g} > 1 a "
        "step: E S^2 may explode, so the sampling variance cannot be trusted",
        from, g.factor);
  }
  return report;
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

}  // namespace

double rounding_level(const CurveConfig& curve, const Objective& objective, double eps) {
  const auto& config = objective.config();
  const auto& constants = objective.constants();
  const auto& x_star = objective.x_star();
  const auto dim = static_cast<std::size_t>(config.dim);
  const double eta = smallest_step(curve), n_workers = curve.workers.count;
  const double mu = constants.mu.value.value_or(0.0);
  const double smoothness = constants.L.value ? *constants.L.value : constants.L0.value.value_or(0.0);
  // Scale of the noise of a step in one coordinate, without its affine part, which vanishes at the optimum.
  double scale2 = 0.0;
  for (std::size_t i = 0; i < curve.workers.scale.size(); ++i)
    scale2 += curve.workers.scale[i] * curve.workers.scale[i] / curve.workers.batch[i];
  const bool noisy = scale2 > 0.0, signs = curve.method == MethodKind::dsignsgd;
  const double noise_move = eta * std::sqrt(scale2) / n_workers;
  const double sign_move = noisy ? eta / n_workers : eta;

  // S of the coordinates whose moves are lost; all of S(x0) where coordinates do not stand alone.
  double lost = 0.0;
  // Near x* != 0: no move below half an ulp of x* (stuck), or a random walk of roundings (walk), and x* itself.
  double stuck = 0.0, walk = 0.0, resolution = 0.0;
  for (std::size_t j = 0; j < dim; ++j) {
    const double start = std::fabs(config.start[j]), star = std::fabs(x_star[j]);
    const double farthest = eps * std::max(start, star), near = eps * star;
    const bool dithered = !signs && noise_move >= dithered_moves * farthest;
    const bool quadratic = config.kind == ObjectiveKind::quadratic;
    const double curvature = quadratic ? config.eigenvalues[j] : mu;
    // Beside an x* != 0 moves may be few ulps: what that does is in `stuck`, which grows as they approach a half ulp.
    const double wanted = star > 0.0 ? 4.0 : resolved_moves;
    const bool is_lost =
        signs ? sign_move < resolved_moves * farthest : !dithered && curvature > 0.0 && eta * curvature < wanted * eps;
    if (is_lost && farthest > 0.0) {
      if (quadratic)
        lost += 0.5 * curvature * start * start;
      else
        lost = constants.suboptimality_at_start;
    }
    resolution += 0.5 * smoothness * near * near;
    if (signs || near == 0.0) continue;
    if (dithered)
      walk += near * near / (12.0 * eta);
    else if (mu > 0.0) {
      const double move = eta - std::min(0.75 * eta, eps / mu);  // |x| <= |x*| + |g|/mu
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
    // |grad f| grows no faster than |x| on quadratics, so its mean exists for nu > 1 where that of S needs nu > 2.
    const bool grad_exists =
        mean_exists || start || (!objective.constants().super_quadratic && config.noise.nu > 1.0 && record.finite > 0);
    curve.grad_norm.push_back(grad_exists && record.finite > 0 ? record.grad_norm_sum / n : nan);
    curve.regime.push_back(record.finite > 0 ? linear_regime(config, record.max_grad) : nan);
    curve.max_grad.push_back(record.max_grad);
    curve.max_grad_so_far.push_back(record.max_grad_so_far);
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
