# SPDX-License-Identifier: Apache-2.0
"""The library against the upstream package and a second reader made from docs/format.md."""

import json
import os
from pathlib import Path

import pytest
import reference
import safetensors
from library import UNKNOWN_DTYPES, UPSTREAM, Library
from mutate import Maker

CASES = Path(os.environ.get("ST_TEST_CASES", Path(__file__).parent.parent / "cases"))
MANIFEST = json.loads((CASES / "manifest.json").read_text())
HEADERS = 20_000
BATCHES = 10
STATUS = {c["rule"]: c["status"] for c in MANIFEST["invalid"]}


@pytest.fixture(scope="module")
def library():
    return Library()


def upstream(content):
    """What upstream reads: {name: (dtype, shape, bytes)}, or None."""
    try:
        tensors = safetensors.deserialize(content)
    except Exception:
        return None
    return {name: (t["dtype"], t["shape"], bytes(t["data"])) for name, t in tensors}


def upstream_metadata(content, path):
    path.write_bytes(content)
    with safetensors.safe_open(path, "np") as file:
        return file.metadata()


def by_name(result, content):
    start = 8 + int.from_bytes(content[:8], "little")
    return {
        name: (dtype, shape, content[start + begin : start + end])
        for name, dtype, shape, begin, end in result.tensors
    }


def compare(library, content):
    """All three readers on one file, under every flag. Gives what upstream said."""
    theirs = upstream(content)
    lenient = library.parse(content, UPSTREAM)
    assert lenient.accepted == (theirs is not None), lenient
    if theirs is not None:
        assert by_name(lenient, content) == theirs
    for flags in (0, UPSTREAM, UNKNOWN_DTYPES, UPSTREAM | UNKNOWN_DTYPES):
        ours = library.parse(content, flags)
        verdict = reference.judge(content, bool(flags & UPSTREAM), bool(flags & UNKNOWN_DTYPES))
        if not verdict.accepted:
            assert (ours.status, ours.offset) == (STATUS[verdict.rule], verdict.offset), ours
            continue
        assert ours.accepted, ours
        assert ours.tensors == verdict.tensors
        assert ours.metadata == verdict.metadata
    strict = reference.judge(content)
    if theirs is not None and not strict.accepted:
        assert strict.rule in reference.UPSTREAM_TAKES, "a difference that format.md does not list"
    assert theirs is not None or not strict.accepted
    return theirs


@pytest.mark.parametrize("kind", ["valid", "invalid"])
def test_corpus(library, kind):
    for case in MANIFEST[kind]:
        content = (CASES / case["file"]).read_bytes()
        accepted = compare(library, content) is not None
        assert accepted == (case.get("upstream", "accept") == "accept"), case["file"]
        verdict = reference.judge(content)
        assert verdict.rule == case.get("rule", ""), case["file"]
        assert verdict.offset == case.get("offset", -1), case["file"]


def test_corpus_metadata(library, tmp_path):
    for case in MANIFEST["valid"] + MANIFEST["invalid"]:
        if case.get("upstream", "accept") == "reject":
            continue
        content = (CASES / case["file"]).read_bytes()
        ours = library.parse(content, UPSTREAM)
        assert ours.metadata == upstream_metadata(content, tmp_path / "case"), case["file"]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_mutated(library, batch, tmp_path):
    maker = Maker(batch)
    accepted = 0
    for number in range(HEADERS // BATCHES):
        content = maker.file()
        try:
            theirs = compare(library, content)
            if theirs is not None and number % 10 == 0:
                ours = library.parse(content, UPSTREAM)
                assert ours.metadata == upstream_metadata(content, tmp_path / "case")
            shifted = maker.shift(content) if number % 60 == 0 else None
            if shifted is not None:
                compare(library, shifted)
        except AssertionError:
            print(f"batch {batch}, file {number}: {content!r}")
            raise
        accepted += theirs is not None
    # The maker is worth something only while both kinds are common.
    assert 0.2 < accepted / (HEADERS // BATCHES) < 0.8
