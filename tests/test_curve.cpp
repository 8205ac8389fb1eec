// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "host/laws.hpp"
#include "tests/host_fixtures.hpp"

namespace pathbound {
namespace {

using namespace fixtures;

Record record_of(const std::vector<double>& sample) {
  Record all;
  for (const double s : sample) {
    Record one;
    one.finite = 1;
    one.sum = one.min = one.max = s;
    one.grad_norm_sum = 2.0 * s;
    one.max_grad = one.max_grad_so_far = s;
    merge(all, one);
  }
  return all;
}

/// A result with these samples of S, one a checkpoint, and `groups` group means.
SimResult result_of(const std::vector<std::vector<double>>& samples, std::size_t groups = 64) {
  SimResult result;
  for (const auto& sample : samples) {
    result.records.push_back(record_of(sample));
    for (auto& q : result.quantiles) q.push_back(sample.empty() ? std::nan("") : sample.front());
    std::vector<double> means(groups, 0.0);
    const std::size_t size = sample.size() / groups;
    for (std::size_t g = 0; g < groups; ++g) {
      for (std::size_t i = 0; i < size; ++i) means[g] += sample[g * size + i] / static_cast<double>(size);
    }
    result.group_means.push_back(means);
  }
  return result;
}

TEST(Curve, StatisticsAreThoseOfTheSample) {
  auto config = method(MethodKind::dsgd, 0.1, 1, 1.0, 2);
  config.paths = 4;
  const Objective objective(quadratic({1.0}));
  const auto curve = make_curve(config, objective, result_of({{1, 1, 1, 1}, {1, 2, 3, 6}, {2, 2, 4, 4}}, 1), 0.9);
  EXPECT_EQ(curve.mean, (std::vector<double>{1.0, 3.0, 3.0}));
  EXPECT_DOUBLE_EQ(curve.variance[1], 14.0 / 3.0);
  EXPECT_DOUBLE_EQ(curve.standard_error[1], std::sqrt(14.0 / 12.0));
  // m3 = (-2)^3 + (-1)^3 + 0 + 3^3 = 18: skew = (18/4)/(14/4)^1.5
  EXPECT_DOUBLE_EQ(curve.skew[1], 4.5 / std::pow(3.5, 1.5));
  EXPECT_EQ(curve.skew[0], 0.0);
  EXPECT_EQ(curve.grad_norm[1], 6.0);
  EXPECT_EQ(curve.min[1], 1.0);
  EXPECT_EQ(curve.max[1], 6.0);
  EXPECT_EQ(curve.max_grad_so_far[1], 6.0);
  // Bonferroni over 3 records, two-sided: quantile 1 - 0.1/6 with 3 degrees of freedom.
  const double t = boost::math::quantile(boost::math::students_t(3.0), 1.0 - 0.1 / 6.0);
  EXPECT_EQ(curve.band, Band::bonferroni_t);
  EXPECT_NEAR(curve.upper[1], 3.0 + t * curve.standard_error[1], 1e-12);
  EXPECT_NEAR(curve.lower[1], 3.0 - t * curve.standard_error[1], 1e-12);
  EXPECT_LT(curve.lower[1], 0.0);  // not clipped
  EXPECT_EQ(curve.lower[0], 1.0);
  EXPECT_EQ(curve.upper[0], 1.0);
  EXPECT_EQ(curve.mean_is, MeanIs::expectation);
  EXPECT_TRUE(curve.notes.empty());
}

TEST(Curve, TimeIsTheSumOfPrescribedSteps) {
  auto config = method(MethodKind::dsgd, 0.3, 1, 1.0, 6, 3);
  const Objective objective(quadratic({1.0}));
  const auto result = result_of({{1, 1}, {1, 2}, {1, 2}}, 1);
  config.paths = 2;
  EXPECT_EQ(make_curve(config, objective, result).time, (std::vector<double>{0.0, 3 * 0.3, 6 * 0.3}));
  config.schedule = {ScheduleKind::polynomial, 2.0, 1.5};
  const auto time = make_curve(config, objective, result).time;
  double expected = 0.0;
  for (int k = 0; k < 6; ++k) expected += 0.3 * std::pow(1.0 + k / 2.0, -1.5);
  EXPECT_EQ(time[0], 0.0);
  EXPECT_NEAR(time[1], 0.3 * (1.0 + std::pow(1.5, -1.5) + std::pow(2.0, -1.5)), 1e-15);
  EXPECT_NEAR(time[2], expected, 1e-15);
  config.schedule = {ScheduleKind::polynomial, 1.0, 0.5};  // eta/sqrt(k + 1)
  EXPECT_NEAR(make_curve(config, objective, result).time[1], 0.3 * (1.0 + 1.0 / std::sqrt(2.0) + 1.0 / std::sqrt(3.0)),
              1e-15);
}

TEST(Curve, SimultaneousBandCoversAllMeansAsOftenAsItSays) {
  // 90% band over 5 checkpoints, 40 paths, true mean 1: at most 10% of 2000 repetitions may miss it, plus 4 standard
  // deviations (0.027). Independent checkpoints make Bonferroni nearly exact: at least 7% miss too.
  std::mt19937_64 engine(11);
  std::normal_distribution<double> normal(1.0, 0.5);
  auto config = method(MethodKind::dsgd, 0.1, 1, 1.0, 5);
  config.checkpoint_steps = {1, 2, 3, 4, 5};
  config.paths = 40;
  const Objective objective(quadratic({1.0}));
  int missed = 0;
  for (int i = 0; i < 2000; ++i) {
    std::vector<std::vector<double>> samples(5, std::vector<double>(40));
    for (auto& sample : samples) {
      for (double& s : sample) s = normal(engine);
    }
    const auto curve = make_curve(config, objective, result_of(samples, 1), 0.9);
    bool covered = true;
    for (std::size_t c = 0; c < 5; ++c) covered = covered && curve.lower[c] <= 1.0 && 1.0 <= curve.upper[c];
    missed += covered ? 0 : 1;
  }
  EXPECT_LT(missed, 2000 * 0.127);
  EXPECT_GT(missed, 2000 * 0.07);
}

TEST(Curve, InfiniteVarianceGetsAMedianOfMeansBandAndNoStandardError) {
  auto config = method(MethodKind::dsgd, 0.1, 1, 1.0, 1);
  config.noise = {{LawKind::student_t, 3.0}, 1.0, 0.0};
  config.paths = 640;
  const Objective objective(quadratic({1.0}));
  std::vector<double> sample(640);
  for (std::size_t i = 0; i < 640; ++i) sample[i] = static_cast<double>(i / 10);  // group means 0..63
  const auto curve = make_curve(config, objective, result_of({std::vector<double>(640, 0.5), sample}), 0.98);
  EXPECT_EQ(curve.band, Band::median_of_means);
  EXPECT_EQ(curve.mean_is, MeanIs::expectation);
  EXPECT_TRUE(curve.variance_doubtful);
  EXPECT_TRUE(std::isnan(curve.standard_error[1]) && std::isnan(curve.variance[1]) && std::isnan(curve.skew[1]));
  EXPECT_EQ(curve.standard_error[0], 0.0);  // the start is deterministic
  EXPECT_DOUBLE_EQ(curve.mean[1], 31.5);
  // Level 0.01 a checkpoint: P(Bin(64, 1/2) <= 21) = 0.0041 <= 0.005 < P(<= 22) = 0.0085, so the 22nd from either end.
  EXPECT_NEAR(curve.lower[1], 21.0, 1e-12);
  EXPECT_NEAR(curve.upper[1], 42.0, 1e-12);
  EXPECT_NEAR(curve.lower[0], 0.5, 1e-15);
  EXPECT_NEAR(curve.upper[0], 0.5, 1e-15);
}

TEST(Curve, TooFewGroupsGiveNoBand) {
  auto config = method(MethodKind::dsgd, 0.1, 1, 1.0, 1);
  config.noise = {{LawKind::student_t, 3.0}, 1.0, 0.0};
  config.paths = 4;
  const auto curve = make_curve(config, Objective(quadratic({1.0})), result_of({{1, 1, 1, 1}, {1, 2, 3, 4}}, 4));
  EXPECT_EQ(curve.band, Band::none);
  EXPECT_TRUE(std::isnan(curve.lower[1]) && std::isnan(curve.upper[1]));
  EXPECT_EQ(curve.mean[1], 2.5);
}

TEST(Curve, GroupsWithDivergedPathsCountAsTheLargest) {
  auto config = method(MethodKind::dsgd, 0.1, 1, 1.0, 1);
  config.noise = {{LawKind::student_t, 3.0}, 1.0, 0.0};
  config.paths = 64;
  std::vector<double> sample(64);
  for (std::size_t i = 0; i < 64; ++i) sample[i] = static_cast<double>(i);
  auto result = result_of({sample});
  config.checkpoint_steps = {1};
  for (std::size_t g = 0; g < 30; ++g) result.group_means[0][g] = std::nan("");
  const auto curve = make_curve(config, Objective(quadratic({1.0})), result, 0.99);
  EXPECT_EQ(curve.lower[0], 30.0 + 21.0);
  EXPECT_TRUE(std::isnan(curve.upper[0]));
}

TEST(Curve, MeansThatDoNotExistAreNaNAfterTheStartWhileQuantilesStay) {
  auto config = method(MethodKind::dsgd, 0.1, 1, 1.0, 1);
  config.noise = {{LawKind::student_t, 1.5}, 1.0, 0.0};
  config.paths = 4;
  const auto curve = make_curve(config, Objective(quadratic({1.0})), result_of({{1, 1, 1, 1}, {1, 2, 3, 6}}, 1));
  EXPECT_EQ(curve.band, Band::none);
  EXPECT_EQ(curve.mean_is, MeanIs::does_not_exist);
  EXPECT_EQ(curve.mean[0], 1.0);
  EXPECT_EQ(curve.upper[0], 1.0);
  EXPECT_TRUE(std::isnan(curve.mean[1]) && std::isnan(curve.standard_error[1]) && std::isnan(curve.lower[1]));
  EXPECT_EQ(curve.quantiles[2][1], 1.0);
  EXPECT_EQ(curve.max[1], 6.0);
  EXPECT_EQ(curve.grad_norm[1], 6.0);  // E|grad f| exists for nu > 1
  ASSERT_FALSE(curve.notes.empty());
  EXPECT_NE(curve.notes[0].find("nu = 1.5"), std::string::npos);
  config.noise.law.nu = 1.0;
  EXPECT_TRUE(std::isnan(make_curve(config, Objective(quadratic({1.0})), result_of({{1, 1}, {1, 2}}, 1)).grad_norm[1]));
}

TEST(Curve, DivergedPathsMakeTheMeanRestrictedAndAreCounted) {
  auto config = method(MethodKind::dsgd, 0.1, 1, 1.0, 2);
  config.paths = 4;
  const auto curve = make_curve(config, Objective(quadratic({1.0})), result_of({{1, 1, 1, 1}, {1, 2, 3}, {}}, 1));
  EXPECT_EQ(curve.finite, (std::vector<std::uint64_t>{4, 3, 0}));
  EXPECT_EQ(curve.mean_is, MeanIs::restricted);
  EXPECT_EQ(curve.mean[1], 2.0);
  EXPECT_TRUE(std::isnan(curve.mean[2]) && std::isnan(curve.min[2]) && std::isnan(curve.regime[2]));
  ASSERT_EQ(curve.notes.size(), 2u);
  EXPECT_EQ(curve.notes[0], "4 of 4 paths diverged, the first by step 1");
}

TEST(Curve, RegimeIsTheSlopeOfXiRelativeToItsLinearPart) {
  auto config = method(MethodKind::dsignsgd, 0.1, 2, 1.0, 1, 1, 4.0);
  config.noise.law.kind = LawKind::student_t;
  config.noise.law.nu = 1.0;
  config.workers.scale = {1.0, 3.0};
  config.paths = 2;
  const Objective objective(quadratic({1.0}));
  const auto result = result_of({{0.5, 0.5}, {0.1, 2.0}}, 1);
  // Y = 2 * sqrt 4 / 1 = 4: (2/pi) atan 4 / ((2/pi) 4); at step 0 Y = 1.
  const auto curve = make_curve(config, objective, result);
  EXPECT_NEAR(curve.regime[1], std::atan(4.0) / 4.0, 1e-15);
  EXPECT_NEAR(curve.regime[0], std::atan(1.0), 1e-15);
  config.workers.scale[1] = 0.0;
  EXPECT_TRUE(std::isnan(make_curve(config, objective, result).regime[1]));
}

TEST(Curve, ExtremesOfThePlQuotientSkipRecordsWithoutOne) {
  auto config = method(MethodKind::dsgd, 0.1, 1, 1.0, 2);
  config.paths = 2;
  auto result = result_of({{1, 1}, {1, 2}, {0, 0}}, 1);
  result.records[0].pl_min = result.records[0].pl_max = 1.5;
  result.records[1].pl_min = 0.5;
  result.records[1].pl_max = 2.5;
  const auto curve = make_curve(config, Objective(quadratic({1.0})), result);
  EXPECT_EQ(curve.pl_min, 0.5);
  EXPECT_EQ(curve.pl_max, 2.5);
}

// ---- O9: which moments exist

MomentReport moments(const CurveConfig& config, const ObjectiveConfig& objective) {
  return moments_of(config, Objective(objective));
}

TEST(Moments, SignStepsHaveAllOfThem) {
  auto config = method(MethodKind::dsignsgd, 0.1, 1, 1.0);
  config.noise = {{LawKind::student_t, 0.5}, 1.0, 0.0};
  for (const auto& objective :
       {quadratic({1.0}), simple(ObjectiveKind::quartic, {1.0}), simple(ObjectiveKind::cosh, {1.0})}) {
    const auto m = moments(config, objective);
    EXPECT_TRUE(m.mean_exists && m.variance_exists && m.reason.empty());
    EXPECT_EQ(m.mean_is, MeanIs::expectation);
  }
}

TEST(Moments, StudentNoiseOnQuadraticGrowthNeedsTwoAndFourDegrees) {
  auto config = method(MethodKind::dsgd, 0.01, 1, 1.0);
  for (const LawKind law : {LawKind::student_t, LawKind::multivariate_t}) {
    config.noise.law.kind = law;
    for (const auto& objective : {quadratic({1.0, 2.0}), simple(ObjectiveKind::sine_pl, {1.0})}) {
      for (const auto& [nu, mean, variance] : {std::tuple{1.0, false, false},
                                               {2.0, false, false},
                                               {2.01, true, false},
                                               {4.0, true, false},
                                               {4.01, true, true}}) {
        config.noise.law.nu = nu;
        const auto m = moments(config, objective);
        EXPECT_EQ(m.mean_exists, mean) << nu;
        EXPECT_EQ(m.variance_exists, variance) << nu;
        EXPECT_EQ(m.mean_is, mean ? MeanIs::expectation : MeanIs::does_not_exist);
        EXPECT_EQ(m.reason.empty(), variance);
      }
    }
  }
  config.noise.law.nu = 1.0;
  config.workers.scale = {0.0};  // no noise
  EXPECT_TRUE(moments(config, quadratic({1.0})).variance_exists);
  config.noise.affine = 0.1;  // affine noise alone is noise
  EXPECT_FALSE(moments(config, quadratic({1.0})).mean_exists);
}

TEST(Moments, SuperQuadraticObjectivesGiveRestrictedMeansOrNone) {
  auto saddle = quadratic({-1.0});
  saddle.kind = ObjectiveKind::saddle;
  saddle.lam = 1.0;
  for (const auto& objective : {simple(ObjectiveKind::quartic, {1.0}), simple(ObjectiveKind::cosh, {1.0}), saddle}) {
    auto config = method(MethodKind::dsgd, 0.01, 1, 1.0);
    auto m = moments(config, objective);
    EXPECT_EQ(m.mean_is, MeanIs::restricted);
    EXPECT_TRUE(m.mean_exists && m.variance_exists);
    EXPECT_NE(m.reason.find("E[S_k | not diverged by k]"), std::string::npos);
    config.noise.law.kind = LawKind::student_t;
    config.noise.law.nu = 30.0;
    EXPECT_EQ(moments(config, objective).mean_is, MeanIs::does_not_exist);
    config = method(MethodKind::dsgd, 0.01, 1, 0.0);
    EXPECT_EQ(moments(config, objective).mean_is, MeanIs::expectation);
  }
}

/// E(1 - z C)^4 for C = the mean of N independent Bernoulli(p)/p, by enumeration of the binomial.
double fourth_by_enumeration(double z, int n, double p) {
  double sum = 0.0;
  for (int k = 0; k <= n; ++k) {
    const double weight = std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0)) *
                          std::pow(p, k) * std::pow(1.0 - p, n - k);
    sum += weight * std::pow(1.0 - z * k / (n * p), 4.0);
  }
  return sum;
}

