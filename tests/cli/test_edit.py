# SPDX-License-Identifier: Apache-2.0
import json
import os
import re
import struct

import pytest

from model_files import build, floats, frame, header_of, tensors_of

TENSORS = {
    "layers.0.weight": ("F32", [2, 2], floats(1, 2, 3, 4)),
    "layers.1.weight": ("F32", [2], floats(5, 6)),
    "layers.10.bias": ("F16", [2], struct.pack("<2e", 1, 2)),
    "steps": ("I64", [2], struct.pack("<2q", 10, 20)),
    "empty": ("F32", [0, 4], b""),
}


@pytest.fixture
def model(make):
    return make(TENSORS, {"format": "pt"})


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.safetensors"


def names_of(path):
    return [name for name in header_of(path)[0] if name != "__metadata__"]


def renamed(names):
    return {names.get(name, name): tensor for name, tensor in TENSORS.items()}


@pytest.mark.parametrize(
    "words, names",
    [
        (["-r", "steps=n"], {"steps": "n"}),
        (["--rename", "layers.*.weight=blk.*.w"], {"layers.0.weight": "blk.0.w", "layers.1.weight": "blk.1.w"}),
        (
            ["--rename", "*.*.*=*/*/*"],
            {
                "layers.0.weight": "layers/0/weight",
                "layers.1.weight": "layers/1/weight",
                "layers.10.bias": "layers/10/bias",
            },
        ),
        (["-r", "layers.[1-9]?.*=l.*"], {"layers.10.bias": "l.bias"}),
        (["-r", "s*=a*\\=b"], {"steps": "ateps=b"}),
        (
            ["-e", "^layers\\.([0-9]+)=\\1"],
            {"layers.0.weight": "0.weight", "layers.1.weight": "1.weight", "layers.10.bias": "10.bias"},
        ),
        (
            ["--rename-regex", "\\.=_"],
            {
                "layers.0.weight": "layers_0_weight",
                "layers.1.weight": "layers_1_weight",
                "layers.10.bias": "layers_10_bias",
            },
        ),
        (["-e", "p=<\\0\\=\\\\>"], {"steps": "ste<p=\\>s", "empty": "em<p=\\>ty"}),
        # In turn, patterns and expressions mixed.
        (["-r", "steps=a", "-e", "^a$=bb", "-r", "b*=c*c", "-e", "c$="], {"steps": "cb"}),
        (["-r", "steps=t", "-r", "empty=steps", "-r", "t=empty"], {"steps": "empty", "empty": "steps"}),
    ],
)
def test_rename(cli, model, target, words, names):
    done = cli("edit", model, "-o", target, *words)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert tensors_of(target) == renamed(names)
    assert header_of(target)[0]["__metadata__"] == {"format": "pt"}
    assert cli("check", "--strict", target).code == 0


@pytest.mark.parametrize(
    "words, names",
    [
        (["-x", "layers.*"], ["steps", "empty"]),
        (["--drop", "steps", "-x", "*.bias"], ["layers.0.weight", "layers.1.weight", "empty"]),
        (["-k", "layers.*"], ["layers.0.weight", "layers.1.weight", "layers.10.bias"]),
        (["--keep", "steps", "-k", "*.?.*"], ["layers.0.weight", "layers.1.weight", "steps"]),
        (["-k", "layers.*", "-x", "*.1.*"], ["layers.0.weight", "layers.10.bias"]),
        (["-x", "*"], []),
    ],
)
def test_drop_and_keep(cli, model, target, words, names):
    assert cli("edit", model, "-o", target, *words).code == 0
    assert tensors_of(target) == {name: TENSORS[name] for name in names}


