// SPDX-License-Identifier: Apache-2.0
// The engine: an experiment in, curves and verdicts out.
#pragma once
#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "host/backend.hpp"
#include "host/marginal.hpp"
#include "host/results.hpp"
#include "host/xi_table.hpp"
#include "kernels/simulate.hpp"
#include "kernels/simulate_cuda.hpp"

namespace pathbound {

struct RunOptions {
  Backend backend = Backend::cpu;
  std::vector<int> devices;                              ///< cuda: ids of the devices that share the paths
  int tile = 0;                                          ///< cuda: as in CudaOptions
  double launch_seconds = CudaOptions().launch_seconds;  ///< cuda
  int threads = 0;                                       ///< 0: every hardware thread
  Isa isa = best_isa();
  /// Progress: the curve at work, path-steps done and to do over the whole experiment. May be empty.
  std::function<void(const std::string& curve, double done, double total)> progress;
  const std::atomic<bool>* stop = nullptr;
};

/// `threads`, or every hardware thread for 0.
int thread_count(int threads);

/// The experiment's curve of that name, or null.
const CurveConfig* find_curve(const Experiment& experiment, const std::string& name);

/// What a curve takes: a path runs up to its last record.
double path_steps(const CurveConfig& curve);

/// A CurveConfig as the kernels take it. Owns what the SimSpec points to, except the objective's arrays.
template <class R>
class CurveSpec {
 public:
  CurveSpec(const Experiment& experiment, const CurveConfig& curve, const Objective& objective);
  CurveSpec(const CurveSpec&) = delete;
  CurveSpec& operator=(const CurveSpec&) = delete;
  SimSpec<R> spec;

 private:
  void add_adaptive(const CurveConfig& curve, const Objective& objective);
  void add_signs(const CurveConfig& curve);
  void add_model(const CurveConfig& curve, int dim);
  void add_form(const CurveConfig& curve, int dim);

  std::vector<R> start_;
  std::vector<WorkerSpec<R>> workers_;
  std::vector<std::uint64_t> checkpoints_;
  std::vector<SignGroup<R>> sign_groups_;
  XiPieces<R> xi_;
  MarginalData<R> marginal_;
};

/// The share of a t law's variance that the uniform numbers of this precision cut off with its tail (docs/numerics.md);
/// 0 where that is not known to matter.
double tail_cut(const LawSpec& law, Precision precision);

/// Simulates one curve. Throws Interrupted; MachineError when memory runs out or a device fails.
SimResult simulate(const Experiment& experiment, const CurveConfig& curve, const Objective& objective,
                   const RunOptions& options, const std::function<void(double)>& progress = {});

/// The part of the options that simulate_cuda takes.
CudaOptions cuda_options(const RunOptions& options);

/// How the curve would run on the options' devices, the same on each. Throws MachineError.
CudaPlan plan(const Experiment& experiment, const CurveConfig& curve, const Objective& objective,
              const RunOptions& options);

/// Throws InputError when what only the objective can tell is wrong: limit at or below S(x0).
void validate(const Experiment& experiment, const Objective& objective);

/// The program and the machine that such a run is of, as results tell it.
Environment environment_of(const RunOptions& options);

/// Runs every curve and judges every bound.
Results run_experiment(const Experiment& experiment, const RunOptions& options);

/// PATHBOUND_ISA, or the best the machine has. Throws InputError for an unknown name or one this machine lacks.
Isa isa_from_environment();

/// What a run costs, for `check`: bytes of memory at the peak (statistics and working memory, all threads).
double memory_estimate(const Experiment& experiment, int threads);

}  // namespace pathbound
