// SPDX-License-Identifier: Apache-2.0
// The plain data that goes into a simulation: read this first. Everything here is passed by value or through pointers
// to arrays the caller owns; nothing allocates.
#pragma once
#include <cstdint>

#include "kernels/hd.hpp"

namespace pathbound {

/// Paths are simulated, and their statistics reduced, in blocks of this many.
inline constexpr int block_paths = 32;

enum class MethodKind : int { dsgd, dcsgd, dsignsgd, dnsgd, clipped_dsgd, heavy_ball, adam };
enum class ObjectiveKind : int { quadratic, quartic, cosh, sine_pl, least_squares, logistic, saddle };
/// f(x) = sum_j f_j(x_j).
PATHBOUND_HD constexpr bool is_separable(ObjectiveKind kind) {
  return kind != ObjectiveKind::least_squares && kind != ObjectiveKind::logistic;
}
enum class LawKind : int {
  gaussian,
  student_t,
  multivariate_t,
  laplace,
  logistic,
  contaminated_gaussian,
  alpha_stable
};
enum class CompressorKind : int { identity, rand_k, bernoulli, rand_k_plain, qsgd, natural, top_k };
/// Whether the compressor has a number k of coordinates that it keeps, which may differ between workers.
PATHBOUND_HD constexpr bool keeps_k(CompressorKind kind) {
  return kind == CompressorKind::rand_k || kind == CompressorKind::rand_k_plain || kind == CompressorKind::top_k;
}
enum class ScheduleKind : int { constant, polynomial, exponential, step, cosine };
/// Factors a(x) of the step size (theory section 2).
enum class AdaptiveKind : int { none, gradient_norm, l0l1, hessian_norm };
/// What a path sums up over its steps for bounds on averages (theory B5, B6).
enum class SumKind : int { none, gradient, psi };
/// SDEs that model a method, and how they are stepped (theory section 3).
enum class ModelKind : int { first_order, second_order, curvature, hessian_aware };
enum class IntegratorKind : int { euler_maruyama, weak2, moment };

/// Which stream of random words a process draws from (design: word q * 2^60 + m of a path). The numbers are part of
/// the stream's definition.
enum class Purpose : int {
  gradient_noise = 0,
  compressor = 1,
  refinement = 2,
  start = 3,
  model_noise = 4,
  selector = 5,
  signs = 6,            ///< weak2: its two-point variables
  rare_signs = 7,       ///< the sum of signs where the table does not decide (kernels/marginal.hpp)
  subset_extension = 8  ///< digits of a subset that 32 bits leave open
};

/// A law of unit-scale noise (theory section 1); parameters of other laws are 0.
struct LawSpec {
  LawKind kind = LawKind::gaussian;
  double nu = 0.0;     ///< student_t, multivariate_t
  double alpha = 0.0;  ///< alpha_stable
  double eps = 0.0;    ///< contaminated_gaussian: share of the wide part, ...
  double k = 0.0;      ///< ... and its standard deviation
  bool operator==(const LawSpec&) const = default;
};

/// Prescribed factors s_k of the step size (theory section 2); parameters of other schedules keep their defaults.
struct ScheduleSpec {
  ScheduleKind kind = ScheduleKind::constant;
  double k0 = 1.0, p = 0.5;          ///< polynomial: (1 + k/k0)^-p
  double rate = 0.0;                 ///< exponential: e^(-rate k)
  double every = 1.0, factor = 1.0;  ///< step: factor^floor(k / every)
  double steps = 1.0;                ///< cosine: (1 + cos(pi k / steps)) / 2
  double warmup = 0.0;               ///< any: times min(1, (k + 1) / warmup)
};

/// Whether s_k is 1 at every step.
PATHBOUND_HD constexpr bool is_constant(const ScheduleSpec& s) {
  const bool level = s.kind == ScheduleKind::constant || (s.kind == ScheduleKind::polynomial && s.p == 0.0) ||
                     (s.kind == ScheduleKind::exponential && s.rate == 0.0) ||
                     (s.kind == ScheduleKind::step && s.factor == 1.0);
  return level && s.warmup <= 1.0;
}

/// a(x) with eta_k = eta s_k a(x_k) (theory section 2), r = |grad f(x)| or, stochastic, |gbar|.
template <class R>
struct AdaptiveSpec {
  AdaptiveKind kind = AdaptiveKind::none;
  bool stochastic = false;
  R inverse_c = R(0), minus_q = R(0);  ///< gradient_norm: (1 + r/c)^-q
  /// l0l1: share / (L0 + L1 r); hessian_norm: min(1, share / |H|). share = theta / (K eta).
  R share = R(0), L0 = R(0), L1 = R(0);
  R hessian = R(0);  ///< hessian_norm: |H| of an objective in which it is the same everywhere (least_squares)
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

/// Xi(y) = F(y) - 1/2 of a law and the density F'(y) for y >= 0 as piecewise polynomials (host/xi_table.hpp makes them,
/// kernels/xi.hpp reads them). Piece 0 is [0, low), low a power of two; the following ones cut each octave [2^e,
/// 2^(e+1)) from low on into 2^octave_bits of equal width; the last has no end, and there Xi is 1/2. With w a piece's
/// width and t in [0, 1) the place in it: Xi = Q(t) = c_0 + c_1 t + ... + c_terms t^terms, F' = Q'(t)/w.
template <class R>
struct XiTable {
  static constexpr int octave_bits = 5;
  static constexpr int terms = sizeof(R) == 4 ? 6 : 10;
  static constexpr int stride = terms + 2;  ///< of a piece: 1/w, c_0, c_1, ...
  const R* pieces = nullptr;
  int n_pieces = 0;  ///< the last included
  R low = R(0), inverse_low = R(0);
};

/// Workers that are alike, where the mean of their signs counts.
template <class R>
struct SignGroup {
  R weight = R(0);     ///< their share of all
  R scale_sq = R(0);   ///< as in WorkerSpec
  R affine_sq = R(0);  ///< as in WorkerSpec
  R scale = R(0);      ///< as in WorkerSpec
};

/// What the mean of the workers' signs is made of (theory section 3, DSignSGD): for models, and for psi of B6.
template <class R>
struct SignSpec {
  const SignGroup<R>* groups = nullptr;
  int n_groups = 0;
  XiTable<R> xi;
};

/// A model of the SimSpec's method. Coefficients are means over the workers (theory section 3).
template <class R>
struct ModelSpec {
  ModelKind kind = ModelKind::first_order;
  IntegratorKind integrator = IntegratorKind::euler_maruyama;
  int substeps = 1;  ///< n: of length eta/n each
  R delta = R(0);    ///< weak2: how far its differences reach, in noise increments; 1/(4 sqrt(n))
  /// DSGD, DCSGD: Q = diag(square v_j^2 + noise + affine |v|^2/d) - rank_one v v^T, v = grad f.
  R square = R(0), noise = R(0), affine = R(0), rank_one = R(0);
  R omega = R(0);  ///< mean omega_i
};

/// How the sum of the workers' messages is drawn (theory O10, kernels/marginal.hpp).
enum class MarginalKind : int {
  none,   ///< worker by worker
  signs,  ///< dsignsgd: how many signs differ from the gradient's
  counts  ///< dcsgd, gaussian: how many workers keep a coordinate, and one normal for the noise of all of them
};

/// Cells in each octave of t = 1 + unit y, as a power of two; the octave [1, 2) has cells of equal width. More workers
/// need finer ones.
PATHBOUND_HD constexpr int sign_octave_bits(int bits) { return bits == 4 ? 9 : 10; }
/// Most workers of a group.
inline constexpr int most_signs = 64, most_counts = 15;
/// What an entry of a table of 2^bits stands for last: a draw from the rest.
PATHBOUND_HD constexpr int rare_code(int bits) { return (1 << bits) - 1; }
PATHBOUND_HD constexpr int sign_table_bits(int workers) { return workers <= 14 ? 4 : workers <= 30 ? 5 : 6; }

/// A random word that gives `count` digits of a subset, those of j = first, first + 1, ...; bound: the product of their
/// numbers of values.
struct SubsetWord {
  int first = 0, count = 0;
  std::uint32_t bound = 1;
};

/// Workers that are alike, drawn together.
template <class R>
struct MarginalGroup {
  int workers = 0;                      ///< N; signs: at most 64, counts: at most 15
  R scale_sq = R(0), affine_sq = R(0);  ///< as in WorkerSpec
  /// signs: rows of 2^bits entries for cells of t = 1 + unit |g| / s, t <= cap.
  int bits = 4;
  R unit = R(1), inverse = R(0), cap = R(1);  ///< inverse: unit / s without affine noise
  std::int64_t entries = 0, binomials = 0;    ///< where the group's part of the arrays of MarginalSpec begins
  /// counts: the factor of a kept coordinate, and factor^2 scale_sq, factor^2 affine_sq.
  R factor = R(1), variance = R(0), variance_affine = R(0);
  int keep = 0;
  int subset_words = 0;           ///< rand_k: of a worker
  std::int64_t first_subset = 0;  ///< in MarginalSpec::subsets
  std::int64_t first_count = 0;   ///< bernoulli: in MarginalSpec::counts
};

template <class R>
struct MarginalSpec {
  MarginalKind kind = MarginalKind::none;
  const MarginalGroup<R>* groups = nullptr;
  int n_groups = 0;
  /// signs
  const std::uint16_t* entries = nullptr;  ///< alias tables
  const std::uint16_t* masses = nullptr;   ///< what they give to each number of rare signs, in 2^-16; same places
  int n_entries = 0;                       ///< of masses; entries: 4 more
  const double* binomials = nullptr;       ///< N choose k
  int n_binomials = 0;
  XiTable<double> xi;
  /// counts
  const SubsetWord* subsets = nullptr;
  int n_subsets = 0;
  int subset_words = 0;                   ///< of all workers in a step
  const std::uint32_t* counts = nullptr;  ///< bernoulli: alias tables of 64 entries
  int n_counts = 0;
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
  bool is_model = false;  ///< the process is `model` of the method; a step is `model.substeps` substeps
  ModelSpec<R> model;
  ObjectiveSpec<R> objective;
  const R* start = nullptr;  ///< x_0, dim numbers

