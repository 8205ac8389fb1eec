// SPDX-License-Identifier: Apache-2.0
// The distribution function of a noise law as the models of DSignSGD need it: tables for kernels/xi.hpp, made with the
// kernels' own arithmetic, so that they have the same bits on every machine.
#pragma once
#include <vector>

#include "kernels/spec.hpp"

namespace pathbound {

/// Xi and the density of one law (theory section 1; of multivariate_t: of a coordinate) as piecewise polynomials. Owns
/// what the table points to. The last piece begins where 1/2 - Xi and y F' are both below 2^-27 (float) or 2^-56
/// (double), or where the finite numbers end.
/// Errors of what kernels/xi.hpp makes of it, float and double (tests/test_xi.cpp): Xi 3.0e-8 and 1.5e-16, for y <= 1
/// relatively 1.5e-7 and 1.2e-15; F', where y F' > 1e-7, relatively 2.5e-7 and 1.2e-14.
template <class R>
class XiPieces {
 public:
  XiPieces() = default;  ///< an empty table, for curves that need none
  explicit XiPieces(const LawSpec& law);
  XiPieces(XiPieces&&) = default;
  XiPieces& operator=(XiPieces&&) = default;
  const XiTable<R>& table() const { return table_; }

 private:
  std::vector<R> pieces_;
  XiTable<R> table_;
};

}  // namespace pathbound
