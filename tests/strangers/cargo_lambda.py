"""Every sample event through `cargo lambda watch` and `cargo lambda invoke`, as somebody runs a function at home.

What to expect is in tests/events/expected.json: steps in order, where one may need what an earlier answer was asked to
keep (a JSON pointer into its body).
"""

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from support import ENVIRONMENT, ROOT, Serve, check, counted, equal, free_port, get, temporary_directory

ISSUER = "https://auth.example.org"  # the one that the sample events are made for
FUNCTION = "gatemint-lambda"
SIGNING_SECRET = "keys/gatemint-jwt-secret"  # as the vault of one machine calls it
PATH = os.pathsep.join([str(Path(os.environ["TOOLS_CARGO_LAMBDA"]) / "bin"), os.environ["PATH"]])
BUILD_LIMIT, FIRST_LIMIT = 15 * 60, 2 * 60  # seconds


class Watch:
    """`cargo lambda watch` on a free port, ended after the `with` block with the function that it runs."""

    def __init__(self, place, data):
        self.port, self.place = free_port(), place
        self.output = place / "watch.log"
        self.environment = {**ENVIRONMENT, "PATH": PATH, "GATEMINT_DATA": str(data), "GATEMINT_ISSUER": ISSUER}

    def __enter__(self):
        # Without --locked it would be free to change Cargo.lock; without --ignore-changes it would watch our own logs.
        command = ["cargo", "lambda", "watch", "--locked", "--bin", FUNCTION, "--ignore-changes", "--wait", "--disable-cors"]
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [*command, "--invoke-address", "127.0.0.1", "--invoke-port", str(self.port)],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + 60
            while not self.listens():
                check(self.process.poll() is None and time.monotonic() < deadline, f"cargo lambda watch does not listen: {self.printed()}")
                time.sleep(0.1)
        except BaseException:
            self.end()
            raise
        return self

    def listens(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def printed(self):
        return self.output.read_text(errors="replace")

    def end(self):
        """Asks it to finish, as Ctrl-C does, and then whatever it has started and left behind."""
        for ask, seconds in ((signal.SIGINT, 10), (signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, ask)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
                return

    def __exit__(self, kind, *_):
        self.end()
        if kind is not None:
            print(f"--- what cargo lambda watch printed\n{self.printed()}---", flush=True)

    def invoke(self, event, seconds=60):
        """The function's answer: the status where there is one, the error where it is one, and the body."""
        file = self.place / "event.json"
        file.write_text(event)
        command = ["cargo", "lambda", "invoke", "--invoke-address", "127.0.0.1", "--invoke-port", str(self.port), FUNCTION]
        done = subprocess.run(
            [*command, "--data-file", str(file)],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0:
            # It shows the error's type and its text, drawn for eyes.
            said = [line.strip(" \u2502\u00d7\u2570\u2500\u25b6") for line in (done.stderr + done.stdout).splitlines()]
            return None, said, ""
        answer = json.loads(done.stdout)
        if not isinstance(answer, dict) or "statusCode" not in answer:
            return None, None, json.dumps(answer, separators=(",", ":"))
        return answer["statusCode"], None, answer.get("body") or ""


def pointed_at(value, pointer):
    """RFC 6901, as far as the expectations use it."""
    return functools.reduce(lambda inner, part: inner[int(part) if isinstance(inner, list) else part], pointer.split("/")[1:], value)


def fill(text, kept):
    for name, value in kept.items():
        text = text.replace("{{" + name + "}}", value)
    check("{{" not in text, "a placeholder that no answer was kept for")
    return text


def main():
    steps = json.loads((ROOT / "tests" / "events" / "expected.json").read_text())
    events = {path.name: path.read_text() for path in (ROOT / "events").iterdir()}
    equal(sorted({step["event"] for step in steps}), sorted(events), "the events that something is expected of")

    # `watch` would do it at the first request, and wait for ever if it failed.
    subprocess.run(["cargo", "build", "--locked", "--bin", FUNCTION], cwd=ROOT, env=ENVIRONMENT, timeout=BUILD_LIMIT, check=True)
    with temporary_directory() as place:
        data = place / "data"
        with Serve(data) as serve:  # a first start, which makes the data directory
            kept = {"admin_password": serve.admin_password(), "signing_secret": SIGNING_SECRET}
        with Watch(place, data) as watch:
            # It links at least, if it does not build with the very same options.
            equal(watch.invoke(events["healthz.json"], FIRST_LIMIT)[0], 200, "the status of the first answer")
            wrong = []
            for step in steps:
                status, error, body = watch.invoke(fill(events[step["event"]], kept))
                for name, pointer in step.get("keep", {}).items():
                    with contextlib.suppress(ValueError, LookupError):
                        kept[name] = pointed_at(json.loads(body), pointer)
                right = status == step.get("status") and all(part in body for part in step.get("body_contains", []))
                right = right and (step["error"] in error if error and "error" in step else not error and "error" not in step)
                print(f"{step['event']}: {status or error or body}", flush=True)
                if not right:
                    wrong.append(f"{step['event']}: {status} {error} instead of {step.get('status')} {step.get('error')}: {body}")
            check(not wrong, "\n".join(["events answered otherwise than expected:", *wrong]))
            counted(f"{len(steps)} events through cargo lambda invoke, {len(steps)} answered as expected")

            url = f"http://127.0.0.1:{watch.port}/lambda-url/{FUNCTION}"
            equal(get(f"{url}/healthz").status, 200, "the status of a request through the function's URL")
            keys = get(f"{url}/.well-known/jwks.json").json()["keys"]
            counted(f"{len(keys)} keys read through the function's URL")


main()
