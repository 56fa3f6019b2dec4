# SPDX-License-Identifier: Apache-2.0
"""What the browser shows of a tensor, of the metadata, and of the file."""

import json
import math
import os
import re
import struct
import sys

import pytest

from view_sessions import KEYS, browse, ended, model, ready  # noqa: F401
from model_files import BITS, floats, frame
from program import binary

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "scripts"))
import screens  # noqa: E402

# ----------------------------------------------------------------------------------------- values


def test_values(browse, make):
    count = 300 * 50
    terminal = browse(make({"w": ("F32", [300, 50], struct.pack(f"<{count}f", *(i / 2 for i in range(count))))}))
    terminal.wait(KEYS)
    terminal.type("v")
    shown = terminal.wait("rows 0-20 of 300, columns 0-")
    assert re.match(r"w +F32 \[300,50\]  values$", shown.split("\n")[0].rstrip())
    assert [row.split() for row in shown.split("\n")[1:4]] == [
        [*map(str, range(10))],
        ["[0]", *[f"{i / 2:g}" for i in range(10)]],
        ["[1]", *[f"{(50 + i) / 2:g}" for i in range(10)]],
    ]
    terminal.type("G")
    shown = terminal.wait("rows 279-299 of 300")
    assert f" {299 * 25} " in shown
    terminal.type("$")
    shown = terminal.wait("-49 of 50")
    assert shown.split("\n")[22].split()[-1] == f"{(count - 1) / 2:g}"
    terminal.type("0", "1", "2", "3", "G", "l", "l", "h")
    terminal.wait(["rows 123-143 of 300, columns 1-", "[123]  3075.5"])
    terminal.type("q", "q")
    ended(terminal)


def test_titles_of_many_dimensions(browse, make):
    """What a pane shows is said, be the shape as long as it is."""
    for name in ("e", "e" * 30, "e" * 200):
        terminal = browse(make({name: ("U8", [1] * 30 + [3], b"\1\2\3")}))
        terminal.wait(KEYS)
        terminal.type("v")
        shown = terminal.wait("elements 0-2 of 3")
        assert re.match(r"\S*e .*\bvalues$", shown.split("\n")[0].rstrip())


def test_facts_of_shards(browse, cli, model, tmp_path):
    """All of them together first; and each tensor tells the one it lies in, where there is room."""
    folder = tmp_path / "s"
    assert cli("split", "-s", "20KB", model, folder).code == 0
    listed = cli("ls", "--json", folder).json["files"][0]
    shard = next(each["shard"] for each in listed["tensors"] if each["name"] == "embed.weight")
    terminal = browse(folder)
    terminal.wait([KEYS, f" of {shard}", "1.6K elements at "])
    terminal.resize(60, 24)
    terminal.wait([KEYS[:7], "1.6K elements at "], absent=[shard])
    terminal.resize(80, 24)
    terminal.type("i")
    shown = terminal.wait([f"shards    {len(listed['shards'])}", "tensors   40"])
    assert f"bytes     {sum(os.path.getsize(folder / each['shard']) for each in listed['shards'])}" in shown
    assert re.search(r"^total  40 tensors, .*, 37\.1 KiB$", shown, re.M)
    assert shown.index("total ") < shown.index(listed["shards"][0]["shard"])


def test_facts_of_one_of_each(browse, make):
    header = {
        "a": {"dtype": "I4\x1b[31m", "shape": [2], "data_offsets": [0, 1]},
        "b": {"dtype": "U8", "shape": [1], "data_offsets": [1, 2]},
    }
    terminal = browse("--unknown-dtypes", make(frame(json.dumps(header), b"\1\2")))
    terminal.wait(KEYS)
    terminal.type("i")
    shown = terminal.wait("tensors   2")
    totals = [line.rstrip() for line in shown.split("\n") if " element" in line]
    assert totals == [
        "U8            1 tensor, 1 element, 1 B",
        "I4\\u001b[31m  1 tensor, 2 elements, 1 B",
        "total         2 tensors, 3 elements, 2 B",
    ]


