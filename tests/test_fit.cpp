// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <random>

#include "bench/fit.hpp"
#include "tests/stat_assert.hpp"

namespace pathbound {
namespace {

const std::vector<double> octaves = {0.125, 0.25, 0.5, 1.0, 2.0};
/// sum (log x - mean)^2 over `octaves`: ln(2)^2 (4 + 1 + 0 + 1 + 4).
const double spread = 10.0 * std::log(2.0) * std::log(2.0);

std::vector<double> times(double factor, const std::vector<double>& values) {
  std::vector<double> out;
  for (const double v : values) out.push_back(factor * v);
  return out;
}
double normal_limit(double confidence) {
  return boost::math::quantile(boost::math::normal(), 0.5 * (1.0 + confidence));
}
double student_limit(double freedom, double confidence) {
  return boost::math::quantile(boost::math::students_t(freedom), 0.5 * (1.0 + confidence));
}

TEST(FitPower, APowerLawHasItsExponentAndTheSamplingErrorAlone) {
  std::vector<double> y;
  for (const double x : octaves) y.push_back(3.0 * std::pow(x, 1.5));
  const PowerFit fit = fit_power(octaves, y, times(0.02, y), 0.99);
  EXPECT_EQ(fit.points, 5u);
  EXPECT_NEAR(fit.order, 1.5, 1e-13);
  EXPECT_NEAR(fit.log_constant, std::log(3.0), 1e-13);
  EXPECT_EQ(fit.scatter, 0.0);
  EXPECT_NEAR(fit.standard_error, 0.02 / std::sqrt(spread), 1e-15);
  EXPECT_NEAR(fit.upper - fit.order, normal_limit(0.99) * fit.standard_error, 1e-13);
  EXPECT_NEAR(fit.order - fit.lower, normal_limit(0.99) * fit.standard_error, 1e-13);
}

TEST(FitPower, WhatTheErrorsDoNotExplainIsScatterWithStudentsLimits) {
  // log y off the line by d (1, -2, 0, 2, -1), orthogonal to 1 and to log x = ln 2 (-3, ..., 1): the slope stays 1, the
  // sum of squares is 10 d^2.
  const double d = 0.1, error = 0.03;
  const std::vector<double> off = {1.0, -2.0, 0.0, 2.0, -1.0};
  std::vector<double> y;
  for (std::size_t i = 0; i < octaves.size(); ++i) y.push_back(octaves[i] * std::exp(d * off[i]));
  const PowerFit fit = fit_power(octaves, y, times(error, y), 0.95);
  EXPECT_NEAR(fit.order, 1.0, 1e-12);
  // Equal errors: chi^2 = 3 at error^2 + scatter^2 = 10 d^2/3.
  const double scatter = std::sqrt(10.0 * d * d / 3.0 - error * error);
  EXPECT_NEAR(fit.scatter, scatter, 1e-12);
  const double half = std::hypot(normal_limit(0.95) * error, student_limit(3.0, 0.95) * scatter) / std::sqrt(spread);
  EXPECT_NEAR(fit.upper, 1.0 + half, 1e-11);
  EXPECT_NEAR(fit.lower, 1.0 - half, 1e-11);
}

TEST(FitPower, AnUncertainPointWeighsLittle) {
  std::vector<double> y = {0.125, 0.25, 0.5, 1.0, 20.0}, error = {1e-3, 1e-3, 1e-3, 1e-3, 1e7};
  EXPECT_NEAR(fit_power(octaves, y, error, 0.99).order, 1.0, 1e-9);
}

TEST(FitPower, NeedsThreePoints) {
  const PowerFit fit = fit_power({1.0, 2.0}, {1.0, 2.0}, {0.1, 0.1}, 0.99);
  EXPECT_EQ(fit.points, 2u);
  EXPECT_TRUE(std::isnan(fit.order) && std::isnan(fit.lower) && std::isnan(fit.upper));
  EXPECT_EQ(fit_power({}, {}, {}, 0.99).points, 0u);
}

/// How many of n intervals of 90% miss the exponent, log y with sampling errors and a scatter of these sizes.
int misses(double sampling, double scatter, int n) {
  std::mt19937_64 engine(5);
  std::normal_distribution<double> normal;
  int missed = 0;
  for (int i = 0; i < n; ++i) {
    std::vector<double> y;
    for (const double x : octaves) y.push_back(x * x * std::exp(sampling * normal(engine) + scatter * normal(engine)));
    const PowerFit fit = fit_power(octaves, y, times(sampling, y), 0.9);
    missed += fit.lower <= 2.0 && 2.0 <= fit.upper ? 0 : 1;
  }
  return missed;
}

TEST(FitPower, IntervalsCoverTheExponentAsOftenAsTheySay) {
  const int n = 4000;
  // Scatter alone: Student's limits are exact. False alarms 2e-9.
  EXPECT_TRUE(stat::binomial_fits(misses(1e-7, 0.1, n), n, 0.1));
  // Sampling errors alone: exact where no scatter is found, wider where some is; so at most 10% miss (1e-9 above 10%
  // + 6 standard deviations).
  EXPECT_LE(misses(0.1, 0.0, n), 0.1 * n + 6.0 * std::sqrt(0.09 * n));
}

TEST(FirstCrossing, IsOnTheLineThroughTheNeighbours) {
  // y = x^2 crosses 0.04 at 0.2.
  const std::vector<double> y = {0.125 * 0.125, 0.25 * 0.25, 0.25, 1.0, 4.0};
  const Crossing crossing = first_crossing(octaves, y, 0.04);
  EXPECT_EQ(crossing.beyond, 0);
  EXPECT_NEAR(crossing.x, 0.2, 1e-15);
  EXPECT_NEAR(first_crossing(octaves, y, 0.25).x, 0.5, 1e-15);
  // Only the first: a curve that comes back has been above.
  EXPECT_NEAR(first_crossing(octaves, {0.01, 0.04, 0.01, 0.16, 0.2}, 0.02).x, 0.125 * std::sqrt(2.0), 1e-15);
}

TEST(FirstCrossing, SaysOnWhichSideTheCurveStays) {
  const std::vector<double> y = {1.0, 2.0, 3.0, 4.0, 5.0};
  EXPECT_EQ(first_crossing(octaves, y, 0.5).beyond, -1);
  EXPECT_EQ(first_crossing(octaves, y, 0.5).x, 0.125);
  EXPECT_EQ(first_crossing(octaves, y, 6.0).beyond, 1);
  EXPECT_EQ(first_crossing(octaves, y, 6.0).x, 2.0);
  EXPECT_TRUE(std::isnan(first_crossing({}, {}, 1.0).x));
}

}  // namespace
}  // namespace pathbound
