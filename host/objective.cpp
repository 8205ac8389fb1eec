// SPDX-License-Identifier: Apache-2.0
#include "host/objective.hpp"

#include <fmt/format.h>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string_view>
#include <type_traits>

#include "host/data_file.hpp"
#include "kernels/portable.hpp"

namespace pathbound {
namespace {

using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;

/// sine_pl: inf over x of f'(x)^2 / (2 f(x)) in one dimension, 0.1755309859 at x = 2.2017, rounded down; a sum of such
/// terms has the same constant.
constexpr double sine_pl_mu = 0.17553098;
/// Eigenvalues of A^T A / n below this fraction of the largest count as zero. Rounding leaves about dim * 1e-16.
constexpr double rank_tolerance = 1e-12;

/// Eigen picks block sizes from the cache sizes of the machine, and with them the order of its sums. Fixed sizes make
/// constants and optima the same on every machine that runs the same build.
void fix_eigen_blocking() { Eigen::setCpuCacheSizes(32 << 10, 256 << 10, 2 << 20); }

double squared_norm(const std::vector<double>& x) {
  double sum = 0.0;
  for (const double value : x) sum += value * value;
  return sum;
}

double dot(const double* a, const double* b, std::size_t n) {
  double sum = 0.0;
  for (std::size_t j = 0; j < n; ++j) sum += a[j] * b[j];
  return sum;
}

/// log(1 + e^t) without overflow.
double softplus(double t) { return std::max(t, 0.0) + portable::log1p(portable::exp(-std::fabs(t))); }
/// 1 / (1 + e^m)
double logistic_tail(double m) { return 1.0 / (1.0 + portable::exp(m)); }

/// The numbers of synthetic data: uniform in [-1, 1) with 53 bits, in the order they are asked for. std::mt19937_64 is
/// fixed by the standard and everything built from these numbers uses + - * / sqrt in a fixed order, so the data have
/// the same bits on every machine.
class Uniforms {
 public:
  explicit Uniforms(std::uint64_t seed) : engine_(seed) {}
  double operator()() { return static_cast<double>(engine_() >> 11) * 0x1p-52 - 1.0; }

