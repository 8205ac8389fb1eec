// SPDX-License-Identifier: Apache-2.0
// host/comparison.hpp: a method and its model with the same noise, and the standard error of their difference.
//
// False alarms: normal means at 5.5 standard errors, 3.8e-8 a check, and goodness of fit and counts at 2e-9, fewer than
// 100 checks; the seeds are fixed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "host/comparison.hpp"
#include "host/engine.hpp"
#include "tests/stat_assert.hpp"

namespace pathbound {
namespace {

bool says(const std::vector<std::string>& texts, const std::string& words) {
  return std::any_of(texts.begin(), texts.end(), [&](const auto& text) { return text.find(words) != text.npos; });
}

/// A method and a model of it, both simulated.
struct Pair {
  explicit Pair(const std::string& text)
      : experiment(parse_experiment(text, "test.toml")),
        objective(experiment.objective),
        method(run(config(0))),
        model(run(config(1))) {}
  const CurveConfig& config(std::size_t i) const { return experiment.curves[i]; }
  SimResult run(const CurveConfig& curve) const {
    RunOptions options;
    options.threads = 1;
    options.isa = isa_from_environment();
    return simulate(experiment, curve, objective, options);
  }
  Difference off() const { return difference(method, model, config(0).paths); }
  Comparison compared() const {
    const Curve a = make_curve(config(0), objective, method), b = make_curve(config(1), objective, model);
    return compare({config(0), method, a}, {config(1), model, b}, run(with_doubled_substeps(config(1))), objective,
                   experiment.precision);
  }
  Experiment experiment;
  Objective objective;
  SimResult method, model;
};

std::string text_of(const std::string& top, const std::string& objective, const std::string& noise,
                    const std::string& workers, const std::string& method, const std::string& model) {
  return top + "\n[objective]\n" + objective + "\n[noise]\n" + noise + "\n[workers]\n" + workers +
         "\n[[curve]]\nname = \"a\"\n" + method + "\n[[curve]]\nname = \"b\"\nof = \"a\"\n" + model + "\n";
}
const std::string quadratic = "kind = \"quadratic\"\ndim = 3\nspectrum = { kind = \"linear\", min = 0.5, max = 1.5 }";
const std::string euler1 = "model = \"first_order\"\nsubsteps = 1", euler2 = "model = \"first_order\"\nsubsteps = 2";

// Euler with one substep is the method, x - (eta/N) sum_i (v + s_i z_i), with the method's own noise: the same paths,
// but for rounding.
TEST(Coupling, OneEulerSubstepIsTheMethodWithGaussianNoisePathByPath) {
  for (const std::string& objective : {quadratic, std::string("kind = \"quartic\"\ndim = 2"),
                                       std::string("kind = \"logistic\"\ndim = 3\nrows = 11\nlam = 0.1")}) {
    for (const std::string workers : {"count = 1", "count = 5", "count = 3\nscale = [0.2, 1.0, 0.5]\nbatch = [1, 2, 4]",
                                      "count = 2\nscale = [0.0, 1.0]", "count = 2\nscale = 0.0"}) {
      for (const std::string noise : {"scale = 0.5", "scale = 0.5\naffine = 0.7"}) {
        for (const std::string schedule : {"", "\nschedule = { kind = \"polynomial\", k0 = 2.0, p = 0.5 }"}) {
          const Pair pair(text_of("precision = \"double\"\npaths = 300\nsteps = 20", objective, noise, workers,
                                  "method = \"dsgd\"\neta = 0.1" + schedule, euler1));
          SCOPED_TRACE(objective + "\n" + workers + "\n" + noise + schedule);
          for (std::size_t c = 0; c < pair.method.records.size(); ++c) {
            const Record &a = pair.method.records[c], &b = pair.model.records[c];
            EXPECT_EQ(a.finite, 300u);
            // 20 steps of roundings of 1e-16 of numbers of order 1.
            EXPECT_NEAR(a.sum, b.sum, 1e-12 * a.sum);
            EXPECT_NEAR(a.min, b.min, 1e-13 * a.max);
            EXPECT_NEAR(a.max, b.max, 1e-12 * a.max);
            EXPECT_NEAR(a.m2, b.m2, 1e-11 * a.m2 + 1e-28);
          }
          const CurveSpec<double> method(pair.experiment, pair.config(0), pair.objective),
              model(pair.experiment, pair.config(1), pair.objective);
          for (const std::uint64_t path : {std::uint64_t{0}, std::uint64_t{37}, std::uint64_t{299}}) {
            std::vector<double> x, y;
            const auto dim = static_cast<std::size_t>(pair.objective.config().dim);
            trace_cpu<double>(
                method.spec, path, best_isa(),
                [&](std::uint64_t, const double* at, double, double, bool) { x.insert(x.end(), at, at + dim); });
            trace_cpu<double>(model.spec, path, best_isa(), [&](std::uint64_t, const double* at, double, double, bool) {
              y.insert(y.end(), at, at + dim);
            });
            ASSERT_EQ(x.size(), y.size());
            for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 1e-13);
          }
        }
      }
    }
  }
}

TEST(Coupling, CancelsNearlyAllVariance) {
  const std::string method = "method = \"dsgd\"\neta = 0.05";
  const auto reduction = [&](const std::string& noise, const std::string& model) {
    const Pair pair(
        text_of("precision = \"double\"\npaths = 4096\nsteps = 20", quadratic, noise, "count = 2", method, model));
    return pair.off().variance_reduction.back();
  };
  EXPECT_GT(reduction("", euler1), 1e20);
  EXPECT_GT(reduction("", "model = \"first_order\""), 100.0);
  EXPECT_GT(reduction("", "model = \"second_order\"\nintegrator = \"weak2\""), 100.0);
  // Other laws have draws of their own; 128 groups: to 13% a standard error.
  const double independent = reduction("law = \"student_t\"\nnu = 30.0", "model = \"first_order\"");
  EXPECT_GT(independent, 0.4);
  EXPECT_LT(independent, 2.5);
}

/// E f of DSGD (O2), n = 0, and of n Euler substeps of its first-order model, by their recursions: at the last step.
double quadratic_mean(const Pair& pair, int n) {
  const auto& h = pair.experiment.objective.eigenvalues;
  const CurveConfig& curve = pair.config(0);
  double sum = 0.0;
  for (std::size_t j = 0; j < h.size(); ++j) {
    double m = pair.experiment.objective.start[j] * pair.experiment.objective.start[j];
    const int parts = std::max(n, 1);
    const double kept = 1.0 - curve.eta * h[j] / parts;
    for (std::uint64_t i = 0; i < curve.steps * static_cast<std::uint64_t>(parts); ++i)
      m = kept * kept * m + curve.eta * curve.eta / (curve.workers.count * parts);
    sum += 0.5 * h[j] * m;
  }
  return sum;
}

TEST(WeakError, IsTheDifferenceOfTheExactMeansWithinASmallError) {
  for (const std::string workers : {"count = 1", "count = 5"}) {
    const Pair pair(text_of("precision = \"double\"\npaths = 65536\nsteps = 10\ncheckpoints = 1", quadratic, "",
                            workers, "method = \"dsgd\"\neta = 0.1", "model = \"first_order\"\nsubsteps = 16"));
    const double exact = quadratic_mean(pair, 0) - quadratic_mean(pair, 16);
    const Comparison compared = pair.compared();
    EXPECT_TRUE(stat::near(compared.weak_error.back(), exact, compared.standard_error.back()));
    EXPECT_LT(compared.standard_error.back(), 0.03 * std::abs(exact));
    const double own = 2.0 * (quadratic_mean(pair, 16) - quadratic_mean(pair, 32));
    EXPECT_TRUE(stat::near(compared.integrator_error.back(), own, compared.integrator_standard_error.back()));
    // Which is the error of 16 substeps up to the next order, 1/16 of it.
    const double whole = quadratic_mean(pair, 16) - quadratic_mean(pair, 1 << 14);
    EXPECT_NEAR(own, whole, std::abs(whole) / 16.0);
    EXPECT_EQ(compared.groups, pair.method.group_means.front().size());
    EXPECT_EQ(summary_of(compared).resolved, true);
    EXPECT_EQ(compared.weak_error.front(), 0.0);
    EXPECT_EQ(compared.standard_error.front(), 0.0);
    EXPECT_TRUE(compared.notes.empty());
    EXPECT_EQ(compared.method, "a");
    EXPECT_EQ(compared.model, "b");
  }
}

TEST(WeakError, StandardErrorsAreThoseOfTheScatterOfManyRuns) {
  std::vector<double> z;
  for (int seed = 1; seed <= 200; ++seed) {
    const Pair pair(
        text_of(fmt::format("seed = {}\nprecision = \"double\"\npaths = 2048\nsteps = 5\ncheckpoints = 1", seed),
                quadratic, "", "", "method = \"dsgd\"\neta = 0.2", euler2));
    const Difference off = pair.off();
    z.push_back((off.value.back() - (quadratic_mean(pair, 0) - quadratic_mean(pair, 2))) / off.standard_error.back());
  }
  double sum = 0.0, square = 0.0;
  for (const double value : z) {
    sum += value;
    square += value * value;
  }
  // Student's t with 63 degrees of freedom: variance 63/61, fourth moment 3 (63/61)^2 61/59, close enough to normal.
  EXPECT_LT(std::abs(sum), 5.5 * std::sqrt(200.0 * 63.0 / 61.0));
  EXPECT_TRUE(stat::chi_square_fits(square * 61.0 / 63.0, 200.0));
}

TEST(WeakError, DoesNotExistWhereAPathHasDiverged) {
  // The limit is passed by some paths, but not at once.
  const Pair pair(text_of("limit = 1.5\npaths = 1024\nsteps = 10",
                          "kind = \"quadratic\"\nspectrum = { kind = \"list\", "
                          "eigenvalues = [1.0] }",
                          "scale = 2.0", "", "method = \"dsgd\"\neta = 0.1", euler2));
  ASSERT_LT(pair.method.records.back().finite, 1024u);
  ASSERT_GT(pair.method.records.back().finite, 0u);
  const Difference off = pair.off();
  for (std::size_t c = 0; c < off.value.size(); ++c) {
    const bool all = pair.method.records[c].finite == 1024 && pair.model.records[c].finite == 1024;
    EXPECT_EQ(std::isnan(off.value[c]), !all) << c;
    EXPECT_EQ(std::isnan(off.standard_error[c]), !all) << c;
    EXPECT_TRUE(all || std::isnan(off.variance_reduction[c]));
  }
  EXPECT_FALSE(std::isnan(off.value.front()));
  const Comparison compared = pair.compared();
  for (const auto& [name, result] : {std::pair("'a'", &pair.method), std::pair("'b'", &pair.model)})
    EXPECT_TRUE(says(compared.notes, fmt::format("{} of 1024 paths of {} have diverged by step 10",
                                                 1024 - result->records.back().finite, name)));
}

TEST(WeakError, HasNoStandardErrorWithFewGroups) {
  for (const int paths : {20, 32 * 7, 32 * 7 + 31, 32 * 8, 1000}) {
    const Pair pair(text_of(fmt::format("paths = {}\nsteps = 3", paths), quadratic, "", "",
                            "method = \"dsgd\"\neta = 0.1", euler2));
    const Difference off = pair.off();
    const bool enough = paths >= 32 * 8;
    EXPECT_FALSE(std::isnan(off.value.back())) << paths;
    EXPECT_EQ(std::isnan(off.standard_error.back()), !enough) << paths;
    EXPECT_EQ(std::isnan(off.variance_reduction.back()), !enough) << paths;
    const std::vector<std::string> notes = pair.compared().notes;
    EXPECT_EQ(notes.size(), enough ? 0u : 1u) << paths;
    EXPECT_TRUE(enough || notes.front().find("at least 256 paths") != std::string::npos);
  }
}

TEST(WeakError, HasNoStandardErrorUnderHeavyTails) {
  // nu <= 4: the variance of S is infinite.
  const Pair pair(text_of("paths = 512\nsteps = 3",
                          "kind = \"quadratic\"\nspectrum = { kind = \"list\", eigenvalues = [1.0] "
                          "}",
                          "law = \"student_t\"\nnu = 3.0", "", "method = \"dsgd\"\neta = 0.1", euler2));
  const Comparison compared = pair.compared();
  EXPECT_TRUE(says(compared.notes, "independent draws"));
  EXPECT_TRUE(says(compared.notes, "no standard errors: the sampling variance of 'a' cannot be trusted"));
  EXPECT_FALSE(says(compared.notes, "'b'"));
}

// ---- comparisons of results made by hand ------------------------------------------------------------------------

const std::string gd = "method = \"dsgd\"\neta = 0.1";
const std::string weak2 = "model = \"first_order\"\nintegrator = \"weak2\"\nsubsteps = 1";

/// 2048 paths in 64 groups, S = `level` for all of them at checkpoints 0 .. n, until a test says otherwise.
struct Made {
  explicit Made(const std::string& model, const std::string& method = gd, const std::string& noise = "",
                int checkpoints = 4, double level = 1.0, const std::string& objective_text = quadratic)
      : experiment(parse_experiment(
            text_of(fmt::format("paths = 2048\nsteps = {}", checkpoints), objective_text, noise, "", method, model),
            "test.toml")),
        objective(experiment.objective) {
    for (std::size_t i = 0; i < 3; ++i) {
      SimResult& result = results[i];
      result.group_paths = 32;
      const std::size_t n = experiment.curves[0].checkpoint_steps.size();
      Record record;
      record.finite = 2048;
      record.sum = 2048.0 * level;
      record.m2 = 2047.0 * level * level;
      result.records.assign(n, record);
      result.group_means.assign(n, std::vector<double>(64, level));
      for (auto& quantile : result.quantiles) quantile.assign(n, level);
    }
    for (std::size_t i = 0; i < 2; ++i) curves[i] = make_curve(experiment.curves[i], objective, results[i]);
  }

