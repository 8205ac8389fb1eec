// SPDX-License-Identifier: Apache-2.0
// Which scaling rules preserve performance? Every row of the scaling table of arXiv 2502.17009, as printed and in the
// forms that follow from the level of DCSGD, and DSignSGD's rule: levels and transients against the uncompressed and
// the compressed run, by equivalence tests; and the step size from which on a rule that is right to leading order
// fails. docs/scaling_laws.md derives what is expected. Exit status 1 when it does not come out.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>

#include "bench/fit.hpp"
#include "bench/scaling.hpp"
#include "host/engine.hpp"
#include "host/figures.hpp"
#include "host/laws.hpp"
#include "host/output_text.hpp"
#include "host/program.hpp"
#include "host/shipped.hpp"

using namespace pathbound;
using namespace pathbound::scaling;

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

/// Of everything the full program judges: verdicts, thresholds, simulated against exact numbers. `most_tests` is an
/// upper limit of their number, so that a part alone is judged as it is among the others.
constexpr double family_level = 0.01;
constexpr double most_tests = 8000.0;
constexpr double alpha = family_level / most_tests;
constexpr double confidence = 1.0 - family_level;  ///< of all intervals together

/// Records, in units of 1/(2 mu Delta): the transient, and the level, after S0/level < 20 has become 1 to 0.2%. (What
/// is left is the same in two runs compared, to leading order.)
constexpr std::array<double, 6> transient_times = {0.5, 1.0, 1.5, 2.0, 3.0, 4.0};
constexpr std::array<double, 6> level_times = {9.0, 10.0, 11.0, 12.0, 13.0, 14.0};

// ---------------------------------------------------------------------- what is simulated
constexpr int dim = 8;
/// `temperature` = eta sigma^2/(2 B N) is what the stationary law of the uncompressed run depends on; on a quadratic
/// the level is temperature d/2. It is chosen so that non-quadratic objectives are not seen as quadratic ones, `start`
/// so that S0 is about 16 levels. `mu` sets the clock only: 2 mu Delta t.
struct Problem {
  std::string_view name, toml;
  double temperature, start, mu;
  bool quadratic;
};
constexpr std::array<Problem, 4> problems = {{
    {"isotropic", "kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }", 1.0, 4.0, 1.0, true},
    {"spectrum", "kind = \"quadratic\"\nspectrum = { kind = \"geometric\", min = 0.4, max = 1.0 }", 1.0, 4.8, 0.4,
     true},
    {"sine_pl", "kind = \"sine_pl\"", 0.5, 1.2, 4.0, false},
    {"logistic", "kind = \"logistic\"\nrows = 32\nlam = 0.1", 0.6, 8.0, 0.1, false},
}};
const Problem& problem_of(std::string_view name) {
  return *std::find_if(problems.begin(), problems.end(), [&](const Problem& p) { return p.name == name; });
}

/// How messages are made: a compressor of DCSGD, or the law of DSignSGD's noise.
struct Channel {
  std::string_view name;
  bool signs;
  LawSpec law;
};
const std::vector<Channel>& channels() {
  static const std::vector<Channel> all = {{"rand_k", false, {LawKind::gaussian}},
                                           {"bernoulli", false, {LawKind::gaussian}},
                                           {"gaussian", true, {LawKind::gaussian}},
                                           {"student_t1", true, {LawKind::student_t, 1.0}},
                                           {"student_t2", true, {LawKind::student_t, 2.0}}};
  return all;
}
const Channel& channel_of(std::string_view name) {
  return *std::find_if(channels().begin(), channels().end(), [&](const Channel& c) { return c.name == name; });
}

/// A problem with a channel: the rules are judged on each.
struct Part {
  const Problem* problem;
  const Channel* channel;
  std::string name() const {
    return fmt::format("{}/{}/{}", channel->signs ? "dsignsgd" : "dcsgd", problem->name, channel->name);
  }
};
/// The first ones are those of --quick.
const std::vector<Part>& all_parts() {
  static const std::vector<Part> parts = [] {
    std::vector<Part> out;
    for (const auto& [problem, channel] :
         std::initializer_list<std::pair<const char*, const char*>>{{"isotropic", "rand_k"},
                                                                    {"sine_pl", "bernoulli"},
                                                                    {"isotropic", "gaussian"},
                                                                    {"sine_pl", "student_t1"},
                                                                    {"isotropic", "bernoulli"},
                                                                    {"spectrum", "rand_k"},
                                                                    {"spectrum", "bernoulli"},
                                                                    {"sine_pl", "rand_k"},
                                                                    {"logistic", "rand_k"},
                                                                    {"logistic", "bernoulli"},
                                                                    {"isotropic", "student_t1"},
                                                                    {"spectrum", "gaussian"},
                                                                    {"spectrum", "student_t1"},
                                                                    {"spectrum", "student_t2"},
                                                                    {"sine_pl", "gaussian"}})
      out.push_back({&problem_of(problem), &channel_of(channel)});
    return out;
  }();
  return parts;
}
constexpr std::size_t quick_parts = 4;

enum class Reference { uncompressed, compressed };
std::string_view name_of(Reference reference) {
  return reference == Reference::uncompressed ? "uncompressed" : "compressed";
}
const std::vector<Reference>& references_of(const Channel& channel) {
  static const std::vector<Reference> both = {Reference::uncompressed, Reference::compressed},
                                      one = {Reference::uncompressed};
  return channel.signs ? one : both;
}
double leading_of(const Channel& channel, const Parameters& run) {
  return channel.signs ? leading_sign_level(run) : leading_level(run);
}

