// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "host/bounds.hpp"
#include "host/experiment.hpp"

#ifndef PATHBOUND_FUZZ_ROUNDS
#define PATHBOUND_FUZZ_ROUNDS 4000
#endif

namespace pathbound {
namespace {

// The example of docs/experiment.md. Line numbers in the tests below count from its first line.
const std::string example = R"(title = "Theorem 3 on a quadratic"
seed = 1                 # line 2
paths = 65536
steps = 500
checkpoints = 50         # line 5
precision = "float"
limit = 1e30

[objective]
kind = "quadratic"       # line 10
dim = 64
spectrum = { kind = "geometric", min = 0.1, max = 1.0 }
start = 1.0

[noise]                  # line 15
law = "gaussian"
scale = 1.0
affine = 0.0

[workers]                # line 20
count = 8
batch = 1

[[curve]]
name = "dcsgd"           # line 25
method = "dcsgd"
eta = 0.02
compressor = { kind = "rand_k", k = 16 }
schedule = { kind = "constant" }
adaptive = { kind = "none" }   # line 30

[[bound]]
theorem = "B3"
curve = "dcsgd"
expect = "holds"         # line 35
)";

/// The example with `from` replaced by `to`; with an empty `from`, `to` is appended.
std::string with(const std::string& from, const std::string& to, std::string text = example) {
  if (from.empty()) return text + to;
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

/// An experiment around one [objective].
std::string with_objective(const std::string& objective) {
  return "paths = 10\nsteps = 10\n[objective]\n" + objective +
         "\n[[curve]]\nname = \"a\"\nmethod = \"dsgd\"\neta = 0.1\n";
}

/// The example with a model of its curve, from line 36. Empty values are left out.
std::string with_model(const std::string& model, const std::string& more = "", const std::string& text = example,
                       const std::string& of = "dcsgd") {
  return text + "[[curve]]\nname = \"its SDE\"\nmodel = \"" + model + "\"\nof = \"" + of + "\"\n" + more;
}

/// The same for a curve under DSignSGD, with `noise` in place of the example's scale.
std::string with_sign_model(const std::string& model, const std::string& more, const std::string& noise,
                            const std::string& text = example) {
  std::string sign = with("method = \"dcsgd\"", "method = \"dsignsgd\"", with("law = \"gaussian\"\n", "", text));
  sign = with("compressor = { kind = \"rand_k\", k = 16 }\n", "\n", sign);
  return with_model(model, more, with("scale = 1.0\naffine = 0.0\n", noise + "\n", sign));
}

/// The example with another method and, on line 28 in place of the compressor, a key of its own.
std::string with_method(const std::string& method, const std::string& key) {
  return with("compressor = { kind = \"rand_k\", k = 16 }", key,
              with("method = \"dcsgd\"", "method = \"" + method + "\""));
}

/// The text with an adaptive factor of this kind, in quotes, and keys.
std::string with_adaptive(const std::string& kind, const std::string& text = example) {
  return with("adaptive = { kind = \"none\" }", "adaptive = { kind = " + kind + " }", text);
}

/// The example on least_squares.
std::string on_least_squares(const std::string& text = example) {
  return with("spectrum = { kind = \"geometric\", min = 0.1, max = 1.0 }", "rows = 100",
              with("kind = \"quadratic\" ", "kind = \"least_squares\" ", text));
}

std::string message_of(const std::string& text, const Overrides& overrides = {}) {
  try {
    parse_experiment(text, "x.toml", overrides);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

Overrides set(std::vector<std::string> keys) {
  Overrides overrides;
  overrides.set = std::move(keys);
  return overrides;
}

/// A fresh folder, removed at the end.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "pathbound_test_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return (path_ / name).string();
  }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

/// JSON as TOML, tables inline.
std::string toml(const nlohmann::ordered_json& json, bool top = true) {
  std::string out;
  if (json.is_object()) {
    for (const auto& [key, value] : json.items())
      out += (out.empty() || top ? "" : ", ") + key + " = " + toml(value, false) + (top ? "\n" : "");
    return top ? out : "{ " + out + " }";
  }
  if (json.is_array()) {
    for (const auto& value : json) out += (out.empty() ? "" : ", ") + toml(value, false);
    return "[" + out + "]";
  }
  return json.dump();
}

TEST(Experiment, ReadsTheDocumentedExample) {
  const Experiment e = parse_experiment(example, "folder/x.toml");
  EXPECT_EQ(e.title, "Theorem 3 on a quadratic");
  EXPECT_EQ(e.source, "folder/x.toml");
  EXPECT_EQ(e.seed, 1u);
  EXPECT_EQ(e.paths, 65536u);
  EXPECT_EQ(e.steps, 500u);
  EXPECT_EQ(e.precision, Precision::single);
  EXPECT_EQ(e.limit, 1e30);
  EXPECT_EQ(e.objective.kind, ObjectiveKind::quadratic);
  ASSERT_EQ(e.objective.eigenvalues.size(), 64u);
  EXPECT_EQ(e.objective.eigenvalues.front(), 0.1);
  EXPECT_EQ(e.objective.eigenvalues.back(), 1.0);
  EXPECT_EQ(e.objective.start, std::vector<double>(64, 1.0));
  ASSERT_EQ(e.curves.size(), 1u);
  const CurveConfig& curve = e.curves[0];
  EXPECT_EQ(curve.name, "dcsgd");
  EXPECT_EQ(curve.method, MethodKind::dcsgd);
  EXPECT_EQ(curve.eta, 0.02);
  EXPECT_EQ(curve.compressor.kind, CompressorKind::rand_k);
  EXPECT_EQ(curve.compressor.k, 16);
  EXPECT_EQ(curve.noise.law.kind, LawKind::gaussian);
  EXPECT_EQ(curve.workers.count, 8);
  EXPECT_EQ(curve.workers.scale, std::vector<double>(8, 1.0));
  EXPECT_EQ(curve.workers.batch, std::vector<double>(8, 1.0));
  EXPECT_EQ(curve.workers.k, std::vector<int>(8, 16));
  EXPECT_EQ(curve.paths, 65536u);
  EXPECT_EQ(curve.sampling, "auto");
  ASSERT_EQ(curve.checkpoint_steps.size(), 51u);
  EXPECT_EQ(curve.checkpoint_steps[1], 10u);
  ASSERT_EQ(e.bounds.size(), 1u);
  EXPECT_EQ(e.bounds[0].theorem, "B3");
  EXPECT_EQ(e.bounds[0].curve, "dcsgd");
  EXPECT_EQ(e.bounds[0].expect, Expectation::holds);
  EXPECT_EQ(e.bounds[0].margin, 0.005);
  EXPECT_EQ(e.bounds[0].confidence, 0.99);
}

TEST(Experiment, FillsEveryDefaultOfTheSmallestFile) {
  const Experiment e = parse_experiment(with_objective("kind = \"cosh\""), "x.toml");
  EXPECT_EQ(e.title, "untitled");
  EXPECT_EQ(e.seed, 1u);
  EXPECT_EQ(e.checkpoints, 10);
  EXPECT_EQ(e.objective.dim, 1);
  EXPECT_EQ(e.objective.start, std::vector<double>{1.0});
  const CurveConfig& curve = e.curves[0];
  EXPECT_EQ(curve.noise.law.kind, LawKind::gaussian);
  EXPECT_EQ(curve.noise.scale, 1.0);
  EXPECT_EQ(curve.workers.count, 1);
  EXPECT_EQ(curve.compressor.kind, CompressorKind::identity);
  EXPECT_EQ(curve.schedule.kind, ScheduleKind::constant);
  EXPECT_TRUE(curve.workers.k.empty());
  EXPECT_EQ(normalised(e).dump(),
            R"({"title":"untitled","seed":1,"paths":10,"steps":10,"checkpoints":10,"precision":)"
            R"("float","limit":1e+30,"objective":{"kind":"cosh","dim":1,"start":1.0},"curve":[{)"
            R"("name":"a","method":"dsgd","eta":0.1,"compressor":{"kind":"identity"},"schedule":{)"
            R"("kind":"constant"},"adaptive":{"kind":"none"},"sampling":"auto","seed":1,"paths":10,)"
            R"("steps":10,"noise":{"law":"gaussian","scale":1.0,"affine":0.0},"workers":{"count":1,)"
            R"("scale":1.0,"batch":1.0}}],"bound":[]})");
}

TEST(Experiment, ReadsEveryObjective) {
  const auto read = [](const std::string& text) { return parse_experiment(with_objective(text), "x.toml").objective; };
  EXPECT_EQ(read("kind = \"quartic\"\nL1 = 2").L1, 2.0);
  EXPECT_EQ(read("kind = \"sine_pl\"\nmu = 0.03125").mu, 0.03125);
  const ObjectiveConfig list =
      read("kind = \"quadratic\"\ndim = 3\nspectrum = { kind = \"list\", eigenvalues = [3, 1, 2.5] }");
  EXPECT_EQ(list.eigenvalues, (std::vector<double>{3.0, 1.0, 2.5}));
  EXPECT_EQ(list.spectrum_min, 1.0);
  const ObjectiveConfig linear =
      read("kind = \"quadratic\"\ndim = 3\nspectrum = { kind = \"linear\", min = 1, max = 2 }\nstart = [1, -2, 0]");
  EXPECT_EQ(linear.eigenvalues, (std::vector<double>{1.0, 1.5, 2.0}));
  EXPECT_EQ(linear.start, (std::vector<double>{1.0, -2.0, 0.0}));
  const ObjectiveConfig squares = read("kind = \"least_squares\"\ndim = 8\nrows = 5");
  EXPECT_EQ(squares.rank, 5);
  EXPECT_EQ(squares.condition, 10.0);
  EXPECT_EQ(squares.data_seed, 1u);
  const ObjectiveConfig thin = read("kind = \"least_squares\"\ndim = 8\nrows = 5\nrank = 1");
  EXPECT_EQ(thin.condition, 1.0);
  const ObjectiveConfig logistic = read("kind = \"logistic\"\ndim = 4\nrows = 100\ndata_seed = 7\nlam = 0.1");
  EXPECT_EQ(logistic.rows, 100);
  EXPECT_EQ(logistic.data_seed, 7u);
  EXPECT_EQ(logistic.lam, 0.1);
  const ObjectiveConfig saddle = read("kind = \"saddle\"\ndim = 2\neigenvalues = [1, -1]\nlam = 0.5");
  EXPECT_EQ(saddle.eigenvalues, (std::vector<double>{1.0, -1.0}));
}

TEST(Experiment, SpectraRunFromMinToMax) {
  const auto eigenvalues = [](const std::string& kind, int dim, double min, double max) {
    std::ostringstream text;
    text.precision(17);
    text << "kind = \"quadratic\"\ndim = " << dim << "\nspectrum = { kind = \"" << kind << "\", min = " << min
         << ", max = " << max << " }";
    return parse_experiment("precision = \"double\"\n" + with_objective(text.str()), "x.toml").objective.eigenvalues;
  };
  EXPECT_EQ(eigenvalues("geometric", 1, 0.25, 4), std::vector<double>{0.25});
  EXPECT_EQ(eigenvalues("linear", 1, 0.25, 4), std::vector<double>{0.25});
  EXPECT_EQ(eigenvalues("geometric", 3, 0.25, 4), (std::vector<double>{0.25, 1.0, 4.0}));
  for (const auto& [dim, min, max] :
       {std::tuple{2, 0.1, 1.0}, {64, 0.1, 1.0}, {1000, 1e-6, 3.0}, {65536, 1e-300, 1e300}, {50, 2.0, 2.0}}) {
    const auto h = eigenvalues("geometric", dim, min, max);
    ASSERT_EQ(h.size(), static_cast<std::size_t>(dim));
    EXPECT_EQ(h.front(), min);
    EXPECT_EQ(h.back(), max);
    EXPECT_TRUE(std::is_sorted(h.begin(), h.end()));
    for (int j = 0; j < dim; ++j) {
      const long double x = static_cast<long double>(j) / (dim - 1);
      const long double expected =
          std::exp((1 - x) * std::log(static_cast<long double>(min)) + x * std::log(static_cast<long double>(max)));
      EXPECT_NEAR(static_cast<double>(h[static_cast<std::size_t>(j)] / expected), 1.0, 1e-14) << dim << ' ' << j;
    }
  }
}

TEST(Experiment, CheckpointsFollowTheFormula) {
  for (const auto& [n, steps] :
       {std::pair<std::uint64_t, std::uint64_t>{1, 1}, {3, 10}, {7, 7}, {50, 1099511627776}, {999, 1000}}) {
    const std::string text = with("steps = 500", "steps = " + std::to_string(steps),
                                  with("checkpoints = 50", "checkpoints = " + std::to_string(n)));
    const auto records = parse_experiment(text, "x.toml").curves[0].checkpoint_steps;
    ASSERT_EQ(records.size(), n + 1);
    for (std::uint64_t i = 0; i <= n; ++i) EXPECT_EQ(records[i], (2 * i * steps + n) / (2 * n));
    EXPECT_EQ(records.front(), 0u);
    EXPECT_EQ(records.back(), steps);
    EXPECT_EQ(std::adjacent_find(records.begin(), records.end(), std::greater_equal<>()), records.end());
  }
}

TEST(Experiment, CheckpointStepsAreTakenAsGiven) {
  const Experiment e = parse_experiment(with("checkpoints = 50", "checkpoint_steps = [0, 1, 10, 500]"), "x.toml");
  EXPECT_EQ(e.curves[0].checkpoint_steps, (std::vector<std::uint64_t>{0, 1, 10, 500}));
  EXPECT_EQ(normalised(e)["checkpoint_steps"].dump(), "[0,1,10,500]");
  EXPECT_FALSE(normalised(e).contains("checkpoints"));
}

TEST(Experiment, CurveOverridesWinKeyByKey) {
  const Experiment e = parse_experiment(with("[noise]",
                                             "[[curve]]\nname = \"own\"\nmethod = \"dsignsgd\"\neta = 1\nseed = 9\n"
                                             "paths = 7\nsteps = 20\nnoise = { law = \"multivariate_t\", nu = 1.5 }\n"
                                             "workers = { count = 2, batch = [1, 4] }\n[noise]"),
                                        "x.toml");
  const CurveConfig& own = e.curves[0];
  EXPECT_EQ(own.seed, 9u);
  EXPECT_EQ(own.paths, 7u);
  EXPECT_EQ(own.steps, 20u);
  EXPECT_EQ(own.checkpoint_steps.size(), 21u);  // min(50, 20) intervals
  EXPECT_EQ(own.noise.law.kind, LawKind::multivariate_t);
  EXPECT_EQ(own.noise.law.nu, 1.5);
  EXPECT_EQ(own.noise.scale, 1.0);
  EXPECT_EQ(own.workers.count, 2);
  EXPECT_EQ(own.workers.batch, (std::vector<double>{1.0, 4.0}));
  EXPECT_EQ(e.curves[1].workers.count, 8);
  EXPECT_EQ(e.curves[1].noise.law.kind, LawKind::gaussian);
}

TEST(Experiment, KeysOfAnotherLawAreNotInherited) {
  std::string text = with("law = \"gaussian\"", "law = \"student_t\"\nnu = 3");
  text = with("eta = 0.02", "eta = 0.02\nnoise = { law = \"gaussian\" }", text);
  EXPECT_EQ(parse_experiment(text, "x.toml").curves[0].noise.law.kind, LawKind::gaussian);
  EXPECT_EQ(parse_experiment(text, "x.toml").curves[0].noise.law.nu, 0.0);
}

TEST(Experiment, WorkersKeepDifferentNumbersOfCoordinates) {
  const Experiment e = parse_experiment(
      with("count = 8", "count = 2\nscale = [0, 2]\nk = [1, 64]", with("k = 16 }", "k = 3 }")), "x.toml");
  EXPECT_EQ(e.curves[0].workers.k, (std::vector<int>{1, 64}));
  EXPECT_EQ(e.curves[0].workers.scale, (std::vector<double>{0.0, 2.0}));
  EXPECT_EQ(parse_experiment(with("count = 8", "k = 5", with(", k = 16", "")), "x.toml").curves[0].compressor.k, 5);
}

TEST(Experiment, WorkersKLeavesOtherCurvesAlone) {
  const std::string text =
      with("count = 8", "count = 8\nk = 4", with("", "[[curve]]\nname = \"plain\"\nmethod = \"dsgd\"\neta = 1\n"));
  const Experiment e = parse_experiment(text, "x.toml");
  EXPECT_EQ(e.curves[0].workers.k, std::vector<int>(8, 4));
  EXPECT_TRUE(e.curves[1].workers.k.empty());
}

TEST(Experiment, DoublePrecisionAllowsSmallerNuAndNumbers) {
  const std::string text =
      with("precision = \"float\"", "precision = \"double\"",
           with("law = \"gaussian\"", "law = \"student_t\"\nnu = 0.06", with("eta = 0.02", "eta = 1e-300")));
  EXPECT_EQ(parse_experiment(text, "x.toml").curves[0].noise.law.nu, 0.06);
}

TEST(Experiment, ReadsEveryLaw) {
  const auto read = [](const std::string& law) {
    return parse_experiment(with("\"gaussian\"", law), "x.toml").curves[0].noise.law;
  };
  EXPECT_EQ(read("\"laplace\""), (LawSpec{LawKind::laplace, 0.0, 0.0, 0.0, 0.0}));
  EXPECT_EQ(read("\"logistic\""), (LawSpec{LawKind::logistic, 0.0, 0.0, 0.0, 0.0}));
  EXPECT_EQ(read("\"contaminated_gaussian\"\neps = 0.1\nk = 3"),
            (LawSpec{LawKind::contaminated_gaussian, 0.0, 0.0, 0.1, 3.0}));
  EXPECT_EQ(read("\"alpha_stable\"\nalpha = 2"), (LawSpec{LawKind::alpha_stable, 0.0, 2.0, 0.0, 0.0}));
}

TEST(Experiment, ReadsEveryMethodWithItsKeys) {
  const auto read = [](const std::string& method, const std::string& key) {
    return parse_experiment(with_method(method, key), "x.toml").curves[0];
  };
  EXPECT_EQ(read("dnsgd", "").method, MethodKind::dnsgd);
  EXPECT_FALSE(read("dnsgd", "").each_worker);
  EXPECT_FALSE(read("dnsgd", "at = \"server\"").each_worker);
  EXPECT_TRUE(read("dnsgd", "at = \"worker\"").each_worker);
  EXPECT_EQ(read("clipped_dsgd", "clip = 2.5").method, MethodKind::clipped_dsgd);
  EXPECT_EQ(read("clipped_dsgd", "clip = 2.5").clip, 2.5);
  EXPECT_EQ(read("heavy_ball", "").method, MethodKind::heavy_ball);
  EXPECT_EQ(read("heavy_ball", "").momentum, 0.9);
  EXPECT_EQ(read("heavy_ball", "momentum = 0").momentum, 0.0);
  const CurveConfig adam = read("adam", "");
  EXPECT_EQ(adam.method, MethodKind::adam);
  EXPECT_EQ(adam.beta1, 0.9);
  EXPECT_EQ(adam.beta2, 0.999);
  EXPECT_EQ(adam.epsilon, 1e-8);
  const CurveConfig other =
      read("adam", "beta1 = 0\nbeta2 = 0.5\nepsilon = 0.25\ncompressor = { kind = \"identity\" }");
  EXPECT_EQ(other.beta1, 0.0);
  EXPECT_EQ(other.beta2, 0.5);
  EXPECT_EQ(other.epsilon, 0.25);
}

TEST(Experiment, ReadsEveryCompressor) {
  const auto read = [](const std::string& compressor, const std::string& text = example) {
    return parse_experiment(with("\"rand_k\", k = 16", compressor, text), "x.toml").curves[0];
  };
  EXPECT_EQ(read("\"rand_k_plain\", k = 3").compressor.kind, CompressorKind::rand_k_plain);
  EXPECT_EQ(read("\"rand_k_plain\", k = 3").workers.k, std::vector<int>(8, 3));
  EXPECT_EQ(read("\"top_k\", k = 3").compressor.kind, CompressorKind::top_k);
  EXPECT_EQ(read("\"top_k\"", with("count = 8", "count = 2\nk = [1, 64]")).workers.k, (std::vector<int>{1, 64}));
  EXPECT_EQ(read("\"qsgd\", s = 65535").compressor.kind, CompressorKind::qsgd);
  EXPECT_EQ(read("\"qsgd\", s = 65535").compressor.s, 65535);
  EXPECT_TRUE(read("\"qsgd\", s = 1").workers.k.empty());
  EXPECT_EQ(read("\"natural\"").compressor.kind, CompressorKind::natural);
}

TEST(Experiment, ReadsEverySchedule) {
  const auto read = [](const std::string& schedule, const Overrides& overrides = {}) {
    return parse_experiment(with("\"constant\"", schedule), "x.toml", overrides).curves[0].schedule;
  };
  EXPECT_EQ(read("\"constant\"").warmup, 0.0);
  EXPECT_EQ(read("\"constant\", warmup = 7").warmup, 7.0);
  EXPECT_EQ(read("\"exponential\", rate = 0.25").kind, ScheduleKind::exponential);
  EXPECT_EQ(read("\"exponential\", rate = 0.25").rate, 0.25);
  const ScheduleSpec step = read("\"step\", every = 10, factor = 0.5, warmup = 3");
  EXPECT_EQ(step.kind, ScheduleKind::step);
  EXPECT_EQ(step.every, 10.0);
  EXPECT_EQ(step.factor, 0.5);
  EXPECT_EQ(step.warmup, 3.0);
  // cosine runs over the steps of its curve, wherever they come from.
  EXPECT_EQ(read("\"cosine\"").kind, ScheduleKind::cosine);
  EXPECT_EQ(read("\"cosine\"").steps, 500.0);
  EXPECT_EQ(read("\"cosine\"", set({"steps=60"})).steps, 60.0);
  EXPECT_EQ(read("\"cosine\"", set({"curve.dcsgd.steps=70"})).steps, 70.0);
  EXPECT_EQ(read("\"constant\"", set({"curve.dcsgd.schedule.kind=cosine", "curve.dcsgd.steps=80"})).steps, 80.0);
  const Experiment model = parse_experiment(
      with_model("first_order", "", with("eta = 0.02", "eta = 0.02\nsteps = 90", with("\"constant\"", "\"cosine\""))),
      "x.toml");
  EXPECT_EQ(model.curves[1].schedule.steps, 90.0);
}

TEST(Experiment, ReadsEveryAdaptiveFactor) {
  const auto read = [](const std::string& adaptive) {
    return parse_experiment(with_adaptive(adaptive), "x.toml").curves[0].adaptive;
  };
  EXPECT_EQ(read("\"none\"").kind, AdaptiveKind::none);
  const AdaptiveConfig norm = read("\"gradient_norm\"");
  EXPECT_EQ(norm.kind, AdaptiveKind::gradient_norm);
  EXPECT_EQ(norm.c, 1.0);
  EXPECT_EQ(norm.q, 1.0);
  EXPECT_FALSE(norm.stochastic);
  const AdaptiveConfig other = read("\"gradient_norm\", c = 2, q = 0, stochastic = true");
  EXPECT_EQ(other.c, 2.0);
  EXPECT_EQ(other.q, 0.0);
  EXPECT_TRUE(other.stochastic);
  const AdaptiveConfig l0l1 = read("\"l0l1\"");
  EXPECT_EQ(l0l1.kind, AdaptiveKind::l0l1);
  EXPECT_EQ(l0l1.theta, 1.0);
  EXPECT_FALSE(l0l1.L0);
  EXPECT_FALSE(l0l1.L1);
  const AdaptiveConfig given = read("\"l0l1\", theta = 0.5, L0 = 3, L1 = 0");
  EXPECT_EQ(given.theta, 0.5);
  EXPECT_EQ(given.L0, 3.0);
  EXPECT_EQ(given.L1, 0.0);
  EXPECT_EQ(read("\"hessian_norm\", theta = 2.5").kind, AdaptiveKind::hessian_norm);
  EXPECT_EQ(read("\"hessian_norm\", theta = 2.5").theta, 2.5);
  const std::string saddle = with_objective("kind = \"saddle\"\neigenvalues = [-1]\nlam = 1");
  EXPECT_EQ(message_of(saddle + "adaptive = { kind = \"l0l1\", L0 = 1, L1 = 1 }\n"), "");
  EXPECT_EQ(message_of(saddle + "adaptive = { kind = \"hessian_norm\" }\n"), "");
  EXPECT_EQ(message_of(with("method = \"dcsgd\"", "method = \"dnsgd\"",
                            with("\"rand_k\", k = 16", "\"identity\"", with_adaptive("\"l0l1\", stochastic = true")))),
            "");
}

TEST(Experiment, EveryTheoremAndAliasIsKnown) {
  for (const BoundInfo& bound : bound_registry()) {
    EXPECT_EQ(parse_experiment(with("\"B3\"", '"' + bound.theorem + '"'), "x.toml").bounds[0].theorem, bound.theorem);
    if (!bound.alias.empty()) {
      EXPECT_EQ(parse_experiment(with("\"B3\"", '"' + bound.alias + '"'), "x.toml").bounds[0].theorem, bound.theorem);
    }
  }
}

TEST(ExperimentModels, TakeEverythingElseFromTheirMethod) {
  std::string text = with("eta = 0.02",
                          "eta = 0.02\nseed = 9\npaths = 7\nsteps = 20\nsampling = \"direct\"\n"
                          "noise = { law = \"student_t\", nu = 3, affine = 0.5 }\nworkers = { count = 2, k = [3, 4] }");
  text = with("\"constant\"", "\"polynomial\", k0 = 3", text);
  const std::string model =
      "name = \"its SDE\"\nmodel = \"second_order\"\nof = \"dcsgd\"\nsubsteps = 6\nintegrator = "
      "\"weak2\"\n";
  // The model below its method, and above it.
  for (const bool below : {true, false}) {
    const Experiment e = parse_experiment(
        below ? text + "[[curve]]\n" + model : with("[[curve]]\n", "[[curve]]\n" + model + "[[curve]]\n", text),
        "x.toml");
    ASSERT_EQ(e.curves.size(), 2u);
    const CurveConfig& sde = e.curves[below ? 1 : 0];
    const CurveConfig& method = e.curves[below ? 0 : 1];
    EXPECT_EQ(sde.name, "its SDE");
    EXPECT_EQ(method.name, "dcsgd");
    EXPECT_FALSE(method.model);
    ASSERT_TRUE(sde.model);
    EXPECT_EQ(sde.model->kind, ModelKind::second_order);
    EXPECT_EQ(sde.model->integrator, IntegratorKind::weak2);
    EXPECT_EQ(sde.model->substeps, 6);
    EXPECT_EQ(sde.model->of, "dcsgd");
    EXPECT_EQ(sde.method, MethodKind::dcsgd);
    EXPECT_EQ(sde.eta, 0.02);
    EXPECT_EQ(sde.compressor.kind, CompressorKind::rand_k);
    EXPECT_EQ(sde.schedule.kind, ScheduleKind::polynomial);
    EXPECT_EQ(sde.schedule.k0, 3.0);
    EXPECT_EQ(sde.noise.law.kind, LawKind::student_t);
    EXPECT_EQ(sde.noise.law.nu, 3.0);
    EXPECT_EQ(sde.noise.affine, 0.5);
    EXPECT_EQ(sde.workers.count, 2);
    EXPECT_EQ(sde.workers.scale, std::vector<double>(2, 1.0));
    EXPECT_EQ(sde.workers.batch, std::vector<double>(2, 1.0));
    EXPECT_EQ(sde.workers.k, (std::vector<int>{3, 4}));
    EXPECT_EQ(sde.seed, 9u);
    EXPECT_EQ(sde.paths, 7u);
    EXPECT_EQ(sde.steps, 20u);
    EXPECT_EQ(sde.sampling, "direct");
    EXPECT_EQ(sde.checkpoint_steps, method.checkpoint_steps);
    EXPECT_EQ(sde.checkpoint_steps.size(), 21u);
    EXPECT_EQ(normalised(e)["curve"][below ? 1 : 0].dump(),
              R"({"name":"its SDE","model":"second_order","of":"dcsgd","substeps":6,"integrator":"weak2"})");
    EXPECT_EQ(normalised(e)["curve"][below ? 0 : 1]["method"], "dcsgd");
  }
}

TEST(ExperimentModels, HaveDefaults) {
  const auto model = [](const std::string& kind, const std::string& more = "") {
    return *parse_experiment(with_model(kind, more), "x.toml").curves[1].model;
  };
  for (const char* kind : {"first_order", "second_order", "curvature"}) {
    EXPECT_STREQ(name_of(model(kind).kind), kind);
    EXPECT_EQ(model(kind).integrator, IntegratorKind::euler_maruyama);
    EXPECT_EQ(model(kind).substeps, 10);
    EXPECT_EQ(model(kind, "integrator = \"weak2\"").substeps, 4);
    EXPECT_EQ(model(kind, "substeps = 10000").substeps, 10000);
  }
  EXPECT_EQ(model("hessian_aware").integrator, IntegratorKind::moment);
  EXPECT_EQ(model("hessian_aware").substeps, 1);
  EXPECT_EQ(model("hessian_aware", "integrator = \"moment\"\nsubsteps = 3").substeps, 3);
}

TEST(ExperimentModels, ExistWhereTheirMethodHasACovariance) {
  const auto good = [](const std::string& text) { EXPECT_EQ(message_of(text), "") << text; };
  const std::string t2 = with("law = \"gaussian\"", "law = \"student_t\"\nnu = 2"),
                    t3 = with("law = \"gaussian\"", "law = \"multivariate_t\"\nnu = 2.1");
  good(with_model("hessian_aware", "", t3));
  good(with_model("curvature", "", with("scale = 1.0", "scale = 0.0", t2)));  // no noise: nothing is infinite
  good(with_model("first_order", "", with("count = 8", "count = 8\nscale = 0", t2)));
  good(with_model("curvature", "integrator = \"weak2\"", on_least_squares()));
  for (const char* kind : {"first_order", "second_order", "curvature", "hessian_aware"}) {
    good(with_sign_model(kind, "", "law = \"student_t\"\nnu = 0.5"));
    good(with_sign_model(kind, "", "law = \"multivariate_t\"\nnu = 0.5"));
    good(with_model(kind, "", with("affine = 0.0", "affine = 0.5")));
  }
  good(with_sign_model("curvature", "integrator = \"weak2\"", "law = \"student_t\"\nnu = 0.5", on_least_squares()));
  good(with_sign_model("first_order", "", "affine = 0.5", on_least_squares()));
  good(with_sign_model("curvature", "", "law = \"multivariate_t\"\nnu = 3",
                       with("dim = 64", "dim = 1", on_least_squares())));
  for (const char* kind : {"first_order", "curvature", "hessian_aware"}) {
    for (const char* adaptive : {"\"gradient_norm\"", "\"l0l1\"", "\"hessian_norm\""}) {
      good(with_model(kind, "", with_adaptive(adaptive)));
      good(with_sign_model(kind, "", "scale = 1.0", with_adaptive(adaptive)));
    }
    for (const char* law :
         {"laplace", "logistic", "contaminated_gaussian\"\neps = 0.1\nk = 3 #", "alpha_stable\"\nalpha = 2 #"})
      good(with_model(kind, "", with("\"gaussian\"", '"' + std::string(law) + '"')));
    good(with_sign_model(kind, "", "law = \"alpha_stable\"\nalpha = 0.5"));
  }
  good(with_model("second_order", "", with_adaptive("\"gradient_norm\"")));
  good(with_model("second_order", "", with_adaptive("\"l0l1\"")));
  good(with_model("first_order", "",
                  with("scale = 1.0", "scale = 0.0", with("\"gaussian\"", "\"alpha_stable\"\nalpha = 1"))));
  good(with_model("first_order", "[[bound]]\ntheorem = \"B3\"\ncurve = \"its SDE\"\n"));
}

TEST(ExperimentModels, SetReachesThemAndTheirMethod) {
  const Experiment e = parse_experiment(with_model("first_order"), "x.toml",
                                        set({"curve.its SDE.substeps=20", "curve.2.integrator=weak2",
                                             "curve.\"its SDE\".model=curvature", "curve.dcsgd.eta=0.5"}));
  ASSERT_TRUE(e.curves[1].model);
  EXPECT_EQ(e.curves[1].model->substeps, 20);
  EXPECT_EQ(e.curves[1].model->integrator, IntegratorKind::weak2);
  EXPECT_EQ(e.curves[1].model->kind, ModelKind::curvature);
  EXPECT_EQ(e.curves[1].eta, 0.5);
  Overrides overrides;
  overrides.seed = 77;
  overrides.paths = 99;
  const Experiment o = parse_experiment(with_model("first_order"), "x.toml", overrides);
  EXPECT_EQ(o.curves[1].seed, 77u);
  EXPECT_EQ(o.curves[1].paths, 99u);
}

TEST(ExperimentModels, AreSilentAboutABrokenMethod) {
  // One message, that of the method; the model's own mistakes are still told.
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"method = \"dcsgd\"", "method = \"dcsdg\""},
           {"law = \"gaussian\"", "law = \"student_t\""},
           {"scale = 1.0", "scale = -1"},
           {"count = 8", "count = 0"},
           {"k = 16", "k = 65"},
           {"method = \"dcsgd\"\n", ""},
           {"eta = 0.02", "eta = 0"},
           {"name = \"dcsgd\"", ""},
           {"method = \"dcsgd\"", "method = \"dcsgd\"\nmodel = \"curvature\"\nof = \"its SDE\"\nsubsteps = 0"}}) {
    std::string text = with(from, to);
    text = text.substr(0, text.find("[[bound]]"));
    const std::string message = message_of(with_model("first_order", "", text));
    EXPECT_NE(message, "") << to;
    EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 0) << message;
    const std::string two = message_of(with_model("first_order", "substeps = 0", text));
    EXPECT_EQ(std::count(two.begin(), two.end(), '\n'), 1) << two;
  }
  // Too many words already for the method.
  const std::string message =
      message_of(with_model("first_order", "",
                            with("steps = 500", "steps = 1099511627776",
                                 with("count = 8", "count = 4096", with("dim = 64", "dim = 65536")))));
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 0) << message;
}

