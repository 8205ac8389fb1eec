// SPDX-License-Identifier: Apache-2.0
// The step kernels in double.
#include "kernels/cuda/scalar.cuh"
#include "kernels/cuda/tile.cuh"

namespace pathbound::cuda {

#define SCALAR_float(name, objective, kind, any_law)
#define SCALAR_double(name, objective, kind, any_law) \
  {#name, scalar_kernel<double, objective, any_law>, true, true, {}, any_law, 1, Layout::registers},
#define SCALAR(name, real, objective, kind, any_law) SCALAR_##real(name, objective, kind, any_law)
#define TILE_float(name, coordinates, any_law, layout)
#define TILE_double(name, coordinates, any_law, layout)                                                             \
  {#name,         tile_kernel<double, coordinates, any_law, Layout::layout>, false, true, {}, any_law, coordinates, \
   Layout::layout},
#define TILE(name, real, coordinates, any_law, layout) TILE_##real(name, coordinates, any_law, layout)

std::vector<Variant<double>> double_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
