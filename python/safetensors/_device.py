# SPDX-License-Identifier: Apache-2.0
"""Tensors on other devices than the CPU, read in bounded pieces.

The bytes go through two pieces of host memory by turns: one is filled from the file while the other is on its way to
the device. Where the device can copy by itself the pieces are pinned. No tensor is ever whole in the host's memory,
but for paddle's.
"""

import ctypes
import os
import threading
from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import _safetensors_rust as _native
from ._safetensors_rust import SafetensorError

# Bytes of a piece, and how many there are in the process at most: those of two uploads at full speed.
PIECE_BYTES = 64 << 20
PIECE_COUNT = 4

# Devices whose module in torch has streams and events as CUDA's has.
_WITH_EVENTS = ("cuda", "xpu", "npu", "musa")


def _torch() -> Any:
    import torch

    return torch


def _torch_dtype(code: str) -> Any:
    """What a dtype of the header becomes. F6, which torch lacks, comes as bytes."""
    from .torch import _TYPES

    dtype = _TYPES.get("U8" if code.startswith("F6_") else code)
    if dtype is None:
        raise SafetensorError(f"Dtype not understood: {code}")
    return dtype


# ------------------------------------------------------------------------------------- errors


def named(error: Exception, name: str, device: Any = None) -> Exception:
    """The exception with tensor and device in its text: a copy, as several tensors may fail for one reason."""
    where = "" if device is None else f" (on its way to device {device})"
    if len(error.args) != 1 or not isinstance(error.args[0], str):
        error.add_note(f'tensor "{name}"{where}')
        return error
    text = error.args[0]
    about = "" if f'"{name}"' in text or repr(name) in text else f'tensor "{name}": '
    if not about and not where:
        return error
    try:
        made = type(error)(f"{about}{text}{where}")
    except Exception:  # a class with arguments of its own
        error.add_note(f'tensor "{name}"{where}')
        return error
    made.__cause__ = error
    return made


# ------------------------------------------------------------------------------------ devices


def resolve(device: Any) -> Any:
    """The device as a `torch.device` with its index, which other threads have no other way to know; refuses what
    this torch cannot use."""
    torch = _torch()
    try:
        found = torch.device(device)
        if found.index is None and found.type in _WITH_EVENTS:
            found = torch.device(f"{found.type}:{getattr(torch, found.type).current_device()}")
        torch.empty(0, device=found)
    except Exception as error:
        first_line = str(error).partition("\n")[0]
        raise SafetensorError(f"device {device} is invalid: {first_line}") from error
    return found


# ------------------------------------------------------------------------------------- pieces


class _Piece:
    """Host memory on its way to a device."""

    def __init__(self, size: int, pinned: bool):
        self.memory = _torch().empty(size, dtype=_torch().uint8, device="cpu", pin_memory=pinned)
        self.bytes = memoryview((ctypes.c_ubyte * size).from_address(self.memory.data_ptr())).cast("B")
        self.pinned = pinned
        self.event: Any = None  # of the copy out of it; None: there is none under way

    def wait(self) -> None:
        event, self.event = self.event, None
        if event is not None:
            event.synchronize()


