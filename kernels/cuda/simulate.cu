// SPDX-License-Identifier: Apache-2.0
// The cuda backend's driver. A curve's blocks of paths are cut into waves (nodes of the dyadic tree over blocks) that
// fit a device's memory; devices take waves as they get free. A wave goes through time in segments: one launch of a
// step kernel each, short enough for a display's watchdog and for Ctrl-C, and the reduction of its statistics. There
// are always two segments in the stream: while one runs, the host takes in what the one before has left (its histograms
// on a stream of their own) and launches the next.
#include <thrust/execution_policy.h>
#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/tabulate.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <mutex>
#include <thread>

#include "kernels/collect.hpp"
#include "kernels/compressors.hpp"
#include "kernels/cuda/runtime.cuh"
#include "kernels/cuda/statistics.cuh"
#include "kernels/cuda/variants.cuh"
#include "kernels/methods.hpp"
#include "kernels/model.hpp"
#include "kernels/objectives.hpp"
#include "kernels/schedules.hpp"

namespace pathbound {

namespace cuda {

/// Variates of a scalar kernel's Philox block at most: its segments begin at multiples of this step.
inline constexpr std::uint64_t scalar_steps = 4;
/// Steps whose factors are computed ahead, where a schedule changes them.
inline constexpr std::uint64_t most_factors = std::uint64_t{1} << 16;

/// What is decided before anything is allocated.
template <class R>
struct Choice {
  Variant<R> variant;
  int lanes = 1;
  bool one_coordinate = false;  ///< |grad f| is max_j |grad_j f|: the norm is not kept
  bool dense = false;
  double instructions = 0.0;  ///< of a path-step, roughly
  double multiprocessors = 1.0;

