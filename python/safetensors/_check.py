# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a file: `safetensors.check`."""

from dataclasses import dataclass
from typing import Any, Iterator, List, Optional, Tuple

from . import _safetensors_rust as _native

__all__ = ["CheckReport", "Finding", "check"]


@dataclass(frozen=True)
class Finding:
    """One deviation from the format.

    Attributes:
        severity (`str`):
            `"error"`: the file is refused when it is opened. `"warning"`: it is accepted, but other readers may refuse
            it or read it differently. `"note"`: worth knowing.
        rule (`str`):
            The rule that is broken, such as `"layout-hole"`; docs/format.md lists them.
        message (`str`):
            What is wrong, in one line.
        tensor (`str`, *optional*):
            The tensor it is about.
        offset (`int`, *optional*):
            The byte of the file it is about.
    """

    severity: str
    rule: str
    message: str
    tensor: Optional[str] = None
    offset: Optional[int] = None

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset}"
        return f"{self.severity}: {self.message} [{self.rule}{where}]"


@dataclass(frozen=True)
class CheckReport:
    """What `safetensors.check` found in a file.

    Attributes:
        findings (`Tuple[Finding, ...]`):
            The deviations in the order of the checks; of a file with very many, the first 10 000.
        errors, warnings, notes (`int`):
            How many there are of each severity, whether listed or not.
        tensors (`int`):
            How many tensors the header has, as far as it can be read.
        metadata (`int`):
            How many metadata entries it has.
        file_size, header_size, data_size (`int`):
            Bytes of the file, of the header's text, and behind it.
    """

    findings: Tuple[Finding, ...]
    errors: int
    warnings: int
    notes: int
    tensors: int
    metadata: int
    file_size: int
    header_size: int
    data_size: int

    @property
    def ok(self) -> bool:
        """Whether the file can be opened: there is no error."""
        return self.errors == 0

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __str__(self) -> str:
        lines: List[str] = [str(finding) for finding in self.findings]
        more = self.errors + self.warnings + self.notes - len(self.findings)
        if more:
            lines.append(f"... and {more} more")
        lines.append(
            f"{self.errors} errors, {self.warnings} warnings, {self.notes} notes; "
            f"{self.tensors} tensors, {self.file_size} bytes"
        )
        return "\n".join(lines)


def check(source: Any, *, upstream: bool = False) -> CheckReport:
    """Checks a file's framing, header and layout, and reports all that is wrong with it, where opening it would only
    tell the first thing. No tensor is read.

    Args:
        source (`str`, `os.PathLike`, file object, or `bytes`-like):
            The path of the file, the open file, or its contents.
        upstream (`bool`, *keyword-only*, defaults to `False`):
            Judge by what the original implementation accepts: what only this one refuses, such as two tensors of one
            name, becomes a warning.

    Returns:
        `CheckReport`: the findings, and what was seen of the file.

    Example:

    ```python
    from safetensors import check

    report = check("model.safetensors")
    if not report.ok:
        print(report)
    ```
    """
    findings, summary = _native._check(source, bool(upstream))
    return CheckReport(tuple(Finding(*finding) for finding in findings), **summary)