class _Pieces:
    """The pieces of the process. One is waited for, a second one is taken only if it is free: whoever waits holds
    nothing that another one waits for."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.free: List[_Piece] = []
        self.changed = threading.Condition()
        self.left = PIECE_COUNT

    def take(self, size: int, pinned: bool, wait: bool) -> List[_Piece]:
        """One piece, or none if there is none to be had without waiting."""
        with self.changed:
            while not self.left:
                if not wait:
                    return []
                self.changed.wait()
            self.left -= 1
            for i, piece in enumerate(self.free):
                if piece.pinned == pinned and len(piece.bytes) == size:
                    return [self.free.pop(i)]
            if len(self.free) > self.left:
                self.free.pop()
        try:
            return [self._make(size, pinned)]
        except BaseException:
            self.give(None)
            raise

    def _make(self, size: int, pinned: bool) -> _Piece:
        if pinned:
            try:
                return _Piece(size, True)
            except RuntimeError:  # the system allows no more of it; other memory is slower and does as well
                pass
        return _Piece(size, False)

    def give(self, piece: Optional[_Piece]) -> None:
        with self.changed:
            if piece is not None and piece.pinned:  # what is not costs nothing to make anew
                self.free.append(piece)
            self.left += 1
            self.changed.notify()


_pieces = _Pieces()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _pieces.restart())


# ------------------------------------------------------------------------------------- blocks


def is_integer(value: Any) -> bool:
    """Integers of any kind; but arrays of one element, which have `__index__` too, and masks are none."""
    kind = type(value)
    return hasattr(kind, "__index__") and not hasattr(kind, "__len__") and kind.__name__ not in ("bool", "bool_")


def _is_plain(item: Any) -> bool:
    return item is None or item is Ellipsis or isinstance(item, slice) or is_integer(item)


def _as_slice(indices: range) -> slice:
    return slice(indices.start, indices.stop if indices.stop >= 0 else None, indices.step)


def _dims(shape: Tuple[int, ...], index: Any) -> List[Any]:
    """Per dimension of a tensor the integer or the range that an index takes of it."""
    items = [item for item in (index if isinstance(index, tuple) else (index,)) if item is not None]
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (len(shape) - len(items) + 1)
    items += [slice(None)] * (len(shape) - len(items))
    return [range(size)[item] for item, size in zip(items, shape)]


def _split(dims: List[Any], size: int, limit: int) -> Iterator[Tuple[Any, int]]:
    at = next((i for i, dim in enumerate(dims) if isinstance(dim, range)), None)
    if size <= limit or at is None:
        yield tuple(_as_slice(dim) if isinstance(dim, range) else dim for dim in dims), size
        return
    indices = dims[at]
    row = size // len(indices)
    rows = max(limit // row, 1)
    for start in range(0, len(indices), rows):
        some = indices[start : start + rows]
        narrowed = [*dims]
        narrowed[at] = some if row <= limit else some[0]
        yield from _split(narrowed, row * len(some), limit)


def _blocks(file: Any, name: str, index: Any, size: int, limit: int) -> Iterator[Tuple[Any, int]]:
    """Splits a part of a tensor into parts of at most `limit` bytes, which are the part when laid one behind the
    other: pairs of an index and a size."""
    if size <= limit:
        yield index, size
        return
    shape = _native._part_of(file, name, None)[0]
    yield from _split(_dims(shape, index), size, limit)


# ------------------------------------------------------------------------------------ uploads


class _Target:
    """A tensor on the device, to be filled front to back."""

    def __init__(self, file: Any, name: str, index: Any, device: Any):
        torch = _torch()
        shape, self.size = _native._part_of(file, name, index)
        self.dtype = _torch_dtype(file.get_slice(name).get_dtype())
        self.name = name
        self.index = index
        self.device = device
        self.tensor = torch.empty(shape, dtype=self.dtype, device=device)
        self.filled = 0
        self.error: Optional[Exception] = None
        try:
            self.storage = self.tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):
            self.storage = None

    def copy(self, piece: _Piece, start: int, size: int) -> None:
        """Sends `size` bytes at `start` of a piece to where the last ones ended."""
        bytes_ = piece.memory[start : start + size]
        if self.storage is not None:
            to = _torch().empty(0, dtype=_torch().uint8, device=self.device)
            to.set_(self.storage, self.filled, (size,))
            to.copy_(bytes_, non_blocking=piece.pinned)
        else:
            typed = bytes_.view(self.dtype)
            first = self.filled // self.dtype.itemsize
            self.tensor.view(-1)[first : first + typed.numel()].copy_(typed)
        self.filled += size


class _Upload:
    """Fills targets through pieces."""

    def __init__(self, file: Any, targets: List[_Target], device: Any):
        self.file = file
        self.targets = targets
        self.module = getattr(_torch(), device.type) if device.type in _WITH_EVENTS else None
        self.device = device

    def run(self) -> None:
        size = sum(target.size for target in self.targets)
        if size == 0:
            return
        # Where copies block, a second piece gains nothing; and pinned ones are kept, so all have one size.
        pinned = self.module is not None
        pieces = _pieces.take(PIECE_BYTES if pinned else min(PIECE_BYTES, size), pinned, wait=True)
        try:
            if pinned and size > PIECE_BYTES:
                pieces += _pieces.take(PIECE_BYTES, pinned, wait=False)
            for turn, batch in enumerate(self._batches()):
                piece = pieces[turn % len(pieces)]
                piece.wait()
                self._send(piece, batch)
            for piece in pieces:
                piece.wait()
        finally:
            for piece in pieces:
                try:
                    piece.wait()  # after an error: nobody else may write into what is still on its way
                finally:
                    _pieces.give(piece)

    def _batches(self) -> Iterator[List[Tuple[_Target, Any, int]]]:
        """Blocks that fill one piece."""
        batch: List[Tuple[_Target, Any, int]] = []
        room = PIECE_BYTES
        for target in self.targets:
            for index, size in _blocks(self.file, target.name, target.index, target.size, PIECE_BYTES):
                if size > room:
                    yield batch
                    batch, room = [], PIECE_BYTES
                batch.append((target, index, size))
                room -= size
        if batch:
            yield batch

    def _send(self, piece: _Piece, batch: List[Tuple[_Target, Any, int]]) -> None:
        batch = [block for block in batch if block[0].error is None]
        names = [target.name for target, _, _ in batch]
        results = _native._read_many_into(self.file, names, [index for _, index, _ in batch], piece.bytes)
        start = 0
        try:
            for (target, _, size), error in zip(batch, results):
                if error is not None:
                    target.error = error
                elif size:
                    target.copy(piece, start, size)
                start += size
        finally:
            if self.module is not None:
                with self.module.device(self.device):
                    event = self.module.Event()
                    event.record()
                piece.event = event


def _read_torch(file: Any, names: List[str], indices: List[Any], device: Any) -> List[Any]:
    device = _torch().device(device)
    results: List[Any] = [None] * len(names)
    targets = {}
    for i, (name, index) in enumerate(zip(names, indices)):
        try:
            targets[i] = _Target(file, name, index, device)
        except Exception as error:
            results[i] = named(error, name, device)
    together = [target for target in targets.values() if target.storage is not None]
    alone = [[target] for target in targets.values() if target.storage is None]
    for group in [together, *alone] if device.type != "meta" else []:
        try:
            _Upload(file, group, device).run()
        except Exception as error:  # of the device's: none of the tensors can be relied on
            for target in group:
                target.error = target.error or error
    for i, target in targets.items():
        results[i] = target.tensor if target.error is None else named(target.error, target.name, device)
    return results


# -------------------------------------------------------------------------------------- paddle


def paddle_place(device: Any) -> Any:
    """What Paddle takes, where it may be torch's name for it or number of it."""
    if isinstance(device, int):
        return f"gpu:{device}"
    return device.replace("cuda", "gpu", 1) if isinstance(device, str) else device


