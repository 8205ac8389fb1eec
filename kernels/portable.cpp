// SPDX-License-Identifier: Apache-2.0
#include "kernels/portable.hpp"

#include "kernels/math.hpp"
#include "kernels/schedules.hpp"

namespace pathbound::portable {

double exp(double x) { return pathbound::exp<double>(x); }
double expm1(double x) { return pathbound::expm1<double>(x); }
double log(double x) { return pathbound::log<double>(x); }
double log1p(double x) { return pathbound::log1p<double>(x); }
double sin_pi(double x) { return pathbound::sin_pi<double>(x); }
double cos_pi(double x) { return pathbound::cos_pi<double>(x); }
double power(double x, double y) { return pathbound::pow_positive<double>(x, y); }
double step_size(const ScheduleSpec& schedule, double eta, double k) {
  return pathbound::step_size<double>(schedule, eta, k, k);
}

}  // namespace pathbound::portable
