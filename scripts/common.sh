# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Shared by the scripts beside it (source it). Goes to the repository's root.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD
jobs=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

say() { printf 'pathbound: %s\n' "$*" >&2; }

# quietly LOG WHAT COMMAND...: the output goes to LOG; when the command fails its end is shown. On a terminal one line
# shows that something moves (ninja's [done/total]).
quietly() {
  local log=$1 what=$2 status=0 pid=
  shift 2
  mkdir -p "$(dirname "$log")"
  say "$what"
  if [[ -t 2 ]]; then
    while sleep 0.3; do
      printf '\r  %-20.20s' "$(grep -ao '^\[[0-9]*/[0-9]*\]' "$log" 2>/dev/null | tail -n 1)" >&2
    done &
    pid=$!
  fi
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [[ -n $pid ]]; then
    kill "$pid"
    wait "$pid" 2>/dev/null || true
    printf '\r%22s\r' '' >&2
  fi
  if ((status != 0)); then
    # Compilers can say a lot: first the lines that name an error, then the end.
    grep -aE '(error|Error|FAILED):' "$log" | head -n 20 >&2 || true
    printf -- '--- the end of %s:\n' "$log" >&2
    tail -n 40 "$log" >&2
    say "failed ($status): $what"
    return "$status"
  fi
}
