// SPDX-License-Identifier: Apache-2.0
// The device's own answers for `pathbound verify`: random words by cuRAND, values of the elementary functions.
#include <curand_kernel.h>

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "kernels/cuda/root.hpp"
#include "kernels/cuda/runtime.cuh"
#include "kernels/function_table.hpp"
#include "kernels/simulate_cuda.hpp"

namespace pathbound {
namespace {

using cuda::check_cuda;
using cuda::DeviceArray;

template <class T>
DeviceArray<T> on_device(const std::vector<T>& values) {
  return DeviceArray<T>(values.data(), values.size());
}
/// Waits for the kernels before it, so what they did wrong comes to light here at the latest.
template <class T>
std::vector<T> from_device(const DeviceArray<T>& array, const char* what) {
  check_cuda(cudaGetLastError(), what);
  check_cuda(cudaDeviceSynchronize(), what);
  std::vector<T> values(array.size());
  check_cuda(cudaMemcpy(values.data(), array.data(), array.size() * sizeof(T), cudaMemcpyDeviceToHost), what);
  return values;
}

constexpr int threads = 128;
int blocks_for(std::size_t n) { return static_cast<int>((n + threads - 1) / threads); }

/// By cuRAND's public interface alone. An offset counts words in 64 bits, four to a block, so the top two bits of the
/// block number do not fit into it: those are skipped, 2^63 words at a time.
__global__ void curand_words(std::uint64_t seed, std::uint64_t n, const std::uint64_t* path, const std::uint64_t* block,
                             std::uint32_t* out) {
  const std::uint64_t i = blockIdx.x * static_cast<std::uint64_t>(blockDim.x) + threadIdx.x;
  if (i >= n) return;
  curandStatePhilox4_32_10_t state;
  curand_init(static_cast<unsigned long long>(seed), static_cast<unsigned long long>(path[i]),
              static_cast<unsigned long long>(block[i] << 2), &state);
  for (std::uint64_t top = 2 * (block[i] >> 62); top > 0; --top) skipahead(1ull << 63, &state);
  const uint4 words = curand4(&state);
  out[4 * i] = words.x;
  out[4 * i + 1] = words.y;
  out[4 * i + 2] = words.z;
  out[4 * i + 3] = words.w;
}

/// Both forms of the square root answer as one, NaN where they differ.
__device__ float same_root(float x, float root) {
  return x < 0x1p-101f || !(x < 0x1p127f) || sqrt_in_range(x) == root ? root : math_detail::quiet_nan<float>();
}
__device__ double same_root(double, double root) { return root; }

template <class R>
__global__ void function_values(int function, std::uint64_t n, const R* x, R* out) {
  const std::uint64_t i = blockIdx.x * static_cast<std::uint64_t>(blockDim.x) + threadIdx.x;
  if (i >= n) return;
  const R value = function_value<R>(function, x[i]);
  out[i] = function == static_cast<int>(Function::root) ? same_root(x[i], value) : value;
}

}  // namespace

std::vector<std::uint32_t> cuda_random_words(int device, std::uint64_t seed, const std::vector<std::uint64_t>& path,
                                             const std::vector<std::uint64_t>& block) {
  if (path.size() != block.size()) throw std::invalid_argument("cuda_random_words: one block a path");
  if (path.empty()) return {};
  cuda::choose_device(device);
  const DeviceArray<std::uint64_t> paths = on_device(path), blocks = on_device(block);
  const DeviceArray<std::uint32_t> out(4 * path.size());
  curand_words<<<blocks_for(path.size()), threads>>>(seed, path.size(), paths.data(), blocks.data(), out.data());
  return from_device(out, "computing random words");
}

template <class R>
std::vector<R> cuda_function_values(int device, int function, const std::vector<R>& x) {
  if (x.empty()) return {};
  cuda::choose_device(device);
  const DeviceArray<R> arguments = on_device(x);
  const DeviceArray<R> out(x.size());
  function_values<R><<<blocks_for(x.size()), threads>>>(function, x.size(), arguments.data(), out.data());
  return from_device(out, "computing elementary functions");
}
template std::vector<float> cuda_function_values<float>(int, int, const std::vector<float>&);
template std::vector<double> cuda_function_values<double>(int, int, const std::vector<double>&);

}  // namespace pathbound
