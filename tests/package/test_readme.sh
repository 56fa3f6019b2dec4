#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_readme.sh SOURCE_DIR BUILD_DIR CMAKE PYTHON
exec "$4" "$1/tests/package/readme.py" "$1" "$2"
