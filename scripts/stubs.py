#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Copies the extension's own descriptions into its stub, python/safetensors/_safetensors_rust.pyi.

PYTHONPATH=BUILD/python scripts/stubs.py
"""

import ast
import inspect
import os
import textwrap

STUB = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "python/safetensors/_safetensors_rust.pyi"
)
# A class of the stub's own, for what two classes have in common.
STANDS_FOR = {"_OpenFile": "safe_open"}


def description(owner, name):
    """What the extension says of a class, function, method or property; None of what Python itself describes."""
    found = vars(owner).get(name) if inspect.isclass(owner) else getattr(owner, name, None)
    if name == "__new__":
        return None
    own = inspect.isclass(found) or inspect.isbuiltin(found) or inspect.ismethoddescriptor(found)
    if not (own or inspect.isgetsetdescriptor(found)) or type(found).__name__ == "wrapper_descriptor":
        return None
    return inspect.getdoc(found)


def described(stub, module):
    """The stub with the descriptions of the module."""
    starts = [0]
    for line in stub.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    edits = []

    def visit(body, owner):
        for node in body:
            if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                continue
            name = STANDS_FOR.get(node.name, node.name)
            text = description(owner, name) if node.name not in STANDS_FOR else None
            first = node.body[0]
            replaced = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            # A decorator's line comes before that of what it decorates.
            line = min([first.lineno, *(item.lineno for item in getattr(first, "decorator_list", []))])
            begin = starts[line - 1] + first.col_offset
            end = starts[first.end_lineno - 1] + first.end_col_offset if replaced else begin
            indent = " " * (node.col_offset + 4)
            if text:
                shown = textwrap.indent(f'"""{text}"""' if "\n" not in text else f'"""{text}\n"""', indent, str.strip)
                rest = "" if replaced else "\n" + indent
                edits.append((len(stub[:begin].rstrip()), end, "\n" + shown + rest))
            elif replaced and first.value.value is not ...:
                edits.append((len(stub[:begin].rstrip()), end, " ..."))
            if isinstance(node, ast.ClassDef):
                visit(node.body, getattr(module, name))

    visit(ast.parse(stub).body, module)
    for begin, end, text in sorted(edits, reverse=True):
        stub = stub[:begin] + text + stub[end:]
    return stub


def main():
    from safetensors import _safetensors_rust

    with open(STUB, encoding="utf-8") as file:
        stub = file.read()
    stub = described(stub, _safetensors_rust)
    with open(STUB, "w", encoding="utf-8") as file:
        file.write(stub)


if __name__ == "__main__":
    main()
