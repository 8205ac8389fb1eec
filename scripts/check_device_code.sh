#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Looks into the PTX of build/ptx for arithmetic that would not give the CPU's bits: operations that may be fused (no
# explicit rounding), fused ones nobody wrote, approximations, flushed denormals. The one approximation allowed is the
# estimate of kernels/cuda/root.hpp.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The preset ptx stores PTX as plain text.
mapfile -t objects < <(find build/ptx/CMakeFiles/pathbound.dir/kernels/cuda -name '*.cu.o' | sort)
if ((${#objects[@]} == 0)); then
  say "no device code in build/ptx (cmake --preset ptx && cmake --build --preset ptx)"
  exit 1
fi
instruction='^[[:space:]]*(@!?%p[0-9]+[[:space:]]+)?'
exact=$(cat "${objects[@]}" | grep -acE "$instruction(add|sub|mul|fma|div|sqrt)\.rn\.f(32|64)")
if ((exact < 1000)); then
  say "only $exact exactly rounded operations found in ${#objects[@]} files: is the PTX stored uncompressed?"
  exit 1
fi
if grep -anE "$instruction(mad\.(rn\.)?f(32|64)|(add|sub|mul)\.(ftz\.)?f(32|64)|[a-z0-9]+\.approx|[a-z0-9.]+\.ftz|div\.full)" \
  "${objects[@]}" | grep -avE "rsqrt\.approx\.ftz\.f32[[:space:]]" | head -n 20 | grep . >&2; then
  say "these operations may be fused, are approximate or flush denormals: device code needs -fmad=false"
  exit 1
fi
say "device code: $exact operations, all exactly rounded"
