# SPDX-License-Identifier: Apache-2.0
"""Runs pytest in virtual environments below build/, with this package before the one installed there."""

import argparse
import glob
import os
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build")


def parse(description, environment):
    """The script's arguments; `environment` has the pip that makes the wheel."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--package", help="a folder that holds the package; default: a wheel made of this tree")
    parser.add_argument("only", nargs="*", help="the runs to do; default: all")
    arguments = parser.parse_args()
    arguments.package = os.path.abspath(arguments.package) if arguments.package else install_wheel(environment)
    return arguments


def install_wheel(environment):
    """Makes a wheel as any user of the source would, and unpacks it where PYTHONPATH can point."""
    wheels, package = (os.path.join(BUILD, f"{environment}-{name}") for name in ("wheel", "package"))
    for folder in (wheels, package):
        shutil.rmtree(folder, ignore_errors=True)
    pip = [python_of(environment), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT], check=True)
    (wheel,) = glob.glob(os.path.join(wheels, "*.whl"))
    subprocess.run([*pip, "install", "--no-deps", "--target", package, wheel], check=True)
    return package


def python_of(environment):
    return os.path.join(BUILD, f"venv-{environment}", "bin", "python")


def run_pytest(label, environment, arguments, variables, package=None):
    """Runs pytest, with `package` before the environment's own; gives a row for `report`."""
    print(f"\n==> {label}", flush=True)
    start = time.monotonic()
    junit = os.path.join(BUILD, f"junit-{label}.xml")
    if os.path.exists(junit):
        os.remove(junit)
    env = {**os.environ, **variables, "PYTHONDONTWRITEBYTECODE": "1"}
    env.pop("PYTHONPATH", None)
    if package:
        env |= {"PYTHONPATH": package, "ST_PACKAGE": package}
    command = [python_of(environment), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={junit}"]
    code = subprocess.run([*command, *arguments], cwd=ROOT, env=env).returncode
    results = {"passed": [], "failed": [], "skipped": []}
    if os.path.exists(junit):
        for case in ElementTree.parse(junit).getroot().iter("testcase"):
            kinds = {child.tag for child in case}
            kind = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
            results[kind].append(f"{case.get('classname')}::{case.get('name')}")
    # 5: no tests. A run that ends badly counts, whatever its report says.
    if code and not results["failed"]:
        results["failed"].append(f"(pytest: exit status {code})")
    return label, results, time.monotonic() - start


def report(rows):
    """Prints what became of each run, and `N passed, N failed` as the last line; gives the exit status."""
    print()
    for label, results, seconds in rows:
        counts = " ".join(f"{len(results[kind]):4} {kind}" for kind in results)
        print(f"{label:18} {counts} {seconds:6.0f} s")
        for name in results["failed"]:
            print(f"{'':18} failed: {name}")
    passed, failed = (sum(len(results[kind]) for _, results, _ in rows) for kind in ("passed", "failed"))
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0
