# SPDX-License-Identifier: Apache-2.0
"""meta set, meta rm, meta import, meta edit: the verbs that change metadata."""
import json
import os
import re
import struct

import pytest

from model_files import build, floats, header_of, tensors_of

TENSORS = {"z.bias": ("F16", [2], struct.pack("<2e", 1, 2)),
           "a.weight": ("U8", [3], b"\1\2\3"),
           "m.weight": ("F32", [2, 2], floats(1, 2, 3, 4))}
METADATA = {"z": "1", "format": "pt", "title": "A title"}
HOSTILE = {"": "empty key", "nul\0": "\x1b[2J\r\n\\é\u202e\U000e0041", "json": '{"a":[1,"b"]}', "empty": ""}


@pytest.fixture
def model(make):
    return make(TENSORS, METADATA)


@pytest.fixture
def roomy(cli, model):
    """With room in its header."""
    assert cli("meta", "set", "--reserve", "1K", model, "format", "pt").code == 0
    return model


@pytest.fixture
def editor(tmp_path):
    """Makes an editor of Python code, which has the text's path in `path`; its runs leave a line each in `log`."""
    folder = tmp_path / "editor"
    folder.mkdir()

    def make(code):
        (folder / "code.py").write_text(
            "import json, os, sys\npath = sys.argv[-1]\n"
            f"open({str(folder / 'log')!r}, 'a').write(path + '\\n')\n" + code)
        return f"python3 {folder / 'code.py'}"

    make.log = folder / "log"
    return make


def metadata_of(path):
    return header_of(path)[0].get("__metadata__")


def assert_kept(path):
    assert list(tensors_of(path).items()) == list(TENSORS.items())


# ------------------------------------------------------------------------------------ meta set


def test_set(cli, model):
    os.chmod(model, 0o640)
    done = cli("meta", "set", model, "format", "np", "license", "mit")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert metadata_of(model) == {**METADATA, "format": "np", "license": "mit"}
    assert_kept(model)
    assert model.stat().st_mode & 0o777 == 0o640
    assert cli("check", model).code == 0


def test_set_without_metadata(cli, make):
    path = make(TENSORS)
    assert cli("meta", "set", path, "k", "v").code == 0
    assert metadata_of(path) == {"k": "v"}
    assert_kept(path)


@pytest.mark.parametrize("value", ["", "two\nlines", "é\u202e\x1b", '"\\', "x" * 100000])
def test_set_any_text(cli, model, value):
    assert cli("meta", "set", model, "k", value).code == 0
    assert metadata_of(model) == {**METADATA, "k": value}
    assert cli("meta", "get", model, "k").raw == value.encode()


def test_set_what_looks_like_an_option(cli, model):
    assert cli("meta", "set", "--", model, "-k", "--dry-run").code == 0
    assert metadata_of(model)["-k"] == "--dry-run"


def test_nothing_is_written_for_nothing(cli, terminal, model):
    before = model.stat()
    for words in (["set", model, "format", "pt"], ["set", "-i", model, "format", "pt"]):
        done = cli("meta", *words)
        assert (done.code, done.out, done.err) == (0, "", "")
    assert model.stat().st_mtime_ns == before.st_mtime_ns and model.stat().st_ino == before.st_ino
    done = terminal("meta", "set", model, "format", "pt")
    assert (done.code, done.out) == (0, f"{model}: nothing to change\n")


def test_output(cli, model, tmp_path):
    before, target = model.read_bytes(), tmp_path / "out.safetensors"
    assert cli("meta", "set", model, "k", "v", "-o", target).code == 0
    assert model.read_bytes() == before
    assert metadata_of(target) == {**METADATA, "k": "v"}
    assert_kept(target)
    done = cli("meta", "set", model, "k", "v", "--output", "-")
    assert (done.code, done.raw, done.err) == (0, target.read_bytes(), "")
    assert cli("meta", "set", "-", "k", "v", "-o", "-", stdin=before).raw == target.read_bytes()
    # A copy is wanted where nothing changes, too.
    assert cli("meta", "set", model, "format", "pt", "-o", target).code == 0
    assert metadata_of(target) == METADATA