TEST(Moments, CompressedQuadraticIsDoubtfulExactlyWhereTheFourthMomentGrows) {
  int doubtful = 0;
  for (const int n : {1, 2, 5}) {
    for (const double p : {0.05, 0.3, 0.75}) {
      for (const double eta : {0.01, 0.1, 0.5, 1.0, 1.6}) {
        auto config = method(MethodKind::dcsgd, eta, n, 1.0);
        config.compressor = {CompressorKind::bernoulli, 0, p};
        const double factor = std::max(fourth_by_enumeration(eta * 0.5, n, p), fourth_by_enumeration(eta, n, p));
        const auto m = moments(config, quadratic({0.5, 1.0}));
        EXPECT_EQ(m.variance_exists, factor <= 1.0) << n << " " << p << " " << eta << " " << factor;
        EXPECT_TRUE(m.mean_exists);
        doubtful += m.variance_exists ? 0 : 1;
      }
    }
  }
  EXPECT_GT(doubtful, 5);
  auto config = method(MethodKind::dcsgd, 1.0, 2, 1.0);
  config.compressor = {CompressorKind::bernoulli, 0, 0.05};
  char number[32];
  std::snprintf(number, sizeof number, "%.6g", fourth_by_enumeration(1.0, 2, 0.05));
  EXPECT_NE(moments(config, quadratic({1.0})).reason.find(number), std::string::npos) << number;
  // rand_k has the same marginals: k = 1 of 20.
  auto rand_k = method(MethodKind::dcsgd, 1.0, 2, 1.0);
  set_rand_k(rand_k, 1);
  EXPECT_NE(moments(rand_k, quadratic(std::vector<double>(20, 1.0))).reason.find(number), std::string::npos);
}