  /// With fewer lanes a device is not busy: eight warps for each of a multiprocessor's four schedulers.
  double filling_lanes() const { return 8.0 * 4.0 * 32.0 * multiprocessors; }
};

template <class R>
const Variant<R>* find_variant(const std::vector<Variant<R>>& all, const SimSpec<R>& spec, bool scalar, Layout layout,
                               int coordinates) {
  const LawFamily needed = family_of(spec.law.kind);
  const Variant<R>* found = nullptr;
  for (const Variant<R>& v : all) {
    const bool general = !spec.is_model && is_general(spec);
    if (v.model != spec.is_model || v.general != general || v.scalar != scalar || v.layout != layout || v.laws < needed)
      continue;
    if (v.together != (!general && spec.marginal.kind != MarginalKind::none)) continue;
    if (scalar ? !v.any_objective && v.objective != spec.objective.kind : v.coordinates != coordinates) continue;
    if (found == nullptr || v.laws < found->laws) found = &v;
  }
  return found;
}

template <class R>
Choice<R> choose(const SimSpec<R>& spec, const CudaOptions& options, int multiprocessors) {
  const std::vector<Variant<R>> all = step_variants<R>();
  const int dim = spec.objective.dim;
  Choice<R> choice;
  choice.multiprocessors = multiprocessors;
  choice.dense = !is_separable(spec.objective.kind);
  choice.one_coordinate = dim == 1 && !choice.dense;
  const bool general = !spec.is_model && is_general(spec);
  const bool scalar = !spec.is_model && !general && choice.one_coordinate && spec.n_workers == 1 && !spec.affine &&
                      !spec.track_gradient && spec.compressor == CompressorKind::identity &&
                      spec.marginal.kind == MarginalKind::none && spec.law.kind != LawKind::multivariate_t;
  const Variant<R>* variant = nullptr;
  if (scalar && options.tile <= 1) variant = find_variant(all, spec, true, Layout::registers, 1);
  if (variant == nullptr) {  // an objective without a scalar kernel of its own is no worse off
    // Four coordinates a lane use a Philox block best (a model has registers for two, in double for one). With few
    // paths, fewer a lane fill the device better. (Dense objectives keep a lane busy with every row and column.)
    const int each = !spec.is_model ? 4 : sizeof(R) == 4 ? 2 : 1;
    int lanes = options.tile;
    if (lanes == 0) {
      lanes = 1;
      const int useful = choice.dense ? std::max(dim, spec.objective.n_rows) : dim;
      const int most = choice.dense ? useful : (dim + each - 1) / each;
      while (lanes < 32 && lanes < most) lanes *= 2;
      const double paths = static_cast<double>(spec.n_paths) / static_cast<double>(options.devices.size());
      while (lanes < 32 && lanes < useful && paths * lanes < choice.filling_lanes() / 4.0) lanes *= 2;
    }
    choice.lanes = lanes;
    Layout layout = Layout::registers;
    int coordinates = 4;
    if (choice.dense) {
      layout = Layout::dense;
    } else if (dim > each * lanes) {
      layout = Layout::memory;
    } else {
      const bool two = !general && !(spec.marginal.kind != MarginalKind::none && sizeof(R) == 8);
      coordinates = dim <= lanes ? 1 : dim <= 2 * lanes && two ? 2 : 4;
    }
    variant = find_variant(all, spec, false, layout, coordinates);
  }
  if (variant == nullptr) throw DeviceError("no kernel of variants.def fits this curve (--backend cpu does)");
  choice.variant = *variant;
  const int drawn = spec.marginal.kind == MarginalKind::none ? spec.n_workers : spec.marginal.n_groups;
  choice.instructions = 60.0 * dim * drawn + 50.0;
  if (choice.dense) choice.instructions += 8.0 * dim * std::max(dim, spec.objective.n_rows);
  if (spec.is_model) {
    const double points = spec.model.integrator == IntegratorKind::weak2 ? 8.0 : 1.0;
    choice.instructions += spec.model.substeps * points * (choice.instructions + 200.0 * dim);
  }
  return choice;
}

/// Sizes, and the bytes they take.
struct Sizes {
  std::uint64_t wave_blocks = 0;
  int wave_level = 0;  ///< wave_blocks is 2^wave_level, or all
  std::uint64_t waves = 0;
  int records = 0;
  std::uint64_t bytes = 0;
};

template <class R>
struct Needs {
  std::uint64_t fixed = 0;        ///< objective, workers, checkpoints
  std::uint64_t path = 0;         ///< a path of the wave
  std::uint64_t path_record = 0;  ///< a path and record, both slots, and its share of the tree's tables
  std::uint64_t record = 0;       ///< a record: histograms
};

/// Rows by coordinate beside x that the kernels without registers for them need.
template <class R>
std::uint64_t working_rows(const SimSpec<R>& spec) {
  if (spec.is_model) return 1 + static_cast<std::uint64_t>(model_slots(spec.model) + model_extra_rows);
  return (is_general(spec) ? 3 : 2) + (spec.marginal.kind == MarginalKind::counts ? 2 : 0);
}

template <class R>
Needs<R> needs_of(const SimSpec<R>& spec, const Choice<R>& choice) {
  const std::uint64_t dim = static_cast<std::uint64_t>(spec.objective.dim),
                      rows = static_cast<std::uint64_t>(spec.objective.n_rows);
  Needs<R> needs;
  needs.fixed = 8 * static_cast<std::uint64_t>(spec.n_checkpoints) + sizeof(R) * 4 * dim +
                (4 + sizeof(WorkerSpec<R>)) * static_cast<std::uint64_t>(spec.n_workers) + (1 << 20);
  if (!is_constant(spec.schedule)) needs.fixed += 2 * sizeof(R) * most_factors;
  needs.fixed += 4 * static_cast<std::uint64_t>(spec.marginal.n_entries) +
                 8 * static_cast<std::uint64_t>(spec.marginal.xi.n_pieces) * XiTable<double>::stride;
  needs.fixed += sizeof(R) * static_cast<std::uint64_t>(spec.signs.xi.n_pieces) * XiTable<R>::stride +
                 sizeof(SignGroup<R>) * static_cast<std::uint64_t>(spec.signs.n_groups);
  if (choice.dense) needs.fixed += sizeof(R) * (dim * dim + 2 * rows * dim) + 8 * (rows * dim + rows + dim);
  const std::uint64_t row = static_cast<std::uint64_t>(row_length(choice.variant.layout, spec.objective.dim));
  needs.path = sizeof(R) * (row + 1) + 1;
  if (!spec.is_model) needs.path += sizeof(R) * static_cast<std::uint64_t>(state_vectors(spec.method)) * row;
  if (choice.variant.layout != Layout::registers) {
    needs.path += sizeof(R) * working_rows(spec) * row;
    if (spec.objective.kind == ObjectiveKind::logistic) needs.path += sizeof(R) * rows * (spec.is_model ? 2 : 1);
    if (!spec.is_model && spec.compressor == CompressorKind::rand_k)
      needs.path += 4 * ((dim + 31) / 32) * static_cast<std::uint64_t>(choice.lanes);
  }
  const std::uint64_t values = (choice.dense ? 8 : sizeof(R)) + (choice.one_coordinate ? 0 : 8) + sizeof(R) +
                               (spec.track_gradient ? sizeof(R) : 0) + (spec.sums != SumKind::none ? 16 : 0) +
                               (spec.track_smoothness ? 8 : 0);
  const std::uint64_t fields = static_cast<std::uint64_t>(RecordTable::fields_of(spec));
  if (spec.sums != SumKind::none) needs.path += 16;
  if (spec.track_smoothness) needs.path += 8;
  needs.path_record = 2 * values + (3 * fields * 8 / 2 + block_paths - 1) / block_paths;
  needs.record = 2 * 4 * static_cast<std::uint64_t>(histogram_bins);
  return needs;
}

std::string megabytes(std::uint64_t bytes) {
  const std::string tenths = bytes < 10000000 ? "." + std::to_string(bytes / 100000 % 10) : "";
  return std::to_string(bytes / 1000000) + tenths + " MB";
}

template <class R>
Sizes sizes_of(const SimSpec<R>& spec, const CudaOptions& options, const Choice<R>& choice, std::uint64_t free_memory,
               std::size_t n_devices) {
  const Needs<R> needs = needs_of(spec, choice);
  const std::uint64_t n_blocks = (spec.n_paths + block_paths - 1) / block_paths;
  const std::uint64_t budget = free_memory / 10 * 8;  // the rest: the context, other programs, fragments
  const int least_records = std::min(spec.n_checkpoints, static_cast<int>(scalar_steps));
  const auto bytes = [&](std::uint64_t blocks, int records) {
    const std::uint64_t paths = blocks * block_paths;
    return needs.fixed + paths * needs.path +
           static_cast<std::uint64_t>(records) * (paths * needs.path_record + needs.record);
  };
  Sizes sizes;
  int level = floor_log2(n_blocks);
  if ((std::uint64_t{1} << level) < n_blocks) ++level;
  if (options.wave_blocks > 0) level = std::min(level, floor_log2(options.wave_blocks));
  const auto blocks_of = [&](int l) { return std::min(n_blocks, std::uint64_t{1} << l); };
  const auto lanes_of = [&](int l) { return static_cast<double>(blocks_of(l)) * block_paths * choice.lanes; };
  // Several devices: a wave for each at least, and smaller ones for balance as long as they keep a device busy.
  if (n_devices > 1) {
    level = std::min(level, floor_log2(std::max<std::uint64_t>(1, n_blocks / n_devices)));
    while (level > 0 && (n_blocks >> level) < 4 * n_devices && lanes_of(level - 1) >= choice.filling_lanes()) --level;
  }
  // Not larger than memory allows with room for a few records. Far more than keeps a device busy buys nothing but
  // takes that room, and long steps (a slow multiprocessor does 2e9 instructions in a tenth of a second).
  const auto too_large = [&](int l) {
    const bool busy = lanes_of(l - 1) >= choice.filling_lanes();
    const double step = static_cast<double>(blocks_of(l)) * block_paths * choice.instructions;
    return (busy && (lanes_of(l) > 32.0 * choice.filling_lanes() || step > 2e9 * choice.multiprocessors)) ||
           bytes(blocks_of(l), least_records) > budget;
  };
  while (level > 0 && too_large(level)) --level;
  sizes.wave_level = level;
  sizes.wave_blocks = blocks_of(level);
  sizes.waves = ((n_blocks - 1) >> level) + 1;
  if (bytes(sizes.wave_blocks, least_records) > budget)
    throw DeviceError("out of device memory: the curve needs at least " +
                      megabytes(bytes(sizes.wave_blocks, least_records) + 99999) + ", and " + megabytes(budget) +
                      " are free for it");
  // Records: what fits into what is left, up to a size beyond which more buy nothing.
  int records = std::min(spec.n_checkpoints, 512);
  const std::uint64_t enough = std::max<std::uint64_t>(bytes(sizes.wave_blocks, least_records), 1u << 30);
  while (records > least_records && bytes(sizes.wave_blocks, records) > std::min(budget, enough))
    records = (records + 1) / 2;
  sizes.records = std::max(records, least_records);
  if (options.segment_records > 0) sizes.records = std::clamp(options.segment_records, least_records, sizes.records);
  sizes.bytes = bytes(sizes.wave_blocks, sizes.records);
  return sizes;
}

/// Device copies of what a SimSpec points to.
template <class R>
class DeviceSpec {
 public:
  explicit DeviceSpec(const SimSpec<R>& host) : spec(host) {
    const ObjectiveSpec<R>& f = host.objective;
    const std::size_t dim = static_cast<std::size_t>(f.dim), rows = static_cast<std::size_t>(f.n_rows);
    const auto copy = [](auto& array, auto*& pointer, std::size_t size) {
      using T = std::remove_const_t<std::remove_reference_t<decltype(*pointer)>>;
      array = DeviceArray<T>(pointer, size);
      pointer = array.data();
    };
    copy(checkpoints_, spec.checkpoint_steps, static_cast<std::size_t>(host.n_checkpoints));
    copy(start_, spec.start, dim);
    copy(workers_, spec.workers, static_cast<std::size_t>(host.n_workers));
    copy(h_, spec.objective.h, dim);
    copy(x_star_, spec.objective.x_star, dim);
    copy(gram_, spec.objective.gram, dim * dim);
    copy(x_star_double_, spec.objective.x_star_double, dim);
    copy(margin_star_, spec.objective.margin_star, rows);
    copy(rows_, spec.objective.rows, rows * dim);
    rows_transposed_ = transposed(f.rows, rows, dim);
    rows_double_transposed_ = transposed(f.rows_double, rows, dim);
    spec.objective.rows_double = nullptr;
    std::vector<std::uint32_t> words(static_cast<std::size_t>(host.n_workers) + 1, 0);
    for (int i = 0; i < host.n_workers; ++i)
      words[static_cast<std::size_t>(i) + 1] =
          words[static_cast<std::size_t>(i)] + static_cast<std::uint32_t>(rand_k_uniforms(f.dim, host.workers[i].keep));
    subset_words_ = DeviceArray<std::uint32_t>(words.data(), words.size());
    copy(sign_groups_, spec.signs.groups, static_cast<std::size_t>(host.signs.n_groups));
    copy(xi_, spec.signs.xi.pieces, static_cast<std::size_t>(host.signs.xi.n_pieces) * XiTable<R>::stride);
    MarginalSpec<R>& marginal = spec.marginal;
    copy(marginal_groups_, marginal.groups, static_cast<std::size_t>(marginal.n_groups));
    copy(marginal_entries_, marginal.entries, static_cast<std::size_t>(marginal.n_entries));
    copy(marginal_masses_, marginal.masses, static_cast<std::size_t>(marginal.n_entries));
    copy(marginal_binomials_, marginal.binomials, static_cast<std::size_t>(marginal.n_binomials));
    copy(marginal_xi_, marginal.xi.pieces, static_cast<std::size_t>(marginal.xi.n_pieces) * XiTable<double>::stride);
    copy(marginal_subsets_, marginal.subsets, static_cast<std::size_t>(marginal.n_subsets));
    copy(marginal_counts_, marginal.counts, static_cast<std::size_t>(marginal.n_counts));
  }
  void add_to(Segment<R>& segment) const {
    segment.rows_transposed = rows_transposed_.data();
    segment.rows_double_transposed = rows_double_transposed_.data();
    segment.subset_words = subset_words_.data();
  }
  SimSpec<R> spec;  ///< with device pointers

