// SPDX-License-Identifier: Apache-2.0
// The components of an experiment file and their keys. One entry here (and the enumerator of kernels/spec.hpp, in the
// same order) makes a component known to the checks, to `pathbound list` and to the test of docs/experiment.md.
#include "host/bounds.hpp"
#include "host/experiment.hpp"

namespace pathbound {
namespace {

/// "one of a, b, c" over the names of a registry.
std::string one_of(const std::vector<ComponentInfo>& registry) {
  std::string text = "one of ";
  for (std::size_t i = 0; i < registry.size(); ++i) text += (i ? ", " : "") + registry[i].name;
  return text;
}

std::string one_of_bounds() {
  std::string text = "one of ";
  for (const BoundInfo& bound : bound_registry()) {
    text += (&bound == &bound_registry().front() ? "" : ", ") + bound.theorem;
    if (!bound.alias.empty()) text += " (or " + bound.alias + ")";
  }
  return text;
}

template <class Kind>
const char* name_in(const std::vector<ComponentInfo>& registry, Kind kind) {
  const auto index = static_cast<std::size_t>(kind);
  return index < registry.size() ? registry[index].name.c_str() : "?";
}

const KeyInfo mu_key{"mu", "number", "a number > 0", "the known constant", "PL constant to use in its place"};
const KeyInfo rows_key{"rows", "integer", "an integer from 1 to 2^24 / dim", "required without file",
                       "rows of synthetic data"};
const KeyInfo two_rows_key{"rows", "integer", "an integer from 2 to 2^24 / dim", "required without file",
                           "rows of synthetic data, of two classes"};
const KeyInfo data_seed_key{"data_seed", "integer", "an integer from 0 to 2^63 - 1", "1", "seed of the synthetic data"};
const KeyInfo file_key{"file", "string", "the path of a CSV or LIBSVM file, relative to the experiment file",
                       "synthetic data", "data file, instead of rows and data_seed"};
const KeyInfo lam_key{"lam", "number", "a number > 0", "required", "lambda of the objective"};
const KeyInfo nu_key{"nu", "number", "a number from 0.3 (precision = \"double\": 0.06) to 1e9", "required",
                     "degrees of freedom"};
const KeyInfo k_key{"k", "integer", "an integer from 1 to dim", "required unless workers.k is given",
                    "coordinates kept"};
const KeyInfo stochastic_key{"stochastic", "boolean", "true or false", "false",
                             "measures the mean of what the workers send in place of grad f"};
const KeyInfo theta_key{"theta", "number", "a number > 0", "1.0", "the step in units of its limit"};

}  // namespace

const std::vector<ComponentInfo>& objective_registry() {
  static const std::vector<ComponentInfo> registry{
      {"quadratic",
       "1/2 sum h_j x_j^2",
       {{"spectrum", "table", "a table such as { kind = \"geometric\", min = 0.1, max = 1.0 }", "required",
         "the eigenvalues h_j"},
        mu_key}},
      {"quartic",
       "sum x_j^4 / 4: not PL, (L0, L1)-smooth with L0 = 4 / L1^2",
       {{"L1", "number", "a number > 0", "1.0", "L1 of the pair (4 / L1^2, L1)"}}},
      {"cosh", "sum cosh(x_j) - 1: (1, 1)-smooth", {mu_key}},
      {"sine_pl", "sum x_j^2 + 3 sin^2 x_j: PL but not convex", {mu_key}},
      {"least_squares",
       "|A x - b|^2 / (2 n), A may be rank-deficient",
       {rows_key,
        {"rank", "integer", "an integer from 1 to min(rows, dim)", "min(rows, dim)", "rank of the synthetic A"},
        {"condition", "number", "a number from 1 to 1e11 (1 when rank = 1)", "10.0 (1.0 when rank = 1)",
         "condition number of A^T A / n on its range (synthetic A)"},
        data_seed_key,
        file_key,
        mu_key}},
      {"logistic", "mean log(1 + exp(-y a.x)) + lam/2 |x|^2", {two_rows_key, data_seed_key, file_key, lam_key, mu_key}},
      {"saddle",
       "1/2 sum h_j x_j^2 + lam/4 sum x_j^4, some h_j < 0",
       {{"eigenvalues", "list of numbers", "exactly dim nonzero numbers, at least one negative", "required", "the h_j"},
        lam_key}},
  };
  return registry;
}

const std::vector<ComponentInfo>& spectrum_registry() {
  static const KeyInfo min{"min", "number", "a number > 0", "required", "smallest eigenvalue"};
  static const KeyInfo max{"max", "number", "a number >= min", "required", "largest eigenvalue"};
  static const std::vector<ComponentInfo> registry{
      {"geometric", "from min to max in equal ratios (dim = 1: min)", {min, max}},
      {"linear", "from min to max in equal differences (dim = 1: min)", {min, max}},
      {"list",
       "the eigenvalues themselves",
       {{"eigenvalues", "list of numbers", "exactly dim numbers > 0", "required", "the h_j"}}},
  };
  return registry;
}

const std::vector<ComponentInfo>& law_registry() {
  static const std::vector<ComponentInfo> registry{
      {"gaussian", "standard normal, coordinates independent", {}},
      {"student_t", "Student t, coordinates independent", {nu_key}},
      {"multivariate_t", "multivariate t: the coordinates of a worker share one chi-square", {nu_key}},
      {"laplace", "density e^-|z| / 2, variance 2, coordinates independent", {}},
      {"logistic", "density e^-z / (1 + e^-z)^2, variance pi^2 / 3, coordinates independent", {}},
      {"contaminated_gaussian",
       "(1 - eps) N(0, 1) + eps N(0, k^2), coordinates independent",
       {{"eps", "number", "a number in (0, 1)", "required", "share of the wide part"},
        {"k", "number", "a number > 0", "required", "standard deviation of the wide part"}}},
      {"alpha_stable",
       "symmetric stable, characteristic function exp(-|t|^alpha), coordinates independent",
       {{"alpha", "number", "a number from 0.3 (precision = \"double\": 0.06) to 2", "required",
         "stability index; 1 is Cauchy, 2 is N(0, 2)"}}},
  };
  return registry;
}

const std::vector<ComponentInfo>& method_registry() {
  static const std::vector<ComponentInfo> registry{
      {"dsgd", "x' = x - (eta/N) sum g_i", {}},
      {"dcsgd",
       "x' = x - (eta/N) sum C_i(g_i)",
       {{"compressor", "table", "a table such as { kind = \"rand_k\", k = 16 }", "{ kind = \"identity\" }",
         "the compressor C_i"}}},
      {"dsignsgd", "x' = x - (eta/N) sum sign(g_i)", {}},
      {"dnsgd",
       "x' = x - eta gbar/|gbar|; at = \"worker\": x' = x - (eta/N) sum g_i/|g_i|",
       {{"at", "string", "one of server, worker", "\"server\"",
         "what is normalised: the mean gradient, or each worker's"}}},
      {"clipped_dsgd",
       "x' = x - (eta/N) sum g_i min(1, clip/|g_i|)",
       {{"clip", "number", "a number > 0", "required", "the norm that no worker's gradient exceeds"}}},
      {"heavy_ball",
       "v' = momentum v + gbar, x' = x - eta v'",
       {{"momentum", "number", "a number in [0, 1)", "0.9", "share of the old v that is kept"}}},
      {"adam",
       "m' = beta1 m + (1 - beta1) gbar, v' = beta2 v + (1 - beta2) gbar^2, x' = x - eta mhat/(sqrt(vhat) + epsilon)",
       {{"beta1", "number", "a number in [0, 1)", "0.9", "share of the old m that is kept"},
        {"beta2", "number", "a number in [0, 1)", "0.999", "share of the old v that is kept"},
        {"epsilon", "number", "a number > 0", "1e-8", "added to sqrt(vhat)"}}},
  };
  return registry;
}

const std::vector<ComponentInfo>& model_registry() {
  static const std::vector<ComponentInfo> registry{
      {"first_order", "dX = -m dt + sqrt(eta/N) Q^(1/2) dW: the SDE of the theorems", {}},
      {"second_order", "drift -(I + (eta/2) J) m: closer to the method for small eta, stable for every eta", {}},
      {"curvature", "drift -(I - (eta/2) J) m: on quadratics stable where the method is", {}},
      {"hessian_aware", "per coordinate, exact second moments on quadratics; separable objectives", {}},
  };
  return registry;
}

const std::vector<ComponentInfo>& integrator_registry() {
  static const std::vector<ComponentInfo> registry{
      {"euler_maruyama", "weak order 1; first_order, second_order, curvature", {}},
      {"weak2", "weak order 2; first_order, second_order, curvature", {}},
      {"moment", "exact second moments on quadratics; hessian_aware", {}},
  };
  return registry;
}

const std::vector<ComponentInfo>& compressor_registry() {
  static const std::vector<ComponentInfo> registry{
      {"identity", "C(g) = g, omega = 0", {}},
      {"rand_k", "k of d coordinates without replacement, times d/k; omega = d/k - 1", {k_key}},
      {"bernoulli",
       "each coordinate with probability p, times 1/p; omega = 1/p - 1",
       {{"p", "number", "a number in (0, 1], at least 2^-31", "required", "probability of keeping a coordinate"}}},
      {"rand_k_plain", "k of d coordinates without replacement, as they are: biased", {k_key}},
      {"qsgd",
       "|g| sign(g_j) l_j / s, s |g_j|/|g| randomly rounded to a whole l_j; omega <= min(d/s^2, sqrt(d)/s)",
       {{"s", "integer", "an integer from 1 to 65535", "required", "levels of |g_j|/|g| above 0"}}},
      {"natural", "each |g_j| randomly rounded to a power of two beside it; omega <= 1/8", {}},
      {"top_k", "the k coordinates of the largest magnitude, as they are: biased", {k_key}},
  };
  return registry;
}

const std::vector<ComponentInfo>& schedule_registry() {
  static const std::vector<ComponentInfo> registry{
      {"constant", "s_k = 1", {}},
      {"polynomial",
       "s_k = (1 + k/k0)^-p",
       {{"k0", "number", "a number from 1e-12", "1.0", "time scale in steps"},
        {"p", "number", "a number >= 0", "0.5", "exponent; k0 = 1, p = 0.5 is eta / sqrt(k + 1)"}}},
      {"exponential", "s_k = e^(-rate k)", {{"rate", "number", "a number >= 0", "required", "decay a step"}}},
      {"step",
       "s_k = factor^floor(k/every)",
       {{"every", "integer", "an integer from 1 to 2^40", "required", "steps between two drops"},
        {"factor", "number", "a number in (0, 1]", "required", "what a drop leaves of the step"}}},
      {"cosine", "s_k = (1 + cos(pi k/steps)) / 2 over the curve's steps", {}},
  };
  return registry;
}

const std::vector<ComponentInfo>& adaptive_registry() {
  static const std::vector<ComponentInfo> registry{
      {"none", "a(x) = 1", {}},
      {"gradient_norm",
       "a(x) = (1 + |grad f|/c)^-q",
       {{"c", "number", "a number > 0", "1.0", "gradient norm from which on a(x) falls"},
        {"q", "number", "a number >= 0", "1.0", "degree of the normalisation"},
        stochastic_key}},
      {"l0l1",
       "eta a(x) = theta / (K (L0 + L1 |grad f|))",
       {theta_key,
        {"L0", "number", "a number > 0", "the objective's", "smoothness where grad f = 0"},
        {"L1", "number", "a number >= 0", "the objective's", "growth of the smoothness with |grad f|"},
        stochastic_key}},
      {"hessian_norm", "eta a(x) = min(eta, theta / (K |H(x)|))", {theta_key}},
  };
  return registry;
}

const std::vector<ComponentInfo>& variance_reduction_registry() {
  static const std::vector<ComponentInfo> registry{
      {"none", "plain sampling", {}},
      {"control",
       "the same noise on a quadratic, whose E S is known, as control variate: DSGD and DCSGD, their models",
       {}},
      {"antithetic", "each path with its noise and with the noise's sign turned", {}},
      {"multilevel", "models: many paths with few substeps, corrected by few paths with many", {}},
      {"auto", "what a pilot shows to pay, else none", {}},
  };
  return registry;
}

const std::vector<ComponentInfo>& table_registry() {
  static const KeyInfo seed{"seed", "integer", "an integer from 0 to 2^63 - 1", "1", "seed of all random words"};
  static const KeyInfo paths{"paths", "integer", "an integer from 1 to 2^40", "required",
                             "independent paths per curve"};
  static const KeyInfo steps{"steps", "integer", "an integer from 1 to 2^40", "required", "steps of the method"};
  const auto inherited = [](KeyInfo key) {
    key.fallback = "as at the top level";
    return key;
  };
  static const std::vector<ComponentInfo> registry{
      {"experiment",
       "keys above the first table",
       {{"title", "string", "a string without control characters", "\"untitled\"", "heading of the report"},
        seed,
        paths,
        steps,
        {"checkpoints", "integer", "an integer from 1 to min(steps, 100000)", "min(50, steps)",
         "n intervals, n + 1 records"},
        {"checkpoint_steps", "list of integers", "1 to 100001 ascending integers from 0 to steps", "from checkpoints",
         "the steps recorded, instead of checkpoints"},
        {"precision", "string", "one of float, double", "\"float\"", "arithmetic of the paths"},
        {"limit", "number", "a number in (0, 2^100]", "1e+30", "a path with S above it has diverged"},
        {"objective", "table", "a table [objective]", "required", "what is minimised"},
        {"noise", "table", "a table [noise]", "gaussian, scale 1", "the gradient noise"},
        {"workers", "table", "a table [workers]", "one worker", "the workers"},
        {"curve", "array of tables", "1 to 256 tables [[curve]]", "required", "what is simulated"},
        {"bound", "array of tables", "at most 2048 tables [[bound]]", "none", "what is judged"}}},
      {"objective",
       "keys of every objective",
       {{"kind", "string", one_of(objective_registry()), "required", "which objective"},
        {"dim", "integer", "an integer from 1 to 65536 (least_squares, logistic: to 1024)", "1 (required with file)",
         "dimension d"},
        {"start", "number or list", "a number, or a list of exactly dim numbers", "1.0", "x_0"}}},
      {"spectrum",
       "keys of every spectrum",
       {{"kind", "string", one_of(spectrum_registry()), "required", "how the eigenvalues are given"}}},
      {"noise",
       "keys of every law",
       {{"law", "string", one_of(law_registry()), "\"gaussian\"", "distribution of the noise"},
        {"scale", "number", "a number >= 0", "1.0", "sigma; the standard deviation only for gaussian"},
        {"affine", "number", "a number >= 0", "0.0", "rho: adds rho^2 |grad f|^2 / dim to sigma^2"}}},
      {"workers",
       "keys of the workers",
       {{"count", "integer", "an integer from 1 to 4096", "1", "number of workers N"},
        {"scale", "number or list", "a number >= 0, or a list of exactly count of them", "noise.scale",
         "sigma per worker"},
        {"batch", "number or list", "a number >= 1, or a list of exactly count of them", "1.0",
         "batch size B per worker"},
        {"k", "integer or list", "an integer from 1 to dim, or a list of exactly count of them", "k of the compressor",
         "coordinates kept per worker, on curves with rand_k, rand_k_plain or top_k"}}},
      {"curve",
       "keys of every curve",
       {{"name", "string", "a non-empty string of at most 100 bytes without control characters, commas and quotes",
         "required", "unique name"},
        {"method", "string", one_of(method_registry()), "required without model", "the optimiser"},
        {"model", "string", one_of(model_registry()), "required without method",
         "in place of method: the SDE of another curve"},
        {"variance_reduction", "string", one_of(variance_reduction_registry()), "\"none\"",
         "how E S is estimated from runs that share random words"}}},
      {"method",
       "keys of every curve with a method",
       {{"eta", "number", "a number > 0", "required", "step size"},
        {"schedule", "table", "a table such as { kind = \"polynomial\", k0 = 1.0, p = 0.5 }", "{ kind = \"constant\" }",
         "factor s_k of the step size"},
        {"adaptive", "table", "a table such as { kind = \"gradient_norm\", c = 1.0, q = 1.0 }", "{ kind = \"none\" }",
         "factor a(x) of the step size"},
        {"sampling", "string", "one of auto, direct", "\"auto\"",
         "direct draws every worker's messages; auto draws their sum at once where that is exact (theory O10)"},
        {"noise", "table", "a table of the keys of [noise] to override", "as in [noise]",
         "overrides [noise] key by key"},
        {"workers", "table", "a table of the keys of [workers] to override", "as in [workers]",
         "overrides [workers] key by key"},
        inherited(seed),
        inherited(paths),
        inherited(steps)}},
      {"model",
       "keys of every curve with a model",
       {{"of", "string", "the name of a curve with a method", "required", "the curve it models"},
        {"substeps", "integer", "an integer from 1 to 10000", "10 (weak2: 4, moment: 1)",
         "substeps to a step of the method"},
        {"integrator", "string", "euler_maruyama or weak2; for hessian_aware only moment",
         "\"euler_maruyama\" (hessian_aware: \"moment\")", "how the SDE is stepped"}}},
      {"compressor",
       "keys of every compressor",
       {{"kind", "string", one_of(compressor_registry()), "required", "which compressor"}}},
      {"schedule",
       "keys of every schedule",
       {{"kind", "string", one_of(schedule_registry()), "required", "which schedule"},
        {"warmup", "integer", "an integer from 0 to 2^40", "0",
         "w > 0: the steps 0, 1, ..., w - 1 are times 1/w, 2/w, ..., 1"}}},
      {"adaptive",
       "keys of every adaptive factor",
       {{"kind", "string", one_of(adaptive_registry()), "required", "which factor"}}},
      {"bound",
       "keys of every bound",
       {{"theorem", "string", one_of_bounds(), "required", "the theorem"},
        {"curve", "string", "the name of a curve", "required", "the curve it is held against"},
        {"expect", "string", "one of holds, violated, inconclusive, not_applicable", "no expectation",
         "the verdict you expect; another one is exit status 1"},
        {"margin", "number", "a number >= 0", "0.005", "relative slack granted to the bound"},
        {"confidence", "number", "a number from 0.5 to 1 - 1e-9", "0.99", "confidence of the verdict"}}},
  };
  return registry;
}

const char* name_of(ObjectiveKind kind) { return name_in(objective_registry(), kind); }
const char* name_of(MethodKind kind) { return name_in(method_registry(), kind); }
const char* name_of(LawKind kind) { return name_in(law_registry(), kind); }
const char* name_of(CompressorKind kind) { return name_in(compressor_registry(), kind); }
const char* name_of(ModelKind kind) { return name_in(model_registry(), kind); }
const char* name_of(IntegratorKind kind) { return name_in(integrator_registry(), kind); }
const char* name_of(ScheduleKind kind) { return name_in(schedule_registry(), kind); }
const char* name_of(AdaptiveKind kind) { return name_in(adaptive_registry(), kind); }

const char* name_of(VarianceReduction kind) { return name_in(variance_reduction_registry(), kind); }

const char* name_of(Expectation expectation) {
  switch (expectation) {
    case Expectation::holds:
      return "holds";
    case Expectation::violated:
      return "violated";
    case Expectation::inconclusive:
      return "inconclusive";
    case Expectation::not_applicable:
      return "not_applicable";
  }
  return "?";
}

}  // namespace pathbound
