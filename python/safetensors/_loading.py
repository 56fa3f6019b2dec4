# SPDX-License-Identifier: Apache-2.0
"""Whole files as dicts: what every framework's `load_file` and `load_files` do."""

import mmap
import os
from contextlib import ExitStack
from typing import IO, Any, Dict, Iterable, List, Optional, Union

from . import _safetensors_rust as _native
from ._safetensors_rust import SafetensorError, safe_open

# What offers its memory as a buffer; collections.abc.Buffer has a name for it from Python 3.12 on.
Buffer = Union[bytes, bytearray, memoryview, mmap.mmap]

# What can be opened: a path, a descriptor, a file object, or the bytes of a file.
Source = Union[str, os.PathLike, int, IO[bytes], Buffer]


def load_file_as(
    framework: str,
    filename: Source,
    keys: Optional[Iterable[str]],
    prefix: Optional[str],
    *,
    out: Optional[Dict[str, Any]] = None,
    **options: Any,
) -> Dict[str, Any]:
    """The tensors that `keys` and `prefix` select of a file that `safe_open` opens with `options`, those of `out` read
    into what it has; in the order of the file."""
    with safe_open(filename, framework, **options) as f:
        names = _selected(f, keys, prefix)
        return f.get_tensors(names) if out is None else _load_into(f, names, out)


def load_files_as(
    framework: str,
    filenames: Iterable[Source],
    keys: Optional[Iterable[str]],
    prefix: Optional[str],
    **options: Any,
) -> Dict[str, Any]:
    """The same of several files, as one dict; in the order of the files."""
    if isinstance(filenames, (str, bytes, os.PathLike)):
        raise TypeError(f"filenames must be several files, not the one path {filenames!r}")
    sources = list(filenames)
    with ExitStack() as stack:
        files = [stack.enter_context(safe_open(source, framework, **options))._file for source in sources]
        return load_tensors(files, _selected_of_all(files, sources, keys, prefix))


def load_tensors(files: List[Any], names: List[List[str]]) -> Dict[str, Any]:
    """Some tensors of each of several files as one dict, in the order of the files."""
    if not any(file.device for file in files):
        return _native._load_files(tuple(files), tuple(names))
    from ._device import tensors

    loaded = {}
    for file, own in zip(files, names):
        loaded.update(tensors(file, own, file.device))
    return loaded


def _selected_of_all(
    files: List[Any], sources: List[Source], keys: Optional[Iterable[str]], prefix: Optional[str]
) -> List[List[str]]:
    """The names that `keys` and `prefix` leave of each file."""
    if isinstance(keys, str):
        raise TypeError(f"keys must be several names, not the one string {keys!r}")
    wanted = None if keys is None else {name: None for name in keys if prefix is None or name.startswith(prefix)}
    place: Dict[str, Source] = {}
    names = []
    for file, source in zip(files, sources):
        own = [name for name in file.offset_keys() if _is_wanted(name, wanted, prefix)]
        for name in own:
            if name in place:
                one, other = _shown(place[name]), _shown(source)
                raise SafetensorError(f'tensor "{name}" is in two files, {one} and {other}')
            place[name] = source
        names.append(own)
    for name in wanted or ():
        if name not in place:
            raise _native.SafetensorKeyError(f"None of the files contains tensor {name}")
    return names


def _is_wanted(name: str, wanted: Optional[Dict[str, None]], prefix: Optional[str]) -> bool:
    if wanted is not None:
        return name in wanted
    return prefix is None or name.startswith(prefix)


def _shown(source: Source) -> str:
    """A file as messages name it."""
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    return str(getattr(source, "name", f"<{type(source).__name__}>"))


def _selected(f: Any, keys: Optional[Iterable[str]], prefix: Optional[str]) -> Optional[List[str]]:
    """The names that `keys` and `prefix` leave; None for all."""
    if isinstance(keys, str):
        raise TypeError(f"keys must be several names, not the one string {keys!r}")
    if prefix is None:
        return None if keys is None else list(keys)
    return [name for name in (f.offset_keys() if keys is None else keys) if name.startswith(prefix)]


def _load_into(f: Any, names: Optional[List[str]], out: Dict[str, Any]) -> Dict[str, Any]:
    """Reads the tensors that `out` has into those, and makes the others."""
    order = f.offset_keys()
    if names is None:
        names = order
        lacking = sorted(set(out).difference(names))
        if lacking:
            raise SafetensorError(f"File does not contain tensor {lacking[0]}, which `out` has")
    loaded = f.get_tensors([name for name in names if name not in out])
    for name in names:
        if name not in loaded:
            loaded[name] = f.get_tensor(name, out=out[name])
    return {name: loaded[name] for name in order if name in loaded}
