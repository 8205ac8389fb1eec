// SPDX-License-Identifier: Apache-2.0
// Reads, overrides, validates and normalises an experiment. Problems are collected, never thrown one by one; what a key
// allows is worded once, in registry.cpp.
#include "host/experiment.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "host/bounds.hpp"
#include "host/data_file.hpp"
#include "host/laws.hpp"
#include "host/toml_reader.hpp"
#include "host/variance_reduction.hpp"

namespace pathbound {
namespace {

using toml_reader::Entry;
using toml_reader::nearest;
using toml_reader::Node;
using toml_reader::number_text;
using toml_reader::Origin;
using toml_reader::printable;
using toml_reader::Problems;
using toml_reader::to_text;
using Type = Node::Type;

constexpr std::size_t max_file_bytes = std::size_t{16} << 20;
constexpr std::int64_t max_seed = INT64_MAX;
constexpr std::int64_t max_paths = std::int64_t{1} << 40;
constexpr std::int64_t max_steps = std::int64_t{1} << 40;
constexpr std::int64_t max_checkpoints = 100000;
constexpr int max_dim = 1 << 16;
constexpr int max_workers = 4096;
constexpr std::int64_t max_data = static_cast<std::int64_t>(max_data_entries);  ///< rows * dim
constexpr std::size_t max_curves = 256, max_bounds = 2048;
constexpr int max_substeps = 10000;
constexpr int max_levels = 65535;

/// What most checks need to know. Values that could not be read are empty: checks that depend on them are left out, so
/// that one mistake gives one message.
struct Context {
  Problems& problems;
  bool single = true;
  std::optional<int> dim;
};

std::string join(const std::string& prefix, const std::string& key) {
  return prefix.empty() ? key : prefix + "." + key;
}

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string best = nearest(word, candidates);
  return best.empty() ? "" : "; did you mean '" + best + "'?";
}

std::vector<std::string> names(const std::vector<ComponentInfo>& registry) {
  std::vector<std::string> out;
  for (const ComponentInfo& component : registry) out.push_back(component.name);
  return out;
}

/// The compressors that workers.k belongs to, in the words of a message.
std::string compressors_with_k() {
  std::string text;
  for (std::size_t i = 0; i < compressor_registry().size(); ++i)
    if (keeps_k(static_cast<CompressorKind>(i))) text += (text.empty() ? "" : ", ") + compressor_registry()[i].name;
  return text;
}

const KeyInfo* find_key(const std::vector<KeyInfo>& keys, std::string_view name) {
  for (const KeyInfo& key : keys)
    if (key.name == name) return &key;
  return nullptr;
}

const ComponentInfo& table_info(std::string_view name) {
  for (const ComponentInfo& table : table_registry())
    if (table.name == name) return table;
  throw std::logic_error("no such table in table_registry");
}

/// The keys of a curve of one sort, or of all of them where it is not known which sort it is.
const std::vector<KeyInfo>& curve_keys(bool method, bool model) {
  const auto collect = [](bool with_method, bool with_model) {
    std::vector<KeyInfo> keys = table_info("curve").keys;
    const auto add = [&](const char* table) {
      const std::vector<KeyInfo>& more = table_info(table).keys;
      keys.insert(keys.end(), more.begin(), more.end());
    };
    if (with_method) add("method");
    if (with_model) add("model");
    return keys;
  };
  static const std::vector<KeyInfo> of_method = collect(true, false), of_model = collect(false, true),
                                    of_any = collect(true, true);
  return method && model ? of_any : model ? of_model : of_method;
}

/// Where a key that is unknown in one table belongs, in the words of a message.
const std::map<std::string, std::vector<std::string>>& places_of_keys() {
  static const auto places = [] {
    std::map<std::string, std::vector<std::string>> map;
    const auto add = [&](const std::string& place, const std::vector<KeyInfo>& keys) {
      for (const KeyInfo& key : keys) {
        auto& list = map[key.name];
        if (std::find(list.begin(), list.end(), place) == list.end()) list.push_back(place);
      }
    };
    const std::map<std::string, std::string> table_places{{"experiment", "the top level (above the first table)"},
                                                          {"objective", "[objective]"},
                                                          {"noise", "[noise]"},
                                                          {"workers", "[workers]"},
                                                          {"curve", "[[curve]]"},
                                                          {"method", "[[curve]]"},
                                                          {"model", "[[curve]]"},
                                                          {"bound", "[[bound]]"},
                                                          {"spectrum", "objective.spectrum"}};
    for (const ComponentInfo& table : table_registry())
      if (const auto place = table_places.find(table.name); place != table_places.end()) add(place->second, table.keys);
    for (const ComponentInfo& c : objective_registry()) add("[objective]", c.keys);
    for (const ComponentInfo& c : spectrum_registry()) add("objective.spectrum", c.keys);
    for (const ComponentInfo& c : law_registry()) add("[noise]", c.keys);
    for (const ComponentInfo& c : method_registry()) add("[[curve]]", c.keys);
    for (const ComponentInfo& c : compressor_registry()) add("the compressor of a curve", c.keys);
    add("the schedule of a curve", table_info("schedule").keys);
    for (const ComponentInfo& c : schedule_registry()) add("the schedule of a curve", c.keys);
    for (const ComponentInfo& c : adaptive_registry()) add("the adaptive factor of a curve", c.keys);
    map.erase("kind");  // in nearly every table: no hint
    return map;
  }();
  return places;
}

/// A table of the file under the dotted path it is addressed by.
struct Layer {
  const Node* node;
  std::string path;
};

struct Found {
  const Node* node;
  Origin origin;
  std::string path;
};

std::string integer_hint(const Node& node) {
  if (node.is(Type::floating) && std::isfinite(node.floating) && node.floating == std::trunc(node.floating) &&
      std::fabs(node.floating) < 9e15)
    return fmt::format("; write {}", static_cast<std::int64_t>(node.floating));
  return "";
}

std::string type_hint(const Node& node) {
  if (node.is(Type::floating) && !std::isfinite(node.floating)) return "; nan and infinities are not allowed";
  if (node.is(Type::string) && !node.string.empty() &&
      (node.string.find_first_not_of("+-.0123456789eE_") == std::string::npos || node.string == "true" ||
       node.string == "false"))
    return "; write it without quotes";
  return "";
}

std::optional<double> as_number(const Node& node) {
  if (node.is(Type::integer)) return static_cast<double>(node.integer);
  if (node.is(Type::floating) && std::isfinite(node.floating)) return node.floating;
  return std::nullopt;
}

/// Reads the keys of one table, or of several laid over each other (weakest first), against the registries.
class Reader {
 public:
  /// `table`: its name in table_registry. `kinds`: the registry its kind chooses from.
  Reader(Context& context, std::string_view table, std::vector<Layer> layers,
         const std::vector<ComponentInfo>* kinds = nullptr)
      : Reader(context, table_info(table).keys, std::move(layers), kinds) {}
  /// `keys` outlive the reader.
  Reader(Context& context, const std::vector<KeyInfo>& keys, std::vector<Layer> layers,
         const std::vector<ComponentInfo>* kinds = nullptr)
      : context_(context), common_(keys), layers_(std::move(layers)), kinds_(kinds) {
    std::erase_if(layers_, [](const Layer& layer) { return layer.node == nullptr || !layer.node->is(Type::table); });
  }

  std::optional<Found> find(const std::string& key) const {
    for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer)
      if (const Entry* entry = layer->node->find(key))
        return Found{&entry->value, entry->origin, join(layer->path, key)};
    return std::nullopt;
  }
  bool has(const std::string& key) const { return find(key).has_value(); }

  const KeyInfo& info(const std::string& key) const {
    if (const KeyInfo* found = find_key(common_, key)) return *found;
    if (kinds_ && kind_) {
      if (const KeyInfo* found = find_key((*kinds_)[static_cast<std::size_t>(*kind_)].keys, key)) return *found;
    }
    if (kinds_) {
      for (const ComponentInfo& component : *kinds_)
        if (const KeyInfo* found = find_key(component.keys, key)) return *found;
    }
    throw std::logic_error("key '" + key + "' is in no registry");
  }

  void wrong(const Found& found, const std::string& key, const std::string& hint = "") const {
    context_.problems.value(found.origin, found.path, *found.node, "must be " + info(key).allowed + hint);
  }
  void problem(const Found& found, const std::string& text) const {
    context_.problems.value(found.origin, found.path, *found.node, text);
  }
  void missing(const std::string& key) const {
    const bool known = !layers_.empty();
    context_.problems.missing(known ? layers_.back().node->origin : Origin{},
                              known ? join(layers_.back().path, key) : key, "must be " + info(key).allowed);
  }

  /// Reads the kind and remembers it: later keys are worded for it and check_keys() judges by it.
  std::optional<int> kind(const std::string& key, std::optional<int> fallback = std::nullopt) {
    kind_key_ = key;
    const auto found = find(key);
    if (!found) {
      if (!fallback) missing(key);
      return kind_ = fallback;
    }
    return kind_ = choice(key, names(*kinds_));
  }

  /// The index of the key's value in `words`.
  std::optional<int> choice(const std::string& key, const std::vector<std::string>& words) const {
    const auto found = find(key);
    if (!found) return std::nullopt;
    if (found->node->is(Type::string)) {
      const auto word = std::find(words.begin(), words.end(), found->node->string);
      if (word != words.end()) return static_cast<int>(word - words.begin());
      wrong(*found, key, did_you_mean(found->node->string, words));
    } else {
      wrong(*found, key);
    }
    return std::nullopt;
  }

  std::optional<std::string> string(const std::string& key) const {
    const auto found = find(key);
    if (found && found->node->is(Type::string)) return found->node->string;
    if (found) wrong(*found, key);
    return std::nullopt;
  }

  std::optional<bool> boolean(const std::string& key, bool fallback) const {
    const auto found = find(key);
    if (!found) return fallback;
    if (found->node->is(Type::boolean)) return found->node->boolean;
    wrong(*found, key, type_hint(*found->node));
    return std::nullopt;
  }

  std::optional<std::int64_t> integer(const std::string& key, std::int64_t low, std::int64_t high,
                                      std::optional<std::int64_t> fallback = std::nullopt,
                                      const std::string& hint = "") const {
    const auto found = find(key);
    if (!found) {
      if (!fallback) missing(key);
      return fallback;
    }
    if (in_range(*found->node, low, high)) return found->node->integer;
    wrong(*found, key, found->node->is(Type::integer) ? hint : integer_hint(*found->node) + type_hint(*found->node));
    return std::nullopt;
  }

  /// `kernel`: the number enters the arithmetic of the paths, so it has to fit the precision.
  template <class Allowed>
  std::optional<double> number(const std::string& key, Allowed allowed, std::optional<double> fallback = std::nullopt,
                               bool kernel = true) const {
    const auto found = find(key);
    if (!found) {
      if (!fallback) missing(key);
      return fallback;
    }
    const auto value = as_number(*found->node);
    if (!value || !allowed(*value)) {
      wrong(*found, key, type_hint(*found->node));
      return std::nullopt;
    }
    if (kernel && !fits(*value)) {
      problem(*found, unfit());
      return std::nullopt;
    }
    return value;
  }

