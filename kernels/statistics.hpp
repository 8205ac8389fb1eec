// SPDX-License-Identifier: Apache-2.0
// What is kept of many paths at one checkpoint, and how two such records merge. Sums are dyadic-tree sums in double
// (design 2.3): node(l, j) = node(l-1, 2j) + node(l-1, 2j+1).
#pragma once
#include <cstdint>

#include "kernels/hd.hpp"

namespace pathbound {

/// One node of the tree at one checkpoint: the paths that have not diverged by then.
struct Record {
  std::uint64_t finite = 0;  ///< paths not diverged
  double sum = 0.0;          ///< sum of S
  double m2 = 0.0;           ///< sum of (S - mean)^2
  double m3 = 0.0;           ///< sum of (S - mean)^3
  double min = 0.0;          ///< extremes of S (meaningless when finite = 0)
  double max = 0.0;
  double grad_norm_sum = 0.0;  ///< sum of |grad f|
  double max_grad = 0.0;       ///< largest |grad_j f| at this checkpoint, over paths and coordinates
  double max_grad_so_far =
      0.0;              ///< the same over every step up to here (over all paths; only if tracked, else max_grad)
  double pl_min = 0.0;  ///< extremes of |grad f|^2 / (2 S) over paths with S > 2^-100 (0, 0: there are none)
  double pl_max = 0.0;
  // Of the sums over the steps so far, where SimSpec::sums asks for them: Y of w (term - level), T of w.
  double sum_y = 0.0;  ///< sum of Y
  double m2_y = 0.0;   ///< sum of (Y - mean)^2
  double m3_y = 0.0;   ///< sum of (Y - mean)^3
  double sum_t = 0.0;  ///< sum of T
  /// Largest |H| / (L0 + L1 |grad f|) over every step up to here (over all paths; only if tracked).
  double smoothness = 0.0;
};

/// Pebay (2008): pairwise update of sum, second and third central moment over na and nb values; siblings are mostly of
/// equal size.
PATHBOUND_HD void merge_moments(std::uint64_t a_count, double& a_sum, double& a_m2, double& a_m3, std::uint64_t b_count,
                                double b_sum, double b_m2, double b_m3) {
  const double na = static_cast<double>(a_count), nb = static_cast<double>(b_count);
  if (a_count == b_count) {
    const double delta = (b_sum - a_sum) / na;
    const double term = delta * delta * (0.5 * na);
    a_m3 = (a_m3 + b_m3) + delta * (1.5 * (b_m2 - a_m2));
    a_m2 = (a_m2 + b_m2) + term;
  } else {
    const double n = na + nb;
    const double delta = b_sum / nb - a_sum / na;
    const double term = delta * delta * (na * nb / n);
    a_m3 = (a_m3 + b_m3) + (term * delta * ((na - nb) / n) + 3.0 * delta * ((na * b_m2 - nb * a_m2) / n));
    a_m2 = (a_m2 + b_m2) + term;
  }
  a_sum = a_sum + b_sum;
}

/// Merges b, the right sibling, into a. Merging an empty record changes nothing but the maxima over all paths.
PATHBOUND_HD void merge(Record& a, const Record& b) {
  a.max_grad_so_far = b.max_grad_so_far > a.max_grad_so_far ? b.max_grad_so_far : a.max_grad_so_far;
  a.smoothness = b.smoothness > a.smoothness ? b.smoothness : a.smoothness;
  if (b.finite == 0) return;
  if (a.finite == 0) {
    const double so_far = a.max_grad_so_far, smoothness = a.smoothness;
    a = b;
    a.max_grad_so_far = so_far;
    a.smoothness = smoothness;
    return;
  }
  merge_moments(a.finite, a.sum, a.m2, a.m3, b.finite, b.sum, b.m2, b.m3);
  if (a.sum_t != 0.0 || b.sum_t != 0.0) {  // else there are no sums
    merge_moments(a.finite, a.sum_y, a.m2_y, a.m3_y, b.finite, b.sum_y, b.m2_y, b.m3_y);
    a.sum_t = a.sum_t + b.sum_t;
  }
  a.finite += b.finite;
  a.min = b.min < a.min ? b.min : a.min;
  a.max = b.max > a.max ? b.max : a.max;
  a.grad_norm_sum = a.grad_norm_sum + b.grad_norm_sum;
  a.max_grad = b.max_grad > a.max_grad ? b.max_grad : a.max_grad;
  if (b.pl_max > 0.0) {
    a.pl_min = a.pl_max > 0.0 && a.pl_min < b.pl_min ? a.pl_min : b.pl_min;
    a.pl_max = b.pl_max > a.pl_max ? b.pl_max : a.pl_max;
  }
}

/// The log-histogram behind the quantiles: the exponent and the top 6 mantissa bits of S as a float, clamped to
/// [2^-100, 2^100] (1.6% wide bins). S <= 2^-100, zero and negative values too, fall into bin 0.
inline constexpr std::uint32_t histogram_first = (127u - 100u) << 6;
inline constexpr std::uint32_t histogram_last = (127u + 100u) << 6;
inline constexpr int histogram_bins = static_cast<int>(histogram_last - histogram_first) + 1;

PATHBOUND_HD int histogram_bin(float s) {
  s = s > 0x1p-100f ? s : 0x1p-100f;  // NaN too
  s = s < 0x1p100f ? s : 0x1p100f;
  std::uint32_t bits;
  __builtin_memcpy(&bits, &s, sizeof bits);
  return static_cast<int>((bits >> 17) - histogram_first);
}

/// The middle of a bin, as the exact mean of its two edges (bin 0: 2^-100; the last: 2^100).
PATHBOUND_HD double histogram_midpoint(int bin) {
  if (bin <= 0) return 0x1p-100;
  if (bin >= histogram_bins - 1) return 0x1p100;
  const std::uint32_t low = (histogram_first + static_cast<std::uint32_t>(bin)) << 17;
  const std::uint32_t high = low + (1u << 17);
  float a, b;
  __builtin_memcpy(&a, &low, sizeof a);
  __builtin_memcpy(&b, &high, sizeof b);
  return 0.5 * (static_cast<double>(a) + static_cast<double>(b));
}

}  // namespace pathbound
