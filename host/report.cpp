// SPDX-License-Identifier: Apache-2.0
// report.html: the page template with Chart.js and the results.json of a run or a benchmark put in their places.
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "host/results.hpp"

namespace pathbound {

// Defined in the source that cmake/embed_report.cmake generates from host/report_template.html and chart.min.js.
extern const std::string_view report_template;
extern const std::string_view report_chart_js;

namespace {

std::string html_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// JSON that may stand inside a script element: neither "</script" nor "<!--" can occur. In JSON these characters
/// appear in strings only, where the escape means the same.
std::string script_json(const nlohmann::ordered_json& json) {
  std::string out;
  for (const char c : to_text(json)) {
    switch (c) {
      case '<':
        out += "\\u003c";
        break;
      case '>':
        out += "\\u003e";
        break;
      case '&':
        out += "\\u0026";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace

std::string render_report(const nlohmann::ordered_json& results) {
  std::string title = results.value("title", std::string());
  if (title.empty()) title = "Results";
  // Through the JSON writer, which replaces what is not UTF-8.
  const auto text =
      nlohmann::ordered_json(title).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  title = html_escaped(nlohmann::ordered_json::parse(text).get<std::string>());

  const std::string data = script_json(results);
  struct Slot {
    std::string_view mark, content;
  };
  const std::array<Slot, 3> slots = {{{"@TITLE@", title}, {"@DATA@", data}, {"@CHART_JS@", report_chart_js}}};

  // One pass over the template: a mark inside the inserted text (a title "@DATA@") is not looked at again.
  std::string page;
  page.reserve(report_template.size() + report_chart_js.size() + data.size() + 2 * title.size());
  std::string_view rest = report_template;
  while (!rest.empty()) {
    std::size_t first = std::string_view::npos;
    const Slot* next = nullptr;
    for (const Slot& slot : slots) {
      if (const std::size_t place = rest.find(slot.mark); place < first) {
        first = place;
        next = &slot;
      }
    }
    page += rest.substr(0, first);
    if (next == nullptr) break;
    page += next->content;
    rest.remove_prefix(first + next->mark.size());
  }
  return page;
}

}  // namespace pathbound
