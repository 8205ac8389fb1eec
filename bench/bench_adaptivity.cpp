// SPDX-License-Identifier: Apache-2.0
// Does adaptivity decide whether (compressed) SGD converges under (L0, L1)-smoothness? Survival of constant,
// prescribed, normalised and clipped steps; DSignSGD with standard schedules; how much normalisation each kind of noise
// needs; the failure signatures as diagnostics. docs/adaptivity.md derives what is expected. Exit status 1 when it does
// not come out.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bench/adaptivity.hpp"
#include "bench/answers.hpp"
#include "bench/fit.hpp"
#include "host/laws.hpp"
#include "host/step_size.hpp"

using namespace pathbound;
using namespace pathbound::adaptivity;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double family_level = 0.01;
/// Tests that a full run makes at most; each is made at family_level over this, whichever parts are run.
constexpr int most_tests = 100;

const std::string note = ", arXiv 2506.00181v1 (reading note)", abstract_v1 = ", arXiv 2506.00181v1 (abstract)",
                  abstract_v2 = ", arXiv 2506.00181v2 (ICML 2026)";

/// The two (L0, L1)-smooth objectives with the constant step at which they are run.
struct Problem {
  std::string_view name;
  Shape shape;
  double eta;
  std::vector<double> starts;  ///< of the survival grid, none close to a predicted limit
  double reach;                ///< normalised methods arrive within `steps` from here
  double target;               ///< median S that counts as converged: three times the level of constant steps, or more
};
const std::array<Problem, 2> problems = {{
    {"quartic", Shape::quartic, 0.1, {2.0, 3.9, 5.0, 10.0, 100.0, 1e4}, 100.0, 0.05},
    {"cosh", Shape::cosh, 0.2, {1.0, 3.0, 4.0, 5.0, 8.0, 30.0}, 30.0, 0.05},
}};
constexpr std::uint64_t steps = 2000;
constexpr int workers = 4;
constexpr double keep = 0.5;  ///< of DCSGD's bernoulli compressor: omega = 1
const std::string compressor = "compressor = { kind = \"bernoulli\", p = 0.5 }\n";

enum class Kind { constant, scheduled, warm_up, normalised, signs, momentum };
struct Variant {
  std::string name, toml;  ///< keys of the curve beside name, method and eta
  Kind kind;
  std::string method = "";  ///< empty: dsgd, or dcsgd with a compressor
};
const std::vector<Variant>& variants() {
  static const std::vector<Variant> all = {
      {"constant", "", Kind::constant},
      {"eta/sqrt(k+1)", "schedule = { kind = \"polynomial\", k0 = 1.0, p = 0.5 }\n", Kind::scheduled},
      {"eta/(k+1)", "schedule = { kind = \"polynomial\", k0 = 1.0, p = 1.0 }\n", Kind::scheduled},
      {"eta e^(-k/20)", "schedule = { kind = \"exponential\", rate = 0.05 }\n", Kind::scheduled},
      {"halved every 50", "schedule = { kind = \"step\", every = 50, factor = 0.5 }\n", Kind::scheduled},
      {"cosine", "schedule = { kind = \"cosine\" }\n", Kind::scheduled},
      {"warm-up of 100", "schedule = { kind = \"constant\", warmup = 100 }\n", Kind::warm_up},
      {"gradient_norm", "adaptive = { kind = \"gradient_norm\", c = 10.0, q = 1.0 }\n", Kind::normalised},
      {"stochastic gradient_norm", "adaptive = { kind = \"gradient_norm\", c = 10.0, q = 1.0, stochastic = true }\n",
       Kind::normalised},
      {"l0l1", "adaptive = { kind = \"l0l1\", theta = 0.2 }\n", Kind::normalised},
      {"hessian_norm", "adaptive = { kind = \"hessian_norm\", theta = 1.0 }\n", Kind::normalised},
      {"clipped", "clip = 10.0\n", Kind::normalised, "clipped_dsgd"},
      {"heavy_ball", "momentum = 0.9\n", Kind::momentum, "heavy_ball"},
      {"adam", "", Kind::signs, "adam"},
      {"DSignSGD", "", Kind::signs, "dsignsgd"},
      {"DSignSGD, eta/sqrt(k+1)", "schedule = { kind = \"polynomial\", k0 = 1.0, p = 0.5 }\n", Kind::signs, "dsignsgd"},
  };
  return all;
}

struct Setup {
  std::string objective;  ///< keys of [objective] beside start
  double start = 1.0;
  std::string noise = "scale = 1.0";
  int workers = 1;
  std::string curve;  ///< keys of [[curve]] beside its name
  std::uint64_t seed = 1, paths = 0, steps = 0;
  std::vector<std::uint64_t> records = {};
};

std::string text_of(const Setup& s) {
  std::vector<std::uint64_t> records = s.records;
  if (records.empty()) records = {0, s.steps};
  return fmt::format(
      "title = \"adaptivity\"\nseed = {}\npaths = {}\nsteps = {}\ncheckpoint_steps = [{}]\nprecision = \"double\"\n"
      "limit = {:.17g}\n[objective]\n{}\nstart = {:.17g}\n[noise]\n{}\n[workers]\ncount = {}\n[[curve]]\nname = "
      "\"method\"\n{}",
      s.seed, s.paths, s.steps, fmt::join(records, ", "), 0x1p100, s.objective, s.start, s.noise, s.workers, s.curve);
}

std::string objective_of(const Problem& problem) { return fmt::format("kind = \"{}\"", problem.name); }
std::string curve_of(const Variant& variant, double eta, bool compressed) {
  const std::string method = !variant.method.empty() ? variant.method : compressed ? "dcsgd" : "dsgd";
  return fmt::format("method = \"{}\"\neta = {:.17g}\n{}{}", method, eta, variant.toml, compressed ? compressor : "");
}

std::vector<std::uint64_t> every_step(std::uint64_t n) {
  std::vector<std::uint64_t> k(n + 1);
  for (std::uint64_t i = 0; i <= n; ++i) k[i] = i;
  return k;
}
/// 0, 1, 2, ... , about equally far apart in the logarithm, up to n.
std::vector<std::uint64_t> log_steps(std::uint64_t n, int per_octave = 3) {
  std::vector<std::uint64_t> k = {0};
  for (int i = 0;; ++i) {
    const auto next = static_cast<std::uint64_t>(std::lround(std::exp2(static_cast<double>(i) / per_octave)));
    if (next >= n) break;
    if (next > k.back()) k.push_back(next);
  }
  k.push_back(n);
  return k;
}

/// One path, step by step, up to the last record at which it has not diverged. One coordinate.
struct Trace {
  std::vector<double> x, log_gradient;
  bool diverged = false;
};

class Laboratory {
 public:
  Laboratory(const RunOptions& machine, bool is_quick) : bench(machine), quick(is_quick) {}

  SimulatedCurve operator()(Setup setup, const std::string& name) {
    setup.seed = ++seed_;  // every run has its own: they are independent
    return bench(text_of(setup), name);
  }
  /// The same seed for several runs: they share the gradient noise.
  std::vector<SimulatedCurve> together(std::vector<Setup> setups, const std::string& name) {
    ++seed_;
    std::vector<SimulatedCurve> out;
    for (Setup& setup : setups) {
      setup.seed = seed_;
      out.push_back(bench(text_of(setup), name));
    }
    return out;
  }
  std::vector<Trace> traces(Setup setup, const std::string& name) {
    setup.seed = ++seed_;
    if (setup.records.empty()) setup.records = every_step(setup.steps);
    const Experiment experiment = parse_experiment(text_of(setup), name);
    const Objective objective(experiment.objective);
    const CurveSpec<double> curve(experiment, experiment.curves.front(), objective);
    std::vector<Trace> out(setup.paths);
    for (std::uint64_t path = 0; path < setup.paths; ++path) {
      Trace& trace = out[path];
      trace_cpu(curve.spec, path, bench.machine().isa,
                [&](std::uint64_t, const double* x, double, double gradient, bool diverged) {
                  trace.diverged = trace.diverged || diverged;
                  if (trace.diverged) return;
                  trace.x.push_back(x[0]);
                  trace.log_gradient.push_back(std::log(gradient));
                });
    }
    return out;
  }
  std::uint64_t paths(std::uint64_t full, std::uint64_t fewer) const { return quick ? fewer : full; }

  Bench bench;
  Family family{family_level, most_tests};
  bool quick;
  BenchReport report;

 private:
  std::uint64_t seed_ = 5000;
};

/// What is judged of one answer: problems are collected, the first ones are shown.
struct Check {
  bool met = true;
  int cases = 0, failed = 0;
  std::string problems;
  void operator()(bool ok, const std::string& what) {
    ++cases;
    if (ok) return;
    met = false;
    if (++failed <= 3) problems += (problems.empty() ? "" : "; ") + what;
  }
  std::string text(const std::string& yes) const {
    if (met) return yes;
    return fmt::format("not in {} of {} cases: {}{}", failed, cases, problems, failed > 3 ? "; ..." : "");
  }
};

/// A mean over independent values, and whether it is `exact` at the family's level.
struct Estimate {
  stability::Interval interval;
  double half = 0.0;
  double lower() const { return interval.mean - half; }
  double upper() const { return interval.mean + half; }
};
Estimate estimate(const Laboratory& laboratory, const std::vector<double>& values) {
  Estimate out{stability::interval_of(values), 0.0};
  out.half = out.interval.half(laboratory.family.alpha());
  return out;
}

Answer& add(Laboratory& laboratory, const std::string& id, const std::string& part, const std::string& question,
            const std::string& claim, const std::string& expected, const Check& check, const std::string& said,
            const std::string& figure) {
  Answer answer;
  answer.id = "adaptivity/" + id;
  answer.question = question;
  answer.claim = claim;
  answer.expected = expected;
  answer.answer = check.text(said);
  answer.met = check.met;
  answer.figure = figure;
  answer.experiment = "bench_adaptivity " + part;
  laboratory.report.answers.push_back(std::move(answer));
  return laboratory.report.answers.back();
}
void number(Answer& answer, const std::string& what, double value, double lower = nan, double upper = nan,
            double confidence = nan) {
  answer.number_is = what;
  answer.number = value;
  answer.lower = lower;
  answer.upper = upper;
  answer.confidence = confidence;
}
void number(const Laboratory& laboratory, Answer& answer, const std::string& what, const Estimate& e) {
  number(answer, what, e.interval.mean, e.lower(), e.upper(), 1.0 - laboratory.family.alpha());
}
/// A share of paths with its Clopper-Pearson limits at the family's level.
void share_number(const Laboratory& laboratory, Answer& answer, const std::string& what, double count, double n) {
  const auto [low, high] = share_interval(count, n, laboratory.family.alpha());
  number(answer, what, count / n, low, high, 1.0 - laboratory.family.alpha());
}

