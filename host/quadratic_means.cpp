// SPDX-License-Identifier: Apache-2.0
#include "host/quadratic_means.hpp"

#include <fmt/format.h>

#include <cmath>

#include "host/laws.hpp"
#include "kernels/portable.hpp"

namespace pathbound {

std::string no_quadratic_means(const CurveConfig& curve) {
  if (curve.method != MethodKind::dsgd && curve.method != MethodKind::dcsgd)
    return fmt::format("a step of {} is not linear in x and its noise", name_of(curve.method));
  switch (curve.compressor.kind) {
    case CompressorKind::identity:
    case CompressorKind::rand_k:
    case CompressorKind::rand_k_plain:
    case CompressorKind::bernoulli:
      break;
    case CompressorKind::qsgd:
    case CompressorKind::natural:
    case CompressorKind::top_k:
      return fmt::format("what the compressor {} does depends on the gradient", name_of(curve.compressor.kind));
  }
  if (curve.adaptive.kind != AdaptiveKind::none)
    return fmt::format("the adaptive factor {} makes the steps depend on x", name_of(curve.adaptive.kind));
  if (!curve.model || curve.model->integrator != IntegratorKind::weak2) return {};
  if (curve.compressor.kind != CompressorKind::identity || curve.noise.affine > 0.0)
    return "second moments of weak2 are not known where the noise depends on x";
  if (curve.schedule.kind == ScheduleKind::step)
    return "second moments of weak2 are not known where the step size jumps";
  return {};
}

namespace {

template <class R>
class Recursion {
 public:
  explicit Recursion(const SimSpec<R>& spec) : spec_(spec), variance_(noise_variance(spec.law)) {
    for (int j = 0; j < spec.objective.dim; ++j) {
      h_.push_back(spec.objective.h[j]);
      m_.push_back(static_cast<double>(spec.start[j]) * static_cast<double>(spec.start[j]));
    }
  }

  double mean() const {
    double sum = 0.0;
    for (std::size_t j = 0; j < h_.size(); ++j) sum += 0.5 * h_[j] * m_[j];
    return sum;
  }
  void advance(std::uint64_t k) {
    if (!spec_.is_model) return method(k);
    for (int i = 0; i < spec_.model.substeps; ++i) substep(k, i);
  }

 private:
  /// E |grad f|^2 / d
  double mean_square() const {
    double sum = 0.0;
    for (std::size_t j = 0; j < h_.size(); ++j) sum += h_[j] * h_[j] * m_[j];
    return sum / static_cast<double>(h_.size());
  }

  /// x_j' = x_j - (eta/N) sum_i c_i (h_j x_j + s_i zeta_i), c_i the compressor's factor of this coordinate: the number
  /// `value` with probability p, else 0.
  void method(std::uint64_t k) {
    const double n = spec_.n_workers;
    const double eta = -static_cast<double>(static_cast<R>(-(step_size(k) / n))) * n;
    const double affine = spec_.affine ? mean_square() : 0.0;
    double first = 0.0, spread = 0.0, noise = 0.0;
    for (int i = 0; i < spec_.n_workers; ++i) {
      const WorkerSpec<R>& worker = spec_.workers[i];
      const double value = worker.inverse_keep;
      double p = 1.0;
      if (spec_.compressor == CompressorKind::rand_k) p = static_cast<double>(worker.keep) / spec_.objective.dim;
      if (spec_.compressor == CompressorKind::bernoulli) p = (worker.keep_below + 1.0) * 0x1p-32;
      const double s = worker.scale, s2 = spec_.affine ? worker.scale_sq + worker.affine_sq * affine : s * s;
      first += p * value / n;
      spread += p * (1.0 - p) * value * value / (n * n);
      noise += s2 > 0.0 ? p * value * value * s2 * variance_ / (n * n) : 0.0;
    }
    for (std::size_t j = 0; j < h_.size(); ++j) {
      const double z = eta * h_[j], kept = 1.0 - z * first;
      m_[j] = m_[j] * (kept * kept + z * z * spread) + eta * eta * noise;
    }
  }

