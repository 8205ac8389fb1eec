// SPDX-License-Identifier: Apache-2.0
// `pathbound verify`: it passes where the bits are right, and notices when one is not, by devices made up here.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "host/engine.hpp"
#include "host/verify.hpp"
#include "kernels/function_table.hpp"

namespace pathbound {
namespace {

double flipped(double x) { return from_bits<double>(as_bits(x) ^ 1u); }
float flipped(float x) { return from_bits<float>(as_bits(x) ^ 1u); }

std::vector<std::string> failures(const VerifyReport& report) {
  std::vector<std::string> checks;
  for (const VerifyRow& row : report.rows)
    if (!row.passed) checks.push_back(row.check);
  return checks;
}

std::string detail_of(const VerifyReport& report, const std::string& check) {
  for (const VerifyRow& row : report.rows)
    if (row.check == check) return row.detail;
  return "no such row";
}

// ---------------------------------------------------------------- the processor

TEST(Verify, PassesOnTheProcessor) {
  std::vector<std::string> seen;
  const VerifyReport report = verify({}, [&](const VerifyRow& row) { seen.push_back(row.check); });
  EXPECT_TRUE(report.passed);
  EXPECT_EQ(failures(report), std::vector<std::string>());
  ASSERT_EQ(report.rows.size(), 3 + verify_experiments().size());
  ASSERT_EQ(seen.size(), report.rows.size());
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], report.rows[i].check);
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), seen.size()) << "a name is taken twice";
  EXPECT_NE(report.bug_report_line.find(fmt::format("verify: {0} of {0} passed", seen.size())), std::string::npos);
  const std::string text = report.text();
  for (const std::string& check : seen) EXPECT_NE(text.find("\n" + check), std::string::npos);
  EXPECT_NE(text.find("\n" + report.bug_report_line + "\n"), std::string::npos);
  EXPECT_EQ(text.find("FAILED"), std::string::npos);
}

TEST(Verify, StopsWhenItIsAskedTo) {
  std::atomic<bool> stop{true};
  VerifyOptions options;
  options.stop = &stop;
  EXPECT_THROW(verify(options), Interrupted);
  stop = false;
  int rows = 0;
  EXPECT_THROW(verify(options,
                      [&](const VerifyRow&) {
                        stop = true;
                        ++rows;
                      }),
               Interrupted);
  EXPECT_EQ(rows, 1);
}

// ---------------------------------------------------------------- devices made up

/// Devices that compute on the processor; number 1 makes the mistakes it is told to.
class MadeUpDevices : public VerifiedBackend {
 public:
  int count = 2;
  bool wrong_word = false, wrong_function = false, wrong_result = false, throws = false, lacks_a_kernel = false;

  std::string versions() const override { return "driver 1.2, runtime 1.1"; }
  std::vector<DeviceInfo> devices(std::string& why) const override {
    std::vector<DeviceInfo> all;
    for (int id = 0; id < count; ++id) {
      DeviceInfo device;
      device.id = id;
      device.name = "Made up";
      device.major = 9;
      device.memory = 80000000000u;
      all.push_back(device);
    }
    if (all.empty()) why = "none was made up";
    return all;
  }
  std::vector<std::string> kernel_names() const override {
    return {"general_float", "general_double", "wide_saddle_rand_k"};
  }
  CudaPlan plan(const SimSpec<float>& spec, const CudaOptions& options, const DeviceInfo& device) const override {
    return plan_of(spec, options, device);
  }
  CudaPlan plan(const SimSpec<double>& spec, const CudaOptions& options, const DeviceInfo& device) const override {
    return plan_of(spec, options, device);
  }
  SimResult simulate(const SimSpec<float>& spec, const CudaOptions& options) const override {
    return result_of(spec, options);
  }
  SimResult simulate(const SimSpec<double>& spec, const CudaOptions& options) const override {
    SimResult result = result_of(spec, options);
    if (wrong_result && is_wrong(options.devices) && options.tile == 8 && spec.objective.dim == 31)
      result.records[2].m3 = flipped(result.records[2].m3);
    return result;
  }
  std::vector<std::uint32_t> random_words(int device, std::uint64_t seed, const std::vector<std::uint64_t>& path,
                                          const std::vector<std::uint64_t>& block) const override {
    std::vector<std::uint32_t> words(4 * path.size());
    for (std::size_t i = 0; i < path.size(); ++i) philox_block(seed, path[i], block[i], words.data() + 4 * i);
    if (wrong_word && device == 1 && path.size() > 1) words.back() ^= 1u;
    return words;
  }
  std::vector<float> function_values(int device, int function, const std::vector<float>& x) const override {
    std::vector<float> values = function_answers<float>(function, x);
    if (wrong_function && device == 1 && function == static_cast<int>(Function::exp))
      values.back() = flipped(values.back());
    return values;
  }
  std::vector<double> function_values(int device, int function, const std::vector<double>& x) const override {
    std::vector<double> values = function_answers<double>(function, x);
    if (wrong_function && device == 1 && function >= static_cast<int>(Function::t_03) &&
        function <= static_cast<int>(Function::multivariate_chain))
      values.front() = flipped(values.front());
    return values;
  }

