// SPDX-License-Identifier: Apache-2.0
// Normalised, clipped, heavy-ball and Adam methods, adaptive factors and the compressors qsgd, natural, top_k and
// rand_k_plain: whole trajectories against an independent computation in long double from the same random words, and
// the compressors' means and omega.
//
// False alarms of the statistical checks, all with fixed seeds: 3.8e-8 for each comparison at 5.5 standard errors,
// below 300 of them: 1.2e-5 for the file.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "host/engine.hpp"
#include "kernels/compressors.hpp"
#include "kernels/methods.hpp"
#include "tests/settings.hpp"
#include "tests/stat_assert.hpp"

namespace pathbound {
namespace {

using Wide = long double;
using Vector = std::vector<Wide>;

Wide norm(const Vector& v) {
  Wide sum = 0;
  for (const Wide x : v) sum += x * x;
  return std::sqrt(sum);
}

/// One path of a method, step by step, from the definitions (theory section 2): path 0, so that sample_noise gives its
/// noise.
class Reference {
 public:
  explicit Reference(const Experiment& experiment)
      : e_(experiment), c_(experiment.curves.back()), objective_(experiment.objective) {
    const auto d = static_cast<std::size_t>(dim());
    x_.assign(experiment.objective.start.begin(), experiment.objective.start.end());
    velocity_.assign(d, 0);
    square_.assign(d, 0);
    noise_.reserve(c_.steps * static_cast<std::size_t>(c_.workers.count) * d);
    const std::uint64_t rows = c_.steps * static_cast<std::uint64_t>(c_.workers.count);
    const auto keep = [&](const auto* v, std::size_t n) { noise_.insert(noise_.end(), v, v + n); };
    if (e_.precision == Precision::double_)
      sample_noise<double>(c_.noise.law, dim(), c_.seed, rows, keep);
    else
      sample_noise<float>(c_.noise.law, dim(), c_.seed, rows, keep);
  }

  const Vector& x() const { return x_; }

  void step(std::uint64_t k) {
    const auto d = static_cast<std::size_t>(dim());
    const std::size_t n = static_cast<std::size_t>(c_.workers.count);
    const Vector g = gradient();
    Vector mean(d, 0);
    for (std::size_t i = 0; i < n; ++i) {
      Vector v = g;
      const Wide rho2 = Wide(c_.noise.affine) * c_.noise.affine, size = norm(g);
      const Wide s = std::sqrt((Wide(c_.workers.scale[i]) * c_.workers.scale[i] + rho2 * size * size / Wide(d)) /
                               Wide(c_.workers.batch[i]));
      for (std::size_t j = 0; j < d; ++j) v[j] += s * Wide(noise_[(k * n + i) * d + j]);
      const Vector message = sent(v, i, k * n + i);
      for (std::size_t j = 0; j < d; ++j) mean[j] += message[j] / Wide(n);
    }
    const Wide eta = schedule(k) * factor(c_.adaptive.stochastic ? mean : g);
    for (std::size_t j = 0; j < d; ++j) {
      Wide move = mean[j];
      if (c_.method == MethodKind::dnsgd && !c_.each_worker) move = norm(mean) > 0 ? mean[j] / norm(mean) : 0;
      if (c_.method == MethodKind::heavy_ball) move = velocity_[j] = Wide(c_.momentum) * velocity_[j] + mean[j];
      if (c_.method == MethodKind::adam) {
        const Wide b1 = c_.beta1, b2 = c_.beta2, steps = Wide(k + 1);
        velocity_[j] = b1 * velocity_[j] + (1 - b1) * mean[j];
        square_[j] = b2 * square_[j] + (1 - b2) * mean[j] * mean[j];
        move = velocity_[j] / (1 - std::pow(b1, steps)) /
               (std::sqrt(square_[j] / (1 - std::pow(b2, steps))) + Wide(c_.epsilon));
      }
      x_[j] -= eta * move;
    }
  }

