// SPDX-License-Identifier: Apache-2.0
#include "host/variance_reduction.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "host/engine.hpp"
#include "host/laws.hpp"
#include "host/marginal.hpp"
#include "host/quadratic_means.hpp"
#include "host/step_size.hpp"

namespace pathbound {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();
constexpr std::uint64_t pilot_paths = least_reduced_paths;
/// What a pilot of variance x cost must fall below for `auto` to take it: pilots err by a tenth or so.
constexpr double worth_it = 0.9;
/// Candidates that differ by less in every coordinate are one.
constexpr double same_curvature = 0.05;

/// Seeds of runs that are independent of the curve's own and of each other: splitmix64 of the curve's seed.
std::uint64_t seed_of(const CurveConfig& curve, std::uint64_t stream) {
  std::uint64_t z = curve.seed + (stream + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return (z ^ (z >> 31)) >> 1;
}
constexpr std::uint64_t pilot_stream = 0, first_level_stream = 1;

/// Of a path-step, in substeps; with Gaussian noise a model takes a normal from each worker, for half a substep's time.
double unit_cost(const CurveConfig& curve) {
  if (!curve.model) return 1.0;
  return curve.model->substeps + (curve.noise.law.kind == LawKind::gaussian ? 0.5 * curve.workers.count : 0.5);
}
double cost_of(const CurveConfig& run, const CurveConfig& curve) {
  return static_cast<double>(run.paths) / static_cast<double>(curve.paths) * unit_cost(run) / unit_cost(curve);
}

bool any_diverged(const SimResult& result, std::uint64_t paths) {
  return std::any_of(result.records.begin(), result.records.end(),
                     [&](const Record& record) { return record.finite < paths; });
}

double variance_of(const std::vector<double>& v) { return mean_of(v).variance * static_cast<double>(v.size()); }
template <class Combine>
std::vector<double> joined(const std::vector<double>& a, const std::vector<double>& b, const Combine& combine) {
  std::vector<double> out(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) out[i] = combine(a[i], b[i]);
  return out;
}
std::vector<double> difference_of(const std::vector<double>& a, const std::vector<double>& b) {
  return joined(a, b, [](double x, double y) { return x - y; });
}
std::vector<double> average_of(const std::vector<double>& a, const std::vector<double>& b) {
  return joined(a, b, [](double x, double y) { return 0.5 * (x + y); });
}

/// beta of y - beta c with the least variance; 0 where c does not vary.
double regression(const std::vector<double>& y, const std::vector<double>& c) {
  double mean_y = 0.0, mean_c = 0.0, cross = 0.0, square = 0.0;
  const double n = static_cast<double>(y.size());
  for (std::size_t i = 0; i < y.size(); ++i) {
    mean_y += y[i] / n;
    mean_c += c[i] / n;
  }
  for (std::size_t i = 0; i < y.size(); ++i) {
    cross += (y[i] - mean_y) * (c[i] - mean_c);
    square += (c[i] - mean_c) * (c[i] - mean_c);
  }
  return square > 0.0 && std::isfinite(cross) ? cross / square : 0.0;
}

double median(std::vector<double> v) {
  if (v.empty()) return nan;
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
}

bool has_noise(const CurveConfig& curve) {
  return curve.noise.affine > 0.0 ||
         std::any_of(curve.workers.scale.begin(), curve.workers.scale.end(), [](double scale) { return scale > 0.0; });
}

}  // namespace

double Estimate::skew() const { return variance > 0.0 ? third / (variance * std::sqrt(variance)) : 0.0; }

Estimate mean_of(const std::vector<double>& groups) {
  const double n = static_cast<double>(groups.size());
  Estimate out;
  for (const double x : groups) out.mean += x / n;
  double m2 = 0.0, m3 = 0.0;
  for (const double x : groups) {
    const double off = x - out.mean;
    m2 += off * off;
    m3 += off * off * off;
  }
  out.degrees = n - 1.0;
  out.variance = m2 / (n * (n - 1.0));
  out.third = n > 2.0 ? m3 / (n * (n - 1.0) * (n - 2.0)) : 0.0;  // k-statistic / n^2
  return out;
}

Estimate sum_of(const std::vector<Estimate>& parts) {
  Estimate out;
  double denominator = 0.0, fewest = inf;
  for (const Estimate& part : parts) {
    out.mean += part.mean;
    out.variance += part.variance;
    out.third += part.third;
    denominator += part.variance * part.variance / part.degrees;
    fewest = std::min(fewest, part.degrees);
  }
  out.degrees = denominator > 0.0 ? out.variance * out.variance / denominator : fewest;
  return out;
}

ControlEstimate control_estimate(const std::vector<double>& y, const std::vector<double>& control, double known) {
  std::vector<double> half_y[2], half_c[2];
  for (std::size_t g = 0; g < y.size(); ++g) {
    half_y[g % 2].push_back(y[g]);
    half_c[g % 2].push_back(control[g]);
  }
  ControlEstimate out;
  std::vector<Estimate> parts;
  for (int half = 0; half < 2; ++half) {
    const double beta = regression(half_y[1 - half], half_c[1 - half]);
    out.beta += 0.5 * beta;
    Estimate part =
        mean_of(joined(half_y[half], half_c[half], [&](double a, double b) { return a - beta * (b - known); }));
    const double share = static_cast<double>(half_y[half].size()) / static_cast<double>(y.size());
    part.mean *= share;
    part.variance *= share * share;
    part.third *= share * share * share;
    parts.push_back(part);
  }
  out.estimate = sum_of(parts);
  return out;
}

bool can_be_mirrored(const CurveConfig& curve, int dim) {
  const SamplingForm form = sampling_form(curve, dim);
  return form == SamplingForm::direct || form == SamplingForm::merged;
}

std::string why_no_reduction(VarianceReduction kind, const CurveConfig& curve, const ObjectiveConfig& objective) {
  if (kind == VarianceReduction::none || kind == VarianceReduction::automatic) return {};
  switch (kind) {
    case VarianceReduction::control: {
      if (objective.kind == ObjectiveKind::quadratic)
        return "needs another objective than the quadratic, of which the control is the curve itself";
      if (!is_separable(objective.kind) || objective.kind == ObjectiveKind::saddle)
        return fmt::format(
            "needs an objective with a quadratic near it that is a sum over coordinates (quartic, cosh, "
            "sine_pl); {} has none",
            name_of(objective.kind));
      const std::string why = no_quadratic_means(curve);
      return why.empty() ? why : "needs a curve whose E S on a quadratic is known: " + why;
    }
    case VarianceReduction::antithetic:
      if (curve.noise.affine > 0.0)
        return fmt::format(
            "needs noise whose sign can be turned, without the part that grows with the gradient "
            "(noise.affine = {:g})",
            curve.noise.affine);
      if (!has_noise(curve)) return "needs noise: every scale is 0";
      if (curve.model && curve.noise.law.kind != LawKind::gaussian)
        return fmt::format("needs a model that takes its method's normals; under {} a model draws its own",
                           law_words(curve.noise.law));
      return {};
    case VarianceReduction::multilevel:
      if (!curve.model) return "belongs to a model: a method has no substeps";
      if (curve.model->substeps < 2) return "needs a model with 2 substeps or more, this one has 1";
      return {};
    case VarianceReduction::none:
    case VarianceReduction::automatic:
      break;
  }
  return {};
}

namespace {

// ---- the controls -----------------------------------------------------------------------------------------------

/// The quadratic that a control runs on: around the optimum, with these eigenvalues.
ObjectiveConfig control_objective(const Objective& objective, const std::vector<double>& h) {
  ObjectiveConfig config;
  config.kind = ObjectiveKind::quadratic;
  config.dim = objective.config().dim;
  config.spectrum_kind = "list";
  config.eigenvalues = h;
  config.spectrum_min = *std::min_element(h.begin(), h.end());
  config.spectrum_max = *std::max_element(h.begin(), h.end());
  for (std::size_t j = 0; j < h.size(); ++j)
    config.start.push_back(objective.config().start[j] - objective.x_star()[j]);
  return config;
}

/// Curvatures h of controls, each of a separable f: that at the optimum; the slope f'(x0)/(x0 - x*) of the secant; that
/// at the noise floor, h = E[u f'(x* + u)]/E u^2 for a normal u whose variance is the one on that quadratic; and the
/// geometric mean of the last two. None of them has to be near f: the estimate is unbiased with any.
std::vector<std::vector<double>> control_curvatures(const CurveConfig& curve, const Objective& objective) {
  const auto dim = static_cast<std::size_t>(objective.config().dim);
  const std::vector<double>&star = objective.x_star(), &start = objective.config().start;
  const auto slopes = [&](const std::vector<double>& away) {
    std::vector<double> x(dim), h(dim);
    for (std::size_t j = 0; j < dim; ++j) x[j] = star[j] + away[j];
    const std::vector<double> g = objective.gradient(x);
    for (std::size_t j = 0; j < dim; ++j) h[j] = g[j] / away[j];
    return h;
  };
  const auto usable = [](const std::vector<double>& h) {
    return std::all_of(h.begin(), h.end(), [](double x) { return x > 1e-6 && x < 1e30; });
  };
  const std::vector<double> optimum = slopes(std::vector<double>(dim, 1e-6));
  std::vector<double> away(dim);
  for (std::size_t j = 0; j < dim; ++j) away[j] = start[j] != star[j] ? start[j] - star[j] : 1e-6;
  std::vector<double> secant = slopes(away);
  for (std::size_t j = 0; j < dim; ++j)
    if (start[j] == star[j]) secant[j] = std::max(optimum[j], 1.0);

  const double n = curve.workers.count, variance = noise_variance(curve.noise.law);
  double noise = 0.0;  // of the averaged direction in a coordinate, without the affine part, which fades
  for (int i = 0; i < curve.workers.count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const double omega = std::max(0.0, compressor_omega(curve, objective.config().dim, i));
    noise += (1.0 + (std::isfinite(omega) ? omega : 0.0)) * curve.workers.scale[at] * curve.workers.scale[at] /
             curve.workers.batch[at] * variance / (n * n);
  }
  const double eta = prescribed_step(curve, curve.steps / 2);
  std::vector<double> floor = usable(secant) ? secant : std::vector<double>(dim, 1.0);
  if (noise > 0.0) {
    for (int iteration = 0; iteration < 40; ++iteration) {
      std::vector<double> top(dim, 0.0), bottom(dim, 0.0);
      for (int i = 1; i <= 24; ++i) {  // the trapezoidal rule for an even function of a normal
        const double u = 0.25 * i, weight = std::exp(-0.5 * u * u);
        for (std::size_t j = 0; j < dim; ++j) away[j] = u * std::sqrt(0.5 * eta * noise / floor[j]);
        const std::vector<double> h = slopes(away);
        for (std::size_t j = 0; j < dim; ++j) {
          top[j] += weight * u * u * h[j];
          bottom[j] += weight * u * u;
        }
      }
      for (std::size_t j = 0; j < dim; ++j) floor[j] = std::sqrt(floor[j] * top[j] / bottom[j]);
    }
  }
  std::vector<std::vector<double>> candidates = {optimum, secant};
  if (noise > 0.0) {
    candidates.push_back(floor);
    if (usable(secant) && usable(floor))
      candidates.push_back(joined(secant, floor, [](double a, double b) { return std::sqrt(a * b); }));
  }
  std::vector<std::vector<double>> out;
  for (const std::vector<double>& h : candidates) {
    const bool known = std::any_of(out.begin(), out.end(), [&](const std::vector<double>& other) {
      for (std::size_t j = 0; j < dim; ++j)
        if (std::fabs(h[j] - other[j]) > same_curvature * other[j]) return false;
      return true;
    });
    if (known || !usable(h)) continue;
    if (moments_of(curve, Objective(control_objective(objective, h))).variance_exists) out.push_back(h);
  }
  return out;
}

/// Substeps of the levels: powers of two below those asked for, and these.
std::vector<int> level_substeps(int substeps) {
  std::vector<int> levels;
  for (int n = 1; n < substeps; n *= 2) levels.push_back(n);
  levels.push_back(substeps);
  return levels;
}

/// The paths of a level: whole groups, of which there are 64 or more.
std::uint64_t whole_groups(double paths) {
  const auto wanted = static_cast<std::uint64_t>(
      std::clamp(std::ceil(paths), static_cast<double>(least_reduced_paths), 1099511627776.0));
  std::uint64_t group = block_paths;
  while (wanted / group >= 128) group *= 2;
  return std::min((wanted + group - 1) / group * group, std::uint64_t{1} << 40);
}

// ---- reduce -----------------------------------------------------------------------------------------------------

/// Why it is switched off.
struct Off {
  std::string reason;
};

class Reducer {
 public:
  Reducer(const Experiment& experiment, const CurveConfig& curve, const Objective& objective, const SimResult& plain,
          const Runner& run)
      : experiment_(experiment), curve_(curve), objective_(objective), plain_(plain), run_(run) {
    for (std::size_t c = 0; c < plain.records.size(); ++c) {
      const Record& record = plain.records[c];
      const double n = static_cast<double>(record.finite);
      plain_variance_.push_back(record.m2 / (n * (n - 1.0)));
    }
    out_.asked = curve.variance_reduction;
  }

