// SPDX-License-Identifier: Apache-2.0
// The step kernels of variants.def as tables, to choose from at run time.
#pragma once
#include <vector>

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
  bool any_law;             ///< else gaussian only
  int coordinates;          ///< tile: a lane's
  Layout layout;            ///< tile
};

std::vector<Variant<float>> scalar_float_variants();
std::vector<Variant<float>> tile_float_variants();
std::vector<Variant<double>> double_variants();

/// All of one precision, in the order of variants.def.
template <class R>
std::vector<Variant<R>> step_variants() {
  if constexpr (sizeof(R) == 4) {
    std::vector<Variant<R>> all = scalar_float_variants();
    for (const Variant<R>& variant : tile_float_variants()) all.push_back(variant);
    return all;
  } else {
    return double_variants();
  }
}

}  // namespace pathbound::cuda
