// SPDX-License-Identifier: Apache-2.0
// Which methods survive large and heavy-tailed noise, and how does what is left grow with its scale? Derivations in
// docs/noise_resilience.md. Exit status 1 when an answer is not the one derived there.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bench/answers.hpp"
#include "bench/fit.hpp"
#include "bench/stationary.hpp"

using namespace pathbound;
using namespace pathbound::stationary;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN(), infinite = std::numeric_limits<double>::infinity();

// The setting: an anisotropic quadratic, so long a run that the start does not matter but where noise makes signs slow.
constexpr int dim = 4, workers = 4, keep = 2;
constexpr double eta = 0.25, start = 1.0, clip = 1.0, limit = 1e6;
constexpr double h_min = 0.5, h_max = 1.0;
constexpr std::uint64_t steps = 2048;
constexpr double omega = static_cast<double>(dim) / keep - 1.0;
/// sigma = 10^(-5/2), ..., 10^(3/2), four decades.
constexpr double log_low = -2.5, log_high = 1.5;

constexpr double family_level = 0.01;
constexpr int most_tests = 1000;  ///< that a full run makes at most
constexpr double shown_alpha = 0.01;
/// Levels of DSignSGD are linear in sigma up to a departure that falls with sigma; slopes are fitted where it is below.
constexpr double linear_within = 0.05;
/// DNSGD and clipping have no exact level here: their slopes may be this far from 1, fitted where a step undoes at most
/// 1/25 of a deviation and 1% of the start is left.
constexpr double near_one = 0.05, most_undone = 1.0 / 25, start_left = 0.01;

std::vector<double> spectrum() {
  std::vector<double> h;
  for (int j = 0; j < dim; ++j) h.push_back(h_min + (h_max - h_min) * j / (dim - 1));
  return h;
}

struct LawCase {
  std::string_view name, toml;
  bool light;     ///< enough moments for t statistics of S
  bool student;   ///< in the papers' family
  double stable;  ///< its index when it is a stable law other than the Gaussian, else 0
  bool quick;
};
constexpr std::array<LawCase, 13> laws = {{
    {"t, nu = 0.5", "law = \"student_t\"\nnu = 0.5", false, true, 0.0, false},
    {"t, nu = 1", "law = \"student_t\"\nnu = 1.0", false, true, 1.0, true},
    {"t, nu = 2", "law = \"student_t\"\nnu = 2.0", false, true, 0.0, false},
    {"t, nu = 3", "law = \"student_t\"\nnu = 3.0", false, true, 0.0, true},
    {"t, nu = 5", "law = \"student_t\"\nnu = 5.0", false, true, 0.0, false},
    {"t, nu = 10", "law = \"student_t\"\nnu = 10.0", true, true, 0.0, false},
    {"t, nu = 30", "law = \"student_t\"\nnu = 30.0", true, true, 0.0, false},
    {"gaussian", "law = \"gaussian\"", true, true, 0.0, true},
    {"laplace", "law = \"laplace\"", true, false, 0.0, true},
    {"logistic", "law = \"logistic\"", true, false, 0.0, false},
    {"contaminated", "law = \"contaminated_gaussian\"\neps = 0.1\nk = 10.0", true, false, 0.0, false},
    {"stable, 1.5", "law = \"alpha_stable\"\nalpha = 1.5", false, false, 1.5, true},
    {"stable, 0.7", "law = \"alpha_stable\"\nalpha = 0.7", false, false, 0.7, false},
}};

enum Method : int { dsgd, dcsgd, dsignsgd, dnsgd_server, dnsgd_worker, clipped, n_methods };
struct MethodCase {
  std::string_view name, toml;
  bool bounded;  ///< a step moves by at most eta sqrt(d) (clip eta, eta), whatever the noise
};
constexpr std::array<MethodCase, n_methods> methods = {{
    {"DSGD", "method = \"dsgd\"", false},
    {"DCSGD", "method = \"dcsgd\"\ncompressor = { kind = \"rand_k\", k = 2 }", false},
    {"DSignSGD", "method = \"dsignsgd\"", true},
    {"DNSGD server", "method = \"dnsgd\"\nat = \"server\"", true},
    {"DNSGD worker", "method = \"dnsgd\"\nat = \"worker\"", true},
    {"clipped", "method = \"clipped_dsgd\"\nclip = 1.0", true},
}};

struct Cell {
  SimulatedCurve simulated;
  Moments exact;            ///< DSignSGD
  double exact_mean = nan;  ///< where E S is known
};

struct Grid {
  std::vector<double> sigma;
  std::vector<const LawCase*> law;
  std::vector<LawSpec> spec;
  std::map<std::array<std::size_t, 3>, Cell> cells;  ///< method, law, sigma
  const Cell& at(int method, std::size_t l, std::size_t s) const {
    return cells.at({static_cast<std::size_t>(method), l, s});
  }
};

