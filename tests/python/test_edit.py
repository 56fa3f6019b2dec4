# SPDX-License-Identifier: Apache-2.0
"""safetensors.edit: what it does to a file, byte for byte what the program's verbs do, and what it refuses."""

import ctypes
import functools
import gc
import operator
import os
import signal
import sys
import threading

import numpy as np
import pytest
from exhaust import every_allocation_may_fail
from command import run

from safetensors import SafetensorError, _editing, safe_open
from safetensors._safetensors_rust import SafetensorFileNotFoundError, _edit
from safetensors.edit import CastLoss, EditSummary, edit, remove_metadata, set_metadata
from safetensors.numpy import load_file, save_file

TENSORS = {
    "layers.0.w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "layers.1.w": np.array([1.0, 70000.0, -1e-9, 0.5], dtype=np.float32),
    "head": np.array([1e300, 2.0], dtype=np.float64),
    "ids": np.arange(5, dtype=np.int64),
    "a*": np.array([7, 8], dtype=np.uint8),
}
METADATA = {"format": "np", "title": "Ä", "n": "1"}


@pytest.fixture
def path(model):
    return model(TENSORS, METADATA)


@pytest.fixture
def other(model):
    return model({"more": np.arange(3, dtype=np.int16), "head": np.ones(2)}, name="other.safetensors")


def metadata_of(path):
    with safe_open(path, "np") as file:
        return file.metadata()


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        assert found[name].tobytes() == array.tobytes(), name


# --------------------------------------------------------------------------------- as the program's verbs

VERBS = [
    (dict(rename={"layers.*.w": "blk.*.weight"}), ["edit", "-r", "layers.*.w=blk.*.weight"]),
    (dict(rename=["layers.*.w=x.*", "ids=i\\=d"]), ["edit", "-r", "layers.*.w=x.*", "-r", "ids=i\\=d"]),
    (dict(rename={"a*": "b", "ids": "c"}), ["edit", "-r", "a*=b", "-r", "ids=c"]),
    (dict(rename_regex={r"^layers\.([0-9])": r"l\1"}), ["edit", "-e", r"^layers\.([0-9])=l\1"]),
    (
        dict(rename={"head": "layers.9.w"}, rename_regex=[r"layers=l"]),
        ["edit", "-r", "head=layers.9.w", "-e", "layers=l"],
    ),
    (dict(drop="layers.*"), ["edit", "-x", "layers.*"]),
    (dict(drop=["ids", "head"]), ["edit", "-x", "ids", "-x", "head"]),
    (dict(keep=["ids", "layers.*"], drop="layers.0.*"), ["edit", "-k", "ids", "-k", "layers.*", "-x", "layers.0.*"]),
    (dict(cast="bf16"), ["edit", "-c", "bf16"]),
    (dict(cast={"layers.*": "F16", "head": "F8_E4M3"}), ["edit", "-c", "F16:layers.*", "-c", "F8_E4M3:head"]),
    (dict(order="name"), ["edit", "--order", "name"]),
    (dict(order="canonical", align=4096), ["edit", "--order", "canonical", "--align", "4096"]),
    (dict(reserve=1000), ["edit", "-R", "1000"]),
    (dict(metadata={"b": "2", "a": "ß"}), ["meta", "set", "b", "2", "a", "ß"]),
    (dict(remove_metadata=["title", "n"]), ["meta", "rm", "title", "n"]),
    (dict(remove_metadata=True), ["meta", "rm", "--all"]),
]


def arguments_of(verb, path, out):
    """The verb's own words come first, then the file, then what `meta` takes behind it."""
    if verb[0] == "meta":
        return [*verb[:2], path, *verb[2:], "-o", out]
    return [verb[0], path, *verb[1:], "-o", out]


