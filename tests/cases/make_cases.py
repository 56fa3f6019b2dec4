#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes valid/, invalid/ and manifest.json: run it after adding a case. Standard library only.

A header is written as text in which «rule» marks the byte that the rule points at (docs/format.md,
section 7); the marks are taken out. Expected tensors come from Python's json module, as a second
reader of the same text.
"""

import json
import shutil
import struct
import sys
import re
from pathlib import Path

HERE = Path(__file__).parent
MARK = re.compile(rb"\xc2\xab([a-z0-9-]+)\xc2\xbb")
U64 = 2**64 - 1

STATUS = {
    "file-too-small": "ST_ERR_HEADER_TOO_SMALL",
    "header-too-large": "ST_ERR_HEADER_TOO_LARGE",
    "header-length": "ST_ERR_HEADER_LENGTH",
    "header-utf8": "ST_ERR_HEADER_UTF8",
    "json-syntax": "ST_ERR_HEADER_JSON",
    "json-depth": "ST_ERR_HEADER_DEPTH",
    "header-type": "ST_ERR_HEADER_TYPE",
    "metadata-type": "ST_ERR_METADATA_TYPE",
    "metadata-twice": "ST_ERR_METADATA_TWICE",
    "entry-type": "ST_ERR_ENTRY_TYPE",
    "entry-array": "ST_ERR_ENTRY_TYPE",
    "field-duplicate": "ST_ERR_FIELD_DUPLICATE",
    "field-missing": "ST_ERR_FIELD_MISSING",
    "dtype-type": "ST_ERR_DTYPE_TYPE",
    "dtype-object": "ST_ERR_DTYPE_TYPE",
    "dtype-unknown": "ST_ERR_DTYPE_UNKNOWN",
    "shape-type": "ST_ERR_SHAPE_TYPE",
    "offsets-type": "ST_ERR_OFFSETS_TYPE",
    "metadata-duplicate": "ST_ERR_METADATA_DUPLICATE",
    "name-duplicate": "ST_ERR_NAME_DUPLICATE",
    "layout-reversed": "ST_ERR_OFFSETS",
    "layout-hole": "ST_ERR_OFFSETS",
    "layout-overlap": "ST_ERR_OFFSETS",
    "size-overflow": "ST_ERR_OVERFLOW",
    "size-bits": "ST_ERR_MISALIGNED",
    "size-mismatch": "ST_ERR_SIZE_MISMATCH",
    "file-truncated": "ST_ERR_FILE_TRUNCATED",
    "trailing-bytes": "ST_ERR_TRAILING_BYTES",
}
FINDINGS = {
    "leading-space": "warning",
    "padding": "warning",
    "metadata-null": "warning",
    "field-unknown": "warning",
    "name-suspect": "warning",
    "metadata-suspect": "warning",
    "header-alignment": "note",
    "tensor-alignment": "note",
    "header-order": "note",
}
UPSTREAM_TAKES = {"name-duplicate", "metadata-duplicate", "entry-array", "dtype-object"}

DTYPES = [  # by rank, from high to low, as a writer orders them
    ("U64", 64),
    ("I64", 64),
    ("F64", 64),
    ("C64", 64),
    ("F32", 32),
    ("U32", 32),
    ("I32", 32),
    ("BF16", 16),
    ("F16", 16),
    ("U16", 16),
    ("I16", 16),
    ("F8_E5M2FNUZ", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E8M0", 8),
    ("F8_E4M3", 8),
    ("F8_E5M2", 8),
    ("I8", 8),
    ("U8", 8),
    ("F6_E3M2", 6),
    ("F6_E2M3", 6),
    ("F4", 4),
    ("BOOL", 8),
]

valid_cases = []
invalid_cases = []


def data_bytes(count):
    return bytes(i * 7 % 256 for i in range(count))


def entry(dtype="U8", shape="1", offsets="0,1", before="", after="", mark=""):
    """An entry's text; `mark` stands before the offsets."""
    return '{%s"dtype":"%s","shape":[%s],"data_offsets":%s[%s]%s}' % (
        before,
        dtype,
        shape,
        mark,
        offsets,
        after,
    )


def u8(name="a", begin=0, end=1, mark="", **more):
    return '"%s":%s' % (name, entry("U8", str(end - begin), f"{begin},{end}", mark=mark, **more))


def take_marks(text):
    """Gives the text without its marks, and [(rule, offset in the text)]."""
    marks = []
    out = b""
    at = 0
    for m in MARK.finditer(text):
        out += text[at : m.start()]
        marks.append((m.group(1).decode(), len(out)))
        at = m.end()
    return out + text[at:], marks


def build(header, data, pad, length=None):
    text = header if isinstance(header, bytes) else header.encode()
    text, marks = take_marks(text)
    if pad:
        text += b" " * (-len(text) % 8)
    n = len(text) if length is None else length
    content = struct.pack("<Q", n) + text + (data_bytes(data) if isinstance(data, int) else data)
    return content, [[rule, 8 + offset] for rule, offset in marks]


def read(content):
    """A second reader, for files that are valid or that upstream takes: (tensors, metadata)."""
    (n,) = struct.unpack("<Q", content[:8])
    members = json.loads(content[8 : 8 + n].decode(), object_pairs_hook=list)
    tensors, metadata = {}, None
    for key, value in members:
        if key == "__metadata__":
            metadata = None if value is None else [list(p) for p in dict(value).items()]
            continue
        if len(value) == 3 and not isinstance(value[0], tuple):
            value = list(zip(("dtype", "shape", "data_offsets"), value))
        fields = dict(value)
        if isinstance(fields["dtype"], list):
            fields["dtype"] = fields["dtype"][0][0]
        tensors.pop(key, None)  # the last one counts, in its own place
        tensors[key] = fields
    rows = []
    for name, f in tensors.items():
        begin, end = f["data_offsets"]
        row = {"name": name, "dtype": f["dtype"], "shape": f["shape"], "begin": begin, "end": end}
        if end - begin <= 64:
            row["hex"] = content[8 + n + begin : 8 + n + end].hex()
        rows.append(row)
    rows.sort(key=lambda r: (r["begin"], r["end"]))
    return rows, metadata


def keep(folder, name, content):
    path = HERE / folder / f"{name}.safetensors"
    assert not path.exists(), name
    path.write_bytes(content)
    return f"{folder}/{name}.safetensors"