 private:
  std::mt19937_64 engine_;
};

/// `count` orthonormal vectors of length n, one after the other: uniform vectors through Gram-Schmidt, each projection
/// done twice (once more restores orthogonality to rounding).
std::vector<double> orthonormal_vectors(Uniforms& uniform, std::size_t n, std::size_t count) {
  std::vector<double> q(n * count);
  for (std::size_t i = 0; i < count; ++i) {
    double* v = &q[i * n];
    for (;;) {
      for (std::size_t j = 0; j < n; ++j) v[j] = uniform();
      const double before = dot(v, v, n);
      for (int pass = 0; pass < 2; ++pass) {
        for (std::size_t k = 0; k < i; ++k) {
          const double* u = &q[k * n];
          const double projection = dot(u, v, n);
          for (std::size_t j = 0; j < n; ++j) v[j] -= projection * u[j];
        }
      }
      const double left = dot(v, v, n);
      if (!(left > 1e-20 * before)) continue;  // nearly dependent on the others: draw again
      const double inverse = 1.0 / std::sqrt(left);
      for (std::size_t j = 0; j < n; ++j) v[j] *= inverse;
      break;
    }
  }
  return q;
}

/// q with q^n = value, 0 < value <= 1, by bisection on repeated products: bits that do not depend on libm.
double root(double value, int n) {
  double low = 0.0, high = 1.0;
  for (int i = 0; i < 200; ++i) {
    const double middle = 0.5 * (low + high);
    if (middle <= low || middle >= high) break;
    double power = 1.0;
    for (int j = 0; j < n; ++j) power *= middle;
    (power < value ? low : high) = middle;
  }
  return high;
}

struct Problem {
  std::vector<double> rows;    ///< A, n x d
  std::vector<double> target;  ///< b, or labels +-1
  int n_rows = 0;
};

void check_synthetic_size(const ObjectiveConfig& config) {
  if (config.rows < 1 ||
      static_cast<std::size_t>(config.rows) * static_cast<std::size_t>(config.dim) > max_data_entries) {
    throw InputError(fmt::format("objective.rows = {} (must be at least 1, and rows x dim at most 2^24; dim = {})",
                                 config.rows, config.dim));
  }
}

/// A = sqrt(n) sum_i sqrt(lambda_i) u_i v_i^T with orthonormal u_i, v_i and lambda geometric from 1 down to
/// 1/condition: these are the nonzero eigenvalues of A^T A / n. b = A x + e, the numbers of x uniform in [-1, 1) and
/// those of e in [-1/2, 1/2): the system is inconsistent when rows > rank. Draws: u, v, x, e.
Problem synthetic_least_squares(const ObjectiveConfig& config) {
  check_synthetic_size(config);
  const int most = std::min(config.rows, config.dim);
  const int rank = config.rank.value_or(most);
  if (rank < 1 || rank > most) {
    throw InputError(fmt::format("objective.rank = {} (must be from 1 to min(rows, dim) = {})", rank, most));
  }
  if (!(config.condition >= 1.0 && config.condition <= 0.1 / rank_tolerance)) {
    throw InputError(
        fmt::format("objective.condition = {} (must be from 1 to 1e11; eigenvalues below {} of the largest "
                    "count as zero)",
                    config.condition, rank_tolerance));
  }
  const auto n = static_cast<std::size_t>(config.rows), d = static_cast<std::size_t>(config.dim);
  Uniforms uniform(config.data_seed);
  const auto u = orthonormal_vectors(uniform, n, static_cast<std::size_t>(rank));
  const auto v = orthonormal_vectors(uniform, d, static_cast<std::size_t>(rank));
  const double ratio = rank > 1 ? root(1.0 / config.condition, rank - 1) : 1.0;
  Problem problem;
  problem.n_rows = config.rows;
  problem.rows.assign(n * d, 0.0);
  double eigenvalue = 1.0;
  for (int i = 0; i < rank; ++i, eigenvalue *= ratio) {
    const double factor = std::sqrt(static_cast<double>(n) * eigenvalue);
    const double *ui = &u[static_cast<std::size_t>(i) * n], *vi = &v[static_cast<std::size_t>(i) * d];
    for (std::size_t r = 0; r < n; ++r) {
      const double left = factor * ui[r];
      for (std::size_t j = 0; j < d; ++j) problem.rows[r * d + j] += left * vi[j];
    }
  }
  std::vector<double> x(d);
  for (double& value : x) value = uniform();
  problem.target.resize(n);
  for (std::size_t r = 0; r < n; ++r) problem.target[r] = dot(&problem.rows[r * d], x.data(), d) + 0.5 * uniform();
  return problem;
}

/// Features uniform in [-1, 1); labels sign(a.w) of one w uniform in [-1, 1)^d, each flipped with probability 1/10, so
/// that the classes overlap. When all labels come out equal the last one is flipped. Draws: features, w, flips.
Problem synthetic_logistic(const ObjectiveConfig& config) {
  check_synthetic_size(config);
  if (config.rows < 2) throw InputError("objective.rows = 1 (logistic needs both classes: at least 2 rows)");
  const auto n = static_cast<std::size_t>(config.rows), d = static_cast<std::size_t>(config.dim);
  Uniforms uniform(config.data_seed);
  Problem problem;
  problem.n_rows = config.rows;
  problem.rows.resize(n * d);
  for (double& value : problem.rows) value = uniform();
  std::vector<double> w(d);
  for (double& value : w) value = uniform();
  problem.target.resize(n);
  bool both = false;
  for (std::size_t r = 0; r < n; ++r) {
    const double side = dot(&problem.rows[r * d], w.data(), d) >= 0.0 ? 1.0 : -1.0;
    problem.target[r] = uniform() < -0.8 ? -side : side;
    both = both || problem.target[r] != problem.target[0];
  }
  if (!both) problem.target[n - 1] = -problem.target[n - 1];
  return problem;
}

Problem problem_from_file(const ObjectiveConfig& config) {
  DataSet data = read_data_file(config.file, config.dim);
  Problem problem;
  problem.n_rows = data.n_rows;
  problem.rows = std::move(data.features);
  problem.target = std::move(data.labels);
  if (config.kind == ObjectiveKind::logistic) {
    const auto [low, high] = std::minmax_element(problem.target.begin(), problem.target.end());
    const double a = *low, b = *high;
    if (a == b) {
      throw InputError(fmt::format("{}: every label is {} (logistic needs two classes)", config.file, a));
    }
    for (std::size_t r = 0; r < problem.target.size(); ++r) {
      if (problem.target[r] != a && problem.target[r] != b) {
        throw InputError(
            fmt::format("{}: the labels have more than two values ({}, {}, {} in data row {}); logistic "
                        "needs exactly two",
                        config.file, a, b, problem.target[r], r + 1));
      }
    }
    for (double& label : problem.target) label = label == b ? 1.0 : -1.0;  // the smaller value is class -1
  }
  return problem;
}

/// A^T A / n, row by row; symmetric bit for bit.
std::vector<double> gram_matrix(const std::vector<double>& rows, std::size_t n, std::size_t d) {
  std::vector<double> gram(d * d, 0.0);
  for (std::size_t r = 0; r < n; ++r) {
    const double* row = &rows[r * d];
    for (std::size_t i = 0; i < d; ++i) {
      if (row[i] == 0.0) continue;
      for (std::size_t j = i; j < d; ++j) gram[i * d + j] += row[i] * row[j];
    }
  }
  for (std::size_t i = 0; i < d; ++i) {
    for (std::size_t j = i; j < d; ++j) {
      gram[i * d + j] /= static_cast<double>(n);
      gram[j * d + i] = gram[i * d + j];
    }
  }
  return gram;
}

/// The greatest eigenvalue of A^T A / n, from the smaller of A^T A and A A^T.
double greatest_eigenvalue(const std::vector<double>& rows, std::size_t n, std::size_t d) {
  const auto size = [](std::size_t k) { return static_cast<Eigen::Index>(k); };
  Matrix square;
  if (d <= n) {
    const auto gram = gram_matrix(rows, n, d);
    square = Eigen::Map<const Matrix>(gram.data(), size(d), size(d));
  } else {
    square.resize(size(n), size(n));
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = i; j < n; ++j) {
        square(size(i), size(j)) = square(size(j), size(i)) =
            dot(&rows[i * d], &rows[j * d], d) / static_cast<double>(n);
      }
    }
  }
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(square, Eigen::EigenvaluesOnly);
  return solver.eigenvalues()(square.rows() - 1);
}

