// SPDX-License-Identifier: Apache-2.0
// The step kernels of the methods for any number of coordinates and workers.
#pragma once
#include "kernels/cuda/noise.cuh"
#include "kernels/cuda/subset.cuh"
#include "kernels/cuda/tile_state.cuh"

namespace pathbound::cuda {

template <class R, int E, bool any_law, Layout layout>
class TileRun : TileState<R, E, layout> {
  using Base = TileState<R, E, layout>;
  using Base::dim;
  using Base::exists_;
  using Base::for_chunks;
  using Base::g_;
  using Base::lanes_;
  using Base::local_;
  using Base::segment_;
  using Base::spec_;
  using Base::x_;
  using Base::x_of_path_;

 public:
  __device__ __forceinline__ TileRun(const SimSpec<R>& spec, const Segment<R>& segment, SharedMemory<R, layout>& shared)
      : Base(spec, segment, shared),
        noise_(spec, segment.first_path + local_),
        words_(spec.seed, segment.first_path + local_),
        subsets_(make_subsets()) {
    if constexpr (layout != Layout::registers) sum_of_path_ = segment.sum + Base::first_of_path();
  }

  __device__ __forceinline__ void run() {
    // The lanes beyond the wave fill whole warps (it has a multiple of 32 paths): those only wait at the barriers.
    if (exists_) Base::load_state();
    int next = 0;
    for (std::uint64_t k = segment_.first_step;; ++k) {
      if (exists_) Base::make_gradient();
      if (exists_ && spec_.track_gradient) Base::track_gradient();
      if (next < segment_.n_checkpoints && segment_.checkpoints[next] == k) Base::record(next++);
      if (k == segment_.last_step) break;
      if (exists_) step(k);
    }
    if (exists_) Base::store_state();
  }

 private:
  __device__ __forceinline__ auto make_subsets() const {
    if constexpr (layout == Layout::registers) {
      return RegisterSubsets<R, E>(spec_, segment_, segment_.first_path + local_, lanes_);
    } else {
      return MemorySubsets<R>(spec_, segment_, segment_.first_path + local_, lanes_, exists_ ? local_ : 0);
    }
  }

  // ---- one step
  __device__ __forceinline__ void step(std::uint64_t k) {
    R factor = segment_.factor;
    if (segment_.factors != nullptr) factor = segment_.factors[k - segment_.first_step];
    R mean_square = R(0);
    if (spec_.affine) {
      mean_square = Base::template sum_over_coordinates<R>([&](int, R, R g) { return g * g; }) / static_cast<R>(dim());
    }
    R sum[E];
#pragma unroll
    for (int e = 0; e < E; ++e) sum[e] = R(0);
    if constexpr (layout != Layout::registers) {
      for (int c = lanes_.lane * E; c < dim(); c += lanes_.count * E) store_row(sum_of_path_ + c, dim() - c, sum);
    }
    std::uint64_t message = k * static_cast<std::uint32_t>(spec_.n_workers);
    for (int i = 0; i < spec_.n_workers; ++i, ++message) {
      const WorkerSpec<R>& worker = spec_.workers[i];
      const R scale = spec_.affine ? sqrt(fma(worker.affine_sq, mean_square, worker.scale_sq)) : worker.scale;
      R carry = any_law ? sqrt(static_cast<R>(spec_.law.nu)) : R(0);
      for_chunks([&](int c, const R(&)[E], const R(&g)[E]) {
        R z[E];
        noise_.read(message, c, lanes_, z, carry);
#pragma unroll
        for (int e = 0; e < E; ++e) z[e] = fma(scale, z[e], g[e]);
        make_message(worker, message, c, z);
        if constexpr (layout == Layout::registers) {
#pragma unroll
          for (int e = 0; e < E; ++e) sum[e] = sum[e] + z[e];
        } else {
          R so_far[E];
          load_row(sum_of_path_ + c, dim() - c, so_far);
#pragma unroll
          for (int e = 0; e < E; ++e) so_far[e] = so_far[e] + z[e];
          store_row(sum_of_path_ + c, dim() - c, so_far);
        }
      });
    }
    if constexpr (layout == Layout::registers) {
#pragma unroll
      for (int e = 0; e < E; ++e) x_[e] = fma(factor, sum[e], x_[e]);
    } else {
      for (int c = lanes_.lane * E; c < dim(); c += lanes_.count * E) {
        R x[E];
        load_row(x_of_path_ + c, dim() - c, x);
        load_row(sum_of_path_ + c, dim() - c, sum);
#pragma unroll
        for (int e = 0; e < E; ++e) x[e] = fma(factor, sum[e], x[e]);
        store_row(x_of_path_ + c, dim() - c, x);
      }
    }
  }

  /// v becomes C(v) or its sign, coordinate by coordinate.
  __device__ __forceinline__ void make_message(const WorkerSpec<R>& worker, std::uint64_t message, int c, R (&v)[E]) {
    if (spec_.method == MethodKind::dsignsgd) {
#pragma unroll
      for (int e = 0; e < E; ++e) v[e] = sign(v[e]);
      return;
    }
    if (spec_.compressor == CompressorKind::identity) return;
    std::uint32_t kept;  // bit e: coordinate c + e
    if (spec_.compressor == CompressorKind::rand_k) {
      kept = subsets_.members(message, c);
      if (worker.keep > dim() - worker.keep) kept = ~kept;
    } else {
      std::uint32_t drawn[E];
      coordinate_words_.read(message * static_cast<std::uint32_t>(dim()) + static_cast<std::uint32_t>(c), drawn,
                             [&](std::uint64_t block, std::uint32_t(&out)[uniforms_per_block<R>]) {
                               BitsOf<R> words[4];
                               words_.template block<R>(first_block(Purpose::compressor) + block, words);
#pragma unroll
                               for (int i = 0; i < uniforms_per_block<R>; ++i)
                                 out[i] = static_cast<std::uint32_t>(words[sizeof(R) == 4 ? i : 2 * i + 1]);
                             });
      kept = 0;
#pragma unroll
      for (int e = 0; e < E; ++e) kept |= drawn[e] <= worker.keep_below ? 1u << e : 0u;
    }
#pragma unroll
    for (int e = 0; e < E; ++e) v[e] = worker.inverse_keep * (((kept >> e) & 1u) != 0 ? v[e] : R(0));
  }

  LaneNoise<R, any_law> noise_;
  PathWords words_;
  std::conditional_t<layout == Layout::registers, RegisterSubsets<R, E>, MemorySubsets<R>> subsets_;
  BlockReader<std::uint32_t, uniforms_per_block<R>> coordinate_words_;
  R* sum_of_path_;
};

template <class R, int E, bool any_law, Layout layout>
__global__ void __launch_bounds__(step_threads(layout), sizeof(R) == 8 ? 1 : 2)
    tile_kernel(const __grid_constant__ SimSpec<R> spec, const __grid_constant__ Segment<R> segment) {
  __shared__ SharedMemory<R, layout> shared;
  TileRun<R, E, any_law, layout>(spec, segment, shared).run();
}

}  // namespace pathbound::cuda
