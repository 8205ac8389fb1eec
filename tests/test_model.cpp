// SPDX-License-Identifier: Apache-2.0
// kernels/model.hpp: one substep of every model, on plain arrays, against generic matrices in long double. Nothing here
// is random but ModelCovariance, whose false-alarm rate stands there.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <Eigen/Dense>
#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "host/engine.hpp"
#include "kernels/compressors.hpp"
#include "kernels/model.hpp"
#include "tests/stat_assert.hpp"

namespace pathbound {
namespace {

using Wide = long double;
using Vec = Eigen::Matrix<Wide, Eigen::Dynamic, 1>;
using Mat = Eigen::Matrix<Wide, Eigen::Dynamic, Eigen::Dynamic>;
using Index = Eigen::Index;

// ---------------------------------------------------------------- the step under test

/// A Space of plain arrays. Working memory begins as NaN, so that nothing is read before it was written, and the Space
/// checks what model.hpp promises it: Hessians at the point of the last gradient, outputs of their own.
template <class R>
class PlainSpace {
 public:
  using Real = R;
  using Vector = R*;
  explicit PlainSpace(const SimSpec<R>& spec)
      : spec_(spec),
        slots_(static_cast<std::size_t>(model_slots(spec.model)),
               std::vector<R>(size(spec.objective.dim), std::numeric_limits<R>::quiet_NaN())),
        scratch_(size(spec.objective.n_rows)),
        products_(size(spec.objective.n_rows)) {}

  template <ModelSlot slot>
  Vector vector() {
    const auto i = static_cast<std::size_t>(slot);
    return i < slots_.size() ? slots_[i].data() : nullptr;
  }
  template <class Use>
  void each(Use&& use) const {
    for (int j = 0; j < spec_.objective.dim; ++j) use(j, j);
  }
  R get(const Vector& v, int i) const { return v[i]; }
  void set(const Vector& v, int i, R value) const { v[i] = value; }
  template <class Term>
  R sum(Term&& term) const {
    return tree_sum<R>(spec_.objective.dim, [&](int j) { return term(j, j); });
  }
  template <class Term>
  R largest(Term&& term) const {
    R largest = R(0);
    each([&](int i, int j) { largest = std::max(largest, term(i, j)); });
    return largest;
  }
  void gradient(const Vector& x, const Vector& g) {
    EXPECT_NE(x, g);
    at_.assign(x, x + spec_.objective.dim);
    pathbound::gradient<R>(spec_.objective, x, 1, g, scratch_.data());
  }
  void hessian_times(const Vector& x, const Vector& u, const Vector& out) {
    EXPECT_TRUE(at_ == std::vector<R>(x, x + spec_.objective.dim));
    EXPECT_TRUE(out != x && out != u);
    hessian_product<R>(spec_.objective, x, u, 1, out, scratch_.data(), products_.data());
  }
  void hessian_diagonal(const Vector& x, const Vector& out) {
    EXPECT_TRUE(at_ == std::vector<R>(x, x + spec_.objective.dim));
    EXPECT_NE(x, out);
    pathbound::hessian_diagonal<R>(spec_.objective, x, 1, out, scratch_.data());
  }
  void track(const Vector&, const Vector& g, R) { tracked.assign(g, g + spec_.objective.dim); }

  std::vector<R> tracked;  ///< the gradient last handed to track()

 private:
  static std::size_t size(int n) { return static_cast<std::size_t>(n); }
  const SimSpec<R>& spec_;
  std::vector<std::vector<R>> slots_;
  std::vector<R> scratch_, products_, at_;
};

/// What a test writes into the experiment file: a method and a model of it.
struct Setting {
  std::string objective, noise, workers, method;
  std::string model = "first_order", integrator = "euler_maruyama";
  int substeps = 1;
  std::string name() const { return objective + "\n" + noise + "\n" + workers + "\n" + method + "\n" + model; }
  std::string text(bool single) const {
    return std::string("precision = \"") + (single ? "float" : "double") + "\"\npaths = 1\nsteps = 1\n[objective]\n" +
           objective + "\n[noise]\n" + noise + "\n[workers]\n" + workers + "\n[[curve]]\nname = \"a\"\n" + method +
           "\n[[curve]]\nname = \"b\"\nof = \"a\"\nmodel = \"" + model + "\"\nintegrator = \"" + integrator +
           "\"\nsubsteps = " + std::to_string(substeps) + "\n";
  }
};

template <class R>
struct Model {
  explicit Model(const Setting& setting)
      : experiment(parse_experiment(setting.text(sizeof(R) == 4), "test.toml")),
        objective(experiment.objective),
        curve(experiment, experiment.curves.back(), objective),
        spec(curve.spec) {}
  /// x after substep i of step k.
  Vec advance(const Vec& x, const Vec& increment, const Vec& signs, std::uint64_t k = 0, int i = 0) const {
    std::vector<R> at = narrow(x), w = narrow(increment), e = narrow(signs);
    PlainSpace<R> space(spec);
    ModelStep<PlainSpace<R>>(spec, space).advance(at.data(), w.data(), e.data(), k, i);
    Vec out(x.size());
    for (Index j = 0; j < x.size(); ++j) out[j] = at[static_cast<std::size_t>(j)];
    return out;
  }
  Vec advance(const Vec& x, const Vec& increment, std::uint64_t k = 0, int i = 0) const {
    return advance(x, increment, Vec::Ones(x.size()), k, i);
  }
  static std::vector<R> narrow(const Vec& v) {
    std::vector<R> out;
    for (Index j = 0; j < v.size(); ++j) out.push_back(static_cast<R>(v[j]));
    return out;
  }
  /// x as the R it becomes.
  static Vec rounded(Vec x) {
    for (Index j = 0; j < x.size(); ++j) x[j] = static_cast<R>(x[j]);
    return x;
  }
  const CurveConfig& config() const { return experiment.curves.back(); }
  Experiment experiment;
  Objective objective;
  CurveSpec<R> curve;
  SimSpec<R> spec;
};

// ---------------------------------------------------------------- what it must be

/// Theory sections 1 to 3 in long double, from the experiment alone.
struct Truth {
  template <class R>
  explicit Truth(const Model<R>& model)
      : config(model.config()), noise(config.noise), f(model.objective.template spec<double>()) {}
  const CurveConfig& config;
  const NoiseConfig& noise;
  ObjectiveSpec<double> f;

  int dim() const { return f.dim; }
  int workers() const { return config.workers.count; }
  bool signs() const { return config.method == MethodKind::dsignsgd; }

