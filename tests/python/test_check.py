# SPDX-License-Identifier: Apache-2.0
"""safetensors.check: findings as Python objects, from every kind of source."""

import dataclasses
import io
import json
import mmap
import os
import pathlib
import re
import subprocess
import sys
import threading

import pytest
from command import run

import safetensors
from safetensors import CheckReport, Finding, SafetensorError, check, safe_open


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin, end, dtype="U8", shape=None):
    return {"dtype": dtype, "shape": [end - begin] if shape is None else shape, "data_offsets": [begin, end]}


GOOD = file_of({"__metadata__": {"k": "v", "l": "w"}, "a": entry(0, 3), "b": entry(3, 4)}, b"abcd")
HOLE = file_of({"a": entry(0, 2), "b": entry(3, 4)}, b"abcd")
TWICE = file_of(b'{"a":%s,"a":%s}' % (json.dumps(entry(0, 1)).encode(), json.dumps(entry(0, 1)).encode()), b"x")


def test_a_good_file():
    report = check(GOOD)
    assert report.ok and report.errors == report.warnings == 0
    assert (report.tensors, report.metadata) == (2, 2)
    assert (report.file_size, report.header_size, report.data_size) == (len(GOOD), len(GOOD) - 12, 4)
    assert report.findings == tuple(report) and len(report.findings) == report.notes


def test_findings():
    report = check(HOLE)
    assert not report.ok and report.errors >= 1
    finding = next(found for found in report if found.severity == "error")
    assert (finding.rule, finding.tensor) == ("layout-hole", "b")
    assert "b" in finding.message and "\n" not in finding.message
    assert finding.offset is None or 0 <= finding.offset < len(HOLE)
    assert str(finding).startswith(f"error: {finding.message} [layout-hole")
    assert str(finding) in str(report) and f"{report.errors} errors" in str(report)


def test_all_is_reported():
    """Where opening tells the first thing only."""
    header = {"a": entry(0, 2, "XX"), "b": {"dtype": "U8"}, "c": entry(5, 2, shape=[-1]), "d": [1]}
    report = check(file_of(header, b"abcd"))
    assert {"a", "b", "c", "d"} <= {finding.tensor for finding in report if finding.severity == "error"}
    with pytest.raises(SafetensorError):
        safetensors.deserialize(file_of(header, b"abcd"))


def test_upstream_rules():
    strict, lenient = check(TWICE), check(TWICE, upstream=True)
    assert not strict.ok and lenient.ok
    assert [f.severity for f in lenient if f.rule == "name-duplicate"] == ["warning"]
    assert [f.severity for f in strict if f.rule == "name-duplicate"] == ["error"]
    with pytest.raises(TypeError):
        check(TWICE, True)


@pytest.mark.parametrize(
    "data, ok",
    [
        (GOOD, True),
        (HOLE, False),
        (TWICE, False),
        (b"", False),
        (b"1234567", False),
        (GOOD + b"x", False),
        (GOOD[:-1], False),
    ],
)
def test_agrees_with_opening(tmp_path, data, ok):
    path = tmp_path / "t.safetensors"
    path.write_bytes(data)
    assert check(path).ok is ok
    if ok:
        pytest.importorskip("numpy")
        assert len(safe_open(str(path), "np").keys()) == 2
    else:
        with pytest.raises(SafetensorError):
            safe_open(str(path), "np")


def test_sources(tmp_path):
    path = tmp_path / "hölle.safetensors"
    path.write_bytes(HOLE)
    expected = check(HOLE)
    assert check(str(path)) == check(path) == check(pathlib.PurePath(path)) == expected
    assert check(bytearray(HOLE)) == check(memoryview(HOLE)) == check(io.BytesIO(HOLE)) == expected
    assert check(memoryview(HOLE + b"xx")[:-2]) == expected
    memory = io.BytesIO(HOLE)
    memory.seek(0, io.SEEK_END)
    assert check(memory) == expected and memory.tell() == len(HOLE)
    for mode, buffering in (("rb", 0), ("rb", -1), ("r+b", -1)):
        with open(path, mode, buffering=buffering) as file:
            assert check(file) == expected
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
                assert check(mapped) == expected
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert check(descriptor) == expected
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("module", ["gzip", "bz2", "lzma"])
def test_a_packed_file_is_what_it_unpacks_to(tmp_path, module):
    module = pytest.importorskip(module)
    with module.open(tmp_path / "packed", "wb") as file:
        file.write(HOLE)
    with module.open(tmp_path / "packed") as file:
        assert check(file) == check(HOLE)
    with pytest.raises(SafetensorError, match='tensor "b"'), module.open(tmp_path / "packed") as file:
        safe_open(file, "np")


class Reader:
    """A file of nothing but read."""

    def __init__(self, data):
        self.data = data

    def read(self):
        return self.data


def test_readers():
    assert check(Reader(HOLE)) == check(HOLE)
    with pytest.raises(TypeError, match="binary"):
        check(Reader("text"))
    with pytest.raises(TypeError, match="binary"):
        check(io.StringIO("text"))


@pytest.mark.parametrize("source", [None, 1.5, object(), ["a"]], ids=repr)
def test_bad_sources(source):
    with pytest.raises(TypeError):
        check(source)


