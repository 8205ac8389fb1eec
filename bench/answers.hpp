// SPDX-License-Identifier: Apache-2.0
// What the benchmarks that answer questions have in common: experiments from text, checks at a family-wise error level,
// and what is printed and written in the end.
#pragma once
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/math/distributions/beta.hpp>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "host/engine.hpp"
#include "host/figures.hpp"
#include "host/program.hpp"
#include "host/shipped.hpp"

namespace pathbound {

/// One curve of an experiment, simulated. Records stand at the experiment's checkpoints.
struct SimulatedCurve {
  Experiment experiment;
  SimResult result;

  const CurveConfig& curve() const { return experiment.curves.front(); }
  const LawSpec& law() const { return curve().noise.law; }
  const Record& end() const { return result.records.back(); }
  double paths() const { return static_cast<double>(experiment.paths); }
  /// Over the paths that have not diverged.
  double mean() const { return end().sum / static_cast<double>(end().finite); }
  double standard_error() const {
    const double n = static_cast<double>(end().finite);
    return std::sqrt(end().m2 / (n * (n - 1.0)));
  }
  double survival() const { return static_cast<double>(end().finite) / paths(); }
  /// i of curve_quantiles; NaN when that path has diverged.
  double quantile(std::size_t i) const { return result.quantiles[i].back(); }
  double median() const { return quantile(2); }
};

/// Runs experiments that have one curve.
class Bench {
 public:
  explicit Bench(RunOptions machine) : machine_(std::move(machine)) {}
  const RunOptions& machine() const { return machine_; }
  const Performance& performance() const { return performance_; }

  SimulatedCurve operator()(const std::string& toml, const std::string& name) {
    SimulatedCurve out{parse_experiment(toml, name), {}};
    const Objective objective(out.experiment.objective);
    validate(out.experiment, objective);
    out.result = simulate(out.experiment, out.curve(), objective, machine_);
    performance_.seconds += out.result.seconds;
    performance_.path_steps += path_steps(out.curve());
    return out;
  }

 private:
  RunOptions machine_;
  Performance performance_;
};

/// Many tests, together wrong with probability at most `level`: each at level/most, however many are made.
class Family {
 public:
  Family(double level, int most) : level_(level), most_(most) {}
  double level() const { return level_; }
  double alpha() const { return level_ / most_; }  ///< of one test, two-sided
  int tests() const { return tests_; }
  /// Whether |off| <= limit, limit at level alpha(); counts the test.
  bool within(double off, double limit) {
    if (++tests_ > most_) throw std::logic_error("more tests than the family has");
    const double share = limit > 0.0 ? std::abs(off) / limit : off == 0.0 ? 0.0 : nan_;
    largest_ = std::isnan(share) ? std::numeric_limits<double>::infinity() : std::max(largest_, share);
    return std::abs(off) <= limit;
  }
  double largest() const { return largest_; }  ///< |off|/limit

 private:
  static constexpr double nan_ = std::numeric_limits<double>::quiet_NaN();
  double level_;
  int most_, tests_ = 0;
  double largest_ = 0.0;
};

inline double normal_quantile(double alpha) {
  return boost::math::quantile(boost::math::complement(boost::math::normal(), 0.5 * alpha));
}

/// Clopper and Pearson's interval for a share, seen `count` times in n.
inline std::pair<double, double> share_interval(double count, double n, double alpha) {
  using boost::math::beta_distribution;
  return {count == 0.0 ? 0.0 : boost::math::quantile(beta_distribution<>(count, n - count + 1.0), 0.5 * alpha),
          count == n ? 1.0 : boost::math::quantile(beta_distribution<>(count + 1.0, n - count), 1.0 - 0.5 * alpha)};
}

/// Prints tables, answers and summary, writes what -o asks for; the exit status by whether every answer is the expected
/// one.
inline int finish(const BenchmarkArguments& options, const Bench& bench, BenchReport report) {
  const bool met = std::all_of(report.answers.begin(), report.answers.end(), [](const Answer& a) { return a.met; });
  report.performance = bench.performance();
  const RunOptions& machine = bench.machine();
  report.environment = environment_of(machine);
  for (const Table& table : report.tables) print(table_text(table) + "\n");
  print(table_text(answers_table(report.answers)) + "\n");
  const auto failed =
      std::count_if(report.answers.begin(), report.answers.end(), [](const Answer& a) { return !a.met; });
  report.summary =
      fmt::format("{} of {} answers are the expected ones. {}",
                  report.answers.size() - static_cast<std::size_t>(failed), report.answers.size(), report.summary);
  print(report.summary + "\n");
  for (const Answer& answer : report.answers)
    if (!answer.met)
      print(fmt::format("NOT AS EXPECTED: {}: {} (expected {})\n", answer.id, answer.answer, answer.expected));
  print(fmt::format("{:.3g} path-steps in {:.1f} s of simulation\n", report.performance.path_steps,
                    report.performance.seconds));
  if (!options.out.empty()) {
    const nlohmann::ordered_json json = to_json(report);
    write_files(options.out, {{"results.json", to_text(json)}, {"report.html", render_report(json)}});
  }
  flush_stdout();
  return met ? done : unexpected;
}

/// What is at work, on a terminal.
inline void show_progress(const std::string& what) {
  static const bool terminal = isatty(STDERR_FILENO) != 0;
  if (terminal) fmt::print(stderr, "\r\033[K{}", what);
}

}  // namespace pathbound
