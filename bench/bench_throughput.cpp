// SPDX-License-Identifier: Apache-2.0
// Speed: path-steps per second and cycles per path-step of the jobs J1 (scalar DSGD), J2 (DCSGD with rand_k) and J3
// (DSignSGD under t noise), every worker sampled, through the engine with all its statistics; and the floors under J1:
// random words alone, and words with their normals. All in one run with the repetitions interleaved, and as ratios.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "bench/floor.hpp"
#include "host/engine.hpp"
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

struct Job {
  std::string label, experiment;
  std::vector<std::string> set;  ///< overrides of the shipped experiment
};

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

int run(int argc, char** argv) {
  CLI::App app{"speed of the engine: path-steps per second of the jobs J1, J2, J3, and the floors under J1"};
  std::string backend = "auto", out;
  int threads = 1;
  bool quick = false;
  app.add_option("--backend", backend, "auto, cpu or cuda")->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  std::string devices;
  app.add_option("--devices", devices, "GPUs to use (cuda backend only)");
  app.add_option("--threads", threads, "threads (default 1)")->check(CLI::Range(1, 4096));
  app.add_option("-o,--out", out, "folder for throughput.json");
  app.add_flag("--quick", quick, "a tenth of the paths, one repetition");
  app.allow_extras();  // --benchmark_...
  app.footer("Google Benchmark's own --benchmark_... options are understood too.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "bench_throughput: {}\n", error.what());
    return 2;
  }
  if (!devices.empty() && backend != "cuda") throw InputError("--devices is for --backend cuda");
  if (backend == "cuda") throw MachineError("--backend cuda: this build has no CUDA backend (use --backend cpu)");

  std::vector<std::string> arguments = {argv[0]};
  if (quick) {
    arguments.push_back("--benchmark_min_time=0.01");
  } else {
    arguments.insert(arguments.end(), {"--benchmark_repetitions=9", "--benchmark_enable_random_interleaving=true",
                                       "--benchmark_report_aggregates_only=true"});
  }
  if (!out.empty()) {
    check_output_directory(out);
    std::filesystem::create_directories(out);
    arguments.push_back("--benchmark_out=" + (std::filesystem::path(out) / "throughput.json").string());
    arguments.push_back("--benchmark_out_format=json");
  }
  for (const std::string& extra : app.remaining()) arguments.push_back(extra);
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  int count = static_cast<int>(pointers.size());
  benchmark::Initialize(&count, pointers.data());
  if (benchmark::ReportUnrecognizedArguments(count, pointers.data())) return 2;

  const std::vector<Job> jobs = {{"J1", "performance_j1", {}},
                                 {"J1_double", "performance_j1", {"precision=double"}},
                                 {"J2_direct", "performance_j2", {}},
                                 {"J3_direct", "performance_j3", {}},
                                 {"J3_direct_nu3", "performance_j3", {"noise.nu=3.0"}}};
  const std::uint64_t shrink = quick ? 10 : 1;
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
      const std::uint64_t paths = (job.label.starts_with("J1") ? 32768 : 1024) / shrink / slower + 1;
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

  fmt::print("\nratios in this run (rate over rate)\n  {:<8} {:>22} {:>26} {:>18} {:>18}\n", "isa", "J1 / floor_bits",
             "J1 / floor_normals", "J1 double / float", "J3 nu=3 / nu=2");
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    auto ratio = [&](const std::string& a, const std::string& b) -> std::string {
      const auto x = collector.rate.find(a + "/" + name_of(isa)), y = collector.rate.find(b + "/" + name_of(isa));
      if (x == collector.rate.end() || y == collector.rate.end()) return "-";
      return fmt::format("{:.3f}", x->second / y->second);
    };
    if (isa_available(isa))
      fmt::print("  {:<8} {:>22} {:>26} {:>18} {:>18}\n", name_of(isa), ratio("J1", "floor_bits"),
                 ratio("J1", "floor_normals"), ratio("J1_double", "J1"), ratio("J3_direct_nu3", "J3_direct"));
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const InputError& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_throughput: {}\n", error.what());
    return 3;
  }
}
