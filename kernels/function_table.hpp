// SPDX-License-Identifier: Apache-2.0
// The elementary functions that paths are made of, by number, so that `pathbound verify` can put the same questions to
// every build and every device. A new function in math.hpp or sampling.hpp gets an enumerator, a line of the table and
// a case here, and its answers in host/verify.cpp.
#pragma once
#include "kernels/math.hpp"
#include "kernels/sampling.hpp"
#include "kernels/schedules.hpp"
#include "kernels/statistics.hpp"

namespace pathbound {

/// Arguments of Function::root, the significands with one of the exponents of its parity, for which an estimate within
/// the promise of kernels/cuda/root.hpp is not good enough.
inline constexpr float least_safe_roots[2] = {0x1.f82294p+0f, 0x1.dd26e4p+1f};

enum class Function : int {
  half,
  two_roundings,
  one_rounding,
  root,
  reciprocal,
  third,
  to_float,
  bin,
  log,
  log_normal,
  log1p,
  exp,
  expm1,
  sinh,
  cosh,
  sin,
  cos,
  sin_pi,
  cos_pi,
  power_m05,
  power_m06,
  power_m1,
  power_025,
  power_3,
  step_size,
  uniform,
  radius,
  sin_of_pair,
  cos_of_pair,
  sin_turn,
  cos_turn,
  normal_even,
  normal_odd,
  t_nu1,
  t_nu2,
  t_5,
  t_06,
  t_05,
  t_03,
  multivariate_first,
  multivariate_second,
  multivariate_chain,
  laplace,
  logistic,
  contaminated,
  stable_1,
  stable_2,
  stable_15,
  stable_07,
  stable_03,
};

/// Which arguments make sense. `words`: the bits of x are random words (float: one; double: the two of a uniform).
enum class Domain { real, positive_normal, steps, words };

struct FunctionInfo {
  Function function;
  const char* name;
  Domain domain;
};

inline constexpr FunctionInfo function_table[] = {
    {Function::half, "x / 2", Domain::real},
    {Function::two_roundings, "x * 3 + 1, rounded twice", Domain::real},
    {Function::one_rounding, "fma(x, 3, 1)", Domain::real},
    {Function::root, "sqrt", Domain::real},
    {Function::reciprocal, "1 / x", Domain::real},
    {Function::third, "x / 3", Domain::real},
    {Function::to_float, "x as a float", Domain::real},
    {Function::bin, "histogram bin", Domain::real},
    {Function::log, "log", Domain::real},
    {Function::log_normal, "log_normal", Domain::positive_normal},
    {Function::log1p, "log1p", Domain::real},
    {Function::exp, "exp", Domain::real},
    {Function::expm1, "expm1", Domain::real},
    {Function::sinh, "sinh", Domain::real},
    {Function::cosh, "cosh", Domain::real},
    {Function::sin, "sin", Domain::real},
    {Function::cos, "cos", Domain::real},
    {Function::sin_pi, "sin_pi", Domain::real},
    {Function::cos_pi, "cos_pi", Domain::real},
    {Function::power_m05, "x^-0.5", Domain::real},
    {Function::power_m06, "x^-0.6", Domain::real},
    {Function::power_m1, "x^-1", Domain::real},
    {Function::power_025, "x^0.25", Domain::real},
    {Function::power_3, "x^3", Domain::real},
    {Function::step_size, "step size", Domain::steps},
    {Function::uniform, "uniform", Domain::words},
    {Function::radius, "normal radius", Domain::words},
    {Function::sin_of_pair, "sin of sincos_turn", Domain::words},
    {Function::cos_of_pair, "cos of sincos_turn", Domain::words},
    {Function::sin_turn, "sin_turn", Domain::words},
    {Function::cos_turn, "cos_turn", Domain::words},
    {Function::normal_even, "normal, even", Domain::words},
    {Function::normal_odd, "normal, odd", Domain::words},
    {Function::t_nu1, "student_t, nu = 1", Domain::words},
    {Function::t_nu2, "student_t, nu = 2", Domain::words},
    {Function::t_5, "student_t, nu = 5", Domain::words},
    {Function::t_06, "student_t, nu = 0.6", Domain::words},
    {Function::t_05, "student_t, nu = 0.5", Domain::words},
    {Function::t_03, "student_t, nu = 0.3", Domain::words},
    {Function::multivariate_first, "multivariate_t, cosine", Domain::words},
    {Function::multivariate_second, "multivariate_t, sine", Domain::words},
    {Function::multivariate_chain, "multivariate_t, scale of the next pair", Domain::words},
    {Function::laplace, "laplace", Domain::words},
    {Function::logistic, "logistic", Domain::words},
    {Function::contaminated, "contaminated_gaussian, eps = 0.3, k = 3", Domain::words},
    {Function::stable_1, "alpha_stable, alpha = 1", Domain::words},
    {Function::stable_2, "alpha_stable, alpha = 2", Domain::words},
    {Function::stable_15, "alpha_stable, alpha = 1.5", Domain::words},
    {Function::stable_07, "alpha_stable, alpha = 0.7", Domain::words},
    {Function::stable_03, "alpha_stable, alpha = 0.3", Domain::words},
};
inline constexpr int function_count = static_cast<int>(sizeof function_table / sizeof function_table[0]);

constexpr bool function_table_is_in_order() {
  for (int i = 0; i < function_count; ++i)
    if (static_cast<int>(function_table[i].function) != i) return false;
  return function_count == static_cast<int>(Function::stable_03) + 1;
}
static_assert(function_table_is_in_order());

inline namespace PATHBOUND_ISA {
namespace function_detail {

/// The bits of x as those of a uniform or an angle.
template <class R>
PATHBOUND_HD BitsOf<R> first_word(R x) {
  if constexpr (sizeof(R) == 4) {
    return as_bits(x);
  } else {
    return shr(as_bits(x), 11);
  }
}
/// Others made of them, for variates of two uniforms.
template <class R>
PATHBOUND_HD BitsOf<R> second_word(R x) {
  if constexpr (sizeof(R) == 4) {
    return as_bits(x) * 0x9e3779b9u;
  } else {
    return shr(static_cast<std::uint64_t>(as_bits(x) * 0x9e3779b97f4a7c15ull), 11);
  }
}

template <TForm form, class R>
PATHBOUND_HD R student_t_value(R x, double nu) {
  return student_t<form, R>(first_word(x), second_word(x), nu);
}

template <class R>
PATHBOUND_HD R normal_value(R x, bool odd) {
  R s, c;
  sincos_turn<R>(second_word(x), s, c);
  return normal_radius<R>(first_word(x)) * (odd ? s : c);
}

template <class R>
PATHBOUND_HD R multivariate_value(R x, int which) {
  const MultivariateTPair<R> pair = multivariate_t_pair<R>(first_word(x), second_word(x), 3.0);
  const R p = sqrt(real<R>(3.0)), r = p * pair.radius;
  return which == 0 ? r * pair.cosine : which == 1 ? r * pair.sine : p * pair.exp_a;
}

template <StableForm form, class R>
PATHBOUND_HD R stable_value(R x, double alpha) {
  return alpha_stable<form, R>(first_word(x), second_word(x), alpha);
}

/// The second word of the uniform that second_word stands for is the selector.
template <class R>
PATHBOUND_HD R contaminated_value(R x) {
  constexpr int below = sizeof(R) == 4 ? 0 : 21;
  return contaminate<R>(normal_value(x, false), shr(second_word(x), below), wide_below(0.3), real<R>(3.0));
}

template <class R>
PATHBOUND_HD R raw_value(Function function, R x) {
  R s, c;
  switch (function) {
    case Function::half:
      return x * real<R>(0.5);
    case Function::two_roundings:
      return x * real<R>(3.0) + real<R>(1.0);
    case Function::one_rounding:
      return fma(x, real<R>(3.0), real<R>(1.0));
    case Function::root:
      return sqrt(x);
    case Function::reciprocal:
      return real<R>(1.0) / x;
    case Function::third:
      return x / real<R>(3.0);
    case Function::to_float:
      return static_cast<R>(static_cast<float>(x));
    case Function::bin:
      return static_cast<R>(histogram_bin(static_cast<float>(x)));
    case Function::log:
      return log(x);
    case Function::log_normal:
      return log_normal(x);
    case Function::log1p:
      return log1p(x);
    case Function::exp:
      return exp(x);
    case Function::expm1:
      return expm1(x);
    case Function::sinh:
      return sinh(x);
    case Function::cosh:
      return cosh(x);
    case Function::sin:
      return sin(x);
    case Function::cos:
      return cos(x);
    case Function::sin_pi:
      return sin_pi(x);
    case Function::cos_pi:
      return cos_pi(x);
    case Function::power_m05:
      return pow_positive(x, real<R>(-0.5));
    case Function::power_m06:
      return pow_positive(x, real<R>(-0.6));
    case Function::power_m1:
      return pow_positive(x, real<R>(-1.0));
    case Function::power_025:
      return pow_positive(x, real<R>(0.25));
    case Function::power_3:
      return pow_positive(x, real<R>(3.0));
    case Function::step_size:  // in double, then rounded, as paths take it
      return static_cast<R>(pathbound::step_size<double>({ScheduleKind::polynomial, 3.0, 0.6}, 0.1,
                                                         static_cast<double>(x), static_cast<double>(x)));
    case Function::uniform:
      return uniform<R>(first_word(x));
    case Function::radius:
      return normal_radius<R>(first_word(x));
    case Function::sin_of_pair:
      sincos_turn<R>(first_word(x), s, c);
      return s;
    case Function::cos_of_pair:
      sincos_turn<R>(first_word(x), s, c);
      return c;
    case Function::sin_turn:
      return sin_turn<R>(first_word(x));
    case Function::cos_turn:
      return cos_turn<R>(first_word(x));
    case Function::normal_even:
      return normal_value(x, false);
    case Function::normal_odd:
      return normal_value(x, true);
    case Function::t_nu1:
      return student_t_value<TForm::nu1>(x, 1.0);
    case Function::t_nu2:
      return student_t_value<TForm::nu2>(x, 2.0);
    case Function::t_5:
      return student_t_value<TForm::one_factor>(x, 5.0);
    case Function::t_06:
      return student_t_value<TForm::one_factor>(x, 0.6);
    case Function::t_05:
      return student_t_value<TForm::two_factors>(x, 0.5);
    case Function::t_03:
      return student_t_value<TForm::two_factors>(x, 0.3);
    case Function::multivariate_first:
      return multivariate_value(x, 0);
    case Function::multivariate_second:
      return multivariate_value(x, 1);
    case Function::multivariate_chain:
      return multivariate_value(x, 2);
    case Function::laplace:
      return pathbound::laplace<R>(first_word(x), second_word(x));
    case Function::logistic:
      return pathbound::logistic<R>(first_word(x), second_word(x));
    case Function::contaminated:
      return contaminated_value(x);
    case Function::stable_1:
      return stable_value<StableForm::alpha1>(x, 1.0);
    case Function::stable_2:
      return stable_value<StableForm::alpha2>(x, 2.0);
    case Function::stable_15:
      return stable_value<StableForm::general>(x, 1.5);
    case Function::stable_07:
      return stable_value<StableForm::general>(x, 0.7);
    case Function::stable_03:
      return stable_value<StableForm::general>(x, 0.3);
  }
  return x;
}

}  // namespace function_detail

/// The value at x of the function with that number in function_table (any other number: x); R is float or double. The
/// one NaN for every NaN, so that answers can be compared bit for bit.
template <class R>
PATHBOUND_HD_CALL R function_value(int function, R x) {
  return canonical_nan(function_detail::raw_value(static_cast<Function>(function), x));
}

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