 private:
  template <class T>
  static DeviceArray<T> transposed(const T* matrix, std::size_t rows, std::size_t columns) {
    if (matrix == nullptr) return {};
    std::vector<T> turned(rows * columns);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < columns; ++c) turned[c * rows + r] = matrix[r * columns + c];
    return DeviceArray<T>(turned.data(), turned.size());
  }

  DeviceArray<std::uint64_t> checkpoints_;
  DeviceArray<R> start_, h_, x_star_, gram_, rows_, rows_transposed_;
  DeviceArray<double> x_star_double_, margin_star_, rows_double_transposed_;
  DeviceArray<WorkerSpec<R>> workers_;
  DeviceArray<SignGroup<R>> sign_groups_;
  DeviceArray<R> xi_;
  DeviceArray<MarginalGroup<R>> marginal_groups_;
  DeviceArray<std::uint16_t> marginal_entries_, marginal_masses_;
  DeviceArray<double> marginal_binomials_, marginal_xi_;
  DeviceArray<SubsetWord> marginal_subsets_;
  DeviceArray<std::uint32_t> marginal_counts_;
  DeviceArray<std::uint32_t> subset_words_;
};

/// The histograms of all waves, each row as long as the bins that were met.
class BinCounts {
 public:
  explicit BinCounts(std::size_t n_checkpoints) : rows_(n_checkpoints) {}
  void add(std::size_t checkpoint, int first_bin, const std::uint32_t* counts, int n) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Row& row = rows_[checkpoint];
    if (row.counts.empty()) row.first = first_bin;
    if (first_bin < row.first) {
      row.counts.insert(row.counts.begin(), static_cast<std::size_t>(row.first - first_bin), 0);
      row.first = first_bin;
    }
    const std::size_t offset = static_cast<std::size_t>(first_bin - row.first);
    if (row.counts.size() < offset + static_cast<std::size_t>(n))
      row.counts.resize(offset + static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) row.counts[offset + static_cast<std::size_t>(i)] += counts[i];
  }
  std::uint64_t count(std::size_t checkpoint, int bin) const {
    const Row& row = rows_[checkpoint];
    const std::int64_t i = bin - row.first;
    return i >= 0 && i < static_cast<std::int64_t>(row.counts.size()) ? row.counts[static_cast<std::size_t>(i)] : 0;
  }

