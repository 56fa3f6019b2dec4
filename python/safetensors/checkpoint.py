# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of several files: opened as one, and what the program's verbs `split`, `merge` and `cat` do."""

import os
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, List, Optional, Tuple, Union

from . import _editing
from ._editing import Path, Progress
from ._safetensors_rust import _cat, _merge, _size_parse, _split
from ._shards import Checkpoint
from .edit import EditSummary

__all__ = ["Checkpoint", "Shard", "Shards", "cat", "merge", "open", "split"]

_ENDING = ".safetensors"
_METADATA = ("same", "first", "none")


@dataclass(frozen=True)
class Shard:
    """One file of several.

    Attributes:
        name (`str`):
            Of the file.
        size (`int`):
            Bytes of its tensors.
        tensors (`Tuple[str, ...]`):
            Their names.
    """

    name: str
    size: int
    tensors: Tuple[str, ...]


@dataclass(frozen=True)
class Shards:
    """What a checkpoint was split into: to be iterated over as its shards.

    Attributes:
        index (`str`, *optional*):
            The name of the index; `None` for a single file, which needs none.
        shards (`Tuple[Shard, ...]`):
            The files.
        removed (`Tuple[str, ...]`):
            With `clean`: the names of older shards that were removed; of a dry run, that would be.
    """

    index: Optional[str]
    shards: Tuple[Shard, ...]
    removed: Tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Shard]:
        return iter(self.shards)

    def __len__(self) -> int:
        return len(self.shards)


def open(path: Path, framework: str, device: Any = "cpu", *, backend: str = "mmap", packed: bool = False) -> Checkpoint:
    """
    Opens a checkpoint, whose tensors are then read by name, whichever file they lie in. All files are looked at, and
    none is read until a tensor of it is asked for.

    Args:
        path (`str`, or `os.PathLike`):
            A folder, an index, or a file.
        framework (`str`):
            What the tensors become: `"pt"`, `"np"`, `"tf"`, `"flax"` (or `"jax"`), `"mlx"` or `"paddle"`.
        device, backend, packed:
            As of `safe_open`.

    Returns:
        `Checkpoint`: what `safe_open` is for a single file.

    Example:

    ```python
    from safetensors import checkpoint

    with checkpoint.open("shards", "np") as model:
        for name in model:
            print(name, model.file_of(name), model.get_slice(name).get_shape())
    ```
    """
    return Checkpoint(path, framework, device, {"backend": backend, "packed": packed})


def split(
    path: Path,
    folder: Path,
    *,
    max_shard_size: Union[int, str, None] = None,
    shard_count: Optional[int] = None,
    pattern: str = "model{suffix}.safetensors",
    clean: bool = False,
    align: Optional[int] = None,
    dry_run: bool = False,
    durability: str = "name",
    overwrite: bool = True,
    progress: Optional[Progress] = None,
) -> Shards:
    """
    Writes a file or a checkpoint anew in shards, with an index that names the shard of each tensor. Names, sizes and
    the index are those that huggingface_hub makes of the same tensors in the same order. Each file is written whole or
    not at all, the index last.

    Args:
        path (`str`, or `os.PathLike`):
            A file, a folder, or an index.
        folder (`str`, or `os.PathLike`):
            Where to write; it is made if it is not there.
        max_shard_size (`int`, or `str`, *keyword-only*, *optional*):
            Bytes of tensors that no shard holds more of, but for a single tensor that is larger: a number, or a text
            such as `"5GB"` (the default) or `"500MiB"`.
        shard_count (`int`, *keyword-only*, *optional*):
            Make at most so many shards, by the least size that does.
        pattern (`str`, *keyword-only*, defaults to `"model{suffix}.safetensors"`):
            Of the files' names; `{suffix}` becomes `-00001-of-00003`, or nothing where there is one file.
        clean (`bool`, *keyword-only*, defaults to `False`):
            Once all is written, remove the shards of older splits from the folder: files named by the same pattern with
            any numbers, that are none of the new ones. Without it they stay, and keep a single file from being written.
        align (`int`, *keyword-only*, *optional*):
            A power of 2 from 8 (the default) to 4096, at a multiple of which the data of each shard begins.
        dry_run (`bool`, *keyword-only*, defaults to `False`):
            Only tell what would be made.
        overwrite (`bool`, *keyword-only*, defaults to `True`):
            Whether any of the files may be there already.
        durability, progress:
            As of `safetensors.edit.edit`. Where `progress` ends the work the shards before stay, and there is no index.

    Returns:
        `Shards`: the files.

    Example:

    ```python
    from safetensors.checkpoint import split

    for shard in split("model.safetensors", "shards", max_shard_size="500MB"):
        print(shard.name, shard.size)
    ```
    """
    if max_shard_size is not None and shard_count is not None:
        raise ValueError("max_shard_size and shard_count exclude each other")
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be a str, not {pattern!r}")
    limit = _size_parse(max_shard_size) if isinstance(max_shard_size, str) else max_shard_size
    limit = 0 if limit is None else _editing.size("max_shard_size", limit, 1)
    count = 0 if shard_count is None else _editing.size("shard_count", shard_count, 1)
    making = _editing.making("file", align, 0, durability, overwrite, dry_run, progress)
    index, shards, removed = _split(path, folder, limit, count, pattern, clean, making)
    return Shards(index, tuple(Shard(name, size, tuple(tensors)) for name, size, tensors in shards), tuple(removed))


