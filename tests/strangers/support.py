"""What the scripts of this directory share: a running gatemint, its command line, plain HTTP, and counting.

A script is run by tests/run, which names the program in GATEMINT_BIN and the tool environments in TOOLS_*.
"""

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BIN = os.environ["GATEMINT_BIN"]
# Of the caller's own settings none may reach the program (and it refuses those that it does not know); loopback has no proxy.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("GATEMINT_")}
ENVIRONMENT.update(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
os.environ.update(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1")
# Told to end, a script still ends what it has started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def counted(text):
    """Says what was done, for tests/run to show: `counted("3 refreshes, 3 answered 200")`."""
    print(f"counted: {text}", flush=True)


def equal(actual, expected, what):
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def check(condition, sentence):
    if not condition:
        raise AssertionError(sentence)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def temporary_directory():
    with tempfile.TemporaryDirectory(prefix="gatemint-") as place:
        yield Path(place)


def gatemint(*arguments, stdin=""):
    """Runs the command line and returns what it printed."""
    done = subprocess.run(
        [BIN, *arguments], input=stdin, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    check(done.returncode == 0, f"gatemint {' '.join(arguments)} ended with {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


class Serve:
    """`gatemint serve` on a free port; ready inside the `with` block, and ended after it."""

    def __init__(self, data, settings=None):
        self.data = Path(data)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = settings or {}
        self.output = Path(tempfile.mkstemp(prefix="gatemint-serve-")[1])

    def __enter__(self):
        command = [BIN, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", str(self.data)]
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                command, env={**ENVIRONMENT, **self.settings}, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.end()
            raise
        return self

    def wait_until_ready(self, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"serve ended with {self.process.returncode}: {self.printed()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if get(f"{self.url}/readyz").status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"serve was not ready after {seconds} s: {self.printed()}")

    def printed(self):
        return self.output.read_text(errors="replace")

    def admin_password(self):
        return (self.data / "admin-password").read_text()

    def end(self):
        """Asks it to finish; returns its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def __exit__(self, kind, *_):
        code = self.end()
        if kind is not None:
            print(f"--- what serve printed\n{self.printed()}---", file=sys.stderr)
        self.output.unlink()
        if kind is None:
            equal(code, 0, "the exit code of serve after SIGTERM")


class Answer:
    """An HTTP answer, refusals included."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


def get(url, headers=None):
    return _open(urllib.request.Request(url, headers=headers or {}))


def post(url, fields, headers=None):
    """Sends a form."""
    return _open(urllib.request.Request(url, data=urllib.parse.urlencode(fields).encode(), headers=headers or {}))


def _open(request):
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Answer(refusal.code, refusal.headers, refusal.read())


def password_grant(url, username, password, client_id="gatemint", **more):
    fields = {"grant_type": "password", "username": username, "password": password, "client_id": client_id, **more}
    answer = post(f"{url}/oauth2/token", fields)
    equal(answer.status, 200, f"the status of a password grant ({answer.body!r})")
    return answer.json()


def decoded(token, part=1):
    """A JWT's claims (or its header, part 0), unverified."""
    text = token.split(".")[part]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def node(script, *arguments, settings=None, seconds=60):
    """Runs a script of this directory with node, and returns what it printed as JSON."""
    environment = {**ENVIRONMENT, **(settings or {})}
    done = subprocess.run(
        ["node", str(HERE / script), *arguments], env=environment, stdout=subprocess.PIPE, text=True, timeout=seconds, check=False
    )
    check(done.returncode == 0, f"{script} ended with {done.returncode}")
    return json.loads(done.stdout)
