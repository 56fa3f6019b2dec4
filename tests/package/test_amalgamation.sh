#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The amalgamation compiles as C11 with gcc and clang without a warning, exports what the shared
# library does, and runs an example that knows only its two files.
set -eu
source=$1
build=$2
python=$4
work=$build/package/amalgamation
sample=$source/tests/package/sample.safetensors
rm -rf "$work"
mkdir -p "$work/use"
"$python" "$source/scripts/amalgamate.py" "$work"
sed 's,<safetensors/safetensors.h>,"safetensors.h",' "$source/examples/read.c" >"$work/use/read.c"

for compiler in gcc clang; do
    for level in -O0 -O2; do
        $compiler -std=c11 $level -Wall -Wextra -Wpedantic -Wconversion -Werror \
            -c "$work/safetensors.c" -o "$work/safetensors.o"
        $compiler -std=c11 -Wall -Werror -I"$work" "$work/use/read.c" "$work/safetensors.o" -pthread \
            -o "$work/read"
        "$work/read" "$sample" | cmp - "$source/examples/read.txt"
    done
done
gcc -std=c11 -O2 -fPIC -shared "$work/safetensors.c" -pthread -o "$work/libsafetensors.so"
nm -D --defined-only "$work/libsafetensors.so" | sed 's/.* //' | sort >"$work/exported.txt"
LC_ALL=C sort "$work/exported.txt" | diff - "$source/tests/abi/exports-core.txt"
echo "good"
