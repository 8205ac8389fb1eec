// SPDX-License-Identifier: Apache-2.0
// The tables go into the paths: only + - * / and the kernels' own functions.
#include "host/marginal.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <tuple>

#include "host/xi_table.hpp"
#include "kernels/portable.hpp"

namespace pathbound {

namespace {

/// What the message of a worker is drawn from, apart from its place in the order.
template <class R>
bool alike(const MarginalGroup<R>& group, const WorkerSpec<R>& worker) {
  return group.scale_sq == worker.scale_sq && group.affine_sq == worker.affine_sq && group.keep == worker.keep &&
         group.factor == worker.inverse_keep;
}

/// Distribution functions and tables, made once for each law.
class Laws {
 public:
  std::shared_ptr<const XiPieces<double>> xi(const LawSpec& law) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto& pieces = pieces_[key(law)];
    if (!pieces) pieces = std::make_shared<const XiPieces<double>>(law);
    return pieces;
  }
  std::shared_ptr<const SignTable> table(const LawSpec& law, int workers) {
    const std::lock_guard<std::mutex> lock(tables_mutex_);
    auto& table = tables_[{key(law), workers}];
    if (!table) table = std::make_shared<const SignTable>(make_sign_table(law, workers));
    return table;
  }
  static Laws& all() {
    static Laws laws;
    return laws;
  }

 private:
  using Key = std::tuple<int, double, double, double, double>;
  static Key key(const LawSpec& law) { return {static_cast<int>(law.kind), law.nu, law.alpha, law.eps, law.k}; }
  std::mutex mutex_, tables_mutex_;
  std::map<Key, std::shared_ptr<const XiPieces<double>>> pieces_;
  std::map<std::pair<Key, int>, std::shared_ptr<const SignTable>> tables_;
};

/// Binomial(n, p) at 0 .. n, from the mode on.
std::vector<double> binomial(int n, double p) {
  const double q = 1.0 - p;
  std::vector<double> chance(static_cast<std::size_t>(n) + 1, 0.0);
  const auto at = [&](int k) -> double& { return chance[static_cast<std::size_t>(k)]; };
  const int mode = std::min(n, static_cast<int>((n + 1) * p));
  double ways = 1.0;
  for (int k = 1; k <= mode; ++k) ways = ways * (n - k + 1) / k;
  at(mode) = ways * portable::whole_power(p, mode) * portable::whole_power(q, n - mode);
  for (int k = mode + 1; k <= n; ++k) at(k) = at(k - 1) * (p * (n - k + 1)) / (q * k);
  for (int k = mode - 1; k >= 0; --k) at(k) = at(k + 1) * (q * (k + 1)) / (p * (n - k));
  return chance;
}

/// Vose's alias method in whole numbers: for each column the part of `capacity` that is its own, and whose the rest is.
struct Column {
  std::uint64_t own = 0;
  std::size_t alias = 0;
};
std::vector<Column> alias_columns(std::vector<std::uint64_t> mass, std::uint64_t capacity) {
  std::vector<Column> columns(mass.size());
  std::vector<std::size_t> small, large;
  for (std::size_t i = 0; i < mass.size(); ++i) (mass[i] < capacity ? small : large).push_back(i);
  while (!small.empty()) {
    const std::size_t i = small.back(), donor = large.back();
    small.pop_back();
    columns[i] = {mass[i], donor};
    mass[donor] -= capacity - mass[i];
    if (mass[donor] < capacity) {
      large.pop_back();
      small.push_back(donor);
    }
  }
  for (const std::size_t i : large) columns[i] = {0, i};  // all its own
  return columns;
}

}  // namespace

