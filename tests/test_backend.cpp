// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>

#include "host/backend.hpp"
#include "host/experiment.hpp"

namespace pathbound {
namespace {

DeviceInfo device(int id, const std::string& name) {
  DeviceInfo info;
  info.id = id;
  info.name = name;
  return info;
}

const CudaOffer not_built{false, {}, "not built in"};
const CudaOffer no_device{true, {}, "no driver"};
const CudaOffer two{true, {device(0, "Big"), device(3, "Small")}, ""};

BackendChoice choose(const std::string& backend, const std::string& devices, const CudaOffer& offer) {
  return choose_backend(backend, devices, [&] { return offer; });
}

std::vector<int> ids_of(const BackendChoice& choice) {
  std::vector<int> ids;
  for (const DeviceInfo& info : choice.devices) ids.push_back(info.id);
  return ids;
}

/// The message of the error E; anything else fails.
template <class E>
std::string refusal(const std::string& backend, const std::string& devices, const CudaOffer& offer) {
  try {
    choose(backend, devices, offer);
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << backend << " '" << devices << "': another kind of error: " << error.what();
    return {};
  }
  ADD_FAILURE() << backend << " '" << devices << "': was accepted";
  return {};
}

#define EXPECT_SAYS(text, word) EXPECT_NE((text).find(word), std::string::npos) << (text)

TEST(Backend, CpuStartsNoDriver) {
  const BackendChoice choice = choose_backend("cpu", "", []() -> CudaOffer {
    ADD_FAILURE() << "the devices were asked for";
    return {};
  });
  EXPECT_EQ(choice.backend, Backend::cpu);
  EXPECT_TRUE(choice.devices.empty());
  EXPECT_EQ(choice.note, "");
}

TEST(Backend, AutoTakesTheFirstDeviceOrTheCpu) {
  const BackendChoice with = choose("auto", "", two);
  EXPECT_EQ(with.backend, Backend::cuda);
  EXPECT_EQ(ids_of(with), std::vector<int>{0});
  EXPECT_EQ(with.note, "");

  const BackendChoice without = choose("auto", "", no_device);
  EXPECT_EQ(without.backend, Backend::cpu);
  EXPECT_TRUE(without.devices.empty());
  EXPECT_SAYS(without.note, "no driver");
  EXPECT_EQ(without.note.find('\n'), std::string::npos);

  const BackendChoice none = choose("auto", "", not_built);
  EXPECT_EQ(none.backend, Backend::cpu);
  EXPECT_EQ(none.note, "");
}

TEST(Backend, WithoutAListDevicesThatDoNotStartArePassedOver) {
  CudaOffer offer = two;
  offer.start = [](int id) { return id == 0 ? std::string("in use") : std::string(); };
  for (const char* backend : {"auto", "cuda"}) {
    const BackendChoice second = choose(backend, "", offer);
    EXPECT_EQ(ids_of(second), std::vector<int>{3});
    EXPECT_SAYS(second.note, "in use");
  }
  EXPECT_EQ(ids_of(choose("auto", "0", offer)), std::vector<int>{0});  // named: says why when it runs
  offer.start = [](int) { return std::string("in use"); };
  const BackendChoice none = choose("auto", "", offer);
  EXPECT_EQ(none.backend, Backend::cpu);
  EXPECT_SAYS(none.note, "in use");
  EXPECT_SAYS(refusal<MachineError>("cuda", "", offer), "in use");
}

TEST(Backend, DevicesAskForCuda) {
  for (const char* backend : {"auto", "cuda"}) {
    EXPECT_EQ(ids_of(choose(backend, "3", two)), std::vector<int>{3});
    EXPECT_EQ(ids_of(choose(backend, "3,0", two)), (std::vector<int>{3, 0}));
    EXPECT_EQ(ids_of(choose(backend, "00,03", two)), (std::vector<int>{0, 3}));
    EXPECT_EQ(choose(backend, "0", two).backend, Backend::cuda);
  }
  EXPECT_EQ(ids_of(choose("cuda", "", two)), std::vector<int>{0});
}

TEST(Backend, AListThatIsNoneIsWrongInputEverywhere) {
  for (const char* text :
       {"x", ",", "0,", ",0", "0,,3", "-1", "+1", " 0", "0 ", "0, 3", "1.5", "0x1", "2147483648", "0;3"})
    for (const char* backend : {"auto", "cpu", "cuda"})
      for (const CudaOffer& offer : {not_built, no_device, two}) {
        const std::string message = refusal<InputError>(backend, text, offer);
        EXPECT_SAYS(message, std::string("--devices ") + text);
        EXPECT_SAYS(message, "such as 0 or 0,1");
      }
  EXPECT_SAYS(refusal<InputError>("cuda", "3,0,03", two), "device 3 is named twice");
}

TEST(Backend, ADeviceThatIsNotThereIsRefusedByName) {
  const std::string message = refusal<InputError>("cuda", "0,1", two);
  EXPECT_SAYS(message, "--devices 0,1");
  EXPECT_SAYS(message, "no device 1");
  EXPECT_SAYS(message, "Big (0), Small (3)");
}

TEST(Backend, NoDeviceAtAllIsTheMachinesFault) {
  for (const char* devices : {"", "0"}) {
    EXPECT_SAYS(refusal<MachineError>("cuda", devices, no_device), "no driver");
    EXPECT_SAYS(refusal<MachineError>("cuda", devices, not_built), "this build has no CUDA backend");
  }
  EXPECT_SAYS(refusal<MachineError>("auto", "0", no_device), "no driver");
  EXPECT_SAYS(refusal<InputError>("auto", "0", not_built), "--devices 0");
  for (const CudaOffer& offer : {not_built, no_device, two})
    EXPECT_SAYS(refusal<InputError>("cpu", "0", offer), "--backend cpu");
}

/// Sets PATHBOUND_TILE and puts it back.
class Tile : public testing::Test {
 protected:
  Tile() {
    if (const char* value = std::getenv("PATHBOUND_TILE")) before_ = value;
  }
  ~Tile() override {
    if (before_)
      setenv("PATHBOUND_TILE", before_->c_str(), 1);
    else
      unsetenv("PATHBOUND_TILE");
  }
  static int tile(const char* text) {
    setenv("PATHBOUND_TILE", text, 1);
    return tile_from_environment();
  }

 private:
  std::optional<std::string> before_;
};

TEST_F(Tile, IsAPowerOfTwoUpToAWarp) {
  unsetenv("PATHBOUND_TILE");
  EXPECT_EQ(tile_from_environment(), 0);
  EXPECT_EQ(tile(""), 0);
  for (const int lanes : {1, 2, 4, 8, 16, 32}) EXPECT_EQ(tile(std::to_string(lanes).c_str()), lanes);
  for (const char* text : {"0", "3", "64", "-1", "01", "1 ", "one", "1,2"})
    EXPECT_THROW(tile(text), InputError) << text;
}

TEST(Backend, DescriptionsNameDevicesAndNumbers) {
  EXPECT_EQ(describe({}), "");
  EXPECT_EQ(describe(two.devices), "Big (0), Small (3)");
  EXPECT_STREQ(name_of(Backend::cpu), "cpu");
  EXPECT_STREQ(name_of(Backend::cuda), "cuda");
  EXPECT_TRUE(find_devices({}).empty());
  EXPECT_THROW(find_devices({12345}), MachineError);
}

}  // namespace
}  // namespace pathbound
