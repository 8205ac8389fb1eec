// SPDX-License-Identifier: Apache-2.0
// Where methods settle on quadratics: exactly, or to the second order in the step. What bench_noise_resilience and
// bench_open_questions hold their simulations against; derivations in docs/noise_resilience.md and
// docs/open_questions.md.
//
// Units of one coordinate: y = h x/sigma is the gradient over the scale of the noise. A method moves it by
// y' = y - (eps/N) sum_i psi(y + zeta_i), with eps = eta h for psi(u) = u (DSGD) and clipping, eta h/sigma for signs
// and directions. E S = sigma^2 E y^2/(2 h).
#pragma once
#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/quadrature/gauss.hpp>
#include <boost/math/quadrature/gauss_kronrod.hpp>
#include <boost/math/special_functions/bessel.hpp>
#include <boost/math/special_functions/beta.hpp>
#include <boost/math/tools/toms748_solve.hpp>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <optional>
#include <unordered_map>
#include <vector>

#include "host/laws.hpp"
#include "kernels/spec.hpp"
#include "kernels/statistics.hpp"

namespace pathbound::stationary {

/// Of S at one step. Those of independent coordinates add.
struct Moments {
  double mean = 0.0, variance = 0.0, third = 0.0;  ///< third: central
  double largest = 0.0;                            ///< no S beyond it has a probability that matters
  Moments& operator+=(const Moments& other) {
    mean += other.mean;
    variance += other.variance;
    third += other.third;
    largest += other.largest;
    return *this;
  }
};

/// O5: S = h x^2/2 of x' = x - (eta/N) sum of N independent signs, `plus(x)` the probability that one is +1.
template <class Plus>
Moments sign_walk(double h, double x0, double eta, int workers, std::uint64_t steps, const Plus& plus) {
  // Position j stands for x0 + (eta/N) j.
  constexpr double negligible = 1e-17;
  const double unit = eta / workers;
  std::vector<double> choose;
  for (int s = 0; s <= workers; ++s)
    choose.push_back(
        std::round(std::exp(std::lgamma(workers + 1.0) - std::lgamma(s + 1.0) - std::lgamma(workers - s + 1.0))));
  std::unordered_map<std::int64_t, std::vector<double>> cache;
  const auto transition = [&](std::int64_t j) -> const std::vector<double>& {
    std::vector<double>& row = cache[j];
    if (row.empty()) {
      const double p = plus(x0 + unit * static_cast<double>(j));
      for (int s = 0; s <= workers; ++s)
        row.push_back(choose[static_cast<std::size_t>(s)] * std::pow(p, s) * std::pow(1.0 - p, workers - s));
    }
    return row;
  };
  std::int64_t low = 0;  // of p[0]
  std::vector<double> p = {1.0}, next;
  for (std::uint64_t k = 0; k < steps; ++k) {
    next.assign(p.size() + 2 * static_cast<std::size_t>(workers), 0.0);
    for (std::size_t i = 0; i < p.size(); ++i) {
      if (p[i] < negligible) continue;
      const std::vector<double>& row = transition(low + static_cast<std::int64_t>(i));
      for (std::size_t s = 0; s < row.size(); ++s)
        next[i + 2 * (static_cast<std::size_t>(workers) - s)] += p[i] * row[s];
    }
    low -= workers;
    std::size_t begin = 0, end = next.size();
    while (begin + 1 < end && next[begin] < negligible) ++begin;
    while (end - 1 > begin && next[end - 1] < negligible) --end;
    p.assign(next.begin() + static_cast<std::ptrdiff_t>(begin), next.begin() + static_cast<std::ptrdiff_t>(end));
    low += static_cast<std::int64_t>(begin);
  }
  Moments m;
  const auto s_at = [&](std::size_t i) {
    const double x = x0 + unit * static_cast<double>(low + static_cast<std::int64_t>(i));
    return 0.5 * h * x * x;
  };
  for (std::size_t i = 0; i < p.size(); ++i) {
    m.mean += p[i] * s_at(i);
    if (p[i] > 1e-14) m.largest = std::max(m.largest, s_at(i));
  }
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double off = s_at(i) - m.mean;
    m.variance += p[i] * off * off;
    m.third += p[i] * off * off * off;
  }
  return m;
}

