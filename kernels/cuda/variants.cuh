// SPDX-License-Identifier: Apache-2.0
// The step kernels of variants.def as tables, to choose from at run time.
#pragma once
#include <vector>

#include "kernels/cuda/law_family.cuh"
#include "kernels/cuda/segment.cuh"

namespace pathbound::cuda {

template <class R>
using StepKernel = void (*)(SimSpec<R>, Segment<R>);

template <class R>
struct Variant {
  const char* name;
  StepKernel<R> kernel;
  bool scalar;              ///< else a tile
  bool any_objective;       ///< scalar: chosen at run time
  ObjectiveKind objective;  ///< scalar, if not any_objective
  LawFamily laws;
  int coordinates;        ///< tile: a lane's
  Layout layout;          ///< tile
  bool model = false;     ///< of an SDE model
  bool general = false;   ///< of a method with more than the first components (is_general)
  bool together = false;  ///< of workers drawn together, else none or all of those
};

std::vector<Variant<float>> scalar_float_variants();
std::vector<Variant<float>> tile_float_variants();
std::vector<Variant<double>> double_variants();
std::vector<Variant<float>> general_float_variants();
std::vector<Variant<double>> general_double_variants();
std::vector<Variant<float>> together_float_variants();
std::vector<Variant<double>> together_double_variants();
std::vector<Variant<float>> model_float_variants();
std::vector<Variant<double>> model_double_variants();

/// All of one precision, in the order of variants.def.
template <class R>
std::vector<Variant<R>> step_variants() {
  std::vector<Variant<R>> all;
  const auto add = [&](const std::vector<Variant<R>>& more) { all.insert(all.end(), more.begin(), more.end()); };
  if constexpr (sizeof(R) == 4) {
    add(scalar_float_variants());
    add(tile_float_variants());
    add(general_float_variants());
    add(together_float_variants());
    add(model_float_variants());
  } else {
    add(double_variants());
    add(general_double_variants());
    add(together_double_variants());
    add(model_double_variants());
  }
  return all;
}

}  // namespace pathbound::cuda
