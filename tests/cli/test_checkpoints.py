# SPDX-License-Identifier: Apache-2.0
"""Folders and indices where a file may stand: the tensors of all shards as those of one file."""

import json
import resource
import struct

import pytest

from model_files import build, floats, frame
from shard_files import INDEX, METADATA, SHARDS, TENSORS, either, folder, index_of, rewrite, single  # noqa: F401
from view_sessions import KEYS, browse, ended, ready  # noqa: F401

FAST = ("-a", "xxh3")  # SHA-256 is not in every build
LINES = ["F32\t[2]\t8\t176\ta.w", "F32\t[1]\t4\t184\ta.b", "F16\t[4]\t8\t104\tc"]
SHARD_OF = ["m-1.safetensors", "m-1.safetensors", "m-2.safetensors"]
GOOD = "good, 0 errors, 0 warnings, 0 notes; "


def test_ls(cli, either):
    done = cli("ls", either)
    assert (done.code, done.err) == (0, "")
    assert done.lines == [f"{line}\t{shard}" for line, shard in zip(LINES, SHARD_OF)]
    assert cli("ls", "-T", either).lines == ["F32\t2\t3\t12", "F16\t1\t4\t8", "total\t3\t7\t20"]


def test_ls_document(cli, folder, single):
    [shown] = cli("ls", "--json", folder).json["files"]
    [one] = cli("ls", "--json", single).json["files"]
    sizes = [(folder / name).stat().st_size for name in SHARDS]
    assert shown["index"] == str(folder / INDEX)
    assert shown["shards"] == [
        {"shard": "m-1.safetensors", "size": sizes[0], "tensors": 2},
        {"shard": "m-2.safetensors", "size": sizes[1], "tensors": 1},
    ]
    assert shown["size"] == sum(sizes)
    assert shown["header_size"] == sum(sizes) - 20 - 16
    assert [tensor.pop("shard") for tensor in shown["tensors"]] == SHARD_OF
    for tensor in shown["tensors"] + one["tensors"]:
        del tensor["offset"]
    assert shown["tensors"] == one["tensors"]
    assert shown["totals"] == one["totals"]
    assert not {"index", "shards"} & set(one)


def test_ls_document_without_an_index(cli, folder):
    (folder / INDEX).unlink()
    assert cli("ls", "--json", folder).json["files"][0]["index"] is None


def test_ls_on_a_terminal(terminal, folder):
    plain = {"NO_COLOR": "1"}
    tree = terminal("ls", folder, columns=200, env=plain)
    assert tree.lines[0] == f"{folder / INDEX} (2 files)"
    assert tree.lines[-1].split() == ["total", "3", "tensors,", "7", "elements,", "20", "B"]
    flat = terminal("ls", "-l", folder, columns=200, env=plain)
    assert flat.lines[0] == f"{folder / INDEX} (2 files):"
    assert flat.lines[1:4] == [
        "F32  [2]  8 B  176  a.w  m-1.safetensors",
        "F32  [1]  4 B  184  a.b  m-1.safetensors",
        "F16  [4]  8 B  104  c    m-2.safetensors",
    ]


def test_filters(cli, folder):
    assert cli("ls", "-d", "f16", folder).lines == [f"{LINES[2]}\tm-2.safetensors"]
    assert [line.split("\t")[4] for line in cli("ls", "-s", "name", folder).lines] == ["a.b", "a.w", "c"]


def test_unknown_dtypes_differ_by_name(cli, folder):
    """Each file numbers them for itself."""
    for at, (name, code) in enumerate(zip(SHARDS, ("Q2", "Q9"))):
        text = json.dumps({f"t{at}": {"dtype": code, "shape": [2], "data_offsets": [0, 3]}})
        (folder / name).write_bytes(frame(text, b"abc"))
    (folder / INDEX).unlink()
    assert [line.split("\t")[0] for line in cli("ls", "--unknown-dtypes", folder).lines] == ["Q2", "Q9"]


def test_show(cli, either):
    done = cli("show", either, "c", "a.w[1]")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("c\n  shard     m-2.safetensors\n  dtype     F16\n")
    assert done.out.endswith("of shape [], 1 elements, 4 bytes\n2\n")
    assert cli("show", "--raw", either, "a.b").raw == floats(3)
    tensor = cli("show", "--json", either, "a.b").json["files"][0]["tensors"][0]
    assert (tensor["shard"], tensor["offset"], tensor["values"]) == ("m-1.safetensors", 184, [3])


def test_show_knows_the_names_of_all(cli, folder):
    done = cli("show", folder, "a.v")
    assert done.code == 2
    assert 'no tensor "a.v"; did you mean "a.w", "a.b"' in done.err


