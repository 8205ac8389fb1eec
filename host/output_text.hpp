// SPDX-License-Identifier: Apache-2.0
// What every output is written with: numbers as JSON and as text, aligned columns for the terminal.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace pathbound {

// ---- numbers ----------------------------------------------------------------------------------------------------

/// The shortest decimal that reads back as x. nlohmann's own printer (Grisu2) is a digit too long once in a thousand.
std::string shortest(double x);
/// Null instead of NaN and infinity, which JSON does not have.
nlohmann::ordered_json json_number(double x);
/// `n` entries, also for a vector that was left empty because nothing could be computed.
nlohmann::ordered_json json_numbers(const std::vector<double>& values, std::size_t n);
/// values[i], NaN beyond the end.
double number_at(const std::vector<double>& values, std::size_t i);

std::string short_number(double x);
std::string ratio_text(double x);
/// "0.1293 +- 0.0017": both to the second digit of the error.
std::string with_error(double mean, double error);

// ---- text for the terminal --------------------------------------------------------------------------------------

/// Columns a UTF-8 text takes: its code points (a name may hold any letter).
std::size_t text_width(std::string_view text);
/// Control characters in a title or a name must not reach the terminal.
std::string printable(std::string_view text);
/// At most `width` columns, a cut marked by "..".
std::string shortened(std::string_view text, std::size_t width);
/// Breaks at spaces; a word longer than a line stands alone on its line.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width);

struct Column {
  std::string header;
  bool right = false;
  std::vector<std::string> cells;

  std::size_t width() const;
};

inline constexpr std::size_t table_margin = 2;  ///< columns left of a table and between two of its columns

std::size_t table_width(const std::vector<Column>& columns);
/// Line 0 is the header; line i the cells i - 1.
std::string table_line(const std::vector<Column>& columns, std::size_t line, char mark = ' ');
/// Shortens the cells of a column so that the table fits, but not below `least` columns.
void squeeze(std::vector<Column>& columns, std::size_t which, std::size_t width, std::size_t least);
void drop(std::vector<Column>& columns, std::string_view header);

}  // namespace pathbound
