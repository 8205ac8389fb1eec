// SPDX-License-Identifier: Apache-2.0
// One coordinate, one worker, a path a lane: x stays in a register, and the variates of a Philox block serve as many
// steps.
#pragma once
#include "kernels/cuda/noise.cuh"
#include "kernels/cuda/segment.cuh"
#include "kernels/objectives.hpp"

namespace pathbound::cuda {

template <class R, class Objective>
class ScalarRun {
 public:
  __device__ __forceinline__ ScalarRun(const SimSpec<R>& spec, const Segment<R>& segment, const Objective& objective)
      : spec_(spec),
        segment_(segment),
        f_(objective),
        local_(blockIdx.x * blockDim.x + threadIdx.x),
        words_(segment.keys, segment.first_path, local_) {}

  template <LawFamily laws>
  __device__ __forceinline__ void run() {
    if (local_ >= segment_.n_paths) return;
    x_ = segment_.from_start ? spec_.start[0] : segment_.x[local_];
    alive_ = segment_.from_start || segment_.alive[local_] != 0;
    static_assert(laws != LawFamily::all);
    if constexpr (laws == LawFamily::student_t) {
      switch (t_form(spec_.law.nu)) {
        case TForm::nu1:
          run_form<TForm::nu1>();
          break;
        case TForm::nu2:
          run_form<TForm::nu2>();
          break;
        case TForm::one_factor:
          run_form<TForm::one_factor>();
          break;
        default:
          run_form<TForm::two_factors>();
          break;
      }
    } else {
      run_method<normals_per_block<R>>(BlockNormals<R>(segment_.zero));
    }
    segment_.x[local_] = x_;
    segment_.alive[local_] = alive_ ? 1 : 0;
  }

 private:
  template <TForm form>
  __device__ __forceinline__ void run_form() {
    const double nu = spec_.law.nu;
    run_method<pairs_per_block<R>>([nu](const OrderedWords& words, std::uint32_t block, R(&z)[pairs_per_block<R>]) {
      BitsOf<R> w[4];
      words.block<R>(block, w);
      student_t_of_block<form, R>(w, nu, z);
    });
  }
  template <int V, class Make>
  __device__ __forceinline__ void run_method(Make&& make) {
    if (spec_.method == MethodKind::dsignsgd) {
      run_steps<V>(make, [](R v) { return sign(v); });
    } else {
      run_steps<V>(make, [](R v) { return v; });
    }
  }

  template <int V, class Make, class Message>
  __device__ __forceinline__ void run_steps(Make& make, Message&& message) {
    if (segment_.factors == nullptr) {
      run_blocks<V>(make, message, [factor = segment_.factor](std::uint32_t) { return factor; });
    } else {
      run_blocks<V>(make, message, [this](std::uint32_t k) { return segment_.factors[k]; });
    }
  }

  /// V steps a Philox block; the first step of a segment begins one. Nothing is asked between the steps of a block but
  /// in those in which something is due: a record, the segment's end, or (after 2^34 steps) a new high word of the
  /// block number.
  template <int V, class Make, class Message, class Factor>
  __device__ __forceinline__ void run_blocks(Make& make, Message& message, Factor&& factor) {
    const R scale = spec_.workers[0].scale;
    const auto steps = static_cast<std::uint32_t>(segment_.last_step - segment_.first_step);
    std::uint32_t due = next_due();
    if (due == 0 && next_ < segment_.n_checkpoints) due = record();
    if (steps == 0) return;
    const std::uint64_t first = segment_.first_step / V;
    const auto first_low = static_cast<std::uint32_t>(first);
    auto high = static_cast<std::uint32_t>(first >> 32);
    std::uint32_t block = first_low;
    words_.seek(high);
    for (;;) {
      // The block in which the next thing is due.
      const std::uint32_t wanted = first_low + (due - 1) / V, special = wanted < block ? ~std::uint32_t{0} : wanted;
      R z[V];
#pragma unroll 1
      for (;; ++block) {
        make(words_, block, z);
        if (block == special) break;
#pragma unroll
        for (int i = 0; i < V; ++i) step(message, z[i], scale, factor((block - first_low) * V + i));
      }
      std::uint32_t k = (block - first_low) * V;
#pragma unroll
      for (int i = 0; i < V; ++i) {
        step(message, z[i], scale, factor(k));
        if (++k == due) {
          if (next_ < segment_.n_checkpoints) due = record();
          if (k == steps) return;
        }
      }
      if (++block == 0) words_.seek(++high);
    }
  }
  template <class Message>
  __device__ __forceinline__ void step(Message& message, R z, R scale, R factor) {
    const R v = fma(scale, z, f_.gradient(x_, 0));
    x_ = fma(factor, message(v), x_);
  }

  /// Takes the record that is due; returns when the next one is.
  __device__ __forceinline__ std::uint32_t record() {
    const R s = f_.value(x_, 0);
    alive_ = alive_ && abs(s) <= segment_.limit;
    const std::uint64_t at = static_cast<std::uint64_t>(static_cast<std::uint32_t>(next_)) * segment_.n_paths + local_;
    segment_.value[at] = alive_ ? s : math_detail::quiet_nan<R>();
    segment_.largest[at] = abs(f_.gradient(x_, 0));
    ++next_;
    return next_due();
  }
  /// The step of the segment at which the next record is due, or its end.
  __device__ __forceinline__ std::uint32_t next_due() const {
    const std::uint64_t step = next_ < segment_.n_checkpoints ? segment_.checkpoints[next_] : segment_.last_step;
    return static_cast<std::uint32_t>(step - segment_.first_step);
  }

  const SimSpec<R>& spec_;
  const Segment<R>& segment_;
  const Objective f_;
  const std::uint32_t local_;
  OrderedWords words_;
  R x_;
  bool alive_;
  int next_ = 0;  // record
};

template <class R, class Objective, LawFamily laws>
__global__ void __launch_bounds__(step_threads(Layout::registers), 4)
    scalar_kernel(const __grid_constant__ SimSpec<R> spec, const __grid_constant__ Segment<R> segment) {
  ScalarRun<R, Objective>(spec, segment, Objective(spec.objective)).template run<laws>();
}

/// The objective chosen at run time, for double: there the arithmetic outweighs everything else.
template <class R>
struct AnySeparable {
  const ObjectiveSpec<R>& spec;
  __device__ __forceinline__ explicit AnySeparable(const ObjectiveSpec<R>& s) : spec(s) {}
  __device__ __forceinline__ R value(R x, int j) const {
    R r;
    with_separable<R>(spec, [&](const auto& f) { r = f.value(x, j); });
    return r;
  }
  __device__ __forceinline__ R gradient(R x, int j) const {
    R r;
    with_separable<R>(spec, [&](const auto& f) { r = f.gradient(x, j); });
    return r;
  }
};

}  // namespace pathbound::cuda
