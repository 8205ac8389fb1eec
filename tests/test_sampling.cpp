// SPDX-License-Identifier: Apache-2.0
// Uniforms, normals and the variates of every law: their definition word by word, and their distribution.
//
// False alarms, all with fixed seeds: Kolmogorov's test at level 1e-9, binomial tail counts 2e-9 each, comparisons of
// means at 5.5 standard errors 3.8e-8 each; about 450 checks, 4e-6 for the file. Against SciPy: test_noise.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/math/distributions/fisher_f.hpp>
#include <boost/math/distributions/laplace.hpp>
#include <boost/math/distributions/logistic.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <boost/math/special_functions/gamma.hpp>
#include <boost/math/special_functions/zeta.hpp>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "host/engine.hpp"
#include "host/laws.hpp"
#include "host/stable.hpp"
#include "kernels/sampling.hpp"
#include "tests/stat_assert.hpp"

namespace pathbound {
namespace {

// ---------------------------------------------------------------- uniforms

TEST(Uniform, FloatIsOneWordRoundedTwiceAndNeverZeroOrOne) {
  std::vector<std::uint32_t> words = {0u,          1u,          2u,          3u,          0x7fffffffu,
                                      0x80000000u, 0xfffffffeu, 0xffffffffu, 0xffffff00u, 0xfffffe80u};
  std::mt19937 engine(1);
  for (int i = 0; i < 200000; ++i) words.push_back(engine() >> (i % 32));
  for (const std::uint32_t w : words) {
    // float(w >> 1), then w' 2^-31 + 2^-32 rounded once (exact in long double), then the cap.
    const auto rounded = static_cast<float>(w >> 1);
    const auto u =
        std::min(static_cast<float>(static_cast<long double>(rounded) * 0x1p-31L + 0x1p-32L), 1.0f - 0x1p-24f);
    ASSERT_EQ(uniform<float>(w), u) << w;
    ASSERT_GE(u, 0x1p-32f);
    ASSERT_LT(u, 1.0f);
  }
  EXPECT_EQ(uniform<float>(0u), 0x1p-32f);
  EXPECT_EQ(uniform<float>(0xffffffffu), 1.0f - 0x1p-24f);
}

TEST(Uniform, DoubleIsTheTop53BitsOfTwoWordsPlusAHalf) {
  std::mt19937 engine(2);
  for (int i = 0; i < 200000; ++i) {
    const std::uint32_t first = i < 4 ? (i & 1 ? ~0u : 0u) : engine(),
                        second = i < 4 ? (i & 2 ? ~0u : 0u) : engine() >> (i % 32);
    const std::uint64_t z = ((static_cast<std::uint64_t>(second) << 32) | first) >> 11;
    const double u = std::min((static_cast<double>(z) + 0.5) * 0x1p-53, 1.0 - 0x1p-53);
    const std::uint64_t words[4] = {first | 0xabcd00000000u, second, 0, 0};  // high halves of lanes do not count
    ASSERT_EQ(uniform<double>(uniform_bits<double>(words, 0)), u);
    ASSERT_GE(u, 0x1p-54);
    ASSERT_LT(u, 1.0);
  }
}

TEST(Uniform, FloatCutsTheVarianceOfHeavyTailsAsDocumented) {
  // Var zeta = nu int_0^1 (u^(-2/nu) - 1) du, of which the sum over the words misses about (zeta(a)(1 - 2^a)) 2^(-31
  // (1-a)), a = 2/nu: the midpoint rule at the singularity. Double has 53 bits in place of 31.
  for (const auto& [nu, share] : {std::pair{2.1, 0.343}, {2.3, 0.053}, {2.5, 0.0112}, {3.0, 0.0005}}) {
    const double a = 2.0 / nu;
    double sum = 0.0;
    const int n = 1 << 20;
    for (int w = 0; w < n; ++w)
      sum += std::pow(static_cast<double>(uniform<float>(static_cast<std::uint32_t>(2 * w))), -a) * 0x1p-31;
    const double missing = std::pow(n * 0x1p-31, 1.0 - a) / (1.0 - a) - sum;
    const double hurwitz = boost::math::zeta(a) * (1.0 - std::exp2(a)) * std::exp2(-31.0 * (1.0 - a));
    EXPECT_NEAR(missing, hurwitz, 1e-3 * hurwitz) << nu;
    EXPECT_NEAR(missing / (a / (1.0 - a)), share, 0.02 * share + 1e-4) << nu;
  }
}

// ---------------------------------------------------------------- which words make which variate

/// Uniform m of a purpose of a path, and the angle (in turns) made of the same words.
template <class R>
struct UniformAt {
  double value, turn;
  UniformAt(std::uint64_t seed, std::uint64_t path, std::uint64_t m) {
    std::uint32_t w[2];
    if constexpr (sizeof(R) == 4) {
      random_words(seed, path, m, 1, w);
      value = std::min(static_cast<double>(static_cast<float>(w[0] >> 1)) * 0x1p-31 + 0x1p-32, 1.0 - 0x1p-24);
      turn = w[0] * 0x1p-32;
    } else {
      random_words(seed, path, 2 * m, 2, w);
      const std::uint64_t z = ((static_cast<std::uint64_t>(w[1]) << 32) | w[0]) >> 11;
      value = std::min((static_cast<double>(z) + 0.5) * 0x1p-53, 1.0 - 0x1p-53);
      turn = static_cast<double>(z) * 0x1p-53;
    }
  }
};

double cos_of(double turn) { return std::cos(2.0 * std::numbers::pi * turn); }
double sin_of(double turn) { return std::sin(2.0 * std::numbers::pi * turn); }

/// Normal n of a path: r cos (n even) or r sin (n odd) of uniforms 2 floor(n/2) and + 1.
template <class R>
double normal_at(std::uint64_t seed, std::uint64_t path, std::uint64_t n) {
  const UniformAt<R> radius(seed, path, n / 2 * 2), angle(seed, path, n / 2 * 2 + 1);
  return std::sqrt(-2.0 * std::log(radius.value)) * (n % 2 == 0 ? cos_of(angle.turn) : sin_of(angle.turn));
}

template <class R>
constexpr double accuracy = sizeof(R) == 4 ? 3e-6 : 3e-15;

template <class R>
std::vector<R> sample(const LawSpec& law, int dim, std::uint64_t seed, std::uint64_t rows) {
  std::vector<R> all;
  all.reserve(rows * static_cast<std::uint64_t>(dim));
  sample_noise<R>(law, dim, seed, rows, [&](const R* v, std::size_t count) { all.insert(all.end(), v, v + count); });
  EXPECT_EQ(all.size(), rows * static_cast<std::uint64_t>(dim));
  return all;
}

template <class R>
void expect_addresses_of_variates() {
  for (const int dim : {1, 2, 3, 7, 40}) {
    const auto normals = sample<R>({LawKind::gaussian}, dim, 5, 50);
    for (std::size_t n = 0; n < normals.size(); ++n)
      ASSERT_NEAR(normals[n], normal_at<R>(5, 0, n), accuracy<R> * 6.0) << n;
    const auto two_uniforms = [&](const LawSpec& law, auto&& expected) {
      const auto draws = sample<R>(law, dim, 5, 50);
      for (std::size_t n = 0; n < draws.size(); ++n) {
        const UniformAt<R> first(5, 0, 2 * n), second(5, 0, 2 * n + 1);
        const double want = expected(first, second);
        ASSERT_NEAR(draws[n], want, accuracy<R> * (1.0 + 30.0 / std::max(law.alpha, 1.0)) * std::abs(want))
            << law_words(law) << " " << n;
      }
    };
    two_uniforms({LawKind::laplace},
                 [](const auto& u, const auto& v) { return v.turn < 0.5 ? -std::log(u.value) : std::log(u.value); });
    two_uniforms({LawKind::logistic}, [](const auto& u, const auto& v) {
      const double size = std::log((2.0 - u.value) / u.value);
      return v.turn < 0.5 ? size : -size;
    });
    for (const double alpha : {sizeof(R) == 4 ? 0.3 : 0.06, 0.5, 0.99, 1.0, 1.01, 1.5, 1.999, 2.0}) {
      // Chambers, Mallows and Stuck as in theory section 1, v the middle of what the word stands for.
      two_uniforms({LawKind::alpha_stable, 0.0, alpha}, [alpha](const auto& v, const auto& u) {
        using Wide = long double;
        const Wide V = std::numbers::pi_v<Wide> * (v.turn + (sizeof(R) == 4 ? 0x1p-33L : 0x1p-54L) - 0.5L),
                   W = -std::log1p(-static_cast<Wide>(u.value)), a = alpha;
        return static_cast<double>(std::sin(a * V) / std::pow(std::cos(V), 1 / a) *
                                   std::pow(std::cos((1 - a) * V) / W, (1 - a) / a));
      });
    }
    const LawSpec contaminated{LawKind::contaminated_gaussian, 0.0, 0.0, 0.3, 7.5};
    const auto mixed = sample<R>(contaminated, dim, 5, 50);
    std::size_t wide = 0;
    for (std::size_t n = 0; n < mixed.size(); ++n) {
      // Purpose 5: the word of uniform n (double: the second of its two).
      std::uint32_t selector;
      random_words(5, 0, (std::uint64_t(5) << 60) + (sizeof(R) == 4 ? n : 2 * n + 1), 1, &selector);
      const bool is_wide = selector < 0.3 * 0x1p32;
      wide += is_wide ? 1 : 0;
      ASSERT_EQ(mixed[n], is_wide ? static_cast<R>(7.5) * normals[n] : normals[n]) << n;
    }
    EXPECT_GT(wide, 0u);
    for (const double nu : {0.5, 1.0, 1.6, 2.0, 3.0, 30.0}) {
      // sqrt(nu (u^(-2/nu) - 1)) cos(2 pi v), two uniforms a variate.
      const auto t = sample<R>({LawKind::student_t, nu}, dim, 5, 50);
      for (std::size_t n = 0; n < t.size(); ++n) {
        const UniformAt<R> u(5, 0, 2 * n), v(5, 0, 2 * n + 1);
        const double r = std::sqrt(nu * std::expm1(-2.0 / nu * std::log(u.value)));
        ASSERT_NEAR(t[n], r * cos_of(v.turn), accuracy<R> * (1.0 + 4.0 / nu) * r) << nu << " " << n;
      }
      // Pairs given the ones before; an odd last coordinate leaves its partner unused.
      const auto m = sample<R>({LawKind::multivariate_t, nu}, dim, 5, 50);
      const std::size_t pairs = (static_cast<std::size_t>(dim) + 1) / 2;
      for (std::size_t row = 0; row < 50; ++row) {
        double p = std::sqrt(nu);
        for (std::size_t i = 0; i < pairs; ++i) {
          const UniformAt<R> u(5, 0, 2 * (row * pairs + i)), v(5, 0, 2 * (row * pairs + i) + 1);
          const double degrees = nu + 2.0 * static_cast<double>(i),
                       r = p * std::sqrt(std::expm1(-2.0 / degrees * std::log(u.value)));
          const std::size_t at = row * static_cast<std::size_t>(dim) + 2 * i;
          const double tolerance = accuracy<R> * (1.0 + 4.0 / nu + static_cast<double>(i)) * r;
          ASSERT_NEAR(m[at], r * cos_of(v.turn), tolerance);
          if (2 * i + 1 < static_cast<std::size_t>(dim)) {
            ASSERT_NEAR(m[at + 1], r * sin_of(v.turn), tolerance);
          }
          p *= std::exp(-std::log(u.value) / degrees);
        }
      }
    }
  }
}

TEST(Noise, EveryVariateIsMadeOfItsOwnWords) {
  expect_addresses_of_variates<float>();
  expect_addresses_of_variates<double>();
}

template <class R>
void expect_normals_of_the_engine(int dim, int workers, const std::string& method_of_one) {
  // Step k, worker i, coordinate j uses normal (k N + i) d + j, also where a pair straddles two steps.
  const std::string text =
      std::string("seed = 21\nprecision = \"") + (sizeof(R) == 4 ? "float" : "double") +
      "\"\npaths = 40\nsteps = 9\ncheckpoints = 9\n[objective]\nkind = \"quadratic\"\ndim = " + std::to_string(dim) +
      "\nspectrum = { kind = \"linear\", min = 0.5, max = 0.5 }\nstart = 0.25\n[workers]\ncount = " +
      std::to_string(workers) + "\n[[curve]]\nname = \"c\"\neta = 0.5\n" + method_of_one;
  SCOPED_TRACE(text);
  const Experiment experiment = parse_experiment(text, "test.toml");
  const Objective objective(experiment.objective);
  const CurveSpec<R> spec(experiment, experiment.curves[0], objective);
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_available(isa)) continue;
    for (const std::uint64_t path :
         {std::uint64_t(0), std::uint64_t(1), std::uint64_t(37), (std::uint64_t(3) << 32) + 17}) {
      std::vector<double> x;
      trace_cpu<R>(spec.spec, path, isa, [&](std::uint64_t step, const double* now, double, double, bool) {
        for (int j = 0; step > 0 && j < dim; ++j) {
          double mean = 0.0;
          for (int i = 0; i < workers; ++i)
            mean += normal_at<R>(21, path,
                                 ((step - 1) * static_cast<std::uint64_t>(workers) + static_cast<std::uint64_t>(i)) *
                                         static_cast<std::uint64_t>(dim) +
                                     static_cast<std::uint64_t>(j)) /
                    workers;
          const double before = x[static_cast<std::size_t>(j)];
          ASSERT_NEAR(now[j], before - 0.5 * (0.5 * before + mean), 4.0 * accuracy<R>)
              << "step " << step << " coordinate " << j;
        }
        x.assign(now, now + dim);
      });
    }
  }
}

