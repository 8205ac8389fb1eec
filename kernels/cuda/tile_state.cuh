// SPDX-License-Identifier: Apache-2.0
// What every process of a tile has: a path is a tile of `lanes` lanes. Where lanes * E is enough for all coordinates,
// lane l holds coordinates E l .. E l + E - 1 in registers (Registers); beyond that the lanes go over the coordinates
// in chunks of lanes * E, and x lies in global memory (Memory). Dense objectives, whose gradient needs every
// coordinate, are of the second kind too (Dense).
#pragma once
#include "kernels/cuda/lanes.cuh"
#include "kernels/cuda/segment.cuh"
#include "kernels/cuda/variants.cuh"
#include "kernels/math.hpp"
#include "kernels/objectives.hpp"
#include "kernels/xi.hpp"

namespace pathbound::cuda {

/// S: of a dense objective in double.
template <class R, Layout layout>
using ValueOf = std::conditional_t<layout == Layout::dense, double, R>;

template <class R, Layout layout>
struct SharedMemory {
  static constexpr int threads = step_threads(layout), paths = threads / 2;
  // The statistics of the paths of one CUDA block on their way to global memory, so that they are written in whole
  // sectors. Two buffers: one barrier a record is enough.
  ValueOf<R, layout> value[2][paths];
  double norm[2][paths];
  R largest[2][paths];
  R largest_so_far[2][paths];
};

/// A lane's E neighbouring numbers in memory, of which the first `count` exist; the rest are zeros. In one access where
/// all do (addresses are multiples of E).
template <int E, class R>
__device__ __forceinline__ void load_row(const R* p, int count, R (&v)[E]) {
  static_assert(E == 4);
  if (count >= E) {
    if constexpr (sizeof(R) == 4) {
      const float4 all = *reinterpret_cast<const float4*>(p);
      v[0] = all.x, v[1] = all.y, v[2] = all.z, v[3] = all.w;
    } else {
      const double2 low = reinterpret_cast<const double2*>(p)[0], high = reinterpret_cast<const double2*>(p)[1];
      v[0] = low.x, v[1] = low.y, v[2] = high.x, v[3] = high.y;
    }
  } else {
#pragma unroll
    for (int e = 0; e < E; ++e) v[e] = e < count ? p[e] : R(0);
  }
}
template <int E, class R>
__device__ __forceinline__ void store_row(R* p, int count, const R (&v)[E]) {
  static_assert(E == 4);
  if (count >= E) {
    if constexpr (sizeof(R) == 4) {
      *reinterpret_cast<float4*>(p) = make_float4(v[0], v[1], v[2], v[3]);
    } else {
      reinterpret_cast<double2*>(p)[0] = make_double2(v[0], v[1]);
      reinterpret_cast<double2*>(p)[1] = make_double2(v[2], v[3]);
    }
  } else {
#pragma unroll
    for (int e = 0; e < E; ++e)
      if (e < count) p[e] = v[e];
  }
}

/// What a path keeps over its steps for bounds on averages (SimSpec::sums, track_smoothness); every lane has it.
struct StepSums {
  double y = 0.0, t = 0.0, smoothness = 0.0;
};
struct NoSums {};

/// The iterates and their gradients, who has diverged, and what is left at every checkpoint. has_sums: for kernels of
/// curves that may need StepSums.
template <class R, int E, Layout layout, bool has_sums>
class TileState {
 protected:
  __device__ __forceinline__ TileState(const SimSpec<R>& spec, const Segment<R>& segment,
                                       SharedMemory<R, layout>& shared)
      : spec_(spec),
        segment_(segment),
        shared_(shared),
        lanes_{segment.lanes, static_cast<int>(threadIdx.x) & (segment.lanes - 1)},
        local_(static_cast<std::uint32_t>((static_cast<std::uint64_t>(blockIdx.x) * threads + threadIdx.x) /
                                          static_cast<std::uint32_t>(segment.lanes))),
        exists_(local_ < segment.n_paths) {
    x_of_path_ = segment.x + first_of_path();
    if constexpr (layout != Layout::registers) g_of_path_ = segment.gradient + first_of_path();
  }

  static constexpr int threads = step_threads(layout);
  using Value = ValueOf<R, layout>;

