// SPDX-License-Identifier: Apache-2.0
// Statistical assertions. Every test that uses them runs with fixed seeds, so it passes always or never; the rates
// stated here are the chance that a correct program would have failed for the seed chosen.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

namespace pathbound::stat {

/// 5.5 standard errors, two-sided: a false alarm in 3.8e-8 of the checks of a normal mean.
inline constexpr double five_and_a_half = 5.5;
/// Rejection level of the goodness-of-fit tests: a false alarm in 1e-9 of them.
inline constexpr double level = 1e-9;

/// |value - expected| <= z standard errors (+ slack: rounding of the arithmetic under test).
inline testing::AssertionResult near(double value, double expected, double standard_error, double slack = 0.0,
                                     double z = five_and_a_half) {
  const double off = std::abs(value - expected);
  if (off <= z * standard_error + slack) return testing::AssertionSuccess();
  return testing::AssertionFailure() << value << " against " << expected << ": " << off / standard_error
                                     << " standard errors of " << standard_error;
}

/// P(chi^2 with k degrees of freedom >= x)
inline double chi_square_tail(double x, double k) { return x <= 0.0 ? 1.0 : boost::math::gamma_q(0.5 * k, 0.5 * x); }
/// Neither too large (not that distribution) nor too small (too regular to be random); false alarms 2e-9.
inline testing::AssertionResult chi_square_fits(double x, double k) {
  const double tail = chi_square_tail(x, k);
  if (tail >= level && tail <= 1.0 - level) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "chi^2 = " << x << " with " << k << " degrees of freedom: upper tail " << tail;
}

/// P(Binomial(n, p) <= k)
inline double binomial_cdf(double k, double n, double p) {
  if (k < 0.0) return 0.0;
  return k >= n ? 1.0 : boost::math::ibetac(k + 1.0, n - k, p);
}
/// A count that Binomial(n, p) can give; false alarms 2e-9.
inline testing::AssertionResult binomial_fits(double count, double n, double p) {
  if (binomial_cdf(count, n, p) >= level && 1.0 - binomial_cdf(count - 1.0, n, p) >= level)
    return testing::AssertionSuccess();
  return testing::AssertionFailure() << count << " of " << n << ", expected " << n * p;
}

/// Kolmogorov's distance between a sample and a CDF, against the asymptotic 1e-9 limit (an upper limit for finite n).
template <class T, class Cdf>
testing::AssertionResult kolmogorov_fits(std::vector<T> sample, Cdf&& cdf) {
  std::sort(sample.begin(), sample.end());
  const double n = static_cast<double>(sample.size());
  double distance = 0.0;
  for (std::size_t i = 0; i < sample.size(); ++i) {
    const double f = cdf(static_cast<double>(sample[i])), at = static_cast<double>(i);
    distance = std::max({distance, f - at / n, (at + 1.0) / n - f});
  }
  const double limit = std::sqrt(-0.5 * std::log(0.5 * level) / n);
  if (distance <= limit) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "Kolmogorov distance " << distance << " > " << limit << " for n = " << n;
}

/// Mean and standard error of a sample, in double with a first pass for the mean.
struct Moments {
  double mean = 0.0, standard_error = 0.0;
};
inline Moments moments_of_sample(const std::vector<double>& v) {
  const double n = static_cast<double>(v.size());
  Moments m;
  for (const double x : v) m.mean += x / n;
  double square = 0.0;
  for (const double x : v) square += (x - m.mean) * (x - m.mean);
  m.standard_error = std::sqrt(square / (n * (n - 1.0)));
  return m;
}

}  // namespace pathbound::stat
