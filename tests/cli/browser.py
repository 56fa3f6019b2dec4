# SPDX-License-Identifier: Apache-2.0
"""Chromium without a window, spoken to through the two pipes of --remote-debugging-pipe, and PNG by zlib."""

import base64
import fcntl
import json
import os
import select
import shutil
import struct
import subprocess
import time
import zlib

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
# A page that has not answered by then never will; nothing is measured by it.
PATIENCE = 120


def program():
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class NotStarted(Exception):
    """It ended before its first word: no sandbox for it here, a library that is missing."""


class Browser:
    """One browser with one page open."""

    def __init__(self, folder):
        self.commands_read, self.commands = self._pipe()
        self.answers, self.answers_write = self._pipe()
        flags = [
            "--remote-debugging-pipe",
            "--headless",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            f"--user-data-dir={folder}",
        ]
        if os.getuid() == 0:
            flags.append("--no-sandbox")  # which it refuses to set up for root
        self.process = subprocess.Popen(
            [program(), *flags, "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=self._descriptors,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C.UTF-8"},
        )
        os.close(self.commands_read)
        os.close(self.answers_write)
        self.number, self.buffer, self.events, self.session = 0, b"", [], None
        try:
            self.call("Browser.getVersion")
        except (RuntimeError, BrokenPipeError) as fault:
            self.close()
            raise NotStarted from fault
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    @staticmethod
    def _pipe():
        """Gives a pipe whose ends are far from the descriptors that the browser is given."""
        ends = os.pipe()
        far = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in ends]
        for end in ends:
            os.close(end)
        return far

    def _descriptors(self):
        os.dup2(self.commands_read, 3)
        os.dup2(self.answers_write, 4)

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.commands)
        os.close(self.answers)

    def _message(self, until):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.answers], [], [], max(0, until - time.monotonic()))
            block = os.read(self.answers, 1 << 20) if ready else b""
            if not block:
                raise RuntimeError("the browser stayed silent")
            self.buffer += block
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        """Gives the result of a command; what happens meanwhile goes to `events`."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data) :]
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._message(until)
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait(self, method):
        """Waits for an event."""
        until = time.monotonic() + PATIENCE
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._message(until))

    def screen(self, width, height, scheme="light", scripts=True):
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)

    def open(self, path):
        self.events.clear()
        self.call("Page.navigate", url=f"file://{path}")
        self.wait("Page.loadEventFired")

    def run(self, expression):
        """Gives the value of an expression of JavaScript. What holds for scripts of pages, trusted types too, does
        not for this."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def until(self, expression):
        """Waits until an expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.run(expression):
            if time.monotonic() > until:
                raise RuntimeError(f"never true: {expression}")
            time.sleep(0.01)

    def key(self, key):
        codes = {"Enter": 13, "Escape": 27, "ArrowRight": 39, "ArrowDown": 40, "ArrowUp": 38, "Tab": 9}
        common = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", text="\r" if key == "Enter" else "", **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, selector):
        place = self.run(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: "center"}});
            const box = element.getBoundingClientRect();
            return [box.x + Math.min(box.width / 2, 40), box.y + Math.min(box.height / 2, 10)];
        }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def shot(self, whole=False):
        """Gives the screen as the bytes of a PNG; `whole`: all of the page."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"])

    def complaints(self):
        """What went wrong in the page, and what it asked for besides itself."""
        said = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                said.append(params["exceptionDetails"].get("exception", {}).get("description") or str(params))
            elif method == "Runtime.consoleAPICalled" or method == "Log.entryAdded":
                said.append(str(params.get("entry", params)))
            elif method == "Page.javascriptDialogOpening":
                said.append("a dialog: " + params["message"])
            elif method == "Network.requestWillBeSent" and params["type"] != "Document":
                said.append("a request: " + params["request"]["url"])
        return said


def png_read(data):
    """Gives width, height, and the pixels as rows of bytes, 3 or 4 of them a pixel."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, size = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            assert depth == 8 and colours in (2, 6) and not interlaced
            size = 3 if colours == 2 else 4
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    raw, rows, above = zlib.decompress(packed), [], bytes(width * size)
    for y in range(height):
        start = y * (width * size + 1)
        above = unfilter(raw[start], bytearray(raw[start + 1 : start + 1 + width * size]), above, size)
        rows.append(bytes(above))
    return width, height, size, rows


def unfilter(kind, row, above, size):
    """Undoes the filter of one row (PNG specification, section 9)."""
    if kind == 2:
        return bytearray((a + b) & 255 for a, b in zip(row, above))
    for i in range(len(row) if kind else 0):
        left = row[i - size] if i >= size else 0
        corner = above[i - size] if i >= size else 0
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + above[i]) // 2
        else:
            near = left + above[i] - corner
            guess = min((left, above[i], corner), key=lambda each: abs(near - each))
        row[i] = (row[i] + guess) & 255
    return row
