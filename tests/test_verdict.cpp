// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "host/engine.hpp"
#include "host/verdict.hpp"
#include "tests/host_fixtures.hpp"

namespace pathbound {
namespace {

using namespace fixtures;

constexpr double limit = 1e30;

/// What a checkpoint's sample looks like.
struct At {
  std::uint64_t step;
  double mean, sd;
  double bound;
  double skew = 0.0;
  std::uint64_t diverged = 0;
};

struct Case {
  Curve curve;
  BoundValue bound;
  CurveConfig curve_config;
  BoundConfig config;

  Case(std::uint64_t n, const std::vector<At>& checkpoints, const std::string& theorem = "B3d") {
    curve.name = config.curve = "curve";
    curve.paths = n;
    config.theorem = bound.theorem = theorem;
    for (const auto& info : bound_registry()) {
      if (info.theorem != theorem) continue;
      bound.speaks_of = info.speaks_of;
      bound.model = info.model;
    }
    for (const auto& at : checkpoints) {
      curve.step.push_back(at.step);
      curve.finite.push_back(n - at.diverged);
      curve.mean.push_back(at.mean);
      curve.variance.push_back(at.sd * at.sd);
      curve.standard_error.push_back(at.sd / std::sqrt(static_cast<double>(n - at.diverged)));
      curve.skew.push_back(at.skew);
      curve.regime.push_back(1.0);
      bound.value.push_back(at.bound);
    }
  }
  Verdict judge() const { return pathbound::judge(config, bound, curve_config, curve, limit); }
};

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "\"" << part << "\" is not in: " << text;
}

double t_quantile(double alpha, double degrees) {
  return boost::math::quantile(boost::math::complement(boost::math::students_t(degrees), alpha));
}

TEST(Verdict, HoldsWhenEveryUpperLimitIsBelowTheBound) {
  const auto v = Case(100, {{0, 1.0, 0.0, 1.0}, {10, 0.5, 0.1, 0.6}, {20, 0.3, 0.1, 0.4}}).judge();
  EXPECT_EQ(v.verdict, Expectation::holds);
  EXPECT_NEAR(v.upper[1], 0.5 + t_quantile(0.01, 99) * 0.01, 1e-12);
  EXPECT_NEAR(v.lower[1], 0.5 - t_quantile(0.01 / 3, 99) * 0.01, 1e-12);
  EXPECT_EQ(v.worst_step, 10u);  // not the start, where the ratio is 1 by definition
  EXPECT_NEAR(v.worst_ratio, 0.5 / 0.6, 1e-15);
  EXPECT_NEAR(v.tightness, 0.75, 1e-15);
  EXPECT_FALSE(v.paths_to_decide);
  expect_contains(v.reason, "at every checkpoint the 99% upper limit is below the bound");
  expect_contains(v.reason, "83.3%");
}

TEST(Verdict, ViolatedWhenALowerLimitIsAboveTheBound) {
  const auto v = Case(100, {{0, 1.0, 0.0, 1.0}, {40, 0.0123, 0.0005, 0.0100}, {80, 0.001, 0.0001, 0.01}}).judge();
  EXPECT_EQ(v.verdict, Expectation::violated);
  expect_contains(v.reason, "violated at step 40: mean 0.0123 [99% limit 0.01216] exceeds the bound 0.01 by 23%");
  EXPECT_EQ(v.worst_step, 40u);
}

TEST(Verdict, LimitsOnlyAcrossTheBoundAreInconclusiveWithThePathsThatDecide) {
  // Mean 1, sd 1, limit 1.01 * 1.005 = 1.01505: 0.01505 away.
  const auto v = Case(400, {{0, 2.0, 0.0, 2.0}, {10, 1.0, 1.0, 1.01}}).judge();
  EXPECT_EQ(v.verdict, Expectation::inconclusive);
  ASSERT_TRUE(v.paths_to_decide);
  EXPECT_NEAR(static_cast<double>(*v.paths_to_decide), std::pow(t_quantile(0.01, 399) / 0.01505, 2.0), 1.0);
  // With that many paths and the same mean it is decided.
  EXPECT_EQ(Case(*v.paths_to_decide + 10, {{0, 2.0, 0.0, 2.0}, {10, 1.0, 1.0, 1.01}}).judge().verdict,
            Expectation::holds);
}

TEST(Verdict, MeanAboveTheLimitIsInconclusiveUntilTheSimultaneousLimitClearsIt) {
  const std::vector<At> checkpoints{{0, 2.0, 0.0, 2.0}, {10, 1.05, 1.0, 1.0}};
  const auto v = Case(400, checkpoints).judge();
  EXPECT_EQ(v.verdict, Expectation::inconclusive);
  ASSERT_TRUE(v.paths_to_decide);
  EXPECT_NEAR(static_cast<double>(*v.paths_to_decide), std::pow(t_quantile(0.005, 399) / 0.045, 2.0), 1.0);
  EXPECT_EQ(Case(*v.paths_to_decide + 10, checkpoints).judge().verdict, Expectation::violated);
}

TEST(Verdict, MeanExactlyOnTheLimitHasNoDecidingNumberOfPaths) {
  const auto v = Case(400, {{0, 2.0, 0.0, 2.0}, {10, 1.005, 1.0, 1.0}}).judge();
  EXPECT_EQ(v.verdict, Expectation::inconclusive);
  EXPECT_FALSE(v.paths_to_decide);
}

TEST(Verdict, MarginDecidesIdentities) {
  // B3d on an isotropic quadratic: the mean is the bound. With margin 0 nothing can decide, with 0.5% enough paths can.
  const std::vector<At> checkpoints{{0, 1.0, 0.0, 1.0}, {10, 0.5, 0.5, 0.5}};
  EXPECT_EQ(Case(1000000, checkpoints).judge().verdict, Expectation::holds);
  Case strict(1000000, checkpoints);
  strict.config.margin = 0.0;
  EXPECT_EQ(strict.judge().verdict, Expectation::inconclusive);
  EXPECT_FALSE(strict.judge().paths_to_decide);
}

TEST(Verdict, ViolationNeedsTheLimitAtLevelAOverK) {
  // One checkpoint whose lower limit is above the bound at level a but not at a/K for K = 100.
  std::vector<At> checkpoints{{0, 1.0, 0.0, 1.0}, {1, 1.005 + 0.3, 1.0, 1.0}};
  EXPECT_EQ(Case(100, checkpoints).judge().verdict, Expectation::violated);  // 3 standard errors against t(.005) = 2.63
  for (std::uint64_t k = 2; k < 100; ++k) checkpoints.push_back({k, 0.1, 0.1, 1.0});
  EXPECT_EQ(Case(100, checkpoints).judge().verdict, Expectation::inconclusive);  // against t(.0001) = 3.86
}

TEST(Verdict, ZeroStandardErrorIsComparedExactlyButForRounding) {
  EXPECT_EQ(Case(100, {{0, 1.0 + 1e-7, 0.0, 1.0}, {5, 0.5, 0.0, 0.5}}).judge().verdict, Expectation::holds);
  Case strict(100, {{0, 1.0 + 1e-7, 0.0, 1.0}, {5, 0.5, 0.0, 0.5}});
  strict.config.margin = 0.0;
  EXPECT_EQ(strict.judge().verdict, Expectation::holds);
  strict.curve.mean[1] = 0.5 * (1.0 + 3e-6);
  EXPECT_EQ(strict.judge().verdict, Expectation::violated);
  // S0/S = e^20: the rounding of eta is felt twenty times.
  strict.curve.mean[1] = std::exp(-20.0) * (1.0 + 5e-6);
  strict.bound.value[1] = std::exp(-20.0);
  EXPECT_EQ(strict.judge().verdict, Expectation::holds);
  strict.curve.mean[1] = std::exp(-20.0) * (1.0 + 5e-5);
  EXPECT_EQ(strict.judge().verdict, Expectation::violated);
  Case zero(100, {{0, 0.0, 0.0, 0.0}, {5, 0.0, 0.0, 0.0}});
  EXPECT_EQ(zero.judge().verdict, Expectation::holds);
  EXPECT_EQ(zero.judge().tightness, 1.0);
}

CurveConfig noisy(MethodKind kind = MethodKind::dsgd) { return method(kind, 0.1, 1, 1.0, 1); }

TEST(Verdict, ZeroVarianceWithNoiseNeedsEnoughPathsToHold) {
  // At a = 1% and a margin of 0.5%: -ln(a)/n <= 0.005 from n = 921 (919 with 1 - a^(1/n)) on.
  const std::vector<At> checkpoints{{0, 1.0, 0.0, 1.0}, {1, 0.5, 0.0, 0.6}};
  const auto at = [&](std::uint64_t n, const CurveConfig& curve_config) {
    Case c(n, checkpoints);
    c.curve_config = curve_config;
    return c.judge();
  };
  EXPECT_EQ(at(900, noisy()).verdict, Expectation::inconclusive);
  EXPECT_EQ(at(930, noisy()).verdict, Expectation::holds);
  expect_contains(at(900, noisy()).reason,
                  "all 900 paths agree to the last digit; n is too small to exclude rarer values");
  ASSERT_TRUE(at(900, noisy()).paths_to_decide);
  EXPECT_NEAR(static_cast<double>(*at(900, noisy()).paths_to_decide), -std::log(0.01) / 0.005, 1.0);
  CurveConfig quiet = method(MethodKind::dsgd, 0.1, 2, 0.0, 1);
  EXPECT_EQ(at(32, quiet).verdict, Expectation::holds);
  quiet.workers.scale[1] = 1.0;  // one worker with noise is enough
  EXPECT_EQ(at(32, quiet).verdict, Expectation::inconclusive);
  quiet.workers.scale[1] = 0.0;
  quiet.noise.affine = 0.5;
  EXPECT_EQ(at(32, quiet).verdict, Expectation::inconclusive);
  quiet.noise.affine = 0.0;
  quiet.compressor.kind = CompressorKind::bernoulli;
  EXPECT_EQ(at(32, quiet).verdict, Expectation::holds);  // p = 1 keeps everything
  quiet.compressor.p = 0.999;
  EXPECT_EQ(at(32, quiet).verdict, Expectation::inconclusive);
}

TEST(Verdict, ZeroVarianceWithNoiseAndNoMarginNeverHolds) {
  Case c(1000000, {{0, 1.0, 0.0, 1.0}, {1, 0.5, 0.0, 0.6}});
  c.curve_config = noisy();
  c.config.margin = 0.0;
  EXPECT_EQ(c.judge().verdict, Expectation::inconclusive);
  EXPECT_FALSE(c.judge().paths_to_decide);
}

TEST(Verdict, ZeroVarianceWithNoiseViolatesOnlyIfRarerValuesCannotBringTheMeanDown) {
  // E S >= (a/K)^(1/n) v: with a/K = 0.5%, 0.9484 v at n = 100.
  const auto at = [](std::uint64_t n, double bound) {
    Case c(n, {{0, 1.0, 0.0, 1.0}, {1, 0.5, 0.0, bound}});
    c.curve_config = noisy();
    return c.judge();
  };
  EXPECT_EQ(at(100, 0.5 * 0.948 / 1.005).verdict, Expectation::violated);
  EXPECT_EQ(at(100, 0.5 * 0.949 / 1.005).verdict, Expectation::inconclusive);
  EXPECT_NEAR(at(100, 0.4).lower[1], 0.5 * std::pow(0.005, 0.01), 1e-15);
  const auto v = at(40, 0.45);
  ASSERT_TRUE(v.paths_to_decide);
  EXPECT_EQ(at(*v.paths_to_decide - 1, 0.45).verdict, Expectation::inconclusive);
  EXPECT_EQ(at(*v.paths_to_decide + 1, 0.45).verdict, Expectation::violated);
}

TEST(Verdict, ZeroVarianceOfSignMethodsIsBoundedByTheFarthestThatTheyCanGet) {
  // L = 2, d = 4, t = 0.5: S <= (1 + sqrt(2 * 4 / 2) 0.5)^2 = 4, so n is to make 0.5 + q 3.5 < 1.005 * 0.6.
  Case c(1000, {{0, 1.0, 0.0, 1.0}, {1, 0.5, 0.0, 0.6}});
  c.curve_config = noisy(MethodKind::dsignsgd);
  c.curve.time = {0.0, 0.5};
  c.bound.constants = {{"L", 2.0}, {"d", 4.0}};
  const auto v = c.judge();
  EXPECT_EQ(v.verdict, Expectation::holds);
  EXPECT_NEAR(v.upper[1], 0.5 + 3.5 * (1.0 - std::pow(0.01, 1e-3)), 1e-14);
  const double edge = 3.5 * -std::log(0.01) / (0.603 - 0.5);
  for (const double n : {edge - 3.0, edge + 3.0}) {
    c.curve.paths = static_cast<std::uint64_t>(n);
    c.curve.finite = {c.curve.paths, c.curve.paths};
    EXPECT_EQ(c.judge().verdict, n < edge ? Expectation::inconclusive : Expectation::holds);
  }
}

TEST(Verdict, RecordsBelowRoundingNeitherSupportViolatedNorBlockHolds) {
  Case c(100, {{0, 1.0, 0.0, 1.0}, {5, 0.5, 0.0, 0.6}, {6, 2e-10, 0.0, 1e-30}, {7, 2e-10, 0.0, 0.0}});
  EXPECT_EQ(c.judge().verdict, Expectation::violated);
  c.curve.rounding_level = 3e-10;
  const auto v = c.judge();
  EXPECT_EQ(v.verdict, Expectation::holds);
  EXPECT_NEAR(v.worst_ratio, 0.5 / 0.6, 1e-15);
  EXPECT_EQ(v.worst_step, 5u);
  EXPECT_NEAR(v.tightness, 0.5 / 0.6, 1e-15);  // the last one above the rounding
  expect_contains(v.reason, "; from step 6 on the numbers are below the rounding of the arithmetic (S < 3e-10)");
  EXPECT_EQ(v.reason.find("inf"), std::string::npos);
  // The mean below, the bound above: the mean says nothing either.
  Case low(100, {{0, 1.0, 0.0, 1.0}, {5, 0.5, 0.0, 0.6}, {6, 1e-15, 0.0, 1e-3}, {7, 0.2, 0.1, 0.3}});
  low.curve.rounding_level = 3e-10;
  EXPECT_EQ(low.judge().verdict, Expectation::holds);
  EXPECT_NEAR(low.judge().tightness, 2.0 / 3.0, 1e-15);
  expect_contains(low.judge().reason, "; at 1 checkpoint (first: step 6) the numbers are below the rounding");
}

TEST(Verdict, MeansFarAboveTheRoundingStillViolateABoundBelowIt) {
  Case c(100, {{0, 1.0, 0.0, 1.0}, {5, 0.5, 0.1, 1e-30}});
  c.curve.rounding_level = 3e-10;
  EXPECT_EQ(c.judge().verdict, Expectation::violated);
  expect_contains(c.judge().reason, "by a factor 5e+29");
}

TEST(Verdict, RoundingMovesTheRootOfSByTheRootOfItsLevel) {
  // sqrt(1.005) + 1e-2, squared: 1.0251.
  Case c(100, {{0, 9.0, 0.0, 9.0}, {5, 1.0248, 0.0, 1.0}});
  EXPECT_EQ(c.judge().verdict, Expectation::violated);
  c.curve.rounding_level = 1e-4;
  EXPECT_EQ(c.judge().verdict, Expectation::holds);
  expect_contains(c.judge().reason, "102% of it (no more than rounding)");
  c.curve.mean[1] = 1.0253;
  EXPECT_EQ(c.judge().verdict, Expectation::violated);
  Case random(1000000, {{0, 9.0, 0.0, 9.0}, {5, 1.0248, 0.1, 1.0}});
  random.curve.rounding_level = 1e-4;
  random.curve_config = noisy();
  EXPECT_EQ(random.judge().verdict, Expectation::inconclusive);
  expect_contains(random.judge().reason, "by no more than the rounding of the arithmetic can");
}

TEST(Verdict, NothingAboveTheRoundingAfterTheStartIsInconclusive) {
  Case c(100, {{0, 1.0, 0.0, 1.0}, {5, 1.0, 0.0, 0.5}, {6, 1.0, 0.0, 0.4}});
  c.curve.rounding_level = 4.0;
  const auto v = c.judge();
  EXPECT_EQ(v.verdict, Expectation::inconclusive);
  EXPECT_TRUE(std::isnan(v.tightness));
  expect_contains(v.reason, "every number is below the rounding of the chosen precision (S < 4)");
}

TEST(Verdict, ReasonsDoNotContradictTheVerdict) {
  const auto v = Case(100, {{0, 1.0, 0.0, 1.0}, {5, 0.5 * 1.0008, 0.0001, 0.5}}).judge();
  EXPECT_EQ(v.verdict, Expectation::holds);
  expect_contains(v.reason, "the mean is 100.08% of it (within the margin)");
  expect_contains(Case(100, {{0, 1.0, 0.0, 1.0}, {5, 0.5 * 0.99996, 0.0, 0.5}}).judge().reason, "99.996% of it");
}

// ---- through the engine

struct OneCurve {
  Experiment experiment;
  CurveConfig config;
  std::string theorem;

