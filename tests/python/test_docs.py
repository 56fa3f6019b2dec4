# SPDX-License-Identifier: Apache-2.0
"""The examples of the guide and of the README, run as a reader would: one after the other, in an empty folder."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def examples(page):
    """Gives the page's Python as one program, each line where it stands on the page."""
    lines, inside = [], False
    for line in (ROOT / page).read_text().splitlines():
        fence = re.match(r"```(\w*)$", line)
        if fence:
            inside = not inside and fence[1] == "python"
            lines.append("")
        else:
            lines.append(line if inside else "")
    return "\n".join(lines)


@pytest.mark.parametrize("page, least", [("docs/python.md", 40), ("README.md", 4)])
def test_examples_run(page, least, tmp_path, run_with_torch):
    program = examples(page)
    assert sum(1 for line in program.splitlines() if line.strip()) >= least
    setting = "import os, sys, warnings; os.chdir(sys.argv[1]); warnings.simplefilter('error', FutureWarning)"
    run_with_torch(f"{setting}\n{program}", tmp_path)
