// SPDX-License-Identifier: Apache-2.0
// Experiments that ship with the program, and where a run's files may go.
#pragma once
#include <string>
#include <vector>

namespace pathbound {

struct ShippedExperiment {
  std::string name, title, path;
};
/// Sorted by name; from the source tree in a build, from share/pathbound/experiments when installed.
std::vector<ShippedExperiment> shipped_experiments();

/// The path of an experiment given as a file or as the name of a shipped one. Throws InputError.
std::string find_experiment(const std::string& file_or_name);

/// Throws InputError when something that is not a folder is in the way of the results, MachineError when the folder may
/// not be written.
void check_output_directory(const std::string& directory);

}  // namespace pathbound