  Verdict judge(double confidence = 0.99, double margin = 0.005) {
    BoundConfig bound;
    bound.theorem = theorem;
    bound.curve = config.name;
    bound.confidence = confidence;
    bound.margin = margin;
    experiment.bounds = {bound};
    experiment.curves = {config};
    const Objective objective(experiment.objective);
    RunOptions options;
    options.threads = 1;
    Curve curve = make_curve(config, objective, simulate(experiment, config, objective, options));
    curve.rounding_level =
        rounding_level(config, objective, experiment.precision == Precision::single ? 0x1p-24 : 0x1p-53);
    return pathbound::judge(bound, evaluate_bound(theorem, config, objective, curve), config, curve, limit);
  }
};

TEST(Verdicts, OfASignMethodWhoseRareStepsWereNotSeenIsNotHolds) {
  // One step of 1.58 from x0 = 1 with P(wrong way) = Phi(-2.94) = 0.16%: B4 is exceeded by 2.8%, and nine of ten runs
  // of 32 paths see only the right way.
  OneCurve run;
  run.experiment.objective = quadratic({1.0});
  run.config = method(MethodKind::dsignsgd, 1.58, 1, 1.0 / 2.94, 1);
  run.config.paths = 32;
  run.theorem = "B4";
  int agree = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    run.config.seed = seed;
    const auto v = run.judge();
    EXPECT_NE(v.verdict, Expectation::holds) << seed << ": " << v.reason;
    if (v.reason.find("paths agree to the last digit") != std::string::npos) ++agree;
  }
  EXPECT_GT(agree, 45);
  // With a thousand the unseen is rarer than the margin, but it may be far away.
  run.config.paths = 1000;
  for (run.config.seed = 1; run.config.seed <= 60; ++run.config.seed)
    EXPECT_NE(run.judge().verdict, Expectation::holds) << run.config.seed;
  run.config.paths = 1 << 20;
  EXPECT_EQ(run.judge().verdict, Expectation::violated);
}

