#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the screens that docs/view.md shows: runs the browser in a terminal, types the keys, and keeps what is seen.

    scripts/screens.py PROGRAM

A screen is a block of text below a comment that holds its keys, by tmux's names or in quotes as they are. A test
holds the page to them, and so they may not be such that it matters what was drawn between two of them: values are in
columns as wide as the widest number drawn so far.
"""

import os
import re
import shlex
import struct
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "cli"))
from model_files import build, size_of  # noqa: E402
from tmux import Tmux  # noqa: E402

PAGE = os.path.join(ROOT, "docs", "view.md")
SCREEN = re.compile(r"^<!-- screen: ([^\n]*) -->\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm"}


def weights(count, seed):
    """Gives F32 numbers that lie about 0 as weights do: sums of four random ones."""
    for _ in range(count):
        total = 0
        for _ in range(4):
            seed = (seed * 1103515245 + 12345) % 2**31
            total += seed >> 16
        yield (total - 4 * 16384) / 2**19


def model():
    """Gives the bytes of the file that the page shows."""
    shapes = {"embeddings.word.weight": ("F32", [512, 96]), "pooler.weight": ("F32", [96, 96])}
    for i in range(12):
        for name in ("query", "key", "value", "output"):
            shapes[f"encoder.layer.{i}.attention.{name}.weight"] = ("F32", [96, 96])
            shapes[f"encoder.layer.{i}.attention.{name}.bias"] = ("F32", [96])
        shapes[f"encoder.layer.{i}.mlp.up.weight"] = ("BF16", [384, 96])
        shapes[f"encoder.layer.{i}.mlp.down.weight"] = ("BF16", [96, 384])
    tensors = {}
    for seed, (name, (dtype, shape)) in enumerate(shapes.items()):
        values = list(weights(size_of("U8", shape), seed)) if not name.startswith("encoder.") else None
        tensors[name] = (dtype, shape, struct.pack(f"<{len(values)}f", *values) if values else None)
    return build(tensors, {"format": "pt", "config": '{"hidden_size":96,"layers":12,"activation":"gelu"}'})


def screens(page):
    """Gives the keys and the text of each screen of a page."""
    return [(match[1], match[2]) for match in SCREEN.finditer(page)]


def browser(folder, program, keys):
    """Gives a terminal in which these keys were typed at the browser."""
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(model())
    command = shlex.join([os.path.abspath(program), "view", "model.safetensors"])
    terminal = Tmux(f"cd {shlex.quote(folder)}; {command}", ENVIRONMENT)
    terminal.wait("?: help")
    for word in shlex.split(keys, posix=False):
        if word.startswith('"'):
            terminal.write(word.strip('"'))
        else:
            terminal.type(word)
    return terminal


def shown(terminal):
    return "".join(line + "\n" for line in terminal.lines()[:24])


def capture(program, keys):
    with tempfile.TemporaryDirectory() as folder, browser(folder, program, keys) as terminal:
        before, quiet = None, 0
        while quiet < 20:  # half a second without a change
            now = shown(terminal)
            quiet = quiet + 1 if now == before else 0
            before = now
            time.sleep(0.025)
        return before


def main(program):
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    page = SCREEN.sub(lambda match: f"<!-- screen: {match[1]} -->\n```text\n{capture(program, match[1])}```", page)
    with open(PAGE, "w", encoding="utf-8") as file:
        file.write(page)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: screens.py PROGRAM")
    main(sys.argv[1])
