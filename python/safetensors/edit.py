# SPDX-License-Identifier: Apache-2.0
"""Changes to files and checkpoints: what the program's verbs `edit`, `meta set`, `meta rm` and `repair` do."""

import os
from dataclasses import dataclass
from typing import Any, Iterable, List, Mapping, Optional, Tuple, Union

from . import _editing
from ._editing import Path, Progress
from ._safetensors_rust import _edit, _recover

__all__ = ["CastLoss", "EditSummary", "Recovery", "edit", "recover", "remove_metadata", "set_metadata"]


@dataclass(frozen=True)
class CastLoss:
    """What a cast did to one tensor.

    Attributes:
        name (`str`):
            The tensor, as it is called in the file that was changed.
        dtype (`str`):
            What it was cast to.
        elements (`int`):
            How many numbers it has.
        overflowed (`int`):
            How many were beyond the range of the new dtype, and became infinity, NaN, or its largest number.
        underflowed (`int`):
            How many were not 0 and became 0.
        shard (`str`, *optional*):
            The name of the file that the tensor lies in; `None` where a single file was changed.
    """

    name: str
    dtype: str
    elements: int
    overflowed: int
    underflowed: int
    shard: Optional[str] = None


@dataclass(frozen=True)
class EditSummary:
    """What an edit came to; of a checkpoint, the sums over its files.

    Attributes:
        size (`int`):
            Of the new file, in bytes.
        count (`int`):
            Tensors in it.
        renamed, dropped, cast, replaced, added (`int`):
            Tensors to which that was done.
        moved (`int`):
            Bytes of tensors that stay as they are.
        written (`int`):
            Bytes of tensors that do not.
        room (`int`):
            Bytes of header that can be used in place.
        header (`int`):
            Bytes that the header's text needs.
        overflowed, underflowed (`int`):
            Numbers that the casts took beyond the range of their dtype, and that became 0; counted while writing.
        in_place (`bool`):
            Whether it can be done in place.
        casts (`Tuple[CastLoss, ...]`):
            Each tensor that was cast; empty for a dry run.
    """

    size: int
    count: int
    renamed: int
    dropped: int
    cast: int
    replaced: int
    added: int
    moved: int
    written: int
    room: int
    header: int
    overflowed: int
    underflowed: int
    in_place: bool
    casts: Tuple[CastLoss, ...] = ()


@dataclass(frozen=True)
class Recovery:
    """What an interrupted edit has left of a file, or of a checkpoint.

    Attributes:
        file (`str`):
            The path of the file; of an edit of several files, of their index, or of the folder where they have none.
        kind (`str`, *optional*):
            `"back"`: old bytes are put back; `"forward"`: all of the new ones are there; `"unfinished"`: nothing was
            overwritten; `"foreign"`: it is of a file that is no longer there. Of several files `"several-unfinished"`:
            none was changed, and what was made for them is removed; `"several-forward"`: those that are not changed yet
            are. `None`: it cannot be put right.
        stretches, bytes (`int`):
            Of the file that the journal knows, and bytes in them; 0 but for `"back"` and `"forward"`.
        files, left (`int`, *optional*):
            Only of several files: how many the edit changes, the index among them, and how many of these were not
            changed yet.
        error (`str`, *optional*):
            Why it cannot be put right.
    """

    file: str
    kind: Optional[str]
    stretches: int
    bytes: int
    files: Optional[int] = None
    left: Optional[int] = None
    error: Optional[str] = None


Renames = Union[Mapping[str, str], Iterable[str]]
Step = Tuple[Any, ...]


# ------------------------------------------------------------------------------------------------- steps


def _pair(argument: str, text: str) -> Tuple[str, str]:
    """Splits OLD=NEW at the first equals sign that no backslash is before."""
    halves, at = [""], 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            halves[-1] += "=" if text[at + 1] == "=" else text[at : at + 2]
            at += 2
        elif text[at] == "=" and len(halves) == 1:
            halves.append("")
            at += 1
        else:
            halves[-1] += text[at]
            at += 1
    if len(halves) == 1:
        raise ValueError(f"{argument}: {text!r} is not 'OLD=NEW'")
    return halves[0], halves[1]


