# SPDX-License-Identifier: Apache-2.0
"""Folders and indices where a file is changed: all files of them, or none."""

import json
import os
import struct
import subprocess

import pytest

from model_files import build, floats, header_of, tensors_of
from program import binary
from shard_files import INDEX, METADATA, SHARDS, TENSORS, either, folder, index_of, rewrite  # noqa: F401

PLAIN = {"NO_COLOR": "1"}
FIRST, SECOND = SHARDS


def held(folder):
    """Gives what lies in a folder, by name: the bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tensors_in(folder):
    return {path.name: tensors_of(path) for path in sorted(folder.glob("*.safetensors"))}


def map_in(folder):
    return json.loads((folder / INDEX).read_text())["weight_map"]


def metadata_in(folder):
    return [header_of(folder / name)[0].get("__metadata__") for name in SHARDS]


def one(done):
    assert done.code == 0
    [found] = done.json["files"]
    return found


@pytest.fixture
def other(make):
    return make({"n": ("U8", [2], b"12"), "c": ("F16", [4], bytes(range(8)))}, name="other.safetensors")


# ------------------------------------------------------------------------------------------- edit


def test_edit(cli, either, folder):
    indexed = (folder / INDEX).exists()
    done = cli("edit", either, "-r", "*.w=*.weight", "-r", "c=d.weight")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert tensors_in(folder) == {
        FIRST: {"a.weight": TENSORS["a.w"], "a.b": TENSORS["a.b"]},
        SECOND: {"d.weight": TENSORS["c"]},
    }
    if indexed:
        assert map_in(folder) == {"a.weight": FIRST, "a.b": FIRST, "d.weight": SECOND}
    assert sorted(path.name for path in folder.iterdir()) == sorted([*SHARDS, *([INDEX] if indexed else [])])
    assert cli("check", "-S", folder).code == 0


def test_edit_into_another_folder(cli, either, folder, tmp_path):
    before, out = held(folder), tmp_path / "out" / "folder"
    out.parent.mkdir()
    assert cli("edit", either, "-o", out, "-x", "a.b").code == 0
    assert held(folder) == before
    assert tensors_in(out) == {FIRST: {"a.w": TENSORS["a.w"]}, SECOND: SHARDS[SECOND]}
    assert cli("check", "-S", out).code == 0
    if INDEX in before:
        assert map_in(out) == {"a.w": FIRST, "c": SECOND}


def test_edit_leaves_a_shard_that_does_not_change(cli, folder):
    before = (folder / SECOND).stat()
    assert cli("edit", folder, "-x", "a.b").code == 0
    assert (folder / SECOND).stat() == before
    assert "a.b" not in map_in(folder)


def test_edit_drops_a_whole_shard(cli, folder):
    assert cli("edit", folder, "-k", "a.*").code == 0
    assert [path.name for path in folder.glob("*.safetensors")] == [FIRST]
    assert map_in(folder) == {"a.w": FIRST, "a.b": FIRST}
    assert json.loads((folder / INDEX).read_text())["metadata"]["total_size"] == 12


def test_patterns_see_all_names(cli, folder):
    """One that is in no shard is an error, one that is in some is none."""
    before = held(folder)
    for words in (["-x", "c"], ["-k", "c", "-k", "a.w"], ["-c", "BF16:c"], ["-r", "c=d"], ["-e", "^c=d"]):
        assert cli("edit", "--dry-run", folder, *words).code == 0
    for option in ("-x", "-k", "-c", "-r", "-e"):
        value = {"-c": "BF16:z*", "-r": "z*=y*", "-e": "^z=y"}.get(option, "z*")
        done = cli("edit", folder, option, value)
        assert (done.code, done.out) == (2, "")
        assert f"{folder}: --" in done.err and "no tensor matches" in done.err
    done = cli("edit", folder, "-x", "a.v")
    assert 'did you mean "a.w"' in done.err
    assert held(folder) == before


def test_edit_add_and_replace(cli, folder, other):
    done = cli("edit", folder, "-a", f"n={other}", "-p", f"a.b={other}:c")
    assert done.code == 0
    assert tensors_in(folder) == {
        FIRST: {"a.w": TENSORS["a.w"], "a.b": ("F16", [4], bytes(range(8)))},
        SECOND: {"c": TENSORS["c"], "n": ("U8", [2], b"12")},
    }
    assert map_in(folder) == {"a.w": FIRST, "a.b": FIRST, "c": SECOND, "n": SECOND}
    done = cli("edit", folder, "-p", f"z={other}:c")
    assert done.code == 2 and f"{folder}: no tensor " in done.err


def test_edit_takes_out_of_checkpoints(cli, folder, other):
    """An index and a folder are FILEs of --add and --replace, too."""
    index = folder / INDEX
    words = ["-a", f"a.w={folder}", "-a", f"x={index}:a.b", "-a", f"y={folder}/:c", "-p", f"n={folder}/:a.b"]
    assert cli("edit", other, *words).code == 0
    assert tensors_of(other) == {
        "n": TENSORS["a.b"],
        "c": ("F16", [4], bytes(range(8))),
        "a.w": TENSORS["a.w"],
        "x": TENSORS["a.b"],
        "y": TENSORS["c"],
    }
    before = other.read_bytes()
    for source, code in ((f"{folder}/:z", 2), (f"{index}:z", 2), (f"{folder}/absent.json:c", 3), (folder, 2)):
        done = cli("edit", other, "-a", f"z={source}")
        assert (done.code, done.out) == (code, "")
        assert f"safetensors: {str(source).split(':')[0].rstrip('/')}" in done.err
    assert cli("edit", other, "-p", f"n={folder}").code == 3
    assert other.read_bytes() == before


def test_edit_name_in_two_shards(cli, either, folder):
    before = held(folder)
    done = cli("edit", either, "-r", "c=a.w")
    assert (done.code, done.out) == (1, "")
    assert '"a.w"' in done.err and FIRST in done.err and SECOND in done.err
    assert held(folder) == before


def test_edit_dry_run(cli, folder, other):
    before = held(folder)
    words = ["-n", folder, "-x", "a.b", "-c", "F32:c", "-a", f"n={other}"]
    done = cli("edit", *words)
    assert (done.code, done.err) == (0, "")
    assert done.lines[:3] == [
        f"dropped\ta.b\t-\tF32\t-\t{FIRST}",
        f"cast\tc\tc\tF16\tF32\t{SECOND}",
        f"added\t-\tn\t-\tU8\t{SECOND}",
    ]
    assert done.lines[3] == "3 tensors: 0 renamed, 1 dropped, 1 cast, 0 replaced, 1 added; 10 B stay as they are"
    assert done.lines[4].startswith(f"{folder}: would be written anew, ")
    dry = one(cli("edit", "--json", *words))
    assert held(folder) == before
    assert [(each["name"], each["new_name"], each["shard"]) for each in dry["changes"]] == [
        ("a.b", None, FIRST),
        ("c", "c", SECOND),
        (None, "n", SECOND),
    ]
    ran = one(cli("edit", "--json", *words[1:]))
    assert (dry["written"], ran["written"], ran["output"]) == (False, True, str(folder))
    assert dry["changes"] == ran["changes"]
    for member in ("tensors", "renamed", "dropped", "cast", "replaced", "added", "moved", "size", "header_text"):
        assert dry[member] == ran[member]
    assert ran["size"] == sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def test_edit_losses(cli, folder):
    (folder / FIRST).write_bytes(build({"a.w": ("F32", [2], floats(1e30, 2)), "a.b": ("F32", [1], floats(3))}))
    (folder / SECOND).write_bytes(build({"c": ("F32", [2], floats(1e-30, 1e30))}))
    rewrite(folder, total_size=20)
    before = held(folder)
    done = cli("edit", "--strict", folder, "-c", "F16")
    assert (done.code, done.out) == (1, "")
    assert f'{folder / FIRST}: tensor "a.w": of 2 numbers 1 is beyond the range of F16 (infinity there)\n' in done.err
    assert f'{folder / SECOND}: tensor "c": of 2 numbers 1 is beyond the range of F16 (infinity there), and 1 became 0' in done.err
    assert f"{folder}: nothing was written, as --strict asks" in done.err
    assert held(folder) == before
    out = folder.parent / "out"
    assert cli("edit", "--strict", folder, "-c", "F16", "-o", out).code == 1
    assert not out.exists() or list(out.iterdir()) == []
    found = one(cli("edit", "--json", folder, "-c", "F16"))
    assert [(each["name"], each["shard"], each["overflowed"], each["underflowed"]) for each in found["casts"]] == [
        ("a.w", FIRST, 1, 0),
        ("a.b", FIRST, 0, 0),
        ("c", SECOND, 1, 1),
    ]
    assert [tensor[0] for shard in tensors_in(folder).values() for tensor in shard.values()] == ["F16"] * 3


def test_edit_in_place(cli, folder):
    inodes = [(folder / name).stat().st_ino for name in SHARDS]
    done = cli("edit", "-i", folder, "-r", "c=d")
    assert (done.code, done.out) == (3, "")
    assert INDEX in done.err
    dry = cli("edit", "-i", "-n", folder, "-r", "c=d")
    assert (dry.code, dry.out.count("\n")) == (3, 1)
    assert dry.err == done.err
    (folder / INDEX).unlink()
    text = cli("edit", "-i", "-n", folder, "-r", "c=d").lines[-1]
    assert text.startswith(f"{folder}: would be changed in place; the headers need ")
    assert cli("edit", "-i", folder, "-r", "c=d").code == 0
    assert tensors_in(folder)[SECOND] == {"d": TENSORS["c"]}
    assert [(folder / name).stat().st_ino for name in SHARDS] == inodes


def test_edit_alignment_stays(cli, folder, tmp_path):
    """Data that begin at a page do so afterwards, be it one file or several."""
    aligned = tmp_path / "aligned"
    assert cli("copy", "-A", "4096", folder, aligned).code == 0
    assert cli("edit", aligned, "-x", "a.b", "-c", "F32:c").code == 0
    assert [(header_of(aligned / name)[1] + 8) % 4096 for name in SHARDS] == [0, 0]
    assert cli("edit", aligned / FIRST, "-r", "a.w=b").code == 0
    assert (header_of(aligned / FIRST)[1] + 8) % 4096 == 0
    assert cli("edit", aligned / FIRST, "-A", "8").code == 0
    assert header_of(aligned / FIRST)[1] + 8 < 4096


def test_edit_onto_itself_by_name(cli, folder):
    assert cli("edit", folder / INDEX, "-x", "a.b", "-o", folder).code == 0
    assert map_in(folder) == {"a.w": FIRST, "c": SECOND}
    assert tensors_in(folder) == {FIRST: {"a.w": TENSORS["a.w"]}, SECOND: SHARDS[SECOND]}
    assert sorted(held(folder)) == sorted([*SHARDS, INDEX])


def test_edit_on_a_terminal(terminal, folder):
    done = terminal("edit", folder, "-r", "c=d", env=PLAIN, columns=200)
    assert done.code == 0
    assert done.lines[0] == "3 tensors: 1 renamed, 0 dropped, 0 cast, 0 replaced, 0 added; 20 B stay as they are"
    assert done.lines[1].startswith(f"{folder}: ") and done.lines[1].endswith("/s")


@pytest.mark.parametrize("verb", [["copy"], ["edit", "-x", "c"], ["meta", "set"]])
def test_no_folder_goes_to_standard_output(cli, folder, verb):
    tail = {"copy": ["-"], "edit": ["-o", "-"], "meta": ["k", "v", "-o", "-"]}[verb[0]]
    done = cli(verb[0], *(["set"] if verb[0] == "meta" else verb[1:]), folder, *tail)
    assert (done.code, done.out) == (2, "")
    assert "several files cannot go to standard output" in done.err


def test_a_shard_that_is_not_there(cli, folder):
    (folder / SECOND).unlink()
    before = held(folder)
    for words in (
        ["edit", folder, "-x", "*"],
        ["copy", folder, "out"],
        ["meta", "rm", "--all", folder],
        ["hash", "--record", folder],
        ["bench", folder],
    ):
        done = cli(*words)
        assert (done.code, done.out) == (3, "")
        assert SECOND in done.err and INDEX in done.err
    assert held(folder) == before


# ------------------------------------------------------------------------------------------- copy


def test_copy(cli, either, folder, tmp_path):
    before, out = held(folder), tmp_path / "out"
    done = cli("copy", either, out)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert held(folder) == before
    assert tensors_in(out) == {FIRST: SHARDS[FIRST], SECOND: SHARDS[SECOND]}
    assert metadata_in(out) == [METADATA] * 2
    assert (out / INDEX).exists() == (INDEX in before)
    assert cli("diff", folder, out).code == 0


def test_copy_filters_and_lays_out(cli, folder, tmp_path):
    out = tmp_path / "out"
    assert cli("copy", "-g", "a.*", "-A", "64", "-O", "name", "-M", folder, out).code == 0
    assert tensors_in(out) == {FIRST: {"a.b": TENSORS["a.b"], "a.w": TENSORS["a.w"]}}
    assert list(tensors_in(out)[FIRST]) == ["a.b", "a.w"]
    header, size, _ = header_of(out / FIRST)
    assert "__metadata__" not in header and (size + 8) % 64 == 0
    assert map_in(out) == {"a.w": FIRST, "a.b": FIRST}
    done = cli("copy", "-g", "z", folder, tmp_path / "none")
    assert done.code == 2 and f"{folder}: no tensor passes the filters" in done.err
    assert not (tmp_path / "none").exists()


def test_copy_dry_run(cli, terminal, folder, tmp_path):
    out = tmp_path / "out"
    done = cli("copy", "-n", "-x", "c", folder, out)
    assert (done.code, done.err) == (0, "")
    shown = terminal("copy", "--dry-run", "-x", "c", folder, out, env=PLAIN)
    dry = one(cli("copy", "-n", "--json", "-x", "c", folder, out))
    assert not out.exists()
    ran = one(cli("copy", "--json", "-x", "c", folder, out))
    assert ran.pop("seconds") >= 0
    assert ran == dry == {"file": str(folder), "output": str(out), "tensors": 2, "size": (out / FIRST).stat().st_size}
    assert done.out == f"{out}\t{ran['size']}\t2\n"
    assert shown.out == f"{out}: would be 2 tensors, {ran['size']} B\n"


def test_copy_no_clobber(cli, folder, tmp_path):
    out = tmp_path / "out"
    assert cli("copy", "--no-clobber", folder, out).code == 0
    before = held(out)
    for words in (["--no-clobber"], ["--no-clobber", "-n"]):
        done = cli("copy", *words, "-M", folder, out)
        assert (done.code, done.out) == (3, "")
        assert "File exists" in done.err
    assert held(out) == before
    for name in SHARDS:
        (out / name).unlink()
    for words in ([], ["-n"]):
        done = cli("copy", "--no-clobber", *words, folder, out)
        assert (done.code, done.out) == (3, "") and INDEX in done.err


def test_copy_explains(cli, folder):
    done = cli("copy", "--explain", "--json", folder, "out", cwd=folder)
    assert [each["shard"] for each in done.json["files"][0]["explanations"]] == list(SHARDS)
    assert not (folder / "out").exists()


# ------------------------------------------------------------------------------------- meta set and its like


@pytest.mark.parametrize("options", [[], ["-i"]])
def test_meta_set(cli, either, folder, options):
    for name, tensors in SHARDS.items():
        (folder / name).write_bytes(build(tensors, {**METADATA, "room": "x" * 100}))
    indices = [path.read_bytes() for path in folder.glob("*.json")]
    assert cli("meta", "rm", either, "room", *options).code == 0
    done = cli("meta", "set", either, "k", "v", "format", "np", *options)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert metadata_in(folder) == [{"format": "np", "k": "v"}] * 2
    assert [path.read_bytes() for path in folder.glob("*.json")] == indices
    assert cli("stats", either).code == 0


def test_meta_set_dry_run(cli, terminal, folder):
    (folder / SECOND).write_bytes(build(SHARDS[SECOND], {"k": "v"}))
    before = held(folder)
    done = cli("meta", "set", "-n", folder / INDEX, "k", "v", "format", "np")
    assert (done.code, done.err) == (0, "")
    assert done.lines == [f"+\tk\tv\t{FIRST}", f"~\tformat\tnp\t{FIRST}", f"+\tformat\tnp\t{SECOND}"]
    assert cli("meta", "rm", "-n", folder, "format").out == f"-\tformat\t-\t{FIRST}\n"
    shown = terminal("meta", "rm", "-n", folder, "k", env=PLAIN, columns=200)
    assert shown.lines[0] == f"- k  {SECOND}"
    found = one(cli("meta", "set", "--dry-run", "--json", folder, "k", "w"))
    assert found["set"] == [
        {"shard": FIRST, "key": "k", "value": "w", "old": None},
        {"shard": SECOND, "key": "k", "value": "w", "old": "v"},
    ]
    assert (found["removed"], found["changed"], found["written"]) == ([], True, False)
    assert held(folder) == before


def test_meta_rm(cli, folder):
    """A key that one of them has is there."""
    (folder / FIRST).write_bytes(build(SHARDS[FIRST], {"key": "v", "l": "w"}))
    done = cli("meta", "rm", folder, "key", "kez")
    assert (done.code, done.out) == (2, "")
    assert f'{folder}: no metadata "kez"; did you mean "key"' in done.err
    assert cli("meta", "rm", folder, "key").code == 0
    assert metadata_in(folder) == [{"l": "w"}, METADATA]
    assert cli("meta", "rm", "--all", folder).code == 0
    assert metadata_in(folder) == [None, None]


def test_meta_import(cli, folder, tmp_path):
    (tmp_path / "new.json").write_text('{"a": "b"}')
    assert cli("meta", "import", "--replace", folder, tmp_path / "new.json").code == 0
    assert metadata_in(folder) == [{"a": "b"}] * 2
    assert cli("meta", "import", folder, "-", stdin=b'{"c": "d"}').code == 0
    assert metadata_in(folder) == [{"a": "b", "c": "d"}] * 2
    assert cli("meta", "set", folder, "c", "-f", "-", stdin=b"text").code == 0
    assert metadata_in(folder) == [{"a": "b", "c": "text"}] * 2


def test_meta_set_elsewhere(cli, folder, tmp_path):
    before, out = held(folder), tmp_path / "out"
    assert cli("meta", "set", folder, "k", "v", "-o", out).code == 0
    assert metadata_in(out) == [{**METADATA, "k": "v"}] * 2
    assert map_in(out) == map_in(folder)
    assert held(folder) == before


def test_no_shard_is_written_before_all_can_be(cli, folder):
    """The second has no room."""
    (folder / FIRST).write_bytes(build(SHARDS[FIRST], {"k": "v" * 100}))
    (folder / SECOND).write_bytes(build(SHARDS[SECOND]))
    before = held(folder)
    for words in ([], ["-n"]):
        done = cli("meta", "set", "-i", folder, "k", "w" * 50, *words)
        assert (done.code, done.out) == (2, "")
        assert str(folder / SECOND) in done.err
        assert held(folder) == before


def editor_of(tmp_path, code):
    path = tmp_path / "editor.py"
    path.write_text(f"import json, sys\npath = sys.argv[-1]\n{code}")
    return {"EDITOR": f"python3 {path}"}


CHANGE = """
found = json.load(open(path))
json.dump(found, open(path + ".seen", "w"))
found.pop("both"); found["new"] = "n"
json.dump(found, open(path, "w"))
"""


def test_meta_edit(cli, either, folder, tmp_path):
    """The text is what all files have alike; what one has for itself stays."""
    (folder / FIRST).write_bytes(build(SHARDS[FIRST], {**METADATA, "both": "b", "own": "1", "apart": "x"}))
    (folder / SECOND).write_bytes(build(SHARDS[SECOND], {"apart": "y", **METADATA, "both": "b"}))
    (tmp_path / "tmp").mkdir()
    env = {**editor_of(tmp_path, CHANGE), "TMPDIR": str(tmp_path / "tmp")}
    done = cli("meta", "edit", either, env=env)
    assert (done.code, done.err) == (0, "")
    [seen] = (tmp_path / "tmp").glob("*.seen")
    assert json.loads(seen.read_text()) == {**METADATA, "both": "b"}
    assert metadata_in(folder) == [
        {**METADATA, "own": "1", "apart": "x", "new": "n"},
        {"apart": "y", **METADATA, "new": "n"},
    ]
    before = held(folder)
    assert cli("meta", "edit", either, env=editor_of(tmp_path, "")).code == 0
    assert held(folder) == before


def test_meta_edit_of_what_changed(cli, folder, tmp_path):
    shard = folder / SECOND
    code = f"""
