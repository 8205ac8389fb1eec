// SPDX-License-Identifier: Apache-2.0
#include "host/average_bounds.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "host/laws.hpp"
#include "host/step_size.hpp"
#include "kernels/portable.hpp"

namespace pathbound {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();
/// What rounding may add to a sampled ratio that is 1.
constexpr double rounding = 1e-5;

bool knows_smoothness(const Objective& objective) {
  return objective.constants().L0.value && objective.constants().L1.value;
}

AssumptionStatus status_of(const Objective& objective) {
  const bool proved = objective.constants().L0.provenance == Provenance::proved &&
                      objective.constants().L1.provenance == Provenance::proved;
  return proved ? AssumptionStatus::proved : AssumptionStatus::unchecked;
}

/// The largest K eta_x |H| (theory B5: theta), from the pair (L0, L1) that holds for the objective; or, where that is
/// no use, from the pair with which the step was normalised, to be observed along the paths.
struct NormalisedStep {
  double theta = inf;
  AssumptionStatus status = AssumptionStatus::failed;
  bool observe = false;
  double L0 = nan, L1 = nan;  ///< the pair it rests on
  std::string detail;
};

double gradient_norm_at_start(const Objective& objective) {
  double square = 0.0;
  for (const double g : objective.constants().gradient_at_start) square += g * g;
  return std::sqrt(square);
}

/// The largest a(r) (L0 + L1 r) of gradient_norm, a(r) = (1 + r/c)^-q.
double largest_of_gradient_norm(const AdaptiveConfig& a, double L0, double L1) {
  if (L1 == 0.0) return L0;
  if (a.q < 1.0) return inf;
  if (a.q == 1.0) return std::max(L0, a.c * L1);
  const double r = (a.c * L1 - a.q * L0) / (L1 * (a.q - 1.0));
  return r > 0.0 ? portable::power(1.0 + r / a.c, -a.q) * (L0 + L1 * r) : L0;
}

NormalisedStep normalised_step(const CurveConfig& config, const Objective& objective) {
  const auto& constants = objective.constants();
  const AdaptiveConfig& a = config.adaptive;
  const double K = second_moment_factor(config, objective.config().dim);
  const double eta = largest_step(config, config.steps), share = eta / config.eta;
  NormalisedStep step;
  if (a.kind == AdaptiveKind::hessian_norm) {
    step.theta = share * a.theta;
    step.status = AssumptionStatus::proved;
    step.detail = "the step is at most theta/(K |H|)";
    return step;
  }
  const bool known = knows_smoothness(objective);
  if (known) {
    step.L0 = *constants.L0.value;
    step.L1 = *constants.L1.value;
    step.status = status_of(objective);
    step.detail = fmt::format("|H| <= {:.6g} + {:.6g} |grad f| ({})", step.L0, step.L1, constants.L0.detail);
  } else {
    step.detail = constants.L0.detail.empty() ? "no (L0, L1) is known" : constants.L0.detail;
  }
  if (a.kind == AdaptiveKind::l0l1) {
    const double A0 = a.L0 ? *a.L0 : step.L0, A1 = a.L1 ? *a.L1 : step.L1;
    const auto part = [](double own, double used) { return own == 0.0 ? 0.0 : own / used; };
    const double ratio = known ? std::max(part(step.L0, A0), part(step.L1, A1)) : inf;
    if (ratio * share * a.theta < 2.0) {
      step.theta = ratio * share * a.theta;
      if (ratio != 1.0)
        step.detail +=
            fmt::format("; the step takes {:.6g} + {:.6g} |grad f|, which is at least 1/{:.6g} of it", A0, A1, ratio);
      return step;
    }
    step.theta = share * a.theta;
    step.L0 = A0;
    step.L1 = A1;
    step.observe = is_separable(objective.config().kind);
    step.status = step.observe ? AssumptionStatus::observed : AssumptionStatus::unchecked;
    step.detail = fmt::format("|H| <= {:.6g} + {:.6g} |grad f|, with which the step was normalised", A0, A1);
    return step;
  }
  if (!known) return step;
  step.theta = eta * K *
               (a.kind == AdaptiveKind::gradient_norm ? largest_of_gradient_norm(a, step.L0, step.L1)
                : step.L1 == 0.0                      ? step.L0
                                                      : inf);
  if (std::isinf(step.theta)) {
    step.status = AssumptionStatus::failed;
    step.detail += fmt::format(
        "; nothing keeps eta |H| below 2/K where |grad f| > G_c = (2/(eta K) - L0)/L1 = {:.6g} (at the start |grad f| "
        "= {:.6g})",
        guarantee_ends(config, objective), gradient_norm_at_start(objective));
  }
  return step;
}

/// c of B5: the level that the average of |grad f|^2 may keep.
double level_of(double theta, double noise, double K, double n) { return theta * noise / ((2.0 - theta) * K * n); }

class Evaluation {
 public:
  Evaluation(BoundValue& bound, const CurveConfig& config, const Objective& objective, const Curve& curve)
      : v_(bound),
        config_(config),
        objective_(objective),
        constants_(objective.constants()),
        curve_(curve),
        alike_(alike()) {
    n_ = config.workers.count;
    d_ = objective.config().dim;
    s0_ = constants_.suboptimality_at_start;
    number("N", n_);
    number("d", d_);
    number("eta", config.eta);
    number("S0", s0_);
  }