FigureSeries line(const std::string& name, const std::vector<double>& x, const std::vector<double>& y, int group = -1,
                  bool dashed = false) {
  FigureSeries out;
  out.name = name;
  out.x = x;
  out.y = y;
  out.group = group;
  out.dashed = dashed;
  return out;
}
FigureSeries points(const std::string& name, const std::vector<double>& x, const std::vector<Estimate>& y, int group) {
  FigureSeries out;
  out.name = name;
  out.x = x;
  out.line = false;
  out.group = group;
  for (const Estimate& e : y) {
    out.y.push_back(e.interval.mean);
    out.lower.push_back(e.lower());
    out.upper.push_back(e.upper());
  }
  return out;
}
Figure figure(const std::string& title, const std::string& caption, const std::string& x, const std::string& y,
              bool log_x, bool log_y) {
  Figure out;
  out.title = title;
  out.caption = caption;
  out.x_label = x;
  out.y_label = y;
  out.log_x = log_x;
  out.log_y = log_y;
  return out;
}
std::vector<double> doubles(const std::vector<std::uint64_t>& k) { return {k.begin(), k.end()}; }

// ---------------------------------------------------------------------- survival
/// A method from one start.
struct Cell {
  double survival = nan, median = nan;
  std::uint64_t finite = 0, paths = 0;
};
using Grid = std::map<std::string, std::vector<Cell>>;  ///< by variant; one cell a start

/// The largest eta x0^2 (cosh: x0) from which the noiseless method stays, by bisection of the simulation.
double simulated_limit(Laboratory& laboratory, const Problem& problem, const Variant& variant, double low,
                       double high) {
  const auto leaves = [&](double start) {
    Setup setup{objective_of(problem), start, "scale = 0.0", 1, curve_of(variant, problem.eta, false)};
    setup.paths = 32;
    setup.steps = steps;
    return laboratory(setup, variant.name).end().finite == 0;
  };
  while (high - low > 1e-6 * high) {
    const double middle = 0.5 * (low + high);
    (leaves(middle) ? high : low) = middle;
  }
  return 0.5 * (low + high);
}

Grid survival_grid(Laboratory& laboratory, const Problem& problem, bool compressed) {
  Grid grid;
  for (const Variant& variant : variants()) {
    if (compressed && !variant.method.empty()) continue;
    show_progress(fmt::format("survival: {}, {} ...", problem.name, variant.name));
    for (const double start : problem.starts) {
      Setup setup{objective_of(problem), start, "scale = 1.0", workers, curve_of(variant, problem.eta, compressed)};
      setup.paths = laboratory.paths(4096, 128);
      setup.steps = steps;
      const SimulatedCurve run = laboratory(setup, variant.name);
      grid[variant.name].push_back({run.survival(), run.median(), run.end().finite, run.experiment.paths});
    }
  }
  return grid;
}

std::string survival_title(const Problem& problem, bool compressed) {
  return fmt::format("Survival against the start radius: {}, {}", problem.name, compressed ? "DCSGD" : "DSGD");
}

void show_grid(Laboratory& laboratory, const Problem& problem, bool compressed, const Grid& grid) {
  Table table;
  table.title = survival_title(problem, compressed);
  table.caption = fmt::format(
      "Share of {} paths that have not diverged (S > 2^100) after {} steps, and the median of S then; eta = {:g}, N = "
      "{}, sigma = 1, Gaussian{}.",
      grid.begin()->second.front().paths, steps, problem.eta, workers,
      compressed ? ", bernoulli compressor with p = 1/2" : "");
  table.header = {"steps"};
  for (const double start : problem.starts) table.header.push_back(fmt::format("x0 = {:g}", start));
  Figure shown = figure(table.title, table.caption, problem.shape == Shape::quartic ? "eta x0^2" : "x0",
                        "number + 0.8 surviving share", problem.shape == Shape::quartic, false);
  int lane = 1;
  for (const Variant& variant : variants()) {
    const auto found = grid.find(variant.name);
    if (found == grid.end()) continue;
    std::vector<std::string> row = {variant.name};
    std::vector<double> x, y;
    for (std::size_t i = 0; i < problem.starts.size(); ++i) {
      const Cell& cell = found->second[i];
      row.push_back(cell.finite == 0 ? "0" : fmt::format("{:.3g}; {:.2g}", cell.survival, cell.median));
      const double start = problem.starts[i];
      x.push_back(problem.shape == Shape::quartic ? problem.eta * start * start : start);
      y.push_back(lane + 0.8 * cell.survival);
    }
    table.rows.push_back(std::move(row));
    shown.series.push_back(line(fmt::format("{} {}", lane, variant.name), x, y, -1, variant.kind == Kind::scheduled));
    ++lane;
  }
  shown.caption += " Each has a lane of its own, from its number (no path) to 0.8 above it (all).";
  laboratory.report.tables.push_back(std::move(table));
  laboratory.report.figures.push_back(std::move(shown));
}

/// All paths or none: what theory expects with a probability beyond any test.
void expect_all(Check& check, const Cell& cell, const std::string& what) {
  check(cell.finite == cell.paths, fmt::format("{}: {} of {} survive", what, cell.finite, cell.paths));
}
void expect_none(Check& check, const Cell& cell, const std::string& what) {
  check(cell.finite == 0, fmt::format("{}: {} of {} survive", what, cell.finite, cell.paths));
}