def test_stats(cli, either, single):
    assert cli("stats", either).raw == cli("stats", single).raw
    assert cli("stats", "-g", "c", either).raw == cli("stats", "-g", "c", single).raw
    assert cli("stats", "--json", either).json["files"][0]["tensors"][2]["shard"] == "m-2.safetensors"


def test_stats_names_the_shard_that_fails(cli, folder):
    path = folder / "m-2.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    done = cli("stats", folder)
    assert (done.code, done.out) == (1, "")
    assert str(path) in done.err


def test_hash(cli, either, folder):
    lines = cli("hash", *FAST, *(folder / name for name in SHARDS)).lines
    assert len(lines) == len(SHARDS)
    assert cli("hash", *FAST, either).lines == lines
    assert [one["file"] for one in cli("hash", *FAST, "--json", either).json["files"]] == [
        str(folder / name) for name in SHARDS
    ]


def test_hash_manifest_and_record(cli, either, folder, tmp_path):
    manifest = tmp_path / "manifest.json"
    assert cli("hash", *FAST, "-m", manifest, either).code == 0
    names = [one["name"] for one in cli("hash", "--json", "-c", manifest).json["files"]]
    assert names == [f"model/{name}" for name in SHARDS]
    assert cli("hash", "--record", *FAST, either).code == 0
    assert cli("hash", "--verify-metadata", either).lines == [f"{folder / name}: OK" for name in SHARDS]


def test_diff(cli, either, single, folder):
    assert cli("diff", either, single).code == 0
    (folder / "m-2.safetensors").write_bytes(build({"c": ("F16", [4], struct.pack("<4e", 0, 0, 7, 0))}, METADATA))
    done = cli("diff", either, single)
    assert done.code == 1
    [line] = done.lines
    assert line.split("\t")[:3] == ["~", "values", "c"]


def test_report(cli, either, tmp_path):
    page = tmp_path / "page.html"
    assert cli("report", "-o", page, either).code == 0
    text = page.read_text()
    assert "<summary>2 shards</summary>" in text
    assert all(name in text for name in TENSORS)


def test_report_takes_the_place_of_no_shard(cli, folder):
    for path in (folder / INDEX, folder / "m-2.safetensors"):
        before = path.read_bytes()
        done = cli("report", folder, "-o", path)
        assert done.code == 2
        assert "would take the place" in done.err
        assert path.read_bytes() == before


def test_view(browse, either, folder):
    terminal = browse(either)
    shown = terminal.wait([KEYS, "3 tensors, 20 B"])
    title = folder / INDEX if (folder / INDEX).exists() else folder
    assert str(title)[-20:] in shown.splitlines()[0]
    terminal.type("G", "s")
    terminal.wait("zeros")
    terminal.type("G")
    terminal.wait(["shard", "m-2.safetensors"])
    terminal.type("q", "m")
    assert terminal.wait("format: pt").count("format: pt") == 1
    terminal.type("i")
    terminal.wait(["m-1.safetensors", "m-2.safetensors"])
    terminal.type("Q")
    ended(terminal)


def test_view_of_the_whole(browse, folder):
    """Metadata of the index, then what a shard says otherwise; no tensor that the index does not name."""
    tensors = {**SHARDS["m-2.safetensors"], "stray": ("U8", [1], None)}
    (folder / "m-2.safetensors").write_bytes(build(tensors, {**METADATA, "own": "two"}))
    rewrite(folder, note="of all")
    terminal = browse(folder)
    assert "stray" not in terminal.wait([KEYS, "3 tensors, 20 B"])
    terminal.type("m")
    shown = terminal.wait("own: two")
    assert [line.strip() for line in shown.splitlines()[1:6]] == [
        "format: pt",
        "note: of all",
        "m-2.safetensors",
        "own: two",
        "",
    ]
    terminal.type("Q")
    ended(terminal)


def test_grep(cli, folder):
    for path in (folder, folder / INDEX):
        assert cli("grep", "^a", path).lines == [
            f"{folder}/m-1.safetensors:tensor:a.w",
            f"{folder}/m-1.safetensors:tensor:a.b",
        ]


def test_metadata_of_all(cli, folder):
    rewrite(folder, author="me")
    assert cli("meta", "get", folder).lines == ["format\tpt", "author\tme"]
    assert json.loads(cli("meta", "export", folder / INDEX).out) == {"format": "pt", "author": "me"}


def test_metadata_takes_the_place_of_no_index(cli, folder):
    before = (folder / INDEX).read_bytes()
    assert cli("meta", "export", folder, "-o", folder / INDEX).code == 2
    assert (folder / INDEX).read_bytes() == before


