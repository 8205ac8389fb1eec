// SPDX-License-Identifier: Apache-2.0
// report.html: escaping, independence from the network, and what a browser makes of it.
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

#include "host/figures.hpp"
#include "host/results.hpp"
#include "tests/sample_results.hpp"

namespace pathbound {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

std::size_t count_of(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size())) ++n;
  return n;
}

/// The JSON between the tags of the data element.
std::string embedded_data(const std::string& page) {
  const std::string open = "<script type=\"application/json\" id=\"results\">";
  const std::size_t begin = page.find(open) + open.size();
  return page.substr(begin, page.find("</script>", begin) - begin);
}

TEST(Report, holds_the_results_and_the_chart_library) {
  const Json json = to_json(sample::results());
  const std::string page = render_report(json);
  EXPECT_EQ(Json::parse(embedded_data(page)), json);
  EXPECT_NE(page.find("Chart.js v3."), std::string::npos);
  for (const char* mark : {"@TITLE@", "@DATA@", "@CHART_JS@"}) EXPECT_EQ(page.find(mark), std::string::npos) << mark;
}

TEST(Report, depends_on_the_json_alone) {
  const Json json = to_json(sample::results());
  EXPECT_EQ(render_report(json), render_report(Json::parse(to_text(json))));
}

TEST(Report, user_strings_cannot_become_markup) {
  Results results = sample::results();
  const std::string evil =
      "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> @DATA@ @CHART_JS@ & \"'";
  const std::string usual = render_report(to_json(results));
  results.experiment.title = evil;
  for (Curve& curve : results.curves) curve.name += evil;
  for (Verdict& verdict : results.bounds) {
    verdict.config.curve += evil;
    verdict.reason = evil;
  }
  const Json json = to_json(results);
  const std::string page = render_report(json);
  EXPECT_EQ(count_of(page, "<script"), count_of(usual, "<script"));
  EXPECT_EQ(count_of(page, "</script"), count_of(usual, "</script"));
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(Json::parse(embedded_data(page)), json);
  EXPECT_NE(page.find("<h1>&lt;/script&gt;&lt;script&gt;alert(1)"), std::string::npos);
}

TEST(Report, refers_to_nothing_outside_itself) {
  const std::string page = render_report(to_json(sample::results()));
  // Attributes and functions that fetch; the licence notice may name a web site in a comment.
  EXPECT_FALSE(std::regex_search(page, std::regex("(src|href|action)\\s*=\\s*[\"']?(https?:)?//", std::regex::icase)));
  EXPECT_EQ(page.find("<link"), std::string::npos);
  EXPECT_EQ(page.find("@import"), std::string::npos);
  EXPECT_EQ(page.find("fetch("), std::string::npos);
  EXPECT_EQ(page.find("XMLHttpRequest"), std::string::npos);
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
}

TEST(Report, copes_with_incomplete_json) {
  EXPECT_NE(render_report(Json::object()).find("<h1>Results</h1>"), std::string::npos);
  EXPECT_NE(render_report(Json{{"title", "a\xFF"}}).find("a\xEF\xBF\xBD"), std::string::npos);
}

TEST(Report, holds_a_benchmarks_tables_and_figures) {
  const Json json = to_json(sample::bench_report());
  const std::string page = render_report(json);
  EXPECT_EQ(Json::parse(embedded_data(page)), json);
  EXPECT_NE(page.find("<h1>Weak order of &lt;three&gt; integrators</h1>"), std::string::npos);
  EXPECT_EQ(page.find("<moment>"), std::string::npos);
}

// ---- in a browser ----

std::string browser() {
  for (const char* name : {"chromium", "chromium-browser", "google-chrome"}) {
    if (std::system((std::string("command -v ") + name + " >/dev/null 2>&1").c_str()) == 0) return name;
  }
  return "";
}

