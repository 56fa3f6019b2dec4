# SPDX-License-Identifier: Apache-2.0
"""What huggingface_hub makes of cases: run by the Python that has it, it reads a case per line, as JSON, and
answers with a line each. test_split.py asks."""

import io
import json
import os
import sys
import tempfile

import torch
from huggingface_hub import save_torch_state_dict, split_torch_state_dict_into_shards
from huggingface_hub.serialization._base import parse_size_to_int


def state_of(tensors):
    return {name: torch.full((size,), i % 251, dtype=torch.uint8) for i, (name, size) in enumerate(tensors)}


def split(case):
    made = split_torch_state_dict_into_shards(
        state_of(case["tensors"]), filename_pattern=case["pattern"], max_shard_size=case["limit"]
    )
    return {"files": made.filename_to_tensors}


def save(case):
    with tempfile.TemporaryDirectory() as folder:
        save_torch_state_dict(
            state_of(case["tensors"]),
            folder,
            filename_pattern=case["pattern"],
            max_shard_size=case["limit"],
            metadata=dict(case["metadata"]),
        )
        return {name: open(os.path.join(folder, name), "rb").read().hex() for name in os.listdir(folder)}


def size(case):
    try:
        return parse_size_to_int(case["text"])
    except (ValueError, OverflowError):
        return None


for line in io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8"):
    asked = json.loads(line)
    print(json.dumps({"split": split, "save": save, "size": size}[asked["what"]](asked)), flush=True)
