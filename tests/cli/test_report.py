# SPDX-License-Identifier: Apache-2.0
"""The page of report: what stands in it, whatever the file says."""

import base64
import hashlib
import json
import math
import os
import random
import re
import struct

import pytest

from model_files import BITS, frame
from report_pages import ALL, HOSTILE, METADATA, Page, many, model
from test_escape import NASTY

SOURCES = os.path.join(os.path.dirname(__file__), "..", "..", "cli", "report")
# Whatever makes a browser load, send, or run something, where it stands as an attribute.
LOADING = {
    "src",
    "href",
    "srcset",
    "action",
    "formaction",
    "data",
    "poster",
    "background",
    "ping",
    "xlink:href",
    "style",
    "srcdoc",
    "manifest",
    "cite",
    "usemap",
    "profile",
    "archive",
    "codebase",
}


@pytest.fixture
def report(cli, tmp_path):
    """Writes a page, and gives it."""

    def write(path, *options):
        target = tmp_path / "page.html"
        done = cli("report", path, "-o", target, *options)
        assert (done.code, done.out, done.err) == (0, "", "")
        return Page(target.read_text(encoding="utf-8"))

    return write


# -------------------------------------------------------------------------------- structure


def check_isolation(page):
    """Nothing of the page leads out of it, and what runs is the script that the policy names."""
    for tag, attrs in page.elements:
        assert tag not in {
            "link",
            "img",
            "iframe",
            "object",
            "embed",
            "base",
            "audio",
            "video",
            "image",
            "use",
        }
        for name, value in attrs.items():
            assert not name.startswith("on"), (tag, name)
            if name in LOADING:
                assert (tag, name) == ("a", "href") and value.startswith("#"), (tag, name, value)
    metas = [attrs for tag, attrs in page.elements if tag == "meta"]
    (policy,) = [meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    assert (rules.pop("require-trusted-types-for"), rules.pop("trusted-types")) == ("'script'", "'none'")
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.text, re.S)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert rules.pop(kind) == f"'sha256-{digest}'"
    assert not rules
    # It stands before what it is to hold for.
    order = [tag for tag, _ in page.elements]
    assert page.elements[order.index("meta") + 1][1].get("http-equiv") == "Content-Security-Policy"
    assert len(re.findall("<script", page.text)) == 2 and len(re.findall("<style", page.text)) == 1


def test_template_names_nothing_outside():
    for name in ("report.html", "report.css", "report.js"):
        with open(os.path.join(SOURCES, name), encoding="utf-8") as source:
            text = source.read()
        assert not re.search(r"https?:|//[a-z]|url\(|@import|@font-face", text), name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|"
            r"fetch\(|XMLHttp|WebSocket|import\(|sendBeacon|localStorage",
            text,
        ), name
        assert "</script" not in text or name == "report.html"
        assert text.isascii()


def test_page(report, llm):
    page = report(llm)
    check_isolation(page)
    assert not re.search(r"\{\{[a-z-]+\}\}", page.text)  # every slot of the template was filled
    assert page.texts["title"] == page.texts["h1"] == ["model.safetensors"]
    assert page.texts["h2"] == ["Overview", "Sizes", "Tensors", "Metadata"]
    assert page.elements[0] == ("html", {"lang": "en"})
    assert {"charset": "utf-8"} in [attrs for tag, attrs in page.elements if tag == "meta"]
    names = page.texts_of("p", "full")
    assert sorted(names) == sorted(model())
    # Natural order, in a tree: layers once, and ten after nine.
    labels = page.texts_of("span", "name")
    assert labels.index("model") < labels.index("layers") < labels.index("3")
    # A label stands at every control.
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert len(ids) == sum("id" in attrs for _, attrs in page.elements)
    for _, attrs in page.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attrs.get(name) or "").split()) <= ids
        if (attrs.get("href") or "").startswith("#"):
            assert attrs["href"][1:] in ids


def test_overview(report, cli, llm):
    page = report(llm)
    facts = dict(zip(page.texts["dt"], page.texts["dd"]))
    listed = cli("ls", "--json", llm).json["files"][0]
    size = listed["size"]
    assert facts["File"].startswith(f"{size:,} bytes")
    assert facts["Header"].startswith(f"{listed['header_size']:,} bytes")
    assert facts["Data offset"] == f"{listed['header_size'] + 8:,}"
    assert facts["Parameters"].endswith(f"{listed['totals']['elements']:,} elements")
    rows = re.findall(r"<tr>(.*?)</tr>", page.text, re.S)[1:]
    cells = [re.sub("<[^>]*>", "|", row).strip("|").split("||") for row in rows]
    assert [(row[0].strip("|"), int(row[1])) for row in cells] == [
        (each["dtype"], each["tensors"]) for each in listed["totals"]["dtypes"]
    ]
    assert "<strong>1 tensor holds</strong> NaN or infinite values: <code>model.norm.weight</code>." in page.text