void survival(Laboratory& laboratory) {
  std::map<std::pair<std::string_view, bool>, Grid> grids;
  for (const Problem& problem : problems)
    for (const bool compressed : {false, true})
      grids[{problem.name, compressed}] = survival_grid(laboratory, problem, compressed);
  for (const Problem& problem : problems)
    for (const bool compressed : {false, true})
      show_grid(laboratory, problem, compressed, grids.at({problem.name, compressed}));

  // Constant steps.
  for (const Problem& problem : problems) {
    const bool quartic = problem.shape == Shape::quartic;
    const double radius = *escape_radius(problem.shape, problem.eta, 1.0, 0.0, 100.0);
    Check check;
    const Grid& grid = grids.at({problem.name, false});
    for (std::size_t i = 0; i < problem.starts.size(); ++i) {
      const double start = problem.starts[i];
      (start < radius ? expect_all : expect_none)(check, grid.at("constant")[i], fmt::format("x0 = {:g}", start));
    }
    const double limit = simulated_limit(laboratory, problem, variants().front(), 0.5 * radius, 2.0 * radius);
    check(std::abs(limit / radius - 1.0) < 2e-6, fmt::format("limit {:.6g}, exact {:.6g}", limit, radius));
    Answer& answer =
        add(laboratory, fmt::format("constant/{}", problem.name), "survival",
            fmt::format("Does DSGD with a constant step converge on {}?", quartic ? "x^4/4" : "cosh x - 1"),
            "non-adaptive methods diverge" + note,
            fmt::format("only from |x0| < {:.4g}, where {}; beyond no path survives", radius,
                        quartic ? "eta x0^2 < 2" : "eta sinh(x0) < 2 x0"),
            check, "no: all paths survive below the limit, none above", survival_title(problem, false));
    number(answer, quartic ? "eta x0^2 at the limit, no noise, simulated" : "x0 at the limit, no noise, simulated",
           quartic ? problem.eta * limit * limit : limit);
  }
  {
    // Without noise the compressor alone decides, and the surviving share is known.
    const Problem& problem = problems[0];
    Check check;
    double shown_count = 0.0, shown_n = 1.0;
    for (const double start : {2.0, 3.9, 5.0, 10.0}) {
      Setup setup{objective_of(problem), start, "scale = 0.0", workers,
                  curve_of(variants().front(), problem.eta, true)};
      setup.paths = laboratory.paths(65536, 4096);
      setup.steps = steps;
      const SimulatedCurve run = laboratory(setup, "compressed");
      const double u2 = problem.eta * start * start, n = run.paths(), count = static_cast<double>(run.end().finite);
      const Bracket exact = compressed_quartic_survival(u2, keep, workers, 16);
      const auto [low, high] = share_interval(count, n, laboratory.family.alpha());
      const double middle = 0.5 * (low + high);
      check(laboratory.family.within(std::clamp(middle, exact.lower, exact.upper) - middle, 0.5 * (high - low)),
            fmt::format("eta x0^2 = {:.3g}: {:.4g} survive, exact {:.4g}", u2, count / n, exact.lower));
      if (start != 3.9) continue;
      shown_count = count;
      shown_n = n;
    }
    Answer& answer =
        add(laboratory, "constant/compressed", "survival",
            "Does compression alone, without gradient noise, make DCSGD diverge where DSGD does not (x^4/4, eta x0^2 = "
            "1.52)?",
            "DSGD and DCSGD require adaptive rates under unbounded noise or compression" + note,
            "yes: above eta x0^2 = 2p = 1 a share of the paths leaves, 26.2% from 1.52; from 2 N p = 4 on all do",
            check, "yes, in the share computed beforehand", survival_title(problem, true));
    share_number(laboratory, answer, "surviving share from eta x0^2 = 1.52, exact 0.7378", shown_count, shown_n);
  }

  // Prescribed schedules.
  for (const Problem& problem : problems) {
    Check check;
    double largest = 0.0;
    for (const Variant& variant : variants()) {
      if (variant.kind != Kind::scheduled) continue;
      const Setup setup{
          objective_of(problem), 1.0, "scale = 0.0", 1, curve_of(variant, problem.eta, false), 1, 32, steps};
      const Experiment experiment = parse_experiment(text_of(setup), variant.name);
      // The cosine's last steps fall without limit; the paths have left long before.
      double ratio = 1.0;
      for (std::uint64_t k = 0; k < steps / 2; ++k)
        ratio = std::min(
            ratio, prescribed_step(experiment.curves.front(), k + 1) / prescribed_step(experiment.curves.front(), k));
      const double constant = *escape_radius(problem.shape, problem.eta, 1.0, 0.0, 100.0);
      const double most =
          problem.shape == Shape::quartic ? std::sqrt(scheduled_limit(ratio) / problem.eta) : problem.starts[4];
      const double limit = simulated_limit(laboratory, problem, variant, 0.9 * constant, 1.2 * most);
      check(limit > constant * (1.0 - 2e-6) && limit < most * (1.0 + 2e-6),
            fmt::format("{}: limit x0 = {:.5g}, bounds {:.5g} and {:.5g}", variant.name, limit, constant, most));
      largest = std::max(largest, limit / constant);
      for (std::size_t i = 3; i < problem.starts.size(); ++i)
        for (const bool compressed : {false, true}) {
          if (compressed && i < 4) continue;  // a message in 16 is lost: close to the limit some paths wait long enough
          expect_none(
              check, grids.at({problem.name, compressed}).at(variant.name)[i],
              fmt::format("{}{}, x0 = {:g}", variant.name, compressed ? ", compressed" : "", problem.starts[i]));
        }
    }
    Answer& answer = add(
        laboratory, fmt::format("scheduled/{}", problem.name), "survival",
        fmt::format("Does a pre-scheduled decay (eta/sqrt(k+1), eta/(k+1), exponential, halving, cosine) save SGD or "
                    "compressed SGD on {}?",
                    problem.name),
        "with pre-scheduled decaying learning rate it fails to achieve convergence" + abstract_v1,
        problem.shape == Shape::quartic
            ? "no: from eta x0^2 > 1 + (s_k/s_(k+1))^(1/2) on, at most 2.41 here against 2, no path survives"
            : "no: no path survives from x0 = 5 on (compressed: 8), the constant step's limit is 4.5",
        check, "no: no path survives from the larger starts", survival_title(problem, true));
    number(answer, "largest start radius that any of the five survives, over the constant step's; no noise", largest);
  }
  {
    Check check;
    const Grid& grid = grids.at({problems[0].name, false});
    expect_all(check, grid.at("warm-up of 100")[3], "x0 = 10");
    expect_none(check, grid.at("warm-up of 100")[4], "x0 = 100");
    Answer& answer =
        add(laboratory, "scheduled/warm_up", "survival", "Does a warm-up save DSGD on x^4/4?",
            "prescribed schedules fail" + abstract_v1,
            "it moves the limit, no more: the first step is eta/100, so eta x0^2 = 10 is survived, 1000 is not", check,
            "it moves the limit: all paths survive from x0 = 10, none from 100", survival_title(problems[0], false));
    share_number(laboratory, answer, "surviving share from x0 = 100",
                 static_cast<double>(grid.at("warm-up of 100")[4].finite),
                 static_cast<double>(grid.at("warm-up of 100")[4].paths));
  }

  // Normalised ones.
  const auto normalised = [&](const std::string& name, const std::string& id, const std::string& question,
                              const std::string& claim, const std::string& expected, bool with_compressed) {
    Check check;
    double worst = 0.0, count = 0.0, n = 0.0;
    for (const Problem& problem : problems)
      for (const bool compressed : {false, true}) {
        if (compressed && !with_compressed) continue;
        const std::vector<Cell>& cells = grids.at({problem.name, compressed}).at(name);
        for (std::size_t i = 0; i < cells.size(); ++i) {
          const std::string what =
              fmt::format("{}, {}, x0 = {:g}", problem.name, compressed ? "DCSGD" : "DSGD", problem.starts[i]);
          expect_all(check, cells[i], what);
          count += static_cast<double>(cells[i].finite);
          n += static_cast<double>(cells[i].paths);
          if (problem.starts[i] > problem.reach) continue;
          check(cells[i].median <= problem.target, fmt::format("{}: median S = {:.3g}", what, cells[i].median));
          worst = std::max(worst, cells[i].median);
        }
      }
    Answer& answer = add(laboratory, id, "survival", question, claim, expected, check,
                         fmt::format("yes: all {:.0f} paths survive, medians of S end below {:.2g}", n, worst),
                         survival_title(problems[0], with_compressed));
    share_number(laboratory, answer, "surviving share over all starts and objectives", count, n);
  };
  const std::string all = "yes: no step makes |x| larger but by noise, from any start";
  normalised("gradient_norm", "normalised/gradient_norm",
             "Do steps normalised by the gradient norm converge from every start (DSGD and DCSGD)?",
             "unless the schedule accounts for an inverse dependency on the gradient norm" + abstract_v1, all, true);
  normalised("l0l1", "normalised/l0l1",
             "Do steps theta/(K (L0 + L1 |grad f|)) converge from every start (DSGD and DCSGD)?",
             "noise- and compression-dependent normalization" + abstract_v2, all, true);
  normalised("hessian_norm", "normalised/hessian_norm",
             "Do steps theta/(K |H|) converge from every start (DSGD and DCSGD)?",
             "adaptive learning rates normalized by gradient or Hessian norms" + note, all, true);
  normalised("clipped", "clipping/survival", "Does clipped DSGD converge from every start?",
             "gradient clipping, next check 1" + note, "yes: a step moves x by eta c at most", false);
  normalised(
      "stochastic gradient_norm", "stochastic/survival",
      "Does normalising by the norm of the stochastic gradient, which a server knows, do as well (DSGD and DCSGD)?",
      "idealized normalization may not be practical" + note, "yes: a step moves x by eta c at most", true);

  // Momentum and Adam.
  {
    Check check;
    double count = 0.0, n = 0.0;
    for (const Problem& problem : problems) {
      const std::vector<Cell>& cells = grids.at({problem.name, false}).at("heavy_ball");
      for (std::size_t i = 4; i < cells.size(); ++i) {
        expect_none(check, cells[i], fmt::format("{}, x0 = {:g}", problem.name, problem.starts[i]));
        count += static_cast<double>(cells[i].finite);
        n += static_cast<double>(cells[i].paths);
      }
    }
    Answer& answer = add(laboratory, "others/heavy_ball", "survival",
                         "Does heavy-ball momentum save DSGD from starts beyond its limit?",
                         "other distributed algorithms are not explored" + note,
                         "no: it moves as DSGD does first, and adds to every later step", check,
                         "no: no path survives from the larger starts", survival_title(problems[0], false));
    share_number(laboratory, answer, "surviving share from the two largest starts", count, n);
  }
  {
    Check check;
    double count = 0.0, n = 0.0;
    for (const Problem& problem : problems)
      for (const Cell& cell : grids.at({problem.name, false}).at("adam")) {
        expect_all(check, cell, std::string(problem.name));
        count += static_cast<double>(cell.finite);
        n += static_cast<double>(cell.paths);
      }
    Answer& answer =
        add(laboratory, "others/adam", "survival", "Does Adam survive from every start?",
            "other distributed algorithms are not explored" + note,
            "yes: a step moves x by less than 7.3 eta, (1 - beta1)/sqrt(1 - beta2)/sqrt(1 - beta1^2/beta2)", check,
            "yes: every path", survival_title(problems[0], false));
    share_number(laboratory, answer, "surviving share over all starts and objectives", count, n);
  }
}

// ---------------------------------------------------------------------- DSignSGD and heavy tails
struct Law {
  std::string_view name, toml;
  LawSpec spec;
};
const std::array<Law, 2> sign_laws = {{{"Gaussian", "law = \"gaussian\"", {LawKind::gaussian}},
                                       {"t, nu = 1", "law = \"student_t\"\nnu = 1.0", {LawKind::student_t, 1.0}}}};

