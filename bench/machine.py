#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints a short name of this machine's kind, such as epyc-zen4-4cpu: no host's name, no path."""
import os
import re
import sys

# (family, highest model): the cores of AMD's families, by Linux's arch/x86/kernel/cpu/amd.c.
ZEN = {23: [(0x2F, "zen"), (0xFF, "zen2")],
       25: [(0x0F, "zen3"), (0x1F, "zen4"), (0x5F, "zen3"), (0xAF, "zen4")],
       26: [(0xFF, "zen5")]}


def facts():
    found = {}
    with open("/proc/cpuinfo") as file:
        for line in file:
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), value.strip())
    return found


def core(cpu):
    if cpu.get("vendor_id") != "AuthenticAMD":
        return None
    for highest, name in ZEN.get(int(cpu["cpu family"]), []):
        if int(cpu["model"]) <= highest:
            return name
    return None


def machine():
    cpu = facts()
    model = cpu.get("model name") or os.uname().machine
    model = re.sub(r"\(.*?\)|@.*|\b(AMD|Intel|CPU|Processor|\d+-Core)\b", " ", model)
    words = re.findall(r"[a-z0-9]+", model.lower())[:4]
    if core(cpu):
        words.append(core(cpu))
    return "-".join(words + [f"{len(os.sched_getaffinity(0))}cpu"])


if __name__ == "__main__":
    print(machine())
    sys.exit(0)