/// Logistic regression in double: value, gradient and optimum (theory section 5).
class Logistic {
 public:
  Logistic(const std::vector<double>& rows, std::size_t n, std::size_t d, double lam)
      : rows_(rows), n_(n), d_(d), lam_(lam) {}

  double value(const std::vector<double>& x) const {
    double sum = 0.0;
    for (std::size_t r = 0; r < n_; ++r) sum += softplus(-dot(&rows_[r * d_], x.data(), d_));
    return sum / static_cast<double>(n_) + 0.5 * lam_ * squared_norm(x);
  }

  std::vector<double> gradient(const std::vector<double>& x) const {
    std::vector<double> g(d_, 0.0);
    for (std::size_t r = 0; r < n_; ++r) {
      const double* row = &rows_[r * d_];
      const double p = logistic_tail(dot(row, x.data(), d_));
      for (std::size_t j = 0; j < d_; ++j) g[j] -= p * row[j];
    }
    for (std::size_t j = 0; j < d_; ++j) g[j] = g[j] / static_cast<double>(n_) + lam_ * x[j];
    return g;
  }

  /// Newton's method from 0. A step is taken when it decreases f as Armijo asks or, close to the optimum where
  /// differences of f are rounding, when it decreases |grad f|; else it is halved.
  std::vector<double> minimum() const {
    std::vector<double> x(d_, 0.0), g = gradient(x);
    double norm = std::sqrt(squared_norm(g)), f = value(x);
    double scale = 0.0;  // a gradient of rows that do not cancel has this size
    for (std::size_t r = 0; r < n_; ++r) {
      scale += std::sqrt(dot(&rows_[r * d_], &rows_[r * d_], d_)) / static_cast<double>(n_);
    }
    if (norm == 0.0) return x;
    int polish = 0;
    for (int iteration = 0; iteration < 200 && polish < 2; ++iteration) {
      if (norm <= 1e-13 * scale) ++polish;  // one more step while it helps: S near the optimum is only as good as this
      const auto step = newton_step(x, g);
      const double slope = dot(step.data(), g.data(), d_);
      if (!(slope < 0.0)) break;
      bool moved = false;
      for (double t = 1.0; t > (polish > 0 ? 0.5 : 1e-12) && !moved; t *= 0.5) {
        std::vector<double> candidate(d_);
        for (std::size_t j = 0; j < d_; ++j) candidate[j] = x[j] + t * step[j];
        auto candidate_g = gradient(candidate);
        const double candidate_norm = std::sqrt(squared_norm(candidate_g)), candidate_f = value(candidate);
        const bool enough = candidate_f < f && candidate_f <= f + 1e-4 * t * slope;
        if (polish > 0 ? !(candidate_norm < norm) : !enough && !(candidate_norm < 0.9 * norm)) continue;
        x = std::move(candidate);
        g = std::move(candidate_g);
        norm = candidate_norm;
        f = candidate_f;
        moved = true;
      }
      if (!moved) break;
    }
    if (!(norm <= 1e-11 * scale)) {
      throw InputError(
          fmt::format("objective: Newton's method found no minimum of the logistic loss (|grad f| stays at "
                      "{:.3g}); a larger objective.lam or data that are scaled to similar columns help",
                      norm));
    }
    return x;
  }

