// SPDX-License-Identifier: Apache-2.0
// Speed: path-steps per second and cycles per path-step of the jobs J1 (scalar DSGD), J2 (DCSGD with rand_k) and J3
// (DSignSGD under t noise), workers drawn together and one by one, through the engine with all its statistics; and the
// floors under them: random words, and words with their normals. All in one run with the repetitions interleaved, and
// as ratios. On devices: path-steps per second of the same jobs, beside what the machine code of their kernels lets one
// predict for the device, and the time of each kernel.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "bench/floor.hpp"
#include "host/engine.hpp"
#include "host/program.hpp"
#include "host/shipped.hpp"

using namespace pathbound;

namespace {

/// The time stamp counter: cycles at the processor's nominal rate, whatever its clock does meanwhile.
double ticks() {
#if defined(__x86_64__)
  return static_cast<double>(__rdtsc());
#else
  return 0.0;
#endif
}

std::filesystem::path bench_folder() { return std::filesystem::path(PATHBOUND_EXPERIMENT_DIR).parent_path(); }

struct Job {
  std::string label, experiment;
  std::vector<std::string> set;  ///< overrides of the shipped experiment
  std::uint64_t device_paths;    ///< enough to fill a large device
  std::uint64_t cpu_paths;
};
/// Those of bench/jobs.json, which other programs read, too.
std::vector<Job> read_jobs() {
  const std::filesystem::path path = bench_folder() / "jobs.json";
  std::ifstream file(path);
  if (!file) throw InputError(fmt::format("{}: cannot be read", path.string()));
  std::vector<Job> jobs;
  const nlohmann::json json = nlohmann::json::parse(file);
  for (const nlohmann::json& job : json.at("jobs"))
    jobs.push_back({job.at("name"), job.at("experiment"), job.at("set"), job.at("device_paths"), job.at("cpu_paths")});
  return jobs;
}

/// Counters of a benchmark that did `path_steps` in all: rate, and cycles a path-step on one thread.
void count(benchmark::State& state, double path_steps, double cycles, int threads) {
  state.counters["path-steps/s"] = benchmark::Counter(path_steps, benchmark::Counter::kIsRate);
  state.counters["cycles"] = cycles * threads / path_steps;
}

void run_job(benchmark::State& state, const Job& job, Isa isa, int threads, std::uint64_t paths) {
  Overrides overrides;
  overrides.set = job.set;
  overrides.paths = paths;
  const Experiment experiment = load_experiment(find_experiment(job.experiment), overrides);
  const Objective objective(experiment.objective);
  RunOptions options;
  options.threads = threads;
  options.isa = isa;
  const CurveConfig& curve = experiment.curves.front();
  double path_steps = 0.0;
  const double start = ticks();
  for (auto _ : state) {
    benchmark::DoNotOptimize(simulate(experiment, curve, objective, options).records.back().sum);
    path_steps += static_cast<double>(curve.paths) * static_cast<double>(curve.steps);
  }
  count(state, path_steps, ticks() - start, threads);
}

template <class Kernel>
void run_floor(benchmark::State& state, Kernel kernel, int threads) {
  constexpr std::uint32_t n_blocks = 250;  // 1000 words a path, as J1 takes
  constexpr int n_groups = 64;
  double path_steps = 0.0;
  const double start = ticks();
  for (auto _ : state) {
    auto work = [&](int thread) {
      for (int g = 0; g < n_groups; ++g)
        benchmark::DoNotOptimize(kernel(1, static_cast<std::uint64_t>(thread * n_groups + g) * block_paths, n_blocks));
    };
    std::vector<std::jthread> pool;
    for (int t = 1; t < threads; ++t) pool.emplace_back(work, t);
    work(0);
    pool.clear();
    path_steps += 4.0 * n_blocks * block_paths * n_groups * threads;
  }
  count(state, path_steps, ticks() - start, threads);
}

/// Prints as usual and remembers each benchmark's median rate.
class Collector : public benchmark::ConsoleReporter {
 public:
  std::map<std::string, double> rate;
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      const auto counter = run.counters.find("path-steps/s");
      if (counter == run.counters.end()) continue;
      const bool median = run.run_type == Run::RT_Aggregate && run.aggregate_name == "median";
      if (median || (run.run_type == Run::RT_Iteration && run.repetitions == 1))
        rate[run.run_name.function_name] = counter->second.value;
    }
    ConsoleReporter::ReportRuns(runs);
  }
};