def valid(name, header, data=0, pad=True, findings=(), note=""):
    """A valid file; marks and `findings` ((rule, offset)) are its warnings and notes."""
    content, marks = build(header, data, pad)
    tensors, metadata = read(content)
    valid_cases.append(
        {
            "file": keep("valid", name, content),
            "size": len(content),
            "note": note,
            "tensors": tensors,
            "metadata": metadata,
            "findings": [
                {"rule": r, "severity": FINDINGS[r], "offset": o}
                for r, o in [*marks, *(list(f) for f in findings)]
            ],
        }
    )


def invalid(
    name, header, data=0, pad=True, faults=(), length=None, unknown=False, first="", note=""
):
    """An invalid file. Marks and `faults` are all its errors, in the order of judgement, unless
    `first` names the one that is the file's. A fault is (rule, bytes behind the header) or
    (rule, "size"). `unknown`: accepted where unknown dtypes are."""
    content, marks = build(header, data, pad, length)
    h = 8 + int.from_bytes(content[:8], "little")
    errors = [[rule, len(content) if at == "size" else h + at] for rule, at in faults]
    errors = sorted([*marks, *errors], key=lambda e: e[0] != first)
    write_invalid(name, content, errors, unknown, note)


def write_invalid(name, content, errors, unknown=False, note=""):
    accepted = all(rule in UPSTREAM_TAKES for rule, _ in errors)
    row = {
        "file": keep("invalid", name, content),
        "size": len(content),
        "note": note,
        "status": STATUS[errors[0][0]],
        "rule": errors[0][0],
        "offset": errors[0][1],
        "errors": [{"rule": r, "offset": o} for r, o in errors],
        "upstream": "accept" if accepted else "reject",
        "unknown_dtypes": "accept" if unknown else "reject",
    }
    if accepted or unknown:
        row["tensors"], row["metadata"] = read(content)
    invalid_cases.append(row)


def raw(name, content, rule, offset=0, note=""):
    write_invalid(name, content, [[rule, offset]], note=note)


# ------------------------------------------------------------------------------------- valid


def golden():
    """What upstream's writer makes, byte for byte."""
    valid("golden-01-empty", "{}")
    valid("golden-02-metadata", '{"__metadata__":{"framework":"pt"}}')
    valid(
        "golden-03-f32",
        '{"attn.0":%s}' % entry("F32", "1,2,3", "0,24"),
        struct.pack("<6f", *range(6)),
    )
    valid("golden-04-f4", '{"attn.0":%s}' % entry("F4", "1,2", "0,1"), b"\0")
    valid(
        "golden-05-padding",
        '{"attn0":%s}' % entry("F32", "1,1,2,3", "0,24"),
        struct.pack("<6f", *range(6)),
    )
    valid("golden-06-i32", '{"test":%s}' % entry("I32", "2,2", "0,16"), bytes(16))
    valid(
        "golden-07-two",
        '{"test1":%s,"test2":%s}' % (entry("I32", "2,2", "0,16"), entry("F16", "2,2", "16,24")),
        bytes(24),
    )
    valid(
        "golden-08-metadata-tensor",
        '{"__metadata__":{"framework":"pt"},"test1":%s}' % entry("I32", "2,2", "0,16"),
        bytes(16),
    )
    valid(
        "golden-09-bf16",
        '{"test":%s}' % entry("BF16", "2,2", "0,8"),
        bytes.fromhex("1040803f803f803f"),
    )
    valid(
        "golden-10-c64",
        '{"test":%s}' % entry("C64", "2,2", "0,32"),
        struct.pack("<8f", 0, 0, 0, 0, 0, 0, -1, 1),
    )


def blanks():
    valid("blank-trailing-all", "{}«padding»\r \t\n", pad=False, findings=[("header-alignment", 0)])
    valid(
        "blank-leading",
        "«leading-space»\t\n{}«padding»\r ",
        pad=False,
        findings=[("header-alignment", 0)],
    )
    valid("blank-leading-space", "«leading-space» {}")
    valid("blank-padding-late", "{}  «padding»\n  ")
    valid(
        "blank-none",
        "{}",
        pad=False,
        findings=[("header-alignment", 0)],
        note="the shortest header there is",
    )
    scalar = '{"test":{"dtype":"I32","shape":[],"data_offsets":[0,4]}}'
    valid("scalar", scalar, 4)
    valid(
        "blank-inside-offsets",
        '{"test":{"dtype":"I32","shape":[2,0],"data_offsets":[0, 0]}}',
        pad=False,
        findings=[("header-alignment", 0)],
    )
    wide = (
        ' {\r\n\t"a" : { "dtype"\t:\n"F32" , "shape" : [ 2 , 1 ] , '
        '"data_offsets" : [ 0 , 8 ] } , "__metadata__" : { "k" : "v" } } '
    )
    valid("blank-everywhere", "«leading-space»" + wide, 8)
    pretty = json.dumps({"w": {"dtype": "F16", "shape": [3], "data_offsets": [0, 6]}}, indent=4)
    valid("blank-pretty", pretty, 6)


def metadata():
    a = u8()
    valid("metadata-middle", '{%s,"__metadata__":{"k":"v"},%s}' % (a, u8("b", 1, 2)), 2)
    valid("metadata-last", '{%s,"__metadata__":{"k":"v"}}' % a, 1)
    valid("metadata-null", '{"__metadata__":«metadata-null»null,%s}' % a, 1)
    valid("metadata-empty", '{"__metadata__":{},%s}' % a, 1)
    valid("metadata-escaped-key", '{"\\u005f_metadata__":{"k":"v"},%s}' % a, 1)
    valid(
        "metadata-strings",
        r'{"__metadata__":{"":"","a":"\"\\\/\b\f\n\r\t","%s":"é😀","k\ud83d\ude00":"\u00e9"}}'
        % "日本",
    )
    valid("metadata-nul", r'{"__metadata__":{«metadata-suspect»"a\u0000b":"c\u0000d"}}')
    valid("metadata-name-again", '{"__metadata__":{"a":"dtype","__metadata__":"x"},%s}' % a, 1)
    many = ",".join('"key%d":"value %d"' % (i, i) for i in range(60))
    valid("metadata-many", '{"__metadata__":{%s}}' % many)
    valid("metadata-json-text", r'{"__metadata__":{"config":"{\"a\":[1,2,{\"b\":null}]}"}}')


