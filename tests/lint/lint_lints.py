# SPDX-License-Identifier: Apache-2.0
"""The lints themselves: each finds the faults planted for it, and nothing in a clean tree."""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
CLEAN = {
    "src/base/error.h": SPDX + "int st__one(void);\n",
    "src/base/error.c": SPDX + '#include "base/error.h"\n\nstatic int two(void)\n{\n    return 2; /* malloc(1) */\n}\n'
    "\nint st__one(void)\n{\n    return two();\n}\n",
    "src/format/dtype.c": SPDX + '#include "base/error.h"\n\nint st__three(int d)\n{\n    switch (d) {\n'
    "    case ST_BF16: return 1;\n    }\n    return st__one();\n}\n",
    "include/safetensors/safetensors.h": SPDX + "/** Gives one. */\nST_API int st_one(void);\nST_API int st_two(int a);\n",
    "tests/abi/exports-core.txt": "st_one\nst_two\n",
}
SECOND_TWO = SPDX + "static int two(void)\n{\n    return 2;\n}\n"


def body(statement):
    return SPDX + "int st__four(int d)\n{\n    " + statement + "\n}\n"


# (lint, file planted, its text, what the finding says)
PLANTED = [
    ("includes", "src/base/up.c", SPDX + '#include "format/dtype.h"\n', "base may not include format"),
    ("includes", "src/format/os.c", SPDX + "#include <unistd.h>\n", "format is pure"),
    ("includes", "src/extra/a.c", SPDX + '#include "base/error.h"\n', "no row in the table"),
    ("includes", "src/base/near.c", SPDX + '#include "error.h"\n', "to be written from src/"),
    ("includes", "cli/main.c", SPDX + '#include "base/error.h"\n', "neither public nor beside"),
    ("names", "src/base/again.c", SECOND_TWO, "two: also in"),
    ("names", "src/base/open.c", SPDX + "int naked(void)\n{\n    return 2;\n}\n", "without the prefix"),
    ("names", "src/base/word.c", SPDX + "static int read_helper(void)\n{\n    return 2;\n}\n", "says nothing"),
    ("calls", "src/base/print.c", body('printf("x");'), "calls printf()"),
    ("calls", "src/base/heap.c", body("free(d);"), "calls free()"),
    ("calls", "cli/dtype.c", body("switch (d) { case ST_BF16: return 1; }"), "a switch over dtypes"),
    ("sizes", "src/base/bare.c", "int x;\n", "SPDX"),
    ("sizes", "src/base/long.c", body("\n".join(["    d++;"] * 100)), "more than 100"),
    ("sizes", "src/base/tall.c", SPDX + "\n" * 700, "more than 700"),
    ("sizes", "src/base/wide.c", SPDX + "int st__w(int a, int b, int c, int d, int e, int f, int g)\n{\n}\n", "six"),
    ("sizes", "cli/later.c", SPDX + "/* TO" "DO */\n", "TO" "DO"),
    ("headers", "include/safetensors/safetensors.h", SPDX + "\nST_API int st_one(void);\n", "st_one has no comment"),
    ("headers", "tests/abi/exports-core.txt", "st_one\nst_three\nst_two\n", "no public header declares"),
    ("headers", "tests/abi/exports-core.txt", "st_one\n", "lacks st_two"),
    ("format", "src/base/format.c", SPDX + "int  x ;\n", "clang-format"),
]


def write(root, files):
    for path, text in files.items():
        path = os.path.join(root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def run(lint, root):
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    return subprocess.run([sys.executable, os.path.join(HERE, f"lint_{lint}.py"), root, root],
                          capture_output=True, text=True, env=environment)


faults = 0
style = os.path.join(sys.argv[1], ".clang-format")
for lint in sorted({row[0] for row in PLANTED}):
    with tempfile.TemporaryDirectory() as root:
        write(root, CLEAN | {".clang-format": open(style, encoding="utf-8").read()})
        done = run(lint, root)
        if done.returncode not in (0, 77):
            faults += 1
            print(f"{lint} finds something in the clean tree:\n{done.stdout}{done.stderr}")
for lint, path, text, said in PLANTED:
    with tempfile.TemporaryDirectory() as root:
        write(root, CLEAN | {".clang-format": open(style, encoding="utf-8").read()} | {path: text})
        done = run(lint, root)
        if done.returncode != 77 and (done.returncode != 1 or said not in done.stdout):
            faults += 1
            print(f"{lint} overlooks {path} ({said}):\n{done.stdout}{done.stderr}")
print(f"{len(PLANTED)} planted, {faults} faults")
sys.exit(1 if faults else 0)