def test_from(cli, model, tmp_path):
    value = tmp_path / "value"
    value.write_bytes("line\nénd\n".encode())
    assert cli("meta", "set", model, "k", "--from", value).code == 0
    assert cli("meta", "get", model, "k").raw == value.read_bytes()
    assert cli("meta", "set", "-f", "-", model, "k2", stdin=b"\0").code == 0
    assert metadata_of(model) == {**METADATA, "k": "line\nénd\n", "k2": "\0"}
    value.write_bytes(b"")
    assert cli("meta", "set", model, "k", "--from", value).code == 0
    assert metadata_of(model)["k"] == ""


def test_text_that_is_no_utf8(cli, model, tmp_path):
    before, value = model.read_bytes(), tmp_path / "value"
    value.write_bytes(b"a\xff")
    for words in (["set", model, "k", "--from", value], ["set", model, "k", b"a\xff"],
                  ["set", model, b"\xff", "v"]):
        done = cli("meta", *words)
        assert (done.code, done.out) == (2, "")
        assert "UTF-8" in done.err
    assert model.read_bytes() == before


def test_set_twice(cli, model):
    before = model.read_bytes()
    done = cli("meta", "set", model, "k", "1", "j", "2", "k", "3")
    assert (done.code, done.err) == (2, f'safetensors: {model}: the key "k" is given twice\n')
    assert model.read_bytes() == before


# ------------------------------------------------------------------------------------- meta rm


def test_rm(cli, model):
    done = cli("meta", "rm", model, "z", "title", "z")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert metadata_of(model) == {"format": "pt"}
    assert_kept(model)


def test_rm_what_is_not_there(cli, model):
    before = model.read_bytes()
    done = cli("meta", "rm", model, "title", "formta")
    assert (done.code, done.out) == (2, "")
    assert done.err == f'safetensors: {model}: no metadata "formta"; did you mean "format"?\n'
    assert model.read_bytes() == before
    done = cli("meta", "rm", "--json", model, "\x1b[31m")
    assert done.code == 2
    assert done.json["files"][0]["error"]["status"] == "ST_ERR_NOT_FOUND"
    assert done.err == f'safetensors: {model}: no metadata "\\u001b[31m"\n'


@pytest.mark.parametrize("metadata", [METADATA, {}, HOSTILE])
def test_rm_all(cli, make, metadata):
    path = make(TENSORS, metadata)
    assert cli("meta", "rm", "--all", path).code == 0
    assert metadata_of(path) is None
    assert_kept(path)
    before = path.stat()
    assert cli("meta", "rm", "-a", path).code == 0
    assert path.stat().st_ino == before.st_ino


# --------------------------------------------------------------------------------- meta import


def test_import(cli, model, tmp_path):
    text = tmp_path / "metadata.json"
    text.write_text(json.dumps({"format": "np", "new": "é"}))
    done = cli("meta", "import", model, text)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert metadata_of(model) == {**METADATA, "format": "np", "new": "é"}
    assert cli("meta", "import", "--replace", model, "-", stdin=text.read_bytes()).code == 0
    assert metadata_of(model) == {"format": "np", "new": "é"}
    assert_kept(model)
    assert cli("meta", "import", model, "-", "-r", stdin=b" {} ").code == 0
    assert metadata_of(model) in (None, {})


@pytest.mark.parametrize("metadata", [METADATA, HOSTILE, {}, {str(i): "v" * i for i in range(2000)}])
def test_what_is_exported_comes_back(cli, make, metadata):
    path, other = make(TENSORS, metadata), make(TENSORS, {"z": "0"}, name="other.safetensors")
    exported = cli("meta", "export", path).raw
    before = path.stat()
    assert cli("meta", "import", "--replace", path, "-", stdin=exported).code == 0
    assert path.stat().st_ino == before.st_ino
    assert cli("meta", "import", "--replace", other, "-", stdin=exported).code == 0
    assert (metadata_of(other) or {}) == metadata
    assert json.loads(cli("meta", "export", other).raw) == metadata


