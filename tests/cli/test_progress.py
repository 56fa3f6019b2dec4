# SPDX-License-Identifier: Apache-2.0
"""Long work: the bar on a terminal, and its end by a signal. A copy into a pipe that nobody reads takes
as long as the test wants."""
import array
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

import pytest

from model_files import build
from program import binary, environment

SIZE = 16 << 20


@pytest.fixture
def large(make):
    return make({"w": ("U8", [SIZE], bytes(range(256)) * (SIZE // 256))})


class Pipe:
    """A FIFO with a program that writes into it."""

    def __init__(self, path, words, **options):
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.process = subprocess.Popen([binary(), *map(os.fspath, words)], env=environment(),
                                        stdin=subprocess.DEVNULL, **options)

    def wait_until_full(self):
        """Returns when the writer waits for a reader."""
        room = fcntl.fcntl(self.fd, fcntl.F_GETPIPE_SZ)
        held = array.array("i", [0])
        while held[0] < room:
            assert self.process.poll() is None
            time.sleep(0.001)
            fcntl.ioctl(self.fd, termios.FIONREAD, held)

    def drain(self):
        os.set_blocking(self.fd, True)
        got = b""
        while block := os.read(self.fd, 1 << 20):
            got += block
        os.close(self.fd)
        return got


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_a_copy(large, tmp_path, number):
    pipe = Pipe(tmp_path / "fifo", ["copy", large, tmp_path / "fifo"], stdout=subprocess.PIPE,
                stderr=subprocess.PIPE)
    pipe.wait_until_full()
    pipe.process.send_signal(number)
    assert len(pipe.drain()) < SIZE
    out, err = pipe.process.communicate(timeout=60)
    assert pipe.process.returncode == 128 + number
    assert out == b"" and len(err.splitlines()) == 1
    assert err.startswith(b"safetensors: ")


def test_signals_leave_a_whole_document(large, tmp_path):
    pipe = Pipe(tmp_path / "fifo", ["copy", "--json", large, tmp_path / "fifo"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pipe.wait_until_full()
    pipe.process.send_signal(signal.SIGINT)
    pipe.drain()
    out, _ = pipe.process.communicate(timeout=60)
    assert pipe.process.returncode == 130
    assert json.loads(out)["files"][0]["error"]["status"] == "ST_ERR_STOPPED"


def test_second_signal_kills(large, tmp_path):
    pipe = Pipe(tmp_path / "fifo", ["copy", large, tmp_path / "fifo"], stderr=subprocess.PIPE)
    pipe.wait_until_full()
    pipe.process.send_signal(signal.SIGINT)
    pipe.process.send_signal(signal.SIGINT)
    while pipe.process.poll() is None:
        pipe.process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    os.close(pipe.fd)
    pipe.process.stderr.close()
    assert pipe.process.returncode == -signal.SIGINT


def terminal_of(columns):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    return ours, theirs


def screen_of(fd):
    """Reads what a terminal got, until its last writer closes it."""
    shown = b""
    while select.select([fd], [], [], 60)[0]:
        try:
            block = os.read(fd, 65536)
        except OSError:
            break
        if not block:
            break
        shown += block
    os.close(fd)
    return shown.decode()


def test_bar(large, tmp_path):
    """It is drawn once a second has passed, which the test waits for, and is gone at the end."""
    ours, theirs = terminal_of(80)
    pipe = Pipe(tmp_path / "fifo", ["copy", large, tmp_path / "fifo"], stderr=theirs)
    os.close(theirs)
    pipe.wait_until_full()
    time.sleep(1.1)
    assert len(pipe.drain()) > SIZE
    shown = screen_of(ours)
    assert pipe.process.wait() == 0
    first = shown.split("\r")[1]
    assert re.match(r" *\d+%  [█▉▊▋▌▍▎▏░]{10,30}  [\d.]+ [KM]iB of 16\.0 MiB  [\d.]+ [KM]?i?B/s",
                    first)
    assert len(first) < 80
    assert re.search(r"\r +\r$", shown)
    assert "\n" not in shown and "\x1b" not in shown


def test_no_bar_in_a_file(large, tmp_path):
    with open(tmp_path / "err", "wb") as err:
        pipe = Pipe(tmp_path / "fifo", ["copy", large, tmp_path / "fifo"], stderr=err)
        pipe.wait_until_full()
        time.sleep(1.1)
        pipe.drain()
        assert pipe.process.wait() == 0
    assert (tmp_path / "err").read_bytes() == b""


# ------------------------------------------------------------- what reads many files, and no tensor of them

# More than a pipe holds: once it is written, the program reads it.
PIPED = build({"w": ("U8", [1 << 20], bytes(1 << 20))})


@pytest.fixture
def small(make):
    return make({"w": ("U8", [1], b"x")})


@pytest.mark.parametrize("words", [["grep", "w"], ["check"], ["grep", "--json", "w"], ["check", "--json"]])
def test_signals_end_a_look_through_many_files(small, words):
    """What was found by then is printed, and a document is whole."""
    process = subprocess.Popen([binary(), *words, small, "-", small], env=environment(), stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(PIPED)
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    if "--json" in words:
        files = json.loads(out)["files"]
        assert files[0]["file"] == str(small) and len(files) == 2 and "error" in files[1]
    else:
        assert len(out.decode().splitlines()) == 1 and str(small) in out.decode()
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("words", [["grep", "w"], ["check"]])
def test_bar_of_files(small, words):
    """It stands there while standard input makes the program wait for its third file, and is gone at the end."""
    ours, theirs = terminal_of(80)
    process = subprocess.Popen([binary(), *words, small, "-", "-", small], env=environment(), stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    process.stdin.write(PIPED)
    process.stdin.flush()
    time.sleep(1.1)
    process.stdin.close()
    shown = screen_of(ours)
    assert process.wait() == 0
    assert re.match(r" 50%  [█░]{10,30}  2 of 4 files  \d+ s left", shown.split("\r")[1])
    assert re.search(r"\r +\r$", shown) and "\n" not in shown


# --------------------------------------------------- what reads or writes tensor data: each verb, under strace

PART = 4 << 20


@pytest.fixture
def pair(tmp_path):
    """Two files that can be told apart, of names that they have in common."""
    for name in "ab":
        tensors = {f"t{i}": ("U8", [PART], bytes([i + ord(name)]) * PART) for i in range(4)}
        (tmp_path / f"{name}.safetensors").write_bytes(build(tensors))
    return tmp_path


# What is called, and which of the calls by which data is read or moved the signal comes with, or is slow: the header
# of a file is one of them.
VERBS = [
    (["hash", "a.safetensors"], "preadv", 3),
    (["hash", "--tensors", "a.safetensors", "b.safetensors"], "preadv", 3),
    (["hash", "--record", "a.safetensors", "b.safetensors"], "preadv", 3),
    (["hash", "--verify-metadata", "new.safetensors"], "preadv", 3),
    (["hash", "-c", "manifest.json"], "preadv", 3),
    (["stats", "a.safetensors"], "preadv", 3),
    (["diff", "--atol", "1", "a.safetensors", "b.safetensors"], "preadv", 5),
    (["split", "-s", "5MB", "a.safetensors", "shards"], "copy_file_range", 2),
    (["merge", "shards", "-o", "new.safetensors"], "copy_file_range", 2),
    (["cat", "-P", "a.safetensors", "b.safetensors", "-o", "new.safetensors"], "copy_file_range", 1),
    (["report", "a.safetensors", "-o", "new.html"], "preadv", 3),
]


@pytest.fixture
def alone():
    """One processor, and so one thread: each thread would have calls counted for itself, and a signal of its own."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def used(traced, pair):
    """Skips where data are not read or moved by a call here, as the plainest of verbs shows."""

    def look(call):
        words = ["copy", "a.safetensors", "copied"] if call == "copy_file_range" else ["hash", "a.safetensors"]
        _, calls = traced(["-e", f"trace={call}"], *words, cwd=pair)
        # A header is read by preadv wherever the data are not.
        least = 1 if call == "copy_file_range" else 4
        if sum(bool(re.search(rf"{call}\(.* = [1-9]", line)) for line in calls) < least:
            pytest.skip(f"{call} is not how data is read or moved here")
        if words[0] == "copy":
            (pair / "copied").unlink()

    return look


def left_in(folder):
    return sorted(os.fspath(path.relative_to(folder)) for path in folder.rglob("*") if path.name != "log")


def prepare(cli, folder, words):
    """The shards that merge wants; what stands where a new file goes."""
    if words[0] == "merge":
        assert cli("split", "-s", "5MB", folder / "a.safetensors", folder / "shards").code == 0
    if "--verify-metadata" in words:
        shutil.copy(folder / "a.safetensors", folder / "new.safetensors")
        assert cli("hash", "-a", "xxh3", "--record", folder / "new.safetensors").code == 0
    if "-c" in words:
        assert cli("hash", "-a", "xxh3", "-m", folder / "manifest.json", folder / "a.safetensors").code == 0
    if "-o" in words:
        (folder / words[-1]).write_bytes(b"old")


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("words, call, when", VERBS, ids=lambda each: each[0] if isinstance(each, list) else "")
def test_signals_end_every_verb(cli, traced, pair, alone, used, words, call, when, options):
    """In the midst of its work: nothing new is there, nothing old is gone, and of what is told a document is whole."""
    used(call)
    prepare(cli, pair, words)
    before = left_in(pair)
    done, calls = traced(["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGINT:when={when}"], words[0], *options,
                         *words[1:], cwd=pair)
    assert any("SIGINT" in line for line in calls)
    assert done.code == 130
    assert len(done.err.splitlines()) == 1 and done.err.startswith("safetensors: ")
    if options:
        assert done.json["files"] and done.out.count('"ST_ERR_STOPPED"') == 1
    new = [name for name in left_in(pair) if name not in before]
    # Of a split the folder that was made for it.
    assert new == (["shards"] if words[0] == "split" else []) and set(before) <= set(left_in(pair))
    if (pair / words[-1]).is_file() and "-o" in words:
        assert (pair / words[-1]).read_bytes() == b"old"


@pytest.mark.parametrize("words, call, when", VERBS, ids=lambda each: each[0] if isinstance(each, list) else "")
def test_bars_of_every_verb(cli, traced, pair, alone, used, words, call, when):
    """One call is so slow that the bar is due behind it, however fast the machine is."""
    used(call)
    prepare(cli, pair, words)
    _, calls = traced(["-e", f"trace={call}"], *words, cwd=pair)
    assert len([line for line in calls if f"{call}(" in line]) > when
    prepare(cli, pair, words)
    ours, theirs = terminal_of(80)
    # The leak sanitizer traces the program itself.
    env = environment({"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"})
    process = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}",
         "-e", f"inject={call}:delay_exit=1100000:when={when}", binary(), *words],
        cwd=pair, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = screen_of(ours)
    assert process.wait() in (0, 1)
    assert re.search(r"\r *\d+%  [█▉▊▋▌▍▎▏░]{10,30}  [\d.]+ [KM]?i?B of [\d.]+ MiB", shown)
    assert re.search(r"\r +\r$", shown)
