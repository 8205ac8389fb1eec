// SPDX-License-Identifier: Apache-2.0
// How well do the SDE models track their optimisers? The weak error E S(method) - E S(model) against eta.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <tuple>
#include <utility>

#include "bench/fit.hpp"
#include "host/comparison.hpp"
#include "host/engine.hpp"
#include "host/figures.hpp"
#include "host/program.hpp"
#include "host/shipped.hpp"

using namespace pathbound;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr int octaves = 6;             ///< eta_max, eta_max/2, ..., eta_max/64
constexpr int n_checkpoints = 8;       ///< every eta_max, the last at T = 8 eta_max
constexpr double resolved_from = 4.0;  ///< standard errors
/// Of the points of a fit. The maximum of noisy errors is too large, by up to a few standard errors, and among points
/// close to a threshold the lucky ones pass: from 4 on, orders come out too low.
constexpr double fitted_from = 8.0;
constexpr double confidence = 0.95;   ///< of the interval of an order
constexpr double wrong_level = 0.05;  ///< of eta_5%
constexpr double not_small = 0.25;    ///< relative errors above it say nothing about eta -> 0 and stay out of the fit
constexpr double widest = 1.0;        ///< intervals wider than this say nothing about an order
constexpr double exact_within = 4.5;  ///< standard errors, where a model has E S exactly
constexpr double integrator_share = 0.1;
constexpr int curves_octave = 1;  ///< the figures of E S(t) are at eta_max/2

using Options = BenchmarkArguments;

/// eta_max and the scale of the noise of a method on an objective.
struct Setting {
  double eta_max, sigma;
};
/// Noise is large enough to be seen in E S and small enough that errors of order eta^2 come out of it.
struct Problem {
  std::string_view name, toml;
  int keep;  ///< of rand_k, one less than dim
  Setting dsgd, dcsgd, dsignsgd;
};
constexpr std::array<Problem, 4> problems = {{
    {"quadratic",
     "kind = \"quadratic\"\ndim = 4\nspectrum = { kind = \"geometric\", min = 0.25, max = 1.0 }",
     3,
     {0.5, 0.5},
     {0.5, 1.0},
     {0.5, 1.0}},
    {"quartic", "kind = \"quartic\"\ndim = 3\nstart = 1.0", 2, {0.25, 0.25}, {0.25, 0.5}, {0.5, 1.0}},
    {"sine_pl", "kind = \"sine_pl\"\ndim = 3\nstart = 2.5", 2, {0.125, 0.5}, {0.125, 1.0}, {0.25, 2.0}},
    {"logistic",
     "kind = \"logistic\"\ndim = 4\nrows = 16\nlam = 0.1\nstart = 2.0",
     3,
     {2.0, 0.5},
     {2.0, 1.0},
     {0.5, 0.25}},
}};

/// A method with the law of its noise.
struct Variant {
  std::string_view name, law;
  MethodKind method;
  int workers;
  /// log2 of the paths at the smallest eta; twice as many at every eta twice as large, so that all cost the same.
  int paths_log2;
};
constexpr std::array<Variant, 5> variants = {{
    {"dsgd", "law = \"gaussian\"", MethodKind::dsgd, 2, 11},
    {"dcsgd", "law = \"gaussian\"", MethodKind::dcsgd, 8, 13},
    {"dsignsgd", "law = \"gaussian\"", MethodKind::dsignsgd, 8, 12},
    {"dsignsgd_t2", "law = \"student_t\"\nnu = 2.0", MethodKind::dsignsgd, 8, 11},
    {"dsignsgd_t3", "law = \"student_t\"\nnu = 3.0", MethodKind::dsignsgd, 8, 11},
}};
constexpr int quick_paths_log2 = 10;  ///< --quick: at the four smallest eta, then doubling

struct Case {
  const Problem* problem;
  const Variant* variant;
  std::string name() const { return fmt::format("{}/{}", problem->name, variant->name); }
  bool is(std::string_view objective) const { return problem->name == objective; }
  bool signs() const { return variant->method == MethodKind::dsignsgd; }
  const Setting& setting() const {
    return signs() ? problem->dsignsgd : variant->method == MethodKind::dcsgd ? problem->dcsgd : problem->dsgd;
  }
  double eta(int octave) const { return std::ldexp(setting().eta_max, -octave); }
  std::vector<ModelKind> models() const {
    std::vector<ModelKind> all = {ModelKind::first_order, ModelKind::second_order, ModelKind::curvature,
                                  ModelKind::hessian_aware};
    if (is("logistic")) all.pop_back();  // not separable
    return all;
  }
  /// hessian_aware has the method's second moments on quadratics (docs/theory.md, section 3).
  bool is_exact(ModelKind model) const { return model == ModelKind::hessian_aware && is("quadratic") && !signs(); }
};

