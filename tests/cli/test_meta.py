# SPDX-License-Identifier: Apache-2.0
import json
import os

import pytest

from model_files import frame

TAGS = '{"b":{"cat":3,"dog":-2},"a":[1.5,-0.0,18446744073709551615,"x\\u001b"],"n":null,"t":true}'
METADATA = {"format": "pt", "tags": TAGS, "text": "two\nlines", "number": "5", "bad": "{x}",
            "": "empty key", "empty": ""}


@pytest.fixture
def lora(make):
    return make({"t": ("U8", [1], b"\0")}, METADATA)


def test_all(cli, lora):
    done = cli("meta", "get", lora)
    assert (done.code, done.err) == (0, "")
    escaped = {"text": "two\\nlines", "tags": TAGS.replace("\\", "\\\\")}
    assert done.lines == [f"{key}\t{escaped.get(key, METADATA[key])}" for key in METADATA]


@pytest.mark.parametrize("key", METADATA)
def test_one_value_is_its_bytes(cli, lora, key):
    done = cli("meta", "get", lora, key)
    assert (done.code, done.err) == (0, "")
    assert done.raw == METADATA[key].encode()


def test_bytes_of_any_kind(cli, make):
    text = "\0\x1b[2J\r\n\\é\u202e"
    assert cli("meta", "get", make({}, {"k": text}), "k").raw == text.encode()


def test_missing_key(cli, lora):
    done = cli("meta", "get", lora, "formta")
    assert (done.code, done.out) == (2, "")
    assert done.err == f'safetensors: {lora}: no metadata "formta"; did you mean "format"?\n'
    done = cli("meta", "get", "--json", lora, "formta")
    assert done.code == 2
    assert done.json == {"files": [{"file": str(lora), "metadata": None}]}


@pytest.mark.parametrize("header", ["{}", '{"__metadata__":{}}'])
def test_no_metadata(cli, make, header):
    path = make(frame(header))
    assert (cli("meta", "get", path).code, cli("meta", "get", path).out) == (0, "")
    assert cli("meta", "export", path).out == "{}\n"
    assert cli("meta", "get", "--json", path).json["files"][0]["metadata"] == {}
    assert cli("meta", "get", path, "k").code == 2


def test_json(cli, lora):
    done = cli("meta", "get", "--json", lora)
    assert (done.code, done.json) == (0, {"files": [{"file": str(lora), "metadata": METADATA}]})
    assert list(done.json["files"][0]["metadata"]) == list(METADATA)
    done = cli("meta", "get", "--json", lora, "format")
    assert done.json["files"][0]["metadata"] == {"format": "pt"}


def test_expand(cli, lora):
    tags = {"b": {"cat": 3, "dog": -2}, "a": [1.5, -0.0, 2**64 - 1, "x\x1b"], "n": None,
            "t": True}
    expected = dict(METADATA, tags=tags)
    assert cli("meta", "get", "--json", "--expand", lora).json["files"][0]["metadata"] == expected
    assert cli("meta", "export", "-e", lora).json == expected
    done = cli("meta", "get", "--expand", lora, "tags")
    assert json.loads(done.out) == tags and done.lines[1] == '  "b": {'
    assert cli("meta", "get", "--expand", lora, "bad").out == "{x}"
    assert cli("meta", "get", "--expand", lora, "number").out == "5"
    assert "tags:\n{\n" in cli("meta", "get", "--expand", lora).out


def test_terminal(terminal, make):
    path = make({}, {"k": "v" * 500, "short": "v"})
    done = terminal("meta", "get", path, columns=60, env={"NO_COLOR": "1"})
    assert done.code == 0
    assert done.lines[1] == "short: v"
    assert done.lines[0].startswith("k: vvvv") and done.lines[0].endswith("v…")
    assert 50 < len(done.lines[0]) <= 60
    done = terminal("meta", "get", "--all", path, env={"NO_COLOR": "1"})
    assert done.lines[0] == "k: " + "v" * 500
    assert terminal("meta", "get", path, "short").out == "v\n"
    done = terminal("meta", "get", path, env={"NO_COLOR": "1", "LC_ALL": "C"})
    assert done.lines[0].endswith("v...")