TEST(Moments, AffineNoiseInOneDimensionIsJudgedByTheExactFourthMoment) {
  // u = 1 + rho zeta, Gaussian: E(1 - z u)^4 = a^4 + 6 a^2 z^2 rho^2 + 3 z^4 rho^4, a = 1 - z.
  for (const double rho : {0.5, 2.0, 5.0}) {
    for (const double z : {0.01, 0.05, 0.2, 0.5, 1.0}) {
      auto config = method(MethodKind::dsgd, z, 1, 1.0);
      config.noise.affine = rho;
      const double a = 1.0 - z, q = z * rho;
      const double factor = std::pow(a, 4.0) + 6.0 * a * a * q * q + 3.0 * std::pow(q, 4.0);
      EXPECT_EQ(moments(config, quadratic({1.0})).variance_exists, factor <= 1.0) << rho << " " << z;
    }
  }
}

/// E S'^2 / S^2 of one noise-free step of bernoulli(p) DCSGD with one worker, by enumeration of the 2^d patterns.
double growth_by_enumeration(const Objective& f, const std::vector<double>& x, double eta, double p) {
  const auto g = f.gradient(x);
  const std::size_t d = x.size();
  double sum = 0.0;
  for (std::size_t pattern = 0; pattern < (std::size_t{1} << d); ++pattern) {
    auto next = x;
    double weight = 1.0;
    for (std::size_t j = 0; j < d; ++j) {
      const bool kept = (pattern >> j & 1) != 0;
      weight *= kept ? p : 1.0 - p;
      if (kept) next[j] -= eta * g[j] / p;
    }
    sum += weight * std::pow(f.suboptimality(next), 2.0);
  }
  return sum / std::pow(f.suboptimality(x), 2.0);
}