def names():
    valid("name-empty", "{«name-suspect»%s}" % u8(""), 1)
    valid("name-nul", "{«name-suspect»%s}" % u8(r"a\u0000b"), 1)
    valid("name-del-raw", "{«name-suspect»%s}" % u8("a\x7fb"), 1)
    valid("name-c1", "{«name-suspect»%s}" % u8("a\x9bb"), 1, note="an 8-bit terminal control")
    valid("name-ansi", "{«name-suspect»%s}" % u8(r"\u001b[31mred\u001b[0m"), 1)
    valid("name-bidi", "{«name-suspect»%s}" % u8("w\u202egnp.exe"), 1)
    valid("name-zero-width", "{«name-suspect»%s,%s}" % (u8("a\u200bb"), u8("ab", 1, 2)), 2)
    valid("name-bom", "{«name-suspect»%s}" % u8("\ufeffa"), 1)
    valid("name-newline", "{«name-suspect»%s}" % u8(r"a\nb\r\tc"), 1)
    valid("name-noncharacters", "{%s,%s}" % (u8(r"\uffff"), u8("\ufffe", 1, 2)), 2)
    valid("name-escapes", "{%s,%s}" % (u8(r"\"\\\/"), u8(r"\u00E9\u20aC", 1, 2)), 2)
    valid("name-pair", "{%s,%s}" % (u8(r"\ud83d\ude00"), u8("\U0010ffff", 1, 2)), 2)
    valid(
        "name-not-normalised",
        "{%s,%s}" % (u8("\u00e9"), u8("e\u0301", 1, 2)),
        2,
        note="one character and two: two names",
    )
    valid(
        "name-near-metadata",
        "{%s,%s,%s}" % (u8("__metadata"), u8("__metadata__ ", 1, 2), u8("__Metadata__", 2, 3)),
        3,
    )
    valid("name-path", "{%s,%s}" % (u8("../../etc/passwd"), u8(r"C:\\x", 1, 2)), 2)
    valid(
        "name-like-fields",
        "{%s,%s,%s}" % (u8("dtype"), u8("shape", 1, 2), u8("data_offsets", 2, 3)),
        3,
    )
    valid("name-long", "{%s}" % u8("n" * 3000), 1)
    valid("name-long-escaped", "{%s}" % u8(r"\u006e" * 500), 1)
    valid("name-prefixes", "{%s}" % ",".join(u8("x" * i, i - 1, i) for i in range(1, 40)), 39)
    for length in (7, 8, 15, 16, 17, 31, 32, 33):
        name = ("abcdefghijklmnop" * 3)[:length]
        valid(f"name-length-{length}", "{%s,%s}" % (u8(name), u8(name[:-1] + "é", 1, 2)), 2)


def fields():
    parts = {"d": '"dtype":"U8"', "s": '"shape":[1]', "o": '"data_offsets":[0,1]'}
    for order in ("dos", "sdo", "sod", "ods", "osd"):
        valid(f"field-order-{order}", '{"a":{%s}}' % ",".join(parts[c] for c in order), 1)
    for i, value in enumerate(
        (
            "1",
            "-0",
            "1.5E+3",
            "null",
            "true",
            "false",
            '"x"',
            "[]",
            "{}",
            '[1,[2,{"a":[]}],"]"]',
            '{"dtype":5,"dtype":6}',
            "1e-9999",
            "0e9999",
            "1.7976931348623157e308",
            '"\\ud83d\\ude00"',
        )
    ):
        valid(f"field-unknown-{i:02}", "{%s}" % u8(after=',«field-unknown»"x":' + value), 1)
    valid(
        "field-unknown-repeated",
        "{%s}" % u8(before='«field-unknown»"x":1,«field-unknown»"x":2,«field-unknown»"":3,'),
        1,
    )
    valid("field-unknown-case", "{%s}" % u8(after=',«field-unknown»"Dtype":"F32"'), 1)
    valid(
        "field-unknown-prefix",
        "{%s}" % u8(after=',«field-unknown»"dtype\\u0000":1,«field-unknown»"data_offset":2'),
        1,
    )
    valid(
        "field-unknown-depth-127",
        "{%s}" % u8(after=',«field-unknown»"x":' + "[" * 125 + "]" * 125),
        1,
    )
    valid("field-unknown-big-number", "{%s}" % u8(after=',«field-unknown»"x":' + "9" * 300), 1)
    valid(
        "field-escaped",
        r'{"a":{"\u0064type":"\u0055\u0038","sh\u0061pe":[1],"data\u005foffsets":[0,1]}}',
        1,
    )


def shapes():
    size = 8
    texts, at = [], 0
    for code, bits in DTYPES:
        bytes_ = size * bits // 8
        texts.append('"%s":%s' % (code, entry(code, str(size), f"{at},{at + bytes_}")))
        at += bytes_
    valid("dtype-all", "{%s}" % ",".join(texts), at)
    for code, bits in DTYPES:
        valid(f"dtype-{code}", '{"t":%s}' % entry(code, "2,4", f"0,{bits}"), bits)
    valid("shape-f4-column", '{"a":%s}' % entry("F4", "2,1", "0,1"), 1)
    valid("shape-f4-odd-last", '{"a":%s}' % entry("F4", "2,3", "0,3"), 3)
    valid("shape-f6-quarter", '{"a":%s}' % entry("F6_E2M3", "2,2", "0,3"), 3)
    valid("shape-zero", '{"a":%s}' % entry("F32", "0", "0,0"))
    valid(
        "shape-zero-huge",
        '{"a":%s}' % entry("F32", f"0,{U64},{U64}", "0,0"),
        note="nothing overflows once a factor is 0",
    )
    valid("shape-huge-zero", '{"a":%s}' % entry("F32", f"{U64},0", "0,0"))
    valid(
        "shape-exact-53",
        '{"a":%s}' % entry("U8", "0,9007199254740993", "0,0"),
        note="2^53 + 1: a float64 loses it",
    )
    valid("shape-ones", '{"a":%s}' % entry("F32", ",".join(["1"] * 64), "0,4"), 4)
    valid("shape-rank-1000", '{"a":%s}' % entry("U8", ",".join(["1"] * 1000), "0,1"), 1)
    valid("shape-f4-zero", '{"a":%s}' % entry("F4", "3,0", "0,0"))
    zero = entry("U8", "0", "0,0")
    valid("zero-alone", '{"a":%s,"b":%s}' % (zero, zero))
    valid(
        "zero-everywhere",
        '{"a":%s,%s,"c":%s,"d":%s,%s,"f":%s}'
        % (
            zero,
            u8("b", 0, 2),
            entry("F32", "0,3", "2,2"),
            entry("U8", "0", "2,2"),
            u8("e", 2, 4),
            entry("I64", "0", "4,4"),
        ),
        4,
    )
    valid("zero-written-late", '{%s,«header-order»"z":%s}' % (u8(), zero), 1)


