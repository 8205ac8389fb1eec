// SPDX-License-Identifier: Apache-2.0
// The cuda backend gives the CPU's bits: for every kernel, every tile, however the work is cut.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "host/verify.hpp"
#include "tests/settings.hpp"

namespace pathbound {
namespace {

std::vector<DeviceInfo> devices() {
  std::string why;
  const std::vector<DeviceInfo> all = cuda_devices(why);
  if (all.empty()) ADD_FAILURE() << why;
  return all;
}

template <class R>
SimResult cpu(const Prepared<R>& prepared) {
  return prepared.run(best_isa(), 0);
}

/// Further curves: sizes at which tiles and layouts change, and messages that do not begin at a Philox block.
std::vector<Setting> tile_settings() {
  std::vector<Setting> all = settings();
  const auto quadratic = [](int d) {
    return "kind = \"quadratic\"\ndim = " + std::to_string(d) +
           "\nspectrum = { kind = \"linear\", min = 0.1, max = 1.3 }";
  };
  const std::string t3 = "law = \"student_t\"\nnu = 3.0", mt = "law = \"multivariate_t\"\nnu = 2.5";
  const std::string dsgd = "method = \"dsgd\"\neta = 0.1", sign = "method = \"dsignsgd\"\neta = 0.05";
  for (const int d : {1, 2, 3, 4, 5, 6, 16, 17, 32, 63, 127, 128, 131, 300}) {
    const std::string top = "paths = 70\nsteps = 9\ncheckpoint_steps = [1, 2, 5, 8]";
    all.push_back({top, quadratic(d), "", "count = 2", dsgd});
    all.push_back({top, quadratic(d), t3, "count = 3", sign});
    all.push_back({top, quadratic(d), mt, "count = 2", dsgd});
    all.push_back({top, quadratic(d), "affine = 0.3", "count = 3",
                   "method = \"dcsgd\"\neta = 0.01\ncompressor = { kind = \"rand_k\", k = " +
                       std::to_string((d + 2) / 3) + " }"});
    all.push_back(
        {top, quadratic(d), t3, "", "method = \"dcsgd\"\neta = 0.01\ncompressor = { kind = \"bernoulli\", p = 0.4 }"});
  }
  const std::string stable = "law = \"alpha_stable\"\nalpha = 1.2",
                    mixed = "law = \"contaminated_gaussian\"\neps = 0.2\nk = 5.0";
  for (const int d : {1, 3, 4, 5, 17, 32, 66, 131}) {
    const std::string top = "paths = 70\nsteps = 4\ncheckpoint_steps = [1, 4]";
    const auto compressed = [](const std::string& compressor) {
      return "method = \"dcsgd\"\neta = 0.01\ncompressor = { " + compressor + " }";
    };
    all.push_back({top, quadratic(d), mixed, "count = 2", "method = \"adam\"\neta = 0.1"});
    all.push_back({top, quadratic(d), stable, "count = 3", "method = \"dnsgd\"\neta = 0.1"});
    all.push_back({top, quadratic(d), mt, "", "method = \"clipped_dsgd\"\nclip = 2.0\neta = 0.1"});
    all.push_back({top, quadratic(d), "law = \"laplace\"", "count = 2", compressed("kind = \"qsgd\", s = 4")});
    all.push_back(
        {top, quadratic(d), t3, "count = 2", compressed("kind = \"top_k\", k = " + std::to_string((d + 2) / 3))});
    all.push_back({top, quadratic(d), "affine = 0.3", "count = 3",
                   compressed("kind = \"natural\"") + "\nadaptive = { kind = \"gradient_norm\" }"});
  }
  for (const int d : {1, 2, 3, 4, 17, 32, 33, 64, 66, 131}) {
    const std::string top = "paths = 70\nsteps = 3\ncheckpoint_steps = [1, 3]";
    const std::string rand_k =
        "method = \"dcsgd\"\neta = 0.01\ncompressor = { kind = \"rand_k\", k = " + std::to_string((d + 2) / 3) + " }";
    all.push_back({top, quadratic(d), "affine = 0.3", "count = 3", with_model(rand_k, "second_order", 2, true)});
    all.push_back({top, quadratic(d), t3, "count = 2", with_model(sign, "first_order", 3)});
    all.push_back({top, quadratic(d), t3, "", with_model(rand_k, "hessian_aware", 2)});
  }
  for (const std::string objective : {"quartic", "cosh", "sine_pl"})
    for (const std::string law : {"", "law = \"student_t\"\nnu = 1.0"})
      all.push_back(
          {"paths = 40\nsteps = 30", "kind = \"" + objective + "\"", law, "", "method = \"dsgd\"\neta = 0.01"});
  all.push_back({"paths = 40\nsteps = 30", "kind = \"saddle\"\neigenvalues = [-1.0]\nlam = 1.0", t3, "", dsgd});
  all.push_back(
      {"paths = 40\nsteps = 30", "kind = \"saddle\"\neigenvalues = [-1.0]\nlam = 1.0", "scale = 0.3", "", dsgd});
  all.push_back({"paths = 40\nsteps = 7", "kind = \"least_squares\"\ndim = 1\nrows = 40", "", "", dsgd});
  all.push_back({"paths = 40\nsteps = 7", "kind = \"logistic\"\ndim = 70\nrows = 45\nlam = 0.1", mt, "", dsgd});
  return all;
}

template <class R>
void expect_every_tile_agrees(const std::string& precision, std::set<std::string>& kernels) {
  const DeviceInfo device = devices().front();
  for (const Setting& setting : tile_settings()) {
    const std::string text = setting.text(precision);
    SCOPED_TRACE(text);
    Prepared<R> prepared(text);
    for (const bool track : {false, true}) {
      prepared.curve.spec.track_pl = prepared.curve.spec.track_gradient = track;
      const SimResult expected = cpu(prepared);
      for (const int tile : {0, 1, 2, 4, 8, 16, 32}) {
        if (track && tile != 0 && tile != 4) continue;
        CudaOptions options;
        options.tile = tile;
        const CudaPlan plan = plan_cuda(prepared.curve.spec, options, device);
        kernels.insert(plan.kernel);
        EXPECT_TRUE(tile == 0 || plan.tile == tile);
        EXPECT_EQ(compare_results(simulate_cuda(prepared.curve.spec, options), expected), "")
            << plan.kernel << ", tile " << tile << ", track " << track;
      }
    }
  }
}

TEST(Cuda, EveryKernelAtEveryTileGivesTheBitsOfTheCpu) {
  std::set<std::string> used;
  expect_every_tile_agrees<float>("float", used);
  expect_every_tile_agrees<double>("double", used);
  for (const std::string& name : cuda_kernel_names()) EXPECT_TRUE(used.count(name)) << name << " was not run";
}

/// At d = 9 the tiles go through memory (1, 2), four (4), two (8) and one (16, 32) coordinates a lane.
/// The models of a curve that go through every form of their step.
std::vector<std::string> models_of(const std::string& method, bool separable) {
  std::vector<std::string> all = {with_model(method, "first_order", 2), with_model(method, "second_order", 2, true),
                                  with_model(method, "curvature", 3, true)};
  if (separable) all.push_back(with_model(method, "hessian_aware", 2));
  return all;
}

template <class R>
void expect_every_combination_agrees(const std::string& precision) {
  const std::string nine[] = {
      "kind = \"quadratic\"\nspectrum = { kind = \"linear\", min = 0.1, max = 1.3 }\n",
      "kind = \"quartic\"\nstart = 0.7\n",
      "kind = \"cosh\"\nstart = 0.5\n",
      "kind = \"sine_pl\"\n",
      "kind = \"saddle\"\neigenvalues = [-1.0, 0.5, -2.0, 1.0, 1.0, 1.0, 0.1, 0.2, -0.3]\nlam = 0.8\nstart = 0.3\n",
      "kind = \"least_squares\"\nrows = 11\n",
      "kind = \"logistic\"\nrows = 11\nlam = 0.1\n"};
  const std::string laws[] = {"scale = 0.3", "law = \"student_t\"\nnu = 3.0\nscale = 0.3",
                              "law = \"multivariate_t\"\nnu = 3.0\nscale = 0.3"};
  const std::string methods[] = {"method = \"dsgd\"\neta = 0.05", "method = \"dsignsgd\"\neta = 0.05",
                                 "method = \"dcsgd\"\neta = 0.02\ncompressor = { kind = \"rand_k\", k = 3 }",
                                 "method = \"dcsgd\"\neta = 0.02\ncompressor = { kind = \"bernoulli\", p = 0.5 }"};
  for (const std::string& objective : nine) {
    for (const std::string& law : laws) {
      for (const std::string& method : methods) {
        const bool separable = objective.find("rows") == std::string::npos;
        const bool dependent = law.find("multivariate_t") != std::string::npos &&
                               method.find("dsignsgd") != std::string::npos && !separable;
        std::vector<std::string> curves = {method};
        if (!dependent)  // else the covariance is not diagonal: refused
          for (const std::string& model : models_of(method, separable)) curves.push_back(model);
        for (const std::string& curve : curves) {
          const bool is_model = curve != method;
          const std::string text = text_of(precision, is_model ? "paths = 33\nsteps = 2" : "paths = 33\nsteps = 4",
                                           objective + "dim = 9", law, "count = 2", curve);
          SCOPED_TRACE(text);
          Prepared<R> prepared(text);
          const SimResult expected = cpu(prepared);
          for (const int tile : {1, 2, 4, 8, 16, 32}) {
            if (is_model && tile != 1 && tile != 8 && tile != 32) continue;
            CudaOptions options;
            options.tile = tile;
            EXPECT_EQ(compare_results(simulate_cuda(prepared.curve.spec, options), expected), "") << "tile " << tile;
          }
        }
      }
    }
  }
}

TEST(Cuda, EveryObjectiveWithEveryLawAndMethodAtEveryTileGivesTheBitsOfTheCpu) {
  expect_every_combination_agrees<float>("float");
  expect_every_combination_agrees<double>("double");
}

TEST(Cuda, ThereAreAtMostSixtyKernels) { EXPECT_LE(cuda_kernel_names().size(), 60u); }

template <class R>
void expect_cuts_do_not_matter(const std::string& precision) {
  for (const Setting& setting : settings()) {
    const std::string text = setting.text(precision);
    SCOPED_TRACE(text);
    Prepared<R> prepared(text);
    prepared.curve.spec.track_pl = true;
    const SimResult expected = cpu(prepared);
    for (const std::uint64_t steps : {1, 7, 64}) {
      CudaOptions options;
      options.launch_steps = steps;
      options.wave_blocks = steps == 64 ? 0 : 2 * steps;
      options.segment_records = steps == 7 ? 5 : 0;
      EXPECT_EQ(compare_results(simulate_cuda(prepared.curve.spec, options), expected), "") << "launch_steps " << steps;
    }
  }
}

TEST(Cuda, LaunchesWavesAndSegmentsChangeNoBit) {
  expect_cuts_do_not_matter<float>("float");
  expect_cuts_do_not_matter<double>("double");
}

TEST(Cuda, AllDevicesTogetherGiveTheSameBits) {
  const std::vector<DeviceInfo> all = devices();
  if (all.size() < 2) GTEST_SKIP() << "one device";
  for (const Setting& setting : settings()) {
    SCOPED_TRACE(setting.text("float"));
    Prepared<float> prepared(setting.text("float"));
    const SimResult expected = cpu(prepared);
    for (std::size_t n = 2; n <= all.size(); ++n) {
      CudaOptions options;
      options.devices.clear();
      for (std::size_t i = 0; i < n; ++i) options.devices.push_back(all[i].id);
      options.launch_steps = 16;
      EXPECT_EQ(compare_results(simulate_cuda(prepared.curve.spec, options), expected), "") << n << " devices";
    }
  }
}

TEST(Cuda, FewPathsOfManyCoordinatesTakeMoreLanes) {
  DeviceInfo large;
  large.multiprocessors = 132;
  large.free_memory = std::uint64_t{64} << 30;
  const auto tile = [&](const std::string& paths, int dim) {
    Prepared<float> prepared(text_of("float", "paths = " + paths + "\nsteps = 9",
                                     "kind = \"quadratic\"\ndim = " + std::to_string(dim) +
                                         "\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }",
                                     "", "count = 2", "method = \"dsgd\"\neta = 0.1"));
    return plan_cuda(prepared.curve.spec, CudaOptions{}, large).tile;
  };
  EXPECT_EQ(tile("1048576", 1), 1);
  EXPECT_EQ(tile("1048576", 4), 1);
  EXPECT_EQ(tile("1048576", 64), 16);
  EXPECT_EQ(tile("4096", 64), 16);  // 2048 warps
  EXPECT_EQ(tile("1024", 64), 32);
  EXPECT_EQ(tile("4096", 1000), 32);
}

TEST(Cuda, WavesAndSeveralDevicesKeepEachDeviceBusy) {
  DeviceInfo large;
  large.multiprocessors = 132;
  large.free_memory = std::uint64_t{64} << 30;
  const auto quadratic = [](int d) {
    return "kind = \"quadratic\"\ndim = " + std::to_string(d) +
           "\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }";
  };
  const auto plan = [&](const std::string& paths, int dim, const std::string& count, std::size_t n_devices) {
    Prepared<float> prepared(text_of("float", "paths = " + paths + "\nsteps = 9", quadratic(dim), "",
                                     "count = " + count, "method = \"dsgd\"\neta = 0.1"));
    CudaOptions options;
    options.devices.clear();
    for (std::size_t i = 0; i < n_devices; ++i) options.devices.push_back(static_cast<int>(i));
    return plan_cuda(prepared.curve.spec, options, large);
  };
  const double busy = 132 * 4 * 8 * 32;  // lanes: eight warps a scheduler
  // An expensive step must not shrink the wave below what keeps the device busy.
  EXPECT_GE(static_cast<double>(plan("10000", 65536, "100", 1).wave_paths * 32), std::min(busy, 10000.0 * 32) / 2);
  // Few paths: one wave for each device, in one round.
  EXPECT_EQ(plan("1024", 64, "2", 1).waves, 1u);
  EXPECT_EQ(plan("1024", 64, "2", 2).waves, 2u);
  EXPECT_EQ(plan("1024", 64, "2", 4).waves, 4u);
  // Many: smaller waves for balance, each enough for a device.
  const CudaPlan many = plan("16777216", 1, "1", 3);
  EXPECT_GE(many.waves, 12u);
  EXPECT_GE(static_cast<double>(many.wave_paths), busy);
}

TEST(Cuda, PlansKeepToTheMemoryOfTheDeviceAndRefuseWhatCannotFit) {
  Prepared<float> prepared(
      text_of("float", "paths = 1000000\nsteps = 1000\ncheckpoints = 1000",
              "kind = \"quadratic\"\ndim = 64\nspectrum = { kind = \"linear\", min = 1.0, max = 1.0 }", "", "count = 2",
              "method = \"dsgd\"\neta = 0.1"));
  DeviceInfo device;
  device.multiprocessors = 80;
  std::uint64_t waves = 0;
  for (const std::uint64_t megabytes : {100000, 1000, 100, 20}) {
    device.free_memory = megabytes * 1000000;
    const CudaPlan plan = plan_cuda(prepared.curve.spec, CudaOptions{}, device);
    EXPECT_LE(plan.bytes, device.free_memory);
    EXPECT_GE(plan.waves, waves);
    EXPECT_GE(plan.waves * plan.wave_paths, 1000000u);
    waves = plan.waves;
  }
  device.free_memory = 1000000;
  EXPECT_THROW(plan_cuda(prepared.curve.spec, CudaOptions{}, device), DeviceError);
}

TEST(Cuda, StopsWithinASecondWhenAsked) {
  Prepared<float> prepared(text_of("float", "paths = 200000\nsteps = 100000000", "kind = \"quartic\"", "", "",
                                   "method = \"dsgd\"\neta = 0.0001"));
  std::atomic<bool> stop{false};
  CudaOptions options;
  options.stop = &stop;
  std::atomic<double> done{0.0};
  options.progress = [&](double path_steps) { done = path_steps; };
  std::jthread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    stop = true;
  });
  EXPECT_THROW(simulate_cuda(prepared.curve.spec, options), Interrupted);
  EXPECT_GT(done.load(), 0.0);
}

TEST(Cuda, MissingDeviceIsADeviceError) {
  Prepared<float> prepared(settings().front().text("float"));
  CudaOptions options;
  options.devices = {63};
  EXPECT_THROW(simulate_cuda(prepared.curve.spec, options), DeviceError);
}

TEST(Cuda, TellsTheTimesOfItsKernels) {
  Prepared<float> prepared(settings().front().text("float"));
  const SimResult result = simulate_cuda(prepared.curve.spec, CudaOptions());
  ASSERT_EQ(result.kernel_times.size(), 3u);
  EXPECT_EQ(result.kernel_times[0].kernel, "scalar_float_quadratic");
  EXPECT_GE(result.kernel_times[0].launches, 1u);
}

}  // namespace
}  // namespace pathbound
