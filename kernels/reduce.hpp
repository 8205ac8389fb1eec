// SPDX-License-Identifier: Apache-2.0
// Dyadic-tree sums: node(l, j) = node(l-1, 2j) + node(l-1, 2j+1), missing right children skipped. The shape depends on
// the number of terms alone.
#pragma once
#include "kernels/real.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

/// The tree over m < 8 leaves starting at `first`.
template <class F, class Leaf>
PATHBOUND_HD F small_tree_sum(int first, int m, Leaf&& leaf) {
  if (m == 1) return leaf(first);
  if (m == 2) return leaf(first) + leaf(first + 1);
  if (m == 3) return (leaf(first) + leaf(first + 1)) + leaf(first + 2);
  const F left = (leaf(first) + leaf(first + 1)) + (leaf(first + 2) + leaf(first + 3));
  if (m == 4) return left;
  if (m == 5) return left + leaf(first + 4);
  if (m == 6) return left + (leaf(first + 4) + leaf(first + 5));
  return left + ((leaf(first + 4) + leaf(first + 5)) + leaf(first + 6));
}

/// Sum of leaf(0) .. leaf(n - 1), n >= 1 and below 2^31. `leaf` is called once for each index, ascending by eights.
template <class F, class Leaf>
PATHBOUND_HD F tree_sum(int n, Leaf&& leaf) {
  if (n < 8) return small_tree_sum<F>(0, n, leaf);
  F node[28];  // finished left siblings above the level of eight leaves
  const int eights = n >> 3;
  for (int b = 0; b < eights; ++b) {
    const int i = 8 * b;
    F sum = ((leaf(i) + leaf(i + 1)) + (leaf(i + 2) + leaf(i + 3))) +
            ((leaf(i + 4) + leaf(i + 5)) + (leaf(i + 6) + leaf(i + 7)));
    int level = 0;
    for (int c = b; (c & 1) != 0; c >>= 1) sum = node[level++] + sum;
    node[level] = sum;
  }
  // What is left are the nodes of the set bits of `eights`, and a tail: fold them from the right.
  int level = 0;
  while (((eights >> level) & 1) == 0) ++level;
  F sum;
  const int tail = n & 7;
  if (tail != 0) {
    sum = node[level] + small_tree_sum<F>(8 * eights, tail, leaf);
  } else {
    sum = node[level];
  }
  for (++level; (eights >> level) != 0; ++level)
    if (((eights >> level) & 1) != 0) sum = node[level] + sum;
  return sum;
}

/// The tree over the 32 paths of a block, given in slot order (path_of_slot): slots t and t + 16 are siblings, then t
/// and t + 8, and so on. Destroys v.
template <class D>
PATHBOUND_HD double tree_sum_of_block(D v[32 / RealTraits<D>::lanes]) {
  constexpr int lanes = RealTraits<D>::lanes;
  constexpr int packs = 32 / lanes;
  PATHBOUND_UNROLL
  for (int half = packs / 2; half >= 1; half /= 2) {
    PATHBOUND_UNROLL
    for (int i = 0; i < half; ++i) v[i] = v[i] + v[i + half];
  }
  alignas(64) double lane[lanes];
  store(lane, v[0]);
  for (int half = lanes / 2; half >= 1; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] = lane[l] + lane[l + half];
  return lane[0];
}

/// The smallest or largest lane of n packs; `choose` is min or max.
template <class F, int n, class Choose>
PATHBOUND_HD ScalarOf<F> fold_lanes(const F* v, Choose&& choose) {
  constexpr int lanes = RealTraits<F>::lanes;
  F best = v[0];
  PATHBOUND_UNROLL
  for (int i = 1; i < n; ++i) best = choose(v[i], best);
  alignas(64) ScalarOf<F> lane[lanes];
  store(lane, best);
  PATHBOUND_UNROLL
  for (int half = lanes / 2; half >= 1; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] = choose(lane[l], lane[l + half]);
  return lane[0];
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