  /// Curve i (0: method, 1: model, 2: twice the substeps) has its mean at checkpoint c moved by `off`, with this
  /// standard error of its difference from a curve left alone.
  void move(std::size_t i, std::size_t c, double off, double error) {
    results[i].records[c].sum += 2048.0 * off;
    if (i < 2) curves[i].mean[c] += off;
    // Of 64 groups: half above, half below; sample variance (64/63) a^2 of a group, a^2/63 of the mean.
    for (std::size_t g = 0; g < 64; ++g)
      results[i].group_means[c][g] += off + error * std::sqrt(63.0) * (g % 2 == 0 ? 1.0 : -1.0);
  }
  void diverge(std::size_t i, std::size_t c, std::uint64_t paths) {
    for (; c < results[i].records.size(); ++c) results[i].records[c].finite = 2048 - paths;
  }
  Comparison compared(Precision precision = Precision::double_) const {
    return compare({experiment.curves[0], results[0], curves[0]}, {experiment.curves[1], results[1], curves[1]},
                   results[2], objective, precision);
  }
  Summary summary(Precision precision = Precision::double_) const { return summary_of(compared(precision)); }

  Experiment experiment;
  Objective objective;
  SimResult results[3];
  Curve curves[2];
};

TEST(Resolved, FalseAlarmsAreOneInAHundredComparisons) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  const int runs = 3000, checkpoints = 200;
  for (const std::size_t groups : {std::size_t{8}, std::size_t{64}}) {
    int alarms = 0;
    for (int run = 0; run < runs; ++run) {
      Comparison comparison;
      comparison.groups = groups;
      for (int c = 0; c <= checkpoints; ++c) {
        // The difference is the mean of normal groups, no two checkpoints correlated.
        double sum = 0.0, square = 0.0;
        for (std::size_t g = 0; g < groups; ++g) {
          const double x = normal(random);
          sum += x;
          square += x * x;
        }
        const double n = static_cast<double>(groups), mean = sum / n;
        comparison.step.push_back(static_cast<std::uint64_t>(c));
        comparison.weak_error.push_back(mean);
        comparison.standard_error.push_back(std::sqrt((square - n * mean * mean) / (n - 1.0) / n));
      }
      alarms += *summary_of(comparison).resolved;
    }
    // At most 1%: the largest error need not be the one of most standard errors. That matters with few groups, whose
    // standard errors scatter; with 64 some alarms are left (none: probability 1e-9 at a rate of 0.7%).
    EXPECT_GE(1.0 - stat::binomial_cdf(alarms - 1, runs, 0.01), stat::level) << alarms;
    EXPECT_TRUE(alarms > 0 || groups == 8);
  }
}