/// What |mean over n paths - E S| exceeds with probability at most alpha: normal limits with the term of the skewness
/// (Cornish and Fisher), or where that is not small Bernstein's inequality.
inline double mean_limit(const Moments& m, double n, double alpha) {
  if (m.variance <= 0.0) return 0.0;
  const double z = boost::math::quantile(boost::math::complement(boost::math::normal(), 0.5 * alpha));
  const double deviation = std::sqrt(m.variance / n), skew = std::abs(m.third) / std::pow(m.variance, 1.5);
  const double shift = skew * (z * z - 1.0) / (6.0 * std::sqrt(n));
  if (shift <= 0.2 * z) return deviation * (z + shift);
  const double log_term = std::log(2.0 / alpha), range = std::max(m.largest, m.mean) / (3.0 * n);
  return range * log_term + std::sqrt(range * range * log_term * log_term + 2.0 * deviation * deviation * log_term);
}
/// The same from the paths' own moments: the t statistic's limit with the term of the skewness (Hall 1987).
inline double mean_limit(const Record& record, double alpha) {
  const double n = static_cast<double>(record.finite), variance = record.m2 / n;
  if (!(variance > 0.0)) return 0.0;
  const double z = boost::math::quantile(boost::math::complement(boost::math::normal(), 0.5 * alpha));
  const double skew = std::abs(record.m3) / n / std::pow(variance, 1.5);
  return std::sqrt(variance / (n - 1.0)) * (z + skew * (2.0 * z * z + 1.0) / (6.0 * std::sqrt(n)));
}

/// O1: E S of DCSGD; noise = Var zeta sigma^2/B.
inline double dcsgd_mean(const std::vector<double>& h, double x0, double eta, double omega, double noise, int workers,
                         std::uint64_t steps) {
  double sum = 0.0;
  for (const double hj : h) {
    const double z = eta * hj, factor = (1.0 - z) * (1.0 - z) + z * z * omega / workers;
    const double level = eta * eta * (1.0 + omega) * noise / workers / (1.0 - factor);
    sum += 0.5 * hj * (level + (x0 * x0 - level) * std::pow(factor, static_cast<double>(steps)));
  }
  return sum;
}

/// E y^2 where the second moment stands still when y is normal: 2 E y m(y) = eps (E q(y)/N + (1 - 1/N) E m(y)^2), with
/// m(y) = E psi(y + zeta), q(y) = E psi(y + zeta)^2. Its relative error is of order eps^2: y is normal up to an excess
/// of order eps, which enters through what m lacks to be linear, of order eps again. `slope` = m'(0).
template <class Mean, class Square>
double closure(double eps, int workers, double slope, const Mean& m, const Square& q) {
  const double n = workers;
  // The trapezoidal rule for functions of a normal variable; m is odd, q is even.
  const auto excess = [&](double variance) {
    double sum = -eps * q(0.0) / n * 0.125 / std::sqrt(2.0 * std::numbers::pi);
    for (int i = 1; i <= 60; ++i) {
      const double u = i / 8.0, y = std::sqrt(variance) * u, my = m(y);
      const double weight = 0.25 * std::exp(-0.5 * u * u) / std::sqrt(2.0 * std::numbers::pi);
      sum += weight * (2.0 * y * my - eps * (q(y) / n + (1.0 - 1.0 / n) * my * my));
    }
    return sum;
  };
  double low = 0.0, high = eps * q(0.0) / (2.0 * n * slope);
  while (excess(high) <= 0.0) {
    low = high;
    high *= 2.0;
  }
  std::uintmax_t iterations = 60;
  const auto bracket =
      boost::math::tools::toms748_solve(excess, low, high, boost::math::tools::eps_tolerance<double>(46), iterations);
  return 0.5 * (bracket.first + bracket.second);
}

