// SPDX-License-Identifier: Apache-2.0
// The exact answers and the tests of bench_scaling_laws, and what its expectations rest on.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <random>

#include "bench/scaling.hpp"
#include "host/laws.hpp"
#include "tests/stat_assert.hpp"

namespace pathbound::scaling {
namespace {

const Parameters base{base_step, base_batch, 0.0, base_workers};
const Quadratic isotropic{{1.0, 1.0, 1.0}, 2.0, 1.5}, spectrum{{0.4, 0.7, 1.0}, 2.0, 1.5};
const LawSpec gaussian{LawKind::gaussian}, cauchy{LawKind::student_t, 1.0};

TEST(Scaling, ExactMeanIsTheRecursionOfTheSecondMoments) {
  const Parameters run{0.3, 2.0, 3.0, 4};
  std::vector<double> m(3, 1.5 * 1.5);
  for (int k = 0; k <= 40; ++k) {
    double s = 0.0;
    for (std::size_t j = 0; j < 3; ++j) s += 0.5 * spectrum.h[j] * m[j];
    EXPECT_NEAR(exact_mean(spectrum, run, k), s, 1e-14 * s);
    for (std::size_t j = 0; j < 3; ++j) {
      const double z = 0.3 * spectrum.h[j];
      m[j] = m[j] * ((1.0 - z) * (1.0 - z) + z * z * 3.0 / 4.0) + 0.3 * 0.3 * 4.0 * 4.0 / (2.0 * 4.0);
    }
  }
  EXPECT_NEAR(exact_level(spectrum, run), exact_mean(spectrum, run, 2000.0), 1e-12);
  // Beyond 2/(1 + omega/N) nothing is stationary.
  EXPECT_TRUE(std::isinf(exact_level(isotropic, {1.2, 2.0, 3.0, 4})));
}

TEST(Scaling, TheLevelIsTheLeadingOneOverOneMinusItsCorrection) {
  const Parameters run{0.1, 2.0, 3.0, 4};
  EXPECT_DOUBLE_EQ(level_correction(run, 2.0), 0.1 * (1.0 + 0.75));
  const double variance = 2.0 * 2.0 * 3;  // sigma^2 d
  EXPECT_NEAR(exact_level(isotropic, run), 0.25 * variance * leading_level(run) / (1.0 - level_correction(run, 1.0)),
              1e-14);
  // Two runs with the same leading level: the ratio is that of the corrections, whatever the noise and the start.
  const Parameters other = scaled(run, {2.0, 2.0, 1.0, 1.0});
  EXPECT_DOUBLE_EQ(leading_level(other), leading_level(run));
  EXPECT_NEAR(exact_level(isotropic, other) / exact_level(isotropic, run),
              (1.0 - level_correction(run, 1.0)) / (1.0 - level_correction(other, 1.0)), 1e-14);
}

TEST(Scaling, AFractionOfAWorkerIsRefused) {
  EXPECT_EQ(scaled(base, {1.0, 1.0, 1.0, 0.25}).workers, 1);
  EXPECT_THROW(scaled(base, {1.0, 1.0, 1.0, 0.3}), std::logic_error);
  EXPECT_THROW(scaled(base, {1.0, 1.0, 1.0, 0.0}), std::logic_error);
}

/// |log| of the level of a rule's setting over a reference's, by the exact answer.
double exact_deviation(const Quadratic& f, const Parameters& run, const Parameters& reference) {
  return std::abs(std::log(exact_level(f, run) / exact_level(f, reference)));
}

TEST(Scaling, CorrectionsFillHalfOfTheMarginInTheSettingsOfAllRules) {
  double largest = 0.0;
  for (const Rule& rule : compression_rules())
    for (const Setting& setting : rule.settings) {
      Parameters start = base;
      start.omega = setting.omega;
      for (const Parameters& run : {start, scaled(start, setting.by)})
        largest = std::max(largest, -std::log1p(-level_correction(run, 1.0)));
    }
  EXPECT_LE(2.0 * largest, 1.01 * margin);
  EXPECT_GE(2.0 * largest, 0.99 * margin);
}

TEST(Scaling, RulesAreExactlyWithinHalfTheMarginOrFarOutside) {
  for (const Rule& rule : compression_rules())
    for (const Setting& setting : rule.settings)
      for (const double omega : {0.0, setting.omega})
        for (const Quadratic& f : {isotropic, spectrum}) {
          Parameters start = base, reference = base;
          start.omega = setting.omega;
          reference.omega = omega;
          const Parameters run = scaled(start, setting.by);
          const double off = exact_deviation(f, run, reference);
          const double leading = leading_level(run) / leading_level(reference);
          if (preserves(leading)) {
            EXPECT_LE(off, 0.5 * margin) << rule.id << ", against omega = " << omega;
          } else {
            EXPECT_GE(std::abs(std::log(leading)), std::log(2.0) - 1e-12) << rule.id;
            EXPECT_GE(off, 4.0 * margin) << rule.id << ", against omega = " << omega;
          }
        }
}

TEST(Scaling, TransientsOfRulesThatPreserveAreExactlyWithinHalfTheMargin) {
  // From 16 levels, at equal Delta t.
  for (const Rule& rule : compression_rules())
    for (const Setting& setting : rule.settings)
      for (const double omega : {0.0, setting.omega})
        for (Quadratic f : {isotropic, spectrum}) {
          Parameters start = base, reference = base;
          start.omega = setting.omega;
          reference.omega = omega;
          const Parameters run = scaled(start, setting.by);
          if (!preserves(leading_level(run) / leading_level(reference))) continue;
          f.start *= std::sqrt(16.0 * exact_level(f, base) / exact_mean(f, base, 0.0));
          const double mu = f.h.front();
          for (const double time : {0.5, 1.0, 1.5, 2.0, 3.0, 4.0}) {
            const auto at = [&](const Parameters& p) {
              return exact_mean(f, p, time / (2.0 * mu * relaxation(p, 1.0) * p.eta));
            };
            EXPECT_LE(std::abs(std::log(at(run) / at(reference))), 0.5 * margin) << rule.id << " " << time;
          }
        }
}

TEST(Scaling, WhatEachRowPreservesIsWhatItsDerivationSays) {
  // docs/scaling_laws.md: row, uncompressed, compressed
  const std::vector<std::tuple<std::string_view, bool, bool>> derived = {{"row1", true, false},
                                                                         {"row2", true, false},
                                                                         {"row3", false, false},
                                                                         {"row3/coincidence", true, false},
                                                                         {"row3/uncompressed", true, false},
                                                                         {"row3/compressed", false, true},
                                                                         {"row4", false, true},
                                                                         {"row4/uncompressed", true, false},
                                                                         {"row5", true, false},
                                                                         {"row6", true, false},
                                                                         {"all/uncompressed", true, false},
                                                                         {"all/compressed", false, true}};
  const std::vector<Rule> rules = compression_rules();
  ASSERT_EQ(rules.size(), derived.size());
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const auto& [id, uncompressed, compressed] = derived[i];
    EXPECT_EQ(rules[i].id, id);
    for (const Setting& setting : rules[i].settings) {
      Parameters start = base;
      start.omega = setting.omega;
      const double level = leading_level(scaled(start, setting.by));
      EXPECT_EQ(preserves(level / leading_level(base)), uncompressed) << id;
      EXPECT_EQ(preserves(level / leading_level(start)), compressed) << id;
    }
  }
}

TEST(Scaling, OneStepOfSignsIsTheBinomial) {
  const auto xi = [](double y) { return noise_xi(gaussian, y); };
  const Parameters run{0.5, 4.0, 0.0, 2};
  const double up = boost::math::cdf(boost::math::normal(), 2.0 * 1.0 * 2.0 / 3.0);  // sqrt(B) h x/sigma
  const std::vector<double> means = exact_sign_means(2.0, 1.0, 3.0, run, xi, {0, 1});
  EXPECT_EQ(means[0], 1.0);
  EXPECT_NEAR(means[1], up * up * 0.25 + 2.0 * up * (1.0 - up) * 1.0 + (1.0 - up) * (1.0 - up) * 2.25, 1e-15);
}

TEST(Scaling, SignsFollowASimulationOfTheirOwn) {
  // One standard error of 2e5 paths is 0.3% of the mean; false alarms 3.8e-8 a check.
  const Parameters run{0.4, 1.0, 0.0, 3};
  const std::vector<std::uint64_t> steps = {1, 2, 7, 20};
  const std::vector<double> exact = exact_sign_means(
      1.5, 2.0, 1.0, run, [](double y) { return noise_xi(cauchy, y); }, steps);
  std::mt19937_64 engine(11);
  std::cauchy_distribution<double> noise;
  constexpr int n = 200000;
  std::vector<std::vector<double>> s(steps.size());
  for (int path = 0; path < n; ++path) {
    double x = 2.0;
    std::uint64_t k = 0;
    for (std::size_t c = 0; c < steps.size(); ++c) {
      for (; k < steps[c]; ++k) {
        int sum = 0;
        for (int i = 0; i < 3; ++i) sum += 1.5 * x + noise(engine) > 0.0 ? 1 : -1;
        x -= 0.4 / 3.0 * sum;
      }
      s[c].push_back(0.75 * x * x);
    }
  }
  for (std::size_t c = 0; c < steps.size(); ++c) {
    const stat::Moments m = stat::moments_of_sample(s[c]);
    EXPECT_TRUE(stat::near(m.mean, exact[c], m.standard_error)) << steps[c];
  }
}

TEST(Scaling, SignLevelsDeviateFromLeadingOrderAsTheirExpansionSays) {
  // docs/scaling_laws.md: relative correction (z/2)(1 + (3 b/l^2 - 1)/N) + O(z^2), 2 Xi(y) = l (y - b y^3 + ...).
  for (const auto& [law, b] : {std::pair{gaussian, 1.0 / 6.0}, std::pair{cauchy, 1.0 / 3.0}}) {
    const double l = noise_density_factor(law);
    const auto xi = [&law = law](double y) { return noise_xi(law, y); };
    for (const int n : {2, 4, 5}) {
      for (const double z : {0.02, 0.01}) {
        const Parameters run{0.25, 4.0, 0.0, n};
        const double sigma = 0.25 * l * 2.0 / z, leading = 0.25 * leading_sign_level(run) * sigma / l;
        EXPECT_NEAR(sign_rate(1.0, sigma, l, run), z, 1e-15);
        const double correction = exact_sign_level(1.0, 0.1, sigma, run, l, xi) / leading - 1.0;
        const double expected = 0.5 * z * (1.0 + (3.0 * b / (l * l) - 1.0) / n);
        EXPECT_NEAR(correction, expected, 2.0 * z * z) << n << " " << z;
      }
    }
  }
}

TEST(Scaling, SignRulesAreExactlyWithinHalfTheMarginOrFarOutside) {
  for (const LawSpec& law : {gaussian, cauchy}) {
    const double l = noise_density_factor(law), sigma = base_sign_step;  // scale-free: only eta l sqrt(B)/sigma counts
    const auto xi = [&](double y) { return noise_xi(law, y); };
    const Parameters start{base_sign_step * sigma / (l * std::sqrt(base_batch)), base_batch, 0.0, base_workers};
    const double reference = exact_sign_level(1.0, 0.0, sigma, start, l, xi);
    for (const Rule& rule : sign_rules())
      for (const Setting& setting : rule.settings) {
        const Parameters run = scaled(start, setting.by);
        const double off = std::abs(std::log(exact_sign_level(1.0, 0.0, sigma, run, l, xi) / reference));
        const bool same = preserves(leading_sign_level(run) / leading_sign_level(start));
        EXPECT_EQ(same, rule.id == "sign/printed");
        if (same) {
          EXPECT_LE(off, 0.5 * margin) << rule.id;
        } else {
          EXPECT_GE(off, 4.0 * margin) << rule.id;
        }
      }
  }
}

TEST(Equivalence, IsYesInsideNoOutsideAndOpenBetween) {
  const double half = half_width({0.0, 0.01, 63.0}, 0.001);
  EXPECT_NEAR(half_width({0.0, 1.0, 60.0}, 0.001), 3.2317, 5e-5);  // Student's 0.999 quantile, from a table
  const auto judged = [&](double value) { return equivalent({value, 0.01, 63.0}, 0.1, 0.001); };
  for (const double sign : {1.0, -1.0}) {
    EXPECT_EQ(judged(0.0), Preserved::yes);
    EXPECT_EQ(judged(sign * (0.1 - half - 1e-9)), Preserved::yes);
    EXPECT_EQ(judged(sign * (0.1 - half + 1e-9)), Preserved::open);
    EXPECT_EQ(judged(sign * (0.1 + half - 1e-9)), Preserved::open);
    EXPECT_EQ(judged(sign * (0.1 + half + 1e-9)), Preserved::no);
  }
  EXPECT_EQ(equivalent({std::nan(""), 0.01, 63.0}, 0.1, 0.001), Preserved::open);
  EXPECT_EQ(equivalent({0.0, std::nan(""), 63.0}, 0.1, 0.001), Preserved::open);
}

TEST(Equivalence, OfSeveralNeedsEachForYesAndOneForNo) {
  const Estimate inside{0.0, 0.01, 63.0}, between{0.09, 0.01, 63.0}, outside{0.3, 0.01, 63.0};
  EXPECT_EQ(all_equivalent({inside, inside}, 0.1, 0.001), Preserved::yes);
  EXPECT_EQ(all_equivalent({inside, between}, 0.1, 0.001), Preserved::open);
  EXPECT_EQ(all_equivalent({inside, between, outside}, 0.1, 0.001), Preserved::no);
  // A no counts at the level divided by their number.
  const double edge = 0.1 + half_width(inside, 0.001) + 1e-9;
  EXPECT_EQ(all_equivalent({{edge, 0.01, 63.0}}, 0.1, 0.001), Preserved::no);
  EXPECT_EQ(all_equivalent({{edge, 0.01, 63.0}, inside}, 0.1, 0.001), Preserved::open);
}

TEST(Equivalence, IsWrongAsOftenAsItSays) {
  // At the edge of the margin "yes" comes with probability alpha for an exact t statistic. False alarms 2e-9.
  std::mt19937_64 engine(3);
  std::normal_distribution<double> normal;
  constexpr int n = 20000, groups = 16;
  int yes = 0;
  for (int i = 0; i < n; ++i) {
    std::vector<double> values;
    for (int g = 0; g < groups; ++g) values.push_back(0.1 + 0.04 * normal(engine));
    yes += equivalent(estimate(values), 0.1, 0.05) == Preserved::yes ? 1 : 0;
  }
  EXPECT_TRUE(stat::binomial_fits(yes, n, 0.05));
}

TEST(Equivalence, EstimatesComeFromGroupsAndRatiosAddTheirRelativeErrors) {
  const Estimate e = estimate({1.0, 2.0, 3.0});
  EXPECT_DOUBLE_EQ(e.mean, 2.0);
  EXPECT_DOUBLE_EQ(e.error, std::sqrt(1.0 / 3.0));
  EXPECT_EQ(e.freedom, 2.0);
  EXPECT_TRUE(std::isnan(estimate({1.0}).mean));
  EXPECT_TRUE(std::isnan(estimate({1.0, std::nan("")}).mean));
  const Estimate ratio = log_ratio({4.0, 0.4, 10.0}, {2.0, 0.1, 20.0});
  EXPECT_DOUBLE_EQ(ratio.mean, std::log(2.0));
  EXPECT_DOUBLE_EQ(ratio.error, std::hypot(0.1, 0.05));
  EXPECT_EQ(ratio.freedom, 10.0);
}

TEST(Equivalence, ThresholdsAreFoundByBisection) {
  EXPECT_NEAR(reaches([](double x) { return x * x; }, 0.25, 3.0), 0.5, 1e-15);
  EXPECT_TRUE(std::isinf(reaches([](double x) { return x * x; }, 10.0, 3.0)));
}

}  // namespace
}  // namespace pathbound::scaling
