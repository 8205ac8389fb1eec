// SPDX-License-Identifier: Apache-2.0
// The kernels compiled for the scalar form, for any CPU.
#include "kernels/real.hpp"
//
#include "kernels/cpu_kernels.inc"

namespace pathbound {

CpuKernels scalar_kernels() { return {run_block<float>, run_block<double>, merge_records<double>}; }

}  // namespace pathbound
