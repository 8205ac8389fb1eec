// SPDX-License-Identifier: Apache-2.0
// The engine against answers that are known exactly.
//
// False alarms: a mean is compared at 5.5 standard errors, two-sided, 3.8e-8 a check; this file makes about 600 such
// checks, so a correct engine with new seeds would fail somewhere in about 2e-5 of the cases. The seeds are fixed. Each
// standard error is also asserted to be below 1% of the value, so that a pass means something.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <boost/math/distributions/laplace.hpp>
#include <boost/math/distributions/logistic.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <numbers>
#include <string>
#include <vector>

#include "host/curve.hpp"
#include "host/engine.hpp"
#include "tests/stable_reference.hpp"
#include "tests/stat_assert.hpp"

namespace pathbound {
namespace {

using Values = std::vector<double>;

/// An experiment with one curve, simulated on one thread.
struct Simulated {
  explicit Simulated(const std::string& text, const Values& start = {})
      : experiment(parse_experiment(text, "test.toml")), objective(with_start(experiment.objective, start)) {
    RunOptions options;
    options.threads = 1;
    options.isa = isa_from_environment();
    result = simulate(experiment, config(), objective, options);
    curve = make_curve(config(), objective, result);
  }
  const CurveConfig& config() const { return experiment.curves.front(); }
  static ObjectiveConfig with_start(ObjectiveConfig config, const Values& start) {
    if (!start.empty()) config.start = start;
    return config;
  }
  Experiment experiment;
  Objective objective;
  SimResult result;
  Curve curve;
};

const char* const precisions[] = {"float", "double"};

/// What a case writes into the experiment file.
struct Case {
  std::string name, top, objective, noise, workers, curve;
  std::string text(const std::string& precision) const {
    return "seed = 20240611\nprecision = \"" + precision + "\"\n" + top + "\n[objective]\n" + objective +
           "\n[noise]\n" + noise + "\n[workers]\n" + workers + "\n[[curve]]\nname = \"c\"\n" + curve + "\n";
  }
};

void expect_means(const Curve& curve, const Values& expected, double largest_error = 0.01) {
  ASSERT_EQ(curve.mean.size(), expected.size());
  for (std::size_t c = 0; c < expected.size(); ++c) {
    // Slack: the rounding of x_0 and of S in float.
    EXPECT_TRUE(stat::near(curve.mean[c], expected[c], curve.standard_error[c], 1e-6 * expected[c]))
        << "step " << curve.step[c];
    EXPECT_LT(curve.standard_error[c], largest_error * expected[c]) << "step " << curve.step[c];
    EXPECT_EQ(curve.finite[c], curve.paths);
  }
}

// ---------------------------------------------------------------- quadratics with unbiased compression

double variance_of(const NoiseConfig& noise) {
  const LawSpec& law = noise.law;
  switch (law.kind) {
    case LawKind::gaussian:
      return 1.0;
    case LawKind::laplace:
    case LawKind::alpha_stable:  // alpha = 2: N(0, 2)
      return 2.0;
    case LawKind::logistic:
      return std::numbers::pi * std::numbers::pi / 3.0;
    case LawKind::contaminated_gaussian:
      return 1.0 - law.eps + law.eps * law.k * law.k;
    default:
      return law.nu / (law.nu - 2.0);
  }
}

/// E f at the checkpoints from the recursion of every coordinate's second moment. With M_j = E x_j^2, z_j = eta_k h_j
/// and E C_i(g)_j^2 = (1 + omega_i) g_j^2:
///   M_j' = M_j ((1 - z_j)^2 + z_j^2 sum_i omega_i / N^2)
///          + eta_k^2 sum_i (1 + omega_i) Var zeta (sigma_i^2 + rho^2 sum_l h_l^2 M_l / d) / (B_i N^2).
Values quadratic_means(const Experiment& experiment, const CurveConfig& curve) {
  const Values& h = experiment.objective.eigenvalues;
  const std::size_t d = h.size();
  const double n = curve.workers.count;
  double omega_sum = 0.0, noise = 0.0, affine = 0.0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(curve.workers.count); ++i) {
    double omega = 0.0;
    if (curve.compressor.kind == CompressorKind::rand_k) omega = static_cast<double>(d) / curve.workers.k[i] - 1.0;
    if (curve.compressor.kind == CompressorKind::bernoulli) omega = 1.0 / curve.compressor.p - 1.0;
    const double factor = (1.0 + omega) * variance_of(curve.noise) / (curve.workers.batch[i] * n * n);
    omega_sum += omega / (n * n);
    noise += factor * curve.workers.scale[i] * curve.workers.scale[i];
    affine += factor * curve.noise.affine * curve.noise.affine / static_cast<double>(d);
  }
  Values m(d), means;
  for (std::size_t j = 0; j < d; ++j) m[j] = experiment.objective.start[j] * experiment.objective.start[j];
  std::size_t next = 0;
  for (std::uint64_t k = 0; next < curve.checkpoint_steps.size(); ++k) {
    if (k == curve.checkpoint_steps[next]) {
      double f = 0.0;
      for (std::size_t j = 0; j < d; ++j) f += 0.5 * h[j] * m[j];
      means.push_back(f);
      ++next;
    }
    double eta = curve.eta;
    if (curve.schedule.kind == ScheduleKind::polynomial)
      eta *= std::pow(1.0 + static_cast<double>(k) / curve.schedule.k0, -curve.schedule.p);
    double gradient_sq = 0.0;
    for (std::size_t j = 0; j < d; ++j) gradient_sq += h[j] * h[j] * m[j];
    for (std::size_t j = 0; j < d; ++j) {
      const double z = eta * h[j];
      m[j] = m[j] * ((1.0 - z) * (1.0 - z) + z * z * omega_sum) + eta * eta * (noise + affine * gradient_sq);
    }
  }
  return means;
}

const std::string dcsgd = "method = \"dcsgd\"\n";
const std::string dsgd = "method = \"dsgd\"\n";

std::vector<Case> quadratic_cases() {
  const auto linear = [](int d, const char* range = "min = 0.2, max = 1.5") {
    return "kind = \"quadratic\"\ndim = " + std::to_string(d) + "\nspectrum = { kind = \"linear\", " + range + " }";
  };
  return {
      {"OneCoordinateOneWorker", "paths = 100000\nsteps = 100\ncheckpoints = 10", linear(1, "min = 1.0, max = 1.0"),
       "scale = 0.7", "count = 1", dsgd + "eta = 0.1"},
      {"OneCoordinateLargeStep", "paths = 100000\nsteps = 12\ncheckpoints = 6",
       linear(1, "min = 1.0, max = 1.0") + "\nstart = -2.0", "scale = 1.0", "count = 1", dsgd + "eta = 1.9"},
      {"OneCoordinateStudent5", "paths = 200000\nsteps = 20\ncheckpoints = 4", linear(1, "min = 0.8, max = 0.8"),
       "law = \"student_t\"\nnu = 5.0\nscale = 0.5", "count = 1", dsgd + "eta = 0.2"},
      {"OneCoordinatePolynomial", "paths = 100000\nsteps = 60\ncheckpoints = 6", linear(1, "min = 1.0, max = 1.0"),
       "scale = 2.0", "count = 1", dsgd + "eta = 0.5\nschedule = { kind = \"polynomial\", k0 = 1.0, p = 0.5 }"},
      {"OneCoordinateSixteenWorkersBernoulli", "paths = 100000\nsteps = 20\ncheckpoints = 4",
       linear(1, "min = 1.0, max = 1.0"), "scale = 1.0", "count = 16\nbatch = 2",
       dcsgd + "eta = 0.3\ncompressor = { kind = \"bernoulli\", p = 0.5 }"},
      {"OneCoordinateAffine", "paths = 100000\nsteps = 20\ncheckpoints = 4", linear(1, "min = 1.0, max = 1.0"),
       "scale = 0.5\naffine = 0.8", "count = 2\nbatch = [1, 3]", dsgd + "eta = 0.3"},
      {"TwoCoordinatesBatchesOfThreeWorkers", "paths = 100000\nsteps = 20\ncheckpoints = 4", linear(2),
       "law = \"student_t\"\nnu = 30.0\nscale = 1.0", "count = 3\nbatch = [1, 4, 16]", dsgd + "eta = 0.4"},
      {"OneCoordinateLaplace", "paths = 200000\nsteps = 20\ncheckpoints = 4", linear(1, "min = 0.8, max = 0.8"),
       "law = \"laplace\"\nscale = 0.5", "count = 1", dsgd + "eta = 0.2"},
      {"ThreeLogisticBernoulli", "paths = 100000\nsteps = 20\ncheckpoints = 4", linear(3),
       "law = \"logistic\"\nscale = 0.5", "count = 2\nbatch = [1, 3]",
       dcsgd + "eta = 0.2\ncompressor = { kind = \"bernoulli\", p = 0.6 }"},
      {"TwoContaminatedAffine", "paths = 200000\nsteps = 20\ncheckpoints = 4", linear(2),
       "law = \"contaminated_gaussian\"\neps = 0.1\nk = 3.0\nscale = 0.7\naffine = 0.3", "count = 3",
       dsgd + "eta = 0.2"},
      {"FiveAlphaStable2", "paths = 50000\nsteps = 20\ncheckpoints = 4", linear(5),
       "law = \"alpha_stable\"\nalpha = 2.0\nscale = 0.7", "count = 2", dsgd + "eta = 0.2"},
      {"SevenKeepThree", "paths = 40000\nsteps = 30\ncheckpoints = 5", linear(7), "scale = 1.0", "count = 4",
       dcsgd + "eta = 0.2\ncompressor = { kind = \"rand_k\", k = 3 }\nschedule = { kind = \"polynomial\", k0 = 10.0, p "
               "= 1.0 }"},
      {"SevenKeepOne", "paths = 40000\nsteps = 30\ncheckpoints = 5", linear(7), "scale = 1.0", "count = 1",
       dcsgd + "eta = 0.05\ncompressor = { kind = \"rand_k\", k = 1 }"},
      {"SevenKeepAll", "paths = 40000\nsteps = 20\ncheckpoints = 4", linear(7), "scale = 1.0", "count = 2",
       dcsgd + "eta = 0.2\ncompressor = { kind = \"rand_k\", k = 7 }"},
      {"SevenListsOfWorkers", "paths = 40000\nsteps = 20\ncheckpoints = 4",
       linear(7) + "\nstart = [1.0, -2.0, 0.5, 0.0, 1.5, -0.25, 3.0]", "affine = 0.4",
       "count = 5\nscale = [0.1, 1.0, 0.5, 0.0, 2.0]\nbatch = [1, 2, 1, 8, 4]\nk = [1, 2, 4, 6, 7]",
       dcsgd + "eta = 0.1\ncompressor = { kind = \"rand_k\", k = 1 }"},
      {"SevenAffineBernoulliPolynomial", "paths = 40000\nsteps = 20\ncheckpoints = 4", linear(7),
       "scale = 0.5\naffine = 1.0", "count = 3\nbatch = [1, 2, 5]",
       dcsgd + "eta = 0.15\ncompressor = { kind = \"bernoulli\", p = 0.4 }\nschedule = { kind = \"polynomial\", k0 = "
               "4.0, p = 0.75 }"},
      {"SevenMultivariateT", "paths = 40000\nsteps = 20\ncheckpoints = 4", linear(7),
       "law = \"multivariate_t\"\nnu = 30.0\nscale = 1.0", "count = 3", dsgd + "eta = 0.3"},
      {"SixMultivariateTKeepTwo", "paths = 40000\nsteps = 20\ncheckpoints = 4", linear(6),
       "law = \"multivariate_t\"\nnu = 30.0\nscale = 1.0", "count = 2",
       dcsgd + "eta = 0.1\ncompressor = { kind = \"rand_k\", k = 2 }"},
      {"OneMultivariateTAffine", "paths = 100000\nsteps = 20\ncheckpoints = 4", linear(1, "min = 1.0, max = 1.0"),
       "law = \"multivariate_t\"\nnu = 30.0\nscale = 1.0\naffine = 0.3", "count = 2", dsgd + "eta = 0.3"},
      {"SixtyFourKeepSixteenAffine", "paths = 4000\nsteps = 30\ncheckpoints = 5", linear(64),
       "law = \"student_t\"\nnu = 30.0\nscale = 1.0\naffine = 0.5", "count = 8",
       dcsgd + "eta = 0.1\ncompressor = { kind = \"rand_k\", k = 16 }"},
      {"SixtyFourListsOfWorkers", "paths = 4000\nsteps = 20\ncheckpoints = 4", linear(64), "",
       "count = 4\nscale = [0.5, 1.0, 2.0, 1.0]\nbatch = [1, 4, 2, 1]\nk = [1, 63, 32, 64]",
       dcsgd + "eta = 0.02\ncompressor = { kind = \"rand_k\", k = 1 }"},
      {"ThousandDsgd", "paths = 800\nsteps = 20\ncheckpoints = 4",
       "kind = \"quadratic\"\ndim = 1000\nspectrum = { kind = \"geometric\", min = 0.01, max = 1.0 }", "scale = 1.0",
       "count = 2", dsgd + "eta = 0.5"},
      {"ThousandKeepNineHundred", "paths = 400\nsteps = 20\ncheckpoints = 4", linear(1000), "scale = 1.0", "count = 2",
       dcsgd + "eta = 0.2\ncompressor = { kind = \"rand_k\", k = 900 }"},
      {"ThousandKeepTen", "paths = 400\nsteps = 20\ncheckpoints = 4", linear(1000), "scale = 1.0\naffine = 0.5",
       "count = 3", dcsgd + "eta = 0.004\ncompressor = { kind = \"rand_k\", k = 10 }"},
      {"ThousandBernoulli", "paths = 400\nsteps = 20\ncheckpoints = 4", linear(1000),
       "law = \"multivariate_t\"\nnu = 30.0\nscale = 1.0", "count = 2",
       dcsgd + "eta = 0.1\ncompressor = { kind = \"bernoulli\", p = 0.3 }"},
  };
}

TEST(ExactQuadratic, MeanFollowsTheSecondMomentRecursion) {
  for (const Case& c : quadratic_cases()) {
    for (const char* precision : precisions) {
      SCOPED_TRACE(c.name + " " + precision);
      const Simulated run(c.text(precision));
      EXPECT_EQ(run.curve.mean_is, MeanIs::expectation);
      EXPECT_EQ(run.curve.band, Band::bonferroni_t);
      expect_means(run.curve, quadratic_means(run.experiment, run.config()));
    }
  }
}

TEST(ExactQuadratic, VarianceOfOneGaussianCoordinateIsThatOfAScaledNoncentralChiSquare) {
  // x_k ~ N(m, v), so Var S = (h/2)^2 (2 v^2 + 4 m^2 v). M2/(n-1) of 10^5 paths: relative standard error below 1%
  // (kurtosis of a chi^2_1: 15), 5.5 of them.
  const Simulated run(
      "seed = 3\npaths = 100000\nsteps = 30\ncheckpoints = 6\n[objective]\nkind = \"quadratic\"\n"
      "spectrum = { kind = \"list\", eigenvalues = [2.0] }\n[[curve]]\nname = \"c\"\nmethod = \"dsgd\"\neta = 0.1\n");
  for (std::size_t c = 0; c < run.curve.step.size(); ++c) {
    const double q = 0.8, k = static_cast<double>(run.curve.step[c]);
    const double m = std::pow(q, k), v = 0.01 * (1.0 - std::pow(q, 2.0 * k)) / (1.0 - q * q);
    EXPECT_NEAR(run.curve.variance[c], 2.0 * v * v + 4.0 * m * m * v,
                5.5 * 0.012 * (2.0 * v * v + 4.0 * m * m * v) + 1e-12);
  }
}

// ---------------------------------------------------------------- DSignSGD in one dimension: a random walk on a
// lattice

double cdf(const NoiseConfig& noise, double y) {
  const LawSpec& law = noise.law;
  switch (law.kind) {
    case LawKind::gaussian:
      return boost::math::cdf(boost::math::normal(), y);
    case LawKind::laplace:
      return boost::math::cdf(boost::math::laplace(), y);
    case LawKind::logistic:
      return boost::math::cdf(boost::math::logistic(), y);
    case LawKind::contaminated_gaussian:
      return (1.0 - law.eps) * boost::math::cdf(boost::math::normal(), y) +
             law.eps * boost::math::cdf(boost::math::normal(0.0, law.k), y);
    case LawKind::alpha_stable:
      return y == 0.0 ? 0.5 : 0.5 + std::copysign(static_cast<double>(reference::stable(law.alpha, std::abs(y)).xi), y);
    default:
      return boost::math::cdf(boost::math::students_t(law.nu), y);
  }
}

/// E f at the checkpoints: probabilities of x_0 + (eta/N) j, j = -N k .. N k, advanced by the distribution of the sum
/// of N independent signs, worker i's being +1 with probability F(f'(x)/s_i).
Values sign_means(const CurveConfig& curve, double start, const std::function<double(double)>& f,
                  const std::function<double(double)>& gradient) {
  const int n = curve.workers.count;
  const int reach = n * static_cast<int>(curve.steps);
  const auto size = static_cast<std::size_t>(2 * reach + 1);
  const auto x_at = [&](std::size_t i) { return start + curve.eta / n * (static_cast<double>(i) - reach); };
  std::vector<Values> moves(size);  // moves[i][m]: m of the N signs are +1
  for (std::size_t i = 0; i < size; ++i) {
    Values pmf{1.0};
    for (int w = 0; w < n; ++w) {
      const auto worker = static_cast<std::size_t>(w);
      const double up =
          cdf(curve.noise, gradient(x_at(i)) * std::sqrt(curve.workers.batch[worker]) / curve.workers.scale[worker]);
      Values next(pmf.size() + 1, 0.0);
      for (std::size_t m = 0; m < pmf.size(); ++m) {
        next[m] += pmf[m] * (1.0 - up);
        next[m + 1] += pmf[m] * up;
      }
      pmf = std::move(next);
    }
    moves[i] = std::move(pmf);
  }
  Values p(size, 0.0), means;
  p[static_cast<std::size_t>(reach)] = 1.0;
  std::size_t next = 0;
  for (std::uint64_t k = 0; next < curve.checkpoint_steps.size(); ++k) {
    if (k == curve.checkpoint_steps[next]) {
      double mean = 0.0;
      for (std::size_t i = 0; i < size; ++i) mean += p[i] > 0.0 ? p[i] * f(x_at(i)) : 0.0;
      means.push_back(mean);
      ++next;
    }
    Values q(size, 0.0);
    for (std::size_t i = 0; i < size; ++i) {
      if (p[i] == 0.0) continue;
      for (int m = 0; m <= n; ++m) {
        const auto to = static_cast<std::ptrdiff_t>(i) - (2 * m - n);
        if (to >= 0 && to < static_cast<std::ptrdiff_t>(size))
          q[static_cast<std::size_t>(to)] += p[i] * moves[i][static_cast<std::size_t>(m)];
      }
    }
    p = std::move(q);
  }
  return means;
}

TEST(ExactSign, MeanFollowsTheLattice) {
  struct Shape {
    std::string kind;
    std::function<double(double)> f, gradient;
  };
  const std::vector<Shape> shapes = {
      {"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }\n#\"", [](double x) { return 0.5 * x * x; },
       [](double x) { return x; }},
      {"quartic\"\n#\"", [](double x) { return 0.25 * x * x * x * x; }, [](double x) { return x * x * x; }},
      {"cosh\"\n#\"", [](double x) { return std::cosh(x) - 1.0; }, [](double x) { return std::sinh(x); }},
      {"sine_pl\"\n#\"", [](double x) { return x * x + 3.0 * std::sin(x) * std::sin(x); },
       [](double x) { return 2.0 * x + 3.0 * std::sin(2.0 * x); }},
  };
  struct Setting {
    std::string noise, workers;
    double eta;
  };
  const std::vector<Setting> settings = {
      {"scale = 1.0", "count = 1", 0.043},
      {"law = \"student_t\"\nnu = 1.0\nscale = 0.7", "count = 1", 0.031},
      {"law = \"student_t\"\nnu = 2.0\nscale = 1.3", "count = 3\nbatch = 4", 0.052},
      {"law = \"student_t\"\nnu = 3.0\nscale = 1.0", "count = 8", 0.037},
      {"law = \"multivariate_t\"\nnu = 1.0\nscale = 1.0", "count = 3", 0.043},
      {"scale = 1.0", "count = 3\nscale = [0.3, 1.0, 4.0]\nbatch = [1, 2, 9]", 0.043},
      {"law = \"student_t\"\nnu = 0.5\nscale = 1.0", "count = 2", 0.037},
      {"law = \"laplace\"\nscale = 0.8", "count = 3", 0.037},
      {"law = \"logistic\"\nscale = 0.6", "count = 1", 0.043},
      {"law = \"contaminated_gaussian\"\neps = 0.2\nk = 8.0\nscale = 0.5", "count = 2", 0.037},
      {"law = \"alpha_stable\"\nalpha = 0.7\nscale = 1.0", "count = 2", 0.037},
      {"law = \"alpha_stable\"\nalpha = 1.6\nscale = 0.8", "count = 1", 0.043},
  };
  for (const Shape& shape : shapes) {
    for (const Setting& setting : settings) {
      for (const char* precision : precisions) {
        const Case c{"",
                     "paths = 60000\nsteps = 60\ncheckpoints = 4",
                     "kind = \"" + shape.kind + "\nstart = 1.1",
                     setting.noise,
                     setting.workers,
                     "method = \"dsignsgd\"\neta = " + std::to_string(setting.eta)};
        SCOPED_TRACE(c.objective + "\n" + setting.noise + "\n" + setting.workers + "\n" + precision);
        const Simulated run(c.text(precision));
        EXPECT_EQ(run.curve.mean_is, MeanIs::expectation);
        // x^4/4 has a heavier tail of its own: 2%.
        expect_means(run.curve, sign_means(run.config(), 1.1, shape.f, shape.gradient),
                     shape.kind[3] == 'r' ? 0.02 : 0.01);
      }
    }
  }
}

// ---------------------------------------------------------------- restricted means: Chapman-Kolmogorov on a grid

/// E[f(x_k); |x| <= reach] for x' = x - eta f'(x) + s xi, s = eta sigma/sqrt(N), at the steps asked for: trapezoidal
/// sums of the transition density with spacing s/2 (its error falls like exp(-2 pi^2 (s/spacing)^2)), kernels cut at 10
/// s.
Values grid_means(const CurveConfig& curve, double start, double reach, const std::function<double(double)>& f,
                  const std::function<double(double)>& gradient) {
  const double s = curve.eta * curve.noise.scale / std::sqrt(curve.workers.count * curve.workers.batch[0]),
               spacing = 0.5 * s;
  const auto half = static_cast<std::ptrdiff_t>(reach / spacing);
  const auto size = static_cast<std::size_t>(2 * half + 1);
  const auto x_at = [&](std::ptrdiff_t i) { return static_cast<double>(i - half) * spacing; };
  const auto density = [&](double x) {
    return std::exp(-0.5 * (x / s) * (x / s)) / (s * std::sqrt(2.0 * std::numbers::pi));
  };
  const auto spread = [&](double from, double weight, Values& to) {
    const double mean = from - curve.eta * gradient(from);
    const auto low = static_cast<std::ptrdiff_t>(std::ceil((mean - 10.0 * s) / spacing)) + half;
    for (std::ptrdiff_t i = std::max<std::ptrdiff_t>(0, low);
         i < static_cast<std::ptrdiff_t>(size) && x_at(i) <= mean + 10.0 * s; ++i)
      to[static_cast<std::size_t>(i)] += weight * density(x_at(i) - mean);
  };
  Values p, means;
  std::size_t next = 0;
  for (std::uint64_t k = 0; next < curve.checkpoint_steps.size(); ++k) {
    if (k == curve.checkpoint_steps[next]) {
      double mean = k == 0 ? f(start) : 0.0;
      for (std::size_t i = 0; i < p.size(); ++i) mean += spacing * p[i] * f(x_at(static_cast<std::ptrdiff_t>(i)));
      means.push_back(mean);
      if (++next == curve.checkpoint_steps.size()) break;
    }
    Values q(size, 0.0);
    if (k == 0) {
      spread(start, 1.0, q);
    } else {
      for (std::size_t i = 0; i < size; ++i)
        if (p[i] > 1e-30) spread(x_at(static_cast<std::ptrdiff_t>(i)), spacing * p[i], q);
    }
    p = std::move(q);
  }
  return means;
}

TEST(ExactRestricted, QuarticFollowsChapmanKolmogorov) {
  const auto f = [](double x) { return 0.25 * x * x * x * x; };
  const auto g = [](double x) { return x * x * x; };
  for (const char* precision : precisions) {
    // The value on record (on |x| <= 2, reached with probability 1 to any digit): the grid here reproduces it.
    const Case recorded{"",
                        "paths = 150000\nsteps = 1000\ncheckpoint_steps = [0, 10, 100, 400, 1000]",
                        "kind = \"quartic\"\nstart = 1.0",
                        "scale = 0.5",
                        "count = 1",
                        dsgd + "eta = 0.01"};
    const Simulated run(recorded.text(precision));
    const Values expected = grid_means(run.config(), 1.0, 2.0, f, g);
    EXPECT_NEAR(expected.back(), 8.50345e-4, 5e-10);
    EXPECT_EQ(run.curve.mean_is, MeanIs::restricted);
    expect_means(run.curve, expected, 0.012);

    const Case other{"",
                     "paths = 100000\nsteps = 60\ncheckpoints = 6",
                     "kind = \"quartic\"\nstart = -1.5",
                     "scale = 2.0",
                     "count = 4\nbatch = 2",
                     dsgd + "eta = 0.05"};
    const Simulated second(other.text(precision));
    expect_means(second.curve, grid_means(second.config(), -1.5, 2.5, f, g), 0.012);
  }
}

TEST(ExactRestricted, CoshFollowsChapmanKolmogorov) {
  for (const char* precision : precisions) {
    const Case c{"",
                 "paths = 100000\nsteps = 100\ncheckpoints = 5",
                 "kind = \"cosh\"\nstart = 2.0",
                 "scale = 0.8",
                 "count = 2",
                 dsgd + "eta = 0.05"};
    const Simulated run(c.text(precision));
    EXPECT_EQ(run.curve.mean_is, MeanIs::restricted);
    expect_means(run.curve, grid_means(
                                run.config(), 2.0, 3.0, [](double x) { return std::cosh(x) - 1.0; },
                                [](double x) { return std::sinh(x); }));
  }
}

// ---------------------------------------------------------------- moments that do not exist

Case heavy(const std::string& method, const std::string& law, double nu,
           const std::string& kind = "quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }\n#\"") {
  const std::string noise =
      law == "gaussian" ? "scale = 0.1" : "law = \"" + law + "\"\nnu = " + std::to_string(nu) + "\nscale = 1.0";
  return {"",
          "paths = 65536\nsteps = 4\ncheckpoint_steps = [0, 1, 4]",
          "kind = \"" + kind,
          noise,
          "count = 1",
          "method = \"" + method + "\"\neta = 0.1"};
}

TEST(MissingMoments, AreReportedAndNeverPrinted) {
  for (const double nu : {0.5, 1.0, 2.0}) {
    const Simulated run(heavy("dsgd", "student_t", nu).text("double"));
    EXPECT_EQ(run.curve.mean_is, MeanIs::does_not_exist);
    EXPECT_EQ(run.curve.mean[0], 0.5);
    for (std::size_t c = 1; c < 3; ++c) {
      EXPECT_TRUE(std::isnan(run.curve.mean[c]));
      EXPECT_TRUE(std::isnan(run.curve.standard_error[c]));
      for (const auto& q : run.curve.quantiles) EXPECT_TRUE(q[c] > 0.0 && std::isfinite(q[c]));
    }
  }
  for (const double nu : {2.5, 4.0}) {
    const Simulated run(heavy("dsgd", "student_t", nu).text("double"));
    EXPECT_EQ(run.curve.mean_is, MeanIs::expectation);
    EXPECT_TRUE(run.curve.variance_doubtful);
    EXPECT_TRUE(std::isfinite(run.curve.mean[1]));
    EXPECT_TRUE(std::isnan(run.curve.standard_error[1]));
  }
  EXPECT_EQ(Simulated(heavy("dsgd", "gaussian", 0.0, "quartic\"\n#\"").text("float")).curve.mean_is,
            MeanIs::restricted);
  for (const char* kind : {"quartic\"\n#\"", "cosh\"\n#\""}) {
    const Simulated run(heavy("dsignsgd", "student_t", 0.5, kind).text("float"));
    EXPECT_EQ(run.curve.mean_is, MeanIs::expectation);
    EXPECT_FALSE(run.curve.variance_doubtful);
    EXPECT_TRUE(std::isfinite(run.curve.standard_error[2]));
  }
}

TEST(MissingMoments, OnePathCarriesTheSampleMeanOfSUnderCauchyNoise) {
  // S_1 = (0.9 - 0.1 zeta)^2 / 2 with zeta Cauchy: the tail index of S is 1/2, so the largest of n terms is comparable
  // to their sum for every n (the ratio has a limit law; below 0.01 with probability < 1e-6), while the quantiles are
  // those of the exact law: P(S <= s) = F((r + 0.9)/0.1) - F((0.9 - r)/0.1), r = sqrt(2 s).
  const Simulated run(heavy("dsgd", "student_t", 1.0).text("double"));
  EXPECT_GT(run.result.records[1].max, 0.01 * run.result.records[1].sum);
  for (std::size_t q = 0; q < curve_quantiles.size(); ++q) {
    const auto below = [&](double s) {
      const boost::math::students_t law(1.0);
      const double r = std::sqrt(2.0 * s);
      return boost::math::cdf(law, (r + 0.9) / 0.1) - boost::math::cdf(law, (0.9 - r) / 0.1);
    };
    // Bins are 1.6% wide; 6 standard errors of the rank.
    const double p = curve_quantiles[q], slack = 6.0 * std::sqrt(p * (1.0 - p) / 65536.0),
                 s = run.curve.quantiles[q][1];
    EXPECT_LE(below(s * (1.0 - 0.0157)), p + slack);
    EXPECT_GE(below(s * (1.0 + 0.0157)), p - slack);
  }
}

// ---------------------------------------------------------------- divergence and rest

TEST(Divergence, FiniteCountsDropToZeroExactlyWhenSExceedsTheLimit) {
  // No noise, h = 1, eta = 3: x_k = (-2)^k and S_k = 4^k / 2; the limit is S_10 itself, which is not above it.
  for (const char* precision : precisions) {
    const Case c{"",
                 "paths = 100\nsteps = 20\nlimit = 524288.0",
                 "kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }",
                 "scale = 0.0",
                 "count = 1",
                 dsgd + "eta = 3.0"};
    const Simulated run(c.text(precision));
    ASSERT_EQ(run.curve.step.size(), 21u);
    for (std::size_t k = 0; k <= 20; ++k) {
      const bool alive = k <= 10;
      EXPECT_EQ(run.curve.finite[k], alive ? 100u : 0u) << k;
      const double s = 0.5 * std::pow(4.0, static_cast<double>(k));
      if (alive) {
        EXPECT_EQ(run.curve.mean[k], s);
        EXPECT_EQ(run.curve.min[k], s);
        EXPECT_EQ(run.curve.max[k], s);
        for (const auto& q : run.curve.quantiles) EXPECT_EQ(q[k], s);
      } else {
        EXPECT_TRUE(std::isnan(run.curve.mean[k]));
        for (const auto& q : run.curve.quantiles) EXPECT_TRUE(std::isnan(q[k]));
      }
    }
    EXPECT_EQ(run.curve.mean_is, MeanIs::restricted);
  }
}

TEST(Divergence, OverflowCountsAsDivergedAndStaysSo) {
  // x^4/4 without noise from x = 3 with eta = 1: |x| grows like x^3 until float overflows to infinity, then NaN.
  const Case c{"",          "paths = 33\nsteps = 12", "kind = \"quartic\"\nstart = [3.0]", "scale = 0.0",
               "count = 2", dsgd + "eta = 1.0"};
  for (const char* precision : precisions) {
    const Simulated run(c.text(precision));
    EXPECT_EQ(run.curve.finite.front(), 33u);
    EXPECT_EQ(run.curve.finite.back(), 0u);
    for (std::size_t k = 1; k < run.curve.finite.size(); ++k) EXPECT_LE(run.curve.finite[k], run.curve.finite[k - 1]);
  }
}

TEST(Divergence, RanksOfDivergedPathsAreTheLargest) {
  // eta h = 3 with noise: |x| doubles a step, paths cross the limit at different times. A quantile is null exactly when
  // its rank ceil(p n) is among the diverged.
  const Case c{"",
               "paths = 1000\nsteps = 14\nlimit = 1e4",
               "kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }\nstart = 0.0",
               "scale = 1.0",
               "count = 1",
               dsgd + "eta = 3.0"};
  const Simulated run(c.text("float"));
  bool partly = false;
  for (std::size_t k = 0; k < run.curve.step.size(); ++k) {
    partly = partly || (run.curve.finite[k] > 100 && run.curve.finite[k] < 900);
    for (std::size_t q = 0; q < curve_quantiles.size(); ++q)
      EXPECT_EQ(std::isnan(run.curve.quantiles[q][k]),
                static_cast<double>(run.curve.finite[k]) < curve_quantiles[q] * 1000.0 - 1e-9);
  }
  EXPECT_TRUE(partly);
}

TEST(Rest, TheOriginWithoutNoiseStaysPutUnderEveryMethod) {
  // sign(0) = 0.
  for (const char* precision : precisions) {
    for (const std::string kind :
         {"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 2.0 }\n#\"", "quartic\"\n#\"", "cosh\"\n#\"",
          "sine_pl\"\n#\"", "saddle\"\neigenvalues = [-1.0, 1.0, 2.0]\nlam = 1.0\n#\""}) {
      for (const std::string method : {"method = \"dsgd\"", "method = \"dsignsgd\"",
                                       "method = \"dcsgd\"\ncompressor = { kind = \"rand_k\", k = 2 }"}) {
        const Case c{"",          "paths = 40\nsteps = 5", "kind = \"" + kind + "\ndim = 3\nstart = 0.0", "scale = 0.0",
                     "count = 2", method + "\neta = 0.1"};
        SCOPED_TRACE(c.text(precision));
        const Simulated run(c.text(precision));
        for (std::size_t k = 0; k < run.curve.step.size(); ++k) {
          EXPECT_EQ(run.curve.min[k], run.curve.min[0]);
          EXPECT_EQ(run.curve.max[k], run.curve.min[0]);
          EXPECT_EQ(run.curve.grad_norm[k], 0.0);
          if (kind.starts_with("saddle")) continue;
          EXPECT_EQ(run.curve.max[k], 0.0);
        }
      }
    }
  }
}

TEST(Rest, SignStepsWithoutNoiseWalkToTheOriginAndStop) {
  const Case c{"",
               "paths = 3\nsteps = 12",
               "kind = \"cosh\"\ndim = 2\nstart = [1.0, -0.5]",
               "scale = 0.0",
               "count = 4",
               "method = \"dsignsgd\"\neta = 0.125"};
  const Simulated run(c.text("double"));
  for (std::size_t k = 0; k <= 12; ++k) {
    const double a = std::max(0.0, 1.0 - 0.125 * static_cast<double>(k)),
                 b = std::max(0.0, 0.5 - 0.125 * static_cast<double>(k));
    EXPECT_NEAR(run.curve.mean[k], std::cosh(a) + std::cosh(b) - 2.0, 1e-15) << k;
  }
}

// ---------------------------------------------------------------- gradients and S of every objective

struct Traced {
  Values x;
  double s = 0.0, grad_norm = 0.0;
};

/// The path without noise, in double, at every step.
std::vector<Traced> descent(const Experiment& experiment, const Objective& objective, Isa isa = best_isa()) {
  const CurveSpec<double> spec(experiment, experiment.curves.front(), objective);
  std::vector<Traced> path;
  const auto d = static_cast<std::size_t>(objective.config().dim);
  trace_cpu<double>(spec.spec, 0, isa, [&](std::uint64_t, const double* x, double s, double norm, bool) {
    path.push_back({Values(x, x + d), s, norm});
  });
  return path;
}

const std::vector<std::string>& objectives() {
  static const std::vector<std::string> list = {
      "kind = \"quadratic\"\ndim = 5\nspectrum = { kind = \"geometric\", min = 0.01, max = 3.0 }",
      "kind = \"quartic\"\ndim = 5",
      "kind = \"cosh\"\ndim = 5",
      "kind = \"sine_pl\"\ndim = 5",
      "kind = \"saddle\"\ndim = 5\neigenvalues = [-1.0, 2.0, -0.3, 1.0, 0.5]\nlam = 0.7",
      "kind = \"least_squares\"\ndim = 5\nrows = 40\ncondition = 100.0",
      "kind = \"least_squares\"\ndim = 5\nrows = 17\nrank = 3\ndata_seed = 2",  // rank-deficient
      "kind = \"least_squares\"\ndim = 5\nrows = 3\ndata_seed = 3",             // more unknowns than rows
      "kind = \"logistic\"\ndim = 5\nrows = 50\nlam = 0.01",
      "kind = \"logistic\"\ndim = 5\nrows = 9\nlam = 1.0\ndata_seed = 7",
  };
  return list;
}

std::string noiseless(const std::string& objective, double eta) {
  return "precision = \"double\"\npaths = 1\nsteps = 1\n[objective]\n" + objective +
         "\n[noise]\nscale = 0.0\n[[curve]]\nname = \"c\"\nmethod = \"dsgd\"\neta = " + std::to_string(eta) + "\n";
}

double largest(const Values& v) {
  double m = 0.0;
  for (const double x : v) m = std::max(m, std::abs(x));
  return m;
}

std::vector<Values> starts() {
  return {{1.0, 1.0, 1.0, 1.0, 1.0},
          {-0.5, 2.0, 0.01, -3.0, 0.7},
          {1e-3, -1e-3, 2e-3, 0.0, 1e-3},
          {4.0, -4.0, 3.0, 2.5, -1.0}};
}

TEST(Gradient, OneNoiselessStepIsGradientDescent) {
  for (const std::string& text : objectives()) {
    for (const Values& start : starts()) {
      for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
        if (!isa_available(isa)) continue;
        SCOPED_TRACE(text);
        const Experiment experiment = parse_experiment(noiseless(text, 1.0), "test.toml");
        const Objective objective(Simulated::with_start(experiment.objective, start));
        const auto path = descent(experiment, objective, isa);
        ASSERT_EQ(path.size(), 2u);
        const Values g = objective.gradient(start);
        double norm = 0.0;
        for (std::size_t j = 0; j < 5; ++j) {
          // To 1e-12 of the largest number that enters the coordinate.
          EXPECT_NEAR(path[1].x[j], start[j] - g[j], 1e-12 * std::max(largest(start), largest(g)));
          norm += g[j] * g[j];
        }
        EXPECT_NEAR(path[0].grad_norm, std::sqrt(norm), 1e-12 * std::sqrt(norm) + 1e-15 * largest(start));
      }
    }
  }
}