std::uint64_t paths_of(const Case& item, int octave, bool quick) {
  const int doublings = quick ? std::max(0, 3 - octave) : octaves - octave;
  return std::uint64_t(1) << ((quick ? quick_paths_log2 : item.variant->paths_log2) + doublings);
}

/// Substeps, which are then doubled. weak2's error (eta/n)^2 hides behind an error of order eta the better the smaller
/// eta is; behind one of order eta^2 only the more substeps there are.
int substeps_of(const Case& item, ModelKind model, int octave) {
  switch (model) {
    case ModelKind::first_order:
    case ModelKind::curvature:
      return octave < 2 ? 2 : 1;
    case ModelKind::second_order:
      return octave < 3 ? 4 : 3;
    // Its error on DSGD is of order eta^2 with so small a constant that it takes more to stay out of the way.
    case ModelKind::hessian_aware:
      return item.is_exact(model) ? 1 : item.variant->method == MethodKind::dsgd ? 16 : 8;
  }
  return 1;
}

std::string experiment_text(const Case& item, int octave, bool quick) {
  // Every eta has a seed of its own: the points of a fit are independent.
  std::string text = fmt::format(
      "title = \"{}\"\nseed = {}\npaths = {}\nsteps = {}\ncheckpoints = {}\nprecision = \"double\"\n[objective]\n{}\n"
      "[noise]\n{}\nscale = {}\n[workers]\ncount = {}\n[[curve]]\nname = \"method\"\nmethod = \"{}\"\neta = {}\n",
      item.name(), octave + 1, paths_of(item, octave, quick), n_checkpoints << octave, n_checkpoints,
      item.problem->toml, item.variant->law, item.setting().sigma, item.variant->workers, name_of(item.variant->method),
      item.eta(octave));
  if (item.variant->method == MethodKind::dcsgd)
    text += fmt::format("compressor = {{ kind = \"rand_k\", k = {} }}\n", item.problem->keep);
  for (const ModelKind model : item.models())
    text += fmt::format(
        "[[curve]]\nname = \"{0}\"\nmodel = \"{0}\"\nof = \"method\"\nsubsteps = {1}\nintegrator = \"{2}\"\n",
        name_of(model), substeps_of(item, model, octave), model == ModelKind::hessian_aware ? "moment" : "weak2");
  return text;
}

/// A model against its method at one eta.
struct Point {
  double eta = 0.0;
  double size = nan, size_error = nan;              ///< max |E S(method) - E S(model)|/S(x0), its standard error there
  double relative = nan, relative_error = nan;      ///< max |E S(method) - E S(model)| / E S(method)
  double integrator = nan, integrator_error = nan;  ///< max |E S(model) - E S(half the substeps)|/S(x0)
  double reduction = nan;                           ///< of variance, the mean over checkpoints
  double largest_z = 0.0;                           ///< max |error| in its own standard errors
  int groups = 0;                                   ///< behind the standard errors
  bool diverged = false;                            ///< a path of the model or of the method did
  bool fitted = false;                              ///< in the fit of the order
  bool resolved() const { return size > resolved_from * size_error; }
};

/// The largest |value| over the checkpoints after the start, its standard error there.
std::pair<double, double> largest(const Difference& difference, const std::vector<double>& over) {
  std::pair<double, double> out = {-1.0, nan};
  for (std::size_t c = 1; c < difference.value.size(); ++c) {
    const double value = std::abs(difference.value[c]) / over[c];
    if (!(value <= out.first)) out = {value, difference.standard_error[c] / over[c]};
    if (std::isnan(value)) return {nan, nan};
  }
  return out;
}

struct Track {
  ModelKind model;
  std::vector<Point> points;                          ///< from the largest eta to the smallest
  std::vector<std::vector<double>> mean, mean_error;  ///< E S of the model, per eta and checkpoint
};

struct CaseResult {
  Case item;
  std::vector<std::vector<double>> mean, mean_error;  ///< E S of the method
  std::vector<Track> tracks;
};

std::pair<std::vector<double>, std::vector<double>> means_of(const SimResult& result) {
  std::pair<std::vector<double>, std::vector<double>> out;
  for (const Record& record : result.records) {
    const double n = static_cast<double>(record.finite);
    out.first.push_back(record.sum / n);
    out.second.push_back(std::sqrt(record.m2 / (n * (n - 1.0))));
  }
  return out;
}

