// SPDX-License-Identifier: Apache-2.0
// What one launch does: some consecutive steps of a wave of paths. Everything is passed by value; the pointers are to
// device memory.
#pragma once
#include "kernels/hd.hpp"
#include "kernels/philox.hpp"
#include "kernels/spec.hpp"

namespace pathbound::cuda {

/// Where the step kernels keep x: in registers, in memory (more coordinates than registers), or in memory because the
/// gradient needs every coordinate (dense objectives).
enum class Layout { registers, memory, dense };

/// Threads of a CUDA block of the step kernels. (Those with x in memory need shared memory for their trees.)
PATHBOUND_HD constexpr int step_threads(Layout layout) { return layout == Layout::registers ? 256 : 128; }

/// Numbers from one path's coordinates to the next's: in memory in fours, so that a lane can read its four at once.
PATHBOUND_HD constexpr int row_length(Layout layout, int dim) {
  return layout == Layout::registers ? dim : (dim + 3) / 4 * 4;
}

/// Rows by coordinate that a model needs beside its slots (model.hpp): its noise.
inline constexpr int model_extra_rows = 3;

/// The keys of Philox4x32-10's rounds, two words each, from its key (seed, seed >> 32). Those of a launch are among its
/// parameters: made anew in each thread they would cost two additions a round.
struct RoundKeys {
  std::uint32_t word[20];
};
inline RoundKeys round_keys(std::uint64_t seed) {
  RoundKeys keys;
  auto low = static_cast<std::uint32_t>(seed), high = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    keys.word[2 * round] = low;
    keys.word[2 * round + 1] = high;
    low += philox_w0;
    high += philox_w1;
  }
  return keys;
}

/// Arrays of a wave have one entry for each of its paths; those "by record" n_checkpoints rows of them; those "by
/// coordinate" row_length consecutive entries for each path.
template <class R>
struct Segment {
  std::uint64_t first_path = 0;  ///< of the wave
  std::uint32_t n_paths = 0;     ///< of the wave, whole blocks: paths beyond the experiment's last run along unread
  int lanes = 1;                 ///< that share a path
  RoundKeys keys;                ///< of SimSpec::seed
  std::uint32_t zero = 0;        ///< 0, which the compiler does not know
  std::uint64_t first_step = 0, last_step = 0;
  bool from_start = false;                     ///< x begins at x_0, else at `x`
  const std::uint64_t* checkpoints = nullptr;  ///< steps of records: first_step or later, and before last_step, or at
                                               ///< last_step where the run ends
  int n_checkpoints = 0;
  R factor = R(0);             ///< -eta / N
  const R* factors = nullptr;  ///< -eta_k / N of each step, where a schedule changes it
  R limit = R(0);              ///< the largest R that is not above SimSpec::limit
  const std::uint32_t* subset_words =
      nullptr;  ///< rand_k: uniforms drawn in a step before worker i, and (i = N) in all

  // What goes on from launch to launch.
  R* x = nullptr;                 ///< by coordinate
  R* state = nullptr;             ///< by coordinate, state_vectors times: what the method keeps beside x
  R* tracked = nullptr;           ///< largest |grad_j f| of each path so far
  std::uint8_t* alive = nullptr;  ///< 0: has diverged
  /// SimSpec::sums: Y and T of each path so far; track_smoothness: its largest ratio. Null where not asked for.
  double *sum_y = nullptr, *sum_t = nullptr, *smoothness = nullptr;

  // Working memory of the kernels that keep no state in registers.
  int outer_levels = 0, inner_levels = 0;  ///< of the trees in shared memory
  R* gradient = nullptr;                   ///< by coordinate
  R* sum = nullptr;                        ///< by coordinate: of the workers' messages
  R* slope = nullptr;                      ///< by coordinate, twice for each path (MarginalKind::counts)
  R* message = nullptr;                    ///< by coordinate: of one worker (general)
  R* model = nullptr;                      ///< by coordinate, model_slots + model_extra_rows times
  R* row_values = nullptr;                 ///< n_rows for each path (logistic), twice for models
  std::uint32_t* masks = nullptr;          ///< ceil(dim / 32) for each lane of each path (rand_k)
  const R* rows_transposed = nullptr;      ///< ObjectiveSpec::rows, column by column
  const double* rows_double_transposed = nullptr;

  // What the statistics are made of. A path that has diverged leaves NaN as its value.
  R* value = nullptr;              ///< by record: S of a separable objective
  double* value_double = nullptr;  ///< by record: S of a dense one
  double* norm = nullptr;          ///< by record: |grad f|; null for one coordinate, where `largest` is that
  R* largest = nullptr;            ///< by record: max_j |grad_j f|
  R* largest_so_far = nullptr;     ///< by record: `tracked`
  double *y = nullptr, *t = nullptr, *ratio = nullptr;  ///< by record: sum_y, sum_t, smoothness
};

}  // namespace pathbound::cuda
