// SPDX-License-Identifier: Apache-2.0
// What is known of the laws of unit-scale noise zeta (theory section 1). Infinity where a moment does not exist.
#pragma once
#include <string>

#include "kernels/spec.hpp"

namespace pathbound {

double noise_variance(const LawSpec& law);           ///< Var zeta
double noise_fourth_moment(const LawSpec& law);      ///< E zeta^4
double noise_xi(const LawSpec& law, double y);       ///< Xi(y) = F(y) - 1/2 of a coordinate
double noise_density(const LawSpec& law, double y);  ///< F'(y)
double noise_density_factor(const LawSpec& law);     ///< l = 2 F'(0)

/// E|zeta|^q is finite for 0 <= q < p; infinity: for every q.
double tail_order(const LawSpec& law);
/// E e^(c |zeta|) is finite for 0 <= c < this; infinity: for every c.
double exponential_order(const LawSpec& law);

/// "Gaussian noise", "Student-t noise with nu = 2".
std::string law_words(const LawSpec& law);

}  // namespace pathbound