def _read_paddle(file: Any, names: List[str], indices: List[Any], device: Any) -> List[Any]:
    import paddle

    place = paddle_place(device)
    results = _native._read_many(file, names, indices)
    for i, result in enumerate(results):
        if not isinstance(result, Exception):
            try:
                results[i] = paddle.to_tensor(result, place=place)
            except Exception as error:
                results[i] = named(error, names[i], device)
    return results


# ------------------------------------------------------------------------------- what others call


def read(file: Any, names: List[str], indices: List[Any], device: Any) -> List[Any]:
    """Reads tensors, or parts of them (an index of None: all of one), onto a device. Gives a tensor or an exception
    for each."""
    if file.framework == "paddle":
        return _read_paddle(file, names, indices, device)
    return _read_torch(file, names, indices, device)


def tensors(file: Any, names: List[str], device: Any) -> Dict[str, Any]:
    """Whole tensors as a dict, read in one go; the first one that fails raises."""
    results = read(file, names, [None] * len(names), device)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return dict(zip(names, results))


def _read_one(slice_: Any, index: Any, device: Any) -> Any:
    result = read(slice_._file, [slice_._name], [index], device)[0]
    if isinstance(result, Exception):
        raise result
    return result


def tensor(slice_: Any, device: Any) -> Any:
    """The whole tensor of a `PySafeSlice` on a device."""
    return _read_one(slice_, None, device)


def part(slice_: Any, index: Any, device: Any) -> Any:
    """A part of the tensor of a `PySafeSlice` on a device. What is no plain index is the framework's to apply, on the
    device."""
    if index is None or not all(map(_is_plain, index if isinstance(index, tuple) else (index,))):
        return tensor(slice_, device)[index]
    return _read_one(slice_, index, device)