/// Loads pages in frames of given widths, tries every control, and writes what it finds into the document as JSON.
class ReportInBrowser : public testing::Test {
 protected:
  void SetUp() override {
    program = browser();
    if (program.empty()) GTEST_SKIP() << "no chromium here: the report is not tried in a browser";
    std::string name = (fs::temp_directory_path() / "pathbound-report-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    scratch = name;
  }
  void TearDown() override {
    if (!scratch.empty()) fs::remove_all(scratch);
  }

  /// Adds a script to the page that reports to the outer document, and returns what it says. `log`: the console.
  Json inspect(const Json& results, int width, std::string& log) {
    std::string page = render_report(results);
    const std::string probe = R"js(<script>
      const errors = [];
      addEventListener('securitypolicyviolation', (e) => errors.push('blocked ' + e.blockedURI));
      addEventListener('error', (e) => errors.push(e.message));
      addEventListener('load', () => {
        const painted = () => [...document.querySelectorAll('canvas')].map((canvas) => {
          const copy = document.createElement('canvas');
          copy.width = canvas.width;
          copy.height = canvas.height;
          const context = copy.getContext('2d', {willReadFrequently: true});
          context.drawImage(canvas, 0, 0);
          const data = context.getImageData(0, 0, copy.width, copy.height).data;
          let n = 0;
          for (let i = 3; i < data.length; i += 4) n += data[i] !== 0;
          return n;
        });
        const first = painted();
        const images = () => [...document.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL());
        const before = images();
        let changed = 0, least = Infinity;
        for (const input of document.querySelectorAll('input[type=radio]')) {
          input.click();
          least = Math.min(least, ...painted());
          changed += images().some((image, i) => image !== before[i]);
        }
        for (const key of document.querySelectorAll('button.key')) {
          key.click();
          if (key.getAttribute('aria-pressed') !== 'false') errors.push('legend entry does not toggle');
          key.click();
        }
        for (const details of document.querySelectorAll('details')) details.open = true;
        parent.postMessage(JSON.stringify({
          ready: document.documentElement.dataset.ready, errors, painted: first, least, changed,
          overflow: document.documentElement.scrollWidth - innerWidth, width: innerWidth,
          requests: performance.getEntriesByType('resource').length,
          unlabelled: document.querySelectorAll('canvas:not([aria-label])').length,
          headline: document.querySelector('h1').textContent, tables: document.querySelectorAll('table').length,
          rows: document.querySelectorAll('#bounds tbody').length,
          models: document.querySelectorAll('#models tbody').length,
          sections: [...document.querySelectorAll('main section')].map((node) => node.id),
          numbers: document.querySelectorAll('#table-0 td.num').length, text: document.body.innerText}), '*');
      });
    </script>)js";
    page.insert(page.rfind("<script>\n'use strict'"), probe);
    std::ofstream(scratch / "report.html") << page;
    std::ofstream(scratch / "frame.html")
        << "<!doctype html><body><iframe src=report.html style='width:" << width
        << "px;height:1200px;border:0'></iframe><script>addEventListener('message', (e) => {"
           "const found = document.createElement('pre'); found.id = 'found';"
           "found.textContent = btoa(unescape(encodeURIComponent(e.data))); document.body.append(found);});</script>";
    const std::string out = (scratch / "dom.txt").string(), err = (scratch / "log.txt").string();
    // The profile lies in the scratch directory, so that nothing of the user's is read or changed.
    const std::string command = "timeout 90 " + program + " --headless --no-sandbox --disable-gpu --no-first-run" +
                                " --disable-dev-shm-usage --user-data-dir=" + (scratch / "profile").string() +
                                " --enable-logging=stderr --virtual-time-budget=10000 --window-size=1400,1300" +
                                " --dump-dom file://" + (scratch / "frame.html").string() + " >" + out + " 2>" + err;
    const int status = std::system(command.c_str());
    EXPECT_EQ(status, 0);
    log = text_of(err);
    const std::string dom = text_of(out);
    std::smatch match;
    if (!std::regex_search(dom, match, std::regex("<pre id=\"found\">([A-Za-z0-9+/=]*)</pre>"))) {
      ADD_FAILURE() << "the page said nothing\n" << log;
      return Json::object();
    }
    return Json::parse(decoded(match[1].str()));
  }