  /// kernels/model.hpp: ModelStep::advance on f' = h x, f'' = h.
  void substep(std::uint64_t k, int i) {
    const ModelSpec<R>& model = spec_.model;
    const double n = model.substeps, workers = spec_.n_workers, begin = static_cast<double>(k) + i / n;
    const double eta = static_cast<R>(step_size(begin));
    const double affine = static_cast<double>(model.affine) * (spec_.affine ? mean_square() : 0.0);
    const double noise = static_cast<double>(model.noise) + affine;  // of Q_jj, but for what is a multiple of v_j^2
    const double square = static_cast<double>(model.square) - static_cast<double>(model.rank_one);
    switch (model.integrator) {
      case IntegratorKind::euler_maruyama:
        for (std::size_t j = 0; j < h_.size(); ++j) {
          const double kept = 1.0 + drift(h_[j], begin), z = eta * h_[j];
          m_[j] = m_[j] * (kept * kept + z * z * square / (workers * n)) + eta * eta * noise / (workers * n);
        }
        return;
      case IntegratorKind::weak2: {
        const double middle = static_cast<R>(step_size(begin + 0.5 / n));
        for (std::size_t j = 0; j < h_.size(); ++j) {
          const double b0 = drift(h_[j], begin), half = 0.5 * drift(h_[j], begin + 1.0 / n);
          const double kept = 1.0 + 0.5 * b0 + half * (1.0 + b0), spread = middle * (1.0 + half);
          m_[j] = m_[j] * kept * kept + spread * spread * noise / (workers * n);
        }
        return;
      }
      case IntegratorKind::moment:
        // The noise's s is that of the step's beginning.
        if (i == 0) kept_noise_ = noise;
        for (std::size_t j = 0; j < h_.size(); ++j) {
          const double z = eta * h_[j], omega = static_cast<double>(model.omega) / workers;
          const double off = z * (-2.0 + z * (1.0 + omega));         // A - 1
          const double all = (1.0 - z) * (1.0 - z) + z * z * omega;  // A
          const double log_all = off < -0.5 ? std::log(all) : std::log1p(off);
          const double grown = all > 0.0 ? std::expm1(log_all / n) : -1.0;  // A^(1/n) - 1
          const double part = std::fabs(off) < 1e-12 ? 1.0 / n : grown / off;
          m_[j] = m_[j] * (1.0 + grown) + eta * eta * (kept_noise_ / workers) * part;
        }
        return;
    }
  }
  /// The drift over a substep by x, at that time.
  double drift(double h, double time) const {
    const double eta = static_cast<R>(step_size(time)), n = spec_.model.substeps;
    double direct = eta, bent = 0.0;
    if (spec_.model.kind == ModelKind::second_order) {
      direct -= 0.5 * portable::step_size_slope(spec_.schedule, spec_.eta, time);
      bent = 0.5 * eta * eta;
    } else if (spec_.model.kind == ModelKind::curvature) {
      bent = -0.5 * eta * eta;
    }
    return -(direct * h + bent * h * h) / n;
  }
  double step_size(double time) const { return portable::step_size(spec_.schedule, spec_.eta, time); }
  double step_size(std::uint64_t k) const { return step_size(static_cast<double>(k)); }

  const SimSpec<R>& spec_;
  double variance_, kept_noise_ = 0.0;
  std::vector<double> h_, m_;
};

}  // namespace

template <class R>
std::vector<double> quadratic_means(const SimSpec<R>& spec) {
  Recursion<R> recursion(spec);
  std::vector<double> means;
  int next = 0;
  for (std::uint64_t k = 0; next < spec.n_checkpoints; ++k) {
    if (k == spec.checkpoint_steps[next]) {
      means.push_back(recursion.mean());
      if (++next == spec.n_checkpoints) break;
    }
    recursion.advance(k);
  }
  return means;
}
template std::vector<double> quadratic_means<float>(const SimSpec<float>&);
template std::vector<double> quadratic_means<double>(const SimSpec<double>&);

}  // namespace pathbound
