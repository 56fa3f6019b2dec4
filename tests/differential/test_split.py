# SPDX-License-Identifier: Apache-2.0
"""Splits and sizes against huggingface_hub itself: names, what lies in which file, and the bytes of the index and of
the shards."""

import ctypes
import json
import os
import subprocess
from ctypes import POINTER, byref, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from library import Error, Library, Tensor

HUB = Path(os.environ["ST_SOURCE_DIR"]) / "build/oracle-0.8.0/bin/python"


def trials(count):
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


class SplitOptions(ctypes.Structure):
    _fields_ = [
        ("max_shard_size", c_uint64),
        ("shard_count", c_uint64),
        ("pattern", c_char_p),
        ("durability", c_uint32),
        ("flags", c_uint32),
        ("alignment", c_uint32),
        ("reserved0", c_uint32),
        ("context", c_void_p),
        ("progress", c_void_p * 2),
        ("reserved", c_uint64 * 8),
    ]


class Shard(ctypes.Structure):
    _fields_ = [
        ("name", c_char_p),
        ("size", c_uint64),
        ("first", c_size_t),
        ("count", c_size_t),
        ("reserved", c_uint64 * 2),
    ]


class Found(ctypes.Structure):
    _fields_ = [("tensor", POINTER(Tensor)), ("file", c_void_p), ("file_index", c_size_t), ("reserved", c_uint64 * 2)]


class Splits(Library):
    """The calls of checkpoint.h that are compared."""

    def __init__(self):
        super().__init__()
        lib, error = self.lib, POINTER(Error)
        for name, result, arguments in (
            ("st_checkpoint_open", c_int32, [c_char_p, c_void_p, POINTER(c_void_p), error]),
            ("st_checkpoint_close", None, [c_void_p]),
            ("st_split_new", c_int32, [c_void_p, POINTER(SplitOptions), POINTER(c_void_p), error]),
            ("st_split_free", None, [c_void_p]),
            ("st_split_count", c_size_t, [c_void_p]),
            ("st_split_at", Shard, [c_void_p, c_size_t]),
            ("st_split_tensor", Found, [c_void_p, c_size_t]),
            ("st_split_write", c_int32, [c_void_p, c_char_p, error]),
            ("st_size_parse", c_int32, [c_char_p, c_size_t, c_uint32, POINTER(c_uint64), error]),
        ):
            getattr(lib, name).restype = result
            getattr(lib, name).argtypes = arguments

    def check(self, status, error):
        assert status == 0, error.message

    def split(self, path, limit, pattern, folder=None):
        """Gives the tensors of each file; writes them unless `folder` is None."""
        checkpoint, split, error = c_void_p(), c_void_p(), Error()
        options = SplitOptions(max_shard_size=limit, pattern=pattern.encode(), durability=2)
        self.check(self.lib.st_checkpoint_open(os.fsencode(path), None, byref(checkpoint), byref(error)), error)
        self.check(self.lib.st_split_new(checkpoint, byref(options), byref(split), byref(error)), error)
        files = {}
        for i in range(self.lib.st_split_count(split)):
            shard = self.lib.st_split_at(split, i)
            tensors = [
                self.lib.st_split_tensor(split, t).tensor.contents
                for t in range(shard.first, shard.first + shard.count)
            ]
            files[shard.name.decode()] = [ctypes.string_at(t.name, t.name_len).decode() for t in tensors]
        if folder:
            self.check(self.lib.st_split_write(split, os.fsencode(folder), byref(error)), error)
        self.lib.st_split_free(split)
        self.lib.st_checkpoint_close(checkpoint)
        return files

    def size(self, text, flags):
        out, content = c_uint64(), text.encode()
        return None if self.lib.st_size_parse(content, len(content), flags, byref(out), None) else out.value


@pytest.fixture(scope="module")
def ours():
    return Splits()


