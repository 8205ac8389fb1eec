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
#include "host/figures.hpp"
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

// ---------------------------------------------------------------------- answers
const std::string ratio_title = "Simulated mean over bound", tightness_title = "Tightness at the end";

/// The record at which a verdict's mean is largest against its bound, and the limits of the mean there.
struct Ratio {
  double value = std::numeric_limits<double>::quiet_NaN(), lower = value, upper = value;
};
Ratio worst_ratio(const Verdict& verdict) {
  Ratio out;
  for (std::size_t i = 1; i < verdict.empirical.size() && i < verdict.bound.value.size(); ++i) {
    const double bound = verdict.bound.value[i], ratio = verdict.empirical[i] / bound;
    if (!std::isfinite(ratio) || ratio <= out.value) continue;
    out = {ratio, verdict.lower[i] / bound, verdict.upper[i] / bound};
  }
  return out;
}

/// What is told apart in answers and figures.
struct Kind {
  std::string_view name, theorem;
  bool of_model;
};
constexpr std::array<Kind, 8> kinds = {{{"B3 on its SDE", "B3", true},
                                        {"B3 on the method", "B3", false},
                                        {"B3' on the method", "B3p", false},
                                        {"B3d on the method", "B3d", false},
                                        {"B4 on its SDE", "B4", true},
                                        {"B4 on the method", "B4", false},
                                        {"B4Y on the method", "B4Y", false},
                                        {"B4d on the method", "B4d", false}}};
bool is(const Verdict& verdict, const Kind& kind) {
  return verdict.config.theorem == kind.theorem && verdict.model.has_value() == kind.of_model &&
         verdict.verdict != Expectation::not_applicable;
}

std::vector<Answer> answers_of(const std::vector<Judged>& judged) {
  std::vector<Answer> answers;
  struct Question {
    std::string id, question, claim, expected;
    std::vector<std::size_t> of;  ///< kinds
    std::string only;             ///< names of experiments begin with this
    bool tightness;
  };
  const std::string three = "Theorem 3, arXiv 2502.17009", four = "Theorem 4, arXiv 2502.17009",
                    tight =
                        "tight convergence bounds that match empirical observations, arXiv 2506.00181v1 (reading note)",
                    synthetic = "validation is limited to synthetic functions, arXiv 2506.00181v1 (reading note)";
  const std::vector<Question> questions = {
      {"theorem3/sde",
       "Does Theorem 3 hold for the SDE it speaks of?",
       three,
       "yes, wherever Delta > 0",
       {0},
       "",
       false},
      {"theorem3/iterates",
       "Does it hold for DCSGD itself?",
       three,
       "not where it is tight: on an isotropic quadratic DCSGD exceeds it by Delta/(Delta - eta h/2)",
       {1},
       "",
       false},
      {"theorem3/discrete",
       "Does its discrete form B3d hold for DCSGD?",
       "derived (docs/theory.md, B3d)",
       "yes, always: it is proved for the iterates",
       {3},
       "",
       false},
      {"theorem4/sde",
       "Does Theorem 4 hold for the SDE it speaks of?",
       four,
       "only in the linear regime: 2 Xi(y) < l y makes the drift weaker than the proof takes it",
       {4},
       "",
       false},
      {"theorem4/iterates",
       "Does it hold for DSignSGD itself?",
       four,
       "only in the linear regime, |grad_j f| far below the noise; it is exceeded up to tenfold else",
       {5},
       "",
       false},
      {"theorem4/repaired",
       "Do the repaired forms B4Y and B4d hold?",
       "derived (docs/theory.md, B4Y and B4d)",
       "yes: they take l from the largest gradient seen",
       {6, 7},
       "",
       false},
      {"tightness/theorem3",
       "How tight are Theorem 3 and its relatives?",
       tight,
       "exact on isotropic quadratics (B3d), loose by L/mu and more elsewhere",
       {1, 2, 3},
       "",
       true},
      {"tightness/theorem4",
       "How tight are Theorem 4 and its relatives?",
       tight,
       "exact in the linear regime on isotropic quadratics, loose elsewhere",
       {5, 6, 7},
       "",
       true},
      {"data/logistic",
       "Does Theorem 3 hold on regularised logistic regression?",
       synthetic,
       "yes: it is PL and smooth; files of data can take the place of the synthetic ones (objective.file)",
       {1, 3},
       "theorem3_logistic",
       true},
      {"data/least_squares",
       "And on rank-deficient least squares?",
       synthetic,
       "yes: it is PL and smooth",
       {1, 3},
       "theorem3_least_squares",
       true}};
  for (const Question& one : questions) {
    int holds = 0, violated = 0, open = 0;
    double low = std::numeric_limits<double>::infinity(), high = 0.0, least = 1.0;
    Ratio worst;
    std::string where;
    bool met = true;
    for (const auto& [name, verdict] : judged) {
      if (name.substr(0, one.only.size()) != one.only) continue;
      if (std::none_of(one.of.begin(), one.of.end(), [&](std::size_t k) { return is(verdict, kinds[k]); })) continue;
      met = met && verdict.as_expected();
      holds += verdict.verdict == Expectation::holds ? 1 : 0;
      violated += verdict.verdict == Expectation::violated ? 1 : 0;
      open += verdict.verdict == Expectation::inconclusive ? 1 : 0;
      least = std::min(least, verdict.config.confidence);
      if (std::isfinite(verdict.tightness)) {
        low = std::min(low, verdict.tightness);
        high = std::max(high, verdict.tightness);
      }
      const Ratio ratio = worst_ratio(verdict);
      if (!(ratio.value > worst.value) && !std::isnan(worst.value)) continue;
      worst = ratio;
      where = fmt::format("{} on '{}' of {}", verdict.config.theorem, verdict.config.curve, name);
    }
    if (holds + violated + open == 0) continue;
    Answer answer;
    answer.id = "bounds/" + one.id;
    answer.question = one.question;
    answer.claim = one.claim;
    answer.expected = one.expected;
    answer.met = met;
    answer.answer =
        fmt::format("holds {} times{}{}", holds, violated > 0 ? fmt::format(", violated {} times", violated) : "",
                    open > 0 ? fmt::format(", open {} times", open) : "");
    if (one.tightness) {
      answer.answer = fmt::format("the mean at the end is from {:.2g} to {:.4g} times the bound", low, high);
      answer.number_is = "mean over bound at the end, the loosest";
      answer.number = low;
    } else {
      answer.number_is = fmt::format("largest mean over bound after the start: {}", where);
      answer.number = worst.value;
      answer.lower = worst.lower;
      answer.upper = worst.upper;
      answer.confidence = least;
    }
    answer.figure = one.tightness ? tightness_title : ratio_title;
    answer.experiment = one.only.empty() ? "bench_bounds" : "bench_bounds " + one.only;
    answers.push_back(std::move(answer));
  }
  return answers;
}

