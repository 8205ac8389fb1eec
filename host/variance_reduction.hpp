// SPDX-License-Identifier: Apache-2.0
// Fewer paths for the same answer: E S from runs that share random words (docs/variance_reduction.md).
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "host/curve.hpp"
#include "host/experiment.hpp"
#include "host/objective.hpp"
#include "kernels/simulate.hpp"

namespace pathbound {

/// A run has at least 64 groups of paths from this many on: fewer are not judged by their groups.
inline constexpr std::uint64_t least_reduced_paths = 2048;
/// With fewer paths than this a pilot costs more than its choice can be worth.
inline constexpr std::uint64_t least_piloted_paths = 16384;

/// Why a kind other than none and automatic is not for such a curve; empty when it is. What only a run can tell (a path
/// diverges) or the objective (moments_of) is left to reduce().
std::string why_no_reduction(VarianceReduction kind, const CurveConfig& curve, const ObjectiveConfig& objective);

/// Whether the form that the curve is sampled in draws noise whose sign can be turned: not numbers of signs or of
/// workers that keep a coordinate. sampling = "direct" always does.
bool can_be_mirrored(const CurveConfig& curve, int dim);

/// An unbiased estimate from independent groups of paths. `skew`: of the estimate itself, its third cumulant over the
/// power 3/2 of its variance.
struct Estimate {
  double mean = 0.0, variance = 0.0, degrees = 0.0, third = 0.0;
  double skew() const;
};
/// The mean of the values of independent groups.
Estimate mean_of(const std::vector<double>& groups);
/// The sum of independent estimates, with the degrees of freedom of Welch and Satterthwaite.
Estimate sum_of(const std::vector<Estimate>& parts);
/// E y from the groups' means y and those of a control whose mean is known: the mean of y - beta (control - known),
/// beta for the groups of even number from those of odd number and the other way round, so that it is unbiased.
struct ControlEstimate {
  Estimate estimate;
  double beta = 0.0;  ///< mean of the two
};
ControlEstimate control_estimate(const std::vector<double>& y, const std::vector<double>& control, double known);

/// Simulates a curve; `objective` is the experiment's.
using Runner = std::function<SimResult(const Experiment&, const CurveConfig&, const Objective&)>;

/// E S of the curve by what its key variance_reduction asks for. `plain`: its own run. `run` does the others.
Reduction reduce(const Experiment& experiment, const CurveConfig& curve, const Objective& objective,
                 const SimResult& plain, const Runner& run);

/// Puts a reduction in the place of the plain mean, standard error and band, where there is one.
void apply(Reduction reduction, Curve& curve, double confidence = 0.99);

/// About what reduce() will simulate, in plain runs of the curve (1: as much once more).
double planned_reduction_cost(const CurveConfig& curve, const Objective& objective);

}  // namespace pathbound
