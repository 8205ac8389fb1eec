// SPDX-License-Identifier: Apache-2.0
// results.json, curves.csv, the verdict table and writing files (design sections 4 and 5).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "host/results.hpp"
#include "tests/sample_results.hpp"

namespace pathbound {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::vector<std::string> keys_of(const Json& json) {
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  return keys;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string read(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// An empty directory that goes away with the test.
class ScratchTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "pathbound-results-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    scratch = name;
  }
  void TearDown() override {
    fs::permissions(scratch, fs::perms::owner_all);
    fs::remove_all(scratch);
  }
  std::vector<std::string> entries(const fs::path& directory) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }
  fs::path scratch;
};
using WriteFiles = ScratchTest;

// ---- results.json ----

TEST(ResultsJson, has_the_keys_of_the_schema_in_order) {
  const Json json = to_json(sample::results());
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(keys_of(json), (std::vector<std::string>{"schema", "title", "experiment", "environment", "curves", "bounds",
                                                     "comparisons", "performance"}));
  EXPECT_EQ(keys_of(json["environment"]),
            (std::vector<std::string>{"version", "commit", "backend", "device", "isa", "threads"}));
  EXPECT_EQ(keys_of(json["curves"][0]),
            (std::vector<std::string>{"name", "kind", "step", "time", "paths", "finite", "mean", "stderr", "lower",
                                      "upper", "band", "mean_is", "min", "max", "quantiles", "grad_norm", "regime",
                                      "sampling", "notes"}));
  EXPECT_EQ(keys_of(json["curves"][0]["quantiles"]), (std::vector<std::string>{"0.05", "0.25", "0.5", "0.75", "0.95"}));
  EXPECT_EQ(keys_of(json["bounds"][0]),
            (std::vector<std::string>{"theorem", "curve", "speaks_of", "quantity", "constants", "assumptions", "value",
                                      "empirical", "lower", "upper", "verdict", "expect", "confidence", "margin",
                                      "worst", "tightness", "paths_to_decide", "reason"}));
  EXPECT_FALSE(json["bounds"][2].contains("expect"));
  EXPECT_EQ(json["bounds"][3]["paths_to_decide"], 410000);
  EXPECT_TRUE(json["bounds"][0]["paths_to_decide"].is_null());
  EXPECT_EQ(json["comparisons"], Json::array());
  EXPECT_EQ(keys_of(json["performance"]), (std::vector<std::string>{"seconds", "path_steps", "path_steps_per_second"}));
}

TEST(ResultsJson, numbers_that_do_not_exist_are_null_with_a_note) {
  const Json json = to_json(sample::results());
  const Json& heavy = json["curves"][3];
  EXPECT_TRUE(heavy["mean"][1].is_null());
  EXPECT_TRUE(heavy["mean"][0].is_number());
  EXPECT_EQ(heavy["mean_is"], "does_not_exist");
  EXPECT_EQ(heavy["notes"].size(), 2u);  // the reason, and which numbers are null
  EXPECT_NE(heavy["notes"][1].get<std::string>().find("mean, stderr, lower, upper, regime at 50 of 51 checkpoints"),
            std::string::npos);
  EXPECT_TRUE(json["curves"][0]["notes"].empty());
  const Json& failed = json["bounds"][4];
  EXPECT_TRUE(failed["constants"]["V"].is_null());  // infinite
  EXPECT_TRUE(failed["tightness"].is_null());
  EXPECT_TRUE(failed["worst"]["ratio"].is_null());
}

TEST(ResultsJson, every_series_has_one_entry_a_checkpoint) {
  const Json json = to_json(sample::results());
  for (const Json& curve : json["curves"]) {
    for (const char* key :
         {"step", "time", "finite", "mean", "stderr", "lower", "upper", "min", "max", "grad_norm", "regime"})
      EXPECT_EQ(curve[key].size(), 51u) << key;
    for (const Json& quantile : curve["quantiles"]) EXPECT_EQ(quantile.size(), 51u);
  }
  for (const Json& bound : json["bounds"]) {
    for (const char* key : {"value", "empirical", "lower", "upper"}) EXPECT_EQ(bound[key].size(), 51u) << key;
  }
}

TEST(ResultsJson, only_environment_and_performance_depend_on_the_machine) {
  Results a = sample::results(), b = sample::results();
  b.environment = {"9", "x", "cuda", "GPU", "scalar", 99};
  b.performance = {77.0, 1.0};
  for (Curve& curve : b.curves) curve.seconds = 5.0;
  Json ja = to_json(a), jb = to_json(b);
  EXPECT_NE(to_text(ja), to_text(jb));
  for (Json* json : {&ja, &jb}) {
    json->erase("environment");
    json->erase("performance");
  }
  EXPECT_EQ(to_text(ja), to_text(jb));
}

