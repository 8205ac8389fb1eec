// SPDX-License-Identifier: Apache-2.0
// The cuda backend's entry points, without any CUDA type: cuda/simulate.cu where CUDA is built in, no_cuda.cpp where
// it is not. A SimSpec gives the same bits here as in simulate_cpu.
#pragma once
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/simulate.hpp"

namespace pathbound {

/// What a device or its driver cannot do, or has failed to do: one message for the user.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// One device this build can use.
struct DeviceInfo {
  int id = 0;  ///< as in --devices
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int multiprocessors = 0;
  double clock_ghz = 0.0;         ///< of the multiprocessors; 0: not known
  std::uint64_t memory = 0;       ///< bytes
  std::uint64_t free_memory = 0;  ///< bytes; 0: not asked for
};

/// Whether this build has the cuda backend.
bool cuda_built();
/// The CUDA versions at work, "driver 13.0, runtime 13.0"; empty without the backend.
std::string cuda_versions();
/// The devices this build can use; asks for their properties alone, which starts none of them. When there are none,
/// `why` says so in a few words (no driver, no device, too old, not built in). Does not throw.
std::vector<DeviceInfo> cuda_devices(std::string& why);

/// Bytes of memory that are free on a device, which is started if it has not been. Throws DeviceError.
std::uint64_t cuda_free_memory(int device);

struct CudaOptions {
  std::vector<int> devices = {0};  ///< whose blocks of paths are shared out; each once
  /// Lanes that share a path: 1, 2, 4, ..., 32, or 0 for the program's choice. Changes no bit.
  int tile = 0;
  double launch_seconds = 0.1;           ///< about how long one launch may run
  std::uint64_t launch_steps = 0;        ///< 0: as launch_seconds says; else at most so many steps a launch
  std::uint64_t wave_blocks = 0;         ///< 0: as memory allows; else at most so many blocks of 32 paths at once
  int segment_records = 0;               ///< 0: as memory allows; else at most so many checkpoints a launch
  std::function<void(double)> progress;  ///< as in SimOptions
  const std::atomic<bool>* stop = nullptr;
};

/// How one curve will run on one device.
struct CudaPlan {
  std::string kernel;            ///< its name in variants.def
  int tile = 1;                  ///< lanes that share a path
  std::uint64_t wave_paths = 0;  ///< paths at once
  std::uint64_t waves = 0;
  int segment_records = 0;  ///< checkpoints whose values are kept at once, at most
  std::uint64_t bytes = 0;  ///< device memory
};

/// The plan for `device`: of several, one with the least free memory and the most multiprocessors of them. Throws
/// DeviceError when the device's free memory is not enough.
template <class R>
CudaPlan plan_cuda(const SimSpec<R>& spec, const CudaOptions& options, const DeviceInfo& device);
extern template CudaPlan plan_cuda<float>(const SimSpec<float>&, const CudaOptions&, const DeviceInfo&);
extern template CudaPlan plan_cuda<double>(const SimSpec<double>&, const CudaOptions&, const DeviceInfo&);

/// Throws Interrupted, DeviceError.
template <class R>
SimResult simulate_cuda(const SimSpec<R>& spec, const CudaOptions& options);
extern template SimResult simulate_cuda<float>(const SimSpec<float>&, const CudaOptions&);
extern template SimResult simulate_cuda<double>(const SimSpec<double>&, const CudaOptions&);

/// The kernels of variants.def by name, in order.
std::vector<std::string> cuda_kernel_names();

// ---- for `pathbound verify`: the device's own answers
/// Words 4 * block .. of the plain generator, computed by the device through cuRAND: out[4 * i + w] for (seed, path[i],
/// block[i]).
std::vector<std::uint32_t> cuda_random_words(int device, std::uint64_t seed, const std::vector<std::uint64_t>& path,
                                             const std::vector<std::uint64_t>& block);
/// Values of the elementary functions (kernels/function_table.hpp) on the device.
template <class R>
std::vector<R> cuda_function_values(int device, int function, const std::vector<R>& x);
extern template std::vector<float> cuda_function_values<float>(int, int, const std::vector<float>&);
extern template std::vector<double> cuda_function_values<double>(int, int, const std::vector<double>&);

}  // namespace pathbound