TEST(Moments, SmoothObjectivesAreTrustedOnlyWhereNoStepCanIncreaseTheSecondMoment) {
  auto least_squares = simple(ObjectiveKind::least_squares, {1.0, 1.0, 1.0});
  least_squares.rows = 10;
  auto logistic = simple(ObjectiveKind::logistic, {1.0, 1.0, 1.0});
  logistic.rows = 30;
  logistic.lam = 0.1;
  std::mt19937_64 engine(4);
  std::normal_distribution<double> normal(0.0, 2.0);
  int trusted = 0, doubted = 0;
  for (const auto& objective : {least_squares, logistic, simple(ObjectiveKind::sine_pl, {1.0, 1.0, 1.0})}) {
    const Objective f(objective);
    for (const double p : {0.2, 0.5, 0.9}) {
      for (const double z : {0.02, 0.1, 0.3, 0.6, 1.0, 1.9}) {
        auto config = method(MethodKind::dcsgd, z / *f.constants().L.value, 1, 1.0);
        config.compressor = {CompressorKind::bernoulli, 0, p};
        if (!moments_of(config, f).variance_exists) {
          ++doubted;
          continue;
        }
        ++trusted;
        for (int i = 0; i < 200; ++i) {
          std::vector<double> x = f.x_star();
          for (double& v : x) v += normal(engine);
          EXPECT_LE(growth_by_enumeration(f, x, config.eta, p), 1.0 + 1e-12);
        }
      }
    }
  }
  EXPECT_GT(trusted, 10);
  EXPECT_GT(doubted, 10);
}

TEST(Moments, AffineNoiseInManyDimensionsIsTrustedForSmallStepsOnly) {
  auto config = method(MethodKind::dcsgd, 0.01, 4, 1.0);
  config.noise.affine = 1.0;
  set_rand_k(config, 2);
  EXPECT_TRUE(moments(config, quadratic({0.2, 0.5, 1.0, 1.0})).variance_exists);
  config.eta = 5.0;
  const auto m = moments(config, quadratic({0.2, 0.5, 1.0, 1.0}));
  EXPECT_FALSE(m.variance_exists);
  EXPECT_NE(m.reason.find("affine"), std::string::npos);
}

TEST(Moments, BoundedStepsHaveAllOfThemWhateverTheLaw) {
  std::vector<CurveConfig> bounded;
  for (const MethodKind kind : {MethodKind::dsignsgd, MethodKind::dnsgd, MethodKind::clipped_dsgd, MethodKind::adam})
    bounded.push_back(method(kind, 0.1, 2, 1.0));
  auto stochastic = method(MethodKind::dsgd, 0.1, 2, 1.0);
  stochastic.adaptive.stochastic = true;
  stochastic.adaptive.kind = AdaptiveKind::gradient_norm;
  bounded.push_back(stochastic);  // q = 1
  stochastic.adaptive.kind = AdaptiveKind::l0l1;
  stochastic.adaptive.L1 = 1.0;
  bounded.push_back(stochastic);
  for (auto config : bounded) {
    for (const double alpha : {0.3, 1.0, 1.9}) {
      config.noise.law = {LawKind::alpha_stable, 0.0, alpha};
      config.noise.affine = 0.5;
      for (const auto& objective :
           {quadratic({1.0}), simple(ObjectiveKind::quartic, {1.0}), simple(ObjectiveKind::cosh, {1.0})}) {
        const auto m = moments(config, objective);
        EXPECT_TRUE(m.mean_exists && m.variance_exists && m.reason.empty()) << static_cast<int>(config.method);
        EXPECT_EQ(m.mean_is, MeanIs::expectation);
      }
    }
  }
  // Without v, Adam's m is divided by nothing but the last gradient.
  auto adam = method(MethodKind::adam, 0.1, 1, 1.0);
  adam.beta2 = 0.0;
  adam.noise.law = {LawKind::alpha_stable, 0.0, 1.0};
  EXPECT_FALSE(moments(adam, quadratic({1.0})).mean_exists);
}

TEST(Moments, TheOrderOfALawsTailDecidesOnQuadraticGrowth) {
  for (const MethodKind kind : {MethodKind::dsgd, MethodKind::heavy_ball}) {
    auto config = method(kind, 0.01, 1, 1.0);
    const auto check = [&](const LawSpec& law, bool mean, bool variance) {
      config.noise.law = law;
      const auto m = moments(config, quadratic({1.0, 2.0}));
      EXPECT_EQ(m.mean_exists, mean) << law_words(law);
      EXPECT_EQ(m.variance_exists, variance) << law_words(law);
      EXPECT_EQ(m.reason.find(law_words(law)) != std::string::npos, !variance) << m.reason;
    };
    check({LawKind::alpha_stable, 0.0, 0.7}, false, false);
    check({LawKind::alpha_stable, 0.0, 1.99}, false, false);
    check({LawKind::alpha_stable, 0.0, 2.0}, true, true);
    check({LawKind::student_t, 3.0}, true, false);
    check({LawKind::laplace}, true, true);
    check({LawKind::logistic}, true, true);
    check({LawKind::contaminated_gaussian, 0.0, 0.0, 0.1, 100.0}, true, true);
  }
  // Faster growth without a factor that tames it: as for Gaussian noise, or nothing.
  for (const ObjectiveKind kind : {ObjectiveKind::quartic, ObjectiveKind::cosh}) {
    auto config = method(MethodKind::dsgd, 0.01, 1, 1.0);
    config.noise.law = {LawKind::laplace};
    const auto m = moments(config, simple(kind, {1.0}));
    EXPECT_EQ(m.mean_is, MeanIs::restricted);
    EXPECT_NE(m.reason.find("Laplace noise is unbounded"), std::string::npos) << m.reason;
    config.noise.law = {LawKind::alpha_stable, 0.0, 1.5};
    EXPECT_EQ(moments(config, simple(kind, {1.0})).mean_is, MeanIs::does_not_exist);
  }
}

/// The moments of DSGD with an adaptive factor and Student-t noise, as two letters: mean, variance; r: restricted.
std::string tamed(const AdaptiveConfig& adaptive, ObjectiveKind kind, double nu, MethodKind by = MethodKind::dsgd,
                  double affine = 0.0) {
  auto config = method(by, 0.01, 1, 1.0);
  config.adaptive = adaptive;
  config.noise.affine = affine;
  if (nu > 0.0) config.noise.law = {LawKind::student_t, nu};
  auto objective = simple(kind, {1.0, 2.0});
  if (kind == ObjectiveKind::quadratic) objective = quadratic({1.0, 2.0});
  if (kind == ObjectiveKind::saddle) {
    objective.eigenvalues = {-1.0, 1.0};
    objective.lam = 1.0;
  }
  const auto m = moments(config, objective);
  if (m.mean_is == MeanIs::restricted) return "r";
  return std::string(m.mean_exists ? "m" : "-") + (m.variance_exists ? "v" : "-");
}