  Vec gradient(const Vec& x) const {
    Vec g(dim());
    if (f.kind == ObjectiveKind::least_squares) {
      for (int i = 0; i < dim(); ++i) {
        g[i] = 0;
        for (int j = 0; j < dim(); ++j) g[i] += f.gram[i * dim() + j] * (x[j] - f.x_star[j]);
      }
      return g;
    }
    if (f.kind == ObjectiveKind::logistic) {
      g = static_cast<Wide>(f.lam) * x;
      const auto row = [&](int r) {
        Vec a(dim());
        for (int j = 0; j < dim(); ++j) a[j] = f.rows[r * dim() + j];
        return a;
      };
      for (int r = 0; r < f.n_rows; ++r) g -= row(r) / ((1 + std::exp(row(r).dot(x))) * f.n_rows);
      return g;
    }
    for (int j = 0; j < dim(); ++j) {
      switch (f.kind) {
        case ObjectiveKind::quartic:
          g[j] = x[j] * x[j] * x[j];
          break;
        case ObjectiveKind::cosh:
          g[j] = std::sinh(x[j]);
          break;
        case ObjectiveKind::sine_pl:
          g[j] = 2 * x[j] + 3 * std::sin(2 * x[j]);
          break;
        case ObjectiveKind::saddle:
          g[j] = f.h[j] * x[j] + f.lam * x[j] * x[j] * x[j];
          break;
        default:
          g[j] = f.h[j] * x[j];
      }
    }
    return g;
  }
  /// s_i(x).
  Wide scale(int i, const Vec& v) const {
    const auto at = static_cast<std::size_t>(i);
    const Wide sigma = config.workers.scale[at], rho = noise.affine;
    return std::sqrt((sigma * sigma + rho * rho * v.squaredNorm() / dim()) /
                     static_cast<Wide>(config.workers.batch[at]));
  }
  Wide cdf(Wide y) const {
    if (noise.law.kind == LawKind::gaussian) return boost::math::cdf(boost::math::normal_distribution<Wide>(), y);
    return boost::math::cdf(boost::math::students_t_distribution<Wide>(noise.law.nu), y);
  }
  /// E sign(v + s zeta).
  Wide mean_sign(Wide v, Wide s) const {
    if (s == 0) return v > 0 ? 1 : v < 0 ? -1 : 0;
    return cdf(v / s) - cdf(-v / s);
  }
  Vec mean(const Vec& x) const {
    const Vec v = gradient(x);
    if (!signs()) return v;
    Vec m = Vec::Zero(dim());
    for (int i = 0; i < workers(); ++i)
      for (int j = 0; j < dim(); ++j) m[j] += mean_sign(v[j], scale(i, v)) / workers();
    return m;
  }
  /// How likely a coordinate is kept: 1/(1 + omega_i).
  Wide kept(int i) const {
    if (config.compressor.kind == CompressorKind::bernoulli) return config.compressor.p;
    if (config.compressor.kind == CompressorKind::rand_k)
      return static_cast<Wide>(config.workers.k[static_cast<std::size_t>(i)]) / dim();
    return 1;
  }
  /// How likely two coordinates are kept together.
  Wide pair(int i) const {
    const Wide p = kept(i);
    if (config.compressor.kind == CompressorKind::rand_k)
      return p * (config.workers.k[static_cast<std::size_t>(i)] - 1) / (dim() - 1);
    return p * p;
  }
  /// The mean over the workers of the covariance of what each sends, from the probabilities of being kept.
  Mat covariance(const Vec& x) const {
    const Vec v = gradient(x);
    Mat q = Mat::Zero(dim(), dim());
    const Wide variance = noise.law.kind == LawKind::gaussian ? 1 : noise.law.nu / (noise.law.nu - 2);
    for (int i = 0; i < workers(); ++i) {
      const Wide s = scale(i, v);
      if (signs()) {
        for (int j = 0; j < dim(); ++j) {
          const Wide m = mean_sign(v[j], s);
          if (s > 0 || v[j] != 0) q(j, j) += 1 - m * m;
        }
        continue;
      }
      const Wide p = kept(i);
      for (int a = 0; a < dim(); ++a) {
        for (int b = 0; b < dim(); ++b) {
          const Wide square = v[a] * v[b] + (a == b && s > 0 ? s * s * variance : 0);
          q(a, b) += (a == b ? p : pair(i)) / (p * p) * square - v[a] * v[b];
        }
      }
    }
    return q / workers();
  }
  Wide rank_one() const {  // c
    if (config.compressor.kind != CompressorKind::rand_k || dim() == 1) return 0;
    Wide c = 0;
    for (const int k : config.workers.k) c += static_cast<Wide>(dim() - k) / (static_cast<Wide>(k) * (dim() - 1));
    return c / workers();
  }
  /// D^(1/2) (I - b u u^T).
  Mat root(const Vec& x) const {
    const Vec v = gradient(x);
    const Mat q = covariance(x);
    const Wide c = rank_one();
    Vec half(dim()), u = Vec::Zero(dim());
    for (int j = 0; j < dim(); ++j) {
      half[j] = std::sqrt(std::max<Wide>(0, q(j, j) + c * v[j] * v[j]));
      if (c > 0 && half[j] > 0) u[j] = v[j] / half[j];
    }
    const Wide b = c / (1 + std::sqrt(std::max<Wide>(0, 1 - c * u.squaredNorm())));
    return half.asDiagonal() * (Mat::Identity(dim(), dim()) - b * u * u.transpose());
  }
  /// The derivative of g along y, to about 1e-15.
  template <class G>
  static auto derivative(G&& g, const Vec& x, const Vec& y) {
    const Wide h = 3e-4L / std::max<Wide>(1e-30L, y.norm());
    using Out = std::decay_t<decltype(g(x).eval())>;
    const Out one = g((x + h * y).eval()) - g((x - h * y).eval()),
              two = g((x + 2 * h * y).eval()) - g((x - 2 * h * y).eval()),
              three = g((x + 3 * h * y).eval()) - g((x - 3 * h * y).eval());
    return Out((45 * one - 9 * two + three) / (60 * h));
  }
  /// J m.
  Vec bend(const Vec& x) const {
    return derivative([&](const Vec& y) { return mean(y); }, x, mean(x));
  }
  /// eta s(t) and its derivative by t/eta, without and with the warm-up; the jumps of `step` at whole k.
  std::pair<Wide, Wide> cold(Wide k) const {
    const ScheduleSpec& s = config.schedule;
    const Wide eta = config.eta, pi = std::acos(Wide(-1));
    switch (s.kind) {
      case ScheduleKind::constant:
        break;
      case ScheduleKind::polynomial: {
        const Wide k0 = s.k0, p = s.p;
        return {eta * std::pow(1 + k / k0, -p), -eta * p / k0 * std::pow(1 + k / k0, -p - 1)};
      }
      case ScheduleKind::exponential: {
        const Wide rate = s.rate;
        return {eta * std::exp(-rate * k), -rate * eta * std::exp(-rate * k)};
      }
      case ScheduleKind::step:
        return {eta * std::pow(static_cast<Wide>(s.factor), std::floor(std::floor(k) / static_cast<Wide>(s.every))), 0};
      case ScheduleKind::cosine: {
        const Wide turn = pi / static_cast<Wide>(s.steps);
        return {eta * (1 + std::cos(turn * k)) / 2, -eta * turn / 2 * std::sin(turn * k)};
      }
    }
    return {eta, 0};
  }
  Wide eta(Wide k) const {
    const Wide warmup = config.schedule.warmup;
    return cold(k).first * (warmup > 0 ? std::min<Wide>(1, (k + 1) / warmup) : 1);
  }
  Wide eta_slope(Wide k) const {
    const auto [value, slope] = cold(k);
    const Wide warmup = config.schedule.warmup;
    return k + 1 < warmup ? slope * (k + 1) / warmup + value / warmup : slope;
  }
  /// K = 1 + (omega + (1 + omega) rho^2 Var zeta/B)/N, means over the workers.
  Wide second_moment() const {
    const Wide variance = noise.law.kind == LawKind::gaussian ? 1 : noise.law.nu / (noise.law.nu - 2);
    Wide sum = 0;
    for (int i = 0; i < workers(); ++i) {
      sum += 1 / kept(i) - 1;
      if (noise.affine > 0)
        sum += static_cast<Wide>(noise.affine) * noise.affine * variance /
               (kept(i) * static_cast<Wide>(config.workers.batch[static_cast<std::size_t>(i)]));
    }
    return 1 + sum / (static_cast<Wide>(workers()) * workers());
  }
  /// a(x).
  Wide factor(const Vec& x) const {
    const AdaptiveConfig& adaptive = config.adaptive;
    const Wide theta = adaptive.theta;
    switch (adaptive.kind) {
      case AdaptiveKind::none:
        break;
      case AdaptiveKind::gradient_norm:
        return std::pow(1 + gradient(x).norm() / static_cast<Wide>(adaptive.c), -static_cast<Wide>(adaptive.q));
      case AdaptiveKind::l0l1:
        return theta / (second_moment() * config.eta *
                        (static_cast<Wide>(*adaptive.L0) + static_cast<Wide>(*adaptive.L1) * gradient(x).norm()));
      case AdaptiveKind::hessian_norm: {
        Mat hessian(dim(), dim());
        for (int j = 0; j < dim(); ++j)
          hessian.col(j) = derivative([&](const Vec& y) { return gradient(y); }, x, Vec(Vec::Unit(dim(), j)));
        const Wide size = Eigen::SelfAdjointEigenSolver<Mat>(hessian).eigenvalues().cwiseAbs().maxCoeff();
        return std::min<Wide>(1, theta / (second_moment() * config.eta * size));
      }
    }
    return 1;
  }
  /// The drift over a whole step at time k: with n = s(t) a(x) m, -(n + (eta/2)(J_n n - d_t n)) and the like.
  Vec drift(const Vec& x, Wide k) const {
    const Wide a = factor(x), w = a * eta(k);
    if (config.model->kind == ModelKind::curvature) return -w * mean(x) + w * w / 2 * bend(x);
    if (config.model->kind == ModelKind::first_order) return -w * mean(x);
    if (config.adaptive.kind == AdaptiveKind::none) return -(w - eta_slope(k) / 2) * mean(x) - w * w / 2 * bend(x);
    const auto n = [&](const Vec& y) -> Vec { return eta(k) * factor(y) * mean(y); };
    return -n(x) - derivative(n, x, n(x)) / 2 + eta_slope(k) * a / 2 * mean(x);
  }
  Mat diffusion(const Vec& x, Wide k) const {
    return factor(x) * eta(k) / std::sqrt(static_cast<Wide>(workers())) * root(x);
  }

