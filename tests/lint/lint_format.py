# SPDX-License-Identifier: Apache-2.0
"""clang-format 14 would change nothing."""
import subprocess
import sys

from tree import Tree

tree = Tree(sys.argv[1])
try:
    version = subprocess.run(["clang-format", "--version"], capture_output=True, text=True).stdout
except FileNotFoundError:
    version = ""
if " 14." not in version:
    print(f"skipped: needs clang-format 14, not {version.strip() or 'none'}")
    sys.exit(77)
paths = tree.files("src", "cli", "python", "include", "tests", "fuzz", "bench", "examples",
                   ext=(".c", ".h", ".cpp", ".hpp"))
checked = subprocess.run(["clang-format", "--dry-run", "--Werror", *paths], cwd=tree.root,
                         capture_output=True, text=True)
for line in checked.stderr.splitlines():
    if "error:" in line:
        tree.findings.append(line)
if checked.returncode and not tree.findings:
    tree.findings.append(checked.stderr)
tree.exit(len(paths))