@pytest.mark.parametrize("text, message", [
    ('{"a": "b",\n "é": 5}', 'the value of "é" is a number; metadata holds strings only: put it into '
                             'quotes, at byte 18 (line 2, column 7)'),
    ('{"a": {"b": "c"}}', 'the value of "a" is an object; metadata holds strings only'),
    ('{"a": ["c"]}', 'the value of "a" is an array'), ('{"a": null}', 'the value of "a" is null'),
    ('{"a": true}', 'the value of "a" is a boolean'),
    ('[]', "metadata is a JSON object of strings, not an array, at byte 0 (line 1, column 1)"),
    ('"a"', "metadata is a JSON object of strings, not a string"),
    ('{"k": "1",\n\n  "k": "2"}', 'the key "k" is there twice, at byte 14 (line 3, column 3)'),
    ('{"k": "1"', "(line 1, column 10)"), ("", "(line 1, column 1)"),
    ('{"k": "1"}\n{}', "(line 2, column 1)"), ('{"k": "1",}', "(line 1, column 11)"),
    (b'{"k": "\xff"}', "(line 1, column 8)"), ("{'k': 'v'}", "(line 1, column 2)")])
def test_text_that_is_no_metadata(cli, model, tmp_path, text, message):
    before, path = model.read_bytes(), tmp_path / "text.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = cli("meta", "import", model, path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"safetensors: {path}: ") and message in done.err
    done = cli("meta", "import", "--json", model, "-", stdin=path.read_bytes())
    assert done.err.startswith("safetensors: standard input: ")
    assert done.json["files"][0]["error"]["status"] == "ST_ERR_JSON"
    assert model.read_bytes() == before


def test_text_that_is_not_there(cli, model, tmp_path):
    for words in (["import", model, tmp_path / "absent"], ["set", model, "k", "-f", tmp_path / "absent"]):
        done = cli("meta", *words)
        assert (done.code, done.out) == (3, "")
        assert done.err == f"safetensors: {tmp_path / 'absent'}: No such file or directory\n"
    done = cli("meta", "import", model, tmp_path)
    assert done.code == 3 and "Is a directory" in done.err


# ----------------------------------------------------------------------------------- meta edit

CHANGE = """
text = json.load(open(path))
text["title"] = "Another"
text["new"] = "\\x1b"
del text["z"]
json.dump(text, open(path, "w"))
"""
CHANGED = {"format": "pt", "title": "Another", "new": "\x1b"}


@pytest.mark.parametrize("names", [["VISUAL"], ["EDITOR"], ["VISUAL", "EDITOR"]])
def test_edit(cli, model, editor, tmp_path, names):
    env = {name: "false" for name in names}
    env[names[0]] = editor(
        "import stat\n"
        "assert stat.S_IMODE(os.stat(path).st_mode) == 0o600\n"
        "assert path.endswith('.json') and os.path.dirname(path) == os.environ['TMPDIR']\n"
        f"assert json.load(open(path)) == {METADATA!r}\n" + CHANGE)
    done = cli("meta", "edit", model, env={**env, "TMPDIR": str(tmp_path)})
    assert (done.code, done.out, done.err) == (0, "", "")
    assert metadata_of(model) == CHANGED
    assert_kept(model)
    assert not os.path.exists(editor.log.read_text().strip())


def test_edit_shows_what_export_does(cli, make, editor, tmp_path):
    path = make(TENSORS, HOSTILE)
    copy = tmp_path / "copy"
    env = {"EDITOR": editor(f"import shutil\nshutil.copy(path, {str(copy)!r})")}
    assert cli("meta", "edit", path, env=env).code == 0
    assert copy.read_bytes() == cli("meta", "export", path).raw
    assert metadata_of(path) == HOSTILE