  static std::string text_of(const std::string& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  static std::string decoded(const std::string& base64) {
    const std::string letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    unsigned bits = 0;
    int n = 0;
    for (const char c : base64) {
      if (c == '=') break;
      bits = bits << 6 | static_cast<unsigned>(letters.find(c));
      if ((n += 6) >= 8) out += static_cast<char>(bits >> (n -= 8) & 0xFF);
    }
    return out;
  }

  std::string program;
  fs::path scratch;
};

TEST_F(ReportInBrowser, draws_everything_without_errors_or_requests) {
  const Results results = sample::results();
  for (const int width : {1280, 390}) {
    std::string log;
    const Json found = inspect(to_json(results), width, log);
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found["ready"], "true");
    EXPECT_EQ(found["errors"], Json::array()) << found["errors"];
    EXPECT_EQ(log.find("CONSOLE"), std::string::npos) << log;
    EXPECT_EQ(found["requests"], 0);
    EXPECT_EQ(found["width"], width);
    EXPECT_LE(found["overflow"], 0) << "the page scrolls sideways at " << width;
    ASSERT_EQ(found["painted"].size(), 5u);
    for (const Json& pixels : found["painted"]) EXPECT_GT(pixels, 1000);
    EXPECT_GT(found["least"], 1000) << "a control emptied a chart";
    EXPECT_GT(found["changed"], 3);
    EXPECT_EQ(found["unlabelled"], 0);
    EXPECT_EQ(found["headline"], results.experiment.title);
    EXPECT_EQ(found["rows"], results.bounds.size());
    const std::string text = found["text"];
    for (const Verdict& verdict : results.bounds) EXPECT_NE(text.find(verdict.reason), std::string::npos);
    EXPECT_NE(text.find(results.curves[3].variance_reason), std::string::npos);
  }
}

TEST_F(ReportInBrowser, draws_models_beside_their_methods) {
  const Results results = sample::results_with_models();
  for (const int width : {1280, 400}) {
    std::string log;
    const Json found = inspect(to_json(results), width, log);
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found["ready"], "true");
    EXPECT_EQ(found["errors"], Json::array()) << found["errors"];
    EXPECT_EQ(log.find("CONSOLE"), std::string::npos) << log;
    EXPECT_EQ(found["requests"], 0);
    EXPECT_LE(found["overflow"], 0) << "the page scrolls sideways at " << width;
    // The five charts of every report, and one of the models of dcsgd; those of the heavy curve have no numbers.
    ASSERT_EQ(found["painted"].size(), 6u);
    for (const Json& pixels : found["painted"]) EXPECT_GT(pixels, 1000);
    EXPECT_GT(found["least"], 1000) << "a control emptied a chart";
    EXPECT_EQ(found["unlabelled"], 0);
    EXPECT_EQ(found["models"], results.comparisons.size());
    const std::string text = found["text"];
    for (const char* said : {"dcsgd-sde (model of dcsgd)", "0.2143 \u00b1 0.0030", "not resolved", "more substeps",
                             "nothing to compare", "its integrator"}) {
      EXPECT_NE(text.find(said), std::string::npos) << said;
    }
    // The page shows what results.json says of them, and decides nothing itself.
    const Json json = to_json(results);
    for (const Json& comparison : json["comparisons"]) {
      for (const Json& remark : comparison["remarks"]) {
        EXPECT_NE(text.find(remark.get<std::string>()), std::string::npos) << remark;
      }
    }
    Json other = json;
    for (Json& comparison : other["comparisons"]) {
      comparison["resolved"] = true;
      comparison["remarks"] = {"a sentence of results.json"};
      comparison["mean_is"] = "restricted";
    }
    const std::string changed = inspect(other, width, log)["text"];
    EXPECT_EQ(changed.find("not resolved"), std::string::npos);
    EXPECT_NE(changed.find("a sentence of results.json"), std::string::npos);
    EXPECT_NE(changed.find("0.2143 \u00b1 0.0030 *"), std::string::npos);
    EXPECT_NE(changed.find("* over the paths that have not diverged"), std::string::npos);
    EXPECT_NE(text.find(results.comparisons[2].notes[0]), std::string::npos);
  }
}

