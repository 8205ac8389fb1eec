// SPDX-License-Identifier: Apache-2.0
// The experiment file (TOML), validated and with every default and override resolved. docs/experiment.md lists the
// keys.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/spec.hpp"

namespace pathbound {

/// The input is wrong (exit code 2). what() is the whole message for the user: every problem found, one a line, each
/// with file, line, key, value, what is allowed and the nearest known key.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// The machine is wrong: no device, out of memory, disk full (exit code 3).
struct MachineError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

enum class Precision { single, double_ };  // "float", "double"
enum class Expectation { holds, violated, inconclusive, not_applicable };

struct ObjectiveConfig {
  ObjectiveKind kind = ObjectiveKind::quadratic;
  int dim = 1;
  std::optional<double> mu;  ///< overrides of the constants
  std::optional<double> L1;
  std::vector<double> eigenvalues;  ///< quadratic: resolved spectrum; saddle: as given
  std::string spectrum_kind;        ///< geometric, linear, list (quadratic)
  double spectrum_min = 0.0, spectrum_max = 0.0;
  std::vector<double> start;  ///< dim numbers
  // least_squares, logistic
  int rows = 0;
  std::optional<int> rank;      ///< least_squares, synthetic: rank of A (default min(rows, dim))
  double condition = 10.0;      ///< least_squares, synthetic: condition number of A^T A / n on its range
  std::uint64_t data_seed = 1;  ///< synthetic data
  std::string file;             ///< CSV or LIBSVM data file, resolved against the experiment's folder; empty: synthetic
  std::string file_as_given;    ///< the same as the experiment file names it
  double lam = 0.0;             ///< logistic, saddle
};

struct NoiseConfig {
  LawSpec law;
  double scale = 1.0;   ///< sigma
  double affine = 0.0;  ///< rho
};

struct WorkersConfig {
  int count = 1;
  std::vector<double> scale;  ///< per worker, count numbers (noise.scale where no list was given)
  std::vector<double> batch;  ///< per worker, count numbers, each >= 1
  std::vector<int> k;         ///< per worker, count numbers when the compressor keeps k coordinates, else empty
};

struct CompressorConfig {
  CompressorKind kind = CompressorKind::identity;
  int k = 0;       ///< rand_k, rand_k_plain, top_k
  double p = 1.0;  ///< bernoulli
  int s = 1;       ///< qsgd: levels
};

/// Keys of a curve's adaptive factor a(x) (theory section 2).
struct AdaptiveConfig {
  AdaptiveKind kind = AdaptiveKind::none;
  bool stochastic = false;       ///< from gbar, not from grad f
  double c = 1.0, q = 1.0;       ///< gradient_norm
  double theta = 1.0;            ///< l0l1, hessian_norm
  std::optional<double> L0, L1;  ///< l0l1; none: the objective's
};

/// How E S is estimated from runs that share random words (host/variance_reduction.hpp).
enum class VarianceReduction : int { none, control, antithetic, multilevel, automatic };

/// What makes a [[curve]] the SDE of a method.
struct ModelConfig {
  ModelKind kind = ModelKind::first_order;
  IntegratorKind integrator = IntegratorKind::euler_maruyama;
  int substeps = 1;  ///< of a step of the method
  std::string of;    ///< name of the curve whose method it models
};

/// One [[curve]] with the overrides applied: noise, workers, seed, paths and steps are its own. A model has those of
/// the curve it is of, and its method, eta, compressor and schedule.
struct CurveConfig {
  std::string name;
  std::optional<ModelConfig> model;
  MethodKind method = MethodKind::dsgd;
  double eta = 0.0;
  CompressorConfig compressor;
  ScheduleSpec schedule;  ///< cosine: with the curve's steps
  AdaptiveConfig adaptive;
  bool each_worker = false;                           ///< dnsgd: at = "worker"
  double clip = 1.0;                                  ///< clipped_dsgd
  double momentum = 0.9;                              ///< heavy_ball
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;  ///< adam
  NoiseConfig noise;
  WorkersConfig workers;
  std::uint64_t seed = 1, paths = 0, steps = 0;
  std::vector<std::uint64_t> checkpoint_steps;
  std::string sampling = "auto";
  bool modelled = false;  ///< a model names this curve in `of`
  bool averaged = false;  ///< a bound on an average over the steps is about this curve (B5, B6, B6d)
  VarianceReduction variance_reduction = VarianceReduction::none;
  bool mirrored = false;  ///< simulated with the sign of the noise turned: half of an antithetic pair
};

struct BoundConfig {
  std::string theorem;  ///< canonical label: B3, B3p, B3c, B3d, B4, B4Y, B4d (aliases such as B3' are resolved)
  std::string curve;
  std::optional<Expectation> expect;
  double margin = 0.005;
  double confidence = 0.99;
};

struct Experiment {
  std::string title;
  std::string source;  ///< path of the file
  std::uint64_t seed = 1;
  std::uint64_t paths = 0;
  std::uint64_t steps = 0;
  Precision precision = Precision::single;
  double limit = 1e30;
  int checkpoints = 0;                          ///< intervals; 0 when checkpoint_steps were given
  std::vector<std::uint64_t> checkpoint_steps;  ///< as given; each curve holds its own resolved list
  ObjectiveConfig objective;
  std::vector<CurveConfig> curves;
  std::vector<BoundConfig> bounds;
};

/// `key=value` of --set: the value is TOML (a bare word counts as a string). Keys are dotted; curves and bounds are
/// addressed as curve.<name>.<key> and bound.<index or theorem>.<key>.
struct Overrides {
  std::vector<std::string> set;
  std::optional<std::uint64_t> seed, paths;
};

/// Reads, overrides and validates. Throws InputError with every problem found.
Experiment load_experiment(const std::string& path, const Overrides& overrides = {});
/// The same from text; `source` names it in messages, and relative data files are looked up beside it.
Experiment parse_experiment(std::string_view text, const std::string& source, const Overrides& overrides = {});

/// The normalised input: every default filled in, as it stands in results.json under "experiment".
nlohmann::ordered_json normalised(const Experiment& experiment);

const char* name_of(ObjectiveKind);
const char* name_of(MethodKind);
const char* name_of(LawKind);
const char* name_of(CompressorKind);
const char* name_of(ScheduleKind);
const char* name_of(AdaptiveKind);
const char* name_of(ModelKind);
const char* name_of(IntegratorKind);
const char* name_of(Expectation);
const char* name_of(VarianceReduction);

/// An entry of `pathbound list` and of the documentation: what a component is and its keys.
struct KeyInfo {
  std::string name, type, allowed, fallback, meaning;  ///< fallback: the default as text, or "required"
};
struct ComponentInfo {
  std::string name, summary;
  std::vector<KeyInfo> keys;
};
/// Registries that `pathbound list`, the checks and docs/experiment.md share.
const std::vector<ComponentInfo>& objective_registry();
const std::vector<ComponentInfo>& law_registry();
const std::vector<ComponentInfo>& method_registry();
const std::vector<ComponentInfo>& model_registry();
const std::vector<ComponentInfo>& integrator_registry();
const std::vector<ComponentInfo>& compressor_registry();
const std::vector<ComponentInfo>& schedule_registry();
const std::vector<ComponentInfo>& adaptive_registry();
const std::vector<ComponentInfo>& variance_reduction_registry();
const std::vector<ComponentInfo>& spectrum_registry();  ///< kinds of objective.spectrum
/// The tables of the file with the keys that do not depend on a kind: experiment (the top level), objective, spectrum,
/// noise, workers, curve (keys of each), method, model (keys of curves that have the one or the other), compressor,
/// schedule, adaptive, bound.
const std::vector<ComponentInfo>& table_registry();

}  // namespace pathbound
