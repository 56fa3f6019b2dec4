#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# pytest.sh PYTHON FILE: runs a file's tests; 77 (skipped) where scripts/setup has not made PYTHON.
[ -x "$1" ] || { echo "no $1: run scripts/setup test"; exit 77; }
exec "$1" -m pytest -q -p no:cacheprovider "$2"
