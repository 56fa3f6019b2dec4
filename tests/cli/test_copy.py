# SPDX-License-Identifier: Apache-2.0
import os
import re
import struct

import pytest

from model_files import build, floats, frame, header_of, order_of, tensors_of

# Neither in canonical order nor in that of the names.
TENSORS = {"z.bias": ("F16", [2], struct.pack("<2e", 1, 2)),
           "a.weight": ("U8", [3], b"\1\2\3"),
           "m.weight": ("F32", [2, 2], floats(1, 2, 3, 4)),
           "b.weight": ("F16", [1], struct.pack("<e", 3)),
           "empty": ("I64", [0, 4], b"")}
CANONICAL = ["empty", "m.weight", "b.weight", "z.bias", "a.weight"]


@pytest.fixture
def model(make):
    return make(TENSORS, {"z": "1", "format": "pt"})


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.safetensors"


def test_canonical(cli, model, target):
    done = cli("copy", model, target)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert tensors_of(target) == TENSORS
    assert order_of(target) == CANONICAL
    assert header_of(target)[0]["__metadata__"] == {"format": "pt", "z": "1"}
    assert cli("check", "--strict", target).code == 0
    before, after = (cli("hash", "-a", "xxh3", "-t", path).lines for path in (model, target))
    assert before != after and sorted(before) == sorted(after)


@pytest.mark.parametrize("durability, syncs", [
    ("none", 0), ("file", 1), ("name", 2), (None, 2)])
def test_durability(traced, model, target, durability, syncs):
    """The file is synced, and then the folder that has its name."""
    options = ["--durability", durability] if durability else []
    done, calls = traced(["-e", "trace=/^f(data)?sync"], "copy", *options, model, target)
    assert done.code == 0
    assert len([call for call in calls if "sync(" in call]) == syncs
    assert tensors_of(target) == TENSORS


@pytest.mark.parametrize("cache", ["auto", "keep", "drop"])
@pytest.mark.parametrize("durability", ["none", "file"])
def test_cache(cli, make, target, cache, durability):
    """What stays in the page cache changes nothing in the file."""
    content = bytes(range(251)) * 20000
    path = make({"w": ("U8", [len(content)], content), "v": ("U8", [5], b"12345")})
    assert cli("copy", path, target).code == 0
    before = target.read_bytes()
    target.unlink()
    done = cli("copy", "--cache", cache, "-D", durability, path, target)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert target.read_bytes() == before
    assert cli("copy", "-C", cache, path, "-").raw == before


def test_cache_keeps_or_drops(cli, make, target):
    path = make({"w": ("U8", [8 << 20], None)})

    def resident(cache):
        assert cli("copy", "--cache", cache, "-D", "file", path, target).code == 0
        done = cli("hash", "--explain", "--json", target)
        found = done.json["files"][0]["explanations"][0]
        if found["latency"] != "local" or found["resident"] is None:
            pytest.skip("nothing is known of the page cache here")
        return found["resident"]

    assert resident("keep") > 7 << 20
    assert resident("drop") < 1 << 20


def test_canonical_file_stays_the_same(cli, model, target, tmp_path):
    assert cli("copy", model, target).code == 0
    again = tmp_path / "again"
    for words in ([], ["--order", "file"], ["--order", "canonical", "--durability", "none"],
                  ["-D", "file"]):
        assert cli("copy", *words, target, again).code == 0
        assert again.read_bytes() == target.read_bytes()


@pytest.mark.parametrize("order, names", [
    ("file", ["empty", *[name for name in TENSORS if name != "empty"]]),
    ("name", sorted(TENSORS)), ("canonical", CANONICAL)])
def test_order(cli, model, target, order, names):
    assert cli("copy", "--order", order, model, target).code == 0
    assert tensors_of(target) == TENSORS
    offsets = [name for name in order_of(target) if name != "empty"]
    assert offsets == [name for name in names if name != "empty"]


@pytest.mark.parametrize("align", [8, 64, 512, 4096])
def test_align(cli, model, target, align):
    assert cli("copy", "--align", str(align), model, target).code == 0
    assert (header_of(target)[1] + 8) % align == 0
    assert tensors_of(target) == TENSORS


@pytest.mark.parametrize("text, size", [
    ("0", 0), ("100", 100), ("1000B", 1000), ("2K", 2048), ("2k", 2048), ("2KiB", 2048),
    ("2kb", 2000), ("1M", 1 << 20), ("1MiB", 1 << 20), ("1MB", 10**6)])
def test_reserve(cli, model, target, text, size):
    assert cli("copy", model, target).code == 0
    plain = header_of(target)[1]
    assert cli("copy", "--reserve", text, model, target).code == 0
    assert size <= header_of(target)[1] - plain + 7 <= size + 14
    assert tensors_of(target) == TENSORS
    assert cli("check", target).code == 0


@pytest.mark.parametrize("words, names", [
    (["-g", "*.weight"], {"a.weight", "b.weight", "m.weight"}),
    (["-g", "*.weight", "-x", "a*"], {"b.weight", "m.weight"}),
    (["-x", "*.*"], {"empty"}), (["-d", "F16"], {"z.bias", "b.weight"}),
    (["-r", "^[ab]"], {"a.weight", "b.weight"})])