TEST(Moments, FactorsThatTameTheDriftLeaveThePolynomialMomentsOfTheNoise) {
  AdaptiveConfig l0l1, hessian, norm;
  l0l1.kind = AdaptiveKind::l0l1;
  hessian.kind = AdaptiveKind::hessian_norm;
  norm.kind = AdaptiveKind::gradient_norm;
  for (const ObjectiveKind kind : {ObjectiveKind::quartic, ObjectiveKind::saddle}) {
    auto with_l0l1 = l0l1;
    with_l0l1.L0 = 4.0;
    with_l0l1.L1 = 1.0;
    for (const auto& adaptive : {with_l0l1, norm, hessian}) {
      EXPECT_EQ(tamed(adaptive, kind, 4.0), "--");
      EXPECT_EQ(tamed(adaptive, kind, 4.1), "m-");
      EXPECT_EQ(tamed(adaptive, kind, 8.0), "m-");
      EXPECT_EQ(tamed(adaptive, kind, 8.1), "mv");
      EXPECT_EQ(tamed(adaptive, kind, 0.0), "mv");
      EXPECT_EQ(tamed(adaptive, kind, 0.0, MethodKind::heavy_ball), "r");
    }
    // |grad f|^(1-q) grows like |x|^(3 (1 - q)).
    for (const auto& [q, gaussian, t] : {std::tuple{0.5, "r", "--"}, {0.66, "r", "--"}, {0.67, "mv", "mv"}}) {
      norm.q = q;
      EXPECT_EQ(tamed(norm, kind, 0.0), gaussian) << q;
      EXPECT_EQ(tamed(norm, kind, 30.0), t) << q;
    }
    norm.q = 1.0;
    // Affine noise: bounded with the gradient's norm in the factor, multiplicative with the Hessian's.
    EXPECT_EQ(tamed(norm, kind, 0.0, MethodKind::dsgd, 0.5), "mv");
    EXPECT_EQ(tamed(hessian, kind, 0.0, MethodKind::dsgd, 0.5), "m-");
  }
  // On quadratics a factor does not change the first step's tail; the stochastic one does: |gbar|^(1 - q).
  EXPECT_EQ(tamed(norm, ObjectiveKind::quadratic, 2.0), "--");
  EXPECT_EQ(tamed(norm, ObjectiveKind::quadratic, 3.0), "m-");
  norm.q = 0.5;
  norm.stochastic = true;
  EXPECT_EQ(tamed(norm, ObjectiveKind::quadratic, 1.0), "--");
  EXPECT_EQ(tamed(norm, ObjectiveKind::quadratic, 1.1), "m-");
  EXPECT_EQ(tamed(norm, ObjectiveKind::quadratic, 2.1), "mv");
}

TEST(Moments, ExponentialGrowthNeedsExponentialMoments) {
  AdaptiveConfig norm, hessian, l0l1;
  norm.kind = AdaptiveKind::gradient_norm;
  hessian.kind = AdaptiveKind::hessian_norm;
  l0l1.kind = AdaptiveKind::l0l1;
  l0l1.theta = 0.5;
  const auto of = [](const AdaptiveConfig& adaptive, const LawSpec& law, double sigma, int n = 1, int keep = 0) {
    auto config = method(keep > 0 ? MethodKind::dcsgd : MethodKind::dsgd, 0.1, n, sigma);
    if (keep > 0) set_rand_k(config, keep);
    config.adaptive = adaptive;
    config.noise.law = law;
    const auto m = moments(config, simple(ObjectiveKind::cosh, {1.0, 1.0}));
    if (m.mean_is == MeanIs::restricted) return std::string("r");
    return std::string(m.mean_exists ? "m" : "-") + (m.variance_exists ? "v" : "-");
  };
  for (const LawSpec& law : {LawSpec{LawKind::laplace}, LawSpec{LawKind::logistic}}) {
    EXPECT_EQ(of({}, law, 0.1), "r");
    // eta sigma/N (l0l1: theta sigma/(L0 N)), times what a kept coordinate is multiplied by: below 1/2, 1.
    EXPECT_EQ(of(norm, law, 4.9), "mv");
    EXPECT_EQ(of(norm, law, 5.1), "m-");
    EXPECT_EQ(of(norm, law, 9.9), "m-");
    EXPECT_EQ(of(norm, law, 10.1), "--");
    EXPECT_EQ(of(norm, law, 10.1, 4), "mv");
    EXPECT_EQ(of(norm, law, 4.9, 1, 1), "m-");  // k = 1 of 2
    EXPECT_EQ(of(hessian, law, 4.9), "mv");
    EXPECT_EQ(of(hessian, law, 10.1), "--");
    EXPECT_EQ(of(l0l1, law, 0.9), "mv");
    EXPECT_EQ(of(l0l1, law, 1.9), "m-");
    EXPECT_EQ(of(l0l1, law, 2.1), "--");
  }
  for (const auto& adaptive : {norm, hessian, l0l1}) {
    EXPECT_EQ(of(adaptive, {LawKind::gaussian}, 30.0), "mv");
    EXPECT_EQ(of(adaptive, {LawKind::contaminated_gaussian, 0.0, 0.0, 0.1, 10.0}, 30.0), "mv");
    EXPECT_EQ(of(adaptive, {LawKind::student_t, 30.0}, 0.1), "--");
    EXPECT_EQ(of(adaptive, {LawKind::alpha_stable, 0.0, 1.5}, 0.1), "--");
  }
  norm.q = 0.9;  // e^(|x|/10) is still more than |x|
  EXPECT_EQ(of(norm, {LawKind::gaussian}, 0.1), "r");
}

TEST(Moments, DroppedCoordinatesWithoutAFactorAreJudgedByTheirOwnFourthMoment) {
  // rand_k_plain: C = 0 or 1, kept with probability p.
  int doubtful = 0;
  for (const int n : {1, 3}) {
    for (const int k : {1, 2, 4}) {
      for (const double z : {0.1, 1.0, 1.9, 2.1, 3.0, 5.0}) {
        auto config = method(MethodKind::dcsgd, z, n, 1.0);
        set_rand_k(config, k);
        config.compressor.kind = CompressorKind::rand_k_plain;
        const double p = k / 4.0;
        double factor = 0.0;
        for (int kept = 0; kept <= n; ++kept)
          factor += std::exp(std::lgamma(n + 1.0) - std::lgamma(kept + 1.0) - std::lgamma(n - kept + 1.0)) *
                    std::pow(p, kept) * std::pow(1.0 - p, n - kept) * std::pow(1.0 - z * kept / n, 4.0);
        const auto m = moments(config, quadratic({1.0, 1.0, 1.0, 1.0}));
        if (k < 4) {
          EXPECT_EQ(m.variance_exists, factor <= 1.0 + 1e-12) << n << " " << k << " " << z << " " << factor;
        }
        doubtful += m.variance_exists ? 0 : 1;
      }
    }
  }
  EXPECT_GT(doubtful, 3);
}