TEST(ResultsJson, text_reads_back_the_same_bits_in_the_shortest_form) {
  const std::vector<double> values = {0.1,
                                      1.0,
                                      -0.0,
                                      1e30,
                                      5e-324,
                                      1.0 / 3.0,
                                      123456789.0,
                                      2.2250738585072014e-308,
                                      9007199254740993.0,
                                      0x1p-100,
                                      5.4210108624275222e-20};
  Json json;
  json["values"] = values;
  json["missing"] = {std::numeric_limits<double>::infinity(), std::nan("")};
  const std::string text = to_text(json);
  const Json back = Json::parse(text);
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(back["values"][i].get<double>(), values[i]);
  EXPECT_TRUE(back["missing"][0].is_null());
  EXPECT_TRUE(back["missing"][1].is_null());
  EXPECT_EQ(text.substr(0, text.find("\"missing\"")).find("0.10"), std::string::npos);
  // Through a file and back, nothing changes any more: what `pathbound report` relies on.
  const std::string whole = to_text(to_json(sample::results()));
  EXPECT_EQ(to_text(Json::parse(whole)), whole);
}

TEST(ResultsJson, text_survives_bytes_that_are_not_utf8) {
  EXPECT_EQ(Json::parse(to_text(Json{{"name", "a\xFF\"b\n"}}))["name"], "a\xEF\xBF\xBD\"b\n");
}

// ---- curves.csv ----

TEST(CurvesCsv, has_a_row_a_checkpoint_and_empty_cells_for_missing_numbers) {
  const Results results = sample::results();
  const std::vector<std::string> lines = lines_of(to_csv(results));
  ASSERT_EQ(lines.size(), 1u + 4u * 51u);
  EXPECT_EQ(lines[0],
            "curve,step,time,paths,finite,mean,stderr,lower,upper,min,max,q05,q25,q50,q75,q95,grad_norm,regime");
  EXPECT_EQ(lines[2].substr(0, 23), "dsgd,10,0.2,65536,65536");
  const std::string& last = lines.back();
  // The name holds a comma, so it is quoted.
  EXPECT_EQ(last.substr(0, 20), "\"heavy <t, nu = 2>\",");
  EXPECT_NE(last.find(",65536,65336,,,,,"), std::string::npos);
  EXPECT_EQ(last.back(), ',');
  // Every number reads back.
  const std::string cell = lines[2].substr(24, lines[2].find(',', 24) - 24);
  double value = 0.0;
  std::from_chars(cell.data(), cell.data() + cell.size(), value);
  EXPECT_EQ(value, results.curves[0].mean[1]);
}

TEST(CurvesCsv, doubles_quotes_inside_names) {
  Results results = sample::results();
  results.curves.resize(1);
  results.curves[0].name = "a\"b";
  EXPECT_EQ(lines_of(to_csv(results))[1].substr(0, 9), "\"a\"\"b\",0,");
}

// ---- the table ----

TEST(VerdictTable, fits_its_width_and_is_plain_text) {
  for (const int width : {60, 80, 100, 120}) {
    for (const std::string& line : lines_of(verdict_table(sample::results(), width))) {
      EXPECT_LE(line.size(), static_cast<std::size_t>(width)) << line;
      for (const char c : line) EXPECT_TRUE(c >= 0x20 && c < 0x7F) << line;
      EXPECT_TRUE(line.empty() || line.back() != ' ') << line;
    }
  }
}

TEST(VerdictTable, says_what_was_found_and_what_was_expected) {
  for (const int width : {60, 80, 120}) {
    const std::string table = verdict_table(sample::results(), width);
    std::string joined;
    for (const std::string& line : lines_of(table))
      joined += line.substr(std::min(line.size(), line.find_first_not_of(' '))) + " ";
    EXPECT_NE(joined.find("EXPECTED holds, FOUND inconclusive."), std::string::npos);
    EXPECT_NE(joined.find("Paths that would decide: about 410000."), std::string::npos);
    EXPECT_NE(joined.find("B3d, which speaks of the iterates, holds for this curve."), std::string::npos);
    EXPECT_NE(joined.find("E S is infinite after the first step (O9); quantiles only"), std::string::npos);
    EXPECT_NE(joined.find("does not exist"), std::string::npos);
    EXPECT_NE(joined.find("finite noise variance"), std::string::npos);
    EXPECT_NE(joined.find("5 bounds: 2 hold, 1 violated, 1 inconclusive, 1 not applicable; 1 NOT AS EXPECTED (!)."),
              std::string::npos);
    EXPECT_NE(table.find("\n! B4Y"), std::string::npos);
  }
}

