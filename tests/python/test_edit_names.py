# SPDX-License-Identifier: Apache-2.0
"""safetensors.edit with whole names instead of patterns: they are looked up, and do what the program does by matching
each name."""

import os
import random
import re

import numpy as np
import pytest
from command import run
from exhaust import every_allocation_may_fail, keeps_nothing

from safetensors import SafetensorError, _editing
from safetensors._safetensors_rust import _edit
from safetensors.checkpoint import split
from safetensors.edit import edit
from safetensors.numpy import load_file, save_file

TENSORS = {name: np.full(i + 1, i, np.float32) for i, name in enumerate(["a", "b", "c", "d.w", "d.b", "a*", "ö"])}


@pytest.fixture
def path(tmp_path):
    save_file(TENSORS, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def as_the_program(path, out, renames):
    """By lists, so that one name can be renamed twice; both write the same, or refuse."""
    words = [word for rename in renames for word in ("-r", rename)]
    try:
        edit(path, out / "python", rename=renames)
    except SafetensorError as error:
        run("edit", path, *words, "-o", out / "program", codes=(1, 2))
        assert not (out / "python").exists() and not (out / "program").exists()
        return error
    run("edit", path, *words, "-o", out / "program")
    assert (out / "python").read_bytes() == (out / "program").read_bytes()
    return None


@pytest.mark.parametrize(
    "renames, refused",
    [
        (["a=x", "x=y", "b=a"], None),
        (["a=t", "b=a", "t=b"], None),
        (["a=b", "b=c"], "two tensors have this name"),
        (["a=b", "b=x*"], r"rename 'b'"),
        (["c=c", "a=a"], None),
        (["a=x", "a=y"], r"rename 'a': no tensor matches"),
        (["a=x", "d.*=e.*", "e.w=f", "x=d.w"], None),
        (["d.*=e.*", "d.w=f"], r"rename 'd.w': no tensor matches"),
        (["a\\*=star", "ö=o"], None),
        (["a*=star"], "two tensors have this name"),
        (["b=\\=", "c=\\x"], None),
        (["a=", "b=x"], None),
        (["a=b", "b=b"], "two tensors have this name"),
    ],
)
def test_renames_come_one_after_the_other(path, tmp_path, renames, refused):
    error = as_the_program(path, tmp_path, renames)
    if refused is None:
        assert error is None
    else:
        assert error is not None and re.search(refused, str(error))


def test_any_renames_are_those_of_the_program(path, tmp_path):
    dice = random.Random(7)
    names = [*TENSORS, "x", "y", "z", "d.*", "?"]
    refused = 0
    for _ in range(60):
        renames = [f"{dice.choice(names)}={dice.choice(names[:-2])}" for _ in range(dice.randrange(1, 5))]
        refused += as_the_program(path, tmp_path, renames) is not None
        for name in ("python", "program"):
            if (tmp_path / name).exists():
                (tmp_path / name).unlink()
    assert 0 < refused < 60


def test_what_was_dropped_has_no_name(path, tmp_path):
    with pytest.raises(SafetensorError, match="rename 'a': no tensor matches"):
        edit(path, tmp_path / "out", drop="a", rename={"a": "x"})
    assert edit(path, tmp_path / "out", drop="a", rename={"b": "a", "c": "b"}).renamed == 2
    assert load_file(tmp_path / "out")["a"].tolist() == TENSORS["b"].tolist()
    # Each pattern sees the names that the file has.
    assert edit(path, tmp_path / "out", drop=["a", "a", "*.w"], keep=["a", "b", "d.w"], dry_run=True).count == 1
    assert edit(path, tmp_path / "out", cast={"a": "f16", "b": "bf16", "*": "f64"}, dry_run=True).cast == len(TENSORS)


def test_very_many_names(tmp_path):
    """Matching each of them with every name would take minutes."""
    count = 20_000
    tensors = {f"model.layers.{i}.weight": np.full(1, i % 251, np.uint8) for i in range(count)}
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    names = sorted(tensors)
    left = [name for i, name in enumerate(names) if i % 4]
    summary = edit(path, tmp_path / "out", rename={name: name[6:] for name in left}, drop=names[::4])
    assert (summary.renamed, summary.dropped) == (len(left), count - len(left))
    found = load_file(tmp_path / "out")
    assert sorted(found) == [name[6:] for name in left]
    assert all(found[name[6:]][0] == tensors[name][0] for name in left[::100])
    summary = edit(path, tmp_path / "out", keep=left, dry_run=True)
    assert summary.dropped == count - len(left)


def test_of_shards_too(path, tmp_path):
    split(path, tmp_path / "shards", shard_count=4)
    edit(tmp_path / "shards", tmp_path / "new", rename={"a": "t", "b": "a", "t": "b"}, drop=["c", "ö"])
    edit(path, tmp_path / "whole", rename={"a": "t", "b": "a", "t": "b"}, drop=["c", "ö"])
    found = {}
    for name in os.listdir(tmp_path / "new"):
        found |= load_file(tmp_path / "new" / name) if name.endswith(".safetensors") else {}
    expected = load_file(tmp_path / "whole")
    assert found.keys() == expected.keys()
    assert all(found[name].tolist() == expected[name].tolist() for name in expected)


def test_nothing_is_kept(path):
    def all_of_it():
        edit(path, rename={"a": "t", "b": "a", "t": "b"}, drop=["c", "ö"], dry_run=True)
        with pytest.raises(SafetensorError):
            edit(path, rename=["a=b", "b=c"])

    keeps_nothing(all_of_it)


def test_every_allocation_of_pythons_may_fail(path):
    name = os.fspath(path)
    making = _editing.making("file", None, 0, "none", True, True, None)
    steps = [("drop", "c"), ("glob", "a", "t"), ("glob", "b", "a"), ("glob", "t", "b"), ("glob", "a", "z")]
    steps += [("glob", "d.*", "e.*"), ("glob", "e.w", "f")]
    every_allocation_may_fail(lambda: _edit(name, None, steps, making, False, False), 150, 5)
