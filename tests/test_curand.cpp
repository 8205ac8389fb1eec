// SPDX-License-Identifier: Apache-2.0
// The random words against cuRAND's own generator. Its device functions are plain C++, so the host compiler takes them;
// no device is needed. Built only where the headers of the CUDA toolkit are found.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <vector_functions.h>

#include <cmath>
#include <cstdint>
#include <vector>
#define QUALIFIERS static inline
#include <curand_kernel.h>

#include "kernels/simulate.hpp"

namespace pathbound {
namespace {

void expect_same_words(std::uint64_t seed, std::uint64_t path, std::uint64_t offset) {
  curandStatePhilox4_32_10_t state;
  curand_init(static_cast<unsigned long long>(seed), static_cast<unsigned long long>(path),
              static_cast<unsigned long long>(offset), &state);
  std::vector<std::uint32_t> words(23);
  random_words(seed, path, offset, words.size(), words.data());
  for (std::size_t i = 0; i < words.size(); ++i)
    ASSERT_EQ(curand(&state), words[i]) << "seed " << seed << " path " << path << " offset " << offset << " + " << i;
}

TEST(Curand, WordsAreThoseOfCurandInitWithThePathAsSubsequence) {
  for (const std::uint64_t seed :
       {std::uint64_t(0), std::uint64_t(1), std::uint64_t(0x123456789abcdef0), (std::uint64_t(1) << 63) - 1}) {
    for (const std::uint64_t path :
         {std::uint64_t(0), std::uint64_t(1), std::uint64_t(65535), std::uint64_t(0xffffffff), std::uint64_t(1) << 32,
          (std::uint64_t(1) << 40) - 1, std::uint64_t(0xfedcba9876543210)}) {
      for (std::uint64_t purpose = 0; purpose < 6; ++purpose)
        for (const std::uint64_t word :
             {std::uint64_t(0), std::uint64_t(1), std::uint64_t(2), std::uint64_t(3), std::uint64_t(4),
              std::uint64_t(1001), (std::uint64_t(1) << 34) - 2, (std::uint64_t(1) << 60) - 24})
          expect_same_words(seed, path, (purpose << 60) + word);
    }
  }
}

TEST(Curand, SkippingAheadAndFoursAgreeToo) {
  curandStatePhilox4_32_10_t state;
  curand_init(77ull, (1ull << 33) + 5, 0ull, &state);
  std::vector<std::uint32_t> words(4);
  skipahead((2ull << 60) + 6, &state);
  random_words(77, (std::uint64_t(1) << 33) + 5, (std::uint64_t(2) << 60) + 6, 4, words.data());
  for (const auto w : words) EXPECT_EQ(curand(&state), w);
  curand_init(77ull, 9ull, 8ull, &state);
  random_words(77, 9, 8, 4, words.data());
  const uint4 four = curand4(&state);
  EXPECT_EQ(four.x, words[0]);
  EXPECT_EQ(four.y, words[1]);
  EXPECT_EQ(four.z, words[2]);
  EXPECT_EQ(four.w, words[3]);
}

}  // namespace
}  // namespace pathbound