def test_text_that_stays_changes_nothing(cli, terminal, model, editor):
    before = model.stat()
    for code in ("", "text = json.load(open(path))\njson.dump(text, open(path, 'w'), indent=7)"):
        done = terminal("meta", "edit", model, env={"EDITOR": editor(code)})
        assert (done.code, done.out, done.err) == (0, f"{model}: nothing to change\n", "")
        assert model.stat().st_mtime_ns == before.st_mtime_ns and model.stat().st_ino == before.st_ino
        assert not os.path.exists(editor.log.read_text().splitlines()[-1])


def test_edit_of_nothing(cli, make, editor):
    path = make(TENSORS)
    env = {"EDITOR": editor("assert open(path).read() == '{}\\n'\nopen(path, 'w').write('{\"k\": \"v\"}')")}
    assert cli("meta", "edit", path, env=env).code == 0
    assert metadata_of(path) == {"k": "v"}


def test_bad_text_is_kept(cli, model, editor, tmp_path):
    before = model.read_bytes()
    env = {"EDITOR": editor("open(path, 'w').write('{\"k\":\\n 1}')"), "TMPDIR": str(tmp_path)}
    done = cli("meta", "edit", model, env=env)
    kept = editor.log.read_text().strip()
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        f'safetensors: {kept}: the value of "k" is a number; metadata holds strings only: put it into '
        "quotes, at byte 7 (line 2, column 2)", f"safetensors: the text is kept in {kept}"]
    assert open(kept).read() == '{"k":\n 1}'
    assert model.read_bytes() == before


def test_bad_text_is_edited_again(typed, model, editor):
    """On a terminal: the second attempt is given what the first one left."""
    env = {"EDITOR": editor("text = open(path).read()\n"
                            "open(path, 'w').write('{\"k\": \"v\"}' if text == '{' else '{')")}
    done = typed(["\n"], "meta", "edit", model, env=env)
    assert done.code == 0
    assert "(line 1, column 2)" in done.out and "Edit it again? [Y/n] " in done.out
    first, second = editor.log.read_text().split()
    assert first == second and not os.path.exists(first)
    assert metadata_of(model) == {"k": "v"}


def test_bad_text_is_given_up(typed, model, editor, tmp_path):
    before = model.read_bytes()
    env = {"EDITOR": editor("open(path, 'a').write('}')"), "TMPDIR": str(tmp_path)}
    done = typed(["y\n", "n\n"], "meta", "edit", model, env=env)
    first, second = editor.log.read_text().split()
    assert done.code == 1
    assert f"the text is kept in {first}" in done.out
    assert open(first).read() == json.dumps(METADATA, indent=2) + "\n}}"
    assert model.read_bytes() == before


@pytest.mark.parametrize("code, message", [
    ("sys.exit(3)", "ended with code 3"), (CHANGE + "sys.exit(4)", "ended with code 4"),
    ("os.kill(os.getpid(), 9)", "ended "), ("os.remove(path)", "No such file or directory")])
def test_editor_that_fails(cli, model, editor, tmp_path, code, message):
    before = model.read_bytes()
    done = cli("meta", "edit", model, env={"EDITOR": editor(code), "TMPDIR": str(tmp_path)})
    kept = editor.log.read_text().strip()
    assert (done.code, done.out) == (3, "")
    assert message in done.err
    assert model.read_bytes() == before
    assert os.path.exists(kept) == (f"kept in {kept}" in done.err) == (code.startswith("\n"))


def test_no_editor(cli, model):
    done = cli("meta", "edit", model, env={"EDITOR": "no-such-editor-here"})
    assert done.code == 3 and "ended with code 127: nothing was changed" in done.err
    done = cli("meta", "edit", model, env={"EDITOR": "true", "TMPDIR": "/nonexistent"})
    assert done.code == 3 and "no temporary file for the editor: No such file" in done.err
    done = cli("meta", "edit", model, env={"EDITOR": "true", "TMPDIR": "/x" * 5000})
    assert done.code == 3 and "File name too long" in done.err