def layout_valid():
    valid("order-reversed", "{%s,«header-order»%s}" % (u8("b", 1, 3), u8("a", 0, 1)), 3)
    valid(
        "order-by-name",
        "{%s,«header-order»%s,%s}" % (u8("a", 4, 6), u8("b", 0, 4), u8("c", 6, 7)),
        7,
    )
    valid(
        "order-many",
        "{%s}"
        % ",".join(
            ("«header-order»" if i == 38 else "") + u8("t%02d" % i, i, i + 1)
            for i in range(39, -1, -1)
        ),
        40,
    )
    valid(
        "align-header-102",
        '{"test":%s}' % entry("I32", "2,2", "0,16", after=" " * 42, mark="«tensor-alignment»"),
        16,
        pad=False,
        findings=[("header-alignment", 0)],
    )
    valid(
        "align-tensor",
        '{%s,"b":%s}' % (u8(), entry("F32", "1", "1,5", mark="«tensor-alignment»")),
        5,
    )
    valid(
        "align-complex",
        '{%s,"b":%s}' % (u8("a", 0, 4), entry("C64", "1", "4,12", mark="«tensor-alignment»")),
        12,
    )
    valid(
        "offsets-same-size-many",
        "{%s}"
        % ",".join(
            '"layers.%d.weight":%s' % (i, entry("F32", "2", f"{8 * i},{8 * i + 8}"))
            for i in range(50)
        ),
        400,
    )
    text = b'{"a":{"dtype":"U8"}} \xff\x00\n\x1a'
    valid(
        "data-text",
        '{"a":%s}' % entry("U8", str(len(text)), f"0,{len(text)}"),
        text,
        note="data that looks like a header",
    )


# ----------------------------------------------------------------------------------- invalid


def framing():
    for count in range(8):
        raw(f"framing-{count}-bytes", b"\x02\0\0\0\0\0\0\0"[:count], "file-too-small")
    for name, n in (
        ("2e31", 2**31),
        ("2e32", 2**32),
        ("2e63", 2**63),
        ("max", U64),
        ("max-less-8", U64 - 7),
        ("100000001", 100_000_001),
        ("upstream", 0xFFFFFF000000003C),
    ):
        raw(f"framing-n-{name}", struct.pack("<Q", n) + b"{}", "header-too-large")
    raw("framing-n-100000000", struct.pack("<Q", 100_000_000) + b"{}", "header-length")
    raw("framing-n-only", struct.pack("<Q", 60), "header-length")
    raw("framing-n-one-more", struct.pack("<Q", 9) + b"{}      ", "header-length")
    raw("framing-n-1-of-0", struct.pack("<Q", 1), "header-length")
    raw("framing-big-endian", struct.pack(">Q", 8) + b"{}      ", "header-too-large")
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 90868376\n" % (
        b"0" * 64
    )
    raw("foreign-git-lfs", lfs, "header-too-large")
    raw(
        "foreign-html",
        b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>\n",
        "header-too-large",
    )
    raw("foreign-json", b'{"error":"Repository not found"}', "header-too-large")
    raw(
        "foreign-zip",
        b"PK\x03\x04" + bytes(60),
        "header-length",
        note="0x04034b50 is 67 324 752, below the limit",
    )
    raw("foreign-pickle", bytes.fromhex("80028a0a6cfc9c46f9206aa850192e"), "header-too-large")
    raw("foreign-gzip", bytes.fromhex("1f8b08000000000000ff") + bytes(30), "header-length")
    raw("foreign-gguf", b"GGUF\x03\0\0\0" + bytes(40), "header-too-large")
    raw("foreign-npy", b"\x93NUMPY\x01\0" + bytes(40), "header-too-large")
    raw("foreign-pdf", b"%PDF-1.7\n" + bytes(40), "header-too-large")
    raw("foreign-zeros", bytes(64), "json-syntax", 8, note="N is 0: an empty text")


def utf8():
    bad = {
        "ff": b"\xff",
        "lone-continuation": b"\x80",
        "overlong-2": b"\xc0\xaf",
        "overlong-3": b"\xe0\x80\xaf",
        "overlong-4": b"\xf0\x80\x80\xaf",
        "surrogate": b"\xed\xa0\x80",
        "surrogate-low": b"\xed\xbf\xbf",
        "above": b"\xf4\x90\x80\x80",
        "f5": b"\xf5\x80\x80\x80",
        "cut-2": b"\xc3",
        "cut-3": b"\xe2\x82",
        "cut-4": b"\xf0\x9f\x98",
        "latin1": b"caf\xe9",
    }
    mark = "«header-utf8»".encode()
    for name, text in bad.items():
        at = 3 if name == "latin1" else 0
        header = u8().encode().replace(b'"a"', b'"' + text[:at] + mark + text[at:] + b'"')
        invalid(f"utf8-{name}", b"{" + header + b"}", 1)
    invalid("utf8-outside-string", b"{" + mark + b"\xff}")
    invalid("utf8-after-object", b"{}  " + mark + b"\xff   ")
    invalid("utf8-first-byte", mark + b"\xff", pad=False)
    invalid("utf8-cut-at-end", b"{}" + mark + b"\xe2\x82", 0, pad=False)
    invalid(
        "utf8-before-syntax",
        b'{"a":5,,' + mark + b"\x80}",
        note="wins over a syntax error before it",
    )
    invalid(
        "utf8-in-value", b'{"a":{"dtype":"' + mark + b'\xfe","shape":[0],"data_offsets":[0,0]}}'
    )
    invalid(
        "utf8-in-unknown",
        b"{" + u8(after=',"x":"@"').encode().replace(b"@", mark + b"\xc1\x81") + b"}",
        1,
    )
    invalid("utf8-in-metadata", b'{"__metadata__":{"k":"ok ' + mark + b'\xe9"}}')


