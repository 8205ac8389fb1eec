// SPDX-License-Identifier: Apache-2.0
// The same bits for every number of threads, every instruction set and both forms of the time loop; and statistics that
// are what their definition says of the single paths.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "host/engine.hpp"
#include "kernels/reduce.hpp"
#include "kernels/sampling.hpp"
#include "tests/settings.hpp"

namespace pathbound {
namespace {

using Values = std::vector<double>;

bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0; }
bool same_bits(const Values& a, const Values& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

/// `ignore_tracking`: max_grad_so_far is another quantity when it is tracked.
void expect_same_record(const Record& a, const Record& b, bool ignore_tracking = false) {
  EXPECT_EQ(a.finite, b.finite);
  EXPECT_TRUE(same_bits(a.sum, b.sum)) << a.sum << " " << b.sum;
  EXPECT_TRUE(same_bits(a.m2, b.m2)) << a.m2 << " " << b.m2;
  EXPECT_TRUE(same_bits(a.m3, b.m3)) << a.m3 << " " << b.m3;
  EXPECT_TRUE(same_bits(a.min, b.min)) << a.min << " " << b.min;
  EXPECT_TRUE(same_bits(a.max, b.max)) << a.max << " " << b.max;
  EXPECT_TRUE(same_bits(a.grad_norm_sum, b.grad_norm_sum)) << a.grad_norm_sum << " " << b.grad_norm_sum;
  EXPECT_TRUE(same_bits(a.max_grad, b.max_grad)) << a.max_grad << " " << b.max_grad;
  EXPECT_TRUE(same_bits(a.pl_min, b.pl_min)) << a.pl_min << " " << b.pl_min;
  EXPECT_TRUE(same_bits(a.pl_max, b.pl_max)) << a.pl_max << " " << b.pl_max;
  EXPECT_TRUE(ignore_tracking || same_bits(a.max_grad_so_far, b.max_grad_so_far))
      << a.max_grad_so_far << " " << b.max_grad_so_far;
}

void expect_same_result(const SimResult& a, const SimResult& b, bool ignore_tracking = false) {
  ASSERT_EQ(a.records.size(), b.records.size());
  for (std::size_t c = 0; c < a.records.size(); ++c) {
    SCOPED_TRACE("record " + std::to_string(c));
    expect_same_record(a.records[c], b.records[c], ignore_tracking);
  }
  for (std::size_t q = 0; q < a.quantiles.size(); ++q)
    EXPECT_TRUE(same_bits(a.quantiles[q], b.quantiles[q])) << "quantile " << q;
  ASSERT_EQ(a.group_means.size(), b.group_means.size());
  for (std::size_t c = 0; c < a.group_means.size(); ++c)
    EXPECT_TRUE(same_bits(a.group_means[c], b.group_means[c])) << "groups " << c;
}

std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
    if (isa_available(isa)) all.push_back(isa);
  return all;
}

template <class R>
void expect_threads_and_instruction_sets_agree(const std::string& precision) {
  for (const Setting& s : settings()) {
    const std::string text = text_of(precision, s.top, s.objective, s.noise, s.workers, s.curve);
    SCOPED_TRACE(text);
    Prepared<R> prepared(text);
    prepared.curve.spec.track_pl = true;
    for (const bool track_gradient : {false, true}) {
      prepared.curve.spec.track_gradient = track_gradient;
      const SimResult reference = prepared.run(Isa::scalar, 1);
      for (const Isa isa : isas()) {
        for (const int threads : {1, 2, 3}) {
          if (isa == Isa::scalar && threads != 3) continue;  // 1 is the reference
          SCOPED_TRACE(std::string(name_of(isa)) + ", threads " + std::to_string(threads));
          expect_same_result(prepared.run(isa, threads), reference);
        }
      }
    }
  }
}

TEST(Determinism, ThreadsAndInstructionSetsGiveTheSameBitsInFloat) {
  expect_threads_and_instruction_sets_agree<float>("float");
}
TEST(Determinism, ThreadsAndInstructionSetsGiveTheSameBitsInDouble) {
  expect_threads_and_instruction_sets_agree<double>("double");
}

template <class R>
void expect_forms_agree(const std::string& precision) {
  for (const Setting& s : settings()) {
    const std::string text = text_of(precision, s.top, s.objective, s.noise, s.workers, s.curve);
    SCOPED_TRACE(text);
    Prepared<R> prepared(text);
    const SimResult plain = prepared.run(best_isa(), 1);
    prepared.curve.spec.track_gradient = true;  // takes one coordinate and one worker through the general step
    const SimResult tracked = prepared.run(best_isa(), 1);
    expect_same_result(plain, tracked, true);
    double before = 0.0;
    for (const Record& r : tracked.records) {
      EXPECT_GE(r.max_grad_so_far, r.max_grad);
      EXPECT_GE(r.max_grad_so_far, before);
      before = r.max_grad_so_far;
    }
  }
}

TEST(Determinism, TrackingTheGradientAndTheGeneralStepChangeNoStatistics) {
  expect_forms_agree<float>("float");
  expect_forms_agree<double>("double");
}

TEST(Determinism, CheckpointsDoNotChangeThePathsBetweenThem) {
  for (const std::string workers : {"count = 1", "count = 2"}) {
    const auto with = [&](const std::string& top) {
      return Prepared<float>(text_of("float", "paths = 70\nsteps = 600\n" + top, "kind = \"cosh\"", "scale = 0.2",
                                     workers, "method = \"dsgd\"\neta = 0.01\nschedule = { kind = \"polynomial\" }"))
          .run(best_isa(), 1);
    };
    const SimResult all = with("checkpoints = 600"), some = with("checkpoint_steps = [0, 1, 7, 255, 256, 257, 600]");
    const std::size_t steps[] = {0, 1, 7, 255, 256, 257, 600};
    for (std::size_t i = 0; i < 7; ++i) expect_same_record(all.records[steps[i]], some.records[i]);
  }
}

// ---------------------------------------------------------------- statistics against single paths

template <class R>
struct Traces {
  // [checkpoint][path]
  std::vector<Values> s, grad_norm;
  std::vector<std::vector<bool>> diverged;
};

template <class R>
Traces<R> trace_all(const SimSpec<R>& spec) {
  Traces<R> all;
  const auto n = static_cast<std::size_t>(spec.n_checkpoints);
  all.s.resize(n);
  all.grad_norm.resize(n);
  all.diverged.resize(n);
  for (std::uint64_t path = 0; path < spec.n_paths; ++path) {
    std::size_t c = 0;
    trace_cpu<R>(spec, path, best_isa(), [&](std::uint64_t step, const double*, double s, double norm, bool diverged) {
      EXPECT_EQ(step, spec.checkpoint_steps[c]);
      all.s[c].push_back(s);
      all.grad_norm[c].push_back(norm);
      all.diverged[c++].push_back(diverged);
    });
    EXPECT_EQ(c, n);
  }
  return all;
}

/// The dyadic tree by its definition: pairs of neighbours, a last one without a partner rises as it is.
template <class T>
T dyadic(std::vector<T> v) {
  while (v.size() > 1) {
    std::vector<T> up;
    for (std::size_t i = 0; i < v.size(); i += 2) up.push_back(i + 1 < v.size() ? v[i] + v[i + 1] : v[i]);
    v = std::move(up);
  }
  return v.front();
}

template <class F>
void expect_tree_sums() {
  std::mt19937_64 engine(3);
  std::uniform_real_distribution<double> uniform(-1.0, 1.0);
  for (int n = 1; n <= 300; ++n) {
    std::vector<F> v(static_cast<std::size_t>(n));
    for (F& x : v) x = static_cast<F>(uniform(engine) * std::exp(8.0 * uniform(engine)));
    int calls = 0;
    const F sum = tree_sum<F>(n, [&](int i) {
      EXPECT_EQ(i, calls++);
      return v[static_cast<std::size_t>(i)];
    });
    EXPECT_EQ(sum, dyadic(v)) << n;
    EXPECT_EQ(calls, n);
  }
}

TEST(DyadicTree, SumIsTheRecursionOverNeighbours) {
  expect_tree_sums<float>();
  expect_tree_sums<double>();
}

TEST(DyadicTree, OfABlockIsOverPathsInOrder) {
  std::mt19937_64 engine(4);
  std::uniform_real_distribution<double> uniform(-1.0, 1.0);
  for (int repeat = 0; repeat < 50; ++repeat) {
    Values by_path(32);
    double by_slot[32];
    for (double& x : by_path) x = uniform(engine);
    for (int slot = 0; slot < 32; ++slot) by_slot[slot] = by_path[static_cast<std::size_t>(path_of_slot(slot))];
    EXPECT_EQ(tree_sum_of_block<double>(by_slot), dyadic(by_path));
  }
}

const char* const many_paths[] = {"paths = 1", "paths = 31", "paths = 32", "paths = 33", "paths = 64", "paths = 233"};

template <class R>
void expect_statistics_of_paths(const std::string& text) {
  SCOPED_TRACE(text);
  const Prepared<R> prepared(text);
  const SimSpec<R>& spec = prepared.curve.spec;
  const SimResult result = prepared.run(best_isa(), 2);
  const Traces<R> traces = trace_all<R>(spec);
  for (std::size_t c = 0; c < result.records.size(); ++c) {
    SCOPED_TRACE("record " + std::to_string(c));
    const Record& r = result.records[c];
    // Blocks of 32 paths, missing and diverged ones as zeros; blocks without a finite path do not count.
    Values blocks, gradient_blocks, finite;
    for (std::size_t first = 0; first < spec.n_paths; first += 32) {
      Values block(32, 0.0), gradients(32, 0.0);
      bool any = false;
      for (std::size_t p = first; p < std::min<std::size_t>(first + 32, spec.n_paths); ++p) {
        if (traces.diverged[c][p]) continue;
        any = true;
        block[p - first] = traces.s[c][p];
        gradients[p - first] = traces.grad_norm[c][p];
        finite.push_back(traces.s[c][p]);
      }
      blocks.push_back(any ? dyadic(block) : 0.0);
      gradient_blocks.push_back(any ? dyadic(gradients) : 0.0);
    }
    ASSERT_EQ(r.finite, finite.size());
    if (finite.empty()) continue;
    EXPECT_TRUE(same_bits(r.sum, dyadic(blocks))) << r.sum << " " << dyadic(blocks);
    EXPECT_TRUE(same_bits(r.grad_norm_sum, dyadic(gradient_blocks)));
    EXPECT_EQ(r.min, *std::min_element(finite.begin(), finite.end()));
    EXPECT_EQ(r.max, *std::max_element(finite.begin(), finite.end()));
    long double sum = 0.0L, m2 = 0.0L, m3 = 0.0L, size3 = 0.0L;
    for (const double s : finite) sum += s;
    const long double mean = sum / static_cast<long double>(finite.size());
    for (const double s : finite) {
      const long double d = s - mean;
      m2 += d * d;
      m3 += d * d * d;
      size3 += std::abs(d * d * d);
    }
    EXPECT_NEAR(r.sum, static_cast<double>(sum), 1e-14 * static_cast<double>(sum));
    const auto spread = static_cast<double>(mean * mean) * static_cast<double>(finite.size());
    EXPECT_NEAR(r.m2, static_cast<double>(m2), 1e-13 * static_cast<double>(m2) + 1e-28 * spread);
    EXPECT_NEAR(r.m3, static_cast<double>(m3),
                1e-12 * static_cast<double>(size3) + 1e-28 * spread * static_cast<double>(mean));
    // Quantile p: the middle of the bin (64 a doubling) of the ceil(p n)-th smallest, between the extremes.
    std::sort(finite.begin(), finite.end());
    for (std::size_t q = 0; q < curve_quantiles.size(); ++q) {
      const auto rank =
          static_cast<std::size_t>(std::ceil(curve_quantiles[q] * static_cast<double>(spec.n_paths) - 1e-9));
      if (rank > finite.size()) {
        EXPECT_TRUE(std::isnan(result.quantiles[q][c]));
        continue;
      }
      const double at = static_cast<float>(finite[rank - 1]);
      const double doubling = std::exp2(std::floor(std::log2(at)));
      const double bin = std::floor((at / doubling - 1.0) * 64.0);
      const double middle = at <= 0x1p-100 ? 0x1p-100 : doubling * (1.0 + (bin + 0.5) / 64.0);
      EXPECT_EQ(result.quantiles[q][c], std::clamp(middle, finite.front(), finite.back())) << q;
    }
  }
}

TEST(Statistics, AreThoseOfTheTracedPaths) {
  for (const std::string paths : many_paths) {
    expect_statistics_of_paths<float>(
        text_of("float", paths + "\nsteps = 9\ncheckpoints = 3",
                "kind = \"quadratic\"\ndim = 3\nspectrum = { kind = \"linear\", min = 0.5, max = 1.0 }", "",
                "count = 2", "method = \"dcsgd\"\neta = 0.3\ncompressor = { kind = \"rand_k\", k = 1 }"));
    expect_statistics_of_paths<double>(text_of("double", paths + "\nsteps = 9\ncheckpoints = 3", "kind = \"cosh\"",
                                               "law = \"student_t\"\nnu = 1.0", "",
                                               "method = \"dsignsgd\"\neta = 0.1"));
    // A third of the paths diverges.
    expect_statistics_of_paths<float>(
        text_of("float", paths + "\nsteps = 12\ncheckpoints = 4\nlimit = 10.0",
                "kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }",
                "law = \"student_t\"\nnu = 1.0", "", "method = \"dsgd\"\neta = 0.3"));
  }
}

TEST(Statistics, OfOnePathAreTheTrace) {
  for (const Isa isa : isas()) {
    Prepared<float> prepared(text_of("float", "paths = 1\nsteps = 10",
                                     "kind = \"logistic\"\ndim = 3\nrows = 7\nlam = 0.1", "", "count = 2",
                                     "method = \"dsgd\"\neta = 0.5"));
    const SimResult result = prepared.run(isa, 1);
    std::size_t c = 0;
    trace_cpu<float>(prepared.curve.spec, 0, isa,
                     [&](std::uint64_t, const double*, double s, double norm, bool diverged) {
                       const Record& r = result.records[c++];
                       EXPECT_FALSE(diverged);
                       EXPECT_EQ(r.finite, 1u);
                       EXPECT_TRUE(same_bits(r.sum, s) && same_bits(r.min, s) && same_bits(r.max, s) &&
                                   same_bits(r.grad_norm_sum, norm));
                       EXPECT_EQ(r.m2, 0.0);
                       EXPECT_EQ(r.m3, 0.0);
                     });
    EXPECT_EQ(c, result.records.size());
  }
}

TEST(Statistics, TracesAreTheSameOnEveryInstructionSetAndInACrowd) {
  Prepared<double> prepared(text_of("double", "paths = 100\nsteps = 10", "kind = \"quartic\"\ndim = 3", "scale = 0.3",
                                    "count = 2", "method = \"dsgd\"\neta = 0.05"));
  for (const std::uint64_t path :
       {std::uint64_t(0), std::uint64_t(31), std::uint64_t(50), std::uint64_t(99), std::uint64_t(5) << 33}) {
    std::vector<Values> seen;
    for (const Isa isa : isas()) {
      for (const std::uint64_t crowd : {path + 1, path + 1000}) {
        prepared.curve.spec.n_paths = crowd;
        Values values;
        trace_cpu<double>(prepared.curve.spec, path, isa,
                          [&](std::uint64_t, const double* x, double s, double norm, bool) {
                            values.insert(values.end(), {x[0], x[1], x[2], s, norm});
                          });
        seen.push_back(values);
      }
    }
    for (const Values& v : seen) EXPECT_TRUE(same_bits(v, seen.front()));
  }
}

TEST(Statistics, GroupMeansAreMeansOfWholeGroupsOfBlocks) {
  // 2100 paths = 66 blocks (the last of 20): 65 groups of one whole block.
  Prepared<double> prepared(text_of("double", "paths = 2100\nsteps = 3\ncheckpoints = 1", "kind = \"cosh\"\ndim = 2",
                                    "scale = 0.3", "", "method = \"dsgd\"\neta = 0.05"));
  const SimResult result = prepared.run(best_isa(), 3);
  ASSERT_EQ(result.group_means.size(), 2u);
  ASSERT_EQ(result.group_means[1].size(), 65u);
  const auto traces = trace_all<double>(prepared.curve.spec);
  for (std::size_t g = 0; g < 65; ++g)
    EXPECT_EQ(result.group_means[1][g],
              dyadic(Values(traces.s[1].begin() + static_cast<std::ptrdiff_t>(32 * g),
                            traces.s[1].begin() + static_cast<std::ptrdiff_t>(32 * (g + 1)))) /
                  32.0);
  // 130 blocks: groups of two.
  prepared.curve.spec.n_paths = 130 * 32;
  EXPECT_EQ(prepared.run(best_isa(), 1).group_means[1].size(), 65u);
}

TEST(Statistics, OfTrackedGradientsLeaveOutPathsThatAreNotThere) {
  // The largest gradient over all steps of n paths is the largest over the runs of their traces.
  for (const std::string paths : {"paths = 1", "paths = 5", "paths = 33"}) {
    Prepared<double> prepared(text_of("double", paths + "\nsteps = 20",
                                      "kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }",
                                      "law = \"student_t\"\nnu = 2.5", "count = 2", "method = \"dsgd\"\neta = 0.3"));
    prepared.curve.spec.track_gradient = true;
    const auto traces = trace_all<double>(prepared.curve.spec);
    for (const Isa isa : isas()) {
      const SimResult result = prepared.run(isa, 1);
      double largest = 0.0;
      for (std::size_t c = 0; c < result.records.size(); ++c) {
        largest = std::max(largest, *std::max_element(traces.grad_norm[c].begin(), traces.grad_norm[c].end()));
        EXPECT_EQ(result.records[c].max_grad_so_far, largest) << paths << " " << c;
      }
    }
  }
}

// ---------------------------------------------------------------- interruption

TEST(Interruption, AStopFlagEndsTheSimulationSoon) {
  for (const std::string workers : {"count = 1", "count = 2"}) {  // both forms of the loop
    // Days of work, in few and in many blocks.
    for (const std::string top :
         {"paths = 1\nsteps = 1000000000000\ncheckpoints = 1", "paths = 100000000000\nsteps = 100\ncheckpoints = 1"}) {
      const Prepared<float> prepared(
          text_of("float", top, "kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }", "",
                  workers, "method = \"dsgd\"\neta = 0.1"));
      std::atomic<bool> stop{false};
      SimOptions options;
      options.threads = 2;
      options.stop = &stop;
      std::atomic<bool> progressed{false};
      options.progress = [&](double) { progressed = true; };
      std::jthread later([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        stop = true;
      });
      const auto started = std::chrono::steady_clock::now();
      EXPECT_THROW(simulate_cpu<float>(prepared.curve.spec, options), Interrupted);
      EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count(),
                10.0);  // 0.05 s on an idle machine
      EXPECT_TRUE(progressed);
    }
  }
}

