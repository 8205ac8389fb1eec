#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs everything there is to run on a machine with an NVIDIA card: builds for that card alone, then tests, verify,
# benchmarks, the same curves as on the CPU, compute-sanitizer, ncu. Everything goes into one text file to attach to a
# report, results/gpu_acceptance.txt; goes on after a failure; prints one table at the end. Needs no root.
#   gpu_acceptance.sh [PART...]   only these parts (and what they need is expected to be built)
# Under scripts/emulated.sh it does, in the preset ptx, what makes sense there; the rest is skipped by name.
# Exit status: 0, or 1 when a part failed.
# shellcheck disable=SC2317
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

report=results/gpu_acceptance.txt
work=build/gpu_acceptance # logs and results of the parts
emulated=
if [[ ${LD_LIBRARY_PATH:-} == *ptxemu* ]]; then
  emulated=yes
fi
build=build/cuda_acceptance
if [[ -n $emulated ]]; then
  build=build/ptx
fi
pathbound=$build/pathbound

skip() { # skip WHY: ends the part
  printf 'skipped: %s\n' "$*"
  exit 77
}
card_only() {
  if [[ -n $emulated ]]; then
    skip "emulated device"
  fi
}
need() { # need COMMAND: also where CUDA toolkits put their tools
  PATH=$PATH:${CUDA_PATH:-${CUDA_HOME:-/usr/local/cuda}}/bin
  command -v "$1" >/dev/null || skip "no $1"
}
built() { # built PROGRAM
  [[ -x $1 ]] || skip "$1 is not built"
}

# ---- the parts
machine() {
  git log -1 --format='commit %H, %cd' 2>/dev/null || echo "commit unknown"
  git status --short 2>/dev/null | head -n 20 || true
  uname -srm
  sed -n 's/^PRETTY_NAME=//p' /etc/os-release
  grep -m 1 'model name' /proc/cpuinfo || true
  printf '%s processors\n' "$jobs"
  grep MemTotal /proc/meminfo
  "${CXX:-c++}" --version | head -n 1
  cmake --version | head -n 1
  need nvcc
  nvcc --version | tail -n 2
}
card() {
  card_only
  need nvidia-smi
  nvidia-smi
  nvidia-smi -q -d CLOCK,PERFORMANCE,POWER,TEMPERATURE,ECC,COMPUTE
}
build() {
  if [[ -n $emulated ]]; then
    cmake --preset ptx -DPATHBOUND_TESTS=ON -DPATHBOUND_BENCH=ON
  else
    local architectures=native
    if command -v nvidia-smi >/dev/null; then # such as 9.0 -> 90-real
      architectures=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | sort -u |
        sed 's/\.//; s/$/-real/' | paste -sd ';')
    fi
    cmake --preset cuda -B "$build" -DPATHBOUND_TESTS=ON -DPATHBOUND_BENCH=ON -DPATHBOUND_CUDA_LINEINFO=ON \
      "-DCMAKE_CUDA_ARCHITECTURES=$architectures"
  fi
  local targets=(pathbound_cli pathbound_gpu_tests) source
  for source in bench/bench_*.cpp; do
    targets+=("$(basename "$source" .cpp)")
  done
  cmake --build "$build" --parallel "$jobs" --target "${targets[@]}"
}
devices() {
  built "$pathbound"
  "$pathbound" list devices | tee "$work/devices.txt"
  grep -q '^ *cuda 0 ' "$work/devices.txt"
}
tests() {
  built "$build/tests/pathbound_gpu_tests"
  ctest --test-dir "$build" -L gpu -LE slow --no-tests=error --output-on-failure
}
verify() {
  built "$pathbound"
  "$pathbound" verify --backend cuda
}
bench() { # bench NAME
  local program=$build/bench/$1 arguments=(--quick --backend cuda)
  built "$program"
  if [[ -n $emulated ]]; then
    case $1 in
      bench_throughput) skip "emulated device" ;;
      bench_bounds) arguments+=(theorem4_workers quadratic_schedules affine_noise) ;; # some seconds each
    esac
  fi
  "$program" "${arguments[@]}"
}
same_curves() { # the CPU's and the device's numbers, byte by byte
  built "$pathbound"
  local backend paths=()
  if [[ -n $emulated ]]; then
    paths=(--paths 1024)
  fi
  for backend in cpu cuda; do
    # Few paths may leave a verdict open (1); the numbers are what counts here.
    "$pathbound" run dcsgd_and_dsignsgd "${paths[@]}" --backend "$backend" -o "$work/$backend" || [[ $? == 1 ]]
  done
  cmp "$work/cpu/curves.csv" "$work/cuda/curves.csv"
  printf 'curves.csv: the same %s bytes\n' "$(stat -c %s "$work/cuda/curves.csv")"
}
sanitizer() { # sanitizer TOOL
  card_only
  need compute-sanitizer
  built "$build/tests/pathbound_gpu_tests"
  timeout 1800 compute-sanitizer --tool "$1" --error-exitcode 1 "$build/tests/pathbound_gpu_tests" \
    --gtest_filter='Cuda.EveryKernel*:Cuda.LaunchesWavesAndSegments*' | tee "$work/$1.txt"
  grep -q 'PASSED.* [1-9]' "$work/$1.txt" # some tests have these names
}
profile() { # profile EXPERIMENT
  card_only
  need ncu
  built "$pathbound"
  local status=0
  PATHBOUND_LAUNCH_SECONDS=1 timeout 900 ncu --section SpeedOfLight --section LaunchStats --section Occupancy \
    --section WarpStateStats --section MemoryWorkloadAnalysis --launch-count 4 \
    --kernel-name 'regex:scalar_kernel|tile_kernel|statistics_kernel' \
    "$pathbound" run "$1" --paths 65536 --backend cuda --quiet -o "$work/$1" >"$work/ncu.txt" 2>&1 || status=$?
  cat "$work/ncu.txt"
  if grep -q ERR_NVGPUCTRPERM "$work/ncu.txt"; then
    skip "the driver lets only root read performance counters"
  fi
  return "$status"
}
clocks() { # the whole benchmark, and what the card's clocks do meanwhile
  card_only
  need nvidia-smi
  built "$build/bench/bench_throughput"
  local fields=timestamp,index,clocks.sm,clocks.max.sm,clocks.mem,temperature.gpu,power.draw status=0 watcher
  nvidia-smi --loop=1 --format=csv "--query-gpu=$fields,clocks_throttle_reasons.active" >"$work/clocks.csv" 2>&1 &
  watcher=$!
  "$build/bench/bench_throughput" --backend cuda -o "$work/throughput" || status=$?
  kill "$watcher"
  wait "$watcher" 2>/dev/null || true
  cat "$work/clocks.csv"
  cat "$work/throughput/throughput.json"
  return "$status"
}

