// SPDX-License-Identifier: Apache-2.0
// The command line: pathbound run | check | list | trace | sample | bits | verify.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "host/average_bounds.hpp"
#include "host/engine.hpp"
#include "host/program.hpp"
#include "host/shipped.hpp"
#include "host/variance_reduction.hpp"
#include "host/verify.hpp"
#include "host/version.hpp"

namespace fs = std::filesystem;
using namespace pathbound;

namespace {

std::size_t experiments_written = 0;

struct CommonOptions {
  Overrides overrides;
  BackendArguments backend;
  int threads = 0;
  bool quiet = false;

  RunOptions run_options() const { return pathbound::run_options("pathbound", backend, threads, quiet); }
};

/// One line on a terminal: what is done, how fast, how long still.
class ProgressLine {
 public:
  explicit ProgressLine(bool quiet) : on_(!quiet && isatty(STDERR_FILENO) != 0), start_(Clock::now()) {}
  ~ProgressLine() { clear(); }
  void update(const std::string& curve, double path_steps, double total) {
    if (!on_) return;
    const auto now = Clock::now();
    if (now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = path_steps / std::max(seconds, 1e-9);
    const std::string left = rate > 0 ? fmt::format("{:.0f} s left", (total - path_steps) / rate) : std::string();
    fmt::print(stderr, "\r\033[K{:.40}: {:3.0f}%  {:.3g} path-steps/s  {}", curve, 100.0 * path_steps / total, rate,
               left);
    std::fflush(stderr);
    shown_ = true;
  }
  void clear() {
    if (shown_) fmt::print(stderr, "\r\033[K");
    shown_ = false;
  }

 private:
  using Clock = std::chrono::steady_clock;
  bool on_, shown_ = false;
  Clock::time_point start_, last_{};
};

// -------------------------------------------------------------------------------------------------- run
int run(const std::vector<std::string>& files, const std::string& out, const CommonOptions& common) {
  // Everything that can be wrong with the input is found before any work.
  std::vector<Experiment> experiments;
  std::vector<std::string> directories;
  std::set<std::string> seen;
  std::string problems;
  for (const std::string& file : files) {
    try {
      const std::string path = find_experiment(file);
      const std::string stem = fs::path(path).stem().string();
      if ((out.empty() || files.size() > 1) && (stem == "." || stem == ".."))
        throw InputError(fmt::format("{}: gives no name for a folder of results (run it alone, with -o)", file));
      const fs::path base = out.empty()        ? fs::path("results") / stem
                            : files.size() > 1 ? fs::path(out) / stem
                                               : fs::path(out);
      if (!seen.insert(base.lexically_normal().string()).second)
        throw InputError(
            fmt::format("{}: another file would write to {} too (run them one by one with -o)", file, base.string()));
      check_output_directory(base.string());
      experiments.push_back(load_experiment(path, common.overrides));
      // Reads the data: what is wrong with them must not come up after another experiment has run.
      if (files.size() > 1 && !experiments.back().objective.file.empty())
        validate(experiments.back(), Objective(experiments.back().objective));
      directories.push_back(base.string());
    } catch (const InputError& error) {
      problems += problems.empty() ? error.what() : std::string("\n") + error.what();
    }
  }
  if (!problems.empty()) throw InputError(problems);
  RunOptions options = common.run_options();

  bool as_expected = true;
  for (std::size_t i = 0; i < experiments.size(); ++i) {
    ProgressLine line(common.quiet);
    options.progress = [&](const std::string& curve, double finished, double total) {
      line.update(curve, finished, total);
    };
    const Results results = run_experiment(experiments[i], options);
    line.clear();
    const nlohmann::ordered_json json = to_json(results);
    write_files(
        directories[i],
        {{"results.json", to_text(json)}, {"curves.csv", to_csv(results)}, {"report.html", render_report(json)}});
    ++experiments_written;
    for (const Verdict& verdict : results.bounds) as_expected = as_expected && verdict.as_expected();
    if (!common.quiet) {
      if (i > 0) print("\n");
      print(verdict_table(results));
      const Environment& environment = results.environment;
      print(fmt::format("\n{:.3g} path-steps in {:.2f} s ({:.3g} per second) on {}\nreport: {}\n",
                        results.performance.path_steps, results.performance.seconds,
                        results.performance.path_steps / std::max(results.performance.seconds, 1e-9),
                        environment.backend == name_of(Backend::cuda)
                            ? environment.device
                            : fmt::format("{} threads, {}", environment.threads, environment.isa),
                        (fs::path(directories[i]) / "report.html").string()));
    } else {
      for (const Verdict& verdict : results.bounds)
        if (!verdict.as_expected())
          fmt::print(stderr, "{}: bound {} on curve '{}' is {}, expected {}\n", files[i], verdict.config.theorem,
                     verdict.config.curve, name_of(verdict.verdict), name_of(*verdict.config.expect));
    }
    flush_stdout();
  }
  return as_expected ? done : unexpected;
}

// -------------------------------------------------------------------------------------------------- check
/// The curve as it would be before any step is taken: what the assumptions can be judged by without a run.
Curve unsimulated(const CurveConfig& config, const Objective& objective) {
  Curve curve;
  curve.name = config.name;
  curve.step = config.checkpoint_steps;
  double largest = 0.0;
  for (const double g : objective.constants().gradient_at_start) largest = std::max(largest, std::abs(g));
  const std::size_t n = curve.step.size();
  curve.time.resize(n);
  for (std::size_t c = 0; c < n; ++c) curve.time[c] = static_cast<double>(curve.step[c]) * config.eta;
  curve.max_grad.assign(n, largest);
  curve.max_grad_so_far.assign(n, largest);
  return curve;
}

/// Records of the first n steps, as dense as the curve's own.
std::vector<std::uint64_t> as_dense(const CurveConfig& curve, std::uint64_t n) {
  const double each = static_cast<double>(curve.checkpoint_steps.size() - 1) /
                      static_cast<double>(std::max<std::uint64_t>(1, curve.checkpoint_steps.back()));
  const auto records = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(each * static_cast<double>(n)), 1, n);
  std::vector<std::uint64_t> steps;
  for (std::uint64_t i = 0; i <= records; ++i) steps.push_back(i * n / records);
  return steps;
}

double seconds_per_path_step(Experiment experiment, CurveConfig curve, const Objective& objective,
                             const RunOptions& options) {
  const CurveConfig whole = curve;
  curve.paths = block_paths;
  // A few steps; fewer of a large problem, which tells its cost sooner.
  const double draws = 32.0 * experiment.objective.dim * curve.workers.count;
  curve.steps = std::min(curve.steps, static_cast<std::uint64_t>(std::clamp(1e7 / draws, 1.0, 64.0)));
  curve.checkpoint_steps = as_dense(whole, curve.steps);
  RunOptions one = options;
  one.threads = 1;
  double best = simulate(experiment, curve, objective, one).seconds;
  if (best > 0.25) return best / static_cast<double>(curve.paths * curve.steps);
  one.stop = nullptr;  // who may be interrupted looks at the clock less often than a short run takes
  for (int i = 0; i < 3; ++i) best = std::min(best, simulate(experiment, curve, objective, one).seconds);
  return best / static_cast<double>(curve.paths * curve.steps);
}

/// The same for devices: as many paths as they take at once, and steps until the time can be told from that of a
/// launch.
double seconds_per_path_step(const Experiment& experiment, CurveConfig curve, const Objective& objective,
                             const RunOptions& options, const CudaPlan& plan) {
  curve.paths = std::clamp<std::uint64_t>(plan.wave_paths * options.devices.size(), 1, curve.paths);
  const CurveConfig whole = curve;
  const std::uint64_t steps = std::max<std::uint64_t>(1, curve.checkpoint_steps.back());
  const auto timed = [&](std::uint64_t n) {
    curve.steps = n;
    curve.checkpoint_steps = as_dense(whole, n);
    return simulate(experiment, curve, objective, options).seconds;
  };
  double seconds = timed(1);  // loads the kernels, too
  if (seconds < 0.25) {
    do {
      seconds = timed(std::min(steps, 4 * curve.steps));
    } while (seconds < 0.05 && curve.steps < steps);
  }
  return seconds / (static_cast<double>(curve.paths) * static_cast<double>(curve.steps));
}

std::string plan_line(const CudaPlan& plan, const std::vector<DeviceInfo>& devices) {
  return fmt::format("    {}: kernel {}, {} a path, {} paths at once x {}, {} records kept at once, {:.0f} MB{}\n",
                     describe(devices), plan.kernel,
                     plan.tile == 1 ? std::string("1 lane") : fmt::format("{} lanes", plan.tile), plan.wave_paths,
                     plan.waves == 1 ? std::string("1 wave") : fmt::format("{} waves", plan.waves),
                     plan.segment_records, static_cast<double>(plan.bytes) / 1e6, devices.size() > 1 ? " each" : "");
}

int check(const std::vector<std::string>& files, const CommonOptions& common) {
  std::string problems;
  const RunOptions options = common.run_options();
  const bool cuda = options.backend == Backend::cuda;
  const std::vector<DeviceInfo> devices = find_devices(options.devices);
  const int threads = thread_count(common.threads);
  const std::string machine = cuda ? describe(devices) : fmt::format("{} threads, {}", threads, name_of(options.isa));
  for (const std::string& file : files) {
    try {
      const std::string path = find_experiment(file);
      const Experiment experiment = load_experiment(path, common.overrides);
      const Objective objective(experiment.objective);
      validate(experiment, objective);
      const ObjectiveConstants& constants = objective.constants();
      auto shown = [](const Constant& c) { return c.value ? fmt::format("{:.6g}", *c.value) : std::string("none"); };
      print(fmt::format("{}: {}\n  objective {} (dim {}): mu {}, L {}, L0 {}, L1 {}, f* {:.6g}, S(x0) {:.6g}\n", path,
                        experiment.title.empty() ? "(no title)" : experiment.title, name_of(experiment.objective.kind),
                        experiment.objective.dim, shown(constants.mu), shown(constants.L), shown(constants.L0),
                        shown(constants.L1), constants.f_star, constants.suboptimality_at_start));
      double seconds = 0.0, device_bytes = 0.0;
      for (const CurveConfig& curve : experiment.curves) {
        const double work = path_steps(curve);
        const CudaPlan device_plan = cuda ? plan(experiment, curve, objective, options) : CudaPlan();
        double cost = work * (cuda ? seconds_per_path_step(experiment, curve, objective, options, device_plan)
                                   : seconds_per_path_step(experiment, curve, objective, options) / threads);
        std::string what = name_of(curve.method);
        if (curve.model) {
          cost *= 3.0;  // the run with twice the substeps
          what = fmt::format("model {} of '{}' ({}, {} and {} substeps)", name_of(curve.model->kind), curve.model->of,
                             name_of(curve.model->integrator), curve.model->substeps, 2 * curve.model->substeps);
        }
        seconds += cost;
        const int dim = experiment.objective.dim;
        const bool together = sampling_form(curve, dim) != SamplingForm::direct;
        print(fmt::format("  curve '{}': {}, {} workers{}, {} paths x {} steps, {} records, about {:.2g} s\n",
                          curve.name, what, curve.workers.count, together ? " drawn together" : "", curve.paths,
                          curve.steps, curve.checkpoint_steps.size(), cost));
        if (const std::string why = why_direct(curve, dim); !why.empty())
          print(fmt::format("    drawn worker by worker: {}\n", why));
        if (cuda) print(plan_line(device_plan, devices));
        device_bytes = std::max(device_bytes, static_cast<double>(device_plan.bytes));
        const MomentReport moments = moments_of(curve, objective);
        if (!moments.reason.empty()) print(fmt::format("    {}\n", moments.reason));
        if (curve.variance_reduction != VarianceReduction::none) {
          const double more = planned_reduction_cost(curve, objective);
          const double once = curve.model ? cost / 3.0 : cost;
          seconds += more * once;
          print(fmt::format(
              "    variance_reduction {}: {}\n", name_of(curve.variance_reduction),
              more > 0.0
                  ? fmt::format("about {:.2g} times the curve's own run more, {:.2g} s", more, more * once)
                  : fmt::format("off: needs a sampling variance that exists and {} paths", least_reduced_paths)));
        }
        if (const std::string note = guarantee_note(curve, objective); !note.empty())
          print(fmt::format("    {}\n", note));
      }
      for (const BoundConfig& bound : experiment.bounds) {
        const CurveConfig* curve = find_curve(experiment, bound.curve);
        const BoundValue value = evaluate_bound(bound.theorem, *curve, objective, unsimulated(*curve, objective));
        std::string why;
        for (const Assumption& assumption : value.assumptions)
          if (assumption.status == AssumptionStatus::failed)
            why += fmt::format("{}{}: {}", why.empty() ? "" : "; ", assumption.name, assumption.detail);
        print(fmt::format(
            "  bound {} on '{}': {}\n", bound.theorem, bound.curve,
            why.empty() ? "applies, as far as can be said before the run" : "not applicable (" + why + ")"));
      }
      print(fmt::format("  simulation about {:.2g} s on {}, {:.0f} MB{}\n", seconds, machine,
                        (cuda ? device_bytes : memory_estimate(experiment, common.threads)) / 1e6,
                        !cuda                ? ""
                        : devices.size() > 1 ? " of memory on each device"
                                             : " of device memory"));
    } catch (const InputError& error) {
      problems += problems.empty() ? error.what() : std::string("\n") + error.what();
    }
  }
  flush_stdout();
  if (!problems.empty()) throw InputError(problems);
  return done;
}

// -------------------------------------------------------------------------------------------------- list
void print_components(const std::string& title, const std::vector<ComponentInfo>& components) {
  print(title + "\n");
  for (const ComponentInfo& component : components) {
    print(fmt::format("  {:<16} {}\n", component.name, component.summary));
    for (const KeyInfo& key : component.keys)
      print(fmt::format("  {:<16}   {}: {}, {} [{}]\n", "", key.name, key.meaning, key.allowed, key.fallback));
  }
}

int list(const std::string& what) {
  const bool all = what.empty();
  if (all || what == "objectives") print_components("objectives", objective_registry());
  if (all || what == "methods") print_components("methods", method_registry());
  if (all || what == "models") {
    std::vector<ComponentInfo> models = model_registry();
    for (const ComponentInfo& table : table_registry())
      if (table.name == "model")
        models.push_back({"every model", "has these keys; the rest is the method's", table.keys});
    print_components("models", models);
    print_components("integrators", integrator_registry());
  }
  if (all || what == "laws") print_components("laws", law_registry());
  if (all || what == "compressors") print_components("compressors", compressor_registry());
  if (all || what == "schedules") print_components("schedules", schedule_registry());
  if (all || what == "adaptive") print_components("adaptive", adaptive_registry());
  if (all || what == "variance_reduction") print_components("variance reductions", variance_reduction_registry());
  if (all || what == "bounds") {
    print("bounds\n");
    for (const BoundInfo& bound : bound_registry())
      print(fmt::format("  {:<16} of the {}: {} [{}]\n",
                        bound.alias.empty() ? bound.theorem : bound.theorem + " (" + bound.alias + ")",
                        bound.model ? fmt::format("{} SDE", name_of(*bound.model)) : bound.speaks_of, bound.summary,
                        bound.source));
  }
  if (all || what == "experiments") {
    print("experiments\n");
    for (const ShippedExperiment& experiment : shipped_experiments())
      print(fmt::format("  {:<34} {}\n", experiment.name, experiment.title));
  }
  if (all || what == "devices") {
    print("devices\n");
    print(fmt::format("  cpu              {} threads, instruction sets:{}{}{}\n", thread_count(0), " scalar",
                      isa_available(Isa::avx2) ? " avx2" : "", isa_available(Isa::avx512) ? " avx512" : ""));
    const CudaOffer offer = cuda_offer();
    if (offer.devices.empty())
      print(fmt::format("  cuda             none: {}\n", offer.built ? offer.why : "this build has no CUDA backend"));
    else
      print(fmt::format("  cuda             {}\n", cuda_versions()));
    if (!offer.devices.empty() && !offer.why.empty())
      print(fmt::format("  cuda             not usable: {}\n", offer.why));
    for (const DeviceInfo& device : offer.devices)
      print(fmt::format("  {:<16} {}, sm_{}{}, {:.1f} GB, {} multiprocessors\n", fmt::format("cuda {}", device.id),
                        device.name, device.major, device.minor, static_cast<double>(device.memory) / 1e9,
                        device.multiprocessors));
  }
  flush_stdout();
  return done;
}

// -------------------------------------------------------------------------------------------------- verify
int verify_machine(const CommonOptions& common) {
  const RunOptions options = common.run_options();
  VerifyOptions verification;
  verification.cuda = options.backend == Backend::cuda;
  if (!verification.cuda && cuda_built()) cuda_devices(verification.why_not_cuda);
  if (!common.backend.devices.empty()) verification.devices = options.devices;  // else every device
  verification.threads = options.threads;
  verification.stop = options.stop;
  // The table comes at the end. Until then a terminal shows the check at work; elsewhere, in a log, lines stay: should
  // a driver end the program, they tell how far it came.
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const VerifyReport report = verify(verification, [&](const VerifyRow& row) {
    if (terminal) fmt::print(stderr, "\r\033[K");
    if (terminal && row.passed)
      fmt::print(stderr, "ok      {:.70}", row.check);
    else
      fmt::print(stderr, "{:<6}  {}: {}\n", row.passed ? "ok" : "FAILED", row.check, row.detail);
    std::fflush(stderr);
  });
  if (terminal) fmt::print(stderr, "\r\033[K");
  print(report.text());
  flush_stdout();
  if (report.passed) return done;
  const auto failed =
      std::count_if(report.rows.begin(), report.rows.end(), [](const auto& row) { return !row.passed; });
  fmt::print(stderr, "pathbound: {} of {} checks failed\n", failed, report.rows.size());
  return unexpected;
}

// -------------------------------------------------------------------------------------------------- trace
int trace(const std::string& file, const std::string& curve_name, std::uint64_t path, std::uint64_t every,
          const CommonOptions& common) {
  const Isa isa = isa_from_environment();
  const Experiment experiment = load_experiment(find_experiment(file), common.overrides);
  const CurveConfig* found = find_curve(experiment, curve_name);
  if (found == nullptr) {
    std::string names;
    for (const CurveConfig& curve : experiment.curves)
      names += fmt::format("{}'{}'", names.empty() ? "" : ", ", curve.name);
    throw InputError(fmt::format("--curve {}: no such curve in {} (it has {})", curve_name, file, names));
  }
  CurveConfig curve = *found;
  if (path >= curve.paths)
    throw InputError(fmt::format("--path {}: curve '{}' has paths 0 to {}", path, curve.name, curve.paths - 1));
  const std::uint64_t most = 1000000;
  if (curve.steps / every > most)
    throw InputError(fmt::format("--every {}: {} steps would be printed (at most {}; --every {} does)", every,
                                 curve.steps / every, most, curve.steps / most + 1));
  curve.checkpoint_steps.clear();
  for (std::uint64_t k = 0; k < curve.steps; k += every) curve.checkpoint_steps.push_back(k);
  curve.checkpoint_steps.push_back(curve.steps);
  const Objective objective(experiment.objective);
  const bool single = experiment.precision == Precision::single;
  std::string header = "step,suboptimality,grad_norm,diverged";
  for (int j = 1; j <= experiment.objective.dim; ++j) header += fmt::format(",x{}", j);
  print(header + "\n");
  const TraceSink sink = [&](std::uint64_t step, const double* x, double s, double norm, bool diverged) {
    if (stop_requested) throw Interrupted{};
    // The sign of a NaN is the processor's affair.
    const auto number = [](auto v) { return std::isnan(v) ? std::string("nan") : fmt::format("{}", v); };
    std::string row = fmt::format("{},{},{},{}", step, number(s), number(norm), diverged ? 1 : 0);
    for (int j = 0; j < experiment.objective.dim; ++j)
      row += "," + (single ? number(static_cast<float>(x[j])) : number(x[j]));
    print(row + "\n");
  };
  if (single)
    trace_cpu<float>(CurveSpec<float>(experiment, curve, objective).spec, path, isa, sink);
  else
    trace_cpu<double>(CurveSpec<double>(experiment, curve, objective).spec, path, isa, sink);
  flush_stdout();
  return done;
}

// -------------------------------------------------------------------------------------------------- sample, bits
template <class R>
void sample_as(const LawSpec& law, int dim, std::uint64_t seed, std::uint64_t rows, bool raw) {
  int column = 0;
  std::string text;
  sample_noise<R>(law, dim, seed, rows, [&](const R* values, std::size_t count) {
    if (stop_requested) throw Interrupted{};
    if (raw) {
      if (std::fwrite(values, sizeof(R), count, stdout) != count)
        throw MachineError(fmt::format("cannot write to stdout: {}", std::strerror(errno)));
      return;
    }
    for (std::size_t i = 0; i < count; ++i) {
      column = column + 1 == dim ? 0 : column + 1;
      fmt::format_to(std::back_inserter(text), "{}{}", values[i], column == 0 ? '\n' : ',');
    }
    if (text.size() > 65536) {
      print(text);
      text.clear();
    }
  });
  print(text);
  flush_stdout();
}

struct SampleOptions {
  std::string law, precision = "float";
  std::optional<double> nu, alpha, eps, k;
  int dim = 1;
  std::uint64_t seed = 1, n = 0;
  bool raw = false;
};

int sample(const SampleOptions& o) {
  const bool single = o.precision == "float";
  const auto& laws = law_registry();
  const auto info = std::find_if(laws.begin(), laws.end(), [&](const ComponentInfo& i) { return i.name == o.law; });
  const auto parameter = [&](const char* name, const std::optional<double>& value, bool fits,
                             const std::string& range) {
    const auto key =
        std::find_if(info->keys.begin(), info->keys.end(), [&](const KeyInfo& i) { return i.name == name; });
    if (key == info->keys.end()) {
      if (value) throw InputError(fmt::format("--{} does not belong to --law {}", name, o.law));
      return 0.0;
    }
    if (!value) throw InputError(fmt::format("--law {} needs --{} ({})", o.law, name, key->meaning));
    if (!fits) throw InputError(fmt::format("--{} {}: must be a number {}", name, *value, range));
    return *value;
  };
  // The ranges of an experiment's [noise].
  const double least = single ? 0.3 : 0.06;
  const auto within = [](const std::optional<double>& v, double low, double high) {
    return v && *v >= low && *v <= high;
  };
  const std::string from = fmt::format("from {} (in {}) to ", least, o.precision);
  LawSpec law;
  law.kind = static_cast<LawKind>(info - laws.begin());
  law.nu = parameter("nu", o.nu, within(o.nu, least, 1e9), from + "1e9");
  law.alpha = parameter("alpha", o.alpha, within(o.alpha, least, 2.0), from + "2");
  law.eps = parameter("eps", o.eps, o.eps && *o.eps > 0.0 && *o.eps < 1.0, "in (0, 1)");
  law.k = parameter("k", o.k, o.k && *o.k > 0.0 && std::isfinite(*o.k), "> 0");
  const double words = static_cast<double>(o.n) * 2.0 * o.dim * (single ? 1.0 : 2.0);
  if (words >= 0x1p60) throw InputError(fmt::format("-n {}: too many (n x dim must stay below 2^58)", o.n));
  if (single)
    sample_as<float>(law, o.dim, o.seed, o.n, o.raw);
  else
    sample_as<double>(law, o.dim, o.seed, o.n, o.raw);
  return done;
}

int bits(std::uint64_t seed, std::uint64_t path, std::uint64_t offset, std::uint64_t n, bool raw) {
  std::vector<std::uint32_t> words(4096);
  std::string text;
  for (std::uint64_t i = 0; i < n;) {
    if (stop_requested) throw Interrupted{};
    const std::size_t count = static_cast<std::size_t>(std::min<std::uint64_t>(words.size(), n - i));
    random_words(seed, path, offset + i, count, words.data());
    if (raw) {
      if (std::fwrite(words.data(), sizeof(std::uint32_t), count, stdout) != count)
        throw MachineError(fmt::format("cannot write to stdout: {}", std::strerror(errno)));
    } else {
      text.clear();
      for (std::size_t w = 0; w < count; ++w) fmt::format_to(std::back_inserter(text), "{}\n", words[w]);
      print(text);
    }
    i += count;
  }
  flush_stdout();
  return done;
}

/// Whole numbers from `least` to `most`, written as plain decimals: "-3", "1e5" and "0x10" are refused.
CLI::Validator whole(std::uint64_t least, std::uint64_t most) {
  return CLI::Validator(
      [least, most](std::string& text) -> std::string {
        const bool digits =
            !text.empty() && text.size() <= 20 && text.find_first_not_of("0123456789") == std::string::npos;
        bool fits = digits;
        std::uint64_t value = 0;
        for (const char c : text) {
          if (!fits) break;
          const std::uint64_t digit = static_cast<std::uint64_t>(c - '0');
          fits = value <= (std::numeric_limits<std::uint64_t>::max() - digit) / 10;
          value = value * 10 + digit;
        }
        if (fits && value >= least && value <= most) {
          text = fmt::format("{}", value);  // a leading zero would make it octal
          return {};
        }
        return fmt::format("'{}' must be a whole number from {} to {}", text, least, most);
      },
      fmt::format("{}..{}", least, most));
}

/// A decimal number: "0x10" and "1,5" are refused.
CLI::Validator decimal() {
  return CLI::Validator(
      [](std::string& text) -> std::string {
        double value = 0.0;
        const char* end = text.data() + text.size();
        if (const auto [stop, error] = std::from_chars(text.data(), end, value); error == std::errc{} && stop == end)
          return {};
        return fmt::format("'{}' must be a number", text);
      },
      "");
}

int parse_and_run(int argc, char** argv) {
  CLI::App app{"pathbound: Monte Carlo for stochastic optimisers; does this convergence bound hold?"};
  app.set_version_flag("--version", fmt::format("pathbound {} ({})", version(), commit()));
  app.require_subcommand(1);
  constexpr std::uint64_t seed_max = (std::uint64_t(1) << 63) - 1, any64 = std::numeric_limits<std::uint64_t>::max();

  CommonOptions common;
  auto add_machine = [&](CLI::App* command) {
    command->add_option("--threads", common.threads, "threads (default: all)")->transform(whole(1, 4096));
    add_backend_options(*command, common.backend);
  };
  auto add_common = [&](CLI::App* command, bool computes) {
    command->add_option("--seed", common.overrides.seed, "seed, instead of the file's")->transform(whole(0, seed_max));
    command->add_option("--paths", common.overrides.paths, "paths of every curve, instead of the file's")
        ->transform(whole(1, std::uint64_t(1) << 40));
    command->add_option("--set", common.overrides.set, "key=value instead of the file's, e.g. curve.dcsgd.eta=0.1")
        ->take_all()
        ->expected(1);
    if (computes) add_machine(command);
  };

  std::vector<std::string> files;
  std::string out;
  CLI::App* run_command = app.add_subcommand("run", "run experiments: curves, bounds, verdicts, a report");
  run_command->add_option("FILE", files, "experiment files, or names of shipped experiments")->required();
  run_command->add_option("-o,--out", out, "folder for results.json, curves.csv, report.html (default results/<stem>)")
      ->check([](const std::string& text) { return text.empty() ? "must be the name of a folder" : std::string(); });
  run_command->add_flag("--quiet", common.quiet, "print nothing but unmet expectations")->disable_flag_override();
  add_common(run_command, true);

  CLI::App* check_command = app.add_subcommand("check", "validate experiments and print what a run would cost");
  check_command->add_option("FILE", files, "experiment files, or names of shipped experiments")->required();
  add_common(check_command, true);

  std::string what;
  CLI::App* list_command =
      app.add_subcommand("list", "what there is: objectives, methods, laws, bounds, experiments, ...");
  list_command->add_option("WHAT", what, "one kind of thing only (default: all)")
      ->check(CLI::IsMember({"objectives", "methods", "models", "laws", "compressors", "schedules", "adaptive",
                             "variance_reduction", "bounds", "experiments", "devices"}));

  std::string file, curve;
  std::uint64_t path = 0, every = 1;
  CLI::App* trace_command =
      app.add_subcommand("trace", "one path alone, step by step: the same bits as inside the run");
  trace_command->add_option("FILE", file, "an experiment file, or the name of a shipped experiment")->required();
  trace_command->add_option("--curve", curve, "name of the curve")->required();
  trace_command->add_option("--path", path, "number of the path, from 0")->required()->transform(whole(0, any64));
  trace_command->add_option("--every", every, "print every n-th step, and the last")
      ->transform(whole(1, std::uint64_t(1) << 40));
  add_common(trace_command, false);

  SampleOptions s;
  CLI::App* sample_command =
      app.add_subcommand("sample", "draws of the gradient noise (path 0, worker 0), a row a step");
  std::vector<std::string> laws;
  for (const ComponentInfo& law : law_registry()) laws.push_back(law.name);
  sample_command->add_option("--law", s.law, "the law: pathbound list laws")->required()->check(CLI::IsMember(laws));
  sample_command->add_option("--nu", s.nu, "degrees of freedom (student_t, multivariate_t)")->check(decimal());
  sample_command->add_option("--alpha", s.alpha, "stability index (alpha_stable)")->check(decimal());
  sample_command->add_option("--eps", s.eps, "share of the wide part (contaminated_gaussian)")->check(decimal());
  sample_command->add_option("--k", s.k, "its standard deviation (contaminated_gaussian)")->check(decimal());
  sample_command->add_option("--dim", s.dim, "coordinates a row")->transform(whole(1, 65536));
  sample_command->add_option("--precision", s.precision, "float or double")->check(CLI::IsMember({"float", "double"}));
  sample_command->add_option("--seed", s.seed, "seed (default 1)")->transform(whole(0, seed_max));
  sample_command->add_option("-n", s.n, "rows")->required()->transform(whole(0, any64));
  sample_command->add_flag("--raw", s.raw, "little-endian numbers instead of text")->disable_flag_override();

  std::uint64_t seed = 0, offset = 0, n = 0;
  bool raw = false;
  CLI::App* bits_command =
      app.add_subcommand("bits", "random words of a path (cuRAND's Philox4x32-10), for outside checks");
  bits_command->add_option("--seed", seed, "seed: the generator's key")->required()->transform(whole(0, seed_max));
  bits_command->add_option("--path", path, "path: the generator's subsequence")->required()->transform(whole(0, any64));
  bits_command->add_option("--offset", offset, "first word")->transform(whole(0, any64));
  bits_command->add_option("-n", n, "words")->required()->transform(whole(0, any64));
  bits_command->add_flag("--raw", raw, "little-endian 32-bit words instead of text")->disable_flag_override();

  CLI::App* verify_command = app.add_subcommand(
      "verify", "does this build on this machine compute the right bits: known answers, every device against the CPU");
  add_machine(verify_command);

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    app.exit(success);  // --help, --version
    if (!std::cout.flush()) throw MachineError(fmt::format("cannot write to stdout: {}", std::strerror(errno)));
    return done;
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "pathbound: {} (see pathbound --help)\n", error.what());
    return bad_input;
  }
  if (*run_command) return run(files, out, common);
  if (*check_command) return check(files, common);
  if (*list_command) return list(what);
  if (*trace_command) return trace(file, curve, path, every, common);
  if (*sample_command) return sample(s);
  if (*verify_command) return verify_machine(common);
  return bits(seed, path, offset, n, raw);
}

}  // namespace

int main(int argc, char** argv) {
  watch_signals();
  return guarded(
      "pathbound", [&] { return parse_and_run(argc, argv); },
      [] {
        if (experiments_written == 0) return std::string("interrupted: nothing was written");
        return fmt::format("interrupted: the first {} of the experiments were written", experiments_written);
      });
}
