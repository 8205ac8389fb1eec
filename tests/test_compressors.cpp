// SPDX-License-Identifier: Apache-2.0
// rand_k and bernoulli: which coordinates they keep, how often, and from which random words.
//
// False alarms of the statistical checks, all with fixed seeds: 2e-9 for each chi-square or binomial check (two-sided,
// level 1e-9 a side), 3.8e-8 for each comparison at 5.5 standard errors; about 400 checks in all, so 5e-6 for the file.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "host/engine.hpp"
#include "kernels/compressors.hpp"
#include "tests/stat_assert.hpp"

namespace pathbound {
namespace {

/// Subsets as the kernels choose them, `n` draws of a block of 32 paths each: use(kept), kept[j] for j = 0 .. dim - 1.
template <class R, class Use>
void draw_subsets(int dim, int keep, int n, std::uint64_t seed, Use&& use) {
  constexpr int packs = 32;
  using Word = BitsOf<R>;
  auto words = std::make_unique<WordWindow<R, packs, 32>>();
  Word low[packs];
  for (int p = 0; p < packs; ++p) low[p] = static_cast<Word>(p);
  words->init(seed, low, 0, Purpose::compressor);
  constexpr int bits = bits_per_lane<R>;
  std::vector<Word> mask(static_cast<std::size_t>(std::max(2, (dim + bits - 1) / bits) * 32));
  std::vector<bool> kept(static_cast<std::size_t>(dim));
  for (int i = 0; i < n; ++i) {
    const bool set_means_kept = choose_subset<R, packs>(dim, keep, *words, mask.data());
    for (int path = 0; path < 32; ++path) {
      for (int j = 0; j < dim; ++j)
        kept[static_cast<std::size_t>(j)] =
            keep_coordinate<R>(mask.data() + (j / bits) * 32 + path, j % bits, set_means_kept, R(1)) == R(1);
      use(kept);
    }
  }
}

template <class R>
void expect_uniform_subsets(int dim, int keep, int n) {
  SCOPED_TRACE("d = " + std::to_string(dim) + ", k = " + std::to_string(keep) + ", " + std::to_string(sizeof(R)) +
               " bytes");
  const auto d = static_cast<std::size_t>(dim);
  const double draws = 32.0 * n, k = keep, size = dim;
  std::vector<double> counts(d, 0.0), pairs(dim <= 65 ? d * d : 0, 0.0);
  // A vector to compress: |C(g) - g|^2 / |g|^2 has mean omega.
  std::vector<double> square(d), relative_error;
  double norm = 0.0;
  for (std::size_t j = 0; j < d; ++j) norm += square[j] = static_cast<double>((j % 5 + 1) * (j % 5 + 1));
  std::vector<std::size_t> members;
  draw_subsets<R>(dim, keep, n, static_cast<std::uint64_t>(1000 * dim + keep), [&](const std::vector<bool>& kept) {
    members.clear();
    double error = 0.0;
    for (std::size_t j = 0; j < d; ++j) {
      if (kept[j]) members.push_back(j);
      error += square[j] * (kept[j] ? (size / k - 1.0) * (size / k - 1.0) : 1.0);
    }
    ASSERT_EQ(members.size(), static_cast<std::size_t>(keep));  // every draw
    relative_error.push_back(error / norm);
    for (const std::size_t a : members) {
      ++counts[a];
      if (!pairs.empty())
        for (const std::size_t b : members) ++pairs[a * d + b];
    }
  });
  // One coordinate: the covariance of the counts is n p (1-p) d/(d-1) (I - 1/d).
  const double p = k / size;
  if (keep < dim) {
    double chi = 0.0;
    for (const double c : counts)
      chi += (c - draws * p) * (c - draws * p) / (draws * p * (1.0 - p) * size / (size - 1.0));
    EXPECT_TRUE(stat::chi_square_fits(chi, size - 1.0));
    // E C(g)_j = g_j: the mean factor of coordinate 0.
    EXPECT_TRUE(stat::near(counts[0] / draws / p, 1.0, std::sqrt((1.0 - p) / (p * draws))));
  }
  const auto omega = stat::moments_of_sample(relative_error);
  EXPECT_TRUE(stat::near(omega.mean, size / k - 1.0, omega.standard_error, 1e-12 * size));
  // Pairs beyond their coordinates: in the space orthogonal to sums of one-coordinate effects (dimension d(d-3)/2) the
  // covariance of the pair counts is n (p2 - 2 p3 + p4), p_m the chance that m given coordinates are kept.
  if (!pairs.empty() && dim >= 4 && keep >= 2 && keep <= dim - 2) {
    double chance[5] = {1.0, 0.0, 0.0, 0.0, 0.0};
    for (int m = 1; m <= 4; ++m) chance[m] = chance[m - 1] * std::max(0.0, k - m + 1.0) / (size - m + 1.0);
    std::vector<double> row(d, 0.0);
    for (std::size_t a = 0; a < d; ++a)
      for (std::size_t b = 0; b < d; ++b) row[a] += a == b ? 0.0 : pairs[a * d + b];
    const double mean_row = draws * chance[2] * (size - 1.0);
    double chi = 0.0;
    for (std::size_t a = 0; a < d; ++a)
      for (std::size_t b = 0; b < a; ++b) {
        const double rest =
            pairs[a * d + b] - draws * chance[2] - (row[a] - mean_row + row[b] - mean_row) / (size - 2.0);
        chi += rest * rest / (draws * (chance[2] - 2.0 * chance[3] + chance[4]));
      }
    EXPECT_TRUE(stat::chi_square_fits(chi, 0.5 * size * (size - 3.0)));
  }
}

template <class R>
void expect_uniform_subsets_of_all_sizes() {
  for (const int d : {1, 2, 7, 32, 33, 64, 65, 100, 1000})
    for (const int k : std::set<int>{1, std::max(1, d / 2), std::max(1, d - 1), d})
      expect_uniform_subsets<R>(d, k, d < 1000 ? 500 : 60);
}

TEST(RandK, KeepsExactlyKCoordinatesAndIsUnbiasedWithOmegaDOverKMinusOne) {
  expect_uniform_subsets_of_all_sizes<float>();
  expect_uniform_subsets_of_all_sizes<double>();
}

template <class R>
void expect_every_subset_equally_often(int dim, int keep) {
  SCOPED_TRACE("d = " + std::to_string(dim) + ", k = " + std::to_string(keep));
  std::map<std::vector<bool>, double> counts;
  const int n = 2000;
  draw_subsets<R>(dim, keep, n, 77, [&](const std::vector<bool>& kept) { ++counts[kept]; });
  double subsets = 1.0;
  for (int i = 0; i < keep; ++i) subsets = subsets * (dim - i) / (i + 1);
  ASSERT_EQ(static_cast<double>(counts.size()), subsets);
  double chi = 0.0;
  for (const auto& [subset, count] : counts)
    chi += (count - 32.0 * n / subsets) * (count - 32.0 * n / subsets) / (32.0 * n / subsets);
  EXPECT_TRUE(subsets == 1.0 || stat::chi_square_fits(chi, subsets - 1.0)) << chi;
}

TEST(RandK, EverySubsetIsEquallyLikely) {
  for (int d = 1; d <= 8; ++d)
    for (int k = 1; k <= d; ++k) {
      expect_every_subset_equally_often<float>(d, k);
      expect_every_subset_equally_often<double>(d, k);
    }
  expect_every_subset_equally_often<float>(33, 2);   // two rows of mask
  expect_every_subset_equally_often<float>(33, 31);  // the dropped pair
  expect_every_subset_equally_often<float>(65, 2);   // three rows
  expect_every_subset_equally_often<double>(130, 1);
}

TEST(RandK, StepsAndPathsDrawIndependentSubsets) {
  // Overlap of the subsets of one path at consecutive steps, and of neighbouring paths: hypergeometric, mean k^2/d.
  const int d = 20, k = 6, n = 3000;
  std::vector<std::uint32_t> subsets;
  draw_subsets<float>(d, k, n, 5, [&](const std::vector<bool>& kept) {
    std::uint32_t bits = 0;
    for (int j = 0; j < d; ++j) bits |= (kept[static_cast<std::size_t>(j)] ? 1u : 0u) << j;
    subsets.push_back(bits);
  });
  for (const std::size_t distance : {std::size_t(1), std::size_t(32)}) {
    std::vector<double> overlap;
    for (std::size_t i = 0; i + distance < subsets.size(); ++i)
      overlap.push_back(std::popcount(subsets[i] & subsets[i + distance]));
    const double variance = k * (k / 20.0) * (14.0 / 20.0) * (14.0 / 19.0);
    EXPECT_TRUE(stat::near(stat::moments_of_sample(overlap).mean, k * k / 20.0,
                           std::sqrt(variance / static_cast<double>(overlap.size()))));
  }
}

// ---------------------------------------------------------------- through the engine, from words computed here

std::string message_experiment(const std::string& precision, int dim, const std::string& workers,
                               const std::string& compressor) {
  // h = 1, x_0 = 1, no noise, eta = 1: x_1 = 1 - mean_i C_i(1).
  return "seed = 9\nprecision = \"" + precision +
         "\"\npaths = 40\nsteps = 3\ncheckpoints = 3\n[objective]\nkind = \"quadratic\"\ndim = " + std::to_string(dim) +
         "\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }\n[noise]\nscale = 0.0\n[workers]\n" + workers +
         "\n[[curve]]\nname = \"c\"\nsampling = \"direct\"\nmethod = \"dcsgd\"\neta = 1.0\ncompressor = " + compressor +
         "\n";
}

/// Uniform m of the compressors' stream of a path, as the 32-bit word that decides.
std::uint32_t compressor_word(std::uint64_t seed, std::uint64_t path, std::uint64_t m, bool single) {
  std::uint32_t word;
  random_words(seed, path, (std::uint64_t(1) << 60) + (single ? m : 2 * m + 1), 1, &word);
  return word;
}

/// Floyd's algorithm as published, on a set: the smaller of the kept and the dropped coordinates.
std::set<int> floyd(int dim, int m, const std::function<std::uint32_t()>& next_word) {
  std::set<int> chosen;
  for (int j = dim - m; j < dim; ++j) {
    const int t = static_cast<int>((static_cast<std::uint64_t>(next_word()) * static_cast<std::uint64_t>(j + 1)) >> 32);
    chosen.insert(chosen.count(t) != 0 ? j : t);
  }
  return chosen;
}

template <class R>
void expect_messages(const std::string& text,
                     const std::function<double(int step, int worker, int j, std::uint64_t path)>& factor) {
  SCOPED_TRACE(text);
  const Experiment experiment = parse_experiment(text, "test.toml");
  const Objective objective(experiment.objective);
  const CurveSpec<R> spec(experiment, experiment.curves[0], objective);
  const int dim = experiment.objective.dim, workers = experiment.curves[0].workers.count;
  const double tolerance = sizeof(R) == 4 ? 1e-5 : 1e-13;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_available(isa)) continue;
    for (const std::uint64_t path : {std::uint64_t(0), std::uint64_t(39), (std::uint64_t(1) << 33) + 5}) {
      std::vector<double> x;
      trace_cpu<R>(spec.spec, path, isa, [&](std::uint64_t step, const double* now, double, double, bool) {
        for (int j = 0; step > 0 && j < dim; ++j) {
          double mean = 0.0;
          for (int i = 0; i < workers; ++i) mean += factor(static_cast<int>(step) - 1, i, j, path) / workers;
          const double before = x[static_cast<std::size_t>(j)];
          ASSERT_NEAR(now[j], before - mean * before, tolerance * (1.0 + mean) * std::abs(before)) << step << " " << j;
        }
        x.assign(now, now + dim);
      });
    }
  }
}