 private:
  template <class R>
  CudaPlan plan_of(const SimSpec<R>& spec, const CudaOptions& options, const DeviceInfo& device) const {
    CudaPlan plan;
    plan.tile = options.tile;
    plan.kernel = sizeof(R) == 4 ? "general_float" : "general_double";
    // None of the fixed experiments reaches this one.
    if (spec.objective.kind == ObjectiveKind::saddle && spec.objective.dim > 500 &&
        spec.compressor == CompressorKind::rand_k && !(lacks_a_kernel && device.id == 1))
      plan.kernel = "wide_saddle_rand_k";
    return plan;
  }
  static bool is_wrong(const std::vector<int>& devices) {
    return std::find(devices.begin(), devices.end(), 1) != devices.end();
  }
  template <class R>
  SimResult result_of(const SimSpec<R>& spec, const CudaOptions& options) const {
    if (throws && is_wrong(options.devices) && options.launch_steps > 0 && spec.objective.dim == 200)
      throw DeviceError("the launch\ndid not start");
    SimOptions cpu;
    cpu.threads = 1;
    return simulate_cpu<R>(spec, cpu);
  }
};

TEST(Verify, ReportsExactlyWhatADeviceGetsWrong) {
  MadeUpDevices backend;
  backend.wrong_word = backend.wrong_function = backend.wrong_result = backend.throws = backend.lacks_a_kernel = true;
  VerifyOptions options;
  options.cuda = true;
  options.devices = {0, 1, 7};
  const VerifyReport report = verify(options, backend);
  EXPECT_FALSE(report.passed);
  EXPECT_EQ(failures(report),
            (std::vector<std::string>{
                "device 7", "random words on device 1", "functions on device 1, float", "functions on device 1, double",
                "quadratic d = 31, rand_k 5 on device 1", "cosh d = 200, gaussian on device 1",
                "quadratic d = 31, rand_k 5, direct on device 1", "every kernel on device 1", "all devices together"}));
  const auto contains = [&](const std::string& check, const std::string& part) {
    EXPECT_NE(detail_of(report, check).find(part), std::string::npos) << check << ": " << detail_of(report, check);
  };
  contains("random words on device 1", "instead of");
  contains("functions on device 1, float", "exp at ");
  contains("functions on device 1, double", "student_t, nu = 0.3 at ");
  contains("functions on device 1, double", "(and 3 more functions differ)");
  contains("quadratic d = 31, rand_k 5 on device 1", "double, tile 8, kernel general_double: record 2, m3: ");
  contains("cosh d = 200, gaussian on device 1", "in short launches, kernel general_float: the launch");
  contains("every kernel on device 0", "3 kernels, ");
  contains("every kernel on device 1", "not reached by any experiment: wide_saddle_rand_k");
  contains("quadratic d = 31, rand_k 5 on device 0", "general_double, general_float");
  EXPECT_EQ(report.bug_report_line.find('\n'), std::string::npos);
  EXPECT_NE(report.bug_report_line.find("; cuda driver 1.2, runtime 1.1; 0: Made up sm_90 80 GB; 1: "),
            std::string::npos);
  EXPECT_NE(report.bug_report_line.find("; first failure: device 7: "), std::string::npos);
  EXPECT_NE(report.text().find("FAILED"), std::string::npos);
}

TEST(Verify, PassesOnADeviceThatGivesTheSameBitsAndFailsWithoutOne) {
  MadeUpDevices backend;
  backend.count = 1;
  VerifyOptions options;
  options.cuda = true;
  VerifyReport report = verify(options, backend);
  EXPECT_TRUE(report.passed);
  EXPECT_EQ(failures(report), std::vector<std::string>());
  EXPECT_EQ(report.rows.size(), 2 * (3 + verify_experiments().size()) + 1);
  backend.count = 0;
  report = verify(options, backend);
  EXPECT_FALSE(report.passed);
  EXPECT_EQ(detail_of(report, "devices"), "no device: none was made up");
}

// ---------------------------------------------------------------- the parts

SimResult some_result() {
  SimResult result;
  Record record;
  record.finite = 5;
  record.sum = 1.5;
  result.records = {record, record};
  for (auto& quantile : result.quantiles) quantile = {0.25, std::nan("")};
  result.group_means = {{1.0, 2.0}, {3.0, 4.0}};
  return result;
}