@pytest.mark.parametrize("options, verb", VERBS, ids=lambda case: str(case)[:60])
def test_the_file_is_that_of_the_program(path, tmp_path, options, verb):
    before = path.read_bytes()
    edit(path, tmp_path / "python", **options)
    run(*arguments_of(verb, path, tmp_path / "program"))
    assert (tmp_path / "python").read_bytes() == (tmp_path / "program").read_bytes() != before
    assert path.read_bytes() == before


def test_data_of_other_files_is_taken_as_the_program_does(path, other, tmp_path):
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(range(40)))
    summary = edit(
        path,
        tmp_path / "python",
        replace={"head": (other, "more"), "ids": raw.read_bytes()},
        add={"more": other, "again": (os.fspath(other), "head")},
    )
    options = ["-p", f"head={other}:more", "-p", f"ids={raw}", "-a", f"more={other}", "-a", f"again={other}:head"]
    run("edit", path, *options, "-o", tmp_path / "program")
    assert (tmp_path / "python").read_bytes() == (tmp_path / "program").read_bytes()
    assert (summary.replaced, summary.added) == (2, 2)


def test_metadata_is_changed_as_the_program_does(path, tmp_path):
    set_metadata(path, {"z": "1", "a": "2"}, out=tmp_path / "python")
    run("meta", "set", path, "z", "1", "a", "2", "-o", tmp_path / "program")
    assert (tmp_path / "python").read_bytes() == (tmp_path / "program").read_bytes()
    (tmp_path / "new.json").write_text('{"z": "1"}')
    set_metadata(path, {"z": "1"}, out=tmp_path / "python", replace=True)
    run("meta", "import", "--replace", path, tmp_path / "new.json", "-o", tmp_path / "program")
    assert (tmp_path / "python").read_bytes() == (tmp_path / "program").read_bytes()
    assert metadata_of(tmp_path / "python") == {"z": "1"}
    remove_metadata(path, "title", out=tmp_path / "python")
    run("meta", "rm", path, "title", "-o", tmp_path / "program")
    assert (tmp_path / "python").read_bytes() == (tmp_path / "program").read_bytes()


# ------------------------------------------------------------------------------------------ what is done


def test_without_out_the_file_itself_is_replaced(path):
    summary = edit(path, rename={"ids": "numbers"}, drop="a[*]")
    assert isinstance(summary, EditSummary)
    assert (summary.renamed, summary.dropped, summary.count) == (1, 1, 4)
    assert summary.size == path.stat().st_size
    assert summary.moved == sum(TENSORS[name].nbytes for name in TENSORS if name != "a*")
    expected = {("numbers" if name == "ids" else name): array for name, array in TENSORS.items() if name != "a*"}
    same(load_file(path), expected)
    assert metadata_of(path) == METADATA


def test_where_nothing_changes_nothing_is_written(path):
    before = path.stat()
    edit(path)
    set_metadata(path, METADATA)
    edit(path, rename={"ids": "ids"}, cast={"head": "f64"})
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    remove_metadata(path, True)
    assert metadata_of(path) is None and path.stat().st_ino != before.st_ino


def test_casts_tell_what_they_lost(path):
    summary = edit(path, cast="f16")
    losses = {loss.name: loss for loss in summary.casts}
    assert losses["layers.1.w"] == CastLoss("layers.1.w", "F16", 4, 1, 1)
    assert losses["head"] == CastLoss("head", "F16", 2, 1, 0)
    assert losses["layers.0.w"] == CastLoss("layers.0.w", "F16", 6, 0, 0)
    assert (summary.cast, summary.overflowed, summary.underflowed) == (3, 2, 1)
    found = load_file(path)
    with np.errstate(over="ignore"):
        assert found["head"].tobytes() == TENSORS["head"].astype(np.float16).tobytes()
    assert found["ids"].dtype == np.int64


@pytest.mark.parametrize("dtype", ["bf16", "BF16", "bfloat16", "torch.bfloat16"])
def test_a_dtype_has_several_names(path, dtype):
    if dtype == "torch.bfloat16":
        dtype = pytest.importorskip("torch").bfloat16
    edit(path, cast=dtype)
    with safe_open(path, "np") as file:
        assert file.get_slice("head").get_dtype() == "BF16"