  __device__ __forceinline__ int dim() const { return spec_.objective.dim; }
  /// Where the path's numbers begin in an array by coordinate.
  __device__ __forceinline__ std::int64_t first_of_path() const {
    return static_cast<std::int64_t>(exists_ ? local_ : 0) * row_length(layout, spec_.objective.dim);
  }

  /// Level `from` and those above of the trees in shared memory.
  template <class T>
  __device__ __forceinline__ SharedNodes<T> nodes(int from) const {
    extern __shared__ double levels[];
    const int warp = static_cast<int>(threadIdx.x) / 32, all = segment_.outer_levels + segment_.inner_levels;
    return {reinterpret_cast<T*>(levels + (warp * all + from) * 32) + (threadIdx.x & 31)};
  }
  template <class T>
  __device__ __forceinline__ SharedNodes<T> outer_nodes() const {
    return nodes<T>(0);
  }
  template <class T>
  __device__ __forceinline__ SharedNodes<T> inner_nodes() const {
    return nodes<T>(segment_.outer_levels);
  }

  // ---- coordinates
  /// Calls use(c, x, g) for the lane's coordinates c .. c + E - 1 of each chunk; those from dim on hold nothing.
  template <class Use>
  __device__ __forceinline__ void for_chunks(Use&& use) {
    if constexpr (layout == Layout::registers) {
      use(lanes_.lane * E, x_, g_);
    } else {
      for (int base = 0; base < dim(); base += lanes_.count * E) {
        const int c = base + lanes_.lane * E;
        R x[E], g[E];
        load_row(x_of_path_ + c, dim() - c, x);
        load_row(g_of_path_ + c, dim() - c, g);
        use(c, x, g);
      }
    }
  }
  __device__ __forceinline__ void load_state() {
    if constexpr (layout == Layout::registers) {
      const int c = lanes_.lane * E;
#pragma unroll
      for (int e = 0; e < E; ++e)
        x_[e] = c + e < dim() ? (segment_.from_start ? spec_.start[c + e] : x_of_path_[c + e]) : R(0);
    } else if (segment_.from_start) {
      for (int c = lanes_.lane; c < dim(); c += lanes_.count) x_of_path_[c] = spec_.start[c];
      __syncwarp();
    }
    alive_ = segment_.from_start || segment_.alive[local_] != 0;
    if (spec_.track_gradient) tracked_ = segment_.from_start ? R(0) : segment_.tracked[local_];
    if constexpr (has_sums) {
      if (segment_.from_start) return;
      if (spec_.sums != SumKind::none) {
        sums_.y = segment_.sum_y[local_];
        sums_.t = segment_.sum_t[local_];
      }
      if (spec_.track_smoothness) sums_.smoothness = segment_.smoothness[local_];
    }
  }
  __device__ __forceinline__ void store_state() {
    if constexpr (layout == Layout::registers) {
      const int c = lanes_.lane * E;
#pragma unroll
      for (int e = 0; e < E; ++e)
        if (c + e < dim()) x_of_path_[c + e] = x_[e];
    }
    if (lanes_.lane == 0) segment_.alive[local_] = alive_ ? 1 : 0;
    if (spec_.track_gradient) {
      const R largest = lanes_.largest(tracked_);
      if (lanes_.lane == 0) segment_.tracked[local_] = largest;
    }
    if constexpr (has_sums) {
      if (lanes_.lane != 0) return;
      if (spec_.sums != SumKind::none) {
        segment_.sum_y[local_] = sums_.y;
        segment_.sum_t[local_] = sums_.t;
      }
      if (spec_.track_smoothness) segment_.smoothness[local_] = sums_.smoothness;
    }
  }

  // ---- gradient
  __device__ __forceinline__ void make_gradient() {
    if constexpr (layout == Layout::dense) {
      dense_gradient(x_of_path_, g_of_path_);
    } else {
      with_separable<R>(spec_.objective, [&](const auto& f) {
        if constexpr (layout == Layout::registers) {
#pragma unroll
          for (int e = 0; e < E; ++e) g_[e] = f.gradient(x_[e], lanes_.lane * E + e < dim() ? lanes_.lane * E + e : 0);
        } else {
          for (int c = lanes_.lane * E; c < dim(); c += lanes_.count * E) {
            R x[E];
            load_row(x_of_path_ + c, dim() - c, x);
#pragma unroll
            for (int e = 0; e < E; ++e) x[e] = f.gradient(x[e], c + e < dim() ? c + e : 0);
            store_row(g_of_path_ + c, dim() - c, x);
          }
        }
      });
    }
  }

