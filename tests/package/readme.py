#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the README's examples as they stand: the C programs are built and run, and each command of the
console session must print what the README shows: scripts/session.py records it.

    readme.py SOURCE_DIR BUILD_DIR
"""
import os
import re
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))
import session  # noqa: E402

# What the C programs print, and the file that the second one writes.
EXPECTED_FROM_C = [["steps I64", "w F32", "0", "1", "3", "4"], []]
WRITTEN_HEADER = b'{"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'


def blocks(readme, language, count):
    found = re.findall(rf"^```{language}\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    assert len(found) == count, f"{len(found)} {language} blocks in the README"
    return found


def main(source, build):
    with open(os.path.join(source, "README.md"), encoding="utf-8") as file:
        readme = file.read()
    failures = []
    with tempfile.TemporaryDirectory() as place:
        with open(os.path.join(place, "model.safetensors"), "wb") as file:
            file.write(session.model())
        program = os.path.join(place, "example.c")
        compiler = os.environ.get("CC", "cc").split()
        for text, expected in zip(blocks(readme, "c", len(EXPECTED_FROM_C)), EXPECTED_FROM_C):
            with open(program, "w", encoding="utf-8") as file:
                file.write(text)
            subprocess.run(
                [*compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", os.path.join(source, "include"), program,
                 os.path.join(build, "lib", "libsafetensors.a"), "-pthread", "-o", "example"],
                cwd=place, check=True)
            output = subprocess.run(["./example", "model.safetensors"], cwd=place, check=True, capture_output=True,
                                    text=True).stdout
            if output.splitlines() != expected:
                failures.append(f"a C example printed {output!r}")
        with open(os.path.join(place, "new.safetensors"), "rb") as file:
            written = file.read()
        if written[8:].rstrip() != WRITTEN_HEADER + written[-24:] or written[-24:] != struct.pack("<6f", *range(6)):
            failures.append(f"the C example wrote {written!r}")
        for command, expected in session.steps(blocks(readme, "console", 1)[0]):
            ran = session.run(command, place, os.path.join(build, "safetensors"))
            if ran.returncode != 0 or ran.stdout.splitlines() != expected:
                failures.append(f"{command}\n  printed  {ran.stdout!r} {ran.stderr!r}\n  expected {expected!r}")
    for failure in failures:
        print(failure)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main(*map(os.path.abspath, sys.argv[1:3])))
