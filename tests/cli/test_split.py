# SPDX-License-Identifier: Apache-2.0
import json
import os

import pytest

from model_files import build, header_of, tensors_of

SIZES = dict(zip("abcdef", [6, 6, 2, 6, 2, 2]))
TENSORS = {name: ("U8", [size], name.encode() * size) for name, size in SIZES.items()}
SHARDS = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
INDEX = "model.safetensors.index.json"


@pytest.fixture
def model(make):
    return make(TENSORS, {"format": "pt", "k": "v"}, name="in.safetensors")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def split_ten(cli, model, folder, *options):
    return cli("split", "--max-size", "10", *options, model, folder)


def test_split(cli, model, folder):
    done = split_ten(cli, model, folder)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert sorted(os.listdir(folder)) == SHARDS + [INDEX]
    index = json.loads((folder / INDEX).read_text())
    assert index == {"metadata": {"total_size": 24, "k": "v"},
                     "weight_map": dict(zip("abcdef", [SHARDS[i] for i in (0, 1, 1, 2, 2, 2)]))}
    for shard in SHARDS:
        assert header_of(folder / shard)[0]["__metadata__"] == {"format": "pt"}
    assert {k: v for shard in SHARDS for k, v in tensors_of(folder / shard).items()} == TENSORS


def test_one(cli, model, folder):
    """By the default of 5 GB there is one file, and no index; an older one goes."""
    folder.mkdir()
    (folder / INDEX).write_text("{}")
    assert cli("split", model, folder).code == 0
    assert os.listdir(folder) == ["model.safetensors"]
    assert header_of(folder / "model.safetensors")[0]["__metadata__"] == {"format": "pt", "k": "v"}


def test_count(cli, model, folder):
    assert cli("split", "-c", "2", model, folder).code == 0
    assert len([name for name in os.listdir(folder) if name != INDEX]) == 2
    again = folder.parent / "again"
    assert cli("split", "-c", "1", folder, again).code == 0
    assert os.listdir(again) == ["model.safetensors"]


def test_name_and_align(cli, model, folder):
    done = split_ten(cli, model, folder, "--name", "x{suffix}.fp16.safetensors", "--align", "64")
    assert done.code == 0
    assert sorted(os.listdir(folder)) == [f"x-0000{i}-of-00003.fp16.safetensors" for i in (1, 2, 3)] + \
        ["x.fp16.safetensors.index.json"]
    assert (header_of(folder / "x-00001-of-00003.fp16.safetensors")[1] + 8) % 64 == 0


def test_dry_run(cli, terminal, model, folder):
    done = split_ten(cli, model, folder, "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out == "".join(f"{name}\t{size}\t{count}\n"
                               for name, size, count in zip(SHARDS, (6, 8, 10), (1, 2, 3)))
    assert not folder.exists()
    shown = terminal("split", "--max-size", "10", "--dry-run", model, folder)
    assert shown.lines[0] == f"{SHARDS[0]}  6 B  1 tensor"
    assert shown.lines[1] == f"{SHARDS[1]}  8 B  2 tensors"


def test_terminal(terminal, model, folder):
    shown = terminal("split", "--max-size", "10", model, folder, columns=200)
    assert shown.code == 0
    assert shown.lines[-1].startswith(f"{folder}: 3 shards, 6 tensors, 24 B in ")


def test_json(cli, model, folder):
    dry = split_ten(cli, model, folder, "--json", "--dry-run").json["files"][0]
    assert not folder.exists()
    done = split_ten(cli, model, folder, "--json").json["files"][0]
    assert done.pop("seconds") >= 0
    assert dry == done == {
        "file": str(model), "folder": str(folder), "index": INDEX, "size": 24,
        "shards": [{"name": SHARDS[0], "size": 6, "tensors": ["a"]},
                   {"name": SHARDS[1], "size": 8, "tensors": ["b", "c"]},
                   {"name": SHARDS[2], "size": 10, "tensors": ["d", "e", "f"]}]}
    one = cli("split", "--json", model, folder.parent / "one").json["files"][0]
    assert one["index"] is None


def test_no_clobber(cli, model, folder):
    folder.mkdir()
    (folder / INDEX).write_text("mine")
    for words in ([], ["-n"]):
        done = split_ten(cli, model, folder, "--no-clobber", *words)
        assert (done.code, done.out) == (3, "") and INDEX in done.err
    assert os.listdir(folder) == [INDEX] and (folder / INDEX).read_text() == "mine"


@pytest.mark.parametrize("durability, syncs", [("none", False), ("name", True)])
def test_durability(traced, model, folder, durability, syncs):
    done, calls = traced(["-e", "trace=/^f(data)?sync"], "split", "-D", durability, "-s", "10", model, folder)
    assert done.code == 0
    assert any("sync(" in call for call in calls) == syncs


