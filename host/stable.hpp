// SPDX-License-Identifier: Apache-2.0
// The symmetric alpha-stable law with characteristic function exp(-|t|^alpha) (theory section 1): its density and
// distribution, for every alpha in [0.06, 2]. Only the kernels' own functions (kernels/portable.hpp) are used: tables
// that go into the paths are made of it.
#pragma once
#include <vector>

namespace pathbound {

class StableLaw {
 public:
  explicit StableLaw(double alpha);
  double alpha() const { return alpha_; }
  /// F'(x), x >= 0.
  double density(double x) const;
  /// F(x) - 1/2, x >= 0.
  double xi(double x) const;
  /// 1 - F(x), x >= 0.
  double tail(double x) const;
  /// How far from 0 a polynomial with that many terms represents the density to that relative accuracy.
  double reach_of_polynomial(int terms, double accuracy) const;

 private:
  enum class Part { density, xi, tail };
  double value(Part part, double x) const;
  bool far_series(Part part, double x, double& result) const;
  bool near_series(Part part, double x, double& result) const;
  double over_angles(Part part, double x) const;
  double over_exponentials(Part part, double x) const;

  double alpha_, power_ = 0.0;
  bool by_angles_ = false;
  std::vector<double> far_, far_sine_;  ///< of the series in x^-alpha: size of a coefficient, and its sine
  double at_zero_ = 0.0;                ///< F'(0)
  std::vector<double> near_;            ///< of the series in x^2: ratios of coefficients
  std::vector<double> log_z_, weight_;  ///< over_angles: the nodes
};

/// Made once for each alpha.
const StableLaw& stable_law(double alpha);

}  // namespace pathbound
