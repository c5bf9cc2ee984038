"""`gatemint agent`: the real program under every fault, with a reader that checks its file a thousand times a second.

Faults: the service away, stopped and started again; the disk full, the directory read-only, the file a link, a directory,
torn or gone; the account disabled; several agents on one file; kills, also in the middle of a write; clocks that are set.
Then hours of it in minutes, by a faster clock; and what README.md shows: a unit of systemd, a sidecar.
"""

import base64
import concurrent.futures
import contextlib
import functools
import http.server
import json
import os
import random
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml
from kubernetes.client import ApiClient
from support import BIN, ENVIRONMENT, ROOT, Serve, check, counted, decoded, equal, gatemint, get, password_grant, temporary_directory

# What verifies a token is another environment's.
READER = [str(Path(os.environ["TOOLS_CLIENTS"]) / "bin" / "python"), "-B", str(Path(__file__).resolve().parent / "agent_reader.py")]
HERE = Path(__file__).resolve().parent
README = (ROOT / "README.md").read_text()
PASSWORD = "correct horse battery staple"
# Lives so short that renewals are watched, and the rule is the same: renewed when a fifth is over. The alarm is at 13.3 s;
# a busy machine needs some of the others. How much is left at least at real lifetimes, the hours tell.
SHORT = {"GATEMINT_ACCESS_LIFE": "20s"}
RENEWED_BELOW, LEAST = 16, 8
# How long a command may take, in seconds; more of them where a clock is faster.
PATIENCE = 60


