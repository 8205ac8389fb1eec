// SPDX-License-Identifier: Apache-2.0
#include "host/figures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "host/output_text.hpp"

namespace pathbound {
namespace {

using Json = nlohmann::ordered_json;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// "1.2e-5", "0.1 +- 0.02", "x 120", "<3", "12 ms": numbers, signs, and a unit at the end. "B3" and "4 of 8" are text.
/// report_template.html has the same rule.
bool is_number(std::string_view cell) {
  bool any = false;
  for (std::size_t start = 0; start < cell.size();) {
    const std::size_t end = std::min(cell.find(' ', start), cell.size());
    const std::string_view word = cell.substr(start, end - start);
    start = end + 1;
    const auto first = std::find_if(word.begin(), word.end(), [](char c) {
      return is_digit(c) || (is_letter(c) && c != 'x');  // x 120, x120
    });
    const bool number = first != word.end() && is_digit(*first);
    const bool unit = any && start > cell.size();
    if (!number && !unit && first != word.end()) return false;
    any = any || number;
  }
  return any;
}

bool is_gap(std::string_view cell) {
  return cell.empty() || cell == "-" || cell == "inf" || cell == "-inf" || cell == "nan";
}

Json to_json(const Answer& answer) {
  Json json;
  json["id"] = answer.id;
  json["question"] = answer.question;
  json["claim"] = answer.claim;
  json["expected"] = answer.expected;
  json["answer"] = answer.answer;
  json["met"] = answer.met;
  json["number_is"] = answer.number_is;
  json["number"] = json_number(answer.number);
  json["lower"] = json_number(answer.lower);
  json["upper"] = json_number(answer.upper);
  json["confidence"] = json_number(answer.confidence);
  json["figure"] = answer.figure;
  json["experiment"] = answer.experiment;
  return json;
}

}  // namespace

Table answers_table(const std::vector<Answer>& answers) {
  Table table;
  table.title = "Answers";
  table.header = {"question", "claim", "expected", "answer", "number", "interval", "what the number is"};
  for (const Answer& one : answers) {
    const bool interval = !std::isnan(one.lower) || !std::isnan(one.upper);
    table.rows.push_back({one.question, one.claim, one.expected,
                          one.met ? one.answer : one.answer + " (NOT as expected)", short_number(one.number),
                          interval ? fmt::format("[{}, {}]", short_number(one.lower), short_number(one.upper)) : "-",
                          interval && !std::isnan(one.confidence)
                              ? fmt::format("{} ({:.4g}% interval)", one.number_is, 100.0 * one.confidence)
                              : one.number_is});
  }
  return table;
}

Json to_json(const BenchReport& report) {
  Json json;
  json["schema"] = 1;
  json["title"] = report.title;
  json["summary"] = report.summary;
  json["environment"] = to_json(report.environment);
  json["answers"] = Json::array();
  for (const Answer& answer : report.answers) json["answers"].push_back(to_json(answer));
  json["tables"] = Json::array();
  const auto add_table = [&](const Table& table) {
    json["tables"].push_back(
        {{"title", table.title}, {"caption", table.caption}, {"header", table.header}, {"rows", table.rows}});
  };
  if (!report.answers.empty()) add_table(answers_table(report.answers));
  for (const Table& table : report.tables) add_table(table);
  json["figures"] = Json::array();
  for (const Figure& figure : report.figures) {
    Json series = Json::array();
    for (const FigureSeries& one : figure.series) {
      const std::size_t n = one.x.size();
      Json item;
      item["name"] = one.name;
      item["x"] = json_numbers(one.x, n);
      item["y"] = json_numbers(one.y, n);
      item["lower"] = json_numbers(one.lower, one.lower.empty() ? 0 : n);
      item["upper"] = json_numbers(one.upper, one.upper.empty() ? 0 : n);
      item["line"] = one.line;
      item["dashed"] = one.dashed;
      item["group"] = one.group;
      series.push_back(std::move(item));
    }
    Json item;
    item["title"] = figure.title;
    item["caption"] = figure.caption;
    item["x_label"] = figure.x_label;
    item["y_label"] = figure.y_label;
    item["log_x"] = figure.log_x;
    item["log_y"] = figure.log_y;
    item["series"] = std::move(series);
    json["figures"].push_back(std::move(item));
  }
  json["performance"] = to_json(report.performance);
  return json;
}

std::string table_text(const Table& table, int width) {
  const std::size_t limit = static_cast<std::size_t>(std::max(width, 40));
  std::size_t n = table.header.size();
  for (const auto& row : table.rows) n = std::max(n, row.size());
  std::vector<Column> columns(n);
  for (std::size_t j = 0; j < n; ++j) {
    if (j < table.header.size()) columns[j].header = printable(table.header[j]);
    bool any_number = false, any_text = false;
    for (const auto& row : table.rows) {
      std::string cell = j < row.size() ? printable(row[j]) : "";
      any_number = any_number || is_number(cell);
      any_text = any_text || (!is_number(cell) && !is_gap(cell));
      columns[j].cells.push_back(std::move(cell));
    }
    columns[j].right = any_number && !any_text;
  }

  std::string out;
  if (!table.title.empty()) out += wrapped(printable(table.title), 0, limit);
  if (!table.caption.empty()) out += wrapped(printable(table.caption), 0, limit);
  if (n == 0) return out;
  // A cut number would be a wrong one: only text gets shorter, the widest first.
  std::vector<std::size_t> texts;
  for (std::size_t j = 0; j < n; ++j) {
    if (!columns[j].right) texts.push_back(j);
  }
  std::stable_sort(texts.begin(), texts.end(),
                   [&](std::size_t a, std::size_t b) { return columns[a].width() > columns[b].width(); });
  const std::vector<Column> whole = columns;
  for (const std::size_t j : texts) squeeze(columns, j, limit, 12);
  if (table_width(columns) > limit) {
    columns = whole;
    for (const std::size_t j : texts) {
      for (std::string& cell : columns[j].cells) cell = shortened(cell, limit / 2 - table_margin);
    }
  }
  // What is still too wide continues below, the first column repeated.
  for (std::size_t next = 1; next <= n;) {
    std::vector<Column> block = {columns[0]};
    const std::size_t begin = next;
    while (next < n && (next == begin || table_width(block) + table_margin + columns[next].width() <= limit)) {
      block.push_back(columns[next++]);
    }
    if (begin > 1) out += "\n";
    for (std::size_t line = 0; line <= table.rows.size(); ++line) out += table_line(block, line);
    if (next >= n) break;
  }
  return out;
}

}  // namespace pathbound
