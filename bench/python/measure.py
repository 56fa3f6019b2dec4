#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times the Python package beside upstream's, turn by turn, and prints one row of CSV per case and package.

usage: measure.py [-n TURNS] OURS UPSTREAM FOLDER

OURS and UPSTREAM are Python programs that have the packages; "PYTHONPATH=... python" sets a path.
"""

import argparse
import os
import shlex
import statistics
import subprocess
import sys

WORK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases.py")

# (case, its ceiling or none, calls in one turn, who runs it)
BOTH = ("ours", "upstream")
CASES = [
    ("open-100000", "read-header", 1, BOTH),
    ("open-100", None, 100, BOTH),
    ("torch-load-20000", None, 1, BOTH),
    ("torch-get-tensor", None, 20000, BOTH),
    ("numpy-load-1GiB", None, 1, BOTH),
    ("numpy-load-touch-1GiB", "touch-1GiB", 1, BOTH),
    ("numpy-load-bytes-512MiB", "copy-512MiB", 1, BOTH),
    ("torch-load-bytes-512MiB", "copy-512MiB", 1, BOTH),
    ("numpy-load-view-512MiB", None, 1, ("ours",)),
    ("numpy-save-10000", "write-1-7MB", 1, BOTH),
    ("torch-save-10000", "write-1-7MB", 1, BOTH),
    ("numpy-save-1GiB", "write-1GiB", 1, BOTH),
    ("numpy-save-durable-1GiB", "write-sync-1GiB", 1, ("ours",)),
    ("numpy-save-bytes-512MiB", "copy-512MiB", 1, BOTH),
    ("slice-pread-16-rows", None, 1, BOTH),
]


class Peer:
    """A process that serves cases."""

    def __init__(self, python, folder):
        *settings, program = shlex.split(python)
        self.environment = dict(os.environ, **dict(setting.split("=", 1) for setting in settings))
        self.program = program
        self.process = subprocess.Popen(
            [program, WORK, "serve", folder],
            env=self.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(self, case):
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer:
            raise SystemExit(f"measure.py: {self.program} failed at {case}")
        return [int(number) for number in answer]

    def once(self, *arguments):
        return subprocess.run(
            [self.program, WORK, *arguments], env=self.environment, text=True, check=True, stdout=subprocess.PIPE
        ).stdout.strip()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def rows_of(case, calls, turns):
    """`turns`: per turn, who -> (ns, bytes). Ratios are medians of those within a turn."""
    for who in turns[0]:
        times = [turn[who][0] / calls for turn in turns]
        ratios = {}
        for base in ("upstream", "ceiling"):
            if base in turns[0]:
                ratios[base] = f"{statistics.median(turn[who][0] / turn[base][0] for turn in turns):.4f}"
        peak = statistics.median(turn[who][1] for turn in turns)
        print(
            f"{case},{who},{len(turns)},{statistics.median(times):.0f},{min(times):.0f},"
            f"{ratios.get('upstream', '')},{ratios.get('ceiling', '')},{peak:.0f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=7)
    parser.add_argument("ours")
    parser.add_argument("upstream")
    parser.add_argument("folder")
    options = parser.parse_args()
    peers = {"ours": Peer(options.ours, options.folder), "upstream": Peer(options.upstream, options.folder)}
    for peer in peers.values():
        print("#", peer.once("version"))
    print("case,who,runs,ns_median,ns_min,x_upstream,x_ceiling,bytes_peak")
    for case, ceiling, calls, who in CASES:
        turns = []
        for number in range(options.n + 1):
            turn = {name: peers[name].run(case) for name in who}
            if ceiling:
                nanoseconds, peak = peers["ours"].run(ceiling)
                turn["ceiling"] = (nanoseconds, peak)
            if number:  # the first one warms up
                turns.append(turn)
        rows_of(case, calls, turns)
    turns = [{name: (int(peer.once("import")), 0) for name, peer in peers.items()} for _ in range(options.n * 3)]
    rows_of("import", 1, turns)
    for peer in peers.values():
        peer.close()


if __name__ == "__main__":
    sys.exit(main())
