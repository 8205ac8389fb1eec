// SPDX-License-Identifier: Apache-2.0
// Workers drawn together, float.
#include "kernels/cuda/tile.cuh"

namespace pathbound::cuda {

#define TOGETHER_double(name, coordinates, layout)
#define TOGETHER_float(name, coordinates, layout)                    \
  {#name,       together_kernel<float, coordinates, Layout::layout>, \
   false,       true,                                                \
   {},          LawFamily::all,                                      \
   coordinates, Layout::layout,                                      \
   false,       false,                                               \
   true},
#define TOGETHER(name, real, coordinates, layout) TOGETHER_##real(name, coordinates, layout)

std::vector<Variant<float>> together_float_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