  Reduction reduce() {
    try {
      refuse();
      VarianceReduction kind = curve_.variance_reduction;
      if (kind == VarianceReduction::automatic) kind = choose();
      if (kind == VarianceReduction::control) by_control();
      if (kind == VarianceReduction::antithetic) by_mirror();
      if (kind == VarianceReduction::multilevel) by_levels();
      out_.used = kind;
      if (std::all_of(out_.degrees.begin(), out_.degrees.end(), [](double x) { return std::isnan(x); }))
        throw Off{"S does not vary"};
    } catch (const Off& off) {
      const Reduction failed = std::move(out_);
      out_ = Reduction();
      out_.asked = failed.asked;
      out_.reason = off.reason;
      out_.pilot = failed.pilot;
    }
    out_.cost_ratio = (estimate_uses_plain() ? 1.0 : 0.0) + cost_;
    return std::move(out_);
  }

 private:
  bool estimate_uses_plain() const { return out_.used != VarianceReduction::multilevel; }

  void refuse() const {
    if (curve_.paths < least_reduced_paths)
      throw Off{fmt::format("needs {} paths, 64 groups of {}", least_reduced_paths, block_paths)};
    const MomentReport moments = moments_of(curve_, objective_);
    if (!moments.mean_exists) throw Off{"E S does not exist"};
    if (!moments.variance_exists) throw Off{"the sampling variance cannot be trusted"};
    if (any_diverged(plain_, curve_.paths)) throw Off{"paths have diverged"};
  }