def test_dtypes_of_numpy_are_names_too(path):
    edit(path, cast={"head": np.float16, "layers.0.w": np.dtype("float64")})
    found = load_file(path)
    assert (found["head"].dtype, found["layers.0.w"].dtype) == (np.float16, np.float64)


def test_strict_writes_nothing(path, tmp_path):
    before = path.read_bytes()
    text = r"model.safetensors: tensor '.*': 1 of . numbers are beyond the range of F16, and so in 1 more tensor; as "
    with pytest.raises(SafetensorError, match=text + "strict asks, nothing was written"):
        edit(path, cast="f16", strict=True)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]
    assert edit(path, cast={"layers.0.*": "f16"}, strict=True).cast == 1


def test_a_dry_run_changes_nothing(path, tmp_path):
    before = path.read_bytes()
    summary = edit(path, tmp_path / "out", cast="f16", drop="ids", dry_run=True)
    assert (summary.cast, summary.dropped, summary.casts) == (3, 1, ())
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]
    assert summary.size == edit(path, tmp_path / "out", cast="f16", drop="ids").size


def test_what_is_put_in_may_be_any_array(path):
    values = {
        "turned": np.arange(6, dtype=np.int32).reshape(2, 3).T,
        "reversed": np.arange(6)[::-2],
        "big": np.arange(3, dtype=">u2"),
        "scalar": np.float32(2.5),
        "empty": np.zeros((0, 3)),
    }
    summary = edit(path, add=values, replace={"head": values["turned"], "ids": np.arange(5) * 3})
    assert (summary.added, summary.replaced) == (5, 2)
    found = load_file(path)
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].shape == value.shape
    np.testing.assert_array_equal(found["head"], values["turned"])
    np.testing.assert_array_equal(found["ids"], np.arange(5) * 3)
    assert found["big"].dtype == np.dtype("u2")


def test_torch_tensors_are_put_in(path):
    torch = pytest.importorskip("torch")
    turned = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T
    edit(path, add={"turned": turned, "gone": torch.nn.Parameter(torch.ones(2))}, replace={"ids": turned.conj()})
    from safetensors.torch import load_file as load

    found = load(path)
    assert torch.equal(found["turned"], turned) and torch.equal(found["ids"], turned)
    assert torch.equal(found["gone"], torch.ones(2))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_take_the_place_of_a_tensors(path, kind):
    edit(path, replace={"ids": kind(bytes(range(40)))})
    assert load_file(path)["ids"].tobytes() == bytes(range(40))


