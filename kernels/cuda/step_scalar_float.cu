// SPDX-License-Identifier: Apache-2.0
// One coordinate, one worker, float.
#include "kernels/cuda/scalar.cuh"
#include "kernels/cuda/variants.cuh"

namespace pathbound::cuda {

#define SCALAR_double(name, objective, kind, laws)
#define SCALAR_float(name, objective, kind, laws)    \
  {#name,                                            \
   scalar_kernel<float, objective, LawFamily::laws>, \
   true,                                             \
   false,                                            \
   ObjectiveKind::kind,                              \
   LawFamily::laws,                                  \
   1,                                                \
   Layout::registers},
#define SCALAR(name, real, objective, kind, laws) SCALAR_##real(name, objective, kind, laws)

std::vector<Variant<float>> scalar_float_variants() {
  return {
#include "kernels/cuda/variants.def"
  };
}

}  // namespace pathbound::cuda
