// SPDX-License-Identifier: Apache-2.0
#include "host/toml_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sstream>

// The only translation unit with toml++ in it. Nesting is bounded here and in line_of_deep_key(), so that neither the
// parser nor any destructor can run out of stack.
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_MAX_NESTED_VALUES 32
#include <toml++/toml.h>

namespace pathbound::toml_reader {
namespace {

constexpr int max_key_parts = 20;
constexpr std::size_t max_problems = 200;

bool is_control(unsigned char c) { return c < 0x20 || c == 0x7f; }

/// A key of more than max_key_parts dotted parts: its line, or 0. Follows strings and comments, nothing else.
std::uint32_t line_of_deep_key(std::string_view text) {
  std::uint32_t line = 1;
  int dots = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      ++line;
      dots = 0;
    } else if (c == '#') {
      while (i + 1 < text.size() && text[i + 1] != '\n') ++i;
    } else if (c == '"' || c == '\'') {
      const bool triple = text.substr(i, 3) == std::string(3, c);
      const std::string_view quote = triple ? text.substr(i, 3) : text.substr(i, 1);
      i += quote.size();
      while (i < text.size() && text.substr(i, quote.size()) != quote) {
        if (text[i] == '\n') {
          if (!triple) break;  // a syntax error: toml++ will say so
          ++line;
        }
        if (text[i] == '\\' && c == '"') ++i;
        ++i;
      }
      i += quote.size() - 1;
      // A multi-line string may end in up to two quotes of its own.
      if (triple) {
        while (i + 1 < text.size() && text[i + 1] == c) ++i;
      }
    } else if (c == '.') {
      if (++dots >= max_key_parts) return line;
    } else if (std::string_view(",=[]{}").find(c) != std::string_view::npos) {
      dots = 0;
    }
  }
  return 0;
}

Node convert(const toml::node& from, int set) {
  Node node;
  node.origin = set >= 0 ? Origin{0, set} : Origin{from.source().begin.line, -1};
  if (const auto* table = from.as_table()) {
    node.type = Node::Type::table;
    node.table.reserve(table->size());
    for (const auto& [key, value] : *table) {
      Entry entry{std::string(key.str()), {key.source().begin.line, -1}, convert(value, set)};
      if (set >= 0) entry.origin = {0, set};
      if (entry.origin.line == 0 && set < 0) entry.origin = entry.value.origin;
      node.table.push_back(std::move(entry));
    }
  } else if (const auto* array = from.as_array()) {
    node.type = Node::Type::array;
    node.array.reserve(array->size());
    for (const auto& value : *array) node.array.push_back(convert(value, set));
  } else if (const auto* text = from.as_string()) {
    node.type = Node::Type::string;
    node.string = text->get();
  } else if (const auto* integer = from.as_integer()) {
    node.type = Node::Type::integer;
    node.integer = integer->get();
  } else if (const auto* floating = from.as_floating_point()) {
    node.type = Node::Type::floating;
    node.floating = floating->get();
  } else if (const auto* boolean = from.as_boolean()) {
    node.type = Node::Type::boolean;
    node.boolean = boolean->get();
  } else {
    node.type = Node::Type::date;
    std::ostringstream out;
    if (const auto* date = from.as_date()) out << date->get();
    if (const auto* time = from.as_time()) out << time->get();
    if (const auto* both = from.as_date_time()) out << both->get();
    node.string = out.str();
  }
  return node;
}

void append_text(const Node& node, std::size_t limit, std::string& out) {
  if (out.size() > limit) return;
  switch (node.type) {
    case Node::Type::table: {
      out += "{";
      for (std::size_t i = 0; i < node.table.size() && out.size() <= limit; ++i) {
        out += (i ? ", " : " ") + printable(node.table[i].key, limit) + " = ";
        append_text(node.table[i].value, limit, out);
      }
      out += node.table.empty() ? "}" : " }";
      break;
    }
    case Node::Type::array: {
      out += "[";
      for (std::size_t i = 0; i < node.array.size() && out.size() <= limit; ++i) {
        if (i) out += ", ";
        append_text(node.array[i], limit, out);
      }
      out += "]";
      break;
    }
    case Node::Type::string:
      out += '"' + printable(node.string, limit + 1) + '"';
      break;
    case Node::Type::integer:
      out += fmt::format("{}", node.integer);
      break;
    case Node::Type::floating:
      out += number_text(node.floating);
      break;
    case Node::Type::boolean:
      out += node.boolean ? "true" : "false";
      break;
    case Node::Type::date:
      out += node.string;
      break;
  }
}

/// Cuts at a code point boundary and marks the cut.
std::string shortened(std::string text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t end = limit > 3 ? limit - 3 : 0;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text + "...";
}

