#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what pathbound needs from the distribution's packages (Debian 12, Ubuntu 24.04 or later).
#   install-deps.sh --build-only   what the program needs
#   install-deps.sh --tests        the above, and what tests and benchmarks need (the default)
#   install-deps.sh --peers        the above, and what bench/peers needs
# PATHBOUND_SKIP_INSTALL=1 installs nothing.
set -euo pipefail

build_packages=(g++ cmake ninja-build libtomlplusplus-dev libcli11-dev nlohmann-json3-dev libfmt-dev libeigen3-dev
  libboost-dev libjs-chart.js)
test_packages=(librandom123-dev libgtest-dev libbenchmark-dev python3 python3-numpy python3-scipy valgrind)
peer_packages=(libquantlib0-dev python3-venv)
optional_packages=()

say() { printf 'pathbound: %s\n' "$*" >&2; }

packages=("${build_packages[@]}")
case ${1:---tests} in
  --build-only) ;;
  --peers) packages+=("${test_packages[@]}" "${peer_packages[@]}") ;;
  --tests)
    packages+=("${test_packages[@]}")
    # One test looks at the report in a browser. On Ubuntu the package of that name is only a pointer to a snap.
    if [[ -r /etc/os-release ]] && [[ $(. /etc/os-release && echo "${ID:-}") == debian ]]; then
      optional_packages+=(chromium)
    fi
    ;;
  *)
    say "unknown option $1 (allowed: --build-only, --tests, --peers)"
    exit 2
    ;;
esac
if [[ -n ${PATHBOUND_SKIP_INSTALL:-} ]]; then
  exit 0
fi

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  say "this system has no apt: these packages (Debian's names) are needed, going on as if they were there:"
  say "  ${packages[*]}"
  exit 0
fi

# missing NAME...: those of the packages that are not installed, one a line.
missing() {
  local name status
  for name in "$@"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null || true)
    [[ $status == installed ]] || echo "$name"
  done
}

mapfile -t needed < <(missing "${packages[@]}")
mapfile -t wanted < <(missing ${optional_packages[@]+"${optional_packages[@]}"})
if ((${#needed[@]} + ${#wanted[@]} == 0)); then
  exit 0
fi

as_root=()
if ((EUID != 0)); then
  as_root=(sudo)
  [[ -t 0 ]] || as_root=(sudo -n)
  # Asks for the password now, not into the log.
  if ! command -v sudo >/dev/null || ! "${as_root[@]}" true; then
    if ((${#needed[@]} == 0)); then
      exit 0 # only optional ones are missing
    fi
    say "missing packages, and no rights to install them. As root:"
    say "  apt-get install --no-install-recommends ${needed[*]}"
    exit 1
  fi
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  # The locale keeps the log readable for whoever is asked about it; the lock timeout waits for another apt.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q -y -o DPkg::Lock::Timeout=120 "$@" \
    >>"$log" 2>&1 </dev/null
}

say "installing ${needed[*]} ${wanted[*]}"
apt update || say "apt-get update failed; trying with the lists that are here"
if ((${#needed[@]} > 0)) && ! apt install --no-install-recommends "${needed[@]}"; then
  tail -n 30 "$log" >&2
  say "could not install: ${needed[*]}"
  say "Install them yourself, or set PATHBOUND_SKIP_INSTALL=1 to go on without."
  exit 1
fi
if ((${#wanted[@]} > 0)) && ! apt install --no-install-recommends "${wanted[@]}"; then
  say "could not install ${wanted[*]} (optional): the tests that need it are skipped"
fi
