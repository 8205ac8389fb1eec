// SPDX-License-Identifier: Apache-2.0
// Do the models know the step-size limit? For the method and each model two limits side by side: where E S begins to
// grow (mean square), and where log S grows along half of the paths (almost sure); simulated with confidence intervals,
// and exact where known. Exit status 1 when what theory says of them does not come out.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "bench/stability.hpp"
#include "host/engine.hpp"
#include "host/figures.hpp"
#include "host/program.hpp"
#include "host/shipped.hpp"

using namespace pathbound;
using namespace pathbound::stability;

namespace {

constexpr double shown_alpha = 0.01;     ///< intervals in the table: 99%
constexpr double family_level = 0.01;    ///< of all simulated limits against exact ones together
constexpr std::size_t most_objects = 6;  ///< of a case: the method, the models, one with more substeps
constexpr double drift_by_steps = 0.03;  ///< what an integrator may move a limit by

using Options = BenchmarkArguments;

/// What is simulated: the method, or a model of it.
struct Object {
  std::string_view name;
  std::optional<ModelKind> model;
  int substeps = 0;  ///< 0: as many as the case needs
};
constexpr std::array<Object, 6> objects = {{{"method", std::nullopt},
                                            {"first_order", ModelKind::first_order},
                                            {"second_order", ModelKind::second_order},
                                            {"curvature", ModelKind::curvature},
                                            {"hessian_aware", ModelKind::hessian_aware, 1},
                                            {"hessian_aware/32", ModelKind::hessian_aware, 32}}};

/// Quadratics: the parameter is eta h, h the largest eigenvalue. Elsewhere eta is fixed and the parameter is the start
/// radius x_0.
struct Case {
  std::string name, what;
  ObjectiveKind objective = ObjectiveKind::quadratic;
  std::string compressor;  ///< as in an experiment file; empty: none
  Linear linear;           ///< keep, affine, workers
  double sigma = 0.0, eta = 0.0;
  double high = 0.0;            ///< the parameter is searched up to here
  std::uint64_t long_run = 64;  ///< steps of the method in which the median moves enough
  int dim = 1;
  double start = 1.0;

  bool quadratic() const { return objective == ObjectiveKind::quadratic; }
  bool random() const { return sigma > 0.0 || linear.kappa() > 0.0; }
};

const std::string half = "{ kind = \"bernoulli\", p = 0.5 }";
const std::vector<Case>& all_cases() {
  constexpr auto quadratic = ObjectiveKind::quadratic, quartic = ObjectiveKind::quartic, cosh = ObjectiveKind::cosh,
                 saddle = ObjectiveKind::saddle;
  const std::string tenth = "{ kind = \"bernoulli\", p = 0.1 }", one_of_four = "{ kind = \"rand_k\", k = 1 }";
  static const std::vector<Case> cases = {
      {"quadratic", "no noise", quadratic, "", {}, 0.0, 0.0, 5.0},
      {"quadratic_additive", "sigma = 1, S0 far above it", quadratic, "", {}, 1.0, 0.0, 5.0, 64, 1, 1e6},
      {"quadratic_bernoulli", "bernoulli p = 1/2, N = 2", quadratic, half, {0.5, 0.0, 2}, 0.0, 0.0, 5.0},
      {"quadratic_bernoulli_8", "bernoulli p = 1/2, N = 8", quadratic, half, {0.5, 0.0, 8}, 0.0, 0.0, 5.0},
      {"quadratic_strong", "bernoulli p = 1/10, N = 2", quadratic, tenth, {0.1, 0.0, 2}, 0.0, 0.0, 1.5, 2048},
      {"quadratic_rand_k", "rand_k 1 of 4, N = 4", quadratic, one_of_four, {0.25, 0.0, 4}, 0.0, 0.0, 3.0, 64, 4},
      {"quadratic_affine", "rho = 1, N = 2", quadratic, "", {1.0, 1.0, 2}, 0.0, 0.0, 5.0},
      {"quartic", "no noise, eta = 0.1", quartic, "", {}, 0.0, 0.1, 7.0},
      {"quartic_additive", "sigma = 3, eta = 0.1", quartic, "", {}, 3.0, 0.1, 7.0},
      {"quartic_bernoulli", "p = 1/2, N = 2, eta = 0.1", quartic, half, {0.5, 0.0, 2}, 0.0, 0.1, 7.0},
      {"quartic_affine", "rho = 1, N = 2, eta = 0.1", quartic, "", {1.0, 1.0, 2}, 0.0, 0.1, 7.0},
      {"cosh", "no noise, eta = 0.2", cosh, "", {}, 0.0, 0.2, 5.0},
      {"cosh_additive", "sigma = 2, eta = 0.2", cosh, "", {}, 2.0, 0.2, 5.0},
      {"cosh_bernoulli", "p = 1/2, N = 2, eta = 0.2", cosh, half, {0.5, 0.0, 2}, 0.0, 0.2, 5.0},
      {"saddle", "no noise, eta = 0.2", saddle, "", {}, 0.0, 0.2, 4.5},
      {"saddle_additive", "sigma = 1/2, eta = 0.2", saddle, "", {}, 0.5, 0.2, 4.5},
      {"saddle_bernoulli", "p = 1/2, N = 2, eta = 0.2", saddle, half, {0.5, 0.0, 2}, 0.0, 0.2, 4.5}};
  return cases;
}

/// What the parameter is shown as.
double shown(const Case& c, double parameter) {
  return c.objective == ObjectiveKind::quartic ? c.eta * parameter * parameter : parameter;
}
std::string_view unit(const Case& c) {
  return c.quadratic() ? "eta h" : c.objective == ObjectiveKind::quartic ? "eta x0^2" : "x0";
}

enum class Kind { mean_square, almost_sure };

/// One limit: simulated in replicates, and exact. In the unit that is shown.
struct Limit {
  std::vector<double> values;        ///< one a replicate
  double resolution = 0.0;           ///< half of the last bracket
  double reached = 0.0;              ///< no growth was seen up to here; rule: from about here on simulation cannot say
  bool found = false, rule = false;  ///< rule: the search ended where the 10% rule leaves nothing
  int substeps = 0;
  double shift = 0.0;  ///< relative, of the first replicate, with twice the substeps
  bool known = false;  ///< the exact limit, of the method or the SDE, is known: exact, or there is none
  std::optional<double> exact;
  bool scheme_known = false;  ///< the same of the integrator with these substeps, and with twice as many
  std::optional<double> scheme, scheme_doubled;

