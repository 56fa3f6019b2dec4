# SPDX-License-Identifier: Apache-2.0
import struct

import pytest

from model_files import floats


def start_of(path):
    return int.from_bytes(path.read_bytes()[:8], "little") + 8


@pytest.fixture
def counting(make):
    """F32 [3,4] of 0 to 11; I64 [40,50] of 0 to 1999; a scalar."""
    return make({"m": ("F32", [3, 4], floats(*range(12))),
                 "big": ("I64", [40, 50], struct.pack("<2000q", *range(2000))),
                 "s": ("F64", [], struct.pack("<d", 0.1))})


def values(done):
    """What stands behind the facts."""
    last = max(i for i, line in enumerate(done.lines[:8])
               if line.startswith(("  offset ", "  slice ")))
    return done.lines[last + 1:]


def test_facts(cli, counting):
    start = start_of(counting)
    done = cli("show", counting, "m")
    assert (done.code, done.err) == (0, "")
    assert done.lines == [
        "m",
        "  dtype     F32",
        "  shape     [3,4]",
        "  elements  12",
        "  bytes     48",
        f"  offset    {start}, a multiple of {start & -start}",
        "[[ 0  1  2  3]",
        " [ 4  5  6  7]",
        " [ 8  9 10 11]]"]


def test_several_tensors(cli, counting):
    done = cli("show", counting, "s", "nothing", "m[0,0]")
    assert done.code == 2
    assert done.lines[0] == "s" and done.lines[6] == "0.1" and done.lines[7:9] == ["", "m"]
    assert done.err == f'safetensors: {counting}: no tensor "nothing"\n'
    # Of a name as short as "q" any other is as near.
    assert cli("show", counting, "q").err == f'safetensors: {counting}: no tensor "q"\n'


def test_summary(cli, counting):
    assert values(cli("show", counting, "big")) == [
        "[[   0    1    2 ...   47   48   49]",
        " [  50   51   52 ...   97   98   99]",
        " [ 100  101  102 ...  147  148  149]",
        " ...",
        " [1850 1851 1852 ... 1897 1898 1899]",
        " [1900 1901 1902 ... 1947 1948 1949]",
        " [1950 1951 1952 ... 1997 1998 1999]]"]


def test_summary_of_three_dimensions(cli, make):
    path = make({"t": ("U16", [8, 2, 70], struct.pack("<1120H", *range(1120)))})
    assert cli("show", path, "t").out.split("\n", 6)[6] == (
        "[[[   0    1    2 ...   67   68   69]\n"
        "  [  70   71   72 ...  137  138  139]]\n\n"
        " [[ 140  141  142 ...  207  208  209]\n"
        "  [ 210  211  212 ...  277  278  279]]\n\n"
        " [[ 280  281  282 ...  347  348  349]\n"
        "  [ 350  351  352 ...  417  418  419]]\n\n"
        " ...\n\n"
        " [[ 700  701  702 ...  767  768  769]\n"
        "  [ 770  771  772 ...  837  838  839]]\n\n"
        " [[ 840  841  842 ...  907  908  909]\n"
        "  [ 910  911  912 ...  977  978  979]]\n\n"
        " [[ 980  981  982 ... 1047 1048 1049]\n"
        "  [1050 1051 1052 ... 1117 1118 1119]]]\n")


def test_summary_of_a_slice(cli, counting):
    assert values(cli("show", counting, "big[::-1, None, 49:0:-1]")) == [
        "[[[1999 1998 1997 ... 1953 1952 1951]]", "",
        " [[1949 1948 1947 ... 1903 1902 1901]]", "",
        " [[1899 1898 1897 ... 1853 1852 1851]]", "",
        " ...", "",
        " [[ 149  148  147 ...  103  102  101]]", "",
        " [[  99   98   97 ...   53   52   51]]", "",
        " [[  49   48   47 ...    3    2    1]]]"]
    assert values(cli("show", counting, "big[0:40:1, ::-1]"))[0] == (
        "[[  49   48   47 ...    2    1    0]")


@pytest.mark.parametrize("index, shape, expected", [
    ("[0]", "[4]", "[0 1 2 3]"), ("[-1, 1]", "[]", "9"), ("[:2, ::2]", "[2,2]", "[[0 2]\n [4 6]]"),
    ("[..., 1]", "[3]", "[1 5 9]"), ("[None, 0, :2]", "[1,2]", "[[0 1]]"), ("[3:]", "[0,4]", "[]"),
    ("[]", "[3,4]", "[[ 0  1  2  3]\n [ 4  5  6  7]\n [ 8  9 10 11]]"),
    ("[::-2, -1]", "[2]", "[11  3]")])
def test_slices(cli, counting, index, shape, expected):
    done = cli("show", counting, "m" + index)
    assert done.code == 0
    assert f"  slice     {index} of shape {shape}, " in done.out
    assert "\n".join(values(done)) == expected
    assert cli("show", counting, "m", "--slice", index[1:-1]).out == done.out


