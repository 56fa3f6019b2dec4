# SPDX-License-Identifier: Apache-2.0
"""Digests of files and tensors, and what is verified by them: what the program's verb `hash` does."""

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional, Tuple, Union

from . import _editing
from ._editing import Path, Progress
from ._safetensors_rust import SafetensorError
from ._shards import files_of
from .edit import EditSummary, _run

try:
    from ._safetensors_rust import _hash, _hash_verify, _manifest_names
except ImportError:
    raise ImportError("this installation has no hashes: it was built without xxhash.h") from None

__all__ = [
    "FileHash",
    "HashDifference",
    "Verification",
    "hash_files",
    "record",
    "verify_manifest",
    "verify_records",
    "write_manifest",
]

Paths = Union[Path, Iterable[Path]]

_ALGORITHMS = ("sha256", "xxh3", "xxh128")
_PARTS = {"file": 1, "data": 2, "tensors": 4}


@dataclass(frozen=True)
class FileHash:
    """The digests of a file, in small hexadecimal digits.

    Attributes:
        file (`str`):
            Its path.
        algorithm (`str`):
            `"sha256"`, `"xxh3"`, or `"xxh128"`.
        digest (`str`, *optional*):
            Of the whole file.
        data_digest (`str`, *optional*):
            Of what follows the header.
        tensors (`Dict[str, str]`, *optional*):
            Of each tensor's bytes, in the order of the file.
    """

    file: str
    algorithm: str
    digest: Optional[str]
    data_digest: Optional[str]
    tensors: Optional[Dict[str, str]]


@dataclass(frozen=True)
class HashDifference:
    """Something that is not as it was.

    Attributes:
        kind (`str`):
            `"size"`, `"file"`, `"data"`: of the file; `"missing"`, `"extra"`, `"dtype"`, `"shape"`, `"tensor"`: of a
            tensor.
        tensor (`str`, *optional*):
            Its name.
        expected, found (`str`, *optional*):
            The digests, where it is about these.
        message (`str`):
            In one line.
    """

    kind: str
    tensor: Optional[str]
    expected: Optional[str]
    found: Optional[str]
    message: str


@dataclass(frozen=True)
class Verification:
    """Whether a file is what it was: true where it is.

    Attributes:
        file (`str`):
            Its path.
        name (`str`, *optional*):
            Its name in the manifest.
        differences (`Tuple[HashDifference, ...]`):
            What is not as it was.
    """

    file: str
    name: Optional[str]
    differences: Tuple[HashDifference, ...]

    def __bool__(self) -> bool:
        return not self.differences


# ------------------------------------------------------------------------------------------------ inputs


def _files_of(paths: Paths) -> List[str]:
    """The files: of a folder or an index its shards."""
    return [file for path in _editing.paths_list("paths", paths) for file in files_of(path)]


def _size(file: str) -> int:
    """For the progress: what is not there is told when it is opened."""
    try:
        return os.stat(file).st_size
    except OSError:
        return 0


def _algorithm(value: Any) -> str:
    if value not in _ALGORITHMS:
        raise ValueError(f"algorithm must be one of {', '.join(map(repr, _ALGORITHMS))}, not {value!r}")
    return str(value)


def _digests(
    files: List[str], names: Optional[List[str]], algorithm: str, parts: int, progress: Optional[Progress]
) -> Tuple[List[FileHash], bytes]:
    """With `names` the text of a manifest, too."""
    total = sum(map(_size, files)) if progress else 0
    inputs = tuple(zip(files, [""] * len(files) if names is None else names))
    found, text = _hash(inputs, _algorithm(algorithm), parts, names is not None, total, progress)
    hashes = [
        FileHash(file, algorithm, digest, data, None if tensors is None else dict(tensors))
        for file, (digest, data, tensors) in zip(files, found)
    ]
    return hashes, text


# --------------------------------------------------------------------------------------------- functions