  SimResult simulate(const Experiment& experiment, const CurveConfig& config, const Objective& objective) {
    cost_ += cost_of(config, curve_);
    return run_(experiment, config, objective);
  }
  SimResult simulate(const CurveConfig& config) { return simulate(experiment_without_bounds(), config, objective_); }
  /// Nothing is tracked for bounds in the additional runs.
  Experiment experiment_without_bounds() const {
    Experiment e = experiment_;
    e.bounds.clear();
    return e;
  }

  struct Control {
    std::vector<double> h, known;
    SimResult result;
  };
  Control control(const CurveConfig& config, const std::vector<double>& h) {
    Experiment e = experiment_without_bounds();
    e.objective = control_objective(objective_, h);
    const Objective quadratic(e.objective);
    Control out{h, {}, simulate(e, config, quadratic)};
    if (e.precision == Precision::double_)
      out.known = quadratic_means(CurveSpec<double>(e, config, quadratic).spec);
    else
      out.known = quadratic_means(CurveSpec<float>(e, config, quadratic).spec);
    return out;
  }

  /// Whether the checkpoint has anything to reduce.
  bool random(std::size_t c) const { return curve_.checkpoint_steps[c] > 0 && plain_variance_[c] > 0.0; }

  void put(std::size_t c, const Estimate& e) {
    const bool good = random(c) && e.variance > 0.0 && std::isfinite(e.variance);
    out_.mean.push_back(good ? e.mean : nan);
    out_.standard_error.push_back(good ? std::sqrt(e.variance) : nan);
    out_.degrees.push_back(good ? e.degrees : nan);
    out_.skew.push_back(good ? e.skew() : nan);
    out_.variance_ratio.push_back(good ? e.variance / plain_variance_[c] : nan);
  }