 private:
  std::vector<double> newton_step(const std::vector<double>& x, const std::vector<double>& g) const {
    std::vector<double> hessian(d_ * d_, 0.0);
    for (std::size_t r = 0; r < n_; ++r) {
      const double* row = &rows_[r * d_];
      const double p = logistic_tail(dot(row, x.data(), d_));
      const double weight = p * (1.0 - p) / static_cast<double>(n_);
      for (std::size_t i = 0; i < d_; ++i) {
        const double left = weight * row[i];
        if (left == 0.0) continue;
        for (std::size_t j = 0; j <= i; ++j) hessian[i * d_ + j] += left * row[j];
      }
    }
    const auto d = static_cast<Eigen::Index>(d_);
    // Row-major lower triangle = column-major upper triangle.
    Matrix h = Eigen::Map<const Matrix>(hessian.data(), d, d).selfadjointView<Eigen::Upper>();
    h.diagonal().array() += lam_;
    const Vector step = -h.ldlt().solve(Eigen::Map<const Vector>(g.data(), d));
    return {step.data(), step.data() + d};
  }

  const std::vector<double>& rows_;
  std::size_t n_, d_;
  double lam_;
};

Constant proved(double value, std::string detail) { return {value, Provenance::proved, std::move(detail)}; }

template <class R>
std::vector<R> rounded(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

bool all_finite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

}  // namespace

