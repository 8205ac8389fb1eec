// SPDX-License-Identifier: Apache-2.0
#include "host/bounds.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "host/average_bounds.hpp"
#include "host/laws.hpp"
#include "host/step_size.hpp"
#include "kernels/portable.hpp"

namespace pathbound {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();

const char* method_words(MethodKind method) {
  switch (method) {
    case MethodKind::dsgd:
      return "DSGD";
    case MethodKind::dcsgd:
      return "DCSGD";
    case MethodKind::dsignsgd:
      return "DSignSGD";
    case MethodKind::dnsgd:
      return "DNSGD";
    case MethodKind::clipped_dsgd:
      return "clipped DSGD";
    case MethodKind::heavy_ball:
      return "heavy-ball DSGD";
    case MethodKind::adam:
      return "Adam";
  }
  return "";
}

/// The largest eigenvalue of diag(a) + 1 b^T, b >= 0.
double largest_eigenvalue(const std::vector<double>& a, const std::vector<double>& b) {
  double low = -inf, sum_b = 0.0;
  for (std::size_t j = 0; j < a.size(); ++j) {
    low = std::max(low, a[j]);
    sum_b += b[j];
  }
  if (!(sum_b > 0.0)) return low;
  // The largest root of sum_j b_j / (x - a_j) = 1 lies between max a and max a + sum b.
  double high = low + sum_b;
  for (int i = 0; i < 200; ++i) {
    const double x = 0.5 * (low + high);
    if (x <= low || x >= high) break;
    double sum = 0.0;
    for (std::size_t j = 0; j < a.size(); ++j) sum += b[j] / (x - a[j]);
    (sum > 1.0 ? low : high) = x;
  }
  return high;
}

/// O8: the factor by which the slowest second moment of (compressed) SGD on a quadratic changes a step: M_j' = a_j M_j
/// + sum_l b_l M_l, a_j = (1 - z_j)^2 + z_j^2 omega/N, z_j = eta h_j, b_l = z_l^2 affine/(d N).
double mean_square_factor(const std::vector<double>& h, double eta, const WorkerMeans& means, double n_workers) {
  std::vector<double> a, b;
  for (const double hj : h) {
    const double z = eta * hj;
    a.push_back((1.0 - z) * (1.0 - z) + z * z * means.omega_sum);
    b.push_back(z * z * means.affine / (static_cast<double>(h.size()) * n_workers));
  }
  return largest_eigenvalue(a, b);
}

/// Whether E C_j(v)^2 = (1 + omega) v_j^2, so that moments on quadratics are known exactly.
bool has_exact_moments(CompressorKind kind) {
  return kind == CompressorKind::identity || kind == CompressorKind::rand_k || kind == CompressorKind::bernoulli;
}

/// The r of O3: the drift of a model on a quadratic is -h (1 + r eta h) x.
double drift_correction(ModelKind kind) {
  return kind == ModelKind::second_order ? 0.5 : kind == ModelKind::curvature ? -0.5 : 0.0;
}

/// O3: the same for a model of it, as the rate per unit of time: dM_j/dt = a_j M_j + sum_l b_l M_l, a_j = -2 h_j (1 + r
/// eta h_j) + eta omega h_j^2/N, b_l = eta h_l^2 affine/(d N). Not for hessian_aware, which has the method's moments.
double mean_square_rate(ModelKind kind, const std::vector<double>& h, double eta, const WorkerMeans& means,
                        double n_workers) {
  const double r = drift_correction(kind);
  std::vector<double> a, b;
  for (const double hj : h) {
    a.push_back(-2.0 * hj * (1.0 + r * eta * hj) + eta * means.omega_sum * hj * hj);
    b.push_back(eta * hj * hj * means.affine / (static_cast<double>(h.size()) * n_workers));
  }
  return largest_eigenvalue(a, b);
}

/// S0 q^k + (1 - q^k) level for 1 - q = decay: exactly S0 at k = 0.
double relax(double start, double level, double exponent) {
  if (exponent == 0.0) return start;
  return start * portable::exp(exponent) - level * portable::expm1(exponent);
}

class Evaluation {
 public:
  Evaluation(const BoundInfo& info, const CurveConfig& config, const Objective& objective, const Curve& curve)
      : config_(config), objective_(objective), curve_(curve), constants_(objective.constants()) {
    v_.theorem = info.theorem;
    v_.speaks_of = info.speaks_of;
    v_.model = info.model;
    v_.value.assign(curve.step.size(), nan);
    n_ = config.workers.count;
    d_ = objective.config().dim;
    s0_ = constants_.suboptimality_at_start;
  }