def test_values_of_one_row_are_broken(browse, make):
    terminal = browse(make({"w": ("U16", [1, 5000], struct.pack("<5000H", *range(5000))), "x": ("I8", [], b"\xf9")}))
    terminal.wait(KEYS)
    terminal.type("Enter")
    shown = terminal.wait("elements 0-209 of 5000")
    assert [row.split() for row in shown.split("\n")[2:4]] == [
        ["[0]", *map(str, range(10))],
        ["[10]", *map(str, range(10, 20))],
    ]
    terminal.type("G")
    assert terminal.wait("elements 4790-4999 of 5000").split("\n")[22].split()[-1] == "4999"
    terminal.type("n")
    assert terminal.wait("elements 0-0 of 1").split("\n")[2].split() == ["[0]", "-7"]
    terminal.type("N")
    terminal.wait("elements 0-209 of 5000")


def test_values_of_many_dimensions(browse, make):
    data = struct.pack("<120h", *range(120))
    terminal = browse(make({"w": ("I16", [2, 3, 10, 2], data)}), rows=12)
    terminal.wait(KEYS)
    terminal.type("v")
    shown = terminal.wait("rows 0-8 of 60, columns 0-1 of 2")
    assert "[0,0,8]  16  17" in shown
    terminal.type("]")
    assert "[0,1,0]  20  21" in terminal.wait("rows 10-18 of 60")
    terminal.type("]", "]", "]", "]", "]")
    assert "[1,2,9]  118  119" in terminal.wait("rows 51-59 of 60")
    terminal.type("[", "[")
    assert "[1,1,0]   80   81" in terminal.wait("rows 40-48 of 60")


@pytest.mark.parametrize("dtype", BITS)
def test_values_are_those_of_show(browse, cli, make, dtype):
    """Also where rows are no whole bytes."""
    size = 8 * 5 * BITS[dtype] // 8
    path = make({"w": (dtype, [8, 5], bytes((37 * i + 11) % 256 for i in range(size)))})
    terminal = browse(path, columns=200)
    terminal.wait(KEYS)
    terminal.type("v")
    shown = terminal.wait("rows 0-7 of 8, columns 0-4 of 5")
    values = [value for row in shown.split("\n")[2:10] for value in row.split()[1:]]
    assert values == cli("show", "--values", path, "w").lines


def test_values_that_are_none(browse, make):
    text = (
        b'{"e":{"dtype":"F32","shape":[0,5],"data_offsets":[0,0]},'
        b'"g.a":{"dtype":"Q7","shape":[3],"data_offsets":[0,2]},'
        b'"g.b":{"dtype":"Q7","shape":[3],"data_offsets":[2,4]}}'
    )
    terminal = browse("--unknown-dtypes", make(frame(text, b"\1\2\3\4")))
    terminal.wait("Q7")
    terminal.type("v")
    terminal.wait("no elements")
    terminal.type("]", "G", "$", "q", "j", "v")
    terminal.wait("a group has no values")
    terminal.type("s")
    terminal.wait("a group has no values")
    terminal.type("j", "s")
    terminal.wait("its dtype is unknown")
    terminal.type("q")
    ended(terminal)


@pytest.fixture
def huge(tmp_path):
    """A file of a tensor of 1 TiB, none of which is on the disk."""
    size = 1 << 40
    path = tmp_path / "huge.safetensors"
    path.write_bytes(frame(json.dumps({"w": {"dtype": "F64", "shape": [1 << 20, 1 << 17], "data_offsets": [0, size]}})))
    try:
        os.truncate(path, path.stat().st_size + size)
    except OSError:
        pytest.skip("no sparse file of 1 TiB here")
    return path


def test_only_what_is_seen_is_read(browse, huge):
    """To read the whole would take hours."""
    terminal = browse(huge)
    terminal.wait(["1 tensor", "1.0 TiB"])
    terminal.type("v")
    terminal.wait("rows 0-20 of 1048576")
    terminal.type("G", "$")
    terminal.wait(["rows 1048555-1048575 of 1048576", "-131071 of 131072"])
    terminal.type("q", "q")
    ended(terminal)


