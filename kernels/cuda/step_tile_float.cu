// SPDX-License-Identifier: Apache-2.0
// Any number of coordinates and workers, float.
#include "kernels/cuda/tile.cuh"

namespace pathbound::cuda {

#define TILE_double(name, coordinates, laws, layout)
#define TILE_float(name, coordinates, laws, layout)                               \
  {#name,       tile_kernel<float, coordinates, LawFamily::laws, Layout::layout>, \
   false,       true,                                                             \
   {},          LawFamily::laws,                                                  \
   coordinates, Layout::layout},
#define TILE(name, real, coordinates, laws, layout) TILE_##real(name, coordinates, laws, layout)

std::vector<Variant<float>> tile_float_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