class Home:
    """A user's home."""

    def __init__(self, place):
        self.place = Path(place)
        self.place.mkdir(exist_ok=True)
        self.environment = {**ENVIRONMENT, "HOME": str(self.place)}

    def run(self, *arguments, stdin="", code=0, **settings):
        done = subprocess.run(
            [BIN, *arguments], input=stdin, env={**self.environment, **settings}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
        equal(done.returncode, code, f"the exit code of gatemint {' '.join(arguments)} ({done.stderr}{done.stdout})")
        check("panicked" not in done.stderr and "eyJ" not in done.stderr and "gmr_" not in done.stderr, done.stderr)
        return done

    def login(self, serve, user="ada"):
        self.run("login", "--offline", "--url", serve.url, "--username", user, "--password-stdin", stdin=PASSWORD)
        return self


class Agent:
    """An agent at work, and what it has told so far."""

    def __init__(self, home, *arguments, ends_with=0, prefix=(), **settings):
        self.ends_with, self.told = ends_with, []
        self.process = subprocess.Popen(
            [*prefix, BIN, "agent", *arguments],
            env={**home.environment, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            restore_signals=False,  # too long a file is an error, and no signal
        )
        self.reading = threading.Thread(target=self.read, daemon=True)
        self.reading.start()

    def read(self):
        for line in self.process.stderr:
            self.told.append(line)

    def until(self, pattern, after=0, seconds=None):
        """Waits until it has told something after the first so many lines; returns how many lines there are then."""
        deadline = time.monotonic() + (seconds or PATIENCE * 1.5)
        while time.monotonic() < deadline:
            for number, line in enumerate(self.told[after:], after + 1):
                if re.search(pattern, line):
                    return number
            check(self.process.poll() is None, f"the agent has ended: {''.join(self.told)}")
            time.sleep(0.02)
        raise AssertionError(f"no {pattern!r} in {''.join(self.told[after:])}")

    def limit(self, most):
        """No file of the agent's may get longer: what a full disk does."""
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    def metrics(self):
        lines = [json.loads(line) for line in self.told if '"gatemint::metrics"' in line]
        return lines[-1] if lines else {}

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(PATIENCE)
        self.reading.join(10)
        printed, told = self.process.stdout.read(), "".join(self.told)
        if kind is None:
            equal(code, self.ends_with, f"the exit code of the agent ({told})")
            equal(printed, "", "what the agent printed on stdout")
            check("panicked" not in told and "eyJ" not in told and "gmr_" not in told, f"what the agent told: {told}")
        else:
            print(f"--- what the agent told\n{told}---", file=sys.stderr)


class Reader:
    """A program that re-reads its token a thousand times a second."""

    def __init__(self, file, serve):
        command = [*READER, str(file), f"{serve.url}/.well-known/jwks.json", "1"]
        self.process = subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        printed = self.process.communicate("", timeout=60)[0]
        if kind is None:
            self.seen = json.loads(printed)
            equal(self.seen["wrong"], [], "what a reader may never see")
            check(self.seen["tokens"] >= 1, "the reader has seen a token")
            rate = self.seen["checks"] / (self.seen["seconds"] - self.seen["stood_still"])
            check(rate > 900, f"the reader looks {rate:.0f} times a second")

    def least_left(self):
        """The least that was left of a token, but for what a machine that stood still has taken of it."""
        return self.seen["least_but_for_standstill"]


def told_least(seen, digits=0):
    """How much was left at least, for people."""
    said = f"{seen['least_left']:.{digits}f} s"
    if seen["stood_still"]:
        said += f" (but for the machine, which stood still for {seen['stood_still']:.{digits}f} s: {seen['least_but_for_standstill']:.{digits}f} s)"
    return said


def setpriv():
    """What makes root mind the modes of files, as everybody has to."""
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def left_in(path):
    """How much is left of the token in a file, by this machine's clock."""
    return decoded(path.read_text())["exp"] - time.time()


def is_good(serve, path):
    token = path.read_text()
    return get(f"{serve.url}/v1/me", {"Authorization": f"Bearer {token}"}).status == 200


# --- what it writes, and where it does not


def written_once(serve, home, place):
    """Modes, places, refusals: one run each."""
    runs = 0

    def once(*arguments, code=0, says="", **more):
        nonlocal runs
        runs += 1
        done = home.run("agent", "--once", *arguments, code=code, **more)
        check(says in done.stderr, f"{says!r} is told: {done.stderr}")
        equal(done.stdout, "", "what is on stdout")
        return done

    here = place / "once"
    here.mkdir()
    for source in ("secret", "refresh-token"):
        file = here / source
        once("--file", str(file), "--from", source)
        equal((mode_of(file), file.read_text().count("\n")), (0o600, 0), "mode and line ends")
        check(left_in(file) > (1700 if source == "secret" else 800) and is_good(serve, file), f"a good token in {file}")
    check(decoded((here / "secret").read_text())["sid"].startswith("fresh."), "the token that is always fresh")
    for mode in ("0640", "444", "0600"):
        once("--file", str(here / "secret"), "--mode", mode)
        equal(mode_of(here / "secret"), int(mode, 8), "the mode that was asked for")
    once("--file", str(here / "a"), "--file", str(here / "b"))
    equal((here / "a").read_text(), (here / "b").read_text(), "two files of one agent")
    # A longer-lived token is not replaced by a shorter one, and one of somebody else is.
    kept = (here / "secret").read_text()
    done = once("--file", str(here / "secret"), "--from", "refresh-token")
    equal((here / "secret").read_text(), kept, "the longer-lived token")
    check("stays" in done.stderr, done.stderr)
    # What was there before, if it is a token or nothing, makes room; anything else stays.
    for name, content in (("empty", ""), ("torn", kept[:100]), ("no-signature", kept.rsplit(".", 1)[0]), ("cut-signature", kept[:-1])):
        (here / name).write_text(content)
        once("--file", str(here / name))
        check(is_good(serve, here / name), f"a good token in place of {name}")
    for name, content in (("notes", "do not lose me\n"), ("binary", "\x00\xff"), ("long", "eyJ" + "x" * 40_000)):
        (here / name).write_text(content)
        once("--file", str(here / name), code=1, says="something else than a token")
        equal((here / name).read_text(), content, "what is no token")
    # So does a token of another kind, whole or cut off: it is shown once.
    made = json.loads(home.run("service-account", "create", "--name", "shown-once", "--json").stdout)["token"]
    once_shown = json.loads(base64.b64decode(made))["token"]
    for name, content in (("long-lived", once_shown), ("cut-off", once_shown.rsplit(".", 1)[0]), ("full", made.rstrip("="))):
        (here / name).write_text(content)
        once("--file", str(here / name), code=1, says="something else than a token")
        equal((here / name).read_text(), content, f"what is shown once: {name}")
    os.link(here / "long-lived", here / "same")
    for option in ("--token-file", "--refresh-token-file"):
        for name in ("long-lived", "same"):
            once(option, str(here / "long-lived"), "--file", str(here / name), code=2, says=f"is the file of {option}")
    equal((here / "long-lived").read_text(), once_shown, "what the agent is to ask with")
    (here / "target").write_text("somebody else's")
    (here / "link").symlink_to(here / "target")
    (here / "dangling").symlink_to(here / "nowhere")
    (here / "directory").mkdir()
    for name, says in (("link", "symbolic link"), ("dangling", "symbolic link"), ("directory", "it is a directory")):
        once("--file", str(here / name), code=1, says=says)
    os.mkfifo(here / "pipe")
    once("--file", str(here / "pipe"), code=1, says="it is not a file")
    once("--file", str(here / "no" / "where"), code=1, says="No such file or directory")
    equal(((here / "target").read_text(), (here / "nowhere").exists(), list((here / "directory").iterdir())), ("somebody else's", False, []), "what links lead to")
    # One that cannot be written does not hold up the other, and is told of.
    once("--file", str(here / "directory"), "--file", str(here / "c"), code=1, says="it is a directory")
    check(is_good(serve, here / "c"), "the other file")
    equal(sorted(path.name for path in here.iterdir() if path.name.startswith(".")), [], "drafts that were left behind")
    for wrong in (("--mode", "0666"), ("--mode", "rw"), ("--from", "refresh-token", "-n", "ada"), ("--refresh-token-file", "x", "--from", "secret"), ("--data", str(here))):
        once("--file", str(here / "d"), *wrong, code=2)
    check(not (here / "d").exists(), "nothing is written by a command that is used wrongly")
    # Nobody's: without a login, and with one that is over. What is there stays.
    nobody = Home(place / "nobody")
    for arguments in ((), ("--once",)):
        done = nobody.run("agent", "--file", str(here / "c"), *arguments, code=1)
        check("gatemint login" in done.stderr, f"the next step is told: {done.stderr}")
        runs += 1
    check(is_good(serve, here / "c"), "the token that was there")
    return runs


def by_files(serve, home, place):
    """A service account's token in a file, and a refresh token in a file that is kept, too."""
    here = place / "files"
    here.mkdir()
    account = here / "ci.token"
    made = home.run("service-account", "create", "--name", "ci", "--json").stdout
    full = json.loads(base64.b64decode(json.loads(made)["token"]))
    account.write_text(full["token"])
    account.chmod(0o600)
    refused = home.run("agent", "--once", "--file", str(here / "t"), "--token-file", str(account), code=1)
    check("secret://default/ada/access-token" in refused.stderr and "acl grant" in refused.stderr, f"what to grant is told: {refused.stderr}")
    home.run("acl", "grant", "secret:access-token", "ada/service-accounts/ci", "read")
    home.run("agent", "--once", "--file", str(here / "t"), "--token-file", str(account))
    check(is_good(serve, here / "t"), "a token that a service account has read")
    equal(decoded((here / "t").read_text())["preferred_username"], "ada", "whose token it is")
    # The same in the environment, and an admin for somebody else.
    Home(place / "passed").run("agent", "--once", "--file", str(here / "p"), GATEMINT_PASSED_CONFIG=json.loads(made)["token"])
    admin = Home(place / "admin")
    admin.run("login", "--url", serve.url, "--username", "admin", "--password-stdin", stdin=serve.admin_password())
    admin.run("agent", "--once", "--file", str(here / "a"), "-n", "ada")
    for name in ("p", "a"):
        equal((decoded((here / name).read_text())["preferred_username"], is_good(serve, here / name)), ("ada", True), "whose token it is, and that it is good")

    refresh, kept = here / "refresh-token.txt", set()
    refresh.write_text(password_grant(serve.url, "ada", PASSWORD, scope="offline_access")["refresh_token"] + "\n")
    refresh.chmod(0o644)
    arguments = ("agent", "--once", "--url", serve.url, "--refresh-token-file", str(refresh), "--file", str(here / "r"))
    for turn in range(5):
        done = home.run(*arguments)
        equal("chmod 600" in done.stderr, turn == 0, "a warning while others may read it")
        kept.add(refresh.read_text())
        equal(mode_of(refresh), 0o600, "the mode of the next refresh token's file")
    equal(len(kept), 5, "refresh tokens, one after another")
    # Where the next one cannot be kept the one that is there is not used up.
    before = refresh.read_text()
    here.chmod(0o555)
    try:
        with Agent(home, *arguments[1:], ends_with=1, prefix=setpriv()) as agent:
            agent.process.wait(30)
        check("Permission denied" in "".join(agent.told), "what is wrong is told")
    finally:
        here.chmod(0o755)
    equal(refresh.read_text(), before, "the refresh token")
    home.run(*arguments)
    # At real lifetimes nothing else has the file written soon.
    with Agent(home, "--file", str(here / "damaged")) as agent:
        at = agent.until("a fresh token is in the file")
        for damaged, told in ((lambda text: text[:-20], "a piece of a token"), (lambda text: text[:-20] + "A" * 20, "a damaged token")):
            (here / "damaged").write_text(damaged((here / "damaged").read_text()))
            at = agent.until(told, at)
            check(is_good(serve, here / "damaged"), f"a good token in place of {told}")
    # What it asks with is read from files alone: a pipe would be waited for.
    os.mkfifo(here / "pipe")
    refused = home.run("agent", "--once", "--file", str(here / "t"), "--token-file", str(here / "pipe"), code=1)
    check("it is not a file" in refused.stderr, refused.stderr)
    runs = 14 + old_answers(home, here, full["token"])
    # One that is put there while the service is slow to answer is nobody's to replace.
    another = password_grant(serve.url, "ada", PASSWORD, scope="offline_access")["refresh_token"]
    connected_before = connections(serve)
    os.kill(serve.process.pid, signal.SIGSTOP)
    try:
        with Agent(home, *arguments[1:]) as agent:
            # It reads its refresh token before it connects.
            until(lambda: connections(serve) > connected_before, "the agent has asked")
            refresh.write_text(another)
            os.kill(serve.process.pid, signal.SIGCONT)
            agent.process.wait(30)
    finally:
        os.kill(serve.process.pid, signal.SIGCONT)
    equal(refresh.read_text(), another, "the refresh token that was put there meanwhile")
    home.run(*arguments)
    check(refresh.read_text() != another, "it is the next to be used")
    refresh.write_text(before[:-3] + "AAA")
    done = home.run(*arguments, code=1)
    check("of no use any more" in done.stderr, done.stderr)
    return runs + 5


def connections(serve):
    """How many have been made to a service, also while it takes none."""
    established, port = "01", f"{serve.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port}") and row[3] == established for row in rows)


