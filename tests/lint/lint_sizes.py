# SPDX-License-Identifier: Apache-2.0
"""A .c file has at most 700 lines, a function at most 100 lines and six parameters, no file carries notes
of unfinished work, and each begins with its licence."""
import re
import sys

from tree import Tree, functions

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
SPDX = "SPDX-License-Identifier: Apache-2.0"

tree = Tree(sys.argv[1])
paths = tree.files("src", "cli", "python", "include", "tests", "fuzz", "bench", "examples",
                   ext=(".c", ".h", ".cpp", ".hpp"))
for path in paths:
    text = tree.read(path)
    if text.split("\n", 1)[0] != f"/* {SPDX} */":
        tree.report(path, 1, "does not begin with the SPDX line")
    for match in UNFINISHED.finditer(text):
        tree.report(path, text.count("\n", 0, match.start()) + 1, match[1])
    if path.endswith(".c"):
        code = tree.code(path)
        if code.count("\n") > 700:
            tree.report(path, 701, f"{code.count(chr(10))} lines, more than 700")
        lines = code.split("\n")
        for name, _, first, last in functions(code):
            if last - first + 1 > 100:
                tree.report(path, first, f"{name}: {last - first + 1} lines, more than 100")
            head = " ".join(lines[first - 1:last]).split("{", 1)[0]
            if path.startswith("src/") and head.replace(", ...", "").count(",") > 5 and "(*" not in head:
                tree.report(path, first, f"{name}: more than six parameters")
others = tree.files("tests", "scripts", "bench", "cmake", "python", ext=(".py", ".sh", ".cmake"))
for path in others:
    if SPDX not in tree.read(path)[:200]:
        tree.report(path, 1, "has no SPDX line")
tree.exit(len(paths) + len(others))
