#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Compiles every kernel header into real device code (tests/cuda_kernels.cu -> PTX). Needs nvcc, no device. Without
# nvcc it says so and succeeds.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

source=tests/cuda_kernels.cu
nvcc=
for candidate in nvcc "${CUDA_PATH:-/usr/local/cuda}/bin/nvcc" "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc"; do
  if command -v "$candidate" >/dev/null; then
    nvcc=$candidate
    break
  fi
done
if [[ -z $nvcc ]]; then
  say "kernel headers not compiled for the device: no nvcc here"
  exit 0
fi
# The newest kernels must still build for the oldest architecture; -Werror covers what nvcc itself has to say.
arch=${1:-compute_80}
ptx=build/cuda_kernels.ptx
quietly build/cuda_kernels.log "compiling $source with $("$nvcc" --version | sed -n 's/.*\(release [0-9.]*\).*/nvcc \1/p') for $arch" \
  "$nvcc" -std=c++20 -fmad=false "-arch=$arch" -ptx -I. -Werror all-warnings -Xcompiler -ffp-contract=off \
  -o "$ptx" "$source"
kernels=$(grep -c '\.entry' "$ptx" || true)
if ((kernels == 0)); then
  say "no kernel in $ptx"
  exit 1
fi
# No contraction: a fused multiply-add in the PTX must have been written as one (fma.rn); mad is never ours.
if grep -nE '^\s*mad\.(rn\.)?f(32|64)' "$ptx" >&2; then
  say "contracted floating-point arithmetic in $ptx"
  exit 1
fi
say "device code: $kernels kernels"
