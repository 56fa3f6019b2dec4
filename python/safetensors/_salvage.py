# SPDX-License-Identifier: Apache-2.0
"""What can be saved of damaged checkpoints: `safetensors.salvage` of folders and indices."""

import os
from collections import Counter
from contextlib import suppress
from typing import Any, List, Optional, Tuple

from . import _safetensors_rust as _native
from ._compare import Salvage, SalvageItem, _salvage
from ._editing import Progress
from ._safetensors_rust import SafetensorError

_NUMBERS = ("saved", "changed", "lost", "errors", "bytes", "metadata", "size")


def _found(path: str) -> Tuple[List[str], Optional[str], List[Any]]:
    """The files that are there, the index, and what is wrong with it."""
    reports = _native._check_checkpoint(path, False)
    files = [file for file, _, _, named in reports if named is None]
    whole = [(file, findings) for file, findings, _, named in reports if named is not None]
    indices = [file for file, _ in whole if not os.path.isdir(file)]
    if len(indices) > 1:
        raise SafetensorError(f"{path}: holds {len(indices)} indices; name the one to be saved")
    if not files:
        raise SafetensorError(f"{path}: none of its files is there")
    for name, count in Counter(map(os.path.basename, files)).items():
        if count > 1:
            raise SafetensorError(f"{path}: {count} files called {name!r} would be one; save them one by one")
    return files, indices[0] if indices else None, [finding for _, findings in whole for finding in findings]


def _item(index: Optional[str], severity: str, rule: str, message: str, tensor: Any, offset: Any) -> SalvageItem:
    """What is wrong with an index: errors are losses, and the rest is right in the new one."""
    kind = "lost" if severity == "error" else "changed"
    return SalvageItem(kind, message, rule, severity, None, None, offset, 0, index)


def _each(files: List[str], out: Optional[str], progress: Optional[Progress]) -> List[Salvage]:
    total, before = sum(os.stat(file).st_size for file in files), 0
    found = []
    for file in files:
        size = os.stat(file).st_size

        def part(done: int, all_of_it: int, before: int = before, size: int = size) -> Optional[bool]:
            return progress(before + done * size // max(all_of_it, 1), total) if progress else None

        target = None if out is None else os.path.join(out, os.path.basename(file))
        found.append(_salvage(file, target, part if progress else None, file))
        before += size
    return found


def _write(files: List[str], index: Optional[str], out: str, progress: Optional[Progress]) -> List[Salvage]:
    """Writes all files and the index; where that fails nothing is left."""
    made = not os.path.isdir(out)
    if made:
        os.mkdir(out)
    elif os.listdir(out):
        raise ValueError(f"{out} is not empty: name a new folder for what can be saved")
    try:
        found = _each(files, out, progress)
        if index is not None and any(one.size for one in found):
            _native._index_write(out, os.path.join(out, os.path.basename(index)))
    except BaseException:
        for name in os.listdir(out):
            os.unlink(os.path.join(out, name))
        if made:
            os.rmdir(out)
        raise
    if made:
        with suppress(OSError):
            os.rmdir(out)  # where nothing was saved
    return found


def salvage_files(path: str, out: str, dry_run: bool, progress: Optional[Progress]) -> Salvage:
    """Each file by itself, and a new index of what was saved."""
    files, index, findings = _found(path)
    found = _each(files, None, progress) if dry_run else _write(files, index, out, progress)
    numbers = {name: sum(getattr(one, name) for one in found) for name in _NUMBERS}
    items = [_item(index, *finding) for finding in findings] if index is not None and numbers["size"] else []
    for item in items:
        numbers[item.kind] += 1
        numbers["errors"] += item.severity == "error"
    every = tuple(item for one in found for item in one) + tuple(items)
    return Salvage(every, **numbers, files=tuple(found))
