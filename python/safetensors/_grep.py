# SPDX-License-Identifier: Apache-2.0
"""Names and metadata of many files: `safetensors.grep`."""

import os
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator, Optional, Tuple, Union

from . import _safetensors_rust as _native
from ._editing import Path, path_text, paths_list, size
from ._shards import files_of, join

__all__ = ["GrepMatch", "grep"]

_GLOB, _REGEX, _TEXT, _IGNORE_CASE = 0, 1, 2, 0x100
_NAMES, _KEYS, _VALUES = 1, 2, 4
_ENDING, _INDEX_ENDING = ".safetensors", ".json"

_OnError = Callable[[Exception], Any]


@dataclass(frozen=True)
class GrepMatch:
    """A tensor or a metadata entry in which the pattern was found.

    Attributes:
        path (`str`):
            The file.
        kind (`str`):
            `"tensor"` or `"metadata"`.
        name (`str`, *optional*):
            Of a tensor.
        key, value (`str`, *optional*):
            Of a metadata entry.
        name_span, key_span, value_span (`Tuple[int, int]`, *optional*):
            Where in this text the first match begins and ends, as `re.Match.span` has it; `None` where there is none.
    """

    path: str
    kind: str
    name: Optional[str] = None
    key: Optional[str] = None
    value: Optional[str] = None
    name_span: Optional[Tuple[int, int]] = None
    key_span: Optional[Tuple[int, int]] = None
    value_span: Optional[Tuple[int, int]] = None

    def __str__(self) -> str:
        return f"{self.path}:{self.kind}:{self.name if self.key is None else f'{self.key}={self.value}'}"


def _raise(error: Exception) -> None:
    raise error


def _walk(folder: str, recursive: bool, onerror: _OnError) -> Iterator[str]:
    """The files in a folder. Links to files are followed, links to folders are not, so that there is an end."""
    try:
        names = sorted(os.listdir(folder), key=os.fsencode)
    except OSError as error:
        onerror(error)
        return
    for name in names:
        path = join(folder, name)
        if os.path.isdir(path):
            if recursive and not os.path.islink(path):
                yield from _walk(path, recursive, onerror)
        elif name.endswith(_ENDING):
            yield path


def _files(path: Path, recursive: bool, onerror: _OnError) -> Iterator[str]:
    text = path_text(path)
    if os.path.isdir(text):
        yield from _walk(text, recursive, onerror)
    elif text.endswith(_INDEX_ENDING):
        try:
            files = files_of(text)
        except (OSError, _native.SafetensorError) as error:
            onerror(error)
            return
        yield from files
    else:
        yield text


def _found(path: str, found: Tuple[Any, ...]) -> GrepMatch:
    if len(found) == 2:
        return GrepMatch(path, "tensor", name=found[0], name_span=found[1])
    key, value, key_span, value_span = found
    return GrepMatch(path, "metadata", key=key, value=value, key_span=key_span, value_span=value_span)


def _search(
    rule: Any, paths: Iterable[Path], parts: int, most: int, recursive: bool, onerror: _OnError
) -> Iterator[GrepMatch]:
    for path in paths:
        for file in _files(path, recursive, onerror):
            try:
                matches = _native._search(rule, file, parts, most)
            except (OSError, _native.SafetensorError) as error:
                onerror(error)
                continue
            for match in matches:
                yield _found(file, match)


def grep(
    pattern: str,
    paths: Union[Path, Iterable[Path]],
    *,
    names: bool = False,
    keys: bool = False,
    values: bool = False,
    fixed: bool = False,
    glob: bool = False,
    ignore_case: bool = False,
    max_count: Optional[int] = None,
    recursive: bool = False,
    onerror: Optional[_OnError] = None,
) -> Iterator[GrepMatch]:
    """Searches the names of tensors, and keys and values of the metadata, of many files, as the program's `grep` does.
    Headers are read, and no tensor; one file at a time, while the matches are taken. In values of more than 16 KiB
    matches of more than 8 KiB may not be found.

    Args:
        pattern (`str`):
            A POSIX extended regular expression, found anywhere in a text.
        paths (`str`, `os.PathLike`, or an iterable of them):
            Files; folders, of which the files `*.safetensors` are searched; indices, of which the files they name.
        names, keys, values (`bool`, *keyword-only*, defaults to `False`):
            What to search: names of tensors, keys and values of the metadata; without any all three.
        fixed (`bool`, *keyword-only*, defaults to `False`):
            Take the pattern as it stands.
        glob (`bool`, *keyword-only*, defaults to `False`):
            Take it as a glob, which all of a text has to match.
        ignore_case (`bool`, *keyword-only*, defaults to `False`):
            Take large and small letters for the same.
        max_count (`int`, *keyword-only*, *optional*):
            Go on to the next file when so much was found in one.
        recursive (`bool`, *keyword-only*, defaults to `False`):
            Search the folders in a folder too.
        onerror (`Callable[[Exception], Any]`, *keyword-only*, *optional*):
            Called with what was raised for a file or folder that cannot be read, or is no safetensors file; the search
            then goes on. Without it the exception ends the search.

    Returns:
        `Iterator[GrepMatch]`: what was found, file by file, tensors first.

    Example:

    ```python
    from safetensors import grep

    for match in grep("q_proj", "model.safetensors", names=True):
        print(match.path, match.name)
    ```
    """
    if fixed and glob:
        raise ValueError("fixed and glob exclude each other")
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be a str, not {pattern!r}")
    most = None if max_count is None else size("max_count", max_count)
    if onerror is not None and not callable(onerror):
        raise TypeError(f"onerror must be a function, or None, not {onerror!r}")
    kind = _TEXT if fixed else _GLOB if glob else _REGEX
    rule = _native._name_rule(pattern, kind | (_IGNORE_CASE if ignore_case else 0))
    parts = (_NAMES if names else 0) | (_KEYS if keys else 0) | (_VALUES if values else 0)
    several: Iterable[Path] = paths if isinstance(paths, Iterator) else paths_list("paths", paths)
    if most == 0:
        return iter(())
    return _search(rule, several, parts, most or 0, bool(recursive), onerror or _raise)
