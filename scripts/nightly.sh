#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What is too slow for every push: slow and exhaustive tests, sanitizers, a second compiler, clang-tidy. Goes on after
# a failure; prints one table at the end. Run it before an issue is closed.
#   nightly.sh [STEP...]   only these steps
# shellcheck disable=SC2317
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

logs=build/nightly
mkdir -p "$logs" results
all_on=(-DPATHBOUND_TESTS=ON -DPATHBOUND_BENCH=ON)

build_cpu() { cmake --preset cpu "${all_on[@]}" && cmake --build --preset cpu --parallel "$jobs"; }

fast() { build_cpu && ctest --preset cpu --parallel "$jobs"; }
slow() { build_cpu && ctest --test-dir build/cpu -L slow --no-tests=error --output-on-failure --parallel "$jobs"; }
exhaustive() { # every float through every function of math.hpp, for each instruction set
  local isa
  build_cpu
  export PATHBOUND_EXHAUSTIVE=1
  build/cpu/tests/pathbound_test_math_generic
  for isa in avx2 avx512; do
    sh tests/run_if_isa.sh "$isa" "build/cpu/tests/pathbound_test_math_$isa" || [[ $? == 77 ]]
  done
}
sanitizer() { # sanitizer PRESET [WRAPPER...]
  local preset=$1
  shift
  cmake --preset "$preset" "${all_on[@]}"
  cmake --build --preset "$preset" --parallel "$jobs"
  "$@" ctest --preset "$preset" --parallel "$jobs"
}
asan() { sanitizer asan; }
# Older runtimes of ThreadSanitizer do not start with today's address space randomisation.
tsan() { sanitizer tsan setarch "$(uname -m)" -R; }
clang() {
  command -v clang++ >/dev/null || return 77
  cmake --preset cpu -B build/clang "${all_on[@]}" -DCMAKE_CXX_COMPILER=clang++ -DPATHBOUND_WERROR=ON
  cmake --build build/clang --parallel "$jobs"
  ctest --test-dir build/clang -LE slow --no-tests=error --output-on-failure --parallel "$jobs"
  same_bits
}
same_bits() { # the two compilers' programs must write the same numbers
  local compiler
  for compiler in cpu clang; do
    "build/$compiler/pathbound" run bench/experiments/dcsgd_and_dsignsgd.toml --paths 4096 --quiet \
      -o "results/nightly_$compiler" || [[ $? == 1 ]]
  done
  cmp results/nightly_cpu/curves.csv results/nightly_clang/curves.csv
}
cuda() { # every architecture; the program starts here, with or without a driver
  command -v nvcc >/dev/null || [[ -x ${CUDA_PATH:-/usr/local/cuda}/bin/nvcc ]] || return 77
  cmake --preset cuda "${all_on[@]}" -DPATHBOUND_WERROR=ON
  cmake --build --preset cuda --parallel "$jobs"
  build/cuda/pathbound list devices
  build/cuda/pathbound run quartic_dsgd --paths 4096 --quiet -o results/nightly_cuda || [[ $? == 1 ]]
  python3 scripts/gpu_figures.py --check registers
}
emulated() { # the GPU tests in random order of warps, and every shipped experiment on an emulated device (half an hour)
  local seed
  [[ -d ${PATHBOUND_EMULATOR_SOURCE:-../shared/ptxemu} ]] || return 77
  cmake --preset ptx "${all_on[@]}"
  cmake --build --preset ptx --parallel "$jobs"
  for seed in 1 2 3; do
    PTXEMU_SHUFFLE=$seed PTXEMU_RACECHECK=1 PTXEMU_DEVICES=3 bash scripts/emulated.sh build/ptx/tests/pathbound_gpu_tests
  done
  bash scripts/emulated.sh build/ptx/bench/bench_bounds --quick --backend cuda | sed '/ path-steps in /d' \
    >results/nightly_bounds_cuda.txt
  bash scripts/emulated.sh build/ptx/bench/bench_bounds --quick --backend cpu | sed '/ path-steps in /d' \
    >results/nightly_bounds_cpu.txt
  cmp results/nightly_bounds_cpu.txt results/nightly_bounds_cuda.txt
}
tidy() {
  command -v clang-tidy >/dev/null || return 77
  cmake --preset cpu "${all_on[@]}"
  find host bench -name '*.cpp' -print0 | xargs -0 -n 1 -P "$jobs" clang-tidy -p build/cpu --quiet
}
shell() {
  command -v shellcheck >/dev/null || return 77
  shellcheck -x .ci/run scripts/*.sh tests/*.sh
}

steps=(fast slow exhaustive asan tsan clang cuda emulated tidy shell)
if (($# > 0)); then
  steps=("$@")
fi
bash scripts/install-deps.sh --tests
failed=0
table=$(printf '%-12s %-8s %8s  %s' step result seconds log)
for step in "${steps[@]}"; do
  if [[ $(type -t "$step") != function ]]; then
    say "no step $step (fast slow exhaustive asan tsan clang cuda emulated tidy shell)"
    exit 2
  fi
  say "$step"
  started=$SECONDS
  # A shell of its own, so that set -e holds inside the step.
  set +e
  (set -e; "$step") >"$logs/$step.log" 2>&1 </dev/null
  status=$?
  set -e
  case $status in
    0) result=passed ;;
    77) result=skipped ;;
    *)
      result=FAILED
      failed=1
      tail -n 30 "$logs/$step.log" >&2
      ;;
  esac
  table+=$(printf '\n%-12s %-8s %8d  %s' "$step" "$result" $((SECONDS - started)) "$logs/$step.log")
done
printf '%s\n' "$table"
exit "$failed"