TEST(Verdicts, OfMovesThatTheArithmeticLosesAreInconclusive) {
  OneCurve run;
  run.experiment.objective = quadratic({1.0});
  run.config = method(MethodKind::dsgd, 2e-8, 1, 0.0, 100000, 50000);
  run.config.paths = 32;
  run.theorem = "B3d";
  EXPECT_EQ(run.judge(0.99, 0.0).verdict, Expectation::inconclusive);
  run.experiment.precision = Precision::double_;
  EXPECT_EQ(run.judge(0.99, 0.0).verdict, Expectation::holds);
}

TEST(Verdicts, OfNoiseFreeRunsDoNotFollowABoundBelowTheRounding) {
  for (const auto kind : {ObjectiveKind::logistic, ObjectiveKind::least_squares}) {
    for (const double eta : {0.5, 0.05}) {
      for (const auto precision : {Precision::single, Precision::double_}) {
        OneCurve run;
        run.experiment.objective = simple(kind, std::vector<double>(6, 0.0));
        run.experiment.objective.rows = 40;
        run.experiment.objective.lam = kind == ObjectiveKind::logistic ? 0.1 : 0.0;
        run.experiment.precision = precision;
        run.config = method(MethodKind::dsgd, eta, 1, 0.0, 40000);
        run.config.checkpoint_steps = {0, 2, 5, 10, 20, 50, 200, 1000, 10000, 40000};
        run.config.paths = 32;
        run.theorem = "B3d";
        const auto v = run.judge();
        EXPECT_EQ(v.verdict, Expectation::holds) << v.reason;
        expect_contains(v.reason, "below the rounding of the arithmetic");
        EXPECT_LE(v.worst_ratio, 1.005);
      }
    }
  }
}

