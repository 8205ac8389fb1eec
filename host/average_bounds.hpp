// SPDX-License-Identifier: Apache-2.0
// Bounds on averages over the steps (theory B5, B6, B6d): what a path sums up for them, and their values. bounds.hpp is
// the way in.
#pragma once
#include "host/bounds.hpp"

namespace pathbound {

/// Fills in constants, assumptions and values of a B5, B6 or B6d.
void evaluate_average_bound(BoundValue& bound, const CurveConfig& config, const Objective& objective,
                            const Curve& curve);

/// G_c = (2/(eta K) - L0)/L1 (theory B5): where a step eta that no factor shortens guarantees nothing any more, as |H|
/// may be 2/(eta K) there. Infinite where L1 = 0, NaN where no (L0, L1) is known.
double guarantee_ends(const CurveConfig& config, const Objective& objective);
/// What to know about a method whose step nothing normalises on an objective that is not L-smooth; empty elsewhere.
std::string guarantee_note(const CurveConfig& config, const Objective& objective);

}  // namespace pathbound