def until(holds, sentence):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        check(time.monotonic() < deadline, sentence)
        time.sleep(0.02)


class Keeps(http.server.BaseHTTPRequestHandler):
    """Something between the agent and the service, which answers with what it has kept."""

    def do_GET(self):
        body = json.dumps({"data": {"AUTH_TOKEN": base64.b64encode(self.server.kept().encode()).decode()}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def old_answers(home, here, asks_with):
    """A token that was signed long ago does not take the place of a newer one, and is no good beginning."""

    def signed(ago):
        claims = {"iss": "https://auth.example.org", "sub": "u1", "aud": "a", "iat": int(time.time()) - ago}
        claims |= {"nbf": claims["iat"], "exp": claims["iat"] + 1800}
        parts = ({"alg": "ES256", "typ": "at+jwt", "kid": "k"}, claims)
        return ".".join([*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), "A" * 86])

    file, asks = here / "old", here / "asks.token"
    asks.write_text(asks_with)
    asks.chmod(0o600)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keeps) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        arguments = ("agent", "--once", "--url", f"http://127.0.0.1:{server.server_address[1]}", "--token-file", str(asks), "--file", str(file))
        try:
            runs = 0
            for ago, code, says in ((3600, 0, "has ended, by this machine's clock"), (0, 0, ""), (3600, 1, "keeps its answers"), (1600, 1, "keeps its answers"), (600, 0, "")):
                before = file.read_text() if file.exists() else ""
                server.kept = functools.partial(str, signed(ago))
                done = home.run(*arguments, code=code)
                check(says in done.stderr, f"{says!r} is told: {done.stderr}")
                equal(file.read_text() == before, code == 1, f"whether what was there is left by an answer of {ago} s ago")
                runs += 1
            # A copy stays refused; a service whose clock was set back by more than that is taken at its second word.
            server.kept = functools.partial(signed, 0)
            with Agent(home, *(one for one in arguments[1:] if one != "--once")) as agent:
                at = agent.until("a fresh token is in the file")
                server.kept = functools.partial(str, signed(3600))
                time.sleep(6)  # what was fetched just now would do
                file.unlink()
                at = agent.until("keeps its answers", agent.until("keeps its answers", at))
                check(decoded(file.read_text())["iat"] > time.time() - 600, "what was held is there")
                server.kept = functools.partial(signed, 3600)
                agent.until("a fresh token is in the file", at)
                check(decoded(file.read_text())["iat"] < time.time() - 3000, "what the service signs now is there")
                runs += 2
        finally:
            server.shutdown()
    return runs