TEST(Experiment, StepsFitTheRandomStreams) {
  // 2^60 / words is above 2^40 for the words of small problems: d = 65536 and N = 4096 make them count.
  const std::string large = with("count = 8", "count = 4096", with("dim = 64", "dim = 65536"));
  constexpr std::uint64_t each = std::uint64_t{4096} * 65536;
  const auto law = [&](const std::string& name) { return with("\"gaussian\"", name, large); };
  const auto compressor = [&](const std::string& name) { return with("\"rand_k\", k = 16", name, large); };
  for (const auto& [text, words] : std::vector<std::pair<std::string, std::uint64_t>>{
           {law("\"laplace\""), 2 * each},
           {law("\"logistic\""), 2 * each},
           {law("\"alpha_stable\"\nalpha = 1"), 2 * each},
           {law("\"contaminated_gaussian\"\neps = 0.1\nk = 3"), each},
           {with("\"float\"", "\"double\"", law("\"laplace\"")), 4 * each},
           {compressor("\"qsgd\", s = 2"), each},
           {compressor("\"natural\""), each},
           {compressor("\"top_k\", k = 32768"), each},
           {compressor("\"rand_k_plain\", k = 32768"), each}}) {
    const std::uint64_t most = ((std::uint64_t{1} << 60) - 1) / words;
    EXPECT_EQ(message_of(with("steps = 500", "steps = " + std::to_string(most), text)), "");
    EXPECT_NE(message_of(with("steps = 500", "steps = " + std::to_string(most + 1), text))
                  .find("times " + std::to_string(words) + " random words a step"),
              std::string::npos);
  }
}

