// SPDX-License-Identifier: Apache-2.0
// The SDE models, float.
#include "kernels/cuda/model.cuh"

namespace pathbound::cuda {

#define MODEL_double(name, coordinates, layout)
#define MODEL_float(name, coordinates, layout)                    \
  {#name,       model_kernel<float, coordinates, Layout::layout>, \
   false,       true,                                             \
   {},          LawFamily::all,                                   \
   coordinates, Layout::layout,                                   \
   true},
#define MODEL(name, real, coordinates, layout) MODEL_##real(name, coordinates, layout)

std::vector<Variant<float>> model_float_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
