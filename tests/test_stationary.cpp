// SPDX-License-Identifier: Apache-2.0
// Where methods settle (bench/stationary.hpp) against closed forms, other integrals and plain sampling.
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "bench/stationary.hpp"
#include "tests/stat_assert.hpp"

namespace pathbound::stationary {
namespace {

const LawSpec gaussian{LawKind::gaussian};
LawSpec student(double nu) { return {LawKind::student_t, nu}; }
LawSpec multivariate(double nu) { return {LawKind::multivariate_t, nu}; }
const LawSpec laplace{LawKind::laplace}, logistic{LawKind::logistic},
    contaminated{LawKind::contaminated_gaussian, 0.0, 0.0, 0.1, 10.0};
LawSpec stable(double alpha) { return {LawKind::alpha_stable, 0.0, alpha}; }

double sign_level(const LawSpec& law, int workers, double eps) {
  return sign_walk(1.0, 0.0, eps, workers, 4000, [&](double x) { return 0.5 + noise_xi(law, x); }).mean;
}

TEST(Stationary, OneStepOfASignWalkByHand) {
  // x_0 = 1, eta = 1/2, N = 2: x_1 = 1/2, 1, 3/2 with probabilities p^2, 2 p (1 - p), (1 - p)^2.
  const double p = 0.7;
  const Moments m = sign_walk(2.0, 1.0, 0.5, 2, 1, [&](double) { return p; });
  const std::array<double, 3> s = {0.25, 1.0, 2.25}, weight = {p * p, 2.0 * p * (1.0 - p), (1.0 - p) * (1.0 - p)};
  double mean = 0.0, variance = 0.0, third = 0.0;
  for (std::size_t i = 0; i < 3; ++i) mean += weight[i] * s[i];
  for (std::size_t i = 0; i < 3; ++i) variance += weight[i] * std::pow(s[i] - mean, 2);
  for (std::size_t i = 0; i < 3; ++i) third += weight[i] * std::pow(s[i] - mean, 3);
  EXPECT_NEAR(m.mean, mean, 1e-15);
  EXPECT_NEAR(m.variance, variance, 1e-15);
  EXPECT_NEAR(m.third, third, 1e-15);
  EXPECT_EQ(m.largest, 2.25);
}

TEST(Stationary, SignLevelsDepartFromTheLinearLawAsTheClosureSays) {
  for (const LawSpec& law : {gaussian, student(1.0), student(3.0), laplace, logistic, contaminated, stable(1.5)}) {
    for (const int n : {1, 4}) {
      const double l = noise_density_factor(law), eps = 0.04;
      const double departure = sign_departure(law, n, eps);
      // To first order: the square of either is left out.
      EXPECT_NEAR(sign_level(law, n, eps) / (eps / (4.0 * n * l)) - 1.0, departure, departure * departure + eps * eps)
          << static_cast<int>(law.kind) << " " << n;
      EXPECT_NEAR(sign_departure(law, n, sign_linear_up_to(law, n, 0.05)), 0.05, 1e-6);
    }
  }
  // Smooth laws: l (1 - 1/N)/2 + 3 a/(2 N l), a = (nu + 1)/(6 nu) of Student's t.
  const double l = 2.0 / std::numbers::pi, eps = 1e-4;
  EXPECT_NEAR(sign_departure(student(1.0), 4, eps) / eps, 0.375 * l + 0.125 / l, 1e-3);
}

TEST(Stationary, ClosureIsExactForPlainGradients) {
  // E y^2 = eps/(N (2 - eps)) by O1.
  for (const double eps : {0.01, 0.3})
    for (const int n : {1, 3})
      EXPECT_NEAR(closure(
                      eps, n, 1.0, [](double y) { return y; }, [](double y) { return 1.0 + y * y; }),
                  eps / (n * (2.0 - eps)), 1e-12);
}

TEST(Stationary, ClosureOfSignsIsRightToSecondOrder) {
  for (const LawSpec& law : {gaussian, student(1.0)}) {
    const auto off = [&](double eps) {
      const double closed = 0.5 * closure(
                                      eps, 2, noise_density_factor(law),
                                      [&](double y) { return 2.0 * noise_xi(law, y); }, [](double) { return 1.0; });
      return std::abs(closed / sign_level(law, 2, eps) - 1.0);
    };
    EXPECT_LT(off(0.1), 0.1 * 0.1);
    EXPECT_LT(off(0.05), 0.35 * off(0.1));  // a quarter, but for higher orders
  }
}

TEST(Stationary, ClippingMatchesQuadrature) {
  const double c = 1.5;
  const auto density = [](double u) { return std::exp(-0.5 * u * u) / std::sqrt(2.0 * std::numbers::pi); };
  const auto expect = [&](auto&& psi, double y) {
    double sum = 0.0;
    // Between the corners of psi.
    for (const auto& [a, b] : {std::pair{-12.0, -c - y}, std::pair{-c - y, c - y}, std::pair{c - y, 12.0}})
      sum += boost::math::quadrature::gauss_kronrod<double, 61>::integrate(
          [&](double u) { return psi(y + u) * density(u); }, a, b, 10, 1e-13);
    return sum;
  };
  const auto psi = [&](double u) { return std::clamp(u, -c, c); };
  const Clipping clipping{gaussian, c};
  for (const double y : {0.0, 0.3, -1.0, 2.0}) {
    EXPECT_NEAR(clipping.mean(y), expect(psi, y), 1e-11) << y;
    EXPECT_NEAR(clipping.square(y), expect([&](double u) { return psi(u) * psi(u); }, y), 1e-11) << y;
  }
  EXPECT_NEAR(clipping.slope(0.0), std::erf(c / std::numbers::sqrt2), 1e-14);
}

TEST(Stationary, InversePowersOfNorms) {
  EXPECT_NEAR(inverse_power(gaussian, 3, 1.0), std::sqrt(2.0 / std::numbers::pi), 1e-14);
  EXPECT_NEAR(inverse_power(gaussian, 3, 2.0), 1.0, 1e-14);  // E 1/chi^2_3
  EXPECT_NEAR(inverse_power(multivariate(1e9), 5, 3.0), inverse_power(gaussian, 5, 3.0), 1e-7);
  // Cauchy, d = 3: |zeta|/sqrt(1 + |zeta|^2) has the density (4/pi) u^2/sqrt(1 - u^2): E sqrt(1 - u^2)/u = 2/pi.
  EXPECT_NEAR(inverse_power(multivariate(1.0), 3, 1.0), 2.0 / std::numbers::pi, 1e-14);
}

TEST(Stationary, DirectionsByTheNoncentralChi) {
  // E |y + zeta| = M 1F1(-1/2; d/2; -|y|^2/2), M = sqrt 2 Gamma((d+1)/2)/Gamma(d/2); its gradient is E u/|u|.
  for (const int d : {4, 8}) {
    const double M = std::sqrt(2.0) * std::tgamma(0.5 * (d + 1)) / std::tgamma(0.5 * d);
    EXPECT_NEAR(direction_slope(gaussian, d), M / d, 1e-13);
    // |y|^2 to leading order, and the same equation with A and B from the series.
    const double eps = 0.05, A = M / d, B = M / (2.0 * d * (d + 2.0));
    const int n = 4;
    const double r = direction_square(gaussian, d, n, eps);
    EXPECT_NEAR(2.0 * (A * r - B * r * r * (d + 2.0) / d), eps * (1.0 / n + (1.0 - 1.0 / n) * A * A * r), 1e-14);
    EXPECT_NEAR(r / (eps / (2.0 * n * A)), 1.0, eps);
  }
}

TEST(Stationary, DirectionsOfIndependentCoordinates) {
  // Independent normal coordinates are isotropic.
  for (const int d : {4, 8}) {
    EXPECT_NEAR(independent_direction_slope(gaussian, d, 1), direction_slope(gaussian, d), 1e-3);
    EXPECT_NEAR(independent_direction_slope(gaussian, d, 9), 3.0 * direction_slope(gaussian, d), 3e-3);
  }
  // The mean of N stable draws is one draw, shrunk.
  for (const double alpha : {0.7, 1.5}) {
    const double one = independent_direction_slope(stable(alpha), 4, 1);
    EXPECT_NEAR(independent_direction_slope(stable(alpha), 4, 4) * *stable_shrink(stable(alpha), 4), one, 0.02 * one);
  }
  // E 1/|zeta| of Laplace noise by sampling; 5.5 standard errors.
  std::mt19937_64 random(3);
  std::exponential_distribution<double> size;
  const int n = 100000;
  double sum = 0.0, square = 0.0;
  for (int i = 0; i < n; ++i) {
    double r = 0.0;
    for (int j = 0; j < 4; ++j) r += std::pow(size(random), 2);
    sum += 0.75 / std::sqrt(r);
    square += 0.5625 / r;
  }
  const double mean = sum / n;
  EXPECT_TRUE(
      stat::near(mean, independent_direction_slope(laplace, 4, 1), std::sqrt((square / n - mean * mean) / n), 1e-3));
}

TEST(Stationary, CharacteristicFunctionsGiveTheLawsBack) {
  for (const LawSpec& law : {student(3.0), student(2.0), student(0.6), logistic, contaminated}) {
    const MeanLaw one(law, 1), four(law, 4);
    EXPECT_NEAR(one.density_factor(), noise_density_factor(law), 1e-8) << static_cast<int>(law.kind);
    for (const double y : {0.1, 1.0, 4.0}) EXPECT_NEAR(one.xi(y), noise_xi(law, y), 1e-8) << y;
    const double y = 1e-4;
    EXPECT_NEAR(2.0 * four.xi(y) / y, four.density_factor(), 1e-5);
  }
  // The mean of four Laplace draws: a gamma mixture with density 2 e^-a (a^3 + 6 a^2 + 15 a + 15)/48, a = 4 |y|.
  const MeanLaw four(laplace, 4);
  EXPECT_NEAR(four.density_factor(), 2.0 * 2.0 * 15.0 / 48.0, 1e-9);
  const auto density = [](double y) {
    const double a = 4.0 * y;
    return 4.0 * std::exp(-a) * (((a + 6.0) * a + 15.0) * a + 15.0) / 96.0;
  };
  EXPECT_NEAR(four.xi(0.7), (boost::math::quadrature::gauss<double, 30>::integrate(density, 0.0, 0.7)), 1e-9);
  // Stable laws: by their shrinking.
  EXPECT_NEAR(*stable_shrink(gaussian, 9), 1.0 / 3.0, 1e-15);
  EXPECT_NEAR(*stable_shrink(student(1.0), 9), 1.0, 1e-15);
  EXPECT_NEAR(*stable_shrink(stable(0.5), 4), 4.0, 1e-14);
  EXPECT_FALSE(stable_shrink(student(3.0), 4));
  EXPECT_NEAR(MeanLaw(student(1.0), 5).density_factor(), 2.0 / std::numbers::pi, 1e-14);
  EXPECT_NEAR(MeanLaw(stable(0.5), 4).xi(2.0), noise_xi(stable(0.5), 0.5), 1e-14);
}

TEST(Stationary, SpreadOfStableSums) {
  // Gaussian (alpha = 2): x_K has the variance of O1 with Var zeta = 1 in place of spread^2.
  const double h = 0.7, eta = 0.3, sigma = 2.0;
  const double variance = 2.0 * dcsgd_mean({h}, 0.0, eta, 0.0, sigma * sigma, 4, 25) / h;
  EXPECT_NEAR(stable_spread(2.0, h, eta, sigma, 4, 25), std::sqrt(variance), 1e-13);
  // Cauchy: (sigma/h)(1 - (1 - eta h)^K), however many workers.
  EXPECT_NEAR(stable_spread(1.0, h, eta, sigma, 9, 25), sigma / h * (1.0 - std::pow(1.0 - eta * h, 25)), 1e-13);
}

TEST(Stationary, SecondMomentsOfDcsgdAreTheRecursion) {
  const std::vector<double> h = {0.5, 1.0};
  const double eta = 0.3, omega = 1.0, noise = 2.0, x0 = 1.5;
  double expected = 0.0;
  for (const double hj : h) {
    double m = x0 * x0;
    for (int k = 0; k < 7; ++k)
      m = m * (std::pow(1.0 - eta * hj, 2) + eta * eta * hj * hj * omega / 3.0) +
          eta * eta * (1.0 + omega) * noise / 3.0;
    expected += 0.5 * hj * m;
  }
  EXPECT_NEAR(dcsgd_mean(h, x0, eta, omega, noise, 3, 7), expected, 1e-14 * expected);
}

TEST(Stationary, DistortionOfKnownMessages) {
  const std::vector<double> v = {3.0, -1.0, 0.5, 1.0};
  const double square = 11.25;
  EXPECT_EQ(distortion(CompressorKind::rand_k, v, 1, 1.0, 1).total, 3.0);
  EXPECT_EQ(distortion(CompressorKind::bernoulli, v, 0, 0.25, 1).total, 3.0);
  EXPECT_NEAR(distortion(CompressorKind::top_k, v, 1, 1.0, 1).total, 2.25 / square, 1e-15);
  EXPECT_NEAR(distortion(CompressorKind::natural, v, 0, 1.0, 1).total, 1.0 / square, 1e-15);  // 3 becomes 2 or 4
  // rand_k_plain: sum over the choices of one coordinate.
  double total = 0.0;
  for (const double x : v) total += (square - x * x) / 4.0;
  EXPECT_NEAR(distortion(CompressorKind::rand_k_plain, v, 1, 1.0, 1).total, total / square, 1e-15);
  // qsgd, one level: 0 or |v|, with mean |v_j|.
  double quantised = 0.0;
  for (const double x : v) quantised += std::abs(x) * std::sqrt(square) - x * x;
  EXPECT_NEAR(distortion(CompressorKind::qsgd, v, 0, 1.0, 1).total, quantised / square, 1e-14);
  // The largest that qsgd's bound allows for few levels, and natural's bound.
  EXPECT_LE(distortion(CompressorKind::qsgd, v, 0, 1.0, 4).total, distortion(CompressorKind::qsgd, v, 0, 1.0, 4).bound);
  EXPECT_NEAR(distortion(CompressorKind::natural, {4.0 / 3.0}, 0, 1.0, 1).total, 0.125, 1e-15);
}

/// 5.5 standard errors: false alarms 4e-8 each.
TEST(Stationary, AveragesOverNormalVectorsMatchSampling) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  const int d = 16, n = 20000;
  double natural = 0.0, natural_2 = 0.0, qsgd = 0.0, qsgd_2 = 0.0, kept = 0.0, kept_2 = 0.0;
  for (int i = 0; i < n; ++i) {
    std::vector<double> v;
    for (int j = 0; j < d; ++j) v.push_back(1.3 * normal(random));
    const double square = std::inner_product(v.begin(), v.end(), v.begin(), 0.0);
    // E |C - v|^2/E |v|^2: weighted by |v|^2.
    const double a = distortion(CompressorKind::natural, v, 0, 1.0, 1).total * square / (d * 1.69);
    const double b = distortion(CompressorKind::qsgd, v, 0, 1.0, 4).total * square / (d * 1.69);
    const double c = (1.0 - distortion(CompressorKind::top_k, v, 3, 1.0, 1).total) * square / (d * 1.69);
    natural += a / n, natural_2 += a * a / n;
    qsgd += b / n, qsgd_2 += b * b / n;
    kept += c / n, kept_2 += c * c / n;
  }
  const auto error = [&](double mean, double second) { return std::sqrt((second - mean * mean) / n); };
  EXPECT_TRUE(stat::near(natural, natural_omega(1.3), error(natural, natural_2)));
  EXPECT_TRUE(stat::near(qsgd, qsgd_omega(d, 4), error(qsgd, qsgd_2)));
  EXPECT_TRUE(stat::near(kept, top_k(gaussian, d, 3).square, error(kept, kept_2)));
}

TEST(Stationary, TopKSlopes) {
  // Normal noise: slope and square are the same (Stein). Keeping all: 1 and the variance.
  for (const int k : {1, 4}) {
    const TopK t = top_k(gaussian, 16, k);
    EXPECT_NEAR(t.slope, t.square, 1e-9);
  }
  for (const LawSpec& law : {gaussian, laplace, student(5.0)}) {
    const TopK all = top_k(law, 6, 6);
    EXPECT_NEAR(all.slope, 1.0, 1e-8);
    EXPECT_NEAR(all.square, noise_variance(law), 1e-6);
  }
  // The largest of 16 exponentials has mean H_16 and variance sum 1/i^2.
  double mean = 0.0, variance = 0.0;
  for (int i = 1; i <= 16; ++i) {
    mean += 1.0 / i;
    variance += 1.0 / (static_cast<double>(i) * i);
  }
  const TopK largest = top_k(laplace, 16, 1);
  EXPECT_NEAR(largest.slope, mean / 16.0, 1e-8);
  EXPECT_NEAR(largest.square, (mean * mean + variance) / 16.0, 1e-7);
}

TEST(Stationary, LimitsOfMeans) {
  // No skewness: normal limits.
  EXPECT_NEAR(mean_limit({1.0, 4.0, 0.0, 10.0}, 100.0, 0.05), 1.959964 * 0.2, 1e-6);
  EXPECT_EQ(mean_limit({1.0, 0.0, 0.0, 1.0}, 100.0, 0.05), 0.0);
  // Skewness widens, and where it is large Bernstein's limit is wider than the normal one.
  const double skewed = mean_limit({1.0, 4.0, 8.0, 10.0}, 100.0, 0.05),
               rare = mean_limit({1.0, 4.0, 8e3, 1e3}, 100.0, 0.05);
  EXPECT_NEAR(skewed, 0.2 * (1.959964 + (1.959964 * 1.959964 - 1.0) / 60.0), 1e-6);
  EXPECT_GT(rare, skewed);
}

}  // namespace
}  // namespace pathbound::stationary
