# SPDX-License-Identifier: Apache-2.0
"""Which tensors safetensors.diff and safetensors.stats are about: what glob, regex, exclude and dtype pick is what the
options of the program's verbs do."""

import gc
import json
import os
import re
import sys

import numpy as np
import pytest
from command import run
from exhaust import every_allocation_may_fail, keeps_nothing

from safetensors import SafetensorError, diff, stats
from safetensors._picking import pick
from safetensors._safetensors_rust import _compare, _name_rule, _stats
from safetensors.checkpoint import split
from safetensors.numpy import save_file

INDEX = "model.safetensors.index.json"
A = {
    "layers.0.w": np.arange(6, dtype=np.float32),
    "layers.1.w": np.arange(4, dtype=np.float16),
    "layers.1.b": np.ones(2, np.float32),
    "Layers.2.b": np.ones(2, np.int8),
    "gone": np.zeros(3),
    "ö": np.ones(1, np.int64),
}
B = {**{name: array + 1 for name, array in A.items() if name != "gone"}, "new": np.zeros(2, np.float16)}

CASES = [
    (dict(glob="layers.*"), ["-g", "layers.*"]),
    (dict(glob=["*.w", "gone"]), ["-g", "*.w", "-g", "gone"]),
    (dict(glob=iter(["[!a-z]ayers.?.b"])), ["-g", "[!a-z]ayers.?.b"]),
    (dict(regex="^(layers|new)"), ["-r", "^(layers|new)"]),
    (dict(glob="gone", regex=["1", "ö"]), ["-g", "gone", "-r", "1", "-r", "ö"]),
    (dict(exclude="*.w"), ["-x", "*.w"]),
    (dict(exclude=["*.w", "gone"], regex="[a-z]"), ["-x", "*.w", "-x", "gone", "-r", "[a-z]"]),
    (dict(dtype="f32"), ["-d", "f32"]),
    (dict(dtype=["F16", "I8"], exclude="layers*"), ["-d", "F16", "-d", "I8", "-x", "layers*"]),
]


@pytest.fixture
def pair(tmp_path):
    save_file(A, tmp_path / "a.safetensors", {"k": "a"})
    save_file(B, tmp_path / "b.safetensors", {"k": "b"})
    return tmp_path / "a.safetensors", tmp_path / "b.safetensors"


def told(options):
    """Options that can be used twice."""
    return {name: list(value) if hasattr(value, "__next__") else value for name, value in options.items()}


@pytest.mark.parametrize("options, words", CASES, ids=lambda case: str(case)[:60])
def test_what_is_picked_is_what_the_program_picks(pair, options, words):
    options = told(options)
    found = diff(*pair, **options)
    expected = json.loads(run("diff", "--json", *words, *pair, codes=(0, 1)))["diff"]
    assert [((change.a or change.b).name, change.change) for change in found.tensors] == [
        ((change["a"] or change["b"])["name"], change["change"]) for change in expected["tensors"]
    ]
    assert vars(found.summary) == expected["summary"] and len(found.metadata) == 1
    expected = json.loads(run("stats", "--json", *words, pair[0]))["files"][0]["tensors"]
    assert [tensor.name for tensor in stats(pair[0], **options)] == [tensor["name"] for tensor in expected]


def test_nothing_is_picked(pair):
    """Which is as good as a pattern spelled wrong: nothing is the same because of it."""
    assert stats(pair[0], glob="none") == []
    run("diff", "-g", "none", *pair, codes=(2,))
    for error in (SafetensorError, ValueError):
        with pytest.raises(error, match="no tensor of either is picked"):
            diff(*pair, glob="none", values=False)


def test_of_shards_too(pair, tmp_path):
    split(pair[0], tmp_path / "shards", shard_count=3)
    for place in (tmp_path / "shards", tmp_path / "shards" / INDEX):
        assert {tensor.name for tensor in stats(place, glob="layers.*")} == {"layers.0.w", "layers.1.w", "layers.1.b"}
        assert not diff(pair[0], place) and not diff(place, pair[1], glob="none", tensors=False, metadata=True).tensors


def test_a_dtype_has_several_names(pair):
    names = [tensor.name for tensor in stats(pair[0], dtype="F16")]
    assert names == ["layers.1.w"]
    for dtype in ("float16", np.float16, np.dtype("f2"), [np.float16], ("f16", "BF16")):
        assert [tensor.name for tensor in stats(pair[0], dtype=dtype)] == names
    if "torch" in sys.modules:
        assert [tensor.name for tensor in stats(pair[0], dtype=sys.modules["torch"].float16)] == names


def test_progress_is_of_what_is_picked(pair):
    totals = set()
    stats(pair[0], glob="layers.0.w", progress=lambda done, total: totals.add(total))
    assert totals == {A["layers.0.w"].nbytes}


def test_refusals(pair):
    for options, error, text in [
        (dict(regex="("), ValueError, 'the expression "\\("'),
        (dict(regex="("), SafetensorError, 'the expression "\\("'),
        (dict(dtype="x32"), ValueError, "dtype: 'x32' is no dtype"),
        (dict(dtype=["f32", "x"]), SafetensorError, "dtype: 'x' is no dtype"),
        (dict(glob=3), TypeError, "glob must be a str or several, not 3"),
        (dict(regex=[re.compile("a")]), TypeError, "regex must be a str or several, not re.compile"),
        (dict(exclude=b"a"), TypeError, "exclude must be a str or several, not b'a'"),
    ]:
        for call in (lambda: diff(*pair, **options), lambda: stats(pair[0], **options)):
            with pytest.raises(error, match=text):
                call()
    for tensors in ("gone", ["gone"], {"gone": None}, []):
        with pytest.raises(ValueError, match="tensors are named, or picked by glob, regex, exclude and dtype"):
            stats(pair[0], tensors, glob="*")


def test_nothing_is_kept(pair):
    def all_of_it():
        diff(*pair, glob="layers*", regex="1", exclude="*b", dtype="f16")
        stats(pair[0], glob="layers*", regex="1", exclude="*b", dtype="f16")
        with pytest.raises(ValueError):
            stats(pair[0], glob="layers*", dtype="none")

    keeps_nothing(all_of_it)
    gc.collect()


def test_every_allocation_of_pythons_may_fail(pair):
    a, b, picked = *map(os.fspath, pair), pick("layers*", "1", "*b", ["f16", "f32"])
    every_allocation_may_fail(lambda: _compare(a, b, 7, 16, 0.0, 0.0, picked, None), 200, 5)
    every_allocation_may_fail(lambda: _stats(a, None, picked, (0.5,), 0, 0.0, 0.0, None), 200, 5)


def test_the_extension_takes_rules_only(pair):
    rule = _name_rule("a", 0)
    for wrong in (3, (), ((), ()), ((rule,), (), [3]), ((3,), (), ()), ((rule,), (3,), ()), ((rule,), (), (3,))):
        with pytest.raises((TypeError, ValueError)):
            _stats(os.fspath(pair[0]), None, wrong, (), 0, 0.0, 0.0, None)
