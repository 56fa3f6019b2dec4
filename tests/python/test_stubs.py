# SPDX-License-Identifier: Apache-2.0
"""The types that checkers see: against the package as it is, and by a checker's own tests."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import pytest

import safetensors
from safetensors import _safetensors_rust

pytest.importorskip("mypy")

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "safetensors"

# What a user of the package writes, in mypy's strictest mode.
PROGRAM = """
import io
import pathlib
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch

import safetensors
import safetensors.checkpoint
import safetensors.edit
import safetensors.hash
import safetensors.numpy
import safetensors.torch
from safetensors import PrefetchLoader, PySafeSlice, SafetensorError, TensorMeta, TensorSpec, TensorStream
from safetensors import check, deserialize, safe_open, serialize, serialize_file


def names(path: pathlib.Path) -> List[str]:
    with safe_open(path, framework="pt", device="cpu", backend="pread") as f:
        assert len(f) and "a" in f and not f.closed
        backend: str = f.backend
        assert backend == "pread"
        tensor = f["a"]
        part: PySafeSlice = f.get_slice("a")
        shape: List[int] = part.get_shape()
        dtype: str = part.get_dtype()
        meta: TensorMeta = f.get_tensor_meta("a")
        offsets: Tuple[int, int] = meta.data_offsets
        metadata: Optional[Dict[str, str]] = f.metadata()
        everything: Dict[str, Any] = f.get_tensors(["a"])
        reveal_type(f.keys())
        del tensor, shape, dtype, offsets, metadata, everything
        print(part[1:, ::2])
        return [name for name in f]


def stream(path: str) -> Iterator[Tuple[str, Any]]:
    with safe_open(path, "np") as f, f.prefetch({"a": slice(1, 2), "b": None}, threads=4) as loader:
        one: PrefetchLoader = loader
        tensors: TensorStream = iter(one)
        yield from tensors


def arrays(data: bytes) -> Dict[str, np.ndarray[Any, Any]]:
    safetensors.numpy.save_file({"a": np.zeros(2)}, "a.safetensors", {"k": "v"}, durable=True)
    written: bytes = safetensors.numpy.save({"a": np.zeros(2)})
    loaded: Dict[str, np.ndarray[Any, Any]] = safetensors.numpy.load(bytearray(written), copy=False)
    loaded |= safetensors.numpy.load_file("a.safetensors", keys=["a"], prefix="a", packed=True)
    loaded |= safetensors.numpy.load_files(iter(["a.safetensors"]), backend="auto", packed=True)
    return loaded | safetensors.numpy.load(data)


def tensors(model: torch.nn.Module) -> Dict[str, torch.Tensor]:
    safetensors.torch.save_file(model.state_dict(), "b.safetensors", shared="clone", contiguous=True)
    safetensors.torch.save_model(model, "b.safetensors")
    missing, unexpected = safetensors.torch.load_model(model, "b.safetensors", strict=False)
    if missing or unexpected:
        raise SafetensorError("incomplete")
    more = safetensors.torch.load_files([pathlib.Path("b.safetensors")], "cpu", backend="direct", prefix="a")
    return more | safetensors.torch.load_file("b.safetensors", device="cpu", backend="mmap")


def raw(spec: TensorSpec) -> List[Tuple[str, Dict[str, Any]]]:
    spec = TensorSpec(dtype="float32", shape=(2, 2), data_ptr=spec.data_ptr, data_len=16)
    serialize_file({"a": spec}, pathlib.Path("c.safetensors"), metadata={"k": "v"})
    report = check(io.BytesIO(serialize({"a": spec})))
    return deserialize(serialize({"a": spec})) if report.ok else []


def change(path: pathlib.Path) -> Optional[float]:
    summary = safetensors.edit.edit(path, "d.safetensors", rename={"a": "b"}, drop="c", cast="bf16", add={"d": path})
    lost: int = summary.overflowed + sum(loss.underflowed for loss in summary.casts)
    put_right: List[safetensors.edit.Recovery] = safetensors.edit.recover(path, dry_run=True)
    lost += sum(left.bytes + (left.left or 0) for left in put_right if left.error is None)
    safetensors.edit.set_metadata(path, {"k": str(lost)}, in_place=bool(safetensors.edit.recover(path)))
    safetensors.edit.remove_metadata(path, ["k"])
    shards = safetensors.checkpoint.split(path, "e", max_shard_size="5GB")
    names: List[Tuple[str, ...]] = [shard.tensors for shard in shards]
    safetensors.checkpoint.cat([path, "d.safetensors"], "f.safetensors", prefixes=[".".join(name) for name in names])
    saved: bool = bool(safetensors.salvage(path, "g.safetensors"))
    found = safetensors.diff(path, "d.safetensors", atol=0.5 if saved else None, glob="a*", exclude=["b"], dtype="f32")
    spans: List[Optional[Tuple[int, int]]] = [each.name_span for each in safetensors.grep("a", [path], onerror=print)]
    spans += [each.value_span for each in safetensors.grep("a", path, values=True, max_count=len(spans))]
    return found.tensors[0].values.max_absolute if found and found.tensors[0].values else None


def told(done: int, total: int) -> Optional[bool]:
    return done < total