def test_paths_may_be_any(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    edit("model.safetensors", "out", drop="ids")
    assert (tmp_path / "out").is_file()
    name = os.fsdecode(b"\xff.safetensors")
    try:
        edit(path, name, drop="ids")
    except OSError:
        pytest.skip("the file system has no such names")
    edit(name, drop="head")
    assert sorted(load_file(name)) == ["a*", "layers.0.w", "layers.1.w"]


# -------------------------------------------------------------------------------------------- in place


def test_in_place_the_file_stays_the_same_file(path, tmp_path):
    edit(path, reserve=500)
    inode = path.stat().st_ino
    program = tmp_path / "program"
    program.write_bytes(path.read_bytes())
    summary = edit(
        path,
        rename={"ids": "identifiers"},
        replace={"head": np.array([3.0, 4.0])},
        metadata={"t": "2"},
        remove_metadata="n",
        in_place=True,
    )
    assert summary.in_place and summary.header <= summary.room and summary.written == 16
    assert path.stat().st_ino == inode
    assert sorted(os.listdir(tmp_path)) == [path.name, "program"]
    found = load_file(path)
    np.testing.assert_array_equal(found["head"], [3.0, 4.0])
    np.testing.assert_array_equal(found["identifiers"], TENSORS["ids"])
    assert metadata_of(path) == {"format": "np", "title": "Ä", "t": "2"}
    (tmp_path / "head").write_bytes(np.array([3.0, 4.0]).tobytes())
    run("edit", program, "-i", "-r", "ids=identifiers", "-p", f"head={tmp_path / 'head'}")
    run("meta", "set", program, "-i", "t", "2")
    run("meta", "rm", program, "-i", "n")
    assert path.read_bytes() == program.read_bytes()


@pytest.mark.parametrize(
    "options, text",
    [
        (dict(metadata={"k": "v" * 1000}), "model.safetensors: .*header"),
        (dict(cast="f16"), "model.safetensors: "),
        (dict(drop="ids", add={"n": np.ones(9)}), "model.safetensors: "),
        (dict(replace={"head": np.ones(3)}), "model.safetensors: "),
    ],
)
def test_in_place_needs_room(path, options, text):
    before = path.read_bytes()
    with pytest.raises(SafetensorError, match=text) as told:
        edit(path, in_place=True, **options)
    with pytest.raises(SafetensorError) as dry:
        edit(path, in_place=True, dry_run=True, **options)
    assert str(dry.value) == str(told.value)
    assert path.read_bytes() == before


# ------------------------------------------------------------------------------------------- refusals

REFUSED = [
    (dict(drop="nothing"), SafetensorError, r"model.safetensors: drop 'nothing': no tensor matches"),
    (dict(keep=["ids", "nothing"]), SafetensorError, r"keep 'nothing': no tensor matches"),
    (dict(cast={"nothing": "f16"}), SafetensorError, r"cast 'nothing': no tensor matches"),
    (dict(cast={"ids": "f16"}), SafetensorError, r"cast 'ids': no tensor of floats matches"),
    (dict(cast="i8"), SafetensorError, r"cast: 'i8' is no dtype of floats"),
    (dict(cast="float"), SafetensorError, r"cast: 'float' is no dtype of floats"),
    (dict(rename={"nothing": "x"}), SafetensorError, r"rename 'nothing': no tensor matches"),
    (dict(rename={"*": "x"}), SafetensorError, r'tensor "x": two tensors have this name'),
    (dict(rename={"ids": "*"}), SafetensorError, r"rename 'ids': "),
    (dict(rename={"ids": "__metadata__"}), SafetensorError, r"__metadata__"),
    (dict(rename=["ids"]), ValueError, r"rename: 'ids' is not 'OLD=NEW'"),
    (dict(rename_regex={"(": ""}), SafetensorError, r"rename_regex '\('"),
    (dict(rename_regex={"nothing": ""}), SafetensorError, r"rename_regex 'nothing': no tensor matches"),
    (dict(drop="a\0"), ValueError, r"null character"),
    (dict(drop=[1]), TypeError, r"drop must be a str or several, not 1"),
    (dict(replace={"nothing": b""}), SafetensorError, r"model.safetensors: no tensor 'nothing'"),
    (dict(replace={"ids": b"1"}), SafetensorError, r"tensor 'ids' has 40 bytes, and is to have 1 others"),
    (dict(replace={"ids": [1, 2]}), TypeError, r"tensor 'ids': <class 'list'> is no array or tensor"),
    (dict(replace={"ids": np.array(["x"])}), SafetensorError, r"Unknown dtype"),
    (dict(replace={"ids": ("none.safetensors", "ids")}), FileNotFoundError, r"none.safetensors"),
    (dict(replace={"ids": ("x",)}), TypeError, r"a tuple must be a path and a tensor's name"),
    (dict(add={"ids": np.ones(2)}), SafetensorError, r'tensor "ids": two tensors have this name'),
    (dict(add={"x": b"12"}), TypeError, r"tensor 'x': <class 'bytes'> is no array or tensor"),
    (dict(metadata={"k": 1}), TypeError, r"metadata must be a dict of str to str; 'k' is 1"),
    (dict(metadata=["k"]), TypeError, r"metadata must be a dict of str to str"),
    (dict(metadata={"k": "\ud800"}), UnicodeEncodeError, r"surrogates not allowed"),
    (dict(remove_metadata=["title", "none"]), SafetensorError, r"remove_metadata 'none': no such key"),
    (dict(order="offset"), ValueError, r"order must be one of 'file', 'canonical', 'name', not 'offset'"),
    (dict(align=12), ValueError, r"align must be a power of 2 from 8 to 4096, not 12"),
    (dict(align=8192), ValueError, r"align must be a power of 2"),
    (dict(reserve=-1), ValueError, r"reserve must be from 0 to"),
    (dict(reserve=200_000_000), SafetensorError, r"100000000"),
    (dict(reserve="1K"), TypeError, r"integer"),
    (dict(durability="all"), ValueError, r"durability must be one of 'name', 'file', 'none', not 'all'"),
    (dict(in_place=True, reserve=1), ValueError, r"in_place has the room that is there"),
    (dict(in_place=True, out="x"), ValueError, r"in_place changes the file itself"),
    (dict(overwrite=False), ValueError, r"overwrite=False needs an out"),
    (dict(out="missing/x"), SafetensorFileNotFoundError, r"missing/x"),
]


@pytest.mark.parametrize("options, error, text", REFUSED, ids=lambda case: str(case)[:50])
def test_refusals_leave_the_file_as_it_was(path, tmp_path, monkeypatch, options, error, text):
    monkeypatch.chdir(tmp_path)
    before = path.read_bytes()
    with pytest.raises(error, match=text):
        edit(path, **options)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


def test_files_that_are_none_are_refused_as_on_opening(tmp_path):
    (tmp_path / "bad").write_bytes(b"\xff" * 40)
    for function in (edit, lambda path: set_metadata(path, {"a": "b"}), lambda path: remove_metadata(path, True)):
        with pytest.raises(FileNotFoundError, match="No such file or directory"):
            function(tmp_path / "none")
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(SafetensorError, match="empty: holds no .safetensors file"):
            function(tmp_path / "empty")
        with pytest.raises(SafetensorError, match="Error while deserializing header: header too large"):
            function(tmp_path / "bad")
        for odd in (3, None, b"bytes"):
            with pytest.raises(TypeError):
                function(odd)


def test_an_out_that_is_there_may_be_kept(path, tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(FileExistsError, match="File exists"):
        edit(path, tmp_path / "out", drop="ids", overwrite=False)
    assert (tmp_path / "out").read_text() == "precious"
    edit(path, tmp_path / "out", drop="ids", durability="none")
    assert "ids" not in load_file(tmp_path / "out")


# -------------------------------------------------------------------------------------------- resources


def test_nothing_is_kept(path, other, tmp_path):
    array, raw = np.arange(5), bytearray(40)
    torch_like = np.ones((3, 2)).T

    def all_of_it():
        edit(path, tmp_path / "out", replace={"ids": array, "head": torch_like}, add={"x": (other, "more")})
        edit(path, tmp_path / "out", replace={"ids": raw, "head": (other, "head")}, cast={"layers.*": "f16"})
        with pytest.raises(SafetensorError):
            edit(path, tmp_path / "out", replace={"ids": array, "head": torch_like}, drop="nothing")
        with pytest.raises(SafetensorError):
            edit(path, tmp_path / "out", replace={"ids": raw}, rename={"*": "x"})

    all_of_it()
    gc.collect()
    counts = [sys.getrefcount(item) for item in (array, torch_like, raw)]
    descriptors = len(os.listdir("/proc/self/fd"))
    objects = len(gc.get_objects())
    for _ in range(20):
        all_of_it()
    gc.collect()
    assert [sys.getrefcount(item) for item in (array, torch_like, raw)] == counts
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert len(gc.get_objects()) < objects + 100
    raw.append(1)  # a buffer that is still exported could not grow


def test_threads_edit_at_once(model):
    count = 8
    paths = [model({"a": np.full(1000, i)}, name=f"{i}.safetensors") for i in range(count)]
    failures = []

    def work(i):
        try:
            for turn in range(20):
                edit(paths[i], rename={"*": f"n{turn}"}, metadata={"turn": str(turn)}, durability="none")
        except BaseException as error:  # noqa: BLE001: whatever it is, the test is to tell
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for i, path in enumerate(paths):
        np.testing.assert_array_equal(load_file(path)["n19"], np.full(1000, i))
        assert metadata_of(path) == {"turn": "19"}


def test_a_signal_ends_the_writing(tmp_path):
    path = tmp_path / "big.safetensors"
    save_file({"a": np.zeros(40 << 20, np.uint8).view(np.float16)}, path)

    class Stop(Exception):
        pass

    def handler(number, frame):
        raise Stop

    making = _editing.making("file", None, 0, "none", True, False, None)
    # One call of C behind the other, so that no Python sees the signal before the writing does.
    pending = functools.partial(ctypes.CDLL(None)["raise"], int(signal.SIGUSR1))
    out = os.fspath(tmp_path / "out")
    writing = functools.partial(_edit, os.fspath(path), out, [("cast", "f32", "*")], making, False, False)
    old = signal.signal(signal.SIGUSR1, handler)
    done = []
    try:
        with pytest.raises(Stop):
            done.extend(map(operator.call, [pending, writing]))
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert done == [0] and os.listdir(tmp_path) == [path.name]


def test_other_threads_run_while_it_writes(model, tmp_path):
    """A pipe that this thread empties: with the interpreter locked, writing would wait for ever."""
    path = model({"large": np.arange(1 << 20, dtype=np.float32)})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    failed = []

    def work():
        try:
            edit(path, pipe, cast="f64")
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    with open(pipe, "rb") as file:
        content = file.read()
    thread.join()
    edit(path, tmp_path / "out", cast="f64")
    assert failed == [] and content == (tmp_path / "out").read_bytes()


def test_every_allocation_of_pythons_may_fail(path, other, tmp_path):
    """It is told, and nothing is there; or what comes out is right all the same."""
    name, out = os.fspath(path), os.fspath(tmp_path / "out")
    making = _editing.making("name", None, 100, "none", True, False, None)
    steps = [
        ("keep", ["*"]),
        ("drop", "a[*]"),
        ("cast", "f16", "layers.*"),
        ("replace", "ids", bytes(40)),
        ("replace", "head", np.arange(6).reshape(2, 3).T),
        ("glob", "layers.*.w", "l.*"),
        ("add", "more", (os.fspath(other), "more")),
        ("add", "new", np.ones((2, 2))),
        ("unset", "n"),
        ("set", "k", "v"),
    ]
    written = tmp_path / "out"
    every_allocation_may_fail(
        lambda: _edit(name, out, steps, making, False, False),
        200,
        10,
        prepare=lambda: written.unlink(missing_ok=True),
        left=written.read_bytes,
    )


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="/proc")
def test_what_tensors_are_taken_from_is_mapped_once(tmp_path):
    path, other = os.fspath(tmp_path / "model"), os.fspath(tmp_path / "other")
    save_file({"w": np.zeros(2)}, path)
    tensors = {f"t{i}": np.full(1000, i) for i in range(20)}
    save_file(tensors, other)
    mapped = set()

    def look(done, total):
        with open("/proc/self/maps") as maps:
            mapped.add(sum(line.rstrip().endswith(other) for line in maps))

    edit(path, add={name: (other, name) for name in tensors}, replace={"w": (other, "t1")}, progress=look)
    assert mapped == {1}
    found = load_file(path)
    assert all((found[name] == tensor).all() for name, tensor in tensors.items()) and found["w"][0] == 1