# --- faults


def faults(serve, home, place):
    """One after another, while a reader looks: what is there stays whole, what is wrong is told, and then it goes on."""
    here = place / "faults"
    here.mkdir()
    file, other = here / "watched" / "token", here / "abused"
    file.parent.mkdir()
    done = []
    with Agent(home, "--from", "refresh-token", "--file", str(file), "--file", str(other), prefix=setpriv()) as agent:
        agent.until("a fresh token is in the file")
        with Reader(file, serve) as reader:

            def goes_on(what, after):
                """From here on there are fresh tokens again."""
                now = agent.until(r"a fresh token is in the file.*watched/token", after)
                check(left_in(file) > LEAST, f"what is left after {what}")
                done.append(what)
                return now

            def between_rounds():
                """Just now it has written, and will rest for a while: what happens now does not happen while it writes."""
                return agent.until("gatemint::metrics", agent.until("a fresh token is in the file.*abused", len(agent.told)))

            at = goes_on("a beginning", 0)
            # There is room neither for the login's next refresh token, which is not used up, nor for the file.
            agent.limit(0)
            at = agent.until("no fresh token was got.*login.json: File too large", at)
            at = agent.until("less than ten minutes left", at)
            agent.limit(resource.RLIM_INFINITY)
            at = goes_on("a full disk", at)
            at = between_rounds()
            agent.limit(0)
            other.unlink()
            at = agent.until("the file cannot be written.*abused.*File too large", at)
            agent.limit(resource.RLIM_INFINITY)
            at = agent.until("a fresh token is in the file.*abused.*held_before.*nothing", at)

            file.parent.chmod(0o555)
            at = agent.until("Permission denied", at)
            check(is_good(serve, other), "the other file is kept while one cannot be")
            file.parent.chmod(0o755)
            at = goes_on("a read-only directory", at)

            serve.end()
            at = agent.until("no fresh token was got.*cannot be reached", at)
            at = agent.until("less than ten minutes left", at)
            at = agent.until("no token that is good any more", at)
            before = file.read_text()
            serve.__enter__()
            at = goes_on("a service that was away until the token had ended", at)
            agent.until("every file has a fresh token again", at)
            check(file.read_text() != before, "another token")

            os.kill(serve.process.pid, signal.SIGSTOP)
            time.sleep(6)
            os.kill(serve.process.pid, signal.SIGCONT)
            at = goes_on("a service that answers nobody for a while", len(agent.told))

            # What becomes of the other file holds up nothing.
            for what, abuse, told in (
                ("a file that was removed", other.unlink, "held_before.*nothing"),
                ("a torn file", lambda: other.write_text("eyJhbGci"), "a piece of a token"),
            ):
                at = between_rounds()
                abuse()
                at = agent.until(told, at)
                check(is_good(serve, other), f"a good token after {what}")
                done.append(what)
            at = between_rounds()
            other.write_text("somebody's only one")
            at = agent.until("abused.*something else than a token", at)
            at = goes_on("a file with something else: the other file", at)
            equal(other.read_text(), "somebody's only one", "what is no token")
            other.unlink()
            agent.until(r"abused.*held_before.*nothing", at)
            target = here / "target"
            target.write_text("somebody else's")
            for what, abuse, undo, told in (
                ("a file that became a link", lambda: (other.unlink(), other.symlink_to(target)), other.unlink, "symbolic link"),
                ("a file that became a directory", lambda: (other.unlink(missing_ok=True), other.mkdir()), other.rmdir, "it is a directory"),
            ):
                at = between_rounds()
                with contextlib.suppress(FileNotFoundError):
                    abuse()
                at = agent.until(told, at)
                goes_on(f"{what}: the other file", at)
                undo()
                agent.until(r"held_before.*nothing", at)
                done.append(what)
            equal(target.read_text(), "somebody else's", "what the link leads to")

            gatemint("user", "disable", "ada", "--data", str(serve.data))
            at = agent.until("no fresh token was got", len(agent.told))
            before = file.read_text()
            gatemint("user", "enable", "ada", "--data", str(serve.data))
            agent.until("nobody is signed in", at)
            equal(file.read_text(), before, "what was there stays")
            home.login(serve)
            at = goes_on("a disabled account that was enabled and signed in again", at)
        metrics = agent.metrics()
    check(metrics["agent.writes_total"] > 10 and metrics["agent.fetch_failures_total"] > 3 and metrics["agent.write_failures_total"] > 3, metrics)
    for name in ("agent.files", "agent.fetches_total", "token.least_left_s"):
        check(name in metrics, f"{name} is among the metrics: {metrics}")
    return done, reader.seen


