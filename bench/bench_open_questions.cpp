// SPDX-License-Identifier: Apache-2.0
// Questions that the papers leave open: normalised SGD under heavy tails, nu = 2 against nu = 1 for DSignSGD, rand_k
// against rand_k_plain and the omega model. Derivations in docs/open_questions.md. Exit status 1 when an answer is not
// the one derived there.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bench/answers.hpp"
#include "bench/stationary.hpp"

using namespace pathbound;
using namespace pathbound::stationary;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double family_level = 0.01;
constexpr int most_tests = 200;  ///< that a full run makes at most
constexpr double shown_alpha = 0.01;
constexpr double rounding = 1e-5;  ///< relative, of means of paths in float
const std::string note = "reading note of arXiv 2506.00181";

/// An isotropic quadratic, h = 1, and one curve.
struct Setting {
  std::string law = "law = \"gaussian\"";
  std::string method = "method = \"dsgd\"";
  int dim = 1, workers = 4;
  double sigma = 1.0, eta = 1.0 / 16;
  std::string start = "0.0";
  std::vector<std::uint64_t> records = {0, 1};
  std::uint64_t paths = 0, seed = 1;

  std::uint64_t steps() const { return records.back(); }
  std::string text() const {
    return fmt::format(
        "title = \"open questions\"\nseed = {}\npaths = {}\nsteps = {}\ncheckpoint_steps = [{}]\n[objective]\nkind = "
        "\"quadratic\"\ndim = {}\nstart = {}\nspectrum = {{ kind = \"linear\", min = 1.0, max = 1.0 }}\n[noise]\n{}\n"
        "scale = {:.17g}\n[workers]\ncount = {}\n[[curve]]\nname = \"curve\"\nsampling = \"direct\"\n{}\n"
        "eta = {:.17g}\n",  // direct: curves are compared that share their noise
        seed, paths, steps(), fmt::join(records, ", "), dim, start, law, sigma, workers, method, eta);
  }
};

struct Law {
  std::string_view name, toml;
  bool light;  ///< enough moments of S of DSGD
};
constexpr std::array<Law, 7> laws = {{{"gaussian", "law = \"gaussian\"", true},
                                      {"t, nu = 3", "law = \"student_t\"\nnu = 3.0", false},
                                      {"t, nu = 1", "law = \"student_t\"\nnu = 1.0", false},
                                      {"laplace", "law = \"laplace\"", true},
                                      {"contaminated", "law = \"contaminated_gaussian\"\neps = 0.1\nk = 10.0", true},
                                      {"stable, 1.5", "law = \"alpha_stable\"\nalpha = 1.5", false},
                                      {"stable, 0.7", "law = \"alpha_stable\"\nalpha = 0.7", false}}};

const std::string server = "method = \"dnsgd\"\nat = \"server\"", worker = "method = \"dnsgd\"\nat = \"worker\"",
                  signs = "method = \"dsignsgd\"";

std::string short_id(std::string_view name) {
  std::string id;
  for (const char c : name)
    if (c != ',' && c != '=') id += c == ' ' ? '_' : c;
  while (id.find("__") != std::string::npos) id.erase(id.find("__"), 1);
  return id;
}

/// A level against what theory says of it.
struct Level {
  std::string law, method;
  double mean = nan, half = nan, predicted = nan;  ///< half: of the 99% interval
  double efficiency = nan;                         ///< A
  bool exact = false, met = true;
};

class Study {
 public:
  Study(Bench& bench, bool quick)
      : bench_(bench),
        quick_(quick),
        family_(family_level, most_tests),
        command_(quick ? "bench_open_questions --quick" : "bench_open_questions") {}

  BenchReport report;
  const Family& family() const { return family_; }

  void normalised();
  void degrees_of_freedom();
  void compressors();

 private:
  std::uint64_t paths(std::uint64_t full) const { return quick_ ? full / 8 : full; }
  SimulatedCurve run(Setting setting) {
    setting.seed = ++seed_;  // all curves are independent
    show_progress(setting.method.substr(0, setting.method.find('\n')));
    return bench_(setting.text(), "bench_open_questions");
  }
  SimulatedCurve run_again(Setting setting) {  // with the random words of the last one
    setting.seed = seed_;
    return bench_(setting.text(), "bench_open_questions");
  }
  Answer& answer(const std::string& id, const std::string& question, const std::string& claim,
                 const std::string& expected, const std::string& figure) {
    Answer a;
    a.id = id;
    a.question = question;
    a.claim = claim;
    a.expected = expected;
    a.figure = figure;
    a.experiment = command_;
    report.answers.push_back(a);
    return report.answers.back();
  }
  static void set(Answer& a, const std::string& what, double number, double lower = nan, double upper = nan,
                  double alpha = nan) {
    a.number_is = what;
    a.number = number;
    a.lower = lower;
    a.upper = upper;
    a.confidence = 1.0 - alpha;
  }
  Figure& figure(const std::string& title, const std::string& x, const std::string& y) {
    Figure f;
    f.title = title;
    f.x_label = x;
    f.y_label = y;
    report.figures.push_back(f);
    return report.figures.back();
  }
  /// The mean at a record against its prediction; `slack`: relative, what theory leaves open.
  bool agrees(const Record& record, double predicted, double slack = 0.0) {
    const double mean = record.sum / static_cast<double>(record.finite);
    return family_.within(mean - predicted, mean_limit(record, family_.alpha()) + (slack + rounding) * predicted);
  }
  bool agrees(const SimulatedCurve& s, const Moments& exact) {
    return family_.within(s.mean() - exact.mean, mean_limit(exact, s.paths(), family_.alpha()) + rounding * exact.mean);
  }

  Bench& bench_;
  bool quick_;
  Family family_;
  std::string command_;
  std::uint64_t seed_ = 0;
};