def hash_files(
    paths: Paths,
    *,
    algorithm: str = "sha256",
    parts: Union[str, Iterable[str]] = "file",
    progress: Optional[Progress] = None,
) -> List[FileHash]:
    """
    Computes digests. That of a file is what sha256sum prints and model hubs show; that of a tensor is of its bytes as
    they lie in the file, and stays the same when a file is written anew with another layout or other metadata.

    Args:
        paths (`str`, `os.PathLike`, or several):
            Files, folders, and indices; of the latter two each shard is hashed.
        algorithm (`str`, *keyword-only*, defaults to `"sha256"`):
            Or `"xxh3"` (64 bits) or `"xxh128"`: faster, and no protection against forgery.
        parts (`str`, or several, *keyword-only*, defaults to `"file"`):
            What to hash: `"file"`, `"data"` (what follows the header), `"tensors"`.
        progress (`Callable[[int, int], Optional[bool]]`, *keyword-only*, *optional*):
            Called now and then with how many bytes of how many are done. An exception that it raises ends the work, and
            is what is raised; so does `False`.

    Returns:
        `List[FileHash]`: of each file.

    Example:

    ```python
    from safetensors.hash import hash_files

    for found in hash_files("model.safetensors", parts=["file", "tensors"]):
        print(found.file, found.digest, found.tensors)
    ```
    """
    wanted = _editing.texts("parts", parts)
    if not wanted or any(part not in _PARTS for part in wanted):
        raise ValueError(f"parts must be some of {', '.join(map(repr, _PARTS))}, not {parts!r}")
    files = _files_of(paths)
    return _digests(files, None, algorithm, sum({_PARTS[part] for part in wanted}), progress)[0]


def record(
    path: Path,
    *,
    algorithm: str = "sha256",
    out: Optional[Path] = None,
    in_place: bool = False,
    dry_run: bool = False,
    durability: str = "name",
    progress: Optional[Progress] = None,
) -> EditSummary:
    """
    Puts the digests of a file's tensors into its own metadata, in place of those recorded there before, so that
    `verify_records` can tell later whether the tensors are still the same. They stay true when other metadata are
    edited or the file is laid out anew. Who can change the tensors can change them as well.

    Args:
        path (`str`, or `os.PathLike`):
            A file, a folder, or an index: each shard has its own.
        algorithm (`str`, *keyword-only*, defaults to `"sha256"`):
            As of `hash_files`.
        out, in_place, dry_run, durability, progress:
            As of `safetensors.edit.edit`.

    Returns:
        `EditSummary`: what was done.

    Example:

    ```python
    from safetensors.hash import record

    record("model.safetensors")
    ```
    """
    making = _editing.making("file", None, 0, durability, True, dry_run, progress)
    return _run(path, out, [("record", _algorithm(algorithm))], making, in_place, False)


def verify_records(paths: Paths, *, progress: Optional[Progress] = None) -> List[Verification]:
    """
    Compares files with the digests that `record` has put into their metadata.

    Args:
        paths (`str`, `os.PathLike`, or several):
            Files, folders, and indices.
        progress (*keyword-only*, *optional*):
            As of `hash_files`.

    Returns:
        `List[Verification]`: of each file, true where it is what it was. A file without such digests is an error.

    Example:

    ```python
    from safetensors.hash import verify_records

    assert all(verify_records("model.safetensors"))
    ```
    """
    files = _files_of(paths)
    found = _verified([(file, 0) for file in files], None, "", progress)
    for file, (_, records) in zip(files, found):
        if not records:
            raise SafetensorError(f"{file}: no digests are recorded in its metadata; record() does that")
    return [_verification(file, None, differences) for file, (differences, _) in zip(files, found)]


def write_manifest(
    paths: Paths,
    manifest: Path,
    *,
    algorithm: str = "sha256",
    data: bool = False,
    dry_run: bool = False,
    progress: Optional[Progress] = None,
) -> List[FileHash]:
    """
    Writes a manifest of files: their sizes, the dtypes and shapes of their tensors, and the digests of the files and of
    each tensor. The files' names in it are relative to where it lies. docs/manifest.md describes it.

    Args:
        paths (`str`, `os.PathLike`, or several):
            Files, folders, and indices.
        manifest (`str`, or `os.PathLike`):
            The manifest, which is written once all files have been hashed. A `ValueError` where a model is, or the
            index of one.
        algorithm (`str`, *keyword-only*, defaults to `"sha256"`):
            As of `hash_files`.
        data (`bool`, *keyword-only*, defaults to `False`):
            Whether to have the digest of what follows the header, too.
        dry_run (`bool`, *keyword-only*, defaults to `False`):
            Only compute the digests.
        progress (*keyword-only*, *optional*):
            As of `hash_files`.

    Returns:
        `List[FileHash]`: the digests.

    Example:

    ```python
    from safetensors.hash import write_manifest

    write_manifest("model.safetensors", "manifest.json")
    ```
    """
    target = _editing.path_text(manifest)
    folder = os.path.realpath(os.path.dirname(target))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"No such folder: {folder}")
    if _is_model(target):
        raise ValueError(f"{target}: this manifest would take the place of a model, or of the index of one")
    files = _files_of(paths)
    names = [_relative(folder, file) for file in files]
    parts = _PARTS["file"] | _PARTS["tensors"] | (_PARTS["data"] if data else 0)
    hashes, text = _digests(files, names, algorithm, parts, progress)
    if not dry_run:
        _replace(target, text + b"\n")
    return hashes


