// SPDX-License-Identifier: Apache-2.0
// Every method, compressor and law, double.
#include "kernels/cuda/tile.cuh"

namespace pathbound::cuda {

#define GENERAL_float(name, coordinates, layout)
#define GENERAL_double(name, coordinates, layout)                    \
  {#name,       general_kernel<double, coordinates, Layout::layout>, \
   false,       true,                                                \
   {},          LawFamily::all,                                      \
   coordinates, Layout::layout,                                      \
   false,       true},
#define GENERAL(name, real, coordinates, layout) GENERAL_##real(name, coordinates, layout)

std::vector<Variant<double>> general_double_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