/// DSignSGD settles at E S = eta sigma/(4 N l) per coordinate, relatively off by this, eps = eta h/sigma. For a smooth
/// law with 2 Xi(y) = l (y - a y^3 + ...) that is eps (l (1 - 1/N)/2 + 3 a/(2 N l)) to leading order: the finite step,
/// and Xi that flattens. Where the density has a corner at 0 (laplace), of order sqrt(eps).
inline double sign_departure(const LawSpec& law, int workers, double eps) {
  const double l = noise_density_factor(law);
  const double square = closure(
      eps, workers, l, [&](double y) { return 2.0 * noise_xi(law, y); }, [](double) { return 1.0; });
  return square / (eps / (2.0 * workers * l)) - 1.0;
}
/// The eps from which on the departure is above `most`.
inline double sign_linear_up_to(const LawSpec& law, int workers, double most) {
  double low = 0.0, high = 1e-3;
  while (sign_departure(law, workers, high) < most) high *= 2.0;
  for (int i = 0; i < 30; ++i) {
    const double middle = 0.5 * (low + high);
    (sign_departure(law, workers, middle) < most ? low : high) = middle;
  }
  return low;
}

/// psi(u) = max(-c, min(c, u)): clipping of one coordinate, c in units of sigma.
struct Clipping {
  LawSpec law;
  double c = 1.0;
  double slope(double y) const { return noise_xi(law, c - y) + noise_xi(law, c + y); }
  double mean(double y) const {
    if (y == 0.0) return 0.0;
    return boost::math::quadrature::gauss<double, 15>::integrate([&](double u) { return slope(u); }, 0.0, y);
  }
  double square(double y) const {
    // E min((y + zeta)^2, c^2) as the integral of 2 u P(|y + zeta| > u); a density may have a corner at 0.
    const auto tail = [&](double u) { return 2.0 * u * (noise_xi(law, u - y) + noise_xi(law, u + y)); };
    const double corner = std::min(std::abs(y), c);
    double sum = boost::math::quadrature::gauss<double, 30>::integrate(tail, corner, c);
    if (corner > 0.0) sum += boost::math::quadrature::gauss<double, 30>::integrate(tail, 0.0, corner);
    return c * c - sum;
  }
};

/// E |zeta|^-p of d coordinates, p < d.
inline double inverse_power(const LawSpec& law, int d, double p) {
  const double normal = std::exp(-0.5 * p * std::numbers::ln2 + std::lgamma(0.5 * (d - p)) - std::lgamma(0.5 * d));
  if (law.kind == LawKind::gaussian) return normal;
  const double nu = law.nu;  // multivariate_t
  return normal * std::exp(0.5 * p * std::log(2.0 / nu) + std::lgamma(0.5 * (nu + p)) - std::lgamma(0.5 * nu));
}
/// The slope at 0 of E u/|u|, u = y + zeta: (1 - 1/d) E 1/|zeta|. (Any law whose coordinates may be exchanged and
/// change sign.)
inline double direction_slope(const LawSpec& law, int d) { return (1.0 - 1.0 / d) * inverse_power(law, d, 1.0); }
/// E |y|^2 of x' = x - (eta/N) sum g_i/|g_i| on h |x|^2/2, isotropic noise, d >= 4, eps = eta h/sigma: as `closure`,
/// with q = 1 exactly and m(y) = (A - B |y|^2) y + ...
inline double direction_square(const LawSpec& law, int d, int workers, double eps) {
  const double n = workers, A = direction_slope(law, d);
  const double B = (d - 1.0) * (d - 3.0) / (2.0 * d * (d + 2.0)) * inverse_power(law, d, 3.0);
  // 2 (A r - B r^2 (d + 2)/d) = eps (1/N + (1 - 1/N) A^2 r), r = E |y|^2
  const double b = 2.0 * A - eps * (1.0 - 1.0 / n) * A * A, a = 2.0 * B * (d + 2.0) / d, c = eps / n;
  return 2.0 * c / (b + std::sqrt(b * b - 4.0 * a * c));
}

