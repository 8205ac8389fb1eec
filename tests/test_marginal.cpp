// SPDX-License-Identifier: Apache-2.0
// Workers drawn together (theory O10): the tables against the laws they stand for, exactly; the curves against exact
// answers and against the same curves worker by worker.
#include <gtest/gtest.h>

#include <boost/math/distributions/binomial.hpp>
#include <cmath>
#include <map>
#include <set>

#include "host/engine.hpp"
#include "host/laws.hpp"
#include "host/marginal.hpp"
#include "kernels/marginal.hpp"
#include "tests/settings.hpp"
#include "tests/stat_assert.hpp"

namespace pb = pathbound;

namespace {

std::vector<pb::LawSpec> laws() {
  using pb::LawKind;
  return {{LawKind::gaussian},
          {LawKind::student_t, 2.0},
          {LawKind::student_t, 0.5},
          {LawKind::laplace},
          {LawKind::contaminated_gaussian, 0.0, 0.0, 0.1, 10.0},
          {LawKind::alpha_stable, 0.0, 1.5}};
}

/// Binomial(n, p) at 0 .. n in long double.
std::vector<long double> binomial(int n, long double p) {
  std::vector<long double> chance;
  for (int k = 0; k <= n; ++k)
    chance.push_back(std::exp(std::lgamma(n + 1.0L) - std::lgamma(k + 1.0L) - std::lgamma(n - k + 1.0L)) *
                     std::pow(p, static_cast<long double>(k)) * std::pow(1 - p, static_cast<long double>(n - k)));
  return chance;
}

int row_of(const pb::SignTable& table, double y) {
  return static_cast<int>(pb::sign_row<double>(table.bits, std::abs(y) * table.unit, table.cap));
}

}  // namespace

TEST(SignTable, EntriesGiveExactlyTheMasses) {
  for (const int workers : {1, 8, 14, 15, 30, 31, 64}) {
    const pb::SignTable table = pb::make_sign_table(laws()[1], workers);
    for (int row = 0; row < table.rows; row += 97) {
      std::vector<int> times(std::size_t{1} << table.bits, 0);
      for (std::uint32_t word = 0; word < 65536; ++word)
        ++times[pb::sign_code<float>(table.bits, table.entries.data(), static_cast<std::uint32_t>(row), word)];
      for (std::size_t code = 0; code < times.size(); ++code)
        ASSERT_EQ(times[code], table.masses[(static_cast<std::size_t>(row) << table.bits) + code])
            << workers << " workers, row " << row << ", code " << code;
    }
  }
}

TEST(SignTable, MassesLieBelowTheBinomialAndMissLittle) {
  for (const pb::LawSpec& law : laws()) {
    const pb::XiPieces<double> xi(law);
    for (const int workers : {2, 8, 20, 64}) {
      const pb::SignTable table = pb::make_sign_table(law, workers);
      double missing = 0.0;
      for (int i = 0; i <= 3000; ++i) {
        const double y = 0.001 * i * std::exp(0.002 * i);  // 0 .. 1200
        const int row = row_of(table, y);
        ASSERT_LT(row, table.rows);
        const std::uint16_t* masses = table.masses.data() + (static_cast<std::size_t>(row) << table.bits);
        const auto chance = binomial(workers, 0.5L - pb::xi_of<double>(xi.table(), y).xi);
        for (int k = 0; k < pb::rare_code(table.bits); ++k)
          ASSERT_LE(masses[k] / 65536.0L, (k <= workers ? chance[static_cast<std::size_t>(k)] : 0.0L) + 1e-13L)
              << y << ": " << k << " of " << workers;
        missing = std::max(missing, masses[pb::rare_code(table.bits)] / 65536.0);
      }
      // Of a cell sqrt(workers) times its width, of rounding half a 2^-16 a number.
      EXPECT_LT(missing, 0.0012 * std::sqrt(workers) + 64.0 / 65536.0 + 0.0015) << workers;
    }
  }
}

