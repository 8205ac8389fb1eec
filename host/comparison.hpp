// SPDX-License-Identifier: Apache-2.0
// How far a model is from its method: the weak error E S(method) - E S(model), estimated path by path.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "host/curve.hpp"
#include "host/objective.hpp"
#include "host/results.hpp"
#include "kernels/simulate.hpp"

namespace pathbound {

/// One simulated curve: what it is, what came out, and the curve made of it.
struct Simulated {
  const CurveConfig& config;
  const SimResult& result;
  const Curve& curve;
};

/// The same experiment with twice the substeps.
CurveConfig with_doubled_substeps(const CurveConfig& model);

/// The difference of two curves with the same paths and checkpoints, E S(a) - E S(b), with the standard error of the
/// difference itself: from the means of groups of paths (SimResult::group_means), in which common noise cancels. NaN
/// where a path of either has diverged, or with fewer than 8 groups.
struct Difference {
  std::vector<double> value, standard_error;
  std::vector<double> variance_reduction;  ///< (Var S(a) + Var S(b)) / Var(S(a) - S(b))
};
Difference difference(const SimResult& a, const SimResult& b, std::uint64_t paths);

/// `doubled`: the model's result with_doubled_substeps.
Comparison compare(const Simulated& method, const Simulated& model, const SimResult& doubled,
                   const Objective& objective, Precision precision);

/// What a comparison shows. Every threshold and every sentence on it is made here, for all outputs.
struct Summary {
  /// The checkpoint of the largest |weak error| after step 0; empty when no weak error there is a number.
  std::optional<std::size_t> at;
  /// Whether the weak error there is told from zero, at 99% over all K checkpoints after step 0 that have one: its size
  /// is at least Student's quantile 1 - 0.01/(2K) in standard errors. False without a standard error and below the
  /// rounding of the arithmetic; empty without `at`.
  std::optional<bool> resolved;
  std::vector<std::string> remarks;  ///< sentences: what is not shown, and what would help
};
Summary summary_of(const Comparison& comparison);

}  // namespace pathbound
