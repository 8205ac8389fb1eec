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

/// Where finished left siblings wait, one a level.
template <class F>
struct LocalNodes {
  F node[28];
  PATHBOUND_HD F& operator[](int level) { return node[level]; }
};

/// The tree over nodes of one level that arrive in order, as the digits of a binary counter: left siblings wait for
/// their right ones in nodes[level].
template <class F, class Nodes>
class TreeStack {
 public:
  PATHBOUND_HD explicit TreeStack(Nodes& nodes) : nodes_(nodes) {}
  PATHBOUND_HD void push(F sum) {
    int level = 0;
    for (std::uint32_t c = count_; (c & 1u) != 0; c >>= 1) sum = nodes_[level++] + sum;
    nodes_[level] = sum;
    ++count_;
  }
  /// The root, once something was pushed: the waiting nodes are those of the set bits of the count; they are folded
  /// from the right, after `tail` (a part of a node) where there is one.
  PATHBOUND_HD F finish() const { return fold(false, F()); }
  PATHBOUND_HD F finish(F tail) const { return fold(true, tail); }

 private:
  PATHBOUND_HD F fold(bool started, F sum) const {
    for (int level = 0; (count_ >> level) != 0; ++level) {
      if (((count_ >> level) & 1u) == 0) continue;
      sum = started ? nodes_[level] + sum : nodes_[level];
      started = true;
    }
    return sum;
  }

  std::uint32_t count_ = 0;
  Nodes& nodes_;
};

/// Sum of leaf(0) .. leaf(n - 1), n >= 1 and below 2^31. `leaf` is called once for each index, ascending by eights.
/// nodes[0], nodes[1], ... are for its use, as many as n / 8 has binary digits.
template <class F, class Leaf, class Nodes>
PATHBOUND_HD F tree_sum(int n, Leaf&& leaf, Nodes& nodes) {
  if (n < 8) return small_tree_sum<F>(0, n, leaf);
  TreeStack<F, Nodes> eights(nodes);
  int i = 0;
  for (; n - i >= 8; i += 8)
    eights.push(((leaf(i) + leaf(i + 1)) + (leaf(i + 2) + leaf(i + 3))) +
                ((leaf(i + 4) + leaf(i + 5)) + (leaf(i + 6) + leaf(i + 7))));
  return i == n ? eights.finish() : eights.finish(small_tree_sum<F>(i, n - i, leaf));
}
template <class F, class Leaf>
PATHBOUND_HD F tree_sum(int n, Leaf&& leaf) {
  LocalNodes<F> nodes;
  return tree_sum<F>(n, leaf, nodes);
}

/// The fold of n packs, n a power of two: packs i and i + n/2, then i and i + n/4, and so on.
template <class F, int n, class Choose>
PATHBOUND_HD F fold_packs(const F* v, Choose&& choose) {
  F w[n];
  PATHBOUND_UNROLL
  for (int i = 0; i < n; ++i) w[i] = v[i];
  PATHBOUND_UNROLL
  for (int half = n / 2; half >= 1; half /= 2) {
    PATHBOUND_UNROLL
    for (int i = 0; i < half; ++i) w[i] = choose(w[i], w[i + half]);
  }
  return w[0];
}

/// The folds of as many packs as they have lanes, each into the lane of its number: lanes l and l + lanes/2, then l and
/// l + lanes/4, and so on. After fold_packs this is the dyadic tree over the 32 paths of a block in slot order
/// (path_of_slot): slots t and t + 16 are siblings, then t and t + 8, ...
template <int half, class D, class Choose>
PATHBOUND_HD void fold_lanes_step(D* v, Choose&& choose) {
  PATHBOUND_UNROLL
  for (int i = 0; i < half; ++i) {
    D a, b;
    exchange_lanes<half>(v[i], v[i + half], a, b);
    v[i] = choose(a, b);
  }
  if constexpr (half > 1) fold_lanes_step<half / 2>(v, choose);
}
template <class D, class Choose>
PATHBOUND_HD D fold_lanes(const D v[RealTraits<D>::lanes], Choose&& choose) {
  constexpr int lanes = RealTraits<D>::lanes;
  D w[lanes];
  PATHBOUND_UNROLL
  for (int i = 0; i < lanes; ++i) w[i] = v[i];
  if constexpr (lanes > 1) fold_lanes_step<lanes / 2>(w, choose);
  return w[0];
}

/// The tree over the 32 paths of a block, given in slot order.
template <class D>
PATHBOUND_HD double tree_sum_of_block(const D v[32 / RealTraits<D>::lanes]) {
  constexpr int lanes = RealTraits<D>::lanes;
  alignas(64) double lane[lanes];
  store(lane, fold_packs<D, 32 / lanes>(v, [](D a, D b) { return a + b; }));
  for (int half = lanes / 2; half >= 1; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] = lane[l] + lane[l + half];
  return lane[0];
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