TEST(RoundingLevel, HasTheDocumentedValues) {
  constexpr double eps = 0x1p-24;
  const auto quiet = method(MethodKind::dsgd, 0.1, 1, 0.0);
  // x* = 0: rounding is relative, only the smallest floats lose digits.
  EXPECT_LT(rounding_level(quiet, Objective(quadratic({1.0, 0.5})), eps), 1e-37);
  // Moves below 64 half ulps: S of the coordinates that have them, times 4; all of them at once only with noise.
  const Objective two(quadratic({1.0, 2e-6}));
  EXPECT_DOUBLE_EQ(rounding_level(quiet, two, eps), 4e-6);
  EXPECT_LT(rounding_level(method(MethodKind::dsgd, 0.1, 1, 1e-3), two, eps), 1e-37);
  EXPECT_LT(rounding_level(quiet, two, 0x1p-53), 1e-300);
  // A sign step of eta/N against 64 half ulps of x0.
  const Objective one(quadratic({1.0}));
  EXPECT_DOUBLE_EQ(rounding_level(method(MethodKind::dsignsgd, 1e-5, 4, 1.0), one, eps), 2.0);
  EXPECT_LT(rounding_level(method(MethodKind::dsignsgd, 1e-4, 4, 1.0), one, eps), 1e-37);
  // x* != 0, no noise: (eps |x*|)^2 (1/((eta - eps/mu) sqrt(2 mu)) + sqrt(2 L))^2.
  auto config = simple(ObjectiveKind::least_squares, {0.0, 0.0});
  config.rows = 5;
  const Objective data(config);
  const double mu = *data.constants().mu.value, L = *data.constants().L.value;
  const auto root_in_eps = [&](double sigma) {
    return std::sqrt(rounding_level(method(MethodKind::dsgd, 0.1, 1, sigma), data, eps)) /
           (eps * std::hypot(data.x_star()[0], data.x_star()[1]));
  };
  EXPECT_NEAR(root_in_eps(0.0), 1.0 / ((0.1 - eps / mu) * std::sqrt(2.0 * mu)) + std::sqrt(2.0 * L), 1e-9);
  EXPECT_NEAR(root_in_eps(1.0), 2.0 / std::sqrt(1.2) + std::sqrt(2.0 * L), 1e-9);
}