def test_measuring_ends_by_keys(browse, huge):
    terminal = browse(huge)
    for key in ("q", "Escape"):
        terminal.wait("1.0 TiB")
        terminal.type("s")
        terminal.wait("measuring: 0%")
        terminal.type(key)
        terminal.wait("stopped")
    terminal.type("s")
    terminal.wait("measuring: 0% of 1.0 TiB")
    # Of what was drawn for the other size nothing is left.
    terminal.resize(60, 20)
    shown = terminal.wait("measuring: 0%", absent=[KEYS])
    assert [line.split()[0] for line in shown.split("\n") if line.strip()] == ["w", "measuring:"]
    terminal.type("C-c")
    ended(terminal, 130)


# ------------------------------------------------------------------------------------- statistics


def test_statistics(browse, cli, make):
    values = [i - 100 for i in range(300)] + [math.nan, math.inf]
    path = make(
        {
            "w": ("F32", [302], struct.pack("<302f", *values)),
            "x": ("BOOL", [2], b"\1\0"),
            "y": ("F32", [1], floats(math.nan)),
        }
    )
    terminal = browse(path)
    terminal.wait(KEYS)
    terminal.type("s")
    shown = terminal.wait("lines 1-")
    assert re.match(r"w +F32 \[302\]  statistics$", shown.split("\n")[0].rstrip())
    said = {words[0]: words[1:] for words in map(str.split, shown.split("\n")[1:10])}
    assert said["NaN"] == ["1,", "0.3%"] and said["min"] == ["-100"] and said["max"] == ["199"]
    assert said["mean"] == ["49.5"] and said["negatives"] == ["100,", "33.1%"]
    bars = [line for line in shown.split("\n") if "█" in line]
    assert len(bars) >= 8 and all(len(line) <= 80 for line in bars)
    # All of it: the lines of stats, in another order.
    lines = set(map(str.strip, shown.split("\n")[1:23]))
    terminal.type("G")
    shown = terminal.wait(lambda shown: re.search(r"lines \d+-(\d+) of \1\b", shown))
    lines |= set(map(str.strip, shown.split("\n")[1:23]))
    wanted = cli("stats", path, "w").lines
    assert set(map(str.strip, wanted)) <= lines
    terminal.type("n")
    shown = terminal.wait(lambda shown: shown.startswith("x "))
    assert "min       0" in shown and "max       1" in shown
    terminal.type("n")
    shown = terminal.wait(lambda shown: shown.startswith("y "))
    assert "NaN       1, 100%" in shown and "min" not in shown
    terminal.type("v")
    terminal.wait("elements 0-0 of 1")
    terminal.type("q", "q")
    ended(terminal)


def test_bars_by_logarithms(browse, make):
    """One beside a thousand is a tenth of the longest bar, and an eighth of a block otherwise."""
    terminal = browse(make({"w": ("U8", [1024], bytes(1023) + b"\xff"), "x": ("U8", [2], b"\0\1")}))
    terminal.wait(KEYS)
    terminal.type("s")
    bars = lambda shown: re.findall(r"\S  ([\u2588-\u258f]+)", shown)
    few = bars(terminal.wait("lines 1-"))
    assert len(few) == 2 and len(few[0]) > 40 and few[1] == "\u258f"
    terminal.type("L")
    many = bars(terminal.wait("bars as long as logarithms"))
    assert many[0] == few[0] and 0.08 < len(many[1]) / len(many[0]) < 0.12
    # As it is for the next tensor, and back.
    terminal.type("n")
    terminal.wait(lambda shown: shown.startswith("x "))
    terminal.type("N")
    assert bars(terminal.wait(lambda shown: shown.startswith("w "))) == many
    terminal.type("L")
    assert bars(terminal.wait("bars as long as counts")) == few
    terminal.type("q")
    terminal.wait(KEYS)


