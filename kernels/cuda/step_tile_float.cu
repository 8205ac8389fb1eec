// SPDX-License-Identifier: Apache-2.0
// Any number of coordinates and workers, float.
#include "kernels/cuda/tile.cuh"

namespace pathbound::cuda {

#define TILE_double(name, coordinates, any_law, layout)
#define TILE_float(name, coordinates, any_law, layout)                                                             \
  {#name,         tile_kernel<float, coordinates, any_law, Layout::layout>, false, true, {}, any_law, coordinates, \
   Layout::layout},
#define TILE(name, real, coordinates, any_law, layout) TILE_##real(name, coordinates, any_law, layout)

std::vector<Variant<float>> tile_float_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
