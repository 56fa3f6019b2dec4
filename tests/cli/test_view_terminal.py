# SPDX-License-Identifier: Apache-2.0
"""What the browser does to the terminal: sizes, names from strangers, signals, and how it leaves it."""

import json
import os
import re
import shlex
import shutil
import subprocess

import pytest

from view_sessions import KEYS, browse, ended, model, ready  # noqa: F401
from program import binary

# ------------------------------------------------------------------------------------ the terminal


def test_sizes(browse, model):
    """At any size something is drawn, and nothing breaks; keys work as ever."""
    terminal = browse(model)
    terminal.wait(KEYS)
    for columns, rows in [(40, 10), (30, 6), (20, 5), (12, 4), (9, 3), (5, 2), (1, 1), (3, 1), (200, 60), (2, 30)]:
        terminal.resize(columns, rows)
        terminal.type("v", "G", "$", "q", "s", "G", "q", "m", "q", "i", "q", "?", "q", "/")
        terminal.write("norm")
        terminal.type("Enter", "o", "o", "o", "t", "t", "n", "Escape", "+", "G", "-", "g")
    terminal.resize(80, 24)
    shown = terminal.wait([KEYS, "embed.weight", "6.2 KiB", "scale"])
    assert len(shown.split("\n")[0].rstrip()) <= 80
    terminal.resize(40, 10)
    shown = terminal.wait(["tensors", "6.2 KiB"], absent=["F32"])
    assert all(len(line) <= 40 for line in shown.split("\n"))
    terminal.type("q")
    ended(terminal)


NASTY = {
    "esc\x1b]0;owned\x07": "esc\\u001b]0;owned\\u0007",
    "csi\u009b31m": "csi\\u009b31m",
    "clear\x1b[2J": "clear\\u001b[2J",
    "cr\rlf\n\ttab": "cr\\rlf\\n\\ttab",
    "nul\0x\x7f": "nul\\u0000x\\u007f",
    "bidi\u202egnp": "bidi\\u202egnp",
    "zero\u200bwidth\ufeff": "zero\\u200bwidth\\ufeff",
    "back\\slash": "back\\\\slash",
    "plain é 漢字 😀": "plain é 漢字 😀",
}
REFUSED = re.compile("\x1b\\]0;|\x07|\x1b\\[31m|\u009b|\u202e|\u200b|\ufeff|\0|\x7f")


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_hostile_names(browse, make, tmp_path, locale):
    record = tmp_path / "record"
    path = make(
        {name: ("U8", [1], b"\0") for name in NASTY},
        {name: name for name in NASTY} | {"json": json.dumps(list(NASTY))},
        name="na\x1b]0;owned\x07me",
    )
    terminal = browse(path, env={"NO_COLOR": "1", "LC_ALL": locale}, record=record)
    shown = terminal.wait([KEYS, "na\\u001b]0;owned\\u0007me"])
    ascii_only = lambda text: "".join(
        c if c.isascii() else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}" for c in text
    )
    for text in NASTY.values():
        assert (text if locale == "C.UTF-8" else ascii_only(text)) in shown
    terminal.type("t")
    for _ in NASTY:
        terminal.type("j", "v", "s", "q")
    terminal.type("m")
    terminal.wait("bidi\\u202egnp: bidi\\u202egnp")
    terminal.type("G")
    terminal.wait('"clear\\u001b[2J",')
    terminal.type("i")
    terminal.wait("path ")
    terminal.type("q", "/")
    terminal.write("csi")
    terminal.wait("1 of 9")
    assert terminal.run("display-message", "-p", "#{pane_title}").strip() != "owned"
    terminal.type("Enter", "q")
    ended(terminal)
    drawn = record.read_bytes().decode()
    assert "owned" in drawn and not REFUSED.search(drawn)
    assert locale != "C" or drawn.isascii()


def test_long_names(browse, make):  # noqa: F811
    """Wide characters are cut between two, and of a name of a million characters no more is looked at than fits."""
    names = ["漢字" * 200, "a." + "é" * 300, "x" * 1000000, "e" + "\u0301" * 2000, ".".join("abcdefgh" * 20)]
    terminal = browse(make({name: ("U8", [1], b"\0") for name in names}), columns=79)
    terminal.wait([KEYS, "漢字漢字", "éééé", "xxxx", "5 tensors"])
    for columns in (78, 77, 40, 21, 20, 80):
        terminal.resize(columns, 24)
        terminal.type("t")
        for _ in names:
            terminal.type("j", "v", "m", "i", "q")
        terminal.type("t", "+", "G", "-", "g")
    terminal.wait([KEYS, "漢字漢字", "5 tensors", "…"])
    terminal.type("q")
    ended(terminal)


def test_colours(browse, model):
    colour = re.compile("\x1b\\[[0-9;]*3[0-7]")
    for words, env, coloured in [
        ([], {}, True),
        ([], {"NO_COLOR": "1"}, False),
        (["--color=never"], {}, False),
        (["--color=always"], {"NO_COLOR": "1"}, True),
    ]:
        terminal = browse(*words, model, env=env)
        terminal.wait(KEYS)
        assert bool(colour.search(terminal.screen(styles=True))) is coloured
        terminal.type("s")
        terminal.wait("statistics")
        assert bool(colour.search(terminal.screen(styles=True))) is coloured
        assert re.match("\x1b\\[[0-9;]*7m", terminal.screen(styles=True))  # the title, at least


