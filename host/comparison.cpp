// SPDX-License-Identifier: Apache-2.0
#include "host/comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>

#include "host/output_text.hpp"

namespace pathbound {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t least_groups = 8;
/// Of "resolved": the chance of one false alarm over all checkpoints of a comparison.
constexpr double false_alarms = 0.01;
/// An integrator error above this share of the weak error may be what is seen instead of the model's.
constexpr double small_share = 0.2;
/// Root mean square of what paths of method and model differ by through rounding alone, in sqrt(steps * substeps)
/// roundings of E S: up to 1.9 was seen with one Euler substep.
constexpr double rounding_spread = 4.0;
/// The means of groups of paths are double in either precision.
constexpr double mean_rounding = 0x1p-53;

/// Student's quantile at 1 - level/2.
double two_sided_limit(double level, std::size_t groups) {
  if (groups < 2) return nan;
  const boost::math::students_t student(static_cast<double>(groups - 1));
  return boost::math::quantile(boost::math::complement(student, 0.5 * level));
}

/// E S(n) - E S(2n) times this is the error of n substeps, up to higher orders: the error is c/n^p.
double extrapolation(IntegratorKind integrator) { return integrator == IntegratorKind::weak2 ? 4.0 / 3.0 : 2.0; }

/// first_order by one Euler step is x - (eta/N) sum_i (v + s_i z_i), z_i standard normal.
bool is_method_itself(const CurveConfig& model) {
  const bool plain = model.method == MethodKind::dsgd ||
                     (model.method == MethodKind::dcsgd && model.compressor.kind == CompressorKind::identity);
  return plain && model.noise.law.kind == LawKind::gaussian && model.model->kind == ModelKind::first_order &&
         model.model->integrator == IntegratorKind::euler_maruyama && model.model->substeps == 1;
}

/// "'a'", or "'a' and 'b'": those of the two of which it is true.
template <class Predicate>
std::string names_of(const Simulated& method, const Simulated& model, const Predicate& predicate) {
  std::string names;
  for (const Simulated* side : {&method, &model})
    if (predicate(*side)) names += fmt::format("{}'{}'", names.empty() ? "" : " and ", side->config.name);
  return names;
}

/// The first checkpoint after step 0 at which a path has diverged; the number of checkpoints when none has.
std::size_t first_diverged(const SimResult& result, std::uint64_t paths) {
  const auto found = std::find_if(result.records.begin(), result.records.end(),
                                  [&](const Record& record) { return record.finite < paths; });
  return static_cast<std::size_t>(found - result.records.begin());
}

bool after_start(const Comparison& comparison, std::size_t c) {
  return comparison.step[c] > 0 && std::isfinite(number_at(comparison.weak_error, c));
}

/// Why no weak error after step 0 is a number.
std::string why_nothing(const Simulated& method, const Simulated& model) {
  const std::string ending = ": there is nothing to compare";
  if (method.curve.step.empty() || method.curve.step.back() == 0) return "no checkpoint after step 0" + ending;
  const auto missing = [](const Simulated& side) { return side.curve.mean_is == MeanIs::does_not_exist; };
  // The curve's own notes say why.
  if (const std::string names = names_of(method, model, missing); !names.empty())
    return fmt::format("E S of {} does not exist", names) + ending;
  std::string diverged;
  for (const Simulated* side : {&method, &model}) {
    const std::uint64_t paths = side->config.paths;
    const std::size_t first = first_diverged(side->result, paths);
    if (first == side->result.records.size()) continue;
    diverged +=
        fmt::format("{}{} of {} paths of '{}' have diverged by step {}", diverged.empty() ? "" : ", ",
                    paths - side->result.records[first].finite, paths, side->config.name, side->curve.step[first]);
  }
  return (diverged.empty() ? "no mean is a number" : diverged) + ending;
}

}  // namespace

CurveConfig with_doubled_substeps(const CurveConfig& model) {
  CurveConfig doubled = model;
  doubled.model->substeps *= 2;
  return doubled;
}