/// The points of a fit: from the largest eta below which all relative errors are small, as far down as errors come out
/// of the noise.
void choose_fitted(std::vector<Point>& points) {
  const auto too_large = [](const Point& p) { return p.diverged || !(p.relative <= not_small); };
  auto point = std::find_if(points.rbegin(), points.rend(), too_large).base();
  for (; point != points.end() && point->size > fitted_from * point->size_error; ++point) point->fitted = true;
}

CaseResult measure(const Case& item, const Options& options, const RunOptions& machine, Performance& performance,
                   const std::function<void(double)>& progress) {
  CaseResult out{item, {}, {}, {}};
  for (const ModelKind model : item.models()) out.tracks.push_back({model, {}, {}, {}});
  for (int octave = 0; octave <= octaves; ++octave) {
    const Experiment experiment = parse_experiment(experiment_text(item, octave, options.quick), item.name());
    const Objective objective(experiment.objective);
    const double start = objective.constants().suboptimality_at_start;
    const auto simulated = [&](const CurveConfig& curve) {
      SimResult result = simulate(experiment, curve, objective, machine);
      performance.seconds += result.seconds;
      performance.path_steps += path_steps(curve);
      return result;
    };
    const SimResult method = simulated(experiment.curves.front());
    auto [mean, mean_error] = means_of(method);
    const std::vector<double> one(mean.size(), start);
    for (std::size_t m = 0; m < out.tracks.size(); ++m) {
      const CurveConfig& config = experiment.curves[m + 1];
      const SimResult coarse = simulated(config), fine = simulated(with_doubled_substeps(config));
      const Difference weak = difference(method, fine, experiment.paths);
      const Difference own = difference(fine, coarse, experiment.paths);
      Point point;
      point.eta = item.eta(octave);
      std::tie(point.size, point.size_error) = largest(weak, one);
      std::tie(point.relative, point.relative_error) = largest(weak, mean);
      std::tie(point.integrator, point.integrator_error) = largest(own, one);
      point.diverged = method.records.back().finite < experiment.paths || fine.records.back().finite < experiment.paths;
      point.groups = static_cast<int>(method.group_means.front().size());
      point.reduction = 0.0;
      for (std::size_t c = 1; c < weak.value.size(); ++c) {
        point.reduction += weak.variance_reduction[c] / n_checkpoints;
        point.largest_z = std::max(point.largest_z, std::abs(weak.value[c]) / weak.standard_error[c]);
      }
      out.tracks[m].points.push_back(point);
      auto [model_mean, model_error] = means_of(fine);
      out.tracks[m].mean.push_back(std::move(model_mean));
      out.tracks[m].mean_error.push_back(std::move(model_error));
    }
    out.mean.push_back(std::move(mean));
    out.mean_error.push_back(std::move(mean_error));
    if (progress) progress(static_cast<double>(octave + 1) / (octaves + 1));
  }
  for (Track& track : out.tracks) choose_fitted(track.points);
  return out;
}

PowerFit fit_of(const Track& track) {
  std::vector<double> x, y, error;
  for (const Point& point : track.points) {
    if (!point.fitted) continue;
    x.push_back(point.eta);
    y.push_back(point.size);
    error.push_back(point.size_error);
  }
  return fit_power(x, y, error, confidence);
}

bool is_settled(const PowerFit& fit) { return fit.points >= 3 && fit.upper - fit.lower <= widest; }

std::string octaves_of(const Track& track) {
  double low = 0.0, high = 0.0;
  int n = 0;
  for (const Point& point : track.points) {
    if (!point.fitted) continue;
    if (n++ == 0) high = point.eta;
    low = point.eta;
  }
  return fmt::format("{}/{:.0f}", n, n == 0 ? 0.0 : std::log2(high / low));
}

/// The eta at which the relative error reaches 5%.
struct AtLevel {
  double eta = nan;
  int beyond = 0;  ///< -1: it is smaller than `eta`, the smallest one run or the last without divergence; +1: larger
  bool resolved = true;  ///< the error there is
  std::string text() const {
    if (beyond != 0) return fmt::format("{} {:.3g}", beyond < 0 ? "<" : ">", eta);
    return fmt::format("{}{:.3g}", resolved ? "" : "~", eta);
  }
};
AtLevel eta_at_level(const Track& track) {
  constexpr double diverged = std::numeric_limits<double>::max();
  std::vector<double> eta, relative, error;
  for (auto point = track.points.rbegin(); point != track.points.rend(); ++point) {
    eta.push_back(point->eta);
    relative.push_back(point->diverged ? diverged : point->relative);
    error.push_back(point->relative_error);
  }
  const Crossing crossing = first_crossing(eta, relative, wrong_level);
  if (crossing.beyond != 0) return {crossing.x, crossing.beyond};
  const std::size_t at = static_cast<std::size_t>(
      std::find_if(relative.begin(), relative.end(), [](double r) { return r >= wrong_level; }) - relative.begin());
  // No line leads to a point that does not exist.
  if (relative[at] == diverged) return {eta[at], -1};
  return {crossing.x, 0, relative[at] > resolved_from * error[at]};
}

