// SPDX-License-Identifier: Apache-2.0
// Verdicts: does the bound hold for this curve, at which confidence, and why (design section 6).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/bounds.hpp"
#include "host/curve.hpp"

namespace pathbound {

struct Verdict {
  BoundConfig config;
  BoundValue bound;
  std::optional<ModelConfig> model;             ///< what the curve is a model of; none: it is a method
  std::vector<double> empirical, lower, upper;  ///< mean and the pointwise limits of the verdict's two tests
  Expectation verdict = Expectation::inconclusive;
  std::uint64_t worst_step = 0;
  double worst_ratio = 0.0;  ///< largest empirical / bound after step 0, where it is 1 by definition
  double tightness = 0.0;    ///< empirical / bound at the last checkpoint above the rounding; NaN: none
  std::optional<std::uint64_t> paths_to_decide;
  std::string reason;
  bool as_expected() const { return !config.expect || *config.expect == verdict; }
};

/// `limit`: the experiment's divergence limit; a diverged path counts as S = limit in verdicts.
Verdict judge(const BoundConfig& config, const BoundValue& bound, const CurveConfig& curve_config, const Curve& curve,
              double limit);

/// Adds what one bound's verdict can say with another's at hand: "the theorem speaks of the SDE; ... B3d holds; B3
/// holds for the first_order model 'its SDE'".
void cross_reference(std::vector<Verdict>& verdicts);

}  // namespace pathbound