// The law of K for one y, without chance: the masses, and the rest by 2^14 evenly spaced words.
TEST(SignSums, HaveTheBinomialLawForEveryLawAndNumberOfWorkers) {
  for (const pb::LawSpec& law : laws()) {
    const pb::XiPieces<double> xi(law);
    for (const int workers : {1, 2, 8, 15, 33, 64}) {
      const pb::SignTable table = pb::make_sign_table(law, workers);
      std::vector<double> binomials;
      for (int k = 0; k <= workers; ++k)
        binomials.push_back(static_cast<double>(std::round(
            std::exp(std::lgamma(workers + 1.0L) - std::lgamma(k + 1.0L) - std::lgamma(workers - k + 1.0L)))));
      for (const double y : {0.0, 1e-4, 0.0019, 0.0371, 0.5, 0.9999, 1.7, 4.0, 40.0, 1e6}) {
        const std::uint16_t* masses = table.masses.data() + (static_cast<std::size_t>(row_of(table, y)) << table.bits);
        const double rest = masses[pb::rare_code(table.bits)] / 65536.0;
        std::vector<double> chance(static_cast<std::size_t>(workers) + 1, 0.0);
        for (int k = 0; k <= std::min(workers, pb::rare_code(table.bits) - 1); ++k)
          chance[static_cast<std::size_t>(k)] = masses[k] / 65536.0;
        constexpr std::uint32_t words = 1u << 14;
        for (std::uint32_t w = 0; w < words && rest > 0.0; ++w) {
          const int k = pb::rare_signs(xi.table(), y, workers, masses, table.bits, binomials.data(),
                                       w * (0xffffffffu / words) + 0x1ffffu);
          ASSERT_TRUE(k >= 0 && k <= workers);
          chance[static_cast<std::size_t>(k)] += rest / words;
        }
        const auto expected = binomial(workers, 0.5L - pb::xi_of<double>(xi.table(), y).xi);
        for (int k = 0; k <= workers; ++k)
          ASSERT_NEAR(chance[static_cast<std::size_t>(k)], static_cast<double>(expected[static_cast<std::size_t>(k)]),
                      2.5 * rest / words + 1e-12)
              << "law " << static_cast<int>(law.kind) << ", y = " << y << ", " << k << " of " << workers;
      }
    }
  }
}

TEST(CountTable, IsTheBinomialLaw) {
  for (const int workers : {1, 2, 8, 15}) {
    for (const double p : {0x1p-32, 0.001, 0.25, 0.3, 0.5, 0.999, 1.0}) {
      const auto below = static_cast<std::uint32_t>(std::round(p * 0x1p32) - 1.0);
      const std::vector<std::uint32_t> table = pb::make_count_table(workers, below);
      ASSERT_EQ(table.size(), 64u);
      std::vector<double> chance(64, 0.0);
      for (std::uint32_t column = 0; column < 64; ++column) {
        const double own = (table[column] >> 6) * 0x1p-26;
        chance[column] += own / 64;
        chance[table[column] & 63u] += (1.0 - own) / 64;
        // A word below the column's threshold and one at it.
        const std::uint32_t first = column << 26, threshold = table[column] >> 6;
        if (threshold > 0) {
          ASSERT_EQ(pb::count_of<float>(table.data(), first + threshold - 1), column);
        }
        ASSERT_EQ(pb::count_of<float>(table.data(), first + threshold), table[column] & 63u);
      }
      const auto expected = binomial(workers, (below + 1.0L) / 0x1p32L);
      for (std::size_t k = 0; k < 64; ++k)
        ASSERT_NEAR(chance[k], k <= static_cast<std::size_t>(workers) ? static_cast<double>(expected[k]) : 0.0, 0x1p-30)
            << k << " of " << workers << ", p = " << p;
    }
  }
}

TEST(SubsetWords, HoldAllDigitsInOrder) {
  for (const int dim : {1, 2, 5, 64, 1000, 5000})
    for (const int keep : {1, dim / 3, dim / 2, dim - 1, dim}) {
      if (keep < 1) continue;
      int j = dim - std::min(keep, dim - keep);
      for (const pb::SubsetWord& word : pb::subset_words(dim, keep)) {
        std::uint64_t bound = 1;
        ASSERT_EQ(word.first, j);
        ASSERT_GE(word.count, 1);
        for (int i = 0; i < word.count; ++i, ++j) bound *= static_cast<std::uint64_t>(j + 1);
        ASSERT_EQ(word.bound, bound);
        ASSERT_TRUE(word.count == 1 || bound <= (1u << 24));
      }
      ASSERT_EQ(j, dim);
    }
}