def _renames(kind: str, argument: str, value: Optional[Renames]) -> List[Step]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        for old, new in value.items():
            if not isinstance(old, str) or not isinstance(new, str):
                raise TypeError(f"{argument} must be a dict of str to str; {old!r} is {new!r}")
        return [(kind, old, new) for old, new in value.items()]
    return [(kind, *_pair(argument, text)) for text in _editing.texts(argument, value)]


def _casts(value: Any) -> List[Step]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [
            ("cast", _editing.dtype_name(dtype), pattern) for pattern, dtype in _editing.named("cast", value).items()
        ]
    return [("cast", _editing.dtype_name(value), "*")]


def _added(name: str, value: Any, alive: List[Any]) -> Any:
    if isinstance(value, (str, os.PathLike)):
        return _editing.path_text(value), name
    return _put(name, value, alive)


def _put(name: str, value: Any, alive: List[Any]) -> Any:
    if isinstance(value, tuple):
        if len(value) != 2 or not isinstance(value[1], str):
            raise TypeError(f"tensor {name!r}: a tuple must be a path and a tensor's name, not {value!r}")
        return value
    if isinstance(value, (str, os.PathLike)):
        raise TypeError(f"tensor {name!r}: the path of its data comes in a tuple, with a tensor's name, not {value!r}")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return value
    return _editing.plain(name, value, alive)