TEST(Resolved, GoesByStudentsQuantileOverTheCheckpointsWithANumber) {
  const auto limit = [](double k) {
    return boost::math::quantile(boost::math::complement(boost::math::students_t(63.0), 0.005 / k));
  };
  EXPECT_NEAR(limit(200.0), 4.354, 0.001);
  for (const double k : {4.0, 3.0}) {
    for (const double sign : {-1.0, 1.0}) {
      for (const double off : {0.999, 1.001}) {
        Made made(weak2);
        made.move(0, 2, sign * 0.01 * off * limit(k), 0.01);
        if (k == 3.0) made.diverge(1, 4, 1);  // no number there
        const Summary summary = made.summary();
        EXPECT_EQ(summary.at, std::size_t{2});
        EXPECT_EQ(summary.resolved, off > 1.0) << k;
        EXPECT_EQ(says(summary.remarks, fmt::format("are needed (99% over {:g} checkpoints)", k)), off < 1.0);
      }
    }
  }
}

TEST(Resolved, TheLargestWeakErrorIsReportedNotTheMostSignificant) {
  Made made(weak2);
  made.move(0, 1, -0.5, 0.01);
  made.move(0, 3, 0.51, 0.5);
  EXPECT_EQ(made.summary().at, std::size_t{3});
  EXPECT_EQ(made.summary().resolved, false);
}