std::string text_of(const Scaling& by, double omega, bool signs) {
  std::string text = fmt::format("kappa={:.3g} delta={:.3g}", by.kappa, by.delta);
  if (!signs) text += fmt::format(" beta={:.3g}", by.beta);
  text += fmt::format(" alpha={:.3g}", by.alpha);
  return signs ? text : fmt::format("omega={:.3g} ", omega) + text;
}

// ---------------------------------------------------------------------- simulated, and exact
/// What a run came to: simulated, and where there is an exact answer that (NaN elsewhere).
struct Measured {
  Estimate level;
  double exact_level = nan;
  std::vector<Estimate> transients;
  std::vector<double> exact_transients;
};

class Laboratory {
 public:
  Laboratory(const RunOptions& machine, bool quick) : machine_(machine), paths_(quick ? 16384 : 32768) {}

  const Performance& performance() const { return performance_; }
  const std::map<std::string, Measured>& all() const { return done_; }

  /// The uncompressed run: step = eta L (DSignSGD: eta l L sqrt(B)/sigma).
  Parameters base(const Part& part, double step, int workers = base_workers) {
    Parameters run{0.0, base_batch, 0.0, workers};
    const double L = smoothness(*part.problem);
    run.eta = part.channel->signs ? std::sqrt(2.0 * part.problem->temperature * workers * step / L) : step / L;
    return run;
  }
  /// The scale of the noise, which no rule changes, from the uncompressed run.
  double sigma_of(const Part& part, const Parameters& base) const {
    const double T = part.problem->temperature;
    return part.channel->signs
               ? 2.0 * T * base.workers * std::sqrt(base.batch) * noise_density_factor(part.channel->law) / base.eta
               : std::sqrt(2.0 * T * base.batch * base.workers / base.eta);
  }

  const Measured& measure(const Part& part, const Parameters& run, double sigma) {
    const double mu = part.problem->mu, L = smoothness(*part.problem);
    // Steps of the method in one unit of the clock.
    const double unit =
        1.0 / (2.0 * (part.channel->signs ? sign_rate(mu, sigma, noise_density_factor(part.channel->law), run)
                                          : run.eta * mu * relaxation(run, L)));
    std::set<std::uint64_t> records = {0};
    std::vector<std::uint64_t> level_steps;
    for (const double time : level_times) level_steps.push_back(static_cast<std::uint64_t>(std::llround(time * unit)));
    records.insert(level_steps.begin(), level_steps.end());
    for (const double time : transient_times) {
      const auto before = static_cast<std::uint64_t>(time * unit);
      records.insert({before, before + 1});
    }
    const std::vector<std::uint64_t> steps(records.begin(), records.end());
    const std::string text = experiment_text(part, run, sigma, steps);
    const auto found = done_.find(text);
    if (found != done_.end()) return found->second;

    const Experiment experiment = parse_experiment(text, part.name());
    const CurveConfig& curve = experiment.curves.front();
    const SimResult result = simulate(experiment, curve, objective(*part.problem), machine_);
    performance_.seconds += result.seconds;
    performance_.path_steps += path_steps(curve);

    const std::vector<double> exact = exact_means(part, run, sigma, steps);
    const auto at = [&](std::uint64_t step) {
      return static_cast<std::size_t>(std::lower_bound(steps.begin(), steps.end(), step) - steps.begin());
    };
    Measured out;
    std::vector<double> groups(result.group_means.front().size(), 0.0);
    double sum = 0.0;
    for (const std::uint64_t step : level_steps) {
      for (std::size_t g = 0; g < groups.size(); ++g)
        groups[g] += result.group_means[at(step)][g] / static_cast<double>(level_steps.size());
      sum += exact.empty() ? nan : exact[at(step)] / static_cast<double>(level_steps.size());
    }
    out.level = estimate(groups);
    out.exact_level = sum;
    // Between two steps by the straight line.
    for (const double time : transient_times) {
      const auto before = static_cast<std::uint64_t>(time * unit);
      const double part_of_step = time * unit - static_cast<double>(before);
      const std::size_t low = at(before), high = at(before + 1);
      for (std::size_t g = 0; g < groups.size(); ++g)
        groups[g] = (1.0 - part_of_step) * result.group_means[low][g] + part_of_step * result.group_means[high][g];
      out.transients.push_back(estimate(groups));
      out.exact_transients.push_back(exact.empty() ? nan
                                                   : (1.0 - part_of_step) * exact[low] + part_of_step * exact[high]);
    }
    return done_.emplace(text, std::move(out)).first->second;
  }

  /// E S at the steps; empty where nothing exact is known.
  std::vector<double> exact_means(const Part& part, const Parameters& run, double sigma,
                                  const std::vector<std::uint64_t>& steps) {
    std::vector<double> means;
    if (!part.problem->quadratic) return means;
    if (!part.channel->signs) {
      const Quadratic f{eigenvalues(*part.problem), sigma, part.problem->start};
      for (const std::uint64_t step : steps) means.push_back(exact_mean(f, run, static_cast<double>(step)));
      return means;
    }
    means.assign(steps.size(), 0.0);
    std::map<double, int> times;  // equal coordinates are alike
    for (const double h : eigenvalues(*part.problem)) ++times[h];
    for (const auto& [h, count] : times) {
      const std::vector<double> one = exact_sign_means(
          h, part.problem->start, sigma, run, [&](double y) { return noise_xi(part.channel->law, y); }, steps);
      for (std::size_t i = 0; i < steps.size(); ++i) means[i] += count * one[i];
    }
    return means;
  }

  double smoothness(const Problem& problem) { return objective(problem).constants().L.value.value(); }
  /// Of a quadratic; else empty.
  const std::vector<double>& eigenvalues(const Problem& problem) { return objective(problem).config().eigenvalues; }