TEST(Noise, EngineGivesStepKWorkerIItsNormalsInOrder) {
  for (const auto& [dim, workers] : {std::pair{1, 1}, {1, 3}, {3, 1}, {3, 5}, {2, 2}, {33, 3}}) {
    expect_normals_of_the_engine<float>(dim, workers, "method = \"dsgd\"\nsampling = \"direct\"\n");
    expect_normals_of_the_engine<double>(dim, workers, "method = \"dsgd\"\nsampling = \"direct\"\n");
  }
}

template <class R>
void expect_normals_across_high_words() {
  const std::uint64_t path = (std::uint64_t(7) << 32) + 3, n = uniforms_per_block<R>;
  const BitsOf<R> low[1] = {static_cast<BitsOf<R>>(3)};
  for (const std::uint64_t block :
       {std::uint64_t(0), std::uint64_t(5), std::uint64_t(0xfffffffe), std::uint64_t(0xffffffff),
        std::uint64_t(0x100000000), (std::uint64_t(1) << 58) - 40}) {
    NoiseWindow<R, 1, 32> window;
    window.init(17, low, 7, LawSpec(), 1);
    R normals[4];
    window.normals_of(0, window.seek_block(block), normals);
    for (std::uint64_t i = 0; i < n; ++i)
      EXPECT_NEAR(normals[i], normal_at<R>(17, path, block * n + i), accuracy<R> * 6.0) << block;
    // The window goes on with the next block, whatever its high word.
    for (std::uint64_t i = 0; i < 40;) {
      int got;
      const R* more = window.take(40, got);
      for (int l = 0; l < got; ++l, ++i)
        ASSERT_NEAR(more[l], normal_at<R>(17, path, (block + 1) * n + i), accuracy<R> * 6.0) << block << " " << i;
    }
  }
}