/// E exp(i t zeta).
inline double characteristic(const LawSpec& law, double t) {
  t = std::abs(t);
  if (t == 0.0) return 1.0;
  switch (law.kind) {
    case LawKind::gaussian:
      return std::exp(-0.5 * t * t);
    case LawKind::student_t:
    case LawKind::multivariate_t: {
      const double u = std::sqrt(law.nu) * t, order = 0.5 * law.nu;
      if (u > 600.0) return 0.0;
      if (u < 1e-7) return 1.0;
      return std::exp(order * std::log(u) - std::lgamma(order) - (order - 1.0) * std::numbers::ln2) *
             boost::math::cyl_bessel_k(order, u);
    }
    case LawKind::laplace:
      return 1.0 / (1.0 + t * t);
    case LawKind::logistic:
      return t > 200.0 ? 0.0 : std::numbers::pi * t / std::sinh(std::numbers::pi * t);
    case LawKind::contaminated_gaussian:
      return (1.0 - law.eps) * std::exp(-0.5 * t * t) + law.eps * std::exp(-0.5 * law.k * law.k * t * t);
    case LawKind::alpha_stable:
      return std::exp(-std::pow(t, law.alpha));
  }
  return 0.0;
}
/// The same slope for independent coordinates of any law, and for the direction of the mean of N draws: 1/r = (2/sqrt
/// pi) times the integral of e^(-r^2 u^2) over u > 0, and E e^(-u^2 zeta^2) is the mean of the characteristic function
/// at sqrt 2 u n, n standard normal. To a few digits.
inline double independent_direction_slope(const LawSpec& law, int d, int workers) {
  using Rule = boost::math::quadrature::gauss<double, 30>;
  const auto one = [&](double u) {
    return 2.0 * Rule::integrate(
                     [&](double n) {
                       const double cf = characteristic(law, std::numbers::sqrt2 * u * n / workers);
                       return std::pow(cf, workers) * std::exp(-0.5 * n * n) / std::sqrt(2.0 * std::numbers::pi);
                     },
                     0.0, 8.0);
  };
  // u = (w/(1 - w))^2
  const auto inner = [&](double w) {
    const double root = w / (1.0 - w);
    return std::pow(one(root * root), d) * 2.0 * root / ((1.0 - w) * (1.0 - w));
  };
  const double sum = Rule::integrate(inner, 0.0, 0.5) + Rule::integrate(inner, 0.5, 0.99);
  return (1.0 - 1.0 / d) * 2.0 / std::sqrt(std::numbers::pi) * sum;
}
/// The mean of N draws of a stable law is one draw, this times as wide; none for other laws.
inline std::optional<double> stable_shrink(const LawSpec& law, int workers) {
  double alpha = 0.0;
  if (law.kind == LawKind::gaussian) alpha = 2.0;
  if (law.kind == LawKind::alpha_stable) alpha = law.alpha;
  if ((law.kind == LawKind::student_t || law.kind == LawKind::multivariate_t) && law.nu == 1.0) alpha = 1.0;
  if (alpha == 0.0) return std::nullopt;
  return std::pow(workers, 1.0 / alpha - 1.0);
}
/// The law of the mean of N draws, by the N-th power of the characteristic function.
class MeanLaw {
 public:
  MeanLaw(const LawSpec& law, int workers) : law_(law), workers_(workers), shrink_(stable_shrink(law, workers)) {
    if (shrink_) return;
    double end = 1.0;
    while (std::pow(characteristic(law, end), workers) > 1e-18 && end < 1e6) end *= 1.25;
    // Gauss's rule on pieces that get shorter towards 0, where |s| may enter.
    using Rule = boost::math::quadrature::gauss<double, 20>;
    constexpr int pieces = 96;
    for (int i = 0; i < pieces; ++i) {
      const double from = end * i * i / (pieces * pieces), to = end * (i + 1) * (i + 1) / (pieces * pieces);
      for (std::size_t k = 0; k < Rule::abscissa().size(); ++k)
        for (const double side : {-1.0, 1.0}) {
          const double s = 0.5 * (from + to) + 0.5 * (to - from) * side * Rule::abscissa()[k];
          node_.push_back(s);
          weight_.push_back(0.5 * (to - from) * Rule::weights()[k] * std::pow(characteristic(law, s), workers));
        }
    }
  }
  double xi(double y) const {
    if (shrink_) return noise_xi(law_, y / *shrink_);
    double sum = 0.0;
    for (std::size_t i = 0; i < node_.size(); ++i) sum += weight_[i] * std::sin(workers_ * y * node_[i]) / node_[i];
    return sum / std::numbers::pi;
  }
  /// 2 Xi'(0)
  double density_factor() const {
    if (shrink_) return noise_density_factor(law_) / *shrink_;
    double sum = 0.0;
    for (const double w : weight_) sum += w;
    return 2.0 * workers_ / std::numbers::pi * sum;
  }

