# SPDX-License-Identifier: Apache-2.0
import math
import struct

import pytest

from model_files import floats, frame

INF, NAN = math.inf, math.nan


@pytest.fixture
def sick(make):
    """A good tensor, and two with what should not be there."""
    return make({"a.weight": ("F32", [2, 3], floats(0, 1, 2, 3, 4, 5)),
                 "a.bias": ("F32", [4], floats(NAN, 1, -INF, NAN)),
                 "b.weight": ("F16", [2], struct.pack("<2e", INF, -2)),
                 "steps": ("I64", [2], struct.pack("<2q", -(2**62), 2**62))}, name="sick")


def test_lines(cli, sick):
    done = cli("stats", sick)
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        "F32\t[2,3]\t0\t5\t2.5\t1.707825127659933\t1\t0\t0\ta.weight",
        "F32\t[4]\t1\t1\t1\t0\t0\t2\t1\ta.bias",
        "F16\t[2]\t-2\t-2\t-2\t0\t0\t0\t1\tb.weight",
        f"I64\t[2]\t{-2**62}\t{2**62}\t0\t4.611686018427388e18\t0\t0\t0\tsteps"]


def test_nothing_finite(cli, make):
    path = make({"n": ("F32", [2], floats(NAN, INF)), "e": ("F64", [0, 3], b""),
                 "i": ("U8", [0], b"")})
    assert [line.split("\t") for line in cli("stats", "-q", "0.5", path).lines] == [
        ["F32", "[2]", "-", "-", "-", "-", "0", "1", "1", "-", "n"],
        ["F64", "[0,3]", "-", "-", "-", "-", "0", "0", "0", "-", "e"],
        ["U8", "[0]", "-", "-", "-", "-", "0", "0", "0", "-", "i"]]
    found = cli("stats", "-q", "0.5", "-H", "--json", path).json["files"][0]["tensors"][0]["stats"]
    assert found["min"] is found["max"] is found["mean"] is found["std"] is None
    assert found["quantiles"] == [{"p": 0.5, "value": None}]
    assert found["histogram"] == {"low": 0, "high": 1, "below": 0, "above": 0, "bins": [0] * 20}
    card = cli("stats", "-H", path, "n")
    assert card.code == 0 and card.lines[-1] == "  -Inf      0"


@pytest.mark.parametrize("dtype, content, low, high", [
    ("BOOL", b"\0\1\1", "0", "1"), ("U8", b"\0\x07\xff", "0", "255"),
    ("I8", b"\x80\0\x7f", "-128", "127"), ("U64", struct.pack("<2Q", 1, 2**64 - 1), "1",
                                           str(2**64 - 1)),
    ("BF16", b"\0\0\xcd\x3d\0\xbf", "-0.5", "0.1"), ("F8_E4M3", b"\x38\xb8", "-1", "1"),
    ("F64", struct.pack("<2d", 0.1, 1e300), "0.1", "1e300"),
    ("C64", floats(3, 4, 0, 0), "0", "5")])
