#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_isa_symbols.sh LIBRARY.a: of what cpu_avx2.cpp and cpu_avx512.cpp define, the linker may merge only functions
# in their own inline namespace with other objects'. Anything else compiled there (a std:: template, say) could replace
# the plain version of another file and then run on a machine without these instructions.
set -eu
bad=$(nm -AC --defined-only "$1" | grep -E ':cpu_avx(2|512)\.cpp\.o:' | grep -E ' [WVuw] ' |
  grep -vE 'isa_(avx2|avx512)' || true)
if [ -n "$bad" ]; then
  echo "$bad"
  exit 1
fi
nm -A --defined-only "$1" | grep -c ':cpu_avx' # the object files were found
