// SPDX-License-Identifier: Apache-2.0
#include "host/data_file.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <string_view>

#include "host/experiment.hpp"

namespace pathbound {
namespace {

constexpr double largest_magnitude = 1e15;  // its square times 2^24 rows still has room in double and float gradients
constexpr std::string_view blanks = " \t\r\f\v";

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

/// Whether the text is a number as C writes it, nan and inf included (the caller refuses those with a better message).
bool parse_number(std::string_view text, double& value) {
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  if (text.empty() || text.front() == '+') return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range && end == text.data() + text.size()) {
    value = text.find("e-") != std::string_view::npos || text.find("E-") != std::string_view::npos ? 0.0 : HUGE_VAL;
    return true;
  }
  return error == std::errc{} && end == text.data() + text.size();
}

/// A cell in a message: short, printable.
std::string shown(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 40)) out += (c >= ' ' && c < 127) ? c : '?';
  return text.size() > 40 ? out + "..." : out;
}

class Reader {
 public:
  Reader(const std::string& file, int dim) : file_(file), dim_(static_cast<std::size_t>(dim)) {}

  DataSet read() {
    std::ifstream in(file_, std::ios::binary);
    if (!in) throw InputError(fmt::format("{}: the data file cannot be opened (key objective.file)", file_));
    std::string line;
    bool first = true;
    while (std::getline(in, line)) {
      ++line_;
      std::string_view text = line;
      if (line_ == 1 && text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3);
      text = trimmed(text.substr(0, text.find('#')));
      if (text.empty()) continue;
      if (first) libsvm_ = is_libsvm(text);
      if (libsvm_) {
        read_libsvm(text);
      } else {
        read_csv(text, first);
      }
      first = false;
    }
    if (in.bad()) throw InputError(fmt::format("{}:{}: the data file cannot be read", file_, line_));
    if (data_.labels.empty()) throw InputError(fmt::format("{}: the data file has no data rows", file_));
    data_.n_rows = static_cast<int>(data_.labels.size());
    return std::move(data_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw InputError(fmt::format("{}:{}: {}", file_, line_, what));
  }

  bool is_libsvm(std::string_view first_row) const {
    const std::string_view name = file_;
    const auto ends_with = [&](std::string_view end) { return name.size() >= end.size() && name.ends_with(end); };
    if (ends_with(".csv") || ends_with(".CSV")) return false;
    if (ends_with(".libsvm") || ends_with(".svm") || ends_with(".svmlight")) return true;
    return first_row.find(':') != std::string_view::npos;
  }

  double checked(std::string_view text, const std::string& what) const {
    double value = 0.0;
    if (!parse_number(text, value)) fail(fmt::format("{} \"{}\" is not a number", what, shown(text)));
    if (!std::isfinite(value) || std::fabs(value) > largest_magnitude) {
      fail(fmt::format("{} \"{}\" is out of range (must be finite, of magnitude at most 1e15)", what, shown(text)));
    }
    return value;
  }

  void start_row() {
    if ((data_.labels.size() + 1) * dim_ > max_data_entries) {
      fail(fmt::format("too much data (rows x dim must be at most 2^24 = {}; dim = {})", max_data_entries, dim_));
    }
  }

  void read_csv(std::string_view text, bool first) {
    cells_.clear();
    for (std::size_t begin = 0;;) {
      const auto comma = text.find(',', begin);
      cells_.push_back(trimmed(text.substr(begin, comma == std::string_view::npos ? comma : comma - begin)));
      if (comma == std::string_view::npos) break;
      begin = comma + 1;
    }
    if (first) {
      bool any_number = false;
      double ignored = 0.0;
      for (const auto cell : cells_) any_number = any_number || parse_number(cell, ignored);
      columns_ = cells_.size();
      if (columns_ != dim_ + 1) {
        fail(fmt::format(
            "{} column(s), so {} feature(s) and the label, but objective.dim = {} (dim must equal the number "
            "of features)",
            columns_, columns_ - 1, dim_));
      }
      if (!any_number) return;  // a header
    }
    if (cells_.size() != columns_) {
      fail(fmt::format("{} columns where the first row has {}", cells_.size(), columns_));
    }
    start_row();
    for (std::size_t j = 0; j < dim_; ++j) {
      data_.features.push_back(checked(cells_[j], fmt::format("column {}:", j + 1)));
    }
    data_.labels.push_back(checked(cells_[dim_], fmt::format("the label (column {}):", dim_ + 1)));
  }

  void read_libsvm(std::string_view text) {
    start_row();
    const auto next_word = [&] {
      const auto end = text.find_first_of(blanks);
      const std::string_view word = text.substr(0, end);
      text = end == std::string_view::npos ? std::string_view{} : trimmed(text.substr(end));
      return word;
    };
    const double label = checked(next_word(), "the label");
    const std::size_t row = data_.features.size();
    data_.features.resize(row + dim_, 0.0);
    std::uint64_t previous = 0;
    while (!text.empty()) {
      const std::string_view word = next_word();
      const auto colon = word.find(':');
      if (colon == std::string_view::npos) fail(fmt::format("\"{}\" is not index:value", shown(word)));
      const std::string_view name = word.substr(0, colon);
      std::uint64_t index = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
      if (error != std::errc{} || end != name.data() + name.size() || index == 0) {
        fail(fmt::format("the index \"{}\" is not a whole number from 1", shown(name)));
      }
      if (index <= previous) fail(fmt::format("index {} after {} (indices must ascend)", index, previous));
      if (index > dim_) {
        fail(fmt::format("index {} is above objective.dim = {} (dim must equal the number of features)", index, dim_));
      }
      data_.features[row + static_cast<std::size_t>(index) - 1] =
          checked(word.substr(colon + 1), fmt::format("the value of index {}:", index));
      previous = index;
    }
    data_.labels.push_back(label);
  }

  std::string file_;
  std::size_t dim_;
  std::size_t line_ = 0, columns_ = 0;
  bool libsvm_ = false;
  std::vector<std::string_view> cells_;
  DataSet data_;
};

}  // namespace

DataSet read_data_file(const std::string& file, int dim) { return Reader(file, dim).read(); }

}  // namespace pathbound