TEST(Noise, BlocksBeyondTwoToTheThirtyTwoAreReached) {
  expect_normals_across_high_words<float>();
  expect_normals_across_high_words<double>();
}

template <class R>
void expect_selectors_across_high_words() {
  // A window far out in the stream: 2^32 blocks on, normals and selectors still belong together.
  const LawSpec law{LawKind::contaminated_gaussian, 0.0, 0.0, 0.5, 3.0};
  const BitsOf<R> low[1] = {static_cast<BitsOf<R>>(3)};
  const std::uint64_t n = uniforms_per_block<R>, block = 0xfffffffd;
  NoiseWindow<R, 1, 32> window;
  window.init(17, low, 7, law, 1);
  window.seek_block(block);
  for (std::uint64_t i = 0; i < 64;) {
    int got;
    const R* rows = window.take(64, got);
    for (int l = 0; l < got; ++l, ++i) {
      const std::uint64_t at = (block + 1) * n + i;
      std::uint32_t selector;
      random_words(17, (std::uint64_t(7) << 32) + 3, (std::uint64_t(5) << 60) + (sizeof(R) == 4 ? at : 2 * at + 1), 1,
                   &selector);
      const double want = normal_at<R>(17, (std::uint64_t(7) << 32) + 3, at) * (selector < 0x80000000u ? 3.0 : 1.0);
      ASSERT_NEAR(rows[l], want, accuracy<R> * 18.0) << i;
    }
  }
}

