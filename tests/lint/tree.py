# SPDX-License-Identifier: Apache-2.0
"""What the lints share: the project's files, C source without comments, and the report."""
import os
import re
import sys

COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


class Tree:
    def __init__(self, root):
        self.root = os.path.abspath(root)
        self.findings = []

    def files(self, *folders, ext=(".c", ".h")):
        """Gives the paths below the folders, relative to the root, sorted."""
        found = []
        for folder in folders:
            for directory, subdirectories, names in os.walk(os.path.join(self.root, folder)):
                subdirectories[:] = [d for d in subdirectories if d not in ("__pycache__", "corpus", "cases")]
                for name in names:
                    if name.endswith(tuple(ext)):
                        found.append(os.path.relpath(os.path.join(directory, name), self.root))
        return sorted(found)

    def read(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8") as file:
            return file.read()

    def code(self, path):
        """The text of a C file with comments and the insides of literals blanked, lines kept."""
        return blank(self.read(path))

    def report(self, path, line, text):
        self.findings.append(f"{path}:{line}: {text}")

    def exit(self, looked_at):
        """Ends the lint. To have looked at nothing is a fault too."""
        for finding in self.findings:
            print(finding)
        if not looked_at:
            print("nothing to look at")
        print(f"{len(self.findings)} findings in {looked_at} places")
        sys.exit(1 if self.findings or not looked_at else 0)


def blank(text):
    def hide(match):
        literal = match[0]
        if literal[0] in "\"'":
            return literal[0] + re.sub(r"[^\n]", " ", literal[1:-1]) + literal[0]
        return re.sub(r"[^\n]", " ", literal)

    return COMMENT_OR_STRING.sub(hide, text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def functions(code):
    """Gives (name, is_static, first line, last line) of each function defined in blanked C code laid out
    as clang-format does: the body's braces stand in the first column."""
    lines = code.split("\n")
    for number, line in enumerate(lines):
        if line != "{":
            continue
        start = number
        while start > 0 and lines[start - 1].strip() and not lines[start - 1].startswith(("}", "#", "{")):
            start -= 1
            if not lines[start].startswith(" "):
                break
        head = " ".join(lines[start:number])
        match = re.search(r"(\w+)\s*\(", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", head))
        if not match:
            continue
        end = number
        while end < len(lines) and lines[end] != "}":
            end += 1
        yield match[1], head.startswith("static"), start + 1, end + 1