  /// As `gradient` of objectives.hpp, of x into g; each lane takes some rows of the matrices.
  __device__ __forceinline__ void dense_gradient(const R* x, R* g) {
    const ObjectiveSpec<R>& f = spec_.objective;
    SharedNodes<R> nodes = outer_nodes<R>();
    __syncwarp();  // x is complete
    if (f.kind == ObjectiveKind::least_squares) {
      for (int i = lanes_.lane; i < dim(); i += lanes_.count) {
        // The matrix is symmetric: row i read as column i, neighbours together.
        g[i] = pathbound::tree_sum<R>(
            dim(), [&](int j) { return f.gram[static_cast<std::int64_t>(j) * dim() + i] * (x[j] - f.x_star[j]); },
            nodes);
      }
    } else {
      R* rows = rows_of_path();
      for (int r = lanes_.lane; r < f.n_rows; r += lanes_.count) {
        const R margin = pathbound::tree_sum<R>(
            dim(), [&](int j) { return segment_.rows_transposed[static_cast<std::int64_t>(j) * f.n_rows + r] * x[j]; },
            nodes);
        rows[r] = R(-1.0) / (R(1.0) + exp(margin));
      }
      __syncwarp();
      for (int j = lanes_.lane; j < dim(); j += lanes_.count) {
        const R sum = pathbound::tree_sum<R>(
            f.n_rows, [&](int r) { return f.rows[static_cast<std::int64_t>(r) * dim() + j] * rows[r]; }, nodes);
        g[j] = fma(f.lam, x[j], sum / static_cast<R>(f.n_rows));
      }
    }
    __syncwarp();  // g is complete
  }

  /// As `hessian_product` of objectives.hpp, after dense_gradient.
  __device__ __forceinline__ void dense_hessian_times(const R* u, R* out) {
    const ObjectiveSpec<R>& f = spec_.objective;
    SharedNodes<R> nodes = outer_nodes<R>();
    __syncwarp();  // u is complete
    if (f.kind == ObjectiveKind::least_squares) {
      for (int i = lanes_.lane; i < dim(); i += lanes_.count)
        out[i] = pathbound::tree_sum<R>(
            dim(), [&](int j) { return f.gram[static_cast<std::int64_t>(j) * dim() + i] * u[j]; }, nodes);
    } else {
      const R* rows = rows_of_path();
      R* products = rows_of_path() + f.n_rows;
      for (int r = lanes_.lane; r < f.n_rows; r += lanes_.count) {
        const R along = pathbound::tree_sum<R>(
            dim(), [&](int j) { return segment_.rows_transposed[static_cast<std::int64_t>(j) * f.n_rows + r] * u[j]; },
            nodes);
        products[r] = logistic_weight(rows[r]) * along;
      }
      __syncwarp();
      for (int j = lanes_.lane; j < dim(); j += lanes_.count) {
        const R sum = pathbound::tree_sum<R>(
            f.n_rows, [&](int r) { return f.rows[static_cast<std::int64_t>(r) * dim() + j] * products[r]; }, nodes);
        out[j] = fma(f.lam, u[j], sum / static_cast<R>(f.n_rows));
      }
    }
    __syncwarp();  // out is complete
  }
  /// As `hessian_diagonal` of objectives.hpp, after dense_gradient.
  __device__ __forceinline__ void dense_hessian_diagonal(R* out) {
    const ObjectiveSpec<R>& f = spec_.objective;
    SharedNodes<R> nodes = outer_nodes<R>();
    for (int j = lanes_.lane; j < dim(); j += lanes_.count) {
      if (f.kind == ObjectiveKind::least_squares) {
        out[j] = f.gram[static_cast<std::int64_t>(j) * dim() + j];
        continue;
      }
      const R* rows = rows_of_path();
      const R sum = pathbound::tree_sum<R>(
          f.n_rows,
          [&](int r) {
            const R a = f.rows[static_cast<std::int64_t>(r) * dim() + j];
            return (a * a) * logistic_weight(rows[r]);
          },
          nodes);
      out[j] = f.lam + sum / static_cast<R>(f.n_rows);
    }
    __syncwarp();  // out is complete
  }
  /// -p of each row, and (models) as many numbers more.
  __device__ __forceinline__ R* rows_of_path() const {
    return segment_.row_values + static_cast<std::int64_t>(local_) * spec_.objective.n_rows * (spec_.is_model ? 2 : 1);
  }

