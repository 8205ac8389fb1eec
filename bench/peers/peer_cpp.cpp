// SPDX-License-Identifier: Apache-2.0
// Plain C++: std::mt19937_64 and <random>, path by path. What one writes by hand without a library.
#include <algorithm>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <utility>

#include "bench/peers/peer.hpp"

using namespace peers;

namespace {

constexpr int chunk_paths = 16;
using Engine = std::mt19937_64;

void scalar_dsgd(std::uint32_t seed, long chunks, Sums& sums) {
  using namespace scalar_job;
  Engine engine(seed);
  std::normal_distribution<float> normal;
  for (long path = 0; path < chunks * chunk_paths; ++path) {
    float x = start;
    for (int c = 0; c < checkpoints; ++c) {
      for (int step = 0; step < every; ++step) x -= eta * (x * x * x + sigma * normal(engine));
      sums[c] += x * x * x * x / 4;
    }
  }
}

/// Calls add(direction) for each step: adds the workers' messages to `direction`; x' = x - rate * direction.
template <class Add>
void vector_method(float rate, long chunks, Sums& sums, Add add) {
  using namespace vector_job;
  const std::array<float, dim> h = eigenvalues();
  float x[dim], direction[dim];
  for (long path = 0; path < chunks * chunk_paths; ++path) {
    std::fill(x, x + dim, start);
    for (int c = 0; c < checkpoints; ++c) {
      for (int step = 0; step < every; ++step) {
        std::fill(direction, direction + dim, 0.0f);
        add(h, x, direction);
        for (int j = 0; j < dim; ++j) x[j] -= rate * direction[j];
      }
      sums[c] += suboptimality(h, x);
    }
  }
}

void dcsgd(std::uint32_t seed, long chunks, Sums& sums) {
  using namespace vector_job;
  Engine engine(seed);
  std::normal_distribution<float> normal;
  int order[dim];
  for (int j = 0; j < dim; ++j) order[j] = j;
  vector_method(dcsgd_rate, chunks, sums, [&](const auto& h, const float* x, float* direction) {
    for (int worker = 0; worker < workers; ++worker)
      for (int i = 0; i < kept; ++i) {  // the first swaps of a Fisher-Yates shuffle; noise on what is kept only
        std::swap(order[i], order[i + static_cast<int>(((engine() >> 32) * (dim - i)) >> 32)]);
        const int j = order[i];
        direction[j] += h[j] * x[j] + normal(engine);
      }
  });
}

void dsignsgd(float nu, std::uint32_t seed, long chunks, Sums& sums) {
  using namespace vector_job;
  Engine engine(seed);
  std::student_t_distribution<float> student(nu);
  vector_method(dsignsgd_rate, chunks, sums, [&](const auto& h, const float* x, float* direction) {
    for (int worker = 0; worker < workers; ++worker)
      for (int j = 0; j < dim; ++j) direction[j] += h[j] * x[j] + student(engine) > 0.0f ? 1.0f : -1.0f;
  });
}

Simulate job_of(const std::string& job) {
  using namespace std::placeholders;
  if (job == "j1") return scalar_dsgd;
  if (job == "j2") return dcsgd;
  if (job == "j3") return std::bind(dsignsgd, 2.0f, _1, _2, _3);
  if (job == "j3_nu3") return std::bind(dsignsgd, 3.0f, _1, _2, _3);
  throw std::invalid_argument("job " + job + " (must be j1, j2, j3 or j3_nu3)");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: peer_cpp JOB THREADS\n");
    return 2;
  }
  try {
    return serve("g++ " __VERSION__, chunk_paths, std::atoi(argv[2]), job_of(argv[1]));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "peer_cpp: %s\n", error.what());
    return 2;
  }
}