TEST(RandK, EngineUsesTheDocumentedWordsInOrderOfStepAndWorker) {
  for (const int dim : {1, 7, 33, 64, 65, 150}) {
    for (const bool single : {true, false}) {
      const std::vector<int> keep = {1, std::max(1, dim / 2), std::max(1, dim - 2), dim};
      int per_step = 0;
      for (const int k : keep) per_step += std::min(k, dim - k);
      std::map<std::tuple<int, int, std::uint64_t>, std::set<int>> chosen;
      const auto factor = [&](int step, int worker, int j, std::uint64_t path) {
        const int k = keep[static_cast<std::size_t>(worker)], m = std::min(k, dim - k);
        const auto key = std::tuple(step, worker, path);
        if (chosen.count(key) == 0) {
          std::uint64_t at = static_cast<std::uint64_t>(step) * static_cast<std::uint64_t>(per_step);
          for (int i = 0; i < worker; ++i)
            at += static_cast<std::uint64_t>(
                std::min(keep[static_cast<std::size_t>(i)], dim - keep[static_cast<std::size_t>(i)]));
          chosen[key] = floyd(dim, m, [&] { return compressor_word(9, path, at++, single); });
        }
        const bool in = chosen[key].count(j) != 0, kept = k > dim - k ? !in : in;
        return kept ? static_cast<double>(dim) / k : 0.0;
      };
      const std::string workers = "count = 4\nk = [" + std::to_string(keep[0]) + ", " + std::to_string(keep[1]) + ", " +
                                  std::to_string(keep[2]) + ", " + std::to_string(keep[3]) + "]";
      const std::string text =
          message_experiment(single ? "float" : "double", dim, workers, "{ kind = \"rand_k\", k = 1 }");
      if (single)
        expect_messages<float>(text, factor);
      else
        expect_messages<double>(text, factor);
    }
  }
}