def test_unreadable(cli, tmp_path, model, folder):
    done = cli("split", tmp_path / "none", folder)
    assert done.code == 3 and "none: cannot be opened" in done.err
    assert cli("split", model, tmp_path / "no" / "such").code == 3
    assert cli("split", tmp_path / "no.safetensors", folder, "--json").json["files"][0]["error"]["status"] == "ST_ERR_IO"


def test_bad(cli, tmp_path, model, folder):
    """An index that leads out of its folder; names from it are escaped."""
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"weight_map": {"a\x1b[31m": "../in.safetensors"}}))
    done = cli("split", path, folder)
    assert done.code == 1 and "climbs out of the folder" in done.err and "\x1b" not in done.err
    path.write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    done = cli("split", path, folder)
    assert done.code == 3 and "gone.safetensors" in done.err and f"{path} names it" in done.err


def test_strays(cli, model, folder):
    """One file does not go beside the shards of an older split."""
    split_ten(cli, model, folder)
    before = sorted(os.listdir(folder))
    done = cli("split", model, folder)
    assert done.code == 2 and "model-0000" in done.err and "remove it first" in done.err
    assert sorted(os.listdir(folder)) == before and cli("ls", folder).code == 0


@pytest.mark.parametrize("one", [False, True])
def test_clean(cli, terminal, model, folder, one):
    """Older shards go once all is written, links as such, and nothing else."""
    split_ten(cli, model, folder)
    old = sorted(path.name for path in folder.glob("*.safetensors"))
    (folder / "kept").write_text("x")
    link, other = "model-00009-of-00009.safetensors", "other-00001-of-00002.safetensors"
    (folder / link).symlink_to("kept")
    (folder / other).write_text("x")
    before = sorted(os.listdir(folder))
    words = ["--clean", *([] if one else ["--count", "2"]), model, folder]
    dry = cli("split", "-n", "--json", *words).json["files"][0]
    lines = cli("split", "-n", *words).lines
    assert dry["removed"] == sorted([*old, link]) and sorted(os.listdir(folder)) == before
    assert lines[-len(dry["removed"]) :] == [f"{name}\tremoved" for name in dry["removed"]]
    done = cli("split", "--json", *words).json["files"][0]
    made = [shard["name"] for shard in done["shards"]]
    assert done["removed"] == dry["removed"] and (done["index"] is None) == one
    index = [] if one else [done["index"]]
    assert sorted(os.listdir(folder)) == sorted(["kept", other, *made, *index])
    assert (folder / "kept").read_text() == "x"
    assert cli("split", "--json", *words).json["files"][0]["removed"] == []
    assert "removed" not in cli("split", "--json", *words[1:]).json["files"][0]
    assert "removed" not in terminal("split", *words).out
    (folder / link).write_text("x")
    assert "; 1 old shard removed" in terminal("split", *words, columns=300).out


def test_clean_of_its_own_folder(cli, model, folder):
    split_ten(cli, model, folder)
    done = cli("split", "--clean", "--json", "--count", "2", folder, folder).json["files"][0]
    names = [shard["name"] for shard in done["shards"]]
    assert sorted(os.listdir(folder)) == sorted([done["index"], *names])
    assert {k: v for name in names for k, v in tensors_of(folder / name).items()} == TENSORS


def test_clean_without_a_folder(cli, model, folder):
    assert cli("split", "-n", "--clean", "--json", model, folder).json["files"][0]["removed"] == []
    assert not folder.exists()
    assert cli("split", "--clean", model, folder).code == 0


@pytest.mark.parametrize("options, says", [
    (["--max-size", "5Gb"], "may mean bits"), (["--max-size", "5G"], "unit"), (["--max-size", "0"], "one byte"),
    (["--max-size", "5", "--count", "2"], "exclude"), (["--count", "x"], "whole number"),
    (["--count", "0"], "one shard"), (["--align", "3"], "power of 2"),
    (["--name", "model.safetensors"], 'safetensors: the pattern "model.safetensors" has no {suffix}'),
    (["--name", "../m{suffix}.safetensors"], "another folder")])
def test_usage(cli, model, folder, options, says):
    done = cli("split", *options, model, folder)
    assert done.code == 2 and says in done.err
    assert not folder.exists()


def test_usage_stdin(cli, folder):
    assert cli("split", "-", folder).code == 2


def test_unknown_dtypes(cli, make, folder):
    text = b'{"w":{"dtype":"I3","shape":[2],"data_offsets":[0,3]}}'
    path = make(len(text).to_bytes(8, "little") + text + b"123")
    assert cli("split", path, folder).code == 1
    assert cli("split", "--unknown-dtypes", path, folder).code == 0
    assert (folder / "model.safetensors").read_bytes()[-3:] == b"123"


def test_build_matches_copy(cli, make, model, folder, tmp_path):
    """A shard is the file that copy makes of its tensors."""
    split_ten(cli, model, folder)
    part = tmp_path / "part.safetensors"
    part.write_bytes(build({name: TENSORS[name] for name in "fed"}, {"format": "pt"}))
    assert cli("copy", part, part).code == 0
    assert part.read_bytes() == (folder / SHARDS[2]).read_bytes()
