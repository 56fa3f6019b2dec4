# SPDX-License-Identifier: Apache-2.0
"""--io and --explain: the strategy changes how bytes are read and nothing else, and what would be done is
told without doing it."""
import os
import tempfile

import pytest

from model_files import build

STRATEGIES = ["auto", "pread", "map", "direct", "uring", "dontcache", "populate"]
# What a strategy may turn into, where the system refuses it.
LADDER = {"pread": {"pread"}, "map": {"map", "pread"}, "populate": {"populate", "map", "pread"},
          "dontcache": {"dontcache", "pread"}, "direct": {"direct", "dontcache", "pread"},
          "uring": {"uring", "direct", "dontcache", "pread"}, "auto": set(STRATEGIES) - {"auto"}}
MEMBERS = {"tensor", "index", "io", "threads", "depth", "unit", "latency", "bytes", "read",
           "resident", "memory", "text"}
# From 16 MiB on the choice is made by what is in the page cache.
SIZE = (20 << 20) + 4


def large():
    content = bytes(range(251)) * (SIZE // 251 + 1)
    return build({"odd": ("U8", [3], b"\1\2\3"), "w": ("F32", [SIZE // 4], content[:SIZE]),
                  "v": ("U8", [1001, 999], content[:1001 * 999])})


@pytest.fixture(scope="module", params=["disk", "memory"])
def model(request, tmp_path_factory):
    """A file on whatever the temporary folder is, and one on tmpfs."""
    if request.param == "memory":
        if not os.access("/dev/shm", os.W_OK):
            pytest.skip("no tmpfs to write to")
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            path = os.path.join(folder, "model")
            with open(path, "wb") as file:
                file.write(large())
            yield path
    else:
        path = tmp_path_factory.mktemp("disk") / "model"
        path.write_bytes(large())
        yield path


def explanations(done):
    assert done.code == 0
    return done.json["files"][0]["explanations"]


@pytest.mark.parametrize("words", [
    ["hash", "-a", "xxh3"], ["hash", "-a", "xxh128", "-t"], ["stats", "-q", "0.5"],
    ["show", "-v", "w[-5:]", "v[::200, ::250]", "odd"], ["show", "w", "v", "--raw"],
    ["copy", "-"], ["copy", "-", "-x", "odd"]])
def test_strategies_give_the_same(cli, model, words):
    verb, *rest = words
    results = [cli(verb, model, *rest, "--io", io) for io in STRATEGIES]
    assert [(done.code, done.err) for done in results] == [(0, "")] * len(results)
    assert results[0].raw and len({done.raw for done in results}) == 1


def test_strategies_verify(cli, model, tmp_path):
    manifest = os.path.join(os.path.dirname(model), "m.json")
    assert cli("hash", "-a", "xxh3", "-m", manifest, model).code == 0
    for io in STRATEGIES:
        assert cli("hash", "-c", manifest, "--io", io).out == f"{model}: OK\n"


@pytest.mark.parametrize("io", STRATEGIES)
def test_what_it_comes_to(cli, model, io):
    found, = explanations(cli("hash", "--io", io, "--explain", "--json", model))
    assert found.keys() == MEMBERS
    assert found["io"] in LADDER[io]
    assert found["tensor"] is found["index"] is None
    assert found["bytes"] == found["read"] == SIZE + 1001 * 999 + 3
    assert found["threads"] >= 1 and found["depth"] >= 1 and found["unit"] >= 4096
    assert found["latency"] in ("memory", "local", "network", "unknown")
    assert found["resident"] is None or 0 <= found["resident"] <= found["read"]
    assert found["memory"] is None or (1 << 20) < found["memory"] < 1 << 50
    assert found["text"].startswith(found["io"] + ": ")
    plain = cli("hash", "--io", io, "--explain", model)
    assert (plain.code, plain.err) == (0, "")
    line, = plain.lines
    assert line.startswith(f"{model}: {found['io']}: ")


@pytest.mark.parametrize("io", ["pread", "map"])
def test_names_are_the_strategies(cli, model, io):
    """These two are refused nowhere."""
    assert explanations(cli("hash", "--io", io, "--explain", "--json", model))[0]["io"] == io


def test_tensors_and_parts(cli, model):
    found = explanations(cli("show", "--explain", "--json", model, "w", "v[2:4, 7]", "odd"))
    assert [(each["tensor"], each["index"], each["bytes"]) for each in found] == [
        ("w", None, SIZE), ("v", "2:4, 7", 2), ("odd", None, 3)]
    plain = cli("show", "--explain", model, "w", "v[2:4, 7]", "odd")
    assert [line.split(": ")[:2] for line in plain.lines] == [
        [str(model), 'tensor "w"'], [str(model), 'tensor "v"[2:4, 7]'], [str(model), 'tensor "odd"']]
    assert cli("stats", "--explain", model, "w", "v[2:4, 7]", "odd").out == plain.out
    sliced = cli("show", "--explain", "-s", "2:4, 7", model, "v")
    assert sliced.out == plain.lines[1] + "\n"


@pytest.mark.parametrize("words", [["stats"], ["copy", "out"]])
def test_filters(cli, model, words, tmp_path):
    verb, *rest = words
    found = explanations(cli(verb, "--explain", "--json", model, *rest, cwd=tmp_path))
    assert [each["tensor"] for each in found] == [None]
    found = explanations(cli(verb, "--explain", "--json", "-x", "w", model, *rest, cwd=tmp_path))
    assert [each["tensor"] for each in found] == ["odd", "v"]


def test_nothing_else_is_done(cli, model, small, tmp_path, terminal):
    """No result is printed, and nothing is written."""
    manifest = tmp_path / "m.json"
    for words in (["hash", "-m", manifest], ["hash", "-m", manifest, "-t", "-d"], ["stats", "-H"],
                  ["stats", "--check"]):
        done = cli(*words, "--explain", small)
        assert (done.code, len(done.lines), done.err) == (0, 1, "")
        assert done.out.startswith(f"{small}: ")
    done = cli("copy", "--explain", small, tmp_path / "out")
    assert (done.code, len(done.lines)) == (0, 1)
    assert cli("copy", "--explain", small, "-").out == done.out
    assert terminal("copy", "--explain", small, "-", columns=500).code == 0
    assert len(cli("show", "--explain", "--raw", small, "a").lines) == 1
    assert sorted(os.listdir(tmp_path)) == [small.name]


def test_tensors_are_not_read(traced, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(large())
    for words in (["hash"], ["stats"], ["show", "w"]):
        verb, *rest = words
        done, calls = traced(["-P", path, "-e", "trace=/read|mmap|io_uring"], verb, "--explain",
                             path, *rest)
        assert done.code == 0
        sizes = [int(call.rsplit(" = ", 1)[1].split()[0], 0) for call in calls
                 if "read" in call and " = " in call]
        assert sum(sizes) < 65536
        assert not any("MAP_PRIVATE" in call or "io_uring" in call for call in calls)


def test_manifests(cli, small):
    manifest = small.parent / "m.json"
    assert cli("hash", "-a", "xxh3", "-m", manifest, small).code == 0
    small.write_bytes(small.read_bytes().replace(b"pt", b"qt"))
    assert cli("hash", "-c", manifest).code == 1
    for words in ([], [small]):
        done = cli("hash", "-c", manifest, "--explain", *words)
        assert (done.code, len(done.lines)) == (0, 1)
        assert done.out.startswith(f"{small}: ")
        found = cli("hash", "--json", "-c", manifest, "--explain", *words).json["files"][0]
        assert found.keys() == {"file", "name", "explanations"}
    small.unlink()
    done = cli("hash", "--json", "-c", manifest, "--explain")
    assert done.code == 3
    assert done.json["files"][0]["error"]["status"] == "ST_ERR_IO"


@pytest.mark.parametrize("words", [["hash", "FILE"], ["stats", "FILE"], ["show", "FILE", "a"],
                                   ["copy", "FILE", "out"], ["diff", "FILE", "FILE"]])
def test_files_that_are_bad(cli, make, words, tmp_path):
    bad = make(b"short", name="bad")
    for path, code, status in ((bad, 1, "ST_ERR_HEADER_TOO_SMALL"),
                               (tmp_path / "absent", 3, "ST_ERR_IO")):
        line = [path if word == "FILE" else word for word in words]
        done = cli(*line, "--explain")
        assert (done.code, done.out) == (code, "")
        done = cli(*line, "--explain", "--json")
        assert done.code == code
        assert done.json["files"][0]["error"]["status"] == status


def test_tensors_that_are_not_there(cli, small):
    for verb in ("show", "stats"):
        done = cli(verb, "--explain", small, "a", "b.wieght", "a[9]")
        assert done.code == 2
        assert len(done.lines) == 1 and 'tensor "a": ' in done.out
        assert 'no tensor "b.wieght"; did you mean "b.weight"?' in done.err
        found = cli(verb, "--explain", "--json", small, "a", "b.wieght", "a[9]")
        assert found.code == 2
        assert [each["tensor"] for each in found.json["files"][0]["explanations"]] == ["a"]


def test_several_files_and_standard_input(cli, small):
    done = cli("hash", "--explain", small, "-", stdin=small.read_bytes())
    assert done.code == 0
    assert [line.split(": ")[0] for line in done.lines] == [str(small), "-"]


def test_names_are_escaped(cli, make):
    path = make({"\x1b[31m": ("U8", [1], b"\1")})
    done = cli("show", "--explain", path, "\x1b[31m")
    assert done.code == 0 and "\x1b" not in done.out
    assert 'tensor "\\u001b[31m": ' in done.out


@pytest.mark.parametrize("verb", ["ls", "check", "meta get"])
def test_verbs_that_read_no_tensor(cli, small, verb):
    for option in (["--io", "map"], ["--explain"]):
        done = cli(*verb.split(), *option, small)
        assert (done.code, done.out) == (2, "")
        assert f"unknown option {option[0]}" in done.err