  /// A number for all, or a list with one each; without `count` the length of a list is not judged.
  template <class Allowed>
  std::optional<std::vector<double>> numbers(const std::string& key, std::optional<int> count, Allowed allowed,
                                             bool scalar) const {
    return list<double>(key, count, scalar, [&](const Node& node) -> std::pair<std::optional<double>, std::string> {
      const auto value = as_number(node);
      if (!value || !allowed(*value)) return {std::nullopt, must(key) + type_hint(node)};
      if (!fits(*value)) return {std::nullopt, unfit()};
      return {value, ""};
    });
  }

  std::optional<std::vector<int>> integers(const std::string& key, std::optional<int> count, std::int64_t low,
                                           std::int64_t high, bool scalar, const std::string& hint) const {
    return list<int>(key, count, scalar, [&](const Node& node) -> std::pair<std::optional<int>, std::string> {
      if (in_range(node, low, high)) return {static_cast<int>(node.integer), ""};
      return {std::nullopt, must(key) + (node.is(Type::integer) ? hint : integer_hint(node) + type_hint(node))};
    });
  }

  /// The sub-table `key` as a layer; its node is null when it is missing or (a problem) something else.
  Layer table(const std::string& key) const {
    const auto found = find(key);
    if (!found) return {nullptr, key};
    if (found->node->is(Type::table)) return {found->node, found->path};
    wrong(*found, key);
    return {nullptr, found->path};
  }

  /// Refuses keys of the strongest layer that are unknown, or that belong to another kind, but for `welcome`.
  /// `misplaced`: what to say of keys that are known, but not here.
  void check_keys(const std::map<std::string, std::string>& misplaced = {}, std::string_view welcome = {}) const {
    if (layers_.empty()) return;
    const Layer& layer = layers_.back();
    for (const Entry& entry : layer.node->table) {
      if (context_.problems.full()) return;
      if (find_key(common_, entry.key) || entry.key == welcome) continue;
      std::vector<std::string> owners;
      bool mine = false;
      if (kinds_) {
        for (std::size_t i = 0; i < kinds_->size(); ++i) {
          if (!find_key((*kinds_)[i].keys, entry.key)) continue;
          owners.push_back((*kinds_)[i].name);
          // With no valid kind there is already a problem; it is not known then which keys are wrong.
          mine = mine || !kind_ || *kind_ == static_cast<int>(i);
        }
      }
      if (mine) continue;
      const std::string path = join(layer.path, entry.key);
      if (const auto why = misplaced.find(entry.key); why != misplaced.end()) {
        context_.problems.value(entry.origin, path, entry.value, why->second);
        continue;
      }
      if (!owners.empty()) {
        context_.problems.value(entry.origin, path, entry.value,
                                fmt::format("does not belong to {} = \"{}\", only to {}", kind_key_,
                                            (*kinds_)[static_cast<std::size_t>(*kind_)].name, listed(owners)));
        continue;
      }
      context_.problems.value(entry.origin, path, entry.value, unknown(entry.key));
    }
  }

  const std::optional<int>& kind() const { return kind_; }

 private:
  static bool in_range(const Node& node, std::int64_t low, std::int64_t high) {
    return node.is(Type::integer) && node.integer >= low && node.integer <= high;
  }
  bool fits(double value) const {
    const double size = std::fabs(value);
    return size == 0.0 || !context_.single || (size >= FLT_MIN && size <= FLT_MAX);
  }
  static std::string unfit() {
    return "does not fit precision = \"float\" (0, or a magnitude from 1.2e-38 to 3.4e+38); use precision = \"double\"";
  }
  std::string must(const std::string& key) const { return "must be " + info(key).allowed; }

  std::string unknown(const std::string& key) const {
    std::vector<std::string> known;
    for (const KeyInfo& k : common_) known.push_back(k.name);
    if (kinds_) {
      for (std::size_t i = 0; i < kinds_->size(); ++i) {
        if (kind_ && *kind_ != static_cast<int>(i)) continue;
        for (const KeyInfo& k : (*kinds_)[i].keys)
          if (std::find(known.begin(), known.end(), k.name) == known.end()) known.push_back(k.name);
      }
    }
    std::string text = "unknown key";
    if (const auto place = places_of_keys().find(key); place != places_of_keys().end()) {
      text += "; it belongs to ";
      for (std::size_t i = 0; i < place->second.size(); ++i) text += (i ? " or " : "") + place->second[i];
    } else {
      text += did_you_mean(key, known);
    }
    return text + "; known here: " + listed(known);
  }

  template <class T, class Element>
  std::optional<std::vector<T>> list(const std::string& key, std::optional<int> count, bool scalar,
                                     Element element) const {
    const auto found = find(key);
    if (!found) return std::nullopt;
    const Node& node = *found->node;
    if (!node.is(Type::array)) {
      if (!scalar) {
        wrong(*found, key);
        return std::nullopt;
      }
      const auto [value, why] = element(node);
      if (!value) {
        problem(*found, why);
        return std::nullopt;
      }
      return std::vector<T>(static_cast<std::size_t>(count.value_or(1)), *value);
    }
    std::vector<T> out;
    out.reserve(node.array.size());
    std::size_t bad = 0;
    for (std::size_t i = 0; i < node.array.size(); ++i) {
      const auto [value, why] = element(node.array[i]);
      if (value) {
        out.push_back(*value);
      } else if (++bad == 1) {  // one message a list
        context_.problems.add(node.array[i].origin,
                              fmt::format("key '{}', entry {} = {}: {}", printable(found->path, 120), i + 1,
                                          to_text(node.array[i]), why));
      }
    }
    if (count && node.array.size() != static_cast<std::size_t>(*count)) {
      problem(*found, fmt::format("{} ({} needed, {} given)", must(key), *count, node.array.size()));
      return std::nullopt;
    }
    return bad ? std::nullopt : std::optional(std::move(out));
  }

  Context& context_;
  const std::vector<KeyInfo>& common_;
  std::vector<Layer> layers_;
  const std::vector<ComponentInfo>* kinds_;
  std::optional<int> kind_;
  std::string kind_key_ = "kind";
};

bool positive(double x) { return x > 0.0; }
bool not_negative(double x) { return x >= 0.0; }

std::string dim_hint(const Context& context) {
  return context.dim ? fmt::format(" (dim = {})", *context.dim) : std::string();
}

/// C0 and C1 control characters, and those that turn the direction of text: none belongs on a terminal.
bool has_control(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = [&](std::size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u; };
    if (byte(0) < 0x20 || byte(0) == 0x7f) return true;
    if (byte(0) == 0xc2 && byte(1) >= 0x80 && byte(1) <= 0x9f) return true;                     // U+0080 - U+009F
    if (byte(0) == 0xe2 && byte(1) == 0x80 && byte(2) >= 0xaa && byte(2) <= 0xae) return true;  // U+202A - U+202E
    if (byte(0) == 0xe2 && byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9) return true;  // U+2066 - U+2069
  }
  return false;
}

/// h_j from min to max in equal ratios, by square roots and products alone: libm's pow is not the same everywhere.
std::vector<double> geometric_spectrum(int dim, double min, double max) {
  std::vector<double> h(static_cast<std::size_t>(dim), min);
  if (dim < 2) return h;
  const double ratio = max / min;
  const double half = std::isfinite(ratio) ? std::sqrt(ratio) : std::sqrt(max) / std::sqrt(min);
  const std::int64_t last = dim - 1;
  for (std::int64_t j = 1; j < last; ++j) {
    // min * ratio^(j / last), over the binary digits of the exponent.
    double value = min, root = half;
    std::int64_t rest = j;
    for (int digit = 0; digit < 60 && rest != 0; ++digit, root = std::sqrt(root)) {
      rest *= 2;
      if (rest >= last) {
        rest -= last;
        value *= root;
      }
    }
    h[static_cast<std::size_t>(j)] = std::min(value, max);
  }
  h.back() = max;
  return h;
}

std::vector<double> linear_spectrum(int dim, double min, double max) {
  std::vector<double> h(static_cast<std::size_t>(dim), min);
  for (int j = 1; j + 1 < dim; ++j)
    h[static_cast<std::size_t>(j)] = min + (max - min) * (static_cast<double>(j) / (dim - 1));
  if (dim > 1) h.back() = max;
  return h;
}

void read_spectrum(Context& context, const Layer& layer, ObjectiveConfig& objective) {
  Reader reader(context, "spectrum", {layer}, &spectrum_registry());
  const auto kind = reader.kind("kind");
  reader.check_keys();
  if (!kind) return;
  objective.spectrum_kind = spectrum_registry()[static_cast<std::size_t>(*kind)].name;
  if (objective.spectrum_kind == "list") {
    if (!reader.has("eigenvalues")) reader.missing("eigenvalues");
    const auto h = reader.numbers("eigenvalues", context.dim, positive, false);
    if (!h || h->empty()) return;
    objective.eigenvalues = *h;
    objective.spectrum_min = *std::min_element(h->begin(), h->end());
    objective.spectrum_max = *std::max_element(h->begin(), h->end());
    return;
  }
  const auto min = reader.number("min", positive);
  const auto max = reader.number("max", [&](double x) { return x > 0.0 && (!min || x >= *min); });
  if (!min || !max) return;
  objective.spectrum_min = *min;
  objective.spectrum_max = *max;
  if (!context.dim) return;
  objective.eigenvalues = objective.spectrum_kind == "linear" ? linear_spectrum(*context.dim, *min, *max)
                                                              : geometric_spectrum(*context.dim, *min, *max);
}

void read_data_file(const Reader& reader, const std::string& source, ObjectiveConfig& objective) {
  const Found found = *reader.find("file");
  for (const char* key : {"rows", "rank", "condition", "data_seed"}) {
    if (const auto synthetic = reader.find(key))
      reader.problem(*synthetic, "belongs to synthetic data; it does not go together with file");
  }
  const auto name = reader.string("file");
  if (!name) return;
  if (name->empty() || has_control(*name)) return reader.wrong(found, "file");
  std::error_code error;
  const auto path = (std::filesystem::path(source).parent_path() / *name).lexically_normal();
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    return reader.problem(
        found, fmt::format("must be {}; there is no file '{}'", reader.info("file").allowed, printable(path.string())));
  }
  if (std::filesystem::is_directory(status)) {
    return reader.problem(
        found, fmt::format("must be {}; '{}' is a directory", reader.info("file").allowed, printable(path.string())));
  }
  if (!std::filesystem::is_regular_file(status)) {  // opening a pipe would wait for ever
    return reader.problem(found, fmt::format("must be {}; '{}' is not a regular file", reader.info("file").allowed,
                                             printable(path.string())));
  }
  if (!std::ifstream(path)) {
    return reader.problem(found, fmt::format("cannot read '{}': {}", printable(path.string()), std::strerror(errno)));
  }
  objective.file = path.string();
  objective.file_as_given = *name;
}

