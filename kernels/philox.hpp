// SPDX-License-Identifier: Apache-2.0
// Random words with an address: word m of purpose q of path p is word q * 2^60 + m of cuRAND's
// curand_init(seed, /*subsequence*/ p, /*offset*/ 0), that is Philox4x32-10 (Salmon et al. 2011) with
// counter = (block, block >> 32, p, p >> 32), block = word / 4, and key = (seed, seed >> 32).
#pragma once
#include "kernels/real.hpp"
#include "kernels/spec.hpp"

namespace pathbound {
inline namespace PATHBOUND_ISA {

inline constexpr std::uint32_t philox_m0 = 0xD2511F53u, philox_m1 = 0xCD9E8D57u;
inline constexpr std::uint32_t philox_w0 = 0x9E3779B9u, philox_w1 = 0xBB67AE85u;

/// Block `block` (four consecutive words) of the plain generator.
PATHBOUND_HD void philox_block(std::uint64_t seed, std::uint64_t path, std::uint64_t block, std::uint32_t out[4]) {
  std::uint32_t c0 = static_cast<std::uint32_t>(block), c1 = static_cast<std::uint32_t>(block >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(path), c3 = static_cast<std::uint32_t>(path >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    std::uint32_t hi0, lo0, hi1, lo1;
    mul_wide(c0, philox_m0, hi0, lo0);
    mul_wide(c2, philox_m1, hi1, lo1);
    c0 = hi1 ^ c1 ^ k0;
    c1 = lo1;
    c2 = hi0 ^ c3 ^ k1;
    c3 = lo0;
    k0 += philox_w0;
    k1 += philox_w1;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/// The first block of a purpose's words.
PATHBOUND_HD std::uint64_t first_block(Purpose q) { return static_cast<std::uint64_t>(static_cast<int>(q)) << 58; }

/// The generator for one pack of paths with the same high path word. Only the path differs between lanes and only the
/// low block word changes from call to call, so the products of rounds 1 and 2 that depend on the path are kept and
/// the others are scalar: 16 vector products a block instead of 20. Round keys are kept too.
template <class F>
struct PathStream {
  using Bits = BitsOf<F>;
  Bits path_lo;               // lane-wise low word of the path
  Bits round1_lo;             // low half of M1 * path
  Bits round2_hi, round2_lo;  // M0 * (word 0 after round 1)
  std::uint32_t path_hi = 0;
  std::uint32_t block_hi = 0;
  std::uint32_t key[20];

  PATHBOUND_HD void init(std::uint64_t seed, Bits path_low_word, std::uint32_t path_high_word, Purpose q) {
    path_lo = path_low_word;
    path_hi = path_high_word;
    std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      key[2 * round] = k0;
      key[2 * round + 1] = k1;
      k0 += philox_w0;
      k1 += philox_w1;
    }
    seek_high(static_cast<std::uint32_t>(first_block(q) >> 32));
  }

  /// To be called when the high word of the block number changes.
  PATHBOUND_HD void seek_high(std::uint32_t block_high_word) {
    block_hi = block_high_word;
    Bits hi;
    mul_wide(path_lo, philox_m1, hi, round1_lo);
    mul_wide(hi ^ Bits(block_hi ^ key[0]), philox_m0, round2_hi, round2_lo);
  }

  /// The four words of block (block_hi, block_low_word). 64-bit lanes: high halves undefined.
  PATHBOUND_HD void block(std::uint32_t block_low_word, Bits out[4]) const {
    std::uint32_t hi0, lo0, hi1, lo1;
    mul_wide(block_low_word, philox_m0, hi0, lo0);          // round 1, scalar half
    mul_wide(hi0 ^ path_hi ^ key[1], philox_m1, hi1, lo1);  // round 2, scalar half
    Bits x0 = round1_lo ^ Bits(hi1 ^ key[2]);
    Bits x2 = round2_hi ^ Bits(lo0 ^ key[3]);
    Bits h0, l0, h1, l1;
    mul_wide(x0, philox_m0, h0, l0);  // round 3
    mul_wide(x2, philox_m1, h1, l1);
    x0 = h1 ^ Bits(lo1 ^ key[4]);
    Bits x1 = l1;
    x2 = h0 ^ round2_lo ^ Bits(key[5]);
    Bits x3 = l0;
    PATHBOUND_UNROLL
    for (int round = 3; round < 10; ++round) {
      mul_wide(x0, philox_m0, h0, l0);
      mul_wide(x2, philox_m1, h1, l1);
      x0 = h1 ^ x1 ^ Bits(key[2 * round]);
      x1 = l1;
      x2 = h0 ^ x3 ^ Bits(key[2 * round + 1]);
      x3 = l0;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
  }
};

}  // namespace PATHBOUND_ISA
}  // namespace pathbound