TEST(Noise, SelectorsFollowTheirNormalsBeyondTwoToTheThirtyTwoBlocks) {
  expect_selectors_across_high_words<float>();
  expect_selectors_across_high_words<double>();
}

template <StableForm form, class R>
void expect_symmetric(double alpha) {
  // The angle's complement turns the sign and nothing else: both tails are cut alike.
  constexpr int width = sizeof(R) == 4 ? 32 : 53;
  const auto ones = static_cast<BitsOf<R>>((std::uint64_t(1) << width) - 1);
  std::mt19937_64 engine(7);
  R largest = R(0);
  for (int i = 0; i < 100000; ++i) {
    BitsOf<R> w = static_cast<BitsOf<R>>(engine()) & ones, u = static_cast<BitsOf<R>>(engine()) & ones;
    if (i < 64) w = ones >> i % width;  // next to 0 and to a half ...
    if (i < 128) u = i % 2 == 0 ? BitsOf<R>(0) : ones;
    if (i >= 64 && i < 128) w = static_cast<BitsOf<R>>(1) << (i - 64) % width;
    const R x = alpha_stable<form, R>(w, u, alpha);
    ASSERT_EQ(x, -(alpha_stable<form, R>(~w & ones, u, alpha))) << alpha << " " << w;
    ASSERT_TRUE(std::isfinite(x)) << alpha << " " << w << " " << u;
    ASSERT_EQ(x > R(0), (w >> (width - 1)) != 0) << alpha << " " << w;
    largest = std::max(largest, std::abs(x));
  }
  if (alpha == (sizeof(R) == 4 ? 0.3 : 0.06)) {
    EXPECT_GT(std::log(largest), sizeof(R) == 4 ? 88.69 : 709.69);
  }
}