def syntax():
    j = "«json-syntax»"
    one = u8()
    cases = {
        "open-only": "{" + j,
        "blank-only": "   " + j,
        "cut-key": '{"ab' + j,
        "cut-colon": '{"a"' + j,
        "cut-value": '{"a":' + j,
        "cut-entry": '{"a":{"dtype":"U8"' + j,
        "cut-number": '{"a":-' + j,
        "cut-literal": '{"a":nul' + j,
        "cut-escape": '{"a\\' + j,
        "cut-hex": '{"a\\u00' + j,
        "cut-pair": '{"\\ud83d' + j,
        "cut-pair-2": '{"\\ud83d\\' + j,
        "cut-pair-3": '{"\\ud83d\\ude' + j,
        "cut-close": "{" + one + j,
        "cut-after-comma": "{" + one + "," + j,
        "cut-metadata": '{"__metadata__":{' + j,
    }
    for name, text in cases.items():
        invalid(f"json-{name}", text, pad=False)
    invalid("json-empty", j, pad=False, note="N is 0")
    cases = {
        "nul-byte": "{}" + j + "\0",
        "vertical-tab": j + "\v{}",
        "form-feed": "{}" + j + "\f",
        "bom": j + "\ufeff{}",
        "no-break-space": "{}" + j + "\u00a0",
        "second-object": "{}" + j + "{}",
        "second-brace": "{}" + j + "}",
        "trailing-comma": "{" + one + "," + j + "}",
        "only-comma": "{" + j + ",}",
        "two-commas": "{" + one + "," + j + "," + u8("b", 1, 2) + "}",
        "no-comma": "{" + one + j + u8("b", 1, 2) + "}",
        "trailing-comma-array": '{"a":{"dtype":"U8","shape":[1,' + j + '],"data_offsets":[0,1]}}',
        "leading-comma-array": '{"a":{"dtype":"U8","shape":[' + j + ',1],"data_offsets":[0,1]}}',
        "no-colon": '{"a" ' + j + "5}",
        "equals": '{"a"' + j + "=5}",
        "key-bare": "{" + j + "a:5}",
        "key-single-quotes": "{" + j + "'a':5}",
        "key-number": "{" + j + '5:"a"}',
        "comment": "{" + j + "/* */}",
        "comment-line": j + "// x\n{}",
        "nan": '{"a":' + j + "NaN}",
        "infinity": '{"a":' + j + "Infinity}",
        "true-case": '{"a":' + j + "True}",
        "literal": '{"a":nu' + j + "1l}",
        "literal-long": '{"a":null' + j + "l}",
        "plus": '{"a":' + j + "+1}",
        "point-first": '{"a":' + j + ".5}",
        "point-last": '{"a":1.' + j + "}",
        "minus-alone": '{"a":-' + j + "}",
        "exponent-empty": '{"a":1e' + j + "}",
        "exponent-sign": '{"a":1e+' + j + "}",
        "leading-zero": '{"a":0' + j + "1}",
        "leading-zero-negative": '{"a":-0' + j + "1}",
        "hex": '{"a":0' + j + "x10}",
        "number-letter": '{"a":1' + j + "x}",
        "number-minus": '{"a":12' + j + "-3}",
        "underscore": '{"a":1' + j + "_000}",
        "mismatched": '{"a":[1' + j + "}}",
        "mismatched-2": '{"a":{"b":1' + j + "]}",
        "array-colon": '{"a":["b"' + j + ":1]}",
        "control-newline": '{"a' + j + '\nb":5}',
        "control-tab": '{"a' + j + '\tb":5}',
        "control-nul": '{"a' + j + '\0b":5}',
        "control-1f": '{"a' + j + '\x1fb":5}',
        "escape-unknown": '{"a\\' + j + 'q":5}',
        "escape-upper": '{"a\\' + j + 'N":5}',
        "escape-x": '{"a\\' + j + 'x41":5}',
        "escape-hex": '{"a\\u00' + j + 'g0":5}',
        "escape-hex-short": '{"a\\u00' + j + '":5}',
        "escape-u-upper": '{"a\\' + j + 'U0041":5}',
        "surrogate-high": '{"' + j + '\\ud800":5}',
        "surrogate-low": '{"' + j + '\\udc00":5}',
        "surrogate-high-letter": '{"' + j + '\\ud800x":5}',
        "surrogate-high-escape": '{"' + j + '\\ud800\\n":5}',
        "surrogate-high-bmp": '{"' + j + '\\ud800\\u0041":5}',
        "surrogate-high-high": '{"' + j + '\\ud800\\ud800":5}',
        "surrogate-swapped": '{"' + j + '\\ude00\\ud83d":5}',
        "surrogate-hex": '{"\\ud800\\u12' + j + 'x":5}',
    }
    for name, text in cases.items():
        invalid(f"json-{name}", text, pad=not name.startswith("cut"))
    for name, value in (
        ("1e999", j + "1e999"),
        ("minus-1e999", j + "-1e999"),
        ("long", j + "9" * 400),
        ("1e309", j + "1e309"),
        ("10e308", j + "10e308"),
        ("fraction", j + "0." + "0" * 50 + "1e400"),
    ):
        invalid(f"json-range-{name}", "{%s}" % u8(after=',"x":' + value), 1)
    for name, value in (
        ("leading-zero", "0" + j + "1"),
        ("surrogate", '"' + j + '\\ud800"'),
        ("trailing-comma", "[1," + j + "]"),
        ("bare", j + "x"),
    ):
        invalid(f"json-ignored-{name}", "{%s}" % u8(after=',"x":' + value), 1)
    invalid("json-shape-leading-zero", '{"a":%s}' % entry("U8", "0" + j + "1", "0,1"), 1)
    invalid("json-after-bad-entry", '{"a":5,"b":' + j + "}", note="syntax comes before the entries")


def depth():
    d = "«json-depth»"
    invalid("depth-128-entry", "{%s}" % u8(after=',"x":' + "[" * 125 + d + "[" + "]" * 126), 1)
    invalid(
        "depth-128-objects", "{%s}" % u8(after=',"x":' + '{"a":' * 125 + d + "{" + "}" * 126), 1
    )
    invalid("depth-128-name", '{"a":' + "[" * 126 + d + "[" + "]" * 127 + "}")
    invalid("depth-1000-open", '{"a":' + "[" * 126 + d + "[" * 874, pad=False)
    invalid(
        "depth-127-entry",
        '{"a":«entry-array»«field-missing»[«dtype-type»' + "[" * 125 + "]" * 126 + "}",
        note="not too deep: judged as the array it is",
    )


