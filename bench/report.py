#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges the goals by the rows in bench/results and writes the tables and the plot of docs/performance.md.

usage: report.py LABEL       reads bench/results/*-LABEL.csv, LABEL being <machine>-<commit>; what was not
                             measured at that commit is taken from the machine's latest rows
"""

import csv
import glob
import os
import re
import statistics
import sys

import report_files
import report_load

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = os.path.join(ROOT, "docs", "performance.md")
MODELS = ("100", "1000", "100000", "1000000")
SLACK = 64 * 1024
WHATS = "open memory instructions load slice save inspect cast edit diff split python".split()

SAVE_REASON = (
    "a plain write() into a preallocated file is itself no 2x: the bytes are copied into the page cache "
    "under the file's lock, by one core at a time, at the speed of its memory; what upstream does not do, "
    "setting the space aside first, saves the file system's bookkeeping per block, about a third"
)

MAPPED_REASON = (
    "what is compared is read into blocks of memory first, which a mapping is not: a file that is cut off meanwhile is "
    "an error, and not the end of the process; it is as fast as pread and memcmp"
)

# Why a goal is missed, where it is; by the goal's text.
REASONS = {
    **{
        f"cold load of 1 GiB in 1 000 tensors, every byte touched, {text}: speed of the best raw read of the device": "the raw read fills the same 32 MiB over and over; a load fills memory whose pages are new, which the hypervisor "
        "takes back and gives again, and adds up the last blocks when the disk has nothing left to do; least times are "
        "0.79 to 0.87 of the raw read's least"
        for text in report_load.KINDS.values()
    },
    "the same, views: processor's time of the closest peer that gives the same, x ours": "what is not in the page cache is read into memory of its own, whose pages have to be made and are; a mapping of "
    "large pages of the cache takes less of the processor's time, and a third more time",
    "warm load, owned, not touched: speed of the best memcpy into new memory": "within noise: 0.97 in the run before, on the same machine; "
    "the least of the seven times of each are 93 and 71 ms, and what new memory costs changes with how much of it the system "
    "has in large pages",
    **dict.fromkeys(
        (
            "Python: NumPy `load` of 512 MiB of bytes, least times",
            "Python: torch `load` of 512 MiB of bytes, least times",
        ),
        "6x and 7x in an earlier run on the same machine: 47 ms where the system had "
        "large pages at hand, and 230 where it had to make them of small ones, which costs upstream as much",
    ),
    "the same of a warm one": "the best is a mapping, which faults where another process cuts the file off meanwhile; what is copied is never "
    "mapped unless that is asked for, and reads of 2 and 8 KiB cost a system call or a second copy each. Of the "
    "strategies that cannot fault the one that is chosen is within 1.1 of the best but for noise",
    "half of the columns, 8 KiB of rows of 16 KiB": "by design: the disk gives 112 000 small reads or 2.3 GB per second, so that reading a gap of less than about 20 KiB "
    "takes less time than a request of its own; whoever pays by the byte can read blocks of rows and exchange them",
    "100 tensors, a process's first open, faster than upstream's": "of the 80 microseconds the parse takes 6; the rest is the first use of the library's code and of the "
    "heap, about 1.5 microseconds per page on this machine, and varies by a tenth from run to run",
    "peak memory, of the header's size, the most of all hostile headers": "one tensor of 49 999 969 dimensions: two bytes of text become eight of shape, which with the text "
    "itself is 5.0 already; a few pages of window and table come on top",
    "undurable save of 1 GiB, faster than upstream's `serialize_file`": SAVE_REASON,
    "the same in 10 tensors of 100 MiB, faster than upstream": SAVE_REASON,
    "the same over an older file of 1 GiB, faster than upstream": "both copy the bytes into the page cache and both free the older file's; what upstream's way costs more is "
    "that the file system starts writing a file without preallocated space when it replaces another",
    "10 000 small tensors of five dtypes, faster than upstream's `serialize_file`": "the bytes go out in a handful of calls and a plain write of them takes 0.6 ms; the rest is the processor's: on "
    "a quiet machine adding the tensors takes 1.3 ms, their order and the layout 1.7, writing 1.1, a third of it "
    "the first touch of new memory; `save_file` from Python, which is what people call, is 16x",
    "10 000 tensors of 1 KiB, faster than upstream's `serialize_file`": "the file has 11 MB, of which a plain write alone takes a sixth of upstream's time, so 6x is the most "
    "that can be had; the rest is the same work for each tensor as above, and one copy more",
    "Python: `save_file` of 1 GiB": SAVE_REASON,
    **dict.fromkeys(
        (
            "casts among F32, F16, and BF16 on one core, speed of memcpy of the source, the slowest",
            "casts from F32 to BF16 and F16 on one core, speed of memcpy, the slower",
            "casts from F32 to 8, 6, and 4 bits on one core, speed of memcpy, the slowest",
        ),
        "a memcpy of 8 to 10 GB/s is one move for each word; a cast takes each element through a word of 32 bits, "
        "rounds it there and counts what went out of range: 0.3 to 0.9 nanoseconds an element; files are cast on "
        "as many cores as there are",
    ),
    "renamed: faster than torch's `load_file` and `save_file`": "both end in a copy by the kernel into the page cache, which is 0.41 of torch's 0.54 s; on a file "
    "system that shares blocks nothing is copied",
    "1 GiB cast from F32 to BF16, undurable: speed of a loop that converts and writes, on one core": "the loop counts nothing",
    "metadata set in place: time of the fewest syncs that a crash can be undone after": "five syncs against three: the journal's mark and the journal's removal each wait for the disk, so that at "
    "no moment a half-written journal looks whole",
    "two files of 1 GiB that are the same, on one core: speed of memcmp over two mappings": MAPPED_REASON,
    "two files that are the same: faster than `torch.equal` and `numpy.allclose`": MAPPED_REASON,
    "files that differ in all values, with every kind of error: faster than torch's largest and mean": "torch's two figures against eight, and the counts of NaN, infinities and signed zeros, in one pass over "
    "both; each relative error is a division of doubles",
    "split: faster than huggingface_hub's `save_torch_state_dict`": "ours takes the time of copy_file_range alone",
    "statistics on one core, speed of pread of the same bytes, the slowest dtype": "a core has to do both: pread copies 9 GB/s into its cache, and then every value is decoded, compared, and "
    "added up in double; the slowest are the 8-bit floats, which are counted, one store a value",
    "XXH3 of a file on one core, speed of pread of the same bytes": "a core has to do both: the digest of bytes in memory alone takes about 0.7 of pread's time",
}


def load(what, label):
    """Gives the comment lines and the rows, numbers as numbers."""
    path = os.path.join(ROOT, "bench", "results", f"{what}-{label}.csv")
    if not os.path.exists(path):
        machine = re.sub(r"-([0-9a-f]{10}|uncommitted)(-changed)?$", "", label)
        others = glob.glob(os.path.join(ROOT, "bench", "results", f"{what}-{machine}-*.csv"))
        if not others:
            return [], []
        path = max(others, key=os.path.getmtime)
    with open(path) as file:
        lines = file.read().splitlines()
    notes = [line[2:] for line in lines if line.startswith("#")]
    rows = []
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        rows.append(
            {
                key: float(value) if re.fullmatch(r"[\d.]+", value) and key != "case" else value
                for key, value in row.items()
            }
        )
    return notes, rows


class Results:
    def __init__(self, label):
        self.notes = []
        found = {}
        for what in WHATS:
            notes, found[what] = load(what, label)
            self.notes += [note for note in notes if note not in self.notes]
        self.open = {(r["case"], r["what"], r["who"]): r for r in found["open"]}
        self.instructions = {(r["case"], r["what"], r["who"]): r for r in found["instructions"]}
        self.load = {(r["case"], r["who"]): r for r in found["load"]}
        self.slice = {(r["case"], r["who"]): r for r in found["slice"] if r["what"] == "slice"}
        self.forced = {(r["case"], r["who"]): r for r in found["slice"] if r["what"] in ("cold", "warm")}
        self.ranks = {(r["case"], r["who"]): r for r in found["slice"] if r["what"] == "ranks"}
        self.save = {(r["case"], r["who"]): r for r in found["save"]}
        self.inspect = {(r["case"], r["who"]): r for r in found["inspect"]}
        self.cast, self.edit, self.diff, self.split, self.python = (
            {(r["case"], r["who"]): r for r in found[what]} for what in ("cast", "edit", "diff", "split", "python")
        )
        self.memory = {}
        self.upstream_memory = {}
        for row in found["memory"]:
            if row["who"] == "ours":
                self.memory.setdefault(row["case"], []).append(row)
            else:
                self.upstream_memory[row["case"]] = row["rss_peak"]

    def ns(self, case, what="open", who="ours"):
        return self.open[case, what, who]["ns_median"]

    def ratio(self, case, what, who, base):
        value = self.open[case, what, who]["x_" + base]
        if value == "":
            raise KeyError(base)
        return value

    def seconds(self, case):
        return statistics.median(row["ns"] for row in self.memory[case]) / 1e9

    def held(self, case, which):
        """Bytes; the resident set says nothing about less than a megabyte."""
        rows = self.memory[case]
        keys = ["touched_" + which] + (["rss_" + which] if rows[0]["bytes"] >= 1e6 else [])
        return max(row[key] for row in rows for key in keys)

    def size(self, case):
        return self.memory[case][0]["bytes"]

    def hostile(self):
        return [case for case in self.memory if case.startswith("hostile-")]


def faster(results, case, what):
    return 1 / results.ratio(case, what, "ours", "upstream")


def slowest_slice(results):
    rows = [row for (_, who), row in results.slice.items() if who == "ours-auto" and row["run"] >= 4096]
    return min(1 / row["x_memcpy"] for row in rows)


def chosen_slice(results, state):
    """How many times as long as the best strategy, the worst of all shapes."""
    return max(row["x_best"] for row in results.forced.values() if row["what"] == state and row["who"] == "auto")


def ranks_read(results, dim):
    """Bytes read for each one wanted, the most of all ranks that want a half of this dimension."""
    return max(row["read"] / row["bytes"] for (case, _), row in results.ranks.items() if case == f"ranks-{dim}")


def save_speed(results, case, base):
    """How many times as fast as a plain write, or as upstream."""
    return 1 / results.save[case, "ours"]["x_" + base]


def inspect_speed(results, case, who="ours-1", column="x_ceiling"):
    return 1 / results.inspect[case, who][column]


def inspect_against(results, case, base):
    """Of medians: each is measured in the same turns."""
    return results.inspect[case, base]["ns_median"] / results.inspect[case, "ours-1"]["ns_median"]


def stats_cases(results):
    found = [case for case, who in results.inspect if case.startswith("stats-") and who == "ours-1"]
    if not found:
        raise KeyError("stats")
    return found


def python_speed(results, case):
    """Of the least times, where new memory is what takes long."""
    if case.endswith("bytes-512MiB"):
        return results.python[case, "upstream"]["ns_min"] / results.python[case, "ours"]["ns_min"]
    return 1 / results.python[case, "ours"]["x_upstream"]


# (what, at most or at least, limit, unit, how)
GOALS = (
    [
        (
            "100 000 tensors, whole open, against read() of the same bytes into fresh memory",
            "<=",
            1.5,
            "x",
            lambda r: r.ratio("100000", "open", "ours", "read_fresh"),
        ),
        (
            "100 000 tensors, parse with all checks, against simdjson's DOM parse with a reused parser",
            "<=",
            0.75,
            "x",
            lambda r: r.ratio("100000", "parse", "ours-reused", "simdjson_reused"),
        ),
        (
            "100 000 tensors, whole open, against simdjson's DOM parse with a new parser",
            "<=",
            0.6,
            "x",
            lambda r: r.ratio("100000", "open", "ours", "simdjson_fresh"),
        ),
        (
            "100 000 tensors, open and names in order, faster than upstream's `safe_open` and `keys`",
            ">=",
            15,
            "x",
            lambda r: faster(r, "100000", "open+names"),
        ),
        ("1 000 tensors, the same", ">=", 12, "x", lambda r: faster(r, "1000", "open+names")),
        ("100 tensors, the same", ">=", 12, "x", lambda r: faster(r, "100", "open+names")),
        (
            "1 000 tensors, a process's first open, faster than upstream's",
            ">=",
            8,
            "x",
            lambda r: faster(r, "1000", "first-open+names"),
        ),
        (
            "100 tensors, a process's first open, faster than upstream's",
            ">=",
            4,
            "x",
            lambda r: faster(r, "100", "first-open+names"),
        ),
        (
            "1 000 000 tensors, time of an open per tensor, against 100 000 (linear)",
            "<=",
            1.25,
            "x",
            lambda r: r.ns("1000000") / r.ns("100000") / 10,
        ),
        (
            "1 000 000 tensors, find by name, against 100 000 (constant but for the caches)",
            "<=",
            3,
            "x",
            lambda r: r.ns("1000000", "find") / r.ns("100000", "find"),
        ),
        (
            "memory kept, of the header's size, the most of four models",
            "<=",
            1,
            "x",
            lambda r: max(r.held(case, "kept") / r.size(case) for case in MODELS),
        ),
        (
            "peak memory less 64 KiB, of the header's size, the most of four models",
            "<=",
            1,
            "x",
            lambda r: max((r.held(case, "peak") - SLACK) / r.size(case) for case in MODELS),
        ),
        (
            "peak memory, of the header's size, the most of all hostile headers",
            "<=",
            5,
            "x",
            lambda r: max(r.held(case, "peak") / r.size(case) for case in r.hostile()),
        ),
        ("time, the most of all hostile headers", "<=", 1, "s", lambda r: max(r.seconds(case) for case in r.hostile())),
        (
            "instructions per header byte, 100 000 tensors, SSE2",
            "<=",
            6,
            "",
            lambda r: r.instructions["100000", "open", "sse2"]["per_byte"],
        ),
        (
            "instructions per header byte, 100 000 tensors, plain C",
            "<=",
            10,
            "",
            lambda r: r.instructions["100000", "open", "plain"]["per_byte"],
        ),
        (
            "bytes read beyond a header, the most of all files",
            "<=",
            16384,
            "B",
            lambda r: max(row["read_beyond"] for rows in r.memory.values() for row in rows),
        ),
    ]
    + report_load.goals()
    + [
        (
            "column slices in runs of 4 KiB and more, speed of memcpy of the same bytes, the slowest",
            ">=",
            0.5,
            "x",
            slowest_slice,
        ),
        (
            "column slices of a cold 1 GiB, time of the best strategy, the worst of three shapes",
            "<=",
            1.3,
            "x",
            lambda r: chosen_slice(r, "cold"),
        ),
        ("the same of a warm one", "<=", 1.3, "x", lambda r: chosen_slice(r, "warm")),
        (
            "two processes that read half of the rows of a cold tensor each, bytes read for each byte wanted",
            "<=",
            1.02,
            "x",
            lambda r: ranks_read(r, "rows"),
        ),
        ("half of the columns, 8 KiB of rows of 16 KiB", "<=", 1.02, "x", lambda r: ranks_read(r, "columns")),
        (
            "undurable save of 1 GiB, speed of a plain write() into a preallocated file",
            ">=",
            0.9,
            "x",
            lambda r: save_speed(r, "one-1GiB", "plain"),
        ),
        ("the same in 10 tensors of 100 MiB", ">=", 0.9, "x", lambda r: save_speed(r, "ten-100MiB", "plain")),
        (
            "undurable save of 1 GiB, faster than upstream's `serialize_file`",
            ">=",
            2,
            "x",
            lambda r: save_speed(r, "one-1GiB", "upstream"),
        ),
        (
            "the same in 10 tensors of 100 MiB, faster than upstream",
            ">=",
            2,
            "x",
            lambda r: save_speed(r, "ten-100MiB", "upstream"),
        ),
        (
            "the same over an older file of 1 GiB, faster than upstream",
            ">=",
            2,
            "x",
            lambda r: save_speed(r, "over-1GiB", "upstream"),
        ),
        (
            "durable save of 1 GiB, speed of a plain write() into a preallocated file and fsync",
            ">=",
            0.9,
            "x",
            lambda r: save_speed(r, "durable-1GiB", "plain"),
        ),
        (
            "durable save of 1 GiB, speed of a raw durable write past the page cache",
            ">=",
            0.9,
            "x",
            lambda r: save_speed(r, "raw-1GiB", "plain"),
        ),
        (
            "durable save of 1 GiB, faster than upstream's `serialize_file`, which is not durable",
            ">=",
            1,
            "x",
            lambda r: save_speed(r, "raw-1GiB", "upstream"),
        ),
        (
            "10 000 small tensors of five dtypes, faster than upstream's `serialize_file`",
            ">=",
            10,
            "x",
            lambda r: save_speed(r, "small-mixed", "upstream"),
        ),
        (
            "10 000 tensors of 1 KiB, faster than upstream's `serialize_file`",
            ">=",
            10,
            "x",
            lambda r: save_speed(r, "small-1KiB", "upstream"),
        ),
        (
            "statistics on one core, speed of pread of the same bytes, the slowest dtype",
            ">=",
            0.7,
            "x",
            lambda r: min(inspect_speed(r, case) for case in stats_cases(r)),
        ),
        (
            "statistics on one core, speed of the disk, the slowest dtype",
            ">=",
            0.7,
            "x",
            lambda r: min(inspect_against(r, case, "disk-1") for case in stats_cases(r)),
        ),
        (
            "statistics on 4 cores, faster than on one, the slowest dtype",
            ">=",
            2.8,
            "x",
            lambda r: min(inspect_speed(r, case, "ours-4", "x_one_thread") for case in stats_cases(r)),
        ),
        (
            "SHA-256 of a file, speed of libcrypto on one core over memory",
            ">=",
            0.7,
            "x",
            lambda r: inspect_speed(r, "hash-sha256-file"),
        ),
        (
            "SHA-256 of 16 tensors on 4 cores, faster than on one",
            ">=",
            2.8,
            "x",
            lambda r: inspect_speed(r, "hash-sha256-tensors", "ours-4", "x_one_thread"),
        ),
        (
            "XXH3 of a file on one core, speed of pread of the same bytes",
            ">=",
            0.7,
            "x",
            lambda r: inspect_speed(r, "hash-xxh3-file"),
        ),
        (
            "XXH3 of a file on one core, speed of pread and XXH3 one after the other",
            ">=",
            0.7,
            "x",
            lambda r: inspect_against(r, "hash-xxh3-file", "pread+xxh3-1"),
        ),
        (
            "XXH3 of 16 tensors on 4 cores, faster than on one",
            ">=",
            2.8,
            "x",
            lambda r: inspect_speed(r, "hash-xxh3-tensors", "ours-4", "x_one_thread"),
        ),
    ]
    + report_files.goals()
    + [
        (f"Python: {text}", ">=", limit, "x", lambda r, case=case: python_speed(r, case))
        for text, limit, case in (
            ("open and keys of 100 000 tensors, faster than upstream", 10, "open-100000"),
            ("the same of 100 tensors", 3, "open-100"),
            ("torch `load_file` of 20 000 tiny tensors", 15, "torch-load-20000"),
            ("torch `get_tensor`", 10, "torch-get-tensor"),
            ("NumPy `load_file` of 1 GiB", 100, "numpy-load-1GiB"),
            ("NumPy `load_file` of 1 GiB, every byte touched", 5, "numpy-load-touch-1GiB"),
            ("NumPy `load` of 512 MiB of bytes, least times", 3, "numpy-load-bytes-512MiB"),
            ("torch `load` of 512 MiB of bytes, least times", 3, "torch-load-bytes-512MiB"),
            ("NumPy `save_file` of 10 000 small tensors", 8, "numpy-save-10000"),
            ("torch `save_file` of 10 000 small tensors", 20, "torch-save-10000"),
            ("`save_file` of 1 GiB", 2, "numpy-save-1GiB"),
            ("`save` of 512 MiB to bytes, least times", 4, "numpy-save-bytes-512MiB"),
            ("`get_slice` of 16 rows of 4 096, pread", 20, "slice-pread-16-rows"),
            ("`import safetensors`", 1, "import"),
        )
    ]
    + [
        (
            "Python: memory of its own that NumPy `load_file` of 1 GiB takes",
            "<=",
            0.1,
            "GB",
            lambda r: r.python["numpy-load-1GiB", "ours"]["bytes_peak"] / 1e9,
        ),
    ]
)


def number(value):
    if value >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def goals(results):
    rows = []
    for text, relation, limit, unit, how in GOALS:
        try:
            value = how(results)
        except (KeyError, ValueError):
            rows.append((text, "", "not measured", ""))
            continue
        met = value <= limit if relation == "<=" else value >= limit
        verdict = "met" if met else "**missed**" + (": " + REASONS[text] if text in REASONS else "")
        sign = "≤" if relation == "<=" else "≥"
        shown = number(value) if number(value) != number(limit) else f"{value:.6g}"
        rows.append((text, f"{sign} {number(limit)} {unit}".strip(), f"{shown} {unit}".strip(), verdict))
    return table(("goal", "limit", "measured", ""), rows)


def opens(results):
    cases = list(dict.fromkeys(case for case, _, _ in results.open))
    kinds = list(dict.fromkeys((what, who) for _, what, who in results.open))
    rows = []
    for what, who in kinds:
        row = [f"{what}, {who}"]
        for case in cases:
            found = results.open.get((case, what, who))
            scale = 1 if what == "find" else 1e3
            row.append(
                "" if found is None else f"{number(found['ns_median'] / scale)} / {number(found['ns_min'] / scale)}"
            )
        rows.append(row)
    return table(["µs, median / least (find: ns)"] + cases, rows)


def memory(results):
    rows = []
    for case in results.memory:
        size, first = results.size(case), results.memory[case][0]
        upstream = results.upstream_memory.get(case)
        rows.append(
            (
                case,
                number(size),
                number(first["tensors"]),
                f"`{first['status']}`",
                number(results.seconds(case) * 1e3),
                f"{results.held(case, 'kept') / size:.2f}",
                f"{results.held(case, 'peak') / size:.2f}",
                f"{upstream / size:.2f}" if upstream else "",
            )
        )
    return table(
        ("header", "bytes", "tensors", "status", "ms", "kept, x header", "peak, x header", "upstream's peak"), rows
    )


def instructions(results):
    cases = list(dict.fromkeys(case for case, _, _ in results.instructions))
    kinds = list(dict.fromkeys((what, who) for _, what, who in results.instructions))
    rows = [
        [f"{what}, {who}"] + [number(results.instructions[case, what, who]["per_byte"]) for case in cases]
        for what, who in kinds
    ]
    return table(["instructions per header byte"] + cases, rows)


def slices(results):
    cases = list(dict.fromkeys(case for case, _ in results.slice))
    whos = list(dict.fromkeys(who for _, who in results.slice))
    rows = [
        [case.replace("run-", "").replace("-of-", " B, 1/")]
        + [f"{results.slice[case, who]['gb_per_s']:.2f}" for who in whos]
        for case in cases
    ]
    return table(["GB/s"] + whos, rows)


def forced_slices(results):
    cases = list(dict.fromkeys(case for case, _ in results.forced))
    whos = list(dict.fromkeys(who for _, who in results.forced))
    rows = [
        [case.replace("-run-", ", ").replace("-of-", " B, 1/")]
        + [f"{results.forced[case, who]['ns_median'] / 1e6:.0f}" for who in whos]
        + [f"`{results.forced[case, 'auto']['io']}`", f"{results.forced[case, 'auto']['x_best']:.2f}"]
        for case in cases
    ]
    yield from table(["ms"] + whos + ["auto chose", "auto, x the best"], rows)
    rows = [
        (case, who, number(row["bytes"]), number(row["read"]), f"{row['read'] / row['bytes']:.3f}")
        for (case, who), row in results.ranks.items()
    ]
    yield from table(("two ranks", "", "bytes wanted", "read from the device", "x"), rows)


def saves(results):
    rows = [
        (
            case,
            who,
            number(row["ns_median"] / 1e6),
            number(row["ns_min"] / 1e6),
            f"{row['gb_per_s']:.2f}",
            f"{1 / row['x_plain']:.2f}",
            f"{1 / row['x_upstream']:.2f}" if row["x_upstream"] != "" else "",
        )
        for (case, who), row in results.save.items()
    ]
    return table(("case", "", "ms", "least", "GB/s", "speed, x the case's first", "x upstream"), rows)


def python(results):
    rows = [
        (
            case,
            who,
            number(row["ns_median"] / 1e3),
            number(row["ns_min"] / 1e3),
            *(number(1 / row[base]) if row[base] != "" else "" for base in ("x_upstream", "x_ceiling")),
            number(row["bytes_peak"] / 1e6),
        )
        for (case, who), row in results.python.items()
    ]
    return table(("case", "", "µs", "least", "speed, x upstream", "x ceiling", "memory, MB"), rows)


def inspections(results):
    cases = list(dict.fromkeys(case for case, _ in results.inspect))
    whos = list(dict.fromkeys(who for _, who in results.inspect))
    rows = [
        [case]
        + [f"{results.inspect[case, who]['gb_per_s']:.2f}" if (case, who) in results.inspect else "" for who in whos]
        for case in cases
    ]
    return table(["GB/s"] + whos, rows)


def page(results, label):
    yield f"Measured as `{label}`: " + "; ".join(results.notes) + "."
    yield ""
    yield from goals(results)
    parts = (
        ("Opening", opens, results.open),
        ("Memory and hostile headers", memory, results.memory),
        ("Instructions", instructions, results.instructions),
        ("Loading", lambda r: report_load.tables(r, table), results.load),
        ("Column slices", slices, results.slice),
        ("Column slices, cold and by strategy", forced_slices, results.forced),
        ("Saving", saves, results.save),
        ("Statistics and hashes", inspections, results.inspect),
        ("Casts", lambda r: report_files.casts(r.cast, table), results.cast),
        ("Edits", lambda r: report_files.files(r.edit, table), results.edit),
        ("Differences", lambda r: report_files.files(r.diff, table), results.diff),
        ("Splitting and merging", lambda r: report_files.files(r.split, table), results.split),
        ("The Python package", python, results.python),
    )
    for title, part, rows in parts:
        if rows:
            yield f"### {title}"
            yield ""
            yield from part(results)


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    results = Results(arguments[0])
    with open(PAGE) as file:
        text = file.read()
    begin, end = "<!-- results: begin -->\n", "<!-- results: end -->"
    before, _, rest = text.partition(begin)
    _, marker, after = rest.partition(end)
    if not marker:
        print(f"{PAGE}: no place for the results", file=sys.stderr)
        return 1
    report_load.draw(results, os.path.dirname(PAGE))
    body = "\n".join(page(results, arguments[0])).strip() + "\n"
    with open(PAGE, "w") as file:
        file.write(before + begin + body + end + after)
    print("\n".join(goals(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
