// SPDX-License-Identifier: Apache-2.0
#include "host/verdict.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>

#include "kernels/statistics.hpp"

namespace pathbound {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double inf = std::numeric_limits<double>::infinity();
constexpr std::uint64_t fewest_paths = 32;
/// Largest Edgeworth term |skew| z^3/(6 sqrt n) with which a Student limit is trusted (design 6).
constexpr double largest_skew_term = 0.1;
/// The same for a mean by variance reduction. Its skewness comes from some hundred groups of paths, so that the term is
/// known to about 0.1 (holds) or 0.4 (violated) only. The tests are therefore made at half their level, which pays for
/// a tail that is heavier by the factor 2, what a term of 0.5 stands for.
constexpr double largest_group_skew_term = 0.5;
constexpr double group_level = 0.5;
/// Where all paths agree the comparison is exact but for the rounding of a float path, in units of its roundoff.
constexpr double roundoff = 0x1p-24;
/// All paths agree when their standard deviation is below this part of the mean: the rounding of the sums.
constexpr double agreement = 1e-14;
/// B4 holds its linear regime responsible when 2 Xi(Y)/(l Y) is below this.
constexpr double regime_reached = 0.99;

double student_quantile(double alpha, double degrees) {
  return boost::math::quantile(boost::math::complement(boost::math::students_t(degrees), alpha));
}

/// The sample at one checkpoint as verdicts see it: diverged paths are in it with S = limit.
struct Sample {
  double n = 0.0, mean = nan, error = nan, skew = 0.0;
  double degrees = nan;  ///< of freedom of `error`; NaN: n - 1
  bool by_groups() const { return !std::isnan(degrees); }
  std::uint64_t finite = 0, diverged = 0;
  double z_lower = nan, z_upper = nan;  ///< quantiles of the test for violated and of the test for holds
  double lower = nan, upper = nan;
  bool usable = false;  ///< enough finite paths for a verdict
  /// All paths agree though the method is random: values of probability up to unseen (at the level of the test for
  /// holds) may be missing; largest bounds them, if anything does.
  bool agree_by_chance = false;
  double unseen = 0.0, largest = inf;

  double skew_term(double z) const { return std::fabs(skew) * z * z * z / (6.0 * std::sqrt(n)); }
  double allowed_skew_term() const { return by_groups() ? largest_group_skew_term : largest_skew_term; }
  bool too_skewed(double z) const { return skew_term(z) > allowed_skew_term(); }
};

/// The two quantiles for samples of n; n is mostly the same at every checkpoint.
class Quantiles {
 public:
  Quantiles(double alpha, std::size_t n_records)
      : alpha_lower_(alpha / static_cast<double>(std::max<std::size_t>(n_records, 1))), alpha_upper_(alpha) {}
  void fill(Sample& sample) {
    if (sample.by_groups()) {
      sample.z_lower = student_quantile(group_level * alpha_lower_, sample.degrees);
      sample.z_upper = student_quantile(group_level * alpha_upper_, sample.degrees);
      return;
    }
    if (sample.n != n_) {
      n_ = sample.n;
      lower_ = student_quantile(alpha_lower_, n_ - 1.0);
      upper_ = student_quantile(alpha_upper_, n_ - 1.0);
    }
    sample.z_lower = lower_;
    sample.z_upper = upper_;
  }

