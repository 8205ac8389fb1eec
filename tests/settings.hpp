// SPDX-License-Identifier: Apache-2.0
// Small curves that together go through every component and every form of the time loop, for tests that compare bits.
#pragma once
#include <string>
#include <vector>

#include "host/engine.hpp"

namespace pathbound {

/// An experiment of one curve, or of a curve and a model of it, ready for simulate_cpu: the last curve.
template <class R>
struct Prepared {
  explicit Prepared(const std::string& text)
      : experiment(parse_experiment(text, "test.toml")),
        objective(experiment.objective),
        curve(experiment, experiment.curves.back(), objective) {}
  SimResult run(Isa isa, int threads) const {
    SimOptions options;
    options.isa = isa;
    options.threads = threads;
    return simulate_cpu<R>(curve.spec, options);
  }
  Experiment experiment;
  Objective objective;
  CurveSpec<R> curve;
};

inline std::string text_of(const std::string& precision, const std::string& top, const std::string& objective,
                           const std::string& noise, const std::string& workers, const std::string& curve) {
  return "seed = 11\nprecision = \"" + precision + "\"\n" + top + "\n[objective]\n" + objective + "\n[noise]\n" +
         noise + "\n[workers]\n" + workers + "\n[[curve]]\nname = \"c\"\n" + curve + "\n";
}

struct Setting {
  std::string top, objective, noise, workers, curve;
  std::string text(const std::string& precision) const {
    return text_of(precision, top, objective, noise, workers, curve);
  }
};

/// The text of a curve and of an SDE model of it.
inline std::string with_model(const std::string& curve, const std::string& kind, int substeps, bool weak2 = false) {
  return curve + "\n[[curve]]\nname = \"model\"\nof = \"c\"\nmodel = \"" + kind +
         "\"\nsubsteps = " + std::to_string(substeps) + (weak2 ? "\nintegrator = \"weak2\"" : "");
}

/// Every objective, law, compressor, method, schedule and form of the loops at least once, with awkward sizes.
inline std::vector<Setting> settings_once();

/// Those of settings_once, and where workers are drawn together also worker by worker.
inline std::vector<Setting> settings() {
  std::vector<Setting> all = settings_once();
  for (std::size_t i = 0, n = all.size(); i < n; ++i) {
    const Experiment experiment = parse_experiment(all[i].text("float"), "test.toml");
    if (sampling_form(experiment.curves.back(), experiment.objective.dim) == SamplingForm::direct) continue;
    Setting direct = all[i];
    direct.curve = "sampling = \"direct\"\n" + direct.curve;
    all.push_back(direct);
  }
  return all;
}

inline std::vector<Setting> settings_once() {
  const std::string quadratic1 = "kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }";
  const auto quadratic = [](int d) {
    return "kind = \"quadratic\"\ndim = " + std::to_string(d) +
           "\nspectrum = { kind = \"linear\", min = 0.1, max = 1.3 }";
  };
  const std::string t5 = "law = \"student_t\"\nnu = 5.0", t1 = "law = \"student_t\"\nnu = 1.0",
                    t2 = "law = \"student_t\"\nnu = 2.0", half = "law = \"student_t\"\nnu = 0.5",
                    mt = "law = \"multivariate_t\"\nnu = 3.0";
  const std::string dsgd = "method = \"dsgd\"\neta = 0.1", sign = "method = \"dsignsgd\"\neta = 0.05",
                    polynomial = "\nschedule = { kind = \"polynomial\", k0 = 3.0, p = 0.6 }";
  const auto rand_k = [](int k) {
    return "method = \"dcsgd\"\neta = 0.02\ncompressor = { kind = \"rand_k\", k = " + std::to_string(k) + " }";
  };
  const std::string bernoulli = "method = \"dcsgd\"\neta = 0.1\ncompressor = { kind = \"bernoulli\", p = 0.3 }";
  const std::string by_norm = "\nadaptive = { kind = \"gradient_norm\", c = 0.7, q = 1.5 }",
                    by_growth = "\nadaptive = { kind = \"l0l1\", theta = 0.9, L0 = 1.3, L1 = 0.6 }",
                    by_curvature = "\nadaptive = { kind = \"hessian_norm\", theta = 0.1 }";
  return {
      // One coordinate, one worker: x stays in registers.
      {"paths = 5001\nsteps = 70", quadratic1, "", "", dsgd},
      {"paths = 5001\nsteps = 41\ncheckpoints = 7", "kind = \"quartic\"", t1, "", sign + polynomial},
      {"paths = 33\nsteps = 600\ncheckpoints = 5", "kind = \"cosh\"", "scale = 0.3", "", dsgd},
      {"paths = 31\nsteps = 30", "kind = \"sine_pl\"", t2, "", sign},
      {"paths = 1\nsteps = 30", "kind = \"saddle\"\neigenvalues = [-1.0]\nlam = 1.0", "scale = 0.3", "",
       dsgd + polynomial},
      {"paths = 500\nsteps = 20", quadratic1, half, "", sign},
      // Paths that diverge.
      {"paths = 1000\nsteps = 40\nlimit = 100.0", quadratic1, t1, "", "method = \"dsgd\"\neta = 0.5"},
      {"paths = 333\nsteps = 20\nlimit = 1e6", "kind = \"quartic\"\ndim = 3", "scale = 3.0", "count = 2",
       "method = \"dsgd\"\neta = 0.2"},
      // The general step.
      {"paths = 5001\nsteps = 9", quadratic(1), "", "count = 3", dsgd},
      {"paths = 33\nsteps = 25", quadratic(7), mt + "\naffine = 0.5", "count = 3\nbatch = [1, 2, 3]", bernoulli},
      {"paths = 31\nsteps = 25", quadratic(8), t5 + "\naffine = 0.7", "count = 2\nscale = [0.5, 2.0]",
       dsgd + polynomial},
      {"paths = 1\nsteps = 25", quadratic(5), "", "count = 5", sign + polynomial},
      {"paths = 200\nsteps = 12", quadratic(31), "", "count = 2", rand_k(5)},
      {"paths = 200\nsteps = 12", quadratic(33), t5, "count = 2", rand_k(30)},
      {"paths = 100\nsteps = 8", quadratic(64), "", "", rand_k(32)},
      {"paths = 100\nsteps = 8", quadratic(65), "", "count = 2", rand_k(3)},
      {"paths = 65\nsteps = 8", quadratic(129), mt, "", rand_k(100)},
      {"paths = 65\nsteps = 6", quadratic(200), "", "count = 3\nk = [1, 150, 200]", rand_k(1)},
      {"paths = 33\nsteps = 20", "kind = \"quartic\"\ndim = 3", half, "count = 2", sign},
      {"paths = 33\nsteps = 20", "kind = \"cosh\"\ndim = 9\nstart = 0.5", "scale = 0.2", "count = 2", bernoulli},
      {"paths = 33\nsteps = 20", "kind = \"sine_pl\"\ndim = 4", t5, "", rand_k(2)},
      {"paths = 33\nsteps = 20",
       "kind = \"saddle\"\ndim = 3\neigenvalues = [-1.0, 0.5, -2.0]\nlam = 0.8\nstart = [0.1, 1.0, -0.2]",
       "scale = 0.1", "", dsgd},
      {"paths = 33\nsteps = 20", "kind = \"least_squares\"\ndim = 9\nrows = 23\nrank = 5", "", "count = 2", rand_k(4)},
      {"paths = 33\nsteps = 20", "kind = \"logistic\"\ndim = 5\nrows = 19\nlam = 0.1", t5 + "\naffine = 0.2",
       "count = 2", bernoulli},
      {"paths = 2100\nsteps = 4", "kind = \"logistic\"\ndim = 2\nrows = 5\nlam = 0.1", mt, "count = 2", sign},
      // Whole vectors, states, adaptive factors; laws beyond Student's.
      {"paths = 5001\nsteps = 9", quadratic(1), "law = \"laplace\"", "", dsgd},
      {"paths = 33\nsteps = 20", quadratic(7), "law = \"logistic\"\naffine = 0.4", "count = 3\nbatch = [1, 2, 3]",
       "method = \"dnsgd\"\neta = 0.05" + polynomial},
      {"paths = 31\nsteps = 20", quadratic(9), "law = \"contaminated_gaussian\"\neps = 0.1\nk = 10.0", "count = 2",
       "method = \"dnsgd\"\nat = \"worker\"\neta = 0.05"},
      {"paths = 100\nsteps = 9", quadratic(33), "law = \"alpha_stable\"\nalpha = 1.5", "count = 2",
       "method = \"clipped_dsgd\"\nclip = 3.0\neta = 0.05"},
      {"paths = 65\nsteps = 9", quadratic(65), "law = \"alpha_stable\"\nalpha = 0.5", "", sign},
      {"paths = 33\nsteps = 20", "kind = \"cosh\"\ndim = 9\nstart = 0.5", "scale = 0.2", "count = 2",
       "method = \"heavy_ball\"\neta = 0.05\nschedule = { kind = \"cosine\", warmup = 4 }"},
      {"paths = 33\nsteps = 20", "kind = \"logistic\"\ndim = 5\nrows = 19\nlam = 0.1", t5, "count = 2",
       "method = \"adam\"\neta = 0.02"},
      {"paths = 33\nsteps = 12", quadratic(130), mt, "", "method = \"adam\"\neta = 0.02\nbeta1 = 0.5"},
      {"paths = 33\nsteps = 20", quadratic(5), t2, "count = 3",
       "method = \"dcsgd\"\neta = 0.02\ncompressor = { kind = \"qsgd\", s = 3 }"},
      {"paths = 33\nsteps = 20", "kind = \"least_squares\"\ndim = 9\nrows = 23\nrank = 5", "", "count = 2",
       "method = \"dcsgd\"\neta = 0.02\ncompressor = { kind = \"natural\" }\n"
       "adaptive = { kind = \"hessian_norm\" }"},
      {"paths = 65\nsteps = 12", quadratic(66), "", "count = 2\nk = [5, 66]",
       "method = \"dcsgd\"\neta = 0.02\ncompressor = { kind = \"top_k\" }"},
      {"paths = 33\nsteps = 20", quadratic(33), "", "count = 2",
       "method = \"dcsgd\"\neta = 0.02\ncompressor = { kind = \"rand_k_plain\", k = 5 }\n"
       "schedule = { kind = \"exponential\", rate = 0.1 }"},
      {"paths = 33\nsteps = 20", "kind = \"quartic\"\ndim = 3", half, "count = 2",
       "method = \"dsignsgd\"\neta = 0.05\nadaptive = { kind = \"hessian_norm\", theta = 0.1 }\n"
       "schedule = { kind = \"step\", every = 3, factor = 0.5 }"},
      {"paths = 33\nsteps = 20", "kind = \"cosh\"\ndim = 9\nstart = 2.5", "scale = 0.2\naffine = 0.1", "count = 2",
       bernoulli + "\nadaptive = { kind = \"l0l1\", theta = 0.7 }"},
      {"paths = 33\nsteps = 20", "kind = \"quartic\"\ndim = 3\nstart = 2.0", "", "count = 2",
       dsgd + "\nadaptive = { kind = \"gradient_norm\", c = 0.5, q = 1.3, stochastic = true }"},
      // Workers drawn together, beside those above: groups, table sizes, kept and dropped sides.
      {"paths = 97\nsteps = 25", quadratic(5), "law = \"student_t\"\nnu = 3.0", "count = 20", sign},
      {"paths = 65\nsteps = 25", "kind = \"cosh\"\ndim = 3", "law = \"laplace\"\naffine = 0.3", "count = 70",
       sign + polynomial},
      {"paths = 65\nsteps = 12", quadratic(65), "law = \"contaminated_gaussian\"\neps = 0.1\nk = 10.0",
       "count = 4\nscale = [0.5, 1.0, 0.5, 2.0]", sign},
      {"paths = 65\nsteps = 12", quadratic(34), "affine = 0.2",
       "count = 20\nk = [1, 17, 30, 34, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]", rand_k(5)},
      {"paths = 65\nsteps = 12", quadratic(129), "", "count = 3\nscale = [1.0, 0.0, 2.0]", rand_k(50)},
      {"paths = 33\nsteps = 25", quadratic(3), "affine = 0.5", "count = 3\nbatch = [1, 2, 1]", bernoulli},
      {"paths = 33\nsteps = 25", quadratic(6), t1, "count = 3\nscale = [0.1, 0.2, 0.3]", dsgd},
      // SDE models.
      {"paths = 5001\nsteps = 9", quadratic(1), "", "", with_model(dsgd + polynomial, "first_order", 3)},
      {"paths = 33\nsteps = 9", quadratic(7), "affine = 0.5", "count = 3\nbatch = [1, 2, 3]",
       with_model(rand_k(3) + polynomial, "second_order", 2, true)},
      {"paths = 100\nsteps = 5", quadratic(65), t5, "count = 2", with_model(rand_k(30), "curvature", 4)},
      {"paths = 33\nsteps = 9", "kind = \"cosh\"\ndim = 9\nstart = 0.5", "scale = 0.2", "count = 2",
       with_model(bernoulli, "curvature", 2, true)},
      {"paths = 31\nsteps = 9", "kind = \"sine_pl\"\ndim = 4", t2, "count = 2\nscale = [0.0, 1.5]",
       with_model(sign + polynomial, "second_order", 2, true)},
      {"paths = 200\nsteps = 9", "kind = \"quartic\"", half + "\naffine = 0.2", "", with_model(sign, "first_order", 2)},
      {"paths = 65\nsteps = 5", "kind = \"logistic\"\ndim = 5\nrows = 19\nlam = 0.1", t1, "count = 2",
       with_model(sign, "curvature", 2, true)},
      {"paths = 33\nsteps = 5", "kind = \"least_squares\"\ndim = 9\nrows = 23\nrank = 5", mt, "count = 2",
       with_model(rand_k(4), "second_order", 2, true)},
      {"paths = 333\nsteps = 20\nlimit = 1e6", "kind = \"quartic\"\ndim = 3", "scale = 3.0", "count = 2",
       with_model("method = \"dsgd\"\neta = 0.2", "first_order", 1)},
      {"paths = 33\nsteps = 9", "kind = \"saddle\"\ndim = 3\neigenvalues = [-1.0, 0.5, -2.0]\nlam = 0.8\nstart = 0.3",
       "affine = 0.1", "", with_model(bernoulli + polynomial, "hessian_aware", 3)},
      {"paths = 33\nsteps = 9", quadratic(5), mt, "count = 2", with_model(sign, "hessian_aware", 1)},
      {"paths = 201\nsteps = 9", quadratic(1), "", "",
       with_model(dsgd + by_norm + "\nschedule = { kind = \"cosine\" }", "second_order", 2)},
      {"paths = 33\nsteps = 7", "kind = \"cosh\"\ndim = 9\nstart = 0.5", "scale = 0.2\naffine = 0.1", "count = 2",
       with_model(rand_k(4) + by_growth + "\nschedule = { kind = \"step\", every = 3, factor = 0.5, warmup = 2 }",
                  "second_order", 3)},
      {"paths = 33\nsteps = 7", "kind = \"least_squares\"\ndim = 9\nrows = 23\nrank = 5", t5, "count = 2",
       with_model(bernoulli + by_curvature, "first_order", 2)},
      {"paths = 65\nsteps = 7", "kind = \"sine_pl\"\ndim = 4", t2, "count = 2",
       with_model(sign + by_curvature + "\nschedule = { kind = \"exponential\", rate = 0.1 }", "curvature", 2)},
      {"paths = 33\nsteps = 7", quadratic(65), "affine = 0.3", "count = 2",
       with_model(bernoulli + by_norm, "hessian_aware", 2)},
  };
}

}  // namespace pathbound