 private:
  struct Row {
    int first = 0;
    std::vector<std::uint64_t> counts;
  };
  std::vector<Row> rows_;
  std::mutex mutex_;
};

/// What the devices share.
struct Shared {
  Shared(const Groups& g, int wave_level, std::size_t n_checkpoints)
      : groups(g), tree(wave_level, g, n_checkpoints), bins(n_checkpoints) {}
  const Groups groups;
  SharedTree tree;
  BinCounts bins;
  std::atomic<std::uint64_t> next_wave{0};
  std::atomic<bool> stop{false};
  std::atomic<double> path_steps{0.0};
};

/// One device at work on a curve. Everything is allocated here, and nothing later.
template <class R>
class DeviceRun {
 public:
  DeviceRun(const SimSpec<R>& spec, const CudaOptions& options, const Choice<R>& choice, const Sizes& sizes,
            Shared& shared)
      : host_(spec), options_(options), choice_(choice), sizes_(sizes), shared_(shared), device_(spec) {
    const std::size_t paths = sizes.wave_blocks * block_paths, dim = static_cast<std::size_t>(spec.objective.dim);
    const std::size_t row = static_cast<std::size_t>(row_length(choice.variant.layout, spec.objective.dim));
    x_ = DeviceArray<R>(paths * row);
    tracked_ = DeviceArray<R>(spec.track_gradient ? paths : 0);
    if (!spec.is_model) state_ = DeviceArray<R>(paths * row * static_cast<std::size_t>(state_vectors(spec.method)));
    alive_ = DeviceArray<std::uint8_t>(paths);
    const bool sums = spec.sums != SumKind::none;
    const std::size_t fields = static_cast<std::size_t>(RecordTable::fields_of(spec));
    sum_y_ = DeviceArray<double>(sums ? paths : 0);
    sum_t_ = DeviceArray<double>(sums ? paths : 0);
    smoothness_ = DeviceArray<double>(spec.track_smoothness ? paths : 0);
    if (choice.variant.layout != Layout::registers) {
      gradient_ = DeviceArray<R>(paths * row);
      // A model's slots stand in the place of the workers' sum.
      sum_ = DeviceArray<R>(paths * row * (working_rows(spec) - 1));
      if (spec.objective.kind == ObjectiveKind::logistic)
        row_values_ = DeviceArray<R>(paths * static_cast<std::size_t>(spec.objective.n_rows) * (spec.is_model ? 2 : 1));
      if (!spec.is_model && spec.compressor == CompressorKind::rand_k)
        masks_ = DeviceArray<std::uint32_t>(paths * static_cast<std::size_t>(choice.lanes) * ((dim + 31) / 32));
    }
    const std::size_t records = static_cast<std::size_t>(sizes.records);
    const std::size_t groups = static_cast<std::size_t>(sizes.wave_blocks) >> group_level();
    for (Slot& slot : slots_) {
      if (choice.dense) {
        slot.value_double = DeviceArray<double>(paths * records);
      } else {
        slot.value = DeviceArray<R>(paths * records);
      }
      slot.norm = DeviceArray<double>(choice.one_coordinate ? 0 : paths * records);
      slot.largest = DeviceArray<R>(paths * records);
      slot.largest_so_far = DeviceArray<R>(spec.track_gradient ? paths * records : 0);
      slot.y = DeviceArray<double>(sums ? paths * records : 0);
      slot.t = DeviceArray<double>(sums ? paths * records : 0);
      slot.ratio = DeviceArray<double>(spec.track_smoothness ? paths * records : 0);
      slot.factors = DeviceArray<R>(constant() ? 0 : most_factors);
      slot.counts = DeviceArray<std::uint32_t>(records * static_cast<std::size_t>(histogram_bins));
      slot.roots = PinnedArray<std::uint64_t>(fields * records);
      slot.groups = PinnedArray<std::uint64_t>(groups_inside() ? 2 * records * (groups + 1) : 0);
    }
    tables_[0] = DeviceArray<std::uint64_t>(fields * records * sizes.wave_blocks);
    tables_[1] = DeviceArray<std::uint64_t>(fields * records * ((sizes.wave_blocks + 1) / 2));
    // Copies from pageable memory may still be under way when cudaMemcpy returns, and our streams do not wait for them.
    check_cuda(cudaDeviceSynchronize(), "copying the experiment to the device");
  }