/// E S'^2/S^2 of one step x' = x - (eta/N) sum_i C_i(g) without noise, over `draws` of the compressor.
template <class Compressor>
double growth_by_enumeration_of(const Objective& f, const std::vector<double>& x, double eta, int n,
                                Compressor&& outcomes) {
  // outcomes(g): pairs of a probability and C(g), coordinates independent: all products are formed.
  const auto g = f.gradient(x);
  const auto each = outcomes(g);
  double sum = 0.0;
  std::vector<std::size_t> pick(static_cast<std::size_t>(n), 0);
  for (;;) {
    double weight = 1.0;
    auto next = x;
    for (const std::size_t i : pick) {
      weight *= each[i].first;
      for (std::size_t j = 0; j < x.size(); ++j) next[j] -= eta / n * each[i].second[j];
    }
    sum += weight * std::pow(f.suboptimality(next), 2.0);
    std::size_t at = 0;
    while (at < pick.size() && ++pick[at] == each.size()) pick[at++] = 0;
    if (at == pick.size()) break;
  }
  return sum / std::pow(f.suboptimality(x), 2.0);
}

/// Every outcome of a compressor that rounds each coordinate to one of two values: two(g, j) = {low, high, chance of
/// high}.
template <class Two>
std::vector<std::pair<double, std::vector<double>>> rounded(const std::vector<double>& g, Two&& two) {
  std::vector<std::pair<double, std::vector<double>>> all;
  for (std::size_t pattern = 0; pattern < (std::size_t{1} << g.size()); ++pattern) {
    double weight = 1.0;
    std::vector<double> c(g.size());
    for (std::size_t j = 0; j < g.size(); ++j) {
      const auto [low, high, chance] = two(g, j);
      const bool up = (pattern >> j & 1) != 0;
      weight *= up ? chance : 1.0 - chance;
      c[j] = std::copysign(up ? high : low, g[j]);
    }
    if (weight > 0.0) all.emplace_back(weight, c);
  }
  return all;
}

TEST(Moments, FurtherCompressorsAreTrustedOnlyWhereNoStepCanIncreaseTheSecondMoment) {
  auto least_squares = simple(ObjectiveKind::least_squares, {1.0, 1.0, 1.0});
  least_squares.rows = 10;
  std::mt19937_64 engine(5);
  std::normal_distribution<double> normal(0.0, 2.0);
  for (const CompressorKind kind : {CompressorKind::natural, CompressorKind::qsgd, CompressorKind::top_k}) {
    int trusted = 0, doubted = 0;
    for (const auto& objective :
         {quadratic({0.3, 1.0, 1.0}), least_squares, simple(ObjectiveKind::sine_pl, {1.0, 1.0, 1.0})}) {
      const Objective f(objective);
      for (const int n : {1, 2}) {
        for (const double z : {0.02, 0.1, 0.3, 0.6, 1.0, 1.5, 1.9, 2.5, 4.0}) {
          auto config = method(MethodKind::dcsgd, z / *f.constants().L.value, n, 1.0);
          config.compressor = {kind, 2, 1.0, 2};
          if (kind == CompressorKind::top_k) config.workers.k.assign(static_cast<std::size_t>(n), 2);
          if (!moments_of(config, f).variance_exists) {
            ++doubted;
            continue;
          }
          ++trusted;
          const auto outcomes = [&](const std::vector<double>& g) {
            if (kind == CompressorKind::top_k) {
              auto c = g;
              *std::min_element(c.begin(), c.end(), [](double a, double b) { return std::abs(a) < std::abs(b); }) = 0.0;
              return std::vector<std::pair<double, std::vector<double>>>{{1.0, c}};
            }
            return rounded(g, [&](const std::vector<double>& v, std::size_t j) {
              const double size = std::abs(v[j]);
              if (kind == CompressorKind::natural) {
                const double low = std::exp2(std::floor(std::log2(size)));
                return std::tuple{low, 2.0 * low, size / low - 1.0};
              }
              double norm = 0.0;
              for (const double a : v) norm += a * a;
              norm = std::sqrt(norm);
              const double level = 2.0 * size / norm, low = std::floor(level);
              return std::tuple{low * norm / 2.0, (low + 1.0) * norm / 2.0, level - low};
            });
          };
          for (int i = 0; i < 100; ++i) {
            std::vector<double> x = f.x_star();
            for (double& v : x) v += normal(engine);
            EXPECT_LE(growth_by_enumeration_of(f, x, config.eta, n, outcomes), 1.0 + 1e-12)
                << static_cast<int>(kind) << " " << z;
          }
        }
      }
    }
    EXPECT_GT(trusted, 5) << static_cast<int>(kind);
    EXPECT_GT(doubted, 5) << static_cast<int>(kind);
  }
  // With affine noise nothing is known; where a factor makes steps grow more slowly than x nothing can explode.
  auto config = method(MethodKind::dcsgd, 0.1, 1, 1.0);
  config.compressor = {CompressorKind::natural, 0, 1.0, 1};
  EXPECT_TRUE(moments(config, quadratic({1.0})).variance_exists);
  config.noise.affine = 0.1;
  EXPECT_FALSE(moments(config, quadratic({1.0})).variance_exists);
  config.adaptive.kind = AdaptiveKind::gradient_norm;
  EXPECT_TRUE(moments(config, quadratic({1.0})).variance_exists);
  // Heavy balls: only without anything that multiplies.
  auto ball = method(MethodKind::heavy_ball, 0.1, 1, 1.0);
  EXPECT_TRUE(moments(ball, quadratic({1.0})).variance_exists);
  ball.noise.affine = 0.1;
  EXPECT_FALSE(moments(ball, quadratic({1.0})).variance_exists);
}

// ---- moments of models

/// E X'^4 of X' = a + sqrt(b) xi: Gauss-Hermite with five nodes, exact to degree 9.
double gaussian_fourth(double a, double b) {
  const double node[] = {0.0, 1.3556261799742657, 2.8569700138728056};
  const double weight[] = {8.0 / 15.0, 0.2220759220056126, 0.0112574113277207};
  double sum = weight[0] * std::pow(a, 4.0);
  for (int i = 1; i < 3; ++i)
    for (const double sign : {-1.0, 1.0}) sum += weight[i] * std::pow(a + sign * std::sqrt(b) * node[i], 4.0);
  return sum;
}

