# SPDX-License-Identifier: Apache-2.0
"""Goals, tables and the plot of bench_load's rows."""
import plot

# What the goals are about, and what is drawn: 1 000 tensors in one file, all cores.
MAIN = "1000x1-all"
PLOT = "performance-load.svg"
KINDS = {"views": "views", "streamed": "as they come", "owned": "owned"}


def ours(results, state, who, column):
    """How many times as fast as what the column compares with."""
    value = results.load[f"{state}-{MAIN}", f"ours-{who}"][column]
    if value == "":
        raise KeyError(column)
    return 1 / value


def ahead(results, state, gives, column):
    """How many times what ours takes the closest peer takes that gives the same."""
    rows = [row for (case, who), row in results.load.items()
            if case == f"{state}-{MAIN}" and row["gives"] == gives and not who.startswith("ours")]
    return min(row[column] for row in rows)


def goals():
    found = []
    for who, text in KINDS.items():
        found.append((f"cold load of 1 GiB in 1 000 tensors, every byte touched, {text}: speed of the best raw read of "
                      "the device", ">=", 0.95, "x", lambda r, who=who: ours(r, "cold", who, "x_raw")))
    for column, unit in (("x_ours", "time"), ("x_ours_cpu", "processor's time")):
        for who, text in KINDS.items():
            found.append((f"the same, {text}: {unit} of the closest peer that gives the same, x ours", ">=", 1, "x",
                          lambda r, who=who, column=column: ahead(r, "cold", who, column)))
    found += [
        ("warm load of 1 GiB in 1 000 tensors, every byte touched, views: speed of a sum over a mapping",
         ">=", 0.95, "x", lambda r: ours(r, "warm", "views", "x_sum")),
        ("warm load, owned, not touched: speed of the best memcpy into new memory", ">=", 0.8, "x",
         lambda r: ours(r, "warm", "untouched", "x_memcpy")),
        ("warm load, owned, every byte touched: time of the closest peer that gives the same, x ours",
         ">=", 1, "x", lambda r: ahead(r, "warm", "owned", "x_ours"))]
    return found


def cell(row, what):
    if row is None:
        return ""
    if what == "cpu":
        return f"{row['cpu_ns'] / 1e9:.2f}"
    if what == "memory":
        return f"{row['memory'] / 1e6:.0f}"
    return f"{row['ns_median'] / 1e9:.2f} ({row['ns_min'] / 1e9:.2f}–{row['ns_max'] / 1e9:.2f})"


def tables(results, table):
    """Three tables for cold files, three for warm ones, and what ours come to of the ceilings."""
    titles = {"seconds": "seconds, median (least–most)", "cpu": "processor's seconds", "memory": "MB at most"}
    yield f"![Seconds that each loader takes for 1 GiB]({PLOT})"
    yield ""
    for state in ("cold", "warm"):
        cases = list(dict.fromkeys(case for case, _ in results.load if case.startswith(state)))
        whos = list(dict.fromkeys(who for case, who in results.load if case in cases))
        for what, title in titles.items():
            rows = [[who] + [cell(results.load.get((case, who)), what) for case in cases]
                    for who in whos if what == "seconds" or not who.startswith(("raw", "memcpy"))]
            yield from table([f"{state}: {title}"] + [case.removeprefix(state + "-") for case in cases], rows)
    rows = []
    for (case, who), row in results.load.items():
        if who.startswith("ours"):
            ratios = [f"{1 / row[base]:.2f}" if row[base] != "" else "" for base in ("x_raw", "x_sum", "x_memcpy")]
            rows.append([case, who, f"`{row['io']}`", f"{row['gb_per_s']:.2f}", *ratios])
    yield from table(["speed, x the best ceiling", "", "strategy", "GB/s", "raw read", "sum over a mapping",
                      "memcpy into new memory"], rows)


def bars(results, case):
    for (name, who), row in results.load.items():
        if name != case or row["gives"] == "untouched":
            continue
        kind = "ours" if who.startswith("ours") else "ceiling" if row["gives"] == "ceiling" else "peer"
        seconds = [row[key] / 1e9 for key in ("ns_median", "ns_min", "ns_max")]
        yield who, kind, *seconds, f", {row['cpu_ns'] / 1e9:.2f} CPU"


def draw(results, folder):
    panels = []
    for state, text in (("cold", "Nothing in the page cache"), ("warm", "All in the page cache")):
        found = list(bars(results, f"{state}-{MAIN}"))
        if found:
            panels.append((f"{text}: 1 GiB, 1 000 tensors, every byte touched", "s", found))
    if panels:
        plot.draw(f"{folder}/{PLOT}", "Seconds that each loader takes for 1 GiB, cold and warm", panels)
