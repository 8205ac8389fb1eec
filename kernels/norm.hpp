// SPDX-License-Identifier: Apache-2.0
// The Euclidean norm without overflow or underflow: squares are taken of numbers next to 1.
#pragma once
#include "kernels/math.hpp"
#include "kernels/reduce.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// The power of two by which a vector with that largest magnitude is multiplied before its squares are summed: it
/// takes the largest to [1, 2), the greatest numbers to [2, 4), and denormal ones as far up as it can, which is far
/// enough. Where the largest is infinite or NaN so is the root of the sum.
template <class F>
PATHBOUND_HD F norm_scale(F largest) {
  using S = ScalarOf<F>;
  using math_detail::bits;
  if constexpr (sizeof(S) == 4) {
    // Exponents of 254 and more leave nothing, or a sign.
    return max(from_bits<F>(bits<F>(0x7f000000u) - (as_bits(largest) & bits<F>(0x7f800000u))), F(S(0x1p-126)));
  } else {
    constexpr std::uint64_t exponent = 0x7ff0000000000000u;
    return max(from_bits<F>(bits<F>(0x7fe0000000000000u) - (as_bits(largest) & bits<F>(exponent))), F(S(0x1p-1022)));
  }
}

/// |v| = root / scale; v/|v| = (v scale)/root. root is 0 only for the zero vector.
template <class F>
struct ScaledNorm {
  F root, scale;
  PATHBOUND_HD F norm() const { return root / scale; }
};

/// The norm of value(0), ..., value(n - 1), each of which is asked for twice.
template <class F, class Value>
PATHBOUND_HD ScaledNorm<F> scaled_norm(int n, Value&& value) {
  F largest = real<F>(0.0);
  for (int j = 0; j < n; ++j) largest = max(abs(value(j)), largest);
  const F scale = norm_scale(largest);
  return {sqrt(tree_sum<F>(n,
                           [&](int j) {
                             const F v = value(j) * scale;
                             return v * v;
                           })),
          scale};
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
