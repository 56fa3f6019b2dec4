# SPDX-License-Identifier: Apache-2.0
"""Reading ahead: what `safe_open.prefetch` gives, and the threads behind it.

One pool of threads serves all loaders of the process, within one budget of memory. A thread takes up a
loader's next group of tensors only if that fits into what the budget has left, or if nothing is held at all. Who
asks for a tensor that no thread has taken up yet reads it itself, so nobody ever waits for the budget.
"""

import atexit
import operator
import os
import threading
import weakref
from collections import OrderedDict, deque
from queue import Empty, SimpleQueue
from typing import Any, Dict, Iterator, List, Optional, Tuple, final

from . import _device
from . import _safetensors_rust as _native
from ._safetensors_rust import SafetensorError

# Neighbours are read together, in one load, up to this many bytes and tensors: enough for the library to see what is
# best for them. Each thread is to have a group; but no smaller ones than the last.
_GROUP_BYTES = 32 << 20
_GROUP_TENSORS = 128
_SHARED_BYTES = 1 << 20
# A thread that has nothing to do for so long ends.
_IDLE_SECONDS = 5.0
# How long the end of the process waits for reads that are under way.
_EXIT_SECONDS = 10.0

_WAITING, _READING, _READY, _TAKEN = range(4)


def _memory_of_machine() -> int:
    """Bytes that this process may hope for."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        total = 4 << 30
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            total = min(total, int(file.read()))
    except (OSError, ValueError):  # no such limit, or "max"
        pass
    return total


def _default_budget() -> int:
    said = os.environ.get("SAFETENSORS_PREFETCH_MEMORY", "")
    if said.isdecimal():
        return int(said)
    return min(1 << 30, _memory_of_machine() // 4)


class _Item:
    """One tensor of a plan."""

    __slots__ = ("name", "index", "size", "state", "result")

    def __init__(self, name: str, index: Any, size: int):
        self.name = name
        self.index = index
        self.size = size
        self.state = _WAITING
        self.result: Any = None  # the tensor or the exception, while _READY


class _Plan:
    """What one loader is to read. The pool knows the plan and not the loader, so that a loader nobody holds any
    more goes away. All attributes that change are guarded by the pool's lock."""

    def __init__(self, pool: "_Pool", file: Any, items: List[_Item], device: Any, threads: int):
        self.pool = pool
        self.file = file
        self.items = {item.name: item for item in items}
        self.device = device
        self.threads = threads
        self.groups = deque(self._grouped(items))  # each with its bytes
        self.ready: "OrderedDict[str, _Item]" = OrderedDict()
        self.running = 0
        self.closed = False
        self.changed = threading.Condition(pool.lock)

    def _grouped(self, items: List[_Item]) -> Iterator[Tuple[List[_Item], int]]:
        share = max(_SHARED_BYTES, sum(item.size for item in items) // self.threads)
        most = min(_GROUP_BYTES, share, self.pool.budget // 4)
        group: List[_Item] = []
        size = 0
        for item in items:
            if group and (size + item.size > most or len(group) == _GROUP_TENSORS):
                yield group, size
                group, size = [], 0
            group.append(item)
            size += item.size
        if group:
            yield group, size

    def take_up(self) -> List[_Item]:
        """The next tensors to read, which are the caller's to read from now on; none when there are no more."""
        while self.groups:
            group = [item for item in self.groups.popleft()[0] if item.state == _WAITING]
            if group:
                for item in group:
                    item.state = _READING
                self.running += 1
                return group
        return []

    def give_back(self, group: List[_Item]) -> None:
        """Undoes `take_up`."""
        for item in group:
            item.state = _WAITING
        self.groups.appendleft((group, sum(item.size for item in group)))

    def read(self, items: List[_Item]) -> List[Any]:
        """Tensors and exceptions, one per item. Called without the lock."""
        names = [item.name for item in items]
        indices = [item.index for item in items]
        try:
            if self.device is None:
                results = _native._read_many(self.file, names, indices)
            else:
                results = _device.read(self.file, names, indices, self.device)
        except Exception as error:  # of the whole group; whoever asks for one of it is to hear of it
            results = [error] * len(items)
        return [
            _device.named(result, item.name) if isinstance(result, Exception) else result
            for item, result in zip(items, results)
        ]


class _Pool:
    """The threads and the budget that all loaders share. Used as a context manager it is locked."""

    def __init__(self) -> None:
        self.budget = _default_budget()
        self.max_workers = max(8, min(32, 2 * (os.cpu_count() or 4)))
        self.known: "weakref.WeakSet[_Plan]" = weakref.WeakSet()
        self.restart()

    def restart(self) -> None:
        """Makes everything anew that belongs to threads: at the start, and in the child of a fork."""
        self.lock = threading.Lock()
        self.wakes: SimpleQueue = SimpleQueue()  # one token wakes one idle thread
        self.workers: set = set()
        self.idle = 0  # threads that wait for a token that nobody has put yet
        self.starting = 0  # threads to start once the lock is free
        self.stopping = False
        self.short = False  # something was not begun because of the budget
        self.held = 0  # bytes of tensors being read and not yet handed out
        self.plans: deque = deque()  # those with something left to read
        self.abandoned: deque = deque()
        for plan in self.known:
            self._restart_plan(plan)

    def _restart_plan(self, plan: _Plan) -> None:
        lost = [item for item in plan.items.values() if item.state == _READING]
        if lost:
            plan.give_back(lost)
        plan.running = 0
        plan.changed = threading.Condition(self.lock)
        self.held += sum(item.size for item in plan.ready.values())
        if plan.groups and not plan.closed:
            self.plans.append(plan)

    # The lock. What a destructor leaves behind, which may run at any moment and cannot wait, is cleared up by whoever
    # has the lock then, once it is free.

    def __enter__(self) -> "_Pool":
        self.lock.acquire()
        return self

    def __exit__(self, *_exception: Any) -> None:
        starting, self.starting = self.starting, 0
        self.lock.release()
        for _ in range(starting):
            self._start()
        self._sweep()

    def _sweep(self) -> None:
        while self.abandoned and self.lock.acquire(blocking=False):
            dropped: List[Any] = []
            try:
                while self.abandoned:
                    dropped += self.close_locked(self.abandoned.popleft())
                self.kick(start=False)
            finally:
                self.lock.release()
            dropped.clear()  # tensors go when nobody waits for the lock

    def abandon(self, plan: _Plan) -> None:
        """What `close` is, for destructors."""
        self.abandoned.append(plan)
        self._sweep()

    # The plans.

    def add(self, plan: _Plan) -> None:
        with self:
            self.known.add(plan)
            self.plans.append(plan)
            self.kick()

    def close_locked(self, plan: _Plan) -> List[Any]:
        """Forgets all that was not handed out. Gives what is to be dropped, which can take a while."""
        plan.closed = True
        plan.groups.clear()
        dropped = [item.result for item in plan.ready.values()]
        for item in plan.ready.values():
            self.held -= item.size
            item.state, item.result = _TAKEN, None
        plan.ready.clear()
        if plan in self.plans:
            self.plans.remove(plan)
        plan.changed.notify_all()
        return dropped

    def _startable(self) -> Optional[_Plan]:
        """A plan with something to read that a thread may begin with; plans take turns."""
        self.short = False
        for _ in range(len(self.plans)):
            plan = self.plans[0]
            if not plan.groups:
                self.plans.popleft()
                continue
            self.plans.rotate(-1)
            if plan.running >= plan.threads:
                continue
            if self.held == 0 or self.held + plan.groups[0][1] <= self.budget:
                return plan
            self.short = True
        return None

    def kick(self, start: bool = True) -> None:
        """Sees to it that a thread looks for work, if there is any for it."""
        if self.stopping or self._startable() is None:
            return
        if self.idle:
            self.idle -= 1
            self.wakes.put(None)
        elif start and len(self.workers) + self.starting < self.max_workers:
            self.starting += 1

    def take_up(self, plan: _Plan) -> List[_Item]:
        """The next tensors to read, counted as held."""
        group = plan.take_up()
        self.held += sum(item.size for item in group)
        return group

    def run(self, plan: _Plan, group: List[_Item]) -> None:
        """Reads what was taken up. Called without the lock."""
        results: List[Any] = []
        try:
            results = plan.read(group)
        finally:
            with self:
                plan.running -= 1
                self._settle(plan, group, results)
                plan.changed.notify_all()
                self.kick()

    def _settle(self, plan: _Plan, group: List[_Item], results: List[Any]) -> None:
        if results and not plan.closed:
            for item, result in zip(group, results):
                item.state, item.result = _READY, result
                plan.ready[item.name] = item
            return
        self.held -= sum(item.size for item in group)
        if plan.closed:
            for item in group:
                item.state = _TAKEN
            return
        # The caller was interrupted: others may read them.
        plan.give_back(group)
        if plan not in self.plans:
            self.plans.append(plan)

    def hand_out(self, plan: _Plan, item: _Item) -> Any:
        """Gives a ready item's tensor or exception away."""
        del plan.ready[item.name]
        self.held -= item.size
        result, item.result = item.result, None
        item.state = _TAKEN
        if self.short:
            self.kick()
        return result

    # The threads. They are daemons, so that an idle one keeps no process alive, and are joined at exit, because one
    # that comes back from a read into an interpreter that has ended would be torn down in the middle of C++ code.

    def _start(self) -> None:
        try:
            worker = threading.Thread(target=self._work, name="safetensors-prefetch", daemon=True)
        except RuntimeError:  # this interpreter has no such threads
            return
        with self.lock:
            self.workers.add(worker)
        try:
            worker.start()
        except RuntimeError:  # no more threads: whoever wants a tensor reads it
            with self.lock:
                self.workers.discard(worker)

    def _work(self) -> None:
        while True:
            with self:
                if self.stopping:
                    return
                plan = self._startable()
                if plan is None:
                    self.idle += 1
                else:
                    group = self.take_up(plan)
                    self.kick()
            if plan is None:
                if not self._wait():
                    return
            elif group:
                self.run(plan, group)
            plan, group = None, []  # or an idle thread would keep the last file open

    def _wait(self) -> bool:
        """Waits for a token. False: there was none for long, and the thread is to end."""
        try:
            self.wakes.get(timeout=_IDLE_SECONDS)
            return True
        except Empty:
            pass
        with self:
            try:
                self.wakes.get_nowait()
                return True
            except Empty:
                self.idle -= 1
                self.workers.discard(threading.current_thread())
                return False

    def stop(self) -> None:
        """Ends the threads, each after the read that it is at."""
        with self:
            self.stopping = True
            workers = list(self.workers)
            for _ in workers:
                self.wakes.put(None)
        for worker in workers:
            try:
                worker.join(_EXIT_SECONDS)
            except RuntimeError:  # not started yet; it will see that there is nothing to do
                pass


_pool = _Pool()
atexit.register(_pool.stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _pool.lock.acquire(),
        after_in_parent=lambda: _pool.lock.release(),
        after_in_child=lambda: _pool.restart(),
    )


class _Final(type):
    """Classes that look as if they were written in C: neither called nor subclassed."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"cannot create 'safetensors.{cls.__name__}' instances")

    def __new__(mcs, name: str, bases: tuple, members: dict) -> "_Final":
        for base in bases:
            if isinstance(base, _Final):
                raise TypeError(f"type 'safetensors.{base.__name__}' is not an acceptable base type")
        return super().__new__(mcs, name, bases, members)


@final
class PrefetchLoader(metaclass=_Final):
    """The tensors of one file, read in the background. Made by `safe_open.prefetch`.

    Tensors are handed out by `take` or by iterating; what was handed out is the caller's own and shares no
    memory with the file or with other tensors. All loaders of a process share their threads and one budget of memory
    for what was read and not yet handed out, so a loader may stay open as long as one likes. A loader that nobody
    holds any more stops by itself.

    Example:

    ```python
    from safetensors import safe_open

    with safe_open("model.safetensors", framework="pt") as f:
        with f.prefetch() as loader:
            for name, tensor in loader:
                print(name, tensor.shape)
    ```
    """

    __slots__ = ("_plan", "__weakref__")
    _plan: _Plan

    def names(self) -> List[str]:
        """The names of the tensors of this loader, in file order.

        Returns:
            `List[str]`: the names.
        """
        return list(self._plan.items)

    def __len__(self) -> int:
        return len(self._plan.items)

    def take(self, name: str) -> Any:
        """Gives a tensor, waiting for it where it is being read. One that was handed out before is read again.

        Args:
            name (`str`):
                The tensor's name; it must be in the plan.

        Returns:
            The tensor, or the part of it that the plan asked for.
        """
        plan = self._plan
        with plan.pool:
            if plan.closed:
                raise SafetensorError("prefetch loader closed")
            item = plan.items.get(name)
            if item is None:
                raise SafetensorError(f"{name} is not in the prefetch plan")
            while item.state == _READING and not plan.closed:
                plan.changed.wait()
            if plan.closed:
                raise SafetensorError("prefetch loader closed")
            ready = item.state == _READY
            if ready:
                result = plan.pool.hand_out(plan, item)
            else:
                item.state = _TAKEN
        return _given(result if ready else plan.read([item])[0])

    def __iter__(self) -> "TensorStream":
        if self._plan.closed:
            raise SafetensorError("prefetch loader closed")
        stream = object.__new__(TensorStream)
        stream._loader = self
        return stream

    def close(self) -> None:
        """Stops reading, and drops what was not handed out. Tensors that were keep their memory. It does not wait for
        reads that are under way, and may be called more than once."""
        plan = self._plan
        with plan.pool:
            dropped = plan.pool.close_locked(plan)
            plan.pool.kick()
        dropped.clear()

    def __enter__(self) -> "PrefetchLoader":
        return self

    def __exit__(self, _exc_type: Any, _exc_value: Any, _traceback: Any) -> None:
        self.close()

    def __del__(self) -> None:
        plan = getattr(self, "_plan", None)
        if plan is not None:
            plan.pool.abandon(plan)

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle 'safetensors.PrefetchLoader' object")


@final
class TensorStream(metaclass=_Final):
    """Iterates over a `PrefetchLoader`: `(name, tensor)` in the order in which the tensors are ready, without those
    that were handed out already. An error of one tensor is raised in its turn; the others can be had after it."""

    __slots__ = ("_loader",)
    _loader: PrefetchLoader

    def __iter__(self) -> "TensorStream":
        return self

    def __next__(self) -> Tuple[str, Any]:
        plan = self._loader._plan
        while True:
            with plan.pool:
                if plan.closed:
                    raise SafetensorError("prefetch loader closed")
                if plan.ready:
                    item = next(iter(plan.ready.values()))
                    result = plan.pool.hand_out(plan, item)
                    break
                if plan.running:
                    plan.changed.wait()
                    continue
                group = plan.pool.take_up(plan)
                if not group:
                    raise StopIteration
            plan.pool.run(plan, group)
        return item.name, _given(result)

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle 'safetensors.TensorStream' object")


for _class in (PrefetchLoader, TensorStream):
    _class.__module__ = "safetensors"


def _given(result: Any) -> Any:
    if isinstance(result, Exception):
        raise result
    return result


# ------------------------------------------------------------------------------------- plans


def _check_slice(value: slice, name: str) -> None:
    for bound in (value.start, value.stop):
        if bound is not None and not hasattr(type(bound), "__index__"):
            raise SafetensorError(f"prefetch plan slice bounds for {name} must be integers or None")
    try:
        value.indices(1)
    except (TypeError, ValueError) as error:
        raise SafetensorError(f"invalid prefetch plan slice for {name}: {type(error).__name__}: {error}") from None


def _check_index(index: Any, name: str) -> None:
    for value in index if isinstance(index, tuple) else (index,):
        if isinstance(value, slice):
            _check_slice(value, name)
        elif not (_device.is_integer(value) or value is Ellipsis or (value is None and isinstance(index, tuple))):
            raise SafetensorError(f"prefetch plan values must be None or a slice, got {type(value)} for {name}")


def _part_size(file: Any, name: str, index: Any) -> int:
    try:
        return _native._part_of(file, name, index)[1]
    except Exception as error:
        raise _device.named(error, name)


def _whole_size(file: Any, name: str) -> int:
    try:
        return _native._part_of(file, name, None)[1]
    except SafetensorError:  # cannot be had in this framework: told when it is asked for
        return 0


def _planned(file: Any, plan: Optional[Dict[str, Any]]) -> List[_Item]:
    if plan is None:
        return [_Item(name, None, _whole_size(file, name)) for name in file.offset_keys()]
    if not isinstance(plan, dict):
        raise TypeError(f"'{type(plan).__name__}' object is not an instance of 'dict'")
    items = {}
    for name, index in plan.items():
        if not isinstance(name, str):
            raise SafetensorError("prefetch plan keys must be tensor names")
        shape = file.get_slice(name).get_shape()
        if index is None:
            items[name] = _Item(name, None, _whole_size(file, name))
            continue
        _check_index(index, name)
        if isinstance(index, slice) and not shape:
            raise SafetensorError(f"cannot slice rows of the 0-d tensor {name}")
        items[name] = _Item(name, index, _part_size(file, name, index))
    return [items[name] for name in file.offset_keys() if name in items] if len(items) > 1 else [*items.values()]


def _resolved(file: Any, device: Any) -> Any:
    """The device as torch or paddle takes it; None for the CPU."""
    if device is None:
        device = file.device
    if device is None or str(device) in ("cpu", "cpu:0"):
        return None
    if file.framework not in ("pytorch", "paddle"):
        raise SafetensorError(f"Device {device} is not supported for framework {file.framework}")
    if file.framework == "paddle":
        return device
    return _device.resolve(device)


def start(file: Any, plan: Optional[Dict[str, Any]], device: Any, threads: int) -> PrefetchLoader:
    """Begins to read; behind `safe_open.prefetch`."""
    threads = operator.index(threads)
    if threads < 0:
        raise OverflowError("can't convert negative int to unsigned")
    items = _planned(file, plan)
    if not items:
        raise SafetensorError("prefetch plan selects no tensors")
    device = _resolved(file, device)
    loader = object.__new__(PrefetchLoader)
    loader._plan = _Plan(_pool, file, items, device, max(threads, 1))
    _pool.add(loader._plan)
    return loader