 private:
  LawSpec law_;
  int workers_;
  std::optional<double> shrink_;
  std::vector<double> node_, weight_;  ///< of integrals against the characteristic function
};

/// x_K of DSGD from x_0 = 0 under a stable law is that law times this (one coordinate).
inline double stable_spread(double alpha, double h, double eta, double sigma, int workers, std::uint64_t steps) {
  const double r = std::pow(std::abs(1.0 - eta * h), alpha);
  const double sum = (1.0 - std::pow(r, static_cast<double>(steps))) / (1.0 - r);
  return eta * sigma * std::pow(workers, 1.0 / alpha - 1.0) * std::pow(sum, 1.0 / alpha);
}

// ---------------------------------------------------------------------- compressors
/// One message C(v): E |C(v) - v|^2 and |E C(v) - v|^2 over |v|^2, and what is known for every v.
struct Distortion {
  double total = 0.0, bias = 0.0, bound = 0.0;
};
inline Distortion distortion(CompressorKind kind, const std::vector<double>& v, int k, double p, int levels) {
  const double d = static_cast<double>(v.size());
  double square = 0.0;
  for (const double x : v) square += x * x;
  switch (kind) {
    case CompressorKind::identity:
      break;
    case CompressorKind::rand_k:
      return {d / k - 1.0, 0.0, d / k - 1.0};
    case CompressorKind::bernoulli:
      return {1.0 / p - 1.0, 0.0, 1.0 / p - 1.0};
    case CompressorKind::rand_k_plain:  // k/d C of rand_k
      return {1.0 - k / d, (1.0 - k / d) * (1.0 - k / d), 1.0 - k / d};
    case CompressorKind::qsgd: {
      // |v|/s times a whole number next to s |v_j|/|v|.
      double sum = 0.0;
      for (const double x : v) {
        const double a = levels * std::abs(x) / std::sqrt(square), part = a - std::floor(a);
        sum += part * (1.0 - part);
      }
      const double s = levels;
      return {sum / (s * s), 0.0, std::min(d / (s * s), std::sqrt(d) / s)};
    }
    case CompressorKind::natural: {
      double sum = 0.0;
      for (const double x : v) {
        if (x == 0.0) continue;
        const double below = std::exp2(std::floor(std::log2(std::abs(x)))), a = std::abs(x);
        sum += (a - below) * (2.0 * below - a);
      }
      return {sum / square, 0.0, 0.125};
    }
    case CompressorKind::top_k: {
      std::vector<double> squares;
      for (const double x : v) squares.push_back(x * x);
      std::sort(squares.begin(), squares.end());
      double lost = 0.0;
      for (std::size_t i = 0; i + static_cast<std::size_t>(k) < squares.size(); ++i) lost += squares[i];
      return {lost / square, lost / square, 1.0 - k / d};
    }
  }
  return {};
}

