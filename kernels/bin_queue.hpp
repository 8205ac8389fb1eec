// SPDX-License-Identifier: Apache-2.0
// The histogram bins between the blocks that leave them and the counts.
#pragma once
#include <cstdint>

#include "kernels/hd.hpp"
#include "kernels/spec.hpp"
#include "kernels/statistics.hpp"

namespace pathbound {

/// One more than the histogram bin of each path at each checkpoint, 0 for paths that are missing or diverged. They are
/// counted for a group of blocks at a time, checkpoint by checkpoint, so that one checkpoint's counts stay in the
/// first-level cache; and a few at each step of the next group's blocks, because between the arithmetic of the steps
/// that takes no time of its own.
struct BinQueue {
  static constexpr std::int64_t row_length = histogram_bins + 1;  ///< the first counts paths without a bin

  std::int64_t n_checkpoints = 0;
  std::uint32_t* counts = nullptr;         ///< n_checkpoints rows
  std::uint16_t* filling = nullptr;        ///< of the block at hand: 32 a checkpoint
  const std::uint16_t* waiting = nullptr;  ///< of the group before: by block, then by checkpoint, 32 each
  std::int64_t waiting_blocks = 0;

  PATHBOUND_HD std::uint16_t* place(int checkpoint) const { return filling + std::int64_t{checkpoint} * block_paths; }

  /// The next n bins to be counted, null when none wait; n divides 32, and is always the same until none wait.
  PATHBOUND_HD const std::uint16_t* take(int n) {
    if (next_ == end_ && !advance()) return nullptr;
    const std::uint16_t* bins = next_;
    next_ += n;
    return bins;
  }
  /// Counts four of the bins last taken.
  PATHBOUND_HD void count(const std::uint16_t* bins) const {
    ++row_[bins[0]];
    ++row_[bins[1]];
    ++row_[bins[2]];
    ++row_[bins[3]];
  }
  /// Begins with a group: blocks of it, which follow one another from `first` on.
  PATHBOUND_HD void start(const std::uint16_t* first, std::int64_t blocks) {
    waiting = first;
    waiting_blocks = blocks;
    block_ = checkpoint_ = 0;
    next_ = end_ = nullptr;
  }

 private:
  PATHBOUND_HD bool advance() {
    if (block_ == waiting_blocks) {
      block_ = 0;
      ++checkpoint_;
    }
    if (waiting_blocks == 0 || checkpoint_ >= n_checkpoints) return false;
    next_ = waiting + (block_++ * n_checkpoints + checkpoint_) * block_paths;
    end_ = next_ + block_paths;
    row_ = counts + checkpoint_ * row_length;
    return true;
  }

  std::int64_t block_ = 0, checkpoint_ = 0;  ///< the next 32 bins
  const std::uint16_t *next_ = nullptr, *end_ = nullptr;
  std::uint32_t* row_ = nullptr;
};

}  // namespace pathbound