TEST(AlphaStable, IsOddInItsAngleAndNeverInfinite) {
  for (const double alpha : {0.3, 0.41, 0.7, 0.999, 1.001, 1.7, 1.9999}) {
    expect_symmetric<StableForm::general, float>(alpha);
    expect_symmetric<StableForm::general, double>(alpha);
  }
  expect_symmetric<StableForm::general, double>(0.06);
  expect_symmetric<StableForm::alpha1, float>(1.0);
  expect_symmetric<StableForm::alpha1, double>(1.0);
  expect_symmetric<StableForm::alpha2, float>(2.0);
  expect_symmetric<StableForm::alpha2, double>(2.0);
}

template <StableForm form, class R>
double stable_error(double alpha, BitsOf<R> w, BitsOf<R> u) {
  using Wide = long double;
  constexpr int width = sizeof(R) == 4 ? 32 : 53;
  const Wide unit = std::ldexp(Wide(1), -width), pi = std::numbers::pi_v<Wide>, a = alpha;
  const Wide edge =
      (static_cast<Wide>(std::min<BitsOf<R>>(w, (BitsOf<R>(1) << (width - 1)) * 2 - 1 - w)) + 0.5L) * unit;
  const Wide W = -std::log1p(-static_cast<Wide>(uniform<R>(u)));
  // |V| = pi (1/2 - edge): cos V = sin(pi edge), and of sin(alpha V) and cos((1 - alpha) V) the forms that do not
  // cancel.
  const Wide sine = a > 1 ? std::sin(pi * ((2 - a) / 2 + a * edge)) : std::sin(pi * a * (0.5L - edge)),
             other = std::sin(pi * (std::abs(1 - a) * edge + (1 - std::abs(1 - a)) / 2));
  const Wide want = std::exp(std::log(sine) - std::log(std::sin(pi * edge)) / a + (1 - a) / a * std::log(other / W));
  const R x = std::abs(alpha_stable<form, R>(w, u, alpha));
  return static_cast<double>(std::abs(x - want) / want);
}

/// Far into the tails too, where an angle is next to 0 or to half a turn.
TEST(AlphaStable, KeepsItsRelativePrecisionEverywhere) {
  std::mt19937_64 engine(8);
  double single = 0.0, twice = 0.0;
  for (const double alpha : {0.5, 0.8, 0.99, 1.01, 1.5, 1.9, 1.99, 1.9999})
    for (int i = 0; i < 20000; ++i) {
      // Words of every size; not so close to the middle that the closed form above cancels.
      const auto w = static_cast<std::uint32_t>((engine() >> 33) >> i % 30), u = static_cast<std::uint32_t>(engine());
      const std::uint64_t wide = ((engine() >> 12) >> i % 50), wide_u = engine() >> 11;
      single = std::max(single, stable_error<StableForm::general, float>(alpha, w, u));
      twice = std::max(twice, stable_error<StableForm::general, double>(alpha, wide, wide_u));
    }
  EXPECT_LT(single, 1.5e-5);  // exp of up to 45, from logarithms good to half an ulp of that
  EXPECT_LT(twice, 3e-14);
}

/// FNV-1a over the bits of the first 10000 draws.
template <class R>
std::uint64_t digest(const LawSpec& law) {
  std::uint64_t d = 0xcbf29ce484222325u;
  for (const R x : sample<R>(law, 3, 12, 10000 / 3)) d = (d ^ static_cast<std::uint64_t>(as_bits(x))) * 0x100000001b3u;
  return d;
}