TEST(CompareResults, NoticesEveryBit) {
  const SimResult a = some_result();
  EXPECT_EQ(compare_results(a, a), "");
  SimResult slower = a;
  slower.seconds = 1e9;
  EXPECT_EQ(compare_results(a, slower), "");
  const auto differs = [&](const char* where, auto change) {
    SimResult b = some_result();
    change(b);
    const std::string difference = compare_results(a, b);
    EXPECT_EQ(difference.rfind(where, 0), 0u) << where << ": " << difference;
    EXPECT_NE(compare_results(b, a), "");
  };
  differs("record 1, finite: 5 and 6", [](SimResult& b) { ++b.records[1].finite; });
  differs("record 0, sum: 0x1.8p+0 [0x3ff8000000000000] and 0x1.8000000000001p+0 [0x3ff8000000000001]",
          [](SimResult& b) { b.records[0].sum = flipped(b.records[0].sum); });
  const std::pair<const char*, double Record::*> fields[] = {{"sum", &Record::sum},
                                                             {"m2", &Record::m2},
                                                             {"m3", &Record::m3},
                                                             {"min", &Record::min},
                                                             {"max", &Record::max},
                                                             {"grad_norm_sum", &Record::grad_norm_sum},
                                                             {"max_grad", &Record::max_grad},
                                                             {"max_grad_so_far", &Record::max_grad_so_far},
                                                             {"pl_min", &Record::pl_min},
                                                             {"pl_max", &Record::pl_max}};
  for (const auto& [name, field] : fields)
    differs(fmt::format("record 1, {}: ", name).c_str(),
            [field = field](SimResult& b) { b.records[1].*field = flipped(b.records[1].*field); });
  differs("record 0, min", [](SimResult& b) { b.records[0].min = -0.0; });
  for (std::size_t q = 0; q < curve_quantiles.size(); ++q)
    differs(fmt::format("record 0, quantile {}", curve_quantiles[q]).c_str(),
            [q](SimResult& b) { b.quantiles[q][0] = flipped(b.quantiles[q][0]); });
  differs("record 1, quantile 0.95", [](SimResult& b) { b.quantiles[4][1] = 0.0; });
  differs("record 1, mean of group 0", [](SimResult& b) { b.group_means[1][0] = flipped(b.group_means[1][0]); });
  differs("2 and 1 records", [](SimResult& b) { b.records.pop_back(); });
  differs("quantile 3: 2 and 3 records", [](SimResult& b) { b.quantiles[3].push_back(0.0); });
  differs("record 0: 2 and 1 groups", [](SimResult& b) { b.group_means[0].pop_back(); });
  differs("group means: 2 and 1 records", [](SimResult& b) { b.group_means.pop_back(); });
}

template <class R>
void expect_checksums_notice_a_bit() {
  for (int f = 0; f < function_count; ++f) {
    const std::vector<R> x = function_inputs<R>(f);
    EXPECT_GE(x.size(), 20000u);
    std::vector<R> values = function_answers<R>(f, x);
    ASSERT_EQ(values.size(), x.size());
    EXPECT_EQ(checksum_of(values), known_checksum<R>(f)) << function_table[f].name;
    for (const std::size_t at : {std::size_t(0), x.size() / 2, x.size() - 1}) {
      const R kept = values[at];
      values[at] = flipped(kept);
      EXPECT_NE(checksum_of(values), known_checksum<R>(f)) << function_table[f].name;
      values[at] = kept;
    }
    std::swap(values.front(), values.back());
    if (as_bits(values.front()) != as_bits(values.back())) {
      EXPECT_NE(checksum_of(values), known_checksum<R>(f)) << function_table[f].name;
    }
  }
}

TEST(KnownAnswers, OfFunctionsAreTheSameAndAChangedBitIsNoticed) {
  expect_checksums_notice_a_bit<float>();
  expect_checksums_notice_a_bit<double>();
  // After a change that is meant: the lines of known_checksums in host/verify.cpp as they should be.
  if (HasFailure())
    for (int f = 0; f < function_count; ++f)
      fmt::print("    {{\"{}\", {:#018x}u, {:#018x}u}},\n", function_table[f].name,
                 checksum_of(function_answers<float>(f, function_inputs<float>(f))),
                 checksum_of(function_answers<double>(f, function_inputs<double>(f))));
}

