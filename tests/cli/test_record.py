# SPDX-License-Identifier: Apache-2.0
"""hash --record and --verify-metadata: digests that a file carries in its own metadata."""
import json
import os

import pytest

from model_files import build, floats, frame

TENSORS = {"w": ("F32", [2], floats(1, 2)), "b\n": ("U8", [3], b"\1\2\3"), "e": ("I8", [0], b"")}
FAST = ["-a", "xxh128"]
KEY = "st.hash.xxh128"


@pytest.fixture
def model(make):
    return make(build(TENSORS, {"format": "pt"}))


def metadata(cli, path):
    return cli("meta", "export", path).json


def test_record_and_verify(cli, model):
    before = model.read_bytes()
    digests = cli("hash", "-t", "--json", *FAST, model).json["files"][0]["tensors"]
    done = cli("hash", "--record", *FAST, model)
    assert (done.code, done.err) == (0, "")
    found = metadata(cli, model)
    assert done.lines == [f"{model}: recorded digests of 3 tensors, {len(found[KEY])} bytes"]
    assert found.pop("format") == "pt" and list(found) == [KEY]
    recorded = json.loads(found[KEY])
    assert list(recorded) == sorted(TENSORS)
    assert {name: each["digest"] for name, each in recorded.items()} == \
        {each["name"]: each["digest"] for each in digests}
    assert recorded["w"] == {"dtype": "F32", "shape": [2], "digest": recorded["w"]["digest"]}
    assert model.read_bytes()[-11:] == before[-11:]
    done = cli("hash", "--verify-metadata", model)
    assert (done.code, done.out, done.err) == (0, f"{model}: OK\n", "")
    # Once more it is the same file.
    once = model.read_bytes()
    assert cli("hash", "--record", *FAST, model).code == 0 and model.read_bytes() == once


def test_a_changed_byte(cli, model):
    cli("hash", "--record", *FAST, model)
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    done = cli("hash", "-M", model)
    assert (done.code, done.err) == (1, "") and len(done.lines) == 1
    assert done.lines[0].startswith(f'{model}: tensor "b\\n": its digest is ')
    assert ", and its metadata say " in done.lines[0]
    done = cli("hash", "-M", "--json", model)
    report = done.json["files"][0]
    assert (done.code, report["good"]) == (1, False)
    assert [(each["kind"], each["tensor"]) for each in report["differences"]] == [("tensor", "b\n")]


def test_layout_and_other_metadata_do_not_matter(cli, model, tmp_path):
    cli("hash", "--record", *FAST, model)
    record = metadata(cli, model)[KEY]
    for order in ("file", "name", "canonical"):
        cli("copy", "-O", order, "-A", "4096", model, tmp_path / "copy")
        assert cli("hash", "-M", tmp_path / "copy").code == 0
    turned = dict(reversed(TENSORS.items()))
    (tmp_path / "other").write_bytes(build(turned, {KEY: record, "x": "y"}))
    assert cli("hash", "-M", tmp_path / "other").code == 0


def test_other_tensors(cli, model, tmp_path):
    cli("hash", "--record", *FAST, model)
    record = metadata(cli, model)[KEY]
    other = tmp_path / "other"
    other.write_bytes(build({"w": ("I32", [2], floats(1, 2)), "new": ("U8", [1], b"x"),
                             "b\n": ("U8", [1, 3], b"\1\2\3")}, {KEY: record}))
    done = cli("hash", "-M", "--json", other)
    found = {(each["kind"], each["tensor"]) for each in done.json["files"][0]["differences"]}
    assert found == {("dtype", "w"), ("missing", "e"), ("extra", "new"), ("shape", "b\n")}


def test_recording_replaces_what_was_recorded(cli, make):
    model = make(build(TENSORS, {"st.hash.xxh3": "{}", "st.hash.md5": "old", "st.hasher": "mine"}))
    assert cli("hash", "-M", model).code == 1
    assert cli("hash", "--record", *FAST, model).code == 0
    assert sorted(metadata(cli, model)) == [KEY, "st.hasher"]
    assert cli("hash", "-M", model).code == 0
    assert cli("hash", "--record", "-a", "xxh3", model).code == 0
    # To other programs -r is "recursive", and this one writes.
    assert cli("hash", "-r", model).code == 2
    assert sorted(metadata(cli, model)) == ["st.hash.xxh3", "st.hasher"]