def test_extremes(cli, make, dtype, content, low, high):
    width = {"BF16": 2, "U64": 8, "F64": 8, "C64": 8}.get(dtype, 1)
    path = make({"t": (dtype, [len(content) // width], content)})
    assert cli("stats", path).lines[0].split("\t")[2:4] == [low, high]
    found = cli("stats", "--json", path).json["files"][0]["tensors"][0]["stats"]
    if dtype != "BF16":
        assert (found["min"], found["max"]) == (float(low), float(high)) or \
            (found["min"], found["max"]) == (int(low), int(high))


def test_deviation_beyond_doubles(cli, make):
    """Its square is as large as no double is; the values themselves are finite."""
    path = make({"t": ("F64", [2], struct.pack("<2d", -1.7e308, 1.7e308))})
    assert cli("stats", path).lines == ["F64\t[2]\t-1.7e308\t1.7e308\t0\tinf\t0\t0\t0\tt"]
    found = cli("stats", "--json", path).json["files"][0]["tensors"][0]["stats"]
    assert (found["finite"], found["mean"], found["std"]) == (2, 0, "inf")


def test_quantiles_are_columns(cli, small):
    rows = [line.split("\t") for line in cli("stats", "-q", "0,0.5,1", small).lines]
    assert [row[9:] for row in rows] == [["0", "2.5", "5", "b.weight"], ["-7", "0", "300", "a"]]


def test_filters(cli, sick):
    def names(*words):
        done = cli("stats", *words, sick)
        assert done.code == 0
        return [line.split("\t")[-1] for line in done.lines]

    assert names("-g", "*.weight") == ["a.weight", "b.weight"]
    assert names("-r", "^a", "-x", "*bias") == ["a.weight"]
    assert names("-d", "i64") == ["steps"]
    assert names("-g", "nothing") == []
    done = cli("stats", "-g", "*", sick, "steps")
    assert done.code == 2 and "a TENSOR is named" in done.err


def test_card(cli, small):
    done = cli("stats", small, "b.weight")
    assert (done.code, done.err) == (0, "")
    facts = dict(line.split(None, 1) for line in done.lines[1:] if not line.startswith("  q "))
    assert done.lines[0] == "b.weight"
    assert facts == {"dtype": "F32", "shape": "[2,3]", "elements": "6", "bytes": "24",
                     "offset": facts["offset"], "zeros": "1, 16.7%", "negatives": "0", "NaN": "0",
                     "+Inf": "0", "-Inf": "0", "min": "0", "max": "5", "mean": "2.5",
                     "std": "1.707825"}
    assert [line.split() for line in done.lines if line.startswith("  q ")] == [
        ["q", p, v] for p, v in [("0", "0"), ("0.01", "0.05"), ("0.05", "0.25"), ("0.25", "1.25"),
                                 ("0.5", "2.5"), ("0.75", "3.75"), ("0.95", "4.75"),
                                 ("0.99", "4.95"), ("1", "5")]]


def test_card_of_anomalies(cli, sick):
    lines = cli("stats", "-q", "0.5", "--color=always", sick, "a.bias").lines
    assert "\x1b[2m  NaN       \x1b[0m\x1b[1;31m2, 50.0%\x1b[0m" in lines
    assert "\x1b[2m  -Inf      \x1b[0m\x1b[1;31m1, 25.0%\x1b[0m" in lines
    assert "\x1b[2m  +Inf      \x1b[0m0" in lines
    assert [line for line in lines if "q 0.5" in line] == ["\x1b[2m  q 0.5     \x1b[0m1"]


def test_flat_for_one(cli, small):
    assert cli("stats", "--flat", small, "a").lines == [
        line for line in cli("stats", small).lines if line.endswith("\ta")]


def test_slices(cli, small):
    done = cli("stats", small, "b.weight[:, ::2]", "b.weight[1]")
    assert done.code == 0
    assert [line.split("\t")[1:4] + line.split("\t")[-1:] for line in done.lines] == [
        ["[2,2]", "0", "5", "b.weight[:, ::2]"], ["[3]", "3", "5", "b.weight[1]"]]
    lines = cli("stats", small, "b.weight[0, 1:]").lines
    assert "  slice     [0, 1:] of shape [2], 2 elements, 8 bytes" in lines
    assert "  mean      1.5" in lines
    assert cli("stats", small, "b.weight[9]").code == 2


def test_histogram(cli, small):
    done = cli("stats", "-b", "5", "--range", "1:3.5", small, "b.weight")
    lines = done.out.split("\n\n")[1].splitlines()
    assert (done.code, lines) == (0, [
        "  1 below",
        "  [  1, 1.5)  1  " + "█" * 60,
        "  [1.5,   2)  0",
        "  [  2, 2.5)  1  " + "█" * 60,
        "  [2.5,   3)  0",
        "  [  3, 3.5]  1  " + "█" * 60,
        "  2 above"])
    ascii_only = cli("stats", "-H", small, "b.weight", env={"LC_ALL": "C"}).out
    assert "####" in ascii_only and ascii_only.isascii()
    assert len(cli("stats", "-H", small, "b.weight").out.split("\n\n")[1].splitlines()) == 20
    # Of each tensor, where none is named.
    assert cli("stats", "-H", small).out.count("\n\n") == 3


def test_histogram_of_numbers_far_apart(cli, make):
    """Their range is no double."""
    path = make({"w": ("F64", [3], struct.pack("<3d", -1.5e308, 0, 1.5e308))})
    done = cli("stats", "-b", "3", path, "w", env={"LC_ALL": "C"})
    lines = [line.split("#")[0].strip() for line in done.out.split("\n\n")[1].splitlines()]
    assert (done.code, lines) == (
        0,
        ["[-1.5e+308,  -5e+307)  1", "[  -5e+307,   5e+307)  1", "[   5e+307, 1.5e+308]  1"],
    )


def test_json(cli, sick):
    done = cli("stats", "--json", "-q", "0.5", "--bins", "2", sick)
    assert (done.code, done.err) == (0, "")
    one, = done.json["files"]
    assert one["totals"] == {"tensors": 4, "with_nan": 1, "with_infinity": 2}
    first, bias, _, steps = one["tensors"]
    assert first == {
        "name": "a.weight", "dtype": "F32", "shape": [2, 3], "elements": 6, "bytes": 24,
        "offset": first["offset"], "alignment": first["alignment"], "slice": None,
        "stats": {"count": 6, "finite": 6, "nan": 0, "positive_infinity": 0,
                  "negative_infinity": 0, "zeros": 1, "negatives": 0, "min": 0, "max": 5,
                  "mean": 2.5, "std": 1.707825127659933,
                  "quantiles": [{"p": 0.5, "value": 2.5}],
                  "histogram": {"low": 0, "high": 5, "below": 0, "above": 0, "bins": [3, 3]}}}
    assert [bias["stats"][key] for key in ("count", "finite", "nan", "positive_infinity",
                                           "negative_infinity", "negatives")] == [4, 1, 2, 0, 1, 1]
    assert (steps["stats"]["min"], steps["stats"]["max"]) == (-2**62, 2**62)
    plain = cli("stats", "--json", sick, "a.weight[0]").json["files"][0]["tensors"][0]
    assert plain["slice"] == {"index": "0", "shape": [3], "elements": 3, "bytes": 12}
    assert plain["stats"]["quantiles"] == [] and plain["stats"]["histogram"] is None


def test_check(cli, sick, small):
    assert cli("stats", "--check", small).code == 0
    done = cli("stats", "--check", sick)
    assert (done.code, done.out) == (1, cli("stats", sick).out)
    assert cli("stats", "-c", sick, "a.weight").code == 0
    assert cli("stats", "-c", sick, "b.weight").code == 1
    assert cli("stats", "-c", sick, "a.bias[1:2]").code == 0
    assert cli("stats", "--check", "--json", sick).code == 1


def test_terminal_table(terminal, sick):
    done = terminal("stats", sick, env={"NO_COLOR": "1"}, columns=120)
    assert (done.code, done.lines) == (0, [
        "dtype shape        min        max       mean        std  zeros   NaN   Inf  name",
        "F32   [2,3]          0          5        2.5      1.708  16.7%     0     0  a.weight",
        "F32   [4]            1          1          1          0     0%     2     1  a.bias",
        "F16   [2]           -2         -2         -2          0     0%     0     1  b.weight",
        "I64   [2]   -4.612e+18  4.612e+18          0  4.612e+18     0%     0     0  steps",
        "",
        "4 tensors, 1 with NaN, 2 with Inf"])
    coloured = terminal("stats", sick).out
    assert "\x1b[1;31m2\x1b[0m" in coloured and "\x1b[2m0\x1b[0m" in coloured


def test_terminal_card_has_a_histogram(terminal, small):
    done = terminal("stats", small, "b.weight", columns=50)
    assert done.code == 0
    assert done.lines[-1].count("█") > 5
    assert all(len(line.split("\x1b[1;34m")[0]) <= 50 for line in done.lines)


@pytest.mark.parametrize("count, whole, text", [
    (0, 2000, "0%"), (1, 2000, "<0.1%"), (2, 2000, "0.1%"), (1000, 2000, "50.0%"),
    (1999, 2000, ">99.9%"), (2000, 2000, "100%")])
def test_percent(terminal, make, count, whole, text):
    path = make({"t": ("U8", [whole], bytes(count) + b"\1" * (whole - count))})
    assert terminal("stats", path, env={"NO_COLOR": "1"}).lines[1].split()[6] == text


def test_unknown_dtype(cli, make):
    path = make(frame('{"q":{"dtype":"Q7","shape":[3],"data_offsets":[0,2]},'
                      '"u":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}', b"\1\2\3"))
    assert cli("stats", path).code == 1
    done = cli("stats", "--unknown-dtypes", "-q", "0.5", path)
    assert (done.code, done.lines) == (0, ["Q7\t[3]" + "\t-" * 8 + "\tq",
                                           "U8\t[1]\t3\t3\t3\t0\t0\t0\t0\t3\tu"])
    done = cli("stats", "--unknown-dtypes", "--json", path)
    assert [each["stats"] is None for each in done.json["files"][0]["tensors"]] == [True, False]
    done = cli("stats", "--unknown-dtypes", path, "q")
    assert (done.code, done.out) == (2, "") and "its dtype is unknown" in done.err


@pytest.mark.parametrize("words, message", [
    (["-q", ".5"], "--quantiles takes up to 1024 numbers from 0 to 1, written as 0.5, with commas "
     'between, not ".5"'),
    (["-q", "x"], "--quantiles takes"),
    (["-q", ""], "--quantiles takes"), (["-q", "0.5,"], "--quantiles takes"),
    (["-q", "1.5"], "--quantiles takes"), (["-q", "-0.5"], "--quantiles takes"),
    (["-q", ",".join(["0"] * 1025)], "--quantiles takes"),
    (["--bins", "65537"], "--bins takes a number from 1 to 65536"),
    (["--bins", "0"], "--bins takes a number from 1 to 65536"),
    (["--range", "1"], '--range takes two numbers, the lower one first, as -0.5:0.5, not "1"'),
    (["--range", "1:1"], "--range takes"), (["--range", "2:1"], "--range takes"),
    (["--range", "a:b"], "--range takes"), (["--range", ":1"], "--range takes")])
def test_wrong_usage(cli, small, words, message):
    done = cli("stats", *words, small)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("safetensors: " + message)


def test_limits(cli, small):
    quantiles = ",".join(["0.5"] * 1024)
    assert len(cli("stats", "-q", quantiles, small).lines[0].split("\t")) == 1034
    found = cli("stats", "--json", "--bins", "65536", small, "a").json["files"][0]["tensors"][0]
    assert len(found["stats"]["histogram"]["bins"]) == 65536


def test_tensors_that_are_not_there(cli, small):
    done = cli("stats", small, "b.weigth", "a")
    assert done.code == 2
    assert done.err == f'safetensors: {small}: no tensor "b.weigth"; did you mean "b.weight"?\n'
    assert done.lines[0].endswith("\ta")
    assert cli("stats", "--json", small, "none").json["files"][0]["tensors"] == []


def test_truncated_while_open(cli, make):
    """What the header does not tell is an error of its file, and the document is complete."""
    path = make({"t": ("U8", [4], None)})
    path.write_bytes(path.read_bytes()[:-1])
    done = cli("stats", "--json", path)
    assert done.code == 1
    assert done.json["files"][0]["error"]["status"] == "ST_ERR_FILE_TRUNCATED"


def test_standard_input(cli, sick):
    assert cli("stats", "-", stdin=sick.read_bytes()).out == cli("stats", sick).out
