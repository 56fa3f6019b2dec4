# SPDX-License-Identifier: Apache-2.0
import re

import pytest

from model_files import frame

LINE = "{}\t{}\t{}\t{}\t{}"


def test_flat_lines(cli, small):
    done = cli("ls", small)
    start = int.from_bytes(small.read_bytes()[:8], "little") + 8
    assert (done.code, done.err) == (0, "")
    assert done.lines == [LINE.format("F32", "[2,3]", 24, start, "b.weight"),
                          LINE.format("I16", "[3]", 6, start + 24, "a")]
    assert cli("ls", "--flat", small).out == done.out


def test_scalars_and_empty_tensors(cli, make):
    path = make({"s": ("F64", [], None), "e": ("F32", [0, 7], None), "last": ("U8", [1], None)})
    rows = [line.split("\t") for line in cli("ls", path).lines]
    assert [(row[1], row[2], row[4]) for row in rows] == [
        ("[]", "8", "s"), ("[0,7]", "0", "e"), ("[1]", "1", "last")]


@pytest.mark.parametrize("key, order", [
    ("offset", "b2 b10 a c"), ("name", "a b10 b2 c"), ("size", "c b10 b2 a"),
    ("dtype", "b10 b2 c a")])
def test_sort(cli, make, key, order):
    path = make({"b2": ("F32", [1], None), "b10": ("U8", [8], None), "a": ("F64", [0], None),
                 "c": ("F32", [3], None)})
    assert [line.split("\t")[4] for line in cli("ls", "--sort", key, path).lines] == order.split()


@pytest.mark.parametrize("options, names", [
    (["-g", "a.*"], "a.b.w a.c"), (["-g", "a.?"], "a.c"), (["-g", "*.w", "-g", "z"], "a.b.w z"),
    (["-r", "^a[.]c$"], "a.c"), (["-r", "b|z"], "a.b.w z"), (["-g", "z", "-r", "c"], "a.c z"),
    (["-d", "F32"], "a.b.w"), (["-d", "f32", "-d", "u8"], "a.b.w z"),
    (["-x", "a.*"], "z üñ"), (["-x", "z", "-x", "*c"], "a.b.w üñ"),
    (["-g", "a*", "-x", "*w"], "a.c"), (["-r", "b|z", "-x", "*"], ""), (["-d", "U8", "-x", "z"], ""),
    (["-d", "U8", "-g", "a*"], ""), (["-g", "ü?"], "üñ"), (["-r", "^..$"], "üñ"),
    ([], "a.b.w a.c z üñ")])
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_filters(cli, make, options, names, locale):
    path = make({"a.b.w": ("F32", [1], None), "a.c": ("F16", [1], None), "z": ("U8", [1], None),
                 "üñ": ("I8", [1], None)})
    done = cli("ls", *options, path, env={"LC_ALL": locale})
    assert done.code == 0
    assert [line.split("\t")[4] for line in done.lines] == names.split()


def test_filter_sees_past_a_nul(cli, make):
    path = make({"a\0b": ("U8", [1], None), "c": ("U8", [1], None)})
    assert [line.split("\t")[4] for line in cli("ls", "-g", "*b", path).lines] == ["a\\u0000b"]
    assert cli("ls", "-r", "^a$", path).out == ""


def test_totals(cli, make):
    path = make({"a": ("F32", [2, 3], None), "b": ("F32", [4], None), "c": ("F4", [6], None)})
    assert cli("ls", "--totals", path).out == "F32\t2\t10\t40\nF4\t1\t6\t3\ntotal\t3\t16\t43\n"
    assert cli("ls", "-T", "-d", "f4", path).out == "F4\t1\t6\t3\ntotal\t1\t6\t3\n"


def test_several_files(cli, make):
    one = make({"a": ("U8", [1], None)}, name="one")
    two = make({"b": ("U8", [1], None)}, name="two")
    done = cli("ls", one, two)
    assert [line.split("\t")[-1] for line in done.lines] == [f"{one}:", "a", "", f"{two}:", "b"]


def test_no_tensors(cli, make, terminal):
    path = make(frame("{}      "))
    assert (cli("ls", path).code, cli("ls", path).out) == (0, "")
    assert terminal("ls", path).code == 0
    assert cli("ls", "--json", path).json["files"][0]["totals"] == {
        "tensors": 0, "elements": 0, "bytes": 0, "dtypes": []}