std::string experiment_text(const MethodCase& method, const LawCase& law, double sigma, std::uint64_t paths,
                            std::uint64_t seed) {
  return fmt::format(
      "title = \"noise\"\nseed = {}\npaths = {}\nsteps = {}\ncheckpoint_steps = [0, {}]\nlimit = {}\n[objective]\nkind "
      "= \"quadratic\"\ndim = {}\nstart = {}\nspectrum = {{ kind = \"linear\", min = {}, max = {} }}\n[noise]\n{}\n"
      "scale = {:.17g}\n[workers]\ncount = {}\n[[curve]]\nname = \"{}\"\n{}\neta = {}\n",
      seed, paths, steps, steps, limit, dim, start, h_min, h_max, law.toml, sigma, workers, method.name, method.toml,
      eta);
}

/// O5: coordinates of DSignSGD are walks of their own.
Moments exact_sign(const LawSpec& law, double sigma) {
  Moments sum;
  for (const double h : spectrum())
    sum += sign_walk(h, start, eta, workers, steps, [&](double x) { return 0.5 + noise_xi(law, h * x / sigma); });
  return sum;
}
/// The level of DSignSGD in the linear regime.
double sign_law(const LawSpec& law, double sigma) {
  return dim * eta * sigma / (4.0 * workers * noise_density_factor(law));
}
/// From here on that is right up to `linear_within`, in the coordinate that is worst.
double linear_from(const LawSpec& law) { return eta * h_max / sign_linear_up_to(law, workers, linear_within); }

Grid measure(const BenchmarkArguments& options, Bench& bench) {
  Grid grid;
  const int per_decade = options.quick ? 2 : 4;
  for (int i = 0; i <= 4 * per_decade; ++i)
    grid.sigma.push_back(std::pow(10.0, log_low + (log_high - log_low) * i / (4.0 * per_decade)));
  for (const LawCase& law : laws) {
    const bool chosen = options.names.empty()
                            ? !options.quick || law.quick
                            : std::find(options.names.begin(), options.names.end(), law.name) != options.names.end();
    if (chosen) grid.law.push_back(&law);
  }
  const std::uint64_t paths = options.quick ? 512 : 4096;
  for (std::size_t l = 0; l < grid.law.size(); ++l) {
    const LawCase& law = *grid.law[l];
    for (int m = 0; m < n_methods; ++m) {
      const MethodCase& method = methods[static_cast<std::size_t>(m)];
      show_progress(fmt::format("{}, {} ...", law.name, method.name));
      for (std::size_t s = 0; s < grid.sigma.size(); ++s) {
        // What is known only up to limits needs less of a grid.
        if (m > dsignsgd && options.quick && s % 2 != 0) continue;
        const double sigma = grid.sigma[s];
        // Every cell has a seed of its own: they are independent.
        const auto law_index = static_cast<std::uint64_t>(&law - laws.data());
        const std::uint64_t seed = 1 + s + 100 * (static_cast<std::uint64_t>(m) + 100 * law_index);
        Cell cell{bench(experiment_text(method, law, sigma, paths, seed), fmt::format("{}, {}", law.name, method.name)),
                  {},
                  nan};
        const LawSpec& spec = cell.simulated.law();
        if (m == dsignsgd) {
          cell.exact = exact_sign(spec, sigma);
          cell.exact_mean = cell.exact.mean;
        } else if (m <= dcsgd && std::isfinite(noise_variance(spec))) {
          cell.exact_mean = dcsgd_mean(spectrum(), start, eta, m == dcsgd ? omega : 0.0,
                                       noise_variance(spec) * sigma * sigma, workers, steps);
        }
        if (m == 0 && s == 0) grid.spec.push_back(spec);
        grid.cells.emplace(std::array<std::size_t, 3>{static_cast<std::size_t>(m), l, s}, std::move(cell));
      }
    }
  }
  show_progress("");
  return grid;
}

/// The standard error of a median, from the quartiles: its density is about half of the paths over their distance in
/// log S, at least for one peak between them; bins of the histogram are at most 1/64 wide.
double median_error(const SimulatedCurve& s) {
  const double spread = std::log(s.quantile(3) / s.quantile(1)) / std::sqrt(s.paths());
  return s.median() * std::hypot(spread, 1.0 / 64.0 / std::sqrt(12.0));
}

