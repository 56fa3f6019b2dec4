# SPDX-License-Identifier: Apache-2.0
"""Draws bar charts as SVG that can be read on light and on dark pages."""
from xml.sax.saxutils import escape

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 15px; font-weight: 600; }
.value { font-size: 12px; fill: #57606a; }
.axis { stroke: #8c959f; stroke-width: 1; }
.range { stroke: #24292f; stroke-width: 1.5; }
.ours { fill: #0969da; }
.peer { fill: #afb8c1; }
.ceiling { fill: #2da44e; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .value { fill: #9198a1; }
  .axis { stroke: #656c76; }
  .range { stroke: #e6edf3; }
  .ours { fill: #4493f8; }
  .peer { fill: #656c76; }
  .ceiling { fill: #3fb950; }
}
"""
WIDTH, LABEL, VALUE, ROW, BAR, HEAD, GAP = 860, 190, 150, 24, 14, 34, 18


def panel(top, title, unit, bars):
    """Gives the lines and the height. `bars`: (label, kind, value, least, most, remark)."""
    longest = max(value for _, _, value, *_ in bars) * 1.1
    scale = (WIDTH - LABEL - VALUE) / longest
    yield f'<text class="title" x="0" y="{top + 18}">{escape(title)}</text>'
    for row, (label, kind, value, least, most, remark) in enumerate(bars):
        most = min(most, longest)  # one bad turn is not to squeeze all others
        middle = top + HEAD + row * ROW + ROW / 2
        yield f'<text x="{LABEL - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        yield (f'<rect class="{kind}" x="{LABEL}" y="{middle - BAR / 2:.1f}" '
               f'width="{max(1, value * scale):.1f}" height="{BAR}" rx="2"/>')
        yield (f'<line class="range" x1="{LABEL + least * scale:.1f}" x2="{LABEL + most * scale:.1f}" '
               f'y1="{middle:.1f}" y2="{middle:.1f}"/>')
        yield (f'<text class="value" x="{LABEL + most * scale + 8:.1f}" y="{middle + 4:.1f}">'
               f'{value:.2f} {unit}{escape(remark)}</text>')
    bottom = top + HEAD + len(bars) * ROW
    yield f'<line class="axis" x1="{LABEL}" x2="{LABEL}" y1="{top + HEAD}" y2="{bottom}"/>'


def draw(path, description, panels):
    """`panels`: (title, unit, bars)."""
    lines, top = [], 0
    for title, unit, bars in panels:
        lines += panel(top, title, unit, bars)
        top += HEAD + len(bars) * ROW + GAP
    with open(path, "w") as file:
        file.write("<!-- SPDX-License-Identifier: Apache-2.0 -->\n"
                   f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" '
                   f'height="{top}" role="img" aria-label="{escape(description)}">\n'
                   f"<title>{escape(description)}</title>\n<style>{STYLE}</style>\n" +
                   "\n".join(lines) + "\n</svg>\n")