 private:
  double alpha_lower_, alpha_upper_, n_ = nan, lower_ = nan, upper_ = nan;
};

/// The same of sums over the steps, in the units of the bound: E Y / E T + level. What a path that has diverged would
/// have summed up is not known, so there is no sample with one.
Sample sample_of_sums(const Curve& curve, double level, std::size_t c, Quantiles& quantiles) {
  Sample sample;
  sample.finite = curve.finite[c];
  sample.diverged = curve.paths > sample.finite ? curve.paths - sample.finite : 0;
  sample.n = static_cast<double>(sample.finite);
  const auto& sums = curve.sums;
  if (c >= sums.weight.size() || !(sums.weight[c] > 0.0)) return sample;
  sample.usable = sample.finite >= fewest_paths && sample.diverged == 0;
  sample.mean = sums.mean[c] / sums.weight[c] + level;
  if (sample.finite < 2) return sample;
  sample.error = sums.standard_error[c] / sums.weight[c];
  sample.skew = sums.skew[c];
  if (!std::isfinite(sample.error)) return sample;
  if (sample.error * std::sqrt(sample.n) <= agreement * sample.mean) sample.error = sample.skew = 0.0;
  quantiles.fill(sample);
  sample.lower = sample.mean - sample.z_lower * sample.error;
  sample.upper = sample.mean + sample.z_upper * sample.error;
  return sample;
}

Sample sample_at(const Curve& curve, std::size_t c, double limit, Quantiles& quantiles) {
  Sample sample;
  sample.finite = curve.finite[c];
  sample.diverged = curve.paths > sample.finite ? curve.paths - sample.finite : 0;
  sample.n = static_cast<double>(sample.finite + sample.diverged);
  sample.usable = sample.finite >= fewest_paths;
  // The exact merge of the finite paths with the diverged ones.
  Record all, far;
  all.finite = sample.finite;
  if (sample.finite > 0) {
    const double n = static_cast<double>(sample.finite);
    if (!std::isfinite(curve.mean[c])) return sample;
    all.sum = curve.mean[c] * n;
    all.m2 = sample.finite > 1 ? curve.variance[c] * (n - 1.0) : 0.0;
    all.m3 = all.m2 > 0.0 ? curve.skew[c] * all.m2 * std::sqrt(all.m2 / n) : 0.0;
  }
  far.finite = sample.diverged;
  far.sum = limit * static_cast<double>(sample.diverged);
  merge(all, far);
  if (all.finite == 0) return sample;
  // Without diverged paths the curve's own numbers, to the last bit.
  sample.mean = sample.diverged == 0 ? curve.mean[c] : all.sum / sample.n;
  if (all.finite < 2) return sample;
  sample.error = sample.diverged == 0 ? curve.standard_error[c] : std::sqrt(all.m2 / (sample.n * (sample.n - 1.0)));
  sample.skew = all.m2 > 0.0 ? std::sqrt(sample.n) * (all.m3 / all.m2) / std::sqrt(all.m2) : 0.0;
  if (curve.reduction && c < curve.reduction->degrees.size() && !std::isnan(curve.reduction->degrees[c])) {
    // The mean and its error are those of the reduction; no path has diverged then.
    sample.degrees = curve.reduction->degrees[c];
    sample.skew = curve.reduction->skew[c] * std::sqrt(sample.n);  // as of n independent paths
  }
  if (!std::isfinite(sample.error)) return sample;
  if (sample.error * std::sqrt(sample.n) <= agreement * sample.mean) sample.error = sample.skew = 0.0;
  quantiles.fill(sample);
  sample.lower = sample.mean - sample.z_lower * sample.error;
  sample.upper = sample.mean + sample.z_upper * sample.error;
  return sample;
}

/// With the digits that tell it from 100%.
std::string percent(double ratio) {
  const double off = std::fabs(ratio - 1.0);
  if (off == 0.0 || off >= 0.005) return fmt::format("{:.3g}%", 100.0 * ratio);
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(off))) - 2, 2, 12);
  return fmt::format("{:.{}f}%", 100.0 * ratio, decimals);
}

/// By how much a mean above its bound exceeds it.
std::string excess_words(double mean, double bound) {
  if (!(bound > 0.0)) return "an infinite factor";
  const double ratio = mean / bound;
  return ratio < 11.0 ? fmt::format("{:.3g}%", 100.0 * (ratio - 1.0)) : fmt::format("a factor {:.3g}", ratio);
}

