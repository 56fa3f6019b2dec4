# SPDX-License-Identifier: Apache-2.0
"""merge, and cat."""
import json

import pytest

from model_files import build, floats, header_of, order_of, tensors_of
from test_copy import TENSORS

METADATA = {"format": "pt", "z": "1"}


@pytest.fixture
def model(make):
    return make(TENSORS, METADATA, name="in.safetensors")


@pytest.fixture
def shards(cli, model, tmp_path):
    assert cli("split", "--count", "3", model, tmp_path / "shards").code == 0
    return tmp_path / "shards"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.safetensors"


@pytest.mark.parametrize("of", ["", "model.safetensors.index.json"])
def test_round_trip(cli, model, shards, target, tmp_path, of):
    """Split and merged it is what copy makes of it."""
    done = cli("merge", shards / of, "-o", target)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert cli("copy", model, tmp_path / "copy").code == 0
    assert target.read_bytes() == (tmp_path / "copy").read_bytes()


def test_layout(cli, shards, target):
    assert cli("merge", shards, "-o", target, "--order", "name", "--align", "512", "--reserve", "1KiB").code == 0
    header, size, _ = header_of(target)
    assert order_of(target) == sorted(TENSORS)
    assert (size + 8) % 512 == 0 and size - len(json.dumps(header, separators=(",", ":"))) >= 1024
    assert cli("merge", shards, "-o", target, "--order", "file").code == 0
    names = [name for shard in sorted(shards.glob("*.safetensors")) for name in order_of(shard)]
    assert order_of(target) == names


def test_out_behind_in(cli, shards, target, tmp_path):
    """As with copy and split."""
    assert cli("merge", shards, "-o", tmp_path / "named").code == 0
    done = cli("merge", shards, target)
    assert (done.code, done.err) == (0, "")
    assert target.read_bytes() == (tmp_path / "named").read_bytes()
    assert cli("merge", shards, "-").raw == target.read_bytes()
    done = cli("merge", shards, tmp_path / "one", "-o", tmp_path / "two")
    assert done.code == 2 and "OUT is given twice" in done.err
    assert not (tmp_path / "one").exists() and not (tmp_path / "two").exists()
    assert cli("merge", shards, target, tmp_path / "three").code == 2


def test_pipe(cli, shards, target):
    done = cli("merge", shards, "-o", "-")
    assert done.code == 0
    assert cli("merge", shards, "-o", target).code == 0
    assert done.raw == target.read_bytes()
    assert cli("merge", shards, "-o", "-", "--json").code == 2


def test_dry_run(cli, terminal, shards, target):
    done = cli("merge", shards, "-o", target, "--dry-run")
    assert done.code == 0 and not target.exists()
    assert cli("merge", shards, "-o", target).code == 0
    size = target.stat().st_size
    assert done.out == f"{target}\t{size}\t5\n"
    assert terminal("merge", shards, "-o", target, "--dry-run", columns=200).out.startswith(f"{target}: would be 5 tensors, ")
    shown = terminal("merge", shards, "-o", target, columns=200)
    assert shown.lines[-1].startswith(f"{target}: 5 tensors, ") and "/s" in shown.lines[-1]


def test_json(cli, shards, target):
    document = cli("merge", shards, "-o", target, "--json").json["files"][0]
    assert document.pop("seconds") >= 0
    assert document == {"file": str(shards), "output": str(target), "tensors": 5, "size": target.stat().st_size}
    assert "seconds" not in cli("merge", shards, "-o", target, "--json", "--dry-run").json["files"][0]


def test_no_clobber(cli, shards, target):
    target.write_text("mine")
    for words in ([], ["-n"]):
        assert cli("merge", shards, "-o", target, "--no-clobber", *words).code == 3
    assert target.read_text() == "mine"


def test_onto_itself(cli, shards, tmp_path):
    """The file may take the place of one of its shards."""
    shard = sorted(shards.glob("*.safetensors"))[0]
    assert cli("merge", shards, "-o", shard).code == 0
    assert tensors_of(shard) == TENSORS


def test_lacking(cli, shards, target):
    index = shards / "model.safetensors.index.json"
    text = json.loads(index.read_text())
    text["weight_map"]["more"] = text["weight_map"]["empty"]
    index.write_text(json.dumps(text))
    done = cli("merge", shards, "-o", target, "--json")
    assert done.code == 1 and not target.exists()
    error = done.json["files"][0]["error"]
    assert error["status"] == "ST_ERR_SHARD_TENSOR"
    assert index.read_text()[error["offset"]:].startswith('"more"')


@pytest.mark.parametrize("arguments", [["x"], ["x", "-o"], ["x", "y", "-o", "z"], ["-", "-o", "z"],
                                       ["x", "-o", "z", "-A", "12"], ["x", "-o", "z", "-O", "size"]])
def test_usage(cli, arguments):
    assert cli("merge", *arguments).code == 2


# ------------------------------------------------------------------------------------------ cat