 private:
  int dim() const { return e_.objective.dim; }
  Vector gradient() const {
    const auto g = objective_.gradient(std::vector<double>(x_.begin(), x_.end()));
    return {g.begin(), g.end()};
  }
  Wide schedule(std::uint64_t k) const {
    const ScheduleSpec& s = c_.schedule;
    Wide size = c_.eta;
    const Wide n = Wide(k);
    switch (s.kind) {
      case ScheduleKind::constant:
        break;
      case ScheduleKind::polynomial:
        size *= std::pow(1 + n / Wide(s.k0), -Wide(s.p));
        break;
      case ScheduleKind::exponential:
        size *= std::exp(-Wide(s.rate) * n);
        break;
      case ScheduleKind::step:
        size *= std::pow(Wide(s.factor), std::floor(n / Wide(s.every)));
        break;
      case ScheduleKind::cosine:
        size *= (1 + std::cos(std::acos(Wide(-1)) * n / Wide(c_.steps))) / 2;
        break;
    }
    return s.warmup > 0 ? size * std::min(Wide(1), (n + 1) / Wide(s.warmup)) : size;
  }
  /// 1 + (omega + (1 + omega) rho^2 Var zeta / B)/N for workers alike, Gaussian noise.
  Wide spread() const {
    Wide omega = 0;
    if (c_.compressor.kind == CompressorKind::rand_k) omega = Wide(dim()) / c_.compressor.k - 1;
    if (c_.compressor.kind == CompressorKind::bernoulli) omega = 1 / Wide(c_.compressor.p) - 1;
    const Wide rho2 = Wide(c_.noise.affine) * c_.noise.affine / Wide(c_.workers.batch[0]);
    return 1 + (omega + (1 + omega) * rho2) / c_.workers.count;
  }
  Wide factor(const Vector& v) const {
    const AdaptiveConfig& a = c_.adaptive;
    switch (a.kind) {
      case AdaptiveKind::none:
        return 1;
      case AdaptiveKind::gradient_norm:
        return std::pow(1 + norm(v) / Wide(a.c), -Wide(a.q));
      case AdaptiveKind::l0l1:
        return Wide(a.theta) / (spread() * Wide(c_.eta) *
                                (Wide(a.L0.value_or(*objective_.constants().L0.value)) +
                                 Wide(a.L1.value_or(*objective_.constants().L1.value)) * norm(v)));
      case AdaptiveKind::hessian_norm: {
        Wide size = 0;
        for (const Wide x : x_)
          size = std::max(size, e_.objective.kind == ObjectiveKind::quartic ? 3 * x * x
                                : e_.objective.kind == ObjectiveKind::cosh  ? std::cosh(x)
                                                                            : Wide(-1));
        return std::min(Wide(1), Wide(a.theta) / (spread() * Wide(c_.eta) * size));
      }
    }
    return 0;
  }
  /// The compressor's words of one message: one a coordinate.
  std::uint32_t word(std::uint64_t index) const {
    const bool single = e_.precision == Precision::single;
    std::uint32_t w[2];
    random_words(c_.seed, 0, (std::uint64_t(1) << 60) + index * (single ? 1 : 2), single ? 1 : 2, w);
    return w[single ? 0 : 1];
  }
  Vector sent(const Vector& v, std::size_t worker, std::uint64_t message) const {
    const auto d = static_cast<std::size_t>(dim());
    Vector out = v;
    const Wide size = norm(v);
    if (c_.method == MethodKind::dsignsgd)
      for (Wide& x : out) x = x > 0 ? 1 : x < 0 ? -1 : 0;
    if (c_.method == MethodKind::clipped_dsgd && size > Wide(c_.clip))
      for (Wide& x : out) x *= Wide(c_.clip) / size;
    if (c_.method == MethodKind::dnsgd && c_.each_worker)
      for (Wide& x : out) x = size > 0 ? x / size : 0;
    const auto chance = [&](std::size_t j) { return (Wide(word(message * d + j)) + Wide(0.5)) * Wide(0x1p-32); };
    switch (c_.compressor.kind) {
      case CompressorKind::qsgd:
        for (std::size_t j = 0; j < d; ++j) {
          const Wide s = c_.compressor.s, level = s * std::fabs(v[j]) / size, below = std::floor(level);
          out[j] = std::copysign(size * (below + (chance(j) < level - below ? 1 : 0)) / s, v[j]);
        }
        break;
      case CompressorKind::natural:
        for (std::size_t j = 0; j < d; ++j) {
          const Wide power = std::exp2(std::floor(std::log2(std::fabs(v[j]))));
          out[j] = std::copysign(chance(j) < std::fabs(v[j]) / power - 1 ? 2 * power : power, v[j]);
        }
        break;
      case CompressorKind::top_k: {
        std::vector<std::size_t> order(d);
        std::iota(order.begin(), order.end(), std::size_t(0));
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return std::fabs(v[a]) > std::fabs(v[b]); });
        for (std::size_t i = static_cast<std::size_t>(c_.workers.k[worker]); i < d; ++i) out[order[i]] = 0;
        break;
      }
      default:
        break;
    }
    return out;
  }

