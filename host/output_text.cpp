// SPDX-License-Identifier: Apache-2.0
#include "host/output_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

namespace pathbound {

using Json = nlohmann::ordered_json;

std::string shortest(double x) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), x).ptr;
  return std::string(buffer.data(), end);
}

Json json_number(double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); }

Json json_numbers(const std::vector<double>& values, std::size_t n) {
  Json array = Json::array();
  for (std::size_t i = 0; i < n; ++i) array.push_back(i < values.size() ? json_number(values[i]) : Json(nullptr));
  return array;
}

double number_at(const std::vector<double>& values, std::size_t i) { return i < values.size() ? values[i] : NAN; }

std::string short_number(double x) { return std::isnan(x) ? "-" : fmt::format("{:.4g}", x); }

std::string ratio_text(double x) {
  if (std::isnan(x)) return "-";
  return x >= 0.01 && x < 1000.0 ? fmt::format("{:.4f}", x) : fmt::format("{:.3e}", x);
}

std::string with_error(double mean, double error) {
  if (!std::isfinite(mean) || !std::isfinite(error)) return short_number(mean);
  if (error <= 0.0 || mean == 0.0) return fmt::format("{:.6g} +- {:.2g}", mean, error);
  const int size = static_cast<int>(std::floor(std::log10(std::fabs(mean))));
  const int decimals = 1 - static_cast<int>(std::floor(std::log10(error)));
  if (size >= -3 && size < 6 && decimals <= 9) {
    const int shown = std::max(decimals, 0);
    return fmt::format("{:.{}f} +- {:.{}f}", mean, shown, error, shown);
  }
  return fmt::format("{:.{}e} +- {:.1e}", mean, std::clamp(size + decimals, 0, 16), error);
}

std::size_t text_width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  return out;
}

std::string shortened(std::string_view text, std::size_t width) {
  if (text_width(text) <= width) return std::string(text);
  const std::size_t keep = width > 2 ? width - 2 : 0;
  std::size_t columns = 0, end = 0;
  while (end < text.size()) {
    const bool starts_character = (static_cast<unsigned char>(text[end]) & 0xC0) != 0x80;
    if (starts_character && ++columns > keep) break;
    ++end;
  }
  return std::string(text.substr(0, end)) + "..";
}

static std::string padded(std::string_view text, std::size_t width, bool right) {
  const std::size_t columns = text_width(text);
  const std::string space(width > columns ? width - columns : 0, ' ');
  return right ? space + std::string(text) : std::string(text) + space;
}

std::string wrapped(std::string_view text, std::size_t indent, std::size_t width) {
  const std::string margin(indent, ' ');
  std::string out, line;
  std::size_t start = 0;
  const auto flush = [&] {
    if (!line.empty()) out += margin + line + "\n";
    line.clear();
  };
  while (start < text.size()) {
    const std::size_t end = std::min(text.find(' ', start), text.size());
    const std::string_view word = text.substr(start, end - start);
    start = end + 1;
    if (word.empty()) continue;
    if (!line.empty() && indent + text_width(line) + 1 + text_width(word) > width) flush();
    if (!line.empty()) line += ' ';
    line += word;
  }
  flush();
  return out;
}

std::size_t Column::width() const {
  std::size_t widest = text_width(header);
  for (const std::string& cell : cells) widest = std::max(widest, text_width(cell));
  return widest;
}

std::size_t table_width(const std::vector<Column>& columns) {
  std::size_t total = 0;
  for (const Column& column : columns) total += table_margin + column.width();
  return total;
}

std::string table_line(const std::vector<Column>& columns, std::size_t line, char mark) {
  std::string out;
  for (const Column& column : columns) {
    out += std::string(table_margin, ' ');
    out += padded(line == 0 ? column.header : column.cells[line - 1], column.width(), column.right);
  }
  out[0] = mark;
  out.erase(out.find_last_not_of(' ') + 1);
  return out + "\n";
}

void squeeze(std::vector<Column>& columns, std::size_t which, std::size_t width, std::size_t least) {
  const std::size_t total = table_width(columns);
  if (total <= width) return;
  Column& column = columns[which];
  const std::size_t now = column.width(), excess = total - width;
  const std::size_t target = std::max({least, text_width(column.header), now > excess ? now - excess : 0});
  for (std::string& cell : column.cells) cell = shortened(cell, target);
}

void drop(std::vector<Column>& columns, std::string_view header) {
  std::erase_if(columns, [&](const Column& column) { return column.header == header; });
}

}  // namespace pathbound
