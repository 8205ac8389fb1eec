// SPDX-License-Identifier: Apache-2.0
// What the C++ peers share: the jobs, and the protocol that run.py speaks with every peer.
//
//   PEER JOB THREADS [OPTIONS]   prints one JSON line {"version", "chunk_paths"} when it is ready,
//   then for each line "SEED CHUNKS" on its input simulates CHUNKS chunks of chunk_paths paths and prints one JSON line
//   {"seconds", "cpu_seconds", "paths", "mean"}; mean is that of the suboptimality S at the 100 checkpoints.
#pragma once

#include <sys/resource.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

namespace peers {

inline constexpr int checkpoints = 100;
using Sums = std::array<double, checkpoints>;

// The parameters stand in bench/experiments/performance_*.toml. They are compile-time constants here so that the
// compiler can do its best; where one of them were wrong, run.py's check of agreement would fail.

/// J1: x' = x - eta (x^3 + sigma z), S = x^4/4. J4 is Euler-Maruyama of its SDE, dt = eta: the same recursion.
namespace scalar_job {
inline constexpr int steps = 1000, every = steps / checkpoints;
inline constexpr float start = 1.0f, eta = 0.01f, sigma = 0.5f;
}  // namespace scalar_job

/// J2 and J3: S = sum h_j x_j^2 / 2, h geometric from 0.1 to 1, noise of scale 1.
namespace vector_job {
inline constexpr int steps = 200, every = steps / checkpoints;
inline constexpr int dim = 64, workers = 8, kept = 16;
inline constexpr float start = 1.0f;
inline constexpr float dcsgd_eta = 0.02f,
                       dcsgd_rate = dcsgd_eta * dim / kept / workers;                 // J2: rand_k's factor dim/kept
inline constexpr float dsignsgd_eta = 0.01f, dsignsgd_rate = dsignsgd_eta / workers;  // J3

inline std::array<float, dim> eigenvalues() {
  std::array<float, dim> h;
  for (int j = 0; j < dim; ++j) h[j] = static_cast<float>(std::pow(10.0, -1.0 + j / (dim - 1.0)));
  return h;
}

inline float suboptimality(const std::array<float, dim>& h, const float* x) {
  float sum = 0.0f;
  for (int j = 0; j < dim; ++j) sum += 0.5f * h[j] * x[j] * x[j];
  return sum;
}
}  // namespace vector_job

/// Adds S of `chunks` chunks of paths at each checkpoint to `sums`; the stream is that of `seed`.
using Simulate = std::function<void(std::uint32_t seed, long chunks, Sums& sums)>;

inline double cpu_seconds() {
  rusage use;
  getrusage(RUSAGE_SELF, &use);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * t.tv_usec; };
  return seconds(use.ru_utime) + seconds(use.ru_stime);
}

inline int serve(const std::string& version, int chunk_paths, int threads, const Simulate& simulate) {
  std::printf("{\"version\": \"%s\", \"chunk_paths\": %d}\n", version.c_str(), chunk_paths);
  std::fflush(stdout);
  std::uint32_t seed;
  long chunks;
  while (std::cin >> seed >> chunks) {
    const double cpu = cpu_seconds();
    const auto start = std::chrono::steady_clock::now();
    std::vector<Sums> sums(threads, Sums{});
    std::vector<std::thread> pool;
    const auto work = [&](int t) {
      try {
        simulate(seed * 1009u + t, chunks * (t + 1) / threads - chunks * t / threads, sums[t]);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        std::_Exit(3);
      }
    };
    for (int t = 1; t < threads; ++t) pool.emplace_back(work, t);
    work(0);
    for (std::thread& thread : pool) thread.join();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const long paths = chunks * chunk_paths;
    std::printf("{\"seconds\": %.6f, \"cpu_seconds\": %.6f, \"paths\": %ld, \"mean\": [", seconds, cpu_seconds() - cpu,
                paths);
    for (int c = 0; c < checkpoints; ++c) {
      double sum = 0.0;
      for (const Sums& one : sums) sum += one[c];
      std::printf("%s%.10g", c > 0 ? ", " : "", sum / static_cast<double>(paths));
    }
    std::printf("]}\n");
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace peers