TEST(ExperimentModels, FitTheRandomStreams) {
  // 2^60 / words, one step less and exactly: the limit is strict. d = 64.
  struct Case {
    std::string text;
    std::uint64_t words;
  };
  const std::string model = "[[curve]]\nname = \"m\"\nof = \"dcsgd\"\nmodel = ";
  const std::string one = with("count = 8", "count = 1");
  for (const auto& [text, words] : std::vector<Case>{
           {one + model + "\"first_order\"\nsubsteps = 10000\n", 19999 * 64},
           {one + model + "\"first_order\"\nsubsteps = 10000\nintegrator = \"weak2\"\n", 20000 * 64},
           {with("\"float\"", "\"double\"", one) + model + "\"hessian_aware\"\nsubsteps = 10000\n", 2 * 19999 * 64}}) {
    const std::uint64_t most = ((std::uint64_t{1} << 60) - 1) / words;
    ASSERT_LE(most, std::uint64_t{1} << 40);
    EXPECT_EQ(message_of(with("steps = 500", "steps = " + std::to_string(most), text)), "");
    const std::string message = message_of(with("steps = 500", "steps = " + std::to_string(most + 1), text));
    EXPECT_EQ(message.find("x.toml:36: curve.m: steps = " + std::to_string(most + 1) + " times " +
                           std::to_string(words) + " random words a step must stay below 2^60; reduce steps, substeps"),
              0u)
        << message;
  }
}

TEST(Experiment, NormalisedReadsBackAsItself) {
  const std::vector<std::string> files{
      example,
      with("checkpoints = 50", "checkpoint_steps = [0, 499]"),
      with("count = 8", "count = 2\nscale = [0.1, 0.3]\nbatch = [1, 2.5]\nk = [3, 4]", with("batch = 1\n", "")),
      with("",
           "[[curve]]\nname = \"t, no: t\"\nmethod = \"dsignsgd\"\neta = 1e-3\nsteps = 7\nsampling = \"direct\"\n"
           "schedule = { kind = \"polynomial\", k0 = 3 }\nnoise = { law = \"student_t\", nu = 0.7, scale = 2 }\n"),
      with_objective("kind = \"saddle\"\ndim = 2\neigenvalues = [1, -0.1]\nlam = 0.3\nstart = [0, 1e-7]"),
      with_objective("kind = \"least_squares\"\ndim = 4\nrows = 9\nrank = 2\nmu = 0.01"),
      with_objective("kind = \"logistic\"\ndim = 4\nrows = 9\nlam = 1"),
      with_objective("kind = \"quartic\"\ndim = 4"),
      with_method("dnsgd", "at = \"worker\""),
      with_method("clipped_dsgd", "clip = 2.5"),
      with_method("heavy_ball", "momentum = 0"),
      with_method("adam", "beta1 = 0.5\nbeta2 = 0.75\nepsilon = 1e-3"),
      with("\"rand_k\", k = 16", "\"qsgd\", s = 4"),
      with("\"rand_k\", k = 16", "\"natural\""),
      with("\"rand_k\"", "\"rand_k_plain\""),
      with("count = 8", "count = 2\nk = [3, 4]", with("\"rand_k\", k = 16", "\"top_k\"")),
      with("\"constant\"", "\"exponential\", rate = 0.01, warmup = 10"),
      with("\"constant\"", "\"step\", every = 100, factor = 0.5"),
      with("\"constant\"", "\"cosine\", warmup = 1"),
      with_adaptive("\"gradient_norm\", c = 2, q = 0.5, stochastic = true"),
      with_adaptive("\"l0l1\", theta = 0.5, L0 = 2, L1 = 0, stochastic = true"),
      with_adaptive("\"l0l1\""),
      with_adaptive("\"hessian_norm\", theta = 1.5"),
      with("\"gaussian\"", "\"laplace\""),
      with("\"gaussian\"", "\"contaminated_gaussian\"\neps = 0.1\nk = 3"),
      with("\"gaussian\"", "\"alpha_stable\"\nalpha = 1.5"),
      with_model("first_order"),
      with_model("hessian_aware", "",
                 with("its SDE", "other SDE", with_model("curvature", "integrator = \"weak2\"\n"))),
      with_objective("kind = \"quadratic\"\ndim = 2\nspectrum = { kind = \"list\", eigenvalues = [1, 0.1] }"),
  };
  for (std::string file : files) {
    file = file.find("t, no: t") == std::string::npos ? file : with("t, no: t", "t no: t", file);
    const auto json = normalised(parse_experiment(file, "x.toml"));
    EXPECT_EQ(normalised(parse_experiment(toml(json), "elsewhere/y.toml")).dump(), json.dump()) << toml(json);
    EXPECT_EQ(nlohmann::ordered_json::parse(json.dump()), json);
  }
}

TEST(Experiment, NormalisedDoesNotDependOnWhereTheFileLies) {
  const Folder one, two;
  const std::string text = with_objective("kind = \"least_squares\"\ndim = 1\nfile = \"data.csv\"");
  for (const Folder* folder : {&one, &two}) folder->write("data.csv", "1,2\n3,4\n");
  const Experiment a = load_experiment(one.write("a.toml", text)), b = load_experiment(two.write("b.toml", text));
  EXPECT_EQ(normalised(a).dump(), normalised(b).dump());
  EXPECT_EQ(a.objective.file, one.path() + "/data.csv");
  EXPECT_EQ(normalised(a)["objective"]["file"], "data.csv");
  EXPECT_FALSE(normalised(a)["objective"].contains("rows"));
}

struct Bad {
  std::string text;
  std::vector<std::string> expected;
};

