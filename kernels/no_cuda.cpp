// SPDX-License-Identifier: Apache-2.0
// In place of the cuda backend where a build has none.
#include "kernels/simulate_cuda.hpp"

namespace pathbound {
namespace {

constexpr const char* not_built = "this build has no CUDA backend";

}  // namespace

bool cuda_built() { return false; }

std::string cuda_versions() { return {}; }

std::vector<DeviceInfo> cuda_devices(std::string& why) {
  why = not_built;
  return {};
}

std::uint64_t cuda_free_memory(int) { throw DeviceError(not_built); }

template <class R>
CudaPlan plan_cuda(const SimSpec<R>&, const CudaOptions&, const DeviceInfo&) {
  throw DeviceError(not_built);
}
template CudaPlan plan_cuda<float>(const SimSpec<float>&, const CudaOptions&, const DeviceInfo&);
template CudaPlan plan_cuda<double>(const SimSpec<double>&, const CudaOptions&, const DeviceInfo&);

template <class R>
SimResult simulate_cuda(const SimSpec<R>&, const CudaOptions&) {
  throw DeviceError(not_built);
}
template SimResult simulate_cuda<float>(const SimSpec<float>&, const CudaOptions&);
template SimResult simulate_cuda<double>(const SimSpec<double>&, const CudaOptions&);

std::vector<std::string> cuda_kernel_names() { throw DeviceError(not_built); }

std::vector<std::uint32_t> cuda_random_words(int, std::uint64_t, const std::vector<std::uint64_t>&,
                                             const std::vector<std::uint64_t>&) {
  throw DeviceError(not_built);
}

template <class R>
std::vector<R> cuda_function_values(int, int, const std::vector<R>&) {
  throw DeviceError(not_built);
}
template std::vector<float> cuda_function_values<float>(int, int, const std::vector<float>&);
template std::vector<double> cuda_function_values<double>(int, int, const std::vector<double>&);

}  // namespace pathbound