  BoundValue run() {
    const bool sign = v_.theorem[1] == '4' || v_.theorem[1] == '6', iterates = !v_.model;
    require_method(sign);
    if (v_.theorem[1] >= '5') {
      evaluate_average_bound(v_, config_, objective_, curve_);
      return std::move(v_);
    }
    require_prescribed_step();
    require_pl_and_smooth();
    if (!iterates) require_constant_step();
    number("N", n_);
    number("d", d_);
    number("eta", config_.eta);
    number("S0", s0_);
    if (sign) {
      sign_bound(iterates);
    } else {
      compressed_bound(iterates);
    }
    return std::move(v_);
  }

 private:
  void number(const char* name, double value) { v_.constants.emplace_back(name, value); }
  void assume(std::string name, AssumptionStatus status, std::string detail) {
    v_.assumptions.push_back({std::move(name), status, std::move(detail)});
  }
  /// `vital`: without it the formula has no meaning and no value is given.
  bool check(bool ok, std::string name, std::string detail, bool vital) {
    assume(std::move(name), ok ? AssumptionStatus::proved : AssumptionStatus::failed, std::move(detail));
    if (!ok && vital) meaningful_ = false;
    return ok;
  }

  void require_method(bool sign) {
    const MethodKind method = config_.method;
    const bool fits = sign ? method == MethodKind::dsignsgd : method == MethodKind::dsgd || method == MethodKind::dcsgd;
    check(fits, "method",
          fmt::format("the theorem is about {}, the curve is {}{}", sign ? "DSignSGD" : "DSGD and DCSGD",
                      config_.model ? "a model of " : "", method_words(config_.method)),
          true);
  }

  void require_prescribed_step() {
    if (config_.adaptive.kind != AdaptiveKind::none)
      check(false, "step sizes that do not depend on x",
            fmt::format("the step is multiplied by the adaptive factor {}", name_of(config_.adaptive.kind)), true);
  }

  void require_pl_and_smooth() {
    const auto& mu = constants_.mu;
    const auto& l = constants_.L;
    const bool observed = curve_.pl_max > 0.0;
    std::string seen;
    if (observed) {
      seen = fmt::format("; |grad f|^2/(2 S) observed between {:.6g} and {:.6g}", curve_.pl_min, curve_.pl_max);
    }
    if (!mu.value) {
      check(false, "mu-PL", (mu.detail.empty() ? "no PL constant is known" : mu.detail) + seen, true);
    } else {
      mu_ = *mu.value;
      number("mu", mu_);
      auto status = AssumptionStatus::proved;
      std::string detail = fmt::format("mu = {:.6g}, {}", mu_, mu.detail);
      if (observed) {
        detail += fmt::format("; |grad f|^2/(2 mu S) observed between {:.6g} and {:.6g}", curve_.pl_min / mu_,
                              curve_.pl_max / mu_);
      }
      if (mu.provenance == Provenance::numerical) status = AssumptionStatus::observed;
      if (mu.provenance == Provenance::user) {
        status = AssumptionStatus::unchecked;
        // 1%: what rounding may do to the observed quotient close to the optimum.
        if (observed && curve_.pl_min < 0.99 * mu_) {
          status = AssumptionStatus::failed;
          detail += ": the inequality was seen to fail";
        } else if (const auto& best = objective_.constants().best_mu; best && mu_ > *best * (1.0 + 1e-9)) {
          status = AssumptionStatus::failed;
          detail += fmt::format("; the largest mu of this objective is {:.6g}", *best);
        } else if (l.value && mu_ > *l.value) {
          status = AssumptionStatus::failed;
          detail += fmt::format("; no {:.6g}-smooth function is mu-PL with a larger mu", *l.value);
        }
      }
      assume("mu-PL", status, detail);
      if (!(mu_ > 0.0) || (l.value && mu_ > *l.value)) meaningful_ = false;
    }
    if (!l.value) {
      check(false, "L-smooth", l.detail.empty() ? "no smoothness constant is known" : l.detail, true);
      return;
    }
    l_smooth_ = *l.value;
    number("L", l_smooth_);
    std::string detail = fmt::format("L = {:.6g}, {}", l_smooth_, l.detail);
    if (observed) {
      detail += fmt::format("; |grad f|^2/(2 L S) observed between {:.6g} and {:.6g}", curve_.pl_min / l_smooth_,
                            curve_.pl_max / l_smooth_);
    }
    assume("L-smooth", l.provenance == Provenance::proved ? AssumptionStatus::proved : AssumptionStatus::unchecked,
           detail);
  }

