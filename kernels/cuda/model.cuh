// SPDX-License-Identifier: Apache-2.0
// The step kernels of the models (model.hpp): a path is a tile of lanes, as in tile.cuh.
#pragma once
#include "kernels/cuda/noise.cuh"
#include "kernels/cuda/tile_state.cuh"
#include "kernels/model.hpp"

namespace pathbound::cuda {

template <class R, int E, Layout layout>
class ModelTile : TileState<R, E, layout, true> {
  using Base = TileState<R, E, layout, true>;
  using Base::dim;
  using Base::exists_;
  using Base::g_;
  using Base::g_of_path_;
  using Base::lanes_;
  using Base::local_;
  using Base::segment_;
  using Base::spec_;
  using Base::x_;
  using Base::x_of_path_;

 public:
  __device__ __forceinline__ ModelTile(const SimSpec<R>& spec, const Segment<R>& segment,
                                       SharedMemory<R, layout>& shared)
      : Base(spec, segment, shared),
        noise_(spec, segment.first_path + local_,
               spec.law.kind == LawKind::gaussian ? Purpose::gradient_noise : Purpose::model_noise),
        refinement_(spec, segment.first_path + local_, Purpose::refinement),
        words_(spec.seed, segment.first_path + local_) {
    if constexpr (layout != Layout::registers)
      slots_of_path_ = segment.model + Base::first_of_path() * (model_slots(spec.model) + model_extra_rows);
  }

  __device__ __forceinline__ void run() {
    // The lanes beyond the wave fill whole warps (it has a multiple of 32 paths): those only wait at the barriers.
    if (exists_) Base::load_state();
    int next = 0;
    for (std::uint64_t k = segment_.first_step;; ++k) {
      if (next < segment_.n_checkpoints && segment_.checkpoints[next] == k) {
        if (exists_) Base::make_gradient();
        if (exists_ && spec_.track_gradient) Base::track_gradient();
        if (exists_ && spec_.track_smoothness) Base::track_smoothness();
        Base::record(next++);
      }
      if (k == segment_.last_step) break;
      if (exists_) step(k);
    }
    if (exists_) Base::store_state();
  }

 private:
  /// The coordinates of the path's lanes as model.hpp's Space.
  struct Space {
    using Real = R;
    struct Vector {
      R* first;  ///< registers: the lane's E; else the path's row
    };
    ModelTile& tile;