TEST(Bernoulli, EngineUsesOneWordACoordinateInOrderOfStepWorkerAndCoordinate) {
  for (const bool single : {true, false}) {
    for (const double p : {0.3, 0.5, 1.0}) {
      const int dim = 37, count = 3;
      const auto factor = [&](int step, int worker, int j, std::uint64_t path) {
        const std::uint32_t word =
            compressor_word(9, path, static_cast<std::uint64_t>((step * count + worker) * dim + j), single);
        const double words = std::round(p * 0x1p32);
        return static_cast<double>(word) + 1.0 <= words ? 0x1p32 / words : 0.0;
      };
      const std::string text = message_experiment(single ? "float" : "double", dim, "count = 3",
                                                  "{ kind = \"bernoulli\", p = " + std::to_string(p) + " }");
      if (single)
        expect_messages<float>(text, factor);
      else
        expect_messages<double>(text, factor);
    }
  }
}

template <class R>
void expect_bernoulli_frequencies() {
  constexpr int packs = 32;
  for (const double p : {1e-3, 0.3, 0.5, 0.999}) {
    auto words = std::make_unique<WordWindow<R, packs, 32>>();
    BitsOf<R> low[packs];
    for (int i = 0; i < packs; ++i) low[i] = static_cast<BitsOf<R>>(i);
    words->init(3, low, 0, Purpose::compressor);
    const auto keep_below = static_cast<std::uint32_t>(std::round(p * 0x1p32) - 1.0);
    double kept = 0.0, both = 0.0, n = 0.0, n_pairs = 0.0;
    std::vector<bool> before(32, false);
    for (int i = 0; i < 6000; ++i) {
      int got;
      const auto* w = words->take(1, got);
      for (std::size_t path = 0; path < 32; ++path) {
        const bool now = keep_bernoulli<R>(w + path, keep_below, R(1)) == R(1);
        kept += now ? 1.0 : 0.0;
        if (i % 2 == 1) {  // disjoint pairs of neighbours are independent draws
          both += now && before[path] ? 1.0 : 0.0;
          ++n_pairs;
        }
        before[path] = now;
        ++n;
      }
    }
    EXPECT_TRUE(stat::binomial_fits(kept, n, p)) << p;
    EXPECT_TRUE(stat::binomial_fits(both, n_pairs, p * p)) << p;
  }
}

