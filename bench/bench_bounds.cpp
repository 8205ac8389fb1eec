// SPDX-License-Identifier: Apache-2.0
// Judges every bound of the shipped experiments: one table, one exit status (0: every verdict is the expected one).
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "host/engine.hpp"
#include "host/program.hpp"
#include "host/shipped.hpp"

namespace fs = std::filesystem;
using namespace pathbound;

namespace {

/// --quick: each curve keeps a part of its paths, but not these experiments: there the mean comes within the margin of
/// a bound, and fewer paths would leave the verdict inconclusive.
constexpr std::uint64_t quick_divisor = 8, quick_least = 8192;
constexpr std::array<std::string_view, 4> keep_all_paths = {"isotropic_quadratic", "scalar_quadratic", "sde_theorem3",
                                                            "theorem4_linear_regime"};

using Options = BenchmarkArguments;

struct Judged {
  std::string name;
  Verdict verdict;
};

void make_quick(Experiment& experiment, const std::string& name) {
  if (std::find(keep_all_paths.begin(), keep_all_paths.end(), name) != keep_all_paths.end()) return;
  const auto fewer = [](std::uint64_t paths) { return std::min(paths, std::max(paths / quick_divisor, quick_least)); };
  experiment.paths = fewer(experiment.paths);
  for (CurveConfig& curve : experiment.curves) curve.paths = fewer(curve.paths);
}

/// The weakest status among a bound's assumptions.
const char* weakest(const BoundValue& bound) {
  const auto any = [&](AssumptionStatus status) {
    return std::any_of(bound.assumptions.begin(), bound.assumptions.end(),
                       [&](const Assumption& assumption) { return assumption.status == status; });
  };
  for (const auto status : {AssumptionStatus::failed, AssumptionStatus::unchecked, AssumptionStatus::observed})
    if (any(status)) return name_of(status);
  return name_of(AssumptionStatus::proved);
}

/// Cut to `width` columns, with the mark of what is missing.
std::string fitted(const std::string& text, int width) {
  const std::string padded = fmt::format("{:<{}.{}}", text, width, width);
  if (fmt::format("{:.{}}", text, width) == text) return padded;
  return fmt::format("{:<{}}", fmt::format("{:.{}}..", text, width - 2), width);
}

std::string row(const std::string& experiment, const std::string& bound, const std::string& curve,
                const std::string& assumptions, const std::string& tightness, const std::string& verdict,
                const std::string& expected, const std::string& ok) {
  return fmt::format("{}  {:<5}  {}  {:<11}  {:>9}  {:<14}  {:<14}  {}\n", fitted(experiment, 22), bound,
                     fitted(curve, 18), assumptions, tightness, verdict, expected, ok);
}

std::string rows_of(const std::string& name, const std::vector<Verdict>& verdicts) {
  std::string out, shown = name;
  for (const Verdict& verdict : verdicts) {
    const auto& expect = verdict.config.expect;
    out += row(shown, verdict.config.theorem, verdict.config.curve, weakest(verdict.bound),
               std::isnan(verdict.tightness) ? "-" : fmt::format("{:.4g}", verdict.tightness), name_of(verdict.verdict),
               expect ? name_of(*expect) : "-",
               !expect                 ? "-"
               : verdict.as_expected() ? "yes"
                                       : "NO");
    shown.clear();  // the name stands in the first row alone
  }
  return out;
}

std::string summary(const std::vector<Judged>& judged, const Performance& performance, std::size_t n_experiments) {
  std::array<int, 4> count{};
  int expected = 0, met = 0;
  double family = 0.0, least = 1.0;
  for (const auto& [name, verdict] : judged) {
    ++count[static_cast<std::size_t>(verdict.verdict)];
    if (verdict.config.expect) {
      ++expected;
      met += verdict.as_expected() ? 1 : 0;
    }
    // A bound that is true can only be called violated wrongly, one that is false only be said to hold: one error a
    // bound.
    if (verdict.verdict == Expectation::not_applicable) continue;
    family += 1.0 - verdict.config.confidence;
    least = std::min(least, verdict.config.confidence);
  }
  const auto counted = [&](Expectation e) { return count[static_cast<std::size_t>(e)]; };
  const auto plural = [](std::size_t n, const char* what) {
    return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
  };
  const std::size_t not_tested = static_cast<std::size_t>(counted(Expectation::not_applicable));
  std::string out =
      fmt::format("\n{} in {}: {} hold, {} violated, {} inconclusive, {} not applicable; {} of {} as expected\n",
                  plural(judged.size(), "bound"), plural(n_experiments, "experiment"), counted(Expectation::holds),
                  counted(Expectation::violated), counted(Expectation::inconclusive), not_tested, met, expected);
  if (judged.size() > not_tested)
    out += fmt::format(
        "family error level: {} tested, each at confidence {:g} or better; the chance that any verdict "
        "\"holds\" or\n\"violated\" is false is at most the sum of 1 - confidence, {:.3g}\n",
        plural(judged.size() - not_tested, "bound"), least, std::min(family, 1.0));
  out += fmt::format("{:.3g} path-steps in {:.2f} s of simulation\n", performance.path_steps, performance.seconds);
  for (const auto& [name, verdict] : judged)
    if (!verdict.as_expected())
      out += fmt::format("\nNOT AS EXPECTED: {}, {} on '{}' (expected {})\n  {}\n", name, verdict.config.theorem,
                         verdict.config.curve, name_of(*verdict.config.expect), verdict.reason);
  return out;
}

int run(const Options& options) {
  // Everything that can be wrong with the input is found before any work.
  std::vector<std::string> names = options.names;
  if (names.empty())
    for (const ShippedExperiment& shipped : shipped_experiments()) names.push_back(shipped.name);
  std::vector<std::pair<std::string, Experiment>> experiments;
  std::set<std::string> seen;
  std::string problems;
  for (const std::string& given : names) {
    try {
      const std::string path = find_experiment(given), name = fs::path(path).stem().string();
      Experiment experiment = load_experiment(path);
      if (experiment.bounds.empty()) {
        if (options.names.empty()) continue;
        throw InputError(fmt::format("{}: has no [[bound]] to judge", given));
      }
      if (!seen.insert(name).second)
        throw InputError(fmt::format("{}: another experiment is called {} too", given, name));
      if (!options.out.empty()) check_output_directory((fs::path(options.out) / name).string());
      if (options.quick) make_quick(experiment, name);
      experiments.emplace_back(name, std::move(experiment));
    } catch (const InputError& error) {
      problems += problems.empty() ? error.what() : std::string("\n") + error.what();
    }
  }
  if (!problems.empty()) throw InputError(problems);
  if (experiments.empty()) throw InputError("no experiments are shipped with this program");
  const RunOptions machine = run_options("bench_bounds", options.backend, options.threads);

  print(row("experiment", "bound", "curve", "assumptions", "tightness", "verdict", "expected", "ok"));
  std::vector<Judged> judged;
  Performance total;
  bool as_expected = true;
  const bool terminal = isatty(STDERR_FILENO) != 0;
  for (const auto& [name, experiment] : experiments) {
    if (terminal) fmt::print(stderr, "\r\033[K{} ...", name);
    const Results results = run_experiment(experiment, machine);
    if (terminal) fmt::print(stderr, "\r\033[K");
    total.seconds += results.performance.seconds;
    total.path_steps += results.performance.path_steps;
    if (!options.out.empty()) {
      const nlohmann::ordered_json json = to_json(results);
      write_files(
          (fs::path(options.out) / name).string(),
          {{"results.json", to_text(json)}, {"curves.csv", to_csv(results)}, {"report.html", render_report(json)}});
    }
    print(rows_of(name, results.bounds));
    std::fflush(stdout);
    for (const Verdict& verdict : results.bounds) {
      as_expected = as_expected && verdict.as_expected();
      judged.push_back({name, verdict});
    }
  }
  print(summary(judged, total, experiments.size()));
  flush_stdout();
  return as_expected ? done : unexpected;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const auto add_options = [&](CLI::App& app) {
    app.add_option("EXPERIMENT", options.names,
                   "names of shipped experiments, or files (default: all that have bounds)");
    add_benchmark_options(app, options, "fewer paths where the verdicts do not need all of them",
                          "folder for results.json, curves.csv and report.html of each experiment");
  };
  return benchmark_main("bench_bounds", "do the bounds of the shipped experiments come out as theory expects?", argc,
                        argv, add_options, [&] { return run(options); });
}