void read_data(Context& context, const Reader& reader, const std::string& source, ObjectiveConfig& objective) {
  if (reader.has("file")) {
    if (!reader.has("dim")) reader.missing("dim");
    return read_data_file(reader, source, objective);
  }
  const std::int64_t most = context.dim ? max_data / *context.dim : max_data;
  const auto rows = reader.integer("rows", objective.kind == ObjectiveKind::logistic ? 2 : 1, most, std::nullopt,
                                   context.dim ? fmt::format(" (dim = {}: {})", *context.dim, most) : "");
  objective.rows = static_cast<int>(rows.value_or(0));
  objective.data_seed = static_cast<std::uint64_t>(reader.integer("data_seed", 0, max_seed, 1).value_or(1));
  if (objective.kind != ObjectiveKind::least_squares) return;
  const std::int64_t full = rows && context.dim ? std::min<std::int64_t>(*rows, *context.dim) : max_data;
  const auto rank = reader.integer("rank", 1, full, full, rows && context.dim ? fmt::format(" = {}", full) : "");
  if (rank) objective.rank = static_cast<int>(*rank);
  const bool one = objective.rank == 1;
  objective.condition =
      reader
          .number(
              "condition", [&](double x) { return one ? x == 1.0 : x >= 1.0 && x <= 1e11; }, one ? 1.0 : 10.0)
          .value_or(10.0);
}

ObjectiveConfig read_objective(Context& context, const Layer& layer, const std::string& source) {
  ObjectiveConfig objective;
  Reader reader(context, "objective", {layer}, &objective_registry());
  const auto kind = reader.kind("kind");
  reader.check_keys();
  if (reader.has("dim") || !reader.has("file")) {  // data from a file need an explicit dim: no default to judge by
    const bool data = kind && find_key(objective_registry()[static_cast<std::size_t>(*kind)].keys, "file");
    if (const auto dim = reader.integer("dim", 1, data ? max_data_dim : max_dim, 1))
      context.dim = objective.dim = static_cast<int>(*dim);
  }
  objective.start = reader.has("start") ? reader
                                              .numbers(
                                                  "start", context.dim, [](double) { return true; }, true)
                                              .value_or(std::vector<double>{})
                                        : std::vector<double>(static_cast<std::size_t>(objective.dim), 1.0);
  if (!kind) return objective;
  objective.kind = static_cast<ObjectiveKind>(*kind);
  const auto owns = [&](const char* key) {
    return find_key(objective_registry()[static_cast<std::size_t>(*kind)].keys, key) != nullptr;
  };
  if (owns("mu") && reader.has("mu")) objective.mu = reader.number("mu", positive);
  if (owns("L1") && reader.has("L1")) objective.L1 = reader.number("L1", positive);
  if (owns("lam")) objective.lam = reader.number("lam", positive).value_or(0.0);
  if (owns("file")) read_data(context, reader, source, objective);
  if (owns("spectrum")) {
    if (!reader.has("spectrum")) reader.missing("spectrum");
    if (const Layer spectrum = reader.table("spectrum"); spectrum.node) read_spectrum(context, spectrum, objective);
  }
  if (owns("eigenvalues")) {
    if (!reader.has("eigenvalues")) reader.missing("eigenvalues");
    const auto h = reader.numbers(
        "eigenvalues", context.dim, [](double x) { return x != 0.0; }, false);
    if (h && std::none_of(h->begin(), h->end(), [](double x) { return x < 0.0; })) {
      reader.wrong(*reader.find("eigenvalues"), "eigenvalues", "; without a negative one use kind = \"quadratic\"");
    } else if (h) {
      objective.eigenvalues = *h;
    }
  }
  return objective;
}

/// `complete`: the layers are all there is, so that required keys must be there.
std::optional<NoiseConfig> read_noise(Context& context, const std::vector<Layer>& layers, bool complete) {
  NoiseConfig noise;
  Reader reader(context, "noise", layers, &law_registry());
  const auto law = reader.kind("law", static_cast<int>(LawKind::gaussian));
  reader.check_keys();
  const auto scale = reader.number("scale", not_negative, 1.0);
  const auto affine = reader.number("affine", not_negative, 0.0);
  bool good = law && scale && affine;
  /// A parameter of the law; 0 where the law has none of that name.
  const auto parameter = [&](const std::string& key, auto allowed) {
    if (!law || !find_key(law_registry()[static_cast<std::size_t>(*law)].keys, key)) return 0.0;
    std::optional<double> value;
    if (reader.has(key)) {
      value = reader.number(key, allowed);
    } else if (complete) {
      // Missing from the table that asks for it, which need not be the curve's own.
      const Found asks = *reader.find("law");
      context.problems.missing(asks.origin, asks.path.substr(0, asks.path.size() - 3) + key,
                               fmt::format("must be {} for law = \"{}\"", reader.info(key).allowed,
                                           law_registry()[static_cast<std::size_t>(*law)].name));
    }
    good = good && value;
    return value.value_or(0.0);
  };
  const double least = context.single ? 0.3 : 0.06;
  noise.law.nu = parameter("nu", [&](double x) { return x >= least && x <= 1e9; });
  noise.law.alpha = parameter("alpha", [&](double x) { return x >= least && x <= 2.0; });
  noise.law.eps = parameter("eps", [](double x) { return x > 0.0 && x < 1.0; });
  noise.law.k = parameter("k", positive);
  if (!good) return std::nullopt;
  noise.law.kind = static_cast<LawKind>(*law);
  noise.scale = *scale;
  noise.affine = *affine;
  return noise;
}

/// The keys of `workers` one by one, without what joins them (lengths of lists): for a table that is always overridden.
struct WorkersRead {
  std::optional<int> count;
  std::optional<std::vector<double>> scale, batch;
  std::optional<std::vector<int>> k;
  bool good = true;  ///< no key that is there is wrong
};

WorkersRead read_workers(Context& context, const std::vector<Layer>& layers, bool complete, bool with_k) {
  WorkersRead workers;
  Reader reader(context, "workers", layers);
  reader.check_keys();
  if (const auto count = reader.integer("count", 1, max_workers, 1)) workers.count = static_cast<int>(*count);
  const std::optional<int> length = complete ? workers.count : std::nullopt;
  workers.scale = reader.numbers("scale", length, not_negative, true);
  workers.batch = reader.numbers(
      "batch", length, [](double x) { return x >= 1.0; }, true);
  if (with_k) workers.k = reader.integers("k", length, 1, context.dim.value_or(max_dim), true, dim_hint(context));
  workers.good = workers.count && (workers.scale || !reader.has("scale")) && (workers.batch || !reader.has("batch")) &&
                 (!with_k || workers.k || !reader.has("k"));
  return workers;
}

std::optional<CompressorConfig> read_compressor(Context& context, const Layer& layer, bool workers_k) {
  CompressorConfig compressor;
  Reader reader(context, "compressor", {layer}, &compressor_registry());
  const auto kind = reader.kind("kind");
  reader.check_keys();
  if (!kind) return std::nullopt;
  compressor.kind = static_cast<CompressorKind>(*kind);
  bool good = true;
  if (keeps_k(compressor.kind) && (reader.has("k") || !workers_k)) {
    const auto k = reader.integer("k", 1, context.dim.value_or(max_dim), std::nullopt, dim_hint(context));
    compressor.k = static_cast<int>(k.value_or(0));
    good = k.has_value();
  }
  if (compressor.kind == CompressorKind::bernoulli) {
    const auto p = reader.number("p", [](double x) { return x >= 0x1p-31 && x <= 1.0; });
    compressor.p = p.value_or(1.0);
    good = p.has_value();
  }
  if (compressor.kind == CompressorKind::qsgd) {
    const auto s = reader.integer("s", 1, max_levels);
    compressor.s = static_cast<int>(s.value_or(1));
    good = s.has_value();
  }
  return good ? std::optional(compressor) : std::nullopt;
}

ScheduleSpec read_schedule(Context& context, const Layer& layer) {
  ScheduleSpec schedule;
  Reader reader(context, "schedule", {layer}, &schedule_registry());
  const auto kind = reader.kind("kind");
  reader.check_keys();
  schedule.warmup = static_cast<double>(reader.integer("warmup", 0, max_steps, 0).value_or(0));
  if (!kind) return schedule;
  schedule.kind = static_cast<ScheduleKind>(*kind);
  switch (schedule.kind) {
    case ScheduleKind::constant:
    case ScheduleKind::cosine:
      break;
    case ScheduleKind::polynomial:
      schedule.k0 = reader
                        .number(
                            "k0", [](double x) { return x >= 1e-12; }, schedule.k0)
                        .value_or(1.0);
      schedule.p = reader.number("p", not_negative, schedule.p).value_or(0.5);
      break;
    case ScheduleKind::exponential:
      schedule.rate = reader.number("rate", not_negative).value_or(0.0);
      break;
    case ScheduleKind::step:
      schedule.every = static_cast<double>(reader.integer("every", 1, max_steps).value_or(1));
      schedule.factor = reader.number("factor", [](double x) { return x > 0.0 && x <= 1.0; }).value_or(1.0);
      break;
  }
  return schedule;
}

/// None where a key is wrong.
std::optional<AdaptiveConfig> read_adaptive(Context& context, const Layer& layer, ObjectiveKind objective) {
  AdaptiveConfig adaptive;
  Reader reader(context, "adaptive", {layer}, &adaptive_registry());
  const auto kind = reader.kind("kind");
  reader.check_keys();
  if (!kind) return std::nullopt;
  adaptive.kind = static_cast<AdaptiveKind>(*kind);
  bool good = true;
  const auto number = [&](const char* key, auto allowed, double& value) {
    const auto given = reader.number(key, allowed, value);
    good = good && given;
    value = given.value_or(value);
  };
  const auto constant = [&](const char* key, auto allowed, std::optional<double>& value) {
    if (reader.has(key)) {
      value = reader.number(key, allowed);
      good = good && value;
    } else if (objective == ObjectiveKind::saddle) {
      context.problems.missing(layer.node->origin, join(layer.path, key),
                               fmt::format("must be {}; for kind = \"{}\" no pair (L0, L1) is known",
                                           reader.info(key).allowed, name_of(objective)));
      good = false;
    }
  };
  const auto stochastic = [&] {
    const auto given = reader.boolean("stochastic", false);
    good = good && given;
    adaptive.stochastic = given.value_or(false);
  };
  switch (adaptive.kind) {
    case AdaptiveKind::none:
      break;
    case AdaptiveKind::gradient_norm:
      number("c", positive, adaptive.c);
      number("q", not_negative, adaptive.q);
      stochastic();
      break;
    case AdaptiveKind::l0l1:
      number("theta", positive, adaptive.theta);
      constant("L0", positive, adaptive.L0);
      constant("L1", not_negative, adaptive.L1);
      stochastic();
      break;
    case AdaptiveKind::hessian_norm:
      number("theta", positive, adaptive.theta);
      if (!is_separable(objective) && objective != ObjectiveKind::least_squares) {
        reader.problem(*reader.find("kind"), fmt::format("needs |H(x)|, which is not available for {}; use l0l1 or "
                                                         "gradient_norm",
                                                         name_of(objective)));
        good = false;
      }
      break;
  }
  return good ? std::optional(adaptive) : std::nullopt;
}