/// No randomness: every path is the same. (rand_k counts as random: the dimension, with which it may keep all, is not
/// known here; so do qsgd and natural, of which that depends on the gradient.)
bool is_deterministic(const CurveConfig& config) {
  const bool noise = config.noise.affine > 0.0 || std::any_of(config.workers.scale.begin(), config.workers.scale.end(),
                                                              [](double scale) { return scale > 0.0; });
  const CompressorKind kind = config.compressor.kind;
  const bool dropped =
      (kind == CompressorKind::bernoulli && config.compressor.p < 1.0) ||
      (kind != CompressorKind::bernoulli && kind != CompressorKind::identity && kind != CompressorKind::top_k);
  // Without noise the Q of a DSignSGD model is 0, but for coordinates in which grad f is.
  if (config.method == MethodKind::dsignsgd) return !noise && !config.model;
  return !noise && !dropped;
}

/// Whether the curve is what the theorem speaks of.
bool is_object(const Verdict& v) { return v.bound.model ? v.model && v.model->kind == *v.bound.model : !v.model; }

/// What the theorem speaks of, against something else: "the SDE" is enough beside a method, as the first-order one is.
std::string object_words(const Verdict& v) {
  if (!v.bound.model) return "iterates";
  if (!v.model && *v.bound.model == ModelKind::first_order) return "SDE";
  return fmt::format("{} SDE", name_of(*v.bound.model));
}

/// n that brings a test with quantile z to a decision: its limit within `gap` of the mean, its skew term small enough.
double paths_needed(const Sample& sample, double z, double gap) {
  const double sd = sample.error * std::sqrt(sample.n);
  const double for_width = std::pow(z * sd / gap, 2.0);
  const double for_skew = std::pow(std::fabs(sample.skew) * z * z * z / (6.0 * sample.allowed_skew_term()), 2.0);
  return std::max({for_width, for_skew, static_cast<double>(fewest_paths)});
}

class Judgement {
 public:
  Judgement(const BoundConfig& config, const BoundValue& bound, const CurveConfig& curve_config, const Curve& curve,
            double limit)
      : curve_(curve),
        signs_(curve_config.method == MethodKind::dsignsgd && !curve_config.model),
        deterministic_(is_deterministic(curve_config)),
        substeps_(curve_config.model ? curve_config.model->substeps : 1),
        limit_(limit),
        sums_(bound.quantity != "suboptimality") {
    v_.config = config;
    v_.bound = bound;
    v_.model = curve_config.model;
    alpha_ = 1.0 - config.confidence;
  }

  Verdict run() {
    measure();
    v_.verdict = Expectation::not_applicable;
    if (refuse()) return std::move(v_);
    decide();
    note_rounding();
    if (curve_.mean_is == MeanIs::restricted && diverged_ == 0)
      v_.reason += sums_ ? "; means are over paths that have not diverged" : "; the mean is E[S_k | not diverged by k]";
    return std::move(v_);
  }

 private:
  /// Nothing has been summed up by then.
  bool before_sums(std::size_t c) const { return sums_ && curve_.step[c] == 0; }
  double rounding_level() const { return sums_ ? 0.0 : curve_.rounding_level; }
  const char* quantity_words() const {
    return v_.bound.quantity == "psi" ? "the average of psi" : sums_ ? "the weighted average of |grad f|^2" : "S";
  }
  double bound_at(std::size_t c) const { return v_.bound.value[c]; }
  double limit_at(std::size_t c) const { return bound_at(c) * (1.0 + v_.config.margin); }
  std::string confidence() const { return fmt::format("{:g}%", 100.0 * v_.config.confidence); }

