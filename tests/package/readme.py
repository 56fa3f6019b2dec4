#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the README's examples as they stand: the C program is built and run, and each command of the
console session must print what the README shows.

    readme.py SOURCE_DIR BUILD_DIR
"""
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

EXPECTED_FROM_C = ["steps I64", "w F32", "0", "1", "3", "4"]


def model():
    """The file that the README's examples look at."""
    header = {
        "__metadata__": {"format": "pt"},
        "steps": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]},
        "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [16, 40]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + struct.pack("<2q6f", 10, 20, *range(6))


def block(readme, language):
    found = re.findall(rf"^```{language}\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    assert len(found) == 1, f"{len(found)} {language} blocks in the README"
    return found[0]


def session(text):
    """The commands of a console block, each with the output shown for it."""
    steps = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    return steps


def main(source, build):
    with open(os.path.join(source, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    failures = []
    with tempfile.TemporaryDirectory() as place:
        with open(os.path.join(place, "model.safetensors"), "wb") as file:
            file.write(model())
        program = os.path.join(place, "example.c")
        with open(program, "w", encoding="utf-8") as file:
            file.write(block(readme, "c"))
        compiler = os.environ.get("CC", "cc").split()
        subprocess.run(
            [*compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", os.path.join(source, "include"), program,
             os.path.join(build, "lib", "libsafetensors.a"), "-pthread", "-o", "example"],
            cwd=place, check=True)
        output = subprocess.run(["./example", "model.safetensors"], cwd=place, check=True, capture_output=True,
                                text=True).stdout
        if output.splitlines() != EXPECTED_FROM_C:
            failures.append(f"the C example printed {output!r}")
        environment = dict(os.environ, PATH=build + os.pathsep + os.environ["PATH"])
        for command, expected in session(block(readme, "console")):
            ran = subprocess.run(["bash", "-c", command], cwd=place, env=environment, capture_output=True, text=True)
            if ran.returncode != 0 or ran.stdout.splitlines() != expected:
                failures.append(f"{command}\n  printed  {ran.stdout!r} {ran.stderr!r}\n  expected {expected!r}")
    for failure in failures:
        print(failure)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(*map(os.path.abspath, sys.argv[1:3])))
