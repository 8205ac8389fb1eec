#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The direction of includes (docs/architecture.md), and that every header compiles on its own.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
failed=0

# refuse WHY FOLDER REGEX [EXCEPTIONS]: no #include "..." in FOLDER matches REGEX, those matching EXCEPTIONS apart.
refuse() {
  local found
  found=$(grep -rnE --include='*.hpp' --include='*.cpp' --include='*.cu' --include='*.cuh' --include='*.def' --include='*.inc' \
    "^[[:space:]]*#[[:space:]]*include[[:space:]]*[\"<]($3)" "$2" | grep -vE "${4:-^\$}" || true)
  if [[ -n $found ]]; then
    printf '%s\n' "$found" >&2
    say "$1"
    failed=1
  fi
}
refuse "kernels/ includes nothing of the other folders" kernels '(\.\./)*(host|bench|tests)/'
refuse "host/ includes nothing of bench/ or tests/" host '(\.\./)*(bench|tests)/'
refuse "host/ sees of kernels/ only spec, statistics, simulate, simulate_cuda, function_table and portable" host \
  '(\.\./)*kernels/' '[<"]kernels/(spec|statistics|simulate|simulate_cuda|function_table|portable)\.hpp[>"]'
cuda_header='(cu[a-z_0-9]*\.h|cuda/|cub/|thrust/|cooperative_groups|device_functions|vector_(types|functions))'
refuse "of kernels/ only kernels/cuda/ includes headers of CUDA" kernels "$cuda_header" '^kernels/cuda/'
refuse "host/ includes no headers of CUDA" host "$cuda_header"
refuse "bench/ includes nothing of tests/" bench '(\.\./)*tests/'
for folder in kernels host bench tests; do
  refuse "includes are written from the root (\"kernels/spec.hpp\"), without ../" "$folder" '\.\./'
done

# Every header alone. Warnings are errors; the instruction-set headers need their flags, which hurt no other.
compiler=${CXX:-g++}
flags=(-std=c++20 -fsyntax-only -I. -Wall -Wextra -Wshadow -Werror)
if [[ $(uname -m) == x86_64 ]]; then
  flags+=(-mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl)
fi
# shellcheck disable=SC2317
alone() { # alone HEADER COMPILER FLAGS...: through an including source, so that #pragma once is not the main file's
  local header=$1
  shift
  if ! printf '#include "%s"\n' "$header" | "$@" -x c++ -; then
    printf 'not self-contained: %s\n' "$header" >&2
    return 1
  fi
}
export -f alone
# Those of kernels/cuda/ are nvcc's.
find kernels host -path kernels/cuda -prune -o -name '*.hpp' -print0 |
  xargs -0 -P "$jobs" -I HEADER bash -c 'alone "$@"' _ HEADER "$compiler" "${flags[@]}" || failed=1

if ((failed == 0)); then
  say "includes: directions are right and every header is self-contained"
fi
exit "$failed"
