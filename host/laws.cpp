// SPDX-License-Identifier: Apache-2.0
#include "host/laws.hpp"

#include <fmt/format.h>

#include <boost/math/special_functions/beta.hpp>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>
#include <limits>
#include <numbers>

#include "host/stable.hpp"

namespace pathbound {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double pi = std::numbers::pi;

double normal_xi(double y) { return 0.5 * std::erf(y / std::numbers::sqrt2); }
double normal_density(double y) { return std::exp(-0.5 * y * y) / std::sqrt(2.0 * pi); }

double student_t_xi(const LawSpec& law, double y) {
  const double nu = law.nu;
  // 2 Xi(y) = P(|t_nu| <= y) = I_x(1/2, nu/2), x = y^2/(nu + y^2); from the side that does not cancel or overflow.
  const double r = y / std::sqrt(nu);
  if (r < 1e-100) return 0.5 * noise_density_factor(law) * y;
  if (r <= 1.0) return 0.5 * boost::math::ibeta(0.5, 0.5 * nu, r * r / (1.0 + r * r));
  const double s = 1.0 / r;
  return 0.5 - 0.5 * boost::math::ibeta(0.5 * nu, 0.5, s * s / (1.0 + s * s));
}

/// (1 + y^2/nu)^(-(nu + 1)/2) / that at 0
double student_t_shape(double nu, double y) {
  const double r = y / std::sqrt(nu);
  return std::exp(-(nu + 1.0) * (r < 1e100 ? 0.5 * std::log1p(r * r) : std::log(r)));
}

}  // namespace

double noise_variance(const LawSpec& law) {
  switch (law.kind) {
    case LawKind::gaussian:
      return 1.0;
    case LawKind::student_t:
    case LawKind::multivariate_t:
      return law.nu > 2.0 ? law.nu / (law.nu - 2.0) : inf;
    case LawKind::laplace:
      return 2.0;
    case LawKind::logistic:
      return pi * pi / 3.0;
    case LawKind::contaminated_gaussian:
      return 1.0 - law.eps + law.eps * law.k * law.k;
    case LawKind::alpha_stable:
      return law.alpha == 2.0 ? 2.0 : inf;
  }
  return nan;
}

double noise_fourth_moment(const LawSpec& law) {
  const double nu = law.nu, k2 = law.k * law.k;
  switch (law.kind) {
    case LawKind::gaussian:
      return 3.0;
    case LawKind::student_t:
    case LawKind::multivariate_t:
      return nu > 4.0 ? 3.0 * nu * nu / ((nu - 2.0) * (nu - 4.0)) : inf;
    case LawKind::laplace:
      return 24.0;
    case LawKind::logistic:
      return 7.0 * pi * pi * pi * pi / 15.0;
    case LawKind::contaminated_gaussian:
      return 3.0 * (1.0 - law.eps + law.eps * k2 * k2);
    case LawKind::alpha_stable:
      return law.alpha == 2.0 ? 12.0 : inf;
  }
  return nan;
}

double noise_xi(const LawSpec& law, double y) {
  if (std::isnan(y)) return nan;
  if (y < 0.0) return -noise_xi(law, -y);
  switch (law.kind) {
    case LawKind::gaussian:
      return normal_xi(y);
    case LawKind::student_t:
    case LawKind::multivariate_t:
      return student_t_xi(law, y);
    case LawKind::laplace:
      return -0.5 * std::expm1(-y);
    case LawKind::logistic:
      return 0.5 * std::tanh(0.5 * y);
    case LawKind::contaminated_gaussian:
      return (1.0 - law.eps) * normal_xi(y) + law.eps * normal_xi(y / law.k);
    case LawKind::alpha_stable:
      return std::isinf(y) ? 0.5 : stable_law(law.alpha).xi(y);
  }
  return nan;
}

double noise_density(const LawSpec& law, double y) {
  y = std::fabs(y);
  switch (law.kind) {
    case LawKind::gaussian:
      return normal_density(y);
    case LawKind::student_t:
    case LawKind::multivariate_t:
      return 0.5 * noise_density_factor(law) * student_t_shape(law.nu, y);
    case LawKind::laplace:
      return 0.5 * std::exp(-y);
    case LawKind::logistic: {
      const double e = std::exp(-y);
      return e / ((1.0 + e) * (1.0 + e));
    }
    case LawKind::contaminated_gaussian:
      return (1.0 - law.eps) * normal_density(y) + law.eps / law.k * normal_density(y / law.k);
    case LawKind::alpha_stable:
      return std::isnan(y) ? nan : std::isinf(y) ? 0.0 : stable_law(law.alpha).density(y);
  }
  return nan;
}

double noise_density_factor(const LawSpec& law) {
  switch (law.kind) {
    case LawKind::gaussian:
      return std::sqrt(2.0 / pi);
    case LawKind::student_t:
    case LawKind::multivariate_t:
      // Gamma((nu + 1)/2) / Gamma(nu/2), without overflow for large nu
      return 2.0 / (std::sqrt(pi * law.nu) * boost::math::tgamma_delta_ratio(0.5 * law.nu, 0.5));
    case LawKind::laplace:
      return 1.0;
    case LawKind::logistic:
      return 0.5;
    case LawKind::contaminated_gaussian:
      return std::sqrt(2.0 / pi) * (1.0 - law.eps + law.eps / law.k);
    case LawKind::alpha_stable:
      return 2.0 / pi * boost::math::tgamma(1.0 + 1.0 / law.alpha);
  }
  return nan;
}

double tail_order(const LawSpec& law) {
  switch (law.kind) {
    case LawKind::student_t:
    case LawKind::multivariate_t:
      return law.nu;
    case LawKind::alpha_stable:
      return law.alpha == 2.0 ? inf : law.alpha;
    default:
      return inf;
  }
}

double exponential_order(const LawSpec& law) {
  if (std::isfinite(tail_order(law))) return 0.0;
  return law.kind == LawKind::laplace || law.kind == LawKind::logistic ? 1.0 : inf;
}

std::string law_words(const LawSpec& law) {
  switch (law.kind) {
    case LawKind::gaussian:
      return "Gaussian noise";
    case LawKind::student_t:
      return fmt::format("Student-t noise with nu = {:g}", law.nu);
    case LawKind::multivariate_t:
      return fmt::format("multivariate t noise with nu = {:g}", law.nu);
    case LawKind::laplace:
      return "Laplace noise";
    case LawKind::logistic:
      return "logistic noise";
    case LawKind::contaminated_gaussian:
      return fmt::format("contaminated Gaussian noise with eps = {:g} and k = {:g}", law.eps, law.k);
    case LawKind::alpha_stable:
      return fmt::format("alpha-stable noise with alpha = {:g}", law.alpha);
  }
  return "";
}

}  // namespace pathbound
