# SPDX-License-Identifier: Apache-2.0
"""safetensors.edit.recover: what interrupted edits have left, told and put right as the program's repair does."""

import gc
import json
import os
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
from command import run
from exhaust import every_allocation_may_fail

from safetensors import SafetensorError
from safetensors._safetensors_rust import _recover
from safetensors.checkpoint import split
from safetensors.edit import Recovery, edit, recover
from safetensors.numpy import load_file, save_file

TENSORS = {"ids": np.arange(5), "head": np.array([1.0, 2.0]), "w": np.ones((2, 3), np.float32)}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def path(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors", {"k": "old"})
    return tmp_path / "model.safetensors"


@pytest.fixture
def folder(path):
    split(path, path.parent / "shards", shard_count=3)
    return path.parent / "shards"


def fnv(data):
    total = 0xCBF29CE484222325
    for byte in data:
        total = (total ^ byte) * 0x100000001B3 % 2**64
    return total


def journal_of(path, stretches):
    """The journal of an edit, by docs/journal.md; `stretches` are offsets and what is to stand there."""

    def summed(data):
        return data + struct.pack("<Q", fnv(data))

    old, info = path.read_bytes(), path.stat()
    records, body = b"", b""
    for offset, new in stretches:
        before = old[offset : offset + len(new)]
        record = summed(struct.pack("<4Q", offset, len(new), fnv(before), fnv(new)))
        records += record
        body += record + before + new
    body += bytes(-len(body) % 32)
    size = 64 + len(body) + 32
    head = struct.pack("<2I5Q", 1, 0, size, len(stretches), len(old), info.st_dev, info.st_ino)
    return summed(b"\x89STJ\r\n\x1a\n" + head) + body + summed(b"STJ-DONE" + struct.pack("<2Q", size, fnv(records)))


def beside(path):
    return path.with_name(path.name + ".st-journal")


def write(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def contents(folder):
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


def told_by_the_program(path, *options, codes=(0,)):
    """What `repair --json` tells, as `recover` does."""
    found = []
    for file in json.loads(run("repair", "--json", *options, path, codes=codes))["files"]:
        if "error" in file:
            found.append(Recovery(file["file"], None, 0, 0, error=file["error"]["message"]))
        elif file["recovery"] != "none":
            numbers = (file["stretches"], file["bytes"], file.get("files"), file.get("left"))
            found.append(Recovery(file["file"], file["recovery"], *numbers))
    return found


def same_as_the_program(path, expected):
    """A dry run, the program's dry run, and both of them in earnest, on copies."""
    there = path.parent
    before = contents(there if path.is_file() else path)
    assert recover(path, dry_run=True) == told_by_the_program(path, "-n") == expected
    assert contents(there if path.is_file() else path) == before
    assert recover(path) == expected
    assert recover(path) == recover(path, dry_run=True) == told_by_the_program(path) == []


# --------------------------------------------------------------------------------------------- a file


def test_nothing_was_left(path, folder):
    for each in (path, os.fspath(path), folder, folder / INDEX):
        assert recover(each) == [] == recover(each, dry_run=True)


@pytest.mark.parametrize("kind", ["back", "forward", "unfinished", "foreign"])
def test_what_a_crash_left_is_told_and_put_right(path, kind):
    before = path.read_bytes()
    offset = before.index(b'"ids"')
    journal = journal_of(path, [(offset, b'"IDS"'), (len(before) - 2, b"xy")])
    beside(path).write_bytes(journal[:-1] if kind == "unfinished" else journal)
    after = before
    if kind == "back":  # in the middle of a stretch the machine stopped
        write(path, offset, b'"ID')
    elif kind == "forward":
        write(path, offset, b'"IDS"')
        write(path, len(before) - 2, b"xy")
        after = path.read_bytes()
    elif kind == "foreign":
        after = before + b"!"
        path.with_name("new").write_bytes(after)
        os.replace(path.with_name("new"), path)
    counts = (2, 7) if kind in ("back", "forward") else (0, 0)
    same_as_the_program(path, [Recovery(os.fspath(path), kind, *counts)])
    assert path.read_bytes() == after and not beside(path).exists()


def test_a_damaged_journal_is_left(path):
    damaged = bytearray(journal_of(path, [(20, b"x")]))
    damaged[70] ^= 1
    beside(path).write_bytes(damaged)
    before = contents(path.parent)
    (left,) = recover(path, dry_run=True)
    assert (left.file, left.kind, left.bytes, left.files) == (os.fspath(path), None, 0, None)
    assert left.error.startswith(f"{beside(path)}: ")
    with pytest.raises(SafetensorError) as raised:
        recover(path)
    assert str(raised.value) == left.error
    assert contents(path.parent) == before


def test_a_path_that_is_not_there(path, tmp_path):
    for dry_run in (False, True):
        for none in (tmp_path / "none", tmp_path / "none" / INDEX):
            with pytest.raises(FileNotFoundError, match=f"^{tmp_path / 'none'}") as raised:
                recover(none, dry_run=dry_run)
            assert isinstance(raised.value, SafetensorError)
        with pytest.raises(OSError):
            recover(path / "none", dry_run=dry_run)
        for odd in (3, None, b"bytes"):
            with pytest.raises(TypeError):
                recover(odd, dry_run=dry_run)


# --------------------------------------------------------------------------------------- checkpoints


def test_a_shard_of_several(folder):
    names = sorted(name for name in os.listdir(folder) if name != INDEX)
    second = folder / names[1]
    beside(second).write_bytes(b"")
    same_as_the_program(folder, [Recovery(os.fspath(second), "unfinished", 0, 0)])
    beside(second).write_bytes(b"")
    same_as_the_program(folder / INDEX, [Recovery(os.fspath(second), "unfinished", 0, 0)])


def test_a_list_that_was_not_finished(folder):
    (folder / f"{INDEX}.st-journal").write_bytes(b"")
    same_as_the_program(folder, [Recovery(os.fspath(folder / INDEX), "several-unfinished", 0, 0, 0, 0)])


def test_an_edit_of_several_files_goes_on_to_its_end(folder, tmp_path):
    """Killed at a rename: one file has taken its place, and the others have not."""
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    program = f"from safetensors.edit import edit; edit({os.fspath(folder)!r}, rename={{'*': 'new.*'}})"
    kill = ["strace", "-f", "-qq", "-o", tmp_path / "trace", "-e", "trace=/^rename"]
    kill += ["-e", "inject=/^rename:signal=KILL:when=2"]
    result = subprocess.run([*kill, sys.executable, "-c", program], capture_output=True, text=True)
    if "inject" in result.stderr or "ptrace" in result.stderr:
        pytest.skip(result.stderr)
    assert result.returncode != 0 and "Traceback" not in result.stderr
    left = [Recovery(os.fspath(folder / INDEX), "several-forward", 0, 0, 4, 3)]
    assert recover(folder / INDEX, dry_run=True) == left
    same_as_the_program(folder, left)
    assert sorted(os.listdir(folder)) == sorted([INDEX, *(f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3))])
    found = {name for file in os.listdir(folder) if file != INDEX for name in load_file(folder / file)}
    assert found == {f"new.{name}" for name in TENSORS}


def test_what_cannot_be_put_right_does_not_hide_the_rest(folder):
    first, second, _ = sorted(folder / name for name in os.listdir(folder) if name != INDEX)
    beside(first).write_bytes(b"no journal" * 20)
    beside(second).write_bytes(b"")
    before = contents(folder)
    found = recover(folder, dry_run=True)
    assert [(left.file, left.kind) for left in found] == [(str(first), None), (str(second), "unfinished")]
    assert found == told_by_the_program(folder, "-n", codes=(1,))
    with pytest.raises(SafetensorError, match="st-journal: "):
        recover(folder)
    assert contents(folder) == before


def test_the_next_edit_does_it_too(path):
    before = path.read_bytes()
    beside(path).write_bytes(journal_of(path, [(len(before) - 1, b"!")]))
    write(path, len(before) - 1, b"!")
    assert [left.kind for left in recover(path, dry_run=True)] == ["forward"]
    edit(path, replace={"ids": np.zeros(5, np.int64)}, in_place=True)
    assert recover(path) == [] and not load_file(path)["ids"].any()


@pytest.mark.parametrize("in_place", [False, True])
def test_what_does_not_open_is_undone_before_an_edit(path, in_place):
    before = path.read_bytes()
    beside(path).write_bytes(journal_of(path, [(8, b"?" * 12)]))
    write(path, 8, b"?" * 6)
    torn = path.read_bytes(), beside(path).read_bytes()
    with pytest.raises(SafetensorError):
        edit(path, metadata={"k": "new"}, in_place=in_place, dry_run=True)
    assert (path.read_bytes(), beside(path).read_bytes()) == torn
    edit(path, metadata={"k": "new"}, in_place=in_place)
    assert not beside(path).exists()
    start = 8 + struct.unpack("<Q", before[:8])[0]
    assert path.read_bytes().endswith(before[start:])


def test_of_what_cannot_be_undone_nothing_is_made(path, tmp_path):
    left = bytearray(journal_of(path, [(20, b"x")]))
    left[70] ^= 1
    beside(path).write_bytes(left)
    for options in ({}, {"out": tmp_path / "new"}, {"in_place": True}):
        with pytest.raises(SafetensorError, match="st-journal"):
            edit(path, metadata={"format": "np"}, **options)
    assert not (tmp_path / "new").exists() and beside(path).read_bytes() == left


# ------------------------------------------------------------------------------------------ resources


def test_nothing_is_kept(folder):
    def all_of_it():
        (folder / f"{INDEX}.st-journal").write_bytes(b"")
        assert len(recover(folder, dry_run=True)) == len(recover(folder)) == 1

    all_of_it()
    gc.collect()
    descriptors, objects = len(os.listdir("/proc/self/fd")), len(gc.get_objects())
    for _ in range(50):
        all_of_it()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= descriptors and len(gc.get_objects()) < objects + 50


def test_every_allocation_of_pythons_may_fail(path):
    beside(path).write_bytes(b"")
    name = os.fspath(path)
    every_allocation_may_fail(lambda: _recover(name, True), 30, 3)
