#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Each public header compiles alone, as C99, C11 and C++17, with gcc and clang, without a warning.
set -eu
source=$1
build=$2
work=$build/package/headers
rm -rf "$work"
mkdir -p "$work"
strict="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wundef -Werror -fsyntax-only"
count=0

compile() { # compiler standard language header
    echo "#include <safetensors/$4>" >"$work/one.$3"
    $1 -std=$2 $strict -I"$source/include" "$work/one.$3"
    count=$((count + 1))
}

for header in "$source"/include/safetensors/*.h "$source"/include/safetensors/*.hpp; do
    name=$(basename "$header")
    case $name in
    *.h)
        for compiler in gcc clang; do
            compile $compiler c99 c "$name"
            compile $compiler c11 c "$name"
        done
        ;;
    esac
    compile g++ c++17 cpp "$name"
    compile clang++ c++17 cpp "$name"
done
echo "$count compilations"
