// SPDX-License-Identifier: Apache-2.0
#include "host/shipped.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "host/experiment.hpp"
#include "host/toml_reader.hpp"

namespace fs = std::filesystem;

namespace pathbound {

namespace {

/// share/pathbound/experiments beside the running program, else the source tree it was built from.
fs::path experiment_directory() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    const fs::path installed = program.parent_path() / PATHBOUND_INSTALL_EXPERIMENT_SUBDIR;
    if (fs::is_directory(installed, error)) return installed;
  }
  return PATHBOUND_EXPERIMENT_DIR;
}

/// The value of the first line `title = "..."`.
std::string title_of(const fs::path& file) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("title")) continue;
    const std::size_t open = line.find('"'), close = line.rfind('"');
    if (open != std::string::npos && close > open) return line.substr(open + 1, close - open - 1);
  }
  return {};
}

}  // namespace

std::vector<ShippedExperiment> shipped_experiments() {
  std::vector<ShippedExperiment> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(experiment_directory(), error))
    if (entry.path().extension() == ".toml")
      found.push_back({entry.path().stem().string(), title_of(entry.path()), entry.path().string()});
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return found;
}

std::string find_experiment(const std::string& file_or_name) {
  if (file_or_name.empty()) throw InputError("the name of the experiment file is empty");
  std::error_code error;
  // A folder of that name (results, say) does not hide a shipped experiment.
  const fs::file_status status = fs::status(file_or_name, error);
  if (fs::exists(status) && !fs::is_directory(status)) return file_or_name;
  std::vector<std::string> names;
  for (const ShippedExperiment& experiment : shipped_experiments()) {
    if (experiment.name == file_or_name) return experiment.path;
    names.push_back(experiment.name);
  }
  if (fs::is_directory(status)) return file_or_name;  // load_experiment() says what is wrong
  const std::string with_extension = file_or_name + ".toml";
  const std::string close =
      fs::is_regular_file(with_extension, error) ? with_extension : toml_reader::nearest(file_or_name, names);
  throw InputError(fmt::format(
      "{}: no such file, and no shipped experiment of that name{} (see pathbound list experiments)",
      toml_reader::printable(file_or_name), close.empty() ? "" : fmt::format(" (did you mean '{}'?)", close)));
}

void check_output_directory(const std::string& directory) {
  std::error_code error;
  for (fs::path part = fs::path(directory).lexically_normal();; part = part.parent_path()) {
    if (part.empty()) part = ".";  // above a relative path
    const fs::file_status status = fs::status(part, error);
    if (fs::is_directory(status)) {
      if (::access(part.c_str(), W_OK | X_OK) == 0) {
        for (const char* name : {"results.json", "curves.csv", "report.html"})
          if (fs::is_directory(fs::path(directory) / name, error))
            throw InputError(fmt::format("-o {}: {} is a folder", directory, (fs::path(directory) / name).string()));
        return;
      }
      throw MachineError(fmt::format("-o {}: cannot write in {}: {}", directory, part.string(), std::strerror(errno)));
    }
    if (fs::exists(status)) throw InputError(fmt::format("-o {}: {} is not a folder", directory, part.string()));
    if (part == "." || part == part.parent_path()) return;
  }
}

}  // namespace pathbound
