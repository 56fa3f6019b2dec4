# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: their files, and what `safetensors.checkpoint.open` gives."""

import os
from types import TracebackType
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, Type

from ._editing import Path, path_text
from ._loading import load_tensors
from ._safetensors_rust import (
    PySafeSlice,
    SafetensorError,
    SafetensorKeyError,
    TensorMeta,
    _checkpoint,
    safe_open,
)


def join(folder: str, name: str) -> str:
    """The path of a file in a folder, as the program's verbs name it."""
    return name if folder in ("", os.curdir) else os.path.join(folder, name)


def is_several(path: str) -> bool:
    """Whether a path is that of a folder, or of an index."""
    return path.endswith(".json") or os.path.isdir(path)


def files_of(path: Path) -> List[str]:
    """The files of a folder or an index; of any other path itself."""
    text = path_text(path)
    return [text] if not is_several(text) else _paths_of(text, [name for name, _ in _checkpoint(text)[1]])


def _paths_of(path: str, names: Iterable[str]) -> List[str]:
    """The paths of the files that a folder or an index has."""
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    return [join(folder, name) for name in names]


class Checkpoint:
    """The tensors of several files, read as those of one. A mapping from names to tensors, and a context manager; what
    it handed out stays valid after it was closed. All files but the first are opened for reading when a tensor of
    theirs is asked for.

    Attributes:
        path (`str`):
            What was opened.
        index (`str`, *optional*):
            The path of the index; `None` without one.
        files (`Tuple[str, ...]`):
            The names of the files, in their order.
    """

    path: str
    index: Optional[str]
    files: Tuple[str, ...]

    def __init__(self, path: Path, framework: str, device: Any, options: Dict[str, Any]) -> None:
        self.path = path_text(path)
        self.index, files, self._metadata = _checkpoint(self.path)
        self.files = tuple(name for name, _ in files)
        paths = _paths_of(self.path, self.files) if is_several(self.path) else [self.path]
        self._paths = [os.path.abspath(file) for file in paths]
        self._place = {tensor: file for file, (_, tensors) in enumerate(files) for tensor in tensors}
        self._framework, self._device, self._options = framework, device, options
        self._open: Optional[Dict[int, safe_open]] = {}
        if self.files:
            self._file(0)  # so that arguments that are none are told of now

    def _files(self) -> Dict[int, safe_open]:
        if self._open is None:
            raise SafetensorError("File is closed")
        return self._open

    def _file(self, file: int) -> safe_open:
        opened = self._files()
        if file not in opened:
            opened[file] = safe_open(self._paths[file], self._framework, self._device, **self._options)
        return opened[file]

    def _of(self, name: str) -> int:
        self._files()
        if name not in self._place:
            raise SafetensorKeyError(f"Checkpoint does not contain tensor {name}")
        return self._place[name]

    def __enter__(self) -> "Checkpoint":
        self._files()
        return self

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]],
        exc_value: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all files. Tensors and slices that came from them stay valid."""
        opened, self._open = self._open, None
        for file in (opened or {}).values():
            file.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._open is None

    def __len__(self) -> int:
        return len(self._place)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self._place

    def __getitem__(self, name: str) -> Any:
        return self.get_tensor(name)

    def keys(self) -> List[str]:
        """The tensors' names, in their order."""
        return sorted(self._place)

    def offset_keys(self) -> List[str]:
        """The tensors' names file by file, and within one as their data lies in it."""
        return list(self._place)

    def metadata(self) -> Optional[Dict[str, str]]:
        """The metadata that all files have alike, and what the index says of the whole; `None` without any."""
        return None if self._metadata is None else dict(self._metadata)

    def file_of(self, name: str) -> str:
        """The name of the file that a tensor lies in: one of `files`."""
        return self.files[self._of(name)]

    def get_tensor(self, name: str, *, out: Any = None) -> Any:
        """Reads a tensor, as `safe_open.get_tensor` does."""
        return self._file(self._of(name)).get_tensor(name, out=out)

    def get_tensors(self, names: Optional[Iterable[str]] = None) -> Dict[str, Any]:
        """Reads all tensors, or some, of all files in one load: by name, in the order of `offset_keys`."""
        if isinstance(names, str):
            raise TypeError("names must be an iterable of str, not one str")
        wanted = list(self._place) if names is None else names
        by_file: Dict[int, List[str]] = {}
        for name in sorted(dict.fromkeys(wanted), key=self._of):
            by_file.setdefault(self._of(name), []).append(name)
        return load_tensors([self._file(file)._file for file in by_file], list(by_file.values()))

    def get_slice(self, name: str) -> PySafeSlice:
        """A tensor of which parts can be read, as `safe_open.get_slice` gives it."""
        return self._file(self._of(name)).get_slice(name)

    def get_dtype(self, name: str) -> str:
        """A tensor's dtype, as the header's code (`"F32"`)."""
        return self._file(self._of(name)).get_dtype(name)

    def get_shape(self, name: str) -> List[int]:
        """A tensor's shape, a new list."""
        return self._file(self._of(name)).get_shape(name)

    def get_tensor_meta(self, name: str) -> TensorMeta:
        """What the header of its file says of a tensor."""
        return self._file(self._of(name)).get_tensor_meta(name)
