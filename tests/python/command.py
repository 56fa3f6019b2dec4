# SPDX-License-Identifier: Apache-2.0
"""The program, to compare with: ST_BINARY names it."""

import os
import subprocess

import pytest


def run(*arguments, codes=(0,)):
    """Runs it, and gives what it printed."""
    binary = os.environ.get("ST_BINARY", "")
    if not os.path.isfile(binary):
        pytest.skip("the program was not built")
    # A sanitizer's runtime is Python's to load, and in the program already.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    result = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert result.returncode in codes, result.stderr
    return result.stdout
