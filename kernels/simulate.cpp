// SPDX-License-Identifier: Apache-2.0
// The cpu backend: instruction set chosen at run time, threads over chunks of blocks, the dyadic tree over blocks.
#include "kernels/simulate.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <thread>

#include "kernels/collect.hpp"
#include "kernels/cpu.hpp"
#include "kernels/model_run.hpp"
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

template <class R>
std::int64_t rows_of(const SimSpec<R>& spec) {
  return spec.is_model ? model_workspace_rows(spec) : workspace_rows(spec);
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

/// One thread's histograms and the queue of bins before them. Memory that is never touched is never taken.
class Histograms {
 public:
  explicit Histograms(std::size_t n_checkpoints)
      : n_checkpoints_(n_checkpoints),
        counts_(n_checkpoints * row_length),
        bins_(2 * group * n_checkpoints * block_paths) {
    queue_.n_checkpoints = static_cast<std::int64_t>(n_checkpoints);
    queue_.counts = counts_.data();
    queue_.filling = bins_.data();
  }

  /// Where the next block leaves its bins.
  BinQueue* queue() { return &queue_; }
  /// The block is complete.
  void commit() {
    ++blocks_;
    queue_.filling += n_checkpoints_ * block_paths;
    if (blocks_ == group) exchange();
  }
  void finish() {
    exchange();
    exchange();
  }
  std::uint64_t count(std::size_t checkpoint, int bin) const {
    const std::size_t i = checkpoint * row_length + static_cast<std::size_t>(bin) + 1;
    return counts_.data()[i] + (carried_.empty() ? 0 : carried_[i]);
  }

 private:
  /// Counts what is left of the group before; the one at hand becomes the one before.
  void exchange() {
    while (const std::uint16_t* bins = queue_.take(4)) queue_.count(bins);
    counted_ += static_cast<std::uint64_t>(queue_.waiting_blocks) * block_paths;
    if (counted_ > (std::uint64_t{1} << 31)) carry();
    std::uint16_t* filled = queue_.filling - blocks_ * n_checkpoints_ * block_paths;
    queue_.filling = filled == bins_.data() ? filled + group * n_checkpoints_ * block_paths : bins_.data();
    queue_.start(filled, static_cast<std::int64_t>(blocks_));
    blocks_ = 0;
  }
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

  static constexpr std::size_t group = 32;  // blocks
  static constexpr std::size_t row_length = static_cast<std::size_t>(BinQueue::row_length);
  std::size_t n_checkpoints_;
  Buffer<std::uint32_t> counts_;  // 32 bits: twice as many checkpoints stay in the cache
  std::vector<std::uint64_t> carried_;
  std::uint64_t counted_ = 0;   // paths in counts_, without those of the group that waits
  Buffer<std::uint16_t> bins_;  // two groups
  std::size_t blocks_ = 0;      // complete ones of the group at hand
  BinQueue queue_;
};

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

  const Groups groups(spec.n_paths);
  // Chunks: enough to balance the threads, at most a group.
  const int chunk_level =
      std::min(groups.level, std::max(0, floor_log2(std::max<std::uint64_t>(1, n_blocks / (wanted * 16)))));
  const std::uint64_t n_chunks = ((n_blocks - 1) >> chunk_level) + 1;
  const std::size_t n_threads = static_cast<std::size_t>(std::min(wanted, n_chunks));

  SharedTree tree(chunk_level, groups, n_checkpoints);
  std::vector<std::unique_ptr<Histograms>> histograms(n_threads);
  std::atomic<std::uint64_t> next_chunk{0};
  std::atomic<std::uint64_t> steps_done{0};
  std::atomic<bool> stop{false};
  std::atomic<std::size_t> running{n_threads};
  std::vector<std::exception_ptr> failures(n_threads);

  auto work = [&](std::size_t thread) {
    try {
      histograms[thread] = std::make_unique<Histograms>(n_checkpoints);
      Buffer<R> rows(static_cast<std::size_t>(rows_of(spec)) * block_paths);
      Buffer<double> doubles(static_cast<std::size_t>(workspace_doubles(spec)));
      RecordTable records(n_checkpoints, has_details(spec));
      OrderedTree chunk_tree(kernels.merge);
      BlockOutput out;
      out.bins = histograms[thread]->queue();
      out.stop = &stop;
      out.steps_done = &steps_done;
      for (;;) {
        const std::uint64_t chunk = next_chunk.fetch_add(1, std::memory_order_relaxed);
        if (chunk >= n_chunks) break;
        const std::uint64_t first = chunk << chunk_level;
        const std::uint64_t last = std::min(n_blocks, (chunk + 1) << chunk_level);
        for (std::uint64_t block = first; block < last; ++block) {
          if (stop.load(std::memory_order_relaxed)) break;
          out.records = records.rows();
          if (!run_block(kernels, spec, block, rows.data(), doubles.data(), out)) break;
          histograms[thread]->commit();
          steps_done.fetch_add(spec.n_steps & 255, std::memory_order_relaxed);
          chunk_tree.push(records);
        }
        if (stop.load(std::memory_order_relaxed)) break;
        tree.push(chunk, chunk_tree.finish());
      }
      histograms[thread]->finish();
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
  result.group_paths = groups.paths;
  fill_quantiles(result, spec.n_paths, [&](std::size_t checkpoint, int bin) {
    std::uint64_t count = 0;
    for (const auto& part : histograms) count += part->count(checkpoint, bin);
    return count;
  });
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
  Buffer<R> rows(static_cast<std::size_t>(rows_of(spec)) * block_paths);
  Buffer<double> doubles(static_cast<std::size_t>(workspace_doubles(spec)));
  RecordTable records(static_cast<std::size_t>(spec.n_checkpoints), has_details(spec));
  BlockOutput out;
  out.records = records.rows();
  out.trace = &trace;
  run_block(kernels_for(isa), spec, path / block_paths, rows.data(), doubles.data(), out);
}
template void trace_cpu<float>(const SimSpec<float>&, std::uint64_t, Isa, const TraceSink&);
template void trace_cpu<double>(const SimSpec<double>&, std::uint64_t, Isa, const TraceSink&);

template <class R>
void sample_noise(const LawSpec& law, int dim, std::uint64_t seed, std::uint64_t n_rows,
                  const std::function<void(const R*, std::size_t)>& sink) {
  auto window = std::make_unique<NoiseWindow<R, 1, 32>>();
  const BitsOf<R> path[1] = {0};
  window->init(seed, path, 0, law, dim);
  const bool skip = law.kind == LawKind::multivariate_t && (dim & 1) != 0;
  for (std::uint64_t r = 0; r < n_rows; ++r) {
    int got = 0;
    for (int j = 0; j < dim; j += got) {
      const R* values = window->take(dim - j, got);
      sink(values, static_cast<std::size_t>(got));
    }
    if (skip) window->take(1, got);
  }
}
template void sample_noise<float>(const LawSpec&, int, std::uint64_t, std::uint64_t,
                                  const std::function<void(const float*, std::size_t)>&);
template void sample_noise<double>(const LawSpec&, int, std::uint64_t, std::uint64_t,
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
