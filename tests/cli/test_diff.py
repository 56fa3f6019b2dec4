# SPDX-License-Identifier: Apache-2.0
"""Comparing two files: what is printed into a pipe, on a terminal, and as JSON, and the exit codes."""
import math
import re
import struct

import pytest

from model_files import floats, frame

NAN, INF = math.nan, math.inf

OLD = {"w": ("F32", [2, 3], floats(0, 1, 2, 3, 4, 5)), "gone": ("I16", [3], None),
       "old": ("U8", [4], b"abcd"), "h": ("F32", [2], floats(1, 2)), "s": ("U8", [2, 1], b"xy")}
NEW = {"new": ("U8", [4], b"abcd"), "w": ("F32", [2, 3], floats(0, 1, 2, 3, 4.5, 5)),
       "h": ("BF16", [2], b"\x80\x3f\0\x40"), "plus": ("F16", [1], None),
       "s": ("U8", [2], b"xy")}


@pytest.fixture
def pair(make):
    return (make(OLD, {"format": "pt", "x": "1"}, name="old.st"),
            make(NEW, {"format": "np", "y": "2"}, name="new.st"))


@pytest.fixture
def values(make):
    """Makes two files of one tensor each."""

    def write(dtype, a, b, other=None, shape=None):
        def one(code, content, name):
            return make({"t": (code, shape or [len(content) * 8 // {"F32": 32, "BF16": 16, "U8": 8, "I64": 64,
                                                                     "F4": 4}[code]], content)}, name=name)
        return one(dtype, a, "a"), one(other or dtype, b, "b")

    return write


def test_lines(cli, pair):
    done = cli("diff", *pair)
    assert (done.code, done.err) == (1, "")
    assert done.lines == [
        "~\tmetadata\tformat\tpt\tnp", "-\tmetadata\tx\t1", "+\tmetadata\ty\t2",
        "~\tvalues\tw\tF32\tF32\t[2,3]\t1\t1\t0.5\t[1,1]\t0.08333333333333333\t0.1111111111111111\t0\t0",
        "-\ttensor\tgone\tI16\t[3]", "-\ttensor\told\tU8\t[4]", "~\ttensor\th\tF32\t[2]\tBF16\t[2]",
        "~\ttensor\ts\tU8\t[2,1]\tU8\t[2]", "+\ttensor\tnew\tU8\t[4]", "+\ttensor\tplus\tF16\t[1]"]


def test_same(cli, pair):
    for words in ([], ["-q"], ["--places", "--renames"]):
        done = cli("diff", *words, pair[0], pair[0])
        assert (done.code, done.out, done.err) == (0, "", "")


def test_renames_and_cast(cli, pair):
    done = cli("diff", "--renames", "--cast", "-M", *pair)
    assert done.code == 1
    assert done.lines[1:] == [
        "-\ttensor\tgone\tI16\t[3]", ">\ttensor\told\tU8\t[4]\tnew",
        "=\tvalues\th\tF32\tBF16\t[2]\t0\t0\t0\t-\t0\t0\t0\t0", "~\ttensor\ts\tU8\t[2,1]\tU8\t[2]",
        "+\ttensor\tplus\tF16\t[1]"]


def test_structure_and_metadata(cli, pair):
    kinds = [line.split("\t")[1] for line in cli("diff", "--structure", *pair).lines]
    assert kinds == ["metadata"] * 3 + ["tensor"] * 6
    kinds = [line.split("\t")[1] for line in cli("diff", "--metadata", *pair).lines]
    assert kinds == ["metadata"] * 3
    done = cli("diff", "-s", "-M", "-g", "w", *pair)
    assert (done.code, done.out) == (0, "")


def test_filters(cli, pair):
    def names(*words):
        return [line.split("\t")[2] for line in cli("diff", "-M", *words, *pair).lines]

    assert names("-g", "w") == ["w"]
    assert names("-x", "w", "-x", "s", "-x", "h") == ["gone", "old", "new", "plus"]
    assert names("-d", "u8") == ["old", "s", "new"]
    assert names("-d", "BF16") == ["h"]
    assert cli("diff", "-m", "-g", "nothing", *pair).code == 1