 private:
  /// The seed is made of the rest of the text: runs are independent of each other, and of which others there are.
  std::string experiment_text(const Part& part, const Parameters& run, double sigma,
                              const std::vector<std::uint64_t>& steps) {
    std::string text = fmt::format(
        "title = \"scaling laws\"\npaths = {}\nsteps = {}\ncheckpoint_steps = [{}]\n[objective]\n{}\ndim = {}\nstart = "
        "{}\n[noise]\nlaw = \"{}\"\nscale = {:.17g}\n",
        paths_, steps.back(), fmt::join(steps, ", "), part.problem->toml, dim, part.problem->start,
        name_of(part.channel->law.kind), sigma);
    if (part.channel->law.kind == LawKind::student_t) text += fmt::format("nu = {:.17g}\n", part.channel->law.nu);
    // direct: compressed and uncompressed runs share their noise
    text += fmt::format(
        "[workers]\ncount = {}\nbatch = {:.17g}\n[[curve]]\nname = \"run\"\nsampling = \"direct\"\neta = {:.17g}\n",
        run.workers, run.batch, run.eta);
    if (part.channel->signs)
      text += "method = \"dsignsgd\"\n";
    else if (run.omega == 0.0)
      text += "method = \"dsgd\"\n";
    else if (part.channel->name == "rand_k")
      text += fmt::format("method = \"dcsgd\"\ncompressor = {{ kind = \"rand_k\", k = {} }}\n",
                          std::lround(dim / (1.0 + run.omega)));
    else
      text += fmt::format("method = \"dcsgd\"\ncompressor = {{ kind = \"bernoulli\", p = {:.17g} }}\n",
                          1.0 / (1.0 + run.omega));
    std::uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    return fmt::format("seed = {}\n", hash >> 1) + text;
  }

  const Objective& objective(const Problem& problem) {
    const auto found = objectives_.find(problem.name);
    if (found != objectives_.end()) return found->second;
    const std::string text = fmt::format(
        "title = \"objective\"\npaths = 32\nsteps = 1\ncheckpoints = 1\n[objective]\n{}\ndim = {}\nstart = "
        "{}\n[noise]\nscale = 1.0\n[workers]\ncount = 1\n[[curve]]\nname = \"none\"\nmethod = \"dsgd\"\neta = 1e-3\n",
        problem.toml, dim, problem.start);
    return objectives_.try_emplace(problem.name, parse_experiment(text, std::string(problem.name)).objective)
        .first->second;
  }

  RunOptions machine_;
  std::uint64_t paths_;
  Performance performance_;
  std::map<std::string, Measured> done_;
  std::map<std::string_view, Objective> objectives_;
};

// ---------------------------------------------------------------------- comparisons
struct Trial {
  const Part* part = nullptr;
  const Rule* rule = nullptr;
  Setting setting;
  Reference reference = Reference::uncompressed;
  double leading = nan;  ///< level over the reference's, to leading order
  double exact = nan;    ///< the same, exactly; NaN: not known
  Estimate level;        ///< log of the simulated one
  std::vector<Estimate> transients;
  Preserved level_verdict = Preserved::open, transient_verdict = Preserved::open;

  bool expected() const { return preserves(leading); }
  bool met() const {
    const Preserved expects = expected() ? Preserved::yes : Preserved::no;
    return level_verdict == expects && transient_verdict == expects;
  }
  double largest_transient() const {
    double largest = 0.0;
    for (const Estimate& e : transients)
      if (!(std::abs(e.mean) <= std::abs(largest))) largest = e.mean;
    return largest;
  }
};

Trial compare(Laboratory& laboratory, const Part& part, const Rule& rule, const Setting& setting, Reference reference) {
  const Parameters base = laboratory.base(part, part.channel->signs ? base_sign_step : base_step);
  const double sigma = laboratory.sigma_of(part, base);
  Parameters start = base;
  start.omega = setting.omega;
  const Parameters run = scaled(start, setting.by), against = reference == Reference::compressed ? start : base;
  // Copies: one may be made while the other is kept.
  const Measured measured = laboratory.measure(part, run, sigma), other = laboratory.measure(part, against, sigma);
  Trial out;
  out.part = &part;
  out.rule = &rule;
  out.setting = setting;
  out.reference = reference;
  out.leading = leading_of(*part.channel, run) / leading_of(*part.channel, against);
  out.exact = measured.exact_level / other.exact_level;
  out.level = log_ratio(measured.level, other.level);
  for (std::size_t i = 0; i < measured.transients.size(); ++i)
    out.transients.push_back(log_ratio(measured.transients[i], other.transients[i]));
  out.level_verdict = equivalent(out.level, margin, alpha);
  out.transient_verdict = all_equivalent(out.transients, margin, alpha);
  return out;
}

std::string interval_text(const Estimate& log, double level) {
  if (!std::isfinite(log.mean)) return "-";
  const double half = half_width(log, level);
  return fmt::format("[{:.4f}, {:.4f}]", std::exp(log.mean - half), std::exp(log.mean + half));
}

