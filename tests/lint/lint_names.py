# SPDX-License-Identifier: Apache-2.0
"""File-local functions and variables of src/ are unique and unprefixed, shared ones begin with st_ or
st__, and no name holds a word that says nothing."""
import re
import sys

from tree import Tree, functions

EMPTY_WORDS = re.compile(r"(^|_)(manager|handler|helper|utils?|misc|ex|v[0-9]|data2)(_|$)")
VARIABLE = re.compile(r"^static (?:const )?[\w ]+?\**(\w+)(?:\[[^\]]*\])* *(?:=|;)", re.M)

tree = Tree(sys.argv[1])
seen = {}
count = 0
for path in tree.files("src", ext=(".c",)):
    code = tree.code(path)
    names = [(name, static, line) for name, static, line, _ in functions(code)]
    names += [(m[1], True, code.count("\n", 0, m.start()) + 1) for m in VARIABLE.finditer(code)]
    for name, static, line in names:
        count += 1
        if EMPTY_WORDS.search(name):
            tree.report(path, line, f"{name}: a word that says nothing")
        if not static and not name.startswith(("st_", "st__")):
            tree.report(path, line, f"{name}: shared, but without the prefix st__")
        if static and name.startswith("st_"):
            tree.report(path, line, f"{name}: file-local, but with the prefix st_")
        if static and seen.setdefault(name, path) != path:
            tree.report(path, line, f"{name}: also in {seen[name]}")
tree.exit(count)