@pytest.mark.parametrize("words", [[], ["-q"], ["--json"], ["-s"]], ids=" ".join)
def test_filters_that_let_nothing_through(cli, pair, words):
    """A name that is spelled wrong makes no two files the same."""
    done = cli("diff", *words, "-g", "nothing", *pair)
    assert done.code == 2
    assert done.err == f"safetensors: {pair[0]}, {pair[1]}: no tensor of either passes the filters\n"
    if words == ["--json"]:
        assert [file.get("error", {}).get("status") for file in done.json["files"]] == [None, "ST_ERR_NOT_FOUND"]
        assert "diff" not in done.json
    assert cli("diff", "-g", "gone", *pair).code == 1, "one of the two is enough"


def test_places(cli, make):
    a = make({"a": ("U8", [1], b"a"), "b": ("U8", [1], b"b")}, name="a")
    b = make({"b": ("U8", [1], b"b"), "a": ("U8", [1], b"a")}, name="b")
    assert (cli("diff", a, b).code, cli("diff", a, b).out) == (0, "")
    done = cli("diff", "--places", a, b)
    first = 8 + struct.unpack("<Q", a.read_bytes()[:8])[0]
    assert (done.code, done.lines) == (1, [f"~\tplace\ta\t{first}\t{first + 1}",
                                           f"~\tplace\tb\t{first + 1}\t{first}"])


@pytest.mark.parametrize("words, code", [
    ([], 1), (["--atol", "0.5"], 0), (["--atol", "0.49"], 1), (["--rtol", "0.125"], 0),
    (["--rtol", "0.1"], 1), (["--rtol", "0.0625", "--atol", "0.25"], 0), (["--atol", "0"], 1)])
def test_tolerance(cli, values, words, code):
    done = cli("diff", *words, *values("F32", floats(1, 4.5), floats(1, 4)))
    assert done.code == code
    sign, beyond = ("~", 1) if code else ("=", 0)
    assert done.lines == [f"{sign}\tvalues\tt\tF32\tF32\t[2]\t1\t{beyond}\t0.5\t[1]\t0.25\t0.125\t0\t0"]


def test_nan(cli, values):
    both = values("F32", b"\0\0\xc0\x7f", b"\1\0\xc0\xff")
    assert cli("diff", *both).code == 1
    assert cli("diff", "--equal-nan", *both).code == 0
    assert cli("diff", "--equal-nan", "--rtol", "1", *both).code == 0
    one = values("F32", floats(NAN, 1, INF), floats(1, 1, 1))
    done = cli("diff", "--equal-nan", "--atol", "9", *one)
    assert (done.code, done.out) == (1, "~\tvalues\tt\tF32\tF32\t[3]\t2\t2\t0\t-\t0\t0\t1\t1\n")


def test_integers_of_64_bits(cli, values):
    pair = values("I64", struct.pack("<q", -2**63), struct.pack("<q", 2**63 - 1))
    found, = cli("diff", "--json", *pair).json["diff"]["tensors"]
    assert found["values"]["max_integer"] == 2**64 - 1
    assert cli("diff", "--atol", "1e18", *pair).code == 1


def test_sub_byte(cli, values):
    done = cli("diff", *values("F4", b"\x21\x43", b"\x21\x53"))
    assert done.out == "~\tvalues\tt\tF4\tF4\t[4]\t1\t1\t1\t[3]\t0.25\t0.3333333333333333\t0\t0\n"


def test_cast(cli, values):
    pair = values("F32", floats(1, 2.001953125), b"\x80\x3f\0\x40", "BF16")
    assert cli("diff", *pair).out == "~\ttensor\tt\tF32\t[2]\tBF16\t[2]\n"
    done = cli("diff", "--cast", *pair)
    assert (done.code, done.lines[0].split("\t")[:9]) == (
        1, ["~", "values", "t", "F32", "BF16", "[2]", "1", "1", "0.001953125"])
    assert cli("diff", "--cast", "--rtol", "0.001", *pair).code == 0


def test_brief(cli, pair):
    done = cli("diff", "-q", *pair)
    assert (done.code, done.out) == (1, f"{pair[0]} and {pair[1]} differ\n")
    assert cli("diff", "-q", "--json", *pair).json["diff"] == {"same": False}
    assert cli("diff", "-q", "--json", pair[0], pair[0]).json["diff"] == {"same": True}