/// What the integrator puts into the errors of the fit, as a share of them.
struct Share {
  double value = 0.0;
  bool resolved = false;
};
Share integrator_share_of(const Track& track) {
  Share out, least{std::numeric_limits<double>::infinity(), false};
  for (const Point& point : track.points) {
    if (!point.fitted) continue;
    const double share = point.integrator / point.size;
    if (point.integrator > resolved_from * point.integrator_error) {
      out = {std::max(out.value, share), true};
    } else {
      least.value = std::min(least.value, resolved_from * point.integrator_error / point.size);
    }
  }
  return out.resolved ? out : least;
}

enum class Judgement { none, met, open, failed };
struct Expected {
  std::string text;
  Judgement judgement = Judgement::none;
};

/// Against what docs/theory.md, section 3, claims.
Expected judge(const Case& item, const Track& track, const PowerFit& fit) {
  if (item.signs()) return {"-", Judgement::none};
  if (item.is_exact(track.model)) {
    const bool exact = std::all_of(track.points.begin(), track.points.end(),
                                   [](const Point& p) { return !p.diverged && p.largest_z <= exact_within; });
    return exact ? Expected{"exact: yes", Judgement::met} : Expected{"exact: NO", Judgement::failed};
  }
  const bool first = track.model == ModelKind::first_order;
  if (!first && track.model != ModelKind::second_order) return {"-", Judgement::none};
  const double order = first ? 1.0 : 2.0, least = first ? 0.8 : 1.7, most = first ? 1.3 : 2.4;
  const auto says = [&](const char* what) { return fmt::format("{:g}: {}", order, what); };
  if (!is_settled(fit)) return {says("open"), Judgement::open};
  const bool met = (fit.lower <= order && order <= fit.upper) || (least <= fit.lower && fit.upper <= most);
  return met ? Expected{says("yes"), Judgement::met} : Expected{says("NO"), Judgement::failed};
}

std::string range_of(double low, double high) {
  const auto number = [](double v) {
    return v < 10.0 ? fmt::format("{:.1f}", v) : v < 1000.0 ? fmt::format("{:.0f}", v) : fmt::format("{:.0e}", v);
  };
  return number(low) == number(high) ? number(low) : fmt::format("{}..{}", number(low), number(high));
}

std::vector<std::string> row_of(const Case& item, const Track& track) {
  const PowerFit fit = fit_of(track);
  const Share share = integrator_share_of(track);
  double low = std::numeric_limits<double>::infinity(), high = 0.0;
  for (const Point& point : track.points) {
    if (!(point.reduction > 0.0)) continue;
    low = std::min(low, point.reduction);
    high = std::max(high, point.reduction);
  }
  const Point& worst = track.points.front();
  std::string integrator = "-";
  if (share.resolved)
    integrator = fmt::format("{:.1f}%{}", 100.0 * share.value, share.value > integrator_share ? " !" : "");
  else if (std::isfinite(share.value))
    integrator = fmt::format("<{:.1f}%", 100.0 * share.value);
  return {item.name(),
          name_of(track.model),
          !is_settled(fit) ? "-" : fmt::format("{:.2f} [{:.2f}, {:.2f}]", fit.order, fit.lower, fit.upper),
          octaves_of(track),
          eta_at_level(track).text(),
          worst.diverged ? "inf" : fmt::format("{:.3g}%", 100.0 * worst.relative),
          integrator,
          low > high ? "-" : range_of(low, high),
          judge(item, track, fit).text};
}