TEST(KnownAnswers, AreAskedForOddArgumentsAndGiveNoTwoNaNs) {
  std::set<std::string> names;
  for (int f = 0; f < function_count; ++f) {
    names.insert(function_table[f].name);
    const std::vector<double> x = function_inputs<double>(f), y = function_answers<double>(f, x);
    for (const double value : y) {
      if (std::isnan(value)) {
        ASSERT_EQ(as_bits(value), 0x7ff8000000000000u) << function_table[f].name;
      }
    }
    if (function_table[f].domain != Domain::real) continue;
    const auto asked = [&](auto is) { return std::any_of(x.begin(), x.end(), is); };
    EXPECT_TRUE(asked([](double v) { return std::isnan(v); }));
    EXPECT_TRUE(asked([](double v) { return std::isinf(v) && v < 0.0; }));
    EXPECT_TRUE(asked([](double v) { return v == 0.0 && std::signbit(v); }));
    EXPECT_TRUE(asked([](double v) { return v == 0x1p-1074; }));
    EXPECT_TRUE(asked([](double v) { return v == 0x1.fffffffffffffp1023; }));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(function_count));
  // Against the library: one value of each kind is enough to see that a number means the function it is called by.
  const auto at = [](Function f, double x) { return function_value<double>(static_cast<int>(f), x); };
  EXPECT_NEAR(at(Function::log, 3.0), std::log(3.0), 1e-15);
  EXPECT_NEAR(at(Function::expm1, 0.7), std::expm1(0.7), 1e-15);
  EXPECT_NEAR(at(Function::sinh, 0.7), std::sinh(0.7), 1e-15);
  EXPECT_NEAR(at(Function::cos, 0.7), std::cos(0.7), 1e-15);
  EXPECT_NEAR(at(Function::power_m06, 3.0), std::pow(3.0, -0.6), 1e-15);
  EXPECT_NEAR(at(Function::step_size, 6.0), 0.1 * std::pow(3.0, -0.6), 1e-16);
  EXPECT_EQ(at(Function::two_roundings, 0x1.0000000000001p0), 0x1.0000000000001p0 * 3.0 + 1.0);
}

TEST(VerifyExperiments, CoverEveryComponent) {
  std::set<ObjectiveKind> objectives;
  std::set<MethodKind> methods;
  std::set<std::pair<LawKind, int>> laws;  // with the form of a Student-t or an alpha-stable law
  std::set<CompressorKind> compressors;
  std::set<ScheduleKind> schedules;
  std::set<int> dims, workers;
  std::set<std::tuple<ModelKind, IntegratorKind, MethodKind>> models;
  bool affine = false, tracked = false, lists = false, diverging = false;
  for (const VerifyExperiment& from : verify_experiments()) {
    SCOPED_TRACE(from.text);
    const Experiment experiment = parse_experiment(from.text, from.name);
    ASSERT_LE(experiment.curves.size(), 2u);
    const CurveConfig& curve = experiment.curves.back();
    EXPECT_NE(curve.paths % block_paths, 0u);
    objectives.insert(experiment.objective.kind);
    methods.insert(curve.method);
    if (curve.model) models.insert({curve.model->kind, curve.model->integrator, curve.method});
    const LawSpec& law = curve.noise.law;
    laws.insert({law.kind, law.kind == LawKind::student_t      ? static_cast<int>(t_form(law.nu))
                           : law.kind == LawKind::alpha_stable ? static_cast<int>(stable_form(law.alpha))
                                                               : 0});
    compressors.insert(curve.compressor.kind);
    schedules.insert(curve.schedule.kind);
    dims.insert(experiment.objective.dim);
    workers.insert(curve.workers.count);
    affine = affine || curve.noise.affine > 0.0;
    const auto& k = curve.workers.k;
    lists = lists || (!k.empty() && k.back() != k.front());
    const Objective objective(experiment.objective);
    const CurveSpec<double> spec(experiment, curve, objective);
    tracked = tracked || spec.spec.track_gradient;
    SimOptions options;
    options.threads = 1;
    diverging = diverging || simulate_cpu<double>(spec.spec, options).records.back().finite < curve.paths;
  }
  EXPECT_EQ(objectives.size(), objective_registry().size());
  EXPECT_EQ(methods.size(), method_registry().size());
  EXPECT_EQ(laws.size(), law_registry().size() + 3 + 2);
  EXPECT_EQ(compressors.size(), compressor_registry().size());
  EXPECT_EQ(schedules.size(), schedule_registry().size());
  for (const MethodKind method : {MethodKind::dcsgd, MethodKind::dsignsgd}) {
    for (const ModelKind kind : {ModelKind::second_order, ModelKind::curvature})
      EXPECT_EQ(models.count({kind, IntegratorKind::weak2, method}), 1u);
    EXPECT_EQ(models.count({ModelKind::first_order, IntegratorKind::euler_maruyama, method}), 1u);
    EXPECT_EQ(models.count({ModelKind::hessian_aware, IntegratorKind::moment, method}), 1u);
  }
  for (const int dim : {1, 2, 3, 4, 5, 8, 31, 33, 64, 65, 100, 130}) EXPECT_EQ(dims.count(dim), 1u) << dim;
  EXPECT_GE(workers.size(), 4u);
  EXPECT_TRUE(affine && tracked && lists && diverging);
}

}  // namespace
}  // namespace pathbound