/// A slope of log S against log sigma over the cells from a scale on: a power law or a curve that is known exactly, so
/// that nothing but sampling errors, which are known too, separates the points from it.
struct Slope {
  std::size_t points = 0;
  double value = nan, half = nan;  ///< half: of the interval at the level asked for
  double exact = nan;              ///< of the line through exact means, with the same weights
  bool of_means = false;
  double from = nan, to = nan;
};
Slope slope_of(const Grid& grid, int m, std::size_t l, bool of_means, double from, double to, double alpha) {
  std::vector<double> x, y, error, exact;
  Slope out;
  out.of_means = of_means;
  for (std::size_t s = 0; s < grid.sigma.size(); ++s) {
    const auto cell = grid.cells.find({static_cast<std::size_t>(m), l, s});
    if (cell == grid.cells.end() || grid.sigma[s] < from || grid.sigma[s] > to) continue;
    const SimulatedCurve& sim = cell->second.simulated;
    if (!of_means && !std::isfinite(sim.quantile(3))) continue;  // too many paths are lost
    if (out.points++ == 0) out.from = grid.sigma[s];
    out.to = grid.sigma[s];
    x.push_back(std::log(grid.sigma[s]));
    y.push_back(std::log(of_means ? sim.mean() : sim.median()));
    error.push_back(of_means ? sim.standard_error() / sim.mean() : median_error(sim) / sim.median());
    exact.push_back(std::log(cell->second.exact_mean));
  }
  if (out.points < 3) return out;
  const pathbound::detail::Line line = pathbound::detail::weighted_line(x, y, error, 0.0);
  out.value = line.slope;
  out.half = normal_quantile(alpha) * std::sqrt(line.sampling_variance);
  if (of_means && std::none_of(exact.begin(), exact.end(), [](double v) { return std::isnan(v); }))
    out.exact = pathbound::detail::weighted_line(x, exact, error, 0.0).slope;
  return out;
}

std::string short_id(std::string_view name) {
  std::string id;
  for (const char c : name)
    if (c != ',' && c != '=') id += c == ' ' ? '_' : c;
  while (id.find("__") != std::string::npos) id.erase(id.find("__"), 1);
  return id;
}

const std::string figure_levels = "Median suboptimality against the scale of the noise",
                  figure_survival = "Survival against the tail", figure_sign = "DSignSGD: level against the scale",
                  figure_collapse = "DSignSGD: levels of all laws on one curve",
                  figure_means = "DSGD and DCSGD: level against the scale";
const std::string source3 = "arXiv 2502.17009, Theorem 3", source4 = "arXiv 2502.17009, Theorem 4";

class Judge {
 public:
  Judge(const Grid& grid, std::string command)
      : grid_(grid), family_(family_level, most_tests), command_(std::move(command)) {}

  std::vector<Answer> answers;
  Family& family() { return family_; }
  Table slopes;

  void judge() {
    survival();
    heavy_survival();
    means_of_sign();
    means_of_sgd();
    existence();
    slopes_of_all();
    other_laws();
    compression();
  }

 private:
  Answer& answer(const std::string& id, const std::string& question, const std::string& claim,
                 const std::string& expected, const std::string& figure) {
    Answer a;
    a.id = id;
    a.question = question;
    a.claim = claim;
    a.expected = expected;
    a.figure = figure;
    a.experiment = command_;
    answers.push_back(a);
    return answers.back();
  }
  static void set(Answer& a, const std::string& what, double number, double lower, double upper, double alpha) {
    a.number_is = what;
    a.number = number;
    a.lower = lower;
    a.upper = upper;
    a.confidence = 1.0 - alpha;
  }

  void set_slope(Answer& a, const std::string& what, const Slope& slope) const {
    const double half = slope.half * normal_quantile(shown_alpha) / normal_quantile(family_.alpha());
    set(a, what, slope.value, slope.value - half, slope.value + half, shown_alpha);
  }

  /// A step of these moves x by at most eta max(sqrt(d), clip): no path can leave |x_0| + steps times that.
  void survival() {
    double paths = 0.0, lost = 0.0;
    for (const auto& [key, cell] : grid_.cells) {
      if (!methods[key[0]].bounded) continue;
      paths += cell.simulated.paths();
      lost += cell.simulated.paths() - static_cast<double>(cell.simulated.end().finite);
    }
    Answer& a = answer("noise/heavy_tails/bounded_steps", "Do DSignSGD, DNSGD and clipped DSGD survive any noise?",
                       "DSignSGD is robust to heavy-tailed noise (arXiv 2502.17009)",
                       "every path: a step has a bounded length", figure_survival);
    a.met = lost == 0.0;
    a.answer = fmt::format("{:.0f} of {:.0f} paths lost, for every law and scale", lost, paths);
    const auto interval = share_interval(lost, paths, shown_alpha);
    set(a, "share of paths lost", lost / paths, interval.first, interval.second, shown_alpha);
  }

