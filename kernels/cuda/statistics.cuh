// SPDX-License-Identifier: Apache-2.0
// From the values that the step kernels leave to records: each block of 32 paths, then the dyadic tree over blocks.
#pragma once
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/segment.cuh"
#include "kernels/math.hpp"
#include "kernels/schedules.hpp"
#include "kernels/statistics.hpp"

namespace pathbound::cuda {

/// Records of every checkpoint of a segment and every node of one level of the tree, field by field, so that
/// neighbouring nodes lie together. A field takes 8 bytes. Only curves that need them have the last five.
struct RecordTable {
  static constexpr int common = 11, all = 16;
  std::uint64_t* words = nullptr;
  std::int64_t nodes = 0;    ///< a checkpoint
  std::int64_t records = 0;  ///< checkpoints
  int fields = common;

  template <class R>
  static int fields_of(const SimSpec<R>& spec) {
    return spec.sums != SumKind::none || spec.track_smoothness ? all : common;
  }
  __host__ __device__ std::int64_t size() const { return fields * records * nodes; }
  /// The record whose field f is at[f * stride].
  static __host__ __device__ Record read(int fields, const std::uint64_t* at, std::int64_t stride) {
    Record r;
    double* const numbers[all - 1] = {
        &r.sum,    &r.m2,     &r.m3,    &r.min,  &r.max,  &r.grad_norm_sum, &r.max_grad,  &r.max_grad_so_far,
        &r.pl_min, &r.pl_max, &r.sum_y, &r.m2_y, &r.m3_y, &r.sum_t,         &r.smoothness};
    r.finite = at[0];
    PATHBOUND_UNROLL
    for (int f = 1; f < common; ++f) *numbers[f - 1] = from_bits<double>(at[f * stride]);
    if (fields == common) return r;
    PATHBOUND_UNROLL
    for (int f = common; f < all; ++f) *numbers[f - 1] = from_bits<double>(at[f * stride]);
    return r;
  }
#if defined(__CUDACC__)
  __device__ __forceinline__ void store_common(std::int64_t checkpoint, std::int64_t node, const Record& r) const {
    std::uint64_t* at = words + checkpoint * nodes + node;
    const std::int64_t stride = records * nodes;
    const double values[common - 1] = {
        r.sum, r.m2, r.m3, r.min, r.max, r.grad_norm_sum, r.max_grad, r.max_grad_so_far, r.pl_min, r.pl_max};
    at[0] = r.finite;
#pragma unroll
    for (int f = 1; f < common; ++f) at[f * stride] = as_bits(values[f - 1]);
  }
  __device__ __forceinline__ void store_sums(std::int64_t checkpoint, std::int64_t node, const Record& r) const {
    std::uint64_t* at = words + checkpoint * nodes + node;
    const std::int64_t stride = records * nodes;
    const double values[all - common] = {r.sum_y, r.m2_y, r.m3_y, r.sum_t, r.smoothness};
#pragma unroll
    for (int f = common; f < all; ++f) at[f * stride] = as_bits(values[f - common]);
  }
  template <bool sums>
  __device__ __forceinline__ Record load(std::int64_t checkpoint, std::int64_t node) const {
    return read(sums ? all : common, words + checkpoint * nodes + node, records * nodes);
  }
#endif
};

/// Threads of a CUDA block of the statistics kernel: each warp reduces one checkpoint of 32 blocks of paths, a block a
/// lane, without a shuffle.
inline constexpr int statistics_threads = 64;
/// 32 x 32 values on their way from path by path to block by block: a warp's shared memory, in values of the larger of
/// the types that pass through it. Rows are 33 long: no bank is asked twice.
inline constexpr int transpose_words = 32 * 33;

/// One lane's 32 values: value(i), i = 0 .. 31, is the value of path i of the lane's block.
template <class T>
struct BlockValues {
  const T* v;
  __device__ __forceinline__ T operator()(int i) const { return v[i]; }
};

/// Puts the values of 32 blocks (those that exist) into the warp's buffer.
template <class T>
__device__ __forceinline__ BlockValues<T> transpose(void* buffer, const T* values, int blocks) {
  T* v = static_cast<T*>(buffer);
  const int lane = static_cast<int>(threadIdx.x) & 31;
  __syncwarp();  // the values before have been read
  for (int b = 0; b < blocks; ++b) v[b * 33 + lane] = values[b * 32 + lane];
  __syncwarp();
  return {v + lane * 33};
}

/// The tree over n = 32 paths of a block.
template <int n = 32, class Leaf>
__device__ __forceinline__ double sum_of_block(Leaf&& leaf, int first = 0) {
  if constexpr (n == 1) {
    return leaf(first);
  } else {
    return sum_of_block<n / 2>(leaf, first) + sum_of_block<n / 2>(leaf, first + n / 2);
  }
}

template <class R, class Value>
__global__ void __launch_bounds__(statistics_threads)
    statistics_kernel(const __grid_constant__ SimSpec<R> spec, const __grid_constant__ Segment<R> segment,
                      const Value* values, RecordTable table, std::uint32_t* counts) {
  extern __shared__ double buffers[];
  const bool doubles =
      sizeof(Value) == 8 || sizeof(R) == 8 || segment.norm != nullptr || table.fields > RecordTable::common;
  void* const buffer = reinterpret_cast<char*>(buffers) + threadIdx.x / 32 * transpose_words * (doubles ? 8 : 4);
  const int lane = static_cast<int>(threadIdx.x) & 31;
  const std::int64_t first =
      (static_cast<std::int64_t>(blockIdx.x) * (statistics_threads / 32) + threadIdx.x / 32) * 32;
  const std::int64_t checkpoint = blockIdx.y;
  if (first >= table.nodes) return;
  const int blocks = static_cast<int>(table.nodes - first < 32 ? table.nodes - first : 32);
  const bool exists = lane < blocks;
  const std::int64_t at = checkpoint * segment.n_paths + first * block_paths;

  // Which paths count: those of the experiment that have not diverged.
  const std::uint64_t path = segment.first_path + static_cast<std::uint64_t>(first + lane) * block_paths;
  const std::uint64_t left = path < spec.n_paths ? spec.n_paths - path : 0;
  const std::uint32_t present = !exists || left == 0 ? 0u : left >= 32 ? 0xffffffffu : (1u << left) - 1u;
  Record r;
  std::uint32_t alive = 0;
  {
    const auto value = transpose(buffer, values + at, blocks);
    std::uint32_t* histogram = counts + checkpoint * histogram_bins;
#pragma unroll 1
    for (int i = 0; i < 32; ++i) {
      const Value s = ((present >> i) & 1u) != 0 ? value(i) : math_detail::quiet_nan<Value>();
      const bool counted = s == s;
      const double d = static_cast<double>(s);
      int bin = -1;
      if (counted) {
        alive |= 1u << i;
        r.min = r.finite == 0 ? d : min(d, r.min);
        r.max = r.finite == 0 ? d : max(d, r.max);
        ++r.finite;
        bin = histogram_bin(static_cast<float>(d));
      }
      // Lanes with the same bin add once. (Bins are integers: order does not matter.)
      const unsigned same = __match_any_sync(whole_warp, bin);
      if (counted && lane == __ffs(static_cast<int>(same)) - 1) atomicAdd(histogram + bin, __popc(same));
    }
    const auto counted = [&](int i) { return ((alive >> i) & 1u) != 0; };
    const auto known = [&](int i) { return counted(i) ? static_cast<double>(value(i)) : 0.0; };
    if (r.finite != 0) {
      r.sum = sum_of_block(known);
      const double mean = r.sum / static_cast<double>(r.finite);
      r.m2 = sum_of_block([&](int i) {
        const double d = counted(i) ? known(i) - mean : 0.0;
        return d * d;
      });
      r.m3 = sum_of_block([&](int i) {
        const double d = counted(i) ? known(i) - mean : 0.0;
        return (d * d) * d;
      });
    }
  }
  {
    const auto largest = transpose(buffer, segment.largest + at, blocks);
    bool any = false;
#pragma unroll 1
    for (int i = 0; i < 32; ++i) {
      if (((alive >> i) & 1u) == 0) continue;
      const double g = static_cast<double>(largest(i));
      r.max_grad = any ? max(g, r.max_grad) : g;
      any = true;
    }
    if (segment.norm == nullptr && r.finite != 0)
      r.grad_norm_sum =
          sum_of_block([&](int i) { return ((alive >> i) & 1u) != 0 ? static_cast<double>(largest(i)) : 0.0; });
  }
  if (segment.norm != nullptr) {
    const auto norm = transpose(buffer, segment.norm + at, blocks);
    if (r.finite != 0) r.grad_norm_sum = sum_of_block([&](int i) { return ((alive >> i) & 1u) != 0 ? norm(i) : 0.0; });
  }
  if (spec.track_pl && exists) {
    // |grad f|^2 / (2 S); the values straight from memory, for the few curves that ask.
    bool any = false;
    for (int i = 0; i < 32; ++i) {
      if (((alive >> i) & 1u) == 0) continue;
      const std::int64_t mine = at + lane * block_paths + i;
      const double s = static_cast<double>(values[mine]);
      const double norm = segment.norm != nullptr ? segment.norm[mine] : static_cast<double>(segment.largest[mine]);
      if (!(0x1p-100 < s)) continue;
      const double ratio = norm * norm / (2.0 * s);
      if (!(ratio >= 0.0 && ratio <= 1e300)) continue;
      r.pl_min = any ? min(ratio, r.pl_min) : ratio;
      r.pl_max = any ? max(ratio, r.pl_max) : ratio;
      any = true;
    }
  }
  r.max_grad_so_far = r.max_grad;
  if (spec.track_gradient) {
    const auto so_far = transpose(buffer, segment.largest_so_far + at, blocks);
    r.max_grad_so_far = 0.0;
#pragma unroll 1
    for (int i = 0; i < 32; ++i)
      if (((present >> i) & 1u) != 0) r.max_grad_so_far = max(static_cast<double>(so_far(i)), r.max_grad_so_far);
  }
  // Stored before the sums begin: together they would not fit the registers.
  if (exists) table.store_common(checkpoint, first + lane, r);
  if (table.fields == RecordTable::common) return;
  if (spec.sums != SumKind::none) {
    const auto counted = [&](int i) { return ((alive >> i) & 1u) != 0; };
    {
      const auto y = transpose(buffer, segment.y + at, blocks);
      const auto known = [&](int i) { return counted(i) ? y(i) : 0.0; };
      if (r.finite != 0) {
        r.sum_y = sum_of_block(known);
        const double mean = r.sum_y / static_cast<double>(r.finite);
        r.m2_y = sum_of_block([&](int i) {
          const double d = counted(i) ? known(i) - mean : 0.0;
          return d * d;
        });
        r.m3_y = sum_of_block([&](int i) {
          const double d = counted(i) ? known(i) - mean : 0.0;
          return (d * d) * d;
        });
      }
    }
    const auto t = transpose(buffer, segment.t + at, blocks);
    if (r.finite != 0) r.sum_t = sum_of_block([&](int i) { return counted(i) ? t(i) : 0.0; });
  }
  if (spec.track_smoothness) {
    const auto ratio = transpose(buffer, segment.ratio + at, blocks);
#pragma unroll 1
    for (int i = 0; i < 32; ++i)
      if (((present >> i) & 1u) != 0) r.smoothness = max(ratio(i), r.smoothness);
  }
  if (exists) table.store_sums(checkpoint, first + lane, r);
}

/// One level of the tree: node i of every checkpoint becomes the sum of nodes 2 i and 2 i + 1 of the level below. sums:
/// of tables with all fields.
template <bool sums>
struct MergeLevel {
  RecordTable below, above;
  __device__ __forceinline__ void operator()(std::int64_t i) const {
    const std::int64_t checkpoint = i / above.nodes, node = i % above.nodes;
    Record r = below.load<sums>(checkpoint, 2 * node);
    if (2 * node + 1 < below.nodes) merge(r, below.load<sums>(checkpoint, 2 * node + 1));
    above.store_common(checkpoint, node, r);
    if constexpr (sums) above.store_sums(checkpoint, node, r);
  }
};

/// -eta_k / N of the steps of a segment: computed once, not by every path.
template <class R>
struct StepFactor {
  ScheduleSpec schedule;
  double eta;
  int n_workers;
  std::uint64_t first_step;
  __device__ __forceinline__ R operator()(std::uint64_t i) const {
    const double k = static_cast<double>(first_step + i);
    return static_cast<R>(-(step_size<double>(schedule, eta, k, k) / n_workers));
  }
};

}  // namespace pathbound::cuda
