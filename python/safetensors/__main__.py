# SPDX-License-Identifier: Apache-2.0
"""`python -m safetensors`, and the console script `safetensors`: the command line that the wheel brings along."""

import os
import sys

_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_bin", "safetensors")


def main() -> int:
    """Becomes the program, with this process's arguments. Comes back only where that cannot be: 2."""
    try:
        os.execv(_PROGRAM, ["safetensors", *sys.argv[1:]])
    except OSError as error:
        reason = (
            "this installation has none; the wheels do, and so has the C library's own installation"
            if isinstance(error, FileNotFoundError)
            else error.strerror
        )
        print(f"safetensors: cannot start the command line {_PROGRAM}: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
