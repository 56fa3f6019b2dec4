# SPDX-License-Identifier: Apache-2.0
"""grep: what is found where, through which files, and the exit codes."""
import json
import os

import pytest

from model_files import build, frame

META = {"format": "pt", "ss_tags": '{"cat": 3, "dog": 5}', "Author": "Zoë Q-Proj"}
TENSORS = {name: ("U8", [1], b"x") for name in
           ("layers.0.q_proj.weight", "layers.0.k_proj.weight", "layers.1.q_proj.weight", "norm.bias")}


@pytest.fixture
def model(make):
    return make(build(TENSORS, META))


@pytest.fixture
def tree(tmp_path, model):
    """Folders: one file in each, something else beside it."""
    for folder, name in (("top", "a"), ("top/inner", "b"), ("top/inner/.hidden", "c")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.safetensors").write_bytes(build({f"{name}.weight": ("U8", [1], None)}))
        (tmp_path / folder / "README").write_text("weight")
    return tmp_path / "top"


def test_names_and_metadata(cli, model):
    done = cli("grep", "q.proj", model)
    assert (done.code, done.err) == (0, "")
    assert done.lines == [f"{model}:tensor:layers.0.q_proj.weight", f"{model}:tensor:layers.1.q_proj.weight"]
    done = cli("grep", "-i", "q.PROJ", model)
    assert done.lines[2:] == [f"{model}:metadata:Author=Zoë Q-Proj"]
    assert cli("grep", "^(cat|norm)", model).lines == [f"{model}:tensor:norm.bias"]


@pytest.mark.parametrize("options, found", [
    (["-n"], ["tensor:norm.bias"]), (["-k"], ["metadata:format=pt"]),
    (["-v"], []), (["-n", "-k"], ["tensor:norm.bias", "metadata:format=pt"]),
    (["--names", "--values"], ["tensor:norm.bias"]), ([], ["tensor:norm.bias", "metadata:format=pt"])])
def test_where_to_search(cli, model, options, found):
    done = cli("grep", *options, "norm|format", model)
    assert done.lines == [f"{model}:{each}" for each in found]
    assert done.code == (0 if found else 1)
    assert cli("grep", "-v", "cat", model).lines == [f"{model}:metadata:ss_tags=" + META["ss_tags"]]


def test_fixed_strings(cli, make):
    hostile = r'a.b*c[0](1){2}^$|\+?'
    model = make(build({hostile: ("U8", [1], b"x"), "axbc0": ("U8", [1], b"x")}))
    done = cli("grep", "-F", hostile, model)
    assert done.lines == [f"{model}:tensor:" + hostile.replace("\\", "\\\\")]
    assert cli("grep", "-F", ".b*", model).lines == done.lines
    assert cli("grep", "-F", "-i", "C[0]", model).lines == done.lines
    assert len(cli("grep", "a.b", model).lines) == 2
    assert len(cli("grep", "-F", "", model).lines) == 2


def test_globs(cli, model):
    """All of a text has to match."""
    assert cli("grep", "-g", "*.q_proj.*", model).lines == [
        f"{model}:tensor:layers.{i}.q_proj.weight" for i in range(2)]
    assert cli("grep", "-g", "q_proj", model).code == 1
    assert cli("grep", "--glob", "-i", "*Q?PROJ", model).lines == [f"{model}:metadata:Author=Zoë Q-Proj"]
    done = cli("grep", "-F", "-g", "x", model)
    assert (done.code, done.out) == (2, "") and "--glob" in done.err
    assert "32 *" in cli("grep", "-g", "*" * 33, model).err


def test_files_only_and_count(cli, model, tree):
    other = tree / "a.safetensors"
    done = cli("grep", "-l", "weight", model, other)
    assert (done.code, done.lines) == (0, [str(model), str(other)])
    assert cli("grep", "-l", "norm", model, other).lines == [str(model)]
    done = cli("grep", "-c", "weight|dog", model, other)
    assert done.lines == [f"{model}:4", f"{other}:1"]
    assert cli("grep", "-c", "norm", model, other).lines == [f"{model}:1", f"{other}:0"]


def test_max_count(cli, model):
    assert len(cli("grep", "-m", "2", ".", model).lines) == 2
    assert cli("grep", "-c", "-m2", ".", model).lines == [f"{model}:2"]
    assert cli("grep", "-m", "0", ".", model).code == 1
    assert len(cli("grep", "-m", "5", ".", model, model).lines) == 10


def test_folders(cli, tree):
    one = [f"{tree}/a.safetensors:tensor:a.weight"]
    below = [f"{tree}/inner/.hidden/c.safetensors:tensor:c.weight", f"{tree}/inner/b.safetensors:tensor:b.weight"]
    assert cli("grep", "weight", tree).lines == one
    assert cli("grep", "-r", "weight", tree).lines == one + below
    # Links to files are followed, as a hub's cache has them; those to folders are not.
    (tree / "linked.safetensors").symlink_to(tree / "inner" / "b.safetensors")
    (tree / "round").symlink_to(tree)
    (tree / "round.safetensors").symlink_to(tree)
    done = cli("grep", "-r", "weight", tree)
    assert (done.code, done.err) == (0, "")
    assert done.lines == one + below + [f"{tree}/linked.safetensors:tensor:b.weight"]
    (tree / "gone.safetensors").symlink_to(tree / "nowhere")
    done = cli("grep", "weight", tree)
    assert done.code == 3 and "gone.safetensors" in done.err and len(done.lines) == 2


def test_an_index(cli, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(build({f"{name}.weight": ("U8", [1], None)}))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {
        f"{name}.weight": f"{name}.safetensors" for name in "ab"}}))
    done = cli("grep", "weight", index)
    assert (done.code, done.err) == (0, "")
    assert done.lines == [f"{tmp_path}/{name}.safetensors:tensor:{name}.weight" for name in "ab"]
    assert cli("grep", "--json", "-c", "^b", index).json["files"] == [
        {"file": f"{tmp_path}/{name}.safetensors", "count": int(name == "b")} for name in "ab"]
    (tmp_path / "b.safetensors").unlink()
    done = cli("grep", "weight", index, tmp_path / "a.safetensors")
    assert done.code == 3 and "b.safetensors" in done.err and len(done.lines) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read(cli, tree):
    (tree / "inner").chmod(0)
    done = cli("grep", "-r", "weight", tree)
    (tree / "inner").chmod(0o700)
    assert done.code == 3 and "inner" in done.err and len(done.lines) == 1