@pytest.mark.parametrize("verb", [["stats"], ["diff", "."], ["report"], ["view"]])
def test_explain(cli, folder, verb):
    done = cli(*verb, "--explain", "--json", INDEX, cwd=folder)
    said = done.json["files"][-1]["explanations"]
    assert done.code == 0
    assert [(one["shard"], one["tensor"]) for one in said] == [(name, None) for name in SHARDS]


# ------------------------------------------------------------------------------------------- check


def findings(done):
    return [(one["rule"], one["severity"], one["offset"]) for one in done.json["files"][-1]["findings"]]


def test_check(cli, folder):
    held = dict(zip(SHARDS, ("2 tensors in 188 bytes", "1 tensor in 112 bytes")))
    files = [f"{folder / name}: {GOOD}{held[name]}" for name in SHARDS]
    for path in (folder, folder / INDEX):
        done = cli("check", path)
        assert (done.code, done.err) == (0, "")
        assert done.lines == [*files, f"{folder / INDEX}: {GOOD}3 tensors in 2 files"]
    (folder / INDEX).unlink()
    assert cli("check", folder).lines == [*files, f"{folder}: {GOOD}3 tensors in 2 files"]


def test_check_goes_on_after_a_shard(cli, folder):
    """Each is judged, where the other verbs end at the first."""
    (folder / "m-1.safetensors").write_bytes(b"short")
    done = cli("check", "--json", folder)
    assert done.code == 1
    assert [one["good"] for one in done.json["files"]] == [False, True, True]


def test_check_of_the_map(cli, folder):
    rewrite(folder, weight_map={"a.w": "m-1.safetensors", "c": "m-1.safetensors", "d": "m-3.safetensors"})
    text = (folder / INDEX).read_text()
    done = cli("check", "--json", folder)
    assert done.code == 1
    assert findings(done) == [
        ("index-tensor-missing", "error", text.index('"c"')),
        ("index-tensor-unlisted", "warning", None),
        ("index-shard-missing", "error", text.index('"d"')),
    ]
    text = cli("check", folder)
    assert (
        f'{folder / INDEX}: warning: tensor "a.b": is in "m-1.safetensors", and the index does not say so '
        "[index-tensor-unlisted]" in text.lines
    )


def test_check_of_the_sum(cli, folder):
    rewrite(folder, total_size=21)
    done = cli("check", "--json", folder)
    assert done.code == 0
    assert findings(done) == [("index-total-size", "warning", (folder / INDEX).read_text().index("21"))]
    assert cli("check", "-S", "-q", folder).code == 1


@pytest.mark.parametrize("total", [20, 20.0])
def test_check_of_a_sum_that_is_right(cli, folder, total):
    rewrite(folder, total_size=total)
    assert findings(cli("check", "--json", folder)) == []


@pytest.mark.parametrize("total", ["20", -20, 20.5, None])
def test_check_of_what_is_no_sum(cli, folder, total):
    rewrite(folder, total_size=total)
    done = cli("check", "--json", folder)
    assert (done.code, [found[:2] for found in findings(done)]) == (0, [("index-total-size", "warning")])


def test_check_goes_on_in_an_index(cli, folder):
    """Behind each deviation, and tells of which tensor it is."""
    text = (
        '{"metadata": {"k": "1", "k": "2"}, "weight_map": {"a.w": 1, "a.b": "m-1.safetensors", "x": "../x", '
        '"c": "m-1.safetensors", "c": "m-2.safetensors", "y": "m-3.safetensors"}}'
    )
    (folder / INDEX).write_text(text)
    done = cli("check", "--json", folder)
    assert done.code == 1
    assert findings(done) == [
        ("index-json", "error", text.index("1, ")),
        ("index-shard-name", "error", text.index('"../x"')),
        ("index-duplicate", "error", text.rindex('"c"')),
        ("index-metadata-duplicate", "error", text.rindex('"k"')),
        ("index-tensor-unlisted", "warning", None),
        ("index-shard-missing", "error", text.index('"y"')),
    ]
    assert [one["tensor"] for one in done.json["files"][-1]["findings"]] == [None, "x", "c", None, "a.w", None]
    assert cli("check", "--json", "-m2", folder).json["files"][-1]["omitted"] == 4


def test_check_names_what_cannot_be_read(cli, folder):
    (folder / "m-1.safetensors").unlink()
    (folder / "m-1.safetensors").mkdir()
    done = cli("check", "--json", folder)
    assert done.code == 3
    assert [one.get("error", {}).get("status") for one in done.json["files"]] == ["ST_ERR_NOT_REGULAR", None, None]