def test_json(cli, pair):
    done = cli("diff", "--json", "--renames", *pair)
    assert (done.code, done.err) == (1, "")
    assert done.json["files"] == [{"file": str(pair[0])}, {"file": str(pair[1])}]
    found = done.json["diff"]
    assert found["same"] is False
    assert found["metadata"] == [{"change": "changed", "key": "format", "a": "pt", "b": "np"},
                                 {"change": "removed", "key": "x", "a": "1", "b": None},
                                 {"change": "added", "key": "y", "a": None, "b": "2"}]
    kinds = [(each["change"], (each["a"] or each["b"])["name"]) for each in found["tensors"]]
    assert kinds == [("changed", "w"), ("removed", "gone"), ("renamed", "old"), ("changed", "h"),
                     ("changed", "s"), ("added", "plus")]
    first, gone, renamed, cast, *_ = found["tensors"]
    assert (first["differs"], first["parts"]) == (True, ["values", "offset"])
    assert first["values"] == {
        "of": "elements", "count": 6, "different": 1, "first": 4, "same": False, "beyond": 1, "nan_a": 0,
        "nan_b": 0, "nan_both": 0, "infinite": 0, "max_absolute": 0.5, "max_absolute_at": 4,
        "max_integer": 0, "mean_absolute": 0.5 / 6, "max_relative": 0.5 / 4.5, "max_relative_at": 4}
    assert gone["b"] is gone["values"] is None
    assert renamed["b"]["name"] == "new"
    assert (cast["parts"][0], cast["a"]["dtype"], cast["b"]["dtype"]) == ("dtype", "F32", "BF16")
    assert found["summary"] == {
        "differences": 9, "same": 0, "changed": 3, "removed": 1, "added": 1, "renamed": 1, "moved": 3,
        "metadata_same": 0, "metadata_changed": 1, "metadata_removed": 1, "metadata_added": 1,
        "elements": 6, "different": 1, "beyond": 1}


def test_json_of_what_is_not_finite(cli, values):
    pair = values("F32", floats(NAN), floats(INF))
    found, = cli("diff", "--json", *pair).json["diff"]["tensors"]
    assert found["values"]["mean_absolute"] == "nan"
    assert found["values"]["max_absolute_at"] is None


def frame_of(data):
    return frame('{"t":{"dtype":"X9","shape":[3],"data_offsets":[0,3]}}', data)


def test_unknown_dtype(cli, make):
    a = make(frame_of(b"abc"), name="a")
    b = make(frame_of(b"abd"), name="b")
    assert cli("diff", a, b).code == 3 and "X9" in cli("diff", a, b).err
    done = cli("diff", "--unknown-dtypes", a, b)
    assert done.out == "~\tvalues\tt\tX9\tX9\t[3]\t1\t-\t-\t-\t-\t-\t-\t-\n"
    found, = cli("diff", "--unknown-dtypes", "--json", a, b).json["diff"]["tensors"]
    assert found["values"] == {"of": "bytes", "count": 3, "different": 1, "first": 2, "same": False}


TERMINAL = """\
metadata
  ~ format: "pt" → "np"
  - x: "1"
  + y: "2"

only in OLD
└── gone  I16  [3]  6 B

dtype F32 → BF16
└── h  F32  [2]  8 B

only in NEW
└── plus  F16  [1]  2 B

tensors
  > old  → new  U8 [4]
  ~ s  U8 [2,1] → U8 [2]

values
    differ    max abs   mean abs    max rel  name
  ~  16.7%        0.5    0.08333     0.1111  w  F32 [2,3]  max at [1,1]

3 tensors differ, 1 removed, 1 added, 1 renamed, 3 at another place, 3 metadata entries differ
"""


def test_terminal(terminal, pair):
    done = terminal("diff", "--renames", "--color", "never", *pair, columns=120)
    assert (done.code, done.err) == (1, "")
    assert done.out == TERMINAL.replace("OLD", str(pair[0])).replace("NEW", str(pair[1]))
    colored = terminal("diff", "--renames", *pair, columns=120).out
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == done.out != colored


def test_terminal_same(terminal, pair):
    done = terminal("diff", pair[0], pair[0])
    assert (done.code, done.out) == (0, "5 tensors the same\n")
    assert terminal("diff", "-q", pair[0], pair[0]).out == ""