Table table_of(const std::vector<CaseResult>& results) {
  Table table;
  table.title = "Models against their methods";
  table.caption = fmt::format(
      "Weak error E S(method) - E S(model) at {} checkpoints up to T = {} eta_max, for eta = eta_max, eta_max/2, ..., "
      "eta_max/{}. order: p of C eta^p through max |error|/S(x0), the maximum over the checkpoints, with its {:.0f}% "
      "interval (-: fewer than 3 points, or wider than {:g}); points: how many of them over how many octaves, those "
      "with "
      "an error above {:g} standard errors and below {:.0f}% of E S(method). eta_5%: where the relative error, max "
      "|error|/E S(method), reaches {:.0f}%, by straight lines in log-log between the points (~: within {:g} standard "
      "errors of 0 there). at max: the relative error at eta_max (inf: paths diverge). integr.: how much of an error "
      "in "
      "the fit changes at most when the substeps are halved (<: no change is resolved; ! above {:.0f}%). reduction: of "
      "the error's variance by common noise, over the eta. claim: the order that docs/theory.md claims, and whether it "
      "came out (open: not resolved well enough to tell).",
      n_checkpoints, n_checkpoints, 1 << octaves, 100.0 * confidence, widest, fitted_from, 100.0 * not_small,
      100.0 * wrong_level, resolved_from, 100.0 * integrator_share);
  table.header = {"case", "model", "order", "points", "eta_5%", "at max", "integr.", "reduction", "claim"};
  for (const CaseResult& result : results)
    for (const Track& track : result.tracks) table.rows.push_back(row_of(result.item, track));
  return table;
}

/// points.csv: every point; empty where a number does not exist.
std::string points_csv(const std::vector<CaseResult>& results, bool quick) {
  std::string out =
      "case,model,eta,paths,substeps,error,error_stderr,relative_error,relative_stderr,integrator_error,"
      "integrator_stderr,variance_reduction,largest_z,diverged\n";
  const auto number = [](double v) { return std::isnan(v) ? std::string() : fmt::format("{}", v); };
  for (const CaseResult& result : results)
    for (const Track& track : result.tracks)
      for (std::size_t i = 0; i < track.points.size(); ++i) {
        const Point& p = track.points[i];
        const int octave = static_cast<int>(i);
        out += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", result.item.name(), name_of(track.model),
                           p.eta, paths_of(result.item, octave, quick),
                           2 * substeps_of(result.item, track.model, octave), number(p.size), number(p.size_error),
                           number(p.relative), number(p.relative_error), number(p.integrator),
                           number(p.integrator_error), number(p.reduction), number(p.largest_z), p.diverged ? 1 : 0);
      }
  return out;
}

/// A colour for each model; 0 is the method's.
int colour_of(ModelKind model) { return 1 + static_cast<int>(model); }

/// A dashed line of slope `order` through the track's most precise error.
void add_slope(Figure& figure, const Track& track, int order) {
  const auto precision = [](const Point& p) { return p.fitted ? p.size / p.size_error : 0.0; };
  const auto best = std::max_element(track.points.begin(), track.points.end(),
                                     [&](const Point& a, const Point& b) { return precision(a) < precision(b); });
  if (!best->fitted) return;
  FigureSeries line;
  line.name = fmt::format("slope {}", order);
  line.dashed = true;
  line.group = colour_of(track.model);
  for (const Point& point : track.points) {
    line.x.push_back(point.eta);
    line.y.push_back(best->size * std::pow(point.eta / best->eta, order));
  }
  figure.series.push_back(std::move(line));
}

std::string error_title(const Case& item) { return item.name() + ": weak error against eta"; }

Figure error_figure(const CaseResult& result) {
  Figure figure;
  figure.title = error_title(result.item);
  figure.caption =
      "Largest |E S(method) - E S(model)|/S(x0) over the checkpoints, whiskers of 2 standard errors, where it is "
      "resolved. Dashed: slopes 1 and 2.";
  figure.x_label = "eta";
  figure.y_label = "max |E S(method) - E S(model)| / S(x0)";
  figure.log_x = figure.log_y = true;
  for (const Track& track : result.tracks) {
    FigureSeries series;
    series.name = name_of(track.model);
    series.group = colour_of(track.model);
    for (const Point& point : track.points) {
      const bool drawn = !point.diverged && point.resolved();
      series.x.push_back(point.eta);
      series.y.push_back(drawn ? point.size : nan);
      series.lower.push_back(drawn ? point.size - 2.0 * point.size_error : nan);
      series.upper.push_back(drawn ? point.size + 2.0 * point.size_error : nan);
    }
    figure.series.push_back(std::move(series));
  }
  for (const Track& track : result.tracks) {
    if (track.model == ModelKind::first_order) add_slope(figure, track, 1);
    if (track.model == ModelKind::second_order) add_slope(figure, track, 2);
  }
  return figure;
}