SignTable make_sign_table(const LawSpec& law, int workers) {
  const auto pieces = Laws::all().xi(law);
  const auto xi = [&](double y) { return portable::xi(pieces->table(), y); };
  SignTable table;
  table.bits = sign_table_bits(workers);
  const double density = portable::density(pieces->table(), 0.0);
  while (table.unit < 2.0 * density) table.unit *= 2.0;
  while (table.unit > 4.0 * density) table.unit *= 0.5;

  constexpr int most_octaves = 24;
  const int per_octave = 1 << sign_octave_bits(table.bits);
  int octaves = 1;
  table.cap = 2.0;
  // Until hardly a sign differs any more.
  while (octaves < most_octaves && (0.5 - xi((table.cap - 1.0) / table.unit)) * workers >= 0x1p-16) {
    ++octaves;
    table.cap *= 2.0;
  }
  table.rows = octaves * per_octave + 1;

  const int codes = 1 << table.bits, rare = rare_code(table.bits);
  table.entries.reserve(static_cast<std::size_t>(table.rows * codes) + 4);
  table.masses.reserve(static_cast<std::size_t>(table.rows * codes));
  constexpr std::uint64_t whole = 1u << 16;
  constexpr double rounding = 0x1p-21;  // of t in float, and some more
  const auto chances_at = [&](double t) {
    return binomial(workers, std::max(0.0, 0.5 - xi(std::max(0.0, t - 1.0) / table.unit)));
  };
  for (int row = 0; row < table.rows; ++row) {
    const double octave = std::ldexp(1.0, row / per_octave);
    const double low = octave * (1.0 + static_cast<double>(row % per_octave) / per_octave),
                 high = low + octave / per_octave;
    // A chance as a function of p rises and then falls: it is smallest at an end of the cell.
    const std::vector<double> at_low = chances_at(low * (1.0 - rounding));
    const std::vector<double> at_high =
        row + 1 == table.rows ? binomial(workers, 0.0) : chances_at(high * (1.0 + rounding));
    std::vector<std::uint64_t> mass(static_cast<std::size_t>(codes), 0);
    std::uint64_t left = whole;
    for (int k = 0; k <= std::min(workers, rare - 1); ++k) {
      const auto i = static_cast<std::size_t>(k);
      const double least = std::min(at_low[i], at_high[i]) * (1.0 - 0x1p-40) * static_cast<double>(whole);
      mass[i] = std::min(static_cast<std::uint64_t>(least), whole - 1);
      left -= mass[i];
    }
    mass.back() = left;
    for (const std::uint64_t m : mass) table.masses.push_back(static_cast<std::uint16_t>(m));
    for (const Column& column : alias_columns(mass, whole / static_cast<std::uint64_t>(codes)))
      table.entries.push_back(static_cast<std::uint16_t>((column.own << table.bits) | column.alias));
  }
  table.entries.resize(table.entries.size() + 4, 0);  // packs read 8 bytes
  return table;
}

std::vector<std::uint32_t> make_count_table(int workers, std::uint32_t keep_below) {
  const double p = (static_cast<double>(keep_below) + 1.0) * 0x1p-32;
  const std::vector<double> chance = binomial(workers, p);
  constexpr std::uint64_t whole = std::uint64_t{1} << 32;
  std::vector<std::uint64_t> mass(64, 0);
  std::uint64_t given = 0;
  std::size_t likeliest = 0;
  for (std::size_t k = 0; k < chance.size(); ++k) {
    mass[k] = static_cast<std::uint64_t>(chance[k] * 0x1p32 + 0.5);
    given += mass[k];
    if (chance[k] > chance[likeliest]) likeliest = k;
  }
  mass[likeliest] += whole - given;
  std::vector<std::uint32_t> entries;
  for (const Column& column : alias_columns(mass, whole / 64))
    entries.push_back(static_cast<std::uint32_t>((column.own << 6) | column.alias));
  return entries;
}

std::vector<SubsetWord> subset_words(int dim, int keep) {
  constexpr std::uint64_t most = 1u << 24;
  std::vector<SubsetWord> words;
  for (int j = dim - std::min(keep, dim - keep); j < dim;) {
    SubsetWord word{j, 0, 1};
    while (j < dim && (word.count == 0 || std::uint64_t{word.bound} * static_cast<std::uint64_t>(j + 1) <= most)) {
      word.bound *= static_cast<std::uint32_t>(j + 1);
      ++word.count;
      ++j;
    }
    words.push_back(word);
  }
  return words;
}

