// SPDX-License-Identifier: Apache-2.0
// Entry points of the engine: a SimSpec in, statistics at every checkpoint out.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/spec.hpp"
#include "kernels/statistics.hpp"

namespace pathbound {

inline constexpr std::array<double, 5> curve_quantiles = {0.05, 0.25, 0.5, 0.75, 0.95};

/// What one kernel of a device took, over all its launches.
struct KernelTime {
  std::string kernel;
  double seconds = 0.0;
  std::uint64_t launches = 0;
};

/// Statistics of one curve. All vectors have one entry per checkpoint.
struct SimResult {
  std::vector<Record> records;
  /// Quantiles of S over all n paths (diverged ones count as the largest): quiet NaN where the order statistic is a
  /// diverged path.
  std::array<std::vector<double>, 5> quantiles;
  /// Means of S over groups of equally many blocks (between 64 and 127 groups; fewer when there are fewer than 64
  /// blocks), for median-of-means bands: group_means[checkpoint][group]. A group with a diverged path has NaN.
  std::uint64_t group_paths = 0;  ///< of each group
  std::vector<std::vector<double>> group_means;
  double seconds = 0.0;                  ///< wall time of the simulation with its reductions
  std::vector<KernelTime> kernel_times;  ///< of the cuda backend
};

/// Instruction sets of the cpu backend, weakest first.
enum class Isa : int { scalar, avx2, avx512 };
const char* name_of(Isa isa);
/// The strongest instruction set this build and this machine have.
Isa best_isa();
bool isa_available(Isa isa);

struct SimOptions {
  int threads = 0;  ///< 0: every hardware thread
  Isa isa = best_isa();
  /// Called now and then, from one thread at a time, with the number of path-steps done so far. May be empty.
  std::function<void(double)> progress;
  /// When it becomes true the simulation stops soon and throws Interrupted. May be null.
  const std::atomic<bool>* stop = nullptr;
};

/// Thrown when SimOptions::stop was set.
struct Interrupted {};

template <class R>
SimResult simulate_cpu(const SimSpec<R>& spec, const SimOptions& options);
extern template SimResult simulate_cpu<float>(const SimSpec<float>&, const SimOptions&);
extern template SimResult simulate_cpu<double>(const SimSpec<double>&, const SimOptions&);

/// Called for the traced path at each checkpoint: step, x (dim numbers), S, |grad f|, whether it has diverged.
using TraceSink = std::function<void(std::uint64_t step, const double* x, double s, double grad_norm, bool diverged)>;

/// Simulates the block of `path` alone and hands that path to `sink` at every checkpoint: the same bits as in
/// simulate_cpu.
template <class R>
void trace_cpu(const SimSpec<R>& spec, std::uint64_t path, Isa isa, const TraceSink& sink);
extern template void trace_cpu<float>(const SimSpec<float>&, std::uint64_t, Isa, const TraceSink&);
extern template void trace_cpu<double>(const SimSpec<double>&, std::uint64_t, Isa, const TraceSink&);

/// Draws of the gradient noise with unit scale: row r = the draw of path 0, step r, worker 0 (of one worker) in
/// dimension `dim`; calls `sink` with consecutive rows' values, `count` values in all each time.
template <class R>
void sample_noise(const LawSpec& law, int dim, std::uint64_t seed, std::uint64_t n_rows,
                  const std::function<void(const R* values, std::size_t count)>& sink);
extern template void sample_noise<float>(const LawSpec&, int, std::uint64_t, std::uint64_t,
                                         const std::function<void(const float*, std::size_t)>&);
extern template void sample_noise<double>(const LawSpec&, int, std::uint64_t, std::uint64_t,
                                          const std::function<void(const double*, std::size_t)>&);

/// Random words offset .. offset + count - 1 of a path (design 2.2: cuRAND's Philox4x32-10).
void random_words(std::uint64_t seed, std::uint64_t path, std::uint64_t offset, std::size_t count, std::uint32_t* out);

}  // namespace pathbound