  const Experiment& e_;
  const CurveConfig& c_;
  Objective objective_;
  Vector x_, velocity_, square_;
  std::vector<double> noise_;
};

/// Path 0 of the simulation against the reference, step by step, to `tolerance` relative to the start's size.
template <class R>
void expect_trajectory(const std::string& text, double tolerance) {
  SCOPED_TRACE(text);
  const Prepared<R> prepared(text);
  for (const Isa isa : {Isa::scalar, best_isa()}) {
    Reference reference(prepared.experiment);
    std::uint64_t seen = 0;
    trace_cpu<R>(prepared.curve.spec, 0, isa, [&](std::uint64_t step, const double* x, double, double, bool) {
      for (; seen < step; ++seen) reference.step(seen);
      for (std::size_t j = 0; j < reference.x().size(); ++j)
        ASSERT_NEAR(x[j], static_cast<double>(reference.x()[j]), tolerance) << "step " << step << ", coordinate " << j;
    });
    EXPECT_EQ(seen, prepared.curve.spec.n_steps);
  }
}

struct Case {
  std::string objective, noise, workers, curve;
};
std::vector<Case> cases() {
  const std::string quadratic = "kind = \"quadratic\"\ndim = 7\nspectrum = { kind = \"linear\", min = 0.1, max = 1.3 }",
                    cosh = "kind = \"cosh\"\ndim = 3\nstart = [2.0, -1.0, 0.5]",
                    quartic = "kind = \"quartic\"\ndim = 2\nstart = [1.5, -0.7]";
  const std::string t3 = "law = \"student_t\"\nnu = 3.0", affine = "scale = 0.5\naffine = 0.4";
  const std::string two = "count = 2", three = "count = 3\nscale = [0.5, 1.0, 2.0]\nbatch = [1, 4, 2]";
  const auto dcsgd = [](const std::string& compressor) {
    return "method = \"dcsgd\"\neta = 0.05\ncompressor = { " + compressor + " }";
  };
  return {
      {quadratic, t3, three, "method = \"dnsgd\"\neta = 0.05"},
      {quadratic, affine, two, "method = \"dnsgd\"\nat = \"worker\"\neta = 0.05"},
      {quadratic, t3, three, "method = \"clipped_dsgd\"\nclip = 2.0\neta = 0.05"},
      {cosh, "scale = 0.3", "", "method = \"clipped_dsgd\"\nclip = 1.0\neta = 0.1"},
      {quadratic, affine, three, "method = \"heavy_ball\"\neta = 0.05\nmomentum = 0.7"},
      {cosh, "scale = 0.2", two, "method = \"heavy_ball\"\neta = 0.05\nschedule = { kind = \"cosine\", warmup = 5 }"},
      {quadratic, t3, three, "method = \"adam\"\neta = 0.02"},
      {quartic, "scale = 0.2", two, "method = \"adam\"\neta = 0.02\nbeta1 = 0.5\nbeta2 = 0.9\nepsilon = 1e-3"},
      {quadratic, "", "", "method = \"adam\"\neta = 0.02\nbeta1 = 0.0\nbeta2 = 0.0"},
      {quadratic, "", two, dcsgd("kind = \"qsgd\", s = 3")},
      {quadratic, t3, three, dcsgd("kind = \"natural\"")},
      {quadratic, "", three, dcsgd("kind = \"top_k\", k = 3")},
      {quadratic, affine, "count = 2\nk = [1, 7]", dcsgd("kind = \"top_k\"")},
      {cosh, "scale = 0.5", two,
       "method = \"dsgd\"\neta = 0.1\nadaptive = { kind = \"gradient_norm\", c = 0.5, q = 1.3 }"},
      {cosh, "scale = 0.5", two,
       "method = \"dsgd\"\neta = 0.1\nadaptive = { kind = \"gradient_norm\", stochastic = true }\n"
       "schedule = { kind = \"exponential\", rate = 0.03 }"},
      {cosh, affine, two, "method = \"dsgd\"\neta = 0.1\nadaptive = { kind = \"l0l1\", theta = 0.7 }"},
      {quartic, "scale = 0.5", "", "method = \"dsgd\"\neta = 0.1\nadaptive = { kind = \"l0l1\", L0 = 2.0, L1 = 3.0 }"},
      {quartic, "scale = 0.5", two, "method = \"dsgd\"\neta = 0.3\nadaptive = { kind = \"hessian_norm\" }"},
      {cosh, affine, two,
       "method = \"dsignsgd\"\neta = 0.05\nadaptive = { kind = \"hessian_norm\", theta = 0.02 }\n"
       "schedule = { kind = \"step\", every = 7, factor = 0.5 }"},
      {cosh, "scale = 0.5", two, "method = \"dnsgd\"\neta = 0.1\nadaptive = { kind = \"gradient_norm\", q = 0.5 }"},
  };
}