@pytest.mark.parametrize(
    "words, changed",
    [
        (
            ["-c", "bf16"],
            {
                "layers.0.weight": struct.pack("<4H", 0x3F80, 0x4000, 0x4040, 0x4080),
                "layers.1.weight": struct.pack("<2H", 0x40A0, 0x40C0),
                "layers.10.bias": struct.pack("<2H", 0x3F80, 0x4000),
                "empty": b"",
            },
        ),
        (["--cast", "BF16:*.1.*"], {"layers.1.weight": struct.pack("<2H", 0x40A0, 0x40C0)}),
        (["-c", "BF16:*.0.*", "-c", "F8_E4M3:s*", "-c", "BF16:e*"], None),
        (
            ["-c", "BF16:*e*", "-c", "F32:e*"],
            {
                "layers.0.weight": struct.pack("<4H", 0x3F80, 0x4000, 0x4040, 0x4080),
                "layers.1.weight": struct.pack("<2H", 0x40A0, 0x40C0),
                "layers.10.bias": struct.pack("<2H", 0x3F80, 0x4000),
            },
        ),
    ],
)
def test_cast(cli, model, target, words, changed):
    done = cli("edit", model, "-o", target, *words)
    if changed is None:
        assert done.code == 2
        assert done.err == f'safetensors: {model}: --cast "F8_E4M3:s*": no tensor of floats matches\n'
        assert not target.exists()
        return
    assert (done.code, done.err) == (0, "")
    found = tensors_of(target)
    for name, tensor in TENSORS.items():
        assert found[name] == (("BF16", tensor[1], changed[name]) if name in changed else tensor)


LOSSY = {
    "a": ("F32", [4], floats(1, 1e6, -1e30, 1e-30)),
    "b": ("F32", [2], floats(1, 2)),
    "c": ("F32", [3], floats(1e-20, float("inf"), float("nan"))),
    "i": ("I8", [1], b"\1"),
}


def test_losses(cli, make, target):
    """What a cast lost is told of each tensor that lost something, and is no fault unless --strict says so."""
    path = make(LOSSY)
    before = path.read_bytes()
    told = (
        f'safetensors: {path}: tensor "a": of 4 numbers 2 are beyond the range of F16 (infinity there), and 1 became 0\n'
        f'safetensors: {path}: tensor "c": of 3 numbers 1 became 0\n'
    )
    done = cli("edit", path, "-o", target, "-c", "F16", "-r", "a=z")
    assert (done.code, done.out, done.err) == (0, "", told)
    assert tensors_of(target)["z"][2] == struct.pack("<4H", 0x3C00, 0x7C00, 0xFC00, 0)
    target.unlink()
    done = cli("edit", path, "--strict", "-o", target, "-c", "F16", "-r", "a=z")
    assert (done.code, done.out) == (1, "")
    assert done.err == told + f"safetensors: {path}: nothing was written, as --strict asks\n"
    assert not target.exists() and path.read_bytes() == before
    found = cli("edit", path, "--json", "--strict", "-c", "F16")
    assert found.code == 1 and path.read_bytes() == before
    document = found.json["files"][0]
    assert (document["refused"], document["written"]) == (True, False)
    assert document["casts"] == [
        {"name": "a", "new_dtype": "F16", "elements": 4, "overflowed": 2, "underflowed": 1},
        {"name": "b", "new_dtype": "F16", "elements": 2, "overflowed": 0, "underflowed": 0},
        {"name": "c", "new_dtype": "F16", "elements": 3, "overflowed": 0, "underflowed": 1},
    ]
    done = cli("edit", path, "--strict", "-c", "F16:[bc]")  # what became 0 is no overflow
    assert done.code == 0 and tensors_of(path)["b"][0] == "F16"


@pytest.mark.parametrize(
    "dtype, becomes", [("BF16", "infinity"), ("F8_E5M2", "infinity"), ("F8_E4M3", "NaN"), ("F6_E2M3", "the largest number")]
)
def test_what_a_lost_number_becomes(cli, make, target, dtype, becomes):
    path = make({"w": ("F32", [4], floats(3.4e38, 1, 2, 3))})
    done = cli("edit", path, "-o", target, "-c", dtype)
    assert done.err == f'safetensors: {path}: tensor "w": of 4 numbers 1 is beyond the range of {dtype} ({becomes} there)\n'
    shown = {"infinity": "inf", "NaN": "nan", "the largest number": "7.5"}
    assert cli("show", target, "w", "--values").lines[0] == shown[becomes]


def test_sources_of_other_names(cli, make, model, target, tmp_path):
    """A file of a hub cache's store has no ending, and a colon may be in any name."""
    other = make({"x:y": ("U8", [3], b"xyz")}, name="0:1")
    done = cli("edit", model, "-o", target, "-a", f"new={other}:x:y", "-p", f"steps={other}:x:y")
    assert (done.code, done.err) == (0, "")
    assert tensors_of(target)["new"] == tensors_of(target)["steps"] == ("U8", [3], b"xyz")
    done = cli("edit", model, "-o", target, "-a", f"new={tmp_path}/none:x")
    assert done.code == 3 and f"{tmp_path}/none:x: cannot be opened" in done.err