FigureSeries points(const std::string& name, int group) {
  FigureSeries series;
  series.name = name;
  series.line = false;
  series.group = group;
  return series;
}
FigureSeries line(const std::string& name, int group) {
  FigureSeries series;
  series.name = name;
  series.group = group;
  return series;
}
void add(FigureSeries& series, double x, double y, double half) {
  series.x.push_back(x);
  series.y.push_back(y);
  series.lower.push_back(y - half);
  series.upper.push_back(y + half);
}

// ---------------------------------------------------------------------- normalised SGD
void Study::normalised() {
  const std::string levels_title = "Normalised SGD: levels in one dimension",
                    directions_title = "Normalised SGD: levels in eight dimensions";
  const std::string asks = "open question: Normalized SGD under heavy tails (" + note + ")";

  // In one dimension g/|g| is the sign.
  Setting one;
  one.workers = 8;
  one.records = {0, 256};
  one.paths = paths(65536);
  bool same = true;
  for (const std::string_view law : {laws[0].toml, laws[2].toml}) {
    one.law = law;
    one.method = worker;
    const SimulatedCurve normal = run(one);
    one.method = signs;
    const SimulatedCurve sign = run_again(one);
    same = same && normal.end().sum == sign.end().sum && normal.end().m2 == sign.end().m2;
  }
  Answer& identical =
      answer("open/normalised/one_dimension", "Is DNSGD with normalising workers DSignSGD in one dimension?", asks,
             "yes, to the last bit: g/|g| is the sign of g", levels_title);
  identical.met = same;
  identical.answer = same ? "yes: the same bits under Gaussian and Cauchy noise" : "no";

  // Levels of four methods under every law.
  std::vector<Level> levels;
  const double n = one.workers, eta = one.eta;
  std::vector<std::pair<double, double>> quotients;  // server over worker, exact
  for (const Law& law : laws) {
    one.law = law.toml;
    one.method = signs;
    const SimulatedCurve sign = run(one);
    const LawSpec& spec = sign.law();
    const MeanLaw of_mean(spec, one.workers);
    const double l = noise_density_factor(spec), l_mean = of_mean.density_factor();
    const auto add_level = [&](const SimulatedCurve& s, const std::string& method, double predicted, bool exact,
                               double A, bool met) {
      levels.push_back(
          {std::string(law.name), method, s.mean(), mean_limit(s.end(), shown_alpha), predicted, A, exact, met});
    };
    const Moments sign_exact =
        sign_walk(1.0, 0.0, eta, one.workers, one.records.back(), [&](double x) { return 0.5 + noise_xi(spec, x); });
    add_level(sign, "signs, or normalising workers", sign_exact.mean, true, 1.0 / (l * l), agrees(sign, sign_exact));

    // The server takes the sign of the mean.
    one.method = server;
    const SimulatedCurve by_server = run(one);
    const Moments server_exact =
        sign_walk(1.0, 0.0, eta, 1, one.records.back(), [&](double x) { return 0.5 + of_mean.xi(x); });
    const bool server_met = agrees(by_server, server_exact);
    add_level(by_server, "normalising server", server_exact.mean, true, n / (l_mean * l_mean), server_met);

    const auto shrink = stable_shrink(spec, one.workers);
    Answer& a = answer(
        "open/normalised/server/" + short_id(law.name),
        fmt::format("What does it cost to normalise at the server, not at the workers, under {} noise?", law.name),
        asks,
        fmt::format("a level {:.3f} times as high (exact walks){}", server_exact.mean / sign_exact.mean,
                    shrink ? fmt::format(", about N^(1/alpha) = {:.3f}", n * *shrink) : ""),
        levels_title);
    // As far as the step is small: N l/l of the mean.
    const double to_leading_order = n * l / l_mean;
    a.met = server_met && levels[levels.size() - 2].met;
    const double ratio = by_server.mean() / sign.mean();
    const double spread = normal_quantile(shown_alpha) * std::hypot(by_server.standard_error() / by_server.mean(),
                                                                    sign.standard_error() / sign.mean());
    a.answer = fmt::format("{:.3f} times as high (N l/l_N = {:.3f} for eta to 0)", ratio, to_leading_order);
    set(a, "E S of the normalising server over that of the workers", ratio, ratio * std::exp(-spread),
        ratio * std::exp(spread), shown_alpha);

    // Clipping at sigma.
    one.method = "method = \"clipped_dsgd\"\nclip = 1.0";
    const SimulatedCurve clip = run(one);
    const Clipping clipping{spec, 1.0};
    const double slope = clipping.slope(0.0), square = clipping.square(0.0);
    const double leading = 0.5 * eta * square / (2.0 * n * slope);
    const double closed = 0.5 * closure(
                                    eta, one.workers, slope, [&](double y) { return clipping.mean(y); },
                                    [&](double y) { return clipping.square(y); });
    const double order = closed / leading - 1.0;
    add_level(clip, "clipped at sigma", closed, false, square / (slope * slope),
              agrees(clip.end(), closed, 2.0 * order * order));

    one.method = "method = \"dsgd\"";
    const SimulatedCurve plain = run(one);
    const double variance = noise_variance(spec);
    if (law.light) {
      const double level = dcsgd_mean({1.0}, 0.0, eta, 0.0, variance, one.workers, one.records.back());
      add_level(plain, "DSGD", level, true, variance, agrees(plain.end(), level));
    } else {
      levels.push_back({std::string(law.name), "DSGD", nan, nan,
                        std::isfinite(variance)
                            ? dcsgd_mean({1.0}, 0.0, eta, 0.0, variance, one.workers, one.records.back())
                            : std::numeric_limits<double>::infinity(),
                        variance, true, true});
    }
  }
  Table table;
  table.title = levels_title;
  table.caption = fmt::format(
      "E S after {} steps, N = {}, h = 1, sigma = 1, eta = {:g}, +- 99%. predicted: exact (walks on a lattice, second "
      "moments), for clipping to second order in eta. A: what E S is at equal local rate, in units of sigma^2 d "
      "rate/(4 "
      "N): the asymptotic variance of the M-estimator whose influence function is the method's (median for signs, "
      "Huber's "
      "for clipping, mean for DSGD).",
      one.records.back(), one.workers, eta);
  table.header = {"law", "method", "E S", "predicted", "A at equal rate", "met"};
  bool clipped_met = true, all_met = true;
  Figure& drawn = figure(levels_title, "law", "E S");
  drawn.log_y = true;
  drawn.caption = "Laws: ";
  for (std::size_t i = 0; i < laws.size(); ++i)
    drawn.caption += fmt::format("{}{} = {}", i == 0 ? "" : ", ", i + 1, laws[i].name);
  drawn.caption += ". Points: simulated, with 99% whiskers; lines: predicted.";
  const std::array<std::string, 4> names = {"signs, or normalising workers", "normalising server", "clipped at sigma",
                                            "DSGD"};
  for (std::size_t m = 0; m < names.size(); ++m) {
    FigureSeries simulated = points(names[m], static_cast<int>(m)),
                 predicted = line(names[m] + ", predicted", static_cast<int>(m));
    for (const Level& level : levels) {
      if (level.method != names[m]) continue;
      const auto index = std::find_if(laws.begin(), laws.end(), [&](const Law& law) { return law.name == level.law; });
      const double x = static_cast<double>(index - laws.begin()) + 1.0;
      add(simulated, x, level.mean, level.half);
      predicted.x.push_back(x);
      predicted.y.push_back(std::isfinite(level.predicted) ? level.predicted : nan);
    }
    drawn.series.push_back(std::move(simulated));
    drawn.series.push_back(std::move(predicted));
  }
  for (const Level& level : levels) {
    all_met = all_met && level.met;
    if (level.method == "clipped at sigma") clipped_met = clipped_met && level.met;
    table.rows.push_back({level.method == names[0] ? level.law : "", level.method,
                          std::isnan(level.mean) ? "-" : fmt::format("{:.5f} +- {:.5f}", level.mean, level.half),
                          std::isfinite(level.predicted) ? fmt::format("{:.5f}", level.predicted) : "inf",
                          std::isfinite(level.efficiency) ? fmt::format("{:.3f}", level.efficiency) : "inf",
                          std::isnan(level.mean) ? "-"
                          : level.met            ? "yes"
                                                 : "NO"});
  }
  report.tables.push_back(table);
  Answer& clipping = answer("open/normalised/clipped", "Where does clipped DSGD settle under every law?", asks,
                            "at eta E psi^2/(4 N E psi'), to second order in eta; Huber's estimator", levels_title);
  clipping.met = clipped_met;
  clipping.answer = clipped_met ? "where the second-order formula says, under all laws" : "elsewhere";
  Answer& every = answer("open/normalised/levels", "Do signs, normalisation, clipping and DSGD settle where derived?",
                         asks, "yes, for every law under which sample means of S can be trusted", levels_title);
  every.met = all_met;
  const auto tested = [](const Level& level) { return !std::isnan(level.mean); };
  every.answer =
      fmt::format("{} of {} levels",
                  std::count_if(levels.begin(), levels.end(), [&](const Level& x) { return tested(x) && x.met; }),
                  std::count_if(levels.begin(), levels.end(), tested));

  // Directions in eight dimensions, noise alike in all of them.
  Setting many;
  many.dim = 8;
  many.workers = 8;
  many.records = {0, 511, 512};
  many.paths = paths(16384);
  Figure& directions = figure(directions_title, "law", "E S");
  directions.log_y = true;
  directions.caption =
      "Laws: 1 = gaussian, 2 = multivariate t, nu = 3, 3 = multivariate t, nu = 1. Points: simulated, 99% "
      "whiskers; lines: predicted. DSignSGD at the same rate eta/sigma times slope for comparison.";
  Table space;
  space.title = directions_title;
  space.caption = fmt::format(
      "E S after {} steps, N = {}, h = 1, sigma = 1, eta = {:g}, +- 99%. predicted: to second order in eta. slope: of "
      "the "
      "drift in units of eta/sigma, (1 - 1/d) E 1/|zeta|. A: at equal local rate, in units of sigma^2 d rate/(4 N); of "
      "signs and DSGD for comparison.",
      many.records.back(), many.workers, many.eta);
  space.header = {"law", "at", "E S", "predicted", "slope", "A", "A signs", "A DSGD", "met"};
  struct Isotropic {
    std::string_view name, toml;
  };
  const std::array<Isotropic, 3> isotropic = {{{"gaussian", "law = \"gaussian\""},
                                               {"multivariate t, nu = 3", "law = \"multivariate_t\"\nnu = 3.0"},
                                               {"multivariate t, nu = 1", "law = \"multivariate_t\"\nnu = 1.0"}}};
  FigureSeries worker_points = points("workers", 0), worker_line = line("workers, predicted", 0),
               server_points = points("server", 1), server_line = line("server, predicted", 1);
  for (std::size_t i = 0; i < isotropic.size(); ++i) {
    many.law = isotropic[i].toml;
    for (const bool at_server : {false, true}) {
      many.method = at_server ? server : worker;
      const LawSpec spec = parse_experiment(many.text(), "bench_open_questions").curves.front().noise.law;
      const auto shrink = stable_shrink(spec, many.workers);
      if (at_server && !shrink) continue;  // the mean of the workers' noise has no closed form
      const SimulatedCurve s = run(many);
      const double sigma = at_server ? *shrink : 1.0, eps = many.eta / sigma;
      const int voices = at_server ? 1 : many.workers;
      const double slope = direction_slope(spec, many.dim);
      const double predicted = 0.5 * sigma * sigma * direction_square(spec, many.dim, voices, eps);
      const double leading = 0.5 * sigma * sigma * eps / (2.0 * voices * slope);
      const double order = predicted / leading - 1.0;
      const bool met = agrees(s.end(), predicted, 2.0 * order * order);
      const double half = mean_limit(s.end(), shown_alpha), l = noise_density_factor(spec),
                   variance = noise_variance(spec);
      const double A = sigma * sigma * many.workers / (voices * many.dim * slope * slope);
      space.rows.push_back({std::string(isotropic[i].name), at_server ? "server" : "workers",
                            fmt::format("{:.5f} +- {:.5f}", s.mean(), half), fmt::format("{:.5f}", predicted),
                            fmt::format("{:.4f}", slope / sigma), fmt::format("{:.3f}", A),
                            fmt::format("{:.3f}", 1.0 / (l * l)),
                            std::isfinite(variance) ? fmt::format("{:.3f}", variance) : "inf", met ? "yes" : "NO"});
      add(at_server ? server_points : worker_points, static_cast<double>(i) + 1.0, s.mean(), half);
      FigureSeries& predicted_line = at_server ? server_line : worker_line;
      predicted_line.x.push_back(static_cast<double>(i) + 1.0);
      predicted_line.y.push_back(predicted);
      Answer& a =
          answer(fmt::format("open/normalised/directions/{}/{}", short_id(isotropic[i].name),
                             at_server ? "server" : "workers"),
                 fmt::format("Where does DNSGD, normalised at the {}, settle in eight dimensions under {} noise?",
                             at_server ? "server" : "workers", isotropic[i].name),
                 asks,
                 fmt::format("at E S = {:.5f}: about eta sigma/(4 N slope), slope = (1 - 1/d) E 1/|zeta| = {:.4f}{}",
                             predicted, slope, at_server ? ", with N = 1 and sigma of the mean" : ""),
                 directions_title);
      a.met = met;
      a.answer = fmt::format("E S = {:.5f}; A at equal rate: {:.3f} (signs {:.3f}, DSGD {})", s.mean(), A,
                             1.0 / (l * l), std::isfinite(variance) ? fmt::format("{:.3f}", variance) : "infinite");
      set(a, "E S", s.mean(), s.mean() - half, s.mean() + half, shown_alpha);
    }
  }
  for (const FigureSeries& series : {worker_points, worker_line, server_points, server_line})
    directions.series.push_back(series);
  report.tables.push_back(space);

  // A step of length eta has an end that is at least eta/2 away from the optimum.
  many.law = isotropic[0].toml;
  many.method = server;
  many.sigma = 1e-3;
  const SimulatedCurve floor = run(many);
  many.method = "method = \"dsgd\"";
  const SimulatedCurve plain = run(many);
  const auto two = [](const SimulatedCurve& s) {
    double sum = 0.0;
    for (const std::size_t i : {s.result.records.size() - 2, s.result.records.size() - 1})
      sum += s.result.records[i].sum / static_cast<double>(s.result.records[i].finite);
    return sum;
  };
  const double least = 0.25 * many.eta * many.eta;
  Answer& a = answer(
      "open/normalised/floor", "Does DNSGD with a constant step converge when the noise vanishes?", asks,
      "no: |x' - x| = eta, so S_k + S_{k+1} >= h eta^2/4 whatever the noise; DSGD goes on to eta d sigma^2/(4 N)",
      directions_title);
  a.met = two(floor) >= least * (1.0 - rounding) && two(plain) < 0.01 * least;
  a.answer = fmt::format("no: E(S_k + S_k+1) is {:.3f} times h eta^2/4 at sigma = 0.001 (DSGD: {:.2g} times)",
                         two(floor) / least, two(plain) / least);
  set(a, "E(S_k + S_k+1) over h eta^2/4", two(floor) / least);
}

