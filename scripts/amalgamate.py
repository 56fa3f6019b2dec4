#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Joins the core (base, format, io, file, checkpoint, load) into safetensors.h and safetensors.c.

    amalgamate.py DIRECTORY

safetensors.h holds safetensors.h, edit.h, finding.h, salvage.h, checkpoint.h, json.h and load.h; safetensors.c needs
nothing else and compiles as C11.
File-local names are unique in the core (a lint sees to it); macros of one .c file end with it.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDERS = ("base", "format", "io", "file", "checkpoint", "load")
PUBLIC = ("safetensors/safetensors.h", "safetensors/edit.h", "safetensors/finding.h", "safetensors/salvage.h",
          "safetensors/checkpoint.h", "safetensors/json.h", "safetensors/load.h")
SYSTEM = re.compile(r"^#\s*include\s+<[^>]+>")
CONDITION = re.compile(r"^#\s*(if|endif)")
INCLUDE = re.compile(r'^#\s*include\s+(?:"([^"]+)"|<(safetensors/[^>]+)>)')
DEFINE = re.compile(r"^#\s*define\s+(\w+)")
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"

OPENING = """
/* The core of libsafetensors in one file, made by scripts/amalgamate.py: compile it as C11 and link
 * with -pthread. */
#ifndef _GNU_SOURCE
# define _GNU_SOURCE
#endif
#ifndef _FILE_OFFSET_BITS
# define _FILE_OFFSET_BITS 64
#endif
#include "safetensors.h"
"""

# Private functions stay out of what a shared library around the amalgamation exports; the system's
# are not ours to hide.
HIDDEN = "#if defined(__GNUC__)\n# pragma GCC visibility push(hidden)\n#endif\n"
SHOWN = HIDDEN.replace("hidden", "default")
POP = "#if defined(__GNUC__)\n# pragma GCC visibility pop\n#endif\n"


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read().removeprefix(SPDX)


class Amalgamation:
    def __init__(self, seen=(), hoist=True):
        self.seen = set(seen)
        self.hoist = hoist
        self.parts = []
        self.system = []

    def add(self, path):
        """Adds a file, each of the project's headers it includes first and once. What it includes of the
        system goes to the top of all, except where that depends on a condition other than its guard."""
        out = []
        depth = -1 if path.endswith(".h") else 0
        for line in read(path).splitlines(keepends=True):
            condition = CONDITION.match(line)
            if condition:
                depth += 1 if condition[1] == "if" else -1
            match = INCLUDE.match(line)
            if not match:
                if not self.hoist or not SYSTEM.match(line):
                    out.append(line)
                elif depth == 0:
                    if line not in self.system:
                        self.system.append(line)
                else:
                    out += [SHOWN, line, POP]
                continue
            header = "src/" + match[1] if match[1] else "include/" + match[2]
            if header not in self.seen:
                self.seen.add(header)
                self.flush(out, path)
                out = []
                self.add(header)
        self.flush(out, path)

    def flush(self, lines, path):
        text = "".join(lines).strip("\n")
        if text:
            self.parts.append(f"\n/* ---- {path} */\n\n{text}\n")

    def add_source(self, path):
        self.add(path)
        macros = {m[1] for line in read(path).splitlines() if (m := DEFINE.match(line))}
        if macros:
            self.parts.append("\n" + "".join(f"#undef {name}\n" for name in sorted(macros)))

    def text(self):
        return "".join(self.parts)


def sources():
    for folder in FOLDERS:
        directory = os.path.join(ROOT, "src", folder)
        for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
            if name.endswith(".c"):
                yield f"src/{folder}/{name}"


def main(directory):
    header = Amalgamation(hoist=False)
    for path in PUBLIC:
        if "include/" + path not in header.seen:
            header.seen.add("include/" + path)
            header.add("include/" + path)
    source = Amalgamation(seen=("include/" + path for path in PUBLIC))
    for path in sources():
        source.add_source(path)

    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "safetensors.h"), "w", encoding="utf-8") as file:
        file.write(SPDX + header.text())
    with open(os.path.join(directory, "safetensors.c"), "w", encoding="utf-8") as file:
        file.write(SPDX + OPENING + "".join(source.system) + "\n" + HIDDEN + source.text() + "\n" + POP)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: amalgamate.py DIRECTORY")
    main(sys.argv[1])