/// Words of the busiest of the random streams of a step.
std::uint64_t words_per_step(const CurveConfig& curve, int dim, bool single) {
  const auto n = static_cast<std::uint64_t>(curve.workers.count), d = static_cast<std::uint64_t>(dim);
  std::uint64_t noise = n * d, compressor = 0;
  switch (curve.noise.law.kind) {
    case LawKind::gaussian:
    case LawKind::contaminated_gaussian:  // its selectors have a stream of their own, as many words
      break;
    case LawKind::student_t:
    case LawKind::laplace:
    case LawKind::logistic:
    case LawKind::alpha_stable:
      noise = 2 * n * d;
      break;
    case LawKind::multivariate_t:
      noise = 2 * n * ((d + 1) / 2);
      break;
  }
  switch (curve.compressor.kind) {
    case CompressorKind::identity:
    case CompressorKind::top_k:
      break;
    case CompressorKind::bernoulli:
    case CompressorKind::qsgd:
    case CompressorKind::natural:
      compressor = n * d;
      break;
    case CompressorKind::rand_k:
    case CompressorKind::rand_k_plain:
      for (const int k : curve.workers.k)
        compressor += std::min(static_cast<std::uint64_t>(k), d - static_cast<std::uint64_t>(k));
      break;
  }
  return std::max(noise, compressor) * (single ? 1 : 2);
}

/// The same for a step of a model in the busiest of its streams: the method's noise where it is Gaussian, else normals
/// of its own; the refinement of its substeps, of which a run takes twice as many once more; weak2's signs.
std::uint64_t words_per_step(const CurveConfig& curve, const ModelConfig& model, int dim, bool single) {
  const auto n = static_cast<std::uint64_t>(curve.workers.count), d = static_cast<std::uint64_t>(dim);
  const auto substeps = 2 * static_cast<std::uint64_t>(model.substeps);
  const std::uint64_t noise = curve.noise.law.kind == LawKind::gaussian ? n * d : d;
  const std::uint64_t refinement = (substeps - 1) * d;
  const std::uint64_t signs = model.integrator == IntegratorKind::weak2 ? substeps * d : 0;
  return std::max({noise, refinement, signs}) * (single ? 1 : 2);
}

/// n intervals of the steps, rounded to the nearest step.
std::vector<std::uint64_t> interval_ends(std::uint64_t n, std::uint64_t steps) {
  std::vector<std::uint64_t> out(n + 1);
  for (std::uint64_t i = 0; i <= n; ++i) out[i] = (2 * i * steps + n) / (2 * n);
  return out;
}

/// The label under which a table of [[curve]] or [[bound]] is addressed: its name where it has one, else its number.
std::string label_of(const Node& node, const char* key, std::size_t index, const std::vector<std::string>& taken) {
  if (node.is(Type::table)) {
    const Entry* name = node.find(key);
    if (name && name->value.is(Type::string) && !name->value.string.empty() && !has_control(name->value.string) &&
        std::count(taken.begin(), taken.end(), name->value.string) == 1)
      return name->value.string;
  }
  return std::to_string(index + 1);
}

/// The strings under `key` in an array of tables, one per element that has it.
std::vector<std::string> strings_under(const Node* array, const char* key) {
  std::vector<std::string> out;
  if (!array || !array->is(Type::array)) return out;
  for (const Node& node : array->array) {
    if (!node.is(Type::table)) continue;
    if (const Entry* entry = node.find(key); entry && entry->value.is(Type::string)) out.push_back(entry->value.string);
  }
  return out;
}

/// Everything of one experiment that is validated together.
class Validator {
 public:
  Validator(const Node& root, std::string source, const Overrides& overrides, Problems& problems)
      : root_(root), source_(std::move(source)), overrides_(overrides), context_{problems, true, std::nullopt} {}

  Experiment run() {
    experiment_.source = source_;
    read_top_level();
    read_base_tables();
    read_curves();
    read_bounds();
    return std::move(experiment_);
  }

 private:
  void read_top_level();
  void read_base_tables();
  void read_curves();
  void read_curve(const Node& node, const std::string& label);
  void read_name(CurveConfig& curve, const Reader& reader);
  void read_method_keys(CurveConfig& curve, const Reader& reader);
  void read_variance_reduction(CurveConfig& curve, const Reader& reader);
  void check_variance_reduction(const CurveConfig& curve, const Reader& reader);
  void check_adaptive(const CurveConfig& curve, const Layer& adaptive);
  /// Whether steps * words stay below the stream's 2^60; a problem where not.
  bool fits_stream(const Node& node, const std::string& label, std::uint64_t steps, std::uint64_t words,
                   const char* what_helps);
  void read_model(std::size_t index);
  const CurveConfig* find_method(const Reader& reader, const std::string& own_name);
  void check_model(const Reader& reader, const CurveConfig& method, const ModelConfig& model);
  void read_curve_workers(CurveConfig& curve, const Layer& own, const Layer& own_noise, bool have_noise,
                          bool have_compressor);
  void read_curve_checkpoints(CurveConfig& curve, const Reader& reader);
  void read_bounds();
  /// A list of tables under `key`; null (and a problem where it is something else) when there is none.
  const Node* tables(const char* key, std::size_t most);

  const Node& root_;
  std::string source_;
  const Overrides& overrides_;
  Context context_;
  Experiment experiment_;
  bool steps_known_ = false, checkpoints_known_ = true;
  Layer noise_{nullptr, "noise"}, workers_{nullptr, "workers"};
  /// What read_curve() found out about each of experiment_.curves.
  struct CurveState {
    const Node* node;
    std::string label;
    bool method, model;  ///< both: it is not clear which
    bool sound;          ///< a method whose settings are known
  };
  std::vector<CurveState> curve_states_;
  std::vector<std::string> curve_names_;  ///< all of them, also of curves that are otherwise wrong
  bool unnamed_curve_ = false;            ///< a bound may mean a curve whose name is not known
  bool some_curve_takes_k_ = false, some_curve_unclear_ = false;
};

void Validator::read_top_level() {
  Reader reader(context_, "experiment", {{&root_, ""}});
  reader.check_keys();
  experiment_.title = "untitled";
  if (const auto title = reader.string("title")) {
    experiment_.title = *title;
    if (has_control(*title)) reader.wrong(*reader.find("title"), "title");
  }
  if (reader.has("precision")) {
    if (reader.choice("precision", {"float", "double"}) == 1) experiment_.precision = Precision::double_;
  }
  context_.single = experiment_.precision == Precision::single;

  experiment_.seed = static_cast<std::uint64_t>(reader.integer("seed", 0, max_seed, 1).value_or(1));
  if (overrides_.seed) {
    if (*overrides_.seed > static_cast<std::uint64_t>(max_seed))
      context_.problems.add_plain(fmt::format("--seed {}: must be an integer from 0 to 2^63 - 1", *overrides_.seed));
    experiment_.seed = *overrides_.seed;
  }
  if (reader.has("paths") || !overrides_.paths)
    experiment_.paths = static_cast<std::uint64_t>(reader.integer("paths", 1, max_paths).value_or(0));
  if (overrides_.paths) {
    if (*overrides_.paths < 1 || *overrides_.paths > static_cast<std::uint64_t>(max_paths))
      context_.problems.add_plain(fmt::format("--paths {}: must be an integer from 1 to 2^40", *overrides_.paths));
    experiment_.paths = *overrides_.paths;
  }
  const auto steps = reader.integer("steps", 1, max_steps);
  steps_known_ = steps.has_value();
  experiment_.steps = static_cast<std::uint64_t>(steps.value_or(0));
  experiment_.limit = reader
                          .number(
                              "limit", [](double x) { return x > 0.0 && x <= 0x1p100; }, 1e30, false)
                          .value_or(1e30);

  if (const auto list = reader.find("checkpoint_steps")) {
    if (reader.has("checkpoints"))
      reader.problem(*reader.find("checkpoints"), "give either checkpoints or checkpoint_steps, not both");
    checkpoints_known_ = false;
    if (!list->node->is(Type::array) || list->node->array.empty() ||
        list->node->array.size() > static_cast<std::size_t>(max_checkpoints) + 1)
      return reader.wrong(*list, "checkpoint_steps");
    for (std::size_t i = 0; i < list->node->array.size(); ++i) {
      const Node& entry = list->node->array[i];
      std::string why;
      if (!entry.is(Type::integer) || entry.integer < 0 || entry.integer > max_steps) {
        why = "must be an integer from 0 to steps" + integer_hint(entry) + type_hint(entry);
      } else if (i > 0 && static_cast<std::uint64_t>(entry.integer) <= experiment_.checkpoint_steps.back()) {
        why = fmt::format("must be greater than the entry before it, {}: checkpoint_steps ascend",
                          experiment_.checkpoint_steps.back());
      } else if (steps && entry.integer > *steps) {
        why = fmt::format("must be an integer from 0 to steps = {}", *steps);
      }
      if (!why.empty()) {
        context_.problems.add(entry.origin,
                              fmt::format("key 'checkpoint_steps', entry {} = {}: {}", i + 1, to_text(entry), why));
        return;
      }
      experiment_.checkpoint_steps.push_back(static_cast<std::uint64_t>(entry.integer));
    }
    checkpoints_known_ = true;
    return;
  }
  const std::int64_t most = steps ? std::min(*steps, max_checkpoints) : max_checkpoints;
  const auto checkpoints = reader.integer("checkpoints", 1, most, std::min<std::int64_t>(50, most),
                                          steps ? fmt::format(" (steps = {})", *steps) : "");
  checkpoints_known_ = checkpoints.has_value();
  experiment_.checkpoints = static_cast<int>(checkpoints.value_or(1));
}

const Node* Validator::tables(const char* key, std::size_t most) {
  const Entry* entry = root_.find(key);
  if (!entry) return nullptr;
  const KeyInfo& info = *find_key(table_info("experiment").keys, key);
  const Node& node = entry->value;
  if (!node.is(Type::array) || node.array.size() > most) {
    context_.problems.value(entry->origin, key, node,
                            "must be " + info.allowed +
                                (node.is(Type::table) ? fmt::format("; write [[{}]] with double brackets", key) : ""));
    return nullptr;
  }
  for (const Node& element : node.array) {
    if (element.is(Type::table)) continue;
    context_.problems.value(element.origin, key, element, "must be a table; write [[" + std::string(key) + "]]");
    return nullptr;
  }
  return &node;
}