  ~DeviceRun() { cudaDeviceSynchronize(); }  // copies under way must not reach host memory that is freed
  DeviceRun(const DeviceRun&) = delete;
  DeviceRun& operator=(const DeviceRun&) = delete;

  void run() {
    for (;;) {
      const std::uint64_t wave = shared_.next_wave.fetch_add(1, std::memory_order_relaxed);
      if (wave >= sizes_.waves) return;
      run_wave(wave);
    }
  }

  std::vector<KernelTime> kernel_times() const {
    return {{choice_.variant.name, step_seconds_, launches_},
            {"statistics", statistics_seconds_, reductions_},
            {"merge", merge_seconds_, merges_}};
  }

 private:
  struct Slot {
    DeviceArray<R> value, largest, largest_so_far, factors;
    DeviceArray<double> value_double, norm, y, t, ratio;
    DeviceArray<std::uint32_t> counts;
    PinnedArray<std::uint64_t> roots, groups;
    Event step_begin, step_end, statistics_end, done;
    bool busy = false;
    Segment<R> segment;
    std::uint64_t merges = 0;
    int first_record = 0;
  };

  /// Levels of a TreeStack that takes n nodes.
  static int levels_of(int n) { return floor_log2(static_cast<std::uint64_t>(n)) + 1; }
  bool constant() const { return is_constant(host_.schedule); }
  int group_level() const { return std::min(shared_.groups.level, sizes_.wave_level); }
  /// Whether groups are nodes inside a wave (else the shared tree sees them).
  bool groups_inside() const { return shared_.groups.level < sizes_.wave_level; }

  void run_wave(std::uint64_t wave) {
    const std::uint64_t n_blocks = (host_.n_paths + block_paths - 1) / block_paths;
    wave_first_ = wave << sizes_.wave_level;
    wave_blocks_ = std::min(n_blocks - wave_first_, sizes_.wave_blocks);
    records_.assign(static_cast<std::size_t>(host_.n_checkpoints), Record());
    const std::uint64_t end = host_.checkpoint_steps[host_.n_checkpoints - 1];
    std::uint64_t step = 0;
    int record = 0, turn = 0;
    bool last = false;
    while (!last) {
      if (stopped()) throw Interrupted{};
      Slot& slot = slots_[turn & 1];
      ++turn;
      if (slot.busy) finish(slot);
      // How far: as the time of a launch and the room for records allow.
      std::uint64_t steps = launch_steps();
      last = end - step <= steps && host_.n_checkpoints - record <= sizes_.records;
      if (last) steps = end - step;
      if (!last) {
        steps = std::min(steps, end - step);
        if (record + sizes_.records < host_.n_checkpoints)
          steps = std::min(steps, host_.checkpoint_steps[record + sizes_.records] - step);
        if (choice_.variant.scalar) {
          const std::uint64_t whole = (step + steps) / scalar_steps * scalar_steps;
          if (step + steps < end) steps = whole - step;  // at least a few: `step` is whole, and so many records fit
        }
      }
      Segment<R>& segment = slot.segment;
      segment = Segment<R>();
      segment.first_path = wave_first_ * block_paths;
      segment.n_paths = static_cast<std::uint32_t>(wave_blocks_ * block_paths);
      segment.lanes = choice_.lanes;
      segment.keys = round_keys(host_.seed);
      segment.first_step = step;
      segment.last_step = step + steps;
      segment.from_start = step == 0 && turn == 1;
      slot.first_record = record;
      while (record < host_.n_checkpoints && (host_.checkpoint_steps[record] < step + steps || last)) ++record;
      segment.checkpoints = device_.spec.checkpoint_steps + slot.first_record;
      segment.n_checkpoints = record - slot.first_record;
      launch(slot);
      step += steps;
    }
    for (int i = 0; i < 2; ++i) {
      Slot& slot = slots_[(turn + i) & 1];
      if (slot.busy) finish(slot);
    }
    shared_.tree.push(wave, std::move(records_));
  }