def test_dry_run_writes_nothing(cli, model):
    before = model.read_bytes()
    done = cli("hash", "--record", "-n", *FAST, model)
    assert done.code == 0 and ": would record digests of 3 tensors, " in done.lines[0]
    report = cli("hash", "--record", "-n", "--json", *FAST, model).json["files"][0]
    assert report == {"file": str(model), "algorithm": "xxh128", "key": KEY, "tensors": 3,
                      "written": False}
    assert model.read_bytes() == before


def test_in_place(cli, model, tmp_path):
    before = model.read_bytes()
    done = cli("hash", "--record", "--in-place", *FAST, model)
    assert done.code == 2 and model.read_bytes() == before
    roomy = tmp_path / "roomy"
    assert cli("copy", "-R", "2K", model, roomy).code == 0
    inode, size = roomy.stat().st_ino, roomy.stat().st_size
    assert cli("hash", "--record", "-i", *FAST, roomy).code == 0
    assert (roomy.stat().st_ino, roomy.stat().st_size) == (inode, size)
    assert cli("hash", "-M", roomy).code == 0 and metadata(cli, roomy)["format"] == "pt"
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors", "roomy"]


def test_nothing_recorded(cli, model, make):
    other = make(build(TENSORS, {"st.hash.md5": "?"}), name="other")
    for path in (model, other):
        done = cli("hash", "--verify-metadata", path)
        assert done.code == 2 and "no digests are recorded in its metadata" in done.err
        assert cli("hash", "-M", "--json", path).json["files"][0]["error"]["status"] == "ST_ERR_NOT_FOUND"


def test_a_record_that_is_none(cli, make):
    model = make(build(TENSORS, {KEY: '{"w": 5}'}))
    done = cli("hash", "-M", model)
    assert done.code == 1 and f"{model}: metadata {KEY}: a tensor is not an object" in done.err


def test_files_that_cannot_be_used(cli, make, model, tmp_path):
    bad = make(frame("{"), name="bad")
    for flag in ("--record", "-M"):
        done = cli("hash", flag, tmp_path / "absent", bad)
        assert done.code == 3 and "absent" in done.err and str(bad) in done.err
    done = cli("hash", "--record", "--json", *FAST, tmp_path / "absent", model)
    absent, good = done.json["files"]
    assert done.code == 3 and absent["error"]["status"] == "ST_ERR_IO" and good["written"] is True


def test_explain(cli, model):
    before = model.read_bytes()
    for flag in ("--record", "-M"):
        done = cli("hash", flag, "--explain", model)
        assert (done.code, model.read_bytes()) == (0, before) and done.out


@pytest.mark.parametrize("args, what", [
    (["--record", "-M", "x"], "no other job"), (["--record", "--data", "x"], "no other job"),
    (["-M", "-t", "x"], "no other job"), (["-M", "--manifest", "m", "x"], "no other job"),
    (["-M", "-c", "m", "x"], ""), (["-M", "-a", "xxh3", "x"], "leave --algorithm out"),
    (["--record", "-"], "standard input"), (["-n", "x"], "--dry-run goes with --record and --manifest"),
    (["-i", "x"], "--in-place goes with --record"),
    (["--record"], "FILE is missing"), (["-M"], "FILE is missing")])
def test_usage(cli, args, what):
    done = cli("hash", *args)
    assert done.code == 2 and what in done.err and done.out == ""


def test_verify_standard_input(cli, model):
    cli("hash", "--record", *FAST, model)
    done = cli("hash", "-M", "-", stdin=model.read_bytes())
    assert (done.code, done.out) == (0, "-: OK\n")


def test_edits_tell_that_records_are_old(cli, model, tmp_path):
    """What a check would call damage is not to come as a surprise."""
    assert cli("edit", model, "-A", "8", "-O", "name").err == ""
    assert cli("hash", "--record", *FAST, model).code == 0
    assert cli("edit", model, "-O", "name").err == ""
    done = cli("edit", model, "-x", "*", "-o", tmp_path / "out")
    assert done.code == 0
    assert done.err == f"safetensors: {model}: its metadata have digests of the tensors as they were; hash --record makes them anew\n"
    assert cli("hash", "-M", model).code == 0 and cli("hash", "-M", tmp_path / "out").code == 1