def test_file_that_changes_meanwhile(cli, model, editor, tmp_path):
    """What somebody else wrote is not lost, and nor is the text."""
    content = build({"t": ("U8", [1], b"\1")}, {"theirs": "1"})
    code = f"open({str(model)!r} + '.new', 'wb').write({content!r})\nos.replace({str(model)!r} + '.new', {str(model)!r})\n"
    done = cli("meta", "edit", model, env={"EDITOR": editor(code + CHANGE), "TMPDIR": str(tmp_path)})
    kept = editor.log.read_text().strip()
    assert (done.code, done.out) == (3, "")
    assert done.err.splitlines() == [
        f"safetensors: {model}: changed while its metadata was edited; nothing was written",
        f"safetensors: the text is kept in {kept}"]
    assert json.load(open(kept)) == CHANGED
    assert model.read_bytes() == content


def test_edit_keeps_the_document_clean(cli, model, editor):
    env = {"EDITOR": editor("print('the editor draws')\n" + CHANGE)}
    done = cli("meta", "edit", "--json", model, env=env)
    assert (done.code, done.err) == (0, "the editor draws\n")
    assert done.json["files"][0]["removed"] == [{"key": "z", "old": "1"}]


# ------------------------------------------------------------------------------- in place, dry


@pytest.mark.parametrize("words, expected", [
    (["set", "FILE", "format", "np", "k", "v"], {**METADATA, "format": "np", "k": "v"}),
    (["rm", "FILE", "z"], {"format": "pt", "title": "A title"}),
    (["rm", "FILE", "--all"], None), (["import", "FILE", "-", "-r"], {"k": "v"}),
    (["edit", "FILE"], CHANGED)])
def test_in_place(cli, roomy, editor, words, expected):
    before, size = roomy.stat(), roomy.stat().st_size
    words = [roomy if word == "FILE" else word for word in words]
    done = cli("meta", *words, "--in-place", stdin=b'{"k": "v"}', env={"EDITOR": editor(CHANGE)})
    assert (done.code, done.out, done.err) == (0, "", "")
    assert metadata_of(roomy) == expected
    assert_kept(roomy)
    assert roomy.stat().st_ino == before.st_ino and roomy.stat().st_size == size
    assert cli("check", roomy).code == 0
    assert [name for name in os.listdir(roomy.parent) if "journal" in name] == []


def test_in_place_without_room(cli, model):
    before = model.read_bytes()
    for words in ([], ["--dry-run"]):
        done = cli("meta", "set", "-i", *words, model, "k", "v" * 1000)
        assert (done.code, done.out) == (2, "")
        assert str(model) in done.err and re.search(r"\d+ bytes", done.err)
    done = cli("meta", "set", "-i", "--json", model, "k", "v" * 1000)
    assert done.json["files"][0]["error"]["status"] == "ST_ERR_NO_ROOM"
    assert model.read_bytes() == before


def test_reserve(cli, model):
    assert cli("meta", "set", model, "k", "v").code == 0
    plain = header_of(model)[1]
    assert cli("meta", "set", "--reserve", "4096", model, "k", "v").code == 0
    assert 4096 <= header_of(model)[1] - plain + 7
    assert metadata_of(model) == {**METADATA, "k": "v"}
    assert_kept(model)


def test_page_alignment_stays(cli, model):
    assert cli("copy", "-A", "4096", "-O", "file", model, model).code == 0
    assert cli("meta", "set", model, "k", "v" * 5000).code == 0
    assert (header_of(model)[1] + 8) % 4096 == 0
    assert_kept(model)


