# SPDX-License-Identifier: Apache-2.0
"""Every public function is documented (a comment ends above it or above the run of declarations it
stands in), and the lists of exported symbols are the public headers' functions."""
import os
import re
import sys

from tree import Tree

OF_CORE = ("safetensors.h", "edit.h", "checkpoint.h", "finding.h", "salvage.h", "json.h", "load.h")
DECLARED = re.compile(r"\b(st_\w+)\s*\(")

tree = Tree(sys.argv[1])
declared = {}
for path in tree.files("include", ext=(".h",)):
    header = os.path.basename(path)
    component = "core" if header in OF_CORE else header[:-2]
    lines = tree.read(path).split("\n")
    documented = False
    inside = False
    for number, line in enumerate(lines, 1):
        if inside:
            inside = ";" not in line
            continue
        if line.startswith(("ST_API ", "static inline ")):
            name = DECLARED.search(re.sub(r"ST_WARN_UNUSED ", "", line))
            if not name:
                tree.report(path, number, "a declaration whose name is not on its first line")
                continue
            if line.startswith("ST_API "):
                declared.setdefault(component, set()).add(name[1])
            if not documented:
                tree.report(path, number, f"{name[1]} has no comment")
            inside = ";" not in line and not line.startswith("static inline ")
        else:
            documented = line.rstrip().endswith("*/")

for component, names in declared.items():
    path = os.path.join("tests", "abi", f"exports-{component}.txt")
    listed = tree.read(path).split()
    if listed != sorted(set(listed)):
        tree.report(path, 1, "not sorted, or a name twice")
    for name in sorted(names - set(listed)):
        tree.report(path, 1, f"lacks {name}, which a public header declares")
    for name in sorted(set(listed) - names):
        tree.report(path, 1, f"has {name}, which no public header declares")
tree.exit(sum(map(len, declared.values())))
