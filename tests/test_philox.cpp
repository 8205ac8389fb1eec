// SPDX-License-Identifier: Apache-2.0
// The random words: published answers, the authors' own implementation, and the addresses of a path's words.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#if __has_include(<Random123/philox.h>)
#include <Random123/philox.h>
#define PATHBOUND_HAVE_RANDOM123
#endif

#include "kernels/philox.hpp"
#include "kernels/sampling.hpp"
#include "kernels/simulate.hpp"

namespace pathbound {
namespace {

using Words = std::array<std::uint32_t, 4>;

std::uint64_t join(std::uint32_t low, std::uint32_t high) { return (static_cast<std::uint64_t>(high) << 32) | low; }

/// The generator by its definition: counter = (block, block >> 32, path, path >> 32), key = (seed, seed >> 32).
Words block_of(std::uint64_t seed, std::uint64_t path, std::uint64_t block) {
  Words out;
  philox_block(seed, path, block, out.data());
  return out;
}

/// Numbers that have zeros and ones in every half.
std::vector<std::uint64_t> corners() {
  return {0,
          1,
          2,
          0xffffffffu,
          0x100000000u,
          0x100000001u,
          0x8000000000000000u,
          0xffffffff00000000u,
          0xfffffffffffffffeu,
          0xffffffffffffffffu,
          0x0123456789abcdefu};
}

TEST(Philox, GivesThePublishedAnswers) {
  std::ifstream file(std::string(PATHBOUND_SOURCE_DIR) + "/tests/known_answers/philox4x32_10.txt");
  ASSERT_TRUE(file);
  int vectors = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream numbers(line);
    numbers >> std::hex;
    std::array<std::uint32_t, 10> v{};
    for (auto& x : v) ASSERT_TRUE(numbers >> x) << line;
    const Words out = block_of(join(v[4], v[5]), join(v[2], v[3]), join(v[0], v[1]));
    EXPECT_EQ(out, (Words{v[6], v[7], v[8], v[9]})) << line;
    ++vectors;
  }
  EXPECT_EQ(vectors, 3);
}

TEST(Philox, EqualsRandom123) {
#if defined(PATHBOUND_HAVE_RANDOM123)
  const auto reference = [](std::uint64_t seed, std::uint64_t path, std::uint64_t block) {
    const r123::Philox4x32::ctr_type counter = {
        {static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32), static_cast<std::uint32_t>(path),
         static_cast<std::uint32_t>(path >> 32)}};
    const r123::Philox4x32::key_type key = {{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)}};
    const auto r = r123::Philox4x32()(counter, key);
    return Words{r[0], r[1], r[2], r[3]};
  };
  for (const auto seed : corners())
    for (const auto path : corners())
      for (const auto block : corners()) ASSERT_EQ(block_of(seed, path, block), reference(seed, path, block));
  std::mt19937_64 engine(5);
  for (int i = 0; i < 100000; ++i) {
    const std::uint64_t seed = engine(), path = engine(), block = engine();
    ASSERT_EQ(block_of(seed, path, block), reference(seed, path, block));
  }
#else
  GTEST_SKIP() << "Random123 is not installed";
#endif
}

template <class F>
void expect_stream_equals_blocks() {
  std::mt19937_64 engine(6);
  for (const Purpose q : {Purpose::gradient_noise, Purpose::compressor, Purpose::refinement, Purpose::start,
                          Purpose::model_noise, Purpose::selector}) {
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t seed = engine(), path = i % 3 == 0 ? engine() : engine() >> 40;
      // Blocks around a change of the high word too.
      const std::uint64_t block =
          first_block(q) + (i % 2 == 0 ? engine() >> 30 : (engine() >> 60 << 32) + 0xffffffffu - engine() % 2);
      PathStream<F> stream;
      stream.init(seed, static_cast<BitsOf<F>>(static_cast<std::uint32_t>(path)),
                  static_cast<std::uint32_t>(path >> 32), q);
      if (stream.block_hi != static_cast<std::uint32_t>(block >> 32))
        stream.seek_high(static_cast<std::uint32_t>(block >> 32));
      BitsOf<F> out[4];
      stream.block(static_cast<std::uint32_t>(block), out);
      const Words expected = block_of(seed, path, block);
      for (std::size_t w = 0; w < 4; ++w) ASSERT_EQ(static_cast<std::uint32_t>(out[w]), expected[w]);
    }
  }
}

TEST(Philox, StreamWithHoistedProductsEqualsThePlainGenerator) {
  expect_stream_equals_blocks<float>();
  expect_stream_equals_blocks<double>();
}

TEST(RandomWords, AreTheWordsOfConsecutiveBlocksFromAnyOffset) {
  for (const std::uint64_t base :
       {std::uint64_t(0), std::uint64_t(5) << 60, (std::uint64_t(1) << 34) - 6, ~std::uint64_t(0) - 100}) {
    for (std::uint64_t shift = 0; shift < 9; ++shift) {
      for (const std::size_t count :
           {std::size_t(0), std::size_t(1), std::size_t(3), std::size_t(4), std::size_t(5), std::size_t(31)}) {
        std::vector<std::uint32_t> words(count + 1, 0xdeadbeefu);
        random_words(42, 7, base + shift, count, words.data());
        for (std::size_t i = 0; i < count; ++i) {
          const std::uint64_t at = base + shift + i;
          ASSERT_EQ(words[i], block_of(42, 7, at / 4)[at % 4]) << at;
        }
        EXPECT_EQ(words[count], 0xdeadbeefu);
      }
    }
  }
}

TEST(RandomWords, PurposeQStartsAtWordQTimesTwoToTheSixty) {
  const std::array<Purpose, 6> purposes = {Purpose::gradient_noise, Purpose::compressor,  Purpose::refinement,
                                           Purpose::start,          Purpose::model_noise, Purpose::selector};
  for (std::size_t q = 0; q < purposes.size(); ++q) {
    EXPECT_EQ(static_cast<std::size_t>(purposes[q]), q);
    EXPECT_EQ(first_block(purposes[q]) * 4, static_cast<std::uint64_t>(q) << 60);
  }
}

template <class R>
void expect_window_reads_the_words_of(std::uint64_t path) {
  // float: uniform m is word m; double: the upper word of the pair 2m, 2m + 1.
  const std::uint64_t seed = 99;
  WordWindow<R, 1, 32> window;
  const BitsOf<R> low[1] = {static_cast<BitsOf<R>>(static_cast<std::uint32_t>(path))};
  window.init(seed, low, static_cast<std::uint32_t>(path >> 32), Purpose::compressor);
  std::mt19937_64 engine(8);
  for (std::uint64_t m = 0; m < 1000;) {
    int got;
    const auto* words = window.take(static_cast<int>(1 + engine() % 40), got);
    ASSERT_GE(got, 1);
    for (int i = 0; i < got; ++i, ++m) {
      std::uint32_t expected;
      random_words(seed, path, (std::uint64_t(1) << 60) + (sizeof(R) == 4 ? m : 2 * m + 1), 1, &expected);
      ASSERT_EQ(words[i], expected) << m;
    }
  }
}

TEST(RandomWords, CompressorsReadTheirPurposesUniformsInOrder) {
  for (const std::uint64_t path : {std::uint64_t(0), std::uint64_t(31), std::uint64_t(0x700000002)}) {
    expect_window_reads_the_words_of<float>(path);
    expect_window_reads_the_words_of<double>(path);
  }
}

}  // namespace
}  // namespace pathbound
