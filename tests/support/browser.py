"""Headless Chromium, driven over a pipe by the DevTools protocol: no packages, no ports."""

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """A page in a browser of its own.

    Attributes:
      messages: what the page has written to its console, and its exceptions.
    """

    def __init__(self, width=1100, height=900, dark=False):
        self._numbers = itertools.count(1)
        self.messages = []
        self._folder = tempfile.mkdtemp()
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()

        def place():  # 3 and 4 are the descriptors that Chromium reads and writes
            os.dup2(os.dup(theirs_in), 60)
            os.dup2(os.dup(theirs_out), 61)
            os.dup2(60, 3)
            os.dup2(61, 4)

        command = [PROGRAM, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"]
        command += ["--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={self._folder}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command += [f"--window-size={width},{height}", "about:blank"]
        self._process = subprocess.Popen(command, preexec_fn=place, close_fds=False, start_new_session=True, **quiet)
        os.close(theirs_in)
        os.close(theirs_out)
        self._waiting = b""
        self._session = None
        targets = self.send("Target.getTargets")["targetInfos"]
        target = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        if dark:
            self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = None
        self.send("Browser.close")
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for descriptor in (self._in, self._out):
            os.close(descriptor)
        shutil.rmtree(self._folder, ignore_errors=True)

    def send(self, method, **parameters):
        """The result of a command of the DevTools protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def _read(self):
        while b"\0" not in self._waiting:
            part = os.read(self._in, 2**20)
            assert part, "the browser has ended"
            self._waiting += part
        line, self._waiting = self._waiting.split(b"\0", 1)
        event = json.loads(line)
        if event.get("method") == "Runtime.consoleAPICalled":
            self.messages.append([argument.get("value") for argument in event["params"]["args"]])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.messages.append(event["params"]["exceptionDetails"])
        elif event.get("method") == "Log.entryAdded":
            self.messages.append(event["params"]["entry"]["text"])
        return event

    def open(self, address):
        """Goes to an address and waits until it is loaded."""
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def run(self, script):
        """The value of a JavaScript expression."""
        result = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script, seconds=20):
        """Waits until a JavaScript expression is true, and returns its value."""
        end = time.time() + seconds
        while not (value := self.run(script)):
            assert time.time() < end, f"not in {seconds} s: {script}"
            time.sleep(0.02)
        return value

    def press(self, key, code=0):
        """Presses and releases a key."""
        for kind in ("keyDown", "keyUp"):
            text = {"text": key} if kind == "keyDown" and len(key) == 1 else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    def upload(self, selector, path):
        """Chooses a file in an input."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path):
        """Writes the whole page as PNG."""
        content = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(content))
