// SPDX-License-Identifier: Apache-2.0
#include "kernels/portable.hpp"

#include "kernels/adaptive.hpp"
#include "kernels/marginal.hpp"
#include "kernels/math.hpp"
#include "kernels/objectives.hpp"
#include "kernels/schedules.hpp"

namespace pathbound::portable {

double exp(double x) { return pathbound::exp<double>(x); }
double expm1(double x) { return pathbound::expm1<double>(x); }
double log(double x) { return pathbound::log<double>(x); }
double log1p(double x) { return pathbound::log1p<double>(x); }
double sin_pi(double x) { return pathbound::sin_pi<double>(x); }
double cos_pi(double x) { return pathbound::cos_pi<double>(x); }
double whole_power(double x, int n) { return marginal_detail::whole_power(x, n); }
double xi(const XiTable<double>& table, double y) { return xi_of<double>(table, y).xi; }
double density(const XiTable<double>& table, double y) { return xi_of<double>(table, y).density; }
double power(double x, double y) { return pathbound::pow_positive<double>(x, y); }
double step_size(const ScheduleSpec& schedule, double eta, double k) {
  return pathbound::step_size<double>(schedule, eta, k, k);
}
double step_size_slope(const ScheduleSpec& schedule, double eta, double k) {
  return pathbound::step_size_slope<double>(schedule, eta, k, step_size(schedule, eta, k));
}
double adaptive_factor(const AdaptiveSpec<double>& adaptive, double size) {
  return adaptive.kind == AdaptiveKind::hessian_norm ? adaptive_factor_of_hessian(adaptive, size)
                                                     : pathbound::adaptive_factor(adaptive, size);
}
double largest_second(const ObjectiveSpec<double>& objective, const double* x) {
  double largest = 0.0;
  with_separable<double>(objective, [&](const auto& f) {
    for (int j = 0; j < objective.dim; ++j) largest = max(abs(f.second(x[j], j)), largest);
  });
  return largest;
}

}  // namespace pathbound::portable
