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

#include "host/figures.hpp"
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

TEST(ResultsJson, models_say_of_which_method_and_how) {
  const Json json = to_json(sample::results_with_models());
  const Json& model = json["curves"][5];
  EXPECT_EQ(keys_of(model),
            (std::vector<std::string>{"name",      "kind",   "of",       "integrator", "substeps", "step",
                                      "time",      "paths",  "finite",   "mean",       "stderr",   "lower",
                                      "upper",     "band",   "mean_is",  "min",        "max",      "quantiles",
                                      "grad_norm", "regime", "sampling", "notes"}));
  EXPECT_EQ(model["name"], "dcsgd-sde2");
  EXPECT_EQ(model["kind"], "model");
  EXPECT_EQ(model["of"], "dcsgd");
  EXPECT_EQ(model["integrator"], name_of(IntegratorKind::weak2));
  EXPECT_EQ(model["substeps"], 1);
  EXPECT_EQ(json["curves"][4]["substeps"], 4);
  for (std::size_t c = 0; c < 4; ++c) {
    EXPECT_EQ(json["curves"][c]["kind"], "method");
    EXPECT_FALSE(json["curves"][c].contains("of"));
  }
  // A curve that the experiment does not know is a method.
  Results results = sample::results_with_models();
  results.experiment.curves.clear();
  EXPECT_EQ(to_json(results)["curves"][5]["kind"], "method");
}

/// A method with means 8, 4, 2, 1 at steps 0, 10, 20, 30, held against one model.
Results compared() {
  Results results;
  Curve method;
  method.name = "m";
  method.step = {0, 10, 20, 30};
  method.mean = {8.0, 4.0, 2.0, 1.0};
  results.curves = {method};
  Comparison comparison;
  comparison.method = "m";
  comparison.model = "sde";
  comparison.step = method.step;
  comparison.weak_error = {9.0, 0.125, -0.5, 0.25};
  comparison.standard_error = {0.0, 0.0078125, 0.03125, 0.0625};
  comparison.integrator_error = {0.0, 0.5, 0.015625, -0.125};
  comparison.integrator_standard_error = {0.0, 0.001, 0.00390625, 0.002};
  comparison.variance_reduction = {sample::none, 2.0, 64.5, 8.0};
  comparison.groups = 64;
  comparison.notes = {"a note"};
  results.comparisons = {comparison};
  return results;
}

TEST(ResultsJson, comparisons_are_summed_up_where_the_weak_error_is_largest_after_step_0) {
  EXPECT_EQ(to_json(compared())["comparisons"], Json::parse(R"([{
    "method": "m", "model": "sde", "max_weak_error": -0.5, "stderr": 0.03125, "at_step": 20,
    "variance_reduction": 64.5, "integrator_error": 0.015625, "integrator_stderr": 0.00390625, "relative": 0.25,
    "resolved": true, "remarks": [], "mean_is": "expectation", "groups": 64, "step": [0, 10, 20, 30], "weak_error": [9.0, 0.125, -0.5, 0.25],
    "weak_stderr": [0.0, 0.0078125, 0.03125, 0.0625], "integrator_error_series": [0.0, 0.5, 0.015625, -0.125],
    "integrator_stderr_series": [0.0, 0.001, 0.00390625, 0.002],
    "variance_reduction_series": [null, 2.0, 64.5, 8.0], "notes": ["a note"]}])"));
  EXPECT_EQ(keys_of(to_json(compared())["comparisons"][0]), (std::vector<std::string>{"method",
                                                                                      "model",
                                                                                      "max_weak_error",
                                                                                      "stderr",
                                                                                      "at_step",
                                                                                      "variance_reduction",
                                                                                      "integrator_error",
                                                                                      "integrator_stderr",
                                                                                      "relative",
                                                                                      "resolved",
                                                                                      "remarks",
                                                                                      "mean_is",
                                                                                      "groups",
                                                                                      "step",
                                                                                      "weak_error",
                                                                                      "weak_stderr",
                                                                                      "integrator_error_series",
                                                                                      "integrator_stderr_series",
                                                                                      "variance_reduction_series",
                                                                                      "notes"}));
}

