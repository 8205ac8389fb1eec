// SPDX-License-Identifier: Apache-2.0
// Which laws a step kernel is compiled for: registers and code for all of them would weigh on those that need few.
#pragma once
#include "kernels/spec.hpp"

namespace pathbound::cuda {

/// Each has those before it.
enum class LawFamily : int { gaussian, student_t, all };

/// The least family with this law.
constexpr LawFamily family_of(LawKind kind) {
  switch (kind) {
    case LawKind::gaussian:
      return LawFamily::gaussian;
    case LawKind::student_t:
    case LawKind::multivariate_t:
      return LawFamily::student_t;
    default:
      return LawFamily::all;
  }
}

}  // namespace pathbound::cuda