// 64 bits w, e are the fraction; floor((w 2^32 + e) bound 2^-64) is what w alone gives unless its low product is open.
TEST(SubsetWords, ExtensionCarriesAsSixtyFourBitsWould) {
  const std::uint32_t bound = 49 * 50 * 51 * 52;
  int open = 0, carried = 0;
  for (std::uint32_t i = 0; i < 400000; ++i) {
    const std::uint32_t word = i * 10737u + 7u;
    const auto whole = [&](std::uint32_t w) { return (static_cast<std::uint64_t>(w) * bound) >> 32; };
    if (!pb::subset_word_is_open(word * bound, bound)) {
      // No 32 bits more change it.
      ASSERT_EQ((static_cast<unsigned __int128>((static_cast<std::uint64_t>(word) << 32) | 0xffffffffu) * bound) >> 64,
                whole(word));
      continue;
    }
    ++open;
    std::uint32_t more[4];
    pb::philox_block(5, i, pb::first_block(pb::Purpose::subset_extension) + i / 4, more);
    const std::uint64_t all = (static_cast<std::uint64_t>(word) << 32) | more[i % 4];
    const auto expected = static_cast<std::uint64_t>((static_cast<unsigned __int128>(all) * bound) >> 64);
    const std::uint32_t extended = pb::extended_subset_word(word, bound, 5, i, i);
    ASSERT_EQ(whole(extended), expected);
    carried += extended != word;
  }
  EXPECT_GT(open, 300);
  EXPECT_GT(carried, 50);
}

namespace {

/// The mean of S of a curve at its last checkpoint, and its standard error.
struct Mean {
  double value, error;
};
Mean last_mean(const std::string& text) {
  const pb::Prepared<float> prepared(text);
  const pb::SimResult result = prepared.run(pb::best_isa(), 0);
  const pb::Record& last = result.records.back();
  const double n = static_cast<double>(last.finite);
  return {last.sum / n, std::sqrt(last.m2 / (n - 1.0) / n)};
}

}  // namespace

// The same curves in both forms, means within 5 joint standard errors: a false alarm once in 1.7 million comparisons.
TEST(Together, AgreesWithWorkerByWorker) {
  int compared = 0;
  for (const pb::Setting& setting : pb::settings_once()) {
    const pb::Experiment experiment = pb::parse_experiment(setting.text("float"), "test.toml");
    const pb::CurveConfig& curve = experiment.curves.back();
    if (pb::sampling_form(curve, experiment.objective.dim) == pb::SamplingForm::direct) continue;
    // S of a Cauchy step has no mean.
    const bool heavy = pb::tail_order(curve.noise.law) <= 4.0 && curve.method != pb::MethodKind::dsignsgd;
    if (heavy) continue;
    pb::Setting together = setting;
    together.top = "paths = 20000\nsteps = " + std::to_string(curve.steps) + "\ncheckpoint_steps = [" +
                   std::to_string(curve.steps) + "]";
    pb::Setting direct = together;
    direct.curve = "sampling = \"direct\"\nseed = 12\n" + direct.curve;
    const Mean a = last_mean(together.text("float")), b = last_mean(direct.text("float"));
    EXPECT_NEAR(a.value, b.value, 5.0 * std::hypot(a.error, b.error)) << together.text("float");
    ++compared;
  }
  EXPECT_GE(compared, 15);
}

// One step of d = 1 from x0 under Cauchy noise: x_1 = x0 - eta (h x0 + s zeta) with s the mean of the scales.
TEST(Together, CauchyMeansAreCauchy) {
  const pb::Prepared<float> prepared(
      "paths = 200000\nsteps = 1\n[objective]\nkind = \"quadratic\"\nspectrum = "
      "{ kind = \"linear\", min = 1.0, max = 1.0 }\nstart = 1.0\n[noise]\nlaw = \"student_t\"\n"
      "nu = 1.0\n[workers]\ncount = 3\nscale = [0.5, 1.0, 3.0]\n[[curve]]\nname = \"c\"\nmethod = \"dsgd\"\neta = "
      "0.5\n");
  ASSERT_EQ(prepared.curve.spec.n_workers, 1);
  const pb::SimResult result = prepared.run(pb::best_isa(), 0);
  // |x_1| = sqrt(2 S / h), h = 1; x_1 = 0.5 - 0.5 s zeta, s = 1.5. The median of S is within its bin, 1.6%.
  const double median = result.quantiles[2].back(), x = std::sqrt(2.0 * median), s = 1.5;
  const auto below = [&](double at) {
    return (std::atan((0.5 + at) / (0.5 * s)) - std::atan((0.5 - at) / (0.5 * s))) / std::acos(-1.0);
  };
  // Of 200,000 paths, 5 standard errors: 0.0056; half a bin of S moves x by 0.8%.
  EXPECT_NEAR(below(x), 0.5, 0.0056 + std::abs(below(1.008 * x) - below(x)));
}