TEST(ResultsJson, comparisons_pass_over_checkpoints_without_a_weak_error) {
  Results results = compared();
  Comparison& comparison = results.comparisons[0];
  comparison.weak_error[2] = sample::none;
  comparison.integrator_error.clear();  // never computed
  results.curves[0].mean[3] = sample::none;
  Json json = to_json(results)["comparisons"][0];
  EXPECT_EQ(json["max_weak_error"], 0.25);
  EXPECT_EQ(json["at_step"], 30);
  EXPECT_EQ(json["weak_error"], Json::parse("[9.0, 0.125, null, 0.25]"));
  EXPECT_EQ(json["integrator_error_series"], Json::parse("[null, null, null, null]"));
  EXPECT_TRUE(json["integrator_error"].is_null());
  EXPECT_TRUE(json["relative"].is_null());
  EXPECT_EQ(json["remarks"], Json::parse(R"(["Integrator error not known."])")) << json["remarks"];

  comparison.weak_error = {0.0, sample::none, std::numeric_limits<double>::infinity(), sample::none};
  json = to_json(results)["comparisons"][0];
  for (const char* key : {"max_weak_error", "stderr", "at_step", "variance_reduction", "integrator_error",
                          "integrator_stderr", "relative", "resolved"}) {
    EXPECT_TRUE(json[key].is_null()) << key;
  }
  comparison = {};
  EXPECT_EQ(to_json(results)["comparisons"][0]["weak_error"], Json::array());
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
    for (const std::string& line : lines_of(verdict_table(sample::results_with_models(), width))) {
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

/// The section of the models.
std::string models_in(const std::string& table) {
  const std::size_t begin = table.find("Models against their methods");
  return begin == std::string::npos ? "" : table.substr(begin, table.find("\n\n", begin) - begin);
}

TEST(VerdictTable, holds_models_against_their_methods) {
  EXPECT_EQ(models_in(verdict_table(sample::results())), "");
  EXPECT_EQ(models_in(verdict_table(compared())),
            "Models against their methods, at the largest weak error\n"
            "  model  method  weak error +- stderr  at step  of the mean  integrator +- stderr  variance reduction\n"
            "  sde    m       -0.500 +- 0.031            20          25%  0.0156 +- 0.0039                  x 64.5\n"
            "      a note\n");
  Results results = compared();
  results.comparisons[0].variance_reduction[2] = 12345.6;
  EXPECT_NE(verdict_table(results).find("x 12346\n"), std::string::npos);
}

// The sentences themselves: tests/test_comparison.cpp.
TEST(VerdictTable, says_what_a_comparison_does_not_show) {
  Results results = compared();
  Comparison& comparison = results.comparisons[0];
  comparison.standard_error[2] = 0.25;
  comparison.integrator_error[2] = 0.5;
  const Json json = to_json(results)["comparisons"][0];
  EXPECT_EQ(json["resolved"], false);
  ASSERT_EQ(json["remarks"].size(), 2u);
  const std::string table = verdict_table(results);
  for (const Json& remark : json["remarks"]) {
    EXPECT_NE(table.find("      " + remark.get<std::string>() + "\n"), std::string::npos) << table;
  }
  EXPECT_NE(json["remarks"][0].get<std::string>().find("not resolved"), std::string::npos);
  EXPECT_NE(json["remarks"][1].get<std::string>().find("more substeps"), std::string::npos);

  comparison.weak_error = {0.0, sample::none, sample::none, sample::none};
  EXPECT_NE(verdict_table(results).find("  sde    m       -                           -            -  -"),
            std::string::npos);
  EXPECT_EQ(to_json(results)["comparisons"][0]["remarks"], Json::array());
}

TEST(VerdictTable, marks_restricted_comparisons_with_a_star) {
  Results results = compared();
  const std::string footnote = "  * mean over the paths that have not diverged\n";
  EXPECT_EQ(verdict_table(results).find('*'), std::string::npos);
  results.comparisons[0].mean_is = MeanIs::restricted;
  EXPECT_NE(verdict_table(results).find("-0.500 +- 0.031 * "), std::string::npos);
  EXPECT_NE(verdict_table(results).find(footnote), std::string::npos);
  EXPECT_EQ(to_json(results)["comparisons"][0]["mean_is"], "restricted");
  results.comparisons[0].weak_error.assign(4, sample::none);
  EXPECT_EQ(verdict_table(results).find('*'), std::string::npos);
}

TEST(VerdictTable, keeps_of_a_narrow_comparison_what_matters) {
  for (const int width : {40, 60, 80}) {
    const std::string models = models_in(verdict_table(sample::results_with_models(), width));
    EXPECT_NE(models.find("0.2143 +- 0.0030"), std::string::npos) << models;
    EXPECT_NE(models.find("not resolved"), std::string::npos) << models;
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

// ---- figures and tables ----

TEST(BenchReport, json_has_the_keys_in_order_and_null_for_gaps) {
  const Json json = to_json(sample::bench_report());
  EXPECT_EQ(keys_of(json), (std::vector<std::string>{"schema", "title", "summary", "environment", "answers", "tables",
                                                     "figures", "performance"}));
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(keys_of(json["tables"][0]), (std::vector<std::string>{"title", "caption", "header", "rows"}));
  EXPECT_EQ(json["tables"][0]["rows"][2], Json::parse(R"(["<moment>", "-", "x 120"])"));
  EXPECT_EQ(keys_of(json["figures"][0]),
            (std::vector<std::string>{"title", "caption", "x_label", "y_label", "log_x", "log_y", "series"}));
  const Json& series = json["figures"][0]["series"];
  EXPECT_EQ(keys_of(series[0]),
            (std::vector<std::string>{"name", "x", "y", "lower", "upper", "line", "dashed", "group"}));
  EXPECT_TRUE(series[0]["y"][4].is_null());
  EXPECT_EQ(series[0]["lower"].size(), 9u);
  EXPECT_EQ(series[1]["lower"], Json::array());
  EXPECT_EQ(json["performance"]["path_steps_per_second"], 2.4e8);
  EXPECT_EQ(Json::parse(to_text(json)), json);

  BenchReport report;
  report.figures.resize(1);
  report.figures[0].series = {{"short", {1.0, sample::none}, {2.0}, {0.0}, {}, false, true, -1}};
  EXPECT_EQ(to_json(report)["figures"][0]["series"][0], Json::parse(R"({"name": "short", "x": [1.0, null],
    "y": [2.0, null], "lower": [0.0, null], "upper": [], "line": false, "dashed": true, "group": -1})"));
  EXPECT_TRUE(to_json(report)["performance"]["path_steps_per_second"].is_null());
}

TEST(BenchReport, answers_stand_in_the_json_and_in_the_first_table) {
  BenchReport report;
  EXPECT_EQ(to_json(report)["answers"], Json::array());
  EXPECT_EQ(to_json(report)["tables"], Json::array());
  report.tables.push_back({"Fits", "", {"a"}, {{"1"}}});
  Answer said, silent;
  said.id = "slope/1";
  said.question = "Is it linear?";
  said.claim = "yes, source 1";
  said.expected = "yes";
  said.answer = "no";
  said.met = false;
  said.number_is = "exponent";
  said.number = 1.5;
  said.lower = 1.25;
  said.upper = 1.75;
  said.confidence = 0.99;
  said.figure = "Weak error";
  said.experiment = "bench_slope --quick";
  silent.id = "slope/2";
  silent.answer = "nobody knows";
  report.answers = {said, silent};
  const Json json = to_json(report);
  EXPECT_EQ(json["answers"][0], Json::parse(R"({"id": "slope/1", "question": "Is it linear?", "claim": "yes, source 1",
    "expected": "yes", "answer": "no", "met": false, "number_is": "exponent", "number": 1.5, "lower": 1.25,
    "upper": 1.75, "confidence": 0.99, "figure": "Weak error", "experiment": "bench_slope --quick"})"));
  EXPECT_EQ(keys_of(json["answers"][1]), keys_of(json["answers"][0]));
  EXPECT_TRUE(json["answers"][1]["number"].is_null() && json["answers"][1]["confidence"].is_null());
  ASSERT_EQ(json["tables"].size(), 2u);
  const std::vector<std::vector<std::string>> rows = {{"Is it linear?", "yes, source 1", "yes", "no (NOT as expected)",
                                                       "1.5", "[1.25, 1.75]", "exponent (99% interval)"},
                                                      {"", "", "", "nobody knows", "-", "-", ""}};
  EXPECT_EQ(json["tables"][0]["rows"], Json(rows));
  EXPECT_EQ(json["tables"][1]["title"], "Fits");
}

TEST(TableText, aligns_numbers_to_the_right_and_text_to_the_left) {
  EXPECT_EQ(table_text(sample::bench_report().tables[0]),
            "Fitted orders\n"
            "Least squares in log-log coordinates.\n"
            "  integrator             order    paths  note\n"
            "  euler_maruyama  1.02 +- 0.03    65536  as expected\n"
            "  weak2           1.97 +- 0.10  1048576  the smallest steps are not told from zero & are left out\n"
            "  <moment>                   -    x 120\n");
  // Units, signs and gaps are numbers; labels that hold digits and counts in words are not.
  EXPECT_EQ(table_text({"", "", {"a", "b", "c", "d"}, {{"12 ms", "B3", "-1e-5", "4 of 8"}, {"", "12", "<3%", "9"}}}),
            "      a  b       c  d\n"
            "  12 ms  B3  -1e-5  4 of 8\n"
            "         12    <3%  9\n");
}

TEST(TableText, fits_its_width_without_cutting_numbers) {
  Table table{"", "", {"name"}, {{"a rather long name of a row"}, {"b"}}};
  for (int j = 0; j < 12; ++j) {
    table.header.push_back("column " + std::to_string(j));
    for (auto& row : table.rows) row.push_back(std::to_string(1000000 + j));
  }
  for (const int width : {40, 60, 120}) {
    const std::string text = table_text(table, width);
    for (const std::string& line : lines_of(text)) EXPECT_LE(line.size(), static_cast<std::size_t>(width)) << text;
    for (int j = 0; j < 12; ++j) EXPECT_NE(text.find(std::to_string(1000000 + j)), std::string::npos) << text;
  }
  EXPECT_EQ(table_text(table, 40).substr(0, 22), "  name                ");
}

TEST(TableText, copes_with_odd_tables) {
  EXPECT_EQ(table_text({}), "");
  EXPECT_EQ(table_text({"title", "", {}, {}}), "title\n");
  EXPECT_EQ(table_text({"", "", {"a"}, {}}), "  a\n");
  EXPECT_EQ(table_text({"", "", {"a"}, {{"1", "x\x1b[31m"}, {}}}), "  a\n  1  x [31m\n\n");
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