TEST(Methods, EveryStepIsThatOfTheDefinition) {
  for (const Case& c : cases()) {
    const std::string top = "paths = 32\nsteps = 40\ncheckpoints = 40", direct = "sampling = \"direct\"\n";
    expect_trajectory<double>(text_of("double", top, c.objective, c.noise, c.workers, direct + c.curve), 2e-13);
    // A float path may take another decision where a random choice is close: none does for this seed.
    expect_trajectory<float>(text_of("float", top, c.objective, c.noise, c.workers, direct + c.curve), 2e-5);
  }
}

/// Statistics of a curve's last record.
template <class R>
Record last_record(const std::string& text) {
  return Prepared<R>(text).run(best_isa(), 2).records.back();
}

TEST(Methods, RandKPlainIsRandKWithAStepOfKOverDTimesEta) {
  const auto text = [](const std::string& eta, const std::string& kind) {
    return text_of("double", "paths = 4096\nsteps = 50\ncheckpoints = 1",
                   "kind = \"quadratic\"\ndim = 8\nspectrum = { kind = \"linear\", min = 0.5, max = 1.0 }", "",
                   "count = 3",
                   "method = \"dcsgd\"\neta = " + eta + "\ncompressor = { kind = \"" + kind + "\", k = 2 }");
  };
  const Record plain = last_record<double>(text("0.2", "rand_k_plain")),
               scaled = last_record<double>(text("0.05", "rand_k"));
  EXPECT_NEAR(plain.sum / scaled.sum, 1.0, 1e-12);
}

TEST(Methods, InOneDimensionNormalisedWorkersAreSigns) {
  const auto text = [](const std::string& method) {
    return text_of("float", "paths = 3000\nsteps = 60\ncheckpoints = 6", "kind = \"cosh\"",
                   "law = \"student_t\"\nnu = 1.0", "count = 3", method);
  };
  const SimResult normalised =
                      Prepared<float>(text("method = \"dnsgd\"\nat = \"worker\"\neta = 0.05")).run(best_isa(), 1),
                  signs = Prepared<float>(text("method = \"dsignsgd\"\nsampling = \"direct\"\neta = 0.05"))
                              .run(best_isa(), 1);
  for (std::size_t c = 0; c < signs.records.size(); ++c) {
    EXPECT_EQ(normalised.records[c].sum, signs.records[c].sum);
    EXPECT_EQ(normalised.records[c].m2, signs.records[c].m2);
  }
}

TEST(Methods, HeavyBallHasTheExactStationaryVarianceOfItsLinearRecursion) {
  // x' = x - eta v', v' = beta v + h x + sigma zeta / sqrt(N): E x^2 = eta sigma^2 (1 + beta) /
  // (h (1 - beta) (2 (1 + beta) - eta h) N), the stationary solution of the second-moment equations.
  const double eta = 0.3, beta = 0.6, h = 1.0, sigma = 0.5, n = 2.0;
  const auto record =
      last_record<double>(text_of("double", "paths = 65536\nsteps = 200\ncheckpoints = 1",
                                  "kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }",
                                  "scale = 0.5", "count = 2", "method = \"heavy_ball\"\neta = 0.3\nmomentum = 0.6"));
  const double exact = 0.5 * h * eta * sigma * sigma * (1 + beta) / (h * (1 - beta) * (2 * (1 + beta) - eta * h) * n);
  const double paths = static_cast<double>(record.finite), mean = record.sum / paths;
  EXPECT_TRUE(stat::near(mean, exact, std::sqrt(record.m2 / (paths * (paths - 1)))));
}

