// SPDX-License-Identifier: Apache-2.0
// What a run leaves behind: results.json, curves.csv, report.html (design section 5), written together or not at all.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "host/curve.hpp"
#include "host/experiment.hpp"
#include "host/verdict.hpp"

namespace pathbound {

struct Environment {
  std::string version, commit, backend, device, isa;
  int threads = 0;
};

struct Performance {
  double seconds = 0.0;
  double path_steps = 0.0;
};

/// How far a model's E S is from its method's, both with the same noise path by path where the law is Gaussian. Vectors
/// have one entry per checkpoint; NaN where a number does not exist (a path diverged, E S does not exist, too few
/// paths, a variance that cannot be trusted). host/comparison.hpp makes and sums it up.
struct Comparison {
  std::string method, model;  ///< names of curves
  std::vector<std::uint64_t> step;
  std::vector<double> weak_error, standard_error;  ///< E S(method) - E S(model), with its own standard error
  /// About E S(model) - E S(the model without integrator error): E S(n) - E S(2n), n its substeps, extrapolated by the
  /// integrator's order p, that is times 2^p / (2^p - 1): 2 for euler_maruyama and moment, 4/3 for weak2.
  std::vector<double> integrator_error, integrator_standard_error;
  /// Per checkpoint: (Var S(method) + Var S(model)) / Var(S(method) - S(model)), 1 when the draws are independent. NaN
  /// where the difference varies by rounding alone.
  std::vector<double> variance_reduction;
  std::size_t groups = 0;            ///< of paths, behind the standard errors: they have groups - 1 degrees of freedom
  std::vector<bool> below_rounding;  ///< the arithmetic decides the weak error there; empty: nowhere
  bool more_substeps_help = true;    ///< false: E S(model) does not depend on its substeps
  MeanIs mean_is = MeanIs::expectation;  ///< what both means are
  std::vector<std::string> notes;
};

struct Results {
  Experiment experiment;
  Environment environment;
  std::vector<Curve> curves;
  std::vector<Verdict> bounds;
  std::vector<Comparison> comparisons;
  Performance performance;
};

nlohmann::ordered_json to_json(const Environment& environment);
nlohmann::ordered_json to_json(const Performance& performance);
/// The whole of results.json. Numbers are shortest round-trip decimals; NaN and infinities are null.
nlohmann::ordered_json to_json(const Results& results);
/// The text of results.json: the shortest decimals that read back the same, one line per series.
std::string to_text(const nlohmann::ordered_json& json);
/// curves.csv: curve,step,time,paths,finite,mean,stderr,lower,upper,min,max,q05,q25,q50,q75,q95,grad_norm,regime
std::string to_csv(const Results& results);
/// One self-contained page (no network) from results.json: curves with bands and quantiles, models, bounds, verdicts;
/// or from the JSON of a BenchReport (host/figures.hpp): its tables and figures.
std::string render_report(const nlohmann::ordered_json& results);
/// The verdict table for the terminal (also used by bench_bounds), plain text, at most `width` columns.
std::string verdict_table(const Results& results, int width = 120);

/// Writes all files into `directory` (made if missing): each to a temporary name beside its place first, all renamed
/// at the end. Throws MachineError (disk full, no permission: exit 3) or InputError (the path is a file: exit 2) and
/// then leaves nothing new behind.
void write_files(const std::string& directory,
                 const std::vector<std::pair<std::string, std::string>>& name_and_content);

}  // namespace pathbound