def test_terminal_collapses_layers(terminal, make):
    layers = {f"layers.{i}.{name}": ("F32", [1], None) for i in range(9) for name in ("a", "b")}
    half = {name: ("F16", [1], None) for name in layers}
    a, b, none = make(layers, name="a"), make(half, name="b"), make({}, name="none")
    assert "layers.[0-8]" in terminal("diff", "--color", "never", a, none).out
    done = terminal("diff", "--color", "never", a, b)
    assert "layers.[0-8]" in done.out and len(done.lines) == 6


def test_terminal_values(terminal, values):
    done = terminal("diff", "--color", "never", *values("F32", floats(NAN, 1, INF, 2), floats(1, NAN, 1, 2)),
                    columns=120)
    assert "  1 NaN in the first  1 NaN in the second  1 Inf\n" in done.out
    assert "  ~  75.0%" in done.out


def test_names_are_escaped(cli, terminal, make):
    name, key = "w\x1b[31m\u202e\tx", "k\x1b[2J"
    a = make({name: ("U8", [1], b"a")}, {key: "\x1b[1m"}, name="a")
    b = make({name: ("U8", [1], b"b")}, {key: "\n"}, name="b")
    c = make({"other": ("U8", [1], b"a")}, name="c")
    for other in (b, c):
        for done in (cli("diff", "-R", a, other), cli("diff", "-R", "--json", a, other),
                     terminal("diff", "-R", "--color", "never", a, other)):
            assert done.code == 1
            assert "\x1b" not in done.out and "\u202e" not in done.out
    assert cli("diff", a, b).lines[0] == "~\tmetadata\tk\\u001b[2J\t\\u001b[1m\t\\n"


@pytest.mark.parametrize("words, message", [
    (["--rtol", "x"], "--rtol takes a number that is not below 0, as 1e-5, not \"x\""),
    (["--atol=-1"], "--atol takes a number that is not below 0"),
    (["--rtol", "nan"], "--rtol takes a number"), (["--atol", "1e999"], "--atol takes a number"),
    (["--metadata", "--structure"], "--metadata compares nothing else"),
    (["--metadata", "--no-metadata"], "--metadata compares nothing else"),
    (["--structure", "--rtol", "1"], "no values are read"),
    (["--metadata", "--equal-nan"], "no values are read")])
def test_wrong_usage(cli, pair, words, message):
    done = cli("diff", *words, *pair)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("safetensors: " + message)
    assert cli("diff", "--json", *words, *pair).out == ""


def test_arguments(cli, pair):
    assert cli("diff", pair[0]).err.startswith("safetensors: B is missing\n")
    assert cli("diff", *pair, pair[0]).code == 2


def test_unreadable(cli, pair, make, tmp_path):
    bad = make(b"short", name="bad")
    absent = tmp_path / "absent"
    for files in ((pair[0], absent), (absent, pair[0]), (bad, pair[0]), (bad, absent)):
        done = cli("diff", *files)
        assert (done.code, done.out) == (3, "")
        found = cli("diff", "--json", *files)
        assert found.code == 3 and "diff" not in found.json
        assert ["error" in each for each in found.json["files"]] == [each != pair[0] for each in files]


def test_standard_input(cli, pair):
    done = cli("diff", "-", pair[1], stdin=pair[0].read_bytes())
    assert done.raw == cli("diff", *pair).raw
    assert cli("diff", "-", "-", stdin=pair[0].read_bytes()).code == 0


def test_strategies_give_the_same(cli, make):
    content = bytes(range(256)) * 40000
    other = bytearray(content)
    other[5_000_000] ^= 1
    a = make({"t": ("F32", [len(content) // 4], content)}, name="a")
    b = make({"t": ("F32", [len(content) // 4], bytes(other))}, name="b")
    results = {cli("diff", "--io", io, a, b).out for io in ("auto", "pread", "map", "direct", "uring")}
    assert len(results) == 1 and "[1250000]" in results.pop()


def test_explain(cli, pair):
    done = cli("diff", "--explain", *pair)
    assert done.code == 0
    assert [line.split(": ")[0] for line in done.lines] == [str(path) for path in pair]
    files = cli("diff", "--explain", "--json", "-g", "w", *pair).json["files"]
    assert [each["explanations"][0]["tensor"] for each in files] == ["w", "w"]
