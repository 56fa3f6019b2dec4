# SPDX-License-Identifier: Apache-2.0
"""safetensors.grep: what it finds is what the program's verb finds, and where."""

import dataclasses
import gc
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from command import run

import safetensors
from safetensors import GrepMatch, SafetensorError, grep
from safetensors.numpy import save_file

META = {"format": "pt", "ss_tags": '{"cat": 3, "dog": 5}', "Author": "Zoë Q-Proj", "nul": "a\0needle"}
NAMES = ("layers.0.q_proj.weight", "layers.0.k_proj.weight", "layers.1.q_proj.weight", "norm.bias", "é[0].*")


@pytest.fixture
def tree(tmp_path):
    """Files in folders, one of them hidden, with links, an index, and what is none of it."""
    top = tmp_path / "top"
    (top / "inner" / ".hidden").mkdir(parents=True)
    (top / "a.B.safetensors").mkdir()
    save_file({name: np.zeros(1) for name in NAMES}, top / "model.safetensors", META)
    save_file({"b.q_proj": np.zeros(1)}, top / "inner" / "b.safetensors", {"k": "q_proj"})
    save_file({"c.q_proj": np.zeros(1)}, top / "inner" / ".hidden" / "c.safetensors")
    save_file({"d.q_proj": np.zeros(1)}, top / "a.B.safetensors" / "d.safetensors")
    (top / "Z.safetensors").symlink_to(top / "inner" / "b.safetensors")
    (top / "round").symlink_to(top)
    (top / "round.safetensors").symlink_to(top)
    (top / "README").write_text("q_proj")
    index = {"metadata": {}, "weight_map": {"b.q_proj": "b.safetensors"}}
    (top / "inner" / "model.safetensors.index.json").write_text(json.dumps(index))
    return top


def as_json(matches):
    """The matches as the verb's document has them, by file; files without any are not in it."""
    files = {}
    for match in matches:
        if match.kind == "tensor":
            found = {"kind": "tensor", "name": match.name}
        else:
            found = {"kind": "metadata", "key": match.key, "value": match.value}
            found.update(in_key=match.key_span is not None, in_value=match.value_span is not None)
        files.setdefault(match.path, []).append(found)
    return files


def of_program(*arguments):
    files = json.loads(run("grep", "--json", *arguments, codes=(0, 1)))["files"]
    found = {}
    for file in files:
        if file["matches"]:
            found.setdefault(file["file"], []).extend(file["matches"])
    return found


@pytest.mark.parametrize(
    "pattern, options, given",
    [
        ("q.proj", [], {}),
        ("q.PROJ", ["-i"], {"ignore_case": True}),
        ("o|Zoë", ["-n"], {"names": True}),
        ("o|Zoë", ["-k"], {"keys": True}),
        ("o|Zoë", ["-v"], {"values": True}),
        ("o|Zoë", ["-k", "-v"], {"keys": True, "values": True}),
        ("^(layers|norm)[.]", ["-m", "2"], {"max_count": 2}),
        ("[0].*", ["-F"], {"fixed": True}),
        ("Q-PROJ", ["-F", "-i"], {"fixed": True, "ignore_case": True}),
        ("*.Q_proj*", ["-g", "-i"], {"glob": True, "ignore_case": True}),
        ("?\\[0]*", ["-g"], {"glob": True}),
        ("^é", [], {}),
        ("needle", [], {}),
        ("nothing", [], {}),
        ("", ["-m", "3"], {"max_count": 3}),
    ],
)
@pytest.mark.parametrize("recursive", [False, True])
def test_as_the_program(tree, pattern, options, given, recursive):
    """The locale is Python's, which is what a terminal's is."""
    paths = [tree, tree / "model.safetensors", tree / "inner" / "model.safetensors.index.json", f"{tree}/"]
    found = as_json(grep(pattern, paths, recursive=recursive, **given))
    assert found == of_program(*options, *(["-r"] if recursive else []), pattern, *paths)


def test_paths_below_the_working_folder(tree, monkeypatch):
    monkeypatch.chdir(tree / "inner")
    for path in (".", "model.safetensors.index.json", "./model.safetensors.index.json", ".."):
        found = as_json(grep("q_proj", path, recursive=True))
        assert found == of_program("-r", "q_proj", path) and found