def top():
    t = "«header-type»"
    for name, text in (
        ("array", "[]"),
        ("null", "null"),
        ("true", "true"),
        ("number", "1"),
        ("string", '"a"'),
        ("array-of-object", "[{}]"),
        ("array-bad", "[1,,]"),
    ):
        invalid(f"top-{name}", t + text)
    invalid("top-blank-array", " \n" + t + "[]")
    invalid("top-literal-cut", "nul«json-syntax»", pad=False)


def metadata_invalid():
    t = "«metadata-type»"
    a = u8()
    for name, value in (
        ("string", '"a"'),
        ("number", "5"),
        ("array", "[]"),
        ("true", "true"),
        ("pairs", '[["a","b"]]'),
    ):
        invalid(f"metadata-is-{name}", '{"__metadata__":%s%s}' % (t, value))
    for name, value in (
        ("number", "1"),
        ("null", "null"),
        ("bool", "false"),
        ("object", '{"a":"b"}'),
        ("array", '["a"]'),
    ):
        invalid(
            f"metadata-value-{name}", '{"__metadata__":{"a":"b","c":%s%s},%s}' % (t, value, a), 1
        )
    invalid(
        "metadata-is-entry",
        '{"__metadata__":{"dtype":"U8","shape":%s[1],"data_offsets":%s[0,1]}}' % (t, t),
        1,
        faults=[("trailing-bytes", 0)],
    )
    invalid("metadata-value-before-syntax", '{"__metadata__":{"a":%s5},"b":«json-syntax»}' % t)
    invalid("metadata-after-syntax", '{"a":«json-syntax»,"__metadata__":5}')
    invalid("metadata-range", '{"__metadata__":{"a":«json-syntax»1e999}}')
    w = "«metadata-twice»"
    invalid("metadata-twice", '{"__metadata__":{"a":"b"},%s"__metadata__":{"c":"d"}}' % w)
    invalid("metadata-twice-null", '{"__metadata__":null,%s"__metadata__":{}}' % w)
    invalid("metadata-twice-escaped", r'{"__metadata__":{},%s"__metadata_\u005f":{}}' % w)
    invalid("metadata-twice-apart", '{"__metadata__":{},%s,%s"__metadata__":{}}' % (a, w), 1)
    d = "«metadata-duplicate»"
    invalid("metadata-duplicate", '{"__metadata__":{"a":"b",%s"a":"c"}}' % d)
    invalid("metadata-duplicate-same", '{"__metadata__":{"a":"b","c":"d",%s"a":"b"}}' % d)
    invalid("metadata-duplicate-escaped", r'{"__metadata__":{"a":"b",%s"\u0061":"c"}}' % d)
    invalid("metadata-duplicate-empty", '{"__metadata__":{"":"b",%s"":"c"}}' % d)
    invalid("metadata-duplicate-three", '{"__metadata__":{"a":"1",%s"a":"2",%s"a":"3"}}' % (d, d))


def entries():
    t = "«entry-type»"
    for name, value in (
        ("number", "5"),
        ("null", "null"),
        ("string", '"U8"'),
        ("true", "true"),
        ("false", "false"),
    ):
        invalid(f"entry-{name}", '{"a":%s%s}' % (t, value))
    invalid("entry-second", '{%s,"b":%s5}' % (u8(), t), 1)
    invalid("entry-two-faults", '{"a":%s5,"b":%snull}' % (t, t))
    invalid("entry-array", '{"a":«entry-array»["U8",[1],[0,1]]}', 1)
    array = '{"a":«entry-array»%s}'
    invalid("entry-array-empty", array % "«field-missing»[]")
    invalid("entry-array-two", array % '«field-missing»["U8",[1]]', 1)
    invalid("entry-array-four", array % '«entry-type»["U8",[1],[0,1],null]')
    invalid("entry-array-object", array % "«field-missing»[«dtype-type»{}]")
    invalid(
        "entry-array-numbers", array % "«entry-type»[«dtype-type»1,«shape-type»2,«offsets-type»3,4]"
    )
    invalid("entry-array-order", array % '[«dtype-type»[1],«shape-type»"U8",[0,1]]')
    invalid("entry-array-dtype-object", array % '[«dtype-object»{"U8":null},[1],[0,1]]', 1)
    invalid("entry-array-second", '{%s,"b":«entry-array»["F16",[1],[1,3]]}' % u8(), 3)
    m = "«field-missing»"
    rest = {"dtype": '"dtype":"U8"', "shape": '"shape":[1]', "offsets": '"data_offsets":[0,1]'}
    for left_out in rest:
        parts = ",".join(v for k, v in rest.items() if k != left_out)
        invalid(f"field-missing-{left_out}", '{"a":%s{%s}}' % (m, parts))
    invalid("field-missing-all", '{"a":%s{}}' % m)
    invalid("field-missing-case", '{"a":%s{"Dtype":"U8","shape":[1],"data_offsets":[0,1]}}' % m, 1)
    invalid(
        "field-missing-after-type",
        '{"a":«field-missing»{"dtype":«dtype-type»5,"shape":[1]}}',
        first="dtype-type",
        note="judged at the entry's end",
    )
    d = "«field-duplicate»"
    invalid("field-duplicate-dtype", "{%s}" % u8(after=',%s"dtype":"U8"' % d), 1)
    invalid("field-duplicate-shape", "{%s}" % u8(after=',%s"shape":[1]' % d), 1)
    invalid("field-duplicate-offsets", "{%s}" % u8(after=',%s"data_offsets":[0,1]' % d), 1)
    invalid("field-duplicate-escaped", "{%s}" % u8(after=r',%s"\u0064type":"U8"' % d), 1)
    invalid(
        "field-duplicate-first",
        '{"a":{"dtype":"U8",%s"dtype":"U8","shape":[1],"data_offsets":[0,1]}}' % d,
        1,
    )