  // ---- a pilot, with a seed of its own
  CurveConfig pilot_config() const {
    CurveConfig config = curve_;
    config.paths = pilot_paths;
    config.seed = seed_of(curve_, pilot_stream);
    return config;
  }
  const SimResult& pilot() {
    if (!pilot_) {
      pilot_ = std::make_unique<SimResult>(simulate(pilot_config()));
      if (any_diverged(*pilot_, pilot_paths)) throw Off{"paths of the pilot have diverged"};
    }
    return *pilot_;
  }
  /// Median over the checkpoints of variance(c) by that of the plain pilot.
  template <class Variance>
  double pilot_ratio(const Variance& variance) {
    std::vector<double> ratios;
    for (std::size_t c = 0; c < plain_.records.size(); ++c) {
      const double own = variance_of(pilot().group_means[c]);
      if (curve_.checkpoint_steps[c] > 0 && own > 0.0) ratios.push_back(variance(c) / own);
    }
    return ratios.empty() ? inf : median(std::move(ratios));
  }

  /// The curvature with the smallest variance in a pilot, and that variance by the plain one's.
  struct Choice {
    std::vector<double> h;
    double ratio = inf;
  };
  Choice choose_control(bool with_pilot) {
    const auto candidates = control_curvatures(curve_, objective_);
    if (candidates.empty()) throw Off{"no quadratic is near the objective on which E S and its variance exist"};
    if (!with_pilot) return {candidates.front(), inf};
    Choice best;
    for (const auto& h : candidates) {
      const Control c = control(pilot_config(), h);
      if (any_diverged(c.result, pilot_paths)) continue;
      const double ratio = pilot_ratio([&](std::size_t at) {
        const auto &y = pilot().group_means[at], &z = c.result.group_means[at];
        const double beta = regression(y, z);
        return variance_of(joined(y, z, [&](double a, double b) { return a - beta * b; }));
      });
      if (ratio < best.ratio) best = {h, ratio};
    }
    if (best.h.empty()) throw Off{"paths of every control have diverged"};
    return best;
  }

