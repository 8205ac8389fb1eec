// SPDX-License-Identifier: Apache-2.0
// Scaling rules of distributed learning (docs/scaling_laws.md): what they promise to leading order, the exact answers
// on quadratics (theory O1, O5), and the test that two levels are the same up to a margin.
#pragma once
#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

namespace pathbound::scaling {

/// Hyperparameters of a run with workers alike.
struct Parameters {
  double eta = 1.0, batch = 1.0, omega = 0.0;
  int workers = 1;
};

/// eta -> kappa eta, B -> delta B, omega -> beta omega, N -> alpha N.
struct Scaling {
  double kappa = 1.0, delta = 1.0, beta = 1.0, alpha = 1.0;
};

inline Parameters scaled(const Parameters& run, const Scaling& by) {
  const double workers = by.alpha * run.workers;
  if (std::abs(workers - std::round(workers)) > 1e-9 || workers < 0.5)
    throw std::logic_error("a scaling rule asks for a fraction of a worker");
  return {by.kappa * run.eta, by.delta * run.batch, by.beta * run.omega, static_cast<int>(std::lround(workers))};
}

/// The stationary level of DSGD and DCSGD to leading order, up to a factor that no rule changes.
inline double leading_level(const Parameters& run) { return run.eta * (1.0 + run.omega) / (run.batch * run.workers); }
/// The same of DSignSGD.
inline double leading_sign_level(const Parameters& run) { return run.eta / (std::sqrt(run.batch) * run.workers); }

/// The relative correction e of the level along an eigenvalue h: the level is the leading one divided by 1 - e.
inline double level_correction(const Parameters& run, double h) {
  return 0.5 * run.eta * h * (1.0 + run.omega / run.workers);
}
/// Delta of B3': E S of the first_order SDE relaxes with the rate 2 mu Delta.
inline double relaxation(const Parameters& run, double L) { return 1.0 - 0.5 * run.eta * L * run.omega / run.workers; }

/// f = 1/2 sum h_j x_j^2 from x_j = start, Gaussian noise of standard deviation sigma.
struct Quadratic {
  std::vector<double> h;
  double sigma = 1.0, start = 1.0;
};

/// E S of DCSGD after so many steps (O1); infinity: at the end, which is infinite where the method is not stable.
inline double exact_mean(const Quadratic& f, const Parameters& run, double steps) {
  double sum = 0.0;
  for (const double h : f.h) {
    const double z = run.eta * h, loss = z * (2.0 - z * (1.0 + run.omega / run.workers));  // 1 - q
    const double noise = run.eta * run.eta * (1.0 + run.omega) * f.sigma * f.sigma / (run.batch * run.workers);
    const double level = noise / loss;
    if (std::isinf(steps)) {
      sum += loss > 0.0 ? 0.5 * h * level : std::numeric_limits<double>::infinity();
      continue;
    }
    sum += 0.5 * h * (level + (f.start * f.start - level) * std::exp(steps * std::log1p(-loss)));
  }
  return sum;
}
inline double exact_level(const Quadratic& f, const Parameters& run) {
  return exact_mean(f, run, std::numeric_limits<double>::infinity());
}

/// E S of DSignSGD on h x^2/2 from x = start at the steps asked for, ascending (O5): the probabilities of the lattice
/// start + (eta/N) Z are advanced by those of the number of positive signs. xi(y): Xi of the law at the gradient over
/// the scale of the noise.
inline std::vector<double> exact_sign_means(double h, double start, double sigma, const Parameters& run,
                                            const std::function<double(double)>& xi,
                                            const std::vector<std::uint64_t>& steps) {
  constexpr double negligible = 1e-22;
  const int n = run.workers;
  const double unit = run.eta / n, gain = h * std::sqrt(run.batch) / sigma;
  // Position `first + 2 j` units from the start has probability p[j].
  std::int64_t first = 0;
  std::vector<double> p = {1.0}, next;
  // Probabilities of m positive signs, by position; each is met again and again.
  std::vector<std::vector<double>> above, below;
  const auto signs_at = [&](std::int64_t position) -> const std::vector<double>& {
    auto& side = position >= 0 ? above : below;
    const std::size_t at = static_cast<std::size_t>(position >= 0 ? position : -position);
    if (side.size() <= at) side.resize(2 * at + 1);
    if (!side[at].empty()) return side[at];
    const double up = 0.5 + xi(gain * (start + unit * static_cast<double>(position)));
    std::vector<double> probability = {1.0};
    for (int i = 0; i < n; ++i) {
      probability.push_back(0.0);
      for (std::size_t m = probability.size() - 1; m > 0; --m)
        probability[m] = probability[m] * (1.0 - up) + probability[m - 1] * up;
      probability[0] *= 1.0 - up;
    }
    return side[at] = std::move(probability);
  };
  std::vector<double> means;
  for (std::uint64_t k = 0; means.size() < steps.size(); ++k) {
    while (means.size() < steps.size() && steps[means.size()] == k) {
      double mean = 0.0;
      for (std::size_t j = 0; j < p.size(); ++j) {
        const double x = start + unit * static_cast<double>(first + 2 * static_cast<std::int64_t>(j));
        mean += p[j] * 0.5 * h * x * x;
      }
      means.push_back(mean);
    }
    // m positive signs move x by -(2 m - N) units.
    next.assign(p.size() + static_cast<std::size_t>(n), 0.0);
    for (std::size_t j = 0; j < p.size(); ++j) {
      if (p[j] == 0.0) continue;
      const std::vector<double>& q = signs_at(first + 2 * static_cast<std::int64_t>(j));
      for (std::size_t m = 0; m < q.size(); ++m) next[j + static_cast<std::size_t>(n) - m] += p[j] * q[m];
    }
    first -= n;
    std::size_t low = 0, high = next.size();
    while (low + 1 < high && next[low] < negligible) ++low;
    while (high > low + 1 && next[high - 1] < negligible) --high;
    p.assign(next.begin() + static_cast<std::ptrdiff_t>(low), next.begin() + static_cast<std::ptrdiff_t>(high));
    first += 2 * static_cast<std::int64_t>(low);
  }
  return means;
}

/// The rate eta l h sqrt(B)/sigma at which x loses its mean, per step, in the linear regime.
inline double sign_rate(double h, double sigma, double l, const Parameters& run) {
  return run.eta * l * h * std::sqrt(run.batch) / sigma;
}

/// The level that exact_sign_means ends at. Odd N: the mean of two steps, as positions alternate.
inline double exact_sign_level(double h, double start, double sigma, const Parameters& run, double l,
                               const std::function<double(double)>& xi) {
  const auto steps = static_cast<std::uint64_t>(std::ceil(16.0 / sign_rate(h, sigma, l, run)));
  const std::vector<double> last = exact_sign_means(h, start, sigma, run, xi, {steps, steps + 1});
  return 0.5 * (last[0] + last[1]);
}

/// A mean with the standard error that groups of paths give it.
struct Estimate {
  double mean = std::numeric_limits<double>::quiet_NaN(), error = mean;
  double freedom = 1.0;
};
inline Estimate estimate(const std::vector<double>& groups) {
  Estimate out;
  if (groups.size() < 2) return out;
  const double n = static_cast<double>(groups.size());
  out.mean = 0.0;
  for (const double g : groups) out.mean += g / n;
  double square = 0.0;
  for (const double g : groups) square += (g - out.mean) * (g - out.mean);
  out.error = std::sqrt(square / (n * (n - 1.0)));
  out.freedom = n - 1.0;
  return out;
}

/// log(a/b) of independent positive estimates, to first order in their errors.
inline Estimate log_ratio(const Estimate& a, const Estimate& b) {
  return {std::log(a.mean / b.mean), std::hypot(a.error / a.mean, b.error / b.mean), std::min(a.freedom, b.freedom)};
}

enum class Preserved { yes, no, open };
inline const char* name_of(Preserved verdict) {
  return verdict == Preserved::yes ? "yes" : verdict == Preserved::no ? "no" : "open";
}

/// Half the width of an interval that either end of misses with probability alpha.
inline double half_width(const Estimate& e, double alpha) {
  return e.error * boost::math::quantile(boost::math::complement(boost::math::students_t(e.freedom), alpha));
}

/// Two one-sided tests: yes when the interval of either-side level alpha lies inside [-margin, margin], no when it lies
/// outside. Either answer is wrong with probability at most alpha.
inline Preserved equivalent(const Estimate& e, double margin, double alpha) {
  if (!std::isfinite(e.mean) || !std::isfinite(e.error)) return Preserved::open;
  const double half = half_width(e, alpha);
  if (e.mean - half > -margin && e.mean + half < margin) return Preserved::yes;
  return e.mean - half > margin || e.mean + half < -margin ? Preserved::no : Preserved::open;
}

/// The same of several at once: yes when each is (each at level alpha: all have to be), no when one is not (at level
/// alpha over their number).
inline Preserved all_equivalent(const std::vector<Estimate>& all, double margin, double alpha) {
  bool yes = true;
  for (const Estimate& e : all) {
    if (equivalent(e, margin, alpha / static_cast<double>(all.size())) == Preserved::no) return Preserved::no;
    yes = yes && equivalent(e, margin, alpha) == Preserved::yes;
  }
  return yes ? Preserved::yes : Preserved::open;
}

// ---------------------------------------------------------------------- the rules
/// Where the rules are tested: B = N = 4 and eta L = 1/64 (DSignSGD: eta l L sqrt(B)/sigma = 1/128), so that
/// corrections of order eta stay below half of the margin.
inline constexpr double base_batch = 4.0, base_step = 1.0 / 64.0, base_sign_step = 1.0 / 128.0;
inline constexpr int base_workers = 4;
/// Of log(level/reference). Twice 0.0277 = -log(1 - e), what corrections can make of two levels that are the same to
/// leading order, e the largest correction in all settings below (docs/scaling_laws.md).
inline constexpr double margin = 0.055;

struct Setting {
  double omega = 0.0;  ///< of the run that is scaled
  Scaling by;
};
struct Rule {
  std::string_view id, formula;
  std::string_view source;  ///< what claims that it recovers the uncompressed run; "derived" and from what: not printed
  std::vector<Setting> settings;  ///< the first is the one that --quick takes
};

inline bool preserves(double leading_ratio) { return std::abs(leading_ratio - 1.0) < 1e-9; }

/// The table of arXiv 2502.17009 as printed; rows 3 and 4, which do not recover the uncompressed run, also in the forms
/// that do what the row may have meant; and the condition behind all of them, with everything changed at once.
inline std::vector<Rule> compression_rules() {
  std::vector<Rule> rules;
  // alpha, kappa, delta from what a row leaves free.
  const auto add = [&](std::string_view id, std::string_view formula, std::string_view source,
                       std::initializer_list<Setting> free, const std::function<void(Setting&, double)>& complete) {
    Rule rule{id, formula, source, free};
    for (Setting& s : rule.settings) complete(s, s.by.beta * s.omega);
    rules.push_back(std::move(rule));
  };
  constexpr double third = 1.0 / 3.0;
  add("row1", "alpha = 1 + beta omega", "row 1", {{1, {1, 1, 3, 0}}, {1, {1, 1, 1, 0}}, {3, {1, 1, third, 0}}},
      [](Setting& s, double omega) { s.by.alpha = 1.0 + omega; });
  add("row2", "alpha = kappa (1 + omega)", "row 2", {{1, {2, 1, 1, 0}}, {3, {0.5, 1, 1, 0}}, {3, {1, 1, 1, 0}}},
      [](Setting& s, double) { s.by.alpha = s.by.kappa * (1.0 + s.omega); });
  const auto row3 = [](Setting& s, double omega) { s.by.alpha = (1.0 + s.omega) / (1.0 + omega); };
  add("row3", "alpha = (1 + omega)/(1 + beta omega)", "row 3", {{1, {1, 1, 3, 0}}, {7, {1, 1, 1.0 / 7.0, 0}}}, row3);
  add("row3/coincidence", "row 3 where (1 + beta omega)^2 = 1 + omega", "derived from row 3", {{3, {1, 1, third, 0}}},
      row3);
  add("row3/uncompressed", "alpha = (1 + omega)/delta", "derived from row 3, by its label BS",
      {{3, {1, 2, 1, 0}}, {1, {1, 0.5, 1, 0}}, {3, {1, 0.5, 1, 0}}},
      [](Setting& s, double) { s.by.alpha = (1.0 + s.omega) / s.by.delta; });
  add("row3/compressed", "alpha = (1 + beta omega)/(1 + omega)", "derived from row 3, turned over",
      {{1, {1, 1, 3, 0}}, {3, {1, 1, third, 0}}, {7, {1, 1, 3.0 / 7.0, 0}}},
      [](Setting& s, double omega) { s.by.alpha = (1.0 + omega) / (1.0 + s.omega); });
  add("row4", "kappa = (1 + omega)/(1 + beta omega)", "row 4",
      {{3, {0, 1, third, 1}}, {1, {0, 1, 3, 1}}, {7, {0, 1, 3.0 / 7.0, 1}}},
      [](Setting& s, double omega) { s.by.kappa = (1.0 + s.omega) / (1.0 + omega); });
  add("row4/uncompressed", "kappa = 1/(1 + beta omega)", "derived from row 4",
      {{1, {0, 1, 1, 1}}, {1, {0, 1, 3, 1}}, {3, {0, 1, third, 1}}},
      [](Setting& s, double omega) { s.by.kappa = 1.0 / (1.0 + omega); });
  add("row5", "delta = 1 + beta omega", "row 5", {{1, {1, 0, 3, 1}}, {1, {1, 0, 1, 1}}, {3, {1, 0, third, 1}}},
      [](Setting& s, double omega) { s.by.delta = 1.0 + omega; });
  add("row6", "kappa = delta/(1 + omega)", "row 6", {{3, {0, 2, 1, 1}}, {1, {0, 4, 1, 1}}, {3, {0, 8, 1, 1}}},
      [](Setting& s, double) { s.by.kappa = s.by.delta / (1.0 + s.omega); });
  const auto as_it_stands = [](Setting&, double) {};
  add("all/uncompressed", "kappa (1 + beta omega) = alpha delta", "derived: the condition behind rows 1, 2, 5 and 6",
      {{1, {2, 2, 3, 4}}, {3, {0.5, 2, third, 0.5}}, {3, {1, 4, 7.0 / 3.0, 2}}}, as_it_stands);
  add("all/compressed", "kappa (1 + beta omega) = alpha delta (1 + omega)", "derived: the condition behind row 4",
      {{1, {2, 2, 3, 2}}, {3, {0.5, 1, 1, 0.5}}, {1, {0.5, 0.5, 7, 4}}}, as_it_stands);
  return rules;
}

/// For DSignSGD: the printed condition (read as "= 1"), what breaks it, and the condition of DCSGD.
inline std::vector<Rule> sign_rules() {
  return {{"sign/printed",
           "kappa/(alpha sqrt(delta)) = 1",
           "for DSignSGD",
           {{0, {2, 4, 1, 1}}, {0, {2, 1, 1, 2}}, {0, {1, 0.25, 1, 2}}, {0, {1, 4, 1, 0.5}}, {0, {0.5, 0.25, 1, 1}}}},
          {"sign/broken",
           "a change of kappa, delta or alpha alone",
           "derived: the converse",
           {{0, {2, 1, 1, 1}}, {0, {1, 4, 1, 1}}, {0, {1, 1, 1, 2}}}},
          {"sign/dcsgd",
           "kappa/(alpha delta) = 1 (the condition of DCSGD)",
           "derived from the rules of DCSGD",
           {{0, {2, 2, 1, 1}}, {0, {4, 4, 1, 1}}, {0, {1, 2, 1, 0.5}}}}};
}

/// The x at which f, 0 at x = 0 and growing, reaches `level`; infinity: not below `most`.
template <class F>
double reaches(const F& f, double level, double most) {
  if (!(f(most) >= level)) return std::numeric_limits<double>::infinity();
  double low = 0.0, high = most;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (f(middle) >= level ? high : low) = middle;
  }
  return high;
}

}  // namespace pathbound::scaling
