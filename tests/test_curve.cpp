// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <random>

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