    template <ModelSlot slot>
    __device__ __forceinline__ Vector vector() const {
      return {tile.row(static_cast<int>(slot))};
    }
    template <class Use>
    __device__ __forceinline__ void each(Use&& use) const {
      if constexpr (layout == Layout::registers) {
#pragma unroll
        for (int e = 0; e < E; ++e) use(e, tile.coordinate(e));
      } else {
        for (int base = 0; base < tile.dim(); base += tile.lanes_.count * E) {
          const int c = base + tile.lanes_.lane * E;
#pragma unroll
          for (int e = 0; e < E; ++e)
            if (c + e < tile.dim()) use(c + e, c + e);
        }
      }
    }
    __device__ __forceinline__ R get(const Vector& v, int i) const { return v.first[i]; }
    __device__ __forceinline__ void set(const Vector& v, int i, R value) const { v.first[i] = value; }
    template <class Term>
    __device__ __forceinline__ R sum(Term&& term) const {
      R terms[E];
      if constexpr (layout == Layout::registers) {
#pragma unroll
        for (int e = 0; e < E; ++e) {
          const int c = tile.lanes_.lane * E + e;
          terms[e] = c < tile.dim() ? term(e, c) : no_term<R>();
        }
        return tile.lanes_.tree_sum(tree_sum_of_lane(terms));
      } else {
        SharedNodes<R> nodes = tile.template outer_nodes<R>();
        __syncwarp();  // a tree of another type may have been there
        TreeStack<R, SharedNodes<R>> sum(nodes);
        for (int base = 0; base < tile.dim(); base += tile.lanes_.count * E) {
          const int c = base + tile.lanes_.lane * E;
#pragma unroll
          for (int e = 0; e < E; ++e) terms[e] = c + e < tile.dim() ? term(c + e, c + e) : no_term<R>();
          sum.push(tile.lanes_.tree_sum(tree_sum_of_lane(terms)));
        }
        return sum.finish();
      }
    }
    template <class Term>
    __device__ __forceinline__ R largest(Term&& term) const {
      R largest = R(0);
      each([&](int i, int j) {
        if constexpr (layout == Layout::registers) {
          if (tile.lanes_.lane * E + i >= tile.dim()) return;
        }
        largest = max(term(i, j), largest);
      });
      return tile.lanes_.largest(largest);
    }
    __device__ __forceinline__ void gradient(const Vector& x, const Vector& g) const {
      if constexpr (layout == Layout::dense) {
        tile.dense_gradient(x.first, g.first);
      } else {
        with_separable<R>(tile.spec_.objective,
                          [&](const auto& f) { each([&](int i, int j) { set(g, i, f.gradient(get(x, i), j)); }); });
      }
    }
    __device__ __forceinline__ void hessian_times(const Vector& x, const Vector& u, const Vector& out) const {
      if constexpr (layout == Layout::dense) {
        tile.dense_hessian_times(u.first, out.first);
      } else {
        with_separable<R>(tile.spec_.objective, [&](const auto& f) {
          each([&](int i, int j) { set(out, i, f.second(get(x, i), j) * get(u, i)); });
        });
      }
    }
    __device__ __forceinline__ void hessian_diagonal(const Vector& x, const Vector& out) const {
      if constexpr (layout == Layout::dense) {
        tile.dense_hessian_diagonal(out.first);
      } else {
        with_separable<R>(tile.spec_.objective,
                          [&](const auto& f) { each([&](int i, int j) { set(out, i, f.second(get(x, i), j)); }); });
      }
    }
    __device__ __forceinline__ void track(const Vector&, const Vector& g, R weight) const {
      if (tile.spec_.sums != SumKind::none || tile.spec_.track_smoothness) {
        // x has not moved since the substep began.
        each([&](int i, int) {
          if constexpr (layout == Layout::registers) {
            tile.g_[i] = get(g, i);
          } else {
            tile.g_of_path_[i] = get(g, i);
          }
        });
        __syncwarp();
        if (tile.spec_.sums != SumKind::none) tile.Base::add_sums(weight);
        if (tile.spec_.track_smoothness) tile.Base::track_smoothness();
      }
      if (!tile.spec_.track_gradient) return;
      each([&](int i, int) {
        if constexpr (layout == Layout::registers) {
          if (tile.lanes_.lane * E + i >= tile.dim()) return;
        }
        tile.tracked_ = max(abs(get(g, i)), tile.tracked_);
      });
    }
  };
  using Vector = typename Space::Vector;

  /// Rows beside the model's slots: what is left of the step's noise, the substep's increment, the two-point variables.
  static constexpr int left = static_cast<int>(ModelSlot::count), increment = left + 1, signs = left + 2;

  __device__ __forceinline__ R* row(int slot) {
    if constexpr (layout == Layout::registers) {
      return slots_[slot];
    } else {
      const int at = slot < left ? slot : slot - left + model_slots(spec_.model);
      return slots_of_path_ + static_cast<std::int64_t>(at) * row_length(layout, dim());
    }
  }
  /// A coordinate that exists, also for the registers beyond dim.
  __device__ __forceinline__ int coordinate(int e) const {
    const int c = lanes_.lane * E + e;
    return c < dim() ? c : 0;
  }
  /// use(c, i): the lane's coordinates c .. c + E - 1 lie at i .. i + E - 1 of a row.
  template <class Use>
  __device__ __forceinline__ void for_rows(Use&& use) {
    if constexpr (layout == Layout::registers) {
      use(lanes_.lane * E, 0);
    } else {
      for (int base = 0; base < dim(); base += lanes_.count * E) use(base + lanes_.lane * E, base + lanes_.lane * E);
    }
  }
  /// Whether coordinate c has a place in a row.
  __device__ __forceinline__ bool has_place(int c) const { return layout == Layout::registers || c < dim(); }