Objective::Objective(const ObjectiveConfig& config) : config_(config) {
  fix_eigen_blocking();
  if (config_.dim < 1) throw InputError(fmt::format("objective.dim = {} (must be at least 1)", config_.dim));
  const auto d = static_cast<std::size_t>(config_.dim);
  if (config_.start.size() != d) {
    throw InputError(fmt::format("objective.start has {} numbers (must have dim = {})", config_.start.size(), d));
  }
  auto& c = constants_;
  x_star_.assign(d, 0.0);
  const auto need_eigenvalues = [&] {
    if (config_.eigenvalues.size() != d) {
      throw InputError(
          fmt::format("objective: {} eigenvalues (must be dim = {})", config_.eigenvalues.size(), config_.dim));
    }
    h_ = config_.eigenvalues;
  };
  const auto need_data_dim = [&] {
    if (config_.dim > max_data_dim) {
      throw InputError(
          fmt::format("objective.dim = {} (must be at most {} for objectives over data)", config_.dim, max_data_dim));
    }
  };

  switch (config_.kind) {
    case ObjectiveKind::quadratic: {
      need_eigenvalues();
      double least = std::numeric_limits<double>::infinity(), greatest = 0.0;
      for (const double h : h_) {
        if (!(h >= 0.0)) throw InputError(fmt::format("objective: eigenvalue {} (a quadratic needs h >= 0)", h));
        if (h > 0.0) least = std::min(least, h);
        greatest = std::max(greatest, h);
      }
      if (!(greatest > 0.0)) throw InputError("objective: every eigenvalue is 0 (one at least must be positive)");
      c.mu = proved(least, "smallest eigenvalue");
      c.L = proved(greatest, "largest eigenvalue");
      c.L0 = proved(greatest, "L");
      c.L1 = proved(0.0, "L-smooth");
      break;
    }
    case ObjectiveKind::quartic: {
      // |H| = 3 x^2 <= L0 + L1 |x|^3 for every L1 > 0 with L0 = max(3 x^2 - L1 |x|^3) = 4 / L1^2.
      const double l1 = config_.L1.value_or(1.0);
      if (!(l1 > 0.0)) throw InputError(fmt::format("objective.L1 = {} (must be > 0)", l1));
      c.L0 = proved(4.0 / (l1 * l1), "4 / L1^2");
      c.L1 = proved(l1, config_.L1 ? "key objective.L1, any value > 0 is right" : "default, any value > 0 is right");
      c.mu.detail = "x^4 is not PL: |grad f|^2 / (2 S) = 2 x^2 tends to 0";
      c.L.detail = "x^4 has no bounded Hessian";
      c.super_quadratic = true;
      break;
    }
    case ObjectiveKind::cosh:
      c.mu = proved(1.0, "|grad f|^2 / (2 S) = cosh^2(x/2) >= 1");
      c.L0 = proved(1.0, "cosh x <= 1 + |sinh x|");
      c.L1 = proved(1.0, "cosh x <= 1 + |sinh x|");
      c.L.detail = "cosh has no bounded Hessian";
      c.super_quadratic = true;
      break;
    case ObjectiveKind::sine_pl:
      c.mu = {sine_pl_mu, Provenance::numerical, "numerical minimum of |grad f|^2 / (2 S) (1/32 in the literature)"};
      c.L = proved(8.0, "f'' = 2 + 6 cos 2x <= 8");
      c.L0 = proved(8.0, "L");
      c.L1 = proved(0.0, "L-smooth");
      break;
    case ObjectiveKind::saddle: {
      need_eigenvalues();
      if (!(config_.lam > 0.0)) throw InputError(fmt::format("objective.lam = {} (must be > 0)", config_.lam));
      for (std::size_t j = 0; j < d; ++j) {
        if (h_[j] >= 0.0) continue;
        c.f_star -= h_[j] * h_[j] / (4.0 * config_.lam);
        x_star_[j] = std::sqrt(-h_[j] / config_.lam);
      }
      c.mu.detail = "the gradient vanishes at the saddle";
      c.L.detail = "x^4 has no bounded Hessian";
      c.L0.detail = c.L1.detail = "not stated for the saddle";
      c.super_quadratic = true;
      break;
    }
    case ObjectiveKind::least_squares: {
      need_data_dim();
      const Problem problem = config_.file.empty() ? synthetic_least_squares(config_) : problem_from_file(config_);
      n_rows_ = problem.n_rows;
      rows_ = problem.rows;
      const auto n = static_cast<std::size_t>(n_rows_);
      gram_ = gram_matrix(rows_, n, d);
      if (!all_finite(gram_)) throw InputError(fmt::format("{}: the data overflow A^T A", config_.file));
      const auto size = static_cast<Eigen::Index>(d);
      const Eigen::SelfAdjointEigenSolver<Matrix> solver(Eigen::Map<const Matrix>(gram_.data(), size, size));
      const Vector& lambda = solver.eigenvalues();  // ascending
      const double greatest = lambda(size - 1);
      if (!(greatest > 0.0)) {
        throw InputError(fmt::format("{}: every feature is 0 (least_squares needs a nonzero matrix)", config_.file));
      }
      Eigen::Index first = 0;  // of the nonzero eigenvalues
      while (lambda(first) <= rank_tolerance * greatest) ++first;
      // The minimum-norm solution, x* = sum_i v_i (v_i . A^T b / n) / lambda_i; then the same for what rounding left of
      // the gradient. S does not depend on which solution is taken.
      Vector x = Vector::Zero(size);
      for (int pass = 0; pass < 3; ++pass) {
        Vector right = Vector::Zero(size);
        for (std::size_t r = 0; r < n; ++r) {
          const double* row = &rows_[r * d];
          const double residual = (problem.target[r] - dot(row, x.data(), d)) / static_cast<double>(n);
          for (std::size_t j = 0; j < d; ++j) right(static_cast<Eigen::Index>(j)) += residual * row[j];
        }
        for (Eigen::Index i = first; i < size; ++i) {
          x += solver.eigenvectors().col(i) * (solver.eigenvectors().col(i).dot(right) / lambda(i));
        }
      }
      std::copy(x.data(), x.data() + size, x_star_.begin());
      for (std::size_t r = 0; r < n; ++r) {
        const double residual = dot(&rows_[r * d], x_star_.data(), d) - problem.target[r];
        c.f_star += residual * residual / (2.0 * static_cast<double>(n));
      }
      c.mu = proved(lambda(first), fmt::format("least of the {} nonzero eigenvalues of A^T A / n (those above {:g} of "
                                               "the greatest)",
                                               size - first, rank_tolerance));
      c.L = proved(greatest, "greatest eigenvalue of A^T A / n");
      c.L0 = proved(greatest, "L");
      c.L1 = proved(0.0, "L-smooth");
      break;
    }
    case ObjectiveKind::logistic: {
      need_data_dim();
      if (!(config_.lam >= 0.0)) throw InputError(fmt::format("objective.lam = {} (must be >= 0)", config_.lam));
      const Problem problem = config_.file.empty() ? synthetic_logistic(config_) : problem_from_file(config_);
      n_rows_ = problem.n_rows;
      rows_ = problem.rows;
      const auto n = static_cast<std::size_t>(n_rows_);
      for (std::size_t r = 0; r < n; ++r) {
        for (std::size_t j = 0; j < d; ++j) rows_[r * d + j] *= problem.target[r];
      }
      const double greatest = greatest_eigenvalue(rows_, n, d);
      if (!std::isfinite(greatest)) throw InputError(fmt::format("{}: the data overflow A^T A", config_.file));
      const Logistic f(rows_, n, d, config_.lam);
      x_star_ = f.minimum();
      c.f_star = f.value(x_star_);
      margin_star_.resize(n);
      for (std::size_t r = 0; r < n; ++r) margin_star_[r] = dot(&rows_[r * d], x_star_.data(), d);
      if (config_.lam > 0.0) {
        c.mu = proved(config_.lam, "lam");
      } else {
        c.mu.detail = "lam = 0: the logistic loss is not PL";
      }
      const double l = config_.lam + 0.25 * greatest;
      c.L = proved(l, "lam + |A|^2 / (4 n), spectral norm");
      c.L0 = proved(l, "L");
      c.L1 = proved(0.0, "L-smooth");
      break;
    }
  }

  if (config_.mu) {
    // But for logistic (where lam is only a lower bound) the known constants are the best ones: a larger mu is refuted.
    if (config_.kind != ObjectiveKind::logistic) c.best_mu = c.mu.value;
    c.mu = {*config_.mu, Provenance::user, "key objective.mu"};
  }
  const bool dense = config_.kind == ObjectiveKind::least_squares || config_.kind == ObjectiveKind::logistic;
  const auto fill = [&](auto& arrays) {
    using R = typename std::decay_t<decltype(arrays.h)>::value_type;
    arrays.h = rounded<R>(h_);
    if (dense) arrays.x_star = rounded<R>(x_star_);
    arrays.gram = rounded<R>(gram_);
    if (config_.kind == ObjectiveKind::logistic) arrays.rows = rounded<R>(rows_);
  };
  fill(float_);
  fill(double_);
  c.suboptimality_at_start = suboptimality(config_.start);
  c.gradient_at_start = gradient(config_.start);
}

