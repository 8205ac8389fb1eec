// SPDX-License-Identifier: Apache-2.0
// What variance reduction is worth: variance x cost against plain sampling, in path-steps and in seconds. Exit status 1
// when a reduced mean does not agree with the plain one, or a kind that is made for a case does not pay there.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "host/engine.hpp"
#include "host/figures.hpp"
#include "host/program.hpp"
#include "host/shipped.hpp"
#include "host/variance_reduction.hpp"

using namespace pathbound;

namespace {

using Options = BenchmarkArguments;

/// Plain and reduced means share random words, so that they differ by at most the sum of their errors: 5.5 of them.
constexpr double agreement = 5.5;

struct Case {
  std::string name, what;
  std::string objective, noise, workers, method, model;
  int steps = 100;
  std::vector<VarianceReduction> kinds;
  VarianceReduction made_for;  ///< has to pay: variance x cost below 1
};

using enum VarianceReduction;

const std::vector<Case>& all_cases() {
  static const std::string quadratic8 =
      "kind = \"quadratic\"\ndim = 8\nspectrum = { kind = \"geometric\", min = 0.1, max = 1.0 }";
  static const std::string logistic = "kind = \"logistic\"\ndim = 4\nrows = 32\nlam = 0.1\nstart = 1.0";
  static const std::string t2 = "law = \"student_t\"\nnu = 2.0";
  static const std::vector<Case> cases = {
      {"quartic",
       "DSGD, x^4/4 (job J1)",
       "kind = \"quartic\"",
       "scale = 0.5",
       "",
       "method = \"dsgd\"\neta = 0.01",
       "",
       1000,
       {control, antithetic},
       control},
      {"cosh",
       "DCSGD, rand_k 2 of 4, 8 workers, cosh",
       "kind = \"cosh\"\ndim = 4",
       "scale = 1.0",
       "count = 8",
       "method = \"dcsgd\"\neta = 0.05\ncompressor = { kind = \"rand_k\", k = 2 }",
       "",
       100,
       {control},
       control},
      {"sine_pl",
       "DSGD, 8 workers, sum x^2 + 3 sin^2 x from 1.5",
       "kind = \"sine_pl\"\ndim = 4\nstart = 1.5",
       "scale = 3.0",
       "count = 8",
       "method = \"dsgd\"\neta = 0.02",
       "",
       100,
       {control, antithetic},
       control},
      {"transient",
       "DCSGD, rand_k 2 of 8, 8 workers, quadratic, before the floor",
       quadratic8,
       "scale = 1.0",
       "count = 8",
       "method = \"dcsgd\"\neta = 0.01\nsampling = \"direct\"\ncompressor = { kind = \"rand_k\", k = 2 }",
       "",
       100,
       {antithetic},
       antithetic},
      {"signs",
       "DSignSGD, t_2, 8 workers, quadratic, before the floor",
       quadratic8,
       t2,
       "count = 8",
       "method = \"dsignsgd\"\neta = 0.01\nsampling = \"direct\"",
       "",
       50,
       {antithetic},
       antithetic},
      {"logistic",
       "DSGD, 4 workers, logistic, to the floor",
       logistic,
       "scale = 1.0",
       "count = 4",
       "method = \"dsgd\"\neta = 0.2",
       "",
       100,
       {antithetic},
       none},
      {"sde_quartic",
       "first_order SDE, 10 Euler substeps, x^4/4",
       "kind = \"quartic\"",
       "scale = 0.5",
       "",
       "method = \"dsgd\"\neta = 0.01",
       "model = \"first_order\"\nsubsteps = 10",
       200,
       {control, antithetic, multilevel},
       multilevel},
      {"sde_dcsgd",
       "first_order SDE of DCSGD, 16 substeps, quadratic",
       quadratic8,
       "scale = 1.0",
       "count = 8",
       "method = \"dcsgd\"\neta = 0.05\ncompressor = { kind = \"rand_k\", k = 4 }",
       "model = \"first_order\"\nsubsteps = 16",
       50,
       {antithetic, multilevel},
       multilevel},
      {"sde_signs",
       "first_order SDE of DSignSGD, t_2, 16 substeps, quadratic",
       quadratic8,
       t2,
       "count = 8",
       "method = \"dsignsgd\"\neta = 0.02",
       "model = \"first_order\"\nsubsteps = 16",
       50,
       {multilevel},
       multilevel},
      {"sde_logistic",
       "second_order SDE, 32 substeps, logistic",
       logistic,
       "scale = 1.0",
       "count = 2",
       "method = \"dsgd\"\neta = 0.2",
       "model = \"second_order\"\nsubsteps = 32",
       20,
       {antithetic, multilevel},
       multilevel},
  };
  return cases;
}

struct Row {
  const Case* c;
  VarianceReduction kind;
  Reduction reduction;
  double seconds = 0.0;  ///< of the runs behind the estimate, in those of the plain run
  double off = 0.0;      ///< largest |reduced - plain| in the sum of their standard errors
};

std::string experiment_text(const Case& c, std::uint64_t paths) {
  std::string text = fmt::format(
      "seed = 7\npaths = {}\nsteps = {}\ncheckpoints = "
      "10\n[objective]\n{}\n[noise]\n{}\n[workers]\n{}\n[[curve]]\nname "
      "= \"method\"\n{}\n",
      paths, c.steps, c.objective, c.noise, c.workers, c.method);
  if (!c.model.empty()) text += "[[curve]]\nname = \"model\"\nof = \"method\"\n" + c.model + "\n";
  return text;
}

std::vector<Row> measure(const Case& c, const Options& options, const RunOptions& machine, Performance& performance) {
  const Experiment experiment = parse_experiment(experiment_text(c, options.quick ? 16384 : 131072), "bench_variance");
  const Objective objective(experiment.objective);
  double seconds = 0.0;
  const Runner run = [&](const Experiment& e, const CurveConfig& config, const Objective& o) {
    SimResult result = simulate(e, config, o, machine);
    seconds += result.seconds;
    performance.seconds += result.seconds;
    performance.path_steps += path_steps(config);
    return result;
  };
  std::vector<Row> rows;
  CurveConfig config = experiment.curves.back();
  run(experiment, config, objective);  // warm
  seconds = 0.0;
  const SimResult plain = run(experiment, config, objective);
  const double once = seconds;
  const Curve plain_curve = make_curve(config, objective, plain);
  for (const VarianceReduction kind : c.kinds) {
    config.variance_reduction = kind;
    seconds = kind == multilevel ? 0.0 : once;
    Row row{&c, kind, reduce(experiment, config, objective, plain, run), 0.0, 0.0};
    row.seconds = seconds / once;
    for (std::size_t i = 0; i < row.reduction.mean.size(); ++i) {
      if (std::isnan(row.reduction.mean[i])) continue;
      row.off = std::max(row.off, std::fabs(row.reduction.mean[i] - plain_curve.mean[i]) /
                                      (row.reduction.standard_error[i] + plain_curve.standard_error[i]));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Table table_of(const std::vector<Row>& rows) {
  Table table;
  table.title = "Variance x cost against plain sampling";
  table.caption =
      "Variance of E S in that of plain sampling with the same paths: median and worst over ten checkpoints. Cost in "
      "path-steps (those of models weighted with substeps), pilots included, and in seconds, both in those of the "
      "plain "
      "run. Below 1 the product pays: 0.1 is a tenth of the work for the same standard error.";
  table.header = {
      "case", "what", "kind", "variance", "worst", "cost", "variance x cost", "seconds", "variance x seconds"};
  for (const Row& row : rows) {
    const Reduction& r = row.reduction;
    const double ratio = r.median_ratio();
    table.rows.push_back({row.c->name, row.c->what, name_of(row.kind), fmt::format("{:.2g}", ratio),
                          fmt::format("{:.2g}", r.worst_ratio()), fmt::format("{:.2f}", r.cost_ratio),
                          fmt::format("{:.2g}", ratio * r.cost_ratio), fmt::format("{:.2f}", row.seconds),
                          fmt::format("{:.2g}", ratio * row.seconds)});
  }
  return table;
}

int run(const Options& options) {
  if (!options.out.empty()) check_output_directory(options.out);
  const RunOptions machine = run_options("bench_variance", options.backend, options.threads);
  Performance performance;
  std::vector<Row> rows;
  for (const Case& c : all_cases()) {
    if (!options.names.empty() && std::find(options.names.begin(), options.names.end(), c.name) == options.names.end())
      continue;
    if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K{} ...", c.name);
    for (Row& row : measure(c, options, machine, performance)) rows.push_back(std::move(row));
  }
  if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K");

  const Table table = table_of(rows);
  print(table_text(table) + "\n");
  bool met = true;
  const auto judged = [&](bool good, const std::string& what) {
    if (!good) print("NOT MET: " + what + "\n");
    met = met && good;
  };
  for (const Row& row : rows) {
    const std::string name = fmt::format("{}, {}", row.c->name, name_of(row.kind));
    judged(row.reduction.used == row.kind, fmt::format("{}: off, {}", name, row.reduction.reason));
    judged(row.off <= agreement, fmt::format("{}: the means differ by {:.2g} errors", name, row.off));
    if (row.kind == row.c->made_for)
      judged(row.reduction.median_ratio() * row.reduction.cost_ratio < 1.0, name + " does not pay");
  }
  const std::string agreed = "Every reduced mean agrees with the plain one, and each kind pays where it is made to.";
  if (met) print(agreed + "\n");
  print(fmt::format("{:.3g} path-steps in {:.1f} s of simulation\n", performance.path_steps, performance.seconds));
  if (!options.out.empty()) {
    BenchReport report;
    report.title = "Fewer paths for the same answer";
    report.summary = met ? agreed : "NOT every reduced mean is as expected.";
    report.environment = environment_of(machine);
    report.tables = {table};
    report.performance = performance;
    const nlohmann::ordered_json json = to_json(report);
    write_files(options.out, {{"results.json", to_text(json)}, {"report.html", render_report(json)}});
  }
  flush_stdout();
  return met ? done : unexpected;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const auto add_options = [&](CLI::App& app) {
    std::set<std::string> names;
    for (const Case& c : all_cases()) names.insert(c.name);
    app.add_option("CASE", options.names, "cases (default: all)")->check(CLI::IsMember(names));
    add_benchmark_options(app, options, "an eighth of the paths", "folder for results.json and report.html");
  };
  return benchmark_main("bench_variance", "what is variance reduction worth?", argc, argv, add_options,
                        [&] { return run(options); });
}
