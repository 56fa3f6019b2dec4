# SPDX-License-Identifier: Apache-2.0
"""check --repair: what is saved, what is told, and with which exit code."""
import struct

import pytest

from model_files import build, floats, frame

TENSORS = {"a": ("F32", [2], floats(1, 2)), "b": ("U8", [3], b"\1\2\3")}
TWICE = ('{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
         '"t":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}}')


@pytest.fixture
def cut(make):
    """A download that broke off: of b the last byte is missing."""
    return make(build(TENSORS, {"format": "pt"})[:-1], name="cut")


def test_a_truncated_file(cli, cut, tmp_path):
    new = tmp_path / "new"
    done = cli("check", "--repair", new, cut)
    assert (done.code, done.err) == (1, "")
    start = 8 + int.from_bytes(cut.read_bytes()[:8], "little")
    assert done.lines == [
        f'{cut}:{start}: saved: tensor "a": 8 bytes from byte {start} on',
        f'{cut}:{start + 10}: lost: tensor "b": the file has 2 of its 3 bytes; missing: 1 '
        "[file-truncated]",
        f"{cut}: bad, 1 tensor saved (8 bytes), 0 things changed, 1 lost; written to {new}"]
    assert cli("check", "-q", new).code == 0
    assert cli("show", "--values", "--json", new, "a").json["files"][0]["tensors"][0]["values"] == [1, 2]
    assert cli("meta", "get", new, "format").out == "pt"


def test_on_a_terminal_what_was_saved_is_a_number(terminal, cut, tmp_path):
    done = terminal("check", "--repair", tmp_path / "new", cut, env={"NO_COLOR": "1"})
    assert done.code == 1 and "saved: tensor" not in done.out and "lost: tensor" in done.out
    assert done.lines[-1].startswith(f"{cut}: bad, 1 tensor saved (8 B), 0 things changed, 1 lost")


def test_a_good_file(cli, small, tmp_path):
    new = tmp_path / "new"
    done = cli("check", "--repair", new, small)
    assert (done.code, done.err) == (0, "")
    assert done.lines[-1].startswith(f"{small}: good, nothing was wrong, 2 tensors saved ")
    data = small.read_bytes()
    assert new.read_bytes()[-30:] == data[-30:]


def test_json(cli, make, tmp_path):
    path, new = make(frame(TWICE, b"xyz"), name="twice"), tmp_path / "new"
    done = cli("check", "--repair", new, "--json", path)
    assert (done.code, done.err) == (1, "")
    report = done.json["files"][0]
    assert [(each["kind"], each["rule"], each["tensor"], each["new_name"], each["bytes"])
            for each in report["items"]] == [
        ("saved", None, "t", "t.duplicate-1", 1), ("changed", "name-duplicate", "t", None, 0),
        ("saved", None, "t", "t", 1), ("changed", "trailing-bytes", None, None, 1)]
    assert {each["severity"] for each in report["items"]} == {None, "error"}
    assert (report["file"], report["output"]) == (str(path), str(new))
    assert (report["good"], report["written"]) == (False, True)
    assert [report[key] for key in ("saved", "changed", "lost", "omitted", "bytes", "metadata")] == [2, 2, 0, 0, 2, 0]
    assert report["size"] == new.stat().st_size
    names = [each["name"] for each in cli("ls", "--json", new).json["files"][0]["tensors"]]
    assert sorted(names) == ["t", "t.duplicate-1"]


def test_dry_run_writes_nothing(cli, cut, tmp_path):
    new = tmp_path / "new"
    real = cli("check", "--repair", tmp_path / "other", "--json", cut).json["files"][0]
    done = cli("check", "--repair", new, "--dry-run", "--json", cut)
    told = done.json["files"][0]
    assert done.code == 1 and not new.exists()
    assert told["items"] == real["items"] and told["size"] == real["size"]
    assert told["written"] is False
    done = cli("check", "-n", "-r", new, cut)
    assert done.lines[-1].endswith(f"; nothing was written to {new}") and not new.exists()


