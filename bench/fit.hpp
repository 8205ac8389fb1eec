// SPDX-License-Identifier: Apache-2.0
// Power laws through measured points: the exponent with an interval, and where a curve crosses a level.
#pragma once
#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace pathbound {

/// y = C x^order through points known up to a standard error.
struct PowerFit {
  std::size_t points = 0;
  double order = std::numeric_limits<double>::quiet_NaN(), log_constant = order;
  double standard_error = order;        ///< of order: sampling and scatter together
  double lower = order, upper = order;  ///< of order, at the confidence asked for
  double scatter = 0.0;  ///< standard deviation of log y about the line beyond what the standard errors explain
};

namespace detail {

/// The straight line through (x, y) with weights 1 / (error^2 + scatter^2).
struct Line {
  double slope = 0.0, intercept = 0.0;
  double chi_square = 0.0;                                 ///< of the residuals, by these weights
  double sampling_variance = 0.0, scatter_variance = 0.0;  ///< of the slope: what either kind of error puts in
};

inline Line weighted_line(const std::vector<double>& x, const std::vector<double>& y, const std::vector<double>& error,
                          double scatter) {
  const std::size_t n = x.size();
  std::vector<double> w(n);
  double sum = 0.0, mean_x = 0.0, mean_y = 0.0;
  for (std::size_t i = 0; i < n; ++i) sum += w[i] = 1.0 / (error[i] * error[i] + scatter * scatter);
  for (std::size_t i = 0; i < n; ++i) {
    mean_x += w[i] / sum * x[i];
    mean_y += w[i] / sum * y[i];
  }
  double sxx = 0.0, sxy = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    sxx += w[i] * (x[i] - mean_x) * (x[i] - mean_x);
    sxy += w[i] * (x[i] - mean_x) * (y[i] - mean_y);
  }
  Line line;
  line.slope = sxy / sxx;
  line.intercept = mean_y - line.slope * mean_x;
  for (std::size_t i = 0; i < n; ++i) {
    const double residual = y[i] - line.intercept - line.slope * x[i], share = w[i] * (x[i] - mean_x) / sxx;
    line.chi_square += w[i] * residual * residual;
    line.sampling_variance += share * share * error[i] * error[i];
    line.scatter_variance += share * share * scatter * scatter;
  }
  return line;
}

}  // namespace detail

/// Weighted least squares of log y on log x, y > 0 with standard errors `error` > 0. A power law holds to leading order
/// only: what the points deviate from the line beyond their standard errors is taken as scatter of its own, of the size
/// that makes chi^2 equal to its degrees of freedom (Paule and Mandel 1982). Sampling errors enter the interval with
/// normal limits, the scatter with Student's on n - 2 degrees of freedom. NaN with fewer than 3 points.
inline PowerFit fit_power(const std::vector<double>& x, const std::vector<double>& y, const std::vector<double>& error,
                          double confidence) {
  PowerFit fit;
  fit.points = x.size();
  if (fit.points < 3) return fit;
  std::vector<double> log_x, log_y, relative;
  for (std::size_t i = 0; i < x.size(); ++i) {
    log_x.push_back(std::log(x[i]));
    log_y.push_back(std::log(y[i]));
    relative.push_back(error[i] / y[i]);
  }
  const double freedom = static_cast<double>(fit.points) - 2.0;
  const auto line = [&](double scatter) { return detail::weighted_line(log_x, log_y, relative, scatter); };
  if (line(0.0).chi_square > freedom) {
    // chi^2 falls as the scatter grows: bisection, from a scatter that is too large.
    double low = 0.0, high = 1e-6;
    while (line(high).chi_square > freedom) high *= 2.0;
    for (int i = 0; i < 60; ++i) {
      const double middle = 0.5 * (low + high);
      (line(middle).chi_square > freedom ? low : high) = middle;
    }
    fit.scatter = 0.5 * (low + high);
  }
  const detail::Line best = line(fit.scatter);
  const double tail = 0.5 * (1.0 + confidence);
  const double normal = boost::math::quantile(boost::math::normal(), tail);
  const double student = boost::math::quantile(boost::math::students_t(freedom), tail);
  const double half = std::sqrt(normal * normal * best.sampling_variance + student * student * best.scatter_variance);
  fit.order = best.slope;
  fit.log_constant = best.intercept;
  fit.standard_error = std::sqrt(best.sampling_variance + best.scatter_variance);
  fit.lower = fit.order - half;
  fit.upper = fit.order + half;
  return fit;
}

/// Where a curve first reaches `level` on the way up: x ascending, y > 0, straight lines in log-log between the points.
/// `beyond` < 0: it starts above the level already, x[0] is returned; > 0: it stays below, x.back() is returned.
struct Crossing {
  double x = std::numeric_limits<double>::quiet_NaN();
  int beyond = 0;
};
inline Crossing first_crossing(const std::vector<double>& x, const std::vector<double>& y, double level) {
  if (x.empty()) return {};
  if (y.front() >= level) return {x.front(), -1};
  for (std::size_t i = 1; i < x.size(); ++i) {
    if (!(y[i] >= level)) continue;
    const double part = std::log(level / y[i - 1]) / std::log(y[i] / y[i - 1]);
    return {x[i - 1] * std::pow(x[i] / x[i - 1], part), 0};
  }
  return {x.back(), 1};
}

}  // namespace pathbound