def test_dry_run(cli, terminal, model, editor):
    before = model.read_bytes()
    words = ["meta", "set", "-n", model, "format", "n\np", "new", "", "title", "A title"]
    done = cli(*words)
    assert (done.code, done.out, done.err) == (0, "~\tformat\tn\\np\n+\tnew\t\n", "")
    done = terminal(*words, env={"NO_COLOR": "1"})
    assert done.lines[:2] == ["~ format: n\\np", "+ new: "]
    assert re.fullmatch(rf"{model}: would be written anew, [\d.]+ B(; --in-place could do it)?", done.lines[2])
    assert cli("meta", "rm", "--dry-run", model, "z", "title").out == "-\tz\n-\ttitle\n"
    assert cli("meta", "rm", "-n", "--all", model).out == "-\tz\n-\tformat\n-\ttitle\n"
    assert cli("meta", "import", "-rn", model, "-", stdin=b'{"z":"2"}').out == "-\tformat\n-\ttitle\n~\tz\t2\n"
    assert cli("meta", "edit", "-n", model, env={"EDITOR": editor(CHANGE)}).out == \
        "-\tz\n~\ttitle\tAnother\n+\tnew\t\\u001b\n"
    assert cli("meta", "set", "-n", "-", "k", "v", stdin=before).out == "+\tk\tv\n"
    assert model.read_bytes() == before


def test_dry_run_in_place(cli, terminal, roomy):
    before = roomy.read_bytes()
    done = terminal("meta", "set", "-n", "-i", roomy, "k", "v", env={"NO_COLOR": "1"})
    assert done.code == 0 and done.lines[0] == "+ k: v"
    assert re.fullmatch(rf"{roomy}: would be changed in place; the header needs \d+ bytes of \d+", done.lines[1])
    done = terminal("meta", "set", "-n", roomy, "k", "v", env={"NO_COLOR": "1"})
    assert done.lines[1].endswith("; --in-place could do it")
    assert roomy.read_bytes() == before
    # What is refused is refused with the same words; a layout that is asked for alone, too.
    for words in (["meta", "set", roomy, "k", "v" * 5000], ["edit", roomy, "--align", "4096"]):
        dry, done = cli(*words, "-i", "-n"), cli(*words, "-i")
        assert (dry.code, dry.err) == (done.code, done.err)
        assert done.code == 2 and done.err.startswith(f"safetensors: {roomy}: ") and "write the file anew" in done.err
    assert roomy.read_bytes() == before
    done = terminal("meta", "set", "-i", roomy, "k", "v", env={"NO_COLOR": "1"})
    assert re.fullmatch(rf"{roomy}: changed in place; the header needs \d+ bytes of \d+\n", done.out)


def test_summary(terminal, model):
    done = terminal("meta", "set", model, "k", "v")
    assert done.code == 0
    assert re.fullmatch(rf"{model}: [\d.]+ B in [\d.]+ s, [\d.]+ [KMG]?i?B/s\n", done.out)


def test_json(cli, model, tmp_path):
    target = tmp_path / "out"
    words = ["meta", "set", "--json", model, "format", "np", "k", "\x1b", "title", "A title"]
    dry = cli(*words, "--dry-run").json["files"][0]
    found = cli(*words, "-o", target).json["files"][0]
    assert found.pop("seconds") >= 0 and dry.pop("seconds") >= 0
    assert found == {
        "file": str(model), "output": str(target), "changed": True, "written": True, "in_place": False,
        "in_place_possible": found["in_place_possible"], "size": target.stat().st_size,
        "header_text": found["header_text"], "header_room": header_of(model)[1], "removed": [],
        "set": [{"key": "format", "value": "np", "old": "pt"}, {"key": "k", "value": "\x1b", "old": None}]}
    assert dry == {**found, "output": str(model), "written": False}
    found = cli("meta", "rm", "--json", model, "title").json["files"][0]
    assert (found["removed"], found["set"]) == ([{"key": "title", "old": "A title"}], [])
    found = cli("meta", "set", "--json", model, "format", "pt").json["files"][0]
    assert (found["changed"], found["written"], found["set"]) == (False, False, [])


@pytest.mark.parametrize("durability, syncs", [("none", 0), ("file", 1), ("name", 2), (None, 2)])
def test_durability(traced, model, durability, syncs):
    options = ["--durability", durability] if durability else []
    done, calls = traced(["-e", "trace=/^f(data)?sync"], "meta", "set", *options, model, "k", "v")
    assert done.code == 0
    assert len([call for call in calls if "sync(" in call]) == syncs


