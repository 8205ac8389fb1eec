// SPDX-License-Identifier: Apache-2.0
// Which devices there are.
#include "kernels/cuda/runtime.cuh"

namespace pathbound {

namespace {

std::string dotted(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  cuda::check_cuda(cudaDeviceGetAttribute(&value, which, device), "asking for its properties", device);
  return value;
}

DeviceInfo describe(int device) {
  DeviceInfo info;
  info.id = device;
  cudaDeviceProp properties;
  cuda::check_cuda(cudaGetDeviceProperties(&properties, device), "asking for its properties", device);
  info.name = properties.name;
  info.major = properties.major;
  info.minor = properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.clock_ghz = 1e-6 * attribute(cudaDevAttrClockRate, device);
  info.memory = properties.totalGlobalMem;
  return info;
}

}  // namespace

bool cuda_built() { return true; }

std::string cuda_versions() {
  int driver = 0, runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
  return (driver == 0 ? std::string("no driver") : "driver " + dotted(driver)) + ", runtime " + dotted(runtime);
}

std::vector<DeviceInfo> cuda_devices(std::string& why) {
  why.clear();
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) cudaGetLastError();
  if (status == cudaErrorInsufficientDriver) {
    why = "the NVIDIA driver is missing, or too old for CUDA " + dotted(CUDART_VERSION);
    return {};
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    why = "no CUDA device";
    return {};
  }
  if (status != cudaSuccess) {
    why = std::string("CUDA does not start: ") + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")";
    return {};
  }
  std::vector<DeviceInfo> devices;
  for (int device = 0; device < count; ++device) {
    try {
      DeviceInfo info = describe(device);
      if (10 * info.major + info.minor < 75) {
        why = info.name + " has compute capability " + std::to_string(info.major) + "." + std::to_string(info.minor) +
              " (7.5 or later is needed)";
        continue;
      }
      devices.push_back(info);
    } catch (const DeviceError& error) {
      why = error.what();  // broken: the others may do
    }
  }
  return devices;
}

std::uint64_t cuda_free_memory(int device) {
  cuda::choose_device(device);
  std::size_t free = 0, total = 0;
  cuda::check_cuda(cudaMemGetInfo(&free, &total), "asking for its memory", device);
  return free;
}

}  // namespace pathbound