def several(serve, place):
    """Six agents of two kinds and eighteen killed ones on one file."""
    file, rnd = place / "shared", random.Random(1)
    homes = [Home(place / f"several-{number}").login(serve) for number in range(6)]
    agents = [Agent(home, "--from", "refresh-token", "--file", str(file)) for home in homes]
    killed = 0
    with contextlib.ExitStack() as stack:
        for agent in agents[:3]:
            stack.enter_context(agent)
        agents[0].until("a fresh token|stays")
        with Reader(file, serve) as reader:
            for number in range(18):
                which = 3 + number % 3
                time.sleep(rnd.uniform(0.1, 0.8))
                agents[which].process.kill()
                agents[which].process.wait()
                killed += 1
                agents[which] = Agent(homes[which], "--from", "refresh-token", "--file", str(file))
            time.sleep(RENEWED_BELOW)
            for agent in agents[3:]:
                stack.enter_context(agent)
    check(reader.least_left() > LEAST, f"the least that was left in a shared file: {reader.seen}")
    fetches = sum(agent.metrics().get("agent.fetches_total", 0) for agent in agents[:3])
    writes = sum(agent.metrics().get("agent.writes_total", 0) for agent in agents[:3])
    return len(agents), killed, fetches, writes, reader.seen


def killed_half_way(serve, home, place):
    """Killed at any moment, and in the middle of a write for certain: the file is whole, and what was begun is removed."""
    here = place / "killed"
    here.mkdir()
    file, drafts, half_way = here / "token", [], 0
    arguments = [BIN, "agent", "--once", "--file", str(file)]
    home.run(*arguments[1:])
    with Reader(file, serve) as reader:
        for number in range(60):
            # The signal that a file gets too long is not ignored here: the write's first bytes are the last.
            limit = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100 + 60 * number, 1 << 20))) if number % 2 else None
            process = subprocess.Popen(arguments, env=home.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=limit)
            if limit is None:
                time.sleep(0.004 * number)
                process.kill()
            code = process.wait(30)
            check(code in (0, -signal.SIGKILL, -signal.SIGXFSZ), f"how a killed agent ended: {code}")
            half_way += code != 0
            drafts.append(sum(path.name.endswith(".new") for path in here.iterdir()))
        check(half_way > 30 and max(drafts) > 0, f"{half_way} were killed before their end, {max(drafts)} drafts were there at most")
        home.run(*arguments[1:])
        equal([path.name for path in here.iterdir()], ["token"], "what is there in the end")
    return half_way, reader.seen


