# SPDX-License-Identifier: Apache-2.0
"""How two files or checkpoints differ, and what can be saved of a damaged file: `safetensors.diff` and
`safetensors.salvage`."""

import math
import os
from dataclasses import dataclass
from typing import Any, Iterator, Optional, Tuple

from . import _safetensors_rust as _native
from ._editing import Path, Progress
from ._picking import Patterns, pick
from ._shards import is_several

__all__ = [
    "Deviation",
    "Diff",
    "DiffSummary",
    "MetadataChange",
    "Salvage",
    "SalvageItem",
    "SideTensor",
    "TensorChange",
    "diff",
    "salvage",
]

_METADATA, _TENSORS, _VALUES = 1, 2, 4
_CLOSE, _EQUAL_NAN, _CAST, _PLACES, _RENAMES, _BRIEF = 1, 2, 4, 8, 16, 32


@dataclass(frozen=True)
class SideTensor:
    """A tensor of one of the two that are compared.

    Attributes:
        name, dtype (`str`), shape (`Tuple[int, ...]`), elements, bytes (`int`):
            What the header says of it.
        offset (`int`):
            Of its first byte in the file that it lies in.
    """

    name: str
    dtype: str
    shape: Tuple[int, ...]
    elements: int
    bytes: int
    offset: int


@dataclass(frozen=True)
class Deviation:
    """How far the values of two tensors are apart; an error is relative to the second one.

    Attributes:
        of (`str`):
            `"elements"`; or `"bytes"` for an unknown dtype, and then all from `beyond` on is `None`.
        count, different (`int`):
            All of them, and those of other bits; of two dtypes, those of another value.
        first (`int`, *optional*):
            The first different one, in row-major order.
        same (`bool`):
            Whether they count as the same.
        beyond (`int`):
            How many of the different are not within the tolerance.
        nan_a, nan_b, nan_both, infinite (`int`):
            How many of the different are NaN in the first only, in the second only, in both; or infinite in either.
        max_absolute (`float`), max_absolute_at (`int`, *optional*):
            The largest error of all others, and where it is.
        max_integer (`int`):
            The same of two dtypes of integers, exactly.
        mean_absolute (`float`):
            Of all elements that have an error or are the same.
        max_relative (`float`), max_relative_at (`int`, *optional*):
            The largest relative error, and where it is.
    """

    of: str
    count: int
    different: int
    first: Optional[int]
    same: bool
    beyond: Optional[int] = None
    nan_a: Optional[int] = None
    nan_b: Optional[int] = None
    nan_both: Optional[int] = None
    infinite: Optional[int] = None
    max_absolute: Optional[float] = None
    max_absolute_at: Optional[int] = None
    max_integer: Optional[int] = None
    mean_absolute: Optional[float] = None
    max_relative: Optional[float] = None
    max_relative_at: Optional[int] = None


@dataclass(frozen=True)
class MetadataChange:
    """An entry of the metadata that is not alike.

    Attributes:
        change (`str`):
            `"removed"`, `"added"`, or `"changed"`.
        key (`str`):
            Its key.
        a, b (`str`, *optional*):
            The values; `None` where it is not there.
    """

    change: str
    key: str
    a: Optional[str]
    b: Optional[str]


@dataclass(frozen=True)
class TensorChange:
    """A tensor that is not alike.

    Attributes:
        change (`str`):
            `"removed"`, `"added"`, `"renamed"`, or `"changed"`.
        differs (`bool`):
            Whether it counts as a difference.
        parts (`Tuple[str, ...]`):
            What is apart: `"dtype"`, `"shape"`, `"values"`, `"offset"`, `"order"`.
        a, b (`SideTensor`, *optional*):
            The tensor in each of the two.
        values (`Deviation`, *optional*):
            How far the values are apart; `None` where they were not compared.
    """

    change: str
    differs: bool
    parts: Tuple[str, ...]
    a: Optional[SideTensor]
    b: Optional[SideTensor]
    values: Optional[Deviation]


@dataclass(frozen=True)
class DiffSummary:
    """What a comparison came to, in numbers.

    Attributes:
        differences (`int`):
            What counts as one.
        same, changed, removed, added, renamed, moved (`int`):
            Tensors in both that count as the same, and that do not; those in the first only, and in the second only;
            those of another name; and those in both, at another offset or in another order.
        metadata_same, metadata_changed, metadata_removed, metadata_added (`int`):
            Entries of the metadata.
        elements, different, beyond (`int`):
            Elements whose values were compared, and the sums over all tensors.
    """

    differences: int
    same: int
    changed: int
    removed: int
    added: int
    renamed: int
    moved: int
    metadata_same: int
    metadata_changed: int
    metadata_removed: int
    metadata_added: int
    elements: int
    different: int
    beyond: int