  /// Under a stable law a coordinate of DSGD is that law again, exactly: S <= limit needs h x^2/2 <= limit in every
  /// coordinate and is sure when every one is below limit/d.
  void heavy_survival() {
    for (std::size_t l = 0; l < grid_.law.size(); ++l) {
      const LawCase& law = *grid_.law[l];
      if (law.stable == 0.0) continue;
      const std::size_t s = grid_.sigma.size() - 1;
      const auto at_most = [&](double most) {
        double p = 1.0;
        for (const double h : spectrum())
          p *= 2.0 * noise_xi(grid_.spec[l], std::sqrt(2.0 * most / h) /
                                                 stable_spread(law.stable, h, eta, grid_.sigma[s], workers, steps));
        return p;
      };
      const double low = at_most(limit / dim), high = at_most(limit);
      const SimulatedCurve& sim = grid_.at(dsgd, l, s).simulated;
      const double kept = static_cast<double>(sim.end().finite);
      const auto interval = share_interval(kept, sim.paths(), family_.alpha());
      // Inside of the bracket, as far as the paths can tell.
      const double outside = std::max({0.0, low - interval.second, interval.first - high});
      Answer& a = answer(
          "noise/heavy_tails/dsgd/" + short_id(law.name),
          fmt::format("How many paths of DSGD survive {} noise at sigma = {:.3g}?", law.name, grid_.sigma[s]),
          "DCSGD is highly sensitive to heavy-tailed noise (arXiv 2502.17009)",
          fmt::format("between {:.4f} and {:.4f}, by the exact law of a coordinate", low, high), figure_survival);
      family_.within(outside, 0.0);
      a.met = outside == 0.0;
      a.answer = fmt::format("{:.4f} of the paths", sim.survival());
      const auto shown = share_interval(kept, sim.paths(), shown_alpha);
      set(a, fmt::format("share of paths with S <= {:g}", limit), sim.survival(), shown.first, shown.second,
          shown_alpha);
    }
  }

  /// Cells' means against exact ones: one answer for all.
  void means_of_sign() {
    bool met = true;
    int n = 0;
    double worst = 0.0;
    for (const auto& [key, cell] : grid_.cells) {
      if (key[0] != dsignsgd) continue;
      ++n;
      const double off = cell.simulated.mean() - cell.exact.mean;
      // Positions are sums of floats: a relative 1e-5 is theirs.
      const double most = mean_limit(cell.exact, cell.simulated.paths(), family_.alpha()) + 1e-5 * cell.exact.mean;
      met = family_.within(off, most) && met;
      worst = std::max(worst, std::abs(off) / most);
    }
    Answer& a =
        answer("noise/heavy_tails/dsignsgd_levels", "Is DSignSGD's suboptimality finite and known under every law?",
               "DSignSGD is robust to heavy-tailed noise (arXiv 2502.17009)",
               "E S of the exact walk on a lattice, for every law and scale", figure_sign);
    a.met = met;
    a.answer =
        fmt::format("{} means of {} laws {} the exact ones", n, grid_.law.size(), met ? "agree with" : "are off");
    set(a, "largest |mean - exact| over its limit", worst, nan, nan, nan);
  }
  void means_of_sgd() {
    bool met = true;
    int n = 0;
    double worst = 0.0;
    for (const auto& [key, cell] : grid_.cells) {
      if (key[0] > dcsgd || !grid_.law[key[1]]->light) continue;
      ++n;
      const double off = cell.simulated.mean() - cell.exact_mean;
      const double most = mean_limit(cell.simulated.end(), family_.alpha()) + 1e-5 * cell.exact_mean;
      met = family_.within(off, most) && met;
      worst = std::max(worst, std::abs(off) / most);
    }
    if (n == 0) return;
    Answer& a = answer("noise/compression/levels", "What do noise and compression do to the level together?",
                       source3 + ": the level is that of the noise times (1 + omega), over Delta",
                       "E S of the exact second moments, for every light-tailed law and scale", figure_means);
    a.met = met;
    a.answer = fmt::format("{} means of DSGD and DCSGD {} the exact ones", n, met ? "agree with" : "are off");
    set(a, "largest |mean - exact| over its limit", worst, nan, nan, nan);
  }

  /// O9, as the program itself decides it.
  void existence() {
    int n = 0, right = 0;
    for (std::size_t l = 0; l < grid_.law.size(); ++l)
      for (int m = 0; m < n_methods; ++m) {
        const SimulatedCurve& sim = grid_.at(m, l, grid_.sigma.size() - 1).simulated;
        const MomentReport moments = moments_of(sim.curve(), Objective(sim.experiment.objective));
        const bool exists =
            methods[static_cast<std::size_t>(m)].bounded || std::isfinite(noise_variance(grid_.spec[l]));
        ++n;
        right += moments.mean_exists == exists ? 1 : 0;
      }
    Answer& a = answer("noise/heavy_tails/mean", "For which methods does E S exist under heavy tails?",
                       "DCSGD is highly sensitive to heavy-tailed noise (arXiv 2502.17009)",
                       "DSGD and DCSGD: only where the noise has a variance; the others: always", figure_levels);
    a.met = right == n;
    a.answer =
        fmt::format("{} of {} pairs of method and law as expected; no mean is shown where there is none", right, n);
    set(a, "pairs as expected", right, nan, nan, nan);
  }

