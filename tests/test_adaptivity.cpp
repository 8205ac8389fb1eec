// SPDX-License-Identifier: Apache-2.0
// bench/adaptivity.hpp: predictions against direct iteration, diagnostics on series with known answers.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "bench/adaptivity.hpp"

namespace pathbound::adaptivity {
namespace {

using stability::Linear;

/// Noiseless descent, stopped where |x| exceeds 1e8.
bool stays(Shape f, double eta, double c, double q, double x, int steps) {
  for (int k = 0; k < steps && std::abs(x) < 1e8; ++k) {
    if (f == Shape::cosh && std::abs(x) > 600.0) return false;
    x -= eta * slope(f, x) * std::pow(1.0 + std::abs(slope(f, x)) / c, -q);
  }
  return std::abs(x) < 1e8;
}

TEST(Adaptivity, DescentLeavesFromTheEscapeRadiusOn) {
  for (const auto& [shape, q] :
       {std::pair{Shape::quartic, 0.0}, std::pair{Shape::quartic, 1.0 / 3.0}, std::pair{Shape::quartic, 0.5},
        std::pair{Shape::cosh, 0.0}, std::pair{Shape::cosh, 0.5}}) {
    const std::optional<double> radius = escape_radius(shape, 0.1, 1.0, q, 1e6);
    ASSERT_TRUE(radius);
    EXPECT_TRUE(stays(shape, 0.1, 1.0, q, 0.99 * *radius, 1000));
    EXPECT_FALSE(stays(shape, 0.1, 1.0, q, 1.01 * *radius, 4000));
  }
  EXPECT_NEAR(*escape_radius(Shape::quartic, 0.1, 1.0, 0.0, 1e6), std::sqrt(20.0), 1e-8);
}

TEST(Adaptivity, TheRequiredDegreeBoundsTheRelativeStep) {
  EXPECT_DOUBLE_EQ(required_degree(3.0), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(required_degree(1.0), 0.0);
  EXPECT_DOUBLE_EQ(required_degree(stability::infinity), 1.0);
  // At the degree itself the relative step of the quartic tends to eta c^q, below it grows, above it falls.
  EXPECT_NEAR(relative_step(Shape::quartic, 0.1, 8.0, 2.0 / 3.0, 1e6), 0.4, 1e-12);
  EXPECT_FALSE(escape_radius(Shape::quartic, 1.99, 1.0, 2.0 / 3.0, 1e9));
  EXPECT_TRUE(escape_radius(Shape::quartic, 0.1, 1.0, 0.6, 1e9));
  EXPECT_FALSE(escape_radius(Shape::cosh, 0.2, 1.0, 1.0, 700.0));
  EXPECT_TRUE(escape_radius(Shape::cosh, 0.2, 1.0, 0.9, 700.0));
}

TEST(Adaptivity, NoPrescribedScheduleSavesAStartAboveItsLimit) {
  for (const double p : {0.5, 1.0, 3.0}) {
    const double limit = scheduled_limit(std::pow(0.5, p));  // the smallest ratio, at k = 0
    for (const double u2 : {1.001 * limit, 10.0 * limit}) {
      double x = std::sqrt(u2 / 0.1);
      int k = 0;
      for (; k < 1000 && std::abs(x) < 1e30; ++k) x -= 0.1 * std::pow(1.0 + k, -p) * x * x * x;
      EXPECT_LT(k, 1000) << p;
    }
    double x = std::sqrt(1.999 / 0.1);  // below 2 every schedule with s_k <= 1 stays
    for (int k = 0; k < 1000; ++k) x -= 0.1 * std::pow(1.0 + k, -p) * x * x * x;
    EXPECT_LT(std::abs(x), 4.5);
  }
}

TEST(Adaptivity, CompressedQuarticSurvivalIsThatOfRandomPaths) {
  // False alarm: 5 standard errors, 3 times, 2e-6.
  std::mt19937_64 random(1);
  for (const double u2 : {1.2, 1.52, 2.5}) {
    const Bracket exact = compressed_quartic_survival(u2, 0.5, 4, 16);
    EXPECT_LT(exact.upper - exact.lower, 1e-6);
    std::binomial_distribution<int> kept(4, 0.5);
    const int n = 100000;
    int alive = 0;
    for (int path = 0; path < n; ++path) {
      double u = std::sqrt(u2);
      for (int k = 0; k < 200 && std::abs(u) < 1e6; ++k) u *= 1.0 - 0.5 * kept(random) * u * u;
      alive += std::abs(u) < 1e6 ? 1 : 0;
    }
    const double share = static_cast<double>(alive) / n;
    EXPECT_NEAR(share, exact.lower, 5.0 * std::sqrt(exact.lower * (1.0 - exact.lower) / n) + 1e-6) << u2;
  }
  EXPECT_EQ(compressed_quartic_survival(0.99, 0.5, 4, 1).lower, 1.0);
  EXPECT_EQ(compressed_quartic_survival(4.0, 0.5, 4, 1).upper, 0.0);
}

TEST(Adaptivity, CauchyNoiseKeepsItsShare) {
  EXPECT_DOUBLE_EQ(cauchy_share({0.5, 0.5}), 0.75);
  EXPECT_DOUBLE_EQ(cauchy_share({1.0, 0.1}), 1.0);
  EXPECT_NEAR(cauchy_survival_bound({0.1, 0.1}, 1e-12), 1.0, 1e-12);  // without noise nothing is claimed
  // By hand: rho = sqrt(60), P(|z| <= rho) = (2/pi) atan(rho); twice the same step.
  const double rho = std::sqrt(60.0), pi = std::acos(-1.0);
  EXPECT_NEAR(cauchy_survival_bound({0.1, 0.1}, 10.0),
              std::pow(2.0 / pi * std::atan(rho), 2.0) + 4.0 / (3.0 * pi * rho), 1e-12);
}

TEST(Adaptivity, FewerPathsThanTheBoundSurviveCauchyNoise) {
  std::mt19937_64 random(3);
  std::cauchy_distribution<double> cauchy;
  std::vector<double> steps;
  for (int k = 0; k < 300; ++k) steps.push_back(0.1 / std::sqrt(1.0 + k));
  const int n = 4000;
  int alive = 0;
  for (int path = 0; path < n; ++path) {
    double x = 1.0;
    for (std::size_t k = 0; k < steps.size() && std::abs(x) < 1e8; ++k)
      x -= steps[k] * (x * x * x + 10.0 * cauchy(random));
    alive += std::abs(x) < 1e8 ? 1 : 0;
  }
  const double bound = cauchy_survival_bound(steps, 10.0);
  EXPECT_LT(static_cast<double>(alive) / n, bound);
  EXPECT_LT(bound, 0.5);
}

std::vector<double> log_gradients(double x, int steps, double (*next)(double), double (*gradient)(double)) {
  std::vector<double> y;
  for (int k = 0; k <= steps; ++k, x = next(x)) y.push_back(std::log(std::abs(gradient(x))));
  return y;
}

TEST(Adaptivity, AQuadraticBeyondItsLimitExplodesExponentially) {
  const Explosion e = explosion_of(log_gradients(
      1.0, 40, [](double x) { return x - 2.5 * x; }, [](double x) { return x; }));
  EXPECT_TRUE(e.found);
  EXPECT_EQ(e.first, 0U);
  EXPECT_EQ(e.steps, 40U);
  EXPECT_NEAR(e.rate, std::log(1.5), 1e-12);
  EXPECT_NEAR(e.order, 1.0, 1e-12);
  EXPECT_FALSE(e.super_exponential());
  EXPECT_NEAR(e.doubling(), std::log(2.0) / std::log(1.5), 1e-12);
}

TEST(Adaptivity, AQuarticBeyondItsLimitTriplesItsLogarithm) {
  const Explosion e = explosion_of(log_gradients(
      100.0, 4, [](double x) { return x - 0.1 * x * x * x; }, [](double x) { return x * x * x; }));
  EXPECT_TRUE(e.found && e.super_exponential());
  EXPECT_NEAR(e.order, 3.0, 1e-3);
  EXPECT_NEAR(e.log_doubling(), std::log(2.0) / std::log(3.0), 1e-3);
}

TEST(Adaptivity, AnExplosionBeginsWhereTheGradientWasLastNotAboveItsStart) {
  const double inf = std::numeric_limits<double>::infinity();
  const Explosion e = explosion_of({0.0, 1.0, -1.0, 3.0, 7.0, 11.0, inf});
  EXPECT_TRUE(e.found);
  EXPECT_EQ(e.first, 2U);
  EXPECT_EQ(e.steps, 3U);
  EXPECT_NEAR(e.rate, 4.0, 1e-12);
  EXPECT_FALSE(explosion_of({0.0, 1.0, 6.0}).found);  // less than a factor of 1000
  EXPECT_FALSE(explosion_of({0.0}).found);
  EXPECT_FALSE(explosion_of({}).found);
}

TEST(Adaptivity, OscillationCountsChangesOfSign) {
  const Oscillation o = oscillation_of({1.0, -1.0, -2.0, 3.0, 0.0, 1.0, -1.0});
  EXPECT_EQ(o.changes, 3U);
  EXPECT_EQ(o.steps, 4U);
  EXPECT_DOUBLE_EQ(o.share(), 0.75);
  EXPECT_TRUE(std::isnan(oscillation_of({1.0}).share()));
}

TEST(Adaptivity, OscillationOnTheNoiseFloorIsThatOfAnAutoregression) {
  // 5 standard errors of independent steps, times 3 for their dependence; 3 times: below 1e-6.
  std::mt19937_64 random(2);
  std::normal_distribution<double> normal;
  for (const double z : {0.2, 1.0, 1.7}) {
    std::vector<double> x = {0.0};
    for (int k = 0; k < 200000; ++k) x.push_back((1.0 - z) * x.back() - normal(random));
    EXPECT_NEAR(oscillation_of(x).share(), floor_oscillation(z), 15.0 * 0.5 / std::sqrt(200000.0)) << z;
  }
  EXPECT_DOUBLE_EQ(floor_oscillation(1.0), 0.5);
}

TEST(Adaptivity, CompressedOscillationByHand) {
  const Linear half_of_four{0.5, 0.0, 4};  // C = m/2
  EXPECT_DOUBLE_EQ(compressed_oscillation(half_of_four, 0.4), 0.0);
  EXPECT_DOUBLE_EQ(compressed_oscillation(half_of_four, 0.6), 1.0 / 16.0);
  EXPECT_DOUBLE_EQ(compressed_oscillation(half_of_four, 1.2), 11.0 / 16.0);
  EXPECT_DOUBLE_EQ(compressed_oscillation(half_of_four, 3.0), 15.0 / 16.0);
}

TEST(Adaptivity, SignsCostHalfPiUnderGaussianNoise) {
  const double pi = std::acos(-1.0);
  EXPECT_NEAR(sign_slowdown(std::sqrt(2.0 / pi), 1.0), pi / 2.0, 1e-15);
}

TEST(Adaptivity, ReachedAtInterpolatesInTheLogarithm) {
  EXPECT_NEAR(reached_at({0, 10, 20}, {100, 10, 1}, std::sqrt(1000.0)), 5.0, 1e-12);
  EXPECT_NEAR(reached_at({0, 10, 20}, {100, 10, 1}, std::sqrt(10.0)), 15.0, 1e-12);
  EXPECT_TRUE(std::isnan(reached_at({0, 10}, {2, 1}, 0.5)));
}

}  // namespace
}  // namespace pathbound::adaptivity