def test_replace(cli, make, model, target, tmp_path):
    (tmp_path / "new=.bin").write_bytes(b"0123456789abcdef")
    (tmp_path / "none").write_bytes(b"")
    other = make({"x": ("U8", [3], b"xyz"), "q:": ("F4", [4], b"\1\2")}, name="other.safetensors")
    done = cli(
        "edit",
        model,
        "-o",
        target,
        "-p",
        f"layers.0.weight={tmp_path}/new\\=.bin",
        "--replace",
        f"steps={other}:x",
        "-p",
        f"layers.1.weight={other}:q:",
        "-p",
        f"empty={tmp_path}/none",
    )
    assert (done.code, done.err) == (0, "")
    assert names_of(target) == list(names_of(model))
    assert tensors_of(target) == {
        **TENSORS,
        "layers.0.weight": ("F32", [2, 2], b"0123456789abcdef"),
        "steps": ("U8", [3], b"xyz"),
        "layers.1.weight": ("F4", [4], b"\1\2"),
    }


def test_add(cli, make, model, target):
    other = make({"x": ("U8", [3], b"xyz"), "y": ("U8", [1], b"!")}, name="other.safetensors")
    done = cli("edit", model, "-o", target, "-a", f"new={other}:x", "--add", f"y={other}", "-x", "s*", "-r", "*=m.*")
    assert (done.code, done.err) == (0, "")
    assert list(tensors_of(target)) == ["m." + name for name in names_of(model) if name != "steps"] + ["new", "y"]
    assert tensors_of(target)["new"] == ("U8", [3], b"xyz")
    assert tensors_of(target)["y"] == ("U8", [1], b"!")
    # Out of itself: what was dropped comes back under another name.
    assert cli("edit", model, "-o", target, "-x", "steps", "-a", f"t={model}:steps").code == 0
    assert tensors_of(target)["t"] == TENSORS["steps"]


@pytest.mark.parametrize(
    "order, names",
    [
        ("file", ["layers.0.weight", "layers.1.weight", "layers.10.bias", "steps", "empty"]),
        ("canonical", ["steps", "empty", "layers.0.weight", "layers.1.weight", "layers.10.bias"]),
        ("name", sorted(TENSORS)),
    ],
)
def test_layout(cli, model, target, order, names):
    done = cli("edit", model, "-o", target, "--order", order, "--align", "512", "--reserve", "2K")
    assert done.code == 0
    header, size, _ = header_of(target)
    assert names_of(target) == names
    assert (size + 8) % 512 == 0 and size > 2048 + len(json.dumps(header, separators=(",", ":")))
    assert tensors_of(target) == TENSORS


def test_onto_itself(cli, model):
    os.chmod(model, 0o640)
    linked = model.parent / "linked"
    os.link(model, linked)
    before = model.read_bytes()
    done = cli("edit", model, "-r", "steps=n")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert tensors_of(model) == renamed({"steps": "n"})
    assert model.stat().st_mode & 0o777 == 0o640
    assert linked.read_bytes() == before
    assert sorted(os.listdir(model.parent)) == ["linked", model.name]


@pytest.mark.parametrize("verb, change", [("edit", "-x steps"), ("meta set", "k v"), ("meta rm", "format")])
def test_no_clobber(cli, model, target, verb, change):
    words = [*verb.split(), model, *change.split(), "--no-clobber", "-o", target]
    assert cli(*words).code == 0
    before = target.read_bytes()
    for more in ([], ["--dry-run"]):
        done = cli(*words, *more)
        assert done.code == 3 and str(target) in done.err and "File exists" in done.err
    assert target.read_bytes() == before
    done = cli(*words[:-2])
    assert done.code == 2 and "--no-clobber spares an OUT" in done.err


def test_pipes(cli, model, target):
    assert cli("edit", model, "-o", target, "-x", "steps").code == 0
    done = cli("edit", "-", "-o", "-", "-x", "steps", stdin=model.read_bytes())
    assert (done.code, done.raw, done.err) == (0, target.read_bytes(), "")
    done = cli("edit", "-", "-x", "steps", stdin=model.read_bytes())
    assert (done.code, done.out) == (2, "")
    done = cli("edit", "-", "-x", "steps", "-n", stdin=model.read_bytes())
    assert done.code == 0 and done.lines[0] == "dropped\tsteps\t-\tI64\t-"