// The streams are part of the paths' bits.
TEST(Noise, StreamsHaveTheBitsOnRecord) {
  struct Answer {
    LawSpec law;
    std::uint64_t single, twice;
  };
  const Answer answers[] = {
      {{LawKind::laplace}, 7245519384320540448u, 347780977216627355u},
      {{LawKind::logistic}, 1329943587503889001u, 7697082651017544283u},
      {{LawKind::contaminated_gaussian, 0.0, 0.0, 0.05, 10.0}, 4616158727821253151u, 11895927691794841492u},
      {{LawKind::alpha_stable, 0.0, 0.5}, 15842233541586021022u, 16188506837147259522u},
      {{LawKind::alpha_stable, 0.0, 1.0}, 4152310558891352440u, 16551537245956290623u},
      {{LawKind::alpha_stable, 0.0, 1.5}, 2902000437093903482u, 693660252784160818u},
      {{LawKind::alpha_stable, 0.0, 2.0}, 5478809524633460707u, 8763583434583505876u},
  };
  for (const Answer& answer : answers) {
    EXPECT_EQ(digest<float>(answer.law), answer.single) << law_words(answer.law);
    EXPECT_EQ(digest<double>(answer.law), answer.twice) << law_words(answer.law);
  }
}

// ---------------------------------------------------------------- distributions

/// P(zeta > x) for x >= 0, from Boost; for alpha_stable from host/stable.hpp, which test_laws.cpp holds against
/// quadrature.
double tail_of(const LawSpec& law, double x) {
  using boost::math::complement;
  const boost::math::normal normal;
  switch (law.kind) {
    case LawKind::gaussian:
      return boost::math::cdf(complement(normal, x));
    case LawKind::laplace:
      return boost::math::cdf(complement(boost::math::laplace(), x));
    case LawKind::logistic:
      return boost::math::cdf(complement(boost::math::logistic(), x));
    case LawKind::contaminated_gaussian:
      return (1.0 - law.eps) * boost::math::cdf(complement(normal, x)) +
             law.eps * boost::math::cdf(complement(boost::math::normal(0.0, law.k), x));
    case LawKind::alpha_stable:
      return x == 0.0 ? 0.5 : stable_law(law.alpha).tail(x);
    default:
      return boost::math::cdf(complement(boost::math::students_t(law.nu), x));
  }
}
double cdf_of(const LawSpec& law, double x) { return x < 0.0 ? tail_of(law, -x) : 1.0 - tail_of(law, x); }
/// P(zeta > x) = chance < 1/2.
double quantile_of(const LawSpec& law, double chance) {
  double low = -700.0, high = 700.0;
  while (high - low > 1e-13 * std::max(1.0, std::abs(low))) {
    const double middle = 0.5 * (low + high);
    (tail_of(law, std::exp(middle)) > chance ? low : high) = middle;
  }
  return std::exp(low);
}

const LawSpec laws[] = {{LawKind::gaussian},
                        {LawKind::student_t, 0.5},
                        {LawKind::student_t, 1.0},
                        {LawKind::student_t, 1.6},
                        {LawKind::student_t, 2.0},
                        {LawKind::student_t, 3.0},
                        {LawKind::student_t, 30.0},
                        {LawKind::laplace},
                        {LawKind::logistic},
                        {LawKind::contaminated_gaussian, 0.0, 0.0, 0.1, 10.0},
                        {LawKind::contaminated_gaussian, 0.0, 0.0, 0.5, 0.01},
                        {LawKind::alpha_stable, 0.0, 0.3},
                        {LawKind::alpha_stable, 0.0, 0.7},
                        {LawKind::alpha_stable, 0.0, 0.98},
                        {LawKind::alpha_stable, 0.0, 1.0},
                        {LawKind::alpha_stable, 0.0, 1.02},
                        {LawKind::alpha_stable, 0.0, 1.5},
                        {LawKind::alpha_stable, 0.0, 1.95},
                        {LawKind::alpha_stable, 0.0, 2.0}};

