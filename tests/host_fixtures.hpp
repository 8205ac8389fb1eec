// SPDX-License-Identifier: Apache-2.0
// Small experiments built in code, and curves as a perfect simulation would return them.
#pragma once
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "host/bounds.hpp"
#include "host/curve.hpp"
#include "host/experiment.hpp"
#include "host/objective.hpp"
#include "host/step_size.hpp"

namespace pathbound::fixtures {

inline ObjectiveConfig quadratic(std::vector<double> h, double start = 1.0) {
  ObjectiveConfig config;
  config.kind = ObjectiveKind::quadratic;
  config.dim = static_cast<int>(h.size());
  config.start.assign(h.size(), start);
  config.eigenvalues = std::move(h);
  return config;
}

inline ObjectiveConfig simple(ObjectiveKind kind, std::vector<double> start) {
  ObjectiveConfig config;
  config.kind = kind;
  config.dim = static_cast<int>(start.size());
  config.start = std::move(start);
  return config;
}

/// N equal workers with Gaussian noise, a constant step, records at 0, 1, .., steps (or every `stride`).
inline CurveConfig method(MethodKind kind, double eta, int n_workers, double sigma, std::uint64_t steps = 100,
                          std::uint64_t stride = 1, double batch = 1.0) {
  CurveConfig curve;
  curve.name = "curve";
  curve.method = kind;
  curve.eta = eta;
  curve.noise.scale = sigma;
  curve.workers.count = n_workers;
  curve.workers.scale.assign(static_cast<std::size_t>(n_workers), sigma);
  curve.workers.batch.assign(static_cast<std::size_t>(n_workers), batch);
  curve.paths = 1024;
  curve.steps = steps;
  for (std::uint64_t k = 0; k <= steps; k += stride) curve.checkpoint_steps.push_back(k);
  return curve;
}

/// The same curve as a model of curve `of`.
inline CurveConfig model(CurveConfig curve, ModelKind kind, int substeps = 1, const std::string& of = "method") {
  const auto integrator = kind == ModelKind::hessian_aware ? IntegratorKind::moment : IntegratorKind::euler_maruyama;
  curve.model = ModelConfig{kind, integrator, substeps, of};
  return curve;
}

inline void set_rand_k(CurveConfig& curve, int k) {
  curve.compressor.kind = CompressorKind::rand_k;
  curve.compressor.k = k;
  curve.workers.k.assign(static_cast<std::size_t>(curve.workers.count), k);
}

/// A curve with the config's steps and times, `gradient` as the largest gradient and no statistics.
inline Curve empty_curve(const CurveConfig& config, double gradient = 0.0) {
  Curve curve;
  curve.name = config.name;
  curve.paths = config.paths;
  curve.step = config.checkpoint_steps;
  double t = 0.0;
  std::uint64_t k = 0;
  for (const auto stop : curve.step) {
    for (; k < stop; ++k) t += prescribed_step(config, k);
    curve.time.push_back(is_constant(config.schedule) ? static_cast<double>(stop) * config.eta : t);
  }
  const std::size_t n = curve.step.size();
  curve.finite.assign(n, config.paths);
  for (auto* v : {&curve.mean, &curve.standard_error, &curve.lower, &curve.upper, &curve.min, &curve.max,
                  &curve.grad_norm, &curve.regime, &curve.variance, &curve.skew}) {
    v->assign(n, 0.0);
  }
  curve.max_grad.assign(n, gradient);
  curve.max_grad_so_far.assign(n, gradient);
  return curve;
}

inline double constant(const BoundValue& bound, const std::string& name) {
  for (const auto& [key, value] : bound.constants) {
    if (key == name) return value;
  }
  return std::nan("");
}

inline const Assumption* assumption(const BoundValue& bound, const std::string& name) {
  for (const auto& a : bound.assumptions) {
    if (a.name == name) return &a;
  }
  return nullptr;
}

inline bool failed(const BoundValue& bound, const std::string& name) {
  const auto* a = assumption(bound, name);
  return a != nullptr && a->status == AssumptionStatus::failed;
}

}  // namespace pathbound::fixtures