  void normalised() {
    v_.quantity = "weighted_gradient_norm_sq";
    const bool unbiased = std::isfinite(worker_means(config_, objective_.config().dim).omega);
    check(unbiased, "unbiased compressor", unbiased ? "E C(x) = x" : "the compressor is biased, there is no omega");
    check(!config_.adaptive.stochastic, "ideal factor",
          config_.adaptive.stochastic ? "a(x) comes from the noisy gradient: the step is not a function of x"
                                      : "the step is a function of x and of the step number");
    if (!v_.applicable()) return;
    const WorkerMeans means = worker_means(config_, objective_.config().dim);
    const double K = second_moment_factor(config_, objective_.config().dim);
    number("omega", means.omega);
    number("Var zeta", noise_variance(config_.noise.law));
    number("noise", means.noise);
    number("K", K);
    const NormalisedStep step = normalised_step(config_, objective_);
    number("L0", step.L0);
    number("L1", step.L1);
    number("theta", step.theta);
    if (step.L1 > 0.0) number("G_c", guarantee_ends(config_, objective_));
    const bool finite = std::isfinite(means.noise) && std::isfinite(means.affine);
    check(finite, "finite noise variance",
          finite ? fmt::format("mean (1 + omega_i) d sigma_i^2 Var zeta / B_i = {:.6g}", means.noise)
                 : fmt::format("Var zeta is infinite: {}", law_words(config_.noise.law)));
    smoothness(step);
    if (step.status != AssumptionStatus::failed)
      check(step.theta < 2.0, "theta < 2",
            fmt::format("the largest K eta_x |H| is at most theta = {:.6g}", step.theta));
    if (!finite || !(step.theta < 2.0)) return;
    v_.level = level_of(step.theta, means.noise, K, n_);
    number("level", v_.level);
    if (step.L0 > 0.0 && step.L1 > 0.0)
      number("noise of a step", step.theta * std::sqrt(means.noise / n_) * step.L1 / (K * step.L0));
    const double sum = s0_ / (1.0 - 0.5 * step.theta);
    number("sum", sum);
    for (std::size_t c = 0; c < v_.value.size(); ++c) set(c, sum);
  }