template <class R>
void expect_distribution(const LawSpec& law) {
  SCOPED_TRACE(law_words(law) + ", bytes " + std::to_string(sizeof(R)));
  const auto draws = sample<R>(law, 1, 31, 100000);
  EXPECT_TRUE(stat::kolmogorov_fits(draws, [&](double x) { return cdf_of(law, x); }));
  // Neighbours are independent: signs, and whether both are large.
  double same_sign = 0.0, both_large = 0.0;
  const double median = quantile_of(law, 0.25);
  for (std::size_t i = 0; i + 1 < draws.size(); i += 2) {
    same_sign += (draws[i] > 0) == (draws[i + 1] > 0) ? 1.0 : 0.0;
    both_large += std::abs(draws[i]) > median && std::abs(draws[i + 1]) > median ? 1.0 : 0.0;
  }
  EXPECT_TRUE(stat::binomial_fits(same_sign, 50000.0, 0.5));
  EXPECT_TRUE(stat::binomial_fits(both_large, 50000.0, 0.25));
}

TEST(Noise, FollowsItsLawInFloat) {
  for (const LawSpec& law : laws) expect_distribution<float>(law);
}
TEST(Noise, FollowsItsLawInDouble) {
  for (const LawSpec& law : laws) expect_distribution<double>(law);
  expect_distribution<double>({LawKind::alpha_stable, 0.0, 0.06});
}

template <class R>
void expect_moments() {
  for (const LawSpec& law : laws) {
    SCOPED_TRACE(law_words(law) + ", bytes " + std::to_string(sizeof(R)));
    const auto draws = sample<R>(law, 1, 33, 200000);
    const auto near = [&](double expected, auto&& term) {
      std::vector<double> v;
      for (const R x : draws) v.push_back(term(static_cast<double>(x)));
      const auto m = stat::moments_of_sample(v);
      EXPECT_TRUE(stat::near(m.mean, expected, m.standard_error)) << m.mean << " for " << expected;
    };
    const double p = tail_order(law);
    if (p > 8.0) near(noise_fourth_moment(law), [](double x) { return x * x * x * x; });
    if (p > 4.0) near(noise_variance(law), [](double x) { return x * x; });
    if (p > 2.0) near(0.0, [](double x) { return x; });
    if (law.kind == LawKind::alpha_stable) {
      // E|X|^r = Gamma(1 - r/alpha)/(Gamma(1 - r) cos(pi r/2)) for -1 < r < alpha.
      const double r = 0.25 * law.alpha;
      near(boost::math::tgamma(0.75) / (boost::math::tgamma(1.0 - r) * std::cos(0.5 * std::numbers::pi * r)),
           [r](double x) { return std::pow(std::abs(x), r); });
    }
  }
}

TEST(Noise, HasTheMomentsThatBoundsAndVerdictsRelyOn) {
  expect_moments<float>();
  expect_moments<double>();
}

TEST(Noise, ContaminatedNormalsAreWideAsOftenAsTheyShouldBe) {
  for (const double eps : {1e-4, 0.01, 0.3, 0.999}) {
    const std::size_t n = 400000;
    const auto normals = sample<float>({LawKind::gaussian}, 2, 34, n / 2),
               mixed = sample<float>({LawKind::contaminated_gaussian, 0.0, 0.0, eps, 2.0}, 2, 34, n / 2);
    double wide = 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_TRUE(mixed[i] == normals[i] || mixed[i] == 2.0f * normals[i]);
      wide += mixed[i] != normals[i] ? 1.0 : 0.0;
    }
    EXPECT_TRUE(stat::binomial_fits(wide, static_cast<double>(n), eps)) << eps;
  }
  // The share is eps to half of 2^-32, and never nothing or all.
  EXPECT_EQ(wide_below(0.25), 0x40000000u);
  EXPECT_EQ(wide_below(0x1p-32), 1u);
  EXPECT_EQ(wide_below(1.0 - 0x1p-53), 0xffffffffu);
}

template <class R>
void expect_tails(std::uint64_t n) {
  for (const LawSpec& law : laws) {
    SCOPED_TRACE(law_words(law) + ", bytes " + std::to_string(sizeof(R)));
    const double chances[] = {1e-4, 1e-5, 1e-6};
    double limits[3], above[3] = {}, below[3] = {};
    for (int i = 0; i < 3; ++i) limits[i] = quantile_of(law, chances[i]);
    sample_noise<R>(law, 1, 32, n, [&](const R* v, std::size_t count) {
      for (std::size_t k = 0; k < count; ++k) {
        const auto x = static_cast<double>(v[k]);
        if (std::abs(x) <= limits[0]) continue;
        for (int i = 0; i < 3; ++i) {
          above[i] += x > limits[i] ? 1.0 : 0.0;
          below[i] += x < -limits[i] ? 1.0 : 0.0;
        }
      }
    });
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(stat::binomial_fits(above[i], static_cast<double>(n), chances[i])) << chances[i];
      EXPECT_TRUE(stat::binomial_fits(below[i], static_cast<double>(n), chances[i])) << chances[i];
    }
  }
}