  bool stopped() const {
    return shared_.stop.load(std::memory_order_relaxed) || (options_.stop != nullptr && options_.stop->load());
  }

  std::uint64_t launch_steps() const {
    double steps = 0.0;
    if (seconds_per_step_ > 0.0) {
      steps = std::min(options_.launch_seconds / seconds_per_step_, 8.0 * launched_steps_);
    } else {
      // A first guess that the slowest device does in launch_seconds; the time it takes tells how many more fit.
      steps = 5e9 * options_.launch_seconds /
              (choice_.instructions * static_cast<double>(sizes_.wave_blocks * block_paths));
    }
    std::uint64_t n = static_cast<std::uint64_t>(std::clamp(steps, 1.0, 0x1p30));
    if (!constant()) n = std::min(n, most_factors);
    if (options_.launch_steps > 0) n = std::min(n, options_.launch_steps);
    return choice_.variant.scalar ? std::max(n / scalar_steps, std::uint64_t{1}) * scalar_steps : n;
  }

  void launch(Slot& slot) {
    Segment<R>& s = slot.segment;
    s.factor = static_cast<R>(-(host_.eta / host_.n_workers));
    s.limit = limit();
    if (choice_.variant.layout != Layout::registers) {
      const ObjectiveSpec<R>& f = host_.objective;
      const int chunks = (f.dim - 1) / (s.lanes * choice_.variant.coordinates) + 1;
      s.outer_levels = levels_of(chunks);
      if (choice_.dense) {
        s.outer_levels = std::max(
            {s.outer_levels, levels_of((f.n_rows - 1) / s.lanes + 1), levels_of(f.n_rows / 8), levels_of(f.dim / 8)});
        s.inner_levels = levels_of(f.dim / 8);
      }
    }
    s.x = x_.data();
    s.tracked = tracked_.data();
    s.alive = alive_.data();
    s.sum_y = sum_y_.data();
    s.sum_t = sum_t_.data();
    s.smoothness = smoothness_.data();
    s.gradient = gradient_.data();
    s.sum = s.model = sum_.data();
    s.state = state_.data();
    if (!host_.is_model && is_general(host_) && choice_.variant.layout != Layout::registers) {
      const std::size_t row = static_cast<std::size_t>(row_length(choice_.variant.layout, host_.objective.dim));
      s.message = sum_.data() + sizes_.wave_blocks * block_paths * row;
    }
    if (host_.marginal.kind == MarginalKind::counts && choice_.variant.layout != Layout::registers) {
      const std::size_t row = static_cast<std::size_t>(row_length(choice_.variant.layout, host_.objective.dim));
      s.slope = sum_.data() + sizes_.wave_blocks * block_paths * row * (working_rows(host_) - 3);
    }
    s.row_values = row_values_.data();
    s.masks = masks_.data();
    s.value = slot.value.data();
    s.value_double = slot.value_double.data();
    s.norm = slot.norm.data();
    s.largest = slot.largest.data();
    s.largest_so_far = slot.largest_so_far.data();
    s.y = slot.y.data();
    s.t = slot.t.data();
    s.ratio = slot.ratio.data();
    device_.add_to(s);
    const std::uint64_t steps = s.last_step - s.first_step;
    if (!constant() && steps > 0) {
      s.factors = slot.factors.data();
      check_thrust("computing step sizes", [&] {
        thrust::tabulate(thrust::cuda::par_nosync.on(stepping_.get()), slot.factors.data(), slot.factors.data() + steps,
                         StepFactor<R>{host_.schedule, host_.eta, host_.n_workers, s.first_step});
      });
    }
    slot.step_begin.record(stepping_);
    const unsigned threads = static_cast<unsigned>(step_threads(choice_.variant.layout));
    const std::uint64_t lanes = static_cast<std::uint64_t>(s.n_paths) * static_cast<unsigned>(s.lanes);
    choice_.variant.kernel<<<static_cast<unsigned>((lanes + threads - 1) / threads), threads,
                             static_cast<std::size_t>(s.outer_levels + s.inner_levels) * threads * sizeof(double),
                             stepping_.get()>>>(device_.spec, s);
    check_cuda(cudaGetLastError(), "launching a step kernel");
    slot.step_end.record(stepping_);
    slot.merges = 0;
    if (s.n_checkpoints > 0) reduce(slot);
    slot.done.record(stepping_);
    slot.busy = true;
  }

