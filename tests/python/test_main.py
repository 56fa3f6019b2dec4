# SPDX-License-Identifier: Apache-2.0
"""`python -m safetensors` becomes the program that is installed with the package; here a stand-in is."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import safetensors


@pytest.fixture
def package(tmp_path):
    """A copy of the package, with room for a program; gives a function that runs it as a module."""
    folder = tmp_path / "safetensors"
    shutil.copytree(
        pathlib.Path(safetensors.__file__).parent, folder, ignore=shutil.ignore_patterns("_bin", "__pycache__")
    )
    return folder


def run(package, *arguments, code=None, **options):
    command = ["-c", code] if code else ["-m", "safetensors"]
    return subprocess.run(
        [sys.executable, *command, *arguments],
        cwd=package.parent,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        **options,
    )


def install(package, script):
    program = package / "_bin" / "safetensors"
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    return program


SHOW = '#!/bin/sh\nfor one in "$@"; do printf "<%s>" "$one"; done\ncat\necho said >&2\nexit 7\n'


@pytest.mark.parametrize("code", [None, "from safetensors.__main__ import main; import sys; sys.exit(main())"])
def test_it_becomes_the_program(package, code):
    """Arguments, streams and the exit status are the program's."""
    install(package, SHOW)
    done = run(package, "ls", "a b", "", "*", "--help", "ü", code=code, input="typed")
    assert (done.returncode, done.stdout, done.stderr) == (7, "<ls><a b><><*><--help><ü>typed", "said\n")


def test_the_same_process(package):
    """Signals reach the program, for there is no other process."""
    install(package, "#!/bin/sh\necho $$\nkill -TERM $$\n")
    with subprocess.Popen(
        [sys.executable, "-m", "safetensors"], cwd=package.parent, stdout=subprocess.PIPE, text=True
    ) as process:
        assert int(process.stdout.read()) == process.pid
    assert process.returncode == -15


def test_no_program(package):
    done = run(package, "ls")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"safetensors: cannot start the command line {package}/_bin/safetensors: ")
    assert done.stderr.count("\n") == 1


def test_a_program_that_cannot_run(package):
    install(package, SHOW).chmod(0o644)
    done = run(package)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Permission denied" in done.stderr and done.stderr.count("\n") == 1


def test_nothing_else_is_imported(package):
    """The program is started at once."""
    code = "import sys, safetensors.__main__; print(any(m in sys.modules for m in ('numpy', 'torch', 'ctypes')))"
    assert run(package, code=code).stdout == "False\n"