  void slopes_of_all() {
    slopes.title = "Slopes of log S against log sigma";
    slopes.header = {"law", "method", "of", "sigma", "slope", "exact", "theory", "met"};
    slopes.caption = fmt::format(
        "Weighted least squares over sigma in the given range, with limits at the level of one of {} tests (family "
        "level {:g}). exact: of the same fit through the exact means. theory: 2 is Theorem 3 (and the linearity of "
        "DSGD "
        "in the noise, for quantiles of any law), 1 is Theorem 4 and its like for DNSGD and clipping, where noise "
        "dominates.",
        most_tests, family_level);
    for (std::size_t l = 0; l < grid_.law.size(); ++l) {
      for (int m = 0; m < n_methods; ++m) {
        if (m <= dcsgd) {
          slope_two(l, m, false);
          if (grid_.law[l]->light) slope_two(l, m, true);
        } else {
          slope_one(l, m);
        }
      }
    }
  }
  void add_slope(std::size_t l, int m, const Slope& slope, const std::string& theory, bool met) {
    slopes.rows.push_back({std::string(grid_.law[l]->name), std::string(methods[static_cast<std::size_t>(m)].name),
                           slope.of_means ? "means" : "medians", fmt::format("{:.2g} to {:.3g}", slope.from, slope.to),
                           fmt::format("{:.4f} +- {:.4f}", slope.value, slope.half),
                           std::isnan(slope.exact) ? "-" : fmt::format("{:.4f}", slope.exact), theory,
                           met ? "yes" : "NO"});
  }
  /// x_K - (product) x_0 is linear in the noise, given the compressors' choices: S scales with sigma^2 in law.
  void slope_two(std::size_t l, int m, bool of_means) {
    const Slope slope = slope_of(grid_, m, l, of_means, 0.0, infinite, family_.alpha());
    if (slope.points < 3) return;
    const bool met = family_.within(slope.value - 2.0, slope.half);
    add_slope(l, m, slope, "2", met);
    if (m != dcsgd) return;
    Answer& a =
        answer(fmt::format("noise/slope/dcsgd/{}{}", short_id(grid_.law[l]->name), of_means ? "/mean" : "/median"),
               fmt::format("How does DCSGD's {} grow with sigma under {} noise?", of_means ? "E S" : "median S",
                           grid_.law[l]->name),
               source3 + ": with sigma^2", "slope 2", of_means ? figure_means : figure_levels);
    a.met = met;
    a.answer = fmt::format("slope {:.3f}", slope.value);
    set_slope(a, "slope of log S against log sigma", slope);
  }
  void slope_one(std::size_t l, int m) {
    const bool sign = m == dsignsgd;
    const LawSpec& law = grid_.spec[l];
    double from = linear_from(law), to = infinite;
    if (!sign) {
      const double rate = eta * independent_direction_slope(law, dim, m == dnsgd_server ? workers : 1);
      from = rate * h_max / most_undone;
      if (m == clipped) from = std::max(from, 3.0 * clip);  // noise beyond c
      to = -2.0 * rate * h_min * static_cast<double>(steps) / std::log(start_left);
    }
    const Slope slope = slope_of(grid_, m, l, true, from, to, family_.alpha());
    if (slope.points < 3) return;
    bool met = false;
    if (sign) {
      // The fit agrees with the exact walks, and these with theory.
      met = family_.within(slope.value - slope.exact, slope.half);
      met = met && std::abs(slope.exact - 1.0) <= 2.0 * linear_within;
    } else {
      met = family_.within(slope.value - 1.0, slope.half + near_one);
    }
    add_slope(l, m, slope, "1", met);
    Answer& a =
        answer(fmt::format("noise/slope/{}/{}", sign ? "dsignsgd" : short_id(methods[static_cast<std::size_t>(m)].name),
                           short_id(grid_.law[l]->name)),
               fmt::format("How does {}'s E S grow with sigma under {} noise, where noise dominates?",
                           methods[static_cast<std::size_t>(m)].name, grid_.law[l]->name),
               sign ? source4 + ": with sigma" : "none; the same reason as for DSignSGD",
               sign ? fmt::format("slope 1 (of the exact walks: {:.3f})", slope.exact) : "slope 1",
               sign ? figure_sign : figure_levels);
    a.met = met;
    a.answer = fmt::format("slope {:.3f}", slope.value);
    set_slope(a, "slope of log E S against log sigma", slope);
  }

