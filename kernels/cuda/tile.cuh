// SPDX-License-Identifier: Apache-2.0
// The step kernels of the methods for any number of coordinates and workers.
#pragma once
#include "kernels/adaptive.hpp"
#include "kernels/compressors.hpp"
#include "kernels/cuda/noise.cuh"
#include "kernels/cuda/subset.cuh"
#include "kernels/cuda/tile_state.cuh"
#include "kernels/marginal.hpp"
#include "kernels/methods.hpp"

namespace pathbound::cuda {

/// general: also the methods, compressors, laws and sums of is_general. together: the forms of marginal.hpp.
template <class R, int E, LawFamily laws, bool general, Layout layout, Together together>
class TileRun : TileState<R, E, layout, general> {
  using Base = TileState<R, E, layout, general>;
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
    if constexpr (layout != Layout::registers) {
      sum_of_path_ = segment.sum + Base::first_of_path();
      if constexpr (general) message_of_path_ = segment.message + Base::first_of_path();
      if constexpr (together != Together::never) slope_of_path_ = segment.slope + 2 * Base::first_of_path();
    }
    if constexpr (general) state_of_path_ = segment.state + Base::first_of_path() * state_vectors(spec.method);
  }

  __device__ __forceinline__ void run() {
    // The lanes beyond the wave fill whole warps (it has a multiple of 32 paths): those only wait at the barriers.
    if (exists_) Base::load_state();
    if constexpr (general) {
      if (exists_) load_method_state();
    }
    int next = 0;
    for (std::uint64_t k = segment_.first_step;; ++k) {
      if (exists_) Base::make_gradient();
      if (exists_ && spec_.track_gradient) Base::track_gradient();
      if constexpr (general) {
        if (exists_ && spec_.track_smoothness) Base::track_smoothness();
      }
      if (next < segment_.n_checkpoints && segment_.checkpoints[next] == k) Base::record(next++);
      if (k == segment_.last_step) break;
      if (exists_) step(k);
    }
    if (exists_) Base::store_state();
    if constexpr (general && layout == Layout::registers) {
      if (exists_) store_method_state();
    }
  }