TEST(VerdictTable, keeps_control_characters_from_the_terminal) {
  Results results = sample::results();
  results.experiment.title = "red \x1b[31m";
  results.bounds[0].reason = "line\nbreak\x07";
  for (const char c : verdict_table(results)) EXPECT_TRUE(c == '\n' || (c >= 0x20 && c != 0x7F));
}

TEST(VerdictTable, copes_with_empty_results) {
  Results results;
  EXPECT_FALSE(verdict_table(results).empty());
  results.curves.emplace_back();
  EXPECT_FALSE(verdict_table(results, 1).empty());
}

// ---- files ----

const std::vector<std::pair<std::string, std::string>> two_files = {{"results.json", "{}\n"}, {"curves.csv", "a\n"}};

TEST_F(WriteFiles, makes_directories_and_leaves_nothing_else) {
  const fs::path directory = scratch / "a" / "b";
  write_files(directory.string(), two_files);
  EXPECT_EQ(entries(directory), (std::vector<std::string>{"curves.csv", "results.json"}));
  EXPECT_EQ(read(directory / "results.json"), "{}\n");
  write_files(directory.string() + "/", {{"results.json", "new"}});
  EXPECT_EQ(entries(directory), (std::vector<std::string>{"curves.csv", "results.json"}));
  EXPECT_EQ(read(directory / "results.json"), "new");
}

TEST_F(WriteFiles, file_in_place_of_the_directory_is_an_input_error) {
  std::ofstream(scratch / "file") << "keep";
  for (const fs::path& directory : {scratch / "file", scratch / "file" / "deeper"}) {
    try {
      write_files(directory.string(), two_files);
      ADD_FAILURE() << directory;
    } catch (const InputError& error) {
      EXPECT_NE(std::string(error.what()).find((scratch / "file").string()), std::string::npos) << error.what();
    }
  }
  EXPECT_EQ(read(scratch / "file"), "keep");
}

TEST_F(WriteFiles, bad_names_are_input_errors) {
  EXPECT_THROW(write_files("", two_files), InputError);
  EXPECT_THROW(write_files((scratch / std::string(300, 'x')).string(), two_files), InputError);
  for (const std::string name : {"", ".", "..", "a/b"}) {
    EXPECT_THROW(write_files((scratch / "new").string(), {{"ok", "1"}, {name, "2"}}), InputError) << name;
  }
  EXPECT_TRUE(entries(scratch).empty());
}

TEST_F(WriteFiles, directory_in_place_of_a_file_leaves_the_rest_untouched) {
  fs::create_directory(scratch / "curves.csv");
  EXPECT_THROW(write_files(scratch.string(), two_files), InputError);
  EXPECT_EQ(entries(scratch), (std::vector<std::string>{"curves.csv"}));
}

/// In a child process, so that limits and user ids stay there. Root may write anywhere: it becomes "nobody" first.
int exit_status_in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int try_writing(const std::string& directory, const std::vector<std::pair<std::string, std::string>>& files,
                const std::string& expected) {
  try {
    write_files(directory, files);
  } catch (const MachineError& error) {
    const std::string message = error.what();
    return message.find(expected) != std::string::npos && message.find(directory) != std::string::npos ? 0 : 2;
  } catch (const InputError&) {
    return 3;
  }
  return 4;
}

TEST_F(WriteFiles, no_permission_is_a_machine_error) {
  fs::create_directory(scratch / "locked");
  fs::permissions(scratch, static_cast<fs::perms>(0755));
  fs::permissions(scratch / "locked", static_cast<fs::perms>(0555));
  for (const char* name : {"locked", "locked/new"}) {
    EXPECT_EQ(exit_status_in_child([&] {
                if (::geteuid() == 0 && ::seteuid(65534) != 0) return 5;
                return try_writing((scratch / name).string(), two_files, "Permission denied");
              }),
              0);
  }
  EXPECT_TRUE(entries(scratch / "locked").empty());
}

TEST_F(WriteFiles, full_disk_leaves_the_old_files_and_nothing_new) {
  std::ofstream(scratch / "results.json") << "old";
  // A limit on the size of files fails write() in the middle, as a full disk does.
  const std::vector<std::pair<std::string, std::string>> big = {{"results.json", "new"},
                                                                {"report.html", std::string(1 << 20, 'x')}};
  for (const char* name : {"", "fresh/deep"}) {
    EXPECT_EQ(exit_status_in_child([&] {
                ::signal(SIGXFSZ, SIG_IGN);
                const rlimit limit = {1000, 1000};
                ::setrlimit(RLIMIT_FSIZE, &limit);
                return try_writing((scratch / name).string(), big, "File too large");
              }),
              0);
  }
  EXPECT_EQ(entries(scratch), (std::vector<std::string>{"results.json"}));
  EXPECT_EQ(read(scratch / "results.json"), "old");
}

}  // namespace
}  // namespace pathbound