  /// The law enters the level through sigma/l alone.
  void other_laws() {
    for (std::size_t l = 0; l < grid_.law.size(); ++l) {
      const LawCase& law = *grid_.law[l];
      const LawSpec& spec = grid_.spec[l];
      const std::size_t s = grid_.sigma.size() - 1;
      const double sigma = grid_.sigma[s];
      if (law.student || sigma < linear_from(spec)) continue;
      const Cell& cell = grid_.at(dsignsgd, l, s);
      const double level = sign_law(spec, sigma), ratio = cell.simulated.mean() / level,
                   exact = cell.exact.mean / level;
      const double allowed = 2.0 * sign_departure(spec, workers, eta * h_max / sigma);
      const double most = mean_limit(cell.exact, cell.simulated.paths(), family_.alpha()) / level;
      Answer& a = answer("noise/other_laws/" + short_id(law.name),
                         fmt::format("Does DSignSGD's level eta d sigma/(4 N l) hold under {} noise?", law.name),
                         source4 + " speaks of Student's t; the proof uses only that the law is symmetric and unimodal",
                         fmt::format("yes, within {:.1f}% of it (exact walk: {:.4f} of it)", 100.0 * allowed, exact),
                         figure_collapse);
      a.met = family_.within(ratio - exact, most) && std::abs(exact - 1.0) <= allowed;
      a.answer = fmt::format("E S is {:.4f} times eta d sigma/(4 N l) at sigma = {:.3g}, l = {:.4f}", ratio, sigma,
                             noise_density_factor(spec));
      const double half = mean_limit(cell.exact, cell.simulated.paths(), shown_alpha) / level;
      set(a, "E S over eta d sigma/(4 N l)", ratio, ratio - half, ratio + half, shown_alpha);
    }
  }

  /// DCSGD's level over DSGD's, by the exact second moments; signs and directions are not compressed.
  void compression() {
    for (std::size_t l = 0; l < grid_.law.size(); ++l) {
      if (!grid_.law[l]->light) continue;
      // All scales have the same quotient: the mean of its logarithm.
      double sum = 0.0, variance = 0.0, exact = 0.0;
      const auto n = static_cast<double>(grid_.sigma.size());
      for (std::size_t s = 0; s < grid_.sigma.size(); ++s) {
        const Cell &c = grid_.at(dcsgd, l, s), &u = grid_.at(dsgd, l, s);
        sum += std::log(c.simulated.mean() / u.simulated.mean()) / n;
        exact += std::log(c.exact_mean / u.exact_mean) / n;
        variance += (std::pow(c.simulated.standard_error() / c.simulated.mean(), 2) +
                     std::pow(u.simulated.standard_error() / u.simulated.mean(), 2)) /
                    (n * n);
      }
      // Logarithms of means are off by half of their relative variances, which differ by less than this.
      const double bias = variance * n;
      Answer& a =
          answer("noise/compression/" + short_id(grid_.law[l]->name),
                 fmt::format("By how much does compression raise the level under {} noise?", grid_.law[l]->name),
                 source3 + fmt::format(": 1 + omega = {:g}, over Delta", 1.0 + omega),
                 fmt::format("{:.4f} times, at every scale (exact second moments)", std::exp(exact)), figure_means);
      a.met = family_.within(sum - exact, normal_quantile(family_.alpha()) * std::sqrt(variance) + bias);
      a.answer = fmt::format("{:.4f} times", std::exp(sum));
      const double half = normal_quantile(shown_alpha) * std::sqrt(variance) + bias;
      set(a, "E S of DCSGD over E S of DSGD", std::exp(sum), std::exp(sum - half), std::exp(sum + half), shown_alpha);
    }
  }

  const Grid& grid_;
  Family family_;
  std::string command_;
};

// ---------------------------------------------------------------------- what is shown
Table survival_table(const Grid& grid) {
  const std::size_t s = grid.sigma.size() - 1;
  Table table;
  table.title = fmt::format("Who survives: sigma = {:.3g}", grid.sigma[s]);
  table.caption = fmt::format(
      "Share of paths with S <= {:g} after {} steps, and the median (-: lost) with its 5% and 95% quantiles, x_0 = {} "
      "in "
      "each of {} coordinates.",
      limit, steps, start, dim);
  table.header = {"law", "method", "survive", "5%", "median", "95%", "mean"};
  for (std::size_t l = 0; l < grid.law.size(); ++l)
    for (int m = 0; m < n_methods; ++m) {
      const SimulatedCurve& sim = grid.at(m, l, s).simulated;
      const auto number = [](double v) { return std::isfinite(v) ? fmt::format("{:.4g}", v) : std::string("-"); };
      const bool exists = moments_of(sim.curve(), Objective(sim.experiment.objective)).mean_exists;
      table.rows.push_back({m == 0 ? std::string(grid.law[l]->name) : "",
                            std::string(methods[static_cast<std::size_t>(m)].name),
                            fmt::format("{:.4f}", sim.survival()), number(sim.quantile(0)), number(sim.median()),
                            number(sim.quantile(4)), exists && sim.survival() == 1.0 ? number(sim.mean()) : "-"});
    }
  return table;
}

