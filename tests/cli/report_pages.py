# SPDX-License-Identifier: Apache-2.0
"""Files to write pages about, and pages taken apart."""

import html.parser
import json
import math
import random
import re
import struct

from model_files import floats, frame
from test_escape import NASTY

VOID = {"meta", "input", "br", "hr", "img", "link", "path", "rect"}
HOSTILE = {
    "</script><script>alert(1)</script>": "&lt;/script&gt;",
    "<img src=x onerror=alert(1)>": "&lt;img",
    'a" onmouseover="alert(1)': "&quot;",
    "b' onfocus='alert(1)": "&#39;",
    "<!--<script>": "&lt;!--",
    "]]>&lt;&amp;": "&amp;lt;",
    "${alert(1)}`{{title}}{{data}}": "{{title}}",
    "</title></style></textarea></noscript><svg onload=alert(1)>": "&lt;/title&gt;",
    "line\u2028separator\u2029s": "\\u2028",
    "javascript:alert(1)": "javascript:",
    "https://example.org/x.js": "https:",
    "__proto__": "__proto__",
    "constructor.prototype.x": "constructor",
    "\U0001f600.\ud7ff": "\U0001f600",
}
ALL = {**{name: name for name in HOSTILE}, **{name: name for name in NASTY}}


class Page(html.parser.HTMLParser):
    """A page taken apart: the elements with their attributes, and the text in each kind of element."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.text, self.elements, self.texts, self.open = text, [], {}, []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def of_class(self, name):
        return [(tag, attrs) for tag, attrs in self.elements if name in (attrs.get("class") or "").split()]

    def texts_of(self, tag, name):
        """Gives the texts of the elements of a class that have no other element of the same tag inside."""
        numbers = [
            i
            for i, (_, attrs) in enumerate(e for e in self.elements if e[0] == tag)
            if name in (attrs.get("class") or "").split()
        ]
        return [self.texts[tag][i] for i in numbers]

    @property
    def data(self):
        text = re.search(r'<script type="application/json" id="data">(.*?)</script>', self.text, re.S)[1]
        assert not re.search("[<>&\u2028\u2029]", text)
        return json.loads(text)


def bell(count, seed, spread=0.05):
    random_ = random.Random(seed)
    return struct.pack(f"<{count}f", *(random_.gauss(0, spread) for _ in range(count)))


def half(values):
    return struct.pack(f"<{len(values) // 4}e", *struct.unpack(f"<{len(values) // 4}f", values))


def model(layers=4, width=16):
    """A small transformer: the shapes that people look at."""
    tensors = {"model.embed_tokens.weight": ("F16", [64, width], half(bell(64 * width, 1)))}
    for i in range(layers):
        at = f"model.layers.{i}."
        for j, part in enumerate(("q_proj", "k_proj", "v_proj", "o_proj")):
            tensors[f"{at}self_attn.{part}.weight"] = ("F16", [width, width], half(bell(width * width, 10 * i + j)))
        for part, shape in (
            ("gate_proj", [4 * width, width]),
            ("up_proj", [4 * width, width]),
            ("down_proj", [width, 4 * width]),
        ):
            tensors[f"{at}mlp.{part}.weight"] = ("F16", shape, half(bell(4 * width * width, i + len(part), 0.02)))
        tensors[f"{at}input_layernorm.weight"] = ("F32", [width], bell(width, 99 + i, 1))
    tensors["model.norm.weight"] = ("F32", [width], floats(*[1.0] * (width - 2), math.nan, -math.inf))
    tensors["lm_head.weight"] = ("F32", [64, width], bell(64 * width, 3))
    tensors["steps"] = ("I64", [2], struct.pack("<2q", -(2**62), 2**62))
    tensors["empty"] = ("U8", [0, 7], b"")
    return tensors


METADATA = {
    "format": "pt",
    "config": json.dumps({"layers": 4, "names": ["a", "b"], "nested": {"x": 1.5}}),
    "notes": "first line\nsecond line",
    "empty": "",
}


def many(count):
    header = {
        f"blocks.{i // 100}.expert.{i % 100}.weight": {"dtype": "U8", "shape": [2], "data_offsets": [2 * i, 2 * i + 2]}
        for i in range(count)
    }
    return frame(json.dumps(header), (bytes(range(256)) * (count // 128 + 1))[: 2 * count])