json.dump({{"a": "b"}}, open(path, "w"))
open({str(shard)!r}, "ab").write(b"")
import os; os.utime({str(shard)!r}, (1, 1))
"""
    before = held(folder)
    done = cli("meta", "edit", folder, env={**editor_of(tmp_path, code), "TMPDIR": str(tmp_path)})
    assert done.code == 3
    assert str(shard) in done.err and "the text is kept in" in done.err
    assert held(folder) == before


# ------------------------------------------------------------------------------------------- hash --record


FAST = ("-a", "xxh3")  # SHA-256 is not in every build


def test_record(cli, either, folder):
    before = held(folder)
    dry = cli("hash", "--record", "-n", *FAST, either)
    assert (dry.code, held(folder)) == (0, before)
    assert [line.split(": ")[0] for line in dry.lines] == [str(folder / name) for name in SHARDS]
    done = cli("hash", "--record", *FAST, either)
    assert done.lines == [line.replace("would record", "recorded") for line in dry.lines]
    assert cli("hash", "--verify-metadata", either).lines == [f"{folder / name}: OK" for name in SHARDS]
    found = cli("hash", "--record", "--json", *FAST, either).json["files"]
    assert [(each["file"], each["tensors"], each["written"]) for each in found] == [
        (str(folder / name), len(SHARDS[name]), True) for name in SHARDS
    ]


def test_record_in_all_or_none(cli, folder):
    (folder / FIRST).write_bytes(build(SHARDS[FIRST], {"k": "v" * 200}))
    assert cli("meta", "rm", "-i", folder / FIRST, "k").code == 0
    before = held(folder)
    done = cli("hash", "--record", "-i", *FAST, folder)
    assert (done.code, done.out) == (2, "")
    assert str(folder / SECOND) in done.err
    assert held(folder) == before
    [failed] = cli("hash", "--record", "-i", "--json", *FAST, folder).json["files"]
    assert (failed["file"], failed["error"]["status"]) == (str(folder), "ST_ERR_NO_ROOM")


# ------------------------------------------------------------------------------------------- check --repair


def test_salvage(cli, either, folder, tmp_path):
    indexed = (folder / INDEX).exists()
    shard, out = folder / FIRST, tmp_path / "deep" / "out"
    out.parent.mkdir()
    shard.write_bytes(shard.read_bytes()[:-4])
    before = held(folder)
    dry = cli("check", "-n", "--repair", out, either)
    assert not out.exists()
    done = cli("check", "--repair", out, either)
    assert (done.code, done.err) == (1, "")
    assert f"{shard}: bad, 1 tensor saved (8 bytes), 0 things changed, 1 lost; written to {out / FIRST}" in done.lines
    assert any(line.startswith(f"{folder / SECOND}: good, nothing was wrong, ") for line in done.lines)
    assert dry.code == 1 and len(dry.lines) == len(done.lines)
    assert held(folder) == before
    assert tensors_in(out) == {FIRST: {"a.w": TENSORS["a.w"]}, SECOND: SHARDS[SECOND]}
    assert cli("check", "-S", out).code == 0
    if indexed:
        assert done.lines[-1] == (f"{folder / INDEX}: made anew of 2 tensors in 2 files; " f"written to {out / INDEX}")
        assert dry.lines[-1].startswith(f"{folder / INDEX}: would be made anew of 2 tensors in 2 files; ")
        assert map_in(out) == {"a.w": FIRST, "c": SECOND}
    else:
        assert not (out / INDEX).exists()


def test_salvage_of_an_index(cli, folder, tmp_path):
    """What it says amiss is told, and right in the new one."""
    (folder / FIRST).unlink()
    rewrite(folder, total_size=7)
    out = tmp_path / "out"
    done = cli("check", "--json", "--repair", out, folder)
    assert done.code == 1
    shard, index = done.json["files"]
    assert (shard["file"], shard["output"], shard["good"]) == (str(folder / SECOND), str(out / SECOND), True)
    assert (index["file"], index["output"], index["written"]) == (str(folder / INDEX), str(out / INDEX), True)
    assert (index["good"], index["tensors"], index["shards"]) == (False, 1, 1)
    assert ("lost", "index-shard-missing") in [(item["kind"], item["rule"]) for item in index["items"]]
    assert json.loads((out / INDEX).read_text()) == {"metadata": {"total_size": 8}, "weight_map": {"c": SECOND}}
    assert cli("check", "-S", out).code == 0


def test_salvage_refuses_a_folder_that_is_in_use(cli, folder, tmp_path):
    before = held(folder)
    for out in (folder, tmp_path):
        done = cli("check", "--repair", out, folder)
        assert (done.code, done.out) == (2, "")
        assert f"{out}: is not empty" in done.err
    for out in (folder / FIRST, tmp_path / "absent" / "folder"):
        done = cli("check", "--repair", out, folder)
        assert (done.code, done.out) == (3, "")
        assert f"{out}: " in done.err
    assert held(folder) == before
    out = tmp_path / "empty"
    out.mkdir()
    assert cli("check", "-q", "--repair", out, folder).code == 0
    assert cli("diff", folder, out).code == 0


def test_salvage_of_shards_below(cli, folder, tmp_path):
    """An index may name files in folders of its own: what is saved of them lies beside the others."""
    (folder / "sub").mkdir()
    (folder / SECOND).rename(folder / "sub" / SECOND)
    rewrite(folder, weight_map={"a.w": FIRST, "a.b": FIRST, "c": f"sub/{SECOND}"})
    out = tmp_path / "out"
    done = cli("check", "--repair", out, folder)
    assert tensors_in(out) == {FIRST: SHARDS[FIRST], SECOND: SHARDS[SECOND]}
    assert done.code == 0 and map_in(out) == {"a.w": FIRST, "a.b": FIRST, "c": SECOND}
    (folder / "sub" / SECOND).rename(folder / "sub" / FIRST)
    rewrite(folder, weight_map={"a.w": FIRST, "a.b": FIRST, "c": f"sub/{FIRST}"})
    done = cli("check", "--repair", tmp_path / "new", folder)
    assert (done.code, done.out) == (2, "")
    assert f"{folder}: " in done.err and f"sub/{FIRST}" in done.err and "would be one file" in done.err
    assert not (tmp_path / "new").exists()


def test_salvage_of_several_indices(cli, folder, tmp_path):
    other = folder / "model.safetensors.index.fp16.json"
    other.write_text(json.dumps(index_of({"c": SECOND}, total_size=8)))
    done = cli("check", "--repair", tmp_path / "out", folder)
    assert (done.code, done.out) == (2, "")
    assert f"{folder}: holds 2 indices; name the one to be saved" in done.err
    assert not (tmp_path / "out").exists()
    assert cli("check", "-q", "--repair", tmp_path / "out", other).code == 0
    assert tensors_in(tmp_path / "out") == {SECOND: SHARDS[SECOND]}
    assert json.loads((tmp_path / "out" / other.name).read_text())["weight_map"] == {"c": SECOND}


def test_salvage_of_a_name_twice(cli, folder, tmp_path):
    """The old index may have decided; nothing else can."""
    (folder / FIRST).write_bytes(build({**SHARDS[FIRST], "c": ("U8", [1], b"1")}, METADATA))
    out = tmp_path / "out"
    done = cli("check", "--repair", out, folder)
    assert done.code == 1 and '"c"' in done.err
    assert tensors_in(out)[SECOND] == SHARDS[SECOND]
    assert not (out / INDEX).exists()


def test_salvage_keeps_the_metadata_of_the_index(cli, folder, tmp_path):
    """As they stand there, but for the sum."""
    about = {"total_size": 1, "note": "\u00e9", "version": 1.5, "of": {"a": [None, True]}}
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps({**index, "metadata": about}))
    assert cli("check", "-q", "--repair", tmp_path / "out", folder).code == 0
    about["total_size"] = index["metadata"]["total_size"]
    assert json.loads((tmp_path / "out" / INDEX).read_text()) == {**index, "metadata": about}


def test_salvage_by_an_index_that_is_cut_off(cli, folder, tmp_path):
    """What it named is not known: all shards are taken."""
    (folder / INDEX).write_text((folder / INDEX).read_text()[:-9])
    for path in (folder, folder / INDEX):
        out = tmp_path / f"of-{path.name}"
        done = cli("check", "--json", "--repair", out, path)
        assert done.code == 1
        *shards, index = done.json["files"]
        assert [shard["file"] for shard in shards] == [str(folder / FIRST), str(folder / SECOND)]
        assert [(item["kind"], item["rule"]) for item in index["items"]] == [("lost", "index-json")]
        assert map_in(out) == {"a.w": FIRST, "a.b": FIRST, "c": SECOND}
        assert cli("check", "-S", out).code == 0


def test_salvage_without_a_shard_that_cannot_be_read(cli, folder, tmp_path):
    out = tmp_path / "out"
    (folder / SECOND).unlink()
    (folder / SECOND).mkdir()
    done = cli("check", "--json", "--repair", out, folder)
    assert done.code == 3 and f"{folder / SECOND}: is a directory" in done.err
    first, second, index = done.json["files"]
    assert first["written"] and index["written"] and (index["tensors"], index["shards"]) == (2, 1)
    assert list(second) == ["file", "error"]
    assert map_in(out) == {"a.w": FIRST, "a.b": FIRST}


def test_salvage_that_cannot_be_written_leaves_nothing(cli, folder, tmp_path):
    """Where the second shard does not fit what a file may have, the first one goes too."""
    before = held(folder)
    (folder / SECOND).write_bytes(build({"c": ("U8", [1 << 20], b"c" * (1 << 20))}))
    limit = ["sh", "-c", 'trap "" XFSZ; ulimit -f 64; exec "$@"', "sh", binary()]
    words = ["check", "--repair", str(tmp_path / "out"), str(folder)]
    done = subprocess.run([*limit, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 3
    assert f"{tmp_path / 'out'}: nothing is left of what was written" in done.stderr
    assert not (tmp_path / "out").exists()
    assert held(folder).keys() == before.keys()


def test_salvage_of_nothing(cli, folder, tmp_path):
    for name in SHARDS:
        (folder / name).write_bytes(b"short")
    done = cli("check", "--repair", tmp_path / "out", folder)
    assert done.code == 3
    assert done.err.count("nothing can be saved of it") == 2
    assert not (tmp_path / "out").exists()
    for name in SHARDS:
        (folder / name).unlink()
    done = cli("check", "--repair", tmp_path / "new", folder)
    assert done.code == 2 and "none of its files is there" in done.err


# ------------------------------------------------------------------------------------------- repair


def test_repair_with_nothing_to_do(cli, either, folder):
    before = held(folder)
    for words in ([], ["-n"]):
        done = cli("repair", *words, either)
        assert (done.code, done.out, done.err) == (0, f"{either}: no edit was interrupted\n", "")
    found = one(cli("repair", "--json", either))
    assert found == {"file": str(either), "recovery": "none", "stretches": 0, "bytes": 0, "done": False}
    assert held(folder) == before


def test_repair_of_a_shard(cli, either, folder):
    """A journal of which nothing had come to be: it goes."""
    journal = folder / f"{SECOND}.st-journal"
    journal.write_bytes(b"")
    text = f"{folder / SECOND}: an edit in place was interrupted before it changed anything; its journal "
    assert cli("repair", "-n", either).out == text + "would be removed\n"
    assert journal.exists()
    assert cli("repair", either).out == text + "is removed\n"
    assert not journal.exists()
    assert cli("repair", either).out == f"{either}: no edit was interrupted\n"


def test_repair_of_several_files(cli, traced, folder):
    """Killed at a rename, the edit is brought to its end: the list tells how."""
    done, _ = traced(
        ["-e", "trace=/^rename", "-e", "inject=/^rename:signal=KILL:when=2"],
        "edit",
        folder,
        "-r",
        "a.*=b.*",
        "-r",
        "c=d",
    )
    left = sorted(path.name for path in folder.iterdir() if path.name not in (*SHARDS, INDEX))
    assert done.code != 0 and f"{INDEX}.st-journal" in left
    told = f"{folder / INDEX}: an edit of several files was interrupted; 2 of 3 would be changed, as the others were\n"
    for path in (folder, folder / INDEX):
        dry = cli("repair", "-n", path)
        assert (dry.code, dry.out, dry.err) == (0, told, "")
    found = one(cli("repair", "-n", "--json", folder))
    assert (found["recovery"], found["files"], found["left"]) == ("several-forward", 3, 2)
    assert (found["done"], found["stretches"], found["bytes"]) == (False, 0, 0)
    assert sorted(path.name for path in folder.iterdir() if path.name not in (*SHARDS, INDEX)) == left
    found = one(cli("repair", "--json", folder))
    assert (found["file"], found["recovery"], found["done"]) == (str(folder / INDEX), "several-forward", True)
    assert (found["files"], found["left"]) == (3, 2)
    assert sorted(held(folder)) == sorted([*SHARDS, INDEX])
    assert map_in(folder) == {"b.w": FIRST, "b.b": FIRST, "d": SECOND}
    assert cli("check", "-S", folder).code == 0


def test_repair_of_several_files_without_an_index(cli, traced, folder):
    (folder / INDEX).unlink()
    traced(
        ["-e", "trace=/^rename", "-e", "inject=/^rename:signal=KILL:when=2"],
        "edit",
        folder,
        "-r",
        "a.*=b.*",
        "-r",
        "c=d",
    )
    left = held(folder)
    assert len(left) > len(SHARDS)
    dry = cli("repair", "-n", folder)
    assert (
        dry.out == f"{folder}: an edit of several files was interrupted; 1 of 2 would be changed, as the others were\n"
    )
    assert held(folder) == left
    assert cli("repair", folder).out == dry.out.replace("would be", "are")
    assert [list(each) for each in tensors_in(folder).values()] == [["b.w", "b.b"], ["d"]]
    assert sorted(held(folder)) == list(SHARDS)


def test_repair_of_one_index_of_two(cli, folder):
    other = folder / "other.safetensors.index.json"
    other.write_text(json.dumps(index_of()))
    journal = folder / f"{INDEX}.st-journal"
    journal.write_bytes(b"")
    for words in (["-n"], []):
        assert cli("repair", *words, other).out == f"{other}: no edit was interrupted\n"
    assert journal.exists()
    text = f"{folder / INDEX}: an edit of several files was interrupted before it changed any; what it left "
    assert cli("repair", "-n", folder / INDEX).out == text + "would be removed\n"
    found = one(cli("repair", "-n", "--json", folder))
    assert (found["recovery"], found["files"], found["left"]) == ("several-unfinished", 0, 0)
    assert journal.exists()
    assert cli("repair", folder / INDEX).out == text + "is removed\n"
    assert not journal.exists()


def test_repair_of_what_cannot_be(cli, folder):
    (folder / f"{INDEX}.st-journal").write_bytes(b"no journal" * 20)
    before = held(folder)
    for words in ([], ["-n"]):
        done = cli("repair", *words, folder)
        assert (done.code, done.out) == (1, "")
        assert f"{INDEX}.st-journal" in done.err
    found = cli("repair", "-n", "--json", folder).json["files"][0]
    assert (found["file"], found["error"]["status"]) == (str(folder / INDEX), "ST_ERR_JOURNAL")
    assert held(folder) == before


def test_repair_tells_of_all(cli, either, folder):
    """A dry run goes on behind what cannot be recovered."""
    (folder / f"{FIRST}.st-journal").write_bytes(b"no journal" * 20)
    (folder / f"{SECOND}.st-journal").write_bytes(b"")
    before = held(folder)
    done = cli("repair", "-n", either)
    assert done.code == 1 and f"{FIRST}.st-journal" in done.err
    assert len(done.lines) == 1 and done.out.startswith(f"{folder / SECOND}: ")
    assert held(folder) == before


def test_check_mentions_a_list(cli, traced, folder, tmp_path):
    """One that is to be carried out, one that was not finished, and one that is none."""
    good = cli("check", folder)
    assert (good.code, good.err) == (0, "")
    journal = folder / f"{INDEX}.st-journal"
    text = f"{folder / INDEX}: an edit of several files is under way or was interrupted; "
    text = f'safetensors: {text}"safetensors repair" '
    journal.write_bytes(b"")
    for path in (folder, folder / INDEX):
        done = cli("check", path)
        assert (done.code, done.out.count("\n")) == (good.code, good.out.count("\n"))
        assert done.err == text + "removes what it left\n"
    assert cli("check", "--quiet", folder).err == ""
    assert cli("check", "--repair", tmp_path / "out", folder).err == text + "removes what it left\n"
    journal.write_bytes(b"no journal" * 20)
    done = cli("check", folder)
    assert done.code == 0 and done.err.startswith(f"safetensors: {journal}: ")
    journal.unlink()
    traced(["-e", "trace=/^rename", "-e", "inject=/^rename:signal=KILL:when=1"], "edit", folder, "-r", "c=d")
    assert journal.exists()
    done = cli("check", folder)
    assert (done.code, done.err) == (0, text + "brings it to its end\n")
    assert cli("repair", folder).code == 0
    assert cli("check", folder).err == ""


# ------------------------------------------------------------------------------------------- bench


def test_bench(cli, terminal, either, folder):
    sizes = [(folder / name).stat().st_size for name in SHARDS]
    found = one(cli("bench", "--json", "-n", "1", "-i", "pread,views", either))
    assert (found["file"], found["size"], found["shards"]) == (str(either), sum(sizes), 2)
    assert (found["tensors"], found["bytes"]) == (3, 20)
    for state in found["states"]:
        for result in state["results"]:
            assert result["bytes"] == 20
        if state["state"] == "cold" and not state["reason"] and not state["ceiling"]["reason"]:
            assert state["ceiling"]["bytes"] == sum(sizes)
    shown = terminal("bench", "-n", "1", "--warm", "-i", "pread", either, env=PLAIN, columns=300)
    assert shown.lines[0].startswith(f"{either} (2 files): 3 tensors, 20 B, ")


# ------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize("words", [["edit", "-c", "F64"], ["meta", "set"], ["hash", "--record", *FAST]])
def test_a_signal_leaves_all_as_it_was(traced, folder, words):
    """It comes when the first file is on the disk, under the name that it has until all are."""
    before = held(folder)
    tail = ["k", "v"] if words[0] == "meta" else []
    done, _ = traced(
        ["-e", "trace=/^f(data)?sync", "-e", "inject=/^f(data)?sync:signal=TERM:when=1"], *words, folder, *tail
    )
    assert (done.code, done.out) == (143, "")
    assert held(folder) == before
