# SPDX-License-Identifier: Apache-2.0
"""The shared libraries export what the lists say, keep no writable data, and carry soname and version."""
import os
import re
import subprocess
import sys

from tree import Tree

# Sections that are writable once the loader is done, and what the toolchain itself puts there.
WRITABLE = re.compile(r"^\.(data|bss|tdata|tbss)(\..+)?$")
TOOLCHAIN = {"completed.0", "__dso_handle", "__TMC_END__", "_edata", "_end", "__bss_start", "DW.ref.__gcc_personality_v0"}


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def listed(component, suffix=""):
    path = os.path.join(tree.root, "tests", "abi", f"exports-{component}{suffix}.txt")
    return set(tree.read(path).split()) if os.path.exists(path) else set()


tree = Tree(sys.argv[1])
count = 0
for component, name in (("core", "libsafetensors"), ("inspect", "libsafetensors-inspect")):
    library = os.path.join(sys.argv[2], "lib", name + ".so")
    if not os.path.isdir(os.path.join(tree.root, "src", component if component != "core" else "base")):
        continue
    if not os.path.exists(library):
        tree.report(library, 0, "is not there")
        continue
    count += 1
    public = "SAFETENSORS_" if component == "core" else f"SAFETENSORS_{component.upper()}_"
    found = {True: set(), False: set()}
    for line in output("nm", "-D", "--defined-only", library).splitlines():
        symbol, _, version = line.split()[-1].partition("@@")
        if version:
            found["PRIVATE" in version].add(symbol)
            if not version.startswith(public):
                tree.report(name, 0, f"{symbol} has the version {version}")
        elif not symbol.startswith("SAFETENSORS_"):
            tree.report(name, 0, f"{symbol} is exported without a version")
    for private, suffix in ((False, ""), (True, "-private")):
        wanted = listed(component, suffix)
        for symbol in sorted(found[private] - wanted):
            tree.report(name, 0, f"exports {symbol}, which exports-{component}{suffix}.txt lacks")
        for symbol in sorted(wanted - found[private]):
            tree.report(name, 0, f"does not export {symbol}, which exports-{component}{suffix}.txt has")
    for line in output("objdump", "-t", library).splitlines():
        match = re.match(r"^[0-9a-f]+ ..(.....) (\S+)\s+([0-9a-f]+) (?:\.hidden |\.protected )?(\S+)$", line)
        if not match or not WRITABLE.match(match[2]) or not int(match[3], 16):
            continue
        if match[4] not in TOOLCHAIN and not match[4].startswith((".", "_")):
            tree.report(name, 0, f"writable data: {match[4]} in {match[2]}")
    dynamic = output("readelf", "-d", library)
    if f"soname: [{name}.so.0]" not in dynamic:
        tree.report(name, 0, f"its soname is not {name}.so.0")
    allowed = {"libc.so.6", "libpthread.so.0", "libsafetensors.so.0", "ld-linux-x86-64.so.2"}
    for needed in re.findall(r"Shared library: \[(.+)\]", dynamic):
        if needed not in allowed:
            tree.report(name, 0, f"needs {needed}")
tree.exit(count)