def test_json(cli, small):
    start = int.from_bytes(small.read_bytes()[:8], "little") + 8
    done = cli("ls", "--json", small)
    assert (done.code, done.err) == (0, "")
    assert done.json == {"files": [{
        "file": str(small), "size": start + 30, "header_size": start - 8, "metadata": 1,
        "tensors": [
            {"name": "b.weight", "dtype": "F32", "shape": [2, 3], "elements": 6, "bytes": 24,
             "offset": start},
            {"name": "a", "dtype": "I16", "shape": [3], "elements": 3, "bytes": 6,
             "offset": start + 24}],
        "totals": {"tensors": 2, "elements": 9, "bytes": 30, "dtypes": [
            {"dtype": "F32", "tensors": 1, "elements": 6, "bytes": 24},
            {"dtype": "I16", "tensors": 1, "elements": 3, "bytes": 6}]}}]}


def tree(done, path):
    """The tree's lines, without their totals."""
    lines = done.out.split("\n\n")[0].splitlines()
    assert lines[0] == str(path)
    parts = [re.match(r"((?:[\u2502| ]   )*(?:[\u251c\u2514]\u2500\u2500 |[|`]-- ))(.*)", line)
             for line in lines[1:]]
    return [part[1] + re.sub("  +", "  ", part[2]) for part in parts]


def test_tree_collapses_layers(cli, make):
    tensors = {"embed.weight": ("F32", [4], None)}
    for i in range(12):
        tensors[f"m.layers.{i}.w"] = ("F16", [2, 2], None)
        tensors[f"m.layers.{i}.n.b"] = ("F16", [2], None)
    path = make(tensors)
    done = cli("ls", "--tree", path)
    assert done.code == 0
    assert tree(done, path) == [
        "├── embed.weight  F32  [4]  16",
        "└── m.layers.[0-11]  24 tensors  144",
        "    ├── n.b  F16  [2]  4",
        "    └── w  F16  [2,2]  8"]
    assert done.lines[-1] == "total\t25\t76\t160"


def test_tree_keeps_unlike_layers_apart(cli, make):
    path = make({"l.0.w": ("F16", [2], None), "l.1.w": ("F16", [2], None),
                 "l.2.w": ("F16", [3], None), "l.3.w": ("F32", [3], None),
                 "l.5.w": ("F32", [3], None), "l.6.w": ("F32", [3], None),
                 "l.6.x": ("F32", [3], None), "l.10.w": ("F16", [2], None),
                 "l.007.w": ("F16", [2], None), "l.x.w": ("F16", [2], None)})
    assert tree(cli("ls", "--tree", path), path) == [
        "└── l  10 tensors  74",
        "    ├── [0-1].w  F16  [2] × 2  8",
        "    ├── 2.w  F16  [3]  6",
        "    ├── 3.w  F32  [3]  12",
        "    ├── 5.w  F32  [3]  12",
        "    ├── 6  2 tensors  24",
        "    │   ├── w  F32  [3]  12",
        "    │   └── x  F32  [3]  12",
        "    ├── 007.w  F16  [2]  4",
        "    ├── 10.w  F16  [2]  4",
        "    └── x.w  F16  [2]  4"]


def test_tree_collapses_within_layers(cli, make):
    path = make({f"l.{i}.experts.{j}.w": ("U8", [1], None) for i in range(3) for j in range(4)})
    assert tree(cli("ls", "--tree", path), path) == [
        "└── l.[0-2].experts.[0-3].w  U8  [1] × 12  12"]


def test_tree_of_names_that_are_prefixes(cli, make):
    path = make({name: ("U8", [1], None) for name in ["a", "a.b", "a.b.c", "a.", "", ".x", "a..y"]})
    assert tree(cli("ls", "--tree", path), path) == [
        '├── ""  U8  [1]  1',
        "│   └── x  U8  [1]  1",
        "└── a  U8  [1]  1",
        '    ├── ""  U8  [1]  1',
        "    │   └── y  U8  [1]  1",
        "    └── b  U8  [1]  1",
        "        └── c  U8  [1]  1"]


def test_tree_in_ascii(cli, make):
    path = make({"a.0": ("U8", [1], None), "a.1": ("U8", [1], None), "b": ("U8", [1], None)})
    assert tree(cli("ls", "--tree", path, env={"LC_ALL": "C"}), path) == [
        "|-- a.[0-1]  U8  [1] x 2  2", "`-- b  U8  [1]  1"]


