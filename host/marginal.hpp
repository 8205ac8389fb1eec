// SPDX-License-Identifier: Apache-2.0
// Which form the sum of the workers' messages is drawn in (theory O10), and what the kernels need for it
// (kernels/marginal.hpp).
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "host/experiment.hpp"
#include "kernels/spec.hpp"

namespace pathbound {

enum class SamplingForm {
  direct,  ///< every worker's noise and compressor
  merged,  ///< the mean of the workers' noise as the noise of one worker: a stable law (Gaussian, Cauchy, alpha-stable)
  signs,   ///< dsignsgd: the number of signs that differ from the gradient's
  counts   ///< dcsgd, Gaussian: the number of workers that keep a coordinate, and one normal
};

/// The form in which a curve is sampled: under sampling = "auto" the fastest that is exact. Direct for one worker, for
/// models, and for a curve that a model names in `of` (the model shares its workers' noise); signs and counts also
/// under adaptive factors and bounds on averages, whose step loops know messages one by one only.
SamplingForm sampling_form(const CurveConfig& curve, int dim);

/// Why an "auto" curve with several workers is sampled direct; empty otherwise.
std::string why_direct(const CurveConfig& curve, int dim);

/// One worker whose noise is that of the mean of all (SamplingForm::merged).
template <class R>
WorkerSpec<R> merged_worker(const CurveConfig& curve);

/// What a MarginalSpec points to.
template <class R>
class MarginalData {
 public:
  MarginalData() = default;  ///< of a curve sampled direct
  /// workers: as the kernels take them one by one. form: signs or counts.
  MarginalData(const CurveConfig& curve, int dim, SamplingForm form, const std::vector<WorkerSpec<R>>& workers);
  MarginalData(MarginalData&&) = default;
  MarginalData& operator=(MarginalData&&) = default;
  const MarginalSpec<R>& spec() const { return spec_; }

 private:
  void add_signs(const CurveConfig& curve);
  void add_counts(const CurveConfig& curve, int dim);

  std::vector<MarginalGroup<R>> groups_;
  std::vector<std::uint16_t> entries_, masses_;
  std::vector<double> binomials_;
  std::vector<SubsetWord> subsets_;
  std::vector<std::uint32_t> counts_;
  std::shared_ptr<const void> xi_;
  MarginalSpec<R> spec_;
};

/// The alias table of the signs of `workers` workers under a law: rows of 2^bits entries, the cells of y = |g| / s.
struct SignTable {
  int bits = 4, rows = 0;
  double unit = 1.0;  ///< a power of two
  double cap = 1.0;   ///< t = 1 + unit y from which the last row counts
  std::vector<std::uint16_t> entries, masses;
};
SignTable make_sign_table(const LawSpec& law, int workers);

/// Alias table of Binomial(workers, (keep_below + 1) 2^-32), 64 entries.
std::vector<std::uint32_t> make_count_table(int workers, std::uint32_t keep_below);

/// The words from which a worker draws the smaller side of a subset of `keep` of dim coordinates: as many digits a word
/// as have at most 2^24 values together.
std::vector<SubsetWord> subset_words(int dim, int keep);

}  // namespace pathbound
