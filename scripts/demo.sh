#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a clean clone to a judged experiment: installs what is missing, builds the program, runs a shipped experiment
# into results/demo, prints the verdicts and where the report is.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

experiment=bench/experiments/dcsgd_and_dsignsgd.toml
out=results/demo

bash scripts/install-deps.sh --build-only
configure=(cmake --preset cpu)
if [[ ! -f build/cpu/CMakeCache.txt ]]; then
  configure+=(-DPATHBOUND_TESTS=OFF -DPATHBOUND_BENCH=OFF) # the demo alone needs neither; test.sh turns them on
fi
quietly build/demo-configure.log "configuring" "${configure[@]}"
quietly build/demo-build.log "building the program (a few minutes the first time; log in build/demo-build.log)" \
  cmake --build --preset cpu --target pathbound_cli --parallel "$jobs"

say "running $experiment"
status=0
build/cpu/pathbound run "$experiment" -o "$out" || status=$?
case $status in
  0) ;;
  1) say "the run is complete, but a verdict is not the one the experiment expects" ;;
  *)
    say "pathbound exited with $status"
    exit "$status"
    ;;
esac
printf '\nReport: %s\n' "$root/$out/report.html"
exit "$status"