void signs(Laboratory& laboratory) {
  constexpr std::uint64_t end = 16384, early = 1024;
  constexpr double eta = 0.1, sigma = 1.0;
  /// Corrections of the level are of order eta l f''/sigma, 3% at most here.
  constexpr double margin = 0.1;
  struct Schedule {
    std::string name, toml;
    bool infinite;  ///< sum eta_k diverges, eta_k -> 0
  };
  const std::array<Schedule, 6> schedules = {{
      {"constant", "", false},
      {"eta/sqrt(k+1)", "schedule = { kind = \"polynomial\", k0 = 1.0, p = 0.5 }\n", true},
      {"halved every 2048", "schedule = { kind = \"step\", every = 2048, factor = 0.5 }\n", false},
      {"eta e^(-k/2000)", "schedule = { kind = \"exponential\", rate = 0.0005 }\n", false},
      {"cosine", "schedule = { kind = \"cosine\" }\n", false},
      {"warm-up of 100, eta/sqrt(k+1)", "schedule = { kind = \"polynomial\", k0 = 1.0, p = 0.5, warmup = 100 }\n",
       true},
  }};
  const std::vector<std::uint64_t> records = log_steps(end);
  const std::size_t at_early =
      static_cast<std::size_t>(std::find(records.begin(), records.end(), early) - records.begin());
  const std::string title = "DSignSGD under Gaussian and Cauchy noise, by schedule";
  Check constant, decaying, others, survive;
  double count = 0.0, n = 0.0, worst_ratio = 0.0, worst_upper = 0.0, level_ratio = nan, level_half = nan;
  double worst_end = 0.0, worst_end_upper = 0.0;
  Table table;
  table.title = "DSignSGD with standard schedules";
  table.caption = fmt::format("E S after {} and {} steps; eta = {}, N = {}, sigma = {}; starts: quartic 2, cosh 3.",
                              early, end, eta, workers, sigma);
  table.header = {"objective",
                  "law",
                  "schedule",
                  fmt::format("E S at {}", early),
                  fmt::format("E S at {}", end),
                  "constant step's level"};
  for (const Problem& problem : problems) {
    Figure shown = figure(problem.shape == Shape::quartic ? title : title + ", cosh",
                          fmt::format("E S of DSignSGD on {}; eta = {}, N = {}, sigma = {}. Dashed: Cauchy noise.",
                                      problem.name, eta, workers, sigma),
                          "step", "E S", true, true);
    for (std::size_t l = 0; l < sign_laws.size(); ++l) {
      const double l_nu = noise_density_factor(sign_laws[l].spec);
      const double level = eta * sigma / ((problem.shape == Shape::quartic ? 8.0 : 4.0) * workers * l_nu);
      double constant_end = nan, constant_error = nan;
      for (std::size_t s = 0; s < schedules.size(); ++s) {
        const Schedule& schedule = schedules[s];
        show_progress(fmt::format("signs: {}, {}, {} ...", problem.name, sign_laws[l].name, schedule.name));
        Setup setup{objective_of(problem), problem.shape == Shape::quartic ? 2.0 : 3.0,
                    fmt::format("{}\nscale = {}", sign_laws[l].toml, sigma), workers,
                    fmt::format("method = \"dsignsgd\"\neta = {}\n{}", eta, schedule.toml)};
        setup.paths = laboratory.paths(8192, 512);
        setup.steps = end;
        setup.records = records;
        const SimulatedCurve run = laboratory(setup, "signs");
        const auto mean_at = [&](std::size_t i) {
          const Record& r = run.result.records[i];
          const double paths = static_cast<double>(r.finite);
          return std::pair{r.sum / paths, std::sqrt(r.m2 / (paths * (paths - 1.0)))};
        };
        const auto [first, first_error] = mean_at(at_early);
        const auto [last, last_error] = mean_at(records.size() - 1);
        const std::string what = fmt::format("{}, {}, {}", problem.name, sign_laws[l].name, schedule.name);
        const double z = normal_quantile(laboratory.family.alpha());
        survive(run.end().finite == run.experiment.paths, what);
        count += static_cast<double>(run.end().finite);
        n += run.paths();
        if (s == 0) {
          constant_end = last;
          constant_error = last_error;
          constant(laboratory.family.within(last / level - 1.0, margin + z * last_error / level),
                   fmt::format("{}: {:.4g} of the level", what, last / level));
          if (std::isnan(level_ratio) || std::abs(last / level - 1.0) > std::abs(level_ratio - 1.0)) {
            level_ratio = last / level;
            level_half = z * last_error / level;
          }
        } else if (schedule.infinite) {
          const double ratio = last / first, error = ratio * std::hypot(last_error / last, first_error / first);
          decaying(laboratory.family.within(ratio, 0.6 - z * error), fmt::format("{}: {:.3g}", what, ratio));
          if (ratio > worst_ratio) {
            worst_ratio = ratio;
            worst_upper = ratio + z * error;
          }
        }
        if (s > 0 && !schedule.infinite) {
          others(laboratory.family.within(last, constant_end - z * std::hypot(last_error, constant_error)),
                 fmt::format("{}: {:.3g} against {:.3g}", what, last, constant_end));
          const double ratio = last / constant_end;
          if (ratio > worst_end) {
            worst_end = ratio;
            worst_end_upper = ratio * (1.0 + z * std::hypot(last_error / last, constant_error / constant_end));
          }
        }
        table.rows.push_back({std::string(problem.name), std::string(sign_laws[l].name), schedule.name,
                              fmt::format("{:.3g} +- {:.1g}", first, z * first_error),
                              fmt::format("{:.3g} +- {:.1g}", last, z * last_error), fmt::format("{:.3g}", level)});
        FigureSeries series =
            line(fmt::format("{}, {}", sign_laws[l].name, schedule.name), {}, {}, static_cast<int>(s), l == 1);
        for (std::size_t i = 1; i < records.size(); ++i) {
          series.x.push_back(static_cast<double>(records[i]));
          series.y.push_back(mean_at(i).first);
        }
        shown.series.push_back(std::move(series));
      }
    }
    laboratory.report.figures.push_back(std::move(shown));
  }
  laboratory.report.tables.push_back(std::move(table));
  const std::string claim = "DSignSGD converges even under heavy-tailed noise with standard learning rate schedules";
  {
    Answer& answer = add(laboratory, "sign/survival", "signs", "Does any path of DSignSGD diverge under Cauchy noise?",
                         claim + abstract_v2, "no: |x_k| <= |x_0| + sum eta_k, whatever the noise", survive,
                         "no: every path survives, with every schedule", title);
    share_number(laboratory, answer, "surviving share over objectives, laws and schedules", count, n);
  }
  {
    Answer& answer = add(
        laboratory, "sign/constant", "signs", "Does DSignSGD converge with a constant step under heavy-tailed noise?",
        "DSignSGD converges under heavy-tailed noise with constant learning rate" + note,
        "to a neighbourhood only: E S stays at eta sigma/(4 N l) (cosh), eta sigma/(8 N l) (quartic), up to 10%",
        constant, "to a neighbourhood of the predicted size, not further", title);
    number(answer, "E S over the predicted level, the case furthest from 1", level_ratio, level_ratio - level_half,
           level_ratio + level_half, 1.0 - laboratory.family.alpha());
  }
  {
    Answer& answer =
        add(laboratory, "sign/decaying", "signs",
            "Does DSignSGD converge with eta/sqrt(k+1), with and without warm-up, under heavy-tailed noise?",
            claim + abstract_v2, "yes: E S falls at least like 1/sqrt(k), by 4 or more from step 1024 to 16384",
            decaying, "yes: E S goes on falling", title);
    number(answer, "E S at step 16384 over E S at step 1024, the largest; tested against 0.6", worst_ratio, nan,
           worst_upper, 1.0 - laboratory.family.alpha());
  }
  {
    Answer& answer = add(laboratory, "sign/schedules", "signs",
                         "Do the other standard schedules (halving, exponential, cosine) end below the constant step?",
                         claim + abstract_v2, "yes: the level follows eta_k", others, "yes: every one of them", title);
    number(answer, "E S at the end over that of the constant step, the largest; tested against 1", worst_end, nan,
           worst_end_upper, 1.0 - laboratory.family.alpha());
  }
}

void heavy_tails(Laboratory& laboratory) {
  constexpr std::uint64_t end = 1000;
  const std::string title = "DSGD under Cauchy noise, by schedule: x^2/2";
  const std::string quartic_title = "DSGD under Cauchy noise, by schedule: survival on x^4/4";
  const std::vector<std::uint64_t> records = log_steps(end);
  // The quadratic: the law of x_k is known.
  {
    constexpr double eta = 0.5, start = 10.0;
    Check check;
    Figure shown =
        figure(title,
               "Median of S; eta = 0.5, sigma = 1, N = 4 (a mean of Cauchy variables is one of them). Dashed: "
               "exact. DSignSGD with eta/sqrt(k+1) for comparison.",
               "step", "median of S", true, true);
    double number_shown = nan, low_shown = nan, high_shown = nan;
    int group = 0;
    for (const Variant& variant : variants()) {
      if (variant.kind != Kind::constant && variant.kind != Kind::scheduled) continue;
      Setup setup{"kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }", start,
                  "law = \"student_t\"\nnu = 1.0\nscale = 1.0", workers, curve_of(variant, eta, false)};
      setup.paths = laboratory.paths(65536, 8192);
      setup.steps = end;
      setup.records = records;
      const SimulatedCurve run = laboratory(setup, variant.name);
      std::vector<double> exact, k;
      for (std::size_t i = 1; i < records.size(); ++i) {
        std::vector<double> sizes;
        for (std::uint64_t j = 0; j < records[i]; ++j) sizes.push_back(prescribed_step(run.curve(), j));
        const double share = cauchy_share(sizes), centre = start * (1.0 - share);
        // Median of |x|, x Cauchy about `centre`: F(m - centre) - F(-m - centre) = 1/2 gives m^2 = centre^2 + share^2.
        exact.push_back(0.5 * (centre * centre + share * share));
        k.push_back(static_cast<double>(records[i]));
      }
      // Quantiles are bins of 1.6%; the median's own error: P(S <= exact median) is 1/2 +- z/(2 sqrt n), and the
      // density of log S at its median is 1/(2 pi) for a Cauchy x centred at 0.
      const double z = normal_quantile(laboratory.family.alpha());
      const double half = 0.016 + z * std::numbers::pi / std::sqrt(run.paths());
      const double off = std::log(run.median() / exact.back());
      check(laboratory.family.within(off, half),
            fmt::format("{}: median S = {:.4g}, exact {:.4g}", variant.name, run.median(), exact.back()));
      if (variant.name == "eta/sqrt(k+1)") {
        number_shown = run.median();
        low_shown = run.median() * std::exp(-half);
        high_shown = run.median() * std::exp(half);
      }
      shown.series.push_back(
          line(variant.name, k, {run.result.quantiles[2].begin() + 1, run.result.quantiles[2].end()}, group));
      shown.series.push_back(line(variant.name + ", exact", k, exact, group++, true));
    }
    Setup setup{"kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }", start,
                "law = \"student_t\"\nnu = 1.0\nscale = 1.0", workers, curve_of(variants().back(), eta, false)};
    setup.paths = laboratory.paths(65536, 8192);
    setup.steps = end;
    setup.records = records;
    const SimulatedCurve sign = laboratory(setup, "signs");
    std::vector<double> k;
    for (std::size_t i = 1; i < records.size(); ++i) k.push_back(static_cast<double>(records[i]));
    shown.series.push_back(line("DSignSGD, eta/sqrt(k+1)", k,
                                {sign.result.quantiles[2].begin() + 1, sign.result.quantiles[2].end()}, group));
    check(sign.median() < 0.1 * number_shown, fmt::format("DSignSGD: median S = {:.3g}", sign.median()));
    laboratory.report.figures.push_back(std::move(shown));
    Answer& answer = add(
        laboratory, "scheduled/cauchy", "heavy_tails",
        "Can any schedule make DSGD converge under Cauchy noise, even on x^2/2?",
        "non-adaptive methods fail under heavy-tailed noise" + abstract_v1,
        "no: x_k is Cauchy about x_0 prod(1 - eta_j) with scale sigma (1 - prod(1 - eta_j)), so that the median of S "
        "tends to sigma^2/2 whatever the schedule (with prod -> 0)",
        check, "no: the median of S ends at the exact value, with every schedule", title);
    number(answer, "median S at the end with eta/sqrt(k+1), exact 0.5", number_shown, low_shown, high_shown,
           1.0 - laboratory.family.alpha());
  }
  // The quartic: one jump is enough.
  {
    constexpr double eta = 0.1, scale = 10.0;
    Check check;
    Figure shown = figure(quartic_title,
                          "Share of paths that have not diverged; x0 = 1, eta = 0.1, sigma = 10, N = 4. Dashed: upper "
                          "bound (docs/adaptivity.md). DSignSGD with eta/sqrt(k+1) for comparison.",
                          "step", "surviving share", true, false);
    double shown_count = 0.0, shown_n = 1.0;
    int group = 0;
    for (const char* name : {"constant", "eta/sqrt(k+1)", "DSignSGD, eta/sqrt(k+1)"}) {
      const Variant& variant =
          *std::find_if(variants().begin(), variants().end(), [&](const Variant& v) { return v.name == name; });
      Setup setup{objective_of(problems[0]), 1.0, fmt::format("law = \"student_t\"\nnu = 1.0\nscale = {}", scale),
                  workers, curve_of(variant, eta, false)};
      setup.paths = laboratory.paths(16384, 2048);
      setup.steps = end;
      setup.records = records;
      const SimulatedCurve run = laboratory(setup, variant.name);
      std::vector<double> k, alive, bound;
      for (std::size_t i = 1; i < records.size(); ++i) {
        std::vector<double> sizes;
        for (std::uint64_t j = 0; j < records[i]; ++j) sizes.push_back(prescribed_step(run.curve(), j));
        k.push_back(static_cast<double>(records[i]));
        alive.push_back(static_cast<double>(run.result.records[i].finite) / run.paths());
        bound.push_back(cauchy_survival_bound(sizes, scale));
      }
      shown.series.push_back(line(variant.name, k, alive, group));
      const double count = static_cast<double>(run.end().finite);
      if (variant.kind == Kind::signs) {
        check(run.end().finite == run.experiment.paths, "DSignSGD");
      } else {
        shown.series.push_back(line(variant.name + ", at most", k, bound, group, true));
        const auto limits = share_interval(count, run.paths(), laboratory.family.alpha());
        check(laboratory.family.within(limits.second, bound.back()),
              fmt::format("{}: {:.3g} survive, at most {:.3g}", name, alive.back(), bound.back()));
        if (variant.kind == Kind::scheduled) {
          shown_count = count;
          shown_n = run.paths();
        }
      }
      ++group;
    }
    laboratory.report.figures.push_back(std::move(shown));
    Answer& answer = add(laboratory, "scheduled/heavy_tails", "heavy_tails",
                         "Does DSGD survive Cauchy noise on x^4/4 from x0 = 1, with a constant step or eta/sqrt(k+1)?",
                         "with pre-scheduled decaying learning rate it fails to achieve convergence" + abstract_v1,
                         "no: at most 5.5% and 26.2% of the paths survive 1000 steps; DSignSGD: all", check,
                         "no: fewer than the bound survive; all of DSignSGD", quartic_title);
    share_number(laboratory, answer, "surviving share with eta/sqrt(k+1)", shown_count, shown_n);
  }
}