// ---------------------------------------------------------------------- from where on a rule fails
struct Sweep {
  std::string name, what;
  Part part;
  Setting setting;
  Reference reference = Reference::uncompressed;
  bool of_delta = false;  ///< instead of the step, 1 - Delta of the compressed run: beta grows, and delta with it
  bool quick = false;
};
const std::vector<Sweep>& all_sweeps() {
  static const std::vector<Sweep> sweeps = [] {
    const auto part = [](const char* problem, const char* channel) {
      return Part{&problem_of(problem), &channel_of(channel)};
    };
    constexpr double third = 1.0 / 3.0;
    constexpr auto compressed = Reference::compressed, uncompressed = Reference::uncompressed;
    constexpr Setting row6 = {3, {2, 8, 1, 1}}, signs = {0, {2, 4, 1, 1}};
    constexpr const char* sign_name = "DSignSGD's rule with kappa = 2, delta = 4";
    return std::vector<Sweep>{
        {"row1", "row 1 with four times the workers", part("isotropic", "rand_k"), {1, {1, 1, 3, 4}}},
        {"row2", "row 2 with kappa = 2", part("isotropic", "rand_k"), {1, {2, 1, 1, 4}}},
        {"row2/spectrum", "row 2 with kappa = 2", part("spectrum", "bernoulli"), {1, {2, 1, 1, 4}}},
        {"row4", "row 4 with kappa = 2", part("isotropic", "rand_k"), {3, {2, 1, third, 1}}, compressed},
        {"row4/uncompressed", "kappa = 1/(1 + beta omega) = 1/4", part("isotropic", "rand_k"), {1, {0.25, 1, 3, 1}}},
        {"row5/delta", "row 5 with one worker", part("isotropic", "bernoulli"), {}, uncompressed, true, true},
        {"row6", "row 6 with kappa = 2, delta = 8", part("isotropic", "rand_k"), row6, uncompressed, false, true},
        {"row6/sine_pl", "row 6 with kappa = 2, delta = 8", part("sine_pl", "bernoulli"), row6},
        {"sign", sign_name, part("isotropic", "gaussian"), signs, uncompressed, false, true},
        {"sign/student_t1", sign_name, part("isotropic", "student_t1"), signs}};
  }();
  return sweeps;
}

struct SweepResult {
  const Sweep* sweep;
  std::vector<double> x;
  std::vector<Estimate> ratio;       ///< log of the level over the reference's
  std::vector<double> exact;         ///< the same, exactly; NaN: not known
  std::vector<double> line_x, line;  ///< exact, finely
  double exact_threshold = nan;
  double threshold = nan, lower = nan, upper = nan;  ///< simulated
  bool met = true;
};

/// The two runs that a sweep compares at its parameter: scaled, reference.
std::array<Parameters, 2> runs_of(Laboratory& laboratory, const Sweep& sweep, double x) {
  if (sweep.of_delta) {
    constexpr double step = 1.0 / 16.0;
    const Parameters base = laboratory.base(sweep.part, step, 1);
    // 1 - Delta = (step/2)(1 + omega)
    const double omega = x / (0.5 * step) - 1.0;
    Parameters run = base;
    run.omega = omega;
    run.batch *= 1.0 + omega;
    return {run, base};
  }
  const Parameters base = laboratory.base(sweep.part, x);
  Parameters start = base;
  start.omega = sweep.setting.omega;
  return {scaled(start, sweep.setting.by), sweep.reference == Reference::compressed ? start : base};
}

/// log of the exact level ratio on a quadratic, noise and start being what they are at the base.
double exact_ratio(Laboratory& laboratory, const Sweep& sweep, const std::vector<double>& h, double x) {
  const std::array<Parameters, 2> runs = runs_of(laboratory, sweep, x);
  const LawSpec law = sweep.part.channel->law;
  double sum[2] = {0.0, 0.0};
  for (int i = 0; i < 2; ++i) {
    if (!sweep.part.channel->signs) {
      sum[i] = exact_level({h, 1.0, 1.0}, runs[static_cast<std::size_t>(i)]);
      continue;
    }
    const double sigma = laboratory.sigma_of(sweep.part, laboratory.base(sweep.part, x)), l = noise_density_factor(law);
    std::map<double, int> times;
    for (const double one : h) ++times[one];
    for (const auto& [one, count] : times)
      sum[i] += count * exact_sign_level(one, sweep.part.problem->start, sigma, runs[static_cast<std::size_t>(i)], l,
                                         [&](double y) { return noise_xi(law, y); });
  }
  return std::log(sum[0] / sum[1]);
}

SweepResult run_sweep(Laboratory& laboratory, const Sweep& sweep) {
  const std::vector<double>& h = laboratory.eigenvalues(*sweep.part.problem);
  SweepResult out;
  out.sweep = &sweep;
  const bool signs = sweep.part.channel->signs;
  // Where nothing is exact the quadratic with all eigenvalues L says about where to look.
  const std::vector<double> model = h.empty() ? std::vector<double>{laboratory.smoothness(*sweep.part.problem)} : h;
  const auto off = [&](double x) { return std::abs(exact_ratio(laboratory, sweep, model, x)); };
  // The step beyond which the leading order of the correction is no correction any more.
  const double most = sweep.of_delta ? 0.75
                      : signs        ? 0.5
                                     : [&] {
                                  const std::array<Parameters, 2> runs = runs_of(laboratory, sweep, 1.0);
                                  return 0.9 / std::max(level_correction(runs[0], model.back()),
                                                               level_correction(runs[1], model.back()));
                                }();
  const double predicted = reaches(off, margin, most);
  if (!h.empty()) out.exact_threshold = predicted;
  for (const double part : {0.4, 0.6, 0.8, 1.0, 1.25, 1.6, 2.2, 3.5, 5.0}) {
    const double x = part * predicted;
    if (x > most || (sweep.of_delta && x <= 1.0 / 32.0)) continue;
    const std::array<Parameters, 2> runs = runs_of(laboratory, sweep, x);
    const double sigma = laboratory.sigma_of(sweep.part, sweep.of_delta ? runs[1] : laboratory.base(sweep.part, x));
    const Measured run = laboratory.measure(sweep.part, runs[0], sigma);
    const Measured reference = laboratory.measure(sweep.part, runs[1], sigma);
    out.x.push_back(x);
    out.ratio.push_back(log_ratio(run.level, reference.level));
    out.exact.push_back(h.empty() ? nan : exact_ratio(laboratory, sweep, h, x));
  }
  if (!h.empty())
    for (int i = 1; i <= 60; ++i) {
      const double x = std::min(most, 5.5 * predicted) * i / 60.0;
      if (sweep.of_delta && x < 1.0 / 32.0) continue;
      out.line_x.push_back(x);
      out.line.push_back(exact_ratio(laboratory, sweep, h, x));
    }

  // The band at each x has the exact value in it; then so have the straight lines in log-log through its ends.
  const double sign = out.ratio.back().mean < 0.0 ? -1.0 : 1.0;
  std::vector<double> middle, low, high;
  for (std::size_t i = 0; i < out.x.size(); ++i) {
    const double half = half_width(out.ratio[i], alpha), value = sign * out.ratio[i].mean;
    middle.push_back(std::exp(value));
    low.push_back(std::exp(value - half));
    high.push_back(std::exp(value + half));
    if (!h.empty()) out.met = out.met && std::abs(out.ratio[i].mean - out.exact[i]) <= half;
  }
  const auto crossing = [&](const std::vector<double>& y) {
    const Crossing at = first_crossing(out.x, y, std::exp(margin));
    return at.beyond == 0 ? at.x : at.beyond < 0 ? 0.0 : infinity;
  };
  out.threshold = crossing(middle);
  out.lower = crossing(high);
  out.upper = crossing(low);
  out.met = out.met && out.lower > 0.0 && std::isfinite(out.upper);
  return out;
}

