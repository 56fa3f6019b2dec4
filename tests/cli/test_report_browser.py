# SPDX-License-Identifier: Apache-2.0
"""The page of report in a browser: how it comes out, and what its script does."""

import base64
import json
import math
import struct

import pytest

import browser as chromium
from model_files import floats, frame
from report_pages import ALL, METADATA, many, model
from test_escape import NASTY

SCREENS = [(1280, 800), (390, 844)]


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    if not chromium.program():
        pytest.skip("no Chromium")
    try:
        one = chromium.Browser(tmp_path_factory.mktemp("chromium"))
    except chromium.NotStarted:
        pytest.skip("Chromium does not start here")
    yield one
    one.close()


@pytest.fixture
def shown(cli, chrome, tmp_path):
    """Opens the page of a file at a size."""

    def show(path, size=SCREENS[0], *options, scheme="light", scripts=True):
        target = tmp_path / "page.html"
        assert cli("report", path, "-o", target, *options).code == 0
        chrome.screen(*size, scheme=scheme, scripts=scripts)
        chrome.open(target)
        return chrome

    return show


COUNT = "document.querySelectorAll({!r}).length"
OVERFLOW = "document.scrollingElement.scrollWidth - innerWidth"
REACHING_OUT = """[...document.querySelectorAll('body *')].filter((e) => !e.closest('.wide, #map, .skip') &&
    e.getBoundingClientRect().right > innerWidth + 1).length"""


def check_picture(data, size):
    """Of so many pixels, with something on them."""
    width, height, step, rows = chromium.png_read(data)
    assert (width, height) == size
    colours = {}
    for row in rows[::7]:
        for x in range(0, len(row), step * 3):
            pixel = row[x : x + 3]
            colours[pixel] = colours.get(pixel, 0) + 1
    assert len(colours) > 40
    assert max(colours.values()) < 0.97 * sum(colours.values())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SCREENS)
def test_looks(shown, llm, size, scheme):
    page = shown(llm, size, scheme=scheme)
    assert page.complaints() == []
    assert page.run(OVERFLOW) <= 0
    assert page.run(REACHING_OUT) == 0
    assert page.run(COUNT.format("#map .cell")) >= 20 and page.run(COUNT.format("#map .head")) >= 2
    assert page.run(COUNT.format("#tree .tensor")) == len(model())
    assert page.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(251, 251, 253)" if scheme == "light" else "rgb(17, 20, 26)"
    )
    check_picture(page.shot(), size)
    page.run("document.querySelector('#sizes').scrollIntoView()")
    check_picture(page.shot(), size)
    assert page.complaints() == []


