// SPDX-License-Identifier: Apache-2.0
// The symmetric alpha-stable law from its characteristic function exp(-|t|^alpha) alone, in long double: Fourier
// inversion along a ray z = s e^(i theta) of the upper half plane, on which exp(i x z - z^alpha) decays faster than it
// turns, by the trapezoidal rule in ln s. Shares nothing with host/stable.cpp.
#pragma once
#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

namespace pathbound::reference {

using Wide = long double;

struct StableValue {
  Wide density, xi;
};

/// Good to about 1e-17 (1 + x^alpha) of the density, and absolutely of Xi; x > 0.
inline StableValue stable(double alpha, double x) {
  using Complex = std::complex<Wide>;
  const Wide a = alpha, y = x, pi = std::numbers::pi_v<Wide>;
  const Wide theta = std::min(pi / 2, 0.3L * pi / a);  // the real part of z^alpha is at least 0.58 |z|^alpha
  const Complex ray = std::polar(Wide(1), theta), power = std::polar(Wide(1), a * theta);
  // exp(-44) is 8e-20 (s^alpha: 120, for s itself grows to s = e^80). Below `low` what is left is an s^alpha or an s x
  // small against 1.
  const Wide high = std::min(std::log(46 / (y * std::sin(theta))), std::log(120 / std::cos(a * theta)) / a);
  const Wide low = std::min({-44 / a, Wide(-44), -44 - std::log(y)});
  const Wide step = 0.02L;
  Wide density = 0, turns = 0;
  for (Wide u = high; u > low; u -= step) {
    const Wide s = std::exp(u);
    const Complex value = std::exp(Complex(0, y * s) * ray - std::exp(a * u) * power);
    density += s * (ray * value).real();
    turns += value.imag();
  }
  return {step * density / pi, theta / pi + step * turns / pi};
}

}  // namespace pathbound::reference
