#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What is installed can be used: by find_package and by pkg-config, shared and static, also after the
# tree was moved.
set -eu
source=$1
build=$2
cmake=$3
work=$build/package/install
here=$source/tests/package
sample=$here/sample.safetensors
rm -rf "$work"
mkdir -p "$work"

DESTDIR=$work/stage "$cmake" --install "$build" --prefix /opt/st >"$work/install.log"
mv "$work/stage/opt/st" "$work/moved"
root=$work/moved
for file in bin/safetensors include/safetensors/safetensors.h include/safetensors/json.h \
    include/safetensors/edit.h include/safetensors/checkpoint.h include/safetensors/load.h \
    include/safetensors/finding.h include/safetensors/salvage.h \
    include/safetensors/inspect.h include/safetensors/safetensors.hpp \
    share/doc/safetensors/LICENSE \
    share/man/man1/safetensors.1 share/man/man1/safetensors-ls.1 \
    share/bash-completion/completions/safetensors share/zsh/site-functions/_safetensors \
    share/fish/vendor_completions.d/safetensors.fish; do
    test -f "$root/$file" || { echo "not installed: $file"; exit 1; }
done
"$root/bin/safetensors" ls "$sample" >"$work/ls.txt"
grep -q weight "$work/ls.txt"

digest=$(sha256sum "$sample" | cut -d ' ' -f 1)
expect() { # name program...
    name=$1
    shift
    printed=$("$@" "$sample")
    [ "$printed" = "2 tensors, 0 errors, $digest" ] || { echo "$name printed: $printed"; exit 1; }
    echo "$name: good"
}

for kind in shared static; do
    use_static=OFF
    [ $kind = shared ] || use_static=ON
    "$cmake" -G Ninja -S "$here/consumer" -B "$work/$kind" -D CMAKE_PREFIX_PATH="$root" \
        -D safetensors_USE_STATIC_LIBS=$use_static >"$work/$kind.log"
    "$cmake" --build "$work/$kind" >>"$work/$kind.log"
    expect "find_package, $kind" "$work/$kind/consumer"
    linked=$(ldd "$work/$kind/consumer" | grep -c libsafetensors || true)
    [ $kind = static ] && wanted=0 || wanted=2
    [ "$linked" = $wanted ] || { echo "$kind: $linked shared libraries, not $wanted"; exit 1; }
done
if "$cmake" -G Ninja -S "$here/consumer" -B "$work/newer" -D CMAKE_PREFIX_PATH="$root" \
    -D WANTED_VERSION=0.10 >"$work/newer.log" 2>&1; then
    echo "version 0.9 was taken for 0.10"
    exit 1
fi

PKG_CONFIG_PATH=$root/lib/pkgconfig
export PKG_CONFIG_PATH
[ -d "$PKG_CONFIG_PATH" ] || PKG_CONFIG_PATH=$(dirname "$(find "$root" -name safetensors.pc)")
libdir=$(pkg-config --variable=libdir safetensors)
gcc -std=c11 -Werror -o "$work/pc-shared" "$here/consumer/main.c" \
    $(pkg-config --cflags --libs safetensors-inspect)
expect "pkg-config, shared" env LD_LIBRARY_PATH="$libdir" "$work/pc-shared"
gcc -std=c11 -Werror -static -o "$work/pc-static" "$here/consumer/main.c" \
    $(pkg-config --static --cflags --libs safetensors-inspect)
expect "pkg-config, static" "$work/pc-static"