TEST(RoundingLevel, OfModelsIsThatOfTheirSubsteps) {
  constexpr double eps = 0x1p-24;
  const auto quiet = method(MethodKind::dsgd, 0.1, 1, 0.0);
  const Objective two(quadratic({1.0, 1e-4}));
  // eta h = 1e-5 against 64 eps = 3.8e-6: three substeps a step are too many. Noise dithers from 4 eps on: its move is
  // eta sigma/sqrt(N n).
  EXPECT_LT(rounding_level(quiet, two, eps), 1e-37);
  EXPECT_LT(rounding_level(model(quiet, ModelKind::first_order, 2), two, eps), 1e-37);
  EXPECT_DOUBLE_EQ(rounding_level(model(quiet, ModelKind::first_order, 3), two, eps), 4.0 * 0.5 * 1e-4);
  const auto dithered = [&](int n) {
    auto config = method(MethodKind::dsgd, 0.1, 4, 1e-5);
    return rounding_level(model(config, ModelKind::first_order, n), two, eps) < 1e-37;
  };
  const int most = static_cast<int>(std::pow(0.1 * 1e-5 / 2.0 / (4.0 * eps), 2.0));
  EXPECT_TRUE(dithered(most));
  EXPECT_FALSE(dithered(most + 1));
  // DSignSGD: normal moves of eta sqrt(Q/(N n)), not signs of eta/N.
  const Objective one(quadratic({1.0}));
  const auto sign = method(MethodKind::dsignsgd, 1e-5, 4, 1.0);
  EXPECT_DOUBLE_EQ(rounding_level(sign, one, eps), 2.0);
  EXPECT_LT(rounding_level(model(sign, ModelKind::first_order), one, eps), 1e-37);
  EXPECT_DOUBLE_EQ(rounding_level(model(sign, ModelKind::first_order, 1000), one, eps), 2.0);
  // Far from the linear regime Q is 0 and the drift counts, eta/n against 64 eps.
  EXPECT_DOUBLE_EQ(
      rounding_level(model(method(MethodKind::dsignsgd, 1e-5, 4, 1e-6), ModelKind::first_order, 3), one, eps), 2.0);
  EXPECT_LT(rounding_level(model(method(MethodKind::dsignsgd, 1e-5, 4, 1e-6), ModelKind::first_order, 2), one, eps),
            1e-37);
  // x* != 0.
  auto config = simple(ObjectiveKind::least_squares, {0.0, 0.0});
  config.rows = 5;
  const Objective data(config);
  const double mu = *data.constants().mu.value, L = *data.constants().L.value;
  const auto root_in_eps = [&](const CurveConfig& curve) {
    return std::sqrt(rounding_level(curve, data, eps)) / (eps * std::hypot(data.x_star()[0], data.x_star()[1]));
  };
  const auto sgd = [](double sigma) { return method(MethodKind::dsgd, 0.1, 1, sigma); };
  EXPECT_NEAR(root_in_eps(model(sgd(0.0), ModelKind::first_order, 5)),
              1.0 / ((0.02 - eps / mu) * std::sqrt(2.0 * mu)) + std::sqrt(2.0 * L), 1e-8);
  EXPECT_NEAR(root_in_eps(model(sgd(1.0), ModelKind::first_order, 5)), 2.0 / std::sqrt(0.24) + std::sqrt(2.0 * L),
              1e-8);
  EXPECT_NEAR(root_in_eps(model(sgd(1.0), ModelKind::curvature, 5)),
              2.0 / std::sqrt(0.24 * (1.0 - 0.05 * L)) + std::sqrt(2.0 * L), 1e-8);
  // m_j = l grad_j f near the optimum.
  EXPECT_NEAR(root_in_eps(model(method(MethodKind::dsignsgd, 0.1, 1, 1.0), ModelKind::first_order, 5)),
              2.0 / std::sqrt(0.24 * std::sqrt(2.0 / std::numbers::pi)) + std::sqrt(2.0 * L), 1e-8);
}

TEST(Verdict, FewerThan32FinitePathsAreInconclusive) {
  const std::vector<At> good{{0, 1.0, 0.0, 1.0}, {5, 0.1, 0.01, 0.5}}, bad{{0, 1.0, 0.0, 1.0}, {5, 5.0, 0.01, 0.5}};
  EXPECT_EQ(Case(31, good).judge().verdict, Expectation::inconclusive);
  EXPECT_EQ(Case(31, bad).judge().verdict, Expectation::inconclusive);
  EXPECT_EQ(Case(31, good).judge().paths_to_decide, 32u);
  EXPECT_EQ(Case(32, good).judge().verdict, Expectation::holds);
  EXPECT_EQ(Case(32, bad).judge().verdict, Expectation::violated);
  expect_contains(Case(31, good).judge().reason, "31 finite paths");
  EXPECT_EQ(Case(1, {{0, 1.0, 0.0, 1.0}, {5, 0.1, std::nan(""), 0.5}}).judge().verdict, Expectation::inconclusive);
}

TEST(Verdict, SkewedCheckpointsNeitherViolateNorHoldButOthersStillCount) {
  // n = 100, K = 3: z(.01) = 2.36, so |skew| z^3/60 > 0.1 from skew 0.46; z(.0033) = 2.78: from 0.28.
  const double edge_hold = 0.1 * 60.0 / std::pow(t_quantile(0.01, 99), 3.0);
  const double edge_violate = 0.1 * 60.0 / std::pow(t_quantile(0.01 / 3, 99), 3.0);
  for (const double sign : {-1.0, 1.0}) {
    const auto held = [&](double skew) {
      return Case(100, {{0, 1.0, 0.0, 1.0}, {5, 0.1, 0.01, 0.5, sign * skew}, {6, 0.1, 0.01, 0.5}}).judge().verdict;
    };
    EXPECT_EQ(held(0.99 * edge_hold), Expectation::holds);
    EXPECT_EQ(held(1.01 * edge_hold), Expectation::inconclusive);
    const auto violated = [&](double skew) {
      return Case(100, {{0, 1.0, 0.0, 1.0}, {5, 0.9, 0.01, 0.5, sign * skew}, {6, 0.1, 0.01, 0.5}}).judge();
    };
    EXPECT_EQ(violated(0.99 * edge_violate).verdict, Expectation::violated);
    EXPECT_EQ(violated(1.01 * edge_violate).verdict, Expectation::inconclusive);
    expect_contains(violated(1.01 * edge_violate).reason, "skewed");
  }
  // Another checkpoint may still violate.
  const auto v = Case(100, {{0, 1.0, 0.0, 1.0}, {5, 0.9, 0.01, 0.5, 9.0}, {6, 0.6, 0.01, 0.5}}).judge();
  EXPECT_EQ(v.verdict, Expectation::violated);
  expect_contains(v.reason, "violated at step 6");
  // The paths that would cure it: sqrt(n) = skew z^3 / 0.6.
  const auto skewed = Case(100, {{0, 1.0, 0.0, 1.0}, {5, 0.1, 0.01, 0.5, 5.0}}).judge();
  ASSERT_TRUE(skewed.paths_to_decide);
  EXPECT_NEAR(static_cast<double>(*skewed.paths_to_decide),
              std::pow(5.0 * std::pow(t_quantile(0.01, 99), 3.0) / 0.6, 2.0), 1.0);
}