  Interval interval() const { return interval_of(values); }
  std::string text() const {
    if (!found) return fmt::format("{} {:.3g}", rule ? "10% rule at" : ">", reached);
    const Interval at = interval();
    if (at.n < 2) return fmt::format("{:.4g}", at.mean);
    return fmt::format("{:.4g} +- {:.2g}", at.mean, at.half(shown_alpha) + resolution);
  }
  std::string exact_text() const { return !known ? "-" : exact ? fmt::format("{:.4g}", *exact) : "none"; }
};

struct Row {
  const Case* c = nullptr;
  const Object* object = nullptr;
  Limit square, path;
};

// ---------------------------------------------------------------------- exact
Growth exact_growth(const Case& c, const Object& object, double z) {
  if (!object.model) return method_growth(c.linear, z);
  // One moment step is a process of its own.
  if (object.substeps == 1) return integrated_growth(*object.model, IntegratorKind::moment, 1, c.linear, z);
  return model_growth(*object.model, c.linear, z);
}
double part(const Growth& growth, Kind kind) { return kind == Kind::mean_square ? growth.square : growth.path; }

/// weak2; with rand_k in several coordinates the plain Euler step, whose second moments are still closed forms.
IntegratorKind integrator_of(const Case& c, const Object& object) {
  return *object.model == ModelKind::hessian_aware ? IntegratorKind::moment
         : c.dim > 1                               ? IntegratorKind::euler_maruyama
                                                   : IntegratorKind::weak2;
}

/// The radius from which S grows, without noise. Drift times step against radius: the method leaves when it overshoots
/// by more than twice, curvature and hessian_aware when eta f'' > 2.
std::optional<double> exact_radius(const Case& c, const Object& object) {
  if (object.model == ModelKind::first_order || object.model == ModelKind::second_order) return std::nullopt;
  const double two = 2.0 / c.eta;
  const bool method = !object.model;
  switch (c.objective) {
    case ObjectiveKind::quartic:
      return std::sqrt(method ? two : two / 3.0);  // eta x^2 = 2; 3 eta x^2 = 2
    case ObjectiveKind::cosh:
      return method ? first_crossing([&](double x) { return std::sinh(x) / x - two; }, 1e-3, 20.0) : std::acosh(two);
    default:
      return std::sqrt((two + 1.0) / (method ? 1.0 : 3.0));  // h = -1, lambda = 1
  }
}

/// The radius with |f'| = G_c (B5), where the descent guarantee of a constant step ends. Quartic: with the best of its
/// pairs (4/L1^2, L1), L1^2 = 12/a with a = 2/(eta K).
double guaranteed_radius(const Case& c) {
  const double a = 2.0 / (c.eta * (1.0 + c.linear.kappa()));
  if (c.objective == ObjectiveKind::cosh) return std::asinh(a - 1.0);
  const double L1 = std::sqrt(12.0 / a);
  return std::cbrt((a - 4.0 / (L1 * L1)) / L1);
}

// ---------------------------------------------------------------------- simulated
class Laboratory {
 public:
  Laboratory(const RunOptions& machine, bool quick) : machine_(machine), quick_(quick), replicates_(quick ? 5 : 8) {}

  bool quick() const { return quick_; }
  const Performance& performance() const { return performance_; }
  int replicates(const Case& c) const { return c.random() ? replicates_ : 1; }