def test_what_the_system_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="^No such file or directory: .*missing"):
        check(tmp_path / "missing")
    with pytest.raises(SafetensorError, match=re.escape(f"{tmp_path}: holds no .safetensors file")):
        check(tmp_path)
    with pytest.raises(FileNotFoundError):
        check(tmp_path / "missing.json")
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(SafetensorError, match="a.safetensors"):
        check(tmp_path)


INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    """Two files, of which one has a hole, and an index with faults of its own."""
    path = tmp_path / "m\u00f6del"
    path.mkdir()
    (path / "m-1.safetensors").write_bytes(GOOD)
    (path / "m-2.safetensors").write_bytes(HOLE)
    weight_map = {"a": "m-1.safetensors", "x": "m-1.safetensors", "c": "m-3.safetensors", "d": "m-2.safetensors"}
    (path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return path


def test_an_index(folder):
    report = check(folder)
    assert check(folder / INDEX) == check(str(folder)) == report
    first, second, index = report.files
    assert [file.path for file in report.files] == [
        str(folder / name) for name in ("m-1.safetensors", "m-2.safetensors", INDEX)
    ]
    assert (first.ok, second.ok, index.ok, report.ok) == (True, False, False, False)
    text = (folder / INDEX).read_text()
    assert [(found.rule, found.severity, found.tensor, found.offset) for found in index] == [
        ("index-tensor-missing", "error", "x", text.index('"x"')),
        ("index-tensor-unlisted", "warning", "b", None),
        ("index-shard-missing", "error", None, text.index('"c"')),
    ]
    assert report.findings == first.findings + second.findings + index.findings
    assert [(found.rule, found.message) for found in second] == [(found.rule, found.message) for found in check(HOLE)]
    assert {found.file for found in index} == {str(folder / INDEX)}
    assert (report.errors, report.warnings) == (second.errors + 2, 1 + first.warnings + second.warnings)
    assert (report.tensors, report.metadata) == (4, 2)
    assert report.file_size == len(GOOD) + len(HOLE) + len(text.encode())
    assert f"{folder / INDEX}: error: " in str(report)
    assert hash(report) == hash(check(folder))


def test_what_the_verb_finds(folder):
    found = json.loads(run("check", "--json", folder, codes=(1,)))
    assert [
        (file["file"], each["severity"], each["rule"], each["message"], each["tensor"], each["offset"])
        for file in found["files"]
        for each in file["findings"]
    ] == [(each.file, each.severity, each.rule, each.message, each.tensor, each.offset) for each in check(folder)]


def test_a_folder_without_an_index(folder):
    (folder / INDEX).unlink()
    (folder / "m-2.safetensors").write_bytes(GOOD)
    report = check(folder)
    assert [(found.rule, found.tensor) for found in report.files[-1]] == [
        ("index-duplicate", "a"),
        ("index-duplicate", "b"),
    ]
    assert report.tensors == 4 and report.files[-1].path == str(folder)
    (folder / "m-2.safetensors").unlink()
    assert check(folder).ok and check(folder).tensors == 2


def test_upstream_rules_of_shards(folder):
    (folder / INDEX).unlink()
    (folder / "m-1.safetensors").unlink()
    (folder / "m-2.safetensors").write_bytes(TWICE)
    assert not check(folder).ok and check(folder, upstream=True).ok


def test_very_many_findings_of_an_index(tmp_path):
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {str(i): f"{i}.safetensors" for i in range(12_000)}}))
    report = check(tmp_path)
    assert report.errors == 12_000 and len(report.findings) == 10_000
    assert str(report).splitlines()[-2] == "... and 2000 more"


def test_a_buffer_is_let_go():
    data = bytearray(HOLE)
    check(data)
    data.append(1)  # BufferError while an export is held


def test_names_that_are_odd():
    name = 'ü"\u2028\n'
    report = check(file_of({name: entry(0, 4, shape=[9])}, b"abcd"))
    assert [found.tensor for found in report if found.severity == "error"] == [name]


def test_not_utf8():
    report = check(file_of(b'{"a\xff":1}'))
    assert not report.ok and str(report)


def test_very_many_findings():
    header = b"{%s}" % b",".join(b'"%d":0' % i for i in range(15_000))
    report = check(file_of(header))
    assert report.errors == 15_000 and len(report.findings) == 10_000
    assert f"... and {5000 + report.warnings + report.notes} more" in str(report)


def test_immutable():
    report = check(HOLE)
    for thing, name in ((report, "errors"), (report.findings[0], "rule")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, 0)
    assert isinstance(report, CheckReport) and isinstance(report.findings[0], Finding)
    assert hash(report) == hash(check(HOLE))


def test_it_is_a_function_in_the_package():
    """Whatever was imported before."""
    code = """
import safetensors, sys
assert "safetensors._check" not in sys.modules
import safetensors._check
from safetensors import check
assert safetensors.check is check is safetensors._check.check
assert check(b"").errors == 1
assert not any("crypto" in line for line in open("/proc/self/maps")) or not sys.platform.startswith("linux")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads(tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(HOLE)
    reports = []
    threads = [threading.Thread(target=lambda: reports.extend(check(path) for _ in range(50))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reports == [check(path)] * 400