TEST(Verdict, DivergedPathsCountAsTheLimitSoThatNothingHolds) {
  const auto one = Case(1000, {{0, 1.0, 0.0, 1.0}, {5, 0.1, 0.01, 0.5, 0.0, 1}}).judge();
  EXPECT_EQ(one.verdict, Expectation::inconclusive);
  expect_contains(one.reason, "1 of 1000 paths diverged");
  EXPECT_NEAR(one.empirical[1] / 1e27, 1.0, 1e-12);
  // Exactly the sample of 999 values of mean 0.1 and one of 1e30: sd = 1e30 sqrt(p (1 - p) n/(n - 1)).
  EXPECT_NEAR((one.empirical[1] - one.lower[1]) / (t_quantile(0.005, 999) * 1e30 * std::sqrt(0.001 * 0.999 / 999.0)),
              1.0, 1e-12);
  // Half of them: no doubt left.
  const auto half = Case(1000, {{0, 1.0, 0.0, 1.0}, {5, 0.1, 0.01, 0.5, 0.0, 500}}).judge();
  EXPECT_EQ(half.verdict, Expectation::violated);
  expect_contains(half.reason, "500 of 1000 paths diverged and count as S = 1e+30");
  EXPECT_EQ(Case(1000, {{0, 1.0, 0.0, 1.0}, {5, std::nan(""), std::nan(""), 0.5, std::nan(""), 1000}}).judge().verdict,
            Expectation::inconclusive);  // none finite: fewer than 32
}

TEST(Verdict, MergeWithDivergedPathsIsExactInAllMoments) {
  // 40 finite paths and 60 with S = limit = 8: compared with the plain sample.
  std::mt19937_64 engine(3);
  std::exponential_distribution<double> exponential(1.0);
  std::vector<double> sample(40);
  for (double& s : sample) s = exponential(engine);
  const auto central = [](const std::vector<double>& x, double power) {
    const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
    double sum = 0.0;
    for (const double v : x) sum += std::pow(v - mean, power);
    return sum;
  };
  Case c(100, {{0, 1.0, 0.0, 1.0}, {5, 0.0, 0.0, 0.5, 0.0, 60}});
  c.curve.mean[1] = std::accumulate(sample.begin(), sample.end(), 0.0) / 40.0;
  c.curve.variance[1] = central(sample, 2.0) / 39.0;
  c.curve.standard_error[1] = std::sqrt(c.curve.variance[1] / 40.0);
  c.curve.skew[1] = std::sqrt(40.0) * central(sample, 3.0) / std::pow(central(sample, 2.0), 1.5);
  const auto v = judge(c.config, c.bound, c.curve_config, c.curve, 8.0);
  sample.insert(sample.end(), 60, 8.0);
  const double mean = std::accumulate(sample.begin(), sample.end(), 0.0) / 100.0;
  EXPECT_NEAR(v.empirical[1], mean, 1e-13);
  EXPECT_NEAR(v.upper[1], mean + t_quantile(0.01, 99) * std::sqrt(central(sample, 2.0) / 9900.0), 1e-12);
}

TEST(Verdict, FailedAssumptionsAreNotApplicableWithTheNumbersStillThere) {
  Case c(100, {{0, 1.0, 0.0, 1.0}, {5, 0.1, 0.01, 0.5}});
  c.bound.assumptions.push_back({"rho = 0", AssumptionStatus::failed, "affine noise with rho = 0.5"});
  c.bound.assumptions.push_back({"mu-PL", AssumptionStatus::unchecked, "key objective.mu"});
  const auto v = c.judge();
  EXPECT_EQ(v.verdict, Expectation::not_applicable);
  EXPECT_EQ(v.reason, "not applicable: rho = 0 fails (affine noise with rho = 0.5)");
  EXPECT_NEAR(v.tightness, 0.2, 1e-15);
  EXPECT_TRUE(std::isfinite(v.upper[1]));
}

TEST(Verdict, DoubtfulVarianceMissingMeanAndMissingNumbersAreNotApplicable) {
  Case c(100, {{0, 1.0, 0.0, 1.0}, {5, 0.1, std::nan(""), 0.5}});
  c.curve.variance_doubtful = true;
  c.curve.variance_reason = "Var S is infinite";
  EXPECT_EQ(c.judge().verdict, Expectation::not_applicable);
  expect_contains(c.judge().reason, "Var S is infinite");
  EXPECT_EQ(c.judge().empirical[1], 0.1);
  c.curve.mean_is = MeanIs::does_not_exist;
  c.curve.mean[1] = std::nan("");
  expect_contains(c.judge().reason, "the mean does not exist");
  EXPECT_TRUE(std::isnan(c.judge().tightness));
  Case missing(100, {{0, 1.0, 0.0, 1.0}, {5, 0.1, 0.01, std::nan("")}});
  EXPECT_EQ(missing.judge().verdict, Expectation::not_applicable);
  expect_contains(missing.judge().reason, "no number at step 5");
  Case empty(100, {});
  EXPECT_EQ(empty.judge().verdict, Expectation::not_applicable);
}

TEST(Verdict, RestrictedMeansAreOnlyANote) {
  Case c(100, {{0, 1.0, 0.0, 1.0}, {5, 0.1, 0.01, 0.5}});
  c.curve.mean_is = MeanIs::restricted;
  EXPECT_EQ(c.judge().verdict, Expectation::holds);
  expect_contains(c.judge().reason, "the mean is E[S_k | not diverged by k]");
}