@pytest.fixture
def one(make):
    return make({"w": ("F32", [1], floats(1)), "a": ("U8", [2], b"12")}, {"format": "pt", "who": "one"},
                name="one.safetensors")


@pytest.fixture
def two(make):
    return make({"w": ("F32", [1], floats(2)), "b": ("U8", [2], b"34")}, {"format": "pt", "also": "two"},
                name="two.safetensors")


def test_cat(cli, model, one, target):
    assert cli("cat", one, model, "-o", target).code == 0
    assert tensors_of(target) == {**TENSORS, **tensors_of(one)}
    assert header_of(target)[0]["__metadata__"] == {"format": "pt", "who": "one", "z": "1"}


def test_cat_clash(cli, one, two, target):
    done = cli("cat", one, two, "-o", target)
    assert done.code == 1 and not target.exists()
    assert done.err == (f'safetensors: {two}: tensor "w": stands in {one} too; '
                        "--prefix or --prefix-stem makes two names of it\n")
    assert cli("cat", one, two, "-o", target, "--json").json["files"][0]["error"]["status"] == "ST_ERR_NAME_DUPLICATE"
    # Prefixes may make names alike, too.
    done = cli("cat", one, two, "-p", "b", "-p", "", "-o", target)
    assert done.code == 0
    assert cli("cat", "-p", "", "-p", "", one, two, "-o", target).code == 1


@pytest.mark.parametrize("options, first, second", [
    (["--prefix", "x.", "--prefix", "y/"], "x.", "y/"), (["--prefix-stem"], "one.", "two."), (["-p", "", "-p", "q"], "", "q")])
def test_cat_prefix(cli, one, two, target, options, first, second):
    assert cli("cat", *options, one, two, "-o", target).code == 0
    assert tensors_of(target) == {**{first + k: v for k, v in tensors_of(one).items()},
                                  **{second + k: v for k, v in tensors_of(two).items()}}


def test_cat_stems(cli, one, shards, target):
    """Of a folder, an index, and a file without an ending."""
    bare = one.rename(one.parent / "bare")
    assert cli("cat", "-P", bare, str(shards) + "/", shards / "model.safetensors.index.json", "-o", target).code == 0
    assert {name.split(".")[0] for name in tensors_of(target)} == {"bare", "shards", "model"}


def test_cat_order(cli, one, two, target):
    assert cli("cat", "-P", two, one, "--order", "file", "-o", target).code == 0
    assert order_of(target) == ["two.w", "two.b", "one.w", "one.a"]


def test_cat_same_file(cli, one, target):
    assert cli("cat", "-p", "1.", "-p", "2.", one, one, "-o", target).code == 0
    assert set(tensors_of(target)) == {"1.w", "1.a", "2.w", "2.a"}


def test_cat_metadata(cli, make, target):
    paths = [make({str(i): ("U8", [1], b"x")}, {"k": "v" if i else "w", "s": "s"}, name=f"{i}.safetensors")
             for i in range(2)]
    done = cli("cat", *paths, "-o", target)
    assert done.code == 1 and not target.exists()
    assert done.err == (f'safetensors: {paths[1]}: the metadata have another "k" than those of {paths[0]}; '
                        "--metadata first takes the first\n")
    assert cli("cat", *paths, "-o", target, "--metadata", "first").code == 0
    assert header_of(target)[0]["__metadata__"] == {"k": "w", "s": "s"}
    assert cli("cat", *paths, "-o", target, "--metadata", "none").code == 0
    assert "__metadata__" not in header_of(target)[0]


def test_cat_json(cli, one, shards, target):
    document = cli("cat", "--prefix-stem", one, shards, "-o", target, "--json").json["files"][0]
    assert document.pop("seconds") >= 0
    assert document == {"file": str(target), "tensors": 7, "size": target.stat().st_size,
                        "inputs": [{"file": str(one), "prefix": "one.", "tensors": 2},
                                   {"file": str(shards), "prefix": "shards.", "tensors": 5}]}


def test_merge_takes_no_files(cli, one, two, shards):
    """`merge A B`, or `merge model-*.safetensors` of two shards, would write the first over the second."""
    shard = sorted(shards.glob("*.safetensors"))[0]
    for first, second in ((one, two), (shard, one)):
        before = second.read_bytes()
        done = cli("merge", first, second)
        assert done.code == 2 and "is a file: cat puts files together" in done.err
        assert second.read_bytes() == before


def test_cat_unreadable(cli, one, tmp_path, target):
    done = cli("cat", one, tmp_path / "none", "-o", target)
    assert done.code == 3 and not target.exists()
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(build({"q": ("U8", [4], b"1234")})[:-1])
    assert cli("cat", one, broken, "-o", target).code == 1


@pytest.mark.parametrize("options", [["--prefix", "a"], ["-p", "a", "-p", "b", "-p", "c"], ["-P", "-p", "a", "-p", "b"],
                                     ["--metadata", "last"]])
def test_cat_usage(cli, one, two, target, options):
    assert cli("cat", one, two, "-o", target, *options).code == 2
    assert cli("cat", one, two).code == 2