@pytest.mark.parametrize("index", ["[3]", "[::0]", "[0,0,0]", "[x]", "[...,...]", "[1:2:3:4]"])
def test_wrong_slices(cli, counting, index):
    done = cli("show", counting, "m" + index)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f'safetensors: {counting}: tensor "m": ')


def test_names_in_brackets(cli, make):
    path = make({"a[0]": ("U8", [2], b"\1\2"), "a": ("U8", [2], b"\3\4"), "[x]": ("U8", [1], b"\5"),
                 "b]": ("U8", [1], b"\6")})

    def show(word):
        return cli("show", "--values", path, word).out.split()

    assert show("a[0]") == ["1", "2"]
    assert show("a[0][1]") == ["2"]
    assert show("a[1]") == ["4"]
    assert show("[x]") == ["5"]
    assert show("[x][0]") == ["5"]
    assert show("b]") == ["6"]
    assert cli("show", path, "b[0]").code == 2


@pytest.mark.parametrize("word, hint", [
    ("layers.0.wieght", '"layers.0.weight"'), ("0.weight", '"layers.0.weight"'),
    ("model.layers.1.weight", '"layers.1.weight"'), ("layers.0.wieght[0]", '"layers.0.weight"')])
def test_nearest_names(cli, make, word, hint):
    path = make({f"layers.{i}.weight": ("U8", [1], None) for i in range(3)})
    done = cli("show", path, word)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f'safetensors: {path}: no tensor "{word}"; did you mean {hint}')


def test_nothing_is_near(cli, counting):
    done = cli("show", counting, "w" * 5000)
    assert done.code == 2
    assert "did you mean" not in done.err and len(done.err) < 600


TEXTS = {
    "BOOL": (b"\0\1\2", ["false", "true", "true"]),
    "U8": (b"\0\xff", ["0", "255"]), "I8": (b"\x80\x7f", ["-128", "127"]),
    "U64": (b"\xff" * 8, ["18446744073709551615"]),
    "I64": (b"\0" * 7 + b"\x80", ["-9223372036854775808"]),
    "F16": (struct.pack("<2e", 0.1, 65504), ["0.1", "65500"]),
    "BF16": (b"\x80\x3f\xcd\x3d", ["1", "0.1"]),
    "F32": (floats(0.1, float("nan"), float("-inf"), 1e-40), ["0.1", "nan", "-inf", "1e-40"]),
    "F64": (struct.pack("<2d", 0.1, 1e300), ["0.1", "1e300"]),
    "C64": (floats(1, -2), ["1-2j"]),
    "F8_E4M3": (b"\x38\x7e", ["1", "450"]), "F8_E8M0": (b"\x7f\x80", ["1", "2"]),
    "F4": (b"\x72\x91", ["1", "6", "0.5", "-0.5"]),
    "F6_E2M3": (b"\x08\x00\x00", ["1", "0", "0", "0"]),
}


@pytest.mark.parametrize("dtype", TEXTS)
def test_values_of_every_kind(cli, make, dtype):
    data, texts = TEXTS[dtype]
    path = make({"t": (dtype, [len(texts)], data)})
    done = cli("show", "--values", path, "t")
    shown = done.out.split()
    assert done.code == 0
    if dtype in ("F16", "F8_E4M3"):  # how short a large value's digits get is the codec's to say
        assert [float(a) == pytest.approx(float(b), rel=0.01) for a, b in zip(shown, texts)]
    else:
        assert shown == texts
    assert cli("show", path, "t").code == 0


def test_decimal_points_are_aligned(cli, make):
    path = make({"t": ("F32", [2, 2], floats(0.5, -10, 1.25, float("nan")))})
    assert values(cli("show", path, "t")) == ["[[  0.5  -10   ]", " [  1.25 nan   ]]"]


def test_long_rows_are_broken(cli, terminal, counting):
    for columns in (40, 200):
        done = terminal("show", counting, "big[0]", columns=columns, env={"NO_COLOR": "1"})
        lines = values(done)
        assert max(map(len, lines)) <= columns
        assert len(lines) == (4 if columns == 40 else 1)
        assert " ".join(lines).replace("[", "").replace("]", "").split() == [
            str(i) for i in range(50)]
    shown = terminal("show", counting, "big[0]", env={"NO_COLOR": "1", "COLUMNS": "60"})
    assert 40 < max(map(len, values(shown))) <= 60


def test_all(cli, counting):
    done = cli("show", "--all", counting, "big")
    assert "..." not in done.out
    text = " ".join(values(done)).replace("[", "").replace("]", "")
    assert text.split() == [str(i) for i in range(2000)]
    assert cli("show", "--values", counting, "big").out.split() == text.split()