TEST(Resolved, NotWithoutAStandardErrorNorWithoutADifference) {
  Made made(weak2);
  EXPECT_EQ(made.summary().resolved, false);  // both the same
  EXPECT_TRUE(says(made.summary().remarks, "not resolved"));
  made.move(0, 2, 0.5, 0.001);
  EXPECT_EQ(made.summary().resolved, true);
  Comparison compared = made.compared();
  compared.standard_error[2] = std::nan("");
  EXPECT_EQ(summary_of(compared).resolved, false);
  EXPECT_TRUE(says(summary_of(compared).remarks, "no standard error"));
  compared.standard_error[2] = 0.0;  // no noise: exact
  EXPECT_EQ(summary_of(compared).resolved, true);
  compared.groups = 0;
  EXPECT_EQ(summary_of(compared).resolved, false);
  compared.weak_error.assign(5, std::nan(""));
  EXPECT_FALSE(summary_of(compared).at.has_value());
  EXPECT_FALSE(summary_of(compared).resolved.has_value());
  EXPECT_TRUE(summary_of(compared).remarks.empty());
  EXPECT_FALSE(summary_of({}).resolved.has_value());
}

TEST(IntegratorError, IsExtrapolatedByTheIntegratorsOrder) {
  const std::string aware = "model = \"hessian_aware\"";
  for (const auto& [model, factor] : {std::pair(euler2, 2.0), std::pair(weak2, 4.0 / 3.0), std::pair(aware, 2.0)}) {
    Made made(model);
    made.move(0, 2, 0.5, 0.001);
    made.move(2, 2, -0.25, 0.01);
    const Comparison compared = made.compared();
    EXPECT_NEAR(compared.integrator_error[2], 0.25 * factor, 1e-12);
    EXPECT_NEAR(compared.integrator_standard_error[2], 0.01 * factor, 1e-12);
    EXPECT_NEAR(compared.weak_error[2], 0.5, 1e-12);
  }
}

