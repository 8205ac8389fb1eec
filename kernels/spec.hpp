// SPDX-License-Identifier: Apache-2.0
// The plain data that goes into a simulation: read this first. Everything here is passed by value or through pointers
// to arrays the caller owns; nothing allocates.
#pragma once
#include <cstdint>

namespace pathbound {

/// Paths are simulated, and their statistics reduced, in blocks of this many.
inline constexpr int block_paths = 32;

enum class MethodKind : int { dsgd, dcsgd, dsignsgd };
enum class ObjectiveKind : int { quadratic, quartic, cosh, sine_pl, least_squares, logistic, saddle };
enum class LawKind : int { gaussian, student_t, multivariate_t };
enum class CompressorKind : int { identity, rand_k, bernoulli };
enum class ScheduleKind : int { constant, polynomial };

/// Which stream of random words a process draws from (design: word q * 2^60 + m of a path). The numbers are part of
/// the stream's definition.
enum class Purpose : int {
  gradient_noise = 0,
  compressor = 1,
  refinement = 2,
  start = 3,
  model_noise = 4,
  selector = 5
};

/// The objective as the inner loops see it. R is float or double. Arrays that an objective does not use are null.
template <class R>
struct ObjectiveSpec {
  ObjectiveKind kind = ObjectiveKind::quadratic;
  int dim = 1;
  /// quadratic, saddle: the dim eigenvalues h_j. least_squares, logistic: the optimum x*.
  const R* h = nullptr;
  const R* x_star = nullptr;
  /// least_squares: the dim x dim matrix A^T A / n_rows, row by row (symmetric).
  const R* gram = nullptr;
  /// logistic: the n_rows x dim matrix with rows y_r a_r.
  const R* rows = nullptr;
  int n_rows = 0;
  /// saddle and logistic: lambda.
  R lam = R(0);
  /// For S(x) in double: the optimum, the rows (least_squares: A; logistic: y_r a_r), and y_r a_r . x*.
  const double* x_star_double = nullptr;
  const double* rows_double = nullptr;
  const double* margin_star = nullptr;
};

/// One worker. s_i(x)^2 = scale_sq + affine_sq |grad f(x)|^2 / dim, with the batch size already divided out.
template <class R>
struct WorkerSpec {
  R scale = R(0);                ///< s_i when affine_sq = 0: sigma_i / sqrt(B_i)
  R scale_sq = R(0);             ///< sigma_i^2 / B_i
  R affine_sq = R(0);            ///< rho_i^2 / B_i
  int keep = 0;                  ///< rand_k: coordinates kept
  R inverse_keep = R(1);         ///< the factor of a kept coordinate: dim/k (rand_k) or 1/p (bernoulli)
  std::uint32_t keep_below = 0;  ///< bernoulli: keep when the word is at most this (p = (keep_below + 1) / 2^32)
};

/// One curve: a process, its noise and its random streams.
template <class R>
struct SimSpec {
  std::uint64_t seed = 0;
  std::uint64_t n_paths = 0;
  std::uint64_t n_steps = 0;
  /// Strictly ascending steps at which statistics are taken, the last <= n_steps.
  const std::uint64_t* checkpoint_steps = nullptr;
  int n_checkpoints = 0;
  double limit = 1e30;  ///< a path with S above it has diverged

  MethodKind method = MethodKind::dsgd;
  ObjectiveSpec<R> objective;
  const R* start = nullptr;  ///< x_0, dim numbers

  LawKind law = LawKind::gaussian;
  double nu = 0.0;  ///< student_t, multivariate_t

  int n_workers = 1;
  const WorkerSpec<R>* workers = nullptr;
  bool affine = false;  ///< some worker has affine_sq > 0

  CompressorKind compressor = CompressorKind::identity;

  ScheduleKind schedule = ScheduleKind::constant;
  double eta = 0.0;
  double schedule_k0 = 1.0;
  double schedule_p = 0.5;

  bool track_pl = false;        ///< keep the extremes of |grad f|^2 / (2 S) at the checkpoints
  bool track_gradient = false;  ///< keep max_j |grad_j f| over every step so far, not only at the checkpoints
};

}  // namespace pathbound