// ---------------------------------------------------------------------- compressors
template <class R>
void expect_unbiased(const std::string& kind, const std::vector<double>& v, int levels, double omega_limit) {
  SCOPED_TRACE(kind + ", " + std::to_string(sizeof(R)) + " bytes");
  const int dim = static_cast<int>(v.size()), n = 200000;
  std::vector<std::vector<double>> out(v.size());
  std::vector<double> error;
  const auto norm = scaled_norm<R>(dim, [&](int j) { return static_cast<R>(v[static_cast<std::size_t>(j)]); });
  double size = 0.0;
  for (const double x : v) size += x * x;
  std::vector<std::uint32_t> words(v.size());
  for (int i = 0; i < n; ++i) {
    random_words(5, 3, static_cast<std::uint64_t>(i) * v.size(), v.size(), words.data());
    double square = 0.0;
    for (std::size_t j = 0; j < v.size(); ++j) {
      const R x = static_cast<R>(v[j]);
      const R c = kind == "qsgd" ? quantised<R>(x, norm, static_cast<R>(levels), word_uniform<R>(words[j]))
                                 : rounded_to_power<R>(x, words[j]);
      out[j].push_back(static_cast<double>(c));
      square += (static_cast<double>(c) - v[j]) * (static_cast<double>(c) - v[j]);
    }
    error.push_back(square / size);
  }
  for (std::size_t j = 0; j < v.size(); ++j) {
    const auto m = stat::moments_of_sample(out[j]);
    EXPECT_TRUE(stat::near(m.mean, v[j], m.standard_error, 1e-6 * std::fabs(v[j]))) << j;
  }
  const auto omega = stat::moments_of_sample(error);
  EXPECT_LE(omega.mean - 5.5 * omega.standard_error, omega_limit);
  // Exactly: sum |v|^2/s^2 f (1 - f) with f the fraction between two levels; sum (v - p)(2p - v) between two powers.
  double exact = 0.0;
  for (const double x : v) {
    if (x == 0.0) continue;
    const double a = std::fabs(x), power = std::exp2(std::floor(std::log2(a)));
    const double level = levels * a / std::sqrt(size), f = level - std::floor(level);
    exact += kind == "qsgd" ? size / (levels * levels) * f * (1 - f) : (a - power) * (2 * power - a);
  }
  EXPECT_TRUE(stat::near(omega.mean, exact / size, omega.standard_error, 1e-6));
}

TEST(Qsgd, IsUnbiasedWithOmegaAtMostMinOfDOverS2AndRootDOverS) {
  const std::vector<double> v = {0.3, -1.7, 0.0, 2.5, -0.01, 1e-3, 4.0};
  const double d = static_cast<double>(v.size());
  for (const int s : {1, 2, 5}) {
    expect_unbiased<float>("qsgd", v, s, std::min(d / (s * s), std::sqrt(d) / s));
    expect_unbiased<double>("qsgd", v, s, std::min(d / (s * s), std::sqrt(d) / s));
  }
}
TEST(Natural, IsUnbiasedWithOmegaAtMostAnEighth) {
  // 4/3 in units of its power is the worst: omega = 1/8.
  for (const std::vector<double>& v : {std::vector<double>{0.3, -1.7, 0.0, 2.5, -0.01, 1e-3, 4.0}, {4.0 / 3.0}}) {
    expect_unbiased<float>("natural", v, 1, 0.125);
    expect_unbiased<double>("natural", v, 1, 0.125);
  }
}
TEST(Natural, KeepsPowersOfTwoZerosInfinitiesAndNaN) {
  for (const float v : {1.0f, -0.5f, 0x1p-126f, 0x1p127f, 0.0f, -0.0f, INFINITY, -INFINITY})
    for (const std::uint32_t word : {0u, 0xffffffffu}) EXPECT_EQ(as_bits(rounded_to_power<float>(v, word)), as_bits(v));
  EXPECT_TRUE(std::isnan(rounded_to_power<float>(NAN, 0u)));
  // Below the smallest normal number: that, or 0.
  EXPECT_EQ(rounded_to_power<float>(0x1p-127f, 0u), 0x1p-126f);
  EXPECT_EQ(rounded_to_power<float>(0x1p-127f, 0xffffffffu), 0.0f);
}