std::string unit_of(const Sweep& sweep) {
  return sweep.of_delta ? "1 - Delta" : sweep.part.channel->signs ? "eta l L sqrt(B)/sigma" : "eta L";
}

// ---------------------------------------------------------------------- tables, figures, answers
/// All comparisons of a rule with one reference, and among them the one that speaks least clearly for the expectation.
struct Group {
  const Rule* rule;
  Reference reference;
  bool signs;
  std::vector<const Trial*> all;

  bool expected() const { return all.front()->expected(); }
  bool met() const {
    return std::all_of(all.begin(), all.end(), [](const Trial* c) { return c->met(); });
  }
  std::string verdict() const {
    const auto count = [&](Preserved verdict) {
      return std::count_if(all.begin(), all.end(), [&](const Trial* c) {
        return c->level_verdict == verdict && c->transient_verdict == verdict;
      });
    };
    const auto n = static_cast<std::ptrdiff_t>(all.size());
    for (const Preserved verdict : {Preserved::yes, Preserved::no})
      if (count(verdict) == n) return scaling::name_of(verdict);
    return fmt::format("{} yes, {} no of {}", count(Preserved::yes), count(Preserved::no), n);
  }
  const Trial& least_favourable() const {
    const auto clarity = [&](const Trial* c) { return std::abs(c->level.mean) * (expected() ? -1.0 : 1.0); };
    return **std::min_element(all.begin(), all.end(),
                              [&](const auto* a, const auto* b) { return clarity(a) < clarity(b); });
  }
  double largest_transient() const {
    double largest = 0.0;
    for (const Trial* c : all)
      if (!(std::abs(c->largest_transient()) <= std::abs(largest))) largest = c->largest_transient();
    return largest;
  }
};

std::vector<Group> groups_of(const std::vector<Trial>& comparisons) {
  std::vector<Group> groups;
  for (const Trial& c : comparisons) {
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const Group& g) { return g.rule == c.rule && g.reference == c.reference; });
    if (group == groups.end()) group = groups.insert(groups.end(), {c.rule, c.reference, c.part->channel->signs, {}});
    group->all.push_back(&c);
  }
  return groups;
}

Table rules_table(const std::vector<Group>& groups) {
  Table table;
  table.title = "Do the rules preserve performance?";
  table.caption = fmt::format(
      "Level and transient against the reference, by equivalence tests: preserved when log(E S/E S of the reference) "
      "is "
      "inside +-{:g}, not when it is outside ({:g} = twice what corrections of order eta can make of levels that are "
      "the same to leading order, docs/scaling_laws.md). ratio: of the stationary levels, in the comparison that "
      "speaks least clearly for the expectation, with its interval ({:.0f}% for all intervals together); leading: the "
      "same to leading order; exact: where it is known. transient: the largest deviation of E S at equal Delta t, {} "
      "times. n: comparisons (problems, compressors or laws, settings). Family error level of all verdicts {:.0f}%.",
      margin, margin, 100.0 * confidence, transient_times.size(), 100.0 * family_level);
  table.header = {"rule",     "reference", "expected", "verdict",   "ratio",
                  "interval", "leading",   "exact",    "transient", "n"};
  for (const Group& group : groups) {
    const Trial& c = group.least_favourable();
    table.rows.push_back(
        {std::string(group.rule->formula), group.signs ? "unscaled" : std::string(name_of(group.reference)),
         group.expected() ? "yes" : "no", group.verdict() + (group.met() ? "" : " !"),
         fmt::format("{:.4f}", std::exp(c.level.mean)), interval_text(c.level, alpha), fmt::format("{:.4g}", c.leading),
         std::isnan(c.exact) ? "-" : fmt::format("{:.4f}", c.exact),
         fmt::format("{:+.1f}%", 100.0 * std::expm1(group.largest_transient())), fmt::format("{}", group.all.size())});
  }
  return table;
}

