// SPDX-License-Identifier: Apache-2.0
// What host/laws.hpp says of the laws, against Boost.Math and against quadrature.
#include <gtest/gtest.h>

#include <boost/math/distributions/laplace.hpp>
#include <boost/math/distributions/logistic.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <boost/math/quadrature/exp_sinh.hpp>
#include <boost/math/quadrature/gauss_kronrod.hpp>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "host/laws.hpp"
#include "host/stable.hpp"
#include "tests/stable_reference.hpp"

namespace pathbound {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
using boost::math::complement;

LawSpec stable_of(double alpha) { return {LawKind::alpha_stable, 0.0, alpha}; }
LawSpec contaminated(double eps, double k) { return {LawKind::contaminated_gaussian, 0.0, 0.0, eps, k}; }

std::vector<LawSpec> every_law() {
  std::vector<LawSpec> all = {{LawKind::gaussian}, {LawKind::laplace}, {LawKind::logistic}};
  for (const double nu : {0.06, 0.5, 1.0, 2.0, 3.0, 30.0}) all.push_back({LawKind::student_t, nu});
  all.push_back({LawKind::multivariate_t, 2.5});
  for (const auto& [eps, k] : {std::pair{0.1, 10.0}, {1e-6, 1e4}, {0.5, 0.01}, {0.9, 3.0}})
    all.push_back(contaminated(eps, k));
  for (const double alpha : {0.06, 0.1, 0.3, 0.5, 0.9, 0.953, 0.99, 1.0, 1.01, 1.05, 1.3, 1.7, 1.99, 2.0})
    all.push_back(stable_of(alpha));
  return all;
}

double relative(double value, long double expected) {
  return static_cast<double>(std::abs((value - expected) / expected));
}

TEST(Laws, LightTailedDistributionsAreThoseOfBoost) {
  const auto check = [](const LawSpec& law, auto&& density, auto&& tail) {
    for (double y = 1e-12; y < 600.0; y *= 1.37) {
      if (const long double want = density(y); want > 1e-290L) {
        EXPECT_LT(relative(noise_density(law, y), want), 2e-13) << law_words(law) << " " << y;
      }
      EXPECT_EQ(noise_density(law, -y), noise_density(law, y));
      const long double xi = 0.5L - tail(static_cast<long double>(y));
      EXPECT_LT(relative(noise_xi(law, y), xi), 4e-16 + 1e-19 / static_cast<double>(xi)) << law_words(law) << " " << y;
      EXPECT_EQ(noise_xi(law, -y), -noise_xi(law, y));
    }
  };
  const boost::math::laplace_distribution<long double> laplace;
  check(
      {LawKind::laplace}, [&](double y) { return boost::math::pdf(laplace, static_cast<long double>(y)); },
      [&](long double y) { return boost::math::cdf(complement(laplace, y)); });
  const boost::math::logistic_distribution<long double> logistic;
  check(
      {LawKind::logistic}, [&](double y) { return boost::math::pdf(logistic, static_cast<long double>(y)); },
      [&](long double y) { return boost::math::cdf(complement(logistic, y)); });
  for (const auto& [eps, k] : {std::pair{0.1, 10.0}, {1e-6, 1e4}, {0.5, 0.01}}) {
    const boost::math::normal_distribution<long double> narrow(0.0L, 1.0L), wide(0.0L, k);
    const long double e = eps;
    check(
        contaminated(eps, k),
        [&](double y) {
          const auto z = static_cast<long double>(y);
          const long double d = (1 - e) * boost::math::pdf(narrow, z) + e * boost::math::pdf(wide, z);
          return d > 1e-300L ? d : std::numeric_limits<long double>::min();
        },
        [&](long double y) {
          return (1 - e) * boost::math::cdf(complement(narrow, y)) + e * boost::math::cdf(complement(wide, y));
        });
  }
}

TEST(Laws, StudentTDensityIsThatOfBoost) {
  for (const double nu : {0.06, 0.5, 1.0, 3.0, 30.0, 1e6})
    for (double y = 1e-12; y < 1e12; y *= 3.7) {
      const long double want = boost::math::pdf(boost::math::students_t_distribution<long double>(nu), y);
      if (want < 1e-290L) continue;
      EXPECT_LT(relative(noise_density({LawKind::student_t, nu}, y), want), 1e-12) << nu << " " << y;
    }
}

TEST(Laws, AlphaStableIsTheLawOfItsCharacteristicFunction) {
  for (const double alpha :
       {0.06,  0.1,  0.3,  0.5,   0.75, 0.9, 0.95, 0.953, 0.99, 0.999, 1.0 - 1e-9, 1.0,        1.0 + 1e-9,
        1.001, 1.01, 1.05, 1.053, 1.1,  1.3, 1.5,  1.7,   1.9,  1.99,  1.9999,     2.0 - 1e-9, 2.0}) {
    double density = 0.0, xi = 0.0;
    const double farthest = alpha < 1.0 ? 1e6 : 12.0;  // there the reference cancels
    for (double x = alpha < 0.2 ? 1e-25 : 1e-6; x < farthest; x *= 1.7) {
      const auto want = reference::stable(alpha, x);
      const double at = noise_density(stable_of(alpha), x);
      // The reference's own error beside mine.
      const double own = 2e-18 * (1.0 + 1.0 / x) / at * std::min(1.0, x);
      density = std::max(density, std::max(0.0, relative(at, want.density) - own));
      xi = std::max(xi, static_cast<double>(std::abs(noise_xi(stable_of(alpha), x) - want.xi)));
    }
    EXPECT_LT(density, 2e-14) << alpha;
    EXPECT_LT(xi, 4e-15) << alpha;  // next to 2 both lose two digits
  }
}

TEST(Laws, AlphaStableTailsApproachTheirPower) {
  for (const double alpha : {0.06, 0.3, 0.5, 0.99, 1.01, 1.5, 1.9, 1.999}) {
    const double lead = std::tgamma(alpha) * std::sin(0.5 * std::numbers::pi * alpha) / std::numbers::pi;
    const double x = std::pow(10.0, alpha < 0.3 ? 250.0 : 12.0 / std::min(alpha, 1.0));
    EXPECT_LT(relative(stable_law(alpha).tail(x), lead * std::pow(x, -alpha)), 1e-11) << alpha;
    EXPECT_LT(relative(noise_density(stable_of(alpha), x), alpha * lead * std::pow(x, -alpha - 1.0)), 1e-11) << alpha;
  }
}

TEST(Laws, XiIsTheIntegralOfTheDensity) {
  for (const LawSpec& law : every_law()) {
    // In ln y, from where the density is flat.
    const double start = 1e-34;
    double xi = noise_xi(law, start);
    EXPECT_LT(relative(xi, 0.5 * noise_density_factor(law) * start), 1e-13) << law_words(law);
    EXPECT_LT(relative(noise_density(law, start), 0.5 * noise_density_factor(law)), 1e-13) << law_words(law);
    for (double y = start; y < 1e12; y *= 1.5) {
      xi += boost::math::quadrature::gauss_kronrod<double, 31>::integrate(
          [&](double u) { return std::exp(u) * noise_density(law, std::exp(u)); }, std::log(y), std::log(1.5 * y), 0);
      ASSERT_NEAR(xi, noise_xi(law, 1.5 * y), 2e-14) << law_words(law) << " " << y;
      ASSERT_LE(noise_density(law, 1.5 * y), noise_density(law, y) * (1.0 + 1e-14)) << law_words(law) << " " << y;
    }
    EXPECT_EQ(noise_xi(law, inf), 0.5);
    EXPECT_EQ(noise_xi(law, -inf), -0.5);
    EXPECT_EQ(noise_density(law, inf), 0.0);
    EXPECT_TRUE(std::isnan(noise_xi(law, std::nan(""))));
    EXPECT_EQ(noise_xi(law, 0.0), 0.0);
  }
}

TEST(Laws, MomentsAreThoseOfTheDensity) {
  boost::math::quadrature::exp_sinh<double> integrator;
  for (const LawSpec& law : every_law()) {
    const double p = tail_order(law);
    for (const int q : {2, 4}) {
      const double said = q == 2 ? noise_variance(law) : noise_fourth_moment(law);
      EXPECT_EQ(std::isinf(said), p <= q) << law_words(law);
      if (p < q + 0.4) continue;  // not there, or too slow an integral
      // In pieces: a contaminated normal has two scales.
      double sum = 0.0;
      for (double y = 0x1p-20; y < 0x1p40; y *= 2.0)
        sum += boost::math::quadrature::gauss_kronrod<double, 31>::integrate(
            [&](double z) { return 2.0 * std::pow(z, q) * noise_density(law, z); }, y, 2.0 * y, 0);
      EXPECT_NEAR(sum / said, 1.0, p < 100.0 ? 2e-3 : 1e-11) << law_words(law) << " " << q;
    }
  }
}

TEST(Laws, TailsAreAsHeavyAsTheySay) {
  EXPECT_EQ(tail_order({LawKind::gaussian}), inf);
  EXPECT_EQ(tail_order({LawKind::student_t, 2.5}), 2.5);
  EXPECT_EQ(tail_order({LawKind::multivariate_t, 3.5}), 3.5);
  EXPECT_EQ(tail_order({LawKind::laplace}), inf);
  EXPECT_EQ(tail_order(stable_of(1.5)), 1.5);
  EXPECT_EQ(tail_order(stable_of(2.0)), inf);
  EXPECT_EQ(exponential_order({LawKind::gaussian}), inf);
  EXPECT_EQ(exponential_order(contaminated(0.1, 5.0)), inf);
  EXPECT_EQ(exponential_order(stable_of(2.0)), inf);
  EXPECT_EQ(exponential_order(stable_of(1.9)), 0.0);
  EXPECT_EQ(exponential_order({LawKind::student_t, 1e6}), 0.0);
  for (const LawSpec& law : every_law()) {
    // Far out the density falls like y^-(p + 1), and with c = exponential_order like e^(-c y).
    if (const double p = tail_order(law); std::isfinite(p) && p < 10.0) {
      const double fall = std::log(noise_density(law, 1e20) / noise_density(law, 2e20)) / std::log(2.0);
      EXPECT_NEAR(fall, p + 1.0, p < 0.2 ? 0.02 : 1e-3) << law_words(law);
    } else if (std::isinf(p)) {
      const double c = exponential_order(law), scale = law.kind == LawKind::contaminated_gaussian ? law.k : 1.0;
      const double y = 20.0 * std::max(1.0, scale);
      const double fall = std::log(noise_density(law, y) / noise_density(law, y + 1.0));
      if (std::isfinite(c)) {
        EXPECT_NEAR(fall, c, 1e-6) << law_words(law);
      } else {
        EXPECT_GT(std::log(noise_density(law, y) / noise_density(law, 1.5 * y)), 60.0) << law_words(law);
      }
    }
  }
}

TEST(Laws, AreNamedWithTheirParameters) {
  EXPECT_EQ(law_words({LawKind::gaussian}), "Gaussian noise");
  EXPECT_EQ(law_words({LawKind::student_t, 2.0}), "Student-t noise with nu = 2");
  EXPECT_EQ(law_words({LawKind::multivariate_t, 2.5}), "multivariate t noise with nu = 2.5");
  EXPECT_EQ(law_words({LawKind::laplace}), "Laplace noise");
  EXPECT_EQ(law_words({LawKind::logistic}), "logistic noise");
  EXPECT_EQ(law_words(contaminated(0.1, 10.0)), "contaminated Gaussian noise with eps = 0.1 and k = 10");
  EXPECT_EQ(law_words(stable_of(1.5)), "alpha-stable noise with alpha = 1.5");
}

}  // namespace
}  // namespace pathbound