def test_tree_of_hostile_depth(cli, make):
    """A name of very many parts is neither split without end nor lost."""
    deep = ".".join("a" * 5000)
    path = make({deep: ("U8", [1], None), deep + ".b": ("U8", [1], None),
                 deep[:-2] + ".c": ("U8", [1], None),
                 **{".".join("x" * n): ("U8", [1], None) for n in range(1, 300)}})
    done = cli("ls", "--tree", path)
    assert done.code == 0
    assert done.lines[-1] == "total\t302\t302\t302"
    assert len(done.lines) < 400
    assert max(len(line) for line in done.lines) < 11000


def test_terminal_shows_the_tree(terminal, make):
    path = make({"a.w": ("F32", [1024, 512], None), "a.b": ("F32", [512], None)})
    done = terminal("ls", path, env={"NO_COLOR": "1"})
    assert done.out == (f"{path}\n"
                        "└── a      2 tensors        2.0 MiB\n"
                        "    ├── b  F32  [512]       2.0 KiB\n"
                        "    └── w  F32  [1024,512]  2.0 MiB\n"
                        "\n"
                        "F32    2 tensors, 525K elements, 2.0 MiB\n"
                        "total  2 tensors, 525K elements, 2.0 MiB\n")
    done = terminal("ls", "--flat", "--bytes", path, env={"NO_COLOR": "1"})
    start = path.stat().st_size - 2099200
    assert done.lines[:2] == [f"F32  [1024,512]  2097152  {start:7}  a.w",
                              f"F32  [512]          2048  {start + 2097152}  a.b"]
    assert done.lines[-1] == "total  2 tensors, 524800 elements, 2099200 bytes"
    assert terminal("ls", "--sort", "name", path).lines[0].endswith("a.b")


@pytest.mark.parametrize("options, env, coloured", [
    ([], {}, True), ([], {"NO_COLOR": "1"}, False), ([], {"NO_COLOR": ""}, True),
    ([], {"TERM": "dumb"}, False), (["--color=never"], {}, False),
    (["--color", "always"], {"NO_COLOR": "1"}, True), (["--color=auto"], {}, True)])
def test_colours_on_a_terminal(terminal, small, options, env, coloured):
    done = terminal("ls", *options, small, env=env)
    assert done.code == 0
    assert ("\x1b[" in done.out) == coloured


def test_colours_in_a_pipe(cli, small):
    assert "\x1b" not in cli("ls", small).out
    assert "\x1b[36mF32\x1b[0m\t" in cli("ls", "--color=always", small).out


def test_many_tensors(cli, terminal, make):
    count = 100000
    path = make({f"model.layers.{i // 10}.expert.{i % 10}.w": ("U8", [1], b"\0")
                 for i in range(count)})
    done = cli("ls", path)
    assert done.code == 0 and len(done.lines) == count
    assert len(cli("ls", "-s", "name", path).lines) == count
    assert tree(cli("ls", "--tree", path), path) == [
        "└── model.layers.[0-9999].expert.[0-9].w  U8  [1] × 100000  100000"]
    assert len(cli("ls", "--json", path).json["files"][0]["tensors"]) == count
    assert cli("show", path, "model.layers.777.expert.3.x").code == 2


def test_filters_are_the_rules_of_edits(cli, make, tmp_path):
    """The same pattern picks the same tensors, whichever verb it is given to."""
    path, out = make({name: ("U8", [1], b"1") for name in ("w[0]", "w0", "w1", "v\x00")}), tmp_path / "out"
    for pattern, names in [("w[0]", ["w[0]", "w0"]), ("w\\[0]", ["w[0]"]), ("w[!0]", ["w1"]), ("v?", ["v\\u0000"])]:
        assert [line.split("\t")[-1] for line in cli("ls", "-g", pattern, path).lines] == names
        assert cli("edit", path, "-k", pattern, "-o", out).code == 0
        assert [line.split("\t")[-1] for line in cli("ls", out).lines] == names
        assert cli("copy", "-x", pattern, path, out).code == 0
        kept = [line.split("\t")[-1] for line in cli("ls", out).lines]
        assert not set(kept) & set(names) and len(kept) + len(names) == 4