  void signs(bool iterates) {
    v_.quantity = "psi";
    check(config_.adaptive.kind == AdaptiveKind::none, "prescribed step",
          config_.adaptive.kind == AdaptiveKind::none ? "the step does not depend on x" : "the step depends on x");
    check(config_.noise.affine == 0.0, "rho = 0",
          config_.noise.affine == 0.0 ? "no affine noise" : fmt::format("rho = {:g}", config_.noise.affine));
    assume("symmetric unimodal noise", AssumptionStatus::proved,
           fmt::format("{}: Xi is concave for y > 0; any tail", law_words(config_.noise.law)));
    const bool known = knows_smoothness(objective_);
    assume("(L0, L1)-smooth", known ? status_of(objective_) : AssumptionStatus::failed,
           known ? fmt::format("|H| <= {:.6g} + {:.6g} |grad f| ({})", *constants_.L0.value, *constants_.L1.value,
                               constants_.L0.detail)
           : constants_.L0.detail.empty() ? "no (L0, L1) is known"
                                          : constants_.L0.detail);
    if (!v_.applicable()) return;
    const double L0 = *constants_.L0.value, L1 = *constants_.L1.value;
    number("L0", L0);
    number("L1", L1);
    // Warm-up lets the step of the SDE rise within a step of the method.
    const auto step_at = [&](std::uint64_t k) {
      const double eta = prescribed_step(config_, k);
      return iterates || config_.schedule.warmup <= 0.0 ? eta : std::max(eta, prescribed_step(config_, k + 1));
    };
    const auto growth = [&](double eta) { return iterates ? second_order_rest(L1 * eta * std::sqrt(d_)) : 1.0; };
    // The condition is hardest at the largest step: one of the first, as a schedule falls but for its warm-up.
    const std::uint64_t last = config_.steps == 0 ? 0 : config_.steps - 1;
    double eta = step_at(0);
    for (std::uint64_t k = 1; k <= last && static_cast<double>(k) <= config_.schedule.warmup; ++k)
      eta = std::max(eta, step_at(k));
    const double condition = eta * growth(eta) * L1 * d_;
    double G = threshold(condition);
    number("eta L1 d", condition);
    if (iterates) number("R", growth(eta));
    number("G", G);
    if (std::isfinite(G)) number("c", mean_sign(G));
    if (alike_ && config_.workers.scale[0] > 0.0)
      number("Y", G * std::sqrt(config_.workers.batch[0]) / config_.workers.scale[0]);
    const std::string product = fmt::format("eta {}L1 d = {:.6g}", iterates ? "R " : "", condition);
    check(std::isfinite(G), "eta L1 d <= c",
          std::isfinite(G) ? fmt::format("{} <= c = mean 2 Xi(G/s_i) from G = {:.6g} on", product, G)
                           : fmt::format("{}, and c = mean 2 Xi(G/s_i) is below 1 for every G", product));
    if (!v_.applicable()) return;

    const double d = d_;
    double of = eta, sum = 2.0 * s0_, carry = 0.0;
    std::uint64_t k = 0;
    for (std::size_t c = 0; c < v_.value.size(); ++c) {
      for (; k < curve_.step[c]; ++k) {
        const double now = step_at(k);
        // A smaller step allows a smaller G: worth it once in a while.
        if (now < 0.97 * of) {
          G = threshold(now * growth(now) * L1 * d);
          of = now;
        }
        const double term = d * (now * now) * growth(now) * (L0 + 0.25 * (L1 * d) * G) - carry, next = sum + term;
        carry = (next - sum) - term;
        sum = next;
      }
      set(c, sum);
    }
    number("sum", sum);
  }

 private:
  void number(const char* name, double value) { v_.constants.emplace_back(name, value); }
  void assume(std::string name, AssumptionStatus status, std::string detail) {
    v_.assumptions.push_back({std::move(name), status, std::move(detail)});
  }
  void check(bool ok, std::string name, std::string detail) {
    assume(std::move(name), ok ? AssumptionStatus::proved : AssumptionStatus::failed, std::move(detail));
  }
  /// E Y <= sum in the units of the quantity.
  void set(std::size_t c, double sum) {
    const auto& weight = curve_.sums.weight;
    if (c < weight.size() && weight[c] > 0.0) v_.value[c] = sum / weight[c] + v_.level;
  }

  void smoothness(const NormalisedStep& step) {
    AssumptionStatus status = step.status;
    std::string detail = step.detail;
    if (step.observe) {
      const double seen = curve_.smoothness.empty() ? nan : curve_.smoothness.back();
      if (std::isnan(seen)) {
        status = AssumptionStatus::unchecked;
      } else {
        if (seen > 1.0 + rounding) status = AssumptionStatus::failed;
        detail +=
            fmt::format("; the largest |H|/(L0 + L1 |grad f|) over all simulated paths and steps is {:.6g}", seen);
      }
    }
    assume("(L0, L1)-smooth", status, detail);
  }