SamplingForm sampling_form(const CurveConfig& curve, int dim) {
  if (curve.model || curve.sampling != "auto" || curve.modelled || curve.workers.count < 2) return SamplingForm::direct;
  const LawSpec& law = curve.noise.law;
  const bool affine = curve.noise.affine > 0.0, gaussian = law.kind == LawKind::gaussian;
  // Step loops that take further sums along the path know messages one by one only.
  const bool plain_steps = curve.adaptive.kind == AdaptiveKind::none && !curve.averaged;
  if (curve.method == MethodKind::dsignsgd) {
    if (!plain_steps) return SamplingForm::direct;
    const bool independent = law.kind != LawKind::multivariate_t || dim == 1;
    const bool noisy = std::all_of(curve.workers.scale.begin(), curve.workers.scale.end(),
                                   [](double scale) { return scale >= 1e-30; });
    return independent && noisy ? SamplingForm::signs : SamplingForm::direct;
  }
  if (curve.compressor.kind == CompressorKind::identity) {
    if (curve.method == MethodKind::clipped_dsgd || (curve.method == MethodKind::dnsgd && curve.each_worker))
      return SamplingForm::direct;
    const bool cauchy = (law.kind == LawKind::student_t || law.kind == LawKind::multivariate_t) && law.nu == 1.0;
    const bool stable = gaussian || cauchy || law.kind == LawKind::alpha_stable;
    const auto equal = [](const std::vector<double>& v) {
      return std::all_of(v.begin(), v.end(), [&](double x) { return x == v.front(); });
    };
    const bool same = equal(curve.workers.scale) && equal(curve.workers.batch);
    // s_i(x) = sqrt(a_i + b_i |grad f|^2): sums of their squares are of that form, of other powers only if all agree.
    const bool adds = !affine || gaussian || same || (law.kind == LawKind::alpha_stable && law.alpha == 2.0);
    return stable && adds ? SamplingForm::merged : SamplingForm::direct;
  }
  const bool subsets = curve.compressor.kind == CompressorKind::rand_k ||
                       curve.compressor.kind == CompressorKind::rand_k_plain ||
                       curve.compressor.kind == CompressorKind::bernoulli;
  return gaussian && subsets && plain_steps && curve.method == MethodKind::dcsgd ? SamplingForm::counts
                                                                                 : SamplingForm::direct;
}

std::string why_direct(const CurveConfig& curve, int dim) {
  if (curve.model || curve.sampling != "auto" || curve.workers.count < 2 ||
      sampling_form(curve, dim) != SamplingForm::direct)
    return {};
  if (curve.modelled) return "a model shares its workers' noise";
  CurveConfig plain = curve;
  plain.adaptive.kind = AdaptiveKind::none;
  plain.averaged = false;
  if (sampling_form(plain, dim) != SamplingForm::direct) return "its steps take norms or sums beside the messages";
  return "no exact form for the sum of these messages is known";
}

template <class R>
WorkerSpec<R> merged_worker(const CurveConfig& curve) {
  const LawSpec& law = curve.noise.law;
  const int n = curve.workers.count;
  // The law of a sum of independent s_i zeta_i is that of (sum s_i^alpha)^(1/alpha) zeta.
  const double alpha = law.kind == LawKind::gaussian ? 2.0 : law.kind == LawKind::alpha_stable ? law.alpha : 1.0;
  double scale_sq = 0.0, affine_sq = 0.0;
  if (alpha == 2.0) {
    for (int i = 0; i < n; ++i) {
      const auto worker = static_cast<std::size_t>(i);
      const double scale = curve.workers.scale[worker], batch = curve.workers.batch[worker];
      scale_sq += scale * scale / batch / n / n;
      affine_sq += curve.noise.affine * curve.noise.affine / batch / n / n;
    }
  } else {
    double sum = 0.0;
    for (int i = 0; i < n; ++i) {
      const auto worker = static_cast<std::size_t>(i);
      const double scale = curve.workers.scale[worker] / std::sqrt(curve.workers.batch[worker]);
      if (scale > 0.0) sum += alpha == 1.0 ? scale : portable::power(scale, alpha);
    }
    const double scale = sum > 0.0 ? (alpha == 1.0 ? sum : portable::power(sum, 1.0 / alpha)) / n : 0.0;
    scale_sq = scale * scale;
    // All workers agree here, so the power of n is that of the scale.
    const double spread = (alpha == 1.0 ? 1.0 : portable::power(n, 1.0 / alpha - 1.0)) * curve.noise.affine;
    affine_sq = spread * spread / curve.workers.batch.front();
  }
  WorkerSpec<R> worker;
  worker.scale = static_cast<R>(std::sqrt(scale_sq));
  worker.scale_sq = static_cast<R>(scale_sq);
  worker.affine_sq = static_cast<R>(affine_sq);
  return worker;
}
template WorkerSpec<float> merged_worker<float>(const CurveConfig&);
template WorkerSpec<double> merged_worker<double>(const CurveConfig&);

