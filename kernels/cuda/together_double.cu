// SPDX-License-Identifier: Apache-2.0
// Workers drawn together, double.
#include "kernels/cuda/tile.cuh"

namespace pathbound::cuda {

#define TOGETHER_float(name, coordinates, layout)
#define TOGETHER_double(name, coordinates, layout)                    \
  {#name,       together_kernel<double, coordinates, Layout::layout>, \
   false,       true,                                                 \
   {},          LawFamily::all,                                       \
   coordinates, Layout::layout,                                       \
   false,       false,                                                \
   true},
#define TOGETHER(name, real, coordinates, layout) TOGETHER_##real(name, coordinates, layout)

std::vector<Variant<double>> together_double_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
