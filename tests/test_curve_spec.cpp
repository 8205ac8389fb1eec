// SPDX-License-Identifier: Apache-2.0
// What the kernels are told of a curve: CurveSpec against the file's keys and the formulas of theory sections 2 to 4.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <string>

#include "host/bounds.hpp"
#include "tests/settings.hpp"

namespace pathbound {
namespace {

const std::string quadratic = "kind = \"quadratic\"\ndim = 4\nspectrum = { kind = \"linear\", min = 0.5, max = 2.0 }";

/// `curve`: its keys but for the name.
template <class R>
Prepared<R> prepared(const std::string& curve, const std::string& objective = quadratic, const std::string& noise = "",
                     const std::string& workers = "") {
  const std::string precision = sizeof(R) == 4 ? "float" : "double";
  return Prepared<R>(text_of(precision, "paths = 32\nsteps = 10", objective, noise, workers, curve));
}

template <class R>
class CurveSpecs : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(CurveSpecs, Precisions);

TYPED_TEST(CurveSpecs, CarryTheKeysOfTheirMethod) {
  using R = TypeParam;
  const auto server = prepared<R>("method = \"dnsgd\"\neta = 0.1"),
             worker = prepared<R>("method = \"dnsgd\"\nat = \"worker\"\neta = 0.1"),
             clipped = prepared<R>("method = \"clipped_dsgd\"\nclip = 0.3\neta = 0.1"),
             ball = prepared<R>("method = \"heavy_ball\"\nmomentum = 0.7\neta = 0.1"),
             adam = prepared<R>("method = \"adam\"\nbeta1 = 0.8\nbeta2 = 0.99\nepsilon = 1e-3\neta = 0.1"),
             plain = prepared<R>("method = \"adam\"\nbeta1 = 0\nbeta2 = 0\neta = 0.1");
  EXPECT_EQ(server.curve.spec.method, MethodKind::dnsgd);
  EXPECT_FALSE(server.curve.spec.each_worker);
  EXPECT_TRUE(worker.curve.spec.each_worker);
  EXPECT_EQ(clipped.curve.spec.method, MethodKind::clipped_dsgd);
  EXPECT_EQ(clipped.curve.spec.clip, static_cast<R>(0.3));
  EXPECT_EQ(ball.curve.spec.method, MethodKind::heavy_ball);
  EXPECT_EQ(ball.curve.spec.momentum, static_cast<R>(0.7));
  const SimSpec<R>& a = adam.curve.spec;
  EXPECT_EQ(a.method, MethodKind::adam);
  EXPECT_EQ(a.beta1, static_cast<R>(0.8));
  EXPECT_EQ(a.epsilon, static_cast<R>(1e-3));
  EXPECT_EQ(a.root_beta2, static_cast<R>(std::sqrt(0.99)));
  EXPECT_EQ(a.root_rest2, static_cast<R>(std::sqrt(1.0 - 0.99)));
  EXPECT_NEAR(a.log_beta1, std::log(0.8), 1e-16);
  EXPECT_NEAR(a.log_beta2, std::log(0.99), 1e-17);
  EXPECT_EQ(plain.curve.spec.root_beta2, R(0));
  EXPECT_EQ(plain.curve.spec.root_rest2, R(1));
  EXPECT_EQ(plain.curve.spec.log_beta1, -INFINITY);
  EXPECT_EQ(plain.curve.spec.log_beta2, -INFINITY);
}

TYPED_TEST(CurveSpecs, CarryTheCompressor) {
  using R = TypeParam;
  const auto with = [](const std::string& compressor) {
    return prepared<R>("method = \"dcsgd\"\neta = 0.1\ncompressor = { kind = " + compressor + " }", quadratic, "",
                       "count = 2");
  };
  const auto scaled = with("\"rand_k\", k = 3"), plain = with("\"rand_k_plain\", k = 3"),
             top = with("\"top_k\", k = 3"), levels = with("\"qsgd\", s = 5"), natural = with("\"natural\"");
  EXPECT_EQ(scaled.curve.spec.workers[1].inverse_keep, static_cast<R>(4.0 / 3.0));
  // rand_k without its factor.
  EXPECT_EQ(plain.curve.spec.compressor, CompressorKind::rand_k);
  EXPECT_EQ(plain.curve.spec.workers[1].keep, 3);
  EXPECT_EQ(plain.curve.spec.workers[1].inverse_keep, R(1));
  EXPECT_EQ(top.curve.spec.compressor, CompressorKind::top_k);
  EXPECT_EQ(top.curve.spec.workers[1].keep, 3);
  EXPECT_EQ(top.curve.spec.workers[1].inverse_keep, R(1));
  EXPECT_EQ(levels.curve.spec.compressor, CompressorKind::qsgd);
  EXPECT_EQ(levels.curve.spec.levels, R(5));
  EXPECT_EQ(natural.curve.spec.compressor, CompressorKind::natural);
}

TYPED_TEST(CurveSpecs, CarryTheFactorOfTheGradientNorm) {
  using R = TypeParam;
  const auto p = prepared<R>(
      "method = \"dsgd\"\neta = 0.1\nadaptive = { kind = \"gradient_norm\", c = 2.5, q = 0.75, stochastic = true }");
  const AdaptiveSpec<R>& a = p.curve.spec.adaptive;
  EXPECT_EQ(a.kind, AdaptiveKind::gradient_norm);
  EXPECT_TRUE(a.stochastic);
  EXPECT_EQ(a.inverse_c, static_cast<R>(0.4));
  EXPECT_EQ(a.minus_q, static_cast<R>(-0.75));
  EXPECT_EQ(prepared<R>("method = \"dsgd\"\neta = 0.1").curve.spec.adaptive.kind, AdaptiveKind::none);
}

TYPED_TEST(CurveSpecs, ShareOfTheStepIsThetaOverKEta) {
  using R = TypeParam;
  struct Case {
    std::string method, noise, workers;
    double K;
  };
  // K = 1 + (mean omega_i + mean (1 + omega_i) rho^2 Var zeta / B_i) / N.
  const double pi = std::numbers::pi;
  for (const Case& c : std::vector<Case>{
           {"method = \"dsgd\"", "", "count = 3", 1.0},
           {"method = \"dnsgd\"", "scale = 5", "count = 3", 1.0},
           {"method = \"dsgd\"", "affine = 0.5", "count = 2\nbatch = [1, 4]", 1.0 + 0.25 * (1.0 + 0.25) / 2.0 / 2.0},
           {"method = \"dsgd\"", "law = \"student_t\"\nnu = 4\naffine = 0.5", "", 1.0 + 0.25 * 2.0},
           {"method = \"dsgd\"", "law = \"student_t\"\nnu = 1", "", 1.0},  // no variance, and none needed
           {"method = \"dsgd\"", "law = \"laplace\"\naffine = 1", "", 3.0},
           {"method = \"dsgd\"", "law = \"logistic\"\naffine = 1", "", 1.0 + pi * pi / 3.0},
           {"method = \"dsgd\"", "law = \"contaminated_gaussian\"\neps = 0.1\nk = 3\naffine = 1", "", 1.0 + 0.9 + 0.9},
           {"method = \"dsgd\"", "law = \"alpha_stable\"\nalpha = 2\naffine = 1", "", 3.0},
           {"method = \"dcsgd\"\ncompressor = { kind = \"rand_k\", k = 1 }", "", "count = 3", 1.0 + 3.0 / 3.0},
           {"method = \"dcsgd\"\ncompressor = { kind = \"rand_k\" }", "affine = 0.5", "count = 2\nk = [1, 2]",
            1.0 + (2.0 + 0.25 * (4.0 + 2.0) / 2.0) / 2.0},
           {"method = \"dcsgd\"\ncompressor = { kind = \"bernoulli\", p = 0.25 }", "", "", 4.0},
           {"method = \"dcsgd\"\ncompressor = { kind = \"natural\" }", "", "", 1.125},
           {"method = \"dcsgd\"\ncompressor = { kind = \"qsgd\", s = 1 }", "", "", 1.0 + 2.0},   // sqrt(d)/s
           {"method = \"dcsgd\"\ncompressor = { kind = \"qsgd\", s = 4 }", "", "", 1.0 + 0.25},  // d/s^2
           {"method = \"dcsgd\"\ncompressor = { kind = \"rand_k_plain\", k = 1 }", "", "", 1.0},
           {"method = \"dcsgd\"\ncompressor = { kind = \"top_k\", k = 1 }", "", "", 1.0}}) {
    for (const std::string kind : {"l0l1", "hessian_norm"}) {
      const auto p = prepared<R>(c.method + "\neta = 0.2\nadaptive = { kind = \"" + kind + "\", theta = 1.5 }",
                                 quadratic, c.noise, c.workers);
      EXPECT_NEAR(second_moment_factor(p.experiment.curves[0], 4), c.K, 1e-14) << c.method << c.noise;
      EXPECT_NEAR(p.curve.spec.adaptive.share, 1.5 / (c.K * 0.2), 1e-6) << c.method << c.noise;
    }
  }
}

TYPED_TEST(CurveSpecs, TakeTheConstantsOfTheObjectiveUnlessTheyAreGiven) {
  using R = TypeParam;
  const auto with = [](const std::string& keys, const std::string& objective) {
    return prepared<R>("method = \"dsgd\"\neta = 0.1\nadaptive = { kind = \"l0l1\"" + keys + " }", objective);
  };
  const auto constants = [](const Prepared<R>& p) {
    return std::pair<double, double>(p.curve.spec.adaptive.L0, p.curve.spec.adaptive.L1);
  };
  using Pair = std::pair<double, double>;
  EXPECT_EQ(constants(with("", quadratic)), Pair(2.0, 0.0));
  EXPECT_EQ(constants(with("", "kind = \"cosh\"")), Pair(1.0, 1.0));
  EXPECT_EQ(constants(with("", "kind = \"quartic\"\nL1 = 2")), Pair(1.0, 2.0));
  EXPECT_EQ(constants(with(", L0 = 0.5", "kind = \"cosh\"")), Pair(0.5, 1.0));
  EXPECT_EQ(constants(with(", L1 = 0.5", "kind = \"cosh\"")), Pair(1.0, 0.5));
  EXPECT_EQ(constants(with(", L0 = 3, L1 = 0.25", "kind = \"saddle\"\neigenvalues = [-1]\nlam = 1")), Pair(3.0, 0.25));
}

TYPED_TEST(CurveSpecs, KnowTheHessianWhereItIsTheSameEverywhere) {
  using R = TypeParam;
  const std::string curve = "method = \"dsgd\"\neta = 0.1\nadaptive = { kind = \"hessian_norm\" }";
  const auto squares = prepared<R>(curve, "kind = \"least_squares\"\ndim = 4\nrows = 9");
  EXPECT_EQ(squares.curve.spec.adaptive.hessian, static_cast<R>(squares.objective.constants().L.value.value()));
  EXPECT_GT(squares.curve.spec.adaptive.hessian, R(0));
  EXPECT_EQ(prepared<R>(curve).curve.spec.adaptive.hessian, R(0));  // from x, coordinate by coordinate
}

TYPED_TEST(CurveSpecs, CosineRunsOverTheStepsOfTheCurve) {
  using R = TypeParam;
  const auto p = prepared<R>("method = \"dsgd\"\neta = 0.1\nsteps = 77\nschedule = { kind = \"cosine\", warmup = 3 }");
  EXPECT_EQ(p.curve.spec.n_steps, 77u);
  EXPECT_EQ(p.curve.spec.schedule.steps, 77.0);
  EXPECT_EQ(p.curve.spec.schedule.warmup, 3.0);
}

}  // namespace
}  // namespace pathbound