  SimResult run(const Case& c, const Object& object, double parameter, int substeps, int replicate, std::uint64_t paths,
                const std::vector<std::uint64_t>& records) {
    const double eta = c.quadratic() ? parameter : c.eta;
    const double first = c.quadratic() ? c.start : parameter;
    // Along the stiffest direction, which decides, and a little of the others.
    std::string start = fmt::format("{:.17g}", first);
    for (int j = 1; j < c.dim; ++j) start = fmt::format("{:.17g}, {}", 1e-3 * first, start);
    if (c.dim > 1) start = "[" + start + "]";
    std::string text = fmt::format(
        "title = \"stability\"\nseed = {}\npaths = {}\nsteps = {}\ncheckpoint_steps = [{}]\nprecision = "
        "\"double\"\nlimit = {:.17g}\n[objective]\nkind = \"{}\"\ndim = {}\nstart = {}\n",
        1000 + replicate, paths, records.back(), fmt::join(records, ", "), 0x1p100, name_of(c.objective), c.dim, start);
    if (c.quadratic())
      text += "spectrum = { kind = \"linear\", min = " + std::string(c.dim > 1 ? "0.25" : "1") + ", max = 1 }\n";
    if (c.objective == ObjectiveKind::saddle) text += "eigenvalues = [-1.0]\nlam = 1.0\n";
    text += fmt::format(
        "[noise]\nscale = {}\naffine = {}\n[workers]\ncount = {}\n[[curve]]\nname = \"method\"\neta = {:.17g}\n",
        c.sigma, c.linear.affine, c.linear.workers, eta);
    text += c.compressor.empty() ? "method = \"dsgd\"\n" : "method = \"dcsgd\"\ncompressor = " + c.compressor + "\n";
    if (object.model) {
      text += fmt::format(
          "[[curve]]\nname = \"model\"\nmodel = \"{}\"\nof = \"method\"\nsubsteps = {}\nintegrator = \"{}\"\n",
          name_of(*object.model), substeps, name_of(integrator_of(c, object)));
    }
    const Experiment experiment = parse_experiment(text, c.name);
    const Objective objective(experiment.objective);
    const CurveConfig& curve = experiment.curves.back();
    SimResult result = simulate(experiment, curve, objective, machine_);
    performance_.seconds += result.seconds;
    performance_.path_steps += path_steps(curve) * (object.model ? substeps : 1);
    return result;
  }

  /// How E S grows: fitted over the first steps.
  Fit square_growth(const Case& c, const Object& object, double parameter, int substeps, int replicate) {
    // The less of the sum a path carries, the better: many paths, and few steps where substeps make these expensive.
    const std::uint64_t n = static_cast<std::uint64_t>(substeps);
    const std::uint64_t paths = paths_of(c, std::clamp<std::uint64_t>((1 << 20) / n, 8192, 65536), 8);
    std::vector<std::uint64_t> records = {0, 1, 2, 3, 4};
    if (n > 1 && c.random()) records = {0, 1, 2};
    return mean_growth(run(c, object, parameter, substeps, replicate, paths, records).records, paths);
  }

  /// How the median of log S grows, per step.
  double path_growth(const Case& c, const Object& object, double parameter, int substeps, int replicate) {
    const bool sde = object.model && object.substeps != 1;
    // The spread of log S over paths grows with the square root of the steps, its drift with the steps.
    const std::uint64_t steps = sde ? 16 : c.quadratic() ? c.long_run : 32;
    const std::uint64_t many = sde ? 2048 : std::max<std::uint64_t>(512, (1 << 18) / steps);
    // Growth from x_0 on, unless the law of log S has to settle first. (Additive noise: S_0 is far above its level.)
    std::vector<std::uint64_t> records = {0, steps};
    if (c.quadratic() && c.sigma == 0.0) records = {0, steps / 4, steps};
    const SimResult result = run(c, object, parameter, substeps, replicate, paths_of(c, many, 8), records);
    const std::size_t last = records.size() - 1;
    return median_growth(result.quantiles[2], last - 1, last) / static_cast<double>(records[last] - records[last - 1]);
  }

 private:
  /// Without noise all paths are alike.
  std::uint64_t paths_of(const Case& c, std::uint64_t many, std::uint64_t quick_divisor) const {
    return !c.random() ? 32 : quick_ ? std::max<std::uint64_t>(256, many / quick_divisor) : many;
  }