parts=(machine card build devices tests verify)
for source in bench/bench_*.cpp; do
  parts+=("$(basename "$source" .cpp)")
done
parts+=(same_curves memcheck racecheck synccheck initcheck ncu_j1 ncu_j2 ncu_j3 clocks)

run_part() { # run_part NAME
  case $1 in
    bench_*) bench "$1" ;;
    *check) sanitizer "$1" ;;
    ncu_*) profile "performance_${1#ncu_}" ;;
    *) "$1" ;;
  esac
}

if (($# > 0)); then
  for part in "$@"; do
    if [[ " ${parts[*]} " != *" $part "* ]]; then
      say "no part $part (${parts[*]})"
      exit 2
    fi
  done
  parts=("$@")
fi
mkdir -p "$work" results
if [[ -f $report ]]; then
  mv "$report" "${report%.txt}_before.txt"
fi
printf 'pathbound on a device: %s%s\n' "$(date -u '+%Y-%m-%d %H:%M UTC')" "${emulated:+, emulated}" >"$report"
failed=0
table=$(printf '%-18s %-8s %8s  %s' part result seconds why)
for part in "${parts[@]}"; do
  started=$SECONDS
  log=$work/$part.log
  # A shell of its own, so that set -e holds inside the part.
  set +e
  (
    set -e
    run_part "$part"
  ) >"$log" 2>&1 </dev/null
  status=$?
  set -e
  why=
  case $status in
    0) result=passed ;;
    77)
      result=skipped
      why=$(sed -n 's/^skipped: //p' "$log" | tail -n 1)
      ;;
    *)
      result=FAILED
      why="exit status $status"
      failed=1
      tail -n 30 "$log" >&2
      ;;
  esac
  say "$part: $result${why:+ ($why)}, $((SECONDS - started)) s"
  {
    printf '\n==== %s: %s%s, %d s\n' "$part" "$result" "${why:+ ($why)}" $((SECONDS - started))
    tail -n 2000 "$log"
  } >>"$report"
  table+=$(printf '\n%-18s %-8s %8d  %s' "$part" "$result" $((SECONDS - started)) "$why")
done
printf '\n==== parts\n%s\n' "$table" >>"$report"
printf '%s\n' "$table"
say "everything is in $report"
exit "$failed"
