"""Headless Chromium, driven over its own pipe: no port, no driver, nothing but the standard library."""

import base64
import json
import os
import select
import subprocess
import time

PHONE, DESKTOP = (390, 844), (1280, 800)


class Browser:
    """A Chromium with a profile of its own; each `tab` is a browser of its own, with its own cookies."""

    def __init__(self, place):
        hears, self._says = os.pipe()
        self._hears, says = os.pipe()
        command = [
            *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            *("--no-first-run", "--no-proxy-server", "--disable-background-networking", "--ignore-certificate-errors"),
            *("--remote-debugging-pipe", f"--user-data-dir={place / 'profile'}", "about:blank"),
        ]
        # Chromium reads from descriptor 3 and writes to 4.
        with open(place / "chromium.log", "wb") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", f'exec "$@" 3<&{hears} 4>&{says}', "bash", *command],
                *(), pass_fds=(hears, says), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "HOME": str(place)},
            )
        os.close(hears)
        os.close(says)
        self._read = b""
        self._number = 0
        self._answers = {}
        self.events = []

    def call(self, method, session=None, **parameters):
        """Sends a command and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self._says, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + 60
        while self._number not in self._answers:
            self._receive(deadline, method)
        answer = self._answers.pop(self._number)
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self, deadline, what):
        ready, _, _ = select.select([self._hears], [], [], max(0, deadline - time.monotonic()))
        read = os.read(self._hears, 1 << 20) if ready else b""
        if not read:
            raise AssertionError(f"chromium did not answer {what}")
        *messages, self._read = (self._read + read).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self.events.append(message)

    def tab(self):
        return Tab(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._says)
        os.close(self._hears)


class Tab:
    def __init__(self, browser):
        self.browser = browser
        context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def show_as(self, size, scheme="light", scale=1):
        self.call("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=scale, mobile=size[0] < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url):
        """Goes to a URL as if it were typed, and returns the status of the page that it ends on."""
        answer = self.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise AssertionError(f"{url.partition('?')[0]}: {answer['errorText']}")
        self.until("document.readyState === 'complete'")
        return self.evaluate("performance.getEntriesByType('navigation')[0].responseStatus")

    def evaluate(self, expression):
        """The value of an expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, expression, seconds=20):
        """Waits until an expression is true, across pages."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if self.evaluate(expression):
                    return
            except AssertionError:  # the page is being replaced
                pass
            time.sleep(0.05)
        raise AssertionError(f"not after {seconds} s: {expression}; the title is {self.evaluate('document.title')!r}")

    def press(self, key, code):
        for kind in ("rawKeyDown", "char", "keyUp"):
            text = {"text": "\r"} if (kind, key) == ("char", "Enter") else {}
            if kind != "char" or text:
                self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def cookies(self):
        return self.call("Network.getCookies")["cookies"]

    def complaints(self):
        """What the browser has against the pages of this tab: a policy that was violated, above all."""
        entries = [event for event in self.browser.events if event["method"] == "Log.entryAdded" and event.get("sessionId") == self.session]
        return [event["params"]["entry"]["text"] for event in entries if event["params"]["entry"]["source"] == "security"]

    def picture(self, file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
