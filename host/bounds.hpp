// SPDX-License-Identifier: Apache-2.0
// Bounds: theorems as code (theory section 4). Each knows of which object it speaks, its assumptions and its value at
// every checkpoint.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/curve.hpp"
#include "host/experiment.hpp"
#include "host/objective.hpp"

namespace pathbound {

enum class AssumptionStatus { proved, observed, failed, unchecked };
const char* name_of(AssumptionStatus);

struct Assumption {
  std::string name;
  AssumptionStatus status = AssumptionStatus::unchecked;
  std::string detail;
};

/// A theorem applied to a curve. `value` is NaN at every checkpoint when the theorem gives no number (an assumption
/// without which the formula has no meaning failed).
struct BoundValue {
  std::string theorem;             ///< as in bound_registry
  std::string speaks_of;           ///< "sde" or "iterates"
  std::optional<ModelKind> model;  ///< the SDE that it speaks of; none: the iterates
  /// "suboptimality": E S. Of sums over the steps, w = eta s_k a(x_k): "weighted_gradient_norm_sq": sum E[w |grad
  /// f|^2]/sum E w; "psi": sum E[w m . grad f]/sum E w. Numbers are in these units.
  std::string quantity = "suboptimality";
  double level = 0.0;  ///< of sums: what the simulation has taken off each term (SimSpec::sums_level)
  std::vector<std::pair<std::string, double>> constants;  ///< as printed in results.json: mu, L, Delta, V, omega, ...
  std::vector<Assumption> assumptions;
  std::vector<double> value;
  /// B3, B3p on an isotropic quadratic: the factor by which the stationary level of the method, or of its curvature or
  /// hessian_aware model, exceeds the bound, exactly Delta / (Delta - eta h / 2); infinite when there is no stationary
  /// level. 0: not known.
  double predicted_excess = 0.0;
  bool applicable() const;  ///< no assumption failed
};

struct BoundInfo {
  std::string theorem, alias, speaks_of, summary, source;
  std::optional<ModelKind> model;  ///< the SDE that it speaks of; none: the iterates
};
/// In the order of theory section 4.
const std::vector<BoundInfo>& bound_registry();

/// Evaluates the theorem at the checkpoints of a method's or a model's curve (a model is judged by the numbers of its
/// method). Steps are walked one by one only for bounds that are recursions.
BoundValue evaluate_bound(const std::string& theorem, const CurveConfig& config, const Objective& objective,
                          const Curve& curve);
/// Needs the largest |grad_j f| over every step (B4Y, B4d): the engine then tracks it.
bool needs_gradient_tracking(const std::string& theorem);

/// What the curve has to sum up for the bound (SimSpec::sums, track_smoothness); none where it is not about its method.
struct SumsNeeded {
  SumKind kind = SumKind::none;
  double level = 0.0;
  bool track_smoothness = false;
  double L0 = 0.0, L1 = 0.0;
};
SumsNeeded sums_needed(const std::string& theorem, const CurveConfig& config, const Objective& objective);

/// What the theorems need of the workers (theory section 4, heterogeneous workers): means over them.
struct WorkerMeans {
  double omega = 0.0;      ///< mean omega_i; NaN: a compressor is biased
  double noise = 0.0;      ///< mean (1 + omega_i) V_i / B_i, V_i = d sigma_i^2 Var zeta
  double affine = 0.0;     ///< mean (1 + omega_i) rho^2 Var zeta / B_i
  double omega_sum = 0.0;  ///< sum omega_i / N^2 (omega / N when alike)
};
WorkerMeans worker_means(const CurveConfig& curve, int dim);
double compressor_omega(const CurveConfig& curve, int dim, int worker);
/// K = 1 + (mean omega_i + mean (1 + omega_i) rho^2 Var zeta / B_i) / N (theory B3c): the averaged direction has E|.|^2
/// <= K |grad f|^2 and a term that does not depend on x.
double second_moment_factor(const CurveConfig& curve, int dim);

}  // namespace pathbound