FigureSeries curve_series(const std::string& name, double every, const std::vector<double>& mean,
                          const std::vector<double>& error) {
  FigureSeries series;
  series.name = name;
  for (std::size_t c = 0; c < mean.size(); ++c) {
    series.x.push_back(static_cast<double>(c) * every);
    series.y.push_back(mean[c]);
    series.lower.push_back(mean[c] - 2.0 * error[c]);
    series.upper.push_back(mean[c] + 2.0 * error[c]);
  }
  return series;
}

Figure curves_figure(const CaseResult& result) {
  const double eta_max = result.item.eta(0), eta = result.item.eta(curves_octave);
  Figure figure;
  figure.title = fmt::format("{} at eta = {:g}: E S(t)", result.item.name(), eta);
  figure.caption = "Method and models at half the largest eta, whiskers of 2 standard errors.";
  figure.x_label = "t = k eta";
  figure.y_label = "E S";
  figure.log_y = true;
  figure.series.push_back(curve_series(name_of(result.item.variant->method), eta_max, result.mean[curves_octave],
                                       result.mean_error[curves_octave]));
  for (const Track& track : result.tracks)
    figure.series.push_back(
        curve_series(name_of(track.model), eta_max, track.mean[curves_octave], track.mean_error[curves_octave]));
  figure.series.front().group = 0;
  for (std::size_t i = 1; i < figure.series.size(); ++i) {
    figure.series[i].dashed = true;
    figure.series[i].group = colour_of(result.tracks[i - 1].model);
  }
  return figure;
}

/// What came out against what theory claims, and how sure that is.
std::string summary_of(const std::vector<CaseResult>& results, const Performance& performance, bool& as_claimed) {
  int met = 0, open = 0, failed = 0, orders = 0, exact = 0;
  double family = 0.0;
  std::string problems_found;
  for (const CaseResult& result : results)
    for (const Track& track : result.tracks) {
      const PowerFit fit = fit_of(track);
      const Expected expected = judge(result.item, track, fit);
      met += expected.judgement == Judgement::met ? 1 : 0;
      open += expected.judgement == Judgement::open ? 1 : 0;
      failed += expected.judgement == Judgement::failed ? 1 : 0;
      if (result.item.is_exact(track.model)) {
        for (const Point& point : track.points) {
          exact += n_checkpoints;
          family += 2.0 * n_checkpoints *
                    boost::math::cdf(boost::math::complement(boost::math::students_t(std::max(1.0, point.groups - 1.0)),
                                                             exact_within));
        }
      } else if (expected.judgement == Judgement::met || expected.judgement == Judgement::failed) {
        ++orders;
      }
      const std::string name = fmt::format("{}, {}", result.item.name(), name_of(track.model));
      if (expected.judgement == Judgement::failed) {
        if (result.item.is_exact(track.model)) {
          const auto worst = std::max_element(track.points.begin(), track.points.end(),
                                              [](const Point& a, const Point& b) { return a.largest_z < b.largest_z; });
          problems_found += fmt::format("NOT AS CLAIMED: {}: {:.1f} standard errors at eta = {:g}\n", name,
                                        worst->largest_z, worst->eta);
        } else {
          problems_found += fmt::format("NOT AS CLAIMED: {}: order {:.3f} in [{:.3f}, {:.3f}], claimed {}\n", name,
                                        fit.order, fit.lower, fit.upper, expected.text.substr(0, 1));
        }
      }
      const auto lost =
          std::find_if(track.points.begin(), track.points.end(), [](const Point& p) { return p.diverged; });
      if (lost != track.points.end())
        problems_found += fmt::format("{}: paths diverge at eta = {:g}\n", name, lost->eta);
    }
  as_claimed = failed == 0;
  std::string out = fmt::format("{} of {} claims came out, {} open, {} not; ", met, met + open + failed, open, failed);
  if (orders > 0)
    out += fmt::format(
        "{} orders with {:.0f}% intervals, each on its own (a claim fails when the interval misses the order and lies "
        "outside [0.8, 1.3] or [1.7, 2.4], too)",
        orders, 100.0 * confidence);
  if (exact > 0)
    out += fmt::format("{}{} differences of exact models within {:g} standard errors (family error level {:.2g})",
                       orders > 0 ? "; " : "", exact, exact_within, std::min(1.0, family));
  out += fmt::format(".\n{:.3g} path-steps in {:.2f} s of simulation.\n", performance.path_steps, performance.seconds);
  return out + problems_found;
}

// ---------------------------------------------------------------------- answers
const std::string track_claim = "SDEs do track the optimizers, arXiv 2502.17009 (poster)";
const std::string larger_claim = "can the fidelity be maintained for larger eta? arXiv 2506.00181v1 (reading note)";