def test_dry_run(cli, make, model, tmp_path):
    other = make({"x": ("U8", [3], b"xyz")}, name="other.safetensors")
    before = model.read_bytes()
    words = [
        "edit",
        model,
        "--dry-run",
        "-x",
        "empty",
        "-c",
        "BF16:*.0.*",
        "-r",
        "*.weight=*.w",
        "-p",
        f"steps={other}:x",
        "-a",
        f"new={other}:x",
    ]
    done = cli(*words)
    assert (done.code, done.err) == (0, "")
    assert done.lines[:-1] == [
        "dropped\tempty\t-\tF32\t-",
        "renamed,cast\tlayers.0.weight\tlayers.0.w\tF32\tBF16",
        "renamed\tlayers.1.weight\tlayers.1.w\tF32\tF32",
        "replaced\tsteps\tsteps\tI64\tU8",
        "added\t-\tnew\t-\tU8",
        "5 tensors: 2 renamed, 1 dropped, 1 cast, 1 replaced, 1 added; 15 B stay as they are",
    ]
    assert done.lines[-1].startswith(f"{model}: would be written anew, ")
    found = cli(*words, "--json").json["files"][0]
    assert found["changes"][1] == {
        "name": "layers.0.weight",
        "new_name": "layers.0.w",
        "dtype": "F32",
        "new_dtype": "BF16",
        "cast": True,
        "replaced": False,
    }
    assert [change["name"] for change in found["changes"]] == [
        "empty",
        "layers.0.weight",
        "layers.1.weight",
        "steps",
        None,
    ]
    assert found["changes"][0]["new_name"] is None
    assert (found["tensors"], found["moved"], found["written"], found["casts"]) == (5, 15, False, [])
    assert model.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == sorted([model.name, other.name])


def test_json(cli, model, target):
    found = cli("edit", model, "-o", target, "-r", "steps=n", "--json").json["files"][0]
    assert found.pop("seconds") >= 0
    for name in ("header_text", "header_room"):
        assert found.pop(name) > 0
    assert found == {
        "file": str(model),
        "output": str(target),
        "changed": True,
        "written": True,
        "in_place": False,
        "in_place_possible": True,
        "size": target.stat().st_size,
        "refused": False,
        "casts": [],
        "changes": [
            {"name": "steps", "new_name": "n", "dtype": "I64", "new_dtype": "I64", "cast": False, "replaced": False}
        ],
        "tensors": 5,
        "renamed": 1,
        "dropped": 0,
        "cast": 0,
        "replaced": 0,
        "added": 0,
        "moved": 44,
    }


def test_terminal(terminal, model, target):
    done = terminal("edit", model, "-o", target, "-r", "steps=n")
    assert done.code == 0
    assert re.fullmatch(
        r"5 tensors: 1 renamed, 0 dropped, 0 cast, 0 replaced, 0 added; 44 B stay as they are\n"
        rf"{target}: [\d.]+ B in [\d.]+ s, [\d.]+ [KMG]?i?B/s\n",
        done.out,
    )
    assert terminal("edit", model, "-o", "-", "-r", "steps=n").code == 2


