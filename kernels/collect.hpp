// SPDX-License-Identifier: Apache-2.0
// From the blocks' records to a SimResult: the upper part of the dyadic tree, group means, quantiles. Host code, for
// every backend.
#pragma once
#include <algorithm>
#include <bit>
#include <limits>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "kernels/record_rows.hpp"
#include "kernels/simulate.hpp"

namespace pathbound {

inline int floor_log2(std::uint64_t n) { return std::bit_width(n) - 1; }

/// The groups of paths whose means the median-of-means bands use: between 64 and 127 nodes of one level of the tree
/// over blocks, only whole ones.
struct Groups {
  explicit Groups(std::uint64_t n_paths) {
    const std::uint64_t n_blocks = (n_paths + block_paths - 1) / block_paths;
    level = n_blocks < 64 ? 0 : floor_log2(n_blocks) - 6;
    paths = static_cast<std::uint64_t>(block_paths) << level;
    count = n_paths / paths;
  }
  int level = 0;
  std::uint64_t paths = 0;  ///< of one group
  std::uint64_t count = 0;
};

using Records = std::vector<Record>;  // one node of the tree: a record for every checkpoint

inline void merge(Records& left, const Records& right) {
  for (std::size_t i = 0; i < left.size(); ++i) pathbound::merge(left[i], right[i]);
}

/// merge_whole_rows of some instruction set.
using MergeRows = void (*)(std::int64_t n, double paths, const RecordRows& a, const RecordRows& b);

/// The same node with its records field by field.
class RecordTable {
 public:
  RecordTable(std::size_t n_checkpoints, bool detailed)
      : n_(n_checkpoints),
        stride_((n_checkpoints + RecordRows::padding + 7) / 8 * 8),
        detailed_(detailed),
        data_(stride_ * (detailed ? RecordRows::n_fields : RecordRows::n_plain)) {}

  RecordRows rows() { return {data_.data(), static_cast<std::int64_t>(stride_), detailed_}; }
  Records records() {
    Records all;
    for (std::size_t i = 0; i < n_; ++i) all.push_back(rows().get(static_cast<int>(i)));
    return all;
  }

  /// Merges the right sibling into this node. whole: merge_whole_rows.
  void merge_with(RecordTable& right, MergeRows whole) {
    const RecordRows a = rows(), b = right.rows();
    const std::size_t last = n_ - 1;
    const double* a_finite = a.row(RecordRows::finite);
    const double* b_finite = b.row(RecordRows::finite);
    const double paths = a_finite[last];  // none comes back
    if (!detailed_ && a_finite[0] == paths && b_finite[0] == paths && b_finite[last] == paths &&
        std::has_single_bit(static_cast<std::uint64_t>(paths))) {
      whole(static_cast<std::int64_t>(n_), paths, a, b);
      return;
    }
    for (int i = 0; i <= static_cast<int>(last); ++i) {
      Record r = a.get(i);
      merge(r, b.get(i));
      a.set(i, r);
    }
  }

 private:
  std::size_t n_, stride_;
  bool detailed_;
  std::vector<double> data_;
};

/// The dyadic tree over nodes that arrive in order: left siblings wait on a stack, as the digits of a binary counter.
class OrderedTree {
 public:
  explicit OrderedTree(MergeRows merge) : merge_(merge) {}
  /// Takes the node; its buffer comes back with a content that no longer matters.
  void push(RecordTable& node) {
    std::size_t level = 0;
    for (std::uint64_t c = count_; (c & 1) != 0; c >>= 1, ++level) {
      waiting_[level].merge_with(node, merge_);
      std::swap(waiting_[level], node);
    }
    if (level == waiting_.size()) waiting_.push_back(node);
    std::swap(waiting_[level], node);
    ++count_;
  }
  /// The root; the tree is empty afterwards.
  Records finish() {
    RecordTable* root = nullptr;
    for (std::size_t level = 0; level < waiting_.size(); ++level) {
      if (((count_ >> level) & 1) == 0) continue;
      if (root != nullptr) waiting_[level].merge_with(*root, merge_);
      root = &waiting_[level];
    }
    count_ = 0;
    return root->records();
  }