  __device__ __forceinline__ void track_gradient() { tracked_ = max(largest_of_lane(), tracked_); }
  __device__ __forceinline__ R largest_of_lane() {
    R largest = R(0);
    for_chunks([&](int c, const R(&)[E], const R(&g)[E]) {
#pragma unroll
      for (int e = 0; e < E; ++e)
        if (c + e < dim()) largest = max(abs(g[e]), largest);
    });
    return largest;
  }

  /// max_j |f_j''(x_j)| of a separable objective.
  __device__ __forceinline__ R largest_second() {
    R largest = R(0);
    with_separable<R>(spec_.objective, [&](const auto& f) {
      for_chunks([&](int c, const R(&x)[E], const R(&)[E]) {
#pragma unroll
        for (int e = 0; e < E; ++e)
          if (c + e < dim()) largest = max(abs(f.second(x[e], c + e)), largest);
      });
    });
    return lanes_.largest(largest);
  }

  // ---- sums over the steps; as PathSums of sums.hpp
  /// What the step of size `weight` adds, before it is taken: x and g are the iterate and its gradient.
  __device__ __forceinline__ void add_sums(R weight) {
    double value;
    if (spec_.sums == SumKind::psi) {
      R mean_square = R(0);
      if (spec_.affine)
        mean_square = sum_over_coordinates<R>([](int, R, R g) { return g * g; }) / static_cast<R>(dim());
      value = sum_over_coordinates<double>([&](int, R, R g) {
        const R m = sign_moments(spec_.signs, spec_.affine, g, mean_square).drift;
        return static_cast<double>(m) * static_cast<double>(g);
      });
    } else {
      value = gradient_square();
    }
    const double w = static_cast<double>(weight);
    sums_.y = fma(w, value - spec_.sums_level, sums_.y);
    sums_.t = sums_.t + w;
  }
  /// Keeps the largest |H|/(L0 + L1 |grad f|). Separable objectives.
  __device__ __forceinline__ void track_smoothness() {
    const double size = static_cast<double>(largest_second()), norm = sqrt(gradient_square());
    const double ratio = size / (static_cast<double>(spec_.smooth_L0) + static_cast<double>(spec_.smooth_L1) * norm);
    sums_.smoothness = max(ratio, sums_.smoothness);
  }
  __device__ __forceinline__ double gradient_square() {
    return sum_over_coordinates<double>([](int, R, R g) {
      const double component = static_cast<double>(g);
      return component * component;
    });
  }

  // ---- records
  /// Tree sum over the coordinates of term(j, x_j, g_j), in T.
  template <class T, class Term>
  __device__ __forceinline__ T sum_over_coordinates(Term&& term) {
    if constexpr (layout == Layout::registers) {
      T terms[E];
#pragma unroll
      for (int e = 0; e < E; ++e) {
        const int c = lanes_.lane * E + e;
        terms[e] = c < dim() ? term(c, x_[e], g_[e]) : no_term<T>();
      }
      return lanes_.tree_sum(tree_sum_of_lane(terms));
    } else {
      SharedNodes<T> nodes = outer_nodes<T>();
      __syncwarp();  // a tree of another type may have been there
      TreeStack<T, SharedNodes<T>> sum(nodes);
      for_chunks([&](int c, const R(&x)[E], const R(&g)[E]) {
        T terms[E];
#pragma unroll
        for (int e = 0; e < E; ++e) terms[e] = c + e < dim() ? term(c + e, x[e], g[e]) : no_term<T>();
        sum.push(lanes_.tree_sum(tree_sum_of_lane(terms)));
      });
      return sum.finish();
    }
  }