void Validator::read_base_tables() {
  Reader top(context_, "experiment", {{&root_, ""}});
  if (!top.has("objective")) top.missing("objective");
  if (const Layer layer = top.table("objective"); layer.node)
    experiment_.objective = read_objective(context_, layer, source_);
  noise_ = top.table("noise");
  workers_ = top.table("workers");
  // Each by itself, so that a mistake in a key that every curve overrides is still found.
  read_noise(context_, {noise_}, false);
  read_workers(context_, {workers_}, false, true);
}

void Validator::read_curves() {
  const Entry* entry = root_.find("curve");
  const Node* curves = tables("curve", max_curves);
  if (!entry || (curves && curves->array.empty())) {
    context_.problems.add(Origin{}, "no curve: an experiment needs at least one [[curve]] table");
    read_noise(context_, {noise_}, true);
    return;
  }
  if (!curves) return;
  const std::vector<std::string> all = strings_under(curves, "name");
  for (std::size_t i = 0; i < curves->array.size() && !context_.problems.full(); ++i)
    read_curve(curves->array[i], "curve." + label_of(curves->array[i], "name", i, all));
  curve_names_ = all;
  // A model takes its settings from a curve that may stand behind it.
  for (std::size_t i = 0; i < curve_states_.size() && !context_.problems.full(); ++i)
    if (curve_states_[i].model && !curve_states_[i].method) read_model(i);

  const Entry* k = workers_.node ? workers_.node->find("k") : nullptr;
  if (k && !some_curve_takes_k_ && !some_curve_unclear_) {
    context_.problems.value(
        k->origin, workers_.path + ".k", k->value,
        "belongs to curves whose compressor is one of " + compressors_with_k() + "; no curve here takes it");
  }
}

void Validator::read_name(CurveConfig& curve, const Reader& reader) {
  if (!reader.has("name")) {
    unnamed_curve_ = true;
    reader.missing("name");
  } else if (const auto name = reader.string("name")) {
    const bool bad =
        name->empty() || name->size() > 100 || has_control(*name) || name->find_first_of(",\"'") != std::string::npos;
    if (bad) reader.wrong(*reader.find("name"), "name");
    if (std::find(curve_names_.begin(), curve_names_.end(), *name) != curve_names_.end())
      reader.problem(*reader.find("name"), "must be unique; an earlier curve has this name");
    curve_names_.push_back(*name);
    curve.name = *name;
    unnamed_curve_ = unnamed_curve_ || name->empty();
  } else {
    unnamed_curve_ = true;
  }
}

bool Validator::fits_stream(const Node& node, const std::string& label, std::uint64_t steps, std::uint64_t words,
                            const char* what_helps) {
  if (steps <= ((std::uint64_t{1} << 60) - 1) / words) return true;
  context_.problems.add(node.origin,
                        fmt::format("{}: steps = {} times {} random words a step must stay below 2^60; reduce {}",
                                    printable(label, 120), steps, words, what_helps));
  return false;
}

void Validator::read_curve(const Node& node, const std::string& label) {
  CurveConfig curve;
  const bool has_method = node.find("method") != nullptr, has_model = node.find("model") != nullptr;
  const bool clear = has_method != has_model;
  curve_states_.push_back({&node, label, has_method || !clear, has_model || !clear, false});
  Reader reader(context_, curve_keys(has_method || !clear, has_model || !clear), {{&node, label}},
                clear && has_model ? &model_registry() : &method_registry());
  if (clear && has_model) {  // the rest is read_model()'s, when all methods are known
    read_name(curve, reader);
    experiment_.curves.push_back(std::move(curve));
    return;
  }
  std::map<std::string, std::string> misplaced;
  for (const KeyInfo& key : table_info("model").keys)
    misplaced[key.name] = "belongs to a curve with a model; this one has a method";
  const auto method = has_method ? reader.kind("method") : std::nullopt;
  reader.check_keys(misplaced, "compressor");  // judged below: identity is always welcome
  if (has_method && has_model)
    reader.problem(*reader.find("model"),
                   "does not go together with method: a curve has either a method of its own, or a model of another "
                   "curve's method");
  if (!has_method && !has_model) {
    context_.problems.missing(node.origin, label + ".method",
                              fmt::format("must be {}; or give model, {}, for the SDE of another curve",
                                          reader.info("method").allowed, reader.info("model").allowed));
  }
  curve.method = static_cast<MethodKind>(method.value_or(0));
  const bool compresses = method && curve.method == MethodKind::dcsgd;
  std::optional<Layer> compressor;
  if (reader.has("compressor")) compressor = reader.table("compressor");

  read_name(curve, reader);
  curve.eta = reader.number("eta", positive).value_or(0.0);
  if (const auto sampling = reader.choice("sampling", {"auto", "direct"}))
    curve.sampling = *sampling == 1 ? "direct" : "auto";
  if (const Layer schedule = reader.table("schedule"); schedule.node)
    curve.schedule = read_schedule(context_, schedule);
  if (method) read_method_keys(curve, reader);
  const Layer adaptive = reader.table("adaptive");
  bool have_adaptive = !reader.has("adaptive");
  if (adaptive.node) {
    const auto read = read_adaptive(context_, adaptive, experiment_.objective.kind);
    have_adaptive = read.has_value();
    if (read) curve.adaptive = *read;
  }
  curve.seed = reader.has("seed") ? static_cast<std::uint64_t>(reader.integer("seed", 0, max_seed).value_or(1))
                                  : experiment_.seed;
  curve.paths = reader.has("paths") ? static_cast<std::uint64_t>(reader.integer("paths", 1, max_paths).value_or(1))
                                    : experiment_.paths;
  if (overrides_.seed) curve.seed = *overrides_.seed;
  if (overrides_.paths) curve.paths = *overrides_.paths;

  const Layer own_noise = reader.table("noise"), own_workers = reader.table("workers");
  const auto noise = read_noise(context_, {noise_, own_noise}, true);
  if (noise) curve.noise = *noise;

  bool have_compressor = method.has_value();
  if (compressor) {
    const bool workers_k =
        (own_workers.node && own_workers.node->find("k")) || (workers_.node && workers_.node->find("k"));
    const auto read = compressor->node ? read_compressor(context_, *compressor, workers_k) : std::nullopt;
    have_compressor = have_compressor && read;
    if (read) curve.compressor = *read;
    if (read && method && !compresses && read->kind != CompressorKind::identity) {
      reader.problem(
          *reader.find("compressor"),
          fmt::format("method = \"{}\" sends its gradients uncompressed; compressors belong to method = \"dcsgd\"",
                      name_of(curve.method)));
      have_compressor = false;
    }
  }
  read_curve_workers(curve, own_workers, own_noise, noise.has_value(), have_compressor);
  read_curve_checkpoints(curve, reader);
  if (curve.schedule.kind == ScheduleKind::cosine && curve.steps > 0)
    curve.schedule.steps = static_cast<double>(curve.steps);
  if (noise && have_compressor && have_adaptive && adaptive.node) check_adaptive(curve, adaptive);

  read_variance_reduction(curve, reader);
  if (noise && have_compressor && context_.dim && curve.steps > 0 && !curve.workers.scale.empty()) {
    curve_states_.back().sound =
        clear && fits_stream(node, label, curve.steps, words_per_step(curve, *context_.dim, context_.single),
                             "steps, workers.count or dim");
    check_variance_reduction(curve, reader);
    if (curve.variance_reduction == VarianceReduction::antithetic && !can_be_mirrored(curve, *context_.dim))
      curve.sampling = "direct";
  }
  experiment_.curves.push_back(std::move(curve));
}

void Validator::read_variance_reduction(CurveConfig& curve, const Reader& reader) {
  if (const auto kind = reader.choice("variance_reduction", names(variance_reduction_registry())))
    curve.variance_reduction = static_cast<VarianceReduction>(*kind);
}
/// What the curve as it is does not allow.
void Validator::check_variance_reduction(const CurveConfig& curve, const Reader& reader) {
  if (!context_.problems.empty()) return;
  const std::string why = why_no_reduction(curve.variance_reduction, curve, experiment_.objective);
  if (!why.empty()) reader.problem(*reader.find("variance_reduction"), why);
}

/// The keys that belong to single methods, but for the compressor.
void Validator::read_method_keys(CurveConfig& curve, const Reader& reader) {
  const auto share = [](double x) { return x >= 0.0 && x < 1.0; };
  switch (curve.method) {
    case MethodKind::dsgd:
    case MethodKind::dcsgd:
    case MethodKind::dsignsgd:
      break;
    case MethodKind::dnsgd:
      curve.each_worker = reader.choice("at", {"server", "worker"}) == 1;
      break;
    case MethodKind::clipped_dsgd:
      curve.clip = reader.number("clip", positive).value_or(curve.clip);
      break;
    case MethodKind::heavy_ball:
      curve.momentum = reader.number("momentum", share, curve.momentum).value_or(curve.momentum);
      break;
    case MethodKind::adam:
      curve.beta1 = reader.number("beta1", share, curve.beta1).value_or(curve.beta1);
      curve.beta2 = reader.number("beta2", share, curve.beta2).value_or(curve.beta2);
      curve.epsilon = reader.number("epsilon", positive, curve.epsilon).value_or(curve.epsilon);
      break;
  }
}

/// What joins an adaptive factor with the rest of its curve.
void Validator::check_adaptive(const CurveConfig& curve, const Layer& adaptive) {
  Reader reader(context_, "adaptive", {adaptive}, &adaptive_registry());
  if (curve.adaptive.stochastic && curve.method == MethodKind::dsignsgd) {
    reader.problem(*reader.find("stochastic"),
                   "needs the norm of the gradients that the workers send; those of method = \"dsignsgd\" send signs "
                   "only");
  }
  const bool has_K = curve.adaptive.kind == AdaptiveKind::l0l1 || curve.adaptive.kind == AdaptiveKind::hessian_norm;
  if (has_K && curve.noise.affine > 0.0 && !std::isfinite(noise_variance(curve.noise.law))) {
    reader.problem(*reader.find("kind"),
                   fmt::format("divides by K, which is infinite under affine noise (noise.affine = {}) of the law {}, "
                               "whose variance is infinite; use gradient_norm, or noise.affine = 0",
                               number_text(curve.noise.affine), name_of(curve.noise.law.kind)));
  }
}