  void reduce(Slot& slot) {
    const Segment<R>& s = slot.segment;
    const std::int64_t records = s.n_checkpoints;
    const cudaStream_t stream = stepping_.get();
    check_cuda(
        cudaMemsetAsync(slot.counts.data(), 0,
                        static_cast<std::size_t>(records) * static_cast<std::size_t>(histogram_bins) * 4, stream),
        "clearing histograms");
    RecordTable level{tables_[0].data(), static_cast<std::int64_t>(wave_blocks_), records,
                      RecordTable::fields_of(host_)};
    const unsigned blocks_each = statistics_threads / 32 * 32;  // warps, times 32 blocks of paths each
    const bool doubles = choice_.dense || sizeof(R) == 8 || s.norm != nullptr || level.fields > RecordTable::common;
    const std::size_t shared = statistics_threads / 32 * transpose_words * (doubles ? 8 : 4);
    const dim3 grid(static_cast<unsigned>((wave_blocks_ + blocks_each - 1) / blocks_each),
                    static_cast<unsigned>(records));
    if (choice_.dense) {
      statistics_kernel<R, double>
          <<<grid, statistics_threads, shared, stream>>>(device_.spec, s, s.value_double, level, slot.counts.data());
    } else {
      statistics_kernel<R, R>
          <<<grid, statistics_threads, shared, stream>>>(device_.spec, s, s.value, level, slot.counts.data());
    }
    check_cuda(cudaGetLastError(), "launching the statistics kernel");
    slot.statistics_end.record(stepping_);
    for (int l = 0;; ++l) {
      if (groups_inside() && l == shared_.groups.level)
        check_cuda(
            cudaMemcpyAsync(slot.groups.data(), level.words, static_cast<std::size_t>(2 * records * level.nodes) * 8,
                            cudaMemcpyDeviceToHost, stream),
            "copying group sums");
      if (level.nodes == 1) break;
      const RecordTable above{tables_[(l + 1) & 1].data(), (level.nodes + 1) / 2, records, level.fields};
      check_thrust("merging records", [&] {
        const auto merge_all = [&](const auto& merge_one) {
          thrust::for_each_n(thrust::cuda::par_nosync.on(stream), thrust::counting_iterator<std::int64_t>(0),
                             records * above.nodes, merge_one);
        };
        if (level.fields == RecordTable::common)
          merge_all(MergeLevel<false>{level, above});
        else
          merge_all(MergeLevel<true>{level, above});
      });
      level = above;
      ++slot.merges;
    }
    check_cuda(cudaMemcpyAsync(slot.roots.data(), level.words, static_cast<std::size_t>(level.size()) * 8,
                               cudaMemcpyDeviceToHost, stream),
               "copying records");
  }

  /// Waits for a segment's results and takes them in.
  void finish(Slot& slot) {
    slot.busy = false;
    slot.done.wait("running a step kernel and its statistics");
    const Segment<R>& s = slot.segment;
    const std::uint64_t steps = s.last_step - s.first_step;
    const double step_seconds = slot.step_end.since(slot.step_begin);
    if (steps > 0) {
      seconds_per_step_ = step_seconds / static_cast<double>(steps);
      launched_steps_ = std::max(launched_steps_, static_cast<double>(steps));
    }
    step_seconds_ += step_seconds;
    ++launches_;
    if (s.n_checkpoints > 0) {
      statistics_seconds_ += slot.statistics_end.since(slot.step_end);
      merge_seconds_ += slot.done.since(slot.statistics_end);
      ++reductions_;
      merges_ += slot.merges;
      take_records(slot);
    }
    const std::uint64_t real = std::min(host_.n_paths - s.first_path, static_cast<std::uint64_t>(s.n_paths));
    shared_.path_steps.fetch_add(static_cast<double>(real) * static_cast<double>(steps));
  }

  void take_records(const Slot& slot) {
    const Segment<R>& s = slot.segment;
    const std::size_t n = static_cast<std::size_t>(s.n_checkpoints),
                      first = static_cast<std::size_t>(slot.first_record);
    int low = histogram_bins, high = -1;
    for (std::size_t c = 0; c < n; ++c) {
      const Record r =
          RecordTable::read(RecordTable::fields_of(host_), slot.roots.data() + c, static_cast<std::int64_t>(n));
      records_[first + c] = r;
      if (r.finite == 0) continue;
      low = std::min(low, histogram_bin(static_cast<float>(r.min)));
      high = std::max(high, histogram_bin(static_cast<float>(r.max)));
    }
    const std::uint64_t whole = std::uint64_t{1} << shared_.groups.level;
    if (groups_inside() && wave_blocks_ >= whole) {
      const std::size_t nodes = static_cast<std::size_t>((wave_blocks_ + whole - 1) / whole);
      for (std::size_t c = 0; c < n; ++c)
        for (std::size_t g = 0; g < nodes; ++g)
          shared_.tree.set_group_mean(first + c, (wave_first_ >> shared_.groups.level) + g, slot.groups[c * nodes + g],
                                      from_bits<double>(slot.groups[n * nodes + c * nodes + g]));
    }
    if (high < low) return;
    // Of the histograms only the bins between the smallest and the largest value of the segment.
    const std::size_t width = static_cast<std::size_t>(high - low) + 1;
    band_.resize(n * width);
    check_cuda(cudaMemcpy2DAsync(band_.data(), width * 4, slot.counts.data() + low,
                                 static_cast<std::size_t>(histogram_bins) * 4, width * 4, n, cudaMemcpyDeviceToHost,
                                 copying_.get()),
               "copying histograms");
    check_cuda(cudaStreamSynchronize(copying_.get()), "copying histograms");
    for (std::size_t c = 0; c < n; ++c)
      shared_.bins.add(first + c, low, band_.data() + c * width, static_cast<int>(width));
  }

  /// The largest R that is not above the limit.
  R limit() const {
    R limit = static_cast<R>(host_.limit);
    if (static_cast<double>(limit) > host_.limit) limit = std::nextafter(limit, R(0));
    return limit;
  }