 private:
  __device__ __forceinline__ auto make_subsets() const {
    if constexpr (layout == Layout::registers) {
      return RegisterSubsets<R, E, together>(spec_, segment_, segment_.first_path + local_, lanes_);
    } else {
      return MemorySubsets<R, together>(spec_, segment_, segment_.first_path + local_, lanes_, exists_ ? local_ : 0);
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
    if constexpr (together == Together::always) {
      draw_together(k, mean_square, sum);
    } else {
      add_workers(k, mean_square, sum);
    }
    if constexpr (general) {
      move(k, factor, sum);
    } else if constexpr (layout == Layout::registers) {
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

  /// Adds the messages worker by worker.
  __device__ __forceinline__ void add_workers(std::uint64_t k, R mean_square, R (&sum)[E]) {
    std::uint64_t message = k * static_cast<std::uint32_t>(spec_.n_workers);
    for (int i = 0; i < spec_.n_workers; ++i, ++message) {
      const WorkerSpec<R>& worker = spec_.workers[i];
      const R scale = spec_.affine ? sqrt(fma(worker.affine_sq, mean_square, worker.scale_sq)) : worker.scale;
      R carry = laws != LawFamily::gaussian ? sqrt(static_cast<R>(spec_.law.nu)) : R(0);
      for_chunks([&](int c, const R(&)[E], const R(&g)[E]) {
        R z[E];
        noise_.read(message, c, lanes_, z, carry);
#pragma unroll
        for (int e = 0; e < E; ++e) z[e] = fma(scale, z[e], g[e]);
        if constexpr (general) {
          if (sends_whole_vectors(spec_)) return keep_message(c, z);
        }
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
      if constexpr (general) {
        if (sends_whole_vectors(spec_)) add_whole(worker, message, sum);
      }
    }
  }

  // ---- the workers' messages in one draw (marginal.hpp)
  /// change(v) of the lane's coordinates c .. c + E - 1 of a vector, in registers or in memory. fresh: nothing has been
  /// written there, and nothing will be looked at.
  template <class Change>
  __device__ __forceinline__ void change_row(R* row, int c, R (&registers)[E], Change&& change, bool fresh = false) {
    if constexpr (layout == Layout::registers) {
      change(registers);
    } else {
      R v[E];
      if (fresh) {
#pragma unroll
        for (int e = 0; e < E; ++e) v[e] = R(0);
      } else {
        load_row(row + c, dim() - c, v);
      }
      change(v);
      store_row(row + c, dim() - c, v);
    }
  }

  __device__ __forceinline__ void draw_together(std::uint64_t k, R mean_square, R (&sum)[E]) {
    if (spec_.marginal.kind == MarginalKind::signs) {
      draw_signs(k, mean_square, sum);
    } else {
      draw_counts(k, mean_square, sum);
    }
  }

  __device__ __forceinline__ void draw_signs(std::uint64_t k, R mean_square, R (&sum)[E]) {
    const MarginalSpec<R>& marginal = spec_.marginal;
    const std::uint64_t path = segment_.first_path + local_;
    constexpr int words = (E + 1) / 2;
    const std::uint32_t row_words = (static_cast<std::uint32_t>(dim()) + 1) / 2;
    std::uint64_t number = k * static_cast<std::uint32_t>(marginal.n_groups);
#pragma unroll 1
    for (int i = 0; i < marginal.n_groups; ++i, ++number) {
      const MarginalGroup<R>& group = marginal.groups[i];
      const R inverse =
          spec_.affine ? group.unit / sqrt(fma(group.affine_sq, mean_square, group.scale_sq)) : group.inverse;
      const std::uint16_t* entries = marginal.entries + group.entries;
      for_chunks([&](int c, const R(&)[E], const R(&g)[E]) {
        std::uint32_t drawn[words];
        coordinate_words_.read(number * row_words + static_cast<std::uint32_t>(c) / 2, drawn,
                               [&](std::uint64_t block, std::uint32_t(&out)[uniforms_per_block<R>]) {
                                 draw_block(first_block(Purpose::gradient_noise) + block, out);
                               });
        change_row(sum_of_path_, c, sum, [&](R(&s)[E]) {
#pragma unroll
          for (int e = 0; e < E; ++e) {
            if (c + e >= dim()) break;
            const bool upper = E == 1 ? (c & 1) != 0 : (e & 1) != 0;
            const BitsOf<R> sixteen = upper ? drawn[e / 2] >> 16 : drawn[e / 2] & 0xffffu;
            const R scaled = abs(g[e]) * inverse;
            const BitsOf<R> code =
                sign_code<R>(group.bits, entries, sign_row<R>(group.bits, scaled, group.cap), sixteen);
            R here;
            if (code == static_cast<BitsOf<R>>(rare_code(group.bits))) {
              here = rare_sign_sum<R>(marginal, group, spec_.seed, path,
                                      number * static_cast<std::uint32_t>(dim()) + static_cast<std::uint32_t>(c + e),
                                      scaled, g[e]);
            } else {
              here = sign_sum<R>(code, false, group.workers, g[e]);
            }
            s[e] = s[e] + here;
          }
        });
      });
    }
  }

  __device__ __forceinline__ void draw_counts(std::uint64_t k, R mean_square, R (&sum)[E]) {
    const MarginalSpec<R>& marginal = spec_.marginal;
    R slope[E], variance[E];
    std::uint64_t message = k * static_cast<std::uint32_t>(spec_.n_workers);
#pragma unroll 1
    for (int i = 0; i < marginal.n_groups; ++i) {
      const MarginalGroup<R>& group = marginal.groups[i];
      const bool first = i == 0, last = i + 1 == marginal.n_groups;
      count_kept(group, k * static_cast<std::uint32_t>(marginal.n_groups) + i, message, sum);
      message += static_cast<std::uint32_t>(group.workers);
      const R each = spec_.affine ? fma(group.variance_affine, mean_square, group.variance) : group.variance;
      for_chunks([&](int c, const R(&)[E], const R(&g)[E]) {
        change_row(sum_of_path_, c, sum, [&](R(&s)[E]) {
          change_row(
              slope_of_path_, c, slope,
              [&](R(&a)[E]) {
                change_row(
                    slope_of_path_ + row_length(layout, dim()), c, variance,
                    [&](R(&b)[E]) {
#pragma unroll
                      for (int e = 0; e < E; ++e) {
                        a[e] = first ? group.factor * s[e] : fma(group.factor, s[e], a[e]);
                        b[e] = first ? each * s[e] : fma(each, s[e], b[e]);
                      }
                      if (!last) return;
                      R z[E], carry = R(0);
                      noise_.read(k, c, lanes_, z, carry);
#pragma unroll
                      for (int e = 0; e < E; ++e) s[e] = fma(a[e], g[e], sqrt(b[e]) * z[e]);
                    },
                    first);
              },
              first);
        });
      });
    }
  }

  /// How many workers of the group keep each coordinate. number: of the group among those of all steps.
  __device__ __forceinline__ void count_kept(const MarginalGroup<R>& group, std::uint64_t number, std::uint64_t message,
                                             R (&count)[E]) {
    const bool subsets = spec_.compressor == CompressorKind::rand_k;
    const auto for_counts = [&](auto&& change) {
      for_chunks([&](int c, const R(&)[E], const R(&)[E]) {
        change_row(sum_of_path_, c, count, [&](R(&n)[E]) { change(c, n); });
      });
    };
    if (!subsets) {
      const std::uint32_t* entries = spec_.marginal.counts + group.first_count;
      for_counts([&](int c, R(&n)[E]) {
        std::uint32_t drawn[E];
        draw_words(number, c, drawn);
#pragma unroll
        for (int e = 0; e < E; ++e) n[e] = static_cast<R>(static_cast<int>(count_of<R>(entries, drawn[e])));
      });
      return;
    }
    for_counts([&](int, R(&n)[E]) {
#pragma unroll
      for (int e = 0; e < E; ++e) n[e] = R(0);
    });
    const bool inverted = group.keep > dim() - group.keep;
#pragma unroll 1
    for (int worker = 0; worker < group.workers; ++worker) {
      for_counts([&](int c, R(&n)[E]) {
        std::uint32_t kept = subsets_.members(message + static_cast<std::uint32_t>(worker), c);
        if (inverted) kept = ~kept;
#pragma unroll
        for (int e = 0; e < E; ++e) n[e] = n[e] + (((kept >> e) & 1u) != 0 ? R(1) : R(0));
      });
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
    if constexpr (general) {
      if (spec_.compressor == CompressorKind::natural) {
        std::uint32_t drawn[E];
        draw_words(message, c, drawn);
#pragma unroll
        for (int e = 0; e < E; ++e) v[e] = rounded_to_power<R>(v[e], drawn[e]);
        return;
      }
    }
    std::uint32_t kept;  // bit e: coordinate c + e
    if (spec_.compressor == CompressorKind::rand_k) {
      kept = subsets_.members(message, c);
      if (worker.keep > dim() - worker.keep) kept = ~kept;
    } else {
      std::uint32_t drawn[E];
      draw_words(message, c, drawn);
      kept = 0;
#pragma unroll
      for (int e = 0; e < E; ++e) kept |= drawn[e] <= worker.keep_below ? 1u << e : 0u;
    }
#pragma unroll
    for (int e = 0; e < E; ++e) v[e] = worker.inverse_keep * (((kept >> e) & 1u) != 0 ? v[e] : R(0));
  }

  /// The compressor's words of coordinates c .. c + E - 1, where it takes one a coordinate.
  __device__ __forceinline__ void draw_words(std::uint64_t message, int c, std::uint32_t (&drawn)[E]) {
    coordinate_words_.read(message * static_cast<std::uint32_t>(dim()) + static_cast<std::uint32_t>(c), drawn,
                           [&](std::uint64_t block, std::uint32_t(&out)[uniforms_per_block<R>]) {
                             draw_block(first_block(Purpose::compressor) + block, out);
                           });
  }
  /// The 32-bit words of a block's uniforms.
  __device__ __forceinline__ void draw_block(std::uint64_t block, std::uint32_t (&out)[uniforms_per_block<R>]) {
    BitsOf<R> words[4];
    words_.template block<R>(block, words);
#pragma unroll
    for (int i = 0; i < uniforms_per_block<R>; ++i)
      out[i] = static_cast<std::uint32_t>(words[sizeof(R) == 4 ? i : 2 * i + 1]);
  }

  // ---- general: vectors of a path, in the lane's registers or in memory
  /// use(c, v): v the lane's coordinates c .. c + E - 1 (of registers themselves, of memory a copy).
  template <class Use>
  __device__ __forceinline__ void for_vector(const R* memory, R (&registers)[E], Use&& use) {
    if constexpr (layout == Layout::registers) {
      use(lanes_.lane * E, registers);
    } else {
#pragma unroll 1
      for (int base = 0; base < dim(); base += lanes_.count * E) {
        const int c = base + lanes_.lane * E;
        R v[E];
        load_row(memory + c, dim() - c, v);
        use(c, v);
      }
    }
  }
  __device__ __forceinline__ ScaledNorm<R> norm_of(const R* memory, R (&registers)[E]) {
    R largest = R(0);
    for_vector(memory, registers, [&](int c, R(&v)[E]) {
#pragma unroll
      for (int e = 0; e < E; ++e)
        if (c + e < dim()) largest = max(abs(v[e]), largest);
    });
    const R scale = norm_scale(lanes_.largest(largest));
    const auto sum_of = [&](int c, R(&v)[E]) {
      R terms[E];
#pragma unroll
      for (int e = 0; e < E; ++e) {
        const R scaled = v[e] * scale;
        terms[e] = c + e < dim() ? scaled * scaled : no_term<R>();
      }
      return lanes_.tree_sum(tree_sum_of_lane(terms));
    };
    if constexpr (layout == Layout::registers) {
      return {sqrt(sum_of(lanes_.lane * E, registers)), scale};
    } else {
      SharedNodes<R> nodes = Base::template outer_nodes<R>();
      __syncwarp();  // a tree of another type may have been there
      TreeStack<R, SharedNodes<R>> sum(nodes);
      for_vector(memory, registers, [&](int c, R(&v)[E]) { sum.push(sum_of(c, v)); });
      return {sqrt(sum.finish()), scale};
    }
  }

  // ---- general: workers that send whole vectors
  __device__ __forceinline__ void keep_message(int c, const R (&v)[E]) {
    if constexpr (layout == Layout::registers) {
#pragma unroll
      for (int e = 0; e < E; ++e) message_[e] = v[e];
    } else {
      store_row(message_of_path_ + c, dim() - c, v);
    }
  }

  /// Adds to the sum what becomes of the message kept.
  __device__ __forceinline__ void add_whole(const WorkerSpec<R>& worker, std::uint64_t message, R (&sum)[E]) {
    const bool largest = spec_.compressor == CompressorKind::top_k;
    BitsOf<R> kth = 0;
    std::uint32_t left = 0;
    ScaledNorm<R> norm{R(0), R(1)};
    if (largest) {
      find_largest(static_cast<std::uint32_t>(worker.keep), kth, left);
    } else {
      norm = norm_of(message_of_path_, message_);
    }
    for_vector(message_of_path_, message_, [&](int c, R(&v)[E]) {
      if (largest) {
        keep_largest_of_chunk(c, kth, left, v);
      } else if (spec_.compressor == CompressorKind::qsgd) {
        std::uint32_t drawn[E];
        draw_words(message, c, drawn);
#pragma unroll
        for (int e = 0; e < E; ++e) v[e] = quantised(v[e], norm, spec_.levels, word_uniform<R>(drawn[e]));
      } else if (spec_.method == MethodKind::clipped_dsgd) {
#pragma unroll
        for (int e = 0; e < E; ++e) v[e] = clipped(v[e], norm, spec_.clip);
      } else {
#pragma unroll
        for (int e = 0; e < E; ++e) v[e] = normalised(v[e], norm);
      }
      if constexpr (layout == Layout::registers) {
#pragma unroll
        for (int e = 0; e < E; ++e) sum[e] = sum[e] + v[e];
      } else {
        R so_far[E];
        load_row(sum_of_path_ + c, dim() - c, so_far);
#pragma unroll
        for (int e = 0; e < E; ++e) so_far[e] = so_far[e] + v[e];
        store_row(sum_of_path_ + c, dim() - c, so_far);
      }
    });
  }

  /// As keep_largest of compressors.hpp: the k-th largest size, and how many of that size are kept.
  __device__ __forceinline__ void find_largest(std::uint32_t k, BitsOf<R>& kth, std::uint32_t& left) {
    const auto count = [&](BitsOf<R> least) {
      std::uint32_t n = 0;
      for_vector(message_of_path_, message_, [&](int c, R(&v)[E]) {
#pragma unroll
        for (int e = 0; e < E; ++e) n += c + e < dim() && size_bits(v[e]) >= least ? 1u : 0u;
      });
      return lanes_.sum(n);
    };
#pragma unroll 1
    for (int bit = bits_per_lane<R> - 2; bit >= 0; --bit) {
      const BitsOf<R> least = kth | BitsOf<R>(BitsOf<R>(1) << bit);
      if (count(least) >= k) kth = least;
    }
    left = k - count(kth + 1);
  }
  /// Sets to 0 what is not among the largest; chunks come in order.
  __device__ __forceinline__ void keep_largest_of_chunk(int c, BitsOf<R> kth, std::uint32_t& left, R (&v)[E]) {
    std::uint32_t equal = 0;
#pragma unroll
    for (int e = 0; e < E; ++e) equal += c + e < dim() && size_bits(v[e]) == kth ? 1u : 0u;
    std::uint32_t all;
    std::uint32_t before = lanes_.sum_before(equal, all);
#pragma unroll
    for (int e = 0; e < E; ++e) {
      const BitsOf<R> key = size_bits(v[e]);
      const bool kept = key > kth || (key == kth && before < left);
      before += key == kth ? 1u : 0u;
      if (!kept) v[e] = R(0);
    }
    left = left > all ? left - all : 0u;
  }

  // ---- general: the step, from the sum of the workers' messages
  __device__ __forceinline__ R adaptive_factor_here(R (&sum)[E]) {
    const AdaptiveSpec<R>& a = spec_.adaptive;
    if (a.kind == AdaptiveKind::none) return R(1);
    if (a.kind == AdaptiveKind::hessian_norm)
      return adaptive_factor_of_hessian<R>(a, layout == Layout::dense ? a.hessian : Base::largest_second());
    ScaledNorm<R> norm;
    if (a.stochastic) {
      norm = norm_of(sum_of_path_, sum);
    } else {
      norm = norm_of(layout == Layout::registers ? nullptr : Base::g_of_path_, g_);
    }
    const R size = norm.root / norm.scale;
    return adaptive_factor<R>(a, a.stochastic ? size * (R(1) / static_cast<R>(spec_.n_workers)) : size);
  }

  /// of_sum: -eta_k / N, the step of the sum of messages.
  __device__ __forceinline__ void move(std::uint64_t k, R of_sum, R (&sum)[E]) {
    const R workers = static_cast<R>(spec_.n_workers), part = R(1) / workers;
    const R a = adaptive_factor_here(sum);
    if (spec_.sums != SumKind::none) Base::add_sums(R(0) - (of_sum * workers) * a);
    const bool server = spec_.method == MethodKind::dnsgd && !spec_.each_worker,
               heavy_ball = spec_.method == MethodKind::heavy_ball, adam = spec_.method == MethodKind::adam;
    const R by = server || heavy_ball || adam ? (of_sum * workers) * a : of_sum * a;
    ScaledNorm<R> norm{R(0), R(1)};
    if (server) norm = norm_of(sum_of_path_, sum);
    R correct_m = R(0), correct_u = R(0);
    if (adam) {
      const double n = static_cast<double>(k + 1);
      correct_m = static_cast<R>(bias_correction(spec_.log_beta1, n));
      correct_u = static_cast<R>(sqrt(bias_correction(spec_.log_beta2, n)));
    }
    for_vector(sum_of_path_, sum, [&](int c, R(&v)[E]) {
      if (server) {
#pragma unroll
        for (int e = 0; e < E; ++e) v[e] = normalised(v[e], norm);
      } else if (heavy_ball) {
        change_state(0, c, [&](R(&velocity)[E]) {
#pragma unroll
          for (int e = 0; e < E; ++e) v[e] = velocity[e] = fma(spec_.momentum, velocity[e], part * v[e]);
        });
      } else if (adam) {
        change_state(0, c, [&](R(&m)[E]) {
          change_state(1, c, [&](R(&u)[E]) {
#pragma unroll
            for (int e = 0; e < E; ++e) v[e] = adam_move<R>(spec_, part * v[e], correct_m, correct_u, m[e], u[e]);
          });
        });
      }
      if constexpr (layout == Layout::registers) {
#pragma unroll
        for (int e = 0; e < E; ++e) x_[e] = fma(by, v[e], x_[e]);
      } else {
        R x[E];
        load_row(x_of_path_ + c, dim() - c, x);
#pragma unroll
        for (int e = 0; e < E; ++e) x[e] = fma(by, v[e], x[e]);
        store_row(x_of_path_ + c, dim() - c, x);
      }
    });
  }

  // ---- general: what the method keeps from step to step
  __device__ __forceinline__ R* state_row(int i) const {
    return state_of_path_ + static_cast<std::int64_t>(i) * row_length(layout, dim());
  }
  template <class Use>
  __device__ __forceinline__ void change_state(int i, int c, Use&& use) {
    if constexpr (layout == Layout::registers) {
      use(state_[i]);
    } else {
      R v[E];
      load_row(state_row(i) + c, dim() - c, v);
      use(v);
      store_row(state_row(i) + c, dim() - c, v);
    }
  }
  __device__ __forceinline__ void load_method_state() {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i >= state_vectors(spec_.method)) break;
      if constexpr (layout == Layout::registers) {
#pragma unroll
        for (int e = 0; e < E; ++e) {
          const int c = lanes_.lane * E + e;
          state_[i][e] = segment_.from_start || c >= dim() ? R(0) : state_row(i)[c];
        }
      } else if (segment_.from_start) {
        for (int c = lanes_.lane; c < dim(); c += lanes_.count) state_row(i)[c] = R(0);
        __syncwarp();
      }
    }
  }
  __device__ __forceinline__ void store_method_state() {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (i >= state_vectors(spec_.method)) break;
#pragma unroll
      for (int e = 0; e < E; ++e) {
        const int c = lanes_.lane * E + e;
        if (c < dim()) state_row(i)[c] = state_[i][e];
      }
    }
  }

  LaneNoise<R, laws> noise_;
  PathWords words_;
  std::conditional_t<layout == Layout::registers, RegisterSubsets<R, E, together>, MemorySubsets<R, together>> subsets_;
  BlockReader<std::uint32_t, uniforms_per_block<R>> coordinate_words_;
  R* sum_of_path_ = nullptr;
  R* slope_of_path_ = nullptr;  // together only: of the gradient in the sum, and after it the variance of the noise
  // general only
  R *message_of_path_ = nullptr, *state_of_path_ = nullptr;
  R message_[E], state_[2][E];  // registers
};

template <class R, int E, LawFamily laws, Layout layout>
__global__ void __launch_bounds__(step_threads(layout), sizeof(R) == 8 ? 1 : 2)
    tile_kernel(const __grid_constant__ SimSpec<R> spec, const __grid_constant__ Segment<R> segment) {
  __shared__ SharedMemory<R, layout> shared;
  TileRun<R, E, laws, false, layout, Together::never>(spec, segment, shared).run();
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
inline constexpr int together_coordinates_of_two = 2;  // with more, two blocks would have too few registers each
#else
inline constexpr int together_coordinates_of_two = 4;
#endif
template <class R, int E, Layout layout>
__global__ void __launch_bounds__(step_threads(layout), sizeof(R) == 8 || E > together_coordinates_of_two ? 1 : 2)
    together_kernel(const __grid_constant__ SimSpec<R> spec, const __grid_constant__ Segment<R> segment) {
  __shared__ SharedMemory<R, layout> shared;
  TileRun<R, E, LawFamily::gaussian, false, layout, Together::always>(spec, segment, shared).run();
}

template <class R, int E, Layout layout>
__global__ void __launch_bounds__(step_threads(layout), 1)
    general_kernel(const __grid_constant__ SimSpec<R> spec, const __grid_constant__ Segment<R> segment) {
  __shared__ SharedMemory<R, layout> shared;
  TileRun<R, E, LawFamily::all, true, layout, Together::never>(spec, segment, shared).run();
}

}  // namespace pathbound::cuda