@pytest.fixture(scope="module")
def hub():
    if not HUB.exists():
        pytest.skip("no build/oracle-0.8.0: run scripts/setup test")
    process = subprocess.Popen(
        [HUB, Path(__file__).parent / "hub_splits.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )

    def ask(**case):
        process.stdin.write(json.dumps(case).encode() + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, "huggingface_hub ended"
        return json.loads(answer)

    yield ask
    process.stdin.close()
    process.wait()


def store(path, tensors, metadata):
    """Writes tensors in this order, as state_of of hub_splits.py makes them."""
    header, data = {"__metadata__": metadata}, b""
    for i, (name, size) in enumerate(tensors):
        header[name] = {"dtype": "U8", "shape": [size], "data_offsets": [len(data), len(data) + size]}
        data += bytes([i % 251]) * size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6).filter(
    lambda name: name != "__metadata__"
)
TENSORS = st.lists(
    st.tuples(NAMES, st.one_of(st.integers(0, 12), st.integers(0, 300))),
    min_size=1,
    max_size=30,
    unique_by=lambda tensor: tensor[0],
)
LIMITS = st.one_of(st.integers(1, 20), st.integers(1, 1000))
PATTERNS = st.sampled_from(
    [
        "model{suffix}.safetensors",
        "{suffix}.safetensors",
        "a-{suffix}.fp16.safetensors",
        "x{suffix}y{suffix}.safetensors",
        '\u00e9 "{suffix}.safetensors',
    ]
)


@trials(300)
@given(TENSORS, LIMITS, PATTERNS)
def test_plan(ours, hub, tmp_path_factory, tensors, limit, pattern):
    path = tmp_path_factory.getbasetemp() / "plan.safetensors"
    store(path, tensors, {})
    assert list(ours.split(path, limit, pattern).items()) == list(
        hub(what="split", tensors=tensors, limit=limit, pattern=pattern)["files"].items()
    )


def apart(content):
    end = 8 + int.from_bytes(content[:8], "little")
    return len(content), json.loads(content[8:end]), content[end:]


@trials(60)
@given(
    TENSORS,
    LIMITS,
    PATTERNS,
    st.dictionaries(NAMES.filter(lambda key: key not in ("format", "total_size")), NAMES, max_size=4),
)
def test_bytes(ours, hub, tmp_path_factory, tensors, limit, pattern, metadata):
    """Every byte of every file, but for the order of the metadata in a single one, which upstream's is any."""
    folder = tmp_path_factory.mktemp("bytes")
    theirs = hub(what="save", tensors=tensors, limit=limit, pattern=pattern, metadata=list(metadata.items()))
    store(folder / "in", tensors, {"format": "pt", **metadata})
    ours.split(folder / "in", limit, pattern, folder / "out")
    mine = {name: (folder / "out" / name).read_bytes() for name in os.listdir(folder / "out")}
    assert set(mine) == set(theirs)
    for name, content in mine.items():
        other = bytes.fromhex(theirs[name])
        assert content == other if len(mine) > 1 else apart(content) == apart(other)


SIZES = st.one_of(
    st.text("0123456789._eE+- kKmMgGtTbBiI", max_size=12),
    st.from_regex(
        r" ?[+-]?[0-9]{0,4}(_[0-9]{1,3})?(\.[0-9]{0,4})?(e[+-]?[0-9]{1,2})? ?[kKmMgGtT][bB] ?", fullmatch=True
    ),
)


@trials(1500)
@given(SIZES)
def test_sizes(ours, hub, text):
    theirs = hub(what="size", text=text)
    if theirs is not None and not 0 <= theirs < 1 << 64:
        theirs = None
    assert ours.size(text, 1) == theirs


@trials(300)
@given(st.integers(0, 10**6), st.sampled_from(["KB", "MB", "GB"]))
def test_sizes_agree(ours, hub, number, unit):
    """What is whole means the same to both."""
    assert ours.size(f"{number}{unit}", 0) == hub(what="size", text=f"{number}{unit}")