TEST(IntegratorError, IsSaidToBeLargeOrUntold) {
  struct Case {
    double error, standard_error;
    const char* said;  ///< null: nothing
  };
  // The weak error is 0.5, a fifth of it 0.1; Student's limit at 99% is 2.66 standard errors.
  for (const Case& c : {Case{0.09, 0.003, nullptr}, Case{0.09, 0.005, "perhaps more than a fifth"},
                        Case{-0.11, 0.003, "error more than a fifth"}, Case{0.11, 0.005, "perhaps more than a fifth"},
                        Case{0.0, 0.0, nullptr}, Case{0.2, 0.0, "error more than a fifth"}}) {
    for (const bool aware : {false, true}) {
      Made made(aware ? "model = \"hessian_aware\"" : euler2);
      made.move(0, 2, 0.5, 0.001);
      made.move(2, 2, -0.5 * c.error, 0.5 * c.standard_error);
      const std::vector<std::string> remarks = made.summary().remarks;
      ASSERT_EQ(remarks.size(), c.said == nullptr ? 0u : 1u) << c.error << ' ' << c.standard_error;
      if (c.said == nullptr) continue;
      EXPECT_TRUE(says(remarks, c.said));
      EXPECT_EQ(says(remarks, "more substeps"), !aware && std::abs(c.error) > 0.1);
      EXPECT_EQ(says(remarks, "paths"), aware || c.standard_error == 0.005);
    }
  }
  // Other objectives and DSignSGD do depend on the substeps of hessian_aware.
  EXPECT_FALSE(Made("model = \"hessian_aware\"").compared().more_substeps_help);
  EXPECT_TRUE(Made("model = \"hessian_aware\"", gd, "", 4, 1.0, "kind = \"quartic\"").compared().more_substeps_help);
  EXPECT_TRUE(Made("model = \"hessian_aware\"", "method = \"dsignsgd\"\neta = 0.1").compared().more_substeps_help);
}

