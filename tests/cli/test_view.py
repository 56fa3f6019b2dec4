# SPDX-License-Identifier: Apache-2.0
"""The browser's tree: what it shows, what its keys do, and how it is filtered."""

import json
import re

from view_sessions import KEYS, LAYERS, browse, ended, fields, model, ready, rows_of  # noqa: F401
from model_files import frame

OPEN, CLOSED = "▾", "▸"


# ------------------------------------------------------------------------------------------- tree


def test_tree(browse, cli, model):
    terminal = browse(model)
    shown = terminal.wait([KEYS, "model.safetensors"])
    lines = shown.split("\n")
    assert re.search(r"model\.safetensors +40 tensors, 37\.1 KiB$", lines[0].rstrip())
    assert [fields(row) for row in rows_of(shown)] == [
        ["embed.weight", "F32", "[100,16]", "6.2 KiB"],
        [f"{OPEN} model", "37 tensors", "30.8 KiB"],
        ["Norm", "F32", "[16]", "64 B"],
        [f"{OPEN} layers", "36 tensors", "30.8 KiB"],
        *[[f"{CLOSED} {i}", "3 tensors", "2.6 KiB"] for i in range(LAYERS)],
        [f"{OPEN} scale", "F64", "[]", "8 B"],
        ["zero", "I8", "[2]", "2 B"],
    ]
    assert fields(lines[22]) == ["embed.weight", f"1.6K elements at {cli('ls', model).out.split()[3]}"]
    assert all(len(line) <= 80 for line in lines)
    terminal.type("j", "j", "j", "j", "Enter")
    shown = terminal.wait(f"{OPEN} 0")
    assert [fields(row)[0] for row in rows_of(shown)[4:9]] == [
        f"{OPEN} 0",
        "attn.q.weight",
        "mlp.up.weight",
        "norm",
        f"{CLOSED} 1",
    ]
    # l goes in, h leaves and then closes.
    terminal.type("l", "j", "j")
    terminal.wait("model.layers.0.norm  ")
    terminal.type("h", "h", "h")
    shown = terminal.wait("36 tensors, 30.8 KiB")  # of the row at hand
    assert f"{CLOSED} 0" in shown
    terminal.type("h")
    assert len(rows_of(terminal.wait(f"{CLOSED} layers"))) == 6
    terminal.type("+")
    terminal.wait("attn.q.weight")
    terminal.type("-")
    assert len(rows_of(terminal.wait(f"{CLOSED} model"))) == 3
    terminal.type("q")
    ended(terminal)


def test_moving(browse, make):
    terminal = browse(make({f"t{i:02}": ("U8", [1], b"\0") for i in range(100)}))
    terminal.wait(["100 tensors", "t20 "])
    for keys, at in [
        ("G", 99),
        ("g", 0),
        ("j", 1),
        ("Down", 2),
        ("k", 1),
        ("Up", 0),
        ("Space", 21),
        ("b", 0),
        ("C-d", 10),
        ("C-u", 0),
        ("NPage", 21),
        ("PPage", 0),
        ("End", 99),
        ("Home", 0),
        ("4 2 G", 41),
        ("1 0 k", 31),
        ("5 0 j", 81),
        ("9 9 9 j", 99),
        ("9 9 9 k", 0),
    ]:
        terminal.type(*keys.split())
        terminal.wait(lambda shown, at=at: re.match(f"t{at:02} ", shown.split("\n")[22]))
    terminal.type("x")
    terminal.wait("this key means nothing here")
    terminal.type("q")
    ended(terminal)


def test_what_is_seen_moves(browse, make):
    """As in less and vim: a page down shows the next page, and the row at hand goes where it is wanted."""
    terminal = browse(make({f"t{i:02}": ("U8", [1], b"\0") for i in range(100)}))
    terminal.wait(["100 tensors", "t20 "])
    for keys, top, at in [
        ("Space", 21, 21),
        ("C-d", 31, 31),
        ("3 j", 31, 34),
        ("b", 10, 13),
        ("d", 20, 23),
        ("u", 10, 13),
        ("C-e", 11, 13),
        ("5 C-e", 16, 16),
        ("C-y", 15, 16),
        ("L", 15, 35),
        ("C-y", 14, 34),
        ("H", 14, 14),
        ("M", 14, 24),
        ("3 H", 14, 16),
        ("2 L", 14, 33),
        ("z t", 33, 33),
        ("z z", 23, 33),
        ("z b", 13, 33),
        ("z Enter", 33, 33),
        ("z .", 23, 33),
        ("z -", 13, 33),
        ("5 g g", 4, 4),
        ("g g", 0, 0),
        ("C-u", 0, 0),
        ("9 0 G", 69, 89),
        ("C-f", 79, 99),
        ("C-f", 79, 99),
        ("PPage", 58, 78),
        ("C-n", 59, 79),
        ("C-p", 59, 78),
    ]:
        terminal.type(*keys.split())
        terminal.wait(
            lambda shown, top=top, at=at: (
                shown.split("\n")[1].startswith(f"  t{top:02} ") and shown.split("\n")[22].startswith(f"t{at:02} ")
            )
        )
    terminal.type("Z", "Z")
    ended(terminal)


