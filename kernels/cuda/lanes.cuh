// SPDX-License-Identifier: Apache-2.0
// The lanes that share a path. They are 2^n neighbours in a warp, and all lanes of the warp do everything together.
#pragma once
#include "kernels/reduce.hpp"

namespace pathbound::cuda {

inline constexpr unsigned whole_warp = 0xffffffffu;

/// What a missing term of a sum is set to: x + (-0) is x, also where x is -0, so a sum with it has the bits of the sum
/// without.
template <class R>
__device__ __forceinline__ R no_term() {
  return R(-0.0);
}

struct Lanes {
  int count;  ///< T
  int lane;   ///< 0 .. T - 1

  /// Tree sum over the lanes; every lane gets it. (Siblings meet in either order: a + b is b + a.)
  template <class R>
  __device__ __forceinline__ R tree_sum(R v) const {
    for (int o = 1; o < count; o <<= 1) v = v + __shfl_xor_sync(whole_warp, v, o);
    return v;
  }
  template <class R>
  __device__ __forceinline__ R largest(R v) const {
    for (int o = 1; o < count; o <<= 1) v = max(__shfl_xor_sync(whole_warp, v, o), v);
    return v;
  }
  /// Sum over the lanes, of integers.
  __device__ __forceinline__ std::uint32_t sum(std::uint32_t v) const {
    for (int o = 1; o < count; o <<= 1) v += __shfl_xor_sync(whole_warp, v, o);
    return v;
  }
  /// Sum over the lanes before this one; `all`: over all of them.
  __device__ __forceinline__ std::uint32_t sum_before(std::uint32_t v, std::uint32_t& all) const {
    std::uint32_t so_far = v;
    for (int o = 1; o < count; o <<= 1) {
      const std::uint32_t before = __shfl_up_sync(whole_warp, so_far, static_cast<unsigned>(o), count);
      if (lane >= o) so_far += before;
    }
    all = from(so_far, count - 1);
    return so_far - v;
  }
  /// The value of lane `source` of the same path.
  template <class T>
  __device__ __forceinline__ T from(T v, int source) const {
    return __shfl_sync(whole_warp, v, source, count);
  }
};

/// A lane's nodes for TreeStack, in shared memory: indexed at run time, they would otherwise lie in local memory. Each
/// level of a warp takes 32 doubles, whatever R is: between trees of different R the warp synchronises.
template <class R>
struct SharedNodes {
  R* first;  ///< of this lane
  __device__ __forceinline__ R& operator[](int level) const {
    return *reinterpret_cast<R*>(reinterpret_cast<char*>(first) + level * 32 * static_cast<int>(sizeof(double)));
  }
};

/// Tree sum of a lane's E terms, those missing being no_term().
template <int E, class R>
__device__ __forceinline__ R tree_sum_of_lane(const R (&v)[E]) {
  if constexpr (E == 1) {
    return v[0];
  } else if constexpr (E == 2) {
    return v[0] + v[1];
  } else {
    static_assert(E == 4);
    return (v[0] + v[1]) + (v[2] + v[3]);
  }
}

}  // namespace pathbound::cuda