  /// Empirical numbers and their limits at every checkpoint, the worst ratio, the tightness.
  void measure() {
    const std::size_t n_records = curve_.step.size();
    v_.bound.value.resize(n_records, nan);
    v_.worst_ratio = v_.tightness = nan;
    Quantiles quantiles(alpha_, n_records);
    for (std::size_t c = 0; c < n_records; ++c) {
      samples_.push_back(sums_ ? sample_of_sums(curve_, v_.bound.level, c, quantiles)
                               : sample_at(curve_, c, limit_, quantiles));
      allow_for_unseen(c);
      const Sample& sample = samples_.back();
      diverged_ = std::max(diverged_, sample.diverged);
      v_.empirical.push_back(sample.mean);
      v_.lower.push_back(sample.lower);
      v_.upper.push_back(sample.upper);
      if (before_sums(c)) continue;
      const double ratio = ratio_at(c);
      if (below_rounding(c)) {
        ++n_below_rounding_;
        if (n_below_rounding_ == 1) first_below_rounding_ = c;
        continue;
      }
      if (curve_.step[c] > 0) compared_after_start_ = true;
      v_.tightness = nan;
      if (std::isnan(ratio) || sample.finite == 0) continue;  // without paths the ratio is limit / bound: says nothing
      // At the start the ratio is 1 for every bound: it counts only while there is nothing else.
      const bool only_start = std::isnan(v_.worst_ratio) || v_.worst_step == 0;
      if (only_start || (curve_.step[c] > 0 && ratio > v_.worst_ratio)) {
        v_.worst_ratio = ratio;
        v_.worst_step = curve_.step[c];
      }
      v_.tightness = ratio;
    }
    if (n_below_rounding_ > 0 && !compared_after_start_) v_.tightness = nan;
  }

  /// Paths that all agree have no sampling error to speak of, but where chance is at work that only means that nothing
  /// rarer was seen: with probability 1 - a the values not seen have a probability of at most q = 1 - a^(1/n). As S >=
  /// 0, E S >= (1 - q) v. Above there is no limit in general; a sign method moves no coordinate by more than the sum
  /// of its steps t, so that S <= (sqrt S0 + sqrt(L d/2) t)^2 where f is L-smooth; its models have normal increments.
  /// (Paths of which some differ, on a lattice of few values say, are a matter of the skewness rule: k of n paths
  /// elsewhere have skewness sqrt(n/k), so that at a = 1% it takes k > 400 to be trusted.)
  void allow_for_unseen(std::size_t c) {
    Sample& s = samples_[c];
    if (s.error != 0.0 || curve_.step[c] == 0 || deterministic_) return;
    s.agree_by_chance = true;
    const double k = static_cast<double>(curve_.step.size());
    s.unseen = -std::expm1(std::log(alpha_) / s.n);
    s.lower = s.mean * std::exp(std::log(alpha_ / k) / s.n);
    if (sums_ || !signs_ || curve_.step.front() != 0 || c >= curve_.time.size()) return;
    const double smooth = constant("L"), dim = constant("d");
    if (!(smooth > 0.0 && dim > 0.0)) return;
    const double farthest = std::sqrt(samples_.front().mean) + std::sqrt(0.5 * smooth * dim) * curve_.time[c];
    s.largest = farthest * farthest;
    s.upper = s.mean + s.unseen * std::max(0.0, s.largest - s.mean);
  }

  double constant(const char* name) const {
    for (const auto& [key, value] : v_.bound.constants)
      if (key == name) return value;
    return nan;
  }

  /// The most that S can come out as when it is at most s: rounding moves sqrt(S), a norm of x - x*, by at most the
  /// root of its level.
  double with_rounding(double s) const {
    if (!(rounding_level() > 0.0)) return s;
    const double root = std::sqrt(s) + std::sqrt(rounding_level());
    return root * root;
  }
  /// The arithmetic decides here: the mean is below its level, or the bound is and the mean is no higher than rounding
  /// takes S from there.
  bool below_rounding(std::size_t c) const {
    const Sample& s = samples_[c];
    if (curve_.step[c] == 0 || s.diverged > 0) return false;
    const double level = rounding_level();
    return s.mean < level || (bound_at(c) < level && s.mean <= with_rounding(limit_at(c)));
  }
  /// Relative rounding of S of a noise-free float path: that of x and eta over k (sub)steps. That of eta changes S by
  /// eps log(S0/S), the roundings of x add up like a random walk.
  double slack(std::size_t c) const {
    const double start = samples_.front().mean, limit = limit_at(c);
    const double fall = start > 0.0 && limit > 0.0 ? std::max(1.0, std::log(start / limit)) : 1.0;
    return roundoff * (16.0 * fall + 2.0 * std::sqrt(static_cast<double>(curve_.step[c]) * substeps_));
  }

