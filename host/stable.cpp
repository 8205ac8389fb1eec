// SPDX-License-Identifier: Apache-2.0
#include "host/stable.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <numbers>

#include "host/sum.hpp"
#include "kernels/portable.hpp"

namespace pathbound {
namespace {

constexpr double pi = std::numbers::pi;
constexpr double negligible = 0x1p-58;

/// Gamma(z) for 0 < z <= 170: Stirling's series from 10 on.
double gamma(double z) {
  double below = 1.0;
  for (; z < 10.0; z += 1.0) below *= z;
  const double r = 1.0 / z, r2 = r * r;
  const double series =
      r * (1.0 / 12.0 +
           r2 * (-1.0 / 360.0 +
                 r2 * (1.0 / 1260.0 +
                       r2 * (-1.0 / 1680.0 + r2 * (1.0 / 1188.0 + r2 * (-691.0 / 360360.0 + r2 * (1.0 / 156.0)))))));
  // In two factors: z^z overflows before Gamma does.
  const double half = portable::power(z, 0.5 * z);
  return half * portable::exp(series - z) * half * std::sqrt(2.0 * pi * r) / below;
}

/// An angle v = pi middle of (0, pi/2), edge = 1/2 - middle, both to full precision, by its logit tau.
struct Angle {
  double middle, edge, slope;  ///< slope: dv/dtau
  explicit Angle(double tau) {
    const double small = portable::exp(-std::fabs(tau)), below = 0.5 * small / (1.0 + small),
                 above = 0.5 / (1.0 + small);
    middle = tau < 0.0 ? below : above;
    edge = tau < 0.0 ? above : below;
    slope = 2.0 * pi * middle * edge;
  }
};

/// What Chambers, Mallows and Stuck's variate A(V) W^-((1 - alpha)/alpha) is made of: A(v) = sin(alpha v) cos(v)^(-1/
/// alpha) cos((1 - alpha) v)^((1 - alpha)/alpha), which rises from 0 to infinity on (0, pi/2).
struct AngleFactor {
  double log_value, log_slope;  ///< log A and (d log A/dv)
  AngleFactor(double alpha, const Angle& v) {
    const double c = std::fabs(1.0 - alpha);
    // Angles over pi, of a sine and two cosines; of those that nearly cancel, the complements.
    const double first = alpha * v.middle, first_rest = alpha * v.edge + 0.5 * (2.0 - alpha);
    const double rest = c * v.edge + 0.5 * (1.0 - c);  // 1/2 - c middle
    const double sine = portable::sin_pi(std::min(first, first_rest)), cosine = portable::sin_pi(v.edge),
                 other = portable::sin_pi(rest);
    log_value = portable::log(sine) - portable::log(cosine) / alpha + (1.0 - alpha) / alpha * portable::log(other);
    // The tangent of (1 - alpha) v: its sign is that of 1 - alpha.
    const double tangent = (alpha < 1.0 ? 1.0 : -1.0) * portable::sin_pi(c * v.middle) / other;
    log_slope = alpha * portable::cos_pi(first) / sine + portable::sin_pi(v.middle) / (cosine * alpha) -
                c * c / alpha * tangent;
  }
};

}  // namespace

StableLaw::StableLaw(double alpha) : alpha_(alpha) {
  at_zero_ = gamma(1.0 + 1.0 / alpha) / pi;
  if (alpha == 1.0 || alpha == 2.0) return;
  power_ = alpha / std::fabs(1.0 - alpha);
  for (int k = 1; k <= 150 && alpha * k < 169.0; ++k) {
    far_.push_back(gamma(alpha * k + 1.0) / gamma(k + 1.0) / pi);
    far_sine_.push_back(portable::sin_pi(0.5 * k * (2.0 - alpha)));
  }
  for (int k = 0; k < 80 && (2 * k + 3) / alpha < 169.0; ++k)
    near_.push_back(gamma((2 * k + 3) / alpha) / gamma((2 * k + 1) / alpha) / ((2 * k + 1) * (2 * k + 2)));
  by_angles_ = power_ <= 20.0;
  if (!by_angles_) return;
  const double steepest = std::max(power_, power_ / alpha), step = 0.2 / steepest;
  const double lowest = alpha < 1.0 ? -110.0 : -60.0, highest = 60.0;
  const int n = static_cast<int>((highest - lowest) / step);
  for (int i = 0; i <= n; ++i) {
    const Angle v(lowest + step * i);
    log_z_.push_back((alpha < 1.0 ? power_ : -power_) * AngleFactor(alpha, v).log_value);
    weight_.push_back(step * v.slope / pi);
  }
}

/// F' = sum_k (-1)^(k-1) Gamma(alpha k + 1)/(k! pi) sin(pi alpha k/2) x^(-alpha k - 1) (Bergstroem 1952): it converges
/// for alpha < 1 and is asymptotic for alpha > 1, where it is used when a term is negligible before they grow again.
bool StableLaw::far_series(Part part, double x, double& result) const {
  if (!(x > 0.0)) return false;
  const double z = portable::power(x, -alpha_);
  double sum = 0.0, largest = 0.0, term = 1.0;
  for (std::size_t i = 0; i < far_.size(); ++i) {
    const double k = static_cast<double>(i + 1);
    term *= z;
    const double size = far_[i] * term * (part == Part::density ? 1.0 : 1.0 / (alpha_ * k));
    sum += size * far_sine_[i];
    largest = std::max(largest, size * std::fabs(far_sine_[i]));
    if (!(size < 1e6)) return false;
    if (i > 0 && size <= negligible * std::fabs(sum)) {
      if (!(largest <= 2.0 * std::fabs(sum))) return false;
      result = part == Part::density ? sum / x : part == Part::tail ? sum : 0.5 - sum;
      return true;
    }
  }
  if (z < 1e-300) {
    result = part == Part::xi ? 0.5 : 0.0;
    return true;
  }
  return false;
}

/// F' = sum_k (-1)^k Gamma((2k + 1)/alpha)/(alpha pi (2k)!) x^(2k): it converges for alpha > 1; for alpha < 1 the first
/// term left out bounds the error.
bool StableLaw::near_series(Part part, double x, double& result) const {
  const double square = x * x;
  double sum = at_zero_, largest = at_zero_, term = at_zero_;
  for (std::size_t k = 0; k < near_.size(); ++k) {
    term *= -near_[k] * square;
    const double share = part == Part::density ? term : term / (2.0 * static_cast<double>(k) + 3.0);
    sum += share;
    largest = std::max(largest, std::fabs(share));
    if (!(largest <= 1e6 * at_zero_)) return false;
    if (std::fabs(share) <= negligible * std::fabs(sum)) {
      if (!(largest <= 2.0 * std::fabs(sum))) return false;
      result = part == Part::density ? sum : part == Part::xi ? sum * x : 0.5 - sum * x;
      return true;
    }
  }
  return false;
}

/// Given the angle, W's law gives P(|X| <= x) = e^-z (alpha < 1) or 1 - e^-z, z = (A/x)^p or (x/A)^p, p = alpha/|1 -
/// alpha| (Zolotarev 1986). The trapezoidal rule in the angle's logit converges exponentially, the slower the larger p.
double StableLaw::over_angles(Part part, double x) const {
  const double shift = (alpha_ < 1.0 ? -power_ : power_) * portable::log(x);
  const bool complement = (part == Part::tail) == (alpha_ < 1.0);
  Sum sum;
  for (std::size_t i = 0; i < log_z_.size(); ++i) {
    const double t = log_z_[i] + shift;
    if (t > 6.7) {  // e^-z < 1e-350
      if (part != Part::density && complement) sum.add(weight_[i]);
      continue;
    }
    const double z = portable::exp(t);
    if (part == Part::density)
      sum.add(weight_[i] * z * portable::exp(-z));
    else
      sum.add(weight_[i] * (complement ? -portable::expm1(-z) : portable::exp(-z)));
  }
  return part == Part::density ? power_ / x * sum.value() : sum.value();
}

/// Given W, the angle at which A(v) = x W^((1 - alpha)/alpha): the mean over W of v, pi/2 - v and of dv/dlog x, all
/// over pi, by the trapezoidal rule in log W. Near alpha = 1, where W hardly matters.
double StableLaw::over_exponentials(Part part, double x) const {
  constexpr double step = 0.2;
  const double log_x = portable::log(x), kappa = (1.0 - alpha_) / alpha_;
  Sum sum;
  double tau = 0.0;
  bool first = true;
  for (int i = -210; i <= 22; ++i) {
    const double s = step * i, target = log_x + kappa * s;
    for (int round = 0; round < (first ? 60 : 4); ++round) {
      const Angle v(tau);
      const AngleFactor a(alpha_, v);
      const double move = (target - a.log_value) / (a.log_slope * v.slope);
      tau += std::max(-2.0, std::min(2.0, move));
      if (std::fabs(move) < 1e-9) break;  // the next error is its square
    }
    first = false;
    const Angle v(tau);
    const double w = step * portable::exp(s - portable::exp(s));
    sum.add(w * (part == Part::xi     ? v.middle
                 : part == Part::tail ? v.edge
                                      : 1.0 / (pi * x * AngleFactor(alpha_, v).log_slope)));
  }
  return sum.value();
}

double StableLaw::value(Part part, double x) const {
  double result = 0.0;
  if (far_series(part, x, result) || near_series(part, x, result)) return result;
  return by_angles_ ? over_angles(part, x) : over_exponentials(part, x);
}

double StableLaw::density(double x) const {
  if (alpha_ == 1.0) return x > 1e150 ? 1.0 / x / x / pi : 1.0 / (pi * (1.0 + x * x));
  if (alpha_ == 2.0) return portable::exp(-0.25 * x * x) / (2.0 * std::sqrt(pi));
  return value(Part::density, x);
}
double StableLaw::xi(double x) const {
  if (alpha_ == 1.0) return std::atan(x) / pi;
  if (alpha_ == 2.0) return 0.5 * std::erf(0.5 * x);
  return value(Part::xi, x);
}
double StableLaw::tail(double x) const {
  if (alpha_ == 1.0) return std::atan(1.0 / x) / pi;
  if (alpha_ == 2.0) return 0.5 * std::erfc(0.5 * x);
  return value(Part::tail, x);
}

/// |F^(n)| <= Gamma((n + 1)/alpha)/(alpha pi), and interpolation on [0, r] with n points leaves 2 (r/4)^n/n! of it.
double StableLaw::reach_of_polynomial(int terms, double accuracy) const {
  const double n = terms;
  double grown = 1.0;  // (Gamma((n + 1)/alpha)/(Gamma(1/alpha) n!))^(1/n), factor by factor: it would overflow
  for (int i = 1; i <= terms; ++i) {
    const double before = i / alpha_, after = (i + 1.0) / alpha_;
    double log_ratio;
    if (after < 169.0) {
      log_ratio = portable::log(gamma(after)) - portable::log(gamma(before));
    } else {
      const auto stirling = [](double z) { return (z - 0.5) * portable::log(z) - z + 1.0 / (12.0 * z); };
      log_ratio = stirling(after) - stirling(before);
    }
    grown *= portable::exp((log_ratio - portable::log(i)) / n);
  }
  return 4.0 * portable::exp(portable::log(0.5 * accuracy) / n) / grown;
}

const StableLaw& stable_law(double alpha) {
  static std::mutex mutex;
  static std::map<double, std::unique_ptr<StableLaw>> laws;
  const std::scoped_lock lock(mutex);
  auto& law = laws[alpha];
  if (!law) law = std::make_unique<StableLaw>(alpha);
  return *law;
}

}  // namespace pathbound