TEST(IntegratorError, IsNotKnownWhenTwiceTheSubstepsDiverge) {
  Made made(euler2);
  made.move(0, 3, 0.5, 0.001);
  made.diverge(2, 2, 17);
  const Comparison compared = made.compared();
  EXPECT_TRUE(std::isnan(compared.integrator_error[3]));
  EXPECT_TRUE(says(compared.notes,
                   "no integrator error from step 2 on: with twice the substeps 17 of 2048 paths have diverged by step "
                   "4"));
  EXPECT_TRUE(says(summary_of(compared).remarks, "Integrator error not known"));
  EXPECT_EQ(summary_of(compared).resolved, true);
  // Nothing to say where there is no weak error either.
  made.diverge(1, 2, 1);
  EXPECT_FALSE(says(made.compared().notes, "twice the substeps"));
}

TEST(ComparisonNotes, SayThatTheMeanIsRestricted) {
  Made made(weak2, gd, "", 4, 1.0, "kind = \"quartic\"");
  const Comparison compared = made.compared();
  EXPECT_EQ(compared.mean_is, MeanIs::restricted);
  EXPECT_TRUE(says(compared.notes,
                   "E S of 'a' and 'b' is restricted to paths that have not diverged, and so is the "
                   "difference"));
  made.curves[1].mean_is = MeanIs::expectation;
  EXPECT_TRUE(says(made.compared().notes, "E S of 'a' is restricted"));
  EXPECT_EQ(made.compared().mean_is, MeanIs::restricted);
  EXPECT_EQ(Made(weak2).compared().mean_is, MeanIs::expectation);
}

TEST(ComparisonNotes, SayThatADoubtfulVarianceHasNoStandardErrors) {
  for (const std::size_t which : {0u, 1u}) {
    Made made(weak2);
    made.move(0, 2, 0.5, 0.001);
    made.move(2, 2, 0.001, 0.0001);
    made.curves[which].variance_doubtful = true;
    const Comparison compared = made.compared();
    for (std::size_t c = 1; c < 5; ++c) {
      EXPECT_TRUE(std::isnan(compared.standard_error[c]));
      EXPECT_TRUE(std::isnan(compared.variance_reduction[c]));
      EXPECT_FALSE(std::isnan(compared.weak_error[c]));
      EXPECT_EQ(std::isnan(compared.integrator_standard_error[c]), which == 1);
    }
    EXPECT_EQ(compared.standard_error[0], 0.0);
    EXPECT_EQ(summary_of(compared).resolved, false);
    EXPECT_TRUE(says(compared.notes, fmt::format("no standard errors: the sampling variance of '{}' cannot be trusted",
                                                 which == 0 ? "a" : "b")));
  }
}

