# SPDX-License-Identifier: Apache-2.0
"""Digests, manifests, and verifying. A build without libcrypto has no SHA-256: there all but its own
tests run with XXH128."""
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

from model_files import build, floats, frame
from program import binary, environment

TENSORS = {"w": ("F32", [2], floats(1, 2)), "b\n": ("U8", [3], b"\1\2\3"), "e": ("I8", [0], b"")}


@functools.cache
def has_sha256():
    with tempfile.NamedTemporaryFile() as file:
        file.write(build({}))
        file.flush()
        done = subprocess.run([binary(), "hash", file.name], capture_output=True,
                              env=environment(), timeout=60)
    return b"libcrypto" not in done.stderr


def digest_of(data):
    if has_sha256():
        return hashlib.sha256(data).hexdigest()
    import xxhash
    return xxhash.xxh3_128_hexdigest(data)


@pytest.fixture
def cli(cli):
    """Runs the binary, with an algorithm that it has where the test names none."""

    def run(*args, **options):
        named = {"-a", "--algorithm", "-c", "--verify"} & set(map(str, args))
        if args[0] == "hash" and not named and not has_sha256():
            args = ("hash", "-a", "xxh128", *args[1:])
        return original(*args, **options)

    original = cli
    return run


@pytest.fixture
def model(make):
    return make(TENSORS, {"format": "pt"})


def data_of(path):
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little"):]


