// SPDX-License-Identifier: Apache-2.0
// Compiles every kernel header into real kernels: kernels/ is written once for device and host, and this keeps it so.
// Each thread takes one block of 32 paths through the time loop that the CPU runs. The CUDA backend itself, with its
// tiles of lanes, comes with the backend `cuda`.
#include "kernels/compressors.hpp"
#include "kernels/objectives.hpp"
#include "kernels/path.hpp"
#include "kernels/philox.hpp"
#include "kernels/real.hpp"
#include "kernels/reduce.hpp"
#include "kernels/sampling.hpp"
#include "kernels/schedules.hpp"
#include "kernels/spec.hpp"
#include "kernels/statistics.hpp"

namespace pathbound {

template <class R>
__global__ void run_blocks(SimSpec<R> spec, std::uint64_t n_blocks, R* rows, double* doubles, Record* records,
                           std::uint16_t* bins) {
  const std::uint64_t block = blockIdx.x * static_cast<std::uint64_t>(blockDim.x) + threadIdx.x;
  if (block >= n_blocks) return;
  BlockOutput out;
  out.records = records + block * spec.n_checkpoints;
  out.bins = bins + block * spec.n_checkpoints * block_paths;
  out.bins_stride = block_paths;
  BlockRun<R, block_paths> run(spec, block, rows + block * workspace_rows(spec) * block_paths,
                               doubles + block * workspace_doubles(spec), out);
  run.run();
}
template __global__ void run_blocks<float>(SimSpec<float>, std::uint64_t, float*, double*, Record*, std::uint16_t*);
template __global__ void run_blocks<double>(SimSpec<double>, std::uint64_t, double*, double*, Record*, std::uint16_t*);

/// The upper part of the tree: siblings merge in place.
__global__ void merge_level(Record* nodes, std::uint64_t n_nodes, std::uint64_t stride) {
  const std::uint64_t left = 2 * stride * (blockIdx.x * static_cast<std::uint64_t>(blockDim.x) + threadIdx.x);
  if (left + stride < n_nodes) merge(nodes[left], nodes[left + stride]);
}

}  // namespace pathbound
