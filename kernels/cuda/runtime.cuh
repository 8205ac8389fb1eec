// SPDX-License-Identifier: Apache-2.0
// The CUDA runtime behind owners: errors become DeviceError, and nothing throws while it is destroyed (on a device
// that has failed every call fails, cudaFree too).
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <exception>
#include <string>
#include <utility>

#include "kernels/simulate_cuda.hpp"

namespace pathbound::cuda {

/// An error about a device, by default the current one.
inline DeviceError device_error(const std::string& what, int device = -1) {
  const bool known = device >= 0 || cudaGetDevice(&device) == cudaSuccess;
  cudaGetLastError();  // an error that does not stay is dealt with here
  return DeviceError((known ? "CUDA device " + std::to_string(device) : std::string("CUDA")) + ": " + what);
}

/// Throws a DeviceError that says on which device what failed how.
inline void check_cuda(cudaError_t status, const char* what, int device = -1) {
  if (status == cudaSuccess) return;
  throw device_error(std::string(what) + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")",
                     device);
}

/// Makes a device the current one of this thread.
inline void choose_device(int device) { check_cuda(cudaSetDevice(device), "choosing it", device); }

/// Runs an algorithm of Thrust, whose exceptions become DeviceErrors too.
template <class Algorithm>
void check_thrust(const char* what, const Algorithm& algorithm) {
  try {
    algorithm();
  } catch (const std::exception& error) {
    throw device_error(std::string(what) + ": " + error.what());
  }
}

/// Memory of the current device, uninitialised.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(std::size_t size) : size_(size) {
    if (size == 0) return;
    void* data = nullptr;
    check_cuda(cudaMalloc(&data, size * sizeof(T)),
               ("allocating " + std::to_string(size * sizeof(T)) + " bytes").c_str());
    data_ = static_cast<T*>(data);
  }
  /// A copy of host data; null stays null.
  DeviceArray(const T* host, std::size_t size) : DeviceArray(host == nullptr ? 0 : size) {
    if (size_ > 0)
      check_cuda(cudaMemcpy(data_, host, size * sizeof(T), cudaMemcpyHostToDevice), "copying to the device");
  }
  ~DeviceArray() {
    if (data_ != nullptr) cudaFree(data_);
  }
  DeviceArray(DeviceArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  T* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Host memory that copies to and from while kernels run.
template <class T>
class PinnedArray {
 public:
  PinnedArray() = default;
  explicit PinnedArray(std::size_t size) {
    void* data = nullptr;
    if (size > 0) check_cuda(cudaMallocHost(&data, size * sizeof(T)), "allocating pinned host memory");
    data_ = static_cast<T*>(data);
  }
  ~PinnedArray() {
    if (data_ != nullptr) cudaFreeHost(data_);
  }
  PinnedArray(PinnedArray&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  PinnedArray& operator=(PinnedArray&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  T* data() const { return data_; }
  const T& operator[](std::size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
};

class Stream {
 public:
  Stream() { check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// A point in a stream: to wait for, from the host without burning a core, and to measure time from.
class Event {
 public:
  Event() { check_cuda(cudaEventCreateWithFlags(&event_, cudaEventBlockingSync), "making an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(const Stream& stream) { check_cuda(cudaEventRecord(event_, stream.get()), "recording an event"); }
  void wait(const char* what) { check_cuda(cudaEventSynchronize(event_), what); }
  void hold(const Stream& stream) { check_cuda(cudaStreamWaitEvent(stream.get(), event_, 0), "ordering two streams"); }
  /// Seconds since `earlier`; both have happened.
  double since(const Event& earlier) const {
    float milliseconds = 0.0f;
    check_cuda(cudaEventElapsedTime(&milliseconds, earlier.event_, event_), "reading the device's clock");
    return 1e-3 * static_cast<double>(milliseconds);
  }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace pathbound::cuda