std::vector<Answer> answers_of(const std::vector<CaseResult>& results) {
  std::vector<Answer> answers;
  const auto find = [&](std::string_view name, ModelKind model) -> std::pair<const CaseResult*, const Track*> {
    for (const CaseResult& result : results)
      for (const Track& track : result.tracks)
        if (result.item.name() == name && track.model == model) return {&result, &track};
    return {nullptr, nullptr};
  };
  const auto add = [&](const std::string& id, const std::string& question, const std::string& claim,
                       const CaseResult& shown) -> Answer& {
    Answer answer;
    answer.id = "tracking/" + id;
    answer.question = question;
    answer.claim = claim;
    answer.figure = error_title(shown.item);
    answer.experiment = "bench_tracking " + shown.item.name();
    answers.push_back(std::move(answer));
    return answers.back();
  };
  // Orders of the SDEs of Theorems 1 and 2.
  for (const bool signs : {false, true}) {
    const auto [shown, track] = find(signs ? "quadratic/dsignsgd" : "quadratic/dcsgd", ModelKind::first_order);
    if (track == nullptr) continue;
    Answer& answer = add(
        signs ? "first_order/dsignsgd" : "first_order/dcsgd",
        fmt::format("Does the SDE of Theorem {} track {}?", signs ? "2" : "1", signs ? "DSignSGD" : "DSGD and DCSGD"),
        track_claim, *shown);
    int settled = 0, failed = 0, open = 0;
    double low = std::numeric_limits<double>::infinity(), high = 0.0;
    for (const CaseResult& result : results) {
      if (result.item.signs() != signs) continue;
      const Track& one = result.tracks.front();  // first_order
      const PowerFit fit = fit_of(one);
      const Judgement judgement = judge(result.item, one, fit).judgement;
      failed += judgement == Judgement::failed ? 1 : 0;
      if (!is_settled(fit)) {
        ++open;
        continue;
      }
      ++settled;
      low = std::min(low, fit.order);
      high = std::max(high, fit.order);
    }
    if (!signs) answer.expected = "yes, with weak error of order 1 in eta";
    answer.met = failed == 0;
    answer.answer = fmt::format("{}, with weak error of order {:.2f} to {:.2f} in {} cases{}",
                                failed == 0 ? "yes" : "not as claimed", low, high, settled,
                                open > 0 ? fmt::format(", {} open", open) : "");
    const PowerFit fit = fit_of(*track);
    answer.number_is = "order of the weak error on " + shown->item.name();
    answer.number = fit.order;
    answer.lower = fit.lower;
    answer.upper = fit.upper;
    answer.confidence = confidence;
  }
  // How large eta may be.
  struct Larger {
    ModelKind model;
    std::string_view id, name;
  };
  const std::array<Larger, 4> larger = {
      {{ModelKind::first_order, "first_order", "the SDE of the theorems"},
       {ModelKind::second_order, "second_order", "the second-order modified equation"},
       {ModelKind::curvature, "curvature", "the SDE with curvature in its drift"},
       {ModelKind::hessian_aware, "hessian_aware", "the Hessian-aware SDE"}}};
  for (const Larger& one : larger) {
    const auto [shown, track] = find("quadratic/dcsgd", one.model);
    if (track == nullptr) continue;
    Answer& answer = add(fmt::format("large_eta/{}", one.id),
                         fmt::format("Up to which eta does {} track DCSGD within 5%?", one.name), larger_claim, *shown);
    const AtLevel at = eta_at_level(*track);
    const double L = 1.0;  // of problems.front()
    if (shown->item.is_exact(one.model)) {
      answer.expected = "at every eta on quadratics: it has the method's second moments";
      const Expected expected = judge(shown->item, *track, fit_of(*track));
      answer.met = expected.judgement == Judgement::met;
      answer.answer = answer.met ? "at every eta that was run" : "not at every eta";
      double largest = 0.0;
      for (const Point& point : track->points) largest = std::max(largest, point.largest_z);
      answer.number_is = fmt::format("largest |error| in standard errors on {}, eta L up to {:g}", shown->item.name(),
                                     L * shown->item.eta(0));
      answer.number = largest;
      continue;
    }
    std::string all;
    for (const CaseResult& result : results)
      for (const Track& other : result.tracks)
        if (!result.item.signs() && other.model == one.model)
          all += fmt::format("{}{} {}", all.empty() ? "" : ", ", result.item.name(), eta_at_level(other).text());
    answer.answer = fmt::format("eta L {} {:.2g} on the quadratic; eta in all: {}",
                                at.beyond < 0   ? "<"
                                : at.beyond > 0 ? ">"
                                                : "=",
                                L * at.eta, all);
    answer.number_is = "eta L at which the relative error reaches 5% on " + shown->item.name();
    answer.number = L * at.eta;
  }
  for (const std::string_view law : {"t2", "t3"}) {
    const auto [shown, track] = find(fmt::format("quadratic/dsignsgd_{}", law), ModelKind::first_order);
    const auto [gaussian_shown, gaussian] = find("quadratic/dsignsgd", ModelKind::first_order);
    if (track == nullptr || gaussian == nullptr) continue;
    Answer& answer =
        add(fmt::format("large_eta/{}", law),
            fmt::format("Does the SDE of DSignSGD lose fidelity under {} noise{}?", law == "t2" ? "t_2" : "t_3",
                        law == "t2" ? ", whose covariance does not exist" : ""),
            "or under relaxed noise covariance conditions? arXiv 2506.00181v1 (reading note)", *shown);
    const AtLevel at = eta_at_level(*track), reference = eta_at_level(*gaussian);
    answer.answer = fmt::format("5% off at eta {}, under Gaussian noise at {}", at.text(), reference.text());
    answer.number_is = "eta at which the relative error reaches 5%";
    answer.number = at.eta;
  }
  return answers;
}

