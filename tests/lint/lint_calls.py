# SPDX-License-Identifier: Apache-2.0
"""src/ neither prints, exits, reads the environment, nor takes memory past the context's allocator;
the switches over dtypes stand under src/format only."""
import re
import sys

from tree import Tree, line_of

MEMORY = "malloc|calloc|realloc|free|aligned_alloc|posix_memalign|strdup|strndup|alloca"
REFUSED = re.compile(
    rf"(?<![\w.>])({MEMORY}|printf|fprintf|puts|putchar|perror|exit|_exit|abort|getenv|secure_getenv|setenv|"
    r"strcpy|strcat|sprintf|vsprintf|gets|strtok|setlocale|signal|sigaction|atexit|system|popen|rand|srand)\s*\("
)
MAY_CALL = {"src/base/context.c": set(MEMORY.split("|"))}
DTYPE_CASE = re.compile(r"\bcase\s+ST_(BOOL|[UIFC][0-9]\w*|BF16)\s*:")

tree = Tree(sys.argv[1])
paths = tree.files("src")
for path in paths:
    code = tree.code(path)
    for match in REFUSED.finditer(code):
        if match[1] not in MAY_CALL.get(path, ()):
            tree.report(path, line_of(code, match.start()), f"calls {match[1]}()")
for path in tree.files("src", "cli", "python"):
    if not path.startswith(("src/format/", "src/quant/")):
        code = tree.code(path)
        for match in DTYPE_CASE.finditer(code):
            tree.report(path, line_of(code, match.start()), "a switch over dtypes outside src/format")
tree.exit(len(paths))
