# SPDX-License-Identifier: Apache-2.0
"""Programs in interpreters of their own. Importing torch takes seconds: those that want it are forked off one
interpreter that has imported it, and nothing else, and has started no threads."""

import json
import subprocess
import sys
import textwrap

# Reads orders; the child leaves the loop, becomes the program, and ends as any program does.
SERVER = """
import gc, json, os, sys
import torch
gc.freeze()  # what torch consists of is no garbage that a program could leave
for order in sys.stdin:
    child = os.fork()
    if child == 0:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    os._exit(0)
order = json.loads(order)
for descriptor, path in enumerate((os.devnull, *order["output"])):
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
sys.argv[1:] = order["arguments"]
program = order["program"]
del child, descriptor, gc, json, order, os, path, torch
exec(program)
"""


def run(program, *arguments):
    """The lines that a fresh interpreter prints; it must end well, and say nothing else."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


class WithTorch:
    """The same as `run`, in interpreters that have imported torch already."""

    def __init__(self, folder):
        self.folder = folder
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.count = 0

    def __call__(self, program, *arguments):
        self.count += 1
        output = [self.folder / f"{self.count}.{name}" for name in ("out", "err")]
        order = {
            "program": textwrap.dedent(program),
            "arguments": [*map(str, arguments)],
            "output": [*map(str, output)],
        }
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        status = self.server.stdout.readline().strip()
        assert (status, output[1].read_text()) == ("0", "")
        return output[0].read_text().splitlines()

    def close(self):
        self.server.communicate()
