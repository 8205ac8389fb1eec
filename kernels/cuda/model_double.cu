// SPDX-License-Identifier: Apache-2.0
// The SDE models, double.
#include "kernels/cuda/model.cuh"

namespace pathbound::cuda {

#define MODEL_float(name, coordinates, layout)
#define MODEL_double(name, coordinates, layout)                    \
  {#name,       model_kernel<double, coordinates, Layout::layout>, \
   false,       true,                                              \
   {},          LawFamily::all,                                    \
   coordinates, Layout::layout,                                    \
   true},
#define MODEL(name, real, coordinates, layout) MODEL_##real(name, coordinates, layout)

std::vector<Variant<double>> model_double_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