  CurveConfig mirrored(CurveConfig config) const {
    config.mirrored = true;
    return config;
  }

  /// Levels that may be used, each with its pilot run; the last is the curve's own.
  struct Level {
    CurveConfig config;
    SimResult pilot;
  };
  struct Chain {
    std::vector<CurveConfig> configs;  ///< coarse to fine
    std::vector<double> paths;         ///< of each, with the plain run's cost in all
    double ratio = inf;                ///< of variance x cost to that of plain sampling
  };
  Chain choose_levels() {
    std::vector<Level> levels;
    for (const int substeps : level_substeps(curve_.model->substeps)) {
      Level level{pilot_config(), {}};
      level.config.model->substeps = substeps;
      const bool last = substeps == curve_.model->substeps;
      if (!last && !moments_of(level.config, objective_).variance_exists) continue;
      level.pilot = last ? pilot() : simulate(level.config);
      if (!last && any_diverged(level.pilot, pilot_paths)) continue;
      levels.push_back(std::move(level));
    }
    if (levels.size() < 2) throw Off{"paths with fewer substeps diverge, so that there is no coarser level"};
    const std::size_t n = levels.size();
    // The mean over the checkpoints of the variance, in that of the plain run.
    const auto relative = [&](std::size_t fine, std::optional<std::size_t> coarse) {
      double sum = 0.0, count = 0.0;
      for (std::size_t c = 0; c < plain_.records.size(); ++c) {
        const double own = variance_of(pilot().group_means[c]);
        if (curve_.checkpoint_steps[c] == 0 || !(own > 0.0)) continue;
        const auto& y = levels[fine].pilot.group_means[c];
        sum += variance_of(coarse ? difference_of(y, levels[*coarse].pilot.group_means[c]) : y) / own;
        count += 1.0;
      }
      return count > 0.0 ? sum / count : 0.0;
    };
    const auto cost = [&](std::size_t i) { return unit_cost(levels[i].config) / unit_cost(curve_); };
    // Giles: with N_l in the ratio of sqrt(V_l/C_l) the variance times the cost is (sum sqrt(V_l C_l))^2. The chain for
    // which that is smallest; the one of the finest level alone is plain sampling, and no chain of levels.
    std::vector<double> least(n, inf);
    std::vector<std::optional<std::size_t>> before(n);
    for (std::size_t i = 0; i < n; ++i) {
      if (i + 1 < n) least[i] = std::sqrt(relative(i, std::nullopt) * cost(i));
      for (std::size_t j = 0; j < i; ++j) {
        const double sum = least[j] + std::sqrt(relative(i, j) * (cost(i) + cost(j)));
        if (sum < least[i]) {
          least[i] = sum;
          before[i] = j;
        }
      }
    }
    Chain chain;
    chain.ratio = least[n - 1] * least[n - 1];
    for (std::optional<std::size_t> i = n - 1; i; i = before[*i]) {
      const double v = relative(*i, before[*i]), each = cost(*i) + (before[*i] ? cost(*before[*i]) : 0.0);
      chain.configs.insert(chain.configs.begin(), levels[*i].config);
      chain.paths.insert(chain.paths.begin(), static_cast<double>(curve_.paths) * std::sqrt(v / each) / least[n - 1]);
    }
    return chain;
  }