def verify_manifest(
    manifest: Path, paths: Optional[Paths] = None, *, progress: Optional[Progress] = None
) -> List[Verification]:
    """
    Compares files with what a manifest says of them.

    Args:
        manifest (`str`, or `os.PathLike`):
            The manifest.
        paths (`str`, `os.PathLike`, or several, *optional*):
            The files, each found in the manifest by where it lies or else by its name; without it all that it names,
            of which none may lie outside of its folder.
        progress (*keyword-only*, *optional*):
            As of `hash_files`.

    Returns:
        `List[Verification]`: of each file, true where it is what it was.

    Example:

    ```python
    from safetensors.hash import verify_manifest

    for found in verify_manifest("manifest.json"):
        print(found.file, "OK" if found else found.differences)
    ```
    """
    path = _editing.path_text(manifest)
    with open(path, "rb") as file:
        text = file.read()
    shown = path.encode("utf-8", "backslashreplace").decode()
    names = _manifest_names(text, shown)
    folder = os.path.dirname(path)
    if paths is None:
        wanted = [(_below(path, folder, name), index) for index, name in enumerate(names)]
    else:
        find = _finder(path, folder, names)
        wanted = [(file, find(file)) for file in _files_of(paths)]
    found = _verified(wanted, text, shown, progress)
    return [_verification(file, names[index], differences) for (file, index), (differences, _) in zip(wanted, found)]


# ------------------------------------------------------------------------------------------- verifying


def _verified(
    wanted: List[Tuple[str, int]], text: Optional[bytes], name: str, progress: Optional[Progress]
) -> List[Tuple[List[Any], int]]:
    total = sum(_size(file) for file, _ in wanted) if progress else 0
    return _hash_verify(tuple(wanted), text, name, total, progress)


def _verification(file: str, name: Optional[str], differences: List[Any]) -> Verification:
    return Verification(file, name, tuple(HashDifference(*difference) for difference in differences))


def _relative(folder: str, path: str) -> str:
    """The path from a real folder on, without links but for the last part."""
    there, name = os.path.split(path)
    return os.path.relpath(os.path.join(os.path.realpath(there), name), folder)


def _below(manifest: str, folder: str, name: str) -> str:
    """A file that a manifest names. It may come from a stranger: it reaches what lies beside it and below."""
    if name.startswith("/") or "\0" in name or ".." in name.split("/"):
        raise SafetensorError(f"{manifest}: it names a file outside of its folder, {name!r}; name it to verify it")
    return os.path.join(folder, name)


def _finder(manifest: str, folder: str, names: List[str]) -> Any:
    """Finds a file's entry: by where it lies, else by what it is called."""
    places = {name: index for index, name in enumerate(names)}
    endings = {name.rpartition("/")[2]: index for index, name in enumerate(names)}
    counts = Counter(name.rpartition("/")[2] for name in names)
    real = os.path.realpath(folder)

    def find(file: str) -> int:
        place, ending = places.get(_relative(real, file)), os.path.basename(file)
        if place is None and counts[ending] == 1:
            place = endings[ending]
        if place is None:
            many = "more than one file" if counts[ending] else "no file"
            raise SafetensorError(f"{manifest}: it has {many} called {ending!r}")
        return place

    return find


def _is_model(path: str) -> bool:
    """By its name, or as it begins: a header's length that can be, and a brace. The program's verbs judge alike."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as stream:
        first = stream.read(9)
    begins = first[8:] == b"{" and 2 <= int.from_bytes(first[:8], "little") <= 100_000_000
    return begins or path.endswith((".safetensors", ".index.json"))


def _replace(path: str, data: bytes) -> None:
    """Writes a file, whole or not at all; a link stays, and what it leads to is replaced."""
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as stream:
            stream.write(data)
        return
    temporary = f"{target}.{os.urandom(4).hex()}"
    try:
        with open(temporary, "xb") as stream:
            if os.path.exists(target):
                os.chmod(temporary, os.stat(target).st_mode & 0o7777)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
