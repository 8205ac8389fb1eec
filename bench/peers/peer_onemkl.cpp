// SPDX-License-Identifier: Apache-2.0
// oneMKL: its vector generators filling blocks that stay in the first-level cache, and loops over them that the
// compiler vectorises. Normals by inversion (ICDF), the faster of oneMKL's methods.
//
//   peer_onemkl JOB THREADS [sfmt|philox] [best|avx2]   the generator; the instructions oneMKL may use
//
// J3 draws t as a normal over the root of a chi-square; job j3:quantile draws it by its quantile, which has a closed
// form for nu = 2, from one uniform.
//
// oneMKL has a binomial generator, but with one p for all numbers of a call; a p of its own for each coordinate and
// step makes it useless for the mean of the workers' signs. So every worker is drawn here, as a user of oneMKL would.
#include <mkl_service.h>
#include <mkl_version.h>
#include <mkl_vsl.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <stdexcept>

#include "bench/peers/peer.hpp"

using namespace peers;

namespace {

struct Options {
  int generator = VSL_BRNG_SFMT19937;
};

/// oneMKL goes on after a wrong argument and only its status tells.
void check(int status, const char* what) {
  if (status != VSL_STATUS_OK)
    throw std::runtime_error(std::string("peer_onemkl: ") + what + " gave status " + std::to_string(status));
}

class Stream {
 public:
  Stream(int generator, std::uint32_t seed) { check(vslNewStream(&stream_, generator, seed), "vslNewStream"); }
  ~Stream() { vslDeleteStream(&stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void normals(int n, float* out, float scale) {
    check(vsRngGaussian(VSL_RNG_METHOD_GAUSSIAN_ICDF, stream_, n, out, 0.0f, scale), "vsRngGaussian");
  }
  void exponentials(int n, float* out) {
    check(vsRngExponential(VSL_RNG_METHOD_EXPONENTIAL_ICDF, stream_, n, out, 0.0f, 1.0f), "vsRngExponential");
  }
  void uniforms(int n, float* out) {
    check(vsRngUniform(VSL_RNG_METHOD_UNIFORM_STD, stream_, n, out, 0.0f, 1.0f), "vsRngUniform");
  }
  void words(int n, unsigned* out) {
    check(viRngUniformBits32(VSL_RNG_METHOD_UNIFORMBITS32_STD, stream_, n, out), "viRngUniformBits32");
  }

 private:
  VSLStreamStatePtr stream_ = nullptr;
};

// ------------------------------------------------------------------------------------------------------------ J1
constexpr int scalar_chunk = 1024;  // with 10 steps of normals: 45 KB

void scalar_dsgd(const Options& options, std::uint32_t seed, long chunks, Sums& sums) {
  using namespace scalar_job;
  Stream stream(options.generator, seed);
  alignas(64) float x[scalar_chunk], noise[every * scalar_chunk];
  for (long chunk = 0; chunk < chunks; ++chunk) {
    std::fill(x, x + scalar_chunk, start);
    for (int c = 0; c < checkpoints; ++c) {
      stream.normals(every * scalar_chunk, noise, eta * sigma);
      for (int step = 0; step < every; ++step)
        for (int i = 0; i < scalar_chunk; ++i)
          x[i] = x[i] * (1.0f - eta * x[i] * x[i]) + noise[step * scalar_chunk + i];
      float sum = 0.0f;
      for (int i = 0; i < scalar_chunk; ++i) sum += x[i] * x[i] * x[i] * x[i];
      sums[c] += 0.25 * sum;
    }
  }
}

// ------------------------------------------------------------------------------------------------------ J2 and J3
constexpr int vector_chunk = 1;

/// Calls draw() every steps_drawn steps and add(slot, h, x, direction) each step: adds the workers' messages.
template <int steps_drawn, class Draw, class Add>
void vector_method(float rate, long chunks, Sums& sums, Draw draw, Add add) {
  using namespace vector_job;
  const std::array<float, dim> h = eigenvalues();
  alignas(64) float x[dim], direction[dim];
  for (long path = 0; path < chunks * vector_chunk; ++path) {
    std::fill(x, x + dim, start);
    for (int step = 0; step < steps; ++step) {
      if (step % steps_drawn == 0) draw();
      std::fill(direction, direction + dim, 0.0f);
      add(step % steps_drawn, h, x, direction);
      for (int j = 0; j < dim; ++j) x[j] -= rate * direction[j];
      if ((step + 1) % every == 0) sums[step / every] += suboptimality(h, x);
    }
  }
}

void dcsgd(const Options& options, std::uint32_t seed, long chunks, Sums& sums) {
  using namespace vector_job;
  constexpr int steps_drawn = 20, a_step = workers * kept;  // noise on the kept coordinates only
  Stream stream(options.generator, seed);
  alignas(64) float noise[steps_drawn * a_step];
  alignas(64) unsigned words[steps_drawn * a_step];
  int order[dim];
  for (int j = 0; j < dim; ++j) order[j] = j;
  vector_method<steps_drawn>(
      dcsgd_rate, chunks, sums,
      [&] {
        stream.normals(steps_drawn * a_step, noise, 1.0f);
        stream.words(steps_drawn * a_step, words);
      },
      [&](int slot, const auto& h, const float* x, float* direction) {
        const float* z = noise + slot * a_step;
        const unsigned* word = words + slot * a_step;
        for (int worker = 0; worker < workers; ++worker)
          for (int i = 0; i < kept; ++i) {  // the first swaps of a Fisher-Yates shuffle
            const int draw = worker * kept + i;
            const int other = i + static_cast<int>((static_cast<std::uint64_t>(word[draw]) * (dim - i)) >> 32);
            const int j = order[other];
            order[other] = order[i];
            order[i] = j;
            direction[j] += h[j] * x[j] + z[draw];
          }
      });
}

/// The sum over workers of sign(h x + t): the sign is taken of h x sqrt(chi^2/nu) + z.
template <int nu>
void dsignsgd(const Options& options, std::uint32_t seed, long chunks, Sums& sums) {
  using namespace vector_job;
  constexpr int steps_drawn = 10, a_step = workers * dim, drawn = steps_drawn * a_step;
  Stream stream(options.generator, seed);
  alignas(64) static thread_local float z[drawn], e[drawn], y[nu == 3 ? drawn : 1];
  const auto draw = [&] {
    stream.normals(drawn, z, 1.0f);
    stream.exponentials(drawn, e);  // chi^2 with 2 degrees of freedom is 2 e, with 3 it is 2 e + y^2
    if constexpr (nu == 3) stream.normals(drawn, y, 1.0f);
  };
  vector_method<steps_drawn>(dsignsgd_rate, chunks, sums, draw,
                             [&](int slot, const auto& h, const float* x, float* direction) {
                               for (int worker = 0; worker < workers; ++worker) {
                                 const int at = slot * a_step + worker * dim;
                                 for (int j = 0; j < dim; ++j) {
                                   float ratio = e[at + j];
                                   if constexpr (nu == 3)
                                     ratio = (2.0f * e[at + j] + y[at + j] * y[at + j]) * (1.0f / 3.0f);
                                   direction[j] += std::copysign(1.0f, h[j] * x[j] * std::sqrt(ratio) + z[at + j]);
                                 }
                               }
                             });
}

/// nu = 2 again, t = (2 u - 1)/sqrt(2 u (1 - u)).
void dsignsgd_by_quantile(const Options& options, std::uint32_t seed, long chunks, Sums& sums) {
  using namespace vector_job;
  constexpr int steps_drawn = 10, a_step = workers * dim;
  Stream stream(options.generator, seed);
  alignas(64) float u[steps_drawn * a_step];
  vector_method<steps_drawn>(
      dsignsgd_rate, chunks, sums, [&] { stream.uniforms(steps_drawn * a_step, u); },
      [&](int slot, const auto& h, const float* x, float* direction) {
        for (int worker = 0; worker < workers; ++worker)
          for (int j = 0; j < dim; ++j) {
            const float v = u[slot * a_step + worker * dim + j];
            direction[j] += std::copysign(1.0f, h[j] * x[j] * std::sqrt(2.0f * v * (1.0f - v)) + (2.0f * v - 1.0f));
          }
      });
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) throw std::invalid_argument("usage: peer_onemkl JOB THREADS [sfmt|philox] [best|avx2]");
  Options options;
  for (int i = 3; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "philox") {
      options.generator = VSL_BRNG_PHILOX4X32X10;
    } else if (option == "avx2") {
      if (mkl_enable_instructions(MKL_ENABLE_AVX2) != 1)
        throw std::runtime_error("peer_onemkl: mkl_enable_instructions refused AVX2");
    } else if (option != "sfmt" && option != "best") {
      throw std::invalid_argument("peer_onemkl: unknown option " + option);
    }
  }
  const std::map<std::string, void (*)(const Options&, std::uint32_t, long, Sums&)> jobs = {
      {"j1", scalar_dsgd},
      {"j2", dcsgd},
      {"j3", dsignsgd<2>},
      {"j3:quantile", dsignsgd_by_quantile},
      {"j3_nu3", dsignsgd<3>}};
  const auto job = jobs.find(argv[1]);
  if (job == jobs.end()) throw std::invalid_argument(std::string("peer_onemkl: it has no job ") + argv[1]);
  MKLVersion version;
  mkl_get_version(&version);
  const std::string name = "oneMKL " + std::to_string(version.MajorVersion) + "." +
                           std::to_string(version.MinorVersion) + "." + std::to_string(version.UpdateVersion);
  return serve(name, job->first == "j1" ? scalar_chunk : vector_chunk, std::atoi(argv[2]),
               [&](std::uint32_t seed, long chunks, Sums& sums) { job->second(options, seed, chunks, sums); });
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