@pytest.mark.parametrize("content", [b"", b"PK\3\4" + bytes(60), frame("[]"), frame('{"a":5}', b"12")])
def test_nothing_can_be_saved(cli, make, tmp_path, content):
    path, new = make(content, name="hopeless"), tmp_path / "new"
    done = cli("check", "--repair", new, path)
    assert done.code == 3 and not new.exists()
    assert done.err == f"safetensors: {path}: nothing can be saved of it, and {new} was not written\n"
    done = cli("check", "--repair", new, "--json", path)
    report = done.json["files"][0]
    assert (done.code, report["written"], report["size"], report["saved"]) == (3, False, 0, 0)
    assert report["lost"] >= 1


def test_a_wrong_header_length(cli, make, tmp_path):
    content = build(TENSORS)
    path, new = make(struct.pack("<Q", 10 ** 15) + content[8:], name="length"), tmp_path / "new"
    done = cli("check", "--repair", new, path)
    assert done.code == 1 and "[header-length]" in done.lines[0]
    right = int.from_bytes(content[:8], "little")
    assert f"the header length is {10 ** 15}, but {right} " in done.lines[0]
    assert new.read_bytes()[-11:] == content[-11:] and cli("check", "-q", new).code == 0


def test_quiet_and_max(cli, cut, tmp_path):
    done = cli("check", "-q", "--repair", tmp_path / "new", cut)
    assert (done.code, done.out, done.err) == (1, "", "")
    done = cli("check", "-m", "1", "--repair", tmp_path / "new", cut)
    assert len(done.lines) == 2 and ", of which 1 more is not printed; " in done.lines[-1]


def test_strict_counts_warnings(cli, make, tmp_path):
    path = make(frame('{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}', b"1"), name="warned")
    done = cli("check", "--repair", tmp_path / "new", path)
    assert done.code == 0 and "[field-unknown]" in done.out
    assert cli("check", "--strict", "--repair", tmp_path / "new", path).code == 1


def test_unknown_dtypes(cli, make, tmp_path):
    path = make(frame('{"t":{"dtype":"Q9","shape":[1],"data_offsets":[0,1]}}', b"12"), name="unknown")
    assert cli("check", "--repair", tmp_path / "new", path).code == 3
    assert cli("check", "--unknown-dtypes", "--repair", tmp_path / "new", path).code == 1
    assert "Q9" in cli("ls", "--unknown-dtypes", tmp_path / "new").out


def test_what_cannot_be_read_or_written(cli, cut, tmp_path):
    done = cli("check", "--repair", tmp_path / "new", tmp_path / "absent")
    assert done.code == 3 and "absent" in done.err and not (tmp_path / "new").exists()
    done = cli("check", "--repair", tmp_path / "no" / "new", cut)
    assert done.code == 3 and "No such file" in done.err
    before = cut.read_bytes()
    (tmp_path / "link").symlink_to(cut)
    for target in (cut, tmp_path / "link"):
        done = cli("check", "--repair", target, cut)
        assert done.code == 2 and "damaged file itself" in done.err
        assert cut.read_bytes() == before


@pytest.mark.parametrize("args, what", [
    (["--repair", "-", "x"], "standard output takes the list"), (["--repair", "new", "x", "y"], "one FILE"),
    (["--dry-run", "x"], "--dry-run goes with --repair"), (["--repair", "new"], "FILE is missing")])
def test_usage(cli, args, what):
    done = cli("check", *args)
    assert done.code == 2 and what in done.err and done.out == ""


def test_names_are_escaped(cli, make, tmp_path):
    path = make(frame('{"\\u001b[2J":{"dtype":"U8","shape":[1],"data_offsets":[0,9]},'
                      '"ok":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"), name="hostile")
    done = cli("check", "--repair", tmp_path / "new", path)
    assert done.code == 1 and "\x1b" not in done.out and "u001b" in done.out