@pytest.mark.parametrize("width", [320, 600, 768, 1000, 1440])
def test_fits_other_widths(shown, llm, width):
    """Nothing reaches out of the page, and the heads of columns stand above their columns."""
    page = shown(llm, (width, 900))
    page.run("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    assert page.run(OVERFLOW) <= 0
    assert page.run(REACHING_OUT) == 0
    lefts = """[document.querySelector('.heads'), document.querySelector('#tree > li > .tensor > summary')].map((row) =>
        [...row.children].filter((e) => e.checkVisibility()).map((e) => Math.round(e.getBoundingClientRect().left)))"""
    heads, cells = page.run(lefts)
    assert heads == ([] if width < 720 else cells) and len(cells) == (5 if width < 1080 else 7)


@pytest.mark.parametrize("width", [390, 1280])
def test_what_is_long_is_broken(shown, make, width):
    """Names, types, shapes, keys, and values without a place to break them at."""
    long = "n" * 3000
    header = {
        "__metadata__": {long: "short", "short": long, "json": json.dumps([long])},
        long: {"dtype": "F32", "shape": [1] * 60, "data_offsets": [0, 4]},
        f"a.{long}.b": {"dtype": "Q" * 300, "shape": [0, 2**53, 2**53, 2**53], "data_offsets": [4, 4]},
        f"a.{long}.c": {"dtype": "F32", "shape": [0, 2**53, 2**53, 2**53], "data_offsets": [4, 4]},
    }
    page = shown(make(frame(json.dumps(header), floats(-1.2345678e-30))), (width, 900), "--unknown-dtypes")
    page.run(
        "document.querySelectorAll('details').forEach((e) => { e.open = true; }); "
        "document.querySelector('#map .cell').click()"
    )
    assert page.run(OVERFLOW) <= 0
    assert page.run(REACHING_OUT) == 0
    # Nor does one cell of a row reach into the next.
    assert (
        page.run(
            "[...document.querySelectorAll('.tensor > summary > span, dd, dt')].filter((e) => "
            "e.scrollWidth > e.clientWidth + 1 && e.clientWidth).length"
        )
        == 0
    )
    assert page.complaints() == []


@pytest.mark.parametrize("size", SCREENS)
@pytest.mark.parametrize("picked", ["*.mlp.*", "*"])
def test_map_fills_its_place(shown, llm, size, picked):
    """The cells lie side by side, as large as their tensors."""
    page = shown(llm, size, "-g", picked)
    boxes = page.run("""[...document.querySelectorAll('#map .cell')].map((e) => {
        const b = e.getBoundingClientRect(); return [b.x, b.y, b.right, b.bottom, e.getAttribute('aria-label')]; })""")
    frame_ = page.run(
        "(() => { const b = document.querySelector('#map').getBoundingClientRect(); "
        "return [b.x, b.y, b.right, b.bottom]; })()"
    )
    assert len(boxes) == 12 or picked == "*"
    for i, (x, y, right, bottom, _) in enumerate(boxes):
        assert frame_[0] - 1 <= x < right <= frame_[2] + 1 and frame_[1] - 1 <= y < bottom <= frame_[3] + 1
        for other in boxes[i + 1 :]:
            assert min(right, other[2]) - max(x, other[0]) < 1 or min(bottom, other[3]) - max(y, other[1]) < 1
    areas = [(right - x + 1) * (bottom - y + 1) for x, y, right, bottom, _ in boxes]
    if picked != "*":
        assert max(areas) < 1.7 * min(areas)  # all are of one size, but for what the heads of groups take
        assert max(max(r - x, b - y) / min(r - x, b - y) for x, y, r, b, _ in boxes) < 6
    covered = sum(areas) / ((frame_[2] - frame_[0]) * (frame_[3] - frame_[1]))
    assert covered > 0.6


def test_map_zooms(shown, llm):
    page = shown(llm)
    trail = "[...document.querySelectorAll('#trail button, #trail span')].map((e) => e.textContent)"
    assert page.run(trail) == ["all"]
    head = "[...document.querySelectorAll('#map .head')].findIndex((e) => e.textContent === 'model')"
    assert page.run(head) >= 0
    page.click("#map .head")
    first = page.run(trail)
    assert len(first) == 2
    page.key("Escape")
    assert page.run(trail) == ["all"]
    # One stop of the Tab key; from there on by arrows.
    assert page.run(COUNT.format("#map [tabindex='0']")) == 1
    page.run("document.querySelector('#map [tabindex=\"0\"]').focus()")
    before = page.run("document.activeElement.getAttribute('aria-label')")
    page.key("ArrowDown")
    after = page.run("document.activeElement.getAttribute('aria-label')")
    assert before != after and page.run(COUNT.format("#map [tabindex='0']")) == 1
    page.key("ArrowUp")
    assert page.run("document.activeElement.getAttribute('aria-label')") == before
    page.key("Enter")
    assert len(page.run(trail)) == 2
    page.run("document.querySelector('#trail button').click()")
    assert page.run(trail) == ["all"]
    # A tensor shows its card, the one of the list.
    page.run(
        "[...document.querySelectorAll('#map .cell')].find((e) => "
        "e.getAttribute('aria-label').startsWith('lm_head.weight:')).click()"
    )
    assert page.run("document.querySelector('#picked .card').outerHTML") == page.run(
        "[...document.querySelectorAll('#tree .card')].find((e) => "
        "e.querySelector('.full').textContent === 'lm_head.weight').outerHTML"
    ).replace("\n", "")
    page.run("document.querySelector('input[value=dtype]').click()")
    heads = page.run("[...document.querySelectorAll('#map .head')].map((e) => e.textContent)")
    assert {"F16", "F32"} <= set(heads)
    assert page.complaints() == []


@pytest.mark.parametrize("sharded", [False, True])
def test_script_makes_the_rows_of_the_program(cli, shown, llm, tmp_path, sharded):
    """Word for word, of all tensors."""
    path = tmp_path / "shards" if sharded else llm
    if sharded:
        assert cli("split", "-s", "8KB", llm, path).code == 0
    page = shown(path)
    assert page.run("[...document.querySelectorAll('#tree dt')].some((e) => e.textContent === 'shard')") == sharded
    page.run(
        "document.querySelector('#order').value = 'offset'; "
        "document.querySelector('#order').dispatchEvent(new Event('change'))"
    )
    page.run("document.querySelectorAll('#found details').forEach((e) => { e.open = true; })")
    page.until(
        "document.querySelectorAll('#found .card').length === document.querySelectorAll('#found .tensor').length"
    )
    texts = """Object.fromEntries([...document.querySelectorAll('#LIST .tensor')].map((e) => [
        e.querySelector('.full').textContent,
        [...e.querySelectorAll('summary > :not(.name), dt, dd, figcaption span, path')].map(
            (p) => p.getAttribute('d') || p.textContent)]))"""
    ours, theirs = page.run(texts.replace("LIST", "found")), page.run(texts.replace("LIST", "tree"))
    assert len(ours) == len(model()) and ours == theirs


def test_name_order_counts(shown, make):
    """Layer 10 follows layer 9."""
    page = shown(make({f"layers.{i}.w": ("U8", [1], b"\0") for i in (10, 9, 1, 2, 11)}))
    page.run(
        "document.querySelector('#order').value = 'name'; "
        "document.querySelector('#order').dispatchEvent(new Event('change'))"
    )
    names = page.run("[...document.querySelectorAll('#found .name')].map((e) => e.textContent)")
    assert names == [f"layers.{i}.w" for i in (1, 2, 9, 10, 11)]


@pytest.mark.parametrize("name", ["short", "a_name_of_many_words_" * 8])
def test_rows_stand_on_one_line(shown, make, name):
    """What is in a row begins where its name does, be that of many lines."""
    page = shown(make({name: ("I64", [2], struct.pack("<2q", -(2**62), 2**62))}), SCREENS[0])
    tops = page.run("""(() => { const row = document.querySelector('.tensor > summary');
        const mark = parseFloat(getComputedStyle(row, '::before').top) + row.getBoundingClientRect().y;
        return [mark, ...[...row.querySelectorAll('span')].map((e) => e.getBoundingClientRect().y)]; })()""")
    assert len(tops) == 7 and max(tops) - min(tops) < 2


def test_blanks_of_names_are_seen(shown, make):
    page = shown(make({"  two  blanks  ": ("U8", [64], None), "x": ("U8", [64], None)}))
    page.click("#tree summary")
    for selector in ("#tree .name", "#tree .full", "#map .label"):
        assert page.run(f"document.querySelector('{selector}').innerText") == "  two  blanks  "


def test_labels_of_the_map_are_words(shown, make):
    """Of a few letters and an ellipsis nobody learns anything."""
    page = shown(make(many(20000)), SCREENS[1])
    cut = """[...document.querySelectorAll('#map .label')].filter((e) => e.scrollWidth > e.clientWidth &&
        e.clientWidth < 40).length"""
    assert page.run(COUNT.format("#map .cell")) > 50 and page.run(cut) == 0
    # Nor of part of a size.
    page = shown(make(model()), (1000, 800))
    sizes = "[...document.querySelectorAll('#map .size')].map((e) => e.scrollWidth > e.clientWidth)"
    assert len(page.run(sizes)) > 10 and not any(page.run(sizes))


def test_filter_and_order(shown, llm):
    page = shown(llm)

    def type_(text):
        page.run(
            f"document.querySelector('#filter').value = {json.dumps(text)}; "
            "document.querySelector('#filter').dispatchEvent(new Event('input'))"
        )

    names = "[...document.querySelectorAll('#found .name')].map((e) => e.textContent)"
    type_("Q_PROJ layers.2")
    page.until("document.querySelector('#status').textContent")
    assert page.run(names) == ["model.layers.2.self_attn.q_proj.weight"]
    assert page.run("document.querySelector('#status').textContent") == f"1 of {len(model())} tensors"
    assert page.run("getComputedStyle(document.querySelector('#tree')).display") == "none"
    type_("i64")
    page.until(names + " + '' === 'steps'")
    type_("")
    page.until("getComputedStyle(document.querySelector('#tree')).display !== 'none'")
    for order, first in (("size", "lm_head.weight"), ("sick", "model.norm.weight"), ("magnitude", "steps")):
        page.run(
            f"document.querySelector('#order').value = '{order}'; "
            "document.querySelector('#order').dispatchEvent(new Event('change'))"
        )
        assert page.run(names)[0] == first and len(page.run(names)) == len(model())
    assert page.complaints() == []


CONTRASTS = """(() => {
    const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
    const light = (c) => { const v = c.slice(0, 3).map((x) => x / 255).map((x) =>
        x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
    const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
        if (c[3] > 0) return c; } return [255, 255, 255, 1]; };
    const bad = [];
    for (const e of document.querySelectorAll("body *")) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        if (!own || !e.checkVisibility() || e.closest("script, option, :disabled")) continue;
        const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) bad.push([e.tagName, e.className, e.textContent.slice(0, 30), ratio]);
    }
    return bad; })()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(shown, make, scheme):
    """4.5 to 1 for all text, on the colours of eight types too."""
    dtypes = ["F64", "I64", "F32", "I32", "F16", "I16", "U8", "BOOL"]
    tensors = {f"a.t{dtype}": (dtype, [8 + i, 64], None) for i, dtype in enumerate(dtypes)}
    tensors["b.sick"] = ("F32", [2], floats(math.nan, 1))
    page = shown(make(tensors, METADATA), (1280, 3000), scheme=scheme)
    page.run(
        "document.querySelectorAll('details').forEach((e) => { e.open = true; }); "
        "document.querySelector('#map .cell').click()"
    )
    assert (
        len(
            page.run(
                "[...new Set([...document.querySelectorAll('#map .cell')].map((e) => "
                "getComputedStyle(e).backgroundColor))]"
            )
        )
        == 8
    )
    assert page.run(CONTRASTS) == []


def test_names_without_characters(shown, make):
    """Of tensors and of groups, in the map and in rows."""
    page = shown(make({"": ("U8", [64], None), ".x": ("U8", [64], None), "y": ("U8", [64], None)}))
    labels = "[...document.querySelectorAll('#map button')].map((e) => e.getAttribute('aria-label').split(': ')[0])"
    assert sorted(page.run(labels)) == ['""', '""', ".x", "y"]
    assert page.run("[...document.querySelectorAll('#map .head')].map((e) => e.textContent)") == ['""']
    page.click("#map .head")
    assert page.run("document.querySelector('#trail').textContent") == 'all \u203a ""'
    page.run(
        "document.querySelector('#order').value = 'offset'; "
        "document.querySelector('#order').dispatchEvent(new Event('change'))"
    )
    assert page.run("[...document.querySelectorAll('#found .name')].map((e) => e.textContent)") == ['""', ".x", "y"]


def test_a_long_name_leaves_the_page_short(shown, make):
    """A million characters are there, to be scrolled to."""
    long = "n" * 1_000_000
    page = shown(make({long: ("U8", [1], b"\1")}, {long: "v"}))
    page.run("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    assert page.run("document.querySelector('#tree .name').textContent.length") == len(long)
    assert page.run("document.scrollingElement.scrollHeight") < 4000


@pytest.mark.parametrize("size", SCREENS)
def test_hostile_file_in_a_browser(shown, hostile, size):
    page = shown(hostile, size)
    page.run("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    names = "[...document.querySelectorAll('#LIST .full')].map((e) => e.textContent)"
    static = page.run(names.replace("LIST", "tree"))
    page.run(
        "document.querySelector('#order').value = 'offset'; "
        "document.querySelector('#order').dispatchEvent(new Event('change')); "
        "document.querySelectorAll('#found details').forEach((e) => { e.open = true; })"
    )
    page.until(
        "document.querySelectorAll('#found .card').length === document.querySelectorAll('#found .tensor').length"
    )
    assert page.run(names.replace("LIST", "found")) == [
        NASTY.get(name, name.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")) for name in ALL
    ]
    assert sorted(static) == sorted(page.run(names.replace("LIST", "found")))
    page.run("document.querySelectorAll('#map button').forEach((e) => e.focus())")
    page.run("document.querySelector('#map .cell').click()")
    assert page.run(COUNT.format("img, iframe, script:not([id]):not(:last-of-type), [onload], [onerror]")) == 0
    assert page.run(COUNT.format("script")) == 2
    assert page.run(OVERFLOW) <= 0
    assert page.complaints() == []


def test_policy_stops_what_the_escaping_would_let_through(shown, chrome, cli, tmp_path, small):
    """The second wall: script that got into a page would not run."""
    target = tmp_path / "page.html"
    assert cli("report", small, "-o", target).code == 0
    text = target.read_text()
    target.write_text(
        text.replace(
            "<main", "<script>document.title = 'ran'</script><img src=x onerror=" "\"document.title = 'ran'\"><main", 1
        )
    )
    chrome.screen(*SCREENS[0])
    chrome.open(target)
    assert chrome.run("document.title") == "model.safetensors"
    assert sum("Content Security Policy" in each for each in chrome.complaints()) >= 2


@pytest.mark.parametrize("size", SCREENS)
def test_without_scripts(shown, llm, size):
    """The tables, the tree, and the metadata are there; what needs scripts is not."""
    page = shown(llm, size, scripts=False)
    snapshot = page.call("Page.captureScreenshot", format="png")
    assert snapshot["data"]
    text = page.call("Accessibility.getFullAXTree")["nodes"]
    names = {node.get("name", {}).get("value") for node in text}
    assert {"Overview", "Tensors", "Metadata"} <= names and "Sizes" not in names
    check_picture(page.shot(), size)


def test_many_tensors(shown, make):
    """100 000 of them: the page opens, draws its map, and makes rows where groups are opened."""
    page = shown(make(many(100_000)), SCREENS[0])
    assert page.complaints() == []
    assert page.run("data.textContent.length") > 5_000_000
    assert page.run(COUNT.format("#tree .tensor")) == 0
    # So many at a time, in a group and in the list.
    assert page.run(COUNT.format("#tree .group .group")) == 200
    page.click("#tree .group > ul > li > button")
    assert page.run(COUNT.format("#tree .group .group")) == 400
    assert 10 < page.run(COUNT.format("#map .cell")) < 9000
    assert page.run("document.querySelectorAll('*').length") < 20_000
    page.run("document.querySelectorAll('#tree .group .group')[7].open = true")
    page.until(COUNT.format("#tree .tensor"))
    assert page.run(COUNT.format("#tree .tensor")) == 100
    page.run(
        "document.querySelector('#filter').value = 'blocks.999.expert.7'; "
        "document.querySelector('#filter').dispatchEvent(new Event('input'))"
    )
    page.until(COUNT.format("#found .name"))
    assert page.run("document.querySelectorAll('#found .name').length") == 11
    page.run(
        "document.querySelector('#order').value = 'name'; document.querySelector('#filter').value = ''; "
        "document.querySelector('#order').dispatchEvent(new Event('change'))"
    )
    assert page.run(COUNT.format("#found .name")) == 200
    page.click("#more")
    assert page.run(COUNT.format("#found .name")) == 400
    assert page.complaints() == []


def test_prints_all(shown, llm):
    """The groups are open on paper, and closed afterwards."""
    page = shown(llm)
    closed = page.run(COUNT.format("#tree .group:not([open])"))
    assert closed > 0
    page.run(
        "window.addEventListener('beforeprint', () => { window.seen = "
        "document.querySelectorAll('#tree .group:not([open])').length; })"
    )
    document = base64.b64decode(page.call("Page.printToPDF", printBackground=True)["data"])
    assert document.startswith(b"%PDF-")
    assert page.run("window.seen") == 0 and page.run(COUNT.format("#tree .group:not([open])")) == closed