/// Wrong inputs and what their message has to say.
std::vector<Bad> bad_inputs() {
  const std::string curve = "[[curve]]\nname = \"b\"\nmethod = \"dsgd\"\neta = 1\n";  // from line 36
  const auto objective = [](const std::string& text) { return with_objective(text); };
  return {
      // The top level.
      {with("paths = 65536", "pahts = 65536"),
       {"x.toml:3: key 'pahts' = 65536: unknown key; did you mean 'paths'?", "key 'paths' is missing"}},
      {with("paths = 65536", "paths = 0"), {"x.toml:3: key 'paths' = 0: must be an integer from 1 to 2^40"}},
      {with("paths = 65536", "paths = 1099511627777"), {":3: key 'paths' = 1099511627777: must be"}},
      {with("paths = 65536", "paths = 65536.0"), {":3: key 'paths' = 65536.0: must be an integer", "; write 65536"}},
      {with("paths = 65536", "paths = 1e5"), {":3: key 'paths' = 100000.0", "; write 100000"}},
      {with("paths = 65536", "paths = \"65536\""),
       {":3: key 'paths' = \"65536\": must be an integer", "without quotes"}},
      {with("paths = 65536", "paths = nan"), {":3: key 'paths' = nan: must be an integer"}},
      {with("paths = 65536", "paths = 2020-01-01"), {":3: key 'paths' = 2020-01-01: must be an integer"}},
      {with("paths = 65536\n", ""), {"x.toml: key 'paths' is missing: must be an integer from 1 to 2^40"}},
      {with("steps = 500\n", ""), {"x.toml: key 'steps' is missing"}},
      {with("steps = 500", "steps = 0"), {":4: key 'steps' = 0: must be an integer from 1 to 2^40"}},
      {with("seed = 1", "seed = -1"), {":2: key 'seed' = -1: must be an integer from 0 to 2^63 - 1"}},
      {with("seed = 1", "seed = true"), {":2: key 'seed' = true"}},
      {with("seed = 1 ", "seed = 9223372036854775808"),
       {"x.toml:2:", "9223372036854775808", "64 bits", "    2 | seed"}},
      {with("checkpoints = 50", "checkpoints = 0"), {":5: key 'checkpoints' = 0", "min(steps, 100000)"}},
      {with("checkpoints = 50", "checkpoints = 501"), {":5: key 'checkpoints' = 501", "(steps = 500)"}},
      {with("steps = 500", "steps = 1000000", with("checkpoints = 50", "checkpoints = 100001")),
       {":5: key 'checkpoints' = 100001"}},
      {with("checkpoints = 50", "checkpoints = 50\ncheckpoint_steps = [1]"),
       {":5: key 'checkpoints' = 50: give either checkpoints or checkpoint_steps, not both"}},
      {with("checkpoints = 50", "checkpoint_steps = []"), {":5: key 'checkpoint_steps' = []: must be"}},
      {with("checkpoints = 50", "checkpoint_steps = 5"), {":5: key 'checkpoint_steps' = 5: must be"}},
      {with("checkpoints = 50", "checkpoint_steps = [0, 501]"),
       {":5: key 'checkpoint_steps', entry 2 = 501", "steps = 500"}},
      {with("checkpoints = 50", "checkpoint_steps = [\n0,\n5, 5]"),
       {":7: key 'checkpoint_steps', entry 3 = 5: must be greater than the entry before it, 5"}},
      {with("checkpoints = 50", "checkpoint_steps = [5, 1]"), {"entry 2 = 1: must be greater"}},
      {with("checkpoints = 50", "checkpoint_steps = [0, 1.0]"), {"entry 2 = 1.0", "write 1"}},
      {with("checkpoints = 50", "checkpoint_steps = [-1]"), {"entry 1 = -1"}},
      {with("\"float\"", "\"single\""), {":6: key 'precision' = \"single\": must be one of float, double"}},
      {with("\"float\"", "32"), {":6: key 'precision' = 32: must be one of float, double"}},
      {with("limit = 1e30", "limit = 0"), {":7: key 'limit' = 0: must be a number in (0, 2^100]"}},
      {with("limit = 1e30", "limit = 1e31"), {":7: key 'limit' = 1e+31"}},
      {with("limit = 1e30", "limit = inf"), {":7: key 'limit' = inf", "nan and infinities are not allowed"}},
      {with("limit = 1e30", "limit = 1e999"), {"x.toml:7:", "1e999", "^"}},
      {with("\"Theorem 3 on a quadratic\"", "3"), {":1: key 'title' = 3: must be a string"}},
      {with("Theorem 3", "Theorem\\u0007"), {":1: key 'title'", "\\u0007", "control characters"}},
      {with("limit = 1e30", "model = \"first_order\""), {":7: key 'model' = \"first_order\": unknown key"}},
      {with("limit = 1e30", "eta = 0.1"), {":7: key 'eta' = 0.1: unknown key; it belongs to [[curve]]"}},
      {with("batch = 1", "paths = 10"),
       {":22: key 'workers.paths' = 10: unknown key; it belongs to the top level (above the first table) or "
        "[[curve]]"}},
      // Tables.
      {with("[noise]", "[nose]"), {":15: key 'nose' = {", "did you mean 'noise'?"}},
      {with("[noise]", "[[noise]]"), {":15: key 'noise' = [", "must be a table [noise]"}},
      {with("[[curve]]", "[curve]"), {":24: key 'curve' = {", "write [[curve]] with double brackets"}},
      {with("[[bound]]", "[bound]"), {":32: key 'bound' = {", "write [[bound]] with double brackets"}},
      {"paths = 1\nsteps = 1\ncurve = [1]\n", {":3: key 'curve' = 1: must be a table", "key 'objective' is missing"}},
      {"paths = 1\nsteps = 1\ncurve = []\n", {"no curve"}},
      {"paths = 1\nsteps = 1\n[objective]\nkind = \"cosh\"\n",
       {"x.toml: no curve: an experiment needs at least one [[curve]] table"}},
      // The objective.
      {with("\"quadratic\"  ", "\"quadratik\"  "),
       {":10: key 'objective.kind' = \"quadratik\": must be one of quadratic, quartic, cosh",
        "did you mean 'quadratic'?"}},
      {with("kind = \"quadratic\"", ""), {":9: key 'objective.kind' is missing"}},
      {with("dim = 64", "dim = 0"), {":11: key 'objective.dim' = 0: must be an integer from 1 to 65536"}},
      {with("dim = 64", "dim = 65537"), {":11: key 'objective.dim' = 65537"}},
      {with("start = 1.0", "start = [1, 2]"), {":13: key 'objective.start' = [1, 2]", "64 needed, 2 given"}},
      {with("start = 1.0", "start = nan"), {":13: key 'objective.start' = nan"}},
      {with("start = 1.0", "start = \"1\""), {":13: key 'objective.start' = \"1\""}},
      {with("start = 1.0", "start = 1e39"),
       {":13: key 'objective.start' = 1e+39: does not fit precision = \"float\"", "use precision = \"double\""}},
      {with("min = 0.1", "min = 0"), {":12: key 'objective.spectrum.min' = 0: must be a number > 0"}},
      {with("max = 1.0", "max = 0.01"), {":12: key 'objective.spectrum.max' = 0.01: must be a number >= min"}},
      {with("min = 0.1, ", ""), {":12: key 'objective.spectrum.min' is missing"}},
      {with("\"geometric\"", "\"uniform\""),
       {":12: key 'objective.spectrum.kind' = \"uniform\": must be one of geometric, linear, list"}},
      {with("max = 1.0", "max = 1.0, eigenvalues = [1]"),
       {":12: key 'objective.spectrum.eigenvalues' = [1]: does not belong to kind = \"geometric\", only to list"}},
      {with("{ kind = \"geometric\", min = 0.1, max = 1.0 }", "\"geometric\""),
       {":12: key 'objective.spectrum' = \"geometric\": must be a table such as"}},
      {with("spectrum =", "spectra ="), {":12: key 'objective.spectra'", "key 'objective.spectrum' is missing"}},
      {with("start = 1.0", "mu = 0"), {":13: key 'objective.mu' = 0: must be a number > 0"}},
      {with("start = 1.0", "L1 = 1"),
       {":13: key 'objective.L1' = 1: does not belong to kind = \"quadratic\", only to quartic"}},
      {with("start = 1.0", "eigenvalues = [1]"),
       {":13: key 'objective.eigenvalues' = [1]: does not belong to kind = \"quadratic\", only to saddle"}},
      {objective("kind = \"quadratic\"\ndim = 2\nspectrum = { kind = \"list\", eigenvalues = [1] }"),
       {":6: key 'objective.spectrum.eigenvalues' = [1]", "2 needed, 1 given"}},
      {objective("kind = \"quadratic\"\ndim = 2\nspectrum = { kind = \"list\", eigenvalues = [1, 0] }"),
       {"entry 2 = 0: must be exactly dim numbers > 0"}},
      {objective("kind = \"quadratic\"\nspectrum = { kind = \"list\" }"),
       {":5: key 'objective.spectrum.eigenvalues' is missing"}},
      {objective("kind = \"saddle\"\ndim = 2\neigenvalues = [1, 2]\nlam = 1"),
       {":6: key 'objective.eigenvalues' = [1, 2]", "at least one negative"}},
      {objective("kind = \"saddle\"\ndim = 2\neigenvalues = [-1, 0]\nlam = 1"),
       {":6: key 'objective.eigenvalues', entry 2 = 0", "nonzero"}},
      {objective("kind = \"saddle\"\neigenvalues = [-1]"),
       {":3: key 'objective.lam' is missing: must be a number > 0"}},
      {objective("kind = \"saddle\"\nlam = 1"), {"key 'objective.eigenvalues' is missing"}},
      {objective("kind = \"quartic\"\nL1 = -1"), {":5: key 'objective.L1' = -1: must be a number > 0"}},
      {objective("kind = \"quartic\"\nmu = 1"), {":5: key 'objective.mu' = 1: does not belong to kind = \"quartic\""}},
      {objective("kind = \"logistic\"\ndim = 2\nrows = 1\nlam = 1"),
       {":6: key 'objective.rows' = 1: must be an integer from 2"}},
      {objective("kind = \"logistic\"\ndim = 2\nrows = 10\nlam = 0"),
       {":7: key 'objective.lam' = 0: must be a number > 0"}},
      {objective("kind = \"logistic\"\ndim = 2\nlam = 1"), {":3: key 'objective.rows' is missing"}},
      {objective("kind = \"logistic\"\ndim = 2\nrows = 5\nlam = 1\nrank = 2"),
       {":8: key 'objective.rank' = 2: does not belong to kind = \"logistic\", only to least_squares"}},
      {objective("kind = \"least_squares\"\ndim = 1025\nrows = 5"), {":5: key 'objective.dim' = 1025", "to 1024"}},
      {objective("kind = \"least_squares\"\ndim = 1024\nrows = 16385"),
       {":6: key 'objective.rows' = 16385", "2^24 / dim", "(dim = 1024: 16384)"}},
      {objective("kind = \"least_squares\"\ndim = 4097\nrows = 1"), {":5: key 'objective.dim' = 4097"}},
      {objective("kind = \"least_squares\"\ndim = 4\nrows = 3\nrank = 4"),
       {":7: key 'objective.rank' = 4: must be an integer from 1 to min(rows, dim) = 3"}},
      {objective("kind = \"least_squares\"\ndim = 4\nrows = 3\ncondition = 0.5"),
       {":7: key 'objective.condition' = 0.5: must be a number from 1"}},
      {objective("kind = \"least_squares\"\ndim = 4\nrows = 3\nrank = 1\ncondition = 2"),
       {":8: key 'objective.condition' = 2", "1 when rank = 1"}},
      {objective("kind = \"least_squares\"\ndim = 4\nfile = \"/no/such.csv\""),
       {":6: key 'objective.file' = \"/no/such.csv\"", "there is no file '/no/such.csv'"}},
      {objective("kind = \"least_squares\"\ndim = 4\nfile = \"/\""),
       {":6: key 'objective.file' = \"/\"", "is a directory"}},
      {objective("kind = \"least_squares\"\ndim = 4\nfile = \"\""),
       {":6: key 'objective.file' = \"\": must be the path"}},
      {objective("kind = \"least_squares\"\ndim = 4\nfile = \"/no\"\nrows = 3"),
       {":7: key 'objective.rows' = 3: belongs to synthetic data; it does not go together with file",
        "there is no file"}},
      {objective("kind = \"least_squares\"\nfile = \"/no\""), {"key 'objective.dim' is missing"}},
      // Noise.
      {with("\"gaussian\"", "\"laplacian\""),
       {":16: key 'noise.law' = \"laplacian\": must be one of gaussian, student_t, multivariate_t, laplace, logistic, "
        "contaminated_gaussian, alpha_stable; did you mean 'laplace'?"}},
      {with("\"gaussian\"", "\"student_t\""),
       {":16: key 'noise.nu' is missing: must be a number from 0.3", "for law = \"student_t\""}},
      {with("\"gaussian\"", "\"student_t\"\nnu = 0.29"), {":17: key 'noise.nu' = 0.29: must be a number from 0.3"}},
      {with("\"float\"", "\"double\"", with("\"gaussian\"", "\"student_t\"\nnu = 0.05")),
       {":17: key 'noise.nu' = 0.05", "0.06"}},
      {with("affine = 0.0", "nu = 3"),
       {":18: key 'noise.nu' = 3: does not belong to law = \"gaussian\", only to student_t, multivariate_t"}},
      {with("affine = 0.0", "affine = -1"), {":18: key 'noise.affine' = -1: must be a number >= 0"}},
      {with("scale = 1.0", "scale = -0.5"), {":17: key 'noise.scale' = -0.5: must be a number >= 0"}},
      {with("scale = 1.0", "scale = [1, 2]"), {":17: key 'noise.scale' = [1, 2]: must be a number"}},
      {with("scale = 1.0", "sclae = 1.0"),
       {":17: key 'noise.sclae' = 1.0: unknown key; did you mean 'scale'?; known here: law, scale, affine"}},
      {with("scale = 1.0", "alpha = 1.5"),
       {":17: key 'noise.alpha' = 1.5: does not belong to law = \"gaussian\", only to alpha_stable"}},
      {with("affine = 0.0", "eps = 0.1", with("\"gaussian\"", "\"laplace\"")),
       {":18: key 'noise.eps' = 0.1: does not belong to law = \"laplace\", only to contaminated_gaussian"}},
      {with("\"gaussian\"", "\"logistic\"\nk = 3"),
       {":17: key 'noise.k' = 3: does not belong to law = \"logistic\", only to contaminated_gaussian"}},
      {with("\"gaussian\"", "\"alpha_stable\""),
       {":16: key 'noise.alpha' is missing: must be a number from 0.3 (precision = \"double\": 0.06) to 2 for law = "
        "\"alpha_stable\""}},
      {with("\"gaussian\"", "\"alpha_stable\"\nalpha = 0.29"),
       {":17: key 'noise.alpha' = 0.29: must be a number from"}},
      {with("\"gaussian\"", "\"alpha_stable\"\nalpha = 2.01"),
       {":17: key 'noise.alpha' = 2.01: must be a number from"}},
      {with("\"gaussian\"", "\"alpha_stable\"\nalpha = \"1\""), {":17: key 'noise.alpha' = \"1\": must be", "quotes"}},
      {with("\"gaussian\"", "\"contaminated_gaussian\""),
       {":16: key 'noise.eps' is missing: must be a number in (0, 1) for law = \"contaminated_gaussian\"",
        ":16: key 'noise.k' is missing: must be a number > 0"}},
      {with("\"gaussian\"", "\"contaminated_gaussian\"\neps = 1\nk = 3"),
       {":17: key 'noise.eps' = 1: must be a number in (0, 1)"}},
      {with("\"gaussian\"", "\"contaminated_gaussian\"\neps = 0.1\nk = 0"),
       {":18: key 'noise.k' = 0: must be a number > 0"}},
      // Workers.
      {with("count = 8", "count = 0"), {":21: key 'workers.count' = 0: must be an integer from 1 to 4096"}},
      {with("count = 8", "count = 4097"), {":21: key 'workers.count' = 4097"}},
      {with("count = 8", "cuont = 8"), {"did you mean 'count'?"}},
      {with("batch = 1", "batch = 0.5"), {":22: key 'workers.batch' = 0.5: must be a number >= 1"}},
      {with("batch = 1", "batch = [1, 2, 3]"), {":22: key 'workers.batch' = [1, 2, 3]", "8 needed, 3 given"}},
      {with("batch = 1", "batch = [1,2,3,4,5,6,7,0]"), {":22: key 'workers.batch', entry 8 = 0"}},
      {with("batch = 1", "scale = [1,2,3,4,5,6,7,inf]"), {"entry 8 = inf", "nan and infinities"}},
      {with("batch = 1", "k = 65"), {":22: key 'workers.k' = 65", "(dim = 64)"}},
      {with("batch = 1", "k = [1,2,3,4,5,6,7,0]"), {":22: key 'workers.k', entry 8 = 0"}},
      {with("batch = 1", "k = 2", with("\"rand_k\", k = 16", "\"bernoulli\", p = 0.5")),
       {":22: key 'workers.k' = 2: belongs to curves whose compressor is one of rand_k, rand_k_plain, top_k; no curve "
        "here "
        "takes it"}},
      // Curves.
      {with("name = \"dcsgd\"", ""), {":24: key 'curve.1.name' is missing"}},
      {with("name = \"dcsgd\"", "name = \"\""), {":25: key 'curve.1.name' = \"\": must be a non-empty string"}},
      {with("name = \"dcsgd\"", "name = \"a,b\""), {":25: key 'curve.a,b.name' = \"a,b\"", "commas"}},
      {with("name = \"dcsgd\"", "name = 'a\"b'"), {":25:", "quotes"}},
      {with("name = \"dcsgd\"", "name = \"a\\nb\""), {":25: key 'curve.1.name' = \"a\\nb\"", "control characters"}},
      {with("", with("\"b\"", "\"dcsgd\"", curve)), {":37: key 'curve.2.name' = \"dcsgd\": must be unique"}},
      {with("method = \"dcsgd\"", "method = \"dcsdg\""),
       {":26: key 'curve.dcsgd.method' = \"dcsdg\": must be one of dsgd, dcsgd, dsignsgd, dnsgd, clipped_dsgd, "
        "heavy_ball, adam; did you mean 'dcsgd'?"}},
      {with("eta = 0.02", "eta = 0.02\nclip = 1"),
       {":28: key 'curve.dcsgd.clip' = 1: does not belong to method = \"dcsgd\", only to clipped_dsgd"}},
      {with_method("adam", "momentum = 0.5"),
       {":28: key 'curve.dcsgd.momentum' = 0.5: does not belong to method = \"adam\", only to heavy_ball"}},
      {with_method("heavy_ball", "beta1 = 0.5"),
       {":28: key 'curve.dcsgd.beta1' = 0.5: does not belong", "only to adam"}},
      {with_method("clipped_dsgd", "at = \"worker\""),
       {":28: key 'curve.dcsgd.at' = \"worker\": does not belong", "only to dnsgd",
        ":24: key 'curve.dcsgd.clip' is missing: must be a number > 0"}},
      {with_method("clipped_dsgd", "clip = 0"), {":28: key 'curve.dcsgd.clip' = 0: must be a number > 0"}},
      {with_method("dnsgd", "at = \"sever\""),
       {":28: key 'curve.dcsgd.at' = \"sever\": must be one of server, worker; did you mean 'server'?"}},
      {with_method("dnsgd", "at = 1"), {":28: key 'curve.dcsgd.at' = 1: must be one of server, worker"}},
      {with_method("heavy_ball", "momentum = 1"), {":28: key 'curve.dcsgd.momentum' = 1: must be a number in [0, 1)"}},
      {with_method("heavy_ball", "momentum = -0.1"), {":28: key 'curve.dcsgd.momentum' = -0.1: must be a number in"}},
      {with_method("adam", "beta1 = 1"), {":28: key 'curve.dcsgd.beta1' = 1: must be a number in [0, 1)"}},
      {with_method("adam", "beta2 = 1"), {":28: key 'curve.dcsgd.beta2' = 1: must be a number in [0, 1)"}},
      {with_method("adam", "epsilon = 0"), {":28: key 'curve.dcsgd.epsilon' = 0: must be a number > 0"}},
      {with_method("adam", "bata1 = 0.5"), {":28: key 'curve.dcsgd.bata1' = 0.5: unknown key; did you mean 'beta1'?"}},
      {with_method("adam", "compressor = { kind = \"natural\" }"),
       {":28: key 'curve.dcsgd.compressor'", "method = \"adam\" sends its gradients uncompressed"}},
      {with("method = \"dcsgd\"", "model = \"first_order\"\nof = \"a\""),
       {":27: key 'curve.dcsgd.of' = \"a\": must be the name of a curve with a method; no curve here has one",
        ":28: key 'curve.dcsgd.eta' = 0.02: a model takes it from the method curve",
        ":29: key 'curve.dcsgd.compressor'", ":30: key 'curve.dcsgd.schedule'", ":31: key 'curve.dcsgd.adaptive'"}},
      {with("eta = 0.02", "eta = 0"), {":27: key 'curve.dcsgd.eta' = 0: must be a number > 0"}},
      {with("eta = 0.02", "eta = nan"), {":27: key 'curve.dcsgd.eta' = nan"}},
      {with("eta = 0.02", "eta = 1e-50"), {":27: key 'curve.dcsgd.eta' = 1e-50: does not fit precision"}},
      {with("eta = 0.02", "eat = 0.02"),
       {":27: key 'curve.dcsgd.eat'", "did you mean 'eta'?", ":24: key 'curve.dcsgd.eta' is missing"}},
      {with("eta = 0.02", "eta = 0.02\nintegrator = \"weak2\"\nsubsteps = 3"),
       {":28: key 'curve.dcsgd.integrator' = \"weak2\": belongs to a curve with a model; this one has a method",
        ":29: key 'curve.dcsgd.substeps' = 3: belongs to a curve with a model"}},
      {with("eta = 0.02", "eta = 0.02\nof = \"dcsgd\""), {":28: key 'curve.dcsgd.of' = \"dcsgd\": belongs to a curve"}},
      {with("eta = 0.02", "eta = 0.02\nmodle = \"curvature\""),
       {":28: key 'curve.dcsgd.modle' = \"curvature\": unknown key; did you mean 'model'?"}},
      // Models.
      {with("eta = 0.02", "eta = 0.02\nmodel = \"curvature\""),
       {":28: key 'curve.dcsgd.model' = \"curvature\": does not go together with method: a curve has either"}},
      {with("method = \"dcsgd\"", ""),
       {":24: key 'curve.dcsgd.method' is missing: must be one of dsgd, dcsgd, dsignsgd, dnsgd, clipped_dsgd, "
        "heavy_ball, "
        "adam; or give model, one of first_order, second_order, curvature, hessian_aware, for the SDE of another "
        "curve"}},
      {with_model("frist_order"),
       {":38: key 'curve.its SDE.model' = \"frist_order\": must be one of first_order, second_order, curvature, "
        "hessian_aware; did you mean 'first_order'?"}},
      {with("of = \"dcsgd\"\n", "", with_model("curvature")),
       {":36: key 'curve.its SDE.of' is missing: must be the name of a curve with a method"}},
      {with("of = \"dcsgd\"", "of = 3", with_model("curvature")),
       {":39: key 'curve.its SDE.of' = 3: must be the name"}},
      {with_model("curvature", "", example, "dcsdg"),
       {":39: key 'curve.its SDE.of' = \"dcsdg\": must be the name of a curve with a method; did you mean 'dcsgd'?; "
        "methods here: dcsgd"}},
      {with_model("curvature", curve, example, "elsewhere"), {"methods here: dcsgd, b"}},
      {with_model("curvature", "", example, "its SDE"),
       {":39: key 'curve.its SDE.of' = \"its SDE\": must be the name of a curve with a method; a model is not of "
        "itself; "
        "methods here: dcsgd"}},
      {with_model("curvature", "", with("its SDE", "first", with_model("curvature")), "first"),
       {":43: key 'curve.its SDE.of' = \"first\": must be the name of a curve with a method; this curve is a model "
        "itself; methods here: dcsgd"}},
      {with_model("curvature", "substeps = 0"),
       {":40: key 'curve.its SDE.substeps' = 0: must be an integer from 1 to 10000"}},
      {with_model("curvature", "substeps = 10001"), {":40: key 'curve.its SDE.substeps' = 10001"}},
      {with_model("curvature", "substeps = 10.0"), {":40: key 'curve.its SDE.substeps' = 10.0", "; write 10"}},
      {with_model("curvature", "integrator = \"weak\""),
       {":40: key 'curve.its SDE.integrator' = \"weak\": must be euler_maruyama or weak2; for hessian_aware only "
        "moment; "
        "did you mean 'weak2'?"}},
      {with_model("curvature", "integrator = \"moment\""),
       {":40: key 'curve.its SDE.integrator' = \"moment\": belongs to model = \"hessian_aware\"; for model = "
        "\"curvature\" it must be euler_maruyama or weak2"}},
      {with_model("hessian_aware", "integrator = \"weak2\""),
       {":40: key 'curve.its SDE.integrator' = \"weak2\": model = \"hessian_aware\" is stepped by its moments: must be "
        "moment"}},
      {with_model("curvature", "eta = 0.1"),
       {":40: key 'curve.its SDE.eta' = 0.1: a model takes it from the method curve that its key of names; set it "
        "there"}},
      {with_model("curvature", "compressor = { kind = \"top_k\" }"), {":40: key 'curve.its SDE.compressor'"}},
      {with_model("curvature", "schedule = 3"), {":40: key 'curve.its SDE.schedule' = 3: a model takes it"}},
      {with_model("curvature", "adaptive = { }"), {":40: key 'curve.its SDE.adaptive'"}},
      {with_model("curvature", "sampling = \"auto\""), {":40: key 'curve.its SDE.sampling'"}},
      {with_model("curvature", "noise = { scale = -1 }"), {":40: key 'curve.its SDE.noise'"}},
      {with_model("curvature", "workers = { count = 2 }"), {":40: key 'curve.its SDE.workers'"}},
      {with_model("curvature", "seed = 1"), {":40: key 'curve.its SDE.seed'"}},
      {with_model("curvature", "paths = 0"), {":40: key 'curve.its SDE.paths'"}},
      {with_model("curvature", "steps = 10"), {":40: key 'curve.its SDE.steps'"}},
      {with_model("curvature", "substep = 10"),
       {":40: key 'curve.its SDE.substep' = 10: unknown key; did you mean 'substeps'?; known here: name, method, "
        "model, variance_reduction, of, substeps, integrator"}},
      {with_model("curvature", "scale = 10"),
       {":40: key 'curve.its SDE.scale' = 10: unknown key; it belongs to [noise]"}},
      {with("its SDE", "dcsgd", with_model("curvature")), {":37: key 'curve.2.name' = \"dcsgd\": must be unique"}},
      {with("name = \"its SDE\"\n", "", with_model("curvature")), {":36: key 'curve.2.name' is missing"}},
      {with_model("curvature", "", with("law = \"gaussian\"", "law = \"student_t\"\nnu = 2")),
       {":40: key 'curve.its SDE.of' = \"dcsgd\": has no SDE model: the covariance of its noise, student_t with nu = "
        "2.0, "
        "is infinite; a model needs nu > 2 or law = \"gaussian\" (or method = \"dsignsgd\")"}},
      {with_model("first_order", "",
                  with("law = \"gaussian\"", "law = \"multivariate_t\"\nnu = 1.5",
                       with("scale = 1.0\naffine = 0.0", "scale = 0\naffine = 0.1"))),
       {":40: key 'curve.its SDE.of' = \"dcsgd\": has no SDE model: the covariance of its noise, multivariate_t with "
        "nu = "
        "1.5, is infinite"}},
      {with_model("first_order", "", with("law = \"gaussian\"", "law = \"alpha_stable\"\nalpha = 1.9")),
       {":40: key 'curve.its SDE.of' = \"dcsgd\": has no SDE model: the covariance of its noise, alpha_stable with "
        "alpha "
        "= 1.9, is infinite; a model needs alpha = 2 or law = \"gaussian\" (or method = \"dsignsgd\")"}},
      {with_model("curvature", "", with_method("heavy_ball", "momentum = 0.5")),
       {":39: key 'curve.its SDE.of' = \"dcsgd\": has no SDE model: none is known here for method = \"heavy_ball\"; "
        "models "
        "are of dsgd, dcsgd and dsignsgd"}},
      {with_model("first_order", "", with_method("dnsgd", "")), {"none is known here for method = \"dnsgd\""}},
      {with_model("first_order", "", with_method("clipped_dsgd", "clip = 1")), {"none is known here for method"}},
      {with_model("first_order", "", with_method("adam", "")), {"none is known here for method = \"adam\""}},
      {with_model("first_order", "", with("\"rand_k\", k = 16", "\"qsgd\", s = 4")),
       {":39: key 'curve.its SDE.of' = \"dcsgd\": has no SDE model: the covariance of its compressor, qsgd, has no "
        "closed "
        "form here; models are of identity, rand_k and bernoulli"}},
      {with_model("first_order", "", with("\"rand_k\", k = 16", "\"natural\"")), {"its compressor, natural"}},
      {with_model("first_order", "", with("\"rand_k\"", "\"rand_k_plain\"")), {"its compressor, rand_k_plain"}},
      {with_model("first_order", "", with("\"rand_k\"", "\"top_k\"")), {"its compressor, top_k"}},
      {with_model("first_order", "", with_adaptive("\"l0l1\", stochastic = true")),
       {":39: key 'curve.its SDE.of' = \"dcsgd\": has no SDE model: its adaptive = { kind = \"l0l1\" } is stochastic"}},
      {with_model("second_order", "", with_adaptive("\"hessian_norm\"")),
       {":38: key 'curve.its SDE.model' = \"second_order\": needs the derivative of a(x) m(x), which is not available "
        "for "
        "adaptive = { kind = \"hessian_norm\" }; use first_order or curvature"}},
      {with_sign_model("second_order", "", "", with_adaptive("\"gradient_norm\"")),
       {":36: key 'curve.its SDE.model' = \"second_order\": needs the derivative", "of dsignsgd; use"}},
      {with_model("curvature", "integrator = \"weak2\"", with_adaptive("\"gradient_norm\"")),
       {":40: key 'curve.its SDE.integrator' = \"weak2\": is not available for a curve with adaptive = { kind = "
        "\"gradient_norm\" }; use euler_maruyama"}},
      {with_model("hessian_aware", "", on_least_squares()),
       {":38: key 'curve.its SDE.model' = \"hessian_aware\": steps every coordinate by itself and needs a separable "
        "objective, which least_squares is not; use first_order, second_order or curvature"}},
      {with_model("hessian_aware", "",
                  with("kind = \"least_squares\"", "lam = 0.1\nkind = \"logistic\"", on_least_squares())),
       {":39: key 'curve.its SDE.model' = \"hessian_aware\"", "which logistic is not"}},
      {with_sign_model("second_order", "", "affine = 0.5"),
       {":36: key 'curve.its SDE.model' = \"second_order\": needs the derivative of the drift, which is not available "
        "for "
        "dsignsgd with affine noise (noise.affine = 0.5); use first_order with integrator = \"euler_maruyama\", or "
        "noise.affine = 0"}},
      {with_sign_model("curvature", "", "affine = 0.5"), {":36: key 'curve.its SDE.model' = \"curvature\": needs the"}},
      {with_sign_model("hessian_aware", "", "affine = 0.5"), {":36: key 'curve.its SDE.model' = \"hessian_aware\""}},
      {with_sign_model("first_order", "integrator = \"weak2\"", "affine = 0.5"),
       {":38: key 'curve.its SDE.integrator' = \"weak2\": needs the derivative of the drift, which is not available "
        "for "
        "dsignsgd with affine noise (noise.affine = 0.5); use euler_maruyama"}},
      {with_sign_model("second_order", "integrator = \"weak2\"", "affine = 0.5"),
       {":36: key 'curve.its SDE.model' = \"second_order\"", ":38: key 'curve.its SDE.integrator' = \"weak2\""}},
      {with_sign_model("first_order", "", "law = \"multivariate_t\"\nnu = 3", on_least_squares()),
       {":38: key 'curve.its SDE.of' = \"dcsgd\": is dsignsgd under multivariate_t: its signs depend on each other, "
        "which a model covers only for dim = 1 or a separable objective without affine noise, not for least_squares; "
        "use "
        "law = \"student_t\" or \"gaussian\""}},
      {with_sign_model("first_order", "", "law = \"multivariate_t\"\nnu = 3\naffine = 0.5"),
       {"without affine noise, not for quadratic with affine noise"}},
      {with("eta = 0.02", "eta = 0.02\nk = 3"),
       {"key 'curve.dcsgd.k' = 3: unknown key; it belongs to [workers] or [noise] or the compressor of a "
        "curve"}},
      {with("eta = 0.02", "eta = 0.02\nsampling = \"exact\""),
       {":28: key 'curve.dcsgd.sampling' = \"exact\": must be one of auto, direct"}},
      {with("eta = 0.02", "eta = 0.02\nseed = -1"), {":28: key 'curve.dcsgd.seed' = -1"}},
      {with("eta = 0.02", "eta = 0.02\npaths = 0"), {":28: key 'curve.dcsgd.paths' = 0"}},
      {with("eta = 0.02", "eta = 0.02\nsteps = 0"), {":28: key 'curve.dcsgd.steps' = 0"}},
      {with("checkpoints = 50", "checkpoint_steps = [0, 400]", with("eta = 0.02", "eta = 0.02\nsteps = 300")),
       {":28: key 'curve.dcsgd.steps' = 300: must be at least the last of checkpoint_steps, 400"}},
      {with("eta = 0.02", "eta = 0.02\nnoise = { law = \"gaussian\", nu = 2 }"),
       {":28: key 'curve.dcsgd.noise.nu' = 2: does not belong to law = \"gaussian\""}},
      {with("eta = 0.02", "eta = 0.02\nnoise = { law = \"student_t\" }"),
       {":28: key 'curve.dcsgd.noise.nu' is missing"}},
      {with("eta = 0.02", "eta = 0.02\nnoise = 3"), {":28: key 'curve.dcsgd.noise' = 3: must be a table"}},
      {with("eta = 0.02", "eta = 0.02\nworkers = { count = 0 }"), {":28: key 'curve.dcsgd.workers.count' = 0"}},
      {with("batch = 1", "batch = [1,2,3,4,5,6,7,8]", with("eta = 0.02", "eta = 0.02\nworkers = { count = 3 }")),
       {":22: key 'workers.batch'", "3 needed, 8 given"}},
      {with("batch = 1", "scale = 2", with("eta = 0.02", "eta = 0.02\nnoise = { scale = 3 }")),
       {":28: key 'curve.dcsgd.noise.scale' = 3: has no effect"}},
      {with("", with("eta = 1", "eta = 1\nworkers = { k = 3 }", curve)),
       {":40: key 'curve.b.workers.k' = 3: belongs to curves whose compressor is one of rand_k, rand_k_plain, top_k; "
        "that of this curve is identity"}},
      // Compressor, schedule, adaptive.
      {with("k = 16", "k = 0"),
       {":28: key 'curve.dcsgd.compressor.k' = 0: must be an integer from 1 to dim (dim = 64)"}},
      {with("k = 16", "k = 65"), {":28: key 'curve.dcsgd.compressor.k' = 65"}},
      {with(", k = 16", ""), {":28: key 'curve.dcsgd.compressor.k' is missing: must be an integer from 1 to dim"}},
      {with("k = 16", "k = 16, p = 0.5"),
       {":28: key 'curve.dcsgd.compressor.p' = 0.5: does not belong to kind = \"rand_k\", only to bernoulli"}},
      {with("\"rand_k\"", "\"bernoulli\""),
       {"key 'curve.dcsgd.compressor.k' = 16: does not belong to kind = \"bernoulli\", only to rand_k, "
        "rand_k_plain, top_k",
        "key 'curve.dcsgd.compressor.p' is missing"}},
      {with("\"rand_k\", k = 16", "\"bernoulli\", p = 0"),
       {"key 'curve.dcsgd.compressor.p' = 0: must be a number in (0, 1], at least 2^-31"}},
      {with("\"rand_k\", k = 16", "\"bernoulli\", p = 1.5"), {"key 'curve.dcsgd.compressor.p' = 1.5"}},
      {with("\"rand_k\", k = 16", "\"bernoulli\", p = 1e-10"), {"key 'curve.dcsgd.compressor.p' = 1e-10", "2^-31"}},
      {with("\"rand_k\", k = 16", "\"tpo_k\", k = 3"),
       {"key 'curve.dcsgd.compressor.kind' = \"tpo_k\": must be one of identity, rand_k, bernoulli, rand_k_plain, "
        "qsgd, "
        "natural, top_k; did you mean 'top_k'?"}},
      {with("\"rand_k\", k = 16", "\"top_k\", k = 65"), {":28: key 'curve.dcsgd.compressor.k' = 65", "(dim = 64)"}},
      {with("\"rand_k\", k = 16", "\"top_k\""), {":28: key 'curve.dcsgd.compressor.k' is missing"}},
      {with("\"rand_k\", k = 16", "\"rand_k_plain\", k = 0"), {":28: key 'curve.dcsgd.compressor.k' = 0"}},
      {with("\"rand_k\", k = 16", "\"qsgd\""),
       {":28: key 'curve.dcsgd.compressor.s' is missing: must be an integer from 1 to 65535"}},
      {with("\"rand_k\", k = 16", "\"qsgd\", s = 0"), {":28: key 'curve.dcsgd.compressor.s' = 0: must be"}},
      {with("\"rand_k\", k = 16", "\"qsgd\", s = 65536"), {":28: key 'curve.dcsgd.compressor.s' = 65536"}},
      {with("\"rand_k\", k = 16", "\"qsgd\", s = 4.0"), {":28: key 'curve.dcsgd.compressor.s' = 4.0", "; write 4"}},
      {with("\"rand_k\", k = 16", "\"natural\", s = 4"),
       {":28: key 'curve.dcsgd.compressor.s' = 4: does not belong to kind = \"natural\", only to qsgd"}},
      {with("\"rand_k\", k = 16", "\"qsgd\", s = 4", with("batch = 1", "k = 2")),
       {":22: key 'workers.k' = 2: belongs to curves whose compressor is one of rand_k, rand_k_plain, top_k"}},
      {with("{ kind = \"rand_k\", k = 16 }", "\"rand_k\""),
       {":28: key 'curve.dcsgd.compressor' = \"rand_k\": must be a table such as { kind = \"rand_k\", k = 16 }"}},
      {with("method = \"dcsgd\"", "method = \"dsgd\""),
       {":28: key 'curve.dcsgd.compressor'", "compressors belong to method = \"dcsgd\""}},
      {with("method = \"dcsgd\"", "method = \"dsignsgd\""), {"method = \"dsignsgd\" sends its gradients uncompressed"}},
      {with("\"constant\"", "\"constant\", k0 = 1"),
       {":29: key 'curve.dcsgd.schedule.k0' = 1: does not belong to kind = \"constant\", only to polynomial"}},
      {with("\"constant\"", "\"polynomial\", k0 = 0"),
       {":29: key 'curve.dcsgd.schedule.k0' = 0: must be a number from 1e-12"}},
      {with("\"constant\"", "\"polynomial\", p = -1"),
       {":29: key 'curve.dcsgd.schedule.p' = -1: must be a number >= 0"}},
      {with("\"constant\"", "\"cosinus\""),
       {":29: key 'curve.dcsgd.schedule.kind' = \"cosinus\": must be one of constant, polynomial, exponential, step, "
        "cosine; did you mean 'cosine'?"}},
      {with("\"constant\"", "\"cosine\", steps = 500"),
       {":29: key 'curve.dcsgd.schedule.steps' = 500: unknown key; it belongs to the top level"}},
      {with("\"constant\"", "\"exponential\""),
       {":29: key 'curve.dcsgd.schedule.rate' is missing: must be a number >= 0"}},
      {with("\"constant\"", "\"exponential\", rate = -1"), {":29: key 'curve.dcsgd.schedule.rate' = -1: must be a"}},
      {with("\"constant\"", "\"exponential\", rate = 1, p = 1"),
       {":29: key 'curve.dcsgd.schedule.p' = 1: does not belong to kind = \"exponential\", only to polynomial"}},
      {with("\"constant\"", "\"step\""),
       {":29: key 'curve.dcsgd.schedule.every' is missing: must be an integer from 1 to 2^40",
        ":29: key 'curve.dcsgd.schedule.factor' is missing: must be a number in (0, 1]"}},
      {with("\"constant\"", "\"step\", every = 0, factor = 0.5"),
       {":29: key 'curve.dcsgd.schedule.every' = 0: must be"}},
      {with("\"constant\"", "\"step\", every = 1.5, factor = 0.5"), {":29: key 'curve.dcsgd.schedule.every' = 1.5"}},
      {with("\"constant\"", "\"step\", every = 1, factor = 0"),
       {":29: key 'curve.dcsgd.schedule.factor' = 0: must be"}},
      {with("\"constant\"", "\"step\", every = 1, factor = 1.1"), {":29: key 'curve.dcsgd.schedule.factor' = 1.1"}},
      {with("\"constant\"", "\"constant\", warmup = -1"),
       {":29: key 'curve.dcsgd.schedule.warmup' = -1: must be an integer from 0 to 2^40"}},
      {with("\"constant\"", "\"cosine\", warmup = 2.5"), {":29: key 'curve.dcsgd.schedule.warmup' = 2.5: must be"}},
      {with("\"constant\"", "\"polynomial\", warmpu = 5"),
       {":29: key 'curve.dcsgd.schedule.warmpu' = 5: unknown key; did you mean 'warmup'?; known here: kind, warmup, "
        "k0, "
        "p"}},
      {with_adaptive("\"none\", theta = 1"),
       {":30: key 'curve.dcsgd.adaptive.theta' = 1: does not belong to kind = \"none\", only to l0l1, hessian_norm"}},
      {with_adaptive("\"l0ll\""),
       {":30: key 'curve.dcsgd.adaptive.kind' = \"l0ll\": must be one of none, gradient_norm, l0l1, hessian_norm; did "
        "you "
        "mean 'l0l1'?"}},
      {with("{ kind = \"none\" }", "\"l0l1\""),
       {":30: key 'curve.dcsgd.adaptive' = \"l0l1\": must be a table such as { kind = \"gradient_norm\", c = 1.0, q = "
        "1.0 "
        "}"}},
      {with_adaptive("\"gradient_norm\", c = 0"), {":30: key 'curve.dcsgd.adaptive.c' = 0: must be a number > 0"}},
      {with_adaptive("\"gradient_norm\", q = -1"), {":30: key 'curve.dcsgd.adaptive.q' = -1: must be a number >= 0"}},
      {with_adaptive("\"gradient_norm\", stochastic = 1"),
       {":30: key 'curve.dcsgd.adaptive.stochastic' = 1: must be true or false"}},
      {with_adaptive("\"gradient_norm\", stochastic = \"true\""),
       {":30: key 'curve.dcsgd.adaptive.stochastic' = \"true\": must be true or false; write it without quotes"}},
      {with_adaptive("\"gradient_norm\", theta = 1"),
       {":30: key 'curve.dcsgd.adaptive.theta' = 1: does not belong to kind = \"gradient_norm\", only to l0l1"}},
      {with_adaptive("\"l0l1\", theta = 0"), {":30: key 'curve.dcsgd.adaptive.theta' = 0: must be a number > 0"}},
      {with_adaptive("\"l0l1\", L0 = 0"), {":30: key 'curve.dcsgd.adaptive.L0' = 0: must be a number > 0"}},
      {with_adaptive("\"l0l1\", L1 = -1"), {":30: key 'curve.dcsgd.adaptive.L1' = -1: must be a number >= 0"}},
      {with_adaptive("\"hessian_norm\", L0 = 1"),
       {":30: key 'curve.dcsgd.adaptive.L0' = 1: does not belong to kind = \"hessian_norm\", only to l0l1"}},
      {with_adaptive("\"hessian_norm\", stochastic = true"),
       {":30: key 'curve.dcsgd.adaptive.stochastic' = true: does not belong to kind = \"hessian_norm\", only to "
        "gradient_norm, l0l1"}},
      {with_adaptive("\"hessian_norm\"",
                     with("kind = \"least_squares\"", "lam = 0.1\nkind = \"logistic\"", on_least_squares())),
       {":31: key 'curve.dcsgd.adaptive.kind' = \"hessian_norm\": needs |H(x)|, which is not available for logistic"}},
      {with_objective("kind = \"saddle\"\neigenvalues = [-1]\nlam = 1") + "adaptive = { kind = \"l0l1\", L0 = 1 }\n",
       {":11: key 'curve.a.adaptive.L1' is missing: must be a number >= 0; for kind = \"saddle\" no pair (L0, L1) is "
        "known"}},
      {with("affine = 0.0", "affine = 0.5", with("\"gaussian\"", "\"student_t\"\nnu = 2", with_adaptive("\"l0l1\""))),
       {":31: key 'curve.dcsgd.adaptive.kind' = \"l0l1\": divides by K, which is infinite under affine noise "
        "(noise.affine = 0.5) of the law student_t"}},
      {with_adaptive("\"gradient_norm\", stochastic = true", with("compressor = { kind = \"rand_k\", k = 16 }", "",
                                                                  with("method = \"dcsgd\"", "method = \"dsignsgd\""))),
       {":30: key 'curve.dcsgd.adaptive.stochastic' = true: needs the norm of the gradients that the workers send; "
        "those "
        "of method = \"dsignsgd\" send signs only"}},
      {with("{ kind = \"none\" }", "{ }"), {":30: key 'curve.dcsgd.adaptive.kind' is missing"}},
      // Bounds.
      {with("\"B3\"", "\"B7\""),
       {":33: key 'bound.B7.theorem' = \"B7\": must be one of B3, B3p (or B3'), B3c, B3d, B4, B4Y, B4d, B5, B6, B6d"}},
      {with("theorem = \"B3\"", ""), {":32: key 'bound.1.theorem' is missing"}},
      {with("curve = \"dcsgd\"", "curve = \"dcsdg\""),
       {":34: key 'bound.B3.curve' = \"dcsdg\": must be the name of a curve; did you mean 'dcsgd'?; curves here: "
        "dcsgd"}},
      {with("curve = \"dcsgd\"", ""), {":32: key 'bound.B3.curve' is missing"}},
      {with("\"holds\"", "\"hold\""),
       {":35: key 'bound.B3.expect' = \"hold\": must be one of holds, violated, inconclusive, not_applicable; did you "
        "mean 'holds'?"}},
      {with("", "margin = -0.1"), {":36: key 'bound.B3.margin' = -0.1: must be a number >= 0"}},
      {with("", "margin = inf"), {":36: key 'bound.B3.margin' = inf"}},
      {with("", "confidence = 0.4"), {":36: key 'bound.B3.confidence' = 0.4: must be a number from 0.5 to 1 - 1e-9"}},
      {with("", "confidence = 1"), {":36: key 'bound.B3.confidence' = 1"}},
      {with("", "[[bound]]\ntheorem = \"B3\"\ncurve = \"dcsgd\"\n"),
       {":37: key 'bound.2.theorem' = \"B3\": is already held against curve 'dcsgd'"}},
      {with("\"B3\"", "\"B3'\"", with("", "[[bound]]\ntheorem = \"B3p\"\ncurve = \"dcsgd\"\n")),
       {"is already held against"}},
      // Size.
      {with("steps = 500", "steps = 1099511627776", with("count = 8", "count = 4096", with("dim = 64", "dim = 65536"))),
       {":24: curve.dcsgd: steps = 1099511627776 times 268435456 random words a step must stay below 2^60"}},
      // TOML and encoding.
      {"paths = 1\nb = = 3\n", {"x.toml:2:5: ", "\n    2 | b = = 3\n      |     ^"}},
      {"a = \"x", {"x.toml:1:", "\n    1 | a = \"x\n"}},
      {"a = 1\na = 2\n", {"x.toml:2:", "'a'"}},
      {"[a\n", {"x.toml:1:"}},
      {"\t= 1", {"x.toml:1:2:", "\n    1 |  = 1\n      |  ^"}},
      {"", {"x.toml: is empty"}},
      {" \n\t\r\n", {"x.toml: is empty"}},
      {"\xEF\xBB\xBFpaths = 1", {"x.toml: starts with a byte order mark"}},
      {std::string("\xFF\xFEp\0", 4), {"x.toml: is UTF-16 text; save it as UTF-8"}},
      {"a = 1\nb = \"\xE4\"\n", {"x.toml:2: is not UTF-8 text (byte 0xE4)"}},
      {std::string("a = 1\0", 6), {"x.toml:1:"}},
      {"a = \"\\uD800\"", {"x.toml:1:"}},
      {std::string(100000, '['), {"x.toml:1:"}},
      {"a = " + std::string(100000, '['), {"x.toml:1:"}},
      {"a" +
           [] {
             std::string s;
             for (int i = 0; i < 100000; ++i) s += ".a";
             return s;
           }() +
           " = 1",
       {"x.toml:1: a key of more than 20 dotted parts"}},
      {"[a." +
           [] {
             std::string s;
             for (int i = 0; i < 100000; ++i) s += "\"]\".";
             return s;
           }() +
           "a]",
       {"x.toml:1: a key of more than 20"}},
  };
}