/// omega of qsgd on the average over normal v: a = |v_j|/|v| has a^2 ~ Beta(1/2, (d - 1)/2), independent of |v|.
inline double qsgd_omega(int d, int levels) {
  const double b = boost::math::beta(0.5, 0.5 * (d - 1));
  double sum = 0.0;
  for (int i = 0; i < levels; ++i) {
    // a = sin t: density 2 cos(t)^(d - 2)/B
    const double low = std::asin(static_cast<double>(i) / levels), high = std::asin((i + 1.0) / levels);
    sum += boost::math::quadrature::gauss_kronrod<double, 31>::integrate(
        [&](double t) {
          const double part = levels * std::sin(t) - i;
          return 2.0 * std::pow(std::cos(t), d - 2) / b * part * (1.0 - part);
        },
        low, high, 10, 1e-12);
  }
  return d * sum / (static_cast<double>(levels) * levels);
}
/// omega of natural on the average over normal v of standard deviation s.
inline double natural_omega(double s) {
  const boost::math::normal normal(0.0, s);
  double sum = 0.0;
  for (int e = -40; e <= 40; ++e) {
    const double below = std::exp2(e);
    if (below > 40.0 * s || below < 1e-9 * s) continue;
    sum += 2.0 * boost::math::quadrature::gauss_kronrod<double, 31>::integrate(
                     [&](double v) { return (v - below) * (2.0 * below - v) * boost::math::pdf(normal, v); }, below,
                     2.0 * below, 10, 1e-12);
  }
  return sum / (s * s);
}

/// top_k where noise dominates: psi(u) = u where |u| is one of the k largest of d. Slope of its mean at 0, and E psi^2.
struct TopK {
  double slope = 0.0, square = 0.0;
};
/// Laws with a score -f'/f in closed form: gaussian, laplace, student_t.
inline TopK top_k(const LawSpec& law, int d, int k) {
  const auto density = [&](double u) {
    if (law.kind == LawKind::gaussian) return std::exp(-0.5 * u * u) / std::sqrt(2.0 * std::numbers::pi);
    if (law.kind == LawKind::laplace) return 0.5 * std::exp(-u);
    return 0.5 * noise_density_factor(law) * std::pow(1.0 + u * u / law.nu, -0.5 * (law.nu + 1.0));
  };
  const auto score = [&](double u) {
    if (law.kind == LawKind::gaussian) return u;
    if (law.kind == LawKind::laplace) return 1.0;
    return (law.nu + 1.0) * u / (law.nu + u * u);
  };
  // At most k - 1 of the other d - 1 are larger.
  const auto chosen = [&](double u) {
    const double larger = std::max(0.0, 1.0 - 2.0 * noise_xi(law, u));
    return k == d ? 1.0 : boost::math::ibetac(static_cast<double>(k), static_cast<double>(d - k), larger);
  };
  TopK out;
  // u = w/(1 - w)
  const auto over = [&](const auto& g) {
    return boost::math::quadrature::gauss_kronrod<double, 61>::integrate(
        [&](double w) {
          if (w >= 1.0) return 0.0;
          const double u = w / (1.0 - w);
          return 2.0 * g(u) * density(u) * chosen(u) / ((1.0 - w) * (1.0 - w));
        },
        0.0, 1.0, 12, 1e-11);
  };
  out.slope = over([&](double u) { return u * score(u); });
  out.square = over([&](double u) { return u * u; });
  return out;
}

}  // namespace pathbound::stationary