def test_in_place(cli, make, model, tmp_path):
    assert cli("edit", model, "--reserve", "1K").code == 0
    inode = model.stat().st_ino
    size = model.stat().st_size
    (tmp_path / "raw").write_bytes(bytes(range(16)))
    done = cli("edit", "--in-place", model, "-r", "layers.*=some.longer.name.*", "-p", f"steps={tmp_path}/raw")
    assert (done.code, done.err) == (0, "")
    assert (model.stat().st_ino, model.stat().st_size) == (inode, size)
    assert tensors_of(model) == {
        **{name.replace("layers.", "some.longer.name."): tensor for name, tensor in TENSORS.items()},
        "steps": ("I64", [2], bytes(range(16))),
    }
    assert sorted(os.listdir(tmp_path)) == [model.name, "raw"]
    before = model.read_bytes()
    for words in (["-c", "BF16"], ["-x", "steps"], ["-r", "*=" + "x" * 900 + "*"]):
        done = cli("edit", "-i", model, *words)
        assert (done.code, done.out) == (2, "")
        assert str(model) in done.err
        assert model.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == [model.name, "raw"]


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["-x", "layers.0.weigth"],
            '{}: --drop "layers.0.weigth": no tensor matches; did you mean "layers.0.weight", ' '"layers.1.weight"?',
        ),
        (["-k", "nothing*"], '{}: --keep "nothing*": no tensor matches'),
        (["-k", "steps", "-x", "step"], '{}: --drop "step": no tensor matches; did you mean "steps"?'),
        (["-r", "stops=x"], '{}: --rename "stops": no tensor matches; did you mean "steps"?'),
        (["-r", "steps=x", "-r", "steps=y"], '{}: --rename "steps": no tensor matches; did you mean "steps"?'),
        (["-e", "^x=y"], '{}: --rename-regex "^x": no tensor matches'),
        (["-r", "steps"], '--rename takes OLD=NEW, not "steps"'),
        (["-e", "a"], '--rename-regex takes RE=REPLACEMENT, not "a"'),
        (["-e", "(a=b"], '--rename-regex "(a=b": the expression "(a": '),
        (["-e", "a=\\1"], '--rename-regex "a=\\\\1": the replacement "\\\\1": it refers to a group'),
        (["-r", "s*=*b*"], '--rename "s*=*b*": the replacement "*b*": it has more * than the pattern'),
        (["-r", "steps=__metadata__"], '--rename "steps=__metadata__": {}: tensor "__metadata__": no tensor may'),
        (["-c", "F33"], '--cast "F33": no such dtype of floats; did you mean "F32", "F16", "F64"?'),
        (["-c", "float16"], '--cast "float16": no such dtype of floats; known are F16, BF16, F32, F64, F8_'),
        (["-c", "I32"], '--cast "I32": no such dtype of floats'),
        (["-c", "F64:x*"], '{}: --cast "x*": no tensor matches'),
        (["-p", "steps"], '--replace takes NAME=FILE.safetensors:TENSOR or NAME=FILE, not "steps"'),
        (["-a", "steps"], '--add takes NAME=FILE.safetensors[:TENSOR], not "steps"'),
        (["-p", "step={}:steps"], '{}: no tensor "step"; did you mean "steps"?'),
        (["-p", "steps={}:step"], '{}: no tensor "step"; did you mean "steps"?'),
        (["-p", "steps={}"], "{}: has "),
        (["-a", "new={}"], '{}: no tensor "new"'),
        (["-x", "steps", "-p", "steps={}:steps"], '{}: tensor "steps": it was dropped'),
    ],
)
def test_refused(cli, model, target, words, message):
    before = model.read_bytes()
    done = cli("edit", model, "-o", target, *[word.replace("{}", str(model)) for word in words])
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("safetensors: " + message.replace("{}", str(model)))
    assert done.err.count("\n") == 1
    assert not target.exists() and model.read_bytes() == before