void Validator::read_model(std::size_t index) {
  const Node& node = *curve_states_[index].node;
  const std::string& label = curve_states_[index].label;
  const std::string name = experiment_.curves[index].name;
  Reader reader(context_, curve_keys(false, true), {{&node, label}}, &model_registry());
  std::map<std::string, std::string> misplaced;
  const auto refuse = [&](const std::vector<KeyInfo>& keys) {
    for (const KeyInfo& key : keys)
      misplaced[key.name] = "a model takes it from the method curve that its key of names; set it there";
  };
  refuse(table_info("method").keys);
  for (const ComponentInfo& method : method_registry()) refuse(method.keys);
  reader.check_keys(misplaced);

  const auto kind = reader.kind("model");
  ModelConfig model;
  model.kind = static_cast<ModelKind>(kind.value_or(0));
  const bool by_moments = kind && model.kind == ModelKind::hessian_aware;
  auto integrator = reader.choice("integrator", names(integrator_registry()));
  if (!reader.has("integrator"))
    integrator = static_cast<int>(by_moments ? IntegratorKind::moment : IntegratorKind::euler_maruyama);
  model.integrator = static_cast<IntegratorKind>(integrator.value_or(0));
  const bool fitting = by_moments == (model.integrator == IntegratorKind::moment);
  if (kind && integrator && !fitting) {
    reader.problem(
        *reader.find("integrator"),
        by_moments
            ? "model = \"hessian_aware\" is stepped by its moments: must be moment"
            : fmt::format("belongs to model = \"hessian_aware\"; for model = \"{}\" it must be euler_maruyama or "
                          "weak2",
                          name_of(model.kind)));
  }
  const int substeps = model.integrator == IntegratorKind::moment  ? 1
                       : model.integrator == IntegratorKind::weak2 ? 4
                                                                   : 10;
  const auto given = reader.integer("substeps", 1, max_substeps, substeps);
  model.substeps = static_cast<int>(given.value_or(substeps));

  const CurveConfig* method = find_method(reader, name);
  if (!method) return;
  model.of = method->name;
  for (CurveConfig& curve : experiment_.curves) curve.modelled = curve.modelled || curve.name == model.of;
  if (kind && integrator && fitting) check_model(reader, *method, model);
  if (given && context_.dim) {
    fits_stream(node, label, method->steps, words_per_step(*method, model, *context_.dim, context_.single),
                method->noise.law.kind == LawKind::gaussian ? "steps, substeps, workers.count or dim"
                                                            : "steps, substeps or dim");
  }
  CurveConfig curve = *method;
  curve.name = name;
  curve.model = std::move(model);
  curve.variance_reduction = VarianceReduction::none;
  read_variance_reduction(curve, reader);
  check_variance_reduction(curve, reader);
  experiment_.curves[index] = std::move(curve);
}

/// The method of a model; null (and a problem, where there is none yet) when it has none that is sound.
const CurveConfig* Validator::find_method(const Reader& reader, const std::string& own_name) {
  if (!reader.has("of")) reader.missing("of");
  const auto name = reader.string("of");
  if (!name) return nullptr;
  std::vector<std::string> methods, shown;
  bool is_model = false;
  for (std::size_t i = 0; i < curve_states_.size(); ++i) {
    const CurveConfig& curve = experiment_.curves[i];
    const bool named = !curve.name.empty() && curve.name == *name;
    if (named && curve_states_[i].method) return curve_states_[i].sound ? &curve : nullptr;
    is_model = is_model || named;
    if (curve.name.empty() || !curve_states_[i].method) continue;
    methods.push_back(curve.name);
    shown.push_back(printable(curve.name, 60));
  }
  if (!is_model && unnamed_curve_) return nullptr;  // it may be the one that is meant
  if (shown.size() > 10) {
    shown.resize(10);
    shown.push_back("...");
  }
  const std::string known = shown.empty() ? "; no curve here has one" : "; methods here: " + listed(shown);
  const Found found = *reader.find("of");
  if (is_model) {
    reader.wrong(found, "of",
                 (*name == own_name ? "; a model is not of itself" : "; this curve is a model itself") + known);
  } else {
    reader.wrong(found, "of", did_you_mean(*name, methods) + known);
  }
  return nullptr;
}

/// Which models do not exist (docs/theory.md), or are not known well enough to be simulated.
void Validator::check_model(const Reader& reader, const CurveConfig& method, const ModelConfig& model) {
  const Found of = *reader.find("of");
  const bool signs = method.method == MethodKind::dsignsgd, affine = method.noise.affine > 0.0;
  const std::vector<double>& scale = method.workers.scale;
  const bool noisy = affine || std::any_of(scale.begin(), scale.end(), positive);
  const bool separable = is_separable(experiment_.objective.kind);
  const bool known = signs || method.method == MethodKind::dsgd || method.method == MethodKind::dcsgd;
  if (!known) {
    reader.problem(of, fmt::format("has no SDE model: none is known here for method = \"{}\"; models are of dsgd, "
                                   "dcsgd and dsignsgd",
                                   name_of(method.method)));
    return;
  }
  switch (method.compressor.kind) {
    case CompressorKind::identity:
    case CompressorKind::rand_k:
    case CompressorKind::bernoulli:
      break;
    case CompressorKind::qsgd:
    case CompressorKind::natural:
    case CompressorKind::rand_k_plain:
    case CompressorKind::top_k:
      reader.problem(of, fmt::format("has no SDE model: the covariance of its compressor, {}, has no closed form here; "
                                     "models are of identity, rand_k and bernoulli",
                                     name_of(method.compressor.kind)));
      break;
  }
  if (!signs && noisy && !std::isfinite(noise_variance(method.noise.law))) {
    const bool stable = method.noise.law.kind == LawKind::alpha_stable;
    reader.problem(of,
                   fmt::format("has no SDE model: the covariance of its noise, {} with {} = {}, is infinite; a model "
                               "needs {} or law = \"gaussian\" (or method = \"dsignsgd\")",
                               name_of(method.noise.law.kind), stable ? "alpha" : "nu",
                               number_text(stable ? method.noise.law.alpha : method.noise.law.nu),
                               stable ? "alpha = 2" : "nu > 2"));
  }
  if (method.adaptive.kind != AdaptiveKind::none) {
    const std::string factor = fmt::format("adaptive = {{ kind = \"{}\" }}", name_of(method.adaptive.kind));
    if (method.adaptive.stochastic)
      reader.problem(of,
                     "has no SDE model: its " + factor + " is stochastic, a model needs a(x); set stochastic = false");
    if (model.kind == ModelKind::second_order && (signs || method.adaptive.kind == AdaptiveKind::hessian_norm))
      reader.problem(*reader.find("model"), fmt::format("needs the derivative of a(x) m(x), which is not available for "
                                                        "{}{}; use first_order or curvature",
                                                        factor, signs ? " of dsignsgd" : ""));
    if (model.integrator == IntegratorKind::weak2)
      reader.problem(*reader.find("integrator"),
                     "is not available for a curve with " + factor + "; use euler_maruyama");
  }
  if (signs && method.noise.law.kind == LawKind::multivariate_t && (!separable || affine) && context_.dim &&
      *context_.dim > 1) {
    // With affine noise |grad f| couples the coordinates, and the correlations of the signs enter E f after all.
    reader.problem(of, fmt::format("is dsignsgd under multivariate_t: its signs depend on each other, which a model "
                                   "covers only for dim = 1 or a separable objective without affine noise, not for "
                                   "{}{}; use law = \"student_t\" or \"gaussian\"",
                                   name_of(experiment_.objective.kind), affine ? " with affine noise" : ""));
  }
  if (model.kind == ModelKind::hessian_aware && !separable) {
    reader.problem(*reader.find("model"),
                   fmt::format("steps every coordinate by itself and needs a separable objective, which {} is not; use "
                               "first_order, second_order or curvature",
                               name_of(experiment_.objective.kind)));
  }
  if (!signs || !affine) return;
  const std::string why = fmt::format(
      "needs the derivative of the drift, which is not available for dsignsgd with affine noise "
      "(noise.affine = {}); ",
      number_text(method.noise.affine));
  if (model.kind != ModelKind::first_order)
    reader.problem(*reader.find("model"),
                   why + "use first_order with integrator = \"euler_maruyama\", or noise.affine = 0");
  if (model.integrator == IntegratorKind::weak2)
    reader.problem(*reader.find("integrator"), why +
                                                   "use euler_maruyama with model = \"first_order\", or "
                                                   "noise.affine = 0");
}

void Validator::read_curve_workers(CurveConfig& curve, const Layer& own, const Layer& own_noise, bool have_noise,
                                   bool have_compressor) {
  const bool takes_k = have_compressor && keeps_k(curve.compressor.kind);
  const Entry* own_k = own.node ? own.node->find("k") : nullptr;
  const Entry* base_k = workers_.node ? workers_.node->find("k") : nullptr;
  if (own_k && have_compressor && !takes_k) {
    context_.problems.value(own_k->origin, own.path + ".k", own_k->value,
                            "belongs to curves whose compressor is one of " + compressors_with_k() +
                                "; that of this curve is " + name_of(curve.compressor.kind));
  }
  some_curve_takes_k_ = some_curve_takes_k_ || (takes_k && base_k && !own_k);
  some_curve_unclear_ = some_curve_unclear_ || !have_compressor;

  // The curve's own scale would silently lose against a list of [workers].
  const Entry* own_scale = own_noise.node ? own_noise.node->find("scale") : nullptr;
  if (own_scale && workers_.node && workers_.node->find("scale") && !(own.node && own.node->find("scale"))) {
    context_.problems.value(
        own_scale->origin, own_noise.path + ".scale", own_scale->value,
        "has no effect: workers.scale sets the scale of every worker; override workers.scale in this curve");
  }

  std::vector<Layer> layers{workers_};
  if (own.node) layers.push_back(own);
  const WorkersRead read = read_workers(context_, layers, true, takes_k);
  if (!read.good || !have_noise) return;
  const auto count = static_cast<std::size_t>(*read.count);
  curve.workers.count = *read.count;
  curve.workers.scale = read.scale.value_or(std::vector<double>(count, curve.noise.scale));
  curve.workers.batch = read.batch.value_or(std::vector<double>(count, 1.0));
  if (!takes_k) return;
  curve.workers.k = read.k.value_or(std::vector<int>(count, curve.compressor.k));
  const auto& k = curve.workers.k;
  curve.compressor.k = std::all_of(k.begin(), k.end(), [&](int x) { return x == k.front(); }) ? k.front() : 0;
}

void Validator::read_curve_checkpoints(CurveConfig& curve, const Reader& reader) {
  curve.steps = experiment_.steps;
  if (reader.has("steps")) {
    const auto steps = reader.integer("steps", 1, max_steps);
    if (!steps) return;
    curve.steps = static_cast<std::uint64_t>(*steps);
    if (checkpoints_known_ && !experiment_.checkpoint_steps.empty() &&
        experiment_.checkpoint_steps.back() > curve.steps) {
      return reader.problem(*reader.find("steps"), fmt::format("must be at least the last of checkpoint_steps, {}",
                                                               experiment_.checkpoint_steps.back()));
    }
  } else if (!steps_known_) {
    return;
  }
  if (!checkpoints_known_ || !context_.problems.empty()) return;  // not needed, and a list can be long
  if (!experiment_.checkpoint_steps.empty()) {
    curve.checkpoint_steps = experiment_.checkpoint_steps;
  } else {
    const auto n = std::min(static_cast<std::uint64_t>(experiment_.checkpoints), curve.steps);
    curve.checkpoint_steps = interval_ends(n, curve.steps);
  }
}