  double ratio_at(std::size_t c) const {
    const double mean = samples_[c].mean, bound = bound_at(c);
    if (mean == 0.0 && bound == 0.0) return 1.0;
    return mean / bound;
  }

  /// Reasons for which there is no verdict at all.
  bool refuse() {
    std::string failed;
    for (const auto& assumption : v_.bound.assumptions) {
      if (assumption.status != AssumptionStatus::failed) continue;
      failed += fmt::format("{}{} fails ({})", failed.empty() ? "" : "; ", assumption.name, assumption.detail);
    }
    if (!failed.empty()) {
      v_.reason = "not applicable: " + failed;
    } else if (curve_.mean_is == MeanIs::does_not_exist) {
      v_.reason = "not applicable: the mean does not exist" + because();
    } else if (curve_.variance_doubtful) {
      v_.reason = "not applicable: no limits can be put on the mean" + because();
    } else if (samples_.empty()) {
      v_.reason = "not applicable: the curve has no checkpoints";
    } else if (sums_ && curve_.step.back() == 0) {
      v_.reason = "not applicable: there is no checkpoint after a step";
    } else {
      for (std::size_t c = 0; c < samples_.size(); ++c) {
        if (before_sums(c) || !std::isnan(bound_at(c))) continue;
        v_.reason = fmt::format("not applicable: the theorem gives no number at step {}", curve_.step[c]);
        break;
      }
    }
    return !v_.reason.empty();
  }

  std::string because() const {
    return curve_.variance_reason.empty() ? std::string() : " (" + curve_.variance_reason + ")";
  }

  /// The two tests at one checkpoint.
  bool above(std::size_t c) const {
    const Sample& s = samples_[c];
    if (!s.usable || s.too_skewed(s.z_lower)) return false;
    if (below_rounding(c)) return false;
    const double limit = with_rounding(limit_at(c));
    return s.error > 0.0 ? s.lower > limit : s.lower > limit * (1.0 + slack(c));
  }
  bool below(std::size_t c) const {
    const Sample& s = samples_[c];
    if (!s.usable || s.diverged > 0 || s.too_skewed(s.z_upper)) return false;
    if (s.error > 0.0) return s.upper < limit_at(c);
    if (s.agree_by_chance) {
      if (s.largest < inf) return s.upper < limit_at(c);
      return s.unseen <= v_.config.margin && s.mean <= limit_at(c);
    }
    return s.mean <= with_rounding(limit_at(c)) * (1.0 + slack(c));
  }

  void decide() {
    std::size_t worst = samples_.size(), blocked = samples_.size();
    double worst_ratio = -inf;
    for (std::size_t c = 0; c < samples_.size(); ++c) {
      if (before_sums(c)) continue;
      if (above(c) && ratio_at(c) > worst_ratio) {
        worst = c;
        worst_ratio = ratio_at(c);
      }
      if (below_rounding(c)) continue;
      if (!below(c) && (blocked == samples_.size() || ratio_at(c) > ratio_at(blocked) || std::isnan(ratio_at(c)))) {
        blocked = c;
      }
    }
    if (worst < samples_.size()) {
      v_.verdict = Expectation::violated;
      explain_violated(worst);
    } else if (n_below_rounding_ > 0 && !compared_after_start_) {
      v_.verdict = Expectation::inconclusive;
      v_.reason = fmt::format(
          "inconclusive: after the start every number is below the rounding of the chosen precision (S < {:.3g})",
          curve_.rounding_level);
    } else if (blocked == samples_.size()) {
      v_.verdict = Expectation::holds;
      v_.reason = fmt::format(
          "at every checkpoint the {} upper limit is below the bound{}; at its largest (step "
          "{}) the mean is {} of it",
          confidence(), v_.config.margin > 0.0 ? fmt::format(" x {:g}", 1.0 + v_.config.margin) : "", v_.worst_step,
          percent(v_.worst_ratio));
      if (v_.worst_ratio > 1.0)
        v_.reason += v_.worst_ratio > 1.0 + v_.config.margin ? " (no more than rounding)" : " (within the margin)";
    } else {
      v_.verdict = Expectation::inconclusive;
      explain_inconclusive(blocked);
    }
  }

