# SPDX-License-Identifier: Apache-2.0
"""The browser in a terminal, for its tests: import `ready`, `browse`, and `model`, which are fixtures."""

import os
import re
import shlex
import shutil
import struct
import subprocess

import pytest

from model_files import build, floats
from program import binary, environment
from tmux import Tmux

KEYS = "?: help"  # stands below the tree


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    if not shutil.which("tmux"):
        pytest.skip("no tmux")
    path = tmp_path_factory.mktemp("ready") / "x"
    path.write_bytes(build({}))
    done = subprocess.run([binary(), "view", path], capture_output=True, text=True, env=environment())
    if "built without ncurses" in done.stderr:
        pytest.skip("built without ncurses")


@pytest.fixture
def browse(ready, tmp_path):
    """Runs the browser in a terminal, between two lines of a shell; gives the terminal."""
    opened = []

    def run(*words, columns=80, rows=24, env=None, record=None, stdin=None, job_control=False):
        command = shlex.join([binary(), "view", *map(os.fspath, words)])
        if stdin:
            command = f"{stdin}{command}" if stdin.endswith("|") else f"{command} {stdin}"
        if job_control:
            command = f"set -m; {command}; echo stopped; read line; fg >jobs"
        folder = tmp_path / f"terminal{len(opened)}"
        folder.mkdir()
        script = (
            f"cd {shlex.quote(str(folder))}; trap : INT; echo before; stty -g >begun; {command}; "
            'echo "code $?"; stty -g >ended; echo over'
        )
        variables = "".join(f"export {name}={shlex.quote(value)}; " for name, value in (env or {}).items())
        opened.append(Tmux(variables + script, environment(), columns, rows, record))
        opened[-1].folder = folder
        return opened[-1]

    yield run
    for terminal in opened:
        terminal.close()


def ended(terminal, code=0):
    """Waits for the browser's end: its exit code, and the terminal as it was before."""
    shown = terminal.wait("over")
    assert [line.rstrip() for line in shown.split("\n") if line.strip()] == ["before", f"code {code}", "over"]
    assert (terminal.folder / "begun").read_text() == (terminal.folder / "ended").read_text()


def rows_of(shown):
    """The rows between the title and what stands below, without those that are empty."""
    return [line.rstrip() for line in shown.split("\n")[1:22] if line.strip()]


def fields(row):
    """A row's label, and what stands behind it."""
    return re.split(r"\s{2,}", row.strip())


LAYERS = 12


@pytest.fixture
def model(make):
    """A model with layers, a tensor that is a group too, and metadata."""
    tensors = {"embed.weight": ("F32", [100, 16], struct.pack("<1600f", *range(1600)))}
    for i in range(LAYERS):
        tensors[f"model.layers.{i}.attn.q.weight"] = ("BF16", [16, 16], None)
        tensors[f"model.layers.{i}.mlp.up.weight"] = ("BF16", [64, 16], None)
        tensors[f"model.layers.{i}.norm"] = ("F32", [16], floats(*range(16)))
    tensors["model.Norm"] = ("F32", [16], None)
    tensors["scale"] = ("F64", [], struct.pack("<d", 0.1))
    tensors["scale.zero"] = ("I8", [2], b"\xff\x01")
    return make(tensors, {"format": "pt"})