TEST(Suboptimality, OfLogisticSurvivesMislabelledOutliers) {
  // One coordinate; the last row lies far on the wrong side, so its margin at x* is strongly negative.
  for (const double outlier : {10.0, 25.0, 33.0, 40.0, 60.0, 100.0, 400.0}) {
    const std::string file = "/tmp/pathbound_outlier_" + std::to_string(::getpid()) + ".csv";
    std::ofstream data(file);
    const std::vector<std::pair<double, int>> rows = {{1.0, 1}, {-1.0, -1}, {2.0, 1}, {-0.5, -1}, {3.0, 1}, {-2.0, -1}};
    for (int copy = 0; copy < 200; ++copy)
      for (const auto& [a, y] : rows) data << a << "," << y << "\n";
    data << outlier << ",-1\n";
    data.close();
    const Experiment experiment = parse_experiment(
        noiseless("kind = \"logistic\"\ndim = 1\nlam = 0.01\nfile = \"" + file + "\"", 0.1), "test.toml");
    const Objective objective(experiment.objective);
    const auto value = [&](long double x) {
      const auto loss = [&](long double m) { return std::max(-m, 0.0L) + std::log1p(std::exp(-std::fabs(m))); };
      long double sum = loss(-outlier * x);
      for (const auto& [a, y] : rows) sum += 200.0L * loss(y * a * x);
      return sum / 1201.0L + 0.005L * x * x;
    };
    const double x_star = objective.x_star()[0];
    for (const double x : {0.0, x_star + 0.5, x_star - 0.5, x_star + 3.0, 2.0 * x_star, -1.0}) {
      const Objective there(Simulated::with_start(experiment.objective, {x}));
      const auto exact = static_cast<double>(value(x) - value(x_star));
      EXPECT_NEAR(descent(experiment, there)[0].s, exact, 1e-12 * exact) << outlier << " " << x;
      EXPECT_NEAR(there.suboptimality({x}), exact, 1e-12 * exact) << outlier << " " << x;
    }
    std::remove(file.c_str());
  }
}

