// SPDX-License-Identifier: Apache-2.0
// The cpu backend: instruction set chosen at run time, threads over chunks of blocks, the dyadic tree over blocks.
#include "kernels/simulate.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "kernels/cpu.hpp"
#include "kernels/path.hpp"

namespace pathbound {

namespace {

CpuKernels kernels_for(Isa isa) {
#if defined(PATHBOUND_X86)
  if (isa == Isa::avx512) return avx512_kernels();
  if (isa == Isa::avx2) return avx2_kernels();
#endif
  static_cast<void>(isa);
  return scalar_kernels();
}

bool run_block(const CpuKernels& kernels, const SimSpec<float>& spec, std::uint64_t block, float* rows, double* doubles,
               const BlockOutput& out) {
  return kernels.run_float(spec, block, rows, doubles, out);
}
bool run_block(const CpuKernels& kernels, const SimSpec<double>& spec, std::uint64_t block, double* rows,
               double* doubles, const BlockOutput& out) {
  return kernels.run_double(spec, block, rows, doubles, out);
}

/// Memory aligned to cache lines and not touched before it is used (the histograms are mostly never touched).
template <class T>
class Buffer {
 public:
  explicit Buffer(std::size_t count) {
    const std::size_t bytes = std::max<std::size_t>(64, (count * sizeof(T) + 63) / 64 * 64);
    // calloc takes large sizes straight from the system as zero pages that cost nothing until written.
    raw_ = std::calloc(bytes + 64, 1);
    if (raw_ == nullptr) throw std::bad_alloc();
    data_ = reinterpret_cast<T*>((reinterpret_cast<std::uintptr_t>(raw_) + 63) / 64 * 64);
  }
  ~Buffer() { std::free(raw_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* data() const { return data_; }

 private:
  void* raw_ = nullptr;
  T* data_ = nullptr;
};

using Records = std::vector<Record>;  // one node of the tree: a record for every checkpoint

void merge(Records& left, const Records& right) {
  for (std::size_t i = 0; i < left.size(); ++i) pathbound::merge(left[i], right[i]);
}

/// The dyadic tree over nodes that arrive in order: left siblings wait on a stack, as the digits of a binary counter.
class OrderedTree {
 public:
  /// Takes the node; its buffer comes back with a content that no longer matters.
  void push(Records& node) {
    std::size_t level = 0;
    for (std::uint64_t c = count_; (c & 1) != 0; c >>= 1, ++level) {
      merge(waiting_[level], node);
      std::swap(waiting_[level], node);
    }
    if (level == waiting_.size()) waiting_.emplace_back(node.size());
    std::swap(waiting_[level], node);
    ++count_;
  }
  /// The root; the tree is empty afterwards.
  Records finish() {
    Records root;
    for (std::size_t level = 0; level < waiting_.size(); ++level) {
      if (((count_ >> level) & 1) == 0) continue;
      if (!root.empty()) merge(waiting_[level], root);
      root = waiting_[level];
    }
    count_ = 0;
    return root;
  }

 private:
  std::uint64_t count_ = 0;
  std::vector<Records> waiting_;
};

/// The upper part of the tree: chunk nodes arrive in any order from any thread and wait for their sibling. Keeps
/// O(threads + log chunks) nodes.
class SharedTree {
 public:
  SharedTree(int chunk_level, int group_level, std::uint64_t n_groups, std::size_t n_checkpoints)
      : chunk_level_(chunk_level), group_level_(group_level), n_groups_(n_groups), group_means_(n_checkpoints) {
    for (auto& means : group_means_) means.assign(n_groups, std::numeric_limits<double>::quiet_NaN());
  }

  void push(std::uint64_t chunk, Records node, std::uint64_t group_paths) {
    const std::lock_guard<std::mutex> lock(mutex_);
    int level = chunk_level_;
    std::uint64_t index = chunk;
    keep_group(level, index, node, group_paths);
    for (;;) {
      const auto sibling = waiting_.find({level, index ^ 1});
      if (sibling == waiting_.end()) break;
      if ((index & 1) != 0) std::swap(sibling->second, node);
      merge(node, sibling->second);
      waiting_.erase(sibling);
      ++level;
      index >>= 1;
      keep_group(level, index, node, group_paths);
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
  void keep_group(int level, std::uint64_t index, const Records& node, std::uint64_t group_paths) {
    if (level != group_level_ || index >= n_groups_) return;
    for (std::size_t c = 0; c < node.size(); ++c)
      if (node[c].finite == group_paths) group_means_[c][index] = node[c].sum / static_cast<double>(group_paths);
  }

  int chunk_level_, group_level_;
  std::uint64_t n_groups_;
  std::vector<std::vector<double>> group_means_;
  std::map<std::pair<int, std::uint64_t>, Records> waiting_;
  std::mutex mutex_;
};

/// One thread's histograms: memory that is never touched is never taken. Blocks leave their bins in a buffer that is
/// counted a few blocks at a time, so that one checkpoint's counts stay in the first-level cache meanwhile.
class Histograms {
 public:
  static constexpr int blocks_together = 32;
  static constexpr std::int64_t bins_stride = block_paths * blocks_together;

  explicit Histograms(std::size_t n_checkpoints)
      : n_checkpoints_(n_checkpoints),
        counts_(n_checkpoints * row_length),
        bins_(n_checkpoints * static_cast<std::size_t>(bins_stride)) {}

  /// Where the next block leaves its bins.
  std::uint16_t* next_bins() { return bins_.data() + pending_ * block_paths; }
  /// The block is complete.
  void commit() {
    if (++pending_ == blocks_together) flush();
  }
  void flush() {
    const int n = pending_ * block_paths;
    if (counted_ > (std::uint64_t{1} << 31)) carry();
    counted_ += static_cast<std::uint64_t>(n);
    for (std::size_t c = 0; c < n_checkpoints_; ++c) {
      std::uint32_t* counts = counts_.data() + c * row_length;
      const std::uint16_t* bins = bins_.data() + c * static_cast<std::size_t>(bins_stride);
      for (int i = 0; i < n; i += 4) {  // four bins a load
        std::uint64_t four;
        std::memcpy(&four, bins + i, sizeof four);
        ++counts[four & 0xffff];
        ++counts[(four >> 16) & 0xffff];
        ++counts[(four >> 32) & 0xffff];
        ++counts[four >> 48];
      }
    }
    pending_ = 0;
  }
  std::uint64_t count(std::size_t checkpoint, int bin) const {
    const std::size_t i = checkpoint * row_length + static_cast<std::size_t>(bin) + 1;
    return counts_.data()[i] + (carried_.empty() ? 0 : carried_[i]);
  }

 private:
  /// At step 0 one bin holds all paths, which may be more than 2^32: counts move on before they can overflow.
  void carry() {
    const std::size_t n = n_checkpoints_ * row_length;
    carried_.resize(n);
    for (std::size_t i = 0; i < n; ++i) {
      carried_[i] += counts_.data()[i];
      counts_.data()[i] = 0;
    }
    counted_ = 0;
  }

  static constexpr std::size_t row_length = histogram_bins + 1;  // the first counts paths without a bin
  std::size_t n_checkpoints_;
  Buffer<std::uint32_t> counts_;  // 32 bits: twice as many checkpoints stay in the cache
  std::vector<std::uint64_t> carried_;
  std::uint64_t counted_ = 0;  // paths in counts_
  Buffer<std::uint16_t> bins_;
  int pending_ = 0;
};

/// Quantile p: midpoint of the bin of the ceil(p n)-th smallest of all n paths, clamped to [min, max]; NaN when that
/// path has diverged.
void fill_quantiles(SimResult& result, const std::vector<std::unique_ptr<Histograms>>& parts, std::uint64_t n_paths) {
  const std::size_t n_checkpoints = result.records.size();
  for (auto& q : result.quantiles) q.assign(n_checkpoints, std::numeric_limits<double>::quiet_NaN());
  std::vector<std::uint64_t> counts;
  for (std::size_t c = 0; c < n_checkpoints; ++c) {
    const Record& r = result.records[c];
    if (r.finite == 0) continue;
    const int low = histogram_bin(static_cast<float>(r.min)), high = histogram_bin(static_cast<float>(r.max));
    counts.assign(static_cast<std::size_t>(high - low + 1), 0);
    for (const auto& part : parts)
      for (int b = low; b <= high; ++b) counts[static_cast<std::size_t>(b - low)] += part->count(c, b);
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

int floor_log2(std::uint64_t n) { return std::bit_width(n) - 1; }

}  // namespace

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return "scalar";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "scalar";
}

bool isa_available(Isa isa) {
  if (isa == Isa::scalar) return true;
#if defined(PATHBOUND_X86)
  const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  if (isa == Isa::avx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
#else
  return false;
#endif
}

Isa best_isa() {
  for (const Isa isa : {Isa::avx512, Isa::avx2})
    if (isa_available(isa)) return isa;
  return Isa::scalar;
}

template <class R>
SimResult simulate_cpu(const SimSpec<R>& spec, const SimOptions& options) {
  const auto started = std::chrono::steady_clock::now();
  const CpuKernels kernels = kernels_for(options.isa);
  const std::size_t n_checkpoints = static_cast<std::size_t>(spec.n_checkpoints);
  const std::uint64_t n_blocks = (spec.n_paths + block_paths - 1) / block_paths;
  const unsigned hardware = std::max(1u, std::thread::hardware_concurrency());
  const std::uint64_t wanted = options.threads > 0 ? static_cast<std::uint64_t>(options.threads) : hardware;

  // Groups for median-of-means bands: between 64 and 127 nodes of one level, only whole ones.
  const int group_level = n_blocks < 64 ? 0 : floor_log2(n_blocks) - 6;
  const std::uint64_t group_paths = static_cast<std::uint64_t>(block_paths) << group_level;
  const std::uint64_t n_groups = spec.n_paths / group_paths;
  // Chunks: enough to balance the threads, at most a group.
  const int chunk_level =
      std::min(group_level, std::max(0, floor_log2(std::max<std::uint64_t>(1, n_blocks / (wanted * 16)))));
  const std::uint64_t n_chunks = ((n_blocks - 1) >> chunk_level) + 1;
  const std::size_t n_threads = static_cast<std::size_t>(std::min(wanted, n_chunks));

  SharedTree tree(chunk_level, group_level, n_groups, n_checkpoints);
  std::vector<std::unique_ptr<Histograms>> histograms(n_threads);
  std::atomic<std::uint64_t> next_chunk{0};
  std::atomic<std::uint64_t> steps_done{0};
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> running{n_threads};
  std::vector<std::exception_ptr> failures(n_threads);

  auto work = [&](std::size_t thread) {
    try {
      histograms[thread] = std::make_unique<Histograms>(n_checkpoints);
      Buffer<R> rows(static_cast<std::size_t>(workspace_rows(spec)) * block_paths);
      Buffer<double> doubles(static_cast<std::size_t>(workspace_doubles(spec)));
      Records records(n_checkpoints);
      OrderedTree chunk_tree;
      BlockOutput out;
      out.bins_stride = Histograms::bins_stride;
      out.stop = &stop;
      out.steps_done = &steps_done;
      for (;;) {
        const std::uint64_t chunk = next_chunk.fetch_add(1, std::memory_order_relaxed);
        if (chunk >= n_chunks) break;
        const std::uint64_t first = chunk << chunk_level;
        const std::uint64_t last = std::min(n_blocks, (chunk + 1) << chunk_level);
        for (std::uint64_t block = first; block < last; ++block) {
          if (stop.load(std::memory_order_relaxed)) break;
          out.records = records.data();
          out.bins = histograms[thread]->next_bins();
          if (!run_block(kernels, spec, block, rows.data(), doubles.data(), out)) break;
          histograms[thread]->commit();
          steps_done.fetch_add(spec.n_steps & 255, std::memory_order_relaxed);
          chunk_tree.push(records);
        }
        if (stop.load(std::memory_order_relaxed)) break;
        tree.push(chunk, chunk_tree.finish(), group_paths);
      }
      histograms[thread]->flush();
    } catch (...) {
      failures[thread] = std::current_exception();
      stop = true;
    }
    --running;
  };

  {
    std::vector<std::jthread> threads;
    const bool watch = static_cast<bool>(options.progress) || options.stop != nullptr;
    for (std::size_t t = watch ? 0 : 1; t < n_threads; ++t) threads.emplace_back(work, t);
    if (!watch) {
      work(0);
    } else {
      // This thread only looks after the others: interruption within a few hundredths of a second, and progress.
      auto pause = std::chrono::microseconds(200);
      while (running.load() > 0) {
        std::this_thread::sleep_for(pause);
        pause = std::min(2 * pause, std::chrono::microseconds(20000));
        if (options.stop != nullptr && options.stop->load()) stop = true;
        if (options.progress)
          options.progress(std::min(static_cast<double>(spec.n_paths) * static_cast<double>(spec.n_steps),
                                    static_cast<double>(steps_done.load()) * block_paths));
      }
    }
  }
  for (const auto& failure : failures)
    if (failure) std::rethrow_exception(failure);
  if (options.stop != nullptr && options.stop->load()) throw Interrupted{};

  SimResult result;
  result.records = tree.finish();
  result.group_means = tree.take_group_means();
  fill_quantiles(result, histograms, spec.n_paths);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  return result;
}
template SimResult simulate_cpu<float>(const SimSpec<float>&, const SimOptions&);
template SimResult simulate_cpu<double>(const SimSpec<double>&, const SimOptions&);

template <class R>
void trace_cpu(const SimSpec<R>& spec, std::uint64_t path, Isa isa, const TraceSink& sink) {
  struct Context {
    const TraceSink* sink;
  } context{&sink};
  Trace trace;
  trace.slot = path_of_slot(static_cast<int>(path % block_paths));  // its own inverse
  trace.context = &context;
  trace.call = [](void* c, std::uint64_t step, const double* x, double s, double norm, bool diverged) {
    (*static_cast<Context*>(c)->sink)(step, x, s, norm, diverged);
  };
  Buffer<R> rows(static_cast<std::size_t>(workspace_rows(spec)) * block_paths);
  Buffer<double> doubles(static_cast<std::size_t>(workspace_doubles(spec)));
  Records records(static_cast<std::size_t>(spec.n_checkpoints));
  BlockOutput out;
  out.records = records.data();
  out.trace = &trace;
  run_block(kernels_for(isa), spec, path / block_paths, rows.data(), doubles.data(), out);
}
template void trace_cpu<float>(const SimSpec<float>&, std::uint64_t, Isa, const TraceSink&);
template void trace_cpu<double>(const SimSpec<double>&, std::uint64_t, Isa, const TraceSink&);

template <class R>
void sample_noise(LawKind law, double nu, int dim, std::uint64_t seed, std::uint64_t n_rows,
                  const std::function<void(const R*, std::size_t)>& sink) {
  auto window = std::make_unique<NoiseWindow<R, 1, 32>>();
  const BitsOf<R> path[1] = {0};
  window->init(seed, path, 0, law, nu, dim);
  const bool skip = law == LawKind::multivariate_t && (dim & 1) != 0;
  for (std::uint64_t r = 0; r < n_rows; ++r) {
    int got = 0;
    for (int j = 0; j < dim; j += got) {
      const R* values = window->take(dim - j, got);
      sink(values, static_cast<std::size_t>(got));
    }
    if (skip) window->take(1, got);
  }
}
template void sample_noise<float>(LawKind, double, int, std::uint64_t, std::uint64_t,
                                  const std::function<void(const float*, std::size_t)>&);
template void sample_noise<double>(LawKind, double, int, std::uint64_t, std::uint64_t,
                                   const std::function<void(const double*, std::size_t)>&);

void random_words(std::uint64_t seed, std::uint64_t path, std::uint64_t offset, std::size_t count, std::uint32_t* out) {
  for (std::size_t i = 0; i < count;) {
    std::uint32_t words[4];
    const std::uint64_t at = offset + i;
    philox_block(seed, path, at / 4, words);
    for (std::uint64_t w = at % 4; w < 4 && i < count; ++w) out[i++] = words[w];
  }
}

}  // namespace pathbound