def test_where(tree):
    found = list(grep("q-proj|[0-9]", tree / "model.safetensors", ignore_case=True))
    assert found[0] == GrepMatch(str(tree / "model.safetensors"), "tensor", name=NAMES[1], name_span=(7, 8))
    by_text = {match.name or match.key: match for match in found}
    assert by_text["é[0].*"].name_span == (2, 3)  # characters, not bytes
    author = by_text["Author"]
    assert (author.name, author.name_span, author.key_span) == (None, None, None)
    begin, end = author.value_span
    assert author.value[begin:end] == "Q-Proj"
    assert str(author) == f"{tree}/model.safetensors:metadata:Author=Zoë Q-Proj"
    assert str(found[0]) == f"{tree}/model.safetensors:tensor:{NAMES[1]}"
    (both,) = grep("f.*|p", tree / "model.safetensors", keys=True, values=True, max_count=1)
    spans = {match.key: (match.key_span, match.value_span) for match in grep("p|a", tree / "model.safetensors")}
    assert spans["format"] == ((4, 5), (0, 1)) and both.key_span is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        both.path = ""


def test_paths(tree):
    path = tree / "model.safetensors"
    for given in (path, str(path), [path], (str(path),), iter([path]), {path: 1}):
        assert [match.name for match in grep("norm", given)] == ["norm.bias"]
    assert list(grep("norm", [])) == [] == list(grep("norm", path, max_count=0))
    with pytest.raises(TypeError):
        list(grep("norm", [os.fsencode(path)]))
    with pytest.raises(TypeError):
        list(grep("norm", [1]))


def test_one_file_at_a_time(tree):
    """What comes behind the first match is not looked at before it is asked for."""
    matches = grep("q_proj", [tree / "model.safetensors", tree / "absent"])
    assert next(matches).name and next(matches).name
    with pytest.raises(FileNotFoundError):
        next(matches)
    assert list(matches) == []


def test_errors(tree):
    bad = tree / "bad.safetensors"
    bad.write_bytes(b"nothing")
    (tree / "broken.safetensors.index.json").write_text("{")
    (tree / "gone.safetensors.index.json").write_text('{"weight_map": {"a": "gone.safetensors"}}')
    paths = [bad, tree / "absent", tree / "broken.safetensors.index.json", tree / "gone.safetensors.index.json"]
    for path, kind in zip(paths, (SafetensorError, FileNotFoundError, SafetensorError, (OSError, SafetensorError))):
        with pytest.raises(kind):
            list(grep("q_proj", path))
    errors = []
    found = list(grep("q_proj", [*paths, tree / "model.safetensors", tree], onerror=errors.append))
    assert len(found) == 6 and len(errors) == 5  # the last one is in the folder
    assert str(bad) in str(errors[0]) or "too small" in str(errors[0])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read(tree):
    (tree / "inner").chmod(0)
    errors = []
    found = list(grep("q_proj", tree, recursive=True, onerror=errors.append))
    (tree / "inner").chmod(0o700)
    assert [type(error) for error in errors] == [PermissionError] and found


def test_refused_at_once(tree):
    """Before the first match is asked for."""
    for pattern, given, text in (
        ("(", {}, "the expression"),
        ("*" * 33, {"glob": True}, "32"),
        ("a\0b", {}, "null"),
        ("a", {"fixed": True, "glob": True}, "exclude"),
        ("a", {"max_count": -1}, "max_count"),
    ):
        with pytest.raises(ValueError, match=text):
            grep(pattern, tree, **given)
    with pytest.raises(TypeError):
        grep(b"a", tree)
    with pytest.raises(TypeError):
        grep("a", tree, "names")


def test_long_values(tmp_path):
    value = "é" * 100_000 + "needle" + "z" * 300_000
    save_file({}, tmp_path / "m.safetensors", {"k": value})
    (match,) = grep("ne{2}dle", tmp_path)
    assert match.value == value and match.value_span == (100_000, 100_006)
    assert list(grep("^needle|needle$", tmp_path)) == []


def test_many_at_once(tree):
    """A rule is used by one thread or by several."""
    results = []
    threads = [threading.Thread(target=lambda: results.append(list(grep("q_proj", tree)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 and all(result == results[0] for result in results) and results[0]


def test_nothing_is_kept(tree):
    def all_of_it():
        list(grep("q_proj", tree, recursive=True))
        next(grep("q_proj", tree))
        with pytest.raises(ValueError):
            grep("(", tree)
        with pytest.raises(OSError):
            list(grep("q_proj", tree / "absent"))

    all_of_it()
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        all_of_it()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_ctrl_c_ends_it(tmp_path):
    """In a value for which the expression takes an hour."""
    save_file({}, tmp_path / "m.safetensors", {"k": "a" * 20_000_000})
    program = "import sys; from safetensors import grep; print('begun', flush=True); list(grep('a.*b', sys.argv[1]))"
    package = str(pathlib.Path(safetensors.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "m.safetensors"],
        env={**os.environ, "PYTHONPATH": package},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert "KeyboardInterrupt" in errors and process.returncode != 0
