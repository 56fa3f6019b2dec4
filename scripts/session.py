#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records the README's session: runs the commands of its console block in a new folder, and puts what each prints below
it. A test holds the README to that.

    scripts/session.py PROGRAM
"""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

README = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "README.md")
BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.DOTALL | re.MULTILINE)


def model():
    """Gives the bytes of the file that the README's examples look at."""
    header = {
        "__metadata__": {"format": "pt"},
        "steps": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]},
        "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [16, 40]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + struct.pack("<2q6f", 10, 20, *range(6))


def steps(text):
    """Gives the commands of a console block, each with the lines shown below it."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def run(command, folder, program):
    """Runs one command of the session, with the program's folder on the path."""
    path = os.path.dirname(os.path.abspath(program)) + os.pathsep + os.environ["PATH"]
    return subprocess.run(["bash", "-c", command], cwd=folder, env=dict(os.environ, PATH=path, LC_ALL="C"),
                          capture_output=True, text=True)


def main(program):
    with open(README, encoding="utf-8") as file:
        page = file.read()
    recorded = []
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "model.safetensors"), "wb") as file:
            file.write(model())
        for command, _ in steps(BLOCK.search(page)[0]):
            ran = run(command, folder, program)
            if ran.returncode != 0:
                sys.exit(f"{command}: {ran.stderr}")
            recorded += ["$ " + command, *ran.stdout.splitlines()]
    with open(README, "w", encoding="utf-8") as file:
        file.write(BLOCK.sub(lambda _: "\n".join(recorded) + "\n", page, count=1))


if __name__ == "__main__":
    main(sys.argv[1])