TEST(Noise, TailsBeyondTheOneInAMillionQuantilesAreAsLikelyAsTheyShouldBe) {
  expect_tails<float>(2000000);
  expect_tails<double>(2000000);
}

template <class R>
void expect_multivariate_t() {
  for (const auto& [dim, nu] : {std::pair{2, 3.0}, {3, 0.7}, {5, 12.0}, {8, 2.0}, {33, 5.0}}) {
    SCOPED_TRACE("d = " + std::to_string(dim) + ", nu = " + std::to_string(nu));
    const std::size_t rows = 40000, d = static_cast<std::size_t>(dim);
    const auto draws = sample<R>({LawKind::multivariate_t, nu}, dim, 41, rows);
    std::vector<double> length, first(rows), last(rows), direction(rows);
    for (std::size_t r = 0; r < rows; ++r) {
      double square = 0.0;
      for (std::size_t j = 0; j < d; ++j)
        square += static_cast<double>(draws[r * d + j]) * static_cast<double>(draws[r * d + j]);
      length.push_back(square / dim);
      first[r] = static_cast<double>(draws[r * d]);
      last[r] = static_cast<double>(draws[r * d + d - 1]);
      // Elliptical: any direction has the same marginal.
      double sum = 0.0;
      for (std::size_t j = 0; j < d; ++j) sum += (j % 2 == 0 ? 1.0 : -1.0) * static_cast<double>(draws[r * d + j]);
      direction[r] = sum / std::sqrt(static_cast<double>(dim));
    }
    EXPECT_TRUE(
        stat::kolmogorov_fits(length, [&](double x) { return boost::math::cdf(boost::math::fisher_f(dim, nu), x); }));
    const auto marginal = [&](double x) { return cdf_of({LawKind::student_t, nu}, x); };
    EXPECT_TRUE(stat::kolmogorov_fits(first, marginal));
    EXPECT_TRUE(stat::kolmogorov_fits(last, marginal));
    EXPECT_TRUE(stat::kolmogorov_fits(direction, marginal));
  }
}

TEST(MultivariateT, LengthMarginalsAndDirectionsFollowTheirLaws) {
  expect_multivariate_t<float>();
  expect_multivariate_t<double>();
}

TEST(MultivariateT, SquaresOfAWorkersCoordinatesAreCorrelatedAndRowsAreNot) {
  // E x_i^2 x_j^2 = nu^2/((nu-2)(nu-4)) for i != j: in a pair, across pairs, with the odd last coordinate. Between rows
  // the product of the variances, (nu/(nu-2))^2.
  const double nu = 14.0, variance = nu / (nu - 2.0);
  const std::size_t rows = 400000, d = 5;
  const auto draws = sample<double>({LawKind::multivariate_t, nu}, 5, 43, rows);
  const auto product = [&](std::size_t i, std::size_t j, std::size_t shift) {
    std::vector<double> v;
    for (std::size_t r = 0; r + shift < rows; ++r)
      v.push_back(std::pow(draws[r * d + i] * draws[(r + shift) * d + j], 2.0));
    return stat::moments_of_sample(v);
  };
  for (const auto& [i, j] : {std::pair<std::size_t, std::size_t>{0, 1}, {0, 2}, {1, 4}, {2, 3}, {3, 4}}) {
    const auto same = product(i, j, 0), apart = product(i, j, 1);
    EXPECT_TRUE(stat::near(same.mean, nu * nu / ((nu - 2.0) * (nu - 4.0)), same.standard_error)) << i << j;
    EXPECT_TRUE(stat::near(apart.mean, variance * variance, apart.standard_error)) << i << j;
    EXPECT_LT(same.standard_error, 0.02);  // the two differ by nu^2 (1/120 - 1/144) = 0.27
  }
  // The coordinates themselves are uncorrelated.
  std::vector<double> cross;
  for (std::size_t r = 0; r < rows; ++r) cross.push_back(draws[r * d] * draws[r * d + 3]);
  const auto m = stat::moments_of_sample(cross);
  EXPECT_TRUE(stat::near(m.mean, 0.0, m.standard_error));
}

}  // namespace
}  // namespace pathbound