def values():
    t = "«dtype-type»"
    text = '{"a":{"dtype":%s,"shape":[1],"data_offsets":[0,1]}}'
    for name, value in (
        ("number", "5"),
        ("null", "null"),
        ("array", '["U8"]'),
        ("object-empty", "{}"),
        ("object-two", '{"U8":null,"I8":null}'),
        ("object-value", '{"U8":5}'),
        ("object-object", '{"U8":{}}'),
        ("true", "true"),
    ):
        invalid(f"dtype-{name}", text % (t + value), 1)
    invalid("dtype-object", text % '«dtype-object»{"U8":null}', 1)
    invalid("dtype-object-escaped", text % r'«dtype-object»{ "\u0055\u0038" : null }', 1)
    for name, value in (
        ("lower-case", '"u8"'),
        ("empty", '""'),
        ("torch", '"float32"'),
        ("blank", '"U8 "'),
        ("nul", r'"U8\u0000"'),
        ("prefix", '"F8_E4M3FN"'),
        ("longer", '"F8_E4M3FNUZX"'),
        ("new", '"F8_E3M4"'),
        ("i4", '"I4"'),
        ("long", '"%s"' % ("X" * 300)),
    ):
        invalid(f"dtype-unknown-{name}", text % ("«dtype-unknown»" + value), 1, unknown=True)
    s = "«shape-type»"
    text = '{"a":{"dtype":"U8","shape":%s,"data_offsets":[0,1]}}'
    for name, value in (
        ("number", s + "1"),
        ("null", s + "null"),
        ("string", s + '"1"'),
        ("object", s + "{}"),
        ("float", "[" + s + "1.0]"),
        ("exponent", "[" + s + "1e0]"),
        ("minus-zero", "[" + s + "-0]"),
        ("negative", "[1," + s + "-1]"),
        ("item-string", "[" + s + '"1"]'),
        ("item-null", "[1," + s + "null]"),
        ("item-true", "[" + s + "true]"),
        ("item-array", "[" + s + "[1]]"),
        ("2e64", "[" + s + "18446744073709551616]"),
        ("21-digits", "[" + s + "100000000000000000000]"),
        ("20-digits", "[" + s + "99999999999999999999]"),
    ):
        invalid(f"shape-{name}", text % value, 1)
    o = "«offsets-type»"
    text = '{"a":{"dtype":"U8","shape":[1],"data_offsets":%s}}'
    for name, value in (
        ("empty", o + "[]"),
        ("one", o + "[0]"),
        ("three", o + "[0,1,2]"),
        ("object", o + '{"0":0,"1":1}'),
        ("null", o + "null"),
        ("string", o + '"0,1"'),
        ("float", "[0," + o + "1.0]"),
        ("negative", "[" + o + "-1,1]"),
        ("minus-zero", "[" + o + "-0,1]"),
        ("2e64", "[0," + o + "18446744073709551616]"),
        ("nested", "[" + o + "[0,1],2]"),
        ("item-null", "[0," + o + "null]"),
        ("three-bad", o + '[0,1,"x"]'),
    ):
        invalid(f"offsets-{name}", text % value, 1)
    invalid(
        "value-order",
        '{"a":{"shape":«shape-type»5,"dtype":"U8","data_offsets":[0,1]},'
        '"b":{"dtype":«dtype-unknown»"X","shape":[1],"data_offsets":[0,1]}}',
        1,
    )


def duplicates():
    d = "«name-duplicate»"
    invalid("name-duplicate", "{%s,%s%s}" % (u8(), d, u8()), 1)
    invalid("name-duplicate-escaped", "{%s,%s%s}" % (u8(), d, u8(r"\u0061")), 1)
    invalid(
        "name-duplicate-other-dtype",
        '{"a":%s,%s"a":%s}' % (entry("U8", "4", "0,4"), d, entry("F32", "1", "0,4")),
        4,
    )
    invalid("name-duplicate-three", "{%s,%s%s,%s%s}" % (u8(), d, u8(), d, u8()), 1)
    invalid("name-duplicate-empty", "{%s,%s%s}" % (u8(""), d, u8("")), 1)
    invalid(
        "name-duplicate-nul",
        r"{%s,%s,%s%s}" % (u8(r"a\u0000b"), u8(r"a\u0000c", 1, 2), d, u8(r"a\u0000b", 0, 1)),
        2,
    )
    invalid(
        "name-duplicate-far",
        "{%s,%s%s}" % (",".join(u8("t%d" % i, i, i + 1) for i in range(50)), d, u8("t0", 0, 1)),
        50,
    )
    invalid(
        "name-duplicate-no-object",
        '{"a":«entry-type»5,%s}' % u8(),
        1,
        note="each of the entries must be one",
    )
    invalid(
        "both-duplicate-late",
        '{%s,%s%s,"__metadata__":{"k":"1",«metadata-duplicate»"k":"2"}}' % (u8(), d, u8()),
        1,
        first="metadata-duplicate",
        note="metadata keys come first, wherever they stand",
    )
    invalid(
        "both-duplicate",
        '{"__metadata__":{"k":"1",«metadata-duplicate»"k":"2"},%s,%s%s}' % (u8(), d, u8()),
        1,
    )


def layout():
    h, v, r = "«layout-hole»", "«layout-overlap»", "«layout-reversed»"
    invalid("layout-hole-start", "{%s}" % u8("a", 4, 8, mark=h), 8)
    invalid("layout-hole-middle", "{%s,%s}" % (u8("a", 0, 2), u8("b", 3, 5, mark=h)), 5)
    invalid(
        "layout-hole-zero-size", '{%s,"z":%s}' % (u8("a", 0, 2), entry("U8", "0", "3,3", mark=h)), 3
    )
    invalid("layout-hole-first-zero-size", '{"z":%s}' % entry("U8", "0", "8,8", mark=h), 8)
    invalid("layout-overlap", "{%s,%s}" % (u8("a", 0, 3), u8("b", 2, 4, mark=v)), 4)
    invalid("layout-same-range", "{%s,%s}" % (u8("a", 0, 4), u8("b", 0, 4, mark=v)), 4)
    ten = ['"t%d":%s' % (i, entry("I32", "2,2", "0,16", mark=v if i else "")) for i in range(10)]
    invalid("layout-same-range-ten", "{%s}" % ",".join(ten), 16)
    invalid("layout-inside", "{%s,%s}" % (u8("a", 0, 8), u8("b", 2, 4, mark=v)), 8)
    invalid(
        "layout-zero-size-inside",
        '{%s,"z":%s}' % (u8("a", 0, 4), entry("U8", "0", "2,2", mark=v)),
        4,
    )
    invalid("layout-overlap-written-first", "{%s,%s}" % (u8("b", 2, 4, mark=v), u8("a", 0, 3)), 4)
    invalid("layout-reversed", '{"a":%s}' % entry("U8", "1", "1,0", mark=r), 0)
    invalid(
        "layout-reversed-far", '{%s,"b":%s}' % (u8("a", 0, 4), entry("U8", "2", "4,2", mark=r)), 4
    )
    invalid(
        "layout-reversed-huge",
        '{"a":%s}' % entry("U8", "1", f"{U64},0", mark=r),
        1,
        faults=[("trailing-bytes", 0)],
    )
    invalid(
        "layout-near-2e64",
        '{"a":%s}' % entry("U8", "1", f"{U64 - 1},{U64}", mark=h),
        1,
        faults=[("file-truncated", "size")],
    )
    invalid("layout-two-holes", "{%s,%s}" % (u8("a", 1, 2, mark=h), u8("b", 3, 4, mark=h)), 4)
    invalid(
        "layout-order-of-data",
        "{%s,%s}" % (u8("b", 9, 10, mark="«layout-hole»"), u8("a", 0, 8)),
        10,
    )