std::vector<Case> chosen_cases(const std::vector<std::string>& names) {
  std::vector<Case> all, chosen;
  for (const Problem& problem : problems)
    for (const Variant& variant : variants) all.push_back({&problem, &variant});
  std::string unknown, known;
  for (const Case& item : all) known += (known.empty() ? "" : ", ") + item.name();
  for (const std::string& name : names)
    if (std::none_of(all.begin(), all.end(), [&](const Case& item) { return item.name() == name; }))
      unknown += fmt::format("{}no case is called {} (there are {})", unknown.empty() ? "" : "\n", name, known);
  if (!unknown.empty()) throw InputError(unknown);
  for (const Case& item : all)
    if (names.empty() || std::find(names.begin(), names.end(), item.name()) != names.end()) chosen.push_back(item);
  return chosen;
}

int run(const Options& options) {
  const std::vector<Case> cases = chosen_cases(options.names);
  if (!options.out.empty()) check_output_directory(options.out);
  const RunOptions machine = run_options("bench_tracking", options.backend, options.threads);

  std::vector<CaseResult> results;
  BenchReport report;
  const bool terminal = isatty(STDERR_FILENO) != 0;
  for (const Case& item : cases) {
    const auto progress = [&](double part) {
      if (terminal)
        fmt::print(stderr, "\r\033[K{} of {}: {} {:.0f}%", results.size() + 1, cases.size(), item.name(), 100.0 * part);
    };
    progress(0.0);
    results.push_back(measure(item, options, machine, report.performance, progress));
    if (terminal) fmt::print(stderr, "\r\033[K");
  }
  bool as_claimed = true;
  const std::string summary = summary_of(results, report.performance, as_claimed);
  const Table table = table_of(results);
  report.answers = answers_of(results);
  print(table_text(table));
  if (!report.answers.empty()) print("\n" + table_text(answers_table(report.answers)));
  print("\n" + summary);
  flush_stdout();
  if (!options.out.empty()) {
    report.title = options.quick ? "Models against their methods (quick)" : "Models against their methods";
    report.summary = summary;
    report.environment = environment_of(machine);
    report.tables = {table};
    std::vector<MethodKind> shown;
    for (const CaseResult& result : results) {
      if (std::find(shown.begin(), shown.end(), result.item.variant->method) != shown.end()) continue;
      shown.push_back(result.item.variant->method);
      report.figures.push_back(curves_figure(result));
    }
    for (const CaseResult& result : results) report.figures.push_back(error_figure(result));
    const nlohmann::ordered_json json = to_json(report);
    write_files(options.out, {{"results.json", to_text(json)},
                              {"points.csv", points_csv(results, options.quick)},
                              {"report.html", render_report(json)}});
  }
  return as_claimed ? done : unexpected;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const auto add_options = [&](CLI::App& app) {
    app.add_option("CASE", options.names, "cases such as quadratic/dsgd (default: all)");
    add_benchmark_options(app, options, "fewer paths", "folder for results.json, points.csv and report.html");
  };
  return benchmark_main("bench_tracking", "how well do the SDE models track their optimisers?", argc, argv, add_options,
                        [&] { return run(options); });
}
