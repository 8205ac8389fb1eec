#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# emulated.sh COMMAND...: runs COMMAND with the CUDA emulator ptxemu in place of the CUDA runtime, for programs of the
# preset ptx; builds the emulator first, in build/ptxemu, when it is not there or its source is newer. COMMAND runs in
# the repository's root, so a relative path is relative to that:
#   scripts/emulated.sh ctest --preset ptx
#   PTXEMU_DEVICES=2 scripts/emulated.sh build/ptx/pathbound run isotropic_quadratic
# The emulator's source is expected in ../shared/ptxemu, or where PATHBOUND_EMULATOR_SOURCE says; exit status 77 when it
# is not there, else COMMAND's. Its README.md lists the PTXEMU_ variables; PTXEMU_THREADS is the number of processors
# unless set.
set -euo pipefail
source=${PATHBOUND_EMULATOR_SOURCE:-}
if [[ -n $source ]]; then
  source=$(realpath -m -- "$source") # before common.sh changes folders
fi
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if (($# == 0)); then
  say "usage: scripts/emulated.sh COMMAND..."
  exit 2
fi
source=${source:-../shared/ptxemu}
if [[ ! -d $source ]]; then
  say "not run: no emulator in $source (PATHBOUND_EMULATOR_SOURCE)"
  exit 77
fi

build=build/ptxemu
stamp=$build/built # holds the source's path; as old as the last complete build
up_to_date() {
  [[ -f $stamp && $(<"$stamp") == "$(realpath -- "$source")" &&
    -z $(find "$source/" -type f -newer "$stamp" -print -quit) ]]
}
build_emulator() {
  rm -f "$stamp"
  touch "$build/started"
  cmake --fresh -G Ninja -S "$source" -B "$build" -DCMAKE_BUILD_TYPE=Release -DPTXEMU_TESTS=OFF \
    "-DPTXEMU_CUDA_ROOT=${CUDA_PATH:-${CUDA_HOME:-/usr/local/cuda}}"
  cmake --build "$build" --parallel "$jobs"
  realpath -- "$source" >"$stamp"
  touch -r "$build/started" "$stamp" # a file that changed meanwhile counts as newer
}
if ! up_to_date; then
  mkdir -p "$build"
  exec {lock}>"$build/lock"
  flock "$lock" # another one may be building it
  if ! up_to_date; then
    export source build stamp jobs
    export -f build_emulator
    quietly "$build/build.log" "building the CUDA emulator (log in $build/build.log)" \
      bash -euo pipefail -c build_emulator
  fi
  exec {lock}>&-
fi

export PTXEMU_THREADS=${PTXEMU_THREADS:-$jobs}
exec "$build/ptxemu-run" "$@"