/// Every name a theorem goes by, with its canonical label.
const std::vector<std::pair<std::string, std::string>>& theorem_names() {
  static const auto table = [] {
    std::vector<std::pair<std::string, std::string>> list;
    for (const BoundInfo& bound : bound_registry()) {
      list.emplace_back(bound.theorem, bound.theorem);
      if (!bound.alias.empty()) list.emplace_back(bound.alias, bound.theorem);
    }
    return list;
  }();
  return table;
}

void Validator::read_bounds() {
  const Node* bounds = tables("bound", max_bounds);
  if (!bounds) return;
  const std::vector<std::string> all = strings_under(bounds, "theorem");
  std::vector<std::string> theorems;
  for (const auto& [name, canonical] : theorem_names()) theorems.push_back(name);
  for (std::size_t i = 0; i < bounds->array.size(); ++i) {
    const Node& node = bounds->array[i];
    Reader reader(context_, "bound", {{&node, "bound." + label_of(node, "theorem", i, all)}});
    reader.check_keys();
    BoundConfig bound;
    if (!reader.has("theorem")) reader.missing("theorem");
    if (const auto theorem = reader.choice("theorem", theorems))
      bound.theorem = theorem_names()[static_cast<std::size_t>(*theorem)].second;
    if (!reader.has("curve")) {
      reader.missing("curve");
    } else if (const auto name = reader.string("curve")) {
      bound.curve = *name;
      if (!unnamed_curve_ && std::find(curve_names_.begin(), curve_names_.end(), *name) == curve_names_.end()) {
        std::vector<std::string> shown;
        for (const std::string& curve : curve_names_) shown.push_back(printable(curve, 60));
        if (shown.size() > 10) {
          shown.resize(10);
          shown.push_back("...");
        }
        reader.wrong(*reader.find("curve"), "curve",
                     did_you_mean(*name, curve_names_) + (shown.empty() ? "" : "; curves here: " + listed(shown)));
      }
    }
    for (const BoundConfig& other : experiment_.bounds) {
      if (!bound.theorem.empty() && other.theorem == bound.theorem && !bound.curve.empty() &&
          other.curve == bound.curve) {
        reader.problem(*reader.find("theorem"), "is already held against curve '" + printable(bound.curve, 60) + "'");
        break;
      }
    }
    const std::vector<std::string> verdicts{"holds", "violated", "inconclusive", "not_applicable"};
    if (const auto expect = reader.choice("expect", verdicts)) bound.expect = static_cast<Expectation>(*expect);
    bound.margin = reader.number("margin", not_negative, bound.margin, false).value_or(0.0);
    bound.confidence =
        reader
            .number(
                "confidence", [](double x) { return x >= 0.5 && x <= 1.0 - 1e-9; }, bound.confidence, false)
            .value_or(0.5);
    if (bound.theorem == "B5" || bound.theorem == "B6" || bound.theorem == "B6d")
      for (CurveConfig& curve : experiment_.curves) curve.averaged = curve.averaged || curve.name == bound.curve;
    experiment_.bounds.push_back(std::move(bound));
  }
}

// ---- --set

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

/// Position of the first `c` outside quotes, or npos. Quotes count where a part of the key begins (B3' has one too).
std::size_t find_unquoted(std::string_view text, char c) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if ((text[i] == '"' || text[i] == '\'') && (i == 0 || text[i - 1] == '.')) {
      i = text.find(text[i], i + 1);
      if (i == std::string_view::npos) break;
    } else if (text[i] == c) {
      return i;
    }
  }
  return std::string_view::npos;
}

std::string unquoted(std::string_view text) {
  text = trimmed(text);
  if (text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front())
    text = text.substr(1, text.size() - 2);
  return std::string(text);
}

/// One --set. Its target is looked up in the tree; unknown keys are left to the validation, which knows them all.
class Override {
 public:
  Override(Node& root, const std::string& text, int index, Problems& problems)
      : root_(root), text_(text), origin_{0, index}, problems_(problems) {}

  void apply() {
    if (toml_reader::first_invalid_utf8(text_) != std::string::npos) return fail("is not UTF-8 text");
    if (has_control(text_)) return fail("must not contain control characters");
    const std::size_t equals = find_unquoted(text_, '=');
    if (equals == std::string::npos) return fail("must be key=value, for example workers.count=4");
    const std::string_view key = trimmed(std::string_view(text_).substr(0, equals));
    const std::string_view value = trimmed(std::string_view(text_).substr(equals + 1));
    if (key.empty()) return fail("the key is missing: write key=value");
    if (value.empty()) return fail("the value is missing: write key=value");
    Node node;
    if (!parse_value(value, node)) return;
    const std::size_t dot = find_unquoted(key, '.');
    const std::string head = unquoted(key.substr(0, dot));
    if (head == "curve" || head == "bound") {
      if (dot == std::string::npos || trimmed(key.substr(dot + 1)).empty()) {
        return fail(head == "curve" ? "address one key of a curve: curve.<name>.<key>"
                                    : "address one key of a bound: bound.<theorem>.<key> or bound.<number>.<key>");
      }
      return apply_to_element(head, trimmed(key.substr(dot + 1)), std::move(node));
    }
    assign(root_, key, std::move(node));
  }

 private:
  void fail(const std::string& why) { problems_.add(origin_, why); }

  bool parse_value(std::string_view value, Node& node) {
    Node table;
    toml_reader::SyntaxError error;
    if (toml_reader::parse_toml("value = " + std::string(value), origin_.set, table, error)) {
      if (table.table.size() == 1 && table.table[0].key == "value") {
        node = std::move(table.table[0].value);
        return true;
      }
      fail("the value is not one TOML value");
      return false;
    }
    const auto word = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             (c && std::strchr("_-+./'", c));
    };
    if (!std::isdigit(static_cast<unsigned char>(value[0])) && value[0] != '+' && value[0] != '-' && value[0] != '\'' &&
        std::all_of(value.begin(), value.end(), word)) {
      node.type = Type::string;
      node.string = value;
      node.origin = origin_;
      return true;
    }
    fail("the value is not TOML (" + error.reason + "); text with spaces or signs needs quotes: key=\"some text\"");
    return false;
  }

  /// curve.<name>.<key>, bound.<theorem or number>.<key>
  void apply_to_element(const std::string& head, std::string_view rest, Node value) {
    const bool curve = head == "curve";
    const char* name_key = curve ? "name" : "theorem";
    Entry* entry = root_.find(head);
    if (!entry || !entry->value.is(Type::array)) return fail("the file has no [[" + head + "]]");
    std::vector<Node>& elements = entry->value.array;

    // Names may hold dots: the longest one that fits counts. The number of an element comes last.
    Node* target = nullptr;
    std::size_t length = 0;
    bool ambiguous = false;
    const std::string quoted = rest.front() == '"' ? unquoted(rest.substr(0, find_unquoted(rest, '.'))) : "";
    for (Node& element : elements) {
      const Entry* name = element.is(Type::table) ? element.find(name_key) : nullptr;
      if (!name || !name->value.is(Type::string) || name->value.string.empty()) continue;
      for (const std::string& alias : curve ? std::vector{name->value.string} : aliases(name->value.string)) {
        std::size_t n = 0;
        if (!quoted.empty() && alias == quoted) {
          n = find_unquoted(rest, '.');
        } else if (rest.size() > alias.size() && rest.substr(0, alias.size()) == alias && rest[alias.size()] == '.') {
          n = alias.size();
        }
        if (n == 0 || n == std::string::npos || n < length) continue;
        ambiguous = n == length && target != &element;
        target = &element;
        length = n;
      }
    }
    const std::size_t dot = find_unquoted(rest, '.');
    const std::string first = unquoted(rest.substr(0, dot));
    if (!target && !first.empty() && first.size() < 6 && first.find_first_not_of("0123456789") == std::string::npos) {
      const auto index = static_cast<std::size_t>(std::stoul(first));
      if (index >= 1 && index <= elements.size() && elements[index - 1].is(Type::table) && dot != std::string::npos) {
        target = &elements[index - 1];
        length = dot;
      }
    }
    if (ambiguous) {
      return fail(fmt::format("several {}s go by '{}'; address one by its number, {}.1.<key> for the first", head,
                              printable(rest.substr(0, length), 60), head));
    }
    if (!target) {
      std::vector<std::string> known = strings_under(&entry->value, name_key);
      if (std::find(known.begin(), known.end(), std::string(rest)) != known.end())
        return fail("the key is missing: write " + head + "." + printable(rest, 60) + ".<key>=value");
      std::string text = fmt::format("no {} '{}'", head, printable(first, 60)) + did_you_mean(first, known);
      if (known.size() > 10) known.resize(10);
      for (std::string& name : known) name = printable(name, 60);
      return fail(text + (known.empty() ? "" : "; known here: " + listed(known)));
    }
    assign(*target, rest.substr(length + 1), std::move(value));
  }

  /// All names of the theorem that `name` names.
  static std::vector<std::string> aliases(const std::string& name) {
    std::vector<std::string> out{name};
    for (const auto& [alias, canonical] : theorem_names()) {
      if (alias != name) continue;
      for (const auto& [other, same] : theorem_names())
        if (same == canonical && other != name) out.push_back(other);
    }
    return out;
  }

  /// Sets the dotted key below `table`, making tables on the way.
  void assign(Node& table, std::string_view key, Node value) {
    Node* node = &table;
    for (int depth = 0;; ++depth) {
      const std::size_t dot = find_unquoted(key, '.');
      const std::string part = unquoted(key.substr(0, dot));
      if (part.empty() || depth > 10) return fail("the key is not a dotted key such as noise.scale");
      Entry* entry = node->find(part);
      if (!entry) {
        node->table.push_back({part, origin_, Node{}});
        entry = &node->table.back();
        entry->value.origin = origin_;
      }
      if (dot == std::string_view::npos) {
        entry->origin = origin_;
        entry->value = std::move(value);
        return;
      }
      if (!entry->value.is(Type::table))
        return fail(fmt::format("'{}' is not a table, it has no keys", printable(part, 60)));
      node = &entry->value;
      key = key.substr(dot + 1);
    }
  }

  Node& root_;
  const std::string& text_;
  Origin origin_;
  Problems& problems_;
};

/// The line of the error with a caret under its column; long lines are cut to a window around it.
std::string quote_line(std::string_view text, std::uint32_t line, std::uint32_t column) {
  std::size_t begin = 0;
  for (std::uint32_t n = 1; n < line && begin != std::string_view::npos; ++n) {
    begin = text.find('\n', begin);
    if (begin != std::string_view::npos) ++begin;
  }
  if (line == 0 || begin == std::string_view::npos) return "";
  std::string_view row = text.substr(begin, text.find('\n', begin) - begin);
  // Code points before the column; toml++ counts those.
  std::vector<std::string> points;
  for (std::size_t i = 0; i < row.size();) {
    std::size_t n = 1;
    while (i + n < row.size() && (static_cast<unsigned char>(row[i + n]) & 0xC0) == 0x80) ++n;
    const bool control = has_control(row.substr(i, n));
    points.push_back(control ? (row[i] == '\t' ? " " : row[i] == '\r' ? "" : "?") : std::string(row.substr(i, n)));
    i += n;
    if (points.size() > std::size_t{column} + 60) break;
  }
  const std::size_t at = column > 0 ? std::min<std::size_t>(column - 1, points.size()) : 0;
  const std::size_t from = at > 60 ? at - 60 : 0;
  const std::string margin = fmt::format("{:>5} | ", line);
  std::string out = "\n" + margin + (from ? "..." : "");
  for (std::size_t i = from; i < points.size(); ++i) out += points[i];
  out += "\n" + std::string(margin.size() - 2, ' ') + "| " + (from ? "   " : "");
  return out + std::string(at - from, ' ') + "^";
}