  void require_constant_step() {
    check(is_constant(config_.schedule), "constant step",
          is_constant(config_.schedule) ? fmt::format("eta = {:g} throughout", config_.eta)
                                        : "the step decreases by a schedule; B3d and B4d allow one",
          true);
  }

  void require_no_affine_noise() {
    check(config_.noise.affine == 0.0, "rho = 0",
          config_.noise.affine == 0.0
              ? "no affine noise"
              : fmt::format("affine noise with rho = {:g}; the value shown leaves it out", config_.noise.affine),
          false);
  }

  /// Delta > 0 at every step. `delta(eta)` falls with eta.
  template <class Delta>
  void require_delta(Delta&& delta, const std::string& formula, const std::string& otherwise) {
    const std::uint64_t last = curve_.step.empty() ? 0 : curve_.step.back();
    const double eta = largest_step(config_, last), value = delta(eta);
    number("Delta", value);
    const bool ok = value > 0.0;
    check(ok, "Delta > 0",
          fmt::format("Delta = {} = {:.6g}{}", formula, value,
                      ok                              ? ""
                      : is_constant(config_.schedule) ? otherwise
                                                      : fmt::format(" at the largest step {:g}{}", eta, otherwise)),
          true);
  }

  /// b' = (1 - contraction(eta_k)) b + growth eta_k^2, walked up to the last checkpoint.
  template <class Contraction>
  void walk(Contraction&& contraction, double growth) {
    double b = s0_;
    std::uint64_t k = 0;
    for (std::size_t c = 0; c < curve_.step.size(); ++c) {
      for (; k < curve_.step[c]; ++k) {
        const double eta = prescribed_step(config_, k);
        b = b - contraction(eta) * b + growth * eta * eta;
      }
      v_.value[c] = b;
    }
  }

  /// b_k = S0 q^k + (1 - q^k) level, q = 1 - decay.
  void geometric(double decay, double level) {
    const double log_q = decay < 1.0 ? portable::log1p(-decay) : -inf;
    for (std::size_t c = 0; c < curve_.step.size(); ++c) {
      const double k = static_cast<double>(curve_.step[c]);
      v_.value[c] = k == 0.0 ? s0_ : relax(s0_, level, k * log_q);
    }
  }

  void exponential(double rate, double level) {
    number("rate", rate);
    number("stationary", level);
    for (std::size_t c = 0; c < curve_.step.size(); ++c) {
      v_.value[c] = curve_.step[c] == 0 ? s0_ : relax(s0_, level, -rate * curve_.time[c]);
    }
  }

  /// What the failed Delta > 0 of a bound does not say: whether the curve's process is stable. Exact on quadratics.
  std::string own_stability(const WorkerMeans& means) const {
    if (objective_.config().kind != ObjectiveKind::quadratic || !has_exact_moments(config_.compressor.kind)) return "";
    const auto& h = objective_.config().eigenvalues;
    const double eta = largest_step(config_, curve_.step.empty() ? 0 : curve_.step.back());
    const bool rate = config_.model && config_.model->kind != ModelKind::hessian_aware;
    const double value =
        rate ? mean_square_rate(config_.model->kind, h, eta, means, n_) : mean_square_factor(h, eta, means, n_);
    const bool stable = value < (rate ? 0.0 : 1.0);
    return fmt::format("; the bound gives nothing, {} the {} itself is mean-square {}: its {} is {:.6g}",
                       stable ? "though" : "and",
                       config_.model ? fmt::format("{} model", name_of(config_.model->kind)) : "method",
                       stable ? "stable" : "unstable", rate ? "rate per unit of time" : "factor a step", value);
  }