def _metadata(entries: Optional[Mapping[str, str]], removed: Any) -> List[Step]:
    """What is removed goes first, so that all of it can be replaced. The order of a dict has no say."""
    if removed is True:
        steps: List[Step] = [("clear",)]
    else:
        steps = [("unset", key) for key in _editing.texts("remove_metadata", removed or None)]
    if entries is not None and not isinstance(entries, Mapping):
        raise TypeError(f"metadata must be a dict of str to str, not {type(entries)}")
    for key, value in (entries or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata must be a dict of str to str; {key!r} is {value!r}")
    return steps + [("set", key, value) for key, value in sorted((entries or {}).items())]


def _run(path: Path, out: Optional[Path], steps: List[Step], making: Any, in_place: bool, strict: bool) -> EditSummary:
    if in_place and out is not None:
        raise ValueError("in_place changes the file itself: it takes no out")
    if in_place and making[2]:
        raise ValueError("in_place has the room that is there: reserve needs the file written anew")
    summary, casts = _edit(path, out, steps, making, bool(in_place), bool(strict))
    return EditSummary(**summary, casts=tuple(CastLoss(*cast) for cast in casts))


# --------------------------------------------------------------------------------------------- functions


def edit(
    path: Path,
    out: Optional[Path] = None,
    *,
    rename: Optional[Renames] = None,
    rename_regex: Optional[Renames] = None,
    drop: Union[str, Iterable[str], None] = None,
    keep: Union[str, Iterable[str], None] = None,
    cast: Any = None,
    replace: Optional[Mapping[str, Any]] = None,
    add: Optional[Mapping[str, Any]] = None,
    metadata: Optional[Mapping[str, str]] = None,
    remove_metadata: Union[str, Iterable[str], bool, None] = None,
    order: str = "file",
    align: Optional[int] = None,
    reserve: int = 0,
    in_place: bool = False,
    strict: bool = False,
    dry_run: bool = False,
    durability: str = "name",
    overwrite: bool = True,
    progress: Optional[Progress] = None,
) -> EditSummary:
    """
    Changes what a file or a checkpoint holds. The new file takes the old one's place, or `out`'s, whole or not at all;
    bytes that stay as they are do not pass through the program where the file system can share blocks or copy by
    itself.

    `keep` and `drop` come first, then `cast` and `replace`: all of them see the names that the file has. Then come the
    renames, one after the other, each on the names that the last one left, then what is added, and the metadata. A
    pattern that matches nothing is an error, and nothing is changed. In a pattern `*` is any characters, `?` is one,
    and `[a-z]` one of those.

    A checkpoint is changed as one file is: the patterns are for the names of all its files, and metadata is changed in
    each of them. The files that change and the index take the old ones' places when all are written, all or none of
    them. What is added goes into the last file; one that has no tensor left goes.

    Args:
        path (`str`, or `os.PathLike`):
            A file, a folder, or an index.
        out (`str`, or `os.PathLike`, *optional*):
            Where to write, of a folder or an index a folder; without it what is at `path` is replaced.
        rename (`Dict[str, str]`, or `List[str]`, *keyword-only*, *optional*):
            Old names, or patterns, and new names, in which each `*` stands for what the `*` of the same number matched;
            a list has them as `"OLD=NEW"`.
        rename_regex (`Dict[str, str]`, or `List[str]`, *keyword-only*, *optional*):
            POSIX extended regular expressions, and what every match in a name becomes: `\\1` is what the first group
            matched, `\\0` all of it.
        drop (`str`, or `List[str]`, *keyword-only*, *optional*):
            Patterns of tensors to leave out.
        keep (`str`, or `List[str]`, *keyword-only*, *optional*):
            Patterns of tensors to keep: all others are left out.
        cast (`str`, or `Dict[str, str]`, *keyword-only*, *optional*):
            The dtype of floats, such as `"bf16"`, to which all tensors of floats are converted, rounding to nearest; or
            patterns, and a dtype for each.
        replace (`Dict[str, Any]`, *keyword-only*, *optional*):
            Names, and what takes the place of their data: an array of NumPy or torch, of any dtype and shape; bytes, as
            many as the tensor has; or a tuple of the path of a file, a folder or an index, and a tensor's name.
        add (`Dict[str, Any]`, *keyword-only*, *optional*):
            Names of new tensors, and their data: an array; the path of what has a tensor of the name; or a tuple of a
            path and a name.
        metadata (`Dict[str, str]`, *keyword-only*, *optional*):
            Metadata to set, beside what is there.
        remove_metadata (`str`, `List[str]`, or `True`, *keyword-only*, *optional*):
            Keys to remove, before others are set; `True`: all.
        order (`str`, *keyword-only*, defaults to `"file"`):
            `"file"` keeps the order of the data; `"canonical"` is by dtype, the wide ones first, then by name; or
            `"name"`.
        align (`int`, *keyword-only*, *optional*):
            A power of 2 from 8 to 4096, at a multiple of which the data begins; otherwise as far behind a page as
            before, where that is a page's beginning or there is 1 MiB of data, so that file systems can share its
            blocks; else at a multiple of 8.
        reserve (`int`, *keyword-only*, defaults to 0):
            Bytes of room to leave in the header for later edits in place.
        in_place (`bool`, *keyword-only*, defaults to `False`):
            Change bytes where they are, whatever the file's size: names and metadata where the header has room, in
            milliseconds, and data of the same size; of a checkpoint no names that its index has. Who reads the file
            meanwhile may see some of the new bytes and not others; after a crash the next edit, or `recover`, puts the
            old ones back.
        strict (`bool`, *keyword-only*, defaults to `False`):
            Whether to raise, and to write nothing, where a cast takes a number beyond the range of the new dtype.
        dry_run (`bool`, *keyword-only*, defaults to `False`):
            Only tell what would be done.
        durability (`str`, *keyword-only*, defaults to `"name"`):
            What survives a power cut once this returns: the new file under its name (`"name"`); the old file or the new
            one, whole (`"file"`); or perhaps neither (`"none"`: nothing is waited for).
        overwrite (`bool`, *keyword-only*, defaults to `True`):
            Whether `out` may be there already.
        progress (`Callable[[int, int], Optional[bool]]`, *keyword-only*, *optional*):
            Called now and then with how many bytes of how many are done. An exception that it raises ends the work, and
            is what is raised; so does `False`. Nothing is changed then.

    Returns:
        `EditSummary`: what was done.

    Example:

    ```python
    from safetensors.edit import edit

    edit("model.safetensors", "small.safetensors", drop="optim*", cast="bf16")
    ```
    """
    if not overwrite and out is None:
        raise ValueError("overwrite=False needs an out")
    making = _editing.making(order, align, reserve, durability, overwrite, dry_run, progress)
    alive: List[Any] = []
    kept = _editing.texts("keep", keep)
    if keep is not None and not kept:
        raise ValueError("keep must be one pattern at least: none would leave nothing")
    steps: List[Step] = [("keep", kept)] if kept else []
    steps += [("drop", pattern) for pattern in _editing.texts("drop", drop)]
    steps += _casts(cast)
    steps += [("replace", name, _put(name, value, alive)) for name, value in _editing.named("replace", replace).items()]
    steps += _renames("glob", "rename", rename)
    steps += _renames("regex", "rename_regex", rename_regex)
    steps += [("add", name, _added(name, value, alive)) for name, value in _editing.named("add", add).items()]
    steps += _metadata(metadata, remove_metadata)
    return _run(path, out, steps, making, in_place, strict)


def set_metadata(
    path: Path,
    entries: Mapping[str, str],
    *,
    out: Optional[Path] = None,
    replace: bool = False,
    reserve: int = 0,
    in_place: bool = False,
    dry_run: bool = False,
    durability: str = "name",
    progress: Optional[Progress] = None,
) -> EditSummary:
    """
    Sets metadata: `edit` with nothing else to do. Where nothing changes, nothing is written.

    Args:
        entries (`Dict[str, str]`):
            The metadata to set, beside what is there.
        replace (`bool`, *keyword-only*, defaults to `False`):
            Whether to remove what is not in `entries`.
        path, out, reserve, in_place, dry_run, durability, progress:
            As of `edit`.

    Returns:
        `EditSummary`: what was done.

    Example:

    ```python
    from safetensors.edit import set_metadata

    set_metadata("model.safetensors", {"license": "apache-2.0"})
    ```
    """
    if entries is None:
        raise TypeError("entries must be a dict of str to str, not None")
    making = _editing.making("file", None, reserve, durability, True, dry_run, progress)
    return _run(path, out, _metadata(entries, bool(replace)), making, in_place, False)


def remove_metadata(
    path: Path,
    keys: Union[str, Iterable[str], bool],
    *,
    out: Optional[Path] = None,
    reserve: int = 0,
    in_place: bool = False,
    dry_run: bool = False,
    durability: str = "name",
    progress: Optional[Progress] = None,
) -> EditSummary:
    """
    Removes metadata: `edit` with nothing else to do. If one of the keys is not there, none is removed.

    Args:
        keys (`str`, `List[str]`, or `True`):
            The keys; `True`: all metadata, and `__metadata__` itself.
        path, out, reserve, in_place, dry_run, durability, progress:
            As of `edit`.

    Returns:
        `EditSummary`: what was done.

    Example:

    ```python
    from safetensors.edit import remove_metadata

    remove_metadata("model.safetensors", ["license"])
    ```
    """
    if keys is None:
        raise TypeError("keys must be a str, several, or True, not None")
    making = _editing.making("file", None, reserve, durability, True, dry_run, progress)
    return _run(path, out, _metadata(None, keys), making, in_place, False)


def recover(path: Path, *, dry_run: bool = False) -> List[Recovery]:
    """
    Puts right what interrupted edits have left, as the program's `repair` does, and tells what it was. Of an edit in
    place the journal beside the file puts the old bytes back, or, where all of the new ones were written, the edit is
    ended; an edit of a checkpoint whose files were taking their places goes on to its end. What cannot be put right
    raises, and is left as it is.

    Args:
        path (`str`, or `os.PathLike`):
            A file; a folder, of which all that was left in it; or an index, which need not be readable.
        dry_run (`bool`, *keyword-only*, defaults to `False`):
            Only tell what would be done. What cannot be put right is among it, and its `error` says why. An edit that
            is under way looks like one that was interrupted.

    Returns:
        `List[Recovery]`: what was left, in the order in which it is put right; empty where nothing was.

    Example:

    ```python
    from safetensors.edit import recover

    for left in recover("model.safetensors", dry_run=True):
        print(left.file, left.kind, left.bytes)
    ```
    """
    return [Recovery(*left) for left in _recover(path, bool(dry_run))]
