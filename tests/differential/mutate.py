# SPDX-License-Identifier: Apache-2.0
"""Makes headers: valid ones in many spellings, then broken by their grammar or by their bytes."""

import random
import struct

DTYPES = {
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
VALUES = [
    "0",
    "1",
    "-1",
    "-0",
    "01",
    "1.0",
    "1e0",
    "1e999",
    "1e-999",
    "18446744073709551615",
    "18446744073709551616",
    "9007199254740993",
    "null",
    "true",
    "false",
    "nul",
    '""',
    '"U8"',
    '"F32"',
    '"u8"',
    '"F8_E4M3FN"',
    "[]",
    "{}",
    "[0]",
    "[0,0]",
    "[0,1]",
    "[0,1,2]",
    "[0,]",
    '{"U8":null}',
    '{"F32":null}',
    '{"X":null}',
    '{"U8":null,"I8":null}',
    '{"U8":{}}',
    '{"U8":1}',
    "[[0,1]]",
    '["U8",[0],[0,0]]',
    '["U8",[0]]',
    '["U8",[0],[0,0],0]',
    '"\\ud83d\\ude00"',
    '"\\ud800"',
    '"\\udc00"',
    '"\\u0055\\u0038"',
    '"\\x"',
    "[" * 126 + "]" * 126,
    "[" * 125 + "]" * 125,
    '{"a":' * 124 + "1" + "}" * 124,
    "",
    " ",
    "+1",
    "NaN",
    "'U8'",
]
NAMES = [
    "a",
    "b",
    "c",
    "w.0",
    "w.1",
    "",
    "dtype",
    "__metadata__",
    "\\u0061",
    "\\u005f_metadata__",
    "é",
    "\\u00e9",
    "e\u0301",
    "日本",
    "😀",
    "\\ud83d\\ude00",
    "x" * 40,
    "a\\u0000b",
    "\x7f",
    "__metadata",
    "data_offsets",
    '\\"',
    "\\\\",
    "\\/",
]
TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"\\u",
    b"\\ud800",
    b"\\udc00",
    b" ",
    b"\n",
    b"\t",
    b"\r",
    b"\0",
    b"\x0b",
    b"\x1f",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc3\xa9",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"0",
    b"1",
    b"-",
    b".",
    b"e",
    b"E+",
    b"null",
    b"true",
    b"false",
    b'"dtype"',
    b'"shape"',
    b'"data_offsets"',
    b'"__metadata__":',
    b"{}",
    b"[]",
    b'"U8"',
    b"/*",
    b"//",
]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, p):
        return self.random.random() < p

    def blank(self):
        return self.random.choice(["", " ", "\n", "\t ", "\r\n"]) if self.blanks else ""

    def join(self, items, separator=","):
        return (self.blank() + separator + self.blank()).join(items)

    def wrap(self, brackets, items):
        return brackets[0] + self.blank() + self.join(items) + self.blank() + brackets[1]

    def shape(self, bits):
        rank = self.random.choice([0, 1, 1, 2, 2, 2, 3, 4, 9])
        dims = [self.random.choice([0, 1, 1, 2, 3, 4, 5]) for _ in range(rank)]
        product = 1
        for d in dims:
            product *= d
        while product * bits % 8 and not self.chance(0.05):
            dims = [*dims, 4]
            product *= 4
        if self.chance(0.01):
            dims.insert(self.random.randrange(len(dims) + 1), 2 ** self.random.randrange(50, 64))
        return dims, product * bits // 8

    def string(self, text):
        return '"' + text + '"'

    def entry(self, dtype, dims, begin, end):
        fields = {
            "dtype": self.string(dtype),
            "shape": self.wrap("[]", [str(d) for d in dims]),
            "data_offsets": self.wrap("[]", [str(begin), str(end)]),
        }
        keys = list(fields)
        if self.chance(0.2):
            self.random.shuffle(keys)
        if self.chance(self.break_fields):
            key = self.random.choice(keys)
            what = self.random.randrange(5)
            if what == 0:
                keys.remove(key)
            elif what == 1:
                keys.insert(self.random.randrange(4), key)
            elif what == 2:
                return self.wrap("[]", [fields[k] for k in ("dtype", "shape", "data_offsets")])
            elif what == 3:
                fields[key] = self.random.choice(VALUES)
            else:
                fields["extra"] = self.random.choice(VALUES)
                keys.insert(self.random.randrange(4), "extra")
        items = [self.string(k) + self.blank() + ":" + self.blank() + fields[k] for k in keys]
        return self.wrap("{}", items)

    def metadata(self):
        if self.chance(0.15):
            return self.random.choice(["null", "{}", *VALUES])
        keys = [self.random.choice(NAMES) for _ in range(self.random.randrange(4))]
        if self.chance(0.8):
            keys = list(dict.fromkeys(keys))
        items = []
        for key in keys:
            value = self.string(self.random.choice(NAMES))
            if self.chance(0.05):
                value = self.random.choice(VALUES)
            items.append(self.string(key) + ":" + self.blank() + value)
        return self.wrap("{}", items)

    def header(self):
        """(text, size of the data)"""
        self.blanks = self.chance(0.3)
        self.break_fields = self.random.choice([0, 0, 0.3])
        break_layout = self.chance(0.15)
        names = [n for n in NAMES if n not in ("__metadata__", "\\u005f_metadata__")]
        same = {"\\u0061": "a", "\\u00e9": "é", "\\ud83d\\ude00": "😀"}
        count = self.random.choice([0, 1, 1, 2, 2, 3, 5, 12])
        names = [self.random.choice(names) for _ in range(count)]
        if self.chance(0.75):
            names = [f"{n}{i}" for i, n in enumerate(names)]
        elif self.chance(0.8):
            names = list({same.get(n, n): n for n in names}.values())
        members, at = [], 0
        for name in names:
            dtype = self.random.choice(list(DTYPES))
            dims, size = self.shape(DTYPES[dtype])
            begin, end = at, at + size
            at = end
            if break_layout and self.chance(0.4):
                begin += self.random.choice([-1, 0, 0, 1])
                end += self.random.choice([-1, 0, 0, 1])
            members.append(
                self.string(name)
                + self.blank()
                + ":"
                + self.blank()
                + self.entry(dtype, dims, max(begin, 0), max(end, 0))
            )
        if self.chance(0.4):
            self.random.shuffle(members)
        if self.chance(0.3):
            member = '"__metadata__":' + self.metadata()
            members.insert(self.random.randrange(len(members) + 1), member)
        if members and self.chance(0.03):
            members.append(self.random.choice(members))
        if self.chance(0.03):
            members.append(
                self.string(self.random.choice(NAMES)) + ":" + self.random.choice(VALUES)
            )
        text = self.blank() + self.wrap("{}", members) + self.blank()
        return text.encode(), at

    def mutate(self, text):
        text = bytearray(text)
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            at = self.random.randrange(len(text) + 1)
            what = self.random.randrange(6)
            if what == 0 and text:
                del text[at : at + self.random.choice([1, 1, 2, 8])]
            elif what == 1:
                text[at:at] = self.random.choice(TOKENS)
            elif what == 2:
                token = self.random.choice(TOKENS)
                text[at : at + len(token)] = token
            elif what == 3 and at < len(text):
                text[at] = self.random.randrange(256)
            elif what == 4:
                del text[at:]
            else:
                end = min(len(text), at + self.random.randrange(1, 40))
                to = self.random.randrange(len(text) + 1)
                text[to:to] = text[at:end]
        return bytes(text)

    def shift(self, content):
        """The same file with members put in front, so that a reader's window of 16 KiB, or of
        32 KiB behind that, ends somewhere inside the old ones; None where that cannot be."""
        n = int.from_bytes(content[:8], "little")
        if content[8:9] != b"{" or not 2 < n <= len(content) - 8:
            return None
        end = self.random.choice([16384, 2 * 16384])
        room = end - 8 - self.random.randrange(n)
        filler = b""
        while len(filler) + 200 < room:
            number = len(filler)
            filler += b'"~%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},' % number
        filler += b" " * (room - len(filler))
        return struct.pack("<Q", n + room) + b"{" + filler + content[9:]

    def file(self):
        """One file, valid or not."""
        text, size = self.header()
        if self.chance(0.5):
            text = self.mutate(text)
        if self.chance(0.5):
            text += b" " * (-len(text) % 8)
        n = len(text)
        if self.chance(0.02):
            n = max(0, n + self.random.choice([-8, -1, 1, 8, 2**32, 2**63 - n]))
        if self.chance(0.03):
            size = max(0, size + self.random.choice([-1, 1, 7]))
        content = struct.pack("<Q", n) + text + bytes(i * 31 % 251 for i in range(size))
        if self.chance(0.01):
            content = content[: self.random.randrange(len(content))]
        return content
