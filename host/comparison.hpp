// SPDX-License-Identifier: Apache-2.0
// How far a model is from its method: the weak error E S(method) - E S(model), estimated path by path.
#pragma once
#include "host/curve.hpp"
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
Comparison compare(const Simulated& method, const Simulated& model, const SimResult& doubled);

}  // namespace pathbound
