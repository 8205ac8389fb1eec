// SPDX-License-Identifier: Apache-2.0
// Sums over the steps and the bounds on averages made of them (theory B5, B6, B6d).
//
// False alarms: a mean is compared at 5.5 standard errors, two-sided, 3.8e-8 a check; this file makes about 40 such
// checks: 2e-6 in all. The seeds are fixed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/math/constants/constants.hpp>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "host/average_bounds.hpp"
#include "host/engine.hpp"
#include "host/laws.hpp"
#include "tests/host_fixtures.hpp"
#include "tests/stat_assert.hpp"

namespace pathbound {
namespace {

using Values = std::vector<double>;
constexpr double pi = boost::math::constants::pi<double>();

std::string text_of(const std::string& top, const std::string& objective, const std::string& rest) {
  return "seed = 11\n" + top + "\n[objective]\n" + objective + "\n" + rest;
}
Experiment parse(const std::string& text) { return parse_experiment(text, "test.toml"); }

struct Simulation {
  Experiment experiment;
  Objective objective;
  const CurveConfig& curve;
  SimResult result;
  explicit Simulation(const std::string& text, Isa isa = best_isa(), int threads = 2)
      : experiment(parse(text)), objective(experiment.objective), curve(experiment.curves.back()) {
    RunOptions options;
    options.threads = threads;
    options.isa = isa;
    result = simulate(experiment, curve, objective, options);
  }
};

/// E Y and E T at every record against exact ones.
void compare(const SimResult& result, const Values& y, const Values& t, double rounding) {
  ASSERT_EQ(result.records.size(), y.size());
  for (std::size_t c = 0; c < y.size(); ++c) {
    const Record& r = result.records[c];
    const double n = static_cast<double>(r.finite);
    SCOPED_TRACE(fmt::format("record {}", c));
    EXPECT_TRUE(stat::near(r.sum_y / n, y[c], std::sqrt(r.m2_y / (n * (n - 1.0))), rounding * (1.0 + std::fabs(y[c]))));
    EXPECT_NEAR(r.sum_t / n, t[c], rounding * (1.0 + t[c]));
  }
}

const std::string quadratic = "kind = \"quadratic\"\ndim = 2\nspectrum = { kind = \"list\", eigenvalues = [1.0, 0.3] }";

// O1: the sum of eta (E|grad f|^2 - c).
TEST(StepSums, OfCompressedGradientDescentOnAQuadraticAreExact) {
  const Simulation s(text_of("paths = 16384\nsteps = 40\ncheckpoints = 5\nprecision = \"double\"", quadratic,
                             "[workers]\ncount = 2\nbatch = 2\n[[curve]]\nname = \"c\"\nmethod = \"dcsgd\"\neta = 0.2\n"
                             "compressor = { kind = \"bernoulli\", p = 0.5 }\n[[bound]]\ntheorem = \"B5\"\ncurve = "
                             "\"c\"\n"));
  const double eta = 0.2, omega = 1.0, n = 2.0, batch = 2.0, K = 1.0 + omega / n, theta = eta * K * 1.0;
  const double c = theta * (1.0 + omega) * (2.0 / batch) / ((2.0 - theta) * K * n);
  EXPECT_NEAR(sums_needed("B5", s.curve, s.objective).level, c, 1e-14);
  const double h[] = {1.0, 0.3};
  double m[] = {1.0, 1.0}, sum = 0.0, time = 0.0;
  Values y, t;
  for (std::uint64_t k = 0; k <= 40; ++k) {
    if (k % 8 == 0) y.push_back(sum), t.push_back(time);
    sum += eta * (h[0] * h[0] * m[0] + h[1] * h[1] * m[1] - c);
    time += eta;
    for (int j = 0; j < 2; ++j) {
      const double z = eta * h[j];
      m[j] = m[j] * ((1.0 - z) * (1.0 - z) + z * z * omega / n) + eta * eta * (1.0 + omega) / (batch * n);
    }
  }
  compare(s.result, y, t, 1e-9);
}

// O3, with Euler's own recursion, which is exact; with a schedule.
TEST(StepSums, OfTheCurvatureModelOnAQuadraticAreExact) {
  const Simulation s(text_of("paths = 16384\nsteps = 20\ncheckpoints = 4", quadratic,
                             "[noise]\nscale = 0.7\n[workers]\ncount = 3\n[[curve]]\nname = \"c\"\nmethod = "
                             "\"dsgd\"\neta = 0.3\nschedule = { kind = \"polynomial\" }\n[[curve]]\nname = "
                             "\"m\"\nmodel = \"curvature\"\nof = \"c\"\nsubsteps = 4\n[[bound]]\ntheorem = "
                             "\"B5\"\ncurve = \"m\"\n"));
  const double theta = 0.3, c = theta * 2.0 * 0.49 / ((2.0 - theta) * 3.0);
  const double h[] = {1.0, 0.3};
  double m[] = {1.0, 1.0}, sum = 0.0, time = 0.0;
  Values y, t;
  for (int k = 0; k <= 20; ++k) {
    if (k % 5 == 0) y.push_back(sum), t.push_back(time);
    for (int i = 0; i < 4; ++i) {
      const double eta = 0.3 / std::sqrt(1.0 + k + 0.25 * i);
      sum += 0.25 * eta * (h[0] * h[0] * m[0] + h[1] * h[1] * m[1] - c);
      time += 0.25 * eta;
      for (int j = 0; j < 2; ++j) {
        const double z = eta * h[j], a = 1.0 - 0.25 * z * (1.0 - 0.5 * z);
        m[j] = m[j] * a * a + 0.25 * eta * eta * 0.49 / 3.0;
      }
    }
  }
  compare(s.result, y, t, 2e-5);
}

// O5: the law on the lattice x0 + (eta/N) Z.
TEST(StepSums, OfSignsAreThoseOfTheLattice) {
  const Simulation s(
      text_of("paths = 16384\nsteps = 24\ncheckpoints = 3\nprecision = \"double\"", "kind = \"quartic\"\nstart = 1.0",
              "[noise]\nlaw = \"student_t\"\nnu = 1.0\nscale = 0.8\n[workers]\ncount = 3\n[[curve]]\nname "
              "= \"c\"\nmethod = \"dsignsgd\"\neta = 0.15\n[[bound]]\ntheorem = \"B6d\"\ncurve = "
              "\"c\"\n"));
  constexpr int n = 3, steps = 24, middle = n * steps;
  const auto x = [](int i) { return 1.0 + 0.15 / n * (i - middle); };
  const auto xi = [&](int i) { return std::atan(std::pow(x(i), 3.0) / 0.8) / pi; };
  Values p(2 * middle + 1, 0.0);
  p[middle] = 1.0;
  double sum = 0.0;
  Values y, t;
  for (int k = 0; k <= steps; ++k) {
    if (k % 8 == 0) y.push_back(sum), t.push_back(0.15 * k);
    Values next(p.size(), 0.0);
    for (int i = 0; i < static_cast<int>(p.size()); ++i) {
      const double mass = p[static_cast<std::size_t>(i)];
      if (mass == 0.0) continue;
      sum += 0.15 * mass * 2.0 * xi(i) * std::pow(x(i), 3.0);
      if (k == steps) continue;
      const double up = 0.5 + xi(i), down = 1.0 - up;  // P(sign = 1)
      const double binomial[] = {down * down * down, 3.0 * down * down * up, 3.0 * down * up * up, up * up * up};
      for (int plus = 0; plus <= n; ++plus) next[static_cast<std::size_t>(i + n - 2 * plus)] += mass * binomial[plus];
    }
    p = next;
  }
  compare(s.result, y, t, 1e-9);
}

// O7: Chapman-Kolmogorov for a step that is normalised to (L0, L1).
TEST(StepSums, OfANormalisedStepOnTheQuarticAreExact) {
  const Simulation s(
      text_of("paths = 16384\nsteps = 8\ncheckpoints = 4\nprecision = \"double\"", "kind = \"quartic\"\nstart = 1.5",
              "[[curve]]\nname = \"c\"\nmethod = \"dsgd\"\neta = 0.1\nadaptive = { kind = \"l0l1\", theta "
              "= 0.8 }\n[[bound]]\ntheorem = \"B5\"\ncurve = \"c\"\n"));
  const double theta = 0.8, c = theta / (2.0 - theta), width = 0.01;
  constexpr int half = 400;
  const auto x = [&](int i) { return width * (i - half); };
  const auto eta = [&](double at) { return theta / (4.0 + std::fabs(at * at * at)); };
  Values p(2 * half + 1, 0.0), y, t;
  double sum = 0.0, time = 0.0;
  const auto move = [&](double from, double mass, Values& next) {
    const double mean = from - eta(from) * from * from * from, sd = eta(from);
    for (int i = 0; i <= 2 * half; ++i) {
      const double u = (x(i) - mean) / sd;
      if (std::fabs(u) < 12.0)
        next[static_cast<std::size_t>(i)] += mass * width * std::exp(-0.5 * u * u) / (sd * std::sqrt(2.0 * pi));
    }
  };
  for (int k = 0; k <= 8; ++k) {
    if (k % 2 == 0) y.push_back(sum), t.push_back(time);
    Values next(p.size(), 0.0);
    const auto add = [&](double at, double mass) {
      sum += mass * eta(at) * (std::pow(at, 6.0) - c);
      time += mass * eta(at);
      if (k < 8) move(at, mass, next);
    };
    if (k == 0) {
      add(1.5, 1.0);
    } else {
      for (int i = 0; i <= 2 * half; ++i) add(x(i), p[static_cast<std::size_t>(i)]);
    }
    p = next;
  }
  for (std::size_t i = 0; i < y.size(); ++i) {
    const Record& r = s.result.records[i];
    const double n = static_cast<double>(r.finite);
    EXPECT_TRUE(stat::near(r.sum_y / n, y[i], std::sqrt(r.m2_y / (n * (n - 1.0))), 1e-9));
    // T varies between 0 and theta/L0 a step.
    EXPECT_NEAR(r.sum_t / n, t[i], 5.5 * 0.1 * static_cast<double>(2 * i) / std::sqrt(n) + 1e-9);
  }
}

TEST(StepSums, AreTheSameOnEveryInstructionSetAndForEveryNumberOfThreads) {
  const std::string l0l1 = "adaptive = { kind = \"l0l1\", theta = 1.9, L0 = 0.5, L1 = 1.0 }\n";
  for (const std::string precision : {"float", "double"}) {
    for (const std::string& text :
         {text_of("paths = 300\nsteps = 9\nprecision = \"" + precision + "\"", "kind = \"cosh\"\ndim = 11\nstart = 0.5",
                  "[workers]\ncount = 2\n[[curve]]\nname = \"c\"\nmethod = \"dsgd\"\neta = 0.1\n" + l0l1 +
                      "[[bound]]\ntheorem = \"B5\"\ncurve = \"c\"\n"),
          text_of("paths = 300\nsteps = 5\nprecision = \"" + precision + "\"", "kind = \"cosh\"\ndim = 5\nstart = 0.5",
                  "[noise]\nlaw = \"student_t\"\nnu = 1.0\n[[curve]]\nname = \"c\"\nmethod = \"dsignsgd\"\neta = "
                  "0.05\n[[curve]]\nname = \"m\"\nmodel = \"curvature\"\nof = \"c\"\nsubsteps = 2\n[[bound]]\ntheorem "
                  "= \"B6\"\ncurve = \"m\"\n")}) {
      const Simulation reference(text, Isa::scalar, 1);
      EXPECT_GT(reference.result.records.back().sum_t, 0.0);
      for (const Isa isa : {Isa::avx2, Isa::avx512}) {
        if (!isa_available(isa)) continue;
        const Simulation other(text, isa, 3);
        for (std::size_t c = 0; c < reference.result.records.size(); ++c)
          EXPECT_EQ(std::memcmp(&reference.result.records[c], &other.result.records[c], sizeof(Record)), 0)
              << name_of(isa) << ", record " << c;
      }
    }
  }
}

TEST(StepSums, MergeToTheMomentsOfAllPathsAndEmptyRecordsChangeNothing) {
  std::mt19937 random(5);
  std::gamma_distribution<double> gamma(2.0);
  const auto record_of = [](const Values& v) {
    Record r;
    for (const double y : v) r.sum_y += y;
    r.finite = v.size();
    const double mean = r.sum_y / static_cast<double>(v.size());
    for (const double y : v) r.m2_y += std::pow(y - mean, 2.0), r.m3_y += std::pow(y - mean, 3.0);
    r.sum_t = 3.0 * static_cast<double>(v.size());
    r.smoothness = mean;
    return r;
  };
  for (const std::size_t left : {7u, 32u}) {
    Values a, b, all;
    for (std::size_t i = 0; i < left; ++i) a.push_back(gamma(random));
    for (std::size_t i = 0; i < 32; ++i) b.push_back(5.0 + gamma(random));
    all = a;
    all.insert(all.end(), b.begin(), b.end());
    Record merged = record_of(a);
    const Record right = record_of(b), direct = record_of(all);
    merge(merged, right);
    EXPECT_NEAR(merged.sum_y, direct.sum_y, 1e-12 * direct.sum_y);
    EXPECT_NEAR(merged.m2_y, direct.m2_y, 1e-11 * direct.m2_y);
    EXPECT_NEAR(merged.m3_y, direct.m3_y, 1e-9 * std::fabs(direct.m3_y) + 1e-9);
    EXPECT_EQ(merged.sum_t, direct.sum_t);
    EXPECT_EQ(merged.smoothness, right.smoothness);
    Record same = merged, empty;
    merge(same, Record());
    merge(empty, merged);
    EXPECT_EQ(std::memcmp(&same, &merged, sizeof(Record)), 0);
    EXPECT_EQ(std::memcmp(&empty, &merged, sizeof(Record)), 0);
  }
}

// ---- values and assumptions

const Assumption* find(const BoundValue& bound, const std::string& name) {
  for (const Assumption& a : bound.assumptions)
    if (a.name == name) return &a;
  return nullptr;
}
double constant(const BoundValue& bound, const std::string& name) {
  for (const auto& [key, value] : bound.constants)
    if (key == name) return value;
  return std::nan("");
}
Curve with_weights(const CurveConfig& config) {
  Curve curve;
  curve.name = config.name;
  curve.step = config.checkpoint_steps;
  curve.paths = config.paths;
  double sum = 0.0;
  std::uint64_t k = 0;
  for (const auto stop : curve.step) {
    for (; k < stop; ++k) sum += prescribed_step(config, k);
    curve.time.push_back(sum);
    curve.sums.weight.push_back(sum);
  }
  curve.finite.assign(curve.step.size(), config.paths);
  return curve;
}

TEST(BoundB6, TakesTheSmallestYThatMeetsItsCondition) {
  CurveConfig config = fixtures::method(MethodKind::dsignsgd, 0.05, 4, 2.0, 10);
  config.noise.law = {LawKind::student_t, 1.0};
  const Objective objective(fixtures::simple(ObjectiveKind::cosh, {0.5, 0.5}));
  const double S0 = objective.constants().suboptimality_at_start;
  const BoundValue sde = evaluate_bound("B6", config, objective, with_weights(config));
  EXPECT_TRUE(sde.applicable());
  const double Y = std::tan(0.5 * pi * 0.1);  // (2/pi) atan Y = eta L1 d
  EXPECT_NEAR(constant(sde, "Y"), Y, 1e-12);
  EXPECT_TRUE(std::isnan(sde.value[0]));
  EXPECT_NEAR(sde.value[10], 2.0 * S0 / 0.5 + 0.1 * (1.0 + 0.5 * 2.0 * Y), 1e-12);
  const double a = 0.05 * std::sqrt(2.0), R = 2.0 * (std::exp(a) - 1.0 - a) / (a * a);
  const BoundValue iterates = evaluate_bound("B6d", config, objective, with_weights(config));
  const double Yd = std::tan(0.5 * pi * 0.1 * R);
  EXPECT_NEAR(constant(iterates, "R"), R, 1e-12);
  EXPECT_NEAR(iterates.value[10], 2.0 * S0 / 0.5 + 0.1 * R * (1.0 + 0.5 * 2.0 * Yd), 1e-9);
}

TEST(BoundB6, WithAScheduleItIsTheWeightedSumAndNoWorseThanWithOneY) {
  CurveConfig config = fixtures::method(MethodKind::dsignsgd, 0.3, 4, 2.0, 400, 100);
  config.schedule.kind = ScheduleKind::polynomial;
  const Objective objective(fixtures::simple(ObjectiveKind::quartic, {1.0, 1.0}));
  const Curve curve = with_weights(config);
  const BoundValue bound = evaluate_bound("B6d", config, objective, curve);
  ASSERT_TRUE(bound.applicable());
  double with_one = 2.0 * objective.constants().suboptimality_at_start, without = with_one;
  for (int k = 0; k < 400; ++k) {
    const double eta = prescribed_step(config, static_cast<std::uint64_t>(k)), a = eta * std::sqrt(2.0);
    const double R = 2.0 * (std::expm1(a) - a) / (a * a);
    with_one += 2.0 * eta * eta * R * (4.0 + 0.5 * constant(bound, "G"));
    without += 2.0 * eta * eta * R * 4.0;
  }
  const double sum = bound.value.back() * curve.sums.weight.back();
  EXPECT_LT(sum, with_one);
  EXPECT_GT(sum, without);
}

TEST(BoundB6, IsNotApplicableToLongSteps) {
  CurveConfig config = fixtures::method(MethodKind::dsignsgd, 0.6, 4, 2.0, 10);
  const Objective objective(fixtures::simple(ObjectiveKind::cosh, {0.5, 0.5}));
  EXPECT_FALSE(evaluate_bound("B6", config, objective, with_weights(config)).applicable());
  config.eta = 0.05;
  config.noise.affine = 0.5;
  EXPECT_FALSE(evaluate_bound("B6", config, objective, with_weights(config)).applicable());
  EXPECT_EQ(find(evaluate_bound("B6", config, objective, with_weights(config)), "rho = 0")->status,
            AssumptionStatus::failed);
}

TEST(BoundB5, OfTheObjectivesOwnPairIsProvedAndOfAnotherIsThatMuchLarger) {
  CurveConfig config = fixtures::method(MethodKind::dsgd, 0.1, 2, 3.0, 10);
  config.adaptive.kind = AdaptiveKind::l0l1;
  config.adaptive.theta = 0.5;
  const Objective objective(fixtures::simple(ObjectiveKind::cosh, {1.0, 1.0}));
  const double S0 = objective.constants().suboptimality_at_start;
  BoundValue bound = evaluate_bound("B5", config, objective, with_weights(config));
  EXPECT_EQ(find(bound, "(L0, L1)-smooth")->status, AssumptionStatus::proved);
  EXPECT_DOUBLE_EQ(bound.level, 0.5 * 18.0 / (1.5 * 2.0));
  EXPECT_NEAR(bound.value[10], S0 / 0.75 / 1.0 + bound.level, 1e-12);
  config.adaptive.L0 = 0.5;  // half of what holds: theta is twice as large
  config.adaptive.L1 = 1.0;
  bound = evaluate_bound("B5", config, objective, with_weights(config));
  EXPECT_EQ(find(bound, "(L0, L1)-smooth")->status, AssumptionStatus::proved);
  EXPECT_DOUBLE_EQ(constant(bound, "theta"), 1.0);
  config.adaptive.L0 = 0.1;  // 10 times theta is too much: |H| is looked at
  EXPECT_TRUE(sums_needed("B5", config, objective).track_smoothness);
  Curve curve = with_weights(config);
  curve.smoothness = {0.9};
  EXPECT_EQ(find(evaluate_bound("B5", config, objective, curve), "(L0, L1)-smooth")->status,
            AssumptionStatus::observed);
  curve.smoothness = {1.1};
  EXPECT_EQ(find(evaluate_bound("B5", config, objective, curve), "(L0, L1)-smooth")->status, AssumptionStatus::failed);
}

TEST(BoundB5, WithoutNormalisationEndsAtGc) {
  CurveConfig config = fixtures::method(MethodKind::dsgd, 0.1, 2, 1.0, 10);
  const Objective cosh(fixtures::simple(ObjectiveKind::cosh, {1.0}));
  const BoundValue bound = evaluate_bound("B5", config, cosh, with_weights(config));
  EXPECT_FALSE(bound.applicable());
  EXPECT_DOUBLE_EQ(constant(bound, "G_c"), 19.0);
  const Objective smooth(fixtures::quadratic({1.0, 0.5}));
  EXPECT_TRUE(evaluate_bound("B5", config, smooth, with_weights(config)).applicable());
  config.eta = 2.0;
  EXPECT_FALSE(evaluate_bound("B5", config, smooth, with_weights(config)).applicable());
  config.eta = 0.1;
  config.adaptive.kind = AdaptiveKind::gradient_norm;  // eta c (L0 + L1 r)/(c + r) is eta at most
  EXPECT_DOUBLE_EQ(constant(evaluate_bound("B5", config, cosh, with_weights(config)), "theta"), 0.1);
  config.adaptive.q = 0.5;
  EXPECT_FALSE(evaluate_bound("B5", config, cosh, with_weights(config)).applicable());
}

TEST(BoundB5, RefusesWhatItsProofDoesNotCover) {
  const Objective objective(fixtures::quadratic({1.0, 0.5}));
  CurveConfig config = fixtures::method(MethodKind::dsgd, 0.1, 2, 1.0, 10);
  config.noise.law = {LawKind::student_t, 1.5};
  EXPECT_FALSE(evaluate_bound("B5", config, objective, with_weights(config)).applicable());
  config = fixtures::method(MethodKind::dsignsgd, 0.1, 2, 1.0, 10);
  EXPECT_FALSE(evaluate_bound("B5", config, objective, with_weights(config)).applicable());
  EXPECT_EQ(sums_needed("B5", config, objective).kind, SumKind::none);
  config = fixtures::method(MethodKind::dcsgd, 0.1, 2, 1.0, 10);
  config.compressor.kind = CompressorKind::top_k;
  config.compressor.k = 1;
  EXPECT_FALSE(evaluate_bound("B5", config, objective, with_weights(config)).applicable());
}

// ---- verdicts

/// A curve whose sums have mean `y` and standard deviation 1 over its paths.
Verdict judged(double y, std::uint64_t finite = 1024) {
  CurveConfig config = fixtures::method(MethodKind::dsignsgd, 0.1, 2, 1.0, 4);
  Curve curve = with_weights(config);
  curve.finite.assign(5, finite);
  curve.mean.assign(5, 1.0);
  for (int c = 0; c < 5; ++c) {
    curve.sums.mean.push_back(c == 0 ? 0.0 : y);
    curve.sums.variance.push_back(c == 0 ? 0.0 : 1.0);
    curve.sums.standard_error.push_back(c == 0 ? 0.0 : 1.0 / std::sqrt(static_cast<double>(finite)));
    curve.sums.skew.push_back(0.0);
  }
  BoundValue bound;
  bound.theorem = "B6d";
  bound.quantity = "psi";
  for (const double w : curve.sums.weight) bound.value.push_back(w > 0.0 ? 1.0 / w : std::nan(""));  // E Y <= 1
  BoundConfig wanted;
  wanted.margin = 0.0;
  return judge(wanted, bound, config, curve, 1e30);
}

TEST(VerdictOnSums, IsInTheUnitsOfTheBoundAndHasNoneAtTheStart) {
  const Verdict v = judged(0.5);
  EXPECT_EQ(v.verdict, Expectation::holds);
  EXPECT_TRUE(std::isnan(v.empirical[0]));
  EXPECT_NEAR(v.empirical[4], 0.5 / 0.4, 1e-12);
  EXPECT_NEAR(v.tightness, 0.5, 1e-12);
  EXPECT_EQ(judged(1.5).verdict, Expectation::violated);
  EXPECT_EQ(judged(1.01).verdict, Expectation::inconclusive);
}

TEST(VerdictOnSums, SaysNothingOnceAPathHasDiverged) {
  const Verdict v = judged(1.5, 1023);
  EXPECT_EQ(v.verdict, Expectation::inconclusive);
  EXPECT_NE(v.reason.find("1 of 1024 paths diverged"), std::string::npos) << v.reason;
}

// At the bound itself a verdict is wrong with probability 1% at most; of 400 that are, 16 or more has probability 6e-6.
TEST(VerdictOnSums, IsRarelyWrongAtTheBound) {
  int violated = 0, holds = 0;
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  for (int i = 0; i < 400; ++i) {
    const Expectation e = judged(1.0 + normal(random) / std::sqrt(1024.0)).verdict;
    violated += e == Expectation::violated;
    holds += e == Expectation::holds;
  }
  EXPECT_LT(violated, 16);
  EXPECT_LT(holds, 16);
}

}  // namespace
}  // namespace pathbound