Table comparisons_table(const std::vector<Trial>& comparisons) {
  Table table;
  table.title = "Every comparison";
  table.caption = "As above, one by one.";
  table.header = {"rule",    "part",  "omega",     "kappa",    "delta", "beta",      "alpha",  "reference",
                  "leading", "exact", "simulated", "interval", "level", "transient", "verdict"};
  const auto number = [](double x) { return fmt::format("{:.4g}", x); };
  for (const Trial& c : comparisons)
    table.rows.push_back(
        {std::string(c.rule->id), c.part->name(), number(c.setting.omega), number(c.setting.by.kappa),
         number(c.setting.by.delta), number(c.setting.by.beta), number(c.setting.by.alpha),
         c.part->channel->signs ? "unscaled" : std::string(name_of(c.reference)), number(c.leading),
         std::isnan(c.exact) ? "-" : fmt::format("{:.4f}", c.exact), fmt::format("{:.4f}", std::exp(c.level.mean)),
         interval_text(c.level, alpha), scaling::name_of(c.level_verdict),
         fmt::format("{:+.1f}%", 100.0 * std::expm1(c.largest_transient())), scaling::name_of(c.transient_verdict)});
  return table;
}

Table sweeps_table(const std::vector<SweepResult>& sweeps) {
  Table table;
  table.title = "From where on rules fail that are right to leading order";
  table.caption = fmt::format(
      "The parameter at which |log| of the level over the reference's reaches {:g}: simulated, with its interval, and "
      "exact (on quadratics). For row 5 the step stays and 1 - Delta = (eta L/2)(1 + omega/N) of the compressed run "
      "grows. z = eta l L sqrt(B)/sigma.",
      margin);
  table.header = {"rule", "problem", "reference", "parameter", "simulated", "interval", "exact", "as expected"};
  for (const SweepResult& one : sweeps)
    table.rows.push_back({one.sweep->what, one.sweep->part.name(),
                          one.sweep->part.channel->signs ? "unscaled" : std::string(name_of(one.sweep->reference)),
                          one.sweep->part.channel->signs ? "z" : unit_of(*one.sweep),
                          fmt::format("{:.4g}", one.threshold), fmt::format("[{:.4g}, {:.4g}]", one.lower, one.upper),
                          std::isnan(one.exact_threshold) ? "-" : fmt::format("{:.4g}", one.exact_threshold),
                          one.met ? "yes" : "NO"});
  return table;
}

constexpr const char* levels_title = "Stationary levels against leading order: DSGD and DCSGD";
constexpr const char* sign_levels_title = "Stationary levels against leading order: DSignSGD";

/// Simulated ratios of levels over those of the leading order.
Figure levels_figure(const std::vector<Trial>& comparisons, bool signs) {
  Figure figure;
  figure.title = signs ? sign_levels_title : levels_title;
  figure.caption =
      "Every point is a rule in one setting against a reference. 1 on the x axis: preserved to leading order; the "
      "rules that are not lie elsewhere on the diagonal. Whiskers: intervals that hold all together.";
  figure.x_label = signs ? "kappa/(alpha sqrt(delta))" : "kappa (1 + beta omega)/(alpha delta) over the reference's";
  figure.y_label = "level / reference's level";
  figure.log_x = figure.log_y = true;
  double least = 1.0, most = 1.0;
  for (const Trial& c : comparisons) {
    if (c.part->channel->signs != signs) continue;
    const std::string name = fmt::format("{}, {}", c.part->problem->name, c.part->channel->name);
    auto series =
        std::find_if(figure.series.begin(), figure.series.end(), [&](const FigureSeries& s) { return s.name == name; });
    if (series == figure.series.end()) {
      FigureSeries fresh;
      fresh.name = name;
      fresh.line = false;
      series = figure.series.insert(figure.series.end(), fresh);
    }
    const double half = half_width(c.level, alpha);
    series->x.push_back(c.leading);
    series->y.push_back(std::exp(c.level.mean));
    series->lower.push_back(std::exp(c.level.mean - half));
    series->upper.push_back(std::exp(c.level.mean + half));
    least = std::min(least, c.leading);
    most = std::max(most, c.leading);
  }
  FigureSeries diagonal;
  diagonal.name = "leading order";
  diagonal.dashed = true;
  diagonal.x = diagonal.y = {0.8 * least, 1.25 * most};
  figure.series.push_back(std::move(diagonal));
  return figure;
}

std::string transients_title(const Part& part) {
  return fmt::format("Transients at equal {} t: {}", part.channel->signs ? "D" : "Delta", part.name());
}

/// E S of a rule's first setting over E S of the uncompressed run at equal times.
Figure transients_figure(const std::vector<Trial>& comparisons, const Part& part) {
  Figure figure;
  figure.title = transients_title(part);
  figure.caption =
      "E S over E S of the uncompressed (unscaled) run, each rule in one setting. Rules that preserve stay between the "
      "dotted margins throughout; the others start where all start and end at the ratio of their levels.";
  figure.x_label = part.channel->signs ? "2 mu D t" : "2 mu Delta t";
  figure.y_label = "E S / E S of the reference";
  figure.log_y = true;
  std::set<const Rule*> shown;
  for (const Trial& c : comparisons) {
    if (c.part != &part || c.reference != Reference::uncompressed || !shown.insert(c.rule).second) continue;
    FigureSeries series;
    series.name = c.rule->id;
    series.dashed = !c.expected();
    const auto add = [&](double time, const Estimate& e) {
      const double half = half_width(e, alpha);
      series.x.push_back(time);
      series.y.push_back(std::exp(e.mean));
      series.lower.push_back(std::exp(e.mean - half));
      series.upper.push_back(std::exp(e.mean + half));
    };
    for (std::size_t i = 0; i < transient_times.size(); ++i) add(transient_times[i], c.transients[i]);
    add(0.5 * (level_times.front() + level_times.back()), c.level);
    figure.series.push_back(std::move(series));
  }
  for (const double sign : {1.0, -1.0}) {
    FigureSeries line;
    line.name = sign > 0.0 ? "margin" : "margin, below";
    line.dashed = true;
    line.group = 100;
    line.x = {transient_times.front(), level_times.back()};
    line.y = {std::exp(sign * margin), std::exp(sign * margin)};
    figure.series.push_back(std::move(line));
  }
  return figure;
}