def shards(folder: pathlib.Path) -> Dict[str, Any]:
    safetensors.checkpoint.merge(folder, "h.safetensors", progress=told)
    safetensors.hash.record(folder / "a.safetensors", algorithm="xxh3", progress=lambda done, total: print(done))
    good: bool = all(safetensors.hash.verify_records([folder, "h.safetensors"]))
    digests: List[Optional[str]] = [found.digest for found in safetensors.hash.hash_files(folder, parts=["file"])]
    safetensors.hash.write_manifest(folder, "manifest.json", data=good)
    verified: List[safetensors.hash.Verification] = safetensors.hash.verify_manifest("manifest.json")
    changed: List[str] = [one.message for found in verified for one in found.differences]
    means: List[Optional[float]] = [
        tensor.stats.mean for tensor in safetensors.stats(folder, {"a": slice(2)}, bins=3, range=(0, 1)) if tensor.stats
    ]
    means += [tensor.stats.mean for tensor in safetensors.stats(folder, regex="^a", dtype=[np.float16]) if tensor.stats]
    del digests, changed, means
    with safetensors.checkpoint.open(folder, "pt", device="cpu") as model:
        files: Tuple[str, ...] = model.files
        return {name: model.get_slice(name)[:1] for name in model if model.file_of(name) in files}


version: str = safetensors.__version__
"""

# Each line is a mistake.
MISTAKES = """
from safetensors import PySafeSlice, TensorSpec, diff, safe_open, serialize; from safetensors.checkpoint import split; from safetensors.edit import edit; from safetensors import grep, stats; from safetensors.hash import hash_files
safe_open("a")
safe_open("a", "pt", backend=1)
safe_open("a", "pt").get_tensor(1)
safe_open("a", "pt").nothing
TensorSpec("float32", [1], 1, 4)
TensorSpec(dtype="float32", shape=[1], data_ptr=1, data_len=4).dtype = "F32"
serialize({"a": b""})
serialize({}, {"a": 1})
class Mine(safe_open): ...
edit("a", "b", ["c"])
edit("a", drop=1)
edit(open("a"))
split("a", "b", max_shard_size=1.5)
diff("a")
diff("a", "b", progress=3)
stats("a", quantiles=0.5)
hash_files("a", algorithm=1)
grep("a", 1)
diff("a", "b", glob=1)
edit("a").casts[0].nothing
"""


@pytest.fixture(scope="module")
def checker(tmp_path_factory):
    """Runs one of mypy's programs; what is known of other packages is kept from run to run."""
    folder = tmp_path_factory.mktemp("mypy")
    # torch alone would take minutes; and what NumPy's types are only matters to programs.
    for name, skipped in (("mypy", "torch.*,jax.*,flax.*"), ("stubtest", "torch.*,jax.*,flax.*,numpy.*")):
        config = f"[mypy]\nignore_missing_imports = true\n[mypy-{skipped}]\nfollow_imports = skip\n"
        (folder / f"{name}.ini").write_text(f"{config}follow_imports_for_stubs = true\n")
    package = str(pathlib.Path(safetensors.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": package, "MYPYPATH": package}

    def run(module, *options):
        return subprocess.run(
            [sys.executable, "-m", module, *options], cwd=folder, capture_output=True, text=True, env=environment
        )

    def check(program, *options):
        (folder / "program.py").write_text(program)
        return run("mypy", "--config-file=mypy.ini", "--cache-dir=cache", *options, "program.py")

    check.folder, check.run = folder, run
    return check


def test_programs_pass_in_the_strictest_mode(checker):
    result = checker(PROGRAM, "--strict")
    assert result.returncode == 0, result.stdout
    assert 'Revealed type is "list[str]"' in result.stdout.replace("builtins.", "")


def test_mistakes_are_found(checker):
    result = checker(MISTAKES)
    found = {int(line.split(":")[1]) for line in result.stdout.splitlines() if ": error:" in line}
    assert found == set(range(3, MISTAKES.count("\n") + 1)), result.stdout


def test_types_are_those_of_the_package(checker):
    # Modules whose framework need not be here.
    absent = ("flax", "tensorflow", "mlx", "paddle")
    (checker.folder / "absent").write_text("".join(f"safetensors.{name}\n" for name in absent))
    options = ("--mypy-config-file=stubtest.ini", "--allowlist=absent", "--ignore-unused-allowlist")
    result = checker.run("mypy.stubtest", *options, "safetensors")
    assert result.returncode == 0, result.stdout + result.stderr


def test_descriptions_are_those_of_the_extension():
    spec = importlib.util.spec_from_file_location("stubs", ROOT / "scripts" / "stubs.py")
    stubs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stubs)
    text = (PACKAGE / "_safetensors_rust.pyi").read_text()
    assert stubs.described(text, _safetensors_rust) == text, "run scripts/stubs.py"


def test_everything_public_is_typed():
    text = (PACKAGE / "__init__.pyi").read_text()
    public = [name for name in dir(safetensors) if not name.startswith("_")]
    modules = {path.stem for path in PACKAGE.glob("*.py")}
    assert [name for name in public if f" as {name}\n" not in text and name not in modules] == []