def ended(serve, home, place):
    """Somebody does something that may have ended the token that is held: another one is fetched, for all files."""
    here = place / "ended"
    here.mkdir()
    one, two, done = here / "one", here / "two", []
    with Agent(home, "--file", str(one), "--file", str(two)) as agent:
        agent.until("fresh token is in the file.*two")

        def another(what, before, at):
            agent.until("fresh token is in the file.*two", at)
            agent.until("fresh token is in the file.*one", at)
            equal(one.read_text(), two.read_text(), f"the files after {what}")
            check(one.read_text() != before and is_good(serve, one), f"another token after {what}")
            done.append(what)

        time.sleep(6)  # older than what counts as new
        at, before = len(agent.told), one.read_text()
        one.unlink()
        another("a file that was removed", before, at)
        time.sleep(6)
        at, before = len(agent.told), one.read_text()
        home.login(serve)
        another("a new sign-in", before, at)
        # A new token of the same session is no news.
        at = len(agent.told)
        home.run("token")
        time.sleep(3)
        equal(agent.told[at:], [], "what is told of another command that uses the login")
        # Whose token is fresh needs the mode, too.
        before = one.read_text()
        one.chmod(0o644)
        deadline = time.monotonic() + 20
        while mode_of(one) != 0o600 and time.monotonic() < deadline:
            time.sleep(0.05)
        equal((mode_of(one), decoded(one.read_text())["jti"]), (0o600, decoded(before)["jti"]), "the mode of a fresh file")
        done.append("a mode that was changed")
        # A file that is removed while the service is away gets what is held, and another one as soon as it is back.
        time.sleep(6)
        serve.end()
        before = one.read_text()
        at = len(agent.told)
        one.unlink()
        agent.until("fresh token is in the file.*one.*nothing", at)
        equal(one.read_text(), before, "what is held")
        at = len(agent.told)
        serve.__enter__()
        another("a file that was removed while the service was away", before, at)
    # Started while the service is away: the time of day tells how much is left.
    serve.end()
    clock = Set(here)
    clock.show(1300)
    with Agent(home, "--file", str(one), **clock.environment) as agent:
        agent.until("less than ten minutes left")
        clock.show(2000)
        agent.until("no token that is good any more")
    serve.__enter__()
    done.append("a start while the service is away")
    return done


# --- clocks