  // ---- the choice of `auto`
  VarianceReduction choose() {
    if (curve_.paths < least_piloted_paths)
      throw Off{fmt::format("fewer than {} paths: no pilot, nothing chosen", least_piloted_paths)};
    struct Offer {
      VarianceReduction kind;
      double ratio;
    };
    std::vector<Offer> offers;
    const auto possible = [&](VarianceReduction kind) {
      return why_no_reduction(kind, curve_, objective_.config()).empty();
    };
    if (possible(VarianceReduction::control)) {
      try {
        control_ = choose_control(true);
        offers.push_back({VarianceReduction::control, 2.0 * control_->ratio});
      } catch (const Off&) {
        pilot();  // where this is what diverges, nothing is chosen
      }
    }
    if (possible(VarianceReduction::antithetic) && can_be_mirrored(curve_, objective_.config().dim)) {
      const SimResult other = simulate(mirrored(pilot_config()));
      if (!any_diverged(other, pilot_paths))
        offers.push_back({VarianceReduction::antithetic, 2.0 * pilot_ratio([&](std::size_t c) {
                                                           return variance_of(average_of(pilot().group_means[c],
                                                                                         other.group_means[c]));
                                                         })});
    }
    if (possible(VarianceReduction::multilevel)) {
      try {
        chain_ = choose_levels();
        offers.push_back({VarianceReduction::multilevel, chain_->ratio});
      } catch (const Off&) {
        pilot();
      }
    }
    if (offers.empty()) throw Off{"no kind is for this curve"};
    std::string words;
    for (const Offer& offer : offers) {
      words += fmt::format("{}{} {:.2g}", words.empty() ? "" : ", ", name_of(offer.kind), offer.ratio);
      out_.pilot.emplace_back(offer.kind, offer.ratio);
    }
    const Offer best = *std::min_element(offers.begin(), offers.end(),
                                         [](const Offer& a, const Offer& b) { return a.ratio < b.ratio; });
    if (!(best.ratio < worth_it))
      throw Off{fmt::format("by the pilot none pays (variance x cost in that of plain sampling: {})", words)};
    return best.kind;
  }

