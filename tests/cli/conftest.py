# SPDX-License-Identifier: Apache-2.0
"""Running the binary named by ST_BINARY, through pipes or in a terminal, on files made here."""
import fcntl
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import termios

import pytest

from model_files import build, floats
from program import Result, binary, environment
from report_pages import ALL, METADATA, model


@pytest.fixture
def cli():
    """Runs the binary; its standard output is a pipe."""

    def run(*args, stdin=b"", env=None, stdout=subprocess.PIPE, cwd=None):
        options = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        done = subprocess.run([binary(), *map(os.fspath, args)], stdout=stdout, cwd=cwd,
                              stderr=subprocess.PIPE, env=environment(env), timeout=120,
                              **options)
        return Result(done.returncode, done.stdout, done.stderr.decode())

    return run


@pytest.fixture
def traced(tmp_path_factory):
    """Runs the binary under strace with these options; gives the result and the calls, a line each."""

    def run(options, *args, cwd=None):
        if not shutil.which("strace"):
            pytest.skip("no strace")
        log = tmp_path_factory.mktemp("strace") / "log"
        env = environment()
        # The leak sanitizer traces the program itself.
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        done = subprocess.run(["strace", "-f", "-qq", "-o", log, *options, binary(),
                               *map(os.fspath, args)], stdin=subprocess.DEVNULL, cwd=cwd,
                              capture_output=True, env=env, timeout=120)
        if done.stderr.startswith(b"strace:"):
            pytest.skip("strace may not trace here")
        return Result(done.returncode, done.stdout, done.stderr.decode()), \
            log.read_text(errors="replace").splitlines()

    return run


@pytest.fixture
def terminal():
    """Runs the binary, or the program `under` that runs it, in a terminal of some columns; gives what it
    shows."""

    def run(*args, columns=80, env=None, under=()):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        process = subprocess.Popen([*under, binary(), *map(os.fspath, args)],
                                   stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, env=environment(env))
        os.close(theirs)
        out = b""
        while True:
            ready, _, _ = select.select([ours], [], [], 60)
            if not ready:
                process.kill()
                pytest.fail("the terminal stayed silent")
            try:
                block = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not block:
                break
            out += block
        os.close(ours)
        err = process.stderr.read().decode()
        return Result(process.wait(), out.replace(b"\r\n", b"\n"), err)

    return run


@pytest.fixture
def typed():
    """Runs the binary with a terminal for all of its streams, where each answer is typed when it asks ("? [Y/n] ");
    gives all that is shown."""

    def run(answers, *args, env=None):
        ours, theirs = pty.openpty()
        process = subprocess.Popen([binary(), *map(os.fspath, args)], stdin=theirs, stdout=theirs, stderr=theirs,
                                   env=environment(env))
        os.close(theirs)
        out, answers = b"", list(answers)
        while select.select([ours], [], [], 60)[0]:
            try:
                block = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                break
            out += block
            if block and out.endswith(b"[Y/n] ") and answers:
                os.write(ours, answers.pop(0).encode())
        else:
            process.kill()
            pytest.fail("the terminal stayed silent")
        os.close(ours)
        assert not answers
        return Result(process.wait(), out.replace(b"\r\n", b"\n"), "")

    return run


@pytest.fixture
def make(tmp_path):
    """Writes a file of the given tensors, or of bytes, and gives its path."""

    def write(content, metadata=None, name="model.safetensors", tail=b""):
        path = tmp_path / name
        if not isinstance(content, bytes):
            content = build(content, metadata, tail)
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def small(make):
    """Two tensors and a metadata entry."""
    return make({"b.weight": ("F32", [2, 3], floats(0, 1, 2, 3, 4, 5)),
                 "a": ("I16", [3], struct.pack("<3h", -7, 0, 300))}, {"format": "pt"})


@pytest.fixture
def llm(make):
    return make(model(), METADATA)


@pytest.fixture
def hostile(make):
    """Every name is a tensor's, a metadata key, a value, and within JSON in a value."""
    metadata = {**ALL, "json": json.dumps(ALL), "raw json": json.dumps(ALL, ensure_ascii=False)}
    return make({name: ("F32", [2], floats(i, i + 1)) for i, name in enumerate(ALL)}, metadata)