// -------------------------------------------------------------------------------------------------- devices
/// What a job is predicted to take, of the file that scripts/gpu_figures.py writes (docs/performance.md, GPUs).
struct Prediction {
  double clocks = 0.0;        ///< of a multiprocessor, a path-step, all kernels; 0: not known
  double instructions = 0.0;  ///< of a lane, the step kernel's
  std::string limit;          ///< the unit that limits the step kernel
};

/// The file's architecture for a device: its own, or one whose multiprocessors have the same units.
std::string modelled_architecture(const DeviceInfo& device) {
  if (device.major == 8 && device.minor > 0) return "sm_89";
  return fmt::format("sm_{}{}", device.major, device.minor);
}

Prediction predict(const nlohmann::json& model, const std::string& job, const DeviceInfo& device) {
  Prediction prediction;
  const std::string arch = modelled_architecture(device);
  if (!model.contains(job) || !model[job].contains(arch)) return prediction;
  const nlohmann::json& of_job = model[job][arch];
  for (const auto& part : of_job.at("clocks").items()) prediction.clocks += part.value().get<double>();
  prediction.instructions = of_job.at("instructions").at("step").get<double>();
  prediction.limit = of_job.at("limits").at("step").get<std::string>();
  return prediction;
}

/// The file's jobs; empty when there is no such file.
nlohmann::json device_model() {
  std::ifstream file(bench_folder() / "device_model.json");
  return file ? nlohmann::json::parse(file).at("jobs") : nlohmann::json::object();
}

int run_on_devices(const RunOptions& machine, bool quick, const std::string& out) {
  const std::vector<DeviceInfo> devices = find_devices(machine.devices);
  for (const DeviceInfo& device : devices)
    fmt::print("{} ({}): sm_{}{}, {} multiprocessors, {}\n", device.name, device.id, device.major, device.minor,
               device.multiprocessors,
               device.clock_ghz > 0.0 ? fmt::format("{:.3f} GHz", device.clock_ghz) : std::string("clock not known"));
  fmt::print("{}\n\n{:<14} {:<28} {:>5} {:>9} {:>13} {:>8} {:>13} {:>8} {:>13} {:>8}\n", cuda_versions(), "job",
             "kernel", "lanes", "paths", "path-steps/s", "spread", "predicted", "reached", "instructions", "limit");

  const nlohmann::json model = device_model();
  nlohmann::ordered_json json = {{"devices", describe(devices)}, {"cuda", cuda_versions()}};
  json["jobs"] = nlohmann::ordered_json::array();
  std::string times;
  for (const Job& job : read_jobs()) {
    Overrides overrides;
    overrides.set = job.set;
    overrides.paths = job.device_paths / (quick ? 64 : 1);
    const Experiment experiment = load_experiment(find_experiment(job.experiment), overrides);
    const Objective objective(experiment.objective);
    const CurveConfig& curve = experiment.curves.front();
    const CudaPlan first = plan(experiment, curve, objective, machine);

    SimResult timed = simulate(experiment, curve, objective, machine);  // loads the kernels
    std::vector<double> seconds;
    for (int repetition = 0; repetition < (quick ? 1 : 9); ++repetition) {
      timed = simulate(experiment, curve, objective, machine);
      seconds.push_back(timed.seconds);
    }
    std::sort(seconds.begin(), seconds.end());
    const double median = seconds[seconds.size() / 2], rate = path_steps(curve) / median;
    double predicted = 0.0;  // 0: not known
    Prediction prediction;
    for (const DeviceInfo& device : devices) {
      prediction = predict(model, job.label, device);
      if (prediction.clocks <= 0.0 || device.clock_ghz <= 0.0) {
        predicted = 0.0;
        break;
      }
      predicted += device.multiprocessors * device.clock_ghz * 1e9 / prediction.clocks;
    }
    const bool known = predicted > 0.0;
    fmt::print(
        "{:<14} {:<28} {:>5} {:>9} {:>13.4g} {:>8} {:>13} {:>8} {:>13} {:>8}\n", job.label, first.kernel, first.tile,
        curve.paths, rate, quick ? "-" : fmt::format("{:.1f}%", 100.0 * (seconds.back() - seconds.front()) / median),
        known ? fmt::format("{:.4g}", predicted) : "-", known ? fmt::format("{:.1f}%", 100.0 * rate / predicted) : "-",
        known ? fmt::format("{:.1f}", prediction.instructions) : "-", known ? prediction.limit : "-");
    std::fflush(stdout);

    nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
    for (const KernelTime& kernel : timed.kernel_times) {
      times += fmt::format("{:<14} {:<36} {:>9} {:>12.3f} {:>7.1f}%\n", job.label, kernel.kernel, kernel.launches,
                           1e3 * kernel.seconds, 100.0 * kernel.seconds / timed.seconds);
      kernels.push_back({{"kernel", kernel.kernel}, {"launches", kernel.launches}, {"seconds", kernel.seconds}});
    }
    nlohmann::ordered_json entry = {{"name", job.label},
                                    {"kernel", first.kernel},
                                    {"lanes", first.tile},
                                    {"paths", curve.paths},
                                    {"path_steps_per_second", rate},
                                    {"predicted", nullptr},
                                    {"instructions_per_path_step", nullptr},
                                    {"limit", nullptr}};
    if (known) {
      entry["predicted"] = predicted;
      entry["instructions_per_path_step"] = prediction.instructions;
      entry["limit"] = prediction.limit;
    }
    entry["seconds"] = seconds;
    entry["timed_seconds"] = timed.seconds;
    entry["kernels"] = kernels;
    json["jobs"].push_back(entry);
  }
  if (!times.empty())
    fmt::print("\ntime by kernel, in the last run\n{:<14} {:<36} {:>9} {:>12} {:>8}\n{}", "job", "kernel", "launches",
               "ms", "of run", times);
  if (!out.empty()) write_files(out, {{"throughput.json", json.dump(2) + "\n"}});
  flush_stdout();
  return done;
}