TEST(Suboptimality, EqualsThatOfTheHostFarFromAndNearTheOptimum) {
  for (const std::string& text : objectives()) {
    SCOPED_TRACE(text);
    const Experiment experiment = parse_experiment(noiseless(text, 1.0), "test.toml");
    Values optimum = Objective(experiment.objective).x_star();
    optimum.resize(5, 0.0);  // separable objectives: 0 but for the wells of the saddle
    if (experiment.objective.kind == ObjectiveKind::saddle)
      for (std::size_t j = 0; j < 5; ++j)
        optimum[j] =
            experiment.objective.eigenvalues[j] < 0.0 ? std::sqrt(-experiment.objective.eigenvalues[j] / 0.7) : 0.0;
    for (const Values& direction : starts()) {
      for (const double size : {1.0, 1e-3, 1e-6}) {
        Values x = optimum;
        for (std::size_t j = 0; j < 5; ++j) x[j] += size * direction[j];
        const Objective objective(Simulated::with_start(experiment.objective, x));
        const double s = descent(experiment, objective)[0].s, host = objective.suboptimality(x);
        EXPECT_GE(s, 0.0);
        // The wells of the saddle are not at representable numbers: x^2 + h/lam cancels to eps.
        const double slack = experiment.objective.kind == ObjectiveKind::saddle ? 1e-15 * size + 1e-29 : 0.0;
        EXPECT_NEAR(s, host, 1e-12 * host + slack) << size;
        EXPECT_LT(size < 1.0 ? s : 0.0, 1e3 * size * size);
      }
    }
  }
}