TEST(Verdict, ReasonsTellTheRegimeAndTheObjectOfTheTheorem) {
  Case b4(100, {{0, 1.0, 0.0, 1.0}, {40, 0.0123, 0.0005, 0.0100}}, "B4");
  b4.curve.regime[1] = 0.41;
  expect_contains(
      b4.judge().reason,
      "exceeds the bound 0.01 by 23%; Theorem 4 takes 2Xi(y) for l y, but the path is not in that linear regime "
      "(2Xi(Y)/(lY) = 0.41 at step 40)");
  Case b3p(100, {{0, 1.0, 0.0, 1.0}, {40, 0.0105, 0.0001, 0.0100}}, "B3p");
  b3p.bound.predicted_excess = 1.0526;
  const auto sde = b3p.judge();
  expect_contains(sde.reason, "the theorem speaks of the SDE; the method exceeds it by 5%");
  expect_contains(sde.reason, "Delta/(Delta - eta h/2) = 1.053");
  auto iterates = Case(100, {{0, 1.0, 0.0, 1.0}, {40, 0.0105, 0.0001, 0.012}}, "B3d").judge();
  auto other = iterates;
  other.config.curve = "another curve";
  other.verdict = Expectation::violated;
  std::vector<Verdict> verdicts{sde, other, iterates};
  cross_reference(verdicts);
  EXPECT_EQ(verdicts[0].reason, sde.reason + "; B3d holds");
  EXPECT_EQ(verdicts[2].reason, iterates.reason);
  b3p.bound.predicted_excess = std::numeric_limits<double>::infinity();
  expect_contains(b3p.judge().reason, "not mean-square stable");
}

TEST(Verdict, ReasonsOfModelsTellWhetherTheyAreTheObjectOfTheTheorem) {
  const auto reason = [](const std::string& theorem, ModelKind kind, double excess = 0.0) {
    Case c(100, {{0, 1.0, 0.0, 1.0}, {40, 0.0105, 0.0001, 0.0100}}, theorem);
    c.curve_config = model(noisy(), kind, 4);
    c.bound.predicted_excess = excess;
    return c.judge().reason;
  };
  expect_contains(
      reason("B3", ModelKind::curvature),
      "is above the bound 0.01; the theorem speaks of the first_order SDE; this is the curvature model, which "
      "exceeds it by 5%");
  expect_contains(reason("B3c", ModelKind::first_order),
                  "the theorem speaks of the curvature SDE; this is the first_order model, which exceeds it by 5%");
  expect_contains(reason("B3d", ModelKind::hessian_aware),
                  "the theorem speaks of the iterates; this is the hessian_aware model, which exceeds it by 5%");
  expect_contains(
      reason("B3", ModelKind::first_order),
      "exceeds the bound 0.01 by 5%; this is the theorem's own object, the first_order SDE: what is left to "
      "check is its integrator, euler_maruyama with 4 substeps a step");
  expect_contains(reason("B3p", ModelKind::curvature, 1.0526),
                  "the stationary level of the curvature SDE exceeds it by the factor Delta/(Delta - eta h/2) = 1.053");
  expect_contains(reason("B3p", ModelKind::curvature, std::numeric_limits<double>::infinity()),
                  "the model is not mean-square stable");
  Case method(100, {{0, 1.0, 0.0, 1.0}, {40, 0.0105, 0.0001, 0.0100}}, "B3c");
  method.curve_config = noisy();
  expect_contains(method.judge().reason, "the theorem speaks of the curvature SDE; the method exceeds it by 5%");
  // The linear regime explains more than whose object it is.
  Case b4(100, {{0, 1.0, 0.0, 1.0}, {40, 0.0123, 0.0005, 0.0100}}, "B4");
  b4.curve_config = model(noisy(MethodKind::dsignsgd), ModelKind::first_order);
  b4.curve.regime[1] = 0.41;
  expect_contains(b4.judge().reason, "is not in that linear regime");
  EXPECT_EQ(b4.judge().reason.find("own object"), std::string::npos);
}

TEST(Verdict, TheSameTheoremIsQuotedForItsOwnObject) {
  const auto judged = [](const std::string& theorem, double bound, const std::string& curve,
                         std::optional<ModelKind> kind = {}, const std::string& of = "sgd") {
    Case c(100, {{0, 1.0, 0.0, 1.0}, {40, 0.0105, 0.0001, bound}}, theorem);
    c.curve_config = kind ? model(noisy(), *kind, 4, of) : noisy();
    c.config.curve = curve;
    return c.judge();
  };
  std::vector<Verdict> verdicts{judged("B3", 0.01, "sgd"),
                                judged("B3d", 0.012, "sgd"),
                                judged("B3", 0.012, "its SDE", ModelKind::first_order),
                                judged("B3", 0.012, "its curvature", ModelKind::curvature),
                                judged("B3p", 0.012, "its SDE", ModelKind::first_order),
                                judged("B3", 0.012, "another SDE", ModelKind::first_order, "dcsgd"),
                                judged("B3d", 0.01, "its curvature", ModelKind::curvature),
                                judged("B3c", 0.01, "its curvature", ModelKind::curvature)};
  const auto before = verdicts;
  cross_reference(verdicts);
  EXPECT_EQ(verdicts[0].reason, before[0].reason + "; B3d holds; B3 holds for the first_order model 'its SDE'");
  EXPECT_EQ(verdicts[6].reason, before[6].reason + "; B3c is violated; B3d holds for the method 'sgd'");
  for (const std::size_t i : {1u, 2u, 3u, 4u, 5u, 7u}) EXPECT_EQ(verdicts[i].reason, before[i].reason) << i;
}

TEST(Verdict, ModelsOfSignMethodsAreNoLattice) {
  // As in ZeroVarianceOfSignMethodsIsBoundedByTheFarthestThatTheyCanGet, but nothing bounds a normal increment.
  Case c(1000, {{0, 1.0, 0.0, 1.0}, {1, 0.5, 0.0, 0.6}});
  c.curve.time = {0.0, 0.5};
  c.bound.constants = {{"L", 2.0}, {"d", 4.0}};
  c.curve_config = noisy(MethodKind::dsignsgd);
  EXPECT_LT(c.judge().upper[1], 0.6);
  EXPECT_GT(c.judge().upper[1], 0.51);
  c.curve_config = model(c.curve_config, ModelKind::first_order);
  EXPECT_EQ(c.judge().upper[1], 0.5);
  EXPECT_EQ(c.judge().verdict, Expectation::holds);  // 1000 paths: what was not seen is rarer than the margin
  // Without noise Q is I where grad f is 0: not known to be deterministic.
  c.curve_config = method(MethodKind::dsignsgd, 0.1, 1, 0.0);
  EXPECT_EQ(Case(c).judge().lower[1], 0.5);
  c.curve_config = model(c.curve_config, ModelKind::first_order);
  EXPECT_LT(c.judge().lower[1], 0.5);
}