TEST(SamplingForm, IsChosenWhereItIsExact) {
  const auto form = [](const std::string& noise, const std::string& workers, const std::string& curve, int dim = 4) {
    const pb::Experiment experiment =
        pb::parse_experiment(pb::text_of("float", "paths = 10\nsteps = 2",
                                         "kind = \"quadratic\"\ndim = " + std::to_string(dim) +
                                             "\nspectrum = { kind = \"linear\", min = 0.5, max = 1.0 }",
                                         noise, workers, curve),
                             "test.toml");
    return pb::sampling_form(experiment.curves.front(), dim);
  };
  using Form = pb::SamplingForm;
  const std::string dsgd = "method = \"dsgd\"\neta = 0.1", sign = "method = \"dsignsgd\"\neta = 0.1",
                    rand_k = "method = \"dcsgd\"\neta = 0.1\ncompressor = { kind = \"rand_k\", k = 2 }",
                    two = "count = 2", t3 = "law = \"student_t\"\nnu = 3.0", cauchy = "law = \"student_t\"\nnu = 1.0";
  EXPECT_EQ(form("", "", dsgd), Form::direct);
  EXPECT_EQ(form("", two, dsgd), Form::merged);
  EXPECT_EQ(form("", two, dsgd + "\nsampling = \"direct\""), Form::direct);
  EXPECT_EQ(form(t3, two, dsgd), Form::direct);
  EXPECT_EQ(form(cauchy, two, dsgd), Form::merged);
  EXPECT_EQ(form(cauchy + "\naffine = 0.1", two, dsgd), Form::merged);
  EXPECT_EQ(form(cauchy + "\naffine = 0.1", "count = 2\nscale = [1.0, 2.0]", dsgd), Form::direct);
  EXPECT_EQ(form("affine = 0.1", "count = 2\nscale = [1.0, 2.0]", dsgd), Form::merged);
  EXPECT_EQ(form("law = \"multivariate_t\"\nnu = 1.0", two, dsgd), Form::merged);
  EXPECT_EQ(form("law = \"alpha_stable\"\nalpha = 1.3", two, dsgd), Form::merged);
  EXPECT_EQ(form("", two, "method = \"dnsgd\"\neta = 0.1"), Form::merged);
  EXPECT_EQ(form("", two, "method = \"dnsgd\"\nat = \"worker\"\neta = 0.1"), Form::direct);
  EXPECT_EQ(form("", two, "method = \"clipped_dsgd\"\nclip = 1.0\neta = 0.1"), Form::direct);
  EXPECT_EQ(form(t3, two, sign), Form::signs);
  EXPECT_EQ(form("law = \"multivariate_t\"\nnu = 3.0", two, sign), Form::direct);
  EXPECT_EQ(form(t3, "count = 2\nscale = [0.0, 1.0]", sign), Form::direct);
  EXPECT_EQ(form("", two, rand_k), Form::counts);
  EXPECT_EQ(form(t3, two, rand_k), Form::direct);
  EXPECT_EQ(form("", two, "method = \"dcsgd\"\neta = 0.1\ncompressor = { kind = \"bernoulli\", p = 0.5 }"),
            Form::counts);
  EXPECT_EQ(form("", two, "method = \"dcsgd\"\neta = 0.1\ncompressor = { kind = \"natural\" }"), Form::direct);
  const pb::Experiment heavy = pb::parse_experiment(
      pb::text_of("float", "paths = 10\nsteps = 2",
                  "kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 0.5, max = 1.0 }", t3, two, dsgd),
      "test.toml");
  EXPECT_EQ(pb::why_direct(heavy.curves.front(), 1), "no exact form for the sum of these messages is known");
  // Loops with norms and sums of their own.
  EXPECT_EQ(form(t3, two, sign + "\nadaptive = { kind = \"hessian_norm\" }"), Form::direct);
  EXPECT_EQ(form("", two, sign + "\n[[bound]]\ntheorem = \"B6d\"\ncurve = \"c\""), Form::direct);
  EXPECT_EQ(form("", two, dsgd + "\n[[bound]]\ntheorem = \"B5\"\ncurve = \"c\""), Form::merged);
  // A model shares its workers' noise.
  EXPECT_EQ(form("", two, pb::with_model(dsgd, "first_order", 2)), Form::direct);
}