class Set:
    """A clock that can be set: libfaketime reads what it shows from a file."""

    def __init__(self, place):
        self.file = place / "clock"
        self.show(0)
        library = subprocess.run(["faketime", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True).stdout.strip()
        self.environment = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def show(self, seconds):
        draft = self.file.with_suffix(".new")
        draft.write_text(f"{seconds:+d}")
        draft.rename(self.file)


def clocks(serve, home, place):
    """The agent's clock is set, ten minutes on and back, and the service's with it: no reader notices."""
    here = place / "clocks"
    here.mkdir()
    clock, file, sets = Set(here), here / "token", 0
    with Agent(home, "--from", "refresh-token", "--file", str(file), **clock.environment) as agent:
        agent.until("a fresh token is in the file")
        with Reader(file, serve) as reader:
            # Back for longer than a life: whoever believed the clock that was set would let the token end.
            for seconds in (600, 300, 0, -300, -600, -900, 600, -600):
                clock.show(seconds)
                sets += 1
                time.sleep(5)
    check(reader.least_left() > LEAST, f"the least that was left while clocks were set: {reader.seen}")
    return sets, reader.seen


def clocks_of_all(place):
    """Service and agent on one machine, whose clock is set: then there is a token that the service takes."""
    here = place / "machine"
    here.mkdir()
    clock, file, sets = Set(here), here / "token", 0
    # Its keys are from before: none is good for a time when it was not made.
    clock.show(-7200)
    with Serve(here / "data", clock.environment) as serve:
        clock.show(0)
        gatemint("user", "create", "ada", "--password-stdin", "--data", str(serve.data), stdin=PASSWORD)
        home = Home(here / "home").login(serve)
        with Agent(home, "--file", str(file), **clock.environment) as agent:
            agent.until("a fresh token is in the file")
            for seconds in (600, 0, -600, 0, 600, -600):
                at = len(agent.told)
                clock.show(seconds)
                sets += 1
                agent.until("a fresh token is in the file", at)
                check(is_good(serve, file), f"a token that the service takes at {seconds:+d} s")
                left = decoded(file.read_text())["exp"] - (time.time() + seconds)
                check(600 <= left <= 1801, f"{left} s are left by a clock that was set to {seconds:+d} s")
    return sets


# --- hours


def hours(place, speed, hours):
    """Hours in minutes: the least that a reader ever finds is ten minutes."""
    here = place / "hours"
    here.mkdir()
    sources = ["secret", "refresh-token"]
    with Serve(here / "data") as serve:
        gatemint("user", "create", "ada", "--password-stdin", "--data", str(serve.data), stdin=PASSWORD)
        for source in sources:
            Home(here / source).login(serve)
    command = ["faketime", "-f", f"+0 x{speed}", sys.executable, "-B", str(HERE / "agent_hours.py"), str(here), str(serve.port), str(speed), str(hours), *sources]
    done = subprocess.run(command, env={**ENVIRONMENT, "GATEMINT_BIN": BIN}, stdout=subprocess.PIPE, text=True, timeout=hours * 3600 / speed + 120, check=False)
    if done.returncode != 0:
        for log in here.glob("*.log"):
            print(f"--- {log.name}\n{log.read_text()[-6000:]}", file=sys.stderr)
    equal(done.returncode, 0, "how the hours ended")
    seen = json.loads(done.stdout)
    equal(seen["wrong"], [], "what a reader may never see")
    check(seen["least_but_for_standstill"] >= 600, f"the least that was left: {seen}")
    check(seen["due"] >= 3, f"{seen['due']} times the service was away when a token was due")
    check(seen["seconds"] >= hours * 3600 * 0.95, f"{seen['seconds']} s went by")
    return seen


def outages(place, speed):
    """Real lifetimes, the token that is always fresh, and each fault for as long as it takes to be told of."""
    here = place / "outages"
    here.mkdir()
    with Serve(here / "data") as serve:
        for user in ("ada", "eve", "joe"):
            gatemint("user", "create", user, "--password-stdin", "--data", str(serve.data), stdin=PASSWORD)
            home = Home(here / user).login(serve, user)
            made = json.loads(home.run("service-account", "create", "--name", "ci", "--json").stdout)["token"]
            (here / f"{user}.token").write_text(json.loads(base64.b64decode(made))["token"])
            (here / f"{user}.token").chmod(0o600)
            home.run("acl", "grant", "secret:access-token", f"{user}/service-accounts/ci", "read")
    command = ["faketime", "-f", f"+0 x{speed}", sys.executable, "-B", str(HERE / "agent_outages.py"), str(here), str(serve.port)]
    done = subprocess.run(command, env={**ENVIRONMENT, "GATEMINT_BIN": BIN}, capture_output=True, text=True, timeout=400, check=False)
    equal(done.returncode, 0, f"how the outages ended: {done.stderr[-9000:]}")
    return json.loads(done.stdout)


# --- what README.md shows


def block(language, containing):
    found = [text for text in re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) if containing in text]
    equal(len(found), 1, f"blocks of README.md with {containing!r}")
    return found[0]


def unit(place):
    """systemd finds nothing wrong with the unit, and little that it may do."""
    directory = place / "units"
    directory.mkdir()
    program = re.search(r"^ExecStart=(\S+)", block("ini", "gatemint agent"), re.MULTILINE)[1]
    text = block("ini", "gatemint agent").replace(program, BIN)
    (directory / "gatemint-agent.service").write_text(text)
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", str(directory / "gatemint-agent.service")], capture_output=True, text=True, check=False)
    about = [line for line in verified.stderr.splitlines() if "gatemint-agent" in line]
    equal((verified.returncode, about), (0, []), "what systemd says of the unit")
    security = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(directory / "gatemint-agent.service")], capture_output=True, text=True, check=False)
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", security.stdout)[1])
    check(exposure < 2, f"the unit is exposed: {security.stdout}")
    return text, exposure


