// SPDX-License-Identifier: Apache-2.0
// Helpers of bench_stability against known answers.
#include <gtest/gtest.h>

#include <boost/math/distributions/normal.hpp>
#include <boost/math/quadrature/tanh_sinh.hpp>

#include "bench/stability.hpp"

namespace pathbound::stability {
namespace {

const Linear none{1.0, 0.0, 1}, half_of_two{0.5, 0.0, 2}, affine{1.0, 1.0, 2}, both{0.25, 0.5, 3};

std::optional<double> square_limit(const Linear& c) {
  return first_crossing([&](double z) { return method_growth(c, z).square; }, 1e-6, 6.0);
}
std::optional<double> path_limit(const Linear& c) {
  return first_crossing([&](double z) { return method_growth(c, z).path; }, 1e-6, 6.0);
}

TEST(Stability, MeanLogAbsNormalMatchesQuadrature) {
  boost::math::quadrature::tanh_sinh<double> quadrature;
  const boost::math::normal normal;
  for (const double m : {0.0, 0.3, -1.0, 2.0, 5.0}) {
    for (const double s : {0.2, 1.0, 3.0}) {
      // From the zero of m + s xi outwards: the logarithm's singularity is at an end of both pieces.
      const double zero = -m / s;
      const auto side = [&](double direction) {
        return quadrature.integrate(
            [&](double u) { return std::log(s * u) * boost::math::pdf(normal, zero + direction * u); }, 0.0,
            12.0 + std::abs(zero));
      };
      EXPECT_NEAR(mean_log_abs_normal(m, s), side(1.0) + side(-1.0), 1e-10) << m << " " << s;
    }
  }
  EXPECT_EQ(mean_log_abs_normal(-2.0, 0.0), std::log(2.0));
  // The mixture and the expansion where one takes over.
  EXPECT_NEAR(mean_log_abs_normal(1.0, 0.02 + 1e-12), mean_log_abs_normal(1.0, 0.02), 1e-11);
}

TEST(Stability, MethodLimits) {
  EXPECT_NEAR(*square_limit(none), 2.0, 1e-10);
  EXPECT_NEAR(*path_limit(none), 2.0, 1e-10);
  EXPECT_NEAR(*square_limit(half_of_two), 4.0 / 3.0, 1e-10);
  // (1 - z)^2 |1 - 2 z| = 1
  const double z = *path_limit(half_of_two);
  EXPECT_NEAR((1.0 - z) * (1.0 - z) * (2.0 * z - 1.0), 1.0, 1e-9);
  EXPECT_NEAR(z, 1.657, 5e-4);
  // One worker without noise: C is 0 or 1/p, and both limits are 2 p.
  EXPECT_NEAR(*square_limit({0.25, 0.0, 1}), 0.5, 1e-10);
  EXPECT_NEAR(*path_limit({0.25, 0.0, 1}), 0.5, 1e-10);
  EXPECT_NEAR(both.kappa(), (3.0 + 4.0 * 0.25) / 3.0, 1e-15);
}

TEST(Stability, ModelLimits) {
  const auto limit = [](ModelKind kind, const Linear& c) {
    return first_crossing([&](double z) { return model_growth(kind, c, z).square; }, 1e-6, 9.0);
  };
  EXPECT_NEAR(*limit(ModelKind::first_order, half_of_two), 4.0, 1e-10);  // 2 N/omega
  EXPECT_FALSE(limit(ModelKind::second_order, half_of_two));
  EXPECT_FALSE(limit(ModelKind::first_order, none));
  EXPECT_NEAR(*limit(ModelKind::second_order, {0.1, 0.0, 2}), 2.0 / 3.5, 1e-10);
  for (const Linear& c : {none, half_of_two, affine, both}) {
    EXPECT_NEAR(*limit(ModelKind::curvature, c), *square_limit(c), 1e-9);
  }
  EXPECT_NEAR(*limit(ModelKind::hessian_aware, half_of_two), 4.0 / 3.0, 1e-10);
}

TEST(Stability, IntegratorsApproachTheirSde) {
  for (const Linear& c : {half_of_two, affine}) {
    for (const ModelKind kind : {ModelKind::first_order, ModelKind::second_order, ModelKind::curvature}) {
      for (const auto& [integrator, order] :
           {std::pair{IntegratorKind::euler_maruyama, 1}, std::pair{IntegratorKind::weak2, 2}}) {
        const Growth exact = model_growth(kind, c, 1.1);
        const Growth coarse = integrated_growth(kind, integrator, 64, c, 1.1);
        const Growth fine = integrated_growth(kind, integrator, 128, c, 1.1);
        const double factor = order == 1 ? 2.0 : 4.0;
        EXPECT_NEAR((coarse.square - exact.square) / (fine.square - exact.square), factor, 0.1 * factor);
        EXPECT_NEAR((coarse.path - exact.path) / (fine.path - exact.path), factor, 0.1 * factor);
      }
    }
  }
  // hessian_aware: second moments exact for every number of substeps, the path's growth only in the limit.
  const Growth exact = model_growth(ModelKind::hessian_aware, half_of_two, 1.5);
  for (const int n : {1, 7, 512}) {
    const Growth g = integrated_growth(ModelKind::hessian_aware, IntegratorKind::moment, n, half_of_two, 1.5);
    EXPECT_NEAR(g.square, exact.square, 1e-12);
    if (n == 512) {
      EXPECT_NEAR(g.path, exact.path, 0.02);
    }
  }
  // One step with affine noise has the method's law up to a sign.
  const Growth moment = integrated_growth(ModelKind::hessian_aware, IntegratorKind::moment, 1, affine, 1.5);
  EXPECT_NEAR(moment.square, method_growth(affine, 1.5).square, 1e-14);
  EXPECT_NEAR(moment.path, method_growth(affine, 1.5).path, 1e-14);
}

Record record(std::uint64_t finite, double sum, double max) {
  Record r;
  r.finite = finite;
  r.sum = sum;
  r.max = max;
  return r;
}

TEST(Stability, MeanGrowthStopsAtTheTenPercentRule) {
  const std::vector<Record> records = {record(64, 64, 1), record(64, 128, 4), record(64, 256, 25), record(64, 512, 52),
                                       record(64, 64, 1)};
  const Fit fit = mean_growth(records, 64);
  EXPECT_EQ(fit.steps, 2);
  EXPECT_NEAR(fit.growth, std::log(2.0), 1e-15);
  EXPECT_EQ(mean_growth({record(64, 64, 1), record(63, 64, 1)}, 64).steps, 0);  // one has diverged
  EXPECT_EQ(mean_growth({record(64, 64, 1), record(0, 0, 0)}, 64).growth, infinity);
}

TEST(Stability, MedianGrowth) {
  EXPECT_NEAR(median_growth({1.0, 2.0, 8.0}, 1, 2), std::log(4.0), 1e-15);
  EXPECT_EQ(median_growth({1.0, std::numeric_limits<double>::quiet_NaN()}, 0, 1), infinity);
  EXPECT_EQ(median_growth({1.0, 0x1p-100}, 0, 1), -infinity);
}

TEST(Stability, StudentInterval) {
  const Interval interval = interval_of({1.0, 2.0, 3.0, 4.0, 5.0});
  EXPECT_DOUBLE_EQ(interval.mean, 3.0);
  EXPECT_NEAR(interval.error, std::sqrt(0.5), 1e-15);
  EXPECT_NEAR(interval.half(0.05), 2.776445105 * std::sqrt(0.5), 1e-8);
}

}  // namespace
}  // namespace pathbound::stability