  __device__ __forceinline__ void step(std::uint64_t k) {
    const int n = spec_.model.substeps;
    R* const all = row(left);
    R* const part = row(increment);
    R* const sign = row(signs);
    take_noise(k, all);
    Space space{*this};
#pragma unroll 1
    for (int i = 0; i < n; ++i) {
      const int r = n - i;
      for_rows([&](int c, int at) {
        R z[E], carry = R(0);
#pragma unroll
        for (int e = 0; e < E; ++e) z[e] = R(0);
        if (r > 1) refinement_.read(k * static_cast<unsigned>(n - 1) + static_cast<unsigned>(i), c, lanes_, z, carry);
#pragma unroll
        for (int e = 0; e < E; ++e)
          if (has_place(c + e)) part[at + e] = bridge_increment(all[at + e], z[e], r, n);
        if (spec_.model.integrator == IntegratorKind::weak2) {
          std::uint32_t drawn[E];
          sign_words_.read((k * static_cast<unsigned>(n) + static_cast<unsigned>(i)) * static_cast<unsigned>(dim()) +
                               static_cast<unsigned>(c),
                           drawn, [&](std::uint64_t block, std::uint32_t(&out)[uniforms_per_block<R>]) {
                             BitsOf<R> words[4];
                             words_.template block<R>(first_block(Purpose::signs) + block, words);
#pragma unroll
                             for (int w = 0; w < uniforms_per_block<R>; ++w)
                               out[w] = static_cast<std::uint32_t>(words[sizeof(R) == 4 ? w : 2 * w + 1]);
                           });
#pragma unroll
          for (int e = 0; e < E; ++e)
            if (has_place(c + e)) sign[at + e] = two_point<R>(static_cast<BitsOf<R>>(drawn[e]));
        }
      });
      Vector x;
      if constexpr (layout == Layout::registers) {
        x = {x_};
      } else {
        x = {x_of_path_};
      }
      ModelStep<Space>(spec_, space).advance(x, {part}, {sign}, k, i);
    }
  }

  /// The step's noise: the method's own, or model normals.
  __device__ __forceinline__ void take_noise(std::uint64_t k, R* out) {
    R carry = R(0);
    if (spec_.law.kind != LawKind::gaussian) {
      for_rows([&](int c, int at) {
        R z[E];
        noise_.read(k, c, lanes_, z, carry);
#pragma unroll
        for (int e = 0; e < E; ++e)
          if (has_place(c + e)) out[at + e] = z[e];
      });
      return;
    }
    R mean_square = R(0), total = R(0);
    if (spec_.affine) {
      Base::make_gradient();
      mean_square = Base::template sum_over_coordinates<R>([](int, R, R g) { return g * g; }) / static_cast<R>(dim());
    }
    for (int i = 0; i < spec_.n_workers; ++i) {
      const R s = noise_scale(spec_.workers[i], spec_.affine, mean_square);
      total = fma(s, s, total);
    }
    const R scale = noise_normaliser(total, spec_.n_workers);
    std::uint64_t message = k * static_cast<std::uint32_t>(spec_.n_workers);
    for (int i = 0; i < spec_.n_workers; ++i, ++message) {
      const R s = noise_weight(spec_.workers[i], spec_.affine, mean_square, total);
      const bool first = i == 0, last = i + 1 == spec_.n_workers;
      for_rows([&](int c, int at) {
        R z[E];
        noise_.read(message, c, lanes_, z, carry);
#pragma unroll
        for (int e = 0; e < E; ++e) {
          if (!has_place(c + e)) continue;
          const R sum = fma(s, z[e], first ? R(0) : out[at + e]);
          out[at + e] = last ? scale * sum : sum;
        }
      });
    }
  }

  LaneNoise<R, LawFamily::gaussian> noise_, refinement_;
  PathWords words_;
  BlockReader<std::uint32_t, uniforms_per_block<R>> sign_words_;
  R slots_[layout == Layout::registers ? signs + 1 : 1][E];
  R* slots_of_path_ = nullptr;
};

template <class R, int E, Layout layout>
__global__ void __launch_bounds__(step_threads(layout), 1)
    model_kernel(const __grid_constant__ SimSpec<R> spec, const __grid_constant__ Segment<R> segment) {
  __shared__ SharedMemory<R, layout> shared;
  ModelTile<R, E, layout>(spec, segment, shared).run();
}

}  // namespace pathbound::cuda