def test_hints(cli, model):
    done = cli("edit", model, "-p", f"steps={model}")
    assert done.code == 2 and done.err.endswith(' has 16; one of its tensors is NAME=FILE:TENSOR\n')
    done = cli("edit", "-n", model, "-r", "steps=empty")
    text = 'tensor "empty": two tensors have this name, now "steps" and "empty"; rename or drop one of them'
    assert (done.code, done.err) == (1, f"safetensors: {model}: {text}\n")
    done = cli("edit", "-n", model, "-a", f"empty={model}:steps", "-x", "steps")
    text = 'tensor "empty": two tensors have this name, now "empty" and "steps"'
    assert done.code == 1 and text in done.err
    done = cli("edit", "-n", "-O", "name", model, "-r", "*=x")
    assert done.code == 1 and 'tensor "x": two tensors have this name, now "' in done.err


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "FILE is missing"),
        (["f"], "nothing is to be changed: "),
        (["f", "g", "-x", "a"], 'one argument too many: "g"'),
        (["f", "--align", "7"], "--align takes a power of 2 from 8 to 4096, not 7"),
        (["f", "--order", "size"], '--order is one of file, canonical, name, not "size"'),
        (["f", "-x", "a", "-i", "-o", "g"], "--in-place changes FILE itself"),
        (["f", "-x", "a", "-o", "-", "--json"], "--json would stand in the middle of the file"),
        (["-", "-x", "a"], "standard input cannot be changed"),
    ],
)
def test_wrong_usage(cli, words, message):
    done = cli("edit", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("safetensors: " + message)


def test_bad_files(cli, make, model, target):
    target.write_bytes(b"precious")
    bad = make(model.read_bytes()[:-1], name="bad.safetensors")
    for words, code in (
        ([bad, "-x", "s*"], 1),
        ([bad.parent / "absent", "-x", "s*"], 3),
        ([model, "-a", f"w={bad}"], 1),
        ([model, "-a", f"w={bad}.absent"], 3),
        ([model, "-p", f"steps={bad}.absent"], 3),
        ([model, "-p", f"steps={bad.parent}"], 3),
        ([model, "-r", "steps=empty"], 1),
    ):
        done = cli("edit", *words, "-o", target)
        assert (done.code, done.out) == (code, ""), words
        assert done.err.startswith("safetensors: ")
    done = cli("edit", "--json", bad, "-x", "s*", "-o", target)
    assert done.json["files"][0]["error"]["status"] == "ST_ERR_FILE_TRUNCATED"
    assert target.read_bytes() == b"precious"
    assert sorted(os.listdir(target.parent)) == sorted([bad.name, model.name, target.name])


def test_misaligned_cast(cli, make, target):
    done = cli("edit", make({"w": ("F32", [3], floats(1, 2, 3))}), "-o", target, "-c", "F4")
    assert done.code == 1
    assert 'tensor "w": its 3 elements of 4 bits do not fill whole bytes' in done.err
    assert not target.exists()


def test_unknown_dtypes(cli, make, target):
    path = make(
        frame(
            '{"q":{"dtype":"Q7","shape":[3],"data_offsets":[0,2]},'
            '"w":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}',
            b"\1\2" + floats(1),
        )
    )
    assert cli("edit", path, "-o", target, "-r", "q=p", "-c", "F64").code == 1
    done = cli("edit", "--unknown-dtypes", path, "-o", target, "-r", "q=p", "-c", "F64")
    assert done.code == 0
    assert tensors_of(target) == {"p": ("Q7", [3], b"\1\2"), "w": ("F64", [1], struct.pack("<d", 1))}
    done = cli("edit", "--unknown-dtypes", path, "-n", "-r", "q=p")
    assert done.lines[0] == "renamed\tq\tp\tQ7\tQ7"


def test_hostile_names(cli, make, target):
    tensors = {
        name: ("U8", [1], bytes([i]))
        for i, name in enumerate(["", "a\0b", "\x1b[31m", "\u202e", "x" * 5000, '"\\', "é"])
    }
    path = make(tensors)
    done = cli("edit", path, "-o", target, "-r", "*=p*", "--json")
    assert done.code == 0 and b"\x1b" not in done.raw
    assert tensors_of(target) == {"p" + name: tensor for name, tensor in tensors.items()}
    done = cli("edit", path, "-n", "-e", "^=p", env={"LC_ALL": "C"})
    assert done.code == 0 and "\x1b" not in done.out and len(done.lines) == len(tensors) + 2
    for text in ("\x1b[31m*", "\u202ex"):
        done = cli("edit", path, "-x", text + "nothing")
        assert done.code == 2 and "\x1b" not in done.err and "\u202e" not in done.err


@pytest.mark.parametrize("durability, syncs", [("none", 0), ("file", 1), ("name", 2), (None, 2)])
def test_durability(traced, model, durability, syncs):
    options = ["--durability", durability] if durability else []
    done, calls = traced(["-e", "trace=/^f(data)?sync"], "edit", *options, model, "-x", "steps")
    assert done.code == 0
    assert len([call for call in calls if "sync(" in call]) == syncs


def test_many_tensors(cli, make, target):
    tensors = {f"layer.{i}.w": ("U8", [3], i.to_bytes(3, "little")) for i in range(20000)}
    assert cli("edit", make(tensors), "-o", target, "-r", "layer.*.w=l*", "-x", "*7.w").code == 0
    assert tensors_of(target) == {f"l{i}": tensors[f"layer.{i}.w"] for i in range(20000) if i % 10 != 7}


def test_names_in_messages(cli, tmp_path):
    path = tmp_path / "a\x1b[31m"
    path.write_bytes(build({"t": ("U8", [1], b"\1")}))
    done = cli("edit", path, "-x", "u")
    assert done.code == 2 and "\x1b" not in done.err