// ---------------------------------------------------------------------- nu
void Study::degrees_of_freedom() {
  const std::string title = "DSignSGD and DSGD against nu";
  const std::string asks = "next check: nu = 2 against nu = 1 (" + note + ")";
  Setting s;
  s.records = {0, 256};
  s.paths = paths(65536);
  const auto exact = [&](double nu) {
    const LawSpec law{LawKind::student_t, nu};
    return sign_walk(1.0, 0.0, s.eta, s.workers, s.steps(), [&](double x) { return 0.5 + noise_xi(law, x); });
  };
  const auto law_of = [](double nu) { return fmt::format("law = \"student_t\"\nnu = {:.17g}", nu); };

  Table table;
  table.title = title;
  table.caption = fmt::format(
      "1-D quadratic, N = {}, sigma = 1, eta = {:g}, {} steps. E S of DSignSGD +- 99%, of the exact walk, and eta "
      "sigma/(4 N "
      "l); DSGD: its median, and whether it has a mean.",
      s.workers, s.eta, s.steps());
  table.header = {"nu", "l", "DSignSGD E S", "exact", "eta sigma/(4 N l)", "DSGD median", "DSGD mean exists", "met"};
  FigureSeries sign_points = points("DSignSGD, E S", 0), sign_line = line("DSignSGD, exact", 0),
               law_line = line("eta sigma/(4 N l)", 2), plain_points = points("DSGD, median S", 1);
  law_line.dashed = true;
  bool all = true, existence = true;
  int count = 0;
  SimulatedCurve one, two;
  const std::vector<double> nus = quick_ ? std::vector<double>{0.7, 1.0, 1.5, 2.0, 3.0}
                                         : std::vector<double>{0.6, 0.8, 0.9,  1.0, 1.1, 1.25, 1.5, 1.75, 1.9,
                                                               2.0, 2.1, 2.25, 2.5, 3.0, 4.0,  6.0, 10.0, 30.0};
  for (const double nu : nus) {
    s.law = law_of(nu);
    s.method = signs;
    SimulatedCurve sign = run(s);
    s.method = "method = \"dsgd\"";
    const SimulatedCurve plain = run(s);
    const Moments walk = exact(nu);
    const double l = noise_density_factor(sign.law()), half = mean_limit(sign.end(), shown_alpha);
    const bool met = agrees(sign, walk);
    const bool exists = moments_of(plain.curve(), Objective(plain.experiment.objective)).mean_exists;
    all = all && met;
    existence =
        existence && exists == (nu > 2.0) && moments_of(sign.curve(), Objective(sign.experiment.objective)).mean_exists;
    ++count;
    const double linear = s.eta / (4.0 * s.workers * l);
    table.rows.push_back({fmt::format("{:g}", nu), fmt::format("{:.4f}", l),
                          fmt::format("{:.6f} +- {:.6f}", sign.mean(), half), fmt::format("{:.6f}", walk.mean),
                          fmt::format("{:.6f}", linear), fmt::format("{:.4g}", plain.median()), exists ? "yes" : "no",
                          met ? "yes" : "NO"});
    add(sign_points, nu, sign.mean(), half);
    add(plain_points, nu, plain.median(), 0.0);
    plain_points.lower.back() = plain.quantile(1);
    plain_points.upper.back() = plain.quantile(3);
    sign_line.x.push_back(nu);
    sign_line.y.push_back(walk.mean);
    law_line.x.push_back(nu);
    law_line.y.push_back(linear);
    if (nu == 1.0) one = std::move(sign);
    if (nu == 2.0) two = std::move(sign);
    if (nu == 1.0) {
      // A coordinate of DSGD under Cauchy noise is Cauchy: P(S <= q) = (2/pi) atan(sqrt(2 q)/spread).
      const double spread = stable_spread(1.0, 1.0, s.eta, 1.0, s.workers, s.steps());
      bool fits = true;
      for (std::size_t i = 0; i < curve_quantiles.size(); ++i) {
        const auto below = [&](double q) { return 2.0 / std::numbers::pi * std::atan(std::sqrt(2.0 * q) / spread); };
        const double p = curve_quantiles[i], q = plain.quantile(i);
        // A bin of the histogram is 1/64 wide at most, its middle is the quantile.
        const double bin = 0.5 * (below(q * (1.0 + 1.0 / 64.0)) - below(q / (1.0 + 1.0 / 64.0)));
        fits = family_.within(below(q) - p,
                              bin + normal_quantile(family_.alpha()) * std::sqrt(p * (1.0 - p) / plain.paths())) &&
               fits;
      }
      Answer& a = answer("open/nu/dsgd_at_1", "What does DSGD do at nu = 1?", asks,
                         "x is Cauchy of scale (sigma/h)(1 - (1 - eta h)^k), however many workers: no mean", title);
      a.met = fits;
      a.answer = fits ? fmt::format("its five quantiles are those; median S = {:.4g}", plain.median())
                      : "its quantiles are others";
      set(a, "median S over the exact one", plain.median() / (0.5 * spread * spread));
    }
  }
  report.tables.push_back(table);
  Figure& drawn = figure(title, "nu", "S");
  drawn.log_x = drawn.log_y = true;
  drawn.caption = "Whiskers: 99% for DSignSGD, quartiles for DSGD, which has a mean only for nu > 2.";
  for (const FigureSeries& series : {sign_points, sign_line, law_line, plain_points}) drawn.series.push_back(series);

  Answer& levels = answer("open/nu/levels", "Where does DSignSGD settle for nu from 0.6 to 30?", asks,
                          "at E S of the exact walk, for every nu", title);
  levels.met = all;
  levels.answer = all ? fmt::format("there, for all {} values of nu", count) : "elsewhere for some nu";

  const Moments at_1 = exact(1.0), at_2 = exact(2.0);
  const double quotient = one.mean() / two.mean(), expected = at_1.mean / at_2.mean;
  const double linear = std::numbers::pi / (2.0 * std::numbers::sqrt2);
  const auto spread = [&](double alpha) {
    return std::hypot(mean_limit(at_1, one.paths(), alpha) / at_1.mean,
                      mean_limit(at_2, two.paths(), alpha) / at_2.mean);
  };
  Answer& ratio =
      answer("open/nu/ratio", "How much higher does DSignSGD settle at nu = 1 than at nu = 2?", asks,
             fmt::format("l_2/l_1 = pi/(2 sqrt 2) = {:.4f} times for eta h/sigma to 0; {:.4f} here (exact walks)",
                         linear, expected),
             title);
  ratio.met = family_.within(quotient / expected - 1.0, spread(family_.alpha()) + rounding);
  ratio.answer = fmt::format("{:.4f} times", quotient);
  set(ratio, "E S at nu = 1 over E S at nu = 2", quotient, quotient * (1.0 - spread(shown_alpha)),
      quotient * (1.0 + spread(shown_alpha)), shown_alpha);

  // A kink would leave the left and the right derivative apart however small the differences get.
  double worst = 0.0;
  bool smooth = true;
  for (const double nu : {1.0, 2.0}) {
    const auto gap = [&](double step) {
      const double middle = exact(nu).mean, right = exact(nu + step).mean - middle,
                   left = middle - exact(nu - step).mean;
      return std::abs(right - left) / std::abs(right);
    };
    const double coarse = gap(0.04), fine = gap(0.01);
    worst = std::max(worst, fine);
    smooth = smooth && fine < 0.5 * coarse;
  }
  Answer& transition =
      answer("open/nu/transition", "Is there a transition of DSignSGD at nu = 2 or nu = 1?", asks,
             "no: Xi, so every transition probability, is analytic in nu; DSGD loses its mean at nu = 2", title);
  transition.met = smooth && existence;
  transition.answer = fmt::format(
      "no: the left and right slopes in nu differ by {:.1f}% at steps of 0.01, and by less than half "
      "of what they do at 0.04; the program grants DSGD a mean for nu > 2 only",
      100.0 * worst);
  set(transition, "relative difference of left and right slope of the exact E S", worst);
}

