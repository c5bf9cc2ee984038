"""The guide of Apolo's users to a job behind a sign-in: its steps, what they need around them, and what must come of each.

The steps are the guide's commands, word for word; of hosts only the domain is another. Nothing starts jobs here, so `apolo
run` is a program of our own that runs the job's command on this machine; the rest of `apolo` is whoever is tried.
"""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from proxies import Proxy
from support import BIN, ENVIRONMENT, check, equal, free_port, gatemint

OWNER, PASSWORD = "janedoe", "correct horse battery staple"
ROLE = f"{OWNER}/service-accounts/test"

CREATE = "apolo service-account create --name test"
RUN = "apolo run --http 8080 --name mytestjob python -- python -m http.server 8080"
GRANT = f"apolo acl grant job:mytestjob {ROLE} read"
REVOKE = f"apolo acl revoke job:mytestjob {ROLE}"
USE = 'curl https://mytestjob--janedoe.jobs.default.example.org -H "cookie: dat=$TOKEN"'
# As the guide has it in a sentence.
USE_WITH_A_SEMICOLON = USE.replace("$TOKEN", "$TOKEN;")
USE_WITHOUT = "curl https://mytestjob--janedoe.jobs.default.example.org"

APOLO = """#!/bin/bash
# The job runs here, on a port that is free.
if [ "$1" = run ]; then
    while [ "$1" != -- ]; do shift; done
    shift
    cd "$JOB" && exec "${{@/#8080/$JOB_PORT}}" --bind 127.0.0.1
fi
exec {rest} "$@"
"""

CURLRC = """silent
noproxy = "*"
connect-to = "mytestjob--janedoe.jobs.default.example.org:443:127.0.0.1:{port}"
connect-to = "otherjob--janedoe.jobs.default.example.org:443:127.0.0.1:{port}"
cacert = "{place}/certificate.pem"
write-out = "\\n%{{http_code}}"
"""


class Tls(Proxy):
    """nginx as README.md shows it, with a certificate for the jobs of the cluster."""

    def nginx(self, upstream, job):
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
                *("-subj", "/CN=jobs", "-addext", "subjectAltName=DNS:*.jobs.default.example.org"),
                *("-keyout", self.place / "key.pem", "-out", self.place / "certificate.pem"),
            ],
            check=True,
            capture_output=True,
        )
        command, logs = super().nginx(upstream, job)
        config = self.place / "nginx.conf"
        text = config.read_text()
        for old, new in (
            (f"listen 127.0.0.1:{self.port};", f"listen 127.0.0.1:{self.port} ssl; ssl_certificate certificate.pem; ssl_certificate_key key.pem;"),
            ("*.jobs.example.org", "*.jobs.default.example.org"),
        ):
            check(old in text, f"the configuration has no {old!r} any more")
            text = text.replace(old, new)
        config.write_text(text)
        return command, logs