// ---------------------------------------------------------------------- failure signatures
void signatures(Laboratory& laboratory) {
  const std::string explosion_title = "Gradient-norm explosion: log |grad f| of single paths";
  const std::string quadratic = "kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }";
  const std::uint64_t n = laboratory.paths(256, 64);
  Figure shown = figure(explosion_title,
                        "One path each, up to where S exceeds 2^100: exponential on the quadratic and where the "
                        "normalisation leaves the step in proportion to x, super-exponential on x^4/4 and cosh x - 1.",
                        "step", "log |grad f|", false, false);
  Table table;
  table.title = "Explosions";
  table.caption =
      "Of all paths: rate, growth of log |grad f| per step; order, regression of an increment on the one before (1: "
      "exponential; b: log |grad f| multiplies by b each step).";
  table.header = {"case", "rate", "exact", "order", "exact", "doubling"};
  struct Case {
    std::string id, name, question, expected;
    Setup setup;
    double rate;         ///< exact, per step; NaN: the growth is super-exponential
    double order;        ///< exact in the limit
    bool whole = false;  ///< rate: of the whole path, from its ends (increments that fluctuate)
  };
  const auto setup = [&](const std::string& objective, double start, const std::string& noise, int count,
                         const std::string& curve, std::uint64_t length) {
    Setup s{objective, start, noise, count, curve};
    s.paths = n;
    s.steps = length;
    return s;
  };
  const std::string half = "method = \"dcsgd\"\n" + compressor;
  const double lyapunov = 0.5 * stability::method_growth({keep, 0.0, 2}, 2.2).path;
  const std::vector<Case> cases = {
      {"quadratic", "x^2/2, eta h = 2.5", "Is the explosion exponential on a quadratic beyond its limit?",
       "yes, with the rate log|1 - eta h| = log 1.5",
       setup(quadratic, 1e3, "scale = 1.0", workers, "method = \"dsgd\"\neta = 2.5\n", 60), std::log(1.5), 1.0},
      {"compressed", "x^2/2, DCSGD, eta h = 2.2", "And under compression?",
       fmt::format("yes: each path with the Lyapunov exponent E log|1 - eta h C| = {:.4g}", lyapunov),
       setup(quadratic, 1.0, "scale = 0.0", 2, half + "eta = 2.2\n", 64), lyapunov, 1.0, true},
      {"hessian_norm", "x^4/4, hessian_norm, theta = 7.5",
       "And with a normalisation that is too weak by a factor (x^4/4, theta/|H| with theta = 7.5 > 6)?",
       "yes: the step is in proportion to x, |grad f| = |x|^3, with the rate 3 log|1 - theta/3| = 3 log 1.5",
       setup(objective_of(problems[0]), 10.0, "scale = 0.0", 1,
             "method = \"dsgd\"\neta = 10.0\nadaptive = { kind = \"hessian_norm\", theta = 7.5 }\n", 30),
       3.0 * std::log(1.5), 1.0},
      {"degree_half", "x^4/4, gradient_norm, q = 1/2",
       "And with a normalisation of too low a degree (x^4/4, (1 + |grad f|)^(-1/2))?",
       "no: super-exponential, log |grad f| grows by 3 (1 - q) = 1.5 each step",
       setup(objective_of(problems[0]), 1e3, "scale = 1.0", workers,
             "method = \"dsgd\"\neta = 0.1\nadaptive = { kind = \"gradient_norm\", c = 1.0, q = 0.5 }\n", 30),
       nan, 1.5},
      {"quartic", "x^4/4, constant step", "Is it exponential on x^4/4?",
       "no: super-exponential, log |grad f| triples each step and doubles in 0.63 steps",
       setup(objective_of(problems[0]), 6.0, "scale = 1.0", workers, "method = \"dsgd\"\neta = 0.1\n", 30), nan, 3.0},
  };
  for (const Case& one : cases) {
    show_progress(fmt::format("signatures: {} ...", one.name));
    const std::vector<Trace> traces = laboratory.traces(one.setup, one.id);
    std::vector<double> rates, orders;
    Check check;
    for (const Trace& trace : traces) {
      const Explosion e = explosion_of(trace.log_gradient);
      if (one.whole) {
        rates.push_back((trace.log_gradient.back() - trace.log_gradient.front()) /
                        static_cast<double>(trace.log_gradient.size() - 1));
        continue;
      }
      check(e.found, "a path without explosion");
      check(e.super_exponential() == std::isnan(one.rate), fmt::format("a path of order {:.3g}", e.order));
      rates.push_back(e.rate);
      orders.push_back(e.order);
    }
    const Estimate rate = estimate(laboratory, rates), order = estimate(laboratory, orders);
    if (!std::isnan(one.rate)) {
      // Paths without noise are all alike: only rounding is left. The least-squares slope of a path with noise tends to
      // the rate as (sigma/x0)^2.
      check(laboratory.family.within(rate.interval.mean - one.rate, rate.half + 1e-5),
            fmt::format("rate {:.6g} +- {:.2g}, exact {:.6g}", rate.interval.mean, rate.half, one.rate));
    } else {
      // The order is reached in the limit of large |x| only.
      check(laboratory.family.within(order.interval.mean / one.order - 1.0, 0.05),
            fmt::format("order {:.4g}, exact {:.4g}", order.interval.mean, one.order));
    }
    table.rows.push_back(
        {one.name, std::isnan(one.rate) ? "-" : fmt::format("{:.4f} +- {:.1g}", rate.interval.mean, rate.half),
         std::isnan(one.rate) ? "-" : fmt::format("{:.4f}", one.rate),
         orders.empty() ? "-" : fmt::format("{:.3f}", order.interval.mean), fmt::format("{:g}", one.order),
         std::isnan(one.rate)
             ? fmt::format("log |grad f| in {:.2f} steps", std::log(2.0) / std::log(order.interval.mean))
             : fmt::format("|grad f| in {:.2f} steps", std::log(2.0) / rate.interval.mean)});
    std::vector<double> k;
    for (std::size_t i = 0; i < traces.front().x.size(); ++i) k.push_back(static_cast<double>(i));
    shown.series.push_back(line(one.name, k, traces.front().log_gradient));
    Answer& answer = add(laboratory, "explosion/" + one.id, "signatures", one.question,
                         "without adaptivity, DSGD and DCSGD diverge exponentially" + note, one.expected, check,
                         std::isnan(one.rate) ? "no: super-exponential, as predicted" : "yes, at the predicted rate",
                         explosion_title);
    if (std::isnan(one.rate)) {
      number(laboratory, answer, fmt::format("factor of log |grad f| per step, in the limit {:g}", one.order), order);
    } else {
      number(laboratory, answer, fmt::format("growth of log |grad f| per step, exact {:.5g}", one.rate), rate);
    }
  }
  {
    // x_1 = x_0 - eta sinh(x_0) is about -34, x_2 about 10^14.
    const Setup s = setup(objective_of(problems[1]), 6.0, "scale = 1.0", workers, "method = \"dsgd\"\neta = 0.2\n", 30);
    const std::vector<Trace> traces = laboratory.traces(s, "cosh");
    Check check;
    std::vector<double> k;
    for (const Trace& trace : traces)
      check(trace.diverged && trace.x.size() == 2, fmt::format("a path of {} records", trace.x.size()));
    for (std::size_t i = 0; i < traces.front().x.size(); ++i) k.push_back(static_cast<double>(i));
    shown.series.push_back(line("cosh x - 1, constant step", k, traces.front().log_gradient));
    Answer& answer =
        add(laboratory, "explosion/cosh", "signatures", "Is it exponential on cosh x - 1?",
            "without adaptivity, DSGD and DCSGD diverge exponentially" + note,
            "no: faster than any iterated power, log |grad f| itself becomes eta |grad f|; from x0 = 6 the "
            "second step is beyond 10^13",
            check, "no: every path is gone at the second step", explosion_title);
    number(answer, "steps from x0 = 6 to S > 2^100, every path", 2.0);
  }
  laboratory.report.tables.push_back(std::move(table));
  laboratory.report.figures.push_back(std::move(shown));

  // Oscillation.
  const std::string title = "Oscillation: share of steps in which x - x* changes its sign";
  Figure oscillation = figure(title,
                              "On x^2/2: DSGD on its noise floor (exact: arccos(1 - eta h)/pi), DCSGD without noise "
                              "(exact: P(eta h C > 1)), N = 4, p = 1/2. Whiskers: family-wise limits.",
                              "eta h", "share of steps", false, false);
  constexpr std::uint64_t burn = 64, length = 576;
  {
    Check check;
    std::vector<double> z_values = {0.2, 0.5, 1.0, 1.5, 1.8}, grid, exact;
    std::vector<Estimate> seen;
    for (const double z : z_values) {
      Setup s = setup(quadratic, 0.0, "scale = 1.0", workers, fmt::format("method = \"dsgd\"\neta = {}\n", z), length);
      std::vector<double> shares;
      for (const Trace& trace : laboratory.traces(s, "oscillation"))
        shares.push_back(oscillation_of({trace.x.begin() + burn, trace.x.end()}).share());
      seen.push_back(estimate(laboratory, shares));
      check(laboratory.family.within(seen.back().interval.mean - floor_oscillation(z), seen.back().half),
            fmt::format("eta h = {:g}: {:.4f} +- {:.2g}, exact {:.4f}", z, seen.back().interval.mean, seen.back().half,
                        floor_oscillation(z)));
    }
    for (double z = 0.02; z < 2.0; z += 0.02) {
      grid.push_back(z);
      exact.push_back(floor_oscillation(z));
    }
    oscillation.series.push_back(line("DSGD, exact", grid, exact, 0, true));
    oscillation.series.push_back(points("DSGD", z_values, seen, 0));
    Answer& answer = add(
        laboratory, "oscillation/floor", "signatures",
        "Does oscillation on the noise floor tell how close to its limit the step is?",
        "oscillations suggest insufficient normalization" + note,
        "yes: x changes sign in arccos(1 - eta h)/pi of the steps, above 1/2 exactly from eta h > 1 on, half of the "
        "limit",
        check, "yes: the shares are the exact ones", title);
    number(laboratory, answer, "share of steps with a change of sign at eta h = 1.5, exact 2/3", seen[3]);
  }
  {
    Check check;
    std::vector<double> z_values = {0.4, 0.6, 0.8, 1.2, 1.7}, grid, exact;
    std::vector<Estimate> seen;
    const stability::Linear four{keep, 0.0, workers};
    for (const double z : z_values) {
      Setup s = setup(quadratic, 1.0, "scale = 0.0", workers, fmt::format("{}eta = {}\n", half, z), 128);
      std::vector<double> shares;
      for (const Trace& trace : laboratory.traces(s, "oscillation")) shares.push_back(oscillation_of(trace.x).share());
      seen.push_back(estimate(laboratory, shares));
      check(laboratory.family.within(seen.back().interval.mean - compressed_oscillation(four, z),
                                     seen.back().half + 1e-12),
            fmt::format("eta h = {:g}: {:.4f} +- {:.2g}, exact {:.4f}", z, seen.back().interval.mean, seen.back().half,
                        compressed_oscillation(four, z)));
    }
    for (double z = 0.02; z < 2.0; z += 0.02) {
      grid.push_back(z);
      exact.push_back(compressed_oscillation(four, z));
    }
    oscillation.series.push_back(line("DCSGD without noise, exact", grid, exact, 1, true));
    oscillation.series.push_back(points("DCSGD without noise", z_values, seen, 1));
    Answer& answer = add(laboratory, "oscillation/compressed", "signatures",
                         "Does compression make DCSGD oscillate from smaller steps on?",
                         "oscillations suggest insufficient normalization" + note,
                         "yes: from eta h > p = 1/2 on, in the share P(eta h C > 1) of the steps", check,
                         "yes: the shares are the exact ones", title);
    number(laboratory, answer, "share of steps with a change of sign at eta h = 1.2, exact 11/16", seen[3]);
  }
  {
    // Every growing step of an exploding path crosses the minimum; below eta x^2 = 1 none does.
    Check check;
    double changes = 0.0, all = 0.0;
    for (const Trace& trace : laboratory.traces(
             setup(objective_of(problems[0]), 5.0, "scale = 1.0", workers, "method = \"dsgd\"\neta = 0.1\n", 30),
             "oscillation")) {
      const Oscillation o = oscillation_of(trace.x);
      check(trace.diverged && o.changes == o.steps && o.steps >= 3,
            "an exploding path with a step that does not cross");
      changes += static_cast<double>(o.changes);
      all += static_cast<double>(o.steps);
    }
    Setup calm = setup(objective_of(problems[0]), 3.0, "scale = 0.0", 1, "method = \"dsgd\"\neta = 0.1\n", 256);
    calm.paths = 1;
    check(oscillation_of(laboratory.traces(calm, "oscillation").front().x).changes == 0, "eta x0^2 = 0.9 oscillates");
    Answer& answer = add(laboratory, "oscillation/explosion", "signatures",
                         "Does an exploding path oscillate (x^4/4, constant step)?",
                         "oscillations suggest insufficient normalization" + note,
                         "in every step: without noise |x| grows only where eta x^2 > 2, and x then changes its sign",
                         check, "in every step", title);
    share_number(laboratory, answer, "share of steps with a change of sign before divergence", changes, all);
  }
  {
    Check check;
    Setup s = setup(quadratic, 1.03, "scale = 0.0", 1, "method = \"dsignsgd\"\neta = 0.1\n", 256);
    s.paths = 1;
    const Trace trace = laboratory.traces(s, "oscillation").front();
    const Oscillation o = oscillation_of({trace.x.begin() + 16, trace.x.end()});
    check(o.changes == o.steps, fmt::format("{} of {} steps", o.changes, o.steps));
    Answer& answer = add(laboratory, "oscillation/sign", "signatures",
                         "Is oscillation a sign of insufficient normalisation in DSignSGD, too?",
                         "oscillations suggest insufficient normalization" + note,
                         "no: without noise it ends in steps of +-eta about the minimum, for every eta", check,
                         "no: it crosses the minimum in every step, and that is its level", title);
    number(answer, "share of steps with a change of sign at the end, no noise", o.share());
  }
  laboratory.report.figures.push_back(std::move(oscillation));
}

