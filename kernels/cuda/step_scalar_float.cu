// SPDX-License-Identifier: Apache-2.0
// One coordinate, one worker, float.
#include "kernels/cuda/scalar.cuh"
#include "kernels/cuda/variants.cuh"

namespace pathbound::cuda {

namespace {

template <class Objective>
constexpr ObjectiveKind kind_of();
template <>
constexpr ObjectiveKind kind_of<Quadratic<float>>() {
  return ObjectiveKind::quadratic;
}
template <>
constexpr ObjectiveKind kind_of<Quartic<float>>() {
  return ObjectiveKind::quartic;
}
template <>
constexpr ObjectiveKind kind_of<Cosh<float>>() {
  return ObjectiveKind::cosh;
}
template <>
constexpr ObjectiveKind kind_of<SinePl<float>>() {
  return ObjectiveKind::sine_pl;
}
template <>
constexpr ObjectiveKind kind_of<Saddle<float>>() {
  return ObjectiveKind::saddle;
}

#define SCALAR_double(name, objective, any_law)
#define SCALAR_float(name, objective, any_law) \
  {#name, scalar_kernel<float, objective, any_law>, true, false, kind_of<objective>(), any_law, 1, Layout::registers},
#define SCALAR(name, real, objective, any_law) SCALAR_##real(name, objective, any_law)

}  // namespace

std::vector<Variant<float>> scalar_float_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
