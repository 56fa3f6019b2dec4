# SPDX-License-Identifier: Apache-2.0
"""clang-tidy, with the short list of .clang-tidy, finds nothing in src/, cli/ and python/."""
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tree import Tree

tree = Tree(sys.argv[1])
build = sys.argv[2]
try:
    subprocess.run(["clang-tidy", "--version"], capture_output=True, check=True)
except FileNotFoundError:
    print("skipped: no clang-tidy")
    sys.exit(77)
with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
    compiled = [os.path.relpath(entry["file"], tree.root) for entry in json.load(file)]
paths = sorted({path for path in compiled if path.startswith(("src/", "cli/", "python/"))})


# How many states of a function the analyzer looks at: a sixth of its default, in two minutes of processor time rather
# than seven.
LIMIT = [f"--extra-arg={word}" for word in ("-Xclang", "-analyzer-config", "-Xclang", "max-nodes=40000")]


def tidy(path):
    return subprocess.run(["clang-tidy", "--quiet", "-p", build, *LIMIT, path], cwd=tree.root,
                          capture_output=True, text=True)


with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    for path, done in zip(paths, pool.map(tidy, paths)):
        findings = [line for line in done.stdout.splitlines() if "warning:" in line or "error:" in line]
        tree.findings += findings
        if done.returncode and not findings:
            tree.report(path, 0, done.stderr)
tree.exit(len(paths))