Difference difference(const SimResult& a, const SimResult& b, std::uint64_t paths) {
  const double n = static_cast<double>(paths), group = static_cast<double>(a.group_paths);
  Difference out;
  for (std::size_t c = 0; c < a.records.size(); ++c) {
    const Record &ra = a.records[c], &rb = b.records[c];
    const std::vector<double>&ga = a.group_means[c], &gb = b.group_means[c];
    double value = nan, error = nan, reduction = nan;
    if (ra.finite == paths && rb.finite == paths) {
      value = ra.sum / n - rb.sum / n;
      double mean = 0.0, square = 0.0;
      for (std::size_t g = 0; g < ga.size(); ++g) mean += (ga[g] - gb[g]) / static_cast<double>(ga.size());
      for (std::size_t g = 0; g < ga.size(); ++g) square += (ga[g] - gb[g] - mean) * (ga[g] - gb[g] - mean);
      if (ga.size() >= least_groups) {
        const double variance = group * square / static_cast<double>(ga.size() - 1);  // of one path's difference
        error = std::sqrt(variance / n);
        if (variance > 0.0) reduction = (ra.m2 + rb.m2) / (n - 1.0) / variance;
      }
    }
    out.value.push_back(value);
    out.standard_error.push_back(error);
    out.variance_reduction.push_back(reduction);
  }
  return out;
}

Comparison compare(const Simulated& method, const Simulated& model, const SimResult& doubled,
                   const Objective& objective, Precision precision) {
  Comparison out;
  out.method = method.config.name;
  out.model = model.config.name;
  out.step = method.curve.step;
  out.groups = method.result.group_means.empty() ? 0 : method.result.group_means.front().size();
  // The moment step has the method's E x^2 on quadratics for every number of substeps (theory section 3).
  out.more_substeps_help =
      !(model.config.model->integrator == IntegratorKind::moment && model.config.method != MethodKind::dsignsgd &&
        objective.config().kind == ObjectiveKind::quadratic);
  const std::uint64_t paths = method.config.paths;
  const std::size_t n = out.step.size();
  Difference weak = difference(method.result, model.result, paths);
  Difference own = difference(model.result, doubled, paths);

  const auto missing = [](const Simulated& side) { return side.curve.mean_is == MeanIs::does_not_exist; };
  const auto restricted = [](const Simulated& side) { return side.curve.mean_is == MeanIs::restricted; };
  const auto doubtful = [](const Simulated& side) { return side.curve.variance_doubtful; };
  if (missing(method) || missing(model))
    out.mean_is = MeanIs::does_not_exist;
  else if (restricted(method) || restricted(model))
    out.mean_is = MeanIs::restricted;
  const bool doubled_doubtful = !moments_of(with_doubled_substeps(model.config), objective).variance_exists;
  const double factor = extrapolation(model.config.model->integrator);
  for (std::size_t c = 0; c < n; ++c) {
    own.value[c] *= factor;
    own.standard_error[c] *= factor;
    if (out.step[c] == 0) continue;  // not random: everything about it exists
    if (out.mean_is == MeanIs::does_not_exist) weak.value[c] = nan;
    if (std::isnan(weak.value[c]) || doubtful(method) || doubtful(model))
      weak.standard_error[c] = weak.variance_reduction[c] = nan;
    if (doubtful(model) || doubled_doubtful) own.standard_error[c] = nan;
  }

  // What the arithmetic decides.
  const bool itself = is_method_itself(model.config);
  const double eps = precision == Precision::single ? 0x1p-24 : 0x1p-53;
  std::size_t compared = 0, rounded = 0, unvaried = 0;
  out.below_rounding.assign(n, false);
  for (std::size_t c = 0; c < n; ++c) {
    if (out.step[c] == 0 || !std::isfinite(weak.value[c])) continue;
    ++compared;
    const double moves = static_cast<double>(out.step[c]) * model.config.model->substeps;
    const double rounding = eps * method.curve.mean[c] * std::sqrt(moves), error = weak.standard_error[c];
    const auto low = [&](const Simulated& side) { return side.curve.mean[c] < side.curve.rounding_level; };
    // Among larger standard errors a tiny difference is an accident, which more digits would not change.
    const bool lost = std::fabs(weak.value[c]) < rounding && !(error > rounding);
    out.below_rounding[c] = itself || low(method) || low(model) || lost;
    rounded += out.below_rounding[c];
    const bool varies = error * std::sqrt(static_cast<double>(paths)) >= rounding_spread * rounding &&
                        error >= mean_rounding * method.curve.mean[c];
    if (varies && !itself) continue;
    unvaried += !out.below_rounding[c] && std::isfinite(weak.variance_reduction[c]);
    weak.variance_reduction[c] = nan;
  }

  const auto note = [&](std::string text) { out.notes.push_back(std::move(text)); };
  if (compared == 0) {
    note(why_nothing(method, model));
  } else {
    if (itself) note("one Euler step of this SDE is the method itself: this compares nothing");
    if (const std::string names = names_of(method, model, restricted); !names.empty())
      note(fmt::format("E S of {} is restricted to paths that have not diverged, and so is the difference", names));
    for (const Simulated* side : {&method, &model}) {
      const std::size_t first = first_diverged(side->result, paths);
      if (first < n)
        note(fmt::format("no comparison from step {} on: {} of {} paths of '{}' have diverged by step {}",
                         out.step[first], paths - side->result.records.back().finite, paths, side->config.name,
                         out.step.back()));
    }
    if (out.groups < least_groups)
      note(fmt::format("no standard errors: they need at least {} paths", least_groups * block_paths));
    else if (const std::string names = names_of(method, model, doubtful); !names.empty())
      note(fmt::format("no standard errors: the sampling variance of {} cannot be trusted", names));
    else if (doubled_doubtful)
      note(
          "no standard errors of the integrator error: the sampling variance with twice the substeps cannot be "
          "trusted");
    if (const std::size_t first = first_diverged(doubled, paths); first < n && std::isfinite(weak.value[first]))
      note(
          fmt::format("no integrator error from step {} on: with twice the substeps {} of {} paths have diverged by "
                      "step {}",
                      out.step[first], paths - doubled.records.back().finite, paths, out.step.back()));
    if (rounded > 0 && !itself) {
      const std::string where =
          rounded == compared ? "everywhere" : fmt::format("at {} of {} checkpoints after step 0", rounded, compared);
      note(fmt::format("the difference is below the rounding of the arithmetic {}{}", where,
                       precision == Precision::single ? ": use precision = \"double\"" : ""));
    }
    if (unvaried > 0) note("no variance reduction where the difference varies from path to path by rounding alone");
    if (method.config.noise.law.kind != LawKind::gaussian)
      note("the noise is not Gaussian: method and model have independent draws");
    if (std::any_of(method.curve.notes.begin(), method.curve.notes.end(),
                    [](const std::string& text) { return text.find("cuts about") != std::string::npos; }))
      note(fmt::format("the tail cut off the noise of '{}' biases the weak error: the model has the full variance",
                       method.config.name));
  }
  out.weak_error = std::move(weak.value);
  out.standard_error = std::move(weak.standard_error);
  out.variance_reduction = std::move(weak.variance_reduction);
  out.integrator_error = std::move(own.value);
  out.integrator_standard_error = std::move(own.standard_error);
  return out;
}

