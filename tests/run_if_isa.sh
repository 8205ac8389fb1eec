#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run_if_isa.sh avx2|avx512 COMMAND...: runs it if this machine has the instructions, else exits 77 (skipped).
set -eu
isa=$1
shift
case $isa in
  avx2) flags="avx2 fma" ;;
  avx512) flags="avx2 fma avx512f avx512bw avx512dq avx512vl" ;;
  *) echo "run_if_isa.sh: unknown instruction set $isa" >&2; exit 2 ;;
esac
for flag in $flags; do
  if ! grep -m 1 '^flags' /proc/cpuinfo | grep -qw "$flag"; then
    echo "skipped: this machine has no $flag"
    exit 77
  fi
done
exec "$@"
