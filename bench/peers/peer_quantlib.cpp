// SPDX-License-Identifier: Apache-2.0
// QuantLib: its path generator (Mersenne twister, inverse normal) on the SDE of J1, dX = -X^3 dt + sqrt(eta) sigma dW,
// as an Euler-discretised one-dimensional process, which is what QuantLib offers for an SDE of one's own.
#include <cstdlib>
#include <ql/math/randomnumbers/rngtraits.hpp>
#include <ql/methods/montecarlo/pathgenerator.hpp>
#include <ql/processes/eulerdiscretization.hpp>
#include <ql/stochasticprocess.hpp>
#include <ql/version.hpp>

#include "bench/peers/peer.hpp"

using namespace peers;

namespace {

constexpr int chunk_paths = 64;

class Quartic : public QuantLib::StochasticProcess1D {
 public:
  Quartic() : StochasticProcess1D(QuantLib::ext::make_shared<QuantLib::EulerDiscretization>()) {}
  QuantLib::Real x0() const override { return scalar_job::start; }
  QuantLib::Real drift(QuantLib::Time, QuantLib::Real x) const override { return -x * x * x; }
  QuantLib::Real diffusion(QuantLib::Time, QuantLib::Real) const override { return diffusion_; }

 private:
  const QuantLib::Real diffusion_ = std::sqrt(0.01) * 0.5;  // sqrt(eta) sigma
};

void simulate(std::uint32_t seed, long chunks, Sums& sums) {
  using namespace scalar_job;
  using QuantLib::PseudoRandom;
  const auto normals = PseudoRandom::make_sequence_generator(steps, seed + 1);  // QuantLib takes 0 for "by the clock"
  QuantLib::PathGenerator<PseudoRandom::rsg_type> generator(QuantLib::ext::make_shared<Quartic>(), 0.01 * steps, steps,
                                                            normals, false);
  for (long path = 0; path < chunks * chunk_paths; ++path) {
    const QuantLib::Path& x = generator.next().value;
    for (int c = 0; c < checkpoints; ++c) {
      const double at = x[static_cast<std::size_t>((c + 1) * every)];
      sums[c] += at * at * at * at / 4;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || std::string(argv[1]) != "j4") {
    std::fprintf(stderr, "usage: peer_quantlib j4 THREADS\n");
    return 2;
  }
  return serve("QuantLib " QL_VERSION, chunk_paths, std::atoi(argv[2]), simulate);
}