TEST(Verdict, ExpectationsAreCompared) {
  Case c(100, {{0, 1.0, 0.0, 1.0}, {5, 0.1, 0.01, 0.5}});
  EXPECT_TRUE(c.judge().as_expected());
  c.config.expect = Expectation::violated;
  EXPECT_FALSE(c.judge().as_expected());
}

// ---- false alarms. a = 10%, K = 5 independent checkpoints, 64 paths, 4000 repetitions; 4 standard deviations of a
// rate of 10% are 1.9%.

Case simulated(std::mt19937_64& engine, const std::vector<double>& true_means, double bound) {
  std::normal_distribution<double> normal;
  constexpr std::uint64_t n = 64;
  std::vector<At> checkpoints;
  std::vector<double> sample(n);
  for (std::size_t c = 0; c < true_means.size(); ++c) {
    Record all;
    for (std::uint64_t i = 0; i < n; ++i) {
      Record one;
      one.finite = 1;
      one.sum = true_means[c] + 0.3 * normal(engine);
      merge(all, one);
    }
    checkpoints.push_back(
        {c + 1, all.sum / n, std::sqrt(all.m2 / (n - 1)), bound, std::sqrt(1.0 * n) * all.m3 / std::pow(all.m2, 1.5)});
  }
  Case result(n, checkpoints);
  result.config.confidence = 0.9;
  result.config.margin = 0.0;
  return result;
}

TEST(FalseAlarms, ATrueBoundIsCalledViolatedAtMostAsOftenAsTheLevelAllows) {
  std::mt19937_64 engine(21);
  int violated = 0;
  for (int i = 0; i < 4000; ++i) {
    violated += simulated(engine, {1, 1, 1, 1, 1}, 1.0).judge().verdict == Expectation::violated ? 1 : 0;
  }
  EXPECT_LT(violated, 4000 * 0.119);
  EXPECT_GT(violated, 4000 * 0.05);  // and the test is not idle: Bonferroni is nearly exact here
}

TEST(FalseAlarms, ABoundThatFailsSomewhereIsCalledHoldingAtMostAsOftenAsTheLevelAllows) {
  std::mt19937_64 engine(22);
  int one = 0, all = 0;
  for (int i = 0; i < 4000; ++i) {
    one += simulated(engine, {0.2, 0.2, 1, 0.2, 0.2}, 1.0).judge().verdict == Expectation::holds ? 1 : 0;
    all += simulated(engine, {1, 1, 1, 1, 1}, 1.0).judge().verdict == Expectation::holds ? 1 : 0;
  }
  EXPECT_LT(one, 4000 * 0.119);
  EXPECT_GT(one, 4000 * 0.05);
  EXPECT_LT(all, 40);
}

// ---- from statistics to verdict: DSGD on an isotropic quadratic, sampled from its exact Gaussian law

TEST(Verdicts, OnAnIsotropicQuadraticB3dHoldsAndB3pIsExceededByThePredictedFactor) {
  constexpr int dim = 64, n_paths = 100000;
  constexpr double eta = 0.2;
  auto config = method(MethodKind::dsgd, eta, 4, 2.0, 40, 8);
  config.paths = n_paths;
  const Objective objective(quadratic(std::vector<double>(dim, 1.0), 1.0));
  // x_k = m + s z in every coordinate, m' = (1 - eta) m, s'^2 = (1 - eta)^2 s^2 + eta^2 sigma^2/N.
  std::mt19937_64 engine(31);
  std::normal_distribution<double> normal;
  std::gamma_distribution<double> chi_square_63(31.5, 2.0);
  SimResult result;
  double m = 1.0, s2 = 0.0;
  std::uint64_t k = 0;
  for (const auto stop : config.checkpoint_steps) {
    for (; k < stop; ++k) {
      m *= 1.0 - eta;
      s2 = (1.0 - eta) * (1.0 - eta) * s2 + eta * eta;
    }
    Record all;
    for (int i = 0; i < n_paths; ++i) {
      const double along = 8.0 * m + std::sqrt(s2) * normal(engine);  // the coordinate along (1, .., 1)/8
      Record one;
      one.finite = 1;
      one.sum = one.min = one.max = 0.5 * (along * along + s2 * chi_square_63(engine));
      one.pl_min = one.pl_max = 1.0;
      merge(all, one);
    }
    result.records.push_back(all);
    for (auto& q : result.quantiles) q.push_back(all.sum / n_paths);
    result.group_means.emplace_back();
  }
  const Curve curve = make_curve(config, objective, result);
  std::vector<Verdict> verdicts;
  for (const char* theorem : {"B3", "B3p", "B3d"}) {
    BoundConfig bound;
    bound.theorem = theorem;
    bound.curve = curve.name;
    verdicts.push_back(judge(bound, evaluate_bound(theorem, config, objective, curve), config, curve, limit));
  }
  cross_reference(verdicts);
  EXPECT_EQ(verdicts[2].verdict, Expectation::holds) << verdicts[2].reason;
  EXPECT_NEAR(verdicts[2].tightness, 1.0, 0.004);
  for (const std::size_t i : {0u, 1u}) {
    EXPECT_EQ(verdicts[i].verdict, Expectation::violated);
    EXPECT_NEAR(verdicts[i].tightness, 1.0 / 0.9, 0.004);  // D = 1: 1/(1 - eta h/2)
    expect_contains(verdicts[i].reason, "= 1.111 exactly; B3d holds");
  }
}

}  // namespace
}  // namespace pathbound
