#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# pytest.sh PYTHON FILE: runs a file's tests; 77 (skipped) where scripts/setup has not made PYTHON, or nothing could be tested.
[ -x "$1" ] || { echo "no $1: run scripts/setup test"; exit 77; }
PYTHONPATH=$(dirname "$0")${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec "$1" -m pytest -q -rs -p no:cacheprovider -p skipped "$2"