  std::string process_words() const {
    return v_.model ? fmt::format("this is the {} model", name_of(v_.model->kind)) : "the method";
  }

  void explain_violated(std::size_t c) {
    const Sample& s = samples_[c];
    const double bound = bound_at(c);
    const std::string excess = excess_words(s.mean, bound);
    const std::string numbers = fmt::format("violated at step {}: mean {:.4g} [{} limit {:.4g}]", curve_.step[c],
                                            s.mean, confidence(), s.lower);
    // The excess builds up on the way, so the regime that counts is the worst up to there.
    std::size_t farthest = 0;
    for (std::size_t i = 0; i <= c && i < curve_.regime.size(); ++i)
      if (curve_.regime[i] < curve_.regime[farthest]) farthest = i;
    const double regime = curve_.regime.empty() ? nan : curve_.regime[farthest];
    if (v_.bound.theorem == "B4" && regime < regime_reached) {
      v_.reason = fmt::format(
          "{} exceeds the bound {:.4g} by {}; Theorem 4 takes 2Xi(y) for l y, but the path is not in that linear "
          "regime (2Xi(Y)/(lY) = {:.2g} at step {})",
          numbers, bound, excess, regime, curve_.step[farthest]);
    } else if (!is_object(v_)) {
      v_.reason = fmt::format("{} is above the bound {:.4g}; the theorem speaks of the {}; {} it by {}", numbers, bound,
                              object_words(v_), process_words() + (v_.model ? ", which exceeds" : " exceeds"), excess);
    } else if (v_.model) {
      v_.reason = fmt::format(
          "{} exceeds the bound {:.4g} by {}; this is the theorem's own object, the {} SDE: what is left to check is "
          "its integrator, {} with {} substep{} a step",
          numbers, bound, excess, name_of(v_.model->kind), name_of(v_.model->integrator), v_.model->substeps,
          v_.model->substeps == 1 ? "" : "s");
    } else {
      v_.reason = fmt::format("{} exceeds the bound {:.4g} by {}", numbers, bound, excess);
    }
    if (const double noise = constant("noise of a step"); v_.bound.theorem == "B5" && !v_.model && noise > 0.0) {
      v_.reason += fmt::format(
          "; for the iterates it is right to second order in the step only, where theta sqrt((1 + omega)V/(B N)) L1/(K "
          "L0) = {:.3g} is small",
          noise);
    }
    if (std::isinf(v_.bound.predicted_excess)) {
      v_.reason += fmt::format("; on this isotropic quadratic the {} is not mean-square stable (Delta <= eta h/2)",
                               v_.model ? "model" : "method");
    } else if (v_.bound.predicted_excess > 0.0) {
      v_.reason += fmt::format(
          "; on an isotropic quadratic the stationary level{} exceeds it by the factor Delta/(Delta - eta "
          "h/2) = {:.4g} exactly",
          v_.model ? fmt::format(" of the {} SDE", name_of(v_.model->kind)) : "", v_.bound.predicted_excess);
    }
    if (s.diverged > 0) {
      v_.reason += fmt::format("; {} of {} paths diverged and count as S = {:g}", s.diverged, curve_.paths, limit_);
    }
  }