TEST_F(ReportInBrowser, draws_benchmarks) {
  BenchReport report = sample::bench_report();
  // A figure without a number, a table without a row, and more columns than the page has room for.
  report.figures.push_back({"Nothing", "", "x", "y", true, true, {{"none", {0.0}, {sample::none}, {}, {}}}});
  report.tables.push_back({"Empty", "", {"a", "b"}, {}});
  report.tables.push_back({"Wide", "", std::vector<std::string>(40, "column"), {std::vector<std::string>(40, "123")}});
  for (const int width : {1280, 400}) {
    std::string log;
    const Json found = inspect(to_json(report), width, log);
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found["ready"], "true");
    EXPECT_EQ(found["errors"], Json::array()) << found["errors"];
    EXPECT_EQ(log.find("CONSOLE"), std::string::npos) << log;
    EXPECT_EQ(found["requests"], 0);
    EXPECT_LE(found["overflow"], 0) << "the page scrolls sideways at " << width;
    ASSERT_EQ(found["painted"].size(), 3u);
    EXPECT_GT(found["painted"][0], 1000);
    EXPECT_GT(found["painted"][1], 1000);
    EXPECT_EQ(found["unlabelled"], 0);
    EXPECT_EQ(found["headline"], report.title);
    EXPECT_EQ(found["sections"], Json::parse(R"(["table-0", "table-1", "table-2", "figure-0-card", "figure-1-card",
                                                 "figure-2-card", "environment"])"));
    EXPECT_EQ(found["numbers"], 6);  // "order" and "paths" of three rows
    const std::string text = found["text"];
    for (const std::string& said : {report.summary, std::string("1.02 \u00b1 0.03"), report.figures[0].caption}) {
      EXPECT_NE(text.find(said), std::string::npos) << said;
    }
  }
}

TEST_F(ReportInBrowser, copes_with_odd_results) {
  Results results = sample::results();
  // Nothing positive, nothing at all, numbers near overflow, one checkpoint, and a bound on no curve.
  for (double& x : results.curves[0].mean) x = -1.0;
  for (double& x : results.curves[1].mean) x = sample::none;
  for (double& x : results.curves[2].mean) x *= 1e300;
  Curve single = results.curves[3];
  single.name = "single";
  for (std::vector<double>* series : {&single.time, &single.mean, &single.standard_error, &single.lower, &single.upper,
                                      &single.min, &single.max, &single.grad_norm, &single.regime}) {
    series->resize(1);
  }
  for (auto& quantile : single.quantiles) quantile.resize(1);
  single.step.resize(1);
  single.finite.resize(1);
  results.curves.push_back(single);
  results.bounds[0].config.curve = "gone";
  Results models = sample::results_with_models();
  models.comparisons[0].method = "gone";
  models.curves[5].name = "renamed";
  models.comparisons[1].weak_error.assign(51, 0.0);
  models.experiment.curves[4].model->of = "gone";
  const Json sparse = Json::parse(R"({"figures": [{"series": [{"x": [1, 2], "y": [3, null]}]}], "tables": [{}]})");
  for (const Json& json : {to_json(results), to_json(Results()), to_json(models), sparse}) {
    std::string log;
    const Json found = inspect(json, 390, log);
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found["ready"], "true");
    EXPECT_EQ(found["errors"], Json::array()) << found["errors"];
    EXPECT_EQ(log.find("CONSOLE"), std::string::npos) << log;
    EXPECT_LE(found["overflow"], 0);
  }
}

}  // namespace
}  // namespace pathbound
