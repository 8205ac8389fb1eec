// SPDX-License-Identifier: Apache-2.0
// The kernels' own functions for host code, in double: the same bits on every machine, where libm's may differ.
#pragma once
#include "kernels/spec.hpp"

namespace pathbound::portable {

double exp(double x);
double expm1(double x);
double log(double x);
double log1p(double x);
double sin_pi(double x);
double cos_pi(double x);
/// x^n for n >= 0.
double whole_power(double x, int n);
/// Xi(y) and F'(y) of a law (kernels/xi.hpp).
double xi(const XiTable<double>& table, double y);
double density(const XiTable<double>& table, double y);
/// x^y for x > 0.
double power(double x, double y);
/// eta_k of a prescribed schedule, as the paths take it (kernels/schedules.hpp).
double step_size(const ScheduleSpec& schedule, double eta, double k);
/// Its derivative by k.
double step_size_slope(const ScheduleSpec& schedule, double eta, double k);
/// a of |grad f| or, hessian_norm, of |H| (kernels/adaptive.hpp).
double adaptive_factor(const AdaptiveSpec<double>& adaptive, double size);
/// max_j |f_j''(x_j)| of a separable objective.
double largest_second(const ObjectiveSpec<double>& objective, const double* x);

}  // namespace pathbound::portable