  void explain_inconclusive(std::size_t c) {
    const Sample& s = samples_[c];
    // With diverged paths the bound cannot hold, so more of them decide nothing.
    if (diverged_ == 0) v_.paths_to_decide = decisive_paths();
    if (sums_ && s.diverged > 0) {
      v_.reason = fmt::format(
          "inconclusive: {} of {} paths diverged by step {}, and what they would have summed up is not known: nothing "
          "follows from the others",
          s.diverged, curve_.paths, curve_.step[c]);
    } else if (s.diverged > 0 && !s.usable) {
      v_.reason =
          fmt::format("inconclusive: {} of {} paths diverged by step {}, only {} are left (at least {} are needed)",
                      s.diverged, curve_.paths, curve_.step[c], s.finite, fewest_paths);
    } else if (!s.usable) {
      v_.reason = fmt::format("inconclusive: only {} finite path{} at step {} (at least {} are needed)", s.finite,
                              s.finite == 1 ? "" : "s", curve_.step[c], fewest_paths);
    } else if (s.diverged > 0) {
      v_.reason = fmt::format(
          "inconclusive: {} of {} paths diverged by step {} and count as S = {:g}, too few to call the "
          "bound violated; with diverged paths it cannot hold",
          s.diverged, curve_.paths, curve_.step[c], limit_);
    } else if (!std::isfinite(s.error)) {
      v_.reason = fmt::format("inconclusive: there is no standard error at step {}", curve_.step[c]);
    } else if (s.agree_by_chance) {
      v_.reason = fmt::format(
          "inconclusive at step {}: mean {:.4g} against the bound {:.4g} x {:g}; all {:.0f} paths agree to the last "
          "digit; n is too small to exclude rarer values",
          curve_.step[c], s.mean, bound_at(c), 1.0 + v_.config.margin, s.n);
    } else if (s.lower > limit_at(c) && s.lower <= with_rounding(limit_at(c))) {
      v_.reason = fmt::format(
          "inconclusive at step {}: mean {:.4g} [{} limit {:.4g}] exceeds the bound {:.4g} by no more than the "
          "rounding "
          "of the arithmetic can (S < {:.3g} is rounding)",
          curve_.step[c], s.mean, confidence(), s.lower, bound_at(c), curve_.rounding_level);
    } else if (s.too_skewed(s.z_upper) || (s.mean > limit_at(c) && s.lower > limit_at(c))) {
      v_.reason = fmt::format(
          "inconclusive: {} at step {} is too skewed (skewness {:.3g}) for {:.0f} paths: its limits "
          "cannot be trusted",
          quantity_words(), curve_.step[c], s.skew, s.n);
    } else {
      v_.reason = fmt::format(
          "inconclusive at step {}: mean {:.4g} [{} limits {:.4g}, {:.4g}] against the bound {:.4g} x "
          "{:g}",
          curve_.step[c], s.mean, confidence(), s.lower, s.upper, bound_at(c), 1.0 + v_.config.margin);
    }
  }

  void note_rounding() {
    if (n_below_rounding_ == 0 || !compared_after_start_) return;
    const auto first = curve_.step[first_below_rounding_];
    v_.reason += first_below_rounding_ + n_below_rounding_ == samples_.size()
                     ? fmt::format("; from step {} on", first)
                     : fmt::format("; at {} checkpoint{} (first: step {})", n_below_rounding_,
                                   n_below_rounding_ == 1 ? "" : "s", first);
    v_.reason +=
        fmt::format(" the numbers are below the rounding of the arithmetic (S < {:.3g})", curve_.rounding_level);
  }

  /// Paths with which values not seen so far are rare enough, at a checkpoint where all paths agree. Infinite: none.
  double paths_to_exclude(std::size_t c) const {
    const Sample& s = samples_[c];
    const double gap = limit_at(c) - s.mean;
    if (gap < 0.0) return std::log(alpha_ / static_cast<double>(samples_.size())) / std::log(limit_at(c) / s.mean);
    const double q = s.largest < inf ? gap / (s.largest - s.mean) : v_.config.margin;
    return q > 0.0 ? -std::log(alpha_) / q : inf;
  }

