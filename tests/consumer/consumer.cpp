// SPDX-License-Identifier: Apache-2.0
// Uses an installed pathbound: runs an experiment from text and looks at the verdict.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "host/engine.hpp"
#include "host/experiment.hpp"
#include "host/results.hpp"
#include "host/version.hpp"

namespace {

constexpr const char* text = R"(
title = "a consumer"
paths = 1024
steps = 100
checkpoints = 10
[objective]
kind = "quadratic"
dim = 4
spectrum = { kind = "linear", min = 0.5, max = 1.0 }
start = 1.0
[noise]
law = "gaussian"
scale = 0.1
[workers]
count = 2
[[curve]]
name = "dsgd"
method = "dsgd"
eta = 0.05
[[bound]]
theorem = "B3d"
curve = "dsgd"
)";

}  // namespace

int main() {
  std::printf("pathbound %s, commit %s\n", pathbound::version(), pathbound::commit());
  const pathbound::Experiment experiment = pathbound::parse_experiment(text, "consumer.toml");
  const pathbound::Results results = pathbound::run_experiment(experiment, {});
  std::fputs(pathbound::verdict_table(results).c_str(), stdout);

  const nlohmann::ordered_json json = pathbound::to_json(results);
  if (json.at("curves").at(0).at("mean").size() != 11) return 1;
  if (json.at("bounds").at(0).at("verdict") != "holds") return 1;
  std::puts("consumer ok");
  return 0;
}