template <class R>
ObjectiveSpec<R> Objective::spec() const {
  const Arrays<R>* arrays = nullptr;
  if constexpr (std::is_same_v<R, float>) {
    arrays = &float_;
  } else {
    arrays = &double_;
  }
  const auto pointer = [](const auto& v) { return v.empty() ? nullptr : v.data(); };
  ObjectiveSpec<R> spec;
  spec.kind = config_.kind;
  spec.dim = config_.dim;
  spec.h = pointer(arrays->h);
  spec.x_star = pointer(arrays->x_star);
  spec.gram = pointer(arrays->gram);
  spec.rows = pointer(arrays->rows);
  spec.n_rows = n_rows_;
  spec.lam = static_cast<R>(config_.lam);
  if (n_rows_ > 0) {
    spec.x_star_double = x_star_.data();
    spec.rows_double = rows_.data();
    spec.margin_star = pointer(margin_star_);
  }
  return spec;
}
template ObjectiveSpec<float> Objective::spec() const;
template ObjectiveSpec<double> Objective::spec() const;

double Objective::suboptimality(const std::vector<double>& x) const {
  const std::size_t d = x_star_.size();
  double sum = 0.0;
  switch (config_.kind) {
    case ObjectiveKind::quadratic:
      for (std::size_t j = 0; j < d; ++j) sum += 0.5 * h_[j] * x[j] * x[j];
      return sum;
    case ObjectiveKind::quartic:
      for (std::size_t j = 0; j < d; ++j) sum += 0.25 * x[j] * x[j] * x[j] * x[j];
      return sum;
    case ObjectiveKind::cosh:
      for (std::size_t j = 0; j < d; ++j) {
        const double s = std::sinh(0.5 * x[j]);
        sum += 2.0 * s * s;
      }
      return sum;
    case ObjectiveKind::sine_pl:
      for (std::size_t j = 0; j < d; ++j) {
        const double s = std::sin(x[j]);
        sum += x[j] * x[j] + 3.0 * s * s;
      }
      return sum;
    case ObjectiveKind::saddle:
      for (std::size_t j = 0; j < d; ++j) {
        const double square = x[j] * x[j];
        if (h_[j] < 0.0) {
          // h x^2/2 + lam x^4/4 + h^2/(4 lam) is a square
          const double well = square + h_[j] / config_.lam;
          sum += 0.25 * config_.lam * well * well;
        } else {
          sum += square * (0.5 * h_[j] + 0.25 * config_.lam * square);
        }
      }
      return sum;
    case ObjectiveKind::least_squares:
    case ObjectiveKind::logistic:
      break;
  }
  const auto n = static_cast<std::size_t>(n_rows_);
  std::vector<double> e(d);
  for (std::size_t j = 0; j < d; ++j) e[j] = x[j] - x_star_[j];
  for (std::size_t r = 0; r < n; ++r) {
    const double along = dot(&rows_[r * d], e.data(), d);
    if (config_.kind == ObjectiveKind::least_squares) {
      sum += 0.5 * along * along;
    } else {
      // The term is the same for (m*, t) and (-m*, -t): with m* >= 0, so p <= 1/2, nothing cancels in 1 - p.
      const double m = std::fabs(margin_star_[r]), p = logistic_tail(m);
      const double t = margin_star_[r] < 0.0 ? -along : along;
      if (std::fabs(t) < 0x1p-6) {
        // The difference cancels to first order: here its series, from the cumulants of a Bernoulli(p) variable.
        const double v = p * (1.0 - p), odd = 1.0 - 2.0 * p;
        const double series = 0.5 - odd * t / 6.0 + (1.0 - 6.0 * v) * t * t / 24.0 -
                              odd * (1.0 - 12.0 * v) * t * t * t / 120.0 +
                              (1.0 - 30.0 * v + 120.0 * v * v) * t * t * t * t / 720.0;
        sum += v * t * t * series;
      } else {
        // Equal in exact arithmetic; log1p overflows for very negative t.
        sum += p * t + (t < -30.0 ? softplus(-(m + t)) - softplus(-m) : portable::log1p(p * portable::expm1(-t)));
      }
    }
  }
  sum /= static_cast<double>(n);
  return config_.kind == ObjectiveKind::least_squares ? sum : sum + 0.5 * config_.lam * squared_norm(e);
}