// ---------------------------------------------------------------------- how much normalisation
void degree(Laboratory& laboratory) {
  struct Noise {
    std::string_view name, toml;
    bool compressed;
    stability::Linear linear;  ///< what it makes of a step in proportion to x
  };
  const std::array<Noise, 4> noises = {{{"no noise", "scale = 0.0", false, {1.0, 0.0, 2}},
                                        {"additive", "scale = 1.0", false, {1.0, 0.0, 2}},
                                        {"affine, rho = 1", "scale = 0.0\naffine = 1.0", false, {1.0, 1.0, 2}},
                                        {"compression, omega = 1", "scale = 0.0", true, {0.5, 0.0, 2}}}};
  constexpr double c = 1.0;
  const auto curve = [c](double eta, double q, bool compressed) {
    return fmt::format(
        "method = \"{}\"\neta = {:.17g}\n{}adaptive = {{ kind = \"gradient_norm\", c = {}, q = {:.17g} }}\n",
        compressed ? "dcsgd" : "dsgd", eta, compressed ? compressor : "", c, q);
  };
  struct Landscape {
    const Problem* problem;
    double eta, power;  ///< |f'| grows like |x|^power
    std::vector<double> degrees, starts;
    std::uint64_t steps;
  };
  const std::array<Landscape, 2> landscapes = {
      {{&problems[0],
        0.1,
        3.0,
        {0.0, 1.0 / 3.0, 0.5, 0.6, 2.0 / 3.0, 0.75, 1.0},
        {3.0, 10.0, 100.0, 1e3, 1e4, 1e7},
        400},
       {&problems[1], 0.2, stability::infinity, {0.0, 0.5, 0.8, 0.9, 1.0}, {2.0, 6.0, 14.0, 25.0, 50.0, 68.5}, 400}}};
  std::array<Check, 4> by_noise;  // quartic
  Check by_cosh;
  double cosh_count = 0.0, cosh_n = 0.0;
  std::array<std::pair<double, double>, 4> counted = {};  // quartic, q >= 2/3: survivors, paths
  const auto title_of = [](const Landscape& land, const Noise& noise) {
    return fmt::format("Survival by the degree of normalisation: {}, {}", land.problem->name, noise.name);
  };
  for (const Landscape& land : landscapes) {
    const double needed = required_degree(land.power) - 1e-9;  // the degree itself is one of those tried
    for (std::size_t i = 0; i < noises.size(); ++i) {
      const Noise& noise = noises[i];
      Table table;
      table.title = title_of(land, noise);
      table.caption = fmt::format(
          "Share of paths left after {} steps; eta a(x) = eta (1 + |grad f|/c)^-q, eta = {}, c = {}, N = 2. limit: the "
          "start from which a noiseless step makes |x| larger.",
          land.steps, land.eta, c);
      table.header = {"q", "limit"};
      for (const double start : land.starts) table.header.push_back(fmt::format("x0 = {:g}", start));
      Figure shown = figure(table.title, table.caption, "x0", "surviving share", true, false);
      for (std::size_t d = 0; d < land.degrees.size(); ++d) {
        const double q = land.degrees[d];
        show_progress(fmt::format("degree: {}, {}, q = {:.2g} ...", land.problem->name, noise.name, q));
        // Beyond 80 cosh's S is above the limit anyway.
        const std::optional<double> radius =
            escape_radius(land.problem->shape, land.eta, c, q, land.problem->shape == Shape::quartic ? 1e8 : 80.0);
        std::vector<std::string> row = {fmt::format("{:.3g}", q), radius ? fmt::format("{:.4g}", *radius) : "none"};
        std::vector<double> shares;
        for (const double start : land.starts) {
          Setup setup{objective_of(*land.problem), start, std::string(noise.toml), 2,
                      curve(land.eta, q, noise.compressed)};
          setup.paths = laboratory.paths(2048, 128);
          setup.steps = land.steps;
          const SimulatedCurve run = laboratory(setup, "degree");
          const double count = static_cast<double>(run.end().finite), n = run.paths();
          shares.push_back(count / n);
          row.push_back(fmt::format("{:.3g}", count / n));
          const std::string what = fmt::format("{}, {}, q = {:.3g}, x0 = {:g}: {:.3g} survive", land.problem->name,
                                               noise.name, q, start, count / n);
          Check& check = land.problem->shape == Shape::cosh ? by_cosh : by_noise[i];
          if (q >= needed) {
            check(count == n, what);
            (land.problem->shape == Shape::cosh ? cosh_count : counted[i].first) += count;
            (land.problem->shape == Shape::cosh ? cosh_n : counted[i].second) += n;
          } else if (i < 2) {
            check(start < *radius ? count == n : count == 0.0, what);
          } else if (start > *radius) {
            check(count < n, what);  // noise in proportion to the gradient brings some paths back, not all
          }
        }
        table.rows.push_back(std::move(row));
        shown.series.push_back(line(fmt::format("q = {:.3g}", q), land.starts, shares, -1, q >= needed));
      }
      laboratory.report.tables.push_back(std::move(table));
      laboratory.report.figures.push_back(std::move(shown));
    }
  }
  const std::string claim =
      "the degree of normalization is determined by the gradient noise structure, the landscape's "
      "regularity, and the compression rate" +
      abstract_v2;
  {
    Answer& answer =
        add(laboratory, "degree/quartic", "degree", "How much normalisation does x^4/4 need?", claim,
            "degree q = 2/3: below it every start beyond (2/(eta c^q))^(1/(2 - 3q)) is lost, from it on none",
            by_noise[0], "q = 2/3: the limits are the predicted ones", title_of(landscapes[0], noises[0]));
    share_number(laboratory, answer, "surviving share with q >= 2/3, all starts up to 10^7", counted[0].first,
                 counted[0].second);
  }
  {
    Answer& answer =
        add(laboratory, "degree/cosh", "degree", "How much normalisation does cosh x - 1 need?", claim,
            "degree q = 1, the inverse gradient norm itself: with q = 0.9 starts beyond 66 are lost", by_cosh,
            "q = 1: below it starts beyond the predicted limits are lost", title_of(landscapes[1], noises[0]));
    share_number(laboratory, answer, "surviving share with q = 1, all starts and kinds of noise", cosh_count, cosh_n);
  }
  {
    Answer& answer = add(laboratory, "degree/additive", "degree", "Does additive noise change the degree (x^4/4)?",
                         claim, "no: it vanishes against a step in proportion to x; the limits are the noiseless ones",
                         by_noise[1], "no: the limits are the noiseless ones", title_of(landscapes[0], noises[1]));
    share_number(laboratory, answer, "surviving share with q >= 2/3, all starts up to 10^7", counted[1].first,
                 counted[1].second);
  }
  // At q = 2/3 a step multiplies x by 1 - R C (1 + rho z), R = eta c^q: the limit of R is that of a linear recursion.
  const std::string title = "Growth at the critical degree q = 2/3: x^4/4";
  Figure shown =
      figure(title,
             "Mean growth of log |x| per step at large |x| against R = eta c^(2/3). Lines: exact; paths are "
             "lost where it is above 0. In mean square the limit is R = 2/K: 2 without, 4/3 with affine noise "
             "or compression (K = 1.5).",
             "R", "growth of log |x| per step", false, false);
  for (std::size_t i : {std::size_t{0}, std::size_t{2}, std::size_t{3}}) {
    const Noise& noise = noises[i];
    std::vector<double> ratios = {1.25, 1.55, 1.85, 2.2, 2.6}, grid, exact;
    std::vector<Estimate> seen;
    for (const double r : ratios) {
      Setup setup{objective_of(problems[0]), 1e4, std::string(noise.toml), 2, curve(r, 2.0 / 3.0, noise.compressed)};
      setup.paths = i == 0 ? 1 : laboratory.paths(4096, 512);
      setup.steps = 3;
      std::vector<double> growth;
      for (const Trace& trace : laboratory.traces(setup, "growth"))
        growth.push_back(std::log(std::abs(trace.x.back() / trace.x.front())) /
                         static_cast<double>(trace.x.size() - 1));
      seen.push_back(estimate(laboratory, growth));
      const double predicted = 0.5 * stability::method_growth(noise.linear, r).path;
      // (1 + |g|)^(-2/3) is |g|^(-2/3) up to 1/|g|, below 10^-3 where |x| > 10, as it is on nearly all of these steps.
      by_noise[i](laboratory.family.within(seen.back().interval.mean - predicted, seen.back().half + 2e-3),
                  fmt::format("R = {:g}: {:.4f} +- {:.2g}, exact {:.4f}", r, seen.back().interval.mean,
                              seen.back().half, predicted));
    }
    for (double r = 0.05; r < 2.8; r += 0.03) {
      const double growth = 0.5 * stability::method_growth(noise.linear, r).path;
      grid.push_back(r);
      exact.push_back(growth > -2.0 ? growth : nan);
    }
    shown.series.push_back(line(fmt::format("{}, exact", noise.name), grid, exact, static_cast<int>(i), true));
    shown.series.push_back(points(std::string(noise.name), ratios, seen, static_cast<int>(i)));
    if (i == 0) continue;
    const auto growth = [&](double r) { return stability::method_growth(noise.linear, r).path; };
    const double paths_limit = stability::first_crossing(growth, 1.01, 4.0).value_or(nan);
    Answer& answer =
        add(laboratory, i == 2 ? "degree/affine" : "degree/compression", "degree",
            fmt::format("Does {} change the degree (x^4/4)?", i == 2 ? "affine noise" : "compression"), claim,
            fmt::format(
                "no, the constant: at q = 2/3 the limit of eta c^q falls from 2 to 2/K = {:.4g} in mean square, {:.4g} "
                "for single paths",
                2.0 / (1.0 + noise.linear.kappa()), paths_limit),
            by_noise[i], "no: q = 2/3 is enough; the growth at q = 2/3 is the exact one", title);
    number(laboratory, answer,
           fmt::format("growth of log |x| per step at R = 1.85, q = 2/3, exact {:.4f}",
                       0.5 * stability::method_growth(noise.linear, 1.85).path),
           seen[2]);
  }
  laboratory.report.figures.push_back(std::move(shown));
}