  Vec euler(const Vec& x, const Vec& w, Wide k) const {
    return x + drift(x, k) / config.model->substeps + diffusion(x, k) * w;
  }
  /// The scheme of ModelStep::advance with matrices; `delta` as there.
  Vec weak2(const Vec& x, const Vec& w, const Vec& two_point, Wide k, Wide delta) const {
    const int n = config.model->substeps;
    const Wide root2 = std::sqrt(Wide(2)), middle = k + Wide(0.5) / n, end = k + Wide(1) / n;
    const Vec e = two_point / std::sqrt(static_cast<Wide>(n));
    const auto along = [&](const Vec& y) -> Mat {
      return (diffusion(x + delta * y, k) - diffusion(x - delta * y, k)) / (2 * delta);
    };
    bool additive = !signs() && noise.affine == 0;
    for (int i = 0; i < workers(); ++i) additive = additive && kept(i) == 1;
    const bool separable = f.kind != ObjectiveKind::least_squares && f.kind != ObjectiveKind::logistic;
    const Vec b = drift(x, k) / n, gw = diffusion(x, additive ? middle : k) * w, ge = diffusion(x, k) * e;
    Vec out = x + (b + drift(x + b + gw, end) / n) / 2;
    out += (diffusion(x + b / 2 + ge / root2, middle) + diffusion(x + b / 2 - ge / root2, middle)) * w / 2;
    if (additive) return out;
    out += along(gw) * w / 2;
    for (int r = 0; r < dim(); ++r) {
      const auto column = [&](const Vec& y) -> Vec { return diffusion(y, k).col(r); };
      out -= derivative(column, x, column(x)) / (2 * n);
    }
    // Where every coordinate has noise that depends on itself alone the two are equal, but for the differences' error.
    const bool separate = separable && noise.affine == 0 && rank_one() == 0;
    return separate ? out : Vec(out + (along(gw) * e - along(ge) * w) / (2 * root2));
  }
  /// hessian_aware, in the letters of theory section 3; h is dm/dx.
  Vec moment(const Vec& x, const Vec& w, Wide k) const {
    const Vec v = gradient(x), m = mean(x);
    const int n = config.model->substeps;
    const Wide w_eta = eta(k) * factor(x);
    Wide omega = 0, q = 0;
    const Wide variance = noise.law.kind == LawKind::gaussian ? 1 : noise.law.nu / (noise.law.nu - 2);
    Vec out = x;
    for (int j = 0; j < dim(); ++j) {
      Vec unit = Vec::Zero(dim());
      unit[j] = 1;
      const Wide h = derivative([&](const Vec&y) { return mean(y); }, x, unit)[j], z = w_eta * h;
      omega = q = 0;
      if (signs()) {
        q = covariance(x)(j, j) / workers();
      } else {
        for (int i = 0; i < workers(); ++i) {
          omega += (1 / kept(i) - 1) / (workers() * workers());
          q += scale(i, v) * scale(i, v) * variance / (kept(i) * workers() * workers());
        }
      }
      const Wide a = (1 - z) * (1 - z) + z * z * omega, r = std::pow(a, Wide(1) / n),
                 u = std::pow(std::fabs(1 - z), Wide(1) / n);
      Wide spread = w_eta * w_eta * q * (r - 1) / (a - 1);
      if (omega > 0) spread += (r - u * u) * (m[j] / h) * (m[j] / h);
      out[j] += -(1 - u) * m[j] / h + std::sqrt(spread * n) * w[j];
    }
    return out;
  }
};

template <class R>
class ModelStepOf : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(ModelStepOf, Precisions);

/// Roundings of a coordinate in the largest number around; what was seen is below a third of it.
template <class R>
constexpr Wide rounding(int n) {
  return static_cast<Wide>(std::numeric_limits<R>::epsilon()) * n;
}

void expect_close(const Vec& got, const Vec& want, Wide tolerance) {
  for (Index j = 0; j < got.size(); ++j)
    EXPECT_LE(std::fabs(got[j] - want[j]), tolerance) << "coordinate " << j << ": " << got[j] << " against " << want[j];
}

const std::string dsgd = "method = \"dsgd\"\n";
const std::string sign = "method = \"dsignsgd\"\n";
std::string eta_is(double eta) { return fmt::format("eta = {}\n", eta); }
std::string rand_k(int k) {
  return "method = \"dcsgd\"\ncompressor = { kind = \"rand_k\", k = " + std::to_string(k) + " }\n";
}
const std::string bernoulli = "method = \"dcsgd\"\ncompressor = { kind = \"bernoulli\", p = 0.3 }\n";
const std::string polynomial = "schedule = { kind = \"polynomial\", k0 = 3.0, p = 0.6 }\n";
/// Every adaptive factor; what it is at a point is of order 1 for eta = 0.3.
const std::vector<std::string>& factors() {
  static const std::vector<std::string> all = {"adaptive = { kind = \"gradient_norm\", c = 0.7, q = 1.5 }\n",
                                               "adaptive = { kind = \"gradient_norm\", c = 20.0, q = 0.4 }\n",
                                               "adaptive = { kind = \"l0l1\", theta = 0.9, L0 = 1.3, L1 = 0.6 }\n",
                                               "adaptive = { kind = \"hessian_norm\", theta = 0.2 }\n",
                                               "adaptive = { kind = \"hessian_norm\", theta = 50.0 }\n"};
  return all;
}
bool is_of_hessian(const std::string& factor) { return factor.find("hessian_norm") != std::string::npos; }
std::string quadratic(int d) {
  return "kind = \"quadratic\"\ndim = " + std::to_string(d) +
         "\nspectrum = { kind = \"linear\", min = " + (d == 1 ? "1.5" : "0.5") + ", max = 1.5 }";
}
std::string of_dim(const std::string& kind, int d) { return "kind = \"" + kind + "\"\ndim = " + std::to_string(d); }
std::string t_law(const std::string& nu) { return "law = \"student_t\"\nnu = " + nu; }

/// Every objective, separable and not.
std::vector<std::string> objectives(int d) {
  std::string eigenvalues;
  for (int j = 0; j < d; ++j) eigenvalues += (j > 0 ? ", " : "") + std::to_string(j % 2 == 0 ? -1.0 - 0.1 * j : 0.5);
  return {quadratic(d),
          of_dim("quartic", d),
          of_dim("cosh", d),
          of_dim("sine_pl", d),
          of_dim("saddle", d) + "\neigenvalues = [" + eigenvalues + "]\nlam = 0.8",
          of_dim("least_squares", d) + "\nrows = 19\ncondition = " + (d == 1 ? "1.0" : "5.0"),
          of_dim("logistic", d) + "\nrows = 17\nlam = 0.1"};
}

Vec point(int d, unsigned seed, bool zeros = false) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(-1.5, 1.5);
  Vec x(d);
  for (int j = 0; j < d; ++j) x[j] = uniform(random);
  if (zeros)
    for (int j = 0; j < d; j += 2) x[j] = 0;
  return x;
}

// ---------------------------------------------------------------- covariances

/// The columns of the diffusion, from increments e_j of an Euler step of length 1.
template <class R>
Mat columns(const Model<R>& model, const Vec& x) {
  const Index d = x.size();
  const Vec rest = model.advance(x, Vec::Zero(d));
  Mat g(d, d);
  for (Index j = 0; j < d; ++j) g.col(j) = model.advance(x, Vec::Unit(d, j)) - rest;
  return g;
}

template <class R>
void expect_covariance(const Setting& setting, bool zeros) {
  const Model<R> model(setting);
  const Truth truth(model);
  const Vec x = Model<R>::rounded(point(truth.dim(), 5, zeros));
  const Mat g = columns(model, x) * std::sqrt(static_cast<Wide>(truth.workers())), want = truth.covariance(x);
  const Mat got = g * g.transpose();
  const Wide size = std::max<Wide>(1, std::sqrt(want.cwiseAbs().maxCoeff()));
  // A column carries roundings of x + step + noise; a product of two rows up to d of them.
  const Wide tolerance = rounding<R>(16) * size * size * std::sqrt(static_cast<Wide>(truth.dim()));
  EXPECT_LE((got - want).cwiseAbs().maxCoeff(), tolerance) << setting.name() << (zeros ? "\nzeros" : "");
}

std::vector<Setting> covariance_settings() {
  std::vector<Setting> all;
  const std::vector<std::string> noises = {"scale = 0.7", "scale = 0.0", "scale = 0.5\naffine = 0.8",
                                           "scale = 0.6\n" + t_law("5.0")};
  for (const int d : {1, 2, 7}) {
    for (const std::string& noise : noises) {
      for (int k = 1; k <= d; ++k) all.push_back({quadratic(d), noise, "count = 3", rand_k(k) + eta_is(1.0)});
      all.push_back({quadratic(d), noise, "count = 2\nbatch = [1, 4]", bernoulli + eta_is(1.0)});
      all.push_back({quadratic(d), noise, "count = 2\nbatch = [1, 4]", dsgd + eta_is(1.0)});
      all.push_back({of_dim("logistic", d) + "\nrows = 9\nlam = 0.3", noise, "count = 2", rand_k(1) + eta_is(1.0)});
    }
  }
  for (int k = 1; k <= 64; ++k)
    all.push_back({quadratic(64), noises[static_cast<std::size_t>(k % 4)], "count = 1", rand_k(k) + eta_is(1.0)});
  for (const std::string& noise : {std::string(), std::string("affine = 0.4")}) {
    all.push_back({quadratic(7), noise,
                   "count = 4\nk = [1, 3, 6, 7]\nscale = [0.3, 1.0, 0.0, 2.0]\nbatch = [1, 2, 3, 5]",
                   rand_k(1) + eta_is(1.0)});
    all.push_back(
        {quadratic(64), noise, "count = 3\nk = [1, 40, 64]\nscale = [0.3, 1.0, 2.0]", rand_k(1) + eta_is(1.0)});
  }
  return all;
}

TYPED_TEST(ModelStepOf, RootTimesItsTransposeIsTheCovarianceOfWhatTheWorkersSend) {
  for (const Setting& setting : covariance_settings())
    for (const bool zeros : {false, true}) expect_covariance<TypeParam>(setting, zeros);
}

TEST(ModelCovariance, AtRestWithoutNoiseIsZero) {
  for (const std::string& method : {rand_k(2), bernoulli, dsgd}) {
    const Model<double> model({quadratic(7), "scale = 0.0", "count = 2", method + eta_is(1.0)});
    EXPECT_EQ(columns(model, Vec::Zero(7)), Mat(Mat::Zero(7, 7))) << method;
  }
}

/// Calls use(kept) for 32 n subsets that the engine's own compressor draws.
template <class Use>
void draw_kept(const CurveConfig& config, const WorkerSpec<double>& worker, int dim, int n, std::uint64_t seed,
               Use&& use) {
  constexpr int packs = 32, bits = bits_per_lane<double>;
  using Word = BitsOf<double>;
  auto words = std::make_unique<WordWindow<double, packs, 32>>();
  Word low[packs];
  for (int p = 0; p < packs; ++p) low[p] = static_cast<Word>(p);
  words->init(seed, low, 0, Purpose::compressor);
  std::vector<Word> mask(static_cast<std::size_t>(std::max(2, (dim + bits - 1) / bits) * packs));
  std::vector<std::vector<double>> kept(packs, std::vector<double>(static_cast<std::size_t>(dim), 1.0));
  for (int i = 0; i < n; ++i) {
    if (config.compressor.kind == CompressorKind::rand_k) {
      const bool set = choose_subset<double, packs>(dim, worker.keep, *words, mask.data());
      for (int path = 0; path < packs; ++path)
        for (int j = 0; j < dim; ++j)
          kept[static_cast<std::size_t>(path)][static_cast<std::size_t>(j)] =
              keep_coordinate<double>(mask.data() + (j / bits) * packs + path, j % bits, set, 1.0);
    } else if (config.compressor.kind == CompressorKind::bernoulli) {
      for (int j = 0; j < dim;) {
        int got;
        const Word* w = words->take(dim - j, got);
        for (int c = 0; c < got; ++c, ++j)
          for (int path = 0; path < packs; ++path)
            kept[static_cast<std::size_t>(path)][static_cast<std::size_t>(j)] =
                keep_bernoulli<double>(w + c * packs + path, worker.keep_below, 1.0);
      }
    }
    for (const auto& one : kept) use(one);
  }
}

/// Draws what every worker sends and compares u^T Q u for the directions given with the mean over the workers of its
/// sampled variance.
void expect_sampled(const Setting& setting, int n, const std::vector<Vec>& directions) {
  const Model<double> model(setting);
  const Truth truth(model);
  const int d = truth.dim();
  // No coordinate of v near 0, so that every entry of the rank-one part counts.
  Vec x = point(d, 3);
  for (Index j = 0; j < d; ++j) x[j] += x[j] < 0 ? -0.5L : 0.5L;
  const Vec v = truth.gradient(x);
  const Mat g = columns(model, x) * std::sqrt(static_cast<Wide>(truth.workers()));
  const std::size_t count = directions.size();
  std::vector<double> value(count, 0.0), error(count, 0.0);
  std::vector<std::vector<double>> u(count);
  std::vector<double> drift(count, 0.0), gradient(static_cast<std::size_t>(d));
  for (Index j = 0; j < d; ++j) gradient[static_cast<std::size_t>(j)] = static_cast<double>(v[j]);
  for (std::size_t c = 0; c < count; ++c) {
    for (Index j = 0; j < d; ++j) u[c].push_back(static_cast<double>(directions[c][j]));
    drift[c] = static_cast<double>(directions[c].dot(v));
  }
  std::mt19937_64 random(17);
  std::normal_distribution<double> normal;
  for (int i = 0; i < truth.workers(); ++i) {
    const auto s = static_cast<double>(truth.scale(i, v));
    const WorkerSpec<double>& worker = model.spec.workers[i];
    std::vector<double> sum(count, 0.0), square(count, 0.0), sent(gradient.size());
    draw_kept(model.config(), worker, d, n, static_cast<std::uint64_t>(1000 + i), [&](const std::vector<double>& kept) {
      for (std::size_t j = 0; j < sent.size(); ++j)
        sent[j] = kept[j] == 0.0 ? 0.0 : worker.inverse_keep * (gradient[j] + s * normal(random));
      for (std::size_t c = 0; c < count; ++c) {
        double along = -drift[c];
        for (std::size_t j = 0; j < sent.size(); ++j) along += u[c][j] * sent[j];
        sum[c] += along * along;
        square[c] += along * along * along * along;
      }
    });
    const double draws = 32.0 * n, workers = truth.workers();
    for (std::size_t c = 0; c < count; ++c) {
      const double mean = sum[c] / draws;
      value[c] += mean / workers;
      error[c] += (square[c] / draws - mean * mean) / (draws * workers * workers);
    }
  }
  for (std::size_t c = 0; c < count; ++c) {
    const auto want = static_cast<double>((g.transpose() * directions[c]).squaredNorm());
    EXPECT_TRUE(stat::near(value[c], want, std::sqrt(error[c]), 1e-12, 6.5)) << setting.name() << "\ndirection " << c;
  }
}

// 2000 checks at 6.5 standard errors (estimated; every direction sees hundreds of the rarest events): of normal means
// 8e-11 a check, allowing for the skewness of squares 1e-8; in all 2e-5.
TEST(ModelCovariance, IsThatSampledFromTheCompressor) {
  // Every entry: e_a, and e_a + e_b, whose variance is Q_aa + 2 Q_ab + Q_bb.
  for (const int d : {1, 2, 7}) {
    std::vector<Vec> entries;
    for (int a = 0; a < d; ++a)
      for (int b = a; b < d; ++b)
        entries.push_back(a == b ? Vec(Vec::Unit(d, a)) : Vec(Vec::Unit(d, a) + Vec::Unit(d, b)));
    std::vector<std::string> methods = {bernoulli, dsgd};
    for (int k = 1; k <= d; ++k) methods.push_back(rand_k(k));
    for (const std::string& method : methods)
      for (const std::string& noise : {std::string("scale = 0.7"), std::string("scale = 0.4\naffine = 0.6")})
        expect_sampled({quadratic(d), noise, "count = 1", method + eta_is(1.0)}, 1000, entries);
    expect_sampled({quadratic(d), "", "count = 3\nscale = [0.2, 1.0, 2.0]\nbatch = [1, 2, 3]", bernoulli + eta_is(1.0)},
                   1000, entries);
    if (d == 7)
      expect_sampled({quadratic(d), "", "count = 3\nscale = [0.2, 1.0, 0.5]\nk = [1, 3, 7]", rand_k(1) + eta_is(1.0)},
                     1000, entries);
  }
  // In 64 dimensions single entries are lost in the noise, but along 1/v the compression alone has no variance at all:
  // there every off-diagonal counts.
  const Model<double> model({quadratic(64), "", "", dsgd + eta_is(1.0)});
  Vec x = point(64, 3);
  for (Index j = 0; j < 64; ++j) x[j] += x[j] < 0 ? -0.5L : 0.5L;
  const Vec v = Truth(model).gradient(x);
  std::vector<Vec> directions = {v, v.cwiseInverse(), point(64, 8), point(64, 9), Vec::Ones(64)};
  for (int k = 1; k <= 64; ++k)
    expect_sampled({quadratic(64), "scale = 0.1", "", rand_k(k) + eta_is(1.0)}, k < 8 ? 120 : 30, directions);
  expect_sampled({quadratic(64), "scale = 0.1", "", bernoulli + eta_is(1.0)}, 60, directions);
  expect_sampled({quadratic(64), "scale = 0.1", "", dsgd + eta_is(1.0)}, 60, directions);
}

// ---------------------------------------------------------------- Euler steps and drifts

std::vector<std::string> workers_of_signs() {
  return {"count = 1", "count = 3\nscale = [0.3, 1.0, 4.0]\nbatch = [1, 2, 9]", "count = 3\nscale = [0.0, 1.0, 0.5]",
          "count = 2\nscale = 0.0"};
}
const std::vector<std::string>& laws() {
  static const std::vector<std::string> all = {"",           t_law("0.5"), t_law("1.0"),
                                               t_law("2.0"), t_law("3.0"), t_law("30.0")};
  return all;
}

TYPED_TEST(ModelStepOf, SignsHaveTheMeanAndTheVarianceOfTheirLaw) {
  using R = TypeParam;
  for (const std::string& law : laws()) {
    for (const std::string& workers : workers_of_signs()) {
      for (const std::string& affine : {std::string(), std::string("\naffine = 0.5")}) {
        const Setting setting{quadratic(7), law + affine, workers, sign + eta_is(1.0)};
        const Model<R> model(setting);
        const Truth truth(model);
        for (const Wide size : {1.0L, 1e-3L, 10.0L}) {
          SCOPED_TRACE(setting.name());
          Vec x = point(7, 11) * size;
          x[3] = 0;
          x = Model<R>::rounded(x);
          const Vec gone = model.advance(x, Vec::Zero(7));
          expect_close(gone - x, -truth.mean(x), rounding<R>(8) * std::max<Wide>(1, size));
          const Mat g = columns(model, x) * std::sqrt(static_cast<Wide>(truth.workers()));
          const Mat want = truth.covariance(x);
          for (Index a = 0; a < 7; ++a)
            for (Index b = 0; b < 7; ++b)
              EXPECT_LE(std::fabs(g(a, b) * g(a, b) - want(a, b)), rounding<R>(40) * std::max<Wide>(1, size));
        }
      }
    }
  }
}

/// Methods and objectives with every drift and covariance; eta = 0.3.
std::vector<Setting> step_settings() {
  std::vector<Setting> all;
  for (const int d : {1, 3, 7}) {
    for (const std::string& objective : objectives(d)) {
      for (const std::string& schedule : {std::string(), polynomial}) {
        const std::string rest = eta_is(0.3) + schedule;
        all.push_back({objective, "scale = 0.7", "count = 2\nbatch = [1, 3]", dsgd + rest});
        all.push_back({objective, "scale = 0.7\naffine = 0.6", "count = 2", dsgd + rest});
        all.push_back({objective, "scale = 0.7\naffine = 0.6", "count = 3", bernoulli + rest});
        all.push_back({objective, "scale = 0.7", "count = 1", bernoulli + rest});
        all.push_back({objective, "scale = 0.7", "count = 3", rand_k((d + 1) / 2) + rest});
        all.push_back({objective, "scale = 0.7\naffine = 0.6", "count = 2", rand_k(1) + rest});
        all.push_back({objective, t_law("5.0"), "count = 2", rand_k(d) + rest});
        all.push_back({objective, "", "count = 2\nscale = [0.7, 1.2]", sign + rest});
        all.push_back({objective, t_law("3.0"), "count = 1", sign + rest});
        all.push_back({objective, t_law("0.5"), "count = 3\nscale = [0.0, 1.0, 0.5]", sign + rest});
      }
    }
  }
  return all;
}
bool is_sign(const Setting& setting) { return setting.method.find("dsignsgd") != std::string::npos; }

bool is_logistic(const std::string& objective) { return objective.find("logistic") != std::string::npos; }

/// Every adaptive factor with every covariance and every objective it goes with; eta = 0.3.
std::vector<Setting> adaptive_settings() {
  std::vector<Setting> all;
  for (const int d : {1, 3, 7}) {
    for (const std::string& objective : objectives(d)) {
      for (const std::string& factor : factors()) {
        if (is_logistic(objective) && is_of_hessian(factor)) continue;
        const std::string rest = eta_is(0.3) + factor;
        all.push_back({objective, "scale = 0.7\naffine = 0.6", "count = 2\nbatch = [1, 3]", dsgd + rest});
        all.push_back({objective, "scale = 0.7", "count = 3", bernoulli + rest + polynomial});
        all.push_back({objective, t_law("5.0") + "\naffine = 0.3", "count = 3", rand_k((d + 1) / 2) + rest});
        all.push_back({objective, t_law("3.0"), "count = 2\nscale = [0.7, 1.2]", sign + rest + polynomial});
      }
    }
  }
  return all;
}

TYPED_TEST(ModelStepOf, EulerIsDriftAndDiffusionAtTheBeginning) {
  using R = TypeParam;
  for (Setting setting : step_settings()) {
    setting.substeps = 3;
    for (const std::string kind : {"first_order", "second_order", "curvature"}) {
      setting.model = kind;
      SCOPED_TRACE(setting.name());
      const Model<R> model(setting);
      const Truth truth(model);
      const Vec x = Model<R>::rounded(point(truth.dim(), 21)), w = Model<R>::rounded(point(truth.dim(), 22));
      for (const auto& [k, i] : {std::pair<std::uint64_t, int>{0, 0}, {4, 2}})
        expect_close(model.advance(x, w, k, i), truth.euler(x, w, static_cast<Wide>(k) + i / Wide(3)), rounding<R>(24));
    }
  }
}

// The Jacobian as finite differences of the first-order drift of the engine itself, over x and over time.
TEST(ModelDrift, BendsByFiniteDifferencesOfTheFirstOrderDrift) {
  constexpr int n = 1000;  // differences over time in units of a substep
  std::vector<Setting> settings = step_settings();
  for (const Setting& setting : adaptive_settings())
    if (!is_sign(setting) && !is_of_hessian(setting.method)) settings.push_back(setting);
  for (Setting setting : settings) {
    if (setting.noise.find("affine") != std::string::npos && is_sign(setting)) continue;
    setting.substeps = n;
    const Model<double> first(setting);
    setting.model = "second_order";
    const Model<double> second(setting);
    setting.model = "curvature";
    const Model<double> curved(setting);
    SCOPED_TRACE(setting.name());
    const Vec x = Model<double>::rounded(point(first.experiment.objective.dim, 31)), zero = Vec::Zero(x.size());
    // An Euler step is x + drift/n: without the x, and with differences far above its rounding.
    const auto drift = [&](const Model<double>& model, const Vec& at, int i) -> Vec {
      const Vec here = Model<double>::rounded(at);
      return n * (model.advance(here, zero, 2, i) - here);
    };
    const Vec m = drift(first, x, 500);  // -w eta m
    const auto difference = [&](const Vec& along) -> Vec {
      const Wide h = 0.02L;
      Vec sum = Vec::Zero(x.size());
      const Wide weight[] = {4.0L / 5, -1.0L / 5, 4.0L / 105, -1.0L / 280};
      for (int s = 1; s <= 4; ++s)
        sum += weight[s - 1] / h * (drift(first, x + s * h * along, 500) - drift(first, x - s * h * along, 500));
      return sum;
    };
    const Vec turned = difference(m);  // J_n n eta^2
    Vec later = Vec::Zero(x.size());   // d_t n eta^2, over 2 x 100 substeps
    const Wide weight[] = {4.0L / 5, -1.0L / 5, 4.0L / 105, -1.0L / 280};
    for (int s = 1; s <= 4; ++s)
      later += weight[s - 1] * n / 100 * (drift(first, x, 500 + 100 * s) - drift(first, x, 500 - 100 * s));
    const bool constant = setting.method.find("schedule") == std::string::npos;
    if (constant) {
      EXPECT_EQ(later, zero);
    }
    // Rounding of x: 1000 x 2e-16, over h = 0.02; truncation of 8th-order differences.
    expect_close(drift(second, x, 500), m - turned / 2 - later / 2, 1e-10L);
    // curvature has w^2 J m, not J_n n.
    if (first.config().adaptive.kind == AdaptiveKind::none) expect_close(drift(curved, x, 500), m + turned / 2, 1e-10L);
  }
}

TYPED_TEST(ModelStepOf, EulerTakesTheAdaptiveFactorOfTheBeginning) {
  using R = TypeParam;
  for (Setting setting : adaptive_settings()) {
    setting.substeps = 3;
    for (const std::string kind : {"first_order", "second_order", "curvature"}) {
      if (kind == "second_order" && (is_sign(setting) || is_of_hessian(setting.method))) continue;
      setting.model = kind;
      SCOPED_TRACE(setting.name());
      const Model<R> model(setting);
      const Truth truth(model);
      const Vec x = Model<R>::rounded(point(truth.dim(), 21)), w = Model<R>::rounded(point(truth.dim(), 22));
      for (const auto& [k, i] : {std::pair<std::uint64_t, int>{0, 0}, {4, 2}})
        expect_close(model.advance(x, w, k, i), truth.euler(x, w, static_cast<Wide>(k) + i / Wide(3)), rounding<R>(24));
    }
  }
}

TYPED_TEST(ModelStepOf, EulerTakesTheStepSizeOfItsTime) {
  using R = TypeParam;
  for (const std::string& schedule :
       {std::string("kind = \"exponential\", rate = 0.2"), std::string("kind = \"step\", every = 2, factor = 0.6"),
        std::string("kind = \"cosine\""), std::string("kind = \"constant\", warmup = 6"),
        std::string("kind = \"cosine\", warmup = 3"),
        std::string("kind = \"polynomial\", k0 = 2.0, p = 0.5, warmup = 9"),
        std::string("kind = \"exponential\", rate = 0.1, warmup = 4"),
        std::string("kind = \"step\", every = 3, factor = 0.5, warmup = 5")}) {
    const std::string rest = eta_is(0.3) + "steps = 10\nschedule = { " + schedule + " }\n";
    for (Setting setting : {Setting{of_dim("sine_pl", 3), "scale = 0.7", "count = 2", rand_k(2) + rest},
                            Setting{of_dim("logistic", 3) + "\nrows = 17\nlam = 0.1", "scale = 0.7", "count = 2",
                                    dsgd + rest + factors().front()},
                            Setting{of_dim("cosh", 3), t_law("2.0"), "count = 2", sign + rest}}) {
      setting.substeps = 4;
      for (const std::string kind : {"first_order", "second_order", "curvature"}) {
        setting.model = kind;
        SCOPED_TRACE(setting.name());
        const Model<R> model(setting);
        const Truth truth(model);
        const Vec x = Model<R>::rounded(point(3, 23)), w = Model<R>::rounded(point(3, 24));
        for (const auto& [k, i] : {std::pair<std::uint64_t, int>{0, 0}, {2, 3}, {3, 1}, {4, 0}, {7, 2}, {9, 3}})
          expect_close(model.advance(x, w, k, i), truth.euler(x, w, static_cast<Wide>(k) + i / Wide(4)),
                       rounding<R>(24));
      }
    }
  }
}

// |grad f|^2 is beyond the range of R, |grad f| is not.
TYPED_TEST(ModelStepOf, AdaptiveFactorsReachAsFarAsTheGradient) {
  using R = TypeParam;
  const Wide far = std::pow(Wide(10), sizeof(R) == 4 ? 30 : 200);
  for (const std::string kind : {"first_order", "second_order"}) {
    const Model<R> model({quadratic(3), "scale = 0.0", "count = 1",
                          dsgd + eta_is(0.5) + "adaptive = { kind = \"l0l1\", theta = 1.0, L0 = 1.0, L1 = 0.5 }\n",
                          kind});
    const Truth truth(model);
    for (const Wide size : {far, 1 / far}) {
      if (size < 1 && kind == "second_order") continue;  // the kink at 0 is too close for Truth's differences
      const Vec x = Model<R>::rounded(point(3, 25) * size);
      const Vec moved = model.advance(x, Vec::Zero(3));
      // What l0l1 takes away is lost where x is that large.
      expect_close(moved, truth.euler(x, Vec::Zero(3), 0), rounding<R>(8) * size);
      if (size < 1) {
        EXPECT_NE(moved, x);
      }
    }
  }
  const Model<R> model(
      {of_dim("sine_pl", 3), "scale = 0.0", "count = 1", dsgd + eta_is(0.5) + factors().front(), "second_order"});
  EXPECT_EQ(model.advance(Vec::Zero(3), Vec::Zero(3)), Vec(Vec::Zero(3)));  // r = 0
}

TYPED_TEST(ModelStepOf, TheGradientAtTheBeginningIsTracked) {
  using R = TypeParam;
  for (const std::string integrator : {"euler_maruyama", "weak2"}) {
    const Model<R> model({of_dim("sine_pl", 3), "", "", rand_k(2) + eta_is(0.1), "first_order", integrator, 2});
    std::vector<R> x = {R(0.5), R(-1), R(2)}, w(3, R(0.3)), e(3, R(1));
    const Vec before = (Vec(3) << 0.5, -1, 2).finished();
    PlainSpace<R> space(model.spec);
    ModelStep<PlainSpace<R>>(model.spec, space).advance(x.data(), w.data(), e.data(), 0, 0);
    const Vec g = Truth(model).gradient(before);
    for (std::size_t j = 0; j < 3; ++j)
      EXPECT_NEAR(space.tracked[j], static_cast<double>(g[static_cast<Index>(j)]), 1e-5);
  }
}

// ---------------------------------------------------------------- weak2

TYPED_TEST(ModelStepOf, Weak2IsTheSchemeWrittenWithMatrices) {
  using R = TypeParam;
  int index = 0;
  for (Setting setting : step_settings()) {
    setting.integrator = "weak2";
    const bool affine_sign = setting.noise.find("affine") != std::string::npos && is_sign(setting);
    if (affine_sign) continue;
    const char* const kinds[] = {"first_order", "second_order", "curvature"};
    setting.model = kinds[index % 3];
    setting.substeps = 1 + (index / 3) % 4;
    ++index;
    SCOPED_TRACE(setting.name());
    const Model<R> model(setting);
    const Truth truth(model);
    const int d = truth.dim();
    const auto seed = static_cast<unsigned>(100 + index);
    const Vec x = Model<R>::rounded(point(d, seed)),
              w = Model<R>::rounded(point(d, seed + 1000) / std::sqrt(static_cast<Wide>(setting.substeps)));
    Vec signs = point(d, seed + 2000);
    for (Index j = 0; j < d; ++j) signs[j] = signs[j] < 0 ? -1 : 1;
    const int i = setting.substeps - 1;
    const Wide k = 1 + static_cast<Wide>(i) / setting.substeps;
    expect_close(model.advance(x, w, signs, 1, i),
                 truth.weak2(x, w, signs, k, static_cast<Wide>(model.spec.model.delta)), rounding<R>(200));
  }
}

// Without noise 1 - c|u|^2 is 0 exactly and its square root that of a rounding error.
TEST(ModelWeak2, IsTheSchemeWithoutNoiseToo) {
  for (const std::string& objective :
       {quadratic(5), of_dim("sine_pl", 5), of_dim("logistic", 5) + "\nrows = 17\nlam = 0.5"}) {
    for (const std::string& method : {rand_k(1), rand_k(3), rand_k(5), bernoulli, dsgd, sign}) {
      SCOPED_TRACE(objective + "\n" + method);
      const Model<double> model(
          {objective, "scale = 0.0", "count = 2", method + eta_is(0.2), "first_order", "weak2", 2});
      const Truth truth(model);
      const Vec x = Model<double>::rounded(point(5, 41)), w = Model<double>::rounded(point(5, 42)), e = Vec::Ones(5);
      expect_close(model.advance(x, w, e, 0, 0), truth.weak2(x, w, e, 0, static_cast<Wide>(model.spec.model.delta)),
                   1e-7L);
      // At the optimum of a separable objective nothing moves: the sign of nothing is 0 for certain.
      if (truth.f.kind == ObjectiveKind::logistic) continue;
      EXPECT_EQ(model.advance(Vec::Zero(5), w, e, 0, 0), Vec(Vec::Zero(5)));
    }
  }
}

/// Gauss-Hermite quadrature for a standard normal (Golub and Welsch 1969).
struct Quadrature {
  explicit Quadrature(int n) {
    Eigen::MatrixXd jacobi = Eigen::MatrixXd::Zero(n, n);
    for (int i = 1; i < n; ++i) jacobi(i, i - 1) = jacobi(i - 1, i) = std::sqrt(i);
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(jacobi);
    node = solver.eigenvalues();
    weight = solver.eigenvectors().row(0).cwiseAbs2();
  }
  Eigen::VectorXd node, weight;
};

/// x_1^a x_2^b for a + b <= 3.
struct Monomials {
  static constexpr int count = 10;
  static int index(int a, int b) {
    static const int of[4][4] = {{0, 2, 5, 9}, {1, 4, 8, -1}, {3, 7, -1, -1}, {6, -1, -1, -1}};
    return of[a][b];
  }
  static Vec at(const Vec& x) {
    Vec out(count);
    const Wide y = x.size() > 1 ? x[1] : 0;
    for (int a = 0; a <= 3; ++a)
      for (int b = 0; a + b <= 3; ++b)
        out[index(a, b)] = std::pow(x[0], static_cast<Wide>(a)) * std::pow(y, static_cast<Wide>(b));
    return out;
  }
};

/// E of the monomials after time 1/n of a step from x: on quadratics the generator, with drift linear and covariance
/// quadratic in x, maps them to themselves.
Vec exact_moments(const Truth& truth, const Vec& x, int n) {
  const int d = truth.dim();
  const auto corner = [&](Wide a, Wide b) -> Vec {
    return d == 1 ? Vec((Vec(1) << a).finished()) : Vec((Vec(2) << a, b).finished());
  };
  const Wide scale = truth.eta(0) * truth.eta(0) / truth.workers();
  const Mat none = scale * truth.covariance(corner(0, 0)), first = scale * truth.covariance(corner(1, 0)) - none,
            second = scale * truth.covariance(corner(0, 1)) - none,
            both = scale * truth.covariance(corner(1, 1)) - none - first - second;
  Mat generator = Mat::Zero(Monomials::count, Monomials::count);  // row: of which monomial; column: what it gives
  const auto add = [&](int row, int a, int b, Wide value) {
    if (value != 0) generator(row, Monomials::index(a, b)) += value;
  };
  for (int a = 0; a <= 3; ++a) {
    for (int b = 0; a + b <= 3 && (d > 1 || b == 0); ++b) {
      const int power[] = {a, b}, row = Monomials::index(a, b);
      for (int j = 0; j < d; ++j) {
        const Vec unit = corner(j == 0, j == 1);
        add(row, a, b, power[j] * truth.drift(unit, 0)[j]);
        for (int l = 0; l < d; ++l) {
          const Wide factor = Wide(0.5) * power[j] * (j == l ? power[j] - 1 : power[l]);
          if (factor == 0) continue;
          const int left_a = a - (j == 0) - (l == 0), left_b = b - (j == 1) - (l == 1);
          add(row, left_a, left_b, factor * none(j, l));
          add(row, left_a + 2, left_b, factor * first(j, l));
          if (d == 1) continue;
          add(row, left_a, left_b + 2, factor * second(j, l));
          add(row, left_a + 1, left_b + 1, factor * both(j, l));
        }
      }
    }
  }
  Vec sum = Monomials::at(x), term = sum;
  for (int i = 1; i < 40; ++i) {
    term = generator * term / (static_cast<Wide>(i) * n);
    sum += term;
  }
  return sum;
}

/// The largest error of the moments up to the third after one substep.
Wide moment_error(const Setting& setting, const Vec& x) {
  const Model<double> model(setting);
  const Truth truth(model);
  static const Quadrature quadrature(16);
  const int n = setting.substeps, d = truth.dim();
  const bool weak2 = setting.integrator == "weak2";
  Vec mean = Vec::Zero(Monomials::count);
  const auto q = quadrature.node.size();
  for (Index i = 0; i < q; ++i) {
    for (Index j = 0; j < (d > 1 ? q : 1); ++j) {
      for (int signs = 0; signs < (weak2 ? 1 << d : 1); ++signs) {
        Vec w(d), e(d);
        for (int c = 0; c < d; ++c) {
          w[c] = quadrature.node[c == 0 ? i : j] / std::sqrt(static_cast<Wide>(n));
          e[c] = ((signs >> c) & 1) != 0 ? -1 : 1;
        }
        const Wide weight = quadrature.weight[i] * (d > 1 ? quadrature.weight[j] : 1.0) / (weak2 ? 1 << d : 1);
        mean += weight * Monomials::at(model.advance(x, w, e));
      }
    }
  }
  return (mean - exact_moments(truth, x, n)).cwiseAbs().maxCoeff();
}

// One substep is wrong by O(h^(p+1)) in every moment for weak order p: twice as many substeps divide it by 2^(p+1).
TEST(ModelWeak2, OneSubstepHasTheMomentsOfTheSdeToThirdOrder) {
  const std::string one = quadratic(1), two = quadratic(2);
  const std::vector<Setting> settings = {
      {one, "scale = 0.7", "count = 1", bernoulli + eta_is(0.4)},
      {one, "scale = 0.7\naffine = 1.0", "count = 2", dsgd + eta_is(0.4)},
      {one, "scale = 0.7", "count = 1", dsgd + eta_is(0.4)},
      {two, "scale = 0.7", "count = 1", bernoulli + eta_is(0.4)},
      {two, "scale = 0.7", "count = 1", rand_k(1) + eta_is(0.4)},
      {two, "scale = 0.7\naffine = 0.8", "count = 2", rand_k(1) + eta_is(0.4)},
      {two, "affine = 0.9\nscale = 0.4", "count = 1", dsgd + eta_is(0.4)},
      {two, "scale = 0.5\naffine = 0.5", "count = 2", bernoulli + eta_is(0.4)},
  };
  for (Setting setting : settings) {
    for (const std::string kind : {"first_order", "second_order", "curvature"}) {
      setting.model = kind;
      SCOPED_TRACE(setting.name());
      Vec x(setting.objective == one ? 1 : 2);
      x[0] = 1.2L;
      if (x.size() > 1) x[1] = -0.8L;
      const auto ratio = [&](const std::string& integrator) {
        setting.integrator = integrator;
        setting.substeps = 8;
        const Wide coarse = moment_error(setting, x);
        setting.substeps = 16;
        return coarse / moment_error(setting, x);
      };
      const Wide euler = ratio("euler_maruyama"), weak2 = ratio("weak2");
      EXPECT_GT(euler, 3.4L);
      EXPECT_LT(euler, 4.6L);
      EXPECT_GT(weak2, 7.0L);
      EXPECT_LT(weak2, 9.0L);
    }
  }
}

// ---------------------------------------------------------------- the moment step

template <class R>
std::vector<R> step_lengths(R omega) {
  std::vector<R> all = {R(0),
                        R(1),
                        R(2),
                        R(0.5),
                        std::nextafter(R(0.5), R(0)),
                        std::nextafter(R(1), R(0)),
                        std::nextafter(R(1), R(2)),
                        R(2) / (R(1) + omega),
                        R(3),
                        R(100)};
  for (int i = -6; i <= 42; ++i) all.push_back(static_cast<R>(0.05 * i));
  for (int i = 1; i <= 60; ++i)
    for (const double s : {-1.0, 1.0}) all.push_back(static_cast<R>(s * std::pow(10.0, -0.25 * i)));
  return all;
}

TYPED_TEST(ModelStepOf, MomentStepIsThatOfTheTheory) {
  using R = TypeParam;
  for (const R omega : {R(0), R(0.125), R(1), R(7)}) {
    for (const R z : step_lengths<R>(omega)) {
      for (const int n : {1, 2, 5, 10, 1000}) {
        const Wide y = z, o = omega, inverse = static_cast<R>(R(1) / static_cast<R>(n));
        const MomentStep<R> got = moment_step<R>(z, omega, static_cast<R>(inverse));
        // A = (1 - z)^2 + omega z^2, from the side that does not cancel.
        const Wide area = y * (y * (1 + o) - 2), log_u = inverse * std::log(std::fabs(1 - y)),
                   log_r = inverse * (area < -0.5L ? std::log((1 - y) * (1 - y) + o * y * y) : std::log1p(area));
        Wide a1 = inverse, a2 = inverse * o, a3 = inverse;
        if (y != 0) {
          const Wide fine = y < 0.5L ? inverse * std::log1p(-y) : log_u, odds = y / (1 - y);
          a1 = -std::expm1(fine) / y;
          a2 = y == 1 ? std::exp(log_r)
                      : std::exp(2 * fine) * std::expm1(inverse * std::log1p(o * odds * odds)) / (y * y);
          if (o == 0) a2 = 0;
        }
        if (area != 0) a3 = std::expm1(log_r) / area;
        const auto close = [&](R value, Wide want, Wide slack) {
          EXPECT_LE(std::fabs(value - want), rounding<R>(16) * std::fabs(want) + slack)
              << "z = " << z << ", omega = " << omega << ", n = " << n << ": " << value << " against " << want;
        };
        close(got.a1, a1, 0);
        // r - u^2 as a difference of two numbers: rounded to their size.
        if (y < 0.5L) {
          close(got.a2, a2, std::fabs(y) < 0x1p-30L ? 0x1p-29L * a2 : 0);  // there to lowest order
        } else {
          close(got.a2, a2, rounding<R>(16) * std::max<Wide>(1, std::exp(log_r)) / (y * y));
        }
        close(got.a3, a3, 0);
      }
    }
  }
}

/// E x'^2 = slope E x^2 + level of one substep from x to (x - a) + b xi, as the engine moves it.
template <class R>
struct SecondMoment {
  Wide slope, level, mean;
  SecondMoment(const Model<R>& model, std::uint64_t k = 0, int i = 0) {
    const auto n = static_cast<Wide>(model.spec.model.substeps);
    const Vec up = Vec::Constant(1, 1 / std::sqrt(n));  // one standard deviation
    const auto square = [&](Wide x) {
      const Wide plus = model.advance(Vec::Constant(1, x), up, k, i)[0],
                 minus = model.advance(Vec::Constant(1, x), -up, k, i)[0];
      mean = (plus + minus) / 2;
      return mean * mean + (plus - minus) * (plus - minus) / 4;
    };
    level = square(0);
    slope = square(1) - level;
  }
};

/// A one-dimensional quadratic with curvature h and numbers given straight to the model; eta = 1.
template <class R>
struct Parabola : Model<R> {
  Parabola(const std::string& model, int n, R h_, R omega, R noise, int workers)
      : Model<R>({quadratic(1), "", "count = " + std::to_string(workers), dsgd + eta_is(1.0), model,
                  model == "hessian_aware" ? "moment" : "euler_maruyama", n}),
        h(h_) {
    this->spec.objective.h = &h;
    this->spec.model.omega = this->spec.model.square = omega;
    this->spec.model.noise = noise;
  }
  R h;
};

TYPED_TEST(ModelStepOf, HessianAwareHasTheSecondMomentsOfTheMethodOnQuadratics) {
  using R = TypeParam;
  for (const R omega : {R(0), R(2.5)}) {
    for (const int workers : {1, 4}) {
      const R noise = R(1.7);
      for (const R z : step_lengths<R>(omega / static_cast<R>(workers))) {
        for (const int n : {1, 2, 5, 10}) {
          const Parabola<R> model("hessian_aware", n, z, omega, noise, workers);
          const SecondMoment<R> step(model);
          const Wide a =
              (1 - static_cast<Wide>(z)) * (1 - static_cast<Wide>(z)) + static_cast<Wide>(z) * z * omega / workers;
          Wide moment = 1, mean = 1;
          for (int i = 0; i < n; ++i) {
            moment = step.slope * moment + step.level;
            mean = step.mean * mean;
          }
          const Wide want = a + static_cast<Wide>(noise) / workers;
          EXPECT_LE(std::fabs(moment - want), rounding<R>(32) * n * want) << z << " " << omega << " " << n;
          if (z < R(1)) {
            const Wide wanted = 1 - static_cast<Wide>(z);
            EXPECT_LE(std::fabs(mean - wanted), rounding<R>(8) * (n * wanted + 1));
          }
          // O8: it is stable exactly when the method is. Nothing else is left where A is 1 but for rounding.
          if (std::fabs(a - 1) > rounding<R>(100)) {
            EXPECT_EQ(step.slope < 1, a < 1) << z << " " << omega << " " << n;
          }
        }
      }
    }
  }
}

// hessian_norm is constant on a quadratic: the second moments are those of the method with eta a.
TYPED_TEST(ModelStepOf, HessianAwareStaysExactOnQuadraticsUnderHessianNorm) {
  using R = TypeParam;
  for (const R omega : {R(0), R(2.5)}) {
    for (const R z : {R(0.25), R(0.5), R(2), R(40)}) {
      for (const int n : {1, 2, 5}) {
        Parabola<R> model("hessian_aware", n, z, omega, R(1.7), 4);
        model.spec.adaptive.kind = AdaptiveKind::hessian_norm;
        model.spec.adaptive.share = R(0.5);  // theta/(K eta), eta = 1
        const SecondMoment<R> step(model);
        const Wide a = std::min<Wide>(1, Wide(0.5) / static_cast<Wide>(z)), y = a * static_cast<Wide>(z);
        Wide moment = 1;
        for (int i = 0; i < n; ++i) moment = step.slope * moment + step.level;
        const Wide want = (1 - y) * (1 - y) + y * y * omega / 4 + a * a * static_cast<Wide>(R(1.7)) / 4;
        EXPECT_LE(std::fabs(moment - want), rounding<R>(32) * n * want) << z << " " << omega << " " << n;
      }
    }
  }
}

TYPED_TEST(ModelStepOf, HessianAwareIsTheFormulaPerCoordinate) {
  using R = TypeParam;
  std::vector<Setting> settings = step_settings();
  for (const Setting& setting : adaptive_settings()) settings.push_back(setting);
  for (Setting setting : settings) {
    const bool dense = setting.objective.find("least_squares") != std::string::npos ||
                       setting.objective.find("logistic") != std::string::npos;
    if (dense || (setting.noise.find("affine") != std::string::npos && is_sign(setting))) continue;
    setting.model = "hessian_aware";
    setting.integrator = "moment";
    for (const int n : {1, 3}) {
      setting.substeps = n;
      SCOPED_TRACE(setting.name());
      const Model<R> model(setting);
      const Truth truth(model);
      // The density's own error, 60 roundings, comes with factors of m/m'.
      const Vec x = Model<R>::rounded(point(truth.dim(), 61)), w = Model<R>::rounded(point(truth.dim(), 62));
      // The first substep: the others keep its noise's scale (test_model_exact has them).
      expect_close(model.advance(x, w, 2, 0), truth.moment(x, w, 2), rounding<R>(300));
    }
  }
}

// ---------------------------------------------------------------- the bridge

TYPED_TEST(ModelStepOf, BridgeIncrementsAreIndependentAndSumToTheNoiseOfTheStep) {
  using R = TypeParam;
  for (const int n : {1, 2, 3, 8, 50}) {
    // Columns: the increments that the whole, and each normal, make by themselves.
    Mat of(n, n);
    for (int input = 0; input < n; ++input) {
      R left = input == 0 ? R(1) : R(0);
      for (int i = 0; i < n; ++i) of(i, input) = bridge_increment(left, i + 1 == input ? R(1) : R(0), n - i, n);
      EXPECT_LE(std::fabs(of.col(input).sum() - (input == 0 ? 1 : 0)), rounding<R>(n)) << n;
    }
    EXPECT_LE((of * of.transpose() - Mat::Identity(n, n) / n).cwiseAbs().maxCoeff(), rounding<R>(8)) << n;
  }
  // What a run does not draw it does not look at.
  R left = R(0.75);
  EXPECT_EQ(bridge_increment(left, std::numeric_limits<R>::quiet_NaN(), 1, 5), R(0.75));
}

// ---------------------------------------------------------------- stability (O8)

TEST(ModelStability, CurvatureIsStableWhereTheMethodIsAndTheOthersAreNot) {
  constexpr int n = 10000;  // far below the margin of what is tested
  for (int i = 1; i <= 44; ++i) {
    const double z = 0.05 * i;
    for (const double omega : {0.0, 1.0, 7.0}) {
      for (const int workers : {1, 8}) {
        const double method = (1.0 - z) * (1.0 - z) + z * z * omega / workers - 1.0;  // A - 1
        if (std::abs(method) < 0.01) continue;
        const auto rate = [&](const std::string& kind) {
          return static_cast<double>(
              (SecondMoment<double>(Parabola<double>(kind, n, z, omega, 0.0, workers)).slope - 1) * n);
        };
        // O3 with eta = 1. Euler adds (drift)^2/n to the rate.
        const double noise = z * z * omega / workers;
        EXPECT_NEAR(rate("first_order"), -2.0 * z + noise, 3e-4 * z * z * (1.0 + z) * (1.0 + z));
        EXPECT_NEAR(rate("second_order"), -2.0 * z * (1.0 + 0.5 * z) + noise, 3e-4 * z * z * (1.0 + z) * (1.0 + z));
        EXPECT_NEAR(rate("curvature"), method, 3e-4 * z * z * (1.0 + z) * (1.0 + z));
        EXPECT_EQ(rate("curvature") < 0.0, method < 0.0) << z << " " << omega << " " << workers;
      }
    }
  }
}

// ---------------------------------------------------------------- orders

/// E[u(X') | X] of a Markov chain on the line: u is known on a grid and read between its points by polynomials through
/// six of them. Where the chain leaves the grid it is held at its end; it practically never does.
class Chain {
 public:
  static constexpr int nodes = 320;
  static constexpr double low = -4.0, gap = 8.0 / (nodes - 1);
  static double at(int i) { return low + gap * i; }
  /// move(x, use) calls use(probability, x').
  template <class Move>
  explicit Chain(Move&& move) {
    for (int i = 0; i < nodes; ++i)
      move(at(i), [&](double probability, double x) { add(rows_[static_cast<std::size_t>(i)], probability, x); });
  }
  std::vector<double> operator()(const std::vector<double>& u) const {
    std::vector<double> out(nodes, 0.0);
    for (std::size_t i = 0; i < nodes; ++i) {
      const Row& row = rows_[i];
      for (std::size_t c = 0; c < row.weight.size(); ++c) out[i] += row.weight[c] * u[row.first + c];
    }
    return out;
  }
  /// The largest difference for least <= |x| <= 1.5: at a single x an error may pass through 0.
  static double distance(const std::vector<double>& u, const std::vector<double>& v, double least = 0.0) {
    double largest = 0.0;
    for (int i = 0; i < nodes; ++i)
      if (std::abs(at(i)) >= least && std::abs(at(i)) <= 1.5)
        largest = std::max(largest, std::abs(u[static_cast<std::size_t>(i)] - v[static_cast<std::size_t>(i)]));
    return largest;
  }