std::string sweep_title(const Sweep& sweep) {
  return fmt::format("From where on it fails: {} ({})", sweep.what, sweep.part.name());
}

Figure sweep_figure(const SweepResult& result) {
  Figure figure;
  figure.title = sweep_title(*result.sweep);
  figure.caption = "Level over the reference's level; dashed: the margin. Whiskers: intervals that hold all together.";
  figure.x_label = unit_of(*result.sweep);
  figure.y_label = "level / reference's level";
  FigureSeries points;
  points.name = "simulated";
  points.line = false;
  points.group = 0;
  for (std::size_t i = 0; i < result.x.size(); ++i) {
    const double half = half_width(result.ratio[i], alpha);
    points.x.push_back(result.x[i]);
    points.y.push_back(std::exp(result.ratio[i].mean));
    points.lower.push_back(std::exp(result.ratio[i].mean - half));
    points.upper.push_back(std::exp(result.ratio[i].mean + half));
  }
  figure.series.push_back(std::move(points));
  if (!result.line.empty()) {
    FigureSeries line;
    line.name = "exact";
    line.group = 0;
    line.x = result.line_x;
    for (const double y : result.line) line.y.push_back(std::exp(y));
    figure.series.push_back(std::move(line));
  }
  FigureSeries level;
  level.name = "margin";
  level.dashed = true;
  const double sign = result.ratio.back().mean < 0.0 ? -1.0 : 1.0;
  level.x = {result.x.front(), result.x.back()};
  level.y.assign(2, std::exp(sign * margin));
  figure.series.push_back(std::move(level));
  return figure;
}

Answer answer_of(const Group& group, bool quick) {
  Answer answer;
  const Trial& c = group.least_favourable();
  answer.id = fmt::format("scaling/{}/{}", group.rule->id,
                          group.signs ? "unscaled" : fmt::format("against_{}", name_of(group.reference)));
  const char* whose = group.signs                                  ? "DSignSGD's"
                      : group.reference == Reference::uncompressed ? "uncompressed DSGD(eta, B, N)'s"
                                                                   : "DCSGD(omega)'s";
  answer.question = fmt::format("Does {} preserve {} performance?", group.rule->formula, whose);
  answer.claim = group.rule->source.substr(0, 7) == "derived" ? std::string(group.rule->source)
                 : group.reference == Reference::compressed
                     ? fmt::format("nothing; arXiv 2502.17009, scaling table, {}, speaks of the uncompressed run",
                                   group.rule->source)
                     : fmt::format("yes: arXiv 2502.17009, scaling table, {}", group.rule->source);
  answer.expected = group.expected() ? "yes" : "no";
  answer.answer = group.verdict();
  answer.met = group.met();
  answer.number_is = fmt::format(
      "stationary level / reference's level in the least clear of {} comparisons ({}, {}); all intervals together",
      group.all.size(), c.part->name(), text_of(c.setting.by, c.setting.omega, group.signs));
  const double half = half_width(c.level, alpha);
  answer.number = std::exp(c.level.mean);
  answer.lower = std::exp(c.level.mean - half);
  answer.upper = std::exp(c.level.mean + half);
  answer.confidence = confidence;
  answer.figure = group.signs ? sign_levels_title : levels_title;
  answer.experiment = fmt::format("bench_scaling_laws{} -o results/scaling_laws", quick ? " --quick" : "");
  return answer;
}

Answer answer_of(const SweepResult& result, bool quick) {
  const Sweep& sweep = *result.sweep;
  Answer answer;
  answer.id = fmt::format("scaling/limits/{}", sweep.name);
  answer.question = fmt::format("From which {} on does {} fail, by more than {:.1f}%, on {}?", unit_of(sweep),
                                sweep.what, 100.0 * std::expm1(margin), sweep.part.name());
  answer.claim = "derived: a rule holds to leading order in eta (docs/scaling_laws.md)";
  if (!std::isnan(result.exact_threshold)) answer.expected = fmt::format("{:.4g} (exact)", result.exact_threshold);
  answer.answer = fmt::format("{:.4g}", result.threshold);
  answer.met = result.met;
  answer.number_is =
      fmt::format("{} where |log(level/reference's)| = {:g}; all intervals together", unit_of(sweep), margin);
  answer.number = result.threshold;
  answer.lower = result.lower;
  answer.upper = result.upper;
  answer.confidence = confidence;
  answer.figure = sweep_title(sweep);
  answer.experiment =
      fmt::format("bench_scaling_laws sweep/{}{} -o results/scaling_laws", sweep.name, quick ? " --quick" : "");
  return answer;
}

/// Every simulated number with an exact one beside it.
struct Agreement {
  int n = 0, off = 0;
  double largest = 0.0;  ///< in standard errors
};
Agreement agreement_of(const std::map<std::string, Measured>& all) {
  Agreement out;
  const auto check = [&](const Estimate& e, double exact) {
    if (std::isnan(exact)) return;
    ++out.n;
    out.largest = std::max(out.largest, std::abs(e.mean - exact) / e.error);
    if (!(std::abs(e.mean - exact) <= half_width(e, alpha))) ++out.off;
  };
  for (const auto& [text, m] : all) {
    check(m.level, m.exact_level);
    for (std::size_t i = 0; i < m.transients.size(); ++i) check(m.transients[i], m.exact_transients[i]);
  }
  return out;
}