  // ---- the kinds
  void by_control() {
    if (!control_) control_ = choose_control(curve_.paths >= least_piloted_paths);
    const Control c = control(curve_, control_->h);
    if (any_diverged(c.result, curve_.paths)) throw Off{"paths of the control have diverged"};
    out_.h = c.h;
    const double eps = experiment_.precision == Precision::single ? 0x1p-24 : 0x1p-53;
    const double cut = tail_cut(curve_.noise.law, experiment_.precision);
    const double substeps = curve_.model ? curve_.model->substeps : 1.0;
    for (std::size_t at = 0; at < plain_.records.size(); ++at) {
      ControlEstimate e = control_estimate(plain_.group_means[at], c.result.group_means[at], c.known[at]);
      // What the paths' arithmetic and sampling may put between the control's E S and the number known (theory section
      // 7): that of the rounding of eta, of x over the steps, and the tail that uniforms cut off.
      const double moves = static_cast<double>(curve_.checkpoint_steps[at]) * substeps;
      const double fall = c.known[at] > 0.0 ? std::max(1.0, std::log(c.known.front() / c.known[at])) : 1.0;
      const double off = e.beta * c.known[at] * (eps * (16.0 * fall + 2.0 * std::sqrt(moves)) + cut);
      e.estimate.variance += off * off;
      out_.beta.push_back(random(at) ? e.beta : nan);
      put(at, e.estimate);
    }
  }

  void by_mirror() {
    if (!can_be_mirrored(curve_, objective_.config().dim)) throw Off{"needs sampling = \"direct\""};
    const SimResult other = simulate(mirrored(curve_));
    if (any_diverged(other, curve_.paths)) throw Off{"paths with the noise's sign turned have diverged"};
    for (std::size_t c = 0; c < plain_.records.size(); ++c)
      put(c, mean_of(average_of(plain_.group_means[c], other.group_means[c])));
  }

  void by_levels() {
    if (!chain_) chain_ = choose_levels();
    std::vector<std::vector<Estimate>> parts(plain_.records.size());
    for (std::size_t l = 0; l < chain_->configs.size(); ++l) {
      CurveConfig fine = chain_->configs[l];
      fine.paths = whole_groups(chain_->paths[l]);
      fine.seed = seed_of(curve_, first_level_stream + l);
      const SimResult upper = simulate(fine);
      SimResult lower;
      if (l > 0) {
        CurveConfig coarse = fine;
        coarse.model->substeps = chain_->configs[l - 1].model->substeps;
        lower = simulate(coarse);
      }
      if (any_diverged(upper, fine.paths) || (l > 0 && any_diverged(lower, fine.paths)))
        throw Off{fmt::format("paths with {} or {} substeps have diverged", fine.model->substeps,
                              chain_->configs[l > 0 ? l - 1 : l].model->substeps)};
      for (std::size_t c = 0; c < parts.size(); ++c)
        parts[c].push_back(
            mean_of(l > 0 ? difference_of(upper.group_means[c], lower.group_means[c]) : upper.group_means[c]));
      out_.levels.push_back({fine.model->substeps, fine.paths});
    }
    for (std::size_t c = 0; c < parts.size(); ++c) put(c, sum_of(parts[c]));
  }

