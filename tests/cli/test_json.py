# SPDX-License-Identifier: Apache-2.0
"""docs/json.md, which is to stay true of every document that --json prints."""

import os
import re

import pytest

from model_files import build, floats
from shard_files import folder  # noqa: F401

DOCUMENT = os.path.join(os.path.dirname(__file__), "..", "..", "docs", "json.md")

CALLS = """
ls {model}
show {model} w
show -s 0 {model} w
check {model} {bad}
check --repair {out} {bad}
check {folder}
stats --bins 4 {model}
hash -a xxh3 -d -t {model}
hash -a xxh3 -m {manifest} {model}
hash --verify {manifest}
hash -a xxh3 --record {model}
hash --verify-metadata {model}
diff {model} {other}
diff --brief {model} {other}
grep w {model} {folder}
report {model} -o {out}
copy {model} {out}
copy --dry-run {model} {out}
edit {model} -c BF16 -r w=v -o {out}
edit {folder} -x c --dry-run
split -c 2 {folder} {shards}
merge {folder} {out}
cat {model} -o {out}
repair {folder} {model}
meta get {model}
meta set {model} k v
meta rm {model} k
stats --explain {model}
ls {absent}
"""


@pytest.fixture
def places(make, tmp_path, folder):
    model = make({"w": ("F32", [2], floats(1, 2)), "b": ("F16", [1], bytes(2))}, {"format": "pt"}, name="one")
    other = make({"w": ("F32", [2], floats(1, 3)), "n": ("U8", [1], b"1")}, {"format": "np"}, name="other")
    bad = make(build({"w": ("F32", [2], floats(1, 2)), "x": ("F32", [2], floats(3, 4))})[:-1], name="bad")
    own = {name: tmp_path / name for name in ("out", "manifest", "shards", "absent")}
    return {"model": model, "other": other, "bad": bad, "folder": folder, **own}


def members_of(value, free=("metadata",)):
    """The names of all members, but for those that a file chose."""
    if isinstance(value, list):
        return {name for each in value for name in members_of(each)}
    if not isinstance(value, dict):
        return set()
    found = set(value)
    for name, each in value.items():
        if not (name in free and isinstance(each, dict)):
            found |= members_of(each)
    return found


def test_members_are_described(cli, places):
    with open(DOCUMENT, encoding="utf-8") as stream:
        described = set(re.findall(r"[a-z_0-9]+", " ".join(re.findall(r"`([^`\n]+)`", stream.read()))))
    missing = {}
    for call in CALLS.split("\n")[1:-1]:
        words = [word.format_map(places) for word in call.split()]
        done = cli(*words, "--json")
        assert done.out, done.err
        names = members_of(done.json) - described
        if names:
            missing[call] = sorted(names)
    assert not missing