def sidecar(serve, home, place, unit_text):
    """Kubernetes' client takes the manifest whole, and its command line does what it should; so does the unit's."""
    manifest = yaml.safe_load(block("yaml", "restartPolicy: Always"))
    pod = ApiClient().deserialize(json.dumps(manifest), "V1Pod", "application/json")
    equal(ApiClient().sanitize_for_serialization(pod), manifest, "the sidecar's manifest, as the client has understood it")
    agent = next(container for container in pod.spec.init_containers if container.restart_policy == "Always")
    mounts = {mount.name: mount.mount_path for mount in agent.volume_mounts}
    volumes = {volume.name for volume in pod.spec.volumes}
    check(set(mounts) <= volumes, f"every mount has a volume: {mounts}, {volumes}")
    check(any(mount.mount_path == "/etc/secrets/ezua" for mount in pod.spec.containers[0].volume_mounts), "the file is where programs look for it")
    runs = 0
    for number, words in enumerate((agent.args, re.search(r"^ExecStart=\S+ (.*)$", unit_text, re.MULTILINE)[1].split())):
        here = place / f"shown-{number}"
        here.mkdir()
        shutil.copy(place / "files" / "ci.token", here / "token")
        places = [*mounts.values(), "%d", "/run/gatemint-agent"]
        words = [next((word.replace(there, str(here), 1) for there in places if word.startswith(there)), word) for word in words]
        words = [serve.url if word.startswith("https://auth.") else word for word in words]
        home.run(*words, "--once")
        check(any(path.name == ".auth_token" and is_good(serve, path) for path in here.iterdir()), f"gatemint {' '.join(words)} has written a token")
        runs += 1
    return runs


def main():
    with temporary_directory() as place, concurrent.futures.ThreadPoolExecutor(2) as beside:
        place.chmod(0o755)
        in_minutes = beside.submit(hours, place, 30, 1.4)
        in_outages = beside.submit(outages, place, 30)
        with Serve(place / "data") as serve:
            gatemint("user", "create", "ada", "--password-stdin", "--data", str(serve.data), stdin=PASSWORD)
            home = Home(place / "ada").login(serve)
            counted(f"{written_once(serve, home, place)} runs that write once, or say why not")
            counted(f"{by_files(serve, home, place)} runs with a service account's token and with a refresh token in a file")
            half_way, seen = killed_half_way(serve, home, place)
            counted(f"{half_way} agents killed half-way, {seen['checks']} looks at the file beside it, {seen['tokens']} tokens")
            done = ended(serve, home, place)
            counted(f"{len(done)} things that may have ended a token: {'; '.join(done)}")
            text, exposure = unit(place)
            counted(f"{sidecar(serve, home, place, text)} command lines of README.md's unit (exposure {exposure}) and sidecar have written a token")
        with Serve(place / "short", SHORT) as serve:
            gatemint("user", "create", "ada", "--password-stdin", "--data", str(serve.data), stdin=PASSWORD)
            home = Home(place / "short-lived").login(serve)
            agents, killed, fetches, writes, seen = several(serve, place)
            counted(f"{agents} agents on one file, {killed} of them killed: {seen['checks']} looks, {seen['tokens']} tokens, {fetches} fetches and {writes} writes of three of them")
            sets, seen = clocks(serve, home, place)
            counted(f"{sets} times the agent's clock was set: {seen['checks']} looks, {told_least(seen, 1)} of 20 s left at least")
            done, seen = faults(serve, home, place)
            counted(f"{len(done)} faults: {'; '.join(done)}; {seen['checks']} looks, {seen['tokens']} tokens, none of them torn")
        counted(f"{clocks_of_all(place)} times a machine's clock was set, with service and agent on it")
        done = in_outages.result()
        counted(f"{len(done)} outages of the token that is always fresh, at real lifetimes: {'; '.join(done)}")
        seen = in_minutes.result()
        counted(
            f"{seen['seconds'] / 3600:.1f} hours of two agents on one file, {seen['checks']} looks, {seen['tokens']} tokens, {seen['kills']} kills, {seen['logins']} logins lost to a machine that stood still, "
            f"{seen['stops'] + seen['restarts']} times no service, {seen['due']} of them when a token was due: {told_least(seen)} left at least"
        )


if __name__ == "__main__":
    main()