def test_commands(browse, make):
    path = make({f"t{i:02}": ("U8", [1], b"\0") for i in range(100)}, {"format": "pt"})
    terminal = browse(path)
    terminal.wait("100 tensors")

    def command(text):
        terminal.type(":")
        terminal.write(text)
        terminal.wait(f":{text}")
        terminal.type("Enter")

    for text, at in [("50", 49), ("$", 99), ("1", 0), ("999", 99), ("0", 0)]:
        command(text)
        terminal.wait(lambda shown, at=at: re.match(f"t{at:02} ", shown.split("\n")[22]))
    for text in ("wq", "12x", "9" * 40):
        command(text)
        terminal.wait(f'there is no command "{text}"')
    command("help")
    terminal.wait("Moving, here and everywhere")
    command("30")
    terminal.wait("draw everything again")
    terminal.type("q", ":", "5", "Escape")
    terminal.wait([KEYS, "t00 "])
    terminal.type(":", "5", "BSpace", "BSpace", "j")
    terminal.wait(lambda shown: re.match("t01 ", shown.split("\n")[22]))
    terminal.type("m")
    terminal.wait("format: pt")
    command("q")
    ended(terminal)


def test_wide_screens(browse, make):
    """A row is not pulled apart, but names have the room that there is."""
    terminal = browse(make({"a": ("U8", [1], b"\0")}), columns=200)
    shown = terminal.wait([KEYS, "1 tensor, 1 B"])
    assert [len(line.rstrip()) for line in shown.split("\n")[:2]] == [200, 100]
    long = "n" * 100
    terminal = browse(make({long: ("U8", [1], b"\0")}, name="long"), columns=200)
    row = terminal.wait([KEYS, "1 tensor, 1 B"]).split("\n")[1].rstrip()
    assert fields(row) == [long, "U8", "[1]", "1 B"] and 130 < len(row) < 140


def test_order(browse, make):
    terminal = browse(
        make({"b.x": ("U8", [10], None), "a.z": ("U8", [30], None), "a.y": ("U8", [1], None), "c": ("U8", [20], None)})
    )
    labels = lambda shown: [fields(row)[0].split()[-1] for row in rows_of(shown)]
    assert labels(terminal.wait(KEYS)) == ["a", "y", "z", "b.x", "c"]
    terminal.type("o")
    assert labels(terminal.wait("ordered by size")) == ["a", "z", "y", "c", "b.x"]
    terminal.type("o")
    assert labels(terminal.wait("ordered by offset")) == ["b.x", "a", "z", "y", "c"]
    terminal.type("t")
    shown = terminal.wait(["a.z", ", by offset"])
    assert labels(shown) == ["b.x", "a.z", "a.y", "c"]
    terminal.type("o", "t")
    assert labels(terminal.wait([OPEN], absent=["by offset"])) == ["a", "y", "z", "b.x", "c"]


def test_numbers_in_names_count(browse, make):
    """2 comes before 10, as a part of a name of its own and within one."""
    names = ["9.x", "10.x", "a2.x", "a10.x", "a10b9", "a10b10", "h_1_2", "h_01_1", "h_12_0", "x-9", "x1", "x09", "x10"]
    terminal = browse("--flat", make({name: ("U8", [1], b"\0") for name in reversed(names)}))
    assert [fields(row)[0] for row in rows_of(terminal.wait([KEYS, "x10 "]))] == names


