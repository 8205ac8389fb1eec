// SPDX-License-Identifier: Apache-2.0
// host/comparison.hpp: a method and its model with the same noise, and the standard error of their difference.
//
// False alarms: normal means at 5.5 standard errors, 3.8e-8 a check, and goodness of fit at 1e-9, fewer than 100
// checks; the seeds are fixed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "host/comparison.hpp"
#include "host/engine.hpp"
#include "tests/stat_assert.hpp"

namespace pathbound {
namespace {

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
    return compare({config(0), method, a}, {config(1), model, b}, run(with_doubled_substeps(config(1))));
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
    const double own = quadratic_mean(pair, 16) - quadratic_mean(pair, 32);
    EXPECT_TRUE(stat::near(compared.integrator_error.back(), own, compared.integrator_standard_error.back()));
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
  const Pair pair(text_of("limit = 6.0\npaths = 1024\nsteps = 10",
                          "kind = \"quadratic\"\nspectrum = { kind = \"list\", "
                          "eigenvalues = [1.0] }",
                          "scale = 2.0", "", "method = \"dsgd\"\neta = 0.5", euler2));
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
  const std::vector<std::string> notes = pair.compared().notes;
  EXPECT_EQ(std::count_if(notes.begin(), notes.end(), [](const auto& n) { return n.find("diverged") != n.npos; }), 2);
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

TEST(WeakError, SaysWhyThereIsNothingToCompare) {
  // Heavy tails: E S of the method is infinite from the first step on, and its model would not exist; of cosh with
  // Gaussian noise from the second.
  const Pair pair(text_of("paths = 512\nsteps = 3",
                          "kind = \"quadratic\"\nspectrum = { kind = \"list\", eigenvalues = [1.0] "
                          "}",
                          "law = \"student_t\"\nnu = 3.0", "", "method = \"dsgd\"\neta = 0.1", euler2));
  const std::vector<std::string> notes = pair.compared().notes;
  const auto says = [&](const std::string& words) {
    return std::any_of(notes.begin(), notes.end(), [&](const auto& n) { return n.find(words) != n.npos; });
  };
  EXPECT_TRUE(says("independent draws"));
  EXPECT_TRUE(says("sampling variance of 'a' cannot be trusted"));
  EXPECT_FALSE(says("of 'b'"));
}

}  // namespace
}  // namespace pathbound
