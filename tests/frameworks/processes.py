# SPDX-License-Identifier: Apache-2.0
"""Programs in processes of their own, in which nothing is imported yet."""

import subprocess
import sys


def run(program, *arguments):
    """Runs Python code; gives what it printed."""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)], capture_output=True, text=True
    )
    assert result.returncode == 0, f"exit status {result.returncode}\n{result.stderr}"
    return result.stdout.strip()
