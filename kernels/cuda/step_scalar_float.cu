// SPDX-License-Identifier: Apache-2.0
// One coordinate, one worker, float.
#include "kernels/cuda/scalar.cuh"
#include "kernels/cuda/variants.cuh"

namespace pathbound::cuda {

#define SCALAR_double(name, objective, kind, any_law)
#define SCALAR_float(name, objective, kind, any_law) \
  {#name, scalar_kernel<float, objective, any_law>, true, false, ObjectiveKind::kind, any_law, 1, Layout::registers},
#define SCALAR(name, real, objective, kind, any_law) SCALAR_##real(name, objective, kind, any_law)

std::vector<Variant<float>> scalar_float_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