TEST(Experiment, RefusesWrongInputWithPlaceValueAndWhatIsAllowed) {
  const std::vector<Bad> inputs = bad_inputs();
  EXPECT_GE(inputs.size(), 150u);
  for (const Bad& bad : inputs) {
    const std::string message = message_of(bad.text);
    EXPECT_FALSE(message.empty()) << "accepted:\n" << bad.text.substr(0, 2000);
    for (const std::string& part : bad.expected)
      EXPECT_NE(message.find(part), std::string::npos) << "no \"" << part << "\" in:\n" << message;
  }
}

TEST(Experiment, OneMistakeGivesOneMessage) {
  // Those of bad_inputs() that announce one message only.
  for (const Bad& bad : bad_inputs()) {
    if (bad.expected.size() != 1 || bad.expected[0].substr(0, 1) != ":") continue;
    const std::string message = message_of(bad.text);
    EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 0) << message;
  }
}

TEST(Experiment, ReportsAllProblemsAtOnceInTheOrderOfTheFile) {
  std::string text = with("seed = 1", "seed = -1");
  text = with("count = 8", "count = 0", text);
  text = with("eta = 0.02", "eta = nan", text);
  text = with("\"holds\"", "\"fails\"", text);
  text = with("limit = 1e30", "limits = 1e30", text);
  const std::string message = message_of(text, set({"noise.scale=-1", "paths=0.5"}));
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 6) << message;
  std::size_t last = 0;
  for (const char* part : {"x.toml:2: key 'seed'", "x.toml:7: key 'limits'", "x.toml:21: key 'workers.count'",
                           "x.toml:27: key 'curve.dcsgd.eta'", "x.toml:35: key 'bound.B3.expect'",
                           "--set noise.scale=-1: key 'noise.scale' = -1", "--set paths=0.5: key 'paths' = 0.5"}) {
    const std::size_t at = message.find(part);
    ASSERT_NE(at, std::string::npos) << part << " in:\n" << message;
    EXPECT_GE(at, last);
    last = at;
  }
}

