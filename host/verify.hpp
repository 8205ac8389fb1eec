// SPDX-License-Identifier: Apache-2.0
// `pathbound verify`: does this build on this machine, and each of its devices, compute the bits it should? Known
// answers first, then small experiments over every component, each instruction set and each device against the scalar
// code.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/simulate.hpp"
#include "kernels/simulate_cuda.hpp"

namespace pathbound {

struct VerifyOptions {
  bool cuda = false;         ///< the devices too
  std::vector<int> devices;  ///< which; none named: all that cuda_devices finds
  std::string why_not_cuda;  ///< for the report, where a build with CUDA does not look at devices
  int threads = 0;           ///< a number of threads to try besides 1 and 3; 0: every hardware thread
  const std::atomic<bool>* stop = nullptr;
};

struct VerifyRow {
  std::string check;
  std::string detail;  ///< what was compared, or the first difference
  bool passed = false;
};

struct VerifyReport {
  std::vector<std::string> header;  ///< program, processor, devices
  std::vector<VerifyRow> rows;
  bool passed = false;          ///< every row has
  std::string bug_report_line;  ///< one line without a line break: who computed, and the first failure
  /// Header, table and bug-report line as they are printed.
  std::string text() const;
};

/// `progress` gets each row when it is done. Throws Interrupted.
VerifyReport verify(const VerifyOptions& options, const std::function<void(const VerifyRow&)>& progress = {});

/// The first difference between two results, with both values in hexadecimal; empty when they agree bit for bit (their
/// times apart).
std::string compare_results(const SimResult& a, const SimResult& b);

// ---- the parts, for the tests

/// The cuda backend as verify asks it: simulate_cuda.hpp. A test puts a device of its own in its place.
class VerifiedBackend {
 public:
  virtual ~VerifiedBackend() = default;
  virtual std::string versions() const;
  virtual std::vector<DeviceInfo> devices(std::string& why) const;
  virtual std::vector<std::string> kernel_names() const;
  virtual CudaPlan plan(const SimSpec<float>& spec, const CudaOptions& options, const DeviceInfo& device) const;
  virtual CudaPlan plan(const SimSpec<double>& spec, const CudaOptions& options, const DeviceInfo& device) const;
  virtual SimResult simulate(const SimSpec<float>& spec, const CudaOptions& options) const;
  virtual SimResult simulate(const SimSpec<double>& spec, const CudaOptions& options) const;
  virtual std::vector<std::uint32_t> random_words(int device, std::uint64_t seed,
                                                  const std::vector<std::uint64_t>& path,
                                                  const std::vector<std::uint64_t>& block) const;
  virtual std::vector<float> function_values(int device, int function, const std::vector<float>& x) const;
  virtual std::vector<double> function_values(int device, int function, const std::vector<double>& x) const;
};
VerifyReport verify(const VerifyOptions& options, const VerifiedBackend& backend,
                    const std::function<void(const VerifyRow&)>& progress = {});

/// The arguments at which a function of function_table is asked: edges and pseudo-random ones. R is float or double.
template <class R>
std::vector<R> function_inputs(int function);
/// The CPU's answers.
template <class R>
std::vector<R> function_answers(int function, const std::vector<R>& x);
/// FNV-1a (64 bits) over the values' bits, low byte first.
template <class R>
std::uint64_t checksum_of(const std::vector<R>& values);
/// What checksum_of(function_answers(function, function_inputs(function))) is in every right build; 0: not known.
template <class R>
std::uint64_t known_checksum(int function);

/// An experiment of verify: one curve, computed in both precisions.
struct VerifyExperiment {
  std::string name, text;
};
std::vector<VerifyExperiment> verify_experiments();

}  // namespace pathbound