def test_many_tensors(browse, tmp_path):
    count = 100000
    path = tmp_path / "many.safetensors"
    path.write_bytes(
        frame(
            json.dumps(
                {
                    f"layers.{i // 100}.block.{i % 100}.weight_{i}": {
                        "dtype": "U8",
                        "shape": [1],
                        "data_offsets": [i, i + 1],
                    }
                    for i in range(count)
                }
            ),
            bytes(count),
        )
    )
    terminal = browse(path)
    terminal.wait("100000 tensors, 97.7 KiB")
    terminal.type("+", "G")
    terminal.wait("weight_99999  ")
    terminal.type("/")
    terminal.write("weight_4242 27")
    shown = terminal.wait("  1 tensor")
    assert "27.weight_42427" in shown and "1 of 100000 tensors, 1 B" in shown
    terminal.type("Enter", "n", "v")
    terminal.wait("elements 0-0 of 1")
    terminal.type("q", "Escape", "t", "o", "o", "G")
    terminal.wait([", by offset", "layers.999.block.99.weight_99999  "])
    terminal.type("q")
    ended(terminal)


def test_options(browse, cli, model):
    terminal = browse("--flat", "--sort", "size", "-f", "LAYERS.1 weight", model)
    assert terminal.wait("no tensors")
    terminal = browse("--flat", "--sort", "size", "-f", "layers.1 weight", model)
    shown = terminal.wait(["6 of 40 tensors", ", by size"])
    assert [fields(row)[0] for row in rows_of(shown)] == [
        *[f"model.layers.{i}.mlp.up.weight" for i in (1, 10, 11)],
        *[f"model.layers.{i}.attn.q.weight" for i in (1, 10, 11)],
    ]
    done = cli("view", "--explain", model)
    assert done.code == 0 and done.out == cli("hash", "--explain", model).out
    explained = cli("view", "--explain", "--json", model).json["files"][0]["explanations"][0]
    assert explained["tensor"] is None and explained["bytes"] > 0
    done = cli("view", "--explain", "--json", str(model) + "x")
    assert (done.code, done.json["files"][0]["error"]["status"]) == (3, "ST_ERR_IO")
    done = cli("view", "--json", model)
    assert (done.code, done.out) == (2, "") and "usage: safetensors view" in done.err


# ----------------------------------------------------------------------------------------- filter


def test_filter(browse, model):
    terminal = browse(model)
    terminal.wait(KEYS)
    terminal.type("/")
    for text, count in [
        ("n", 25),
        ("o", 13),
        ("r", 13),
        ("m", 13),
        (" ", 13),
        ("l", 13),
        ("a", 12),
        ("y", 12),
        (".", 0),
    ]:
        terminal.write(text)
        terminal.wait([f"  {count} tensor", f"{count} of 40 tensors"])
    terminal.wait("no tensors")
    terminal.type("BSpace")
    terminal.wait("12 of 40 tensors, 768 B")
    terminal.write("ers.1")
    shown = terminal.wait("3 of 40 tensors")
    assert [fields(row)[0] for row in rows_of(shown)] == [
        f"{OPEN} model",
        f"{OPEN} layers",
        f"{OPEN} 1",
        "norm",
        f"{OPEN} 10",
        "norm",
        f"{OPEN} 11",
        "norm",
    ]
    terminal.type("Enter")
    terminal.wait(["Esc: all tensors", "model.layers.1.norm  "])
    for key, at in [("n", 10), ("n", 11), ("n", 1), ("N", 11), ("N", 10)]:
        terminal.type(key)
        terminal.wait(f"model.layers.{at}.norm  ")
    # A capital letter counts as one.
    terminal.type("/", "C-u")
    terminal.wait("  40 tensors")
    terminal.write("Norm")
    terminal.wait(["1 of 40 tensors", "model.Norm  "])
    terminal.type("C-w", "Enter")
    terminal.wait(KEYS)
    # Without a filter it stays where it is; n still finds.
    terminal.type("n")
    terminal.wait("model.Norm  ")
    terminal.type("/")
    terminal.write("q.weight")
    terminal.wait("12 of 40")
    terminal.type("Down", "Escape")
    shown = terminal.wait(KEYS, absent=["of 40"])
    assert len(rows_of(shown)) > 15
    terminal.type("q")
    ended(terminal)


def test_find_without_a_filter(browse, small):
    terminal = browse(small)
    terminal.wait(KEYS)
    terminal.type("n")
    terminal.wait("no filter yet")


def test_filter_of_any_length_and_script(browse, make):
    terminal = browse(make({"été.漢字": ("U8", [1], b"\0"), "x": ("U8", [1], b"\0")}))
    terminal.wait(KEYS)
    terminal.type("/")
    terminal.write("漢")
    terminal.wait(["1 of 2", "/漢"])
    terminal.type("BSpace")
    terminal.wait("  2 tensors")
    terminal.write("é" * 200)
    terminal.wait("0 of 2")
    terminal.write("x" * 200)
    terminal.type("C-u")
    terminal.wait("  2 tensors")
    terminal.type("BSpace")
    terminal.wait(KEYS)
