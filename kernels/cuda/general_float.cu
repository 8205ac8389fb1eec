// SPDX-License-Identifier: Apache-2.0
// Every method, compressor and law, float.
#include "kernels/cuda/tile.cuh"

namespace pathbound::cuda {

#define GENERAL_double(name, coordinates, layout)
#define GENERAL_float(name, coordinates, layout)                    \
  {#name,       general_kernel<float, coordinates, Layout::layout>, \
   false,       true,                                               \
   {},          LawFamily::all,                                     \
   coordinates, Layout::layout,                                     \
   false,       true},
#define GENERAL(name, real, coordinates, layout) GENERAL_##real(name, coordinates, layout)

std::vector<Variant<float>> general_float_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
