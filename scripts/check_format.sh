#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks the formatting of C++ sources (--fix: repairs it). Versions of clang-format differ in details, so only the one
# the tree is formatted with counts.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

version=14
tool=
for candidate in "clang-format-$version" clang-format; do
  if command -v "$candidate" >/dev/null && [[ $("$candidate" --version) == *"version $version."* ]]; then
    tool=$candidate
    break
  fi
done
if [[ -z $tool ]]; then
  say "formatting not checked: no clang-format $version here"
  exit 0
fi
mapfile -t files < <(find kernels host bench tests \( -name '*.hpp' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' -o -name '*.inc' \) | sort)
if [[ ${1:-} == --fix ]]; then
  "$tool" -i "${files[@]}"
else
  differing=$("$tool" --dry-run --Werror "${files[@]}" 2>&1 | grep -a ': error:' | cut -d: -f1 | sort | uniq -c || true)
  if [[ -n $differing ]]; then
    printf '%s\n' "$differing" >&2
    say "formatting differs in these files (number of places at the left); scripts/check_format.sh --fix repairs it"
    exit 1
  fi
  say "formatting: ${#files[@]} files, all as they should be"
fi