template <class R>
MarginalData<R>::MarginalData(const CurveConfig& curve, int dim, SamplingForm form,
                              const std::vector<WorkerSpec<R>>& workers) {
  const int most = form == SamplingForm::signs ? most_signs : most_counts;
  for (const WorkerSpec<R>& worker : workers) {
    const auto found = std::find_if(groups_.begin(), groups_.end(), [&](const MarginalGroup<R>& group) {
      return group.workers < most && alike(group, worker);
    });
    if (found != groups_.end()) {
      ++found->workers;
      continue;
    }
    MarginalGroup<R> group;
    group.workers = 1;
    group.scale_sq = worker.scale_sq;
    group.affine_sq = worker.affine_sq;
    group.keep = worker.keep;
    group.factor = worker.inverse_keep;
    group.inverse = worker.scale;  // for the time being
    if (curve.compressor.kind == CompressorKind::bernoulli) group.first_count = worker.keep_below;
    groups_.push_back(group);
  }
  if (form == SamplingForm::signs)
    add_signs(curve);
  else
    add_counts(curve, dim);
  spec_.groups = groups_.data();
  spec_.n_groups = static_cast<int>(groups_.size());
  spec_.entries = entries_.data();
  spec_.masses = masses_.data();
  spec_.n_entries = static_cast<int>(masses_.size());
  spec_.binomials = binomials_.data();
  spec_.n_binomials = static_cast<int>(binomials_.size());
  spec_.subsets = subsets_.data();
  spec_.n_subsets = static_cast<int>(subsets_.size());
  spec_.counts = counts_.data();
  spec_.n_counts = static_cast<int>(counts_.size());
}

template <class R>
void MarginalData<R>::add_signs(const CurveConfig& curve) {
  spec_.kind = MarginalKind::signs;
  const LawSpec& law = curve.noise.law;
  std::map<int, const MarginalGroup<R>*> made;  // groups of a size share a table
  for (MarginalGroup<R>& group : groups_) {
    const auto table = Laws::all().table(law, group.workers);
    const auto before = made.find(group.workers);
    if (before == made.end()) {
      group.entries = static_cast<std::int64_t>(masses_.size());
      group.binomials = static_cast<std::int64_t>(binomials_.size());
      // Masses and entries keep the same places.
      masses_.insert(masses_.end(), table->masses.begin(), table->masses.end());
      entries_.insert(entries_.end(), table->entries.begin(),
                      table->entries.begin() + static_cast<std::ptrdiff_t>(table->masses.size()));
      double ways = 1.0;
      for (int k = 0; k <= group.workers; ++k) {
        binomials_.push_back(ways);
        ways = ways * (group.workers - k) / (k + 1);
      }
      made.emplace(group.workers, &group);
    } else {
      group.entries = before->second->entries;
      group.binomials = before->second->binomials;
    }
    group.bits = table->bits;
    group.unit = static_cast<R>(table->unit);
    group.cap = static_cast<R>(table->cap);
    group.inverse = group.unit / group.inverse;
  }
  entries_.resize(entries_.size() + 4, 0);  // packs read 8 bytes
  const auto xi = Laws::all().xi(law);
  spec_.xi = xi->table();
  xi_ = xi;
}

template <class R>
void MarginalData<R>::add_counts(const CurveConfig& curve, int dim) {
  spec_.kind = MarginalKind::counts;
  const bool bernoulli = curve.compressor.kind == CompressorKind::bernoulli;
  for (MarginalGroup<R>& group : groups_) {
    const double square = static_cast<double>(group.factor) * static_cast<double>(group.factor);
    group.variance = static_cast<R>(square * static_cast<double>(group.scale_sq));
    group.variance_affine = static_cast<R>(square * static_cast<double>(group.affine_sq));
    if (bernoulli) {
      const std::vector<std::uint32_t> table =
          make_count_table(group.workers, static_cast<std::uint32_t>(group.first_count));
      group.first_count = static_cast<std::int64_t>(counts_.size());
      counts_.insert(counts_.end(), table.begin(), table.end());
    } else {
      const std::vector<SubsetWord> words = subset_words(dim, group.keep);
      group.first_subset = static_cast<std::int64_t>(subsets_.size());
      group.subset_words = static_cast<int>(words.size());
      subsets_.insert(subsets_.end(), words.begin(), words.end());
      spec_.subset_words += group.workers * group.subset_words;
    }
  }
}

template class MarginalData<float>;
template class MarginalData<double>;

}  // namespace pathbound