// ---------------------------------------------------------------------- compressors
struct Compressor {
  std::string_view name, toml;
  CompressorKind kind;
  int k;
  double p;
  int levels;
};
constexpr std::array<Compressor, 9> all_compressors = {{
    {"rand_k 4", "{ kind = \"rand_k\", k = 4 }", CompressorKind::rand_k, 4, 1.0, 1},
    {"rand_k 1", "{ kind = \"rand_k\", k = 1 }", CompressorKind::rand_k, 1, 1.0, 1},
    {"bernoulli 1/4", "{ kind = \"bernoulli\", p = 0.25 }", CompressorKind::bernoulli, 0, 0.25, 1},
    {"qsgd 1", "{ kind = \"qsgd\", s = 1 }", CompressorKind::qsgd, 0, 1.0, 1},
    {"qsgd 4", "{ kind = \"qsgd\", s = 4 }", CompressorKind::qsgd, 0, 1.0, 4},
    {"natural", "{ kind = \"natural\" }", CompressorKind::natural, 0, 1.0, 1},
    {"rand_k_plain 4", "{ kind = \"rand_k_plain\", k = 4 }", CompressorKind::rand_k_plain, 4, 1.0, 1},
    {"top_k 4", "{ kind = \"top_k\", k = 4 }", CompressorKind::top_k, 4, 1.0, 1},
    {"top_k 1", "{ kind = \"top_k\", k = 1 }", CompressorKind::top_k, 1, 1.0, 1},
}};

