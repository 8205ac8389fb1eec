// SPDX-License-Identifier: Apache-2.0
#include "host/comparison.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace pathbound {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t least_groups = 8;

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

Comparison compare(const Simulated& method, const Simulated& model, const SimResult& doubled) {
  Comparison out;
  out.method = method.config.name;
  out.model = model.config.name;
  out.step = method.curve.step;
  const std::uint64_t paths = method.config.paths;
  Difference weak = difference(method.result, model.result, paths);
  Difference own = difference(model.result, doubled, paths);
  for (const Simulated* side : {&method, &model}) {
    if (side->curve.mean_is == MeanIs::does_not_exist) {
      // The curve's own notes say why.
      out.notes.push_back(fmt::format("E S of '{}' does not exist: there is nothing to compare", side->config.name));
      for (std::size_t c = 0; c < out.step.size(); ++c)
        if (out.step[c] > 0) weak.value[c] = weak.standard_error[c] = weak.variance_reduction[c] = nan;
    } else if (side->curve.variance_doubtful) {
      out.notes.push_back(fmt::format(
          "the sampling variance of '{}' cannot be trusted, nor can the standard errors here", side->config.name));
    }
    if (side->result.records.back().finite < paths)
      out.notes.push_back(fmt::format("no comparison from the first record on at which a path of '{}' has diverged",
                                      side->config.name));
  }
  if (method.result.group_means.front().size() < least_groups)
    out.notes.push_back(fmt::format("no standard errors: they need at least {} paths", least_groups * block_paths));
  if (method.config.noise.law != LawKind::gaussian)
    out.notes.push_back("the noise is not Gaussian: method and model have independent draws");
  out.weak_error = std::move(weak.value);
  out.standard_error = std::move(weak.standard_error);
  out.variance_reduction = std::move(weak.variance_reduction);
  out.integrator_error = std::move(own.value);
  out.integrator_standard_error = std::move(own.standard_error);
  return out;
}

}  // namespace pathbound
