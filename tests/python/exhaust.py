# SPDX-License-Identifier: Apache-2.0
"""What many calls leave behind, and what becomes of one that runs out of memory."""

import gc
import os
import sys

import pytest


def keeps_nothing(work, times=50):
    """No descriptor, object or reference stays of `work`, however often it is done."""
    work()
    gc.collect()
    none, descriptors, objects = sys.getrefcount(None), len(os.listdir("/proc/self/fd")), len(gc.get_objects())
    for _ in range(times):
        work()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 4
    assert len(gc.get_objects()) < objects + 100
    # Immortal from Python 3.12 on.
    assert abs(sys.getrefcount(None) - none) < 50


def every_allocation_may_fail(call, times=150, least=5, prepare=lambda: None, left=lambda: None):
    """Python's own, one after the other: it is told, or what comes out, and what `left` finds then, is right all the
    same."""
    hooks = pytest.importorskip("_testcapi")
    prepare()
    expected, failed = (repr(call()), left()), 0
    for n in range(times):
        prepare()
        hooks.set_nomemory(n, n + 1)
        try:
            found = call()
        except MemoryError:
            failed += 1
            continue
        finally:
            hooks.remove_mem_hooks()
        assert (repr(found), left()) == expected
    assert failed > least