  /// Paths with which the tests would decide if the means stayed where they are: violated at the easiest checkpoint
  /// whose mean is above its limit, else holds at the hardest. None when a mean lies on its limit: within a tenth of
  /// its standard error or a twentieth of the margin.
  std::optional<std::uint64_t> decisive_paths() const {
    double to_violate = inf, to_hold = 0.0;
    bool any_above = false;
    for (std::size_t c = 0; c < samples_.size(); ++c) {
      const Sample& s = samples_[c];
      if (before_sums(c)) continue;
      if (!std::isfinite(s.error)) return std::nullopt;
      if (below_rounding(c)) continue;
      if (s.agree_by_chance && !below(c)) {
        const double wanted = std::max(paths_to_exclude(c), double{fewest_paths});
        if (s.mean > limit_at(c)) {
          any_above = true;
          to_violate = std::min(to_violate, wanted);
        } else {
          to_hold = std::max(to_hold, wanted);
        }
        continue;
      }
      const double gap = limit_at(c) - s.mean;
      const bool undecidable =
          s.error > 0.0 && std::fabs(gap) <= std::max(0.1 * s.error, 0.05 * v_.config.margin * bound_at(c));
      if (gap < 0.0 && s.error > 0.0) {
        any_above = true;
        if (!undecidable) to_violate = std::min(to_violate, paths_needed(s, s.z_lower, gap));
      } else if (!below(c)) {
        if (undecidable) {
          to_hold = inf;
        } else {
          to_hold = std::max(to_hold, s.error > 0.0 ? paths_needed(s, s.z_upper, gap) : double{fewest_paths});
        }
      }
    }
    const double n = any_above ? to_violate : to_hold;
    if (!(n < 1e18)) return std::nullopt;
    // What is missing can be less than a path: then one more is.
    return static_cast<std::uint64_t>(std::max(std::ceil(n), static_cast<double>(curve_.paths) + 1.0));
  }

  const Curve& curve_;
  bool signs_, deterministic_;
  int substeps_;
  double limit_;
  bool sums_;
  double alpha_ = 0.01;
  std::uint64_t diverged_ = 0;
  std::size_t n_below_rounding_ = 0, first_below_rounding_ = 0;
  bool compared_after_start_ = false;
  std::vector<Sample> samples_;
  Verdict v_;
};

const char* outcome(Expectation verdict) {
  switch (verdict) {
    case Expectation::holds:
      return "holds";
    case Expectation::violated:
      return "is violated";
    case Expectation::inconclusive:
      return "is inconclusive";
    case Expectation::not_applicable:
      return "is not applicable";
  }
  return "";
}

}  // namespace

Verdict judge(const BoundConfig& config, const BoundValue& bound, const CurveConfig& curve_config, const Curve& curve,
              double limit) {
  return Judgement(config, bound, curve_config, curve, limit).run();
}

void cross_reference(std::vector<Verdict>& verdicts) {
  const auto method_of = [](const Verdict& v) { return v.model ? v.model->of : v.config.curve; };
  for (auto& verdict : verdicts) {
    if (verdict.verdict != Expectation::violated || is_object(verdict)) continue;
    // B3, B3p, B3c, B3d and B4, B4Y, B4d: the same theorem for what the curve is.
    for (const auto& other : verdicts) {
      if (other.config.curve == verdict.config.curve && is_object(other) &&
          other.bound.theorem.substr(0, 2) == verdict.bound.theorem.substr(0, 2))
        verdict.reason += fmt::format("; {} {}", other.bound.theorem, outcome(other.verdict));
    }
    // The theorem itself for what it speaks of.
    for (const auto& other : verdicts) {
      if (other.bound.theorem != verdict.bound.theorem || !is_object(other) || method_of(other) != method_of(verdict))
        continue;
      verdict.reason +=
          fmt::format("; {} {} for the {} '{}'", other.bound.theorem, outcome(other.verdict),
                      other.model ? fmt::format("{} model", name_of(other.model->kind)) : "method", other.config.curve);
    }
  }
}

}  // namespace pathbound
