#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds everything and runs every test but the slow ones.
# PATHBOUND_WERROR=ON treats warnings as errors. Arguments go to ctest (-R NAME, --rerun-failed, ...).
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

started=$SECONDS
phase() { # phase NAME: the time since the last one
  say "$1: $((SECONDS - started)) s"
  started=$SECONDS
}

bash scripts/install-deps.sh --tests
phase "packages"
configure=(cmake --preset cpu -DPATHBOUND_TESTS=ON -DPATHBOUND_BENCH=ON)
if [[ -n ${PATHBOUND_WERROR:-} ]]; then
  configure+=("-DPATHBOUND_WERROR=$PATHBOUND_WERROR")
fi
quietly build/test-configure.log "configuring" "${configure[@]}"
quietly build/test-build.log "building everything (log in build/test-build.log)" \
  cmake --build --preset cpu --parallel "$jobs"
phase "build"

log=build/test-ctest.log
say "testing (log in $log)"
status=0
ctest --preset cpu --parallel "$jobs" "$@" >"$log" 2>&1 </dev/null || status=$?
if ((status != 0)); then
  # What failed printed its output: show that, without the lines of the tests that passed.
  grep -avE '^ *[0-9]+/[0-9]+ Test +#[0-9]+: .* Passed +[0-9.]+ sec$|^ *Start +[0-9]+: ' "$log" | tail -n 200 >&2
fi
sed -n '/tests passed,/,$p' "$log"
phase "tests"
exit "$status"
