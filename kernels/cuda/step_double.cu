// SPDX-License-Identifier: Apache-2.0
// The step kernels in double.
#include "kernels/cuda/scalar.cuh"
#include "kernels/cuda/tile.cuh"

namespace pathbound::cuda {

#define SCALAR_float(name, objective, kind, laws)
#define SCALAR_double(name, objective, kind, laws) \
  {#name, scalar_kernel<double, objective, LawFamily::laws>, true, true, {}, LawFamily::laws, 1, Layout::registers},
#define SCALAR(name, real, objective, kind, laws) SCALAR_##real(name, objective, kind, laws)
#define TILE_float(name, coordinates, laws, layout)
#define TILE_double(name, coordinates, laws, layout)                               \
  {#name,       tile_kernel<double, coordinates, LawFamily::laws, Layout::layout>, \
   false,       true,                                                              \
   {},          LawFamily::laws,                                                   \
   coordinates, Layout::layout},
#define TILE(name, real, coordinates, laws, layout) TILE_##real(name, coordinates, laws, layout)

std::vector<Variant<double>> double_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