# ------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("words, message", [
    (["set", "f"], "KEY is missing"),
    (["set", "f", "k"], 'the key "k" has no VALUE'),
    (["set", "f", "k", "v", "j"], 'the key "j" has no VALUE'),
    (["set", "f", "k", "v", "--from", "g"], "--from gives the value of one KEY: no VALUE beside it"),
    (["set", "-", "k", "--from", "-", "-o", "g"], "standard input is one file, not two"),
    (["set", "-", "k", "v"], "standard input cannot be changed: name an --output"),
    (["set", "f", "k", "v", "-i", "-o", "g"], "--in-place changes FILE itself: it takes no --output"),
    (["set", "f", "k", "v", "-i", "-R", "5"], "--in-place has the room that is there"),
    (["set", "f", "k", "v", "-o", "-", "--json"], "--json would stand in the middle of the file"),
    (["set", "f", "k", "v", "-D", "x"], '--durability is one of none, file, name, not "x"'),
    (["rm", "f"], "KEY is missing; --all removes them all"),
    (["rm", "f", "k", "--all"], "--all removes every KEY: name none"),
    (["import", "f"], "JSON is missing"),
    (["import", "-", "-", "-o", "g"], "standard input is one file, not two"),
    (["edit", "-", "-o", "g"], "standard input is the editor's: name a FILE"),
    (["edit", "f", "k"], 'one argument too many: "k"')])
def test_wrong_usage(cli, words, message):
    done = cli("meta", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("safetensors: " + message)


def test_terminals_are_spared(terminal, model):
    done = terminal("meta", "set", model, "k", "v", "-o", "-")
    assert (done.code, done.out) == (2, "")
    assert "a terminal does not take a file's bytes" in done.err


def test_bad_file_stays(cli, make, editor, tmp_path):
    bad = make(build(TENSORS, METADATA)[:-1], name="bad")
    before, env = bad.read_bytes(), {"EDITOR": editor("")}
    for words in (["set", bad, "k", "v"], ["rm", bad, "z"], ["import", bad, "-"], ["edit", bad]):
        done = cli("meta", *words, stdin=b"{}", env=env)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"safetensors: {bad}: ")
    assert bad.read_bytes() == before
    assert not editor.log.exists()
    done = cli("meta", "set", tmp_path / "absent", "k", "v")
    assert done.code == 3 and not (tmp_path / "absent").exists()


def test_nowhere_to_write(cli, model):
    before = model.read_bytes()
    for target in (model.parent, model.parent / "absent" / "x"):
        done = cli("meta", "set", model, "k", "v", "-o", target)
        assert (done.code, done.out) == (3, "")
        assert done.err.startswith(f"safetensors: {target}")
    if os.path.exists("/dev/full"):
        done = cli("meta", "set", model, "k", "v", "-o", "/dev/full")
        assert done.code == 3 and "No space left on device" in done.err
    assert model.read_bytes() == before


@pytest.mark.parametrize("call", ["write", "pwrite64", "fsync", "rename", "renameat2", "openat", "ftruncate", "fallocate"])
def test_faults_leave_the_old_file(traced, model, call):
    """The n-th call of a kind fails; what is there then is the old file, or the new one, whole."""
    before, new = model.read_bytes(), {**METADATA, "k": "v"}
    for number in range(1, 9):
        inject = f"inject={call}:error=EIO:when={number}"
        done, _ = traced(["-e", f"trace={call}", "-e", inject], "meta", "set", model, "k", "v")
        names = [name for name in os.listdir(model.parent) if name != model.name]
        assert names == []
        if model.read_bytes() == before:
            assert done.code == 3 or done.code == 127  # 127: the program's own libraries
        else:
            assert metadata_of(model) == new and done.code in (0, 3)
            assert_kept(model)
            model.write_bytes(before)
