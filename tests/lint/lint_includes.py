# SPDX-License-Identifier: Apache-2.0
"""Includes run down only: a folder of src/ includes what the table gives it, and what stands outside
src/ includes public headers only."""
import os
import re
import sys

from tree import Tree

FILE = {"file", "io", "format", "base"}
MAY_INCLUDE = {
    "base": set(),
    "format": {"base"},
    "io": {"base", "format"},
    "file": {"io", "format", "base"},
    "inspect": FILE,
    "checkpoint": FILE,
    "quant": {"format", "base"},
    "plan": {"quant", "format", "base"},
    "device": {"base"},
    "load": {"plan", "quant", "device", "checkpoint"} | FILE,
    "remote": set(),
    "convert": set(),
    "mpi": set(),
}
PURE = {"format"}
SYSTEM_HEADERS = re.compile(r"(sys|linux|netinet|arpa)/|(unistd|fcntl|pthread|dirent|poll|dlfcn|signal)\.h$")
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)

tree = Tree(sys.argv[1])
count = 0
for path in tree.files("src"):
    folder = path.split(os.sep)[1]
    if folder not in MAY_INCLUDE:
        tree.report(path, 1, f"folder {folder} has no row in the table of includes")
        continue
    for number, line in enumerate(tree.read(path).split("\n"), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        count += 1
        kind, name = match[1], match[2]
        if kind == '"':
            target = name.split("/")[0]
            if "/" not in name:
                tree.report(path, number, f'"{name}" is to be written from src/')
            elif target != folder and target not in MAY_INCLUDE[folder]:
                tree.report(path, number, f'{folder} may not include {target} ("{name}")')
            elif not os.path.exists(os.path.join(tree.root, "src", name)):
                tree.report(path, number, f'"{name}" is not below src/')
        elif folder in PURE and SYSTEM_HEADERS.match(name):
            tree.report(path, number, f"{folder} is pure: no <{name}>")

for path in tree.files("cli", "python", "examples", "include", ext=(".c", ".h", ".cpp", ".hpp")):
    here = os.path.dirname(os.path.join(tree.root, path))
    for number, line in enumerate(tree.read(path).split("\n"), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        count += 1
        if match[1] == '"' and not os.path.exists(os.path.join(here, match[2])):
            tree.report(path, number, f'"{match[2]}" is neither public nor beside the file')
        if match[1] == '"' and "/" in match[2]:
            tree.report(path, number, f'"{match[2]}" reaches into another folder')
tree.exit(count)