def test_exit_codes(cli, model, make, tmp_path):
    assert cli("grep", "nothing", model).code == 1
    bad = make(frame('{"q_proj":5}'), name="bad")
    for broken in (bad, tmp_path / "absent"):
        done = cli("grep", "q_proj", broken, model)
        assert (done.code, len(done.lines)) == (3, 2) and str(broken) in done.err
        assert cli("grep", "nothing", broken, model).code == 3
    for args in (["(", model], ["x"], [], ["-m", "x", "y", model]):
        done = cli("grep", *args)
        assert done.code == 2 and done.out == ""
    assert "is no pattern: " in cli("grep", "(", model).err


def test_json(cli, model, tmp_path):
    done = cli("grep", "--json", "o", model, tmp_path / "absent")
    assert done.code == 3
    found, absent = done.json["files"]
    assert found["count"] == len(found["matches"]) == 7
    assert {"kind": "tensor", "name": "norm.bias"} in found["matches"]
    assert {"kind": "metadata", "key": "Author", "value": META["Author"], "in_key": True,
            "in_value": True} in found["matches"]
    assert {"kind": "metadata", "key": "ss_tags", "value": META["ss_tags"], "in_key": False,
            "in_value": True} in found["matches"]
    assert absent["error"]["status"] == "ST_ERR_IO" and "count" not in absent
    for option in ("-l", "-c"):
        only = cli("grep", "--json", option, "q_proj", model).json["files"]
        assert only == [{"file": str(model), "count": 1 if option == "-l" else 2}]


def test_text_of_any_kind(cli, make):
    model = make(build({"a\0needle\n": ("U8", [1], b"x"), "\x1b[31m": ("U8", [1], b"x")},
                       {"k\0": "\0\0needle"}))
    done = cli("grep", "needle", model)
    assert done.lines == [f"{model}:tensor:a\\u0000needle\\n", f"{model}:metadata:k\\u0000=\\u0000\\u0000needle"]
    done = cli("grep", "31", model)
    assert "\x1b" not in done.out and "u001b" in done.out


def test_long_values(cli, make):
    """Longer ones than what is searched at once."""
    value = "z" * 100000 + "needle" + "z" * 100000
    model = make(build({}, {"k": value}))
    done = cli("grep", "--json", "ne{2}dle", model)
    assert done.json["files"][0]["matches"][0]["value"] == value
    assert cli("grep", "^needle|needle$", model).code == 1
    assert cli("grep", "-c", "^z|q", model).lines == [f"{model}:1"]


def test_long_values_are_cut_around_the_match_on_a_terminal(terminal, cli, make):
    value = "é" * 300 + "needle" + "z" * 300
    model = make(build({}, {"k": value, "short": "needle"}), name="m")
    done = terminal("grep", "needle", model, env={"NO_COLOR": "1"}, columns=120)
    assert done.code == 0
    line = done.lines[0]
    assert "=…é" in line and "éneedlez" in line and line.endswith("z…") and len(line) <= 120
    assert done.lines[1] == f"{model}:metadata:short=needle"
    assert cli("grep", "needle", model).lines[0] == f"{model}:metadata:k={value}"
    done = terminal("grep", "z$", model, env={"NO_COLOR": "1"}, columns=120)
    assert done.lines[0].endswith("zzz") and "=…" in done.lines[0]
    done = terminal("grep", "^é+", model, env={"NO_COLOR": "1"}, columns=120)
    assert "=éé" in done.lines[0] and done.lines[0].endswith("é…")


def test_the_match_is_in_colour_on_a_terminal(terminal, model):
    done = terminal("grep", "norm", model)
    assert "\x1b[1;31mnorm\x1b[0m.bias" in done.out and done.out.count("\x1b[1;31m") == 1


def test_only_headers_are_read(traced, tmp_path):
    path = tmp_path / "large.safetensors"
    with open(path, "wb") as file:
        file.write(build({"w": ("U8", [1 << 26], b"")})[:8])
        text = b'{"w":{"dtype":"U8","shape":[67108864],"data_offsets":[0,67108864]}}'
        file.seek(0)
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + (1 << 26))
    done, calls = traced(["-e", "trace=pread64,preadv,preadv2,read,mmap"], "grep", "w", path)
    assert done.code == 0
    assert not [call for call in calls if "67108864" in call and "= -1" not in call]


def test_standard_input(cli, model):
    done = cli("grep", "norm", "-", stdin=model.read_bytes())
    assert (done.code, done.lines) == (0, ["-:tensor:norm.bias"])