  /// The workers' mean of 2 Xi(G/s_i).
  double mean_sign(double G) const {
    const auto of_worker = [&](std::size_t i) {
      const double s = config_.workers.scale[i] / std::sqrt(config_.workers.batch[i]);
      return s > 0.0 ? 2.0 * noise_xi(config_.noise.law, G / s) : 1.0;
    };
    if (alike_) return of_worker(0);
    double mean = 0.0;
    for (std::size_t i = 0; i < config_.workers.scale.size(); ++i) mean += of_worker(i) / n_;
    return mean;
  }
  bool alike() const {
    const auto same = [](const std::vector<double>& v) {
      return std::all_of(v.begin(), v.end(), [&](double x) { return x == v.front(); });
    };
    return same(config_.workers.scale) && same(config_.workers.batch);
  }
  /// The smallest G whose mean_sign is not below c; infinite: there is none. 0 where c is.
  double threshold(double c) const {
    if (!(c > 0.0)) return c == 0.0 ? 0.0 : inf;
    double high = 1.0;
    while (!(mean_sign(high) >= c)) {
      high *= 2.0;
      if (high > 1e290) return inf;
    }
    while (high > 1e-290 && mean_sign(0.5 * high) >= c) high *= 0.5;
    double low = 0.5 * high;
    for (int i = 0; i < 60; ++i) {
      const double middle = 0.5 * (low + high);
      (mean_sign(middle) >= c ? high : low) = middle;
    }
    return high;
  }
  /// R = 2 (e^a - 1 - a)/a^2, 1 at a = 0.
  static double second_order_rest(double a) {
    if (a < 1e-2) return 1.0 + a / 3.0 * (1.0 + a / 4.0 * (1.0 + a / 5.0 * (1.0 + a / 6.0 * (1.0 + a / 7.0))));
    return 2.0 * (portable::expm1(a) - a) / (a * a);
  }

  BoundValue& v_;
  const CurveConfig& config_;
  const Objective& objective_;
  const ObjectiveConstants& constants_;
  const Curve& curve_;
  const bool alike_;
  int n_ = 1;
  double d_ = 1.0, s0_ = 0.0;
};

}  // namespace

void evaluate_average_bound(BoundValue& bound, const CurveConfig& config, const Objective& objective,
                            const Curve& curve) {
  Evaluation evaluation(bound, config, objective, curve);
  if (!bound.applicable()) return;  // another method
  if (bound.theorem == "B5")
    evaluation.normalised();
  else
    evaluation.signs(!bound.model);
}

double guarantee_ends(const CurveConfig& config, const Objective& objective) {
  if (!knows_smoothness(objective)) return nan;
  const double L0 = *objective.constants().L0.value, L1 = *objective.constants().L1.value;
  if (L1 == 0.0) return inf;
  const double eta = largest_step(config, config.steps);
  return (2.0 / (eta * second_moment_factor(config, objective.config().dim)) - L0) / L1;
}

std::string guarantee_note(const CurveConfig& config, const Objective& objective) {
  const bool covered = !config.model && config.method <= MethodKind::dcsgd &&
                       config.adaptive.kind == AdaptiveKind::none && !objective.constants().L.value;
  if (!covered || !std::isfinite(worker_means(config, objective.config().dim).omega)) return "";
  const double ends = guarantee_ends(config, objective);
  if (!std::isfinite(ends)) return "";
  return fmt::format(
      "nothing normalises the step: f is guaranteed to fall on average only where |grad f| < G_c = (2/(eta K) - L0)/L1 "
      "= {:.6g} (B5; at the start |grad f| = {:.6g})",
      ends, gradient_norm_at_start(objective));
}

SumsNeeded sums_needed(const std::string& theorem, const CurveConfig& config, const Objective& objective) {
  SumsNeeded needed;
  const bool signs = theorem == "B6" || theorem == "B6d";
  if (!signs && theorem != "B5") return needed;
  if (signs != (config.method == MethodKind::dsignsgd)) return needed;
  if (signs) {
    needed.kind = SumKind::psi;
    return needed;
  }
  if (config.method > MethodKind::dcsgd) return needed;
  needed.kind = SumKind::gradient;
  const int dim = objective.config().dim;
  const WorkerMeans means = worker_means(config, dim);
  if (!std::isfinite(means.omega)) return needed;  // biased
  const NormalisedStep step = normalised_step(config, objective);
  const double noise = means.noise;
  if (std::isfinite(noise) && step.theta < 2.0)
    needed.level = level_of(step.theta, noise, second_moment_factor(config, dim), config.workers.count);
  needed.track_smoothness = step.observe;
  needed.L0 = step.L0;
  needed.L1 = step.L1;
  return needed;
}

}  // namespace pathbound