 private:
  MergeRows merge_;
  std::uint64_t count_ = 0;
  std::vector<RecordTable> waiting_;
};

/// The upper part of the tree: chunk nodes arrive in any order from any thread and wait for their sibling. Keeps
/// O(threads + log chunks) nodes.
class SharedTree {
 public:
  /// Chunks are nodes of `chunk_level`. Where that is above the groups' level, the means come by set_group_mean.
  SharedTree(int chunk_level, const Groups& groups, std::size_t n_checkpoints)
      : chunk_level_(chunk_level), groups_(groups), group_means_(n_checkpoints) {
    for (auto& means : group_means_) means.assign(groups.count, std::numeric_limits<double>::quiet_NaN());
  }

  void set_group_mean(std::size_t checkpoint, std::uint64_t group, std::uint64_t finite, double sum) {
    // Nobody else writes this element.
    if (group < groups_.count && finite == groups_.paths)
      group_means_[checkpoint][group] = sum / static_cast<double>(groups_.paths);
  }

  void push(std::uint64_t chunk, Records node) {
    const std::lock_guard<std::mutex> lock(mutex_);
    int level = chunk_level_;
    std::uint64_t index = chunk;
    keep_group(level, index, node);
    for (;;) {
      const auto sibling = waiting_.find({level, index ^ 1});
      if (sibling == waiting_.end()) break;
      if ((index & 1) != 0) std::swap(sibling->second, node);
      merge(node, sibling->second);
      waiting_.erase(sibling);
      ++level;
      index >>= 1;
      keep_group(level, index, node);
    }
    waiting_.emplace(std::pair(level, index), std::move(node));
  }

  /// Nodes without a right sibling rise unchanged, so the rest is a fold from the right.
  Records finish() {
    std::vector<std::pair<std::uint64_t, Records>> rest;
    for (auto& [key, node] : waiting_) rest.emplace_back(key.second << key.first, std::move(node));
    std::sort(rest.begin(), rest.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    Records root = std::move(rest.front().second);
    for (std::size_t i = 1; i < rest.size(); ++i) {
      merge(rest[i].second, root);
      root = std::move(rest[i].second);
    }
    return root;
  }
  std::vector<std::vector<double>> take_group_means() { return std::move(group_means_); }

 private:
  void keep_group(int level, std::uint64_t index, const Records& node) {
    if (level != groups_.level) return;
    for (std::size_t c = 0; c < node.size(); ++c) set_group_mean(c, index, node[c].finite, node[c].sum);
  }

  int chunk_level_;
  Groups groups_;
  std::vector<std::vector<double>> group_means_;
  std::map<std::pair<int, std::uint64_t>, Records> waiting_;
  std::mutex mutex_;
};

/// `count(checkpoint, bin)`: how many paths fell into the bin. Quantile p: midpoint of the bin of the ceil(p n)-th
/// smallest of all n paths, clamped to [min, max]; NaN when that path has diverged.
template <class Count>
void fill_quantiles(SimResult& result, std::uint64_t n_paths, Count&& count) {
  const std::size_t n_checkpoints = result.records.size();
  for (auto& q : result.quantiles) q.assign(n_checkpoints, std::numeric_limits<double>::quiet_NaN());
  std::vector<std::uint64_t> counts;
  for (std::size_t c = 0; c < n_checkpoints; ++c) {
    const Record& r = result.records[c];
    if (r.finite == 0) continue;
    const int low = histogram_bin(static_cast<float>(r.min)), high = histogram_bin(static_cast<float>(r.max));
    counts.assign(static_cast<std::size_t>(high - low + 1), 0);
    for (int b = low; b <= high; ++b) counts[static_cast<std::size_t>(b - low)] = count(c, b);
    for (std::size_t q = 0; q < curve_quantiles.size(); ++q) {
      // ceil(p n) in integers: p is a whole number of hundredths.
      const auto percent = static_cast<std::uint64_t>(curve_quantiles[q] * 100.0 + 0.5);
      const std::uint64_t rank = n_paths / 100 * percent + (n_paths % 100 * percent + 99) / 100;
      std::uint64_t below = 0;
      for (std::size_t b = 0; b < counts.size(); ++b) {
        below += counts[b];
        if (below < rank) continue;
        const double middle = histogram_midpoint(low + static_cast<int>(b));
        result.quantiles[q][c] = std::min(std::max(middle, r.min), r.max);
        break;
      }
    }
  }
}

}  // namespace pathbound