def merge(
    path: Path,
    out: Path,
    *,
    order: str = "canonical",
    align: Optional[int] = None,
    reserve: int = 0,
    dry_run: bool = False,
    durability: str = "name",
    overwrite: bool = True,
    progress: Optional[Progress] = None,
) -> EditSummary:
    """
    Writes the shards of a checkpoint as one file, whole or not at all. What the index says of the whole and what all
    files say alike becomes the metadata.

    Args:
        path (`str`, or `os.PathLike`):
            A folder, or an index.
        out (`str`, or `os.PathLike`):
            The file to write.
        order (`str`, *keyword-only*, defaults to `"canonical"`):
            By dtype, the wide ones first, then by name; or `"file"`, as they come out of the files; or `"name"`.
        align (`int`, *keyword-only*, *optional*):
            A power of 2 from 8 (the default) to 4096, at a multiple of which the data begins.
        reserve (`int`, *keyword-only*, defaults to 0):
            Bytes of room to leave in the header for later edits in place.
        dry_run (`bool`, *keyword-only*, defaults to `False`):
            Only tell what would be made.
        durability, overwrite, progress:
            As of `safetensors.edit.edit`.

    Returns:
        `EditSummary`: what was written.

    Example:

    ```python
    from safetensors.checkpoint import merge

    merge("shards", "whole.safetensors")
    ```
    """
    making = _editing.making(order, align, reserve, durability, overwrite, dry_run, progress)
    return EditSummary(**_merge(path, out, making))


def _stem(path: Path) -> str:
    """A file's own name, up to its ending, and a dot."""
    name = os.path.basename(os.fspath(path).rstrip("/"))
    return name.partition(_ENDING)[0] + "."


def cat(
    paths: Iterable[Path],
    out: Path,
    *,
    prefixes: Optional[Iterable[str]] = None,
    prefix_stem: bool = False,
    metadata: str = "same",
    order: str = "canonical",
    align: Optional[int] = None,
    reserve: int = 0,
    dry_run: bool = False,
    durability: str = "name",
    overwrite: bool = True,
    progress: Optional[Progress] = None,
) -> EditSummary:
    """
    Writes the tensors of several files into one, whole or not at all. A name that two of them have is an error, unless
    prefixes keep them apart.

    Args:
        paths (`Iterable[Union[str, os.PathLike]]`):
            Files, folders, and indices.
        out (`str`, or `os.PathLike`):
            The file to write.
        prefixes (`Iterable[str]`, *keyword-only*, *optional*):
            What comes before the names of each one's tensors, as many as `paths`.
        prefix_stem (`bool`, *keyword-only*, defaults to `False`):
            Whether each one's own name and a dot come before the names of its tensors.
        metadata (`str`, *keyword-only*, defaults to `"same"`):
            Of a key that several have: `"same"` wants the same value everywhere, `"first"` takes the first one's,
            and `"none"` leaves all metadata out.
        order, align, reserve, dry_run, durability, overwrite, progress:
            As of `merge`.

    Returns:
        `EditSummary`: what was written.

    Example:

    ```python
    from safetensors.checkpoint import cat

    cat(["unet.safetensors", "vae.safetensors"], "both.safetensors", prefix_stem=True)
    ```
    """
    if isinstance(paths, (str, os.PathLike)):
        raise TypeError("paths must be several, not one")
    files: List[Path] = list(paths)
    if not files:
        raise ValueError("cat needs at least one path")
    if prefix_stem and prefixes is not None:
        raise ValueError("prefixes and prefix_stem exclude each other")
    if prefix_stem:
        before = [_stem(path) for path in files]
    else:
        before = [""] * len(files) if prefixes is None else _editing.texts("prefixes", prefixes)
    if len(before) != len(files):
        raise ValueError(f"prefixes must be as many as paths: {len(before)} for {len(files)}")
    if metadata not in _METADATA:
        raise ValueError(f"metadata must be one of {', '.join(map(repr, _METADATA))}, not {metadata!r}")
    making = _editing.making(order, align, reserve, durability, overwrite, dry_run, progress)
    inputs = [(os.fspath(path), prefix) for path, prefix in zip(files, before)]
    return EditSummary(**_cat(inputs, out, metadata, making))