TEST(TopK, KeepsTheKLargestAndOfEqualOnesTheFirst) {
  const std::vector<std::vector<float>> vectors = {
      {1.0f, -3.0f, 3.0f, 0.0f, 3.0f, -1.0f}, {0.0f, 0.0f, 0.0f}, {-2.0f}, {1e-45f, -1e38f, INFINITY, 1e-45f}};
  for (const auto& v : vectors) {
    const int d = static_cast<int>(v.size());
    for (int k = 1; k <= d; ++k) {
      std::vector<std::size_t> order(v.size());
      std::iota(order.begin(), order.end(), std::size_t(0));
      std::stable_sort(order.begin(), order.end(),
                       [&](std::size_t a, std::size_t b) { return std::fabs(v[a]) > std::fabs(v[b]); });
      std::vector<float> expected(v.size(), 0.0f), kept(v.size(), -7.0f);
      for (int i = 0; i < k; ++i) expected[order[static_cast<std::size_t>(i)]] = v[order[static_cast<std::size_t>(i)]];
      keep_largest<float>(
          d, k, [&](int j) { return v[static_cast<std::size_t>(j)]; },
          [&](int j, float x) { kept[static_cast<std::size_t>(j)] = x; });
      EXPECT_EQ(kept, expected) << "k = " << k;
    }
  }
}

TEST(Normalised, HasLengthOneAtEveryScaleAndZeroStaysZero) {
  for (const double scale : {1e-300, 1e-8, 1.0, 1e12, 1e300}) {
    const std::vector<double> v = {3.0 * scale, -4.0 * scale, 0.0};
    const auto norm = scaled_norm<double>(3, [&](int j) { return v[static_cast<std::size_t>(j)]; });
    EXPECT_DOUBLE_EQ(normalised(v[0], norm), 0.6);
    EXPECT_DOUBLE_EQ(normalised(v[1], norm), -0.8);
    EXPECT_EQ(clipped(v[1], norm, 5.1 * scale), v[1]);
    EXPECT_DOUBLE_EQ(clipped(v[1], norm, 1.0 * scale), -0.8 * scale);
  }
  const auto zero = scaled_norm<float>(2, [](int) { return 0.0f; });
  EXPECT_EQ(normalised(0.0f, zero), 0.0f);
  EXPECT_EQ(clipped(0.0f, zero, 1.0f), 0.0f);
  EXPECT_EQ(quantised(0.0f, zero, 4.0f, 0.5f), 0.0f);
}

TEST(Adam, NeitherOverflowsNorStallsUnderHugeGradients) {
  SimSpec<float> spec;
  spec.beta1 = 0.9f;
  spec.root_beta2 = std::sqrt(0.999f);
  spec.root_rest2 = std::sqrt(0.001f);
  spec.epsilon = 1e-8f;
  float m = 0.0f, u = 0.0f;
  const float first = adam_move<float>(spec, 1e30f, 10.0f, 1.0f / std::sqrt(0.001f), m, u);
  EXPECT_NEAR(first, 1.0f, 1e-4f);
  EXPECT_TRUE(std::isfinite(u));
  for (int i = 0; i < 20000; ++i) adam_move<float>(spec, 1.0f, 1.0f, 1.0f, m, u);
  EXPECT_LT(u, 1e27f);  // the memory of it falls by sqrt(0.999) a step
}

TEST(BiasCorrection, IsOneOverOneMinusBetaToTheN) {
  for (const double beta : {0.0, 0.5, 0.9, 0.999, 1.0 - 1e-9})
    for (const double n : {1.0, 2.0, 37.0, 1e6}) {
      const Wide exact = 1 / -std::expm1(n * std::log(Wide(beta)));
      EXPECT_NEAR(bias_correction(std::log(beta), n) / static_cast<double>(exact), 1.0, 1e-14) << beta << " " << n;
    }
}

}  // namespace
}  // namespace pathbound