class Guide:
    """A user's shell, a gatemint that knows the site, and nginx before the place where the job will run."""

    def __init__(self, place, serve, *rest):
        """`rest`: what is run in the place of `apolo`."""
        self.place, self.serve, self.job_port = Path(place), serve, free_port()
        programs, self.home, job = (self.place / name for name in ("programs", "home", "job"))
        for directory in (programs, self.home, job, job / "bin"):
            directory.mkdir(parents=True, exist_ok=True)
        (job / ".dockerenv").touch()
        (programs / "apolo").write_text(APOLO.format(rest=shlex.join(map(str, rest))))
        (programs / "apolo").chmod(0o755)
        (programs / "python").symlink_to(sys.executable)
        kept = {key: value for key, value in ENVIRONMENT.items() if not key.startswith("XDG_")}
        self.environment = {
            **{**kept, "HOME": str(self.home), "CURL_HOME": str(self.home), "JOB": str(job), "JOB_PORT": str(self.job_port)},
            "PATH": f"{programs}:{Path(BIN).parent}:{os.environ['PATH']}",
        }
        data = ("--data", str(serve.data))
        gatemint("user", "create", OWNER, "--password-stdin", *data, stdin=f"{PASSWORD}\n")
        site = ("--host", "{name}--{owner}.jobs.{cluster}.example.org", "--resource", "job://{cluster}/{owner}/{name}")
        gatemint("site", "create", "jobs", *site, *data)
        self.proxy = Tls("nginx", self.place / "nginx", serve.port, self.job_port)
        (self.home / ".curlrc").write_text(CURLRC.format(port=self.proxy.port, place=self.place / "nginx"))
        self.commands = 0

    def shell(self, command, code=0, stdin="", **variables):
        """Runs a command as a user would; returns what it printed, on both. `code`: what it ends with, None if it only must fail."""
        done = subprocess.run(
            ["bash", "-uo", "pipefail", "-c", command],
            env={**self.environment, **variables},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
        what = f"the exit code of {command} ({done.stdout}{done.stderr})"
        if code is None:
            check(done.returncode != 0, what)
        else:
            equal(done.returncode, code, what)
        self.commands += 1
        return done

    def visit(self, token=None, command=None):
        """The job's page, as the guide fetches it: status and text."""
        command = command or (USE_WITHOUT if token is None else USE)
        page, _, status = self.shell(command, TOKEN=token or "").stdout.rpartition("\n")
        return int(status), page

    def expect(self, status, token, when, command=None):
        answered, page = self.visit(token, command)
        equal(answered, status, f"the status {when} ({page})")
        listing = "<h1>Directory listing for /</h1>" in page and '<li><a href="bin/">bin/</a></li>' in page
        check(listing == (status == 200), f"the page {when}: {page}")

    @contextlib.contextmanager
    def running(self):
        """The guide's job."""
        output = self.place / "job.log"
        with open(output, "wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", RUN], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            deadline = time.monotonic() + 30
            while True:
                check(process.poll() is None and time.monotonic() < deadline, f"the job does not run: {output.read_text()}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.job_port), 1):
                    break
                time.sleep(0.05)
            self.commands += 1
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(15)


TITLE = re.compile(r"(Full token|Just auth token) [^:]+:")


def read_created(printed):
    """What `service-account create` has printed: the rows, and the two tokens."""
    lines = [line.strip() for line in printed.splitlines()]
    titles = [n for n, line in enumerate(lines) if TITLE.match(line)]
    equal(len(titles), 2, f"the two titles ({printed})")
    rows = [re.split(r"\s{2,}", line, maxsplit=1) for line in lines[: titles[0]] if line]
    full, token = (next(line for line in lines[n + 1 :] if line) for n in titles)
    check("Save it to some secure place, you will be unable to retrieve it later!" in lines, printed)
    return dict(row for row in rows if len(row) == 2), full, token


def walk(guide):
    """The guide from end to end, and what must come of it when a step is missing or undone."""
    created = guide.shell(CREATE).stdout
    rows, full, token = read_created(created)
    check(re.fullmatch(r"service-account-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", rows["Id"]), f"an id: {rows}")
    for row, value in (("Name", "test"), ("Role", ROLE), ("Owner", OWNER), ("Default cluster", "default")):
        equal(rows[row], value, f"the row {row}")
    check(re.fullmatch(r"now|a moment ago|\d+ seconds? ago", rows["Created at"]), f"when it was made: {rows}")
    with guide.running():
        guide.expect(401, None, "without a token")
        guide.expect(401, "x", "with something else")
        guide.expect(403, token, "before the grant")
        guide.shell(GRANT)
        guide.expect(200, token, "after the grant")
        guide.expect(200, token, "with a semicolon behind the token", USE_WITH_A_SEMICOLON)
        guide.expect(401, full, "with the full token in its place")
        guide.expect(403, token, "of a POST with `read`", f"{USE} -X POST")
        guide.expect(403, token, "of another job", USE.replace("mytestjob", "otherjob"))
        guide.shell(REVOKE)
        guide.expect(403, token, "right after the revocation")
        guide.shell(GRANT)
        guide.expect(200, token, "once it is granted again")
        removed = guide.shell("apolo service-account rm test").stdout
        equal(removed.strip(), "Service account 'test' was successfully removed.", "what `rm` prints")
        guide.expect(401, token, "of a service account that is gone")
        _, _, again = read_created(guide.shell(CREATE).stdout)
        guide.expect(401, token, "of the one before")
        guide.expect(403, again, "of one that was made again under the name")
    return guide.commands


