# SPDX-License-Identifier: Apache-2.0
"""A program in a terminal of its own: a detached tmux with a socket that nothing else uses."""

import os
import shlex
import shutil
import subprocess
import tempfile
import time

# However busy the machine is: a test that passes waits for none of it.
LIMIT = 120

CONFIGURATION = """\
set -g default-terminal tmux-256color
set -g status off
set -g escape-time 0
"""


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[1]
    except OSError:  # gone meanwhile
        return None


class Tmux:
    def __init__(self, script, environment, columns=80, rows=24, record=None):
        """Runs a shell script in a terminal; `record` names a file for all that is written to it."""
        # The socket's name would be too long in many folders of tests.
        self.place = tempfile.mkdtemp(prefix="safetensors-")
        self.socket = os.path.basename(self.place)
        self.environment = dict(environment, TMUX_TMPDIR=self.place)
        configuration = os.path.join(self.place, "tmux.conf")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(CONFIGURATION)
        go = os.path.join(self.place, "go")
        # The script waits until what it writes is recorded.
        script = f"while ! [ -e {shlex.quote(go)} ]; do sleep 0.01; done; {script}; exec cat"
        self.run(
            "-u",
            "-f",
            configuration,
            "new-session",
            "-d",
            "-x",
            str(columns),
            "-y",
            str(rows),
            shlex.join(["sh", "-c", script]),
        )
        if record:
            self.run("pipe-pane", f"cat >{shlex.quote(os.fspath(record))}")
        with open(go, "w", encoding="utf-8"):
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], capture_output=True, env=self.environment)
        shutil.rmtree(self.place)

    def run(self, *words):
        done = subprocess.run(
            ["tmux", "-L", self.socket, *words], capture_output=True, text=True, env=self.environment, timeout=LIMIT
        )
        assert done.returncode == 0, f"tmux {words[0]}: {done.stderr}"
        return done.stdout

    def type(self, *keys):
        """Types keys by tmux's names for them: j, Enter, Escape, C-d."""
        self.run("send-keys", *keys)

    def write(self, text):
        """Types a text as it is."""
        self.run("send-keys", "-l", text)

    def resize(self, columns, rows):
        self.run("resize-window", "-x", str(columns), "-y", str(rows))

    def child(self):
        """Gives the process that the script waits for."""
        shell = self.run("list-panes", "-F", "#{pane_pid}").strip()
        (child,) = [pid for pid in os.listdir("/proc") if pid.isdigit() and parent_of(pid) == shell]
        return child

    def screen(self, styles=False):
        """Gives what the terminal shows."""
        return self.run("capture-pane", "-p", *(["-e"] if styles else []))

    def lines(self):
        return [line.rstrip() for line in self.screen().split("\n")]

    def wait(self, wanted, absent=()):
        """Waits until the terminal shows all of these texts, or until a function of what it shows is true, and
        gives that. It has to be the same twice: the picture may be drawn in part only."""
        texts = [wanted] if isinstance(wanted, str) else wanted
        end = time.monotonic() + LIMIT
        before = None
        while True:
            shown = self.screen()
            if callable(wanted):
                good = wanted(shown)
            else:
                good = all(text in shown for text in texts) and not any(text in shown for text in absent)
            if good and shown == before:
                return shown
            assert time.monotonic() < end, f"the terminal never showed {wanted!r}; it shows\n{shown}"
            before = shown
            time.sleep(0.02)