def test_statistics_follow_the_width(browse, make):
    terminal = browse(make({"w": ("U8", [256], bytes(range(256)))}))
    terminal.wait(KEYS)
    terminal.type("s")
    terminal.wait("█" * 40)
    terminal.resize(40, 24)
    terminal.wait("█" * 10, absent=["█" * 40])
    terminal.resize(100, 24)
    terminal.wait("█" * 60)


# --------------------------------------------------------------------------- metadata, file, help


def test_metadata(browse, make):
    config = {"layers": [{"size": i} for i in range(30)], "name": "net"}
    terminal = browse(
        make(
            {"w": ("U8", [1], b"\0")},
            {
                "format": "pt",
                "config": json.dumps(config),
                "text": "one\n\ntwo",
                "long": "0123456789" * 20,
                "number": "7",
            },
        )
    )
    terminal.wait(KEYS)
    terminal.type("m")
    shown = terminal.wait("metadata")
    assert shown.split("\n")[1:6] == ["format: pt", "config: {", '  "layers": [', "    {", '      "size": 0']
    terminal.type("G")
    shown = terminal.wait("number: 7")
    end = [line.rstrip() for line in shown.split("\n")[1:23]]
    assert end[end.index('  "name": "net"') :] == [
        '  "name": "net"',
        "}",
        "text:",
        "  one",
        "",
        "  two",
        ("long: " + "0123456789" * 20)[:80],
        ("long: " + "0123456789" * 20)[80:160],
        ("long: " + "0123456789" * 20)[160:],
        "number: 7",
    ]
    # What is at the top stays there when the lines are broken anew.
    top = end[0]
    terminal.resize(120, 10)
    terminal.wait(lambda shown: shown.split("\n")[1].rstrip() == top and "lines " in shown.split("\n")[9])
    terminal.type("g")
    terminal.wait("format: pt")
    terminal.type("q", "q")
    ended(terminal)


def test_lines_are_broken_between_words(browse, make):
    """Unless that left half of a line empty; a blank in the column behind the last makes no line."""
    words = [f"word{i}" for i in range(10, 40)]
    fits = "a" * 20 + " " + "b" * 19
    terminal = browse(make({}, {"n": " ".join(words), "o": f"{fits[3:]} {'c' * 39}"}), columns=40, rows=20)
    terminal.wait(KEYS)
    terminal.type("m")
    shown = terminal.wait("c" * 39)
    lines = [line.rstrip() for line in shown.split("\n")[1:19] if line.strip()]
    text = lines[: lines.index(f"o: {fits[3:]}")]
    assert " ".join(text) == "n: " + " ".join(words) and min(map(len, text[:-1])) > 30
    assert lines[len(text) + 1] == "c" * 39
    terminal.type("q", "q")
    ended(terminal)


def test_finding_in_metadata(browse, make):
    entries = {f"key{i:02}": f"value {'Needle' if i % 20 == 7 else 'hay'} {i}" for i in range(60)}
    terminal = browse(make({"w": ("U8", [1], b"\0")}, entries), env={"NO_COLOR": "1"})
    terminal.wait(KEYS)
    # What is typed before the text is drawn counts too.
    terminal.type("m", "G")
    terminal.wait("lines 39-60 of 60")
    terminal.type("g", "/")
    terminal.write("needle")
    terminal.wait(["key07: value Needle 7", "/needle"])
    assert "value \x1b[7mNeedle\x1b[0m" in terminal.screen(styles=True)
    terminal.write("s")
    terminal.wait(["/needles", "not here"])
    terminal.type("BSpace", "Enter")
    terminal.wait("lines 1-22 of 60")
    for key, said in [
        ("n", ["lines 28-49 of 60"]),
        ("n", ["lines 28-49 of 60", "key47: value Needle"]),  # which is in sight
        ("n", ["key07: value Needle", "on from the beginning"]),
        ("N", ["key47: value Needle", "on from the end"]),
        ("N", ["lines 28-49 of 60"]),
        ("N", ["lines 8-29 of 60"]),
    ]:
        terminal.type(key)
        terminal.wait(said)
    # A capital letter counts as one; what is nowhere moves nothing.
    terminal.type("g", "/")
    terminal.write("neeDle")
    terminal.wait("not here")
    terminal.type("Enter")
    terminal.wait(['nothing here reads "neeDle"', "key00"])
    terminal.type("/")
    terminal.write("key50")
    terminal.wait("key50")
    terminal.type("Escape")
    terminal.wait(["lines 1-22 of 60", "key00"])
    terminal.type("n")
    terminal.wait("nothing was looked for yet")
    terminal.type("q")
    terminal.wait(KEYS)