/// Edit distance with transpositions, ignoring case.
int edit_distance(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  const std::size_t width = b.size() + 1;
  std::vector<int> d((a.size() + 1) * width);
  for (std::size_t i = 0; i <= a.size(); ++i) d[i * width] = static_cast<int>(i);
  for (std::size_t j = 0; j <= b.size(); ++j) d[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const char x = lower(a[i - 1]), y = lower(b[j - 1]);
      int best =
          std::min({d[(i - 1) * width + j] + 1, d[i * width + j - 1] + 1, d[(i - 1) * width + j - 1] + (x != y)});
      if (i > 1 && j > 1 && x == lower(b[j - 2]) && lower(a[i - 2]) == y)
        best = std::min(best, d[(i - 2) * width + j - 2] + 1);
      d[i * width + j] = best;
    }
  }
  return d.back();
}

}  // namespace

const Entry* Node::find(std::string_view key) const {
  for (const Entry& entry : table)
    if (entry.key == key) return &entry;
  return nullptr;
}

Entry* Node::find(std::string_view key) { return const_cast<Entry*>(std::as_const(*this).find(key)); }

bool parse_toml(std::string_view text, int set, Node& root, SyntaxError& error) {
  if (const std::uint32_t line = line_of_deep_key(text)) {
    error = {line, 0, fmt::format("a key of more than {} dotted parts", max_key_parts)};
    return false;
  }
  const toml::parse_result result = toml::parse(text);
  if (!result) {
    const toml::parse_error& failure = result.error();
    error = {failure.source().begin.line, failure.source().begin.column, printable(failure.description(), 400)};
    return false;
  }
  root = convert(result.table(), set);
  return true;
}

std::size_t first_invalid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t n) { return n < text.size() ? static_cast<unsigned char>(text[n]) : 0u; };
    const unsigned c = byte(i);
    const std::size_t length = c < 0x80                ? 1
                               : c >= 0xC2 && c < 0xE0 ? 2
                               : (c & 0xF0) == 0xE0    ? 3
                               : c >= 0xF0 && c < 0xF5 ? 4
                                                       : 0;
    if (length == 0 || i + length > text.size()) return i;
    for (std::size_t n = 1; n < length; ++n)
      if ((byte(i + n) & 0xC0) != 0x80) return i;
    const bool overlong = (c == 0xE0 && byte(i + 1) < 0xA0) || (c == 0xF0 && byte(i + 1) < 0x90);
    const bool surrogate = c == 0xED && byte(i + 1) >= 0xA0;
    const bool too_large = c == 0xF4 && byte(i + 1) >= 0x90;
    if (overlong || surrogate || too_large) return i;
    i += length;
  }
  return std::string_view::npos;
}

std::string number_text(double x) {
  std::string text = fmt::format("{}", x);
  if (std::isfinite(x) && text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string to_text(const Node& node, std::size_t limit) {
  std::string text;
  append_text(node, limit, text);
  return shortened(std::move(text), limit);
}

std::string printable(std::string_view text, std::size_t limit) {
  std::string out;
  for (const char c : text.substr(0, limit + 1)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == '\n') {
      out += "\\n";
    } else if (byte == '\t') {
      out += "\\t";
    } else if (is_control(byte)) {
      out += fmt::format("\\u{:04X}", byte);
    } else {
      out += c;
    }
  }
  return text.size() > limit || out.size() > limit ? shortened(std::move(out), limit) : out;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  if (word.size() < 3 || word.size() > 40) return "";
  std::string best;
  int best_distance = 1 + static_cast<int>(word.size()) / 3;  // further away is another word
  for (const std::string& candidate : candidates) {
    if (candidate.size() > 80) continue;
    const int distance = edit_distance(word, candidate);
    if (distance < best_distance || (distance == best_distance && best.empty())) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

std::string Problems::location(const Origin& where) const {
  if (where.set >= 0) return "--set " + printable(sets_[static_cast<std::size_t>(where.set)], 120);
  return where.line > 0 ? fmt::format("{}:{}", source_, where.line) : source_;
}

bool Problems::full() const { return found_.size() >= 10 * max_problems; }

void Problems::insert(int group, std::int64_t order, std::string text) {
  if (full()) return;
  if (seen_.insert(text).second) found_.push_back({group, order, std::move(text)});
}

void Problems::add(const Origin& where, const std::string& text) {
  const int group = where.set >= 0 ? 2 : where.line > 0 ? 0 : 1;
  insert(group, group == 2 ? where.set : where.line, location(where) + ": " + text);
}

void Problems::value(const Origin& where, const std::string& path, const Node& node, const std::string& text) {
  add(where, fmt::format("key '{}' = {}: {}", printable(path, 120), to_text(node), text));
}

void Problems::missing(const Origin& where, const std::string& path, const std::string& text) {
  add(where, fmt::format("key '{}' is missing: {}", printable(path, 120), text));
}

void Problems::add_plain(const std::string& text) { insert(3, 0, text); }

std::string Problems::text() const {
  std::vector<Problem> sorted = found_;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Problem& a, const Problem& b) {
    return std::pair(a.group, a.order) < std::pair(b.group, b.order);
  });
  std::string out;
  for (std::size_t i = 0; i < sorted.size() && i < max_problems; ++i) out += (i ? "\n" : "") + sorted[i].text;
  if (sorted.size() > max_problems)
    out += fmt::format("\n{}: and {} more problems", source_, sorted.size() - max_problems);
  return out;
}

}  // namespace pathbound::toml_reader