def sizes():
    o, m, b = "«size-overflow»", "«size-mismatch»", "«size-bits»"
    for name, shape in (
        ("first", f"{U64},2"),
        ("last", f"2,2,{2**62}"),
        ("middle", f"2,{2**63},1"),
        ("before-zero", f"{U64},2,0"),
        ("bits", f"{2**61}"),
        ("bits-product", f"{2**31},{2**30}"),
        ("wraps-to-4", "4194305,4194305,211106198978564"),
    ):
        invalid(f"size-overflow-{name}", '{"a":%s}' % entry("U8", shape, "0,4", mark=o), 4)
    invalid(
        "size-overflow-upstream-1",
        '{"a":%s}' % entry("I32", "2,18446744073709551614", "0,16", mark=o),
        16,
    )
    invalid(
        "size-overflow-upstream-2",
        '{"a":%s}' % entry("I32", "2,9223372036854775807", "0,16", mark=o),
        16,
    )
    invalid("size-overflow-f4", '{"a":%s}' % entry("F4", f"{2**62}", "0,1", mark=o), 1)
    invalid(
        "size-mismatch-largest",
        '{"a":%s}' % entry("U8", f"{2**61 - 1}", "0,1", mark=m),
        1,
        note="2^61 - 1 bytes: the largest size that does not overflow",
    )
    invalid("size-bits-f4", '{"a":%s}' % entry("F4", "3", "0,1", mark=b), 1)
    invalid("size-bits-f4-scalar", '{"a":%s}' % entry("F4", "", "0,0", mark=b))
    for count in (1, 2, 3, 5):
        invalid(
            f"size-bits-f6-{count}", '{"a":%s}' % entry("F6_E3M2", str(count), "0,3", mark=b), 3
        )
    invalid("size-mismatch-short", '{"a":%s}' % entry("I32", "2,2", "0,4", mark=m), 4)
    invalid("size-mismatch-long", '{"a":%s}' % entry("U8", "3", "0,4", mark=m), 4)
    invalid("size-mismatch-zero", '{"a":%s}' % entry("U8", "1", "0,0", mark=m))
    invalid("size-mismatch-zero-dim", '{"a":%s}' % entry("U8", "0", "0,4", mark=m), 4)
    invalid("size-mismatch-scalar", '{"a":%s}' % entry("F32", "", "0,0", mark=m))
    invalid(
        "size-mismatch-f4-bytes",
        '{"a":%s}' % entry("F4", "2,2", "0,4", mark=m),
        4,
        note="a shape counted in bytes",
    )
    invalid(
        "size-two-faults",
        '{"a":%s,"b":%s}'
        % (entry("F32", "2", "0,4", mark=m), entry("F32", "1", "5,9", mark="«layout-hole»")),
        9,
    )
    invalid(
        "size-hole-and-mismatch", '{"a":%s}' % entry("F32", "2", "4,8", mark="«layout-hole»" + m), 8
    )


def ends():
    one = "{%s}" % u8("a", 0, 4)
    for name, tail in (
        ("byte", b"\0"),
        ("kilobyte", bytes(1024)),
        ("zip", b"PK\x05\x06" + bytes(18)),
        ("pdf", b"%PDF-1.4\n%%EOF\n"),
        ("script", b"#!/bin/sh\necho\n"),
    ):
        invalid(f"end-trailing-{name}", one, data_bytes(4) + tail, faults=[("trailing-bytes", 4)])
    invalid("end-truncated-one", one, 3, faults=[("file-truncated", "size")])
    invalid("end-truncated-all", one, 0, faults=[("file-truncated", "size")])
    invalid("end-no-tensors", "{}", 1, faults=[("trailing-bytes", 0)])
    invalid("end-metadata-only", '{"__metadata__":{}}', 5, faults=[("trailing-bytes", 0)])
    invalid(
        "end-huge",
        '{"a":%s}' % entry("U8", f"{2**61 - 1}", f"0,{2**61 - 1}"),
        16,
        faults=[("file-truncated", "size")],
    )
    parts, at = [], 0
    for i in range(8):
        size = 2**61 - 1
        parts.append('"t%d":%s' % (i, entry("U8", str(size), f"{at},{at + size}")))
        at += size
    parts.append('"last":%s' % entry("U8", "7", f"{at},{at + 7}"))
    invalid(
        "end-sum-overflows",
        "{%s}" % ",".join(parts),
        3,
        faults=[("file-truncated", "size")],
        note="8 + N + end does not fit 64 bits",
    )


def main():
    for folder in ("valid", "invalid"):
        shutil.rmtree(HERE / folder, ignore_errors=True)
        (HERE / folder).mkdir()
    for group in (golden, blanks, metadata, names, fields, shapes, layout_valid):
        group()
    for group in (
        framing,
        utf8,
        syntax,
        depth,
        top,
        metadata_invalid,
        entries,
        values,
        duplicates,
        layout,
        sizes,
        ends,
    ):
        group()
    manifest = {"valid": valid_cases, "invalid": invalid_cases}
    text = json.dumps(manifest, indent=1, ensure_ascii=True)
    (HERE / "manifest.json").write_text(text + "\n")
    unused = set(STATUS) - {e["rule"] for c in invalid_cases for e in c["errors"]}
    unused |= set(FINDINGS) - {f["rule"] for c in valid_cases for f in c["findings"]}
    if unused:
        sys.exit(f"rules without a case: {sorted(unused)}")
    print(f"{len(valid_cases)} valid, {len(invalid_cases)} invalid")


if __name__ == "__main__":
    main()