std::set<std::string> names_of_cases() {
  std::set<std::string> names;
  for (const Part& part : all_parts()) names.insert(part.name());
  for (const Sweep& sweep : all_sweeps()) names.insert("sweep/" + sweep.name);
  return names;
}

int run(const BenchmarkArguments& options) {
  if (!options.out.empty()) check_output_directory(options.out);
  const RunOptions machine = run_options("bench_scaling_laws", options.backend, options.threads);
  Laboratory laboratory(machine, options.quick);
  const auto chosen = [&](const std::string& name, bool in_quick) {
    return options.names.empty() ? !options.quick || in_quick
                                 : std::find(options.names.begin(), options.names.end(), name) != options.names.end();
  };
  const bool terminal = isatty(STDERR_FILENO) != 0;
  const auto progress = [&](const std::string& what) {
    if (terminal) fmt::print(stderr, "\r\033[K{} ...", what);
  };

  const std::vector<Rule> unbiased = compression_rules(), signs = sign_rules();
  std::vector<Trial> comparisons;
  for (std::size_t i = 0; i < all_parts().size(); ++i) {
    const Part& part = all_parts()[i];
    if (!chosen(part.name(), i < quick_parts)) continue;
    for (const Rule& rule : part.channel->signs ? signs : unbiased)
      for (const Setting& setting : rule.settings) {
        if (options.quick && &setting != &rule.settings.front()) continue;
        progress(fmt::format("{}: {}", part.name(), rule.formula));
        for (const Reference reference : references_of(*part.channel))
          comparisons.push_back(compare(laboratory, part, rule, setting, reference));
      }
  }
  std::vector<SweepResult> sweeps;
  for (const Sweep& sweep : all_sweeps()) {
    if (!chosen("sweep/" + sweep.name, sweep.quick)) continue;
    progress("sweep/" + sweep.name);
    sweeps.push_back(run_sweep(laboratory, sweep));
  }
  if (terminal) fmt::print(stderr, "\r\033[K");

  const std::vector<Group> groups = groups_of(comparisons);
  const Agreement agreement = agreement_of(laboratory.all());
  // Ways to be wrong: both ends of an interval, and a verdict on a transient (its times share the level).
  std::size_t tests = 3 * comparisons.size() + 2 * static_cast<std::size_t>(agreement.n);
  for (const SweepResult& sweep : sweeps) tests += 2 * sweep.x.size();
  if (static_cast<double>(tests) > most_tests) throw std::logic_error(fmt::format("{} tests", tests));
  bool met = agreement.off == 0;
  int met_groups = 0;
  for (const Group& group : groups) met_groups += group.met() ? 1 : 0;
  int met_sweeps = 0;
  for (const SweepResult& sweep : sweeps) met_sweeps += sweep.met ? 1 : 0;
  met = met && met_groups == static_cast<int>(groups.size()) && met_sweeps == static_cast<int>(sweeps.size());
  const std::string summary = fmt::format(
      "{} {} of {} verdicts on rules are the expected ones ({} comparisons of level and transient), {} of {} "
      "thresholds. {} of {} simulated levels and transients agree with the exact ones (largest difference {:.1f} "
      "standard errors). All of it together is wrong with probability at most {:.0f}%.",
      met ? "As expected." : "NOT as expected.", met_groups, groups.size(), comparisons.size(), met_sweeps,
      sweeps.size(), agreement.n - agreement.off, agreement.n, agreement.largest, 100.0 * family_level);

  std::vector<Table> tables;
  if (!groups.empty()) tables.push_back(rules_table(groups));
  if (!sweeps.empty()) tables.push_back(sweeps_table(sweeps));
  for (const Table& table : tables) print(table_text(table) + "\n");
  const Performance& performance = laboratory.performance();
  print(wrapped(summary, 0, 120));
  print(fmt::format("{:.3g} path-steps in {:.1f} s of simulation\n", performance.path_steps, performance.seconds));
  if (!options.out.empty()) {
    BenchReport report;
    report.title = options.quick ? "Scaling laws (quick)" : "Scaling laws";
    report.summary = summary;
    report.environment = environment_of(machine);
    for (const Group& group : groups) report.answers.push_back(answer_of(group, options.quick));
    for (const SweepResult& sweep : sweeps) report.answers.push_back(answer_of(sweep, options.quick));
    report.tables = tables;
    if (!comparisons.empty()) report.tables.push_back(comparisons_table(comparisons));
    for (const bool of_signs : {false, true})
      if (std::any_of(groups.begin(), groups.end(), [&](const Group& g) { return g.signs == of_signs; }))
        report.figures.push_back(levels_figure(comparisons, of_signs));
    std::set<const Part*> shown;
    for (const Trial& c : comparisons)
      if (shown.insert(c.part).second) report.figures.push_back(transients_figure(comparisons, *c.part));
    for (const SweepResult& sweep : sweeps) report.figures.push_back(sweep_figure(sweep));
    report.performance = performance;
    const nlohmann::ordered_json json = to_json(report);
    write_files(options.out, {{"results.json", to_text(json)}, {"report.html", render_report(json)}});
  }
  flush_stdout();
  return met ? done : unexpected;
}

}  // namespace

int main(int argc, char** argv) {
  BenchmarkArguments options;
  const auto add_options = [&](CLI::App& app) {
    app.add_option("CASE", options.names, "cases such as dcsgd/isotropic/rand_k or sweep/row2 (default: all)")
        ->check(CLI::IsMember(names_of_cases()));
    add_benchmark_options(app, options, "fewer cases, settings and paths", "folder for results.json and report.html");
  };
  return benchmark_main("bench_scaling_laws", "which scaling rules preserve performance?", argc, argv, add_options,
                        [&] { return run(options); });
}