// ---------------------------------------------------------------------- clipping
void clipping(Laboratory& laboratory) {
  constexpr double eta = 0.05, c = 20.0, start = 6.0, margin = 0.1;
  constexpr std::uint64_t end = 1024;
  const std::vector<std::uint64_t> records = log_steps(end);
  struct Method {
    std::string name, toml;
  };
  const std::array<Method, 3> methods = {
      {{"ideal scheduler", fmt::format("method = \"dsgd\"\nadaptive = {{ kind = \"gradient_norm\", c = {} }}\n", c)},
       {"stochastic scheduler",
        fmt::format("method = \"dsgd\"\nadaptive = {{ kind = \"gradient_norm\", c = {}, stochastic = true }}\n", c)},
       {"clipped", fmt::format("method = \"clipped_dsgd\"\nclip = {}\n", c)}}};
  const auto runs_of = [&](const std::string& law) {
    std::vector<Setup> setups;
    for (const Method& method : methods) {
      Setup s{objective_of(problems[1]), start, law + "\nscale = 1.0", workers,
              fmt::format("{}eta = {}\nsampling = \"direct\"\n", method.toml, eta)};  // so that they share noise
      s.paths = laboratory.paths(65536, 8192);
      s.steps = end;
      s.records = records;
      setups.push_back(std::move(s));
    }
    return laboratory.together(std::move(setups), "clipping");
  };
  const auto figure_of = [&](const std::string& title, const std::string& law,
                             const std::vector<SimulatedCurve>& runs) {
    Figure shown =
        figure(title,
               fmt::format("Median of S on cosh x - 1 from x0 = {:g}; eta = {}, c = {:g}, N = {}, sigma = 1, {}.",
                           start, eta, c, workers, law),
               "step", "median of S", true, true);
    for (std::size_t m = 0; m < runs.size(); ++m)
      shown.series.push_back(line(methods[m].name, doubles({records.begin() + 1, records.end()}),
                                  {runs[m].result.quantiles[2].begin() + 1, runs[m].result.quantiles[2].end()}));
    laboratory.report.figures.push_back(std::move(shown));
  };
  show_progress("clipping ...");
  const std::string light = "Clipping and normalisation under Gaussian noise",
                    heavy = "Clipping and normalisation under Cauchy noise";
  const std::vector<SimulatedCurve> gaussian = runs_of("law = \"gaussian\"");
  figure_of(light, "Gaussian", gaussian);
  for (const std::size_t m : {std::size_t{2}, std::size_t{1}}) {
    // Groups of paths share their noise: their differences are what is tested.
    std::vector<double> ratio;
    double level = gaussian[0].mean();
    for (std::size_t g = 0; g < gaussian[0].result.group_means.back().size(); ++g)
      ratio.push_back(gaussian[m].result.group_means.back()[g] / level -
                      gaussian[0].result.group_means.back()[g] / level);
    const Estimate e = estimate(laboratory, ratio);
    Check check;
    check(laboratory.family.within(std::abs(e.interval.mean) + e.half, margin),
          fmt::format("E S differs by {:.3g} +- {:.2g}", e.interval.mean, e.half));
    std::vector<double> k = doubles(records);
    const double slow = reached_at(k, gaussian[0].result.quantiles[2], 1.0),
                 fast = reached_at(k, gaussian[m].result.quantiles[2], 1.0);
    check(fast <= slow * 1.05 && fast >= 0.5 * slow,
          fmt::format("S = 1 after {:.3g} steps against {:.3g}", fast, slow));
    Answer& answer =
        m == 2
            ? add(laboratory, "clipping/gaussian", "clipping",
                  "Does clipping at c reach the same as the ideal scheduler (1 + |grad f|/c)^-1, under light noise?",
                  "gradient clipping to verify if it achieves the same convergence, next check 1" + note,
                  "yes: the same level within 10%, in between half as many and as many steps (the factors differ by 2 "
                  "at most)",
                  check, fmt::format("yes: S = 1 after {:.0f} steps against {:.0f}", fast, slow), light)
            : add(laboratory, "stochastic/level", "clipping",
                  "Does the stochastic scheduler reach the level of the ideal one, under light noise?",
                  "idealized normalization may not be practical" + note,
                  "yes: within 10% (first order: it lowers the level by 2 E|z|/c, z the noise of a step, 4%)", check,
                  fmt::format("yes: S = 1 after {:.0f} steps against {:.0f}", fast, slow), light);
    number(laboratory, answer, "E S at the end over the ideal scheduler's, minus 1; margin 0.1", e);
  }
  const std::vector<SimulatedCurve> cauchy = runs_of("law = \"student_t\"\nnu = 1.0");
  figure_of(heavy, "Cauchy", cauchy);
  for (const std::size_t m : {std::size_t{2}, std::size_t{1}}) {
    // Far above the error of a median of so many paths, 2% or so.
    const double ratio = cauchy[0].median() / cauchy[m].median();
    Check check;
    check(ratio > 2.0, fmt::format("medians of S in a ratio of {:.3g}", ratio));
    Answer& answer = add(
        laboratory, m == 2 ? "clipping/cauchy" : "stochastic/cauchy", "clipping",
        m == 2 ? "And under Cauchy noise?"
               : "Does the stochastic scheduler reach no more than the ideal one under Cauchy noise?",
        (m == 2 ? "gradient clipping, next check 1" : "idealized normalization may not be practical") + note,
        m == 2 ? "no, clipping does better: it bounds the noise, the ideal scheduler keeps all of it near the minimum"
               : "it does better, for the same reason: its steps are bounded",
        check, m == 2 ? "no: clipping ends lower" : "it ends lower", heavy);
    number(answer, "median of S of the ideal scheduler over this one's, at the end; tested against 2", ratio);
  }
}