@pytest.mark.parametrize("length", range(50, 64))
def test_values_are_cut_only_where_they_do_not_fit(terminal, make, length):
    path = make({}, {"k": "v" * length})
    line = terminal("meta", "get", path, columns=60, env={"NO_COLOR": "1"}).lines[0]
    assert len(line) <= 60
    assert line == "k: " + "v" * length or (length > 57 and line.endswith("…"))


def test_export(cli, lora, tmp_path):
    done = cli("meta", "export", lora)
    assert (done.code, done.json) == (0, METADATA)
    target = tmp_path / "out.json"
    for options in (["-o", target], ["--output", target], [f"--output={target}"]):
        target.write_text("old" * 1000)
        quiet = cli("meta", "export", lora, *options)
        assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
        assert target.read_bytes() == done.raw
    assert cli("meta", "export", lora, "-o", "-").raw == done.raw
    target.unlink()
    document = cli("meta", "export", "--json", lora, "-o", target).json
    assert document == {"files": [{"file": str(lora), "metadata": METADATA, "output": str(target), "written": True}]}
    assert target.read_bytes() == done.raw, "meta import takes it"
    done = cli("meta", "export", "--json", lora)
    assert done.json == {"files": [{"file": str(lora), "metadata": METADATA}]}


def test_export_dry_run(cli, lora, tmp_path):
    target = tmp_path / "out.json"
    count = f"would be {len(METADATA)} entries\n"
    done = cli("meta", "export", "-n", lora, "-o", target)
    assert (done.code, done.out, done.err) == (0, f"{target}: {count}", "")
    assert cli("meta", "export", "--dry-run", lora).out == f"standard output: {count}"
    done = cli("meta", "export", "-n", "--json", lora, "-o", target)
    assert done.json == {"files": [{"file": str(lora), "metadata": METADATA, "output": str(target), "written": False}]}
    assert not target.exists()
    assert cli("meta", "export", "-n", lora, "-o", lora).code == 2


def test_export_spares_what_it_reads(cli, lora, tmp_path):
    before = lora.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(lora)
    for target in (lora, link):
        done = cli("meta", "export", "--json", lora, "-o", target)
        assert done.code == 2 and "would take the place of a model" in done.err
        assert done.json["files"][0]["error"]["status"] == "ST_ERR_ARGUMENT"
    assert lora.read_bytes() == before


def test_export_of_nothing_leaves_the_output(cli, make, tmp_path):
    target = tmp_path / "out.json"
    target.write_text("old")
    done = cli("meta", "export", make(b"bad"), "-o", target)
    assert (done.code, target.read_text()) == (1, "old")
    done = cli("meta", "export", "--json", tmp_path / "absent")
    assert (done.code, done.json["files"][0]["error"]["status"]) == (3, "ST_ERR_IO")


def test_export_is_whole_or_not_at_all(cli, traced, lora, tmp_path):
    """It takes the place of the old one when it is whole, and its owner and mode."""
    target = tmp_path / "out.json"
    target.write_text("old")
    target.chmod(0o600)
    done, _ = traced(["-e", "trace=fsync", "-e", "inject=fsync:error=EIO"], "meta", "export", lora, "-o", target)
    assert done.code == 3 and "Input/output error" in done.err
    assert target.read_text() == "old" and sorted(os.listdir(tmp_path)) == sorted([lora.name, "out.json"])
    assert cli("meta", "export", lora, "-o", target).code == 0
    assert json.loads(target.read_text()) == METADATA and target.stat().st_mode & 0o777 == 0o600


def test_export_to_nowhere(cli, lora):
    done = cli("meta", "export", lora, "-o", "/nonexistent/out.json")
    assert (done.code, done.out) == (3, "")
    assert done.err == "safetensors: /nonexistent/out.json: cannot be written: No such file or directory\n"
    done = cli("meta", "export", "--json", lora, "-o", "/nonexistent/out.json")
    assert (done.code, done.json["files"][0]["error"]["status"]) == (3, "ST_ERR_IO")