@dataclass(frozen=True)
class Diff:
    """How two files or checkpoints differ: false where they do not.

    Attributes:
        same (`bool`):
            Whether nothing counts as a difference.
        metadata (`Tuple[MetadataChange, ...]`):
            The entries that are not alike.
        tensors (`Tuple[TensorChange, ...]`):
            The tensors that are not.
        summary (`DiffSummary`):
            All of it in numbers.
    """

    same: bool
    metadata: Tuple[MetadataChange, ...]
    tensors: Tuple[TensorChange, ...]
    summary: DiffSummary

    def __bool__(self) -> bool:
        return not self.same


def _side(found: Any) -> Optional[SideTensor]:
    return None if found is None else SideTensor(*found)


def _change(change: str, differs: bool, parts: Any, a: Any, b: Any, values: Any) -> TensorChange:
    deviation = None if values is None else Deviation(**values)
    return TensorChange(change, differs, tuple(parts), _side(a), _side(b), deviation)


def _tolerance(argument: str, value: Optional[float]) -> float:
    number = 0.0 if value is None else float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{argument} must be a number that is not below 0, not {value!r}")
    return number


def diff(
    a: Path,
    b: Path,
    *,
    rtol: Optional[float] = None,
    atol: Optional[float] = None,
    equal_nan: bool = False,
    cast: bool = False,
    renames: bool = False,
    places: bool = False,
    metadata: bool = True,
    tensors: bool = True,
    values: bool = True,
    glob: Patterns = None,
    regex: Patterns = None,
    exclude: Patterns = None,
    dtype: Any = None,
    brief: bool = False,
    progress: Optional[Progress] = None,
) -> Diff:
    """Compares two files or checkpoints, as the program's verb `diff` does: metadata, which tensors there are, and
    their values, in memory that does not grow with the files. Which file of a checkpoint a tensor lies in is no
    difference.

    Args:
        a, b (`str`, or `os.PathLike`):
            A file, a folder, or an index each.
        rtol, atol (`float`, *keyword-only*, *optional*):
            Take elements for the same where `|a - b| <= atol + rtol * |b|`. One of the two that is not given is 0;
            without both, only the same bits are the same.
        equal_nan (`bool`, *keyword-only*, defaults to `False`):
            Whether NaN is the same as NaN of other bits.
        cast (`bool`, *keyword-only*, defaults to `False`):
            Whether another dtype is no difference by itself: the numbers are compared.
        renames (`bool`, *keyword-only*, defaults to `False`):
            Whether to look for tensors that have another name, but the same dtype, shape, and bytes.
        places (`bool`, *keyword-only*, defaults to `False`):
            Whether another offset, or another order of the tensors, is a difference.
        metadata, tensors, values (`bool`, *keyword-only*, default to `True`):
            What to compare. Without `values` no tensor is read.
        glob, regex (`str`, or `List[str]`, *keyword-only*, *optional*):
            Take the tensors of both whose names match one of these: patterns of `*`, `?` and `[a-z]`, which all of a
            name has to match, and POSIX extended regular expressions, found anywhere in one. All without either.
        exclude (`str`, or `List[str]`, *keyword-only*, *optional*):
            Leave out the tensors whose names match one of these patterns.
        dtype (`str`, or a list, *keyword-only*, *optional*):
            Take the tensors of these dtypes: codes such as `"BF16"`, or what NumPy and torch call them. A `ValueError`
            where nothing of either is left.
        brief (`bool`, *keyword-only*, defaults to `False`):
            Whether to stop at the first difference.
        progress (`Callable[[int, int], Optional[bool]]`, *keyword-only*, *optional*):
            Called now and then with how many bytes of how many are done. An exception that it raises ends the work, and
            is what is raised; so does `False`.

    Returns:
        `Diff`: the differences; false where there are none.

    Example:

    ```python
    from safetensors import diff

    found = diff("model.safetensors", "tuned.safetensors", atol=1e-6)
    for change in found.tensors:
        print(change)
    ```
    """
    if not metadata and not tensors:
        raise ValueError("nothing is to be compared: neither metadata nor tensors")
    parts = (_METADATA if metadata else 0) | (_TENSORS if tensors else 0) | (_VALUES if tensors and values else 0)
    flags = (
        (_CLOSE if rtol is not None or atol is not None else 0)
        | (_EQUAL_NAN if equal_nan else 0)
        | (_CAST if cast else 0)
        | (_PLACES if places else 0)
        | (_RENAMES if renames else 0)
        | (_BRIEF if brief else 0)
    )
    entries, changes, numbers = _native._compare(
        a,
        b,
        parts,
        flags,
        _tolerance("rtol", rtol),
        _tolerance("atol", atol),
        pick(glob, regex, exclude, dtype),
        progress,
    )
    summary = DiffSummary(**numbers)
    return Diff(
        summary.differences == 0,
        tuple(MetadataChange(*entry) for entry in entries),
        tuple(_change(*change) for change in changes),
        summary,
    )