@pytest.mark.parametrize("name, code", [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131)])
def test_signals(browse, model, name, code):
    terminal = browse(model)
    terminal.wait(KEYS)
    terminal.type("v")
    terminal.wait("rows 0-20")
    subprocess.run(["kill", f"-{name}", terminal.child()], check=True)
    ended(terminal, code)


def test_interrupt_key(browse, model):
    terminal = browse(model)
    terminal.wait(KEYS)
    terminal.type("C-c")
    ended(terminal, 130)


def test_suspending(browse, model):
    """Ctrl-Z gives the terminal back until fg."""
    terminal = browse(model, job_control=True)
    terminal.wait(KEYS)
    terminal.type("v")
    terminal.wait("rows 0-20")
    terminal.type("C-z")
    shown = terminal.wait("stopped")
    assert "before" in shown and KEYS not in shown
    terminal.type("Enter")
    terminal.wait("rows 0-20")
    terminal.type("q", "q")
    assert "code 0" in terminal.wait("over")


def test_no_memory(browse, make):
    """What cannot go on puts the terminal back before it says so."""
    with open(binary(), "rb") as program:
        if b"__asan_init" in program.read():
            pytest.skip("the address sanitizer needs all the address space there is")
    if not shutil.which("prlimit"):
        pytest.skip("no prlimit")
    terminal = browse(make({"w": ("U8", [1], b"\0")}, {"text": "x" * (16 << 20)}))
    terminal.wait(KEYS)
    subprocess.run(["prlimit", "--pid", terminal.child(), f"--as={1 << 20}"], check=True)
    terminal.type("m")
    shown = terminal.wait("over")
    assert re.search(r"^before\nsafetensors: .*memory.*\ncode 3\nover", shown)
    assert (terminal.folder / "begun").read_text() == (terminal.folder / "ended").read_text()


def test_quitting_from_a_pane(browse, model):
    terminal = browse(model)
    terminal.wait(KEYS)
    terminal.type("m", "Q")
    ended(terminal)


def test_file_that_changes(browse, small):
    """A failed read is told, and the rest goes on."""
    terminal = browse(small, columns=200)
    terminal.wait(KEYS)
    os.truncate(small, small.stat().st_size - 10)
    terminal.type("j", "v")
    terminal.wait('tensor "b.weight"')
    terminal.type("q", "s")
    terminal.wait('tensor "b.weight"')
    terminal.type("m")
    terminal.wait("format: pt")
    terminal.type("q", "q")
    ended(terminal)


def test_standard_input(browse, small):
    for stdin in (f"<{shlex.quote(str(small))}", f"cat {shlex.quote(str(small))} |"):
        terminal = browse("-", stdin=stdin)
        terminal.wait(["2 tensors", "b.weight"])
        terminal.type("j", "v")
        terminal.wait("rows 0-1 of 2")
        terminal.type("q", "q")
        ended(terminal)


def test_hints_are_whole(browse, model):
    terminal = browse(model)
    for columns in (40, 31, 70):
        terminal.resize(columns, 10)
        shown = terminal.wait(lambda shown: len(shown.split("\n")[0].rstrip()) == columns)
        hints = shown.split("\n")[9].rstrip()
        whole = "?: help  /: filter  Enter: open  v: values  s: statistics  m: metadata  q: quit"
        assert hints and f"{whole}  ".startswith(f"{hints}  ")


def test_messages_are_broken_between_words(browse, small):
    terminal = browse(small, columns=45)
    terminal.wait("?: help")
    os.truncate(small, os.path.getsize(small) - 1)
    terminal.type("v")
    shown = terminal.wait("was cut off")
    rows = [line.rstrip() for line in shown.split("\n")[1:] if line.strip()]
    said = " ".join(rows)
    assert "the file ends at byte" in said and "was to be read up to byte" in said and "it was cut off after" in said


@pytest.mark.parametrize("name", ["vt100", "linux"])
def test_last_row_is_left_empty(browse, model, name):
    """These terminals go on with what was drawn: the shell writes into their last row."""
    terminal = browse(model, env={"TERM": name})
    terminal.wait(KEYS)
    terminal.type("q")
    shown = terminal.wait("over")
    assert re.search("^code 0 *$", shown, re.M) and KEYS not in shown


def test_no_tensors(browse, make):
    terminal = browse(make({}))
    terminal.wait(["0 tensors", "no tensors"])
    terminal.type("v", "s", "n", "N", "o", "t", "j", "G", "h", "l", "+", "Enter", "m", "q", "/", "x", "Enter")
    terminal.wait("0 of 0")
    terminal.type("q")
    ended(terminal)


@pytest.mark.parametrize("name", ["dumb", "no-such-terminal"])
def test_terminals_that_cannot(browse, small, name):
    # Of a terminal that it does not know ncurses forgets some memory.
    options = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
    terminal = browse(small, env={"TERM": name, "ASAN_OPTIONS": options})
    shown = " ".join(terminal.wait("over").split())
    assert f'safetensors: cannot draw on a terminal of the type "{name}"' in shown
    assert "code 3" in shown
    assert (terminal.folder / "begun").read_text() == (terminal.folder / "ended").read_text()


def test_no_terminal(ready, cli, small, make):
    done = cli("view", small)
    assert (done.code, done.out) == (3, "")
    assert (
        done.err == "safetensors: standard output is no terminal; ls, show, stats, and meta get print what "
        "there is to see\n"
    )
    done = cli("view", make(b"short", name="bad"))
    assert (done.code, done.out) == (1, "")