TEST(Experiment, AMistakeThatSeveralCurvesShareIsReportedOnce) {
  const std::string text =
      with("scale = 1.0", "scale = -1", with("", "[[curve]]\nname = \"b\"\nmethod = \"dsgd\"\neta = 1\n"));
  const std::string message = message_of(text);
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 0) << message;
}

TEST(Experiment, ALongListOfProblemsIsCutAndCounted) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "unknown_" + std::to_string(i) + " = 1\n";
  const std::string message = message_of(text + example);
  EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 200);
  EXPECT_NE(message.find("x.toml: and 800 more problems"), std::string::npos);
}

TEST(Experiment, MessagesCarryNoControlCharacters) {
  for (const std::string& text : {std::string("\"\\u001b[31m\" = \"\\u001b\\u0000\\r\\n\"\n"),
                                  std::string("a = \"\x1b[31m\"\n"), std::string("a\x07 = 1\n")}) {
    const std::string message = message_of(text);
    EXPECT_FALSE(message.empty());
    for (const char c : message) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 || c == '\n') << message;
  }
}

TEST(Experiment, QuotedSourceLinesAreCutToAWindow) {
  const std::string message = message_of("a = [" + std::string(5000, '1') + "]\n");
  EXPECT_LT(message.size(), 1000u);
  const std::string wide = message_of("a = \"" + std::string(5000, 'x') + "\" b\n");
  EXPECT_LT(wide.size(), 1000u);
  EXPECT_NE(wide.find("^"), std::string::npos);
}