def test_alignment(report, make):
    path = make({"a": ("U8", [3], None), "b": ("F32", [1], None)})
    page = report(path)
    assert re.search(
        r"<dd>data at a multiple of \d+, all tensors at one of 1; <strong>1</strong> not aligned to "
        "their elements</dd>",
        page.text,
    )


def number(value):
    """What the data has as a string of digits, because no double holds it."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d+", value) else value


def test_data_is_what_ls_and_stats_say(report, cli, llm):
    data = report(llm).data
    listed = cli("ls", "--json", llm).json["files"][0]
    measured = cli("stats", "--json", "--bins", "32", llm).json["files"][0]
    assert (data["file"], data["size"], data["header_size"]) == (str(llm), listed["size"], listed["header_size"])
    assert data["dtypes"] == [each["dtype"] for each in listed["totals"]["dtypes"]]
    for ours, theirs, stats in zip(data["tensors"], listed["tensors"], measured["tensors"], strict=True):
        ours = dict(zip(data["columns"], ours, strict=True))
        ours["dtype"] = data["dtypes"][ours["dtype"]]
        figures = dict(
            zip(
                data["stats_columns"],
                map(lambda v: v if isinstance(v, list) else number(v), ours.pop("stats")),
                strict=True,
            )
        )
        assert ours.pop("shard") is None
        assert ours == theirs
        expected = {k: v for k, v in stats["stats"].items() if k not in ("quantiles", "histogram")}
        expected |= {k: v for k, v in stats["stats"]["histogram"].items() if k in ("low", "high", "bins")}
        assert figures == expected
    steps = next(each for each in data["tensors"] if each[0] == "steps")[6]
    assert str(2**62) in steps and str(-(2**62)) in steps


def tree_names(data):
    """Gives the names that the tree spells, with the tensors that it says they are."""
    path, found = [], []
    for depth, label, index in zip(*[iter(data["tree"])] * 3):
        path[depth:] = [label]
        if index >= 0:
            found.append((".".join(path), index))
    return found


@pytest.mark.parametrize("kind", ["llm", "hostile"])
def test_tree_spells_the_names(report, kind, request):
    data = report(request.getfixturevalue(kind)).data
    assert sorted(tree_names(data)) == sorted((row[0], i) for i, row in enumerate(data["tensors"]))


def test_without_stats(report, traced, tmp_path, llm):
    page = report(llm, "--no-stats")
    assert [row[6] for row in page.data["tensors"]] == [None] * len(model())
    assert not page.of_class("spark") and not page.of_class("range") and "std" not in page.texts["dt"]
    check_isolation(page)


def test_empty_title(report, llm):
    assert report(llm, "--title", "").texts["h1"] == ["model.safetensors"]


def test_filters_and_title(report, cli, llm):
    page = report(llm, "-g", "*.layers.0.*", "--title", "First & <last>")
    assert page.texts["title"] == page.texts["h1"] == ["First & <last>"]
    names = [each["name"] for each in cli("ls", "--json", "-g", "*.layers.0.*", llm).json["files"][0]["tensors"]]
    assert [row[0] for row in page.data["tensors"]] == names and len(names) == 8
    assert f"<strong>8</strong> <small>of {len(model())}</small>" in page.text
    check_isolation(page)


def test_metadata(report, llm):
    page = report(llm)
    values = dict(zip(page.texts["dt"][-4:], page.texts["pre"]))
    assert {key: value[1:] for key, value in values.items()} == {
        "format": "pt",
        "empty": "",
        "notes": "first line\nsecond line",
        "config": json.dumps(json.loads(METADATA["config"]), indent=2),
    }


def test_names_without_characters(report, make):
    """Are seen: a tensor's, a group's, and a key."""
    page = report(make({"": ("U8", [1], b"\1"), ".x": ("U8", [1], b"\2")}, {"": "v"}))
    assert page.texts_of("p", "full") == ['""', ".x"]
    assert page.texts_of("span", "name") == ['""', '""', "x"]
    assert page.texts["dt"][-1] == '""' and page.texts["pre"] == ["\nv"]


def test_rows_are_short(report, make):
    """Where nothing is finite there is one dash, and long integers are in full in the card only."""
    page = report(
        make(
            {
                "a": ("I64", [2], struct.pack("<2q", -(2**63), 2**63 - 1)),
                "b": ("I64", [2], struct.pack("<2q", -9999999, 9999999)),
                "c": ("U64", [1], struct.pack("<Q", 10**7)),
                "d": ("F32", [0], b""),
                "e": ("F32", [1], struct.pack("<f", math.nan)),
            }
        )
    )
    assert page.texts_of("span", "range") == ["-9.223e+18 … 9.223e+18", "-9999999 … 9999999", "1e+07 … 1e+07", "-", "-"]
    assert page.texts_of("span", "moments")[-2:] == ["-", "-"]
    facts = list(zip(page.texts["dt"], page.texts["dd"]))
    assert ("min", str(-(2**63))) in facts and ("max", str(2**63 - 1)) in facts


def test_one_of_each(report, make):
    """In words: one byte, not one bytes."""
    page = report(make({"t": ("U8", [1], b"\1")}, {"k": "v"}))
    facts = dict(zip(page.texts["dt"], page.texts["dd"]))
    assert (facts["Parameters"], facts["Data"], facts["Metadata"]) == ("1 1 element", "1 byte", "1 entry")


def test_shards(cli, report, llm, tmp_path):
    """Of a folder: a table of them, and of each tensor which one it lies in."""
    folder = tmp_path / "shards"
    assert cli("split", "-s", "8KB", llm, folder).code == 0
    page = report(folder)
    check_isolation(page)
    listed = cli("ls", "--json", folder).json["files"][0]
    names = [each["shard"] for each in listed["shards"]]
    assert 3 < len(names) <= 12 and page.data["shards"] == names
    assert [names[row[7]] for row in page.data["tensors"]] == [each["shard"] for each in listed["tensors"]]
    table = page.text.split('<details class="shards" open>')[1].split("</details>")[0]
    assert table.startswith(f"<summary>{len(names)} shards</summary>")
    cells = re.findall(r'<tr><th scope="row">(.*?)</th><td>(\d+)</td>', table)
    assert cells == [(each["shard"], str(each["tensors"])) for each in listed["shards"]]
    cards = dict(zip(page.texts_of("p", "full"), re.findall("<dt>shard</dt><dd>(.*?)</dd>", page.text), strict=True))
    assert cards == {each["name"]: each["shard"] for each in listed["tensors"]}


def test_many_shards_are_folded(report, make, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for i in range(13):
        make({f"t{i}": ("U8", [1], b"\1")}, name=f"shards/{i}.safetensors")
    assert '<details class="shards"><summary>13 shards</summary>' in report(folder).text


def test_no_metadata_and_no_tensors(report, make):
    page = report(make({}))
    assert "The file has no metadata." in page.text and "There are no tensors to show." in page.text
    assert page.data["tensors"] == [] and page.data["tree"] == []
    assert "table" not in page.texts and "There are no tensors to have any." in page.text


def test_long_metadata_is_cut(report, make):
    """Between two characters, and with word of it."""
    page = report(make({}, {"a": "xy" + "\u6f22" * 40000, "b": "[" + ",".join(["1"] * 40000) + "]", "c": "short"}))
    a, b, c = (text[1:] for text in page.texts["pre"])
    assert a == "xy" + "\u6f22" * 21844 and len(b) == 65536 and c == "short"
    assert page.text.count("Cut after 64.0 KiB") == 2


def test_much_metadata_is_left_out(report, make):
    page = report(make({}, {f"k{i}": "v" * 60000 for i in range(100)}))
    assert 69 <= len(page.texts["pre"]) <= 71
    assert "Some of the 100 entries are left out: a page shows 4.0 MiB of metadata" in page.text


def test_unknown_dtype(report, make):
    path = make(
        frame(
            '{"q":{"dtype":"Q<7>","shape":[3],"data_offsets":[0,2]},'
            '"u":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}',
            b"\1\2\3",
        )
    )
    page = report(path, "--unknown-dtypes")
    assert [row[6] is None for row in page.data["tensors"]] == [True, False]
    assert page.data["dtypes"] == ["Q<7>", "U8"] and "Q&lt;7&gt;" in page.text
    check_isolation(page)


@pytest.mark.parametrize("dtype", BITS)
def test_every_dtype(report, make, dtype):
    page = report(make({"t": (dtype, [8], None)}))
    stats = dict(zip(page.data["stats_columns"], page.data["tensors"][0][6]))
    assert stats["count"] == 8 and sum(stats["bins"]) == 8


def test_hostile_file(report, hostile):
    page = report(hostile)
    check_isolation(page)
    assert [row[0] for row in page.data["tensors"]] == list(ALL)
    for raw, escaped in HOSTILE.items():
        assert escaped in page.text
    shown = page.texts_of("p", "full")
    assert len(shown) == len(ALL)
    for raw, text in NASTY.items():
        assert text in shown
    for raw in HOSTILE:
        assert raw in shown or "\\u202" in raw.encode("unicode_escape").decode()
    # What cannot be seen, or turns the text around, stands nowhere as it is.
    assert not re.search(
        "[\0-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0041]", page.text
    )
    # Nor does any name do as markup: what there is of it is text or data.
    body = page.text.replace(re.search(r'<script type="application/json".*?</script>', page.text, re.S)[0], "")
    assert "<img" not in body and "alert(1)>" not in body and '" onmouseover' not in body


def test_hostile_file_name_and_title(report, make):
    name = "<script>alert(1)<\u202escript>\"'&.safetensors"
    page = report(make({"t": ("U8", [1], b"\1")}, name=name), "--title", "</title><script>alert(1)</script>")
    check_isolation(page)
    assert page.texts["title"] == ["</title><script>alert(1)</script>"]
    assert name in page.data["file"] and name.replace("\u202e", "\\u202e") in page.texts_of("p", "path")[0]


@pytest.mark.parametrize("seed", range(3))
def test_random_names(report, make, seed):
    """Made of what means something in HTML, JSON, or JavaScript: the page has the same elements as with tame ones."""
    pieces = [
        "<",
        ">",
        "&",
        '"',
        "'",
        "/",
        "!",
        "--",
        "=",
        "\\",
        "`",
        "{{",
        "}}",
        "]]>",
        "\n",
        "\0",
        "\u2028",
        "\u202e",
    ]
    pieces += ["script", "style", "&lt;", "&#60;", "<!--", "-->", "</", "a", "\u00e9", "\U0001f600", " ", "$", "\x7f"]
    chance = random.Random(seed)
    names = {"".join(chance.choices(pieces, k=chance.randint(1, 12))) + str(i): str(i) for i in range(100)}
    tame = report(make({name: ("U8", [1], b"\1") for name in names.values()}, {name: "v" for name in names.values()}))
    page = report(make({name: ("U8", [1], b"\1") for name in names}, {name: "v" for name in names}))
    check_isolation(page)
    assert [row[0] for row in page.data["tensors"]] == list(names)
    assert [(tag, sorted(attrs)) for tag, attrs in page.elements] == [
        (tag, sorted(attrs)) for tag, attrs in tame.elements
    ]


def test_same_file_same_page(cli, llm):
    first, second = (cli("report", llm).raw for _ in range(2))
    assert first == second and len(first) > 10000


@pytest.mark.parametrize("count, rows", [(2000, True), (2001, False)])
def test_limit_of_rows(report, make, count, rows):
    page = report(make(many(count)))
    assert page.data["rows"] is rows and len(page.data["tensors"]) == count
    assert len(page.texts_of("p", "full")) == (count if rows else 0)
    assert ("noscript" in page.texts) is not rows
    assert len(page.text) < 6_000_000


# ------------------------------------------------------------------------------------ the verb


def test_standard_output(cli, tmp_path, llm, report):
    page = report(llm)
    assert cli("report", llm).out == cli("report", llm, "-o", "-").out == page.text
    piped = cli("report", "-", stdin=llm.read_bytes()).out
    assert Page(piped).texts["h1"] == ["standard input"] and Page(piped).data["file"] == "-"


def test_terminal(terminal, tmp_path, llm):
    done = terminal("report", llm)
    assert done.code == 2 and "a terminal shows no pages: name an OUT with -o" in done.err
    done = terminal("report", llm, "-o", tmp_path / "p.html", columns=200)
    assert done.code == 0
    assert re.fullmatch(rf"{tmp_path}/p.html: a page about \d+ tensors, \d+\.?\d? KiB, in \d+\.\d\d s\n", done.out)


def test_json(cli, tmp_path, llm):
    target = tmp_path / "p.html"
    done = cli("report", "--json", llm, "-o", target)
    (one,) = done.json["files"]
    reads = sum(math.prod(shape) * BITS[dtype] // 8 for dtype, shape, _ in model().values())
    assert one.pop("seconds") >= 0
    assert one == {
        "file": str(llm),
        "output": str(target),
        "dry_run": False,
        "tensors": len(model()),
        "reads": reads,
        "size": target.stat().st_size,
    }
    done = cli("report", "--json", llm)
    assert (done.code, done.out) == (2, "") and "--json would stand in the middle of the page" in done.err


def test_dry_run(cli, tmp_path, llm):
    target = tmp_path / "p.html"
    done = cli("report", "--dry-run", "-g", "lm_head*", llm, "-o", target)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{target}: would be a page about 1 tensor, of which 4.0 KiB are read\n"
    (one,) = cli("report", "--dry-run", "--no-stats", "--json", llm, "-o", target).json["files"]
    assert one == {
        "file": str(llm),
        "output": str(target),
        "dry_run": True,
        "tensors": len(model()),
        "reads": 0,
        "size": None,
        "seconds": None,
    }
    assert not target.exists()
    assert cli("report", "--dry-run", llm).out.startswith("standard output: would be a page about ")
    assert cli("report", "--dry-run", tmp_path / "absent", "-o", target).code == 3


def test_explain(cli, tmp_path, llm):
    target = tmp_path / "p.html"
    done = cli("report", "--explain", llm, "-o", target)
    assert done.code == 0 and done.out.startswith(f"{llm}: ") and not target.exists()
    done = cli("report", "--explain", "--json", "-g", "lm_head*", llm)
    assert [each["tensor"] for each in done.json["files"][0]["explanations"]] == ["lm_head.weight"]


def test_refusals(cli, tmp_path, llm, make):
    target = tmp_path / "p.html"
    target.write_text("old")
    done = cli("report", "-g", "nothing", llm, "-o", target)
    assert done.code == 2 and done.err == f"safetensors: {llm}: no tensor passes the filters\n"
    bad = make(b"\xff" * 64, name="bad.safetensors")
    assert cli("report", bad, "-o", target).code == 1
    assert cli("report", tmp_path / "absent", "-o", target).code == 3
    assert target.read_text() == "old"
    done = cli("report", llm, "-o", tmp_path / "absent" / "p.html")
    assert done.code == 3 and done.err.endswith("p.html: cannot be written: No such file or directory\n")
    assert sorted(os.listdir(tmp_path)) == ["bad.safetensors", "model.safetensors", "p.html"]


@pytest.mark.parametrize("how", ["name", "link", "standard input"])
def test_never_onto_the_file_itself(cli, tmp_path, llm, how):
    before = llm.read_bytes()
    target = llm
    if how == "link":
        target = tmp_path / "link"
        target.symlink_to(llm)
    with open(llm, "rb") as stream:
        done = cli("report", "-" if how == "standard input" else llm, "-o", target, stdin=stream)
    assert done.code == 2 and "would take the place of a model" in done.err
    assert llm.read_bytes() == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_full_disk(cli, llm):
    done = cli("report", llm, "-o", "/dev/full")
    assert (done.code, done.err) == (3, "safetensors: /dev/full: No space left on device\n")
    with open("/dev/full", "wb") as full:
        assert cli("report", llm, stdout=full).code == 3


@pytest.mark.parametrize("call, options", [("fchmod", []), ("fchmod", ["--no-stats"]), ("fsync", [])])
def test_signals(traced, tmp_path, llm, call, options):
    """One that comes when the temporary file is there leaves none, and the old page; one at the end the new."""
    target = tmp_path / "p.html"
    target.write_text("old")
    done, _ = traced(
        ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGINT:when=1"], "report", llm, "-o", target, *options
    )
    assert done.code == 130
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors", "p.html"]
    if call == "fchmod":
        assert target.read_text() == "old" and done.err.startswith(f"safetensors: {llm}: ")
    else:
        assert target.read_text().startswith("<!DOCTYPE html>") and done.err == ""


def test_whole_or_not_at_all(traced, tmp_path, llm):
    """The page is written beside its place and takes it at the end; a failure leaves what was there."""
    target = tmp_path / "p.html"
    target.write_text("old")
    done, calls = traced(["-e", "trace=rename,renameat,renameat2,fsync"], "report", llm, "-o", target)
    assert done.code == 0
    names = [re.search(r"(rename|fsync)", call)[1] for call in calls if re.search(r"\b(rename\w*|fsync)\(", call)]
    assert names == ["fsync", "rename"] and target.read_text().startswith("<!DOCTYPE html>")
    target.write_text("old")
    done, _ = traced(["-e", "trace=fsync", "-e", "inject=fsync:error=EIO"], "report", llm, "-o", target)
    assert done.code == 3 and "Input/output error" in done.err
    assert target.read_text() == "old" and sorted(os.listdir(tmp_path)) == ["model.safetensors", "p.html"]