  LawSpec law;

  int n_workers = 1;
  const WorkerSpec<R>* workers = nullptr;
  bool affine = false;  ///< some worker has affine_sq > 0

  CompressorKind compressor = CompressorKind::identity;  ///< rand_k_plain is rand_k with inverse_keep = 1
  R levels = R(1);                                       ///< qsgd: s

  bool each_worker = false;  ///< dnsgd: every worker's gradient is normalised, else their mean
  R clip = R(0);             ///< clipped_dsgd: c
  R momentum = R(0);         ///< heavy_ball
  /// adam; root_beta2 = sqrt(beta2), root_rest2 = sqrt(1 - beta2), log_beta = ln beta.
  R beta1 = R(0), root_beta2 = R(0), root_rest2 = R(1), epsilon = R(0);
  double log_beta1 = 0.0, log_beta2 = 0.0;

  double eta = 0.0;
  ScheduleSpec schedule;
  AdaptiveSpec<R> adaptive;

  SignSpec<R> signs;  ///< models of dsignsgd; SumKind::psi
  MarginalSpec<R> marginal;

  bool track_pl = false;        ///< keep the extremes of |grad f|^2 / (2 S) at the checkpoints
  bool track_gradient = false;  ///< keep max_j |grad_j f| over every step so far, not only at the checkpoints
  /// Sums over the steps before a checkpoint (a model: integrals over its substeps) of w (term - level) and of w, w =
  /// eta s_k a(x_k). gradient: term = |grad f|^2; psi: term = m . grad f, m the mean of the signs.
  SumKind sums = SumKind::none;
  double sums_level = 0.0;
  /// Keep the largest |H(x)| / (smooth_L0 + smooth_L1 |grad f(x)|) over every step so far (separable objectives).
  bool track_smoothness = false;
  R smooth_L0 = R(0), smooth_L1 = R(0);
};

/// Whether a method's curve needs more than the first methods, laws and compressors: such curves have step loops of
/// their own, so that the others stay as short as they were.
template <class R>
PATHBOUND_HD constexpr bool is_general(const SimSpec<R>& spec) {
  const bool compressor = spec.compressor == CompressorKind::qsgd || spec.compressor == CompressorKind::natural ||
                          spec.compressor == CompressorKind::top_k;
  const bool law = static_cast<int>(spec.law.kind) > static_cast<int>(LawKind::multivariate_t) &&
                   spec.marginal.kind != MarginalKind::signs;
  return static_cast<int>(spec.method) > static_cast<int>(MethodKind::dsignsgd) || law || compressor ||
         spec.adaptive.kind != AdaptiveKind::none || spec.sums != SumKind::none || spec.track_smoothness;
}

}  // namespace pathbound
