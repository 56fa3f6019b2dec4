# SPDX-License-Identifier: Apache-2.0
"""Goals and tables of what bench_cast, bench_edit, bench_diff, and bench_split measure: casts, and whole files edited,
compared, split, and merged."""

FLOATS = ("F32", "F16", "BF16")


def speed(rows, case, who, column="x_ceiling"):
    """How many times as fast as the ceiling, or as the closest peer."""
    value = rows[case, who][column]
    if value == "":
        raise KeyError(column)
    return 1 / value


def faster(rows, case, who):
    return speed(rows, case, who, "x_peer")


def times(rows, case, who, base):
    """How many times as long, by medians."""
    return rows[case, who]["ns_median"] / rows[base]["ns_median"]


def raw_speed(rows, case):
    """Against the faster of the two raw reads."""
    best = min(rows[case, who]["ns_median"] for who in ("raw-uring", "raw-pread"))
    return best / rows[case, "ours-4"]["ns_median"]


def cast_speed(rows, wanted):
    found = [1 / row["x_memcpy"] for (case, who), row in rows.items() if who == "ours" and wanted(*case.split("-"))]
    if not found:
        raise KeyError("cast")
    return min(found)


def cast_goals():
    return [
        (
            "casts among F32, F16, and BF16 on one core, speed of memcpy of the source, the slowest",
            ">=",
            0.25,
            "x",
            lambda r: cast_speed(r.cast, lambda a, b: a in FLOATS and b in FLOATS),
        ),
        (
            "casts from F32 to BF16 and F16 on one core, speed of memcpy, the slower",
            ">=",
            0.5,
            "x",
            lambda r: cast_speed(r.cast, lambda a, b: a == "F32" and b in FLOATS),
        ),
        (
            "casts from F32 to 8, 6, and 4 bits on one core, speed of memcpy, the slowest",
            ">=",
            0.4,
            "x",
            lambda r: cast_speed(r.cast, lambda a, b: a == "F32" and b[:2] in ("F8", "F6", "F4")),
        ),
    ]


def edit_goals():
    return [
        (
            "a tensor of 1 GiB renamed in a new file, undurable: speed of copy_file_range",
            ">=",
            0.9,
            "x",
            lambda r: speed(r.edit, "rename", "ours"),
        ),
        (
            "renamed: faster than torch's `load_file` and `save_file`",
            ">=",
            2,
            "x",
            lambda r: faster(r.edit, "rename", "ours"),
        ),
        (
            "metadata set in a new file, undurable: speed of copy_file_range to a place some bytes further on",
            ">=",
            0.9,
            "x",
            lambda r: speed(r.edit, "metadata", "ours"),
        ),
        (
            "metadata set: faster than torch's `load_file` and `save_file`",
            ">=",
            2,
            "x",
            lambda r: faster(r.edit, "metadata", "ours"),
        ),
        (
            "metadata set, durable: speed of copy_file_range and fsync of file and folder",
            ">=",
            0.9,
            "x",
            lambda r: speed(r.edit, "metadata-durable", "ours"),
        ),
        (
            "1 GiB cast from F32 to BF16, undurable: speed of a loop that converts and writes, on one core",
            ">=",
            0.9,
            "x",
            lambda r: speed(r.edit, "cast-F32-BF16", "ours-1"),
        ),
        ("1 GiB cast: faster than torch", ">=", 2, "x", lambda r: faster(r.edit, "cast-F32-BF16", "ours-4")),
        (
            "metadata set in place in a file of 10 GB, durable",
            "<=",
            10,
            "ms",
            lambda r: r.edit["in-place-10GB", "ours"]["ns_median"] / 1e6,
        ),
        (
            "metadata set in place: time of the fewest syncs that a crash can be undone after",
            "<=",
            2,
            "x",
            lambda r: 1 / speed(r.edit, "in-place-10GB", "ours"),
        ),
        (
            "metadata set in place: time of the same in a file of 10 MB",
            "<=",
            1.2,
            "x",
            lambda r: times(r.edit, "in-place-10GB", "ours", ("in-place-10MB", "ours")),
        ),
    ]


def diff_goals():
    return [
        (
            "two files of 1 GiB that are the same, on one core: speed of memcmp over two mappings",
            ">=",
            0.7,
            "x",
            lambda r: speed(r.diff, "equal", "ours-1"),
        ),
        (
            "two files that are the same, on 4 cores: speed of memcmp over two mappings",
            ">=",
            0.7,
            "x",
            lambda r: speed(r.diff, "equal", "ours-4"),
        ),
        (
            "two files that are the same: faster than `cmp`",
            ">=",
            2,
            "x",
            lambda r: 1 / times(r.diff, "equal", "ours-4", ("equal", "cmp")),
        ),
        (
            "two files that are the same: faster than `torch.equal` and `numpy.allclose`",
            ">=",
            2,
            "x",
            lambda r: faster(r.diff, "equal", "ours-4"),
        ),
        (
            "two files that are the same, not in the page cache: speed of the best raw read",
            ">=",
            0.9,
            "x",
            lambda r: raw_speed(r.diff, "equal-cold"),
        ),
        (
            "files that differ in a few values, time of such as are the same, on 4 cores",
            "<=",
            1.1,
            "x",
            lambda r: times(r.diff, "few", "ours-4", ("equal", "ours-4")),
        ),
        (
            "files that differ in all values, with every kind of error: faster than torch's largest and mean",
            ">=",
            2,
            "x",
            lambda r: 1 / times(r.diff, "all", "ours-4", ("all", "torch-errors")),
        ),
    ]


def split_goals():
    return [
        (
            "1 GiB split into 4 shards, undurable: speed of copy_file_range",
            ">=",
            0.9,
            "x",
            lambda r: speed(r.split, "split", "ours"),
        ),
        (
            "split: faster than huggingface_hub's `save_torch_state_dict`",
            ">=",
            2,
            "x",
            lambda r: faster(r.split, "split", "ours"),
        ),
        (
            "the 4 shards merged, undurable: speed of copy_file_range",
            ">=",
            0.9,
            "x",
            lambda r: speed(r.split, "merge", "ours"),
        ),
        (
            "merged: faster than torch's `load_file` and `save_file`",
            ">=",
            2,
            "x",
            lambda r: faster(r.split, "merge", "ours"),
        ),
    ]


def goals():
    return cast_goals() + edit_goals() + diff_goals() + split_goals()


def casts(rows, table):
    found = [
        (
            case.replace("-", " to "),
            *(f"{rows[case, who]['gb_per_s']:.2f}" for who in ("memcpy", "ours")),
            f"{row['ns_per_element']:.2f}",
            f"{1 / row['x_memcpy']:.2f}",
        )
        for (case, who), row in rows.items()
        if who == "ours"
    ]
    return table(("cast", "memcpy of the source, GB/s", "ours, GB/s", "ns per element", "speed, x memcpy"), found)


def files(rows, table):
    found = [
        (
            case,
            who,
            f"{row['ns_median'] / 1e6:.3g}",
            f"{row['ns_min'] / 1e6:.3g}",
            "" if case.startswith("in-place") else f"{row['gb_per_s']:.2f}",
            *(f"{1 / row[base]:.2f}" if row[base] != "" else "" for base in ("x_ceiling", "x_peer")),
        )
        for (case, who), row in rows.items()
    ]
    return table(("case", "", "ms", "least", "GB/s", "speed, x its ceiling", "x the closest peer"), found)