TEST(MomentsOfModels, AQuadraticIsDoubtfulExactlyWhereTheFourthMomentOfASubstepGrows) {
  int doubtful = 0, fine = 0;
  const std::pair<ModelKind, double> kinds[] = {
      {ModelKind::first_order, 0.0}, {ModelKind::second_order, 0.5}, {ModelKind::curvature, -0.5}};
  for (const auto& [kind, r] : kinds) {
    for (const int n : {1, 4}) {
      for (const double p : {0.05, 0.3, 0.75}) {
        for (const double eta : {0.01, 0.1, 0.5, 1.0, 1.7, 2.3}) {
          auto config = model(method(MethodKind::dcsgd, eta, 3, 1.0), kind, n);
          config.compressor = {CompressorKind::bernoulli, 0, p};
          double factor = 0.0;
          for (const double h : {0.5, 1.0})
            factor = std::max(factor, gaussian_fourth(1.0 - eta / n * h * (1.0 + r * eta * h),
                                                      eta * eta * h * h * (1.0 / p - 1.0) / (3.0 * n)));
          const auto m = moments(config, quadratic({0.5, 1.0}));
          EXPECT_EQ(m.variance_exists, factor <= 1.0) << n << " " << p << " " << eta << " " << factor;
          EXPECT_EQ(m.mean_is, MeanIs::expectation);
          m.variance_exists ? ++fine : ++doubtful;
          if (m.variance_exists) continue;
          char number[48];
          std::snprintf(number, sizeof number, "by the factor %.6g", factor);
          EXPECT_NE(m.reason.find(number), std::string::npos) << m.reason << " " << number;
          // rand_k has the same marginals: k = 1 of 20.
          if (p != 0.05) continue;
          auto rand_k = model(method(MethodKind::dcsgd, eta, 3, 1.0), kind, n);
          set_rand_k(rand_k, 1);
          std::vector<double> h(20, 0.5);
          h[7] = 1.0;
          EXPECT_EQ(moments(rand_k, quadratic(h)).reason, m.reason);
        }
      }
    }
  }
  EXPECT_GT(doubtful, 30);
  EXPECT_GT(fine, 30);
}

TEST(MomentsOfModels, TheMomentStepIsJudgedByItsOwnFactors) {
  int doubtful = 0, fine = 0;
  for (const int n : {1, 3}) {
    for (const double p : {0.1, 0.6}) {
      for (const double rho : {0.0, 1.5}) {
        for (const double z : {1e-7, 0.01, 0.2, 0.7, 1.0, 1.6, 2.1}) {
          auto config = model(method(MethodKind::dcsgd, z, 2, 1.0), ModelKind::hessian_aware, n);
          config.compressor = {CompressorKind::bernoulli, 0, p};
          config.noise.affine = rho;
          // r = A^(1/n), u = |1 - z|^(1/n), and affine noise z^2 (rho^2/(p N)) (r - 1)/(A - 1)
          const double A = (1.0 - z) * (1.0 - z) + z * z * (1.0 / p - 1.0) / 2.0;
          const double r = std::pow(A, 1.0 / n), u = std::pow(std::fabs(1.0 - z), 1.0 / n);
          const double factor = gaussian_fourth(u, r - u * u + z * z * rho * rho / p / 2.0 * (r - 1.0) / (A - 1.0));
          EXPECT_EQ(moments(config, quadratic({1.0})).variance_exists, factor <= 1.0)
              << n << " " << p << " " << rho << " " << z << " " << factor;
          factor <= 1.0 ? ++fine : ++doubtful;
        }
      }
    }
  }
  EXPECT_GT(doubtful, 10);
  EXPECT_GT(fine, 10);
}

TEST(MomentsOfModels, Weak2IsAlsoJudgedByTheSde) {
  auto config = model(method(MethodKind::dcsgd, 1.0, 1, 1.0), ModelKind::first_order);
  config.compressor = {CompressorKind::bernoulli, 0, 1.0 / 1.57};  // omega = .57
  // One Euler step to 0: 3 omega^2 = .975; the SDE: exp(-4 + 3.42); the second-order step, (.215 + .285 xi^2)^4: 1.07.
  EXPECT_TRUE(moments(config, quadratic({1.0})).variance_exists);
  config.model->integrator = IntegratorKind::weak2;
  const auto m = moments(config, quadratic({1.0}));
  double expected = 0.0, binomial = 1.0;
  const double xi[] = {1.0, 1.0, 3.0, 15.0, 105.0};
  for (int i = 0; i <= 4; ++i) {
    expected += binomial * std::pow(0.215, 4 - i) * std::pow(0.285, i) * xi[i];
    binomial = binomial * (4 - i) / (i + 1);
  }
  char number[32];
  std::snprintf(number, sizeof number, "%.6g", expected);
  EXPECT_FALSE(m.variance_exists);
  EXPECT_NE(m.reason.find(number), std::string::npos) << m.reason << " " << number;
  // The SDE alone: -4 (1 - .9) + 6 .18 omega/2 > 0 where eta h = 1.8 of the curvature model.
  config = model(method(MethodKind::dcsgd, 1.8, 1, 1.0), ModelKind::curvature, 1000);
  config.compressor = {CompressorKind::bernoulli, 0, 0.95};
  config.model->integrator = IntegratorKind::weak2;
  EXPECT_FALSE(moments(config, quadratic({1.0})).variance_exists);
  config.eta = 0.2;
  EXPECT_TRUE(moments(config, quadratic({1.0})).variance_exists);
}

TEST(MomentsOfModels, AffineNoiseInManyDimensionsIsBoundedByMinkowski) {
  // Coordinates that are alike: E S'^2/S^2 is the same from everywhere.
  for (const double eta : {0.05, 0.2, 0.5}) {
    for (const double rho : {0.3, 1.0, 2.0}) {
      auto config = model(method(MethodKind::dsgd, eta, 1, 1.0), ModelKind::first_order, 2);
      config.noise.affine = rho;
      if (!moments(config, quadratic({1.0, 1.0})).variance_exists) continue;
      // x' = a x + sqrt(kappa) |x| xi: E|x'|^4 = (a^2 + 2 kappa)^2 + 4 a^2 kappa + 4 kappa^2 for |x| = 1.
      const double a = 1.0 - eta / 2.0, kappa = eta * eta * rho * rho / 2.0 / 2.0;
      EXPECT_LE(std::pow(a * a + 2.0 * kappa, 2.0) + 4.0 * a * a * kappa + 4.0 * kappa * kappa, 1.0) << eta << rho;
    }
  }
  auto config = model(method(MethodKind::dsgd, 0.05, 1, 1.0), ModelKind::first_order, 2);
  config.noise.affine = 1.0;
  EXPECT_TRUE(moments(config, quadratic({1.0, 1.0})).variance_exists);
  config.eta = 1.5;
  EXPECT_FALSE(moments(config, quadratic({1.0, 1.0})).variance_exists);
  EXPECT_NE(moments(config, quadratic({1.0, 1.0})).reason.find("affine"), std::string::npos);
}