Summary summary_of(const Comparison& comparison) {
  Summary out;
  std::size_t compared = 0;
  for (std::size_t c = 0; c < comparison.step.size(); ++c) {
    if (!after_start(comparison, c)) continue;
    ++compared;
    if (!out.at || std::fabs(comparison.weak_error[c]) > std::fabs(comparison.weak_error[*out.at])) out.at = c;
  }
  if (!out.at) return out;

  const double weak = std::fabs(comparison.weak_error[*out.at]);
  const double error = number_at(comparison.standard_error, *out.at);
  const bool rounded = *out.at < comparison.below_rounding.size() && comparison.below_rounding[*out.at];
  const double limit = two_sided_limit(false_alarms / static_cast<double>(compared), comparison.groups);
  out.resolved = !rounded && weak > 0.0 && weak >= limit * error;
  if (rounded) {
    out.remarks.push_back("Weak error not resolved: below the rounding of the arithmetic.");
    return out;  // there is nothing that the integrator's error could be compared with
  }
  if (!*out.resolved)
    out.remarks.push_back(
        std::isfinite(limit * error) && error > 0.0
            ? fmt::format("Weak error not resolved: {:.2g} standard errors, and {:.2g} are needed ({:g}% over {} "
                          "checkpoint{}).",
                          weak / error, limit, 100.0 * (1.0 - false_alarms), compared, compared == 1 ? "" : "s")
        : weak > 0.0 ? "Weak error not resolved: it has no standard error."
                     : "Weak error not resolved: it is 0.");

  const double own = std::fabs(number_at(comparison.integrator_error, *out.at));
  const double own_limit =
      two_sided_limit(false_alarms, comparison.groups) * number_at(comparison.integrator_standard_error, *out.at);
  const double share = small_share * weak;
  if (!std::isfinite(own))
    out.remarks.push_back("Integrator error not known.");
  else if (own - own_limit > share)
    out.remarks.push_back(fmt::format("Integrator error more than a fifth of the weak error: more {}.",
                                      comparison.more_substeps_help ? "substeps" : "paths"));
  else if (*out.resolved && !(own + own_limit <= share))
    out.remarks.push_back(fmt::format("Integrator error perhaps more than a fifth of the weak error: {}.",
                                      std::isnan(own_limit)                          ? "it has no standard error"
                                      : own > share && comparison.more_substeps_help ? "more substeps or paths"
                                                                                     : "more paths"));
  return out;
}

}  // namespace pathbound