// -------------------------------------------------------------------------------------------------- ratios on the CPU
/// What the jobs with workers drawn together cannot do without: their random words, and of J2 the normals. A path-step
/// of J2 takes 32 words for its subsets and 64 normals, one of J3 half a word a coordinate.
void add_floors(std::map<std::string, double>& rate) {
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    const std::string suffix = std::string("/") + name_of(isa);
    const auto bits = rate.find("floor_bits" + suffix), normals = rate.find("floor_normals" + suffix);
    if (bits == rate.end() || normals == rate.end()) continue;
    const double word = 1.0 / bits->second, normal = 1.0 / normals->second;
    rate["floor_J2" + suffix] = 1.0 / (32.0 * word + 64.0 * normal);
    rate["floor_J3" + suffix] = 1.0 / (32.0 * word);
  }
}

/// Rates of one run over another's, of the same instruction set. The floors are what a job cannot do without.
constexpr std::pair<const char*, const char*> ratio_pairs[] = {
    {"J1", "floor_bits"}, {"J1", "floor_normals"}, {"J1_double", "J1"}, {"J3_nu3", "J3"},           {"J2", "floor_J2"},
    {"J3", "floor_J3"},   {"J2", "J2_direct"},     {"J3", "J3_direct"}, {"J3_nu3", "J3_direct_nu3"}};

/// {isa: {"J1 / floor_bits": ratio, ...}}, of those that ran.
nlohmann::ordered_json ratios_of(const std::map<std::string, double>& rate) {
  nlohmann::ordered_json ratios = nlohmann::ordered_json::object();
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
    for (const auto& [over, under] : ratio_pairs) {
      const auto x = rate.find(fmt::format("{}/{}", over, name_of(isa)));
      const auto y = rate.find(fmt::format("{}/{}", under, name_of(isa)));
      if (x != rate.end() && y != rate.end())
        ratios[name_of(isa)][fmt::format("{} / {}", over, under)] = x->second / y->second;
    }
  return ratios;
}

void print_ratios(const nlohmann::ordered_json& ratios) {
  fmt::print("\nratios in this run (rate over rate)\n");
  for (const auto& [isa, of_isa] : ratios.items())
    for (const auto& [name, ratio] : of_isa.items())
      fmt::print("  {:<8} {:<26} {:>8.3f}\n", isa, name, ratio.get<double>());
}