/// All bounds that are judged, side by side.
Figure bounds_figure(const std::vector<Judged>& judged, bool tightness) {
  Figure figure;
  figure.title = tightness ? tightness_title : ratio_title;
  figure.x_label = "bound, in the order of the table";
  figure.y_label = tightness ? "mean over bound at the last record" : "largest mean over bound after the start";
  figure.log_y = true;
  figure.caption =
      tightness
          ? "1: the bound is the mean. Bounds that do not apply are left out."
          : "Whiskers: limits of the mean that the verdict uses, at that record. Above 1 with its whisker: violated.";
  for (const Kind& kind : kinds) {
    FigureSeries series;
    series.name = kind.name;
    series.line = false;
    double x = 0.0;
    for (const auto& [name, verdict] : judged) {
      x += 1.0;
      if (!is(verdict, kind)) continue;
      const Ratio ratio = worst_ratio(verdict);
      series.x.push_back(x);
      series.y.push_back(tightness ? verdict.tightness : ratio.value);
      if (tightness) continue;
      series.lower.push_back(ratio.lower);
      series.upper.push_back(ratio.upper);
    }
    if (!series.x.empty()) figure.series.push_back(std::move(series));
  }
  return figure;
}

Table judged_table(const std::vector<Judged>& judged) {
  Table table;
  table.title = "Bounds";
  table.header = {"experiment", "bound", "curve", "assumptions", "worst ratio", "tightness", "verdict", "expected"};
  for (const auto& [name, verdict] : judged) {
    const auto number = [](double v) { return std::isfinite(v) ? fmt::format("{:.4g}", v) : std::string("-"); };
    const auto& expect = verdict.config.expect;
    table.rows.push_back({name, verdict.config.theorem, verdict.config.curve, weakest(verdict.bound),
                          number(worst_ratio(verdict).value), number(verdict.tightness), name_of(verdict.verdict),
                          expect ? name_of(*expect) : "-"});
  }
  return table;
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
  const std::vector<Answer> answers = answers_of(judged);
  if (!answers.empty()) print("\n" + table_text(answers_table(answers)));
  const std::string said = summary(judged, total, experiments.size());
  print(said);
  if (!options.out.empty()) {
    BenchReport report;
    report.title = options.quick ? "Bounds against simulations (quick)" : "Bounds against simulations";
    report.summary = said;
    report.environment = environment_of(machine);
    report.answers = answers;
    report.tables = {judged_table(judged)};
    report.figures = {bounds_figure(judged, false), bounds_figure(judged, true)};
    report.performance = total;
    const nlohmann::ordered_json json = to_json(report);
    write_files(options.out, {{"results.json", to_text(json)}, {"report.html", render_report(json)}});
  }
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
                          "folder for results.json and report.html of all, and for those of each experiment");
  };
  return benchmark_main("bench_bounds", "do the bounds of the shipped experiments come out as theory expects?", argc,
                        argv, add_options, [&] { return run(options); });
}