TEST(Suboptimality, IsFMinusFStarInExtendedPrecision) {
  // The subtraction itself, where it still has digits: 64-bit mantissas, S from 1e-6 on.
  for (const std::string text :
       {"kind = \"logistic\"\ndim = 5\nrows = 50\nlam = 0.01", "kind = \"logistic\"\ndim = 5\nrows = 9\nlam = 1.0"}) {
    const Experiment experiment = parse_experiment(noiseless(text, 1.0), "test.toml");
    const Objective at_optimum(experiment.objective);
    const auto spec = at_optimum.spec<double>();
    const auto f = [&](const Values& x) {
      long double sum = 0.0L, square = 0.0L;
      for (int r = 0; r < spec.n_rows; ++r) {
        long double margin = 0.0L;
        for (std::size_t j = 0; j < 5; ++j)
          margin += static_cast<long double>(spec.rows_double[static_cast<std::size_t>(r) * 5 + j]) * x[j];
        sum += std::log1p(std::exp(-margin));
      }
      for (const double v : x) square += static_cast<long double>(v) * v;
      return sum / spec.n_rows + 0.5L * static_cast<long double>(spec.lam) * square;
    };
    for (const double size : {10.0, 1.0, 1e-2}) {
      for (const Values& direction : starts()) {
        Values x = at_optimum.x_star();
        for (std::size_t j = 0; j < 5; ++j) x[j] += size * direction[j];
        const Objective objective(Simulated::with_start(experiment.objective, x));
        const auto naive = static_cast<double>(f(x) - f(at_optimum.x_star()));
        EXPECT_NEAR(descent(experiment, objective)[0].s, naive, 1e-11 * naive + 2e-18) << size;
      }
    }
  }
}