def test_whole_files(cli, model, small):
    model2 = model.parent / "two.safetensors"
    shutil.copy(model, model2)
    done = cli("hash", model, model2)
    assert (done.code, done.err) == (0, "")
    assert done.lines == [f"{digest_of(path.read_bytes())}  {path}" for path in (model, model2)]


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum")
def test_sha256sum_takes_it(cli, model, tmp_path):
    if not has_sha256():
        pytest.skip("no libcrypto")
    names = ["plain", "b\\c", "\\", "n\nl", "c\rr", "e\x1b[31m", "\u202e", b"\xff"]
    paths = [os.path.join(os.fsencode(tmp_path), os.fsencode(name)) for name in names]
    for path in paths:
        shutil.copy(os.fsencode(model), path)
    sums = tmp_path / "SHA256SUMS"
    sums.write_bytes(cli("hash", *paths).raw)
    done = subprocess.run(["sha256sum", "--status", "--strict", "-c", sums], capture_output=True,
                          timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    written = subprocess.run(["sha256sum", *paths], capture_output=True, timeout=60).stdout
    assert sums.read_bytes() == written


@pytest.mark.skipif(not shutil.which("xxhsum"), reason="no xxhsum")
@pytest.mark.parametrize("name, kind", [("xxh128", "2"), ("xxh3", "3")])
def test_xxhsum_agrees(cli, model, name, kind):
    done = subprocess.run(["xxhsum", "-H" + kind, model], capture_output=True, text=True,
                          timeout=60)
    assert cli("hash", "-a", name, model).out.split()[0] == \
        done.stdout.split()[0].removeprefix("XXH3_")


@pytest.mark.parametrize("name, digits", [("sha256", 64), ("xxh3", 16), ("xxh128", 32)])
def test_algorithms(cli, model, name, digits):
    if name == "sha256" and not has_sha256():
        done = cli("hash", "-a", name, model)
        assert (done.code, done.out) == (3, "") and "libcrypto" in done.err
        return
    digest, path = cli("hash", "--algorithm", name, model).out.split()
    assert (len(digest), path) == (digits, str(model))
    found = cli("hash", "-a", name, "--json", model).json["files"][0]
    assert found == {"file": str(model), "algorithm": name, "digest": digest}


def test_names_of_files_in_a_pipe(cli, model):
    path = model.parent / "a\\b\n\r\t\x1b"
    shutil.copy(model, path)
    whole, data = (digest_of(content) for content in (path.read_bytes(), data_of(path)))
    name = str(model.parent).encode() + b"/a\\\\b\\n\\r\t\x1b"
    assert cli("hash", path).raw == f"\\{whole}  ".encode() + name + b"\n"
    assert cli("hash", "-d", path).raw == f"\\{data}  ".encode() + name + b"\n"


def test_data_and_tensors(cli, make, model):
    data = digest_of(data_of(model))
    assert cli("hash", "--data", model).out == f"{data}  {model}\n"
    tensors = [f"{digest_of(content)}  {name}" for name, content in
               [("w", floats(1, 2)), ("b\\n", b"\1\2\3"), ("e", b"")]]
    assert cli("hash", "-t", model).lines == tensors
    assert cli("hash", "-dt", model).lines == [f"{data}  {model}", *tensors]
    other = make(TENSORS, {"changed": "yes"}, name="other")
    assert cli("hash", "-d", other).out == f"{data}  {other}\n"
    assert cli("hash", "-t", model, other).lines == [f"{model}:", *tensors, f"{other}:", *tensors]


def test_json(cli, model):
    done = cli("hash", "--json", "-d", "-t", model)
    assert done.json == {"files": [{
        "file": str(model), "algorithm": "sha256" if has_sha256() else "xxh128",
        "data_digest": digest_of(data_of(model)),
        "tensors": [{"name": name, "digest": digest_of(content)}
                    for name, (_, _, content) in TENSORS.items()]}]}


def test_failures_do_not_end_it(cli, model, tmp_path, make):
    bad = make(b"short", name="bad")
    done = cli("hash", "--json", tmp_path / "absent", bad, model)
    assert done.code == 3
    files = done.json["files"]
    assert [each.get("error", {}).get("status") for each in files] == [
        "ST_ERR_IO", "ST_ERR_HEADER_TOO_SMALL", None]
    assert "digest" in files[2] and "digest" not in files[0]


def test_standard_input(cli, model):
    assert cli("hash", "-", stdin=model.read_bytes()).out == f"{digest_of(model.read_bytes())}  -\n"


# ------------------------------------------------------------------------------- manifests


@pytest.fixture
def folder(tmp_path):
    """Two files of which one lies deeper, and a manifest of them."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "one.safetensors").write_bytes(build(TENSORS))
    (tmp_path / "deep" / "two.safetensors").write_bytes(build({"w": ("U8", [1], b"\1")}))
    return tmp_path


@pytest.fixture
def manifest(cli, folder):
    done = cli("hash", "-m", "m.json", "one.safetensors", "deep/two.safetensors", cwd=folder)
    assert (done.code, done.out, done.err) == (0, "", "")
    return folder / "m.json"


def names_in(manifest):
    return [each["name"] for each in json.loads(manifest.read_bytes())["files"]]


def test_manifest(cli, folder, manifest):
    files = json.loads(manifest.read_bytes())["files"]
    assert [each["name"] for each in files] == ["one.safetensors", "deep/two.safetensors"]
    assert files[0]["digest"] == digest_of((folder / "one.safetensors").read_bytes())
    assert manifest.read_bytes().endswith(b"\n")
    assert sorted(os.listdir(folder)) == ["deep", "m.json", "one.safetensors"]
    assert cli("hash", "-m", "-", folder / "one.safetensors", folder / "deep" / "two.safetensors",
               cwd=folder).raw == manifest.read_bytes()


@pytest.mark.parametrize("where, out, files, names", [
    (".", "m.json", ["./one.safetensors", "deep/../one.safetensors2"], None),
    (".", "deep/m.json", ["one.safetensors", "deep/two.safetensors"],
     ["../one.safetensors", "two.safetensors"]),
    ("deep", "../m.json", ["../one.safetensors", "two.safetensors"],
     ["one.safetensors", "deep/two.safetensors"]),
    ("deep", "m.json", ["{here}/one.safetensors", "{here}/deep/two.safetensors"],
     ["../one.safetensors", "two.safetensors"]),
    (".", "{here}/deep/m.json", ["deep/../one.safetensors"], ["../one.safetensors"]),
    (".", "m.json", ["link/two.safetensors"], ["deep/two.safetensors"]),
    (".", "m.json", ["link.safetensors"], ["link.safetensors"])])
def test_names_are_relative_to_the_manifest(cli, folder, where, out, files, names):
    (folder / "link").symlink_to("deep")
    (folder / "link.safetensors").symlink_to("one.safetensors")
    shutil.copy(folder / "one.safetensors", folder / "one.safetensors2")
    files = [each.format(here=folder) for each in files]
    out = out.format(here=folder)
    done = cli("hash", "--manifest", out, *files, cwd=folder / where)
    assert done.code == 0
    assert names_in(folder / where / out) == (names or ["one.safetensors", "one.safetensors2"])


def test_manifest_dry_run(cli, folder, manifest):
    size = manifest.stat().st_size
    manifest.unlink()
    words = ["hash", "-n", "-m", "m.json", "one.safetensors", "deep/two.safetensors"]
    done = cli(*words, cwd=folder)
    assert (done.code, done.out, done.err) == (0, f"m.json: would be a manifest of 2 files, {size} bytes\n", "")
    files = cli(*words, "--json", cwd=folder).json["files"]
    assert files == cli(*words[:1], *words[2:], "--json", cwd=folder).json["files"]
    manifest.unlink()
    done = cli(*words, "absent", cwd=folder)
    assert (done.code, done.out) == (3, "") and "m.json: not written" in done.err
    assert not manifest.exists()


def test_manifest_is_whole_or_not_there(cli, folder, manifest):
    before = manifest.read_bytes()
    done = cli("hash", "-m", "m.json", "one.safetensors", "absent", cwd=folder)
    assert done.code == 3
    assert "m.json: not written, for not all files could be hashed" in done.err
    assert manifest.read_bytes() == before
    done = cli("hash", "-m", "absent/m.json", "one.safetensors", cwd=folder)
    assert (done.code, done.out) == (3, "")
    assert done.err == "safetensors: absent/m.json: cannot be written: No such file or directory\n"
    assert sorted(os.listdir(folder)) == ["deep", "m.json", "one.safetensors"]
    done = cli("hash", "-m", "deep", "one.safetensors", cwd=folder)
    assert done.code == 3 and "deep" in done.err
    done = cli("hash", "-m", "m.json", "one.safetensors", "one.safetensors", cwd=folder)
    assert done.code != 0 and manifest.read_bytes() == before


def test_manifest_that_cannot_be_written_in_json(cli, folder):
    for path, why in [("absent/m.json", "absent/m.json: cannot be written: No such file or directory"),
                      ("deep", "deep: cannot be written: Is a directory")]:
        done = cli("hash", "--json", "-m", path, "one.safetensors", cwd=folder)
        assert (done.code, done.err) == (3, f"safetensors: {why}\n")
        last = done.json["files"][-1]
        assert last == {"file": path, "error": {"status": "ST_ERR_IO", "message": why,
                                                "offset": None}}


def test_manifest_is_on_the_disk_before_its_name(traced, folder):
    done, calls = traced(["-e", "trace=/^(fsync|rename)"], "hash", "-a", "xxh3",
                         "-m", "m.json", "one.safetensors", cwd=folder)
    assert done.code == 0
    names = [re.search(r"(fsync|rename)\w*\(", call)[1] for call in calls if "(" in call]
    assert names == ["fsync", "rename"]
    before = (folder / "m.json").read_bytes()
    done, _ = traced(["-e", "trace=fsync", "-e", "inject=fsync:error=EIO"], "hash", "-a", "xxh3",
                     "-m", "m.json", "deep/two.safetensors", cwd=folder)
    assert (done.code, done.err) == (3, "safetensors: m.json: Input/output error\n")
    assert (folder / "m.json").read_bytes() == before
    assert sorted(os.listdir(folder)) == ["deep", "m.json", "one.safetensors"]
    done, _ = traced(["-e", "trace=fsync", "-e", "inject=fsync:error=EINTR:when=1"], "hash", "-a",
                     "xxh3", "-m", "m.json", "deep/two.safetensors", cwd=folder)
    assert done.code == 0 and names_in(folder / "m.json") == ["deep/two.safetensors"]


@pytest.mark.parametrize("words", [["-a", "xxh3", "-m", "m.json"], ["-c", "m.json"]])
def test_signal_between_two_files(cli, traced, folder, manifest, words):
    """It comes where no call is there to report it: when the first file is closed."""
    before = manifest.read_bytes() + b"\n"
    command = ["hash", *words, "one.safetensors", "deep/two.safetensors"]
    _, calls = traced(["-e", "trace=close", "-y"], *command, cwd=folder)
    ends = [i for i, call in enumerate(calls, 1) if "one.safetensors" in call]
    manifest.write_bytes(before)
    done, _ = traced(["-e", "trace=close", "-e", f"inject=close:signal=SIGTERM:when={ends[-1]}"], *command, cwd=folder)
    assert done.code == 128 + signal.SIGTERM
    assert "two.safetensors" not in done.out
    assert manifest.read_bytes() == before


def test_manifest_has_the_mode_of_any_file(cli, folder):
    old = os.umask(0o027)
    try:
        assert cli("hash", "-m", "m.json", "one.safetensors", cwd=folder).code == 0
    finally:
        os.umask(old)
    assert (folder / "m.json").stat().st_mode & 0o777 == 0o640


def test_manifest_through_a_link(cli, folder):
    (folder / "link.json").symlink_to("deep/m.json")
    (folder / "deep" / "m.json").write_bytes(b"old")
    assert cli("hash", "-m", "link.json", "one.safetensors", cwd=folder).code == 0
    assert (folder / "link.json").is_symlink()
    assert names_in(folder / "deep" / "m.json") == ["one.safetensors"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_manifest_on_a_full_device(cli, folder):
    done = cli("hash", "-m", "/dev/full", "one.safetensors", cwd=folder)
    assert (done.code, done.err) == (3, "safetensors: /dev/full: No space left on device\n")


def test_manifest_with_json_and_data(cli, folder):
    done = cli("hash", "--json", "-a", "xxh3", "-d", "-m", "m.json", "one.safetensors", cwd=folder)
    assert done.code == 0
    found = done.json["files"][0]
    kept = json.loads((folder / "m.json").read_bytes())["files"][0]
    assert found["digest"] == kept["digest"] and found["data_digest"] == kept["data"]


def test_verify(cli, folder, manifest):
    done = cli("hash", "--verify", manifest)
    assert (done.code, done.err) == (0, "")
    assert done.lines == [f"{folder}/one.safetensors: OK", f"{folder}/deep/two.safetensors: OK"]
    assert cli("hash", "-c", "m.json", cwd=folder).lines == [
        "one.safetensors: OK", "deep/two.safetensors: OK"]
    assert cli("hash", "-c", "-", cwd=folder, stdin=manifest.read_bytes()).code == 0
    assert cli("hash", "-c", manifest, "--json").json == {"files": [
        {"file": f"{folder}/{name}", "name": name, "differences": [], "good": True}
        for name in ("one.safetensors", "deep/two.safetensors")]}


def test_verify_changed(cli, folder, manifest):
    changed = dict(TENSORS, w=("F32", [2], floats(1, 3)), e=("U8", [0], b""))
    del changed["b\n"]
    changed["new"] = ("U8", [3], b"\1\2\3")
    (folder / "one.safetensors").write_bytes(build(changed))
    done = cli("hash", "-c", "m.json", cwd=folder)
    assert (done.code, done.err) == (1, "")
    assert done.lines[-1] == "deep/two.safetensors: OK"
    lines = done.lines[:-1]
    assert all(line.startswith("one.safetensors: ") for line in lines)
    assert any('tensor "b\\n": ' in line for line in lines)
    found = cli("hash", "--json", "-c", "m.json", cwd=folder)
    assert found.code == 1
    first, second = found.json["files"]
    assert (first["good"], second["good"]) == (False, True)
    kinds = {(each["kind"], each["tensor"]): each for each in first["differences"]}
    assert {("file", None), ("missing", "b\n"), ("extra", "new"), ("dtype", "e"),
            ("tensor", "w")} <= set(kinds)
    assert kinds["tensor", "w"]["expected"] == digest_of(floats(1, 2))
    assert kinds["tensor", "w"]["found"] == digest_of(floats(1, 3))
    assert kinds["missing", "b\n"]["expected"] is None
    assert len(lines) == len(first["differences"])


def test_verify_what_cannot_be_read(cli, folder, manifest):
    (folder / "one.safetensors").unlink()
    (folder / "deep" / "two.safetensors").write_bytes(b"short")
    done = cli("hash", "-c", "m.json", cwd=folder)
    assert (done.code, done.out) == (3, "")
    assert "one.safetensors: " in done.err and "deep/two.safetensors" in done.err
    statuses = [each["error"]["status"]
                for each in cli("hash", "--json", "-c", "m.json", cwd=folder).json["files"]]
    assert statuses == ["ST_ERR_IO", "ST_ERR_HEADER_TOO_SMALL"]


def test_verify_named_files(cli, folder, manifest, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(folder / "deep" / "two.safetensors", elsewhere)
    done = cli("hash", "-c", "m.json", "elsewhere/two.safetensors", "deep/../one.safetensors",
               cwd=folder)
    assert (done.code, done.lines) == (0, ["elsewhere/two.safetensors: OK",
                                           "deep/../one.safetensors: OK"])
    shutil.copy(folder / "one.safetensors", elsewhere / "three.safetensors")
    done = cli("hash", "-c", "m.json", "elsewhere/three.safetensors", cwd=folder)
    assert (done.code, done.out) == (2, "")
    assert done.err == 'safetensors: m.json: it has no file called "three.safetensors"\n'
    found = cli("hash", "--json", "-c", "m.json", "elsewhere/three.safetensors", cwd=folder)
    assert (found.code, found.json) == (2, {"files": [
        {"file": "elsewhere/three.safetensors",
         "error": {"status": "ST_ERR_NOT_FOUND", "offset": None,
                   "message": 'm.json: it has no file called "three.safetensors"'}}]})
    assert cli("hash", "-c", "m.json", "absent/two.safetensors", cwd=folder).code == 3


def test_verify_ambiguous_name(cli, folder):
    shutil.copy(folder / "one.safetensors", folder / "deep")
    assert cli("hash", "-m", "m.json", "one.safetensors", "deep/one.safetensors",
               cwd=folder).code == 0
    (folder / "other").mkdir()
    shutil.copy(folder / "one.safetensors", folder / "other")
    done = cli("hash", "-c", "m.json", "other/one.safetensors", cwd=folder)
    assert done.code == 2
    assert done.err == 'safetensors: m.json: it has more than one file called "one.safetensors"\n'
    found = cli("hash", "--json", "-c", "m.json", "other/one.safetensors", cwd=folder)
    assert found.code == 2
    assert found.json["files"][0]["error"]["status"] == "ST_ERR_ARGUMENT"
    assert cli("hash", "-c", "m.json", "deep/one.safetensors", cwd=folder).code == 0


def test_verify_one_of_many_by_its_name(cli, folder):
    """Names that follow each other and repeat: only what is there once is found."""
    (folder / "other").mkdir()
    names = [f"{part}{i}" for i in range(20) for part in ("a/n", "b/n")[:1 + i % 2]]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "one.safetensors", folder / name)
    assert cli("hash", "-a", "xxh3", "-m", "m.json", *names, cwd=folder).code == 0
    for i in range(20):
        other = f"other/n{i}"
        shutil.copy(folder / "one.safetensors", folder / other)
        assert cli("hash", "-c", "m.json", other, cwd=folder).code == (2 if i % 2 else 0)
    done = cli("hash", "-c", "m.json", *names, cwd=folder)
    assert (done.code, done.lines) == (0, [f"{name}: OK" for name in names])


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "deep/../../secret", "..",
                                  "deep/.."])
def test_verify_stays_in_its_folder(cli, folder, manifest, name):
    """A manifest from a stranger reaches no file that is not beside it."""
    content = json.loads(manifest.read_bytes())
    content["files"][0]["name"] = name
    manifest.write_text(json.dumps(content))
    done = cli("hash", "-c", "m.json", cwd=folder)
    assert (done.code, done.lines) == (1, ["deep/two.safetensors: OK"])
    assert f'it names a file outside of its folder, "{name}"' in done.err
    found = cli("hash", "--json", "-c", "m.json", cwd=folder)
    outside, beside = found.json["files"]
    assert found.code == 1 and beside["good"]
    assert outside.keys() == {"file", "error"} and outside["file"] == name
    assert outside["error"]["status"] == "ST_ERR_JSON"
    assert outside["error"]["message"] in found.err


def test_verify_outside_if_named(cli, folder):
    assert cli("hash", "-m", "deep/m.json", "one.safetensors", cwd=folder).code == 0
    done = cli("hash", "-c", "deep/m.json", cwd=folder)
    assert (done.code, done.out) == (1, "")
    done = cli("hash", "-c", "deep/m.json", "one.safetensors", cwd=folder)
    assert (done.code, done.out) == (0, "one.safetensors: OK\n")


def test_verify_a_file_called_dash(cli, folder):
    shutil.copy(folder / "one.safetensors", folder / "-")
    assert cli("hash", "-m", "m.json", "./-", cwd=folder).code == 0
    assert names_in(folder / "m.json") == ["-"]
    done = cli("hash", "-c", "m.json", cwd=folder)
    assert (done.code, done.out) == (0, "./-: OK\n")


def test_names_are_escaped(cli, terminal, folder):
    path = folder / "a\x1b[31m\n"
    shutil.copy(folder / "one.safetensors", path)
    assert cli("hash", "-m", "m.json", path, cwd=folder).code == 0
    for done in (terminal("hash", "-a", "xxh3", path, columns=500),
                 terminal("hash", "-a", "xxh3", "-d", path, columns=500),
                 cli("hash", "-c", "m.json", cwd=folder)):
        assert done.code == 0
        assert "a\\u001b[31m\\n" in done.out and "\x1b[31m" not in done.out


@pytest.mark.parametrize("content, code", [
    (b"", 1), (b"{}", 1), (b"[", 1), (b'{"files":3}', 1), (b"\xff", 1), (None, 3)])
def test_manifests_that_are_none(cli, tmp_path, content, code):
    path = tmp_path / "m.json"
    if content is not None:
        path.write_bytes(content)
    done = cli("hash", "-c", path)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"safetensors: {path}: ")
    found, = cli("hash", "--json", "-c", path).json["files"]
    assert found["file"] == str(path) and found["error"]["status"] in ("ST_ERR_JSON", "ST_ERR_IO")


def test_folder_as_manifest(cli, tmp_path):
    done = cli("hash", "-c", tmp_path)
    assert done.code == 3 and done.err == f"safetensors: {tmp_path}: Is a directory\n"


@pytest.mark.parametrize("words, message", [
    ([], "FILE is missing"),
    (["-a", "md5", "f"], '--algorithm is one of sha256, xxh3, xxh128, not "md5"'),
    (["-c", "m", "-t"], "--verify computes what is in the manifest"),
    (["-c", "m", "-a", "sha256"], "--verify computes what is in the manifest"),
    (["-c", "m", "-m", "m"], "--verify computes what is in the manifest"),
    (["-m", "-", "--json", "f"], "--manifest - and --json would both write to standard output"),
    (["-m", "m", "-"], "standard input has no name to stand in a manifest")])
def test_wrong_usage(cli, words, message):
    done = cli("hash", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("safetensors: " + message)


def test_unknown_dtypes(cli, make):
    path = make(frame('{"q":{"dtype":"Q7","shape":[3],"data_offsets":[0,2]}}', b"\1\2"))
    assert cli("hash", path).code == 1
    assert cli("hash", "--unknown-dtypes", "-t", path).out == f"{digest_of(bytes([1, 2]))}  q\n"


def test_terminal_colours(terminal, folder, manifest):
    assert terminal("hash", "-c", manifest).lines[0] == \
        f"{folder}/one.safetensors: \x1b[32mOK\x1b[0m"