  /// S in double (dense_suboptimality of objectives.hpp).
  __device__ __forceinline__ double dense_value() {
    const ObjectiveSpec<R>& f = spec_.objective;
    const auto error = [&](int j) { return static_cast<double>(x_of_path_[j]) - f.x_star_double[j]; };
    SharedNodes<double> outer = outer_nodes<double>(), inner = inner_nodes<double>();
    __syncwarp();  // a tree of another type may have been there
    TreeStack<double, SharedNodes<double>> rows(outer);
    for (int base = 0; base < f.n_rows; base += lanes_.count) {
      const int r = base + lanes_.lane;
      double term = no_term<double>();
      if (r < f.n_rows) {
        const double along = pathbound::tree_sum<double>(
            dim(),
            [&](int j) {
              return segment_.rows_double_transposed[static_cast<std::int64_t>(j) * f.n_rows + r] * error(j);
            },
            inner);
        term = f.kind == ObjectiveKind::least_squares ? along * along : logistic_term<double>(f.margin_star[r], along);
      }
      rows.push(lanes_.tree_sum(term));
    }
    const double n = static_cast<double>(f.n_rows), sum = rows.finish();
    if (f.kind == ObjectiveKind::least_squares) return 0.5 * sum / n;
    const double square = sum_over_coordinates<double>([&](int j, R, R) {
      const double d = error(j);
      return d * d;
    });
    return fma(0.5 * static_cast<double>(f.lam), square, sum / n);
  }

  __device__ __forceinline__ Value value() {
    if constexpr (layout == Layout::dense) {
      return dense_value();
    } else {
      R s = R(0);
      with_separable<R>(spec_.objective, [&](const auto& f) {
        s = sum_over_coordinates<R>([&](int j, R x, R) { return f.value(x, j); });
      });
      return s;
    }
  }

  /// Leaves S, |grad f| and the largest |grad_j f| of each path.
  __device__ __forceinline__ void record(int index) {
    Value s = Value(0);
    double norm = 0.0;
    R largest = R(0), so_far = R(0);
    if (exists_) {
      s = value();
      if constexpr (layout == Layout::dense) {
        alive_ = alive_ && abs(s) <= spec_.limit;
      } else {
        alive_ = alive_ && abs(s) <= segment_.limit;
      }
      if (!alive_) s = math_detail::quiet_nan<Value>();
      if (segment_.norm != nullptr)
        norm = sqrt(sum_over_coordinates<double>([](int, R, R g) {
          const double component = static_cast<double>(g);
          return component * component;
        }));
      largest = lanes_.largest(largest_of_lane());
      if (spec_.track_gradient) so_far = lanes_.largest(tracked_);
    }
    const std::int64_t row = static_cast<std::int64_t>(index) * segment_.n_paths;
    if constexpr (has_sums) {
      if (exists_ && lanes_.lane == 0) {
        if (spec_.sums != SumKind::none) {
          segment_.y[row + local_] = sums_.y;
          segment_.t[row + local_] = sums_.t;
        }
        if (spec_.track_smoothness) segment_.ratio[row + local_] = sums_.smoothness;
      }
    }
    if (lanes_.count == 1) {
      if (exists_) write(row + local_, s, norm, largest, so_far);
      return;
    }
    const int slot = static_cast<int>(threadIdx.x) / lanes_.count, here = index & 1;
    if (lanes_.lane == 0) {
      shared_.value[here][slot] = s;
      shared_.norm[here][slot] = norm;
      shared_.largest[here][slot] = largest;
      shared_.largest_so_far[here][slot] = so_far;
    }
    __syncthreads();
    const int paths = threads / lanes_.count;
    const int i = static_cast<int>(threadIdx.x);
    const std::uint32_t path = blockIdx.x * static_cast<std::uint32_t>(paths) + static_cast<std::uint32_t>(i);
    if (i < paths && path < segment_.n_paths)
      write(row + path, shared_.value[here][i], shared_.norm[here][i], shared_.largest[here][i],
            shared_.largest_so_far[here][i]);
  }
  __device__ __forceinline__ void write(std::int64_t at, Value s, double norm, R largest, R so_far) {
    if constexpr (layout == Layout::dense) {
      segment_.value_double[at] = s;
    } else {
      segment_.value[at] = s;
    }
    if (segment_.norm != nullptr) segment_.norm[at] = norm;
    segment_.largest[at] = largest;
    if (spec_.track_gradient) segment_.largest_so_far[at] = so_far;
  }

  const SimSpec<R>& spec_;
  const Segment<R>& segment_;
  SharedMemory<R, layout>& shared_;
  const Lanes lanes_;
  const std::uint32_t local_;  // path of the wave
  const bool exists_;
  R x_[E], g_[E];  // Registers only
  R *x_of_path_, *g_of_path_;
  R tracked_ = R(0);
  bool alive_ = true;
  std::conditional_t<has_sums, StepSums, NoSums> sums_;
};

}  // namespace pathbound::cuda