std::vector<double> Objective::gradient(const std::vector<double>& x) const {
  const std::size_t d = x_star_.size();
  std::vector<double> g(d, 0.0);
  switch (config_.kind) {
    case ObjectiveKind::quadratic:
      for (std::size_t j = 0; j < d; ++j) g[j] = h_[j] * x[j];
      break;
    case ObjectiveKind::quartic:
      for (std::size_t j = 0; j < d; ++j) g[j] = x[j] * x[j] * x[j];
      break;
    case ObjectiveKind::cosh:
      for (std::size_t j = 0; j < d; ++j) g[j] = std::sinh(x[j]);
      break;
    case ObjectiveKind::sine_pl:
      for (std::size_t j = 0; j < d; ++j) g[j] = 2.0 * x[j] + 3.0 * std::sin(2.0 * x[j]);
      break;
    case ObjectiveKind::saddle:
      for (std::size_t j = 0; j < d; ++j) g[j] = x[j] * (h_[j] + config_.lam * x[j] * x[j]);
      break;
    case ObjectiveKind::least_squares: {
      std::vector<double> e(d);
      for (std::size_t j = 0; j < d; ++j) e[j] = x[j] - x_star_[j];
      for (std::size_t r = 0; r < static_cast<std::size_t>(n_rows_); ++r) {
        const double t = dot(&rows_[r * d], e.data(), d) / n_rows_;
        for (std::size_t j = 0; j < d; ++j) g[j] += t * rows_[r * d + j];
      }
      break;
    }
    case ObjectiveKind::logistic:
      return Logistic(rows_, static_cast<std::size_t>(n_rows_), d, config_.lam).gradient(x);
  }
  return g;
}

}  // namespace pathbound