  /// B3, B3p, B3c, B3d.
  void compressed_bound(bool iterates) {
    const WorkerMeans means = worker_means(config_, d_);
    const double var = noise_variance(config_.noise.law);
    number("omega", means.omega);
    number("Var zeta", var);
    number("noise", means.noise);
    const bool finite = !std::isinf(means.noise) && !std::isinf(means.affine);
    check(finite, "finite noise variance",
          finite ? fmt::format("mean (1 + omega_i) d sigma_i^2 Var zeta / B_i = {:.6g}", means.noise)
                 : fmt::format("Var zeta is infinite: {}", law_words(config_.noise.law)),
          true);
    check(std::isfinite(means.omega), "unbiased compressor",
          std::isfinite(means.omega)
              ? fmt::format("E C(x) = x and E|C(x) - x|^2 <= omega |x|^2 with mean omega = {:.6g}", means.omega)
              : fmt::format("{} is biased", name_of(config_.compressor.kind)),
          true);
    const bool curvature = v_.theorem == "B3c";
    if (!iterates && !curvature) require_no_affine_noise();
    if (!meaningful_) return;

    const std::string otherwise = own_stability(means);
    const double n = n_, L = l_smooth_, mu = mu_;
    if (iterates || curvature) {
      const double K = second_moment_factor(config_, d_);
      number("K", K);
      const auto delta = [=](double eta) { return 1.0 - 0.5 * eta * L * K; };
      require_delta(delta, "1 - eta L K/2", otherwise);
      if (!meaningful_) return;
      if (curvature) {
        const double D = delta(config_.eta);
        exponential(2.0 * mu * D, config_.eta * L / (4.0 * mu * n) * means.noise / D);
        return;
      }
      const double growth = 0.5 * L / n * means.noise;
      if (!is_constant(config_.schedule)) {
        walk([&](double eta) { return 2.0 * mu * eta * delta(eta); }, growth);
        return;
      }
      const double decay = 2.0 * mu * config_.eta * delta(config_.eta),
                   level = growth * config_.eta * config_.eta / decay;
      number("q", 1.0 - decay);
      number("stationary", level);
      geometric(decay, level);
      return;
    }
    const bool printed = v_.theorem == "B3";
    const double slope = printed ? L * L * means.omega / (2.0 * mu * n) : L * means.omega / (2.0 * n);
    require_delta([=](double eta) { return 1.0 - eta * slope; },
                  printed ? "1 - eta L^2 omega/(2 mu N)" : "1 - eta L omega/(2 N)", otherwise);
    if (!meaningful_) return;
    const double delta = 1.0 - config_.eta * slope;
    exponential(2.0 * mu * delta, config_.eta * L / (4.0 * mu * n) * means.noise / delta);
    // The stationary level of the curvature SDE is the method's: O3 with r = -1/2 has M (2 h - eta h^2 (1 + omega/N)) =
    // c, O1 the same times eta. hessian_aware has all second moments of the method.
    if (config_.model && config_.model->kind != ModelKind::curvature && config_.model->kind != ModelKind::hessian_aware)
      return;
    const auto& h = objective_.config().eigenvalues;
    if (objective_.config().kind == ObjectiveKind::quadratic && config_.noise.affine == 0.0 && !h.empty() &&
        has_exact_moments(config_.compressor.kind) &&
        std::all_of(h.begin(), h.end(), [&](double value) { return value == h.front(); })) {
      const double rest = delta - 0.5 * config_.eta * h.front();
      v_.predicted_excess = rest > 0.0 ? delta / rest : inf;
    }
  }

