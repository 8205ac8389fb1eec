// SPDX-License-Identifier: Apache-2.0
#include "host/backend.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "host/experiment.hpp"

namespace pathbound {

namespace {

/// The numbers of "0,1,2".
std::vector<int> parse_devices(const std::string& text) {
  std::vector<int> ids;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(',', start), text.size());
    int id = -1;
    const char* stop = text.data() + end;
    const auto [rest, error] = std::from_chars(text.data() + start, stop, id);
    if (error != std::errc{} || rest != stop || id < 0)
      throw InputError(fmt::format(
          "--devices {}: must be numbers of devices with commas between them, such as 0 or 0,1 (see pathbound list "
          "devices)",
          text));
    if (std::find(ids.begin(), ids.end(), id) != ids.end())
      throw InputError(fmt::format("--devices {}: device {} is named twice (each once)", text, id));
    ids.push_back(id);
    start = end + 1;
  }
  return ids;
}

const DeviceInfo* find_device(const std::vector<DeviceInfo>& devices, int id) {
  const auto found =
      std::find_if(devices.begin(), devices.end(), [&](const DeviceInfo& device) { return device.id == id; });
  return found == devices.end() ? nullptr : &*found;
}

}  // namespace

const char* name_of(Backend backend) { return backend == Backend::cuda ? "cuda" : "cpu"; }

CudaOffer cuda_offer() {
  CudaOffer offer;
  offer.built = cuda_built();
  offer.devices = cuda_devices(offer.why);
  offer.start = [](int id) -> std::string {
    try {
      cuda_free_memory(id);
      return {};
    } catch (const DeviceError& error) {
      return error.what();
    }
  };
  return offer;
}

BackendChoice choose_backend(const std::string& backend, const std::string& devices,
                             const std::function<CudaOffer()>& offer) {
  const std::vector<int> ids = devices.empty() ? std::vector<int>{} : parse_devices(devices);
  BackendChoice choice;
  if (backend == "cpu") {
    if (!ids.empty())
      throw InputError(
          fmt::format("--devices {}: --backend cpu has no devices to choose from (--backend cuda has)", devices));
    return choice;
  }
  CudaOffer have = offer();
  if (ids.empty()) {
    // The first device that starts.
    while (!have.devices.empty() && have.start) {
      const std::string why = have.start(have.devices.front().id);
      if (why.empty()) break;
      have.why += (have.why.empty() ? "" : "; ") + why;
      have.devices.erase(have.devices.begin());
    }
    if (!have.devices.empty() && !have.why.empty())
      choice.note = fmt::format("using {}: {}", describe({have.devices.front()}), have.why);
  }
  if (backend == "auto" && ids.empty()) {
    if (have.built && have.devices.empty())
      choice.note = fmt::format("no CUDA device is used: {} (the CPU gives the same bits)", have.why);
  } else if (!have.built) {
    // Who names devices without asking for cuda may not know that this build has none of them.
    if (backend == "auto")
      throw InputError(fmt::format("--devices {}: this build has no CUDA backend, whose devices they are", devices));
    throw MachineError("--backend cuda: this build has no CUDA backend (use --backend cpu, the same bits)");
  } else if (have.devices.empty()) {
    throw MachineError(fmt::format("{}: no CUDA device can be used: {} (use --backend cpu, the same bits)",
                                   backend == "cuda" ? "--backend cuda" : "--devices " + devices, have.why));
  }
  if (have.devices.empty()) return choice;
  choice.backend = Backend::cuda;
  if (ids.empty()) choice.devices.push_back(have.devices.front());
  for (const int id : ids) {
    const DeviceInfo* device = find_device(have.devices, id);
    if (device == nullptr)
      throw InputError(fmt::format("--devices {}: there is no device {} (there {} {}{})", devices, id,
                                   have.devices.size() == 1 ? "is" : "are", describe(have.devices),
                                   have.why.empty() ? "" : "; not usable: " + have.why));
    choice.devices.push_back(*device);
  }
  return choice;
}

int tile_from_environment() {
  const char* wanted = std::getenv("PATHBOUND_TILE");
  if (wanted == nullptr || *wanted == '\0') return 0;
  constexpr std::array<std::string_view, 6> tiles = {"1", "2", "4", "8", "16", "32"};
  for (std::size_t i = 0; i < tiles.size(); ++i)
    if (wanted == tiles[i]) return 1 << i;
  throw InputError(fmt::format("PATHBOUND_TILE = {}: must be 1, 2, 4, 8, 16 or 32", wanted));
}

double launch_seconds_from_environment() {
  const char* wanted = std::getenv("PATHBOUND_LAUNCH_SECONDS");
  if (wanted == nullptr || *wanted == '\0') return CudaOptions().launch_seconds;
  const std::string_view text = wanted;
  double seconds = 0.0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || rest != text.data() + text.size() || !(seconds >= 1e-4 && seconds <= 1e4))
    throw InputError(fmt::format("PATHBOUND_LAUNCH_SECONDS = {}: must be a number from 0.0001 to 10000", wanted));
  return seconds;
}

std::string describe(const std::vector<DeviceInfo>& devices) {
  std::string text;
  for (const DeviceInfo& device : devices)
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", device.name, device.id);
  return text;
}

std::vector<DeviceInfo> find_devices(const std::vector<int>& ids) {
  if (ids.empty()) return {};
  std::string why;
  const std::vector<DeviceInfo> all = cuda_devices(why);
  std::vector<DeviceInfo> found;
  for (const int id : ids) {
    const DeviceInfo* device = find_device(all, id);
    if (device == nullptr)
      throw MachineError(fmt::format("there is no CUDA device {}{}", id, all.empty() ? ": " + why : std::string()));
    found.push_back(*device);
  }
  return found;
}

}  // namespace pathbound