TEST(Rounding, BelowItNothingIsResolved) {
  // Below the level of either curve.
  for (const std::size_t which : {0u, 1u}) {
    Made made(weak2);
    made.move(0, 2, 0.5, 0.001);
    made.curves[which].rounding_level = 1.2;
    Comparison compared = made.compared(Precision::single);
    const bool everywhere = which == 1;  // the method's mean is 1.5 at checkpoint 2
    EXPECT_EQ(summary_of(compared).resolved, !everywhere);
    EXPECT_EQ(says(summary_of(compared).remarks, "below the rounding of the arithmetic"), everywhere);
    EXPECT_EQ(compared.below_rounding, (std::vector<bool>{false, true, everywhere, true, true}));
    EXPECT_TRUE(says(compared.notes, everywhere
                                         ? "below the rounding of the arithmetic everywhere: use precision = \"double\""
                                         : "at 3 of 4 checkpoints after step 0: use precision = \"double\""));
    compared = made.compared(Precision::double_);
    EXPECT_TRUE(says(compared.notes, "below the rounding of the arithmetic"));
    EXPECT_FALSE(says(compared.notes, "precision"));
  }
  // Below sqrt(4 steps * 2 substeps) roundings of the mean, 1.
  for (const Precision precision : {Precision::single, Precision::double_}) {
    const double rounding = std::sqrt(8.0) * (precision == Precision::single ? 0x1p-24 : 0x1p-53);
    for (const double off : {0.5, 2.0}) {
      Made made(euler2);
      for (std::size_t c = 1; c < 4; ++c) made.move(0, c, 1e-3 * rounding * static_cast<double>(c), 0.0);
      made.move(0, 4, off * rounding, 0.0);
      const Comparison compared = made.compared(precision);
      EXPECT_EQ(compared.below_rounding[4], off < 1.0);
      EXPECT_EQ(summary_of(compared).resolved, off > 1.0);
      EXPECT_TRUE(says(compared.notes, off < 1.0 ? "everywhere" : "at 3 of 4"));
    }
  }
  // A small difference among large standard errors is chance.
  Made made(euler2);
  for (std::size_t c = 1; c < 5; ++c) made.move(0, c, 1e-9, 1e-3);
  EXPECT_EQ(made.summary(Precision::single).resolved, false);
  EXPECT_FALSE(says(made.compared(Precision::single).notes, "rounding"));
}

TEST(Rounding, HasNoVarianceReduction) {
  Made made(euler2);
  const double rounding = 0x1p-24 * std::sqrt(2.0 * 2.0), error = rounding / std::sqrt(2048.0);
  made.move(0, 2, 0.5, 3.0 * error);
  made.move(0, 3, 0.25, 30.0 * error);
  const Comparison compared = made.compared(Precision::single);
  EXPECT_TRUE(std::isnan(compared.variance_reduction[2]));
  EXPECT_FALSE(std::isnan(compared.variance_reduction[3]));
  EXPECT_TRUE(says(compared.notes, "no variance reduction where the difference varies from path to path by rounding"));
  EXPECT_EQ(summary_of(compared).resolved, true);  // a difference of 0.5 is no rounding
  EXPECT_FALSE(std::isnan(made.compared(Precision::double_).variance_reduction[2]));
  EXPECT_FALSE(says(made.compared(Precision::double_).notes, "no variance reduction"));
}

