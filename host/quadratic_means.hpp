// SPDX-License-Identifier: Apache-2.0
// E S on quadratics, exactly: the recursion of every coordinate's second moment.
#pragma once
#include <string>
#include <vector>

#include "host/experiment.hpp"
#include "kernels/spec.hpp"

namespace pathbound {

/// Why quadratic_means does not know E S of such a curve on a quadratic; empty when it does: DSGD and DCSGD with
/// identity, rand_k, rand_k_plain or bernoulli and no adaptive factor, and their models, of which weak2 only where the
/// noise does not depend on x and the schedule does not jump.
std::string no_quadratic_means(const CurveConfig& curve);

/// E S at the checkpoints, S = 1/2 sum_j h_j x_j^2: theory O1, O2 of methods, and of models the same for their own
/// integrator with its n substeps (n -> infinity: O3). From the numbers that the paths are computed with, so that only
/// the rounding of the paths' arithmetic and of the law's sampling is between the two. The spec is one of a quadratic
/// and of a curve that no_quadratic_means does not refuse; the law's variance is finite.
template <class R>
std::vector<double> quadratic_means(const SimSpec<R>& spec);
extern template std::vector<double> quadratic_means<float>(const SimSpec<float>&);
extern template std::vector<double> quadratic_means<double>(const SimSpec<double>&);

}  // namespace pathbound
