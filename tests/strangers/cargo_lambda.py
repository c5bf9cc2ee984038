"""Every sample event through `cargo lambda watch` and `cargo lambda invoke`: as somebody runs a function at home, on the data
directory of a `gatemint serve`, and with its state in DynamoDB and its keys in Secrets Manager, both emulated.

What to expect is in tests/events/expected.json: steps in order, where one may need what an earlier answer was asked to
keep (a JSON pointer into its body; `keep_decoded` where it is in base64).
"""

import base64
import contextlib
import functools
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from support import BIN, ENVIRONMENT, ROOT, Serve, check, counted, equal, free_port, get, temporary_directory

sys.path.insert(0, str(ROOT / "tests" / "emulator"))
from deploy import Emulator  # noqa: E402

ISSUER = "https://auth.example.org"  # the one that the sample events are made for
FUNCTION = "gatemint-lambda"
SIGNING_SECRET = "keys/gatemint-jwt-secret"  # as the vault of one machine calls it
PATH = os.pathsep.join([str(Path(os.environ["TOOLS_CARGO_LAMBDA"]) / "bin"), os.environ["PATH"]])
BUILD_LIMIT, FIRST_LIMIT = 15 * 60, 2 * 60  # seconds


class Watch:
    """`cargo lambda watch` on a free port, ended after the `with` block with the function that it runs."""

    def __init__(self, place, settings):
        self.port, self.place = free_port(), place
        self.output = place / "watch.log"
        self.environment = {**ENVIRONMENT, "PATH": PATH, "GATEMINT_ISSUER": ISSUER, **settings}

    def __enter__(self):
        # Without --locked it would be free to change Cargo.lock; without --ignore-changes it would watch our own logs.
        command = ["cargo", "lambda", "watch", "--locked", "--features", "aws", "--bin", FUNCTION, "--ignore-changes", "--wait", "--disable-cors"]
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
        """The function's answer: status and headers where there are some, the error where it is one, and the body."""
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
            return None, {}, said, ""
        answer = json.loads(done.stdout)
        if not isinstance(answer, dict) or "statusCode" not in answer:
            return None, {}, None, json.dumps(answer, separators=(",", ":"))
        return answer["statusCode"], answer["headers"], None, answer.get("body") or ""


class Watches:
    """Functions on one state, each with settings of its own besides, started when the first step needs them."""

    def __init__(self, place, settings):
        self.place, self.settings, self.running, self.stack = place, settings, {}, contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        return self.stack.__exit__(*failure)

    def told(self, more):
        key = tuple(sorted(more.items()))
        if key not in self.running:
            place = self.place / f"watch-{len(self.running)}"
            place.mkdir()
            self.running[key] = self.stack.enter_context(Watch(place, {**self.settings, **more}))
            # It links at least, if it does not build with the very same options.
            equal(self.running[key].invoke(self.healthz, FIRST_LIMIT)[0], 200, "the status of the first answer")
        return self.running[key]

    healthz = (ROOT / "events" / "healthz.json").read_text()


def pointed_at(value, pointer):
    """RFC 6901, as far as the expectations use it."""
    return functools.reduce(lambda inner, part: inner[int(part) if isinstance(inner, list) else part], pointer.split("/")[1:], value)


def fill(text, kept):
    for name, value in kept.items():
        text = text.replace("{{" + name + "}}", value)
    check("{{" not in text, "a placeholder that no answer was kept for")
    return text


def admin(password):
    """The first admin's credentials, as events have them."""
    return {"admin_password": password, "admin_basic": base64.b64encode(f"admin:{password}".encode()).decode()}


def at_home(place):
    """The settings of a data directory that a first start has made, and what fills the events' first placeholders."""
    data = place / "data"
    with Serve(data) as serve:
        credentials = admin(serve.admin_password())
    # It may have been stopped in the middle of a run that looks after mirrored tokens, which nobody takes over for two minutes.
    with contextlib.closing(sqlite3.connect(data / "gatemint.db")) as database, database:
        database.execute("DELETE FROM items WHERE partition = 'fresh#run'")
    return {"GATEMINT_DATA": str(data)}, {**credentials, "signing_secret": SIGNING_SECRET}


