# SPDX-License-Identifier: Apache-2.0
"""The binary under test, named by ST_BINARY, and what it gave."""
import json
import os

import pytest


def binary():
    path = os.environ.get("ST_BINARY")
    if not path:
        pytest.fail("ST_BINARY must name the binary to test")
    return os.path.abspath(path)


def environment(extra=None):
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm"}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS",
                 "LD_LIBRARY_PATH"):
        if name in os.environ:
            env[name] = os.environ[name]
    env.update(extra or {})
    return env


class Result:
    def __init__(self, code, out, err):
        self.code, self.raw, self.err = code, out, err

    @property
    def out(self):
        return self.raw.decode()

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def json(self):
        return json.loads(self.raw)