void Study::compressors() {
  const std::string omega_title = "Measured omega of every compressor", level_title = "Levels against omega",
                    top_title = "top_k: its level against the uncompressed one";
  const std::string asks = "next check: Random-k and the omega model (" + note + ")";
  constexpr int d = 16;
  const auto method_of = [](const Compressor& c) { return fmt::format("method = \"dcsgd\"\ncompressor = {}", c.toml); };

  // One step with eta h = 1 and no noise: x_1 = v - C(v), the average of N messages; S_1/S_0 = |C - v|^2/|v|^2.
  struct Vector {
    std::string_view name;
    std::vector<double> v;
  };
  std::vector<Vector> vectors = {{"alike", std::vector<double>(d, 1.3)}, {"falling", {}}};
  for (int j = 0; j < d; ++j) vectors[1].v.push_back(static_cast<double>(static_cast<float>(3.0 * std::pow(0.7, j))));
  Table omega;
  omega.title = omega_title;
  omega.caption = fmt::format(
      "E |C(v) - v|^2/|v|^2 of one message and of the average of 16, d = {}, for a vector of like coordinates and one "
      "with "
      "v_j = 3 0.7^j; +- 99%. exact: by the formulas of docs/open_questions.md. bias^2: |E C(v) - v|^2/|v|^2, from "
      "both. "
      "bound: what is promised for every v.",
      d);
  omega.header = {"compressor", "v", "one message", "exact", "bias^2", "exact", "bound", "met"};
  FigureSeries measured = points("measured", 0), formula = points("exact", 1), bounds = points("bound", 2);
  Setting one;
  one.dim = d;
  one.sigma = 0.0;
  one.eta = 1.0;
  one.paths = paths(65536);
  double place = 0.0;
  for (const Compressor& c : all_compressors) {
    bool met = true;
    double largest = 0.0, largest_half = 0.0, largest_exact = 0.0;
    for (const Vector& vector : vectors) {
      const Distortion exact = distortion(c.kind, vector.v, c.k, c.p, c.levels);
      one.start = fmt::format("[{:.17g}]", fmt::join(vector.v, ", "));
      one.method = method_of(c);
      double square = 0.0;
      for (const double x : vector.v) square += x * x;
      std::array<double, 2> mean{}, half{};
      bool here = exact.total <= exact.bound * (1.0 + 1e-12);
      for (const int n : {1, 16}) {
        one.workers = n;
        const SimulatedCurve s = run(one);
        const double expected = exact.bias + (exact.total - exact.bias) / n;
        // Without chance only rounding is left.
        const double most = mean_limit(s.end(), family_.alpha()) / (0.5 * square) + rounding * (1.0 + expected);
        mean[n == 1 ? 0 : 1] = s.mean() / (0.5 * square);
        half[n == 1 ? 0 : 1] = mean_limit(s.end(), shown_alpha) / (0.5 * square);
        here = family_.within(mean[n == 1 ? 0 : 1] - expected, most) && here;
      }
      const double bias = (16.0 * mean[1] - mean[0]) / 15.0, bias_half = std::hypot(16.0 * half[1], half[0]) / 15.0;
      omega.rows.push_back({std::string(c.name), std::string(vector.name),
                            fmt::format("{:.4f} +- {:.4f}", mean[0], half[0]), fmt::format("{:.4f}", exact.total),
                            fmt::format("{:.4f} +- {:.4f}", bias, bias_half), fmt::format("{:.4f}", exact.bias),
                            fmt::format("{:.4f}", exact.bound), here ? "yes" : "NO"});
      met = met && here;
      if (exact.total >= largest_exact) {
        largest = mean[0];
        largest_half = half[0];
        largest_exact = exact.total;
      }
      place += 1.0;
      add(measured, place, mean[0], half[0]);
      formula.x.push_back(place);
      formula.y.push_back(exact.total);
      bounds.x.push_back(place);
      bounds.y.push_back(exact.bound);
    }
    const bool biased = c.kind == CompressorKind::rand_k_plain || c.kind == CompressorKind::top_k;
    Answer& a =
        answer("open/rand_k/omega/" + short_id(c.name),
               fmt::format("What is the relative error of {}, d = {}?", c.name, d), asks,
               fmt::format("{:.4f} at most over the two vectors, by its formula{}", largest_exact,
                           biased ? "; biased" : "; unbiased: the average of 16 messages has a sixteenth of it"),
               omega_title);
    a.met = met;
    a.answer = fmt::format("{:.4f}", largest);
    set(a, "E |C(v) - v|^2/|v|^2", largest, largest - largest_half, largest + largest_half, shown_alpha);
  }
  report.tables.push_back(omega);
  Figure& drawn = figure(omega_title, "compressor and vector", "E |C(v) - v|^2/|v|^2");
  drawn.caption = "Two vectors each (alike, falling): ";
  for (std::size_t i = 0; i < all_compressors.size(); ++i)
    drawn.caption += fmt::format("{}{} and {}: {}", i == 0 ? "" : ", ", 2 * i + 1, 2 * i + 2, all_compressors[i].name);
  for (const FigureSeries& series : {measured, formula, bounds}) drawn.series.push_back(series);

  // The level, where noise dominates, and on the way there.
  Setting run_down;
  run_down.dim = d;
  run_down.start = "1.0";
  run_down.records = {0, 8, 32, 256};
  run_down.paths = paths(16384);
  const double eta = run_down.eta;
  const std::vector<double> h(d, 1.0);
  const auto predicted = [&](double w, double step, std::uint64_t k) {
    return dcsgd_mean(h, 1.0, step, w, 1.0, run_down.workers, k);
  };
  const double uncompressed = predicted(0.0, eta, 256);
  Table levels;
  levels.title = level_title;
  levels.caption = fmt::format(
      "E S over that of exact uncompressed DSGD after 256 steps, isotropic quadratic, d = {}, N = {}, eta h = {:g}, "
      "sigma = "
      "1; +- 99%. omega: what C(g) loses on the average over the normal gradients there. predicted: the exact second "
      "moments with that omega, about 1 + omega.",
      d, run_down.workers, eta);
  levels.header = {"compressor", "omega", "1 + omega", "E S / uncompressed", "predicted", "met"};
  FigureSeries level_points = points("simulated", 0), level_line = line("predicted by omega", 1);
  std::vector<std::pair<double, double>> theory;
  for (const Compressor& c : all_compressors) {
    if (c.kind == CompressorKind::top_k || c.kind == CompressorKind::rand_k_plain) continue;
    run_down.method = method_of(c);
    const SimulatedCurve s = run(run_down);
    double w = 0.0;
    bool exact = true;
    if (c.kind == CompressorKind::qsgd) {
      w = qsgd_omega(d, c.levels);
      exact = false;
    } else if (c.kind == CompressorKind::natural) {
      // The gradients are wider than the noise by what x varies.
      w = natural_omega(1.0);
      const double m = 2.0 * predicted(w, eta, 256) / d;
      w = natural_omega(std::sqrt(1.0 + m));
      exact = false;
    } else {
      w = distortion(c.kind, std::vector<double>(d, 1.0), c.k, c.p, c.levels).total;
    }
    bool met = true;
    if (exact) {  // at every record
      for (std::size_t i = 1; i < s.result.records.size(); ++i)
        met = agrees(s.result.records[i], predicted(w, eta, run_down.records[i])) && met;
    } else {
      // x is normal and alike in all directions up to its share of the gradient's variance, eta/(2 N), of which 1% is
      // generous for what omega can change.
      met = agrees(s.end(), predicted(w, eta, 256), 0.01 * eta / run_down.workers);
    }
    const double ratio = s.mean() / uncompressed, half = mean_limit(s.end(), shown_alpha) / uncompressed;
    levels.rows.push_back({std::string(c.name), fmt::format("{:.4f}", w), fmt::format("{:.4f}", 1.0 + w),
                           fmt::format("{:.4f} +- {:.4f}", ratio, half),
                           fmt::format("{:.4f}", predicted(w, eta, 256) / uncompressed), met ? "yes" : "NO"});
    add(level_points, 1.0 + w, ratio, half);
    theory.push_back({1.0 + w, predicted(w, eta, 256) / uncompressed});
    Answer& a = answer("open/rand_k/level/" + short_id(c.name),
                       fmt::format("By how much does {} raise the level?", c.name), asks,
                       fmt::format("{:.4f} times, by the omega model (1 + omega = {:.4f} to leading order)",
                                   predicted(w, eta, 256) / uncompressed, 1.0 + w),
                       level_title);
    a.met = met;
    a.answer = fmt::format("{:.4f} times", ratio);
    set(a, "E S over that of uncompressed DSGD", ratio, ratio - half, ratio + half, shown_alpha);
  }
  std::sort(theory.begin(), theory.end());
  for (const auto& [x, y] : theory) {
    level_line.x.push_back(x);
    level_line.y.push_back(y);
  }
  Figure& level_figure = figure(level_title, "1 + omega", "E S / E S uncompressed");
  level_figure.log_x = level_figure.log_y = true;
  level_figure.caption = "Every unbiased compressor, at the omega it has on normal gradients; 99% whiskers.";
  level_figure.series = {level_points, level_line};
  report.tables.push_back(levels);

  // rand_k_plain is (k/d) rand_k: a smaller step.
  run_down.method = method_of(all_compressors[6]);
  const SimulatedCurve plain = run(run_down);
  run_down.method = method_of(all_compressors[0]);
  run_down.eta = eta / 4.0;
  const SimulatedCurve slower = run_again(run_down);
  run_down.eta = eta;
  bool same = true, met = true;
  for (std::size_t i = 0; i < plain.result.records.size(); ++i) {
    same = same && plain.result.records[i].sum == slower.result.records[i].sum &&
           plain.result.records[i].m2 == slower.result.records[i].m2;
    if (i > 0) met = agrees(plain.result.records[i], predicted(3.0, eta / 4.0, run_down.records[i])) && met;
  }
  Answer& a = answer(
      "open/rand_k/plain", "What is Random-k without the factor d/k?", asks,
      "rand_k with the step eta k/d: the same bits when k/d is a power of two; its bias is a change of the step, "
      "its level the one of rand_k at eta k/d",
      level_title);
  a.met = same && met;
  const double half = mean_limit(plain.end(), shown_alpha);
  a.answer =
      fmt::format("{}; E S = {:.4f}, {:.3f} times that of rand_k at the same eta (exact: {:.3f})",
                  same ? "the same bits as rand_k at eta k/d" : "other bits than rand_k at eta k/d", plain.mean(),
                  plain.mean() / predicted(3.0, eta, 256), predicted(3.0, eta / 4.0, 256) / predicted(3.0, eta, 256));
  set(a, "E S after 256 steps", plain.mean(), plain.mean() - half, plain.mean() + half, shown_alpha);

  // top_k: two steps, extrapolated to eta -> 0.
  Table top;
  top.title = top_title;
  top.caption = fmt::format(
      "Stationary E S over eta d sigma^2 Var zeta/(4 N), d = {}, N = {}, at eta h = 1/32 and 1/64 and extrapolated to "
      "0; +- "
      "99%. theory: E psi^2/(slope Var zeta). slope: of the drift, what the step is reduced by. A: at equal rate, "
      "relative "
      "to DSGD; of rand_k for comparison.",
      d, run_down.workers);
  top.header = {"law", "k", "at 1/32", "at 1/64", "to 0", "theory", "slope", "A", "A rand_k", "met"};
  FigureSeries gaussian_points = points("gaussian, simulated", 0), gaussian_line = line("gaussian, theory", 0),
               laplace_points = points("laplace, simulated", 1), laplace_line = line("laplace, theory", 1);
  for (const Law* law : {&laws[0], &laws[3]}) {
    for (const int k : {1, 2, 4, 8}) {
      if (quick_ && k != 1 && k != 4) continue;
      Setting s;
      s.dim = d;
      s.law = law->toml;
      s.method = fmt::format("method = \"dcsgd\"\ncompressor = {{ kind = \"top_k\", k = {} }}", k);
      s.paths = paths(8192);
      std::array<double, 2> ratio{}, error{};
      TopK theory_of;
      double variance = 0.0;
      for (const std::size_t i : {0, 1}) {
        s.eta = i == 0 ? 1.0 / 32 : 1.0 / 64;
        const LawSpec spec = parse_experiment(s.text(), "bench_open_questions").curves.front().noise.law;
        theory_of = top_k(spec, d, k);
        variance = noise_variance(spec);
        // e^-12 of the start is left, which is zero.
        s.records = {0, static_cast<std::uint64_t>(6.0 / (s.eta * theory_of.slope))};
        const SimulatedCurve sim = run(s);
        const double unit = s.eta * d * variance / (4.0 * s.workers);
        ratio[i] = sim.mean() / unit;
        error[i] = mean_limit(sim.end(), family_.alpha()) / unit;
      }
      const double expected = theory_of.square / (theory_of.slope * variance);
      const double at_0 = 2.0 * ratio[1] - ratio[0], most = std::hypot(2.0 * error[1], error[0]);
      // What is left is of second order in the coarser step.
      const bool good = family_.within(at_0 - expected, most + 4.0 / (32.0 * 32.0) * expected);
      const double shown = most * normal_quantile(shown_alpha) / normal_quantile(family_.alpha());
      const double A = theory_of.square / (theory_of.slope * theory_of.slope * variance);
      top.rows.push_back({std::string(law->name), fmt::format("{}", k), fmt::format("{:.4f}", ratio[0]),
                          fmt::format("{:.4f}", ratio[1]), fmt::format("{:.4f} +- {:.4f}", at_0, shown),
                          fmt::format("{:.4f}", expected), fmt::format("{:.4f}", theory_of.slope),
                          fmt::format("{:.3f}", A), fmt::format("{:.3f}", static_cast<double>(d) / k),
                          good ? "yes" : "NO"});
      const bool normal = law == &laws[0];
      add(normal ? gaussian_points : laplace_points, k, at_0, shown);
      FigureSeries& series = normal ? gaussian_line : laplace_line;
      series.x.push_back(k);
      series.y.push_back(expected);
      Answer& t = answer(fmt::format("open/rand_k/top_k/{}/{}", law->name, k),
                         fmt::format("Where does top_k, k = {} of {}, stall under {} noise?", k, d, law->name), asks,
                         fmt::format("{:.4f} times as high as uncompressed DSGD at the same eta, at {:.3f} of its rate",
                                     expected, theory_of.slope),
                         top_title);
      t.met = good;
      t.answer = fmt::format("{:.4f} times as high; at equal rate {:.3f} times, where rand_k is {:g} times", at_0, A,
                             static_cast<double>(d) / k);
      set(t, "E S over eta d sigma^2 Var zeta/(4 N), eta to 0", at_0, at_0 - shown, at_0 + shown, shown_alpha);
    }
  }
  report.tables.push_back(top);
  Figure& top_figure = figure(top_title, "k of 16", "E S / (eta d sigma^2 Var zeta/(4 N))");
  top_figure.log_x = true;
  top_figure.caption = "Extrapolated to eta = 0, 99% whiskers; lines: theory.";
  top_figure.series = {gaussian_points, gaussian_line, laplace_points, laplace_line};
}