  /// B4, B4Y, B4d.
  void sign_bound(bool iterates) {
    const auto& workers = config_.workers;
    const bool noisy = std::all_of(workers.scale.begin(), workers.scale.end(), [](double s) { return s > 0.0; });
    check(noisy, "sigma > 0", noisy ? "every worker has noise" : "a worker has no noise: sign(g) has no linear regime",
          true);
    std::string symmetric = "the law is symmetric and unimodal";
    if (config_.noise.law.kind == LawKind::multivariate_t && d_ > 1) {
      symmetric +=
          "; its coordinates are dependent, but the proof uses the marginals alone: the drift of each coordinate and "
          "E|sign|^2 = d";
    }
    assume("symmetric unimodal noise", AssumptionStatus::proved, symmetric);
    require_no_affine_noise();
    if (!meaningful_) return;

    const double l = noise_density_factor(config_.noise.law), n = n_, L = l_smooth_, mu = mu_;
    double c0 = 0.0, largest_inverse = 0.0;  // mean l/s_i and max 1/s_i, s_i = sigma_i/sqrt(B_i)
    for (std::size_t i = 0; i < workers.scale.size(); ++i) {
      const double inverse = std::sqrt(workers.batch[i]) / workers.scale[i];
      c0 += l * inverse / n;
      largest_inverse = std::max(largest_inverse, inverse);
    }
    number("ell", l);
    double c = c0;
    if (v_.theorem != "B4") {
      const double gradient = curve_.max_grad_so_far.empty() ? nan : curve_.max_grad_so_far.back();
      const double Y = gradient * largest_inverse;
      number("Y", Y);
      if (!std::isfinite(Y)) {
        check(false, "|y_j| <= Y along the path", fmt::format("the largest gradient seen is {}", gradient), true);
        return;
      }
      assume("|y_j| <= Y along the path", AssumptionStatus::observed,
             fmt::format("Y = {:.6g}, from the largest |grad_j f| = {:.6g} over all simulated paths and steps", Y,
                         gradient));
      // l_Y/s_i with each worker's own Y_i = G/s_i is 2 Xi(G/s_i)/G; 2 Xi(y)/y falls with y (the density is unimodal).
      c = 0.0;
      for (std::size_t i = 0; i < workers.scale.size(); ++i) {
        const double inverse = std::sqrt(workers.batch[i]) / workers.scale[i], y = gradient * inverse;
        // Below 1e-9 the factor differs from l by less than rounding.
        c += (y > 1e-9 ? 2.0 * noise_xi(config_.noise.law, y) / y : l) * inverse / n;
      }
      number("ell_Y", c / c0 * l);
    }
    if (!iterates) {
      number("Delta", c);
      check(c > 0.0 && std::isfinite(c), "Delta > 0",
            fmt::format("Delta = {} sqrt(B)/sigma = {:.6g}", v_.theorem == "B4" ? "l" : "l_Y", c), true);
      if (!meaningful_) return;
      exponential(2.0 * mu * c, config_.eta * L * d_ / (4.0 * mu * n * c));
      return;
    }
    number("c_0", c0);
    number("c_Y", c);
    const auto delta = [=](double eta) { return 1.0 - 0.5 * eta * L * c0 * (1.0 - 1.0 / n); };
    require_delta(delta, "1 - (eta L c_0/2)(1 - 1/N)", "");
    if (!meaningful_) return;
    // 1 - q = 2 mu eta c D(eta) is a parabola in eta: its largest value lies at the largest step or at its vertex.
    const auto decay = [=](double eta) { return 2.0 * mu * eta * c * delta(eta); };
    const std::uint64_t last = curve_.step.empty() ? 0 : curve_.step.back();
    double most = decay(config_.eta);
    if (!is_constant(config_.schedule)) {
      most = 0.0;
      for (std::uint64_t k = 0; k < std::max<std::uint64_t>(last, 1); ++k) {
        most = std::max(most, decay(prescribed_step(config_, k)));
      }
    }
    number("q", 1.0 - most);
    check(most <= 1.0 && c > 0.0, "q >= 0", fmt::format("the least 1 - 2 mu eta c_Y Delta is {:.6g}", 1.0 - most),
          true);
    if (!meaningful_) return;
    const double growth = 0.5 * L * d_ / n;
    if (!is_constant(config_.schedule)) {
      walk(decay, growth);
      return;
    }
    const double level = growth * config_.eta * config_.eta / most;
    number("stationary", level);
    geometric(most, level);
  }

  const CurveConfig& config_;
  const Objective& objective_;
  const Curve& curve_;
  const ObjectiveConstants& constants_;
  BoundValue v_;
  int n_ = 1, d_ = 1;
  double s0_ = 0.0, mu_ = nan, l_smooth_ = nan;
  bool meaningful_ = true;
};

}  // namespace

const char* name_of(AssumptionStatus status) {
  switch (status) {
    case AssumptionStatus::proved:
      return "proved";
    case AssumptionStatus::observed:
      return "observed";
    case AssumptionStatus::failed:
      return "failed";
    case AssumptionStatus::unchecked:
      return "unchecked";
  }
  return "";
}

bool BoundValue::applicable() const {
  return std::none_of(assumptions.begin(), assumptions.end(),
                      [](const Assumption& a) { return a.status == AssumptionStatus::failed; });
}