 private:
  struct Row {
    std::size_t first = 0;
    std::vector<double> weight;
  };
  static void add(Row& row, double probability, double x) {
    const double place = (std::clamp(x, low, at(nodes - 1)) - low) / gap;
    const auto first = static_cast<std::size_t>(std::clamp(static_cast<int>(place) - 2, 0, nodes - 6));
    if (row.weight.empty()) row.first = first;
    if (first < row.first) {
      row.weight.insert(row.weight.begin(), row.first - first, 0.0);
      row.first = first;
    }
    row.weight.resize(std::max(row.weight.size(), first + 6 - row.first), 0.0);
    for (std::size_t a = 0; a < 6; ++a) {
      double weight = probability;
      for (std::size_t b = 0; b < 6; ++b)
        if (a != b)
          weight *= (place - static_cast<double>(first + b)) / (static_cast<double>(a) - static_cast<double>(b));
      row.weight[first - row.first + a] += weight;
    }
  }
  std::vector<Row> rows_{static_cast<std::size_t>(nodes)};
};

const Quadrature& normals() {
  static const Quadrature quadrature(14);
  return quadrature;
}

/// Substep i of step k of the engine.
Chain chain_of(const Model<double>& model, std::uint64_t k, int i) {
  const bool signs = model.spec.model.integrator == IntegratorKind::weak2 && !has_constant_noise(model.spec);
  const double root = std::sqrt(static_cast<double>(model.spec.model.substeps));
  PlainSpace<double> space(model.spec);
  ModelStep<PlainSpace<double>> step(model.spec, space);
  return Chain([&](double x, auto&& use) {
    for (Index q = 0; q < normals().node.size(); ++q) {
      for (double e : {1.0, -1.0}) {
        if (!signs && e < 0.0) continue;
        double at = x, w = normals().node[q] / root;
        step.advance(&at, &w, &e, k, i);
        use(normals().weight[q] * (signs ? 0.5 : 1.0), at);
      }
    }
  });
}
/// The same by Euler from Truth.
Chain euler_chain(const Truth& truth, int n, Wide k) {
  return Chain([&](double x, auto&& use) {
    const Vec at = Vec::Constant(1, x);
    const auto mean = static_cast<double>(x + truth.drift(at, k)[0] / n),
               spread = static_cast<double>(truth.diffusion(at, k)(0, 0)) / std::sqrt(n);
    for (Index q = 0; q < normals().node.size(); ++q) use(normals().weight[q], mean + spread * normals().node[q]);
  });
}

/// E S after `steps` steps from every x of the grid; chain(k, i) is substep i of step k.
template <class MakeChain>
std::vector<double> expected_s(const Objective& objective, int steps, int n, bool constant, MakeChain&& chain) {
  std::vector<double> u;
  for (int i = 0; i < Chain::nodes; ++i) u.push_back(objective.suboptimality({Chain::at(i)}));
  const Chain one = chain(0, 0);
  for (int k = steps - 1; k >= 0; --k)
    for (int i = n - 1; i >= 0; --i) u = constant ? one(u) : chain(k, i)(u);
  return u;
}
std::vector<double> expected_s(const Model<double>& model, int steps) {
  return expected_s(model.objective, steps, model.spec.model.substeps,
                    model.spec.schedule.kind == ScheduleKind::constant,
                    [&](int k, int i) { return chain_of(model, static_cast<std::uint64_t>(k), i); });
}

// The seeds' claims and Li, Tai and E's: E S of the SDE and of the method, at the same time, differ by O(eta) and
// O(eta^2). No sampling: both are Markov chains on a line.
TEST(ModelOrder, FirstOrderModelsAreOfOrderOneAndSecondOrderModelsOfOrderTwo) {
  for (const std::string kind : {"sine_pl", "cosh"}) {
    const double time = kind == "cosh" ? 1.0 : 0.25;  // not after the transient: E S itself is O(eta) there
    const auto error = [&](const std::string& model, int steps) {
      const double eta = time / steps;
      const Model<double> sde({of_dim(kind, 1), "scale = 0.4", "count = 1", dsgd + eta_is(eta), model, "weak2", 8});
      const std::vector<double> method = expected_s(sde.objective, steps, 1, true, [&](int, int) {
        return Chain([&](double x, auto&& use) {
          const double moved = x - eta * sde.objective.gradient({x})[0];
          for (Index q = 0; q < normals().node.size(); ++q)
            use(normals().weight[q], moved + eta * 0.4 * normals().node[q]);
        });
      });
      return Chain::distance(expected_s(sde, steps), method);
    };
    for (const auto& [model, order] : {std::pair<std::string, double>{"first_order", 1.0}, {"second_order", 2.0}}) {
      double previous = error(model, 32);
      for (const int steps : {64, 128}) {
        const double now = error(model, steps);
        // The next order's share in the ratio is below eta times a constant.
        EXPECT_NEAR(std::log2(previous / now), order, 0.12) << kind << " " << model << " " << steps;
        previous = now;
      }
    }
  }
}

// The same with a step size that depends on x, where only Euler integrates: extrapolated from 8, 16 and 32 substeps.
// For paths that stay away from x = 0, where |grad f| has a kink and the orders, which ask for smooth coefficients,
// fail.
TEST(ModelOrder, OfModelsIsKeptByAdaptiveFactors) {
  const double time = 0.25;
  const auto error = [&](const std::string& model, int steps) {
    const double eta = time / steps;
    const std::string method = dsgd + eta_is(eta) + "adaptive = { kind = \"gradient_norm\", c = 2.0, q = 1.0 }\n";
    std::vector<std::vector<double>> by_substeps;
    for (const int n : {8, 16, 32})
      by_substeps.push_back(expected_s(
          Model<double>({of_dim("sine_pl", 1), "scale = 0.4", "count = 1", method, model, "euler_maruyama", n}),
          steps));
    std::vector<double> sde;
    for (std::size_t i = 0; i < by_substeps[0].size(); ++i)
      sde.push_back((8.0 * by_substeps[2][i] - 6.0 * by_substeps[1][i] + by_substeps[0][i]) / 3.0);
    const Objective objective(
        Model<double>({of_dim("sine_pl", 1), "scale = 0.4", "count = 1", method}).experiment.objective);
    const std::vector<double> discrete = expected_s(objective, steps, 1, true, [&](int, int) {
      return Chain([&](double x, auto&& use) {
        const double g = objective.gradient({x})[0], now = eta / (1.0 + std::abs(g) / 2.0);
        for (Index q = 0; q < normals().node.size(); ++q)
          use(normals().weight[q], x - now * (g - 0.4 * normals().node[q]));
      });
    });
    return Chain::distance(sde, discrete, 0.9);
  };
  for (const auto& [model, order] : {std::pair<std::string, double>{"first_order", 1.0}, {"second_order", 2.0}}) {
    double previous = error(model, 32);
    for (const int steps : {64, 128}) {
      const double now = error(model, steps);
      EXPECT_NEAR(std::log2(previous / now), order, 0.15) << model << " " << steps;
      previous = now;
    }
  }
}

TEST(ModelOrder, OfModelsIsKeptBySchedulesOnQuadratics) {
  // E x^2 from 1 over T = 2 with eta_k = eta (1 + 2 t)^-0.6.
  const auto error = [&](const std::string& kind, int steps) {
    const double eta = 2.0 / steps;
    const Model<double> sde(
        {quadratic(1), "scale = 0.7", "count = 2",
         dsgd + eta_is(eta) + fmt::format("schedule = {{ kind = \"polynomial\", k0 = {}, p = 0.6 }}", 0.5 / eta), kind,
         "weak2", 8});
    const Truth truth(sde);
    Wide model = 1, method = 1;
    for (int k = 0; k < steps; ++k) {
      const Wide now = truth.eta(k), noise = 0.49L / 2;
      method = (1 - now * 1.5L) * (1 - now * 1.5L) * method + now * now * noise;
      for (int i = 0; i < 8; ++i) {
        const SecondMoment<double> step(sde, static_cast<std::uint64_t>(k), i);
        model = step.slope * model + step.level;
      }
    }
    return static_cast<double>(model - method);
  };
  EXPECT_NEAR(std::log2(error("first_order", 128) / error("first_order", 256)), 1.0, 0.1);
  EXPECT_NEAR(std::log2(error("second_order", 128) / error("second_order", 256)), 2.0, 0.1);
}

// Against Euler steps by Truth, which know nothing of model.hpp, extrapolated from 32, 64 and 128 substeps.
TEST(ModelOrder, OfTheIntegratorsIsOneAndTwo) {
  const std::vector<Setting> settings = {
      {of_dim("sine_pl", 1), "scale = 0.5", "count = 4", bernoulli + eta_is(0.1), "first_order", "", 0},
      {of_dim("sine_pl", 1), "scale = 0.3\naffine = 0.8", "count = 4", dsgd + eta_is(0.1), "curvature", "", 0},
      {of_dim("cosh", 1), "scale = 0.5", "count = 4", bernoulli + eta_is(0.2), "second_order", "", 0},
      {of_dim("sine_pl", 1), "scale = 1.0", "count = 2", sign + eta_is(0.3), "first_order", "", 0},
      {quadratic(1), t_law("3.0") + "\nscale = 0.5", "count = 3\nscale = [0.4, 0.6, 1.0]", sign + eta_is(0.3),
       "second_order", "", 0},
      {of_dim("sine_pl", 1), t_law("1.0"), "count = 2", sign + eta_is(0.3), "curvature", "", 0},
      {of_dim("sine_pl", 1), "scale = 0.5", "count = 4", bernoulli + eta_is(0.2) + polynomial, "second_order", "", 0},
      {of_dim("sine_pl", 1), "scale = 0.5", "count = 4",
       bernoulli + eta_is(0.2) + "steps = 2\nschedule = { kind = \"cosine\" }\n", "second_order", "", 0},
      {of_dim("cosh", 1), "scale = 0.5", "count = 4", bernoulli + eta_is(0.3) + factors().front(), "second_order", "",
       0},
      {of_dim("cosh", 1), t_law("2.0"), "count = 2", sign + eta_is(0.3) + factors().front(), "curvature", "", 0},
  };
  for (Setting setting : settings) {
    const bool constant = setting.method.find("schedule") == std::string::npos;
    const int steps = constant ? 6 : 2;
    SCOPED_TRACE(setting.name());
    const auto reference = [&](int n) {
      setting.substeps = n;
      setting.integrator = "euler_maruyama";
      const Model<double> model(setting);
      const Truth truth(model);
      return expected_s(model.objective, steps, n, constant,
                        [&](int k, int i) { return euler_chain(truth, n, k + static_cast<Wide>(i) / n); });
    };
    const std::vector<double> a = reference(32), b = reference(64), c = reference(128);
    std::vector<double> exact;  // without the terms in 1/n and 1/n^2
    for (std::size_t i = 0; i < a.size(); ++i) exact.push_back((8.0 * c[i] - 6.0 * b[i] + a[i]) / 3.0);
    const auto error = [&](const std::string& integrator, int n) {
      setting.substeps = n;
      setting.integrator = integrator;
      return Chain::distance(expected_s(Model<double>(setting), steps), exact);
    };
    EXPECT_NEAR(std::log2(error("euler_maruyama", 8) / error("euler_maruyama", 16)), 1.0, 0.15);
    if (setting.method.find("adaptive") != std::string::npos) continue;  // it has no weak2
    EXPECT_NEAR(std::log2(error("weak2", 4) / error("weak2", 8)), 2.0, 0.3);
  }
}

}  // namespace
}  // namespace pathbound
