// SPDX-License-Identifier: Apache-2.0
// Schedules against their formulas in long double: at whole steps, at the fractional times of models, their slopes, and
// as paths take them on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "host/engine.hpp"
#include "host/step_size.hpp"
#include "kernels/schedules.hpp"

namespace pathbound {
namespace {

using Wide = long double;

ScheduleSpec schedule(ScheduleKind kind, double warmup = 0.0) {
  ScheduleSpec s;
  s.kind = kind;
  s.k0 = 3.0;
  s.p = 0.7;
  s.rate = 0.013;
  s.every = 7.0;
  s.factor = 0.6;
  s.steps = 1000.0;
  s.warmup = warmup;
  return s;
}

const std::vector<ScheduleKind> kinds{ScheduleKind::constant, ScheduleKind::polynomial, ScheduleKind::exponential,
                                      ScheduleKind::step, ScheduleKind::cosine};

/// s at time k; `whole`: the step it lies in.
Wide formula(const ScheduleSpec& s, Wide k, Wide whole) {
  Wide value = 1.0L;
  switch (s.kind) {
    case ScheduleKind::constant:
      break;
    case ScheduleKind::polynomial:
      value = std::pow(1.0L + k / s.k0, -static_cast<Wide>(s.p));
      break;
    case ScheduleKind::exponential:
      value = std::exp(-static_cast<Wide>(s.rate) * k);
      break;
    case ScheduleKind::step:
      value = std::pow(static_cast<Wide>(s.factor), std::floor(whole / s.every));
      break;
    case ScheduleKind::cosine:
      value = 0.5L * (1.0L + std::cos(std::numbers::pi_v<Wide> * k / s.steps));
      break;
  }
  return s.warmup > 0.0 ? value * std::min(1.0L, (k + 1.0L) / s.warmup) : value;
}

/// What rounding may do to eta s: some ulps of it; of 1, where a cosine cancels.
double tolerance(const ScheduleSpec& s, double eta, Wide value) {
  const double size = s.kind == ScheduleKind::cosine ? 1.0 : static_cast<double>(value);
  // The argument of a power or exponential is off by half an ulp of itself.
  const double ulps = 4.0 - 2.0 * std::log(std::max(size, 1e-300));
  return eta * size * ulps * std::numeric_limits<double>::epsilon();
}

TEST(Schedules, AreTheirFormulasAtWholeSteps) {
  const double eta = 0.3;
  for (const ScheduleKind kind : kinds) {
    for (const double warmup : {0.0, 1.0, 5.0, 400.0}) {
      const ScheduleSpec s = schedule(kind, warmup);
      for (int k = 0; k <= 1000; ++k) {
        const Wide value = formula(s, k, k);
        EXPECT_NEAR(step_size<double>(s, eta, k, k), static_cast<double>(eta * value), tolerance(s, eta, value))
            << name_of(kind) << ' ' << warmup << ' ' << k;
      }
    }
  }
}

TEST(Schedules, HaveExactValues) {
  EXPECT_EQ(step_size<double>(schedule(ScheduleKind::constant), 0.3, 1e12, 1e12), 0.3);
  EXPECT_EQ(step_size<double>(schedule(ScheduleKind::cosine), 0.3, 0.0, 0.0), 0.3);
  EXPECT_EQ(step_size<double>(schedule(ScheduleKind::cosine), 0.25, 500.0, 500.0), 0.125);
  EXPECT_EQ(step_size<double>(schedule(ScheduleKind::cosine), 0.3, 1000.0, 1000.0), 0.0);
  EXPECT_EQ(step_size<double>(schedule(ScheduleKind::step), 0.3, 6.0, 6.0), 0.3);
  EXPECT_EQ(step_size<double>(schedule(ScheduleKind::step), 0.3, 1e12, 1e12), 0.0);  // below the smallest number
  EXPECT_EQ(step_size<double>(schedule(ScheduleKind::exponential), 0.3, 1e12, 1e12), 0.0);
  // A warm-up of w steps: 1/w, 2/w, ..., 1, 1.
  for (int k = 0; k < 12; ++k)
    EXPECT_EQ(step_size<double>(schedule(ScheduleKind::constant, 8.0), 0.25, k, k),
              0.25 * std::min(1.0, (k + 1) / 8.0));
}

TEST(Schedules, RunOnBetweenTheStepsAndJumpAtTheBeginningOfOne) {
  const double eta = 0.3;
  for (const ScheduleKind kind : kinds) {
    for (const double warmup : {0.0, 5.0, 400.0}) {
      const ScheduleSpec s = schedule(kind, warmup);
      for (int k = 0; k < 1000; k += k < 20 ? 1 : 17) {
        for (const double part : {0.125, 0.5, 0.9375, 1.0}) {
          const Wide value = formula(s, k + static_cast<Wide>(part), k);
          EXPECT_NEAR(step_size<double>(s, eta, k + part, k), static_cast<double>(eta * value),
                      tolerance(s, eta, value))
              << name_of(kind) << ' ' << warmup << ' ' << k << ' ' << part;
        }
      }
    }
  }
}

TEST(Schedules, SlopesAreDerivatives) {
  const double eta = 0.3;
  const Wide h = 1e-5L;
  for (const ScheduleKind kind : kinds) {
    for (const double warmup : {0.0, 5.0, 400.0}) {
      const ScheduleSpec s = schedule(kind, warmup);
      for (const double part : {0.25, 0.5, 0.75}) {
        for (int k = 0; k < 1000; k += k < 20 ? 1 : 17) {
          const double at = k + part;
          const Wide slope = (formula(s, at + h, k) - formula(s, at - h, k)) / (2.0L * h);
          const double value = step_size<double>(s, eta, at, k);
          // The difference is off by h^2/6 times a third derivative below 1, and by rounding over h.
          EXPECT_NEAR(step_size_slope<double>(s, eta, at, value), static_cast<double>(eta * slope), 1e-11)
              << name_of(kind) << ' ' << warmup << ' ' << at;
        }
      }
    }
  }
}

TEST(Schedules, SlopesAtTheEndOfAWarmUpAreThoseToItsRight) {
  for (const ScheduleKind kind : kinds) {
    const ScheduleSpec warm = schedule(kind, 5.0), cold = schedule(kind);
    const double value = step_size<double>(warm, 0.3, 4.0, 4.0);
    EXPECT_EQ(value, step_size<double>(cold, 0.3, 4.0, 4.0));
    EXPECT_EQ(step_size_slope<double>(warm, 0.3, 4.0, value), step_size_slope<double>(cold, 0.3, 4.0, value));
    EXPECT_GT(step_size_slope<double>(warm, 0.3, 3.5, step_size<double>(warm, 0.3, 3.5, 3.0)), 0.0);
  }
}

TEST(Schedules, WholePartIsTheFloor) {
  std::vector<double> numbers{0.0, 0x1p-1074, 0x1p51, 0x1p52, 0x1p53, 1e300, std::numeric_limits<double>::infinity()};
  for (int e = -3; e <= 54; ++e) {
    for (const double base : {std::ldexp(1.0, e), std::ldexp(1.0, e) + 1.0, std::ldexp(1.0, e) + 0.5,
                              std::ldexp(1.0, e) * 1.2345678901234567}) {
      numbers.push_back(base);
      numbers.push_back(std::nextafter(base, 0.0));
      numbers.push_back(std::nextafter(base, 2.0 * base));
    }
  }
  for (const double x : numbers) {
    if (x < 0x1p51) {
      EXPECT_EQ(whole_part(x), std::floor(x)) << x;
    } else {
      EXPECT_EQ(whole_part(x), x);
    }
  }
}

TEST(Schedules, AConstantOneIsToldFromTheOthers) {
  for (const ScheduleKind kind : kinds) {
    EXPECT_EQ(is_constant(schedule(kind)), kind == ScheduleKind::constant);
    EXPECT_FALSE(is_constant(schedule(kind, 2.0)));
    EXPECT_EQ(is_constant(schedule(kind, 1.0)), kind == ScheduleKind::constant);  // one step of warm-up is none
    ScheduleSpec level = schedule(kind);
    level.p = level.rate = 0.0;
    level.factor = 1.0;
    ASSERT_EQ(is_constant(level), kind != ScheduleKind::cosine);
    if (!is_constant(level)) continue;
    for (const double k : {0.0, 1.0, 1000.0}) EXPECT_EQ(step_size<double>(level, 0.3, k, k), 0.3);
  }
}

TEST(Schedules, TheLargestStepIsFoundAmongThoseTaken) {
  for (const ScheduleKind kind : kinds) {
    for (const double warmup : {0.0, 1.0, 2.0, 9.0, 50.0, 3000.0}) {
      for (const std::uint64_t steps : {0, 1, 2, 7, 8, 49, 50, 51, 200, 900}) {
        CurveConfig curve;
        curve.eta = 0.3;
        curve.schedule = schedule(kind, warmup);
        double largest = prescribed_step(curve, 0);
        for (std::uint64_t k = 0; k < steps; ++k) largest = std::max(largest, prescribed_step(curve, k));
        EXPECT_EQ(largest_step(curve, steps), largest) << name_of(kind) << ' ' << warmup << ' ' << steps;
      }
    }
  }
}

/// A curve without noise on 1/2 h x^2 from 1: x_k = prod (1 - eta_k h).
std::string without_noise(const std::string& schedule) {
  return "precision = \"double\"\npaths = 40\nsteps = 61\ncheckpoint_steps = [0, 1, 2, 3, 4, 5, 7, 8, 9, 20, 61]\n"
         "[objective]\nkind = \"quadratic\"\ndim = 1\nspectrum = { kind = \"list\", eigenvalues = [0.5] }\n"
         "[noise]\nscale = 0\n[[curve]]\nname = \"a\"\nmethod = \"dsgd\"\neta = 0.4\nschedule = { " +
         schedule + " }\n";
}

TEST(Schedules, PathsTakeTheirStepsOnEveryInstructionSet) {
  for (const char* text :
       {"kind = \"constant\"", "kind = \"constant\", warmup = 10", "kind = \"polynomial\", k0 = 3, p = 0.7",
        "kind = \"exponential\", rate = 0.05", "kind = \"exponential\", rate = 0.05, warmup = 6",
        "kind = \"step\", every = 7, factor = 0.6", "kind = \"cosine\"", "kind = \"cosine\", warmup = 30"}) {
    const Experiment experiment = parse_experiment(without_noise(text), "x.toml");
    const CurveConfig& curve = experiment.curves[0];
    const Objective objective(experiment.objective);
    const auto& steps = curve.checkpoint_steps;
    std::vector<double> expected;
    Wide x = 1.0L;
    for (std::uint64_t k = 0; k <= curve.steps; ++k) {
      if (std::find(steps.begin(), steps.end(), k) != steps.end())
        expected.push_back(static_cast<double>(0.25L * x * x));
      x *= 1.0L - 0.5L * 0.4L * formula(curve.schedule, k, k);
    }
    for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
      if (!isa_available(isa)) continue;
      RunOptions options;
      options.threads = 1;
      options.isa = isa;
      const SimResult result = simulate(experiment, curve, objective, options);
      ASSERT_EQ(result.records.size(), expected.size());
      for (std::size_t c = 0; c < expected.size(); ++c) {
        EXPECT_NEAR(result.records[c].max / expected[c], 1.0, 1e-13) << text << ' ' << name_of(isa) << ' ' << steps[c];
        EXPECT_EQ(result.records[c].min, result.records[c].max);
      }
    }
  }
}

}  // namespace
}  // namespace pathbound
