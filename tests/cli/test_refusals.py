# SPDX-License-Identifier: Apache-2.0
"""What writing refuses of the place where it is to write, a dry run refuses as well; nothing is lost by either."""

import os

import pytest

from model_files import build, floats
from shard_files import INDEX, folder  # noqa: F401


@pytest.fixture
def model(make):
    return make({"w": ("F32", [2], floats(1, 2))}, {"format": "pt"}, name="model.safetensors")


@pytest.fixture
def places(tmp_path, model, folder):
    """Where things lie: by name, for the words of a call."""
    (tmp_path / "full").mkdir()
    (tmp_path / "taken").write_text("taken")
    (tmp_path / "link").symlink_to(model)
    (tmp_path / "damaged").write_bytes(model.read_bytes()[:-1])
    return {
        "model": model,
        "folder": folder,
        "shard": folder / "m-2.safetensors",
        "index": folder / INDEX,
        **{name: tmp_path / name for name in ("absent/out", "full", "taken", "link", "damaged", "taken/out")},
    }


def everything_in(top):
    return {
        os.path.join(base, name): os.path.islink(os.path.join(base, name))
        or open(os.path.join(base, name), "rb").read()
        for base, _, names in os.walk(top)
        for name in names
    }


WRITING = ["copy {model}", "edit {model} -x w", "merge {folder}", "cat {model}"]
TEXTS = ["report {model}", "meta export {model}"]


def outputs(call, *out):
    return " ".join([call, "" if call.startswith(("copy", "merge")) else "-o", *out])


def reason(done):
    """The place, and what is wrong with it: whether it was to be made or written is in between."""
    [line] = done.err.splitlines()
    words = line.split(": ")
    return words[1].rstrip("/"), words[-1]


@pytest.mark.parametrize(
    "code, call",
    [
        *((3, outputs(call, out)) for call in [*WRITING, *TEXTS] for out in ("{absent/out}", "{full}", "{taken/out}")),
        *((3, outputs(call, "{taken}", "--no-clobber")) for call in ("copy {model}", "merge {folder}", "cat {model}")),
        (3, "edit {folder} -x c -o {taken}"),
        (3, "edit {folder} -x c -o {absent/out}"),
        (3, "split -c 2 {folder} {taken}"),
        (3, "split -c 2 {folder} {absent/out}"),
        *(
            (2, f"{call} -o {out}")
            for call in TEXTS
            for out in ("{model}", "{link}", "{shard}", "{index}", "{damaged}")
        ),
        *((2, f"hash -a xxh3 -m {out} {{model}}") for out in ("{model}", "{link}", "{shard}", "{index}", "{damaged}")),
        (3, "hash -a xxh3 -m {absent/out} {model}"),
        (3, "hash -a xxh3 -m {full} {model}"),
    ],
)
def test_refused(cli, places, tmp_path, code, call):
    words = [word.format_map(places) for word in call.split()]
    before = everything_in(tmp_path)
    dry, done = cli(*words, "--dry-run"), cli(*words)
    assert (done.code, done.out) == (code, "")
    assert dry.code == done.code
    assert reason(dry) == reason(done)
    assert everything_in(tmp_path) == before