  const SimSpec<R>& host_;
  const CudaOptions& options_;
  const Choice<R> choice_;
  const Sizes sizes_;
  Shared& shared_;
  DeviceSpec<R> device_;
  DeviceArray<R> x_, state_, tracked_, gradient_, sum_, row_values_;
  DeviceArray<double> sum_y_, sum_t_, smoothness_;
  DeviceArray<std::uint8_t> alive_;
  DeviceArray<std::uint32_t> masks_;
  DeviceArray<std::uint64_t> tables_[2];
  Slot slots_[2];
  Stream stepping_, copying_;
  Records records_;  // of the wave
  std::vector<std::uint32_t> band_;
  std::uint64_t wave_first_ = 0, wave_blocks_ = 0;
  double seconds_per_step_ = 0.0, launched_steps_ = 0.0;
  double step_seconds_ = 0.0, statistics_seconds_ = 0.0, merge_seconds_ = 0.0;
  std::uint64_t launches_ = 0, reductions_ = 0, merges_ = 0;
};

/// Whether this build has machine code, or PTX, for the current device.
template <class R>
void require_kernel(const Variant<R>& variant) {
  cudaFuncAttributes attributes;
  const cudaError_t status = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(variant.kernel));
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction ||
      status == cudaErrorUnsupportedPtxVersion) {
    throw device_error(std::string("this build has no kernels for it (") + cudaGetErrorName(status) +
                       "): it was built for other architectures, or the driver is older than its CUDA");
  }
  check_cuda(status, "loading kernels");
}

}  // namespace cuda

template <class R>
CudaPlan plan_cuda(const SimSpec<R>& spec, const CudaOptions& options, const DeviceInfo& device) {
  const cuda::Choice<R> choice = cuda::choose(spec, options, device.multiprocessors);
  const std::uint64_t memory = device.free_memory > 0 ? device.free_memory : cuda_free_memory(device.id);
  const cuda::Sizes sizes = cuda::sizes_of(spec, options, choice, memory, options.devices.size());
  CudaPlan plan;
  plan.kernel = choice.variant.name;
  plan.tile = choice.lanes;
  plan.wave_paths = sizes.wave_blocks * block_paths;
  plan.waves = sizes.waves;
  plan.segment_records = sizes.records;
  plan.bytes = sizes.bytes;
  return plan;
}
template CudaPlan plan_cuda<float>(const SimSpec<float>&, const CudaOptions&, const DeviceInfo&);
template CudaPlan plan_cuda<double>(const SimSpec<double>&, const CudaOptions&, const DeviceInfo&);

template <class R>
SimResult simulate_cuda(const SimSpec<R>& spec, const CudaOptions& options) {
  // The waves must be the same for every device: as the one with the least memory can do.
  std::uint64_t free_memory = ~std::uint64_t{0};
  int multiprocessors = 0;
  for (const int id : options.devices) {
    free_memory = std::min(free_memory, cuda_free_memory(id));
    int count = 0;
    cuda::check_cuda(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, id), "asking for its properties",
                     id);
    multiprocessors = std::max(multiprocessors, count);
  }
  const cuda::Choice<R> choice = cuda::choose(spec, options, multiprocessors);
  const cuda::Sizes sizes = cuda::sizes_of(spec, options, choice, free_memory, options.devices.size());
  const auto started = std::chrono::steady_clock::now();

  const std::size_t n_checkpoints = static_cast<std::size_t>(spec.n_checkpoints), n_devices = options.devices.size();
  cuda::Shared shared(Groups(spec.n_paths), sizes.wave_level, n_checkpoints);
  std::vector<std::exception_ptr> failures(n_devices);
  std::vector<std::vector<KernelTime>> times(n_devices);
  std::atomic<std::size_t> running{n_devices};
  const auto work = [&](std::size_t i) {
    try {
      cuda::choose_device(options.devices[i]);
      cuda::require_kernel(choice.variant);
      cuda::DeviceRun<R> run(spec, options, choice, sizes, shared);
      run.run();
      times[i] = run.kernel_times();
    } catch (...) {
      failures[i] = std::current_exception();
      shared.stop = true;
    }
    --running;
  };
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < n_devices; ++i) threads.emplace_back(work, i);
    auto pause = std::chrono::microseconds(100);
    while (options.progress && running.load() > 0) {
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, std::chrono::microseconds(20000));
      options.progress(shared.path_steps.load());
    }
  }
  // A device that failed says more than those that were stopped because of it.
  if (options.stop != nullptr && options.stop->load()) throw Interrupted{};
  for (const auto& failure : failures) {
    if (!failure) continue;
    try {
      std::rethrow_exception(failure);
    } catch (const Interrupted&) {
    }
  }

  SimResult result;
  result.records = shared.tree.finish();
  result.group_means = shared.tree.take_group_means();
  result.group_paths = shared.groups.paths;
  fill_quantiles(result, spec.n_paths, [&](std::size_t c, int bin) { return shared.bins.count(c, bin); });
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  result.kernel_times = times[0];
  for (std::size_t i = 1; i < n_devices; ++i)
    for (std::size_t k = 0; k < times[i].size(); ++k) {
      result.kernel_times[k].seconds += times[i][k].seconds;
      result.kernel_times[k].launches += times[i][k].launches;
    }
  return result;
}
template SimResult simulate_cuda<float>(const SimSpec<float>&, const CudaOptions&);
template SimResult simulate_cuda<double>(const SimSpec<double>&, const CudaOptions&);

std::vector<std::string> cuda_kernel_names() {
  std::vector<std::string> names;
  for (const auto& variant : cuda::step_variants<float>()) names.push_back(variant.name);
  for (const auto& variant : cuda::step_variants<double>()) names.push_back(variant.name);
  return names;
}

}  // namespace pathbound
