// SPDX-License-Identifier: Apache-2.0
// The distribution function of a noise law as the models of DSignSGD need it: tables for kernels/xi.hpp, made with the
// kernels' own arithmetic, so that they have the same bits on every machine.
#pragma once
#include <vector>

#include "kernels/spec.hpp"

namespace pathbound {

/// Xi and the density of one law (theory section 1) as piecewise polynomials. Owns what the table points to.
template <class R>
class XiPieces {
 public:
  XiPieces() = default;  ///< an empty table, for curves that need none
  XiPieces(LawKind law, double nu);
  XiPieces(XiPieces&&) = default;
  XiPieces& operator=(XiPieces&&) = default;
  const XiTable<R>& table() const { return table_; }

 private:
  std::vector<R> pieces_;
  XiTable<R> table_;
};

}  // namespace pathbound