@dataclass(frozen=True)
class SalvageItem:
    """What became of one thing in a damaged file.

    Attributes:
        kind (`str`):
            `"saved"`: a tensor is in the new file, its bytes as they were; `"changed"`: something is otherwise there;
            `"lost"`: it is not there.
        message (`str`):
            In one line.
        rule, severity (`str`, *optional*):
            The rule of the format that the file breaks, and how bad that is, as of `Finding`.
        tensor, new_name (`str`, *optional*):
            The tensor's name in the damaged file, and in the new one.
        offset (`int`, *optional*):
            In the damaged file: of a saved tensor's bytes, else of the byte at fault.
        bytes (`int`):
            Of a saved tensor, or of a stretch that was left out.
        file (`str`, *optional*):
            The path of the damaged file or index, where several were saved.
    """

    kind: str
    message: str
    rule: Optional[str]
    severity: Optional[str]
    tensor: Optional[str]
    new_name: Optional[str]
    offset: Optional[int]
    bytes: int
    file: Optional[str] = None


@dataclass(frozen=True)
class Salvage:
    """What was saved of a damaged file: true where all was as it should be. Of a folder or an index the numbers are
    sums of those of `files`, and of what the index has amiss.

    Attributes:
        items (`Tuple[SalvageItem, ...]`):
            What became of each thing.
        saved, changed, lost (`int`):
            Items of each kind.
        errors (`int`):
            Of these, such for which the file is refused when it is opened.
        bytes (`int`):
            Of the saved tensors.
        metadata (`int`):
            Entries that were saved.
        size (`int`):
            Of the new file; 0 where nothing can be saved, and none was written.
        file (`str`, *optional*):
            Of one among `files`: the path of the damaged file.
        files (`Tuple[Salvage, ...]`):
            Of a folder or an index: what was saved of each file that is there. Empty for a file.
    """

    items: Tuple[SalvageItem, ...]
    saved: int
    changed: int
    lost: int
    errors: int
    bytes: int
    metadata: int
    size: int
    file: Optional[str] = None
    files: Tuple["Salvage", ...] = ()

    def __bool__(self) -> bool:
        return self.errors == 0 and self.size > 0

    def __iter__(self) -> Iterator[SalvageItem]:
        return iter(self.items)


def _saved(items: Any, numbers: Any, file: Optional[str] = None, files: Tuple[Salvage, ...] = ()) -> Salvage:
    return Salvage(tuple(SalvageItem(*[*item, file]) for item in items), **numbers, file=file, files=files)


def _salvage_files(path: str, out: str, dry_run: bool, progress: Optional[Progress]) -> Salvage:
    parts, numbers = _native._salvage_checkpoint(path, out, dry_run, progress)
    saved = [(_saved(items, of, file), is_index) for file, is_index, items, of in parts]
    items = tuple(item for one, _ in saved for item in one)
    return Salvage(items, **numbers, files=tuple(one for one, is_index in saved if not is_index))


def salvage(path: Path, out: Path, *, dry_run: bool = False, progress: Optional[Progress] = None) -> Salvage:
    """Saves what can be saved of a damaged file into a new one that is valid, as the program's `check --repair`
    does. Every tensor in it is a stretch of the damaged file's bytes; what is not there is not made up. Of a folder or
    an index each file is saved by itself, and an index made of what was saved, if there was one, with the metadata of
    the old one.

    Args:
        path (`str`, or `os.PathLike`):
            The damaged file, folder or index, which stays as it is.
        out (`str`, or `os.PathLike`):
            The file to write; of a folder or an index a folder, empty or not there yet.
        dry_run (`bool`, *keyword-only*, defaults to `False`):
            Only tell what would be saved.
        progress (*keyword-only*, *optional*):
            As of `diff`. Where it ends the work nothing is left of `out`.

    Returns:
        `Salvage`: what became of each thing.

    Raises:
        `OSError`, also for one of several files that cannot be read; `SafetensorError`, also where two of them have a
        tensor of one name, which an index cannot have. Nothing is left of `out` then; the files can be saved one by
        one.

    Example:

    ```python
    from safetensors import salvage

    for item in salvage("model.safetensors", "saved.safetensors"):
        print(item.kind, item.message)
    ```
    """
    text = os.fspath(path)
    if is_several(text):
        return _salvage_files(text, os.fspath(out), dry_run, progress)
    if os.path.exists(out) and os.path.exists(path) and os.path.samefile(path, out):
        raise ValueError(f"{os.fspath(out)} is the damaged file itself: what cannot be saved would be gone with it")
    return _saved(*_native._salvage(path, None if dry_run else out, progress))