TEST(Overrides, SetReplacesAndAddsKeys) {
  const Experiment e = parse_experiment(
      example, "x.toml",
      set({"workers.count=4", "curve.dcsgd.eta=0.1", "noise.law=student_t", "noise.nu=3", "objective.spectrum.max=2",
           "bound.B3.expect=violated", "curve.dcsgd.compressor={kind=\"bernoulli\", p=0.5}", "title=\"two words\"",
           " steps = 600 ", "bound.1.margin=0.5"}));
  EXPECT_EQ(e.curves[0].workers.count, 4);
  EXPECT_EQ(e.curves[0].eta, 0.1);
  EXPECT_EQ(e.curves[0].noise.law.kind, LawKind::student_t);
  EXPECT_EQ(e.curves[0].noise.law.nu, 3.0);
  EXPECT_EQ(e.objective.spectrum_max, 2.0);
  EXPECT_EQ(e.bounds[0].expect, Expectation::violated);
  EXPECT_EQ(e.bounds[0].margin, 0.5);
  EXPECT_EQ(e.curves[0].compressor.kind, CompressorKind::bernoulli);
  EXPECT_EQ(e.curves[0].compressor.p, 0.5);
  EXPECT_EQ(e.title, "two words");
  EXPECT_EQ(e.steps, 600u);
}

TEST(Overrides, TheLastSetOfAKeyWins) {
  EXPECT_EQ(parse_experiment(example, "x.toml", set({"steps=60", "steps=70"})).steps, 70u);
}

TEST(Overrides, SetMakesTablesThatAreNotThere) {
  const Experiment e =
      parse_experiment(with_objective("kind = \"cosh\""), "x.toml",
                       set({"workers.count=3", "curve.a.schedule.kind=polynomial", "curve.a.workers.batch=2"}));
  EXPECT_EQ(e.curves[0].workers.count, 3);
  EXPECT_EQ(e.curves[0].workers.batch, std::vector<double>(3, 2.0));
  EXPECT_EQ(e.curves[0].schedule.kind, ScheduleKind::polynomial);
}

TEST(Overrides, CurvesGoByNameAlsoWithDotsSpacesAndSigns) {
  for (const char* name : {"its SDE", "eta 0.1", "a.b.c", "a=b", "1", "curve", "\xC3\xA9t\xC3\xA9"}) {
    const std::string text = with("\"dcsgd\"", '"' + std::string(name) + '"',
                                  with("curve = \"dcsgd\"", "curve = \"" + std::string(name) + '"'));
    EXPECT_EQ(parse_experiment(text, "x.toml", set({"curve.\"" + std::string(name) + "\".eta=0.5"})).curves[0].eta, 0.5)
        << name;
    if (std::string(name) != "a=b") {
      EXPECT_EQ(parse_experiment(text, "x.toml", set({"curve." + std::string(name) + ".eta=0.5"})).curves[0].eta, 0.5)
          << name;
    }
    EXPECT_EQ(parse_experiment(text, "x.toml", set({"curve.1.eta=0.5"})).curves[0].eta, 0.5) << name;
  }
}

TEST(Overrides, BoundsGoByEveryNameOfTheirTheorem) {
  const std::string text = with("\"B3\"", "\"B3'\"");
  for (const char* key : {"bound.B3'.expect=violated", "bound.B3p.expect=violated", "bound.1.expect=violated",
                          "bound.B3'.expect='violated'"})
    EXPECT_EQ(parse_experiment(text, "x.toml", set({key})).bounds[0].expect, Expectation::violated) << key;
  EXPECT_EQ(parse_experiment(example, "x.toml", set({"bound.B3.theorem=B3'"})).bounds[0].theorem, "B3p");
}

TEST(Overrides, SeedAndPathsWinOverEverything) {
  Overrides overrides = set({"seed=5", "paths=50", "curve.own.seed=6"});
  overrides.seed = 77;
  overrides.paths = 99;
  const Experiment e = parse_experiment(
      with("", "[[curve]]\nname = \"own\"\nmethod = \"dsgd\"\neta = 1\nseed = 2\npaths = 3\n"), "x.toml", overrides);
  EXPECT_EQ(e.seed, 77u);
  EXPECT_EQ(e.paths, 99u);
  for (const CurveConfig& curve : e.curves) {
    EXPECT_EQ(curve.seed, 77u);
    EXPECT_EQ(curve.paths, 99u);
  }
  Overrides only_paths;
  only_paths.paths = 99;
  // A file without paths is complete with --paths.
  EXPECT_EQ(parse_experiment(with("paths = 65536\n", ""), "x.toml", only_paths).paths, 99u);
}

TEST(Overrides, WrongOnesAreRefusedByTheirOwnName) {
  const std::vector<std::pair<std::string, std::string>> table{
      {"workers.count=0", "--set workers.count=0: key 'workers.count' = 0: must be an integer from 1 to 4096"},
      {"worker.count=4", "--set worker.count=4: key 'worker' = { count = 4 }: unknown key; did you mean 'workers'?"},
      {"workers.cuont=4", "key 'workers.cuont' = 4: unknown key; did you mean 'count'?"},
      {"curve.dcsdg.eta=1", "--set curve.dcsdg.eta=1: no curve 'dcsdg'; did you mean 'dcsgd'?; known here: dcsgd"},
      {"curve.dcsgd.eat=1", "key 'curve.dcsgd.eat' = 1: unknown key; did you mean 'eta'?"},
      {"curve.2.eta=1", "no curve '2'"},
      {"curve.0.eta=1", "no curve '0'"},
      {"curve.dcsgd=1", "the key is missing: write curve.dcsgd.<key>=value"},
      {"curve.=1", "address one key of a curve"},
      {"curve=1", "address one key of a curve: curve.<name>.<key>"},
      {"bound=1", "address one key of a bound"},
      {"bound.B4.expect=holds", "no bound 'B4'; known here: B3"},
      {
          "bound.B3.expect=hold",
          "key 'bound.B3.expect' = \"hold\"",
      },
      {"steps", "--set steps: must be key=value"},
      {"steps=", "the value is missing"},
      {"=5", "the key is missing"},
      {"steps.x=1", "'steps' is not a table"},
      {"a..b=1", "is not a dotted key"},
      {".=1", "is not a dotted key"},
      {"title=two words", "the value is not TOML"},
      {"steps=2^9", "the value is not TOML"},
      {"steps=1 2", "the value is not TOML"},
      {
          "steps=1e3",
          "key 'steps' = 1000.0",
      },
      {"steps=[1", "the value is not TOML"},
      {"steps=99999999999999999999", "64 bits"},
      {"steps=1\nseed=2", "control characters"},
      {"title=\xFF", "is not UTF-8 text"},
      {"noise.law=student_t", "--set noise.law=student_t: key 'noise.nu' is missing"},
      {"precision=half", "key 'precision' = \"half\": must be one of float, double"},
      {"curve.dcsgd.method=dsgd", "x.toml:28: key 'curve.dcsgd.compressor'"},
  };
  for (const auto& [key, part] : table) {
    const std::string message = message_of(example, set({key}));
    EXPECT_NE(message.find(part), std::string::npos) << key << " gave:\n" << message;
  }
  Overrides zero, large;
  zero.paths = 0;
  large.seed = std::uint64_t{1} << 63;
  EXPECT_NE(message_of(example, zero).find("--paths 0: must be an integer from 1 to 2^40"), std::string::npos);
  EXPECT_NE(message_of(example, large).find("--seed 9223372036854775808: must be"), std::string::npos);
}

TEST(Overrides, AnAmbiguousBoundIsRefused) {
  const std::string text =
      with("", "[[curve]]\nname = \"b\"\nmethod = \"dsgd\"\neta = 1\n[[bound]]\ntheorem = \"B3\"\ncurve = \"b\"\n");
  EXPECT_NE(message_of(text, set({"bound.B3.margin=0"})).find("several bounds go by 'B3'"), std::string::npos);
  EXPECT_EQ(parse_experiment(text, "x.toml", set({"bound.2.margin=0"})).bounds[1].margin, 0.0);
}

