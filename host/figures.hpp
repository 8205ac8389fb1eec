// SPDX-License-Identifier: Apache-2.0
// Figures and tables of any content: what benchmark programs show in a report.html and on the terminal.
#pragma once
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "host/results.hpp"

namespace pathbound {

/// Points (x[i], y[i]), each with a whisker from lower[i] to upper[i]. NaN leaves a gap.
struct FigureSeries {
  std::string name;
  std::vector<double> x, y, lower, upper;  ///< lower and upper may be empty: no whiskers
  bool line = true, dashed = false;        ///< without a line only the points are drawn
  int group = -1;                          ///< series of the same group have the same colour; -1: a colour of its own
};

struct Figure {
  std::string title, caption, x_label, y_label;
  bool log_x = false, log_y = false;
  std::vector<FigureSeries> series;
};

struct Table {
  std::string title, caption;
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;  ///< columns of numbers are aligned to the right
};

/// What a benchmark says to one question: docs/results.md is written from these.
struct Answer {
  std::string id;         ///< unique among all benchmarks, such as "scaling/row3/uncompressed"
  std::string question;   ///< a sentence
  std::string claim;      ///< with its source, such as "..., arXiv 2502.17009, scaling table, row 3"
  std::string expected;   ///< derived beforehand, such as "no"; empty: nothing was
  std::string answer;     ///< as measured, such as "no"
  bool met = true;        ///< whether it is the expected one
  std::string number_is;  ///< what the number is, and its unit
  double number = std::numeric_limits<double>::quiet_NaN(), lower = number, upper = number;  ///< NaN: there is none
  double confidence = number;                                                                ///< of [lower, upper]
  std::string figure;      ///< title of a figure of the report; empty: none
  std::string experiment;  ///< the command that reproduces it
};

struct BenchReport {
  std::string title, summary;
  Environment environment;
  std::vector<Answer> answers;
  std::vector<Table> tables;
  std::vector<Figure> figures;
  Performance performance;
};

/// The answers as a table, for the terminal and the report.
Table answers_table(const std::vector<Answer>& answers);
/// What render_report makes a page of: schema, title, summary, environment, answers, tables (first the one of the
/// answers, if there are any), figures, performance.
nlohmann::ordered_json to_json(const BenchReport& report);
/// The table as plain text of at most `width` columns: text is cut first, then the table continues below itself.
std::string table_text(const Table& table, int width = 120);

}  // namespace pathbound
