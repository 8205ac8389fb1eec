// SPDX-License-Identifier: Apache-2.0
// TOML text as a small tree in which every key and value knows where it was written, and the list of problems found in
// it. Internal to the reading of experiment files (experiment.cpp).
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace pathbound::toml_reader {

/// Where something was written: a line of the file, or the n-th --set (then `line` is 0). Both unset: nowhere.
struct Origin {
  std::uint32_t line = 0;
  int set = -1;
};

struct Entry;

/// A TOML value. Entries of a table stand in the order of toml++ (sorted by key).
struct Node {
  enum class Type { table, array, string, integer, floating, boolean, date };
  Type type = Type::table;
  Origin origin;
  bool boolean = false;
  std::int64_t integer = 0;
  double floating = 0.0;
  std::string string;  ///< string, and the text of a date
  std::vector<Entry> table;
  std::vector<Node> array;

  bool is(Type t) const { return type == t; }
  const Entry* find(std::string_view key) const;
  Entry* find(std::string_view key);
};

struct Entry {
  std::string key;
  Origin origin;
  Node value;
};

/// What a failed parse says: position (0 where there is none) and reason.
struct SyntaxError {
  std::uint32_t line = 0, column = 0;
  std::string reason;
};

/// Parses TOML. `set` >= 0 marks everything as written by that --set. Returns false and fills `error` on failure; never
/// throws for any input.
bool parse_toml(std::string_view text, int set, Node& root, SyntaxError& error);

/// Position of the first byte that is not UTF-8, or npos.
std::size_t first_invalid_utf8(std::string_view text);

/// The value as it could stand in a file, at most about `limit` characters, control characters escaped.
std::string to_text(const Node& node, std::size_t limit = 60);
/// Text for a message: control characters escaped, shortened to about `limit` characters.
std::string printable(std::string_view text, std::size_t limit = 200);
/// The shortest decimal that reads back as x; always with a point or an exponent.
std::string number_text(double x);

/// The candidate nearest to `word` by edit distance, or "" when none is near enough to be meant.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// The problems of one experiment, one line each.
class Problems {
 public:
  Problems(std::string source, std::vector<std::string> sets) : source_(std::move(source)), sets_(std::move(sets)) {}

  /// `location: key 'path' = value: text`
  void value(const Origin& where, const std::string& path, const Node& node, const std::string& text);
  /// `location: key 'path' is missing: text`
  void missing(const Origin& where, const std::string& path, const std::string& text);
  /// `location: text`
  void add(const Origin& where, const std::string& text);
  /// A line of its own, after all others.
  void add_plain(const std::string& text);

  bool empty() const { return found_.empty(); }
  /// So many that looking for more helps nobody.
  bool full() const;
  /// All problems, in the order of the file, then those of --set; the tail of a very long list is only counted.
  std::string text() const;

 private:
  struct Problem {
    int group;
    std::int64_t order;
    std::string text;
  };
  void insert(int group, std::int64_t order, std::string text);
  std::string location(const Origin& where) const;

  std::string source_;
  std::vector<std::string> sets_;
  std::vector<Problem> found_;
  std::set<std::string> seen_;  ///< a value that several curves share is reported once
};

}  // namespace pathbound::toml_reader