TEST(Interruption, IsNoticedBetweenTwoStepsHoweverLongTheyAre) {
  // A step of a block takes a tenth of a second.
  const Prepared<float> prepared(
      text_of("float", "paths = 64\nsteps = 100000\ncheckpoints = 1",
              "kind = \"quadratic\"\ndim = 65536\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }", "",
              "count = 32", "method = \"dsgd\"\neta = 0.1"));
  std::atomic<bool> stop{false};
  SimOptions options;
  options.threads = 1;
  options.stop = &stop;
  std::jthread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    stop = true;
  });
  const auto started = std::chrono::steady_clock::now();
  EXPECT_THROW(simulate_cpu<float>(prepared.curve.spec, options), Interrupted);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count(), 10.0);
}

TEST(Interruption, AStopFlagThatIsNeverSetChangesNothing) {
  const Prepared<float> prepared(text_of("float", "paths = 200\nsteps = 20", "kind = \"cosh\"\ndim = 2", "scale = 0.3",
                                         "", "method = \"dsgd\"\neta = 0.05"));
  std::atomic<bool> stop{false};
  SimOptions options;
  options.threads = 2;
  options.stop = &stop;
  expect_same_result(simulate_cpu<float>(prepared.curve.spec, options), prepared.run(best_isa(), 1));
}

}  // namespace
}  // namespace pathbound