FigureSeries series_of(const Grid& grid, int m, std::size_t l, const std::string& name, bool of_means) {
  FigureSeries series;
  series.name = name;
  for (std::size_t s = 0; s < grid.sigma.size(); ++s) {
    const auto cell = grid.cells.find({static_cast<std::size_t>(m), l, s});
    if (cell == grid.cells.end()) continue;
    const SimulatedCurve& sim = cell->second.simulated;
    series.x.push_back(grid.sigma[s]);
    if (of_means) {
      const double half = normal_quantile(shown_alpha) * sim.standard_error();
      series.y.push_back(sim.mean());
      series.lower.push_back(sim.mean() - half);
      series.upper.push_back(sim.mean() + half);
    } else {
      series.y.push_back(sim.median());
      series.lower.push_back(sim.quantile(1));
      series.upper.push_back(sim.quantile(3));
    }
  }
  return series;
}

std::vector<Figure> figures_of(const Grid& grid) {
  std::vector<Figure> figures;
  figures.reserve(8);  // references to them are handed out
  const auto figure = [&](const std::string& title, const std::string& x, const std::string& y) -> Figure& {
    Figure f;
    f.title = title;
    f.x_label = x;
    f.y_label = y;
    f.log_x = f.log_y = true;
    figures.push_back(f);
    return figures.back();
  };
  // The heaviest law of the papers that is there, and the lightest.
  Figure& levels = figure(figure_levels, "sigma", "median S");
  std::vector<std::size_t> shown;
  for (std::size_t l = 0; l < grid.law.size(); ++l)
    if (grid.law[l]->name == "t, nu = 1" || grid.law[l]->name == "gaussian") shown.push_back(l);
  if (shown.empty()) shown.push_back(0);
  levels.caption = fmt::format("After {} steps; whiskers: quartiles. Full lines: {}; dashed: {}.", steps,
                               grid.law[shown.front()]->name, grid.law[shown.back()]->name);
  for (const std::size_t l : shown)
    for (int m = 0; m < n_methods; ++m) {
      FigureSeries series = series_of(
          grid, m, l, fmt::format("{}, {}", methods[static_cast<std::size_t>(m)].name, grid.law[l]->name), false);
      series.group = m;
      series.dashed = l != shown.front();
      levels.series.push_back(std::move(series));
    }

  Figure& survival = figure(figure_survival, "nu", "share of paths that survive");
  survival.log_y = false;
  survival.caption = fmt::format(
      "Student's t, sigma = {:.3g} (full lines) and the middle one of the scales (dashed): share of paths with S <= "
      "{:g}, "
      "whiskers of 99%. The Gaussian law stands at nu = 100.",
      grid.sigma.back(), limit);
  for (const std::size_t s : {grid.sigma.size() - 1, grid.sigma.size() / 2})
    for (int m = 0; m < n_methods; ++m) {
      FigureSeries series;
      series.name = fmt::format("{}, sigma = {:.3g}", methods[static_cast<std::size_t>(m)].name, grid.sigma[s]);
      series.group = m;
      series.dashed = s != grid.sigma.size() - 1;
      for (std::size_t l = 0; l < grid.law.size(); ++l) {
        if (!grid.law[l]->student) continue;
        const SimulatedCurve& sim = grid.at(m, l, s).simulated;
        const auto interval = share_interval(static_cast<double>(sim.end().finite), sim.paths(), shown_alpha);
        series.x.push_back(grid.spec[l].kind == LawKind::gaussian ? 100.0 : grid.spec[l].nu);
        series.y.push_back(sim.survival());
        series.lower.push_back(interval.first);
        series.upper.push_back(interval.second);
      }
      if (!series.x.empty()) survival.series.push_back(std::move(series));
    }

  Figure& sign = figure(figure_sign, "sigma", "E S");
  sign.caption =
      "Points: simulated, whiskers of 99%; lines: exact walks. Right: eta d sigma/(4 N l), slope 1. Left: steps of eta "
      "leave a floor.";
  Figure& collapse = figure(figure_collapse, "sigma/(l eta)", "E S / (eta d sigma/(4 N l))");
  collapse.caption =
      "Theory: 1 where noise dominates, whatever the law; its shape enters through the next term. "
      "Whiskers of 99%, lines: exact walks.";
  for (std::size_t l = 0; l < grid.law.size(); ++l) {
    FigureSeries points = series_of(grid, dsignsgd, l, std::string(grid.law[l]->name), true);
    points.line = false;
    points.group = static_cast<int>(l);
    FigureSeries line;
    line.name = fmt::format("{}, exact", grid.law[l]->name);
    line.group = static_cast<int>(l);
    for (std::size_t s = 0; s < grid.sigma.size(); ++s) {
      line.x.push_back(grid.sigma[s]);
      line.y.push_back(grid.at(dsignsgd, l, s).exact.mean);
    }
    for (const FigureSeries& series : {points, line}) {
      sign.series.push_back(series);
      FigureSeries scaled = series;
      for (std::size_t i = 0; i < scaled.x.size(); ++i) {
        const double level = sign_law(grid.spec[l], scaled.x[i]);
        scaled.y[i] /= level;
        if (!scaled.lower.empty()) scaled.lower[i] /= level;
        if (!scaled.upper.empty()) scaled.upper[i] /= level;
        scaled.x[i] /= eta * noise_density_factor(grid.spec[l]);
      }
      collapse.series.push_back(std::move(scaled));
    }
  }

  Figure& means = figure(figure_means, "sigma", "E S");
  means.caption = "Light-tailed laws: points simulated, whiskers of 99%; lines exact. Theorem 3: slope 2.";
  int colour = 0;
  for (std::size_t l = 0; l < grid.law.size(); ++l) {
    if (!grid.law[l]->light) continue;
    for (const int m : {dsgd, dcsgd}) {
      FigureSeries points = series_of(
          grid, m, l, fmt::format("{}, {}", methods[static_cast<std::size_t>(m)].name, grid.law[l]->name), true);
      points.line = false;
      points.group = colour;
      FigureSeries line;
      line.name = points.name + ", exact";
      line.group = colour++;
      line.dashed = m == dcsgd;
      for (std::size_t s = 0; s < grid.sigma.size(); ++s) {
        line.x.push_back(grid.sigma[s]);
        line.y.push_back(grid.at(m, l, s).exact_mean);
      }
      means.series.push_back(std::move(points));
      means.series.push_back(std::move(line));
    }
  }
  return figures;
}