const std::vector<BoundInfo>& bound_registry() {
  static const std::vector<BoundInfo> registry = {
      {"B3", "", "sde", "DSGD, DCSGD: PL, smooth, bounded noise variance; Delta = 1 - eta L^2 omega/(2 mu N)",
       "arXiv:2502.17009, Theorem 3", ModelKind::first_order},
      {"B3p", "B3'", "sde", "B3 with the sharper Delta = 1 - eta L omega/(2 N)", "docs/theory.md",
       ModelKind::first_order},
      {"B3c", "", "sde", "B3 for the curvature SDE: affine noise allowed; an identity on isotropic quadratics",
       "docs/theory.md", ModelKind::curvature},
      {"B3d", "", "iterates",
       "B3 for the iterates themselves: affine noise and schedules allowed; an identity on isotropic "
       "quadratics",
       "docs/theory.md", std::nullopt},
      {"B4", "", "sde", "DSignSGD: PL, smooth, symmetric unimodal noise of any tail; uses the linear regime of Xi",
       "arXiv:2502.17009, Theorem 4", ModelKind::first_order},
      {"B4Y", "", "sde", "B4 without the linear regime: the slope of Xi over the gradients that occur",
       "docs/theory.md", ModelKind::first_order},
      {"B4d", "", "iterates", "B4Y for the iterates themselves; schedules allowed", "docs/theory.md", std::nullopt},
      {"B5", "", "sde",
       "DSGD, DCSGD: (L0, L1)-smooth and a step normalised to it: the weighted average of |grad f|^2; affine noise and "
       "schedules allowed",
       "docs/theory.md", ModelKind::curvature},
      {"B6", "", "sde",
       "DSignSGD: (L0, L1)-smooth, symmetric unimodal noise of any tail: the weighted average of psi = m.grad f; "
       "schedules allowed",
       "docs/theory.md", ModelKind::curvature},
      {"B6d", "", "iterates", "B6 for the iterates themselves", "docs/theory.md", std::nullopt},
  };
  return registry;
}

bool needs_gradient_tracking(const std::string& theorem) { return theorem == "B4Y" || theorem == "B4d"; }

BoundValue evaluate_bound(const std::string& theorem, const CurveConfig& config, const Objective& objective,
                          const Curve& curve) {
  for (const auto& info : bound_registry()) {
    if (theorem == info.theorem || (!info.alias.empty() && theorem == info.alias)) {
      return Evaluation(info, config, objective, curve).run();
    }
  }
  throw std::invalid_argument(fmt::format("no bound is called \"{}\"", theorem));
}

WorkerMeans worker_means(const CurveConfig& curve, int dim) {
  const double var = noise_variance(curve.noise.law), n = curve.workers.count;
  const double rho2 = curve.noise.affine * curve.noise.affine;
  WorkerMeans means;
  for (int i = 0; i < curve.workers.count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const double omega = compressor_omega(curve, dim, i), sigma = curve.workers.scale[at],
                 batch = curve.workers.batch[at];
    means.omega += omega / n;
    if (sigma > 0.0) means.noise += (1.0 + omega) * dim * sigma * sigma * var / batch / n;
    if (rho2 > 0.0) means.affine += (1.0 + omega) * rho2 * var / batch / n;
  }
  means.omega_sum = means.omega / n;
  return means;
}

double second_moment_factor(const CurveConfig& curve, int dim) {
  CurveConfig known = curve;
  // Biased compressors have no omega; K takes it as 0.
  if (std::isnan(compressor_omega(curve, dim, 0))) known.compressor = {};
  const WorkerMeans means = worker_means(known, dim);
  return 1.0 + (means.omega + means.affine) / curve.workers.count;
}

double compressor_omega(const CurveConfig& curve, int dim, int worker) {
  switch (curve.compressor.kind) {
    case CompressorKind::identity:
      return 0.0;
    case CompressorKind::rand_k: {
      const auto i = static_cast<std::size_t>(worker);
      const int k = i < curve.workers.k.size() ? curve.workers.k[i] : curve.compressor.k;
      return static_cast<double>(dim - k) / k;
    }
    case CompressorKind::bernoulli:
      return (1.0 - curve.compressor.p) / curve.compressor.p;
    case CompressorKind::qsgd: {
      const double d = dim, s = curve.compressor.s;
      return std::min(d / (s * s), std::sqrt(d) / s);
    }
    case CompressorKind::natural:
      return 0.125;
    case CompressorKind::rand_k_plain:
    case CompressorKind::top_k:
      return nan;  // biased: there is none
  }
  return 0.0;
}

}  // namespace pathbound
