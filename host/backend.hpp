// SPDX-License-Identifier: Apache-2.0
// Where curves are simulated: the command line's --backend and --devices against what this machine has.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "kernels/simulate_cuda.hpp"

namespace pathbound {

enum class Backend : int { cpu, cuda };
const char* name_of(Backend backend);

/// What this build and this machine offer to the cuda backend.
struct CudaOffer {
  bool built = false;
  std::vector<DeviceInfo> devices;
  std::string why;  ///< why there are no devices
  /// Starts a device; why it does not start (in use by another process alone, say), or nothing. May be empty.
  std::function<std::string(int id)> start = {};
};
CudaOffer cuda_offer();

struct BackendChoice {
  Backend backend = Backend::cpu;
  std::vector<DeviceInfo> devices;  ///< in the order of --devices; none on the cpu
  std::string note;                 ///< a line for the user: why "auto" does not use the device; often empty
};

/// `backend` is auto, cpu or cuda; `devices` is a list such as "0,1", empty when not given. `offer` is asked only when
/// the answer matters: for the cpu no driver is started. Throws InputError for what does not fit together or is not
/// there while other devices are, MachineError when cuda is asked for and there is no device.
BackendChoice choose_backend(const std::string& backend, const std::string& devices,
                             const std::function<CudaOffer()>& offer = cuda_offer);

/// PATHBOUND_TILE, the lanes that share a path on a device; 0, the program's choice, when it is not set. Throws
/// InputError for anything but 1, 2, 4, 8, 16 and 32.
int tile_from_environment();

/// PATHBOUND_LAUNCH_SECONDS: about how long one launch on a device may run (a profiler likes long ones, a display short
/// ones). Changes no bit. Throws InputError for anything but a number from 0.0001 to 10000.
double launch_seconds_from_environment();

/// "NVIDIA A (0), NVIDIA A (1)": names and ids.
std::string describe(const std::vector<DeviceInfo>& devices);
/// The devices of these ids. Throws MachineError when one is not there.
std::vector<DeviceInfo> find_devices(const std::vector<int>& ids);

}  // namespace pathbound