Table collapse_table(const Grid& grid) {
  Table table;
  table.title = "DSignSGD: the law enters through l";
  table.caption = fmt::format(
      "E S over eta d sigma/(4 N l) at sigma = {:.3g}, +- 99%; exact: of the walk. departure: the next "
      "term, at the largest h. Linear from: where that is {:g}. A: level at equal rate, relative to Gaussian noise and "
      "DSGD: 1/l^2 "
      "for signs, Var zeta for DSGD.",
      grid.sigma.back(), linear_within);
  table.header = {"law", "l", "E S / law", "exact", "departure", "linear from", "A signs", "A DSGD"};
  for (std::size_t l = 0; l < grid.law.size(); ++l) {
    const LawSpec& law = grid.spec[l];
    const double sigma = grid.sigma.back(), level = sign_law(law, sigma), factor = noise_density_factor(law);
    const Cell& cell = grid.at(dsignsgd, l, grid.sigma.size() - 1);
    const double half = mean_limit(cell.exact, cell.simulated.paths(), shown_alpha) / level;
    const double variance = noise_variance(law);
    table.rows.push_back({std::string(grid.law[l]->name), fmt::format("{:.4f}", factor),
                          fmt::format("{:.4f} +- {:.4f}", cell.simulated.mean() / level, half),
                          fmt::format("{:.4f}", cell.exact.mean / level),
                          fmt::format("{:.4f}", sign_departure(law, workers, eta * h_max / sigma)),
                          fmt::format("{:.3g}", linear_from(law)), fmt::format("{:.3f}", 1.0 / (factor * factor)),
                          std::isfinite(variance) ? fmt::format("{:.3f}", variance) : "inf"});
  }
  return table;
}

int run(const BenchmarkArguments& options) {
  if (!options.out.empty()) check_output_directory(options.out);
  Bench bench(run_options("bench_noise_resilience", options.backend, options.threads));
  const Grid grid = measure(options, bench);
  Judge judge(grid, fmt::format("bench_noise_resilience{}", options.quick ? " --quick" : ""));
  judge.judge();

  BenchReport report;
  report.title = options.quick ? "Noise resilience (quick)" : "Noise resilience";
  report.answers = judge.answers;
  report.tables = {survival_table(grid), judge.slopes, collapse_table(grid)};
  report.figures = figures_of(grid);
  report.summary = fmt::format(
      "{} tests, each at level {:.2g}: all of them together are wrong with probability at most {:g} (largest "
      "deviation: "
      "{:.2f} of its limit).",
      judge.family().tests(), judge.family().alpha(), family_level, judge.family().largest());
  return finish(options, bench, std::move(report));
}

}  // namespace

int main(int argc, char** argv) {
  BenchmarkArguments options;
  const auto add_options = [&](CLI::App& app) {
    std::set<std::string> names;
    for (const LawCase& law : laws) names.insert(std::string(law.name));
    app.add_option("LAW", options.names, "laws such as \"t, nu = 1\" (default: all)")->check(CLI::IsMember(names));
    add_benchmark_options(app, options, "fewer laws, scales and paths", "folder for results.json and report.html");
  };
  return benchmark_main("bench_noise_resilience", "who survives large and heavy-tailed noise?", argc, argv, add_options,
                        [&] { return run(options); });
}