TEST(ExperimentFile, WhatIsNoFileIsSaidOnce) {
  const Folder folder;
  const auto message = [](const std::string& path) -> std::string {
    try {
      load_experiment(path);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message(folder.path() + "/none.toml"), folder.path() + "/none.toml: there is no such file");
  EXPECT_EQ(message(folder.path()), folder.path() + ": is a directory, not an experiment file");
  EXPECT_EQ(message(folder.write("empty.toml", "")).find(folder.path() + "/empty.toml: is empty"), 0u);
  EXPECT_NE(message(""), "");
  EXPECT_NE(message(std::string("a\0b", 3)), "");
  EXPECT_NE(message(std::string(10000, 'a')), "");
  EXPECT_NE(message(folder.path() + "/empty.toml/x"), "");
  EXPECT_NE(message(folder.write("huge.toml", std::string((16u << 20) + 1, '#'))).find("is larger than 16 MiB"),
            std::string::npos);
  EXPECT_NE(message("/dev/zero").find("is larger than 16 MiB"), std::string::npos);
  const std::string secret = folder.write("secret.toml", example);
  std::filesystem::permissions(secret, std::filesystem::perms::none);
  if (geteuid() != 0) {
    EXPECT_EQ(message(secret), secret + ": cannot be read: Permission denied");
  }
  EXPECT_EQ(message(folder.write("good.toml", example)), "");
}

TEST(ExperimentFile, MessagesNameTheFile) {
  const Folder folder;
  const std::string path = folder.write("my.toml", with("seed = 1", "sede = 1"));
  try {
    load_experiment(path);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()).find(path + ":2: key 'sede' = 1: unknown key; did you mean 'seed'?"), 0u)
        << error.what();
  }
}

TEST(Registries, MatchTheEnumerators) {
  EXPECT_STREQ(name_of(ObjectiveKind::quadratic), "quadratic");
  EXPECT_STREQ(name_of(ObjectiveKind::quartic), "quartic");
  EXPECT_STREQ(name_of(ObjectiveKind::cosh), "cosh");
  EXPECT_STREQ(name_of(ObjectiveKind::sine_pl), "sine_pl");
  EXPECT_STREQ(name_of(ObjectiveKind::least_squares), "least_squares");
  EXPECT_STREQ(name_of(ObjectiveKind::logistic), "logistic");
  EXPECT_STREQ(name_of(ObjectiveKind::saddle), "saddle");
  EXPECT_EQ(objective_registry().size(), 7u);
  EXPECT_STREQ(name_of(MethodKind::dsgd), "dsgd");
  EXPECT_STREQ(name_of(MethodKind::dcsgd), "dcsgd");
  EXPECT_STREQ(name_of(MethodKind::dsignsgd), "dsignsgd");
  EXPECT_STREQ(name_of(MethodKind::dnsgd), "dnsgd");
  EXPECT_STREQ(name_of(MethodKind::clipped_dsgd), "clipped_dsgd");
  EXPECT_STREQ(name_of(MethodKind::heavy_ball), "heavy_ball");
  EXPECT_STREQ(name_of(MethodKind::adam), "adam");
  EXPECT_EQ(method_registry().size(), 7u);
  EXPECT_STREQ(name_of(ModelKind::first_order), "first_order");
  EXPECT_STREQ(name_of(ModelKind::second_order), "second_order");
  EXPECT_STREQ(name_of(ModelKind::curvature), "curvature");
  EXPECT_STREQ(name_of(ModelKind::hessian_aware), "hessian_aware");
  EXPECT_EQ(model_registry().size(), 4u);
  EXPECT_STREQ(name_of(IntegratorKind::euler_maruyama), "euler_maruyama");
  EXPECT_STREQ(name_of(IntegratorKind::weak2), "weak2");
  EXPECT_STREQ(name_of(IntegratorKind::moment), "moment");
  EXPECT_EQ(integrator_registry().size(), 3u);
  EXPECT_STREQ(name_of(LawKind::gaussian), "gaussian");
  EXPECT_STREQ(name_of(LawKind::student_t), "student_t");
  EXPECT_STREQ(name_of(LawKind::multivariate_t), "multivariate_t");
  EXPECT_STREQ(name_of(LawKind::laplace), "laplace");
  EXPECT_STREQ(name_of(LawKind::logistic), "logistic");
  EXPECT_STREQ(name_of(LawKind::contaminated_gaussian), "contaminated_gaussian");
  EXPECT_STREQ(name_of(LawKind::alpha_stable), "alpha_stable");
  EXPECT_EQ(law_registry().size(), 7u);
  EXPECT_STREQ(name_of(CompressorKind::identity), "identity");
  EXPECT_STREQ(name_of(CompressorKind::rand_k), "rand_k");
  EXPECT_STREQ(name_of(CompressorKind::bernoulli), "bernoulli");
  EXPECT_STREQ(name_of(CompressorKind::rand_k_plain), "rand_k_plain");
  EXPECT_STREQ(name_of(CompressorKind::qsgd), "qsgd");
  EXPECT_STREQ(name_of(CompressorKind::natural), "natural");
  EXPECT_STREQ(name_of(CompressorKind::top_k), "top_k");
  EXPECT_EQ(compressor_registry().size(), 7u);
  EXPECT_STREQ(name_of(ScheduleKind::constant), "constant");
  EXPECT_STREQ(name_of(ScheduleKind::polynomial), "polynomial");
  EXPECT_STREQ(name_of(ScheduleKind::exponential), "exponential");
  EXPECT_STREQ(name_of(ScheduleKind::step), "step");
  EXPECT_STREQ(name_of(ScheduleKind::cosine), "cosine");
  EXPECT_EQ(schedule_registry().size(), 5u);
  EXPECT_STREQ(name_of(AdaptiveKind::none), "none");
  EXPECT_STREQ(name_of(AdaptiveKind::gradient_norm), "gradient_norm");
  EXPECT_STREQ(name_of(AdaptiveKind::l0l1), "l0l1");
  EXPECT_STREQ(name_of(AdaptiveKind::hessian_norm), "hessian_norm");
  EXPECT_EQ(adaptive_registry().size(), 4u);
  EXPECT_STREQ(name_of(VarianceReduction::control), "control");
  EXPECT_STREQ(name_of(VarianceReduction::automatic), "auto");
  EXPECT_EQ(variance_reduction_registry().size(), 5u);
  EXPECT_STREQ(name_of(Expectation::not_applicable), "not_applicable");
}

#ifdef PATHBOUND_SOURCE_DIR
TEST(Registries, EveryRowOfTheDocumentationMatches) {
  std::ifstream file(std::string(PATHBOUND_SOURCE_DIR) + "/docs/experiment.md");
  std::stringstream buffer;
  buffer << file.rdbuf();
  const std::string page = buffer.str();
  ASSERT_FALSE(page.empty());
  const auto escaped = [](const std::string& text) {
    std::string out;
    for (const char c : text) out += c == '|' ? "\\|" : std::string(1, c);
    return out;
  };
  const auto row = [&](const KeyInfo& key) {
    return "| `" + key.name + "` | " + escaped(key.type) + " | " + escaped(key.allowed) + " | " +
           escaped(key.fallback) + " | " + escaped(key.meaning) + " |";
  };
  const auto expect = [&](const std::string& text) {
    EXPECT_NE(page.find("\n" + text), std::string::npos) << "docs/experiment.md lacks the row\n" << text;
  };
  for (const ComponentInfo& table : table_registry())
    for (const KeyInfo& key : table.keys) expect(row(key));
  for (const auto* registry : {&objective_registry(), &spectrum_registry(), &law_registry(), &method_registry(),
                               &model_registry(), &integrator_registry(), &compressor_registry(), &schedule_registry(),
                               &adaptive_registry(), &variance_reduction_registry()}) {
    for (const ComponentInfo& component : *registry) {
      expect("| `" + component.name + "` | " + escaped(component.summary) + " |");
      for (const KeyInfo& key : component.keys) expect("| `" + component.name + "` " + row(key));
    }
  }
  for (const BoundInfo& bound : bound_registry())
    EXPECT_NE(page.find(bound.theorem), std::string::npos) << bound.theorem;
}

TEST(Registries, TheExamplesOfTheDocumentationAreGood) {
  std::ifstream file(std::string(PATHBOUND_SOURCE_DIR) + "/docs/experiment.md");
  std::stringstream buffer;
  buffer << file.rdbuf();
  const std::string page = buffer.str();
  const std::size_t begin = page.find("```toml\n");
  ASSERT_NE(begin, std::string::npos);
  const std::string text = page.substr(begin + 8, page.find("```", begin + 8) - begin - 8);
  EXPECT_EQ(normalised(parse_experiment(text, "x.toml")).dump(),
            normalised(parse_experiment(example, "x.toml")).dump());
  const std::size_t second = page.find("```toml\n", begin + 8);
  ASSERT_NE(second, std::string::npos);
  const Experiment models =
      parse_experiment(page.substr(second + 8, page.find("```", second + 8) - second - 8), "x.toml");
  ASSERT_EQ(models.curves.size(), 3u);
  EXPECT_EQ(models.curves[1].model->kind, ModelKind::first_order);
  EXPECT_EQ(models.curves[2].model->kind, ModelKind::hessian_aware);
  EXPECT_EQ(models.bounds.at(0).curve, "its SDE");
}
#endif

/// Every outcome but a good experiment or an InputError with a message fails the test (or ends the program).
void survives(const std::string& text, const Overrides& overrides = {}) {
  try {
    const Experiment e = parse_experiment(text, "x.toml", overrides);
    EXPECT_FALSE(normalised(e).dump().empty());
  } catch (const InputError& error) {
    EXPECT_FALSE(std::string(error.what()).empty());
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what() << " for:\n" << text;
  }
}

TEST(Fuzz, RandomMutationsAreReadOrRefused) {
  std::mt19937_64 random(20250217);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  const std::vector<std::string> words{"[",
                                       "]",
                                       "[[",
                                       "]]",
                                       "{",
                                       "}",
                                       "=",
                                       ".",
                                       ",",
                                       "\"",
                                       "'",
                                       "\"\"\"",
                                       "'''",
                                       "#",
                                       "\n",
                                       "\r",
                                       "\t",
                                       "\\",
                                       "\\u0000",
                                       "\\U0010FFFF",
                                       "nan",
                                       "-inf",
                                       "1e308",
                                       "-1",
                                       "0",
                                       "9223372036854775807",
                                       "0x7fffffffffffffff",
                                       "1e5",
                                       "true",
                                       "1979-05-27T07:32:00Z",
                                       "[curve]",
                                       "[[curve]]\n",
                                       "[[bound]]\n",
                                       "a.b.c",
                                       "{}",
                                       "[]",
                                       "k = [1, 2]\n",
                                       "nu = 1\n",
                                       "\xC3\xA9",
                                       "\xF0\x9F\x98\x80",
                                       "\xFF",
                                       std::string(1, '\0'),
                                       "_",
                                       "file = \"/dev/null\"\n",
                                       "kind = \"saddle\"\n",
                                       "1_000",
                                       "+1",
                                       "07:32:00"};
  const std::vector<std::string> seeds{
      example,
      with_objective("kind = \"saddle\"\ndim = 2\neigenvalues = [1, -0.1]\nlam = 0.3\nstart = [0, 1e-7]"),
      with_objective("kind = \"least_squares\"\ndim = 4\nrows = 9\nrank = 2\nmu = 0.01"),
      with("count = 8", "count = 2\nscale = [0.1, 0.3]\nk = [3, 4]"),
      with_model("curvature", "substeps = 3\nintegrator = \"weak2\"\n"),
      with_method("adam", "beta1 = 0.5"),
      with("\"constant\"", "\"step\", every = 10, factor = 0.5, warmup = 3",
           with_adaptive("\"l0l1\", theta = 0.5, stochastic = false"))};
  const std::size_t rounds = PATHBOUND_FUZZ_ROUNDS;
  std::size_t accepted = 0;
  for (std::size_t round = 0; round < rounds; ++round) {
    std::string text = seeds[below(seeds.size())];
    for (std::size_t n = 1 + below(4); n > 0; --n) {
      const std::size_t at = below(text.size() + 1), length = std::min(text.size() - at, below(20));
      switch (below(6)) {
        case 0:
          text.erase(at, length);
          break;
        case 1:
          text.insert(at, words[below(words.size())]);
          break;
        case 2:
          text.replace(at, length, words[below(words.size())]);
          break;
        case 3:
          if (at < text.size()) text[at] = static_cast<char>(random());
          break;
        case 4:
          text.insert(below(text.size() + 1), text.substr(at, below(200)));
          break;
        default:
          text.resize(at);
          break;
      }
      if (text.empty()) text = "x";
    }
    survives(text);
    accepted += message_of(text).empty();
    if (HasFailure()) break;
  }
  EXPECT_GT(accepted, rounds / 100);  // the mutations are not all nonsense
  EXPECT_LT(accepted, rounds);
}

TEST(Fuzz, RandomOverridesAreReadOrRefused) {
  std::mt19937_64 random(7);
  const std::vector<std::string> parts{
      "curve", "bound", ".",     ".",   ".",    "=",       "=",     "dcsgd",      "eta",       "1",        "B3",
      "'",     "\"",    "noise", "law", "{",    "}",       " ",     "compressor", "kind",      "[",        "]",
      "nan",   "0.5",   "\\",    "#",   "\xFF", "workers", "count", "title",      "objective", "spectrum", "-"};
  for (int round = 0; round < PATHBOUND_FUZZ_ROUNDS; ++round) {
    Overrides overrides;
    for (std::size_t n = 1 + random() % 2; n > 0; --n) {
      std::string text = random() % 2 ? "curve.dcsgd." : "";
      for (std::size_t m = random() % 9; m > 0; --m) text += parts[random() % parts.size()];
      overrides.set.push_back(text);
    }
    survives(example, overrides);
  }
}

TEST(Fuzz, DeepAndHugeInputIsRefusedQuickly) {
  std::string inline_tables, arrays;
  for (int i = 0; i < 50000; ++i) inline_tables += "{a=";
  for (int i = 0; i < 50000; ++i) arrays += "[";
  survives("a = " + inline_tables);
  survives("a = " + arrays + "1" + std::string(50000, ']'));
  std::string deep = "a = ";
  for (int i = 0; i < 30; ++i) deep += "{ a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = ";
  survives(deep + "1" + std::string(30, '}'));
  std::string many;
  for (int i = 0; i < 20000; ++i) many += "[k" + std::to_string(i) + "]\n";
  survives(many);
  std::string curves = "paths = 1\nsteps = 1\n[objective]\nkind = \"cosh\"\n";
  for (int i = 0; i < 5000; ++i)
    curves += "[[curve]]\nname = \"" + std::to_string(i) + "\"\nmethod = \"dsgd\"\neta = 1\n";
  EXPECT_NE(message_of(curves).find("must be 1 to 256 tables [[curve]]"), std::string::npos);
  survives(std::string(1000000, 'a'));
  survives(std::string(1000000, '"'));
  survives(std::string(1000000, '\n') + "a = = 1");
}

}  // namespace
}  // namespace pathbound
