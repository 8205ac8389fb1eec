// SPDX-License-Identifier: Apache-2.0
#include "host/engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <map>
#include <new>
#include <thread>

#include "host/comparison.hpp"
#include "host/laws.hpp"
#include "host/step_size.hpp"
#include "host/variance_reduction.hpp"
#include "host/version.hpp"
#include "kernels/portable.hpp"

namespace pathbound {

int thread_count(int threads) {
  return threads > 0 ? threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

const CurveConfig* find_curve(const Experiment& experiment, const std::string& name) {
  const auto found = std::find_if(experiment.curves.begin(), experiment.curves.end(),
                                  [&](const CurveConfig& curve) { return curve.name == name; });
  return found == experiment.curves.end() ? nullptr : &*found;
}

double path_steps(const CurveConfig& curve) {
  return static_cast<double>(curve.paths) * static_cast<double>(curve.checkpoint_steps.back());
}

template <class R>
CurveSpec<R>::CurveSpec(const Experiment& experiment, const CurveConfig& curve, const Objective& objective) {
  const int dim = objective.config().dim;
  spec.seed = curve.seed;
  spec.n_paths = curve.paths;
  spec.n_steps = curve.steps;
  checkpoints_ = curve.checkpoint_steps;
  spec.checkpoint_steps = checkpoints_.data();
  spec.n_checkpoints = static_cast<int>(checkpoints_.size());
  spec.limit = experiment.limit;
  spec.method = curve.method;
  spec.objective = objective.spec<R>();
  for (const double x : objective.config().start) start_.push_back(static_cast<R>(x));
  spec.start = start_.data();
  spec.law = curve.noise.law;
  spec.n_workers = curve.workers.count;
  for (int i = 0; i < curve.workers.count; ++i) {
    const auto worker = static_cast<std::size_t>(i);
    const double scale = curve.workers.scale[worker], batch = curve.workers.batch[worker];
    WorkerSpec<R> w;
    w.scale = static_cast<R>(scale / std::sqrt(batch));
    w.scale_sq = static_cast<R>(scale * scale / batch);
    w.affine_sq = static_cast<R>(curve.noise.affine * curve.noise.affine / batch);
    if (keeps_k(curve.compressor.kind)) {
      w.keep = curve.workers.k[worker];
      if (curve.compressor.kind == CompressorKind::rand_k)
        w.inverse_keep = static_cast<R>(static_cast<double>(dim) / w.keep);
    } else if (curve.compressor.kind == CompressorKind::bernoulli) {
      // p as a whole number of 2^-32: kept when the word is at most keep_below. The factor is the inverse of that
      // number, so that E C(g) = g holds for the smallest p too.
      const double words = std::clamp(std::round(curve.compressor.p * 0x1p32), 1.0, 0x1p32);
      w.keep_below = static_cast<std::uint32_t>(words - 1.0);
      w.inverse_keep = static_cast<R>(0x1p32 / words);
    }
    workers_.push_back(w);
  }
  spec.workers = workers_.data();
  spec.affine = curve.noise.affine > 0.0;
  spec.compressor =
      curve.compressor.kind == CompressorKind::rand_k_plain ? CompressorKind::rand_k : curve.compressor.kind;
  spec.levels = static_cast<R>(curve.compressor.s);
  spec.each_worker = curve.each_worker;
  spec.clip = static_cast<R>(curve.clip);
  spec.momentum = static_cast<R>(curve.momentum);
  spec.beta1 = static_cast<R>(curve.beta1);
  spec.root_beta2 = static_cast<R>(std::sqrt(curve.beta2));
  spec.root_rest2 = static_cast<R>(std::sqrt(1.0 - curve.beta2));
  spec.log_beta1 = portable::log(curve.beta1);
  spec.log_beta2 = portable::log(curve.beta2);
  spec.epsilon = static_cast<R>(curve.epsilon);
  spec.schedule = curve.schedule;
  spec.eta = curve.eta;
  add_adaptive(curve, objective);
  for (const BoundConfig& bound : experiment.bounds) {
    if (bound.curve != curve.name) continue;
    spec.track_pl = true;
    if (needs_gradient_tracking(bound.theorem)) spec.track_gradient = true;
    const SumsNeeded sums = sums_needed(bound.theorem, curve, objective);
    if (sums.kind == SumKind::none) continue;
    spec.sums = sums.kind;
    spec.sums_level = sums.level;
    spec.track_smoothness = sums.track_smoothness;
    spec.smooth_L0 = static_cast<R>(sums.L0);
    spec.smooth_L1 = static_cast<R>(sums.L1);
  }
  if (curve.method == MethodKind::dsignsgd && (curve.model || spec.sums == SumKind::psi)) add_signs(curve);
  if (curve.model) add_model(curve, dim);
  add_form(curve, dim);
  if (!curve.mirrored) return;
  // g + s zeta and g - s zeta have the same law. What is known of the signs' means took s itself.
  for (WorkerSpec<R>& worker : workers_) worker.scale = -worker.scale;
}

/// How the sum of the workers' messages is drawn.
template <class R>
void CurveSpec<R>::add_form(const CurveConfig& curve, int dim) {
  const SamplingForm form = sampling_form(curve, dim);
  if (form == SamplingForm::direct) return;
  if (form == SamplingForm::merged) {
    workers_ = {merged_worker<R>(curve)};
    spec.workers = workers_.data();
    spec.n_workers = 1;
    return;
  }
  marginal_ = MarginalData<R>(curve, dim, form, workers_);
  spec.marginal = marginal_.spec();
}

template <class R>
void CurveSpec<R>::add_adaptive(const CurveConfig& curve, const Objective& objective) {
  const AdaptiveSpec<double> adaptive = adaptive_spec(curve, objective);
  const auto narrow = [](double value) { return static_cast<R>(value); };
  spec.adaptive = {adaptive.kind,          adaptive.stochastic, narrow(adaptive.inverse_c), narrow(adaptive.minus_q),
                   narrow(adaptive.share), narrow(adaptive.L0), narrow(adaptive.L1),        narrow(adaptive.hessian)};
}

/// The workers' signs, alike ones together, and their law.
template <class R>
void CurveSpec<R>::add_signs(const CurveConfig& curve) {
  std::vector<int> count;
  for (const WorkerSpec<R>& worker : workers_) {
    const auto alike = std::find_if(sign_groups_.begin(), sign_groups_.end(), [&](const SignGroup<R>& other) {
      return other.scale_sq == worker.scale_sq && other.affine_sq == worker.affine_sq && other.scale == worker.scale;
    });
    const auto at = static_cast<std::size_t>(alike - sign_groups_.begin());
    if (alike == sign_groups_.end()) {
      sign_groups_.push_back({R(0), worker.scale_sq, worker.affine_sq, worker.scale});
      count.push_back(0);
    }
    ++count[at];
  }
  for (std::size_t i = 0; i < count.size(); ++i)
    sign_groups_[i].weight = static_cast<R>(static_cast<double>(count[i]) / curve.workers.count);
  spec.signs.groups = sign_groups_.data();
  spec.signs.n_groups = static_cast<int>(sign_groups_.size());
  xi_ = XiPieces<R>(curve.noise.law);
  spec.signs.xi = xi_.table();
}

/// The coefficients of a model (theory section 3, covariances): means over the workers.
template <class R>
void CurveSpec<R>::add_model(const CurveConfig& curve, int dim) {
  spec.is_model = true;
  ModelSpec<R>& model = spec.model;
  model.kind = curve.model->kind;
  model.integrator = curve.model->integrator;
  model.substeps = curve.model->substeps;
  model.delta = static_cast<R>(0.25 / std::sqrt(curve.model->substeps));
  if (curve.method == MethodKind::dsignsgd) return;  // its coefficients are the signs
  const double n = curve.workers.count, d = dim, variance = noise_variance(curve.noise.law);
  double square = 0.0, noise = 0.0, affine = 0.0, rank_one = 0.0, omega = 0.0;
  for (int i = 0; i < curve.workers.count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const double omega_i = compressor_omega(curve, dim, i), sigma = curve.workers.scale[at],
                 each = (1.0 + omega_i) / (n * curve.workers.batch[at]);
    omega += omega_i / n;
    if (sigma > 0.0) noise += each * sigma * sigma * variance;
    if (curve.noise.affine > 0.0) affine += each * curve.noise.affine * curve.noise.affine * variance;
    if (curve.compressor.kind == CompressorKind::rand_k && dim > 1) {
      const double k = curve.workers.k[at], c = (d - k) / (k * (d - 1.0));
      rank_one += c / n;
      square += d * c / n;
    } else {
      square += omega_i / n;
    }
  }
  model.square = static_cast<R>(square);
  model.noise = static_cast<R>(noise);
  model.affine = static_cast<R>(affine);
  model.rank_one = static_cast<R>(rank_one);
  model.omega = static_cast<R>(omega);
}
template class CurveSpec<float>;
template class CurveSpec<double>;

namespace {

/// action(SimSpec) for the curve, in the experiment's precision.
template <class Action>
auto with_spec(const Experiment& experiment, const CurveConfig& curve, const Objective& objective,
               const Action& action) {
  if (experiment.precision == Precision::double_) return action(CurveSpec<double>(experiment, curve, objective).spec);
  return action(CurveSpec<float>(experiment, curve, objective).spec);
}

SimResult simulate_on_cpu(const Experiment& experiment, const CurveConfig& curve, const Objective& objective,
                          const RunOptions& options, const std::function<void(double)>& progress) {
  SimOptions sim;
  sim.threads = options.threads;
  sim.isa = options.isa;
  sim.progress = progress;
  sim.stop = options.stop;
  try {
    return with_spec(experiment, curve, objective, [&](const auto& spec) { return simulate_cpu(spec, sim); });
  } catch (const std::bad_alloc&) {
    throw MachineError(
        fmt::format("out of memory: curve '{}' needs about {:.0f} MB for {} records on {} threads (fewer checkpoints "
                    "or --threads?)",
                    curve.name, memory_estimate(experiment, options.threads) / 1e6, curve.checkpoint_steps.size(),
                    thread_count(options.threads)));
  }
}

/// What fails on a device, in the backend or in the libraries under it, is the machine's fault; says at which curve.
template <class Action>
auto on_device(const CurveConfig& curve, const Action& action) {
  try {
    return action();
  } catch (const std::bad_alloc& error) {
    throw MachineError(fmt::format("curve '{}': out of memory ({})", curve.name, error.what()));
  } catch (const std::exception& error) {
    throw MachineError(fmt::format("curve '{}': {}", curve.name, error.what()));
  }
}

}  // namespace

CudaOptions cuda_options(const RunOptions& options) {
  CudaOptions cuda;
  cuda.devices = options.devices;
  cuda.tile = options.tile;
  cuda.launch_seconds = options.launch_seconds;
  cuda.stop = options.stop;
  return cuda;
}

SimResult simulate(const Experiment& experiment, const CurveConfig& curve, const Objective& objective,
                   const RunOptions& options, const std::function<void(double)>& progress) {
  if (options.backend == Backend::cpu) return simulate_on_cpu(experiment, curve, objective, options, progress);
  CudaOptions cuda = cuda_options(options);
  cuda.progress = progress;
  return on_device(curve, [&] {
    return with_spec(experiment, curve, objective, [&](const auto& spec) { return simulate_cuda(spec, cuda); });
  });
}

CudaPlan plan(const Experiment& experiment, const CurveConfig& curve, const Objective& objective,
              const RunOptions& options) {
  const CudaOptions cuda = cuda_options(options);
  return on_device(curve, [&] {
    const std::vector<DeviceInfo> devices = find_devices(options.devices);
    DeviceInfo all = devices.front();
    all.free_memory = cuda_free_memory(all.id);
    for (const DeviceInfo& device : devices) {
      all.free_memory = std::min(all.free_memory, cuda_free_memory(device.id));
      all.multiprocessors = std::max(all.multiprocessors, device.multiprocessors);
    }
    return with_spec(experiment, curve, objective, [&](const auto& spec) { return plan_cuda(spec, cuda, all); });
  });
}

void validate(const Experiment& experiment, const Objective& objective) {
  const double start = objective.constants().suboptimality_at_start;
  if (!(start < experiment.limit))
    throw InputError(
        fmt::format("{}: key 'limit' = {:g}: must be above S(x0) = {:g} (every path would count as diverged at step 0)",
                    experiment.source, experiment.limit, start));
}

/// u >= 2^-32 cuts |zeta| at about sqrt(nu) 2^(32/nu), beyond which lies the share 2^(-32 (nu - 2)/nu) of the second
/// moment.
double tail_cut(const LawSpec& law, Precision precision) {
  const double order = tail_order(law);
  if (!(order > 2.0) || std::isinf(order)) return 0.0;
  const double bits = precision == Precision::single ? 32.0 : 54.0;
  return std::exp2(-bits * (order - 2.0) / order);
}

namespace {

/// What that costs a curve.
void note_tail_cut(const CurveConfig& curve, const Objective& objective, Precision precision, Curve& result) {
  const double order = tail_order(curve.noise.law), share = tail_cut(curve.noise.law, precision);
  if (share < 0.005 || curve.model || steps_are_bounded(curve, objective)) return;
  result.notes.push_back(fmt::format("precision = \"{}\" cuts about {:.2g}% of the variance of this noise (nu = {:g})",
                                     precision == Precision::single ? "float" : "double", 100.0 * share, order));
}

}  // namespace

Environment environment_of(const RunOptions& options) {
  return {version(),
          commit(),
          name_of(options.backend),
          options.backend == Backend::cuda ? describe(find_devices(options.devices)) : "cpu",
          name_of(options.isa),
          thread_count(options.threads)};
}

Results run_experiment(const Experiment& experiment, const RunOptions& options) {
  Results results;
  results.experiment = experiment;
  results.environment = environment_of(options);
  const Objective objective(experiment.objective);
  validate(experiment, objective);
  double total = 0.0;
  for (const CurveConfig& curve : experiment.curves) total += path_steps(curve) * (curve.model ? 2.0 : 1.0);
  // What does not fit a device is said before anything runs.
  if (options.backend == Backend::cuda)
    for (const CurveConfig& curve : experiment.curves) plan(experiment, curve, objective, options);
  double done = 0.0;
  const auto run_as = [&](const Experiment& as, const CurveConfig& curve, const Objective& of) {
    std::function<void(double)> progress;
    if (options.progress) progress = [&](double here) { options.progress(curve.name, done + here, total); };
    SimResult sim = simulate(as, curve, of, options, progress);
    done += path_steps(curve);
    results.performance.seconds += sim.seconds;
    results.performance.path_steps += path_steps(curve);
    return sim;
  };
  const auto run = [&](const CurveConfig& curve) { return run_as(experiment, curve, objective); };
  const Runner run_more = [&](const Experiment& as, const CurveConfig& curve, const Objective& of) {
    total += path_steps(curve);
    return run_as(as, curve, of);
  };
  std::map<std::string, SimResult> simulated, doubled;
  for (const CurveConfig& curve : experiment.curves) {
    const SimResult& sim = simulated[curve.name] = run(curve);
    if (curve.model) doubled[curve.name] = run(with_doubled_substeps(curve));
    results.curves.push_back(make_curve(curve, objective, sim));
    results.curves.back().marginal = sampling_form(curve, experiment.objective.dim) != SamplingForm::direct;
    results.curves.back().rounding_level =
        rounding_level(curve, objective, experiment.precision == Precision::single ? 0x1p-24 : 0x1p-53);
    for (const BoundConfig& bound : experiment.bounds) {
      const SumsNeeded sums = bound.curve == curve.name ? sums_needed(bound.theorem, curve, objective) : SumsNeeded();
      if (sums.kind == SumKind::none) continue;
      results.curves.back().sums.kind = sums.kind;
      results.curves.back().sums.level = sums.level;
    }
    note_tail_cut(curve, objective, experiment.precision, results.curves.back());
    if (curve.variance_reduction != VarianceReduction::none)
      apply(reduce(experiment, curve, objective, sim, run_more), results.curves.back());
  }
  const auto simulated_curve = [&](const std::string& name) {
    const CurveConfig& config = *find_curve(experiment, name);
    return Simulated{config, simulated[name],
                     results.curves[static_cast<std::size_t>(&config - experiment.curves.data())]};
  };
  for (const CurveConfig& curve : experiment.curves) {
    if (!curve.model) continue;
    results.comparisons.push_back(compare(simulated_curve(curve.model->of), simulated_curve(curve.name),
                                          doubled[curve.name], objective, experiment.precision));
  }
  for (const BoundConfig& bound : experiment.bounds) {
    const CurveConfig& config = *find_curve(experiment, bound.curve);
    const auto curve = std::find_if(results.curves.begin(), results.curves.end(),
                                    [&](const Curve& c) { return c.name == bound.curve; });
    results.bounds.push_back(
        judge(bound, evaluate_bound(bound.theorem, config, objective, *curve), config, *curve, experiment.limit));
  }
  cross_reference(results.bounds);
  return results;
}

Isa isa_from_environment() {
  const char* wanted = std::getenv("PATHBOUND_ISA");
  if (wanted == nullptr || *wanted == '\0') return best_isa();
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (std::string(wanted) != name_of(isa)) continue;
    if (!isa_available(isa))
      throw InputError(
          fmt::format("PATHBOUND_ISA = {}: this machine (or this build) does not have it (it has up to {})", wanted,
                      name_of(best_isa())));
    return isa;
  }
  throw InputError(fmt::format("PATHBOUND_ISA = {}: must be scalar, avx2 or avx512", wanted));
}

double memory_estimate(const Experiment& experiment, int threads) {
  double worst = 0.0;
  for (const CurveConfig& curve : experiment.curves) {
    const double records = static_cast<double>(curve.checkpoint_steps.size());
    const double real = experiment.precision == Precision::double_ ? 8.0 : 4.0;
    const double dim = experiment.objective.dim;
    // Histogram pages touched (two a record, seen in practice) and bins waiting, records of the tree, rows of a block.
    const double vectors = curve.model ? 16.0 : 7.0;
    const double per_thread = records * (8192.0 + 2048.0 + 24.0 * sizeof(Record)) +
                              32.0 * (real * (vectors * dim + 2.0 * experiment.objective.rows) + 8.0 * dim);
    const double blocks = std::ceil(static_cast<double>(curve.paths) / block_paths);
    // The text of the results takes some kB a record; a data objective's matrices are held in float and in double.
    const double rows = experiment.objective.rows;
    const bool dense = experiment.objective.kind == ObjectiveKind::least_squares ||
                       experiment.objective.kind == ObjectiveKind::logistic;
    const double data = dense ? 20.0 * (rows * dim + dim * dim) : 0.0;
    worst = std::max(worst, 2e7 + data + per_thread * std::min<double>(thread_count(threads), blocks) +
                                records * (128.0 * 8.0 + 6000.0));
  }
  return worst;
}

}  // namespace pathbound
