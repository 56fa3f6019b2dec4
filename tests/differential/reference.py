# SPDX-License-Identifier: Apache-2.0
"""A second reader, written from docs/format.md and nothing else: slow, and as plain as the text.

judge(content, upstream, unknown) gives a Verdict: the file's fault (rule and offset), or its
tensors and metadata. The tests hold the library against it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LIMIT = 100_000_000
U64 = 2**64 - 1
DEPTH = 127
BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
UPSTREAM_TAKES = {"name-duplicate", "metadata-duplicate", "entry-array", "dtype-object"}


class Fault(Exception):
    """Ends the reading: stages 0 to 2."""

    def __init__(self, rule, offset):
        super().__init__(f"{rule} at {offset}")
        self.rule, self.offset = rule, offset


@dataclass
class Verdict:
    rule: str = ""
    offset: int = -1
    tensors: list = field(default_factory=list)  # (name, dtype, shape, begin, end) in data order
    metadata: dict | None = None

    @property
    def accepted(self):
        return not self.rule


@dataclass
class Value:
    """A JSON value and its place. `data`: text, number as written, [Value], [(at, key, Value)]."""

    kind: str
    at: int
    data: object = None


class Text:
    """Reads JSON from bytes; offsets are those of the file."""

    PLAIN = re.compile(rb'[^"\\\x00-\x1f]+')
    ESCAPES = {c: v for c, v in zip(b'"\\/bfnrt', '"\\/\b\f\n\r\t')}

    def __init__(self, header):
        self.bytes, self.at = header, 0

    def fail(self, at=None, rule="json-syntax"):
        raise Fault(rule, 8 + (self.at if at is None else at))

    def peek(self, ahead=0):
        at = self.at + ahead
        return self.bytes[at] if at < len(self.bytes) else -1

    def blanks(self):
        while self.peek() >= 0 and self.peek() in b" \t\r\n":
            self.at += 1

    def take(self, char):
        if self.peek() != ord(char):
            self.fail()
        self.at += 1

    def hex4(self):
        value = 0
        for _ in range(4):
            digit = self.peek()
            if digit < 0 or chr(digit) not in "0123456789abcdefABCDEF":
                self.fail()
            value = value * 16 + int(chr(digit), 16)
            self.at += 1
        return value

    def escape(self):
        start = self.at
        self.at += 1
        char = self.peek()
        if char in self.ESCAPES:
            self.at += 1
            return self.ESCAPES[char]
        if char != ord("u"):
            self.fail()
        self.at += 1
        code = self.hex4()
        if 0xDC00 <= code <= 0xDFFF:
            self.fail(start)
        if not 0xD800 <= code <= 0xDBFF:
            return chr(code)
        for wanted in b"\\u":  # the other half
            if self.peek() != wanted:
                self.fail(start if self.peek() >= 0 else None)
            self.at += 1
        low = self.hex4()
        if not 0xDC00 <= low <= 0xDFFF:
            self.fail(start)
        return chr(0x10000 + (code - 0xD800) * 0x400 + low - 0xDC00)

    def string(self):
        self.take('"')
        out = []
        while True:
            char = self.peek()
            if char == ord('"'):
                self.at += 1
                return "".join(out)
            if char == ord("\\"):
                out.append(self.escape())
                continue
            if char < 0x20:
                self.fail()
            plain = self.PLAIN.match(self.bytes, self.at)  # the header is known to be UTF-8
            out.append(plain.group().decode())
            self.at = plain.end()

    def digits(self):
        if not 48 <= self.peek() <= 57:
            self.fail()
        while 48 <= self.peek() <= 57:
            self.at += 1

    def number(self):
        start = self.at
        if self.peek() == ord("-"):
            self.at += 1
        if self.peek() == ord("0"):
            self.at += 1
            if 48 <= self.peek() <= 57:
                self.fail()
        else:
            self.digits()
        if self.peek() == ord("."):
            self.at += 1
            self.digits()
        if self.peek() in (ord("e"), ord("E")):
            self.at += 1
            if self.peek() in (ord("+"), ord("-")):
                self.at += 1
            self.digits()
        text = self.bytes[start : self.at].decode()
        if abs(float(text)) == float("inf"):
            self.fail(start)
        return text

    def word(self, word):
        for char in word:
            self.take(char)

    def begin(self):
        """What kind of value begins here."""
        char = self.peek()
        for kind, first in (
            ("object", b"{"),
            ("array", b"["),
            ("string", b'"'),
            ("true", b"t"),
            ("false", b"f"),
            ("null", b"n"),
            ("number", b"-0123456789"),
        ):
            if char >= 0 and char in first:
                return kind
        self.fail()
        return ""

    def value(self, depth):
        """Reads a value; `depth` containers are open around it."""
        self.blanks()
        kind, at = self.begin(), self.at
        if kind in ("object", "array"):
            if depth >= DEPTH:
                self.fail(rule="json-depth")
            return Value(kind, 8 + at, self.items(kind, depth + 1))
        if kind == "string":
            return Value(kind, 8 + at, self.string())
        if kind == "number":
            return Value(kind, 8 + at, self.number())
        self.word(kind)
        return Value(kind, 8 + at)

    def items(self, kind, depth):
        self.at += 1
        close = "}" if kind == "object" else "]"
        items = []
        self.blanks()
        if self.peek() == ord(close):
            self.at += 1
            return items
        while True:
            if kind == "object":
                key_at, key = self.key()
                items.append((key_at, key, self.value(depth)))
            else:
                items.append(self.value(depth))
            if not self.more(close):
                return items

    def key(self):
        """A key and its colon."""
        self.blanks()
        at = self.at
        key = self.string()
        self.blanks()
        self.take(":")
        self.blanks()
        return 8 + at, key

    def more(self, close):
        """Behind an item: a comma, or the end."""
        self.blanks()
        if self.peek() == ord(","):
            self.at += 1
            return True
        self.take(close)
        return False


# ------------------------------------------------------------------------------ stages 2 and 3


def read_metadata(text):
    """The value of __metadata__: None, or [(offset, key, value)]."""
    kind, at = text.begin(), 8 + text.at
    if kind == "array":
        raise Fault("metadata-type", at)
    if kind != "object":
        text.value(1)
        if kind != "null":
            raise Fault("metadata-type", at)
        return None
    pairs = []
    text.at += 1
    text.blanks()
    if text.peek() == ord("}"):
        text.at += 1
        return pairs
    while True:
        key_at, key = text.key()
        kind, at = text.begin(), 8 + text.at
        if kind in ("object", "array"):
            raise Fault("metadata-type", at)
        value = text.value(2)
        if kind != "string":
            raise Fault("metadata-type", at)
        pairs.append((key_at, key, value.data))
        if not text.more("}"):
            return pairs


def read_header(text):
    """Stage 2: the members ([(offset, name, Value)]) and the metadata."""
    text.blanks()
    kind, at = text.begin(), 8 + text.at
    if kind != "object":
        if kind != "array":
            text.value(0)
        raise Fault("header-type", at)
    members, metadata, seen = [], None, False
    text.at += 1
    text.blanks()
    more = text.peek() != ord("}")
    if not more:
        text.at += 1
    while more:
        name_at, name = text.key()
        if name == "__metadata__":
            if seen:
                raise Fault("metadata-twice", name_at)
            seen = True
            metadata = read_metadata(text)
        else:
            members.append((name_at, name, text.value(1)))
        more = text.more("}")
    text.blanks()
    if text.peek() >= 0:
        text.fail()
    return members, metadata


def integer(value):
    if value.kind != "number" or not value.data.isdigit() or int(value.data) > U64:
        return None
    return int(value.data)


class Entry:
    """Stage 3 for one entry; `faults` are (rule, offset) in order."""

    FIELDS = ("dtype", "shape", "data_offsets")

    def __init__(self, name_at, name, value, upstream, unknown):
        self.name_at, self.name, self.faults = name_at, name, []
        self.upstream, self.unknown = upstream, unknown
        self.dtype = self.shape = self.offsets = None
        self.offsets_at = -1
        if value.kind == "object":
            self.read_object(value)
        elif value.kind == "array":
            self.read_array(value)
        else:
            self.faults.append(("entry-type", value.at))

    def accepts(self, rule):
        return self.upstream and rule in UPSTREAM_TAKES or self.unknown and rule == "dtype-unknown"

    def fault(self, rule, at):
        if not self.accepts(rule):
            self.faults.append((rule, at))

    def read_object(self, value):
        seen = set()
        for key_at, key, item in value.data:
            if key not in self.FIELDS:
                continue
            if key in seen:
                self.fault("field-duplicate", key_at)
                continue
            seen.add(key)
            self.read_field(key, item)
        if len(seen) < 3:
            self.fault("field-missing", value.at)

    def read_array(self, value):
        self.fault("entry-array", value.at)
        for key, item in zip(self.FIELDS, value.data):
            self.read_field(key, item)
        if len(value.data) != 3:
            self.fault("field-missing" if len(value.data) < 3 else "entry-type", value.at)

    def read_field(self, key, item):
        if key == "dtype":
            self.read_dtype(item)
        elif key == "shape":
            self.shape = self.read_integers("shape-type", item, None)
        else:
            self.offsets_at = item.at
            self.offsets = self.read_integers("offsets-type", item, 2)

    def read_dtype(self, item):
        code = item.data
        if item.kind == "object":
            if len(item.data) != 1 or item.data[0][2].kind != "null":
                return self.fault("dtype-type", item.at)
            self.fault("dtype-object", item.at)
            code = item.data[0][1]
            if not self.upstream:
                return None
        elif item.kind != "string":
            return self.fault("dtype-type", item.at)
        if code not in BITS:
            self.fault("dtype-unknown", item.at)
        self.dtype = code
        return None

    def read_integers(self, rule, item, count):
        if item.kind != "array":
            return self.fault(rule, item.at)
        numbers = [integer(value) for value in item.data[:count]]
        for value, number in zip(item.data, numbers):
            if number is None:
                return self.fault(rule, value.at)
        if count is not None and len(item.data) != count:
            return self.fault(rule, item.at)
        return numbers


# ------------------------------------------------------------------------------ stages 4 to 6


def keep_last(items, key, rule, upstream, faults):
    """Stage 4 for metadata or names: the items that count."""
    last = {}
    for item in items:
        if key(item) in last and not upstream:
            faults.append((rule, item.name_at if isinstance(item, Entry) else item[0]))
        last.pop(key(item), None)
        last[key(item)] = item
    return list(last.values())


def size_fault(entry):
    begin, end = entry.offsets
    if entry.dtype not in BITS:
        return None
    bits = 1
    for factor in (*entry.shape, BITS[entry.dtype]):
        bits *= factor
        if bits > U64:
            return "size-overflow"
    if bits % 8:
        return "size-bits"
    return "size-mismatch" if bits // 8 != end - begin else None


def judge_layout(entries, header_end, file_size):
    running = 0
    for entry in sorted(entries, key=lambda e: tuple(e.offsets)):
        begin, end = entry.offsets
        if end < begin:
            raise Fault("layout-reversed", entry.offsets_at)
        if begin != running:
            raise Fault("layout-hole" if begin > running else "layout-overlap", entry.offsets_at)
        rule = size_fault(entry)
        if rule:
            raise Fault(rule, entry.offsets_at)
        running = end
    if header_end + running > file_size:
        raise Fault("file-truncated", file_size)
    if header_end + running < file_size:
        raise Fault("trailing-bytes", header_end + running)


def read_file(content, upstream, unknown):
    if len(content) < 8:
        raise Fault("file-too-small", 0)
    n = int.from_bytes(content[:8], "little")
    if n > LIMIT:
        raise Fault("header-too-large", 0)
    if 8 + n > len(content):
        raise Fault("header-length", 0)
    header = content[8 : 8 + n]
    try:
        header.decode()
    except UnicodeDecodeError as error:
        raise Fault("header-utf8", 8 + error.start) from None
    members, pairs = read_header(Text(header))
    entries = [Entry(*m, upstream, unknown) for m in members]
    for entry in entries:
        if entry.faults:
            raise Fault(*entry.faults[0])
    faults = []
    kept = keep_last(pairs or [], lambda p: p[1], "metadata-duplicate", upstream, faults)
    entries = keep_last(entries, lambda e: e.name, "name-duplicate", upstream, faults)
    if faults:
        raise Fault(*faults[0])
    judge_layout(entries, 8 + n, len(content))
    entries.sort(key=lambda e: tuple(e.offsets))
    tensors = [(e.name, e.dtype, e.shape, *e.offsets) for e in entries]
    return Verdict(tensors=tensors, metadata=None if pairs is None else {p[1]: p[2] for p in kept})


def judge(content, upstream=False, unknown=False):
    try:
        return read_file(content, upstream, unknown)
    except Fault as fault:
        return Verdict(rule=fault.rule, offset=fault.offset)
