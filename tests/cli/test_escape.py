# SPDX-License-Identifier: Apache-2.0
"""Text from a file reaches neither a terminal nor a line-oriented program as anything but text."""
import re

import pytest

from model_files import frame

NASTY = {
    "esc\x1b[31mred": "esc\\u001b[31mred",
    "csi\u009b31m": "csi\\u009b31m",
    "bell\x07": "bell\\u0007",
    "cr\rlf\n": "cr\\rlf\\n",
    "tab\tx": "tab\\tx",
    "nul\0x": "nul\\u0000x",
    "del\x7f": "del\\u007f",
    "bidi\u202egnp": "bidi\\u202egnp",
    "iso\u2066x\u2069": "iso\\u2066x\\u2069",
    "zero\u200bwidth\ufeff": "zero\\u200bwidth\\ufeff",
    "tag\U000e0041": "tag\\U000e0041",
    "back\\slash\\n": "back\\\\slash\\\\n",
    "plain é 漢字 😀": "plain é 漢字 😀",
}
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff"
                     "\U000e0041]")


@pytest.fixture
def nasty(make):
    return make({name: ("U8", [1], bytes([i])) for i, name in enumerate(NASTY)},
                {name: name for name in NASTY})


def test_flat(cli, nasty):
    done = cli("ls", nasty)
    assert [line.split("\t")[4] for line in done.out.split("\n")[:-1]] == list(NASTY.values())


@pytest.mark.parametrize("words", [["ls", "FILE"], ["ls", "--flat", "FILE"], ["check", "FILE"],
                                   ["meta", "get", "FILE"], ["meta", "export", "FILE"],
                                   ["ls", "--json", "FILE"], ["check", "--json", "FILE"],
                                   ["meta", "get", "--all", "FILE"], ["stats", "FILE"],
                                   ["stats", "-H", "FILE"], ["stats", "--json", "FILE"],
                                   ["hash", "-a", "xxh3", "-t", "FILE"],
                                   ["hash", "-a", "xxh3", "-t", "--json", "FILE"]])
@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_terminal(terminal, nasty, words, locale):
    done = terminal(*[str(nasty) if word == "FILE" else word for word in words],
                    env={"NO_COLOR": "1", "LC_ALL": locale})
    assert done.code == 0
    assert not CONTROL.search(done.out)
    assert done.out.isascii() or locale != "C"


def test_one_value_on_a_terminal(terminal, make):
    path = make({}, {"k": "a\n\tb\x1b[2J\u202e\r漢"})
    done = terminal("meta", "get", path, "k")
    assert done.out == "a\n\tb\\u001b[2J\\u202e\\r漢\n"
    assert terminal("meta", "get", path, "k", env={"LC_ALL": "C"}).out.endswith("\\u6f22\n")


def test_json_keeps_the_names(cli, nasty):
    for words in (["ls"], ["check"], ["stats"], ["hash", "-a", "xxh3", "-t"], ["meta", "get"],
                  ["meta", "export"]):
        done = cli(*words, "--json", nasty)
        assert not CONTROL.search(done.out)
    assert [each["name"] for each in cli("ls", "--json", nasty).json["files"][0]["tensors"]] == \
        list(NASTY)
    assert list(cli("meta", "export", nasty).json.values()) == list(NASTY)


@pytest.mark.parametrize("name", [name for name in NASTY if "\0" not in name])
def test_show_takes_names_either_way(cli, nasty, name):
    value = list(NASTY).index(name)
    for spelling in (name, NASTY[name]):
        done = cli("show", "--values", nasty, spelling)
        assert (done.code, done.out) == (0, f"{value}\n")
        done = cli("show", nasty, spelling + "[0]")
        assert done.code == 0 and done.lines[0] == NASTY[name]


def test_show_reaches_a_nul(cli, nasty):
    done = cli("show", "--values", nasty, "nul\\u0000x")
    assert (done.code, done.out) == (0, "5\n")


@pytest.mark.parametrize("name", ["x\\", "x\\q", "x\\u12", "x\\xzz", "x\\U00110000", "\\"])
def test_backslashes_that_are_no_escapes(cli, make, name):
    path = make({name: ("U8", [1], b"\7"), "other": ("U8", [1], b"\1")})
    done = cli("show", "--values", path, name)
    assert (done.code, done.out) == (0, "7\n")
    assert cli("show", path, name + "y").code == 2


def test_messages(cli, nasty):
    done = cli("show", nasty, "esc\x1b[31mreD")
    assert done.code == 2
    assert done.err == (f'safetensors: {nasty}: no tensor "esc\\u001b[31mreD"; did you mean '
                        '"esc\\u001b[31mred"?\n')


def test_messages_of_the_library(cli, make):
    path = make(frame('{"a\\u001b[31m\\u202e":{"dtype":"F99","shape":[],"data_offsets":[0,0]}}'))
    for words in (["ls"], ["check"], ["check", "--json"]):
        done = cli(*words, path)
        assert done.code == 1
        assert not CONTROL.search(done.out + done.err)


def test_file_names(cli, terminal, make):
    path = make({"t": ("U8", [1], b"\0")}, name="a\x1b[31m\n.safetensors")
    for done in (terminal("ls", path, env={"NO_COLOR": "1"}), cli("check", path),
                 cli("ls", path, path), cli("ls", str(path) + "x"), cli("show", path, "u")):
        assert "a\\u001b[31m\\n.safetensors" in done.out + done.err
        assert "\x1b" not in done.out + done.err


def test_names_that_are_not_utf8_in_arguments(cli, small):
    done = cli("show", small, b"\xff\xfe")
    assert done.code == 2
    assert 'no tensor "\\xff\\xfe"' in done.err