TEST(ComparisonNotes, SayThatOneEulerStepIsTheMethodItself) {
  const std::string rand = "method = \"dcsgd\"\neta = 0.1\ncompressor = { kind = \"rand_k\", k = 1 }";
  const std::string second = "model = \"second_order\"\nsubsteps = 1";
  const std::string student = "law = \"student_t\"\nnu = 9.0";
  const auto itself = [](const Made& made) { return says(made.compared().notes, "compares nothing"); };
  EXPECT_TRUE(itself(Made(euler1)));
  EXPECT_TRUE(itself(Made(euler1, "method = \"dcsgd\"\neta = 0.1")));
  EXPECT_FALSE(itself(Made(euler2)));
  EXPECT_FALSE(itself(Made(weak2)));
  EXPECT_FALSE(itself(Made(second)));
  EXPECT_FALSE(itself(Made(euler1, rand)));
  EXPECT_FALSE(itself(Made(euler1, gd, student)));
  EXPECT_FALSE(itself(Made(euler1, "method = \"dsignsgd\"\neta = 0.1")));

  // Simulated: only roundings are left.
  for (const std::string precision : {"float", "double"}) {
    for (const std::string method : {"dsgd", "dcsgd"}) {
      for (const std::string noise : {"scale = 0.5", "scale = 0.01", "scale = 0.1\naffine = 0.5", "scale = 0.0"}) {
        const Pair pair(text_of(fmt::format("precision = \"{}\"\npaths = 4096\nsteps = 40", precision), quadratic,
                                noise, "count = 3", fmt::format("method = \"{}\"\neta = 0.05", method), euler1));
        const Comparison compared = pair.compared();
        EXPECT_EQ(compared.notes.size(), 1u);
        EXPECT_TRUE(says(compared.notes, "one Euler step of this SDE is the method itself: this compares nothing"));
        EXPECT_EQ(summary_of(compared).resolved, false);
        for (std::size_t c = 1; c < compared.step.size(); ++c) {
          EXPECT_TRUE(std::isnan(compared.variance_reduction[c]));
          EXPECT_NEAR(compared.weak_error[c], 0.0, 1e-5);
        }
      }
    }
  }
}

TEST(ComparisonNotes, SayOneThingWhenThereIsNothingToCompare) {
  // E S infinite.
  Made missing(weak2, gd, "law = \"student_t\"\nnu = 3.0");
  missing.curves[0].mean_is = MeanIs::does_not_exist;
  missing.curves[0].variance_doubtful = true;
  EXPECT_EQ(missing.compared().notes,
            std::vector<std::string>{"E S of 'a' does not exist: there is nothing to compare"});
  EXPECT_FALSE(missing.summary().resolved.has_value());
  // No checkpoint.
  Made start(weak2);
  for (SimResult& result : start.results) {
    result.records.resize(1);
    result.group_means.resize(1);
  }
  for (Curve& curve : start.curves) curve.step.resize(1);
  EXPECT_EQ(start.compared().notes,
            std::vector<std::string>{"no checkpoint after step 0: there is nothing to compare"});
  // Diverged at once.
  Made diverged(weak2, gd, "law = \"student_t\"\nnu = 5.0");
  diverged.diverge(0, 1, 5);
  diverged.diverge(2, 1, 6);
  EXPECT_EQ(diverged.compared().notes,
            std::vector<std::string>{"5 of 2048 paths of 'a' have diverged by step 1: there is nothing to compare"});
}

TEST(ComparisonNotes, SayHowManyPathsHaveDiverged) {
  Made made(weak2);
  made.move(0, 1, 0.5, 0.001);
  made.diverge(1, 2, 3);
  made.diverge(1, 4, 7);
  EXPECT_EQ(made.compared().notes,
            std::vector<std::string>{"no comparison from step 2 on: 7 of 2048 paths of 'b' have diverged by step 4"});
}

TEST(ComparisonNotes, SayThatACutTailBiasesTheWeakError) {
  const std::string near = "law = \"student_t\"\nnu = 2.2";
  const std::string said = "the tail cut off the noise of 'a' biases the weak error: the model has the full variance";
  Made made(weak2, gd, near);
  EXPECT_FALSE(says(made.compared().notes, said));
  made.curves[0].notes.push_back("precision = \"float\" cuts about 13% of the variance of this noise (nu = 2.2)");
  EXPECT_TRUE(says(made.compared().notes, said));
  // The engine's own note is the one that is looked for.
  RunOptions options;
  options.threads = 1;
  options.isa = isa_from_environment();
  const Results results = run_experiment(made.experiment, options);
  ASSERT_EQ(results.comparisons.size(), 1u);
  EXPECT_TRUE(says(results.comparisons[0].notes, said));
}

}  // namespace
}  // namespace pathbound