// ---------------------------------------------------------------------- speed and sensitivity
void tradeoff(Laboratory& laboratory) {
  {
    constexpr double eta = 0.02, sigma = 4.0, start = 2.0;
    /// 2 Xi(y) < l y makes signs slower by up to 4% at the start, y = 1/2; discretisation 1%.
    constexpr double margin = 0.08;
    const std::string title = "DSGD and DSignSGD at the same level: x^2/2";
    Figure shown =
        figure(title,
               fmt::format("E S; sigma = {:g}, N = 1, DSGD with eta = {:g}, DSignSGD with the eta that gives "
                           "the same level.",
                           sigma, eta),
               "step", "E S", false, true);
    struct Light {
      std::string_view name, toml;
      LawSpec spec;
      double variance;
    };
    const std::array<Light, 2> laws = {
        {{"Gaussian", "law = \"gaussian\"", {LawKind::gaussian}, 1.0},
         {"t, nu = 5", "law = \"student_t\"\nnu = 5.0", {LawKind::student_t, 5.0}, 5.0 / 3.0}}};
    for (std::size_t l = 0; l < laws.size(); ++l) {
      show_progress(fmt::format("tradeoff: {} ...", laws[l].name));
      const double factor = noise_density_factor(laws[l].spec), variance = laws[l].variance;
      const double predicted = sign_slowdown(factor, variance);
      const double level = 0.5 * eta * sigma * sigma * variance / (2.0 - eta);
      const double sign_eta = level * 4.0 * factor / sigma;
      std::array<std::vector<double>, 2> times;
      for (const int m : {0, 1}) {
        Setup s{"kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }", start,
                fmt::format("{}\nscale = {}", laws[l].toml, sigma), 1,
                m == 0 ? fmt::format("method = \"dsgd\"\neta = {}\n", eta)
                       : fmt::format("method = \"dsignsgd\"\neta = {:.17g}\n", sign_eta)};
        s.paths = laboratory.paths(65536, 16384);
        s.steps = 300;
        s.records = every_step(300);
        const SimulatedCurve run = laboratory(s, "speed");
        const std::vector<double> k = doubles(s.records);
        std::vector<double> mean;
        for (const Record& r : run.result.records) mean.push_back(r.sum / static_cast<double>(r.finite));
        for (std::size_t g = 0; g < run.result.group_means.front().size(); ++g) {
          std::vector<double> y;
          for (const std::vector<double>& at : run.result.group_means) y.push_back(at[g]);
          times[static_cast<std::size_t>(m)].push_back(reached_at(k, y, 2.0 * level));
        }
        shown.series.push_back(line(fmt::format("{}, {}", laws[l].name, m == 0 ? "DSGD" : "DSignSGD"), k, mean,
                                    static_cast<int>(l), m == 1));
      }
      const Estimate sgd = estimate(laboratory, times[0]), sign = estimate(laboratory, times[1]);
      const double ratio = sign.interval.mean / sgd.interval.mean;
      const double half = ratio * std::hypot(sgd.half / sgd.interval.mean, sign.half / sign.interval.mean);
      Check check;
      check(laboratory.family.within(ratio / predicted - 1.0, margin + half / predicted),
            fmt::format("{:.4g} +- {:.2g}, predicted {:.4g}", ratio, half, predicted));
      Answer& answer = add(laboratory, l == 0 ? "tradeoff/speed" : "tradeoff/speed_t5", "tradeoff",
                           fmt::format("How much slower is DSignSGD at the same level, {}?", laws[l].name),
                           "normalized methods may converge slower" + note,
                           fmt::format("by 1/(l^2 Var zeta) = {:.4g}, up to 8%", predicted), check,
                           fmt::format("it takes {:.3g} times as many steps", ratio), title);
      number(answer, fmt::format("steps to twice the level, DSignSGD over DSGD, predicted {:.4g}", predicted), ratio,
             ratio - half, ratio + half, 1.0 - laboratory.family.alpha());
    }
    laboratory.report.figures.push_back(std::move(shown));
  }
  // Over how many octaves of eta a method arrives.
  constexpr std::uint64_t length = 500;
  constexpr double target = 0.02;
  const std::string title = "Sensitivity: octaves of eta that arrive, against the start radius";
  Figure shown =
      figure(title,
             fmt::format("Of eta = 2^-14, ..., 2^2 on cosh x - 1, those after which the median of S is at most "
                         "{} at step {}; sigma = 1, N = {}.",
                         target, length, workers),
             "x0", "octaves", false, false);
  struct Method {
    std::string name, toml;
  };
  const std::array<Method, 4> methods = {
      {{"DSGD", "method = \"dsgd\"\n"},
       {"gradient_norm, c = 10", "method = \"dsgd\"\nadaptive = { kind = \"gradient_norm\", c = 10.0 }\n"},
       {"clipped at 10", "method = \"clipped_dsgd\"\nclip = 10.0\n"},
       {"DSignSGD", "method = \"dsignsgd\"\n"}}};
  const std::vector<double> starts = {1.0, 2.0, 4.0, 8.0, 12.0};
  std::map<std::string, std::vector<double>> octaves;
  Table table;
  table.title = title;
  table.caption = shown.caption;
  table.header = {"method"};
  for (const double start : starts) table.header.push_back(fmt::format("x0 = {:g}", start));
  for (const Method& method : methods) {
    std::vector<std::string> row = {method.name};
    for (const double start : starts) {
      show_progress(fmt::format("tradeoff: {}, x0 = {:g} ...", method.name, start));
      double count = 0.0;
      for (int e = -14; e <= 2; ++e) {
        Setup s{objective_of(problems[1]), start, "scale = 1.0", workers,
                fmt::format("{}eta = {:.17g}\n", method.toml, std::ldexp(1.0, e))};
        s.paths = laboratory.paths(1024, 256);
        s.steps = length;
        const SimulatedCurve run = laboratory(s, method.name);
        count += run.median() <= target ? 1.0 : 0.0;
      }
      octaves[method.name].push_back(count);
      row.push_back(fmt::format("{:g}", count));
    }
    table.rows.push_back(std::move(row));
    shown.series.push_back(line(method.name, starts, octaves[method.name]));
  }
  laboratory.report.tables.push_back(std::move(table));
  laboratory.report.figures.push_back(std::move(shown));
  Check check;
  check(octaves["DSGD"].front() >= 2.0, "DSGD from x0 = 1");
  check(octaves["DSGD"].back() == 0.0, "DSGD from x0 = 12");
  for (const char* name : {"DSignSGD", "gradient_norm, c = 10", "clipped at 10"})
    check(octaves[name].back() >= 2.0, fmt::format("{} from x0 = 12", name));
  Answer& answer =
      add(laboratory, "tradeoff/sensitivity", "tradeoff",
          "Is DSGD more sensitive to its step size than DSignSGD and normalised steps (cosh x - 1)?",
          "non-normalized methods are more sensitive to hyperparameters" + note,
          "yes: from x0 = 12 no eta arrives: below 2 x0/sinh x0 = 0.0003 it is too slow near the minimum; the "
          "others keep two octaves or more",
          check, "yes: its range of steps vanishes as the start moves away", title);
  number(answer, "octaves of eta with which DSignSGD arrives from x0 = 12; DSGD: 0", octaves["DSignSGD"].back());
}

// ----------------------------------------------------------------------
struct Part {
  std::string_view name;
  void (*run)(Laboratory&);
};
constexpr std::array<Part, 7> parts = {{{"survival", survival},
                                        {"signs", signs},
                                        {"heavy_tails", heavy_tails},
                                        {"signatures", signatures},
                                        {"degree", degree},
                                        {"clipping", clipping},
                                        {"tradeoff", tradeoff}}};

int run(const BenchmarkArguments& options) {
  if (!options.out.empty()) check_output_directory(options.out);
  Laboratory laboratory(run_options("bench_adaptivity", options.backend, options.threads), options.quick);
  laboratory.report.answers.reserve(64);
  for (const Part& part : parts)
    if (options.names.empty() ||
        std::find(options.names.begin(), options.names.end(), part.name) != options.names.end())
      part.run(laboratory);
  show_progress("");
  laboratory.report.title =
      options.quick ? "Adaptivity under (L0, L1)-smoothness (quick)" : "Adaptivity under (L0, L1)-smoothness";
  laboratory.report.summary = fmt::format(
      "{} statistical tests, each at {:.2g}: at most {:g} that any of them is wrong; survival of all or of no path is "
      "expected with a probability beyond any test.",
      laboratory.family.tests(), laboratory.family.alpha(), laboratory.family.level());
  return finish(options, laboratory.bench, std::move(laboratory.report));
}

}  // namespace

int main(int argc, char** argv) {
  BenchmarkArguments options;
  const auto add_options = [&](CLI::App& app) {
    std::set<std::string> names;
    for (const Part& part : parts) names.insert(std::string(part.name));
    app.add_option("PART", options.names, "parts (default: all)")->check(CLI::IsMember(names));
    add_benchmark_options(app, options, "fewer paths: wider intervals", "folder for results.json and report.html");
  };
  return benchmark_main("bench_adaptivity", "does adaptivity decide whether (compressed) SGD converges?", argc, argv,
                        add_options, [&] { return run(options); });
}