TEST(Bernoulli, KeepsEachCoordinateIndependentlyWithProbabilityP) {
  expect_bernoulli_frequencies<float>();
  expect_bernoulli_frequencies<double>();
}

TEST(Bernoulli, IsUnbiasedDownToTheSmallestP) {
  // p is a whole number of 2^-32, and the factor its inverse: P(kept) * factor = 1.
  for (const std::string p :
       {"4.656612873077393e-10", "5.5e-10", "1e-9", "1.234e-5", "0.3", "0.5", "0.9999999999", "1.0"}) {
    const Experiment experiment = parse_experiment(
        message_experiment("double", 2, "count = 1", "{ kind = \"bernoulli\", p = " + p + " }"), "test.toml");
    const Objective objective(experiment.objective);
    const CurveSpec<double> spec(experiment, experiment.curves[0], objective);
    const WorkerSpec<double>& w = spec.spec.workers[0];
    EXPECT_DOUBLE_EQ((static_cast<double>(w.keep_below) + 1.0) * 0x1p-32 * w.inverse_keep, 1.0) << p;
    EXPECT_NEAR((static_cast<double>(w.keep_below) + 1.0) * 0x1p-32, std::stod(p), 0x1p-33) << p;
  }
}

TEST(Bernoulli, WithPOneKeepsEverything) {
  for (const std::uint32_t word : {0u, 1u, 0x80000000u, 0xffffffffu}) {
    const std::uint64_t wide = word;
    EXPECT_EQ(keep_bernoulli<float>(&word, 0xffffffffu, 2.0f), 2.0f);
    EXPECT_EQ(keep_bernoulli<double>(&wide, 0xffffffffu, 2.0), 2.0);
  }
}

}  // namespace
}  // namespace pathbound