def test_finding_across_styles_and_lines(browse, make):
    """A key is of another style than its value; a long value is broken."""
    terminal = browse(
        make({"w": ("U8", [1], b"\0")}, {"name": "x" * 70 + "yyyyyyyyyy" + "x" * 70}), env={"NO_COLOR": "1"}
    )
    terminal.wait(KEYS)
    terminal.type("m", "/")
    terminal.write("name: xx")
    terminal.wait(["/name: xx"], absent=["not here"])
    terminal.type("Enter", "/")
    terminal.write("y" * 10)
    terminal.wait(["/yyyyyyyyyy"], absent=["not here"])
    marked = re.findall("\x1b\\[[0-9;]*7m([xy]+)", "".join(terminal.screen(styles=True).split("\n")[1:5]))
    assert "".join(marked) == "y" * 10


def test_no_metadata(browse, make):
    terminal = browse(make({"w": ("U8", [1], b"\0")}))
    terminal.wait(KEYS)
    terminal.type("m")
    terminal.wait("no metadata")


def test_facts_and_help(browse, model):
    terminal = browse(model)
    terminal.wait(KEYS)
    terminal.type("i")
    shown = terminal.wait(["tensors   40", "metadata  1", " bytes from offset "])
    assert re.search(r"^BF16   24 tensors, 15\.4K elements, 30\.0 KiB *$", shown, re.M)
    terminal.type("?")
    shown = terminal.wait("filter by words")
    # What a key does stands beside it, in a column of its own.
    terminal.resize(50, 24)
    shown = terminal.wait("half a screen")
    lines = [line.rstrip() for line in shown.split("\n")[2:22]]
    assert any(line.startswith(" " * 18) for line in lines)
    assert all(line[:2] in ("  ", "") and line[17:18] in (" ", "") for line in lines if line.startswith(" "))
    terminal.resize(80, 24)
    terminal.type("G")
    terminal.wait("draw everything again")
    terminal.type("?")
    terminal.wait(" bytes from offset ")
    terminal.type("q")
    terminal.wait("40 tensors")
    terminal.type("?", "q", "q")
    ended(terminal)


with open(screens.PAGE, encoding="utf-8") as page:
    SCREENS = screens.screens(page.read())


@pytest.mark.parametrize("keys, text", SCREENS, ids=[keys for keys, _ in SCREENS])
def test_documented_screens(ready, tmp_path, keys, text):
    """Where this fails because the browser looks otherwise now, scripts/screens.py makes them anew."""
    with screens.browser(str(tmp_path), binary(), keys) as terminal:
        terminal.wait(lambda _: screens.shown(terminal) == text)


def test_documented_keys():
    """The page's keys are those of the help."""
    folder = os.path.dirname(screens.PAGE)
    with open(os.path.join(folder, "..", "cli", "view_facts.c"), encoding="utf-8") as source:
        helped = re.findall(r'^    \{"([^"]+)", "', source.read(), re.M)
    with open(screens.PAGE, encoding="utf-8") as page:
        told = " ".join(re.findall(r"^\| (.*?) \|", page.read(), re.M))
    letters = {letter for keys in helped for letter in keys.replace(",", "").split() if len(letter) == 1}
    assert len(letters) > 25
    assert [letter for letter in sorted(letters) if f"`{letter}`" not in told] == []
