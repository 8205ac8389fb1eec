// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>

#include "host/laws.hpp"
#include "tests/host_fixtures.hpp"

namespace pathbound {
namespace {

using namespace fixtures;

void expect_relative(double actual, double expected, double tolerance, const std::string& what = {}) {
  EXPECT_NEAR(actual, expected, tolerance * std::fabs(expected)) << what;
}

double sum_over_steps(const CurveConfig& curve, std::uint64_t k) {
  double t = 0.0;
  for (std::uint64_t i = 0; i < k; ++i) t += prescribed_step(curve, i);
  return t;
}

// ---- noise constants

TEST(NoiseConstants, XiOfStudentTMatchesBoostCdf) {
  for (const double nu : {0.5, 1.0, 1.6, 2.0, 3.0, 30.0, 1e6}) {
    const boost::math::students_t law(nu);
    for (const double y : {1e-3, 0.1, 0.5, 1.0, 1.7, 3.0, 10.0, 1e3}) {
      const double expected = 0.5 - boost::math::cdf(boost::math::complement(law, y));
      EXPECT_NEAR(noise_xi({LawKind::student_t, nu}, y), expected, 4e-15) << nu << " " << y;
      EXPECT_EQ(noise_xi({LawKind::student_t, nu}, -y), -noise_xi({LawKind::student_t, nu}, y));
      EXPECT_EQ(noise_xi({LawKind::multivariate_t, nu}, y), noise_xi({LawKind::student_t, nu}, y));
    }
  }
}

TEST(NoiseConstants, XiMatchesClosedForms) {
  for (const double y : {1e-12, 1e-6, 0.01, 0.3, 1.0, 2.5, 40.0, 1e8}) {
    expect_relative(noise_xi({LawKind::student_t, 1.0}, y), std::atan(y) / std::numbers::pi, 1e-14, "nu = 1");
    expect_relative(noise_xi({LawKind::student_t, 2.0}, y), 0.5 * y / std::sqrt(2.0 + y * y), 1e-14, "nu = 2");
    expect_relative(noise_xi({LawKind::gaussian, 0.0}, y), 0.5 * std::erf(y / std::sqrt(2.0)), 1e-15, "gaussian");
  }
}

TEST(NoiseConstants, XiHasSlopeHalfEllAtZeroAndTendsToHalf) {
  for (const double nu : {0.3, 0.5, 1.0, 1.6, 2.0, 3.0, 30.0}) {
    for (const double y : {1e-300, 1e-101, 1e-99, 1e-12, 1e-8}) {
      expect_relative(2.0 * noise_xi({LawKind::student_t, nu}, y) / y, noise_density_factor({LawKind::student_t, nu}),
                      1e-13);
    }
    EXPECT_NEAR(noise_xi({LawKind::student_t, nu}, 1e300), 0.5, 1e-12);
    EXPECT_EQ(noise_xi({LawKind::student_t, nu}, std::numeric_limits<double>::infinity()), 0.5);
  }
}

TEST(NoiseConstants, EllIsTwiceTheDensityAtZero) {
  EXPECT_DOUBLE_EQ(noise_density_factor({LawKind::student_t, 1.0}), 2.0 / std::numbers::pi);
  EXPECT_DOUBLE_EQ(noise_density_factor({LawKind::student_t, 2.0}), 1.0 / std::sqrt(2.0));
  EXPECT_DOUBLE_EQ(noise_density_factor({LawKind::gaussian, 0.0}), std::sqrt(2.0 / std::numbers::pi));
  for (const double nu : {0.5, 1.6, 3.0, 30.0}) {
    expect_relative(noise_density_factor({LawKind::student_t, nu}),
                    2.0 * boost::math::pdf(boost::math::students_t(nu), 0.0), 1e-14);
  }
  expect_relative(noise_density_factor({LawKind::student_t, 1e10}), noise_density_factor({LawKind::gaussian, 0.0}),
                  1e-9);
}

TEST(NoiseConstants, VarianceIsInfiniteFromTwoDegreesDown) {
  EXPECT_EQ(noise_variance({LawKind::gaussian, 0.0}), 1.0);
  EXPECT_DOUBLE_EQ(noise_variance({LawKind::student_t, 3.0}), 3.0);
  EXPECT_DOUBLE_EQ(noise_variance({LawKind::multivariate_t, 6.0}), 1.5);
  EXPECT_TRUE(std::isinf(noise_variance({LawKind::student_t, 2.0})));
  EXPECT_TRUE(std::isinf(noise_variance({LawKind::student_t, 1.0})));
}

TEST(NoiseConstants, OmegaOfCompressors) {
  auto curve = method(MethodKind::dcsgd, 0.1, 2, 1.0);
  EXPECT_EQ(compressor_omega(curve, 64, 0), 0.0);
  set_rand_k(curve, 16);
  curve.workers.k[1] = 64;
  EXPECT_EQ(compressor_omega(curve, 64, 0), 3.0);
  EXPECT_EQ(compressor_omega(curve, 64, 1), 0.0);
  curve.compressor = {CompressorKind::bernoulli, 0, 0.25};
  EXPECT_EQ(compressor_omega(curve, 64, 0), 3.0);
}

// ---- B3, B3', B3d by hand: h = (1/2, 2), x0 = (1, 1), S0 = 5/4, mu = 1/2, L = 2, d = 2, N = 4, sigma = 3, B = 2,
// rand_1 of 2 (omega = 1), eta = 1/50: mean (1 + omega) V/B = 18, eta L/(4 mu N) * 18 = 0.09.

struct HandComputed : testing::Test {
  Objective objective{quadratic({0.5, 2.0})};
  CurveConfig config = [] {
    auto c = method(MethodKind::dcsgd, 0.02, 4, 3.0, 100, 1, 2.0);
    set_rand_k(c, 1);
    return c;
  }();
  BoundValue bound(const std::string& theorem) {
    return evaluate_bound(theorem, config, objective, empty_curve(config));
  }
};

TEST_F(HandComputed, B3HasThePrintedDelta) {
  const auto b = bound("B3");
  EXPECT_TRUE(b.applicable());
  EXPECT_EQ(b.speaks_of, "sde");
  EXPECT_DOUBLE_EQ(constant(b, "Delta"), 0.98);
  EXPECT_DOUBLE_EQ(constant(b, "stationary"), 0.09 / 0.98);
  EXPECT_EQ(b.value[0], 1.25);
  for (std::size_t k : {1u, 10u, 100u}) {
    const double decay = std::exp(-0.98 * 0.02 * static_cast<double>(k));
    EXPECT_DOUBLE_EQ(b.value[k], 1.25 * decay + (1.0 - decay) * 0.09 / 0.98);
  }
}

TEST_F(HandComputed, B3pHasTheSharperDelta) {
  const auto b = bound("B3'");
  EXPECT_EQ(b.theorem, "B3p");
  EXPECT_DOUBLE_EQ(constant(b, "Delta"), 0.995);
  const double decay = std::exp(-0.995 * 0.02 * 50);
  EXPECT_DOUBLE_EQ(b.value[50], 1.25 * decay + (1.0 - decay) * 0.09 / 0.995);
  EXPECT_LT(b.value[50], bound("B3").value[50]);
}

TEST_F(HandComputed, B3cHasTheDeltaOfTheIteratesInContinuousTime) {
  auto b = bound("B3c");
  EXPECT_TRUE(b.applicable());
  EXPECT_EQ(b.speaks_of, "sde");
  EXPECT_EQ(b.model, ModelKind::curvature);
  EXPECT_DOUBLE_EQ(constant(b, "K"), 1.25);
  EXPECT_DOUBLE_EQ(constant(b, "Delta"), 0.975);
  EXPECT_DOUBLE_EQ(constant(b, "stationary"), 0.09 / 0.975);
  EXPECT_EQ(b.value[0], 1.25);
  for (std::size_t k : {1u, 10u, 100u}) {
    const double decay = std::exp(-0.975 * 0.02 * static_cast<double>(k));
    EXPECT_DOUBLE_EQ(b.value[k], 1.25 * decay + (1.0 - decay) * 0.09 / 0.975);
  }
  // (1 + omega) rho^2 / B = 1/4, a quarter of which joins K.
  config.noise.affine = 0.5;
  b = bound("B3c");
  EXPECT_TRUE(b.applicable());
  EXPECT_DOUBLE_EQ(constant(b, "K"), 1.3125);
  EXPECT_DOUBLE_EQ(constant(b, "Delta"), 1.0 - 0.02 * 1.3125);
  config.schedule = {ScheduleKind::polynomial, 1.0, 0.5};
  EXPECT_TRUE(failed(bound("B3c"), "constant step"));
}

TEST_F(HandComputed, B3dIsTheDiscreteRecursion) {
  const auto b = bound("B3d");
  EXPECT_EQ(b.speaks_of, "iterates");
  EXPECT_DOUBLE_EQ(constant(b, "K"), 1.25);
  EXPECT_DOUBLE_EQ(constant(b, "Delta"), 0.975);
  EXPECT_DOUBLE_EQ(constant(b, "q"), 0.9805);
  double expected = 1.25;
  for (std::size_t k = 0; k <= 100; ++k) {
    EXPECT_NEAR(b.value[k], expected, 1e-14) << k;
    expected = 0.9805 * expected + 0.0004 * (2.0 / 8.0) * 18.0;
  }
}

TEST_F(HandComputed, BoundsTendToTheirStationaryLevelAndStartAtS0) {
  config.steps = 1000000000000;
  config.checkpoint_steps = {0, 1000000000000};
  Curve curve;
  curve.step = config.checkpoint_steps;
  curve.time = {0.0, 2e10};
  for (const char* theorem : {"B3", "B3p", "B3d"}) {
    const auto b = evaluate_bound(theorem, config, objective, curve);
    EXPECT_EQ(b.value[0], objective.constants().suboptimality_at_start);
    expect_relative(b.value[1], constant(b, "stationary"), 1e-15);
  }
}

TEST_F(HandComputed, SmallStepsDoNotCancel) {
  config.eta = 1e-12;
  config.checkpoint_steps = {0, 1, 2};
  // dE S/dk at 0: eta (-2 mu D S0 + eta (L/2N) noise)
  const auto b = bound("B3d");
  EXPECT_NEAR((b.value[1] - b.value[0]) / 1e-12, -1.25, 1e-3);  // the last bit of 1.25 is 2.2e-16
  config.noise.scale = 0.0;
  config.workers.scale.assign(4, 0.0);
  config.checkpoint_steps = {0, 1000000000000};
  Curve curve;
  curve.step = config.checkpoint_steps;
  curve.time = {0.0, 1.0};
  expect_relative(evaluate_bound("B3d", config, objective, curve).value[1], 1.25 * std::exp(-1.0), 1e-11);
}

TEST_F(HandComputed, HeterogeneousWorkersEnterByTheirMeans) {
  config.workers.scale = {1.0, 2.0, 3.0, 4.0};
  config.workers.batch = {1.0, 2.0, 4.0, 8.0};
  config.workers.k = {1, 2, 1, 2};  // omega = 1, 0, 1, 0
  // (1 + omega) d sigma^2 / B: 2*2*1, 1*2*2, 2*2*9/4, 1*2*2 -> mean (4 + 4 + 9 + 4)/4
  const auto b = bound("B3p");
  EXPECT_DOUBLE_EQ(constant(b, "omega"), 0.5);
  EXPECT_DOUBLE_EQ(constant(b, "noise"), 21.0 / 4.0);
  EXPECT_DOUBLE_EQ(constant(b, "Delta"), 1.0 - 0.02 * 2.0 * 0.5 / 8.0);
}

// ---- B3d against the exact second moments

struct Moments {
  double eta = 0.1;
  std::vector<double> h;
  CurveConfig config;
  /// E f after each step by O1/O2.
  std::vector<double> exact(std::uint64_t steps) const {
    const double n = config.workers.count, d = static_cast<double>(h.size());
    const double var = noise_variance(config.noise.law);
    double omega = 0.0, additive = 0.0, affine = 0.0;
    for (int i = 0; i < config.workers.count; ++i) {
      const double w = compressor_omega(config, static_cast<int>(h.size()), i),
                   b = config.workers.batch[static_cast<std::size_t>(i)];
      const double s = config.workers.scale[static_cast<std::size_t>(i)];
      omega += w / (n * n);
      additive += (1.0 + w) * var * s * s / b / (n * n);
      affine += (1.0 + w) * var * config.noise.affine * config.noise.affine / b / (n * n);
    }
    std::vector<double> m(h.size(), 1.0), result;
    for (std::uint64_t k = 0;; ++k) {
      double f = 0.0, g2 = 0.0;
      for (std::size_t j = 0; j < h.size(); ++j) {
        f += 0.5 * h[j] * m[j];
        g2 += h[j] * h[j] * m[j];
      }
      result.push_back(f);
      if (k == steps) return result;
      const double e = prescribed_step(config, k);
      for (std::size_t j = 0; j < h.size(); ++j) {
        const double z = e * h[j];
        m[j] = m[j] * ((1.0 - z) * (1.0 - z) + z * z * omega) + e * e * (additive + affine * g2 / d);
      }
    }
  }
};

std::vector<CurveConfig> varied_configs() {
  std::vector<CurveConfig> configs;
  for (const bool schedule : {false, true}) {
    for (const double affine : {0.0, 0.7}) {
      for (const double nu : {0.0, 2.5, 5.0}) {
        auto c = method(MethodKind::dcsgd, 0.15, 3, 0.8, 200);
        c.workers.scale = {0.5, 1.0, 1.5};
        c.workers.batch = {1.0, 2.0, 3.0};
        set_rand_k(c, 1);
        c.workers.k = {1, 2, 3};
        c.noise.affine = affine;
        if (nu > 0.0) c.noise.law.kind = LawKind::student_t;
        c.noise.law.nu = nu;
        if (schedule) c.schedule = {ScheduleKind::polynomial, 3.0, 0.6};
        configs.push_back(c);
      }
    }
  }
  return configs;
}

TEST(B3d, IsAnIdentityOnIsotropicQuadratics) {
  for (const auto& config : varied_configs()) {
    const Moments moments{0.15, {1.5, 1.5, 1.5}, config};
    const auto exact = moments.exact(200);
    const auto b = evaluate_bound("B3d", config, Objective(quadratic(moments.h)), empty_curve(config));
    ASSERT_TRUE(b.applicable());
    for (std::size_t k = 0; k <= 200; ++k) expect_relative(b.value[k], exact[k], 1e-12);
  }
}

TEST(B3d, IsAnIdentityInOneDimension) {
  auto config = method(MethodKind::dcsgd, 0.3, 2, 1.2, 150);
  config.compressor = {CompressorKind::bernoulli, 0, 0.6};
  const Moments moments{0.3, {1.9}, config};
  const auto exact = moments.exact(150);
  const auto b = evaluate_bound("B3d", config, Objective(quadratic(moments.h)), empty_curve(config));
  for (std::size_t k = 0; k <= 150; ++k) expect_relative(b.value[k], exact[k], 1e-12);
}

TEST(B3d, IsNeverBelowTheExactMomentsOfAnisotropicQuadratics) {
  for (const auto& config : varied_configs()) {
    const Moments moments{0.15, {0.2, 1.0, 2.5}, config};
    const auto exact = moments.exact(200);
    const auto b = evaluate_bound("B3d", config, Objective(quadratic(moments.h)), empty_curve(config));
    ASSERT_TRUE(b.applicable());
    for (std::size_t k = 0; k <= 200; ++k) EXPECT_GE(b.value[k], exact[k] * (1.0 - 1e-13)) << k;
    EXPECT_GT(b.value[200], exact[200]);
  }
}

TEST(B3p, IsExceededByTheStationaryMethodByThePredictedFactor) {
  auto config = method(MethodKind::dcsgd, 0.2, 2, 1.0, 4000, 4000);
  set_rand_k(config, 1);
  const Moments moments{0.2, {1.5, 1.5}, config};
  const auto b = evaluate_bound("B3p", config, Objective(quadratic(moments.h)), empty_curve(config));
  // D = 1 - .2 * 1.5 / 4 = .925, eta h / 2 = .15
  EXPECT_NEAR(b.predicted_excess, 0.925 / 0.775, 1e-15);
  expect_relative(moments.exact(4000).back() / b.value.back(), b.predicted_excess, 1e-12);
  // B3 is B3' where L = mu.
  EXPECT_EQ(evaluate_bound("B3", config, Objective(quadratic(moments.h)), empty_curve(config)).predicted_excess,
            b.predicted_excess);
  EXPECT_EQ(evaluate_bound("B3p", config, Objective(quadratic({1.5, 1.4})), empty_curve(config)).predicted_excess, 0.0);
}

// ---- the bounds of SDEs against O3

/// E f of a model after each step: dM_j/dt = a_j M_j + c + sum_l b_l M_l by Runge-Kutta, 200 a step (relative error
/// 2e-11).
std::vector<double> exact_model(const Moments& moments, double r, std::uint64_t steps) {
  const auto& c = moments.config;
  const double n = c.workers.count, d = static_cast<double>(moments.h.size()), eta = moments.eta;
  const double var = noise_variance(c.noise.law);
  double omega = 0.0, additive = 0.0, affine = 0.0;
  for (int i = 0; i < c.workers.count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const double w = compressor_omega(c, static_cast<int>(d), i), b = c.workers.batch[at], s = c.workers.scale[at];
    omega += w / (n * n);
    additive += (1.0 + w) * var * s * s / b / (n * n);
    affine += (1.0 + w) * var * c.noise.affine * c.noise.affine / b / (n * n);
  }
  using Vector = std::vector<double>;
  const auto rate = [&](const Vector& m) {
    double g2 = 0.0;
    for (std::size_t j = 0; j < m.size(); ++j) g2 += moments.h[j] * moments.h[j] * m[j];
    Vector result;
    for (std::size_t j = 0; j < m.size(); ++j) {
      const double h = moments.h[j];
      result.push_back((-2.0 * h * (1.0 + r * eta * h) + eta * omega * h * h) * m[j] +
                       eta * (additive + affine * g2 / d));
    }
    return result;
  };
  const auto plus = [](Vector x, double t, const Vector& y) {
    for (std::size_t j = 0; j < x.size(); ++j) x[j] += t * y[j];
    return x;
  };
  Vector m(moments.h.size(), 1.0), result;
  const double dt = eta / 200.0;
  for (std::uint64_t k = 0;; ++k) {
    double f = 0.0;
    for (std::size_t j = 0; j < m.size(); ++j) f += 0.5 * moments.h[j] * m[j];
    result.push_back(f);
    if (k == steps) return result;
    for (int i = 0; i < 200; ++i) {
      const auto k1 = rate(m), k2 = rate(plus(m, dt / 2, k1)), k3 = rate(plus(m, dt / 2, k2)),
                 k4 = rate(plus(m, dt, k3));
      for (std::size_t j = 0; j < m.size(); ++j) m[j] += dt / 6.0 * (k1[j] + 2.0 * k2[j] + 2.0 * k3[j] + k4[j]);
    }
  }
}

TEST(B3c, IsAnIdentityForTheCurvatureSdeOfIsotropicQuadraticsAndNeverBelowItElsewhere) {
  for (const auto& config : varied_configs()) {
    if (!is_constant(config.schedule)) continue;
    const auto curvature = model(config, ModelKind::curvature, 10);
    for (const bool isotropic : {true, false}) {
      const Moments moments{0.15, isotropic ? std::vector<double>(3, 1.5) : std::vector<double>{0.2, 1.0, 2.5}, config};
      const auto exact = exact_model(moments, -0.5, 200);
      const auto b = evaluate_bound("B3c", curvature, Objective(quadratic(moments.h)), empty_curve(config));
      ASSERT_TRUE(b.applicable());
      for (std::size_t k = 0; k <= 200; ++k) {
        if (isotropic) expect_relative(b.value[k], exact[k], 1e-10);
        EXPECT_GE(b.value[k], exact[k] * (1.0 - 1e-10)) << k;
      }
      if (!isotropic) {
        EXPECT_GT(b.value[200], 1.01 * exact[200]);
      }
    }
  }
}

TEST(B3p, IsAnIdentityForTheFirstOrderSdeOfIsotropicQuadraticsAndNeverBelowItElsewhere) {
  for (const auto& config : varied_configs()) {
    if (!is_constant(config.schedule) || config.noise.affine > 0.0) continue;
    for (const bool isotropic : {true, false}) {
      const Moments moments{0.15, isotropic ? std::vector<double>(3, 1.5) : std::vector<double>{0.2, 1.0, 2.5}, config};
      const auto exact = exact_model(moments, 0.0, 200);
      const auto b = evaluate_bound("B3p", config, Objective(quadratic(moments.h)), empty_curve(config));
      ASSERT_TRUE(b.applicable());
      for (std::size_t k = 0; k <= 200; ++k) {
        if (isotropic) expect_relative(b.value[k], exact[k], 1e-10);
        EXPECT_GE(b.value[k], exact[k] * (1.0 - 1e-10)) << k;
      }
    }
  }
}

TEST(B3p, IsExceededByTheStationaryCurvatureSdeByTheFactorOfTheMethod) {
  auto config = method(MethodKind::dcsgd, 0.2, 2, 1.0, 200);
  set_rand_k(config, 1);
  const Moments moments{0.2, {1.5, 1.5}, config};
  const Objective objective(quadratic(moments.h));
  const auto excess = [&](ModelKind kind, const char* theorem) {
    return evaluate_bound(theorem, model(config, kind), objective, empty_curve(config)).predicted_excess;
  };
  const auto b = evaluate_bound("B3p", model(config, ModelKind::curvature), objective, empty_curve(config));
  EXPECT_NEAR(b.predicted_excess, 0.925 / 0.775, 1e-15);
  expect_relative(exact_model(moments, -0.5, 200).back() / b.value.back(), b.predicted_excess, 1e-9);
  EXPECT_EQ(excess(ModelKind::hessian_aware, "B3p"), b.predicted_excess);  // has the moments of the method
  EXPECT_EQ(excess(ModelKind::first_order, "B3p"), 0.0);
  EXPECT_EQ(excess(ModelKind::second_order, "B3p"), 0.0);
  EXPECT_EQ(excess(ModelKind::curvature, "B3c"), 0.0);
}

// ---- B4, B4Y, B4d

TEST(B4, MatchesTheHandComputedValue) {
  // nu = 2: l = 1/sqrt 2; sigma = 2, B = 4: D = l; d = 2, N = 5, eta = 0.1, mu = 1, L = 3: level .1*3*2/(4*5) / l.
  auto config = method(MethodKind::dsignsgd, 0.1, 5, 2.0, 30, 1, 4.0);
  config.noise.law.kind = LawKind::student_t;
  config.noise.law.nu = 2.0;
  const Objective objective(quadratic({1.0, 3.0}));
  const auto b = evaluate_bound("B4", config, objective, empty_curve(config, 3.0));
  EXPECT_TRUE(b.applicable());
  const double l = 1.0 / std::sqrt(2.0), decay = std::exp(-2.0 * l * 3.0);
  EXPECT_EQ(b.value[0], 2.0);
  EXPECT_NEAR(b.value[30], 2.0 * decay + (1.0 - decay) * 0.03 / l, 1e-14);
  EXPECT_DOUBLE_EQ(constant(b, "Delta"), l);
}

TEST(B4Y, ReplacesEllByTheSlopeOverTheObservedRange) {
  auto config = method(MethodKind::dsignsgd, 0.1, 5, 2.0, 30, 1, 4.0);
  config.noise.law.kind = LawKind::student_t;
  config.noise.law.nu = 2.0;
  const Objective objective(quadratic({1.0, 3.0}));
  const auto b = evaluate_bound("B4Y", config, objective, empty_curve(config, 3.0));
  // Y = 3 * sqrt 4 / 2 = 3, 2 Xi(Y)/Y = 1/sqrt(11)
  EXPECT_DOUBLE_EQ(constant(b, "Y"), 3.0);
  EXPECT_NEAR(constant(b, "ell_Y"), 1.0 / std::sqrt(11.0), 1e-15);
  EXPECT_NEAR(constant(b, "Delta"), 1.0 / std::sqrt(11.0), 1e-15);
  EXPECT_EQ(assumption(b, "|y_j| <= Y along the path")->status, AssumptionStatus::observed);
  // For a vanishing gradient it is B4.
  const auto small = evaluate_bound("B4Y", config, objective, empty_curve(config, 1e-9));
  const auto b4 = evaluate_bound("B4", config, objective, empty_curve(config, 1e-9));
  for (std::size_t k = 0; k <= 30; ++k) expect_relative(small.value[k], b4.value[k], 1e-14);
  EXPECT_TRUE(needs_gradient_tracking("B4Y") && needs_gradient_tracking("B4d") && !needs_gradient_tracking("B4"));
}

TEST(B4d, MatchesTheHandComputedRecursion) {
  auto config = method(MethodKind::dsignsgd, 0.1, 5, 2.0, 30, 1, 4.0);
  config.noise.law.kind = LawKind::student_t;
  config.noise.law.nu = 2.0;
  const Objective objective(quadratic({1.0, 3.0}));
  const auto b = evaluate_bound("B4d", config, objective, empty_curve(config, 3.0));
  const double c0 = 1.0 / std::sqrt(2.0), c_y = 1.0 / std::sqrt(11.0), delta = 1.0 - 0.15 * c0 * 0.8;
  EXPECT_NEAR(constant(b, "Delta"), delta, 1e-15);
  double expected = 2.0;
  for (std::size_t k = 0; k <= 30; ++k) {
    EXPECT_NEAR(b.value[k], expected, 1e-14);
    expected = (1.0 - 0.2 * c_y * delta) * expected + 0.01 * 3.0 * 2.0 / 10.0;
  }
}

TEST(B4d, AveragesOverHeterogeneousWorkers) {
  auto config = method(MethodKind::dsignsgd, 0.1, 2, 1.0, 3);
  config.workers.scale = {1.0, 4.0};
  config.workers.batch = {1.0, 4.0};  // 1/s = 1, 1/2
  const auto b = evaluate_bound("B4d", config, Objective(quadratic({1.0})), empty_curve(config, 1.5));
  const double l = std::sqrt(2.0 / std::numbers::pi);
  EXPECT_NEAR(constant(b, "c_0"), l * 0.75, 1e-15);
  EXPECT_NEAR(constant(b, "c_Y"), 0.5 * (std::erf(1.5 / std::sqrt(2.0)) + std::erf(0.75 / std::sqrt(2.0))) / 1.5,
              1e-15);
  EXPECT_NEAR(constant(b, "Y"), 1.5, 1e-15);
}

/// O5: E f of 1-D DSignSGD on f = h x^2/2, exactly: the law of x on the lattice x0 + (2 eta/N) Z (a sum of N signs has
/// the parity of N), constant eta. Also the largest |x| that has any probability above 1e-18.
struct Lattice {
  std::vector<double> mean;
  double largest_x = 0.0;
};
Lattice lattice(double h, double x0, double eta, int n_workers, double sigma, LawKind law, double nu, int steps) {
  const int n = n_workers;
  // After k steps x = x0 - (eta/N)(2 u - N k), u = number of + signs so far.
  std::vector<double> p{1.0}, choose;
  for (int s = 0; s <= n; ++s)
    choose.push_back(std::round(std::exp(std::lgamma(n + 1.0) - std::lgamma(s + 1.0) - std::lgamma(n - s + 1.0))));
  Lattice result;
  for (int k = 0;; ++k) {
    double f = 0.0;
    std::vector<double> next(p.size() + static_cast<std::size_t>(n), 0.0);
    for (std::size_t u = 0; u < p.size(); ++u) {
      if (p[u] < 1e-18) continue;
      const double x = x0 - eta / n * (2.0 * static_cast<double>(u) - static_cast<double>(n) * k);
      result.largest_x = std::max(result.largest_x, std::fabs(x));
      f += p[u] * 0.5 * h * x * x;
      const double plus = 0.5 + noise_xi({law, nu}, h * x / sigma), minus = 0.5 - noise_xi({law, nu}, h * x / sigma);
      for (int s = 0; s <= n; ++s) {
        const auto i = static_cast<std::size_t>(s);
        next[u + i] += p[u] * choose[i] * std::pow(plus, s) * std::pow(minus, n - s);
      }
    }
    result.mean.push_back(f);
    if (k == steps) return result;
    p = std::move(next);
  }
}

TEST(B4d, IsNeverBelowTheExactLattice) {
  int judged = 0;
  for (const double nu : {0.0, 1.0, 1.6, 3.0}) {
    const LawKind law = nu > 0.0 ? LawKind::student_t : LawKind::gaussian;
    for (const double x0 : {0.3, 1.0, 3.3}) {
      for (const double eta : {0.02, 0.2, 0.6}) {
        for (const int n : {1, 2, 8}) {
          const double sigma = 1.0, h = 1.0;
          const auto exact = lattice(h, x0, eta, n, sigma, law, nu, 60);
          auto config = method(MethodKind::dsignsgd, eta, n, sigma, 60);
          config.noise.law.kind = law;
          config.noise.law.nu = nu;
          const auto b =
              evaluate_bound("B4d", config, Objective(quadratic({h}, x0)), empty_curve(config, h * exact.largest_x));
          if (!b.applicable()) continue;
          ++judged;
          for (std::size_t k = 0; k <= 60; ++k) {
            EXPECT_GE(b.value[k], exact.mean[k] * (1.0 - 1e-12))
                << nu << " " << x0 << " " << eta << " " << n << " " << k;
          }
        }
      }
    }
  }
  EXPECT_GT(judged, 100);
}

TEST(B4, IsExceededInTheTransientOnceTheNoiseIsNotLarge) {
  double least = 1e9, greatest = 0.0, last = 0.0;
  for (const double y0 : {1.0, 1.5, 2.0, 2.6, 3.3}) {
    const int n = 8;
    const double eta = 0.02;
    const auto exact = lattice(1.0, y0, eta, n, 1.0, LawKind::gaussian, 0.0, 300);
    auto config = method(MethodKind::dsignsgd, eta, n, 1.0, 300);
    const auto curve = empty_curve(config, exact.largest_x);
    const Objective objective(quadratic({1.0}, y0));
    const auto b4 = evaluate_bound("B4", config, objective, curve),
               b4y = evaluate_bound("B4Y", config, objective, curve);
    double worst = 0.0, worst_y = 0.0;
    for (std::size_t k = 0; k <= 300; ++k) {
      worst = std::max(worst, exact.mean[k] / b4.value[k]);
      worst_y = std::max(worst_y, exact.mean[k] / b4y.value[k]);
    }
    RecordProperty("y0_" + std::to_string(y0), std::to_string(worst));
    EXPECT_GT(worst, last);  // the further from the linear regime the worse
    EXPECT_LT(worst_y, 1.005);
    last = worst;
    least = std::min(least, worst);
    greatest = std::max(greatest, worst);
  }
  EXPECT_GT(least, 1.05);
  EXPECT_GT(greatest, 5.0);
}

TEST(B4d, FollowsASchedule) {
  auto config = method(MethodKind::dsignsgd, 0.2, 4, 1.0, 40);
  config.schedule = {ScheduleKind::polynomial, 1.0, 0.5};
  const auto curve = empty_curve(config, 1.0);
  const Objective objective(quadratic({1.0}));
  const auto b = evaluate_bound("B4d", config, objective, curve);
  ASSERT_TRUE(b.applicable());
  const double c0 = std::sqrt(2.0 / std::numbers::pi), c_y = std::erf(1.0 / std::sqrt(2.0));
  double expected = 0.5;
  for (std::size_t k = 0; k <= 40; ++k) {
    expect_relative(b.value[k], expected, 1e-13);
    const double eta = 0.2 / std::sqrt(static_cast<double>(k) + 1.0);
    expected = (1.0 - 2.0 * eta * c_y * (1.0 - 0.5 * eta * c0 * 0.75)) * expected + eta * eta / 8.0;
  }
  EXPECT_TRUE(failed(evaluate_bound("B4", config, objective, curve), "constant step"));
  EXPECT_TRUE(failed(evaluate_bound("B4Y", config, objective, curve), "constant step"));
}

// ---- assumptions

TEST(Assumptions, MethodMustMatchTheTheorem) {
  const Objective objective(quadratic({1.0}));
  const auto sgd = method(MethodKind::dsgd, 0.1, 1, 1.0), sign = method(MethodKind::dsignsgd, 0.1, 1, 1.0);
  EXPECT_TRUE(failed(evaluate_bound("B3", sign, objective, empty_curve(sign)), "method"));
  EXPECT_TRUE(failed(evaluate_bound("B4d", sgd, objective, empty_curve(sgd)), "method"));
  EXPECT_TRUE(evaluate_bound("B3", sgd, objective, empty_curve(sgd)).applicable());
}

TEST(Assumptions, DeltaMustBePositiveAndTheMethodsOwnStabilityIsTold) {
  auto config = method(MethodKind::dcsgd, 0.5, 1, 1.0);
  config.compressor = {CompressorKind::bernoulli, 0, 0.2};  // omega = 4
  const Objective objective(quadratic({0.1, 1.0}));
  // B3: 1 - .5 * 4 / (2 * .1) = -9; the method: max over h of (1 - .5 h)^2 + .25 h^2 4 = .9125, 1.25
  auto b = evaluate_bound("B3", config, objective, empty_curve(config));
  EXPECT_TRUE(failed(b, "Delta > 0"));
  EXPECT_TRUE(std::isnan(b.value[0]) && std::isnan(b.value.back()));
  EXPECT_NE(assumption(b, "Delta > 0")->detail.find("-9"), std::string::npos);
  EXPECT_NE(assumption(b, "Delta > 0")->detail.find("unstable: its factor a step is 1.25"), std::string::npos);
  // eta = .2: B3 1 - .2*4/.2 = -3 still, though the method is stable.
  config.eta = 0.2;
  b = evaluate_bound("B3", config, objective, empty_curve(config));
  EXPECT_TRUE(failed(b, "Delta > 0"));
  EXPECT_NE(assumption(b, "Delta > 0")->detail.find("mean-square stable: its factor a step is 0.962"),
            std::string::npos)
      << assumption(b, "Delta > 0")->detail;
  EXPECT_TRUE(evaluate_bound("B3p", config, objective, empty_curve(config)).applicable());
}

TEST(Assumptions, WhereDeltaFailsTheModelsOwnStabilityIsTold) {
  auto config = method(MethodKind::dcsgd, 0.5, 1, 1.0);
  config.compressor = {CompressorKind::bernoulli, 0, 0.2};  // omega = 4
  const Objective objective(quadratic({0.1, 1.0}));
  // O3 at h = 1: -2 (1 + r/2) + 2; at h = .1: -.2 (1 + r/20) + .02.
  for (const auto& [kind, words] :
       {std::pair{ModelKind::first_order,
                  "and the first_order model itself is mean-square unstable: its rate per unit of "
                  "time is 0"},
        {ModelKind::second_order,
         "though the second_order model itself is mean-square stable: its rate per unit of time "
         "is -0.185"},
        {ModelKind::curvature,
         "and the curvature model itself is mean-square unstable: its rate per unit of time is 0.5"},
        {ModelKind::hessian_aware,
         "and the hessian_aware model itself is mean-square unstable: its factor a step is "
         "1.25"}}) {
    const auto b = evaluate_bound("B3", model(config, kind), objective, empty_curve(config));
    ASSERT_TRUE(failed(b, "Delta > 0"));
    EXPECT_NE(assumption(b, "Delta > 0")->detail.find(words), std::string::npos) << assumption(b, "Delta > 0")->detail;
  }
  // In one dimension affine noise adds eta (1 + omega) rho^2 h^2 = 2.5.
  config.noise.affine = 1.0;
  const auto b =
      evaluate_bound("B3", model(config, ModelKind::first_order), Objective(quadratic({1.0})), empty_curve(config));
  EXPECT_NE(assumption(b, "Delta > 0")->detail.find("is 2.5"), std::string::npos) << assumption(b, "Delta > 0")->detail;
}

TEST(Assumptions, ModelsAreJudgedByTheirMethod) {
  const Objective objective(quadratic({1.0}));
  const auto sgd = model(method(MethodKind::dsgd, 0.1, 1, 1.0), ModelKind::first_order);
  const auto sign = model(method(MethodKind::dsignsgd, 0.1, 1, 1.0), ModelKind::first_order);
  for (const char* theorem : {"B3", "B3p", "B3c", "B3d"}) {
    const auto b = evaluate_bound(theorem, sgd, objective, empty_curve(sgd));
    EXPECT_TRUE(b.applicable());
    EXPECT_EQ(b.value,
              evaluate_bound(theorem, method(MethodKind::dsgd, 0.1, 1, 1.0), objective, empty_curve(sgd)).value);
  }
  for (const char* theorem : {"B4", "B4Y", "B4d"})
    EXPECT_TRUE(evaluate_bound(theorem, sign, objective, empty_curve(sign, 1.0)).applicable());
  const auto b = evaluate_bound("B3", sign, objective, empty_curve(sign));
  EXPECT_TRUE(failed(b, "method"));
  EXPECT_EQ(assumption(b, "method")->detail, "the theorem is about DSGD and DCSGD, the curve is a model of DSignSGD");
}

TEST(Assumptions, NoiseVarianceMustBeFiniteForB3AndNeedNotForB4) {
  const Objective objective(quadratic({1.0}));
  auto config = method(MethodKind::dsgd, 0.1, 1, 1.0);
  config.noise.law.kind = LawKind::student_t;
  config.noise.law.nu = 2.0;
  for (const char* theorem : {"B3", "B3p", "B3d"}) {
    const auto b = evaluate_bound(theorem, config, objective, empty_curve(config));
    EXPECT_TRUE(failed(b, "finite noise variance")) << theorem;
    EXPECT_TRUE(std::isnan(b.value[0]));
  }
  config.workers.scale = {0.0};
  EXPECT_TRUE(evaluate_bound("B3", config, objective, empty_curve(config)).applicable());
  auto sign = method(MethodKind::dsignsgd, 0.1, 1, 1.0);
  sign.noise = {{LawKind::student_t, 1.0}, 1.0, 0.0};
  EXPECT_TRUE(evaluate_bound("B4", sign, objective, empty_curve(sign)).applicable());
}

TEST(Assumptions, AffineNoiseIsForB3dAlone) {
  const Objective objective(quadratic({1.0}));
  auto config = method(MethodKind::dsgd, 0.1, 1, 1.0);
  config.noise.affine = 0.5;
  const auto b3 = evaluate_bound("B3", config, objective, empty_curve(config));
  EXPECT_TRUE(failed(b3, "rho = 0"));
  EXPECT_FALSE(std::isnan(b3.value[5]));  // the number is still shown
  EXPECT_TRUE(evaluate_bound("B3d", config, objective, empty_curve(config)).applicable());
  auto sign = method(MethodKind::dsignsgd, 0.1, 1, 1.0);
  sign.noise.affine = 0.5;
  for (const char* theorem : {"B4", "B4Y", "B4d"}) {
    EXPECT_TRUE(failed(evaluate_bound(theorem, sign, objective, empty_curve(sign, 1.0)), "rho = 0"));
  }
}

TEST(Assumptions, ObjectivesWithoutConstantsGetNoNumber) {
  const auto sgd = method(MethodKind::dsgd, 0.1, 1, 1.0);
  const auto quartic = evaluate_bound("B3d", sgd, Objective(simple(ObjectiveKind::quartic, {1.0})), empty_curve(sgd));
  EXPECT_TRUE(failed(quartic, "mu-PL"));
  EXPECT_TRUE(failed(quartic, "L-smooth"));
  const auto cosh = evaluate_bound("B3d", sgd, Objective(simple(ObjectiveKind::cosh, {1.0})), empty_curve(sgd));
  EXPECT_FALSE(failed(cosh, "mu-PL"));
  EXPECT_TRUE(failed(cosh, "L-smooth"));
  EXPECT_TRUE(std::isnan(cosh.value[0]));
}

TEST(Assumptions, ProvenanceOfConstantsIsKept) {
  const auto sgd = method(MethodKind::dsgd, 0.01, 1, 1.0);
  auto curve = empty_curve(sgd);
  curve.pl_min = 0.3;
  curve.pl_max = 7.0;
  const Objective sine(simple(ObjectiveKind::sine_pl, {1.0}));
  const auto b = evaluate_bound("B3d", sgd, sine, curve);
  EXPECT_EQ(assumption(b, "mu-PL")->status, AssumptionStatus::observed);
  EXPECT_EQ(assumption(b, "L-smooth")->status, AssumptionStatus::proved);
  EXPECT_NE(assumption(b, "L-smooth")->detail.find("observed between 0.0375 and 0.875"), std::string::npos);
  auto user = simple(ObjectiveKind::sine_pl, {1.0});
  user.mu = 0.1;
  EXPECT_EQ(assumption(evaluate_bound("B3d", sgd, Objective(user), curve), "mu-PL")->status,
            AssumptionStatus::unchecked);
  user.mu = 0.2;  // refuted by the largest mu that is known
  EXPECT_TRUE(failed(evaluate_bound("B3d", sgd, Objective(user), empty_curve(sgd)), "mu-PL"));
  user.mu = 1.0;  // and by the observed quotient
  EXPECT_TRUE(failed(evaluate_bound("B3d", sgd, Objective(user), curve), "mu-PL"));
  user.mu = 9.0;  // and by L = 8
  EXPECT_TRUE(failed(evaluate_bound("B3d", sgd, Objective(user), empty_curve(sgd)), "mu-PL"));
}

TEST(Assumptions, SignBoundsNeedNoiseAndAPositiveFactor) {
  const Objective objective(quadratic({1.0}));
  auto config = method(MethodKind::dsignsgd, 0.1, 1, 0.0);
  EXPECT_TRUE(failed(evaluate_bound("B4", config, objective, empty_curve(config)), "sigma > 0"));
  config = method(MethodKind::dsignsgd, 3.0, 8, 1.0);  // (eta l / 2)(7/8) = 1.047
  EXPECT_TRUE(failed(evaluate_bound("B4d", config, objective, empty_curve(config, 1.0)), "Delta > 0"));
  config = method(MethodKind::dsignsgd, 0.9, 1, 1.0);  // 1 - 2 * .9 * .683 < 0
  EXPECT_TRUE(failed(evaluate_bound("B4d", config, objective, empty_curve(config, 1.0)), "q >= 0"));
  config = method(MethodKind::dsignsgd, 0.1, 1, 1.0);
  EXPECT_TRUE(
      failed(evaluate_bound("B4Y", config, objective, empty_curve(config, INFINITY)), "|y_j| <= Y along the path"));
}

TEST(Assumptions, DependentCoordinatesAreAllowedForSigns) {
  auto config = method(MethodKind::dsignsgd, 0.1, 2, 1.0);
  config.noise.law.kind = LawKind::multivariate_t;
  config.noise.law.nu = 1.0;
  const auto b = evaluate_bound("B4", config, Objective(quadratic({1.0, 1.0})), empty_curve(config));
  EXPECT_TRUE(b.applicable());
  EXPECT_NE(assumption(b, "symmetric unimodal noise")->detail.find("marginals"), std::string::npos);
}

TEST(Schedules, B3dAllowsOneAndChecksItsLargestStep) {
  auto config = method(MethodKind::dsgd, 1.5, 1, 1.0, 20);
  config.schedule = {ScheduleKind::polynomial, 1.0, 0.5};
  const Objective objective(quadratic({1.0}));
  EXPECT_TRUE(evaluate_bound("B3d", config, objective, empty_curve(config)).applicable());
  config.eta = 2.5;
  EXPECT_TRUE(failed(evaluate_bound("B3d", config, objective, empty_curve(config)), "Delta > 0"));
  EXPECT_TRUE(failed(evaluate_bound("B3", config, objective, empty_curve(config)), "constant step"));
  config.schedule.p = 0.0;  // a constant step in other words
  EXPECT_FALSE(failed(evaluate_bound("B3", config, objective, empty_curve(config)), "constant step"));
  EXPECT_NEAR(sum_over_steps(config, 4), 10.0, 1e-14);
}

TEST(Registry, KnowsEveryBoundItsAliasAndItsObject) {
  ASSERT_EQ(bound_registry().size(), 10u);
  const Objective objective(quadratic({1.0}));
  for (const auto& info : bound_registry()) {
    const auto config = method(
        info.theorem[1] == '3' || info.theorem[1] == '5' ? MethodKind::dsgd : MethodKind::dsignsgd, 0.1, 1, 1.0, 3);
    const auto b = evaluate_bound(info.theorem, config, objective, empty_curve(config, 1.0));
    EXPECT_EQ(b.theorem, info.theorem);
    EXPECT_EQ(b.speaks_of, info.speaks_of);
    EXPECT_EQ(b.speaks_of == "sde", b.model.has_value());
    EXPECT_EQ(b.model, info.model);
    if (b.quantity != "suboptimality") {  // an average over the steps, judged in tests/test_averages.cpp
      EXPECT_TRUE(std::isnan(b.value[0])) << info.theorem;
      continue;
    }
    EXPECT_TRUE(b.applicable()) << info.theorem;
    EXPECT_EQ(b.value[0], 0.5);
  }
  const auto config = method(MethodKind::dsgd, 0.1, 1, 1.0, 3);
  EXPECT_THROW(evaluate_bound("B9", config, objective, empty_curve(config)), std::invalid_argument);
}

}  // namespace
}  // namespace pathbound