/// E S'^2/S^2 of one substep of a bernoulli(p) model without noise in two dimensions, on a grid of the normals.
double growth_of_substep(const Objective& f, const std::vector<double>& x, const CurveConfig& config) {
  const double eta = config.eta, n = config.model->substeps, omega = 1.0 / config.compressor.p - 1.0;
  const auto g = f.gradient(x);
  std::vector<double> drift(2), move(2);
  for (std::size_t j = 0; j < 2; ++j) {
    // H g by differences; hessian_aware: f is separable, so h is the same at unit gradient.
    std::vector<double> up = x, down = x;
    const bool aware = config.model->kind == ModelKind::hessian_aware;
    const double reach = 1e-4;
    for (std::size_t l = 0; l < 2; ++l) {
      const double along = aware ? (l == j ? 1.0 : 0.0) : g[l] / std::hypot(g[0], g[1]);
      up[l] += reach * along;
      down[l] -= reach * along;
    }
    const double bent = (f.gradient(up)[j] - f.gradient(down)[j]) / (2.0 * reach);
    if (aware) {
      const double z = eta * bent, A = (1.0 - z) * (1.0 - z) + z * z * omega;
      const double u = std::pow(std::fabs(1.0 - z), 1.0 / n), r = std::pow(A, 1.0 / n);
      drift[j] = (1.0 - u) * g[j] / bent;
      move[j] = std::sqrt(std::max(0.0, r - u * u)) * std::fabs(g[j] / bent);
    } else {
      const double r = config.model->kind == ModelKind::second_order ? 0.5
                       : config.model->kind == ModelKind::curvature  ? -0.5
                                                                     : 0.0;
      drift[j] = eta / n * (g[j] + r * eta * bent * std::hypot(g[0], g[1]));
      move[j] = eta * std::sqrt(omega / n) * std::fabs(g[j]);
    }
  }
  double sum = 0.0, total = 0.0;
  for (int i = -14; i <= 14; ++i) {
    for (int j = -14; j <= 14; ++j) {
      const double a = 0.5 * i, b = 0.5 * j, weight = std::exp(-0.5 * (a * a + b * b));
      sum += weight * std::pow(f.suboptimality({x[0] - drift[0] + move[0] * a, x[1] - drift[1] + move[1] * b}), 2.0);
      total += weight;
    }
  }
  return sum / total / std::pow(f.suboptimality(x), 2.0);
}

TEST(MomentsOfModels, SmoothObjectivesAreTrustedOnlyWhereNoSubstepCanIncreaseTheSecondMoment) {
  auto least_squares = simple(ObjectiveKind::least_squares, {1.0, 1.0});
  least_squares.rows = 10;
  auto logistic = simple(ObjectiveKind::logistic, {1.0, 1.0});
  logistic.rows = 30;
  logistic.lam = 0.1;
  std::mt19937_64 engine(4);
  std::normal_distribution<double> normal(0.0, 2.0);
  int trusted = 0, doubted = 0;
  for (const auto& objective : {least_squares, logistic, simple(ObjectiveKind::sine_pl, {1.0, 1.0})}) {
    const Objective f(objective);
    for (const auto kind :
         {ModelKind::first_order, ModelKind::second_order, ModelKind::curvature, ModelKind::hessian_aware}) {
      if (kind == ModelKind::hessian_aware && objective.kind != ObjectiveKind::sine_pl) continue;
      for (const double p : {0.3, 0.9}) {
        for (const double z : {0.02, 0.1, 0.3, 0.6, 0.9, 1.3, 1.9}) {
          for (const int n : {1, 3}) {
            auto config = model(method(MethodKind::dcsgd, z / *f.constants().L.value, 1, 1.0), kind, n);
            config.compressor = {CompressorKind::bernoulli, 0, p};
            if (!moments_of(config, f).variance_exists) {
              ++doubted;
              continue;
            }
            ++trusted;
            for (int i = 0; i < 8; ++i) {
              std::vector<double> x = f.x_star();
              for (double& v : x) v += normal(engine);
              EXPECT_LE(growth_of_substep(f, x, config), 1.0 + 1e-9) << z << " " << n << " " << p;
            }
          }
        }
      }
    }
  }
  EXPECT_GT(trusted, 30);
  EXPECT_GT(doubted, 30);
}

TEST(MomentsOfModels, HaveNoTailsWhateverTheLaw) {
  auto config = method(MethodKind::dsgd, 0.01, 1, 1.0);
  config.noise.law.kind = LawKind::student_t;
  config.noise.law.nu = 2.5;
  EXPECT_FALSE(moments(config, quadratic({1.0})).variance_exists);
  for (const auto kind :
       {ModelKind::first_order, ModelKind::second_order, ModelKind::curvature, ModelKind::hessian_aware}) {
    const auto m = moments(model(config, kind), quadratic({1.0}));
    EXPECT_TRUE(m.mean_exists && m.variance_exists && m.reason.empty());
    // Even of cosh E S is not infinite but restricted: the law of the increments is normal.
    EXPECT_EQ(moments(model(config, kind), simple(ObjectiveKind::cosh, {1.0})).mean_is, MeanIs::restricted);
  }
}

TEST(MomentsOfModels, SuperQuadraticObjectivesGiveRestrictedMeansUnlessNothingIsRandomOrSignsBoundIt) {
  for (const auto kind : {ObjectiveKind::quartic, ObjectiveKind::cosh}) {
    const auto objective = simple(kind, {1.0, 1.0});
    const auto of = [&](const CurveConfig& config) {
      return moments(model(config, ModelKind::first_order), objective);
    };
    EXPECT_EQ(of(method(MethodKind::dsgd, 0.01, 1, 0.0)).mean_is, MeanIs::expectation);
    EXPECT_EQ(of(method(MethodKind::dsgd, 0.01, 1, 1.0)).mean_is, MeanIs::restricted);
    auto config = method(MethodKind::dcsgd, 0.01, 1, 0.0);
    set_rand_k(config, 1);  // the method is bounded, its model is not
    EXPECT_EQ(moments(config, objective).mean_is, MeanIs::expectation);
    EXPECT_EQ(of(config).mean_is, MeanIs::restricted);
    config = method(MethodKind::dsgd, 0.01, 1, 0.0);
    config.noise.affine = 0.1;
    EXPECT_EQ(of(config).mean_is, MeanIs::restricted);
    for (const auto model_kind :
         {ModelKind::first_order, ModelKind::second_order, ModelKind::curvature, ModelKind::hessian_aware}) {
      auto sign = model(method(MethodKind::dsignsgd, 0.01, 1, 1.0), model_kind);
      sign.noise = {{LawKind::student_t, 1.0}, 1.0, 0.0};
      const auto m = moments(sign, objective);
      EXPECT_TRUE(m.mean_exists && m.variance_exists && m.reason.empty());
      EXPECT_EQ(m.mean_is, MeanIs::expectation);
      if (model_kind == ModelKind::hessian_aware) continue;
      sign.model->integrator = IntegratorKind::weak2;
      EXPECT_EQ(moments(sign, objective).mean_is,
                kind == ObjectiveKind::cosh ? MeanIs::restricted : MeanIs::expectation);
    }
  }
}

TEST(Moments, ADecayingScheduleIsJudgedByItsLargestStep) {
  auto config = method(MethodKind::dcsgd, 1.0, 1, 1.0);
  config.compressor = {CompressorKind::bernoulli, 0, 0.1};
  config.schedule = {ScheduleKind::polynomial, 1.0, 0.5};
  EXPECT_FALSE(moments(config, quadratic({1.0})).variance_exists);
}

}  // namespace
}  // namespace pathbound