int run(const BenchmarkArguments& options) {
  if (!options.out.empty()) check_output_directory(options.out);
  Bench bench(run_options("bench_open_questions", options.backend, options.threads));
  Study study(bench, options.quick);
  const auto chosen = [&](const char* name) {
    return options.names.empty() || std::find(options.names.begin(), options.names.end(), name) != options.names.end();
  };
  if (chosen("normalised")) study.normalised();
  if (chosen("nu")) study.degrees_of_freedom();
  if (chosen("compressors")) study.compressors();
  show_progress("");
  study.report.title = options.quick ? "Open questions (quick)" : "Open questions";
  study.report.summary = fmt::format(
      "{} tests, each at level {:.2g}: all of them together are wrong with probability at most {:g} (largest "
      "deviation: "
      "{:.2f} of its limit).",
      study.family().tests(), study.family().alpha(), family_level, study.family().largest());
  return finish(options, bench, std::move(study.report));
}

}  // namespace

int main(int argc, char** argv) {
  BenchmarkArguments options;
  const auto add_options = [&](CLI::App& app) {
    app.add_option("QUESTION", options.names, "normalised, nu, compressors (default: all)")
        ->check(CLI::IsMember(std::set<std::string>{"normalised", "nu", "compressors"}));
    add_benchmark_options(app, options, "fewer paths and values", "folder for results.json and report.html");
  };
  return benchmark_main("bench_open_questions", "questions that the papers leave open", argc, argv, add_options,
                        [&] { return run(options); });
}