@pytest.mark.parametrize(
    "text, rule, offset",
    [
        ("{", "index-json", 1),
        ('{"weight_map": 1}', "index-json", 15),
        ('{"weight_map": {"a": "../a.safetensors"}}', "index-shard-name", 21),
    ],
)
def test_check_of_what_is_no_index(cli, folder, text, rule, offset):
    (folder / INDEX).write_text(text)
    done = cli("check", "--json", folder)
    assert done.code == 1
    assert len(done.json["files"]) == 1
    assert findings(done) == [(rule, "error", offset)]
    assert cli("ls", folder).code != 0


def test_check_of_a_name_twice(cli, folder):
    (folder / INDEX).write_text('{"weight_map": {"c": "m-2.safetensors", "c": "m-2.safetensors"}}')
    assert findings(cli("check", "--json", folder)) == [("index-duplicate", "error", 40)]
    (folder / INDEX).unlink()
    (folder / "m-3.safetensors").write_bytes(build({"c": ("U8", [1], None)}))
    done = cli("check", "--json", folder)
    assert (done.code, findings(done)) == (1, [("index-duplicate", "error", None)])


def test_check_of_a_map_alone(cli, folder):
    (folder / INDEX).write_text(json.dumps(index_of()["weight_map"]))
    done = cli("check", "--json", folder)
    assert (done.code, findings(done)) == (0, [])
    assert done.json["files"][-1]["tensors"] == 3


def test_check_of_a_download_that_broke_off(cli, tmp_path, make):
    """Each file is whole, and the model is not."""
    for number in (1, 3):
        make({f"w{number}": ("U8", [1], b"x")}, name=f"model-0000{number}-of-00003.safetensors")
    done = cli("check", tmp_path)
    told = 'of 3 files numbered as "model-00001-of-00003.safetensors" only 2 are there, and no index tells of the others'
    assert done.code == 0 and f"{tmp_path}: warning: {told} [index-number-missing]" in done.lines
    assert cli("check", "--strict", tmp_path).code == 1
    make({"w2": ("U8", [1], b"x")}, name="model-00002-of-00003.safetensors")
    assert cli("check", "--strict", tmp_path).code == 0


def test_rules(cli):
    rules = [rule["rule"] for rule in cli("check", "--rules", "--json").json["rules"]]
    assert [rule for rule in rules if rule.startswith("index-")] == [
        "index-json",
        "index-duplicate",
        "index-metadata-duplicate",
        "index-shard-name",
        "index-shard-missing",
        "index-tensor-missing",
        "index-several",
        "index-overflow",
        "index-tensor-unlisted",
        "index-total-size",
        "index-number-missing",
    ]
    assert cli("check", "--rules").lines[-1].split("\t")[:2] == ["index-number-missing", "warning"]


# ------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("verb", ["ls", "stats", "hash", "check", "report", "meta get"])
def test_a_folder_without_any(cli, tmp_path, verb):
    done = cli(*verb.split(), tmp_path)
    assert done.code == 2
    assert "holds no .safetensors file" in done.err


@pytest.mark.parametrize("verb", ["ls", "stats", "hash", "report", "meta get"])
def test_a_shard_that_is_not_there(cli, folder, verb):
    (folder / "m-2.safetensors").unlink()
    done = cli(*verb.split(), folder)
    assert (done.code, done.out) == (3, "")
    assert "m-2.safetensors" in done.err and INDEX in done.err


def test_several_indices(cli, folder):
    (folder / "model.safetensors.index.fp16.json").write_text(json.dumps(index_of()))
    done = cli("ls", folder)
    assert done.code == 2
    assert "model.safetensors.index.fp16.json" in done.err


def test_check_of_several_indices(cli, folder):
    """Each, behind the files that it names."""
    other = folder / "model.safetensors.index.fp16.json"
    other.write_text(json.dumps(index_of({"c": "m-2.safetensors"}, total_size=9)))
    done = cli("check", "--json", folder)
    assert done.code == 1
    first, *others = done.json["files"]
    assert [one["rule"] for one in first["findings"]] == ["index-several"]
    assert (first["file"], first["good"], first["shards"]) == (str(folder), False, 0)
    assert [one["file"] for one in others] == [
        str(folder / name) for name in ("m-2.safetensors", other.name, *SHARDS, INDEX)
    ]
    assert [[found["rule"] for found in one["findings"]] for one in others] == [[], ["index-total-size"], [], [], []]


def test_more_shards_than_descriptors(cli, tmp_path):
    for i in range(400):
        (tmp_path / f"{i:03}.safetensors").write_bytes(build({f"t{i}": ("U8", [1], bytes([i % 256]))}))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        done = cli("stats", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (done.code, done.err, len(done.lines)) == (0, "", 400)