def test_raw(cli, terminal, counting):
    assert cli("show", "--raw", counting, "m").raw == floats(*range(12))
    assert cli("show", "--raw", counting, "m[1]", "s").raw == (
        floats(4, 5, 6, 7) + struct.pack("<d", 0.1))
    done = terminal("show", "--raw", counting, "m")
    assert (done.code, done.out) == (2, "")
    assert "terminal" in done.err


def test_hex(cli, make):
    path = make({"t": ("U8", [70], bytes(range(0x3c, 0x4d)) + b"A" * 47 + b"\0\x7f\x80\xff.~"),
                 "e": ("U8", [0], b"")})
    done = cli("show", "--hex", path, "t")
    assert done.code == 0
    assert done.out == (
        "00000000  3c 3d 3e 3f 40 41 42 43  44 45 46 47 48 49 4a 4b  |<=>?@ABCDEFGHIJK|\n"
        "00000010  4c 41 41 41 41 41 41 41  41 41 41 41 41 41 41 41  |LAAAAAAAAAAAAAAA|\n"
        "00000020  41 41 41 41 41 41 41 41  41 41 41 41 41 41 41 41  |AAAAAAAAAAAAAAAA|\n"
        "*\n"
        "00000040  00 7f 80 ff 2e 7e                                 |.....~|\n"
        "00000046\n")
    assert cli("show", "--hex", path, "t[64:66]").lines[0].startswith("00000000  00 7f  ")
    assert cli("show", "--hex", path, "e").out == ""


@pytest.mark.parametrize("option", ["--raw", "--hex"])
def test_bytes_are_no_json(cli, counting, option):
    done = cli("show", "--json", option, counting, "m")
    assert (done.code, done.out) == (2, "")


def test_json(cli, counting):
    start = start_of(counting)
    done = cli("show", "--json", counting, "m", "m[0,:2]", "big", "x")
    assert done.code == 2
    first, second, third = done.json["files"][0]["tensors"]
    assert first == {"name": "m", "dtype": "F32", "shape": [3, 4], "elements": 12, "bytes": 48,
                     "offset": start, "alignment": start & -start, "slice": None,
                     "values": list(range(12))}
    assert second["slice"] == {"index": "0,:2", "shape": [2], "elements": 2, "bytes": 8}
    assert second["values"] == [0, 1]
    assert third["values"] is None
    done = cli("show", "--json", "--all", counting, "big")
    assert done.json["files"][0]["tensors"][0]["values"] == list(range(2000))


def test_json_values(cli, make):
    path = make({"f": ("F32", [4], floats(0.5, float("nan"), float("inf"), float("-inf"))),
                 "b": ("BOOL", [2], b"\0\1"), "c": ("C64", [1], floats(1, -2)),
                 "u": ("U64", [1], b"\xff" * 8), "i": ("I64", [1], b"\0" * 7 + b"\x80")})
    tensors = cli("show", "--json", path, *"fbcui").json["files"][0]["tensors"]
    assert [each["values"] for each in tensors] == [
        [0.5, "nan", "inf", "-inf"], [False, True], [[1, -2]], [2**64 - 1], [-2**63]]


@pytest.mark.parametrize("dtype, shape, bits", [("F4", [60, 64], 4), ("F4", [6, 1001], 4),
                                                ("F6_E3M2", [40, 44], 6), ("F6_E2M3", [8, 255], 6)])
def test_sub_byte_summaries(cli, make, dtype, shape, bits):
    """The summary's values are those that the whole print has at the same places."""
    count = shape[0] * shape[1]
    path = make({"t": (dtype, shape, bytes((i * 37 + 11) % 256 for i in range(count * bits // 8)))})
    every = cli("show", "--values", path, "t").out.split()
    assert len(every) == count
    rows = [every[i * shape[1]:(i + 1) * shape[1]] for i in range(shape[0])]
    picked = rows if shape[0] <= 6 else rows[:3] + rows[-3:]
    expected = [row[:3] + row[-3:] for row in picked]
    text = " ".join(values(cli("show", path, "t"))).replace("[", " ").replace("]", " ")
    assert [word for word in text.split() if word != "..."] == sum(expected, [])


def test_many_dimensions(cli, make):
    path = make({"t": ("U8", [1] * 100 + [2], b"\1\2"), "wide": ("U8", [2] * 14, None),
                 "ones": ("U8", [1] * 70, b"\7")})
    assert values(cli("show", path, "t")) == ["[1 2]"]
    assert values(cli("show", path, "ones")) == ["7"]
    done = cli("show", path, "wide")
    assert done.code == 0
    assert sum(line.count("0") for line in values(done)) == 2 ** 14


def test_a_file_that_is_cut(cli, counting):
    counting.write_bytes(counting.read_bytes()[:-8])
    done = cli("show", counting, "m")
    assert (done.code, done.out) == (1, "")
    assert "8 bytes" in done.err