def test_filters(cli, model, target, words, names):
    assert cli("copy", *words, model, target).code == 0
    assert tensors_of(target) == {name: TENSORS[name] for name in names}
    assert header_of(target)[0]["__metadata__"] == {"format": "pt", "z": "1"}


def test_nothing_passes(cli, model, target):
    done = cli("copy", "-g", "nothing", model, target)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"safetensors: {model}: no tensor passes the filters\n"
    assert not target.exists()


@pytest.mark.parametrize("metadata", [None, {}, {"k": "v\0\n", "": ""}])
def test_metadata(cli, make, target, metadata):
    path = make({"t": ("U8", [1], b"\1")}, metadata)
    assert cli("copy", path, target).code == 0
    assert header_of(target)[0].get("__metadata__") == metadata
    assert cli("copy", "--no-metadata", path, target).code == 0
    assert "__metadata__" not in header_of(target)[0]


def test_no_tensors(cli, make, target):
    assert cli("copy", make({}), target).code == 0
    assert tensors_of(target) == {}


def test_onto_itself(cli, model):
    os.chmod(model, 0o640)
    linked = model.parent / "linked"
    os.link(model, linked)
    before = model.read_bytes()
    done = cli("copy", model, model)
    assert (done.code, done.err) == (0, "")
    assert order_of(model) == CANONICAL and tensors_of(model) == TENSORS
    assert model.stat().st_mode & 0o777 == 0o640
    assert linked.read_bytes() == before
    assert sorted(os.listdir(model.parent)) == ["linked", model.name]


def test_no_clobber(cli, model, target):
    assert cli("copy", "--no-clobber", model, target).code == 0
    before = target.read_bytes()
    done = cli("copy", "--no-clobber", "-g", "a*", model, target)
    assert (done.code, done.out) == (3, "")
    assert str(target) in done.err and "File exists" in done.err
    assert target.read_bytes() == before


def test_dry_run(cli, terminal, model, target):
    done = cli("copy", "-n", "-d", "F16", model, target)
    shown = terminal("copy", "--dry-run", "-d", "F16", model, target, env={"NO_COLOR": "1"})
    dry = cli("copy", "-n", "--json", "-d", "F16", model, target).json["files"][0]
    assert not target.exists()
    ran = cli("copy", "--json", "-d", "F16", model, target).json["files"][0]
    assert ran.pop("seconds") >= 0
    assert dry == ran and ran["size"] == target.stat().st_size
    assert (done.code, done.out, done.err) == (0, f"{target}\t{ran['size']}\t2\n", "")
    assert shown.out == f"{target}: would be 2 tensors, {ran['size']} B\n"
    before = target.read_bytes()
    assert cli("copy", "-n", model, target).code == 0
    done = cli("copy", "-n", "--no-clobber", model, target)
    assert (done.code, done.out) == (3, "") and "File exists" in done.err
    assert target.read_bytes() == before
    assert cli("copy", "-n", model, "-").out == f"-\t{len(cli('copy', model, '-').raw)}\t5\n"


def test_pipes(cli, model, target):
    assert cli("copy", model, target).code == 0
    done = cli("copy", model, "-")
    assert (done.code, done.raw, done.err) == (0, target.read_bytes(), "")
    assert cli("copy", "-", "-", stdin=model.read_bytes()).raw == target.read_bytes()
    done = cli("copy", "-", target, "-x", "a*", stdin=model.read_bytes())
    assert done.code == 0 and "a.weight" not in tensors_of(target)


def test_terminals_are_spared(terminal, model):
    done = terminal("copy", model, "-")
    assert done.code == 2
    assert "a terminal does not take a file's bytes" in done.err
    assert done.out == ""


def test_summary(cli, terminal, model, target):
    done = terminal("copy", model, target)
    assert done.code == 0
    assert re.fullmatch(rf"{target}: 5 tensors, [\d.]+ B in [\d.]+ s, [\d.]+ [KMG]?i?B/s\n",
                        done.out)
    found = cli("copy", "--json", "-g", "a*", model, target).json["files"][0]
    assert found.pop("seconds") >= 0
    assert found == {"file": str(model), "output": str(target), "tensors": 1,
                     "size": target.stat().st_size}


def test_unknown_dtypes(cli, make, target):
    path = make(frame('{"q":{"dtype":"Q7","shape":[3],"data_offsets":[0,2]},'
                      '"p":{"dtype":"P1","shape":[],"data_offsets":[2,5]},'
                      '"r":{"dtype":"Q7","shape":[1,1],"data_offsets":[5,6]},'
                      '"u":{"dtype":"U8","shape":[1],"data_offsets":[6,7]}}', b"\1\2\3\4\5\6\7"))
    assert cli("copy", path, target).code == 1
    assert not target.exists()
    assert cli("copy", "--unknown-dtypes", path, target).code == 0
    assert tensors_of(target) == {"q": ("Q7", [3], b"\1\2"), "p": ("P1", [], b"\3\4\5"),
                                  "r": ("Q7", [1, 1], b"\6"), "u": ("U8", [1], b"\7")}