/// Into the file that Google Benchmark has written.
void add_ratios(const std::filesystem::path& path, const nlohmann::ordered_json& ratios) {
  nlohmann::ordered_json json;
  {
    std::ifstream file(path);
    if (!file) return;  // --benchmark_out names another
    json = nlohmann::ordered_json::parse(file);
  }
  json["ratios"] = ratios;
  write_files(path.parent_path().string(), {{path.filename().string(), json.dump(2) + "\n"}});
}

int run(int argc, char** argv) {
  CLI::App app{"speed of the engine: path-steps per second of the jobs J1, J2, J3, and the floors under them"};
  BackendArguments backend;
  std::string out;
  int threads = 1;
  bool quick = false;
  add_backend_options(app, backend);
  app.add_option("--threads", threads, "threads (default 1)")->check(CLI::Range(1, 4096));
  app.add_option("-o,--out", out, "folder for throughput.json");
  app.add_flag("--quick", quick, "a part of the paths, one repetition");
  app.allow_extras();  // --benchmark_...
  app.footer("On the CPU Google Benchmark's own --benchmark_... options are understood too.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "bench_throughput: {}\n", error.what());
    return bad_input;
  }
  const RunOptions machine = run_options("bench_throughput", backend, threads);
  if (!out.empty()) check_output_directory(out);
  if (machine.backend == Backend::cuda) {
    if (!app.remaining().empty())
      throw InputError(fmt::format("{}: Google Benchmark's options are for --backend cpu", app.remaining().front()));
    watch_signals();
    return run_on_devices(machine, quick, out);
  }

  std::vector<std::string> arguments = {argv[0]};
  if (quick) {
    arguments.push_back("--benchmark_min_time=0.01");
  } else {
    arguments.insert(arguments.end(), {"--benchmark_repetitions=9", "--benchmark_enable_random_interleaving=true",
                                       "--benchmark_report_aggregates_only=true"});
  }
  if (!out.empty()) {
    std::filesystem::create_directories(out);
    arguments.push_back("--benchmark_out=" + (std::filesystem::path(out) / "throughput.json").string());
    arguments.push_back("--benchmark_out_format=json");
  }
  for (const std::string& extra : app.remaining()) arguments.push_back(extra);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return bad_input;

  const std::uint64_t shrink = quick ? 10 : 1;
  const std::vector<Job> jobs = read_jobs();
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_available(isa)) continue;
    const std::string suffix = std::string("/") + name_of(isa);
    const FloorKernels floor = isa == Isa::scalar ? scalar_floor()
#if defined(PATHBOUND_X86)
                               : isa == Isa::avx512 ? avx512_floor()
                               : isa == Isa::avx2   ? avx2_floor()
#endif
                                                  : scalar_floor();
    const auto unit = benchmark::kMillisecond;
    benchmark::RegisterBenchmark(("floor_bits" + suffix).c_str(),
                                 [=](benchmark::State& s) { run_floor(s, floor.bits, threads); })
        ->UseRealTime()
        ->Unit(unit);
    benchmark::RegisterBenchmark(("floor_normals" + suffix).c_str(),
                                 [=](benchmark::State& s) { run_floor(s, floor.normals, threads); })
        ->UseRealTime()
        ->Unit(unit);
    const std::uint64_t slower = isa == Isa::scalar ? 16 : 1;  // the scalar form calls the library for each fma
    for (const Job& job : jobs) {
      const std::uint64_t paths = job.cpu_paths / shrink / slower + 1;
      benchmark::RegisterBenchmark((job.label + suffix).c_str(),
                                   [=](benchmark::State& s) {
                                     run_job(s, job, isa, threads,
                                             (paths + block_paths - 1) / block_paths * block_paths);
                                   })
          ->UseRealTime()
          ->Unit(unit);
    }
  }
  Collector collector;
  benchmark::RunSpecifiedBenchmarks(&collector);

  add_floors(collector.rate);
  const nlohmann::ordered_json ratios = ratios_of(collector.rate);
  print_ratios(ratios);
  if (!out.empty()) add_ratios(std::filesystem::path(out) / "throughput.json", ratios);
  return done;
}

}  // namespace

int main(int argc, char** argv) {
  return guarded(
      "bench_throughput", [&] { return run(argc, argv); }, [] { return std::string("interrupted"); });
}
