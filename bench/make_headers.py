#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the files that bench_open and bench_once read: ordinary headers, and hostile ones.

usage: make_headers.py FOLDER [NAME...]        NAME: only these; see --list

The data sections are holes (sparse), so a file of 1.3 TB takes only its header's room on disk.
"""
import itertools
import json
import os
import random
import struct
import sys

HEADER_MAX = 100_000_000
BYTES = {"F32": 4, "BF16": 2, "F8_E4M3": 1}
ALPHABET = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"\\')


def entry(name, dtype, shape, begin, end):
    dims = ",".join(map(str, shape))
    return f'"{name}":{{"dtype":"{dtype}","shape":[{dims}],"data_offsets":[{begin},{end}]}}'


def place(tensors):
    """Orders (name, dtype, shape) as upstream's writer does; gives the members and the data's size."""
    rows, at = [], 0
    for name, dtype, shape in sorted(tensors, key=lambda t: (-BYTES[t[1]], t[0])):
        size = BYTES[dtype]
        for dim in shape:
            size *= dim
        rows.append((name, dtype, shape, at, at + size))
        at += size
    return rows, at


def canonical(tensors):
    rows, size = place(tensors)
    return "{" + ",".join(entry(*row) for row in rows) + "}", size


def dense_model():
    """A decoder of the Llama kind in BF16."""
    yield "model.embed_tokens.weight", "BF16", (128256, 4096)
    for layer in itertools.count():
        block = f"model.layers.{layer}."
        for part, shape in (("self_attn.q_proj", (4096, 4096)), ("self_attn.k_proj", (1024, 4096)),
                            ("self_attn.v_proj", (1024, 4096)), ("self_attn.o_proj", (4096, 4096)),
                            ("mlp.gate_proj", (14336, 4096)), ("mlp.up_proj", (14336, 4096)),
                            ("mlp.down_proj", (4096, 14336)), ("input_layernorm", (4096,)),
                            ("post_attention_layernorm", (4096,))):
            yield block + part + ".weight", "BF16", shape


def expert_model(experts=256):
    """A mixture of experts of the DeepSeek kind: FP8 weights, F32 scales, BF16 for the rest."""
    yield "model.embed_tokens.weight", "BF16", (129280, 7168)
    for layer in itertools.count():
        block = f"model.layers.{layer}."
        yield block + "input_layernorm.weight", "BF16", (7168,)
        yield block + "self_attn.kv_a_proj_with_mqa.weight", "BF16", (576, 7168)
        yield block + "mlp.gate.weight", "BF16", (experts, 7168)
        for expert in range(experts):
            for part, shape in (("gate_proj", (2048, 7168)), ("up_proj", (2048, 7168)),
                                ("down_proj", (7168, 2048))):
                name = f"{block}mlp.experts.{expert}.{part}.weight"
                yield name, "F8_E4M3", shape
                yield name + "_scale_inv", "F32", (shape[0] // 128, shape[1] // 128)


def short_model(count):
    for i in range(count):
        yield f"h.{i // 10000}.e.{i // 4 % 2500}.w{i % 4}", "BF16", (768, 256)


def taken(model, count):
    return list(itertools.islice(model, count))


def respelled(form):
    """The 100 000 tensors of expert_model in other spellings than the canonical one."""
    rows, size = place(taken(expert_model(), 100_000))
    if form == "shuffled":
        random.Random(1).shuffle(rows)
        return "{" + ",".join(entry(*row) for row in rows) + "}", size
    if form == "escaped":
        rows = [(row[0].replace("l", "\\u006c", 1), *row[1:]) for row in rows]
        return "{" + ",".join(entry(*row) for row in rows) + "}", size
    members = {n: {"dtype": d, "shape": list(s), "data_offsets": [b, e]} for n, d, s, b, e in rows}
    if form == "name-order":
        members = dict(sorted(members.items()))
        return json.dumps(members, separators=(",", ":")), size
    return json.dumps(members, indent=4 if form == "indented" else None), size


def names(count):
    """The shortest `count` different names, the empty one first."""
    spelled = (itertools.product(ALPHABET, repeat=length) for length in range(5))
    return map("".join, itertools.islice(itertools.chain.from_iterable(spelled), count))


def filled(before, unit, after):
    """`unit` as often as the header limit allows, between two constant texts."""
    count = (HEADER_MAX - len(before) - len(after)) // len(unit)
    return before + unit * count + after


def rank_bomb():
    text = filled('{"a":{"dtype":"U8","shape":[1', ",1", '],"data_offsets":[0,1]}}')
    return text, 1


def densest(spell=lambda i, n: f'"{n}":{{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}', tail="}"):
    """Empty tensors, as many as fit."""
    rows, room = [], HEADER_MAX - 2
    for i, name in enumerate(names(2_000_000)):
        row = spell(i, name)
        if room < len(row) + 1:
            break
        room -= len(row) + 1
        rows.append(row)
    return "{" + ",".join(rows) + tail, 0


def unlearnable(i, name):
    """No two neighbours are spelled alike."""
    fields = ['"dtype":"I8"', '"shape":[0]', '"data_offsets":[0,0]']
    order = list(itertools.permutations(fields))[i % 6]
    return f'"{name}":{{' + (", " if i % 5 else ",").join(order) + "}"


def backwards():
    """Real bytes in the opposite of data order: everything has to be sorted."""
    count = 1_200_000
    rows = [entry(n, "U8", (1,), count - 1 - i, count - i) for i, n in enumerate(names(count))]
    return "{" + ",".join(rows) + "}", count


def duplicates():
    count = 1_000_000
    rows = [entry("a", "U8", (1,), i, i + 1) for i in range(count)]
    return "{" + ",".join(rows) + "}", count


def metadata(count, value=""):
    rows = [f'"{n}":"{value}"' for n in names(count)]
    return '{"__metadata__":{' + ",".join(rows) + "}}", 0


ENTRY = '{"dtype":"U8","shape":[%d],"data_offsets":[0,1]}'
ONE = '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]'

CASES = {
    "100": lambda: canonical(taken(dense_model(), 100)),
    "1000": lambda: canonical(taken(expert_model(), 1000)),
    "100000": lambda: canonical(taken(expert_model(), 100_000)),
    "1000000": lambda: canonical(short_model(1_000_000)),
    "form-blanks": lambda: respelled("blanks"),
    "form-indented": lambda: respelled("indented"),
    "form-escaped": lambda: respelled("escaped"),
    "form-name-order": lambda: respelled("name-order"),
    "form-shuffled": lambda: respelled("shuffled"),
    "hostile-rank-bomb": rank_bomb,
    "hostile-densest": densest,
    "hostile-densest-late-fault": lambda: densest(tail="]"),
    "hostile-densest-bad-utf8-last": lambda: densest(tail=',"\udcff":0}'),
    "hostile-unlearnable": lambda: densest(unlearnable),
    "hostile-escaped-names":
        lambda: densest(lambda i, n: entry("".join(f"\\u{ord(c):04x}" for c in n), "I8", (0,), 0, 0)),
    "hostile-backwards": backwards,
    "hostile-open-brackets": lambda: (filled("", "[", ""), 0),
    "hostile-open-braces": lambda: (filled("", '{"":', ""), 0),
    "hostile-brackets-in-entry": lambda: (filled("{" + ONE + ',"x":', "[", ""), 1),
    "hostile-shallow-brackets": lambda: (filled("{" + ONE + ',"x":[[]', ",[]", "]}}"), 1),
    "hostile-duplicate-names": duplicates,
    "hostile-long-name": lambda: (filled('{"', "a", '":' + ENTRY % 1 + "}"), 1),
    "hostile-long-name-fault": lambda: (filled('{"', "a", '":' + ENTRY % 2 + "}"), 1),
    "hostile-metadata-string": lambda: (filled('{"__metadata__":{"k":"', "v", '"}}'), 0),
    "hostile-metadata-escapes": lambda: (filled('{"__metadata__":{"k":"', "\\u00e9", '"}}'), 0),
    "hostile-metadata-keys": lambda: metadata(9_990_000),
    "hostile-metadata-duplicates":
        lambda: (filled('{"__metadata__":{"k":""', ',"k":""', "}}"), 0),
    "hostile-metadata-unterminated": lambda: (filled('{"__metadata__":{"k":"', "v", ""), 0),
    "hostile-unknown-fields": lambda: (filled("{" + ONE, ',"x":0', "}}"), 1),
    "hostile-unknown-array": lambda: (filled("{" + ONE + ',"x":[0', ",0", "]}}"), 1),
    "hostile-long-number": lambda: (filled('{"a":{"dtype":"U8","shape":[1', "1", "]}}"), 0),
    "hostile-long-fraction": lambda: (filled("{" + ONE + ',"x":0.1', "1", "}}"), 1),
    "hostile-padding": lambda: (filled("{}", " ", ""), 0),
    "hostile-leading-blanks": lambda: (filled("", " ", "{}"), 0),
    "hostile-newlines-between": lambda: (filled("{" + ONE, "\n", "}}"), 1),
    "hostile-random-bytes": lambda: (random.Random(2).randbytes(HEADER_MAX), 0),
    "hostile-quotes": lambda: (filled("{", '""', ""), 0),
    "hostile-rank-of-empties": lambda: densest(
        lambda i, n: f'"{n}":{{"dtype":"I8","shape":[0{",1" * 16}],"data_offsets":[0,0]}}'),
}


def write(folder, name):
    header, data_size = CASES[name]()
    if isinstance(header, str):
        header = header.encode("utf-8", "surrogateescape")
    if name[0].isdigit():
        header += b" " * (-len(header) % 8)
    assert len(header) <= HEADER_MAX, (name, len(header))
    path = os.path.join(folder, name + ".safetensors")
    with open(path + ".part", "wb") as file:
        file.write(struct.pack("<Q", len(header)))
        file.write(header)
        file.truncate(8 + len(header) + data_size)
    os.replace(path + ".part", path)


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(CASES))
        return 0
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    os.makedirs(arguments[0], exist_ok=True)
    for name in arguments[1:] or CASES:
        if not os.path.exists(os.path.join(arguments[0], name + ".safetensors")):
            write(arguments[0], name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