  RunOptions machine_;
  bool quick_;
  int replicates_;
  Performance performance_;
};

/// Substeps that keep drift and diffusion of one of them small at the parameter.
int substeps_at(const Case& c, const Object& object, double parameter) {
  if (!object.model) return 1;
  if (object.substeps > 0) return object.substeps;
  if (!c.quadratic()) return c.linear.kappa() > 0.0 || *object.model == ModelKind::second_order ? 128 : 64;
  const Sde sde = sde_of(*object.model, c.linear, parameter);
  const double least = std::max(std::abs(sde.a) / 0.25, sde.variance / 0.1);
  int n = 8;
  while (n < least) n *= 2;
  return c.dim > 1 ? 2 * n : n;
}

Limit find_limit(Laboratory& laboratory, const Case& c, const Object& object, Kind kind) {
  Limit limit;
  double at = c.high;  // where the substeps have to do
  if (c.quadratic()) {
    const auto crossing = [&](const auto& growth) {
      return first_crossing([&](double z) { return part(growth(z), kind); }, 1e-3 * c.high, c.high);
    };
    limit.known = true;
    limit.exact = crossing([&](double z) { return exact_growth(c, object, z); });
    at = limit.exact.value_or(c.high);
    limit.substeps = substeps_at(c, object, at);
    if (object.model) {
      limit.scheme_known = true;
      const auto of = [&](int n) {
        const IntegratorKind integrator = integrator_of(c, object);
        return crossing([&, n](double z) { return integrated_growth(*object.model, integrator, n, c.linear, z); });
      };
      limit.scheme = of(limit.substeps);
      limit.scheme_doubled = of(2 * limit.substeps);
    }
  } else {
    limit.substeps = substeps_at(c, object, at);
    if (!c.random()) {
      limit.known = true;
      limit.exact = exact_radius(c, object);
      if (limit.exact) limit.exact = shown(c, *limit.exact);
    }
  }

  // Nothing when the 10% rule leaves no step.
  int substeps = limit.substeps;
  const auto growth = [&](double parameter, int replicate) -> std::optional<double> {
    if (kind == Kind::almost_sure) return laboratory.path_growth(c, object, parameter, substeps, replicate);
    const Fit fit = laboratory.square_growth(c, object, parameter, substeps, replicate);
    if (fit.steps == 0) return std::nullopt;
    return fit.growth;
  };
  // A bracket: upwards from a small step, or from a radius outside of the valleys and of what noise does there. Small
  // steps do with few substeps. Where the rule ends the search, shorter strides come closer to that place.
  const double begin = c.quadratic() ? c.high / 100.0 : 1.3;
  double low = begin, high = begin, ratio = 1.6;
  bool grows = false;
  while (!grows && high < c.high) {
    const double next = std::min(high * ratio, c.high);
    substeps = std::min(limit.substeps, substeps_at(c, object, next));
    const std::optional<double> g = growth(next, 0);
    if (!g) {
      ratio = std::sqrt(ratio);
      if (ratio > 1.05) continue;
      limit.rule = true;
      limit.reached = shown(c, next);
      return limit;
    }
    low = high;
    high = next;
    grows = *g > 0.0;
    if (!grows) limit.reached = shown(c, high);
  }
  substeps = limit.substeps;
  const int n = laboratory.replicates(c);
  if (!grows) {
    for (int r = 1; r < n; ++r) {
      const std::optional<double> g = growth(c.high, r);
      limit.rule = limit.rule || !g;
      limit.found = limit.found || (g && *g > 0.0);  // and no value: a failure
    }
    return limit;
  }
  const auto bisect = [&](int r) -> std::optional<double> {
    double a = low, b = high;
    // Another replicate may have its limit beside the first one's bracket.
    bool below = r == 0, above = r == 0;
    while (!below && a > begin) {
      const std::optional<double> g = growth(a, r);
      if (!g) return std::nullopt;
      below = *g <= 0.0;
      if (below) break;
      b = a;
      above = true;
      a = std::max(begin, a / ratio);
    }
    while (!above) {
      const std::optional<double> g = growth(b, r);
      if (!g || b > 10.0 * c.high) return std::nullopt;
      above = *g > 0.0;
      if (above) break;
      a = b;
      b *= ratio;
    }
    const double precision = !c.random() ? 1e-6 : laboratory.quick() ? 2e-3 : 5e-4;
    while (b - a > 2.0 * precision * b) {
      const double middle = 0.5 * (a + b);
      const std::optional<double> g = growth(middle, r);
      if (!g) return std::nullopt;
      (*g > 0.0 ? b : a) = middle;
    }
    limit.resolution = 0.50001 * (shown(c, b) - shown(c, a));  // an end may be the limit, but for rounding
    return shown(c, 0.5 * (a + b));
  };
  for (int r = 0; r < n; ++r) {
    const std::optional<double> value = bisect(r);
    if (!value) {
      limit.rule = true;
      limit.reached = shown(c, low);
      limit.values.clear();
      return limit;
    }
    limit.values.push_back(*value);
  }
  limit.found = true;
  if (object.model && object.substeps == 0 && !c.quadratic()) {
    substeps *= 2;
    const std::optional<double> value = bisect(0);
    if (value) limit.shift = *value / limit.values.front() - 1.0;
  }
  return limit;
}

// ---------------------------------------------------------------------- verdicts
struct Check {
  std::string what;
  bool met = true;
  std::string detail;
};

const Row* find_row(const std::vector<Row>& rows, const std::string& name, std::string_view object) {
  for (const Row& row : rows)
    if (row.c->name == name && row.object->name == object) return &row;
  return nullptr;
}

std::vector<Check> verdicts(const std::vector<Row>& rows) {
  std::vector<Check> checks;
  checks.reserve(16);  // references to them are handed out
  const auto check = [&](const std::string& what) -> Check& {
    checks.push_back({what, true, ""});
    return checks.back();
  };
  const auto fail = [](Check& c, const std::string& why) {
    c.met = false;
    c.detail += (c.detail.empty() ? "" : "; ") + why;
  };

  // 1. Without compression the first two models see no limit at all.
  Check& blind = check(
      "first_order and second_order see no limit without compression or affine noise (exact reason: their rates -2z "
      "and -2z(1 + z/2) are negative for every z)");
  for (const Row& row : rows) {
    if (row.c->linear.kappa() > 0.0) continue;
    if (row.object->model != ModelKind::first_order && row.object->model != ModelKind::second_order) continue;
    for (const Limit* limit : {&row.square, &row.path}) {
      // E S of super-quadratic f under unbounded noise may exceed what paths can show: the rule is no limit.
      if (limit->found || limit->exact)
        fail(blind, fmt::format("{}, {}: {}", row.c->name, row.object->name, limit->text()));
    }
  }
  // 2. On quadratics curvature and hessian_aware have the method's mean-square limit.
  Check& same = check("on quadratics curvature and hessian_aware have the method's mean-square limit, exactly");
  for (const Row& row : rows) {
    if (!row.c->quadratic() || !row.object->model) continue;
    if (*row.object->model != ModelKind::curvature && *row.object->model != ModelKind::hessian_aware) continue;
    const double method = *find_row(rows, row.c->name, "method")->square.exact;
    if (!row.square.exact || std::abs(*row.square.exact / method - 1.0) > 1e-9)
      fail(same,
           fmt::format("{}, {}: {} against {:.6g}", row.c->name, row.object->name, row.square.exact_text(), method));
  }
  // 3. O8's example.
  if (const Row* row = find_row(rows, "quadratic_bernoulli", "method")) {
    Check& example = check("bernoulli p = 1/2, N = 2: mean-square limit 1.333, almost-sure limit 1.657");
    if (std::abs(*row->square.exact - 1.333) > 5e-4 || std::abs(*row->path.exact - 1.657) > 5e-4)
      fail(example, fmt::format("{:.4f}, {:.4f}", *row->square.exact, *row->path.exact));
  }
  // 4. The quartic without noise.
  if (const Row* row = find_row(rows, "quartic", "curvature")) {
    Check& safe =
        check("x^4/4 without noise: curvature's limit is the method's divided by 3 (eta x0^2 = 2/3 against 2)");
    const Row* method = find_row(rows, "quartic", "method");
    for (const auto& limit : {&Row::square, &Row::path}) {
      const double quotient = (method->*limit).interval().mean / (row->*limit).interval().mean;
      if (!(std::abs(quotient - 3.0) < 1e-3)) fail(safe, fmt::format("divided by {:.5g}", quotient));
    }
  }
  // 5. Simulated against exact: of the method, of the moment steps, of the integrator that was run.
  struct Compared {
    const Row* row;
    const Limit* limit;
    std::string_view kind;
  };
  std::vector<Compared> compared;
  for (const Row& row : rows) {
    for (const auto& [limit, kind] : {std::pair{&row.square, "mean square"}, std::pair{&row.path, "almost sure"}})
      if (limit->known) compared.push_back({&row, limit, kind});
  }
  // Of all limits of all cases, whichever are run, so that a case alone is judged as it is among the others.
  const double alpha = family_level / static_cast<double>(all_cases().size() * most_objects * 2);
  int finite = 0, unsaid = 0;
  Check& agree = check("");
  for (const Compared& one : compared) {
    const Limit& limit = *one.limit;
    const std::optional<double> exact = limit.scheme_known ? limit.scheme : limit.exact;
    const std::string who = fmt::format("{}, {}, {}", one.row->c->name, one.row->object->name, one.kind);
    if (!limit.found) {
      if (limit.rule) ++unsaid;
      if (exact && !limit.rule)
        fail(agree, fmt::format("{}: no limit up to {:.4g}, exact {:.4g}", who, limit.reached, *exact));
      continue;
    }
    ++finite;
    const Interval at = limit.interval();
    const double allowed = at.half(alpha) + limit.resolution;
    if (!exact || at.n == 0 || std::abs(at.mean - *exact) > allowed)
      fail(agree, fmt::format("{}: {:.5g} +- {:.2g}, exact {}", who, at.mean, allowed,
                              exact ? fmt::format("{:.5g}", *exact) : "none"));
  }
  agree.what = fmt::format(
      "{} simulated limits agree with the exact ones (of the integrator that was run) and none is seen where there "
      "is none; family level {:g}: each Student interval at {:.2g}; {} times the 10% rule leaves the question open",
      finite, family_level, alpha, unsaid);
  // 6. The integrators.
  Check& own =
      check(fmt::format("no integrator adds a limit of its own, or moves one by more than {:g}%, and twice the "
                        "substeps move it less",
                        100.0 * drift_by_steps));
  for (const Row& row : rows) {
    for (const Limit* limit : {&row.square, &row.path}) {
      const std::string who = fmt::format("{}, {}", row.c->name, row.object->name);
      if (std::abs(limit->shift) > drift_by_steps)
        fail(own, fmt::format("{}: doubling moves it by {:.2g}%", who, 100.0 * limit->shift));
      if (!limit->scheme_known || row.object->substeps > 0) continue;
      if (limit->exact.has_value() != limit->scheme.has_value() ||
          limit->exact.has_value() != limit->scheme_doubled.has_value()) {
        fail(own, fmt::format("{}: exact {}, {} substeps {}", who, limit->exact_text(), limit->substeps,
                              limit->scheme ? fmt::format("{:.4g}", *limit->scheme) : "none"));
      } else if (limit->exact) {
        const double off = std::abs(*limit->scheme / *limit->exact - 1.0),
                     less = std::abs(*limit->scheme_doubled / *limit->exact - 1.0);
        if (off > drift_by_steps || less > off + 1e-9)
          fail(own, fmt::format("{}: {:.2g}% at {} substeps, {:.2g}% at twice", who, 100.0 * off, limit->substeps,
                                100.0 * less));
      }
    }
  }
  return checks;
}

// ---------------------------------------------------------------------- what is shown
std::vector<std::string> row_of(const Row& row, bool first) {
  return {first ? row.c->name : "",      first ? std::string(unit(*row.c)) : "",
          std::string(row.object->name), row.square.text(),
          row.square.exact_text(),       row.path.text(),
          row.path.exact_text()};
}

Table table_of(const std::vector<Row>& rows) {
  Table table;
  table.title = "Stability limits";
  table.caption = fmt::format(
      "Largest parameter (eta h on quadratics, the start radius elsewhere) without growth, +- {:g}% Student limits "
      "over replicates. \"> x\": no growth up to x, where the search ended. \"10% rule at x\": about from x on one "
      "path carries more than a tenth of the sum after one step, and simulation cannot say. exact: of the method or "
      "of the SDE; none: no growth in the search.",
      100.0 * (1.0 - shown_alpha));
  table.header = {"case", "unit", "object", "mean square", "exact", "almost sure", "exact"};
  const Case* last = nullptr;
  const auto guarantee = [&](const Case* c) {
    if (c == nullptr || (c->objective != ObjectiveKind::quartic && c->objective != ObjectiveKind::cosh)) return;
    table.rows.push_back({"", "", "B5's G_c", "-", fmt::format("{:.4g}", shown(*c, guaranteed_radius(*c))), "-", "-"});
  };
  for (const Row& row : rows) {
    if (row.c != last) guarantee(last);
    table.rows.push_back(row_of(row, row.c != last));
    last = row.c;
  }
  guarantee(last);
  return table;
}

Table cases_table(const std::vector<const Case*>& cases) {
  Table table;
  table.title = "Cases";
  table.header = {"case", "what", "kappa", "searched up to"};
  for (const Case* c : cases) {
    table.rows.push_back({c->name, c->what, fmt::format("{:.4g}", c->linear.kappa()),
                          fmt::format("{} = {:.3g}", unit(*c), shown(*c, c->high))});
  }
  table.caption = "kappa = (omega + (1 + omega) rho^2)/N: the variance of the averaged message over |grad f|^2.";
  return table;
}

Table integrator_table(const std::vector<Row>& rows) {
  Table table;
  table.title = "Does the integrator add a limit of its own?";
  table.caption =
      "Limits of the SDE, of its integrator with n substeps (what was simulated) and with twice as many. On "
      "quadratics by exact factors; elsewhere the simulated limit of one replicate, and by how much twice the "
      "substeps move it.";
  table.header = {"case", "object", "limit", "n", "SDE", "n substeps", "2 n substeps"};
  for (const Row& row : rows) {
    if (!row.object->model || row.object->substeps == 1) continue;
    for (const auto& [limit, kind] : {std::pair{&row.square, "mean square"}, std::pair{&row.path, "almost sure"}}) {
      const auto text = [](const std::optional<double>& value) {
        return value ? fmt::format("{:.4g}", *value) : "none";
      };
      if (limit->scheme_known) {
        table.rows.push_back({row.c->name, std::string(row.object->name), kind, fmt::format("{}", limit->substeps),
                              limit->exact_text(), text(limit->scheme), text(limit->scheme_doubled)});
      } else if (limit->found && row.object->substeps == 0 && !limit->values.empty()) {
        table.rows.push_back({row.c->name, std::string(row.object->name), kind, fmt::format("{}", limit->substeps),
                              limit->exact_text(), fmt::format("{:.4g}", limit->values.front()),
                              fmt::format("{:.4g}", limit->values.front() * (1.0 + limit->shift))});
      }
    }
  }
  return table;
}

const std::string limits_title = "Stability limits of the method and its models";

Figure limits_figure(const std::vector<Row>& rows, const std::vector<const Case*>& cases) {
  Figure figure;
  figure.title = limits_title;
  figure.y_label = "limit, in the unit of its case";
  figure.x_label = "case";
  figure.log_y = true;
  std::string numbers;
  for (std::size_t i = 0; i < cases.size(); ++i)
    numbers += fmt::format("{}{} = {} ({})", i == 0 ? "" : ", ", i + 1, cases[i]->name, unit(*cases[i]));
  figure.caption = "Cases: " + numbers +
                   ". Whiskers: 99% Student limits. Left of a case's number mean-square limits, right of it "
                   "almost-sure ones; a missing point: no limit found.";
  for (const auto& [member, kind, side] :
       {std::tuple{&Row::square, "mean square", -0.35}, std::tuple{&Row::path, "almost sure", 0.07}}) {
    for (std::size_t o = 0; o < objects.size(); ++o) {
      FigureSeries series;
      series.name = fmt::format("{}, {}", objects[o].name, kind);
      series.line = false;
      series.group = static_cast<int>(o);
      for (const Row& row : rows) {
        if (row.object != &objects[o]) continue;
        const Limit& limit = row.*member;
        if (!limit.found || limit.values.empty()) continue;
        const auto i = std::find(cases.begin(), cases.end(), row.c) - cases.begin();
        const Interval at = limit.interval();
        const double width = at.half(shown_alpha) + limit.resolution;
        series.x.push_back(static_cast<double>(i + 1) + side + 0.05 * static_cast<double>(o));
        series.y.push_back(at.mean);
        series.lower.push_back(at.mean - width);
        series.upper.push_back(at.mean + width);
      }
      if (!series.x.empty()) figure.series.push_back(std::move(series));
    }
  }
  return figure;
}

/// Growth against eta h for one case: exact lines, simulated points, and what a mean over many steps would say.
Figure growth_figure(Laboratory& laboratory, const Case& c) {
  Figure figure;
  figure.title = "Growth of S per step: " + c.what;
  figure.x_label = "eta h";
  figure.y_label = "growth per step";
  figure.caption =
      "Lines: log E S per step, dashed: log S along almost every path, exact. Points: simulated, the mean as far as "
      "no path carries more than a tenth of it, and the median. \"mean after 64 steps\" ignores that rule: between "
      "the two limits it follows the typical path and reports stability where E S grows.";
  for (std::size_t o = 0; o + 1 < objects.size(); ++o) {
    const Object& object = objects[o];
    for (const Kind kind : {Kind::mean_square, Kind::almost_sure}) {
      FigureSeries line;
      line.name = fmt::format("{}, {}", object.name, kind == Kind::mean_square ? "mean square" : "almost sure");
      line.group = static_cast<int>(o);
      line.dashed = kind == Kind::almost_sure;
      for (double z = 0.02; z < 2.6; z += 0.02) {
        const double growth = part(exact_growth(c, object, z), kind);
        line.x.push_back(z);
        // The exponent is minus infinity where a factor is 0.
        line.y.push_back(growth > -4.0 ? growth : std::nan(""));
      }
      figure.series.push_back(std::move(line));
    }
    if (object.model == ModelKind::second_order) continue;
    FigureSeries mean, median, naive;
    for (FigureSeries* series : {&mean, &median, &naive}) {
      series->line = false;
      series->group = static_cast<int>(o);
    }
    mean.name = fmt::format("{}: mean, simulated", object.name);
    median.name = fmt::format("{}: median, simulated", object.name);
    naive.name = fmt::format("{}: mean after 64 steps", object.name);
    for (const double z : {0.3, 0.7, 1.1, 1.4, 1.6, 1.8, 2.1}) {
      const int n = substeps_at(c, object, z);
      const Fit fit = laboratory.square_growth(c, object, z, n, 0);
      if (fit.steps > 0) {
        mean.x.push_back(z);
        mean.y.push_back(fit.growth);
      }
      const double growth = laboratory.path_growth(c, object, z, n, 0);
      if (std::isfinite(growth) && growth > -4.0) {
        median.x.push_back(z);
        median.y.push_back(growth);
      }
      if (object.model) continue;
      const SimResult result = laboratory.run(c, object, z, n, 0, 16384, {0, 64});
      if (result.records[1].finite < 16384) continue;
      naive.x.push_back(z);
      naive.y.push_back(std::log(result.records[1].sum / result.records[0].sum) / 64.0);
    }
    for (FigureSeries* series : {&mean, &median, &naive})
      if (!series->x.empty()) figure.series.push_back(std::move(*series));
  }
  return figure;
}

// ---------------------------------------------------------------------- answers
std::vector<Answer> answers_of(const std::vector<Row>& rows) {
  const std::string modified =
      "first- and second-order modified equations do not accurately model step-size restrictions, arXiv 2506.00181v2";
  const std::string preserve = "SDEs with curvature in their drift preserve the stability limits, arXiv 2506.00181v2";
  const std::string wrong = "else a model can predict convergence when the optimizer would diverge, arXiv 2506.00181v2";
  std::vector<Answer> answers;
  const auto add = [&](const std::string& id, const std::string& cases, const std::string& question,
                       const std::string& claim, const std::string& expected, bool met,
                       const std::string& said) -> Answer& {
    Answer answer;
    answer.id = "stability/" + id;
    answer.question = question;
    answer.claim = claim;
    answer.expected = expected;
    answer.met = met;
    answer.answer = said;
    answer.figure = limits_title;
    answer.experiment = "bench_stability " + cases;
    answers.push_back(std::move(answer));
    return answers.back();
  };
  const auto simulated = [&](Answer& answer, const std::string& what, const Limit& limit) {
    const Interval at = limit.interval();
    const double width = at.half(shown_alpha) + limit.resolution;
    answer.number_is = what;
    answer.number = at.mean;
    answer.lower = at.mean - width;
    answer.upper = at.mean + width;
    answer.confidence = 1.0 - shown_alpha;
  };
  // That simulated limits agree with the exact ones is judged among the verdicts, at their family level.
  const auto both_found = [](const Limit& a, const Limit& b) { return a.found && b.found; };
  // The modified equations without noise: no limit at all.
  for (const std::string name : {"quadratic", "quartic", "cosh"}) {
    const Row *method = find_row(rows, name, "method"), *first = find_row(rows, name, "first_order"),
              *second = find_row(rows, name, "second_order");
    if (method == nullptr || first == nullptr || second == nullptr) continue;
    const bool blind = !first->square.found && !first->path.found && !second->square.found && !second->path.found;
    const std::string at_method = fmt::format("{} = {:.4g}", unit(*method->c), *method->square.exact);
    Answer& answer =
        add((name == "quadratic" ? "modified_equations/" : "wrong_convergence/") + name, name,
            name == "quadratic" ? "Do the first- and second-order equations know the step-size limit of a quadratic?"
                                : fmt::format("Do they predict convergence on {} where the method diverges?", name),
            name == "quadratic" ? modified : wrong,
            fmt::format("{}: they are stable everywhere, the method up to {}", name == "quadratic" ? "no" : "yes",
                        at_method),
            blind && method->square.found,
            blind ? fmt::format("{}: no growth up to {} = {:.3g}, the method's limit is {:.4g}",
                                name == "quadratic" ? "no" : "yes", unit(*method->c),
                                std::min(first->square.reached, second->square.reached), method->square.interval().mean)
                  : "one of them has a limit");
    simulated(answer, fmt::format("{} at the method's limit, simulated", unit(*method->c)), method->square);
  }
  if (const Row* first = find_row(rows, "quadratic_strong", "first_order")) {
    const Row* method = find_row(rows, "quadratic_strong", "method");
    const double exact = *first->square.exact, against = *method->square.exact;
    Answer& answer =
        add("modified_equations/compressed", "quadratic_strong",
            "And under strong compression (bernoulli p = 1/10, N = 2), where the first-order SDE has a limit?",
            modified, fmt::format("no: {:.4g} in mean square against the method's {:.4g}", exact, against),
            both_found(first->square, method->square) && exact > 1.1 * against,
            fmt::format("no: {} against {}", first->square.text(), method->square.text()));
    simulated(answer, "eta h at the mean-square limit of the first-order SDE, simulated", first->square);
  }
  // Curvature in the drift.
  if (const Row* curvature = find_row(rows, "quadratic_bernoulli", "curvature")) {
    const Row* method = find_row(rows, "quadratic_bernoulli", "method");
    Answer& mean = add("curvature/mean_square", "quadratic_bernoulli",
                       "Does the SDE with curvature in its drift have the method's mean-square limit on quadratics?",
                       preserve, fmt::format("yes: eta h = {:.4g}, exactly", *method->square.exact),
                       both_found(curvature->square, method->square) &&
                           std::abs(*curvature->square.exact / *method->square.exact - 1.0) < 1e-9,
                       fmt::format("yes: {} against {}", curvature->square.text(), method->square.text()));
    simulated(mean, "eta h at its mean-square limit, simulated", curvature->square);
    Answer& path = add("curvature/almost_sure", "quadratic_bernoulli", "And the limit that single paths obey?",
                       preserve, fmt::format("no: {:.4g} against {:.4g}", *curvature->path.exact, *method->path.exact),
                       both_found(curvature->path, method->path) && *curvature->path.exact > 1.1 * *method->path.exact,
                       fmt::format("no: {} against {}", curvature->path.text(), method->path.text()));
    simulated(path, "eta h from which its single paths grow, simulated", curvature->path);
  }
  for (const std::string name : {"quartic", "cosh"}) {
    const Row *curvature = find_row(rows, name, "curvature"), *method = find_row(rows, name, "method");
    if (curvature == nullptr || method == nullptr) continue;
    const double exact = *curvature->square.exact, against = *method->square.exact;
    Answer& answer = add(
        "curvature/" + name, name, fmt::format("Does it have the method's limit under (L0, L1)-smoothness ({})?", name),
        preserve, fmt::format("no, but on the safe side: {} = {:.4g} against {:.4g}", unit(*method->c), exact, against),
        both_found(curvature->square, method->square) && exact < against,
        fmt::format("no, but on the safe side: {:.4g} against {:.4g}", curvature->square.interval().mean,
                    method->square.interval().mean));
    simulated(answer, fmt::format("{} at its limit, simulated", unit(*method->c)), curvature->square);
  }
  return answers;
}

int run(const Options& options) {
  std::vector<const Case*> cases;
  for (const Case& c : all_cases())
    if (options.names.empty() || std::find(options.names.begin(), options.names.end(), c.name) != options.names.end())
      cases.push_back(&c);
  if (!options.out.empty()) check_output_directory(options.out);
  const RunOptions machine = run_options("bench_stability", options.backend, options.threads);
  Laboratory laboratory(machine, options.quick);

  const bool terminal = isatty(STDERR_FILENO) != 0;
  std::vector<Row> rows;
  for (const Case* c : cases) {
    for (const Object& object : objects) {
      // hessian_aware in many substeps differs from one where the noise multiplies; with affine noise it is frozen over
      // each substep, which is another process.
      if (object.substeps > 1 && (!c->quadratic() || c->linear.omega() == 0.0)) continue;
      if (terminal) fmt::print(stderr, "\r\033[K{}, {} ...", c->name, object.name);
      rows.push_back({c, &object, find_limit(laboratory, *c, object, Kind::mean_square),
                      find_limit(laboratory, *c, object, Kind::almost_sure)});
    }
  }
  if (terminal) fmt::print(stderr, "\r\033[K");

  const Table limits = table_of(rows), integrators = integrator_table(rows);
  print(table_text(cases_table(cases)) + "\n" + table_text(limits) + "\n" + table_text(integrators) + "\n");
  Table judged;
  judged.title = "Verdicts";
  judged.header = {"verdict", "met", "detail"};
  bool met = true;
  for (const Check& check : verdicts(rows)) {
    met = met && check.met;
    print(fmt::format("{}: {}\n{}", check.met ? "met" : "NOT MET", check.what,
                      check.detail.empty() ? "" : "  " + check.detail + "\n"));
    judged.rows.push_back({check.what, check.met ? "yes" : "NO", check.detail});
  }

  std::vector<Figure> figures;
  if (!options.out.empty()) {
    figures.push_back(limits_figure(rows, cases));
    for (const Case* c : cases)
      if (c->name == "quadratic_bernoulli") figures.push_back(growth_figure(laboratory, *c));
  }
  const std::vector<Answer> answers = answers_of(rows);
  if (!answers.empty()) print("\n" + table_text(answers_table(answers)) + "\n");
  for (const Answer& answer : answers) met = met && answer.met;
  const Performance& performance = laboratory.performance();
  print(fmt::format("{:.3g} path-steps (substeps counted) in {:.1f} s of simulation\n", performance.path_steps,
                    performance.seconds));
  if (!options.out.empty()) {
    BenchReport report;
    report.title = "Stability limits";
    report.summary = met ? "Every verdict is the expected one." : "NOT every verdict is the expected one.";
    report.environment = environment_of(machine);
    report.answers = answers;
    report.tables = {judged, limits, cases_table(cases), integrators};
    report.figures = std::move(figures);
    report.performance = performance;
    const nlohmann::ordered_json json = to_json(report);
    write_files(options.out, {{"results.json", to_text(json)}, {"report.html", render_report(json)}});
  }
  flush_stdout();
  return met ? done : unexpected;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const auto add_options = [&](CLI::App& app) {
    std::set<std::string> names;
    for (const Case& c : all_cases()) names.insert(c.name);
    app.add_option("CASE", options.names, "cases (default: all)")->check(CLI::IsMember(names));
    add_benchmark_options(app, options, "fewer paths and replicates: wider intervals",
                          "folder for results.json and report.html");
  };
  return benchmark_main("bench_stability", "do the models of a method know its step-size limit?", argc, argv,
                        add_options, [&] { return run(options); });
}