def test_sub_byte_tensors(cli, make, target):
    tensors = {"f4": ("F4", [2, 3], b"\x12\x34\x56"), "f6": ("F6_E2M3", [4], b"\1\2\3"),
               "c": ("C64", [1], floats(1, 2)), "b": ("BOOL", [1], b"\1")}
    assert cli("copy", make(tensors), target).code == 0
    assert tensors_of(target) == tensors


def test_hostile_names(cli, make, target):
    tensors = {name: ("U8", [1], bytes([i])) for i, name in enumerate(
        ["", "a\0b", "\x1b[31m", "\u202e", "x" * 5000, '"\\', "é"])}
    assert cli("copy", make(tensors), target).code == 0
    assert tensors_of(target) == tensors


def test_duplicates_of_upstream(cli, make, target):
    path = make(frame('{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                      '"t":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"\1"))
    assert cli("copy", path, target).code == 1
    assert cli("copy", "--upstream", path, target).code == 0
    assert tensors_of(target) == {"t": ("I8", [1], b"\1")}
    assert cli("check", target).code == 0


def test_bad_file_leaves_the_target(cli, make, model, target):
    target.write_bytes(b"precious")
    bad = make(model.read_bytes()[:-1], name="bad")
    for words, code in (([bad, target], 1), ([bad.parent / "absent", target], 3),
                        ([model, target.parent], 3),
                        ([model, target.parent / "absent" / "x"], 3)):
        done = cli("copy", *words)
        assert (done.code, done.out) == (code, "")
        assert done.err.startswith("safetensors: ")
    done = cli("copy", "--json", bad, target)
    assert done.json["files"][0]["error"]["status"] == "ST_ERR_FILE_TRUNCATED"
    assert target.read_bytes() == b"precious"
    assert sorted(os.listdir(target.parent)) == sorted(["bad", model.name, target.name])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_full_device(cli, model):
    done = cli("copy", model, "/dev/full")
    assert done.code == 3
    assert "/dev/full: " in done.err and "No space left on device" in done.err
    with open("/dev/full", "wb") as full:
        done = cli("copy", model, "-", stdout=full)
    assert done.code == 3
    assert "standard output: " in done.err and "No space left on device" in done.err


def test_many_tensors(cli, make, target):
    tensors = {f"layer.{i}.w": ("U8", [3], i.to_bytes(3, "little")) for i in range(20000)}
    assert cli("copy", make(tensors), target).code == 0
    assert tensors_of(target) == tensors


def test_large_file(cli, make, target):
    """More than any block, and odd in size."""
    content = bytes(range(251)) * 60000
    path = make({"w": ("U8", [len(content)], content), "v": ("U8", [5], b"12345"),
                 "a": ("U8", [len(content)], content)})
    assert cli("copy", path, target).code == 0
    assert tensors_of(target) == tensors_of(path)
    assert cli("copy", path, "-").raw == target.read_bytes()


@pytest.mark.parametrize("words, message", [
    (["f"], "OUT is missing"),
    (["f", "g", "h"], 'one argument too many: "h"'),
    (["--align", "7", "f", "g"], "--align takes a power of 2 from 8 to 4096, not 7"),
    (["--align", "24", "f", "g"], "--align takes a power of 2"),
    (["--align", "8K", "f", "g"], "--align takes a power of 2 from 8 to 4096, not 8192"),
    (["--reserve", "x", "f", "g"], '--reserve takes a number of bytes, as 4096, 16K or 2MiB, '
                                   'not "x"'),
    (["--reserve", "-1", "f", "g"], "--reserve takes a number"),
    (["--reserve", "1X", "f", "g"], "--reserve takes a number"),
    (["--reserve", "1Ki", "f", "g"], "--reserve takes a number"),
    (["--reserve", "1KiBs", "f", "g"], "--reserve takes a number"),
    (["--reserve", "", "f", "g"], "--reserve takes a number"),
    (["--reserve", "99999999T", "f", "g"], "--reserve takes a number"),
    (["--order", "size", "f", "g"], '--order is one of canonical, file, name, not "size"'),
    (["-D", "maybe", "f", "g"], '--durability is one of none, file, name, not "maybe"'),
    (["--cache", "kep", "f", "g"], '--cache is one of auto, keep, drop, not "kep"; did you mean '
                                   '"keep"?'),
    (["--json", "f", "-"], "--json would stand in the middle of the file: name an OUT")])
def test_wrong_usage(cli, words, message):
    done = cli("copy", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("safetensors: " + message)


def test_reserve_beyond_the_limit(cli, model, target):
    done = cli("copy", "--reserve", "1G", model, target)
    assert (done.code, done.out) == (1, "")
    assert str(target) in done.err or "header" in done.err
    assert not target.exists()


def test_names_in_messages(cli, tmp_path):
    path = tmp_path / "a\x1b[31m"
    path.write_bytes(build({"t": ("U8", [1], b"\1")}))
    done = cli("copy", path, str(path) + "/x")
    assert done.code == 3 and "\x1b" not in done.err
