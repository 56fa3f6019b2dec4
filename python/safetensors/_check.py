# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a file, or with a model in several: `safetensors.check`."""

import os
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import _safetensors_rust as _native
from ._shards import is_several

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
        file (`str`, *optional*):
            The path of the file, the index or the folder it is about, where several were checked.
    """

    severity: str
    rule: str
    message: str
    tensor: Optional[str] = None
    offset: Optional[int] = None
    file: Optional[str] = None

    def __str__(self) -> str:
        where = "" if self.offset is None else f" at byte {self.offset}"
        of = "" if self.file is None else f"{self.file}: "
        return f"{of}{self.severity}: {self.message} [{self.rule}{where}]"


@dataclass(frozen=True)
class CheckReport:
    """What `safetensors.check` found in a file, or in a folder or an index: there the numbers are sums of those of
    `files`.

    Attributes:
        findings (`Tuple[Finding, ...]`):
            The deviations in the order of the checks; where there are very many, the first 10 000.
        errors, warnings, notes (`int`):
            How many there are of each severity, whether listed or not.
        tensors (`int`):
            How many tensors the header has, as far as it can be read, or the index names.
        metadata (`int`):
            How many metadata entries it has.
        file_size, header_size, data_size (`int`):
            Bytes of the file, of the header's text, and behind it.
        path (`str`, *optional*):
            Of a report among `files`: what it is about.
        files (`Tuple[CheckReport, ...]`):
            Of a folder or an index: the reports of the files that are there, and behind them that of the index, or of
            the folder. Empty for a file.
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
    path: Optional[str] = None
    files: Tuple["CheckReport", ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it can be opened: there is no error."""
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


def _is_checkpoint(source: Any) -> bool:
    if not isinstance(source, (str, os.PathLike)):
        return False
    return is_several(os.fsdecode(source))


def _checkpoint_report(reports: List[Tuple[str, List[Tuple[Any, ...]], Dict[str, Any], Optional[int]]]) -> CheckReport:
    files = tuple(
        CheckReport(tuple(Finding(*(*finding, path)) for finding in findings), path=path, **summary)
        for path, findings, summary, _ in reports
    )
    sums: Dict[str, Any] = {name: sum(summary[name] for _, _, summary, _ in reports) for name in reports[0][2]}
    # Those of the files are counted again by what names them.
    sums["tensors"] = sum(summary["tensors"] for _, _, summary, named in reports if named is not None)
    return CheckReport(tuple(finding for file in files for finding in file), files=files, **sums)


def check(source: Any, *, upstream: bool = False) -> CheckReport:
    """Checks a file's framing, header and layout, and reports all that is wrong with it, where opening it would only
    tell the first thing. No tensor is read. Of a folder or an index each file is checked, and what the index says
    against what they hold, as by the program's `check`.

    Args:
        source (`str`, `os.PathLike`, file object, or `bytes`-like):
            The path of the file, the open file, or its contents; or the path of a folder, or of an index, which ends in
            `".json"`.
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
    if _is_checkpoint(source):
        return _checkpoint_report(_native._check_checkpoint(os.fsdecode(source), bool(upstream)))
    findings, summary = _native._check(source, bool(upstream))
    return CheckReport(tuple(Finding(*finding) for finding in findings), **summary)
