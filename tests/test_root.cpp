// SPDX-License-Identifier: Apache-2.0
// The square root of the scalar step kernels: right whatever estimate the device gives.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <utility>

#include "kernels/cuda/root.hpp"
#include "kernels/function_table.hpp"
#include "kernels/sampling.hpp"

namespace pathbound {
namespace {

constexpr double promised_error = 1.2716e-7;  // 2^-22.9, rounded up

/// The floats within the promised error of 1/sqrt(x).
std::pair<float, float> estimates_of(float x) {
  const double exact = 1.0 / std::sqrt(static_cast<double>(x));
  float first = static_cast<float>(exact * (1.0 - promised_error)),
        last = static_cast<float>(exact * (1.0 + promised_error));
  if (static_cast<double>(first) < exact * (1.0 - promised_error)) first = std::nextafterf(first, 4.0f);
  if (static_cast<double>(last) > exact * (1.0 + promised_error)) last = std::nextafterf(last, 0.0f);
  return {first, last};
}

/// All significands with an even and an odd exponent: 4 x has twice the root of x, with every rounding.
TEST(RootFromEstimate, IsRoundedCorrectlyForEveryEstimateWithinThePromiseButForTwoOfAllSignificands) {
  std::set<float> wrong;
  long estimates = 0;
  for (std::uint32_t bits = as_bits(1.0f); bits < as_bits(4.0f); ++bits) {
    const float x = from_bits<float>(bits), root = std::sqrt(x);
    const auto [first, last] = estimates_of(x);
    for (float y = first; y <= last; y = from_bits<float>(as_bits(y) + 1), ++estimates)
      if (root_from_estimate(x, y) != root) wrong.insert(x);
  }
  EXPECT_GT(estimates, 3L << 24);
  EXPECT_EQ(wrong, (std::set<float>{least_safe_roots[0], least_safe_roots[1]}));
}

TEST(RootFromEstimate, OfTheTwoSignificandsTheEstimateThatIsNotGoodEnoughIsOffByMoreThanThreeQuartersOfThePromise) {
  for (const float x : least_safe_roots) {
    const auto [first, last] = estimates_of(x);
    const double exact = 1.0 / std::sqrt(static_cast<double>(x));
    int wrong = 0;
    for (float y = first; y <= last; y = from_bits<float>(as_bits(y) + 1)) {
      if (root_from_estimate(x, y) == std::sqrt(x)) continue;
      ++wrong;
      EXPECT_GT(std::abs(static_cast<double>(y) / exact - 1.0), 0.75 * promised_error) << x;
    }
    EXPECT_EQ(wrong, 1) << x;
  }
}

/// Down to the exponents that -2 ln u has for a uniform u of float: none is near where something underflows.
TEST(RootFromEstimate, HoldsAtEveryExponentOfANormalsRadius) {
  const float least = -2.0f * log_normal(1.0f - 0x1p-24f), most = -2.0f * log_normal(0x1p-33f);
  EXPECT_GE(least, 0x1p-23f);
  EXPECT_LE(most, 64.0f);
  for (int exponent = -24; exponent <= 6; ++exponent)
    for (std::uint32_t i = 0; i < 1u << 23; i += 997) {
      const float x = std::ldexp(from_bits<float>(as_bits(1.0f) + i), exponent);
      const float estimate = static_cast<float>(1.0 / std::sqrt(static_cast<double>(x)));
      ASSERT_EQ(root_from_estimate(x, estimate), std::sqrt(x)) << x;
    }
}

}  // namespace
}  // namespace pathbound
