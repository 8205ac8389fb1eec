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
        words_(spec.seed, segment.first_path + local_) {}

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
      run_method<normals_per_block<R>>(
          [](const BitsOf<R>(&words)[4], R(&z)[normals_per_block<R>]) { normals_of_block<R>(words, z); });
    }
    segment_.x[local_] = x_;
    segment_.alive[local_] = alive_ ? 1 : 0;
  }

 private:
  template <TForm form>
  __device__ __forceinline__ void run_form() {
    const double nu = spec_.law.nu;
    run_method<pairs_per_block<R>>(
        [nu](const BitsOf<R>(&words)[4], R(&z)[pairs_per_block<R>]) { student_t_of_block<form, R>(words, nu, z); });
  }
  template <int V, class Make>
  __device__ __forceinline__ void run_method(Make&& make) {
    if (spec_.method == MethodKind::dsignsgd) {
      run_steps<V>(make, [](R v) { return sign(v); });
    } else {
      run_steps<V>(make, [](R v) { return v; });
    }
  }

  /// V steps a Philox block; the first step of a segment begins one.
  template <int V, class Make, class Message>
  __device__ __forceinline__ void run_steps(Make& make, Message&& message) {
    const R scale = spec_.workers[0].scale;
    const bool constant = segment_.factors == nullptr;
    R factor = segment_.factor;
    const int steps = static_cast<int>(segment_.last_step - segment_.first_step);
    int k = 0;
    arrive(k);
    std::uint64_t block = segment_.first_step / V;
#pragma unroll 1
    while (k < steps) {
      BitsOf<R> words[4];
      words_.template block<R>(block++, words);
      R z[V];
      make(words, z);
      if (until_ - k >= V) {
        if (constant) {
#pragma unroll
          for (int i = 0; i < V; ++i) step(message, z[i], scale, factor);
        } else {
#pragma unroll
          for (int i = 0; i < V; ++i) step(message, z[i], scale, segment_.factors[k + i]);
        }
        k += V;
        if (k == until_) arrive(k);
      } else {
#pragma unroll 1
        for (int i = 0; i < V && k < steps; ++i) {
          if (!constant) factor = segment_.factors[k];
          step(message, pick(z, i), scale, factor);
          if (++k == until_) arrive(k);
        }
      }
    }
  }
  template <class Message>
  __device__ __forceinline__ void step(Message& message, R z, R scale, R factor) {
    const R v = fma(scale, z, f_.gradient(x_, 0));
    x_ = fma(factor, message(v), x_);
  }

  /// After k steps of the segment: takes the record that may be due, and sets until when nothing is.
  __device__ __forceinline__ void arrive(int k) {
    if (next_ < segment_.n_checkpoints && segment_.checkpoints[next_] == segment_.first_step + k) {
      const R s = f_.value(x_, 0);
      alive_ = alive_ && abs(s) <= segment_.limit;
      const std::int64_t at = static_cast<std::int64_t>(next_) * segment_.n_paths + local_;
      segment_.value[at] = alive_ ? s : math_detail::quiet_nan<R>();
      segment_.largest[at] = abs(f_.gradient(x_, 0));
      ++next_;
    }
    const std::uint64_t target = next_ < segment_.n_checkpoints ? segment_.checkpoints[next_] : segment_.last_step;
    until_ = static_cast<int>(target - segment_.first_step);
  }

  const SimSpec<R>& spec_;
  const Segment<R>& segment_;
  const Objective f_;
  const std::uint32_t local_;
  PathWords words_;
  R x_;
  bool alive_;
  int next_ = 0;   // record
  int until_ = 0;  // step of the segment at which the next record is due, or its end
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