  const Experiment& experiment_;
  const CurveConfig& curve_;
  const Objective& objective_;
  const SimResult& plain_;
  const Runner& run_;
  std::vector<double> plain_variance_;  ///< of the plain mean
  double cost_ = 0.0;                   ///< of the additional runs, in plain ones
  std::unique_ptr<SimResult> pilot_;
  std::optional<Choice> control_;
  std::optional<Chain> chain_;
  Reduction out_;
};

}  // namespace

Reduction reduce(const Experiment& experiment, const CurveConfig& curve, const Objective& objective,
                 const SimResult& plain, const Runner& run) {
  return Reducer(experiment, curve, objective, plain, run).reduce();
}

double Reduction::median_ratio() const {
  std::vector<double> known;
  for (const double ratio : variance_ratio)
    if (std::isfinite(ratio)) known.push_back(ratio);
  return median(std::move(known));
}
double Reduction::worst_ratio() const {
  double worst = nan;
  for (const double ratio : variance_ratio)
    if (std::isfinite(ratio) && !(ratio <= worst)) worst = ratio;
  return worst;
}

void apply(Reduction reduction, Curve& curve, double confidence) {
  if (reduction.used == VarianceReduction::none) {
    curve.notes.push_back(fmt::format("no variance reduction ({} was asked for): {}", name_of(reduction.asked),
                                      reduction.reason.empty() ? "nothing to reduce" : reduction.reason));
    curve.reduction = std::move(reduction);
    return;
  }
  const double alpha = (1.0 - confidence) / static_cast<double>(std::max<std::size_t>(curve.step.size(), 1));
  for (std::size_t c = 0; c < curve.step.size(); ++c) {
    if (std::isnan(reduction.degrees[c])) continue;
    const boost::math::students_t student(reduction.degrees[c]);
    const double half =
        boost::math::quantile(boost::math::complement(student, 0.5 * alpha)) * reduction.standard_error[c];
    curve.mean[c] = reduction.mean[c];
    curve.standard_error[c] = reduction.standard_error[c];
    curve.lower[c] = reduction.mean[c] - half;
    curve.upper[c] = reduction.mean[c] + half;
  }
  curve.band = Band::group_t;
  std::string how = name_of(reduction.used);
  if (reduction.used == VarianceReduction::multilevel) {
    how += " (substeps x paths:";
    for (const Reduction::Level& level : reduction.levels) how += fmt::format(" {} x {}", level.substeps, level.paths);
    how += ")";
  }
  const double ratio = reduction.median_ratio();
  curve.notes.push_back(fmt::format(
      "mean and band by variance reduction, {}: variance {:.3g} (median; at worst {:.3g}), cost {:.3g}, both in those "
      "of "
      "plain sampling with the same paths; their product is {:.3g}. Quantiles and extremes are of the plain run",
      how, ratio, reduction.worst_ratio(), reduction.cost_ratio, ratio * reduction.cost_ratio));
  curve.reduction = std::move(reduction);
}

double planned_reduction_cost(const CurveConfig& curve, const Objective& objective) {
  const VarianceReduction asked = curve.variance_reduction;
  const auto wants = [&](VarianceReduction kind) {
    return asked == kind || (asked == VarianceReduction::automatic && curve.paths >= least_piloted_paths &&
                             why_no_reduction(kind, curve, objective.config()).empty());
  };
  if (asked == VarianceReduction::none || curve.paths < least_reduced_paths ||
      !moments_of(curve, objective).variance_exists)
    return 0.0;
  CurveConfig run = curve;
  run.paths = pilot_paths;
  const double pilot = cost_of(run, curve);
  double cost = 0.0, most = 0.0;
  if (wants(VarianceReduction::control)) {
    if (curve.paths >= least_piloted_paths)
      cost += pilot * static_cast<double>(1 + control_curvatures(curve, objective).size());
    most = 1.0;
  }
  if (wants(VarianceReduction::antithetic) && can_be_mirrored(curve, objective.config().dim)) {
    if (asked == VarianceReduction::automatic) cost += 2.0 * pilot;
    most = 1.0;
  }
  if (wants(VarianceReduction::multilevel)) {
    for (const int substeps : level_substeps(curve.model->substeps)) {
      run.model->substeps = substeps;
      cost += cost_of(run, curve);
    }
    most = 1.0;
  }
  return cost + most;
}

}  // namespace pathbound
