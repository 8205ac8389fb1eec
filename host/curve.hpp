// SPDX-License-Identifier: Apache-2.0
// Curve: statistics of many paths of one process at checkpoints, ready to be judged and written.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/experiment.hpp"
#include "host/objective.hpp"
#include "kernels/simulate.hpp"

namespace pathbound {

enum class Band { bonferroni_t, median_of_means, none, group_t };
/// What the reported mean estimates (theory O9): E S; E[S | not diverged]; nothing that exists.
enum class MeanIs { expectation, restricted, does_not_exist };
const char* name_of(Band);
const char* name_of(MeanIs);

/// E S with fewer paths (host/variance_reduction.hpp). Vectors have one entry per checkpoint, NaN where the plain
/// numbers stay (step 0); all are empty when `used` is none.
struct Reduction {
  VarianceReduction asked = VarianceReduction::none, used = VarianceReduction::none;
  std::string reason;  ///< why `used` is none
  std::vector<double> mean, standard_error;
  std::vector<double> degrees;         ///< of freedom of the standard error, which comes from groups of paths
  std::vector<double> skew;            ///< of the estimate: third cumulant over standard_error^3
  std::vector<double> variance_ratio;  ///< standard_error^2 in that of the plain mean
  double cost_ratio = 1.0;             ///< of the runs behind it, pilots included, to the plain run
  std::vector<std::pair<VarianceReduction, double>> pilot;  ///< automatic: variance x cost to expect of each kind
  std::vector<double> h, beta;                              ///< control: the quadratic's eigenvalues; the coefficient
  struct Level {
    int substeps = 0;
    std::uint64_t paths = 0;
  };
  std::vector<Level> levels;  ///< multilevel, from the coarsest
  double median_ratio() const;
  double worst_ratio() const;  ///< of variance_ratio
};

/// All vectors have one entry per checkpoint. A number that does not exist is NaN (null in results.json).
struct Curve {
  std::string name;
  std::vector<std::uint64_t> step;
  std::vector<double> time;  ///< sum of the prescribed step sizes before that step (k eta when constant)
  std::uint64_t paths = 0;
  std::vector<std::uint64_t> finite;
  std::vector<double> mean, standard_error, lower, upper, min, max, grad_norm, regime;
  std::array<std::vector<double>, 5> quantiles;  ///< curve_quantiles
  Band band = Band::bonferroni_t;
  MeanIs mean_is = MeanIs::expectation;
  /// The sampling variance of S is infinite or cannot be trusted (O9): no Student limits, no verdict from it.
  bool variance_doubtful = false;
  std::string variance_reason;
  bool marginal = false;  ///< the workers were drawn together (SamplingForm)
  std::vector<std::string> notes;
  // What verdicts need beside the above.
  std::vector<double> variance;         ///< of S over paths, M2 / (n - 1)
  std::vector<double> skew;             ///< sample skewness (0 when M2 = 0)
  std::vector<double> max_grad;         ///< largest |grad_j f| at the checkpoint
  std::vector<double> max_grad_so_far;  ///< over every step up to it, if tracked
  double pl_min = 0.0, pl_max = 0.0;    ///< extremes over all checkpoints of |grad f|^2 / (2 S); 0, 0: none seen
  /// S below which the arithmetic, not the method, decides (rounding_level). 0: not known, nothing is excluded.
  double rounding_level = 0.0;
  /// Sums over the steps before each checkpoint, where a bound needs them (BoundValue::quantity): of Y = sum w (term -
  /// level) over paths, and E sum w. Empty otherwise.
  struct StepSums {
    SumKind kind = SumKind::none;
    double level = 0.0;
    std::vector<double> mean, standard_error, variance, skew, weight;
  } sums;
  std::vector<double> smoothness;  ///< largest |H|/(L0 + L1 |grad f|) over every step so far, if tracked; else empty
  /// What mean, standard_error and the band are by, where the experiment asks for it.
  std::optional<Reduction> reduction;
  double seconds = 0.0;
};

/// Moments of S that exist for this curve (theory O9), decided before simulating.
struct MomentReport {
  bool mean_exists = true;      ///< for all steps
  bool variance_exists = true;  ///< E S^2 finite and not exploding
  MeanIs mean_is = MeanIs::expectation;
  std::string reason;  ///< why not, in words with the numbers, empty when both exist
};
MomentReport moments_of(const CurveConfig& curve, const Objective& objective);
/// Whether a method's |x_k - x_0| is at most a number times k, whatever the noise (O9): then every moment exists.
bool steps_are_bounded(const CurveConfig& curve, const Objective& objective);

/// S below which the rounding of x and grad f, not the method, decides (theory section 7): for Curve::rounding_level.
/// `eps` is the unit roundoff, 2^-24 in float and 2^-53 in double.
double rounding_level(const CurveConfig& curve, const Objective& objective, double eps);

/// Builds the curve with its simultaneous band at the given confidence (Bonferroni over the checkpoints).
Curve make_curve(const CurveConfig& config, const Objective& objective, const SimResult& result,
                 double confidence = 0.99);

}  // namespace pathbound
