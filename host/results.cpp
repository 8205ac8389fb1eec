// SPDX-License-Identifier: Apache-2.0
// results.json, curves.csv and the terminal's verdict table, and writing a run's files together or not at all.
#include "host/results.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "host/comparison.hpp"
#include "host/output_text.hpp"
#include "kernels/simulate.hpp"

namespace pathbound {
namespace {

using Json = nlohmann::ordered_json;

// ---- curves -----------------------------------------------------------------------------------------------------

/// curve.notes, and the reason to doubt the variance where no note gives it yet.
std::vector<std::string> notes_of(const Curve& curve) {
  std::vector<std::string> notes = curve.notes;
  if (curve.variance_doubtful && !curve.variance_reason.empty() &&
      std::find(notes.begin(), notes.end(), curve.variance_reason) == notes.end()) {
    notes.push_back(curve.variance_reason);
  }
  return notes;
}

/// Columns of curves.csv after `finite`, under the names of the CSV header.
std::vector<std::pair<const char*, const std::vector<double>*>> columns_of(const Curve& curve) {
  return {{"mean", &curve.mean},        {"stderr", &curve.standard_error},
          {"lower", &curve.lower},      {"upper", &curve.upper},
          {"min", &curve.min},          {"max", &curve.max},
          {"q05", &curve.quantiles[0]}, {"q25", &curve.quantiles[1]},
          {"q50", &curve.quantiles[2]}, {"q75", &curve.quantiles[3]},
          {"q95", &curve.quantiles[4]}, {"grad_norm", &curve.grad_norm},
          {"regime", &curve.regime}};
}

/// "lower, upper at all 51 checkpoints; q95 at 3 of 51": which numbers are null; empty when none is.
std::string missing_numbers(const Curve& curve) {
  const std::size_t n = curve.step.size();
  std::vector<std::pair<std::size_t, std::string>> groups;  // how many are missing, and of which columns
  for (const auto& [name, values] : columns_of(curve)) {
    std::size_t missing = 0;
    for (std::size_t i = 0; i < n; ++i) missing += !std::isfinite(number_at(*values, i));
    if (missing == 0) continue;
    const auto same =
        std::find_if(groups.begin(), groups.end(), [&](const auto& group) { return group.first == missing; });
    if (same == groups.end()) {
      groups.emplace_back(missing, name);
    } else {
      same->second += fmt::format(", {}", name);
    }
  }
  std::string text;
  for (const auto& [missing, names] : groups) {
    text += fmt::format(
        "{}{} at {}", text.empty() ? "" : "; ", names,
        missing == n ? fmt::format("all {} checkpoints", n) : fmt::format("{} of {} checkpoints", missing, n));
  }
  return text;
}

/// The model that a curve of this name is of; null for methods.
const ModelConfig* model_of(const Results& results, std::string_view name) {
  for (const CurveConfig& config : results.experiment.curves) {
    if (config.name == name) return config.model ? &*config.model : nullptr;
  }
  return nullptr;
}

Json reduction_json(const Reduction& reduction, std::size_t n) {
  Json json;
  json["asked"] = name_of(reduction.asked);
  json["kind"] = name_of(reduction.used);
  if (!reduction.reason.empty()) json["reason"] = reduction.reason;
  if (!reduction.pilot.empty()) {
    json["pilot"] = Json::object();
    for (const auto& [kind, ratio] : reduction.pilot) json["pilot"][name_of(kind)] = json_number(ratio);
  }
  if (reduction.used == VarianceReduction::none) return json;
  const double ratio = reduction.median_ratio();
  json["variance_ratio_median"] = json_number(ratio);
  json["variance_ratio_worst"] = json_number(reduction.worst_ratio());
  json["cost_ratio"] = json_number(reduction.cost_ratio);
  json["variance_times_cost"] = json_number(ratio * reduction.cost_ratio);
  json["variance_ratio"] = json_numbers(reduction.variance_ratio, n);
  json["degrees"] = json_numbers(reduction.degrees, n);
  json["skew"] = json_numbers(reduction.skew, n);
  if (!reduction.h.empty()) {
    json["h"] = json_numbers(reduction.h, reduction.h.size());
    json["beta"] = json_numbers(reduction.beta, n);
  }
  if (!reduction.levels.empty()) {
    json["levels"] = Json::array();
    for (const Reduction::Level& level : reduction.levels)
      json["levels"].push_back({{"substeps", level.substeps}, {"paths", level.paths}});
  }
  return json;
}

Json curve_json(const Curve& curve, const ModelConfig* model) {
  const std::size_t n = curve.step.size();
  Json json;
  json["name"] = curve.name;
  json["kind"] = model == nullptr ? "method" : "model";
  if (model != nullptr) {
    json["of"] = model->of;
    json["integrator"] = name_of(model->integrator);
    json["substeps"] = model->substeps;
  }
  json["step"] = curve.step;
  json["time"] = json_numbers(curve.time, n);
  json["paths"] = curve.paths;
  json["finite"] = curve.finite;
  json["mean"] = json_numbers(curve.mean, n);
  json["stderr"] = json_numbers(curve.standard_error, n);
  json["lower"] = json_numbers(curve.lower, n);
  json["upper"] = json_numbers(curve.upper, n);
  json["band"] = name_of(curve.band);
  json["mean_is"] = name_of(curve.mean_is);
  json["min"] = json_numbers(curve.min, n);
  json["max"] = json_numbers(curve.max, n);
  Json quantiles = Json::object();
  for (std::size_t q = 0; q < curve_quantiles.size(); ++q) {
    quantiles[shortest(curve_quantiles[q])] = json_numbers(curve.quantiles[q], n);
  }
  json["quantiles"] = std::move(quantiles);
  json["grad_norm"] = json_numbers(curve.grad_norm, n);
  json["regime"] = json_numbers(curve.regime, n);
  if (!curve.sums.weight.empty()) {
    json["sums"] = {{"quantity", curve.sums.kind == SumKind::psi ? "psi" : "gradient_norm_sq"},
                    {"level", json_number(curve.sums.level)},
                    {"mean", json_numbers(curve.sums.mean, n)},
                    {"stderr", json_numbers(curve.sums.standard_error, n)},
                    {"skew", json_numbers(curve.sums.skew, n)},
                    {"weights", json_numbers(curve.sums.weight, n)}};
  }
  if (curve.reduction) json["variance_reduction"] = reduction_json(*curve.reduction, n);
  json["sampling"] = curve.marginal ? "marginal" : "direct";
  std::vector<std::string> notes = notes_of(curve);
  if (const std::string missing = missing_numbers(curve); !missing.empty()) {
    notes.push_back("null where the number does not exist: " + missing);
  }
  json["notes"] = notes;
  return json;
}

// ---- bounds -----------------------------------------------------------------------------------------------------

Json bound_json(const Verdict& verdict) {
  const BoundValue& bound = verdict.bound;
  const std::size_t n =
      std::max({bound.value.size(), verdict.empirical.size(), verdict.lower.size(), verdict.upper.size()});
  Json json;
  json["theorem"] = bound.theorem.empty() ? verdict.config.theorem : bound.theorem;
  json["curve"] = verdict.config.curve;
  json["speaks_of"] = bound.speaks_of;
  json["quantity"] = bound.quantity;
  json["constants"] = Json::object();
  for (const auto& [name, value] : bound.constants) json["constants"][name] = json_number(value);
  json["assumptions"] = Json::array();
  for (const Assumption& assumption : bound.assumptions) {
    json["assumptions"].push_back(
        {{"name", assumption.name}, {"status", name_of(assumption.status)}, {"detail", assumption.detail}});
  }
  json["value"] = json_numbers(bound.value, n);
  json["empirical"] = json_numbers(verdict.empirical, n);
  json["lower"] = json_numbers(verdict.lower, n);
  json["upper"] = json_numbers(verdict.upper, n);
  json["verdict"] = name_of(verdict.verdict);
  if (verdict.config.expect) json["expect"] = name_of(*verdict.config.expect);
  json["confidence"] = json_number(verdict.config.confidence);
  json["margin"] = json_number(verdict.config.margin);
  // A step without a ratio would point at nothing.
  const bool compared = std::isfinite(verdict.worst_ratio);
  json["worst"] = {{"step", compared ? Json(verdict.worst_step) : Json(nullptr)},
                   {"ratio", json_number(verdict.worst_ratio)}};
  json["tightness"] = json_number(verdict.tightness);
  json["paths_to_decide"] = verdict.paths_to_decide ? Json(*verdict.paths_to_decide) : Json(nullptr);
  json["reason"] = verdict.reason;
  return json;
}

// ---- comparisons ------------------------------------------------------------------------------------------------

/// A comparison where its weak error is largest; NaN and no step when no weak error after step 0 is a number.
struct Largest {
  Summary summary;
  std::optional<std::uint64_t> step;
  double weak_error = NAN, standard_error = NAN, integrator_error = NAN, integrator_standard_error = NAN;
  double variance_reduction = NAN;
  double relative = NAN;  ///< |weak error| / E S of the method there
};

Largest largest_of(const Results& results, const Comparison& comparison) {
  Largest largest;
  largest.summary = summary_of(comparison);
  if (!largest.summary.at) return largest;
  const std::size_t at = *largest.summary.at;
  largest.step = comparison.step[at];
  largest.weak_error = number_at(comparison.weak_error, at);
  largest.standard_error = number_at(comparison.standard_error, at);
  largest.integrator_error = number_at(comparison.integrator_error, at);
  largest.integrator_standard_error = number_at(comparison.integrator_standard_error, at);
  largest.variance_reduction = number_at(comparison.variance_reduction, at);
  const auto method = std::find_if(results.curves.begin(), results.curves.end(),
                                   [&](const Curve& curve) { return curve.name == comparison.method; });
  if (method == results.curves.end()) return largest;
  const auto place = std::find(method->step.begin(), method->step.end(), *largest.step);
  if (place == method->step.end()) return largest;
  const double mean = number_at(method->mean, static_cast<std::size_t>(place - method->step.begin()));
  if (mean > 0.0) largest.relative = std::fabs(largest.weak_error) / mean;
  return largest;
}

Json comparison_json(const Results& results, const Comparison& comparison) {
  const Largest largest = largest_of(results, comparison);
  const std::size_t n = comparison.step.size();
  Json json;
  json["method"] = comparison.method;
  json["model"] = comparison.model;
  json["max_weak_error"] = json_number(largest.weak_error);
  json["stderr"] = json_number(largest.standard_error);
  json["at_step"] = largest.step ? Json(*largest.step) : Json(nullptr);
  json["variance_reduction"] = json_number(largest.variance_reduction);
  json["integrator_error"] = json_number(largest.integrator_error);
  json["integrator_stderr"] = json_number(largest.integrator_standard_error);
  json["relative"] = json_number(largest.relative);
  json["resolved"] = largest.summary.resolved ? Json(*largest.summary.resolved) : Json(nullptr);
  json["remarks"] = largest.summary.remarks;
  json["mean_is"] = name_of(comparison.mean_is);
  json["groups"] = comparison.groups;
  json["step"] = comparison.step;
  json["weak_error"] = json_numbers(comparison.weak_error, n);
  json["weak_stderr"] = json_numbers(comparison.standard_error, n);
  json["integrator_error_series"] = json_numbers(comparison.integrator_error, n);
  json["integrator_stderr_series"] = json_numbers(comparison.integrator_standard_error, n);
  json["variance_reduction_series"] = json_numbers(comparison.variance_reduction, n);
  json["notes"] = comparison.notes;
  return json;
}

// ---- JSON text --------------------------------------------------------------------------------------------------

/// A nested array or a nested object is worth lines of its own; numbers and words are not.
bool is_flat(const Json& json) {
  return std::all_of(json.begin(), json.end(), [](const Json& item) { return !item.is_structured() || item.empty(); });
}

void append_text(std::string& out, const Json& json, int depth) {
  const std::string indent(static_cast<std::size_t>(2 * depth), ' ');
  if (json.is_number_float()) {
    const double x = json.get<double>();
    out += std::isfinite(x) ? shortest(x) : "null";
  } else if (!json.is_structured()) {
    out += json.dump(-1, ' ', false, Json::error_handler_t::replace);
  } else if (json.empty()) {
    out += json.is_array() ? "[]" : "{}";
  } else {
    const bool array = json.is_array();
    const bool one_line = is_flat(json) && (array || depth > 2);
    out += array ? '[' : '{';
    bool first = true;
    for (auto item = json.begin(); item != json.end(); ++item) {
      if (!first) out += one_line ? ", " : ",";
      first = false;
      if (!one_line) out += "\n" + indent + "  ";
      if (!array) out += Json(item.key()).dump(-1, ' ', false, Json::error_handler_t::replace) + ": ";
      append_text(out, item.value(), depth + 1);
    }
    if (!one_line) out += "\n" + indent;
    out += array ? ']' : '}';
  }
}

// ---- text for the terminal --------------------------------------------------------------------------------------

std::string words(const char* name) {
  std::string text = name;
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

constexpr std::string_view restricted_footnote = "* mean over the paths that have not diverged";

std::string curve_lines(const Results& results, std::size_t width) {
  std::vector<Column> columns = {{"curve", false, {}},          {"step", true, {}},   {"finite/paths", true, {}},
                                 {"mean +- stderr", false, {}}, {"median", true, {}}, {"band", false, {}}};
  for (const Curve& curve : results.curves) {
    const std::size_t last = curve.step.empty() ? 0 : curve.step.size() - 1;
    const bool any = !curve.step.empty();
    columns[0].cells.push_back(printable(curve.name));
    columns[1].cells.push_back(any ? fmt::format("{}", curve.step[last]) : "-");
    columns[2].cells.push_back(any && last < curve.finite.size() ? fmt::format("{}/{}", curve.finite[last], curve.paths)
                                                                 : fmt::format("-/{}", curve.paths));
    const double mean = number_at(curve.mean, last), error = number_at(curve.standard_error, last);
    std::string text = curve.mean_is == MeanIs::does_not_exist ? "does not exist" : with_error(mean, error);
    if (curve.mean_is == MeanIs::restricted) text += " *";
    columns[3].cells.push_back(std::move(text));
    columns[4].cells.push_back(short_number(number_at(curve.quantiles[2], last)));
    columns[5].cells.push_back(words(name_of(curve.band)));
  }
  if (table_width(columns) > width) drop(columns, "band");
  squeeze(columns, 0, width, 8);
  if (table_width(columns) > width) drop(columns, "median");

  std::string out = "Curves at the last checkpoint\n" + table_line(columns, 0);
  bool restricted = false;
  for (std::size_t i = 0; i < results.curves.size(); ++i) {
    const Curve& curve = results.curves[i];
    restricted = restricted || curve.mean_is == MeanIs::restricted;
    out += table_line(columns, i + 1);
    for (const std::string& note : notes_of(curve)) out += wrapped(printable(note), 6, width);
  }
  if (restricted) out += wrapped(restricted_footnote, table_margin, width);
  return out;
}

std::string comparison_lines(const Results& results, std::size_t width) {
  std::vector<Column> columns = {{"model", false, {}},
                                 {"method", false, {}},
                                 {"weak error +- stderr", false, {}},
                                 {"at step", true, {}},
                                 {"of the mean", true, {}},
                                 {"integrator +- stderr", false, {}},
                                 {"variance reduction", true, {}}};
  std::vector<std::vector<std::string>> remarks;
  bool restricted = false;
  for (const Comparison& comparison : results.comparisons) {
    const Largest largest = largest_of(results, comparison);
    const double reduction = largest.variance_reduction;
    columns[0].cells.push_back(printable(comparison.model));
    columns[1].cells.push_back(printable(comparison.method));
    const bool star = largest.step && comparison.mean_is == MeanIs::restricted;
    restricted = restricted || star;
    columns[2].cells.push_back(with_error(largest.weak_error, largest.standard_error) + (star ? " *" : ""));
    columns[3].cells.push_back(largest.step ? fmt::format("{}", *largest.step) : "-");
    columns[4].cells.push_back(std::isfinite(largest.relative) ? fmt::format("{:.3g}%", 100.0 * largest.relative)
                                                               : "-");
    columns[5].cells.push_back(with_error(largest.integrator_error, largest.integrator_standard_error));
    columns[6].cells.push_back(!std::isfinite(reduction) ? "-"
                               : reduction >= 100.0      ? fmt::format("x {:.0f}", reduction)
                                                         : fmt::format("x {:.3g}", reduction));
    remarks.push_back(largest.summary.remarks);
  }
  // The lines below say what the numbers of a dropped column mean.
  squeeze(columns, 0, width, 10);
  squeeze(columns, 1, width, 10);
  for (const char* least_needed : {"variance reduction", "integrator +- stderr", "method"}) {
    if (table_width(columns) > width) drop(columns, least_needed);
  }
  squeeze(columns, 0, width, 6);

  std::string out =
      wrapped("Models against their methods, at the largest weak error", 0, width) + table_line(columns, 0);
  for (std::size_t i = 0; i < results.comparisons.size(); ++i) {
    out += table_line(columns, i + 1);
    for (const std::string& remark : remarks[i]) out += wrapped(remark, 6, width);
    for (const std::string& note : results.comparisons[i].notes) out += wrapped(printable(note), 6, width);
  }
  if (restricted) out += wrapped(restricted_footnote, table_margin, width);
  return out;
}

std::string bound_lines(const Results& results, std::size_t width) {
  std::vector<Column> columns = {{"bound", false, {}},       {"curve", false, {}},      {"speaks of", false, {}},
                                 {"assumptions", false, {}}, {"worst ratio", true, {}}, {"tightness", true, {}},
                                 {"verdict", false, {}},     {"expected", false, {}}};
  std::vector<std::string> failures;
  bool any_expected = false;
  for (const Verdict& verdict : results.bounds) {
    std::string failed;
    bool unchecked = false;
    for (const Assumption& assumption : verdict.bound.assumptions) {
      unchecked = unchecked || assumption.status == AssumptionStatus::unchecked;
      if (assumption.status != AssumptionStatus::failed) continue;
      failed += (failed.empty() ? "" : ", ") + printable(assumption.name);
    }
    any_expected = any_expected || verdict.config.expect;
    columns[0].cells.push_back(
        printable(verdict.bound.theorem.empty() ? verdict.config.theorem : verdict.bound.theorem));
    columns[1].cells.push_back(printable(verdict.config.curve));
    columns[2].cells.push_back(verdict.bound.speaks_of);
    columns[3].cells.push_back(!failed.empty() ? "failed: " + failed : unchecked ? "unchecked" : "ok");
    columns[4].cells.push_back(ratio_text(verdict.worst_ratio));
    columns[5].cells.push_back(ratio_text(verdict.tightness));
    columns[6].cells.push_back(words(name_of(verdict.verdict)));
    columns[7].cells.push_back(verdict.config.expect ? words(name_of(*verdict.config.expect)) : "-");
    failures.push_back(std::move(failed));
  }
  if (!any_expected) drop(columns, "expected");
  // Too wide: first the names of failed assumptions move to the lines below, then the columns that the reason
  // repeats anyway go, then curve names are cut.
  const bool names_below = table_width(columns) > width;
  if (names_below) {
    columns[3].header = "assumed";
    for (std::string& cell : columns[3].cells) cell = cell.substr(0, cell.find(':'));
    columns[4].header = "worst";
    columns[5].header = "tight";
  }
  squeeze(columns, 1, width, 10);
  if (table_width(columns) > width) drop(columns, "expected");
  if (table_width(columns) > width) drop(columns, "speaks of");
  squeeze(columns, 1, width, 6);

  std::string out = "Bounds\n" + table_line(columns, 0);
  std::array<int, 4> counts{};
  int unexpected = 0;
  for (std::size_t i = 0; i < results.bounds.size(); ++i) {
    const Verdict& verdict = results.bounds[i];
    ++counts[static_cast<std::size_t>(verdict.verdict)];
    out += table_line(columns, i + 1, verdict.as_expected() ? ' ' : '!');
    if (!verdict.as_expected()) {
      ++unexpected;
      out += wrapped(fmt::format("EXPECTED {}, FOUND {}.", words(name_of(*verdict.config.expect)),
                                 words(name_of(verdict.verdict))),
                     6, width);
    }
    if (names_below && !failures[i].empty()) out += wrapped("Failed assumption: " + failures[i] + ".", 6, width);
    out += wrapped(printable(verdict.reason), 6, width);
    if (verdict.verdict == Expectation::inconclusive && verdict.paths_to_decide) {
      out += wrapped(fmt::format("Paths that would decide: about {}.", *verdict.paths_to_decide), 6, width);
    }
  }

  const auto count = [&](Expectation which) { return counts[static_cast<std::size_t>(which)]; };
  std::string summary;
  const auto add = [&](int n, std::string_view what) {
    if (n > 0) summary += fmt::format("{}{} {}", summary.empty() ? "" : ", ", n, what);
  };
  add(count(Expectation::holds), count(Expectation::holds) == 1 ? "holds" : "hold");
  add(count(Expectation::violated), "violated");
  add(count(Expectation::inconclusive), "inconclusive");
  add(count(Expectation::not_applicable), "not applicable");
  const std::size_t n = results.bounds.size();
  summary = fmt::format("{} bound{}: {}", n, n == 1 ? "" : "s", summary);
  if (unexpected > 0) {
    summary += fmt::format("; {} NOT AS EXPECTED (!)", unexpected);
  } else if (any_expected) {
    summary += "; all as expected";
  }
  return out + wrapped(summary + ".", 0, width);
}

// ---- files ------------------------------------------------------------------------------------------------------

/// Whose fault an error number is: a wrong path is the input's, everything else the machine's.
[[noreturn]] void throw_errno(int error, const std::string& doing, const std::string& path) {
  const std::string message = fmt::format("cannot {} {}: {}", doing, path, std::strerror(error));
  switch (error) {
    case ENOTDIR:
    case EISDIR:
    case EEXIST:
    case ENAMETOOLONG:
    case ELOOP:
    case EINVAL:
      throw InputError(message);
    default:
      throw MachineError(message);
  }
}

/// Undoes everything on destruction unless commit() was called.
class Transaction {
 public:
  explicit Transaction(std::string directory) : directory_(std::move(directory)) { make_directories(); }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  ~Transaction() {
    if (committed_) return;
    for (auto entry = entries_.rbegin(); entry != entries_.rend(); ++entry) {
      if (entry->renamed) {
        if (!entry->backup.empty()) {
          ::rename(entry->backup.c_str(), entry->target.c_str());
          entry->backup.clear();
        } else if (!entry->existed) {
          ::unlink(entry->target.c_str());
        }
      } else {
        ::unlink(entry->temporary.c_str());
      }
      if (!entry->backup.empty()) ::unlink(entry->backup.c_str());
    }
    for (auto made = made_.rbegin(); made != made_.rend(); ++made) ::rmdir(made->c_str());
  }

  /// Writes the whole content under a temporary name beside the target.
  void add(const std::string& name, std::string_view content) {
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos) {
      throw InputError(fmt::format("'{}' is not a file name", name));
    }
    Entry entry;
    entry.target = directory_ + "/" + name;
    struct stat info;
    if (::lstat(entry.target.c_str(), &info) == 0) {
      if (S_ISDIR(info.st_mode))
        throw InputError(fmt::format("cannot write {}: a directory is in its place", entry.target));
      entry.existed = true;
    }
    entry.temporary = unused_name(name);
    const int file = ::open(entry.temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0) throw_errno(errno, "create a file in", directory_);
    entries_.push_back(entry);
    int error = 0;
    while (!content.empty() && error == 0) {
      const ssize_t written = ::write(file, content.data(), content.size());
      if (written > 0) {
        content.remove_prefix(static_cast<std::size_t>(written));
      } else if (written < 0 && errno != EINTR) {
        error = errno;
      }
    }
    // A full disk may show only when the data is flushed; file systems without fsync say EINVAL.
    if (error == 0 && ::fsync(file) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS) error = errno;
    if (::close(file) != 0 && error == 0 && errno != EINTR) error = errno;
    if (error != 0) {
      // A bad value here is the device's, never the user's path.
      throw MachineError(fmt::format("cannot write {}: {}", entry.target, std::strerror(error)));
    }
  }

  void commit() {
    for (Entry& entry : entries_) {
      if (!entry.existed) continue;
      // A second name for the old file, so that it can come back if a later rename fails. File systems without hard
      // links go without.
      entry.backup = unused_name("old");
      if (::link(entry.target.c_str(), entry.backup.c_str()) != 0) entry.backup.clear();
    }
    for (Entry& entry : entries_) {
      if (::rename(entry.temporary.c_str(), entry.target.c_str()) != 0) throw_errno(errno, "write", entry.target);
      entry.renamed = true;
    }
    committed_ = true;
    for (const Entry& entry : entries_) {
      if (!entry.backup.empty()) ::unlink(entry.backup.c_str());
    }
  }

 private:
  struct Entry {
    std::string target, temporary, backup;
    bool existed = false, renamed = false;
  };

  std::string unused_name(const std::string& name) const {
    static std::atomic<unsigned> counter{0};
    return fmt::format("{}/.{}.{}.{}.tmp", directory_, name, ::getpid(), counter++);
  }

  /// mkdir -p that remembers what it made. The destructor does not run when a constructor throws, so what was made
  /// is removed here.
  void make_directories() {
    try {
      for (std::size_t end = 0; end != std::string::npos;) {
        end = directory_.find('/', end + 1);
        make_directory(directory_.substr(0, end));
      }
    } catch (...) {
      for (auto made = made_.rbegin(); made != made_.rend(); ++made) ::rmdir(made->c_str());
      throw;
    }
  }

  void make_directory(const std::string& path) {
    if (::mkdir(path.c_str(), 0777) == 0) {
      made_.push_back(path);
      return;
    }
    const int error = errno;
    // Root, automounts and read-only file systems answer with other errors than EEXIST for what is there already.
    struct stat info;
    if (::stat(path.c_str(), &info) == 0) {
      if (S_ISDIR(info.st_mode)) return;
      throw InputError(fmt::format("cannot write results into {}: {} is a file, not a directory", directory_, path));
    }
    throw_errno(error, "make directory", path);
  }

  std::string directory_;
  std::vector<Entry> entries_;
  std::vector<std::string> made_;
  bool committed_ = false;
};

std::string csv_cell(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

}  // namespace

Json to_json(const Environment& environment) {
  return {{"version", environment.version}, {"commit", environment.commit}, {"backend", environment.backend},
          {"device", environment.device},   {"isa", environment.isa},       {"threads", environment.threads}};
}

Json to_json(const Performance& performance) {
  return {{"seconds", json_number(performance.seconds)},
          {"path_steps", json_number(performance.path_steps)},
          {"path_steps_per_second", json_number(performance.path_steps / performance.seconds)}};
}

Json to_json(const Results& results) {
  Json json;
  json["schema"] = 1;
  json["title"] = results.experiment.title;
  json["experiment"] = normalised(results.experiment);
  json["environment"] = to_json(results.environment);
  json["curves"] = Json::array();
  for (const Curve& curve : results.curves) json["curves"].push_back(curve_json(curve, model_of(results, curve.name)));
  json["bounds"] = Json::array();
  for (const Verdict& verdict : results.bounds) json["bounds"].push_back(bound_json(verdict));
  json["comparisons"] = Json::array();
  for (const Comparison& comparison : results.comparisons) {
    json["comparisons"].push_back(comparison_json(results, comparison));
  }
  json["performance"] = to_json(results.performance);
  return json;
}

std::string to_text(const Json& json) {
  std::string text;
  append_text(text, json, 0);
  return text + "\n";
}

std::string to_csv(const Results& results) {
  std::string csv =
      "curve,step,time,paths,finite,mean,stderr,lower,upper,min,max,q05,q25,q50,q75,q95,grad_norm,regime\n";
  for (const Curve& curve : results.curves) {
    const std::string name = csv_cell(curve.name);
    const auto columns = columns_of(curve);
    for (std::size_t i = 0; i < curve.step.size(); ++i) {
      const double time = number_at(curve.time, i);
      csv += fmt::format("{},{},{},{},", name, curve.step[i], std::isfinite(time) ? shortest(time) : "", curve.paths);
      if (i < curve.finite.size()) csv += fmt::format("{}", curve.finite[i]);
      for (const auto& column : columns) {
        const double value = number_at(*column.second, i);
        csv += ',';
        if (std::isfinite(value)) csv += shortest(value);
      }
      csv += '\n';
    }
  }
  return csv;
}

std::string verdict_table(const Results& results, int width) {
  const std::size_t columns = static_cast<std::size_t>(std::max(width, 40));
  std::string out;
  if (!results.experiment.title.empty()) out += wrapped(printable(results.experiment.title), 0, columns) + "\n";
  out += curve_lines(results, columns);
  if (!results.comparisons.empty()) out += "\n" + comparison_lines(results, columns);
  if (!results.bounds.empty()) out += "\n" + bound_lines(results, columns);
  return out;
}

void write_files(const std::string& directory,
                 const std::vector<std::pair<std::string, std::string>>& name_and_content) {
  if (directory.empty()) throw InputError("the results directory has an empty name");
  if (directory.find('\0') != std::string::npos) throw InputError("the results directory's name holds a zero byte");
  Transaction transaction(directory);
  for (const auto& [name, content] : name_and_content) transaction.add(name, content);
  transaction.commit();
}

}  // namespace pathbound