TEST(Suboptimality, OfLeastSquaresIgnoresTheNullSpaceAndDescentKeepsIt) {
  // rank 3 of 5: S is |A(x - x*)|^2/(2n), the gradient lies in the range of A^T A, so what starts in the null space
  // stays.
  const std::string text =
      "kind = \"least_squares\"\ndim = 5\nrows = 17\nrank = 3\ndata_seed = 2\nstart = [3.0, -1.0, 2.0, 0.5, 1.0]";
  Experiment experiment = parse_experiment(noiseless(text, 0.5), "test.toml");
  experiment.curves[0].steps = 2000;
  experiment.curves[0].checkpoint_steps = {0, 500, 1000, 2000};
  const Objective objective(experiment.objective);
  const auto spec = objective.spec<double>();
  experiment.curves[0].eta = 1.0 / *objective.constants().L.value;
  const auto path = descent(experiment, objective);
  EXPECT_GT(path[0].s, 1e-3);
  EXPECT_LT(path[3].s, 1e-25);  // PL: linear convergence although A^T A is singular
  double left = 0.0;
  for (std::size_t j = 0; j < 5; ++j) left += std::pow(path[3].x[j] - objective.x_star()[j], 2.0);
  EXPECT_GT(left, 1e-3);  // another minimiser than x*
  for (int r = 0; r < spec.n_rows; ++r) {
    double residual = 0.0;
    for (std::size_t j = 0; j < 5; ++j)
      residual += spec.rows_double[static_cast<std::size_t>(r) * 5 + j] * (path[3].x[j] - objective.x_star()[j]);
    EXPECT_NEAR(residual, 0.0, 1e-11);
  }
}

}  // namespace
}  // namespace pathbound
