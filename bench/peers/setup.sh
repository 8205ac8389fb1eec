#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What bench/peers/run.py needs: packages, a Python environment with the peers, the C++ peers and the engine, built.
# PATHBOUND_PEERS_VENV=DIR uses an environment that is there already (default: build/peers/venv, made when missing; the
# packages of requirements.txt take several GB). PATHBOUND_SKIP_INSTALL=1 installs no packages of the distribution.
set -euo pipefail
# shellcheck source=../../scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"

bash scripts/install-deps.sh --peers
venv=${PATHBOUND_PEERS_VENV:-$root/build/peers/venv}
if [[ ! -x $venv/bin/python ]]; then
  quietly build/peers/venv.log "making $venv" python3 -m venv "$venv"
  quietly build/peers/pip.log "installing the peers of bench/peers/requirements.txt (log in build/peers/pip.log)" \
    "$venv/bin/python" -m pip install --disable-pip-version-check -r bench/peers/requirements.txt
fi
quietly build/peers/configure.log "configuring the C++ peers" \
  cmake -S bench/peers -B build/peers -G Ninja "-DPEERS_VENV=$(cd "$venv" && pwd)"
quietly build/peers/build.log "building the C++ peers" cmake --build build/peers --parallel "$jobs"
quietly build/peers/engine-configure.log "configuring the engine" cmake --preset cpu -DPATHBOUND_BENCH=ON
quietly build/peers/engine-build.log "building the engine" \
  cmake --build --preset cpu --parallel "$jobs" --target pathbound_cli bench_throughput
say "run: python3 bench/peers/run.py"