def in_the_cloud(place, emulator):
    """The same for a table and two secrets, made as README says, with an admin."""
    name = "gatemint"
    emulator.client("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    )
    secrets = emulator.client("secretsmanager")
    for secret in (SIGNING_SECRET, "refresh/gatemint-refresh-secret"):
        secrets.create_secret(Name=f"{name}/{secret}", SecretString='{"gatemint":"empty"}')
    settings = {**emulator.owner, "GATEMINT_STORE": f"dynamodb:{name}", "GATEMINT_VAULT": f"secretsmanager:{name}"}
    password = "sample events have a password, too"
    for command in (["key", "rotate"], ["key", "rotate", "--refresh"], ["user", "create", "admin", "--role", "admin", "--password-stdin"]):
        environment = {**ENVIRONMENT, **settings, "GATEMINT_ISSUER": ISSUER, "HOME": str(place)}
        subprocess.run([BIN, *command], input=password, env=environment, text=True, timeout=60, check=True)
    return settings, {**admin(password), "signing_secret": f"{name}/{SIGNING_SECRET}"}


def run_all(watches, steps, events, kept, where):
    """Every step's event, with what the answers before it have left."""
    wrong = [what for step in steps if (what := in_time(watches.told(step.get("settings", {})), step, fill(events[step["event"]], kept), kept))]
    check(not wrong, "\n".join(["events answered otherwise than expected:", *wrong]))
    counted(f"{len(steps)} events through cargo lambda invoke {where}, {len(steps)} answered as expected")


def in_time(watch, step, event, kept):
    """What is wrong with the answer to an event, which may have to be sent again until it is right (`within_s`)."""
    deadline = time.monotonic() + step.get("within_s", 0)
    while (what := judged(step, watch.invoke(event), kept)) and time.monotonic() < deadline:
        pass
    return what


def judged(step, answer, kept):
    """What is wrong with an answer, if anything; what later steps need of it is kept."""
    status, headers, error, body = answer
    for name, pointer in step.get("keep", {}).items():
        with contextlib.suppress(ValueError, LookupError):
            kept[name] = pointed_at(json.loads(body), pointer)
    for name, pointer in step.get("keep_decoded", {}).items():
        with contextlib.suppress(ValueError, LookupError):
            kept[name] = base64.b64decode(pointed_at(json.loads(body), pointer)).decode()
    print(f"{step['event']}: {status or error or body}", flush=True)
    right = status == step.get("status") and all(part in body for part in step.get("body_contains", []))
    right = right and all(part in headers.get(name, "") and name in headers for name, part in step.get("headers", {}).items())
    # A long one is broken into lines.
    said = [*error, " ".join(filter(None, error))] if error else []
    if right and ("error" in step) == bool(error) and ("error" not in step or any(step["error"] in one for one in said)):
        return None
    return f"{step['event']}: {status} {headers} {error} instead of {step.get('status')} {step.get('error')}: {body}"


def main():
    steps = json.loads((ROOT / "tests" / "events" / "expected.json").read_text())
    events = {path.name: path.read_text() for path in (ROOT / "events").iterdir()}
    equal(sorted({step["event"] for step in steps}), sorted(events), "the events that something is expected of")

    # `watch` would do it at the first request, and wait for ever if it failed.
    build = ["cargo", "build", "--locked", "--features", "aws", "--bin", FUNCTION]
    subprocess.run(build, cwd=ROOT, env=ENVIRONMENT, timeout=BUILD_LIMIT, check=True)
    with temporary_directory() as place:
        settings, kept = at_home(place)
        with Watches(place, settings) as watches:
            run_all(watches, steps, events, kept, "on a data directory")
            watch = watches.told({})
            url = f"http://127.0.0.1:{watch.port}/lambda-url/{FUNCTION}"
            equal(get(f"{url}/healthz").status, 200, "the status of a request through the function's URL")
            keys = get(f"{url}/.well-known/jwks.json").json()["keys"]
            counted(f"{len(keys)} keys read through the function's URL")
    with temporary_directory() as place, Emulator() as emulator:
        settings, kept = in_the_cloud(place, emulator)
        with Watches(place, settings) as watches:
            run_all(watches, steps, events, kept, "on DynamoDB and Secrets Manager")


main()