/// One number where all are the same.
template <class T>
nlohmann::ordered_json number_or_list(const std::vector<T>& list) {
  if (!list.empty() && std::all_of(list.begin(), list.end(), [&](const T& x) { return x == list.front(); }))
    return list.front();
  return list;
}

nlohmann::ordered_json normalised(const ObjectiveConfig& objective) {
  nlohmann::ordered_json json;
  json["kind"] = name_of(objective.kind);
  json["dim"] = objective.dim;
  if (objective.kind == ObjectiveKind::quadratic) {
    nlohmann::ordered_json& spectrum = json["spectrum"];
    spectrum["kind"] = objective.spectrum_kind;
    if (objective.spectrum_kind == "list") {
      spectrum["eigenvalues"] = objective.eigenvalues;
    } else {
      spectrum["min"] = objective.spectrum_min;
      spectrum["max"] = objective.spectrum_max;
    }
  }
  if (objective.kind == ObjectiveKind::quartic) json["L1"] = objective.L1.value_or(1.0);
  const bool data = objective.kind == ObjectiveKind::least_squares || objective.kind == ObjectiveKind::logistic;
  if (data && !objective.file.empty()) {
    json["file"] = objective.file_as_given.empty() ? objective.file : objective.file_as_given;
  } else if (data) {
    json["rows"] = objective.rows;
    if (objective.kind == ObjectiveKind::least_squares) {
      json["rank"] = objective.rank.value_or(std::min(objective.rows, objective.dim));
      json["condition"] = objective.condition;
    }
    json["data_seed"] = objective.data_seed;
  }
  if (objective.kind == ObjectiveKind::saddle) json["eigenvalues"] = objective.eigenvalues;
  if (objective.kind == ObjectiveKind::logistic || objective.kind == ObjectiveKind::saddle) json["lam"] = objective.lam;
  if (objective.mu) json["mu"] = *objective.mu;
  json["start"] = number_or_list(objective.start);
  return json;
}

nlohmann::ordered_json normalised(const CurveConfig& curve) {
  nlohmann::ordered_json json;
  json["name"] = curve.name;
  if (curve.model) {  // the rest is that of the curve it is of
    json["model"] = name_of(curve.model->kind);
    json["of"] = curve.model->of;
    json["substeps"] = curve.model->substeps;
    json["integrator"] = name_of(curve.model->integrator);
    if (curve.variance_reduction != VarianceReduction::none)
      json["variance_reduction"] = name_of(curve.variance_reduction);
    return json;
  }
  json["method"] = name_of(curve.method);
  json["eta"] = curve.eta;
  if (curve.method == MethodKind::dnsgd) json["at"] = curve.each_worker ? "worker" : "server";
  if (curve.method == MethodKind::clipped_dsgd) json["clip"] = curve.clip;
  if (curve.method == MethodKind::heavy_ball) json["momentum"] = curve.momentum;
  if (curve.method == MethodKind::adam) {
    json["beta1"] = curve.beta1;
    json["beta2"] = curve.beta2;
    json["epsilon"] = curve.epsilon;
  }
  nlohmann::ordered_json& compressor = json["compressor"];
  compressor["kind"] = name_of(curve.compressor.kind);
  if (keeps_k(curve.compressor.kind) && curve.compressor.k > 0) compressor["k"] = curve.compressor.k;
  if (curve.compressor.kind == CompressorKind::bernoulli) compressor["p"] = curve.compressor.p;
  if (curve.compressor.kind == CompressorKind::qsgd) compressor["s"] = curve.compressor.s;
  nlohmann::ordered_json& schedule = json["schedule"];
  schedule["kind"] = name_of(curve.schedule.kind);
  if (curve.schedule.kind == ScheduleKind::polynomial) {
    schedule["k0"] = curve.schedule.k0;
    schedule["p"] = curve.schedule.p;
  }
  if (curve.schedule.kind == ScheduleKind::exponential) schedule["rate"] = curve.schedule.rate;
  if (curve.schedule.kind == ScheduleKind::step) {
    schedule["every"] = static_cast<std::int64_t>(curve.schedule.every);
    schedule["factor"] = curve.schedule.factor;
  }
  if (curve.schedule.warmup > 0.0) schedule["warmup"] = static_cast<std::int64_t>(curve.schedule.warmup);
  nlohmann::ordered_json& adaptive = json["adaptive"];
  adaptive["kind"] = name_of(curve.adaptive.kind);
  if (curve.adaptive.kind == AdaptiveKind::gradient_norm) {
    adaptive["c"] = curve.adaptive.c;
    adaptive["q"] = curve.adaptive.q;
  }
  if (curve.adaptive.kind == AdaptiveKind::l0l1 || curve.adaptive.kind == AdaptiveKind::hessian_norm)
    adaptive["theta"] = curve.adaptive.theta;
  if (curve.adaptive.L0) adaptive["L0"] = *curve.adaptive.L0;
  if (curve.adaptive.L1) adaptive["L1"] = *curve.adaptive.L1;
  if (curve.adaptive.kind == AdaptiveKind::gradient_norm || curve.adaptive.kind == AdaptiveKind::l0l1)
    adaptive["stochastic"] = curve.adaptive.stochastic;
  json["sampling"] = curve.sampling;
  if (curve.variance_reduction != VarianceReduction::none)
    json["variance_reduction"] = name_of(curve.variance_reduction);
  json["seed"] = curve.seed;
  json["paths"] = curve.paths;
  json["steps"] = curve.steps;
  nlohmann::ordered_json& noise = json["noise"];
  noise["law"] = name_of(curve.noise.law.kind);
  noise["scale"] = curve.noise.scale;
  noise["affine"] = curve.noise.affine;
  const auto parameter = [&](const char* key, double value) {
    if (find_key(law_registry()[static_cast<std::size_t>(curve.noise.law.kind)].keys, key)) noise[key] = value;
  };
  parameter("nu", curve.noise.law.nu);
  parameter("eps", curve.noise.law.eps);
  parameter("k", curve.noise.law.k);
  parameter("alpha", curve.noise.law.alpha);
  nlohmann::ordered_json& workers = json["workers"];
  workers["count"] = curve.workers.count;
  workers["scale"] = number_or_list(curve.workers.scale);
  workers["batch"] = number_or_list(curve.workers.batch);
  if (!curve.workers.k.empty()) workers["k"] = number_or_list(curve.workers.k);
  return json;
}

}  // namespace

Experiment parse_experiment(std::string_view text, const std::string& source, const Overrides& overrides) {
  const std::string shown = printable(source, 300);
  if (text.substr(0, 3) == "\xEF\xBB\xBF")
    throw InputError(shown + ": starts with a byte order mark; save it as UTF-8 without one");
  if (text.substr(0, 2) == "\xFF\xFE" || text.substr(0, 2) == "\xFE\xFF")
    throw InputError(shown + ": is UTF-16 text; save it as UTF-8");
  if (text.size() > max_file_bytes)
    throw InputError(
        fmt::format("{}: is larger than {} MiB, too large for an experiment file", shown, max_file_bytes >> 20));
  if (const std::size_t bad = toml_reader::first_invalid_utf8(text); bad != std::string_view::npos) {
    throw InputError(fmt::format("{}:{}: is not UTF-8 text (byte 0x{:02X})", shown,
                                 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n'),
                                 static_cast<unsigned char>(text[bad])));
  }
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
    throw InputError(shown + ": is empty; an experiment needs at least paths, steps, [objective] and one [[curve]]");

  Node root;
  toml_reader::SyntaxError error;
  if (!toml_reader::parse_toml(text, -1, root, error)) {
    throw InputError(fmt::format("{}:{}{}: {}{}", shown, error.line,
                                 error.column ? fmt::format(":{}", error.column) : "", error.reason,
                                 quote_line(text, error.line, error.column)));
  }
  root.origin = Origin{};  // a key that the top level lacks is missing everywhere, not on line 1

  Problems problems(shown, overrides.set);
  for (std::size_t i = 0; i < overrides.set.size(); ++i)
    Override(root, overrides.set[i], static_cast<int>(i), problems).apply();
  Experiment experiment = Validator(root, source, overrides, problems).run();
  if (!problems.empty()) throw InputError(problems.text());
  return experiment;
}

Experiment load_experiment(const std::string& path, const Overrides& overrides) {
  const std::string shown = printable(path, 300);
  if (path.empty()) throw InputError("the path of the experiment file is empty");
  if (path.find('\0') != std::string::npos) throw InputError(shown + ": is not a path");
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) throw InputError(shown + ": there is no such file");
  if (std::filesystem::is_directory(status)) throw InputError(shown + ": is a directory, not an experiment file");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  if (file) {
    std::vector<char> chunk(1 << 16);
    // One byte more than allowed is enough to refuse it, also where the file has no end.
    while (text.size() <= max_file_bytes &&
           (file.read(chunk.data(), static_cast<std::streamsize>(chunk.size())), file.gcount() > 0))
      text.append(chunk.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (!file.is_open() || file.bad())
    throw InputError(fmt::format("{}: cannot be read: {}", shown, std::strerror(errno ? errno : EIO)));
  return parse_experiment(text, path, overrides);
}

nlohmann::ordered_json normalised(const Experiment& experiment) {
  nlohmann::ordered_json json;
  json["title"] = experiment.title;
  json["seed"] = experiment.seed;
  json["paths"] = experiment.paths;
  json["steps"] = experiment.steps;
  if (experiment.checkpoint_steps.empty()) {
    json["checkpoints"] = experiment.checkpoints;
  } else {
    json["checkpoint_steps"] = experiment.checkpoint_steps;
  }
  json["precision"] = experiment.precision == Precision::double_ ? "double" : "float";
  json["limit"] = experiment.limit;
  json["objective"] = normalised(experiment.objective);
  json["curve"] = nlohmann::ordered_json::array();
  for (const CurveConfig& curve : experiment.curves) json["curve"].push_back(normalised(curve));
  json["bound"] = nlohmann::ordered_json::array();
  for (const BoundConfig& bound : experiment.bounds) {
    nlohmann::ordered_json entry{{"theorem", bound.theorem}, {"curve", bound.curve}};
    if (bound.expect) entry["expect"] = name_of(*bound.expect);
    entry["margin"] = bound.margin;
    entry["confidence"] = bound.confidence;
    json["bound"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace pathbound
